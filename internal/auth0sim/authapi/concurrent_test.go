package authapi_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// What works once works once for everybody together.
func TestOnceForAllCallers(t *testing.T) {
	s := newSim(t)
	b := s.browser()
	together := func(call func() int) (succeeded int32) {
		var n atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if call()/100 == 2 {
					n.Add(1)
				}
			})
		}
		wg.Wait()
		return n.Load()
	}
	code := s.code(b, "web", "scope", "openid offline_access")
	require.EqualValues(t, 1, together(func() int { return s.exchange(code).status }))
	require.Empty(t, s.list("refresh-tokens"), "seven others had the code too")

	token := s.exchange(s.code(b, "web", "scope", "openid offline_access")).body["refresh_token"].(string)
	require.EqualValues(t, 1, together(func() int { return s.refresh(token).status }))
	require.Empty(t, s.list("refresh-tokens"))

	s.put("tickets", "T", doc{"kind": "email_verification", "user_id": s.userID("ada@example.test"), "expires_at": float64(s.store.Now().Unix() + 60)})
	require.EqualValues(t, 1, together(func() int { return s.send("GET", "/u/email-verification?ticket=T", "", "", nil).status }))
}

// Many browsers at the same time.
func TestParallelLogins(t *testing.T) {
	s := newSim(t)
	s.action("post-login", rolesAction, nil)
	var wg sync.WaitGroup
	for range 6 {
		b := s.browser()
		wg.Go(func() {
			v := b.open(authorizeURL("web"))
			v = b.login(v, "ada@example.test")
			r := s.exchange(v.answer().Get("code"))
			if r.status != 200 {
				t.Errorf("exchange: %s", r.text)
			}
		})
	}
	wg.Wait()
	require.Len(t, s.list("sessions"), 6)
	require.EqualValues(t, 6, s.get("users", s.userID("ada@example.test"))["logins_count"])
}
