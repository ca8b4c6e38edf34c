package authapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/tenonhq/tenon/internal/auth0sim/actions"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// issue is what tokens are made of.
type issue struct {
	client       Doc
	user         Doc // nil for a client's own token
	organization Doc
	settings     Doc
	api          apiGrant
	session      string
	nonce        string
	authTime     time.Time // the zero time leaves auth_time out
	methods      []method
	grant        string // the gty claim; "" leaves it out
	result       *actions.Result
	web          bool // the token passes through a browser
}

// scope is what is granted, after Actions had their say.
func (i *issue) scope() []string {
	out := i.api.scope
	if i.result != nil {
		out = without(out, i.result.RemoveScopes...)
		for _, s := range i.result.AddScopes {
			out = append(without(out, s), s)
		}
	}
	return out
}

func (i *issue) has(scope string) bool { return len(intersect([]string{scope}, i.scope())) == 1 }

func (i *issue) subject() string {
	if i.user == nil {
		return str(i.client, "client_id") + "@clients"
	}
	return str(i.user, "user_id")
}

// accessToken makes the token and says how long it lives. tx must be writable:
// opaque tokens are kept.
func (c *call) accessToken(tx *state.Tx, i *issue) (token string, life time.Duration, err error) {
	life = i.api.lifetime(i.web)
	if i.api.audience == "" {
		token, err = c.opaqueToken(tx, i, life)
		return token, life, err
	}
	clientID := knownAs(i.client)
	claims := map[string]any{}
	if i.result != nil {
		maps.Copy(claims, i.result.AccessToken)
	}
	claims["iss"], claims["sub"] = c.issuer(), i.subject()
	claims["iat"], claims["exp"] = c.now.Unix(), c.now.Add(life).Unix()
	claims["aud"] = i.api.audience
	if i.user != nil && i.has("openid") {
		claims["aud"] = []string{i.api.audience, c.url("/userinfo")}
	}
	if scope := strings.Join(i.scope(), " "); scope != "" {
		claims["scope"] = scope
	}
	typ := "JWT"
	if i.api.rfc9068() {
		typ = "at+jwt"
		claims["client_id"] = clientID
		id, err := uuid.NewRandomFromReader(c.tenant.Store().Rand())
		if err != nil {
			return "", 0, fmt.Errorf("make token id: %w", err)
		}
		claims["jti"] = id.String()
		if !i.authTime.IsZero() {
			claims["auth_time"] = i.authTime.Unix()
		}
	} else {
		claims["azp"] = clientID
		if i.grant != "" {
			claims["gty"] = i.grant
		}
	}
	if i.api.withPermissions() {
		claims["permissions"] = orEmpty(i.api.permissions)
	}
	c.organizationClaims(claims, i)

	switch str(i.api.server, "signing_alg") {
	case "HS256":
		token, err = sign(claims, typ, "", jwa.HS256(), []byte(str(i.api.server, "signing_secret")))
	case "PS256":
		token, err = c.signWithTenantKey(tx, claims, typ, jwa.PS256())
	default:
		token, err = c.signWithTenantKey(tx, claims, typ, jwa.RS256())
	}
	return token, life, err
}

func (c *call) organizationClaims(claims map[string]any, i *issue) {
	if i.organization == nil {
		return
	}
	claims["org_id"] = str(i.organization, "id")
	if flag(i.settings, "allow_organization_name_in_authentication_api") {
		claims["org_name"] = str(i.organization, "name")
	}
}

// opaqueToken is an access token without an audience: it means something only
// to /userinfo, which looks it up.
func (c *call) opaqueToken(tx *state.Tx, i *issue, life time.Duration) (string, error) {
	if err := purge(tx, "oauth/access-tokens", "id"); err != nil {
		return "", err
	}
	token := tx.NewID(state.Token)
	id := digest(token)
	return token, tx.Put("oauth/access-tokens", id, Doc{
		"id": id, "user_id": i.subject(), "client_id": str(i.client, "client_id"), "scope": anys(i.scope()),
		"expires_at": c.now.Add(life).Unix(), "claims": i.idClaims(),
	})
}

