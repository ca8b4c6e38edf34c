//lint:file-ignore SA1019 What is deprecated for senders still counts when it is received.

package access

import (
	commandpb "go.temporal.io/api/command/v1"
	enumspb "go.temporal.io/api/enums/v1"
	schedulepb "go.temporal.io/api/schedule/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/server/common/primitives"
)

// refusal is why a call is refused: what the caller is told, and what the audit
// log says. A nil *refusal is no refusal.
type refusal struct {
	told   string
	reason string
}

func missing(r roles) *refusal { return &refusal{told: r.missing(), reason: r.missing()} }

// act is one thing that a request does. Most requests do one, the call itself.
// Others carry more: the commands of a workflow task, the operations of a
// multi-operation, the action of a schedule. Each is judged as if it had been
// called by itself, or a rule about starts could be dodged by a child workflow.
type act struct {
	api          string // method name without service
	namespace    string
	taskQueue    string
	workflowType string
	activityType string
	target       string // what it acts on: a workflow, schedule, activity, query
	via          string // "call", "command", "operation", "schedule" or "batch"
}

// inspection judges what is inside one request.
type inspection struct {
	caller    *Caller
	cert      *certificate
	namespace string
	api       string
	rules     []*rule
}

// request judges a request by its content, after the table has let it through.
// The request's type decides, not the method's name: Temporal asks about a
// command's target with the target's method and the whole request.
func (i *inspection) request(req any) *refusal {
	switch r := req.(type) {
	case *workflowservice.PollWorkflowTaskQueueRequest:
		return i.poll(r.GetTaskQueue())
	case *workflowservice.PollActivityTaskQueueRequest:
		return i.poll(r.GetTaskQueue())
	case *workflowservice.PollNexusTaskQueueRequest:
		return i.poll(r.GetTaskQueue())
	case *workflowservice.StartWorkflowExecutionRequest:
		return i.start(r, "call")
	case *workflowservice.SignalWithStartWorkflowExecutionRequest:
		if r := i.terminating(r.GetWorkflowIdConflictPolicy(), r.GetWorkflowIdReusePolicy(), i.namespace); r != nil {
			return r
		}
		return i.act(&act{api: i.api, taskQueue: r.GetTaskQueue().GetName(), workflowType: r.GetWorkflowType().GetName(), target: r.GetWorkflowId(), via: "call"})
	case *workflowservice.ExecuteMultiOperationRequest:
		return i.multiOperation(r)
	case *workflowservice.RespondWorkflowTaskCompletedRequest:
		return i.commands(r.GetCommands())
	case *workflowservice.CreateScheduleRequest:
		return firstOf(i.schedule(r.GetSchedule(), r.GetScheduleId()), i.patch(r.GetInitialPatch()), i.self(r.GetScheduleId()))
	case *workflowservice.UpdateScheduleRequest:
		return firstOf(i.schedule(r.GetSchedule(), r.GetScheduleId()), i.self(r.GetScheduleId()))
	case *workflowservice.PatchScheduleRequest:
		return firstOf(i.patch(r.GetPatch()), i.self(r.GetScheduleId()))
	case *workflowservice.StartActivityExecutionRequest:
		return i.act(&act{api: i.api, taskQueue: r.GetTaskQueue().GetName(), activityType: r.GetActivityType().GetName(), target: r.GetActivityId(), via: "call"})
	case *workflowservice.StartBatchOperationRequest:
		return i.batch(r)
	case *workflowservice.DescribeNamespaceRequest:
		// The id wins over the name in parts of the server: a caller must not pass
		// the check with one namespace's name and read another's by id.
		if r.GetId() != "" && i.caller.everywhere&reader == 0 {
			return missing(reader)
		}
		return i.self("")
	case *workflowservice.UpdateNamespaceRequest:
		return firstOf(i.updateNamespace(r), i.self(""))
	}
	if len(i.rules) == 0 {
		return nil
	}
	return i.act(&act{api: i.api, taskQueue: taskQueueOf(req), target: targetOf(req), via: "call"})
}

