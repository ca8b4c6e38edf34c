package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// Revocations says which tokens are revoked.
type Revocations interface {
	// Revoked reports whether a token is revoked.
	Revoked(c *Claims) bool
	// Generation changes with every change of the revocations.
	Generation() uint64
}

// Revocation revokes one token, or all of a subject up to a time.
type Revocation struct {
	// TokenID is the token's ID; "" revokes by subject.
	TokenID string `json:"jti,omitempty"`
	// Subject whose tokens issued at or before Before are revoked.
	Subject string    `json:"sub,omitempty"`
	Before  time.Time `json:"before,omitzero"`
	// Issuer limits the revocation to one issuer's tokens; "" is any.
	Issuer string `json:"iss,omitempty"`
	// RevokedAt and Reason are for people.
	RevokedAt time.Time `json:"revoked_at"`
	Reason    string    `json:"reason,omitempty"`
	// Forget is when no token that it could concern can be alive any more.
	Forget time.Time `json:"forget"`
}

func (r Revocation) check() error {
	switch {
	case r.TokenID == "" && r.Subject == "":
		return errors.New("revocation names neither a token nor a subject")
	case r.TokenID != "" && r.Subject != "":
		return errors.New("revocation names both a token and a subject")
	case r.Subject != "" && r.Before.IsZero():
		return errors.New("revocation of a subject has no time")
	}
	return nil
}

// RevocationFile is a list of revocations in a file. It is safe for concurrent
// use, by several processes as well.
type RevocationFile struct {
	path string
	lock string

	generation atomic.Uint64
	index      atomic.Pointer[revocationIndex]

	mu   sync.Mutex // one reload at a time
	info os.FileInfo
}

type revocationIndex struct {
	list     []Revocation
	tokens   map[string][]Revocation
	subjects map[string][]Revocation
}

func indexRevocations(list []Revocation) *revocationIndex {
	ix := &revocationIndex{list: list, tokens: map[string][]Revocation{}, subjects: map[string][]Revocation{}}
	for _, r := range list {
		if r.TokenID != "" {
			ix.tokens[r.TokenID] = append(ix.tokens[r.TokenID], r)
		} else {
			ix.subjects[r.Subject] = append(ix.subjects[r.Subject], r)
		}
	}
	return ix
}

// OpenRevocations reads the list at path; a file that does not exist is the
// empty list.
func OpenRevocations(path string) (*RevocationFile, error) {
	f := &RevocationFile{path: path, lock: path + ".lock"}
	f.index.Store(indexRevocations(nil))
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Revoked implements Revocations.
func (f *RevocationFile) Revoked(c *Claims) bool {
	ix := f.index.Load()
	for _, r := range ix.tokens[c.ID] {
		if r.Issuer == "" || r.Issuer == c.Issuer {
			return true
		}
	}
	for _, r := range ix.subjects[c.Subject] {
		if (r.Issuer == "" || r.Issuer == c.Issuer) && !c.IssuedAt.After(r.Before) {
			return true
		}
	}
	return false
}

// Generation implements Revocations.
func (f *RevocationFile) Generation() uint64 { return f.generation.Load() }

// List returns the revocations, the oldest first.
func (f *RevocationFile) List() []Revocation { return slices.Clone(f.index.Load().list) }

// Reload reads the file if it changed. A list that cannot be read is an error,
// and the last good list stays.
func (f *RevocationFile) Reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		if f.info != nil {
			// A list that was there and is gone would quietly forgive everyone.
			return fmt.Errorf("revocations: %s is gone, the last list stays", f.path)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("revocations: %w", err)
	}
	if sameFile(f.info, info) {
		return nil
	}
	list, err := readRevocations(f.path)
	if err != nil {
		return err
	}
	f.info = info
	f.index.Store(indexRevocations(list))
	f.generation.Add(1)
	return nil
}

func readRevocations(path string) ([]Revocation, error) {
	data, err := readBounded(path, 64<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("revocations: %w", err)
	}
	var doc struct {
		Revoked []Revocation `json:"revoked"`
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("revocations %s: %w", path, err)
	}
	for i, r := range doc.Revoked {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("revocations %s: entry %d: %w", path, i+1, err)
		}
	}
	return doc.Revoked, nil
}

// add appends a revocation and forgets those that no living token needs.
func (f *RevocationFile) add(ctx context.Context, r Revocation, now time.Time) (err error) {
	if err := r.check(); err != nil {
		return err
	}
	unlock, err := secret.Lock(ctx, f.lock)
	if err != nil {
		return fmt.Errorf("revocations: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	list, err := readRevocations(f.path)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(r Revocation) bool { return !r.Forget.IsZero() && now.After(r.Forget) })
	list = append(list, r)
	data, err := json.MarshalIndent(map[string]any{"revoked": list}, "", "  ")
	if err != nil {
		return fmt.Errorf("revocations: %w", err)
	}
	if err := secret.WriteFile(f.path, append(data, '\n')); err != nil {
		return fmt.Errorf("revocations: %w", err)
	}
	return f.Reload()
}
