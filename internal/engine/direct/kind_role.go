package direct

import (
	"context"
	"net/http"
	"net/url"
	"slices"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
)

type roleKind struct{ answered }

func (roleKind) rank() int { return 2 }

func (roleKind) scopes() []string {
	return []string{"create:roles", "read:roles", "update:roles", "delete:roles"}
}

func roleName(r v1.Resource) string {
	if spec, ok := r.Spec.(*v1.Auth0RoleSpec); ok && spec.Name != nil {
		return *spec.Name
	}
	return r.Metadata.Name
}

func (roleKind) predict(r v1.Resource) engine.Outputs { return engine.Outputs{"name": roleName(r)} }

func (roleKind) needs(r v1.Resource) []need {
	var needs []need
	if spec, ok := r.Spec.(*v1.Auth0RoleSpec); ok {
		for _, p := range spec.Permissions {
			needs = append(needs, need{v1.KindResourceServer, p.ResourceServerIdentifier})
		}
	}
	return needs
}

func (roleKind) want(_ context.Context, _ *session, r v1.Resource, _ resolver) (fields, error) {
	spec, err := specOf[*v1.Auth0RoleSpec](r)
	if err != nil {
		return nil, err
	}
	want, err := toFields(spec)
	if err != nil {
		return nil, err
	}
	want["name"] = roleName(r)
	sortSets(want, "permissions")
	return want, nil
}

func (roleKind) template() fields { return templateOf(&v1.Auth0RoleSpec{}) }

func (k roleKind) roles(ctx context.Context, s *session, query url.Values) (*table, error) {
	return s.all(ctx, auth0.Request{Operation: "list roles", Path: []string{"roles"}, Query: query}, auth0.Offset, "roles")
}

func (k roleKind) every(ctx context.Context, s *session) ([]fields, error) {
	t, err := k.roles(ctx, s, nil)
	if err != nil {
		return nil, err
	}
	return t.rows, nil
}

func (k roleKind) read(ctx context.Context, s *session, id string) (fields, error) {
	if !s.bulk(v1.KindRole) {
		return s.byID(ctx, "read role", nil, "roles", id)
	}
	t, err := k.roles(ctx, s, nil)
	if err != nil {
		return nil, err
	}
	return one("role "+id, t.by("id", id), nil)
}

func (roleKind) search(ctx context.Context, s *session, r v1.Resource, _ fields) (fields, error) {
	return s.role(ctx, roleName(r))
}

// view reads the permissions with a call for each role whose resource lists them:
// Auth0 shows the permissions of one role at a time.
func (roleKind) view(ctx context.Context, s *session, _ v1.Resource, raw, want fields) (*found, error) {
	live := object(clone(raw))
	id := text(raw["id"])
	if want["permissions"] != nil {
		granted, err := s.all(ctx, auth0.Request{Operation: "list role permissions", Path: []string{"roles", id, "permissions"}}, auth0.Offset, "permissions")
		if err != nil {
			return nil, err
		}
		permissions := []any{}
		for _, p := range granted.rows {
			permissions = append(permissions, fields{"name": p["permission_name"], "resource_server_identifier": p["resource_server_identifier"]})
		}
		live["permissions"] = permissions
		sortSets(live, "permissions")
	}
	return &found{id: id, live: live, raw: raw}, nil
}

// role finds a role by name, nil if there is none. The filter of the list is a
// substring without case, so the result is compared again.
func (s *session) role(ctx context.Context, name string) (fields, error) {
	var query url.Values
	if !s.bulk(v1.KindRole) && !s.bulk(v1.KindUser) {
		query = url.Values{"name_filter": {name}}
	}
	t, err := roleKind{}.roles(ctx, s, query)
	if err != nil {
		return nil, err
	}
	return one("role "+name, t.by("name", name), nil)
}

func (roleKind) export(_ *session, raw fields) (name, skip string) {
	if text(raw["owner_id"]) != "" {
		return text(raw["name"]), "it belongs to an organization"
	}
	return text(raw["name"]), ""
}

func (roleKind) create(ctx context.Context, s *session, _ v1.Resource, want fields, _ string) (*found, error) {
	body := fields{"name": want["name"]}
	if d := text(want["description"]); d != "" {
		body["description"] = d
	}
	raw, err := s.send(ctx, "create role", http.MethodPost, body, "roles")
	if err != nil {
		return nil, err
	}
	live := object(clone(raw))
	live["permissions"] = []any{}
	return &found{id: text(raw["id"]), live: live, raw: raw}, nil
}

func (roleKind) converge(ctx context.Context, s *session, _ v1.Resource, live *found, want fields) error {
	body := fields{}
	for _, key := range changedKeys(live.live, want) {
		if key != "permissions" {
			body[key] = want[key]
		}
	}
	if len(body) > 0 {
		if _, err := s.send(ctx, "update role", http.MethodPatch, body, "roles", live.id); err != nil {
			return err
		}
	}
	if want["permissions"] == nil {
		return nil
	}
	// Taking away comes first: a role must at no time have more than the old or the
	// new set, whichever call fails.
	for _, step := range []struct {
		operation, method string
		permissions       []any
	}{
		{"remove role permissions", http.MethodDelete, minus(live.live["permissions"], want["permissions"])},
		{"add role permissions", http.MethodPost, minus(want["permissions"], live.live["permissions"])},
	} {
		for batch := range slices.Chunk(step.permissions, 50) {
			items := make([]any, len(batch))
			for i, p := range batch {
				items[i] = fields{"permission_name": object(p)["name"], "resource_server_identifier": object(p)["resource_server_identifier"]}
			}
			if _, err := s.send(ctx, step.operation, step.method, fields{"permissions": items}, "roles", live.id, "permissions"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (roleKind) remove(ctx context.Context, s *session, _ v1.Resource, live *found) error {
	_, err := s.send(ctx, "delete role", http.MethodDelete, nil, "roles", live.id)
	return gone(err)
}

func (roleKind) report(_ *session, _ v1.Resource, live *found) engine.Outputs {
	return engine.Outputs{"id": live.id, "name": text(live.raw["name"]), "description": text(live.raw["description"])}
}

func (roleKind) collections() []string { return []string{"permissions"} }
func (roleKind) identity() []string    { return []string{"name", "description"} }

func (roleKind) perishable() []string { return []string{"id", "users that have the role"} }

func (roleKind) calls(step engine.Step) int {
	n := answered{}.calls(step)
	if spec, ok := step.Resource.Spec.(*v1.Auth0RoleSpec); ok && len(spec.Permissions) > 0 && n > 1 || step.Action == engine.Create && len(spec.Permissions) > 0 {
		n += 3 + (len(spec.Permissions)-1)/50 // read before and after, and written
	}
	return n
}

func (roleKind) unset(path string, want any) (any, bool) {
	if path == "description" {
		return "", true
	}
	return base{}.unset(path, want)
}

func (roleKind) widens(c engine.Change) bool {
	return c.Path == "permissions" && c.Before != nil && len(added(c.Before, c.After)) > 0
}
