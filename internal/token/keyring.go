package token

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// keyring holds the last good key set of one source. Readers of known keys
// never wait; only a token that names an unknown key waits for a fetch.
type keyring struct {
	source  KeySource
	now     func() time.Time
	log     *slog.Logger
	changed func()
	set     atomic.Pointer[KeySet]
	waiting atomic.Int32 // callers with an unknown key

	mu        sync.Mutex // one fetch at a time
	lastTry   time.Time
	lastGood  time.Time
	lastError error
}

// maxWaiting bounds the callers that wait for a fetch at once.
const maxWaiting = 256

// find returns the keys that may verify a signature. It fetches the set if
// there is none or the key is unknown, at most once in the source's interval.
func (r *keyring) find(ctx context.Context, id, alg string, now time.Time) (keys []Key, known bool) {
	if set := r.set.Load(); set != nil {
		if keys, known = set.find(id, alg, now); known {
			return keys, true
		}
	}
	// While a slow provider is asked, tokens with unknown keys must not pile up.
	defer r.waiting.Add(-1)
	if r.waiting.Add(1) > maxWaiting {
		return nil, false
	}
	_, unknownKey := r.source.Intervals()
	// The error is logged by fetch; what matters here is the set that stands.
	_ = r.fetch(ctx, unknownKey)
	if set := r.set.Load(); set != nil {
		return set.find(id, alg, now)
	}
	return nil, false
}

// fetch replaces the set, unless it was asked for less than min ago. On failure
// the last good set stays.
func (r *keyring) fetch(ctx context.Context, min time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if !r.lastTry.IsZero() {
		if since := now.Sub(r.lastTry); since >= 0 && since < min {
			return r.lastError
		}
	}
	r.lastTry = now
	// The fetch serves every caller, so the first caller's hanging up must not
	// fail it; sources bound their own time.
	set, err := r.source.Keys(context.WithoutCancel(ctx))
	if err != nil {
		if r.lastError == nil {
			r.log.Error("key set could not be refreshed, the last good one stays", "source", r.source.String(),
				"has_keys", r.set.Load() != nil, "error", err)
		}
		r.lastError = err
		return err
	}
	if r.lastError != nil {
		r.log.Info("key set is refreshed again", "source", r.source.String())
	}
	r.lastError, r.lastGood = nil, now
	// Of the first set nothing can depend yet.
	if old := r.set.Swap(set); old != nil && old.fingerprint != set.fingerprint {
		r.log.Info("key set changed", "source", r.source.String(), "keys", len(set.keys))
		r.changed()
	}
	return nil
}

// run refreshes the set until ctx ends.
func (r *keyring) run(ctx context.Context) error {
	refresh, unknownKey := r.source.Intervals()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		wait := refresh
		if r.fetch(ctx, 0) != nil {
			// Without keys nobody gets in: try soon, but do not hammer.
			wait = min(refresh, max(unknownKey, time.Second)*3)
		}
		timer.Reset(wait)
	}
}

// SourceStatus is the state of one issuer's key source.
type SourceStatus struct {
	Issuer, Source string
	Keys           int
	// Refreshed is when the set was last read successfully; zero is never.
	Refreshed time.Time
	// Err is the last attempt's error; nil if it succeeded.
	Err error
}

func (r *keyring) status() SourceStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := SourceStatus{Source: r.source.String(), Refreshed: r.lastGood, Err: r.lastError}
	if set := r.set.Load(); set != nil {
		s.Keys = len(set.keys)
	}
	return s
}
