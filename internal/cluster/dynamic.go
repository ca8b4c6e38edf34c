package cluster

import (
	"maps"
	"time"

	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/server/common/dynamicconfig"
)

// connectionAge is after how long the frontend asks a client to connect anew.
const connectionAge = time.Minute

// ConnectionAge is the longest that a client keeps making calls on one
// connection to the frontend: gRPC spreads the age by a tenth either way.
const ConnectionAge = connectionAge + connectionAge/10 + 5*time.Second

// baseDynamicConfig is Temporal's dynamic configuration as we ship it. The
// stock values are for a node of a large cluster; what differs here either
// closes something or gives a small machine its memory back.
func baseDynamicConfig(sqlite bool) dynamicconfig.StaticClient {
	values := dynamicconfig.StaticClient{
		// The caller's verified identity is written into every history event:
		// who terminated it is then not what the client says of itself.
		dynamicconfig.EnablePrincipalPropagation.Key(): true,
		// Connections are made anew every minute: revocations and retired roots
		// reach them without a refused call, at the price of a handshake.
		dynamicconfig.KeepAliveMaxConnectionAge.Key(): connectionAge,

		// Gossip, where there is any, runs under the internode certificates.
		dynamicconfig.EnableRingpopTLS.Key(): true,

		// There is no replication and no archival, so one idle worker each is
		// all that their schedulers get.
		dynamicconfig.ReplicationProcessorSchedulerWorkerCount.Key():            1,
		dynamicconfig.ReplicationLowPriorityProcessorSchedulerWorkerCount.Key(): 1,
		dynamicconfig.ArchivalProcessorSchedulerWorkerCount.Key():               1,
	}
	if !sqlite {
		return values
	}
	maps.Copy(values, dynamicconfig.StaticClient{
		// One writer at a time: hundreds of task workers would only wait for
		// each other, each with a stack of its own.
		dynamicconfig.TransferProcessorSchedulerWorkerCount.Key():    sqliteTaskWorkers,
		dynamicconfig.TimerProcessorSchedulerWorkerCount.Key():       sqliteTaskWorkers,
		dynamicconfig.VisibilityProcessorSchedulerWorkerCount.Key():  sqliteTaskWorkers,
		dynamicconfig.MemoryTimerProcessorSchedulerWorkerCount.Key(): sqliteTaskWorkers / 4,

		// One host needs no partitions: each is a task queue with goroutines
		// and a lease of its own.
		dynamicconfig.MatchingNumTaskqueueReadPartitions.Key():  1,
		dynamicconfig.MatchingNumTaskqueueWritePartitions.Key(): 1,

		// The stock cache keeps up to 128 000 workflows for an hour, closed ones
		// too: gigabytes that nobody asks for again. Counted, not weighed: weighing
		// them reads a workflow's state while others write it.
		dynamicconfig.HistoryCacheHostLevelMaxSize.Key(): 1024,
		dynamicconfig.HistoryCacheTTL.Key():              10 * time.Minute,
		dynamicconfig.HistoryCacheBackgroundEvict.Key(): dynamicconfig.CacheBackgroundEvictSettings{
			Enabled: true, LoopInterval: time.Minute, MaxEntryPerCall: 1024,
		},
		dynamicconfig.EnableHostLevelEventsCache.Key():       true,
		dynamicconfig.EventsHostLevelCacheMaxSizeBytes.Key(): 8 << 20,
		dynamicconfig.EventsCacheTTL.Key():                   10 * time.Minute,
		dynamicconfig.WorkerStickyCacheSize.Key():            128,

		// The server's own workers: fewer pollers, each of which is a
		// goroutine, a stream, and a waiting call in three services.
		dynamicconfig.WorkerScannerMaxConcurrentActivityTaskPollers.Key():     2,
		dynamicconfig.WorkerScannerMaxConcurrentWorkflowTaskPollers.Key():     2,
		dynamicconfig.WorkerParentCloseMaxConcurrentActivityTaskPollers.Key(): 2,
		dynamicconfig.WorkerParentCloseMaxConcurrentWorkflowTaskPollers.Key(): 2,
		dynamicconfig.WorkerPerNamespaceWorkerOptions.Key(): sdkworker.Options{
			MaxConcurrentWorkflowTaskPollers: 2,
			MaxConcurrentActivityTaskPollers: 2,
			MaxConcurrentNexusTaskPollers:    2,
		},
		dynamicconfig.ShardFinalizerTimeout.Key(): 200 * time.Millisecond,
	})
	return values
}

// sqliteTaskWorkers is how many tasks of one kind are worked on at a time.
const sqliteTaskWorkers = 32
