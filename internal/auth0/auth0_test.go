package auth0_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/secret"
)

const canary = "canary-client-secret-7f3a"

// memory is a secret store for tests.
type memory map[string]string

func (m memory) Get(_ context.Context, name string) (secret.Value, error) {
	if v, ok := m[name]; ok {
		return secret.New(v), nil
	}
	return secret.Value{}, secret.ErrNotFound
}
func (m memory) Put(_ context.Context, name string, v secret.Value) error {
	m[name] = v.Reveal()
	return nil
}
func (m memory) Delete(_ context.Context, name string) error { delete(m, name); return nil }

// tenant is a fake tenant: it issues tokens, and handler answers the rest.
type tenant struct {
	*httptest.Server
	domain, caFile string
	handler        http.HandlerFunc

	mu     sync.Mutex
	tokens int
	valid  string
	expiry time.Duration
	calls  []string
	agents map[string]bool
}

func newTenant(t *testing.T, handler http.HandlerFunc) *tenant {
	f := &tenant{handler: handler, expiry: 24 * time.Hour, agents: map[string]bool{}}
	f.Server = httptest.NewTLSServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	f.domain = strings.TrimPrefix(f.URL, "https://")
	f.caFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(f.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), 0o600))
	return f
}

func (f *tenant) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.agents[r.Header.Get("User-Agent")] = true
	f.mu.Unlock()
	if r.URL.Path == "/oauth/token" {
		if r.FormValue("client_secret") != canary {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"error":"access_denied","error_description":"Unauthorized %s"}`, r.FormValue("client_secret"))
			return
		}
		f.mu.Lock()
		f.tokens++
		f.valid = "token-" + strconv.Itoa(f.tokens)
		expiry := int(f.expiry.Seconds())
		body := fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":%d,"scope":"read:clients create:clients"}`, f.valid, expiry)
		f.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/api/v2/") {
		f.mu.Lock()
		f.calls = append(f.calls, r.Method+" "+r.URL.Path)
		ok := r.Header.Get("Authorization") == "Bearer "+f.valid
		f.mu.Unlock()
		if !ok {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"statusCode":401,"error":"Unauthorized","message":"Invalid token"}`)
			return
		}
	}
	f.handler(w, r)
}

// clock is an injected clock that sleeping moves.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept []time.Duration
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.slept = c.now.Add(d), append(c.slept, d)
	return ctx.Err()
}
func (c *clock) total() (sum time.Duration) {
	for _, d := range c.slept {
		sum += d
	}
	return sum
}

func pool(t *testing.T, f *tenant, change func(*auth0.Config)) (*auth0.Pool, *clock) {
	c := &clock{now: time.Now()}
	cfg := auth0.Config{
		Tenants: map[string]auth0.Tenant{f.domain: {ClientID: "worker", ClientSecret: "test:secret", CAFile: f.caFile}},
		Secrets: secret.Stores{"test": memory{"secret": canary}}, Version: "1.2.3",
		Now: c.Now, Sleep: c.Sleep, Rand: func() float64 { return 0 },
	}
	if change != nil {
		change(&cfg)
	}
	p, err := auth0.New(cfg)
	require.NoError(t, err)
	return p, c
}

func client(t *testing.T, f *tenant, change func(*auth0.Config)) (*auth0.Client, *clock) {
	p, clock := pool(t, f, change)
	c, err := p.Tenant(t.Context(), f.domain)
	require.NoError(t, err)
	return c, clock
}

func reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

var getClients = auth0.Request{Operation: "list clients", Method: http.MethodGet, Path: []string{"clients"}}

func TestUnknownTenantIsRefusedBeforeAnythingIsSent(t *testing.T) {
	f := newTenant(t, func(http.ResponseWriter, *http.Request) {})
	p, _ := pool(t, f, nil)
	_, err := p.Tenant(t.Context(), "evil.example.com")
	require.Equal(t, auth0.UnknownTenant, auth0.ClassOf(err))
	require.ErrorContains(t, err, "evil.example.com")
	require.Zero(t, f.tokens)
}

func TestConfigIsChecked(t *testing.T) {
	for name, tenants := range map[string]map[string]auth0.Tenant{
		"scheme in domain": {"https://acme.auth0.com": {ClientID: "a", ClientSecret: "env:A"}},
		"upper case":       {"Acme.auth0.com": {ClientID: "a", ClientSecret: "env:A"}},
		"no client id":     {"acme.auth0.com": {ClientSecret: "env:A"}},
		"literal secret":   {"acme.auth0.com": {ClientID: "a", ClientSecret: canary}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auth0.New(auth0.Config{Tenants: tenants})
			require.Error(t, err)
			require.NotContains(t, err.Error(), canary)
		})
	}
}

func TestOneTokenIsSharedAndRenewedInTime(t *testing.T) {
	f := newTenant(t, func(w http.ResponseWriter, r *http.Request) { reply(w, 200, `[]`) })
	c, clock := client(t, f, nil)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { require.NoError(t, c.Do(t.Context(), getClients, nil)) })
	}
	group.Wait()
	require.Equal(t, 1, f.tokens, "eight calls share one token")
	require.True(t, f.agents["tenon/1.2.3"])
	require.Len(t, f.agents, 1, "every request says who we are: %v", f.agents)

	clock.now = clock.now.Add(24*time.Hour - 4*time.Minute)
	require.NoError(t, c.Do(t.Context(), getClients, nil))
	require.Equal(t, 2, f.tokens, "a token is renewed before it expires")
}

func TestRevokedTokenIsReplacedOnce(t *testing.T) {
	f := newTenant(t, func(w http.ResponseWriter, r *http.Request) { reply(w, 201, `{}`) })
	c, _ := client(t, f, nil)
	require.NoError(t, c.Do(t.Context(), getClients, nil))
	f.mu.Lock()
	f.valid = "something else"
	f.mu.Unlock()
	post := auth0.Request{Operation: "create client", Method: http.MethodPost, Path: []string{"clients"}, Body: map[string]any{"name": "x"}}
	require.NoError(t, c.Do(t.Context(), post, nil), "a 401 was not executed, so even a POST is sent again")
	require.Equal(t, 2, f.tokens)
}

func TestWrongCredentials(t *testing.T) {
	f := newTenant(t, func(http.ResponseWriter, *http.Request) {})
	const wrong = "wrong-secret-canary"
	c, _ := client(t, f, func(cfg *auth0.Config) { cfg.Secrets = secret.Stores{"test": memory{"secret": wrong}} })
	err := c.Do(t.Context(), getClients, nil)
	require.Equal(t, auth0.Credentials, auth0.ClassOf(err))
	require.NotContains(t, err.Error(), wrong, "the server's echo of the secret is removed")
	require.ErrorContains(t, err, "Unauthorized")

	c, _ = client(t, f, func(cfg *auth0.Config) { cfg.Secrets = secret.Stores{"test": memory{}} })
	err = c.Do(t.Context(), getClients, nil)
	require.Equal(t, auth0.Credentials, auth0.ClassOf(err))
	require.ErrorIs(t, err, secret.ErrNotFound)
}

func TestErrorClasses(t *testing.T) {
	for _, tc := range []struct {
		status int
		body   string
		want   auth0.Class
		code   string
	}{
		{400, `{"statusCode":400,"error":"Bad Request","message":"Payload validation error","errorCode":"invalid_body"}`, auth0.Invalid, "invalid_body"},
		{403, `{"statusCode":403,"error":"Forbidden","message":"Insufficient scope, expected any of: read:x","errorCode":"insufficient_scope"}`, auth0.Scope, "insufficient_scope"},
		{403, `{"statusCode":403,"message":"Please upgrade your subscription to enable Akamai Signals.","errorCode":"insufficient_scope"}`, auth0.Entitlement, "insufficient_scope"},
		{403, `{"statusCode":403,"message":"Please upgrade your subscription to use bot detection","errorCode":"insufficient_entitlement"}`, auth0.Entitlement, "insufficient_entitlement"},
		{403, `{"statusCode":403,"message":"You reached the limit of entities of this type for this tenant."}`, auth0.Entitlement, ""},
		{404, `{"statusCode":404,"error":"Not Found","message":"The client does not exist","errorCode":"inexistent_client"}`, auth0.NotFound, "inexistent_client"},
		{409, `{"statusCode":409,"message":"The user already exists.","errorCode":"auth0_idp_error"}`, auth0.Conflict, "auth0_idp_error"},
		{409, `{"statusCode":409,"message":"A connection with the same name is being deleted, try again later"}`, auth0.Unavailable, ""},
		{503, `<html>`, auth0.Unavailable, ""},
	} {
		t.Run(fmt.Sprint(tc.status, tc.want), func(t *testing.T) {
			f := newTenant(t, func(w http.ResponseWriter, r *http.Request) { reply(w, tc.status, tc.body) })
			c, _ := client(t, f, nil)
			err := c.Do(t.Context(), getClients, nil)
			var e *auth0.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, tc.want, e.Class)
			require.Equal(t, tc.status, e.Status)
			require.Equal(t, tc.code, e.Code)
			require.Equal(t, "list clients", e.Operation)
		})
	}
}

func TestRetriesAreForWhatMayBeRepeated(t *testing.T) {
	for _, tc := range []struct {
		method string
		calls  int
	}{{http.MethodGet, 3}, {http.MethodPut, 3}, {http.MethodDelete, 3}, {http.MethodPost, 1}, {http.MethodPatch, 1}} {
		t.Run(tc.method, func(t *testing.T) {
			n := 0
			f := newTenant(t, func(w http.ResponseWriter, r *http.Request) {
				if n++; n < 3 {
					panic(http.ErrAbortHandler) // the answer is lost
				}
				body, _ := io.ReadAll(r.Body)
				if r.Method == http.MethodPut && string(body) != "{\"a\":1}\n" {
					reply(w, 400, `{"message":"the body got lost"}`)
					return
				}
				reply(w, 200, `{}`)
			})
			c, _ := client(t, f, nil)
			r := getClients
			r.Method, r.Body = tc.method, map[string]any{"a": 1}
			err := c.Do(t.Context(), r, nil)
			require.Equal(t, tc.calls, n)
			if tc.calls == 1 {
				require.Equal(t, auth0.Unavailable, auth0.ClassOf(err))
			} else {
				require.NoError(t, err)
			}
		})
	}
}

func TestRetriesAreBounded(t *testing.T) {
	n := 0
	f := newTenant(t, func(w http.ResponseWriter, r *http.Request) { n++; reply(w, 502, `bad gateway`) })
	c, _ := client(t, f, func(cfg *auth0.Config) { cfg.MaxRetries = 2 })
	require.Equal(t, auth0.Unavailable, auth0.ClassOf(c.Do(t.Context(), getClients, nil)))
	require.Equal(t, 3, n)
}

func TestRateLimitIsLearnedAndWaitedFor(t *testing.T) {
	// A bucket of three that refills at once, every second; more than that is a 429.
	var clock *clock
	left, window, refused := 3, int64(0), 0
	f := newTenant(t, func(w http.ResponseWriter, r *http.Request) {
		now := clock.Now().Unix()
		if now != window {
			left, window = 3, now
		}
		w.Header().Set("Date", clock.Now().UTC().Format(http.TimeFormat))
		w.Header().Set("X-RateLimit-Limit", "3")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(now+1, 10))
		if left == 0 {
			refused++
			w.Header().Set("X-RateLimit-Remaining", "0")
			reply(w, 429, `{"statusCode":429,"message":"Global limit has been reached","errorCode":"too_many_requests"}`)
			return
		}
		left--
		w.Header().Set("X-RateLimit-Remaining", strconv.Itoa(left))
		reply(w, 200, `[]`)
	})
	c, cl := client(t, f, func(cfg *auth0.Config) { cfg.Share = -1 })
	clock = cl
	// Different endpoints that report the same limit share the bucket.
	for i := range 20 {
		r := getClients
		r.Path = []string{[]string{"clients", "roles"}[i%2]}
		require.NoError(t, c.Do(t.Context(), r, nil))
	}
	require.Zero(t, refused, "the headers say when to wait, so the tenant never has to refuse")
	require.InDelta(t, 6, clock.total().Seconds(), 1.5, "20 calls at 3/s: %v", clock.slept)
}

func TestRefusedRequestsWaitAsLongAsTheTenantSays(t *testing.T) {
	for _, tc := range []struct {
		name   string
		header func(http.Header, time.Time)
		want   time.Duration
	}{
		{"retry-after", func(h http.Header, _ time.Time) { h.Set("Retry-After", "7") }, 7 * time.Second},
		{"reset", func(h http.Header, now time.Time) { h.Set("X-RateLimit-Reset", strconv.FormatInt(now.Unix()+9, 10)) }, 9 * time.Second},
		{"nothing", func(http.Header, time.Time) {}, 2 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := 0
			var clock *clock
			f := newTenant(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Date", clock.Now().UTC().Format(http.TimeFormat))
				if n++; n == 1 {
					tc.header(w.Header(), clock.Now())
					reply(w, 429, `{"statusCode":429,"message":"Global limit has been reached"}`)
					return
				}
				reply(w, 201, `{}`)
			})
			c, cl := client(t, f, nil)
			clock = cl
			post := auth0.Request{Operation: "create client", Method: http.MethodPost, Path: []string{"clients"}, Body: map[string]any{}}
			require.NoError(t, c.Do(t.Context(), post, nil), "a 429 was not executed: even a POST is sent again")
			require.InDelta(t, tc.want.Seconds(), clock.total().Seconds(), 1.1)
		})
	}
}

func TestRetryAfterOfAnUnavailableTenant(t *testing.T) {
	n := 0
	f := newTenant(t, func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 1 {
			w.Header().Set("Retry-After", "11")
			reply(w, 503, `{}`)
			return
		}
		reply(w, 200, `[]`)
	})
	c, clock := client(t, f, nil)
	require.NoError(t, c.Do(t.Context(), getClients, nil))
	require.Equal(t, 11*time.Second, clock.total())
}

func TestLongWaitsAreTheCallersToSchedule(t *testing.T) {
	n := 0
	f := newTenant(t, func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("Retry-After", "300")
		reply(w, 429, `{"statusCode":429,"message":"Global limit has been reached","errorCode":"too_many_requests"}`)
	})
	c, clock := client(t, f, nil)
	err := c.Do(t.Context(), getClients, nil)
	var e *auth0.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, auth0.RateLimited, e.Class)
	require.Equal(t, 300*time.Second, e.RetryAfter)
	require.Empty(t, clock.slept)

	// Meanwhile nobody else hammers the tenant either.
	other := getClients
	other.Path = []string{"roles"}
	err = c.Do(t.Context(), other, nil)
	require.ErrorAs(t, err, &e)
	require.Equal(t, auth0.RateLimited, e.Class)
	require.Equal(t, 1, n)
}

func TestCredentialsAreNotRedirectedToAnotherHost(t *testing.T) {
	stolen := false
	thief := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen = true }))
	defer thief.Close()
	f := newTenant(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL+r.URL.Path, http.StatusTemporaryRedirect)
	})
	c, _ := client(t, f, nil)
	require.ErrorContains(t, c.Do(t.Context(), getClients, nil), "refused to send credentials")
	require.False(t, stolen)
}

func TestUntrustedCertificateDoesNotHeal(t *testing.T) {
	f := newTenant(t, func(http.ResponseWriter, *http.Request) {})
	c, clock := client(t, f, func(cfg *auth0.Config) {
		tenant := cfg.Tenants[f.domain]
		tenant.CAFile = ""
		cfg.Tenants[f.domain] = tenant
	})
	require.Equal(t, auth0.Credentials, auth0.ClassOf(c.Do(t.Context(), getClients, nil)))
	require.Empty(t, clock.slept)
}

func TestListReadsAllPages(t *testing.T) {
	for _, paging := range []auth0.Paging{auth0.Offset, auth0.Checkpoint, auth0.OffsetPlain, auth0.Members} {
		t.Run(fmt.Sprint(paging), func(t *testing.T) {
			const total = 250
			f := newTenant(t, func(w http.ResponseWriter, r *http.Request) {
				start := atoi(r.FormValue("from"))
				if p := r.FormValue("page"); p != "" {
					start = atoi(p) * atoi(r.FormValue("per_page"))
				}
				size := max(atoi(r.FormValue("per_page")), atoi(r.FormValue("take")))
				end := min(start+size, total)
				var items []map[string]int
				for i := start; i < end; i++ {
					items = append(items, map[string]int{"n": i})
				}
				body := map[string]any{"clients": items, "is_global": r.FormValue("is_global")}
				if paging != auth0.Checkpoint && paging != auth0.Members {
					body["total"] = total
				} else if end < total {
					body["next"] = strconv.Itoa(end)
				}
				_ = json.NewEncoder(w).Encode(body)
			})
			c, _ := client(t, f, nil)
			sum, sent := 0, 0
			request := getClients
			request.Sent = func() { sent++ }
			require.NoError(t, c.List(t.Context(), request, paging, "clients", func(item json.RawMessage) error {
				var x struct{ N int }
				require.NoError(t, json.Unmarshal(item, &x))
				sum += x.N
				return nil
			}))
			require.Equal(t, total*(total-1)/2, sum)
			want := 3
			switch paging {
			case auth0.OffsetPlain:
				want = 5
			case auth0.Members:
				want = 1
			}
			require.Len(t, f.calls, want)
			require.Equal(t, want, sent)
		})
	}
}

func atoi(text string) int { n, _ := strconv.Atoi(text); return n }

func TestScopesAreCompared(t *testing.T) {
	f := newTenant(t, func(http.ResponseWriter, *http.Request) {})
	c, _ := client(t, f, nil)
	missing, excess, err := c.CompareScopes(t.Context(), []string{"read:clients", "read:roles", "read:roles"})
	require.NoError(t, err)
	require.Equal(t, []string{"read:roles"}, missing)
	require.Equal(t, []string{"create:clients"}, excess)
}

func TestTicketsAreSecrets(t *testing.T) {
	f := newTenant(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/v2/guardian") {
			reply(w, 200, `{"ticket_id":"t1","ticket_url":"https://x/mfa?ticket=abc"}`)
			return
		}
		reply(w, 201, `{"ticket":"https://x/u/reset?ticket=abc#"}`)
	})
	c, _ := client(t, f, nil)
	ticket, err := c.PasswordTicket(t.Context(), auth0.TicketRequest{UserID: "auth0|1"})
	require.NoError(t, err)
	require.Equal(t, "https://x/u/reset?ticket=abc#", ticket.Reveal())
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", ticket, ticket, ticket), "abc")
	id, link, err := c.EnrollmentTicket(t.Context(), "auth0|1", false)
	require.NoError(t, err)
	require.Equal(t, "t1", id)
	require.Equal(t, "https://x/mfa?ticket=abc", link.Reveal())
}

func TestCancelledContextIsNoErrorOfTheTenant(t *testing.T) {
	f := newTenant(t, func(w http.ResponseWriter, r *http.Request) { reply(w, 200, `[]`) })
	c, _ := client(t, f, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.Do(ctx, getClients, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, auth0.Class(""), auth0.ClassOf(err))
}

func TestDiscoveryAndClientCredentials(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	discovery := map[string]any{}
	f := newTenant(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(discovery)
		case "/.well-known/jwks.json":
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
		}
	})
	base := "https://" + f.domain
	reset := func() {
		discovery = map[string]any{"issuer": base + "/", "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/oauth/token",
			"userinfo_endpoint": base + "/userinfo", "jwks_uri": base + "/.well-known/jwks.json", "code_challenge_methods_supported": []string{"S256", "plain"}}
	}
	reset()
	c, _ := client(t, f, nil)
	d, err := c.CheckDiscovery(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"k1"}, d.KeyIDs)

	for field, value := range map[string]any{"issuer": "https://evil.example.com/", "jwks_uri": "https://evil.example.com/jwks", "code_challenge_methods_supported": []string{"plain"}} {
		reset()
		discovery[field] = value
		_, err := c.CheckDiscovery(t.Context())
		require.Equal(t, auth0.Invalid, auth0.ClassOf(err), field)
	}
	reset()

	sign := func(key *rsa.PrivateKey, kid, aud string, expiry time.Time) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
		require.NoError(t, err)
		token, err := jwt.Signed(s).Claims(jwt.Claims{Issuer: base + "/", Subject: "app@clients", Audience: jwt.Audience{aud}, Expiry: jwt.NewNumericDate(expiry)}).
			Claims(map[string]any{"scope": "read:x"}).Serialize()
		require.NoError(t, err)
		return token
	}
	soon := time.Now().Add(time.Hour)
	for _, tc := range []struct{ name, token, wrong string }{
		{"good", sign(key, "k1", "https://api", soon), ""},
		{"another key", sign(other, "k1", "https://api", soon), "signature"},
		{"unpublished key", sign(other, "k2", "https://api", soon), "does not publish"},
		{"another audience", sign(key, "k1", "https://other", soon), "audience"},
		{"expired", sign(key, "k1", "https://api", time.Now().Add(-time.Hour)), "expired"},
		{"opaque", "opaque", "not a JWT"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inner := f.Config.Handler
			f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/oauth/token" {
					reply(w, 200, fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, tc.token))
					return
				}
				inner.ServeHTTP(w, r)
			})
			defer func() { f.Config.Handler = inner }()
			got, err := c.CheckClientCredentials(t.Context(), "app", secret.New("s"), "https://api", nil)
			if tc.wrong == "" {
				require.NoError(t, err)
				require.Equal(t, "read:x", got.Scope)
				return
			}
			require.ErrorContains(t, err, tc.wrong)
			require.NotContains(t, err.Error(), tc.token+" ")
		})
	}
}

func TestErrorsOfTheTenantAreBounded(t *testing.T) {
	f := newTenant(t, func(w http.ResponseWriter, r *http.Request) {
		reply(w, 400, `{"message":"`+strings.Repeat("x", 100_000)+`"}`)
	})
	c, _ := client(t, f, nil)
	err := c.Do(t.Context(), getClients, nil)
	require.Less(t, len(err.Error()), 1000)
	var e *auth0.Error
	require.True(t, errors.As(err, &e))
}
