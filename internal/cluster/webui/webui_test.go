package webui_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/cluster/webui"
	"github.com/tenonhq/tenon/internal/token"
)

const namespaces = "/api/v1/namespaces"

func TestSignIn(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	got := b.get("/namespaces/alpha")
	require.Equal(t, 200, got.StatusCode)
	require.Contains(t, got.body, "Sign in with your account at Example")
	require.Contains(t, got.body, "returnUrl=%2Fnamespaces%2Falpha")

	var set []*http.Cookie
	b.stops = func(u *url.URL) bool { return u.Path == "/namespaces/alpha/workflows" }
	got = b.signIn()
	require.Equal(t, 303, got.StatusCode)
	require.Equal(t, "/namespaces/alpha/workflows?query=x", got.Header.Get("Location"))
	set = got.Cookies()
	var session *http.Cookie
	for _, c := range set {
		if strings.Contains(c.Name, "session") {
			session = c
		}
		require.NotContains(t, c.Value, "opaque-", "no token of the provider reaches the browser")
	}
	require.NotNil(t, session)
	require.True(t, strings.HasPrefix(session.Name, "__Host-"))
	require.True(t, session.HttpOnly)
	require.True(t, session.Secure)
	require.Equal(t, http.SameSiteLaxMode, session.SameSite)
	require.Equal(t, "/", session.Path)
	require.Empty(t, session.Domain)
	require.GreaterOrEqual(t, len(session.Value), 43, "256 random bits")

	b.stops = nil
	got = b.get("/namespaces/alpha/workflows")
	require.Equal(t, 200, got.StatusCode)
	require.Contains(t, got.body, "__sveltekit", "the stock application")
	require.Equal(t, 200, b.api("/api/v1/settings").StatusCode)
	require.Contains(t, b.api("/api/v1/settings").body, `"Enabled":true`)
	require.Equal(t, 200, b.api("/_app/version.json").StatusCode)

	require.Equal(t, 200, b.api(namespaces).StatusCode)
	call := s.frontend.last()
	require.Equal(t, "/temporal.api.workflowservice.v1.WorkflowService/ListNamespaces", call.method)
	require.Equal(t, "web-ui:auth0|ada", call.claims.Subject)
	require.Equal(t, []string{"alpha:client"}, permissionsOf(call.claims))
	require.LessOrEqual(t, call.claims.Expires.Sub(call.claims.IssuedAt), 5*time.Minute)
	require.Len(t, call.meta.Get("authorization"), 1, "the browser's own header is not passed on")
	record := s.audit.last()
	require.Equal(t, audit.Allow, record.Verdict)
	require.Equal(t, "web-ui:auth0|ada", record.Subject)
	require.Equal(t, s.idp.server.URL, record.Issuer)
	require.NotNil(t, record.Peer)
	require.Equal(t, "", s.idp.seen.Get("client_secret"), "a public client")
}

func TestNothingWithoutSession(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	for _, path := range []string{namespaces, "/api/v1/settings", "/api/v1/cluster-info", "/api/v1/namespaces/alpha/workflows/w/run/r/history.json",
		"/_app/version.json", "/render?content=x", "/favicon.ico", "/auth/refresh", "/i18n/x"} {
		require.Equal(t, 401, b.api(path).StatusCode, path)
	}
	for name, cookie := range map[string]string{"forged": strings.Repeat("A", 43), "empty": "", "long": strings.Repeat("A", 4000), "odd": "../../etc"} {
		signed := s.browser()
		signed.signIn()
		c := signed.cookie("session")
		other := s.lookalike(&http.Cookie{Name: c.Name, Value: cookie})
		require.Equal(t, 401, other.api(namespaces).StatusCode, name)
		require.Contains(t, other.get("/").body, "Sign in with your account", name)
		require.Equal(t, 200, signed.api(namespaces).StatusCode)
	}
	require.Equal(t, 404, b.get("/auth/other").StatusCode)
	n := s.frontend.count()
	b.api(namespaces)
	require.Equal(t, n, s.frontend.count(), "nothing reached the cluster")
}

