package v1

import (
	"fmt"
	"slices"
	"strings"
)

// Auth0ClientSpec is an application. Its name in Auth0 is metadata.name.
//
// Field names are those that manifests of the OpenMCF kind of the same name use.
// Outputs: id, client_id, name, application_type, token_endpoint_auth_method,
// client_secret (a reference).
type Auth0ClientSpec struct {
	// ApplicationType is native, spa, regular_web or non_interactive. Required.
	ApplicationType string `json:"application_type"`
	// Description has at most 140 characters.
	Description       *string  `json:"description,omitzero"`
	LogoURI           *string  `json:"logo_uri,omitzero"`
	Callbacks         []string `json:"callbacks,omitzero"`
	AllowedLogoutURLs []string `json:"allowed_logout_urls,omitzero"`
	WebOrigins        []string `json:"web_origins,omitzero"`
	AllowedOrigins    []string `json:"allowed_origins,omitzero"`
	GrantTypes        []string `json:"grant_types,omitzero"`
	// TokenEndpointAuthMethod is none, client_secret_post or client_secret_basic.
	// A client with none has no usable secret.
	TokenEndpointAuthMethod *string `json:"token_endpoint_auth_method,omitzero"`
	OIDCConformant          *bool   `json:"oidc_conformant,omitzero"`
	IsFirstParty            *bool   `json:"is_first_party,omitzero"`
	CrossOriginAuth         *bool   `json:"cross_origin_authentication,omitzero"`
	CrossOriginLoc          *string `json:"cross_origin_loc,omitzero"`
	SSO                     *bool   `json:"sso,omitzero"`
	SSODisabled             *bool   `json:"sso_disabled,omitzero"`
	CustomLoginPage         *string `json:"custom_login_page,omitzero"`
	CustomLoginPageOn       *bool   `json:"custom_login_page_on,omitzero"`
	InitiateLoginURI        *string `json:"initiate_login_uri,omitzero"`
	// OrganizationUsage is deny, allow or require.
	OrganizationUsage *string `json:"organization_usage,omitzero"`
	// OrganizationRequireBehavior is no_prompt, pre_login_prompt or post_login_prompt.
	OrganizationRequireBehavior *string            `json:"organization_require_behavior,omitzero"`
	JWTConfiguration            *JWTConfiguration  `json:"jwt_configuration,omitzero"`
	RefreshToken                *RefreshToken      `json:"refresh_token,omitzero"`
	NativeSocialLogin           *NativeSocialLogin `json:"native_social_login,omitzero"`
	Mobile                      *Mobile            `json:"mobile,omitzero"`
	// ClientMetadata holds at most 8 pairs (Auth0 allows 10, and two are Tenon's);
	// keys that are not listed are left alone.
	ClientMetadata                 map[string]string  `json:"client_metadata,omitzero"`
	ClientAliases                  []string           `json:"client_aliases,omitzero"`
	IsTokenEndpointIPHeaderTrusted *bool              `json:"is_token_endpoint_ip_header_trusted,omitzero"`
	OIDCBackchannelLogout          *BackchannelLogout `json:"oidc_backchannel_logout,omitzero"`
	// RequirePushedAuthorizationRequests refuses authorization requests that did
	// not come by PAR (RFC 9126).
	RequirePushedAuthorizationRequests *bool `json:"require_pushed_authorization_requests,omitzero"`
	// EnabledConnections are connections whose users may log in to this client:
	// the name of a connection, or a reference that defaults to Auth0Connection
	// and its output name. The listed ones are enabled; others are left alone.
	EnabledConnections []StringOrRef `json:"enabled_connections,omitzero"`
	// APIGrants are APIs that the client may call in its own name. Each becomes a
	// client grant.
	APIGrants []APIGrant `json:"api_grants,omitzero"`
}

// JWTConfiguration is how ID tokens are made.
type JWTConfiguration struct {
	// LifetimeInSeconds is between 0 and 2592000.
	LifetimeInSeconds *int `json:"lifetime_in_seconds,omitzero"`
	// Scopes maps a scope to its description.
	Scopes map[string]string `json:"scopes,omitzero"`
	// Alg is RS256, RS512, PS256 or HS256.
	Alg           *string `json:"alg,omitzero"`
	SecretEncoded *bool   `json:"secret_encoded,omitzero"`
}

// RefreshToken is how refresh tokens age. Lifetimes and leeway are in seconds.
type RefreshToken struct {
	// RotationType is rotating or non-rotating.
	RotationType *string `json:"rotation_type,omitzero"`
	// ExpirationType is expiring or non-expiring.
	ExpirationType            *string `json:"expiration_type,omitzero"`
	TokenLifetime             *int    `json:"token_lifetime,omitzero"`
	IdleTokenLifetime         *int    `json:"idle_token_lifetime,omitzero"`
	Leeway                    *int    `json:"leeway,omitzero"`
	InfiniteTokenLifetime     *bool   `json:"infinite_token_lifetime,omitzero"`
	InfiniteIdleTokenLifetime *bool   `json:"infinite_idle_token_lifetime,omitzero"`
}

// NativeSocialLogin lets native applications use the phone's own login.
type NativeSocialLogin struct {
	Apple    *Switch `json:"apple,omitzero"`
	Facebook *Switch `json:"facebook,omitzero"`
}

