package v1

import (
	"regexp"
)

// Auth0ConnectionSpec is a source of users. Its name in Auth0 is metadata.name
// and cannot be changed; deleting a connection deletes its users.
//
// Field names are those that manifests of the OpenMCF kind of the same name use.
// Outputs: id, name, strategy.
type Auth0ConnectionSpec struct {
	// Strategy is auth0: a database of users and passwords.
	Strategy    string  `json:"strategy"`
	DisplayName *string `json:"display_name,omitzero"`
	// EnabledClients are the clients whose users may log in through this
	// connection, by client_id or by a reference that defaults to Auth0Client and
	// its output client_id. The list is complete: clients that it does not name are
	// disabled. Leave it out, and name the connection in the clients'
	// enabled_connections, if the clients belong to others.
	EnabledClients     []StringOrRef `json:"enabled_clients,omitzero"`
	IsDomainConnection *bool         `json:"is_domain_connection,omitzero"`
	Realms             []string      `json:"realms,omitzero"`
	ShowAsButton       *bool         `json:"show_as_button,omitzero"`
	// Metadata holds at most 9 pairs (Auth0 allows 10, and one is Tenon's); keys that
	// are not listed are left alone.
	Metadata        map[string]string `json:"metadata,omitzero"`
	DatabaseOptions *DatabaseOptions  `json:"database_options,omitzero"`
}

// DatabaseOptions are the options of a database connection.
type DatabaseOptions struct {
	// PasswordPolicy is none, low, fair, good or excellent.
	PasswordPolicy *string `json:"password_policy,omitzero"`
	// PasswordMinLength is between 1 and 128 characters.
	PasswordMinLength    *int  `json:"password_min_length,omitzero"`
	RequiresUsername     *bool `json:"requires_username,omitzero"`
	DisableSignup        *bool `json:"disable_signup,omitzero"`
	BruteForceProtection *bool `json:"brute_force_protection,omitzero"`
	// PasswordHistorySize is how many passwords may not be used again, up to 24; 0
	// switches the check off.
	PasswordHistorySize *int `json:"password_history_size,omitzero"`
	// PasswordNoPersonalInfo refuses passwords that contain the user's own data.
	PasswordNoPersonalInfo *bool `json:"password_no_personal_info,omitzero"`
	// PasswordDictionary refuses common passwords.
	PasswordDictionary *bool `json:"password_dictionary,omitzero"`
	MFAEnabled         *bool `json:"mfa_enabled,omitzero"`
}

// Kind implements Spec.
func (*Auth0ConnectionSpec) Kind() string { return KindConnection }

// References implements Spec.
func (s *Auth0ConnectionSpec) References() []Reference {
	return references("spec.enabled_clients", KindClient, "client_id", s.EnabledClients)
}

var connectionNamePattern = regexp.MustCompile(`^[a-zA-Z0-9](-[a-zA-Z0-9]|[a-zA-Z0-9])*$`)

func (*Auth0ConnectionSpec) validateName(name string) []Problem {
	var p problems
	p.connectionName("metadata.name", name)
	return p
}

func (p *problems) connectionName(path, name string) {
	if len(name) > 128 || !connectionNamePattern.MatchString(name) {
		p.add(path, "must have at most 128 letters, digits and single hyphens, and begin and end with a letter or digit")
	}
}

// Validate implements Spec.
func (s *Auth0ConnectionSpec) Validate() []Problem {
	var p problems
	if p.required("spec.strategy", s.Strategy) && s.Strategy != "auth0" {
		p.add("spec.strategy", "is %q; connections of strategy auth0 (database) are managed", s.Strategy)
	}
	p.lengthPtr("spec.display_name", s.DisplayName, 0, 128)
	p.each("spec.realms", s.Realms, p.notEmpty)
	p.pairs("spec.metadata", s.Metadata, 9)
	p.refs("spec.enabled_clients", s.EnabledClients)
	if o := s.DatabaseOptions; o != nil {
		p.oneOfPtr("spec.database_options.password_policy", o.PasswordPolicy, "none", "low", "fair", "good", "excellent", "")
		between(&p, "spec.database_options.password_min_length", o.PasswordMinLength, 1, 128)
		between(&p, "spec.database_options.password_history_size", o.PasswordHistorySize, 0, 24)
	}
	return p
}
