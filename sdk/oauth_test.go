package sdk_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/sdk"
)

// provider is an authorization server's token endpoint.
type provider struct {
	*httptest.Server
	mu     sync.Mutex
	forms  []map[string][]string
	life   int
	status int
	gate   chan struct{} // if set, each request waits for an element
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{life: 3600, status: http.StatusOK}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		p.mu.Lock()
		p.forms = append(p.forms, r.PostForm)
		n, life, status, gate := len(p.forms), p.life, p.status, p.gate
		p.mu.Unlock()
		if gate != nil {
			<-gate
		}
		w.Header().Set("Content-Type", "application/json")
		if status != http.StatusOK {
			w.Header().Set("Location", "https://evil.example/")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"error":"access_denied","error_description":%q}`, r.PostForm.Get("client_secret"))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("token-%d", n), "token_type": "Bearer", "expires_in": life})
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *provider) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.forms)
}

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (p *provider) source(t *testing.T) (sdk.TokenSource, *clock, sdk.ClientCredentialsConfig) {
	t.Helper()
	dir := t.TempDir()
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.crt"), roots, 0o600))
	require.NoError(t, secret.WriteFile(filepath.Join(dir, "client.secret"), []byte("hunter2\n")))
	moved := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	cfg := sdk.ClientCredentialsConfig{
		TokenURL: p.URL + "/oauth/token", ClientID: "orders", ClientSecretFile: filepath.Join(dir, "client.secret"),
		Audience: "https://temporal.example", CAFile: filepath.Join(dir, "ca.crt"), Now: moved.Now,
	}
	s, err := sdk.ClientCredentials(cfg)
	require.NoError(t, err)
	return s, moved, cfg
}

func get(t *testing.T, s sdk.TokenSource) string {
	t.Helper()
	raw, err := s.Token(t.Context())
	require.NoError(t, err)
	return raw
}

func TestClientCredentialsKeepsAndReplacesTheToken(t *testing.T) {
	p := newProvider(t)
	s, clock, cfg := p.source(t)
	require.Equal(t, "token-1", get(t, s))
	require.Equal(t, "token-1", get(t, s))
	require.Equal(t, 1, p.requests(), "the second came from memory")
	require.Equal(t, map[string][]string{
		"grant_type": {"client_credentials"}, "client_id": {"orders"}, "client_secret": {"hunter2"}, "audience": {"https://temporal.example"},
	}, p.forms[0])

	clock.advance(54 * time.Minute)
	require.Equal(t, "token-1", get(t, s))
	clock.advance(2 * time.Minute)
	require.Equal(t, "token-2", get(t, s), "five minutes before its end")

	// A rotated secret needs no restart.
	require.NoError(t, secret.WriteFile(cfg.ClientSecretFile, []byte("rotated")))
	clock.advance(56 * time.Minute)
	require.Equal(t, "token-3", get(t, s))
	require.Equal(t, []string{"rotated"}, p.forms[2]["client_secret"])

	// Short-lived tokens are replaced after two thirds.
	p.set(func() { p.life = 90 })
	clock.advance(56 * time.Minute)
	require.Equal(t, "token-4", get(t, s))
	clock.advance(50 * time.Second)
	require.Equal(t, "token-4", get(t, s))
	clock.advance(20 * time.Second)
	require.Equal(t, "token-5", get(t, s))
}

func TestClientCredentialsOutlivesTheServer(t *testing.T) {
	p := newProvider(t)
	s, clock, _ := p.source(t)
	require.Equal(t, "token-1", get(t, s))
	p.set(func() { p.status = http.StatusServiceUnavailable })
	clock.advance(56 * time.Minute)
	require.Equal(t, "token-1", get(t, s), "it serves until it expires")
	require.Equal(t, "token-1", get(t, s))
	require.Equal(t, 2, p.requests(), "an outage is not made worse")
	clock.advance(5 * time.Second)
	require.Equal(t, "token-1", get(t, s))
	require.Equal(t, 3, p.requests())

	clock.advance(5 * time.Minute)
	_, err := s.Token(t.Context())
	require.ErrorContains(t, err, "access_denied")
	require.NotContains(t, err.Error(), "hunter2", "the server quoted the secret")
	_, err = s.Token(t.Context())
	require.Error(t, err)
	require.Equal(t, 4, p.requests())
	p.set(func() { p.status = http.StatusOK })
	clock.advance(5 * time.Second)
	require.Equal(t, "token-5", get(t, s))

	// A redirect is no answer: it would take the secret elsewhere.
	p.set(func() { p.status = http.StatusTemporaryRedirect })
	clock.advance(time.Hour)
	_, err = s.Token(t.Context())
	require.Error(t, err)
	require.NotContains(t, err.Error(), "evil.example")
}

func TestClientCredentialsFetchesOnce(t *testing.T) {
	p := newProvider(t)
	s, clock, _ := p.source(t)
	gate := make(chan struct{})
	p.set(func() { p.gate = gate })
	got := make(chan string, 16)
	for range cap(got) {
		go func() {
			raw, err := s.Token(t.Context())
			if err != nil {
				raw = err.Error()
			}
			got <- raw
		}()
	}
	gate <- struct{}{}
	for range cap(got) {
		require.Equal(t, "token-1", <-got)
	}
	require.Equal(t, 1, p.requests())

	// While one replaces it, the others go on with the token at hand.
	clock.advance(56 * time.Minute)
	go func() {
		raw, _ := s.Token(t.Context())
		got <- raw
	}()
	require.Eventually(t, func() bool { return p.requests() == 2 }, 10*time.Second, time.Millisecond)
	require.Equal(t, "token-1", get(t, s))
	gate <- struct{}{}
	require.Equal(t, "token-2", <-got)
	require.Equal(t, "token-2", get(t, s))
}

func TestClientCredentialsConfigRefused(t *testing.T) {
	p := newProvider(t)
	_, _, good := p.source(t)
	for name, change := range map[string]func(*sdk.ClientCredentialsConfig){
		"plain http":      func(c *sdk.ClientCredentialsConfig) { c.TokenURL = "http://idp.example/token" },
		"no url":          func(c *sdk.ClientCredentialsConfig) { c.TokenURL = "" },
		"no client":       func(c *sdk.ClientCredentialsConfig) { c.ClientID = "" },
		"no secret":       func(c *sdk.ClientCredentialsConfig) { c.ClientSecretFile = "" },
		"absent secret":   func(c *sdk.ClientCredentialsConfig) { c.ClientSecretFile += ".absent" },
		"absent roots":    func(c *sdk.ClientCredentialsConfig) { c.CAFile += ".absent" },
		"roots are none":  func(c *sdk.ClientCredentialsConfig) { c.CAFile = c.ClientSecretFile },
		"readable secret": func(c *sdk.ClientCredentialsConfig) { require.NoError(t, os.Chmod(c.ClientSecretFile, 0o644)) },
	} {
		cfg := good
		change(&cfg)
		_, err := sdk.ClientCredentials(cfg)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "hunter2", name)
	}
}
