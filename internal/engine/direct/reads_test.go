package direct_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// TestMoreAPIsThanAuth0Lists: pages end at record 1000; what lies beyond is asked
// for by identifier.
func TestMoreAPIsThanAuth0Lists(t *testing.T) {
	api := func(i int) map[string]any {
		return map[string]any{"id": fmt.Sprintf("%024x", i), "identifier": fmt.Sprintf("urn:api:%d", i), "name": fmt.Sprintf("api-%d", i)}
	}
	for _, filtered := range []bool{true, false} {
		t.Run(fmt.Sprintf("filter %v", filtered), func(t *testing.T) {
			calls := 0
			e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
				if !strings.HasPrefix(req.URL.Path, "/api/v2/resource-servers") {
					return next.RoundTrip(req)
				}
				calls++
				reply := func(v any) (*http.Response, error) {
					data, err := json.Marshal(v)
					return answer(req, 200, string(data)), err
				}
				query := req.URL.Query()
				var rows []any
				if wanted := query["identifiers"]; len(wanted) > 0 && filtered {
					require.LessOrEqual(t, len(wanted), 10)
					for _, identifier := range wanted {
						var i int
						_, err := fmt.Sscanf(identifier, "urn:api:%d", &i)
						require.NoError(t, err)
						rows = append(rows, api(i))
					}
					return reply(rows)
				} else if len(wanted) > 0 {
					return reply([]any{api(0), api(1)}) // it takes no notice
				}
				if req.URL.Path != "/api/v2/resource-servers" {
					var i int
					_, err := fmt.Sscanf(req.URL.Path[len("/api/v2/resource-servers/"):], "urn:api:%d", &i)
					require.NoError(t, err)
					return reply(api(i))
				}
				page, err := strconv.Atoi(query.Get("page"))
				require.NoError(t, err)
				if page >= 10 {
					return answer(req, 400, `{"statusCode":400,"error":"Bad Request","message":"You can only page through the first 1000 records.","errorCode":"invalid_paging"}`), nil
				}
				for i := range 100 {
					rows = append(rows, api(page*100+i))
				}
				return reply(map[string]any{"resource_servers": rows, "start": page * 100, "limit": 100, "total": 1025})
			})
			var resources []v1.Resource
			for i := range 1025 {
				resources = append(resources, v1.New(fmt.Sprintf("api-%d", i), &v1.Auth0ResourceServerSpec{Identifier: fmt.Sprintf("urn:api:%d", i)}))
			}
			plan, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Resources: resources})
			require.NoError(t, err)
			require.False(t, plan.Changes())
			want := 11 + 3 // pages, and three times ten
			if !filtered {
				want += 25
			}
			require.Equal(t, want, calls)
			require.Equal(t, want, plan.Cost.Reads)
		})
	}
}

// TestAFirstAttemptDoesNotLook: a create that nobody has tried costs the create.
func TestAFirstAttemptDoesNotLook(t *testing.T) {
	calls := 0
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if strings.HasPrefix(req.URL.Path, "/api/v2/") {
			calls++
		}
		return next.RoundTrip(req)
	})
	api := v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "urn:api"})
	for _, r := range []v1.Resource{batch, api} {
		plan, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Stack: "s", Resources: []v1.Resource{r}})
		require.NoError(t, err)
		require.Equal(t, engine.Create, plan.Steps[0].Action)
		calls = 0
		first, err := e.Apply(t.Context(), engine.ApplyRequest{Tenant: target.Domain, Run: "run", Step: plan.Steps[0], Attempt: 1})
		require.NoError(t, err)
		require.Equal(t, 1, calls)
		require.Equal(t, plan.Cost.Writes, calls)
		second, err := e.Apply(t.Context(), engine.ApplyRequest{Tenant: target.Domain, Run: "run", Step: plan.Steps[0], Attempt: 2})
		require.NoError(t, err)
		require.Equal(t, first.ObjectID, second.ObjectID, "a second attempt finds the first one's work")
	}

	// What somebody else has made in the meantime is no work of ours.
	plan, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Stack: "s", Resources: []v1.Resource{v1.New("other", &v1.Auth0ResourceServerSpec{Identifier: "urn:other"})}})
	require.NoError(t, err)
	_, _, err = converge(t, e, target.Domain, "another", v1.New("theirs", &v1.Auth0ResourceServerSpec{Identifier: "urn:other", TokenLifetime: new(60)}))
	require.NoError(t, err)
	_, err = e.Apply(t.Context(), engine.ApplyRequest{Tenant: target.Domain, Run: "run", Step: plan.Steps[0], Attempt: 1})
	require.ErrorIs(t, err, engine.ErrStale)
}

