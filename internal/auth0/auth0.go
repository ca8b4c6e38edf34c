// Package auth0 owns our use of the Auth0 SDK: credentials, the rate budget,
// retries, and what an error means.
//
//	Pool ── one Client for each configured tenant
//	Client.Do ─► go-auth0 ─► token ─► rate budget ─► bounded retries ─► HTTPS
//
// It knows Auth0's calls, not what a tenant should hold (internal/engine/direct)
// nor when to try again tomorrow (internal/workflows).
//
// What must always hold: credentials are bound to a domain by the worker's own
// configuration, and are sent to that domain only. A workflow input names a
// tenant but can never choose the host that receives a secret: a domain that is
// not configured is refused before anything is resolved or sent. No secret is
// in an error or a log line. A request that may have taken effect is repeated
// only if repeating it is harmless.
package auth0

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// Config is what a Pool needs.
type Config struct {
	// Tenants holds the credentials for each tenant, by domain: host, or host:port,
	// without scheme. Required, but may be empty.
	Tenants map[string]Tenant
	// Secrets resolves the tenants' client secrets. A secret is resolved whenever a
	// token is fetched, so that a rotated one is picked up without a restart.
	Secrets secret.Stores
	// Version of the program, for the User-Agent. Defaults to "dev".
	Version string
	// RequestTimeout limits one attempt, its answer included. Defaults to 30 s.
	RequestTimeout time.Duration
	// MaxWait is the longest that one call waits for the tenant's rate limit in all;
	// a longer wait is the caller's to schedule, and becomes an error of class
	// RateLimited. Defaults to 60 s.
	MaxWait time.Duration
	// Share is the part of each of the tenant's rate-limit buckets that is left to
	// others, production first of all: from 0 to 0.9. Defaults to 0.2; negative
	// means nothing is left.
	Share float64
	// MaxRetries is how often a request that may be repeated is repeated after a
	// network error or a 5xx. Defaults to 3; negative means never.
	MaxRetries int
	// Wrap, if not nil, may put a RoundTripper around the one that reaches the
	// tenant. It sees every attempt, the bearer token included.
	Wrap func(domain string, next http.RoundTripper) http.RoundTripper
	// Now, Sleep and Rand are the clock and the source of jitter, in [0, 1). They
	// default to the real ones.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
	Rand  func() float64
	// Logger receives rate-limit waits and retries. Nil discards.
	Logger *slog.Logger
}

// Tenant is how to reach and authenticate to one tenant.
type Tenant struct {
	// ClientID and ClientSecret are those of a machine-to-machine application that
	// is authorized for the Management API.
	ClientID     string
	ClientSecret secret.Ref
	// CAFile is a PEM file of certificate authorities that are trusted for this
	// tenant besides the system's. Optional.
	CAFile string
	// Audience of Management API tokens. Defaults to "https://<domain>/api/v2/"; it
	// differs where Domain is a custom domain.
	Audience string
}

// Pool holds a Client for each tenant. It is safe for concurrent use.
type Pool struct {
	cfg Config

	mu      sync.Mutex
	clients map[string]*Client
}

var domainPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)

// New checks the configuration. Nothing is resolved or sent until a tenant is
// used.
func New(cfg Config) (*Pool, error) {
	for domain, t := range cfg.Tenants {
		switch {
		case !domainPattern.MatchString(domain):
			return nil, fmt.Errorf("auth0 tenant %q: must be a host name in lower case without scheme or path", domain)
		case t.ClientID == "":
			return nil, fmt.Errorf("auth0 tenant %s: client id is missing", domain)
		}
		if _, err := secret.ParseRef(string(t.ClientSecret)); err != nil {
			return nil, fmt.Errorf("auth0 tenant %s: client secret: %w", domain, err)
		}
	}
	if cfg.Version == "" {
		cfg.Version = "dev"
	}
	if cfg.RequestTimeout <= 0 {
		cfg.RequestTimeout = 30 * time.Second
	}
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = 60 * time.Second
	}
	switch {
	case cfg.Share > 0.9:
		return nil, fmt.Errorf("auth0 rate limit: a share of %g is left to others, at most 0.9 may be", cfg.Share)
	case cfg.Share == 0:
		cfg.Share = 0.2
	case cfg.Share < 0:
		cfg.Share = 0
	}
	if cfg.MaxRetries == 0 {
		cfg.MaxRetries = 3
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pool{cfg: cfg, clients: map[string]*Client{}}, nil
}

// Domains lists the configured tenants.
func (p *Pool) Domains() []string {
	domains := make([]string, 0, len(p.cfg.Tenants))
	for domain := range p.cfg.Tenants {
		domains = append(domains, domain)
	}
	sort.Strings(domains)
	return domains
}

// Tenant returns the client of a configured tenant, always the same one, so
// that all work on a tenant shares one token and one rate budget. A domain that
// is not configured is an *Error of class UnknownTenant. Nothing is sent.
func (p *Pool) Tenant(_ context.Context, domain string) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[domain]; c != nil {
		return c, nil
	}
	t, ok := p.cfg.Tenants[domain]
	if !ok {
		configured := "none"
		if d := p.Domains(); len(d) > 0 {
			configured = strings.Join(d, ", ")
		}
		return nil, &Error{Class: UnknownTenant, Operation: "look up tenant",
			Message: fmt.Sprintf("tenant %q is not configured on this worker (configured: %s)", domain, configured)}
	}
	transport, err := p.transport(domain, t)
	if err != nil {
		return nil, &Error{Class: Credentials, Operation: "look up tenant", Message: err.Error(), Err: err}
	}
	c, err := newClient(p.cfg, domain, t, transport)
	if err != nil {
		return nil, fmt.Errorf("auth0 tenant %s: %w", domain, err)
	}
	p.clients[domain] = c
	return c, nil
}

// transport is the one that reaches the tenant: TLS 1.2 or later, system trust
// plus the tenant's own authorities.
func (p *Pool) transport(domain string, t Tenant) (http.RoundTripper, error) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	base.MaxIdleConnsPerHost = mostInFlight
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("auth0 tenant %s: CA file: %w", domain, err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("auth0 tenant %s: CA file %s holds no PEM certificate", domain, t.CAFile)
		}
		base.TLSClientConfig.RootCAs = pool
	}
	if p.cfg.Wrap != nil {
		if w := p.cfg.Wrap(domain, base); w != nil {
			return w, nil
		}
		return nil, errors.New("the wrapping round tripper is nil")
	}
	return base, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
