package auth0sim

import (
	"net/http"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// factors are listed in this order, whichever are on.
var factors = []string{"sms", "push-notification", "otp", "email", "duo", "webauthn-roaming", "webauthn-platform", "recovery-code"}

var enrollmentMissing = notFound("enrollment_not_found", "Enrollment not found")

func guardianFamilies() []*family { return nil }

func guardianSingletons() []*singleton {
	out := []*singleton{
		{path: "/guardian/factors/duo/settings", both: true, store: "guardian/settings", id: "duo"},
		{path: "/guardian/factors/webauthn-platform/settings", both: true, store: "guardian/settings", id: "webauthn-platform", defaults: `{"overrideRelyingParty": false}`},
		{path: "/guardian/factors/webauthn-roaming/settings", both: true, store: "guardian/settings", id: "webauthn-roaming", defaults: `{"userVerification": "discouraged", "overrideRelyingParty": false}`},
		{path: "/guardian/factors/phone/message-types", put: true, store: "guardian/settings", id: "phone-message-types", defaults: `{"message_types": ["sms"]}`},
		{path: "/guardian/factors/push-notification/providers/sns", both: true, store: "guardian/settings", id: "sns", show: hide("aws_secret_access_key")},
		{path: "/guardian/factors/push-notification/providers/apns", both: true, store: "guardian/settings", id: "apns", show: hide("p12")},
		{path: "/guardian/factors/push-notification/selected-provider", put: true, store: "guardian/settings", id: "push-provider", defaults: `{"provider": "guardian"}`},
	}
	for _, style := range []string{"phone", "sms"} {
		// The older path shows the same settings.
		out = append(out,
			&singleton{path: "/guardian/factors/" + style + "/providers/twilio", put: true, store: "guardian/settings", id: "twilio", show: hide("auth_token")},
			&singleton{path: "/guardian/factors/" + style + "/selected-provider", put: true, store: "guardian/settings", id: "phone-provider", defaults: `{"provider": "auth0"}`},
			&singleton{path: "/guardian/factors/" + style + "/templates", put: true, store: "guardian/settings", id: "phone-templates", defaults: `{
				"enrollment_message": "{{code}} is your verification code for {{tenant.friendly_name}}. Please enter this code to verify your enrollment.",
				"verification_message": "{{code}} is your verification code for {{tenant.friendly_name}}"}`})
	}
	return out
}

// hide returns a renderer that leaves secrets out.
func hide(keys ...string) func(*call, doc) (any, error) {
	return func(_ *call, d doc) (any, error) {
		out := state.Public(d)
		for _, k := range keys {
			delete(out, k)
		}
		return out, nil
	}
}

func setRecoveryCode(u doc, code string) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(code), bcrypt.MinCost) // 120 bits of randomness need no stretching
	if err != nil {
		return err
	}
	state.PrivateOf(u)["recovery_code_hash"] = string(hash)
	return nil
}

func showEnrollment(d doc) doc {
	out := state.Public(d)
	delete(out, "user_id")
	return out
}

func guardianHandlers() map[string]handler {
	set := func(id string) handler {
		one := &singleton{store: "guardian/settings", id: id, put: true, show: func(_ *call, _ doc) (any, error) { return doc{}, nil }, path: "/x"}
		return one.routes()["PUT /x"]
	}
	out := map[string]handler{
		"GET /guardian/factors": func(c *call) (answer, error) {
			out := make([]any, 0, len(factors))
			for _, name := range factors {
				d, _, err := c.Get("guardian/factors", name)
				if err != nil {
					return answer{}, err
				}
				out = append(out, doc{"name": name, "enabled": boolean(d, "enabled"), "trial_expired": false})
			}
			return ok(out)
		},
		"PUT /guardian/factors/{}": func(c *call) (answer, error) {
			if !has(factors, c.id()) {
				return answer{}, refuse(http.StatusBadRequest, "invalid_uri", "Path validation error: 'No enum match for: %s' on property name (Factor name. Can be `sms`, `push-notification`, `email`, `duo` `otp` `webauthn-roaming`, `webauthn-platform`, or `recovery-code`.)", quoted(c.id()))
			}
			enabled := boolean(c.object(), "enabled")
			return answer{status: http.StatusOK, body: doc{"enabled": enabled}}, c.Put("guardian/factors", c.id(), doc{"name": c.id(), "enabled": enabled})
		},
		"GET /guardian/policies": func(c *call) (answer, error) {
			d, _, err := c.Get("guardian/policies", "policies")
			if err != nil {
				return answer{}, err
			}
			policies := list(d, "policies")
			if policies == nil {
				policies = []any{}
			}
			return ok(policies)
		},
		"PUT /guardian/policies": func(c *call) (answer, error) {
			policies, _ := c.body.([]any)
			return answer{status: http.StatusOK, body: policies}, c.Put("guardian/policies", "policies", doc{"policies": policies})
		},
		"POST /guardian/enrollments/ticket": func(c *call) (answer, error) {
			body := c.object()
			u, err := loadUser(c, str(body, "user_id"))
			if err != nil {
				return answer{}, err
			}
			id := c.NewID(state.TicketID)
			link := "https://" + c.tenant.domain + "/u/mfa-enrollment?ticket=" + id
			ticket := doc{"user_id": u["user_id"], "expires_at": float64(c.Now().Add(5 * 24 * time.Hour).Unix()), "used": false}
			for _, k := range []string{"factor", "allow_multiple_enrollments", "email"} {
				if v, has := body[k]; has {
					ticket[k] = v
				}
			}
			if err := c.Put("guardian/tickets", id, ticket); err != nil {
				return answer{}, err
			}
			if boolean(body, "send_mail") {
				to := str(body, "email")
				if to == "" {
					to = str(u, "email")
				}
				if err := c.Send(state.Mail{To: to, UserID: str(u, "user_id"), Template: "enrollment_email", Subject: "Enroll in multi-factor authentication", Link: link,
					Text: "Set up multi-factor authentication for your account: " + link}); err != nil {
					return answer{}, err
				}
			}
			return ok(doc{"ticket_id": id, "ticket_url": link})
		},
		"GET /guardian/enrollments/{}": func(c *call) (answer, error) {
			d, found, err := c.Get("guardian/enrollments", c.id())
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, enrollmentMissing
			}
			return ok(showEnrollment(d))
		},
		"DELETE /guardian/enrollments/{}": func(c *call) (answer, error) {
			was, err := c.Delete("guardian/enrollments", c.id())
			if err != nil {
				return answer{}, err
			}
			if !was {
				return answer{}, enrollmentMissing
			}
			return noContent()
		},
	}
	for _, id := range []string{"fcm", "fcmv1"} {
		out["PUT /guardian/factors/push-notification/providers/"+id] = set(id)
		out["PATCH /guardian/factors/push-notification/providers/"+id] = set(id)
	}
	return out
}
