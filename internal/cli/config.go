package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
)

// settingFlags are the flags that override a setting of the configuration file.
var settingFlags = map[string]string{
	"data-dir":           "dataDir",
	"log-level":          "log.level",
	"log-format":         "log.format",
	"address":            "cluster.address",
	"host":               "cluster.hosts",
	"client-auth":        "cluster.clientAuth",
	"access-rules":       "cluster.accessRules",
	"services":           "cluster.services",
	"operations-address": "operations.address",
}

// file is the configuration in force for a command: the file that --config
// names, what the environment overrides, and what the command's flags override.
func (a *app) file(cmd *cobra.Command) (*config.File, error) {
	if a.conf != nil {
		return a.conf, nil
	}
	settings, err := a.load()
	if err != nil {
		return nil, err
	}
	given := map[string]config.Flag{}
	if cmd != nil {
		cmd.Flags().Visit(func(f *pflag.Flag) {
			path, ok := settingFlags[f.Name]
			if !ok || (cmd.Name() == "worker" && f.Name == "address") { // whom a worker calls is no setting of the cluster
				return
			}
			values := []string{f.Value.String()}
			if list, ok := f.Value.(pflag.SliceValue); ok {
				values = list.GetSlice()
			}
			given[path] = config.Flag{Name: "--" + f.Name, Values: values}
		})
	}
	f, err := config.ReadFile(config.FileOptions{Path: a.configFile, Lookup: settings.Lookup, Flags: given})
	if err != nil {
		return nil, err
	}
	a.conf = f
	return f, nil
}

// useFile reads the configuration file, if there is one, before any command
// runs, and takes from it where the data directory is and what is logged.
func (a *app) useFile(cmd *cobra.Command) error {
	if a.configFile == "" || (cmd.Parent() != nil && cmd.Parent().Name() == "config") {
		return nil // "tenon config" reports on the file itself
	}
	f, err := a.file(cmd)
	if err != nil {
		return err
	}
	a.apply(f)
	return nil
}

// apply takes over what a file says about every command.
func (a *app) apply(f *config.File) {
	for into, text := range map[*string]string{&a.dataDir: f.DataDir, &a.logLevel: f.Log.Level, &a.logFormat: f.Log.Format} {
		if text != "" {
			*into = text
		}
	}
}

// paths are where the files of the data directory lie.
func (a *app) paths() daemon.Paths { return daemon.PathsOf(a.dataDir, a.conf) }

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		GroupID: "operate",
		Short:   "Check and show the configuration file",
	}
	cmd.AddCommand(newConfigCheck(a), newConfigShow(a))
	return cmd
}

func newConfigCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration: every problem at once, with its place",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.file(cmd)
			var problems config.Problems
			if errors.As(err, &problems) {
				if err := a.print(problemsAnswer(problems)); err != nil {
					return err
				}
				return &failure{fmt.Errorf("the configuration has %s", count(len(problems), "problem")), "correct the values that are named", exitFailed}
			}
			if err != nil {
				return err
			}
			// What needs more than the file to be judged.
			if _, err := daemon.Trusts(f, a.lookup); err != nil {
				return err
			}
			return a.print(problemsAnswer(nil))
		},
	}
}

func problemsAnswer(problems config.Problems) answer {
	if problems == nil {
		problems = config.Problems{}
	}
	names := make([]string, len(problems))
	for i, p := range problems {
		names[i] = p.Key
	}
	return answer{
		data: map[string]any{"problems": problems},
		table: func(w io.Writer) {
			for _, p := range problems {
				fmt.Fprintln(w, p.Error())
			}
			if len(problems) == 0 {
				fmt.Fprintln(w, "the configuration is in order")
			}
		},
		names: names,
	}
}

func newConfigShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show the configuration in force, without secrets",
		Long: `Show the configuration in force: what the file says, overridden by the environment.
What is not shown has its default. Secrets are shown as the references that they
are in the file, and never as themselves.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := a.file(cmd)
			if err != nil {
				return err
			}
			text, err := f.YAML()
			if err != nil {
				return err
			}
			if a.output == "table" || a.output == "yaml" {
				_, err := a.out.Write(text)
				return err
			}
			tree, err := f.Tree()
			if err != nil {
				return err
			}
			return a.print(answer{data: tree})
		},
	}
}

// lookup reads the environment and the .env file; both were readable before.
func (a *app) lookup(name string) string {
	settings, err := a.load()
	if err != nil || settings.Lookup == nil {
		return ""
	}
	return settings.Lookup(name)
}

// count is "1 problem" or "3 problems".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
