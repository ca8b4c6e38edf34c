package auth0sim

import (
	"context"
	"sort"
	"strings"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// builtInConnection is the database that every tenant is born with.
const builtInConnection = "Username-Password-Authentication"

// bootstrap fills a tenant with what a new one holds, as far as it is missing:
// signing keys, the Management API, the client that may call all of it, the
// global client, and a database connection.
func (s *Server) bootstrap(ctx context.Context, t *tenant) error {
	return t.state.Update(ctx, func(tx *state.Tx) error {
		key, err := tx.CurrentSigningKey()
		if err != nil {
			return err
		}
		scopes := s.catalog.scopes()
		if err := s.bootstrapAPI(tx, t, scopes); err != nil {
			return err
		}
		id := s.cfg.ClientID
		if _, found, err := tx.Get("clients", id); err != nil {
			return err
		} else if !found {
			client := doc{"client_id": id, "name": "Tenon", "app_type": "non_interactive", "global": false, "oidc_conformant": true,
				"grant_types": []any{"client_credentials"}, "token_endpoint_auth_method": "client_secret_post", "signing_keys": []any{doc{"cert": certificatePEM(key.Certificate)}}}
			fillGaps(client, mustDoc(clientDefaults))
			client["client_secret"] = s.cfg.ClientSecret.Reveal()
			if err := tx.Put("clients", id, client); err != nil {
				return err
			}
		}
		grants, err := tx.Find("client-grants", "client_id", id)
		if err != nil {
			return err
		}
		if len(grants) == 0 {
			grant := tx.NewID(state.ClientGrantID)
			if err := tx.Put("client-grants", grant, doc{"id": grant, "client_id": id, "audience": t.audience(), "scope": toAny(scopes), "subject_type": "client"}); err != nil {
				return err
			}
		}
		return bootstrapRest(tx, key)
	})
}

func (s *Server) bootstrapAPI(tx *state.Tx, t *tenant, scopes []string) error {
	if err := moveAPI(tx, t); err != nil {
		return err
	}
	if _, found, err := tx.FindOne("resource-servers", "identifier", t.audience()); err != nil || found {
		return err
	}
	described := []any{}
	for _, scope := range scopes {
		described = append(described, doc{"value": scope, "description": describeScope(scope)})
	}
	rs := mustDoc(accessFamilies()[0].defaults)
	fillGaps(rs, doc{"id": tx.NewID(state.ObjectID), "name": "Auth0 Management API", "identifier": t.audience(), "is_system": true, "scopes": described})
	return tx.Put("resource-servers", str(rs, "id"), rs)
}

// moveAPI gives the system's APIs the names that follow from the tenant's
// address, if that is another than when they were made, and so their grants: a
// simulator that starts on another port is the same tenant.
func moveAPI(tx *state.Tx, t *tenant) error {
	apis, _, err := tx.List("resource-servers", state.ListOptions{})
	if err != nil {
		return err
	}
	for _, api := range apis {
		former, now := str(api, "identifier"), t.audience()
		if strings.HasSuffix(former, myAccountPath) {
			now = t.myAccount()
		}
		if !boolean(api, "is_system") || former == now {
			continue
		}
		grants, _, err := tx.List("client-grants", state.ListOptions{})
		if err != nil {
			return err
		}
		for _, g := range grants {
			if str(g, "audience") != former {
				continue
			}
			g["audience"] = now
			if err := tx.Put("client-grants", str(g, "id"), g); err != nil {
				return err
			}
		}
		api["identifier"] = now
		if err := tx.Put("resource-servers", str(api, "id"), api); err != nil {
			return err
		}
	}
	return nil
}

// bootstrapRest makes the global client and the database connection.
func bootstrapRest(tx *state.Tx, key state.SigningKey) error {
	clients, _, err := tx.List("clients", state.ListOptions{})
	if err != nil {
		return err
	}
	global := false
	for _, c := range clients {
		global = global || boolean(c, "global")
	}
	if !global {
		c := doc{"client_id": tx.NewID(state.ClientID), "client_secret": tx.NewID(state.ClientSecret), "name": "All Applications", "global": true, "callbacks": []any{},
			"is_first_party": true, "cross_origin_authentication": false, "custom_login_page_on": true, "refresh_token": mustDoc(clientDefaults)["refresh_token"],
			"signing_keys": []any{doc{"cert": certificatePEM(key.Certificate)}}}
		if err := tx.Put("clients", str(c, "client_id"), c); err != nil {
			return err
		}
	}
	if _, found, err := tx.FindOne("connections", "name", strings.ToLower(builtInConnection)); err != nil || found {
		return err
	}
	id := tx.NewID(state.ConnectionID)
	options := mustDoc(strategies["auth0"].defaults)
	return tx.Put("connections", id, doc{"id": id, "name": builtInConnection, "strategy": "auth0", "options": options, "is_domain_connection": false,
		"authentication": doc{"active": true}, "connected_accounts": doc{"active": false}, "realms": []any{builtInConnection}})
}

// scopes lists every scope that an operation asks for.
func (c *catalog) scopes() []string {
	seen := map[string]bool{}
	for _, op := range c.operations {
		for _, s := range op.Scopes {
			seen[s] = true
		}
	}
	out := make([]string, 0, len(seen))
	for s := range seen {
		out = append(out, s)
	}
	sort.Strings(out)
	return out
}

// describeScope turns "read:client_grants" into "Read Client Grants".
func describeScope(scope string) string {
	words := strings.FieldsFunc(scope, func(r rune) bool { return r == ':' || r == '_' })
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, " ")
}
