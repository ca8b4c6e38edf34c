package v1

import (
	"regexp"
	"slices"
)

// Auth0TenantSpec is the tenant itself: settings, multi-factor authentication
// and attack protection. A tenant is neither created nor deleted; only the
// fields that are written down are changed.
type Auth0TenantSpec struct {
	// Domain of the tenant, without scheme: "acme.eu.auth0.com". It must be the
	// tenant that the resources are applied to.
	Domain           string            `json:"domain"`
	Settings         *TenantSettings   `json:"settings,omitzero"`
	MFA              *TenantMFA        `json:"mfa,omitzero"`
	AttackProtection *AttackProtection `json:"attack_protection,omitzero"`
}

// TenantSettings are the general settings, by the Management API's names
// (/tenants/settings).
type TenantSettings struct {
	FriendlyName *string `json:"friendly_name,omitzero"`
	PictureURL   *string `json:"picture_url,omitzero"`
	SupportEmail *string `json:"support_email,omitzero"`
	SupportURL   *string `json:"support_url,omitzero"`
	// AllowedLogoutURLs are where a logout without client_id may return to.
	AllowedLogoutURLs []string `json:"allowed_logout_urls,omitzero"`
	// Lifetimes are in hours, at least 1; Auth0 accepts fractions.
	SessionLifetime              *float64 `json:"session_lifetime,omitzero"`
	IdleSessionLifetime          *float64 `json:"idle_session_lifetime,omitzero"`
	EphemeralSessionLifetime     *float64 `json:"ephemeral_session_lifetime,omitzero"`
	IdleEphemeralSessionLifetime *float64 `json:"idle_ephemeral_session_lifetime,omitzero"`
	// EnabledLocales are the languages of the login pages; the first is the default.
	EnabledLocales []string `json:"enabled_locales,omitzero"`
	// DefaultAudience is the API that an authorization without audience is for.
	DefaultAudience *string `json:"default_audience,omitzero"`
	// DefaultDirectory is the connection of password grants.
	DefaultDirectory      *string `json:"default_directory,omitzero"`
	DefaultRedirectionURI *string `json:"default_redirection_uri,omitzero"`
	// SandboxVersion is the Node.js version of legacy extensibility, for example "22".
	SandboxVersion *string          `json:"sandbox_version,omitzero"`
	SessionCookie  *SessionCookie   `json:"session_cookie,omitzero"`
	OIDCLogout     *OIDCLogout      `json:"oidc_logout,omitzero"`
	Flags          map[string]bool  `json:"flags,omitzero"`
	ACRValues      []string         `json:"acr_values_supported,omitzero"`
	MTLS           *MTLSEndpoints   `json:"mtls,omitzero"`
	PAR            *bool            `json:"pushed_authorization_requests_supported,omitzero"`
	Sessions       *SessionsSetting `json:"sessions,omitzero"`
	// CustomizeMFA lets post-login actions decide about multi-factor authentication.
	CustomizeMFA *bool `json:"customize_mfa_in_postlogin_action,omitzero"`
}

// SessionCookie says whether the session outlives the browser: persistent or
// non-persistent.
type SessionCookie struct {
	Mode string `json:"mode"`
}

// OIDCLogout is whether discovery announces the end-session endpoint.
type OIDCLogout struct {
	EndSessionEndpointDiscovery *bool `json:"rp_logout_end_session_endpoint_discovery,omitzero"`
}

// MTLSEndpoints is whether discovery announces mTLS endpoint aliases.
type MTLSEndpoints struct {
	EnableEndpointAliases *bool `json:"enable_endpoint_aliases,omitzero"`
}

// SessionsSetting is whether a logout asks the user first.
type SessionsSetting struct {
	OIDCLogoutPromptEnabled *bool `json:"oidc_logout_prompt_enabled,omitzero"`
}

// TenantMFA is multi-factor authentication.
type TenantMFA struct {
	// Factors switches factors on and off by name: sms, push-notification, otp,
	// email, duo, webauthn-roaming, webauthn-platform, recovery-code. Those not
	// named are left alone.
	Factors map[string]bool `json:"factors,omitzero"`
	// Policy is never, always, or adaptive (by confidence score; needs the
	// entitlement).
	Policy *string `json:"policy,omitzero"`
}

