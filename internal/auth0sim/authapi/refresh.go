package authapi

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// A refresh token is one document for its whole life: rotation replaces the
// secret, not the document. Its text is "v1." + id + secret.
const (
	refreshKind   = state.Kind("rt")
	refreshIDLen  = 25 // "rt_" and 22 characters
	refreshPrefix = "v1."
)

func refreshText(id, secret string) string { return refreshPrefix + id + secret }

func splitRefresh(token string) (id, secret string, ok bool) {
	rest, ok := strings.CutPrefix(token, refreshPrefix)
	if !ok || len(rest) <= refreshIDLen {
		return "", "", false
	}
	return rest[:refreshIDLen], rest[refreshIDLen:], true
}

// newRefreshToken stores a refresh token and returns its text and id.
func (c *call) newRefreshToken(tx *state.Tx, i *issue, audience, connection string, authTime time.Time) (text, id string, err error) {
	id, secret := tx.NewID(refreshKind), tx.NewID(state.Token)
	policy := sub(i.client, "refresh_token")
	now := state.Timestamp(c.now)
	d := Doc{
		"id": id, "user_id": str(i.user, "user_id"), "client_id": str(i.client, "client_id"), "session_id": i.session,
		"created_at": now, "last_exchanged_at": nil, "rotating": str(policy, "rotation_type") == "rotating",
		"resource_servers": []any{Doc{"audience": audience, "scopes": joinScope(i.scope())}},
		"device":           Doc{"initial_ip": c.ip(), "initial_user_agent": c.r.UserAgent()},
		state.Private: Doc{
			"hash": digest(secret), "spent": []any{}, "scope": anys(i.scope()), "audience": audience, "connection": connection,
			"organization": str(i.organization, "id"), "auth_time": authTime.Format(time.RFC3339), "mfa": hasMFA(i.methods),
		},
	}
	if str(policy, "expiration_type") == "expiring" {
		if !flag(policy, "infinite_token_lifetime") {
			d["expires_at"] = state.Timestamp(c.now.Add(seconds(policy, "token_lifetime", 2592000)))
		}
		if !flag(policy, "infinite_idle_token_lifetime") {
			d["idle_expires_at"] = state.Timestamp(c.now.Add(seconds(policy, "idle_token_lifetime", 1296000)))
		}
	}
	return refreshText(id, secret), id, tx.Put("refresh-tokens", id, d)
}

func seconds(d Doc, key string, missing float64) time.Duration {
	return time.Duration(number(d, key, missing) * float64(time.Second))
}

func hasMFA(list []method) bool {
	for _, m := range list {
		if m.Name == "mfa" {
			return true
		}
	}
	return false
}

