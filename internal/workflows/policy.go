package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// policy is how often and how long one kind of activity is tried.
type policy struct {
	// attempt bounds one attempt; total bounds all of them and the waits between.
	attempt, total time.Duration
	// first and longest bound the wait between attempts, which doubles. A tenant
	// that names a time to wait (429) overrides it.
	first, longest time.Duration
}

// The activities' names, which are also their type names in histories.
const (
	activityCheckCredentials = "CheckCredentials"
	activityPlanResources    = "PlanResources"
	activityApplyStep        = "ApplyStep"
	activityRevertStep       = "RevertStep"
	activityCreateTickets    = "CreateTickets"
	activityEnrolMFA         = "EnrolMFA"
	activityDeleteSecrets    = "DeleteSecrets"
	activityRenderGrafana    = "RenderGrafana"
	activityRemoveGrafana    = "RemoveGrafana"
	activityPushGrafana      = "PushGrafana"
	activityProveWebApp      = "ProveWebApp"
	activityProveService     = "ProveService"

	activityOpenImport         = "OpenImport"
	activitySubmitImport       = "SubmitImport"
	activityFinishImport       = "FinishImport"
	activityListImportFailures = "ListImportFailures"
	activityExportTenant       = "ExportTenant"
	activityReadStack          = "ReadStack"
	activityPlanStack          = "PlanStack"
	activityApplySteps         = "ApplySteps"
	activityRevertSteps        = "RevertSteps"
)

// heartbeatTimeout is how long a worker may be silent before another one takes
// its activity over. It is short enough that a killed worker's step goes on within
// seconds, and long enough that a worker on a busy machine is not taken for
// dead: two workers on one step is what idempotency by name protects least.
const heartbeatTimeout = 5 * time.Second

// planFresh is how long a plan's record of an object is taken for the present when
// the object is to be deleted. It spares the tenant a call for each; other tools
// delete what they read minutes ago.
const planFresh = time.Minute

// policies is the one table of retries and timeouts. Errors that will not heal
// end the attempts whatever it says: activities return them as non-retryable.
func policies(activity string) policy {
	const second, minute, hour = time.Second, time.Minute, time.Hour
	switch activity {
	case activityCheckCredentials:
		// The first contact: nothing has changed yet, and somebody may be waiting to
		// hear that the tenant is unreachable.
		return policy{attempt: 20 * second, total: 30 * second, first: 500 * time.Millisecond, longest: 10 * second}
	case activityReadStack:
		// It makes no call: what is slow is a large text on a busy machine.
		return policy{attempt: 2 * minute, total: 10 * minute, first: 1 * second, longest: 10 * second}
	case activityPlanResources, activityPlanStack, activityExportTenant:
		return policy{attempt: 10 * minute, total: 1 * hour, first: 1 * second, longest: 1 * minute}
	case activityApplyStep:
		return policy{attempt: 10 * minute, total: 6 * hour, first: 1 * second, longest: 1 * minute}
	case activityApplySteps:
		// Up to stepsPerBatch steps an attempt, at the tenant's own rate.
		return policy{attempt: 30 * minute, total: 6 * hour, first: 1 * second, longest: 1 * minute}
	case activityRevertSteps:
		return policy{attempt: 30 * minute, total: 24 * hour, first: 1 * second, longest: 1 * minute}
	case activityCreateTickets, activityEnrolMFA:
		return policy{attempt: 3 * minute, total: 1 * hour, first: 1 * second, longest: 1 * minute}
	case activityOpenImport, activityListImportFailures:
		return policy{attempt: 30 * minute, total: 1 * hour, first: 1 * second, longest: 1 * minute}
	case activitySubmitImport:
		return policy{attempt: 10 * minute, total: 24 * hour, first: 1 * second, longest: 1 * minute}
	case activityFinishImport:
		// Auth0 gives a job two hours.
		return policy{attempt: 3 * hour, total: 24 * hour, first: 1 * second, longest: 1 * minute}
	case activityRenderGrafana:
		return policy{attempt: 30 * second, total: 10 * minute, first: 500 * time.Millisecond, longest: 30 * second}
	case activityPushGrafana, activityProveWebApp, activityProveService:
		return policy{attempt: 1 * minute, total: 10 * minute, first: 1 * second, longest: 30 * second}
	case activityRevertStep, activityDeleteSecrets, activityRemoveGrafana:
		// Undoing is tried for a day: what it leaves behind, a person has to find.
		return policy{attempt: 10 * minute, total: 24 * hour, first: 1 * second, longest: 1 * minute}
	}
	return policy{attempt: 1 * minute, total: 10 * minute, first: 1 * second, longest: 30 * second}
}

// options are the activity options of the table's row. The summary is what
// Temporal's UI shows beside the activity.
func options(activity, summary string) workflow.ActivityOptions {
	p := policies(activity)
	return workflow.ActivityOptions{
		ScheduleToCloseTimeout: p.total,
		StartToCloseTimeout:    p.attempt,
		HeartbeatTimeout:       heartbeatTimeout,
		// A cancelled workflow waits until the step has really stopped: undoing it
		// while it still runs would miss what it is about to create.
		WaitForCancellation: true,
		// A worker may take the activities of its workflows without asking; the batches
		// of a stack are for all workers, the first free one each.
		DisableEagerExecution: activity == activityApplySteps,
		Summary:               summary,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval:    p.first,
			BackoffCoefficient: 2,
			MaximumInterval:    p.longest,
		},
	}
}
