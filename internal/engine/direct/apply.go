package direct

import (
	"context"
	"fmt"

	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
)

// Apply implements engine.Engine.
//
// It always looks first. A create whose answer was lost has left an object with
// our run on it, or with the identity that we would have given it; an update
// that broke off has left fields that are as they were or as they should be.
// Both are carried on with. Anything else is somebody else's work, and ErrStale.
func (e *Engine) Apply(ctx context.Context, req engine.ApplyRequest) (*engine.Result, error) {
	res, err := e.apply(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("apply %s: %w", req.Step.Key, err)
	}
	return res, nil
}

func (e *Engine) apply(ctx context.Context, req engine.ApplyRequest) (*engine.Result, error) {
	s, k, err := e.open(ctx, req)
	if err != nil {
		return nil, err
	}
	step := req.Step
	// Two attempts of one step can overlap, when the first is slow and the second
	// starts on a timeout. In one process the lock keeps their look-then-create apart.
	release := s.locks.acquire(req.Tenant + "/" + step.Key.String())
	defer release()

	want, err := k.want(ctx, s, step.Resource, resolveFrom(step.Key, req.Outputs, nil))
	if err != nil {
		return nil, err
	}
	before, err := decodeBefore(step)
	if err != nil {
		return nil, err
	}
	s.id = step.ObjectID
	live, err := k.find(ctx, s, step.Resource, want)
	if err != nil {
		return nil, err
	}
	created := false
	switch step.Action {
	case engine.None:
		if live == nil {
			return nil, fmt.Errorf("it is gone: %w", engine.ErrStale)
		}
		if changed := differences(live.live, want); len(changed) > 0 {
			return nil, fmt.Errorf("%s: %w", reason(changed), engine.ErrStale)
		}
		return result(s, k, step, live), nil
	case engine.Create:
		if live == nil {
			live, err = k.create(ctx, s, step.Resource, want, req.Run)
			created = err == nil
			if auth0.ClassOf(err) == auth0.Conflict {
				// Somebody was faster: an earlier attempt of ours, or another.
				s.forget()
				conflict := err
				if live, err = k.find(ctx, s, step.Resource, want); err == nil && live == nil {
					err = conflict
				}
				if err == nil {
					err = resumable(k, live, want, req.Run)
				}
			}
		} else {
			err = resumable(k, live, want, req.Run)
		}
		if err != nil {
			return nil, err
		}
		live.adopt = false
	case engine.Update, engine.Adopt:
		if live == nil {
			return nil, fmt.Errorf("it is gone: %w", engine.ErrStale)
		}
		if step.ObjectID != "" && live.id != step.ObjectID {
			return nil, fmt.Errorf("it is another object now: %w", engine.ErrStale)
		}
		if path, ok := underway(k, before, live.live, want); !ok {
			return nil, fmt.Errorf("%s has changed: %w", path, engine.ErrStale)
		}
	default:
		return nil, fmt.Errorf("the direct engine has no step of action %q for it", step.Action)
	}
	log := e.cfg.Logger.With("tenant", req.Tenant, "resource", step.Key.String(), "action", step.Action, "run", req.Run)
	if !live.adopt && len(differences(live.live, want)) == 0 {
		// Either an earlier attempt did it all, or the answer to the create says that it
		// did. Reading it again would cost the tenant a call and say nothing new.
		if created {
			log.InfoContext(ctx, "applied a step")
		}
		return result(s, k, step, live), nil
	}
	if err := k.converge(ctx, s, step.Resource, live, want); err != nil {
		return nil, err
	}
	log.InfoContext(ctx, "applied a step")
	// An answer to a partial write shows part of the object: read it once, for the
	// outputs and as proof that the tenant took what it was given.
	s.forget()
	s.id = live.id
	if live, err = k.find(ctx, s, step.Resource, want); err != nil {
		return nil, err
	}
	if live == nil {
		return nil, &auth0.Error{Class: auth0.Unavailable, Operation: "check", Message: "the object is not to be found after it was written"}
	}
	if changed := differences(live.live, want); len(changed) > 0 {
		return nil, &auth0.Error{Class: auth0.Unavailable, Operation: "check", Message: "the tenant did not take the change: " + reason(changed)}
	}
	return result(s, k, step, live), nil
}

func (e *Engine) open(ctx context.Context, req engine.ApplyRequest) (*session, kind, error) {
	if req.Step.Resource.Spec == nil {
		return nil, nil, errNoSpec
	}
	k := kindOf(req.Step.Key.Kind)
	if k == nil {
		return nil, nil, fmt.Errorf("the direct engine does not have the kind %s", req.Step.Key.Kind)
	}
	s, err := e.session(ctx, req.Tenant)
	return s, k, err
}

// resumable says whether an object that exists although the plan saw none is the
// work of an earlier attempt of this run. One that is exactly as desired is no
// reason to stop either: there is nothing to do to it.
func resumable(k kind, live *found, want fields, run string) error {
	if len(differences(live.live, want)) == 0 {
		return nil
	}
	if k.marks() {
		if live.run == run && run != "" {
			return nil
		}
		return fmt.Errorf("it has come into being and was not created by this run: %w", engine.ErrStale)
	}
	if path, ok := matches(k, live, want); !ok {
		return fmt.Errorf("it has come into being with another %s: %w", path, engine.ErrStale)
	}
	return nil
}

// matches compares the identity fields.
func matches(k kind, live *found, want fields) (path string, ok bool) {
	for _, field := range k.identity() {
		if w, wanted := want[field]; wanted && !same(live.live[field], w) {
			return field, false
		}
	}
	return "", true
}

func result(s *session, k kind, step engine.Step, live *found) *engine.Result {
	return &engine.Result{Key: step.Key, Action: step.Action, ObjectID: live.id, Outputs: k.report(s, step.Resource, live)}
}
