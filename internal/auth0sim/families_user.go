package auth0sim

import (
	"errors"
	"net/http"
	"sort"
	"strings"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

var userMissing = notFound("inexistent_user", "The user does not exist.")

func userFamilies() []*family {
	return []*family{
		{
			path: "/users/{}/authentication-methods", store: "authentication-methods", parent: "users", parentField: "user_id", parentGone: userMissing,
			kind: "", list: listing{wrap: "authenticators"}, only: "list get create patch delete",
			missing: notFound("", "The authentication method does not exist."), idempotentDelete: true,
			prepare: func(c *call, d doc) error {
				d["id"] = str(d, "type") + "|" + c.NewID(state.DeviceID)
				d["created_at"], d["confirmed"] = state.Timestamp(c.Now()), true
				if secret, has := d["totp_secret"]; has {
					state.PrivateOf(d)["totp_secret"] = secret
					delete(d, "totp_secret")
				}
				return nil
			},
			show: func(c *call, d doc) (any, error) {
				out := state.Public(d)
				delete(out, "user_id")
				if c.http.Method == http.MethodPost {
					delete(out, "confirmed") // only reads say so
				}
				return out, nil
			},
		},
		{path: "/device-credentials", kind: "dcr", list: listing{wrap: "device_credentials"}, filters: []string{"user_id", "client_id", "type"},
			only: "list create delete", idempotentDelete: true},
	}
}

func createUser(c *call) (answer, error) {
	if ready, err := readyDomains(c); err != nil {
		return answer{}, err
	} else if ready > 1 && c.http.Header.Get("Auth0-Custom-Domain") == "" {
		return answer{}, conflict("custom_domain_conflict", "The tenant has multiple verified custom domains.")
	}
	body := state.Clone(c.object())
	name := str(body, "connection")
	con, found, err := c.FindOne("connections", "name", strings.ToLower(name))
	if err != nil {
		return answer{}, err
	}
	if !found {
		return answer{}, refuse(http.StatusBadRequest, "inexistent_connection", "The connection does not exist.")
	}
	if !has([]string{"auth0", "email", "sms"}, str(con, "strategy")) {
		return answer{}, refuse(http.StatusBadRequest, "invalid_connection", "The connection (%s) does not support user creation through the API. It must either be a database or passwordless connection.", name)
	}
	password := str(body, "password")
	id := strings.TrimPrefix(str(body, "user_id"), str(con, "strategy")+"|")
	for _, k := range []string{"connection", "password", "verify_email", "user_id"} {
		delete(body, k)
	}
	dropNulls(body, nil)
	verify, _ := c.object()["verify_email"].(bool)
	if str(con, "strategy") == "auth0" {
		if str(body, "email") == "" && str(body, "username") == "" && str(body, "phone_number") == "" {
			return answer{}, badRequest("Payload validation error: 'Missing required property: email'.")
		}
		if password == "" {
			return answer{}, badRequest("Payload validation error: 'Missing required property: password'.")
		}
		if rules, strong := state.PasswordProblems(con, body, password); !strong {
			return answer{}, weakPassword(rules)
		}
	}
	u, err := c.CreateUser(state.NewUser{Connection: con, Password: password, UserID: id, Profile: body})
	if err != nil {
		return answer{}, userError(err, str(body, "username"))
	}
	if str(u, "email") != "" && !boolean(u, "email_verified") && (verify || c.object()["verify_email"] == nil) {
		if err := sendVerification(c, u, "", ""); err != nil {
			return answer{}, err
		}
	}
	return answer{status: http.StatusCreated, body: showUser(u)}, nil
}

func weakPassword([]state.PasswordRule) *apiError {
	return refuse(http.StatusBadRequest, "invalid_password", "PasswordStrengthError: Password is too weak")
}

// userError puts the errors of the directory into Auth0's words.
func userError(err error, username string) error {
	switch {
	case errors.Is(err, state.ErrUserExists):
		return conflict("auth0_idp_error", "The user already exists.")
	case errors.Is(err, state.ErrUsernameExists):
		return refuse(http.StatusBadRequest, "invalid_body", "The user already exists (username: %s).", username)
	case errors.Is(err, state.ErrPhoneExists):
		return conflict("auth0_idp_error", "The user already exists.")
	default:
		return err
	}
}

func showUser(u doc) doc { return state.Public(u) }

func loadUser(c *call, id string) (doc, error) {
	u, found, err := c.Get("users", id)
	if err == nil && !found {
		err = userMissing
	}
	return u, err
}

// exclusive are pairs of properties that one PATCH may not change together.
var exclusive = [][2]string{{"password", "email"}, {"password", "email_verified"}, {"password", "username"}, {"password", "phone_number"},
	{"username", "email"}, {"username", "email_verified"}}

func patchUser(c *call) (answer, error) {
	u, err := loadUser(c, c.id())
	if err != nil {
		return answer{}, err
	}
	patch := state.Clone(c.object())
	for _, pair := range exclusive {
		_, one := patch[pair[0]]
		_, other := patch[pair[1]]
		if one && other {
			return answer{}, refuse(http.StatusBadRequest, "invalid_body", "Cannot update %s and %s simultaneously", pair[0], pair[1])
		}
	}
	primary, _ := first(list(u, "identities")).(doc)
	con, _, err := c.FindOne("connections", "name", strings.ToLower(str(primary, "connection")))
	if err != nil {
		return answer{}, err
	}
	password, _ := patch["password"].(string)
	verify := patch["verify_email"]
	for _, k := range []string{"password", "connection", "client_id", "verify_email", "verify_phone_number", "verify_password"} {
		delete(patch, k)
	}
	if email, set := patch["email"].(string); set {
		patch["email"] = strings.ToLower(email)
		if _, named := patch["email_verified"]; !named && patch["email"] != u["email"] {
			patch["email_verified"] = false
		}
	}
	for _, k := range []string{"user_metadata", "app_metadata"} {
		if m, isObject := patch[k].(doc); isObject {
			if len(m) == 0 {
				u[k] = doc{}
			}
		}
	}
	merge(u, patch, []string{"user_metadata", "app_metadata"}, nil)
	if m, isObject := u["app_metadata"].(doc); isObject && len(m) == 0 {
		delete(u, "app_metadata")
	}
	if password != "" {
		if rules, strong := state.PasswordProblems(con, u, password); !strong {
			return answer{}, weakPassword(rules)
		}
		if err := c.SetPassword(u, password); err != nil {
			return answer{}, err
		}
		u["last_password_reset"] = state.Timestamp(c.Now())
	}
	if err := c.ChangeUser(u); err != nil {
		return answer{}, userError(err, str(u, "username"))
	}
	if verify == true && str(u, "email") != "" && !boolean(u, "email_verified") {
		if err := sendVerification(c, u, "", ""); err != nil {
			return answer{}, err
		}
	}
	return ok(c.fields(showUser(u)))
}

func first(l []any) any {
	if len(l) == 0 {
		return nil
	}
	return l[0]
}

// deleteUser removes a user with everything that refers to it. Deleting one
// that is not there does nothing.
func deleteUser(c *call, id string) error {
	u, found, err := c.Get("users", id)
	if err != nil || !found {
		return err
	}
	for _, family := range []string{"users/roles", "users/permissions", "organizations/members", "organizations/roles", "guardian/enrollments",
		"guardian/tickets", "authentication-methods", "tickets", "sessions", "refresh-tokens", "grants", "groups/members"} {
		if _, err := c.DeleteWhere(family, "user_id", id); err != nil {
			return err
		}
	}
	if _, err := c.Delete("users", id); err != nil {
		return err
	}
	return c.Emit("user.deleted", state.EventUser(u), nil, nil)
}

func userHandlers() map[string]handler {
	direct := func(doc) any {
		return []any{doc{"source_id": "", "source_name": "", "source_type": "DIRECT"}}
	}
	out := map[string]handler{
		"POST /users":     createUser,
		"GET /users":      searchUsers,
		"PATCH /users/{}": patchUser,
		"GET /users/{}": func(c *call) (answer, error) {
			u, err := loadUser(c, c.id())
			if err != nil {
				return answer{}, err
			}
			return ok(c.fields(showUser(u)))
		},
		"DELETE /users/{}": func(c *call) (answer, error) {
			if err := deleteUser(c, c.id()); err != nil {
				return answer{}, err
			}
			return noContent()
		},
		"GET /users-by-email": func(c *call) (answer, error) {
			// The address is matched as it is stored: in lower case.
			docs, err := c.Find("users", "email", c.query.Get("email"))
			if err != nil {
				return answer{}, err
			}
			items := make([]any, 0, len(docs))
			for _, u := range docs {
				items = append(items, c.fields(showUser(u)))
			}
			return ok(items)
		},
		"GET /users/{}/roles": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			return c.list(listing{family: "users/roles", index: "user_id", value: c.params[0], wrap: "roles", show: showLinkedRole})
		},
		"POST /users/{}/roles":   func(c *call) (answer, error) { return assignRoles(c, true) },
		"DELETE /users/{}/roles": func(c *call) (answer, error) { return assignRoles(c, false) },
		"GET /users/{}/permissions": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			return c.listPermissions("users/permissions", "user_id", c.params[0], direct)
		},
		"POST /users/{}/permissions":   func(c *call) (answer, error) { return grantPermissions(c, "users", "user_id", userMissing, true) },
		"DELETE /users/{}/permissions": func(c *call) (answer, error) { return grantPermissions(c, "users", "user_id", userMissing, false) },
		"GET /users/{}/organizations": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			return c.list(listing{family: "organizations/members", index: "user_id", value: c.params[0], wrap: "organizations",
				show: func(c *call, link doc) (any, error) { return organizationByID(c, str(link, "organization_id")) }})
		},
		"GET /users/{}/enrollments": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			docs, err := c.Find("guardian/enrollments", "user_id", c.params[0])
			if err != nil {
				return answer{}, err
			}
			items := make([]any, 0, len(docs))
			for _, d := range docs {
				items = append(items, showEnrollment(d))
			}
			return ok(items)
		},
		"GET /users/{}/logs": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			return c.list(listing{family: "logs", index: "user_id", value: c.params[0], wrap: "logs", newestFirst: !strings.HasSuffix(c.query.Get("sort"), ":1")})
		},
		"GET /users/{}/connected-accounts": func(c *call) (answer, error) {
			return emptyOf(c, "connected_accounts")
		},
		"GET /users/{}/federated-connections-tokensets": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			return ok([]any{})
		},
		"DELETE /users/{}/federated-connections-tokensets/{}": func(*call) (answer, error) { return noContent() },
		"GET /users/{}/groups":                                func(c *call) (answer, error) { return emptyOf(c, "groups") },
		"DELETE /users/{}/authenticators": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			return dropFactors(c, c.params[0])
		},
		"DELETE /users/{}/authentication-methods": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			return dropFactors(c, c.params[0])
		},
		"PUT /users/{}/authentication-methods": replaceMethods,
		"DELETE /users/{}/multifactor/{}": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			return dropFactors(c, c.params[0])
		},
		"POST /users/{}/multifactor/actions/invalidate-remember-browser": func(c *call) (answer, error) {
			u, err := loadUser(c, c.params[0])
			if err != nil {
				return answer{}, err
			}
			state.PrivateOf(u)["remember_browser_before"] = state.Timestamp(c.Now())
			if err := c.Put("users", c.params[0], u); err != nil {
				return answer{}, err
			}
			return noContent()
		},
		"POST /users/{}/recovery-code-regeneration": func(c *call) (answer, error) {
			u, err := loadUser(c, c.params[0])
			if err != nil {
				return answer{}, err
			}
			code := c.NewID(state.RecoveryCode)
			if err := setRecoveryCode(u, code); err != nil {
				return answer{}, err
			}
			if err := c.Put("users", c.params[0], u); err != nil {
				return answer{}, err
			}
			return ok(doc{"recovery_code": code})
		},
		"POST /users/{}/identities":         linkIdentity,
		"DELETE /users/{}/identities/{}/{}": unlinkIdentity,
		"POST /users/{}/revoke-access": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			families := []string{"sessions", "refresh-tokens"}
			if boolean(c.object(), "preserve_refresh_tokens") {
				families = families[:1]
			}
			for _, f := range families {
				if _, err := c.DeleteWhere(f, "user_id", c.params[0]); err != nil {
					return answer{}, err
				}
			}
			return answer{status: http.StatusAccepted}, nil
		},
		"POST /users/{}/risk-assessments/clear": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			return noContent()
		},
		"GET /users/{}/effective-roles": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			return c.list(listing{family: "users/roles", index: "user_id", value: c.params[0], wrap: "roles", checkpoint: true, always: true,
				show: func(c *call, link doc) (any, error) {
					r, err := showLinkedRole(c, link)
					if err != nil {
						return nil, err
					}
					r.(doc)["sources"] = []any{doc{"type": "direct"}}
					return r, nil
				}})
		},
		"GET /users/{}/effective-roles/sources/groups": func(c *call) (answer, error) { return emptyOf(c, "groups") },
		"GET /users/{}/effective-permissions":          effectivePermissions,
		"GET /users/{}/effective-permissions/sources/effective-roles": func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			return c.list(listing{family: "users/roles", index: "user_id", value: c.params[0], wrap: "roles", checkpoint: true, always: true, show: showLinkedRole})
		},
	}
	for key, do := range accessStateHandlers() {
		out[key] = do
	}
	return out
}

