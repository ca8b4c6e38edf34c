package webui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/token"
)

const (
	// tokenTTL is the life of a session's token, and tokenSpare what must be left
	// of it when it is used. It bounds how long a call can go on with a permission
	// that the provider has taken away.
	tokenTTL   = 5 * time.Minute
	tokenSpare = time.Minute

	// renewTimeout bounds one renewal, and renewAgain the pause after one that
	// the provider did not answer.
	renewTimeout = 15 * time.Second
	renewAgain   = 15 * time.Second
)

// errNoSession says that a request comes without a living session.
var errNoSession = errors.New("not signed in")

// authenticate returns the living session of a request, renewed at the provider
// if it is time.
func (s *Server) authenticate(r *http.Request) (*session, error) {
	living := s.sessions.get(s.sessionID(r))
	if living == nil {
		return nil, errNoSession
	}
	if s.revoked(living) {
		s.endSession(r, living, "tokens of the person were revoked")
		return nil, fmt.Errorf("%w: revoked", errNoSession)
	}
	if err := s.renew(r, living); err != nil {
		return nil, err
	}
	return living, nil
}

func (s *Server) endSession(r *http.Request, living *session, reason string) {
	s.sessions.end(living)
	s.log.Info("session of the web ui ended", "subject", subjectOf(living.person), "reason", reason)
	// The session is over whether or not that can be recorded.
	_ = s.record(r, audit.Deny, auditRenew, subjectOf(living.person), reason)
}

// renew asks the provider anew when what it said is too old. While it cannot be
// reached the session goes on for the grace time; what it refuses ends it.
func (s *Server) renew(r *http.Request, living *session) error {
	now := s.cfg.Now()
	living.mu.Lock()
	old, retry := living.grant, living.retry
	living.mu.Unlock()
	late := now.Sub(old.renewAt)
	if late < 0 {
		return nil
	}
	if old.refresh.IsZero() {
		s.endSession(r, living, "the provider issued no refresh token, and the access token expired")
		return fmt.Errorf("%w: expired", errNoSession)
	}
	if late > s.cfg.Sessions.Grace {
		// Asked all the same: the session may just not have been used for a while.
		living.renewing.Lock()
	} else {
		if now.Before(retry) {
			return nil
		}
		// One asks, the others go on with what is known.
		if !living.renewing.TryLock() {
			return nil
		}
	}
	defer living.renewing.Unlock()
	living.mu.Lock()
	changed := !living.grant.renewAt.Equal(old.renewAt)
	old = living.grant
	living.mu.Unlock()
	if changed {
		return nil // renewed by another request meanwhile
	}
	// Detached from the request: a browser that closes the tab must not waste a
	// refresh token that works once.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), renewTimeout)
	defer cancel()
	renewed, err := s.provider.renew(ctx, living.person, old)
	living.mu.Lock()
	defer living.mu.Unlock()
	switch {
	case err == nil:
		living.grant, living.retry = renewed, time.Time{}
		living.expires = time.Time{} // the token may say what is no longer so
		return nil
	case errors.Is(err, errUnreachable) && late <= s.cfg.Sessions.Grace:
		// The refresh token may have been spent even so.
		renewed.permissions, renewed.renewAt = old.permissions, old.renewAt
		living.grant, living.retry = renewed, s.cfg.Now().Add(renewAgain)
		s.log.Warn("session of the web ui cannot be renewed, it goes on for now", "subject", subjectOf(living.person), "error", err)
		return nil
	}
	s.endSession(r, living, shorten(err.Error(), 300))
	return fmt.Errorf("%w: %w", errNoSession, err)
}

// tokenOf returns a token of the cluster for the session.
func (s *Server) tokenOf(ctx context.Context, living *session) (string, error) {
	living.mu.Lock()
	defer living.mu.Unlock()
	if now := s.cfg.Now(); living.expires.Sub(now) > tokenSpare {
		return living.token.Reveal(), nil
	}
	raw, claims, err := s.cfg.Tokens.Issue(context.WithoutCancel(ctx), token.IssueRequest{
		Subject: subjectOf(living.person), Permissions: living.grant.permissions, TTL: tokenTTL,
	})
	if err != nil {
		return "", err
	}
	living.token, living.expires = raw, claims.Expires
	return raw.Reveal(), nil
}

// unauthenticated answers the stock pages, which then ask for /auth/refresh and
// open the sign-in.
func (s *Server) unauthenticated(w http.ResponseWriter, err error) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte(`{"code": 16, "message": "not signed in"}` + "\n"))
	if !errors.Is(err, errNoSession) {
		s.log.Warn("web ui cannot tell who asks", "error", err)
	}
}
