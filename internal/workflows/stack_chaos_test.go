package workflows_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/workflows"
)

// sixty is a stack of 60 objects, three quarters of which refer to others.
func sixty() []v1.Resource {
	var list []v1.Resource
	for i := range 15 {
		api, client := fmt.Sprintf("api-%02d", i), fmt.Sprintf("client-%02d", i)
		scope := "read:" + api
		list = append(list,
			v1.New(api, &v1.Auth0ResourceServerSpec{Identifier: "https://" + api, Scopes: []v1.Scope{{Name: scope}}}),
			v1.New(client, &v1.Auth0ClientSpec{ApplicationType: "non_interactive", GrantTypes: []string{"client_credentials"}}),
			v1.New("grant-"+client, &v1.Auth0ClientGrantSpec{Client: v1.From(v1.KindClient, client), Audience: v1.From(v1.KindResourceServer, api), Scope: []string{scope}}),
			v1.New(fmt.Sprintf("role-%02d", i), &v1.Auth0RoleSpec{Permissions: []v1.Permission{{Name: scope, ResourceServerIdentifier: "https://" + api}}}),
		)
	}
	return list
}

// arrange sets faults in the simulator.
func (s *simulated) arrange(fault map[string]any) {
	s.t.Helper()
	body, err := json.Marshal(fault)
	require.NoError(s.t, err)
	res, err := s.web.Post("https://"+s.domain+"/_sim/faults", "application/json", bytes.NewReader(body))
	require.NoError(s.t, err)
	defer res.Body.Close() //nolint:errcheck // read to its status only
	require.Equal(s.t, http.StatusOK, res.StatusCode)
}

// TestStackUnderFaults applies 60 objects while every third call of the
// Management API fails, three times with each class of fault that the simulator
// has, so that each call is struck; faults that cost seconds, or that nobody may
// meet twice in a row, strike fewer. The tenant must come out as without faults:
// nothing twice, nothing missing, nothing left over. With TENON_TEST_EVERY_CALL
// set those strike each call too, which takes ten minutes.
func TestStackUnderFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute or two")
	}
	every := os.Getenv("TENON_TEST_EVERY_CALL") != ""
	apply := func(t *testing.T, faults func(*simulated)) (holds map[string]string, calls int) {
		s := simulate(t, func(c *auth0.Config) { c.RequestTimeout = 2 * time.Second })
		w := s.stack()
		s.fault = func(r *http.Request) *http.Response { calls++; return nil }
		faults(s)
		w.after(0, "", workflows.UpdateApply, w.apply(sixty()))
		w.look(5*time.Hour, func(st workflows.StackStatus) {
			require.Equal(t, workflows.ChangeDone, st.Current.State, "%+v", st.Current.Error)
			require.Equal(t, 60, st.Current.Done)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "https://"+s.domain+"/_sim/faults", nil)
			require.NoError(t, err)
			res, err := s.web.Do(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			holds = s.holds()
			w.after(time.Second, "", workflows.UpdatePlan, workflows.StackPlan{Apply: ptrTo(w.apply(sixty(), prune))})
			w.look(time.Hour, func(st workflows.StackStatus) {
				require.Equal(t, workflows.ChangePlanned, st.History[0].State, "%+v", st.History[0].Error)
				require.False(t, st.History[0].Changes(), "%v", st.History[0].Actions)
			})
		})
		w.live(10 * time.Hour)
		return holds, calls
	}
	clean, calls := apply(t, func(*simulated) {})
	for name, fault := range map[string]map[string]any{
		"rate limit":        {"kind": "status", "status": http.StatusTooManyRequests},
		"internal error":    {"kind": "status", "status": 500},
		"unavailable":       {"kind": "status", "status": 503},
		"lost request":      {"kind": "reset_before"},
		"lost answer":       {"kind": "reset_after"},
		"cut answer":        {"kind": "truncate"},
		"expired token":     {"kind": "expired_token"},
		"slow answer":       {"kind": "delay", "delay": "20ms"},
		"listing that lags": {"kind": "lag", "delay": "1s"},
		"no answer":         {"kind": "hang"},
	} {
		t.Run(name, func(t *testing.T) {
			step := 3
			switch {
			case fault["kind"] == "hang", fault["status"] == http.StatusTooManyRequests:
				step = 50 // each costs seconds
				if every {
					step = 10
				}
			case fault["kind"] == "expired_token":
				step = 97 // a call that is refused with a fresh token as well is no good, and 32 are in flight
			}
			offsets := 3
			if every {
				offsets = step
				t.Parallel() // they wait, mostly
			}
			for first := 1; first <= offsets; first++ {
				holds, _ := apply(t, func(s *simulated) {
					for n := first; n < 3*calls; n += step {
						f := maps.Clone(fault)
						f["path"], f["nth"] = "/api/v2/*", n
						s.arrange(f)
					}
				})
				require.Equal(t, slices.Sorted(maps.Keys(clean)), slices.Sorted(maps.Keys(holds)))
				for key, want := range clean {
					require.Equal(t, want, holds[key])
				}
			}
		})
	}
}
