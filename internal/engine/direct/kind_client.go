package direct

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

// clientKind is applications. Auth0 lets many have the same name, so an object
// counts as ours only if its metadata says so; an unmarked one is adopted, and
// the plan shows it, if its name is the only one of its kind.
type clientKind struct{ answered }

func (clientKind) rank() int { return 4 }

func (clientKind) scopes() []string {
	return []string{"create:clients", "read:clients", "update:clients", "delete:clients", "read:client_keys", "update:client_keys",
		// For enabled_connections.
		"read:connections", "update:connections"}
}

func (clientKind) predict(r v1.Resource) engine.Outputs {
	out := engine.Outputs{"name": r.Metadata.Name}
	if spec, ok := r.Spec.(*v1.Auth0ClientSpec); ok {
		out["application_type"] = spec.ApplicationType
	}
	return out
}

func (clientKind) needs(r v1.Resource) []need {
	var needs []need
	if spec, ok := r.Spec.(*v1.Auth0ClientSpec); ok {
		for _, c := range spec.EnabledConnections {
			if c.ValueFrom == nil {
				needs = append(needs, need{v1.KindConnection, c.Value})
			}
		}
	}
	return needs
}

// secretStored is a field of our own in the trees: whether the secret store holds
// the client's secret. The secret itself is in no tree.
const secretStored = "client_secret_stored"

func (clientKind) want(_ context.Context, _ *session, r v1.Resource, resolve resolver) (fields, error) {
	spec, err := specOf[*v1.Auth0ClientSpec](r)
	if err != nil {
		return nil, err
	}
	want, err := toFields(spec)
	if err != nil {
		return nil, err
	}
	delete(want, "api_grants") // steps of their own
	delete(want, "enabled_connections")
	if len(spec.EnabledConnections) > 0 {
		enabled := fields{}
		for i, c := range spec.EnabledConnections {
			name, err := resolve(fmt.Sprintf("spec.enabled_connections[%d]", i), c, v1.KindConnection, "name")
			if err != nil {
				return nil, err
			}
			enabled[name] = true
		}
		want["enabled_connections"] = enabled
	}
	dropEmpty(want, "organization_usage", "organization_require_behavior")
	if j := object(want["jwt_configuration"]); j != nil {
		dropEmpty(j, "alg")
	}
	if t := object(want["refresh_token"]); t != nil {
		dropEmpty(t, "rotation_type", "expiration_type")
	}
	if confidential(spec) {
		want[secretStored] = true
	}
	want["name"] = r.Metadata.Name
	sortClient(want)
	return want, nil
}

// confidential says whether the application authenticates with a secret
// (RFC 6749 section 2.1).
func confidential(spec *v1.Auth0ClientSpec) bool {
	if m := spec.TokenEndpointAuthMethod; m != nil {
		return *m != "none"
	}
	return spec.ApplicationType == "regular_web" || spec.ApplicationType == "non_interactive"
}

// sortClient leaves callbacks alone: the first is the default.
func sortClient(f fields) {
	sortSets(f, "grant_types", "allowed_logout_urls", "web_origins", "allowed_origins", "client_aliases",
		"oidc_backchannel_logout.backchannel_logout_urls", "mobile.android.sha256_cert_fingerprints")
}

func clientView(raw fields) fields {
	view := object(clone(raw))
	view["application_type"] = view["app_type"]
	delete(view, "app_type")
	if logout := view["oidc_logout"]; view["oidc_backchannel_logout"] == nil && logout != nil {
		view["oidc_backchannel_logout"] = logout
	}
	setDefault(view, "require_pushed_authorization_requests", false)
	sortClient(view)
	return view
}

// clientSecrets are fields of answers that are not kept beyond the call that
// read them.
var clientSecrets = []string{"client_secret", "signing_keys", "encryption_key"}

// withoutSecrets asks Auth0 to leave them out of the answer.
func withoutSecrets() url.Values {
	return url.Values{"fields": {strings.Join(clientSecrets, ",")}, "include_fields": {"false"}}
}

// template has the object's own fields; grants are objects of their own.
func (clientKind) template() fields {
	t := templateOf(&v1.Auth0ClientSpec{})
	delete(t, "api_grants")
	t["name"] = true
	return t
}

