package auth0

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// budget decides when the next request may be sent.
//
// Auth0 has a token bucket for the Management API and smaller ones for some
// endpoints, shared with everything else that uses the tenant: production, and
// our other workers. The bucket itself is therefore the shared state, and the
// headers of every answer are its gauge; nothing is kept about it anywhere else.
// Three rules follow from what the gauge says:
//
//   - A share of the bucket is never touched. Whoever else comes finds it there.
//   - Requests in flight are at most half of what is left above the share, and of
//     what comes back while they are on their way. Two workers that read the same
//     number at once do not take it twice, and the number in flight settles by itself
//     where the bucket gives as much as is taken, at any latency.
//   - What was read a while ago is not believed: the first requests after a pause
//     are a few at a time, until an answer says more. So are the first ones to an
//     endpoint, which may have a bucket of its own. Of two workers who send so, both
//     find what they send in the share.
//
// An answer reports the bucket that was charged, but not its name; endpoints
// whose answers report the same limit are taken to share one. That errs on the
// side of waiting, never on that of hammering: a tenant that provisioning pushes
// over its limit throttles the end users' logins.
type budget struct {
	now   func() time.Time
	rand  func() float64
	share float64

	mu       sync.Mutex
	groups   map[string]int  // endpoint group → limit of the bucket that it charges
	buckets  map[int]*bucket // by limit
	blocked  time.Time       // nothing is sent before
	latest   int             // limit of the bucket that was charged last
	sent     uint64          // requests so far
	unknown  bucket          // requests whose bucket no answer has told yet
	blind    map[string]int  // those in flight, by endpoint group
	changed  context.Context // done when anything changes
	announce context.CancelFunc
}

type bucket struct {
	// limit is the bucket's size; 0 as long as no answer has told.
	limit int
	// remaining is what the answer to request number answered said at the time seen,
	// and reset when the bucket would be full again.
	remaining int
	answered  uint64
	seen      time.Time
	reset     time.Time
	inFlight  int
	// latency is how long the latest answer took.
	latency time.Duration
	// rate is the least refill, in requests a second, that the answers allow for.
	rate float64
	// continuous is set once the bucket was seen to fill before its reset. Until
	// then it might be refilled all at once.
	continuous bool
	// waited is set while nothing may be sent, and short counts how often in a row the
	// first answer after it found the share broken into: others take what the refill
	// gives.
	waited bool
	short  int
	// ceiling bounds requests in flight after a refusal that the headers did not
	// announce; 0 is none. It grows again with every round of good answers.
	ceiling, good int
}

const (
	// mostInFlight bounds one worker's requests to one tenant.
	mostInFlight = 64
	// untold is how many requests to an endpoint may be in flight before any answer
	// has told what its bucket holds, or if none does.
	untold = 2
	// fresh is how long an answer is taken for the present.
	fresh = time.Second
)

func newBudget(now func() time.Time, rand func() float64, share float64) *budget {
	b := &budget{now: now, rand: rand, share: share, groups: map[string]int{}, buckets: map[int]*bucket{}, blind: map[string]int{}}
	b.changed, b.announce = context.WithCancel(context.Background())
	return b
}

// permit is leave to send one request.
type permit struct {
	budget *budget
	bucket *bucket
	group  string
	number uint64
	sent   time.Time
	once   sync.Once
}

// release ends the request. It may be called more than once.
func (p *permit) release() {
	p.once.Do(func() {
		p.budget.mu.Lock()
		defer p.budget.mu.Unlock()
		p.bucket.inFlight--
		if p.bucket == &p.budget.unknown {
			p.budget.blind[p.group]--
		}
		p.budget.wake()
	})
}

// wake lets those who wait look again.
func (b *budget) wake() {
	b.announce()
	b.changed, b.announce = context.WithCancel(context.Background())
}

