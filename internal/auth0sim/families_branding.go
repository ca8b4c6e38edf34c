package auth0sim

import (
	"net/http"
	"strings"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// acceptsHTML names the operations whose body may be a page instead of JSON.
var acceptsHTML = map[string]bool{"PUT /branding/templates/universal-login": true}

const brandingDefaults = `{"colors": {"page_background": "#000000", "primary": "#0059d6"}}`

var templateNames = []string{"verify_email", "verify_email_by_code", "reset_email", "reset_email_by_code", "welcome_email", "blocked_account",
	"stolen_credentials", "enrollment_email", "mfa_oob_code", "user_invitation", "change_password", "password_reset", "async_approval"}

func brandingFamilies() []*family {
	return []*family{
		{
			path: "/branding/themes", field: "themeId", kind: state.ThemeID, created: http.StatusOK, only: "create get patch delete",
			missing: notFound("theme_not_found", "There was an error retrieving branding settings: invalid theme ID"),
			prepare: func(c *call, _ doc) error {
				n, err := c.Count("branding/themes", state.ListOptions{})
				if err == nil && n > 0 {
					err = conflict("theme_conflict", "The theme already exists")
				}
				return err
			},
		},
		{path: "/branding/phone/providers", kind: state.PhoneProviderID, list: listing{wrap: "providers", always: true, checkpoint: true}, stamped: true,
			missing: notFound("", "Phone provider not found"), defaults: `{"disabled": false, "channel": "phone"}`,
			prepare: func(c *call, d doc) error {
				n, err := c.Count("branding/phone/providers", state.ListOptions{})
				if err == nil && n > 0 {
					err = refuse(http.StatusBadRequest, "", "Bad Operation on Notification Resource")
				}
				configuration := obj(d, "configuration")
				if err == nil && str(d, "name") == "twilio" && str(configuration, "default_from") == "" && str(configuration, "mssid") == "" {
					err = refuse(http.StatusBadRequest, "", "Bad Operation on Notification Resource")
				}
				d["tenant"] = c.tenant.name
				return err
			},
			show: hide("credentials")},
		{path: "/branding/phone/templates", kind: state.PhoneTemplateID, list: listing{wrap: "templates", always: true, checkpoint: true}, missing: notFound("", "Phone template not found"),
			filters: []string{"disabled"}, stamped: true, mergeKeys: []string{"content"}, defaults: `{"channel": "phone", "disabled": false, "content": {"syntax": "liquid"}}`,
			prepare: func(c *call, d doc) error {
				d["tenant"] = c.tenant.name
				return nil
			}},
	}
}

func brandingSingletons() []*singleton {
	return []*singleton{
		{path: "/branding", store: "branding", id: "branding", defaults: brandingDefaults},
		{path: "/prompts/mfa-push", store: "prompts/mfa-push"},
		{path: "/prompts", store: "prompts", defaults: `{"universal_login_experience": "new", "identifier_first": false, "webauthn_platform_first_factor": false}`},
	}
}

var templateMissing = notFound("inexistent_email_template", "The template does not exist.")

func brandingHandlers() map[string]handler {
	phone := brandingFamilies()[2]
	phone.fill()
	out := map[string]handler{
		"GET /branding/templates/universal-login": func(c *call) (answer, error) {
			d, found, err := c.Get("branding/templates", "universal-login")
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, notFound("inexistent_templates_universal_login", "Template does not exist.")
			}
			return ok(doc{"body": d["body"]})
		},
		"PUT /branding/templates/universal-login": func(c *call) (answer, error) {
			body, isText := c.body.(string)
			if !isText {
				body = str(c.object(), "template")
			}
			if len(body) > 102400 {
				return answer{}, refuse(http.StatusRequestEntityTooLarge, "", "Payload content length greater than maximum allowed: 102400")
			}
			if !strings.Contains(body, "auth0:head") || !strings.Contains(body, "auth0:widget") {
				return answer{}, badRequest("The template must contain the auth0:head and auth0:widget tags.")
			}
			if !c.tenant.plan.customDomains {
				return answer{}, refuse(http.StatusPaymentRequired, "", "A paid subscription is required for this feature.")
			}
			_, existed, err := c.Get("branding/templates", "universal-login")
			if err != nil {
				return answer{}, err
			}
			status := http.StatusCreated
			var shown any = doc{}
			if existed {
				status, shown = http.StatusNoContent, nil
			}
			return answer{status: status, body: shown}, c.Put("branding/templates", "universal-login", doc{"body": body})
		},
		"DELETE /branding/templates/universal-login": func(c *call) (answer, error) {
			if _, err := c.Delete("branding/templates", "universal-login"); err != nil {
				return answer{}, err
			}
			return noContent()
		},
		"GET /branding/themes/default": func(c *call) (answer, error) {
			docs, _, err := c.List("branding/themes", state.ListOptions{Limit: 1})
			if err != nil {
				return answer{}, err
			}
			if len(docs) == 0 {
				return answer{}, notFound("theme_not_found", "There was an error retrieving branding settings: invalid theme ID")
			}
			return ok(state.Public(docs[0]))
		},
		"POST /branding/phone/providers/{}/try": tried("branding/phone/providers", notFound("", "Phone provider not found")),
		"POST /branding/phone/templates/{}/try": tried("branding/phone/templates", notFound("", "Phone template not found")),
		"PATCH /branding/phone/templates/{}/reset": func(c *call) (answer, error) {
			d, err := phone.get(c)
			if err != nil {
				return answer{}, err
			}
			delete(d, "content")
			if err := c.Put(phone.store, c.id(), d); err != nil {
				return answer{}, err
			}
			return phone.answer(c, http.StatusOK, d)
		},
		"GET /prompts/{}/custom-text/{}": func(c *call) (answer, error) {
			d, _, err := c.Get("prompts/custom-text", state.Key(c.params...))
			if err != nil {
				return answer{}, err
			}
			if d == nil {
				d = doc{}
			}
			return ok(d)
		},
		"PUT /prompts/{}/custom-text/{}": func(c *call) (answer, error) {
			return answer{status: http.StatusOK, body: c.object()}, c.Put("prompts/custom-text", state.Key(c.params...), c.object())
		},
		"GET /prompts/{}/partials": func(c *call) (answer, error) {
			d, _, err := c.Get("prompts/partials", c.id())
			if err != nil {
				return answer{}, err
			}
			if d == nil {
				d = doc{}
			}
			return ok(d)
		},
		"PUT /prompts/{}/partials": func(c *call) (answer, error) {
			d := state.Clone(c.object())
			for screen, v := range d {
				if o, isObject := v.(doc); isObject && len(o) == 0 {
					delete(d, screen)
				}
			}
			return answer{status: http.StatusOK, body: d}, c.Put("prompts/partials", c.id(), d)
		},
		"GET /prompts/rendering": func(c *call) (answer, error) {
			return c.list(listing{family: "prompts/rendering", wrap: "configs"})
		},
		"PATCH /prompts/rendering": func(c *call) (answer, error) {
			configs := list(c.object(), "configs")
			for _, e := range configs {
				d, _ := e.(doc)
				if err := c.Put("prompts/rendering", state.Key(str(d, "prompt"), str(d, "screen")), d); err != nil {
					return answer{}, err
				}
			}
			return ok(doc{"configs": configs})
		},
		"GET /prompts/{}/screen/{}/rendering": func(c *call) (answer, error) {
			d, err := loadRendering(c)
			if err != nil {
				return answer{}, err
			}
			return ok(d)
		},
		"PATCH /prompts/{}/screen/{}/rendering": func(c *call) (answer, error) {
			d, err := loadRendering(c)
			if err != nil {
				return answer{}, err
			}
			merge(d, c.object(), nil, nil)
			return answer{status: http.StatusOK, body: d}, c.Put("prompts/rendering", state.Key(c.params...), d)
		},
		"GET /emails/provider": func(c *call) (answer, error) {
			d, found, err := c.Get("emails", "provider")
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, notFound("inexistent_email_provider", "There is not a configured email provider")
			}
			return ok(c.fields(showEmailProvider(d)))
		},
		"POST /emails/provider": func(c *call) (answer, error) {
			d, found, err := c.Get("emails", "provider")
			if err != nil {
				return answer{}, err
			}
			if found {
				return answer{}, conflict("", "An email provider is already configured: "+str(d, "name"))
			}
			d = state.Clone(c.object())
			fillGaps(d, doc{"enabled": true})
			return answer{status: http.StatusCreated, body: showEmailProvider(d)}, c.Put("emails", "provider", d)
		},
		"PATCH /emails/provider": func(c *call) (answer, error) {
			d, found, err := c.Get("emails", "provider")
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, notFound("inexistent_email_provider", "There is not a configured email provider")
			}
			merge(d, state.Clone(c.object()), []string{"settings"}, nil)
			return answer{status: http.StatusOK, body: showEmailProvider(d)}, c.Put("emails", "provider", d)
		},
		"DELETE /emails/provider": func(c *call) (answer, error) {
			if _, err := c.Delete("emails", "provider"); err != nil {
				return answer{}, err
			}
			return noContent()
		},
		"POST /email-templates": func(c *call) (answer, error) {
			name := str(c.object(), "template")
			if _, found, err := c.Get("email-templates", name); err != nil || found {
				if err == nil {
					err = conflict("", "Template "+name+" already exists.")
				}
				return answer{}, err
			}
			return answer{status: http.StatusOK, body: c.object()}, c.Put("email-templates", name, c.object())
		},
		"GET /email-templates/{}": func(c *call) (answer, error) {
			d, found, err := c.Get("email-templates", c.id())
			if err != nil {
				return answer{}, err
			}
			if !found || !has(templateNames, c.id()) {
				return answer{}, templateMissing
			}
			return ok(d)
		},
		"PUT /email-templates/{}": func(c *call) (answer, error) {
			d := state.Clone(c.object())
			d["template"] = c.id()
			return answer{status: http.StatusOK, body: d}, c.Put("email-templates", c.id(), d)
		},
		"PATCH /email-templates/{}": func(c *call) (answer, error) {
			d, found, err := c.Get("email-templates", c.id())
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, templateMissing
			}
			merge(d, c.object(), nil, nil)
			d["template"] = c.id()
			return answer{status: http.StatusOK, body: d}, c.Put("email-templates", c.id(), d)
		},
	}
	return out
}

