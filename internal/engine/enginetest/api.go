package enginetest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// api is the suite's own look at the tenant.
type api struct {
	t      *testing.T
	base   string
	client *http.Client
	token  string
}

type document = map[string]any

func newAPI(t *testing.T, target Target) *api {
	pem, err := os.ReadFile(target.CAFile)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	a := &api{t: t, base: "https://" + target.Domain, client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}}
	t.Cleanup(a.client.CloseIdleConnections)
	res, err := a.client.PostForm(a.base+"/oauth/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {target.ClientID}, "client_secret": {target.ClientSecret.Reveal()},
		"audience": {a.base + "/api/v2/"},
	})
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&token))
	require.NotEmpty(t, token.AccessToken, "status %d", res.StatusCode)
	a.token = token.AccessToken
	return a
}

// call sends one request and decodes the answer; a status of 400 or more fails
// the test.
func (a *api) call(method, path string, body any) any {
	a.t.Helper()
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		require.NoError(a.t, err)
		sent = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.base+"/api/v2/"+path, sent)
	require.NoError(a.t, err)
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := a.client.Do(req)
	require.NoError(a.t, err)
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	require.NoError(a.t, err)
	require.Less(a.t, res.StatusCode, 400, "%s %s: %s", method, path, data)
	if len(data) == 0 {
		return nil
	}
	var out any
	require.NoError(a.t, json.Unmarshal(data, &out))
	return out
}

func (a *api) get(path string) document {
	a.t.Helper()
	d, _ := a.call(http.MethodGet, path, nil).(document)
	return d
}

// list returns the items of a list that fits into a page.
func (a *api) list(path, key string) []document {
	a.t.Helper()
	got := a.call(http.MethodGet, path, nil)
	if d, ok := got.(document); ok {
		got = d[key]
	}
	var out []document
	items, ok := got.([]any)
	require.True(a.t, ok, "%s is no list", path)
	for _, x := range items {
		out = append(out, x.(document))
	}
	return out
}

// named returns the items whose field has the value.
func (a *api) named(path, key, field, value string) []document {
	a.t.Helper()
	var out []document
	for _, d := range a.list(path, key) {
		if d[field] == value {
			out = append(out, d)
		}
	}
	return out
}

// one returns the only such item.
func (a *api) one(path, key, field, value string) document {
	a.t.Helper()
	got := a.named(path, key, field, value)
	require.Len(a.t, got, 1, "%s with %s %q", path, field, value)
	return got[0]
}

// Lists of the objects that the suite's stack makes.
const (
	clientsPath     = "clients?is_global=false&per_page=100"
	connectionsPath = "connections?per_page=100"
	apisPath        = "resource-servers?per_page=100"
	grantsPath      = "client-grants?per_page=100"
	rolesPath       = "roles?per_page=100"
	actionsPath     = "actions/actions?per_page=100"
	usersPath       = "users-by-email?email="
	bindingsPath    = "actions/triggers/post-login/bindings"
	streamsPath     = "event-streams?take=100"
)

// inventory is what the tenant holds, by family: how many of each name.
func (a *api) inventory() map[string]map[string]int {
	a.t.Helper()
	out := map[string]map[string]int{}
	for _, f := range []struct{ family, path, key, field string }{
		{"clients", clientsPath, "clients", "name"}, {"connections", connectionsPath, "connections", "name"},
		{"resource-servers", apisPath, "resource_servers", "identifier"}, {"client-grants", grantsPath, "client_grants", "audience"},
		{"roles", rolesPath, "roles", "name"}, {"actions", actionsPath, "actions", "name"},
		{"users", usersPath + "ada@example.com", "", "email"}, {"bindings", bindingsPath, "bindings", "display_name"},
		{"event-streams", streamsPath, "eventStreams", "name"},
	} {
		count := map[string]int{}
		for _, d := range a.list(f.path, f.key) {
			name, _ := d[f.field].(string)
			count[name]++
		}
		out[f.family] = count
	}
	return out
}
