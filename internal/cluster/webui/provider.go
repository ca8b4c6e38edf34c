package webui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
)

// Source is where the provider says what a person may do.
type Source string

// The sources.
const (
	// FromIDToken reads the ID token: app roles of Entra ID, or custom claims.
	FromIDToken Source = "id_token"
	// FromAccessToken reads the access token, which must be a JWT of the same
	// issuer for Audience: permissions of Auth0.
	FromAccessToken Source = "access_token"
	// FromUserInfo asks the provider's userinfo endpoint.
	FromUserInfo Source = "userinfo"
)

// ProviderConfig is an OpenID Connect provider and this application's
// registration there.
type ProviderConfig struct {
	// Issuer as its tokens name it, with the final slash if they have one:
	// https://TENANT.eu.auth0.com/, https://login.microsoftonline.com/TENANT/v2.0.
	// Required.
	Issuer string
	// Name is what the sign-in page calls it. Defaults to the issuer's host.
	Name string
	// ClientID of this application. Required.
	ClientID string
	// ClientSecret yields the secret, at each use, so that it may be rotated.
	// Defaults to none: a public client, which PKCE alone protects.
	ClientSecret func(context.Context) (secret.Value, error)
	// Scopes to ask for. Default to openid, profile, email and offline_access.
	Scopes []string
	// Audience is the API that the access token is for. It is sent as "audience",
	// which Auth0 needs, and required of the token when PermissionsFrom is
	// FromAccessToken. Defaults to none.
	Audience string
	// Parameters are further parameters of the authorization request, such as
	// "organization" or "domain_hint". Default to none.
	Parameters map[string]string
	// PermissionsFrom defaults to FromAccessToken if there is an Audience, else to
	// FromIDToken.
	PermissionsFrom Source
	// Permissions yields "<namespace>:<role>" from the claims. Defaults to the
	// claims permissions, roles and scope, whichever are there.
	Permissions token.Extractor
	// Groups let in only people with one of the groups, and grant them its
	// permissions besides those of Permissions; a group's list may be empty.
	// Default to none, which asks for no group. They stand in GroupsClaim of the ID
	// token or of where permissions stand, which defaults to "groups".
	GroupsClaim string
	Groups      map[string][]string
	// SubjectClaim identifies people. Defaults to "sub"; Entra ID's stable name
	// across applications is "oid".
	SubjectClaim string
	// RenewEvery is how long permissions are believed before the provider is asked
	// again; it is asked earlier if its access tokens live shorter. Without a
	// refresh token the session ends with the access token. Defaults to 15 min.
	RenewEvery time.Duration
	// EndSessionURL ends the provider's own session, for providers that do not
	// announce it. Defaults to what discovery says.
	EndSessionURL string
	// HTTP calls the provider. Defaults to a client with a timeout of 10 s.
	HTTP *http.Client
}

// algorithms are those of ID tokens: signatures by the provider's key, never by
// a shared secret and never none.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// discoverAgain is how long a failure to reach the provider is remembered, so
// that people who press the button do not each wait for the same timeout.
const discoverAgain = 2 * time.Second

// freshEnough is how long ago the provider may have answered to be called up.
const freshEnough = 20 * time.Second

// provider is the provider as this process knows it. What it announces is read
// at the first sign-in, not at the start.
type provider struct {
	cfg      ProviderConfig
	callback string
	now      func() time.Time

	mu     sync.Mutex
	found  *discovered
	failed error
	since  time.Time // of failed
}

type discovered struct {
	at         time.Time
	provider   *oidc.Provider
	idTokens   *oidc.IDTokenVerifier
	access     *oidc.IDTokenVerifier
	endSession string
}

