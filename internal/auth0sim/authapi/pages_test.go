package authapi_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// requestURI is what follows the host in a link of ours.
func (s *sim) requestURI(link any) string {
	s.t.Helper()
	u, err := url.Parse(link.(string))
	require.NoError(s.t, err)
	require.Equal(s.t, s.domain, u.Host)
	return u.RequestURI()
}

func TestLoginPage(t *testing.T) {
	s := newSim(t)
	b := s.browser()
	v := b.open(authorizeURL("web", "login_hint", "ada@example.test"))
	require.Equal(t, "/u/login", v.at.Path)
	require.Contains(t, v.body, `value="ada@example.test"`)
	require.Contains(t, v.body, "App web")

	bad := b.submit(v, map[string]string{"password": "wrong"})
	require.Equal(t, 400, bad.status)
	require.Equal(t, "Wrong email or password.", bad.problem())
	require.Contains(t, bad.body, `value="ada@example.test"`, "what was typed stays")
	require.NotContains(t, bad.body, "wrong\"")

	empty := b.submit(v, map[string]string{"username": ""})
	require.Equal(t, "Enter your email address and your password.", empty.problem())

	require.NotEmpty(t, b.submit(bad, map[string]string{"password": password}).answer().Get("code"))

	t.Run("the form of a finished login", func(t *testing.T) {
		again := b.submit(v, map[string]string{"password": password})
		require.Equal(t, 400, again.status)
		require.Contains(t, again.body, "This login has expired")
	})
	t.Run("in another browser", func(t *testing.T) {
		v := b.open(authorizeURL("web", "prompt", "login"))
		other := s.browser()
		require.Equal(t, 400, other.open(v.at.RequestURI()).status)
		got := other.submit(v, map[string]string{"username": "ada@example.test", "password": password})
		require.Equal(t, 400, got.status)
		require.Nil(t, got.left)
	})
	t.Run("after an hour", func(t *testing.T) {
		v := b.open(authorizeURL("web", "prompt", "login"))
		s.store.Clock().Advance(61 * time.Minute)
		require.Equal(t, 400, b.submit(v, map[string]string{"username": "ada@example.test", "password": password}).status)
	})
	t.Run("blocked user", func(t *testing.T) {
		s.user("eve@example.test", doc{"blocked": true})
		v := s.browser()
		a := v.login(v.open(authorizeURL("web")), "eve@example.test").answer()
		require.Equal(t, "unauthorized", a.Get("error"))
		require.Equal(t, "user is blocked", a.Get("error_description"))
	})
	t.Run("client without a connection", func(t *testing.T) {
		s.client("bare", nil)
		s.update(func(tx *state.Tx) error {
			_, err := tx.Delete("connections/clients", state.Key("con_1", "bare"))
			return err
		})
		a := s.browser().open(authorizeURL("bare")).answer()
		require.Equal(t, "no connections enabled for the client", a.Get("error_description"))
	})
}

func TestPageHeaders(t *testing.T) {
	s := newSim(t)
	v := s.browser().open(authorizeURL("web"))
	csp := v.header.Get("Content-Security-Policy")
	require.Contains(t, csp, "default-src 'none'")
	require.Contains(t, csp, "script-src 'none'")
	require.Contains(t, csp, "frame-ancestors 'none'")
	require.NotContains(t, csp, "unsafe")
	require.Equal(t, "DENY", v.header.Get("X-Frame-Options"))
	require.Equal(t, "no-referrer", v.header.Get("Referrer-Policy"))
	require.Contains(t, v.header.Get("Cache-Control"), "no-store")
	require.NotContains(t, v.body, "<script")

	req, err := http.NewRequest("GET", s.server.URL+authorizeURL("web"), nil)
	require.NoError(t, err)
	resp, err := s.server.Client().Transport.RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	for _, k := range resp.Cookies() {
		require.True(t, k.Secure, k.Name)
		require.True(t, k.HttpOnly, k.Name)
		require.Equal(t, http.SameSiteLaxMode, k.SameSite, k.Name)
		require.True(t, strings.HasPrefix(k.Name, "__Host-"), k.Name)
	}
	require.NotEmpty(t, resp.Cookies())
}

