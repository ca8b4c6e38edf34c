package direct

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
)

// exportOrder is the order in which kinds are read: what others refer to first.
var exportOrder = []string{v1.KindTenant, v1.KindClient, v1.KindResourceServer, v1.KindRole, v1.KindConnection, v1.KindClientGrant, v1.KindAction, v1.KindUser, v1.KindEventStream}

// Export implements engine.Engine. It reads lists, and besides them a call for
// each role, each connection and, if asked for, each user.
func (e *Engine) Export(ctx context.Context, req engine.ExportRequest) (*engine.Export, error) {
	for _, kind := range req.Kinds {
		if kindOf(kind) == nil {
			return nil, &engine.InvalidError{Problems: []engine.ResourceProblem{{Problem: v1.Problem{Message: fmt.Sprintf("the kind %q cannot be exported (known: %s)", kind, strings.Join(exportOrder, ", "))}}}}
		}
	}
	s, err := e.session(ctx, req.Tenant)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	s.wanted = map[string]int{}
	x := &exporting{session: s, names: map[engine.Key]bool{}, clients: map[string]string{}, roles: map[string]string{}, apis: map[string]string{}}
	for _, kind := range exportOrder {
		s.wanted[kind] = 1000 // lists, always
	}
	for _, kind := range exportOrder {
		if len(req.Kinds) > 0 && !slices.Contains(req.Kinds, kind) || len(req.Kinds) == 0 && kind == v1.KindUser {
			continue
		}
		if err := x.kind(ctx, kind); err != nil {
			return nil, fmt.Errorf("export %s: %w", kind, err)
		}
	}
	slices.SortStableFunc(x.out.Resources, func(a, b v1.Resource) int {
		return cmp.Or(kindOf(a.Kind).rank()-kindOf(b.Kind).rank(), strings.Compare(a.Metadata.Name, b.Metadata.Name))
	})
	return &x.out, nil
}

// exporting is one export under way.
type exporting struct {
	*session
	out   engine.Export
	names map[engine.Key]bool
	// What exported resources are called, by what Auth0 refers to them by.
	clients, roles, apis map[string]string
}

func (x *exporting) warn(format string, args ...any) {
	x.out.Warnings = append(x.out.Warnings, fmt.Sprintf(format, args...))
}

func (x *exporting) kind(ctx context.Context, name string) error {
	k := kindOf(name)
	objects, err := k.every(ctx, x.session)
	if tolerable(err) {
		x.warn("%s: left out: %v", name, err)
		return nil
	}
	if err != nil {
		return err
	}
	if name == v1.KindUser && len(objects) >= 1000 {
		x.warn("%s: Auth0 lists no more than 1000 users; the others are left out", name)
	}
	named := map[string]int{}
	for _, raw := range objects {
		called, _ := k.export(x.session, raw)
		named[called]++
	}
	for _, raw := range objects {
		called, skip := k.export(x.session, raw)
		if name == v1.KindClient && skip == "" && named[called] > 1 {
			skip = fmt.Sprintf("%d have the same name, and a manifest cannot tell which it means (%s)", named[called], text(raw["client_id"]))
		}
		if skip != "" {
			x.warn("%s %q is left out: %s", name, called, skip)
			continue
		}
		if err := x.object(ctx, k, name, called, raw); err != nil {
			return fmt.Errorf("%q: %w", called, err)
		}
	}
	return nil
}

// tolerable says whether a part may be missing from an export: the tenant's plan
// does not have it, or our scopes do not show it.
func tolerable(err error) bool {
	switch auth0.ClassOf(err) {
	case auth0.Entitlement, auth0.Scope, auth0.NotFound:
		return true
	}
	return false
}

