package v1

// Auth0ClientGrantSpec lets a client call an API in its own name.
type Auth0ClientGrantSpec struct {
	// Client is a client_id, or a reference that defaults to Auth0Client and its
	// output client_id. It cannot be changed.
	Client StringOrRef `json:"client" tenon:"required;immutable;ref=Auth0Client.client_id"`
	// Audience is an API's identifier, or a reference that defaults to
	// Auth0ResourceServer and its output identifier. It cannot be changed.
	Audience StringOrRef `json:"audience" tenon:"required;immutable;ref=Auth0ResourceServer.identifier"`
	// Scope is complete: what it does not list is taken away.
	Scope []string `json:"scope,omitzero"`
	// OrganizationUsage says whether the grant may be used for an organization.
	OrganizationUsage *string `json:"organization_usage,omitzero" tenon:"enum=deny|allow|require|"`
	// AllowAnyOrganization lets the grant be used for any organization.
	AllowAnyOrganization *bool `json:"allow_any_organization,omitzero"`
	// SubjectType says in whose name the API is called: the client's own, or a
	// user's. It cannot be changed.
	SubjectType *string `json:"subject_type,omitzero" tenon:"immutable;enum=client|user;default=client"`
}

// Kind implements Spec.
func (*Auth0ClientGrantSpec) Kind() string { return KindClientGrant }

// References implements Spec.
func (s *Auth0ClientGrantSpec) References() []Reference {
	var refs []Reference
	if ref, ok := s.Client.Reference("spec.client", KindClient, "client_id"); ok {
		refs = append(refs, ref)
	}
	if ref, ok := s.Audience.Reference("spec.audience", KindResourceServer, "identifier"); ok {
		refs = append(refs, ref)
	}
	return refs
}

// Validate implements Spec.
func (s *Auth0ClientGrantSpec) Validate() []Problem { return validate(s) }

func (s *Auth0ClientGrantSpec) check(p *problems) {
	p.each("spec.scope", s.Scope, func(at, v string) { p.length(at, v, 1, 280) })
}
