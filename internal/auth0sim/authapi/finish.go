package authapi

import (
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

const codeLifetime = 10 * time.Minute

// finish ends a login: session, consent and code are written in one
// transaction with the deletion of the login's own, so that a form sent twice
// ends it once.
func (c *call) finish(t *transaction, in *party) error {
	values := url.Values{}
	err := c.update(func(tx *state.Tx) error {
		there, err := tx.Delete("oauth/transactions", t.ID)
		if err != nil {
			return err
		}
		if !there {
			return pageErr(400, "invalid_request", "This login was already completed.")
		}
		user, err := c.signedIn(tx, t)
		if err != nil {
			return err
		}
		if in.session, err = c.keepSession(tx, t, user, in.settings); err != nil {
			return err
		}
		in.user = user
		if err := tx.Log(c.entry(in.entry("s", "Successful login", nil))); err != nil {
			return err
		}
		return c.results(tx, t, in, values)
	})
	if err != nil {
		return err
	}
	return c.answer(t.Request, values)
}

// signedIn writes down on the user that a login happened.
func (c *call) signedIn(tx *state.Tx, t *transaction) (Doc, error) {
	user, ok, err := tx.Get("users", t.UserID)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, gone(false, "user")
	}
	if t.Session != "" {
		return user, nil
	}
	return user, countLogin(tx, user, c.ip())
}

// countLogin does not go through ChangeUser: a login is not a change of the
// profile, and Auth0 sends no user.updated for it.
func countLogin(tx *state.Tx, user Doc, ip string) error {
	now := state.Timestamp(tx.Now())
	user["last_login"], user["last_ip"], user["updated_at"] = now, ip, now
	user["logins_count"] = number(user, "logins_count", 0) + 1
	return tx.Put("users", str(user, "user_id"), user)
}

// results makes what the response type asks for.
func (c *call) results(tx *state.Tx, t *transaction, in *party, values url.Values) error {
	i := c.issueFor(t, in)
	req := t.Request
	if req.asks("code") {
		if err := purge(tx, "oauth/codes", "id"); err != nil {
			return err
		}
		code := tx.NewID(state.Token)
		d, err := marshal(authCode{
			ID: digest(code), ExpiresAt: c.now.Add(codeLifetime).Unix(), ClientID: t.ClientID, UserID: t.UserID, Request: req,
			Session: in.session, Connection: t.Connection, Organization: t.Organization, AuthTime: t.AuthTime, Methods: t.Methods,
			Scope: i.scope(), Permissions: i.api.permissions, Result: t.Result,
		})
		if err != nil {
			return err
		}
		if err := tx.Put("oauth/codes", digest(code), d); err != nil {
			return err
		}
		values.Set("code", code)
	}
	if req.asks("token") {
		i.web = true
		token, life, err := c.accessToken(tx, i)
		if err != nil {
			return err
		}
		values.Set("access_token", token)
		values.Set("expires_in", fmt.Sprint(int(life.Seconds())))
		values.Set("token_type", "Bearer")
		if s := i.scope(); !slices.Equal(s, req.Scope) {
			values.Set("scope", joinScope(s))
		}
	}
	if req.asks("id_token") && slices.Contains(req.Scope, "openid") {
		token, err := c.idToken(tx, i)
		if err != nil {
			return err
		}
		values.Set("id_token", token)
	}
	return nil
}

// issueFor is what a transaction's tokens are made of.
func (c *call) issueFor(t *transaction, in *party) *issue {
	i := &issue{
		client: in.client, user: in.user, organization: in.organization, settings: in.settings, api: in.api,
		session: in.session, nonce: t.Request.Nonce, methods: t.Methods, result: t.Result,
	}
	if t.Request.MaxAge >= 0 {
		i.authTime = t.AuthTime
	}
	return i
}

// needsConsent reports whether the user must be asked. A first-party client
// needs none for its own sign-in; for an API it may skip the question only if
// the API says so and the callback proves more than "localhost" does, where
// any program could be listening.
func (c *call) needsConsent(t *transaction, in *party) bool {
	if !t.Request.prompts("consent") && c.granted(t, in) {
		return false
	}
	if t.Request.prompts("consent") || !flagOr(in.client, "is_first_party", true) {
		return true
	}
	if in.api.audience == "" {
		return false
	}
	u, err := url.Parse(t.Request.RedirectURI)
	return err != nil || !flag(in.api.server, "skip_consent_for_verifiable_first_party_clients") || u.Hostname() == "localhost"
}

// granted reports whether the user agreed to these scopes before.
func (c *call) granted(t *transaction, in *party) bool {
	asked := c.consentScopes(in)
	found := false
	err := c.view(func(tx *state.Tx) error {
		g, err := c.findGrant(tx, t.UserID, t.ClientID, in.api.audience)
		if err == nil && g != nil {
			found = subset(asked, texts(g, "scope"))
		}
		return err
	})
	return err == nil && found
}

func (c *call) consentScopes(in *party) []string { return in.api.scope }

func (c *call) findGrant(tx *state.Tx, user, client, audience string) (Doc, error) {
	if audience == "" {
		audience = c.url("/userinfo")
	}
	list, err := tx.Find("grants", "user_id", user)
	if err != nil {
		return nil, err
	}
	for _, g := range list {
		if str(g, "clientID") == client && str(g, "audience") == audience {
			return g, nil
		}
	}
	return nil, nil
}

func (c *call) keepGrant(tx *state.Tx, t *transaction, in *party) error {
	g, err := c.findGrant(tx, t.UserID, t.ClientID, in.api.audience)
	if err != nil {
		return err
	}
	if g == nil {
		audience := in.api.audience
		if audience == "" {
			audience = c.url("/userinfo")
		}
		g = Doc{"id": tx.NewID(state.ObjectID), "clientID": t.ClientID, "user_id": t.UserID, "audience": audience}
	}
	have := texts(g, "scope")
	for _, s := range c.consentScopes(in) {
		if !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	g["scope"] = anys(have)
	return tx.Put("grants", str(g, "id"), g)
}
