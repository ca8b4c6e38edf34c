package authapi

import (
	"errors"
	"net/http"
	"net/mail"
	"regexp"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/actions"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// A signupError is a refused sign-up: one body for the API, one sentence for
// the page.
type signupError struct {
	shown string
	api   *oauthError
}

func (e *signupError) Error() string { return "sign up: " + e.shown }

func badSignup(shown, code, description string) *signupError {
	return &signupError{shown: shown, api: &oauthError{status: http.StatusBadRequest, bare: map[string]any{
		"name": "BadRequestError", "code": code, "description": description, "statusCode": http.StatusBadRequest,
	}}}
}

// passwordError is Auth0's report of a weak password.
func passwordError(rules []state.PasswordRule) *signupError {
	var list []any
	var policy []string
	for _, r := range rules {
		list = append(list, map[string]any{"message": r.Message, "code": r.Code, "verified": r.Verified})
		policy = append(policy, "* "+r.Message)
	}
	return &signupError{shown: "Password is too weak", api: &oauthError{status: http.StatusBadRequest, bare: map[string]any{
		"name": "PasswordStrengthError", "message": "Password is too weak", "code": "invalid_password",
		"description": map[string]any{"rules": list, "verified": false}, "policy": strings.Join(policy, "\n"), "statusCode": http.StatusBadRequest,
	}}}
}

var usernameForm = regexp.MustCompile(`^[a-zA-Z0-9_+\-.!#$^` + "`" + `~@']{1,128}$`)

func validEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && len(s) <= 320 && strings.Contains(s[strings.LastIndex(s, "@"):], ".")
}

// signUp makes a user of a database connection, after the Actions that may
// refuse it.
func (c *call) signUp(client, connection Doc, profile Doc, password, organization string) (Doc, error) {
	in := &party{client: client, connection: connection, protocol: "oidc-basic-profile"}
	if !signupOpen(connection) {
		return nil, badSignup("Public sign up is disabled.", "signup_disabled", "Public signup is disabled")
	}
	email, username := strings.TrimSpace(str(profile, "email")), str(profile, "username")
	if email == "" && username == "" && str(profile, "phone_number") == "" || email != "" && !validEmail(email) {
		return nil, badSignup("Email is not valid.", "invalid_signup", "Invalid sign up")
	}
	if wantsUsername(connection) && !usernameForm.MatchString(username) || username != "" && validEmail(username) {
		return nil, badSignup("User name is not valid.", "invalid_signup", "Invalid sign up")
	}
	if email != "" {
		profile["email"] = lower(email)
	}
	if rules, ok := state.PasswordProblems(connection, profile, password); !ok {
		c.log(in.failure("fs", email, "Password is too weak"))
		return nil, passwordError(rules)
	}
	res, err := c.registrationActions(actions.PreRegistration, in, profile, organization)
	if err != nil {
		return nil, err
	}
	if res.Deny != nil {
		c.log(in.failure("fs", email, res.Deny.Reason))
		shown := res.Deny.Message
		if shown == "" {
			shown = "Something went wrong, please try again later."
		}
		return nil, badSignup(shown, "invalid_signup", shown)
	}
	for key, changes := range map[string]map[string]any{"user_metadata": res.UserMetadata, "app_metadata": res.AppMetadata} {
		if len(changes) > 0 {
			m, _ := profile[key].(Doc)
			profile[key] = mergeMetadata(m, changes)
		}
	}
	var user Doc
	err = c.update(func(tx *state.Tx) error {
		if user, err = tx.CreateUser(state.NewUser{Connection: connection, Password: password, Profile: profile}); err != nil {
			return err
		}
		in.user = user
		if err := c.mailVerification(tx, user, client); err != nil {
			return err
		}
		return tx.Log(c.entry(in.entry("ss", "Successful signup", nil)))
	})
	switch {
	case errors.Is(err, state.ErrUserExists), errors.Is(err, state.ErrUsernameExists), errors.Is(err, state.ErrPhoneExists):
		c.log(in.failure("fs", email, "The user already exists."))
		return nil, c.userExists()
	case err != nil:
		return nil, err
	}
	if _, err := c.registrationActions(actions.PostRegistration, in, user, organization); err != nil {
		// The user is made; what was to happen after it did not.
		c.log(in.failure("f", email, err.Error()))
	}
	return user, nil
}

// userExists says so only where the tenant wants that: otherwise anybody could
// find out who has an account.
func (c *call) userExists() error {
	open := false
	if err := c.view(func(tx *state.Tx) error {
		settings, err := singleton(tx, "tenants/settings")
		open = flag(sub(settings, "flags"), "enable_public_signup_user_exists_error")
		return err
	}); err != nil {
		return err
	}
	if open {
		return badSignup("The user already exists.", "user_exists", "The user already exists.")
	}
	return badSignup("Something went wrong, please try again later.", "invalid_signup", "Invalid sign up")
}

