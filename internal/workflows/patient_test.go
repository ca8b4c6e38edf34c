package workflows_test

import (
	"time"

	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/workflow"
)

// patient gives activities a minute between heartbeats. The test environment counts
// the wait between two attempts as silence, which a cluster does not.
type patient struct {
	interceptor.WorkerInterceptorBase
}

func (*patient) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	i := &patientInbound{}
	i.Next = next
	return i
}

type patientInbound struct {
	interceptor.WorkflowInboundInterceptorBase
}

func (i *patientInbound) Init(next interceptor.WorkflowOutboundInterceptor) error {
	o := &patientOutbound{}
	o.Next = next
	return i.Next.Init(o)
}

type patientOutbound struct {
	interceptor.WorkflowOutboundInterceptorBase
}

func (o *patientOutbound) ExecuteActivity(ctx workflow.Context, activity string, args ...any) workflow.Future {
	if workflow.GetActivityOptions(ctx).HeartbeatTimeout > 0 {
		ctx = workflow.WithHeartbeatTimeout(ctx, time.Minute)
	}
	return o.Next.ExecuteActivity(ctx, activity, args...)
}
