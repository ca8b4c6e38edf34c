package authapi_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/tenonhq/tenon/internal/auth0sim/authapi"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

type doc = map[string]any

// sim is a tenant with its Authentication API on a loopback port.
type sim struct {
	t      *testing.T
	tenant *state.Tenant
	store  *state.Store
	server *httptest.Server
	domain string
	issuer string
	failed *strings.Builder // what the server logged: nothing, in a good test
}

const (
	callback   = "https://app.example.test/callback"
	password   = "Correct-Horse-9"
	api        = "https://api.example.test"
	rolesClaim = "https://tenon.example/roles"
)

func newSim(t *testing.T) *sim {
	t.Helper()
	store, err := state.Open(state.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	s := &sim{t: t, store: store, tenant: store.Tenant("acme"), failed: &strings.Builder{}}
	srv, err := authapi.New(authapi.Config{
		Tenant:          func(*http.Request) *state.Tenant { return s.tenant },
		ActionTimeLimit: time.Second,
		Logger:          slog.New(slog.NewTextHandler(s.failed, nil)),
	})
	require.NoError(t, err)
	s.server = httptest.NewTLSServer(srv.Handler())
	t.Cleanup(func() {
		s.server.Close()
		require.Empty(t, s.failed.String(), "the server logged failures")
	})
	s.domain = strings.TrimPrefix(s.server.URL, "https://")
	s.issuer = s.server.URL + "/"
	s.put("tenants/settings", "settings", doc{"friendly_name": "Acme & Söhne", "default_directory": "Users"})
	s.put("connections", "con_1", doc{"id": "con_1", "name": "Users", "strategy": "auth0", "options": doc{"passwordPolicy": "good"}})
	s.put("resource-servers", "rs1", doc{
		"id": "rs1", "identifier": api, "name": "API", "token_lifetime": 3600.0, "allow_offline_access": true,
		"skip_consent_for_verifiable_first_party_clients": true,
		"scopes": []any{doc{"value": "read:things", "description": "Read things"}, doc{"value": "write:things"}},
	})
	s.put("resource-servers", "sys", doc{
		"id": "sys", "identifier": s.issuer + "api/v2/", "is_system": true, "token_lifetime": 86400.0,
		"scopes": []any{doc{"value": "read:users"}, doc{"value": "create:users"}},
	})
	s.client("web", nil)
	s.user("ada@example.test", nil)
	return s
}

func (s *sim) update(fn func(*state.Tx) error) {
	s.t.Helper()
	require.NoError(s.t, s.tenant.Update(context.Background(), fn))
}

func (s *sim) put(family, id string, d doc) {
	s.t.Helper()
	s.update(func(tx *state.Tx) error { return tx.Put(family, id, d) })
}

func (s *sim) get(family, id string) doc {
	s.t.Helper()
	var out doc
	require.NoError(s.t, s.tenant.View(context.Background(), func(tx *state.Tx) error {
		d, _, err := tx.Get(family, id)
		out = d
		return err
	}))
	return out
}

func (s *sim) list(family string) []doc {
	s.t.Helper()
	var out []doc
	require.NoError(s.t, s.tenant.View(context.Background(), func(tx *state.Tx) error {
		d, _, err := tx.List(family, state.ListOptions{})
		out = d
		return err
	}))
	return out
}

// change edits a stored document.
func (s *sim) change(family, id string, edit func(doc)) {
	s.t.Helper()
	d := s.get(family, id)
	require.NotNil(s.t, d, "%s %s", family, id)
	edit(d)
	s.put(family, id, d)
}

// client stores a client that may do everything, changed by over.
func (s *sim) client(id string, over doc) {
	s.t.Helper()
	d := doc{
		"client_id": id, "client_secret": id + "-secret", "name": "App " + id, "is_first_party": true, "oidc_conformant": true,
		"callbacks": []any{callback}, "allowed_logout_urls": []any{"https://app.example.test/bye"},
		"grant_types": []any{
			"authorization_code", "refresh_token", "client_credentials", "password", "http://auth0.com/oauth/grant-type/password-realm",
			"urn:ietf:params:oauth:grant-type:device_code", "http://auth0.com/oauth/grant-type/passwordless/otp",
			"http://auth0.com/oauth/grant-type/mfa-otp", "http://auth0.com/oauth/grant-type/mfa-recovery-code", "implicit",
		},
		"refresh_token": doc{"rotation_type": "rotating", "expiration_type": "expiring", "leeway": 0.0, "token_lifetime": 2592000.0, "idle_token_lifetime": 1296000.0},
	}
	for k, v := range over {
		d[k] = v
	}
	s.put("clients", id, d)
	s.put("connections/clients", state.Key("con_1", id), doc{"connection_id": "con_1", "client_id": id})
}

func (s *sim) user(email string, profile doc) string {
	s.t.Helper()
	p := doc{"email": email}
	for k, v := range profile {
		p[k] = v
	}
	id := ""
	s.update(func(tx *state.Tx) error {
		conn, _, err := tx.Get("connections", "con_1")
		if err != nil {
			return err
		}
		u, err := tx.CreateUser(state.NewUser{Connection: conn, Password: password, Profile: p})
		if err == nil {
			id = u["user_id"].(string)
		}
		return err
	})
	return id
}

func (s *sim) userID(email string) string {
	s.t.Helper()
	for _, u := range s.list("users") {
		if u["email"] == email {
			return u["user_id"].(string)
		}
	}
	require.Fail(s.t, "no user "+email)
	return ""
}

func (s *sim) role(user, name string, permissions ...string) {
	id := "rol_" + name
	s.put("roles", id, doc{"id": id, "name": name})
	s.put("users/roles", state.Key(user, id), doc{"user_id": user, "role_id": id})
	for _, p := range permissions {
		s.put("roles/permissions", state.Key(id, api, p), doc{"role_id": id, "resource_server_identifier": api, "permission_name": p})
	}
}

// action deploys code and binds it, after those already bound.
func (s *sim) action(trigger, code string, secrets doc) {
	n := len(s.list("actions"))
	id := "act" + string(rune('a'+n))
	s.put("actions", id, doc{"id": id, "name": "Action " + id, "deployed_version": doc{"id": "v-" + id}})
	s.put("actions/versions", "v-"+id, doc{"id": "v-" + id, "action_id": id, "code": code, state.Private: doc{"secrets": secrets}})
	b := s.get("actions/triggers/bindings", trigger)
	if b == nil {
		b = doc{"bindings": []any{}}
	}
	b["bindings"] = append(b["bindings"].([]any), doc{"id": "b" + id, "action_id": id})
	s.put("actions/triggers/bindings", trigger, b)
}

func (s *sim) logTypes() []string {
	var out []string
	for _, l := range s.list("logs") {
		out = append(out, l["type"].(string))
	}
	return out
}

func (s *sim) lastMail() doc {
	s.t.Helper()
	m := s.list("outbox")
	require.NotEmpty(s.t, m, "no mail was sent")
	return m[len(m)-1]
}

// browser is a person with cookies. It stops before leaving the tenant.
type browser struct {
	s      *sim
	client *http.Client
	header http.Header
}

func (s *sim) browser() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(s.t, err)
	return &browser{s: s, header: http.Header{}, client: &http.Client{
		Transport:     s.server.Client().Transport,
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// view is what a browser shows: a page, or an address outside of the tenant.
type view struct {
	s      *sim
	status int
	header http.Header
	at     *url.URL
	left   *url.URL // where the tenant sent the browser; nil while on a page
	body   string
	root   *html.Node
}

func (b *browser) do(req *http.Request) *view {
	b.s.t.Helper()
	for range 20 {
		for k, v := range b.header {
			req.Header[k] = v
		}
		resp, err := b.client.Do(req)
		require.NoError(b.s.t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(b.s.t, err)
		require.NoError(b.s.t, resp.Body.Close())
		v := &view{s: b.s, status: resp.StatusCode, header: resp.Header, at: req.URL, body: string(body)}
		if resp.StatusCode/100 != 3 {
			v.root, err = html.Parse(strings.NewReader(v.body))
			require.NoError(b.s.t, err)
			return v
		}
		next, err := req.URL.Parse(resp.Header.Get("Location"))
		require.NoError(b.s.t, err)
		if next.Host != b.s.domain {
			v.left = next
			return v
		}
		req, err = http.NewRequest(http.MethodGet, next.String(), nil)
		require.NoError(b.s.t, err)
	}
	require.Fail(b.s.t, "too many redirects")
	return nil
}

func (b *browser) open(path string) *view {
	b.s.t.Helper()
	u, err := url.Parse(b.s.issuer)
	require.NoError(b.s.t, err)
	u, err = u.Parse(path)
	require.NoError(b.s.t, err)
	req, err := http.NewRequest(http.MethodGet, u.String(), nil)
	require.NoError(b.s.t, err)
	return b.do(req)
}

// submit posts the page's first form, as its HTML describes it, with values
// put into its inputs. A name that the form lacks fails the test.
func (b *browser) submit(v *view, values map[string]string) *view {
	b.s.t.Helper()
	require.NotNil(b.s.t, v.root, "not on a page but at %v", v.left)
	form := find(v.root, "form", nil)
	require.NotNil(b.s.t, form, "no form on the page:\n%s", v.body)
	data := url.Values{}
	known := map[string]bool{}
	walk(form, func(n *html.Node) {
		name := attr(n, "name")
		if name == "" {
			return
		}
		known[name] = true
		switch {
		case n.Data == "input" && attr(n, "type") != "checkbox":
			data.Set(name, attr(n, "value"))
		case n.Data == "button" && !data.Has(name) && attr(n, "value") != "":
			data.Set(name, attr(n, "value"))
		}
	})
	for k, val := range values {
		require.True(b.s.t, known[k], "the form has no %q:\n%s", k, v.body)
		data.Set(k, val)
	}
	to, err := v.at.Parse(attr(form, "action"))
	require.NoError(b.s.t, err)
	if to.Host != b.s.domain { // a form_post response
		v.left = to
		v.left.RawQuery = data.Encode()
		return v
	}
	req, err := http.NewRequest(http.MethodPost, to.String(), strings.NewReader(data.Encode()))
	require.NoError(b.s.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(req)
}

// link follows the page's link whose text contains the words.
func (b *browser) link(v *view, words string) *view {
	b.s.t.Helper()
	var to string
	walk(v.root, func(n *html.Node) {
		if n.Data == "a" && strings.Contains(text(n), words) {
			to = attr(n, "href")
		}
	})
	require.NotEmpty(b.s.t, to, "no link %q:\n%s", words, v.body)
	u, err := v.at.Parse(to)
	require.NoError(b.s.t, err)
	return b.open(u.String())
}

func (v *view) title() string {
	v.s.t.Helper()
	require.NotNil(v.s.t, v.root, "not on a page but at %v", v.left)
	return strings.TrimSpace(text(find(v.root, "h1", nil)))
}

func (v *view) problem() string {
	n := find(v.root, "p", func(n *html.Node) bool { return attr(n, "role") == "alert" })
	if n == nil {
		return ""
	}
	return strings.TrimSpace(text(n))
}

func (v *view) byID(id string) string {
	v.s.t.Helper()
	n := find(v.root, "", func(n *html.Node) bool { return attr(n, "id") == id })
	require.NotNil(v.s.t, n, "no #%s:\n%s", id, v.body)
	return strings.TrimSpace(text(n))
}

func (v *view) answer() url.Values {
	v.s.t.Helper()
	if v.left == nil {
		require.Fail(v.s.t, "still on a page", "%s (%d) %q %s", v.at.Path, v.status, v.title(), v.problem())
	}
	if v.left.Fragment != "" {
		q, err := url.ParseQuery(v.left.EscapedFragment())
		require.NoError(v.s.t, err)
		return q
	}
	return v.left.Query()
}

func walk(n *html.Node, fn func(*html.Node)) {
	if n.Type == html.ElementNode {
		fn(n)
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		walk(c, fn)
	}
}

func find(n *html.Node, tag string, ok func(*html.Node) bool) *html.Node {
	var out *html.Node
	walk(n, func(n *html.Node) {
		if out == nil && (tag == "" || n.Data == tag) && (ok == nil || ok(n)) {
			out = n
		}
	})
	return out
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var b strings.Builder
	var rec func(*html.Node)
	rec = func(n *html.Node) {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			rec(c)
		}
	}
	rec(n)
	return b.String()
}

// reply is an answer of the API.
type reply struct {
	status int
	header http.Header
	text   string
	body   doc
}

func (s *sim) send(method, path, contentType, body string, header map[string]string) reply {
	s.t.Helper()
	req, err := http.NewRequest(method, s.server.URL+path, strings.NewReader(body))
	require.NoError(s.t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := s.server.Client().Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	r := reply{status: resp.StatusCode, header: resp.Header, text: string(raw)}
	if json.Unmarshal(raw, &r.body) != nil {
		r.body = nil
	}
	return r
}

// form posts a form: name, value, name, value, …
func (s *sim) form(path string, pairs ...string) reply {
	s.t.Helper()
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return s.send("POST", path, "application/x-www-form-urlencoded", v.Encode(), nil)
}

func (s *sim) json(path string, d doc) reply {
	s.t.Helper()
	raw, err := json.Marshal(d)
	require.NoError(s.t, err)
	return s.send("POST", path, "application/json", string(raw), nil)
}

// refused checks an OAuth error answer.
func (r reply) refused(t *testing.T, status int, code, description string) {
	t.Helper()
	require.Equal(t, status, r.status, r.text)
	require.Equal(t, code, r.body["error"], r.text)
	require.Contains(t, r.body["error_description"], description)
	require.Equal(t, "no-store", r.header.Get("Cache-Control"))
}

func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// authorizeURL is an authorization request of the client, with more parameters.
func authorizeURL(client string, pairs ...string) string {
	base := []string{"client_id", client, "response_type", "code", "redirect_uri", callback, "scope", "openid profile email", "state", "s1"}
	v := url.Values{}
	for i := 0; i < len(base); i += 2 {
		v.Set(base[i], base[i+1])
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			v.Del(pairs[i])
		} else {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return "/authorize?" + v.Encode()
}

// login walks through the login page.
func (b *browser) login(v *view, email string) *view {
	b.s.t.Helper()
	require.Equal(b.s.t, "Welcome", v.title())
	return b.submit(v, map[string]string{"username": email, "password": password})
}

// code gets an authorization code for ada.
func (s *sim) code(b *browser, client string, pairs ...string) string {
	s.t.Helper()
	v := b.open(authorizeURL(client, pairs...))
	if v.left == nil {
		v = b.login(v, "ada@example.test")
	}
	code := v.answer().Get("code")
	require.NotEmpty(s.t, code, "%v", v.left)
	return code
}

func claims(t *testing.T, token string) doc {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3, "not a JWT: %s", token)
	return decodePart(t, parts[1])
}

func tokenHeader(t *testing.T, token string) doc {
	t.Helper()
	return decodePart(t, strings.Split(token, ".")[0])
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	return string(raw)
}