func TestCallbackIsOfThisBrowserAndOnce(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	b.stops = func(u *url.URL) bool { return u.Path == "/auth/sso/callback" }
	back := b.signIn().Header.Get("Location")
	b.stops = nil

	stranger := s.browser()
	got := stranger.get(back)
	require.Equal(t, 400, got.StatusCode, "a callback that another browser began")
	require.Nil(t, stranger.cookie("session"))
	require.Equal(t, audit.Unauthenticated, s.audit.last().Verdict)

	u, err := url.Parse(back)
	require.NoError(t, err)
	for name, state := range map[string]string{"none": "", "short": "abc", "other": strings.Repeat("x", 43), "odd": "a\r\nb=c;d" + strings.Repeat("x", 40), "same start": u.Query().Get("state")[:8] + strings.Repeat("x", 35)} {
		got = b.get("/auth/sso/callback?" + url.Values{"code": {u.Query().Get("code")}, "state": {state}}.Encode())
		require.Equal(t, 400, got.StatusCode, name)
	}
	// The last of these spent the attempt: a guess is not free.
	require.Nil(t, b.cookie("session"))

	b = s.browser()
	b.stops = func(u *url.URL) bool { return u.Path == "/auth/sso/callback" }
	back = b.signIn().Header.Get("Location")
	b.stops = nil
	attempt := b.cookie("attempt")
	require.NotNil(t, attempt)
	require.Equal(t, 200, b.get(back).StatusCode)
	require.NotNil(t, b.cookie("session"))
	require.Nil(t, b.cookie("attempt"))
	require.Equal(t, 400, b.get(back).StatusCode, "replayed")
	require.Equal(t, 403, s.lookalike(attempt).get(back).StatusCode, "replayed with its cookie: the code is spent")

	b = s.browser()
	b.stops = func(u *url.URL) bool { return u.Path == "/auth/sso/callback" }
	back = b.signIn().Header.Get("Location")
	b.stops = nil
	s.clock.add(16 * time.Minute)
	require.Equal(t, 400, b.get(back).StatusCode, "too late")

	// A cookie that another process, or nobody, sealed.
	b = s.lookalike(&http.Cookie{Name: attempt.Name, Value: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})
	require.Equal(t, 400, b.get("/auth/sso/callback?code=x&state="+attempt.Name[len(attempt.Name)-8:]+strings.Repeat("x", 35)).StatusCode)
}

func TestNewIDAtEachSignIn(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	b.signIn()
	first := b.cookie("session")
	b.stops = func(u *url.URL) bool { return u.Path == "/auth/sso/callback" }
	back := s.lookalikeStart(b)
	b.stops = nil
	require.Equal(t, 200, b.get(back).StatusCode)
	second := b.cookie("session")
	require.NotEqual(t, first.Value, second.Value)
	require.Equal(t, 401, s.lookalike(first).api(namespaces).StatusCode)
	require.Equal(t, 200, b.api(namespaces).StatusCode)
}

// lookalikeStart begins a sign-in in a browser that is signed in already, which
// /auth/sso alone does not do.
func (s *stack) lookalikeStart(b *browser) string {
	other := s.browser()
	other.stops = func(u *url.URL) bool { return u.Path == "/auth/sso/callback" }
	back := other.signIn().Header.Get("Location")
	u, err := url.Parse(b.base)
	require.NoError(s.t, err)
	c := other.cookie("attempt")
	b.http.Jar.SetCookies(u, []*http.Cookie{{Name: c.Name, Value: c.Value, Path: "/", Secure: true}})
	return back
}

