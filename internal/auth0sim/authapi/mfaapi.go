package authapi

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

const mfaTokenLifetime = 10 * time.Minute

// mfaState is what an mfa_token stands for: an exchange that waits for its
// second factor.
type mfaState struct {
	ID           string   `json:"id"`
	ExpiresAt    int64    `json:"expires_at"`
	ClientID     string   `json:"client_id"`
	UserID       string   `json:"user_id"`
	Connection   string   `json:"connection"`
	Organization string   `json:"organization"`
	Audience     string   `json:"audience"`
	Scope        []string `json:"scope"`
	Protocol     string   `json:"protocol"`
	Grant        string   `json:"grant"`
	Methods      []method `json:"methods"`
	Pending      string   `json:"pending"` // a TOTP secret under enrolment
	Recovery     string   `json:"recovery"`
}

// mfaRequired answers that the exchange needs a second factor.
func (c *call) mfaRequired(in *party, x userExchange) error {
	token := ""
	err := c.update(func(tx *state.Tx) error {
		if err := purge(tx, "oauth/mfa-tokens", "id"); err != nil {
			return err
		}
		token = tx.NewID(state.Token)
		d, err := marshal(mfaState{
			ID: digest(token), ExpiresAt: c.now.Add(mfaTokenLifetime).Unix(), ClientID: str(in.client, "client_id"), UserID: x.user,
			Connection: x.connection, Organization: x.organization, Audience: x.audience, Scope: in.requested, Protocol: in.protocol,
			Grant: x.grant, Methods: in.methods,
		})
		if err != nil {
			return err
		}
		return tx.Put("oauth/mfa-tokens", digest(token), d)
	})
	if err != nil {
		return err
	}
	e := oauthErr(http.StatusForbidden, "mfa_required", "Multifactor authentication required")
	e.extra = map[string]any{"mfa_token": token, "mfa_requirements": in.requirements()}
	return c.refuse(in, "mfar", e)
}

// requirements tell the client what the user can do next.
func (in *party) requirements() map[string]any {
	otp := map[string]any{"type": "otp"}
	if !in.otp {
		return map[string]any{"enroll": []any{otp}}
	}
	list := []any{otp}
	if in.recoveryCode {
		list = append(list, map[string]any{"type": "recovery-code"})
	}
	return map[string]any{"challenge": list}
}

func (c *call) mfaToken(tx *state.Tx, token string) (*mfaState, error) {
	d, ok, err := tx.Get("oauth/mfa-tokens", digest(token))
	if err != nil {
		return nil, err
	}
	if token == "" || !ok {
		return nil, oauthErr(http.StatusUnauthorized, "invalid_grant", "Malformed mfa_token")
	}
	if expired(d, c.now) {
		return nil, oauthErr(http.StatusUnauthorized, "expired_token", "mfa_token is expired")
	}
	var m mfaState
	return &m, unmarshal(d, &m)
}

func (m *mfaState) save(tx *state.Tx) error {
	d, err := marshal(m)
	if err != nil {
		return err
	}
	return tx.Put("oauth/mfa-tokens", m.ID, d)
}

// tokenMFA completes an exchange with a second factor.
func (c *call) tokenMFA(client Doc, p params) error {
	if p.str("mfa_token") == "" {
		return errMissing("mfa_token")
	}
	var m *mfaState
	in := &party{client: client, body: p}
	err := c.view(func(tx *state.Tx) (err error) {
		if m, err = c.mfaToken(tx, p.str("mfa_token")); err != nil {
			return err
		}
		if m.ClientID != str(client, "client_id") {
			return oauthErr(http.StatusUnauthorized, "invalid_grant", "Malformed mfa_token")
		}
		in.requested, in.protocol = m.Scope, m.Protocol
		return c.fill(tx, in, m.UserID, m.Connection, m.Organization, m.Audience)
	})
	if err != nil {
		return asAPIError(err)
	}
	extra := map[string]any{}
	switch p.str("grant_type") {
	case grantMFAOTP:
		if p.str("otp") == "" {
			return errMissing("otp")
		}
		err = c.otpGrant(in, m, p.str("otp"))
	case grantMFARecovery:
		if p.str("recovery_code") == "" {
			return errMissing("recovery_code")
		}
		extra["recovery_code"], err = c.checkRecoveryCode(in, p.str("recovery_code"))
	default:
		// No authenticator of the simulator works out of band, so no oob_code
		// can have been given out.
		err = errInvalidGrant("Malformed oob_code")
	}
	var refused *oauthError
	if errors.As(err, &refused) {
		return refused
	}
	if err != nil {
		return err
	}
	// One token, one exchange.
	if err := c.update(func(tx *state.Tx) error {
		there, err := tx.Delete("oauth/mfa-tokens", m.ID)
		return errors.Join(err, unless(there || err != nil, oauthErr(http.StatusUnauthorized, "invalid_grant", "Malformed mfa_token")))
	}); err != nil {
		return err
	}
	in.methods = append(m.Methods, method{"mfa", c.now})
	return c.exchangeForUser(in, userExchange{
		user: m.UserID, connection: m.Connection, organization: m.Organization, audience: m.Audience, grant: m.Grant,
		kind: "sepft", description: "MFA for Access Token", mfaDone: true, extra: extra,
	})
}

