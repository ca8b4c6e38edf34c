package cluster

import (
	"context"
	"strings"
	"sync"

	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
)

// stopping ends the calls that wait for something to happen (polls for tasks,
// waits for a workflow's end) when the server stops. Left to themselves they
// hold each frontend open for its full grace period of a second.
type stopping struct {
	once  sync.Once
	begun chan struct{}
}

func newStopping() *stopping { return &stopping{begun: make(chan struct{})} }

func (s *stopping) begin() { s.once.Do(func() { close(s.begun) }) }

func (s *stopping) hasBegun() bool {
	select {
	case <-s.begun:
		return true
	default:
		return false
	}
}

// intercept gives a waiting call a context that ends when the server stops.
func (s *stopping) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !waits(info.FullMethod, req) {
		return next(ctx, req)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-s.begun:
			cancel()
		case <-done:
		}
	}()
	return next(ctx, req)
}

// waits tells the calls that the server holds until there is something to say.
func waits(method string, req any) bool {
	name := method[strings.LastIndexByte(method, '/')+1:]
	switch {
	case strings.HasPrefix(name, "Poll"):
		return true
	case name == "UpdateWorkflowExecution", name == "QueryWorkflow", name == "ExecuteMultiOperation":
		return true
	}
	h, ok := req.(*workflowservice.GetWorkflowExecutionHistoryRequest)
	return ok && h.GetWaitNewEvent()
}
