package workflows_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/workflows"
)

// stack is a stack of the simulated tenant, over the real engine.
func (s *simulated) stack() *stackWorld {
	s.t.Helper()
	w := &stackWorld{world: &world{t: s.t, act: s.act, domain: s.domain}, name: "main", who: map[string]string{}}
	w.reset()
	return w
}

// story is a stack of every kind that depends on another one. Two versions of it
// differ in what has to be created, changed, deleted and left alone.
func story(version int) []v1.Resource {
	text := func(s string) *string { return &s }
	api := v1.New("orders", &v1.Auth0ResourceServerSpec{
		Identifier: "https://orders", Name: text(fmt.Sprintf("Orders %d", version)),
		Scopes: []v1.Scope{{Name: "read:orders"}, {Name: "write:orders", Description: fmt.Sprintf("Write, version %d", version)}},
	})
	client := v1.New("shop", &v1.Auth0ClientSpec{ApplicationType: "non_interactive", Description: text(fmt.Sprintf("The shop, version %d", version)),
		GrantTypes: []string{"client_credentials"}})
	scope := []string{"read:orders"}
	if version == 2 {
		scope = append(scope, "write:orders")
	}
	grant := v1.New("shop-orders", &v1.Auth0ClientGrantSpec{Client: v1.From(v1.KindClient, "shop"), Audience: v1.From(v1.KindResourceServer, "orders"), Scope: scope})
	clerk := v1.New("clerk", &v1.Auth0RoleSpec{Description: text(fmt.Sprintf("Clerks, version %d", version)),
		Permissions: []v1.Permission{{Name: "read:orders", ResourceServerIdentifier: "https://orders"}}})
	same := v1.New("same", &v1.Auth0RoleSpec{Description: text("never changes")})
	list := []v1.Resource{api, client, grant, clerk, same}
	if version == 1 {
		return append(list,
			v1.New("old", &v1.Auth0RoleSpec{Description: text("goes away")}),
			v1.New("old-api", &v1.Auth0ResourceServerSpec{Identifier: "https://old"}))
	}
	return append(list,
		v1.New("new", &v1.Auth0RoleSpec{Description: text("comes"), Permissions: []v1.Permission{{Name: "write:orders", ResourceServerIdentifier: "https://orders"}}}),
		v1.New("new-client", &v1.Auth0ClientSpec{ApplicationType: "spa", Callbacks: []string{"https://new.example.com/callback"}}))
}

// families are the lists of the Management API that a story writes to, with what
// tells their objects apart.
var families = map[string]string{"clients": "name", "resource-servers": "identifier", "roles": "name", "client-grants": "audience"}

// volatile are fields that are new with every object, or change by themselves.
var volatile = []string{"id", "client_id", "client_secret", "updated_at", "created_at", "signing_secret", "signing_keys", "client_metadata"}

// holds is what the tenant holds, without what is volatile.
func (s *simulated) holds() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for family, name := range families {
		var list []map[string]any
		s.get([]string{family}, nil, &list)
		for _, o := range list {
			if strings.HasSuffix(fmt.Sprint(o[name]), "/api/v2/") {
				continue // the Management API, a long list of scopes
			}
			for _, field := range volatile {
				delete(o, field)
			}
			for field, value := range o {
				if list, ok := value.([]any); ok && len(list) == 0 {
					delete(o, field) // the same as none
				}
			}
			text, err := json.Marshal(o)
			require.NoError(s.t, err)
			key := fmt.Sprintf("%s %v", family, o[name])
			require.NotContains(s.t, all, key, "there are two")
			all[key] = string(text)
		}
	}
	return all
}

// writes counts the calls that change the tenant.
func isWrite(r *http.Request) bool {
	return r.Method != http.MethodGet && strings.Contains(r.URL.Path, "/api/v2/")
}

func TestStackRollsBackInTheTenant(t *testing.T) {
	for k := 1; ; k++ {
		hit := false
		t.Run(fmt.Sprintf("at write %d", k), func(t *testing.T) {
			s := simulate(t)
			w := s.stack()
			w.after(0, "", workflows.UpdateApply, w.apply(story(1)))
			var before map[string]string
			writes := 0
			w.look(minute, func(st workflows.StackStatus) {
				require.Equal(t, workflows.ChangeDone, st.Current.State, "%+v", st.Current.Error)
				before = s.holds()
				s.fault = func(r *http.Request) *http.Response {
					if !isWrite(r) || hit {
						return nil
					}
					if writes++; writes < k {
						return nil
					}
					hit = true
					return refusal(r, http.StatusBadRequest, "The tenant does not like it.")
				}
			})
			w.after(2*minute, "", workflows.UpdateApply, w.apply(story(2), prune, rollback))
			w.look(20*minute, func(st workflows.StackStatus) {
				s.fault = nil
				if !hit {
					require.Equal(t, workflows.ChangeDone, st.Current.State, "%+v", st.Current.Error)
					return
				}
				require.Equal(t, workflows.ChangeRolledBack, st.Current.State, "%+v", st.Current.Error)
				for _, u := range st.Current.NotUndone {
					// Auth0 gives what is made anew another id.
					require.True(t, strings.HasPrefix(u.What, "recreated Auth0") && strings.HasPrefix(u.Error, "could not put back id"), "%+v", u)
				}
				require.Equal(t, before, s.holds())
				require.Equal(t, map[string]int{v1.KindRole: 3, v1.KindResourceServer: 2, v1.KindClient: 1, v1.KindClientGrant: 1}, st.Objects)
				// By the stack's own inventory, nothing is left to do.
				w.after(time.Second, "", workflows.UpdatePlan, workflows.StackPlan{Apply: ptrTo(w.apply(story(1), prune))})
				w.look(minute, func(st workflows.StackStatus) {
					require.Equal(t, workflows.ChangePlanned, st.History[0].State, "%+v", st.History[0].Error)
					require.Equal(t, map[engine.Action]int{engine.None: 7}, st.History[0].Actions)
				})
			})
			w.live(30 * minute)
		})
		if !hit || t.Failed() {
			require.True(t, t.Failed() || k > 8, "only %d writes were made", k)
			return
		}
	}
}

// A stack applies, plans clean, changes, plans clean and goes, in the tenant.
func TestStackInTheTenant(t *testing.T) {
	s := simulate(t)
	empty := s.holds()
	w := s.stack()
	clean := func(list []v1.Resource) func(workflows.StackStatus) {
		return func(st workflows.StackStatus) {
			require.Equal(t, workflows.ChangeDone, st.Current.State, "%+v", st.Current.Error)
			w.after(time.Second, "", workflows.UpdatePlan, workflows.StackPlan{Apply: ptrTo(w.apply(list, prune))})
			w.look(minute, func(st workflows.StackStatus) {
				require.Equal(t, workflows.ChangePlanned, st.History[0].State, "%+v", st.History[0].Error)
				require.False(t, st.History[0].Changes(), "%v", st.History[0].Actions)
			})
		}
	}
	w.after(0, "", workflows.UpdateApply, w.apply(story(1), prune))
	w.look(5*minute, clean(story(1)))
	w.after(10*minute, "", workflows.UpdateApply, w.apply(story(2), prune))
	w.look(15*minute, clean(story(2)))
	w.after(20*minute, "", workflows.UpdateDelete, workflows.StackDelete{})
	w.look(25*minute, func(st workflows.StackStatus) {
		require.Equal(t, workflows.ChangeDone, st.Current.State, "%+v", st.Current.Error)
		require.Equal(t, empty, s.holds())
		require.Empty(t, st.Objects)
	})
	w.live(30 * minute)
}