// otpGrant checks a one-time password, which may be the one that confirms the
// authenticator just associated.
func (c *call) otpGrant(in *party, m *mfaState, code string) error {
	if m.Pending == "" {
		return c.checkOTP(in, code)
	}
	step, ok := totpStep(m.Pending, code, c.now)
	err := c.update(func(tx *state.Tx) error {
		if err := c.limited(tx, m.UserID); err != nil {
			return err
		}
		if !ok {
			return c.countOTP(tx, m.UserID)
		}
		_, err := c.enrol(tx, in, m.Pending, step, false)
		return err
	})
	return errors.Join(err, unless(ok || err != nil, errWrongOTP))
}

// mfaChallengeAPI is POST /mfa/challenge.
func (c *call) mfaChallengeAPI() error {
	p, err := c.apiParams()
	if err != nil {
		return err
	}
	client, err := c.authenticate(p, false)
	if err != nil {
		return err
	}
	types := strings.Fields(p.str("challenge_type"))
	return c.view(func(tx *state.Tx) error {
		m, err := c.mfaToken(tx, p.str("mfa_token"))
		if err != nil {
			return err
		}
		if m.ClientID != str(client, "client_id") {
			return oauthErr(http.StatusUnauthorized, "invalid_grant", "Malformed mfa_token")
		}
		list, err := authenticators(tx, m.UserID)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return oauthErr(http.StatusForbidden, "association_required", "User does not have any active authenticators.")
		}
		if len(types) > 0 && !slices.Contains(types, "otp") {
			return oauthErr(http.StatusForbidden, "unsupported_challenge_type", "User does not have an authenticator of the requested challenge_type.")
		}
		writeJSON(c.w, http.StatusOK, map[string]any{"challenge_type": "otp"})
		return nil
	})
}

