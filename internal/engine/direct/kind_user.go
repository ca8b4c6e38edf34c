package direct

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

// userKind is users of database connections, whose key is connection and email.
type userKind struct{ answered }

func (userKind) rank() int { return 7 }

func (userKind) scopes() []string {
	// Roles of users are read and written under the scopes of users: where the
	// Management API lists several for a call, any one of them does.
	return []string{"create:users", "read:users", "update:users", "delete:users", "read:roles"}
}

func (userKind) predict(r v1.Resource) engine.Outputs {
	if spec, ok := r.Spec.(*v1.Auth0UserSpec); ok {
		return engine.Outputs{"email": strings.ToLower(spec.Email)}
	}
	return nil
}

func (userKind) needs(r v1.Resource) []need {
	spec, ok := r.Spec.(*v1.Auth0UserSpec)
	if !ok {
		return nil
	}
	needs := []need{{v1.KindConnection, spec.Connection}}
	for _, role := range spec.Roles {
		if role.ValueFrom == nil {
			needs = append(needs, need{v1.KindRole, role.Value})
		}
	}
	return needs
}

var roleID = regexp.MustCompile(`^rol_[A-Za-z0-9]{16}$`)

func (userKind) want(ctx context.Context, s *session, r v1.Resource, resolve resolver) (fields, error) {
	spec, err := specOf[*v1.Auth0UserSpec](r)
	if err != nil {
		return nil, err
	}
	want, err := toFields(spec)
	if err != nil {
		return nil, err
	}
	want["email"] = strings.ToLower(spec.Email)
	delete(want, "roles")
	if spec.Roles != nil {
		ids := make([]any, len(spec.Roles))
		for i, role := range spec.Roles {
			path := fmt.Sprintf("spec.roles[%d]", i)
			id, err := resolve(path, role, v1.KindRole, "id")
			if err != nil {
				return nil, err
			}
			if role.ValueFrom == nil && !roleID.MatchString(id) {
				if id, err = s.roleByName(ctx, r, path, id); err != nil {
					return nil, err
				}
			}
			ids[i] = id
		}
		want["roles"] = ids
	}
	sortSets(want, "roles")
	return want, nil
}

// roleByName turns a role's name into its id. A role that the same plan makes has
// none yet.
func (s *session) roleByName(ctx context.Context, r v1.Resource, path, name string) (string, error) {
	role, err := s.role(ctx, name)
	if err != nil {
		return "", err
	}
	if role != nil {
		return text(role["id"]), nil
	}
	for _, other := range s.resources {
		if other.Kind == v1.KindRole && roleName(other) == name {
			if owned := s.inventory[engine.KeyOf(other)]; owned != nil && owned.Outputs["id"] != "" {
				return owned.Outputs["id"], nil // it has another name in the tenant
			}
			return unknownValue(engine.KeyOf(other)), nil
		}
	}
	if s.reverting {
		return unknownValue(engine.Key{Kind: v1.KindRole, Name: name}), nil
	}
	return "", fmt.Errorf("%s: %s: there is no role %q: %w", engine.KeyOf(r), path, name, engine.ErrUnresolved)
}

func userView(raw fields) fields {
	view := object(clone(raw))
	view["email"] = strings.ToLower(text(raw["email"]))
	view["connection"] = primaryConnection(raw)
	setDefault(view, "blocked", false)
	setDefault(view, "email_verified", false)
	return view
}

func (userKind) template() fields {
	t := templateOf(&v1.Auth0UserSpec{})
	return t
}

// every reads the users that a search finds, at most 1000: Auth0 shows no more.
// What was written in the last seconds may be missing from it.
func (userKind) every(ctx context.Context, s *session) ([]fields, error) {
	rows, err := s.list(ctx, auth0.Request{Operation: "list users", Path: []string{"users"}, Query: url.Values{"search_engine": {"v3"}, "sort": {"created_at:1"}}}, auth0.Offset, "users")
	if auth0.ClassOf(err) == auth0.Invalid && len(rows) >= 1000 {
		return rows, nil
	}
	return rows, err
}

// read asks for the one user. A search would read a hundred at a time and lag
// behind what was written a moment ago: a plan made from it could be wrong.
func (userKind) read(ctx context.Context, s *session, id string) (fields, error) {
	return s.byID(ctx, "read user", nil, "users", id)
}

func (userKind) search(ctx context.Context, s *session, r v1.Resource, want fields) (fields, error) {
	spec, err := specOf[*v1.Auth0UserSpec](r)
	if err != nil {
		return nil, err
	}
	email := text(want["email"])
	t, err := s.once("users by email "+email, func() (*table, error) {
		var users []fields
		err := s.Do(ctx, auth0.Request{Operation: "find user", Method: http.MethodGet, Path: []string{"users-by-email"}, Query: url.Values{"email": {email}}}, &users)
		return &table{rows: users}, err
	})
	if err != nil {
		return nil, err
	}
	// An account that only has this connection as a linked, secondary identity is
	// somebody else's.
	return one("user", t.rows, func(u fields) bool { return primaryConnection(u) == spec.Connection })
}

func primaryConnection(user fields) string {
	identities := list(user["identities"])
	if len(identities) == 0 {
		return ""
	}
	return text(object(identities[0])["connection"])
}

