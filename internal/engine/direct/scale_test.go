package direct_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/api/v1/v1test"
	"github.com/tenonhq/tenon/internal/engine"
)

// bigStack is a stack of n resources as large companies have them: applications and the
// APIs that they call, and a little of everything else.
func bigStack(tenant string, n int) []v1.Resource {
	resources := []v1.Resource{
		v1.New("tenant", &v1.Auth0TenantSpec{Domain: tenant, Settings: &v1.TenantSettings{FriendlyName: new("Big")}}),
		v1.New("people", &v1.Auth0ConnectionSpec{Strategy: "auth0"}),
		v1.New("claims", &v1.Auth0ActionSpec{SupportedTrigger: v1.ActionTrigger{ID: "post-login", Version: "v3"}, Code: "exports.onExecutePostLogin = async () => {};", TriggerBinding: &v1.TriggerBinding{}}),
		v1.New("events", &v1.Auth0EventStreamSpec{DestinationType: "eventbridge", Subscriptions: []string{"user.created"}, EventBridgeConfiguration: &v1.EventBridgeConfiguration{AWSAccountID: "123456789012", AWSRegion: "eu-west-1"}}),
	}
	resources = append(resources,
		v1.New("reader", &v1.Auth0RoleSpec{Permissions: []v1.Permission{{Name: "read", ResourceServerIdentifier: "urn:api:0"}}}),
		v1.New("nobody", &v1.Auth0RoleSpec{Description: new("may do nothing")}))
	for i := 0; len(resources) < n; i++ {
		switch i % 10 {
		case 0:
			resources = append(resources, v1.New(fmt.Sprintf("api-%d", i/10), &v1.Auth0ResourceServerSpec{Identifier: fmt.Sprintf("urn:api:%d", i/10), Scopes: []v1.Scope{{Name: "read"}}}))
		case 1, 2, 3, 4:
			spec := &v1.Auth0ClientSpec{ApplicationType: "spa", Callbacks: []string{fmt.Sprintf("https://web-%d.example.com", i)}}
			if i%10 == 1 {
				spec.EnabledConnections = []v1.StringOrRef{v1.From("", "people")}
			}
			resources = append(resources, v1.New(fmt.Sprintf("web-%d", i), spec))
		case 5, 6, 7:
			resources = append(resources, v1.New(fmt.Sprintf("job-%d", i), &v1.Auth0ClientSpec{ApplicationType: "non_interactive", GrantTypes: []string{"client_credentials"}}))
		default:
			resources = append(resources, v1.New(fmt.Sprintf("grant-%d", i), &v1.Auth0ClientGrantSpec{Client: v1.From("", fmt.Sprintf("job-%d", i-3)), Audience: v1.From("", fmt.Sprintf("api-%d", i/10)), Scope: []string{"read"}}))
		}
	}
	return resources
}

// TestABigStack plans 2,000 objects: the reads are those of the lists, a hundredth
// of the objects and a few besides, whether there is an inventory or none. At 5,000
// they are 59.
func TestABigStack(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 2,000 objects")
	}
	var calls atomic.Int64
	var mu sync.Mutex
	families := map[string]int{}
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if strings.HasPrefix(req.URL.Path, "/api/v2/") {
			calls.Add(1)
			mu.Lock()
			families[strings.Split(req.URL.Path, "/")[3]]++
			mu.Unlock()
		}
		return next.RoundTrip(req)
	})
	const n = 2000
	resources := bigStack(target.Domain, n)
	require.Len(t, resources, n)
	plan, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Stack: "big", Resources: resources})
	require.NoError(t, err)
	t.Logf("first plan: %d reads, %d writes foreseen, %.0f s at %.0f/s", plan.Cost.Reads, plan.Cost.Writes, plan.Cost.Seconds, plan.Cost.PerSecond)

	calls.Store(0)
	began := time.Now()
	inventory := applyAll(t, e, target.Domain, plan)
	applied := calls.Load()
	t.Logf("applied in %s with %d calls", time.Since(began).Round(time.Millisecond), applied)
	require.InDelta(t, plan.Cost.Writes, applied, float64(applied)/5, "the estimate is near")

	for name, request := range map[string]engine.Request{
		"with an inventory":    {Tenant: target.Domain, Stack: "big", Resources: resources, Inventory: inventory},
		"without an inventory": {Tenant: target.Domain, Resources: resources},
	} {
		calls.Store(0)
		clear(families)
		began := time.Now()
		plan, err := e.Plan(t.Context(), request)
		require.NoError(t, err)
		t.Logf("%s: planned in %s with %d calls: %v", name, time.Since(began).Round(time.Millisecond), calls.Load(), families)
		require.False(t, plan.Changes(), name)
		require.LessOrEqual(t, calls.Load(), int64(n/100+10), name)
		require.EqualValues(t, calls.Load(), plan.Cost.Reads, name)
	}
}

