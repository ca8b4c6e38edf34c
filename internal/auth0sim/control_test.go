package auth0sim

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
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

func TestPage(t *testing.T) {
	h := newHarness(t, Config{})
	h.must(http.StatusCreated, "POST", "/users", doc{"connection": builtInConnection, "email": "a@example.com", "name": "<script>alert(1)</script>", "password": "Correct-Horse-9"})
	w := h.do("GET", "/_sim/", nil, nil)
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "user.created")
	require.NotContains(t, w.Body.String(), "<script>alert")
}