// idClaims are the claims that Actions put into the ID token; /userinfo shows
// them too.
func (i *issue) idClaims() Doc {
	if i.result == nil || i.result.IDToken == nil {
		return Doc{}
	}
	return i.result.IDToken
}

// idToken makes the ID token (OpenID Connect Core, 2).
func (c *call) idToken(tx *state.Tx, i *issue) (string, error) {
	claims := profileClaims(i.user, i.scope())
	maps.Copy(claims, i.idClaims())
	life := time.Duration(number(sub(i.client, "jwt_configuration"), "lifetime_in_seconds", 36000)) * time.Second
	claims["iss"], claims["sub"], claims["aud"] = c.issuer(), i.subject(), knownAs(i.client)
	claims["iat"], claims["exp"] = c.now.Unix(), c.now.Add(life).Unix()
	if i.session != "" {
		claims["sid"] = i.session
	}
	if i.nonce != "" {
		claims["nonce"] = i.nonce
	}
	if !i.authTime.IsZero() {
		claims["auth_time"] = i.authTime.Unix()
	}
	for _, m := range i.methods {
		if m.Name == "mfa" {
			claims["amr"] = []string{"mfa"}
			claims["acr"] = multiFactorACR
		}
	}
	c.organizationClaims(claims, i)
	alg := idTokenAlg(i.client)
	if alg == jwa.HS256() {
		return sign(claims, "JWT", "", alg, []byte(str(i.client, "client_secret")))
	}
	return c.signWithTenantKey(tx, claims, "JWT", alg)
}

const multiFactorACR = "http://schemas.openid.net/pape/policies/2007/06/multi-factor"

func (c *call) signWithTenantKey(tx *state.Tx, claims map[string]any, typ string, alg jwa.SignatureAlgorithm) (string, error) {
	key, err := tx.CurrentSigningKey()
	if err != nil {
		return "", err
	}
	return sign(claims, typ, key.KID, alg, key.Private)
}

func sign(claims map[string]any, typ, kid string, alg jwa.SignatureAlgorithm, key any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode token: %w", err)
	}
	h := jws.NewHeaders()
	if err := h.Set(jws.TypeKey, typ); err != nil {
		return "", err
	}
	if kid != "" {
		if err := h.Set(jws.KeyIDKey, kid); err != nil {
			return "", err
		}
	}
	out, err := jws.Sign(payload, jws.WithKey(alg, key, jws.WithProtectedHeaders(h)))
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return string(out), nil
}

// profileClaims are the user's claims that the scopes open (OpenID Connect
// Core, 5.4).
func profileClaims(user Doc, scopes []string) map[string]any {
	out := map[string]any{}
	take := func(keys ...string) {
		for _, k := range keys {
			if v, ok := user[k]; ok && v != nil {
				out[k] = v
			}
		}
	}
	for _, s := range scopes {
		switch s {
		case "profile":
			take("name", "nickname", "picture", "updated_at", "given_name", "family_name", "middle_name", "gender", "birthdate",
				"locale", "zoneinfo", "website", "profile", "preferred_username")
		case "email":
			take("email", "email_verified")
		case "phone":
			if v, ok := user["phone_number"]; ok {
				out["phone_number"] = v
				out["phone_number_verified"] = flag(user, "phone_verified")
			}
		case "address":
			take("address")
		case "name", "given_name", "family_name", "nickname", "email_verified", "picture", "created_at", "identities":
			take(s)
		}
	}
	return out
}

// tokenResponse makes all the tokens of an answer of the token endpoint.
func (c *call) tokenResponse(tx *state.Tx, i *issue, refresh string) (map[string]any, error) {
	access, life, err := c.accessToken(tx, i)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"access_token": access, "expires_in": int(life.Seconds()), "token_type": "Bearer"}
	if scope := i.scope(); len(scope) > 0 {
		out["scope"] = strings.Join(scope, " ")
	}
	if i.user != nil && i.has("openid") {
		if out["id_token"], err = c.idToken(tx, i); err != nil {
			return nil, err
		}
	}
	if refresh != "" {
		out["refresh_token"] = refresh
	}
	return out, nil
}
