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
type clientGrantKind struct{ answered }

func (clientGrantKind) rank() int { return 5 }

func (clientGrantKind) scopes() []string {
	return []string{"create:client_grants", "read:client_grants", "update:client_grants", "delete:client_grants"}
}

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

func (clientGrantKind) template() fields { return templateOf(&v1.Auth0ClientGrantSpec{}) }

func (clientGrantKind) grants(ctx context.Context, s *session, query url.Values) (*table, error) {
	return s.all(ctx, auth0.Request{Operation: "list client grants", Path: []string{"client-grants"}, Query: query}, auth0.Checkpoint, "client_grants")
}

func (k clientGrantKind) every(ctx context.Context, s *session) ([]fields, error) {
	t, err := k.grants(ctx, s, nil)
	if err != nil {
		return nil, err
	}
	return t.rows, nil
}

func (k clientGrantKind) read(ctx context.Context, s *session, id string) (fields, error) {
	if !s.bulk(v1.KindClientGrant) {
		return s.byID(ctx, "read client grant", nil, "client-grants", id)
	}
	t, err := k.grants(ctx, s, nil)
	if err != nil {
		return nil, err
	}
	return one("client grant", t.by("id", id), nil)
}

func (k clientGrantKind) search(ctx context.Context, s *session, _ v1.Resource, want fields) (fields, error) {
	client, audience := text(want["client"]), text(want["audience"])
	if unknown(client) || unknown(audience) {
		return nil, nil
	}
	var query url.Values
	if !s.bulk(v1.KindClientGrant) {
		query = url.Values{"client_id": {client}, "audience": {audience}}
	}
	t, err := k.grants(ctx, s, query)
	if err != nil {
		return nil, err
	}
	return one("client grant", t.by("client_id", client), func(g fields) bool {
		kind := text(g["subject_type"])
		return g["audience"] == audience && (kind == want["subject_type"] || kind == "" && want["subject_type"] == "client")
	})
}

func (clientGrantKind) view(_ context.Context, _ *session, _ v1.Resource, raw, _ fields) (*found, error) {
	return &found{id: text(raw["id"]), live: clientGrantView(raw), raw: raw}, nil
}

func (clientGrantKind) export(s *session, raw fields) (name, skip string) {
	name = text(raw["client_id"]) + " for " + text(raw["audience"])
	switch {
	case raw["client_id"] == s.ClientID():
		return name, "it is the grant by which Tenon calls"
	case text(raw["client_id"]) == "":
		return name, "it is a default for all clients of a group, which is not managed"
	}
	return name, ""
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

func (clientGrantKind) immutable() []string { return []string{"client", "audience", "subject_type"} }
func (clientGrantKind) expendable() bool    { return true }

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
