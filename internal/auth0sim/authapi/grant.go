package authapi

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// oidcScopes are granted without an API's consent.
var oidcScopes = []string{
	"openid", "profile", "email", "address", "phone", "offline_access", "name", "given_name", "family_name", "nickname",
	"email_verified", "picture", "created_at", "identities",
}

// apiGrant is what a request may get of an API.
type apiGrant struct {
	audience    string // "" for an opaque token that only /userinfo takes
	server      Doc    // the resource server; empty for an opaque token
	scope       []string
	permissions []string // for the permissions claim
}

// dialect is the resource server's kind of access token.
func (g apiGrant) dialect() string {
	if d := str(g.server, "token_dialect"); d != "" {
		return d
	}
	return "access_token"
}

func (g apiGrant) rfc9068() bool { return strings.HasPrefix(g.dialect(), "rfc9068_profile") }

func (g apiGrant) withPermissions() bool {
	return flag(g.server, "enforce_policies") && strings.HasSuffix(g.dialect(), "_authz")
}

func (g apiGrant) lifetime(web bool) time.Duration {
	if g.audience == "" {
		return 24 * time.Hour
	}
	if web {
		return time.Duration(number(g.server, "token_lifetime_for_web", 7200)) * time.Second
	}
	return time.Duration(number(g.server, "token_lifetime", 86400)) * time.Second
}

func scopesOf(server Doc) []string {
	var out []string
	for _, s := range docs(server, "scopes") {
		out = append(out, str(s, "value"))
	}
	return out
}

// resolveAPI decides which of the requested scopes a user's token gets: with
// RBAC, only those among the user's permissions.
func (c *call) resolveAPI(tx *state.Tx, client, user Doc, organization, audience string, requested []string) (apiGrant, error) {
	g := apiGrant{scope: intersect(requested, oidcScopes)}
	if audience == "" || c.userinfoAudience(audience) {
		if !mayUse(client, "refresh_token") {
			g.scope = without(g.scope, "offline_access")
		}
		return g, nil
	}
	server, ok, err := c.resourceServer(tx, audience)
	if err != nil {
		return g, err
	}
	if !ok {
		return g, oauthErr(http.StatusForbidden, "access_denied", "Service not enabled within domain: %s", audience)
	}
	g.audience, g.server = audience, server
	if !mayUse(client, "refresh_token") || !flag(server, "allow_offline_access") {
		g.scope = without(g.scope, "offline_access")
	}
	own, err := permissionsOf(tx, str(user, "user_id"), organization, audience)
	if err != nil {
		return g, err
	}
	offered := scopesOf(server)
	g.permissions = intersect(own, offered)
	if flag(server, "enforce_policies") {
		offered = g.permissions
	}
	offered, err = userPolicy(tx, client, server, audience, offered)
	if err != nil {
		return g, err
	}
	g.scope = append(g.scope, without(intersect(requested, offered), oidcScopes...)...)
	slices.SortStableFunc(g.scope, func(a, b string) int { return slices.Index(requested, a) - slices.Index(requested, b) })
	return g, nil
}

// userPolicy applies the API's rule on tokens for users.
func userPolicy(tx *state.Tx, client, server Doc, audience string, offered []string) ([]string, error) {
	denied := oauthErr(http.StatusForbidden, "access_denied", "Client is not authorized to access resource server \"%s\".", audience)
	switch str(sub(sub(server, "subject_type_authorization"), "user"), "policy") {
	case "deny_all":
		return nil, denied
	case "require_client_grant":
		grant, err := clientGrant(tx, str(client, "client_id"), audience, "user")
		if err != nil {
			return nil, err
		}
		if grant == nil {
			return nil, denied
		}
		if flag(grant, "allow_all_scopes") {
			return offered, nil
		}
		return intersect(offered, texts(grant, "scope")), nil
	}
	return offered, nil
}

// clientGrant finds the grant between a client and an API, nil if there is none.
func clientGrant(tx *state.Tx, clientID, audience, subject string) (Doc, error) {
	list, err := tx.Find("client-grants", "client_id", clientID)
	if err != nil {
		return nil, err
	}
	for _, g := range list {
		kind := str(g, "subject_type")
		if kind == "" {
			kind = "client"
		}
		if str(g, "audience") == audience && kind == subject {
			return g, nil
		}
	}
	return nil, nil
}

// permissionsOf are a user's permissions on an API, direct and through roles.
func permissionsOf(tx *state.Tx, user, organization, audience string) ([]string, error) {
	out := []string{}
	add := func(list []Doc) {
		for _, d := range list {
			name := str(d, "permission_name")
			if str(d, "resource_server_identifier") == audience && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	direct, err := tx.Find("users/permissions", "user_id", user)
	if err != nil {
		return nil, err
	}
	add(direct)
	roles, err := roleIDs(tx, user, organization)
	if err != nil {
		return nil, err
	}
	for _, role := range roles {
		list, err := tx.Find("roles/permissions", "role_id", role)
		if err != nil {
			return nil, err
		}
		add(list)
	}
	slices.Sort(out)
	return out, nil
}

// resolveM2M decides what a client's own token gets.
func (c *call) resolveM2M(tx *state.Tx, client Doc, audience string, requested []string) (apiGrant, Doc, error) {
	server, ok, err := tx.FindOne("resource-servers", "identifier", audience)
	if err != nil || !ok {
		return apiGrant{}, nil, errors.Join(err, unless(ok, oauthErr(http.StatusForbidden, "access_denied", "Service not enabled within domain: %s", audience)))
	}
	g := apiGrant{audience: audience, server: server}
	offered := scopesOf(server)
	denied := oauthErr(http.StatusForbidden, "access_denied", `Client is not authorized to access "%s". You need to create a "client-grant" associated to this API. See: https://auth0.com/docs/api/management/v2/client-grants/post-client-grants`, audience)
	grant, err := clientGrant(tx, str(client, "client_id"), audience, "client")
	if err != nil {
		return g, nil, err
	}
	switch policy := str(sub(sub(server, "subject_type_authorization"), "client"), "policy"); {
	case policy == "deny_all":
		return g, nil, denied
	case policy == "allow_all" && grant == nil:
		grant = Doc{}
	case grant == nil:
		return g, nil, denied
	case !flag(grant, "allow_all_scopes"):
		// The order is the grant's, as Auth0 puts it into the scope claim.
		offered = texts(grant, "scope")
	}
	g.scope = offered
	if len(requested) > 0 {
		if !subset(requested, offered) {
			return g, nil, oauthErr(http.StatusForbidden, "access_denied", "Client has not been granted scopes: %s", strings.Join(without(requested, offered...), ", "))
		}
		g.scope = requested
	}
	g.permissions = g.scope
	return g, grant, nil
}

func unless(ok bool, err error) error {
	if ok {
		return nil
	}
	return err
}

func without(list []string, drop ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(drop, s) })
}

func lower(s string) string { return strings.ToLower(s) }
