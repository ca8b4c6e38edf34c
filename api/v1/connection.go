package v1

import (
	"regexp"
)

// Auth0ConnectionSpec is a source of users. Its name in Auth0 is metadata.name
// and cannot be changed; deleting a connection deletes its users.
//
// Field names are those that manifests of the OpenMCF kind of the same name use.
type Auth0ConnectionSpec struct {
	// Strategy is the kind of identity provider: auth0 is a database of users and
	// passwords in the tenant itself. It cannot be changed.
	Strategy string `json:"strategy" tenon:"required;immutable;enum=auth0|google-oauth2|facebook|github|linkedin|twitter|microsoft-account|apple|samlp|oidc|waad|ad|adfs"`
	// DisplayName is what the login page calls the connection. Auth0 allows 128
	// characters.
	DisplayName *string `json:"display_name,omitzero"`
	// EnabledClients are the clients whose users may log in through this
	// connection, by client_id or by a reference that defaults to Auth0Client and
	// its output client_id. The list is complete: clients that it does not name are
	// disabled. Leave it out, and name the connection in the clients'
	// enabled_connections, if the clients belong to others.
	EnabledClients []StringOrRef `json:"enabled_clients,omitzero" tenon:"ref=Auth0Client.client_id"`
	// IsDomainConnection makes the connection usable by third-party clients.
	IsDomainConnection *bool `json:"is_domain_connection,omitzero"`
	// Realms are the names by which login requests may choose the connection.
	// Auth0's default is the connection's own name.
	Realms []string `json:"realms,omitzero"`
	// ShowAsButton shows an enterprise connection as a button on the login page.
	ShowAsButton *bool `json:"show_as_button,omitzero"`
	// Metadata holds at most 9 pairs (Auth0 allows 10, and one is Tenon's); keys that
	// are not listed are left alone.
	Metadata map[string]string `json:"metadata,omitzero"`
	// DatabaseOptions belong to the strategy auth0.
	DatabaseOptions *DatabaseOptions `json:"database_options,omitzero"`
	// SocialOptions belong to google-oauth2, facebook, github, linkedin, twitter,
	// microsoft-account and apple.
	SocialOptions *SocialOptions `json:"social_options,omitzero"`
	// SAMLOptions belong to the strategy samlp.
	SAMLOptions *SAMLOptions `json:"saml_options,omitzero"`
	// OIDCOptions belong to the strategy oidc.
	OIDCOptions *OIDCOptions `json:"oidc_options,omitzero"`
	// AzureADOptions belong to the strategy waad.
	AzureADOptions *AzureADOptions `json:"azure_ad_options,omitzero"`
}

// DatabaseOptions are the options of a database connection.
type DatabaseOptions struct {
	// PasswordPolicy is how strong passwords must be.
	PasswordPolicy *string `json:"password_policy,omitzero" tenon:"enum=none|low|fair|good|excellent|"`
	// PasswordMinLength is in characters.
	PasswordMinLength *int `json:"password_min_length,omitzero" tenon:"min=1;max=128"`
	// RequiresUsername makes users have a user name besides their email address.
	RequiresUsername *bool `json:"requires_username,omitzero"`
	// DisableSignup lets administrators alone make accounts.
	DisableSignup *bool `json:"disable_signup,omitzero"`
	// BruteForceProtection locks an account after failed logins.
	BruteForceProtection *bool `json:"brute_force_protection,omitzero"`
	// PasswordHistorySize is how many passwords may not be used again; 0 switches
	// the check off.
	PasswordHistorySize *int `json:"password_history_size,omitzero" tenon:"min=0;max=24"`
	// PasswordNoPersonalInfo refuses passwords that contain the user's own data.
	PasswordNoPersonalInfo *bool `json:"password_no_personal_info,omitzero"`
	// PasswordDictionary refuses common passwords.
	PasswordDictionary *bool `json:"password_dictionary,omitzero"`
	// MFAEnabled asks this connection's users for a second factor.
	MFAEnabled *bool `json:"mfa_enabled,omitzero"`
}

// SocialOptions are the credentials of a social identity provider.
type SocialOptions struct {
	// ClientID is the application's identifier at the provider.
	ClientID string `json:"client_id" tenon:"required"`
	// ClientSecret is the application's secret at the provider.
	ClientSecret SecretRef `json:"client_secret" tenon:"required;secret"`
	// Scopes are what Auth0 asks the provider for.
	Scopes []string `json:"scopes,omitzero"`
	// AllowedAudiences are further client_ids whose tokens are taken in a native
	// social login.
	AllowedAudiences []string `json:"allowed_audiences,omitzero"`
	// UpstreamParams are added to the request to the provider: parameter to value.
	UpstreamParams map[string]string `json:"upstream_params,omitzero"`
}