// emptyOf answers an empty list of things that a simulated user never has.
func emptyOf(c *call, wrap string) (answer, error) {
	if err := c.needs("users", c.params[0], userMissing); err != nil {
		return answer{}, err
	}
	return ok(doc{wrap: []any{}})
}

func showLinkedRole(c *call, link doc) (any, error) {
	r, _, err := c.Get("roles", str(link, "role_id"))
	if err != nil {
		return nil, err
	}
	return doc(state.Public(r)), nil
}

func assignRoles(c *call, add bool) (answer, error) {
	user := c.params[0]
	if err := c.needs("users", user, userMissing); err != nil {
		return answer{}, err
	}
	for _, role := range toStrings(list(c.object(), "roles")) {
		key := state.Key(user, role)
		if !add {
			if _, err := c.Delete("users/roles", key); err != nil {
				return answer{}, err
			}
			continue
		}
		if err := c.needs("roles", role, roleMissing); err != nil {
			return answer{}, err
		}
		if err := c.Put("users/roles", key, doc{"user_id": user, "role_id": role}); err != nil {
			return answer{}, err
		}
	}
	if add {
		if err := c.atMost(maxRolesOfUser, "users/roles", "user_id", user, userRolesFull); err != nil {
			return answer{}, err
		}
	}
	return noContent()
}