func firstOf(list ...*refusal) *refusal {
	for _, r := range list {
		if r != nil {
			return r
		}
	}
	return nil
}

// self judges the call itself where only its target matters.
func (i *inspection) self(target string) *refusal {
	return i.act(&act{api: i.api, target: target, via: "call"})
}

// act judges one thing: its task queue and the rules.
func (i *inspection) act(a *act) *refusal {
	if a.namespace == "" {
		a.namespace = i.namespace
	}
	if internalQueue(a.taskQueue) {
		return &refusal{reason: "internal task queue"}
	}
	for _, r := range i.rules {
		if refused := r.judge(a, i.caller, i.cert); refused != nil {
			return refused
		}
	}
	return nil
}

// poll judges a poll. Temporal refuses starts on its internal task queues but
// lets anyone who may poll take tasks from them, and with the tasks the
// schedules, batches and deployments of the namespace.
func (i *inspection) poll(q *taskqueuepb.TaskQueue) *refusal {
	if i.namespace == systemNamespace || primitives.IsInternalTaskQueueKind(q.GetKind()) ||
		internalQueue(q.GetNormalName()) {
		return &refusal{reason: "internal task queue"}
	}
	return i.act(&act{api: i.api, taskQueue: q.GetName(), target: q.GetName(), via: "call"})
}

// internalQueue reports whether only the server's own workers use a task queue.
func internalQueue(name string) bool {
	return primitives.IsInternalTaskQueue(name) || primitives.IsInternalPerNsTaskQueue(name)
}

func (i *inspection) start(r *workflowservice.StartWorkflowExecutionRequest, via string) *refusal {
	if refused := i.terminating(r.GetWorkflowIdConflictPolicy(), r.GetWorkflowIdReusePolicy(), i.namespace); refused != nil {
		return refused
	}
	return i.act(&act{api: "StartWorkflowExecution", taskQueue: r.GetTaskQueue().GetName(), workflowType: r.GetWorkflowType().GetName(), target: r.GetWorkflowId(), via: via})
}

// terminating asks for operator if a start would terminate a running workflow
// of the same id.
func (i *inspection) terminating(c enumspb.WorkflowIdConflictPolicy, r enumspb.WorkflowIdReusePolicy, namespace string) *refusal {
	if c == enumspb.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING || r == enumspb.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING {
		return i.need(operator, namespace)
	}
	return nil
}

// need asks for a role in a namespace.
func (i *inspection) need(r roles, namespace string) *refusal {
	if i.caller.in(namespace)&r == 0 || (namespace == systemNamespace && i.caller.everywhere&system == 0) {
		return missing(r)
	}
	return nil
}

var errNamespaces = &refusal{reason: "namespaces inside the request differ"}

// multiOperation judges each operation. One for another namespace is refused
// whoever asks: the outer name is what was authorised, and what the server then
// used was once the inner one (CVE-2025-14986).
func (i *inspection) multiOperation(r *workflowservice.ExecuteMultiOperationRequest) *refusal {
	for _, op := range r.GetOperations() {
		if start := op.GetStartWorkflow(); start != nil {
			if ns := start.GetNamespace(); ns != "" && ns != i.namespace {
				return errNamespaces
			}
			if refused := i.start(start, "operation"); refused != nil {
				return refused
			}
		}
		if update := op.GetUpdateWorkflow(); update != nil {
			if ns := update.GetNamespace(); ns != "" && ns != i.namespace {
				return errNamespaces
			}
			if refused := i.act(&act{api: "UpdateWorkflowExecution", target: update.GetWorkflowExecution().GetWorkflowId(), via: "operation"}); refused != nil {
				return refused
			}
		}
	}
	return i.self("")
}

