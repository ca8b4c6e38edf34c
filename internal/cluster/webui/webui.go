package webui

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/temporalio/ui-server/v2/ui"
	"google.golang.org/grpc"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
)

// TokenIssuer signs the tokens of sessions. *token.Issuer is one.
type TokenIssuer interface {
	Issue(ctx context.Context, req token.IssueRequest) (secret.Value, *token.Claims, error)
}

// Revocations knows whose tokens are revoked. *token.RevocationFile is one.
type Revocations interface {
	Revoked(*token.Claims) bool
}

// Auditor records who signed in and who was refused. *audit.Log is one.
type Auditor interface {
	Append(audit.Record) error
}

// Config configures the Web UI.
type Config struct {
	// Listener is served, and closed by Run or Close. Required.
	Listener net.Listener
	// TLS of the listener. Required: the session's cookie is sent over TLS only.
	TLS *tls.Config
	// URL is where browsers find it: scheme https, host, no path. Defaults to the
	// listener's address.
	URL string
	// Frontend is host:port of the cluster's frontend. Required.
	Frontend string
	// FrontendTLS is how the frontend is called. Nil calls it without TLS.
	FrontendTLS *tls.Config
	// Namespace is the one shown first. Defaults to "default".
	Namespace string
	// Provider is where people sign in. Required.
	Provider ProviderConfig
	// Sessions bounds sessions in time and number.
	Sessions SessionsConfig
	// Tokens signs the sessions' tokens. Required.
	Tokens TokenIssuer
	// TokenIssuer is the "iss" of those tokens, for Revocations. Defaults to "tenon".
	TokenIssuer string
	// Revocations ends the sessions of people whose tokens were revoked after they
	// signed in. Defaults to none.
	Revocations Revocations
	// Audit records sign-ins, refusals and sign-outs. Nobody is let in
	// unrecorded. Required.
	Audit Auditor
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Rand is the source of session ids, states and verifiers. Defaults to crypto/rand.
	Rand io.Reader
	// Logger. Defaults to discarding.
	Logger *slog.Logger
}

// Server is the Web UI. It is safe for concurrent use.
type Server struct {
	cfg      Config
	log      *slog.Logger
	url      *url.URL
	provider *provider
	sessions *sessions
	seal     *sealer
	conn     *grpc.ClientConn
	api      http.Handler
	render   http.Handler
	settings http.Handler
	history  http.Handler
	index    []byte
	assets   http.Handler
	policy   string // Content-Security-Policy of the stock pages
	handler  http.Handler
	cookies  cookieNames
}

// New checks the configuration and builds the server. The provider is not
// asked: that it is down must not keep the cluster from starting.
func New(cfg Config) (_ *Server, err error) {
	switch {
	case cfg.Listener == nil:
		return nil, errors.New("web ui: listener is required")
	case cfg.TLS == nil:
		return nil, errors.New("web ui: tls is required")
	case cfg.Frontend == "":
		return nil, errors.New("web ui: address of the frontend is required")
	case cfg.Tokens == nil:
		return nil, errors.New("web ui: token issuer is required")
	case cfg.Audit == nil:
		return nil, errors.New("web ui: audit log is required")
	}
	if cfg.URL == "" {
		cfg.URL = "https://" + cfg.Listener.Addr().String()
	}
	if cfg.Namespace == "" {
		cfg.Namespace = "default"
	}
	if cfg.TokenIssuer == "" {
		cfg.TokenIssuer = "tenon"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Sessions, err = cfg.Sessions.withDefaults(); err != nil {
		return nil, fmt.Errorf("web ui: %w", err)
	}
	s := &Server{cfg: cfg, log: cfg.Logger}
	if s.url, err = parseOrigin(cfg.URL); err != nil {
		return nil, fmt.Errorf("web ui: %w", err)
	}
	s.cookies = namesFor(s.url)
	if s.provider, err = newProvider(cfg.Provider, s.origin()+callbackPath, cfg.Now); err != nil {
		return nil, fmt.Errorf("web ui: %w", err)
	}
	if s.seal, err = newSealer(cfg.Rand); err != nil {
		return nil, fmt.Errorf("web ui: %w", err)
	}
	s.sessions = newSessions(cfg.Sessions, cfg.Now, cfg.Rand)
	if err := s.loadPages(); err != nil {
		return nil, fmt.Errorf("web ui: %w", err)
	}
	if s.conn, err = dial(cfg.Frontend, cfg.FrontendTLS); err != nil {
		return nil, fmt.Errorf("web ui: %w", err)
	}
	if err := s.buildAPI(); err != nil {
		return nil, errors.Join(fmt.Errorf("web ui: %w", err), s.conn.Close())
	}
	s.handler = s.routes()
	return s, nil
}

// parseOrigin reads the address that browsers use.
func parseOrigin(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("address %q is not of the form https://HOST[:PORT]", text)
	}
	return &url.URL{Scheme: "https", Host: strings.ToLower(strings.TrimSuffix(u.Host, ":443"))}, nil
}

func (s *Server) origin() string { return s.url.Scheme + "://" + s.url.Host }

// URL is where browsers find the Web UI.
func (s *Server) URL() string { return s.origin() }

// CallbackURL and SignedOutURL must be registered with the provider: where it
// sends people after they signed in, and after they signed out.
func (s *Server) CallbackURL() string { return s.origin() + callbackPath }

// SignedOutURL is where the provider sends people after they signed out.
func (s *Server) SignedOutURL() string { return s.origin() + signedOutPath }

// Handler is the whole Web UI, for a server of the caller's.
func (s *Server) Handler() http.Handler { return s.handler }

// maxHeader bounds the headers of a request; what exceeds it is cut off. A
// browser that sends more cookies than maxCookies is told so: other services on
// the same host name can make it, and its connection breaking off would tell
// nobody why.
const (
	maxHeader  = 256 << 10
	maxCookies = 16 << 10
)

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	server := &http.Server{
		Handler: s.handler, TLSConfig: s.cfg.TLS,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	sweeping, cancel := context.WithCancel(ctx)
	defer cancel()
	go s.sessions.sweep(sweeping)
	err := server.Serve(tls.NewListener(s.cfg.Listener, s.cfg.TLS))
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, s.Close())
}

// Close releases what New took. Run does it too.
func (s *Server) Close() error {
	err := s.conn.Close()
	if status := s.conn.GetState().String(); err != nil && status == "SHUTDOWN" {
		err = nil // closed before
	}
	if e := s.cfg.Listener.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// loadPages opens the stock pages, and reads from the first of them the hash of
// the script that it begins with, which the policy of our headers must allow.
func (s *Server) loadPages() error {
	all, err := ui.Assets()
	if err != nil {
		return err
	}
	local, err := fs.Sub(all, "local")
	if err != nil {
		return err
	}
	if s.index, err = fs.ReadFile(local, "index.html"); err != nil {
		return fmt.Errorf("stock pages: %w", err)
	}
	if s.policy, err = contentPolicy(s.index); err != nil {
		return err
	}
	s.assets = http.FileServerFS(local)
	return nil
}
