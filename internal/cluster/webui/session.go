package webui

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
)

// SessionsConfig bounds sessions. The zero value is the defaults.
type SessionsConfig struct {
	// Idle ends a session that was not used for so long. Defaults to 1 h. An open
	// page that refreshes itself is use.
	Idle time.Duration
	// Absolute ends every session so long after the sign-in. Defaults to 12 h.
	Absolute time.Duration
	// Grace is how long sessions go on when the provider cannot be reached to
	// renew them. Defaults to 1 h.
	Grace time.Duration
	// Max bounds the sessions of all people, and MaxPerPerson those of one. The
	// least recently used gives way. Default to 10 000 and 8.
	Max, MaxPerPerson int
}

func (c SessionsConfig) withDefaults() (SessionsConfig, error) {
	for _, d := range []struct {
		to        *time.Duration
		otherwise time.Duration
	}{{&c.Idle, time.Hour}, {&c.Absolute, 12 * time.Hour}, {&c.Grace, time.Hour}} {
		if *d.to == 0 {
			*d.to = d.otherwise
		}
		if *d.to < time.Minute {
			return c, fmt.Errorf("session lifetime %s is less than a minute", *d.to)
		}
	}
	if c.Max == 0 {
		c.Max = 10_000
	}
	if c.MaxPerPerson == 0 {
		c.MaxPerPerson = 8
	}
	if c.Max < 1 || c.MaxPerPerson < 1 {
		return c, errors.New("number of sessions must be positive")
	}
	c.Idle = min(c.Idle, c.Absolute)
	return c, nil
}

// leavingTTL is how long after a sign-out the provider's session can be ended
// as well: the stock pages sign out in two steps.
const leavingTTL = 2 * time.Minute

// session is one signed-in browser.
type session struct {
	key     sessionKey
	person  person
	started time.Time

	// Guarded by sessions.mu.
	used    time.Time
	leaving time.Time // when the person signed out; zero before

	// renewing is held by whoever asks the provider to renew the session.
	renewing sync.Mutex

	mu      sync.Mutex
	grant   grant
	retry   time.Time // not to ask the provider before
	token   secret.Value
	expires time.Time
}

// roles are the session's permissions, as text.
func (s *session) roles() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, p := range s.grant.permissions {
		all = append(all, p.String())
	}
	return all
}

// sessionKey is the hash of a session's id: who reads this process's memory or
// compares timings learns no id that a browser could send.
type sessionKey [sha256.Size]byte

func keyOf(id string) sessionKey { return sha256.Sum256([]byte(id)) }

// sessions are the living sessions, in memory: they end with the process.
type sessions struct {
	cfg  SessionsConfig
	now  func() time.Time
	rand io.Reader

	mu  sync.Mutex
	all map[sessionKey]*session
	per map[string]int // by subject
}

func newSessions(cfg SessionsConfig, now func() time.Time, rand io.Reader) *sessions {
	return &sessions{cfg: cfg, now: now, rand: rand, all: map[sessionKey]*session{}, per: map[string]int{}}
}

// add makes a session and returns the id for the browser.
func (ss *sessions) add(p person, g grant) (string, *session, error) {
	id, err := randomText(ss.rand, 32)
	if err != nil {
		return "", nil, err
	}
	now := ss.now()
	s := &session{key: keyOf(id), started: now, used: now, person: p, grant: g}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for ss.per[p.Subject] >= ss.cfg.MaxPerPerson {
		ss.evict(p.Subject)
	}
	for len(ss.all) >= ss.cfg.Max {
		ss.evict("")
	}
	ss.all[s.key] = s
	ss.per[p.Subject]++
	return id, s, nil
}

// evict drops the least recently used session, of a subject if one is given.
// The caller holds mu.
func (ss *sessions) evict(subject string) {
	var oldest *session
	for _, s := range ss.all {
		if (subject == "" || s.person.Subject == subject) && (oldest == nil || s.used.Before(oldest.used)) {
			oldest = s
		}
	}
	ss.drop(oldest)
}

func (ss *sessions) drop(s *session) {
	if s == nil || ss.all[s.key] != s {
		return
	}
	delete(ss.all, s.key)
	if ss.per[s.person.Subject]--; ss.per[s.person.Subject] <= 0 {
		delete(ss.per, s.person.Subject)
	}
}

// maxSessionID bounds what is hashed.
const maxSessionID = 128

// get returns the living session with the id, and marks it used.
func (ss *sessions) get(id string) *session {
	if id == "" || len(id) > maxSessionID {
		return nil
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.all[keyOf(id)]
	if s == nil || !s.leaving.IsZero() {
		return nil
	}
	now := ss.now()
	if ss.over(s, now) {
		ss.drop(s)
		return nil
	}
	s.used = now
	return s
}

func (ss *sessions) over(s *session, now time.Time) bool {
	if !s.leaving.IsZero() {
		return now.Sub(s.leaving) >= leavingTTL
	}
	return now.Sub(s.used) >= ss.cfg.Idle || now.Sub(s.started) >= ss.cfg.Absolute
}

// leave ends a session but keeps for a moment what the provider needs to end
// its own.
func (ss *sessions) leave(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s.leaving.IsZero() {
		s.leaving = ss.now()
	}
}

// takeLeaving removes a session that was left, and returns it once.
func (ss *sessions) takeLeaving(id string) *session {
	if id == "" || len(id) > maxSessionID {
		return nil
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.all[keyOf(id)]
	if s == nil || s.leaving.IsZero() {
		return nil
	}
	ss.drop(s)
	if ss.over(s, ss.now()) {
		return nil
	}
	return s
}

func (ss *sessions) end(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.drop(s)
}

// sweep drops what is over until ctx ends, so that ended sessions keep no
// refresh tokens in memory.
func (ss *sessions) sweep(ctx context.Context) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			ss.dropOver()
		}
	}
}

func (ss *sessions) dropOver() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	now := ss.now()
	for _, s := range ss.all {
		if ss.over(s, now) {
			ss.drop(s)
		}
	}
}

// person is who signed in.
type person struct {
	// Subject identifies them at their provider.
	Subject string
	// SessionID is the provider's "sid", "" if it has none.
	SessionID   string
	Name, Email string
}

// grant is what the provider last said.
type grant struct {
	permissions []token.Permission
	// idToken is the hint for signing out.
	idToken secret.Value
	refresh secret.Value
	// renewAt is when the provider must be asked again.
	renewAt time.Time
}

func randomText(source io.Reader, n int) (string, error) {
	data := make([]byte, n)
	if _, err := io.ReadFull(source, data); err != nil {
		return "", fmt.Errorf("random: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(data), nil
}
