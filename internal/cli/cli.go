// Package cli owns the command line: flags in, answer out.
//
// A command is an options struct, a constructor and a run function; what it
// does is done by internal/daemon and the workflows of the cluster. stdout is
// the answer, stderr everything else. Failures are turned into text and exit
// code in one place (failure.go).
package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tenonhq/tenon/internal/config"
)

// Main runs the command line and returns the exit code of the process.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: stdin, out: stdout, err: stderr}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return report(stderr, cmd, err)
}

// app is what all commands share: the global flags and the three streams.
type app struct {
	in       io.Reader
	out, err io.Writer

	dataDir string
	// tokenFile is --token-file: another identity than the data directory's.
	tokenFile string
	envFile   string
	// configFile is --config; conf is what it and the environment say, once read.
	configFile string
	conf       *config.File
	output     string
	logLevel   string
	logFormat  string
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "tenon",
		Short: "Durable identity provisioning for Auth0",
		Long: `Tenon sets up Auth0 tenants, applications and users through workflows that
survive crashes, on a Temporal cluster that is encrypted, authenticated,
authorised and audited from its first second.

Start with "tenon demo": it runs everything on this machine, offline.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{cmd: cmd, err: err}
	})
	flags := root.PersistentFlags()
	flags.StringVar(&a.dataDir, "data-dir", envOr("TENON_DATA_DIR", ".tenon"), "folder that holds all state (TENON_DATA_DIR)")
	flags.StringVar(&a.configFile, "config", envOr("TENON_CONFIG", ""), "configuration file, for example tenon.yaml (TENON_CONFIG)")
	flags.StringVar(&a.tokenFile, "token-file", os.Getenv("TENON_TOKEN_FILE"), "file with the token to show to the cluster (TENON_TOKEN_FILE; default: the data directory's client token)")
	flags.StringVar(&a.envFile, "env-file", "", `file of KEY=VALUE lines read besides the environment (default ".env" if there is one)`)
	flags.StringVarP(&a.output, "output", "o", "table", "form of the answer: table, json, yaml or name")
	flags.StringVar(&a.logLevel, "log-level", envOr("TENON_LOG_LEVEL", "warn"), "least level that is logged: debug, info, warn or error (TENON_LOG_LEVEL)")
	flags.StringVar(&a.logFormat, "log-format", envOr("TENON_LOG_FORMAT", "text"), "form of log lines: text or json (TENON_LOG_FORMAT)")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return a.check(cmd) }

	root.AddGroup(
		&cobra.Group{ID: "start", Title: "Start:"},
		&cobra.Group{ID: "resources", Title: "Resources:"},
		&cobra.Group{ID: "identity", Title: "Identities:"},
		&cobra.Group{ID: "operate", Title: "Operate:"},
		&cobra.Group{ID: "role", Title: "One role each, for real deployments:"},
	)
	root.AddCommand(
		newDemo(a), newUp(a),
		newValidate(a), newPlan(a), newApply(a), newDelete(a), newGet(a), newExplain(a), newExport(a),
		newTenant(a), newApp(a), newUser(a), newService(a),
		newLogin(a), newRuns(a), newCerts(a), newTokens(a), newAudit(a), newDoctor(a), newConfig(a),
		newServer(a), newWorker(a), newAuth0Sim(a), newCodec(a),
		newVersion(a),
	)
	return root
}

// check refuses global flags that have no meaning.
func (a *app) check(cmd *cobra.Command) error {
	switch a.output {
	case "table", "json", "yaml", "name":
	default:
		return usagef(cmd, "--output %q is not one of table, json, yaml, name", a.output)
	}
	switch a.logFormat {
	case "text", "json":
	default:
		return usagef(cmd, "--log-format %q is not one of text, json", a.logFormat)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return usagef(cmd, "--log-level %q is not one of debug, info, warn, error", a.logLevel)
	}
	return a.useFile(cmd)
}

// logger returns the one log handler of the process, on stderr.
func (a *app) logger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(a.logLevel)) // checked before any command runs
	opts := &slog.HandlerOptions{Level: level}
	if a.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.err, opts))
	}
	return slog.New(slog.NewTextHandler(a.err, opts))
}

// load reads environment and .env file.
func (a *app) load() (*config.Config, error) {
	return config.Load(config.Options{EnvFile: a.envFile, EnvFileRequired: a.envFile != ""})
}

// interactive reports whether stderr is a terminal, the only place where
// progress is drawn.
func (a *app) interactive() bool {
	f, ok := a.err.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// version is the version of the module that was built, "devel" for a build
// from a work tree without one.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return strings.TrimPrefix(info.Main.Version, "v")
}
