package token

import (
	"crypto/sha256"
	"sync"
	"time"
)

// generation identifies a state of keys and revocations. Verdicts of another
// generation do not count.
type generation struct{ keys, revocations uint64 }

// verdict is what verification found about one token.
type verdict struct {
	claims *Claims
	err    error
	// until is when the verdict ends: the token's expiry, or its key's.
	until time.Time
	gen   generation
}

// cache remembers verdicts by the token's SHA-256. It is bounded; when it is
// full an ended verdict goes, or else an arbitrary one, which is enough because
// a lost entry costs one signature check.
type cache struct {
	size    int
	mu      sync.RWMutex
	entries map[[sha256.Size]byte]*verdict
}

func newCache(size int) *cache {
	return &cache{size: size, entries: make(map[[sha256.Size]byte]*verdict)}
}

func (c *cache) get(key *[sha256.Size]byte, now time.Time, gen generation) *verdict {
	c.mu.RLock()
	v := c.entries[*key]
	c.mu.RUnlock()
	if v == nil || v.gen != gen || !now.Before(v.until) {
		return nil
	}
	return v
}

func (c *cache) put(key *[sha256.Size]byte, v *verdict, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, replaces := c.entries[*key]; !replaces && len(c.entries) >= c.size {
		c.evict(v.gen, now)
	}
	c.entries[*key] = v
}

// evict makes room. It looks at a few entries only, so that its cost does not
// grow with the cache.
func (c *cache) evict(gen generation, now time.Time) {
	looked := 0
	var victim [sha256.Size]byte
	for key, v := range c.entries {
		victim = key
		if v.gen != gen || !now.Before(v.until) {
			break
		}
		if looked++; looked == 8 {
			break
		}
	}
	delete(c.entries, victim)
}

func (c *cache) len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.entries)
}
