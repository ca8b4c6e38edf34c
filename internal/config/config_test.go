package config_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/config"
)

func load(t *testing.T, dotenv string, env map[string]string) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), ".env")
	if dotenv != "" {
		require.NoError(t, os.WriteFile(path, []byte(dotenv), 0o600))
	}
	return config.Load(config.Options{EnvFile: path, Getenv: func(k string) string { return env[k] }})
}

func TestLoad(t *testing.T) {
	cfg, err := load(t, "", nil)
	require.NoError(t, err)
	require.Nil(t, cfg.Auth0)
	require.Nil(t, cfg.Grafana)
	require.Empty(t, cfg.EnvFile)

	cfg, err = load(t, "AUTH0_DOMAIN=https://Acme.eu.auth0.com/\nAUTH0_CLIENT_ID=id\nAUTH0_CLIENT_SECRET='s3$cret'\n", map[string]string{"AUTH0_CLIENT_ID": "other"})
	require.NoError(t, err)
	require.Equal(t, &config.Auth0{Domain: "acme.eu.auth0.com", ClientID: "other", ClientSecret: "dotenv:AUTH0_CLIENT_SECRET"}, cfg.Auth0, "the environment wins, and the secret is a reference")
	require.NotContains(t, fmt.Sprintf("%+v %+v", cfg, *cfg.Auth0), "s3$cret")

	cfg, err = load(t, "X=1\n", map[string]string{"TEMPORAL_TLS_ENABLED": "false", "TEMPORAL_AUTH_ENABLED": "true", "Y": "2"})
	require.NoError(t, err)
	require.True(t, cfg.TLSOff)
	require.False(t, cfg.AuthOff)
	require.Equal(t, "1", cfg.Lookup("X"))
	require.Equal(t, "2", cfg.Lookup("Y"))

	cfg, err = load(t, "", map[string]string{"GRAFANA_URL": "https://g.example/", "GRAFANA_TOKEN": "t"})
	require.NoError(t, err)
	require.Equal(t, &config.Grafana{URL: "https://g.example", Token: "env:GRAFANA_TOKEN"}, cfg.Grafana)
}

func TestLoadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		dotenv string
		env    map[string]string
		want   string
	}{
		"malformed":        {"AUTH0_DOMAIN=a.b\nAUTH0_CLIENT_SECRET s3cret\n", nil, ".env:2: not of the form KEY=VALUE"},
		"half credentials": {"AUTH0_DOMAIN=a.b\nAUTH0_CLIENT_ID=x\n", nil, "AUTH0_CLIENT_SECRET is not"},
		"bad domain":       {"AUTH0_DOMAIN=a.b/c\nAUTH0_CLIENT_ID=x\nAUTH0_CLIENT_SECRET=y\n", nil, `"a.b/c" is not a host name`},
		"no dot":           {"AUTH0_DOMAIN=acme\nAUTH0_CLIENT_ID=x\nAUTH0_CLIENT_SECRET=y\n", nil, `"acme" has no dot`},
		"switch":           {"TEMPORAL_AUTH_ENABLED=off\n", nil, "neither true nor false"},
		"grafana url":      {"GRAFANA_URL=grafana\n", nil, "is not a URL"},
		"grafana token":    {"", map[string]string{"GRAFANA_URL": "https://g"}, "GRAFANA_TOKEN is not"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, c.dotenv, c.env)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "s3cret")
			var e *config.Error
			require.ErrorAs(t, err, &e)
			require.NotEmpty(t, e.Hint)
		})
	}
}

func TestLoadRefusesReadableEnvFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".env")
	require.NoError(t, os.WriteFile(path, []byte("A=1\n"), 0o640))
	_, err := config.Load(config.Options{EnvFile: path})
	var e *config.Error
	require.ErrorAs(t, err, &e)
	require.Contains(t, e.Hint, "chmod 600")
	_, err = config.Load(config.Options{EnvFile: path + "x", EnvFileRequired: true})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestEndpoints(t *testing.T) {
	dir := t.TempDir()
	_, err := config.ReadEndpoints(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	want := config.Endpoints{PID: 7, Cluster: &config.ClusterEndpoints{Address: "127.0.0.1:1", Namespace: "default", CA: "ca.crt"}}
	require.NoError(t, config.WriteEndpoints(dir, want))
	got, err := config.ReadEndpoints(dir)
	require.NoError(t, err)
	require.Equal(t, want, *got)
	require.NoError(t, config.RemoveEndpoints(dir))
	require.NoError(t, config.RemoveEndpoints(dir))
}