// TestAFewAreAskedForOneByOne: a stack of one client does not read the lists of a
// tenant that has thousands.
func TestAFewAreAskedForOneByOne(t *testing.T) {
	var paths []string
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		paths = append(paths, req.URL.Path)
		return next.RoundTrip(req)
	})
	plan, _, err := converge(t, e, target.Domain, "run", batch)
	require.NoError(t, err)
	res, err := e.Apply(t.Context(), engine.ApplyRequest{Tenant: target.Domain, Run: "run", Step: plan.Steps[0]})
	require.NoError(t, err)
	paths = nil
	plan, err = e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Stack: "s", Resources: []v1.Resource{batch},
		Inventory: []engine.Owned{{Key: engine.KeyOf(batch), ObjectID: res.ObjectID, Resource: batch, Outputs: res.Outputs, Observed: res.Observed}}})
	require.NoError(t, err)
	require.False(t, plan.Changes())
	require.Equal(t, []string{"/api/v2/clients/" + res.ObjectID}, paths)
}

// TestAFreshPlanDeletesAtOnce: what a plan has read a moment ago is deleted without
// another look, unless people's accounts go with it; an older plan's is looked at,
// and kept if it has changed.
func TestAFreshPlanDeletesAtOnce(t *testing.T) {
	calls := 0
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if strings.HasPrefix(req.URL.Path, "/api/v2/") {
			calls++
		}
		return next.RoundTrip(req)
	})
	api := func(lifetime int) v1.Resource {
		return v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "urn:api", TokenLifetime: &lifetime})
	}
	deletion := func(r v1.Resource) engine.Step {
		_, outputs, err := converge(t, e, target.Domain, "run", r)
		require.NoError(t, err)
		key := engine.KeyOf(r)
		plan, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Stack: "s", Delete: []engine.Key{key},
			Inventory: []engine.Owned{{Key: key, ObjectID: outputs[key]["id"], Resource: r, Outputs: outputs[key]}}})
		require.NoError(t, err)
		require.Equal(t, engine.Delete, plan.Steps[0].Action)
		calls = 0
		return plan.Steps[0]
	}
	request := func(step engine.Step, fresh bool, attempt int) engine.ApplyRequest {
		return engine.ApplyRequest{Tenant: target.Domain, Run: "run", Step: step, Fresh: fresh, Attempt: attempt}
	}

	step := deletion(api(600))
	_, err := e.Apply(t.Context(), request(step, true, 1))
	require.NoError(t, err)
	require.Equal(t, 1, calls)
	require.Equal(t, step.Calls, calls)
	_, err = e.Apply(t.Context(), request(step, true, 2))
	require.NoError(t, err, "it is gone")

	step = deletion(api(600))
	_, _, err = converge(t, e, target.Domain, "somebody else", api(700))
	require.NoError(t, err)
	_, err = e.Apply(t.Context(), request(step, false, 1))
	require.ErrorIs(t, err, engine.ErrStale)
	_, err = e.Apply(t.Context(), request(step, true, 2))
	require.ErrorIs(t, err, engine.ErrStale, "a second attempt is not a moment after the plan")

	_, err = e.Apply(t.Context(), request(deletion(v1.New("people", &v1.Auth0ConnectionSpec{Strategy: "auth0"})), true, 1))
	require.NoError(t, err)
	require.Equal(t, 2, calls)
}

