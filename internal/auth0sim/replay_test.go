package auth0sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// recording is a go-vcr cassette.
type recording struct {
	Interactions []struct {
		Request struct {
			Body    string              `yaml:"body"`
			Headers map[string][]string `yaml:"headers"`
			URL     string              `yaml:"url"`
			Method  string              `yaml:"method"`
		} `yaml:"request"`
		Response struct {
			Body string `yaml:"body"`
			Code int    `yaml:"code"`
		} `yaml:"response"`
	} `yaml:"interactions"`
}

// coreFamilies are those that the simulator must answer best.
var coreFamilies = []string{"event-streams", "clients", "client-grants", "resource-servers", "roles", "users", "tenants", "guardian", "connections",
	"actions", "organizations", "attack-protection", "log-streams"}

type score struct{ sent, status, whole int }

// TestReplay sends what recordings of the real API sent, and counts how many
// answers are the recorded ones. The thresholds are what is reached, rounded
// down: the rest of the recordings need a tenant that was not empty when they
// were made, values that the server draws at random, or documents from the
// public internet; so the thresholds are what an honest server can reach.
func TestReplay(t *testing.T) {
	dir := sharedFile(t, "auth0-recordings")
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	h := newHarness(t, Config{})
	scores := map[string]*score{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var r recording
		require.NoError(t, yaml.Unmarshal(raw, &r))
		h.reset()
		replay(t, h, r, scores)
	}
	var all, core score
	for _, name := range sorted(scores) {
		s := scores[name]
		t.Logf("%-28s exchanges %4d/%-4d status %4d/%-4d", name, s.whole, s.sent, s.status, s.sent)
		all.sent, all.status, all.whole = all.sent+s.sent, all.status+s.status, all.whole+s.whole
		if has(coreFamilies, name) {
			core.sent, core.status, core.whole = core.sent+s.sent, core.status+s.status, core.whole+s.whole
		}
	}
	percent := func(a, b int) float64 { return 100 * float64(a) / float64(b) }
	t.Logf("core: status %.1f%% exchanges %.1f%%; all: status %.1f%% exchanges %.1f%%", percent(core.status, core.sent), percent(core.whole, core.sent),
		percent(all.status, all.sent), percent(all.whole, all.sent))
	require.GreaterOrEqual(t, percent(core.status, core.sent), 97.0)
	require.GreaterOrEqual(t, percent(core.whole, core.sent), 90.0)
	require.GreaterOrEqual(t, percent(all.status, all.sent), 97.0)
	require.GreaterOrEqual(t, percent(all.whole, all.sent), 90.0)
}

func replay(t *testing.T, h *harness, r recording, scores map[string]*score) {
	l := likeness{ids: map[string]string{}}
	for _, x := range r.Interactions {
		u, err := url.Parse(x.Request.URL)
		require.NoError(t, err)
		l.host = u.Host
		family := strings.Split(strings.TrimPrefix(u.Path, "/api/v2/"), "/")[0]
		if scores[family] == nil {
			scores[family] = &score{}
		}
		s := scores[family]
		s.sent++
		target := l.translate(u.EscapedPath())
		if u.RawQuery != "" {
			target += "?" + l.translate(u.RawQuery)
		}
		req := httptest.NewRequest(x.Request.Method, "https://"+h.server.Domain()+target, strings.NewReader(l.translate(x.Request.Body)))
		for _, v := range x.Request.Headers["Content-Type"] {
			req.Header.Set("Content-Type", v)
		}
		req.Header.Set("Authorization", "Bearer "+h.token)
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, req)
		require.NotEqual(t, http.StatusInternalServerError, w.Code, "%s %s: %s", x.Request.Method, target, w.Body)
		if w.Code != x.Response.Code {
			continue
		}
		s.status++
		var want, got any
		if json.Unmarshal([]byte(x.Response.Body), &want) != nil {
			s.whole++ // nothing to compare
			continue
		}
		if json.Unmarshal(w.Body.Bytes(), &got) == nil && l.alike("", want, got) {
			s.whole++
		}
	}
}

// likeness compares answers of two tenants: identifiers are learned as they
// come, what differs between tenants or moments is not compared.
type likeness struct {
	ids  map[string]string
	host string
}

// translate replaces recorded identifiers by those learned here.
func (l *likeness) translate(s string) string {
	known := make([]string, 0, len(l.ids))
	for id := range l.ids {
		known = append(known, id)
	}
	sort.Slice(known, func(i, j int) bool { return len(known[i]) > len(known[j]) })
	s = strings.ReplaceAll(s, l.host, "localhost:4430")
	for _, id := range known {
		s = strings.ReplaceAll(s, id, l.ids[id])
		s = strings.ReplaceAll(s, url.PathEscape(id), url.PathEscape(l.ids[id]))
	}
	return s
}

