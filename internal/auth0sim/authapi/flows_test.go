package authapi_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

func TestDeviceFlow(t *testing.T) {
	s := newSim(t)
	s.action("post-login", rolesAction, nil)
	s.role(s.userID("ada@example.test"), "admin")
	rp := newRelyingParty(s, "web", "openid", "profile", "offline_access")
	rp.config.Endpoint.DeviceAuthURL = s.issuer + "oauth/device/code"
	start := func() *oauth2.DeviceAuthResponse {
		d, err := rp.config.DeviceAuth(rp.ctx)
		require.NoError(t, err)
		return d
	}
	poll := func(code string) reply {
		return s.form("/oauth/token", append([]string{"grant_type", "urn:ietf:params:oauth:grant-type:device_code", "device_code", code}, webAuth...)...)
	}

	d := start()
	require.Regexp(t, `^[B-Z]{4}-[B-Z]{4}$`, d.UserCode)
	require.EqualValues(t, 5, d.Interval)
	poll(d.DeviceCode).refused(t, 403, "authorization_pending", "User has yet to authorize device code.")
	poll(d.DeviceCode).refused(t, 429, "slow_down", "You are polling faster than the specified interval of 5 seconds.")

	b := s.browser()
	v := b.open(s.requestURI(d.VerificationURIComplete))
	require.Contains(t, v.body, d.UserCode)
	require.Contains(t, b.submit(v, map[string]string{"user_code": "BBBB-BBBB"}).problem(), "not valid")
	v = b.submit(v, map[string]string{"user_code": strings.ToLower(strings.ReplaceAll(d.UserCode, "-", " "))})
	require.Equal(t, "Device confirmation", v.title())
	require.Contains(t, v.body, d.UserCode)
	v = b.login(b.submit(v, nil), "ada@example.test")
	require.Equal(t, "Congratulations, you're all set!", v.title())

	s.store.Clock().Advance(6 * time.Second)
	d.Interval = 1 // of the library's own clock, which is not ours
	token, err := rp.config.DeviceAccessToken(rp.ctx, d)
	require.NoError(t, err)
	require.NotEmpty(t, token.RefreshToken)
	require.Equal(t, []any{"admin"}, claims(t, token.Extra("id_token").(string))[rolesClaim])
	poll(d.DeviceCode).refused(t, 403, "invalid_grant", "")

	t.Run("cancelled", func(t *testing.T) {
		d := start()
		v := b.submit(b.submit(b.open("/activate"), map[string]string{"user_code": d.UserCode}), map[string]string{"action": "deny"})
		require.Equal(t, "Device not connected", v.title())
		poll(d.DeviceCode).refused(t, 403, "access_denied", "User cancelled the confirmation prompt.")
		poll(d.DeviceCode).refused(t, 403, "invalid_grant", "")
	})
	t.Run("expired", func(t *testing.T) {
		d := start()
		s.store.Clock().Advance(16 * time.Minute)
		require.Contains(t, b.submit(b.open("/activate"), map[string]string{"user_code": d.UserCode}).problem(), "not valid")
		poll(d.DeviceCode).refused(t, 403, "expired_token", "")
		poll(d.DeviceCode).refused(t, 403, "invalid_grant", "")
	})
	t.Run("an action refuses", func(t *testing.T) {
		s.action("post-login", `exports.onExecutePostLogin = async (event, api) => {
			if (event.transaction.protocol === 'oauth2-device-code') api.access.deny('no devices') }`, nil)
		d := start()
		b := s.browser()
		v := b.login(b.submit(b.submit(b.open("/activate"), map[string]string{"user_code": d.UserCode}), nil), "ada@example.test")
		require.Equal(t, 403, v.status)
		require.Contains(t, v.body, "no devices")
		poll(d.DeviceCode).refused(t, 403, "access_denied", "")
	})
	t.Run("guessing codes stops", func(t *testing.T) {
		v := b.open("/activate")
		for range 10 {
			v = b.submit(v, map[string]string{"user_code": "BBBB-BBBB"})
		}
		require.Contains(t, b.submit(v, map[string]string{"user_code": start().UserCode}).problem(), "Too many wrong codes")
	})
	t.Run("the tenant's own form of codes", func(t *testing.T) {
		s.change("tenants/settings", "settings", func(d doc) { d["device_flow"] = doc{"charset": "digits", "mask": "***-***-***"} })
		s.store.Clock().Advance(6 * time.Minute) // the guesser is let off
		d := start()
		require.Regexp(t, `^\d{3}-\d{3}-\d{3}$`, d.UserCode)
		v := b.submit(b.open("/activate"), map[string]string{"user_code": strings.ReplaceAll(d.UserCode, "-", "")})
		require.Equal(t, "Device confirmation", v.title())
	})
	t.Run("refusals", func(t *testing.T) {
		s.form("/oauth/device/code", append([]string{"audience", "https://nope"}, webAuth...)...).refused(t, 403, "access_denied", "Service not found: https://nope")
		s.client("nodev", doc{"grant_types": []any{"authorization_code"}})
		s.form("/oauth/device/code", "client_id", "nodev", "client_secret", "nodev-secret").refused(t, 403, "unauthorized_client", "device_code")
		poll("nope").refused(t, 403, "invalid_grant", "")
	})
	require.Subset(t, s.logTypes(), []string{"sede", "fede", "fdecc"})
}