func TestReturnAddress(t *testing.T) {
	s := newStack(t, nil)
	for given, want := range map[string]string{
		"":                            "/",
		"/namespaces/a/workflows?x=1": "/namespaces/a/workflows?x=1",
		s.ui.URL() + "/n?y=2#part":    "/n?y=2",
		"https://evil.example/":       "/",
		"//evil.example/x":            "/",
		"///evil.example":             "/",
		"/\\evil.example":             "/",
		"\\\\evil.example":            "/",
		"/\tevil":                     "/",
		"javascript:alert(1)":         "/",
		"https:evil.example":          "/",
		s.ui.URL() + "@evil.example/": "/",
		s.ui.URL() + "//evil.example": "/",
		strings.Replace(s.ui.URL(), "https:", "http:", 1) + "/x": "/",
		"/auth/logout":                  "/",
		"/auth":                         "/",
		"/%2F/evil.example":             "/%2F/evil.example",
		"/" + strings.Repeat("a", 3000): "/",
	} {
		b := s.browser()
		b.stops = func(u *url.URL) bool {
			return strings.HasPrefix(u.String(), s.ui.URL()) && u.Path != "/auth/sso/callback" || !strings.Contains(s.idp.server.URL+s.ui.URL(), u.Host)
		}
		got := b.get("/auth/sso?" + url.Values{"returnUrl": {given}}.Encode())
		require.Equal(t, want, got.Header.Get("Location"), "%q", given)
	}
}

func TestGate(t *testing.T) {
	group := func(c *webui.Config) { c.Provider.Groups = map[string][]string{"Cluster Operators": nil} }
	access := func(c *webui.Config) { c.Provider.Audience = "https://temporal" }
	info := func(c *webui.Config) { c.Provider.PermissionsFrom = webui.FromUserInfo }
	for name, c := range map[string]struct {
		config func(*webui.Config)
		idp    func(*idp)
		want   string // permission, or what the page says
		status int
	}{
		"permissions":     {nil, nil, "alpha:client", 200},
		"roles":           {nil, func(p *idp) { p.id = claims{"roles": []string{"beta:admin", "User"}} }, "beta:admin", 200},
		"scope":           {nil, func(p *idp) { p.id = claims{"scope": "openid temporal-client"} }, "temporal-system:client", 200},
		"expression":      {func(c *webui.Config) { c.Provider.Permissions = groupsToRoles }, func(p *idp) { p.id = claims{"groups": []string{"ops"}} }, "alpha:operator", 200},
		"none":            {nil, func(p *idp) { p.id = claims{"permissions": []string{"read:things"}} }, "no role in any namespace", 403},
		"absent":          {nil, func(p *idp) { p.id = nil }, "no role in any namespace", 403},
		"odd claim":       {nil, func(p *idp) { p.id = claims{"permissions": map[string]any{"a": 1}} }, "neither a string nor a list", 403},
		"too many":        {nil, func(p *idp) { p.id = claims{"permissions": list(101, "ns-%d:reader")} }, "101 permissions", 403},
		"group":           {group, func(p *idp) { p.id["groups"] = []string{"Cluster Operators"} }, "alpha:client", 200},
		"group as string": {group, func(p *idp) { p.id["groups"] = "Cluster Operators" }, "alpha:client", 200},
		"group grants": {func(c *webui.Config) {
			c.Provider.Groups = map[string][]string{"Cluster Operators": {"beta:operator", "beta:nothing"}}
		}, func(p *idp) { p.id = claims{"groups": []string{"Cluster Operators"}} }, "beta:operator", 200},
		"other group": {group, func(p *idp) { p.id["groups"] = []string{"Cluster", "Operators"} }, "none of the groups", 403},
		"too many groups": {group, func(p *idp) {
			p.id["_claim_names"], p.id["_claim_sources"] = map[string]any{"groups": "src1"}, map[string]any{"src1": map[string]any{"endpoint": "https://graph.windows.net/x"}}
		}, "so many groups", 403},
		"access token": {access, func(p *idp) {
			p.access = claims{"aud": []string{"https://temporal", "https://x"}, "permissions": []string{"beta:reader"}}
		}, "beta:reader", 200},
		"access for else": {access, func(p *idp) { p.access = claims{"aud": "https://other", "permissions": []string{"beta:reader"}} }, "not accepted", 403},
		"access opaque":   {access, nil, "not accepted", 403},
		"access of else": {access, func(p *idp) {
			p.access = claims{"aud": "https://temporal", "sub": "eve", "permissions": []string{"beta:reader"}}
		}, "not accepted", 403},
		"userinfo":      {info, func(p *idp) { p.userinfo = claims{"sub": "auth0|ada", "permissions": []string{"gamma:reader"}} }, "gamma:reader", 200},
		"userinfo else": {info, func(p *idp) { p.userinfo = claims{"sub": "eve", "permissions": []string{"gamma:reader"}} }, "not accepted", 403},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, c.config)
			if c.idp != nil {
				s.idp.set(c.idp)
			}
			b := s.browser()
			got := b.signIn()
			require.Equal(t, c.status, got.StatusCode, got.body)
			if c.status != 200 {
				require.Contains(t, got.body, c.want)
				require.Nil(t, b.cookie("session"))
				require.NotEqual(t, audit.Allow, s.audit.last().Verdict)
				require.Zero(t, s.frontend.count())
				return
			}
			require.Equal(t, 200, b.api(namespaces).StatusCode)
			require.Equal(t, []string{c.want}, permissionsOf(s.frontend.last().claims))
		})
	}
}

