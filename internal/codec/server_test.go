package codec

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/token"
)

// tokens is a verifier that knows its tokens by name.
type tokens map[string]*token.Claims

func (t tokens) Verify(_ context.Context, raw string) (*token.Claims, error) {
	c := t[raw]
	switch {
	case c == nil:
		return nil, &token.VerificationError{Reason: token.ErrSignature, Detail: "detail for the log"}
	case c.ID == "expired":
		return nil, &token.VerificationError{Reason: token.ErrExpired, Claims: c}
	}
	return c, nil
}

// journal is an audit log in memory.
type journal struct {
	mu      sync.Mutex
	records []audit.Record
	full    error
}

func (j *journal) Append(r audit.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.full != nil {
		return j.full
	}
	j.records = append(j.records, r)
	return nil
}

func (j *journal) last() audit.Record { return j.records[len(j.records)-1] }

var boundTo = &x509.Certificate{Raw: []byte("the certificate")}

func known() tokens {
	role := func(permissions ...token.Permission) *token.Claims {
		return &token.Claims{Subject: "ada", Issuer: "tenon", ID: "t1", Permissions: permissions}
	}
	bound := role(token.Permission{Namespace: "shop", Role: token.RoleReader})
	sum := sha256.Sum256(boundTo.Raw)
	bound.CertificateHash = base64.RawURLEncoding.EncodeToString(sum[:])
	expired := role()
	expired.ID = "expired"
	return tokens{
		"reader":     role(token.Permission{Namespace: "shop", Role: token.RoleReader}),
		"client":     role(token.Permission{Namespace: "shop", Role: token.RoleClient}),
		"operator":   role(token.Permission{Namespace: "shop", Role: token.RoleOperator}),
		"admin":      role(token.Permission{Namespace: "shop", Role: token.RoleAdmin}),
		"worker":     role(token.Permission{Namespace: "shop", Role: token.RoleWorker}),
		"elsewhere":  role(token.Permission{Namespace: "bank", Role: token.RoleAdmin}),
		"everywhere": role(token.Permission{Namespace: token.ClusterWide, Role: token.RoleReader}),
		"nothing":    role(),
		"bound":      bound,
		"expired":    expired,
	}
}

type codecServer struct {
	*Server
	codec *Codec
	audit *journal
}

func newServer(t *testing.T, change func(*ServerConfig)) *codecServer {
	t.Helper()
	k, err := NewKey(bytes.NewReader(bytes.Repeat([]byte{7}, 64)), time.Unix(0, 0))
	require.NoError(t, err)
	c, err := New(Config{Keys: []Key{k}})
	require.NoError(t, err)
	s := &codecServer{codec: c, audit: &journal{}}
	cfg := ServerConfig{Codec: c, Verifier: known(), Audit: s.audit, AllowOrigins: []string{"https://ui.example:8233"}}
	if change != nil {
		change(&cfg)
	}
	s.Server, err = NewServer(cfg)
	require.NoError(t, err)
	return s
}

func (s *codecServer) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func request(method, path, bearer, namespace, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	if namespace != "" {
		r.Header.Set("X-Namespace", namespace)
	}
	return r
}

func body(t *testing.T, payloads ...*commonpb.Payload) string {
	t.Helper()
	data, err := protojson.Marshal(&commonpb.Payloads{Payloads: payloads})
	require.NoError(t, err)
	return string(data)
}

func sealed(t *testing.T, c *Codec, values ...string) []*commonpb.Payload {
	t.Helper()
	var plain []*commonpb.Payload
	for _, v := range values {
		p, err := converter.GetDefaultDataConverter().ToPayload(v)
		require.NoError(t, err)
		plain = append(plain, p)
	}
	out, err := c.Encode(plain)
	require.NoError(t, err)
	return out
}

