package test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/api/v1/v1test"
	"github.com/tenonhq/tenon/internal/daemon"
)

// TestExamples applies every stack of examples/ to a tenant of its own, twice:
// to a new one, and to one that holds all of it already, from another cluster.
// After each apply a plan has nothing to do, nor has a plan of what an export of
// the tenant writes. Together the examples use every kind.
func TestExamples(t *testing.T) {
	t.Parallel()
	var stacks []string
	seen := map[string]bool{}
	entries, err := os.ReadDir(filepath.Join("..", "examples"))
	require.NoError(t, err)
	for _, e := range entries {
		files, err := filepath.Glob(filepath.Join("..", "examples", e.Name(), "*.yaml"))
		require.NoError(t, err)
		if len(files) == 0 {
			continue
		}
		stacks = append(stacks, filepath.Join("..", "examples", e.Name()))
		var sources []v1.Source
		for _, f := range files {
			data, err := os.ReadFile(f)
			require.NoError(t, err)
			sources = append(sources, v1.Source{Name: f, Data: data})
		}
		m, err := v1.Load(sources...)
		require.NoError(t, err)
		for _, r := range m.Resources {
			seen[r.Kind] = true
		}
	}
	for _, kind := range v1.Kinds() {
		require.True(t, seen[kind], "no example uses %s", kind)
	}
	for _, stack := range stacks {
		t.Run(filepath.Base(stack), func(t *testing.T) {
			t.Parallel()
			sim := start(t, daemon.Config{DataDir: t.TempDir(), Simulator: &daemon.SimulatorConfig{Address: "127.0.0.1:0"}})
			for _, name := range []string{"new", "adopted"} {
				s := tenantStack(t, sim)
				pending := map[string]int{"new": 2, "adopted": 0}[name]
				s.run(t, pending, "plan", "-f", stack)
				s.run(t, 0, "apply", "-f", stack, "--yes")
				require.Contains(t, s.run(t, 0, "plan", "-f", stack), "nothing to do", name)

				exported := filepath.Join(t.TempDir(), "exported")
				s.run(t, 0, "export", "--dir", exported, "--kind", "Auth0User")
				s.run(t, 0, "export", "--dir", filepath.Join(exported, "rest"))
				if name == "adopted" {
					require.Contains(t, tenantStack(t, sim).run(t, 0, "plan", "-f", exported), "nothing to do")
				}
			}

			// Every boolean that the stack can set, explicitly false.
			off := filepath.Join(t.TempDir(), "off.json")
			require.NoError(t, os.WriteFile(off, allFalse(t, stack), 0o600))
			s := tenantStack(t, sim)
			s.run(t, 0, "apply", "-f", off, "--yes")
			require.Contains(t, s.run(t, 0, "plan", "-f", off), "nothing to do")
		})
	}
}

// allFalse is a stack's manifests with every boolean explicitly false, one JSON
// document a line.
func allFalse(t *testing.T, stack string) []byte {
	t.Helper()
	var sources []v1.Source
	files, err := filepath.Glob(filepath.Join(stack, "*.yaml"))
	require.NoError(t, err)
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		sources = append(sources, v1.Source{Name: f, Data: data})
	}
	m, err := v1.Load(sources...)
	require.NoError(t, err)
	var out bytes.Buffer
	for _, r := range v1test.AllOfFalse(m.Resources) {
		data, err := json.Marshal(r)
		require.NoError(t, err)
		out.WriteString("---\n" + string(data) + "\n")
	}
	return out.Bytes()
}

// exampleSecrets are the environment variables that the examples refer to.
var exampleSecrets = []string{"EVENTS_WEBHOOK_TOKEN", "SIEM_WEBHOOK_PASSWORD", "GOOGLE_CLIENT_SECRET", "LOYALTY_TOKEN", "GLOBEX_CLIENT_SECRET", "INITECH_CLIENT_SECRET"}

// cliStack is a cluster and worker on a tenant, used through the command line.
type cliStack struct{ dir string }

// tenantStack runs a cluster and a worker for the tenant of a simulator.
func tenantStack(t *testing.T, sim *stack) *cliStack {
	t.Helper()
	secret, err := os.ReadFile(sim.endpoints.Auth0.ClientSecretFile)
	require.NoError(t, err)
	dir := t.TempDir()
	env := filepath.Join(dir, "tenant.env")
	require.NoError(t, os.WriteFile(env, []byte("AUTH0_DOMAIN="+sim.endpoints.Auth0.Domain+"\nAUTH0_CLIENT_ID="+sim.endpoints.Auth0.ClientID+"\nAUTH0_CLIENT_SECRET="+strings.TrimSpace(string(secret))+"\n"), 0o600))
	s := &cliStack{dir: filepath.Join(dir, "data")}
	cmd := tenon(t, "up", "--data-dir", s.dir, "--env-file", env, "--address", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+sim.endpoints.Auth0.CA)
	for _, name := range exampleSecrets {
		cmd.Env = append(cmd.Env, name+"=example-secret-of-the-test")
	}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	awaitFile(t, filepath.Join(s.dir, "endpoints.json"))
	return s
}

// run runs a command and returns its output; code -1 accepts any.
func (s *cliStack) run(t *testing.T, code int, args ...string) string {
	t.Helper()
	cmd := tenon(t, append(args, "--data-dir", s.dir)...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if code >= 0 {
		got := 0
		if exit, ok := err.(*exec.ExitError); ok {
			got = exit.ExitCode()
		} else {
			require.NoError(t, err)
		}
		require.Equal(t, code, got, "%s\n%s\n%s", strings.Join(args, " "), out.String(), stderr.String())
	}
	return out.String()
}
