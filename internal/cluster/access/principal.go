//lint:file-ignore SA1019 What is deprecated for senders still counts when it is received.

package access

import (
	"context"
	"encoding/json"

	commandpb "go.temporal.io/api/command/v1"
	commonpb "go.temporal.io/api/common/v1"
	updatepb "go.temporal.io/api/update/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/server/common/authorization"
	"google.golang.org/grpc"
)

// PrincipalHeader is the header of a workflow's start, signal, update or query
// in which the server tells the workflow who sent it: a JSON payload with the
// members "type" and "name" of the verified principal. What callers put there
// is removed. Workflows thereby know whose approval an update is; without it,
// they would have to believe the caller.
//
// The server's own workers and the commands of workflows carry no principal:
// nobody has verified a person behind them.
const PrincipalHeader = "tenon-principal"

// stampPrincipal writes the verified principal into the header of what a call
// hands to a workflow, and removes it wherever else a request has a header.
func stampPrincipal(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	claims, _ := ctx.Value(authorization.MappedClaims).(*authorization.Claims)
	if err := stamp(req, principalPayload(claims)); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// StripPrincipal is for a server without access control: nobody is verified
// there, and so nobody may be named.
func StripPrincipal() grpc.UnaryServerInterceptor { return stampPrincipal }

// verified returns who a call's claims are, nil for the server itself and for
// callers that this package's mapper has not seen.
func verified(claims *authorization.Claims) *commonpb.Principal {
	if isInternal(claims) {
		return nil
	}
	caller := FromClaims(claims)
	if caller == nil || caller.refused != nil {
		return nil
	}
	return caller.principal
}

func principalPayload(claims *authorization.Claims) func() (*commonpb.Payload, error) {
	return func() (*commonpb.Payload, error) {
		p := verified(claims)
		if p == nil {
			return nil, nil
		}
		data, err := json.Marshal(map[string]string{"type": p.GetType(), "name": p.GetName()})
		if err != nil {
			return nil, err
		}
		return &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: data}, nil
	}
}

// stamp visits every header that a request can have. A header that it did not
// know would be a way to speak in another's name: a test walks the API's requests
// for headers that are missing here.
func stamp(req any, principal func() (*commonpb.Payload, error)) error {
	set := func(h **commonpb.Header) error {
		p, err := principal()
		if err != nil {
			return err
		}
		if p == nil {
			strip(*h)
			return nil
		}
		if *h == nil {
			*h = &commonpb.Header{}
		}
		if (*h).Fields == nil {
			(*h).Fields = map[string]*commonpb.Payload{}
		}
		(*h).Fields[PrincipalHeader] = p
		return nil
	}
	update := func(u *workflowservice.UpdateWorkflowExecutionRequest) error {
		if u.GetRequest() == nil {
			return nil // the handler refuses it
		}
		if u.GetRequest().GetInput() == nil {
			u.Request.Input = &updatepb.Input{}
		}
		return set(&u.Request.Input.Header)
	}
	switch r := req.(type) {
	case *workflowservice.StartWorkflowExecutionRequest:
		return set(&r.Header)
	case *workflowservice.SignalWorkflowExecutionRequest:
		return set(&r.Header)
	case *workflowservice.SignalWithStartWorkflowExecutionRequest:
		return set(&r.Header)
	case *workflowservice.UpdateWorkflowExecutionRequest:
		return update(r)
	case *workflowservice.QueryWorkflowRequest:
		if r.GetQuery() != nil {
			return set(&r.Query.Header)
		}
	case *workflowservice.ExecuteMultiOperationRequest:
		for _, op := range r.GetOperations() {
			if start := op.GetStartWorkflow(); start != nil {
				if err := set(&start.Header); err != nil {
					return err
				}
			}
			if u := op.GetUpdateWorkflow(); u != nil {
				if err := update(u); err != nil {
					return err
				}
			}
		}
	case *workflowservice.CreateScheduleRequest:
		strip(r.GetSchedule().GetAction().GetStartWorkflow().GetHeader())
	case *workflowservice.UpdateScheduleRequest:
		strip(r.GetSchedule().GetAction().GetStartWorkflow().GetHeader())
	case *workflowservice.StartActivityExecutionRequest:
		strip(r.GetHeader())
	case *workflowservice.StartBatchOperationRequest:
		strip(r.GetSignalOperation().GetHeader())
		for _, op := range r.GetResetOperation().GetPostResetOperations() {
			strip(op.GetSignalWorkflow().GetHeader())
		}
	case *workflowservice.ResetWorkflowExecutionRequest:
		for _, op := range r.GetPostResetOperations() {
			strip(op.GetSignalWorkflow().GetHeader())
		}
	case *workflowservice.RespondWorkflowTaskCompletedRequest:
		for _, c := range r.GetCommands() {
			stripCommand(c)
		}
	}
	return nil
}

func stripCommand(c *commandpb.Command) {
	switch a := c.GetAttributes().(type) {
	case *commandpb.Command_StartChildWorkflowExecutionCommandAttributes:
		strip(a.StartChildWorkflowExecutionCommandAttributes.GetHeader())
	case *commandpb.Command_SignalExternalWorkflowExecutionCommandAttributes:
		strip(a.SignalExternalWorkflowExecutionCommandAttributes.GetHeader())
	case *commandpb.Command_ContinueAsNewWorkflowExecutionCommandAttributes:
		strip(a.ContinueAsNewWorkflowExecutionCommandAttributes.GetHeader())
	case *commandpb.Command_ScheduleActivityTaskCommandAttributes:
		strip(a.ScheduleActivityTaskCommandAttributes.GetHeader())
	case *commandpb.Command_RecordMarkerCommandAttributes:
		strip(a.RecordMarkerCommandAttributes.GetHeader())
	}
}

func strip(h *commonpb.Header) {
	if h != nil {
		delete(h.Fields, PrincipalHeader)
	}
}
