package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clock is a time that tests move by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// logBuffer is a log that goroutines may write while the test reads.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// openStore opens a store without Init.
func openStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "certs")
	}
	s, err := Open(cfg)
	require.NoError(t, err)
	return s
}

// newStore opens a store and runs Init.
func newStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	s := openStore(t, cfg)
	require.NoError(t, s.Init(t.Context()))
	require.Empty(t, s.Problems())
	return s
}

// handshake connects a client to a server in memory, lets the server send a
// byte (a TLS 1.3 client learns only then that it was refused), and returns
// both ends' errors.
func handshake(server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	// A pipe of the kernel, not net.Pipe: an alert must not block because the
	// other side has stopped reading.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return state, err, err
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		conn := tls.Server(raw, server)
		defer conn.Close()
		if err = conn.Handshake(); err == nil {
			_, err = conn.Write([]byte("x"))
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return state, err, err
	}
	conn := tls.Client(raw, client)
	clientErr = conn.Handshake()
	if clientErr == nil {
		state = conn.ConnectionState()
		_, clientErr = io.ReadFull(conn, make([]byte, 1))
	}
	conn.Close()
	return state, <-done, clientErr
}

func requireHandshake(t testing.TB, server, client *tls.Config) tls.ConnectionState {
	t.Helper()
	state, serverErr, clientErr := handshake(server, client)
	require.NoError(t, serverErr)
	require.NoError(t, clientErr)
	return state
}

// requireRefused expects the handshake to fail, with an error that the server
// (or, if it never notices, the client) explains with text.
func requireRefused(t testing.TB, server, client *tls.Config, text string) {
	t.Helper()
	_, serverErr, clientErr := handshake(server, client)
	require.Error(t, clientErr)
	require.ErrorContains(t, errors.Join(serverErr, clientErr), text)
}

// asClient returns the configuration of a client of s that shows another
// certificate.
func asClient(t testing.TB, s *Store, issued *Issued) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(issued.CertificatePEM, []byte(issued.KeyPEM.Reveal()))
	require.NoError(t, err)
	cfg := s.ClientTLS("")
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return cfg
}

func issue(t testing.TB, s *Store, r IssueRequest) *Issued {
	t.Helper()
	issued, err := s.Issue(t.Context(), r)
	require.NoError(t, err)
	return issued
}

func readCerts(t testing.TB, s *Store, file string) []*x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(s.path(file))
	require.NoError(t, err)
	certs, err := parseCertificates(text)
	require.NoError(t, err)
	return certs
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, text, 0o600))
}

// hold takes a store's lock until the test ends or the result is called.
func hold(t testing.TB, s *Store) func() {
	t.Helper()
	unlock, err := s.lock(context.Background())
	require.NoError(t, err)
	return unlock
}

// serveOne shakes hands as the frontend, says goodbye, and hangs up.
func serveOne(raw net.Conn, s *Store) error {
	conn := tls.Server(raw, s.ServerTLS(Frontend))
	if err := conn.Handshake(); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("bye\n")); err != nil {
		return err
	}
	return conn.Close()
}
