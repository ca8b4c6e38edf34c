package workflows_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

// fakeEngine holds a tenant's objects in memory and keeps the contract of
// engine.Engine as far as workflows rely on it.
type fakeEngine struct {
	mu      sync.Mutex
	objects map[engine.Key]fakeObject
	calls   []string
	made    int // objects that were made anew
	fresh   map[engine.Key]bool
	// Hooks run before (or, for after, once the work is done) and fail the call
	// with what they return.
	onPlan   func(engine.Request) error
	onApply  func(engine.Step) error
	after    func(engine.Step) error
	onRevert func(engine.Step) error
	secrets  secret.Store
}

type fakeObject struct {
	spec string
	run  string
	id   string
}

func newFakeEngine() *fakeEngine {
	return &fakeEngine{objects: map[engine.Key]fakeObject{}, fresh: map[engine.Key]bool{}, secrets: newMemoryStore()}
}

func (e *fakeEngine) log(format string, args ...any) {
	e.calls = append(e.calls, fmt.Sprintf(format, args...))
}

func (e *fakeEngine) Plan(_ context.Context, req engine.Request) (*engine.Plan, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.onPlan != nil {
		if err := e.onPlan(req); err != nil {
			return nil, err
		}
	}
	plan := &engine.Plan{Tenant: req.Tenant, Engine: "direct", Cost: engine.Cost{Reads: 1}}
	owned := map[engine.Key]bool{}
	for _, o := range req.Inventory {
		owned[o.Key] = true
	}
	var apis []engine.Key
	for _, r := range req.Resources {
		if r.Kind == v1.KindResourceServer {
			apis = append(apis, engine.KeyOf(r))
		}
	}
	for _, r := range req.Resources {
		spec, err := json.Marshal(r.Spec)
		if err != nil {
			return nil, err
		}
		key := engine.KeyOf(r)
		step := engine.Step{Key: key, Action: engine.Create, Resource: r, Reason: "missing"}
		if r.Kind == v1.KindRole {
			step.After = apis
		}
		if o, ok := e.objects[key]; ok {
			step.Action, step.Before = engine.Update, json.RawMessage(o.spec)
			if o.spec == string(spec) {
				step.Action = engine.None
			}
			if step.ObjectID = o.id; req.Stack != "" && !owned[key] {
				step.Action = engine.Adopt
			}
		} else if r.Kind == v1.KindTenant {
			step.Action, step.Before = engine.Update, json.RawMessage(`{}`)
		}
		plan.Steps = append(plan.Steps, step)
	}
	for _, key := range req.Delete {
		step := engine.Step{Key: key, Action: engine.None, Reason: "gone"}
		for _, o := range req.Inventory {
			if o.Key == key {
				step.Resource = o.Resource
			}
		}
		if o, ok := e.objects[key]; ok {
			step.Action, step.ObjectID, step.Before, step.Reason = engine.Delete, o.id, json.RawMessage(o.spec), "not wanted"
			step.Risks = []engine.Risk{engine.Destructive}
		}
		plan.Steps = append(plan.Steps, step)
	}
	return plan, nil
}

func (e *fakeEngine) Export(context.Context, engine.ExportRequest) (*engine.Export, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := &engine.Export{Warnings: []string{"secrets are left out"}}
	for _, key := range slices.SortedFunc(maps.Keys(e.objects), func(a, b engine.Key) int { return strings.Compare(a.String(), b.String()) }) {
		spec, err := v1.NewSpec(key.Kind)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(e.objects[key].spec), spec); err != nil {
			return nil, err
		}
		out.Resources = append(out.Resources, v1.New(key.Name, spec))
	}
	return out, nil
}

func (e *fakeEngine) Apply(ctx context.Context, req engine.ApplyRequest) (*engine.Result, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := req.Step.Key
	e.fresh[key] = req.Fresh
	if e.onApply != nil {
		if err := e.onApply(req.Step); err != nil {
			e.log("refuse %s", key)
			return nil, err
		}
	}
	e.log("apply %s %s", req.Step.Action, key)
	switch now, exists := e.objects[key]; req.Step.Action {
	case engine.None:
	case engine.Delete:
		delete(e.objects, key)
		return &engine.Result{Key: key, Action: engine.Delete}, nil
	default:
		spec, err := json.Marshal(req.Step.Resource.Spec)
		if err != nil {
			return nil, err
		}
		if exists && req.Step.Before != nil && now.spec != string(spec) && now.spec != string(req.Step.Before) {
			return nil, fmt.Errorf("%s: %w", key, engine.ErrStale)
		}
		id := "id-" + key.Name
		if exists {
			id = now.id
		}
		e.objects[key] = fakeObject{spec: string(spec), run: req.Run, id: id}
	}
	outputs := engine.Outputs{"id": e.objects[key].id}
	switch key.Kind {
	case v1.KindClient:
		if err := e.secrets.Put(ctx, "CLIENT_SECRET", secret.New("s3cr3t-client")); err != nil {
			return nil, err
		}
		outputs["client_id"], outputs["client_secret"] = "abc123", "test:CLIENT_SECRET"
	case v1.KindUser:
		outputs["user_id"] = "auth0|1"
	}
	if e.after != nil {
		if err := e.after(req.Step); err != nil {
			return nil, err
		}
	}
	return &engine.Result{Key: key, Action: req.Step.Action, ObjectID: outputs["id"], Outputs: outputs}, nil
}