// SAMLOptions are a SAML identity provider's.
type SAMLOptions struct {
	// SignInEndpoint is where authentication requests are sent.
	SignInEndpoint string `json:"sign_in_endpoint" tenon:"required"`
	// SigningCert is the provider's certificate in PEM form.
	SigningCert string `json:"signing_cert" tenon:"required"`
	// SignOutEndpoint is where logout requests are sent.
	SignOutEndpoint *string `json:"sign_out_endpoint,omitzero"`
	// EntityID is how Auth0 calls itself towards the provider. Auth0's default is
	// urn:auth0:TENANT:CONNECTION.
	EntityID *string `json:"entity_id,omitzero"`
	// ProtocolBinding is how authentication requests travel.
	ProtocolBinding *string `json:"protocol_binding,omitzero" tenon:"enum=urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect|urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST|"`
	// UserIDAttribute is the attribute that identifies the user.
	UserIDAttribute *string `json:"user_id_attribute,omitzero"`
	// SignRequest signs authentication requests.
	SignRequest *bool `json:"sign_request,omitzero"`
	// SignatureAlgorithm is how requests are signed.
	SignatureAlgorithm *string `json:"signature_algorithm,omitzero" tenon:"enum=rsa-sha256|rsa-sha1|"`
	// DigestAlgorithm is how requests are digested.
	DigestAlgorithm *string `json:"digest_algorithm,omitzero" tenon:"enum=sha256|sha1|"`
	// AttributeMappings maps a field of the profile to a SAML attribute.
	AttributeMappings map[string]string `json:"attribute_mappings,omitzero"`
}

// OIDCOptions are an OpenID Connect provider's.
type OIDCOptions struct {
	// Issuer is the provider's issuer URL; the rest is discovered from it.
	Issuer string `json:"issuer" tenon:"required"`
	// ClientID is Auth0's identifier at the provider.
	ClientID string `json:"client_id" tenon:"required"`
	// ClientSecret is needed for the type back_channel.
	ClientSecret *SecretRef `json:"client_secret,omitzero" tenon:"secret"`
	// Scopes are what Auth0 asks the provider for.
	Scopes []string `json:"scopes,omitzero"`
	// Type is front_channel (ID token in a form post) or back_channel (code).
	Type *string `json:"type,omitzero" tenon:"enum=front_channel|back_channel|"`
	// AuthorizationEndpoint overrides the discovered one.
	AuthorizationEndpoint *string `json:"authorization_endpoint,omitzero"`
	// TokenEndpoint overrides the discovered one.
	TokenEndpoint *string `json:"token_endpoint,omitzero"`
	// UserinfoEndpoint overrides the discovered one.
	UserinfoEndpoint *string `json:"userinfo_endpoint,omitzero"`
	// JWKSURI overrides the discovered one.
	JWKSURI *string `json:"jwks_uri,omitzero"`
	// AttributeMappings maps a field of the profile to a claim.
	AttributeMappings map[string]string `json:"attribute_mappings,omitzero"`
}

// AzureADOptions are those of Microsoft Entra ID.
type AzureADOptions struct {
	// ClientID is the application's identifier in Entra ID.
	ClientID string `json:"client_id" tenon:"required"`
	// ClientSecret is a secret of the application in Entra ID. It expires there.
	ClientSecret SecretRef `json:"client_secret" tenon:"required;secret"`
	// Domain is the directory's domain, for example contoso.onmicrosoft.com.
	Domain string `json:"domain" tenon:"required"`
	// TenantID is the directory's identifier.
	TenantID *string `json:"tenant_id,omitzero"`
	// UseCommonEndpoint takes users of any directory.
	UseCommonEndpoint *bool `json:"use_common_endpoint,omitzero"`
	// MaxGroupsToRetrieve is how many of a user's groups are read.
	MaxGroupsToRetrieve *int `json:"max_groups_to_retrieve,omitzero" tenon:"min=0"`
	// ShouldTrustEmailVerified marks the addresses of users as verified.
	ShouldTrustEmailVerified *bool `json:"should_trust_email_verified,omitzero"`
	// APIEnableUsers lets Auth0 read the directory's users.
	APIEnableUsers *bool `json:"api_enable_users,omitzero"`
}

