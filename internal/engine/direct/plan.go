package direct

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
)

// unknownValue stands for the output of an object that does not exist yet.
func unknownValue(key engine.Key) string { return "(known after " + key.String() + ")" }

func unknown(v any) bool {
	return strings.HasPrefix(text(v), "(known after ")
}

// Plan implements engine.Engine. It reads lists rather than single objects, so
// that its cost grows with the number of pages: 100 objects a call. What Auth0
// shows of one object only costs a call for each, and only if a resource sets it:
// the permissions of a role, a user, the roles of a user.
func (e *Engine) Plan(ctx context.Context, req engine.Request) (*engine.Plan, error) {
	resources, err := engine.Expand(req.Resources)
	if err != nil {
		return nil, err
	}
	if err := check(resources); err != nil {
		return nil, err
	}
	p := &planning{stack: req.Stack != "" || len(req.Inventory) > 0, outputs: map[engine.Key]engine.Outputs{}, pending: map[engine.Key]bool{}, claimed: map[string]engine.Key{}, moved: map[string]reference{}}
	inventory, err := inventoryOf(req.Inventory)
	if err != nil {
		return nil, err
	}
	for key, owned := range inventory {
		p.outputs[key] = owned.Outputs
	}
	for key, known := range req.Known {
		p.outputs[key] = known
	}
	nodes, err := order(resources, p.outputs)
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", req.Tenant, err)
	}
	deletes, err := p.deletions(req.Delete, nodes, inventory)
	if err != nil {
		return nil, err
	}
	s, err := e.session(ctx, req.Tenant)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	s.resources, s.inventory, s.wanted = resources, inventory, map[string]int{}
	for _, n := range append(slices.Clone(nodes), deletes...) {
		s.wanted[n.resource.Kind]++
	}

	p.readAhead(ctx, s, nodes, deletes)

	plan := &engine.Plan{Tenant: req.Tenant, Engine: Name, Steps: []engine.Step{}}
	for _, n := range nodes {
		step, out, err := p.step(ctx, s, n)
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", engine.KeyOf(n.resource), err)
		}
		p.outputs[step.Key] = out
		p.pending[step.Key] = step.Action == engine.Create || step.Action == engine.Replace
		plan.Steps = append(plan.Steps, *step)
	}
	for _, n := range deletes {
		step, err := p.deletion(ctx, s, n)
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", engine.KeyOf(n.resource), err)
		}
		plan.Steps = append(plan.Steps, *step)
	}
	if len(p.invalid.Problems) > 0 {
		return nil, &p.invalid
	}
	for i, step := range plan.Steps {
		if step.Action != engine.None {
			plan.Steps[i].Calls = kindOf(step.Key.Kind).calls(step)
			if step.Action == engine.Delete && replaceable(step.Key.Kind) {
				plan.Steps[i].Calls = 1 // if it is done at once
			}
		}
	}
	plan.Cost = s.cost(plan.Steps)
	if plan.Hash, err = plan.ComputeHash(); err != nil {
		return nil, err
	}
	return plan, nil
}

// cost adds up what the plan took and what its steps will take.
func (s *session) cost(steps []engine.Step) engine.Cost {
	cost := engine.Cost{Reads: int(s.reads.Load())}
	for _, step := range steps {
		cost.Writes += step.Calls
	}
	burst, rate := s.Pace()
	if rate > 0 {
		cost.PerSecond = math.Round(rate*100) / 100
		cost.Seconds = math.Ceil(float64(max(cost.Writes-burst, 0)) / rate)
	}
	return cost
}

func inventoryOf(owned []engine.Owned) (map[engine.Key]*engine.Owned, error) {
	inventory := make(map[engine.Key]*engine.Owned, len(owned))
	byID := map[string]engine.Key{}
	for i := range owned {
		o := &owned[i]
		if inventory[o.Key] != nil {
			return nil, invalid(o.Key, "metadata.name", "is in the inventory twice")
		}
		if other, dup := byID[o.Key.Kind+"/"+o.ObjectID]; dup && o.Key.Kind != v1.KindTenant {
			return nil, invalid(o.Key, "metadata.name", fmt.Sprintf("is the same object in Auth0 as %s: the inventory has %s for both", other, o.ObjectID))
		}
		inventory[o.Key], byID[o.Key.Kind+"/"+o.ObjectID] = o, o.Key
	}
	return inventory, nil
}

