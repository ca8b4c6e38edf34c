package grafana

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
)

// login renders the settings, reads them back, and logs Ada in with them.
func (p *idp) login(t *testing.T, person *Person, change func(*Config)) (*LoginResult, error) {
	t.Helper()
	a := app()
	a.Domain = strings.TrimPrefix(p.url, "https://")
	s, err := NewSettings(a)
	require.NoError(t, err)
	files, err := Write(t.TempDir(), "grafana", s, secret.New(p.clientSecret))
	require.NoError(t, err)
	cfg, err := ReadConfig(files)
	require.NoError(t, err)
	if change != nil {
		change(&cfg)
	}
	return Login(t.Context(), LoginRequest{Config: cfg, Person: person, HTTP: p.client})
}

func ada() *Person { return &Person{Email: "ada@acme.test", Password: secret.New("correct horse")} }

func TestLogin(t *testing.T) {
	p := newIDP(t)
	result, err := p.login(t, ada(), nil)
	require.NoError(t, err)
	require.Equal(t, "Admin", result.Role)
	require.Equal(t, "id_token", result.RoleFrom)
	require.Equal(t, "auth0|1", result.Subject)
	require.Equal(t, "ada@acme.test", result.Login)
	require.Equal(t, p.url+"/", result.Issuer)
	require.True(t, result.EmailVerified && result.Refreshed)
	require.Contains(t, result.Steps, stepLogin)
	for _, step := range result.Steps {
		require.NotContains(t, step, "correct horse")
	}
}

// The role is looked for in the ID token first, then in userinfo.
func TestLoginRoleOrder(t *testing.T) {
	p := newIDP(t)
	p.idClaims[DefaultRolesClaim] = []string{"viewer"}
	p.userinfo[DefaultRolesClaim] = []string{"admin"}
	result, err := p.login(t, ada(), nil)
	require.NoError(t, err)
	require.Equal(t, "Viewer", result.Role)

	delete(p.idClaims, DefaultRolesClaim)
	result, err = p.login(t, ada(), nil)
	require.NoError(t, err)
	require.Equal(t, "Admin", result.Role)
	require.Equal(t, "userinfo", result.RoleFrom)

	delete(p.userinfo, DefaultRolesClaim)
	_, err = p.login(t, ada(), nil)
	require.ErrorIs(t, err, ErrNoRole)
}

// A person without a second factor enrols one on the way; the next login, within
// the same half minute, does not repeat a code.
func TestLoginWithSecondFactor(t *testing.T) {
	p := newIDP(t)
	p.mfa = true
	person := ada()
	result, err := p.login(t, person, nil)
	require.NoError(t, err)
	require.Contains(t, result.Steps, stepEnrol)
	require.Equal(t, seed, person.TOTPSecret.Reveal())
	require.Equal(t, "ABCD1234EFGH5678", person.RecoveryCode.Reveal())

	result, err = p.login(t, person, nil)
	require.NoError(t, err)
	require.Contains(t, result.Steps, stepCode)

	_, err = p.login(t, ada(), nil)
	require.ErrorContains(t, err, "no authenticator app")
}

func TestLoginRefused(t *testing.T) {
	for name, c := range map[string]struct {
		tamper map[string]string
		person *Person
		change func(*Config)
		want   string
	}{
		"wrong password":      {person: &Person{Email: "ada@acme.test", Password: secret.New("guess")}, want: "Wrong email or password."},
		"wrong secret":        {change: func(c *Config) { c.ClientSecret = secret.New("guess") }, want: "invalid_client"},
		"no password":         {person: &Person{Email: "ada@acme.test"}, want: "asks for a password"},
		"another issuer":      {tamper: map[string]string{"issuer": "https://evil.test/"}, want: "issuer"},
		"other endpoint":      {tamper: map[string]string{"token_endpoint": "2"}, want: "token_url"},
		"another's state":     {tamper: map[string]string{"state": "forged"}, want: "another state"},
		"tenant's refusal":    {tamper: map[string]string{"error": "access_denied"}, want: "access_denied"},
		"another key":         {tamper: map[string]string{"key": "x"}, want: "ID token"},
		"no refresh token":    {tamper: map[string]string{"refresh": "none"}, want: "no refresh token"},
		"callback elsewhere":  {change: func(c *Config) { c.RootURL = "https://other.test" }, want: "Callback URL mismatch"},
		"unknown auth style":  {change: func(c *Config) { c.AuthStyle = "Shout" }, want: "auth_style"},
		"form to a foreigner": {tamper: map[string]string{"action": "https://evil.test/steal"}, want: "another origin"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			if c.tamper != nil {
				p.tamper = c.tamper
			}
			person := c.person
			if person == nil {
				person = ada()
			}
			_, err := p.login(t, person, c.change)
			require.ErrorContains(t, err, c.want)
			for _, secret := range []string{"correct horse", "hush-123", "code-1", "guess"} {
				require.NotContains(t, err.Error(), secret)
			}
		})
	}
}

// A token for another application is none for this one.
func TestLoginChecksTheAudience(t *testing.T) {
	p := newIDP(t)
	p.idClaims["aud"] = "another-client"
	_, err := p.login(t, ada(), nil)
	require.ErrorContains(t, err, "audience")
	p.idClaims["aud"], p.idClaims["exp"] = p.clientID, time.Now().Add(-time.Hour).Unix()
	_, err = p.login(t, ada(), nil)
	require.ErrorContains(t, err, "expired")
}

// userinfo must speak of the person who logged in (OpenID Connect Core, 5.3.2).
func TestLoginChecksTheSubject(t *testing.T) {
	p := newIDP(t)
	p.userinfo["sub"] = "auth0|2"
	_, err := p.login(t, ada(), nil)
	require.ErrorContains(t, err, "another subject")
}

func TestPasswordTicket(t *testing.T) {
	p := newIDP(t)
	person := &Person{Email: "ada@acme.test", Password: secret.New("a new one")}
	b, err := NewBrowser(BrowserConfig{HTTP: p.client, Origin: p.url, Person: person})
	require.NoError(t, err)
	_, err = b.Visit(t.Context(), p.url+"/u/reset-password?ticket=t1#", "")
	require.NoError(t, err)
	require.Equal(t, []string{stepChoose}, b.Steps())
	require.Equal(t, "a new one", p.password)

	_, err = p.login(t, person, nil)
	require.NoError(t, err)

	_, err = b.Visit(t.Context(), p.url+"/u/reset-password?ticket=expired-one#", "")
	var page *PageError
	require.ErrorAs(t, err, &page)
	require.Equal(t, "This link is not valid any more.", page.Text)
	require.NotContains(t, err.Error(), "expired-one")
}

func TestBrowserGivesUp(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/again", http.StatusFound)
	}))
	t.Cleanup(server.Close)
	b, err := NewBrowser(BrowserConfig{HTTP: server.Client(), Origin: server.URL, Person: ada()})
	require.NoError(t, err)
	_, err = b.Visit(t.Context(), server.URL, "")
	require.ErrorContains(t, err, "redirects")
	_, err = NewBrowser(BrowserConfig{Origin: "http://tenant.test", Person: ada()})
	require.Error(t, err)
}
