package auth0sim

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// Names that must not be given twice, capitals or not.
func TestNamesAreUnique(t *testing.T) {
	h := newHarness(t, Config{})
	for path, body := range map[string]doc{
		"/roles":            {"name": "Admin"},
		"/resource-servers": {"identifier": "https://API.example.com/"},
		"/organizations":    {"name": "acme"},
		"/connections":      {"name": "My-Database", "strategy": "auth0"},
		"/rules":            {"name": "My Rule", "script": "function (user, context, callback) { callback(null, user, context); }"},
		"/event-streams": {"name": "My Stream", "subscriptions": []any{doc{"event_type": "user.created"}},
			"destination": doc{"type": "webhook", "configuration": doc{"webhook_endpoint": "https://example.com", "webhook_authorization": doc{"method": "bearer", "token": "t"}}}},
		"/custom-domains":                {"domain": "login.example.com", "type": "auth0_managed_certs"},
		"/experimentation/feature-flags": {"name": "My Flag", "parameters": doc{"a": doc{"type": "boolean", "value": true}}},
	} {
		code, v := h.call("POST", path, body)
		require.Less(t, code, 300, "%s %v", path, v)
		code, v = h.call("POST", path, body)
		require.Equal(t, http.StatusConflict, code, "%s %v", path, v)
	}
	// The name of a change counts too, its own does not.
	a := h.must(http.StatusOK, "POST", "/roles", doc{"name": "Reader"})
	h.must(http.StatusOK, "PATCH", "/roles/"+a["id"].(string), doc{"name": "Reader"})
	code, _ := h.call("PATCH", "/roles/"+a["id"].(string), doc{"name": "Admin"})
	require.Equal(t, http.StatusConflict, code)
}