func dropFactors(c *call, user string) (answer, error) {
	for _, f := range []string{"guardian/enrollments", "authentication-methods"} {
		if _, err := c.DeleteWhere(f, "user_id", user); err != nil {
			return answer{}, err
		}
	}
	return noContent()
}

func replaceMethods(c *call) (answer, error) {
	if err := c.needs("users", c.params[0], userMissing); err != nil {
		return answer{}, err
	}
	methods := userFamilies()[0]
	methods.fill()
	if _, err := c.DeleteWhere(methods.store, "user_id", c.params[0]); err != nil {
		return answer{}, err
	}
	given, _ := c.body.([]any)
	items := make([]any, 0, len(given))
	for _, e := range given {
		d, err := methods.create(c, e.(doc))
		if err != nil {
			return answer{}, err
		}
		v, err := methods.show(c, d)
		if err != nil {
			return answer{}, err
		}
		items = append(items, v)
	}
	return ok(items)
}

func linkIdentity(c *call) (answer, error) {
	u, err := loadUser(c, c.params[0])
	if err != nil {
		return answer{}, err
	}
	provider, id := str(c.object(), "provider"), str(c.object(), "user_id")
	if str(c.object(), "link_with") != "" {
		return answer{}, refuse(http.StatusBadRequest, "invalid_body", "Linking by token is not supported by this tenant.")
	}
	secondary := provider + "|" + strings.TrimPrefix(id, provider+"|")
	if secondary == c.params[0] {
		return answer{}, refuse(http.StatusBadRequest, "invalid_body", "Main account and specified account are the same.")
	}
	other, found, err := c.Get("users", secondary)
	if err != nil {
		return answer{}, err
	}
	if !found {
		return answer{}, userMissing
	}
	identities := list(u, "identities")
	for _, e := range list(other, "identities") {
		i := state.Clone(e.(doc))
		profile := doc{}
		for _, k := range []string{"email", "email_verified", "name", "nickname", "picture", "given_name", "family_name", "username", "phone_number"} {
			if v, has := other[k]; has {
				profile[k] = v
			}
		}
		i["profileData"] = profile
		identities = append(identities, i)
	}
	if _, err := c.Delete("users", secondary); err != nil {
		return answer{}, err
	}
	state.PrivateOf(u)["linked:"+secondary] = other
	u["identities"] = identities
	if err := c.ChangeUser(u); err != nil {
		return answer{}, userError(err, "")
	}
	return answer{status: http.StatusCreated, body: identities}, nil
}

