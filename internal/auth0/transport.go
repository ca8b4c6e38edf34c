package auth0

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"time"

	goauth0 "github.com/auth0/go-auth0"
)

// transport sends the SDK's requests: it adds the token, keeps to the rate
// budget, and repeats what may be repeated. It is the only place that retries;
// the SDK's own retries are off, because they know nothing of the budget that
// concurrent requests share.
type transport struct {
	domain  string
	next    http.RoundTripper
	tokens  *tokenSource
	budget  *budget
	timeout time.Duration
	maxWait time.Duration
	retries int
	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	rand    func() float64
	agent   string
	info    string
	log     *slog.Logger
}

// maxBody bounds what is read of an answer; a page of 100 clients has about 300 KiB.
const maxBody = 32 << 20

func newTransport(cfg Config, domain string, next http.RoundTripper, tokens *tokenSource) (*transport, error) {
	// Auth0-Client tells the tenant's owner, in their logs, who really calls.
	info, err := json.Marshal(map[string]any{
		"name": "tenon", "version": cfg.Version,
		"env": map[string]string{"go": runtime.Version(), "go-auth0": goauth0.Version},
	})
	if err != nil {
		return nil, err
	}
	return &transport{
		domain: domain, next: next, tokens: tokens, budget: newBudget(cfg.Now, cfg.Rand, cfg.Share),
		timeout: cfg.RequestTimeout, maxWait: cfg.MaxWait, retries: cfg.MaxRetries,
		now: cfg.Now, sleep: cfg.Sleep, rand: cfg.Rand,
		agent: userAgent(cfg.Version), info: base64.StdEncoding.EncodeToString(info), log: cfg.Logger,
	}, nil
}

func userAgent(version string) string { return "tenon/" + version }

// RoundTrip implements http.RoundTripper. A 429 was not executed and is always
// repeated, within maxWait; a network error or 5xx may have been, so only
// methods that RFC 9110 section 9.2.2 calls idempotent are repeated after one.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != t.domain || req.URL.Scheme != "https" {
		// A redirect must not carry the token to another host.
		return nil, &Error{Class: Invalid, Message: fmt.Sprintf("refused to send credentials to %s", req.URL.Host)}
	}
	ctx, group := req.Context(), endpointGroup(req)
	left, failures, renewed := t.maxWait, 0, false
	for {
		permit, err := t.acquire(ctx, group, &left)
		if err != nil {
			return nil, err
		}
		token, err := t.tokens.Token(ctx)
		if err != nil {
			permit.release()
			return nil, err
		}
		res, err := t.attempt(req, token.value)
		if err == nil && res.StatusCode < 500 && res.StatusCode != http.StatusTooManyRequests {
			t.budget.observe(permit, res.Header)
		}
		permit.release()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		switch {
		case err == nil && res.StatusCode == http.StatusUnauthorized && !renewed:
			// The token was revoked, or the signing keys were rotated. Not executed.
			renewed = true
			t.tokens.Forget(token)
		case err == nil && res.StatusCode == http.StatusTooManyRequests:
			failures++
			wait := t.budget.refused(permit, res.Header, failures)
			if wait > left {
				return res, nil
			}
			t.log.InfoContext(ctx, "rate limited by the tenant", "tenant", t.domain, "endpoint", group, "wait", wait)
		case err != nil || res.StatusCode >= 500:
			failures++
			if !idempotent(req.Method) || failures > t.retries || untrusted(err) {
				return res, err
			}
			wait := time.Duration((0.5 + t.rand()/2) * float64(min(200*time.Millisecond<<failures, 5*time.Second)))
			if err == nil {
				wait = max(wait, retryAfter(res.Header, t.now()))
			}
			if wait > left {
				return res, err
			}
			left -= wait
			t.log.InfoContext(ctx, "repeating a request", "tenant", t.domain, "endpoint", group, "attempt", failures+1, "wait", wait)
			if err := t.sleep(ctx, wait); err != nil {
				return nil, err
			}
		default:
			return res, nil
		}
		if req.Body != nil && req.Body != http.NoBody {
			if req.GetBody == nil {
				return res, err
			}
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			req = req.Clone(ctx)
			req.Body = body
		}
	}
}

// attempt sends the request once and reads the whole answer, so that the
// timeout covers it and an answer that breaks off counts as lost.
func (t *transport) attempt(req *http.Request, token string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), t.timeout)
	defer cancel()
	out := req.Clone(ctx)
	out.Header.Set("Authorization", "Bearer "+token)
	out.Header.Set("User-Agent", t.agent)
	out.Header.Set("Auth0-Client", t.info)
	res, err := t.next.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > maxBody {
		return nil, errors.New("the answer is larger than 32 MiB")
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// endpointGroup is the unit by which Auth0 limits: reads or writes of a family.
func endpointGroup(req *http.Request) string {
	verb := "write"
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		verb = "read"
	}
	path := strings.TrimPrefix(req.URL.Path, "/api/v2/")
	family, _, _ := strings.Cut(path, "/")
	return verb + " " + family
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions:
		return true
	}
	return false
}

func untrusted(err error) bool {
	return err != nil && errorFromNetwork(err).Class == Credentials
}