// TestServerSpeaksTheProtocol asks through the SDK's own client of the protocol,
// the one in the stock CLI.
func TestServerSpeaksTheProtocol(t *testing.T) {
	s := newServer(t, nil)
	web := httptest.NewTLSServer(s)
	t.Cleanup(web.Close)
	remote := func(endpoint, namespace string) converter.PayloadCodec {
		return converter.NewRemotePayloadCodec(converter.RemotePayloadCodecOptions{
			Endpoint: endpoint, Client: *web.Client(),
			ModifyRequest: func(r *http.Request) error {
				r.Header.Set("Authorization", "bearer client")
				if namespace != "" {
					r.Header.Set("X-Namespace", namespace)
				}
				return nil
			},
		})
	}
	for name, c := range map[string]converter.PayloadCodec{
		"header": remote(web.URL, "shop"), "path": remote(web.URL+"/shop", ""), "both": remote(web.URL+"/shop", "shop"),
	} {
		plain := sealed(t, s.codec, "a", "b")
		got, err := c.Decode(plain)
		require.NoError(t, err, name)
		var a, b string
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(&commonpb.Payloads{Payloads: got}, &a, &b))
		require.Equal(t, []string{"a", "b"}, []string{a, b})
		again, err := c.Encode(got)
		require.NoError(t, err, name)
		require.Equal(t, Encoding, string(again[0].Metadata["encoding"]))
		require.Equal(t, "shop", s.audit.last().Namespace)
	}
	require.Len(t, s.audit.records, 6)
	_, err := remote(web.URL+"/bank", "").Decode(sealed(t, s.codec, "a"))
	require.EqualError(t, err, "Forbidden: missing role: reader\n")
	_, err = remote(web.URL+"/bank", "shop").Decode(sealed(t, s.codec, "a"))
	require.ErrorContains(t, err, "two namespaces")
}

func TestServerAuthorises(t *testing.T) {
	for _, c := range []struct {
		bearer         string
		decode, encode int
		told           string
	}{
		{"reader", 200, 403, "missing role: client"},
		{"client", 200, 200, ""},
		{"operator", 200, 200, ""},
		{"admin", 200, 200, ""},
		{"everywhere", 200, 403, "missing role: client"},
		{"worker", 403, 403, "missing role: "},
		{"elsewhere", 403, 403, "missing role: "},
		{"nothing", 403, 403, "missing role: "},
		{"bound", 401, 401, "bound to a certificate"},
		{"expired", 401, 401, "the token has expired"},
		{"forged", 401, 401, "the token is refused"},
		{"", 401, 401, "a bearer token is required"},
	} {
		s := newServer(t, nil)
		for path, want := range map[string]int{"/decode": c.decode, "/encode": c.encode} {
			w := s.serve(request("POST", path, c.bearer, "shop", body(t, sealed(t, s.codec, "x")...)))
			require.Equal(t, want, w.Code, "%s %s: %s", c.bearer, path, w.Body)
			r := s.audit.last()
			require.Equal(t, "192.0.2.1:1234", r.Peer.String())
			if want == 200 {
				require.Equal(t, audit.Allow, r.Verdict)
				require.Equal(t, []string{"ada", "t1", "shop"}, []string{r.Subject, r.TokenID, r.Namespace})
				continue
			}
			require.Contains(t, w.Body.String(), c.told)
			require.NotContains(t, w.Body.String(), "detail for the log")
			require.Contains(t, w.Header().Get("WWW-Authenticate"), "Bearer ")
			require.Contains(t, w.Header().Get("WWW-Authenticate"), map[int]string{401: "invalid_token", 403: "insufficient_scope"}[want])
			require.Equal(t, map[int]audit.Verdict{401: audit.Unauthenticated, 403: audit.Deny}[want], r.Verdict)
			require.NotEmpty(t, r.Reason)
		}
	}
	// A genuine token that is refused still names its owner in the record.
	s := newServer(t, nil)
	s.serve(request("POST", "/decode", "expired", "shop", ""))
	require.Equal(t, "ada", s.audit.last().Subject)
	s.serve(request("POST", "/decode", "forged", "shop", ""))
	require.Empty(t, s.audit.last().Subject)
	require.Contains(t, s.audit.last().Reason, "detail for the log")
}