// planning is what a plan knows while it is made.
type planning struct {
	// stack: the plan is for a stack, so what is not in its inventory is adopted.
	stack   bool
	outputs map[engine.Key]engine.Outputs
	pending map[engine.Key]bool
	// claimed says which step has taken an object, by kind and id.
	claimed map[string]engine.Key
	// moved are ids that will not come back the same: those of objects to be deleted.
	moved   map[string]reference
	invalid engine.InvalidError
}

// connectionName is Auth0's own rule.
var connectionName = regexp.MustCompile(`^[a-zA-Z0-9](-[a-zA-Z0-9]|[a-zA-Z0-9])*$`)

// check validates every resource, and what only shows when they are seen together.
func check(resources []v1.Resource) error {
	invalid := &engine.InvalidError{}
	authoritative := map[string]bool{}
	setBy := map[string]engine.Key{}
	for _, r := range resources {
		invalid.Problems = append(invalid.Problems, tenantOverlaps(r, setBy)...)
		for _, p := range r.Validate() {
			invalid.Problems = append(invalid.Problems, engine.ResourceProblem{Key: engine.KeyOf(r), Problem: p})
		}
		if spec, ok := r.Spec.(*v1.Auth0ConnectionSpec); ok {
			if spec.EnabledClients != nil {
				authoritative[r.Metadata.Name] = true
			}
			if !connectionName.MatchString(r.Metadata.Name) || len(r.Metadata.Name) > 128 {
				invalid.Problems = append(invalid.Problems, engine.ResourceProblem{Key: engine.KeyOf(r), Problem: v1.Problem{Path: "metadata.name",
					Message: "must have at most 128 letters, digits and single hyphens, and begin and end with a letter or digit: Auth0 refuses other names of connections"}})
			}
		}
	}
	for _, r := range resources {
		spec, ok := r.Spec.(*v1.Auth0ClientSpec)
		if !ok {
			continue
		}
		for i, c := range spec.EnabledConnections {
			name := c.Value
			if c.ValueFrom != nil {
				name = c.ValueFrom.Name
			}
			if authoritative[name] {
				// Each plan would undo what the other side of the last one did.
				invalid.Problems = append(invalid.Problems, engine.ResourceProblem{Key: engine.KeyOf(r), Problem: v1.Problem{
					Path:    fmt.Sprintf("spec.enabled_connections[%d]", i),
					Message: fmt.Sprintf("names %s/%s, whose enabled_clients is a complete list: say it in one of the two places", v1.KindConnection, name)}})
			}
		}
	}
	if len(invalid.Problems) > 0 {
		return invalid
	}
	return nil
}

// tenantOverlaps reports fields of a tenant that an earlier resource sets too.
func tenantOverlaps(r v1.Resource, setBy map[string]engine.Key) []engine.ResourceProblem {
	spec, ok := r.Spec.(*v1.Auth0TenantSpec)
	if !ok {
		return nil
	}
	f, err := toFields(spec)
	if err != nil {
		return []engine.ResourceProblem{{Key: engine.KeyOf(r), Problem: v1.Problem{Path: "spec", Message: err.Error()}}}
	}
	delete(f, "domain")
	delete(f, "credentials")
	var problems []engine.ResourceProblem
	walk("", nil, f, func(path string, _, _ any) {
		if other, dup := setBy[path]; dup && other != engine.KeyOf(r) {
			problems = append(problems, engine.ResourceProblem{Key: engine.KeyOf(r), Problem: v1.Problem{Path: "spec." + path, Message: "is set by " + other.String() + " too"}})
			return
		}
		setBy[path] = engine.KeyOf(r)
	})
	return problems
}

