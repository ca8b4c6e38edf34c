package auth0sim

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

var organizationMissing = notFound("", "No organization found by that id or name")

func organizationFamilies() []*family {
	domainMissing := notFound("", "The discovery domain does not exist.")
	return []*family{
		{
			path: "/organizations", kind: state.OrganizationID, missing: organizationMissing, list: listing{wrap: "organizations", checkpoint: true}, sorted: true,
			defaults: `{"third_party_client_access": "block", "is_app_entitlement_active": false}`,
			unique:   "name", clash: conflict("", "An organization with this name already exists."),
			prepare: func(c *call, d doc) error {
				enabled := list(d, "enabled_connections")
				delete(d, "enabled_connections")
				for _, e := range enabled {
					if _, err := addOrganizationConnection(c, str(d, "id"), e.(doc)); err != nil {
						return err
					}
				}
				return c.Emit("organization.created", state.Public(d), nil, nil)
			},
			change: func(c *call, old, d, _ doc) error {
				if m, isObject := d["metadata"].(doc); isObject && len(m) == 0 {
					delete(d, "metadata")
				}
				return c.Emit("organization.updated", state.Public(d), state.Public(old), nil)
			},
			gone: func(c *call, d doc) error {
				for _, f := range []string{"members", "roles", "connections", "grants", "invitations", "discovery-domains", "clients", "group-roles"} {
					if _, err := c.DeleteWhere("organizations/"+f, "organization_id", str(d, "id")); err != nil {
						return err
					}
				}
				return c.Emit("organization.deleted", state.Public(d), nil, nil)
			},
			find: func(c *call, id string) (doc, bool, error) { return c.Get("organizations", id) },
			show: func(c *call, d doc) (any, error) {
				out := doc(state.Public(d))
				client := c.query.Get("include_client_association_for")
				if client == "" {
					return out, nil
				}
				link, associated, err := c.Get("organizations/clients", state.Key(str(d, "id"), client))
				if associated {
					out["client"] = doc{"use_for_member_access": boolean(link, "use_for_member_access")}
				}
				return out, err
			},
		},
		{
			path: "/organizations/{}/discovery-domains", store: "organizations/discovery-domains", parent: "organizations", parentField: "organization_id",
			parentGone: organizationMissing, kind: state.DiscoveryDomainID, missing: domainMissing, idempotentDelete: true,
			list: listing{wrap: "domains", checkpoint: true, always: true}, defaults: `{"status": "pending", "use_for_organization_discovery": true}`,
			prepare: func(c *call, d doc) error {
				all, err := c.Find("organizations/discovery-domains", "organization_id", c.params[0])
				if err != nil {
					return err
				}
				if len(all) >= maxDiscoveryDomains {
					return entityLimit
				}
				for _, o := range all {
					if strings.EqualFold(str(o, "domain"), str(d, "domain")) {
						return conflict("", "A discovery domain with this name already exists.")
					}
				}
				var random [16]byte
				if _, err := io.ReadFull(c.Store().Rand(), random[:]); err != nil {
					return err
				}
				d["verification_txt"] = hex.EncodeToString(random[:])
				d["verification_host"] = "_ss-verification." + c.params[0] + "." + str(d, "domain")
				return nil
			},
			show: withoutOwner,
		},
		{
			path: "/organizations/{}/invitations", store: "organizations/invitations", parent: "organizations", parentField: "organization_id",
			parentGone: organizationMissing, kind: state.InvitationID, missing: notFound("", "The invitation does not exist."), created: http.StatusCreated,
			idempotentDelete: true, list: listing{wrap: "invitations"}, sorted: true, prepare: newInvitation, only: "list get create delete",
		},
	}
}

func withoutOwner(_ *call, d doc) (any, error) {
	out := state.Public(d)
	delete(out, "organization_id")
	return out, nil
}