func TestBranding(t *testing.T) {
	s := newSim(t)
	s.put("branding", "branding", doc{"logo_url": "https://cdn.example.test/logo.png", "colors": doc{"primary": "#ffcc00", "page_background": "#102030"}})
	v := s.browser().open(authorizeURL("web"))
	require.Contains(t, v.body, `src="https://cdn.example.test/logo.png"`)
	require.Contains(t, v.body, "--primary:#ffcc00;--on-primary:#111827")
	require.Contains(t, v.body, "body{background:#102030}")
	require.Contains(t, v.header.Get("Content-Security-Policy"), "img-src 'self' data: https://cdn.example.test;")

	s.put("branding", "branding", doc{"logo_url": "javascript:alert(1)", "colors": doc{"primary": "red}</style><script>alert(1)</script>"}})
	v = s.browser().open(authorizeURL("web"))
	require.NotContains(t, v.body, "alert(1)")
	require.Contains(t, v.body, "--primary:#3b4cca")
}

func TestSessions(t *testing.T) {
	s := newSim(t)
	b := s.browser()
	require.Equal(t, "login_required", b.open(authorizeURL("web", "prompt", "none")).answer().Get("error"))
	require.Empty(t, s.list("oauth/transactions"), "a silent request leaves nothing behind")
	s.code(b, "web")
	require.NotEmpty(t, b.open(authorizeURL("web", "prompt", "none")).answer().Get("code"))
	require.Equal(t, "/u/login", b.open(authorizeURL("web", "prompt", "login")).at.Path)

	s.store.Clock().Advance(10 * time.Minute)
	require.Equal(t, "/u/login", b.open(authorizeURL("web", "max_age", "60")).at.Path)
	require.NotEmpty(t, b.open(authorizeURL("web", "max_age", "6000")).answer().Get("code"))

	t.Run("idle", func(t *testing.T) {
		s.store.Clock().Advance(71 * time.Hour)
		require.NotEmpty(t, b.open(authorizeURL("web", "prompt", "none")).answer().Get("code"))
		s.store.Clock().Advance(73 * time.Hour)
		require.Equal(t, "login_required", b.open(authorizeURL("web", "prompt", "none")).answer().Get("error"))
	})
	t.Run("a new login replaces the session's secret", func(t *testing.T) {
		s.code(b, "web")
		before := len(s.list("sessions"))
		v := b.login(b.open(authorizeURL("web", "prompt", "login")), "ada@example.test")
		require.NotEmpty(t, v.answer().Get("code"))
		require.Len(t, s.list("sessions"), before)
	})
	t.Run("forged", func(t *testing.T) {
		id := s.list("sessions")[0]["id"].(string)
		other := s.browser()
		other.header.Set("Cookie", "__Host-auth0="+id+"."+strings.Repeat("x", 43))
		require.Equal(t, "login_required", other.open(authorizeURL("web", "prompt", "none")).answer().Get("error"))
	})
	t.Run("user deleted", func(t *testing.T) {
		s.code(b, "web")
		s.update(func(tx *state.Tx) error {
			_, err := tx.Delete("users", s.userIDIn(tx, "ada@example.test"))
			return err
		})
		require.Equal(t, "login_required", b.open(authorizeURL("web", "prompt", "none")).answer().Get("error"))
	})
}

func (s *sim) userIDIn(tx *state.Tx, email string) string {
	d, ok, err := tx.FindOne("users", "email", email)
	require.NoError(s.t, err)
	require.True(s.t, ok)
	return d["user_id"].(string)
}

