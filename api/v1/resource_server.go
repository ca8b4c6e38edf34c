package v1

import (
	"fmt"
	"strings"
)

// Auth0ResourceServerSpec is an API.
//
// Field names are those that manifests of the OpenMCF kind of the same name use.
// Outputs: id, identifier, name, signing_alg.
type Auth0ResourceServerSpec struct {
	// Identifier is the audience of the API's tokens. It cannot be changed.
	Identifier string `json:"identifier"`
	// Name defaults to metadata.name.
	Name *string `json:"name,omitzero"`
	// SigningAlg is RS256, RS512, PS256 or HS256.
	SigningAlg                         *string `json:"signing_alg,omitzero"`
	AllowOfflineAccess                 *bool   `json:"allow_offline_access,omitzero"`
	SkipConsentForVerifiableFirstParty *bool   `json:"skip_consent_for_verifiable_first_party_clients,omitzero"`
	// TokenLifetime and TokenLifetimeForWeb are in seconds, up to 2592000.
	TokenLifetime       *int `json:"token_lifetime,omitzero"`
	TokenLifetimeForWeb *int `json:"token_lifetime_for_web,omitzero"`
	// EnforcePolicies switches RBAC on: tokens carry only what roles and
	// permissions grant.
	EnforcePolicies *bool `json:"enforce_policies,omitzero"`
	// TokenDialect is access_token, access_token_authz, rfc9068_profile or
	// rfc9068_profile_authz; those with authz put permissions into the token.
	TokenDialect *string `json:"token_dialect,omitzero"`
	// Scopes is complete: scopes that it does not list are removed.
	Scopes []Scope `json:"scopes,omitzero"`
}

// Scope is one permission of an API.
type Scope struct {
	// Name has at most 280 characters.
	Name string `json:"name"`
	// Description has at most 500 characters.
	Description string `json:"description,omitempty"`
}

// Kind implements Spec.
func (*Auth0ResourceServerSpec) Kind() string { return KindResourceServer }

// References implements Spec. An API refers to nothing.
func (*Auth0ResourceServerSpec) References() []Reference { return nil }

// Validate implements Spec.
func (s *Auth0ResourceServerSpec) Validate() []Problem {
	var p problems
	if p.required("spec.identifier", s.Identifier) {
		p.length("spec.identifier", s.Identifier, 1, 600)
	}
	if s.Name != nil {
		p.length("spec.name", *s.Name, 1, 200)
		if strings.ContainsAny(*s.Name, "<>") {
			p.add("spec.name", "must not contain < or >")
		}
	}
	p.oneOfPtr("spec.signing_alg", s.SigningAlg, "RS256", "HS256", "RS512", "PS256", "")
	between(&p, "spec.token_lifetime", s.TokenLifetime, 0, 2_592_000)
	between(&p, "spec.token_lifetime_for_web", s.TokenLifetimeForWeb, 0, 2_592_000)
	p.oneOfPtr("spec.token_dialect", s.TokenDialect, "access_token", "access_token_authz", "rfc9068_profile", "rfc9068_profile_authz", "")
	if len(s.Scopes) > 1000 {
		p.add("spec.scopes", "has %d items, at most 1000 are allowed", len(s.Scopes))
	}
	names := make([]string, len(s.Scopes))
	for i, scope := range s.Scopes {
		names[i] = scope.Name
		p.length(fmt.Sprintf("spec.scopes[%d].description", i), scope.Description, 0, 500)
	}
	p.each("spec.scopes", names, func(at, v string) {
		p.length(at+".name", v, 1, 280)
		if strings.ContainsAny(v, " \t\n") {
			p.add(at+".name", "must not contain white space")
		}
	})
	return p
}
