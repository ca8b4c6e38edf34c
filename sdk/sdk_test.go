package sdk_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/credentials"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/sdk"
)

func TestFromDataDirSaysThatNothingRuns(t *testing.T) {
	_, err := sdk.FromDataDir(t.TempDir(), sdk.Client)
	require.ErrorIs(t, err, sdk.ErrNotRunning)

	dir := t.TempDir()
	require.NoError(t, config.WriteEndpoints(dir, config.Endpoints{PID: 1}))
	_, err = sdk.FromDataDir(dir, sdk.Client)
	require.ErrorIs(t, err, sdk.ErrNotRunning, "a simulator alone is no cluster")
}

func TestOptionsNameTheFileThatIsMissing(t *testing.T) {
	dir := t.TempDir()
	_, err := sdk.Options(sdk.InDataDir(dir, sdk.Client, "127.0.0.1:7233", ""))
	require.ErrorContains(t, err, "ca.crt")
	_, err = sdk.Options(sdk.InDataDir(dir, sdk.Client, "nonsense", ""))
	require.ErrorContains(t, err, `address "nonsense"`)
}

// TestConnectionsFollowTheAuthority rolls the certificate authority under a
// client that was made before: the next connection must trust the new one.
func TestConnectionsFollowTheAuthority(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	first := store(t, filepath.Join(dir, "certs"))
	client, err := sdk.TransportCredentials(sdk.InDataDir(dir, sdk.Client, "127.0.0.1:7233", ""))
	require.NoError(t, err)
	require.NoError(t, handshake(ctx, first.ServerTLS(pki.Frontend), client))

	require.NoError(t, os.RemoveAll(filepath.Join(dir, "certs")))
	second := store(t, filepath.Join(dir, "certs"))
	require.Error(t, handshake(ctx, first.ServerTLS(pki.Frontend), client), "the old authority is no longer trusted")
	require.NoError(t, handshake(ctx, second.ServerTLS(pki.Frontend), client))
}

func store(t *testing.T, dir string) *pki.Store {
	t.Helper()
	s, err := pki.Open(pki.Config{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, s.Init(context.Background()))
	return s
}

// handshake joins a server and a client over a pipe.
func handshake(ctx context.Context, server *tls.Config, client credentials.TransportCredentials) error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() {
		conn := tls.Server(a, server)
		if conn.Handshake() == nil {
			_, _ = conn.Write([]byte("x"))
		}
		a.Close()
	}()
	conn, _, err := client.ClientHandshake(ctx, "127.0.0.1", b)
	if err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}