// resolveFrom resolves references from outputs. Those of pending objects resolve
// to a text that says so if they cannot be foreseen; with pending nil, as in
// Apply, they are an error.
func resolveFrom(key engine.Key, outputs map[engine.Key]engine.Outputs, pending map[engine.Key]bool) resolver {
	return func(path string, v v1.StringOrRef, kind, output string) (string, error) {
		ref, ok := v.Reference(path, kind, output)
		if !ok {
			return v.Value, nil
		}
		target := engine.Key{Kind: ref.Kind, Name: ref.Name}
		if value := outputs[target][ref.Output()]; value != "" {
			return value, nil
		}
		if pending[target] {
			return unknownValue(target), nil
		}
		return "", fmt.Errorf("%s: %s: %s has no output %q: %w", key, path, target, ref.Output(), engine.ErrUnresolved)
	}
}

// step compares one resource with its object.
func (p *planning) step(ctx context.Context, s *session, n node) (*engine.Step, engine.Outputs, error) {
	r, key, owned := n.resource, engine.KeyOf(n.resource), s.inventory[engine.KeyOf(n.resource)]
	want, err := n.kind.want(ctx, s, r, resolveFrom(key, p.outputs, p.pending))
	if err != nil {
		return nil, nil, err
	}
	step := &engine.Step{Key: key, Resource: r, After: n.after}
	s.resend = s.rotated(n.kind, r, owned)
	raw, err := s.locate(ctx, n.kind, r, want)
	if err != nil {
		return nil, nil, err
	}
	if raw == nil {
		step.Action, step.Reason = engine.Create, "it does not exist"
		if owned != nil {
			step.Reason = "somebody has deleted it in the tenant"
		}
		step.Changes = differences(nil, want)
		step.Risks = risks(n.kind, step)
		problems, err := s.missing(ctx, n.kind, r, nil)
		p.invalid.Problems = append(p.invalid.Problems, problems...)
		return step, n.kind.predict(r), err
	}
	live, err := n.kind.view(ctx, s, r, raw, want)
	if err != nil {
		return nil, nil, err
	}
	_, singleton := n.kind.(tenantKind)
	adopting := p.stack && !singleton && (owned == nil || owned.ObjectID != live.id)
	if adopting {
		owned = nil
		if s.resend != nil {
			s.resend = nil
			if live, err = n.kind.view(ctx, s, r, raw, want); err != nil {
				return nil, nil, err
			}
		}
	}
	if !singleton {
		if other, taken := p.claimed[key.Kind+"/"+live.id]; taken {
			return nil, nil, invalid(key, "metadata.name", fmt.Sprintf("is the same object in Auth0 as %s: %s", other, live.id))
		}
		p.claimed[key.Kind+"/"+live.id] = key
	}
	step.ObjectID = live.id
	step.Changes = differences(live.live, want)
	recorded := project(live.live, want)
	marking := live.adopt && !p.stack
	fixed := slices.ContainsFunc(step.Changes, func(c engine.Change) bool { return isBelow(c.Path, n.kind.immutable()) })
	switch {
	case fixed && owned == nil && !n.kind.expendable():
		// Said when planning: a plan that can never be applied is worse than none. To
		// delete what others made takes more than a manifest that looks like it.
		return nil, nil, unchangeable(key, n.kind, step.Changes)
	case fixed:
		if protected(r) || owned != nil && protected(owned.Resource) {
			p.invalid.Problems = append(p.invalid.Problems, protection(key, "a change of "+immutableChange(n.kind, step.Changes)+" replaces it"))
		}
		step.Action, step.Reason = engine.Replace, immutableChange(n.kind, step.Changes)+" cannot be changed in Auth0"
		if recorded, err = s.everything(ctx, n.kind, r, raw); err != nil {
			return nil, nil, err
		}
	case adopting:
		step.Action, step.Reason = engine.Adopt, "it exists, and is not in the stack yet"
		// That our store lacks its secret is no difference in the tenant.
		step.Changes = slices.DeleteFunc(step.Changes, func(c engine.Change) bool { return c.Path == secretStored })
	case marking:
		step.Action, step.Reason = engine.Adopt, "it exists, and is not managed yet"
		step.Changes = append(step.Changes, engine.Change{Path: markPath, After: r.Metadata.Name})
	case len(step.Changes) == 0:
		step.Action, step.Reason = engine.None, "it is as desired"
	default:
		step.Action, step.Reason = engine.Update, reason(step.Changes)
	}
	needed := orNone(s.resend)
	if step.Action == engine.Replace {
		needed = nil // all of them
	}
	problems, err := s.missing(ctx, n.kind, r, needed)
	if err != nil {
		return nil, nil, err
	}
	p.invalid.Problems = append(p.invalid.Problems, problems...)
	if owned != nil {
		if err := explain(ctx, s, n.kind, step, owned, live, want, p); err != nil {
			return nil, nil, err
		}
		if step.Action != engine.None && len(n.kind.secrets(owned.Resource)) > 0 {
			step.Previous = &owned.Resource
		}
	}
	if step.Before, err = json.Marshal(encodeIDs(recorded, p.moved)); err != nil {
		return nil, nil, fmt.Errorf("record the live object: %w", err)
	}
	step.Risks = risks(n.kind, step)
	return step, n.kind.report(s, r, live), nil
}

