package direct

import (
	"context"
	"net/http"
	"net/url"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
)

// clientGrantKind is grants, whose key is client, audience and subject type. The
// pair is unique in Auth0, so a grant that exists is the one that is meant.
type clientGrantKind struct{ base }

func (clientGrantKind) rank() int { return 5 }

func (clientGrantKind) scopes() []string {
	return []string{"create:client_grants", "read:client_grants", "update:client_grants", "delete:client_grants"}
}

func (clientGrantKind) outputs() []string { return []string{"id", "client_id", "audience"} }

func (clientGrantKind) needs(r v1.Resource) []need {
	if spec, ok := r.Spec.(*v1.Auth0ClientGrantSpec); ok && spec.Audience.ValueFrom == nil {
		return []need{{v1.KindResourceServer, spec.Audience.Value}}
	}
	return nil
}

func (clientGrantKind) want(_ context.Context, _ *session, r v1.Resource, resolve resolver) (fields, error) {
	spec, err := specOf[*v1.Auth0ClientGrantSpec](r)
	if err != nil {
		return nil, err
	}
	want, err := toFields(spec)
	if err != nil {
		return nil, err
	}
	if want["client"], err = resolve("spec.client", spec.Client, v1.KindClient, "client_id"); err != nil {
		return nil, err
	}
	if want["audience"], err = resolve("spec.audience", spec.Audience, v1.KindResourceServer, "identifier"); err != nil {
		return nil, err
	}
	dropEmpty(want, "organization_usage")
	setDefault(want, "subject_type", "client")
	sortSets(want, "scope")
	return want, nil
}

func clientGrantView(raw fields) fields {
	view := object(clone(raw))
	view["client"] = view["client_id"]
	delete(view, "client_id")
	setDefault(view, "subject_type", "client")
	setDefault(view, "allow_any_organization", false)
	sortSets(view, "scope")
	return view
}

func (clientGrantKind) find(ctx context.Context, s *session, _ v1.Resource, want fields) (*found, error) {
	client, audience := text(want["client"]), text(want["audience"])
	if unknown(client) || unknown(audience) {
		return nil, nil
	}
	query := url.Values{}
	if !s.bulk {
		query = url.Values{"client_id": {client}, "audience": {audience}}
	}
	all, err := s.all(ctx, auth0.Request{Operation: "list client grants", Path: []string{"client-grants"}, Query: query}, auth0.Checkpoint, "client_grants")
	if err != nil {
		return nil, err
	}
	raw, err := one("client grant", all, func(g fields) bool {
		kind := text(g["subject_type"])
		return g["client_id"] == client && g["audience"] == audience && (kind == want["subject_type"] || kind == "" && want["subject_type"] == "client")
	})
	if raw == nil || err != nil {
		return nil, err
	}
	return &found{id: text(raw["id"]), live: clientGrantView(raw), raw: raw}, nil
}

func (clientGrantKind) create(ctx context.Context, s *session, _ v1.Resource, want fields, _ string) (*found, error) {
	body := object(clone(want))
	body["client_id"] = want["client"]
	delete(body, "client")
	if body["subject_type"] == "client" {
		delete(body, "subject_type") // the default, which older tenants do not know by name
	}
	setDefault(body, "scope", []any{})
	raw, err := s.send(ctx, "create client grant", http.MethodPost, body, "client-grants")
	if err != nil {
		return nil, err
	}
	return &found{id: text(raw["id"]), live: clientGrantView(raw), raw: raw}, nil
}

func (clientGrantKind) converge(ctx context.Context, s *session, _ v1.Resource, live *found, want fields) error {
	body := fields{}
	for _, key := range changedKeys(live.live, want) {
		body[key] = want[key]
	}
	if len(body) == 0 {
		return nil
	}
	_, err := s.send(ctx, "update client grant", http.MethodPatch, body, "client-grants", live.id)
	return err
}

func (clientGrantKind) remove(ctx context.Context, s *session, _ v1.Resource, live *found) error {
	_, err := s.send(ctx, "delete client grant", http.MethodDelete, nil, "client-grants", live.id)
	return gone(err)
}

func (clientGrantKind) report(_ *session, _ v1.Resource, live *found) engine.Outputs {
	return engine.Outputs{"id": live.id, "client_id": text(live.raw["client_id"]), "audience": text(live.raw["audience"])}
}

func (clientGrantKind) identity() []string { return []string{"client", "audience", "scope"} }

func (clientGrantKind) unset(path string, want any) (any, bool) {
	if path == "organization_usage" {
		return "deny", true
	}
	return base{}.unset(path, want)
}

func (clientGrantKind) widens(c engine.Change) bool {
	switch c.Path {
	case "scope":
		return len(added(c.Before, c.After)) > 0
	case "allow_any_organization":
		return c.After == true
	case "client":
		return c.Before == nil
	}
	return false
}
