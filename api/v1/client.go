package v1

import (
	"fmt"
	"slices"
	"strings"
)

// Auth0ClientSpec is an application. Its name in Auth0 is metadata.name.
//
// Field names are those that manifests of the OpenMCF kind of the same name use.
type Auth0ClientSpec struct {
	// ApplicationType is what the application runs on: a phone or desktop, a browser,
	// a server with users, or a server without.
	ApplicationType string `json:"application_type" tenon:"required;enum=native|spa|regular_web|non_interactive"`
	// Description has at most 140 characters.
	Description *string `json:"description,omitzero" tenon:"maxLength=140"`
	// LogoURI is the URL of the application's logo. An empty one shows Auth0's badge.
	LogoURI *string `json:"logo_uri,omitzero"`
	// Callbacks are where authorization codes and tokens may be sent; the first is
	// the default.
	Callbacks []string `json:"callbacks,omitzero"`
	// AllowedLogoutURLs are where a logout may return to.
	AllowedLogoutURLs []string `json:"allowed_logout_urls,omitzero"`
	// WebOrigins are origins whose pages may use silent authentication and the
	// web_message response mode.
	WebOrigins []string `json:"web_origins,omitzero"`
	// AllowedOrigins are origins whose pages may call the tenant by CORS.
	AllowedOrigins []string `json:"allowed_origins,omitzero"`
	// GrantTypes are the flows that the application may use.
	GrantTypes []string `json:"grant_types,omitzero"`
	// TokenEndpointAuthMethod is how the application authenticates. One with none
	// has no usable secret.
	TokenEndpointAuthMethod *string `json:"token_endpoint_auth_method,omitzero" tenon:"enum=none|client_secret_post|client_secret_basic"`
	// OIDCConformant makes the application follow OpenID Connect strictly.
	OIDCConformant *bool `json:"oidc_conformant,omitzero"`
	// IsFirstParty marks your own applications: their users are not asked for
	// consent.
	IsFirstParty *bool `json:"is_first_party,omitzero"`
	// CrossOriginAuth lets pages of other origins log users in.
	CrossOriginAuth *bool `json:"cross_origin_authentication,omitzero"`
	// CrossOriginLoc is the page that verifies cross-origin logins where browsers
	// block third-party cookies.
	CrossOriginLoc *string `json:"cross_origin_loc,omitzero"`
	// SSO lets Auth0 log users in who have a session already.
	SSO *bool `json:"sso,omitzero"`
	// SSODisabled makes users log in although they have a session.
	SSODisabled *bool `json:"sso_disabled,omitzero"`
	// CustomLoginPage is the HTML of a classic login page.
	CustomLoginPage *string `json:"custom_login_page,omitzero"`
	// CustomLoginPageOn uses CustomLoginPage.
	CustomLoginPageOn *bool `json:"custom_login_page_on,omitzero"`
	// InitiateLoginURI is where Auth0 sends people who began at one of its own pages.
	// It must be https.
	InitiateLoginURI *string `json:"initiate_login_uri,omitzero"`
	// OrganizationUsage says whether users log in as members of an organization.
	OrganizationUsage *string `json:"organization_usage,omitzero" tenon:"enum=deny|allow|require|"`
	// OrganizationRequireBehavior is how the organization is asked for if it is
	// required.
	OrganizationRequireBehavior *string `json:"organization_require_behavior,omitzero" tenon:"enum=no_prompt|pre_login_prompt|post_login_prompt|"`
	// JWTConfiguration is how ID tokens are made.
	JWTConfiguration *JWTConfiguration `json:"jwt_configuration,omitzero"`
	// RefreshToken is how refresh tokens age.
	RefreshToken *RefreshToken `json:"refresh_token,omitzero"`
	// NativeSocialLogin lets native applications use the phone's own login.
	NativeSocialLogin *NativeSocialLogin `json:"native_social_login,omitzero"`
	// Mobile identifies the native applications that may use universal links.
	Mobile *Mobile `json:"mobile,omitzero"`
	// ClientMetadata holds at most 8 pairs (Auth0 allows 10, and two are Tenon's);
	// keys that are not listed are left alone.
	ClientMetadata map[string]string `json:"client_metadata,omitzero"`
	// ClientAliases are further audiences of SAML requests and delegation.
	ClientAliases []string `json:"client_aliases,omitzero"`
	// IsTokenEndpointIPHeaderTrusted believes the auth0-forwarded-for header of a
	// server about the user's address.
	IsTokenEndpointIPHeaderTrusted *bool `json:"is_token_endpoint_ip_header_trusted,omitzero"`
	// OIDCBackchannelLogout is where logout tokens are sent.
	OIDCBackchannelLogout *BackchannelLogout `json:"oidc_backchannel_logout,omitzero"`
	// RequirePushedAuthorizationRequests refuses authorization requests that did
	// not come by PAR (RFC 9126).
	RequirePushedAuthorizationRequests *bool `json:"require_pushed_authorization_requests,omitzero"`
	// EnabledConnections are connections whose users may log in to this client:
	// the name of a connection, or a reference that defaults to Auth0Connection
	// and its output name. The listed ones are enabled; others are left alone.
	EnabledConnections []StringOrRef `json:"enabled_connections,omitzero" tenon:"ref=Auth0Connection.name"`
	// APIGrants are APIs that the client may call in its own name. Each becomes a
	// client grant.
	APIGrants []APIGrant `json:"api_grants,omitzero"`
}

