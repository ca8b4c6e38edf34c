// Package auth0sim is a stand-in for Auth0: an HTTPS server with the Management
// API, the Authentication API, event delivery, and a control interface of its
// own under /_sim/.
//
// It owns the Management API: its operations and bodies come from a catalogue
// (catalog.jsonl), what a resource does from declarations (the families_*.go
// files), and only what no declaration can say is code. The Authentication API
// and its pages are package authapi's, action code runs in package actions, and
// everything is remembered by package state.
//
// What must always hold: an answer is either Auth0's, in status and words, or
// the request was a control request; a failed call leaves no trace in the state
// but its log entry; no input of a client leads to a 500.
package auth0sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/actions"
	"github.com/tenonhq/tenon/internal/auth0sim/authapi"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
	"github.com/tenonhq/tenon/internal/secret"
)

// Config says how the simulator listens and what it stands in for.
type Config struct {
	// Listener, if set, is served instead of Listen, and closed by Run.
	Listener net.Listener
	// Listen is the address to listen on. Defaults to "127.0.0.1:0".
	Listen string
	// TLS holds the server certificate. Required by Run: no Auth0 client speaks
	// plain HTTP.
	TLS *tls.Config
	// Path is the SQLite file. "" keeps the state in memory.
	Path string
	// Domain is the host and port in the issuer and in links. Defaults to
	// "localhost:" and the port listened on.
	Domain string
	// ClientID and ClientSecret name the client that may call every Management
	// API scope; it is created if absent. Both default to random ones.
	ClientID     string
	ClientSecret secret.Value
	// Plan is the subscription that is stood in for: rate limits, entity limits,
	// features. Defaults to unlimited.
	Plan string
	// Latency is added to every call of the tenant's APIs. Defaults to none.
	Latency Latency
	// NoControl turns /_sim/ off.
	NoControl bool
	// Now and Rand default to the wall clock and the operating system's source.
	Now  func() time.Time
	Rand io.Reader
	// Queue receives the events of EventBridge destinations: the URL of an
	// SQS-compatible queue. "" fails their deliveries.
	Queue string
	// Outbound calls webhooks and queues. Defaults to a client with a timeout
	// of 10 seconds that verifies certificates.
	Outbound *http.Client
	// Backoff lists the pauses between the attempts of a delivery. Defaults to
	// 1, 2 and 4 seconds.
	Backoff []time.Duration
	// Logger receives failures of the simulator itself. Nil discards them.
	Logger *slog.Logger
}

// Server is a running or startable simulator. Safe for concurrent use.
type Server struct {
	cfg      Config
	store    *state.Store
	catalog  *catalog
	validate *validator
	router   router
	auth     http.Handler
	runner   *actions.Runner
	log      *slog.Logger
	control  *control
	listener net.Listener
	ready    chan struct{}

	mu      sync.Mutex
	tenants map[string]*tenant // by name
	hosts   map[string]*tenant // by host name without port
	first   *tenant

	deliveries *courier
	background sync.WaitGroup
	closing    chan struct{}
	closeOnce  sync.Once
}

// tenant is one simulated tenant as the server sees it.
type tenant struct {
	name   string
	domain string
	plan   *plan
	state  *state.Tenant
	bearer bearer
	limits *limiter
	pulls  chan struct{} // a slot for each connection to GET /events
}

// New builds the simulator and opens its state. Call Run to serve it, or Close.
func New(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Outbound == nil {
		cfg.Outbound = &http.Client{Timeout: 10 * time.Second}
	}
	if cfg.Backoff == nil {
		cfg.Backoff = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}
	}
	if cfg.Plan == "" {
		cfg.Plan = "unlimited"
	}
	p, known := plans()[cfg.Plan]
	if !known {
		return nil, fmt.Errorf("unknown plan %q: want one of %s", cfg.Plan, planNames())
	}
	store, err := state.Open(state.Config{Path: cfg.Path, Now: cfg.Now, Rand: cfg.Rand})
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, store: store, log: cfg.Logger, ready: make(chan struct{}), closing: make(chan struct{}),
		tenants: map[string]*tenant{}, hosts: map[string]*tenant{}}
	if err := s.build(p); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) build(p *plan) error {
	var err error
	if s.catalog, err = loadCatalog(catalogText); err != nil {
		return err
	}
	s.catalog.correct()
	s.validate = &validator{catalog: s.catalog}
	if err := s.declare(); err != nil {
		return err
	}
	if s.runner, err = actions.New(actions.Config{Logger: s.log}); err != nil {
		return err
	}
	if s.cfg.ClientID == "" {
		s.cfg.ClientID = s.store.NewID(state.ClientID)
	}
	if s.cfg.ClientSecret.IsZero() {
		s.cfg.ClientSecret = secret.New(s.store.NewID(state.ClientSecret))
	}
	if err := s.listen(); err != nil {
		return err
	}
	s.control = newControl(s)
	s.deliveries = newCourier(s)
	name, _, _ := strings.Cut(s.cfg.Domain, ".")
	if strings.ContainsAny(name, ":[") || name == "localhost" {
		name = "tenon"
	}
	if s.first, err = s.addTenant(context.Background(), name, s.cfg.Domain, p); err != nil {
		return err
	}
	if err := s.recallTenants(context.Background()); err != nil {
		return err
	}
	auth, err := authapi.New(authapi.Config{
		Tenant: func(r *http.Request) *state.Tenant { return s.tenantOf(r).state },
		Domain: func(r *http.Request) string { return s.tenantOf(r).domain },
		Logger: s.log,
	})
	if err != nil {
		return err
	}
	s.auth = auth.Handler()
	// Deliveries and jobs go on whether the handler is served by Run or by a
	// server of the caller's.
	ctx, stop := context.WithCancel(context.Background())
	s.background.Go(func() { s.deliveries.run(ctx) })
	s.background.Go(func() { s.runJobs(ctx) })
	s.background.Go(func() { <-s.closing; stop() })
	return nil
}

