package v1

import (
	"fmt"
	"strings"
)

// Auth0ResourceServerSpec is an API.
//
// Field names are those that manifests of the OpenMCF kind of the same name use.
type Auth0ResourceServerSpec struct {
	// Identifier is the audience of the API's tokens. It cannot be changed.
	Identifier string `json:"identifier" tenon:"required;immutable"`
	// Name is what Auth0 shows. It must not contain < or >.
	Name *string `json:"name,omitzero" tenon:"default=metadata.name"`
	// SigningAlg is how access tokens are signed.
	SigningAlg *string `json:"signing_alg,omitzero" tenon:"enum=RS256|RS512|PS256|HS256|"`
	// AllowOfflineAccess lets clients ask for refresh tokens.
	AllowOfflineAccess *bool `json:"allow_offline_access,omitzero"`
	// SkipConsentForVerifiableFirstParty spares the users of your own applications
	// the consent page.
	SkipConsentForVerifiableFirstParty *bool `json:"skip_consent_for_verifiable_first_party_clients,omitzero"`
	// TokenLifetime of access tokens, in seconds.
	TokenLifetime *int `json:"token_lifetime,omitzero" tenon:"min=0;max=2592000"`
	// TokenLifetimeForWeb is that of tokens obtained by implicit or hybrid flows, in
	// seconds. It must not be above TokenLifetime.
	TokenLifetimeForWeb *int `json:"token_lifetime_for_web,omitzero" tenon:"min=0;max=2592000"`
	// EnforcePolicies switches RBAC on: tokens carry only what roles and
	// permissions grant.
	EnforcePolicies *bool `json:"enforce_policies,omitzero"`
	// TokenDialect is the form of access tokens; those with authz carry permissions.
	TokenDialect *string `json:"token_dialect,omitzero" tenon:"enum=access_token|access_token_authz|rfc9068_profile|rfc9068_profile_authz|"`
	// Scopes is complete: scopes that it does not list are removed.
	Scopes []Scope `json:"scopes,omitzero"`
}

// Scope is one permission of an API.
type Scope struct {
	// Name has at most 280 characters, without white space.
	Name string `json:"name" tenon:"required"`
	// Description has at most 500 characters.
	Description string `json:"description,omitempty"`
}

// Kind implements Spec.
func (*Auth0ResourceServerSpec) Kind() string { return KindResourceServer }

// References implements Spec. An API refers to nothing.
func (*Auth0ResourceServerSpec) References() []Reference { return nil }

// Validate implements Spec.
func (s *Auth0ResourceServerSpec) Validate() []Problem { return validate(s) }

func (s *Auth0ResourceServerSpec) check(p *problems) { s.checkAt(p, "spec") }

// checkAt checks an API that is written at path.
func (s *Auth0ResourceServerSpec) checkAt(p *problems, path string) {
	if s.Identifier != "" {
		p.length(path+".identifier", s.Identifier, 1, 600)
	}
	if s.Name != nil {
		p.length(path+".name", *s.Name, 1, 200)
		if strings.ContainsAny(*s.Name, "<>") {
			p.limit(path+".name", "must not contain < or >")
		}
	}
	if t, w := s.TokenLifetime, s.TokenLifetimeForWeb; t != nil && w != nil && *t > 0 && *w > *t {
		p.warn(path+".token_lifetime_for_web", "is %d, which is above token_lifetime, %d: expect Auth0 to refuse this", *w, *t)
	}
	if valueOf(s.EnforcePolicies) && s.TokenDialect != nil && !strings.HasSuffix(*s.TokenDialect, "_authz") {
		p.warn(path+".token_dialect", "is %q: permissions are enforced, and tokens of this dialect do not carry them", *s.TokenDialect)
	}
	if len(s.Scopes) > 1000 {
		p.limit(path+".scopes", "has %d items, Auth0 allows 1000", len(s.Scopes))
	}
	names := make([]string, len(s.Scopes))
	for i, scope := range s.Scopes {
		names[i] = scope.Name
		p.length(fmt.Sprintf("%s.scopes[%d].description", path, i), scope.Description, 0, 500)
	}
	p.each(path+".scopes", names, func(at, v string) {
		if v == "" {
			return
		}
		p.length(at+".name", v, 1, 280)
		if strings.ContainsAny(v, " \t\n") {
			p.limit(at+".name", "must not contain white space")
		}
	})
}
