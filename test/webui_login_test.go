package test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/cli"
	"github.com/tenonhq/tenon/internal/daemon"
)

// oddIssuer is an identity provider that answers as a test says.
func oddIssuer(t *testing.T, endpoints map[string]any, token func(w http.ResponseWriter)) (issuer, ca string) {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		d := map[string]any{
			"issuer": server.URL, "authorization_endpoint": server.URL + "/authorize", "token_endpoint": server.URL + "/token",
			"device_authorization_endpoint": server.URL + "/device", "jwks_uri": server.URL + "/jwks",
		}
		for name, v := range endpoints {
			if d[name] = v; v == nil {
				delete(d, name)
			}
		}
		_ = json.NewEncoder(w).Encode(d)
	})
	mux.HandleFunc("/device", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"device_code": "d", "user_code": "ABCD-EFGH", "verification_uri": "` + server.URL + `/activate", "expires_in": 60, "interval": 1}`))
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		token(w)
	})
	ca = filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	return server.URL, ca
}

func says(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestLoginRefused(t *testing.T) {
	// answer is what the provider sends the browser back with.
	come := func(answer string) func(string) error {
		return func(address string) error {
			u, err := url.Parse(address)
			if err != nil {
				return err
			}
			go func() {
				res, err := http.Get(u.Query().Get("redirect_uri") + "?" + strings.ReplaceAll(answer, "STATE", u.Query().Get("state")))
				if err == nil {
					_ = res.Body.Close()
				}
			}()
			return nil
		}
	}
	for name, c := range map[string]struct {
		endpoints map[string]any
		token     func(http.ResponseWriter)
		device    bool
		answer    string
		want      string
	}{
		"other issuer":       {endpoints: map[string]any{"issuer": "https://evil.example"}, want: "is no OpenID Connect issuer"},
		"denied":             {answer: "state=STATE&error=access_denied&error_description=no", want: `"access_denied" "no"`},
		"answer of another":  {answer: "state=STATE&code=c&iss=https://evil.example", want: "another issuer"},
		"no code":            {answer: "state=STATE", want: "no code"},
		"code refused":       {answer: "state=STATE&code=c", token: says(403, `{"error": "invalid_grant", "access_token": "s3cret"}`), want: `status 403: "invalid_grant"`},
		"no id token":        {answer: "state=STATE&code=c", token: says(200, `{"access_token": "a", "token_type": "Bearer"}`), want: "no ID token"},
		"forged id token":    {answer: "state=STATE&code=c", token: says(200, `{"access_token": "a", "id_token": "e30.e30.e30"}`), want: "ID token"},
		"nobody comes":       {answer: "state=guessed&code=c", want: "nobody signed in within"},
		"device denied":      {device: true, token: says(403, `{"error": "access_denied"}`), want: "access_denied"},
		"device too late":    {device: true, token: says(403, `{"error": "expired_token"}`), want: "expired_token"},
		"device unsupported": {device: true, endpoints: map[string]any{"device_authorization_endpoint": nil}, want: "no sign-in by device code"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.token == nil {
				c.token = says(500, `{}`)
			}
			issuer, ca := oddIssuer(t, c.endpoints, c.token)
			timeout := 30 * time.Second
			if name == "nobody comes" {
				timeout = 300 * time.Millisecond
			}
			_, err := daemon.Login(t.Context(), daemon.LoginConfig{
				Issuer: issuer, ClientID: "cli", CAFile: ca, Device: c.device, Ports: []int{0}, Browse: come(c.answer),
				Say: func(string) {}, Timeout: timeout,
			})
			require.ErrorIs(t, err, daemon.ErrLogin)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "s3cret")
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		issuer, ca := oddIssuer(t, nil, says(500, "{}"))
		ctx, cancel := context.WithCancel(t.Context())
		_, err := daemon.Login(ctx, daemon.LoginConfig{Issuer: issuer, ClientID: "cli", CAFile: ca, Ports: []int{0},
			Say: func(string) {}, Browse: func(string) error { cancel(); return nil }})
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestLoginCommand(t *testing.T) {
	run := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := cli.Main(append([]string{"login", "--data-dir", t.TempDir()}, args...), strings.NewReader(""), &out, &errs)
		return code, out.String() + errs.String()
	}
	code, text := run()
	require.Equal(t, 4, code)
	require.Contains(t, text, "no identity provider to sign in at is known")
	require.Contains(t, text, "hint: ")

	code, text = run("--issuer", "https://127.0.0.1:1/", "--client-id", "x")
	require.Equal(t, 4, code)
	require.Contains(t, text, "cannot be reached")
	require.Equal(t, 1, strings.Count(text, "error:"), text)

	code, text = run("--issuer", "https://127.0.0.1:1/", "--client-id", "x", "--cert", "y")
	require.Equal(t, 1, code)
	require.Contains(t, text, "--cert and --key")
}
