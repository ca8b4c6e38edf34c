package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/workflows"
	"github.com/tenonhq/tenon/sdk"
)

// run is a workflow that a command starts, and how its result is shown.
type run struct {
	workflow string
	detach   bool
	// build returns the workflow's id and input for the tenant of the running
	// tenon.
	build  func(tenant string) (id string, input any)
	result func() any
	table  func(w io.Writer, result any)
}

// connect dials the cluster that runs on the data directory.
func (a *app) connect(ctx context.Context) (client.Client, *config.Endpoints, error) {
	cfg, err := sdk.FromDataDir(a.dataDir, sdk.Client)
	if err != nil {
		return nil, nil, err
	}
	endpoints, err := config.ReadEndpoints(a.dataDir)
	if err != nil {
		return nil, nil, err
	}
	if a.tokenFile != "" {
		cfg.TokenFile = a.tokenFile
	}
	cfg.Logger = a.logger()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := sdk.Dial(ctx, cfg)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &failure{err, "the data directory is incomplete; stop tenon and start it again", exitCredentials}
	}
	return c, endpoints, err
}

// runWorkflow starts a workflow, shows its progress, and prints its result.
func (a *app) runWorkflow(ctx context.Context, r run) error {
	c, endpoints, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	tenant := ""
	if endpoints.Auth0 != nil {
		tenant = endpoints.Auth0.Domain
	}
	id, input := r.build(tenant)
	started, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID:                                       id,
		TaskQueue:                                workflows.TaskQueue,
		WorkflowIDConflictPolicy:                 enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
	}, r.workflow, input)
	if err != nil {
		return err
	}
	if r.detach {
		fmt.Fprintln(a.out, started.GetID())
		return &failure{fmt.Errorf("the run %s goes on", started.GetID()), "follow it with: tenon runs watch " + started.GetID(), exitRunning}
	}
	if err := a.follow(ctx, c, started.GetID(), started.GetRunID()); err != nil {
		if ctx.Err() != nil {
			fmt.Fprintf(a.err, "the run %s goes on; follow it with: tenon runs watch %s\n", id, id)
		}
		return err
	}
	result := r.result()
	if err := started.Get(ctx, result); err != nil {
		return err
	}
	return a.print(answer{
		data:  result,
		table: func(w io.Writer) { r.table(w, result) },
		names: []string{id},
	})
}

// follow shows the progress of a run until it closes, and returns the error
// that it closed with.
func (a *app) follow(ctx context.Context, c client.Client, id, runID string) error {
	return daemon.Follow(ctx, c, id, runID, newBoard(a.err, a.interactive()).show)
}
