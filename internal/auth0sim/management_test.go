package auth0sim

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

func TestEveryOperationIsServed(t *testing.T) {
	h := newHarness(t, Config{})
	absent := map[string]bool{}
	for _, op := range h.server.catalog.operations {
		if _, _, found := h.server.router.find(op.Method, pattern(op.Path)); !found {
			absent[op.Method+" "+op.Path] = true
		}
	}
	require.Empty(t, absent)
}

func TestRefusals(t *testing.T) {
	h := newHarness(t, Config{})
	bearer := map[string]string{"Authorization": "Bearer " + h.token}
	with := func(more map[string]string) map[string]string {
		out := map[string]string{"Authorization": "Bearer " + h.token}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	for name, c := range map[string]struct {
		method, path string
		body         any
		headers      map[string]string
		status       int
		answer       string // a part of it
	}{
		"no token":         {"GET", "/clients", nil, nil, 401, `"message":"Missing authentication"`},
		"no scheme":        {"GET", "/clients", nil, map[string]string{"Authorization": "x"}, 400, `"message":"Bad HTTP authentication header format"`},
		"not a token":      {"GET", "/clients", nil, map[string]string{"Authorization": "Bearer x"}, 401, `"message":"Invalid token"`},
		"a forged token":   {"GET", "/clients", nil, map[string]string{"Authorization": "Bearer " + h.token[:len(h.token)-4] + "AAAA"}, 401, `"message":"Invalid signature received for JSON Web Token validation"`},
		"no such path":     {"GET", "/nonsense", nil, bearer, 404, `"message":"Not Found"`},
		"traversal":        {"GET", "/clients/..%2F..%2Fetc%2Fpasswd", nil, bearer, 404, `"errorCode":"inexistent_client"`},
		"malformed json":   {"POST", "/roles", "{", bearer, 400, `"message":"Invalid request payload JSON format"`},
		"no body":          {"POST", "/clients", nil, bearer, 400, `"errorCode":"invalid_body"`},
		"wrong type":       {"POST", "/roles", doc{"name": 5}, bearer, 400, `"message":"Payload validation error: 'Expected type string but found type integer' on property name (Name of the role)."`},
		"missing property": {"POST", "/roles", doc{}, bearer, 400, `"message":"Payload validation error: 'Missing required property: name'."`},
		"unknown property": {"POST", "/roles", doc{"name": "a", "colour": 1}, bearer, 400, `"message":"Payload validation error: 'Additional properties not allowed: colour'."`},
		"read-only":        {"PATCH", "/tenants/settings", doc{"sandbox_versions_available": []any{}}, bearer, 400, `Additional properties not allowed: sandbox_versions_available`},
		"content type":     {"POST", "/roles", "a: b", with(map[string]string{"Content-Type": "text/yaml"}), 415, `"error":"Unsupported Media Type"`},
		"huge body":        {"POST", "/roles", `{"name":"` + strings.Repeat("a", maxBody) + `"}`, bearer, 413, `"message":"Payload content length greater than maximum allowed: 1048576"`},
		"bad stream id":    {"GET", "/event-streams/est_invalid_id_1234567890", nil, bearer, 400, `"message":"Path validation error: 'Object didn't pass validation for format event-stream-id: est_invalid_id_1234567890' on property id (Unique identifier for the event stream).","statusCode":400`},
		"page too large":   {"GET", "/users?per_page=101", nil, bearer, 400, `"errorCode":"invalid_query_string"`},
		"page too deep":    {"GET", "/users?page=10&per_page=100", nil, bearer, 400, `You can only page through the first 1000 records`},
		"bad query":        {"GET", "/users?q=" + "%28a", nil, bearer, 400, `"errorCode":"invalid_query"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := h.do(c.method, "/api/v2"+c.path, c.body, c.headers)
			require.Equal(t, c.status, w.Code, w.Body.String())
			require.Contains(t, w.Body.String(), c.answer)
		})
	}
}

func TestScopes(t *testing.T) {
	h := newHarness(t, Config{})
	client := h.must(http.StatusCreated, "POST", "/clients", doc{"name": "reader", "grant_types": []any{"client_credentials"}})
	h.must(http.StatusCreated, "POST", "/client-grants", doc{"client_id": client["client_id"], "audience": "https://localhost:4430/api/v2/", "scope": []any{"read:clients"}})
	reader := &harness{t: t, server: h.server, handler: h.handler, token: h.fetchToken(client["client_id"].(string), client["client_secret"].(string))}
	shown := reader.must(http.StatusOK, "GET", "/clients/"+client["client_id"].(string), nil)
	require.NotContains(t, shown, "client_secret") // needs read:client_keys
	code, v := reader.call("POST", "/roles", doc{"name": "a"})
	require.Equal(t, http.StatusForbidden, code)
	require.Equal(t, map[string]any{"statusCode": 403.0, "error": "Forbidden", "message": "Insufficient scope, expected any of: create:roles", "errorCode": "insufficient_scope"}, v)
}

func TestListShapes(t *testing.T) {
	h := newHarness(t, Config{})
	for _, name := range []string{"a", "b", "c"} {
		h.must(http.StatusCreated, "POST", "/organizations", doc{"name": name})
	}
	_, v := h.call("GET", "/organizations", nil)
	require.Len(t, v, 3)
	o := h.must(http.StatusOK, "GET", "/organizations?include_totals=true&per_page=2&page=1", nil)
	require.Equal(t, []any{2.0, 2.0, 3.0, 1}, []any{o["start"], o["limit"], o["total"], len(o["organizations"].([]any))})
	first := h.must(http.StatusOK, "GET", "/organizations?take=2", nil)
	require.Len(t, first["organizations"], 2)
	last := h.must(http.StatusOK, "GET", "/organizations?take=2&from="+first["next"].(string), nil)
	require.Len(t, last["organizations"], 1)
	require.NotContains(t, last, "next")
	// An API, of which there is no checkpoint paging, ignores it; no listing is
	// paged beyond its first thousand.
	_, v = h.call("GET", "/roles?take=2", nil)
	require.IsType(t, []any{}, v)
	for _, path := range []string{"/organizations", "/clients", "/resource-servers", "/connections", "/users"} {
		code, v := h.call("GET", path+"?per_page=100&page=10", nil)
		require.Equal(t, http.StatusBadRequest, code, "%s %v", path, v)
		code, _ = h.call("GET", path+"?per_page=100&page=9", nil)
		require.Equal(t, http.StatusOK, code, path)
	}
	_, v = h.call("GET", "/clients?fields=name&include_fields=true", nil)
	require.NotContains(t, v.([]any)[0], "client_id")
}

func TestQueries(t *testing.T) {
	d := doc{"email": "ada@example.com", "name": "Ada Lovelace", "logins_count": 7.0, "created_at": "2026-03-05T10:00:00.000Z", "blocked": true,
		"identities": []any{doc{"connection": "people"}}, "app_metadata": doc{"plan": "gold"}, state.Private: doc{"password_hash": "x"}}
	for q, want := range map[string]bool{
		`email:"ada@example.com"`: true, `email:ADA@example.com`: true, `email:ada*`: true, `email:*@example.com`: true, `email:bob*`: false,
		`name:"Ada Lovelace" AND identities.connection:people`: true, `name:bob OR app_metadata.plan:gold`: true, `NOT blocked:true`: false,
		`-email:ada*`: false, `logins_count:[5 TO 9]`: true, `logins_count:{7 TO *]`: false, `logins_count:>6`: true, `created_at:[2026-03-01 TO 2026-03-05]`: true,
		`_exists_:app_metadata.plan`: true, `_exists_:phone_number`: false, `email:(bob* OR ada*)`: true, `ada@example.com`: true,
		`_.password_hash:x`: false, `(name:bob AND blocked:true) OR blocked:true`: true, ``: true,
	} {
		parsed, err := parseQuery(q)
		require.NoError(t, err, q)
		require.Equal(t, want, parsed.matches(d), q)
	}
	for _, bad := range []string{`(`, `email:`, `a:[1`, `a:[1 TO`, strings.Repeat("(", 100) + "a", strings.Repeat("NOT ", 100) + "a"} {
		_, err := parseQuery(bad)
		require.Error(t, err, bad)
	}
}

// FuzzRouter: no path leads to a 500.
func FuzzRouter(f *testing.F) {
	h := newHarness(f, Config{})
	for _, p := range []string{"/clients", "/clients/..", "/users/auth0%7Cx/roles", "/resource-servers/https:%252F%252Fx", "//", "/%00", "/event-streams/%ff", "/users?q=(((&sort=x:-1", "/logs?from=9&take=1"} {
		for _, m := range []string{"GET", "DELETE", "PATCH"} {
			f.Add(m, p)
		}
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		req, err := http.NewRequest(method, "https://localhost:4430/api/v2"+path, nil)
		if err != nil {
			t.Skip()
		}
		if method == "GET" && strings.HasPrefix(req.URL.Path, "/api/v2/events") {
			t.Skip() // a stream without end
		}
		req.RemoteAddr, req.Body = "127.0.0.1:1", http.NoBody
		req.Header.Set("Authorization", "Bearer "+h.token)
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, req)
		require.Less(t, w.Code, 500, w.Body.String())
	})
}

// FuzzBody: no body leads to a 500, whatever operation it is sent to.
func FuzzBody(f *testing.F) {
	h := newHarness(f, Config{})
	// Objects that are there, so that a body reaches what handles it.
	existing := map[string]string{}
	for path, body := range map[string]doc{
		"/organizations": {"name": "acme"}, "/roles": {"name": "r"}, "/resource-servers": {"identifier": "https://x", "name": "x"}, "/connections": {"name": "people", "strategy": "auth0"},
		"/log-streams": {"name": "l", "type": "http", "sink": doc{"httpEndpoint": "https://a.example"}}, "/flows": {"name": "f"}, "/self-service-profiles": {"name": "p"},
		"/actions/actions": {"name": "a", "supported_triggers": []any{doc{"id": "event-stream", "version": "v1"}}},
		"/event-streams": {"name": "e", "subscriptions": []any{doc{"event_type": "user.created"}}, "destination": doc{"type": "webhook",
			"configuration": doc{"webhook_endpoint": "https://a.example", "webhook_authorization": doc{"method": "bearer", "token": "t"}}}},
	} {
		_, v := h.call("POST", path, body)
		existing[path] = v.(map[string]any)["id"].(string)
	}
	existing["/clients"] = h.must(http.StatusCreated, "POST", "/clients", doc{"name": "c"})["client_id"].(string)
	existing["/users"] = strings.ReplaceAll(h.must(http.StatusCreated, "POST", "/users", doc{"connection": builtInConnection, "email": "a@example.com", "password": "Correct-Horse-9"})["user_id"].(string), "|", "%7C")
	existing["/actions/triggers"] = "post-login"
	existing["/prompts"], existing["/email-templates"], existing["/guardian/factors"] = "login", "verify_email", "otp"
	var targets []string
	for _, op := range h.server.catalog.operations {
		if op.Method == "POST" || op.Method == "PUT" || op.Method == "PATCH" {
			path := pattern(op.Path)
			for prefix, id := range existing {
				if strings.HasPrefix(path, prefix+"/{}") {
					path = prefix + "/" + id + strings.TrimPrefix(path, prefix+"/{}")
				}
			}
			targets = append(targets, op.Method+" "+strings.ReplaceAll(path, "{}", "x"))
		}
	}
	for i := range targets {
		for _, body := range []string{`{}`, `[]`, `null`, `{"name":null}`, `{"name":"a","options":[],"destination":{},"members":[1],"permissions":[null],"clients":[{}],"roles":"x"}`} {
			f.Add(i, "application/json", body)
		}
	}
	f.Add(0, "multipart/form-data; boundary=a", "--a\r\n")
	f.Add(0, "application/x-www-form-urlencoded", "a=%zz")
	f.Fuzz(func(t *testing.T, target int, kind, body string) {
		method, path, _ := strings.Cut(targets[uint(target)%uint(len(targets))], " ")
		hh := *h
		hh.t = t
		w := hh.do(method, "/api/v2"+path, body, map[string]string{"Authorization": "Bearer " + h.token, "Content-Type": kind})
		require.Less(t, w.Code, 500, "%s %s: %s", method, path, w.Body.String())
	})
}
