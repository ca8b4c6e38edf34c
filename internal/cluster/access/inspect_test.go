//lint:file-ignore SA1019 What is deprecated for senders still counts when it is received.

package access

import (
	"testing"

	"github.com/stretchr/testify/require"
	batchpb "go.temporal.io/api/batch/v1"
	commandpb "go.temporal.io/api/command/v1"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	namespacepb "go.temporal.io/api/namespace/v1"
	replicationpb "go.temporal.io/api/replication/v1"
	schedulepb "go.temporal.io/api/schedule/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/tenonhq/tenon/internal/token"
)

func terminate(id string) *workflowservice.TerminateWorkflowExecutionRequest {
	return &workflowservice.TerminateWorkflowExecutionRequest{Namespace: "billing", WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: id}}
}

func queue(name string) *taskqueuepb.TaskQueue { return &taskqueuepb.TaskQueue{Name: name} }

func workflowType(name string) *commonpb.WorkflowType { return &commonpb.WorkflowType{Name: name} }

func child(c *commandpb.StartChildWorkflowExecutionCommandAttributes) *workflowservice.RespondWorkflowTaskCompletedRequest {
	return completed(&commandpb.Command{
		CommandType: enumspb.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION,
		Attributes:  &commandpb.Command_StartChildWorkflowExecutionCommandAttributes{StartChildWorkflowExecutionCommandAttributes: c},
	})
}

func completed(list ...*commandpb.Command) *workflowservice.RespondWorkflowTaskCompletedRequest {
	timer := &commandpb.Command{CommandType: enumspb.COMMAND_TYPE_START_TIMER, Attributes: &commandpb.Command_StartTimerCommandAttributes{StartTimerCommandAttributes: &commandpb.StartTimerCommandAttributes{TimerId: "t"}}}
	return &workflowservice.RespondWorkflowTaskCompletedRequest{Namespace: "billing", Commands: append([]*commandpb.Command{timer}, list...)}
}

func operation(ops ...any) *workflowservice.ExecuteMultiOperationRequest {
	req := &workflowservice.ExecuteMultiOperationRequest{Namespace: "billing"}
	for _, op := range ops {
		switch op := op.(type) {
		case *workflowservice.StartWorkflowExecutionRequest:
			req.Operations = append(req.Operations, &workflowservice.ExecuteMultiOperationRequest_Operation{
				Operation: &workflowservice.ExecuteMultiOperationRequest_Operation_StartWorkflow{StartWorkflow: op}})
		case *workflowservice.UpdateWorkflowExecutionRequest:
			req.Operations = append(req.Operations, &workflowservice.ExecuteMultiOperationRequest_Operation{
				Operation: &workflowservice.ExecuteMultiOperationRequest_Operation_UpdateWorkflow{UpdateWorkflow: op}})
		}
	}
	return req
}

func scheduled(w *workflowpb.NewWorkflowExecutionInfo, overlap enumspb.ScheduleOverlapPolicy) *schedulepb.Schedule {
	return &schedulepb.Schedule{
		Action:   &schedulepb.ScheduleAction{Action: &schedulepb.ScheduleAction_StartWorkflow{StartWorkflow: w}},
		Policies: &schedulepb.SchedulePolicies{OverlapPolicy: overlap},
	}
}

const (
	terminateExisting  = enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
	terminateIfRunning = enumspb.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING
	terminateOther     = enumspb.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER
)

