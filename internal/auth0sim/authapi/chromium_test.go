package authapi_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

var screenshots = flag.String("screenshots", "", "directory for pictures of every page, as a browser shows them")

// chromium is a headless browser spoken to over a pipe, in the DevTools
// protocol.
type chromium struct {
	t       *testing.T
	out     io.Writer
	session string

	mu      sync.Mutex
	next    int
	waiting map[int]chan cdpAnswer
	loaded  chan struct{}
}

type cdpAnswer struct {
	ID     int
	Method string
	Result json.RawMessage
	Error  *struct{ Message string }
}

// startChromium skips the test where there is no Chromium.
func startChromium(t *testing.T) *chromium {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		t.Skip("needs chromium")
	}
	theirs, ours, err := os.Pipe()
	require.NoError(t, err)
	answers, answersIn, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors",
		"--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirs, answersIn}
	require.NoError(t, cmd.Start())
	require.NoError(t, theirs.Close())
	require.NoError(t, answersIn.Close())
	b := &chromium{t: t, out: ours, waiting: map[int]chan cdpAnswer{}, loaded: make(chan struct{}, 64)}
	done := make(chan struct{})
	go func() { b.read(answers); close(done) }()
	t.Cleanup(func() {
		// Asked to end, it writes its profile and goes; killed, it would leave
		// children behind that still write into the directory we remove.
		b.call("", "Browser.close", nil)
		if err := cmd.Wait(); err != nil {
			t.Logf("chromium: %v", err)
		}
		<-done
		require.NoError(t, ours.Close())
		require.NoError(t, answers.Close())
	})
	var target struct{ TargetID string }
	b.into(&target, b.call("", "Target.createTarget", doc{"url": "about:blank"}))
	var session struct{ SessionID string }
	b.into(&session, b.call("", "Target.attachToTarget", doc{"targetId": target.TargetID, "flatten": true}))
	b.session = session.SessionID
	b.do("Page.enable", nil)
	return b
}

func (b *chromium) read(r io.Reader) {
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m cdpAnswer
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		if m.Method == "Page.loadEventFired" {
			b.loaded <- struct{}{}
		}
		b.mu.Lock()
		ch := b.waiting[m.ID]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		if ch != nil {
			ch <- m
		}
	}
}

func (b *chromium) call(session, method string, params doc) json.RawMessage {
	b.t.Helper()
	if params == nil {
		params = doc{}
	}
	ch := make(chan cdpAnswer, 1)
	b.mu.Lock()
	b.next++
	id := b.next
	b.waiting[id] = ch
	b.mu.Unlock()
	m := doc{"id": id, "method": method, "params": params}
	if session != "" {
		m["sessionId"] = session
	}
	text, err := json.Marshal(m)
	require.NoError(b.t, err)
	_, err = b.out.Write(append(text, 0))
	require.NoError(b.t, err)
	select {
	case out := <-ch:
		require.Nil(b.t, out.Error, "%s", method)
		return out.Result
	case <-time.After(30 * time.Second):
		require.Fail(b.t, "chromium does not answer "+method)
		return nil
	}
}

func (b *chromium) do(method string, params doc) json.RawMessage {
	b.t.Helper()
	return b.call(b.session, method, params)
}

func (b *chromium) into(v any, raw json.RawMessage) {
	b.t.Helper()
	require.NoError(b.t, json.Unmarshal(raw, v), "%s", raw)
}

// script runs JavaScript as the debugger, which no policy of the page stops.
func (b *chromium) script(text string) string {
	b.t.Helper()
	var out struct {
		Result           struct{ Value any }
		ExceptionDetails *json.RawMessage
	}
	b.into(&out, b.do("Runtime.evaluate", doc{"expression": text, "returnByValue": true}))
	require.Nil(b.t, out.ExceptionDetails, "%s", text)
	return fmt.Sprint(out.Result.Value)
}