// commands judges what a workflow asks for at the end of a workflow task. In
// its own namespace a workflow may start children and activities: that is the
// worker's work. In another it needs what a client needs there.
func (i *inspection) commands(list []*commandpb.Command) *refusal {
	for _, c := range list {
		var a act
		switch attr := c.GetAttributes().(type) {
		case *commandpb.Command_StartChildWorkflowExecutionCommandAttributes:
			v := attr.StartChildWorkflowExecutionCommandAttributes
			ns := v.GetNamespace()
			if ns == "" {
				ns = i.namespace
			}
			if refused := i.terminating(0, v.GetWorkflowIdReusePolicy(), ns); refused != nil {
				return refused
			}
			a = act{api: "StartWorkflowExecution", namespace: v.GetNamespace(), taskQueue: v.GetTaskQueue().GetName(), workflowType: v.GetWorkflowType().GetName(), target: v.GetWorkflowId()}
		case *commandpb.Command_ContinueAsNewWorkflowExecutionCommandAttributes:
			v := attr.ContinueAsNewWorkflowExecutionCommandAttributes
			a = act{api: "StartWorkflowExecution", taskQueue: v.GetTaskQueue().GetName(), workflowType: v.GetWorkflowType().GetName()}
		case *commandpb.Command_ScheduleActivityTaskCommandAttributes:
			v := attr.ScheduleActivityTaskCommandAttributes
			a = act{api: "StartActivityExecution", taskQueue: v.GetTaskQueue().GetName(), activityType: v.GetActivityType().GetName(), target: v.GetActivityId()}
		case *commandpb.Command_SignalExternalWorkflowExecutionCommandAttributes:
			v := attr.SignalExternalWorkflowExecutionCommandAttributes
			a = act{api: "SignalWorkflowExecution", namespace: v.GetNamespace(), target: v.GetExecution().GetWorkflowId()}
		case *commandpb.Command_RequestCancelExternalWorkflowExecutionCommandAttributes:
			v := attr.RequestCancelExternalWorkflowExecutionCommandAttributes
			a = act{api: "RequestCancelWorkflowExecution", namespace: v.GetNamespace(), target: v.GetWorkflowId()}
		case *commandpb.Command_ScheduleNexusOperationCommandAttributes:
			a = act{api: "StartNexusOperationExecution", target: attr.ScheduleNexusOperationCommandAttributes.GetEndpoint()}
		default:
			continue // timers, markers and the workflow's own end concern nothing else
		}
		if a.namespace != "" && a.namespace != i.namespace {
			if refused := i.need(client, a.namespace); refused != nil {
				return refused
			}
		}
		a.via = "command"
		if refused := i.act(&a); refused != nil {
			return refused
		}
	}
	if len(i.rules) == 0 {
		return nil
	}
	return i.self("")
}

// schedule judges what a schedule will start, time and again, in the caller's name.
func (i *inspection) schedule(s *schedulepb.Schedule, id string) *refusal {
	if refused := i.overlap(s.GetPolicies().GetOverlapPolicy()); refused != nil {
		return refused
	}
	w := s.GetAction().GetStartWorkflow()
	if w == nil {
		return nil
	}
	if refused := i.terminating(0, w.GetWorkflowIdReusePolicy(), i.namespace); refused != nil {
		return refused
	}
	return i.act(&act{api: "StartWorkflowExecution", taskQueue: w.GetTaskQueue().GetName(), workflowType: w.GetWorkflowType().GetName(), target: w.GetWorkflowId(), via: "schedule"})
}

func (i *inspection) patch(p *schedulepb.SchedulePatch) *refusal {
	if refused := i.overlap(p.GetTriggerImmediately().GetOverlapPolicy()); refused != nil {
		return refused
	}
	for _, b := range p.GetBackfillRequest() {
		if refused := i.overlap(b.GetOverlapPolicy()); refused != nil {
			return refused
		}
	}
	return nil
}

// overlap asks for operator if a schedule may terminate running workflows.
func (i *inspection) overlap(p enumspb.ScheduleOverlapPolicy) *refusal {
	if p == enumspb.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER {
		return i.need(operator, i.namespace)
	}
	return nil
}

