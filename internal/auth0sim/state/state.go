// Package state is the simulated tenants' memory: documents in families, kept
// in SQLite (a file, or memory), read and written in transactions.
//
// It owns storage, indexes, identifiers, the clock, the tenant's signing keys,
// and the two append-only books every part of the simulator writes to: tenant
// logs (Tx.Log) and events (Tx.Emit). What a document means is its reader's
// business: the Management API is package auth0sim, the Authentication API and
// its pages are package authapi, action code runs in package actions.
//
// A family is named after its REST collection; the names, the shape of each
// identifier and the indexes are in families.go. A document's private part, the
// sub-document under the key [Private], never leaves the simulator: [Public]
// strips it. Writers are serialised; a transaction sees its own writes and
// either commits whole or leaves no trace. Transactions must not be nested: in
// memory mode there is one connection, and a second transaction would wait for
// the first for ever.
package state

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

// Doc is a JSON object as encoding/json decodes it: numbers are float64.
type Doc = map[string]any

// Private is the reserved key of a Doc under which what must not leave the
// simulator lives: password hashes, private keys, action secrets.
const Private = "_"

// schemaVersion is written to the file; a file with a larger one was made by a
// later version of this program and is refused rather than misread.
const schemaVersion = 1

// Config says where the state lives and what is injected into it.
type Config struct {
	// Path is the SQLite file, created with mode 0600. "" keeps everything in
	// memory, gone with Close.
	Path string
	// Now is the wall clock behind Store.Now. Defaults to time.Now.
	Now func() time.Time
	// Rand is the source of identifiers and keys. Defaults to crypto/rand.
	Rand io.Reader
	// Readers is the number of concurrent read transactions on a file.
	// Defaults to 4. Memory mode has one connection for everything.
	Readers int
}

// Store is an open database of simulated tenants. Safe for concurrent use.
type Store struct {
	cfg   Config
	db    *sql.DB
	clock *Clock

	writer  chan *conn // capacity 1: the one connection that may write
	readers chan *conn // in memory mode the same channel as writer

	mu          sync.Mutex
	collections map[collectionKey]int64
	watchers    map[int]watcher
	nextWatch   int
	randMu      sync.Mutex
}

type collectionKey struct{ tenant, family string }

type watcher struct {
	family string
	wake   chan struct{}
}

// Open opens or creates the state.
func Open(cfg Config) (*Store, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Readers <= 0 {
		cfg.Readers = 4
	}
	dsn := ":memory:"
	if cfg.Path != "" {
		// Created by us, because SQLite would give it the umask's mode; its
		// -wal and -shm files inherit the mode of this one.
		f, err := os.OpenFile(cfg.Path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open simulator state: %w", err)
		}
		if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
			return nil, fmt.Errorf("open simulator state: %w", err)
		}
		dsn = "file:" + escapePath(cfg.Path)
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open simulator state %s: %w", cfg.Path, err)
	}
	s := &Store{
		cfg: cfg, db: db, clock: &Clock{now: cfg.Now},
		writer:      make(chan *conn, 1),
		collections: map[collectionKey]int64{},
		watchers:    map[int]watcher{},
	}
	if err := s.prepare(); err != nil {
		return nil, fmt.Errorf("open simulator state %s: %w", cfg.Path, errors.Join(err, db.Close()))
	}
	return s, nil
}