// reserve gives leave to send a request of the group, or says how long to wait
// before asking again, if nothing changes before; 0 is until something does.
func (b *budget) reserve(group string) (p *permit, wait time.Duration, changed context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if d := b.blocked.Sub(now); d > 0 {
		return nil, d + b.jitter(), b.changed
	}
	k := b.buckets[b.groups[group]]
	if k == nil {
		k = &b.unknown
		if b.blind[group] >= untold {
			return nil, 0, b.changed
		}
	}
	allowed, wait := b.allowed(k, now)
	if k.inFlight >= allowed {
		if k.inFlight > 0 {
			return nil, 0, b.changed // each answer is news
		}
		return nil, wait + b.jitter(), b.changed
	}
	k.inFlight++
	if k == &b.unknown {
		b.blind[group]++
	}
	b.sent++
	return &permit{budget: b, bucket: k, group: group, number: b.sent, sent: now}, 0, nil
}

// allowed is how many requests may be in flight, and, if none, how long it takes
// until one may.
func (b *budget) allowed(k *bucket, now time.Time) (n int, wait time.Duration) {
	if k.limit == 0 {
		// The whole API has one bucket for all endpoints, and some have another.
		if whole := b.buckets[b.latest]; whole != nil {
			return b.unseen(whole), time.Second
		}
		return untold, time.Second
	}
	left := k.left(now)
	free := left - b.floor(k)
	if free < 1 {
		if k.continuous && k.rate > 0 {
			wait = time.Duration((1 - free) / k.rate * float64(time.Second))
		} else {
			wait = max(k.reset.Sub(now), 0)
		}
		k.waited = true
		// Each look costs a request, and one that others would have had.
		return 0, max(wait, 20*time.Millisecond) << min(k.short, 4)
	}
	n = max(1, int((free+b.gain(k))/2))
	if now.Sub(k.seen) > fresh && k.inFlight < n {
		n = min(n, b.unseen(k))
	}
	if k.ceiling > 0 {
		n = min(n, k.ceiling)
	}
	return min(n, mostInFlight), 0
}

// gain is what the bucket gets back while a request is on its way. If it does not,
// half of what is left to others makes good for it, so no more than that counts.
func (b *budget) gain(k *bucket) float64 {
	if !k.continuous {
		return 0
	}
	return min(k.rate*k.latency.Seconds(), b.floor(k)/2)
}

// unseen is how many requests may be sent without knowing what the bucket holds:
// half of what is left to others, so that two workers take no more than that.
func (b *budget) unseen(k *bucket) int { return max(untold, int(b.floor(k)/2)) }

// floor is what is left to others: the share, and of a small bucket enough for
// what two workers may take at the same moment.
func (b *budget) floor(k *bucket) float64 {
	if b.share == 0 {
		return 0
	}
	return math.Max(math.Ceil(b.share*float64(k.limit)), math.Min(3, float64(k.limit/2)))
}

// left is what the bucket holds by now, as far as can be told. With requests in
// flight the next answer will say; only after a pause is it reckoned.
func (k *bucket) left(now time.Time) float64 {
	left := float64(k.remaining)
	switch {
	case k.inFlight > 0:
	case !now.Before(k.reset):
		left = float64(k.limit)
	case k.continuous:
		left += k.rate * now.Sub(k.seen).Seconds()
	}
	return min(left, float64(k.limit))
}

// jitter spreads those who wait for the same moment, so that they do not all
// wake at once.
func (b *budget) jitter() time.Duration {
	return time.Duration(b.rand() * float64(50*time.Millisecond))
}