func unlinkIdentity(c *call) (answer, error) {
	u, err := loadUser(c, c.params[0])
	if err != nil {
		return answer{}, err
	}
	key := c.params[1] + "|" + c.params[2]
	var kept []any
	found := false
	for n, e := range list(u, "identities") {
		i := e.(doc)
		if n > 0 && str(i, "provider") == c.params[1] && str(i, "user_id") == c.params[2] {
			found = true
			continue
		}
		kept = append(kept, e)
	}
	if !found {
		return answer{}, refuse(http.StatusBadRequest, "invalid_uri", "The identity is not linked, or is the main one.")
	}
	u["identities"] = kept
	// The account that was linked becomes one of its own again.
	if other, has := state.PrivateOf(u)["linked:"+key].(doc); has {
		delete(state.PrivateOf(u), "linked:"+key)
		if err := c.Put("users", key, other); err != nil {
			return answer{}, err
		}
	}
	if err := c.ChangeUser(u); err != nil {
		return answer{}, userError(err, "")
	}
	return ok(kept)
}

// effectivePermissions joins a user's own permissions with those of its roles.
func effectivePermissions(c *call) (answer, error) {
	if err := c.needs("users", c.params[0], userMissing); err != nil {
		return answer{}, err
	}
	links, err := c.Find("users/permissions", "user_id", c.params[0])
	if err != nil {
		return answer{}, err
	}
	seen := map[string]doc{}
	add := func(l doc, source doc) {
		key := state.Key(str(l, "resource_server_identifier"), str(l, "permission_name"))
		if seen[key] == nil {
			seen[key] = doc{"permission_name": l["permission_name"], "resource_server_identifier": l["resource_server_identifier"], "sources": []any{}}
		}
		seen[key]["sources"] = append(list(seen[key], "sources"), source)
	}
	for _, l := range links {
		add(l, doc{"type": "direct"})
	}
	roles, err := c.Find("users/roles", "user_id", c.params[0])
	if err != nil {
		return answer{}, err
	}
	for _, r := range roles {
		permissions, err := c.Find("roles/permissions", "role_id", str(r, "role_id"))
		if err != nil {
			return answer{}, err
		}
		for _, l := range permissions {
			add(l, doc{"type": "role"})
		}
	}
	items := make([]any, 0, len(seen))
	for _, d := range seen {
		items = append(items, d)
	}
	sort.Slice(items, func(i, j int) bool {
		a, b := items[i].(doc), items[j].(doc)
		return str(a, "resource_server_identifier")+str(a, "permission_name") < str(b, "resource_server_identifier")+str(b, "permission_name")
	})
	return ok(doc{"permissions": items})
}

