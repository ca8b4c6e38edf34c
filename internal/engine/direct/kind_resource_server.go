package direct

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
)

type resourceServerKind struct{ answered }

func (resourceServerKind) rank() int { return 1 }

func (resourceServerKind) scopes() []string {
	return []string{"create:resource_servers", "read:resource_servers", "update:resource_servers", "delete:resource_servers"}
}

func (resourceServerKind) predict(r v1.Resource) engine.Outputs {
	spec, ok := r.Spec.(*v1.Auth0ResourceServerSpec)
	if !ok {
		return nil
	}
	out := engine.Outputs{"identifier": spec.Identifier, "name": r.Metadata.Name}
	if spec.Name != nil {
		out["name"] = *spec.Name
	}
	return out
}

func (resourceServerKind) want(_ context.Context, _ *session, r v1.Resource, _ resolver) (fields, error) {
	spec, err := specOf[*v1.Auth0ResourceServerSpec](r)
	if err != nil {
		return nil, err
	}
	want, err := toFields(spec)
	if err != nil {
		return nil, err
	}
	setDefault(want, "name", r.Metadata.Name)
	dropEmpty(want, "signing_alg", "token_dialect")
	// Manifests of other tools write 0 for "not set".
	for _, key := range []string{"token_lifetime", "token_lifetime_for_web"} {
		if want[key] == 0.0 {
			delete(want, key)
		}
	}
	sortSets(want, "scopes")
	return want, nil
}

func resourceServerView(raw fields) fields {
	view := object(clone(raw))
	delete(view, "signing_secret")
	scopes := []any{}
	for _, x := range list(raw["scopes"]) {
		scope := fields{"name": object(x)["value"]}
		if d := text(object(x)["description"]); d != "" {
			scope["description"] = d
		}
		scopes = append(scopes, scope)
	}
	view["scopes"] = scopes
	setDefault(view, "enforce_policies", false)
	setDefault(view, "token_dialect", "access_token")
	sortSets(view, "scopes")
	return view
}

func resourceServerBody(want fields, keys []string) fields {
	body := fields{}
	for _, key := range keys {
		if key != "scopes" {
			body[key] = want[key]
			continue
		}
		scopes := []any{}
		for _, x := range list(want["scopes"]) {
			scope := fields{"value": object(x)["name"]}
			if d := text(object(x)["description"]); d != "" {
				scope["description"] = d
			}
			scopes = append(scopes, scope)
		}
		body["scopes"] = scopes
	}
	return body
}

func (resourceServerKind) template() fields { return templateOf(&v1.Auth0ResourceServerSpec{}) }

func (resourceServerKind) every(ctx context.Context, s *session) ([]fields, error) {
	t, err := s.apis(ctx)
	if err != nil {
		return nil, err
	}
	return t.rows, nil
}

// apis reads the list. Auth0 pages through no more than 1000 of them and has no
// other way to list; what lies beyond is asked for by identifier, ten at a time.
func (s *session) apis(ctx context.Context) (*table, error) {
	return s.once("APIs", func() (*table, error) { return s.readAPIs(ctx) })
}

func (s *session) readAPIs(ctx context.Context) (*table, error) {
	rows, err := s.list(ctx, auth0.Request{Operation: "list APIs", Path: []string{"resource-servers"}}, auth0.Offset, "resource_servers")
	if err != nil && (auth0.ClassOf(err) != auth0.Invalid || len(rows) < 1000) {
		return nil, err
	}
	if err != nil {
		t := &table{rows: rows}
		var beyond []string
		for _, r := range s.resources {
			if spec, ok := r.Spec.(*v1.Auth0ResourceServerSpec); ok && len(t.by("identifier", spec.Identifier)) == 0 {
				beyond = append(beyond, spec.Identifier)
			}
		}
		for batch := range slices.Chunk(beyond, 10) {
			var more []fields
			err := s.Do(ctx, auth0.Request{Operation: "list APIs by identifier", Method: http.MethodGet, Path: []string{"resource-servers"}, Query: url.Values{"identifiers": batch}}, &more)
			if err != nil {
				return nil, err
			}
			for _, row := range more {
				if slices.Contains(batch, text(row["identifier"])) {
					rows = append(rows, row)
				}
			}
		}
	}
	return &table{rows: rows, partial: err != nil}, nil
}

