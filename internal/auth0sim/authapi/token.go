package authapi

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/actions"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// The grant types of the token endpoint.
const (
	grantDevice       = "urn:ietf:params:oauth:grant-type:device_code"
	grantRealm        = "http://auth0.com/oauth/grant-type/password-realm"
	grantPasswordless = "http://auth0.com/oauth/grant-type/passwordless/otp"
	grantMFAOTP       = "http://auth0.com/oauth/grant-type/mfa-otp"
	grantMFAOOB       = "http://auth0.com/oauth/grant-type/mfa-oob"
	grantMFARecovery  = "http://auth0.com/oauth/grant-type/mfa-recovery-code"
)

// token is the token endpoint (RFC 6749, 3.2).
func (c *call) token() error {
	p, err := c.apiParams()
	if err != nil {
		return err
	}
	grant := p.str("grant_type")
	serve, known := map[string]func(*call, Doc, params) error{
		"client_credentials": (*call).tokenClientCredentials,
		"authorization_code": (*call).tokenCode,
		"refresh_token":      (*call).tokenRefresh,
		"password":           (*call).tokenPassword,
		grantRealm:           (*call).tokenPassword,
		grantDevice:          (*call).tokenDevice,
		grantPasswordless:    (*call).tokenPasswordless,
		grantMFAOTP:          (*call).tokenMFA,
		grantMFARecovery:     (*call).tokenMFA,
		grantMFAOOB:          (*call).tokenMFA,
	}[grant]
	switch {
	case grant == "":
		return errMissing("grant_type")
	case !known:
		return oauthErr(http.StatusForbidden, "unsupported_grant_type", "Unsupported grant type: %s", clip(grant))
	}
	if grant == "client_credentials" && c.r.Header.Get("Authorization") == "" && p.str("client_id") == "" && p.str("client_assertion") == "" {
		return errMissing("client_id")
	}
	client, err := c.authenticate(p, grant == "client_credentials")
	if err != nil {
		return err
	}
	if !grantAllowed(client, grant) {
		return errGrantNotAllowed(grant)
	}
	return serve(c, client, p)
}

// grantAllowed: the Management API knows the three MFA grants by their common
// prefix name too.
func grantAllowed(client Doc, grant string) bool {
	switch grant {
	case grantMFAOTP, grantMFAOOB, grantMFARecovery:
		return mayUse(client, grant) || mayUse(client, "http://auth0.com/oauth/grant-type/mfa") || mayUse(client, "mfa")
	}
	return mayUse(client, grant)
}

// tokenClientCredentials is RFC 6749, 4.4.
func (c *call) tokenClientCredentials(client Doc, p params) error {
	requested, err := p.scope()
	if err != nil {
		return err
	}
	in := &party{client: client, requested: requested}
	var organization Doc
	err = c.view(func(tx *state.Tx) error {
		settings, err := singleton(tx, "tenants/settings")
		if err != nil {
			return err
		}
		in.settings = settings
		audience := p.str("audience")
		if audience == "" {
			audience = p.str("resource")
		}
		if audience == "" {
			audience = str(settings, "default_audience")
		}
		if audience == "" {
			return oauthErr(http.StatusForbidden, "access_denied", "No audience parameter was provided, and no default audience has been configured")
		}
		var grant Doc
		if in.api, grant, err = c.resolveM2M(tx, client, audience, requested); err != nil {
			return err
		}
		organization, err = organizationOfGrant(tx, grant, p.str("organization"))
		return err
	})
	var refused *oauthError
	if errors.As(err, &refused) {
		return c.refuse(in, "feccft", refused)
	}
	if err != nil {
		return err
	}
	in.organization = organization
	result, err := c.credentialsExchange(client, organization, in.api, requested, p)
	if errors.As(err, &refused) {
		return c.refuse(in, "feccft", refused)
	}
	if err != nil {
		return err
	}
	i := &issue{client: client, organization: organization, settings: in.settings, api: in.api, grant: "client-credentials", result: result}
	return c.respond(i, in, "seccft", "Client Credentials for Access Token", "")
}

// organizationOfGrant applies a client grant's rule on organizations.
func organizationOfGrant(tx *state.Tx, grant Doc, asked string) (Doc, error) {
	usage := str(grant, "organization_usage")
	switch {
	case asked == "" && usage == "require":
		return nil, oauthErr(http.StatusBadRequest, "invalid_request", "parameter organization is required for this client")
	case asked == "":
		return nil, nil
	case usage != "allow" && usage != "require":
		return nil, oauthErr(http.StatusForbidden, "unauthorized_client", "parameter organization is not allowed for this client")
	}
	org, err := findOrganization(tx, asked)
	if err != nil {
		return nil, err
	}
	if org == nil {
		return nil, oauthErr(http.StatusBadRequest, "invalid_request", "parameter organization is invalid")
	}
	if flag(grant, "allow_any_organization") {
		return org, nil
	}
	_, ok, err := tx.Get("organizations/grants", state.Key(str(org, "id"), str(grant, "id")))
	if err != nil || !ok {
		return nil, errors.Join(err, unless(ok, oauthErr(http.StatusForbidden, "access_denied", "Client is not authorized to access the organization")))
	}
	return org, nil
}