// accessStateHandlers show and end what logging in leaves behind: sessions,
// refresh tokens, consents, blocks.
func accessStateHandlers() map[string]handler {
	out := map[string]handler{
		"GET /grants": func(c *call) (answer, error) {
			l := listing{family: "grants", wrap: "grants"}
			user, client, audience := c.query.Get("user_id"), c.query.Get("client_id"), c.query.Get("audience")
			l.where = func(d doc) bool {
				return (user == "" || str(d, "user_id") == user) && (client == "" || str(d, "clientID") == client) && (audience == "" || str(d, "audience") == audience)
			}
			return c.list(l)
		},
		"DELETE /grants": func(c *call) (answer, error) {
			if _, err := c.DeleteWhere("grants", "user_id", c.query.Get("user_id")); err != nil {
				return answer{}, err
			}
			return noContent()
		},
		"DELETE /grants/{}": func(c *call) (answer, error) {
			if _, err := c.Delete("grants", c.id()); err != nil {
				return answer{}, err
			}
			return noContent()
		},
		"GET /refresh-tokens": func(c *call) (answer, error) {
			user, client := c.query.Get("user_id"), c.query.Get("client_id")
			return c.list(listing{family: "refresh-tokens", wrap: "refresh_tokens", checkpoint: true, always: true,
				where: func(d doc) bool {
					return (user == "" || str(d, "user_id") == user) && (client == "" || str(d, "client_id") == client)
				}})
		},
		"POST /refresh-tokens/revoke": func(c *call) (answer, error) {
			for _, id := range toStrings(list(c.object(), "ids")) {
				if _, err := c.Delete("refresh-tokens", id); err != nil {
					return answer{}, err
				}
			}
			for index, field := range map[string]string{"user_id": "user_id", "client_id": "client_id"} {
				if v := str(c.object(), field); v != "" {
					if _, err := c.DeleteWhere("refresh-tokens", index, v); err != nil {
						return answer{}, err
					}
				}
			}
			return answer{status: http.StatusAccepted}, nil
		},
		"POST /sessions/{}/revoke": func(c *call) (answer, error) {
			if err := c.needs("sessions", c.id(), notFound("", "The session does not exist")); err != nil {
				return answer{}, err
			}
			if _, err := c.DeleteWhere("refresh-tokens", "session_id", c.id()); err != nil {
				return answer{}, err
			}
			if _, err := c.Delete("sessions", c.id()); err != nil {
				return answer{}, err
			}
			return answer{status: http.StatusAccepted}, nil
		},
		"GET /anomaly/blocks/ips/{}": func(c *call) (answer, error) {
			if err := c.needs("anomaly/blocks", c.id(), notFound("inexistent_block", "The IP address is not blocked.")); err != nil {
				return answer{}, err
			}
			return ok(doc{})
		},
		"DELETE /anomaly/blocks/ips/{}": func(c *call) (answer, error) {
			if _, err := c.Delete("anomaly/blocks", c.id()); err != nil {
				return answer{}, err
			}
			return noContent()
		},
	}
	for _, f := range []*family{
		{path: "/sessions", only: "get patch delete", deleted: http.StatusAccepted, missing: notFound("", "The session does not exist"), idempotentDelete: false},
		{path: "/refresh-tokens", only: "get patch delete", deleted: http.StatusAccepted, missing: notFound("", "The refresh token does not exist")},
	} {
		for key, do := range f.routes() {
			out[key] = do
		}
	}
	for _, kind := range []struct{ path, family, wrap string }{{"sessions", "sessions", "sessions"}, {"refresh-tokens", "refresh-tokens", "tokens"}} {
		out["GET /users/{}/"+kind.path] = func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			return c.list(listing{family: kind.family, index: "user_id", value: c.params[0], wrap: kind.wrap, checkpoint: true, always: true})
		}
		out["DELETE /users/{}/"+kind.path] = func(c *call) (answer, error) {
			if err := c.needs("users", c.params[0], userMissing); err != nil {
				return answer{}, err
			}
			if _, err := c.DeleteWhere(kind.family, "user_id", c.params[0]); err != nil {
				return answer{}, err
			}
			return answer{status: http.StatusAccepted}, nil
		}
	}
	blocks := func(identifiers func(*call) ([]string, error)) (handler, handler) {
		show := func(c *call) (answer, error) {
			ids, err := identifiers(c)
			if err != nil {
				return answer{}, err
			}
			out := []any{}
			for _, id := range ids {
				docs, err := c.Find("user-blocks", "identifier", id)
				if err != nil {
					return answer{}, err
				}
				for _, d := range docs {
					out = append(out, state.Public(d))
				}
			}
			return ok(doc{"blocked_for": out})
		}
		clear := func(c *call) (answer, error) {
			ids, err := identifiers(c)
			if err != nil {
				return answer{}, err
			}
			for _, id := range ids {
				if _, err := c.DeleteWhere("user-blocks", "identifier", id); err != nil {
					return answer{}, err
				}
			}
			return noContent()
		}
		return show, clear
	}
	out["GET /user-blocks"], out["DELETE /user-blocks"] = blocks(func(c *call) ([]string, error) {
		return []string{c.query.Get("identifier")}, nil
	})
	out["GET /user-blocks/{}"], out["DELETE /user-blocks/{}"] = blocks(func(c *call) ([]string, error) {
		u, err := loadUser(c, c.id())
		if err != nil {
			return nil, err
		}
		var ids []string
		for _, k := range []string{"email", "username", "phone_number"} {
			if v := str(u, k); v != "" {
				ids = append(ids, v)
			}
		}
		return ids, nil
	})
	return out
}