func TestLogout(t *testing.T) {
	s := newSim(t)
	s.change("tenants/settings", "settings", func(d doc) { d["allowed_logout_urls"] = []any{"https://tenant.example.test/bye"} })
	rp := newRelyingParty(s, "web", "openid")
	var meta struct {
		EndSession string `json:"end_session_endpoint"`
	}
	require.NoError(t, rp.provider.Claims(&meta))
	require.Equal(t, s.issuer+"oidc/logout", meta.EndSession)
	signedIn := func(b *browser) bool { return b.open(authorizeURL("web", "prompt", "none")).answer().Get("code") != "" }
	const bye = "https://app.example.test/bye"

	t.Run("v2", func(t *testing.T) {
		b := s.browser()
		s.code(b, "web")
		require.True(t, signedIn(b))
		v := b.open("/v2/logout?" + query("client_id", "web", "returnTo", bye+"?from=here"))
		require.Equal(t, bye+"?from=here", v.left.String(), "the query does not count")
		require.False(t, signedIn(b))
		require.Equal(t, "https://tenant.example.test/bye", b.open("/v2/logout").left.String())
		require.Contains(t, s.logTypes(), "slo")
	})
	t.Run("v2 to an address not registered", func(t *testing.T) {
		b := s.browser()
		s.code(b, "web")
		for _, to := range []string{"https://evil.test/", bye + ".evil.test", "//evil.test", "javascript:alert(1)", "https://app.example.test/bye/../x", "https://app.example.test\\@evil.test", " " + bye, bye + "\n"} {
			v := b.open("/v2/logout?" + query("client_id", "web", "returnTo", to))
			require.Equal(t, 400, v.status, to)
			require.Nil(t, v.left)
		}
		require.Equal(t, 400, b.open("/v2/logout?"+query("returnTo", bye)).status, "a client's address needs its client_id")
		require.True(t, signedIn(b), "a refused logout changes nothing")
		require.Equal(t, 400, b.open("/v2/logout?client_id=nobody").status)
	})
	t.Run("RP-initiated", func(t *testing.T) {
		b := s.browser()
		id := s.exchange(s.code(b, "web")).body["id_token"].(string)
		v := b.open("/oidc/logout?" + query("id_token_hint", id, "post_logout_redirect_uri", bye, "state", "x y"))
		require.Equal(t, bye+"?state=x+y", v.left.String())
		require.False(t, signedIn(b))
	})
	t.Run("RP-initiated with an expired hint", func(t *testing.T) {
		b := s.browser()
		id := s.exchange(s.code(b, "web")).body["id_token"].(string)
		s.store.Clock().Advance(24 * time.Hour)
		require.NotNil(t, b.open("/oidc/logout?"+query("id_token_hint", id, "post_logout_redirect_uri", bye)).left)
	})
	t.Run("without a hint the person is asked", func(t *testing.T) {
		b := s.browser()
		s.code(b, "web")
		v := b.open("/oidc/logout?" + query("client_id", "web", "post_logout_redirect_uri", bye))
		require.Equal(t, "Log out", v.title())
		require.True(t, signedIn(b))
		require.Equal(t, "Log out", s.browser().submit(v, nil).title(), "the form of one browser does nothing in another")
		require.Equal(t, bye, b.submit(v, nil).left.String())
		require.False(t, signedIn(b))
	})
	t.Run("another session's hint", func(t *testing.T) {
		a, b := s.browser(), s.browser()
		id := s.exchange(s.code(a, "web")).body["id_token"].(string)
		s.code(b, "web")
		require.Equal(t, "Log out", b.open("/oidc/logout?"+query("id_token_hint", id)).title())
	})
	t.Run("bad hints", func(t *testing.T) {
		b := s.browser()
		id := s.exchange(s.code(b, "web")).body["id_token"].(string)
		parts := strings.Split(id, ".")
		none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."
		other := newSim(t)
		foreign := other.exchange(other.code(other.browser(), "web")).body["id_token"].(string)
		for _, hint := range []string{"x", none, parts[0] + "." + parts[1] + ".AAAA", foreign} {
			v := b.open("/oidc/logout?" + query("id_token_hint", hint))
			require.Equal(t, 400, v.status, hint)
		}
		require.Equal(t, 400, b.open("/oidc/logout?"+query("id_token_hint", id, "client_id", "other")).status)
		require.Equal(t, 400, b.open("/oidc/logout?"+query("id_token_hint", id, "post_logout_redirect_uri", "https://evil.test")).status)
		require.True(t, signedIn(b))
	})
	t.Run("a client with HS256", func(t *testing.T) {
		secret := strings.Repeat("hs-secret", 5)
		s.client("hs", doc{"jwt_configuration": doc{"alg": "HS256"}, "client_secret": secret})
		b := s.browser()
		r := s.form("/oauth/token", "grant_type", "authorization_code", "code", s.code(b, "hs"), "redirect_uri", callback, "client_id", "hs", "client_secret", secret)
		id := r.body["id_token"].(string)
		require.Equal(t, "HS256", tokenHeader(t, id)["alg"])
		parsed, err := jwt.ParseSigned(id, []jose.SignatureAlgorithm{jose.HS256})
		require.NoError(t, err)
		var c doc
		require.NoError(t, parsed.Claims([]byte(secret), &c))
		require.NotNil(t, b.open("/oidc/logout?"+query("id_token_hint", id, "post_logout_redirect_uri", bye)).left)
	})
}

