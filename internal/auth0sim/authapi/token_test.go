package authapi_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

var webAuth = []string{"client_id", "web", "client_secret", "web-secret"}

func (s *sim) exchange(code string, more ...string) reply {
	s.t.Helper()
	return s.form("/oauth/token", append(append([]string{"grant_type", "authorization_code", "code", code, "redirect_uri", callback}, webAuth...), more...)...)
}

func (s *sim) refresh(token string, more ...string) reply {
	s.t.Helper()
	return s.form("/oauth/token", append(append([]string{"grant_type", "refresh_token", "refresh_token", token}, webAuth...), more...)...)
}

func TestAccessTokensOfAnAPI(t *testing.T) {
	s := newSim(t)
	ada := s.userID("ada@example.test")
	s.role(ada, "reader", "read:things")
	asked := []string{"audience", api, "scope", "openid read:things write:things delete:things"}
	get := func(t *testing.T) (doc, doc) {
		t.Helper()
		r := s.exchange(s.code(s.browser(), "web", asked...))
		require.Equal(t, 200, r.status, r.text)
		require.EqualValues(t, 3600, r.body["expires_in"])
		return claims(t, r.body["access_token"].(string)), tokenHeader(t, r.body["access_token"].(string))
	}

	t.Run("without RBAC the client's scopes count", func(t *testing.T) {
		c, h := get(t)
		require.Equal(t, "openid read:things write:things", c["scope"])
		require.Equal(t, []any{api, s.issuer + "userinfo"}, c["aud"])
		require.Equal(t, "web", c["azp"])
		require.Equal(t, "JWT", h["typ"])
		require.Equal(t, "RS256", h["alg"])
		require.NotEmpty(t, h["kid"])
		require.NotContains(t, c, "permissions")
		require.NotContains(t, c, "gty")
	})
	t.Run("RBAC narrows to permissions", func(t *testing.T) {
		s.change("resource-servers", "rs1", func(d doc) { d["enforce_policies"] = true })
		c, _ := get(t)
		require.Equal(t, "openid read:things", c["scope"])
		require.NotContains(t, c, "permissions")
	})
	t.Run("permissions claim", func(t *testing.T) {
		s.change("resource-servers", "rs1", func(d doc) { d["token_dialect"] = "access_token_authz" })
		c, _ := get(t)
		require.Equal(t, []any{"read:things"}, c["permissions"])
	})
	t.Run("RFC 9068", func(t *testing.T) {
		s.change("resource-servers", "rs1", func(d doc) { d["token_dialect"] = "rfc9068_profile_authz" })
		c, h := get(t)
		require.Equal(t, "at+jwt", h["typ"])
		require.Equal(t, "web", c["client_id"])
		require.NotEmpty(t, c["jti"])
		require.NotContains(t, c, "azp")
		require.Equal(t, []any{"read:things"}, c["permissions"])
	})
	t.Run("users without a grant are refused where the API demands one", func(t *testing.T) {
		s.change("resource-servers", "rs1", func(d doc) { d["subject_type_authorization"] = doc{"user": doc{"policy": "deny_all"}} })
		v := s.browser()
		a := v.login(v.open(authorizeURL("web", asked...)), "ada@example.test").answer()
		require.Equal(t, "access_denied", a.Get("error"))
	})
	t.Run("unknown audience", func(t *testing.T) {
		a := s.browser().open(authorizeURL("web", "audience", "https://nope")).answer()
		require.Equal(t, "access_denied", a.Get("error"))
		require.Equal(t, "Service not found: https://nope", a.Get("error_description"))
	})
}