// tokenRefresh is RFC 6749, 6, with rotation and the detection of reuse (RFC
// 9700, 4.14).
func (c *call) tokenRefresh(client Doc, p params) error {
	if p.str("refresh_token") == "" {
		return errMissing("refresh_token")
	}
	requested, err := p.scope()
	if err != nil {
		return err
	}
	in := &party{client: client, protocol: "oauth2-refresh-token", body: p}
	invalid := errInvalidGrant("Unknown or invalid refresh token.")
	id, secret, ok := splitRefresh(p.str("refresh_token"))
	if !ok {
		return c.refuse(in, "fertft", invalid)
	}

	// First look: enough to run the Actions, which must not happen inside of a
	// transaction.
	var d Doc
	err = c.view(func(tx *state.Tx) error {
		var ok bool
		if d, ok, err = tx.Get("refresh-tokens", id); err != nil || !ok {
			return errors.Join(err, unless(ok, invalid))
		}
		if str(d, "client_id") != str(client, "client_id") || !c.honoured(client, d, digest(secret)) {
			return nil // exchangeRefresh will refuse it, and draw the consequences
		}
		private := sub(d, state.Private)
		in.requested = texts(private, "scope")
		if len(requested) > 0 {
			in.requested = intersect(requested, in.requested)
		}
		in.session = str(d, "session_id")
		in.methods = refreshMethods(d)
		err := c.fill(tx, in, str(d, "user_id"), str(private, "connection"), str(private, "organization"), str(private, "audience"))
		var lost *pageError
		if errors.As(err, &lost) || err == nil && flag(in.user, "blocked") {
			return invalid
		}
		return err
	})
	var refused *oauthError
	if errors.As(err, &refused) {
		return c.refuse(in, "fertft", refused)
	}
	if err != nil {
		return err
	}
	i := &issue{client: client, user: in.user, organization: in.organization, settings: in.settings, api: in.api, session: in.session, methods: in.methods}
	if in.user != nil {
		if i.result, err = c.runPostLogin(in, nil); err != nil {
			return err
		}
		if r := i.result.Redirect; r != nil {
			return oauthErr(http.StatusForbidden, "interaction_required", "Interaction required")
		}
	}

	var out map[string]any
	kind := "fertft"
	err = c.update(func(tx *state.Tx) error {
		text, why, err := c.exchangeRefresh(tx, client, id, secret)
		if err != nil {
			return err
		}
		if why != "" {
			refused, kind = invalid, why
			return nil // the revocation stays
		}
		if in.user == nil {
			return errors.New("refresh token became valid between two looks")
		}
		if out, err = c.tokenResponse(tx, i, text); err != nil {
			return err
		}
		return tx.Log(c.entry(in.entry("sertft", "Refresh Token for Access Token", nil)))
	})
	if err != nil {
		return err
	}
	if refused != nil {
		return c.refuse(in, kind, refused)
	}
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

func refreshMethods(d Doc) []method {
	if !flag(sub(d, state.Private), "mfa") {
		return nil
	}
	at, _ := time.Parse(time.RFC3339, str(sub(d, state.Private), "auth_time"))
	return []method{{"mfa", at}}
}

// exchangeRefresh checks a refresh token and rotates it if its client wants
// that. It returns the text of the token to use next, "" if it stays the same,
// or the log type of the refusal. A secret that was rotated out comes either
// from a client that missed the answer (within the leeway) or from a thief; as
// nobody can tell which of the two has the new one, all of it is revoked.
func (c *call) exchangeRefresh(tx *state.Tx, client Doc, id, secret string) (text, refusal string, err error) {
	d, ok, err := tx.Get("refresh-tokens", id)
	if err != nil || !ok || str(d, "client_id") != str(client, "client_id") {
		return "", "fertft", err
	}
	for _, k := range []string{"expires_at", "idle_expires_at"} {
		if v := str(d, k); v != "" {
			if at, err := time.Parse(time.RFC3339, v); err != nil || !at.After(c.now) {
				_, err := tx.Delete("refresh-tokens", id)
				return "", "fertft", err
			}
		}
	}
	private := state.PrivateOf(d)
	policy := sub(client, "refresh_token")
	if hash := digest(secret); !c.honoured(client, d, hash) {
		if spent, _ := spentAt(private, hash); !spent {
			return "", "fertft", nil
		}
		_, err := tx.Delete("refresh-tokens", id)
		return "", "ferrt", err
	}
	d["last_exchanged_at"] = state.Timestamp(c.now)
	sub(d, "device")["last_ip"], sub(d, "device")["last_user_agent"] = c.ip(), c.r.UserAgent()
	if str(d, "idle_expires_at") != "" {
		d["idle_expires_at"] = state.Timestamp(c.now.Add(seconds(policy, "idle_token_lifetime", 1296000)))
	}
	if str(policy, "rotation_type") == "rotating" {
		next := tx.NewID(state.Token)
		spent, _ := private["spent"].([]any)
		spent = append(spent, Doc{"hash": str(private, "hash"), "at": c.now.Format(time.RFC3339Nano)})
		// Enough to recognise every thief who is not very late, without a
		// document that grows for ever.
		private["spent"] = spent[max(0, len(spent)-100):]
		private["hash"] = digest(next)
		text = refreshText(id, next)
	}
	return text, "", tx.Put("refresh-tokens", id, d)
}

// honoured reports whether a secret is the token's current one, or was until
// less than the client's leeway ago.
func (c *call) honoured(client, d Doc, hash string) bool {
	private := sub(d, state.Private)
	if same(str(private, "hash"), hash) {
		return true
	}
	spent, at := spentAt(private, hash)
	return spent && c.now.Before(at.Add(seconds(sub(client, "refresh_token"), "leeway", 0)))
}

func spentAt(private Doc, hash string) (bool, time.Time) {
	for _, s := range docs(private, "spent") {
		if same(str(s, "hash"), hash) {
			at, err := time.Parse(time.RFC3339Nano, str(s, "at"))
			return err == nil, at
		}
	}
	return false, time.Time{}
}

// revoke ends a refresh token (RFC 7009). Its answer does not say whether
// there was one.
func (c *call) revoke() error {
	p, err := c.apiParams()
	if err != nil {
		return err
	}
	client, err := c.authenticate(p, false)
	if err != nil {
		return err
	}
	if p.str("token") == "" {
		return errMissing("token")
	}
	if id, secret, ok := splitRefresh(p.str("token")); ok {
		err = c.update(func(tx *state.Tx) error {
			d, ok, err := tx.Get("refresh-tokens", id)
			if err != nil || !ok || str(d, "client_id") != str(client, "client_id") {
				return err
			}
			private := sub(d, state.Private)
			if spent, _ := spentAt(private, digest(secret)); !spent && !same(str(private, "hash"), digest(secret)) {
				return nil
			}
			if _, err := tx.Delete("refresh-tokens", id); err != nil {
				return err
			}
			settings, err := singleton(tx, "tenants/settings")
			if err != nil || !flag(sub(settings, "flags"), "revoke_refresh_token_grant") {
				return err
			}
			return c.dropGrant(tx, str(d, "user_id"), str(d, "client_id"))
		})
		if err != nil {
			return err
		}
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// dropGrant also ends the client's other refresh tokens of the user, where the
// tenant wants revocation to do that.
func (c *call) dropGrant(tx *state.Tx, user, client string) error {
	for _, family := range []struct{ name, id, client string }{{"refresh-tokens", "id", "client_id"}, {"grants", "id", "clientID"}} {
		list, err := tx.Find(family.name, "user_id", user)
		if err != nil {
			return err
		}
		for _, d := range list {
			if str(d, family.client) == client {
				if _, err := tx.Delete(family.name, str(d, family.id)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
