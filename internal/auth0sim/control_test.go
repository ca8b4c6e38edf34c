package auth0sim

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
	"github.com/tenonhq/tenon/internal/secret"
)

type stateTx = state.Tx

func (h *harness) control(status int, method, path string, body any) map[string]any {
	h.t.Helper()
	w := h.do(method, "/_sim/"+path, body, nil)
	require.Equal(h.t, status, w.Code, w.Body.String())
	return decodeObject(h.t, w.Body.Bytes())
}

func TestControlIsForThisMachine(t *testing.T) {
	h := newHarness(t, Config{})
	for name, change := range map[string]func(*http.Request){
		"another machine": func(r *http.Request) { r.RemoteAddr = "192.0.2.1:1" },
		"another origin":  func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodPost, "https://localhost:4430/_sim/reset", nil)
			req.RemoteAddr = "127.0.0.1:1"
			change(req)
			w := httptest.NewRecorder()
			h.handler.ServeHTTP(w, req)
			require.Equal(t, http.StatusForbidden, w.Code)
		})
	}
	off := newHarness(t, Config{NoControl: true})
	require.Equal(t, http.StatusNotFound, off.do("POST", "/_sim/reset", nil, nil).Code)
}

func TestSnapshotRestoreReset(t *testing.T) {
	h := newHarness(t, Config{})
	role := h.must(http.StatusOK, "POST", "/roles", doc{"name": "kept"})
	h.control(http.StatusOK, "POST", "snapshots/one", nil)
	h.must(http.StatusOK, "DELETE", "/roles/"+role["id"].(string), nil)
	h.control(http.StatusOK, "POST", "restore/one", nil)
	h.must(http.StatusOK, "GET", "/roles/"+role["id"].(string), nil)
	h.control(http.StatusNotFound, "POST", "restore/none", nil)
	h.reset()
	h.must(http.StatusNotFound, "GET", "/roles/"+role["id"].(string), nil) // the token is still good
}

func TestClockExpiresTokens(t *testing.T) {
	h := newHarness(t, Config{})
	h.control(http.StatusOK, "POST", "clock", doc{"advance": "48h"})
	code, v := h.call("GET", "/tenants/settings", nil)
	require.Equal(t, http.StatusUnauthorized, code)
	require.Equal(t, "Expired token received for JSON Web Token validation", v.(map[string]any)["message"])
	h.control(http.StatusOK, "POST", "clock", doc{"reset": true})
	h.must(http.StatusOK, "GET", "/tenants/settings", nil)
	h.control(http.StatusBadRequest, "POST", "clock", doc{})
}

func TestFaults(t *testing.T) {
	h := newHarness(t, Config{})
	ts := httptest.NewServer(h.handler)
	defer ts.Close()
	create := func(name string) (*http.Response, error) {
		req, err := http.NewRequest(http.MethodPost, ts.URL+"/api/v2/roles", jsonBody(doc{"name": name}))
		require.NoError(t, err)
		req.Host = "localhost:4430"
		req.Header.Set("Authorization", "Bearer "+h.token)
		res, err := ts.Client().Do(req)
		if err == nil {
			t.Cleanup(func() { res.Body.Close() })
		}
		return res, err
	}
	count := func() int {
		_, v := h.call("GET", "/roles", nil)
		return len(v.([]any))
	}
	h.control(http.StatusOK, "POST", "faults", doc{"kind": "status", "status": 503, "method": "POST", "path": "/api/v2/roles", "nth": 2})
	res, err := create("a")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	res, err = create("b")
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	res, err = create("b")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	h.control(http.StatusOK, "DELETE", "faults", nil)

	h.control(http.StatusOK, "POST", "faults", doc{"kind": "reset_before", "method": "POST", "times": 1})
	_, err = create("c")
	require.Error(t, err)
	require.Equal(t, 2, count())
	h.control(http.StatusOK, "DELETE", "faults", nil)
	h.control(http.StatusOK, "POST", "faults", doc{"kind": "reset_after", "method": "POST", "times": 1})
	_, err = create("d")
	require.Error(t, err)
	require.Equal(t, 3, count()) // the answer was lost, the change was not
	h.control(http.StatusOK, "DELETE", "faults", nil)

	h.control(http.StatusOK, "POST", "faults", doc{"kind": "lag", "delay": "1h", "path": "/api/v2/users"})
	u := h.must(http.StatusCreated, "POST", "/users", doc{"connection": builtInConnection, "email": "a@example.com", "password": "Correct-Horse-9"})
	_, users := h.call("GET", "/users", nil)
	require.Empty(t, users) // eventually consistent
	h.must(http.StatusOK, "GET", "/users/"+u["user_id"].(string), nil)
	h.control(http.StatusBadRequest, "POST", "faults", doc{"kind": "nonsense"})
}

