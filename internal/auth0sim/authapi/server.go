package authapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/actions"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// Config is what a Server needs.
type Config struct {
	// Tenant gives the tenant that a request is for, nil if there is none by
	// that name. Required.
	Tenant func(*http.Request) *state.Tenant

	// Domain gives the tenant's host name, with the port unless it is 443. The
	// issuer is "https://" + domain + "/". Defaults to the request's Host.
	Domain func(*http.Request) string

	// ActionTimeLimit bounds all Actions of one trigger. Defaults to 20 s.
	ActionTimeLimit time.Duration

	// Logger receives failures of the simulator itself; what tenants should
	// see goes to their own log. Nil discards it.
	Logger *slog.Logger
}

// Server answers the Authentication API. It is safe for concurrent use and
// keeps all state in the tenants.
type Server struct {
	cfg    Config
	runner *actions.Runner
	pages  *template.Template
	mux    *http.ServeMux

	nobodyOnce sync.Once
	nobodyUser Doc // see call.nobody
}

// New checks cfg and builds the server.
func New(cfg Config) (*Server, error) {
	if cfg.Tenant == nil {
		return nil, errors.New("authapi: Config.Tenant is required")
	}
	if cfg.Domain == nil {
		cfg.Domain = func(r *http.Request) string { return r.Host }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	runner, err := actions.New(actions.Config{TimeLimit: cfg.ActionTimeLimit, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("authapi: %w", err)
	}
	pages, err := parsePages()
	if err != nil {
		return nil, fmt.Errorf("authapi: %w", err)
	}
	s := &Server{cfg: cfg, runner: runner, pages: pages, mux: http.NewServeMux()}
	s.routes()
	return s, nil
}

// Handler serves every path of a tenant's domain that is not the Management
// API's.
func (s *Server) Handler() http.Handler { return s.mux }

func (s *Server) routes() {
	paths := map[string]bool{}
	for pattern, h := range map[string]handler{
		"GET /.well-known/openid-configuration":       (*call).discovery,
		"GET /.well-known/oauth-authorization-server": (*call).discovery,
		"GET /.well-known/jwks.json":                  (*call).jwks,
		"POST /oauth/token":                           (*call).token,
		"POST /oauth/revoke":                          (*call).revoke,
		"POST /oauth/par":                             (*call).pushAuthorization,
		"POST /oauth/device/code":                     (*call).deviceCode,
		"GET /userinfo":                               (*call).userinfo,
		"POST /userinfo":                              (*call).userinfo,
		"POST /dbconnections/signup":                  (*call).signupAPI,
		"POST /dbconnections/change_password":         (*call).changePasswordAPI,
		"POST /passwordless/start":                    (*call).passwordlessStart,
		"POST /mfa/challenge":                         (*call).mfaChallengeAPI,
		"POST /mfa/associate":                         (*call).mfaAssociateAPI,
		"GET /mfa/authenticators":                     (*call).mfaAuthenticatorsAPI,
		"DELETE /mfa/authenticators/{id}":             (*call).mfaDeleteAPI,
	} {
		s.mux.Handle(pattern, s.api(h))
		_, path, _ := strings.Cut(pattern, " ")
		paths[path] = true
	}
	for path := range paths {
		s.mux.Handle("OPTIONS "+path, s.api((*call).preflight))
	}
	for pattern, h := range map[string]handler{
		"GET /authorize":                       (*call).authorize,
		"POST /authorize":                      (*call).authorize,
		"GET /authorize/resume":                (*call).resume,
		"GET /continue":                        (*call).continueFlow,
		"POST /continue":                       (*call).continueFlow,
		"GET /passwordless/verify_redirect":    (*call).passwordlessLink,
		"GET /v2/logout":                       (*call).logout,
		"GET /oidc/logout":                     (*call).oidcLogout,
		"POST /oidc/logout":                    (*call).oidcLogout,
		"GET /u/login":                         (*call).loginPage,
		"POST /u/login":                        (*call).loginSubmit,
		"GET /u/signup":                        (*call).signupPage,
		"POST /u/signup":                       (*call).signupSubmit,
		"GET /u/reset-password/request":        (*call).forgotPage,
		"POST /u/reset-password/request":       (*call).forgotSubmit,
		"GET /u/reset-password":                (*call).resetPage,
		"POST /u/reset-password":               (*call).resetSubmit,
		"GET /u/email-verification":            (*call).verifyEmail,
		"GET /u/mfa-enrollment":                (*call).enrolTicket,
		"GET /u/mfa-otp-enrollment":            (*call).otpEnrolPage,
		"POST /u/mfa-otp-enrollment":           (*call).otpEnrolSubmit,
		"GET /u/mfa-recovery-code-enrollment":  (*call).recoveryCodePage,
		"POST /u/mfa-recovery-code-enrollment": (*call).recoveryCodeSubmit,
		"GET /u/mfa-otp-challenge":             (*call).otpPage,
		"POST /u/mfa-otp-challenge":            (*call).otpSubmit,
		"GET /u/mfa-recovery-code-challenge":   (*call).recoveryPage,
		"POST /u/mfa-recovery-code-challenge":  (*call).recoverySubmit,
		"GET /u/consent":                       (*call).consentPage,
		"POST /u/consent":                      (*call).consentSubmit,
		"GET /u/organization":                  (*call).organizationPage,
		"POST /u/organization":                 (*call).organizationSubmit,
		"GET /activate":                        (*call).activatePage,
		"POST /activate":                       (*call).activateSubmit,
		"GET /u/device-confirmation":           (*call).deviceConfirmPage,
		"POST /u/device-confirmation":          (*call).deviceConfirmSubmit,
		"GET /u/unblock":                       (*call).unblock,
		"/":                                    (*call).notFound,
	} {
		s.mux.Handle(pattern, s.page(h))
	}
}

// maxBody is more than any request of this API needs.
const maxBody = 100 << 10

// A handler answers one request. A returned error is answered by the wrapper.
type handler func(*call) error

// call is one request and what is known about it.
type call struct {
	*Server
	w      http.ResponseWriter
	r      *http.Request
	tenant *state.Tenant
	domain string
	now    time.Time
}

func (c *call) issuer() string { return "https://" + c.domain + "/" }

func (c *call) url(path string) string { return "https://" + c.domain + path }

// ip is the address of the other end; a simulator has no proxies before it.
func (c *call) ip() string {
	host, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		return c.r.RemoteAddr
	}
	return host
}

func (c *call) view(fn func(*state.Tx) error) error {
	return c.tenant.View(c.r.Context(), fn)
}

func (c *call) update(fn func(*state.Tx) error) error {
	return c.tenant.Update(c.r.Context(), fn)
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request) *call {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	t := s.cfg.Tenant(r)
	if t == nil {
		return nil
	}
	return &call{Server: s, w: w, r: r, tenant: t, domain: s.cfg.Domain(r), now: t.Store().Now()}
}

// api wraps a handler whose answers, and whose errors, are JSON.
func (s *Server) api(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := s.begin(w, r)
		if c == nil {
			writeJSON(w, http.StatusNotFound, map[string]any{"error": "not_found", "error_description": "Unknown tenant"})
			return
		}
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		c.cors()
		if err := h(c); err != nil {
			c.fail(err)
		}
	})
}

