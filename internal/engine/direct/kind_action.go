package direct

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

// actionKind is actions: create or update a draft, wait until Auth0 has built
// it, deploy it, bind it.
type actionKind struct{ base }

func (actionKind) rank() int { return 6 }

func (actionKind) scopes() []string {
	return []string{"create:actions", "read:actions", "update:actions", "delete:actions"}
}

func (actionKind) predict(r v1.Resource) engine.Outputs {
	return engine.Outputs{"name": r.Metadata.Name}
}

func (actionKind) want(_ context.Context, _ *session, r v1.Resource, _ resolver) (fields, error) {
	spec, err := specOf[*v1.Auth0ActionSpec](r)
	if err != nil {
		return nil, err
	}
	want, err := toFields(spec)
	if err != nil {
		return nil, err
	}
	dropEmpty(want, "runtime")
	want["name"] = r.Metadata.Name
	if spec.Deploy == nil || *spec.Deploy {
		want["deploy"] = true
	} else {
		delete(want, "deploy") // Auth0 cannot take a deployed version back
	}
	if spec.Secrets != nil {
		// Auth0 shows the names only, so the names are all that can be compared.
		names := make([]any, len(spec.Secrets))
		for i, x := range spec.Secrets {
			names[i] = x.Name
		}
		want["secrets"] = names
	}
	if b := object(want["trigger_binding"]); b != nil {
		setDefault(b, "display_name", r.Metadata.Name)
	}
	sortSets(want, "dependencies", "secrets")
	return want, nil
}

func actionView(raw fields) fields {
	view := object(clone(raw))
	if triggers := list(raw["supported_triggers"]); len(triggers) > 0 {
		t := object(triggers[0])
		view["supported_trigger"] = fields{"id": t["id"], "version": t["version"]}
	}
	view["runtime"] = strings.TrimSuffix(text(raw["runtime"]), "-actions")
	dependencies := []any{}
	for _, d := range list(raw["dependencies"]) {
		dependencies = append(dependencies, fields{"name": object(d)["name"], "version": object(d)["version"]})
	}
	view["dependencies"] = dependencies
	names := []any{}
	for _, x := range list(raw["secrets"]) {
		names = append(names, object(x)["name"])
	}
	view["secrets"] = names
	view["deploy"] = raw["deployed_version"] != nil && raw["all_changes_deployed"] == true
	sortSets(view, "dependencies", "secrets")
	return view
}

// template has the name, which is the resource's own.
func (actionKind) template() fields {
	t := templateOf(&v1.Auth0ActionSpec{})
	t["name"] = true
	return t
}

func (actionKind) secrets(r v1.Resource) map[string]secret.Ref {
	spec, ok := r.Spec.(*v1.Auth0ActionSpec)
	if !ok {
		return nil
	}
	refs := map[string]secret.Ref{}
	for _, x := range spec.Secrets {
		refs["secrets."+x.Name] = secret.Ref(x.Value)
	}
	return refs
}

func (actionKind) actions(ctx context.Context, s *session, query url.Values) (*table, error) {
	return s.all(ctx, auth0.Request{Operation: "list actions", Path: []string{"actions", "actions"}, Query: query}, auth0.OffsetPlain, "actions")
}

func (k actionKind) every(ctx context.Context, s *session) ([]fields, error) {
	t, err := k.actions(ctx, s, url.Values{"installed": {"false"}})
	if err != nil {
		return nil, err
	}
	return t.rows, nil
}

func (k actionKind) read(ctx context.Context, s *session, id string) (fields, error) {
	if !s.bulk(v1.KindAction) {
		return s.byID(ctx, "read action", nil, "actions", "actions", id)
	}
	t, err := k.actions(ctx, s, nil)
	if err != nil {
		return nil, err
	}
	return one("action "+id, t.by("id", id), nil)
}

func (k actionKind) search(ctx context.Context, s *session, r v1.Resource, _ fields) (fields, error) {
	var query url.Values
	if !s.bulk(v1.KindAction) {
		query = url.Values{"actionName": {r.Metadata.Name}}
	}
	t, err := k.actions(ctx, s, query)
	if err != nil {
		return nil, err
	}
	return one("action "+r.Metadata.Name, t.by("name", r.Metadata.Name), nil)
}