func newProvider(cfg ProviderConfig, callback string, now func() time.Time) (*provider, error) {
	issuer, err := url.Parse(cfg.Issuer)
	if err != nil || issuer.Scheme != "https" || issuer.Host == "" {
		return nil, fmt.Errorf("issuer %q is not an https address", cfg.Issuer)
	}
	if cfg.ClientID == "" {
		return nil, errors.New("client id of the provider is required")
	}
	if cfg.Name == "" {
		cfg.Name = issuer.Host
	}
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess}
	}
	if !slices.Contains(cfg.Scopes, oidc.ScopeOpenID) {
		return nil, errors.New("scopes lack openid: without it there is no ID token")
	}
	for name := range cfg.Parameters {
		if slices.Contains(ownParameters, name) {
			return nil, fmt.Errorf("parameter %q of the authorization request is not for configuration", name)
		}
	}
	switch cfg.PermissionsFrom {
	case "":
		cfg.PermissionsFrom = FromIDToken
		if cfg.Audience != "" {
			cfg.PermissionsFrom = FromAccessToken
		}
	case FromIDToken, FromUserInfo:
	case FromAccessToken:
		if cfg.Audience == "" {
			return nil, errors.New("permissions from the access token need an audience: a token for another service must not open this one")
		}
	default:
		return nil, fmt.Errorf("permissions from %q: want id_token, access_token or userinfo", cfg.PermissionsFrom)
	}
	if cfg.Permissions == nil {
		cfg.Permissions = token.FromClaims("permissions", "roles", "scope")
	}
	if cfg.GroupsClaim == "" {
		cfg.GroupsClaim = "groups"
	}
	if cfg.SubjectClaim == "" {
		cfg.SubjectClaim = "sub"
	}
	if cfg.RenewEvery == 0 {
		cfg.RenewEvery = 15 * time.Minute
	}
	if cfg.RenewEvery < 0 {
		return nil, fmt.Errorf("permissions cannot be renewed every %s", cfg.RenewEvery)
	}
	if cfg.EndSessionURL != "" {
		if u, err := url.Parse(cfg.EndSessionURL); err != nil || u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("end-session address %q is not an https address", cfg.EndSessionURL)
		}
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: 10 * time.Second}
	}
	return &provider{cfg: cfg, callback: callback, now: now}, nil
}

// ownParameters are those that protect a sign-in.
var ownParameters = []string{"client_id", "redirect_uri", "response_type", "response_mode", "state", "nonce", "code_challenge", "code_challenge_method", "scope"}

// errUnreachable says that the provider could not be asked, as opposed to that
// it refused.
var errUnreachable = errors.New("the sign-in provider cannot be reached")

// errRefused says that the provider no longer vouches for the person.
var errRefused = errors.New("the sign-in provider refuses")

// discover returns what the provider announces, as known.
func (p *provider) discover(ctx context.Context) (*discovered, error) {
	return p.ask(ctx, 0)
}

// ask returns what the provider announces, asked anew if it is known for longer
// than maxAge; 0 is no limit.
func (p *provider) ask(ctx context.Context, maxAge time.Duration) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil && (maxAge == 0 || p.now().Sub(p.found.at) < maxAge) {
		return p.found, nil
	}
	if p.failed != nil && p.now().Sub(p.since).Abs() < discoverAgain {
		return nil, p.failed
	}
	// Detached: what one person's impatience cancels must not be remembered as
	// the provider's failure.
	found, err := oidc.NewProvider(p.context(context.WithoutCancel(ctx)), p.cfg.Issuer)
	if err != nil {
		p.failed, p.since = fmt.Errorf("%w: discovery: %w", errUnreachable, err), p.now()
		return nil, p.failed
	}
	d := &discovered{at: p.now(), provider: found, endSession: p.cfg.EndSessionURL}
	d.idTokens = found.Verifier(&oidc.Config{ClientID: p.cfg.ClientID, SupportedSigningAlgs: algorithms, Now: p.now})
	d.access = found.Verifier(&oidc.Config{ClientID: p.cfg.Audience, SupportedSigningAlgs: algorithms, Now: p.now})
	if d.endSession == "" {
		var announced struct {
			EndSession string `json:"end_session_endpoint"`
		}
		if err := found.Claims(&announced); err == nil && strings.HasPrefix(announced.EndSession, "https://") {
			d.endSession = announced.EndSession
		}
	}
	p.found, p.failed = d, nil
	return d, nil
}

// known is discover without asking anybody.
func (p *provider) known() *discovered {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.found
}

func (p *provider) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.cfg.HTTP)
}

