package authapi

import (
	"errors"
	"maps"
	"mime"
	"net/http"
	"slices"

	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

func errNoToken() *oauthError {
	e := oauthErr(http.StatusUnauthorized, "invalid_token", "The access token is invalid or has expired")
	e.header = map[string]string{"WWW-Authenticate": `Bearer realm="Users", error="invalid_token", error_description="The access token is invalid or has expired"`}
	return e
}

// userinfo answers with the claims that an access token's scopes open (OpenID
// Connect Core, 5.3).
func (c *call) userinfo() error {
	token := c.bearer()
	if media, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type")); token == "" && c.r.Method == http.MethodPost && media == "application/x-www-form-urlencoded" {
		p, err := c.apiParams()
		if err != nil {
			return err
		}
		token = p.str("access_token")
	}
	if token == "" {
		e := oauthErr(http.StatusUnauthorized, "unauthorized", "Unauthorized")
		e.header = map[string]string{"WWW-Authenticate": `Bearer realm="Users"`}
		return e
	}
	out := map[string]any{}
	err := c.view(func(tx *state.Tx) error {
		subject, scopes, extra, err := c.userinfoToken(tx, token)
		if err != nil {
			return err
		}
		user, ok, err := tx.Get("users", subject)
		if err != nil {
			return err
		}
		if !ok || flag(user, "blocked") {
			return errNoToken()
		}
		out = profileClaims(user, scopes)
		maps.Copy(out, extra)
		out["sub"] = subject
		return nil
	})
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

// userinfoToken reads an access token that is meant for this endpoint.
func (c *call) userinfoToken(tx *state.Tx, token string) (subject string, scopes []string, extra Doc, err error) {
	d, ok, err := tx.Get("oauth/access-tokens", digest(token))
	if err != nil {
		return "", nil, nil, err
	}
	if ok {
		if expired(d, c.now) {
			return "", nil, nil, errNoToken()
		}
		if !slices.Contains(texts(d, "scope"), "openid") {
			return "", nil, nil, errScope()
		}
		return str(d, "user_id"), texts(d, "scope"), sub(d, "claims"), nil
	}
	t, err := c.ownToken(tx, token)
	if err != nil {
		return "", nil, nil, err
	}
	aud, _ := t.Audience()
	if !slices.Contains(aud, c.url("/userinfo")) {
		return "", nil, nil, errScope()
	}
	var scope string
	if err := t.Get("scope", &scope); err != nil {
		return "", nil, nil, errScope()
	}
	subject, _ = t.Subject()
	return subject, splitScope(scope), nil, nil
}

func errScope() *oauthError {
	e := oauthErr(http.StatusForbidden, "insufficient_scope", "The access token lacks the openid scope")
	e.header = map[string]string{"WWW-Authenticate": `Bearer realm="Users", error="insufficient_scope", scope="openid"`}
	return e
}

// ownToken verifies a signed token of this tenant.
func (c *call) ownToken(tx *state.Tx, token string) (jwt.Token, error) {
	kid, _, ok := tokenKeyID(token)
	if !ok || kid == "" {
		return nil, errNoToken()
	}
	keys, err := tx.SigningKeys()
	if errors.Is(err, state.ErrReadOnly) {
		return nil, errNoToken() // a tenant that never had a key has signed nothing
	}
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if k.KID != kid || k.Revoked {
			continue
		}
		t, err := c.verify(token, k)
		if err != nil || jwt.Validate(t, jwt.WithClock(c.clock()), jwt.WithIssuer(c.issuer()), jwt.WithRequiredClaim("exp")) != nil {
			return nil, errNoToken()
		}
		return t, nil
	}
	return nil, errNoToken()
}
