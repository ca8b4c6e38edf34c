package workflows

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/grafana"
)

// TenantSetupInput is the input of Auth0TenantSetupWorkflow. Every field but
// Tenant may be left out.
type TenantSetupInput struct {
	// Tenant is the domain of a tenant that the worker has credentials for, with a
	// port if it has one: "acme.eu.auth0.com".
	Tenant string `json:"tenant"`
	// Engine makes the changes. Defaults to "direct".
	Engine string `json:"engine,omitempty"`
	// FriendlyName is what login pages call the tenant. Defaults to the first label
	// of the domain.
	FriendlyName string `json:"friendlyName,omitempty"`
	// SessionLifetimeHours and IdleSessionLifetimeHours bound a login session.
	// They default to 24 and 8.
	SessionLifetimeHours     float64 `json:"sessionLifetimeHours,omitempty"`
	IdleSessionLifetimeHours float64 `json:"idleSessionLifetimeHours,omitempty"`
	// Locales are the languages of the login pages; the first is the default.
	// Defaults to en.
	Locales []string `json:"locales,omitempty"`
	// MFAPolicy is never, always or adaptive. Defaults to always.
	MFAPolicy string `json:"mfaPolicy,omitempty"`
	// Connection is the database that holds the users.
	Connection ConnectionInput `json:"connection,omitzero"`
	// API is the API that tokens for the Temporal cluster are issued for.
	API APIInput `json:"api,omitzero"`
	// Roles are made besides what the tenant has. They default to admin, editor and
	// viewer, with the permissions admin, client and reader in every namespace.
	Roles []RoleInput `json:"roles,omitempty"`
}

// ConnectionInput is a database connection.
type ConnectionInput struct {
	// Name defaults to Tenon-Users.
	Name string `json:"name,omitempty"`
	// PasswordPolicy is good or excellent. Defaults to excellent: at least three
	// kinds of characters, none more than twice in a row.
	PasswordPolicy string `json:"passwordPolicy,omitempty"`
	// PasswordMinLength is between 12 and 128. Defaults to 14.
	PasswordMinLength int `json:"passwordMinLength,omitempty"`
	// PasswordHistorySize is how many old passwords are refused, up to 24. Defaults
	// to 5.
	PasswordHistorySize int `json:"passwordHistorySize,omitempty"`
	// AllowSignup lets anybody make an account. Defaults to false.
	AllowSignup bool `json:"allowSignup,omitempty"`
}

// APIInput is the API whose permissions the cluster understands.
type APIInput struct {
	// Identifier is the audience of its tokens. Defaults to https://temporal.
	Identifier string `json:"identifier,omitempty"`
	// Name defaults to Temporal.
	Name string `json:"name,omitempty"`
	// Namespaces of the cluster that permissions are made for. Defaults to default.
	Namespaces []string `json:"namespaces,omitempty"`
	// TokenLifetimeSeconds defaults to 3600.
	TokenLifetimeSeconds int `json:"tokenLifetimeSeconds,omitempty"`
}

// RoleInput is a role and its permissions of the API.
type RoleInput struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Permissions are "<namespace>:<role>", such as default:reader.
	Permissions []string `json:"permissions,omitempty"`
}

// WebAppInput is the input of WebAppRegistrationWorkflow.
type WebAppInput struct {
	// Tenant and Engine are as in TenantSetupInput.
	Tenant string `json:"tenant"`
	Engine string `json:"engine,omitempty"`
	// Name of the application: the client's in Auth0 and the folder's of its
	// settings. Required; letters, digits, spaces, dots, dashes and underscores.
	Name string `json:"name"`
	// URL is where people reach the application, for Grafana its root_url. Required.
	// https, or http on loopback.
	URL string `json:"url"`
	// Callbacks, LogoutURLs and WebOrigins default to those of a Grafana at URL.
	Callbacks  []string `json:"callbacks,omitempty"`
	LogoutURLs []string `json:"logoutURLs,omitempty"`
	WebOrigins []string `json:"webOrigins,omitempty"`
	// Connections whose users may log in. Defaults to Tenon-Users.
	Connections []string `json:"connections,omitempty"`
	// RolesClaim is the ID token's claim with the user's roles. Defaults to
	// https://tenon.dev/roles.
	RolesClaim string `json:"rolesClaim,omitempty"`
	// Roles maps roles in Auth0 to roles in Grafana; the first match wins, and who
	// has none is refused. Defaults to admin, editor and viewer.
	Roles []grafana.RoleMapping `json:"roles,omitempty"`
	// Push sends the settings to the Grafana at URL through its API, beside writing
	// the files. The worker must be configured with a token for exactly that URL.
	Push bool `json:"push,omitempty"`
}

