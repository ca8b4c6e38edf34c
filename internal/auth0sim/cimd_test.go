package auth0sim

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
	"github.com/stretchr/testify/require"
)

// metadataHost is a web server that every outgoing call of the simulator
// reaches, whatever host it names.
func metadataHost(t *testing.T) (Config, map[string]string) {
	files := map[string]string{}
	host := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, there := files[r.URL.Path]
		switch {
		case strings.HasPrefix(text, "/"):
			http.Redirect(w, r, text, http.StatusFound)
		case !there:
			http.NotFound(w, r)
		default:
			_, _ = w.Write([]byte(text))
		}
	}))
	t.Cleanup(host.Close)
	return Config{Outbound: host.Client()}, files
}

const metadataID = "https://app.example.com/client.json"

func TestClientMetadataDocument(t *testing.T) {
	cfg, files := metadataHost(t)
	h := newHarness(t, cfg)
	files["/client.json"] = `{"client_id": "https://app.example.com/client.json", "client_name": "Tiny", "redirect_uris": ["https://app.example.com/cb"],
		"grant_types": ["authorization_code", "implicit"], "application_type": "native", "client_uri": "https://app.example.com", "logo_uri": "https://app.example.com/l.png"}`

	preview := h.must(http.StatusOK, "POST", "/clients/cimd/preview", doc{"external_client_id": metadataID})
	require.NotContains(t, preview, "client_id")
	require.Equal(t, map[string]any{"external_client_id": metadataID, "name": "Tiny", "callbacks": []any{"https://app.example.com/cb"},
		"logo_uri": "https://app.example.com/l.png", "grant_types": []any{"authorization_code"}, "app_type": "native", "token_endpoint_auth_method": "none"}, preview["mapped_fields"])
	require.Equal(t, map[string]any{"valid": true, "violations": []any{}, "warnings": []any{
		"Ignoring unsupported properties: client_uri. These properties are not validated or mapped to the Auth0 client configuration.",
		"Grant type not supported: 'implicit'"}}, preview["validation"])

	made := h.must(http.StatusCreated, "POST", "/clients/cimd/register", doc{"external_client_id": metadataID})
	id := made["client_id"].(string)
	require.True(t, strings.HasPrefix(id, "tpc_"), id)
	client := h.must(http.StatusOK, "GET", "/clients/"+id, nil)
	for k, want := range map[string]any{"name": "Tiny", "is_first_party": false, "oidc_conformant": true, "external_client_id": metadataID,
		"external_metadata_type": "cimd", "external_metadata_created_by": "admin", "grant_types": []any{"authorization_code"}} {
		require.Equal(t, want, client[k], k)
	}

	// Again: the same client, brought up to date.
	files["/client.json"] = strings.ReplaceAll(files["/client.json"], "Tiny", "Small")
	again := h.must(http.StatusOK, "POST", "/clients/cimd/register", doc{"external_client_id": metadataID})
	require.Equal(t, id, again["client_id"])
	require.Equal(t, "Small", h.must(http.StatusOK, "GET", "/clients/"+id, nil)["name"])
	require.Equal(t, id, h.must(http.StatusOK, "POST", "/clients/cimd/preview", doc{"external_client_id": metadataID})["client_id"])

	// The document's URL is a client id at the authorization endpoint.
	w := h.do("GET", "/authorize?response_type=code&redirect_uri=https%3A%2F%2Fapp.example.com%2Fcb&scope=openid&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&client_id="+url.QueryEscape(metadataID), nil, nil)
	require.Equal(t, http.StatusSeeOther, w.Code, w.Body.String())
	require.Contains(t, w.Header().Get("Location"), "/u/login")
}