func newInvitation(c *call, d doc) error {
	client, err := loadClient(c, str(d, "client_id"))
	if err != nil {
		return err
	}
	login := str(client, "initiate_login_uri")
	if login == "" {
		settings, err := c.settings()
		if err != nil {
			return err
		}
		login = str(settings, "default_redirection_uri")
	}
	if login == "" {
		return refuse(http.StatusBadRequest, "", "A default login route is required to generate the invitation url. Please see https://auth0.com/docs/universal-login/default-login-url")
	}
	org, _, err := c.Get("organizations", c.params[0])
	if err != nil {
		return err
	}
	lifetime := 7 * 24 * time.Hour
	if n, given := d["ttl_sec"].(float64); given && n > 0 {
		lifetime = time.Duration(n) * time.Second
	}
	ticket := c.NewID(state.TicketID)
	now := c.Now()
	d["created_at"], d["expires_at"], d["ticket_id"] = state.Timestamp(now), state.Timestamp(now.Add(lifetime)), ticket
	join := "?"
	if strings.Contains(login, "?") {
		join = "&"
	}
	d["invitation_url"] = login + join + url.Values{"invitation": {ticket}, "organization": {c.params[0]}, "organization_name": {str(org, "name")}}.Encode()
	if d["send_invitation_email"] != false {
		err = c.Send(state.Mail{To: str(obj(d, "invitee"), "email"), Template: "user_invitation", Subject: "You have been invited to " + str(org, "display_name"),
			Link: str(d, "invitation_url"), Text: str(obj(d, "inviter"), "name") + " has invited you to join " + str(org, "display_name") + ": " + str(d, "invitation_url")})
	}
	delete(d, "ttl_sec")
	delete(d, "send_invitation_email")
	return err
}

// settings are the tenant's settings, defaults included.
func (c *call) settings() (doc, error) { return tenantSettings().load(c) }

func organizationByID(c *call, id string) (any, error) {
	d, _, err := c.Get("organizations", id)
	if err != nil {
		return nil, err
	}
	return doc(state.Public(d)), nil
}

func addOrganizationConnection(c *call, org string, body doc) (doc, error) {
	id := str(body, "connection_id")
	con, found, err := c.Get("connections", id)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, notFound("", "No connection found by that id")
	}
	d := state.Clone(body)
	d["organization_id"] = org
	fillGaps(d, doc{"assign_membership_on_login": false, "show_as_button": true, "is_enabled": true, "organization_access_level": "none"})
	if str(con, "strategy") == "auth0" {
		fillGaps(d, doc{"is_signup_enabled": false})
	}
	if err := checkSignup(d); err != nil {
		return nil, err
	}
	if err := c.Put("organizations/connections", state.Key(org, id), d); err != nil {
		return nil, err
	}
	if err := c.atMost(maxOrganizationLogins, "organizations/connections", "organization_id", org, entityLimit); err != nil {
		return nil, err
	}
	return d, c.emitOrganizationConnection("organization.connection.added", d)
}

func checkSignup(d doc) error {
	if boolean(d, "is_signup_enabled") && !boolean(d, "assign_membership_on_login") {
		return refuse(http.StatusBadRequest, "", "is_signup_enabled requires assign_membership_on_login to be enabled")
	}
	return nil
}

func (c *call) emitOrganizationConnection(kind string, d doc) error {
	object := doc{"organization": doc{"id": d["organization_id"]}, "connection": doc{"id": d["connection_id"]}}
	if kind != "organization.connection.removed" {
		for _, k := range []string{"assign_membership_on_login", "show_as_button", "is_signup_enabled", "is_enabled"} {
			if v, has := d[k]; has {
				object[k] = v
			}
		}
	}
	return c.Emit(kind, object, nil, nil)
}

func showOrganizationConnection(c *call, d doc, full bool) (any, error) {
	out := state.Public(d)
	delete(out, "organization_id")
	con, _, err := c.Get("connections", str(d, "connection_id"))
	if err != nil {
		return nil, err
	}
	out["connection"] = doc{"name": con["name"], "strategy": con["strategy"]}
	if !full {
		delete(out, "is_enabled")
		delete(out, "organization_access_level")
		delete(out, "organization_connection_name")
	}
	return out, nil
}