func (userKind) view(ctx context.Context, s *session, _ v1.Resource, raw, want fields) (*found, error) {
	f := &found{id: text(raw["user_id"]), live: userView(raw), raw: raw, run: text(object(raw["app_metadata"])[engine.MarkRun])}
	if want["roles"] != nil {
		assigned, err := s.all(ctx, auth0.Request{Operation: "list roles of user", Path: []string{"users", f.id, "roles"}}, auth0.Offset, "roles")
		if err != nil {
			return nil, err
		}
		ids := []any{}
		for _, role := range assigned.rows {
			ids = append(ids, role["id"])
		}
		f.live["roles"] = ids
		sortSets(f.live, "roles")
	}
	return f, nil
}

func (userKind) export(_ *session, raw fields) (name, skip string) {
	name = text(raw["email"])
	identities := list(raw["identities"])
	switch {
	case name == "":
		return text(raw["user_id"]), "it has no email address"
	case len(identities) == 0 || object(identities[0])["provider"] != "auth0":
		return name, "it comes from an identity provider, which owns it"
	}
	return name, ""
}

func (userKind) create(ctx context.Context, s *session, r v1.Resource, want fields, run string) (*found, error) {
	spec, err := specOf[*v1.Auth0UserSpec](r)
	if err != nil {
		return nil, err
	}
	password, err := randomPassword(s.cfg.Rand)
	if err != nil {
		return nil, err
	}
	body := object(clone(want))
	delete(body, "roles")
	body["connection"] = spec.Connection
	body["password"] = password.Reveal()
	if id, ok := strings.CutPrefix(text(body["user_id"]), "auth0|"); ok {
		body["user_id"] = id // one that is made anew keeps its id
	}
	// No mail that Tenon did not decide to send: verification is a ticket's job.
	body["verify_email"] = false
	body["app_metadata"] = merge(object(want["app_metadata"]), fields{engine.MarkRun: run})
	var raw fields
	err = s.Do(ctx, auth0.Request{Operation: "create user", Method: http.MethodPost, Path: []string{"users"}, Body: body, Secrets: []secret.Value{password}}, &raw)
	if err != nil {
		return nil, err
	}
	s.forget()
	live := userView(raw)
	live["roles"] = []any{}
	return &found{id: text(raw["user_id"]), live: live, raw: raw, run: run}, nil
}

func (userKind) converge(ctx context.Context, s *session, r v1.Resource, live *found, want fields) error {
	spec, err := specOf[*v1.Auth0UserSpec](r)
	if err != nil {
		return err
	}
	body := fields{}
	for _, key := range changedKeys(live.live, want) {
		switch key {
		case "roles", "username":
		case "user_metadata", "app_metadata":
			// Merged by Auth0 on the first level, so only what differs goes out.
			part, now := fields{}, object(live.live[key])
			for _, k := range changedKeys(now, object(want[key])) {
				part[k] = object(want[key])[k]
			}
			body[key] = part
		default:
			body[key] = want[key]
		}
	}
	if len(body) > 0 {
		if _, err := s.send(ctx, "update user", http.MethodPatch, body, "users", live.id); err != nil {
			return err
		}
	}
	if w := want["username"]; w != nil && !same(live.live["username"], w) {
		// A username cannot be changed together with other fields.
		if _, err := s.send(ctx, "update username", http.MethodPatch, fields{"username": w, "connection": spec.Connection}, "users", live.id); err != nil {
			return err
		}
	}
	if want["roles"] == nil {
		return nil
	}
	for _, step := range []struct {
		operation, method string
		roles             []any
	}{
		{"remove roles of user", http.MethodDelete, minus(live.live["roles"], want["roles"])},
		{"add roles to user", http.MethodPost, minus(want["roles"], live.live["roles"])},
	} {
		for batch := range slices.Chunk(step.roles, 50) {
			if _, err := s.send(ctx, step.operation, step.method, fields{"roles": batch}, "users", live.id, "roles"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (userKind) remove(ctx context.Context, s *session, _ v1.Resource, live *found) error {
	_, err := s.send(ctx, "delete user", http.MethodDelete, nil, "users", live.id)
	return gone(err)
}

func (userKind) report(_ *session, _ v1.Resource, live *found) engine.Outputs {
	return engine.Outputs{"id": live.id, "user_id": live.id, "email": strings.ToLower(text(live.raw["email"]))}
}

func (userKind) marks() bool         { return true }
func (userKind) immutable() []string { return []string{"connection"} }

func (userKind) perishable() []string {
	return []string{"password", "second factors", "linked identities", "organization memberships"}
}

func (userKind) calls(step engine.Step) int {
	n := answered{}.calls(step)
	if spec, ok := step.Resource.Spec.(*v1.Auth0UserSpec); ok && n > 0 && len(spec.Roles) > 0 && step.Action != engine.Delete {
		n += 3
	}
	return n
}

func (userKind) collections() []string { return []string{"roles"} }

func (userKind) unset(path string, want any) (any, bool) {
	switch {
	case strings.HasPrefix(path, "user_metadata."), strings.HasPrefix(path, "app_metadata."):
		return nil, true
	case path == "given_name", path == "family_name", path == "nickname", path == "username", path == "picture", path == "name":
		return nil, false
	}
	return base{}.unset(path, want)
}

func (userKind) widens(c engine.Change) bool {
	switch c.Path {
	case "roles":
		return len(added(c.Before, c.After)) > 0
	case "blocked":
		return c.Before == true && c.After == false
	case "email_verified":
		return c.After == true
	}
	return false
}