// TestWhatIsInsideARequest holds, for each request that carries more than its
// method says, the least role that gets it through and the next lower one.
func TestWhatIsInsideARequest(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct {
		name   string
		method string
		req    any
		may    token.Role
		mayNot token.Role
	}{
		{"start", "StartWorkflowExecution", &workflowservice.StartWorkflowExecutionRequest{}, token.RoleClient, token.RoleReader},
		{"start that terminates", "StartWorkflowExecution", &workflowservice.StartWorkflowExecutionRequest{WorkflowIdConflictPolicy: terminateExisting}, token.RoleOperator, token.RoleClient},
		{"start that terminates, old way", "StartWorkflowExecution", &workflowservice.StartWorkflowExecutionRequest{WorkflowIdReusePolicy: terminateIfRunning}, token.RoleOperator, token.RoleClient},
		{"signal with start", "SignalWithStartWorkflowExecution", &workflowservice.SignalWithStartWorkflowExecutionRequest{}, token.RoleClient, token.RoleReader},
		{"signal with start that terminates", "SignalWithStartWorkflowExecution", &workflowservice.SignalWithStartWorkflowExecutionRequest{WorkflowIdConflictPolicy: terminateExisting}, token.RoleOperator, token.RoleClient},
		{"signal with start that terminates, old way", "SignalWithStartWorkflowExecution", &workflowservice.SignalWithStartWorkflowExecutionRequest{WorkflowIdReusePolicy: terminateIfRunning}, token.RoleOperator, token.RoleClient},
		{"update with start", "ExecuteMultiOperation", operation(&workflowservice.StartWorkflowExecutionRequest{Namespace: "billing"}, &workflowservice.UpdateWorkflowExecutionRequest{}), token.RoleClient, token.RoleReader},
		{"update with start that terminates", "ExecuteMultiOperation", operation(&workflowservice.StartWorkflowExecutionRequest{WorkflowIdConflictPolicy: terminateExisting}), token.RoleOperator, token.RoleClient},
		{"schedule", "CreateSchedule", &workflowservice.CreateScheduleRequest{Schedule: scheduled(&workflowpb.NewWorkflowExecutionInfo{}, 0)}, token.RoleClient, token.RoleReader},
		{"schedule whose runs terminate each other", "CreateSchedule", &workflowservice.CreateScheduleRequest{Schedule: scheduled(nil, terminateOther)}, token.RoleOperator, token.RoleClient},
		{"schedule whose start terminates", "CreateSchedule", &workflowservice.CreateScheduleRequest{Schedule: scheduled(&workflowpb.NewWorkflowExecutionInfo{WorkflowIdReusePolicy: terminateIfRunning}, 0)}, token.RoleOperator, token.RoleClient},
		{"schedule with a terminating first run", "CreateSchedule", &workflowservice.CreateScheduleRequest{InitialPatch: &schedulepb.SchedulePatch{TriggerImmediately: &schedulepb.TriggerImmediatelyRequest{OverlapPolicy: terminateOther}}}, token.RoleOperator, token.RoleClient},
		{"updated schedule whose runs terminate", "UpdateSchedule", &workflowservice.UpdateScheduleRequest{Schedule: scheduled(nil, terminateOther)}, token.RoleOperator, token.RoleClient},
		{"trigger that terminates", "PatchSchedule", &workflowservice.PatchScheduleRequest{Patch: &schedulepb.SchedulePatch{TriggerImmediately: &schedulepb.TriggerImmediatelyRequest{OverlapPolicy: terminateOther}}}, token.RoleOperator, token.RoleClient},
		{"backfill that terminates", "PatchSchedule", &workflowservice.PatchScheduleRequest{Patch: &schedulepb.SchedulePatch{BackfillRequest: []*schedulepb.BackfillRequest{{}, {OverlapPolicy: terminateOther}}}}, token.RoleOperator, token.RoleClient},
		{"batch", "StartBatchOperation", &workflowservice.StartBatchOperationRequest{Operation: &workflowservice.StartBatchOperationRequest_SignalOperation{SignalOperation: &batchpb.BatchOperationSignal{}}}, token.RoleOperator, token.RoleClient},
		{"own settings of a namespace", "UpdateNamespace", &workflowservice.UpdateNamespaceRequest{UpdateInfo: &namespacepb.UpdateNamespaceInfo{Description: "x"}}, token.RoleAdmin, token.RoleOperator},
		{"child", "RespondWorkflowTaskCompleted", child(&commandpb.StartChildWorkflowExecutionCommandAttributes{}), token.RoleWorker, token.RoleAdmin},
		{"child of the same namespace by name", "RespondWorkflowTaskCompleted", child(&commandpb.StartChildWorkflowExecutionCommandAttributes{Namespace: "billing"}), token.RoleWorker, token.RoleAdmin},
	} {
		c.name += " (" + c.method + ")"
		require.True(t, b.allowed(b.bearer(c.may, "billing"), workflowService+c.method, "billing", c.req), "%s as %s", c.name, c.may)
		require.False(t, b.allowed(b.bearer(c.mayNot, "billing"), workflowService+c.method, "billing", c.req), "%s as %s", c.name, c.mayNot)
	}
}

