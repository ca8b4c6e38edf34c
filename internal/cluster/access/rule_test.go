package access

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	batchpb "go.temporal.io/api/batch/v1"
	commandpb "go.temporal.io/api/command/v1"
	commonpb "go.temporal.io/api/common/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/tenonhq/tenon/internal/token"
)

// TestRuleReachesEveryWayToStart holds that a rule about starts cannot be
// dodged by a child, a multi-operation or a schedule.
func TestRuleReachesEveryWayToStart(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Rules = []Rule{{Name: "only-invoices", Namespaces: []string{"billing"}, APIs: []string{"StartWorkflowExecution", "SignalWithStartWorkflowExecution"},
			Require: `workflow_type == "Invoice" && task_queue == "invoices"`}}
	})
	admin := b.bearer(token.RoleAdmin, token.ClusterWide)
	for method, req := range map[string]func(typ, q string) any{
		"StartWorkflowExecution": func(typ, q string) any {
			return &workflowservice.StartWorkflowExecutionRequest{WorkflowType: workflowType(typ), TaskQueue: queue(q)}
		},
		"SignalWithStartWorkflowExecution": func(typ, q string) any {
			return &workflowservice.SignalWithStartWorkflowExecutionRequest{WorkflowType: workflowType(typ), TaskQueue: queue(q)}
		},
		"ExecuteMultiOperation": func(typ, q string) any {
			return operation(&workflowservice.StartWorkflowExecutionRequest{WorkflowType: workflowType(typ), TaskQueue: queue(q)}, &workflowservice.UpdateWorkflowExecutionRequest{})
		},
		"CreateSchedule": func(typ, q string) any {
			return &workflowservice.CreateScheduleRequest{Schedule: scheduled(&workflowpb.NewWorkflowExecutionInfo{WorkflowType: workflowType(typ), TaskQueue: queue(q)}, 0)}
		},
		"UpdateSchedule": func(typ, q string) any {
			return &workflowservice.UpdateScheduleRequest{Schedule: scheduled(&workflowpb.NewWorkflowExecutionInfo{WorkflowType: workflowType(typ), TaskQueue: queue(q)}, 0)}
		},
		"RespondWorkflowTaskCompleted": func(typ, q string) any {
			return child(&commandpb.StartChildWorkflowExecutionCommandAttributes{WorkflowType: workflowType(typ), TaskQueue: queue(q)})
		},
	} {
		require.True(t, b.allowed(admin, workflowService+method, "billing", req("Invoice", "invoices")), method)
		require.False(t, b.allowed(admin, workflowService+method, "billing", req("Refund", "invoices")), method)
		require.Contains(t, b.audit.last().Reason, `rule "only-invoices"`)
		require.Empty(t, b.call(withCert(b.cert), admin, workflowService+method, "billing", req("Refund", "invoices")).Reason, "the caller does not learn the rule")
		require.False(t, b.allowed(admin, workflowService+method, "billing", req("Invoice", "other")), method)
		require.True(t, b.allowed(admin, workflowService+method, "payroll", req("Refund", "other")), "%s in a namespace without the rule", method)
	}
	again := completed(&commandpb.Command{Attributes: &commandpb.Command_ContinueAsNewWorkflowExecutionCommandAttributes{
		ContinueAsNewWorkflowExecutionCommandAttributes: &commandpb.ContinueAsNewWorkflowExecutionCommandAttributes{WorkflowType: workflowType("Refund"), TaskQueue: queue("invoices")}}})
	require.False(t, b.allowed(admin, workflowService+"RespondWorkflowTaskCompleted", "billing", again))
}

