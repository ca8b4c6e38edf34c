package direct

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
)

// tenantKind is the tenant's singletons. They always exist, so a step updates
// them or does nothing; its live tree is read only as far as the resource goes.
type tenantKind struct{ base }

func (tenantKind) rank() int { return 0 }

func (tenantKind) scopes() []string {
	return []string{
		"read:tenant_settings", "update:tenant_settings",
		"read:guardian_factors", "update:guardian_factors", "read:mfa_policies", "update:mfa_policies",
		"read:attack_protection", "update:attack_protection", "read:branding", "update:branding",
	}
}

// attackProtection maps the spec's names to those of the API.
var attackProtection = map[string]string{
	"brute_force_protection":      "brute-force-protection",
	"breached_password_detection": "breached-password-detection",
	"suspicious_ip_throttling":    "suspicious-ip-throttling",
}

// mfaPolicies maps the spec's words to the API's, which are a list of at most one.
var mfaPolicies = map[string][]any{"never": {}, "always": {"all-applications"}, "adaptive": {"confidence-score"}}

func (tenantKind) want(_ context.Context, s *session, r v1.Resource, _ resolver) (fields, error) {
	spec, err := specOf[*v1.Auth0TenantSpec](r)
	if err != nil {
		return nil, err
	}
	if spec.Domain != "" && spec.Domain != s.Domain() {
		return nil, &auth0.Error{Class: auth0.Invalid, Operation: "plan tenant",
			Message: fmt.Sprintf("the resource is for %s, but the tenant is %s", spec.Domain, s.Domain())}
	}
	want, err := toFields(spec)
	if err != nil {
		return nil, err
	}
	delete(want, "domain")
	delete(want, "credentials") // how Tenon calls is the worker's configuration
	sortTenant(want)
	return want, nil
}

func sortTenant(f fields) {
	sortSets(f, "settings.allowed_logout_urls", "settings.acr_values_supported",
		"attack_protection.brute_force_protection.shields", "attack_protection.brute_force_protection.allowlist",
		"attack_protection.breached_password_detection.shields", "attack_protection.breached_password_detection.admin_notification_frequency",
		"attack_protection.breached_password_detection.stage.pre-user-registration.shields",
		"attack_protection.breached_password_detection.stage.pre-change-password.shields",
		"attack_protection.suspicious_ip_throttling.shields", "attack_protection.suspicious_ip_throttling.allowlist")
}

// part reads one of the tenant's singletons once for each session.
func (s *session) part(ctx context.Context, operation string, path ...string) (fields, error) {
	t, err := s.once("part "+fmt.Sprint(path), func() (*table, error) {
		f, err := s.get(ctx, operation, nil, path...)
		return &table{rows: []fields{f}}, err
	})
	if err != nil {
		return nil, err
	}
	return object(clone(t.rows[0])), nil
}

func (tenantKind) template() fields {
	t := templateOf(&v1.Auth0TenantSpec{})
	delete(t, "domain")
	delete(t, "credentials")
	return t
}

// A tenant always exists, and is what its parts are.
func (tenantKind) read(_ context.Context, s *session, _ string) (fields, error) {
	return fields{"domain": s.Domain()}, nil
}

func (k tenantKind) search(ctx context.Context, s *session, _ v1.Resource, _ fields) (fields, error) {
	return k.read(ctx, s, "")
}

func (k tenantKind) every(ctx context.Context, s *session) ([]fields, error) {
	raw, err := k.read(ctx, s, "")
	return []fields{raw}, err
}

func (tenantKind) export(*session, fields) (name, skip string) { return "tenant", "" }

