package direct

import (
	"context"
	"net/http"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

// eventStreamKind is event streams, whose name is unique in a tenant. Auth0 shows
// no secret of a webhook, and cannot change a destination of EventBridge.
type eventStreamKind struct{ base }

func (eventStreamKind) rank() int { return 8 }

func (eventStreamKind) scopes() []string {
	return []string{"create:event_streams", "read:event_streams", "update:event_streams", "delete:event_streams"}
}

func (eventStreamKind) predict(r v1.Resource) engine.Outputs {
	out := engine.Outputs{"name": r.Metadata.Name}
	if spec, ok := r.Spec.(*v1.Auth0EventStreamSpec); ok {
		out["destination_type"], out["subscriptions"] = spec.DestinationType, strings.Join(spec.Subscriptions, ",")
	}
	return out
}

func (eventStreamKind) template() fields {
	t := templateOf(&v1.Auth0EventStreamSpec{})
	t["name"] = true
	return t
}

const (
	webhookToken    = "webhook_configuration.webhook_authorization.token"
	webhookPassword = "webhook_configuration.webhook_authorization.password"
)

func (eventStreamKind) secrets(r v1.Resource) map[string]secret.Ref {
	spec, ok := r.Spec.(*v1.Auth0EventStreamSpec)
	if !ok || spec.WebhookConfiguration == nil || spec.WebhookConfiguration.WebhookAuthorization == nil {
		return nil
	}
	a := spec.WebhookConfiguration.WebhookAuthorization
	switch {
	case a.Method == "bearer" && a.Token != nil:
		return map[string]secret.Ref{webhookToken: secret.Ref(*a.Token)}
	case a.Method == "basic" && a.Password != nil:
		return map[string]secret.Ref{webhookPassword: secret.Ref(*a.Password)}
	}
	return nil
}

// want leaves out the configuration of the destination that is not meant.
func (k eventStreamKind) want(_ context.Context, _ *session, r v1.Resource, _ resolver) (fields, error) {
	spec, err := specOf[*v1.Auth0EventStreamSpec](r)
	if err != nil {
		return nil, err
	}
	want, err := toFields(spec)
	if err != nil {
		return nil, err
	}
	want["name"] = r.Metadata.Name
	for destination, key := range map[string]string{"webhook": "eventbridge_configuration", "eventbridge": "webhook_configuration"} {
		if spec.DestinationType == destination {
			delete(want, key)
		}
	}
	if a := object(object(want["webhook_configuration"])["webhook_authorization"]); a != nil {
		for _, key := range []string{"token", "password"} {
			delete(a, key)
		}
		if a["method"] == "bearer" {
			delete(a, "username")
		}
		for path := range k.secrets(r) {
			a[path[strings.LastIndexByte(path, '.')+1:]] = theSecret
		}
	}
	dedupe(want, "subscriptions")
	return want, nil
}

// dedupe sorts a list and drops what repeats.
func dedupe(f fields, key string) {
	l, ok := f[key].([]any)
	if !ok {
		return
	}
	seen := map[string]bool{}
	out := []any{}
	for _, x := range l {
		if c := canonical(x); !seen[c] {
			seen[c] = true
			out = append(out, x)
		}
	}
	f[key] = sortSet(out)
}

func (k eventStreamKind) every(ctx context.Context, s *session) ([]fields, error) {
	t, err := k.streams(ctx, s)
	if err != nil {
		return nil, err
	}
	return t.rows, nil
}

func (eventStreamKind) streams(ctx context.Context, s *session) (*table, error) {
	return s.all(ctx, auth0.Request{Operation: "list event streams", Path: []string{"event-streams"}}, auth0.Checkpoint, "eventStreams")
}

func (k eventStreamKind) read(ctx context.Context, s *session, id string) (fields, error) {
	if !s.bulk(v1.KindEventStream) {
		return s.byID(ctx, "read event stream", nil, "event-streams", id)
	}
	t, err := k.streams(ctx, s)
	if err != nil {
		return nil, err
	}
	return one("event stream "+id, t.by("id", id), nil)
}

// search reads the list: it has no filter, and a tenant has few streams.
func (k eventStreamKind) search(ctx context.Context, s *session, r v1.Resource, _ fields) (fields, error) {
	t, err := k.streams(ctx, s)
	if err != nil {
		return nil, err
	}
	return one("event stream "+r.Metadata.Name, t.by("name", r.Metadata.Name), nil)
}

func (k eventStreamKind) view(ctx context.Context, s *session, r v1.Resource, raw, _ fields) (*found, error) {
	destination := object(raw["destination"])
	configuration := object(destination["configuration"])
	live := fields{"name": raw["name"], "destination_type": destination["type"]}
	subscriptions := []any{}
	for _, x := range list(raw["subscriptions"]) {
		subscriptions = append(subscriptions, object(x)["event_type"])
	}
	live["subscriptions"] = sortSet(subscriptions)
	switch destination["type"] {
	case "eventbridge":
		live["eventbridge_configuration"] = fields{"aws_account_id": configuration["aws_account_id"], "aws_region": configuration["aws_region"]}
	case "webhook":
		shown := object(configuration["webhook_authorization"])
		authorization := fields{"method": shown["method"]}
		if shown["method"] == "basic" {
			authorization["username"] = shown["username"]
		}
		for path, method := range map[string]string{webhookToken: "bearer", webhookPassword: "basic"} {
			value, err := s.shown(ctx, k, r, path, "", shown["method"] == method)
			if err != nil {
				return nil, err
			}
			if value != nil {
				authorization[path[strings.LastIndexByte(path, '.')+1:]] = value
			}
		}
		live["webhook_configuration"] = fields{"webhook_endpoint": configuration["webhook_endpoint"], "webhook_authorization": authorization}
	}
	return &found{id: text(raw["id"]), live: live, raw: raw}, nil
}

// body is what to send for the given fields. A destination is written as a whole,
// secret included.
func (k eventStreamKind) body(ctx context.Context, s *session, r v1.Resource, live, want fields, keys []string) (fields, []secret.Value, error) {
	body := fields{}
	var secrets []secret.Value
	for _, key := range keys {
		switch key {
		case "name":
			body["name"] = want["name"]
		case "subscriptions":
			subscriptions := []any{}
			for _, x := range list(want["subscriptions"]) {
				subscriptions = append(subscriptions, fields{"event_type": x})
			}
			body["subscriptions"] = subscriptions
		case "eventbridge_configuration":
			body["destination"] = fields{"type": "eventbridge", "configuration": clone(want[key])}
		case "webhook_configuration":
			configuration := object(clone(want[key]))
			if configuration["webhook_endpoint"] == nil {
				configuration["webhook_endpoint"] = object(live[key])["webhook_endpoint"]
			}
			authorization := object(configuration["webhook_authorization"])
			name, path := "token", webhookToken
			if authorization["method"] == "basic" {
				name, path = "password", webhookPassword
			}
			value, err := s.secretValue(ctx, k, r, path)
			if err != nil {
				return nil, nil, err
			}
			sent := fields{"method": authorization["method"], name: value.Reveal()}
			if name == "password" {
				sent["username"] = authorization["username"]
			}
			configuration["webhook_authorization"], secrets = sent, append(secrets, value)
			body["destination"] = fields{"type": "webhook", "configuration": configuration}
		}
	}
	return body, secrets, nil
}

func (k eventStreamKind) create(ctx context.Context, s *session, r v1.Resource, want fields, _ string) (*found, error) {
	keys := make([]string, 0, len(want))
	for key, v := range want {
		if v != nil {
			keys = append(keys, key)
		}
	}
	body, secrets, err := k.body(ctx, s, r, nil, want, keys)
	if err != nil {
		return nil, err
	}
	var raw fields
	if err := s.Do(ctx, auth0.Request{Operation: "create event stream", Method: http.MethodPost, Path: []string{"event-streams"}, Body: body, Secrets: secrets}, &raw); err != nil {
		return nil, err
	}
	s.forget()
	return k.view(ctx, s, r, raw, want)
}

func (k eventStreamKind) converge(ctx context.Context, s *session, r v1.Resource, live *found, want fields) error {
	body, secrets, err := k.body(ctx, s, r, live.live, want, changedKeys(live.live, want))
	if err != nil || len(body) == 0 {
		return err
	}
	err = s.Do(ctx, auth0.Request{Operation: "update event stream", Method: http.MethodPatch, Path: []string{"event-streams", live.id}, Body: body, Secrets: secrets}, nil)
	s.forget()
	return err
}

func (eventStreamKind) remove(ctx context.Context, s *session, _ v1.Resource, live *found) error {
	_, err := s.send(ctx, "delete event stream", http.MethodDelete, nil, "event-streams", live.id)
	return gone(err)
}

func (eventStreamKind) report(_ *session, _ v1.Resource, live *found) engine.Outputs {
	out := engine.Outputs{"id": live.id, "name": text(live.raw["name"]), "status": text(live.raw["status"]),
		"destination_type": text(live.live["destination_type"]), "subscriptions": strings.Join(strs(live.live["subscriptions"]), ","),
		"created_at": text(live.raw["created_at"]), "updated_at": text(live.raw["updated_at"])}
	if source := text(object(object(live.raw["destination"])["configuration"])["aws_partner_event_source"]); source != "" {
		out["aws_partner_event_source"] = source
	}
	return out
}

func (eventStreamKind) export(_ *session, raw fields) (name, skip string) {
	switch kind := text(object(raw["destination"])["type"]); kind {
	case "webhook", "eventbridge":
		if text(object(object(object(raw["destination"])["configuration"])["webhook_authorization"])["method"]) == "custom_header" {
			return text(raw["name"]), "its webhook authenticates with a header of its own, which is not managed"
		}
		return text(raw["name"]), ""
	default:
		return text(raw["name"]), "destinations of type " + kind + " are not managed"
	}
}

func (eventStreamKind) identity() []string {
	return []string{"destination_type", "subscriptions", "eventbridge_configuration", "webhook_configuration"}
}

func (eventStreamKind) immutable() []string {
	return []string{"destination_type", "eventbridge_configuration"}
}

// expendable: what a stream holds besides its settings are failed deliveries, and
// of EventBridge the association in AWS, which the change means to give up.
func (eventStreamKind) expendable() bool { return true }

func (eventStreamKind) perishable() []string {
	return []string{"id", "deliveries", "aws_partner_event_source"}
}

func (eventStreamKind) unset(path string, want any) (any, bool) {
	if strings.HasPrefix(path, "webhook_configuration.webhook_authorization.") {
		return nil, true // it belongs to another method
	}
	return base{}.unset(path, want)
}

// keepAuthorization leaves the authorization that a step has written, and says so,
// if the one that was there before needs a secret that nobody knows.
func (k eventStreamKind) keepAuthorization(s *session, target, want fields) []string {
	const path = "webhook_configuration.webhook_authorization"
	configuration := object(target["webhook_configuration"])
	before, after := object(configuration["webhook_authorization"]), object(valueAt(want, path))
	if before == nil || before["method"] == after["method"] {
		return nil
	}
	need := webhookToken
	if before["method"] == "basic" {
		need = webhookPassword
	}
	if s.previousSecrets(k)[need] != "" {
		dropNil(before)
		return nil
	}
	configuration["webhook_authorization"] = clone(after)
	return []string{path}
}

// widens: events, which have personal data in them, go elsewhere or tell more.
func (eventStreamKind) widens(c engine.Change) bool {
	switch c.Path {
	case "subscriptions":
		return c.Before != nil && len(added(c.Before, c.After)) > 0
	case "webhook_configuration.webhook_endpoint", "eventbridge_configuration.aws_account_id":
		return c.Before != nil
	}
	return false
}
