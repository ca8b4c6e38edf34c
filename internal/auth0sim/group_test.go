package auth0sim

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// Groups follow from what a directory synchronizes, and carry roles.
func TestGroups(t *testing.T) {
	h := newHarness(t, Config{})
	con := h.must(http.StatusCreated, "POST", "/connections", doc{"name": "directory", "strategy": "google-apps", "options": doc{"client_id": "x", "client_secret": "y", "domain": "example.com"}})["id"].(string)
	path := "/connections/" + con + "/directory-provisioning/synchronized-groups"
	sync := func(ids ...string) {
		groups := []any{}
		for _, id := range ids {
			groups = append(groups, doc{"id": id})
		}
		code, v := h.call("PUT", path, doc{"groups": groups})
		require.Equal(t, http.StatusNoContent, code, "%v", v)
	}
	names := func(path, wrap string) []string {
		out := []string{}
		for _, g := range h.must(http.StatusOK, "GET", path, nil)[wrap].([]any) {
			out = append(out, g.(map[string]any)["name"].(string))
		}
		return out
	}
	for _, bad := range []any{[]any{"managers"}, []any{nil}, []any{doc{}}} {
		code, _ := h.call("POST", path, doc{"groups": bad})
		require.Equal(t, http.StatusBadRequest, code)
	}
	sync("managers", "engineers")
	require.Equal(t, []any{map[string]any{"id": "engineers"}}, h.must(http.StatusOK, "GET", path+"?take=1", nil)["groups"])
	next := h.must(http.StatusOK, "GET", path+"?take=1", nil)["next"].(string)
	require.Equal(t, map[string]any{"groups": []any{map[string]any{"id": "managers"}}}, h.must(http.StatusOK, "GET", path+"?take=1&from="+next, nil))
	require.Equal(t, []any{map[string]any{"id": "managers"}}, h.must(http.StatusOK, "GET", path+"?q=name:man*", nil)["groups"])
	require.Empty(t, h.must(http.StatusOK, "GET", path+"?q=name:man", nil)["groups"])
	require.Equal(t, []string{"managers", "engineers"}, names("/groups", "groups"))
	group := h.must(http.StatusOK, "GET", "/groups?external_id=engineers", nil)["groups"].([]any)[0].(map[string]any)
	require.Equal(t, con, group["connection_id"])
	id := group["id"].(string)

	role := h.must(http.StatusOK, "POST", "/roles", doc{"name": "Reader"})["id"].(string)
	org := h.must(http.StatusCreated, "POST", "/organizations", doc{"name": "acme"})["id"].(string)
	for base, add := range map[string]doc{"/groups/" + id + "/roles": {"roles": []any{role}}, "/organizations/" + org + "/groups/" + id + "/roles": {"roles": []any{role}}} {
		code, v := h.call("POST", base, add)
		require.Equal(t, http.StatusNoContent, code, "%v", v)
		require.Equal(t, []string{"Reader"}, names(base, "roles"))
		code, _ = h.call("POST", base, doc{"roles": []any{"rol_AAAAAAAAAAAAAAAA"}})
		require.Equal(t, http.StatusNotFound, code)
	}
	require.Equal(t, []string{"engineers"}, names("/roles/"+role+"/groups", "groups"))
	require.Equal(t, []string{"engineers"}, names("/organizations/"+org+"/groups", "groups"))
	require.Equal(t, []string{"engineers"}, names("/organizations/"+org+"/roles/"+role+"/groups", "groups"))
	code, _ := h.call("DELETE", "/groups/"+id+"/roles", doc{"roles": []any{role}})
	require.Equal(t, http.StatusNoContent, code)
	require.Empty(t, names("/roles/"+role+"/groups", "groups"))

	// A group that the directory no longer sends goes with all that it had.
	sync("managers")
	require.Equal(t, []string{"managers"}, names("/groups", "groups"))
	require.Empty(t, names("/organizations/"+org+"/groups", "groups"))
	code, _ = h.call("GET", "/groups/"+id+"/roles", nil)
	require.Equal(t, http.StatusNotFound, code)
	code, _ = h.call("DELETE", "/connections/"+con, nil)
	require.Equal(t, http.StatusAccepted, code)
	require.Empty(t, names("/groups", "groups"))
}

