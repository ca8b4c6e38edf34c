package grafana

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/jmespath/go-jmespath"
	"golang.org/x/oauth2"
)

// LoginRequest asks for one login.
type LoginRequest struct {
	// Config is what Grafana runs with; see ReadConfig.
	Config Config
	// Person logs in. Their authenticator's state is updated.
	Person *Person
	// HTTP sends every request, the person's and Grafana's. Its Transport trusts
	// the tenant's certificate. Defaults to a client with a timeout of 15 seconds.
	HTTP *http.Client
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Rand yields state and PKCE verifier. Defaults to crypto/rand.
	Rand io.Reader
}

// LoginResult is what Grafana would have made of the login.
type LoginResult struct {
	// Role is Viewer, Editor, Admin or None, in the organisation.
	Role string `json:"role"`
	// GrafanaAdmin says that the person administers the whole server.
	GrafanaAdmin bool `json:"grafanaAdmin,omitempty"`
	// RoleFrom is where the role was found: "id_token" or "userinfo".
	RoleFrom string `json:"roleFrom"`
	Subject  string `json:"subject"`
	Login    string `json:"login"`
	Email    string `json:"email"`
	Name     string `json:"name,omitempty"`
	// Issuer, EmailVerified and Expiry are the validated ID token's.
	Issuer        string    `json:"issuer"`
	EmailVerified bool      `json:"emailVerified"`
	Expiry        time.Time `json:"expiry"`
	// Refreshed says that a refresh token was issued and worked once.
	Refreshed bool `json:"refreshed"`
	// Steps is what happened, in order, without secrets.
	Steps []string `json:"steps"`
}

// ErrNoRole says that Grafana would refuse the person: role_attribute_strict is
// set and no role was found.
var ErrNoRole = errors.New("grafana refuses the login: no role was found and role_attribute_strict is set")