// after waits for the page that an act leads to.
func (b *chromium) after(act func()) {
	b.t.Helper()
	for len(b.loaded) > 0 {
		<-b.loaded
	}
	act()
	select {
	case <-b.loaded:
	case <-time.After(30 * time.Second):
		require.Fail(b.t, "no page was loaded")
	}
}

func (b *chromium) open(address string) {
	b.t.Helper()
	b.after(func() { b.do("Page.navigate", doc{"url": address}) })
}

// fill types into the fields, as a person would.
func (b *chromium) fill(values ...string) {
	b.t.Helper()
	for i := 0; i < len(values); i += 2 {
		b.script(`(() => { const e = document.getElementById(` + quote(values[i]) + `); e.focus(); e.select(); })()`)
		b.do("Input.insertText", doc{"text": values[i+1]})
	}
}

func (b *chromium) click(selector string) {
	b.t.Helper()
	b.after(func() { b.script(`document.querySelector(` + quote(selector) + `).click()`) })
}

func (b *chromium) title() string { return b.script(`document.querySelector('h1').textContent.trim()`) }
func (b *chromium) text(id string) string {
	return b.script(`document.getElementById(` + quote(id) + `).textContent.trim()`)
}

func quote(s string) string { b, _ := json.Marshal(s); return string(b) }