func (clientKind) clients(ctx context.Context, s *session) (*table, error) {
	query := withoutSecrets()
	query.Set("is_global", "false")
	return s.all(ctx, auth0.Request{Operation: "list clients", Path: []string{"clients"}, Query: query}, auth0.Checkpoint, "clients")
}

func (k clientKind) every(ctx context.Context, s *session) ([]fields, error) {
	t, err := k.clients(ctx, s)
	if err != nil {
		return nil, err
	}
	return t.rows, nil
}

func (k clientKind) read(ctx context.Context, s *session, id string) (fields, error) {
	if !s.bulk(v1.KindClient) {
		return s.byID(ctx, "read client", withoutSecrets(), "clients", id)
	}
	t, err := k.clients(ctx, s)
	if err != nil {
		return nil, err
	}
	return one("client "+id, t.by("client_id", id), nil)
}

// search prefers the client that is marked with the resource's name: Auth0 lets
// many have the same name, and has no filter for it.
func (k clientKind) search(ctx context.Context, s *session, r v1.Resource, _ fields) (fields, error) {
	name := r.Metadata.Name
	t, err := k.clients(ctx, s)
	if err != nil {
		return nil, err
	}
	raw, err := one("client "+name, t.by("name", name), func(c fields) bool { return marked(c, name) })
	if raw == nil && err == nil {
		raw, err = one("client "+name, t.by("name", name), nil)
	}
	return raw, err
}

func marked(client fields, name string) bool {
	return object(client["client_metadata"])[engine.MarkName] == name
}

// view completes a client that was read by what its own document does not hold.
func (clientKind) view(ctx context.Context, s *session, r v1.Resource, raw, want fields) (*found, error) {
	for _, name := range clientSecrets {
		delete(raw, name)
	}
	id := text(raw["client_id"])
	live := clientView(raw)
	delete(live, "enabled_connections")
	if want["enabled_connections"] != nil {
		enabled, err := s.connectionsOf(ctx, id, want["enabled_connections"])
		if err != nil {
			return nil, err
		}
		live["enabled_connections"] = enabled
	}
	if want[secretStored] != nil {
		_, err := s.cfg.Secrets.Get(ctx, s.secretRef(r))
		if err != nil && !errors.Is(err, secret.ErrNotFound) {
			return nil, fmt.Errorf("look up the client secret of %s: %w", r.Metadata.Name, err)
		}
		live[secretStored] = err == nil
	}
	return &found{id: id, live: live, raw: raw, run: text(object(raw["client_metadata"])[engine.MarkRun]), adopt: !marked(raw, r.Metadata.Name)}, nil
}

// connectionsOf says which connections are switched on for a client: all of them,
// or those that are wanted, each true or false. For one client that is a call; for
// many it is cheaper to read the clients of each connection, 1000 a call.
func (s *session) connectionsOf(ctx context.Context, id string, want any) (fields, error) {
	enabled := fields{}
	wanted, some := want.(fields)
	if !some && s.bulk(v1.KindClient) {
		t, err := connectionKind{}.connections(ctx, s, nil)
		if err != nil {
			return nil, err
		}
		if len(t.rows) < s.wanted[v1.KindClient] {
			for _, c := range t.rows {
				clients, err := s.enabledClients(ctx, text(c["id"]))
				if err != nil {
					return nil, err
				}
				if len(clients.by("client_id", id)) > 0 {
					enabled[text(c["name"])] = true
				}
			}
			return enabled, nil
		}
	}
	if !some || !s.bulk(v1.KindClient) {
		t, err := s.all(ctx, auth0.Request{Operation: "list connections of client", Path: []string{"clients", id, "connections"},
			Query: url.Values{"fields": {"id,name"}, "include_fields": {"true"}}}, auth0.Checkpoint, "connections")
		if err != nil {
			return nil, err
		}
		for _, c := range t.rows {
			enabled[text(c["name"])] = true
		}
		if !some {
			return enabled, nil
		}
	}
	out := fields{}
	for name := range wanted {
		out[name] = enabled[name] == true
		if !s.bulk(v1.KindClient) || unknown(name) {
			continue
		}
		connection, err := s.connection(ctx, name)
		if err != nil {
			return nil, err
		}
		if connection == nil {
			continue
		}
		clients, err := s.enabledClients(ctx, text(connection["id"]))
		if err != nil {
			return nil, err
		}
		out[name] = len(clients.by("client_id", id)) > 0
	}
	return out, nil
}

