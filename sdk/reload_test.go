package sdk_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"

	"github.com/tenonhq/tenon/internal/codec"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/sdk"
)

// identity is the files of one program.
type identity struct {
	dir string
	cfg sdk.Config
}

func (i *identity) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(i.dir, name)
	require.NoError(t, secret.WriteFile(path, []byte(text)))
	return path
}

// authority is a store of certificates and a frontend that shows what arrives.
type authority struct {
	store   *pki.Store
	address string
	serials chan string // of the clients' certificates
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	store, err := pki.Open(pki.Config{Dir: filepath.Join(t.TempDir(), "certs")})
	require.NoError(t, err)
	require.NoError(t, store.Init(t.Context()))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	a := &authority{store: store, address: listener.Addr().String(), serials: make(chan string, 16)}
	serving := tls.NewListener(listener, store.ServerTLS(pki.Frontend))
	t.Cleanup(func() { require.NoError(t, serving.Close()) })
	go func() {
		for {
			conn, err := serving.Accept()
			if err != nil {
				return
			}
			c := conn.(*tls.Conn)
			if err := c.HandshakeContext(context.Background()); err == nil {
				a.serials <- c.ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
			}
			_ = c.Close()
		}
	}()
	return a
}

// issue puts a certificate into the identity's files, over those before.
func (a *authority) issue(t *testing.T, i *identity) string {
	t.Helper()
	issued, err := a.store.Issue(t.Context(), pki.IssueRequest{Role: pki.RoleWorker, Name: "orders"})
	require.NoError(t, err)
	i.cfg.KeyFile = i.write(t, "orders.key", issued.KeyPEM.Reveal())
	i.cfg.CertFile = i.write(t, "orders.crt", string(issued.CertificatePEM))
	i.cfg.CAFile = i.write(t, "orders-ca.crt", string(issued.TrustPEM))
	return issued.Certificate.SerialNumber.Text(16)
}

func newIdentity(t *testing.T, a *authority) *identity {
	t.Helper()
	i := &identity{dir: t.TempDir()}
	a.issue(t, i)
	i.cfg.Address = a.address
	i.cfg.TokenFile = i.write(t, "orders.jwt", "first\n")
	return i
}

// connect makes one connection with what Options returned.
func (a *authority) connect(t *testing.T, opts client.Options) (serial string, err error) {
	t.Helper()
	cfg := opts.ConnectionOptions.TLS.Clone()
	cfg.NextProtos = []string{"h2"} // as gRPC adds
	conn, err := tls.Dial("tcp", a.address, cfg)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	select {
	case serial = <-a.serials:
		return serial, nil
	case <-time.After(10 * time.Second):
		return "", errors.New("the server saw no certificate")
	}
}

func TestCertificatesAreReadForEveryConnection(t *testing.T) {
	a := newAuthority(t)
	i := newIdentity(t, a)
	first := a.issue(t, i)
	opts, err := sdk.Options(i.cfg)
	require.NoError(t, err)
	seen, err := a.connect(t, opts)
	require.NoError(t, err)
	require.Equal(t, first, seen)

	second := a.issue(t, i)
	seen, err = a.connect(t, opts)
	require.NoError(t, err)
	require.Equal(t, second, seen, "the renewed one")

	// Half a renewal: certificate and key do not fit. The last good pair serves.
	i.write(t, "orders.crt", "nonsense")
	seen, err = a.connect(t, opts)
	require.NoError(t, err)
	require.Equal(t, second, seen)
	third := a.issue(t, i)
	seen, err = a.connect(t, opts)
	require.NoError(t, err)
	require.Equal(t, third, seen)

	// Trusted roots are read again too: first to refuse, then to accept.
	trusted, err := os.ReadFile(i.cfg.CAFile)
	require.NoError(t, err)
	strangers := newIdentity(t, newAuthority(t))
	foreign, err := os.ReadFile(strangers.cfg.CAFile)
	require.NoError(t, err)
	i.write(t, "orders-ca.crt", string(foreign))
	_, err = a.connect(t, opts)
	require.ErrorContains(t, err, "authority")
	i.write(t, "orders-ca.crt", string(foreign)+string(trusted))
	_, err = a.connect(t, opts)
	require.NoError(t, err)
}

func TestServerNameIsChecked(t *testing.T) {
	a := newAuthority(t)
	i := newIdentity(t, a)
	i.cfg.ServerName = "another.example"
	opts, err := sdk.Options(i.cfg)
	require.NoError(t, err)
	_, err = a.connect(t, opts)
	require.ErrorContains(t, err, "another.example")
}