// Switch is on or off.
type Switch struct {
	Enabled *bool `json:"enabled,omitzero"`
}

// Mobile identifies the native applications that may use universal links.
type Mobile struct {
	Android *MobileAndroid `json:"android,omitzero"`
	IOS     *MobileIOS     `json:"ios,omitzero"`
}

// MobileAndroid identifies an Android application.
type MobileAndroid struct {
	AppPackageName         *string  `json:"app_package_name,omitzero"`
	SHA256CertFingerprints []string `json:"sha256_cert_fingerprints,omitzero"`
}

// MobileIOS identifies an iOS application.
type MobileIOS struct {
	TeamID              *string `json:"team_id,omitzero"`
	AppBundleIdentifier *string `json:"app_bundle_identifier,omitzero"`
}

// BackchannelLogout lists where logout tokens are sent.
type BackchannelLogout struct {
	BackchannelLogoutURLs []string `json:"backchannel_logout_urls,omitzero"`
}

// APIGrant is one client grant, written at its client.
type APIGrant struct {
	// Audience is an API's identifier, or a reference that defaults to
	// Auth0ResourceServer and its output identifier.
	Audience             StringOrRef `json:"audience"`
	Scopes               []string    `json:"scopes,omitzero"`
	AllowAnyOrganization *bool       `json:"allow_any_organization,omitzero"`
	OrganizationUsage    *string     `json:"organization_usage,omitzero"`
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

func (*Auth0ClientSpec) validateName(name string) []Problem {
	if strings.ContainsAny(name, "<>") {
		return []Problem{{Path: "metadata.name", Message: "must not contain < or >"}}
	}
	return nil
}

// Validate implements Spec.
func (s *Auth0ClientSpec) Validate() []Problem {
	var p problems
	if p.required("spec.application_type", s.ApplicationType) {
		p.oneOf("spec.application_type", s.ApplicationType, "native", "spa", "regular_web", "non_interactive")
	}
	web := s.ApplicationType == "regular_web"
	p.lengthPtr("spec.description", s.Description, 0, 140)
	p.absoluteURLOrEmpty("spec.logo_uri", s.LogoURI)
	p.each("spec.callbacks", s.Callbacks, func(at, v string) { p.redirectURL(at, v, web) })
	p.each("spec.allowed_logout_urls", s.AllowedLogoutURLs, func(at, v string) { p.redirectURL(at, v, web) })
	p.each("spec.web_origins", s.WebOrigins, func(at, v string) { p.originURL(at, v, web) })
	p.each("spec.allowed_origins", s.AllowedOrigins, func(at, v string) { p.originURL(at, v, web) })
	p.each("spec.grant_types", s.GrantTypes, p.notEmpty)
	p.each("spec.client_aliases", s.ClientAliases, p.notEmpty)
	p.oneOfPtr("spec.token_endpoint_auth_method", s.TokenEndpointAuthMethod, "none", "client_secret_post", "client_secret_basic")
	if s.TokenEndpointAuthMethod != nil && *s.TokenEndpointAuthMethod == "none" && slices.Contains(s.GrantTypes, "client_credentials") {
		p.add("spec.grant_types", "client_credentials needs a client that authenticates: token_endpoint_auth_method is none")
	}
	p.httpsURLOrEmpty("spec.initiate_login_uri", s.InitiateLoginURI)
	p.absoluteURLOrEmpty("spec.cross_origin_loc", s.CrossOriginLoc)
	p.oneOfPtr("spec.organization_usage", s.OrganizationUsage, "deny", "allow", "require", "")
	p.oneOfPtr("spec.organization_require_behavior", s.OrganizationRequireBehavior, "no_prompt", "pre_login_prompt", "post_login_prompt", "")
	if j := s.JWTConfiguration; j != nil {
		between(&p, "spec.jwt_configuration.lifetime_in_seconds", j.LifetimeInSeconds, 0, 2_592_000)
		p.oneOfPtr("spec.jwt_configuration.alg", j.Alg, "HS256", "RS256", "RS512", "PS256", "")
	}
	if r := s.RefreshToken; r != nil {
		p.oneOfPtr("spec.refresh_token.rotation_type", r.RotationType, "rotating", "non-rotating", "")
		p.oneOfPtr("spec.refresh_token.expiration_type", r.ExpirationType, "expiring", "non-expiring", "")
		between(&p, "spec.refresh_token.token_lifetime", r.TokenLifetime, 0, 157_788_000)
		atLeast(&p, "spec.refresh_token.idle_token_lifetime", r.IdleTokenLifetime, 0)
		atLeast(&p, "spec.refresh_token.leeway", r.Leeway, 0)
	}
	p.pairs("spec.client_metadata", s.ClientMetadata, 8)
	if b := s.OIDCBackchannelLogout; b != nil {
		p.each("spec.oidc_backchannel_logout.backchannel_logout_urls", b.BackchannelLogoutURLs, p.httpsURL)
	}
	p.refs("spec.enabled_connections", s.EnabledConnections)
	for i, g := range s.APIGrants {
		at := fmt.Sprintf("spec.api_grants[%d]", i)
		p.ref(at+".audience", g.Audience)
		p.each(at+".scopes", g.Scopes, p.notEmpty)
		p.oneOfPtr(at+".organization_usage", g.OrganizationUsage, "deny", "allow", "require", "")
	}
	return p
}