// view reads the bindings of the trigger, once for all actions.
func (actionKind) view(ctx context.Context, s *session, _ v1.Resource, raw, want fields) (*found, error) {
	f := &found{id: text(raw["id"]), live: actionView(raw), raw: raw}
	if s.resend != nil {
		names := list(f.live["secrets"])
		for i, name := range names {
			if s.resend["secrets."+text(name)] {
				names[i] = text(name) + anotherValue
			}
		}
		sortSets(f.live, "secrets")
	}
	if want["trigger_binding"] == nil {
		return f, nil
	}
	bindings, err := s.bindings(ctx, text(object(f.live["supported_trigger"])["id"]))
	if err != nil {
		return nil, err
	}
	for _, b := range bindings.rows {
		if object(b["action"])["id"] == f.id {
			f.live["trigger_binding"] = fields{"display_name": b["display_name"]}
		}
	}
	return f, nil
}

// anotherValue marks the name of a secret whose value is to be written.
const anotherValue = " (another value)"

func (actionKind) export(_ *session, raw fields) (name, skip string) {
	if raw["installed_action_id"] != nil {
		return text(raw["name"]), "it was installed from the marketplace"
	}
	return text(raw["name"]), ""
}

func (s *session) bindings(ctx context.Context, trigger string) (*table, error) {
	return s.all(ctx, auth0.Request{Operation: "list bindings of " + trigger, Path: []string{"actions", "triggers", trigger, "bindings"}}, auth0.OffsetPlain, "bindings")
}

// draft is what to send for the given fields. Secret values are read from their
// stores now, and are only in the returned body.
func (k actionKind) draft(ctx context.Context, s *session, r v1.Resource, want fields, keys []string) (fields, []secret.Value, error) {
	body := fields{}
	for _, key := range keys {
		switch key {
		case "deploy", "trigger_binding", "secrets":
		case "supported_trigger":
			body["supported_triggers"] = []any{want[key]}
		default:
			body[key] = want[key]
		}
	}
	if want["secrets"] == nil || (len(body) == 0 && !slices.Contains(keys, "secrets")) {
		return body, nil, nil
	}
	refs, old := k.secrets(r), s.previousSecrets(k)
	var values []secret.Value
	secrets := []any{}
	for _, name := range strs(want["secrets"]) {
		ref, had := old["secrets."+name]
		if !had {
			ref = refs["secrets."+name]
		}
		v, err := s.cfg.Secrets.Get(ctx, ref)
		if err != nil {
			return nil, nil, fmt.Errorf("secret %s of action %s: %w", name, r.Metadata.Name, err)
		}
		values = append(values, v)
		secrets = append(secrets, fields{"name": name, "value": v.Reveal()})
	}
	body["secrets"] = secrets
	return body, values, nil
}

func (k actionKind) create(ctx context.Context, s *session, r v1.Resource, want fields, _ string) (*found, error) {
	keys := make([]string, 0, len(want))
	for key := range want {
		keys = append(keys, key)
	}
	body, values, err := k.draft(ctx, s, r, want, keys)
	if err != nil {
		return nil, err
	}
	body["name"] = r.Metadata.Name
	var raw fields
	err = s.Do(ctx, auth0.Request{Operation: "create action", Method: http.MethodPost, Path: []string{"actions", "actions"}, Body: body, Secrets: values}, &raw)
	if err != nil {
		return nil, err
	}
	s.forget()
	return &found{id: text(raw["id"]), live: actionView(raw), raw: raw}, nil
}

func (k actionKind) converge(ctx context.Context, s *session, r v1.Resource, live *found, want fields) error {
	changed := changedKeys(live.live, want)
	body, values, err := k.draft(ctx, s, r, want, changed)
	if err != nil {
		return err
	}
	if len(body) > 0 {
		err := s.Do(ctx, auth0.Request{Operation: "update action", Method: http.MethodPatch, Path: []string{"actions", "actions", live.id}, Body: body, Secrets: values}, nil)
		if err != nil {
			return err
		}
		s.forget()
	}
	if want["deploy"] == true && (len(body) > 0 || live.live["deploy"] != true) {
		if err := k.built(ctx, s, live.id); err != nil {
			return err
		}
		if _, err := s.send(ctx, "deploy action", http.MethodPost, fields{}, "actions", "actions", live.id, "deploy"); err != nil {
			return err
		}
	}
	if !slices.Contains(changed, "trigger_binding") {
		return nil
	}
	trigger := text(object(live.live["supported_trigger"])["id"])
	if t := text(object(want["supported_trigger"])["id"]); t != "" {
		trigger = t
	}
	return k.bind(ctx, s, trigger, live.id, object(want["trigger_binding"]))
}

