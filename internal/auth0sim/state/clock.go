package state

import (
	"sync"
	"time"
)

// Clock is wall time that control may shift or freeze, so that a test can see a
// token expire without waiting for it. It starts at the wall clock with every
// start of the program. Safe for concurrent use.
type Clock struct {
	now func() time.Time

	mu     sync.Mutex
	offset time.Duration
	frozen time.Time
}

// Now is the simulated time, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.frozen.IsZero() {
		return c.frozen
	}
	return c.now().Add(c.offset).UTC()
}

// Advance moves the clock forward, or back if d is negative; a frozen clock
// stays frozen at the new time.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.frozen.IsZero() {
		c.frozen = c.frozen.Add(d)
		return
	}
	c.offset += d
}

// Set makes the clock run on from t.
func (c *Clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = time.Time{}
	c.offset = t.Sub(c.now())
}

// Freeze stops the clock at t.
func (c *Clock) Freeze(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = t.UTC()
}

// Reset returns to wall time.
func (c *Clock) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset, c.frozen = 0, time.Time{}
}