func TestClientMetadataRefusals(t *testing.T) {
	cfg, files := metadataHost(t)
	h := newHarness(t, cfg)
	for name, c := range map[string]struct{ id, document, message string }{
		"absent":             {metadataID, "", "could not be retrieved"},
		"a redirect":         {metadataID, "/elsewhere.json", "could not be retrieved"},
		"not JSON":           {metadataID, "<html>", "could not be retrieved"},
		"too large":          {metadataID, `{"description": "` + strings.Repeat("a", maxMetadata) + `"}`, "could not be retrieved"},
		"another's document": {metadataID, `{"client_id": "https://other.example.com/client.json", "client_name": "x", "grant_types": ["refresh_token"]}`, "cannot be applied"},
		"a shared secret": {metadataID, `{"client_id": "` + metadataID + `", "client_name": "x", "grant_types": ["refresh_token"],
			"token_endpoint_auth_method": "client_secret_post"}`, "cannot be applied"},
		"keys elsewhere": {metadataID, `{"client_id": "` + metadataID + `", "client_name": "x", "grant_types": ["refresh_token"],
			"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://other.example.com/keys"}`, "cannot be applied"},
		"http":         {"http://app.example.com/client.json", "", "absolute-https-uri-or-empty"},
		"loopback":     {"https://127.0.0.1/client.json", "", "localhost is not allowed"},
		"no path":      {"https://app.example.com/", "", "it must have a path"},
		"dot segments": {"https://app.example.com/a/%2e%2e/client.json", "", "dot segments"},
		"credentials":  {"https://a:b@app.example.com/client.json", "", "credentials"},
		"a query":      {"https://app.example.com/client.json?a=b", "", "query"},
	} {
		t.Run(name, func(t *testing.T) {
			clear(files)
			if c.document != "" {
				files["/client.json"] = c.document
			}
			code, v := h.call("POST", "/clients/cimd/register", doc{"external_client_id": c.id})
			require.Equal(t, http.StatusBadRequest, code, "%v", v)
			require.Contains(t, v.(map[string]any)["message"], c.message)
		})
	}
	// A preview reports what could not be fetched instead of failing.
	clear(files)
	require.Equal(t, map[string]any{"errors": []any{"The Client Metadata at " + metadataID + " could not be retrieved."}},
		h.must(http.StatusOK, "POST", "/clients/cimd/preview", doc{"external_client_id": metadataID}))
}

// A client with keys of its own proves itself with them, under its URL.
func TestClientMetadataKeys(t *testing.T) {
	cfg, files := metadataHost(t)
	h := newHarness(t, cfg)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	key, err := jwk.Import(private)
	require.NoError(t, err)
	require.NoError(t, key.Set(jwk.KeyIDKey, "the-first-key"))
	public, err := key.PublicKey()
	require.NoError(t, err)
	set := jwk.NewSet()
	require.NoError(t, set.AddKey(public))
	raw, err := json.Marshal(set)
	require.NoError(t, err)
	files["/keys"] = string(raw)
	files["/client.json"] = `{"client_id": "` + metadataID + `", "client_name": "Keyed", "grant_types": ["refresh_token"],
		"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://app.example.com/keys"}`
	made := h.must(http.StatusCreated, "POST", "/clients/cimd/register", doc{"external_client_id": metadataID})
	shown := made["mapped_fields"].(map[string]any)["client_authentication_methods"]
	require.Equal(t, map[string]any{"private_key_jwt": map[string]any{"credentials": []any{
		map[string]any{"credential_type": "public_key", "kid": "the-first-key", "alg": "RS256"}}}}, shown)

	assertion := func(signer any) string {
		token, err := jwt.NewBuilder().Issuer(metadataID).Subject(metadataID).Audience([]string{"https://localhost:4430/"}).JwtID("j1").
			IssuedAt(time.Now()).Expiration(time.Now().Add(time.Minute)).Build()
		require.NoError(t, err)
		signed, err := jwt.Sign(token, jwt.WithKey(jwa.RS256(), signer))
		require.NoError(t, err)
		return string(signed)
	}
	ask := func(signer any) string {
		return h.do("POST", "/oauth/token", doc{"grant_type": "refresh_token", "refresh_token": "unknown", "client_id": metadataID,
			"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion": assertion(signer)}, nil).Body.String()
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	require.Contains(t, ask(other), `"error":"access_denied"`)
	require.Contains(t, ask(private), `"error":"invalid_grant"`) // the client is proved, the refresh token is not

	// Private keys in the set are refused, and the client stays as it was.
	raw, err = json.Marshal(key)
	require.NoError(t, err)
	files["/keys"] = `{"keys":[` + string(raw) + `]}`
	code, v := h.call("POST", "/clients/cimd/register", doc{"external_client_id": metadataID})
	require.Equal(t, http.StatusBadRequest, code, "%v", v)
}
