package direct

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

type connectionKind struct{ base }

func (connectionKind) rank() int { return 3 }

func (connectionKind) scopes() []string {
	return []string{"create:connections", "read:connections", "update:connections", "delete:connections"}
}

func (connectionKind) predict(r v1.Resource) engine.Outputs {
	out := engine.Outputs{"name": r.Metadata.Name}
	if spec, ok := r.Spec.(*v1.Auth0ConnectionSpec); ok {
		out["strategy"] = spec.Strategy
	}
	return out
}

// template has all blocks of options; an object has the one of its strategy.
func (connectionKind) template() fields { return templateOf(&v1.Auth0ConnectionSpec{}) }

func (connectionKind) secrets(r v1.Resource) map[string]secret.Ref {
	spec, ok := r.Spec.(*v1.Auth0ConnectionSpec)
	if !ok {
		return nil
	}
	b := blockOf(spec.Strategy)
	refs := map[string]secret.Ref{}
	var ref v1.SecretRef
	switch {
	case b.name == "social_options" && spec.SocialOptions != nil:
		ref = spec.SocialOptions.ClientSecret
	case b.name == "oidc_options" && spec.OIDCOptions != nil && spec.OIDCOptions.ClientSecret != nil:
		ref = *spec.OIDCOptions.ClientSecret
	case b.name == "azure_ad_options" && spec.AzureADOptions != nil:
		ref = spec.AzureADOptions.ClientSecret
	}
	if ref != "" {
		refs[b.name+".client_secret"] = secret.Ref(ref)
	}
	return refs
}

func (k connectionKind) want(_ context.Context, _ *session, r v1.Resource, resolve resolver) (fields, error) {
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
	own := blockOf(spec.Strategy)
	for _, name := range []string{"database_options", "social_options", "saml_options", "oidc_options", "azure_ad_options"} {
		if name != own.name {
			delete(want, name) // those of another strategy mean nothing; validation warns
		}
	}
	if o := object(want[own.name]); o != nil {
		dropEmpty(o, "password_policy", "protocol_binding", "signature_algorithm", "digest_algorithm", "type")
		delete(o, "client_secret")
		if _, ok := k.secrets(r)[own.name+".client_secret"]; ok {
			o["client_secret"] = theSecret
		}
		if cert := text(o["signing_cert"]); cert != "" {
			o["signing_cert"] = certificate(cert)
		}
		sortSets(o, "scopes", "allowed_audiences")
	}
	sortSets(want, "enabled_clients", "realms")
	return want, nil
}

func (connectionKind) connections(ctx context.Context, s *session, query url.Values) (*table, error) {
	return s.all(ctx, auth0.Request{Operation: "list connections", Path: []string{"connections"}, Query: query}, auth0.Checkpoint, "connections")
}

func (k connectionKind) every(ctx context.Context, s *session) ([]fields, error) {
	t, err := k.connections(ctx, s, nil)
	if err != nil {
		return nil, err
	}
	return t.rows, nil
}

func (k connectionKind) read(ctx context.Context, s *session, id string) (fields, error) {
	if !s.bulk(v1.KindConnection) {
		return s.byID(ctx, "read connection", nil, "connections", id)
	}
	t, err := k.connections(ctx, s, nil)
	if err != nil {
		return nil, err
	}
	return one("connection "+id, t.by("id", id), nil)
}

func (connectionKind) search(ctx context.Context, s *session, r v1.Resource, _ fields) (fields, error) {
	return s.connection(ctx, r.Metadata.Name)
}

// view is a connection in the shape of the spec.
func (k connectionKind) view(ctx context.Context, s *session, r v1.Resource, raw, want fields) (*found, error) {
	id, strategy := text(raw["id"]), specStrategy(text(raw["strategy"]))
	live := object(clone(raw))
	live["strategy"] = strategy
	if b := blockOf(strategy); b.name != "" {
		options := object(live["options"])
		o := b.view(options)
		sortSets(o, "allowed_audiences")
		if b.secret != "" {
			value, err := s.shown(ctx, k, r, b.name+".client_secret", text(options[b.secret]), options[b.secret] != nil)
			if err != nil {
				return nil, err
			}
			o["client_secret"] = value
		}
		live[b.name] = o
	}
	delete(live, "options")
	// What a body calls enabled_clients is the deprecated list; the real one is read
	// from /connections/{id}/clients.
	delete(live, "enabled_clients")
	setDefault(live, "is_domain_connection", false)
	setDefault(live, "show_as_button", false)
	sortSets(live, "realms")
	if want["enabled_clients"] != nil {
		clients, err := s.enabledClients(ctx, id)
		if err != nil {
			return nil, err
		}
		ids := make([]any, 0, len(clients.rows))
		for _, c := range clients.rows {
			ids = append(ids, c["client_id"])
		}
		live["enabled_clients"] = ids
		sortSets(live, "enabled_clients")
	}
	shown := fields{"entity_id": object(raw["options"])["entityId"]}
	for _, key := range []string{"id", "name", "strategy", "realms", "provisioning_ticket_url"} {
		shown[key] = raw[key]
	}
	return &found{id: id, live: live, raw: shown, run: text(object(raw["metadata"])[engine.MarkRun])}, nil
}

