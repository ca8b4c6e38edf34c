package v1

// Auth0ClientGrantSpec lets a client call an API in its own name.
// Outputs: id, client_id, audience.
type Auth0ClientGrantSpec struct {
	// Client is a client_id, or a reference that defaults to Auth0Client and its
	// output client_id. It cannot be changed.
	Client StringOrRef `json:"client"`
	// Audience is an API's identifier, or a reference that defaults to
	// Auth0ResourceServer and its output identifier. It cannot be changed.
	Audience StringOrRef `json:"audience"`
	// Scope is complete: what it does not list is taken away.
	Scope []string `json:"scope,omitzero"`
	// OrganizationUsage is deny, allow or require.
	OrganizationUsage    *string `json:"organization_usage,omitzero"`
	AllowAnyOrganization *bool   `json:"allow_any_organization,omitzero"`
	// SubjectType is client, the default, or user. It cannot be changed.
	SubjectType *string `json:"subject_type,omitzero"`
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
func (s *Auth0ClientGrantSpec) Validate() []Problem {
	var p problems
	p.ref("spec.client", s.Client)
	p.ref("spec.audience", s.Audience)
	p.each("spec.scope", s.Scope, func(at, v string) { p.length(at, v, 1, 280) })
	p.oneOfPtr("spec.organization_usage", s.OrganizationUsage, "deny", "allow", "require", "")
	p.oneOfPtr("spec.subject_type", s.SubjectType, "client", "user")
	return p
}
