package access

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	batchpb "go.temporal.io/api/batch/v1"
	commonpb "go.temporal.io/api/common/v1"
	schedulepb "go.temporal.io/api/schedule/v1"
	updatepb "go.temporal.io/api/update/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/server/common/authorization"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/tenonhq/tenon/internal/token"
)

// through runs a request through the interceptor as a caller with that header.
func (b *bench) through(header string, req any) any {
	b.t.Helper()
	claims, err := b.access.ClaimMapper().GetClaims(&authorization.AuthInfo{AuthToken: header})
	require.NoError(b.t, err)
	return throughAs(b.t, claims, req)
}

func throughAs(t testing.TB, claims *authorization.Claims, req any) any {
	t.Helper()
	ctx := context.WithValue(context.Background(), authorization.MappedClaims, claims)
	seen, err := stampPrincipal(ctx, req, nil, func(_ context.Context, req any) (any, error) { return req, nil })
	require.NoError(t, err)
	return seen
}

func forged() *commonpb.Header {
	return &commonpb.Header{Fields: map[string]*commonpb.Payload{
		PrincipalHeader: {Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`{"name":"mallory","type":"jwt:tenon"}`)},
		"trace":         {Data: []byte("kept")},
	}}
}

func updateRequest(h *commonpb.Header) *workflowservice.UpdateWorkflowExecutionRequest {
	return &workflowservice.UpdateWorkflowExecutionRequest{
		WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: "stack/t/s"},
		Request:           &updatepb.Request{Meta: &updatepb.Meta{UpdateId: "approve/c1/abc"}, Input: &updatepb.Input{Name: "approve", Header: h}},
	}
}

func TestUpdatesCarryTheVerifiedPrincipal(t *testing.T) {
	b := newBench(t, nil)
	header := b.bearer(token.RoleClient, "billing")
	const want = `{"name":"client-of-billing","type":"jwt:tenon"}`
	field := func(h *commonpb.Header) string { return string(h.GetFields()[PrincipalHeader].GetData()) }

	for name, h := range map[string]*commonpb.Header{"no header": nil, "an empty one": {}, "a forged one": forged()} {
		t.Run(name, func(t *testing.T) {
			r := b.through(header, updateRequest(h)).(*workflowservice.UpdateWorkflowExecutionRequest)
			require.JSONEq(t, want, field(r.Request.Input.Header))
			if name == "a forged one" {
				require.Equal(t, "kept", string(r.Request.Input.Header.Fields["trace"].Data))
			}
		})
	}
	t.Run("an update with start", func(t *testing.T) {
		r := b.through(header, &workflowservice.ExecuteMultiOperationRequest{Operations: []*workflowservice.ExecuteMultiOperationRequest_Operation{
			{Operation: &workflowservice.ExecuteMultiOperationRequest_Operation_StartWorkflow{StartWorkflow: &workflowservice.StartWorkflowExecutionRequest{Header: forged()}}},
			{Operation: &workflowservice.ExecuteMultiOperationRequest_Operation_UpdateWorkflow{UpdateWorkflow: updateRequest(forged())}},
		}}).(*workflowservice.ExecuteMultiOperationRequest)
		require.JSONEq(t, want, field(r.Operations[0].GetStartWorkflow().GetHeader()))
		require.JSONEq(t, want, field(r.Operations[1].GetUpdateWorkflow().GetRequest().GetInput().GetHeader()))
	})
	t.Run("an update without input", func(t *testing.T) {
		r := b.through(header, &workflowservice.UpdateWorkflowExecutionRequest{Request: &updatepb.Request{}}).(*workflowservice.UpdateWorkflowExecutionRequest)
		require.JSONEq(t, want, field(r.Request.Input.Header))
		require.NotPanics(t, func() { b.through(header, &workflowservice.UpdateWorkflowExecutionRequest{}) })
	})
}

