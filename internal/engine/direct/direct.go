// Package direct is the engine that calls Auth0's Management API itself: one
// step, one object, as few calls as the object allows.
//
// Plan and Apply follow the same path for every kind:
//
//	resource ─► want ─┐
//	                  ├─ compare ─► step ─► find again ─► stale? ─► create, converge
//	tenant ───► find ─┘                                          └► remove
//
// want and the live object are trees in the shape of the kind's spec; a kind
// (kind.go) says how to find, read and write its objects, and nothing about the
// flow. The same trees make the record of an object (drift.go), its export
// (export.go) and what it is made from again (revert.go). Order, retries over time
// and compensation are the workflows'.
//
// What must always hold: an object is looked for by its recorded id or its natural
// key before it is created, since Auth0 has no idempotency keys; only fields that
// the resource states are written; secrets go from the store into a request, or
// from an answer into the store, and are in no tree.
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
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

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
	for _, name := range append(slices.Clone(kinds), primitives(kinds)...) {
		if k := kindOf(name); k != nil {
			scopes = append(scopes, k.scopes()...)
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// primitives are the kinds that others expand to.
func primitives(kinds []string) []string {
	var out []string
	for _, name := range kinds {
		switch name {
		case v1.KindWebApp:
			out = append(out, v1.KindClient, v1.KindAction)
		case v1.KindService:
			out = append(out, v1.KindClient, v1.KindResourceServer, v1.KindClientGrant)
		}
	}
	return out
}

// session is one call of the engine, or a part of it that goes on beside others.
type session struct {
	*auth0.Client
	*reading
	cfg   Config
	locks *locks
	// id is the object's, if the caller knows it.
	id string
	// resend names secrets that are to be written although Auth0 does not show
	// whether they differ.
	resend map[string]bool
	// previous is where secrets are taken from that the resource itself does not
	// have: the resource as it was before, when reverting.
	previous *v1.Resource
	// writes counts what write has sent, and answer is what the last of it was
	// answered with, nil if that was no object.
	writes int
	answer fields
	// reverting makes references to objects that are gone resolve to something that
	// no object has, where they are otherwise an error.
	reverting bool
}

// reading is what a call of the engine asks of a tenant, and what it has read.
type reading struct {
	// reads counts the calls that were made.
	reads atomic.Int64
	// wanted is how many objects of each kind a plan asks for. For many, lookups read
	// whole lists, 100 objects a call; for a few, and for an apply, single objects.
	wanted map[string]int
	// inventory holds the objects of a stack.
	inventory map[engine.Key]*engine.Owned
	// resources is what the plan is about, for references by name.
	resources []v1.Resource

	mu     sync.Mutex
	lists  map[string]*table
	flight singleflight.Group
}

// once reads what has the key, unless it was read before. Those who ask at the
// same time share one answer.
func (r *reading) once(key string, read func() (*table, error)) (*table, error) {
	have := func() *table {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.lists[key]
	}
	if t := have(); t != nil {
		return t, nil
	}
	v, err, _ := r.flight.Do(key, func() (any, error) {
		if t := have(); t != nil {
			return t, nil
		}
		t, err := read()
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lists[key] = t
		return t, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*table), nil
}

// forget drops what was read: a write has changed it.
func (r *reading) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.lists)
}

func (e *Engine) session(ctx context.Context, tenant string) (*session, error) {
	client, err := e.cfg.Tenants.Tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return &session{Client: client, cfg: e.cfg, locks: &e.locks, reading: &reading{lists: map[string]*table{}}}, nil
}

// fork is a session that reads beside this one and shares what both have read.
func (s *session) fork() *session {
	return &session{Client: s.Client, cfg: s.cfg, locks: s.locks, reading: s.reading}
}

// bulk says whether objects of a kind are looked for in the whole list. For a few
// it is cheaper to ask for each, since the list may have many pages; of the kinds
// that Auth0 limits a tenant to some hundreds or less, one is few.
func (s *session) bulk(kind string) bool {
	few := 3
	switch kind {
	case v1.KindRole, v1.KindAction, v1.KindEventStream:
		few = 1
	case v1.KindConnection:
		if s.wanted != nil && s.bulk(v1.KindClient) {
			few = 0 // their clients ask for them too
		}
	}
	return s.wanted[kind] > few
}

// recorded is the id that is on record for a resource, "" if there is none.
func (s *session) recorded(key engine.Key) string {
	if owned := s.inventory[key]; owned != nil {
		return owned.ObjectID
	}
	return s.id
}

// Do counts the call.
func (s *session) Do(ctx context.Context, r auth0.Request, out any) error {
	r.Sent = s.count
	return s.Client.Do(ctx, r, out)
}

func (s *session) count() { s.reads.Add(1) }

// table is a list that was read, with indexes made when they are first used.
type table struct {
	rows []fields
	// partial is set if Auth0 has more of them and does not list those.
	partial bool

	mu      sync.Mutex
	indexes map[string]map[string][]fields
}

// by returns the rows whose field has the value.
func (t *table) by(field, value string) []fields {
	t.mu.Lock()
	defer t.mu.Unlock()
	index := t.indexes[field]
	if index == nil {
		index = make(map[string][]fields, len(t.rows))
		for _, row := range t.rows {
			v := text(row[field])
			index[v] = append(index[v], row)
		}
		if t.indexes == nil {
			t.indexes = map[string]map[string][]fields{}
		}
		t.indexes[field] = index
	}
	return index[value]
}

// all reads a list once for each session.
func (s *session) all(ctx context.Context, r auth0.Request, paging auth0.Paging, key string) (*table, error) {
	return s.once("list "+fmt.Sprint(r.Path, r.Query.Encode()), func() (*table, error) {
		rows, err := s.list(ctx, r, paging, key)
		return &table{rows: rows}, err
	})
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