// batch judges a batch by what it does to each workflow. The table already asks
// for operator; rules see the single method.
func (i *inspection) batch(r *workflowservice.StartBatchOperationRequest) *refusal {
	if len(i.rules) == 0 {
		return nil
	}
	a := act{target: r.GetVisibilityQuery(), via: "batch"}
	switch r.GetOperation().(type) {
	case *workflowservice.StartBatchOperationRequest_TerminationOperation:
		a.api = "TerminateWorkflowExecution"
	case *workflowservice.StartBatchOperationRequest_SignalOperation:
		a.api = "SignalWorkflowExecution"
	case *workflowservice.StartBatchOperationRequest_CancellationOperation:
		a.api = "RequestCancelWorkflowExecution"
	case *workflowservice.StartBatchOperationRequest_DeletionOperation:
		a.api = "DeleteWorkflowExecution"
	case *workflowservice.StartBatchOperationRequest_ResetOperation:
		a.api = "ResetWorkflowExecution"
	default:
		a.api = "UpdateWorkflowExecutionOptions"
	}
	return firstOf(i.act(&a), i.self(r.GetVisibilityQuery()))
}

// updateNamespace separates the namespace's own settings, which are its
// admin's, from what concerns the cluster: where it is replicated, whether it
// lives, its search attributes, and where its histories are archived, which
// would carry them out of the cluster.
func (i *inspection) updateNamespace(r *workflowservice.UpdateNamespaceRequest) *refusal {
	c := r.GetConfig()
	if r.GetPromoteNamespace() || r.GetReplicationConfig() != nil || r.GetUpdateInfo().GetState() != 0 ||
		len(c.GetCustomSearchAttributeAliases()) > 0 ||
		c.GetHistoryArchivalState() != 0 || c.GetHistoryArchivalUri() != "" ||
		c.GetVisibilityArchivalState() != 0 || c.GetVisibilityArchivalUri() != "" {
		if i.caller.everywhere&system == 0 {
			return missing(system)
		}
	}
	return nil
}

type (
	hasTaskQueue  interface{ GetTaskQueue() *taskqueuepb.TaskQueue }
	hasQueueName  interface{ GetTaskQueue() string }
	hasWorkflowID interface{ GetWorkflowId() string }
	hasSchedule   interface{ GetScheduleId() string }
	hasActivityID interface{ GetActivityId() string }
	hasJobID      interface{ GetJobId() string }
)

func taskQueueOf(req any) string {
	switch r := req.(type) {
	case hasTaskQueue:
		return r.GetTaskQueue().GetName()
	case hasQueueName:
		return r.GetTaskQueue()
	}
	return ""
}

// targetOf is what a request acts on, for the audit log and for rules.
func targetOf(req any) string {
	switch r := req.(type) {
	case nil:
		return ""
	case *workflowservice.ExecuteMultiOperationRequest:
		for _, op := range r.GetOperations() {
			if id := op.GetStartWorkflow().GetWorkflowId(); id != "" {
				return id
			}
		}
		return ""
	case hasWorkflowExecution:
		return r.GetWorkflowExecution().GetWorkflowId()
	case hasExecution:
		return r.GetExecution().GetWorkflowId()
	case hasWorkflowID:
		if id := r.GetWorkflowId(); id != "" {
			return id
		}
	case hasSchedule:
		return r.GetScheduleId()
	case hasActivityID:
		return r.GetActivityId()
	case hasJobID:
		return r.GetJobId()
	}
	return taskQueueOf(req)
}

// updateOf is the name and id of the update that a request sends, for the audit
// log.
func updateOf(req any) string {
	name := func(u *workflowservice.UpdateWorkflowExecutionRequest) string {
		return u.GetRequest().GetInput().GetName() + " " + u.GetRequest().GetMeta().GetUpdateId()
	}
	switch r := req.(type) {
	case *workflowservice.UpdateWorkflowExecutionRequest:
		return name(r)
	case *workflowservice.ExecuteMultiOperationRequest:
		for _, op := range r.GetOperations() {
			if u := op.GetUpdateWorkflow(); u != nil {
				return name(u)
			}
		}
	}
	return ""
}