// What else can go wrong on the way, as a client meets it.
func TestFaultsOnTheWire(t *testing.T) {
	h := newHarness(t, Config{})
	ts := httptest.NewServer(h.handler)
	defer ts.Close()
	get := func(ctx context.Context) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, ts.URL+"/api/v2/tenants/settings", nil)
		require.NoError(t, err)
		req.Host = "localhost:4430"
		req.Header.Set("Authorization", "Bearer "+h.token)
		res, err := ts.Client().Do(req)
		if err == nil {
			t.Cleanup(func() { res.Body.Close() })
		}
		return res, err
	}
	with := func(fault doc) string {
		h.control(http.StatusOK, "DELETE", "faults", nil)
		return h.control(http.StatusOK, "POST", "faults", fault)["id"].(string)
	}

	with(doc{"kind": "status", "status": 429, "headers": doc{"Retry-After": "7"}, "body": doc{"message": "slow down"}, "path": "/api/v2/tenants/*"})
	res, err := get(t.Context())
	require.NoError(t, err)
	require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
	require.Equal(t, "7", res.Header.Get("Retry-After"))
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.JSONEq(t, `{"message":"slow down"}`, string(raw))

	with(doc{"kind": "truncate"})
	res, err = get(t.Context())
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	_, err = io.ReadAll(res.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)

	with(doc{"kind": "expired_token"})
	res, err = get(t.Context())
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, res.StatusCode)
	raw, err = io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Contains(t, string(raw), "Expired token received for JSON Web Token validation")

	with(doc{"kind": "delay", "delay": "200ms"})
	began := time.Now()
	res, err = get(t.Context())
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.GreaterOrEqual(t, time.Since(began), 200*time.Millisecond)

	with(doc{"kind": "hang"})
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = get(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	id := with(doc{"kind": "status", "status": 500, "probability": 0.5})
	failed := 0
	for range 200 {
		res, err := get(t.Context())
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		if res.StatusCode == http.StatusInternalServerError {
			failed++
		}
	}
	require.InDelta(t, 100, failed, 60) // beyond eight standard deviations
	h.control(http.StatusOK, "DELETE", "faults/"+id, nil)
	h.control(http.StatusNotFound, "DELETE", "faults/"+id, nil)
	res, err = get(t.Context())
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	for _, bad := range []doc{{"kind": "status"}, {"kind": "delay"}, {"kind": "delay", "delay": "-1s"}, {"kind": "hang", "probability": 2}, {"kind": "hang", "nth": -1}, {"kind": "hang", "path": "["}, {"kind": "hang", "colour": 1}} {
		h.control(http.StatusBadRequest, "POST", "faults", bad)
	}
}

// The books that control shows: calls with what struck them, mails, events.
func TestControlBooks(t *testing.T) {
	h := newHarness(t, Config{})
	h.control(http.StatusOK, "DELETE", "requests", nil)
	user := h.must(http.StatusCreated, "POST", "/users", doc{"connection": builtInConnection, "email": "a@example.com", "password": "Correct-Horse-9"})
	h.control(http.StatusOK, "POST", "faults", doc{"kind": "status", "status": 503, "times": 1})
	code, _ := h.call("GET", "/users?q=secret", nil)
	require.Equal(t, http.StatusServiceUnavailable, code)
	calls := h.control(http.StatusOK, "GET", "requests", nil)["requests"].([]any)
	require.Len(t, calls, 2)
	first, second := calls[0].(map[string]any), calls[1].(map[string]any)
	require.Equal(t, []any{"POST", "/api/v2/users", 201.0}, []any{first["method"], first["path"], first["status"]})
	require.Equal(t, "fault_1", second["fault"])
	require.NotContains(t, first, "fault")

	h.must(http.StatusCreated, "POST", "/jobs/verification-email", doc{"user_id": user["user_id"]})
	mails := h.control(http.StatusOK, "GET", "outbox", nil)["mails"].([]any)
	require.Len(t, mails, 2) // Auth0 sends one by itself when the user is made
	mail := mails[0].(map[string]any)
	require.Equal(t, "a@example.com", mail["to"])
	link, err := url.Parse(mail["link"].(string))
	require.NoError(t, err)
	h.do("GET", link.RequestURI(), nil, nil)
	require.Equal(t, true, h.must(http.StatusOK, "GET", "/users/"+url.PathEscape(user["user_id"].(string)), nil)["email_verified"])

	kinds := []any{}
	for _, e := range h.control(http.StatusOK, "GET", "events", nil)["events"].([]any) {
		kinds = append(kinds, e.(map[string]any)["type"])
	}
	require.Equal(t, []any{"user.updated", "user.created"}, kinds)
	require.NotEmpty(t, h.control(http.StatusOK, "GET", "objects", nil)["families"])
	require.Len(t, h.control(http.StatusOK, "GET", "objects/users", nil)["objects"], 1)
	require.NotContains(t, h.do("GET", "/_sim/objects/users", nil, nil).Body.String(), "password_hash")
}

