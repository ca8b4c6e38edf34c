package auth0

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strconv"

	"github.com/auth0/go-auth0/management"

	"github.com/tenonhq/tenon/internal/secret"
)

// Client is one tenant. It is safe for concurrent use; all its calls share one
// token and one rate budget.
type Client struct {
	cfg    Config
	domain string
	tenant Tenant
	api    *management.Management
	tokens *tokenSource
	budget *budget
	// plain reaches the tenant without a Management API token: token endpoint,
	// discovery, keys.
	plain *http.Client
}

func newClient(cfg Config, domain string, t Tenant, next http.RoundTripper) (*Client, error) {
	audience := t.Audience
	if audience == "" {
		audience = "https://" + domain + "/api/v2/"
	}
	c := &Client{cfg: cfg, domain: domain, tenant: t, plain: &http.Client{
		Transport: agent{next: next, name: userAgent(cfg.Version)},
		// A redirect could carry a client secret to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	c.tokens = &tokenSource{domain: domain, tenant: t, audience: audience, secrets: cfg.Secrets, client: c.plain, timeout: cfg.RequestTimeout, now: cfg.Now}
	transport, err := newTransport(cfg, domain, next, c.tokens)
	if err != nil {
		return nil, err
	}
	c.budget = transport.budget
	c.api, err = management.New(domain,
		management.WithClient(&http.Client{Transport: transport}),
		management.WithNoRetries(),
		management.WithNoAuth0ClientInfo(),
		management.WithUserAgent(userAgent(cfg.Version)),
		// The SDK wants a token when it is made; ours comes and goes below it, where a
		// 401 can renew it, and replaces this one.
		management.WithStaticToken(""),
	)
	return c, err
}

// agent names us to endpoints outside the Management API.
type agent struct {
	next http.RoundTripper
	name string
}

// RoundTrip implements http.RoundTripper.
func (a agent) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.Header.Set("User-Agent", a.name)
	return a.next.RoundTrip(out)
}

// Domain of the tenant, as configured.
func (c *Client) Domain() string { return c.domain }

// ClientID is that of the application by which we call the tenant.
func (c *Client) ClientID() string { return c.tenant.ClientID }

// Pace estimates, from the tenant's latest rate-limit headers, how many requests
// it takes at once and how many a second after those. Both are 0 if no answer
// has had such headers.
func (c *Client) Pace() (burst int, perSecond float64) { return c.budget.pace() }

// Request is one call of the Management API.
type Request struct {
	// Operation says what is tried, for errors: "create client".
	Operation string
	Method    string
	// Path holds the segments below /api/v2, unescaped.
	Path  []string
	Query url.Values
	// Body is sent as JSON; nil sends none. It is a map rather than one of the SDK's
	// structs wherever presence matters, since those cannot express an explicit
	// null and drop some explicit zeroes.
	Body any
	// Secrets lists secrets in the body, so that an error message that repeats them
	// can be cleaned.
	Secrets []secret.Value
	// Sent, if not nil, is called for each request that is made: several for a list.
	// Repetitions after a failure are not told.
	Sent func()
}

// Do calls the Management API and decodes the answer into out, unless out is
// nil. It returns an *Error, or the context's error.
func (c *Client) Do(ctx context.Context, r Request, out any) error {
	body, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	if out == nil || len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return &Error{Class: Unavailable, Operation: r.Operation, Message: "the answer is not the JSON that was expected", Err: err}
	}
	return nil
}

func (c *Client) send(ctx context.Context, r Request) ([]byte, error) {
	uri := c.api.URI(r.Path...)
	if len(r.Query) > 0 {
		uri += "?" + r.Query.Encode()
	}
	req, err := c.api.NewRequest(ctx, r.Method, uri, r.Body)
	if err != nil {
		return nil, &Error{Class: Invalid, Operation: r.Operation, Message: err.Error(), Err: err}
	}
	return c.exchange(ctx, r, req)
}

// exchange sends a request and reads its answer.
func (c *Client) exchange(ctx context.Context, r Request, req *http.Request) ([]byte, error) {
	if r.Sent != nil {
		r.Sent()
	}
	res, err := c.api.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: %w", r.Operation, ctx.Err())
		}
		var e *Error
		if errors.As(err, &e) {
			return nil, withOperation(e, r.Operation)
		}
		e = errorFromNetwork(stripURL(err))
		e.Operation = r.Operation
		return nil, e
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, &Error{Class: Unavailable, Operation: r.Operation, Message: "the answer broke off", Err: err}
	}
	if res.StatusCode < 300 {
		return body, nil
	}
	e := errorFromResponse(res.StatusCode, res.Header, body)
	e.Operation, e.Message = r.Operation, scrub(e.Message, r.Secrets...)
	if e.Class == RateLimited {
		e.RetryAfter = refusalWait(res.Header, 0, c.cfg.Now())
	}
	return nil, e
}

