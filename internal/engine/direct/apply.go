package direct

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
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
	before, err := decodeBefore(step, req.Outputs, false)
	if err != nil {
		return nil, err
	}
	s.id, s.resend = step.ObjectID, resendOf(before)
	log := e.cfg.Logger.With("tenant", req.Tenant, "resource", step.Key.String(), "action", step.Action, "run", req.Run)
	switch {
	case step.Action == engine.Delete:
		return e.delete(ctx, s, k, req, before, log)
	case step.Action == engine.None && step.ObjectID == "":
		// A deletion of what is not there, or not the stack's to delete.
		return &engine.Result{Key: step.Key, Action: engine.None}, nil
	}
	want, err := k.want(ctx, s, step.Resource, resolveFrom(step.Key, req.Outputs, nil))
	if err != nil {
		return nil, err
	}
	var live *found
	created := false
	switch step.Action {
	case engine.None:
		if live, err = s.find(ctx, k, step.Resource, want); err != nil {
			return nil, err
		}
		if live == nil {
			return nil, fmt.Errorf("it is gone: %w", engine.ErrStale)
		}
		if changed := differences(live.live, want); len(changed) > 0 {
			return nil, fmt.Errorf("%s: %w", reason(changed), engine.ErrStale)
		}
		return result(s, k, step, live)
	case engine.Create:
		live, created, err = e.create(ctx, s, k, req, want)
	case engine.Replace:
		live, created, err = e.replace(ctx, s, k, req, before, want)
	case engine.Update, engine.Adopt:
		live, err = s.current(ctx, k, step, before, want)
	default:
		err = fmt.Errorf("the direct engine has no step of action %q for it", step.Action)
	}
	if err != nil {
		return nil, err
	}
	live.adopt = step.Action == engine.Adopt && marks(step)
	if len(differences(live.live, want)) == 0 && (!live.adopt || marked(live.raw, step.Resource.Metadata.Name)) {
		// Either an earlier attempt did it all, or the answer to the create says that it
		// did. Reading it again would cost the tenant a call and say nothing new.
		if created {
			log.InfoContext(ctx, "applied a step")
		}
		return result(s, k, step, live)
	}
	if err := s.write(ctx, k, step.Resource, live, want); err != nil {
		return nil, err
	}
	log.InfoContext(ctx, "applied a step")
	if live, err = s.check(ctx, k, step.Resource, live.id, want); err != nil {
		return nil, err
	}
	return result(s, k, step, live)
}

// write makes an object as wanted, and begins to count what that takes.
func (s *session) write(ctx context.Context, k kind, r v1.Resource, live *found, want fields) error {
	s.writes, s.answer = 0, nil
	return k.converge(ctx, s, r, live, want)
}

// check looks at an object once after it was written, for the outputs and as proof
// that the tenant took what it was given. Where one write did it all and was
// answered with the object, that is the look; else it is read.
func (s *session) check(ctx context.Context, k kind, r v1.Resource, id string, want fields) (*found, error) {
	s.forget()
	s.id, s.resend = id, nil
	if s.writes == 1 && s.answer != nil {
		live, err := k.view(ctx, s, r, s.answer, want)
		if err == nil && live.id == id && len(differences(live.live, want)) == 0 {
			return live, nil
		}
	}
	live, err := s.find(ctx, k, r, want)
	if err != nil {
		return nil, err
	}
	if live == nil {
		return nil, &auth0.Error{Class: auth0.Unavailable, Operation: "check", Message: "the object is not to be found after it was written"}
	}
	if changed := differences(live.live, want); len(changed) > 0 {
		return nil, &auth0.Error{Class: auth0.Unavailable, Operation: "check", Message: "the tenant did not take the change: " + reason(changed)}
	}
	return live, nil
}

// current finds the object of an update, and refuses one that has changed since
// the plan in a way that this step does not explain.
func (s *session) current(ctx context.Context, k kind, step engine.Step, before, want fields) (*found, error) {
	live, err := s.find(ctx, k, step.Resource, want)
	switch {
	case err != nil:
		return nil, err
	case live == nil:
		return nil, fmt.Errorf("it is gone: %w", engine.ErrStale)
	case step.ObjectID != "" && live.id != step.ObjectID:
		return nil, fmt.Errorf("it is another object now: %w", engine.ErrStale)
	}
	if path, ok := underway(k, before, live.live, want); !ok {
		return nil, fmt.Errorf("%s has changed: %w", path, engine.ErrStale)
	}
	return live, nil
}