// fail answers an API request with an error.
func (c *call) fail(err error) {
	var known *oauthError
	if !errors.As(err, &known) {
		if c.r.Context().Err() == nil {
			c.cfg.Logger.ErrorContext(c.r.Context(), "authentication api request failed", "path", c.r.URL.Path, "error", err)
		}
		known = &oauthError{status: http.StatusInternalServerError, code: "server_error", description: "Internal error"}
	}
	for k, v := range known.header {
		c.w.Header().Set(k, v)
	}
	writeJSON(c.w, known.status, known.body())
}

// writeJSON answers with a document that no cache may keep (RFC 6749, 5.1).
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "Internal error", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json; charset=utf-8")
	if header.Get("Cache-Control") == "" {
		header.Set("Cache-Control", "no-store")
		header.Set("Pragma", "no-cache")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone; nobody is left to tell
}

// cors lets a browser application read an answer. Credentials are never
// allowed, and these endpoints take none from cookies: a page of any origin
// learns only what it could ask for without a browser.
func (c *call) cors() {
	origin := c.r.Header.Get("Origin")
	if origin == "" || origin == "null" {
		return
	}
	c.w.Header().Add("Vary", "Origin")
	c.w.Header().Set("Access-Control-Allow-Origin", origin)
	c.w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset")
}

func (c *call) preflight() error {
	h := c.w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Auth0-Client")
	h.Set("Access-Control-Max-Age", "600")
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