func (e *fakeEngine) Revert(_ context.Context, req engine.ApplyRequest) (*engine.Result, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := req.Step.Key
	if e.onRevert != nil {
		if err := e.onRevert(req.Step); err != nil {
			return nil, err
		}
	}
	o, ok := e.objects[key]
	result := &engine.Result{Key: key, Action: engine.None}
	if req.Step.Action == engine.Delete && !ok {
		e.log("revert delete %s", key)
		e.made++
		id := fmt.Sprintf("id-%s-%d", key.Name, e.made)
		e.objects[key] = fakeObject{spec: string(req.Step.Before), id: id}
		result.Action, result.ObjectID, result.Outputs = engine.Create, id, engine.Outputs{"id": id}
		return result, nil
	}
	if !ok || o.run != req.Run {
		return result, nil
	}
	e.log("revert %s %s", req.Step.Action, key)
	switch req.Step.Action {
	case engine.Create:
		delete(e.objects, key)
		result.Action = engine.Delete
	case engine.Update, engine.Adopt:
		e.objects[key] = fakeObject{spec: string(req.Step.Before), run: o.run, id: o.id}
		result.Action = engine.Update
	}
	return result, nil
}

func (e *fakeEngine) keys() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var keys []string
	for key := range e.objects {
		keys = append(keys, key.String())
	}
	slices.Sort(keys)
	return keys
}

// fakeTenant answers what activities ask of a tenant.
type fakeTenant struct {
	mu        sync.Mutex
	scopes    []string
	tickets   int
	onTicket  func(kind string) error
	discovery func() (*auth0.Discovery, error)
	// onToken answers requests for a service's token.
	onToken func(audience string, scopes []string) (*auth0.AccessToken, error)
}

func (t *fakeTenant) RefreshScopes(context.Context) ([]string, error) { return t.scopes, nil }

func (t *fakeTenant) ticket(kind string) (secret.Value, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.onTicket != nil {
		if err := t.onTicket(kind); err != nil {
			return secret.Value{}, err
		}
	}
	t.tickets++
	return secret.New(fmt.Sprintf("https://tenant.test/u/%s?ticket=s3cr3t-%d", kind, t.tickets)), nil
}

func (t *fakeTenant) VerificationTicket(context.Context, auth0.TicketRequest) (secret.Value, error) {
	return t.ticket("email-verification")
}

func (t *fakeTenant) PasswordTicket(context.Context, auth0.TicketRequest) (secret.Value, error) {
	return t.ticket("reset-password")
}

func (t *fakeTenant) EnrollmentTicket(context.Context, string, bool) (string, secret.Value, error) {
	link, err := t.ticket("mfa-enrollment")
	return "tkt", link, err
}

func (t *fakeTenant) CheckClientCredentials(_ context.Context, id string, s secret.Value, audience string, scopes []string) (*auth0.AccessToken, error) {
	if id != "abc123" || s.Reveal() != "s3cr3t-client" {
		return nil, &auth0.Error{Class: auth0.Credentials, Status: 401, Code: "access_denied", Message: "Unauthorized"}
	}
	return t.onToken(audience, scopes)
}

func (t *fakeTenant) CheckDiscovery(context.Context) (*auth0.Discovery, error) { return t.discovery() }

// memoryStore is a secret store.
type memoryStore struct {
	mu     sync.Mutex
	values map[string]secret.Value
}

func newMemoryStore() *memoryStore { return &memoryStore{values: map[string]secret.Value{}} }

func (s *memoryStore) Get(_ context.Context, name string) (secret.Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.values[name]; ok {
		return v, nil
	}
	return secret.Value{}, fmt.Errorf("%s: %w", name, secret.ErrNotFound)
}

func (s *memoryStore) Put(_ context.Context, name string, v secret.Value) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[name] = v
	return nil
}

func (s *memoryStore) Delete(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, name)
	return nil
}

func (s *memoryStore) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.values))
}

// testRef is a SecretRef for the store "test".
func testRef(tenant string, key engine.Key, output string) secret.Ref {
	return secret.Ref("test:" + strings.Join([]string{tenant, key.String(), output}, " "))
}

var errLost = errors.New("the answer was lost")
