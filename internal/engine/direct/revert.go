package direct

import (
	"context"
	"fmt"
	"sort"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
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
	s.id, s.reverting, s.previous = step.ObjectID, true, step.Previous
	release := s.locks.acquire(req.Tenant + "/" + step.Key.String())
	defer release()
	nothing := &engine.Result{Key: step.Key, Action: engine.None, ObjectID: step.ObjectID}
	switch step.Action {
	case engine.None:
		return nothing, nil
	case engine.Delete:
		return e.remake(ctx, s, k, req, nil)
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
	if step.Action == engine.Replace {
		return e.remake(ctx, s, k, req, want)
	}
	live, err := s.find(ctx, k, step.Resource, want)
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
	before, err := decodeBefore(req.Step, req.Outputs, false)
	if err != nil {
		return nil, err
	}
	if path, ok := underway(k, before, live.live, want); !ok {
		return nil, fmt.Errorf("%s has changed since, so nothing is restored: %w", path, engine.ErrStale)
	}
	target := fields{}
	var unrestored []string
	old := s.previousSecrets(k)
	walk("", before, want, func(path string, value, wanted any) {
		switch {
		case path == secretStored:
			return // a stored secret harms nobody, and may be in use
		case same(value, wanted):
		case value == anotherSecret:
			// The step has written a secret. What was there before is known by its reference,
			// if the stack had written that too.
			if old[path] == "" || old[path] == k.secrets(req.Step.Resource)[path] {
				unrestored = append(unrestored, path)
				return
			}
			value = theSecret
			set(live.live, want, path, anotherSecret)
		case value == theSecret || wanted == theSecret:
			// One method of authentication instead of another.
			if value == theSecret && old[path] == "" {
				unrestored = append(unrestored, path)
				return
			}
		case path == "secrets" && len(k.secrets(req.Step.Resource))+len(old) > 0:
			value = restorableSecrets(value, wanted, old, &unrestored)
			if rewritten := list(value); len(rewritten) > 0 && len(old) > 0 {
				set(live.live, want, path, append([]any{anotherValue}, rewritten...))
			}
		case k.lost(path, value, wanted):
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
	if streams, ok := k.(eventStreamKind); ok {
		unrestored = append(unrestored, streams.keepAuthorization(s, target, want)...)
	}
	sort.Strings(unrestored)
	if marks(req.Step) {
		target["client_metadata"] = merge(object(target["client_metadata"]), fields{engine.MarkName: nil})
	}
	live.adopt = false
	action := engine.None
	if len(differences(live.live, target)) > 0 {
		if err := s.write(ctx, k, req.Step.Resource, live, target); err != nil {
			return nil, err
		}
		action = engine.Update
		e.cfg.Logger.InfoContext(ctx, "restored what the run had changed", "tenant", req.Tenant, "resource", req.Step.Key.String(), "run", req.Run)
	}
	return &engine.Result{Key: req.Step.Key, Action: action, ObjectID: live.id, Unrestored: unrestored}, nil
}

// restorableSecrets is the list of an action's secrets as it was, less those whose
// values are known to nobody.
func restorableSecrets(before, want any, old map[string]secret.Ref, unrestored *[]string) any {
	wanted := members(want)
	out := []any{}
	for _, x := range list(before) {
		name, rewritten := strings.CutSuffix(text(x), anotherValue)
		if (rewritten || !wanted[canonical(x)]) && old["secrets."+name] == "" {
			*unrestored = append(*unrestored, "secrets."+name)
			if !wanted[canonical(name)] {
				continue
			}
		}
		out = append(out, name)
	}
	return sortSet(out)
}

// remake makes an object anew that the step has deleted, from the record of all
// its fields; for a replacement it first deletes what the step has made in its
// place. want is nil for a deletion.
func (e *Engine) remake(ctx context.Context, s *session, k kind, req engine.ApplyRequest, want fields) (*engine.Result, error) {
	step := req.Step
	before, err := decodeBefore(step, req.Outputs, true)
	if err != nil {
		return nil, err
	}
	nothing := &engine.Result{Key: step.Key, Action: engine.None, ObjectID: step.ObjectID}
	if step.ObjectID == "" {
		return nothing, nil
	}
	raw, err := k.read(ctx, s, step.ObjectID)
	if err != nil {
		return nil, err
	}
	r := step.Resource
	if step.Previous != nil {
		r = *step.Previous
	}
	if raw != nil && (req.Run == "" || text(object(raw["app_metadata"])[engine.MarkRun]) != req.Run) {
		return nothing, nil // it was never deleted: only a user that was made anew has the id it had
	}
	s.id, s.previous = "", nil
	target := restorable(before)
	if _, user := k.(userKind); user {
		target["user_id"] = step.ObjectID // Auth0 lets a user have the id it had
	}
	clientTarget(k, r, target)
	if want != nil {
		if err := unmake(ctx, s, k, req, want, target); err != nil {
			return nil, err
		}
	}
	live, err := s.find(ctx, k, r, target)
	if err != nil {
		return nil, err
	}
	if live != nil && k.marks() && (live.run != req.Run || req.Run == "") {
		live = nil // somebody else's, of the same name
	}
	log := e.cfg.Logger.With("tenant", req.Tenant, "resource", step.Key.String(), "run", req.Run)
	if live == nil {
		if live, err = k.create(ctx, s, r, target, req.Run); err != nil {
			return nil, err
		}
		log.InfoContext(ctx, "made anew what the run had deleted")
	}
	live.adopt = false
	if len(differences(live.live, target)) > 0 {
		if err := s.write(ctx, k, r, live, target); err != nil {
			return nil, err
		}
		if live, err = s.check(ctx, k, r, live.id, target); err != nil {
			return nil, err
		}
	}
	res, err := result(s, k, engine.Step{Key: step.Key, Action: engine.Create, Resource: r}, live)
	if err != nil {
		return nil, err
	}
	res.Unrestored = k.perishable()
	return res, nil
}

// unmake deletes what a replacement has made, unless it has made nothing, or what
// is there is what was there before.
func unmake(ctx context.Context, s *session, k kind, req engine.ApplyRequest, want, target fields) error {
	made, err := s.find(ctx, k, req.Step.Resource, want)
	if made == nil || err != nil || sameIdentity(k, made.live, target) {
		return err
	}
	if k.marks() {
		if made.run != req.Run || req.Run == "" {
			return nil
		}
	} else if path, ok := matches(k, made, want); !ok {
		return fmt.Errorf("%s has changed since it was made, so it is not deleted: %w", path, engine.ErrStale)
	}
	return k.remove(ctx, s, req.Step.Resource, made)
}

// restorable is what an object is made from again: its record without our marks,
// which are written anew.
func restorable(before fields) fields {
	target := object(clone(before))
	if target == nil {
		target = fields{}
	}
	withoutMarks(target)
	walk("", nil, clone(target), func(path string, _, v any) {
		if v == anotherSecret {
			set(target, before, path, theSecret)
		}
	})
	return target
}

// clientTarget asks for what is no field of the object: that its secret is kept.
func clientTarget(k kind, r v1.Resource, target fields) {
	if spec, ok := r.Spec.(*v1.Auth0ClientSpec); ok && confidential(spec) {
		target[secretStored] = true
	}
}

// sameIdentity compares the fields that cannot be changed.
func sameIdentity(k kind, live, target fields) bool {
	for _, path := range k.immutable() {
		if !same(live[path], target[path]) || !same(target[path], live[path]) {
			return false
		}
	}
	return true
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