// built waits until the draft can be deployed: Auth0 answers before it has built.
func (actionKind) built(ctx context.Context, s *session, id string) error {
	wait := 100 * time.Millisecond
	for waited := time.Duration(0); ; waited += wait {
		raw, err := s.get(ctx, "read action", nil, "actions", "actions", id)
		if err != nil {
			return err
		}
		switch status := text(raw["status"]); status {
		case "built":
			return nil
		case "failed":
			return &auth0.Error{Class: auth0.Invalid, Operation: "build action", Message: "Auth0 could not build it: " + buildErrors(raw)}
		default:
			if waited >= s.cfg.BuildTimeout {
				return &auth0.Error{Class: auth0.Unavailable, Operation: "build action", Message: fmt.Sprintf("still %s after %s", status, waited)}
			}
		}
		if err := s.cfg.Sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(wait*3/2, 2*time.Second)
	}
}

func buildErrors(raw fields) string {
	var messages []string
	for _, e := range list(raw["errors"]) {
		messages = append(messages, text(object(e)["msg"]))
	}
	if len(messages) == 0 {
		return "no reason given"
	}
	return strings.Join(messages, "; ")
}

// bind puts the action into the trigger's flow, at the end or where it is, or
// takes it out if binding is nil. Auth0 replaces the whole list, so it is read
// first, and read again afterwards: another process may have written in between,
// and one of the two would be lost without a word.
func (actionKind) bind(ctx context.Context, s *session, trigger, id string, binding fields) error {
	release := s.locks.acquire(s.Domain() + "/trigger/" + trigger)
	defer release()
	for range 5 {
		s.forget()
		now, err := s.bindings(ctx, trigger)
		if err != nil {
			return err
		}
		refs, bound, right := []any{}, false, binding == nil
		for _, b := range now.rows {
			action, name := text(object(b["action"])["id"]), b["display_name"]
			if action == id {
				if binding == nil {
					right = false
					continue
				}
				bound, right = true, name == binding["display_name"]
				name = binding["display_name"]
			}
			refs = append(refs, fields{"ref": fields{"type": "action_id", "value": action}, "display_name": name})
		}
		if right {
			return nil
		}
		if binding != nil && !bound {
			refs = append(refs, fields{"ref": fields{"type": "action_id", "value": id}, "display_name": binding["display_name"]})
		}
		if _, err := s.send(ctx, "write bindings of "+trigger, http.MethodPatch, fields{"bindings": refs}, "actions", "triggers", trigger, "bindings"); err != nil {
			return err
		}
	}
	return &auth0.Error{Class: auth0.Unavailable, Operation: "write bindings of " + trigger, Message: "the list keeps changing"}
}

func (k actionKind) remove(ctx context.Context, s *session, r v1.Resource, live *found) error {
	trigger := text(object(live.live["supported_trigger"])["id"])
	if spec, ok := r.Spec.(*v1.Auth0ActionSpec); ok && spec.TriggerBinding != nil {
		if err := k.bind(ctx, s, trigger, live.id, nil); err != nil {
			return err
		}
	}
	_, err := s.send(ctx, "delete action", http.MethodDelete, nil, "actions", "actions", live.id)
	return gone(err)
}

func (actionKind) report(_ *session, _ v1.Resource, live *found) engine.Outputs {
	out := engine.Outputs{"id": live.id, "name": text(live.raw["name"]), "runtime": text(live.live["runtime"])}
	if v := text(object(live.raw["deployed_version"])["id"]); v != "" {
		out["version_id"] = v
	}
	return out
}

// transient: a new draft is not deployed for a moment.
func (actionKind) transient() []string { return []string{"deploy"} }

func (actionKind) identity() []string {
	return []string{"supported_trigger", "code", "dependencies", "secrets"}
}

func (actionKind) unset(path string, want any) (any, bool) {
	if strings.HasPrefix(path, "trigger_binding") {
		return nil, true
	}
	return base{}.unset(path, want)
}

// lost: the value of a secret that was taken away is nowhere.
func (actionKind) lost(path string, before, want any) bool {
	return path == "secrets" && len(minus(before, want)) > 0
}

// widens: code that runs at every login decides what tokens say.
func (actionKind) widens(c engine.Change) bool {
	return c.Path == "trigger_binding.display_name" && c.Before == nil
}
