package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/cli"
)

// tenon runs a command line in a folder with a tenon.yaml.
func tenon(t *testing.T, file string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tenon.yaml"), []byte(file), 0o600))
	var out, err bytes.Buffer
	code = cli.Main(args, strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

func TestConfigCheck(t *testing.T) {
	code, out, stderr := tenon(t, "cluster: {shards: 4}\n", "config", "check", "--config", "tenon.yaml")
	require.Zero(t, code, stderr)
	require.Equal(t, "the configuration is in order\n", out)

	bad := "cluster:\n  shards: 99999\n  adress: x\npersistence: {postgresql: {address: 'db:1', user: u, password: hunter2}}\n"
	code, out, stderr = tenon(t, bad, "config", "check", "--config", "tenon.yaml")
	require.Equal(t, 1, code)
	require.Contains(t, out, "tenon.yaml:2:11: cluster.shards: 99999 is outside 1 to 16384\n")
	require.Contains(t, out, "tenon.yaml:3:3: cluster.adress: unknown key")
	require.Contains(t, out, "tenon.yaml:4:64: persistence.postgresql.password: want a reference")
	require.Contains(t, out, "persistence.postgresql.tls: is missing")
	require.Contains(t, stderr, "error: the configuration has 4 problems\n")
	require.NotContains(t, out+stderr, "hunter2")

	code, out, _ = tenon(t, bad, "config", "check", "--config", "tenon.yaml", "-o", "json")
	require.Equal(t, 1, code)
	var answer struct {
		Problems []struct{ At, Key, Problem string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &answer))
	require.Len(t, answer.Problems, 4)

	// Any other command says it too, before it does anything.
	code, _, stderr = tenon(t, bad, "server", "--config", "tenon.yaml")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "error: the configuration cannot be used: 4 problems: tenon.yaml:2:11: ")
	require.Contains(t, stderr, "hint: correct tenon.yaml, then: tenon config check --config tenon.yaml")

	code, _, stderr = tenon(t, "", "config", "check", "--config", "gone.yaml")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "hint: name a file that exists with --config")

	code, _, stderr = tenon(t, "issuers: [{keySource: 'http://plain/keys', audience: [a], issuer: i}]\n", "config", "check", "--config", "tenon.yaml")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "must be an https URL")
}

func TestConfigShow(t *testing.T) {
	t.Setenv("DB_PASSWORD", "hunter2")
	t.Setenv("TENON_CLUSTER_HOSTS", "a.example")
	file := "dataDir: state\npersistence: {postgresql: {address: 'localhost:1', user: u, password: 'env:DB_PASSWORD'}}\n"
	code, out, stderr := tenon(t, file, "config", "show", "--config", "tenon.yaml")
	require.Zero(t, code, stderr)
	require.Contains(t, out, "password: env:DB_PASSWORD")
	require.Contains(t, out, "hosts:\n    - a.example")
	require.NotContains(t, out, "hunter2")

	code, out, stderr = tenon(t, file, "config", "show", "--config", "tenon.yaml", "-o", "json")
	require.Zero(t, code, stderr)
	var tree map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &tree))
	require.Equal(t, "state", tree["dataDir"])

	// The environment names the file as well.
	t.Setenv("TENON_CONFIG", "tenon.yaml")
	code, out, stderr = tenon(t, file, "config", "show")
	require.Zero(t, code, stderr)
	require.Contains(t, out, "dataDir: state")
}