func groupsToRoles(all map[string]any) ([]string, error) {
	groups, err := token.FromClaims("groups")(all)
	for i, g := range groups {
		groups[i] = map[string]string{"ops": "alpha:operator"}[g]
	}
	return groups, err
}

func TestForgedIDTokens(t *testing.T) {
	for name, change := range map[string]func(*idp){
		"unsigned":       func(p *idp) { p.unsigned = true },
		"other nonce":    func(p *idp) { p.id["nonce"] = "other" },
		"no nonce":       func(p *idp) { p.id["nonce"] = nil },
		"other audience": func(p *idp) { p.id["aud"] = "grafana" },
		"other party":    func(p *idp) { p.id["aud"], p.id["azp"] = []string{"ui", "grafana"}, "grafana" },
		"other issuer":   func(p *idp) { p.id["iss"] = "https://evil.example" },
		"expired":        func(p *idp) { p.id["exp"] = 1 },
		"no subject":     func(p *idp) { p.id["sub"] = nil },
		"other token":    func(p *idp) { p.id["at_hash"] = "AAAA" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, nil)
			s.idp.set(change)
			b := s.browser()
			require.Equal(t, 403, b.signIn().StatusCode)
			require.Nil(t, b.cookie("session"))
		})
	}
}

func TestProviderRefuses(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	b.stops = func(u *url.URL) bool { return u.Path == "/auth/sso/callback" }
	u, err := url.Parse(b.signIn().Header.Get("Location"))
	require.NoError(t, err)
	b.stops = nil
	got := b.get("/auth/sso/callback?" + url.Values{"state": {u.Query().Get("state")}, "error": {"access_denied"}, "error_description": {"<script>no\x00</script>"}}.Encode())
	require.Equal(t, 403, got.StatusCode)
	require.Contains(t, got.body, "access_denied")
	require.NotContains(t, got.body, "<script>")

	b.stops = func(u *url.URL) bool { return u.Path == "/auth/sso/callback" }
	u, err = url.Parse(b.signIn().Header.Get("Location"))
	require.NoError(t, err)
	b.stops = nil
	q := u.Query()
	q.Set("iss", "https://evil.example")
	require.Equal(t, 403, b.get("/auth/sso/callback?"+q.Encode()).StatusCode, "an answer of another provider")
}

