package test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/tenonhq/tenon/internal/codec"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/workflows"
)

var update = flag.Bool("update", false, "record test/histories anew")

// TestHistories runs every workflow on a real cluster, the compensation of a
// user included, and replays what came of it. With -update the histories are
// kept in test/histories, which internal/workflows replays too: that is for
// when a workflow's commands change on purpose.
func TestHistories(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := startStack(t, t.TempDir(), &daemon.WorkerConfig{})
	keys, err := codec.LoadKeyFile(filepath.Join(s.dir, "payload.key"))
	require.NoError(t, err)
	c, err := codec.New(codec.Config{Keys: keys})
	require.NoError(t, err)
	tenant := s.endpoints.Auth0.Domain
	run := func(id, kind string, in any) error {
		run, err := s.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: workflows.TaskQueue}, kind, in)
		require.NoError(t, err)
		return run.Get(ctx, nil)
	}
	id := workflows.OnboardingID(tenant)
	require.NoError(t, run(id, workflows.TypeOnboarding, onboarding(tenant)))

	// A user whose roles cannot be assigned: none of it may be left.
	bob := workflows.UserID(tenant, workflows.DefaultConnection, "bob@example.com")
	require.ErrorContains(t, run(bob, workflows.TypeUserRegistration, workflows.UserInput{
		Tenant: tenant, Email: "bob@example.com", Roles: []string{"no-such-role"},
	}), "no-such-role")
	var users []map[string]any
	s.management(t, "users", &users)
	require.Len(t, users, 1, "bob was undone")
	require.Equal(t, "ada@example.com", users[0]["email"])

	replayer := worker.NewWorkflowReplayer()
	workflows.RegisterWorkflows(replayer)
	for name, id := range map[string]string{"onboarding": id, "tenant-setup": id + "/tenant", "web-app": id + "/app", "user": id + "/user", "user-undone": bob} {
		data, err := workflows.ExportHistory(ctx, s.client, c, id, "")
		require.NoError(t, err)
		history, err := client.HistoryFromJSON(bytes.NewReader(data), client.HistoryJSONOptions{})
		require.NoError(t, err)
		// Children are named after their parent, so the original's id matters.
		require.NoError(t, replayer.ReplayWorkflowHistoryWithOptions(nil, history, worker.ReplayWorkflowHistoryOptions{
			OriginalExecution: workflow.Execution{ID: id},
		}), name)
		if *update {
			require.NoError(t, os.WriteFile(filepath.Join("histories", name+".json"), data, 0o644))
		}
	}
}
