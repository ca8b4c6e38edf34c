package authapi_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0sim/authapi"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

func TestRedirectsLeadOnlyToRegisteredAddresses(t *testing.T) {
	s := newSim(t)
	s.client("wild", doc{"callbacks": []any{"https://*.wild.test/cb", "com.example.app://cb", "javascript:alert(1)", "https://a.*/cb", "https://x.test/*"}})
	b := s.browser()
	s.code(b, "web")
	for _, c := range []struct {
		client, uri string
		ok          bool
	}{
		{"web", callback, true},
		{"wild", "https://one.wild.test/cb", true},
		{"wild", "com.example.app://cb", true},
		{"web", callback + "/", false},
		{"web", callback + "/../evil", false},
		{"web", callback + "?x=1", false},
		{"web", callback + "#f", false},
		{"web", "https://app.example.test.evil.test/callback", false},
		{"web", "https://app.example.test@evil.test/callback", false},
		{"web", "https://evil.test\\@app.example.test/callback", false},
		{"web", "//app.example.test/callback", false},
		{"web", "/callback", false},
		{"web", "http://app.example.test/callback", false},
		{"web", "HTTPS://APP.example.test/callback", false},
		{"web", callback + "\r\nSet-Cookie: a=b", false},
		{"web", " " + callback, false},
		{"web", "javascript:alert(1)", false},
		{"wild", "javascript:alert(1)", false},
		{"wild", "https://.wild.test/cb", false},
		{"wild", "https://a.b.wild.test/cb", false},
		{"wild", "https://evil.test/.wild.test/cb", false},
		{"wild", "https://evil.test?.wild.test/cb", false},
		{"wild", "https://evil.test#.wild.test/cb", false},
		{"wild", "https://*.wild.test/cb", false},
		{"wild", "https://a.evil/cb", false},
		{"wild", "https://x.test/anything", false},
	} {
		v := b.open(authorizeURL(c.client, "redirect_uri", c.uri))
		if c.ok {
			require.NotNil(t, v.left, c.uri)
			require.True(t, strings.HasPrefix(v.left.String(), c.uri), c.uri)
			continue
		}
		require.Equal(t, http.StatusForbidden, v.status, "%q led to %v", c.uri, v.left)
		require.Equal(t, "Callback URL mismatch", v.title())
	}
	t.Run("an error does not go there either", func(t *testing.T) {
		v := b.open(authorizeURL("web", "redirect_uri", "https://evil.test/", "response_type", "magic"))
		require.Nil(t, v.left)
	})
	t.Run("no client", func(t *testing.T) {
		require.Equal(t, 403, b.open(authorizeURL("nobody")).status)
		require.Equal(t, 400, b.open(authorizeURL("")).status)
	})
	t.Run("no redirect_uri: the first registered one", func(t *testing.T) {
		v := b.open(authorizeURL("web", "redirect_uri", ""))
		require.Equal(t, "app.example.test", v.left.Host)
		r := s.form("/oauth/token", append([]string{"grant_type", "authorization_code", "code", v.answer().Get("code")}, webAuth...)...)
		require.Equal(t, 200, r.status, r.text)
	})
	t.Run("a result_url is no script", func(t *testing.T) {
		s.put("tickets", "J", doc{"kind": "email_verification", "user_id": s.userID("ada@example.test"), "result_url": "javascript:alert(1)", "expires_at": float64(s.store.Now().Unix() + 60)})
		require.Equal(t, "Email verified", b.open("/u/email-verification?ticket=J").title())
	})
}