func TestAuthorizationCodes(t *testing.T) {
	s := newSim(t)
	b := s.browser()

	t.Run("unknown", func(t *testing.T) {
		s.exchange("nope").refused(t, 403, "invalid_grant", "Invalid authorization code")
	})
	t.Run("missing", func(t *testing.T) {
		s.form("/oauth/token", append([]string{"grant_type", "authorization_code"}, webAuth...)...).
			refused(t, 400, "invalid_request", "Missing required parameter: code")
	})
	t.Run("used twice: the refresh token it gave dies", func(t *testing.T) {
		code := s.code(b, "web", "scope", "openid offline_access")
		r := s.exchange(code)
		require.Equal(t, 200, r.status, r.text)
		s.exchange(code).refused(t, 403, "invalid_grant", "Invalid authorization code")
		s.refresh(r.body["refresh_token"].(string)).refused(t, 403, "invalid_grant", "Unknown or invalid refresh token.")
	})
	t.Run("expired", func(t *testing.T) {
		code := s.code(b, "web")
		s.store.Clock().Advance(11 * time.Minute)
		s.exchange(code).refused(t, 403, "invalid_grant", "Invalid authorization code")
	})
	t.Run("of another client", func(t *testing.T) {
		s.client("other", nil)
		s.form("/oauth/token", "grant_type", "authorization_code", "code", s.code(b, "web"), "redirect_uri", callback,
			"client_id", "other", "client_secret", "other-secret").refused(t, 403, "invalid_grant", "Invalid authorization code")
	})
	t.Run("another redirect_uri", func(t *testing.T) {
		r := s.form("/oauth/token", append([]string{"grant_type", "authorization_code", "code", s.code(b, "web"), "redirect_uri", "https://evil.test/"}, webAuth...)...)
		r.refused(t, 403, "unauthorized_client", "The redirect URI is wrong.")
	})
	t.Run("user blocked meanwhile", func(t *testing.T) {
		code := s.code(b, "web")
		id := s.userID("ada@example.test")
		s.change("users", id, func(d doc) { d["blocked"] = true })
		s.exchange(code).refused(t, 403, "invalid_grant", "Invalid authorization code")
		s.change("users", id, func(d doc) { delete(d, "blocked") })
	})
}

func TestPKCE(t *testing.T) {
	s := newSim(t)
	b := s.browser()
	verifier := oauth2.GenerateVerifier()
	challenge := oauth2.S256ChallengeFromVerifier(verifier)

	r := s.exchange(s.code(b, "web", "code_challenge", challenge, "code_challenge_method", "S256"), "code_verifier", verifier)
	require.Equal(t, 200, r.status, r.text)
	r = s.exchange(s.code(b, "web", "code_challenge", verifier), "code_verifier", verifier)
	require.Equal(t, 200, r.status, "plain is the default method: "+r.text)

	s.exchange(s.code(b, "web", "code_challenge", challenge, "code_challenge_method", "S256"), "code_verifier", oauth2.GenerateVerifier()).
		refused(t, 403, "invalid_grant", "Failed to verify code verifier")
	s.exchange(s.code(b, "web", "code_challenge", challenge, "code_challenge_method", "S256")).
		refused(t, 400, "invalid_request", "Parameter 'code_verifier' is required")
	s.exchange(s.code(b, "web"), "code_verifier", verifier).
		refused(t, 403, "invalid_grant", "Failed to verify code verifier")

	code := s.code(b, "web", "code_challenge", challenge, "code_challenge_method", "S256")
	s.exchange(code, "code_verifier", "wrong").refused(t, 403, "invalid_grant", "Failed to verify code verifier")
	s.exchange(code, "code_verifier", verifier).refused(t, 403, "invalid_grant", "Invalid authorization code")

	for _, bad := range [][]string{{"code_challenge_method", "S256"}, {"code_challenge", challenge, "code_challenge_method", "S512"}, {"code_challenge", "short", "code_challenge_method", "S256"}} {
		require.Equal(t, "invalid_request", b.open(authorizeURL("web", bad...)).answer().Get("error"), bad)
	}

	s.client("spa", doc{"token_endpoint_auth_method": "none", "client_secret": nil})
	require.Equal(t, "invalid_request", b.open(authorizeURL("spa")).answer().Get("error"), "a public client must use PKCE")
	code = s.code(b, "spa", "code_challenge", challenge, "code_challenge_method", "S256")
	r = s.form("/oauth/token", "grant_type", "authorization_code", "code", code, "redirect_uri", callback, "client_id", "spa", "code_verifier", verifier)
	require.Equal(t, 200, r.status, r.text)
}

