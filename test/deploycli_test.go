package test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// TestDeployCLI runs auth0-deploy-cli, unchanged, against the simulator over
// TLS: what it exports it can import, and then nothing has changed; and a
// changed file changes what it says and nothing else.
func TestDeployCLI(t *testing.T) {
	cli := installDeployCLI(t)
	// Half of an export is the texts of prompts, one call each; once is enough.
	changing := cli
	changing.excluded = `["prompts"]`

	t.Run("an import of the export changes nothing", func(t *testing.T) {
		t.Parallel()
		s := startSimulator(t)
		seed(t, s)
		before, after := t.TempDir(), t.TempDir()
		cli.run(t, s, true, "export", "-f", "yaml", "-o", before)
		s.clearRequests(t)
		cli.run(t, s, true, "import", "-i", filepath.Join(before, "tenant.yaml"))

		var log struct {
			Requests []struct {
				Method, Path string
				Status       int
			}
		}
		s.control(t, http.MethodGet, "requests", "", &log)
		writes := 0
		for _, r := range log.Requests {
			if r.Method == http.MethodGet || r.Path == "/oauth/token" {
				continue
			}
			writes++
			// It writes what is already so; a build may not be ready at once.
			require.Truef(t, r.Status < 300 || strings.HasSuffix(r.Path, "/deploy"), "%s %s: %d", r.Method, r.Path, r.Status)
			if r.Method == http.MethodPost || r.Method == http.MethodDelete {
				require.Regexp(t, `/deploy$|/roles/[^/]+/permissions$`, r.Path, "created or deleted something")
			}
		}
		require.Greater(t, writes, 40)

		cli.run(t, s, true, "export", "-f", "yaml", "-o", after)
		require.Equal(t, readTree(t, before), readTree(t, after))
	})

	t.Run("a changed directory, nothing deleted", func(t *testing.T) {
		t.Parallel()
		s := startSimulator(t)
		seed(t, s)
		before, changed, after := t.TempDir(), t.TempDir(), t.TempDir()
		changing.run(t, s, false, "export", "-f", "directory", "-o", before)
		files := readTree(t, before)
		changeTenant(object(t, files["tenant.json"]))
		changeShop(object(t, files["clients/Shop.json"]))
		files["roles/Auditor.json"] = auditor()
		files[claimsCode] = changedCode(t, files)
		retired, globex := files["clients/Retired.json"], files["organizations/globex.json"]
		require.NotNil(t, retired)
		require.NotNil(t, globex)
		delete(files, "clients/Retired.json")
		delete(files, "organizations/globex.json")
		writeTree(t, changed, files)
		changing.run(t, s, false, "import", "-i", changed)

		changing.run(t, s, false, "export", "-f", "directory", "-o", after)
		files["clients/Retired.json"], files["organizations/globex.json"] = retired, globex
		require.Equal(t, files, readTree(t, after))
	})

	t.Run("a changed file, and what it lacks is deleted", func(t *testing.T) {
		t.Parallel()
		s := startSimulator(t)
		seed(t, s)
		before, changed := t.TempDir(), t.TempDir()
		changing.run(t, s, true, "export", "-f", "yaml", "-o", before)
		files := readTree(t, before)
		tenant := object(t, files["tenant.yaml"])
		changeTenant(object(t, tenant["tenant"]))
		changeShop(object(t, named(t, tenant, "clients", "Shop")))
		tenant["roles"] = append(tenant["roles"].([]any), auditor())
		files[claimsCode] = changedCode(t, files)
		drop(t, tenant, "clients", "Retired")
		drop(t, tenant, "organizations", "globex")
		writeTree(t, changed, files)
		want := s.counts(t)
		changing.run(t, s, true, "import", "-i", filepath.Join(changed, "tenant.yaml"))

		want["clients"]--
		want["organizations"]--
		want["roles"]++
		want["roles/permissions"]++
		want["actions/versions"] += 2 // each action is deployed anew
		have := s.counts(t)
		for family, n := range want {
			require.Equal(t, n, have[family], family)
		}
		m := s.manager(t)
		clients := m.get(t, "clients?is_global=false")
		var names []string
		for _, c := range clients.([]any) {
			names = append(names, nameOf(c))
			if nameOf(c) == "Shop" {
				require.Subset(t, c, map[string]any{"description": "What customers see first", "client_metadata": map[string]any{"team": "checkout", "tier": "1"}})
			}
		}
		require.Contains(t, names, "Shop")
		require.NotContains(t, names, "Retired")
		require.Subset(t, m.get(t, "tenants/settings"), map[string]any{"friendly_name": "Acme Corporation", "session_lifetime": 48.0})
	})
}

