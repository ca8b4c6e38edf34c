package webui_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/cluster/webui"
	"github.com/tenonhq/tenon/internal/token"
)

type claims = map[string]any

// idp is a small OpenID Connect provider: it signs in whoever comes, as the
// person that the test says.
type idp struct {
	t      *testing.T
	server *httptest.Server
	signer jose.Signer
	key    *rsa.PrivateKey
	now    func() time.Time

	mu       sync.Mutex
	codes    map[string]url.Values // the authorization request of each code
	refresh  map[string]string     // living refresh tokens: nonce of the sign-in
	grants   []string              // grant types that were asked for
	seen     url.Values            // the last token request
	down     int                   // status to answer everything with
	refuse   bool                  // refuse the refresh grant
	id       claims                // changes to the ID token; nil values remove
	access   claims                // claims of the access token; nil makes it opaque
	userinfo claims
	unsigned bool // sign the ID token with alg none
	lifetime int  // of access tokens, in seconds
	noRefresh,
	noEndSession bool
}

// testKey is made once: making one takes longer than most tests.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func newIDP(t *testing.T, now func() time.Time) *idp {
	key := testKey()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
	require.NoError(t, err)
	p := &idp{t: t, signer: signer, key: key, now: now, codes: map[string]url.Values{}, refresh: map[string]string{}, lifetime: 600,
		id: claims{"permissions": []string{"alpha:client"}}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("/authorize", p.authorize)
	mux.HandleFunc("/token", p.token)
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, p.userinfo) })
	p.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.down != 0 {
			http.Error(w, "down", p.down)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.server.Close)
	return p
}

func (p *idp) set(change func(*idp)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (p *idp) discovery(w http.ResponseWriter, _ *http.Request) {
	d := claims{
		"issuer": p.server.URL, "authorization_endpoint": p.server.URL + "/authorize", "token_endpoint": p.server.URL + "/token",
		"jwks_uri": p.server.URL + "/jwks", "userinfo_endpoint": p.server.URL + "/userinfo", "id_token_signing_alg_values_supported": []string{"RS256"},
	}
	if !p.noEndSession {
		d["end_session_endpoint"] = p.server.URL + "/logout"
	}
	answer(w, 200, d)
}

func (p *idp) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	code := rand.Text()
	p.codes[code] = q
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
}

func (p *idp) token(w http.ResponseWriter, r *http.Request) {
	require.NoError(p.t, r.ParseForm())
	p.seen, p.grants = r.PostForm, append(p.grants, r.PostForm.Get("grant_type"))
	var nonce string
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		begun, ok := p.codes[r.PostForm.Get("code")]
		delete(p.codes, r.PostForm.Get("code"))
		sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		if !ok || begun.Get("code_challenge_method") != "S256" || begun.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			answer(w, 400, claims{"error": "invalid_grant"})
			return
		}
		nonce = begun.Get("nonce")
	case "refresh_token":
		old, ok := p.refresh[r.PostForm.Get("refresh_token")]
		if !ok || p.refuse {
			answer(w, 403, claims{"error": "invalid_grant", "error_description": "Unknown or invalid refresh token."})
			return
		}
		delete(p.refresh, r.PostForm.Get("refresh_token")) // rotated
		nonce = old
	}
	out := claims{"token_type": "Bearer", "expires_in": p.lifetime, "access_token": "opaque-" + rand.Text(), "id_token": p.idToken(nonce)}
	if p.access != nil {
		out["access_token"] = p.sign(p.standard(p.access))
	}
	if !p.noRefresh {
		next := rand.Text()
		p.refresh[next] = nonce
		out["refresh_token"] = next
	}
	answer(w, 200, out)
}

func (p *idp) standard(changes claims) claims {
	all := claims{"iss": p.server.URL, "sub": "auth0|ada", "aud": "ui", "iat": p.now().Unix(), "exp": p.now().Add(time.Duration(p.lifetime) * time.Second).Unix()}
	for name, v := range changes {
		if all[name] = v; v == nil {
			delete(all, name)
		}
	}
	return all
}

