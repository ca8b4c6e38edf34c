package auth0sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Latency is a time added to every call: a fixed one, or a uniform
// distribution between two.
type Latency struct {
	Min, Max time.Duration
}

// ParseLatency reads "350ms" or "100ms-600ms".
func ParseLatency(text string) (Latency, error) {
	if text == "" {
		return Latency{}, nil
	}
	low, high, ranged := strings.Cut(text, "-")
	lo, err := time.ParseDuration(low)
	if err != nil {
		return Latency{}, fmt.Errorf("latency %q: want a duration such as 350ms, or two such as 100ms-600ms", text)
	}
	hi := lo
	if ranged {
		if hi, err = time.ParseDuration(high); err != nil {
			return Latency{}, fmt.Errorf("latency %q: want a duration such as 350ms, or two such as 100ms-600ms", text)
		}
	}
	if lo < 0 || hi < lo {
		return Latency{}, fmt.Errorf("latency %q: want the shorter one first", text)
	}
	return Latency{lo, hi}, nil
}

func (l Latency) draw() time.Duration {
	if l.Max <= l.Min {
		return l.Min
	}
	return l.Min + time.Duration(rand.Int64N(int64(l.Max-l.Min)))
}