func TestNobodyVerifiedMeansNoPrincipal(t *testing.T) {
	b := newBench(t, nil)
	for name, claims := range map[string]*authorization.Claims{
		"no claims":           nil,
		"the server's own":    {System: authorization.RoleAdmin, AuthType: authorization.InternalPrincipalType, Subject: authorization.InternalPrincipalName},
		"another mapper's":    {Subject: "mallory", System: authorization.RoleAdmin},
		"a token not genuine": claimsOf(&Caller{refused: errNoToken}),
	} {
		t.Run(name, func(t *testing.T) {
			r := throughAs(t, claims, updateRequest(forged())).(*workflowservice.UpdateWorkflowExecutionRequest)
			require.NotContains(t, r.Request.Input.Header.Fields, PrincipalHeader)
			require.Contains(t, r.Request.Input.Header.Fields, "trace")
		})
	}
	r := b.through("Bearer rubbish", updateRequest(forged())).(*workflowservice.UpdateWorkflowExecutionRequest)
	require.NotContains(t, r.Request.Input.Header.Fields, PrincipalHeader)
}

// No request may bring a principal to a workflow by a header that stamp does not
// know. Every message below every request of the API is filled with forged
// headers, and none may be left.
func TestNoHeaderIsOverlooked(t *testing.T) {
	service := workflowservice.File_temporal_api_workflowservice_v1_service_proto.Services().Get(0)
	// Messages that go from the server, or that it does not pass on.
	outbound := map[protoreflect.FullName]bool{
		"temporal.api.protocol.v1.Message": true,
	}
	found := 0
	for i := range service.Methods().Len() {
		input := service.Methods().Get(i).Input()
		requests := alternatives(instance(t, input).ProtoReflect(), nil, outbound)
		if rest := instance(t, input).ProtoReflect(); forge(rest, nil, outbound) > 0 {
			requests = append(requests, rest)
		}
		for _, req := range requests {
			found++
			require.Contains(t, string(mustMarshal(t, req.Interface())), "mallory")
			throughAs(t, nil, req.Interface())
			require.NotContains(t, string(mustMarshal(t, req.Interface())), "mallory", "%s has a header that stamp does not know", input.FullName())
		}
	}
	require.Greater(t, found, 12)
}

func mustMarshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	require.NoError(t, err)
	return data
}

func instance(t *testing.T, d protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	for _, m := range []proto.Message{
		&workflowservice.StartWorkflowExecutionRequest{}, &workflowservice.SignalWorkflowExecutionRequest{},
		&workflowservice.SignalWithStartWorkflowExecutionRequest{}, &workflowservice.UpdateWorkflowExecutionRequest{},
		&workflowservice.QueryWorkflowRequest{}, &workflowservice.ExecuteMultiOperationRequest{}, &workflowservice.CreateScheduleRequest{},
		&workflowservice.UpdateScheduleRequest{}, &workflowservice.StartActivityExecutionRequest{}, &workflowservice.StartBatchOperationRequest{},
		&workflowservice.ResetWorkflowExecutionRequest{}, &workflowservice.RespondWorkflowTaskCompletedRequest{},
	} {
		if m.ProtoReflect().Descriptor().FullName() == d.FullName() {
			return m
		}
	}
	return dynamicpb.NewMessage(d) // of a type that stamp does not know
}

// forge puts a forged header wherever the message, or one below it, has one. Of
// oneofs it fills each member that a list can hold beside the others.
func forge(m protoreflect.Message, path []protoreflect.FullName, leave map[protoreflect.FullName]bool) int {
	name := m.Descriptor().FullName()
	if leave[name] || len(path) > 8 {
		return 0
	}
	for _, p := range path {
		if p == name {
			return 0
		}
	}
	path = append(path[:len(path):len(path)], name)
	if name == "temporal.api.common.v1.Header" {
		proto.Merge(m.Interface(), dynamicHeader(m))
		return 1
	}
	n := 0
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Kind() != protoreflect.MessageKind || f.IsMap() {
			continue
		}
		if f.IsList() {
			list := m.Mutable(f).List()
			for _, e := range alternatives(list.NewElement().Message(), path, leave) {
				list.Append(protoreflect.ValueOfMessage(e))
				n++
			}
			if list.Len() == 0 {
				m.Clear(f)
			}
			continue
		}
		sub := m.NewField(f).Message()
		if k := forge(sub, path, leave); k > 0 {
			m.Set(f, protoreflect.ValueOfMessage(sub))
			n += k
		}
	}
	return n
}