// claimsCode is where an export puts the code of the seeded action.
const claimsCode = "actions/Claims/code.js"

func changeTenant(settings map[string]any) {
	settings["friendly_name"] = "Acme Corporation"
	settings["session_lifetime"] = json.Number("48")
}

func changeShop(client map[string]any) {
	client["description"] = "What customers see first"
	client["callbacks"] = []any{"https://shop.acme.example/callback", "https://shop.acme.example/second"}
	client["client_metadata"] = map[string]any{"team": "checkout", "tier": "1"}
}

func auditor() map[string]any {
	return map[string]any{"name": "Auditor", "description": "Reads everything", "type": "tenant",
		"permissions": []any{map[string]any{"permission_name": "read:stock", "resource_server_identifier": "urn:acme:stock"}}}
}

func changedCode(t *testing.T, files map[string]any) string {
	t.Helper()
	code, isText := files[claimsCode].(string)
	require.True(t, isText, "%s is not exported", claimsCode)
	return code + "// changed\n"
}

// object asserts that a document is one.
func object(t *testing.T, v any) map[string]any {
	t.Helper()
	o, isObject := v.(map[string]any)
	require.Truef(t, isObject, "%T is not an object", v)
	return o
}

// named finds the element of a list that has a name.
func named(t *testing.T, in map[string]any, list, name string) any {
	t.Helper()
	for _, e := range in[list].([]any) {
		if object(t, e)["name"] == name {
			return e
		}
	}
	t.Fatalf("%s: none is named %q", list, name)
	return nil
}

func drop(t *testing.T, from map[string]any, list, name string) {
	t.Helper()
	gone := named(t, from, list, name)
	from[list] = slices.DeleteFunc(from[list].([]any), func(e any) bool { return object(t, e)["name"] == object(t, gone)["name"] })
}

// readTree reads what the deploy CLI wrote: JSON and YAML as documents, whose
// lists of named things have no order, and all else as text.
func readTree(t *testing.T, dir string) map[string]any {
	t.Helper()
	out := map[string]any{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		var document any
		switch filepath.Ext(path) {
		case ".yaml":
			var parsed any
			if err := yaml.Unmarshal(content, &parsed); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if content, err = json.Marshal(parsed); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			fallthrough
		case ".json":
			numbers := json.NewDecoder(bytes.NewReader(content))
			numbers.UseNumber()
			if err := numbers.Decode(&document); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		default:
			document = string(content)
		}
		sortNamed(document)
		out[filepath.ToSlash(name)] = document
		return nil
	}))
	require.NotEmpty(t, out)
	return out
}

// sortNamed sorts all lists of named objects in a document by name.
func sortNamed(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			sortNamed(e)
		}
	case []any:
		for _, e := range v {
			sortNamed(e)
		}
		slices.SortStableFunc(v, func(a, b any) int { return cmp.Compare(nameOf(a), nameOf(b)) })
	}
}

func nameOf(v any) string {
	o, _ := v.(map[string]any)
	name, _ := o["name"].(string)
	return name
}

// writeTree is the reverse of readTree; JSON is YAML too.
func writeTree(t *testing.T, dir string, files map[string]any) {
	t.Helper()
	for name, document := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		content, isText := document.(string)
		if !isText {
			raw, err := json.MarshalIndent(document, "", "  ")
			require.NoError(t, err)
			content = string(raw)
		}
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
}