// create makes an object, or finds what an earlier attempt has made.
func (e *Engine) create(ctx context.Context, s *session, k kind, req engine.ApplyRequest, want fields) (live *found, created bool, err error) {
	r := req.Step.Resource
	s.id = ""
	// At a first attempt there is nothing of ours to find, and what others have made
	// in the meantime answers with a conflict, unless the kind's names are not unique.
	if _, action := k.(actionKind); req.Attempt != 1 || action {
		if live, err = s.find(ctx, k, r, want); err != nil {
			return nil, false, err
		}
		if live != nil {
			return live, false, resumable(k, live, want, req.Run)
		}
	}
	live, err = k.create(ctx, s, r, want, req.Run)
	if auth0.ClassOf(err) != auth0.Conflict {
		return live, err == nil, err
	}
	// Somebody was faster: an earlier attempt of ours, or another.
	conflict := err
	s.forget()
	if live, err = s.find(ctx, k, r, want); err != nil {
		return nil, false, err
	}
	if live == nil {
		return nil, false, conflict
	}
	return live, false, resumable(k, live, want, req.Run)
}

// replace deletes the object that is on record, unless an earlier attempt did, and
// makes the new one. Names are unique, so it cannot be the other way around.
func (e *Engine) replace(ctx context.Context, s *session, k kind, req engine.ApplyRequest, before, want fields) (live *found, created bool, err error) {
	step := req.Step
	raw, err := k.read(ctx, s, step.ObjectID)
	if err != nil {
		return nil, false, err
	}
	if raw != nil {
		old, err := k.view(ctx, s, step.Resource, raw, want)
		if err != nil {
			return nil, false, err
		}
		if path, ok := untouched(k, before, old.live); !ok {
			return nil, false, fmt.Errorf("%s has changed, so it is not replaced: %w", path, engine.ErrStale)
		}
		if err := k.remove(ctx, s, step.Resource, old); err != nil {
			return nil, false, err
		}
	}
	s.resend = nil
	req.Attempt = 0
	return e.create(ctx, s, k, req, want)
}

// replaceable says whether an object of the kind is deleted by a fresh plan
// without another look. Accounts of people go with a connection or a user, and an
// action may have to be unbound first.
func replaceable(kind string) bool {
	switch kind {
	case v1.KindClient, v1.KindClientGrant, v1.KindResourceServer, v1.KindRole:
		return true
	}
	return false
}

// delete deletes the object that is on record. One that is gone already is no
// error.
func (e *Engine) delete(ctx context.Context, s *session, k kind, req engine.ApplyRequest, before fields, log *slog.Logger) (*engine.Result, error) {
	step := req.Step
	res := &engine.Result{Key: step.Key, Action: engine.Delete, ObjectID: step.ObjectID}
	if req.Fresh && req.Attempt == 1 && replaceable(step.Key.Kind) {
		if err := k.remove(ctx, s, step.Resource, &found{id: step.ObjectID}); err != nil {
			return nil, err
		}
		log.InfoContext(ctx, "deleted an object")
		return res, nil
	}
	raw, err := k.read(ctx, s, step.ObjectID)
	if raw == nil || err != nil {
		return res, err
	}
	live, err := k.view(ctx, s, step.Resource, raw, nil)
	if err != nil {
		return nil, err
	}
	if path, ok := untouched(k, before, live.live); !ok {
		return nil, fmt.Errorf("%s has changed, so it is not deleted: %w", path, engine.ErrStale)
	}
	if err := k.remove(ctx, s, step.Resource, live); err != nil {
		return nil, err
	}
	log.InfoContext(ctx, "deleted an object")
	return res, nil
}

// untouched compares an object with the record of all its fields. What other steps
// take from it on the way does not count: members, bindings, enabled connections.
func untouched(k kind, before, live fields) (path string, ok bool) {
	ok = true
	walk("", live, before, func(at string, l, b any) {
		head, _, _ := strings.Cut(at, ".")
		if !ok || same(l, b) || slices.Contains(k.collections(), head) || slices.Contains(k.transient(), head) ||
			head == "enabled_connections" || head == "trigger_binding" || l == anotherSecret || b == anotherSecret {
			return
		}
		path, ok = at, false
	})
	return path, ok
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

func result(s *session, k kind, step engine.Step, live *found) (*engine.Result, error) {
	res := &engine.Result{Key: step.Key, Action: step.Action, ObjectID: live.id, Outputs: k.report(s, step.Resource, live)}
	var err error
	res.Observed, err = observe(k, live.live)
	return res, err
}
