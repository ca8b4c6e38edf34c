package test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/secret"
)

// TestWebUICertificateRotates renews the certificate beside a running Web UI.
func TestWebUICertificateRotates(t *testing.T) {
	s := startSignInStack(t)
	address := s.Endpoints().Cluster.WebUI[len("https://"):]
	serial := func() string {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	require.Equal(t, before, serial())
	certs, err := daemon.OpenCerts(s.DataDir().File(), nil)
	require.NoError(t, err)
	_, err = certs.RotateLeaf(t.Context(), pki.ServerLeaf)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return serial() != before }, 20*time.Second, 50*time.Millisecond)
}

// TestWebUIOfAnyProvider runs a server whose people sign in elsewhere, at a
// provider that is down when the server starts.
func TestWebUIOfAnyProvider(t *testing.T) {
	at, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	issuer := at.Addr().String()
	require.NoError(t, at.Close())
	_, port, err := net.SplitHostPort(issuer)
	require.NoError(t, err)
	elsewhere := t.TempDir()
	provider := func() *daemon.Daemon {
		require.NoError(t, os.Chmod(elsewhere, 0o700))
		d, err := daemon.New(t.Context(), daemon.Config{DataDir: elsewhere, Version: "test", Simulator: &daemon.SimulatorConfig{Address: issuer, Memory: true}})
		require.NoError(t, err)
		return d
	}
	d := provider() // makes the authority that the server trusts
	require.NoError(t, d.Close())

	dir := t.TempDir()
	t.Setenv("TEST_WEB_UI_SECRET", "s3cret")
	s := start(t, daemon.Config{DataDir: dir, Cluster: &daemon.ClusterConfig{Address: "127.0.0.1:0", WebUI: &daemon.WebUIConfig{
		Address: "127.0.0.1:0",
		OIDC: &config.OIDC{
			Issuer: "https://localhost:" + port + "/", ClientID: "ui", ClientSecret: secret.Ref("env:TEST_WEB_UI_SECRET"),
			CAFile: filepath.Join(elsewhere, "certs", "ca.crt"), Groups: map[string][]string{"ops": {"default:operator"}},
		},
	}}})
	web, err := s.http()
	require.NoError(t, err)
	web.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	get := func(path string) *http.Response {
		res, err := web.Get(s.endpoints.Cluster.WebUI + path)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res
	}
	require.Equal(t, 200, get("/auth/login").StatusCode)
	require.Equal(t, 503, get("/auth/sso").StatusCode, "the provider is down")
	require.Nil(t, s.endpoints.Cluster.Login)

	d = provider()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	<-d.Ready()
	defer func() {
		stop()
		require.NoError(t, <-ended)
	}()
	require.Eventually(t, func() bool { return get("/auth/sso").StatusCode == http.StatusSeeOther }, 20*time.Second, 100*time.Millisecond)
	require.Contains(t, get("/auth/sso").Header.Get("Location"), "https://localhost:"+port+"/authorize?")
}

func TestWebUIConfigRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	good := config.OIDC{Issuer: "https://idp.example.com/", ClientID: "ui", PermissionsClaim: "roles"}
	with := func(change func(*config.OIDC)) *config.OIDC {
		o := good
		change(&o)
		return &o
	}
	for name, c := range map[string]struct {
		webUI daemon.WebUIConfig
		want  string
	}{
		"no provider":  {daemon.WebUIConfig{Address: "127.0.0.1:0"}, "no provider"},
		"taken":        {daemon.WebUIConfig{Address: taken.Addr().String(), OIDC: &good}, "cannot listen"},
		"no port":      {daemon.WebUIConfig{Address: "127.0.0.1", OIDC: &good}, "missing port"},
		"everywhere":   {daemon.WebUIConfig{Address: ":0", OIDC: &good}, "no address for browsers"},
		"plain url":    {daemon.WebUIConfig{Address: "127.0.0.1:0", PublicURL: "http://x", OIDC: &good}, "https://HOST"},
		"secret":       {daemon.WebUIConfig{Address: "127.0.0.1:0", OIDC: with(func(o *config.OIDC) { o.ClientSecret = "env:NOT_SET_ANYWHERE" })}, "clientSecret"},
		"expression":   {daemon.WebUIConfig{Address: "127.0.0.1:0", OIDC: with(func(o *config.OIDC) { o.PermissionsExpression = "claims.(" })}, "permissionsExpression"},
		"ca":           {daemon.WebUIConfig{Address: "127.0.0.1:0", OIDC: with(func(o *config.OIDC) { o.CAFile = "/nowhere" })}, "caFile"},
		"from":         {daemon.WebUIConfig{Address: "127.0.0.1:0", OIDC: with(func(o *config.OIDC) { o.PermissionsFrom = "cookies" })}, `"cookies"`},
		"access token": {daemon.WebUIConfig{Address: "127.0.0.1:0", OIDC: with(func(o *config.OIDC) { o.PermissionsFrom = "access_token" })}, "need an audience"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Chmod(dir, 0o700))
			d, err := daemon.New(t.Context(), daemon.Config{DataDir: dir, Version: "test", Cluster: &daemon.ClusterConfig{Address: "127.0.0.1:0", WebUI: &c.webUI}})
			if err == nil {
				err = d.Run(t.Context())
			}
			require.ErrorContains(t, err, c.want)
			var hinted *config.Error
			require.ErrorAs(t, err, &hinted)
			require.NotEmpty(t, hinted.Hint)
			_, err = os.Stat(filepath.Join(dir, config.EndpointsFile))
			require.ErrorIs(t, err, os.ErrNotExist, "nothing half-started")
		})
	}
}