func TestFrozenClock(t *testing.T) {
	h := newHarness(t, Config{})
	h.control(http.StatusOK, "POST", "clock", doc{"freeze": "2030-01-02T03:04:05Z"})
	for range 2 {
		require.Equal(t, "2030-01-02T03:04:05Z", h.control(http.StatusOK, "GET", "clock", nil)["now"])
	}
	h.control(http.StatusOK, "POST", "clock", doc{"set": "2031-01-01T00:00:00Z"})
	now, err := time.Parse(time.RFC3339, h.control(http.StatusOK, "GET", "clock", nil)["now"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC), now, time.Minute)
	h.control(http.StatusBadRequest, "POST", "clock", doc{"set": "tomorrow"})
	h.control(http.StatusBadRequest, "POST", "clock", doc{"advance": "soon"})
}

func TestRateLimits(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h := newHarness(t, Config{Plan: "free", Now: func() time.Time { return now }})
	get := func() *httptest.ResponseRecorder {
		return h.do("GET", "/api/v2/roles", nil, map[string]string{"Authorization": "Bearer " + h.token})
	}
	for i := range 2 {
		w := get()
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, "2", w.Header().Get("X-RateLimit-Limit"))
		require.Equal(t, strconv.Itoa(1-i), w.Header().Get("X-RateLimit-Remaining"))
	}
	w := get()
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	require.JSONEq(t, `{"statusCode":429,"error":"Too Many Requests","message":"Global limit has been reached","errorCode":"too_many_requests"}`, w.Body.String())
	reset, err := strconv.ParseInt(w.Header().Get("X-RateLimit-Reset"), 10, 64)
	require.NoError(t, err)
	require.Equal(t, now.Unix()+1, reset)
	now = now.Add(time.Second)
	require.Equal(t, http.StatusOK, get().Code)
}

func TestEntityLimitsAndFeatures(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h := newHarness(t, Config{Plan: "free", Now: func() time.Time { now = now.Add(time.Second); return now }})
	for i := range 10 {
		h.must(http.StatusCreated, "POST", "/clients", doc{"name": strconv.Itoa(i)})
	}
	code, v := h.call("POST", "/clients", doc{"name": "one too many"})
	require.Equal(t, http.StatusForbidden, code)
	require.Equal(t, "You reached the limit of entities of this type for this tenant.", v.(map[string]any)["message"])
	for i := range 3 {
		code, _ = h.call("POST", "/connections", doc{"name": "s" + strconv.Itoa(i), "strategy": "google-oauth2"})
	}
	require.Equal(t, http.StatusForbidden, code)
	code, v = h.call("GET", "/attack-protection/bot-detection", nil)
	require.Equal(t, http.StatusForbidden, code)
	require.Equal(t, "insufficient_entitlement", v.(map[string]any)["errorCode"])
}

func TestTenantsByHost(t *testing.T) {
	h := newHarness(t, Config{})
	h.control(http.StatusOK, "POST", "tenants", doc{"name": "other", "domain": "other.example:4430"})
	h.must(http.StatusOK, "POST", "/roles", doc{"name": "mine"})
	req := httptest.NewRequest(http.MethodGet, "https://other.example:4430/api/v2/roles", nil)
	req.Header.Set("Authorization", "Bearer "+h.token)
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, req)
	require.Equal(t, http.StatusUnauthorized, w.Code) // a token of one tenant is nothing in another
	require.Len(t, h.control(http.StatusOK, "GET", "tenants", nil)["tenants"], 2)
}

// Tenants are known again after a restart, each under its host and with its plan.
func TestTenantsAreRemembered(t *testing.T) {
	cfg := Config{Path: filepath.Join(t.TempDir(), "sim.db"), Domain: "localhost:4430", ClientID: "test-client", ClientSecret: secret.New("test-secret")}
	start := func() *harness {
		s, err := New(cfg)
		require.NoError(t, err)
		h := &harness{t: t, server: s, handler: s.Handler()}
		h.token = h.fetchToken("test-client", "test-secret")
		return h
	}
	h := start()
	h.control(http.StatusBadRequest, "POST", "tenants", doc{"name": "_sim", "domain": "x.example"})
	h.control(http.StatusOK, "POST", "tenants", doc{"name": "other", "domain": "other.example:4430", "plan": "free"})
	require.NoError(t, h.server.Close())
	h = start()
	defer func() { require.NoError(t, h.server.Close()) }()
	tenants := h.control(http.StatusOK, "GET", "tenants", nil)["tenants"]
	require.Contains(t, tenants, map[string]any{"name": "other", "domain": "other.example:4430", "plan": "free"})
	require.Equal(t, "other", h.server.tenantOf(httptest.NewRequest(http.MethodGet, "https://other.example/", nil)).name)
}

func TestPage(t *testing.T) {
	h := newHarness(t, Config{})
	h.must(http.StatusCreated, "POST", "/users", doc{"connection": builtInConnection, "email": "a@example.com", "name": "<script>alert(1)</script>", "password": "Correct-Horse-9"})
	w := h.do("GET", "/_sim/", nil, nil)
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "user.created")
	require.NotContains(t, w.Body.String(), "<script>alert")
}
