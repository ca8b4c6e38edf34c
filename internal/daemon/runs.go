package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/tenonhq/tenon/internal/workflows"
)

// Run is one run of one of Tenon's workflows.
type Run struct {
	ID        string     `json:"id"`
	RunID     string     `json:"runId"`
	Type      string     `json:"type"`
	Status    string     `json:"status"`
	StartedAt time.Time  `json:"startedAt"`
	ClosedAt  *time.Time `json:"closedAt,omitempty"`
}

// Tree is the progress of a run and of the runs that do its steps.
type Tree struct {
	ID string `json:"id"`
	workflows.Progress
	// Children by the name of the step that they do.
	Children map[string]*Tree `json:"children,omitempty"`
}

// queryTimeout bounds one question. A worker that has just started reads the
// run's history first.
const queryTimeout = 15 * time.Second

// QueryTree asks a run and its children how far they are.
func QueryTree(ctx context.Context, c client.Client, id, runID string) (*Tree, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	value, err := queryProgress(ctx, c, id, runID)
	if err != nil {
		return nil, fmt.Errorf("progress of %s: %w", id, err)
	}
	tree := &Tree{ID: id}
	if err := value.Get(&tree.Progress); err != nil {
		return nil, fmt.Errorf("progress of %s: %w", id, err)
	}
	for _, step := range tree.Steps {
		if step.Child == "" || step.State == workflows.StepPending {
			continue
		}
		child, err := QueryTree(ctx, c, step.Child, "")
		if err != nil {
			continue // not started yet; the step itself tells its state
		}
		if tree.Children == nil {
			tree.Children = map[string]*Tree{}
		}
		tree.Children[step.Name] = child
	}
	return tree, nil
}

// queryProgress asks until somebody answers: right after a start, the question
// may go to a worker that is no more.
func queryProgress(ctx context.Context, c client.Client, id, runID string) (converter.EncodedValue, error) {
	for {
		value, err := c.QueryWorkflow(ctx, id, runID, workflows.QueryProgress)
		var late *serviceerror.DeadlineExceeded
		var notReady *serviceerror.WorkflowNotReady
		if err == nil || ctx.Err() != nil || !(errors.As(err, &late) || errors.As(err, &notReady)) {
			return value, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// ListRuns returns Tenon's runs, the latest first, at most limit of them.
func ListRuns(ctx context.Context, c client.Client, limit int) ([]Run, error) {
	var runs []Run
	req := &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: Namespace,
		Query:     fmt.Sprintf("TaskQueue = %q", workflows.TaskQueue),
		PageSize:  int32(min(limit, 1000)),
	}
	for {
		page, err := c.ListWorkflow(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("list runs: %w", err)
		}
		for _, e := range page.GetExecutions() {
			if len(runs) == limit {
				return runs, nil
			}
			runs = append(runs, runOf(e))
		}
		if req.NextPageToken = page.GetNextPageToken(); len(req.NextPageToken) == 0 {
			return runs, nil
		}
	}
}

// DescribeRun returns one run.
func DescribeRun(ctx context.Context, c client.Client, id, runID string) (Run, error) {
	d, err := c.DescribeWorkflowExecution(ctx, id, runID)
	if err != nil {
		return Run{}, fmt.Errorf("run %s: %w", id, err)
	}
	return runOf(d.GetWorkflowExecutionInfo()), nil
}

func runOf(e *workflowpb.WorkflowExecutionInfo) Run {
	r := Run{
		ID:        e.GetExecution().GetWorkflowId(),
		RunID:     e.GetExecution().GetRunId(),
		Type:      e.GetType().GetName(),
		Status:    statusName(e.GetStatus()),
		StartedAt: e.GetStartTime().AsTime(),
	}
	if e.GetCloseTime() != nil {
		at := e.GetCloseTime().AsTime()
		r.ClosedAt = &at
	}
	return r
}

// statusName is the status as Temporal's own tools print it.
func statusName(s enumspb.WorkflowExecutionStatus) string { return s.String() }

// Follow waits until a run closes and returns the error that it closed with.
// Meanwhile show is called with the progress, five times a second, and once at
// the end.
func Follow(ctx context.Context, c client.Client, id, runID string, show func(*Tree)) error {
	closed := make(chan error, 1)
	go func() { closed <- c.GetWorkflow(ctx, id, runID).Get(ctx, nil) }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	// Progress is a courtesy: a query may fail while no worker polls, and the
	// run's own end is what counts.
	for {
		select {
		case err := <-closed:
			if t, queryErr := QueryTree(context.WithoutCancel(ctx), c, id, runID); queryErr == nil {
				show(t)
			}
			return err
		case <-tick.C:
			if t, err := QueryTree(ctx, c, id, runID); err == nil {
				show(t)
			}
		}
	}
}

// ListStacks returns the names of a tenant's stacks, in alphabetical order.
func ListStacks(ctx context.Context, c client.Client, tenant string) ([]string, error) {
	var names []string
	req := &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: Namespace,
		Query: fmt.Sprintf("WorkflowType = %q AND WorkflowId STARTS_WITH %q AND ExecutionStatus = 'Running'",
			workflows.TypeStack, workflows.StackID(tenant, "")),
		PageSize: 1000,
	}
	for {
		page, err := c.ListWorkflow(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("list stacks: %w", err)
		}
		for _, e := range page.GetExecutions() {
			if of, name, ok := workflows.ParseStackID(e.GetExecution().GetWorkflowId()); ok && of == tenant {
				names = append(names, name)
			}
		}
		if req.NextPageToken = page.GetNextPageToken(); len(req.NextPageToken) == 0 {
			slices.Sort(names)
			return slices.Compact(names), nil
		}
	}
}