// AttackProtection is the part of attack protection that every plan has.
type AttackProtection struct {
	BruteForce       *BruteForceProtection      `json:"brute_force_protection,omitzero"`
	BreachedPassword *BreachedPasswordDetection `json:"breached_password_detection,omitzero"`
	SuspiciousIP     *SuspiciousIPThrottling    `json:"suspicious_ip_throttling,omitzero"`
}

// BruteForceProtection limits failed logins to one account.
type BruteForceProtection struct {
	Enabled *bool `json:"enabled,omitzero"`
	// Shields are block and user_notification.
	Shields []string `json:"shields,omitzero"`
	// Mode is count_per_identifier_and_ip or count_per_identifier.
	Mode *string `json:"mode,omitzero"`
	// Allowlist holds IP addresses and CIDR blocks.
	Allowlist []string `json:"allowlist,omitzero"`
	// MaxAttempts is between 1 and 100.
	MaxAttempts *int `json:"max_attempts,omitzero"`
}

// BreachedPasswordDetection acts on passwords that are known to have leaked.
type BreachedPasswordDetection struct {
	Enabled *bool `json:"enabled,omitzero"`
	// Shields are block, user_notification and admin_notification.
	Shields []string `json:"shields,omitzero"`
	// AdminNotificationFrequency holds immediately, daily, weekly, monthly.
	AdminNotificationFrequency []string `json:"admin_notification_frequency,omitzero"`
	// Method is standard or enhanced (Credential Guard; needs the entitlement).
	Method *string        `json:"method,omitzero"`
	Stage  *BreachedStage `json:"stage,omitzero"`
}

// BreachedStage sets shields for sign-up and password change.
type BreachedStage struct {
	PreUserRegistration *StageShields `json:"pre-user-registration,omitzero"`
	PreChangePassword   *StageShields `json:"pre-change-password,omitzero"`
}

// StageShields are block and admin_notification.
type StageShields struct {
	Shields []string `json:"shields,omitzero"`
}

// SuspiciousIPThrottling limits attempts from one address across accounts.
type SuspiciousIPThrottling struct {
	Enabled *bool `json:"enabled,omitzero"`
	// Shields are block and admin_notification.
	Shields []string `json:"shields,omitzero"`
	// Allowlist holds IP addresses and CIDR blocks.
	Allowlist []string         `json:"allowlist,omitzero"`
	Stage     *ThrottlingStage `json:"stage,omitzero"`
}

// ThrottlingStage sets thresholds for logins and sign-ups.
type ThrottlingStage struct {
	PreLogin            *Throttle `json:"pre-login,omitzero"`
	PreUserRegistration *Throttle `json:"pre-user-registration,omitzero"`
}

// Throttle is a threshold: a number of attempts, and the milliseconds after
// which one more is granted.
type Throttle struct {
	MaxAttempts *int `json:"max_attempts,omitzero"`
	Rate        *int `json:"rate,omitzero"`
}

// Kind implements Spec.
func (*Auth0TenantSpec) Kind() string { return KindTenant }

// References implements Spec. A tenant refers to nothing.
func (*Auth0TenantSpec) References() []Reference { return nil }

var domainPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[0-9]{1,5})?$`)

// Validate implements Spec.
func (s *Auth0TenantSpec) Validate() []Problem {
	var p problems
	if p.required("spec.domain", s.Domain) && !domainPattern.MatchString(s.Domain) {
		p.add("spec.domain", "must be a host name in lower case without scheme or path, such as acme.eu.auth0.com")
	}
	if s.Settings != nil {
		s.Settings.validate(&p, "spec.settings")
	}
	if s.MFA != nil {
		for _, name := range sortedKeys(s.MFA.Factors) {
			if !slices.Contains(MFAFactors(), name) {
				p.oneOf("spec.mfa.factors", name, MFAFactors()...)
			}
		}
		p.oneOfPtr("spec.mfa.policy", s.MFA.Policy, "never", "always", "adaptive")
	}
	if s.AttackProtection != nil {
		s.AttackProtection.validate(&p, "spec.attack_protection")
	}
	return p
}

// MFAFactors lists the names of the factors that Auth0 has.
func MFAFactors() []string {
	return []string{"sms", "push-notification", "otp", "email", "duo", "webauthn-roaming", "webauthn-platform", "recovery-code"}
}

func (s *TenantSettings) validate(p *problems, path string) {
	if s.SupportEmail != nil && *s.SupportEmail != "" {
		p.email(path+".support_email", *s.SupportEmail)
	}
	p.absoluteURLOrEmpty(path+".support_url", s.SupportURL)
	p.absoluteURLOrEmpty(path+".picture_url", s.PictureURL)
	p.httpsURLOrEmpty(path+".default_redirection_uri", s.DefaultRedirectionURI)
	p.each(path+".allowed_logout_urls", s.AllowedLogoutURLs, func(at, v string) { p.redirectURL(at, v, false) })
	p.lengthPtr(path+".sandbox_version", s.SandboxVersion, 1, 8)
	for _, f := range []struct {
		name  string
		value *float64
	}{
		{"session_lifetime", s.SessionLifetime}, {"idle_session_lifetime", s.IdleSessionLifetime},
		{"ephemeral_session_lifetime", s.EphemeralSessionLifetime}, {"idle_ephemeral_session_lifetime", s.IdleEphemeralSessionLifetime},
	} {
		atLeast(p, path+"."+f.name, f.value, 1)
	}
	if s.SessionLifetime != nil && s.IdleSessionLifetime != nil && *s.IdleSessionLifetime > *s.SessionLifetime {
		p.add(path+".idle_session_lifetime", "is longer than session_lifetime")
	}
	if s.EnabledLocales != nil && len(s.EnabledLocales) == 0 {
		p.add(path+".enabled_locales", "must name at least one locale")
	}
	p.each(path+".enabled_locales", s.EnabledLocales, func(at, v string) {
		if !slices.Contains(locales, v) {
			p.add(at, "is %q, which is not a locale that Auth0 has", v)
		}
	})
	if s.SessionCookie != nil {
		p.oneOf(path+".session_cookie.mode", s.SessionCookie.Mode, "persistent", "non-persistent")
	}
	for _, name := range sortedKeys(s.Flags) {
		if !slices.Contains(tenantFlags, name) {
			p.add(path+".flags", "has %q, which is not a flag that Auth0 has", name)
		}
	}
	p.each(path+".acr_values_supported", s.ACRValues, p.notEmpty)
}

func (a *AttackProtection) validate(p *problems, path string) {
	if b := a.BruteForce; b != nil {
		at := path + ".brute_force_protection"
		p.eachOf(at+".shields", b.Shields, "block", "user_notification")
		p.oneOfPtr(at+".mode", b.Mode, "count_per_identifier_and_ip", "count_per_identifier")
		p.each(at+".allowlist", b.Allowlist, p.address)
		between(p, at+".max_attempts", b.MaxAttempts, 1, 100)
	}
	if b := a.BreachedPassword; b != nil {
		at := path + ".breached_password_detection"
		p.eachOf(at+".shields", b.Shields, "block", "user_notification", "admin_notification")
		p.eachOf(at+".admin_notification_frequency", b.AdminNotificationFrequency, "immediately", "daily", "weekly", "monthly")
		p.oneOfPtr(at+".method", b.Method, "standard", "enhanced")
		if b.Stage != nil {
			if s := b.Stage.PreUserRegistration; s != nil {
				p.eachOf(at+".stage.pre-user-registration.shields", s.Shields, "block", "admin_notification")
			}
			if s := b.Stage.PreChangePassword; s != nil {
				p.eachOf(at+".stage.pre-change-password.shields", s.Shields, "block", "admin_notification")
			}
		}
	}
	if b := a.SuspiciousIP; b != nil {
		at := path + ".suspicious_ip_throttling"
		p.eachOf(at+".shields", b.Shields, "block", "admin_notification")
		p.each(at+".allowlist", b.Allowlist, p.address)
		if b.Stage != nil && b.Stage.PreLogin != nil {
			between(p, at+".stage.pre-login.max_attempts", b.Stage.PreLogin.MaxAttempts, 1, 2500)
			between(p, at+".stage.pre-login.rate", b.Stage.PreLogin.Rate, 34_560, 86_400_000)
		}
		if b.Stage != nil && b.Stage.PreUserRegistration != nil {
			between(p, at+".stage.pre-user-registration.max_attempts", b.Stage.PreUserRegistration.MaxAttempts, 1, 72_000)
			between(p, at+".stage.pre-user-registration.rate", b.Stage.PreUserRegistration.Rate, 1_200, 86_400_000)
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
