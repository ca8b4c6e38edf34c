package auth0sim

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
)

// A tenant that is found at another address is the same tenant: who could
// manage it still can.
func TestAnotherAddress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sim.db")
	for _, domain := range []string{"localhost:4430", "localhost:4431", "localhost:4430"} {
		s, err := New(Config{Path: path, Domain: domain, ClientID: "test-client", ClientSecret: secret.New("test-secret")})
		require.NoError(t, err)
		h := &harness{t: t, server: s, handler: s.Handler()}
		w := h.do(http.MethodPost, "/oauth/token", map[string]string{"grant_type": "client_credentials", "client_id": "test-client", "client_secret": "test-secret",
			"audience": "https://" + domain + "/api/v2/"}, nil)
		require.Equal(t, http.StatusOK, w.Code, w.Body.String())
		h.token = decodeObject(t, w.Body.Bytes())["access_token"].(string)
		require.NoError(t, s.Close())
	}
}
