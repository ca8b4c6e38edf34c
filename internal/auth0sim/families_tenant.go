package auth0sim

import (
	"net/http"
	"strings"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// tenantDefaults are the settings of a tenant that nobody has changed yet.
const tenantDefaults = `{
	"change_password": {"enabled": false}, "default_directory": "Username-Password-Authentication", "enabled_locales": ["en"],
	"flags": {
		"allow_changing_enable_sso": false, "allow_legacy_delegation_grant_types": true, "allow_legacy_ro_grant_types": true,
		"allow_other_legacy_grant_types": true, "cannot_change_enforce_client_authentication_on_passwordless_start": true,
		"disable_clickjack_protection_headers": false, "disable_impersonation": true, "enable_dynamic_client_registration": true,
		"enable_sso": true, "enforce_client_authentication_on_passwordless_start": true, "revoke_refresh_token_grant": false, "universal_login": true},
	"guardian_mfa_page": {"enabled": false},
	"idle_session_lifetime": 72, "session_lifetime": 168, "ephemeral_session_lifetime": 72, "idle_ephemeral_session_lifetime": 24,
	"sandbox_version": "22", "oidc_logout": {"rp_logout_end_session_endpoint_discovery": true},
	"resource_parameter_profile": "audience", "phone_consolidated_experience": false,
	"client_id_metadata_document_supported": true, "dynamic_client_registration_security_mode": "permissive"
}`

func tenantFamilies() []*family { return nil }

func tenantSingletons() []*singleton {
	return []*singleton{
		tenantSettings(),
		{path: "/attack-protection/brute-force-protection", store: "attack-protection", id: "brute-force-protection",
			defaults: `{"enabled": false, "shields": ["block", "user_notification"], "mode": "count_per_identifier_and_ip", "allowlist": [], "max_attempts": 10}`},
		{path: "/attack-protection/suspicious-ip-throttling", store: "attack-protection", id: "suspicious-ip-throttling",
			defaults: `{"enabled": false, "shields": ["admin_notification", "block"], "allowlist": [], "stage": {
				"pre-login": {"max_attempts": 100, "rate": 864000}, "pre-user-registration": {"max_attempts": 50, "rate": 1200},
				"pre-custom-token-exchange": {"max_attempts": 10, "rate": 600000}}}`, mergeKeys: []string{"stage"}, deepKeys: []string{"stage"}},
		{path: "/attack-protection/breached-password-detection", store: "attack-protection", id: "breached-password-detection",
			defaults: `{"enabled": false, "shields": [], "admin_notification_frequency": [], "method": "standard", "stage": {
				"pre-user-registration": {"shields": []}, "pre-change-password": {"shields": []}}}`, mergeKeys: []string{"stage"}, deepKeys: []string{"stage"}},
		{path: "/attack-protection/bot-detection", store: "attack-protection", id: "bot-detection", allowed: botDetection,
			defaults: `{"bot_detection_level": "medium", "challenge_password_policy": "never", "challenge_passwordless_policy": "never",
				"challenge_password_reset_policy": "never", "allowlist": [], "monitoring_mode_enabled": false}`},
		{path: "/attack-protection/captcha", store: "attack-protection", id: "captcha", allowed: botDetection,
			defaults: captchaDefaults, mergeKeys: []string{"auth_challenge", "recaptcha_v2", "recaptcha_enterprise", "hcaptcha", "friendly_captcha", "arkose"},
			show: func(_ *call, d doc) (any, error) {
				out := state.Clone(state.Public(d))
				for _, v := range out {
					if provider, isObject := v.(doc); isObject {
						for _, k := range []string{"secret", "api_key"} {
							delete(provider, k)
						}
					}
				}
				return out, nil
			}},
		{path: "/attack-protection/phone-provider-protection", store: "attack-protection", id: "phone-provider-protection", defaults: `{}`},
		{path: "/supplemental-signals", defaults: `{"akamai_enabled": false}`},
		{path: "/risk-assessments/settings", defaults: `{"enabled": false}`},
		{path: "/risk-assessments/settings/new-device", defaults: `{"remember_for": 30}`},
	}
}

func tenantSettings() *singleton {
	return &singleton{store: "tenants/settings", path: "/tenants/settings", defaults: tenantDefaults, mergeKeys: []string{"flags", "change_password", "guardian_mfa_page"},
		check: func(_ *call, d doc) error {
			// Session lifetimes may come in minutes; they are kept, and shown, in hours.
			for name, v := range d {
				hours, inMinutes := strings.CutSuffix(name, "_in_minutes")
				if minutes, isNumber := v.(float64); inMinutes && isNumber {
					delete(d, name)
					d[hours] = minutes / 60
				}
			}
			return nil
		},
		show: func(c *call, d doc) (any, error) {
			out := state.Clone(state.Public(d))
			if c.http.Method == http.MethodGet {
				// Only a read names what could be chosen, and leaves out what
				// cannot be changed.
				out["sandbox_versions_available"] = []any{"22", "18"}
				for name := range obj(out, "flags") {
					if strings.HasSuffix(name, "enforce_client_authentication_on_passwordless_start") {
						delete(obj(out, "flags"), name)
					}
				}
			}
			return out, nil
		}}
}

// captchaDefaults: every provider is shown, configured or not, without secrets.
const captchaDefaults = `{"active_provider_id": "auth_challenge", "simple_captcha": {}, "auth_challenge": {"fail_open": false}, "recaptcha_v2": {"site_key": ""},
	"recaptcha_enterprise": {"site_key": "", "project_id": ""}, "hcaptcha": {"site_key": ""}, "friendly_captcha": {"site_key": ""},
	"arkose": {"site_key": "", "client_subdomain": "client-api", "verify_subdomain": "verify-api", "fail_open": false}}`

func botDetection(c *call) error {
	if c.tenant.plan.botDetection {
		return nil
	}
	return refuse(http.StatusForbidden, "insufficient_entitlement", "Please upgrade your subscription to use bot detection")
}

func tenantHandlers() map[string]handler {
	return map[string]handler{
		"GET /keys/signing": func(c *call) (answer, error) {
			keys, err := signingKeyDocs(c)
			if err != nil {
				return answer{}, err
			}
			return ok(keys)
		},
		"GET /keys/signing/{}": func(c *call) (answer, error) {
			d, found, err := c.Get("keys/signing", c.id())
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, notFound("inexistent_signing_key", "The signing key does not exist.")
			}
			return ok(showSigningKey(d))
		},
		"POST /keys/signing/rotate": func(c *call) (answer, error) {
			key, err := c.RotateSigningKeys()
			if err != nil {
				return answer{}, err
			}
			d, _, err := c.Get("keys/signing", key.KID)
			if err != nil {
				return answer{}, err
			}
			return answer{status: http.StatusCreated, body: doc{"kid": key.KID, "cert": d["cert"]}}, nil
		},
		"PUT /keys/signing/{}/revoke": func(c *call) (answer, error) {
			d, found, err := c.Get("keys/signing", c.id())
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, notFound("inexistent_signing_key", "The signing key does not exist.")
			}
			if boolean(d, "current") || boolean(d, "next") {
				return answer{}, badRequest("The current and the next signing key cannot be revoked.")
			}
			d["revoked"], d["revoked_at"] = true, state.Timestamp(c.Now())
			c.after = append(c.after, c.tenant.bearer.forget)
			return answer{status: http.StatusOK, body: doc{"kid": d["kid"], "cert": d["cert"]}}, c.Put("keys/signing", c.id(), d)
		},
		"GET /stats/active-users": func(c *call) (answer, error) {
			since := state.Timestamp(c.Now().AddDate(0, 0, -30))
			n := 0
			err := c.Scan("users", func(u doc) (bool, error) {
				if str(u, "last_login") > since {
					n++
				}
				return true, nil
			})
			if err != nil {
				return answer{}, err
			}
			return ok(n)
		},
		"GET /stats/daily": dailyStats,
	}
}