// Login logs the person in as Grafana does with these settings: authorization
// code with PKCE through the tenant's login page, the code for tokens, claims
// from the ID token and then from userinfo, and the role by JMESPath. Beyond
// Grafana it holds the ID token to the issuer's discovery document and keys.
func Login(ctx context.Context, req LoginRequest) (*LoginResult, error) {
	cfg := req.Config
	if req.HTTP == nil {
		req.HTTP = &http.Client{Timeout: 15 * time.Second}
	}
	if req.Now == nil {
		req.Now = time.Now
	}
	if req.Rand == nil {
		req.Rand = rand.Reader
	}
	authURL, err := url.Parse(cfg.AuthURL)
	if err != nil {
		return nil, fmt.Errorf("auth_url: %w", err)
	}
	origin := originOf(authURL)
	var steps []string

	// 1. The tenant's discovery document and keys must be those of the settings.
	ctx = oidc.ClientContext(ctx, req.HTTP) // for go-oidc and oauth2 alike
	provider, err := oidc.NewProvider(ctx, origin+"/")
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	if err := sameEndpoints(provider, cfg); err != nil {
		return nil, err
	}
	steps = append(steps, "read the discovery document of "+origin)

	// 2. The person, from /authorize through the login page to the callback.
	style, err := authStyle(cfg.AuthStyle)
	if err != nil {
		return nil, err
	}
	client := oauth2.Config{
		ClientID:     cfg.ClientID,
		ClientSecret: cfg.ClientSecret.Reveal(),
		Endpoint:     oauth2.Endpoint{AuthURL: cfg.AuthURL, TokenURL: cfg.TokenURL, AuthStyle: style},
		RedirectURL:  cfg.RootURL + CallbackPath,
		Scopes:       cfg.Scopes,
	}
	state, err := random(req.Rand)
	if err != nil {
		return nil, err
	}
	verifier, err := random(req.Rand)
	if err != nil {
		return nil, err
	}
	var forAuthorize, forToken []oauth2.AuthCodeOption
	if cfg.UsePKCE {
		forAuthorize = append(forAuthorize, oauth2.S256ChallengeOption(verifier))
		forToken = append(forToken, oauth2.VerifierOption(verifier))
	}
	browser, err := NewBrowser(BrowserConfig{HTTP: req.HTTP, Origin: origin, Person: req.Person, Now: req.Now})
	if err != nil {
		return nil, err
	}
	back, err := browser.Visit(ctx, client.AuthCodeURL(state, forAuthorize...), client.RedirectURL+"?")
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	steps = append(steps, browser.Steps()...)
	answer := back.Query()
	if code := answer.Get("error"); code != "" {
		return nil, fmt.Errorf("log in: the tenant answers %s: %s", shorten(code), shorten(answer.Get("error_description")))
	}
	// Another state is somebody else's login (RFC 6749, 10.12).
	if answer.Get("state") != state {
		return nil, errors.New("log in: the callback carries another state than the request")
	}

	// 3. The code for tokens, and the ID token held to issuer, audience, expiry and keys.
	token, err := client.Exchange(ctx, answer.Get("code"), forToken...)
	if err != nil {
		return nil, fmt.Errorf("exchange the code: %w", tokenError(err))
	}
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, errors.New("the token answer has no id_token")
	}
	verified, err := provider.Verifier(&oidc.Config{ClientID: cfg.ClientID, SupportedSigningAlgs: []string{oidc.RS256}, Now: req.Now}).Verify(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("ID token: %w", err)
	}
	var idClaims json.RawMessage
	if err := verified.Claims(&idClaims); err != nil {
		return nil, fmt.Errorf("ID token: %w", err)
	}
	steps = append(steps, "exchanged the code and validated the ID token")

	// 4. userinfo, which must speak of the same person.
	info, err := userinfo(ctx, &client, token, cfg.APIURL)
	if err != nil {
		return nil, err
	}
	steps = append(steps, "read userinfo")
	result, err := cfg.evaluate([]source{{"id_token", idClaims}, {"userinfo", info}})
	if err != nil {
		return nil, err
	}
	if subject(info) != verified.Subject {
		return nil, errors.New("userinfo speaks of another subject than the ID token")
	}
	result.Subject, result.Issuer, result.Expiry = verified.Subject, verified.Issuer, verified.Expiry.UTC()
	steps = append(steps, "mapped the claims of the "+result.RoleFrom+" to the role "+result.Role)

	// 5. The refresh token, which keeps the session alive.
	if cfg.UseRefreshToken {
		if token.RefreshToken == "" {
			return nil, errors.New("use_refresh_token is set and the tenant issued no refresh token")
		}
		refreshed, err := client.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
		if err != nil {
			return nil, fmt.Errorf("refresh the session: %w", tokenError(err))
		}
		if refreshed.AccessToken == "" || refreshed.AccessToken == token.AccessToken {
			return nil, errors.New("refresh the session: no new access token came back")
		}
		result.Refreshed = true
		steps = append(steps, "refreshed the session")
	}
	result.Steps = steps
	return result, nil
}

// source is one set of claims, as JSON.
type source struct {
	name   string
	claims []byte
}

