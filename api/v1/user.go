package v1

import (
	"strings"
)

// Auth0UserSpec is one user of a database connection. There is no password
// field: a user is created with a random password that nobody sees, and sets
// their own through a ticket.
//
// Outputs: id, user_id, email.
type Auth0UserSpec struct {
	// Connection is the name of the connection that holds the user.
	Connection string `json:"connection"`
	// Email identifies the user within the connection. Auth0 stores it in lower
	// case.
	Email      string  `json:"email"`
	Username   *string `json:"username,omitzero"`
	Name       *string `json:"name,omitzero"`
	GivenName  *string `json:"given_name,omitzero"`
	FamilyName *string `json:"family_name,omitzero"`
	Nickname   *string `json:"nickname,omitzero"`
	Picture    *string `json:"picture,omitzero"`
	Blocked    *bool   `json:"blocked,omitzero"`
	// EmailVerified is usually left to the verification ticket.
	EmailVerified *bool `json:"email_verified,omitzero"`
	// UserMetadata and AppMetadata are merged on the first level: keys that are not
	// listed are left alone.
	UserMetadata map[string]any `json:"user_metadata,omitzero"`
	AppMetadata  map[string]any `json:"app_metadata,omitzero"`
	// Roles is complete: roles that it does not list are taken away. Each is a role's
	// id or name, or a reference that defaults to Auth0Role and its output id.
	Roles []StringOrRef `json:"roles,omitzero"`
}

// Kind implements Spec.
func (*Auth0UserSpec) Kind() string { return KindUser }

// References implements Spec. The connection is named; engines order the user
// after a connection of the same plan.
func (s *Auth0UserSpec) References() []Reference {
	return references("spec.roles", KindRole, "id", s.Roles)
}

// Validate implements Spec.
func (s *Auth0UserSpec) Validate() []Problem {
	var p problems
	if p.required("spec.connection", s.Connection) {
		p.connectionName("spec.connection", s.Connection)
	}
	if p.required("spec.email", s.Email) {
		p.email("spec.email", s.Email)
	}
	p.lengthPtr("spec.username", s.Username, 1, 128)
	p.lengthPtr("spec.name", s.Name, 1, 300)
	p.lengthPtr("spec.nickname", s.Nickname, 1, 300)
	p.lengthPtr("spec.given_name", s.GivenName, 1, 150)
	p.lengthPtr("spec.family_name", s.FamilyName, 1, 150)
	p.absoluteURLOrEmpty("spec.picture", s.Picture)
	for _, key := range sortedKeys(s.AppMetadata) {
		if strings.HasPrefix(key, reservedPrefix) {
			p.add("spec.app_metadata."+key, "keys that begin with %q are Tenon's own", reservedPrefix)
		}
	}
	if len(s.Roles) > 50 {
		p.add("spec.roles", "has %d items, at most 50 are allowed", len(s.Roles))
	}
	p.refs("spec.roles", s.Roles)
	return p
}
