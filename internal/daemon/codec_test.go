package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/codec"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
)

// clusterFiles makes what a cluster leaves in its data directory.
func clusterFiles(t *testing.T) CodecConfig {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	opened, err := OpenDataDir(dir, "test")
	require.NoError(t, err)
	require.NoError(t, opened.Close())
	paths := PathsOf(dir, nil)
	store, err := pki.Open(pki.Config{Dir: paths.Certs})
	require.NoError(t, err)
	require.NoError(t, store.Init(t.Context()))
	issuer, err := token.OpenIssuer(token.IssuerConfig{Dir: paths.Certs})
	require.NoError(t, err)
	require.NoError(t, issuer.Init(t.Context()))
	_, err = codec.LoadOrCreateKeyFile(paths.PayloadKeys)
	require.NoError(t, err)
	return CodecConfig{Paths: paths, Address: "127.0.0.1:0"}
}

// serve runs a codec server until the test ends.
func serve(t *testing.T, cfg CodecConfig) (*Codec, func() error) {
	t.Helper()
	c, err := NewCodec(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	<-c.Ready()
	stop := func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() { require.NoError(t, stop()) })
	return c, stop
}

func TestCodecRefusesToStart(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*testing.T, *CodecConfig)
		told   string
	}{
		"no data directory": {func(_ *testing.T, c *CodecConfig) { c.Paths = PathsOf(filepath.Join(c.Paths.DataDir, "absent"), nil) }, "is not a data directory"},
		"no payload keys":   {func(_ *testing.T, c *CodecConfig) { c.PayloadKeyFile = filepath.Join(c.Paths.DataDir, "absent.key") }, "absent.key"},
		"readable keys":     {func(t *testing.T, c *CodecConfig) { require.NoError(t, os.Chmod(c.Paths.PayloadKeys, 0o644)) }, "0644"},
		"no origin":         {func(_ *testing.T, c *CodecConfig) { c.AllowOrigins = []string{"*"} }, "is no origin"},
		"no certificate":    {func(_ *testing.T, c *CodecConfig) { c.CertFile, c.KeyFile = "absent.crt", "absent.key" }, "absent.crt"},
		"no signing key": {func(t *testing.T, c *CodecConfig) {
			require.NoError(t, os.Remove(filepath.Join(c.Paths.Certs, "temporal-jwt-private.key")))
		}, "holds no signing key"},
		"port in use": {func(t *testing.T, c *CodecConfig) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, l.Close()) })
			c.Address = l.Addr().String()
		}, "in use"},
		"a second one": {func(t *testing.T, c *CodecConfig) { serve(t, *c) }, "another tenon codec runs"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := clusterFiles(t)
			c.change(t, &cfg)
			_, err := NewCodec(cfg)
			require.ErrorContains(t, err, c.told)
			var explained *config.Error
			require.True(t, errors.As(err, &explained), "%v", err)
			require.NotEmpty(t, explained.Hint)
		})
	}
	// What failed to start holds nothing: the next one starts.
	cfg := clusterFiles(t)
	good := cfg.AllowOrigins
	cfg.AllowOrigins = []string{"*"}
	_, err := NewCodec(cfg)
	require.Error(t, err)
	cfg.AllowOrigins = good
	_, stop := serve(t, cfg)
	require.NoError(t, stop())
	_, stop = serve(t, cfg)
	require.NoError(t, stop())
}

// TestCodecServesARenewedCertificate replaces the operator's own certificate.
func TestCodecServesARenewedCertificate(t *testing.T) {
	cfg := clusterFiles(t)
	public, err := pki.Open(pki.Config{Dir: filepath.Join(t.TempDir(), "public")})
	require.NoError(t, err)
	require.NoError(t, public.Init(t.Context()))
	dir := t.TempDir()
	cfg.CertFile, cfg.KeyFile = filepath.Join(dir, "codec.crt"), filepath.Join(dir, "codec.key")
	renew := func() string {
		t.Helper()
		issued, err := public.Issue(t.Context(), pki.IssueRequest{Role: pki.RoleServer, Name: "codec", DNS: []string{"codec.example"}})
		require.NoError(t, err)
		require.NoError(t, secret.WriteFile(cfg.KeyFile, []byte(issued.KeyPEM.Reveal())))
		require.NoError(t, secret.WriteFile(cfg.CertFile, issued.CertificatePEM))
		return issued.Certificate.SerialNumber.Text(16)
	}
	first := renew()
	c, _ := serve(t, cfg)
	served := func() string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		// The name and the chain are the client's business, not this test's.
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
		conn, err := d.DialContext(ctx, "tcp", c.listener.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
	}
	require.Equal(t, first, served())
	second := renew()
	require.Equal(t, second, served())
	// Half a renewal leaves the last good one in force.
	require.NoError(t, secret.WriteFile(cfg.CertFile, []byte("nonsense")))
	require.Equal(t, second, served())
	third := renew()
	require.Equal(t, third, served())
}