func tried(family string, missing *apiError) handler {
	return func(c *call) (answer, error) {
		if err := c.needs(family, c.params[0], missing); err != nil {
			return answer{}, err
		}
		if err := c.Send(state.Mail{To: str(c.object(), "to"), Channel: "sms", Template: "phone_test", Text: "This is a test message."}); err != nil {
			return answer{}, err
		}
		return answer{status: http.StatusAccepted, body: doc{"code": 202, "message": "Successfully queued notification for delivery"}}, nil
	}
}

func loadRendering(c *call) (doc, error) {
	d, found, err := c.Get("prompts/rendering", state.Key(c.params...))
	if err != nil || found {
		return d, err
	}
	return doc{"tenant": c.tenant.name, "prompt": c.params[0], "screen": c.params[1], "rendering_mode": "standard", "context_configuration": []any{},
		"default_head_tags_disabled": false, "head_tags": []any{}, "filters": nil, "use_page_template": false}, nil
}

// showEmailProvider leaves the credentials out but for what is no secret.
func showEmailProvider(d doc) doc {
	out := state.Clone(state.Public(d))
	if credentials, has := out["credentials"].(doc); has {
		shown := doc{}
		for _, k := range []string{"smtp_host", "smtp_port", "smtp_user", "region", "domain", "tenantId", "clientId"} {
			if v, set := credentials[k]; set {
				shown[k] = v
			}
		}
		out["credentials"] = shown
	}
	return out
}