// JWTConfiguration is how ID tokens are made.
type JWTConfiguration struct {
	// LifetimeInSeconds of ID tokens.
	LifetimeInSeconds *int `json:"lifetime_in_seconds,omitzero" tenon:"min=0;max=2592000"`
	// Scopes maps a scope to its description.
	Scopes map[string]string `json:"scopes,omitzero"`
	// Alg is how ID tokens are signed.
	Alg *string `json:"alg,omitzero" tenon:"enum=RS256|RS512|PS256|HS256|"`
	// SecretEncoded says that the client secret is base64 in HS256 signatures. Auth0
	// cannot change it later.
	SecretEncoded *bool `json:"secret_encoded,omitzero"`
}

// RefreshToken is how refresh tokens age.
type RefreshToken struct {
	// RotationType rotating exchanges the token at each use.
	RotationType *string `json:"rotation_type,omitzero" tenon:"enum=rotating|non-rotating|"`
	// ExpirationType expiring ends the token's life at the lifetimes below.
	ExpirationType *string `json:"expiration_type,omitzero" tenon:"enum=expiring|non-expiring|"`
	// TokenLifetime is in seconds, counted from the login.
	TokenLifetime *int `json:"token_lifetime,omitzero" tenon:"min=0"`
	// IdleTokenLifetime is in seconds, counted from the last use.
	IdleTokenLifetime *int `json:"idle_token_lifetime,omitzero" tenon:"min=0"`
	// Leeway is the seconds for which a rotated token is still accepted.
	Leeway *int `json:"leeway,omitzero" tenon:"min=0"`
	// InfiniteTokenLifetime lets TokenLifetime have no effect.
	InfiniteTokenLifetime *bool `json:"infinite_token_lifetime,omitzero"`
	// InfiniteIdleTokenLifetime lets IdleTokenLifetime have no effect.
	InfiniteIdleTokenLifetime *bool `json:"infinite_idle_token_lifetime,omitzero"`
}

// NativeSocialLogin lets native applications use the phone's own login.
type NativeSocialLogin struct {
	// Apple is Sign in with Apple.
	Apple *Switch `json:"apple,omitzero"`
	// Facebook is Facebook Login.
	Facebook *Switch `json:"facebook,omitzero"`
}

// Switch is on or off.
type Switch struct {
	// Enabled is on.
	Enabled *bool `json:"enabled,omitzero"`
}

// Mobile identifies the native applications that may use universal links.
type Mobile struct {
	// Android is the application on Android.
	Android *MobileAndroid `json:"android,omitzero"`
	// IOS is the application on iOS.
	IOS *MobileIOS `json:"ios,omitzero"`
}

// MobileAndroid identifies an Android application.
type MobileAndroid struct {
	// AppPackageName is the application's package, for example com.example.app.
	AppPackageName *string `json:"app_package_name,omitzero"`
	// SHA256CertFingerprints are those of the certificates that sign the application.
	SHA256CertFingerprints []string `json:"sha256_cert_fingerprints,omitzero"`
}

// MobileIOS identifies an iOS application.
type MobileIOS struct {
	// TeamID is the developer team's identifier at Apple.
	TeamID *string `json:"team_id,omitzero"`
	// AppBundleIdentifier is the application's bundle, for example com.example.app.
	AppBundleIdentifier *string `json:"app_bundle_identifier,omitzero"`
}

// BackchannelLogout lists where logout tokens are sent.
type BackchannelLogout struct {
	// BackchannelLogoutURLs receive a logout token by POST.
	BackchannelLogoutURLs []string `json:"backchannel_logout_urls,omitzero"`
}

// APIGrant is one client grant, written at its client.
type APIGrant struct {
	// Audience is an API's identifier, or a reference that defaults to
	// Auth0ResourceServer and its output identifier.
	Audience StringOrRef `json:"audience" tenon:"required;ref=Auth0ResourceServer.identifier"`
	// Scopes are what the client may do; what the list lacks is taken away.
	Scopes []string `json:"scopes,omitzero"`
	// AllowAnyOrganization lets the grant be used for any organization.
	AllowAnyOrganization *bool `json:"allow_any_organization,omitzero"`
	// OrganizationUsage says whether the grant may be used for an organization.
	OrganizationUsage *string `json:"organization_usage,omitzero" tenon:"enum=deny|allow|require|"`
}