// orNone keeps an empty set from meaning all.
func orNone(paths map[string]bool) map[string]bool {
	if paths == nil {
		return map[string]bool{}
	}
	return paths
}

// markPath is where the change that marks a client as managed is shown.
const markPath = "client_metadata." + engine.MarkName

func marks(step engine.Step) bool {
	return slices.ContainsFunc(step.Changes, func(c engine.Change) bool { return c.Path == markPath })
}

func isBelow(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return path == root || strings.HasPrefix(path, root+".") })
}

func immutableChange(k kind, changes []engine.Change) string {
	for _, c := range changes {
		if isBelow(c.Path, k.immutable()) {
			return c.Path
		}
	}
	return ""
}

func unchangeable(key engine.Key, k kind, changes []engine.Change) error {
	path := immutableChange(k, changes)
	for _, c := range changes {
		if c.Path == path {
			return &auth0.Error{Class: auth0.Conflict, Operation: "find " + key.String(),
				Message: fmt.Sprintf("an object of this name exists with %s %v, which cannot be changed to %v; it is not in the stack, so it is not replaced", path, c.Before, c.After)}
		}
	}
	return nil
}

// everything reads all fields that the kind knows of an object.
func (s *session) everything(ctx context.Context, k kind, r v1.Resource, raw fields) (any, error) {
	resend := s.resend
	s.resend = nil
	defer func() { s.resend = resend }()
	live, err := k.view(ctx, s, r, raw, k.template())
	if err != nil {
		return nil, err
	}
	all := object(prune(project(live.live, k.template())))
	for name, v := range all {
		if _, there := raw[name]; !there && (v == false || name == "token_dialect") {
			delete(all, name) // what an answer leaves out means that, and need not be said again
		}
	}
	if _, connection := k.(connectionKind); connection {
		b, options := blockOf(text(all["strategy"])), object(raw["options"])
		b.withoutDefaults(object(all[b.name]), options)
	}
	return all, nil
}

func reason(changes []engine.Change) string {
	paths := make([]string, 0, 3)
	for _, c := range changes {
		if len(paths) == 3 {
			return fmt.Sprintf("%s and %d more differ", strings.Join(paths, ", "), len(changes)-3)
		}
		paths = append(paths, c.Path)
	}
	if len(paths) == 1 {
		return paths[0] + " differs"
	}
	return strings.Join(paths, ", ") + " differ"
}

func risks(k kind, step *engine.Step) []engine.Risk {
	var out []engine.Risk
	if step.Action == engine.Delete || step.Action == engine.Replace {
		out = append(out, engine.Destructive)
	}
	if slices.ContainsFunc(step.Changes, k.widens) {
		out = append(out, engine.WidensAccess)
	}
	if step.Action != engine.Create && slices.ContainsFunc(step.Changes, isSecret) {
		out = append(out, engine.RotatesSecret)
	}
	return out
}

// decodeBefore reads a step's record of the live object. Ids of objects that have
// been made anew since are those of outputs.
func decodeBefore(step engine.Step, outputs map[engine.Key]engine.Outputs, missing bool) (fields, error) {
	if len(step.Before) == 0 {
		return nil, nil
	}
	var before fields
	if err := json.Unmarshal(step.Before, &before); err != nil {
		return nil, fmt.Errorf("%s: the record of the live object cannot be read: %w", step.Key, err)
	}
	return object(decodeIDs(before, outputs, missing)), nil
}

var errNoSpec = errors.New("the step has no resource")