func headers(t *testing.T, opts client.Options) string {
	t.Helper()
	h, err := opts.HeadersProvider.GetHeaders(t.Context())
	require.NoError(t, err)
	return h["authorization"]
}

func TestTokenFileIsReadAgain(t *testing.T) {
	i := newIdentity(t, newAuthority(t))
	opts, err := sdk.Options(i.cfg)
	require.NoError(t, err)
	require.Equal(t, "Bearer first", headers(t, opts))
	i.write(t, "orders.jwt", "second")
	require.Eventually(t, func() bool { return headers(t, opts) == "Bearer second" }, 5*time.Second, 10*time.Millisecond)
	// Gone for a moment: the last one serves until it expires by itself.
	require.NoError(t, os.Remove(i.cfg.TokenFile))
	require.Never(t, func() bool { return headers(t, opts) != "Bearer second" }, 1200*time.Millisecond, 100*time.Millisecond)

	i.cfg.TokenFile = filepath.Join(i.dir, "absent.jwt")
	_, err = sdk.Options(i.cfg)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestTokenSource(t *testing.T) {
	i := newIdentity(t, newAuthority(t))
	var asked atomic.Int32
	i.cfg.Token = sdk.TokenFunc(func(context.Context) (string, error) {
		if asked.Add(1) == 3 {
			return "", errors.New("no network")
		}
		return "fresh", nil
	})
	_, err := sdk.Options(i.cfg)
	require.ErrorContains(t, err, "either Token or TokenFile")
	i.cfg.TokenFile = ""
	opts, err := sdk.Options(i.cfg)
	require.NoError(t, err)
	require.Zero(t, asked.Load())
	require.Equal(t, "Bearer fresh", headers(t, opts))
	require.Equal(t, "Bearer fresh", headers(t, opts))
	_, err = opts.HeadersProvider.GetHeaders(t.Context())
	require.EqualError(t, err, "token: no network")

	i.cfg.Token = sdk.TokenFunc(func(context.Context) (string, error) { return "", nil })
	opts, err = sdk.Options(i.cfg)
	require.NoError(t, err)
	_, err = opts.HeadersProvider.GetHeaders(t.Context())
	require.Error(t, err, "an empty header would be a call without a token")
	i.cfg.Token = nil
	_, err = sdk.Options(i.cfg)
	require.ErrorContains(t, err, "TokenFile is empty")
}

func TestPayloadsAreEncrypted(t *testing.T) {
	i := newIdentity(t, newAuthority(t))
	i.cfg.PayloadKeyFile = filepath.Join(i.dir, "payload.key")
	_, err := sdk.Options(i.cfg)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = codec.LoadOrCreateKeyFile(i.cfg.PayloadKeyFile)
	require.NoError(t, err)
	opts, err := sdk.Options(i.cfg)
	require.NoError(t, err)
	sealed, err := opts.DataConverter.ToPayload("ada@example.com")
	require.NoError(t, err)
	require.Equal(t, "binary/encrypted", string(sealed.Metadata["encoding"]))
	require.NotContains(t, string(sealed.Data), "ada@")
	var text string
	require.NoError(t, opts.DataConverter.FromPayload(sealed, &text))
	require.Equal(t, "ada@example.com", text)

	// Failures quote inputs.
	failure := opts.FailureConverter.ErrorToFailure(errors.New("no such user: ada@example.com"))
	require.NotContains(t, failure.String(), "ada@")
	require.ErrorContains(t, opts.FailureConverter.FailureToError(failure), "ada@example.com")

	// A key that another process added after we started decrypts here.
	_, err = codec.AddKey(t.Context(), i.cfg.PayloadKeyFile, true)
	require.NoError(t, err)
	later, err := sdk.Options(i.cfg)
	require.NoError(t, err)
	var newer *commonpb.Payload
	newer, err = later.DataConverter.ToPayload("newer")
	require.NoError(t, err)
	require.NotEqual(t, sealed.Metadata["encryption-key-id"], newer.Metadata["encryption-key-id"])
	require.NoError(t, opts.DataConverter.FromPayload(newer, &text))
	require.Equal(t, "newer", text)

	// Without a key file payloads go in clear, and encrypted ones are not guessed at.
	i.cfg.PayloadKeyFile = ""
	clear, err := sdk.Options(i.cfg)
	require.NoError(t, err)
	require.Nil(t, clear.DataConverter)
}