// Kind implements Spec.
func (*Auth0ClientSpec) Kind() string { return KindClient }

// References implements Spec.
func (s *Auth0ClientSpec) References() []Reference {
	refs := references("spec.enabled_connections", KindConnection, "name", s.EnabledConnections)
	for i, g := range s.APIGrants {
		if ref, ok := g.Audience.Reference(fmt.Sprintf("spec.api_grants[%d].audience", i), KindResourceServer, "identifier"); ok {
			refs = append(refs, ref)
		}
	}
	return refs
}

func (*Auth0ClientSpec) checkName(p *problems, name string) {
	if strings.ContainsAny(name, "<>") {
		p.warn("metadata.name", "must not contain < or >: Auth0 refuses such names of applications")
	}
}

// Validate implements Spec.
func (s *Auth0ClientSpec) Validate() []Problem { return validate(s) }

func (s *Auth0ClientSpec) check(p *problems) {
	web := s.ApplicationType == "regular_web"
	p.absoluteURLOrEmpty("spec.logo_uri", s.LogoURI)
	p.each("spec.callbacks", s.Callbacks, func(at, v string) { p.redirectURL(at, v, web) })
	p.each("spec.allowed_logout_urls", s.AllowedLogoutURLs, func(at, v string) { p.redirectURL(at, v, web) })
	p.each("spec.web_origins", s.WebOrigins, func(at, v string) { p.originURL(at, v, web) })
	p.each("spec.allowed_origins", s.AllowedOrigins, func(at, v string) { p.originURL(at, v, web) })
	p.each("spec.grant_types", s.GrantTypes, p.notEmpty)
	p.each("spec.client_aliases", s.ClientAliases, p.notEmpty)
	if valueOf(s.TokenEndpointAuthMethod) == "none" && slices.Contains(s.GrantTypes, "client_credentials") {
		p.add("spec.grant_types", "client_credentials needs a client that authenticates: token_endpoint_auth_method is none")
	}
	p.httpsURLOrEmpty("spec.initiate_login_uri", s.InitiateLoginURI)
	p.absoluteURLOrEmpty("spec.cross_origin_loc", s.CrossOriginLoc)
	if b := valueOf(s.OrganizationRequireBehavior); b != "" && b != "no_prompt" && valueOf(s.OrganizationUsage) != "require" {
		p.warn("spec.organization_require_behavior", "has no effect unless organization_usage is require")
	}
	if valueOf(s.SSO) && valueOf(s.SSODisabled) {
		p.warn("spec.sso_disabled", "contradicts sso")
	}
	if s.ApplicationType != "" && s.ApplicationType != "native" {
		p.belongs("spec.mobile", s.Mobile != nil, false, "application_type "+s.ApplicationType)
		p.belongs("spec.native_social_login", s.NativeSocialLogin != nil, false, "application_type "+s.ApplicationType)
	}
	if r := s.RefreshToken; r != nil {
		if r.TokenLifetime != nil && *r.TokenLifetime > 157_788_000 {
			p.warn("spec.refresh_token.token_lifetime", "is %d, Auth0 allows 157788000 (five years)", *r.TokenLifetime)
		}
		if t, idle := r.TokenLifetime, r.IdleTokenLifetime; t != nil && idle != nil && *idle >= *t && *t > 0 && !valueOf(r.InfiniteTokenLifetime) {
			p.warn("spec.refresh_token.idle_token_lifetime", "is %d, which should be below token_lifetime, %d", *idle, *t)
		}
		if valueOf(r.RotationType) == "rotating" && valueOf(r.ExpirationType) == "non-expiring" {
			p.warn("spec.refresh_token.expiration_type", "is non-expiring: expect Auth0 to refuse this for rotating tokens")
		}
	}
	p.pairs("spec.client_metadata", s.ClientMetadata, 8)
	if b := s.OIDCBackchannelLogout; b != nil {
		p.each("spec.oidc_backchannel_logout.backchannel_logout_urls", b.BackchannelLogoutURLs, p.httpsURL)
	}
	p.repeatedRefs("spec.enabled_connections", s.EnabledConnections)
	audiences := make([]StringOrRef, len(s.APIGrants))
	for i, g := range s.APIGrants {
		audiences[i] = g.Audience
		p.each(fmt.Sprintf("spec.api_grants[%d].scopes", i), g.Scopes, p.notEmpty)
	}
	p.repeatedRefs("spec.api_grants", audiences)
}
