package test

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/grafana"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/workflows"
)

// loginFile is what `tenon login` writes, as the stock CLI reads it.
type loginFile struct {
	Profile map[string]*struct {
		Address string `toml:"address"`
		OAuth   struct {
			ClientID     string   `toml:"client_id"`
			ClientSecret string   `toml:"client_secret"`
			TokenURL     string   `toml:"token_url"`
			AuthURL      string   `toml:"auth_url"`
			RedirectURL  string   `toml:"redirect_url"`
			AccessToken  string   `toml:"access_token"`
			RefreshToken string   `toml:"refresh_token"`
			TokenType    string   `toml:"token_type"`
			ExpiresAt    string   `toml:"expires_at"`
			Scopes       []string `toml:"scopes"`
		} `toml:"oauth"`
	} `toml:"profile"`
}

// TestLoginLastsForTheStockCLI signs a person in when the simulator's clock stood
// behind by more than a token's life: what they hold now is what they hold that
// much later. The token is refused, the oauth table renews it the way the stock
// CLI does since it knows that table, and the new one is accepted.
func TestLoginLastsForTheStockCLI(t *testing.T) {
	t.Parallel()
	r := startUp(t, "--web-ui-address", "127.0.0.1:0")
	trusting, err := (&stack{dir: r.dir}).http()
	require.NoError(t, err)
	life := time.Duration(workflows.TenantSetupInput{}.WithDefaults().API.TokenLifetimeSeconds) * time.Second
	later := life + time.Hour
	r.moveClock(t, trusting, `{"advance":"-`+later.String()+`"}`)

	login := newProgram(t, nil, "tenon", "login", "--no-browser", "--data-dir", r.dir)
	login.cmd.Dir = t.TempDir()
	login.run().await("redirect_uri=")
	password, err := os.ReadFile(filepath.Join(r.dir, "secrets", "web-ui-demo-password"))
	require.NoError(t, err)
	browser, err := grafana.NewBrowser(grafana.BrowserConfig{
		HTTP: trusting, Origin: "https://" + r.endpoints.Auth0.Domain,
		Person: &grafana.Person{Email: "demo@example.com", Password: secret.New(strings.TrimSpace(string(password)))},
	})
	require.NoError(t, err)
	address := regexp.MustCompile(`https://\S+`).FindString(login.output.String())
	back, err := browser.Visit(t.Context(), address, "http://127.0.0.1:")
	require.NoError(t, err)
	require.Equal(t, "/callback", back.Path)
	// A page that does not know the state ends nothing.
	forged := *back
	forged.RawQuery = url.Values{"code": {"stolen"}, "state": {"guessed"}}.Encode()
	res, err := http.Get(forged.String())
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusBadRequest, res.StatusCode)
	res, err = http.Get(back.String())
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)
	<-login.done
	require.NoError(t, login.err)

	path := filepath.Join(r.dir, "login.toml")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	var file loginFile
	_, err = toml.DecodeFile(path, &file)
	require.NoError(t, err)
	profile := file.Profile[daemon.Profile]
	require.NotNil(t, profile)
	require.Equal(t, r.endpoints.Cluster.Address, profile.Address)
	require.Empty(t, profile.OAuth.ClientSecret, "a command line keeps no secret")
	expires, err := time.Parse(time.RFC3339, profile.OAuth.ExpiresAt)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(life), expires, 2*time.Minute)

	// Later.
	r.moveClock(t, trusting, `{"reset":true}`)
	cli := &stock{binary: stockCLI(t), env: append(bareEnvironment(t), "TEMPORAL_CONFIG_FILE="+path)}
	_, stderr, err := cli.run(t, "workflow", "list")
	require.Error(t, err, "the token of then has expired")
	require.Contains(t, stderr, "unauthorized")
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, trusting)
	then := &oauth2.Token{AccessToken: profile.OAuth.AccessToken, RefreshToken: profile.OAuth.RefreshToken, TokenType: profile.OAuth.TokenType, Expiry: expires.Add(-later)}
	source := oauth2.ReuseTokenSourceWithExpiry(then, (&oauth2.Config{
		ClientID: profile.OAuth.ClientID, RedirectURL: profile.OAuth.RedirectURL, Scopes: profile.OAuth.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: profile.OAuth.AuthURL, TokenURL: profile.OAuth.TokenURL},
	}).TokenSource(ctx, then), time.Minute)
	now, err := source.Token()
	require.NoError(t, err)
	require.NotEqual(t, then.AccessToken, now.AccessToken)
	require.NotEmpty(t, now.RefreshToken)
	_, stderr, err = cli.run(t, "workflow", "list", "--api-key", now.AccessToken)
	require.NoError(t, err, stderr)
	// And the next renewal works too: the refresh token was replaced.
	then = &oauth2.Token{RefreshToken: now.RefreshToken, Expiry: time.Now().Add(-time.Hour)}
	again, err := (&oauth2.Config{ClientID: profile.OAuth.ClientID, Endpoint: oauth2.Endpoint{TokenURL: profile.OAuth.TokenURL}}).TokenSource(ctx, then).Token()
	require.NoError(t, err)
	require.NotEqual(t, now.RefreshToken, again.RefreshToken)

	// The cluster knows the person by the provider's name for them.
	log, err := daemon.AuditLog(r.dir)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		found := false
		err := audit.Scan(log.Dir, time.Time{}, func(rec *audit.Record) error {
			found = found || (rec.Verdict == audit.Allow && strings.HasPrefix(rec.Subject, "auth0|") && rec.Issuer == "https://"+r.endpoints.Auth0.Domain+"/")
			return nil
		})
		return err == nil && found
	}, time.Minute, 50*time.Millisecond)
}

// moveClock moves the simulator's clock.
func (r *running) moveClock(t *testing.T, c *http.Client, body string) {
	t.Helper()
	res, err := c.Post(r.endpoints.Auth0.Control+"clock", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusOK, res.StatusCode)
}
