// Package enginetest is the suite that every engine passes: what the contract in
// package engine promises, tried against a tenant.
//
// The engine under test reaches the tenant through a Link, which can lose an
// answer after the tenant has acted on the request, the fault that idempotence
// is about. The suite itself looks at the tenant beside the engine, through the
// Management API, so that an engine's own view cannot vouch for itself. It
// imports no engine and no simulator; both are the caller's.
//
// Each test gets a fresh tenant and leaves nothing to the next.
package enginetest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

// Config is what the suite needs.
type Config struct {
	// Tenant starts an empty tenant for one test. Required.
	Tenant func(t *testing.T) Target
	// Engine builds the engine under test. Required.
	Engine func(t *testing.T, env Env) engine.Engine
}

// Target is a tenant and a client that may do everything in it.
type Target struct {
	// Domain is host or host:port.
	Domain string
	// CAFile is the PEM file of the authority that signed its certificate.
	CAFile       string
	ClientID     string
	ClientSecret secret.Value
}

// Env is what an engine under test is built on.
type Env struct {
	Target Target
	// Link must be on the way between engine and tenant.
	Link *Link
	// Secrets resolves the secrets of the suite's resources, and takes those that
	// the engine stores.
	Secrets secret.Stores
	// SecretRef says where a secret output is kept.
	SecretRef func(tenant string, key engine.Key, output string) secret.Ref
}

// bench is one test's surroundings.
type bench struct {
	*testing.T
	target Target
	engine engine.Engine
	link   *Link
	store  *Memory
	// env is where an export says that its secrets are to be put.
	env *Memory
	api *api
}

// Run runs the suite.
func Run(t *testing.T, cfg Config) {
	for name, test := range map[string]func(*bench){
		"create then no-op":                    testCreate,
		"update changes what it names":         testUpdate,
		"explicit false is honoured":           testExplicitFalse,
		"adopt":                                testAdopt,
		"ambiguous names are refused":          testAmbiguous,
		"lost answers of a create":             testLostCreate,
		"lost answers of an update":            testLostUpdate,
		"attempts that overlap":                testOverlap,
		"revert of a create":                   testRevertCreate,
		"revert of an update":                  testRevertUpdate,
		"revert leaves what others made":       testRevertOthers,
		"stale":                                testStale,
		"dangling reference":                   testDangling,
		"circular reference":                   testCycle,
		"invalid resources":                    testInvalid,
		"plans are stable":                     testPlanIsStable,
		"secrets are in the secret store only": testSecrets,
		"a lost secret is recovered":           testLostSecret,
		"widened access is marked":             testRisk,
		"a stack from beginning to end":        testStack,
		"delete":                               testDelete,
		"replace":                              testReplace,
		"adopt every kind":                     testAdoptAll,
		"renamed objects are found by id":      testRename,
		"drift and its cause":                  testDrift,
		"secrets are rotated and put back":     testRotation,
		"rollback after every step":            testRollback,
		"revert of a delete":                   testRevertDelete,
		"an export plans clean":                testExport,
		"an export of what others made":        testExportForeign,
		"a resource takes over another's":      testTakeOver,
		"every boolean explicitly false":       testEveryBoolean,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each has a tenant of its own
			test(newBench(t, cfg))
		})
	}
}

func newBench(t *testing.T, cfg Config) *bench {
	target := cfg.Tenant(t)
	store := NewMemory(given())
	b := &bench{T: t, target: target, link: &Link{}, store: store, env: NewMemory(map[string]string{})}
	b.api = newAPI(t, target)
	b.engine = cfg.Engine(t, Env{
		Target: target, Link: b.link, Secrets: secret.Stores{"memory": store, "env": b.env},
		SecretRef: func(tenant string, key engine.Key, output string) secret.Ref {
			return secret.Ref("memory:" + tenant + "/" + key.String() + "/" + output)
		},
	})
	return b
}

// plan plans and checks what holds for every plan.
func (b *bench) plan(resources ...v1.Resource) *engine.Plan {
	b.Helper()
	before := b.link.Writes()
	p, err := b.engine.Plan(b.Context(), engine.Request{Tenant: b.target.Domain, Resources: resources})
	require.NoError(b, err)
	require.Equal(b, before, b.link.Writes(), "planning changes nothing")
	done := map[engine.Key]bool{}
	for _, s := range p.Steps {
		for _, after := range s.After {
			require.True(b, done[after], "%s comes before %s, which it waits for", s.Key, after)
		}
		done[s.Key] = true
		require.NotEmpty(b, s.Reason)
	}
	return travel(b, p)
}

