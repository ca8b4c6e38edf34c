package authapi

import (
	"errors"
	"net/http"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// tokenPassword is the password grant (RFC 6749, 4.3), and Auth0's form of it
// that names a realm.
func (c *call) tokenPassword(client Doc, p params) error {
	for _, name := range []string{"username", "password"} {
		if p.str(name) == "" {
			return errMissing(name)
		}
	}
	requested, err := p.scope()
	if err != nil {
		return err
	}
	if len(requested) == 0 {
		requested = []string{"openid", "profile", "email", "address", "phone"} // what Auth0 grants without being asked
	}
	in := &party{client: client, requested: requested, protocol: "oauth2-password", body: p}
	connection := p.str("realm")
	if p.str("grant_type") == grantRealm {
		in.protocol = "oauth2-password-realm"
		if connection == "" {
			return errMissing("realm")
		}
	}
	if connection == "" {
		if err := c.view(func(tx *state.Tx) error {
			settings, err := singleton(tx, "tenants/settings")
			connection = str(settings, "default_directory")
			return err
		}); err != nil {
			return err
		}
		if connection == "" {
			return oauthErr(http.StatusInternalServerError, "server_error", "Authorization server not configured with default connection.")
		}
	}
	user, conn, err := c.signIn(attempt{client: client, identifier: p.str("username"), password: p.str("password"), connection: connection})
	if errors.Is(err, errNoConnection) {
		return oauthErr(http.StatusForbidden, "access_denied", "%s", "unknown connection "+clip(connection)+" or it is not enabled for the client")
	}
	if err != nil {
		return err
	}
	in.methods = []method{{"pwd", c.now}}
	return c.exchangeForUser(in, userExchange{
		user: str(user, "user_id"), connection: str(conn, "name"), audience: p.str("audience"), grant: "password",
		kind: "sepft", description: "Password for Access Token",
	})
}

// userExchange is the part that all grants for a user who signs in through the
// token endpoint have in common.
type userExchange struct {
	user, connection, audience string
	organization               string
	grant                      string // the gty claim
	kind, description          string // of the log entry
	mfaDone                    bool
	extra                      map[string]any // members of the answer
}

// exchangeForUser runs the Actions, demands a second factor where the tenant
// or an Action wants one, and answers with tokens.
func (c *call) exchangeForUser(in *party, x userExchange) error {
	err := c.view(func(tx *state.Tx) error {
		if x.audience == "" {
			settings, err := singleton(tx, "tenants/settings")
			if err != nil {
				return err
			}
			x.audience = str(settings, "default_audience")
		}
		return c.fill(tx, in, x.user, x.connection, x.organization, x.audience)
	})
	if err != nil {
		return asAPIError(err)
	}
	result, err := c.runPostLogin(in, nil)
	if err != nil {
		return err
	}
	if result.Redirect != nil {
		return oauthErr(http.StatusForbidden, "interaction_required", "Interaction required")
	}
	need, err := c.demand(in, result)
	if err != nil {
		return err
	}
	if need.required && !x.mfaDone {
		return c.mfaRequired(in, x)
	}
	i := &issue{
		client: in.client, user: in.user, organization: in.organization, settings: in.settings, api: in.api, grant: x.grant,
		methods: in.methods, result: result,
	}
	var out map[string]any
	err = c.update(func(tx *state.Tx) error {
		user, ok, err := tx.Get("users", x.user)
		if err != nil || !ok {
			return errors.Join(err, unless(ok, errUserBlocked))
		}
		if err := countLogin(tx, user, c.ip()); err != nil {
			return err
		}
		i.user = user
		refresh := ""
		if i.has("offline_access") {
			if refresh, _, err = c.newRefreshToken(tx, i, in.api.audience, x.connection, c.now); err != nil {
				return err
			}
		}
		if out, err = c.tokenResponse(tx, i, refresh); err != nil {
			return err
		}
		return tx.Log(c.entry(in.entry(x.kind, x.description, nil)))
	})
	if err != nil {
		return err
	}
	for k, v := range x.extra {
		out[k] = v
	}
	writeJSON(c.w, http.StatusOK, out)
	return nil
}
