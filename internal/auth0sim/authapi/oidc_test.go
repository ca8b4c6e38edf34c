package authapi_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

func decodePart(t *testing.T, part string) doc {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(part)
	require.NoError(t, err)
	var d doc
	require.NoError(t, json.Unmarshal(raw, &d))
	return d
}

// relyingParty is an application built on libraries that know nothing of us.
type relyingParty struct {
	ctx      context.Context
	provider *oidc.Provider
	config   oauth2.Config
	verifier *oidc.IDTokenVerifier
}

func newRelyingParty(s *sim, client string, scopes ...string) *relyingParty {
	s.t.Helper()
	ctx := oidc.ClientContext(context.Background(), s.server.Client())
	p, err := oidc.NewProvider(ctx, s.issuer)
	require.NoError(s.t, err)
	return &relyingParty{
		ctx: ctx, provider: p, verifier: p.Verifier(&oidc.Config{ClientID: client}),
		config: oauth2.Config{ClientID: client, ClientSecret: client + "-secret", Endpoint: p.Endpoint(), RedirectURL: callback, Scopes: scopes},
	}
}

const rolesAction = `exports.onExecutePostLogin = async (event, api) => {
	api.idToken.setCustomClaim('` + rolesClaim + `', event.authorization.roles);
	api.accessToken.setCustomClaim('` + rolesClaim + `', event.authorization.roles);
};`