// connection finds a connection by name, nil if there is none.
func (s *session) connection(ctx context.Context, name string) (fields, error) {
	var query url.Values
	if !s.bulk(v1.KindConnection) {
		query = url.Values{"name": {name}}
	}
	t, err := connectionKind{}.connections(ctx, s, query)
	if err != nil {
		return nil, err
	}
	return one("connection "+name, t.by("name", name), nil)
}

func (s *session) enabledClients(ctx context.Context, id string) (*table, error) {
	return s.all(ctx, auth0.Request{Operation: "list enabled clients", Path: []string{"connections", id, "clients"}}, auth0.Members, "clients")
}

func (connectionKind) export(_ *session, raw fields) (name, skip string) {
	strategy := text(raw["strategy"])
	if !slices.Contains(managedStrategies, specStrategy(strategy)) {
		return text(raw["name"]), "connections of strategy " + strategy + " are not managed"
	}
	if len(object(object(raw["options"])["configuration"])) > 0 || len(object(object(raw["options"])["customScripts"])) > 0 {
		return text(raw["name"]), "it has custom database scripts, which are not managed"
	}
	return text(raw["name"]), ""
}

// managedStrategies are those that the spec has, by its names.
var managedStrategies = []string{"auth0", "google-oauth2", "facebook", "github", "linkedin", "twitter", "microsoft-account", "apple", "samlp", "oidc", "waad", "ad", "adfs"}

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

// options is what to send of a block: what the connection has, ours laid over it,
// and the secret if it differs or if the whole block would lose it.
func (k connectionKind) options(ctx context.Context, s *session, r v1.Resource, b block, now, want fields, withSecret bool) (fields, []secret.Value, error) {
	out, err := b.lay(now, want)
	if err != nil {
		return nil, nil, &auth0.Error{Class: auth0.Invalid, Operation: "write connection", Message: err.Error(), Err: err}
	}
	if !withSecret {
		return out, nil, nil
	}
	value, err := s.secretValue(ctx, k, r, b.name+".client_secret")
	if err != nil {
		return nil, nil, err
	}
	out[b.secret] = value.Reveal()
	return out, []secret.Value{value}, nil
}

func (k connectionKind) create(ctx context.Context, s *session, r v1.Resource, want fields, run string) (*found, error) {
	body := object(clone(want))
	delete(body, "enabled_clients")
	b := blockOf(text(want["strategy"]))
	delete(body, b.name)
	if name, ok := strategyNames[text(want["strategy"])]; ok {
		body["strategy"] = name
	}
	body["name"] = r.Metadata.Name
	body["metadata"] = merge(object(want["metadata"]), fields{engine.MarkRun: run})
	var secrets []secret.Value
	if options := object(want[b.name]); len(options) > 0 {
		sent, values, err := k.options(ctx, s, r, b, nil, options, options["client_secret"] != nil)
		if err != nil {
			return nil, err
		}
		body["options"], secrets = sent, values
	}
	dropNil(body)
	var raw fields
	if err := s.Do(ctx, auth0.Request{Operation: "create connection", Method: http.MethodPost, Path: []string{"connections"}, Body: body, Secrets: secrets}, &raw); err != nil {
		return nil, err
	}
	s.forget()
	f, err := k.view(ctx, s, r, raw, nil)
	if err != nil {
		return nil, err
	}
	f.live["enabled_clients"], f.run = []any{}, run
	return f, nil
}

