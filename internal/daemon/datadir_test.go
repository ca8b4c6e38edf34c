package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/config"
)

func TestDataDirIsForOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	first, err := OpenDataDir(path, "1.2.3")
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	_, err = OpenDataDir(path, "1.2.3")
	var e *config.Error
	require.ErrorAs(t, err, &e)
	require.Contains(t, e.Problem, "another tenon runs")

	joined, err := JoinDataDir(path)
	require.NoError(t, err, "a worker joins")
	require.NoError(t, joined.Close())

	require.NoError(t, first.Close())
	again, err := OpenDataDir(path, "1.2.4")
	require.NoError(t, err)
	data, err := os.ReadFile(again.File("version.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{"layout":1,"tenon":"1.2.3"}`, string(data), "the stamp says who made it")
	require.NoError(t, again.Close())
}

func TestDataDirRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "version.json"), []byte(`{"layout":2,"tenon":"2.0.0"}`), 0o600))
	_, err := OpenDataDir(dir, "1.0.0")
	require.ErrorContains(t, err, "was written by tenon 2.0.0")
	// The refusal released the lock.
	require.NoError(t, os.Remove(filepath.Join(dir, "version.json")))
	d, err := OpenDataDir(dir, "1.0.0")
	require.NoError(t, err)
	require.NoError(t, d.Close())

	_, err = JoinDataDir(t.TempDir())
	require.ErrorContains(t, err, "is not a data directory")
}

// TestInsecureTakesTwo: neither a variable that was inherited nor a flag alone
// opens the cluster.
func TestInsecureTakesTwo(t *testing.T) {
	for name, c := range map[string]struct {
		settings config.Config
		cluster  ClusterConfig
		problem  string
	}{
		"variable alone":   {config.Config{TLSOff: true}, ClusterConfig{}, "--insecure-no-tls is not given"},
		"flag alone":       {config.Config{}, ClusterConfig{InsecureNoAuth: true}, "TEMPORAL_AUTH_ENABLED is not false"},
		"one for another":  {config.Config{TLSOff: true}, ClusterConfig{InsecureNoAuth: true}, "--insecure-no-tls is not given"},
		"both":             {config.Config{TLSOff: true}, ClusterConfig{InsecureNoTLS: true}, ""},
		"nothing of these": {config.Config{}, ClusterConfig{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkInsecure(Config{Settings: &c.settings, Cluster: &c.cluster})
			if c.problem == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.problem)
		})
	}
}