func TestPushedAuthorizationRequests(t *testing.T) {
	s := newSim(t)
	b := s.browser()
	s.code(b, "web")
	push := func(more ...string) reply {
		return s.form("/oauth/par", append(append([]string{"response_type", "code", "redirect_uri", callback, "scope", "openid", "state", "pushed"}, webAuth...), more...)...)
	}
	r := push()
	require.Equal(t, 201, r.status, r.text)
	require.EqualValues(t, 30, r.body["expires_in"])
	uri := r.body["request_uri"].(string)
	require.Equal(t, 400, b.open("/authorize?"+query("client_id", "other", "request_uri", uri)).status)
	a := b.open("/authorize?" + query("client_id", "web", "request_uri", uri, "state", "mixed in")).answer()
	require.Equal(t, "pushed", a.Get("state"))
	require.Equal(t, 200, s.exchange(a.Get("code")).status)
	require.Equal(t, 400, b.open("/authorize?"+query("client_id", "web", "request_uri", uri)).status, "used up")
	require.Equal(t, 400, b.open("/authorize?"+query("client_id", "web", "request_uri", "https://evil.test/r")).status)

	uri = push().body["request_uri"].(string)
	s.store.Clock().Advance(31 * time.Second)
	require.Equal(t, 400, b.open("/authorize?"+query("client_id", "web", "request_uri", uri)).status, "expired")

	push("request_uri", uri).refused(t, 400, "invalid_request", "request_uri")
	s.form("/oauth/par", append([]string{"response_type", "code", "redirect_uri", "https://evil.test"}, webAuth...)...).refused(t, 400, "invalid_request", "redirect_uri is not in the list")
	s.form("/oauth/par", "client_id", "web", "client_secret", "no").refused(t, 401, "access_denied", "Unauthorized")
	require.NotContains(t, s.list("oauth/requests")[0]["params"], "client_secret")

	s.change("clients", "web", func(d doc) { d["require_pushed_authorization_requests"] = true })
	require.Equal(t, "Pushed Authorization Request is required", b.open(authorizeURL("web")).answer().Get("error_description"))
	require.NotEmpty(t, b.open("/authorize?"+query("client_id", "web", "request_uri", push().body["request_uri"].(string))).answer().Get("code"))
}

func TestPrivateKeyJWT(t *testing.T) {
	s := newSim(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	pub := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	s.put("clients/credentials", "cred_1", doc{"id": "cred_1", "client_id": "robot", "alg": "RS256", "kid": "k1", state.Private: doc{"pem": pub}})
	s.client("robot", doc{"client_secret": nil, "client_authentication_methods": doc{"private_key_jwt": doc{"credentials": []any{doc{"id": "cred_1"}}}}})
	s.put("client-grants", "g", doc{"id": "g", "client_id": "robot", "audience": api, "scope": []any{"read:things"}})

	assertion := func(alg jose.SignatureAlgorithm, with any, edit func(*jwt.Claims)) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: with}, (&jose.SignerOptions{}).WithHeader("kid", "k1"))
		require.NoError(t, err)
		now := s.store.Now()
		c := jwt.Claims{Issuer: "robot", Subject: "robot", Audience: jwt.Audience{s.issuer}, ID: now.String(), IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute))}
		if edit != nil {
			edit(&c)
		}
		out, err := jwt.Signed(signer).Claims(c).Serialize()
		require.NoError(t, err)
		return out
	}
	ask := func(a string) reply {
		return s.form("/oauth/token", "grant_type", "client_credentials", "audience", api, "client_assertion", a, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	}
	good := assertion(jose.RS256, key, nil)
	r := ask(good)
	require.Equal(t, 200, r.status, r.text)
	require.Equal(t, "robot@clients", claims(t, r.body["access_token"].(string))["sub"])

	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, a := range map[string]string{
		"replayed":       good,
		"another key":    assertion(jose.RS256, other, nil),
		"HMAC with PEM":  assertion(jose.HS256, []byte(pub), nil),
		"expired":        assertion(jose.RS256, key, func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(s.store.Now().Add(-time.Minute)) }),
		"for somebody":   assertion(jose.RS256, key, func(c *jwt.Claims) { c.Audience = jwt.Audience{"https://else.test/"} }),
		"of somebody":    assertion(jose.RS256, key, func(c *jwt.Claims) { c.Subject = "web" }),
		"good for years": assertion(jose.RS256, key, func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(s.store.Now().Add(9999 * time.Hour)) }),
		"without an id":  assertion(jose.RS256, key, func(c *jwt.Claims) { c.ID = "" }),
		"not a token":    "abc",
	} {
		t.Run(name, func(t *testing.T) { ask(a).refused(t, 401, "access_denied", "Unauthorized") })
	}
	t.Run("a secret does not do", func(t *testing.T) {
		s.change("clients", "robot", func(d doc) { d["client_secret"] = "robot-secret" })
		s.form("/oauth/token", "grant_type", "client_credentials", "audience", api, "client_id", "robot", "client_secret", "robot-secret").refused(t, 401, "access_denied", "Unauthorized")
	})
}

