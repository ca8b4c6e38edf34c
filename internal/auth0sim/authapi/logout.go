package authapi

import (
	"net/http"
	"net/url"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// allowedLogout lists where a logout may lead.
func allowedLogout(tx *state.Tx, clientID string) ([]string, error) {
	if clientID == "" {
		settings, err := singleton(tx, "tenants/settings")
		return texts(settings, "allowed_logout_urls"), err
	}
	client, ok, err := findClient(tx, clientID)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, pageErr(http.StatusBadRequest, "invalid_request", "Unknown client: %s", clip(clientID))
	}
	return texts(client, "allowed_logout_urls"), nil
}

func checkLogoutURL(allowed []string, address, name string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || hostile(address) || scriptScheme(u) || !registered(allowed, address, true) {
		return pageErr(http.StatusBadRequest, "invalid_request", "The \"%s\" querystring parameter is not defined as a valid URL in \"Allowed Logout URLs\".", name)
	}
	return nil
}

// logout is GET /v2/logout.
func (c *call) logout() error {
	p, err := c.pageParams()
	if err != nil {
		return err
	}
	to := p.str("returnTo")
	err = c.update(func(tx *state.Tx) error {
		allowed, err := allowedLogout(tx, p.str("client_id"))
		if err != nil {
			return err
		}
		// Without an address Auth0 takes the first of the list.
		if to == "" && len(allowed) > 0 {
			to = allowed[0]
		}
		if to != "" {
			if err := checkLogoutURL(allowed, to, "returnTo"); err != nil {
				return err
			}
		}
		return c.endAndLog(tx, p.str("client_id"))
	})
	if err != nil {
		return err
	}
	c.setCookie(sessionCookie, "", 0)
	if to == "" {
		return c.message("Logged out", "You are logged out.")
	}
	c.w.Header().Set("Cache-Control", "no-store")
	c.redirect(to)
	return nil
}

func (c *call) endAndLog(tx *state.Tx, clientID string) error {
	s, user, err := c.endSession(tx)
	if err != nil || s == nil {
		return err
	}
	in := &party{user: user}
	if clientID != "" {
		if in.client, _, err = findClient(tx, clientID); err != nil {
			return err
		}
	}
	return tx.Log(c.entry(in.entry("slo", "User successfully logged out", nil)))
}

// oidcLogout is RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0).
// A logout that is not proved to come from the session's own application asks
// the person: a link in a mail must not be able to log them out.
func (c *call) oidcLogout() error {
	p, err := c.pageParams()
	if err != nil {
		return err
	}
	to, clientID, hint := p.str("post_logout_redirect_uri"), p.str("client_id"), p.str("id_token_hint")
	ours := false
	err = c.update(func(tx *state.Tx) error {
		s, _, err := c.session(tx)
		if err != nil {
			return err
		}
		if hint != "" {
			audience, sid, err := c.readHint(tx, hint, clientID)
			if err != nil {
				return err
			}
			clientID = audience
			ours = s == nil || sid == s.ID
		}
		if h := p.str("logout_hint"); h != "" && s != nil && h == s.ID {
			ours = true
		}
		if to == "" {
			return nil
		}
		allowed, err := allowedLogout(tx, clientID)
		if err != nil {
			return err
		}
		return checkLogoutURL(allowed, to, "post_logout_redirect_uri")
	})
	if err != nil {
		return err
	}
	// The form carries what only a page of ours can have told this browser.
	proof := digest("logout " + c.browser())
	if !ours && !(c.r.Method == http.MethodPost && same(p.str("logout_confirmed"), proof)) {
		f := page{Title: "Log out", Secret: proof}
		for _, k := range []string{"post_logout_redirect_uri", "client_id", "state", "id_token_hint"} {
			if v := p.str(k); v != "" {
				f.Fields = append(f.Fields, field{k, v})
			}
		}
		return c.render(http.StatusOK, "logout", f)
	}
	if err := c.update(func(tx *state.Tx) error { return c.endAndLog(tx, clientID) }); err != nil {
		return err
	}
	c.setCookie(sessionCookie, "", 0)
	if to == "" {
		return c.message("Logged out", "You are logged out.")
	}
	u, err := url.Parse(to)
	if err != nil {
		return err
	}
	if p.str("state") != "" {
		q := u.Query()
		q.Set("state", p.str("state"))
		u.RawQuery = q.Encode()
	}
	c.w.Header().Set("Cache-Control", "no-store")
	c.redirect(u.String())
	return nil
}

// readHint verifies an ID token that we issued. An expired one still tells
// whose it was, which is all a hint is for.
func (c *call) readHint(tx *state.Tx, hint, clientID string) (client, sid string, err error) {
	bad := pageErr(http.StatusBadRequest, "invalid_request", "The id_token_hint is invalid")
	kid, _, ok := tokenKeyID(hint)
	if !ok {
		return "", "", bad
	}
	var t jwt.Token
	if kid != "" {
		keys, err := tx.SigningKeys()
		if err != nil {
			return "", "", err
		}
		for _, k := range keys {
			if k.KID == kid && !k.Revoked {
				t, err = c.verify(hint, k)
				if err != nil {
					return "", "", bad
				}
			}
		}
	} else {
		unproved, err := jwt.ParseInsecure([]byte(hint))
		if err != nil {
			return "", "", bad
		}
		aud, _ := unproved.Audience()
		if len(aud) != 1 {
			return "", "", bad
		}
		d, ok, err := findClient(tx, aud[0])
		if err != nil {
			return "", "", err
		}
		if !ok || str(d, "client_secret") == "" {
			return "", "", bad
		}
		if t, err = jwt.Parse([]byte(hint), jwt.WithKey(jwa.HS256(), []byte(str(d, "client_secret"))), jwt.WithValidate(false)); err != nil {
			return "", "", bad
		}
	}
	if t == nil {
		return "", "", bad
	}
	iss, _ := t.Issuer()
	aud, _ := t.Audience()
	if iss != c.issuer() || len(aud) != 1 || clientID != "" && aud[0] != clientID {
		return "", "", bad
	}
	if err := t.Get("sid", &sid); err != nil {
		sid = ""
	}
	return aud[0], sid, nil
}

// verify checks a token's signature by one of the tenant's keys, not its time.
func (c *call) verify(token string, k state.SigningKey) (jwt.Token, error) {
	m, err := jws.Parse([]byte(token))
	if err != nil {
		return nil, err
	}
	alg, _ := m.Signatures()[0].ProtectedHeaders().Algorithm()
	if alg != jwa.PS256() {
		alg = jwa.RS256() // never what the token says without looking: "none" is an algorithm too
	}
	return jwt.Parse([]byte(token), jwt.WithKey(alg, k.Private.Public()), jwt.WithValidate(false))
}