func TestRefreshRotationAndReuse(t *testing.T) {
	s := newSim(t)
	s.action("post-login", `let n = 0; exports.onExecutePostLogin = async (event, api) => {
		api.idToken.setCustomClaim('protocol', event.transaction.protocol) };`, nil)
	b := s.browser()
	first := s.exchange(s.code(b, "web", "scope", "openid profile offline_access")).body["refresh_token"].(string)

	r := s.refresh(first)
	require.Equal(t, 200, r.status, r.text)
	second := r.body["refresh_token"].(string)
	require.NotEqual(t, first, second)
	require.Equal(t, "oauth2-refresh-token", claims(t, r.body["id_token"].(string))["protocol"])
	require.Equal(t, "openid profile offline_access", r.body["scope"])

	r = s.refresh(second, "scope", "openid")
	require.Equal(t, 200, r.status, r.text)
	require.Equal(t, "openid", r.body["scope"])
	third := r.body["refresh_token"].(string)

	// A thief shows up with an old one: everything dies.
	s.refresh(first).refused(t, 403, "invalid_grant", "Unknown or invalid refresh token.")
	s.refresh(third).refused(t, 403, "invalid_grant", "Unknown or invalid refresh token.")
	require.Contains(t, s.logTypes(), "ferrt")
	require.Empty(t, s.list("refresh-tokens"))

	t.Run("leeway forgives a lost answer", func(t *testing.T) {
		s.change("clients", "web", func(d doc) { d["refresh_token"].(doc)["leeway"] = 30.0 })
		old := s.exchange(s.code(b, "web", "scope", "openid offline_access")).body["refresh_token"].(string)
		require.Equal(t, 200, s.refresh(old).status)
		r := s.refresh(old)
		require.Equal(t, 200, r.status, r.text)
		require.Contains(t, claims(t, r.body["id_token"].(string)), "protocol", "Actions ran")
		s.store.Clock().Advance(31 * time.Second)
		s.refresh(old).refused(t, 403, "invalid_grant", "Unknown or invalid refresh token.")
	})
	t.Run("non-rotating", func(t *testing.T) {
		s.change("clients", "web", func(d doc) { d["refresh_token"] = doc{"rotation_type": "non-rotating"} })
		token := s.exchange(s.code(b, "web", "scope", "openid offline_access")).body["refresh_token"].(string)
		for range 2 {
			r := s.refresh(token)
			require.Equal(t, 200, r.status, r.text)
			require.NotContains(t, r.body, "refresh_token")
		}
	})
	t.Run("lifetimes", func(t *testing.T) {
		s.change("clients", "web", func(d doc) {
			d["refresh_token"] = doc{"rotation_type": "rotating", "expiration_type": "expiring", "token_lifetime": 100.0, "idle_token_lifetime": 60.0}
		})
		token := s.exchange(s.code(b, "web", "scope", "openid offline_access")).body["refresh_token"].(string)
		s.store.Clock().Advance(50 * time.Second)
		r := s.refresh(token)
		require.Equal(t, 200, r.status, "use prolongs: "+r.text)
		s.store.Clock().Advance(51 * time.Second)
		s.refresh(r.body["refresh_token"].(string)).refused(t, 403, "invalid_grant", "Unknown or invalid refresh token.")
		token = s.exchange(s.code(b, "web", "scope", "openid offline_access")).body["refresh_token"].(string)
		s.store.Clock().Advance(61 * time.Second)
		s.refresh(token).refused(t, 403, "invalid_grant", "Unknown or invalid refresh token.")
	})
	t.Run("revoke", func(t *testing.T) {
		token := s.exchange(s.code(b, "web", "scope", "openid offline_access")).body["refresh_token"].(string)
		s.client("other", nil)
		before := len(s.list("refresh-tokens"))
		for _, c := range [][]string{{"client_id", "other", "client_secret", "other-secret"}, webAuth, webAuth} {
			r := s.form("/oauth/revoke", append([]string{"token", token}, c...)...)
			require.Equal(t, 200, r.status, r.text)
			require.Empty(t, r.text)
			if c[1] == "other" {
				require.Equal(t, before, len(s.list("refresh-tokens")), "another client's revocation changes nothing")
			}
		}
		s.refresh(token).refused(t, 403, "invalid_grant", "Unknown or invalid refresh token.")
		s.form("/oauth/revoke", "token", token, "client_id", "web", "client_secret", "no").refused(t, 401, "access_denied", "Unauthorized")
		s.form("/oauth/revoke", webAuth...).refused(t, 400, "invalid_request", "Missing required parameter: token")
	})
	t.Run("not offered", func(t *testing.T) {
		require.NotContains(t, s.exchange(s.code(b, "web", "scope", "openid")).body, "refresh_token")
		s.change("resource-servers", "rs1", func(d doc) { d["allow_offline_access"] = false })
		require.NotContains(t, s.exchange(s.code(b, "web", "scope", "openid offline_access", "audience", api)).body, "refresh_token")
	})
	t.Run("an action refuses", func(t *testing.T) {
		token := s.exchange(s.code(b, "web", "scope", "openid offline_access")).body["refresh_token"].(string)
		s.action("post-login", `exports.onExecutePostLogin = async (event, api) => { api.access.deny('no more') }`, nil)
		s.refresh(token).refused(t, 403, "access_denied", "no more")
	})
	s.refresh("v1.garbage").refused(t, 403, "invalid_grant", "Unknown or invalid refresh token.")
	s.form("/oauth/token", append([]string{"grant_type", "refresh_token"}, webAuth...)...).refused(t, 400, "invalid_request", "refresh_token")
}

