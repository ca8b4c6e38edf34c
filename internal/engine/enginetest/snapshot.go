package enginetest

import (
	"encoding/json"
	"net/url"
	"slices"
	"sort"
	"strings"

	"github.com/stretchr/testify/require"
)

// snapshot is all that the tenant holds of the families that resources manage,
// with names in the place of ids and without what differs each time, so that two
// of them are equal if the tenants are alike.
func (a *api) snapshot() map[string]any {
	a.t.Helper()
	out := map[string]any{}
	names := map[string]string{}
	families := []struct{ family, path, key, id, name string }{
		{"clients", clientsPath, "clients", "client_id", "name"}, {"connections", connectionsPath, "connections", "id", "name"},
		{"resource-servers", apisPath, "resource_servers", "id", "identifier"}, {"client-grants", grantsPath, "client_grants", "id", "audience"},
		{"roles", rolesPath, "roles", "id", "name"}, {"actions", actionsPath, "actions", "id", "name"}, {"event-streams", streamsPath, "eventStreams", "id", "name"},
		{"users", usersPath + "ada@example.com", "", "user_id", "email"},
	}
	docs := map[string][]document{}
	for _, f := range families {
		docs[f.family] = a.list(f.path, f.key)
		docs[f.family] = slices.DeleteFunc(docs[f.family], func(d document) bool {
			return d["name"] == "Tenon" || strings.HasSuffix(text(d["audience"]), "/api/v2/") || d["is_system"] == true
		})
		for _, d := range docs[f.family] {
			id, name := d[f.id].(string), d[f.name].(string)
			names[id] = "<" + f.family + ":" + name + ">"
			switch f.family {
			case "roles":
				d["permissions"] = a.list("roles/"+id+"/permissions?per_page=100", "permissions")
			case "connections":
				d["clients"] = a.list("connections/"+id+"/clients?take=1000", "clients")
			case "users":
				roles := a.list("users/"+url.PathEscape(id)+"/roles", "roles")
				slices.SortFunc(roles, func(a, b document) int { return strings.Compare(text(a["name"]), text(b["name"])) })
				d["roles"] = roles
			}
		}
	}
	docs["bindings"] = a.list(bindingsPath, "bindings")
	for _, b := range docs["bindings"] {
		delete(b, "id")
	}
	for _, path := range []string{"tenants/settings", "branding", "guardian/factors", "guardian/policies", "attack-protection/brute-force-protection",
		"attack-protection/breached-password-detection", "attack-protection/suspicious-ip-throttling"} {
		out[path] = a.call("GET", path, nil)
	}
	for family, list := range docs {
		var items []string
		for _, d := range list {
			scrub(d)
			data, err := json.MarshalIndent(d, "", " ")
			require.NoError(a.t, err)
			text := string(data)
			for id, name := range names {
				text = strings.ReplaceAll(text, `"`+id+`"`, `"`+name+`"`)
			}
			items = append(items, text)
		}
		if family != "bindings" { // their order means something
			sort.Strings(items)
		}
		out[family] = items
	}
	return out
}

func text(v any) string { s, _ := v.(string); return s }

// alike compares two snapshots and shows what differs, not all that there is.
func (b *bench) alike(before, now map[string]any, msg string) {
	b.Helper()
	for family := range before {
		was, ok := before[family].([]string)
		is, _ := now[family].([]string)
		if !ok {
			require.Equal(b, before[family], now[family], "%s, %s", msg, family)
			continue
		}
		lost := slices.DeleteFunc(slices.Clone(was), func(x string) bool { return slices.Contains(is, x) })
		gained := slices.DeleteFunc(slices.Clone(is), func(x string) bool { return slices.Contains(was, x) })
		require.Equal(b, strings.Join(lost, "\n"), strings.Join(gained, "\n"), "%s, %s", msg, family)
		if family == "bindings" {
			require.Equal(b, was, is, msg)
		}
	}
}

// scrub removes what Auth0 makes anew for each object.
func scrub(v any) {
	switch v := v.(type) {
	case document:
		for _, key := range []string{"created_at", "updated_at", "built_at", "client_secret", "signing_keys", "signing_secret", "tenon_run", "aws_partner_event_source",
			"provisioning_ticket_url", "deployed_version", "current_version", "email_otp", "phone_otp", "number", "picture", "last_password_reset"} {
			delete(v, key)
		}
		for key, x := range v {
			if l, ok := x.([]any); ok && (key == "clients" || key == "enabled_clients" || key == "scopes" || key == "scope" || key == "permissions" || key == "subscriptions" || key == "secrets") {
				sort.Slice(l, func(i, j int) bool {
					a, _ := json.Marshal(l[i])
					b, _ := json.Marshal(l[j])
					return string(a) < string(b)
				})
			}
			scrub(x)
		}
	case []any:
		for _, x := range v {
			scrub(x)
		}
	case []document:
		for _, x := range v {
			scrub(x)
		}
	}
}