// UserInput is the input of UserRegistrationWorkflow.
type UserInput struct {
	// Tenant and Engine are as in TenantSetupInput.
	Tenant string `json:"tenant"`
	Engine string `json:"engine,omitempty"`
	// Connection holds the user. Defaults to Tenon-Users.
	Connection string `json:"connection,omitempty"`
	// Email identifies the user in the connection. Required.
	Email      string `json:"email"`
	Name       string `json:"name,omitempty"`
	GivenName  string `json:"givenName,omitempty"`
	FamilyName string `json:"familyName,omitempty"`
	// Roles, by name, are what the user has afterwards: no more, no less. Left out,
	// the user's roles are left alone.
	Roles []string `json:"roles,omitzero"`
	// SkipVerification, SkipPassword and SkipMFA leave out the ticket that verifies
	// the address, that sets the password, and that enrols a second factor.
	SkipVerification bool `json:"skipVerification,omitempty"`
	SkipPassword     bool `json:"skipPassword,omitempty"`
	SkipMFA          bool `json:"skipMFA,omitempty"`
	// TicketTTLSeconds is how long the first two tickets work. Defaults to 86400, a
	// day.
	TicketTTLSeconds int `json:"ticketTTLSeconds,omitempty"`
	// ResultURL is where the user ends up after a ticket. Defaults to Auth0's own
	// page.
	ResultURL string `json:"resultURL,omitempty"`
}

// OnboardingInput is the input of OnboardingWorkflow.
type OnboardingInput struct {
	// Tenant and Engine apply to all three parts.
	Tenant string `json:"tenant"`
	Engine string `json:"engine,omitempty"`
	// Setup, App and User leave tenant and engine out, or repeat them. App and User
	// default to the connection and roles of Setup.
	Setup TenantSetupInput `json:"setup,omitzero"`
	App   WebAppInput      `json:"app"`
	User  UserInput        `json:"user"`
}

// The defaults that several inputs share.
const (
	DefaultEngine     = "direct"
	DefaultConnection = "Tenon-Users"
	DefaultAPI        = "https://temporal"
)

// orDefault is value, or fallback for the zero value.
func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// WithDefaults returns the input with everything that was left out filled in.
func (in TenantSetupInput) WithDefaults() TenantSetupInput {
	in.Engine = orDefault(in.Engine, DefaultEngine)
	label, _, _ := strings.Cut(in.Tenant, ".")
	label, _, _ = strings.Cut(label, ":")
	in.FriendlyName = orDefault(in.FriendlyName, label)
	in.SessionLifetimeHours = orDefault(in.SessionLifetimeHours, 24)
	in.IdleSessionLifetimeHours = orDefault(in.IdleSessionLifetimeHours, 8)
	if in.Locales == nil {
		in.Locales = []string{"en"}
	}
	in.MFAPolicy = orDefault(in.MFAPolicy, "always")
	c := &in.Connection
	c.Name = orDefault(c.Name, DefaultConnection)
	c.PasswordPolicy = orDefault(c.PasswordPolicy, "excellent")
	c.PasswordMinLength = orDefault(c.PasswordMinLength, 14)
	c.PasswordHistorySize = orDefault(c.PasswordHistorySize, 5)
	a := &in.API
	a.Identifier = orDefault(a.Identifier, DefaultAPI)
	a.Name = orDefault(a.Name, "Temporal")
	if a.Namespaces == nil {
		a.Namespaces = []string{"default"}
	}
	a.TokenLifetimeSeconds = orDefault(a.TokenLifetimeSeconds, 3600)
	if in.Roles == nil {
		in.Roles = defaultRoles(a.Namespaces)
	}
	return in
}

func defaultRoles(namespaces []string) []RoleInput {
	in := func(role string) []string {
		permissions := make([]string, len(namespaces))
		for i, ns := range namespaces {
			permissions[i] = ns + ":" + role
		}
		return permissions
	}
	return []RoleInput{
		{Name: "admin", Description: "Administers applications and workflows", Permissions: in("admin")},
		{Name: "editor", Description: "Changes dashboards and starts workflows", Permissions: in("client")},
		{Name: "viewer", Description: "Reads dashboards and workflows", Permissions: in("reader")},
	}
}

// WithDefaults returns the input with everything that was left out filled in.
func (in WebAppInput) WithDefaults() WebAppInput {
	in.Engine = orDefault(in.Engine, DefaultEngine)
	if root, err := grafana.CheckRootURL(in.URL); err == nil {
		in.URL = root
		if in.Callbacks == nil {
			in.Callbacks = []string{root + grafana.CallbackPath}
		}
		if in.LogoutURLs == nil {
			in.LogoutURLs = []string{root + "/login"}
		}
		if in.WebOrigins == nil {
			in.WebOrigins = []string{grafana.Origin(root)}
		}
	}
	if in.Connections == nil {
		in.Connections = []string{DefaultConnection}
	}
	in.RolesClaim = orDefault(in.RolesClaim, grafana.DefaultRolesClaim)
	if in.Roles == nil {
		in.Roles = grafana.DefaultRoles()
	}
	return in
}