// view reads the parts that are wanted, each once for all resources.
func (tenantKind) view(ctx context.Context, s *session, _ v1.Resource, _, want fields) (*found, error) {
	live := fields{}
	if want["settings"] != nil {
		settings, err := s.part(ctx, "read tenant settings", "tenants", "settings")
		if err != nil {
			return nil, err
		}
		live["settings"] = settings
	}
	if want["branding"] != nil {
		branding, err := s.part(ctx, "read branding", "branding")
		if err != nil {
			return nil, err
		}
		live["branding"] = branding
	}
	if mfa := object(want["mfa"]); mfa != nil {
		got := fields{}
		if mfa["factors"] != nil {
			factors, err := s.once("MFA factors", func() (*table, error) {
				var rows []fields
				err := s.Do(ctx, auth0.Request{Operation: "read MFA factors", Method: http.MethodGet, Path: []string{"guardian", "factors"}}, &rows)
				return &table{rows: rows}, err
			})
			if err != nil {
				return nil, err
			}
			enabled := fields{}
			for _, f := range factors.rows {
				enabled[text(f["name"])] = f["enabled"] == true
			}
			got["factors"] = enabled
		}
		if mfa["policy"] != nil {
			policies, err := s.once("MFA policies", func() (*table, error) {
				var names []any
				err := s.Do(ctx, auth0.Request{Operation: "read MFA policies", Method: http.MethodGet, Path: []string{"guardian", "policies"}}, &names)
				return &table{rows: []fields{{"policies": names}}}, err
			})
			if err != nil {
				return nil, err
			}
			got["policy"] = policyName(list(policies.rows[0]["policies"]))
		}
		live["mfa"] = got
	}
	if wanted := object(want["attack_protection"]); wanted != nil {
		got := fields{}
		for _, name := range slices.Sorted(maps.Keys(wanted)) {
			settings, err := s.part(ctx, "read "+strings.ReplaceAll(name, "_", " "), "attack-protection", attackProtection[name])
			if err != nil {
				return nil, err
			}
			got[name] = settings
		}
		live["attack_protection"] = got
	}
	sortTenant(live)
	return &found{id: s.Domain(), live: live, raw: live}, nil
}

// policyName is the word for a list of policies; a list that has no word is
// shown as it is and differs from every word.
func policyName(policies []any) string {
	for word, list := range mfaPolicies {
		if canonical(list) == canonical(append([]any{}, policies...)) {
			return word
		}
	}
	return strings.Join(strs(policies), "+")
}

func (tenantKind) create(context.Context, *session, v1.Resource, fields, string) (*found, error) {
	return nil, fmt.Errorf("a tenant cannot be created through its own Management API")
}

func (tenantKind) converge(ctx context.Context, s *session, _ v1.Resource, live *found, want fields) error {
	settings, now := object(want["settings"]), object(live.live["settings"])
	if keys := changedKeys(now, settings); len(keys) > 0 {
		body := fields{}
		for _, k := range keys {
			body[k] = settings[k]
		}
		if _, err := s.send(ctx, "update tenant settings", http.MethodPatch, body, "tenants", "settings"); err != nil {
			return err
		}
	}
	if branding, now := object(want["branding"]), object(live.live["branding"]); len(changedKeys(now, branding)) > 0 {
		body := fields{}
		for _, k := range changedKeys(now, branding) {
			body[k] = branding[k]
			if k == "colors" {
				body[k] = merge(object(now[k]), branding[k])
			}
		}
		if _, err := s.send(ctx, "update branding", http.MethodPatch, body, "branding"); err != nil {
			return err
		}
	}
	if err := convergeMFA(ctx, s, object(live.live["mfa"]), object(want["mfa"])); err != nil {
		return err
	}
	protection := object(want["attack_protection"])
	got := object(live.live["attack_protection"])
	for _, name := range changedKeys(got, protection) {
		wanted, now := object(protection[name]), object(got[name])
		body := fields{}
		for _, k := range changedKeys(now, wanted) {
			body[k] = wanted[k]
			if k == "stage" {
				// A stage is replaced as a whole: its other thresholds are sent along.
				body[k] = merge(project(now[k], stagesOf(name)), wanted[k])
				dropNil(object(body[k]))
			}
		}
		if _, err := s.send(ctx, "update "+strings.ReplaceAll(name, "_", " "), http.MethodPatch, body, "attack-protection", attackProtection[name]); err != nil {
			return err
		}
	}
	return nil
}