func TestRuleForActivitiesSignalsNexusAndBatch(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Rules = []Rule{
			{Name: "activities", APIs: []string{"StartActivityExecution"}, Require: `activity_type != "Wipe"`},
			{Name: "signals", APIs: []string{"SignalWorkflowExecution", "RequestCancelWorkflowExecution"}, Require: `target != "vault"`},
			{Name: "nexus", APIs: []string{"StartNexusOperationExecution"}, Require: `target == "bank"`},
			{Name: "no-mass-deletion", APIs: []string{"DeleteWorkflowExecution"}, Require: `via != "batch"`},
		}
	})
	admin := b.bearer(token.RoleAdmin, token.ClusterWide)
	complete := workflowService + "RespondWorkflowTaskCompleted"
	activity := func(name string) any {
		return completed(&commandpb.Command{Attributes: &commandpb.Command_ScheduleActivityTaskCommandAttributes{
			ScheduleActivityTaskCommandAttributes: &commandpb.ScheduleActivityTaskCommandAttributes{ActivityType: &commonpb.ActivityType{Name: name}}}})
	}
	signal := func(id string) any {
		return completed(&commandpb.Command{Attributes: &commandpb.Command_SignalExternalWorkflowExecutionCommandAttributes{
			SignalExternalWorkflowExecutionCommandAttributes: &commandpb.SignalExternalWorkflowExecutionCommandAttributes{Execution: &commonpb.WorkflowExecution{WorkflowId: id}}}})
	}
	nexus := func(endpoint string) any {
		return completed(&commandpb.Command{Attributes: &commandpb.Command_ScheduleNexusOperationCommandAttributes{
			ScheduleNexusOperationCommandAttributes: &commandpb.ScheduleNexusOperationCommandAttributes{Endpoint: endpoint}}})
	}
	for _, c := range []struct {
		req any
		ok  bool
	}{{activity("Pay"), true}, {activity("Wipe"), false}, {signal("order"), true}, {signal("vault"), false}, {nexus("bank"), true}, {nexus("else"), false}} {
		require.Equal(t, c.ok, b.allowed(admin, complete, "billing", c.req))
	}
	require.True(t, b.allowed(admin, workflowService+"DeleteWorkflowExecution", "billing", &workflowservice.DeleteWorkflowExecutionRequest{}))
	require.False(t, b.allowed(admin, workflowService+"StartBatchOperation", "billing", &workflowservice.StartBatchOperationRequest{
		Operation: &workflowservice.StartBatchOperationRequest_DeletionOperation{DeletionOperation: &batchpb.BatchOperationDeletion{}}}))
	require.True(t, b.allowed(admin, workflowService+"StartBatchOperation", "billing", &workflowservice.StartBatchOperationRequest{
		Operation: &workflowservice.StartBatchOperationRequest_TerminationOperation{TerminationOperation: &batchpb.BatchOperationTermination{}}}))
}

func TestRuleByClaimSubjectCertificateAndQueue(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Rules = []Rule{
			{Name: "own-queue", APIs: []string{"PollWorkflowTaskQueue"}, Require: `task_queue.startsWith(subject + "-")`},
			{Name: "certificate", APIs: []string{"PollActivityTaskQueue"}, Require: `certificate.subject == "CN=worker-1" && size(certificate.fingerprint) == 64`},
			{Name: "claim", APIs: []string{"ListWorkflowExecutions"}, Require: `claims.department == "audit"`},
			{Name: "number", APIs: []string{"CountWorkflowExecutions"}, Require: `claims.exp > claims.iat && "worker" in roles`},
		}
	})
	all := b.bearer(token.RoleAdmin, token.ClusterWide)
	poll := func(q string) any { return &workflowservice.PollWorkflowTaskQueueRequest{TaskQueue: queue(q)} }
	require.True(t, b.allowed(all, workflowService+"PollWorkflowTaskQueue", "billing", poll("admin-of-temporal-system-q")))
	require.False(t, b.allowed(all, workflowService+"PollWorkflowTaskQueue", "billing", poll("other")))
	require.True(t, b.allowed(all, workflowService+"PollActivityTaskQueue", "billing", &workflowservice.PollActivityTaskQueueRequest{}))
	require.False(t, b.call(withCert(selfSigned(t, "worker-2")), all, workflowService+"PollActivityTaskQueue", "billing", &workflowservice.PollActivityTaskQueueRequest{}).Decision == 2)
	require.False(t, b.allowed(all, workflowService+"ListWorkflowExecutions", "billing", nil), "a rule that names a claim the token lacks refuses")
	require.Contains(t, b.audit.last().Reason, "failed")
	require.True(t, b.allowed(all, workflowService+"CountWorkflowExecutions", "billing", nil))
}

