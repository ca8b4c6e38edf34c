package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
)

// ErrNotFound says that a store holds nothing under a name.
var ErrNotFound = errors.New("secret not found")

// ErrReadOnly says that a store cannot be written.
var ErrReadOnly = errors.New("secret store is read-only")

// Store keeps secrets by name. Implementations are safe for concurrent use.
type Store interface {
	// Get returns the secret, or an error wrapping ErrNotFound. A secret that
	// exists and is empty counts as not found: nobody means an empty secret.
	Get(ctx context.Context, name string) (Value, error)
	// Put writes the secret durably, replacing what was there, or returns an
	// error wrapping ErrReadOnly.
	Put(ctx context.Context, name string, v Value) error
	// Delete removes the secret; removing one that is absent is no error.
	Delete(ctx context.Context, name string) error
}

// Stores resolves references by the name of their store.
type Stores map[string]Store

// Get resolves a reference.
func (s Stores) Get(ctx context.Context, ref Ref) (Value, error) {
	store, err := s.store(ref)
	if err != nil {
		return Value{}, err
	}
	v, err := store.Get(ctx, ref.Name())
	if err != nil {
		return Value{}, fmt.Errorf("secret %q: %w", ref, err)
	}
	return v, nil
}

// Put writes the secret that a reference names.
func (s Stores) Put(ctx context.Context, ref Ref, v Value) error {
	store, err := s.store(ref)
	if err != nil {
		return err
	}
	if err := store.Put(ctx, ref.Name(), v); err != nil {
		return fmt.Errorf("secret %q: %w", ref, err)
	}
	return nil
}

// Delete removes the secret that a reference names.
func (s Stores) Delete(ctx context.Context, ref Ref) error {
	store, err := s.store(ref)
	if err != nil {
		return err
	}
	if err := store.Delete(ctx, ref.Name()); err != nil {
		return fmt.Errorf("secret %q: %w", ref, err)
	}
	return nil
}

func (s Stores) store(ref Ref) (Store, error) {
	if store := s[ref.Store()]; store != nil {
		return store, nil
	}
	known := make([]string, 0, len(s))
	for name := range s {
		known = append(known, name)
	}
	sort.Strings(known)
	return nil, fmt.Errorf("secret %q: no store is named %q (configured: %s)", ref, ref.Store(), strings.Join(known, ", "))
}

// Env is the process environment as a read-only store.
type Env struct{}

// Get implements Store.
func (Env) Get(_ context.Context, name string) (Value, error) {
	text := os.Getenv(name)
	if text == "" {
		return Value{}, fmt.Errorf("environment variable %s: %w", name, ErrNotFound)
	}
	return New(text), nil
}

// Put implements Store.
func (Env) Put(context.Context, string, Value) error { return ErrReadOnly }

// Delete implements Store.
func (Env) Delete(context.Context, string) error { return ErrReadOnly }