func TestMFAGrants(t *testing.T) {
	s := newSim(t)
	s.mfa()
	start := func() string {
		r := s.form("/oauth/token", append([]string{"grant_type", "password", "username", "ada@example.test", "password", password, "scope", "openid"}, webAuth...)...)
		r.refused(t, 403, "mfa_required", "Multifactor authentication required")
		require.Contains(t, r.body, "mfa_requirements")
		return r.body["mfa_token"].(string)
	}
	finish := func(grant, token string, more ...string) reply {
		return s.form("/oauth/token", append(append([]string{"grant_type", "http://auth0.com/oauth/grant-type/" + grant, "mfa_token", token}, webAuth...), more...)...)
	}
	challenge := func(token, kind string) reply {
		return s.json("/mfa/challenge", doc{"mfa_token": token, "client_id": "web", "client_secret": "web-secret", "challenge_type": kind})
	}
	bearer := func(token string) map[string]string { return map[string]string{"Authorization": "Bearer " + token} }
	associate := func(token, kind string) reply {
		return s.send("POST", "/mfa/associate", "application/json", `{"authenticator_types":["`+kind+`"],"client_id":"web","client_secret":"web-secret"}`, bearer(token))
	}

	token := start()
	challenge(token, "otp").refused(t, 403, "association_required", "")
	associate(token, "oob").refused(t, 400, "invalid_request", "authenticator_types")
	associate("nope", "otp").refused(t, 401, "invalid_grant", "Malformed mfa_token")
	r := associate(token, "otp")
	require.Equal(t, 200, r.status, r.text)
	secret := r.body["secret"].(string)
	require.Contains(t, r.body["barcode_uri"], "otpauth://totp/Acme%20&%20S%C3%B6hne:ada%40example.test?")
	recovery := r.body["recovery_codes"].([]any)[0].(string)
	require.Equal(t, "[]", listAuthenticators(s, token, "otp"), "not active before it was confirmed")
	finish("mfa-otp", token, "otp", "000000").refused(t, 403, "invalid_grant", "Invalid otp_code.")
	r = finish("mfa-otp", token, "otp", s.otp(secret))
	require.Equal(t, 200, r.status, r.text)
	require.Equal(t, []any{"mfa"}, claims(t, r.body["id_token"].(string))["amr"])
	finish("mfa-otp", token, "otp", s.otp(secret)).refused(t, 401, "invalid_grant", "Malformed mfa_token")

	s.store.Clock().Advance(time.Minute)
	token = start()
	require.Equal(t, doc{"challenge_type": "otp"}, challenge(token, "otp oob").body)
	challenge(token, "oob").refused(t, 403, "unsupported_challenge_type", "")
	associate(token, "otp").refused(t, 403, "access_denied", "User is already enrolled.")
	require.Contains(t, listAuthenticators(s, token, "otp"), "totp|dev_")
	require.Equal(t, 200, finish("mfa-otp", token, "otp", s.otp(secret)).status)

	token = start()
	finish("mfa-recovery-code", token, "recovery_code", "WRONG").refused(t, 403, "invalid_grant", "MFA Authorization rejected.")
	r = finish("mfa-recovery-code", token, "recovery_code", recovery)
	require.Equal(t, 200, r.status, r.text)
	require.NotEmpty(t, r.body["recovery_code"])
	require.NotEqual(t, recovery, r.body["recovery_code"])

	token = start()
	s.store.Clock().Advance(11 * time.Minute)
	finish("mfa-otp", token, "otp", s.otp(secret)).refused(t, 401, "expired_token", "mfa_token is expired")
	finish("mfa-otp", "", "otp", "1").refused(t, 400, "invalid_request", "mfa_token")
	require.Contains(t, s.logTypes(), "mfar")

	t.Run("authenticators with an access token", func(t *testing.T) {
		access := func(scope string) map[string]string {
			token := start2(s, secret, scope)
			return bearer(token)
		}
		remove := func(id string, h map[string]string) reply {
			return s.send("DELETE", "/mfa/authenticators/"+url.PathEscape(id), "", "", h)
		}
		read := access("read:authenticators")
		r := s.send("GET", "/mfa/authenticators", "", "", read)
		require.Equal(t, 200, r.status, r.text)
		id := "totp|" + s.list("guardian/enrollments")[0]["id"].(string)
		require.Contains(t, r.text, id)
		remove(id, bearer(start())).refused(t, 401, "invalid_token", "")
		remove(id, read).refused(t, 403, "insufficient_scope", "remove:authenticators")
		full := access("remove:authenticators")
		remove("totp|dev_nope", full).refused(t, 404, "not_found", "")
		require.Equal(t, 204, remove(id, full).status)
		require.Empty(t, s.list("guardian/enrollments"))
	})
}