func TestNamespacesInsideARequest(t *testing.T) {
	b := newBench(t, nil)
	own := b.bearer(token.RoleAdmin, "billing")
	everywhere := b.bearer(token.RoleAdmin, token.ClusterWide)
	for name, req := range map[string]any{
		"start":  operation(&workflowservice.StartWorkflowExecutionRequest{Namespace: "payroll"}),
		"update": operation(&workflowservice.StartWorkflowExecutionRequest{Namespace: "billing"}, &workflowservice.UpdateWorkflowExecutionRequest{Namespace: "payroll"}),
	} {
		require.False(t, b.allowed(own, workflowService+"ExecuteMultiOperation", "billing", req), name)
		require.False(t, b.allowed(everywhere, workflowService+"ExecuteMultiOperation", "billing", req), "%s: refused whoever asks", name)
	}

	// Commands for another namespace need there what a client needs.
	complete := workflowService + "RespondWorkflowTaskCompleted"
	for name, req := range map[string]any{
		"child": child(&commandpb.StartChildWorkflowExecutionCommandAttributes{Namespace: "payroll"}),
		"signal": completed(&commandpb.Command{Attributes: &commandpb.Command_SignalExternalWorkflowExecutionCommandAttributes{
			SignalExternalWorkflowExecutionCommandAttributes: &commandpb.SignalExternalWorkflowExecutionCommandAttributes{Namespace: "payroll"}}}),
		"cancel": completed(&commandpb.Command{Attributes: &commandpb.Command_RequestCancelExternalWorkflowExecutionCommandAttributes{
			RequestCancelExternalWorkflowExecutionCommandAttributes: &commandpb.RequestCancelExternalWorkflowExecutionCommandAttributes{Namespace: "payroll"}}}),
	} {
		require.False(t, b.allowed(b.bearer(token.RoleWorker, "billing"), complete, "billing", req), name)
		require.False(t, b.allowed(b.bearer(token.RoleWorker, token.ClusterWide), complete, "billing", req), name)
		require.True(t, b.allowed(everywhere, complete, "billing", req), name)
	}

	// The server asks again about a command's target, with the target's method
	// and the whole workflow task.
	require.False(t, b.allowed(b.bearer(token.RoleWorker, "billing"), start, "payroll", child(&commandpb.StartChildWorkflowExecutionCommandAttributes{Namespace: "payroll"})))

	describe := workflowService + "DescribeNamespace"
	masked := &workflowservice.DescribeNamespaceRequest{Namespace: "billing", Id: "5c8a6a2f-0000-4000-8000-000000000000"}
	require.False(t, b.allowed(own, describe, "billing", masked))
	require.True(t, b.allowed(everywhere, describe, "billing", masked))
	require.True(t, b.allowed(own, describe, "billing", &workflowservice.DescribeNamespaceRequest{Namespace: "billing"}))
}

func TestChildThatTerminatesNeedsOperator(t *testing.T) {
	b := newBench(t, nil)
	req := child(&commandpb.StartChildWorkflowExecutionCommandAttributes{WorkflowIdReusePolicy: terminateIfRunning})
	complete := workflowService + "RespondWorkflowTaskCompleted"
	require.False(t, b.allowed(b.bearer(token.RoleWorker, "billing"), complete, "billing", req))
	require.True(t, b.allowed(b.bearer(token.RoleAdmin, token.ClusterWide), complete, "billing", req))
}