func TestResponseModes(t *testing.T) {
	s := newSim(t)
	b := s.browser()
	s.code(b, "web")

	v := b.open(authorizeURL("web", "response_mode", "form_post"))
	require.Contains(t, v.header.Get("Content-Security-Policy"), "script-src 'nonce-")
	a := b.submit(v, nil).answer()
	require.NotEmpty(t, a.Get("code"))
	require.Equal(t, "s1", a.Get("state"))

	s.change("clients", "web", func(d doc) { d["web_origins"] = []any{"https://app.example.test"} })
	v = b.open(authorizeURL("web", "response_mode", "web_message", "prompt", "none", "state", "</script>"))
	require.Equal(t, 200, v.status)
	require.Contains(t, v.header.Get("Content-Security-Policy"), "frame-ancestors https://app.example.test")
	require.Empty(t, v.header.Get("X-Frame-Options"))
	require.Contains(t, v.body, `}, "https://app.example.test")`)
	require.Contains(t, v.body, `"code":"`)
	require.Equal(t, 1, strings.Count(v.body, "</script>"))
	s.change("clients", "web", func(d doc) { delete(d, "web_origins") })
	require.Equal(t, 403, b.open(authorizeURL("web", "response_mode", "web_message", "prompt", "none")).status)

	v = b.open(authorizeURL("web", "response_mode", "fragment"))
	require.NotEmpty(t, v.left.Fragment)
	require.NotEmpty(t, v.answer().Get("code"))

	v = b.open(authorizeURL("web", "response_type", "code id_token", "nonce", "n"))
	require.NotEmpty(t, v.left.Fragment)
	require.NotEmpty(t, v.answer().Get("code"))
	require.Equal(t, "n", claims(t, v.answer().Get("id_token"))["nonce"])

	v = b.open(authorizeURL("web", "response_type", "token", "audience", api, "scope", "read:things"))
	require.Equal(t, "7200", v.answer().Get("expires_in"))
	require.Equal(t, "read:things", claims(t, v.answer().Get("access_token"))["scope"])

	for name, c := range map[string]struct {
		pairs []string
		code  string
	}{
		"tokens in a query":   {[]string{"response_type", "id_token", "nonce", "n", "response_mode", "query"}, "invalid_request"},
		"no nonce":            {[]string{"response_type", "id_token"}, "invalid_request"},
		"unknown mode":        {[]string{"response_mode", "smoke"}, "invalid_request"},
		"unknown type":        {[]string{"response_type", "magic"}, "unsupported_response_type"},
		"no type":             {[]string{"response_type", ""}, "invalid_request"},
		"twice the same type": {[]string{"response_type", "code code"}, "unsupported_response_type"},
		"prompt none + login": {[]string{"prompt", "none login"}, "invalid_request"},
		"unknown prompt":      {[]string{"prompt", "beg"}, "invalid_request"},
		"bad max_age":         {[]string{"max_age", "soon"}, "invalid_request"},
		"request object":      {[]string{"request", "eyJ"}, "request_not_supported"},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.open(authorizeURL("web", c.pairs...)).answer()
			require.Equal(t, c.code, a.Get("error"))
			require.Equal(t, "s1", a.Get("state"))
		})
	}
}

// mfa turns a second factor on for every login.
func (s *sim) mfa() {
	s.put("guardian/policies", "policies", doc{"policies": []any{"all-applications"}})
	s.put("guardian/factors", "otp", doc{"name": "otp", "enabled": true})
	s.put("guardian/factors", "recovery-code", doc{"name": "recovery-code", "enabled": true})
}

func (s *sim) otp(secret string) string {
	s.t.Helper()
	code, err := totp.GenerateCode(secret, s.store.Now())
	require.NoError(s.t, err)
	return code
}

// enrol walks through the enrolment pages, and returns where they end, the
// TOTP secret and the recovery code.
func (b *browser) enrol(v *view) (end *view, secret, recovery string) {
	b.s.t.Helper()
	require.Equal(b.s.t, "Secure your account", v.title())
	secret = strings.ReplaceAll(v.byID("secret"), " ", "")
	// The clock stands still from here on: whether a code is the last one again, or
	// the next one, is up to the test.
	b.s.store.Clock().Freeze(b.s.store.Now())
	v = b.submit(v, map[string]string{"code": b.s.otp(secret)})
	require.Equal(b.s.t, "Almost there", v.title())
	recovery = v.byID("recovery-code")
	return b.submit(v, map[string]string{"saved": "yes"}), secret, recovery
}

