package v1

import (
	"strings"
)

// Auth0UserSpec is one user of a database connection. There is no password
// field: a user is created with a random password that nobody sees, and sets
// their own through a ticket.
type Auth0UserSpec struct {
	// Connection is the name of the connection that holds the user.
	Connection string `json:"connection" tenon:"required;immutable"`
	// Email identifies the user within the connection. Auth0 stores it in lower
	// case.
	Email string `json:"email" tenon:"required;immutable"`
	// Username is for connections whose users have one.
	Username *string `json:"username,omitzero" tenon:"minLength=1;maxLength=128"`
	// Name is the full name.
	Name *string `json:"name,omitzero" tenon:"minLength=1;maxLength=300"`
	// GivenName is the first name.
	GivenName *string `json:"given_name,omitzero" tenon:"minLength=1;maxLength=150"`
	// FamilyName is the last name.
	FamilyName *string `json:"family_name,omitzero" tenon:"minLength=1;maxLength=150"`
	// Nickname is what the user is called.
	Nickname *string `json:"nickname,omitzero" tenon:"minLength=1;maxLength=300"`
	// Picture is the URL of a portrait.
	Picture *string `json:"picture,omitzero"`
	// Blocked keeps the user from logging in.
	Blocked *bool `json:"blocked,omitzero"`
	// EmailVerified is usually left to the verification ticket.
	EmailVerified *bool `json:"email_verified,omitzero"`
	// UserMetadata is what the user may change. It is merged on the first level: keys
	// that are not listed are left alone.
	UserMetadata map[string]any `json:"user_metadata,omitzero"`
	// AppMetadata is what the user may not change. It is merged on the first level:
	// keys that are not listed are left alone.
	AppMetadata map[string]any `json:"app_metadata,omitzero"`
	// Roles is complete: roles that it does not list are taken away. Each is a role's
	// id or name, or a reference that defaults to Auth0Role and its output id.
	Roles []StringOrRef `json:"roles,omitzero" tenon:"maxItems=50;ref=Auth0Role.id"`
}

// Kind implements Spec.
func (*Auth0UserSpec) Kind() string { return KindUser }

// References implements Spec. The connection is named; engines order the user
// after a connection of the same plan.
func (s *Auth0UserSpec) References() []Reference {
	return references("spec.roles", KindRole, "id", s.Roles)
}

// Validate implements Spec.
func (s *Auth0UserSpec) Validate() []Problem { return validate(s) }

func (s *Auth0UserSpec) check(p *problems) {
	if s.Connection != "" {
		p.connectionName("spec.connection", s.Connection)
	}
	if s.Email != "" {
		p.email("spec.email", s.Email)
	}
	p.absoluteURLOrEmpty("spec.picture", s.Picture)
	for _, key := range sortedKeys(s.AppMetadata) {
		if strings.HasPrefix(key, reservedPrefix) {
			p.add("spec.app_metadata."+key, "keys that begin with %q are Tenon's own", reservedPrefix)
		}
	}
}