// start2 signs ada in with both factors for a token of the MFA API.
func start2(s *sim, secret, scope string) string {
	s.t.Helper()
	s.store.Clock().Advance(time.Minute)
	r := s.form("/oauth/token", append([]string{"grant_type", "password", "username", "ada@example.test", "password", password, "scope", scope, "audience", s.issuer + "mfa/"}, webAuth...)...)
	r = s.form("/oauth/token", append([]string{"grant_type", "http://auth0.com/oauth/grant-type/mfa-otp", "mfa_token", r.body["mfa_token"].(string), "otp", s.otp(secret)}, webAuth...)...)
	require.Equal(s.t, 200, r.status, r.text)
	require.EqualValues(s.t, 600, r.body["expires_in"])
	return r.body["access_token"].(string)
}

func listAuthenticators(s *sim, token, kind string) string {
	s.t.Helper()
	r := s.send("GET", "/mfa/authenticators", "", "", map[string]string{"Authorization": "Bearer " + token})
	require.Equal(s.t, 200, r.status, r.text)
	if !strings.Contains(r.text, `"`+kind+`"`) {
		return "[]"
	}
	return r.text
}

func TestDatabaseConnectionsAPI(t *testing.T) {
	s := newSim(t)
	body := func(over doc) doc {
		d := doc{"client_id": "web", "connection": "Users", "email": "Bob@example.test", "password": password}
		for k, v := range over {
			d[k] = v
		}
		return d
	}
	r := s.json("/dbconnections/signup", body(doc{"user_metadata": doc{"plan": "gold"}}))
	require.Equal(t, 200, r.status, r.text)
	require.Regexp(t, `^[0-9a-f]{24}$`, r.body["_id"])
	require.Equal(t, "bob@example.test", r.body["email"])
	require.Equal(t, false, r.body["email_verified"])
	require.Equal(t, doc{"plan": "gold"}, s.get("users", s.userID("bob@example.test"))["user_metadata"])

	r = s.json("/dbconnections/signup", body(nil))
	require.Equal(t, 400, r.status)
	require.Equal(t, doc{"name": "BadRequestError", "code": "invalid_signup", "description": "Invalid sign up", "statusCode": 400.0}, r.body)

	r = s.json("/dbconnections/signup", body(doc{"email": "weak@example.test", "password": "weak"}))
	require.Equal(t, 400, r.status)
	require.Equal(t, "PasswordStrengthError", r.body["name"])
	require.Equal(t, "invalid_password", r.body["code"])
	require.Equal(t, "Password is too weak", r.body["message"])
	require.Contains(t, r.body["policy"], "* At least 8 characters in length")
	require.NotEmpty(t, r.body["description"].(doc)["rules"])

	for name, over := range map[string]doc{
		"unknown client":     {"client_id": "nope"},
		"unknown connection": {"connection": "nope"},
		"bad email":          {"email": "x"},
		"no password":        {"password": ""},
		"bad metadata":       {"user_metadata": "x"},
		"nested metadata":    {"user_metadata": doc{"a": doc{}}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, 400, s.json("/dbconnections/signup", body(over)).status) })
	}

	sent := len(s.list("outbox"))
	const said = "We've just sent you an email to reset your password."
	r = s.json("/dbconnections/change_password", doc{"client_id": "web", "connection": "Users", "email": "ada@example.test"})
	require.Equal(t, 200, r.status)
	require.Equal(t, said, r.text)
	require.Equal(t, "text/html; charset=utf-8", r.header.Get("Content-Type"))
	require.Len(t, s.list("outbox"), sent+1)
	require.Equal(t, "Change your password", s.browser().open(s.requestURI(s.lastMail()["link"])).title())
	r = s.json("/dbconnections/change_password", doc{"client_id": "web", "connection": "Users", "email": "nobody@example.test"})
	require.Equal(t, said, r.text)
	require.Len(t, s.list("outbox"), sent+1)
	require.Equal(t, 400, s.json("/dbconnections/change_password", doc{"client_id": "web", "connection": "Users"}).status)
}