// WithDefaults returns the input with everything that was left out filled in.
func (in UserInput) WithDefaults() UserInput {
	in.Engine = orDefault(in.Engine, DefaultEngine)
	in.Connection = orDefault(in.Connection, DefaultConnection)
	in.TicketTTLSeconds = orDefault(in.TicketTTLSeconds, 86_400)
	return in
}

// WithDefaults returns the input with everything that was left out filled in,
// that of the three parts included.
func (in OnboardingInput) WithDefaults() OnboardingInput {
	in.Engine = orDefault(in.Engine, DefaultEngine)
	in.Setup.Tenant, in.Setup.Engine = orDefault(in.Setup.Tenant, in.Tenant), orDefault(in.Setup.Engine, in.Engine)
	in.Setup = in.Setup.WithDefaults()
	in.App.Tenant, in.App.Engine = orDefault(in.App.Tenant, in.Tenant), orDefault(in.App.Engine, in.Engine)
	if in.App.Connections == nil {
		in.App.Connections = []string{in.Setup.Connection.Name}
	}
	in.App = in.App.WithDefaults()
	in.User.Tenant, in.User.Engine = orDefault(in.User.Tenant, in.Tenant), orDefault(in.User.Engine, in.Engine)
	in.User.Connection = orDefault(in.User.Connection, in.Setup.Connection.Name)
	in.User = in.User.WithDefaults()
	return in
}

// Inputs are checked by expressions alone: this is workflow code, and how the
// standard library's parsers take an odd text changes with the version of Go.
var (
	emailAddress   = regexp.MustCompile("^[a-zA-Z0-9.!#$%&'*+=?^_`{|}~-]+@[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)+$")
	httpsURL       = regexp.MustCompile(`^https://[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]{1,5})?(/[^\s"\\<>]*)?$`)
	tenantDomain   = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)
	connectionName = regexp.MustCompile(`^[a-zA-Z0-9](-[a-zA-Z0-9]|[a-zA-Z0-9])*$`)
)

// problems collects what is wrong with an input, by the path of the field.
type problems []v1.Problem

