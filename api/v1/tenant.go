package v1

import (
	"regexp"
	"slices"
)

// Auth0TenantSpec is the tenant itself: settings, branding, multi-factor
// authentication and attack protection. A tenant is neither created nor deleted;
// only the fields that are written down are changed. What Tenon calls it with is
// the worker's configuration, and in no manifest.
type Auth0TenantSpec struct {
	// Domain of the tenant, without scheme: "acme.eu.auth0.com". Left out, it is the
	// tenant that the resources are applied to; written down, it must be that one.
	Domain string `json:"domain,omitzero" tenon:"default=the tenant at hand"`
	// Settings are the general settings.
	Settings *TenantSettings `json:"settings,omitzero"`
	// Branding is how the login pages look.
	Branding *Branding `json:"branding,omitzero"`
	// MFA is multi-factor authentication.
	MFA *TenantMFA `json:"mfa,omitzero"`
	// AttackProtection is protection against guessed and stolen passwords.
	AttackProtection *AttackProtection `json:"attack_protection,omitzero"`
}

// Branding is how the login pages look (/branding).
type Branding struct {
	// LogoURL is the https URL of the logo.
	LogoURL *string `json:"logo_url,omitzero"`
	// FaviconURL is the https URL of the icon.
	FaviconURL *string `json:"favicon_url,omitzero"`
	// Colors of the pages.
	Colors *BrandingColors `json:"colors,omitzero"`
	// Font of the pages.
	Font *BrandingFont `json:"font,omitzero"`
}

// BrandingColors are colours in the form #rrggbb.
type BrandingColors struct {
	// Primary is the colour of buttons and links.
	Primary *string `json:"primary,omitzero" tenon:"pattern=^#[0-9a-fA-F]{6}$;hint=a colour of the form #rrggbb"`
	// PageBackground is the colour behind the box.
	PageBackground *string `json:"page_background,omitzero" tenon:"pattern=^#[0-9a-fA-F]{6}$;hint=a colour of the form #rrggbb"`
}

// BrandingFont is a font that browsers load.
type BrandingFont struct {
	// URL of the font, https.
	URL *string `json:"url,omitzero"`
}

// TenantSettings are the general settings, by the Management API's names
// (/tenants/settings).
type TenantSettings struct {
	// FriendlyName is what the login pages call the tenant.
	FriendlyName *string `json:"friendly_name,omitzero"`
	// PictureURL is the tenant's logo.
	PictureURL *string `json:"picture_url,omitzero"`
	// SupportEmail is shown to users who need help.
	SupportEmail *string `json:"support_email,omitzero"`
	// SupportURL is shown to users who need help.
	SupportURL *string `json:"support_url,omitzero"`
	// AllowedLogoutURLs are where a logout without client_id may return to.
	AllowedLogoutURLs []string `json:"allowed_logout_urls,omitzero"`
	// SessionLifetime is in hours; Auth0 accepts fractions.
	SessionLifetime *float64 `json:"session_lifetime,omitzero" tenon:"min=1"`
	// IdleSessionLifetime is in hours without activity.
	IdleSessionLifetime *float64 `json:"idle_session_lifetime,omitzero" tenon:"min=1"`
	// EphemeralSessionLifetime is in hours, for sessions that end with the browser.
	EphemeralSessionLifetime *float64 `json:"ephemeral_session_lifetime,omitzero" tenon:"min=1"`
	// IdleEphemeralSessionLifetime is in hours without activity, for sessions that
	// end with the browser.
	IdleEphemeralSessionLifetime *float64 `json:"idle_ephemeral_session_lifetime,omitzero" tenon:"min=1"`
	// EnabledLocales are the languages of the login pages; the first is the default.
	EnabledLocales []string `json:"enabled_locales,omitzero" tenon:"minItems=1"`
	// DefaultAudience is the API that an authorization without audience is for.
	DefaultAudience *string `json:"default_audience,omitzero"`
	// DefaultDirectory is the connection of password grants.
	DefaultDirectory *string `json:"default_directory,omitzero"`
	// DefaultRedirectionURI is where people are sent who cannot be sent back.
	DefaultRedirectionURI *string `json:"default_redirection_uri,omitzero"`
	// SandboxVersion is the Node.js version of legacy extensibility, for example "22".
	SandboxVersion *string `json:"sandbox_version,omitzero" tenon:"minLength=1;maxLength=8"`
	// SessionCookie says whether sessions outlive the browser.
	SessionCookie *SessionCookie `json:"session_cookie,omitzero"`
	// OIDCLogout is about the logout endpoint of OpenID Connect.
	OIDCLogout *OIDCLogout `json:"oidc_logout,omitzero"`
	// Flags switches features of the tenant on and off by name. Those not named are
	// left alone.
	Flags map[string]bool `json:"flags,omitzero"`
	// ACRValues are the authentication context classes that the tenant supports.
	ACRValues []string `json:"acr_values_supported,omitzero"`
	// MTLS is about mutual TLS.
	MTLS *MTLSEndpoints `json:"mtls,omitzero"`
	// PAR takes pushed authorization requests (RFC 9126).
	PAR *bool `json:"pushed_authorization_requests_supported,omitzero"`
	// Sessions is about logouts.
	Sessions *SessionsSetting `json:"sessions,omitzero"`
	// CustomizeMFA lets post-login actions decide about multi-factor authentication.
	CustomizeMFA *bool `json:"customize_mfa_in_postlogin_action,omitzero"`
}

