package direct

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// unknownValue stands for the output of an object that does not exist yet.
func unknownValue(key engine.Key) string { return "(known after " + key.String() + ")" }

func unknown(v any) bool {
	return strings.HasPrefix(text(v), "(known after ")
}

// Plan implements engine.Engine. It reads lists rather than single objects, so
// that its cost grows with the number of pages.
func (e *Engine) Plan(ctx context.Context, req engine.Request) (*engine.Plan, error) {
	resources := expand(req.Resources)
	if err := check(resources); err != nil {
		return nil, err
	}
	nodes, err := order(resources, req.Known)
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", req.Tenant, err)
	}
	s, err := e.session(ctx, req.Tenant)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	s.bulk, s.resources = true, resources

	plan := &engine.Plan{Tenant: req.Tenant, Engine: Name, Steps: []engine.Step{}}
	outputs := map[engine.Key]engine.Outputs{}
	for key, known := range req.Known {
		outputs[key] = known
	}
	pending := map[engine.Key]bool{}
	for _, n := range nodes {
		step, out, err := planStep(ctx, s, n, outputs, pending)
		if err != nil {
			return nil, fmt.Errorf("plan %s: %w", engine.KeyOf(n.resource), err)
		}
		outputs[step.Key] = out
		pending[step.Key] = step.Action == engine.Create
		plan.Steps = append(plan.Steps, *step)
	}
	if plan.Hash, err = plan.ComputeHash(); err != nil {
		return nil, err
	}
	return plan, nil
}

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
		if spec, ok := r.Spec.(*v1.Auth0ConnectionSpec); ok && spec.EnabledClients != nil {
			authoritative[r.Metadata.Name] = true
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
	var problems []engine.ResourceProblem
	walk("", nil, f, func(path string, _, _ any) {
		at := spec.Domain + " " + path
		if other, dup := setBy[at]; dup && other != engine.KeyOf(r) {
			problems = append(problems, engine.ResourceProblem{Key: engine.KeyOf(r), Problem: v1.Problem{Path: "spec." + path, Message: "is set by " + other.String() + " too"}})
			return
		}
		setBy[at] = engine.KeyOf(r)
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

func planStep(ctx context.Context, s *session, n node, outputs map[engine.Key]engine.Outputs, pending map[engine.Key]bool) (*engine.Step, engine.Outputs, error) {
	key := engine.KeyOf(n.resource)
	want, err := n.kind.want(ctx, s, n.resource, resolveFrom(key, outputs, pending))
	if err != nil {
		return nil, nil, err
	}
	live, err := n.kind.find(ctx, s, n.resource, want)
	if err != nil {
		return nil, nil, err
	}
	step := &engine.Step{Key: key, Resource: n.resource, After: n.after}
	if live == nil {
		step.Action, step.Reason = engine.Create, "it does not exist"
		step.Changes = differences(nil, want)
		step.Risks = risks(n.kind, step)
		return step, n.kind.predict(n.resource), nil
	}
	step.ObjectID = live.id
	step.Changes = differences(live.live, want)
	before, err := json.Marshal(project(live.live, want))
	if err != nil {
		return nil, nil, fmt.Errorf("record the live object: %w", err)
	}
	step.Before = before
	switch {
	case live.adopt:
		step.Action, step.Reason = engine.Adopt, "it exists, and is not managed yet"
	case len(step.Changes) == 0:
		step.Action, step.Reason = engine.None, "it is as desired"
	default:
		step.Action, step.Reason = engine.Update, reason(step.Changes)
	}
	step.Risks = risks(n.kind, step)
	return step, n.kind.report(s, n.resource, live), nil
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
	if slices.ContainsFunc(step.Changes, k.widens) {
		return []engine.Risk{engine.WidensAccess}
	}
	return nil
}

// decodeBefore reads a step's record of the live object.
func decodeBefore(step engine.Step) (fields, error) {
	if len(step.Before) == 0 {
		return nil, nil
	}
	var before fields
	if err := json.Unmarshal(step.Before, &before); err != nil {
		return nil, fmt.Errorf("%s: the record of the live object cannot be read: %w", step.Key, err)
	}
	return before, nil
}

var errNoSpec = errors.New("the step has no resource")