// travel sends a value through JSON, as a workflow's history does.
func travel[T any](t require.TestingT, v T) T {
	data, err := json.Marshal(v)
	require.NoError(t, err)
	var out T
	require.NoError(t, json.Unmarshal(data, &out))
	return out
}

const run = "run-1"

// How often, and how long, the suite looks at a build of its own.
const (
	waitShort = 50 * time.Millisecond
	waitLong  = 10 * time.Second
)

// apply applies a plan's steps in order. After each error it tries again, as a
// workflow does, at most twice.
func (b *bench) apply(p *engine.Plan) map[engine.Key]engine.Outputs {
	b.Helper()
	outputs := map[engine.Key]engine.Outputs{}
	for _, s := range p.Steps {
		var res *engine.Result
		var err error
		for range 3 {
			if res, err = b.engine.Apply(b.Context(), b.request(s, outputs)); err == nil {
				break
			}
			require.NotErrorIs(b, err, engine.ErrStale, s.Key.String())
		}
		require.NoError(b, err, s.Key.String())
		require.Equal(b, s.Key, res.Key)
		require.NotEmpty(b, res.ObjectID)
		outputs[s.Key] = res.Outputs
	}
	return outputs
}

func (b *bench) request(s engine.Step, outputs map[engine.Key]engine.Outputs) engine.ApplyRequest {
	return travel(b, engine.ApplyRequest{Tenant: b.target.Domain, Run: run, Step: s, Outputs: maps.Clone(outputs)})
}

// revert reverts a plan's steps, last first.
func (b *bench) revert(p *engine.Plan, outputs map[engine.Key]engine.Outputs) map[engine.Key]*engine.Result {
	b.Helper()
	results := map[engine.Key]*engine.Result{}
	for _, s := range slices.Backward(p.Steps) {
		res, err := b.engine.Revert(b.Context(), b.request(s, outputs))
		require.NoError(b, err, s.Key.String())
		results[s.Key] = res
	}
	return results
}

// converge plans and applies, and checks that nothing is left to do.
func (b *bench) converge(resources ...v1.Resource) (*engine.Plan, map[engine.Key]engine.Outputs) {
	b.Helper()
	p := b.plan(resources...)
	outputs := b.apply(p)
	b.clean(resources...)
	return p, outputs
}

// clean checks that the tenant is as desired.
func (b *bench) clean(resources ...v1.Resource) {
	b.Helper()
	p := b.plan(resources...)
	for _, s := range p.Steps {
		require.Equal(b, engine.None, s.Action, "%s: %s: %+v", s.Key, s.Reason, s.Changes)
	}
	require.False(b, p.Changes())
}

func actions(p *engine.Plan) map[string]engine.Action {
	out := map[string]engine.Action{}
	for _, s := range p.Steps {
		out[s.Key.String()] = s.Action
	}
	return out
}

func step(t require.TestingT, p *engine.Plan, key string) engine.Step {
	for _, s := range p.Steps {
		if s.Key.String() == key {
			return s
		}
	}
	require.Fail(t, "the plan has no step "+key)
	return engine.Step{}
}

// Memory is a secret store for tests that remembers what it was given. It is
// safe for concurrent use.
type Memory struct {
	mu     sync.Mutex
	values map[string]string
	broken error // what Put returns
}

// NewMemory returns a store that holds values.
func NewMemory(values map[string]string) *Memory { return &Memory{values: values} }

// Get implements secret.Store.
func (m *Memory) Get(_ context.Context, name string) (secret.Value, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.values[name]; ok {
		return secret.New(v), nil
	}
	return secret.Value{}, fmt.Errorf("%s: %w", name, secret.ErrNotFound)
}

func (m *Memory) put(name, value string) error {
	return m.Put(context.Background(), name, secret.New(value))
}

// Put implements secret.Store.
func (m *Memory) Put(_ context.Context, name string, v secret.Value) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	m.values[name] = v.Reveal()
	return nil
}

// Delete implements secret.Store.
func (m *Memory) Delete(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, name)
	return nil
}

// All returns a copy of what the store holds.
func (m *Memory) All() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.values)
}

func (m *Memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
}