// applyAll applies a plan's steps eight at a time, each when those that it waits
// for are done.
func applyAll(t *testing.T, e engine.Engine, tenant string, plan *engine.Plan) []engine.Owned {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	outputs, done := map[engine.Key]engine.Outputs{}, map[engine.Key]chan struct{}{}
	for _, s := range plan.Steps {
		done[s.Key] = make(chan struct{})
	}
	owned := make([]engine.Owned, len(plan.Steps))
	slots := make(chan struct{}, 8)
	var group sync.WaitGroup
	for i, s := range plan.Steps {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			known := map[engine.Key]engine.Outputs{}
			for _, key := range s.After {
				select {
				case <-done[key]:
				case <-ctx.Done():
					return
				}
				mu.Lock()
				known[key] = outputs[key]
				mu.Unlock()
			}
			res, err := e.Apply(ctx, engine.ApplyRequest{Tenant: tenant, Run: "run", Step: s, Outputs: known, Attempt: 1})
			if err != nil {
				t.Errorf("%v", err)
				cancel()
				return
			}
			mu.Lock()
			outputs[s.Key] = res.Outputs
			mu.Unlock()
			owned[i] = engine.Owned{Key: s.Key, ObjectID: res.ObjectID, Resource: s.Resource, Outputs: res.Outputs, Observed: res.Observed}
			close(done[s.Key])
		})
	}
	group.Wait()
	require.NoError(t, ctx.Err())
	return owned
}

// TestExamples applies all of the published stories to one tenant, as they are, with
// every boolean turned to false, and back; and exports it each time.
func TestExamples(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../../../examples")
	require.NoError(t, err)
	stories, err := os.ReadDir(root)
	if err != nil {
		t.Skipf("there are no examples: %v", err)
	}
	e, target, _ := setup(t, nil)
	var all []v1.Resource
	for _, story := range stories {
		files, err := filepath.Glob(filepath.Join(root, story.Name(), "*.yaml"))
		require.NoError(t, err)
		var sources []v1.Source
		for _, file := range files {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			sources = append(sources, v1.Source{Name: file, Data: data})
		}
		if len(sources) == 0 {
			continue
		}
		manifests, err := v1.Load(sources...)
		require.NoError(t, err, story.Name())
		all = append(all, manifests.Resources...)
	}
	var inventory []engine.Owned
	for _, resources := range [][]v1.Resource{all, v1test.AllOfFalse(all), all} {
		plan, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Stack: "examples", Resources: resources, Inventory: inventory})
		require.NoError(t, err)
		inventory = applyAll(t, e, target.Domain, plan)
		plan, err = e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Stack: "examples", Resources: resources, Inventory: inventory})
		require.NoError(t, err)
		for _, s := range plan.Steps {
			require.Equal(t, engine.None, s.Action, "%s: %s %+v", s.Key, s.Reason, s.Changes)
		}
		exported, err := e.Export(t.Context(), engine.ExportRequest{Tenant: target.Domain})
		require.NoError(t, err)
		require.Greater(t, len(exported.Resources), 20)
		plan, err = e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Stack: "exported", Resources: exported.Resources})
		require.NoError(t, err)
		for _, s := range plan.Steps {
			require.False(t, s.Touches(), "%s: %s %s %+v", s.Key, s.Action, s.Reason, s.Changes)
		}
	}
}
