package sdk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/sdk"
)

// clean takes everything from the environment that FromEnv reads.
func clean(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE", "TEMPORAL_TLS",
		"TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_CERT_DATA", "TEMPORAL_TLS_CLIENT_KEY_PATH", "TEMPORAL_TLS_CLIENT_KEY_DATA",
		"TEMPORAL_TLS_SERVER_CA_CERT_PATH", "TEMPORAL_TLS_SERVER_CA_CERT_DATA", "TEMPORAL_TLS_SERVER_NAME", "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION",
		sdk.EnvTokenFile, sdk.EnvPayloadKeyFile,
	} {
		t.Setenv(name, "") // so that it is put back
		require.NoError(t, os.Unsetenv(name))
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
}

func set(t *testing.T, variables map[string]string) {
	t.Helper()
	for name, value := range variables {
		t.Setenv(name, value)
	}
}

func TestFromEnv(t *testing.T) {
	clean(t)
	set(t, map[string]string{
		"TEMPORAL_ADDRESS": "temporal.example:7233", "TEMPORAL_NAMESPACE": "shop",
		"TEMPORAL_TLS_SERVER_CA_CERT_PATH": "/c/ca.crt", "TEMPORAL_TLS_CLIENT_CERT_PATH": "/c/o.crt", "TEMPORAL_TLS_CLIENT_KEY_PATH": "/c/o.key",
		"TEMPORAL_TLS_SERVER_NAME": "temporal.example", "TENON_TOKEN_FILE": "/c/o.jwt", "TENON_PAYLOAD_KEY_FILE": "/c/payload.key",
	})
	cfg, err := sdk.FromEnv()
	require.NoError(t, err)
	require.Equal(t, sdk.Config{
		Address: "temporal.example:7233", Namespace: "shop", CAFile: "/c/ca.crt", CertFile: "/c/o.crt", KeyFile: "/c/o.key",
		ServerName: "temporal.example", TokenFile: "/c/o.jwt", PayloadKeyFile: "/c/payload.key",
	}, cfg)
}

// profile is temporal.toml as a cluster keeps it.
func profile(token string) string {
	return fmt.Sprintf(`[profile.tenon]
address = "127.0.0.1:7233"
namespace = "default"
api_key = %q
[profile.tenon.tls]
client_cert_path = "/c/c.crt"
client_key_path = "/c/c.key"
server_ca_cert_path = "/c/ca.crt"
[profile.person]
address = "127.0.0.1:7233"
[profile.person.oauth]
client_id = "cli"
`, token)
}

func TestFromEnvReadsTheProfile(t *testing.T) {
	clean(t)
	file := filepath.Join(t.TempDir(), "temporal.toml")
	require.NoError(t, os.WriteFile(file, []byte(profile("first")), 0o600))
	set(t, map[string]string{"TEMPORAL_CONFIG_FILE": file, "TEMPORAL_PROFILE": "tenon", "TEMPORAL_NAMESPACE": "shop"})
	cfg, err := sdk.FromEnv()
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:7233", cfg.Address)
	require.Equal(t, "shop", cfg.Namespace, "a variable is stronger than the file")
	require.Equal(t, []string{"/c/ca.crt", "/c/c.crt", "/c/c.key"}, []string{cfg.CAFile, cfg.CertFile, cfg.KeyFile})
	require.Empty(t, cfg.TokenFile)
	require.Equal(t, "first", get(t, cfg.Token))

	// The cluster renews the token in the profile; a process that runs for longer
	// than the token lives follows.
	require.NoError(t, os.WriteFile(file, []byte(profile("second")), 0o600))
	require.Eventually(t, func() bool { return get(t, cfg.Token) == "second" }, 5*time.Second, 10*time.Millisecond)
	// It removes the file when it stops: nothing better is known than the last one.
	require.NoError(t, os.Remove(file))
	require.Never(t, func() bool { return get(t, cfg.Token) != "second" }, 1200*time.Millisecond, 100*time.Millisecond)
}

func TestFromEnvRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		set  map[string]string
		told string
	}{
		"nothing set":        {nil, "TEMPORAL_ADDRESS"},
		"no token":           {map[string]string{"TEMPORAL_ADDRESS": "a:1"}, "TENON_TOKEN_FILE"},
		"unknown profile":    {map[string]string{"TEMPORAL_ADDRESS": "a:1", "TEMPORAL_PROFILE": "nobody"}, "nobody"},
		"certificate data":   {map[string]string{"TEMPORAL_ADDRESS": "a:1", "TENON_TOKEN_FILE": "t", "TEMPORAL_TLS_CLIENT_CERT_DATA": "hunter2"}, "_PATH"},
		"no verification":    {map[string]string{"TEMPORAL_ADDRESS": "a:1", "TENON_TOKEN_FILE": "t", "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION": "true"}, "TEMPORAL_TLS_SERVER_NAME"},
		"a person's profile": {map[string]string{"TEMPORAL_PROFILE": "person"}, "TENON_TOKEN_FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			file := filepath.Join(t.TempDir(), "temporal.toml")
			require.NoError(t, os.WriteFile(file, []byte(profile("first")), 0o600))
			t.Setenv("TEMPORAL_CONFIG_FILE", file)
			set(t, c.set)
			_, err := sdk.FromEnv()
			require.ErrorContains(t, err, c.told)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}
