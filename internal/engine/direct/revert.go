package direct

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/tenonhq/tenon/internal/engine"
)

// Revert implements engine.Engine. It deletes an object only if this run created
// it: by the run that the object carries or, for kinds that cannot carry one,
// because the plan saw none and the object still is what the step made.
func (e *Engine) Revert(ctx context.Context, req engine.ApplyRequest) (*engine.Result, error) {
	res, err := e.revert(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("revert %s: %w", req.Step.Key, err)
	}
	return res, nil
}

func (e *Engine) revert(ctx context.Context, req engine.ApplyRequest) (*engine.Result, error) {
	s, k, err := e.open(ctx, req)
	if err != nil {
		return nil, err
	}
	step := req.Step
	s.id, s.reverting = step.ObjectID, true
	release := s.locks.acquire(req.Tenant + "/" + step.Key.String())
	defer release()
	nothing := &engine.Result{Key: step.Key, Action: engine.None, ObjectID: step.ObjectID}
	if step.Action == engine.None {
		return nothing, nil
	}
	// A reference that does not resolve means that an earlier step never ran; then
	// this one did not either, or it has been reverted with it.
	pending := map[engine.Key]bool{}
	for _, ref := range step.Resource.Spec.References() {
		pending[engine.Key{Kind: ref.Kind, Name: ref.Name}] = true
	}
	want, err := k.want(ctx, s, step.Resource, resolveFrom(step.Key, req.Outputs, pending))
	if err != nil {
		return nil, err
	}
	live, err := k.find(ctx, s, step.Resource, want)
	if err != nil {
		return nil, err
	}
	if live == nil {
		return nothing, nil
	}
	switch step.Action {
	case engine.Create:
		if k.marks() {
			if live.run != req.Run || req.Run == "" {
				return nothing, nil
			}
		} else if path, ok := matches(k, live, want); !ok {
			return nil, fmt.Errorf("%s has changed since it was created, so it is not deleted: %w", path, engine.ErrStale)
		}
		if err := k.remove(ctx, s, step.Resource, live); err != nil {
			return nil, err
		}
		e.cfg.Logger.InfoContext(ctx, "deleted what the run had created", "tenant", req.Tenant, "resource", step.Key.String(), "run", req.Run)
		return &engine.Result{Key: step.Key, Action: engine.Delete, ObjectID: live.id}, nil
	case engine.Update, engine.Adopt:
		return e.restore(ctx, s, k, req, live, want)
	}
	return nil, fmt.Errorf("the direct engine has no step of action %q for it", step.Action)
}

// restore puts the fields that the step changed back to what they were.
func (e *Engine) restore(ctx context.Context, s *session, k kind, req engine.ApplyRequest, live *found, want fields) (*engine.Result, error) {
	before, err := decodeBefore(req.Step)
	if err != nil {
		return nil, err
	}
	if path, ok := underway(k, before, live.live, want); !ok {
		return nil, fmt.Errorf("%s has changed since, so nothing is restored: %w", path, engine.ErrStale)
	}
	target := fields{}
	var unrestored []string
	walk("", before, want, func(path string, value, wanted any) {
		if path == secretStored {
			return // a stored secret harms nobody, and may be in use
		}
		if !same(value, wanted) && k.lost(path, value, wanted) {
			unrestored = append(unrestored, path)
			return
		}
		if value == nil && !same(value, wanted) {
			var ok bool
			if value, ok = k.unset(path, wanted); !ok {
				unrestored = append(unrestored, path)
				return
			}
		}
		set(target, want, path, clone(value))
	})
	// What an emptied object leaves behind is the object's own absence.
	collapse(target)
	sort.Strings(unrestored)
	if req.Step.Action == engine.Adopt {
		target["client_metadata"] = merge(object(target["client_metadata"]), fields{engine.MarkName: nil})
	}
	live.adopt = false
	action := engine.None
	if len(differences(live.live, target)) > 0 {
		if err := k.converge(ctx, s, req.Step.Resource, live, target); err != nil {
			return nil, err
		}
		action = engine.Update
		e.cfg.Logger.InfoContext(ctx, "restored what the run had changed", "tenant", req.Tenant, "resource", req.Step.Key.String(), "run", req.Run)
	}
	return &engine.Result{Key: req.Step.Key, Action: action, ObjectID: live.id, Unrestored: unrestored}, nil
}

// set writes a dotted path into target. shape is the tree that the path came
// from; it says where a dot separates and where it belongs to a key.
func set(target, shape fields, path string, value any) {
	if _, whole := shape[path]; whole || !strings.Contains(path, ".") {
		target[path] = value
		return
	}
	for i := range path {
		if path[i] != '.' {
			continue
		}
		if child, ok := shape[path[:i]].(fields); ok {
			next, _ := target[path[:i]].(fields)
			if next == nil {
				next = fields{}
				target[path[:i]] = next
			}
			set(next, child, path[i+1:], value)
			return
		}
	}
	target[path] = value
}

// collapse is for trigger_binding alone: the object is absent when its name is.
func collapse(target fields) {
	if b, ok := target["trigger_binding"].(fields); ok && b["display_name"] == nil {
		target["trigger_binding"] = nil
	}
}