func TestMFAPages(t *testing.T) {
	s := newSim(t)
	s.mfa()
	b := s.browser()
	v := b.login(b.open(authorizeURL("web")), "ada@example.test")
	require.Contains(t, v.body, "<svg")
	wrong := b.submit(v, map[string]string{"code": "000000"})
	require.Equal(t, "The code you entered is invalid. Wait for a new one and try again.", wrong.problem())
	require.Equal(t, v.byID("secret"), wrong.byID("secret"), "the secret on show stays the same")
	require.Empty(t, s.list("guardian/enrollments"))

	t.Run("no way around it", func(t *testing.T) {
		for _, path := range []string{"/u/consent", "/u/mfa-otp-challenge", "/u/mfa-recovery-code-enrollment", "/authorize/resume", "/u/login", "/u/signup"} {
			got := b.open(path + "?" + v.at.RawQuery)
			require.Nil(t, got.left, path)
			require.Equal(t, "Secure your account", got.title(), path)
		}
	})

	end, secret, recovery := b.enrol(v)
	r := s.exchange(end.answer().Get("code"))
	require.Equal(t, []any{"mfa"}, claims(t, r.body["id_token"].(string))["amr"])
	require.Len(t, s.list("guardian/enrollments"), 1)
	require.NotEmpty(t, b.open(authorizeURL("web")).answer().Get("code"), "the session has its second factor")

	challenge := func(t *testing.T) (*browser, *view) {
		t.Helper()
		b := s.browser()
		v := b.login(b.open(authorizeURL("web")), "ada@example.test")
		require.Equal(t, "Verify your identity", v.title())
		return b, v
	}
	t.Run("a password is good once", func(t *testing.T) {
		b, v := challenge(t)
		require.Equal(t, "The code you entered is invalid.", b.submit(v, map[string]string{"code": s.otp(secret)}).problem())
		s.store.Clock().Advance(time.Minute)
		require.NotEmpty(t, b.submit(v, map[string]string{"code": s.otp(secret)}).answer().Get("code"))
	})
	t.Run("enrolment cannot be repeated with one factor", func(t *testing.T) {
		b, v := challenge(t)
		require.Equal(t, "Verify your identity", b.open("/u/mfa-otp-enrollment?"+v.at.RawQuery).title())
	})
	t.Run("recovery code", func(t *testing.T) {
		b, v := challenge(t)
		v = b.link(v, "recovery code")
		require.Equal(t, "The recovery code you entered is invalid.", b.submit(v, map[string]string{"code": "NOPE"}).problem())
		v = b.submit(v, map[string]string{"code": strings.ToLower(recovery)})
		next := v.byID("recovery-code")
		require.NotEqual(t, recovery, next)
		require.Equal(t, "Almost there", b.submit(v, map[string]string{"saved": ""}).title())
		require.NotEmpty(t, b.submit(v, map[string]string{"saved": "yes"}).answer().Get("code"))

		b, v = challenge(t)
		v = b.link(v, "recovery code")
		require.NotEmpty(t, b.submit(v, map[string]string{"code": recovery}).problem(), "used up")
	})
	t.Run("guessing stops", func(t *testing.T) {
		b, v := challenge(t)
		for range 12 {
			v = b.submit(v, map[string]string{"code": "000000"})
		}
		require.Equal(t, 429, v.status)
		s.store.Clock().Advance(6 * time.Minute)
		require.NotEmpty(t, b.submit(v, map[string]string{"code": s.otp(secret)}).answer().Get("code"))
	})
	t.Run("silent requests do not get past it", func(t *testing.T) {
		s.change("sessions", s.list("sessions")[0]["id"].(string), func(d doc) {
			d["authentication"] = doc{"methods": []any{doc{"name": "pwd", "timestamp": "2026-01-01T00:00:00.000Z"}}}
		})
		a := b.open(authorizeURL("web", "prompt", "none")).answer()
		require.Equal(t, "login_required", a.Get("error"))
		require.Equal(t, "Multifactor authentication required", a.Get("error_description"))
	})
	require.Subset(t, s.logTypes(), []string{"gd_enrollment_complete", "gd_auth_succeed", "gd_auth_failed", "gd_recovery_succeed", "gd_recovery_failed"})
}

