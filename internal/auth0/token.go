package auth0

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/tenonhq/tenon/internal/secret"
)

// tokenSource fetches Management API tokens and shares each until shortly before
// it expires: tokens of machine-to-machine applications are metered, and live
// for a day.
type tokenSource struct {
	domain   string
	tenant   Tenant
	audience string
	secrets  secret.Stores
	client   *http.Client
	timeout  time.Duration
	now      func() time.Time

	mu      sync.Mutex
	current *managementToken
	// fetching is closed when the fetch that is under way ends.
	fetching chan struct{}
}

type managementToken struct {
	value  string
	scopes []string
	renew  time.Time
}

// Token returns the shared token, or waits for the one fetch that is under way.
func (s *tokenSource) Token(ctx context.Context) (*managementToken, error) {
	for {
		s.mu.Lock()
		if s.current != nil && s.now().Before(s.current.renew) {
			defer s.mu.Unlock()
			return s.current, nil
		}
		if wait := s.fetching; wait != nil {
			s.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		done := make(chan struct{})
		s.fetching = done
		s.mu.Unlock()

		token, err := s.fetch(ctx)
		s.mu.Lock()
		if err == nil {
			s.current = token
		}
		s.fetching = nil
		s.mu.Unlock()
		close(done)
		return token, err
	}
}

// Forget drops a token that the tenant no longer accepts, unless it has been
// replaced already.
func (s *tokenSource) Forget(token *managementToken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == token {
		s.current = nil
	}
}

func (s *tokenSource) fetch(ctx context.Context) (*managementToken, error) {
	const operation = "fetch a Management API token"
	clientSecret, err := s.secrets.Get(ctx, s.tenant.ClientSecret)
	if err != nil {
		return nil, &Error{Class: Credentials, Operation: operation, Message: err.Error(), Err: err}
	}
	token, err := clientCredentials(ctx, s.client, s.timeout, s.domain, s.tenant.ClientID, clientSecret, s.audience, nil)
	if err != nil {
		return nil, withOperation(err, operation)
	}
	lifetime := token.Expiry.Sub(s.now())
	if token.Expiry.IsZero() {
		lifetime = time.Hour
	}
	// A token that expires on its way would be a needless 401.
	margin := min(5*time.Minute, lifetime/10)
	return &managementToken{value: token.AccessToken, scopes: grantedScopes(token), renew: s.now().Add(lifetime - margin)}, nil
}

// clientCredentials fetches a token with a client's own credentials (RFC 6749
// section 4.4) from the tenant's token endpoint. No scopes are all that the client
// was granted.
func clientCredentials(ctx context.Context, client *http.Client, timeout time.Duration, domain, id string, clientSecret secret.Value, audience string, scopes []string) (*oauth2.Token, error) {
	cfg := clientcredentials.Config{
		ClientID: id, ClientSecret: clientSecret.Reveal(),
		TokenURL:       "https://" + domain + "/oauth/token",
		EndpointParams: url.Values{"audience": {audience}}, Scopes: scopes,
		// Said outright, since finding it out costs a refused request.
		AuthStyle: oauth2.AuthStyleInParams,
	}
	attempt, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, client), timeout)
	defer cancel()
	token, err := cfg.Token(attempt)
	if err == nil {
		return token, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.Response == nil {
		return nil, errorFromNetwork(stripURL(err))
	}
	e := errorFromResponse(refused.Response.StatusCode, refused.Response.Header, refused.Body)
	e.Message = scrub(e.Message, clientSecret)
	switch {
	case e.Class == Invalid && (e.Code == "invalid_client" || e.Code == "invalid_grant"),
		e.Class == Entitlement, e.Class == Scope:
		e.Class = Credentials
	case e.Class == RateLimited:
		e.RetryAfter = refusalWait(refused.Response.Header, 0, time.Now())
	}
	return nil, e
}

// stripURL removes the URL that net/http puts in front: it says nothing new.
func stripURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// grantedScopes are those that the answer lists, else those in the token. The
// token came straight from the tenant over TLS; its signature is the tenant's
// business, not ours.
func grantedScopes(token *oauth2.Token) []string {
	text, _ := token.Extra("scope").(string)
	if text == "" {
		if parts := strings.Split(token.AccessToken, "."); len(parts) == 3 {
			if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
				var claims struct {
					Scope string `json:"scope"`
				}
				if json.Unmarshal(payload, &claims) == nil {
					text = claims.Scope
				}
			}
		}
	}
	scopes := strings.Fields(text)
	sort.Strings(scopes)
	return scopes
}

// scrub removes secrets from a text that a server sent.
func scrub(text string, secrets ...secret.Value) string {
	for _, s := range secrets {
		if !s.IsZero() {
			text = strings.ReplaceAll(text, s.Reveal(), secret.Redacted)
		}
	}
	return text
}

func withOperation(err error, operation string) error {
	var e *Error
	if errors.As(err, &e) {
		copied := *e
		if copied.Operation == "" {
			copied.Operation = operation
		}
		return &copied
	}
	return err
}