func mergeMetadata(base Doc, changes map[string]any) Doc {
	out := Doc{}
	for k, v := range base {
		out[k] = v
	}
	for k, v := range changes {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

func (c *call) registrationActions(trigger actions.Trigger, in *party, user Doc, organization string) (*actions.Result, error) {
	var list []actions.Action
	var org Doc
	if err := c.view(func(tx *state.Tx) (err error) {
		if organization != "" {
			if org, _, err = tx.Get("organizations", organization); err != nil {
				return err
			}
		}
		list, err = bound(tx, trigger)
		return err
	}); err != nil {
		return nil, err
	}
	ev := map[string]any{
		"user": state.Public(user), "client": clientEvent(in.client), "request": c.requestEvent(in), "tenant": Doc{"id": c.tenant.Name()},
		"connection":  Doc{"id": str(in.connection, "id"), "name": str(in.connection, "name"), "strategy": str(in.connection, "strategy")},
		"transaction": Doc{"protocol": in.protocol, "requested_scopes": []string{}},
	}
	if org != nil {
		ev["organization"] = Doc{"id": str(org, "id"), "name": str(org, "name"), "display_name": str(org, "display_name")}
	}
	res, err := c.runner.Run(c.r.Context(), actions.Flow{Trigger: trigger, Actions: list, Event: ev, Now: c.tenant.Store().Now})
	var failed *actions.Error
	if errors.As(err, &failed) {
		c.log(in.failure("fs", userName(user), failed.Message))
		return nil, badSignup("Something went wrong, please try again later.", "extensibility_error", failed.Message)
	}
	return res, err
}

const verificationLifetime = 5 * 24 * time.Hour

func (c *call) mailVerification(tx *state.Tx, user, client Doc) error {
	email := str(user, "email")
	if email == "" || flag(user, "email_verified") {
		return nil
	}
	link, err := c.ticket(tx, "email_verification", Doc{
		"user_id": str(user, "user_id"), "client_id": str(client, "client_id"), "email": email, "mark_email_as_verified": true,
	}, verificationLifetime)
	if err != nil {
		return err
	}
	return tx.Send(state.Mail{
		To: email, UserID: str(user, "user_id"), Template: "verify_email", Subject: "Verify your email", Link: link,
		Text: "Welcome. Verify your email address by following this link: " + link,
	})
}

// signupAPI is POST /dbconnections/signup.
func (c *call) signupAPI() error {
	p, err := c.apiParams()
	if err != nil {
		return err
	}
	client, connection, err := c.databaseFor(p)
	if err != nil {
		return err
	}
	if p.str("password") == "" {
		return badSignup("", "invalid_signup", "Invalid sign up").api
	}
	profile := Doc{}
	for _, k := range []string{"email", "username", "phone_number", "given_name", "family_name", "name", "nickname", "picture"} {
		if v := p.str(k); v != "" {
			profile[k] = v
		}
	}
	if v, ok := p["user_metadata"]; ok {
		m, ok := v.(Doc)
		if !ok {
			return badSignup("", "invalid_signup", "Invalid sign up").api
		}
		for _, e := range m {
			if s, ok := e.(string); !ok || len(s) > 500 || len(m) > 10 {
				return badSignup("", "invalid_signup", "Invalid sign up").api
			}
		}
		profile["user_metadata"] = m
	}
	user, err := c.signUp(client, connection, profile, p.str("password"), "")
	var refused *signupError
	if errors.As(err, &refused) {
		return refused.api
	}
	if err != nil {
		return err
	}
	out := map[string]any{"_id": strings.TrimPrefix(str(user, "user_id"), "auth0|")}
	for _, k := range []string{"email", "email_verified", "username", "phone_number", "phone_verified", "given_name", "family_name", "nickname", "user_metadata"} {
		if v, ok := user[k]; ok {
			if _, given := profile[k]; given || k == "email_verified" || k == "phone_verified" {
				out[k] = v
			}
		}
	}
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

// databaseFor finds the client and the database connection that a request of
// /dbconnections names.
func (c *call) databaseFor(p params) (client, connection Doc, err error) {
	err = c.view(func(tx *state.Tx) error {
		var ok bool
		if client, ok, err = tx.Get("clients", p.str("client_id")); err != nil {
			return err
		}
		if p.str("client_id") == "" || !ok {
			return oauthErr(http.StatusBadRequest, "invalid_request", "invalid client_id")
		}
		list, err := connections(tx, str(client, "client_id"), "")
		if err != nil {
			return err
		}
		name := p.str("connection")
		if list = named(list, name); name == "" || len(list) == 0 {
			return oauthErr(http.StatusBadRequest, "invalid_request", "connection is disabled or does not exist for the client")
		}
		connection = list[0]
		return nil
	})
	return client, connection, err
}