// observe learns from the answer to a request.
func (b *budget) observe(p *permit, header http.Header) {
	limit, err1 := strconv.Atoi(header.Get("x-ratelimit-limit"))
	remaining, err2 := strconv.Atoi(header.Get("x-ratelimit-remaining"))
	now := b.now()
	reset, ok := resetTime(header, now)
	if err1 != nil || err2 != nil || !ok || limit <= 0 || remaining < 0 || remaining > limit {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.groups[p.group], b.latest = limit, limit
	k := b.buckets[limit]
	if k == nil {
		k = &bucket{limit: limit, remaining: limit}
		b.buckets[limit] = k
	}
	if k.good++; k.ceiling > 0 && k.good >= k.ceiling {
		k.ceiling, k.good = k.ceiling+1, 0
	}
	// Answers overtake each other: that of an older request is news only if it is
	// worse.
	if p.number < k.answered && remaining >= k.remaining {
		return
	}
	if k.answered > 0 && now.Before(k.reset) && remaining >= k.remaining && p.number > k.answered {
		// A request was answered, and the bucket does not hold less.
		k.continuous = true
	}
	k.latency = now.Sub(p.sent)
	k.learnRate(remaining, reset.Sub(now).Seconds())
	switch broken := float64(remaining) < b.floor(k)-1; {
	case !broken:
		k.short = 0
	case k.waited:
		k.short++
	}
	k.waited = false
	k.remaining, k.reset, k.seen, k.answered = remaining, reset, now, max(p.number, k.answered)
}

// learnRate bounds the rate of refill. Auth0 says when the bucket will be full,
// in whole seconds, rounded up: what is missing over that time is too little by
// up to a second's worth, and the largest of such values is the closest.
func (k *bucket) learnRate(remaining int, seconds float64) {
	missing := float64(k.limit - remaining)
	if missing < 1 || seconds <= 0 {
		return
	}
	if seconds > 1 && k.rate > missing/(seconds-1) {
		k.rate = 0 // it has become slower
	}
	k.rate = max(k.rate, missing/seconds)
}

// pace is how much the tenant still takes at once, and how many requests a second
// after that, as far as the bucket that was charged last shows it; 0, 0 if no
// answer has said anything yet. Of a bucket that is all but full the headers say
// little, and it is taken to give one bucketful a second.
func (b *budget) pace() (burst int, perSecond float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.buckets[b.latest]
	if k == nil {
		return 0, 0
	}
	burst = max(0, k.remaining-int(b.floor(k)))
	if used := k.limit - k.remaining; used*4 < k.limit {
		return burst, max(k.rate, float64(k.limit))
	}
	return burst, k.rate
}

// resetTime is x-ratelimit-reset on our own clock. Where the server's clock is
// off by more than the header's resolution, its Date header corrects it.
func resetTime(header http.Header, now time.Time) (time.Time, bool) {
	unix, err := strconv.ParseInt(header.Get("x-ratelimit-reset"), 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	reset := time.Unix(unix, 0)
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		if skew := date.Sub(now); skew > 2*time.Second || skew < -2*time.Second {
			reset = reset.Add(-skew)
		}
	}
	return reset, true
}

// refused notes a 429 and returns how long the tenant wants us to wait. Until
// then nothing is sent at all: a 429 does not say whether the global bucket or
// one endpoint's is empty.
func (b *budget) refused(p *permit, header http.Header, attempt int) time.Duration {
	now := b.now()
	wait := refusalWait(header, attempt, now)
	b.mu.Lock()
	defer b.mu.Unlock()
	if until := now.Add(wait); until.After(b.blocked) {
		b.blocked = until
		// Whatever the headers have said, it was too much.
		k := p.bucket
		k.ceiling, k.good, k.rate = max(1, k.inFlight/2), 0, 0
	}
	return wait
}

// refusalWait is how long a 429 asks to wait: what Retry-After says, else until
// the reset, else an exponential guess.
func refusalWait(header http.Header, attempt int, now time.Time) time.Duration {
	wait := min(time.Second<<min(attempt, 5), 30*time.Second)
	if reset, ok := resetTime(header, now); ok {
		wait = max(reset.Sub(now), 0)
	}
	if after := retryAfter(header, now); after > 0 {
		wait = after
	}
	// A reset in this very second is often one refill too early.
	return max(wait, 250*time.Millisecond)
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
func (t *transport) acquire(ctx context.Context, group string, left *time.Duration) (*permit, error) {
	for {
		p, wait, changed := t.budget.reserve(group)
		if p != nil {
			return p, nil
		}
		if wait > *left {
			return nil, &Error{Class: RateLimited, RetryAfter: wait, Message: "the tenant's rate limit is used up"}
		}
		if wait > 0 {
			t.log.DebugContext(ctx, "waiting for the tenant's rate limit", "tenant", t.domain, "endpoint", group, "wait", wait)
		}
		began := t.now()
		if err := t.pause(ctx, changed, wait); err != nil {
			return nil, err
		}
		if wait > 0 {
			*left -= t.now().Sub(began)
		}
	}
}

// pause waits until something changes, and no longer than d, unless that is 0.
func (t *transport) pause(ctx, changed context.Context, d time.Duration) error {
	if d == 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed.Done():
			return nil
		}
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(changed, cancel)()
	if err := t.sleep(waiting, d); err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return nil
}
