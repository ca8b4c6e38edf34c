package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
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
	if cfg.Cluster != nil {
		target, err := sdk.FromDataDir(cfg.DataDir, sdk.Client)
		require.NoError(t, err)
		s.client, err = sdk.Dial(ctx, target)
		require.NoError(t, err)
	}
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		if s.client != nil {
			s.client.Close()
		}
		cancel()
		require.NoError(t, <-done)
	}
	t.Cleanup(s.stop)
	return s
}

// http is a client that trusts the stack's authority.
func (s *stack) http() (*http.Client, error) {
	pem, err := os.ReadFile(filepath.Join(s.dir, "certs", "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}, Timeout: 10 * time.Second}, nil
}

// token gets one of the Management API with the simulator's own credentials.
func (s *stack) token(c *http.Client) (string, error) {
	base := "https://" + s.endpoints.Auth0.Domain
	secret, err := os.ReadFile(s.endpoints.Auth0.ClientSecretFile)
	if err != nil {
		return "", err
	}
	res, err := c.PostForm(base+"/oauth/token", map[string][]string{
		"grant_type": {"client_credentials"}, "audience": {base + "/api/v2/"},
		"client_id": {s.endpoints.Auth0.ClientID}, "client_secret": {string(secret)},
	})
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	err = json.NewDecoder(res.Body).Decode(&token)
	return token.AccessToken, err
}

// manage calls the simulator's Management API with its own credentials.
func (s *stack) manage(method, path string, body, into any) error {
	c, err := s.http()
	if err != nil {
		return err
	}
	token, err := s.token(c)
	if err != nil {
		return err
	}
	base := "https://" + s.endpoints.Auth0.Domain
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(data)
	}
	req, err := http.NewRequest(method, base+"/api/v2/"+path, sent)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// management reads from the simulator's Management API.
func (s *stack) management(t *testing.T, path string, into any) {
	t.Helper()
	require.NoError(t, s.manage(http.MethodGet, path, nil, into))
}

// notifyContext ends with SIGTERM, as a process manager sends it.
func notifyContext() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM)
}