// evaluate takes from the sources, in order, what Grafana takes: the first that
// yields a value wins.
func (cfg Config) evaluate(sources []source) (*LoginResult, error) {
	result := &LoginResult{}
	var roleProblems []error
	for _, s := range sources {
		var known struct {
			Name          string `json:"name"`
			Login         string `json:"login"`
			Username      string `json:"username"`
			Email         string `json:"email"`
			EmailVerified bool   `json:"email_verified"`
		}
		if err := json.Unmarshal(s.claims, &known); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		if result.Name == "" {
			result.Name = first(attribute(cfg.NameAttributePath, s.claims), known.Name)
		}
		if result.Login == "" {
			result.Login = first(known.Login, attribute(cfg.LoginAttributePath, s.claims), known.Username)
		}
		if result.Email == "" {
			result.Email = first(known.Email, attribute(cfg.EmailAttributePath, s.claims))
			result.EmailVerified = known.EmailVerified
		}
		if result.Role == "" && !cfg.SkipOrgRoleSync && cfg.RoleAttributePath != "" {
			role, admin, err := searchRole(cfg.RoleAttributePath, s.claims)
			if err != nil {
				roleProblems = append(roleProblems, fmt.Errorf("%s: %w", s.name, err))
			}
			if role != "" {
				result.Role, result.RoleFrom = role, s.name
				result.GrafanaAdmin = admin && cfg.AllowAssignGrafanaAdmin
			}
		}
	}
	if result.Role == "" && !cfg.SkipOrgRoleSync {
		if cfg.RoleAttributeStrict {
			return nil, errors.Join(append([]error{ErrNoRole}, roleProblems...)...)
		}
		result.Role, result.RoleFrom = "Viewer", "auto_assign_org_role"
	}
	if result.Email == "" {
		return nil, errors.New("neither the ID token nor userinfo has an email address, which grafana needs")
	}
	if result.Login == "" {
		result.Login = result.Email
	}
	return result, nil
}

func attribute(path string, claims []byte) string {
	if path == "" {
		return ""
	}
	var data any
	if json.Unmarshal(claims, &data) != nil {
		return ""
	}
	found, err := jmespath.Search(path, data)
	if err != nil {
		return ""
	}
	text, _ := found.(string)
	return text
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func subject(claims []byte) string {
	var known struct {
		Subject string `json:"sub"`
	}
	_ = json.Unmarshal(claims, &known) // evaluate has refused what is no JSON object
	return known.Subject
}

func sameEndpoints(provider *oidc.Provider, cfg Config) error {
	var problems []error
	for _, e := range []struct{ setting, have, want string }{
		{"auth_url", cfg.AuthURL, provider.Endpoint().AuthURL},
		{"token_url", cfg.TokenURL, provider.Endpoint().TokenURL},
		{"api_url", cfg.APIURL, provider.UserInfoEndpoint()},
	} {
		if e.have != e.want {
			problems = append(problems, fmt.Errorf("%s is %s, the tenant announces %s", e.setting, e.have, e.want))
		}
	}
	return errors.Join(problems...)
}

// authStyle is how the client authenticates at the token endpoint.
func authStyle(setting string) (oauth2.AuthStyle, error) {
	switch strings.ToLower(setting) {
	case "inheader":
		return oauth2.AuthStyleInHeader, nil
	case "inparams":
		return oauth2.AuthStyleInParams, nil
	case "", "autodetect":
		return oauth2.AuthStyleAutoDetect, nil
	}
	return 0, fmt.Errorf("auth_style %q is not AutoDetect, InHeader or InParams", setting)
}

func userinfo(ctx context.Context, client *oauth2.Config, token *oauth2.Token, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("userinfo: %w", err)
	}
	resp, err := client.Client(ctx, &oauth2.Token{AccessToken: token.AccessToken, TokenType: token.TokenType}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("userinfo: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil {
		return nil, fmt.Errorf("userinfo: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("userinfo: status %d", resp.StatusCode)
	}
	return body, nil
}

// tokenError keeps the tenant's error code and drops the answer's body, which
// oauth2 would print whole.
func tokenError(err error) error {
	var answer *oauth2.RetrieveError
	if errors.As(err, &answer) {
		return fmt.Errorf("status %d: %s: %s", answer.Response.StatusCode, shorten(answer.ErrorCode), shorten(answer.ErrorDescription))
	}
	return err
}

// random returns 32 random bytes in base64url, which is a PKCE verifier's form.
func random(source io.Reader) (string, error) {
	data := make([]byte, 32)
	if _, err := io.ReadFull(source, data); err != nil {
		return "", fmt.Errorf("random: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(data), nil
}