func (p *provider) client(ctx context.Context, d *discovered) (*oauth2.Config, error) {
	c := &oauth2.Config{ClientID: p.cfg.ClientID, Endpoint: d.provider.Endpoint(), RedirectURL: p.callback, Scopes: p.cfg.Scopes}
	if p.cfg.ClientSecret == nil {
		c.Endpoint.AuthStyle = oauth2.AuthStyleInParams
		return c, nil
	}
	secret, err := p.cfg.ClientSecret(ctx)
	if err != nil {
		return nil, fmt.Errorf("client secret: %w", err)
	}
	c.ClientSecret = secret.Reveal()
	return c, nil
}

// authorizeURL is where a person is sent to sign in. The provider is asked
// first: one that is down would show them a broken page of its own, or none.
func (p *provider) authorizeURL(ctx context.Context, a attempt) (string, error) {
	d, err := p.ask(ctx, freshEnough)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(a.Verifier), oidc.Nonce(a.Nonce)}
	if p.cfg.Audience != "" {
		options = append(options, oauth2.SetAuthURLParam("audience", p.cfg.Audience))
	}
	for name, value := range p.cfg.Parameters {
		options = append(options, oauth2.SetAuthURLParam(name, value))
	}
	c := &oauth2.Config{ClientID: p.cfg.ClientID, Endpoint: d.provider.Endpoint(), RedirectURL: p.callback, Scopes: p.cfg.Scopes}
	return c.AuthCodeURL(a.State, options...), nil
}

// exchange turns the code into who signed in and what they may do. With an
// error that wraps errNoAccess the person is known all the same.
func (p *provider) exchange(ctx context.Context, code string, a attempt) (person, grant, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return person{}, grant{}, err
	}
	client, err := p.client(ctx, d)
	if err != nil {
		return person{}, grant{}, err
	}
	ctx = p.context(ctx)
	tokens, err := client.Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return person{}, grant{}, fmt.Errorf("exchange the code: %w", tokenError(err))
	}
	idToken, claims, err := p.readIDToken(ctx, d, tokens)
	if err != nil {
		return person{}, grant{}, err
	}
	if idToken == nil {
		return person{}, grant{}, fmt.Errorf("%w: the answer has no ID token", errRefused)
	}
	// Another nonce is an ID token of another sign-in, put into this one.
	if idToken.Nonce != a.Nonce {
		return person{}, grant{}, fmt.Errorf("%w: the ID token belongs to another sign-in", errRefused)
	}
	who := personOf(claims, p.cfg.SubjectClaim)
	if who.Subject == "" {
		return person{}, grant{}, fmt.Errorf("%w: the ID token has no claim %q", errRefused, p.cfg.SubjectClaim)
	}
	g := p.grantOf(tokens)
	g.permissions, err = p.permissions(ctx, d, tokens, claims)
	return who, g, err
}

// renew asks the provider again, with the refresh token. The person must be the
// same.
func (p *provider) renew(ctx context.Context, who person, old grant) (grant, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return old, err
	}
	client, err := p.client(ctx, d)
	if err != nil {
		return old, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	ctx = p.context(ctx)
	tokens, err := client.TokenSource(ctx, &oauth2.Token{RefreshToken: old.refresh.Reveal()}).Token()
	if err != nil {
		return old, fmt.Errorf("renew: %w", tokenError(err))
	}
	g := p.grantOf(tokens)
	if g.refresh.IsZero() {
		g.refresh = old.refresh
	}
	if g.idToken.IsZero() {
		g.idToken = old.idToken
	}
	// From here on the old refresh token may be spent, so the new grant is
	// returned with every error.
	g.permissions = old.permissions
	idToken, claims, err := p.readIDToken(ctx, d, tokens)
	if err != nil {
		return g, err
	}
	if idToken != nil {
		if got := personOf(claims, p.cfg.SubjectClaim); got.Subject != who.Subject {
			return g, fmt.Errorf("%w: the renewed ID token is about somebody else", errRefused)
		}
	}
	if idToken == nil && p.cfg.PermissionsFrom == FromIDToken {
		return g, nil // the provider renews without a new ID token: nothing new is known
	}
	permissions, err := p.permissions(ctx, d, tokens, claims)
	if err == nil {
		g.permissions = permissions
	}
	return g, err
}

