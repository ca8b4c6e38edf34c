package direct

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
)

type connectionKind struct{ base }

func (connectionKind) rank() int { return 3 }

func (connectionKind) scopes() []string {
	return []string{"create:connections", "read:connections", "update:connections", "delete:connections"}
}

func (connectionKind) outputs() []string { return []string{"id", "name", "strategy"} }

func (connectionKind) predict(r v1.Resource) engine.Outputs {
	out := engine.Outputs{"name": r.Metadata.Name}
	if spec, ok := r.Spec.(*v1.Auth0ConnectionSpec); ok {
		out["strategy"] = spec.Strategy
	}
	return out
}

func (connectionKind) want(_ context.Context, _ *session, r v1.Resource, resolve resolver) (fields, error) {
	spec, err := specOf[*v1.Auth0ConnectionSpec](r)
	if err != nil {
		return nil, err
	}
	want, err := toFields(spec)
	if err != nil {
		return nil, err
	}
	delete(want, "enabled_clients")
	if spec.EnabledClients != nil {
		ids := make([]any, len(spec.EnabledClients))
		for i, c := range spec.EnabledClients {
			id, err := resolve(fmt.Sprintf("spec.enabled_clients[%d]", i), c, v1.KindClient, "client_id")
			if err != nil {
				return nil, err
			}
			ids[i] = id
		}
		want["enabled_clients"] = ids
	}
	if o := object(want["database_options"]); o != nil {
		dropEmpty(o, "password_policy")
	}
	sortSets(want, "enabled_clients", "realms")
	return want, nil
}

// connectionView is a connection in the shape of the spec.
func connectionView(raw fields) fields {
	view := object(clone(raw))
	o := object(view["options"])
	history, dictionary := object(o["password_history"]), object(o["password_dictionary"])
	options := fields{
		"password_policy":           o["passwordPolicy"],
		"password_min_length":       object(o["password_complexity_options"])["min_length"],
		"requires_username":         o["requires_username"],
		"disable_signup":            o["disable_signup"],
		"brute_force_protection":    o["brute_force_protection"],
		"password_history_size":     history["size"],
		"password_no_personal_info": object(o["password_no_personal_info"])["enable"],
		"password_dictionary":       dictionary["enable"],
		"mfa_enabled":               object(o["mfa"])["active"],
	}
	if history["enable"] != true {
		options["password_history_size"] = 0.0
	}
	for _, name := range []string{"requires_username", "disable_signup", "password_no_personal_info", "password_dictionary"} {
		setDefault(options, name, false)
	}
	view["database_options"] = options
	delete(view, "options")
	// What a body calls enabled_clients is the deprecated list; the real one is read
	// from /connections/{id}/clients.
	delete(view, "enabled_clients")
	setDefault(view, "is_domain_connection", false)
	sortSets(view, "realms")
	return view
}

// connectionOptions lays wanted options over those that the connection has.
func connectionOptions(now, want fields) fields {
	out := object(clone(now))
	if out == nil {
		out = fields{}
	}
	for name, value := range out {
		if value == nil {
			delete(out, name) // Auth0 shows some nulls that it does not take
		}
	}
	put := func(parent, key string, value any) {
		if parent == "" {
			out[key] = value
			return
		}
		out[parent] = merge(object(out[parent]), fields{key: value})
	}
	for name, value := range want {
		switch name {
		case "password_policy":
			put("", "passwordPolicy", value)
		case "password_min_length":
			if value == nil {
				delete(out, "password_complexity_options")
				continue
			}
			put("password_complexity_options", "min_length", value)
		case "password_history_size":
			size, _ := value.(float64)
			put("password_history", "enable", size > 0)
			put("password_history", "size", value)
		case "password_no_personal_info", "password_dictionary":
			put(name, "enable", value)
		case "mfa_enabled":
			put("mfa", "active", value)
			put("mfa", "return_enroll_settings", true)
		default:
			put("", name, value)
		}
	}
	return out
}

func (connectionKind) find(ctx context.Context, s *session, r v1.Resource, want fields) (*found, error) {
	raw, err := s.connection(ctx, r.Metadata.Name)
	if raw == nil || err != nil {
		return nil, err
	}
	if raw["strategy"] != want["strategy"] {
		// Said when planning: a plan that can never be applied is worse than none.
		return nil, &auth0.Error{Class: auth0.Conflict, Operation: "find connection",
			Message: fmt.Sprintf("a connection named %s exists with strategy %v, which cannot be changed", r.Metadata.Name, raw["strategy"])}
	}
	live := connectionView(raw)
	id := text(raw["id"])
	if want["enabled_clients"] != nil {
		clients, err := s.enabledClients(ctx, id)
		if err != nil {
			return nil, err
		}
		ids := make([]any, 0, len(clients))
		for _, c := range clients {
			ids = append(ids, c["client_id"])
		}
		live["enabled_clients"] = ids
		sortSets(live, "enabled_clients")
	}
	return &found{id: id, live: live, raw: raw, run: text(object(raw["metadata"])[engine.MarkRun])}, nil
}