func (clientKind) export(s *session, raw fields) (name, skip string) {
	name = text(raw["name"])
	switch {
	case raw["global"] == true:
		return name, "it is Auth0's own global client"
	case raw["client_id"] == s.ClientID():
		return name, "it is the client by which Tenon calls"
	}
	return name, ""
}

func (s *session) secretRef(r v1.Resource) secret.Ref {
	return s.cfg.SecretRef(s.Domain(), engine.KeyOf(r), "client_secret")
}

// clientBody is what to send for the given fields of want. Objects are replaced
// as a whole, so what the live one has besides is sent along, except for
// metadata, which Auth0 merges.
func clientBody(live, want fields, keys []string) fields {
	body := fields{}
	for _, key := range keys {
		switch key {
		case "enabled_connections", secretStored:
		case "application_type":
			body["app_type"] = want[key]
		case "client_metadata":
			body[key] = clone(want[key])
		default:
			body[key] = merge(live[key], want[key])
		}
	}
	return body
}

func (k clientKind) create(ctx context.Context, s *session, r v1.Resource, want fields, run string) (*found, error) {
	keys := make([]string, 0, len(want))
	for key := range want {
		keys = append(keys, key)
	}
	body := clientBody(nil, want, keys)
	body["name"] = r.Metadata.Name
	body["client_metadata"] = merge(object(want["client_metadata"]), fields{engine.MarkName: r.Metadata.Name, engine.MarkRun: run})
	raw, err := s.send(ctx, "create client", http.MethodPost, body, "clients")
	if err != nil {
		return nil, err
	}
	if value := text(raw["client_secret"]); value != "" && want[secretStored] != nil {
		// Before anything else, and before the answer is looked at any further: this is
		// the one moment at which the secret is at hand for sure.
		if err := s.cfg.Secrets.Put(ctx, s.secretRef(r), secret.New(value)); err != nil {
			return nil, fmt.Errorf("store the client secret of %s: %w", r.Metadata.Name, err)
		}
	}
	// No connection is switched on for a client that has just been made.
	enabled := want["enabled_connections"]
	f, err := k.view(ctx, s, r, raw, without(want, "enabled_connections"))
	if err == nil && enabled != nil {
		off := fields{}
		for name := range object(enabled) {
			off[name] = false
		}
		f.live["enabled_connections"] = off
	}
	return f, err
}

// without is a tree less one of its keys.
func without(f fields, key string) fields {
	out := maps.Clone(f)
	delete(out, key)
	return out
}

func (k clientKind) converge(ctx context.Context, s *session, r v1.Resource, live *found, want fields) error {
	body := clientBody(live.live, want, changedKeys(live.live, want))
	if live.adopt {
		body["client_metadata"] = merge(object(body["client_metadata"]), fields{engine.MarkName: r.Metadata.Name})
	}
	if len(body) > 0 {
		if _, err := s.send(ctx, "update client", http.MethodPatch, body, "clients", live.id); err != nil {
			return err
		}
	}
	if want[secretStored] == true && live.live[secretStored] != true {
		if err := k.keepSecret(ctx, s, r, live); err != nil {
			return err
		}
	}
	wanted, now := object(want["enabled_connections"]), object(live.live["enabled_connections"])
	for _, name := range changedKeys(now, wanted) {
		connection, err := s.connection(ctx, name)
		if err != nil {
			return err
		}
		if connection == nil {
			if wanted[name] == false {
				continue
			}
			return &auth0.Error{Class: auth0.NotFound, Operation: "enable connection", Message: fmt.Sprintf("there is no connection %q", name)}
		}
		if err := s.setEnabledClients(ctx, text(connection["id"]), []any{live.id}, wanted[name] == true); err != nil {
			return err
		}
	}
	return nil
}