func (k connectionKind) converge(ctx context.Context, s *session, r v1.Resource, live *found, want fields) error {
	body := fields{}
	var secrets []secret.Value
	b := blockOf(text(live.live["strategy"]))
	for _, key := range changedKeys(live.live, want) {
		switch key {
		case "enabled_clients":
		case b.name:
			release := s.locks.acquire(s.Domain() + "/connection/" + live.id)
			defer release()
			// The whole object is replaced, so it is read as late as possible and what is
			// not ours goes back unchanged.
			now, err := s.get(ctx, "read connection", nil, "connections", live.id)
			if err != nil {
				return err
			}
			options, wanted := object(now["options"]), object(want[key])
			if len(object(options["configuration"])) > 0 {
				// Auth0 shows the secrets of custom database scripts encrypted, and would encrypt
				// what it showed once more.
				return &auth0.Error{Class: auth0.Conflict, Operation: "update connection",
					Message: "its options hold secrets of custom database scripts (configuration), which writing the options would destroy; change the options in the dashboard"}
			}
			// A tenant that does not show us the secret would lose it with the rest.
			withSecret := wanted["client_secret"] != nil && (object(live.live[key])["client_secret"] != theSecret || text(options[b.secret]) == "")
			if body["options"], secrets, err = k.options(ctx, s, r, b, options, wanted, withSecret); err != nil {
				return err
			}
		default:
			body[key] = want[key]
		}
	}
	if len(body) > 0 {
		if err := s.Do(ctx, auth0.Request{Operation: "update connection", Method: http.MethodPatch, Path: []string{"connections", live.id}, Body: body, Secrets: secrets}, nil); err != nil {
			return err
		}
		s.forget()
	}
	if want["enabled_clients"] == nil {
		return nil
	}
	have := live.live["enabled_clients"]
	// Taking away comes first, so that at no time both the old and the new may log in.
	if err := s.setEnabledClients(ctx, live.id, minus(have, want["enabled_clients"]), false); err != nil {
		return err
	}
	return s.setEnabledClients(ctx, live.id, minus(want["enabled_clients"], have), true)
}

func (connectionKind) remove(ctx context.Context, s *session, _ v1.Resource, live *found) error {
	_, err := s.send(ctx, "delete connection", http.MethodDelete, nil, "connections", live.id)
	return gone(err)
}

// report: which clients are enabled is known only where the resource lists them.
func (connectionKind) report(s *session, r v1.Resource, live *found) engine.Outputs {
	name := text(live.raw["name"])
	out := engine.Outputs{"id": live.id, "name": name, "strategy": text(live.live["strategy"]),
		"realms": strings.Join(strs(live.raw["realms"]), ","), "callback_url": "https://" + s.Domain() + "/login/callback"}
	if spec, ok := r.Spec.(*v1.Auth0ConnectionSpec); ok && spec.EnabledClients != nil {
		clients := live.live["enabled_clients"]
		out["enabled_client_ids"], out["is_enabled"] = strings.Join(strs(clients), ","), strconv.FormatBool(len(list(clients)) > 0)
	}
	if url := text(live.raw["provisioning_ticket_url"]); url != "" {
		out["provisioning_ticket_url"] = url
	}
	if live.live["strategy"] == "samlp" {
		out["metadata_url"] = "https://" + s.Domain() + "/samlp/metadata?connection=" + url.QueryEscape(name)
		if out["entity_id"] = text(live.raw["entity_id"]); out["entity_id"] == "" {
			tenant, _, _ := strings.Cut(s.Domain(), ".")
			out["entity_id"] = "urn:auth0:" + tenant + ":" + name
		}
	}
	return out
}

func (connectionKind) marks() bool           { return true }
func (connectionKind) collections() []string { return []string{"enabled_clients"} }

func (connectionKind) immutable() []string { return []string{"strategy"} }

func (connectionKind) perishable() []string {
	return []string{"id", "users", "organizations that use it"}
}

func (connectionKind) calls(step engine.Step) int {
	n := base{}.calls(step)
	if step.Action == engine.Update || step.Action == engine.Adopt {
		n++ // options are read once more
	}
	if spec, ok := step.Resource.Spec.(*v1.Auth0ConnectionSpec); ok && n > 0 && len(spec.EnabledClients) > 0 && step.Action != engine.Delete {
		n += 3 + (len(spec.EnabledClients)-1)/50
	}
	return n
}

func (connectionKind) unset(path string, want any) (any, bool) {
	switch {
	case strings.HasPrefix(path, "metadata."), path == "database_options.password_min_length":
		return nil, true
	case strings.Contains(path, "_options.") && !strings.HasPrefix(path, "database_options."):
		return nil, true // options are replaced as a whole: what is not sent is not there
	case path == "display_name":
		return "", true
	}
	return base{}.unset(path, want)
}

func (connectionKind) widens(c engine.Change) bool {
	switch c.Path {
	case "enabled_clients":
		return len(added(c.Before, c.After)) > 0
	case "is_domain_connection", "azure_ad_options.use_common_endpoint", "azure_ad_options.should_trust_email_verified", "azure_ad_options.api_enable_users":
		return c.Before != nil && c.After == true
	case "saml_options.signing_cert", "saml_options.sign_in_endpoint", "oidc_options.issuer", "oidc_options.jwks_uri", "azure_ad_options.domain", "azure_ad_options.tenant_id":
		return c.Before != nil // somebody else decides who a user is
	case "saml_options.sign_request":
		return c.Before == true && c.After == false
	case "social_options.allowed_audiences":
		return c.Before != nil && len(added(c.Before, c.After)) > 0
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
