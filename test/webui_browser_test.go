package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/oauth2"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/sdk"
)

// signInStack is what `tenon up` runs, with a clock that the test moves and a
// second namespace.
type signInStack struct {
	*daemon.Daemon
	ahead    atomic.Int64
	password string
}

func (s *signInStack) now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

func startSignInStack(t *testing.T) *signInStack {
	t.Helper()
	s := &signInStack{}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	d, err := daemon.New(t.Context(), daemon.Config{
		DataDir: dir, Version: "test",
		File:      &config.File{Cluster: config.ClusterFile{Namespaces: []config.Namespace{{Name: "payments"}}}},
		Cluster:   &daemon.ClusterConfig{Address: "127.0.0.1:0", WebUI: &daemon.WebUIConfig{Address: "127.0.0.1:0"}},
		Simulator: &daemon.SimulatorConfig{Address: "127.0.0.1:0", Memory: true},
		Now:       s.now,
		Logger:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	require.NoError(t, err)
	s.Daemon = d
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	select {
	case <-d.Ready():
	case err := <-ended:
		ended <- err
		require.NoError(t, errors.Join(err, errors.New("it ended")))
	}
	email, file := d.DemoPerson()
	require.Equal(t, "demo@example.com", email)
	password, err := os.ReadFile(file)
	require.NoError(t, err)
	s.password = strings.TrimSpace(string(password))
	return s
}

// startIn starts a workflow that nobody works on.
func (s *signInStack) startIn(t *testing.T, namespace, id string) {
	t.Helper()
	cfg, err := sdk.FromDataDir(s.DataDir().File(), sdk.System)
	require.NoError(t, err)
	cfg.Namespace = namespace
	c, err := sdk.Dial(t.Context(), cfg)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: "nobody"}, "PictureWorkflow")
	require.NoError(t, err)
}

func (s *signInStack) signIn(b *webBrowser) {
	b.click("a.act")
	b.fill("username", "demo@example.com", "password", s.password)
	b.click("button")
	// Auth0 cannot tell who answers at a loopback address, so it asks the person.
	b.click("button[value=accept]")
}

// TestLogin signs a person in from a command line, by both flows, with the same
// browser; the profile then opens the cluster, and renews itself.
func TestLogin(t *testing.T) {
	b := startWebBrowser(t)
	s := startSignInStack(t)
	cluster := s.Endpoints().Cluster
	s.startIn(t, "default", "orders/visible-4711")
	certs := s.DataDir().File("certs")
	path := filepath.Join(t.TempDir(), "conf", "temporal.toml")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte("[profile.other]\naddress = \"elsewhere:7233\"\n"), 0o600))
	signIn := func(device bool, follow func(address string)) *daemon.LoginResult {
		addresses := make(chan string, 1)
		var result *daemon.LoginResult
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			result, err = daemon.Login(context.Background(), daemon.LoginConfig{
				Issuer: cluster.Login.Issuer, ClientID: cluster.Login.ClientID, Audience: cluster.Login.Audience, CAFile: cluster.Login.CA,
				Device: device, Browse: func(address string) error { addresses <- address; return nil }, Say: func(line string) { t.Log(line) },
				Now: s.now, Timeout: 3 * time.Minute,
			})
		}()
		select {
		case address := <-addresses:
			follow(address)
		case <-done:
		}
		<-done
		require.NoError(t, err)
		require.Equal(t, "demo@example.com", result.Email)
		require.True(t, result.Renewable())
		return result
	}
	write := func(r *daemon.LoginResult) {
		require.NoError(t, r.Write(t.Context(), daemon.LoginProfile{
			File: path, Name: "tenon", Address: cluster.Address, Namespace: "default", CAFile: cluster.CA,
			CertFile: filepath.Join(certs, "temporal-client.crt"), KeyFile: filepath.Join(certs, "temporal-client.key"),
		}))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}

	write(signIn(false, func(address string) {
		// Another program, or page, that calls the address ends nothing.
		u, err := url.Parse(address)
		require.NoError(t, err)
		res, err := http.Get(u.Query().Get("redirect_uri") + "?code=x&state=guessed")
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, 400, res.StatusCode)
		require.Equal(t, "S256", u.Query().Get("code_challenge_method"))
		b.open(address)
		b.fill("username", "demo@example.com", "password", s.password)
		b.click("button")
		b.click("button[value=accept]")
		b.shows("You are signed in")
		b.picture("8-login")
	}))
	var file struct {
		Profile map[string]struct {
			Address string
			APIKey  string `toml:"api_key"`
			OAuth   struct {
				ClientID     string    `toml:"client_id"`
				TokenURL     string    `toml:"token_url"`
				AccessToken  string    `toml:"access_token"`
				RefreshToken string    `toml:"refresh_token"`
				ExpiresAt    time.Time `toml:"expires_at"`
				Scopes       []string
			}
		}
	}
	_, err := toml.DecodeFile(path, &file)
	if err != nil { // the stock tools read expires_at as text
		require.ErrorContains(t, err, "expires_at")
	}
	require.Equal(t, "elsewhere:7233", file.Profile["other"].Address, "what else the file holds stays")
	mine := file.Profile["tenon"]
	count := func(accessToken string) error {
		target, err := sdk.FromDataDir(s.DataDir().File(), sdk.Client)
		require.NoError(t, err)
		target.TokenFile = filepath.Join(t.TempDir(), "token")
		require.NoError(t, os.WriteFile(target.TokenFile, []byte(accessToken), 0o600))
		c, err := sdk.Dial(t.Context(), target)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{Namespace: "default"})
		return err
	}
	require.NoError(t, count(mine.OAuth.AccessToken))
	require.Equal(t, mine.APIKey, mine.OAuth.AccessToken)

	// An hour later the access token is refused, and the profile renews it.
	s.ahead.Add(int64(65 * time.Minute))
	require.ErrorContains(t, count(mine.OAuth.AccessToken), "unauthorized")
	pem, err := os.ReadFile(cluster.CA)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	renewed, err := (&oauth2.Config{ClientID: mine.OAuth.ClientID, Endpoint: oauth2.Endpoint{TokenURL: mine.OAuth.TokenURL}}).
		TokenSource(context.WithValue(t.Context(), oauth2.HTTPClient, web), &oauth2.Token{RefreshToken: mine.OAuth.RefreshToken}).Token()
	require.NoError(t, err)
	require.NoError(t, count(renewed.AccessToken))

	// And by code, from a machine without a browser.
	write(signIn(true, func(address string) {
		b.open(address)
		b.until("a page of the provider", `document.querySelector("button") !== null`)
		b.picture("9-device")
		// Confirm the code, and consent, pressing each page's button once.
		b.until("the device is connected", `(() => {
			if (document.body.innerText.includes("Congratulations")) return true;
			const button = document.querySelector("button[value=accept]") ?? document.querySelector("button");
			if (button && !button.dataset.pressed) { button.dataset.pressed = "1"; button.click(); }
			return false;
		})()`)
		b.picture("10-device-done")
	}))
}