// picture keeps what is on screen, in light and dark and on a telephone.
func (b *chromium) picture(name string) {
	b.t.Helper()
	if *screenshots == "" {
		return
	}
	shoot := func(suffix string, width, height int, scheme string) {
		b.do("Emulation.setDeviceMetricsOverride", doc{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
		b.do("Emulation.setEmulatedMedia", doc{"features": []any{doc{"name": "prefers-color-scheme", "value": scheme}}})
		var shot struct{ Data string }
		b.into(&shot, b.do("Page.captureScreenshot", doc{"format": "png"}))
		raw, err := base64.StdEncoding.DecodeString(shot.Data)
		require.NoError(b.t, err)
		require.NoError(b.t, os.WriteFile(filepath.Join(*screenshots, name+suffix+".png"), raw, 0o600))
	}
	shoot("", 1000, 860, "light")
	shoot("-dark", 1000, 860, "dark")
	shoot("-phone", 390, 760, "light")
	b.do("Emulation.clearDeviceMetricsOverride", nil)
	b.do("Emulation.setEmulatedMedia", doc{"features": []any{}})
}

// A person's life with the tenant, in a real browser: the policies in our
// headers and the cookies' attributes are its judgement, not ours. Scripts are
// off: the pages must do without.
func TestChromium(t *testing.T) {
	s := newSim(t)
	b := startChromium(t)
	b.do("Emulation.setScriptExecutionDisabled", doc{"value": true})
	app := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<h1>app "+r.URL.Path+"</h1><p id=code>"+r.FormValue("code")+"</p><p id=error>"+r.FormValue("error")+"</p>")
	}))
	t.Cleanup(app.Close)
	s.mfa()
	s.client("third", doc{"is_first_party": false, "name": "Grafana", "callbacks": []any{app.URL + "/cb"}, "allowed_logout_urls": []any{app.URL + "/bye"}})
	start := func(pairs ...string) string {
		return s.server.URL + authorizeURL("third", append([]string{"redirect_uri", app.URL + "/cb", "audience", api, "scope", "openid profile email offline_access read:things write:things"}, pairs...)...)
	}

	b.open(start())
	require.Equal(t, "Welcome", b.title())
	b.picture("login")
	b.fill("username", "bob@example.test", "password", "wrong")
	b.click("button")
	require.Equal(t, "Wrong email or password.", b.script(`document.querySelector('[role=alert]').textContent`))
	b.picture("login-wrong")
	b.click("a[href^='/u/signup']")
	b.picture("signup")
	b.fill("email", "bob@example.test", "password", "weak")
	b.click("button")
	b.picture("signup-weak")
	b.fill("password", password)
	b.click("button")

	require.Equal(t, "Secure your account", b.title())
	b.picture("otp-enrol")
	secret := strings.ReplaceAll(b.text("secret"), " ", "")
	b.fill("code", s.otp(secret))
	b.click("button")
	require.Equal(t, "Almost there", b.title())
	b.picture("recovery-code")
	recovery := b.text("recovery-code")
	b.script(`document.querySelector('input[type=checkbox]').click()`)
	b.click("button")
	require.Equal(t, "Authorize App", b.title())
	b.picture("consent")
	b.click("button[value=accept]")
	require.Equal(t, "app /cb", b.title())
	require.NotEmpty(t, b.text("code"))

	b.open(start())
	require.NotEmpty(t, b.text("code"), "single sign-on")

	b.open(s.server.URL + "/oidc/logout?" + query("client_id", "third", "post_logout_redirect_uri", app.URL+"/bye"))
	require.Equal(t, "Log out", b.title())
	b.picture("logout")
	b.click("button")
	require.Equal(t, "app /bye", b.title())

	b.open(start("login_hint", "bob@example.test"))
	b.click("a[href^='/u/reset-password']")
	b.picture("forgot")
	b.fill("email", "bob@example.test")
	b.click("button")
	require.Equal(t, "Check your email", b.title())
	b.picture("forgot-sent")
	b.open(s.lastMail()["link"].(string))
	require.Equal(t, "Change your password", b.title())
	b.picture("reset")
	b.fill("password", "Better-Horse-77", "again", "Better-Horse-77")
	b.click("button")
	require.Equal(t, "Password changed", b.title())

	s.store.Clock().Advance(time.Minute)
	b.open(start("login_hint", "bob@example.test"))
	b.fill("password", "Better-Horse-77")
	b.click("button")
	require.Equal(t, "Verify your identity", b.title())
	b.picture("otp")
	b.fill("code", s.otp(secret))
	b.click("button")
	require.NotEmpty(t, b.text("code"))

	b.open(start("prompt", "login"))
	b.fill("username", "bob@example.test", "password", "Better-Horse-77")
	b.click("button")
	b.click("a[href^='/u/mfa-recovery']")
	b.picture("recovery")
	b.fill("code", recovery)
	b.click("button")
	require.Equal(t, "Almost there", b.title())
	b.script(`document.querySelector('input[type=checkbox]').click()`)
	b.click("button")
	require.NotEmpty(t, b.text("code"))

	b.open(s.server.URL + "/v2/logout")
	require.Equal(t, "Logged out", b.title())
	b.picture("logged-out")
	b.open(s.server.URL + authorizeURL("third", "redirect_uri", "https://evil.test/"))
	require.Equal(t, "Callback URL mismatch", b.title())
	b.picture("error")
	b.open(s.server.URL + "/activate")
	b.picture("activate")
	d := s.form("/oauth/device/code", "client_id", "third")
	b.fill("user_code", d.body["user_code"].(string))
	b.click("button")
	require.Equal(t, "Device confirmation", b.title())
	b.picture("device")

	s.put("organizations", "org_1", doc{"id": "org_1", "name": "north", "display_name": "North"})
	s.put("organizations/connections", state.Key("org_1", "con_1"), doc{"organization_id": "org_1", "connection_id": "con_1"})
	s.client("org", doc{"organization_usage": "require", "organization_require_behavior": "pre_login_prompt"})
	b.open(s.server.URL + authorizeURL("org"))
	require.Equal(t, "Your organization", b.title())
	b.picture("organization")

	// With scripts on, a form_post answer sends itself.
	b.do("Emulation.setScriptExecutionDisabled", doc{"value": false})
	b.open(start("prompt", "login"))
	b.fill("username", "bob@example.test", "password", "Better-Horse-77")
	b.click("button")
	s.store.Clock().Advance(time.Minute)
	b.fill("code", s.otp(secret))
	b.click("button")
	require.Equal(t, "app /cb", b.title())
	b.open(start("response_mode", "form_post"))
	if b.script(`location.pathname`) != "/cb" {
		b.after(func() {})
	}
	require.NotEmpty(t, b.text("code"))
}
