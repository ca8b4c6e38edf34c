package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"
)

// StepState is how far a step is.
type StepState string

// The states of a step.
const (
	StepPending    StepState = "pending"
	StepRunning    StepState = "running"
	StepDone       StepState = "done"
	StepSkipped    StepState = "skipped" // with a warning: the tenant's subscription lacks it
	StepFailed     StepState = "failed"
	StepUndone     StepState = "undone"
	StepUndoFailed StepState = "undo-failed"
)

// Step is one line of a Progress.
type Step struct {
	// Name identifies the step within its workflow: "credentials",
	// "Auth0Client/grafana", "tickets".
	Name  string    `json:"name"`
	Title string    `json:"title"`
	State StepState `json:"state"`
	// Action is what happened to an object: create, update, adopt, none, …
	Action string `json:"action,omitempty"`
	// Detail is Auth0's identifier of the object, a warning, or why it failed.
	Detail string `json:"detail,omitempty"`
	// Child is the id of the workflow that does the step's work, if one does.
	Child     string     `json:"child,omitempty"`
	StartedAt *time.Time `json:"startedAt,omitempty"`
	EndedAt   *time.Time `json:"endedAt,omitempty"`
}

// Progress answers the query "progress".
type Progress struct {
	// Workflow is the workflow's type.
	Workflow string `json:"workflow"`
	Tenant   string `json:"tenant"`
	// State is running, undoing, done, failed or cancelled.
	State string `json:"state"`
	// Steps in the order in which they were first known. A long change of a stack
	// lists only those that are running or failed, and Counts says how many resources
	// are in which state.
	Steps  []Step            `json:"steps"`
	Counts map[StepState]int `json:"counts,omitempty"`
	// Change is the id of the stack's change that is shown.
	Change string `json:"change,omitempty"`
	// Warnings are what the result will carry too.
	Warnings []string `json:"warnings,omitempty"`
	// Undone, NotUndone and Kept are as in Failure, filled while State is undoing
	// and after.
	Undone    []Undone `json:"undone,omitempty"`
	NotUndone []Undone `json:"notUndone,omitempty"`
	Kept      []string `json:"kept,omitempty"`
}

// Undone is one thing that was, or could not be, undone.
type Undone struct {
	// Step is the name of the step.
	Step string `json:"step"`
	// What was done to undo it, in words: "deleted Auth0User/a@b.c".
	What string `json:"what"`
	// Error says why it could not be undone; "" if it was.
	Error string `json:"error,omitempty"`
}

// Failure is the detail of the error with which a workflow fails or is
// cancelled.
type Failure struct {
	Workflow string `json:"workflow"`
	Tenant   string `json:"tenant"`
	// Step is the name of the step that failed; "" if the input was refused.
	Step string `json:"step,omitempty"`
	// Undone lists what was undone, the last step first.
	Undone []Undone `json:"undone,omitempty"`
	// NotUndone lists what is left behind, and why.
	NotUndone []Undone `json:"notUndone,omitempty"`
	// Kept names steps whose objects stay on purpose, because other applications
	// share them. With NotUndone and Kept empty the tenant is as it was before.
	Kept []string `json:"kept,omitempty"`
}

// tracker keeps a workflow's Progress.
type tracker struct {
	Progress
	at map[string]int // index in Steps
}

// track registers the query. It cannot fail but for a second registration.
func track(ctx workflow.Context, tenant string) (*tracker, error) {
	t := &tracker{
		Progress: Progress{Workflow: workflow.GetInfo(ctx).WorkflowType.Name, Tenant: tenant, State: "running"},
		at:       map[string]int{},
	}
	err := workflow.SetQueryHandlerWithOptions(ctx, QueryProgress, func() (Progress, error) { return t.Progress, nil },
		workflow.QueryHandlerOptions{Description: "The workflow's steps, their states, and what was undone."})
	return t, err
}

// add makes steps known before they start.
func (t *tracker) add(name, title string) *Step {
	if i, ok := t.at[name]; ok {
		return &t.Steps[i]
	}
	t.at[name] = len(t.Steps)
	t.Steps = append(t.Steps, Step{Name: name, Title: title, State: StepPending})
	return &t.Steps[len(t.Steps)-1]
}

func (t *tracker) start(ctx workflow.Context, name string) {
	s := t.add(name, name)
	s.State, s.Detail, s.EndedAt = StepRunning, "", nil
	if s.StartedAt == nil {
		now := workflow.Now(ctx).UTC()
		s.StartedAt = &now
	}
}

func (t *tracker) end(ctx workflow.Context, name string, state StepState, action, detail string) {
	s := t.add(name, name)
	now := workflow.Now(ctx).UTC()
	s.State, s.EndedAt = state, &now
	if action != "" {
		s.Action = action
	}
	if detail != "" {
		s.Detail = detail
	}
}
