// Package direct is the engine that calls Auth0's Management API itself: one
// step, one object, as few calls as the object allows.
//
// Plan and Apply follow the same path for every kind:
//
//	resource ─► want ─┐
//	                  ├─ compare ─► step ─► find again ─► stale? ─► create, converge
//	tenant ───► find ─┘
//
// want and the live object are trees in the shape of the kind's spec; a kind
// (kind.go) says how to find, read and write its objects, and nothing about the
// flow. Order, retries over time and compensation are the workflows'.
//
// What must always hold: an object is looked for by its natural key before it is
// created, since Auth0 has no idempotency keys; only fields that the resource
// states are written; secrets go from the answer straight into the secret store.
package direct

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

// Name of the engine in plans.
const Name = "direct"

// Config is what an Engine needs.
type Config struct {
	// Tenants reaches the tenants. Required.
	Tenants *auth0.Pool
	// Secrets resolves the secrets of actions, and keeps the client secrets of
	// applications.
	Secrets secret.Stores
	// SecretRef says where an output that is secret is kept, for example
	// ("acme.eu.auth0.com", Auth0Client/grafana, "client_secret"). Required; the
	// store that it names must be writable.
	SecretRef func(tenant string, key engine.Key, output string) secret.Ref
	// Rand is the source of users' first passwords. Defaults to crypto/rand.
	Rand io.Reader
	// BuildTimeout limits the wait for Auth0 to build an action. Defaults to 60 s.
	BuildTimeout time.Duration
	// Sleep waits between two looks at a build. Defaults to a timer.
	Sleep func(ctx context.Context, d time.Duration) error
	// Logger receives what was done to the tenant. Nil discards.
	Logger *slog.Logger
}

// Engine implements engine.Engine.
type Engine struct {
	cfg   Config
	locks locks
}

var _ engine.Engine = (*Engine)(nil)

// New checks the configuration.
func New(cfg Config) (*Engine, error) {
	switch {
	case cfg.Tenants == nil:
		return nil, errors.New("direct engine: tenants are missing")
	case cfg.SecretRef == nil:
		return nil, errors.New("direct engine: secret ref is missing")
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.BuildTimeout <= 0 {
		cfg.BuildTimeout = 60 * time.Second
	}
	if cfg.Sleep == nil {
		cfg.Sleep = func(ctx context.Context, d time.Duration) error {
			t := time.NewTimer(d)
			defer t.Stop()
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-t.C:
				return nil
			}
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Engine{cfg: cfg}, nil
}

// Scopes lists the Management API scopes that planning, applying and reverting
// the kinds need, in alphabetical order. Kinds that this engine does not have
// add none.
func Scopes(kinds ...string) []string {
	var scopes []string
	for _, name := range kinds {
		if k := kindOf(name); k != nil {
			scopes = append(scopes, k.scopes()...)
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// session is one call of the engine: a tenant, and what has been read of it.
type session struct {
	*auth0.Client
	cfg   Config
	locks *locks
	// bulk makes lookups read whole lists, 100 objects a call: a plan asks for many
	// objects, an apply for one.
	bulk  bool
	lists map[string][]fields
	// id is the object's, if the caller knows it: a kind whose lists cannot be
	// filtered by name then reads one object instead of all.
	id string
	// reverting makes references to objects that are gone resolve to something that
	// no object has, where they are otherwise an error.
	reverting bool
	// resources is what the plan is about, for references by name.
	resources []v1.Resource
}

func (e *Engine) session(ctx context.Context, tenant string) (*session, error) {
	client, err := e.cfg.Tenants.Tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return &session{Client: client, cfg: e.cfg, locks: &e.locks, lists: map[string][]fields{}}, nil
}

// all reads a list once for each session.
func (s *session) all(ctx context.Context, r auth0.Request, paging auth0.Paging, key string) ([]fields, error) {
	cacheKey := fmt.Sprint(r.Path, r.Query.Encode())
	if list, ok := s.lists[cacheKey]; ok {
		return list, nil
	}
	list, err := s.list(ctx, r, paging, key)
	if err == nil {
		s.lists[cacheKey] = list
	}
	return list, err
}

// locks are mutexes by name, for read-modify-write of what Auth0 replaces as a
// whole. They order the work of this process; across processes the check after
// the write does.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	sync.Mutex
	users int
}

func (l *locks) acquire(name string) (release func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*lock{}
	}
	k := l.held[name]
	if k == nil {
		k = &lock{}
		l.held[name] = k
	}
	k.users++
	l.mu.Unlock()
	k.Lock()
	return func() {
		k.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, name)
		}
	}
}
