package auth0

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// model is a tenant's bucket, as Auth0 documents it: so many at once, refilled in
// milliseconds, or all at once at the beginning of each second.
type model struct {
	mu      sync.Mutex
	burst   int
	rate    float64
	windows bool
	lie     bool // headers say that nothing was taken
	silent  bool // no headers at all

	tokens float64
	at     time.Time
}

func newModel(burst int, rate float64) *model {
	return &model{burst: burst, rate: rate, tokens: float64(burst), at: time.Now()}
}

// take answers a request.
func (m *model) take() (status int, header http.Header) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.windows {
		if now.Unix() != m.at.Unix() {
			m.tokens, m.at = float64(m.burst), now
		}
	} else if elapsed := now.Sub(m.at).Truncate(time.Millisecond); elapsed > 0 {
		m.tokens = math.Min(float64(m.burst), m.tokens+m.rate*elapsed.Seconds())
		m.at = m.at.Add(elapsed)
	}
	status = http.StatusOK
	full := (float64(m.burst) - m.tokens + 1) / m.rate
	if m.tokens >= 1 {
		m.tokens--
	} else {
		status, full = http.StatusTooManyRequests, (1-m.tokens)/m.rate
	}
	header = http.Header{}
	if m.silent {
		return status, header
	}
	left := int(m.tokens)
	if m.lie {
		left = m.burst - 1
	}
	header.Set("X-RateLimit-Limit", strconv.Itoa(m.burst))
	header.Set("X-RateLimit-Remaining", strconv.Itoa(left))
	reset := now.Add(time.Duration(full * float64(time.Second))).Add(time.Second - 1).Truncate(time.Second)
	if m.windows {
		reset = now.Truncate(time.Second).Add(time.Second)
	}
	header.Set("X-RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10))
	return status, header
}

func (m *model) set(burst int, rate float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.burst, m.rate, m.tokens = burst, rate, math.Min(m.tokens, float64(burst))
}

// worker makes n calls through a budget of its own, and returns how many were
// refused on the way.
func (m *model) worker(n, parallel int, latency func() time.Duration, share float64) (refused int) {
	t := &transport{domain: "tenant", now: time.Now, sleep: sleep, log: slog.New(slog.DiscardHandler)}
	t.budget = newBudget(time.Now, rand.Float64, share)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			for {
				mu.Lock()
				if n == 0 {
					mu.Unlock()
					return
				}
				n--
				mu.Unlock()
				for attempt := 0; ; attempt++ {
					left := time.Hour
					p, err := t.acquire(context.Background(), "write clients", &left)
					if err != nil {
						panic(err)
					}
					d := latency()
					time.Sleep(d / 2)
					status, header := m.take()
					time.Sleep(d / 2)
					if status == http.StatusOK {
						t.budget.observe(p, header)
						p.release()
						break
					}
					t.budget.refused(p, header, attempt)
					p.release()
					mu.Lock()
					refused++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return refused
}

// TestBudgetSharesATenant runs two workers, who know nothing of each other,
// beside production, on simulated time. What it must find is that production is
// never refused where the bucket has room for two workers' delay; the buckets of
// small plans have not, nor has one that is refilled all at once.
func TestBudgetSharesATenant(t *testing.T) {
	between := func(lo, hi time.Duration) func() time.Duration {
		return func() time.Duration { return lo + rand.N(hi-lo+1) }
	}
	for name, tc := range map[string]struct {
		burst      int
		rate       float64
		windows    bool
		production float64 // of the rate
		latency    func() time.Duration
		calls      int
		use        float64 // of what is left, at least
		harm       float64 // part of production's requests that may be refused
	}{
		"free":                      {burst: 2, rate: 2, latency: between(250*time.Millisecond, 450*time.Millisecond), calls: 60, use: 0.65},
		"self-service":              {burst: 10, rate: 2.5, production: 0.6, latency: between(250*time.Millisecond, 450*time.Millisecond), calls: 200, use: 0.85, harm: 0.01},
		"enterprise":                {burst: 50, rate: 16, production: 0.6, latency: between(250*time.Millisecond, 450*time.Millisecond), calls: 1000, use: 0.9},
		"enterprise, alone":         {burst: 50, rate: 16, latency: between(250*time.Millisecond, 450*time.Millisecond), calls: 1000, use: 0.95},
		"enterprise, far away":      {burst: 50, rate: 16, production: 0.6, latency: between(500*time.Millisecond, 1500*time.Millisecond), calls: 1000, use: 0.9},
		"enterprise, next door":     {burst: 50, rate: 16, production: 0.6, latency: between(time.Millisecond, 3*time.Millisecond), calls: 1000, use: 0.65},
		"private":                   {burst: 50, rate: 50, production: 0.6, latency: between(250*time.Millisecond, 450*time.Millisecond), calls: 1000, use: 0.9},
		"refilled at once":          {burst: 20, rate: 20, windows: true, production: 0.15, latency: between(5*time.Millisecond, 20*time.Millisecond), calls: 500, use: 0.5, harm: 0.35},
		"production takes it all":   {burst: 50, rate: 16, production: 0.97, latency: between(250*time.Millisecond, 450*time.Millisecond), calls: 60, use: 0.5, harm: 0.01},
		"private cloud, large":      {burst: 250, rate: 250, production: 0.6, latency: between(250*time.Millisecond, 450*time.Millisecond), calls: 3000, use: 0.9},
		"non-production enterprise": {burst: 10, rate: 2, production: 0.5, latency: between(250*time.Millisecond, 450*time.Millisecond), calls: 100, use: 0.85, harm: 0.02},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(tc.burst, tc.rate)
				m.windows = tc.windows
				began := time.Now()
				stop, cancel := context.WithCancel(t.Context())
				var background sync.WaitGroup
				refusedThem, theirs := 0, 0
				if tc.production > 0 {
					background.Go(func() {
						for stop.Err() == nil {
							if status, _ := m.take(); status != http.StatusOK {
								refusedThem++
							}
							theirs++
							time.Sleep(time.Duration(float64(time.Second) / (tc.rate * tc.production)))
						}
					})
				}
				var refused [2]int
				var workers sync.WaitGroup
				for i := range refused {
					workers.Go(func() { refused[i] = m.worker(tc.calls/2, 40, tc.latency, 0.2) })
				}
				workers.Wait()
				took := time.Since(began).Seconds()
				cancel()
				background.Wait()

				available := tc.rate*(1-tc.production)*took + float64(tc.burst)
				t.Logf("%d calls in %.1f s, %.0f%% of what was left; refused: production %d of %d, us %v",
					tc.calls, took, 100*float64(tc.calls)/available, refusedThem, theirs, refused)
				require.LessOrEqual(t, float64(refusedThem), tc.harm*float64(theirs), "production was refused")
				require.LessOrEqual(t, refused[0]+refused[1], tc.calls/20)
				require.GreaterOrEqual(t, float64(tc.calls)/available, tc.use, "too little was used")
			})
		})
	}
}

