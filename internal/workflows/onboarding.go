package workflows

import (
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/workflow"
)

// OnboardingWorkflow sets up a tenant, registers a web application and then a
// user, as three child workflows whose ids are its own with "/tenant", "/app"
// and "/user" after it.
//
// A part that fails undoes itself and fails the onboarding; the parts before it
// stay, since each is complete and useful alone, and the next onboarding finds
// them in place. Cancelling the onboarding cancels the part that runs, which
// undoes itself first. Terminating it requests the same of the part: a child is
// never cut off half-way (parent close policy REQUEST_CANCEL).
func OnboardingWorkflow(ctx workflow.Context, in OnboardingInput) (*OnboardingResult, error) {
	in = in.WithDefaults()
	s, err := newSaga(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	result, err := onboard(ctx, s, in)
	if err := s.finish(ctx, err); err != nil {
		return nil, err
	}
	return result, nil
}

func onboard(ctx workflow.Context, s *saga, in OnboardingInput) (*OnboardingResult, error) {
	if err := refuse(in.Validate()); err != nil {
		return nil, err
	}
	result := &OnboardingResult{Tenant: in.Tenant}
	children := []struct {
		step, title, kind string
		input, result     any
	}{
		{"tenant", "Tenant " + in.Tenant, TypeTenantSetup, in.Setup, &result.Setup},
		{"app", "Application " + in.App.Name, TypeWebAppRegistration, in.App, &result.App},
		{"user", "User " + in.User.Email, TypeUserRegistration, in.User, &result.User},
	}
	for _, child := range children {
		id := workflow.GetInfo(ctx).WorkflowExecution.ID + "/" + child.step
		s.add(child.step, child.title).Child = id
		result.Runs = append(result.Runs, id)
	}
	for i, child := range children {
		s.start(ctx, child.step)
		cctx := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
			WorkflowID:          result.Runs[i],
			ParentClosePolicy:   enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
			WaitForCancellation: true,
			StaticSummary:       child.title,
		})
		if err := workflow.ExecuteChildWorkflow(cctx, child.kind, child.input).Get(cctx, child.result); err != nil {
			s.childFailed(err)
			return nil, s.fail(ctx, child.step, err)
		}
		s.end(ctx, child.step, StepDone, "", "")
	}
	return result, nil
}

// childFailed takes over what the child undid, so that the onboarding's failure
// says it too.
func (s *saga) childFailed(err error) {
	if f, ok := FailureOf(err); ok {
		s.Undone = append(s.Undone, f.Undone...)
		s.NotUndone = append(s.NotUndone, f.NotUndone...)
		s.shared = append(s.shared, f.Kept...)
	}
}