func TestAnActionDemandsMFA(t *testing.T) {
	s := newSim(t)
	s.put("guardian/factors", "otp", doc{"name": "otp", "enabled": true})
	s.action("post-login", `exports.onExecutePostLogin = async (event, api) => {
		if (event.transaction.acr_values.includes('strong')) api.multifactor.enable('any') }`, nil)
	b := s.browser()
	require.NotEmpty(t, s.code(b, "web"))
	v := b.open(authorizeURL("web", "acr_values", "strong"))
	secret := strings.ReplaceAll(v.byID("secret"), " ", "")
	require.NotEmpty(t, b.submit(v, map[string]string{"code": s.otp(secret)}).answer().Get("code"), "without recovery codes there is none to show")
	require.NotEmpty(t, b.open(authorizeURL("web", "acr_values", "strong")).answer().Get("code"))
}

func TestEnrolmentTicket(t *testing.T) {
	s := newSim(t)
	s.put("guardian/factors", "otp", doc{"name": "otp", "enabled": true})
	s.put("guardian/factors", "recovery-code", doc{"name": "recovery-code", "enabled": true})
	s.put("guardian/tickets", "tick", doc{"id": "tick", "user_id": s.userID("ada@example.test"), "expires_at": float64(s.store.Now().Add(time.Hour).Unix()), "used": false})
	b := s.browser()
	end, _, _ := b.enrol(b.open("/u/mfa-enrollment?ticket=tick"))
	require.Equal(t, "You're all set", end.title())
	require.Len(t, s.list("guardian/enrollments"), 1)
	require.Equal(t, "Invalid link", b.open("/u/mfa-enrollment?ticket=tick").title())
	require.Equal(t, "Invalid link", b.open("/u/mfa-enrollment?ticket=").title())
}

func TestSignUp(t *testing.T) {
	s := newSim(t)
	b := s.browser()
	v := b.open(authorizeURL("web", "screen_hint", "signup"))
	require.Equal(t, "/u/signup", v.at.Path)
	weak := b.submit(v, map[string]string{"email": "new@example.test", "password": "weak"})
	require.Equal(t, "Password is too weak", weak.problem())
	require.Contains(t, weak.body, `class="broken"`)
	require.Equal(t, "Email is not valid.", b.submit(v, map[string]string{"email": "nonsense", "password": password}).problem())
	require.Equal(t, "Something went wrong, please try again later.", b.submit(v, map[string]string{"email": "ada@example.test", "password": password}).problem())

	v = b.submit(v, map[string]string{"email": "New@example.test", "password": password})
	require.NotEmpty(t, v.answer().Get("code"))
	user := s.get("users", s.userID("new@example.test"))
	require.Equal(t, false, user["email_verified"])
	require.Contains(t, s.logTypes(), "ss")

	mail := s.lastMail()
	require.Equal(t, "verify_email", mail["template"])
	require.Equal(t, "Email verified", b.open(s.requestURI(mail["link"])).title())
	require.Equal(t, true, s.get("users", user["user_id"].(string))["email_verified"])
	require.Equal(t, "Link already used", b.open(s.requestURI(mail["link"])).title())

	t.Run("actions may refuse", func(t *testing.T) {
		s.action("pre-user-registration", `exports.onExecutePreUserRegistration = async (event, api) => {
			if (event.user.email.endsWith('@evil.test')) api.access.deny('evil', 'Not with this address.');
			api.user.setAppMetadata('from', event.connection.name);
		}`, nil)
		b := s.browser()
		v := b.open(authorizeURL("web", "screen_hint", "signup"))
		require.Equal(t, "Not with this address.", b.submit(v, map[string]string{"email": "x@evil.test", "password": password}).problem())
		b.submit(v, map[string]string{"email": "y@good.test", "password": password})
		require.Equal(t, doc{"from": "Users"}, s.get("users", s.userID("y@good.test"))["app_metadata"])
	})
	t.Run("user exists, said openly", func(t *testing.T) {
		s.change("tenants/settings", "settings", func(d doc) { d["flags"] = doc{"enable_public_signup_user_exists_error": true} })
		b := s.browser()
		v := b.open(authorizeURL("web", "screen_hint", "signup"))
		require.Equal(t, "The user already exists.", b.submit(v, map[string]string{"email": "ada@example.test", "password": password}).problem())
	})
	t.Run("disabled", func(t *testing.T) {
		s.change("connections", "con_1", func(d doc) { d["options"].(doc)["disable_signup"] = true })
		b := s.browser()
		v := b.open(authorizeURL("web"))
		require.NotContains(t, v.body, "Sign up")
		require.Equal(t, 403, b.open("/u/signup?"+v.at.RawQuery).status)
	})
}