// listen opens the listener early, so that the domain can name its port.
func (s *Server) listen() error {
	s.listener = s.cfg.Listener
	if s.listener == nil && s.cfg.TLS != nil {
		address := s.cfg.Listen
		if address == "" {
			address = "127.0.0.1:0"
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("listen for the auth0 simulator: %w", err)
		}
		s.listener = l
	}
	if s.cfg.Domain == "" {
		if s.listener == nil {
			return errors.New("the auth0 simulator needs a domain, a listener or a tls configuration")
		}
		_, port, err := net.SplitHostPort(s.listener.Addr().String())
		if err != nil {
			return fmt.Errorf("auth0 simulator address: %w", err)
		}
		s.cfg.Domain = "localhost:" + port
	}
	return nil
}

// addTenant makes a tenant known under its domain and fills it with what a new
// tenant holds.
func (s *Server) addTenant(ctx context.Context, name, domain string, p *plan) (*tenant, error) {
	t := &tenant{name: name, domain: domain, plan: p, state: s.store.Tenant(name), pulls: make(chan struct{}, p.pull)}
	t.bearer.known = map[[32]byte]caller{}
	t.limits = newLimiter(p, s.store.Now)
	if err := s.bootstrap(ctx, t); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tenants[name] = t
	s.hosts[hostOnly(domain)] = t
	return t, nil
}

// registry is the state tenant that remembers the others; no tenant of Auth0's
// can be called that.
const registry = "_sim"

var tenantName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// rememberTenant makes a tenant known after a restart.
func (s *Server) rememberTenant(ctx context.Context, t *tenant) error {
	return s.store.Tenant(registry).Update(ctx, func(tx *state.Tx) error {
		return tx.Put("tenants", t.name, doc{"name": t.name, "domain": t.domain, "plan": t.plan.name})
	})
}

// recallTenants makes the tenants known that were added before a restart.
func (s *Server) recallTenants(ctx context.Context) error {
	var known []doc
	err := s.store.Tenant(registry).View(ctx, func(tx *state.Tx) error {
		var err error
		known, _, err = tx.List("tenants", state.ListOptions{})
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range known {
		p := plans()[str(d, "plan")]
		if p == nil {
			p = s.first.plan
		}
		if _, err := s.addTenant(ctx, str(d, "name"), str(d, "domain"), p); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) tenantOf(r *http.Request) *tenant {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.hosts[hostOnly(r.Host)]; t != nil {
		return t
	}
	return s.first
}

func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return strings.ToLower(host)
	}
	return strings.ToLower(hostport)
}

// Ready is closed once Run serves.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addr is the address listened on; nil if there is no listener.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Domain is the first tenant's host and port.
func (s *Server) Domain() string { return s.cfg.Domain }

// ClientID and ClientSecret are the credentials of the client that may call
// every Management API scope.
func (s *Server) ClientID() string { return s.cfg.ClientID }

// ClientSecret belongs to ClientID.
func (s *Server) ClientSecret() secret.Value { return s.cfg.ClientSecret }

// Run serves until the context ends, then closes the state. It returns within
// half a second of that: open connections are given 300 ms to finish.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil || s.cfg.TLS == nil {
		return errors.Join(errors.New("the auth0 simulator needs a tls configuration to run"), s.Close())
	}
	srv := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	tlsConfig := s.cfg.TLS.Clone()
	if len(tlsConfig.NextProtos) == 0 {
		tlsConfig.NextProtos = []string{"h2", "http/1.1"}
	}
	serving := make(chan error, 1)
	go func() { serving <- srv.Serve(tls.NewListener(s.listener, tlsConfig)) }()
	close(s.ready)
	var err error
	select {
	case <-ctx.Done():
	case err = <-serving:
	}
	s.closeOnce.Do(func() { close(s.closing) })
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 300*time.Millisecond)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		err = errors.Join(err, srv.Close())
	}
	s.background.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, s.store.Close())
}

// Close releases what New opened; only for a server that is not run.
func (s *Server) Close() error {
	s.closeOnce.Do(func() { close(s.closing) })
	var err error
	if s.listener != nil {
		err = s.listener.Close()
	}
	s.background.Wait()
	return errors.Join(err, s.store.Close())
}

// Handler serves everything: the tenant's APIs and pages, and /_sim/.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		if !s.cfg.NoControl && (path == "/_sim" || strings.HasPrefix(path, "/_sim/")) {
			s.control.ServeHTTP(w, r)
			return
		}
		s.control.observe(w, r, s.tenantOf(r), s.serveTenant)
	})
}

// serveTenant answers as the tenant.
func (s *Server) serveTenant(w http.ResponseWriter, r *http.Request, t *tenant) {
	if path := r.URL.EscapedPath(); strings.HasPrefix(path, "/api/v2/") {
		s.serveManagement(w, r, t, strings.TrimPrefix(path, "/api/v2"))
		return
	}
	if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, exportPath) {
		s.serveExport(w, r, t)
		return
	}
	if !t.plan.unlimited() {
		v := t.limits.takeAuth(r.Method, r.URL.Path, subjectOf(r))
		v.write(w.Header())
		if !v.allowed {
			refuse(http.StatusTooManyRequests, "too_many_requests", "Too many requests. Check the X-RateLimit-Limit, X-RateLimit-Remaining and X-RateLimit-Reset headers.").write(w)
			return
		}
	}
	s.auth.ServeHTTP(w, r)
}
