package auth0sim

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every plan's buckets, as published: so many calls at once, then so many a
// second or minute.
func TestPlans(t *testing.T) {
	for plan, w := range map[string]struct {
		burst int
		after time.Duration // when the next call is allowed
	}{
		"free":       {2, 500 * time.Millisecond},
		"essentials": {10, time.Second},
		"enterprise": {50, time.Second / 16},
		"private":    {50, time.Second / 50},
		"private-5x": {250, time.Second / 250},
	} {
		t.Run(plan, func(t *testing.T) {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			h := newHarness(t, Config{Plan: plan, Now: func() time.Time { return now }})
			get := func() *httptest.ResponseRecorder {
				return h.do("GET", "/api/v2/roles", nil, map[string]string{"Authorization": "Bearer " + h.token})
			}
			for i := range w.burst {
				r := get()
				require.Equal(t, http.StatusOK, r.Code)
				require.Equal(t, fmt.Sprint(w.burst), r.Header().Get("X-RateLimit-Limit"))
				require.Equal(t, fmt.Sprint(w.burst-1-i), r.Header().Get("X-RateLimit-Remaining"))
			}
			r := get()
			require.Equal(t, http.StatusTooManyRequests, r.Code)
			require.Equal(t, "Global limit has been reached", decodeObject(t, r.Body.Bytes())["message"])
			now = now.Add(w.after + time.Millisecond)
			require.Equal(t, http.StatusOK, get().Code)
		})
	}
	_, err := New(Config{Plan: "gold", Domain: "localhost:1"})
	require.EqualError(t, err, `unknown plan "gold": want one of enterprise, essentials, free, private, private-5x, unlimited`)
}

// An endpoint with a bucket of its own is stopped by it, others go on.
func TestEndpointLimits(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h := newHarness(t, Config{Plan: "essentials", Now: func() time.Time { return now }})
	for range 5 {
		code, _ := h.call("GET", "/connections", nil)
		require.Equal(t, http.StatusOK, code)
	}
	code, _ := h.call("GET", "/connections", nil)
	require.Equal(t, http.StatusTooManyRequests, code)
	for range 40 {
		code, _ = h.call("GET", "/users", nil)
		require.Equal(t, http.StatusOK, code)
	}
	code, _ = h.call("GET", "/users", nil)
	require.Equal(t, http.StatusTooManyRequests, code)
}

// /userinfo is counted for each user.
func TestUserinfoLimitIsEachUsers(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h := newHarness(t, Config{Plan: "enterprise", Now: func() time.Time { return now }})
	ask := func(token string) int {
		return h.do("GET", "/userinfo", nil, map[string]string{"Authorization": "Bearer " + token}).Code
	}
	for range 10 {
		require.Equal(t, http.StatusUnauthorized, ask("one"))
	}
	require.Equal(t, http.StatusTooManyRequests, ask("one"))
	require.Equal(t, http.StatusUnauthorized, ask("another"))
}

func TestLatency(t *testing.T) {
	for text, want := range map[string]Latency{"": {}, "350ms": {350 * time.Millisecond, 350 * time.Millisecond}, "100ms-600ms": {100 * time.Millisecond, 600 * time.Millisecond}} {
		got, err := ParseLatency(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		for range 100 {
			d := got.draw()
			require.GreaterOrEqual(t, d, want.Min)
			require.LessOrEqual(t, d, want.Max)
		}
	}
	for _, text := range []string{"fast", "1s-", "2s-1s", "-1s"} {
		_, err := ParseLatency(text)
		require.ErrorContains(t, err, "latency")
	}
	h := newHarness(t, Config{Latency: Latency{time.Second, time.Second}})
	began := time.Now()
	h.must(http.StatusOK, "GET", "/tenants/settings", nil)
	require.GreaterOrEqual(t, time.Since(began), time.Second)
	began = time.Now()
	h.control(http.StatusOK, "GET", "clock", nil) // control is not the tenant's API
	require.Less(t, time.Since(began), time.Second)
}

// What one object may hold does not depend on the plan. A call that would go
// beyond leaves nothing.
func TestLimitsOfOneObject(t *testing.T) {
	h := newHarness(t, Config{})
	user := url.PathEscape(h.must(http.StatusCreated, "POST", "/users", doc{"connection": builtInConnection, "email": "a@example.com", "password": "Correct-Horse-9"})["user_id"].(string))
	org := h.must(http.StatusCreated, "POST", "/organizations", doc{"name": "acme"})["id"].(string)
	raw, err := url.PathUnescape(user)
	require.NoError(t, err)
	code, _ := h.call("POST", "/organizations/"+org+"/members", doc{"members": []any{raw}})
	require.Equal(t, http.StatusNoContent, code)
	roles := make([]any, maxRolesOfUser+1)
	for i := range roles {
		roles[i] = h.must(http.StatusOK, "POST", "/roles", doc{"name": fmt.Sprint(i)})["id"]
	}
	for path, message := range map[string]string{
		"/users/" + user + "/roles":                             "No more roles can be assigned to this user.",
		"/organizations/" + org + "/members/" + user + "/roles": "No more roles can be assigned to this organization member.",
	} {
		code, _ := h.call("POST", path, doc{"roles": roles[:1]})
		require.Equal(t, http.StatusNoContent, code)
		_, v := h.call("POST", path, doc{"roles": roles})
		require.Equal(t, message, v.(map[string]any)["message"])
		_, v = h.call("GET", path, nil)
		require.Len(t, v, 1)
		code, _ = h.call("POST", path, doc{"roles": roles[1:maxRolesOfUser]})
		require.Equal(t, http.StatusNoContent, code)
	}
	for i := range maxOrganizationLogins + 1 {
		con := h.must(http.StatusCreated, "POST", "/connections", doc{"name": fmt.Sprintf("c%d", i), "strategy": "auth0"})["id"]
		code, _ = h.call("POST", "/organizations/"+org+"/enabled_connections", doc{"connection_id": con})
	}
	require.Equal(t, http.StatusForbidden, code)
}
