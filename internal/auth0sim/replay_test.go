package auth0sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
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

// score counts exchanges: sent, answered with the recorded status, and with the
// recorded answer as a whole.
type score struct{ sent, status, whole int }

func (s *score) add(o score) {
	s.sent, s.status, s.whole = s.sent+o.sent, s.status+o.status, s.whole+o.whole
}

func (s score) String() string {
	percent := func(n int) float64 { return 100 * float64(n) / float64(max(s.sent, 1)) }
	return fmt.Sprintf("exchanges %4d/%-4d (%.2f%%) status %4d/%-4d (%.2f%%)", s.whole, s.sent, percent(s.whole), s.status, s.sent, percent(s.status))
}

func (s score) reaches(t *testing.T, status, whole float64, what string) {
	t.Helper()
	require.GreaterOrEqual(t, 100*float64(s.status)/float64(s.sent), status, what)
	require.GreaterOrEqual(t, 100*float64(s.whole)/float64(s.sent), whole, what)
}

// TestReplay sends what recordings of the real API sent, and counts how many
// answers are the recorded ones.
//
// Some recordings read or change objects that existed before they began, under
// identifiers that they never learned: a server that begins empty answers 404
// where they have 200, and must. These exchanges are counted apart; what is
// left can be answered by rule. Of that, what still differs is listed by
// -v: a host on the public internet, another plan, or another recording that
// says the opposite.
func TestReplay(t *testing.T) {
	dir := sharedFile(t, "auth0-recordings")
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	h := newHarness(t, Config{Outbound: &http.Client{Transport: offline{}}})
	scores := map[string]*score{}
	var all, core, known, presumed score
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var r recording
		require.NoError(t, yaml.Unmarshal(raw, &r))
		h.reset()
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		for _, x := range replay(t, h, r) {
			if scores[x.family] == nil {
				scores[x.family] = &score{}
			}
			scores[x.family].add(x.score)
			all.add(x.score)
			if !has(coreFamilies, x.family) {
				continue
			}
			core.add(x.score)
			if x.presumes {
				presumed.add(x.score)
				continue
			}
			known.add(x.score)
			if x.status == 0 {
				t.Logf("%s %s", name, x.what)
			}
		}
	}
	for _, name := range sorted(scores) {
		t.Logf("%-28s %s", name, scores[name])
	}
	t.Logf("all                          %s", all)
	t.Logf("core                         %s", core)
	t.Logf("core, objects from before    %s", presumed)
	t.Logf("core without these           %s", known)
	all.reaches(t, 97.7, 90, "all")
	core.reaches(t, 97.5, 90.3, "core")
	known.reaches(t, 99.5, 92, "core, without what presumes objects from before the recording")
}

// offline is a network without anybody in it.
type offline struct{}

// RoundTrip implements http.RoundTripper.
func (offline) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, &net.DNSError{Err: "no such host", Name: r.URL.Hostname(), IsNotFound: true}
}

// exchange is one exchange as it went.
type exchange struct {
	score
	family   string
	what     string
	presumes bool // the path names an object that the recording did not make
}

// identifier matches what Auth0 names objects by: prefixed, 32 alphanumerics, 24
// hex digits, a user, or the row of x that redaction left of one.
var identifier = regexp.MustCompile(`^([a-z]+_[A-Za-z0-9]{16,}|[A-Za-z0-9]{32}|[0-9a-f]{24}|[a-z0-9-]+\|.+|x{20})$`)

func replay(t *testing.T, h *harness, r recording) (out []exchange) {
	l := likeness{ids: map[string]string{}}
	made := "" // writes and their answers
	for _, x := range r.Interactions {
		u, err := url.Parse(x.Request.URL)
		require.NoError(t, err)
		l.host = u.Host
		path := strings.TrimPrefix(u.EscapedPath(), "/api/v2")
		e := exchange{score: score{sent: 1}, family: strings.Split(path, "/")[1]}
		for _, part := range strings.Split(path, "/") {
			id, err := url.PathUnescape(part)
			require.NoError(t, err)
			e.presumes = e.presumes || x.Response.Code < 300 && identifier.MatchString(id) && !strings.Contains(made, id)
		}
		if x.Request.Method != http.MethodGet && !e.presumes {
			made += x.Request.Body + x.Response.Body
		}
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
		e.what = fmt.Sprintf("%s %s: status %d, recorded %d", x.Request.Method, path, w.Code, x.Response.Code)
		if w.Code == x.Response.Code {
			e.status = 1
			var want, got any
			if json.Unmarshal([]byte(x.Response.Body), &want) != nil { // nothing to compare
				e.whole = 1
			} else if json.Unmarshal(w.Body.Bytes(), &got) == nil && l.alike("", want, got) {
				e.whole = 1
			}
		}
		out = append(out, e)
	}
	return out
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