func escapePath(p string) string {
	out := make([]byte, 0, len(p))
	for i := range len(p) {
		switch c := p[i]; c {
		case '?', '#', '%':
			out = append(out, fmt.Sprintf("%%%02X", c)...)
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

func (s *Store) prepare() error {
	w, err := s.connect()
	if err != nil {
		return err
	}
	if s.cfg.Path != "" {
		// NORMAL in WAL mode: a killed process loses nothing it committed, a
		// power cut loses at most the last moments and never consistency.
		for _, pragma := range []string{"PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL"} {
			if err := w.exec(pragma); err != nil {
				return err
			}
		}
	}
	if err := migrate(w); err != nil {
		return err
	}
	s.writer <- w
	if s.cfg.Path == "" {
		s.readers = s.writer
		return nil
	}
	s.readers = make(chan *conn, s.cfg.Readers)
	for range s.cfg.Readers {
		c, err := s.connect()
		if err != nil {
			return err
		}
		s.readers <- c
	}
	return nil
}

// Close waits for running transactions and closes the database.
func (s *Store) Close() error {
	w := <-s.writer
	if s.cfg.Path != "" {
		for range cap(s.readers) {
			(<-s.readers).close()
		}
	}
	w.close()
	return s.db.Close()
}

// Now is the simulated time, in UTC; see Clock.
func (s *Store) Now() time.Time { return s.clock.Now() }

// Clock is the movable clock behind Now.
func (s *Store) Clock() *Clock { return s.clock }

// Rand reads random bytes from the injected source; safe for concurrent use.
func (s *Store) Rand() io.Reader { return (*lockedRand)(s) }

type lockedRand Store

func (r *lockedRand) Read(p []byte) (int, error) {
	r.randMu.Lock()
	defer r.randMu.Unlock()
	return io.ReadFull(r.cfg.Rand, p)
}

// Tenant returns the named tenant, which exists as soon as it is written to.
func (s *Store) Tenant(name string) *Tenant { return &Tenant{store: s, name: name} }

// Tenants lists the tenants that hold anything, in order of first use.
func (s *Store) Tenants(ctx context.Context) ([]string, error) {
	var names []string
	err := s.run(ctx, "", s.readers, "BEGIN", func(tx *Tx) error {
		rows, err := tx.conn.query("SELECT tenant FROM collections GROUP BY tenant ORDER BY MIN(id)")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var n string
			if err := rows.Scan(&n); err != nil {
				return err
			}
			names = append(names, n)
		}
		return rows.Err()
	})
	return names, err
}

// Watch returns a channel that receives after a commit that wrote to the
// family, in any tenant. Signals coalesce: after one, look at all that is new.
func (s *Store) Watch(family string) (wake <-chan struct{}, stop func()) {
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	id := s.nextWatch
	s.nextWatch++
	s.watchers[id] = watcher{family, ch}
	s.mu.Unlock()
	return ch, func() {
		s.mu.Lock()
		delete(s.watchers, id)
		s.mu.Unlock()
	}
}

// Wake wakes those who watch the family, as a commit that wrote to it does.
func (s *Store) Wake(family string) { s.notify(map[string]bool{family: true}) }

func (s *Store) notify(touched map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watchers {
		if touched[w.family] {
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}

// Tenant is one simulated tenant.
type Tenant struct {
	store *Store
	name  string
}

// Name is the tenant's name, the first part of its host name.
func (t *Tenant) Name() string { return t.name }

// Store is the store that the tenant lives in.
func (t *Tenant) Store() *Store { return t.store }

// View runs fn in a read transaction. Writing in it fails.
func (t *Tenant) View(ctx context.Context, fn func(*Tx) error) error {
	return t.store.run(ctx, t.name, t.store.readers, "BEGIN", fn)
}

// Update runs fn in a write transaction; an error from fn, or a panic, rolls
// everything back.
func (t *Tenant) Update(ctx context.Context, fn func(*Tx) error) error {
	return t.store.run(ctx, t.name, t.store.writer, "BEGIN IMMEDIATE", fn)
}

func (s *Store) run(ctx context.Context, tenant string, pool chan *conn, begin string, fn func(*Tx) error) (err error) {
	var c *conn
	select {
	case c = <-pool:
	case <-ctx.Done():
		return ctx.Err()
	}
	tx := &Tx{store: s, conn: c, tenant: tenant, write: begin != "BEGIN"}
	done := false
	defer func() {
		if !done {
			// Not joined into err: the transaction's own failure is the news, and
			// a rollback that fails leaves a connection that cannot begin again.
			_ = c.exec("ROLLBACK")
			s.forget(tx)
		}
		pool <- c
		if done && len(tx.touched) > 0 {
			s.notify(tx.touched)
		}
	}()
	if err := c.exec(begin); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	if err := fn(tx); err != nil {
		return err
	}
	if err := c.exec("COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	done = true
	return nil
}

// forget drops cached collection numbers that a rolled-back transaction made.
func (s *Store) forget(tx *Tx) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range tx.made {
		delete(s.collections, k)
	}
}

// Public returns a copy of the document without its private part. Nested
// values are shared with the original.
func Public(d Doc) Doc {
	out := make(Doc, len(d))
	for k, v := range d {
		if k != Private {
			out[k] = v
		}
	}
	return out
}

// PrivateOf returns the document's private part, made if absent, so that
// writing to the result and putting the document stores it.
func PrivateOf(d Doc) Doc {
	if p, ok := d[Private].(Doc); ok {
		return p
	}
	p := Doc{}
	d[Private] = p
	return p
}

// Clone returns a deep copy of a JSON value.
func Clone[T any](v T) T {
	c, _ := cloneAny(v).(T) // null is none of any type
	return c
}

func cloneAny(v any) any {
	switch v := v.(type) {
	case Doc:
		out := make(Doc, len(v))
		for k, e := range v {
			out[k] = cloneAny(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = cloneAny(e)
		}
		return out
	default:
		return v
	}
}

func decode(body []byte) (Doc, error) {
	var d Doc
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, fmt.Errorf("decode stored document: %w", err)
	}
	return d, nil
}