// Paging is how a list is cut into pages.
type Paging int

// Auth0 has several ways; which one a list has is in its documentation, and a
// parameter of another is refused. Checkpoint has no upper limit and is preferred
// where it exists.
const (
	Offset      Paging = iota // page, per_page, include_totals
	Checkpoint                // from, take
	OffsetPlain               // page, per_page; up to 50 a page
	Members                   // from, take; up to 1000 a page: the clients of a connection
)

func (p Paging) size() int {
	switch p {
	case OffsetPlain:
		return 50
	case Members:
		return 1000
	}
	return 100
}

// List reads all pages of a list. The items are under key, or are the answer
// itself. Each item goes to each; an error of each ends the list.
func (c *Client) List(ctx context.Context, r Request, paging Paging, key string, each func(item json.RawMessage) error) error {
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	query := url.Values{}
	for k, v := range r.Query {
		query[k] = v
	}
	r.Query = query
	for page, seen := 0, 0; ; page++ {
		size := strconv.Itoa(paging.size())
		if paging == Checkpoint || paging == Members {
			query.Set("take", size)
		} else {
			query.Set("page", strconv.Itoa(page))
			query.Set("per_page", size)
		}
		if paging == Offset {
			query.Set("include_totals", "true")
		}
		body, err := c.send(ctx, r)
		if err != nil {
			return err
		}
		items, next, total, err := decodePage(body, key)
		if err != nil {
			return &Error{Class: Unavailable, Operation: r.Operation, Message: err.Error(), Err: err}
		}
		for _, item := range items {
			if err := each(item); err != nil {
				return err
			}
		}
		seen += len(items)
		if paging == Checkpoint || paging == Members {
			if next == "" {
				return nil
			}
			query.Set("from", next)
			continue
		}
		if len(items) == 0 || (total >= 0 && seen >= total) || (total < 0 && len(items) < paging.size()) {
			return nil
		}
	}
}

// decodePage reads a page; total is -1 if the answer does not say.
func decodePage(body []byte, key string) (items []json.RawMessage, next string, total int, err error) {
	total = -1
	if trimmed := bytes.TrimSpace(body); len(trimmed) > 0 && trimmed[0] == '[' {
		return items, "", total, json.Unmarshal(trimmed, &items)
	}
	var envelope map[string]json.RawMessage
	if err := json.Unmarshal(body, &envelope); err != nil {
		return nil, "", total, err
	}
	list, ok := envelope[key]
	if !ok {
		return nil, "", total, fmt.Errorf("the answer has no %q", key)
	}
	if err := json.Unmarshal(list, &items); err != nil {
		return nil, "", total, err
	}
	if raw, ok := envelope["next"]; ok {
		if err := json.Unmarshal(raw, &next); err != nil {
			return nil, "", total, err
		}
	}
	if raw, ok := envelope["total"]; ok {
		if err := json.Unmarshal(raw, &total); err != nil {
			return nil, "", total, err
		}
	}
	return items, next, total, nil
}

// Scopes returns the Management API scopes that the tenant has granted us, in
// alphabetical order.
func (c *Client) Scopes(ctx context.Context) ([]string, error) {
	token, err := c.tokens.Token(ctx)
	if err != nil {
		return nil, err
	}
	return append([]string(nil), token.scopes...), nil
}

// RefreshScopes is Scopes with a new token: scopes that were granted since the
// last one are in it.
func (c *Client) RefreshScopes(ctx context.Context) ([]string, error) {
	token, err := c.tokens.Token(ctx)
	if err != nil {
		return nil, err
	}
	c.tokens.Forget(token)
	return c.Scopes(ctx)
}

// CompareScopes says which of the needed scopes are not granted, and which
// granted ones are not needed: too many are as much a finding as too few.
func (c *Client) CompareScopes(ctx context.Context, needed []string) (missing, excess []string, err error) {
	granted, err := c.Scopes(ctx)
	if err != nil {
		return nil, nil, err
	}
	missing, excess = compareScopes(needed, granted)
	return missing, excess, nil
}

func compareScopes(needed, granted []string) (missing, excess []string) {
	has, wants := map[string]bool{}, map[string]bool{}
	for _, s := range granted {
		has[s] = true
	}
	for _, s := range needed {
		if !wants[s] && !has[s] {
			missing = append(missing, s)
		}
		wants[s] = true
	}
	for s := range has {
		if !wants[s] {
			excess = append(excess, s)
		}
	}
	sort.Strings(missing)
	sort.Strings(excess)
	return missing, excess
}
