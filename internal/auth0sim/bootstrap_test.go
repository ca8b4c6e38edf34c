package auth0sim

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
)

// A tenant that is found at another address is the same tenant: who could
// manage it still can, and its own APIs are named after the new address.
func TestAnotherAddress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sim.db")
	mine, granted := "", ""
	for _, domain := range []string{"localhost:4430", "localhost:4431", "localhost:4430"} {
		s, err := New(Config{Path: path, Domain: domain, ClientID: "test-client", ClientSecret: secret.New("test-secret")})
		require.NoError(t, err)
		h := &harness{t: t, server: s, handler: s.Handler()}
		w := h.do(http.MethodPost, "/oauth/token", map[string]string{"grant_type": "client_credentials", "client_id": "test-client", "client_secret": "test-secret",
			"audience": "https://" + domain + "/api/v2/"}, nil)
		require.Equal(t, http.StatusOK, w.Code, w.Body.String())
		h.token = decodeObject(t, w.Body.Bytes())["access_token"].(string)
		if mine == "" {
			mine = str(h.must(http.StatusCreated, "POST", "/resource-servers", doc{"identifier": "https://" + domain + "/me/"}), "id")
			client := h.must(http.StatusCreated, "POST", "/clients", doc{"name": "account"})
			granted = str(h.must(http.StatusCreated, "POST", "/client-grants", doc{"client_id": client["client_id"], "audience": "https://" + domain + "/me/",
				"scope": []any{"read:me:factors"}, "subject_type": "user"}), "id")
		}
		require.Equal(t, "https://"+domain+"/me/", h.must(http.StatusOK, "GET", "/resource-servers/"+mine, nil)["identifier"])
		require.Equal(t, "https://"+domain+"/me/", h.must(http.StatusOK, "GET", "/client-grants/"+granted, nil)["audience"])
		require.NoError(t, s.Close())
	}
}
