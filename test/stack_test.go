package test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/cluster/access"
	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/workflows"
	"github.com/tenonhq/tenon/sdk"
)

// forger is a client that says it is somebody else.
type forger struct{ claim string }

func (f forger) Inject(_ context.Context, w workflow.HeaderWriter) error {
	w.Set(workflows.PrincipalHeader, &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(f.claim)})
	return nil
}

func (f forger) InjectFromWorkflow(workflow.Context, workflow.HeaderWriter) error { return nil }

func (f forger) Extract(ctx context.Context, _ workflow.HeaderReader) (context.Context, error) {
	return ctx, nil
}

func (f forger) ExtractToWorkflow(ctx workflow.Context, _ workflow.HeaderReader) (workflow.Context, error) {
	return ctx, nil
}

// as is the stack as another role sees it.
func (s *stack) as(t *testing.T, role sdk.Role, change func(*client.Options)) client.Client {
	t.Helper()
	target, err := sdk.FromDataDir(s.dir, role)
	require.NoError(t, err)
	options, err := sdk.Options(target)
	require.NoError(t, err)
	if change != nil {
		change(&options)
	}
	c, err := client.DialContext(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// TestApproval has a change approved on a real cluster, whose server says who
// asks. A client that lies about itself is not believed, and the audit log knows
// who approved what.
func TestApproval(t *testing.T) {
	t.Parallel()
	require.Equal(t, access.PrincipalHeader, workflows.PrincipalHeader)
	s := startStack(t, t.TempDir(), &daemon.WorkerConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tenant := s.endpoints.Auth0.Domain
	mine := workflows.NewStack(s.client, tenant, "main")
	list := []v1.Resource{v1.New("clerk", &v1.Auth0RoleSpec{})}
	accepted, err := mine.Apply(ctx, list, workflows.StackApply{StackTerms: workflows.StackTerms{RequireApproval: true, Reason: "ticket 7"}})
	require.NoError(t, err)
	c, err := mine.Wait(ctx, accepted.Change, true, nil)
	require.NoError(t, err)
	require.Equal(t, workflows.ChangeAwaiting, c.State, "%+v", c.Error)
	require.Equal(t, "temporal-client", c.Requester.Name)
	require.True(t, strings.HasPrefix(c.Requester.Type, "jwt:"), c.Requester.Type)
	plan, err := mine.PlanOf(ctx, c.ID)
	require.NoError(t, err)
	hash, err := plan.ComputeHash()
	require.NoError(t, err)
	require.Equal(t, c.Hash, hash, "who approves can compute what is approved")

	// The requester cannot approve, whatever the requester's client says.
	liar := s.as(t, sdk.Client, func(o *client.Options) {
		o.ContextPropagators = append(o.ContextPropagators, forger{`{"type":"jwt:tenon","name":"temporal-system"}`})
	})
	for _, c2 := range []client.Client{s.client, liar} {
		_, err = workflows.NewStack(c2, tenant, "main").Approve(ctx, c.ID, c.Hash, "")
		require.ErrorContains(t, err, "temporal-client requested change c1")
		require.Equal(t, workflows.ErrorApproval, workflows.ErrorType(err))
	}
	var roles []map[string]any
	s.management(t, "roles", &roles)
	require.Empty(t, roles)

	other := workflows.NewStack(s.as(t, sdk.System, nil), tenant, "main")
	_, err = other.Approve(ctx, c.ID, strings.Repeat("0", 64), "")
	require.ErrorContains(t, err, "look at it again")
	verdict, err := other.Approve(ctx, c.ID, c.Hash, "looks right")
	require.NoError(t, err)
	require.Equal(t, "temporal-system", verdict.Verdict.By.Name)
	c, err = mine.Wait(ctx, c.ID, false, nil)
	require.NoError(t, err)
	require.Equal(t, workflows.ChangeDone, c.State, "%+v", c.Error)
	s.management(t, "roles", &roles)
	require.Len(t, roles, 1)

	// A plan that was approved is stale once the tenant has moved.
	changed := []v1.Resource{v1.New("clerk", &v1.Auth0RoleSpec{Description: ptrTo("new")})}
	accepted, err = mine.Apply(ctx, changed, workflows.StackApply{StackTerms: workflows.StackTerms{RequireApproval: true}})
	require.NoError(t, err)
	c2, err := mine.Wait(ctx, accepted.Change, true, nil)
	require.NoError(t, err)
	require.NoError(t, s.manage("PATCH", "roles/"+roles[0]["id"].(string), map[string]any{"description": "somebody else's"}, nil))
	_, err = other.Approve(ctx, c2.ID, c2.Hash, "")
	require.NoError(t, err)
	c2, err = mine.Wait(ctx, c2.ID, false, nil)
	require.NoError(t, err)
	require.Equal(t, workflows.ChangeStale, c2.State)
	s.management(t, "roles", &roles)
	require.Equal(t, "somebody else's", roles[0]["description"])

	log, err := daemon.AuditLog(s.dir)
	require.NoError(t, err)
	var approvals, attempts int
	require.NoError(t, audit.Scan(log.Dir, time.Time{}, func(r *audit.Record) error {
		if r.Update == "approve "+workflows.ApprovalID("c1", c.Hash) {
			require.Equal(t, workflows.StackID(tenant, "main"), r.Target)
			if r.Subject == "temporal-system" {
				approvals++
			} else {
				attempts++
			}
		}
		return nil
	}))
	require.Equal(t, 1, approvals)
	require.Equal(t, 2, attempts)
}

func ptrTo[T any](v T) *T { return &v }

// TestStacksDoNotShareObjects has two stacks of a tenant ask for one API.
func TestStacksDoNotShareObjects(t *testing.T) {
	t.Parallel()
	s := startStack(t, t.TempDir(), &daemon.WorkerConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tenant := s.endpoints.Auth0.Domain
	api := func(name string) []v1.Resource {
		return []v1.Resource{v1.New(name, &v1.Auth0ResourceServerSpec{Identifier: "https://orders"})}
	}
	run := func(stack string, list []v1.Resource, in workflows.StackApply) *workflows.StackChange {
		handle := workflows.NewStack(s.client, tenant, stack)
		accepted, err := handle.Apply(ctx, list, in)
		require.NoError(t, err)
		c, err := handle.Wait(ctx, accepted.Change, false, nil)
		require.NoError(t, err)
		return c
	}
	require.Equal(t, workflows.ChangeDone, run("shop", api("orders"), workflows.StackApply{}).State)
	s.control(t, "DELETE", "requests", nil, nil)
	c := run("billing", api("invoices"), workflows.StackApply{})
	require.Equal(t, workflows.ChangeFailed, c.State)
	require.Equal(t, workflows.ErrorClaimed, c.Error.Type)
	require.Contains(t, c.Error.Message, `Auth0ResourceServer/invoices belongs to the stack "shop"`)
	var log struct{ Requests []map[string]any }
	s.control(t, "GET", "requests", nil, &log)
	require.Empty(t, log.Requests, "no call is made")

	// Once the first stack lets go of it, the second may have it.
	shop := workflows.NewStack(s.client, tenant, "shop")
	accepted, err := shop.Delete(ctx, workflows.StackDelete{Keys: []engine.Key{{Kind: v1.KindResourceServer, Name: "orders"}}})
	require.NoError(t, err)
	gone, err := shop.Wait(ctx, accepted.Change, false, nil)
	require.NoError(t, err)
	require.Equal(t, workflows.ChangeDone, gone.State, "%+v", gone.Error)
	require.Equal(t, workflows.ChangeDone, run("billing", api("invoices"), workflows.StackApply{}).State)
}
