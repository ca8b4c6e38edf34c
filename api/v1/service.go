package v1

// ServiceSpec is a program that calls an API in its own name. It stands for a
// client that authenticates itself (Auth0Client of the same name, client
// credentials grant), the API that it calls (Auth0ResourceServer of the same
// name, unless the API is somebody else's), and the grant between them
// (Auth0ClientGrant of the same name).
type ServiceSpec struct {
	// Description has at most 140 characters.
	Description *string `json:"description,omitzero" tenon:"maxLength=140"`
	// API is the API that the service calls, made along with it. Give this or
	// audience.
	API *ServiceAPI `json:"api,omitzero"`
	// Audience is the API that the service calls, if something else makes it: its
	// identifier, or a reference that defaults to Auth0ResourceServer and its output
	// identifier. Give this or api.
	Audience *StringOrRef `json:"audience,omitzero" tenon:"ref=Auth0ResourceServer.identifier"`
	// Scopes are what the service may do at the API; the list is complete. Left out,
	// it may do all that api lists, and nothing at an audience.
	Scopes []string `json:"scopes,omitzero"`
	// TokenEndpointAuthMethod is how the service sends its secret.
	TokenEndpointAuthMethod *string `json:"token_endpoint_auth_method,omitzero" tenon:"enum=client_secret_post|client_secret_basic;default=client_secret_post"`
	// OrganizationUsage says whether the grant may be used for an organization.
	OrganizationUsage *string `json:"organization_usage,omitzero" tenon:"enum=deny|allow|require|"`
	// AllowAnyOrganization lets the grant be used for any organization.
	AllowAnyOrganization *bool `json:"allow_any_organization,omitzero"`
	// ClientMetadata holds at most 8 pairs of your own.
	ClientMetadata map[string]string `json:"client_metadata,omitzero"`
}

// ServiceAPI is an API that is made along with a service.
type ServiceAPI struct {
	// Identifier is the audience of the API's tokens. It cannot be changed.
	Identifier string `json:"identifier" tenon:"required;immutable;maxLength=600"`
	// Name is what Auth0 shows. It defaults to metadata.name.
	Name *string `json:"name,omitzero" tenon:"default=metadata.name"`
	// Scopes are the permissions that the API knows; the list is complete.
	Scopes []Scope `json:"scopes,omitzero"`
	// SigningAlg is how tokens are signed.
	SigningAlg *string `json:"signing_alg,omitzero" tenon:"enum=RS256|RS512|PS256|HS256;default=RS256"`
	// TokenLifetime is in seconds.
	TokenLifetime *int `json:"token_lifetime,omitzero" tenon:"min=0;max=2592000"`
	// EnforcePolicies switches RBAC on: tokens carry only what roles and
	// permissions grant.
	EnforcePolicies *bool `json:"enforce_policies,omitzero"`
	// TokenDialect is the form of access tokens; those with authz carry permissions.
	TokenDialect *string `json:"token_dialect,omitzero" tenon:"enum=access_token|access_token_authz|rfc9068_profile|rfc9068_profile_authz"`
}

// Kind implements Spec.
func (*ServiceSpec) Kind() string { return KindService }

// References implements Spec.
func (s *ServiceSpec) References() []Reference {
	if s.Audience == nil {
		return nil
	}
	if ref, ok := s.Audience.Reference("spec.audience", KindResourceServer, "identifier"); ok {
		return []Reference{ref}
	}
	return nil
}

// Validate implements Spec.
func (s *ServiceSpec) Validate() []Problem { return validate(s) }

func (s *ServiceSpec) check(p *problems) {
	switch {
	case s.API == nil && s.Audience == nil:
		p.add("spec.api", "is required, unless audience names an API that something else makes")
	case s.API != nil && s.Audience != nil:
		p.add("spec.audience", "and api exclude each other")
	}
	p.each("spec.scopes", s.Scopes, p.notEmpty)
	p.pairs("spec.client_metadata", s.ClientMetadata, 8)
	if s.API == nil {
		return
	}
	server := s.API.resourceServer("")
	server.checkAt(p, "spec.api")
	known := map[string]bool{}
	for _, scope := range s.API.Scopes {
		known[scope.Name] = true
	}
	p.each("spec.scopes", s.Scopes, func(at, v string) {
		if v != "" && !known[v] {
			p.add(at, "is %q, which is not among the scopes of api", v)
		}
	})
}

// resourceServer is the API as a resource of its own.
func (a *ServiceAPI) resourceServer(name string) *Auth0ResourceServerSpec {
	spec := &Auth0ResourceServerSpec{
		Identifier: a.Identifier, Name: a.Name, Scopes: a.Scopes, SigningAlg: a.SigningAlg,
		TokenLifetime: a.TokenLifetime, EnforcePolicies: a.EnforcePolicies, TokenDialect: a.TokenDialect,
	}
	if spec.Name == nil && name != "" {
		spec.Name = &name
	}
	return spec
}
