package direct

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

// kind is what the flow needs to know about one kind of resource.
type kind interface {
	// rank orders steps that do not depend on each other: lower first.
	rank() int
	// scopes of the Management API that the kind's calls need.
	scopes() []string
	// predict returns the outputs that follow from the resource alone, before its
	// object exists.
	predict(r v1.Resource) engine.Outputs
	// needs names resources that must come first although no reference says so.
	needs(r v1.Resource) []need
	// template is the tree of everything that the kind can read, true at each leaf.
	template() fields
	// secrets maps the paths of write-only fields to the references that the
	// resource has there.
	secrets(r v1.Resource) map[string]secret.Ref

	// want is the managed state that the resource asks for, in the shape of its spec.
	want(ctx context.Context, s *session, r v1.Resource, resolve resolver) (fields, error)
	// read returns an object by its id, nil if it is gone.
	read(ctx context.Context, s *session, id string) (fields, error)
	// search looks for the object by its natural key. It returns nil if there is
	// none, and an error if there are several.
	search(ctx context.Context, s *session, r v1.Resource, want fields) (fields, error)
	// view turns an object as Auth0 returns it into one in the shape of the spec, and
	// reads what of want the object itself does not hold.
	view(ctx context.Context, s *session, r v1.Resource, raw, want fields) (*found, error)
	// create makes the object with what one call can set; converge does the rest.
	create(ctx context.Context, s *session, r v1.Resource, want fields, run string) (*found, error)
	// converge writes the fields in which live differs from want, and nothing else.
	converge(ctx context.Context, s *session, r v1.Resource, live *found, want fields) error
	// remove deletes the object. One that is gone already is no error.
	remove(ctx context.Context, s *session, r v1.Resource, live *found) error
	// report returns the outputs of a live object (v1.Outputs), as far as it has them.
	report(s *session, r v1.Resource, live *found) engine.Outputs

	// every reads all objects of the kind, for Export.
	every(ctx context.Context, s *session) ([]fields, error)
	// export names the resource that an object becomes, or says why it is left out.
	export(s *session, raw fields) (name, skip string)

	// collections names fields whose members are added and removed one by one.
	collections() []string
	// transient names fields that a half-done step leaves at a value that is neither
	// the old nor the new one.
	transient() []string
	// immutable names fields that Auth0 does not let be changed: a difference there
	// means another object. A path stands for all below it.
	immutable() []string
	// expendable says whether the object may be replaced although it is not in the
	// inventory: nothing is lost with it that is not in the resource.
	expendable() bool
	// perishable names what goes with an object when it is deleted and does not come
	// back when it is made anew.
	perishable() []string
	// marks says whether objects carry the run that created them. Where they do not,
	// an object whose identity fields are as wanted is taken for our own.
	marks() bool
	// identity names the fields that create sets, for kinds that cannot be marked.
	identity() []string
	// unset is the value that takes a field back to absent; ok is false if Auth0 has
	// none.
	unset(path string, want any) (value any, ok bool)
	// lost reports whether a field cannot be put back to before, because Auth0 does
	// not show all of it.
	lost(path string, before, want any) bool
	// widens reports whether a change lets somebody do more than before.
	widens(c engine.Change) bool
	// calls is about how many calls a step takes.
	calls(step engine.Step) int
}

// found is a live object.
type found struct {
	id string
	// live is its state in the shape of the spec.
	live fields
	// raw is the object as Auth0 returned it, secrets removed.
	raw fields
	// run is the run that created it, if it says so.
	run string
	// adopt is set if the kind marks its objects and this one is not marked as
	// managed.
	adopt bool
}

// need is a dependency by natural key.
type need struct{ kind, key string }

// resolver turns a reference into its value. At planning time the value of an
// output that does not exist yet is a text that says so.
type resolver func(path string, v v1.StringOrRef, kind, output string) (string, error)

// base has the answers that most kinds give.
type base struct{}

func (base) needs(v1.Resource) []need                  { return nil }
func (base) predict(v1.Resource) engine.Outputs        { return nil }
func (base) secrets(v1.Resource) map[string]secret.Ref { return nil }
func (base) lost(string, any, any) bool                { return false }
func (base) transient() []string                       { return nil }
func (base) immutable() []string                       { return nil }
func (base) expendable() bool                          { return false }
func (base) perishable() []string                      { return []string{"id"} }
func (base) collections() []string                     { return nil }
func (base) marks() bool                               { return false }
func (base) identity() []string                        { return nil }
func (base) unset(_ string, want any) (any, bool) {
	switch want.(type) {
	case []any:
		return []any{}, true
	case bool:
		return false, true
	}
	return nil, false
}

// calls: an object is read before it is written and after.
func (base) calls(step engine.Step) int {
	switch step.Action {
	case engine.Create:
		return 1
	case engine.Update:
		return 3
	case engine.Adopt:
		if len(step.Changes) == 0 {
			return 1
		}
		return 3
	case engine.Delete:
		return 2
	case engine.Replace:
		return 3
	}
	return 0
}