func TestPasswordless(t *testing.T) {
	s := newSim(t)
	s.put("connections", "con_mail", doc{"id": "con_mail", "name": "email", "strategy": "email"})
	s.put("connections/clients", state.Key("con_mail", "web"), doc{"connection_id": "con_mail", "client_id": "web"})
	start := func(over doc) reply {
		d := doc{"client_id": "web", "client_secret": "web-secret", "connection": "email", "email": "Zoe@example.test", "send": "code"}
		for k, v := range over {
			d[k] = v
		}
		return s.json("/passwordless/start", d)
	}
	login := func(code string) reply {
		return s.json("/oauth/token", doc{"grant_type": "http://auth0.com/oauth/grant-type/passwordless/otp", "client_id": "web", "client_secret": "web-secret",
			"realm": "email", "username": "zoe@example.test", "otp": code, "scope": "openid profile email offline_access"})
	}
	r := start(nil)
	require.Equal(t, 200, r.status, r.text)
	require.Equal(t, "zoe@example.test", r.body["email"])
	require.Equal(t, false, r.body["email_verified"])
	login("000000x").refused(t, 403, "invalid_grant", "Wrong email or verification code.")
	code := s.lastMail()["code"].(string)
	got := login(code)
	require.Equal(t, 200, got.status, got.text)
	require.Equal(t, true, claims(t, got.body["id_token"].(string))["email_verified"])
	require.Equal(t, "email|"+r.body["_id"].(string), claims(t, got.body["id_token"].(string))["sub"])
	login(code).refused(t, 403, "invalid_grant", "Wrong email")

	start(nil)
	code = s.lastMail()["code"].(string)
	for range 3 {
		login("000000x").refused(t, 403, "invalid_grant", "Wrong email or verification code.")
	}
	login(code).refused(t, 403, "invalid_grant", "maximum number of attempts")
	start(nil)
	s.store.Clock().Advance(4 * time.Minute)
	login(s.lastMail()["code"].(string)).refused(t, 403, "invalid_grant", "expired")

	t.Run("link", func(t *testing.T) {
		require.Equal(t, 200, start(doc{"send": "link", "authParams": doc{"redirect_uri": callback, "state": "m", "scope": "openid"}}).status)
		link := s.requestURI(s.lastMail()["link"])
		a := s.browser().open(link).answer()
		require.Equal(t, "m", a.Get("state"))
		require.Equal(t, 200, s.exchange(a.Get("code")).status)
		require.Equal(t, "unauthorized", s.browser().open(link).answer().Get("error"), "a link works once")
	})
	start(doc{"client_secret": ""}).refused(t, 401, "access_denied", "Unauthorized")
	start(doc{"email": "x"}).refused(t, 400, "bad.email", "")
	start(doc{"connection": "sms", "phone_number": "+491234567"}).refused(t, 400, "bad.connection", "")
	start(doc{"connection": "sms", "phone_number": "nope"}).refused(t, 400, "bad.phone_number", "")
}

func TestSigningKeyRotation(t *testing.T) {
	s := newSim(t)
	kids := func() []string {
		var out []string
		for _, k := range s.send("GET", "/.well-known/jwks.json", "", "", nil).body["keys"].([]any) {
			key := k.(doc)
			require.Equal(t, "RS256", key["alg"])
			require.Equal(t, "sig", key["use"])
			require.NotContains(t, key, "d")
			require.Len(t, key["x5c"], 1)
			out = append(out, key["kid"].(string))
		}
		return out
	}
	before := kids()
	require.Len(t, before, 2)
	b := s.browser()
	old := s.exchange(s.code(b, "web", "audience", api)).body
	require.Contains(t, before, tokenHeader(t, old["access_token"].(string))["kid"])
	s.update(func(tx *state.Tx) error { _, err := tx.RotateSigningKeys(); return err })
	fresh := s.exchange(s.code(b, "web", "audience", api)).body
	require.NotEqual(t, tokenHeader(t, old["access_token"].(string))["kid"], tokenHeader(t, fresh["access_token"].(string))["kid"])
	require.Contains(t, before, tokenHeader(t, fresh["access_token"].(string))["kid"], "the next key was announced before")
	require.Subset(t, kids(), before)

	info := func(token any) int {
		return s.send("GET", "/userinfo", "", "", map[string]string{"Authorization": "Bearer " + token.(string)}).status
	}
	require.Equal(t, 200, info(old["access_token"]))
	oldKID := tokenHeader(t, old["access_token"].(string))["kid"].(string)
	s.change("keys/signing", oldKID, func(d doc) { d["revoked"] = true })
	require.NotContains(t, kids(), oldKID)
	require.Equal(t, 401, info(old["access_token"]))
	require.Equal(t, 200, info(fresh["access_token"]))
}