// SessionCookie says whether sessions outlive the browser.
type SessionCookie struct {
	// Mode persistent outlives the browser.
	Mode string `json:"mode" tenon:"required;enum=persistent|non-persistent"`
}

// OIDCLogout is about the logout endpoint of OpenID Connect.
type OIDCLogout struct {
	// EndSessionEndpointDiscovery announces the end-session endpoint.
	EndSessionEndpointDiscovery *bool `json:"rp_logout_end_session_endpoint_discovery,omitzero"`
}

// MTLSEndpoints is about mutual TLS.
type MTLSEndpoints struct {
	// EnableEndpointAliases announces mTLS endpoint aliases.
	EnableEndpointAliases *bool `json:"enable_endpoint_aliases,omitzero"`
}

// SessionsSetting is about logouts.
type SessionsSetting struct {
	// OIDCLogoutPromptEnabled asks the user before a logout without hint.
	OIDCLogoutPromptEnabled *bool `json:"oidc_logout_prompt_enabled,omitzero"`
}

// TenantMFA is multi-factor authentication.
type TenantMFA struct {
	// Factors switches factors on and off by name. Those not named are left alone.
	Factors map[string]bool `json:"factors,omitzero" tenon:"keys=sms|push-notification|otp|email|duo|webauthn-roaming|webauthn-platform|recovery-code"`
	// Policy says when a second factor is asked for; adaptive goes by confidence
	// score, and needs the entitlement.
	Policy *string `json:"policy,omitzero" tenon:"enum=never|always|adaptive"`
}

// AttackProtection is the part of attack protection that every plan has.
type AttackProtection struct {
	// BruteForce limits failed logins to one account.
	BruteForce *BruteForceProtection `json:"brute_force_protection,omitzero"`
	// BreachedPassword acts on passwords that are known to have leaked.
	BreachedPassword *BreachedPasswordDetection `json:"breached_password_detection,omitzero"`
	// SuspiciousIP limits attempts from one address across accounts.
	SuspiciousIP *SuspiciousIPThrottling `json:"suspicious_ip_throttling,omitzero"`
}

// BruteForceProtection limits failed logins to one account.
type BruteForceProtection struct {
	// Enabled switches the protection.
	Enabled *bool `json:"enabled,omitzero"`
	// Shields are what happens at the limit.
	Shields []string `json:"shields,omitzero" tenon:"each=block|user_notification"`
	// Mode is what failed logins are counted by.
	Mode *string `json:"mode,omitzero" tenon:"enum=count_per_identifier_and_ip|count_per_identifier"`
	// Allowlist holds IP addresses and CIDR blocks.
	Allowlist []string `json:"allowlist,omitzero"`
	// MaxAttempts is the limit.
	MaxAttempts *int `json:"max_attempts,omitzero" tenon:"min=1;max=100"`
}

// BreachedPasswordDetection acts on passwords that are known to have leaked.
type BreachedPasswordDetection struct {
	// Enabled switches the detection.
	Enabled *bool `json:"enabled,omitzero"`
	// Shields are what happens at a login with a leaked password.
	Shields []string `json:"shields,omitzero" tenon:"each=block|user_notification|admin_notification"`
	// AdminNotificationFrequency is when administrators are told.
	AdminNotificationFrequency []string `json:"admin_notification_frequency,omitzero" tenon:"each=immediately|daily|weekly|monthly"`
	// Method enhanced is Credential Guard, and needs the entitlement.
	Method *string `json:"method,omitzero" tenon:"enum=standard|enhanced"`
	// Stage sets what happens elsewhere than at a login.
	Stage *BreachedStage `json:"stage,omitzero"`
}