func (x *exporting) object(ctx context.Context, k kind, kindName, called string, raw fields) error {
	blank, err := v1.NewSpec(kindName)
	if err != nil {
		return err
	}
	r := v1.New(called, blank)
	f, err := x.read(ctx, k, r, raw)
	if err != nil {
		return err
	}
	name := x.tidy(k, called, raw, f)
	spec, err := x.decode(kindName, name, f)
	if spec == nil || err != nil {
		return err
	}
	key := engine.Key{Kind: kindName, Name: name}
	x.names[key] = true
	switch kindName {
	case v1.KindClient:
		x.clients[text(raw["client_id"])] = name
	case v1.KindRole:
		x.roles[text(raw["id"])] = name
	case v1.KindResourceServer:
		x.apis[text(raw["identifier"])] = name
	}
	x.out.Resources = append(x.out.Resources, v1.New(name, spec))
	return nil
}

// read is all that the kind knows of an object, without what is absent. A part of
// the tenant that cannot be read is left out.
func (x *exporting) read(ctx context.Context, k kind, r v1.Resource, raw fields) (fields, error) {
	template := k.template()
	if _, client := k.(clientKind); client {
		// Said once, at the connection: each side would undo what the other does.
		delete(template, "enabled_connections")
	}
	if _, singleton := k.(tenantKind); !singleton {
		live, err := k.view(ctx, x.session, r, raw, template)
		if err != nil {
			return nil, err
		}
		f := object(prune(project(live.live, template)))
		withoutMarks(f)
		return f, nil
	}
	out := fields{}
	for _, part := range parts(template) {
		live, err := k.view(ctx, x.session, r, raw, part)
		if tolerable(err) {
			x.warn("Auth0Tenant: left out: %v", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		if f := object(prune(project(live.live, part))); f != nil {
			out = object(merge(out, f))
		}
	}
	return out, nil
}

// parts splits a template of the tenant into what is read by one call.
func parts(template fields) []fields {
	var out []fields
	for _, name := range []string{"settings", "branding"} {
		out = append(out, fields{name: template[name]})
	}
	for _, block := range []string{"mfa", "attack_protection"} {
		for name, t := range object(template[block]) {
			out = append(out, fields{block: fields{name: t}})
		}
	}
	return out
}

// tidy turns what is Auth0's into what a manifest says: names instead of ids,
// references instead of secrets, nothing that follows from the rest.
func (x *exporting) tidy(k kind, called string, raw, f fields) (name string) {
	switch k.(type) {
	case tenantKind:
		x.flags(f)
		return called
	case clientKind, connectionKind, actionKind, eventStreamKind:
		// metadata.name is the name in Auth0.
		delete(f, "name")
		name = called
	case clientGrantKind:
		client := cmp.Or(x.clients[text(raw["client_id"])], text(raw["client_id"]))
		name = x.unique(k, client+"-"+engine.GrantName(text(raw["audience"])))
		f["client"] = x.refer(x.clients, v1.KindClient, text(raw["client_id"]))
		f["audience"] = x.refer(x.apis, v1.KindResourceServer, text(raw["audience"]))
		if f["subject_type"] == "client" {
			delete(f, "subject_type")
		}
	case resourceServerKind:
		if called == "" {
			called = engine.GrantName(text(raw["identifier"]))
		}
		if name = x.unique(k, called); name == f["name"] {
			delete(f, "name")
		}
	case roleKind:
		if name = x.unique(k, called); name == f["name"] {
			delete(f, "name")
		}
	default:
		name = x.unique(k, called)
	}
	switch k.(type) {
	case connectionKind:
		b := blockOf(text(f["strategy"]))
		if o := object(f[b.name]); o != nil && o["client_secret"] != nil {
			o["client_secret"] = x.placeholder(k, name, "client_secret")
		}
		x.references(f, "enabled_clients", x.clients, v1.KindClient)
	case eventStreamKind:
		if a := object(object(f["webhook_configuration"])["webhook_authorization"]); a != nil {
			for _, secret := range []string{"token", "password"} {
				if a[secret] != nil {
					a[secret] = x.placeholder(k, name, secret)
				}
			}
		}
	case actionKind:
		secrets := []any{}
		for _, secret := range strs(f["secrets"]) {
			secrets = append(secrets, fields{"name": secret, "value": x.placeholder(k, name, secret)})
		}
		if delete(f, "secrets"); len(secrets) > 0 {
			f["secrets"] = secrets
		}
	case userKind:
		x.references(f, "roles", x.roles, v1.KindRole)
		if strings.Contains(text(f["picture"]), "gravatar.com") {
			delete(f, "picture") // Auth0's default
		}
	}
	return name
}

func kindName(k kind) string {
	for _, name := range exportOrder {
		if kindOf(name) == k {
			return name
		}
	}
	return ""
}

// flags leaves out those that the resource language does not have.
func (x *exporting) flags(f fields) {
	flags := object(object(f["settings"])["flags"])
	for name, on := range flags {
		value, isSwitch := on.(bool)
		spec := &v1.Auth0TenantSpec{Domain: x.Domain(), Settings: &v1.TenantSettings{Flags: map[string]bool{name: value}}}
		if !isSwitch || len(spec.Validate()) > 0 {
			delete(flags, name)
		}
	}
}

func (x *exporting) refer(names map[string]string, kind, id string) any {
	if name, ok := names[id]; ok {
		return fields{"valueFrom": fields{"kind": kind, "name": name}}
	}
	return fields{"value": id}
}

func (x *exporting) references(f fields, key string, names map[string]string, kind string) {
	l, ok := f[key].([]any)
	if !ok {
		return
	}
	out := make([]any, len(l))
	for i, id := range l {
		out[i] = x.refer(names, kind, text(id))
	}
	f[key] = out
}

// unique makes a name of a resource that no other of its kind has.
func (x *exporting) unique(k kind, name string) string {
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' {
			return '-'
		}
		return r
	}, name))
	for n := 2; ; n++ {
		if !x.names[engine.Key{Kind: kindName(k), Name: name}] {
			return name
		}
		if base, suffix, ok := cutLast(name, "-"); ok && suffix == fmt.Sprint(n-1) && n > 2 {
			name = base
		}
		name += fmt.Sprintf("-%d", n)
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

var notVariable = regexp.MustCompile(`[^A-Z0-9]+`)

// placeholder is a reference to a secret that the tenant does not tell.
func (x *exporting) placeholder(k kind, name, field string) string {
	variable := "AUTH0_" + strings.Trim(notVariable.ReplaceAllString(strings.ToUpper(name+"_"+field), "_"), "_")
	x.warn("%s/%s: %s is the reference env:%s; put the secret there, or the reference to where it is", kindName(k), name, field, variable)
	return "env:" + variable
}

// decode makes the spec. A field that the resource language does not accept is
// left out; a resource that is not acceptable without it is, too.
func (x *exporting) decode(kind, name string, f fields) (v1.Spec, error) {
	for range 50 {
		spec, err := v1.NewSpec(kind)
		if err != nil {
			return nil, err
		}
		data, err := json.Marshal(f)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, spec); err != nil {
			x.warn("%s/%s is left out: %v", kind, name, err)
			return nil, nil
		}
		problems := v1.New(name, spec).Validate()
		if len(problems) == 0 {
			return spec, nil
		}
		path, _, _ := strings.Cut(strings.TrimPrefix(problems[0].Path, "spec."), "[")
		if !strings.HasPrefix(problems[0].Path, "spec.") || !remove(f, path) {
			x.warn("%s/%s is left out: %s %s", kind, name, problems[0].Path, problems[0].Message)
			return nil, nil
		}
		x.warn("%s/%s: %s is left out: it %s", kind, name, problems[0].Path, problems[0].Message)
	}
	x.warn("%s/%s is left out: too much of it is not acceptable", kind, name)
	return nil, nil
}

// remove takes a field out of a tree; false if it is not there.
func remove(f fields, path string) bool {
	if _, ok := f[path]; ok {
		delete(f, path)
		return true
	}
	for i := range path {
		if path[i] == '.' {
			if child, ok := f[path[:i]].(fields); ok && remove(child, path[i+1:]) {
				return true
			}
		}
	}
	return false
}