func (p *problems) add(path, format string, args ...any) {
	*p = append(*p, v1.Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (p *problems) tenant(domain string) {
	if domain == "" {
		p.add("tenant", "is required")
	} else if !tenantDomain.MatchString(domain) {
		p.add("tenant", "is %q, must be a domain in lower case without scheme or path, such as acme.eu.auth0.com", domain)
	}
}

func (p *problems) connection(path, name string) {
	if len(name) > 128 || !connectionName.MatchString(name) {
		p.add(path, "is %q, must be letters, digits and single hyphens, at most 128", name)
	}
}

func (p *problems) within(path string, value, low, high int) {
	if value < low || value > high {
		p.add(path, "is %d, must be between %d and %d", value, low, high)
	}
}

// below adds the problems of a part.
func (p *problems) below(path string, part []v1.Problem) {
	for _, q := range part {
		*p = append(*p, v1.Problem{Path: path + "." + q.Path, Message: q.Message})
	}
}

// Validate reports every problem of an input whose defaults are filled in. What
// only the resource language knows (locales, for example) is checked when the
// resources are planned.
func (in TenantSetupInput) Validate() []v1.Problem {
	var p problems
	p.tenant(in.Tenant)
	if in.SessionLifetimeHours < 1 {
		p.add("sessionLifetimeHours", "is %v, must be at least 1", in.SessionLifetimeHours)
	}
	if in.IdleSessionLifetimeHours < 1 || in.IdleSessionLifetimeHours > in.SessionLifetimeHours {
		p.add("idleSessionLifetimeHours", "is %v, must be at least 1 and at most sessionLifetimeHours", in.IdleSessionLifetimeHours)
	}
	if !slices.Contains([]string{"never", "always", "adaptive"}, in.MFAPolicy) {
		p.add("mfaPolicy", "is %q, must be never, always or adaptive", in.MFAPolicy)
	}
	p.connection("connection.name", in.Connection.Name)
	if !slices.Contains([]string{"good", "excellent"}, in.Connection.PasswordPolicy) {
		p.add("connection.passwordPolicy", "is %q, must be good or excellent", in.Connection.PasswordPolicy)
	}
	p.within("connection.passwordMinLength", in.Connection.PasswordMinLength, 12, 128)
	p.within("connection.passwordHistorySize", in.Connection.PasswordHistorySize, 0, 24)
	p.within("api.tokenLifetimeSeconds", in.API.TokenLifetimeSeconds, 60, 86_400)
	for i, ns := range in.API.Namespaces {
		if ns == "" || strings.ContainsAny(ns, " \t\r\n") {
			p.add(fmt.Sprintf("api.namespaces[%d]", i), "must be the name of a namespace")
		}
	}
	known := apiScopes(in.API.Namespaces)
	for i, r := range in.Roles {
		at := fmt.Sprintf("roles[%d]", i)
		if r.Name == "" || strings.ContainsAny(r.Name, "/\t\r\n") {
			p.add(at+".name", "must be a name without slashes and control characters")
		}
		if slices.ContainsFunc(in.Roles[:i], func(o RoleInput) bool { return strings.EqualFold(o.Name, r.Name) }) {
			p.add(at+".name", "repeats the role %q", r.Name)
		}
		for j, permission := range r.Permissions {
			if !slices.ContainsFunc(known, func(s v1.Scope) bool { return s.Name == permission }) {
				p.add(fmt.Sprintf("%s.permissions[%d]", at, j), "is %q, which is not a permission of the API", permission)
			}
		}
	}
	return p
}

// Validate reports every problem of an input whose defaults are filled in.
func (in WebAppInput) Validate() []v1.Problem {
	var p problems
	p.tenant(in.Tenant)
	if _, err := grafana.FolderName(in.Name); err != nil {
		p.add("name", "%v", err)
	}
	if _, err := grafana.CheckRootURL(in.URL); err != nil {
		p.add("url", "%v", err)
	} else if !slices.Contains(in.Callbacks, in.URL+grafana.CallbackPath) {
		p.add("callbacks", "must contain %s, where grafana receives the code", in.URL+grafana.CallbackPath)
	}
	if len(in.Connections) == 0 {
		p.add("connections", "must name at least one connection: nobody could log in")
	}
	for i, c := range in.Connections {
		p.connection(fmt.Sprintf("connections[%d]", i), c)
	}
	if !httpsURL.MatchString(in.RolesClaim) {
		p.add("rolesClaim", "is %q, must be an https URL: Auth0 drops claims without a namespace", in.RolesClaim)
	}
	if _, err := grafana.RolePath(in.RolesClaim, in.Roles); err != nil {
		p.add("roles", "%v", err)
	}
	// Where a code may be sent is as strict here as in a manifest.
	for _, problem := range in.webApp().Spec.Validate() {
		for _, field := range [][2]string{{"spec.callbacks", "callbacks"}, {"spec.logout_urls", "logoutURLs"}, {"spec.web_origins", "webOrigins"}} {
			if rest, ok := strings.CutPrefix(problem.Path, field[0]); ok {
				p.add(field[1]+rest, "%s", problem.Message)
			}
		}
	}
	return p
}

// Validate reports every problem of an input whose defaults are filled in.
func (in UserInput) Validate() []v1.Problem {
	var p problems
	p.tenant(in.Tenant)
	p.connection("connection", in.Connection)
	if len(in.Email) > 254 || !emailAddress.MatchString(in.Email) {
		p.add("email", "must be an email address")
	}
	if len(in.Roles) > 50 {
		p.add("roles", "has %d items, Auth0 allows 50 for one user", len(in.Roles))
	}
	for i, r := range in.Roles {
		if r == "" {
			p.add(fmt.Sprintf("roles[%d]", i), "must not be empty")
		}
		if slices.Contains(in.Roles[:i], r) {
			p.add(fmt.Sprintf("roles[%d]", i), "repeats %q", r)
		}
	}
	p.within("ticketTTLSeconds", in.TicketTTLSeconds, 60, 30*86_400)
	if in.ResultURL != "" && !httpsURL.MatchString(in.ResultURL) {
		p.add("resultURL", "must be an absolute https URL")
	}
	return p
}

// Validate reports every problem of an input whose defaults are filled in.
func (in OnboardingInput) Validate() []v1.Problem {
	var p problems
	p.tenant(in.Tenant)
	for _, part := range []struct{ path, tenant, engine string }{
		{"setup", in.Setup.Tenant, in.Setup.Engine}, {"app", in.App.Tenant, in.App.Engine}, {"user", in.User.Tenant, in.User.Engine},
	} {
		if part.tenant != in.Tenant {
			p.add(part.path+".tenant", "is %q, must be that of the onboarding, %q", part.tenant, in.Tenant)
		}
		if part.engine != in.Engine {
			p.add(part.path+".engine", "is %q, must be that of the onboarding, %q", part.engine, in.Engine)
		}
	}
	p.below("setup", in.Setup.Validate())
	p.below("app", in.App.Validate())
	p.below("user", in.User.Validate())
	return p
}
