package auth0sim

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
)

// newHarness builds a simulator under the domain localhost:4430 and fetches a
// token for it.
func newHarness(t testing.TB, cfg Config) *harness {
	t.Helper()
	cfg.Domain = "localhost:4430"
	cfg.ClientID, cfg.ClientSecret = "test-client", secret.New("test-secret")
	s, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	h := &harness{t: t, server: s, handler: s.Handler()}
	h.token = h.fetchToken("test-client", "test-secret")
	return h
}

func (h *harness) fetchToken(id, clientSecret string) string {
	h.t.Helper()
	w := h.do(http.MethodPost, "/oauth/token", map[string]string{"grant_type": "client_credentials", "client_id": id, "client_secret": clientSecret,
		"audience": "https://localhost:4430/api/v2/"}, nil)
	require.Equal(h.t, http.StatusOK, w.Code, w.Body.String())
	return decodeObject(h.t, w.Body.Bytes())["access_token"].(string)
}

func decodeObject(t testing.TB, raw []byte) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(raw, &v), string(raw))
	return v
}

func jsonBody(v any) io.Reader {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // a test's own literal
	}
	return bytes.NewReader(raw)
}