// respond makes the tokens, logs the exchange and answers.
func (c *call) respond(i *issue, in *party, kind, description, refresh string) error {
	var out map[string]any
	err := c.update(func(tx *state.Tx) (err error) {
		if out, err = c.tokenResponse(tx, i, refresh); err != nil {
			return err
		}
		return tx.Log(c.entry(in.entry(kind, description, nil)))
	})
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

// authCode is an authorization code, under the digest of its text.
type authCode struct {
	ID           string          `json:"id"`
	ExpiresAt    int64           `json:"expires_at"`
	ClientID     string          `json:"client_id"`
	UserID       string          `json:"user_id"`
	Request      authRequest     `json:"request"`
	Session      string          `json:"session"`
	Connection   string          `json:"connection"`
	Organization string          `json:"organization"`
	AuthTime     time.Time       `json:"auth_time"`
	Methods      []method        `json:"methods"`
	Scope        []string        `json:"scope"`
	Permissions  []string        `json:"permissions"`
	Result       *actions.Result `json:"result"`
	Used         bool            `json:"used"`
	RefreshToken string          `json:"refresh_token"` // id of the one it gave, once used
}

// tokenCode is RFC 6749, 4.1.3, with PKCE (RFC 7636).
func (c *call) tokenCode(client Doc, p params) error {
	if p.str("code") == "" {
		return errMissing("code")
	}
	in := &party{client: client, protocol: "oidc-basic-profile"}
	var out map[string]any
	var refused *oauthError
	err := c.update(func(tx *state.Tx) error {
		code, err := c.redeem(tx, client, p)
		if errors.As(err, &refused) {
			return nil // what redeem revoked stays revoked
		}
		if err != nil {
			return err
		}
		in.requested, in.request, in.session, in.methods = code.Request.Scope, code.Request, code.Session, code.Methods
		if err := c.fill(tx, in, code.UserID, code.Connection, code.Organization, code.Request.Audience); err != nil {
			return err
		}
		in.api.permissions = code.Permissions
		i := &issue{
			client: client, user: in.user, organization: in.organization, settings: in.settings, api: in.api, session: code.Session,
			nonce: code.Request.Nonce, methods: code.Methods, result: code.Result,
		}
		if code.Request.MaxAge >= 0 {
			i.authTime = code.AuthTime
		}
		refresh := ""
		if i.has("offline_access") {
			var id string
			if refresh, id, err = c.newRefreshToken(tx, i, code.Request.Audience, code.Connection, code.AuthTime); err != nil {
				return err
			}
			code.RefreshToken = id
		}
		d, err := marshal(code)
		if err != nil {
			return err
		}
		if err := tx.Put("oauth/codes", code.ID, d); err != nil {
			return err
		}
		if out, err = c.tokenResponse(tx, i, refresh); err != nil {
			return err
		}
		return tx.Log(c.entry(in.entry("seacft", "Authorization Code for Access Token", nil)))
	})
	if err != nil {
		return err
	}
	if refused != nil {
		return c.refuse(in, "feacft", refused)
	}
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

// redeem marks a code as used and returns it. A code that comes a second time
// was stolen by one of the two who had it, so what it gave is revoked (RFC
// 6749, 4.1.2).
func (c *call) redeem(tx *state.Tx, client Doc, p params) (*authCode, error) {
	invalid := errInvalidGrant("Invalid authorization code")
	d, ok, err := tx.Get("oauth/codes", digest(p.str("code")))
	if err != nil {
		return nil, err
	}
	if !ok || str(d, "client_id") != str(client, "client_id") {
		return nil, invalid
	}
	if flag(d, "used") {
		if id := str(d, "refresh_token"); id != "" {
			if _, err := tx.Delete("refresh-tokens", id); err != nil {
				return nil, err
			}
		}
		return nil, invalid
	}
	d["used"] = true
	if err := tx.Put("oauth/codes", str(d, "id"), d); err != nil {
		return nil, err
	}
	if expired(d, c.now) {
		return nil, invalid
	}
	var code authCode
	if err := unmarshal(d, &code); err != nil {
		return nil, err
	}
	if code.Request.RedirectGiven && p.str("redirect_uri") != code.Request.RedirectURI {
		if p.str("redirect_uri") == "" {
			return nil, oauthErr(http.StatusUnauthorized, "access_denied", "Unauthorized")
		}
		return nil, oauthErr(http.StatusForbidden, "unauthorized_client", "The redirect URI is wrong. You sent %s, and we expected %s",
			originOf(p.str("redirect_uri")), originOf(code.Request.RedirectURI))
	}
	if err := checkVerifier(code.Request, p.str("code_verifier")); err != nil {
		return nil, err
	}
	if user, ok, err := tx.Get("users", code.UserID); err != nil || !ok || flag(user, "blocked") {
		return nil, errors.Join(err, unless(err != nil, invalid))
	}
	return &code, nil
}

func checkVerifier(req authRequest, verifier string) error {
	if req.Challenge == "" {
		if verifier != "" {
			// A verifier without a challenge means that the challenge was taken
			// out of the authorization request (RFC 9700, 4.8).
			return errInvalidGrant("Failed to verify code verifier")
		}
		return nil
	}
	if verifier == "" {
		return oauthErr(http.StatusBadRequest, "invalid_request", "Parameter 'code_verifier' is required")
	}
	if req.ChallengeMethod == "S256" {
		sum := sha256.Sum256([]byte(verifier))
		verifier = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if !same(verifier, req.Challenge) {
		return errInvalidGrant("Failed to verify code verifier")
	}
	return nil
}
