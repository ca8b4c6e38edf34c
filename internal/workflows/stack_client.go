package workflows

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// Stack is a stack as a client sees it. Its methods start the stack's workflow if
// it does not run yet. It is safe for concurrent use.
//
// A request that the stack refuses is an error whose ErrorType is ErrorRefused, or
// ErrorApproval if it would break the four-eyes rule; what becomes of an accepted one is the change's State.
type Stack struct {
	client       client.Client
	tenant, name string
}

// NewStack returns the stack of that name of a tenant, whether or not it exists.
func NewStack(c client.Client, tenant, name string) *Stack { return &Stack{c, tenant, name} }

// ID is the id of the stack's workflow.
func (s *Stack) ID() string { return StackID(s.tenant, s.name) }

// ErrNoStack says that there is no such stack.
var ErrNoStack = errors.New("there is no such stack")

// inlineBytes is up to how many bytes, compressed, manifests travel with the
// request itself.
const inlineBytes = 64 << 10

// Apply asks that the tenant hold these resources. What in.StackManifests holds is
// overwritten.
func (s *Stack) Apply(ctx context.Context, resources []v1.Resource, in StackApply) (*StackAccepted, error) {
	return s.withManifests(ctx, resources, func(m StackManifests) (*StackAccepted, error) {
		in.StackManifests = m
		return s.begin(ctx, UpdateApply, in)
	})
}

// Plan asks what Apply would do. Nothing is changed.
func (s *Stack) Plan(ctx context.Context, resources []v1.Resource, in StackApply) (*StackAccepted, error) {
	return s.withManifests(ctx, resources, func(m StackManifests) (*StackAccepted, error) {
		in.StackManifests = m
		return s.begin(ctx, UpdatePlan, StackPlan{Apply: &in})
	})
}

// Delete asks that what the stack owns be deleted.
func (s *Stack) Delete(ctx context.Context, in StackDelete) (*StackAccepted, error) {
	return s.begin(ctx, UpdateDelete, in)
}

// PlanDelete asks what Delete would do. Nothing is changed.
func (s *Stack) PlanDelete(ctx context.Context, in StackDelete) (*StackAccepted, error) {
	return s.begin(ctx, UpdatePlan, StackPlan{Delete: &in})
}

// withManifests sends manifests with a request or, if they are long, before it.
func (s *Stack) withManifests(ctx context.Context, resources []v1.Resource, send func(StackManifests) (*StackAccepted, error)) (*StackAccepted, error) {
	list := make([]json.RawMessage, len(resources))
	for i, r := range resources {
		var err error
		if list[i], err = json.Marshal(r); err != nil {
			return nil, fmt.Errorf("%s: %w", engine.KeyOf(r), err)
		}
	}
	bundle, err := PackResources(list)
	if err != nil {
		return nil, err
	}
	if len(bundle) <= inlineBytes {
		text, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		if len(text) <= plainBytes*16 {
			return send(StackManifests{Resources: text})
		}
	}
	sum := sha256.Sum256(bundle)
	id := hex.EncodeToString(sum[:])
	for attempt := 1; ; attempt++ {
		if err := s.send(ctx, id, bundle); err != nil {
			return nil, err
		}
		accepted, err := send(StackManifests{Upload: id})
		// A stack that continued as new in between does not have the chunks any more.
		if err != nil && attempt < 3 && ErrorType(err) == ErrorRefused && strings.Contains(err.Error(), missingUpload) {
			continue
		}
		return accepted, err
	}
}

// send uploads a bundle in chunks.
func (s *Stack) send(ctx context.Context, id string, bundle []byte) error {
	count := (len(bundle) + MaxUploadChunk - 1) / MaxUploadChunk
	for i := range count {
		chunk := bundle[i*MaxUploadChunk : min((i+1)*MaxUploadChunk, len(bundle))]
		if err := s.updateWithStart(ctx, UpdateUpload, StackUpload{ID: id, Index: i, Count: count, Data: chunk}, nil); err != nil {
			return fmt.Errorf("upload the manifests, chunk %d of %d: %w", i+1, count, err)
		}
	}
	return nil
}

func (s *Stack) begin(ctx context.Context, update string, in any) (*StackAccepted, error) {
	var accepted StackAccepted
	if err := s.updateWithStart(ctx, update, in, &accepted); err != nil {
		return nil, err
	}
	return &accepted, nil
}

// updateWithStart sends an update to the stack's workflow, and starts it if it
// does not run.
func (s *Stack) updateWithStart(ctx context.Context, name string, in, out any) error {
	input := StackInput{Tenant: s.tenant, Name: s.name}
	if problems := input.validate(); len(problems) > 0 {
		return refuse(problems)
	}
	start := s.client.NewWithStartWorkflowOperation(client.StartWorkflowOptions{
		ID: s.ID(), TaskQueue: TaskQueue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
	}, TypeStack, input)
	handle, err := s.client.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: start,
		UpdateOptions:          client.UpdateWorkflowOptions{UpdateName: name, Args: []any{in}, WaitForStage: client.WorkflowUpdateStageCompleted},
	})
	if err != nil {
		return err
	}
	return handle.Get(ctx, out)
}

