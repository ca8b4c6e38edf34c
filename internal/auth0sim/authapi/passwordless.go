package authapi

import (
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"

	crand "crypto/rand"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

const (
	passwordlessLifetime = 3 * time.Minute
	passwordlessTries    = 3
)

// passwordlessConnection finds the email or sms connection of a client.
func passwordlessConnection(tx *state.Tx, client Doc, strategy string) (Doc, error) {
	enabled, err := tx.Find("connections/clients", "client_id", str(client, "client_id"))
	if err != nil {
		return nil, err
	}
	for _, e := range enabled {
		d, ok, err := tx.Get("connections", str(e, "connection_id"))
		if err != nil {
			return nil, err
		}
		if ok && str(d, "strategy") == strategy {
			return d, nil
		}
	}
	return nil, oauthErr(http.StatusBadRequest, "bad.connection", "Connection does not exist")
}

// passwordlessStart is POST /passwordless/start: it sends a code, or a link
// that carries one.
func (c *call) passwordlessStart() error {
	p, err := c.apiParams()
	if err != nil {
		return err
	}
	client, err := c.passwordlessClient(p)
	if err != nil {
		return err
	}
	strategy := p.str("connection")
	name, to := "email", lower(strings.TrimSpace(p.str("email")))
	switch strategy {
	case "email":
		if !validEmail(to) {
			return oauthErr(http.StatusBadRequest, "bad.email", "Invalid email address")
		}
	case "sms":
		if name, to = "phone_number", strings.TrimSpace(p.str("phone_number")); !strings.HasPrefix(to, "+") || len(to) > 16 || strings.Trim(to[1:], "0123456789") != "" || len(to) < 8 {
			return oauthErr(http.StatusBadRequest, "bad.phone_number", "Invalid phone number")
		}
	default:
		return oauthErr(http.StatusBadRequest, "bad.connection", "Connection does not exist")
	}
	out := map[string]any{}
	err = c.update(func(tx *state.Tx) error {
		connection, err := passwordlessConnection(tx, client, strategy)
		if err != nil {
			return err
		}
		user, err := findUser(tx, connection, to)
		if err != nil {
			return err
		}
		id, verified := tx.NewID(state.ObjectID), false
		if user != nil {
			id, verified = strings.TrimPrefix(str(user, "user_id"), strategy+"|"), flag(user, choose(name == "email", "email_verified", "phone_verified"))
		} else if flag(sub(connection, "options"), "disable_signup") {
			return oauthErr(http.StatusBadRequest, "bad.connection", "Public signup is disabled")
		}
		code, err := sixDigits(tx.Store().Rand())
		if err != nil {
			return err
		}
		if err := purge(tx, "oauth/passwordless", "id"); err != nil {
			return err
		}
		key := state.Key(str(connection, "id"), to)
		if err := tx.Put("oauth/passwordless", key, Doc{
			"id": key, "code": digest(code), "client_id": str(client, "client_id"), "user": id, "tries": 0,
			"expires_at": c.now.Add(passwordlessLifetime).Unix(),
		}); err != nil {
			return err
		}
		m := state.Mail{
			To: to, Template: "verify_email_by_code", Subject: "Your code", Code: code, UserID: str(user, "user_id"),
			Channel: choose(strategy == "sms", "sms", "email"), Text: "Your verification code is: " + code,
		}
		if p.str("send") != "code" && strategy == "email" {
			m.Link = c.magicLink(client, p, to, code)
			m.Subject, m.Text = "Your link to log in", "Follow this link to log in: "+m.Link
		}
		if err := tx.Send(m); err != nil {
			return err
		}
		out["_id"], out[name] = id, to
		out[choose(name == "email", "email_verified", "phone_verified")] = verified
		in := &party{client: client, connection: connection, user: user}
		return tx.Log(c.entry(in.entry("cls", "Code or link sent", nil)))
	})
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

// passwordlessClient lets a request without a secret pass only where the
// tenant allows it: otherwise anybody could make us send mail.
func (c *call) passwordlessClient(p params) (Doc, error) {
	open := false
	if err := c.view(func(tx *state.Tx) error {
		settings, err := singleton(tx, "tenants/settings")
		open = !flagOr(sub(settings, "flags"), "enforce_client_authentication_on_passwordless_start", true)
		return err
	}); err != nil {
		return nil, err
	}
	if open {
		return c.identify(p)
	}
	return c.authenticate(p, false)
}

// magicParams are what of an authorization request a link may carry.
var magicParams = []string{"redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "audience", "code_challenge", "code_challenge_method"}

func (c *call) magicLink(client Doc, p params, to, code string) string {
	q := url.Values{
		"client_id": {str(client, "client_id")}, "connection": {"email"}, "verification_code": {code}, "email": {to},
	}
	asked, _ := p["authParams"].(Doc)
	for _, k := range magicParams {
		if v := str(asked, k); v != "" {
			q.Set(k, v)
		}
	}
	return c.url("/passwordless/verify_redirect?" + q.Encode())
}

// passwordlessLink is the page behind such a link: an authorization request
// whose first factor is the code in it.
func (c *call) passwordlessLink() error {
	p, err := c.pageParams()
	if err != nil {
		return err
	}
	to := lower(p.str("email"))
	kept := params{"client_id": p.str("client_id"), "response_type": "code"}
	for _, k := range magicParams {
		if v := p.str(k); v != "" {
			kept[k] = v
		}
	}
	var client, settings, connection, user Doc
	var refused *oauthError
	var req authRequest
	err = c.update(func(tx *state.Tx) error {
		if client, err = authClient(tx, kept); err != nil {
			return err
		}
		if settings, err = singleton(tx, "tenants/settings"); err != nil {
			return err
		}
		if req, err = c.parseAuthorize(client, settings, kept); err != nil {
			return err
		}
		if connection, err = passwordlessConnection(tx, client, "email"); err != nil {
			return err
		}
		user, refused, err = c.takeCode(tx, client, connection, to, p.str("verification_code"))
		return err
	})
	if err != nil {
		return err
	}
	if refused != nil {
		return req.fail("unauthorized", refused.description)
	}
	t := &transaction{
		Request: req, ClientID: req.ClientID, Browser: digest(c.browser()), ID: c.tenant.Store().NewID(state.Token),
		ExpiresAt: c.now.Add(transactionLifetime).Unix(), UserID: str(user, "user_id"), Connection: str(connection, "name"),
		AuthTime: c.now, Methods: []method{{"email", c.now}},
	}
	if err := c.store(t); err != nil {
		return err
	}
	return c.advance(t)
}

func sixDigits(random io.Reader) (string, error) {
	n, err := crand.Int(random, big.NewInt(1_000_000))
	if err != nil {
		return "", fmt.Errorf("make code: %w", err)
	}
	return fmt.Sprintf("%06d", n.Int64()), nil
}

// takeCode uses up a passwordless code and returns the user it is for, who is
// made by the first use.
func (c *call) takeCode(tx *state.Tx, client, connection Doc, to, code string) (user Doc, refused *oauthError, err error) {
	wrong := errInvalidGrant("Wrong email or verification code.")
	if str(connection, "strategy") == "sms" {
		wrong = errInvalidGrant("Wrong phone number or verification code.")
	}
	key := state.Key(str(connection, "id"), to)
	d, ok, err := tx.Get("oauth/passwordless", key)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case !ok || str(d, "client_id") != str(client, "client_id"):
		return nil, wrong, nil
	case expired(d, c.now):
		return nil, errInvalidGrant("The verification code has expired. Please try to login again."), nil
	case number(d, "tries", 0) >= passwordlessTries:
		return nil, errInvalidGrant("You've reached the maximum number of attempts. Please try to login again."), nil
	case !same(str(d, "code"), digest(code)):
		d["tries"] = number(d, "tries", 0) + 1
		return nil, wrong, tx.Put("oauth/passwordless", key, d)
	}
	if _, err := tx.Delete("oauth/passwordless", key); err != nil {
		return nil, nil, err
	}
	if user, err = findUser(tx, connection, to); err != nil {
		return nil, nil, err
	}
	field, verified := "email", "email_verified"
	if str(connection, "strategy") == "sms" {
		field, verified = "phone_number", "phone_verified"
	}
	if user == nil {
		user, err = tx.CreateUser(state.NewUser{Connection: connection, UserID: str(d, "user"), Profile: Doc{field: to, verified: true}})
		return user, nil, err
	}
	if flag(user, "blocked") {
		return nil, errUserBlocked, nil
	}
	if !flag(user, verified) {
		user[verified] = true
		err = tx.ChangeUser(user)
	}
	return user, nil, err
}

// tokenPasswordless exchanges a code for tokens.
func (c *call) tokenPasswordless(client Doc, p params) error {
	for _, k := range []string{"username", "otp", "realm"} {
		if p.str(k) == "" {
			return errMissing(k)
		}
	}
	requested, err := p.scope()
	if err != nil {
		return err
	}
	strategy := p.str("realm")
	to := strings.TrimSpace(p.str("username"))
	if strategy == "email" {
		to = lower(to)
	}
	in := &party{client: client, requested: requested, protocol: "oauth2-passwordless", body: p}
	var user, connection Doc
	var refused *oauthError
	err = c.update(func(tx *state.Tx) (err error) {
		if connection, err = passwordlessConnection(tx, client, strategy); err != nil {
			return err
		}
		user, refused, err = c.takeCode(tx, client, connection, to, p.str("otp"))
		return err
	})
	if err != nil {
		return err
	}
	in.connection = connection
	if refused != nil {
		return c.refuse(in, "fp", refused)
	}
	in.methods = []method{{strategy, c.now}}
	return c.exchangeForUser(in, userExchange{
		user: str(user, "user_id"), connection: str(connection, "name"), audience: p.str("audience"), grant: "passwordless",
		kind: "s", description: "Passwordless login",
	})
}