// Kind implements Spec.
func (*Auth0ConnectionSpec) Kind() string { return KindConnection }

// References implements Spec.
func (s *Auth0ConnectionSpec) References() []Reference {
	return references("spec.enabled_clients", KindClient, "client_id", s.EnabledClients)
}

var connectionNamePattern = regexp.MustCompile(`^[a-zA-Z0-9](-[a-zA-Z0-9]|[a-zA-Z0-9])*$`)

func (*Auth0ConnectionSpec) checkName(p *problems, name string) {
	if !validConnectionName(name) {
		p.warn("metadata.name", connectionNameRule)
	}
}

const connectionNameRule = "must have at most 128 letters, digits and single hyphens, and begin and end with a letter or digit: Auth0 refuses other names of connections"

func validConnectionName(name string) bool {
	return len(name) <= 128 && connectionNamePattern.MatchString(name)
}

func (p *problems) connectionName(path, name string) {
	if !validConnectionName(name) {
		p.add(path, connectionNameRule)
	}
}

// Validate implements Spec.
func (s *Auth0ConnectionSpec) Validate() []Problem { return validate(s) }

func (s *Auth0ConnectionSpec) check(p *problems) {
	p.lengthPtr("spec.display_name", s.DisplayName, 0, 128)
	p.each("spec.realms", s.Realms, p.notEmpty)
	p.pairs("spec.metadata", s.Metadata, 9)
	p.repeatedRefs("spec.enabled_clients", s.EnabledClients)
	wanted := optionsOf(s.Strategy)
	for _, o := range []struct {
		path  string
		given bool
	}{
		{"spec.database_options", s.DatabaseOptions != nil}, {"spec.social_options", s.SocialOptions != nil},
		{"spec.saml_options", s.SAMLOptions != nil}, {"spec.oidc_options", s.OIDCOptions != nil}, {"spec.azure_ad_options", s.AzureADOptions != nil},
	} {
		switch {
		case s.Strategy == "" || (wanted == o.path && wanted == "spec.database_options"):
			// A database connection needs no options.
		case wanted == o.path && wanted == "spec.social_options" && !o.given:
			p.warn(o.path, "is missing: Auth0 then uses its own developer keys, which are not meant for production")
		default:
			p.belongs(o.path, o.given, wanted == o.path, "strategy "+s.Strategy)
		}
	}
	if o := s.SocialOptions; o != nil {
		p.each("spec.social_options.scopes", o.Scopes, p.notEmpty)
		p.each("spec.social_options.allowed_audiences", o.AllowedAudiences, p.notEmpty)
	}
	if o := s.SAMLOptions; o != nil {
		p.absoluteURLOrEmpty("spec.saml_options.sign_in_endpoint", &o.SignInEndpoint)
		p.absoluteURLOrEmpty("spec.saml_options.sign_out_endpoint", o.SignOutEndpoint)
	}
	if o := s.OIDCOptions; o != nil {
		p.httpsURLOrEmpty("spec.oidc_options.issuer", &o.Issuer)
		p.httpsURLOrEmpty("spec.oidc_options.authorization_endpoint", o.AuthorizationEndpoint)
		p.httpsURLOrEmpty("spec.oidc_options.token_endpoint", o.TokenEndpoint)
		p.httpsURLOrEmpty("spec.oidc_options.userinfo_endpoint", o.UserinfoEndpoint)
		p.httpsURLOrEmpty("spec.oidc_options.jwks_uri", o.JWKSURI)
		p.each("spec.oidc_options.scopes", o.Scopes, p.notEmpty)
		if valueOf(o.Type) == "back_channel" && o.ClientSecret == nil {
			p.warn("spec.oidc_options.client_secret", "is needed for type back_channel, unless the provider takes public clients")
		}
	}
}

// optionsOf is the block of options that belongs to a strategy, "" for none.
func optionsOf(strategy string) string {
	switch strategy {
	case "auth0":
		return "spec.database_options"
	case "google-oauth2", "facebook", "github", "linkedin", "twitter", "microsoft-account", "apple":
		return "spec.social_options"
	case "samlp":
		return "spec.saml_options"
	case "oidc":
		return "spec.oidc_options"
	case "waad":
		return "spec.azure_ad_options"
	}
	return ""
}
