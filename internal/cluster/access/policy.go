package access

import (
	"strings"

	"go.temporal.io/server/common/api"
)

const (
	workflowService    = api.WorkflowServicePrefix
	operatorService    = api.OperatorServicePrefix
	adminService       = api.AdminServicePrefix
	nexusService       = api.NexusServicePrefix
	healthService      = "/grpc.health.v1.Health/"
	reflectionV1       = "/grpc.reflection.v1.ServerReflection/"
	reflectionV1Alpha  = "/grpc.reflection.v1alpha.ServerReflection/"
	systemNamespace    = "temporal-system"
	listNamespacesName = workflowService + "ListNamespaces"
)

// scope says where a caller must hold the role.
type scope uint8

const (
	// inNamespace is the namespace that the request names, or cluster-wide.
	inNamespace scope = iota + 1
	// cluster is cluster-wide only.
	cluster
	// somewhere is any namespace.
	somewhere
	// authenticated needs no role: a genuine token is enough.
	authenticated
	// probe needs a genuine token, or a certificate alone.
	probe
)

// effect says whether a method changes anything. When decisions cannot be
// recorded, changes are refused while reads go on.
type effect uint8

const (
	read effect = iota + 1
	change
)

// row is one line of the policy.
type row struct {
	service string
	where   scope
	may     roles
	effect  effect
	methods string
}