func TestUserinfo(t *testing.T) {
	s := newSim(t)
	info := func(token string) reply {
		return s.send("GET", "/userinfo", "", "", map[string]string{"Authorization": "Bearer " + token})
	}
	b := s.browser()
	opaque := s.exchange(s.code(b, "web", "scope", "openid email")).body["access_token"].(string)
	r := info(opaque)
	require.Equal(t, 200, r.status)
	require.Equal(t, doc{"sub": s.userID("ada@example.test"), "email": "ada@example.test", "email_verified": false}, r.body)
	r = s.form("/userinfo", "access_token", opaque)
	require.Equal(t, 200, r.status, r.text)

	signed := s.exchange(s.code(b, "web", "scope", "openid profile", "audience", api)).body["access_token"].(string)
	require.Equal(t, "ada@example.test", info(signed).body["name"])

	r = s.send("GET", "/userinfo", "", "", nil)
	require.Equal(t, 401, r.status)
	require.Contains(t, r.header.Get("WWW-Authenticate"), "Bearer")
	r = info("junk")
	r.refused(t, 401, "invalid_token", "")
	require.Contains(t, r.header.Get("WWW-Authenticate"), `error="invalid_token"`)
	info(s.exchange(s.code(b, "web", "scope", "read:things", "audience", api)).body["access_token"].(string)).refused(t, 403, "insufficient_scope", "openid")
	s.store.Clock().Advance(25 * time.Hour)
	info(opaque).refused(t, 401, "invalid_token", "")
	info(signed).refused(t, 401, "invalid_token", "")
}

func TestOrganizations(t *testing.T) {
	s := newSim(t)
	ada := s.userID("ada@example.test")
	s.put("organizations", "org_1", doc{"id": "org_1", "name": "north", "display_name": "North"})
	s.put("organizations", "org_2", doc{"id": "org_2", "name": "south", "display_name": "South"})
	for _, o := range []string{"org_1", "org_2"} {
		s.put("organizations/connections", state.Key(o, "con_1"), doc{"organization_id": o, "connection_id": "con_1"})
	}
	s.put("organizations/members", state.Key("org_1", ada), doc{"organization_id": "org_1", "user_id": ada})
	login := func(pairs ...string) url.Values {
		b := s.browser()
		v := b.open(authorizeURL("web", pairs...))
		if v.left == nil {
			v = b.login(v, "ada@example.test")
		}
		return v.answer()
	}
	require.Equal(t, "parameter organization is not allowed for this client", login("organization", "org_1").Get("error_description"))
	s.change("clients", "web", func(d doc) { d["organization_usage"] = "allow" })
	require.Equal(t, "parameter organization is invalid", login("organization", "nope").Get("error_description"))
	require.Equal(t, "parameter organization is invalid", login("organization", "?after").Get("error_description"))
	id := claims(t, s.exchange(login("organization", "north").Get("code")).body["id_token"].(string))
	require.Equal(t, "org_1", id["org_id"])
	require.NotContains(t, id, "org_name")
	require.Contains(t, login("organization", "org_2").Get("error_description"), "is not part of the org_2 organization")

	s.change("organizations/connections", state.Key("org_2", "con_1"), func(d doc) { d["assign_membership_on_login"] = true })
	require.NotEmpty(t, login("organization", "org_2").Get("code"))
	require.NotNil(t, s.get("organizations/members", state.Key("org_2", ada)))

	s.change("clients", "web", func(d doc) { d["organization_usage"] = "require" })
	require.Equal(t, "parameter organization is required for this client", login().Get("error_description"))

	t.Run("asked before", func(t *testing.T) {
		s.change("clients", "web", func(d doc) { d["organization_require_behavior"] = "pre_login_prompt" })
		b := s.browser()
		v := b.open(authorizeURL("web"))
		require.Equal(t, "Your organization", v.title())
		require.NotEmpty(t, b.submit(v, map[string]string{"organization": "nope"}).problem())
		v = b.login(b.submit(v, map[string]string{"organization": "North"}), "ada@example.test")
		require.Equal(t, "org_1", claims(t, s.exchange(v.answer().Get("code")).body["id_token"].(string))["org_id"])
	})
	t.Run("asked after", func(t *testing.T) {
		s.change("clients", "web", func(d doc) { d["organization_require_behavior"] = "post_login_prompt" })
		b := s.browser()
		v := b.login(b.open(authorizeURL("web")), "ada@example.test")
		require.Equal(t, "Your organization", v.title())
		require.Contains(t, v.body, "South")
		v = b.submit(v, map[string]string{"organization": "org_2"})
		require.Equal(t, "org_2", claims(t, s.exchange(v.answer().Get("code")).body["id_token"].(string))["org_id"])

		s.user("lone@example.test", nil)
		b = s.browser()
		require.Equal(t, "access_denied", b.login(b.open(authorizeURL("web")), "lone@example.test").answer().Get("error"))
	})
}