// Every value that a page echoes, with markup in it.
func TestMarkupIsEscaped(t *testing.T) {
	s := newSim(t)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>'`
	s.change("tenants/settings", "settings", func(d doc) { d["friendly_name"] = evil })
	s.change("clients", "web", func(d doc) { d["name"] = evil; d["is_first_party"] = false; d["organization_usage"] = "allow" })
	s.change("resource-servers", "rs1", func(d doc) {
		d["scopes"] = []any{doc{"value": "read:things", "description": evil}, doc{"value": evil}}
	})
	safe := func(v *view) {
		t.Helper()
		require.NotContains(t, v.body, "<script>alert", v.at)
		require.NotContains(t, v.body, "<img src=x", v.at)
		require.NotEqual(t, 500, v.status, v.at)
	}
	b := s.browser()
	v := b.open(authorizeURL("web", "login_hint", evil, "state", evil, "audience", api, "scope", "openid read:things"))
	safe(v)
	safe(b.submit(v, map[string]string{"username": evil, "password": evil}))
	up := b.link(v, "Sign up")
	safe(up)
	safe(b.submit(up, map[string]string{"email": evil, "password": evil}))
	forgot := b.link(v, "Forgot")
	safe(forgot)
	safe(b.submit(forgot, map[string]string{"email": evil}))
	safe(b.submit(forgot, map[string]string{"email": `"<script>alert(1)</script>"@example.test`}))
	consent := b.login(v, "ada@example.test")
	require.Equal(t, "Authorize App", consent.title())
	safe(consent)
	require.Equal(t, evil, b.submit(consent, map[string]string{"action": "accept"}).answer().Get("state"), "the state comes back as it was")

	post := b.open(authorizeURL("web", "state", evil, "response_mode", "form_post", "audience", api, "scope", "openid read:things"))
	safe(post)
	require.Equal(t, evil, b.submit(post, nil).answer().Get("state"))

	for _, path := range []string{
		"/activate?" + query("user_code", evil),
		"/authorize?" + query("client_id", evil),
		"/u/login?" + query("state", evil),
		"/u/reset-password?" + query("ticket", evil),
		"/v2/logout?" + query("returnTo", evil),
		"/oidc/logout?" + query("state", evil, "id_token_hint", ""),
		"/" + url.PathEscape(evil),
		"/u/login?" + url.QueryEscape(evil) + "=1&" + url.QueryEscape(evil) + "=2",
		"/continue?" + query("state", evil),
	} {
		safe(b.open(path))
	}
	s.put("organizations", "org_1", doc{"id": "org_1", "name": "north", "display_name": evil})
	s.put("organizations/connections", state.Key("org_1", "con_1"), doc{"organization_id": "org_1", "connection_id": "con_1"})
	s.put("organizations/members", state.Key("org_1", s.userID("ada@example.test")), doc{"organization_id": "org_1", "user_id": s.userID("ada@example.test")})
	s.change("clients", "web", func(d doc) {
		d["organization_usage"] = "require"
		d["organization_require_behavior"] = "post_login_prompt"
	})
	safe(b.open(authorizeURL("web", "audience", api, "scope", "openid read:things")))
	s.mfa()
	s.change("clients", "web", func(d doc) { d["organization_usage"] = "deny" })
	enrol := b.open(authorizeURL("web", "audience", api, "scope", "openid read:things"))
	require.Equal(t, "Secure your account", enrol.title())
	safe(enrol)
	safe(b.submit(enrol, map[string]string{"code": evil}))
}