// TestListsAreReadAtTheSameTime: a plan takes as long as its longest list.
func TestListsAreReadAtTheSameTime(t *testing.T) {
	both := make(chan struct{})
	var waiting atomic.Int32
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if req.Method == http.MethodGet && strings.HasPrefix(req.URL.Path, "/api/v2/") {
			switch waiting.Add(1) {
			case 1:
				select {
				case <-both:
				case <-req.Context().Done():
					return nil, req.Context().Err()
				}
			case 2:
				close(both)
			}
		}
		return next.RoundTrip(req)
	})
	var resources []v1.Resource
	for i := range 5 {
		resources = append(resources, v1.New(fmt.Sprintf("api-%d", i), &v1.Auth0ResourceServerSpec{Identifier: fmt.Sprintf("urn:api:%d", i)}),
			v1.New(fmt.Sprintf("role-%d", i), &v1.Auth0RoleSpec{}))
	}
	plan, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Stack: "s", Resources: resources})
	require.NoError(t, err)
	require.Equal(t, 2, plan.Cost.Reads)
}

// TestAnAnswerIsTrusted: where one write changes an object and is answered with
// it, it is not read again; where two do, or the answer does not show what was
// asked for, it is.
func TestAnAnswerIsTrusted(t *testing.T) {
	var calls atomic.Int64
	short := false
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if !strings.HasPrefix(req.URL.Path, "/api/v2/") {
			return next.RoundTrip(req)
		}
		calls.Add(1)
		res, err := next.RoundTrip(req)
		if err == nil && short && req.Method == http.MethodPatch {
			_ = res.Body.Close()
			return answer(req, 200, `{}`), nil
		}
		return res, err
	})
	role := func(description string, permissions ...v1.Permission) v1.Resource {
		return v1.New("clerk", &v1.Auth0RoleSpec{Description: &description, Permissions: permissions})
	}
	api := v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "urn:api", Scopes: []v1.Scope{{Name: "read"}}})
	_, _, err := converge(t, e, target.Domain, "run", api, role("one"))
	require.NoError(t, err)
	change := func(r v1.Resource) int64 {
		plan, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Resources: []v1.Resource{r}})
		require.NoError(t, err)
		require.Equal(t, engine.Update, plan.Steps[0].Action)
		calls.Store(0)
		res, err := e.Apply(t.Context(), engine.ApplyRequest{Tenant: target.Domain, Run: "run", Step: plan.Steps[0]})
		require.NoError(t, err)
		require.Equal(t, "clerk", res.Outputs["name"])
		took := calls.Load()
		plan, err = e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Resources: []v1.Resource{r}})
		require.NoError(t, err)
		require.False(t, plan.Changes())
		return took
	}
	require.EqualValues(t, 2, change(role("two")), "looked for, written")
	require.EqualValues(t, 6, change(role("three", v1.Permission{Name: "read", ResourceServerIdentifier: "urn:api"})), "two reads, two writes, two reads")
	short = true
	require.EqualValues(t, 3, change(role("four")), "looked for, written, read")
}

// TestATenantStays: that a tenant is let go of takes no look at it.
func TestATenantStays(t *testing.T) {
	var calls atomic.Int64
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		calls.Add(1)
		return next.RoundTrip(req)
	})
	r := v1.New("tenant", &v1.Auth0TenantSpec{Domain: target.Domain, Settings: &v1.TenantSettings{FriendlyName: new("Acme")}})
	plan, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Stack: "s", Delete: []engine.Key{engine.KeyOf(r)},
		Inventory: []engine.Owned{{Key: engine.KeyOf(r), ObjectID: target.Domain, Resource: r}}})
	require.NoError(t, err)
	require.False(t, plan.Changes())
	require.Zero(t, calls.Load())
}