func showOrganizationClient(c *call, link doc) (any, error) {
	d, _, err := c.Get("clients", str(link, "client_id"))
	if err != nil {
		return nil, err
	}
	client := doc{}
	for _, k := range []string{"name", "is_first_party", "grant_types", "organization_usage", "logo_uri", "app_type"} {
		if v, has := d[k]; has && k != "app_type" {
			client[k] = v
		}
	}
	return doc{"client_id": link["client_id"], "use_for_member_access": boolean(link, "use_for_member_access"), "client": client}, nil
}

func organizationHandlers() map[string]handler {
	organizations := organizationFamilies()[0]
	organizations.fill()
	within := func(do handler) handler {
		return func(c *call) (answer, error) {
			if err := c.needs("organizations", c.params[0], organizationMissing); err != nil {
				return answer{}, err
			}
			return do(c)
		}
	}
	out := map[string]handler{
		"GET /organizations": func(c *call) (answer, error) {
			l := organizations.list
			l.family, l.show = "organizations", organizations.show
			if q := strings.ToLower(c.query.Get("q")); q != "" {
				l.where = func(d doc) bool {
					return strings.Contains(strings.ToLower(str(d, "name")+" "+str(d, "display_name")), strings.Trim(strings.TrimPrefix(q, "name:"), `"*`))
				}
			}
			if err := organizations.narrow(c, &l); err != nil {
				return answer{}, err
			}
			return c.list(l)
		},
		"GET /organizations/name/{}": func(c *call) (answer, error) {
			d, found, err := c.FindOne("organizations", "name", c.id())
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, organizationMissing
			}
			return organizations.answer(c, http.StatusOK, d)
		},
		"GET /organizations/{}/discovery-domains/name/{}": within(func(c *call) (answer, error) {
			all, err := c.Find("organizations/discovery-domains", "organization_id", c.params[0])
			if err != nil {
				return answer{}, err
			}
			for _, d := range all {
				if strings.EqualFold(str(d, "domain"), c.id()) {
					v, err := withoutOwner(c, d)
					return answer{status: http.StatusOK, body: v}, err
				}
			}
			return answer{}, notFound("", "The discovery domain does not exist.")
		}),
		"GET /organizations/{}/members": within(func(c *call) (answer, error) {
			withRoles := strings.Contains(c.query.Get("fields"), "roles") && c.query.Get("include_fields") != "false"
			l := listing{family: "organizations/members", index: "organization_id", value: c.params[0], wrap: "members",
				show: func(c *call, link doc) (any, error) {
					v, err := userSummary(c, str(link, "user_id"))
					if err != nil || !withRoles {
						return v, err
					}
					roles, err := memberRoles(c, c.params[0], str(link, "user_id"))
					v.(doc)["roles"] = roles
					return v, err
				}}
			if p := c.paging(50); p.checkpoint {
				return memberPage(c, l, p)
			}
			return c.list(l)
		}),
		"POST /organizations/{}/members": within(func(c *call) (answer, error) {
			for _, user := range toStrings(list(c.object(), "members")) {
				if err := c.needs("users", user, notFound("", "One or more of the specified members do not exist")); err != nil {
					return answer{}, err
				}
				key := state.Key(c.params[0], user)
				if _, already, err := c.Get("organizations/members", key); err != nil || already {
					if err != nil {
						return answer{}, err
					}
					continue
				}
				if err := c.Put("organizations/members", key, doc{"organization_id": c.params[0], "user_id": user, "added_at": c.Now().Format(memberTime)}); err != nil {
					return answer{}, err
				}
				if err := c.Emit("organization.member.added", doc{"organization": doc{"id": c.params[0]}, "user": doc{"user_id": user}}, nil, nil); err != nil {
					return answer{}, err
				}
			}
			return noContent()
		}),
		"DELETE /organizations/{}/members": within(func(c *call) (answer, error) {
			for _, user := range toStrings(list(c.object(), "members")) {
				was, err := c.Delete("organizations/members", state.Key(c.params[0], user))
				if err != nil {
					return answer{}, err
				}
				if !was {
					continue
				}
				if _, err := c.DeleteWhere("organizations/roles", "member", state.Key(c.params[0], user)); err != nil {
					return answer{}, err
				}
				if err := c.Emit("organization.member.deleted", doc{"organization": doc{"id": c.params[0]}, "user": doc{"user_id": user}}, nil, nil); err != nil {
					return answer{}, err
				}
			}
			return noContent()
		}),
		"GET /organizations/{}/members/{}/roles": within(func(c *call) (answer, error) {
			return c.list(listing{family: "organizations/roles", index: "member", value: state.Key(c.params[0], c.params[1]), wrap: "roles", show: showLinkedRole})
		}),
		"GET /organizations/{}/members/{}/effective-roles": within(func(c *call) (answer, error) {
			return c.list(listing{family: "organizations/roles", index: "member", value: state.Key(c.params[0], c.params[1]), wrap: "roles", checkpoint: true, always: true, show: showLinkedRole})
		}),
		"GET /organizations/{}/members/{}/effective-roles/sources/groups": within(func(c *call) (answer, error) { return ok(doc{"groups": []any{}}) }),
		"POST /organizations/{}/members/{}/roles":                         within(func(c *call) (answer, error) { return assignMemberRoles(c, true) }),
		"DELETE /organizations/{}/members/{}/roles":                       within(func(c *call) (answer, error) { return assignMemberRoles(c, false) }),
		"GET /organizations/{}/roles/{}/members": within(func(c *call) (answer, error) {
			return c.list(listing{family: "organizations/roles", index: "organization_role", value: state.Key(c.params[0], c.params[1]), wrap: "members", checkpoint: true, always: true,
				show: func(c *call, link doc) (any, error) { return userSummary(c, str(link, "user_id")) }})
		}),
		"GET /organizations/{}/clients": within(func(c *call) (answer, error) {
			return c.list(listing{family: "organizations/clients", index: "organization_id", value: c.params[0], wrap: "clients", checkpoint: true, always: true, show: showOrganizationClient})
		}),
		"POST /organizations/{}/clients": within(func(c *call) (answer, error) {
			out := []any{}
			for _, e := range list(c.object(), "clients") {
				given, _ := e.(doc)
				id := str(given, "client_id")
				if _, err := loadClient(c, id); err != nil {
					return answer{}, err
				}
				link := doc{"organization_id": c.params[0], "client_id": id, "use_for_member_access": boolean(given, "use_for_member_access")}
				if err := c.Put("organizations/clients", state.Key(c.params[0], id), link); err != nil {
					return answer{}, err
				}
				v, err := showOrganizationClient(c, link)
				if err != nil {
					return answer{}, err
				}
				out = append(out, v)
			}
			return answer{status: http.StatusCreated, body: out}, nil
		}),
		"DELETE /organizations/{}/clients": within(func(c *call) (answer, error) {
			for _, e := range list(c.object(), "clients") {
				id, _ := e.(string)
				if o, isObject := e.(doc); isObject {
					id = str(o, "client_id")
				}
				if _, err := c.Delete("organizations/clients", state.Key(c.params[0], id)); err != nil {
					return answer{}, err
				}
			}
			return noContent()
		}),
		"GET /organizations/{}/clients/{}": within(func(c *call) (answer, error) {
			link, found, err := c.Get("organizations/clients", state.Key(c.params[0], c.params[1]))
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, notFound("", "The client is not associated with the organization.")
			}
			v, err := showOrganizationClient(c, link)
			return answer{status: http.StatusOK, body: v}, err
		}),
		"PATCH /organizations/{}/clients/{}": within(func(c *call) (answer, error) {
			key := state.Key(c.params[0], c.params[1])
			link, found, err := c.Get("organizations/clients", key)
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, notFound("", "The client is not associated with the organization.")
			}
			merge(link, c.object(), nil, nil)
			if err := c.Put("organizations/clients", key, link); err != nil {
				return answer{}, err
			}
			v, err := showOrganizationClient(c, link)
			return answer{status: http.StatusOK, body: v}, err
		}),
		"GET /organizations/{}/client-grants": within(func(c *call) (answer, error) {
			var failed error
			l := listing{family: "organizations/grants", index: "organization_id", value: c.params[0], wrap: "client_grants"}
			for parameter, field := range map[string]string{"audience": "audience", "client_id": "client_id", "grant_ids": "id"} {
				if wanted := c.query[parameter]; len(wanted) > 0 {
					l.also(func(link doc) bool {
						g, _, err := c.Get("client-grants", str(link, "grant_id"))
						failed = errors.Join(failed, err)
						return has(wanted, str(g, field))
					})
				}
			}
			l.show = func(c *call, link doc) (any, error) {
				g, _, err := c.Get("client-grants", str(link, "grant_id"))
				if err != nil {
					return nil, err
				}
				return doc(state.Public(g)), nil
			}
			a, err := c.list(l)
			return a, errors.Join(err, failed)
		}),
		"POST /organizations/{}/client-grants": within(func(c *call) (answer, error) {
			id := str(c.object(), "grant_id")
			g, found, err := c.Get("client-grants", id)
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, notFound("inexistent_client_grant", "The grant does not exist.")
			}
			if err := c.Put("organizations/grants", state.Key(c.params[0], id), doc{"organization_id": c.params[0], "grant_id": id}); err != nil {
				return answer{}, err
			}
			if err := c.atMost(maxOrganizationGrants, "organizations/grants", "organization_id", c.params[0],
				conflict("", "Quota exceeded; cannot add more than 100 client grants to a single organization")); err != nil {
				return answer{}, err
			}
			out := doc{"grant_id": id}
			for _, k := range []string{"client_id", "audience", "scope", "organization_usage", "allow_any_organization"} {
				if v, has := g[k]; has {
					out[k] = v
				}
			}
			return answer{status: http.StatusCreated, body: out}, nil
		}),
		"DELETE /organizations/{}/client-grants/{}": within(func(c *call) (answer, error) {
			if _, err := c.Delete("organizations/grants", state.Key(c.params[0], c.params[1])); err != nil {
				return answer{}, err
			}
			return noContent()
		}),
	}
	for _, style := range []struct {
		path string
		full bool
	}{{"connections", true}, {"enabled_connections", false}} {
		for key, do := range organizationConnections(style.path, style.full) {
			out[key] = within(do)
		}
	}
	return out
}