// answered has the answers of kinds whose objects one write changes, and is answered
// with.
type answered struct{ base }

// calls: the answer to the write spares the look after it.
func (answered) calls(step engine.Step) int {
	n := base{}.calls(step)
	if n == 3 && step.Action != engine.Replace {
		n--
	}
	return n
}

// outputsOf names what live objects of a kind offer to others.
func outputsOf(name string) []string {
	var names []string
	for _, o := range v1.Outputs(name) {
		names = append(names, o.Name)
	}
	return names
}

// kindOf returns the adapter of a kind, nil if there is none.
func kindOf(name string) kind {
	switch name {
	case v1.KindTenant:
		return tenantKind{}
	case v1.KindConnection:
		return connectionKind{}
	case v1.KindClient:
		return clientKind{}
	case v1.KindResourceServer:
		return resourceServerKind{}
	case v1.KindClientGrant:
		return clientGrantKind{}
	case v1.KindRole:
		return roleKind{}
	case v1.KindUser:
		return userKind{}
	case v1.KindAction:
		return actionKind{}
	case v1.KindEventStream:
		return eventStreamKind{}
	}
	return nil
}

// locate finds the resource's object: by the id that is on record, then by its
// natural key.
func (s *session) locate(ctx context.Context, k kind, r v1.Resource, want fields) (fields, error) {
	if id := s.recorded(engine.KeyOf(r)); id != "" {
		raw, err := k.read(ctx, s, id)
		if raw != nil || err != nil {
			return raw, err
		}
	}
	return k.search(ctx, s, r, want)
}

// find is locate, and the object's view. It returns nil if there is none.
func (s *session) find(ctx context.Context, k kind, r v1.Resource, want fields) (*found, error) {
	raw, err := s.locate(ctx, k, r, want)
	if raw == nil || err != nil {
		return nil, err
	}
	return k.view(ctx, s, r, raw, want)
}

// byID reads an object, nil if it is gone. A plan reads each once.
func (s *session) byID(ctx context.Context, operation string, query url.Values, path ...string) (fields, error) {
	read := func() (*table, error) {
		raw, err := s.get(ctx, operation, query, path...)
		if auth0.ClassOf(err) == auth0.NotFound {
			return &table{}, nil
		}
		return &table{rows: []fields{raw}}, err
	}
	if s.wanted != nil {
		once := read
		read = func() (*table, error) { return s.once("object "+fmt.Sprint(path), once) }
	}
	t, err := read()
	if err != nil || len(t.rows) == 0 {
		return nil, err
	}
	return maps.Clone(t.rows[0]), nil
}

func (s *session) get(ctx context.Context, operation string, query url.Values, path ...string) (fields, error) {
	var out fields
	err := s.Do(ctx, auth0.Request{Operation: operation, Method: http.MethodGet, Path: path, Query: query}, &out)
	return out, err
}

func (s *session) send(ctx context.Context, operation, method string, body any, path ...string) (fields, error) {
	var raw json.RawMessage
	if err := s.Do(ctx, auth0.Request{Operation: operation, Method: method, Path: path, Body: body}, &raw); err != nil {
		return nil, err
	}
	s.forget()
	var out fields
	if len(raw) > 0 && raw[0] == '{' {
		if err := json.Unmarshal(raw, &out); err != nil {
			return nil, fmt.Errorf("%s: %w", operation, err)
		}
	}
	s.writes++
	s.answer = out
	return out, nil
}

func (s *session) list(ctx context.Context, r auth0.Request, paging auth0.Paging, key string) ([]fields, error) {
	var out []fields
	r.Sent = s.count
	err := s.List(ctx, r, paging, key, func(item json.RawMessage) error {
		var f fields
		if err := json.Unmarshal(item, &f); err != nil {
			return fmt.Errorf("%s: %w", r.Operation, err)
		}
		out = append(out, f)
		return nil
	})
	return out, err
}

// one returns the only object that matches, nil for none, and an error for more:
// which of them is meant, only a person can say.
func one(what string, objects []fields, match func(fields) bool) (fields, error) {
	var hit fields
	for _, o := range objects {
		if match != nil && !match(o) {
			continue
		}
		if hit != nil {
			return nil, &auth0.Error{Class: auth0.Conflict, Operation: "find " + what, Message: "there are several, and none is marked as managed by Tenon"}
		}
		hit = o
	}
	return maps.Clone(hit), nil // callers take from it what must not stay
}

// gone turns the absence of an object that is to be deleted into success.
func gone(err error) error {
	if auth0.ClassOf(err) == auth0.NotFound {
		return nil
	}
	return err
}

func specOf[T v1.Spec](r v1.Resource) (T, error) {
	spec, ok := r.Spec.(T)
	if !ok {
		return spec, fmt.Errorf("%s %q has a spec of type %T", r.Kind, r.Metadata.Name, r.Spec)
	}
	return spec, nil
}
