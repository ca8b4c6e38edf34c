package v1

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// WebAppSpec is an OpenID Connect web application with a server of its own. It
// stands for a client (Auth0Client of the same name) that logs people in by
// authorization code, enabled for its connections, and for the action that puts
// the user's roles into the ID token, which all web applications share.
type WebAppSpec struct {
	// Application is what the application is: the defaults of its callbacks, logout
	// URLs and origins follow from it. With oidc they have to be written down.
	Application *string `json:"application,omitzero" tenon:"enum=grafana|oidc;default=grafana"`
	// URL is where people reach the application, for Grafana its root_url. https, or
	// http on loopback.
	URL string `json:"url" tenon:"required"`
	// Description has at most 140 characters. It defaults to the application and its
	// URL.
	Description *string `json:"description,omitzero" tenon:"maxLength=140"`
	// Callbacks are where the authorization code may be sent. They default to those
	// of a Grafana at the URL.
	Callbacks []string `json:"callbacks,omitzero" tenon:"default=URL/login/generic_oauth"`
	// LogoutURLs are where a logout may return to. They default to those of a
	// Grafana at the URL.
	LogoutURLs []string `json:"logout_urls,omitzero" tenon:"default=URL/login"`
	// WebOrigins default to the origin of the URL.
	WebOrigins []string `json:"web_origins,omitzero" tenon:"default=the origin of URL"`
	// Connections are those whose users may log in: the name of a connection, or a
	// reference that defaults to Auth0Connection and its output name. Left out, no
	// connection is touched.
	Connections []StringOrRef `json:"connections,omitzero" tenon:"ref=Auth0Connection.name"`
	// RolesClaim is the claim of the ID token that holds the user's roles. An https
	// URL: Auth0 drops claims without a namespace.
	RolesClaim *string `json:"roles_claim,omitzero" tenon:"default=https://tenon.dev/roles"`
	// Roles maps roles in Auth0 to roles in the application; the first match wins,
	// and who has none is refused. It belongs to the application grafana, and
	// defaults to admin, editor and viewer.
	Roles []WebAppRole `json:"roles,omitzero"`
	// IDTokenLifetime is in seconds.
	IDTokenLifetime *int `json:"id_token_lifetime,omitzero" tenon:"min=60;max=2592000;default=36000"`
	// RefreshTokenLifetime is in seconds, counted from the login.
	RefreshTokenLifetime *int `json:"refresh_token_lifetime,omitzero" tenon:"min=60;max=157788000;default=2592000"`
	// RefreshTokenIdleLifetime is in seconds, counted from the last use. It must be
	// shorter than RefreshTokenLifetime.
	RefreshTokenIdleLifetime *int `json:"refresh_token_idle_lifetime,omitzero" tenon:"min=60;max=157788000;default=1296000"`
	// ClientMetadata holds at most 7 pairs of your own.
	ClientMetadata map[string]string `json:"client_metadata,omitzero"`
}

// WebAppRole maps one role.
type WebAppRole struct {
	// Role is the name of the role in Auth0.
	Role string `json:"role" tenon:"required"`
	// Grafana is the role in Grafana.
	Grafana string `json:"grafana" tenon:"required;enum=Viewer|Editor|Admin|GrafanaAdmin"`
}

// The applications that a WebApp can be.
const (
	ApplicationGrafana = "grafana"
	ApplicationOIDC    = "oidc"
)

// DefaultRolesClaim is the claim that carries a user's roles. It is a URL
// because Auth0 drops claims without a namespace when they collide with
// standard ones.
const DefaultRolesClaim = "https://tenon.dev/roles"

// Kind implements Spec.
func (*WebAppSpec) Kind() string { return KindWebApp }

// References implements Spec.
func (s *WebAppSpec) References() []Reference {
	return references("spec.connections", KindConnection, "name", s.Connections)
}

// Validate implements Spec.
func (s *WebAppSpec) Validate() []Problem { return validate(s) }

var (
	webAppName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]*$`)
	webAppURL     = regexp.MustCompile(`^https?://[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?(/[^\s"\\<>?#]*)?$|^http://\[::1\](:[0-9]{1,5})?(/[^\s"\\<>?#]*)?$`)
	namespacedURL = regexp.MustCompile(`^https://[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?(/[^\s"\\<>]*)?$`)
)

func (*WebAppSpec) checkName(p *problems, name string) {
	if !webAppName.MatchString(name) || len(name) > 128 {
		p.add("metadata.name", "must be letters, digits, spaces, dots, dashes and underscores, at most 128, and begin with a letter or digit")
	}
}

func (s *WebAppSpec) check(p *problems) {
	if s.URL != "" {
		u, err := url.Parse(s.URL)
		switch {
		case err != nil || !webAppURL.MatchString(s.URL):
			p.add("spec.url", "is %q, must have the form https://host[:port][/path]", s.URL)
		case u.Scheme == "http" && !loopback(u.Hostname()):
			p.add("spec.url", "must be https: http is for loopback addresses only")
		}
	}
	redirect := func(at, v string) { p.redirectURL(at, v, true) }
	p.each("spec.callbacks", s.Callbacks, redirect)
	p.each("spec.logout_urls", s.LogoutURLs, redirect)
	p.each("spec.web_origins", s.WebOrigins, func(at, v string) { p.originURL(at, v, true) })
	p.repeatedRefs("spec.connections", s.Connections)
	if s.Connections != nil && len(s.Connections) == 0 {
		p.add("spec.connections", "must name at least one connection: nobody could log in")
	}
	if s.RolesClaim != nil && !namespacedURL.MatchString(*s.RolesClaim) {
		p.add("spec.roles_claim", "is %q, must be an https URL: Auth0 drops claims without a namespace", *s.RolesClaim)
	}
	if s.application() == ApplicationOIDC {
		if len(s.Callbacks) == 0 {
			p.add("spec.callbacks", "is required for application oidc")
		}
		if s.Roles != nil {
			p.add("spec.roles", "belongs to application grafana only")
		}
	}
	names := make([]string, len(s.Roles))
	for i, r := range s.Roles {
		names[i] = r.Role
	}
	p.each("spec.roles", names, nil)
	total, idle := valueOr(s.RefreshTokenLifetime, 2_592_000), valueOr(s.RefreshTokenIdleLifetime, 1_296_000)
	if idle >= total {
		p.add("spec.refresh_token_idle_lifetime", "is %d, must be below refresh_token_lifetime, which is %d", idle, total)
	}
	p.pairs("spec.client_metadata", s.ClientMetadata, 7)
	if _, ok := s.ClientMetadata[rolesClaimKey]; ok {
		p.add("spec.client_metadata."+rolesClaimKey, "is set by roles_claim")
	}
}

func (s *WebAppSpec) application() string { return valueOr(s.Application, ApplicationGrafana) }

// root is the URL without a slash at its end.
func (s *WebAppSpec) root() string { return strings.TrimRight(s.URL, "/") }

// origin is scheme, host and port of the URL.
func (s *WebAppSpec) origin() string {
	u, err := url.Parse(s.URL)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s://%s", u.Scheme, u.Host)
}

// rolesClaimKey is the client metadata key that names the roles claim of an
// application. The claims action acts on clients that have it, and on no other.
const rolesClaimKey = "roles_claim"