func TestInternalTaskQueuesAreTheServersOwn(t *testing.T) {
	b := newBench(t, nil)
	system := b.bearer(token.RoleAdmin, token.ClusterWide)
	for _, name := range []string{"temporal-sys-per-ns-tq", "temporal-sys-processor-parent-close-policy", "temporal-sys-anything"} {
		for method, req := range map[string]any{
			"PollWorkflowTaskQueue":            &workflowservice.PollWorkflowTaskQueueRequest{TaskQueue: queue(name)},
			"PollActivityTaskQueue":            &workflowservice.PollActivityTaskQueueRequest{TaskQueue: queue(name)},
			"PollNexusTaskQueue":               &workflowservice.PollNexusTaskQueueRequest{TaskQueue: queue(name)},
			"StartWorkflowExecution":           &workflowservice.StartWorkflowExecutionRequest{TaskQueue: queue(name)},
			"SignalWithStartWorkflowExecution": &workflowservice.SignalWithStartWorkflowExecutionRequest{TaskQueue: queue(name)},
			"StartActivityExecution":           &workflowservice.StartActivityExecutionRequest{TaskQueue: queue(name)},
			"CreateSchedule":                   &workflowservice.CreateScheduleRequest{Schedule: scheduled(&workflowpb.NewWorkflowExecutionInfo{TaskQueue: queue(name)}, 0)},
			"RespondWorkflowTaskCompleted":     child(&commandpb.StartChildWorkflowExecutionCommandAttributes{TaskQueue: queue(name)}),
		} {
			require.False(t, b.allowed(system, workflowService+method, "billing", req), "%s on %s", method, name)
		}
	}
	sticky := &workflowservice.PollWorkflowTaskQueueRequest{TaskQueue: &taskqueuepb.TaskQueue{Name: "host:uuid", Kind: enumspb.TASK_QUEUE_KIND_STICKY, NormalName: "temporal-sys-per-ns-tq"}}
	require.False(t, b.allowed(system, workflowService+"PollWorkflowTaskQueue", "billing", sticky))
	commands := &workflowservice.PollNexusTaskQueueRequest{TaskQueue: &taskqueuepb.TaskQueue{Name: "q", Kind: enumspb.TASK_QUEUE_KIND_WORKER_COMMANDS}}
	require.False(t, b.allowed(system, workflowService+"PollNexusTaskQueue", "billing", commands))
	own := &workflowservice.PollWorkflowTaskQueueRequest{TaskQueue: queue("invoices")}
	require.True(t, b.allowed(b.bearer(token.RoleWorker, "billing"), workflowService+"PollWorkflowTaskQueue", "billing", own))
}

func TestTheServersOwnNamespace(t *testing.T) {
	b := newBench(t, nil)
	for _, role := range []token.Role{token.RoleWorker, token.RoleClient, token.RoleOperator} {
		require.False(t, b.allowed(b.bearer(role, token.ClusterWide), start, "temporal-system", nil), role)
	}
	require.True(t, b.allowed(b.bearer(token.RoleReader, token.ClusterWide), workflowService+"ListWorkflowExecutions", "temporal-system", nil))
	require.False(t, b.allowed(b.bearer(token.RoleReader, "billing"), workflowService+"ListWorkflowExecutions", "temporal-system", nil))
	require.False(t, b.allowed(b.bearer(token.RoleAdmin, token.ClusterWide), workflowService+"PollWorkflowTaskQueue", "temporal-system",
		&workflowservice.PollWorkflowTaskQueueRequest{TaskQueue: queue("default-worker-tq")}))
}

func TestNamespaceAdminChangesOwnSettingsOnly(t *testing.T) {
	b := newBench(t, nil)
	for name, req := range map[string]*workflowservice.UpdateNamespaceRequest{
		"promote":     {PromoteNamespace: true},
		"replication": {ReplicationConfig: &replicationpb.NamespaceReplicationConfig{}},
		"state":       {UpdateInfo: &namespacepb.UpdateNamespaceInfo{State: enumspb.NAMESPACE_STATE_DEPRECATED}},
		"attributes":  {Config: &namespacepb.NamespaceConfig{CustomSearchAttributeAliases: map[string]string{"a": "b"}}},
		"archive":     {Config: &namespacepb.NamespaceConfig{HistoryArchivalUri: "s3://elsewhere"}},
		"archive on":  {Config: &namespacepb.NamespaceConfig{VisibilityArchivalState: enumspb.ARCHIVAL_STATE_ENABLED}},
	} {
		require.False(t, b.allowed(b.bearer(token.RoleAdmin, "billing"), workflowService+"UpdateNamespace", "billing", req), name)
		require.True(t, b.allowed(b.bearer(token.RoleAdmin, token.ClusterWide), workflowService+"UpdateNamespace", "billing", req), name)
	}
}