// memberTime is how the cursor of a list of members writes when one was added.
const memberTime = "2006-01-02 15:04:05.000000MST"

// memberPage pages members by when they were added. Unlike elsewhere, every
// page that is not empty has a next one.
func memberPage(c *call, l listing, p paging) (answer, error) {
	after, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(p.from, "="))
	if err != nil {
		return answer{}, refuse(http.StatusBadRequest, "invalid_query_string", "The provided 'from' checkpoint is invalid.")
	}
	position := func(link doc) string { return str(link, "added_at") + "," + str(link, "user_id") }
	l.where = func(link doc) bool { return position(link) > string(after) }
	docs, err := c.selectDocs(l, 0, p.take)
	if err != nil {
		return answer{}, err
	}
	return c.items(l, docs, func(items []any) any {
		out := doc{l.wrap: items}
		if len(docs) > 0 {
			out["next"] = base64.StdEncoding.EncodeToString([]byte(position(docs[len(docs)-1])))
		}
		return out
	})
}

// organizationConnections serves the present and the older path of an
// organization's connections, which differ in what they show.
func organizationConnections(name string, full bool) map[string]handler {
	path := "/organizations/{}/" + name
	load := func(c *call) (string, doc, error) {
		key := state.Key(c.params[0], c.params[1])
		d, found, err := c.Get("organizations/connections", key)
		if err == nil && !found {
			err = notFound("", "The connection is not enabled for the organization.")
		}
		return key, d, err
	}
	return map[string]handler{
		"GET " + path: func(c *call) (answer, error) {
			l := listing{family: "organizations/connections", index: "organization_id", value: c.params[0], wrap: name,
				show: func(c *call, d doc) (any, error) { return showOrganizationConnection(c, d, full) }}
			if want := c.query.Get("is_enabled"); want != "" {
				l.where = func(d doc) bool { return equalsText(d["is_enabled"], want) }
			}
			return c.list(l)
		},
		"POST " + path: func(c *call) (answer, error) {
			d, err := addOrganizationConnection(c, c.params[0], c.object())
			if err != nil {
				return answer{}, err
			}
			v, err := showOrganizationConnection(c, d, full)
			return answer{status: http.StatusCreated, body: v}, err
		},
		"GET " + path + "/{}": func(c *call) (answer, error) {
			_, d, err := load(c)
			if err != nil {
				return answer{}, err
			}
			v, err := showOrganizationConnection(c, d, full)
			return answer{status: http.StatusOK, body: v}, err
		},
		"PATCH " + path + "/{}": func(c *call) (answer, error) {
			key, d, err := load(c)
			if err != nil {
				return answer{}, err
			}
			merge(d, c.object(), nil, nil)
			if err := checkSignup(d); err != nil {
				return answer{}, err
			}
			if err := c.Put("organizations/connections", key, d); err != nil {
				return answer{}, err
			}
			if err := c.emitOrganizationConnection("organization.connection.updated", d); err != nil {
				return answer{}, err
			}
			v, err := showOrganizationConnection(c, d, full)
			return answer{status: http.StatusOK, body: v}, err
		},
		"DELETE " + path + "/{}": func(c *call) (answer, error) {
			was, err := c.Delete("organizations/connections", state.Key(c.params[0], c.params[1]))
			if err != nil {
				return answer{}, err
			}
			if was {
				err = c.emitOrganizationConnection("organization.connection.removed", doc{"organization_id": c.params[0], "connection_id": c.params[1]})
			}
			return answer{status: http.StatusNoContent}, err
		},
	}
}