func TestPasswordGrants(t *testing.T) {
	s := newSim(t)
	grant := func(pairs ...string) reply {
		return s.form("/oauth/token", append(append([]string{"grant_type", "password"}, webAuth...), pairs...)...)
	}
	r := grant("username", "ada@example.test", "password", password, "audience", api, "scope", "openid read:things offline_access")
	require.Equal(t, 200, r.status, r.text)
	c := claims(t, r.body["access_token"].(string))
	require.Equal(t, "password", c["gty"])
	require.Equal(t, "openid read:things offline_access", c["scope"])
	require.NotEmpty(t, r.body["refresh_token"])
	require.NotEmpty(t, r.body["id_token"])

	r = s.form("/oauth/token", append([]string{"grant_type", "http://auth0.com/oauth/grant-type/password-realm", "realm", "Users", "username", "ADA@example.test", "password", password}, webAuth...)...)
	require.Equal(t, 200, r.status, r.text)

	grant("username", "ada@example.test", "password", "wrong").refused(t, 403, "invalid_grant", "Wrong email or password.")
	grant("username", "nobody@example.test", "password", "wrong").refused(t, 403, "invalid_grant", "Wrong email or password.")
	grant("username", "ada@example.test").refused(t, 400, "invalid_request", "password")
	s.form("/oauth/token", append([]string{"grant_type", "http://auth0.com/oauth/grant-type/password-realm", "realm", "Nope", "username", "a", "password", "b"}, webAuth...)...).
		refused(t, 403, "access_denied", "Nope")
	s.change("tenants/settings", "settings", func(d doc) { delete(d, "default_directory") })
	grant("username", "a", "password", "b").refused(t, 500, "server_error", "Authorization server not configured with default connection.")
	require.Subset(t, s.logTypes(), []string{"sepft", "fp", "fu"})
}