// counts says how much of each collection the tenant holds, but for what grows
// with each call and for settings, which are stored when they are first written.
func (s *stack) counts(t *testing.T) map[string]int {
	t.Helper()
	var objects struct{ Families map[string]int }
	s.control(t, http.MethodGet, "objects", "", &objects)
	for _, family := range []string{"logs", "events", "courier", "guardian/factors", "guardian/settings", "attack-protection"} {
		delete(objects.Families, family)
	}
	return objects.Families
}

// reference is ${name} in seed.json: the identifier of what an earlier call made.
var reference = regexp.MustCompile(`\$\{(\w+)\}`)

// seed fills a tenant through the Management API with the calls in seed.json,
// with a pause when the tenant's rate limit asks for one.
func seed(t *testing.T, s *stack) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(deployCLIData, "seed.json"))
	require.NoError(t, err)
	var calls []struct {
		Do, As string
		Body   json.RawMessage
		Until  map[string]any
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&calls))
	made := map[string]string{}
	fill := func(text string) string {
		return reference.ReplaceAllStringFunc(text, func(ref string) string {
			id, known := made[ref[2:len(ref)-1]]
			require.Truef(t, known, "%s is not made yet", ref)
			return id
		})
	}
	m := s.manager(t)
	for _, call := range calls {
		method, path, _ := strings.Cut(call.Do, " ")
		for settled := false; !settled; {
			status, answer, wait := m.call(t, method, fill(path), fill(string(call.Body)))
			if status == http.StatusTooManyRequests {
				<-time.After(wait)
				continue
			}
			require.Lessf(t, status, 300, "%s: %v", call.Do, answer)
			if list, isList := answer.([]any); isList {
				require.NotEmpty(t, list, call.Do)
				answer = list[0]
			}
			o, _ := answer.(map[string]any)
			settled = true
			for k, v := range call.Until {
				settled = settled && o[k] == v
			}
			if call.As != "" {
				for _, k := range []string{"id", "client_id", "user_id", "custom_domain_id"} {
					if id, isText := o[k].(string); isText {
						made[call.As] = id
						break
					}
				}
			}
		}
	}
}

// manager calls the Management API with one token and one connection.
type manager struct {
	client *http.Client
	base   string
	token  string
}

func (s *stack) manager(t *testing.T) *manager {
	t.Helper()
	c, err := s.http()
	require.NoError(t, err)
	m := &manager{client: c, base: "https://" + s.endpoints.Auth0.Domain}
	secret, err := os.ReadFile(s.endpoints.Auth0.ClientSecretFile)
	require.NoError(t, err)
	res, err := c.PostForm(m.base+"/oauth/token", map[string][]string{
		"grant_type": {"client_credentials"}, "audience": {m.base + "/api/v2/"},
		"client_id": {s.endpoints.Auth0.ClientID}, "client_secret": {string(secret)},
	})
	require.NoError(t, err)
	defer res.Body.Close()
	var granted struct {
		Token string `json:"access_token"`
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&granted))
	require.NotEmpty(t, granted.Token, res.Status)
	m.token = granted.Token
	return m
}

// get returns the answer to a call that must succeed.
func (m *manager) get(t *testing.T, path string) any {
	t.Helper()
	status, answer, _ := m.call(t, http.MethodGet, "/"+path, "")
	require.Equal(t, http.StatusOK, status, answer)
	return answer
}

// call returns the answer, and for how long a 429 asks to wait.
func (m *manager) call(t *testing.T, method, path, body string) (int, any, time.Duration) {
	t.Helper()
	req, err := http.NewRequest(method, m.base+"/api/v2"+strings.ReplaceAll(path, "|", "%7C"), strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+m.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := m.client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	var wait time.Duration
	if res.StatusCode == http.StatusTooManyRequests {
		reset, err := strconv.ParseInt(res.Header.Get("x-ratelimit-reset"), 10, 64)
		require.NoError(t, err)
		wait = time.Until(time.Unix(reset, 0))
	}
	var answer any
	if err := json.NewDecoder(res.Body).Decode(&answer); !errors.Is(err, io.EOF) {
		require.NoError(t, err, "%s %s: %s", method, path, res.Status)
	}
	return res.StatusCode, answer, wait
}
