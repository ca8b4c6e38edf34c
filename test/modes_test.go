package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
)

// TestClientAuthModes shows each mode a caller with both, with one, and with
// neither.
func TestClientAuthModes(t *testing.T) {
	t.Parallel()
	const ok, denied, noHandshake = codes.OK, codes.PermissionDenied, codes.Unavailable
	for mode, want := range map[string]struct{ both, certificate, token, neither codes.Code }{
		"certificate-and-token": {ok, denied, noHandshake, noHandshake},
		"certificate-or-token":  {ok, ok, ok, denied},
		"token-only":            {ok, denied, ok, denied},
	} {
		t.Run(mode, func(t *testing.T) {
			s := start(t, daemon.Config{DataDir: t.TempDir(), Cluster: &daemon.ClusterConfig{Address: "127.0.0.1:0", ClientAuth: mode}})
			require.Equal(t, want.both, describe(t, s, true, true), "certificate and token")
			require.Equal(t, want.certificate, describe(t, s, true, false), "certificate")
			require.Equal(t, want.token, describe(t, s, false, true), "token")
			require.Equal(t, want.neither, describe(t, s, false, false), "neither")
		})
	}
}

// describe makes a reader's call with what it is given.
func describe(t *testing.T, s *stack, certificate, token bool) codes.Code {
	t.Helper()
	certs := filepath.Join(s.dir, "certs")
	ca, err := os.ReadFile(filepath.Join(certs, "ca.crt"))
	require.NoError(t, err)
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	require.True(t, cfg.RootCAs.AppendCertsFromPEM(ca))
	if certificate {
		pair, err := tls.LoadX509KeyPair(filepath.Join(certs, "temporal-client.crt"), filepath.Join(certs, "temporal-client.key"))
		require.NoError(t, err)
		cfg.Certificates = []tls.Certificate{pair}
	}
	conn, err := grpc.NewClient(s.endpoints.Cluster.Address, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if token {
		raw, err := os.ReadFile(filepath.Join(certs, "client-token.jwt"))
		require.NoError(t, err)
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(string(raw)))
	}
	_, err = workflowservice.NewWorkflowServiceClient(conn).DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: daemon.Namespace})
	return status.Code(err)
}

// TestOpenClusterOnPurpose opens a cluster the only way there is, and runs
// Tenon's own work on it.
func TestOpenClusterOnPurpose(t *testing.T) {
	t.Parallel()
	s := start(t, daemon.Config{
		DataDir:   t.TempDir(),
		Settings:  &config.Config{TLSOff: true, AuthOff: true},
		Cluster:   &daemon.ClusterConfig{Address: "127.0.0.1:0", InsecureNoTLS: true, InsecureNoAuth: true},
		Simulator: &daemon.SimulatorConfig{Address: "127.0.0.1:0", Memory: true},
		Worker:    &daemon.WorkerConfig{},
	})
	require.NoError(t, call(t.Context(), s.client))
	require.NoError(t, tenon(t, "tenant", "setup", "--data-dir", s.dir).Run())

	_, err := daemon.New(t.Context(), daemon.Config{
		DataDir:  filepath.Join(t.TempDir(), "data"),
		Settings: &config.Config{TLSOff: true},
		Cluster:  &daemon.ClusterConfig{Address: "0.0.0.0:0", InsecureNoTLS: true},
	})
	require.ErrorContains(t, err, "loopback")
}
