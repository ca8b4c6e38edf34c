package workflows

import (
	"go.temporal.io/sdk/temporal"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// part is a resource of a run. An optional one may be missing from the tenant's
// plan: Auth0's answer "not in your subscription" is then a warning of the
// result and not a failure.
type part struct {
	resource v1.Resource
	title    string
	optional bool
}

func ptr[T any](v T) *T { return &v }

// tenantParts is what tenant setup makes. The tenant itself is cut into parts,
// so that what its subscription lacks fails alone.
func tenantParts(in TenantSetupInput) []part {
	tenant := func(name string, spec v1.Auth0TenantSpec) v1.Resource {
		spec.Domain = in.Tenant
		return v1.New(name, &spec)
	}
	parts := []part{
		{title: "Tenant settings", resource: tenant("settings", v1.Auth0TenantSpec{Settings: &v1.TenantSettings{
			FriendlyName:        ptr(in.FriendlyName),
			SessionLifetime:     ptr(in.SessionLifetimeHours),
			IdleSessionLifetime: ptr(in.IdleSessionLifetimeHours),
			EnabledLocales:      in.Locales,
			OIDCLogout:          &v1.OIDCLogout{EndSessionEndpointDiscovery: ptr(true)},
		}})},
		{title: "Multi-factor authentication", resource: tenant("mfa", v1.Auth0TenantSpec{MFA: &v1.TenantMFA{
			Factors: map[string]bool{"otp": true, "recovery-code": true},
			Policy:  ptr(in.MFAPolicy),
		}})},
		{title: "WebAuthn factors", optional: true, resource: tenant("webauthn", v1.Auth0TenantSpec{MFA: &v1.TenantMFA{
			Factors: map[string]bool{"webauthn-roaming": true, "webauthn-platform": true},
		}})},
		{title: "Brute-force protection", resource: tenant("brute-force", v1.Auth0TenantSpec{AttackProtection: &v1.AttackProtection{
			BruteForce: &v1.BruteForceProtection{
				Enabled: ptr(true), Shields: []string{"block", "user_notification"},
				Mode: ptr("count_per_identifier_and_ip"), MaxAttempts: ptr(10),
			},
		}})},
		{title: "Breached-password detection", optional: true, resource: tenant("breached-password", v1.Auth0TenantSpec{AttackProtection: &v1.AttackProtection{
			BreachedPassword: &v1.BreachedPasswordDetection{
				Enabled: ptr(true), Shields: []string{"block", "user_notification"}, Method: ptr("standard"),
			},
		}})},
		{title: "Suspicious-IP throttling", optional: true, resource: tenant("suspicious-ip", v1.Auth0TenantSpec{AttackProtection: &v1.AttackProtection{
			SuspiciousIP: &v1.SuspiciousIPThrottling{Enabled: ptr(true), Shields: []string{"block", "admin_notification"}},
		}})},
		{title: "User database " + in.Connection.Name, resource: v1.New(in.Connection.Name, &v1.Auth0ConnectionSpec{
			Strategy: "auth0",
			DatabaseOptions: &v1.DatabaseOptions{
				PasswordPolicy:         ptr(in.Connection.PasswordPolicy),
				PasswordMinLength:      ptr(in.Connection.PasswordMinLength),
				PasswordHistorySize:    ptr(in.Connection.PasswordHistorySize),
				PasswordNoPersonalInfo: ptr(true),
				PasswordDictionary:     ptr(true),
				BruteForceProtection:   ptr(true),
				DisableSignup:          ptr(!in.Connection.AllowSignup),
			},
		})},
		{title: "API " + in.API.Identifier, resource: v1.New("temporal", &v1.Auth0ResourceServerSpec{
			Identifier:      in.API.Identifier,
			Name:            ptr(in.API.Name),
			SigningAlg:      ptr("RS256"),
			TokenLifetime:   ptr(in.API.TokenLifetimeSeconds),
			EnforcePolicies: ptr(true),
			// With authz, so that tokens carry the permissions that the cluster reads.
			TokenDialect: ptr("access_token_authz"),
			Scopes:       apiScopes(in.API.Namespaces),
		})},
	}
	for _, r := range in.Roles {
		permissions := make([]v1.Permission, len(r.Permissions))
		for i, name := range r.Permissions {
			permissions[i] = v1.Permission{Name: name, ResourceServerIdentifier: in.API.Identifier}
		}
		spec := &v1.Auth0RoleSpec{Permissions: permissions}
		if r.Description != "" {
			spec.Description = ptr(r.Description)
		}
		parts = append(parts, part{title: "Role " + r.Name, resource: v1.New(r.Name, spec)})
	}
	return parts
}

// apiScopes are the permissions that the cluster's claim mapper understands:
// "<namespace>:<role>". The names read and write are those of stock Temporal
// servers, which Tenon reads as reader and client.
func apiScopes(namespaces []string) []v1.Scope {
	var scopes []v1.Scope
	for _, ns := range namespaces {
		scopes = append(scopes,
			v1.Scope{Name: ns + ":reader", Description: "Describe, list, count and query workflows in " + ns},
			v1.Scope{Name: ns + ":client", Description: "Start, signal, update and cancel workflows in " + ns},
			v1.Scope{Name: ns + ":worker", Description: "Poll for and complete tasks in " + ns},
			v1.Scope{Name: ns + ":operator", Description: "Terminate, reset and delete workflows in " + ns},
			v1.Scope{Name: ns + ":admin", Description: "Administer " + ns},
			v1.Scope{Name: ns + ":read", Description: "The stock server's name of " + ns + ":reader"},
			v1.Scope{Name: ns + ":write", Description: "The stock server's name of " + ns + ":client"},
		)
	}
	return append(scopes, v1.Scope{Name: "temporal-system:admin", Description: "Administer the whole cluster"})
}

// webApp is the resource that the input describes.
func (in WebAppInput) webApp() v1.Resource {
	connections := make([]v1.StringOrRef, len(in.Connections))
	for i, name := range in.Connections {
		connections[i] = v1.Value(name)
	}
	return v1.New(in.Name, &v1.WebAppSpec{
		URL: in.URL, Callbacks: in.Callbacks, LogoutURLs: in.LogoutURLs, WebOrigins: in.WebOrigins,
		Connections: connections, RolesClaim: ptr(in.RolesClaim),
	})
}

// webAppParts is what web app registration makes: what a WebApp in a manifest
// becomes, too.
func webAppParts(in WebAppInput) ([]part, error) {
	resources, err := v1.Expand([]v1.Resource{in.webApp()})
	if err != nil {
		return nil, temporal.NewNonRetryableApplicationError(err.Error(), ErrorInvalidInput, nil)
	}
	parts := make([]part, len(resources))
	for i, r := range resources {
		parts[i] = part{resource: r, title: "Client " + in.Name}
		if r.Kind == v1.KindAction {
			parts[i].title = "Claims action"
		}
	}
	return parts, nil
}

// userResource is the user. Roles are assigned in a step of their own, so that
// the user without roles comes first and a failure in between is known as such.
func userResource(in UserInput, withRoles bool) v1.Resource {
	spec := &v1.Auth0UserSpec{Connection: in.Connection, Email: in.Email}
	for _, f := range []struct {
		to    **string
		value string
	}{{&spec.Name, in.Name}, {&spec.GivenName, in.GivenName}, {&spec.FamilyName, in.FamilyName}} {
		if f.value != "" {
			*f.to = ptr(f.value)
		}
	}
	if withRoles {
		spec.Roles = []v1.StringOrRef{} // explicit: an empty list takes all roles away
		for _, name := range in.Roles {
			spec.Roles = append(spec.Roles, v1.Value(name))
		}
	}
	return v1.New(in.Email, spec)
}