func memberRoles(c *call, org, user string) ([]any, error) {
	links, err := c.Find("organizations/roles", "member", state.Key(org, user))
	if err != nil {
		return nil, err
	}
	out := []any{}
	for _, l := range links {
		r, _, err := c.Get("roles", str(l, "role_id"))
		if err != nil {
			return nil, err
		}
		out = append(out, doc{"id": r["id"], "name": r["name"]})
	}
	return out, nil
}

func assignMemberRoles(c *call, add bool) (answer, error) {
	org, user := c.params[0], c.params[1]
	if err := c.needs("organizations/members", state.Key(org, user), notFound("", "The user is not a member of the organization.")); err != nil {
		return answer{}, err
	}
	for _, role := range toStrings(list(c.object(), "roles")) {
		r, found, err := c.Get("roles", role)
		if err != nil {
			return answer{}, err
		}
		if !found {
			return answer{}, roleMissing
		}
		key := state.Key(org, user, role)
		_, had, err := c.Get("organizations/roles", key)
		if err != nil {
			return answer{}, err
		}
		event := "organization.member.role.assigned"
		switch {
		case add && !had:
			err = c.Put("organizations/roles", key, doc{"organization_id": org, "user_id": user, "role_id": role})
			if err == nil {
				err = c.atMost(maxRolesOfUser, "organizations/roles", "member", state.Key(org, user), conflict("", "No more roles can be assigned to this organization member."))
			}
		case !add && had:
			event = "organization.member.role.deleted"
			_, err = c.Delete("organizations/roles", key)
		default:
			continue
		}
		if err != nil {
			return answer{}, err
		}
		if err := c.Emit(event, doc{"organization": doc{"id": org}, "user": doc{"user_id": user}, "role": doc{"id": role, "name": r["name"]}}, nil, nil); err != nil {
			return answer{}, err
		}
	}
	return noContent()
}