func (k resourceServerKind) read(ctx context.Context, s *session, id string) (fields, error) {
	if !s.bulk(v1.KindResourceServer) {
		return s.byID(ctx, "read API", nil, "resource-servers", id)
	}
	t, err := s.apis(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := one("API "+id, t.by("id", id), nil)
	if raw == nil && err == nil && t.partial {
		return s.byID(ctx, "read API", nil, "resource-servers", id)
	}
	return raw, err
}

func (k resourceServerKind) search(ctx context.Context, s *session, _ v1.Resource, want fields) (fields, error) {
	identifier := text(want["identifier"])
	if s.bulk(v1.KindResourceServer) {
		t, err := s.apis(ctx)
		if err != nil {
			return nil, err
		}
		raw, err := one("API "+identifier, t.by("identifier", identifier), nil)
		if raw != nil || err != nil || !t.partial {
			return raw, err
		}
	}
	raw, err := s.byID(ctx, "read API", nil, "resource-servers", identifier)
	if raw["identifier"] != identifier {
		// The path takes ids too: an identifier that looks like one must not find
		// another API.
		return nil, err
	}
	return raw, err
}

func (resourceServerKind) view(_ context.Context, _ *session, _ v1.Resource, raw, _ fields) (*found, error) {
	if raw["is_system"] == true {
		return nil, &auth0.Error{Class: auth0.Invalid, Operation: "find API", Message: text(raw["identifier"]) + " is Auth0's own and cannot be managed"}
	}
	delete(raw, "signing_secret")
	return &found{id: text(raw["id"]), live: resourceServerView(raw), raw: raw}, nil
}

func (resourceServerKind) export(_ *session, raw fields) (name, skip string) {
	if raw["is_system"] == true {
		return text(raw["identifier"]), "it is Auth0's own"
	}
	return text(raw["name"]), ""
}

func (resourceServerKind) create(ctx context.Context, s *session, _ v1.Resource, want fields, _ string) (*found, error) {
	keys := make([]string, 0, len(want))
	for key := range want {
		// token_lifetime_for_web is accepted by the update only.
		if key != "token_lifetime_for_web" {
			keys = append(keys, key)
		}
	}
	raw, err := s.send(ctx, "create API", http.MethodPost, resourceServerBody(want, keys), "resource-servers")
	if err != nil {
		return nil, err
	}
	return resourceServerKind{}.view(ctx, s, v1.Resource{}, raw, want)
}

func (resourceServerKind) converge(ctx context.Context, s *session, _ v1.Resource, live *found, want fields) error {
	body := resourceServerBody(want, changedKeys(live.live, want))
	if len(body) == 0 {
		return nil
	}
	if lifetime, ok := body["token_lifetime"].(float64); ok && body["token_lifetime_for_web"] == nil {
		// Auth0 refuses a lifetime below the one for browsers; the smaller bound goes along.
		if web, ok := live.live["token_lifetime_for_web"].(float64); ok && web > lifetime {
			body["token_lifetime_for_web"] = lifetime
		}
	}
	_, err := s.send(ctx, "update API", http.MethodPatch, body, "resource-servers", live.id)
	return err
}

func (resourceServerKind) remove(ctx context.Context, s *session, _ v1.Resource, live *found) error {
	_, err := s.send(ctx, "delete API", http.MethodDelete, nil, "resource-servers", live.id)
	return gone(err)
}

func (resourceServerKind) report(_ *session, _ v1.Resource, live *found) engine.Outputs {
	out := engine.Outputs{"id": live.id, "is_system": "false"}
	for _, key := range []string{"identifier", "name", "signing_alg", "token_dialect", "client_id"} {
		if v := text(live.live[key]); v != "" {
			out[key] = v
		}
	}
	for _, key := range []string{"token_lifetime", "token_lifetime_for_web"} {
		if n, ok := live.live[key].(float64); ok {
			out[key] = strconv.Itoa(int(n))
		}
	}
	for _, key := range []string{"allow_offline_access", "skip_consent_for_verifiable_first_party_clients", "enforce_policies"} {
		out[key] = strconv.FormatBool(live.live[key] == true)
	}
	return out
}

// identity: what create sends and nobody else is likely to have sent alike.
func (resourceServerKind) identity() []string {
	return []string{"identifier", "name", "signing_alg", "enforce_policies", "token_dialect", "scopes", "token_lifetime"}
}

func (resourceServerKind) immutable() []string { return []string{"identifier"} }

func (resourceServerKind) perishable() []string {
	return []string{"id", "signing_secret", "permissions that roles and users have of it"}
}

// calls: the lifetime for browsers takes an update of its own.
func (k resourceServerKind) calls(step engine.Step) int {
	n := answered{}.calls(step)
	if spec, ok := step.Resource.Spec.(*v1.Auth0ResourceServerSpec); ok && spec.TokenLifetimeForWeb != nil && (step.Action == engine.Create || step.Action == engine.Replace) {
		n += 2
	}
	return n
}

func (resourceServerKind) unset(path string, want any) (any, bool) {
	if path == "token_dialect" {
		return "access_token", true
	}
	return base{}.unset(path, want)
}

func (resourceServerKind) widens(c engine.Change) bool {
	switch c.Path {
	case "enforce_policies":
		return c.Before == true && c.After == false
	case "allow_offline_access", "skip_consent_for_verifiable_first_party_clients":
		return c.Before == false && c.After == true
	case "signing_alg":
		return c.Before != nil && c.After == "HS256"
	case "token_lifetime", "token_lifetime_for_web":
		before, ok1 := c.Before.(float64)
		after, ok2 := c.After.(float64)
		return ok1 && ok2 && after > before
	}
	return false
}
