package auth0

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// budget is what the tenant's rate-limit headers say may still be sent.
//
// Auth0 has a global bucket for the Management API and smaller ones for some
// endpoints, shared with everything else that uses the tenant. An answer
// reports the bucket that was charged, but not its name; endpoints whose
// answers report the same limit are therefore taken to share one. That errs on
// the side of waiting, never on that of hammering: a tenant that provisioning
// pushes over its limit throttles the end users' logins.
type budget struct {
	now  func() time.Time
	rand func() float64

	mu      sync.Mutex
	groups  map[string]int  // endpoint group → limit of the bucket that it charges
	buckets map[int]*bucket // by limit
	blocked time.Time       // nothing is sent before
}

type bucket struct {
	limit, remaining int
	inFlight         int
	reset            time.Time
}

func newBudget(now func() time.Time, rand func() float64) *budget {
	return &budget{now: now, rand: rand, groups: map[string]int{}, buckets: map[int]*bucket{}}
}

// reserve takes one request out of the group's bucket, or says how long to wait
// before asking again.
func (b *budget) reserve(group string) (release func(), wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if d := b.blocked.Sub(now); d > 0 {
		return nil, d + b.jitter()
	}
	k := b.buckets[b.groups[group]]
	if k == nil {
		return func() {}, 0
	}
	if !now.Before(k.reset) {
		// The window is over. Until an answer says more, at most one bucketful is sent
		// per second.
		k.remaining, k.reset = k.limit, now.Add(time.Second)
	}
	if k.remaining <= k.inFlight {
		return nil, max(k.reset.Sub(now), 10*time.Millisecond) + b.jitter()
	}
	k.inFlight++
	var once sync.Once
	return func() {
		once.Do(func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			k.inFlight--
			if k.remaining > 0 {
				k.remaining--
			}
		})
	}, 0
}

// jitter spreads those who wait for the same reset, so that they do not all
// wake at once.
func (b *budget) jitter() time.Duration {
	return time.Duration(b.rand() * float64(250*time.Millisecond))
}

// observe learns from an answer.
func (b *budget) observe(group string, header http.Header) {
	limit, err1 := strconv.Atoi(header.Get("x-ratelimit-limit"))
	remaining, err2 := strconv.Atoi(header.Get("x-ratelimit-remaining"))
	reset, ok := b.resetTime(header)
	if err1 != nil || err2 != nil || !ok || limit <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.groups[group] = limit
	k := b.buckets[limit]
	switch {
	case k == nil:
		b.buckets[limit] = &bucket{limit: limit, remaining: remaining, reset: reset}
	case reset.After(k.reset):
		k.remaining, k.reset = remaining, reset
	default:
		// Answers overtake each other: within a window the smaller number is the newer.
		k.remaining = min(k.remaining, remaining)
	}
}

// resetTime is x-ratelimit-reset on our own clock. Where the server's clock is
// off by more than the header's resolution, its Date header corrects it.
func (b *budget) resetTime(header http.Header) (time.Time, bool) {
	unix, err := strconv.ParseInt(header.Get("x-ratelimit-reset"), 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	reset := time.Unix(unix, 0)
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		if skew := date.Sub(b.now()); skew > 2*time.Second || skew < -2*time.Second {
			reset = reset.Add(-skew)
		}
	}
	return reset, true
}

// refused notes a 429 and returns how long the tenant wants us to wait: what
// Retry-After says, else until the reset, else an exponential guess. Until then
// nothing is sent at all: a 429 does not say whether the global bucket or one
// endpoint's is empty.
func (b *budget) refused(header http.Header, attempt int) time.Duration {
	now := b.now()
	wait := min(time.Second<<min(attempt, 5), 30*time.Second)
	if reset, ok := b.resetTime(header); ok {
		wait = max(reset.Sub(now), 0)
	}
	if after := retryAfter(header, now); after > 0 {
		wait = after
	}
	// A reset in this very second is often one refill too early.
	wait = max(wait, 250*time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	if until := now.Add(wait); until.After(b.blocked) {
		b.blocked = until
	}
	return wait
}

// retryAfter reads the header of that name (RFC 9110 section 10.2.3); 0 if it is
// absent or makes no sense.
func retryAfter(header http.Header, now time.Time) time.Duration {
	after := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(after); err == nil {
		return max(time.Duration(seconds)*time.Second, 0)
	}
	if at, err := http.ParseTime(after); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// acquire waits for the group's bucket, at most as long as is left of *left.
func (t *transport) acquire(ctx context.Context, group string, left *time.Duration) (func(), error) {
	for {
		release, wait := t.budget.reserve(group)
		if release != nil {
			return release, nil
		}
		if wait > *left {
			return nil, &Error{Class: RateLimited, RetryAfter: wait, Message: "the tenant's rate limit is used up"}
		}
		*left -= wait
		t.log.DebugContext(ctx, "waiting for the tenant's rate limit", "tenant", t.domain, "endpoint", group, "wait", wait)
		if err := t.sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}
