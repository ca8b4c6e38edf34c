package workflows

import (
	"errors"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// undo is what compensates for one step.
type undo struct {
	step string
	// activity and argument undo it; the activity answers with a Reverted.
	activity string
	argument any
	// impossible says why there is nothing to call.
	impossible string
}

// Reverted is what an activity that undoes answers.
type Reverted struct {
	// What was done, in words; "" if there was nothing to undo.
	What string `json:"what,omitempty"`
	// Left names fields that could not be put back.
	Left []string `json:"left,omitempty"`
}

// saga runs one workflow's steps and remembers how to undo them.
type saga struct {
	*tracker
	undos  []undo
	failed string   // the step that failed
	shared []string // steps that made objects which are not undone
}

func newSaga(ctx workflow.Context, tenant string) (*saga, error) {
	t, err := track(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return &saga{tracker: t}, nil
}

// onFailure registers a compensation. It is called before the step that it
// compensates for is started: a step whose answer is lost may have been done.
func (s *saga) onFailure(u undo) { s.undos = append(s.undos, u) }

// do runs one activity as one step.
func (s *saga) do(ctx workflow.Context, step, activity string, argument, result any) error {
	s.start(ctx, step)
	ctx = workflow.WithActivityOptions(ctx, options(activity, s.add(step, step).Title))
	if err := workflow.ExecuteActivity(ctx, activity, argument).Get(ctx, result); err != nil {
		return s.fail(ctx, step, err)
	}
	s.end(ctx, step, StepDone, "", "")
	return nil
}

// fail records that a step failed. The first one is the run's failure.
func (s *saga) fail(ctx workflow.Context, step string, err error) error {
	s.end(ctx, step, StepFailed, "", cause(err))
	if s.failed == "" {
		s.failed = step
	}
	return err
}

// finish ends the workflow: with nil, or by undoing what was done and wrapping
// the error with what became of it.
func (s *saga) finish(ctx workflow.Context, err error) error {
	if err == nil {
		s.State = "done"
		return nil
	}
	cancelled := temporal.IsCanceledError(err) || errors.Is(ctx.Err(), workflow.ErrCanceled)
	s.State = "undoing"
	s.Kept = s.shared
	s.compensate(ctx)
	failure := Failure{Workflow: s.Workflow, Tenant: s.Tenant, Step: s.failed, Undone: s.Undone, NotUndone: s.NotUndone, Kept: s.Kept}
	if cancelled {
		s.State = "cancelled"
		return temporal.NewCanceledError(failure)
	}
	s.State = "failed"
	kind := ErrorType(err)
	if kind == "" {
		kind = ErrorUnavailable // only timeouts come without a type
	}
	message := cause(err)
	if s.failed != "" {
		message = s.add(s.failed, s.failed).Title + ": " + message
	}
	if len(s.NotUndone) > 0 {
		message += " (not everything could be undone)"
	}
	return temporal.NewApplicationErrorWithOptions(message, kind, temporal.ApplicationErrorOptions{
		NonRetryable: true, Cause: err, Details: []any{failure},
	})
}

// compensate undoes in reverse order what was registered. One that cannot be
// undone does not stop the others: each leaves less behind. The context is
// disconnected, because a cancelled workflow has to be undone too.
func (s *saga) compensate(ctx workflow.Context) {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	for i := len(s.undos) - 1; i >= 0; i-- {
		u := s.undos[i]
		if u.impossible != "" {
			s.NotUndone = append(s.NotUndone, Undone{Step: u.step, What: u.impossible})
			continue
		}
		var done Reverted
		actx := workflow.WithActivityOptions(ctx, options(u.activity, "Undo "+s.add(u.step, u.step).Title))
		if err := workflow.ExecuteActivity(actx, u.activity, u.argument).Get(actx, &done); err != nil {
			s.NotUndone = append(s.NotUndone, Undone{Step: u.step, What: "undo " + s.add(u.step, u.step).Title, Error: cause(err)})
			s.end(ctx, u.step, StepUndoFailed, "", cause(err))
			continue
		}
		if len(done.Left) > 0 {
			s.NotUndone = append(s.NotUndone, Undone{Step: u.step, What: done.What, Error: "could not put back " + strings.Join(done.Left, ", ")})
			s.end(ctx, u.step, StepUndoFailed, "", "")
			continue
		}
		if done.What == "" {
			continue // it was never done, or has been undone already
		}
		s.Undone = append(s.Undone, Undone{Step: u.step, What: done.What})
		if s.add(u.step, u.step).State != StepFailed {
			s.end(ctx, u.step, StepUndone, "", "")
		}
	}
	s.undos = nil
}