// connection finds a connection by name, nil if there is none.
func (s *session) connection(ctx context.Context, name string) (fields, error) {
	query := url.Values{}
	if !s.bulk {
		query.Set("name", name)
	}
	list, err := s.all(ctx, auth0.Request{Operation: "list connections", Path: []string{"connections"}, Query: query}, auth0.Checkpoint, "connections")
	if err != nil {
		return nil, err
	}
	return one("connection "+name, list, func(c fields) bool { return c["name"] == name })
}

func (s *session) enabledClients(ctx context.Context, id string) ([]fields, error) {
	return s.all(ctx, auth0.Request{Operation: "list enabled clients", Path: []string{"connections", id, "clients"}}, auth0.Checkpoint, "clients")
}

// setEnabledClients switches a connection on or off for clients, in batches of 50.
func (s *session) setEnabledClients(ctx context.Context, id string, clients []any, enabled bool) error {
	for batch := range slices.Chunk(clients, 50) {
		body := make([]any, len(batch))
		for i, c := range batch {
			body[i] = fields{"client_id": c, "status": enabled}
		}
		if _, err := s.send(ctx, "set enabled clients", http.MethodPatch, body, "connections", id, "clients"); err != nil {
			return err
		}
	}
	return nil
}

func (connectionKind) create(ctx context.Context, s *session, r v1.Resource, want fields, run string) (*found, error) {
	body := object(clone(want))
	delete(body, "enabled_clients")
	delete(body, "database_options")
	body["name"] = r.Metadata.Name
	body["metadata"] = merge(object(want["metadata"]), fields{engine.MarkRun: run})
	if options := object(want["database_options"]); len(options) > 0 {
		body["options"] = connectionOptions(nil, options)
	}
	raw, err := s.send(ctx, "create connection", http.MethodPost, body, "connections")
	if err != nil {
		return nil, err
	}
	live := connectionView(raw)
	live["enabled_clients"] = []any{}
	return &found{id: text(raw["id"]), live: live, raw: raw, run: run}, nil
}

func (connectionKind) converge(ctx context.Context, s *session, _ v1.Resource, live *found, want fields) error {
	body := fields{}
	for _, key := range changedKeys(live.live, want) {
		switch key {
		case "enabled_clients":
		case "database_options":
			release := s.locks.acquire(s.Domain() + "/connection/" + live.id)
			defer release()
			// The whole object is replaced, so it is read as late as possible and what is
			// not ours goes back unchanged.
			now, err := s.get(ctx, "read connection", nil, "connections", live.id)
			if err != nil {
				return err
			}
			options := object(now["options"])
			if len(object(options["configuration"])) > 0 {
				// Auth0 shows the secrets of custom database scripts encrypted, and would encrypt
				// what it showed once more.
				return &auth0.Error{Class: auth0.Conflict, Operation: "update connection",
					Message: "its options hold secrets of custom database scripts (configuration), which writing the options would destroy; change the options in the dashboard"}
			}
			body["options"] = connectionOptions(options, object(want[key]))
		default:
			body[key] = want[key]
		}
	}
	if len(body) > 0 {
		if _, err := s.send(ctx, "update connection", http.MethodPatch, body, "connections", live.id); err != nil {
			return err
		}
	}
	if want["enabled_clients"] == nil {
		return nil
	}
	have := live.live["enabled_clients"]
	if err := s.setEnabledClients(ctx, live.id, minus(want["enabled_clients"], have), true); err != nil {
		return err
	}
	return s.setEnabledClients(ctx, live.id, minus(have, want["enabled_clients"]), false)
}

func (connectionKind) remove(ctx context.Context, s *session, _ v1.Resource, live *found) error {
	_, err := s.send(ctx, "delete connection", http.MethodDelete, nil, "connections", live.id)
	return gone(err)
}

func (connectionKind) report(_ *session, _ v1.Resource, live *found) engine.Outputs {
	return engine.Outputs{"id": live.id, "name": text(live.raw["name"]), "strategy": text(live.raw["strategy"])}
}

func (connectionKind) marks() bool           { return true }
func (connectionKind) collections() []string { return []string{"enabled_clients"} }

func (connectionKind) unset(path string, want any) (any, bool) {
	switch {
	case strings.HasPrefix(path, "metadata."), path == "database_options.password_min_length":
		return nil, true
	case path == "display_name":
		return "", true
	}
	return base{}.unset(path, want)
}

func (connectionKind) widens(c engine.Change) bool {
	switch c.Path {
	case "enabled_clients":
		return len(added(c.Before, c.After)) > 0
	case "is_domain_connection":
		return c.After == true
	case "database_options.disable_signup", "database_options.brute_force_protection", "database_options.mfa_enabled",
		"database_options.password_no_personal_info", "database_options.password_dictionary":
		return c.Before == true && c.After == false
	case "database_options.password_policy":
		strength := []any{"none", "low", "fair", "good", "excellent"}
		return slices.Index(strength, c.After) < slices.Index(strength, c.Before)
	case "database_options.password_min_length", "database_options.password_history_size":
		before, ok1 := c.Before.(float64)
		after, ok2 := c.After.(float64)
		return ok1 && ok2 && after < before
	}
	return false
}