func TestProviderDown(t *testing.T) {
	s := newStack(t, nil)
	s.idp.set(func(p *idp) { p.down = 503 })
	b := s.browser()
	got := b.signIn()
	require.Equal(t, 503, got.StatusCode)
	require.Contains(t, got.body, "cannot be reached")
	require.NotEmpty(t, got.Header.Get("Retry-After"))
	require.Equal(t, 200, b.get("/").StatusCode, "the page with the button is there")
	s.idp.set(func(p *idp) { p.down = 0 })
	s.clock.add(3 * time.Second)
	require.Equal(t, 200, b.signIn().StatusCode)
	require.Equal(t, 200, b.api(namespaces).StatusCode)

	// Later: who is signed in goes on for the grace time, nobody new comes in.
	s.idp.set(func(p *idp) { p.down = 502 })
	s.clock.add(11 * time.Minute)
	require.Equal(t, 200, b.api(namespaces).StatusCode)
	require.Equal(t, 503, s.browser().signIn().StatusCode)
	s.clock.add(40 * time.Minute)
	require.Equal(t, 200, b.api(namespaces).StatusCode)
	s.idp.set(func(p *idp) { p.down = 0 })
	s.clock.add(time.Minute)
	require.Equal(t, 200, b.api(namespaces).StatusCode)
	require.Equal(t, []string{"authorization_code", "refresh_token"}, s.idp.grants, "renewed when it is back")

	s.idp.set(func(p *idp) { p.down = 502 })
	s.clock.add(40 * time.Minute)
	require.Equal(t, 200, b.api(namespaces).StatusCode)
	s.clock.add(40 * time.Minute)
	require.Equal(t, 401, b.api(namespaces).StatusCode, "the grace is over")
}

func TestRenewal(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	b.signIn()
	require.Equal(t, 200, b.api(namespaces).StatusCode)
	s.idp.set(func(p *idp) { p.id["permissions"] = []string{"alpha:reader"} })
	s.clock.add(9 * time.Minute)
	require.Equal(t, 200, b.api(namespaces).StatusCode)
	require.Equal(t, []string{"alpha:client"}, permissionsOf(s.frontend.last().claims))
	s.clock.add(2 * time.Minute)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { b.api(namespaces) })
	}
	all.Wait()
	require.Equal(t, []string{"authorization_code", "refresh_token"}, s.idp.grants, "once, although refresh tokens work once")
	require.Equal(t, 200, b.api(namespaces).StatusCode)
	require.Equal(t, []string{"alpha:reader"}, permissionsOf(s.frontend.last().claims), "what was taken away is gone")

	s.idp.set(func(p *idp) { p.id["permissions"] = []string{} })
	s.clock.add(11 * time.Minute)
	require.Equal(t, 401, b.api(namespaces).StatusCode, "no role is left")
	require.Equal(t, audit.Deny, s.audit.last().Verdict)
	require.Equal(t, 403, b.signIn().StatusCode)
}

func TestRenewalRefused(t *testing.T) {
	for name, change := range map[string]func(*idp){
		"expired refresh token": func(p *idp) { p.refuse = true },
		"somebody else":         func(p *idp) { p.id["sub"] = "auth0|eve" },
		"forged":                func(p *idp) { p.unsigned = true },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, nil)
			b := s.browser()
			b.signIn()
			require.Equal(t, 200, b.api(namespaces).StatusCode)
			s.idp.set(change)
			s.clock.add(11 * time.Minute)
			got := b.api(namespaces)
			require.Equal(t, 401, got.StatusCode)
			require.Contains(t, got.body, `"code": 16`)
			require.Equal(t, 401, b.api("/auth/refresh").StatusCode)
		})
	}
	t.Run("no refresh token", func(t *testing.T) {
		s := newStack(t, nil)
		s.idp.set(func(p *idp) { p.noRefresh = true })
		b := s.browser()
		b.signIn()
		s.clock.add(9 * time.Minute)
		require.Equal(t, 200, b.api(namespaces).StatusCode)
		s.clock.add(2 * time.Minute)
		require.Equal(t, 401, b.api(namespaces).StatusCode)
	})
}

func TestLifetimes(t *testing.T) {
	s := newStack(t, func(c *webui.Config) { c.Sessions = webui.SessionsConfig{Idle: 20 * time.Minute, Absolute: time.Hour} })
	b := s.browser()
	b.signIn()
	s.clock.add(21 * time.Minute)
	require.Equal(t, 401, b.api(namespaces).StatusCode, "idle")
	b.signIn()
	for range 5 {
		s.clock.add(11 * time.Minute)
		require.Equal(t, 200, b.api(namespaces).StatusCode)
	}
	s.clock.add(6 * time.Minute)
	require.Equal(t, 401, b.api(namespaces).StatusCode, "absolute")
}

