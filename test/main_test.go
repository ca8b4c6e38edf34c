package test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"crypto/tls"
	"crypto/x509"
	"log/slog"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/tenonhq/tenon/internal/cli"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/sdk"
)

// TestMain makes this test binary play the processes that the tests need:
// "tenon", the product's own command line, and "doomed-worker", a worker that
// kills itself at activity boundaries.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tenon": func() {
			os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
		"doomed-worker": doomedWorker,
	})
}

// stack is a cluster and a simulator in this process, on free ports.
type stack struct {
	dir       string
	endpoints config.Endpoints
	client    client.Client
	stop      func()
}

// startStack runs cluster and simulator on a data directory until the test ends.
func startStack(t *testing.T, dir string, worker *daemon.WorkerConfig) *stack {
	t.Helper()
	return start(t, daemon.Config{
		DataDir:   dir,
		Cluster:   &daemon.ClusterConfig{Address: "127.0.0.1:0"},
		Simulator: &daemon.SimulatorConfig{Address: "127.0.0.1:0"},
		Worker:    worker,
	})
}

// startCluster runs a cluster alone on a data directory of its own.
func startCluster(t *testing.T) *stack {
	t.Helper()
	return start(t, daemon.Config{DataDir: t.TempDir(), Cluster: &daemon.ClusterConfig{Address: "127.0.0.1:0"}})
}

func start(t *testing.T, cfg daemon.Config) *stack {
	t.Helper()
	require.NoError(t, os.Chmod(cfg.DataDir, 0o700))
	ctx, cancel := context.WithCancel(context.Background())
	cfg.Version = "test"
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	d, err := daemon.New(ctx, cfg)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	select {
	case <-d.Ready():
	case err := <-done:
		t.Fatalf("the stack stopped: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the stack is not ready after a minute")
	}
	s := &stack{dir: cfg.DataDir, endpoints: d.Endpoints()}
	target, err := sdk.FromDataDir(cfg.DataDir, sdk.Client)
	require.NoError(t, err)
	s.client, err = sdk.Dial(ctx, target)
	require.NoError(t, err)
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		s.client.Close()
		cancel()
		require.NoError(t, <-done)
	}
	t.Cleanup(s.stop)
	return s
}

// http is a client that trusts the stack's authority.
func (s *stack) http(t *testing.T) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(s.dir, "certs", "ca.crt"))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}, Timeout: 10 * time.Second}
}

// management reads from the simulator's Management API with its own credentials.
func (s *stack) management(t *testing.T, path string, into any) {
	t.Helper()
	c := s.http(t)
	base := "https://" + s.endpoints.Auth0.Domain
	secret, err := os.ReadFile(s.endpoints.Auth0.ClientSecretFile)
	require.NoError(t, err)
	res, err := c.PostForm(base+"/oauth/token", map[string][]string{
		"grant_type": {"client_credentials"}, "audience": {base + "/api/v2/"},
		"client_id": {s.endpoints.Auth0.ClientID}, "client_secret": {string(secret)},
	})
	require.NoError(t, err)
	defer res.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&token))
	req, err := http.NewRequest(http.MethodGet, base+"/api/v2/"+path, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	res, err = c.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode, path)
	require.NoError(t, json.NewDecoder(res.Body).Decode(into))
}

// notifyContext ends with SIGTERM, as a process manager sends it.
func notifyContext() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM)
}