func TestBruteForceProtection(t *testing.T) {
	s := newSim(t)
	s.put("attack-protection", "brute-force-protection", doc{"enabled": true, "shields": []any{"block", "user_notification"}, "mode": "count_per_identifier_and_ip", "max_attempts": 3.0, "allowlist": []any{}})
	try := func(pw string) reply {
		return s.form("/oauth/token", append([]string{"grant_type", "password", "username", "Ada@example.test", "password", pw}, webAuth...)...)
	}
	for range 2 {
		try("wrong").refused(t, 403, "invalid_grant", "Wrong email or password.")
	}
	require.Equal(t, 200, try(password).status, "a success starts the count again")
	for range 3 {
		try("wrong").refused(t, 403, "invalid_grant", "Wrong email or password.")
	}
	try(password).refused(t, 429, "too_many_attempts", "Your account has been blocked")
	require.Len(t, s.list("user-blocks"), 1)
	require.Equal(t, "ada@example.test", s.list("user-blocks")[0]["identifier"])

	b := s.browser()
	v := b.login(b.open(authorizeURL("web")), "ada@example.test")
	require.Equal(t, 429, v.status)
	require.Contains(t, v.problem(), "Your account has been blocked")

	mail := s.lastMail()
	require.Equal(t, "blocked_account", mail["template"])
	u, err := url.Parse(mail["link"].(string))
	require.NoError(t, err)
	require.Equal(t, "Account unblocked", b.open(u.RequestURI()).title())
	require.Equal(t, "Link already used", b.open(u.RequestURI()).title())
	require.Equal(t, 200, try(password).status)
	require.Contains(t, s.logTypes(), "limit_wc")

	s.change("attack-protection", "brute-force-protection", func(d doc) { d["enabled"] = false })
	for range 4 {
		try("wrong").refused(t, 403, "invalid_grant", "Wrong email or password.")
	}
	require.Equal(t, 200, try(password).status)
}

func TestDecoding(t *testing.T) {
	s := newSim(t)
	const path = "/oauth/token"
	for name, c := range map[string]struct {
		contentType, body string
		status            int
		want              string
	}{
		"duplicate in form":    {"application/x-www-form-urlencoded", "grant_type=password&grant_type=client_credentials", 400, "must not be included more than once"},
		"duplicate in JSON":    {"application/json", `{"grant_type":"password","grant_type":"client_credentials"}`, 400, "must not be included more than once"},
		"broken JSON":          {"application/json", `{"grant_type":`, 400, "JSON"},
		"trailing JSON":        {"application/json", `{"grant_type":"x"} {}`, 400, "JSON"},
		"JSON list":            {"application/json", `[]`, 400, "JSON"},
		"number":               {"application/json", `{"client_id":5,"grant_type":"password"}`, 400, "must be a string"},
		"object":               {"application/json", `{"client_id":{"$ne":""},"grant_type":"password"}`, 400, "must be a string"},
		"scope of numbers":     {"application/json", `{"client_id":"web","client_secret":"web-secret","grant_type":"client_credentials","scope":[1]}`, 400, "Scope must be an array or a string"},
		"XML":                  {"application/xml", `<x/>`, 400, "Unsupported Content-Type"},
		"bad escape":           {"application/x-www-form-urlencoded", "a=%zz", 400, "not a valid form"},
		"bad UTF-8":            {"application/json", "{\"grant_type\":\"\xff\"}", 400, "UTF-8"},
		"bad UTF-8 in form":    {"application/x-www-form-urlencoded", "grant_type=%ff", 400, "UTF-8"},
		"too large":            {"application/json", `{"a":"` + strings.Repeat("x", 200<<10) + `"}`, 413, "Payload too large"},
		"empty":                {"application/json", ``, 400, "JSON"},
		"bad content type":     {"application/json; charset=,", `{}`, 400, "Content-Type"},
		"long echoed grant":    {"application/x-www-form-urlencoded", "grant_type=" + strings.Repeat("y", 5000), 403, "yyy…"},
		"scope list in JSON":   {"application/json", `{"client_id":"web","client_secret":"web-secret","grant_type":"client_credentials","audience":"https://nope","scope":["a","b"]}`, 403, "Service not enabled"},
		"two ways to identify": {"application/x-www-form-urlencoded", "grant_type=client_credentials&client_id=web&client_secret=a&client_assertion=b", 400, "client_assertion_type"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.send("POST", path, c.contentType, c.body, nil)
			require.Equal(t, c.status, r.status, r.text)
			require.Contains(t, r.body["error_description"], c.want)
		})
	}
}