func TestSessionsAreBounded(t *testing.T) {
	s := newStack(t, func(c *webui.Config) { c.Sessions = webui.SessionsConfig{Max: 3, MaxPerPerson: 2} })
	var all []*browser
	for range 3 {
		b := s.browser()
		b.signIn()
		all = append(all, b)
		s.clock.add(time.Second)
	}
	require.Equal(t, 401, all[0].api(namespaces).StatusCode, "the third session of one person ends the first")
	require.Equal(t, 200, all[1].api(namespaces).StatusCode)
	s.clock.add(time.Second)
	require.Equal(t, 200, all[2].api(namespaces).StatusCode)
	for i := range 2 {
		s.clock.add(time.Second)
		s.idp.set(func(p *idp) { p.id["sub"] = fmt.Sprint("auth0|other", i) })
		s.browser().signIn()
	}
	require.Equal(t, 401, all[1].api(namespaces).StatusCode, "the least recently used gives way")
	require.Equal(t, 200, all[2].api(namespaces).StatusCode)
}

func TestLogout(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	b.signIn()
	cookie := b.cookie("session")

	got := b.get("/auth/logout", "Sec-Fetch-Site", "cross-site")
	require.Contains(t, got.body, "You are signed in as ada@example.com", "a link elsewhere only asks")
	require.Equal(t, 403, b.do("POST", "/auth/logout", "", "Sec-Fetch-Site", "cross-site").StatusCode)
	require.Equal(t, 200, b.api(namespaces).StatusCode)

	// As the stock pages do it: fetch, then open the first page.
	require.Equal(t, 204, b.api("/auth/logout").StatusCode)
	require.Equal(t, 401, s.lookalike(cookie).api(namespaces).StatusCode, "a replayed cookie")
	b.stops = func(u *url.URL) bool { return u.Path == "/logout" }
	got = b.get("/")
	u, err := url.Parse(got.Header.Get("Location"))
	require.NoError(t, err)
	require.Equal(t, s.idp.server.URL+"/logout", u.Scheme+"://"+u.Host+u.Path)
	require.Equal(t, s.ui.SignedOutURL(), u.Query().Get("post_logout_redirect_uri"))
	require.Equal(t, "ui", u.Query().Get("client_id"))
	require.Equal(t, 2, strings.Count(u.Query().Get("id_token_hint"), "."))
	require.Nil(t, b.cookie("session"))
	require.Contains(t, s.lookalike(cookie).get("/").body, "Sign in with your account", "the hint is given once")
	require.Contains(t, b.get("/auth/signed-out").body, "You are signed out")

	// With our own button.
	b.stops = nil
	b.signIn()
	b.stops = func(u *url.URL) bool { return u.Path == "/logout" }
	got = b.do("POST", "/auth/logout", "", "Sec-Fetch-Site", "same-origin")
	require.Contains(t, got.Header.Get("Location"), "/logout?")
	require.Equal(t, 401, b.api(namespaces).StatusCode)

	// Without a provider that can end its session.
	s = newStack(t, nil)
	s.idp.set(func(p *idp) { p.noEndSession = true })
	b = s.browser()
	b.signIn()
	require.Contains(t, b.do("POST", "/auth/logout", "", "Sec-Fetch-Site", "same-origin").body, "You are signed out")
}