func (p *idp) idToken(nonce string) string {
	all := claims{"nonce": nonce, "name": "Ada Lovelace", "email": "ada@example.com", "sid": "sid-1"}
	for name, v := range p.id {
		all[name] = v
	}
	all = p.standard(all)
	if p.unsigned {
		text, err := json.Marshal(all)
		require.NoError(p.t, err)
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(text) + "."
	}
	return p.sign(all)
}

func (p *idp) sign(all claims) string {
	text, err := json.Marshal(all)
	require.NoError(p.t, err)
	signed, err := p.signer.Sign(text)
	require.NoError(p.t, err)
	out, err := signed.CompactSerialize()
	require.NoError(p.t, err)
	return out
}

// frontend is a cluster that only remembers with which tokens it was called.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer
	verifier *token.Verifier

	mu    sync.Mutex
	calls []call
}

type call struct {
	method string
	claims *token.Claims
	meta   metadata.MD
}

func (f *frontend) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	var c *token.Claims
	if a := md.Get("authorization"); len(a) == 1 {
		var err error
		if c, err = f.verifier.Verify(ctx, strings.TrimPrefix(a[0], "Bearer ")); err != nil {
			return nil, status.Error(codes.PermissionDenied, err.Error())
		}
	}
	f.mu.Lock()
	f.calls = append(f.calls, call{info.FullMethod, c, md})
	f.mu.Unlock()
	if c == nil {
		return nil, status.Error(codes.PermissionDenied, "no token")
	}
	return handler(ctx, req)
}

func (f *frontend) ListNamespaces(context.Context, *workflowservice.ListNamespacesRequest) (*workflowservice.ListNamespacesResponse, error) {
	return &workflowservice.ListNamespacesResponse{}, nil
}

func (f *frontend) StartWorkflowExecution(context.Context, *workflowservice.StartWorkflowExecutionRequest) (*workflowservice.StartWorkflowExecutionResponse, error) {
	return &workflowservice.StartWorkflowExecutionResponse{RunId: "run-1"}, nil
}

func (f *frontend) GetWorkflowExecutionHistory(_ context.Context, r *workflowservice.GetWorkflowExecutionHistoryRequest) (*workflowservice.GetWorkflowExecutionHistoryResponse, error) {
	if r.Namespace != "alpha" {
		return nil, status.Error(codes.PermissionDenied, "missing role: reader")
	}
	if len(r.NextPageToken) == 0 {
		return &workflowservice.GetWorkflowExecutionHistoryResponse{NextPageToken: []byte("2"), History: &historypb.History{Events: []*historypb.HistoryEvent{{EventId: 1}}}}, nil
	}
	return &workflowservice.GetWorkflowExecutionHistoryResponse{History: &historypb.History{Events: []*historypb.HistoryEvent{{EventId: 2}, {EventId: 3}}}}, nil
}

func (f *frontend) last() call {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.calls) == 0 {
		return call{}
	}
	return f.calls[len(f.calls)-1]
}

func (f *frontend) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

// auditLog remembers records.
type auditLog struct {
	mu      sync.Mutex
	records []audit.Record
	fail    error
}

func (l *auditLog) Append(r audit.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	l.records = append(l.records, r)
	return nil
}

func (l *auditLog) last() audit.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.records) == 0 {
		return audit.Record{}
	}
	return l.records[len(l.records)-1]
}

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// stack is the Web UI between a provider and a frontend.
type stack struct {
	t        *testing.T
	clock    *clock
	idp      *idp
	frontend *frontend
	audit    *auditLog
	issuer   *token.Issuer
	ui       *webui.Server
	log      *bytes.Buffer
}

