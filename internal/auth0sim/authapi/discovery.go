package authapi

import (
	"crypto/sha1" // RFC 7517's x5t is a SHA-1 thumbprint
	"encoding/base64"
	"encoding/json"

	"github.com/lestrrat-go/jwx/v3/cert"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// discovery is the provider's metadata (OpenID Connect Discovery 1.0, 3). It
// names what this server serves, no more.
func (c *call) discovery() error {
	var settings Doc
	if err := c.view(func(tx *state.Tx) (err error) {
		settings, err = singleton(tx, "tenants/settings")
		return err
	}); err != nil {
		return err
	}
	m := map[string]any{
		"issuer":                                c.issuer(),
		"authorization_endpoint":                c.url("/authorize"),
		"token_endpoint":                        c.url("/oauth/token"),
		"device_authorization_endpoint":         c.url("/oauth/device/code"),
		"userinfo_endpoint":                     c.url("/userinfo"),
		"mfa_challenge_endpoint":                c.url("/mfa/challenge"),
		"jwks_uri":                              c.url("/.well-known/jwks.json"),
		"revocation_endpoint":                   c.url("/oauth/revoke"),
		"pushed_authorization_request_endpoint": c.url("/oauth/par"),
		"scopes_supported": []string{"openid", "profile", "offline_access", "name", "given_name", "family_name", "nickname",
			"email", "email_verified", "picture", "created_at", "identities", "phone", "address"},
		"response_types_supported": []string{"code", "token", "id_token", "code token", "code id_token", "token id_token",
			"code token id_token"},
		"code_challenge_methods_supported":                 []string{"S256", "plain"},
		"response_modes_supported":                         []string{"query", "fragment", "form_post"},
		"subject_types_supported":                          []string{"public"},
		"token_endpoint_auth_methods_supported":            []string{"client_secret_basic", "client_secret_post", "private_key_jwt"},
		"token_endpoint_auth_signing_alg_values_supported": []string{"RS256", "RS384", "PS256"},
		"claims_supported": []string{"aud", "auth_time", "created_at", "email", "email_verified", "exp", "family_name",
			"given_name", "iat", "identities", "iss", "name", "nickname", "phone_number", "picture", "sub"},
		"request_uri_parameter_supported":       false,
		"request_parameter_supported":           false,
		"id_token_signing_alg_values_supported": []string{"HS256", "RS256", "PS256"},
	}
	if flagOr(sub(settings, "oidc_logout"), "rp_logout_end_session_endpoint_discovery", true) {
		m["end_session_endpoint"] = c.url("/oidc/logout")
	}
	c.w.Header().Set("Cache-Control", "public, max-age=15, stale-while-revalidate=15, stale-if-error=86400")
	writeJSON(c.w, 200, m)
	return nil
}

// jwks is the tenant's key set: the key that signs, the one that will, and
// those that did until they are revoked.
func (c *call) jwks() error {
	keys, err := c.signingKeys()
	if err != nil {
		return err
	}
	list := []json.RawMessage{}
	for _, k := range keys {
		if k.Revoked {
			continue
		}
		key, err := publicJWK(k)
		if err != nil {
			return err
		}
		text, err := json.Marshal(key)
		if err != nil {
			return err
		}
		list = append(list, text)
	}
	c.w.Header().Set("Cache-Control", "public, max-age=15, stale-while-revalidate=15, stale-if-error=86400")
	writeJSON(c.w, 200, map[string]any{"keys": list})
	return nil
}

// signingKeys reads the tenant's keys, making the first ones if need be.
func (c *call) signingKeys() (keys []state.SigningKey, err error) {
	read := func(tx *state.Tx) error {
		keys, err = tx.SigningKeys()
		return err
	}
	if c.view(read) == nil {
		return keys, nil
	}
	err = c.update(read)
	return keys, err
}

type certChain struct {
	thumbprint string
	certs      *cert.Chain
}

func jwkChain(k state.SigningKey) certChain {
	sum := sha1.Sum(k.Certificate.Raw)
	chain := new(cert.Chain)
	// AddString only fails on text that is not base64, and this is.
	_ = chain.AddString(base64.StdEncoding.EncodeToString(k.Certificate.Raw))
	return certChain{base64.RawURLEncoding.EncodeToString(sum[:]), chain}
}