func (p *provider) grantOf(tokens *oauth2.Token) grant {
	now := p.now()
	g := grant{refresh: secret.New(tokens.RefreshToken)}
	if raw, ok := tokens.Extra("id_token").(string); ok {
		g.idToken = secret.New(raw)
	}
	// By our own clock: the library's Expiry is the wall clock's. Access tokens
	// that live for a day are renewed earlier, because that is when a role that
	// was taken away is noticed.
	life := time.Duration(tokens.ExpiresIn) * time.Second
	if life <= 0 {
		life = p.cfg.RenewEvery
	}
	if !g.refresh.IsZero() {
		life = min(life, p.cfg.RenewEvery)
	}
	g.renewAt = now.Add(life)
	return g
}

// readIDToken verifies the ID token of an answer, if there is one.
func (p *provider) readIDToken(ctx context.Context, d *discovered, tokens *oauth2.Token) (*oidc.IDToken, map[string]any, error) {
	raw, _ := tokens.Extra("id_token").(string)
	if raw == "" {
		return nil, nil, nil
	}
	idToken, err := d.idTokens.Verify(ctx, raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: ID token: %w", errRefused, err)
	}
	claims, err := claimsOf(idToken)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: ID token: %w", errRefused, err)
	}
	// OpenID Connect Core 3.1.3.7: with several audiences, the one it was issued to.
	if azp, ok := claims["azp"].(string); ok && azp != p.cfg.ClientID {
		return nil, nil, fmt.Errorf("%w: the ID token was issued to another application", errRefused)
	}
	if idToken.AccessTokenHash != "" {
		if err := idToken.VerifyAccessToken(tokens.AccessToken); err != nil {
			return nil, nil, fmt.Errorf("%w: ID token and access token do not belong together", errRefused)
		}
	}
	return idToken, claims, nil
}

func claimsOf(t *oidc.IDToken) (map[string]any, error) {
	var raw json.RawMessage
	if err := t.Claims(&raw); err != nil {
		return nil, err
	}
	return decodeClaims(raw)
}

func decodeClaims(raw []byte) (map[string]any, error) {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber() // as token.Claims has them, for the same extractors
	var claims map[string]any
	err := d.Decode(&claims)
	return claims, err
}

// tokenError tells a provider that refuses from one that cannot be reached, and
// drops the answer's body, which the library would print whole.
func tokenError(err error) error {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) {
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
	kind := errRefused
	// A rate limit, a timeout and the provider's own failure say nothing about
	// the person.
	if s := answer.Response.StatusCode; s >= 500 || s == http.StatusTooManyRequests || s == http.StatusRequestTimeout {
		kind = errUnreachable
	}
	return fmt.Errorf("%w: status %d: %.60q %.200q", kind, answer.Response.StatusCode, answer.ErrorCode, answer.ErrorDescription)
}

// maxShown bounds what the pages show of a person.
const maxShown = 120

func personOf(claims map[string]any, subjectClaim string) person {
	text := func(name string) string { s, _ := claims[name].(string); return s }
	shown := func(names ...string) string {
		for _, name := range names {
			if s := strings.ToValidUTF8(text(name), ""); s != "" {
				return string([]rune(s)[:min(maxShown, len([]rune(s)))])
			}
		}
		return ""
	}
	return person{
		Subject:   text(subjectClaim),
		SessionID: text("sid"),
		Name:      shown("name", "nickname", "preferred_username", "email"),
		Email:     shown("email", "preferred_username", "upn", "name"),
	}
}

// endSessionURL is where a browser goes to sign out at the provider as well
// (OpenID Connect RP-Initiated Logout 1.0); "" if it offers no such thing.
func (p *provider) endSessionURL(ctx context.Context, s *session, back string) string {
	d, err := p.discover(ctx)
	if err != nil || d.endSession == "" {
		return ""
	}
	u, err := url.Parse(d.endSession)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("client_id", p.cfg.ClientID)
	q.Set("post_logout_redirect_uri", back)
	if s != nil {
		s.mu.Lock()
		hint := s.grant.idToken.Reveal()
		s.mu.Unlock()
		// The hint tells the provider that it is the session's own application who
		// asks. A provider's large ID token would not fit into an address; its
		// session id says the same.
		if hint != "" && len(hint) <= maxHint {
			q.Set("id_token_hint", hint)
		} else if s.person.SessionID != "" {
			q.Set("logout_hint", s.person.SessionID)
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// maxHint keeps the address below what servers commonly accept.
const maxHint = 6000