func TestInvitations(t *testing.T) {
	s := newSim(t)
	ada := s.userID("ada@example.test")
	s.put("organizations", "org_1", doc{"id": "org_1", "name": "north", "display_name": "North"})
	s.put("organizations/connections", state.Key("org_1", "con_1"), doc{"organization_id": "org_1", "connection_id": "con_1"})
	s.change("clients", "web", func(d doc) { d["organization_usage"] = "allow" })
	invite := func(id, email string) []string {
		s.put("organizations/invitations", "uinv_"+id, doc{"id": "uinv_" + id, "organization_id": "org_1", "client_id": "web", "ticket_id": id, "invitee": doc{"email": email},
			"roles": []any{"rol_x"}, "expires_at": state.Timestamp(s.store.Now().Add(time.Hour))})
		return []string{"organization", "org_1", "invitation", id}
	}
	b := s.browser()
	v := b.open(authorizeURL("web", invite("T1", "ada@example.test")...))
	require.Equal(t, "/u/login", v.at.Path, "who has an account signs in")
	require.NotEmpty(t, b.submit(v, map[string]string{"password": password}).answer().Get("code"))
	require.NotNil(t, s.get("organizations/members", state.Key("org_1", ada)))
	require.NotNil(t, s.get("organizations/roles", state.Key("org_1", ada, "rol_x")))
	require.Empty(t, s.list("organizations/invitations"))
	require.Equal(t, "invitation not found or already used", b.open(authorizeURL("web", "organization", "org_1", "invitation", "T1")).answer().Get("error_description"))

	v = b.open(authorizeURL("web", invite("T2", "new@example.test")...))
	require.Equal(t, "/u/signup", v.at.Path, "ada is signed in, but not invited")
	v = b.submit(v, map[string]string{"password": password})
	require.NotEmpty(t, v.answer().Get("code"))
	require.NotNil(t, s.get("organizations/members", state.Key("org_1", s.userID("new@example.test"))))

	b = s.browser()
	v = b.open(authorizeURL("web", invite("T3", "third@example.test")...))
	v = b.submit(v, map[string]string{"email": "mallory@example.test", "password": password})
	require.Equal(t, "The invitation is for another email address", v.answer().Get("error_description"))

	late := invite("T4", "ada@example.test")
	s.store.Clock().Advance(2 * time.Hour)
	require.Equal(t, "invalid_request", s.browser().open(authorizeURL("web", late...)).answer().Get("error"))
}

func TestActionsInTheLogin(t *testing.T) {
	s := newSim(t)
	s.action("post-login", `exports.onExecutePostLogin = async (event, api) => {
		if (event.transaction.login_hint === 'deny') api.access.deny('go away');
		if (event.transaction.login_hint === 'crash') null.x;
		if (event.transaction.login_hint === 'loop') for (;;) {}
		if (event.transaction.login_hint === 'terms') api.redirect.sendUserTo('https://terms.example.test/ask?a=1');
		api.user.setAppMetadata('logins', event.stats.logins_count);
		api.accessToken.addScope('extra');
		api.idToken.setCustomClaim('client', [event.client.name, event.connection.name, event.request.ip, event.authentication.methods[0].name]);
	};
	exports.onContinuePostLogin = async (event, api) => {
		if (event.request.query.agreed !== 'yes') api.access.deny('terms not accepted');
	};`, nil)
	s.action("post-login", `exports.onExecutePostLogin = async (event, api) => { api.idToken.setCustomClaim('last', true) }`, nil)
	open := func(hint string) (*browser, *view) {
		b := s.browser()
		return b, b.login(b.open(authorizeURL("web", "login_hint", hint)), "ada@example.test")
	}
	_, v := open("")
	r := s.exchange(v.answer().Get("code"))
	id := claims(t, r.body["id_token"].(string))
	require.Equal(t, []any{"App web", "Users", "127.0.0.1", "pwd"}, id["client"])
	require.Equal(t, true, id["last"])
	require.Equal(t, "openid profile email extra", r.body["scope"])
	require.Equal(t, doc{"logins": 0.0}, s.get("users", s.userID("ada@example.test"))["app_metadata"])

	for hint, want := range map[string]string{"deny": "go away", "crash": "Cannot read property 'x'", "loop": "time limit"} {
		_, v := open(hint)
		require.Equal(t, "access_denied", v.answer().Get("error"), hint)
		require.Contains(t, v.answer().Get("error_description"), want)
		require.Empty(t, v.answer().Get("code"))
	}
	require.Empty(t, s.list("oauth/transactions"), "a refused login is over")

	b, v := open("terms")
	require.Equal(t, "terms.example.test", v.left.Host)
	state := v.answer().Get("state")
	require.Equal(t, 400, s.browser().open("/continue?"+query("state", state, "agreed", "yes")).status, "another browser")
	done := b.open("/continue?" + query("state", state, "agreed", "yes")).answer()
	require.Equal(t, true, claims(t, s.exchange(done.Get("code")).body["id_token"].(string))["last"])
	b, v = open("terms")
	require.Equal(t, "terms not accepted", b.open("/continue?"+query("state", v.answer().Get("state"))).answer().Get("error_description"))
	b, _ = open("")
	require.Equal(t, 400, b.open("/continue?state=x").status)
	require.Equal(t, "interaction_required", b.open(authorizeURL("web", "prompt", "none", "login_hint", "terms")).answer().Get("error"))
}