// TestWebUIInABrowser is a person's day with the Web UI, in a real browser: the
// policies in our headers and the cookies' attributes are its judgement.
func TestWebUIInABrowser(t *testing.T) {
	b := startWebBrowser(t)
	s := startSignInStack(t)
	ui := s.Endpoints().Cluster.WebUI
	s.startIn(t, "default", "orders/visible-4711")
	s.startIn(t, "payments", "payments/hidden-4712")

	b.open(ui + "/namespaces/default/workflows")
	b.shows("Sign in with your account")
	b.picture("1-sign-in")
	s.signIn(b)
	b.shows("orders/visible-4711")
	require.Contains(t, b.try("location.href"), "/namespaces/default/workflows", "back where the person wanted to go")
	b.picture("2-workflows")
	require.NotContains(t, b.text(), "hidden-4712")
	require.Equal(t, "", b.try("document.cookie"), "no cookie is left for scripts")
	require.NotContains(t, b.try("JSON.stringify(localStorage)"), "eyJ", "no token either")

	// One namespace of two, and the other refused.
	list := b.fetch("/api/v1/namespaces?pageSize=100")
	require.True(t, strings.HasPrefix(list, "200 "), list)
	require.Contains(t, list, `"default"`)
	require.NotContains(t, list, "payments")
	require.True(t, strings.HasPrefix(b.fetch("/api/v1/namespaces/payments/workflows"), "403 "))
	b.open(ui + "/namespaces/payments/workflows")
	b.shows("Your roles do not allow this")
	b.picture("3-other-namespace")
	require.NotContains(t, b.text(), "hidden-4712")

	// A workflow, its history, and the download that the stock server would make
	// with an identity of its own.
	b.open(ui + "/namespaces/default/workflows/orders%2Fvisible-4711")
	b.shows("PictureWorkflow")
	b.picture("4-workflow")
	b.until("the address names the run", `/\/workflows\/[^/]+\/[0-9a-f-]{36}/.test(location.pathname)`)
	path := b.try("location.pathname")
	run := path[strings.Index(path, "visible-4711/")+len("visible-4711/"):][:36]
	history := b.fetch("/api/v1/namespaces/default/workflows/orders%2Fvisible-4711/run/" + run + "/history.json")
	require.True(t, strings.HasPrefix(history, "200 ["), history)
	require.Contains(t, history, "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED")

	// The access token lives an hour; the session goes on.
	for range 3 {
		s.ahead.Add(int64(30 * time.Minute))
		require.True(t, strings.HasPrefix(b.fetch("/api/v1/namespaces/default/workflows"), "200 "), "after %s", time.Duration(s.ahead.Load()))
	}
	b.open(ui + "/namespaces/default/workflows")
	b.shows("orders/visible-4711")

	// Signed out here and at the provider.
	b.try(`[...document.querySelectorAll("button")].find(e => e.id.includes("user") || (e.getAttribute("aria-controls") ?? "").includes("user"))?.click()`)
	b.shows("Log out")
	b.picture("5-menu")
	b.try(`[...document.querySelectorAll("[data-testid=log-out], [role=menuitem], li, button")].find(e => e.innerText.trim() === "Log out").click()`)
	b.shows("You are signed out")
	b.picture("6-signed-out")
	b.click("a.act")
	b.shows("Sign in with your account")
	b.click("a.act")
	b.until("the provider asks for a password again", `document.getElementById("password") !== null || document.getElementById("username") !== null`)
	b.picture("7-provider-asks-again")

	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(t, b.problems, "what the policy refused, and what scripts threw")
}