// What Grafana does: discovery, code + PKCE through the login page, ID token
// validation, roles from a namespaced claim, userinfo.
func TestRelyingPartyLogsIn(t *testing.T) {
	s := newSim(t)
	s.role(s.userID("ada@example.test"), "admin")
	s.action("post-login", rolesAction, nil)
	rp := newRelyingParty(s, "web", "openid", "profile", "email", "offline_access")

	verifier := oauth2.GenerateVerifier()
	b := s.browser()
	v := b.open(rp.config.AuthCodeURL("the state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("n-1"), oauth2.SetAuthURLParam("max_age", "600")))
	require.Contains(t, v.body, "Acme &amp; Söhne")
	v = b.login(v, "ada@example.test")
	require.Equal(t, "app.example.test", v.left.Host)
	require.Equal(t, "the state", v.answer().Get("state"))

	token, err := rp.config.Exchange(rp.ctx, v.answer().Get("code"), oauth2.VerifierOption(verifier))
	require.NoError(t, err)
	raw := token.Extra("id_token").(string)
	id, err := rp.verifier.Verify(rp.ctx, raw)
	require.NoError(t, err)
	require.Equal(t, "n-1", id.Nonce)
	require.Equal(t, s.userID("ada@example.test"), id.Subject)
	var c struct {
		Roles    []string `json:"https://tenon.example/roles"`
		Email    string   `json:"email"`
		SID      string   `json:"sid"`
		AuthTime int64    `json:"auth_time"`
	}
	require.NoError(t, id.Claims(&c))
	require.Equal(t, []string{"admin"}, c.Roles)
	require.Equal(t, "ada@example.test", c.Email)
	require.NotEmpty(t, c.SID)
	require.NotZero(t, c.AuthTime)

	info, err := rp.provider.UserInfo(rp.ctx, oauth2.StaticTokenSource(token))
	require.NoError(t, err)
	require.Equal(t, id.Subject, info.Subject)
	var infoClaims doc
	require.NoError(t, info.Claims(&infoClaims))
	require.Equal(t, []any{"admin"}, infoClaims[rolesClaim])
	require.NotContains(t, token.AccessToken, ".", "a token without audience is opaque")
	require.NotEmpty(t, token.RefreshToken)

	// A second visit needs no password.
	v = b.open(rp.config.AuthCodeURL("again"))
	require.NotEmpty(t, v.answer().Get("code"))
	require.Contains(t, s.logTypes(), "s")
	require.Contains(t, s.logTypes(), "seacft")
	require.EqualValues(t, 1, s.get("users", id.Subject)["logins_count"])
}

func TestMachineToMachine(t *testing.T) {
	s := newSim(t)
	mgmt := s.issuer + "api/v2/"
	s.put("client-grants", "cgr_1", doc{"id": "cgr_1", "client_id": "web", "audience": mgmt, "scope": []any{"read:users", "create:users"}})

	cfg := url.Values{"grant_type": {"client_credentials"}, "audience": {mgmt}}
	check := func(r reply, scope string) {
		t.Helper()
		require.Equal(t, http.StatusOK, r.status, r.text)
		c := claims(t, r.body["access_token"].(string))
		require.Equal(t, s.issuer, c["iss"])
		require.Equal(t, "web@clients", c["sub"])
		require.Equal(t, mgmt, c["aud"])
		require.Equal(t, "web", c["azp"])
		require.Equal(t, "client-credentials", c["gty"])
		require.Equal(t, scope, c["scope"])
		require.Equal(t, "JWT", tokenHeader(t, r.body["access_token"].(string))["typ"])
		require.EqualValues(t, 86400, r.body["expires_in"])
		require.Equal(t, "Bearer", r.body["token_type"])
		require.NotContains(t, r.body, "id_token")
	}
	all := "read:users create:users"
	check(s.form("/oauth/token", "grant_type", "client_credentials", "audience", mgmt, "client_id", "web", "client_secret", "web-secret"), all)
	check(s.json("/oauth/token", doc{"grant_type": "client_credentials", "audience": mgmt, "client_id": "web", "client_secret": "web-secret"}), all)
	check(s.json("/oauth/token", doc{"grant_type": "client_credentials", "audience": mgmt, "client_id": "web", "client_secret": "web-secret", "scope": "create:users"}), "create:users")
	basic := map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("web:web-secret"))}
	check(s.send("POST", "/oauth/token", "application/x-www-form-urlencoded", cfg.Encode(), basic), all)

	for name, c := range map[string]struct {
		with              []string
		status            int
		code, description string
	}{
		"wrong secret":      {[]string{"client_id", "web", "client_secret", "wrong", "audience", mgmt}, 401, "access_denied", "Unauthorized"},
		"unknown client":    {[]string{"client_id", "nobody", "client_secret", "x", "audience", mgmt}, 401, "access_denied", "Unauthorized"},
		"no secret":         {[]string{"client_id", "web", "audience", mgmt}, 401, "access_denied", "Unauthorized"},
		"unknown audience":  {[]string{"client_id", "web", "client_secret", "web-secret", "audience", "https://nope"}, 403, "access_denied", "Service not enabled within domain: https://nope"},
		"no grant":          {[]string{"client_id", "web", "client_secret", "web-secret", "audience", api}, 403, "access_denied", `Client is not authorized to access "https://api.example.test". You need to create a "client-grant" associated to this API.`},
		"scope not granted": {[]string{"client_id", "web", "client_secret", "web-secret", "audience", mgmt, "scope", "delete:users"}, 403, "access_denied", "delete:users"},
		"no client":         {[]string{"audience", mgmt}, 400, "invalid_request", "Missing required parameter: client_id"},
	} {
		t.Run(name, func(t *testing.T) {
			s.form("/oauth/token", append([]string{"grant_type", "client_credentials"}, c.with...)...).refused(t, c.status, c.code, c.description)
		})
	}
	t.Run("no grant type", func(t *testing.T) {
		s.form("/oauth/token", "client_id", "web").refused(t, 400, "invalid_request", "Missing required parameter: grant_type")
	})
	t.Run("unknown grant type", func(t *testing.T) {
		s.form("/oauth/token", "client_id", "web", "grant_type", "magic").refused(t, 403, "unsupported_grant_type", "magic")
	})
	t.Run("grant type off", func(t *testing.T) {
		s.client("spa", doc{"grant_types": []any{"authorization_code"}})
		s.form("/oauth/token", "client_id", "spa", "client_secret", "spa-secret", "grant_type", "client_credentials", "audience", mgmt).
			refused(t, 403, "unauthorized_client", "Grant type 'client_credentials' not allowed for the client.")
	})
	t.Run("credentials-exchange action", func(t *testing.T) {
		s.action("credentials-exchange", `exports.onExecuteCredentialsExchange = async (event, api) => {
			if (event.request.body.deny) api.access.deny('invalid_request', 'because');
			if (event.request.body.client_secret || event.secrets.K !== 'v') throw new Error('leak');
			api.accessToken.setCustomClaim('https://x.example/app', event.client.name);
		}`, doc{"K": "v"})
		r := s.json("/oauth/token", doc{"grant_type": "client_credentials", "audience": mgmt, "client_id": "web", "client_secret": "web-secret"})
		require.Equal(t, "App web", claims(t, r.body["access_token"].(string))["https://x.example/app"])
		s.json("/oauth/token", doc{"grant_type": "client_credentials", "audience": mgmt, "client_id": "web", "client_secret": "web-secret", "deny": "1"}).
			refused(t, 400, "invalid_request", "because")
	})
	require.Contains(t, s.logTypes(), "seccft")
	require.Contains(t, s.logTypes(), "feccft")
}