func TestMalformedRequestsAreNoFailures(t *testing.T) {
	s := newSim(t)
	b := s.browser()
	v := b.open(authorizeURL("web"))
	big := strings.Repeat("x", 200<<10)
	post := func(path, contentType, body string) int {
		req, err := http.NewRequest("POST", s.server.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", contentType)
		return b.do(req).status
	}
	form := "application/x-www-form-urlencoded"
	require.Equal(t, 413, post("/u/login", form, "state="+v.at.Query().Get("state")+"&username="+big))
	require.Equal(t, 415, post("/u/login", "multipart/form-data; boundary=x", "--x--"))
	require.Equal(t, 400, post("/u/login", form, "a=%zz"))
	require.Equal(t, 400, post("/u/login", form, "state=a&state=b"))
	require.Equal(t, 400, post("/u/login", form, "state=%ff"))
	require.Equal(t, 400, b.open("/authorize?client_id=web&client_id=other&response_type=code").status)
	require.Equal(t, 400, b.open("/authorize?a=%zz").status)
	require.Equal(t, 404, b.open("/nothing/here").status)
	require.Equal(t, 404, b.open("/u/../../etc/passwd").status)
	require.Equal(t, 404, post("/.well-known/jwks.json", form, ""))

	for _, path := range []string{"/oauth/token", "/oauth/revoke", "/oauth/par", "/oauth/device/code", "/userinfo", "/dbconnections/signup",
		"/dbconnections/change_password", "/passwordless/start", "/mfa/challenge", "/mfa/associate"} {
		for _, body := range []string{"", "{", "[]", "null", `"x"`, `{"client_id":{"a":1}}`, `{"scope":{}}`, `{"client_id":"\u0000"}`, `{"client_id":"web","client_secret":"web-secret"}`, strings.Repeat("[", 10000)} {
			for _, contentType := range []string{"application/json", form, "text/plain", ""} {
				r := s.send("POST", path, contentType, body, nil)
				require.Less(t, r.status, 500, "%s %s %q: %s", path, contentType, body, r.text)
				if path == "/oauth/device/code" && r.status == 200 {
					continue // naming a client is all it needs
				}
				require.GreaterOrEqual(t, r.status, 400, "%s %s %q: %s", path, contentType, body, r.text)
				require.NotNil(t, r.body, "%s answers in JSON", path)
			}
		}
	}
	for _, h := range []string{"Basic", "Basic !!", "Basic d2Vi", "Bearer", "Digest x", "Basic " + strings.Repeat("A", 5000)} {
		r := s.send("POST", "/oauth/token", form, "grant_type=client_credentials", map[string]string{"Authorization": h})
		require.Contains(t, []int{400, 401}, r.status, h)
		require.Equal(t, 401, s.send("GET", "/userinfo", "", "", map[string]string{"Authorization": h}).status, h)
	}
}

func TestTokensDoNotCrossTenants(t *testing.T) {
	a, b := newSim(t), newSim(t)
	token := a.exchange(a.code(a.browser(), "web", "audience", api)).body["access_token"].(string)
	require.Equal(t, 401, b.send("GET", "/userinfo", "", "", map[string]string{"Authorization": "Bearer " + token}).status)
	refresh := a.exchange(a.code(a.browser(), "web", "scope", "openid offline_access")).body["refresh_token"].(string)
	b.refresh(refresh).refused(t, 403, "invalid_grant", "Unknown or invalid refresh token.")
	b.exchange(a.code(a.browser(), "web")).refused(t, 403, "invalid_grant", "Invalid authorization code")
}

// Nothing that proves who somebody is may be read out of the store.
func TestNoSecretIsStoredInClear(t *testing.T) {
	s := newSim(t)
	s.mfa()
	b := s.browser()
	end, _, recovery := b.enrol(b.login(b.open(authorizeURL("web", "scope", "openid offline_access")), "ada@example.test"))
	code := end.answer().Get("code")
	r := s.exchange(code)
	u, err := url.Parse(s.server.URL)
	require.NoError(t, err)
	secrets := []string{code, r.body["access_token"].(string), r.body["refresh_token"].(string), recovery, password}
	for _, k := range b.client.Jar.Cookies(u) {
		secrets = append(secrets, k.Value)
	}
	require.Len(t, secrets, 7)
	for _, family := range []string{"oauth/codes", "oauth/access-tokens", "refresh-tokens", "sessions", "oauth/transactions", "users", "guardian/enrollments", "logs", "oauth/attempts"} {
		for _, d := range s.list(family) {
			text := mustJSON(t, d)
			for i, secret := range secrets {
				require.NotContains(t, text, secret, "secret %d in %s", i, family)
			}
		}
	}
}

func TestUnknownTenant(t *testing.T) {
	srv, err := authapi.New(authapi.Config{Tenant: func(*http.Request) *state.Tenant { return nil }})
	require.NoError(t, err)
	for _, path := range []string{"/authorize", "/.well-known/openid-configuration"} {
		w := httptest.NewRecorder()
		srv.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		require.Equal(t, 404, w.Code)
	}
	_, err = authapi.New(authapi.Config{})
	require.Error(t, err)
}

func TestCORS(t *testing.T) {
	s := newSim(t)
	r := s.send("OPTIONS", "/oauth/token", "", "", map[string]string{"Origin": "https://spa.test", "Access-Control-Request-Method": "POST"})
	require.Equal(t, 204, r.status)
	require.Equal(t, "https://spa.test", r.header.Get("Access-Control-Allow-Origin"))
	require.Empty(t, r.header.Get("Access-Control-Allow-Credentials"))
	r = s.send("GET", "/.well-known/jwks.json", "", "", map[string]string{"Origin": "https://spa.test"})
	require.Equal(t, "https://spa.test", r.header.Get("Access-Control-Allow-Origin"))
}
