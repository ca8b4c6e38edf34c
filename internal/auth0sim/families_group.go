package auth0sim

import (
	"strings"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

var groupMissing = notFound("", "Group not found.")

// groupFamilies are the groups of users that a connection's directory brings
// along: they come with its synchronized groups, not by a call of their own.
func groupFamilies() []*family {
	return []*family{{path: "/groups", kind: state.SynchronizedGroup, list: listing{wrap: "groups", checkpoint: true, always: true}, only: "list get delete",
		missing: groupMissing, filters: []string{"connection_id", "external_id", "name"}, gone: dropGroup}}
}

// dropGroup removes what exists only for a group.
func dropGroup(c *call, d doc) error {
	for _, links := range []string{"groups/members", "groups/roles", "organizations/group-roles"} {
		if _, err := c.DeleteWhere(links, "group_id", str(d, "id")); err != nil {
			return err
		}
	}
	return c.Emit("group.deleted", groupEvent(d), nil, nil)
}

// groupEvent is a group as events tell of it.
func groupEvent(d doc) doc {
	return doc{"id": d["id"], "name": d["name"], "external_id": d["external_id"], "created_at": d["created_at"], "type": "connection", "connection_id": d["connection_id"]}
}

func showGroup(d doc) doc { return doc(state.Public(d)) }

// synchronize makes the groups of a connection those that the directory now
// sends, and says so in events.
func synchronize(c *call, connection doc, wanted []any) error {
	have, err := c.Find("groups", "connection_id", str(connection, "id"))
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, d := range have {
		id := str(d, "external_id")
		if known[id] = true; !containsID(wanted, id) {
			if _, err := c.Delete("groups", str(d, "id")); err != nil {
				return err
			}
			if err := dropGroup(c, d); err != nil {
				return err
			}
		}
	}
	for _, e := range wanted {
		o, _ := e.(doc)
		id := str(o, "id")
		if id == "" || known[id] {
			continue
		}
		known[id] = true
		now := state.Timestamp(c.Now())
		d := doc{"id": c.NewID(state.SynchronizedGroup), "name": id, "external_id": id, "connection_id": connection["id"],
			"tenant_name": c.tenant.name, "created_at": now, "updated_at": now}
		if err := c.Put("groups", str(d, "id"), d); err != nil {
			return err
		}
		if err := c.Emit("group.created", groupEvent(d), nil, nil); err != nil {
			return err
		}
	}
	return nil
}

func containsID(items []any, id string) bool {
	for _, e := range items {
		if o, isObject := e.(doc); isObject && str(o, "id") == id {
			return true
		}
	}
	return false
}

// relation is a link between two kinds of objects, listed and changed from one
// side: {"roles": [ids]} added or taken away.
type relation struct {
	links   string // state family of the links
	wrap    string // key of the identifiers in bodies and of the items in answers
	index   string // index of the links that holds this side
	value   func(*call) string
	check   func(*call) error
	other   string // state family of the other side
	missing *apiError
	link    func(c *call, id string) (key string, link doc)
	limit   int       // how many links this side may have; 0 for any number
	full    *apiError // the answer beyond it
	show    func(*call, doc) (any, error)
}

func (r relation) routes(path string) map[string]handler {
	change := func(add bool) handler {
		return func(c *call) (answer, error) {
			if err := r.check(c); err != nil {
				return answer{}, err
			}
			for _, id := range toStrings(list(c.object(), r.wrap)) {
				key, link := r.link(c, id)
				if !add {
					if _, err := c.Delete(r.links, key); err != nil {
						return answer{}, err
					}
					continue
				}
				if err := c.needs(r.other, id, r.missing); err != nil {
					return answer{}, err
				}
				if err := c.Put(r.links, key, link); err != nil {
					return answer{}, err
				}
			}
			if add && r.limit > 0 {
				if err := c.atMost(r.limit, r.links, r.index, r.value(c), r.full); err != nil {
					return answer{}, err
				}
			}
			return noContent()
		}
	}
	return map[string]handler{
		"GET " + path: func(c *call) (answer, error) {
			if err := r.check(c); err != nil {
				return answer{}, err
			}
			return c.list(listing{family: r.links, index: r.index, value: r.value(c), wrap: r.wrap, checkpoint: true, always: true, show: r.show})
		},
		"POST " + path: change(true), "DELETE " + path: change(false),
	}
}

func showLinkedGroup(c *call, link doc) (any, error) {
	d, _, err := c.Get("groups", str(link, "group_id"))
	return showGroup(d), err
}

func groupHandlers() map[string]handler {
	first := func(c *call) string { return c.params[0] }
	link := func(group, role string) (string, doc) {
		return state.Key(group, role), doc{"group_id": group, "role_id": role}
	}
	groups := groupFamilies()[0]
	groups.fill()
	out := map[string]handler{
		"GET /groups": func(c *call) (answer, error) {
			l := groups.list
			l.family, l.show = groups.store, groups.show
			if part := strings.ToLower(c.query.Get("search")); part != "" {
				l.also(func(d doc) bool {
					return strings.Contains(strings.ToLower(str(d, "name")+" "+str(d, "external_id")), part)
				})
			}
			if err := groups.narrow(c, &l); err != nil {
				return answer{}, err
			}
			return c.list(l)
		},
		"GET /groups/{}/members": func(c *call) (answer, error) {
			if err := c.needs("groups", c.params[0], groupMissing); err != nil {
				return answer{}, err
			}
			return c.list(listing{family: "groups/members", index: "group_id", value: c.params[0], wrap: "members", checkpoint: true, always: true})
		},
	}
	for path, r := range map[string]relation{
		"/groups/{}/roles": {links: "groups/roles", wrap: "roles", index: "group_id", value: first,
			check: func(c *call) error { return c.needs("groups", c.params[0], groupMissing) }, other: "roles", missing: roleMissing,
			link: func(c *call, role string) (string, doc) { return link(c.params[0], role) }, show: showLinkedRole},
		"/roles/{}/groups": {links: "groups/roles", wrap: "groups", index: "role_id", value: first,
			check: func(c *call) error { return c.needs("roles", c.params[0], roleMissing) }, other: "groups", missing: groupMissing,
			link: func(c *call, group string) (string, doc) { return link(group, c.params[0]) }, show: showLinkedGroup},
		"/organizations/{}/groups/{}/roles": {links: "organizations/group-roles", wrap: "roles", index: "group",
			value: func(c *call) string { return state.Key(c.params[0], c.params[1]) },
			check: func(c *call) error {
				if err := c.needs("organizations", c.params[0], organizationMissing); err != nil {
					return err
				}
				return c.needs("groups", c.params[1], groupMissing)
			}, other: "roles", missing: roleMissing,
			link: func(c *call, role string) (string, doc) {
				return state.Key(c.params[0], c.params[1], role), doc{"organization_id": c.params[0], "group_id": c.params[1], "role_id": role}
			}, show: showLinkedRole, limit: maxRolesOfUser, full: conflict("", "No more roles can be assigned to this organization group.")},
	} {
		for key, do := range r.routes(path) {
			out[key] = do
		}
	}
	out["GET /organizations/{}/groups"] = func(c *call) (answer, error) {
		if err := c.needs("organizations", c.params[0], organizationMissing); err != nil {
			return answer{}, err
		}
		return c.organizationGroups("")
	}
	out["GET /organizations/{}/roles/{}/groups"] = func(c *call) (answer, error) {
		if err := c.needs("organizations", c.params[0], organizationMissing); err != nil {
			return answer{}, err
		}
		return c.organizationGroups(c.params[1])
	}
	return out
}

// organizationGroups lists the groups that have a role in an organization; only
// those with the given one unless it is empty.
func (c *call) organizationGroups(role string) (answer, error) {
	links, err := c.Find("organizations/group-roles", "organization_id", c.params[0])
	if err != nil {
		return answer{}, err
	}
	seen, out := map[string]bool{}, []any{}
	for _, l := range links {
		id := str(l, "group_id")
		if seen[id] || role != "" && str(l, "role_id") != role {
			continue
		}
		seen[id] = true
		v, err := showLinkedGroup(c, l)
		if err != nil {
			return answer{}, err
		}
		out = append(out, v)
	}
	return ok(doc{"groups": out})
}
