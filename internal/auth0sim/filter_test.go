package auth0sim

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// Listings are narrowed and ordered by what their query string says.
func TestFilters(t *testing.T) {
	h := newHarness(t, Config{})
	for _, c := range []doc{{"name": "alpha", "app_type": "spa"}, {"name": "beta", "app_type": "native"}, {"name": "gamma", "app_type": "regular_web", "is_first_party": false}} {
		h.must(http.StatusCreated, "POST", "/clients", c)
	}
	for i := range 3 {
		h.must(http.StatusCreated, "POST", "/resource-servers", doc{"name": fmt.Sprintf("api%d", i), "identifier": fmt.Sprintf("https://api%d.example.com/", i)})
		h.must(http.StatusCreated, "POST", "/organizations", doc{"name": fmt.Sprintf("org%d", i)})
	}
	client := h.must(http.StatusCreated, "POST", "/clients", doc{"name": "delta"})["client_id"].(string)
	for name, strategy := range map[string]string{"db": "auth0", "corp": "google-apps"} {
		con := h.must(http.StatusCreated, "POST", "/connections", doc{"name": name, "strategy": strategy, "options": doc{"domain": "example.com"}})["id"].(string)
		code, v := h.call("PATCH", "/connections/"+con+"/clients", []any{doc{"client_id": client, "status": true}})
		require.Equal(t, http.StatusNoContent, code, "%v", v)
	}
	org := h.must(http.StatusOK, "GET", "/organizations/name/org0", nil)["id"].(string)
	for i := range 2 {
		grant := h.must(http.StatusCreated, "POST", "/client-grants", doc{"client_id": client, "audience": fmt.Sprintf("https://api%d.example.com/", i), "scope": []any{}, "organization_usage": "allow"})["id"]
		h.must(http.StatusCreated, "POST", "/organizations/"+org+"/client-grants", doc{"grant_id": grant})
	}
	for query, want := range map[string][]any{
		"/clients?app_type=spa,native":  {"alpha", "beta"},
		"/clients?is_first_party=false": {"gamma"},
		"/clients?q=name:alpha":         {"alpha"},
		"/clients?is_global=true":       {"All Applications"},
		"/resource-servers?identifiers=https://api0.example.com/&identifiers=https://api2.example.com/": {"api0", "api2"},
		"/resource-servers?identifiers=https://api1.example.com/":                                       {"api1"},
		"/organizations?sort=name:-1":                                                 {"org2", "org1", "org0"},
		"/organizations?sort=name:1&page=1&per_page=1":                                {"org1"},
		"/connections?strategy=google-apps":                                           {"corp"},
		"/connections?strategy=google-apps&strategy=auth0&name=db":                    {"db"},
		"/clients/" + client + "/connections?strategy=auth0":                          {"db"},
		"/organizations/" + org + "/client-grants?audience=https://api1.example.com/": {"https://api1.example.com/"},
		"/client-grants?client_id=" + client + "&audience=https://api0.example.com/":  {"https://api0.example.com/"},
	} {
		_, v := h.call("GET", query, nil)
		items, isList := v.([]any)
		if o, isObject := v.(map[string]any); isObject {
			items, isList = o["connections"].([]any)
		}
		require.True(t, isList, "%s: %v", query, v)
		got := []any{}
		for _, e := range items {
			o := e.(map[string]any)
			if o["name"] != nil {
				got = append(got, o["name"])
			} else {
				got = append(got, o["audience"])
			}
		}
		require.Equal(t, want, got, query)
	}
	code, _ := h.call("GET", "/clients?q=%28a", nil)
	require.Equal(t, http.StatusBadRequest, code)
	// A filter counts for the total too, and the checkpoint pages.
	page := h.must(http.StatusOK, "GET", "/resource-servers?identifiers=https://api1.example.com/&include_totals=true", nil)
	require.InDelta(t, 1, page["total"], 0)
	first := h.must(http.StatusOK, "GET", "/clients?app_type=spa,native&take=1", nil)
	require.Len(t, first["clients"], 1)
	second := h.must(http.StatusOK, "GET", "/clients?app_type=spa,native&take=1&from="+first["next"].(string), nil)
	require.Equal(t, "beta", second["clients"].([]any)[0].(map[string]any)["name"])
}

// What refers to an object that is not there is refused, and changes nothing.
func TestDanglingReferences(t *testing.T) {
	h := newHarness(t, Config{})
	con := h.must(http.StatusCreated, "POST", "/connections", doc{"name": "db", "strategy": "auth0"})["id"].(string)
	org := h.must(http.StatusCreated, "POST", "/organizations", doc{"name": "acme"})["id"].(string)
	user := h.must(http.StatusCreated, "POST", "/users", doc{"connection": builtInConnection, "email": "a@example.com", "password": "Correct-Horse-9"})["user_id"].(string)
	known := h.must(http.StatusCreated, "POST", "/clients", doc{"name": "known"})["client_id"]
	for _, c := range []struct {
		method, path string
		body         any
		message      string
	}{
		{"PATCH", "/connections/" + con + "/clients", []any{doc{"client_id": known, "status": true}, doc{"client_id": "nobody", "status": true}}, "The client does not exist"},
		{"POST", "/client-grants", doc{"client_id": "nobody", "audience": "https://localhost:4430/api/v2/", "scope": []any{}}, "Client not found"},
		{"POST", "/client-grants", doc{"client_id": known, "audience": "https://nowhere.example.com/", "scope": []any{}}, "Resource server not found"},
		{"POST", "/organizations/" + org + "/members", doc{"members": []any{"auth0|nobody"}}, "One or more of the specified members do not exist"},
		{"POST", "/users/" + user + "/roles", doc{"roles": []any{"rol_AAAAAAAAAAAAAAAA"}}, "The role does not exist."},
		{"POST", "/users/" + user + "/permissions", doc{"permissions": []any{doc{"resource_server_identifier": "https://nowhere.example.com/", "permission_name": "a"}}}, "The resource server does not exist."},
		{"POST", "/organizations/" + org + "/enabled_connections", doc{"connection_id": "con_AAAAAAAAAAAAAAAA"}, "No connection found by that id"},
	} {
		code, v := h.call(c.method, c.path, c.body)
		require.Equal(t, http.StatusNotFound, code, "%s %s: %v", c.method, c.path, v)
		require.Equal(t, c.message, v.(map[string]any)["message"], c.path)
	}
	require.Empty(t, h.must(http.StatusOK, "GET", "/connections/"+con+"/clients", nil)["clients"])
}