// bearer is the token of the Authorization header, or of the form (RFC 6750).
func (c *call) bearer() string {
	if scheme, token, ok := strings.Cut(c.r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}

// mfaAssociateAPI is POST /mfa/associate: a new authenticator for the user of
// an mfa_token, active once its first password was accepted.
func (c *call) mfaAssociateAPI() error {
	p, err := c.apiParams()
	if err != nil {
		return err
	}
	types := texts(Doc(p), "authenticator_types")
	out := map[string]any{"authenticator_type": "otp"}
	err = c.update(func(tx *state.Tx) error {
		m, err := c.mfaToken(tx, c.bearer())
		if err != nil {
			return err
		}
		if len(types) != 1 || types[0] != "otp" {
			return oauthErr(http.StatusBadRequest, "invalid_request", "authenticator_types must be one of: otp")
		}
		if on, err := factorOn(tx, "otp"); err != nil || !on {
			return errors.Join(err, unless(on, oauthErr(http.StatusForbidden, "unsupported_authenticator_type", "The otp factor is not enabled.")))
		}
		list, err := authenticators(tx, m.UserID)
		if err != nil {
			return err
		}
		// With an authenticator at hand the mfa_token alone, which is worth one
		// factor, must not be enough to add another.
		if len(list) > 0 {
			return oauthErr(http.StatusForbidden, "access_denied", "User is already enrolled.")
		}
		user, ok, err := tx.Get("users", m.UserID)
		if err != nil || !ok {
			return errors.Join(err, unless(ok, errUserBlocked))
		}
		secret, err := newTOTPSecret(tx.Store().Rand())
		if err != nil {
			return err
		}
		settings, err := singleton(tx, "tenants/settings")
		if err != nil {
			return err
		}
		out["secret"] = secret
		out["barcode_uri"] = totpURI(tenantName(settings, tx.Tenant()), userName(user), secret)
		if on, err := factorOn(tx, "recovery-code"); err != nil {
			return err
		} else if on && str(state.PrivateOf(user), recoveryHash) == "" {
			code, err := c.newRecoveryCode(tx, user)
			if err != nil {
				return err
			}
			out["recovery_codes"] = []string{code}
		}
		m.Pending = secret
		return m.save(tx)
	})
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

// mfaAuthenticatorsAPI is GET /mfa/authenticators.
func (c *call) mfaAuthenticatorsAPI() error {
	out := []any{}
	err := c.view(func(tx *state.Tx) error {
		id, err := c.mfaUser(tx, "read:authenticators")
		if err != nil {
			return err
		}
		user, _, err := tx.Get("users", id)
		if err != nil {
			return err
		}
		if str(state.PrivateOf(user), recoveryHash) != "" {
			out = append(out, map[string]any{"id": "recovery-code|" + digest(id)[:16], "authenticator_type": "recovery-code", "active": true})
		}
		list, err := authenticators(tx, id)
		if err != nil {
			return err
		}
		for _, a := range list {
			out = append(out, map[string]any{"id": "totp|" + strings.TrimPrefix(str(a.doc, "id"), "totp|"), "authenticator_type": "otp", "active": true})
		}
		return nil
	})
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

// mfaDeleteAPI is DELETE /mfa/authenticators/{id}. It takes an access token
// alone: an mfa_token is one factor, and one factor must not be able to remove
// the other.
func (c *call) mfaDeleteAPI() error {
	kind, id, _ := strings.Cut(c.r.PathValue("id"), "|")
	err := c.update(func(tx *state.Tx) error {
		user, err := c.mfaAccess(tx, "remove:authenticators")
		if err != nil {
			return err
		}
		if kind == "recovery-code" {
			doc, ok, err := tx.Get("users", user)
			if err != nil || !ok {
				return errors.Join(err, unless(ok, errNoToken()))
			}
			delete(state.PrivateOf(doc), recoveryHash)
			return tx.Put("users", user, doc)
		}
		list, err := authenticators(tx, user)
		if err != nil {
			return err
		}
		for _, a := range list {
			if strings.TrimPrefix(str(a.doc, "id"), "totp|") == id && kind == "totp" {
				if _, err := tx.Delete(a.family, str(a.doc, "id")); err != nil {
					return err
				}
				in := &party{user: Doc{"user_id": user}}
				return tx.Log(c.entry(in.entry("gd_unenroll", "Unenroll device account", nil)))
			}
		}
		return oauthErr(http.StatusNotFound, "not_found", "Authenticator not found")
	})
	if err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// mfaServer is the tenant's own API of second factors. Users get tokens for it
// like for any other, but it is no document that could be changed.
func (c *call) mfaServer() Doc {
	scopes := []any{}
	for _, s := range []string{"read:authenticators", "remove:authenticators"} {
		scopes = append(scopes, Doc{"value": s, "description": s})
	}
	return Doc{"identifier": c.url("/mfa/"), "name": "Auth0 MFA API", "is_system": true, "token_lifetime": 600.0, "scopes": scopes,
		"skip_consent_for_verifiable_first_party_clients": true}
}

// resourceServer finds an API by its identifier.
func (c *call) resourceServer(tx *state.Tx, audience string) (Doc, bool, error) {
	if audience == c.url("/mfa/") {
		return c.mfaServer(), true, nil
	}
	return tx.FindOne("resource-servers", "identifier", audience)
}

// mfaAccess is the user of an access token for the MFA API.
func (c *call) mfaAccess(tx *state.Tx, scope string) (user string, err error) {
	t, err := c.ownToken(tx, c.bearer())
	if err != nil {
		return "", err
	}
	var granted string
	if err := t.Get("scope", &granted); err != nil {
		granted = ""
	}
	aud, _ := t.Audience()
	if !slices.Contains(aud, c.url("/mfa/")) || !slices.Contains(splitScope(granted), scope) {
		return "", oauthErr(http.StatusForbidden, "insufficient_scope", "Insufficient scope, expected: %s", scope)
	}
	user, _ = t.Subject()
	return user, nil
}

// mfaUser is the user of an mfa_token, or of an access token with the scope.
func (c *call) mfaUser(tx *state.Tx, scope string) (user string, err error) {
	m, err := c.mfaToken(tx, c.bearer())
	if err == nil {
		return m.UserID, nil
	}
	if strings.Count(c.bearer(), ".") != 2 {
		return "", err
	}
	return c.mfaAccess(tx, scope)
}
