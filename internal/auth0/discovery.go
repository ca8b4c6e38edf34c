package auth0

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/tenonhq/tenon/internal/secret"
)

// Discovery is what a tenant says about itself to OpenID Connect clients
// (OpenID Connect Discovery 1.0 section 3).
type Discovery struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	UserinfoEndpoint      string   `json:"userinfo_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	EndSessionEndpoint    string   `json:"end_session_endpoint,omitempty"`
	ScopesSupported       []string `json:"scopes_supported,omitempty"`
	CodeChallengeMethods  []string `json:"code_challenge_methods_supported,omitempty"`
	// KeyIDs are the signing keys that the tenant publishes now.
	KeyIDs []string `json:"key_ids,omitempty"`
}

// signingAlgs are those that Auth0 signs tokens with by a key pair. HS256 is
// left out on purpose: a verifier that takes it beside RS256 can be fed a token
// that was "signed" with the public key.
var signingAlgs = []jose.SignatureAlgorithm{jose.RS256, jose.RS512, jose.PS256}

// CheckDiscovery proves that the tenant can serve OpenID Connect clients: its
// discovery document names the tenant as issuer and keeps to its host, and its
// key set holds a usable signing key.
func (c *Client) CheckDiscovery(ctx context.Context) (*Discovery, error) {
	d, _, err := c.discover(ctx)
	return d, err
}

func (c *Client) discover(ctx context.Context) (*Discovery, *jose.JSONWebKeySet, error) {
	const operation = "check discovery"
	wrong := func(format string, args ...any) error {
		return &Error{Class: Invalid, Operation: operation, Message: fmt.Sprintf(format, args...)}
	}
	var d Discovery
	if err := c.getJSON(ctx, operation, "https://"+c.domain+"/.well-known/openid-configuration", &d); err != nil {
		return nil, nil, err
	}
	if want := "https://" + c.domain + "/"; d.Issuer != want {
		return nil, nil, wrong("the issuer is %q, must be %q", d.Issuer, want)
	}
	for name, endpoint := range map[string]string{"authorization_endpoint": d.AuthorizationEndpoint, "token_endpoint": d.TokenEndpoint,
		"userinfo_endpoint": d.UserinfoEndpoint, "jwks_uri": d.JWKSURI} {
		if u, err := url.Parse(endpoint); err != nil || u.Scheme != "https" || u.Host != c.domain {
			return nil, nil, wrong("%s is %q, must be an https URL of %s", name, endpoint, c.domain)
		}
	}
	if !slices.Contains(d.CodeChallengeMethods, "S256") {
		return nil, nil, wrong("PKCE with S256 is not supported")
	}
	var keys jose.JSONWebKeySet
	if err := c.getJSON(ctx, operation, d.JWKSURI, &keys); err != nil {
		return nil, nil, err
	}
	for _, k := range keys.Keys {
		if k.KeyID != "" && k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") {
			d.KeyIDs = append(d.KeyIDs, k.KeyID)
		}
	}
	if len(d.KeyIDs) == 0 {
		return nil, nil, wrong("the key set at %s holds no signing key", d.JWKSURI)
	}
	sort.Strings(d.KeyIDs)
	return &d, &keys, nil
}

// getJSON reads a public document of the tenant.
func (c *Client) getJSON(ctx context.Context, operation, address string, out any) error {
	attempt, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(attempt, http.MethodGet, address, nil)
	if err != nil {
		return &Error{Class: Invalid, Operation: operation, Message: err.Error(), Err: err}
	}
	res, err := c.plain.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e := errorFromNetwork(stripURL(err))
		e.Operation = operation
		return e
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return &Error{Class: Unavailable, Operation: operation, Message: "the answer broke off", Err: err}
	}
	if res.StatusCode != http.StatusOK {
		e := errorFromResponse(res.StatusCode, res.Header, body)
		e.Operation = operation
		if e.Class == RateLimited {
			e.RetryAfter = refusalWait(res.Header, 0, c.cfg.Now())
		}
		return e
	}
	if err := json.Unmarshal(body, out); err != nil {
		return &Error{Class: Invalid, Operation: operation, Message: "the answer of " + address + " is not the JSON that was expected", Err: err}
	}
	return nil
}

// AccessToken is what a verified access token says.
type AccessToken struct {
	Issuer      string    `json:"issuer"`
	Subject     string    `json:"subject"`
	Audience    []string  `json:"audience"`
	Scope       string    `json:"scope,omitempty"`
	Permissions []string  `json:"permissions,omitempty"`
	Expiry      time.Time `json:"expiry"`
	KeyID       string    `json:"keyId"`
}

// CheckClientCredentials proves that a client can get a token for an API and
// that the token verifies against the tenant's published keys: signature,
// issuer, audience and expiry. The token itself is dropped. No scopes are all that
// the client was granted. If the tenant refuses a token, the error's class is
// Credentials, or Invalid with the code invalid_scope.
func (c *Client) CheckClientCredentials(ctx context.Context, clientID string, clientSecret secret.Value, audience string, scopes []string) (*AccessToken, error) {
	const operation = "check client credentials"
	token, err := clientCredentials(ctx, c.plain, c.cfg.RequestTimeout, c.domain, clientID, clientSecret, audience, scopes)
	if err != nil {
		return nil, withOperation(err, operation)
	}
	d, keys, err := c.discover(ctx)
	if err != nil {
		return nil, err
	}
	wrong := func(what string, err error) error {
		return &Error{Class: Invalid, Operation: operation, Message: "the access token " + what, Err: err}
	}
	parsed, err := jwt.ParseSigned(token.AccessToken, signingAlgs)
	if err != nil {
		return nil, wrong("is not a JWT that is signed by a key pair", nil)
	}
	var claims jwt.Claims
	var extra struct {
		Scope       string   `json:"scope"`
		Permissions []string `json:"permissions"`
	}
	kid := parsed.Headers[0].KeyID
	key := keys.Key(kid)
	if len(key) != 1 {
		return nil, wrong(fmt.Sprintf("is signed by key %q, which the tenant does not publish", kid), nil)
	}
	if err := parsed.Claims(key[0].Key, &claims, &extra); err != nil {
		return nil, wrong("has a wrong signature", nil)
	}
	if claims.Expiry == nil {
		return nil, wrong("does not expire", nil)
	}
	if err := claims.Validate(jwt.Expected{Issuer: d.Issuer, AnyAudience: jwt.Audience{audience}, Time: c.cfg.Now()}); err != nil {
		return nil, wrong("is not valid: "+err.Error(), err)
	}
	return &AccessToken{Issuer: claims.Issuer, Subject: claims.Subject, Audience: claims.Audience, Scope: extra.Scope,
		Permissions: extra.Permissions, Expiry: claims.Expiry.Time(), KeyID: kid}, nil
}