func TestServerServesWorkersIfAsked(t *testing.T) {
	s := newServer(t, func(c *ServerConfig) { c.Workers = true })
	for _, path := range []string{"/decode", "/encode"} {
		require.Equal(t, 200, s.serve(request("POST", path, "worker", "shop", "{}")).Code)
		require.Equal(t, 403, s.serve(request("POST", path, "worker", "bank", "{}")).Code)
		require.Equal(t, 403, s.serve(request("POST", path, "nothing", "shop", "{}")).Code)
	}
}

func TestServerTakesABoundTokenWithItsCertificate(t *testing.T) {
	s := newServer(t, nil)
	r := request("POST", "/decode", "bound", "shop", "{}")
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{boundTo}}
	require.Equal(t, 401, s.serve(r).Code, "shown, not verified")
	r = request("POST", "/decode", "bound", "shop", "{}")
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Raw: []byte("another")}}}}
	require.Equal(t, 401, s.serve(r).Code, "another certificate")
	r = request("POST", "/decode", "bound", "shop", "{}")
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{boundTo}}}
	require.Equal(t, 200, s.serve(r).Code)
}

func TestServerRefusesBadRequests(t *testing.T) {
	s := newServer(t, func(c *ServerConfig) { c.MaxBody, c.MaxDecoded = 16<<10, 64<<10 })
	changed := sealed(t, s.codec, "x")
	changed[0].Data[len(changed[0].Data)-1] ^= 1
	unknown := sealed(t, s.codec, "x")
	unknown[0].Metadata[MetadataKey] = []byte("secret-looking-key-id")
	bomb := sealed(t, s.codec, strings.Repeat("a", 40<<10), strings.Repeat("b", 40<<10))
	require.Less(t, len(body(t, bomb...)), 16<<10)
	for name, c := range map[string]struct {
		change func(*http.Request)
		body   string
		code   int
		told   string
	}{
		"no namespace":      {change: func(r *http.Request) { r.Header.Del("X-Namespace") }, body: "{}", code: 400, told: "X-Namespace is missing"},
		"no JSON":           {body: "nonsense", code: 400, told: "no list of payloads"},
		"empty":             {body: "", code: 400, told: "no list of payloads"},
		"a form":            {change: func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, body: "{}", code: 415},
		"no type":           {change: func(r *http.Request) { r.Header.Del("Content-Type") }, body: "{}", code: 415},
		"large":             {body: strings.Repeat(" ", 17<<10), code: 413, told: "larger than 16384 bytes"},
		"many":              {body: `{"payloads":[` + strings.Repeat("{},", maxPayloads) + "{}]}", code: 413},
		"unfolds":           {body: body(t, bomb...), code: 413, told: "become larger"},
		"changed":           {body: body(t, changed...), code: 422, told: "payload 1 of 1: " + ErrCorrupt.Error()},
		"unknown key":       {body: body(t, unknown...), code: 422, told: ErrUnknownKey.Error()},
		"GET":               {change: func(r *http.Request) { r.Method = "GET" }, code: 405},
		"another path":      {change: func(r *http.Request) { r.URL.Path = "/keys" }, code: 404},
		"foreign origin":    {change: func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, body: "{}", code: 403, told: "origin"},
		"origin by another": {change: func(r *http.Request) { r.Header.Set("Origin", "https://ui.example:8233.evil.example") }, body: "{}", code: 403},
		"no origin at all":  {change: func(r *http.Request) { r.Header.Set("Origin", "null") }, body: "{}", code: 403},
	} {
		r := request("POST", "/decode", "reader", "shop", c.body)
		if c.change != nil {
			c.change(r)
		}
		w := s.serve(r)
		require.Equal(t, c.code, w.Code, "%s: %s", name, w.Body)
		require.Contains(t, w.Body.String(), c.told, name)
		require.NotContains(t, w.Body.String(), "secret-looking", name)
		require.NotContains(t, w.Header().Get("Access-Control-Allow-Origin"), "evil", name)
	}
	// What is in clear passes, as it does in every client; extra members are ignored.
	w := s.serve(request("POST", "/decode", "reader", "shop", `{"payloads":[{"metadata":{"encoding":"anNvbi9wbGFpbg=="},"data":"MQ==","more":1}]}`))
	require.Equal(t, 200, w.Code)
	require.JSONEq(t, `{"payloads":[{"metadata":{"encoding":"anNvbi9wbGFpbg=="},"data":"MQ=="}]}`, w.Body.String())
}