func TestRefusedByTheCluster(t *testing.T) {
	s := newStack(t, func(c *webui.Config) { c.Namespace = "default" })
	b := s.browser()
	b.signIn()
	require.Contains(t, b.api("/api/v1/settings").body, `"DefaultNamespace":"alpha"`, "the person's own")
	// The stock pages open the sign-in when they are refused.
	got := b.get("/auth/sso?" + url.Values{"returnUrl": {s.ui.URL() + "/namespaces/beta<b>/workflows?x=1"}}.Encode())
	require.Equal(t, 403, got.StatusCode, "and not back, in circles")
	require.Contains(t, got.body, "/namespaces/beta%3Cb%3E/workflows")
	require.Contains(t, got.body, "alpha:client")
	require.Contains(t, got.body, `href="/namespaces/alpha/workflows"`)
	require.Contains(t, got.Header.Get("Content-Security-Policy"), "form-action 'self' "+s.idp.server.URL)
	require.Equal(t, 403, b.get("/login?"+url.Values{"returnUrl": {s.ui.URL() + "/namespaces/beta"}}.Encode()).StatusCode)
	got = b.get("/auth/sso?returnUrl=/namespaces/alpha")
	require.Contains(t, got.body, "__sveltekit", "our own button, in a second tab")
	s.idp.set(func(p *idp) { p.id["permissions"] = []string{"temporal-system:reader"} })
	b = s.browser()
	b.signIn()
	require.Contains(t, b.api("/api/v1/settings").body, `"DefaultNamespace":"default"`)
}

func TestOtherSites(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	b.signIn()
	start := "/api/v1/namespaces/alpha/workflows/w1"
	body := `{"workflowType":{"name":"x"},"taskQueue":{"name":"q"}}`
	json := []string{"Content-Type", "application/json", "Sec-Fetch-Mode", "cors"}
	require.Equal(t, 200, b.do("POST", start, body, append(json, "Sec-Fetch-Site", "same-origin")...).StatusCode)
	n := s.frontend.count()
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}} {
		require.Equal(t, 403, b.do("POST", start, body, append(json, header...)...).StatusCode, "%v", header)
	}
	require.Equal(t, n, s.frontend.count())
	require.GreaterOrEqual(t, b.do("POST", start, `{"x":"`+strings.Repeat("a", 9<<20)+`"}`, append(json, "Sec-Fetch-Site", "same-origin")...).StatusCode, 400)
	require.Equal(t, n, s.frontend.count())

	// Another name for this address.
	require.Equal(t, 421, b.get(namespaces, "Host", "evil.example", "Sec-Fetch-Mode", "cors").StatusCode)
}

func TestMetadataOfTheBrowserIsNotPassedOn(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	b.signIn()
	got := b.get(namespaces, "Sec-Fetch-Mode", "cors", "Grpc-Metadata-Authorization", "Bearer x", "Grpc-Metadata-Temporal-Principal-Name", "root",
		"Authorization-Extras", "x", "Caller-Type", "operator")
	require.Equal(t, 200, got.StatusCode)
	meta := s.frontend.last().meta
	require.Len(t, meta.Get("authorization"), 1)
	require.Empty(t, meta.Get("temporal-principal-name"))
	require.Empty(t, meta.Get("authorization-extras"))
	require.Equal(t, []string{"operator"}, meta.Get("caller-type"))
	require.Empty(t, meta.Get("grpcgateway-cookie"))
}

func TestHeaders(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	login := b.get("/")
	b.signIn()
	for _, got := range []response{login, b.get("/namespaces"), b.api(namespaces), b.get("/auth/other")} {
		h := got.Header
		require.Equal(t, "DENY", h.Get("X-Frame-Options"))
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
		require.Contains(t, h.Get("Content-Security-Policy"), "frame-ancestors 'none'")
		require.NotContains(t, h.Get("Content-Security-Policy"), "script-src 'unsafe")
		require.Empty(t, h.Get("Strict-Transport-Security"), "not for an address")
		require.Equal(t, "same-origin", h.Get("Cross-Origin-Resource-Policy"))
	}
	require.Contains(t, b.get("/namespaces").Header.Get("Content-Security-Policy"), "'strict-dynamic' 'sha256-")
	require.Equal(t, "SAMEORIGIN", b.get("/render?content=x").Header.Get("X-Frame-Options"))
	require.Equal(t, "no-store", b.api(namespaces).Header.Get("Cache-Control"))

	cfg := validConfig(t)
	cfg.URL = "https://Temporal.example.com:443/"
	named, err := webui.New(cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, named.Close()) }()
	require.Equal(t, "https://temporal.example.com/auth/sso/callback", named.CallbackURL())
	w := httptest.NewRecorder()
	named.Handler().ServeHTTP(w, httptest.NewRequest("GET", "https://temporal.example.com/auth/login", nil))
	require.Equal(t, 200, w.Code)
	require.Equal(t, "max-age=31536000", w.Header().Get("Strict-Transport-Security"))
}