func newStack(t *testing.T, change func(*webui.Config)) *stack {
	t.Helper()
	s := &stack{t: t, clock: &clock{now: time.Now().Truncate(time.Second)}, audit: &auditLog{}, log: &bytes.Buffer{}}
	s.idp = newIDP(t, s.clock.Now)
	var err error
	s.issuer, err = token.OpenIssuer(token.IssuerConfig{Dir: t.TempDir(), Now: s.clock.Now})
	require.NoError(t, err)
	require.NoError(t, s.issuer.Init(t.Context()))
	verifier, err := token.NewVerifier(token.VerifierConfig{Issuers: []token.IssuerTrust{s.issuer.Trust()}, Revocations: s.issuer.Revocations(), Now: s.clock.Now})
	require.NoError(t, err)
	s.frontend = &frontend{verifier: verifier}

	certs := httptest.NewUnstartedServer(nil)
	certs.StartTLS()
	t.Cleanup(certs.Close)
	serverTLS := &tls.Config{Certificates: certs.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
	grpcListener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(serverTLS.Clone())), grpc.UnaryInterceptor(s.frontend.intercept))
	workflowservice.RegisterWorkflowServiceServer(g, s.frontend)
	go func() { _ = g.Serve(grpcListener) }()
	t.Cleanup(g.Stop)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := webui.Config{
		Listener: listener, TLS: serverTLS,
		Frontend: grpcListener.Addr().String(), FrontendTLS: &tls.Config{InsecureSkipVerify: true},
		Namespace: "alpha",
		Provider:  webui.ProviderConfig{Issuer: s.idp.server.URL, Name: "Example", ClientID: "ui", HTTP: s.idp.server.Client()},
		Tokens:    s.issuer, Revocations: s.issuer.Revocations(), Audit: s.audit,
		Now: s.clock.Now, Logger: slog.New(slog.NewTextHandler(&syncWriter{w: s.log}, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	s.ui, err = webui.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ui.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return s
}

type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *syncWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

// browser keeps cookies and follows redirects, as a browser that navigates.
type browser struct {
	t     *testing.T
	http  *http.Client
	base  string
	stops func(*url.URL) bool
}

func (s *stack) browser() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(s.t, err)
	b := &browser{t: s.t, base: s.ui.URL()}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	s.t.Cleanup(transport.CloseIdleConnections)
	b.http = &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if b.stops != nil && b.stops(r.URL) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return b
}

type response struct {
	*http.Response
	body string
}

func (b *browser) do(method, address, body string, header ...string) response {
	b.t.Helper()
	if strings.HasPrefix(address, "/") {
		address = b.base + address
	}
	req, err := http.NewRequest(method, address, strings.NewReader(body))
	require.NoError(b.t, err)
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.http.Do(req)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	return response{resp, string(text)}
}

func (b *browser) get(address string, header ...string) response {
	b.t.Helper()
	return b.do("GET", address, "", header...)
}

// api is a call of the stock pages' scripts.
func (b *browser) api(path string) response {
	b.t.Helper()
	return b.get(path, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin", "Authorization", "Bearer held by the server")
}

// signIn presses the button, and returns the page where it ends.
func (b *browser) signIn() response {
	b.t.Helper()
	return b.get("/auth/sso?returnUrl=" + url.QueryEscape("/namespaces/alpha/workflows?query=x"))
}

func (b *browser) cookie(part string) *http.Cookie {
	u, err := url.Parse(b.base)
	require.NoError(b.t, err)
	for _, c := range b.http.Jar.Cookies(u) {
		if strings.Contains(c.Name, part) {
			return c
		}
	}
	return nil
}

// lookalike is a browser that carries the given cookie and no other.
func (s *stack) lookalike(c *http.Cookie) *browser {
	b := s.browser()
	u, err := url.Parse(b.base)
	require.NoError(s.t, err)
	b.http.Jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Value: c.Value, Path: "/", Secure: true}})
	return b
}

func permissionsOf(c *token.Claims) []string {
	var out []string
	if c != nil {
		for _, p := range c.Permissions {
			out = append(out, p.String())
		}
	}
	return out
}

func list(n int, format string) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(format, i))
	}
	return out
}

func validConfig(t *testing.T) webui.Config {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	issuer, err := token.OpenIssuer(token.IssuerConfig{Dir: t.TempDir()})
	require.NoError(t, err)
	return webui.Config{
		Listener: listener, TLS: &tls.Config{}, Frontend: "127.0.0.1:1", Tokens: issuer, Audit: &auditLog{},
		Provider: webui.ProviderConfig{Issuer: "https://idp.example.com/", ClientID: "ui"},
	}
}