func signingKeyDocs(c *call) ([]any, error) {
	docs, _, err := c.List("keys/signing", state.ListOptions{Descending: true})
	if err != nil {
		return nil, err
	}
	out := make([]any, 0, len(docs))
	// Current first, then next, then what is left, as the real answer is.
	for _, role := range []string{"current", "next", ""} {
		for _, d := range docs {
			if role == "" && !boolean(d, "current") && !boolean(d, "next") || role != "" && boolean(d, role) {
				out = append(out, showSigningKey(d))
			}
		}
	}
	return out, nil
}

func showSigningKey(d doc) doc {
	out := state.Public(d)
	delete(out, "thumbprint_sha256")
	for _, k := range []string{"current", "next", "previous", "revoked"} {
		if _, set := out[k]; !set && k != "revoked" {
			delete(out, k)
		}
	}
	return out
}

// dailyStats counts logins and signups by day from the tenant's logs.
func dailyStats(c *call) (answer, error) {
	from, to := c.query.Get("from"), c.query.Get("to")
	if to == "" {
		to = c.Now().Format("20060102")
	}
	if from == "" {
		from = c.Now().AddDate(0, 0, -30).Format("20060102")
	}
	days := map[string]doc{}
	var order []string
	err := c.Scan("logs", func(l doc) (bool, error) {
		day := str(l, "date")[:10]
		compact := strings.ReplaceAll(day, "-", "")
		if compact < from || compact > to {
			return true, nil
		}
		d := days[day]
		if d == nil {
			d = doc{"date": day + "T00:00:00.000Z", "logins": 0, "signups": 0, "leaked_passwords": 0,
				"created_at": day + "T00:00:00.000Z", "updated_at": str(l, "date")}
			days[day] = d
			order = append(order, day)
		}
		d["updated_at"] = str(l, "date")
		switch str(l, "type") {
		case "s":
			d["logins"] = d["logins"].(int) + 1
		case "ss":
			d["signups"] = d["signups"].(int) + 1
		case "pwd_leak":
			d["leaked_passwords"] = d["leaked_passwords"].(int) + 1
		}
		return true, nil
	})
	if err != nil {
		return answer{}, err
	}
	out := make([]any, 0, len(order))
	for _, day := range order {
		out = append(out, days[day])
	}
	return ok(out)
}