// keepSecret puts the secret of an existing client into the store. It is read if
// our scopes allow it. If they do not, it is rotated, but only for a client that
// Tenon created: the secret of an adopted one is in use elsewhere.
func (clientKind) keepSecret(ctx context.Context, s *session, r v1.Resource, live *found) error {
	raw, err := s.get(ctx, "read client secret", url.Values{"fields": {"client_id,client_secret"}, "include_fields": {"true"}}, "clients", live.id)
	if err != nil {
		return err
	}
	value := text(raw["client_secret"])
	if value == "" && live.run != "" {
		raw, err = s.send(ctx, "rotate client secret", http.MethodPost, nil, "clients", live.id, "rotate-secret")
		if err != nil {
			return err
		}
		value = text(raw["client_secret"])
	}
	if value == "" {
		return &auth0.Error{Class: auth0.Scope, Operation: "read client secret",
			Message: "the tenant does not show the secret of " + r.Metadata.Name + "; grant read:client_keys, or put the secret into the store"}
	}
	if err := s.cfg.Secrets.Put(ctx, s.secretRef(r), secret.New(value)); err != nil {
		return fmt.Errorf("store the client secret of %s: %w", r.Metadata.Name, err)
	}
	return nil
}

func (clientKind) remove(ctx context.Context, s *session, r v1.Resource, live *found) error {
	if _, err := s.send(ctx, "delete client", http.MethodDelete, nil, "clients", live.id); gone(err) != nil {
		return err
	}
	if spec, ok := r.Spec.(*v1.Auth0ClientSpec); ok && confidential(spec) {
		if err := s.cfg.Secrets.Delete(ctx, s.secretRef(r)); err != nil {
			return fmt.Errorf("remove the client secret of %s: %w", r.Metadata.Name, err)
		}
	}
	return nil
}

func (clientKind) report(s *session, r v1.Resource, live *found) engine.Outputs {
	out := engine.Outputs{"id": live.id, "client_id": live.id, "name": text(live.raw["name"]), "application_type": text(live.raw["app_type"])}
	if m := text(live.raw["token_endpoint_auth_method"]); m != "" {
		out["token_endpoint_auth_method"] = m
	}
	if spec, ok := r.Spec.(*v1.Auth0ClientSpec); ok && confidential(spec) {
		out["client_secret"] = string(s.secretRef(r))
	}
	return out
}

func (clientKind) marks() bool { return true }

func (clientKind) perishable() []string {
	return []string{"client_id", "client_secret", "signing_keys", "grants and organizations that are not managed"}
}

// calls: what connections are enabled is read before and after, and written one by
// one.
func (k clientKind) calls(step engine.Step) int {
	n := answered{}.calls(step)
	spec, ok := step.Resource.Spec.(*v1.Auth0ClientSpec)
	if !ok || n == 0 || len(spec.EnabledConnections) == 0 {
		return n
	}
	switch step.Action {
	case engine.Create, engine.Replace:
		n += 2 + 2*len(spec.EnabledConnections)
	case engine.Update, engine.Adopt:
		n += 2
		for _, c := range step.Changes {
			if strings.HasPrefix(c.Path, "enabled_connections.") {
				n += 2
			}
		}
	}
	return n
}

func (clientKind) unset(path string, want any) (any, bool) {
	switch {
	case strings.HasPrefix(path, "client_metadata."), path == "token_endpoint_auth_method", path == "organization_usage",
		path == "organization_require_behavior", path == "cross_origin_loc", strings.HasPrefix(path, "native_social_login"):
		return nil, true
	case path == "description", path == "logo_uri", path == "initiate_login_uri":
		return "", true
	}
	return base{}.unset(path, want)
}

func (clientKind) widens(c engine.Change) bool {
	switch c.Path {
	case "callbacks", "web_origins", "allowed_origins", "allowed_logout_urls", "grant_types":
		return c.Before != nil && len(added(c.Before, c.After)) > 0
	case "is_first_party", "cross_origin_authentication", "is_token_endpoint_ip_header_trusted":
		return c.Before == false && c.After == true
	case "oidc_conformant", "require_pushed_authorization_requests":
		return c.Before == true && c.After == false
	case "refresh_token.rotation_type":
		return c.Before == "rotating"
	case "refresh_token.expiration_type":
		return c.Before == "expiring"
	}
	return strings.HasPrefix(c.Path, "enabled_connections.") && c.After == true
}