// BreachedStage sets shields for sign-up and password change.
type BreachedStage struct {
	// PreUserRegistration is at sign-up.
	PreUserRegistration *StageShields `json:"pre-user-registration,omitzero"`
	// PreChangePassword is at a password change.
	PreChangePassword *StageShields `json:"pre-change-password,omitzero"`
}

// StageShields are what happens at a stage.
type StageShields struct {
	// Shields are what happens.
	Shields []string `json:"shields,omitzero" tenon:"each=block|admin_notification"`
}

// SuspiciousIPThrottling limits attempts from one address across accounts.
type SuspiciousIPThrottling struct {
	// Enabled switches the throttling.
	Enabled *bool `json:"enabled,omitzero"`
	// Shields are what happens at the limit.
	Shields []string `json:"shields,omitzero" tenon:"each=block|admin_notification"`
	// Allowlist holds IP addresses and CIDR blocks.
	Allowlist []string `json:"allowlist,omitzero"`
	// Stage sets the limits.
	Stage *ThrottlingStage `json:"stage,omitzero"`
}

// ThrottlingStage sets limits for logins and sign-ups.
type ThrottlingStage struct {
	// PreLogin limits logins.
	PreLogin *Throttle `json:"pre-login,omitzero"`
	// PreUserRegistration limits sign-ups.
	PreUserRegistration *Throttle `json:"pre-user-registration,omitzero"`
}

// Throttle is a limit: a number of attempts, and how fast more are granted.
type Throttle struct {
	// MaxAttempts is how many are let through at once: up to 2500 logins, 72000
	// sign-ups.
	MaxAttempts *int `json:"max_attempts,omitzero" tenon:"min=1;max=72000"`
	// Rate is the milliseconds after which one more is granted: from 34560 for
	// logins, from 1200 for sign-ups, up to a day.
	Rate *int `json:"rate,omitzero" tenon:"min=1200;max=86400000"`
}

// Kind implements Spec.
func (*Auth0TenantSpec) Kind() string { return KindTenant }

// References implements Spec. A tenant refers to nothing.
func (*Auth0TenantSpec) References() []Reference { return nil }

var domainPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[0-9]{1,5})?$`)

// Validate implements Spec.
func (s *Auth0TenantSpec) Validate() []Problem { return validate(s) }

func (s *Auth0TenantSpec) check(p *problems) {
	if s.Domain != "" && !domainPattern.MatchString(s.Domain) {
		p.add("spec.domain", "must be a host name in lower case without scheme or path, such as acme.eu.auth0.com")
	}
	if s.Settings != nil {
		s.Settings.check(p, "spec.settings")
	}
	if b := s.Branding; b != nil {
		p.httpsURLOrEmpty("spec.branding.logo_url", b.LogoURL)
		p.httpsURLOrEmpty("spec.branding.favicon_url", b.FaviconURL)
		if b.Font != nil {
			p.httpsURLOrEmpty("spec.branding.font.url", b.Font.URL)
		}
	}
	if s.AttackProtection != nil {
		s.AttackProtection.check(p, "spec.attack_protection")
	}
}

// MFAFactors lists the names of the factors that Auth0 has.
func MFAFactors() []string {
	return []string{"sms", "push-notification", "otp", "email", "duo", "webauthn-roaming", "webauthn-platform", "recovery-code"}
}

func (s *TenantSettings) check(p *problems, path string) {
	if s.SupportEmail != nil && *s.SupportEmail != "" {
		p.email(path+".support_email", *s.SupportEmail)
	}
	p.absoluteURLOrEmpty(path+".support_url", s.SupportURL)
	p.absoluteURLOrEmpty(path+".picture_url", s.PictureURL)
	p.httpsURLOrEmpty(path+".default_redirection_uri", s.DefaultRedirectionURI)
	p.each(path+".allowed_logout_urls", s.AllowedLogoutURLs, func(at, v string) { p.redirectURL(at, v, false) })
	if s.SessionLifetime != nil && s.IdleSessionLifetime != nil && *s.IdleSessionLifetime > *s.SessionLifetime {
		p.add(path+".idle_session_lifetime", "is longer than session_lifetime")
	}
	p.each(path+".enabled_locales", s.EnabledLocales, func(at, v string) {
		if !slices.Contains(locales, v) {
			p.add(at, "is %q, which is not a locale that Auth0 has", v)
		}
	})
	for _, name := range sortedKeys(s.Flags) {
		if !slices.Contains(tenantFlags, name) {
			p.add(path+".flags", "has %q, which is not a flag that Auth0 has", name)
		}
	}
	p.each(path+".acr_values_supported", s.ACRValues, p.notEmpty)
}

func (a *AttackProtection) check(p *problems, path string) {
	if b := a.BruteForce; b != nil {
		p.each(path+".brute_force_protection.shields", b.Shields, nil)
		p.each(path+".brute_force_protection.allowlist", b.Allowlist, p.address)
	}
	if b := a.BreachedPassword; b != nil {
		at := path + ".breached_password_detection"
		p.each(at+".shields", b.Shields, nil)
		p.each(at+".admin_notification_frequency", b.AdminNotificationFrequency, nil)
		if b.Stage != nil && b.Stage.PreUserRegistration != nil {
			p.each(at+".stage.pre-user-registration.shields", b.Stage.PreUserRegistration.Shields, nil)
		}
		if b.Stage != nil && b.Stage.PreChangePassword != nil {
			p.each(at+".stage.pre-change-password.shields", b.Stage.PreChangePassword.Shields, nil)
		}
	}
	if b := a.SuspiciousIP; b != nil {
		p.each(path+".suspicious_ip_throttling.shields", b.Shields, nil)
		p.each(path+".suspicious_ip_throttling.allowlist", b.Allowlist, p.address)
		if b.Stage != nil && b.Stage.PreLogin != nil {
			at, login := path+".suspicious_ip_throttling.stage.pre-login", b.Stage.PreLogin
			if login.MaxAttempts != nil && *login.MaxAttempts > 2500 {
				p.add(at+".max_attempts", "is %d, must be between 1 and 2500", *login.MaxAttempts)
			}
			if login.Rate != nil && *login.Rate >= 1200 && *login.Rate < 34_560 {
				p.add(at+".rate", "is %d, must be between 34560 and 86400000", *login.Rate)
			}
		}
	}
}

// tenantFlags and locales are those of the Management API's definition, June 2026.
var (
	tenantFlags = []string{
		"allow_changing_enable_sso", "allow_legacy_delegation_grant_types", "allow_legacy_ro_grant_types",
		"allow_legacy_tokeninfo_endpoint", "change_pwd_flow_v1", "custom_domains_provisioning", "dashboard_insights_view",
		"dashboard_log_streams_next", "disable_clickjack_protection_headers", "disable_fields_map_fix",
		"disable_impersonation", "disable_management_api_sms_obfuscation", "enable_adfs_waad_email_verification",
		"enable_apis_section", "enable_client_connections", "enable_dynamic_client_registration", "enable_idtoken_api2",
		"enable_legacy_profile", "enable_pipeline2", "enable_public_signup_user_exists_error", "enable_sso",
		"enforce_client_authentication_on_passwordless_start", "genai_trial", "improved_signup_bot_detection_in_classic",
		"mfa_show_factor_list_on_enrollment", "no_disclose_enterprise_connections", "remove_alg_from_jwks",
		"revoke_refresh_token_grant", "trust_azure_adfs_email_verified_connection_property",
	}
	locales = []string{
		"am", "ar", "ar-EG", "ar-SA", "az", "bg", "bn", "bs", "ca-ES", "cnr", "cs", "cy", "da", "de", "el", "en", "en-CA",
		"es", "es-419", "es-AR", "es-MX", "et", "eu-ES", "fa", "fi", "fr", "fr-CA", "fr-FR", "gl-ES", "gu", "he", "hi", "hr",
		"hu", "hy", "id", "is", "it", "ja", "ka", "kk", "kn", "ko", "lt", "lv", "mk", "ml", "mn", "mr", "ms", "my", "nb", "nl",
		"nn", "no", "pa", "pl", "pt", "pt-BR", "pt-PT", "ro", "ru", "sk", "sl", "so", "sq", "sr", "sv", "sw", "ta", "te", "th",
		"tl", "tr", "uk", "ur", "vi", "zgh", "zh-CN", "zh-HK", "zh-MO", "zh-TW",
	}
)
