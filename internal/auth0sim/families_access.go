package auth0sim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"net/http"
	"net/url"
	"sort"
	"strings"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

var (
	resourceServerMissing = notFound("inexistent_resource_server", "The resource server does not exist")
	roleMissing           = notFound("", "The role does not exist.")
)

// accessFamilies are APIs, grants and roles: who may be given which scope.
func accessFamilies() []*family {
	return []*family{
		{
			path: "/resource-servers", kind: state.ObjectID, missing: resourceServerMissing, idempotentDelete: true,
			list: listing{wrap: "resource_servers"}, filters: []string{"identifiers:identifier"},
			defaults: `{"allow_offline_access": false, "skip_consent_for_verifiable_first_party_clients": false,
				"token_lifetime": 86400, "token_lifetime_for_web": 7200, "signing_alg": "RS256",
				"subject_type_authorization": {"user": {"policy": "allow_all"}, "client": {"policy": "require_client_grant"}}}`,
			unique: "identifier", clash: conflict("resource_server_conflict", "A resource server with the same identifier already exists."),
			find:      func(c *call, id string) (doc, bool, error) { return findResourceServer(c, id) },
			normalise: sealEncryptionKey,
			prepare: func(c *call, d doc) error {
				id := strings.TrimSuffix(str(d, "identifier"), "/")
				if id == "https://"+c.tenant.domain+"/userinfo" || id == strings.TrimSuffix(c.tenant.audience(), "/") {
					return badRequest("The selected identifier is reserved.")
				}
				if str(d, "identifier") == c.tenant.myAccount() {
					maps.Copy(d, mustDoc(myAccountAPI))
				}
				return nil
			},
			show: func(c *call, d doc) (any, error) {
				out := state.Public(d)
				if c.http.Method == http.MethodPost && boolean(d, "is_system") {
					out["scopes"] = list(d, "scopes")[:myAccountScopesFirst]
				}
				return out, nil
			},
			change: func(_ *call, old, _, _ doc) error {
				if boolean(old, "is_system") {
					return badRequest("System resource servers cannot be patched.")
				}
				return nil
			},
			gone: func(c *call, d doc) error {
				// The My Account API can, says TestAccResourceServer_ACR: who made it
				// may take it away.
				if boolean(d, "is_system") && str(d, "identifier") != c.tenant.myAccount() {
					return badRequest("System resource servers cannot be deleted.")
				}
				for family, index := range map[string]string{"client-grants": "audience", "roles/permissions": "resource_server_identifier", "users/permissions": "resource_server_identifier"} {
					if _, err := c.DeleteWhere(family, index, str(d, "identifier")); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			path: "/client-grants", kind: state.ClientGrantID, missing: notFound("inexistent_client_grant", "The grant does not exist."), idempotentDelete: true,
			list: listing{wrap: "client_grants", checkpoint: true}, filters: []string{"audience", "client_id", "allow_any_organization", "subject_type", "default_for"},
			prepare: newGrant,
			change: func(_ *call, _, d, _ doc) error {
				if boolean(d, "allow_all_scopes") {
					delete(d, "scope")
				}
				return nil
			},
			gone: func(c *call, d doc) error {
				_, err := c.DeleteWhere("organizations/grants", "grant_id", str(d, "id"))
				return err
			},
		},
		{
			path: "/roles", kind: state.RoleID, missing: roleMissing, created: http.StatusOK, deleted: http.StatusOK,
			list: listing{wrap: "roles"}, defaults: `{"type": "tenant"}`, filters: []string{"type", "owner_id"},
			unique: "name", clash: conflict("", "The role already exists."),
			show: func(c *call, d doc) (any, error) {
				out := state.Public(d)
				if _, described := out["description"]; !described && c.http.Method == http.MethodGet {
					out["description"] = ""
				}
				return out, nil
			},
			gone: func(c *call, d doc) error {
				for _, family := range []string{"roles/permissions", "users/roles", "organizations/roles", "groups/roles", "organizations/group-roles"} {
					if _, err := c.DeleteWhere(family, "role_id", str(d, "id")); err != nil {
						return err
					}
				}
				return nil
			},
		},
	}
}

// myAccountAPI is what the API with the tenant's identifier for it is, whatever
// else its creation says of these. The answer to that lists its first scopes
// only; the others come a moment later.
const (
	myAccountAPI = `{"name": "Auth0 My Account API", "is_system": true, "allow_offline_access": true, "skip_consent_for_verifiable_first_party_clients": true,
		"subject_type_authorization": {"client": {"policy": "deny_all"}, "user": {"policy": "require_client_grant"}},
		"token_lifetime": 600, "token_lifetime_for_web": 600, "signing_alg": "RS256", "proof_of_possession": {"mechanism": "dpop", "required": false},
		"scopes": [
			{"value": "create:me:connected_accounts", "description": "Create Connected Accounts"},
			{"value": "read:me:connected_accounts", "description": "Read Connected Accounts"},
			{"value": "delete:me:connected_accounts", "description": "Delete Connected Accounts"},
			{"value": "read:me:authentication_methods", "description": "Read Authentication Methods"},
			{"value": "delete:me:authentication_methods", "description": "Delete Authentication Methods"},
			{"value": "update:me:authentication_methods", "description": "Update Authentication Methods"},
			{"value": "read:me:factors", "description": "Read Factors"},
			{"value": "create:me:authentication_methods", "description": "Create Authentication Methods"}]}`
	myAccountScopesFirst = 3
)

// findResourceServer finds an API by id or by identifier, whether the path
// carried the latter escaped once or twice.
func findResourceServer(c *call, id string) (doc, bool, error) {
	d, found, err := c.Get("resource-servers", id)
	if err != nil || found {
		return d, found, err
	}
	for range 2 {
		if d, found, err = c.FindOne("resource-servers", "identifier", id); err != nil || found {
			return d, found, err
		}
		if id, err = url.PathUnescape(id); err != nil {
			return nil, false, nil
		}
	}
	return nil, false, nil
}

// sealEncryptionKey replaces the PEM of an access token's encryption key with
// what is shown of it.
func sealEncryptionKey(_ *call, body doc) error {
	key := obj(obj(body, "token_encryption"), "encryption_key")
	text := str(key, "pem")
	if text == "" {
		return nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return badRequest("Invalid PEM: could not parse the encryption key")
	}
	sum := sha256.Sum256(block.Bytes)
	key["thumbprint_sha256"] = base64.RawURLEncoding.EncodeToString(sum[:])
	delete(key, "pem")
	return nil
}

func newGrant(c *call, d doc) error {
	if _, set := d["subject_type"]; !set {
		d["subject_type"] = "client"
	}
	client := str(d, "client_id")
	if client != "" {
		app, found, err := c.Get("clients", client)
		if err != nil {
			return err
		}
		if !found {
			return notFound("inexistent_client", "Client not found")
		}
		if str(app, "app_type") == "express_configuration" {
			return refuse(http.StatusBadRequest, "validation_error", "Client of type express_configuration cannot be used")
		}
	}
	if _, found, err := c.FindOne("resource-servers", "identifier", str(d, "audience")); err != nil {
		return err
	} else if !found {
		return notFound("inexistent_resource_server", "Resource server not found")
	}
	others, err := c.Find("client-grants", "audience", str(d, "audience"))
	if err != nil {
		return err
	}
	for _, o := range others {
		if str(o, "client_id") == client && str(o, "subject_type") == str(d, "subject_type") && str(o, "default_for") == str(d, "default_for") {
			return conflict("", "A client grant already exists between "+client+" and "+str(d, "audience"))
		}
	}
	if boolean(d, "allow_all_scopes") {
		delete(d, "scope")
	}
	return nil
}

func accessHandlers() map[string]handler {
	roles := accessFamilies()[2]
	roles.fill()
	return map[string]handler{
		"GET /roles": func(c *call) (answer, error) {
			l := roles.list
			l.family, l.show = "roles", roles.show
			part, kind, owner := strings.ToLower(c.query.Get("name_filter")), c.query.Get("type"), c.query.Get("owner_id")
			if part != "" || kind != "" || owner != "" {
				l.where = func(d doc) bool {
					return strings.Contains(strings.ToLower(str(d, "name")), part) && (kind == "" || str(d, "type") == kind) && (owner == "" || str(d, "owner_id") == owner)
				}
			}
			return c.list(l)
		},
		"DELETE /roles/{}": func(c *call) (answer, error) {
			a, err := roles.doDelete(c)
			a.body = doc{}
			return a, err
		},
		"GET /roles/{}/permissions": func(c *call) (answer, error) {
			if err := c.needs("roles", c.params[0], roleMissing); err != nil {
				return answer{}, err
			}
			return c.listPermissions("roles/permissions", "role_id", c.params[0], nil)
		},
		"POST /roles/{}/permissions":   func(c *call) (answer, error) { return grantPermissions(c, "roles", "role_id", roleMissing, true) },
		"DELETE /roles/{}/permissions": func(c *call) (answer, error) { return grantPermissions(c, "roles", "role_id", roleMissing, false) },
		"GET /roles/{}/users": func(c *call) (answer, error) {
			if err := c.needs("roles", c.params[0], roleMissing); err != nil {
				return answer{}, err
			}
			return c.list(listing{family: "users/roles", index: "role_id", value: c.params[0], wrap: "users", checkpoint: true,
				show: func(c *call, link doc) (any, error) { return userSummary(c, str(link, "user_id")) }})
		},
		"POST /roles/{}/users": func(c *call) (answer, error) {
			if err := c.needs("roles", c.params[0], roleMissing); err != nil {
				return answer{}, err
			}
			for _, user := range toStrings(list(c.object(), "users")) {
				if err := c.needs("users", user, userMissing); err != nil {
					return answer{}, err
				}
				if err := c.Put("users/roles", state.Key(user, c.params[0]), doc{"user_id": user, "role_id": c.params[0]}); err != nil {
					return answer{}, err
				}
				if err := c.atMost(maxRolesOfUser, "users/roles", "user_id", user, userRolesFull); err != nil {
					return answer{}, err
				}
			}
			return ok(doc{})
		},
		"GET /client-grants/{}/organizations": func(c *call) (answer, error) {
			if err := c.needs("client-grants", c.params[0], notFound("inexistent_client_grant", "The grant does not exist.")); err != nil {
				return answer{}, err
			}
			return c.list(listing{family: "organizations/grants", index: "grant_id", value: c.params[0], wrap: "organizations", checkpoint: true,
				show: func(c *call, link doc) (any, error) { return organizationByID(c, str(link, "organization_id")) }})
		},
	}
}

// needs returns the given error unless the document exists.
func (c *call) needs(family, id string, missing *apiError) error {
	_, found, err := c.Get(family, id)
	if err == nil && !found {
		err = missing
	}
	return err
}

// userSummary is a user as lists of members show it.
func userSummary(c *call, id string) (any, error) {
	u, _, err := c.Get("users", id)
	if err != nil {
		return nil, err
	}
	out := doc{"user_id": id}
	for _, k := range []string{"email", "picture", "name"} {
		if v, has := u[k]; has {
			out[k] = v
		}
	}
	return out, nil
}

// grantPermissions adds permissions to a role or a user, or removes them.
func grantPermissions(c *call, family, field string, missing *apiError, add bool) (answer, error) {
	owner := c.params[0]
	if err := c.needs(family, owner, missing); err != nil {
		return answer{}, err
	}
	for _, e := range list(c.object(), "permissions") {
		p, _ := e.(doc)
		api, name := str(p, "resource_server_identifier"), str(p, "permission_name")
		key := state.Key(owner, api, name)
		if !add {
			if _, err := c.Delete(family+"/permissions", key); err != nil {
				return answer{}, err
			}
			continue
		}
		rs, found, err := c.FindOne("resource-servers", "identifier", api)
		if err != nil {
			return answer{}, err
		}
		if !found {
			return answer{}, notFound("", "The resource server does not exist.")
		}
		if scopeOf(rs, name) == nil {
			return answer{}, notFound("", "One or more permissions do not exist.")
		}
		if err := c.Put(family+"/permissions", key, doc{field: owner, "resource_server_identifier": api, "permission_name": name}); err != nil {
			return answer{}, err
		}
	}
	if !add {
		return noContent()
	}
	full := refuse(http.StatusBadRequest, "", "No more permissions can be assigned to this %s.", strings.TrimSuffix(family, "s"))
	return answer{status: http.StatusCreated, body: doc{}}, c.atMost(maxPermissions, family+"/permissions", field, owner, full)
}

func scopeOf(rs doc, name string) doc {
	for _, e := range list(rs, "scopes") {
		if s, _ := e.(doc); s != nil && str(s, "value") == name {
			return s
		}
	}
	return nil
}

// listPermissions lists the permissions of a role or a user, by name.
func (c *call) listPermissions(family, index, value string, sources func(doc) any) (answer, error) {
	links, err := c.Find(family, index, value)
	if err != nil {
		return answer{}, err
	}
	servers := map[string]doc{}
	items := make([]any, 0, len(links))
	for _, link := range links {
		api := str(link, "resource_server_identifier")
		rs, known := servers[api]
		if !known {
			if rs, _, err = c.FindOne("resource-servers", "identifier", api); err != nil {
				return answer{}, err
			}
			servers[api] = rs
		}
		scope := scopeOf(rs, str(link, "permission_name"))
		if scope == nil {
			continue // the API dropped the scope: nothing is granted any more
		}
		item := doc{"permission_name": link["permission_name"], "resource_server_identifier": api, "resource_server_name": rs["name"]}
		if d, has := scope["description"]; has {
			item["description"] = d
		}
		if sources != nil {
			item["sources"] = sources(link)
		}
		items = append(items, item)
	}
	sort.SliceStable(items, func(i, j int) bool {
		return str(items[i].(doc), "permission_name") < str(items[j].(doc), "permission_name")
	})
	return c.page(items, "permissions")
}

// page answers a list that is at hand, as an array or with totals.
func (c *call) page(items []any, wrap string) (answer, error) {
	p := c.paging(50)
	total := len(items)
	start := p.page * p.perPage
	if p.checkpoint {
		return ok(doc{wrap: items})
	}
	items = items[min(start, total):]
	items = items[:min(p.perPage, len(items))]
	if !p.totals {
		return ok(items)
	}
	return ok(doc{wrap: items, "start": start, "limit": p.perPage, "total": total})
}
