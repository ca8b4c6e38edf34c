package test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/workflows"
)

// TestServiceToService runs the two programs of examples/service-to-service
// against a tenant in which the caller was registered, with one of the API's scopes.
func TestServiceToService(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "./...")
	build.Dir = filepath.Join("..", "examples", "service-to-service")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	s := startStack(t, t.TempDir(), &daemon.WorkerConfig{})
	const audience = "https://orders.example"
	for _, wrong := range [][]string{{}, {"--api", audience, "--audience", audience}, {"--audience", audience, "--api-scope", "read:orders"}} {
		require.Error(t, tenon(t, append([]string{"service", "register", "billing", "--data-dir", s.dir}, wrong...)...).Run(), "%v", wrong)
	}
	register := tenon(t, "service", "register", "billing", "--api", audience, "--api-scope", "read:orders=Read orders", "--api-scope", "create:orders",
		"--scope", "read:orders", "--data-dir", s.dir, "-o", "json")
	out, err = register.Output()
	require.NoError(t, err)
	var client workflows.ServiceResult
	require.NoError(t, json.Unmarshal(out, &client))
	require.Len(t, client.Proof, 3)
	require.Contains(t, client.Proof[2], "create:orders")
	secrets, err := secret.ReadDotenv(filepath.Join(s.dir, "secrets.env"))
	require.NoError(t, err)
	clientSecret := secrets[strings.TrimPrefix(client.ClientSecret, "dotenv:")].Reveal()
	require.NotEmpty(t, clientSecret)
	require.NotContains(t, string(out), clientSecret)

	env := append(os.Environ(),
		"SSL_CERT_FILE="+filepath.Join(s.dir, "certs", "ca.crt"),
		"AUTH0_DOMAIN="+s.endpoints.Auth0.Domain,
		"AUTH0_AUDIENCE="+audience,
		"AUTH0_CLIENT_ID="+client.ClientID,
		"AUTH0_CLIENT_SECRET="+clientSecret,
	)
	api := startExample(t, filepath.Join(bin, "api"), append(env, "LISTEN=127.0.0.1:0"))
	call := func(args ...string) string {
		cmd := exec.Command(filepath.Join(bin, "caller"), args...)
		cmd.Env = append(env, "API_URL="+api)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}

	s.clearRequests(t)
	require.Equal(t, "200 300", call("-n", "300", "-parallel", "8"))
	require.Equal(t, 1, s.tokenRequests(t), "300 calls want one token, not one each")
	require.Equal(t, "403 1", call("-method", "POST"), "the token lacks create:orders")

	get := func(authorization string) int {
		req, err := http.NewRequest(http.MethodGet, api+"/orders", nil)
		require.NoError(t, err)
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode
	}
	token := func() string {
		c, err := s.http()
		require.NoError(t, err)
		res, err := c.PostForm("https://"+s.endpoints.Auth0.Domain+"/oauth/token", url.Values{
			"grant_type": {"client_credentials"}, "audience": {audience}, "client_id": {client.ClientID}, "client_secret": {clientSecret}})
		require.NoError(t, err)
		defer res.Body.Close()
		var body struct {
			AccessToken string `json:"access_token"`
		}
		require.NoError(t, json.NewDecoder(res.Body).Decode(&body))
		require.NotEmpty(t, body.AccessToken)
		return body.AccessToken
	}
	require.Equal(t, http.StatusOK, get("Bearer "+token()))
	require.NotEqual(t, http.StatusOK, get(""), "no token")
	s.control(t, "POST", "clock", map[string]string{"advance": "-2h"}, nil)
	require.Equal(t, http.StatusUnauthorized, get("Bearer "+token()), "the token expired an hour ago")

	s.control(t, "POST", "clock", map[string]bool{"reset": true}, nil)
	// A token that is good for half a minute, less than the caller keeps in reserve,
	// must not be used a second time.
	require.NoError(t, s.manage("PATCH", "resource-servers/"+url.PathEscape(audience), map[string]any{"token_lifetime": 30}, nil))
	s.clearRequests(t)
	require.Equal(t, "200 5", call("-n", "5", "-parallel", "1"))
	require.Equal(t, 5, s.tokenRequests(t))
}

// startExample starts a program that prints where it listens.
func startExample(t *testing.T, program string, env []string) (address string) {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Env, cmd.Stderr = env, os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		require.NoError(t, cmd.Wait())
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

func (s *stack) clearRequests(t *testing.T) {
	t.Helper()
	s.control(t, "DELETE", "requests", nil, nil)
}

// tokenRequests counts the answered requests for a token.
func (s *stack) tokenRequests(t *testing.T) (n int) {
	t.Helper()
	var log struct {
		Requests []struct {
			Path   string `json:"path"`
			Status int    `json:"status"`
		} `json:"requests"`
	}
	s.control(t, "GET", "requests", nil, &log)
	for _, r := range log.Requests {
		if r.Path == "/oauth/token" && r.Status == http.StatusOK {
			n++
		}
	}
	return n
}