func TestOversizedCookies(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	got := b.get("/", "Cookie", "x="+strings.Repeat("a", 64<<10))
	require.Equal(t, 431, got.StatusCode)
	require.Contains(t, got.body, "64 KB of cookies for 127.0.0.1")
	// Sign-ins that are begun and left do not add up to that.
	b.stops = func(u *url.URL) bool { return u.Path == "/auth/sso/callback" }
	for range 40 {
		require.Equal(t, 302, b.signIn().StatusCode)
	}
	u, err := url.Parse(b.base)
	require.NoError(t, err)
	size := 0
	for _, c := range b.http.Jar.Cookies(u) {
		size += len(c.String())
	}
	require.Less(t, size, 4<<10)
}

func TestHistoryDownload(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	b.signIn()
	got := b.api("/api/v1/namespaces/alpha/workflows/stack%2Facme/run/r/history.json")
	require.Equal(t, 200, got.StatusCode)
	require.JSONEq(t, `[{"eventId":"1"},{"eventId":"2"},{"eventId":"3"}]`, got.body)
	require.Equal(t, "web-ui:auth0|ada", s.frontend.last().claims.Subject)
	got = b.api("/api/v1/namespaces/beta/workflows/w/run/r/history.json")
	require.Equal(t, 403, got.StatusCode)
	require.NotContains(t, got.body, "[")
}

func TestRevokedPerson(t *testing.T) {
	s := newStack(t, nil)
	b := s.browser()
	b.signIn()
	require.Equal(t, 200, b.api(namespaces).StatusCode)
	s.clock.add(time.Second)
	require.NoError(t, s.issuer.RevokeSubject(t.Context(), "web-ui:auth0|ada", time.Time{}, "left"))
	require.Equal(t, 401, b.api(namespaces).StatusCode)
	s.clock.add(time.Second)
	b.signIn()
	require.Equal(t, 200, b.api(namespaces).StatusCode, "revocation is of what was issued before")
}

func TestNobodyUnrecorded(t *testing.T) {
	s := newStack(t, nil)
	s.audit.fail = errors.New("disk full")
	b := s.browser()
	require.Equal(t, 500, b.signIn().StatusCode)
	require.Nil(t, b.cookie("session"))
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*webui.Config)
		want   string
	}{
		"no tls":        {func(c *webui.Config) { c.TLS = nil }, "tls is required"},
		"no audit":      {func(c *webui.Config) { c.Audit = nil }, "audit log is required"},
		"no tokens":     {func(c *webui.Config) { c.Tokens = nil }, "token issuer is required"},
		"plain url":     {func(c *webui.Config) { c.URL = "http://x" }, "https://HOST"},
		"url with path": {func(c *webui.Config) { c.URL = "https://x/ui" }, "https://HOST"},
		"plain issuer":  {func(c *webui.Config) { c.Provider.Issuer = "http://x" }, "not an https address"},
		"no client":     {func(c *webui.Config) { c.Provider.ClientID = "" }, "client id"},
		"no openid":     {func(c *webui.Config) { c.Provider.Scopes = []string{"email"} }, "openid"},
		"parameter":     {func(c *webui.Config) { c.Provider.Parameters = map[string]string{"redirect_uri": "x"} }, "not for configuration"},
		"no audience":   {func(c *webui.Config) { c.Provider.PermissionsFrom = webui.FromAccessToken }, "need an audience"},
		"short idle":    {func(c *webui.Config) { c.Sessions.Idle = time.Second }, "less than a minute"},
		"end session":   {func(c *webui.Config) { c.Provider.EndSessionURL = "ftp://x" }, "not an https address"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := validConfig(t)
			c.change(&cfg)
			_, err := webui.New(cfg)
			require.ErrorContains(t, err, c.want)
		})
	}
}
