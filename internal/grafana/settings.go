package grafana

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// CallbackPath is where Grafana receives the authorization code, below its
// root URL.
const CallbackPath = "/login/generic_oauth"

// DefaultRolesClaim is the claim that carries a user's roles. It is a URL
// because Auth0 drops claims without a namespace when they collide with
// standard ones.
const DefaultRolesClaim = "https://tenon.dev/roles"

// App describes the application as the tenant knows it.
type App struct {
	// Name is the text of Grafana's login button. Defaults to "Auth0".
	Name string
	// Domain is the tenant's host, with a port if it has one.
	Domain string
	// RootURL is where people reach Grafana. It must equal [server] root_url.
	RootURL string
	// ClientID is the Auth0 client's identifier.
	ClientID string
	// RolesClaim is the claim with the user's roles. Defaults to
	// DefaultRolesClaim.
	RolesClaim string
	// Roles maps Auth0 roles to Grafana roles; the first match wins. Defaults
	// to admin, editor and viewer.
	Roles []RoleMapping
	// TLSClientCA is the path, on Grafana's machine, of the authority that
	// signed the tenant's certificate. Empty means the system's authorities.
	TLSClientCA string
}

// RoleMapping gives the people of an Auth0 role a Grafana role.
type RoleMapping struct {
	// Role is the name of the role in Auth0.
	Role string `json:"role"`
	// Grafana is Viewer, Editor, Admin or GrafanaAdmin.
	Grafana string `json:"grafana"`
}

// DefaultRoles is the mapping of the roles that tenant setup makes.
func DefaultRoles() []RoleMapping {
	return []RoleMapping{{"admin", "Admin"}, {"editor", "Editor"}, {"viewer", "Viewer"}}
}

// Settings is the [auth.generic_oauth] section that Tenon writes, without the
// client secret. Other settings keep Grafana's defaults.
type Settings struct {
	RootURL                 string
	Name                    string
	ClientID                string
	Scopes                  []string
	AuthURL                 string
	TokenURL                string
	APIURL                  string
	SignoutRedirectURL      string
	RoleAttributePath       string
	AllowAssignGrafanaAdmin bool
	TLSClientCA             string
}

// NewSettings derives the settings from the application. It reports every
// problem of its input.
func NewSettings(app App) (Settings, error) {
	if app.Name == "" {
		app.Name = "Auth0"
	}
	if app.RolesClaim == "" {
		app.RolesClaim = DefaultRolesClaim
	}
	if app.Roles == nil {
		app.Roles = DefaultRoles()
	}
	var problems []error
	root, err := CheckRootURL(app.RootURL)
	if err != nil {
		problems = append(problems, err)
	}
	if host, err := url.Parse("https://" + app.Domain); err != nil || app.Domain == "" || host.Host != app.Domain {
		problems = append(problems, fmt.Errorf("tenant domain %q is not a host name with an optional port", app.Domain))
	}
	if app.ClientID == "" {
		problems = append(problems, errors.New("client id is empty"))
	}
	rolePath, err := RolePath(app.RolesClaim, app.Roles)
	if err != nil {
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return Settings{}, err
	}
	tenant := "https://" + app.Domain
	signout := url.Values{"client_id": {app.ClientID}, "post_logout_redirect_uri": {root + "/login"}}
	return Settings{
		RootURL:            root,
		Name:               app.Name,
		ClientID:           app.ClientID,
		Scopes:             []string{"openid", "profile", "email", "offline_access"},
		AuthURL:            tenant + "/authorize",
		TokenURL:           tenant + "/oauth/token",
		APIURL:             tenant + "/userinfo",
		SignoutRedirectURL: tenant + "/oidc/logout?" + signout.Encode(),
		RoleAttributePath:  rolePath,
		AllowAssignGrafanaAdmin: slices.ContainsFunc(app.Roles, func(m RoleMapping) bool {
			return m.Grafana == "GrafanaAdmin"
		}),
		TLSClientCA: app.TLSClientCA,
	}, nil
}

// Callback is the redirect URI that the Auth0 client must allow.
func (s Settings) Callback() string { return s.RootURL + CallbackPath }

// LogoutURL is where Auth0 sends people after logout; the Auth0 client must
// allow it.
func (s Settings) LogoutURL() string { return s.RootURL + "/login" }

// rootURL is written as an expression, and not left to net/url, because
// workflows check it too, and how net/url reads an odd address depends on the
// version of Go and its settings.
var rootURL = regexp.MustCompile(`^(https?)://([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[a-zA-Z0-9._~-]+)*/*$`)

// loopback matches hosts that only this machine reaches.
var loopback = regexp.MustCompile(`^(localhost|127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|\[::1\]|::1)$`)

// CheckRootURL checks a Grafana root URL and returns it without slashes at the
// end. Plain HTTP is accepted for the loopback interface alone: an
// authorization code that crosses a network in clear can be stolen.
func CheckRootURL(text string) (string, error) {
	match := rootURL.FindStringSubmatch(text)
	switch {
	case match == nil:
		return "", fmt.Errorf("grafana root URL %q is not of the form https://host[:port][/path]", text)
	case match[1] == "http" && !loopback.MatchString(match[2]):
		return "", fmt.Errorf("grafana root URL %q must begin with https:// (http:// is accepted for localhost)", text)
	}
	return strings.TrimRight(text, "/"), nil
}

// Origin is the scheme, host and port of a checked root URL.
func Origin(root string) string {
	match := rootURL.FindStringSubmatch(root)
	if match == nil {
		return ""
	}
	return match[1] + "://" + match[2] + match[4]
}

// pair is one setting of a section, in Grafana's snake_case.
type pair struct{ key, value string }

// oauthPairs are the settings of [auth.generic_oauth] in the order in which they
// are written. The client secret is not among them.
func (s Settings) oauthPairs() []pair {
	pairs := []pair{
		{"enabled", "true"},
		{"name", s.Name},
		{"client_id", s.ClientID},
		// The client's registered method, named rather than detected: detection
		// costs a refused request, and a refused request may burn the code.
		{"auth_style", "InHeader"},
		{"scopes", strings.Join(s.Scopes, " ")},
		{"auth_url", s.AuthURL},
		{"token_url", s.TokenURL},
		{"api_url", s.APIURL},
		{"signout_redirect_url", s.SignoutRedirectURL},
		{"use_pkce", "true"},
		{"use_refresh_token", "true"},
		{"allow_sign_up", "true"},
		{"login_attribute_path", "email"},
		{"email_attribute_path", "email"},
		{"name_attribute_path", "name"},
		{"role_attribute_path", s.RoleAttributePath},
		{"role_attribute_strict", "true"},
		{"skip_org_role_sync", "false"},
		{"allow_assign_grafana_admin", strconv.FormatBool(s.AllowAssignGrafanaAdmin)},
	}
	if s.TLSClientCA != "" {
		pairs = append(pairs, pair{"tls_client_ca", s.TLSClientCA})
	}
	return pairs
}