func TestPasswordReset(t *testing.T) {
	s := newSim(t)
	b := s.browser()
	refresh := s.exchange(s.code(b, "web", "scope", "openid offline_access")).body["refresh_token"].(string)
	v := b.link(b.open(authorizeURL("web", "prompt", "login")), "Forgot password?")
	require.Equal(t, "Enter a valid email address.", b.submit(v, map[string]string{"email": "x"}).problem())
	require.Equal(t, "Check your email", b.submit(v, map[string]string{"email": "nobody@example.test"}).title())
	require.Empty(t, s.list("outbox"))
	sent := b.submit(v, map[string]string{"email": "ada@example.test"})
	require.Equal(t, "Check your email", sent.title())
	require.Equal(t, "Welcome", b.link(sent, "Back to login").title())

	link := s.requestURI(s.lastMail()["link"])
	v = s.browser().open(link)
	require.Equal(t, "Change your password", v.title())
	const fresh = "Another-Horse-7"
	other := s.browser()
	require.Equal(t, "The passwords don't match.", other.submit(v, map[string]string{"password": fresh, "again": "x"}).problem())
	require.Equal(t, "Password is too weak.", other.submit(v, map[string]string{"password": "weak", "again": "weak"}).problem())
	require.Equal(t, "Password changed", other.submit(v, map[string]string{"password": fresh, "again": fresh}).title())
	require.Equal(t, "Link already used", other.submit(v, map[string]string{"password": fresh, "again": fresh}).title())

	require.Equal(t, "login_required", b.open(authorizeURL("web", "prompt", "none")).answer().Get("error"), "sessions end")
	s.refresh(refresh).refused(t, 403, "invalid_grant", "Unknown or invalid refresh token.")
	require.Equal(t, "Wrong email or password.", b.login(b.open(authorizeURL("web")), "ada@example.test").problem())
	v = b.open(authorizeURL("web"))
	require.NotEmpty(t, b.submit(v, map[string]string{"username": "ada@example.test", "password": fresh}).answer().Get("code"))
	require.Subset(t, s.logTypes(), []string{"scpr", "scp"})

	t.Run("tickets of the Management API", func(t *testing.T) {
		ada := s.userID("ada@example.test")
		s.put("tickets", "T1", doc{"kind": "password_change", "user_id": ada, "result_url": "https://app.example.test/done?a=1", "expires_at": float64(s.store.Now().Add(time.Hour).Unix()),
			"mark_email_as_verified": true, "includeEmailInRedirect": true})
		b := s.browser()
		v := b.submit(b.open("/u/reset-password?ticket=T1"), map[string]string{"password": password, "again": password})
		require.Equal(t, "https://app.example.test/done", v.left.Scheme+"://"+v.left.Host+v.left.Path)
		require.Equal(t, "true", v.answer().Get("success"))
		require.Equal(t, "1", v.answer().Get("a"))
		require.Equal(t, "ada@example.test", v.answer().Get("email"))
		require.Equal(t, true, s.get("users", ada)["email_verified"])

		s.put("tickets", "T2", doc{"kind": "password_change", "user_id": ada, "expires_at": float64(s.store.Now().Unix())})
		require.Equal(t, "Expired link", b.open("/u/reset-password?ticket=T2").title())
		s.put("tickets", "T3", doc{"kind": "email_verification", "user_id": ada, "expires_at": float64(s.store.Now().Add(time.Hour).Unix())})
		require.Equal(t, "Invalid link", b.open("/u/reset-password?ticket=T3").title(), "a ticket opens its own door only")
		require.Equal(t, "Invalid link", b.open("/u/reset-password").title())
	})
	t.Run("history", func(t *testing.T) {
		s.change("connections", "con_1", func(d doc) { d["options"].(doc)["password_history"] = doc{"enable": true, "size": 2.0} })
		ada := s.userID("ada@example.test")
		reset := func(id, pw string) *view {
			s.put("tickets", id, doc{"kind": "password_change", "user_id": ada, "expires_at": float64(s.store.Now().Add(time.Hour).Unix())})
			b := s.browser()
			return b.submit(b.open("/u/reset-password?ticket="+id), map[string]string{"password": pw, "again": pw})
		}
		require.Equal(t, "Password has previously been used.", reset("H1", password).problem())
		require.Equal(t, "Password changed", reset("H2", "Number-Two-22").title())
		require.Equal(t, "Password has previously been used.", reset("H3", password).problem())
	})
}