func TestARuleNeverAllows(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Rules = []Rule{{Name: "all", Require: "true"}} })
	require.False(t, b.allowed(b.bearer(token.RoleReader, "billing"), start, "billing", nil))
}

func TestRulesAreCheckedAllAtOnce(t *testing.T) {
	_, err := ParseRules([]byte(`
- {name: a, require: "task_queu == 'x'"}
- {name: a, require: "true"}
- {name: "", require: "true"}
- {name: c, apis: [StartWorkflow], require: "true"}
- {name: d, require: "1 + 1"}
- {name: e, require: ""}
`))
	require.Error(t, err)
	for _, want := range []string{"undeclared reference to 'task_queu'", "another rule has this name", "name is required", `no method "StartWorkflow"`, "yields int", "expression is required"} {
		require.ErrorContains(t, err, want)
	}
	_, err = ParseRules([]byte("- {name: a, requires: 'true'}"))
	require.ErrorContains(t, err, "requires")
	rules, err := ParseRules([]byte("rules:\n- {name: a, require: 'true'}"))
	require.NoError(t, err)
	require.Equal(t, []Rule{{Name: "a", Require: "true"}}, rules)
	rules, err = ParseRules(nil)
	require.NoError(t, err)
	require.Empty(t, rules)
}

func TestExpensiveRuleRefuses(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.Rules = []Rule{{Name: "slow", Require: `[1,2,3,4,5,6,7,8,9,0].all(a, [1,2,3,4,5,6,7,8,9,0].all(b, [1,2,3,4,5,6,7,8,9,0].all(c, [1,2,3,4,5,6,7,8,9,0].all(d, [1,2,3,4,5,6,7,8,9,0].all(e, a+b+c+d+e >= 0)))))`}}
	})
	require.False(t, b.allowed(b.bearer(token.RoleClient, "billing"), start, "billing", nil))
	require.Contains(t, b.audit.last().Reason, "failed")
}

func TestPermissionsExpression(t *testing.T) {
	extract, err := PermissionsExpression(`claims.groups.filter(g, g.matches("^[a-z]+$")).map(g, "default:" + g)`)
	require.NoError(t, err)
	got, err := extract(map[string]any{"groups": []any{"reader", "X Y"}})
	require.NoError(t, err)
	require.Equal(t, []string{"default:reader"}, got)
	_, err = extract(map[string]any{})
	require.Error(t, err)
	_, err = PermissionsExpression(`"x"`)
	require.ErrorContains(t, err, "yields string")

	// End to end: a token's claim becomes a role.
	b := newBench(t, nil)
	trust := b.issuer.Trust()
	trust.Permissions, err = PermissionsExpression(`claims.scope == "team-a" ? ["billing:client"] : []`)
	require.NoError(t, err)
	verifier, err := token.NewVerifier(token.VerifierConfig{Issuers: []token.IssuerTrust{trust}, Now: b.clock.now})
	require.NoError(t, err)
	b.access, err = New(Config{Verifier: verifier, Audit: b.audit, Now: b.clock.now})
	require.NoError(t, err)
	raw, _, err := b.issuer.Issue(context.Background(), token.IssueRequest{Subject: "x", Scope: "team-a"})
	require.NoError(t, err)
	require.True(t, b.allowed("Bearer "+raw.Reveal(), start, "billing", nil))
}

func FuzzRules(f *testing.F) {
	f.Add([]byte("- {name: a, apis: [StartWorkflowExecution], require: \"task_queue == 'x'\"}"))
	f.Add([]byte("rules: [{name: a, require: \"claims.a.b\"}]"))
	f.Add([]byte("rules: {}"))
	f.Add([]byte("- &a {name: b, require: *a}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := ParseRules(data)
		if err != nil {
			return
		}
		compiled, err := compileRules(rules)
		if err != nil {
			t.Fatalf("accepted rules do not compile: %v", err)
		}
		for _, r := range compiled {
			// Evaluating must end and must not fail in any way but refusing.
			_ = r.judge(&act{api: "StartWorkflowExecution", namespace: "x"}, &Caller{}, nil)
		}
	})
}