var (
	chosenByServer = regexp.MustCompile(`(^|_)(id|ids|kid|secret|ticket|token|deployed_version|provisioning_ticket_url)$`)
	ofTheMoment    = regexp.MustCompile(`(_at|_on|expires|picture|fingerprint|thumbprint|thumbprint_sha256|subject|cert|pkcs7|public_key|signing_keys|aws_partner_event_source|total|domain|tenant|verification|hash|number|next|start|limit|length|version_id|connection_id|current_since|pkcs|date|time|supported_triggers|ip|user_agent|redirect_uri|entity_id|sign_in_endpoint|callback_url|origin_domain_name)$`)
)

func (l *likeness) alike(key string, want, got any) bool {
	switch w := want.(type) {
	case map[string]any:
		g, isObject := got.(map[string]any)
		if !isObject {
			return false
		}
		same := true
		for k, v := range w { // to the end: there are identifiers to learn
			have, present := g[k]
			same = present && l.alike(k, v, have) && same
		}
		return same
	case []any:
		g, isList := got.([]any)
		if !isList || ofTheMoment.MatchString(key) {
			return isList
		}
		listing := key == "" || strings.HasSuffix(key, "s") && len(w) > 0 && isObject(w[0])
		same := true
		for i, v := range w {
			same = l.among(v, g, i, listing) && same
		}
		return same && (listing || len(g) <= len(w))
	case string:
		g, isText := got.(string)
		if !isText {
			return got == nil && ofTheMoment.MatchString(key)
		}
		if g == w || g == l.translate(w) {
			return true
		}
		if chosenByServer.MatchString(key) && len(w) >= 8 {
			if _, seen := l.ids[w]; !seen {
				l.ids[w] = g
			}
			return true
		}
		return ofTheMoment.MatchString(key) || strings.Contains(w, l.host) || strings.Contains(w, "auth0-dev")
	default:
		return ofTheMoment.MatchString(key) || fmt.Sprint(want) == fmt.Sprint(got)
	}
}

func isObject(v any) bool { _, ok := v.(map[string]any); return ok }

// among finds the item of a list that stands for the recorded one: by an
// identifying member, else by its place. A listing may lack items that the
// recorded tenant held before.
func (l *likeness) among(want any, items []any, at int, listing bool) bool {
	w, object := want.(map[string]any)
	if !object {
		text, isText := want.(string)
		for _, it := range items {
			if fmt.Sprint(it) == fmt.Sprint(want) || isText && it == l.translate(text) {
				return true
			}
		}
		return listing
	}
	for _, k := range []string{"id", "client_id", "user_id", "kid", "event_type", "permission_name", "value", "name", "key"} {
		text, named := w[k].(string)
		for _, it := range items {
			if o, ok := it.(map[string]any); ok && named && (o[k] == text || o[k] == l.translate(text)) {
				return l.alike("", want, o)
			}
		}
	}
	if listing {
		return true
	}
	return at < len(items) && l.alike("", want, items[at])
}

// harness is a simulator in this process, with a token for everything.
type harness struct {
	t       testing.TB
	server  *Server
	handler http.Handler
	token   string
}

func (h *harness) reset() {
	w := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodPost, "https://localhost:4430/_sim/reset", nil)
	req.RemoteAddr = "127.0.0.1:1"
	h.handler.ServeHTTP(w, req)
	require.Equal(h.t, http.StatusOK, w.Code, w.Body.String())
}

// call makes a Management API call; body may be nil, a string, or a value.
func (h *harness) call(method, path string, body any) (int, any) {
	h.t.Helper()
	w := h.do(method, "/api/v2"+path, body, map[string]string{"Authorization": "Bearer " + h.token})
	var v any
	if w.Body.Len() > 0 {
		require.NoError(h.t, json.Unmarshal(w.Body.Bytes(), &v), w.Body.String())
	}
	return w.Code, v
}

func (h *harness) do(method, path string, body any, headers map[string]string) *httptest.ResponseRecorder {
	var raw []byte
	switch b := body.(type) {
	case nil:
	case string:
		raw = []byte(b)
	default:
		var err error
		raw, err = json.Marshal(b)
		require.NoError(h.t, err)
	}
	req := httptest.NewRequest(method, "https://localhost:4430"+path, bytes.NewReader(raw))
	req.RemoteAddr = "127.0.0.1:1"
	req.Header.Set("Content-Type", "application/json")
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, req)
	return w
}

// must makes a call that has to succeed with the status, and returns the
// answer's object.
func (h *harness) must(status int, method, path string, body any) map[string]any {
	h.t.Helper()
	code, v := h.call(method, path, body)
	require.Equal(h.t, status, code, "%s %s: %v", method, path, v)
	o, _ := v.(map[string]any)
	return o
}
