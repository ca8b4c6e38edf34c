package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/workflows"
)

// stackFlags say which stack of which tenant a command is about.
type stackFlags struct {
	tenant string
	stack  string
}

func (s *stackFlags) register(cmd *cobra.Command) {
	tenantFlag(cmd, &s.tenant)
	cmd.Flags().StringVar(&s.stack, "stack", "default", "name of the stack, the set of manifests that is applied together")
}

// open connects to the cluster and finds the stack.
func (a *app) open(ctx context.Context, s stackFlags) (client.Client, *workflows.Stack, string, error) {
	c, endpoints, err := a.connect(ctx)
	if err != nil {
		return nil, nil, "", err
	}
	tenant, err := tenantOf(s.tenant, endpoints)
	if err != nil {
		c.Close()
		return nil, nil, "", err
	}
	return c, workflows.NewStack(c, tenant, s.stack), tenant, nil
}

func tenantOf(named string, endpoints *config.Endpoints) (string, error) {
	switch {
	case named != "":
		return named, nil
	case endpoints.Auth0 != nil:
		return endpoints.Auth0.Domain, nil
	}
	return "", &failure{errors.New("which tenant is meant is not known"), "name it with --tenant", exitFailed}
}

// filesFlag registers -f.
func filesFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "filename", "f", nil, "file or folder of manifests, or - for stdin; may be repeated")
}

// load reads, checks and expands manifests. Warnings go to stderr.
func (a *app) manifests(cmd *cobra.Command, files []string) (*v1.Manifests, error) {
	if len(files) == 0 {
		return nil, usagef(cmd, "-f is missing: name a file or folder of manifests, or - for stdin")
	}
	sources, err := a.sources(files)
	if err != nil {
		return nil, err
	}
	m, err := v1.Load(sources...)
	if err != nil {
		return nil, err
	}
	for _, w := range m.Warnings {
		fmt.Fprintln(a.err, "warning:", w)
	}
	return m, nil
}

// sources reads the files that -f names. A folder stands for the manifests in it
// and below.
func (a *app) sources(files []string) ([]v1.Source, error) {
	var sources []v1.Source
	read := func(path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Size() > v1.MaxSourceBytes {
			return fmt.Errorf("%s has %d bytes, at most %d are read", path, info.Size(), v1.MaxSourceBytes)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sources = append(sources, v1.Source{Name: path, Data: data})
		return nil
	}
	for _, path := range files {
		if path == "-" {
			data, err := io.ReadAll(io.LimitReader(a.in, v1.MaxSourceBytes+1))
			if err != nil {
				return nil, fmt.Errorf("read stdin: %w", err)
			}
			sources = append(sources, v1.Source{Name: "stdin", Data: data})
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if err := read(path); err != nil {
				return nil, err
			}
			continue
		}
		found := len(sources)
		err = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && len(entry.Name()) > 1 && entry.Name() != "..":
				return filepath.SkipDir
			case entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
				return nil
			}
			return read(path)
		})
		if err != nil {
			return nil, err
		}
		if len(sources) == found {
			return nil, fmt.Errorf("%s holds no manifests: no .yaml, .yml or .json file", path)
		}
	}
	return sources, nil
}

// seal moves secrets that are written in manifests into the secret store, and
// puts references in their place: nothing that leaves this process has them.
func (a *app) seal(ctx context.Context, m *v1.Manifests, tenant, stack string) error {
	sealed, err := daemon.Seal(ctx, a.dataDir, tenant, stack, m)
	for _, s := range sealed {
		fmt.Fprintf(a.err, "sealed: %s: %s is kept as %s\n", s.Resource, s.Path, s.Ref)
	}
	return err
}

// keys reads "Kind/name" arguments.
func keys(cmd *cobra.Command, args []string) ([]engine.Key, error) {
	var out []engine.Key
	for _, arg := range args {
		var key engine.Key
		if err := key.UnmarshalText([]byte(arg)); err != nil || key.Kind == "" || key.Name == "" {
			return nil, usagef(cmd, "%q has not the form KIND/NAME", arg)
		}
		if !slices.Contains(v1.Kinds(), key.Kind) {
			return nil, usagef(cmd, "%q: unknown kind; known are %s", arg, strings.Join(v1.Kinds(), ", "))
		}
		out = append(out, key)
	}
	return out, nil
}

func newValidate(a *app) *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:     "validate -f FILE|DIR",
		GroupID: "resources",
		Short:   "Check manifests, offline",
		Long: `Check manifests without a tenant: kinds, keys, types, values, references within
what is given, duplicate names. All problems of all files are shown at once,
with file, line and column. Needs no running tenon.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := a.manifests(cmd, files)
			if err != nil {
				return err
			}
			names := make([]string, len(m.Resources))
			lines := [][]string{{"KIND", "NAME"}}
			type line struct {
				Kind string `json:"kind"`
				Name string `json:"name"`
			}
			data := make([]line, len(m.Resources))
			for i, r := range m.Resources {
				names[i] = engine.KeyOf(r).String()
				lines = append(lines, []string{r.Kind, r.Metadata.Name})
				data[i] = line{r.Kind, r.Metadata.Name}
			}
			return a.print(answer{data: data, names: names, table: func(w io.Writer) {
				rows(w, lines...)
				fmt.Fprintf(w, "%s valid\n", plural(len(data), "resource is", "resources are"))
			}})
		},
	}
	filesFlag(cmd, &files)
	return cmd
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