// policyTable is who may call what: every method of every service on the
// frontend. What is not here is refused. Where two roles are given, each
// suffices.
//
// Rows that deserve a reason:
//   - The health check is open to a certificate alone, because load balancers
//     and orchestrators probe without a user's token and it tells nothing but
//     "serving". GetSystemInfo is not: every SDK calls it with its token.
//   - Workers read histories (a worker that lost its cache replays) and describe
//     their namespace (an SDK's worker does not start without it).
//   - Schedules belong to the client, their deletion included: a schedule is the
//     client's own standing order, not someone's running work.
//   - What routes tasks to other code (deployments, versioning rules, task queue
//     configuration) is the operator's, like pausing and resetting.
//   - ValidateWorkerDeploymentVersionComputeConfig acts with the deployment's
//     own credentials, so it is no read, whatever its name.
//   - Namespaces and search attributes are the cluster's: creating, deleting and
//     moving them is system's. UpdateNamespace is admin's as far as it concerns
//     the namespace's own settings (see inspect).
var policyTable = []row{
	{healthService, probe, 0, read, `Check Watch List`},
	{reflectionV1, authenticated, 0, read, `ServerReflectionInfo`},
	{reflectionV1Alpha, authenticated, 0, read, `ServerReflectionInfo`},

	{workflowService, authenticated, 0, read, `GetSystemInfo GetClusterInfo ListNamespaces`},
	{workflowService, somewhere, reader, read, `GetSearchAttributes`},

	{workflowService, inNamespace, reader | worker, read, `DescribeNamespace GetWorkflowExecutionHistory FetchWorkerConfig`},

	{workflowService, inNamespace, worker, change, `
		PollWorkflowTaskQueue PollActivityTaskQueue PollNexusTaskQueue
		RespondWorkflowTaskCompleted RespondWorkflowTaskFailed RespondQueryTaskCompleted
		RespondActivityTaskCompleted RespondActivityTaskCompletedById
		RespondActivityTaskFailed RespondActivityTaskFailedById
		RespondActivityTaskCanceled RespondActivityTaskCanceledById
		RecordActivityTaskHeartbeat RecordActivityTaskHeartbeatById
		RespondNexusTaskCompleted RespondNexusTaskFailed
		ResetStickyTaskQueue ShutdownWorker RecordWorkerHeartbeat`},

	{workflowService, inNamespace, reader, read, `
		DescribeWorkflowExecution GetWorkflowExecutionHistoryReverse QueryWorkflow
		ListWorkflowExecutions ListOpenWorkflowExecutions ListClosedWorkflowExecutions
		ListArchivedWorkflowExecutions ScanWorkflowExecutions CountWorkflowExecutions
		PollWorkflowExecutionUpdate PollWorkflowExecutionTimeSkipping
		DescribeActivityExecution ListActivityExecutions CountActivityExecutions PollActivityExecution
		DescribeNexusOperationExecution ListNexusOperationExecutions CountNexusOperationExecutions
		PollNexusOperationExecution
		DescribeSchedule ListSchedules CountSchedules ListScheduleMatchingTimes
		DescribeTaskQueue ListTaskQueuePartitions
		DescribeBatchOperation ListBatchOperations
		DescribeWorker ListWorkers CountWorkers
		GetWorkerBuildIdCompatibility GetWorkerVersioningRules GetWorkerTaskReachability
		DescribeDeployment ListDeployments GetDeploymentReachability GetCurrentDeployment
		DescribeWorkerDeployment ListWorkerDeployments DescribeWorkerDeploymentVersion
		DescribeWorkflowRule ListWorkflowRules`},

	{workflowService, inNamespace, client, change, `
		StartWorkflowExecution SignalWorkflowExecution SignalWithStartWorkflowExecution
		UpdateWorkflowExecution RequestCancelWorkflowExecution ExecuteMultiOperation
		StartActivityExecution RequestCancelActivityExecution
		StartNexusOperationExecution RequestCancelNexusOperationExecution
		CreateSchedule UpdateSchedule PatchSchedule DeleteSchedule`},

	{workflowService, inNamespace, operator, change, `
		TerminateWorkflowExecution DeleteWorkflowExecution ResetWorkflowExecution
		PauseWorkflowExecution UnpauseWorkflowExecution UpdateWorkflowExecutionOptions
		TerminateActivityExecution DeleteActivityExecution ResetActivityExecution
		PauseActivityExecution UnpauseActivityExecution UpdateActivityExecutionOptions
		PauseActivity UnpauseActivity ResetActivity UpdateActivityOptions
		TerminateNexusOperationExecution DeleteNexusOperationExecution
		StartBatchOperation StopBatchOperation
		CreateWorkflowRule DeleteWorkflowRule TriggerWorkflowRule
		UpdateTaskQueueConfig UpdateWorkerConfig
		UpdateWorkerBuildIdCompatibility UpdateWorkerVersioningRules SetCurrentDeployment
		CreateWorkerDeployment DeleteWorkerDeployment
		CreateWorkerDeploymentVersion DeleteWorkerDeploymentVersion
		UpdateWorkerDeploymentVersionMetadata UpdateWorkerDeploymentVersionComputeConfig
		ValidateWorkerDeploymentVersionComputeConfig
		SetWorkerDeploymentCurrentVersion SetWorkerDeploymentRampingVersion SetWorkerDeploymentManager`},

	{workflowService, inNamespace, admin, change, `UpdateNamespace`},
	{workflowService, cluster, system, change, `RegisterNamespace DeprecateNamespace`},

	{operatorService, inNamespace, reader, read, `ListSearchAttributes`},
	{operatorService, cluster, reader, read, `ListClusters GetNexusEndpoint ListNexusEndpoints`},
	{operatorService, cluster, system, change, `
		AddSearchAttributes RemoveSearchAttributes DeleteNamespace
		AddOrUpdateRemoteCluster RemoveRemoteCluster
		CreateNexusEndpoint UpdateNexusEndpoint DeleteNexusEndpoint`},

	{nexusService, inNamespace, client, change, `DispatchNexusTask DispatchByNamespaceAndTaskQueue DispatchByEndpoint`},
	{nexusService, inNamespace, client | worker, change, `CompleteNexusOperation CompleteNexusOperationChasm`},

	{adminService, cluster, system, read, `
		DescribeMutableState DescribeHistoryHost GetShard ListHistoryTasks
		GetWorkflowExecutionRawHistoryV2 GetWorkflowExecutionRawHistory
		GetReplicationMessages GetNamespaceReplicationMessages GetDLQReplicationMessages
		GetSearchAttributes DescribeCluster ListClusters ListClusterMembers
		GetDLQMessages GetDLQTasks DescribeDLQJob GetTaskQueueTasks GetNamespace
		ListQueues DeepHealthCheck DescribeTaskQueuePartition GetTaskQueueUserData`},
	{adminService, cluster, system, change, `
		RebuildMutableState ImportWorkflowExecution CloseShard RemoveTask ReapplyEvents
		AddSearchAttributes RemoveSearchAttributes AddOrUpdateRemoteCluster RemoveRemoteCluster
		PurgeDLQMessages MergeDLQMessages PurgeDLQTasks MergeDLQTasks CancelDLQJob
		RefreshWorkflowTasks StartAdminBatchOperation ResendReplicationTasks
		DeleteWorkflowExecution StreamWorkflowReplicationMessages AddTasks SyncWorkflowState
		GenerateLastHistoryReplicationTasks ForceUnloadTaskQueuePartition MigrateSchedule`},
}

// index is the table by full method name. A method that is listed twice gets
// the row listed last, which a test rules out.
func index(table []row) map[string]*row {
	methods := make(map[string]*row, 256)
	for i := range table {
		for _, m := range strings.Fields(table[i].methods) {
			methods[table[i].service+m] = &table[i]
		}
	}
	return methods
}