// alternatives makes one message for each member of its oneofs that holds a
// header, and one for the rest.
func alternatives(m protoreflect.Message, path []protoreflect.FullName, leave map[protoreflect.FullName]bool) []protoreflect.Message {
	var out []protoreflect.Message
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.ContainingOneof() == nil || f.Kind() != protoreflect.MessageKind || f.IsList() || f.IsMap() {
			continue
		}
		e := m.New()
		sub := e.NewField(f).Message()
		if forge(sub, append(path[:len(path):len(path)], m.Descriptor().FullName()), leave) > 0 {
			e.Set(f, protoreflect.ValueOfMessage(sub))
			out = append(out, e)
		}
	}
	if rest := m.New(); len(out) == 0 && forge(rest, path, leave) > 0 {
		out = append(out, rest)
	}
	return out
}

func dynamicHeader(m protoreflect.Message) proto.Message {
	data, err := proto.Marshal(forged())
	if err != nil {
		panic(err)
	}
	h := m.New().Interface()
	if err := proto.Unmarshal(data, h); err != nil {
		panic(err)
	}
	return h
}

func TestHeadersOfTheKnownWaysAround(t *testing.T) {
	for name, c := range map[string]struct {
		req    proto.Message
		header func(proto.Message) *commonpb.Header
	}{
		"a schedule's action": {
			&workflowservice.CreateScheduleRequest{Schedule: &schedulepb.Schedule{Action: &schedulepb.ScheduleAction{Action: &schedulepb.ScheduleAction_StartWorkflow{
				StartWorkflow: &workflowpb.NewWorkflowExecutionInfo{Header: forged()}}}}},
			func(m proto.Message) *commonpb.Header {
				return m.(*workflowservice.CreateScheduleRequest).Schedule.Action.GetStartWorkflow().Header
			},
		},
		"a batch's signal": {
			&workflowservice.StartBatchOperationRequest{Operation: &workflowservice.StartBatchOperationRequest_SignalOperation{
				SignalOperation: &batchpb.BatchOperationSignal{Header: forged()}}},
			func(m proto.Message) *commonpb.Header {
				return m.(*workflowservice.StartBatchOperationRequest).GetSignalOperation().Header
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			throughAs(t, nil, c.req)
			require.NotContains(t, c.header(c.req).Fields, PrincipalHeader)
			require.Contains(t, c.header(c.req).Fields, "trace")
		})
	}
}

// The audit log tells which update somebody sent, in the clear: its arguments are
// encrypted, but an approval's id names the plan.
func TestAuditNamesTheUpdate(t *testing.T) {
	b := newBench(t, nil)
	header := b.bearer(token.RoleClient, "billing")
	const service = "/temporal.api.workflowservice.v1.WorkflowService/"
	require.True(t, b.allowed(header, service+"UpdateWorkflowExecution", "billing", updateRequest(nil)))
	require.Equal(t, "approve approve/c1/abc", b.audit.last().Update)
	require.Equal(t, "stack/t/s", b.audit.last().Target)
	require.Equal(t, "client-of-billing", b.audit.last().Subject)

	multi := &workflowservice.ExecuteMultiOperationRequest{Operations: []*workflowservice.ExecuteMultiOperationRequest_Operation{
		{Operation: &workflowservice.ExecuteMultiOperationRequest_Operation_StartWorkflow{StartWorkflow: &workflowservice.StartWorkflowExecutionRequest{WorkflowId: "stack/t/s"}}},
		{Operation: &workflowservice.ExecuteMultiOperationRequest_Operation_UpdateWorkflow{UpdateWorkflow: updateRequest(nil)}},
	}}
	require.True(t, b.allowed(header, service+"ExecuteMultiOperation", "billing", multi))
	require.Equal(t, "approve approve/c1/abc", b.audit.last().Update)
	require.Equal(t, "stack/t/s", b.audit.last().Target)
}
