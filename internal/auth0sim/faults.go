package auth0sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

// fault is a failure that control arranged, for testing clients.
type fault struct {
	ID string `json:"id"`
	// Method and Path select calls; Path may hold * for any part. Empty
	// matches everything.
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
	// Nth is the first matching call that fails, counted from 1; Times is how
	// many fail from there, 0 meaning one when Nth is set and all otherwise.
	Nth   int `json:"nth,omitempty"`
	Times int `json:"times,omitempty"`
	// Probability, between 0 and 1, is the chance of each matching call.
	// 0 means always.
	Probability float64 `json:"probability,omitempty"`
	// Kind is status, delay, hang, reset_before, reset_after, truncate,
	// expired_token or lag.
	Kind string `json:"kind"`
	// Status, Body and Headers are the answer of kind status.
	Status  int               `json:"status,omitempty"`
	Body    any               `json:"body,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// Delay is a duration: of kind delay, or how old a change must be for a
	// listing to show it, of kind lag.
	Delay string `json:"delay,omitempty"`

	Seen int `json:"seen"` // matching calls so far
	Hits int `json:"hits"` // of these, failed ones

	delay time.Duration
}

var faultKinds = []string{"status", "delay", "hang", "reset_before", "reset_after", "truncate", "expired_token", "lag"}

func (f *fault) check() error {
	if !has(faultKinds, f.Kind) {
		return fmt.Errorf("unknown kind %q: want one of %s", f.Kind, strings.Join(faultKinds, ", "))
	}
	if f.Kind == "status" && (f.Status < 200 || f.Status > 599) {
		return errors.New("kind status needs a status between 200 and 599")
	}
	if f.Kind == "delay" || f.Kind == "lag" {
		d, err := time.ParseDuration(f.Delay)
		if err != nil || d < 0 {
			return fmt.Errorf("kind %s needs a delay such as 2s", f.Kind)
		}
		f.delay = d
	}
	if f.Probability < 0 || f.Probability > 1 {
		return errors.New("probability must be between 0 and 1")
	}
	if f.Nth < 0 || f.Times < 0 {
		return errors.New("nth and times must not be negative")
	}
	if _, err := path.Match(f.Path, ""); err != nil {
		return fmt.Errorf("path %q is not a pattern", f.Path)
	}
	return nil
}

// faults is the list in force.
type faults struct {
	mu   sync.Mutex
	list []*fault
	next int
}

func (l *faults) add(f *fault) error {
	if err := f.check(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	f.ID, f.Seen, f.Hits = fmt.Sprintf("fault_%d", l.next), 0, 0
	l.list = append(l.list, f)
	return nil
}

func (l *faults) remove(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range l.list {
		if f.ID == id {
			l.list = append(l.list[:i:i], l.list[i+1:]...)
			return true
		}
	}
	return false
}

func (l *faults) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = nil
}

// all copies the list.
func (l *faults) all() []fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]fault, 0, len(l.list))
	for _, f := range l.list {
		out = append(out, *f)
	}
	return out
}

// hit returns the fault that strikes this call, or nil.
func (l *faults) hit(r *http.Request) *fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.list {
		if f.Method != "" && !strings.EqualFold(f.Method, r.Method) || !matchPath(f.Path, r.URL.Path) {
			continue
		}
		f.Seen++
		if f.Nth > 0 {
			times := max(f.Times, 1)
			if f.Seen < f.Nth || f.Seen >= f.Nth+times {
				continue
			}
		} else if f.Times > 0 && f.Hits >= f.Times {
			continue
		}
		if f.Probability > 0 && rand.Float64() >= f.Probability {
			continue
		}
		f.Hits++
		copied := *f
		return &copied
	}
	return nil
}

// matchPath matches a pattern in which * stands for any text, slashes too.
func matchPath(pattern, path string) bool {
	return pattern == "" || wildcard(pattern, path)
}