// TestBudgetOfAnOddTenant: headers that are missing, lie, or change their mind
// make us slow at worst.
func TestBudgetOfAnOddTenant(t *testing.T) {
	near := func() time.Duration { return 10 * time.Millisecond }
	t.Run("limit lowered in the middle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newModel(50, 50)
			lowered := time.AfterFunc(2*time.Second, func() { m.set(10, 2) })
			defer lowered.Stop()
			began := time.Now()
			refused := m.worker(200, 20, near, 0.2)
			require.Less(t, refused, 10)
			require.Less(t, time.Since(began), 80*time.Second)
		})
	})
	t.Run("headers that lie", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newModel(50, 16)
			m.lie = true
			began := time.Now()
			refused := m.worker(500, 40, near, 0.2)
			t.Logf("500 calls in %s, %d refused", time.Since(began), refused)
			require.Less(t, refused, 250, "each refusal halves what is sent at a time")
		})
	})
	t.Run("no headers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newModel(1000, 1000)
			m.silent = true
			began := time.Now()
			require.Zero(t, m.worker(200, 40, near, 0.2))
			require.InDelta(t, 1, time.Since(began).Seconds(), 0.2, "two at a time")
		})
	})
}

// TestBudgetOfNewEndpoints: an endpoint that was not asked yet may have a bucket of
// its own, so it gets two requests at first; all such endpoints together get no more
// than what two workers may take of the share.
func TestBudgetOfNewEndpoints(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	b := newBudget(func() time.Time { return now }, func() float64 { return 0 }, 0.2)
	take := func(group string) *permit {
		p, _, _ := b.reserve(group)
		return p
	}
	headers := func(limit, remaining int) http.Header {
		h := http.Header{}
		h.Set("X-RateLimit-Limit", strconv.Itoa(limit))
		h.Set("X-RateLimit-Remaining", strconv.Itoa(remaining))
		h.Set("X-RateLimit-Reset", strconv.FormatInt(now.Unix()+1, 10))
		return h
	}
	first := take("read clients")
	require.NotNil(t, first)
	require.NotNil(t, take("read roles"))
	require.Nil(t, take("read connections"), "nobody knows any bucket")
	b.observe(first, headers(50, 49))
	first.release()

	require.NotNil(t, take("read connections"))
	require.NotNil(t, take("read connections"))
	require.Nil(t, take("read connections"), "two to each")
	require.NotNil(t, take("write clients"))
	require.NotNil(t, take("write clients"))
	require.Nil(t, take("write roles"), "five in all")

	// After a pause, as many to one that is known.
	now = now.Add(10 * time.Second)
	for range 5 {
		require.NotNil(t, take("read clients"))
	}
	require.Nil(t, take("read clients"))
}

// TestBudgetAlone: a worker that has the tenant to itself takes nearly what the
// bucket gives, also where each call takes equally long, so that calls come in waves.
func TestBudgetAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		rate  float64
		ratio float64 // to the least time, leaving the share, at most
	}{
		"enterprise": {16, 1.05},
		"private":    {50, 1.2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const burst, calls, latency = 50, 1000, 350 * time.Millisecond
				m := newModel(burst, tc.rate)
				began := time.Now()
				require.Zero(t, m.worker(calls, mostInFlight, func() time.Duration { return latency }, 0.2))
				least := (calls-0.8*burst)/tc.rate + latency.Seconds()
				require.Less(t, time.Since(began).Seconds()/least, tc.ratio)
			})
		})
	}
}