func TestServerDecodesNothingThatIsNotRecorded(t *testing.T) {
	s := newServer(t, nil)
	s.audit.full = errors.New("disk full")
	w := s.serve(request("POST", "/decode", "reader", "shop", body(t, sealed(t, s.codec, "x")...)))
	require.Equal(t, 503, w.Code)
	require.NotContains(t, w.Body.String(), "payloads")
	require.Equal(t, 401, s.serve(request("POST", "/decode", "forged", "shop", "")).Code, "a refusal stays one")
}

// TestServerReadsNoBodyOfStrangers sends one that never ends.
func TestServerReadsNoBodyOfStrangers(t *testing.T) {
	s := newServer(t, nil)
	r := request("POST", "/decode", "forged", "shop", "")
	r.Body = failing{t}
	require.Equal(t, 401, s.serve(r).Code)
	r = request("POST", "/decode", "worker", "shop", "")
	r.Body = failing{t}
	require.Equal(t, 403, s.serve(r).Code)
}

type failing struct{ t *testing.T }

func (f failing) Read([]byte) (int, error) {
	f.t.Error("the body was read")
	return 0, errors.New("read")
}
func (failing) Close() error { return nil }

// TestServerAnswersBrowsers is the preflight and the request of a Web UI's page.
func TestServerAnswersBrowsers(t *testing.T) {
	s := newServer(t, nil)
	preflight := func(origin string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("OPTIONS", "/decode", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,x-namespace")
		return s.serve(r)
	}
	w := preflight("https://ui.example:8233")
	require.Equal(t, 204, w.Code)
	require.Equal(t, "https://ui.example:8233", w.Header().Get("Access-Control-Allow-Origin"))
	require.Equal(t, "POST", w.Header().Get("Access-Control-Allow-Methods"))
	for _, header := range []string{"authorization", "authorization-extras", "content-type", "x-namespace"} {
		require.Contains(t, strings.ToLower(w.Header().Get("Access-Control-Allow-Headers")), header)
	}
	require.Empty(t, w.Header().Get("Access-Control-Allow-Credentials"))
	require.Contains(t, w.Header().Values("Vary"), "Origin")
	require.Empty(t, s.audit.records, "a preflight decides nothing")

	w = preflight("https://evil.example")
	require.Equal(t, 403, w.Code)
	require.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
	require.Empty(t, w.Header().Get("Access-Control-Allow-Headers"))

	for bearer, code := range map[string]int{"reader": 200, "worker": 403, "expired": 401} {
		r := request("POST", "/decode", bearer, "shop", "{}")
		r.Header.Set("Origin", "https://ui.example:8233")
		w := s.serve(r)
		require.Equal(t, code, w.Code)
		require.Equal(t, "https://ui.example:8233", w.Header().Get("Access-Control-Allow-Origin"), "the page must be able to read a refusal")
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	}
}

func TestServerRefusesImpossibleOrigins(t *testing.T) {
	base := func(origins ...string) error {
		s := newServer(t, nil)
		_, err := NewServer(ServerConfig{Codec: s.codec, Verifier: known(), Audit: s.audit, AllowOrigins: origins})
		return err
	}
	require.NoError(t, base("https://ui.example", "http://127.0.0.1:8233", "https://[::1]:8233"))
	for _, origin := range []string{"*", "", "null", "ui.example", "https://ui.example/", "https://ui.example/ui", "https://UI.example", "ftp://ui.example", "https://ui.example:443", "https://*.example/"} {
		require.Error(t, base(origin), origin)
	}
	_, err := NewServer(ServerConfig{})
	require.Error(t, err)
}

func TestServerServesManyAtOnce(t *testing.T) {
	s := newServer(t, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		payload := body(t, sealed(t, s.codec, fmt.Sprint(i))...)
		wg.Go(func() {
			if w := s.serve(request("POST", "/decode", "reader", "shop", payload)); w.Code != 200 {
				t.Errorf("status %d", w.Code)
			}
		})
	}
	wg.Wait()
	require.Len(t, s.audit.records, 8)
}