// update sends an update to a stack that exists.
func (s *Stack) update(ctx context.Context, name, id string, in, out any) error {
	handle, err := s.client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: s.ID(), UpdateID: id, UpdateName: name, Args: []any{in}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err != nil {
		return s.explain(err)
	}
	return s.explain(handle.Get(ctx, out))
}

func (s *Stack) explain(err error) error {
	var notFound *serviceerror.NotFound
	if errors.As(err, &notFound) {
		return fmt.Errorf("stack %q of %s: %w", s.name, s.tenant, ErrNoStack)
	}
	return err
}

// Approve approves the plan of a change. The caller must not be its requester.
func (s *Stack) Approve(ctx context.Context, change, hash, comment string) (*StackChange, error) {
	var c StackChange
	err := s.update(ctx, UpdateApprove, ApprovalID(change, hash), StackApproval{Change: change, Hash: hash, Comment: comment}, &c)
	return &c, err
}

// Reject rejects the plan of a change.
func (s *Stack) Reject(ctx context.Context, change, comment string) (*StackChange, error) {
	var c StackChange
	err := s.update(ctx, UpdateReject, "", StackApproval{Change: change, Comment: comment}, &c)
	return &c, err
}

// Cancel cancels a change.
func (s *Stack) Cancel(ctx context.Context, change, reason string) (*StackChange, error) {
	var c StackChange
	err := s.update(ctx, UpdateCancel, "", StackCancel{Change: change, Reason: reason}, &c)
	return &c, err
}

// Retry goes on with a change that failed.
func (s *Stack) Retry(ctx context.Context, in StackRetry) (*StackAccepted, error) {
	var a StackAccepted
	err := s.update(ctx, UpdateRetry, "", in, &a)
	return &a, err
}

func (s *Stack) query(ctx context.Context, name string, in, out any) error {
	value, err := s.client.QueryWorkflow(ctx, s.ID(), "", name, in)
	if err != nil {
		return s.explain(err)
	}
	return value.Get(out)
}

// Status returns what the stack owns, in numbers, and its changes.
func (s *Stack) Status(ctx context.Context) (*StackStatus, error) {
	value, err := s.client.QueryWorkflow(ctx, s.ID(), "", QueryStatus)
	if err != nil {
		return nil, s.explain(err)
	}
	var status StackStatus
	return &status, value.Get(&status)
}

// Progress returns the steps of the change under way, or of the latest.
func (s *Stack) Progress(ctx context.Context) (*Progress, error) {
	value, err := s.client.QueryWorkflow(ctx, s.ID(), "", QueryProgress)
	if err != nil {
		return nil, s.explain(err)
	}
	var p Progress
	return &p, value.Get(&p)
}

// Inventory returns everything that the stack owns.
func (s *Stack) Inventory(ctx context.Context) ([]engine.Owned, error) {
	var all []engine.Owned
	for offset := 0; ; {
		var page StackInventory
		if err := s.query(ctx, QueryInventory, StackPage{Offset: offset}, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Objects...)
		if offset = page.Next; offset == 0 {
			return all, nil
		}
	}
}

// PlanOf returns the whole plan of a change. Only the latest plan is kept.
func (s *Stack) PlanOf(ctx context.Context, change string) (*engine.Plan, error) {
	var plan *engine.Plan
	for offset := 0; ; {
		var page StackPlanned
		if err := s.query(ctx, QueryPlan, StackPage{Offset: offset, Change: change}, &page); err != nil {
			return nil, err
		}
		if plan == nil {
			plan = &page.Plan
		} else {
			plan.Steps = append(plan.Steps, page.Plan.Steps...)
		}
		if offset = page.Next; offset == 0 {
			return plan, nil
		}
	}
}

// How often Wait asks: often at first, since most changes take seconds.
const (
	waitFirst   = 100 * time.Millisecond
	waitLongest = time.Second
)

// Wait watches a change until it has ended or, if it has to be approved, waits
// for that and stopAtApproval is set. Each is called, if given, after every look.
func (s *Stack) Wait(ctx context.Context, change string, stopAtApproval bool, each func(*StackChange)) (*StackChange, error) {
	pause := waitFirst
	for {
		status, err := s.Status(ctx)
		if err != nil {
			return nil, err
		}
		c, ok := status.Change(change)
		if !ok {
			return nil, fmt.Errorf("stack %q of %s has no change %q", s.name, s.tenant, change)
		}
		if each != nil {
			each(c)
		}
		if c.State.Final() || (stopAtApproval && c.State == ChangeAwaiting) {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
		pause = min(pause*3/2, waitLongest)
	}
}