func TestConsent(t *testing.T) {
	s := newSim(t)
	s.client("third", doc{"is_first_party": false})
	b := s.browser()
	ask := []string{"audience", api, "scope", "openid profile read:things"}
	v := b.login(b.open(authorizeURL("third", ask...)), "ada@example.test")
	require.Equal(t, "Authorize App", v.title())
	require.Contains(t, v.body, "Read things")

	denied := b.submit(v, map[string]string{"action": "deny"}).answer()
	require.Equal(t, "access_denied", denied.Get("error"))
	require.Equal(t, "User did not authorize the request", denied.Get("error_description"))
	require.Empty(t, s.list("grants"))

	v = b.login(b.open(authorizeURL("third", append(ask, "prompt", "login")...)), "ada@example.test")
	require.NotEmpty(t, b.submit(v, map[string]string{"action": "accept"}).answer().Get("code"))
	require.Len(t, s.list("grants"), 1)
	require.Equal(t, "consent_required", s.silently(b, "third", []string{"audience", api, "scope", "openid write:things"}))
	require.NotEmpty(t, b.open(authorizeURL("third", ask...)).answer().Get("code"), "asked once")
	require.Equal(t, "Authorize App", b.open(authorizeURL("third", "audience", api, "scope", "openid write:things")).title(), "more is asked again")
	require.Equal(t, "Authorize App", b.open(authorizeURL("third", append(ask, "prompt", "consent")...)).title())

	t.Run("first party", func(t *testing.T) {
		require.NotEmpty(t, b.open(authorizeURL("web", ask...)).answer().Get("code"), "the API skips the question")
		s.client("local", doc{"callbacks": []any{"http://localhost:3000/cb"}})
		require.Equal(t, "Authorize App", b.open(authorizeURL("local", append(ask, "redirect_uri", "http://localhost:3000/cb")...)).title(), "localhost proves nothing")
		s.change("resource-servers", "rs1", func(d doc) { d["skip_consent_for_verifiable_first_party_clients"] = false })
		require.Equal(t, "Authorize App", b.open(authorizeURL("web", ask...)).title())
		require.NotEmpty(t, b.open(authorizeURL("web")).answer().Get("code"), "signing in needs none")
	})
}

// silently is the error of a request that may show no page.
func (s *sim) silently(b *browser, client string, ask []string) string {
	return b.open(authorizeURL(client, append(append([]string{}, ask...), "prompt", "none")...)).answer().Get("error")
}
