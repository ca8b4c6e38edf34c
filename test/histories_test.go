package test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	v1 "github.com/tenonhq/tenon/api/v1"
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

	// A stack that is applied, fails, is retried, and is planned; and an export.
	mine := workflows.NewStack(s.client, tenant, "history")
	fault := map[string]any{"method": "POST", "path": "/api/v2/roles", "kind": "status", "status": 400, "nth": 1}
	s.control(t, "POST", "faults", fault, nil)
	accepted, err := mine.Apply(ctx, []v1.Resource{
		v1.New("orders", &v1.Auth0ResourceServerSpec{Identifier: "https://orders"}), v1.New("clerk", &v1.Auth0RoleSpec{}),
	}, workflows.StackApply{})
	require.NoError(t, err)
	settled := func(change string, want workflows.ChangeState) {
		t.Helper()
		c, err := mine.Wait(ctx, change, false, nil)
		require.NoError(t, err)
		require.Equal(t, want, c.State, "%+v", c.Error)
	}
	settled(accepted.Change, workflows.ChangeFailed)
	_, err = mine.Retry(ctx, workflows.StackRetry{Change: accepted.Change})
	require.NoError(t, err)
	settled(accepted.Change, workflows.ChangeDone)
	s.control(t, "POST", "faults", fault, nil)
	accepted, err = mine.Apply(ctx, []v1.Resource{
		v1.New("orders", &v1.Auth0ResourceServerSpec{Identifier: "https://orders", Name: ptrTo("Orders")}), v1.New("waiter", &v1.Auth0RoleSpec{}),
	}, workflows.StackApply{Prune: true, StackTerms: workflows.StackTerms{OnFailure: workflows.Rollback}})
	require.NoError(t, err)
	settled(accepted.Change, workflows.ChangeRolledBack)
	accepted, err = mine.PlanDelete(ctx, workflows.StackDelete{})
	require.NoError(t, err)
	settled(accepted.Change, workflows.ChangePlanned)
	export := workflows.ExportID(tenant, time.Unix(0, 0))
	require.NoError(t, run(export, workflows.TypeExport, workflows.ExportInput{Tenant: tenant}))

	// A service, one that is undone, and an import of users.
	service := workflows.ServiceInput{Tenant: tenant, Name: "billing", Scopes: []string{"read:invoices"}, API: &workflows.ServiceAPIInput{
		Identifier: "https://billing", Scopes: []workflows.ServiceScope{{Name: "read:invoices"}, {Name: "write:invoices"}}}}
	billing := workflows.ServiceID(tenant, service.Name)
	require.NoError(t, run(billing, workflows.TypeServiceRegistration, service))
	service.Name, service.API = "doomed", &workflows.ServiceAPIInput{Identifier: "https://doomed"}
	s.control(t, "POST", "faults", map[string]any{"method": "POST", "path": "/api/v2/client-grants", "kind": "status", "status": 400, "nth": 1}, nil)
	doomed := workflows.ServiceID(tenant, service.Name)
	require.Error(t, run(doomed, workflows.TypeServiceRegistration, service))
	list := filepath.Join(t.TempDir(), "users.csv")
	require.NoError(t, os.WriteFile(list, []byte("email,name\neve@example.com,Eve\nnobody,Nobody\n"), 0o600))
	file, err := daemon.StageImport(ctx, s.dir, list)
	require.NoError(t, err)
	imported := workflows.UserImportID(tenant, workflows.DefaultConnection, file)
	require.NoError(t, run(imported, workflows.TypeUserImport, workflows.UserImportInput{Tenant: tenant, File: file, Roles: []string{"viewer"}}))

	replayer := worker.NewWorkflowReplayer()
	workflows.RegisterWorkflows(replayer)
	for name, id := range map[string]string{"onboarding": id, "tenant-setup": id + "/tenant", "web-app": id + "/app", "user": id + "/user", "user-undone": bob,
		"stack": mine.ID(), "claims": workflows.TenantClaimsID(tenant), "export": export,
		"service": billing, "service-undone": doomed, "user-import": imported} {
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