// stagesOf has the stages that the API lets be written; answers hold more.
func stagesOf(name string) fields {
	if name == "suspicious_ip_throttling" {
		limits := fields{"max_attempts": true, "rate": true}
		return fields{"pre-login": limits, "pre-user-registration": limits}
	}
	shields := fields{"shields": true}
	return fields{"pre-user-registration": shields, "pre-change-password": shields}
}

// dropNil removes explicit nils, on every level, and objects that hold nothing else.
func dropNil(f fields) {
	for k, v := range f {
		if child, ok := v.(fields); ok {
			if dropNil(child); len(child) > 0 {
				continue
			}
		} else if v != nil {
			continue
		}
		delete(f, k)
	}
}

func convergeMFA(ctx context.Context, s *session, live, want fields) error {
	factors := object(want["factors"])
	for _, name := range changedKeys(object(live["factors"]), factors) {
		if _, err := s.send(ctx, "set MFA factor "+name, http.MethodPut, fields{"enabled": factors[name]}, "guardian", "factors", name); err != nil {
			return err
		}
	}
	if policy := text(want["policy"]); policy != "" && policy != live["policy"] {
		list, ok := mfaPolicies[policy]
		if !ok {
			list = anys(strings.Split(policy, "+"))
		}
		if _, err := s.send(ctx, "set MFA policy", http.MethodPut, list, "guardian", "policies"); err != nil {
			return err
		}
	}
	return nil
}

func (tenantKind) remove(context.Context, *session, v1.Resource, *found) error { return nil }

func (k tenantKind) report(s *session, _ v1.Resource, _ *found) engine.Outputs {
	return engine.Outputs{"domain": s.Domain()}
}

func (tenantKind) calls(step engine.Step) int {
	parts := map[string]bool{}
	for _, c := range step.Changes {
		head, rest, _ := strings.Cut(c.Path, ".")
		part, _, _ := strings.Cut(rest, ".")
		if head == "settings" {
			part = ""
		}
		if head == "mfa" && part == "factors" {
			part = rest
		}
		parts[head+"."+part] = true
	}
	return 3 * len(parts)
}

func (tenantKind) unset(path string, want any) (any, bool) {
	switch path {
	case "branding.logo_url", "branding.favicon_url", "branding.font.url", "branding.colors.primary", "branding.colors.page_background",
		"settings.session_cookie.mode", "settings.session_cookie", "settings.mtls", "settings.acr_values_supported", "settings.sessions":
		return nil, true
	case "settings.friendly_name", "settings.picture_url", "settings.support_email", "settings.support_url",
		"settings.default_audience", "settings.default_directory", "settings.default_redirection_uri":
		return "", true
	}
	return base{}.unset(path, want)
}

// widens: protection that is weakened lets an attacker do more.
func (tenantKind) widens(c engine.Change) bool {
	switch {
	case strings.HasPrefix(c.Path, "mfa.factors."), strings.HasSuffix(c.Path, ".enabled"):
		return c.After == false
	case c.Path == "mfa.policy":
		strength := []any{"never", "adaptive", "always"}
		return slices.Index(strength, c.After) < slices.Index(strength, c.Before)
	case strings.HasSuffix(c.Path, ".allowlist"), c.Path == "settings.allowed_logout_urls":
		return len(added(c.Before, c.After)) > 0
	case strings.HasSuffix(c.Path, ".shields"):
		return len(minus(c.Before, c.After)) > 0
	case strings.HasSuffix(c.Path, "max_attempts"), strings.HasSuffix(c.Path, "session_lifetime"):
		before, ok1 := c.Before.(float64)
		after, ok2 := c.After.(float64)
		return ok1 && ok2 && after > before
	case c.Path == "settings.flags.enable_dynamic_client_registration":
		return c.After == true
	}
	return false
}