func TestExperiments(t *testing.T) {
	h := newHarness(t, Config{})
	refused := func(status int, message, method, path string, body any) {
		t.Helper()
		code, v := h.call(method, path, body)
		require.Equal(t, status, code, "%v", v)
		require.Equal(t, message, v.(map[string]any)["message"])
	}
	flag := h.must(http.StatusCreated, "POST", "/experimentation/feature-flags", doc{"name": "New page", "parameters": doc{"on": doc{"type": "boolean", "value": true}}})["id"].(string)
	at := "/experimentation/feature-flags/" + flag
	refused(http.StatusBadRequest, "Feature flag must have at least 2 variations to be activated.", "POST", at+"/status", doc{"status": "active"})
	var made []string
	for _, name := range []string{"old", "new"} {
		made = append(made, h.must(http.StatusCreated, "POST", at+"/variations", doc{"name": name, "overrides": doc{}})["id"].(string))
	}
	refused(http.StatusConflict, "A variation with this name already exists on this feature flag.", "POST", at+"/variations", doc{"name": "new", "overrides": doc{}})
	require.Len(t, h.must(http.StatusOK, "GET", at+"/variations", nil)["variations"], 2)

	body := doc{"name": "Which page", "feature_flag_id": flag, "authentication_flow": "login", "allocation_strategy": "percentage",
		"assignment_config": doc{"subject": "device"}, "allocations": []any{doc{"variation_id": made[0], "weight": 40, "is_control": true}, doc{"variation_id": made[1], "weight": 50, "is_control": false}}}
	exp := h.must(http.StatusCreated, "POST", "/experimentation/experiments", body)
	require.Equal(t, false, exp["is_valid"])
	this := "/experimentation/experiments/" + exp["id"].(string)
	require.Len(t, h.must(http.StatusOK, "POST", this+"/validate", nil)["errors"], 2)
	refused(http.StatusBadRequest, "Experiment cannot be activated: validation failed.", "POST", this+"/status", doc{"status": "active"})
	h.must(http.StatusOK, "POST", at+"/status", doc{"status": "active"})
	h.must(http.StatusOK, "PATCH", this, doc{"allocations": []any{doc{"variation_id": made[0], "weight": 50, "is_control": true}, doc{"variation_id": made[1], "weight": 50, "is_control": false}}})
	started := h.must(http.StatusOK, "POST", this+"/status", doc{"status": "active"})
	require.Equal(t, "active", started["status"])
	require.NotEmpty(t, started["started_at"])
	refused(http.StatusBadRequest, "Active experiments cannot be deleted. Pause or complete the experiment first.", "DELETE", this, nil)
	refused(http.StatusConflict, "Variation is in use by one or more non-archived allocations and cannot be deleted.", "DELETE", at+"/variations/"+made[0], nil)
	refused(http.StatusConflict, "Feature flag is in use by one or more non-archived experiments and cannot be deleted.", "DELETE", at, nil)
	h.must(http.StatusOK, "POST", this+"/status", doc{"status": "completed"})
	refused(http.StatusBadRequest, "Completed experiments cannot be reactivated.", "POST", this+"/status", doc{"status": "active"})
	refused(http.StatusBadRequest, "Status transition is not allowed.", "POST", this+"/status", doc{"status": "paused"})
	h.must(http.StatusOK, "POST", this+"/status", doc{"status": "archived"})
	code, _ := h.call("DELETE", at, nil)
	require.Equal(t, http.StatusNoContent, code)
	refused(http.StatusNotFound, "Feature flag not found.", "GET", at+"/variations", nil)
}
