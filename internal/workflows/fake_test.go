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
}

func newFakeEngine() *fakeEngine {
	return &fakeEngine{objects: map[engine.Key]fakeObject{}, secrets: newMemoryStore()}
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
	plan := &engine.Plan{Tenant: req.Tenant, Engine: "direct"}
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
		} else if r.Kind == v1.KindTenant {
			step.Action, step.Before = engine.Update, json.RawMessage(`{}`)
		}
		plan.Steps = append(plan.Steps, step)
	}
	return plan, nil
}

func (e *fakeEngine) Apply(ctx context.Context, req engine.ApplyRequest) (*engine.Result, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := req.Step.Key
	if e.onApply != nil {
		if err := e.onApply(req.Step); err != nil {
			e.log("refuse %s", key)
			return nil, err
		}
	}
	e.log("apply %s %s", req.Step.Action, key)
	if req.Step.Action != engine.None {
		spec, err := json.Marshal(req.Step.Resource.Spec)
		if err != nil {
			return nil, err
		}
		e.objects[key] = fakeObject{spec: string(spec), run: req.Run}
	}
	outputs := engine.Outputs{"id": "id-" + key.Name}
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
	if !ok || o.run != req.Run {
		return result, nil
	}
	e.log("revert %s %s", req.Step.Action, key)
	switch req.Step.Action {
	case engine.Create:
		delete(e.objects, key)
		result.Action = engine.Delete
	case engine.Update:
		e.objects[key] = fakeObject{spec: string(req.Step.Before), run: req.Run}
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
