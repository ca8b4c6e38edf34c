package cluster_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/tenonhq/tenon/internal/cluster"
)

// shared is one server for all tests that do not need their own: a start costs
// as much as most of them.
var shared struct {
	tls     *fakeTLS
	address string
	log     *recorder
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "shared server:", err)
		return 1
	}
	var err error
	if shared.tls, err = newFakeTLS(); err != nil {
		return fail(err)
	}
	shared.log = &recorder{}
	s, err := cluster.New(cluster.Config{
		Frontend:    "127.0.0.1:0",
		Persistence: cluster.Persistence{Memory: true},
		Namespaces:  testNamespaces,
		TLS:         shared.tls,
		Access:      fakeAccess{},
		Logger:      slog.New(shared.log),
	})
	if err != nil {
		return fail(err)
	}
	shared.address = s.Address()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			code = fail(err)
		}
	}()
	select {
	case <-s.Ready():
		return m.Run()
	case err := <-done:
		done <- nil
		return fail(errors.Join(errors.New("ended before it was ready"), err))
	}
}

// running is a server of a test's own.
type running struct {
	*cluster.Server
	stop func() (time.Duration, error)
}

// start runs a server until stop is called or the test ends.
func start(t *testing.T, cfg cluster.Config) *running {
	t.Helper()
	s, err := cluster.New(cfg)
	require.NoError(t, err)
	return startServer(t, s)
}

func startServer(t *testing.T, s *cluster.Server) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceValues(func() (time.Duration, error) {
		began := time.Now()
		cancel()
		err := <-done
		return time.Since(began), err
	})
	t.Cleanup(func() {
		_, err := stop()
		require.NoError(t, err)
	})
	select {
	case <-s.Ready():
	case err := <-done:
		done <- nil
		require.FailNow(t, "ended before it was ready", "%v", err)
	}
	return &running{s, stop}
}

// dial connects a client; a nil certificate or an empty token is left out.
func dial(t *testing.T, address string, f *fakeTLS, cert *tls.Certificate, token string) (client.Client, error) {
	t.Helper()
	o := client.Options{
		HostPort: address,
		Logger:   slog.New(slog.DiscardHandler),
	}
	if f != nil {
		o.ConnectionOptions.TLS = clientTLS(cert, f.clients.pool, "temporal-server")
	}
	if token != "" {
		o.HeadersProvider = bearer(token)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := client.DialContext(ctx, o)
	if err == nil {
		t.Cleanup(c.Close)
	}
	return c, err
}

type bearer string

func (b bearer) GetHeaders(context.Context) (map[string]string, error) {
	return map[string]string{"authorization": string(b)}, nil
}

// recorder keeps the log's records.
type recorder struct {
	mu      sync.Mutex
	records []slog.Record
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *recorder) WithGroup(string) slog.Handler            { return r }

func (r *recorder) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, rec.Clone())
	return nil
}

func (r *recorder) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	for _, rec := range r.records {
		line := rec.Level.String() + " " + rec.Message
		rec.Attrs(func(a slog.Attr) bool {
			line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
			return true
		})
		lines = append(lines, line)
	}
	return lines
}
