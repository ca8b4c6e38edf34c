package workflows

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// claims are the Auth0 objects, or the parts of one, that a resource stands for:
// hashes of what identifies them. Two stacks with one claim would undo each
// other's work for ever.
type claims []uint64

func hashClaim(parts ...string) uint64 {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return binary.BigEndian.Uint64(sum[:])
}

// objectClaim is the claim of an object that exists.
func objectClaim(key, id string) (uint64, bool) {
	kind, _, _ := strings.Cut(key, "/")
	// A tenant is one object that several resources share by its fields.
	if id == "" || kind == v1.KindTenant {
		return 0, false
	}
	return hashClaim("id", kind, id), true
}

// claimsOf is what a resource claims by itself, before anything is known of the
// tenant. Resources whose object depends on others' outputs claim nothing yet.
func claimsOf(r v1.Resource) (claims, error) {
	switch spec := r.Spec.(type) {
	case *v1.Auth0ResourceServerSpec:
		return claims{hashClaim(r.Kind, spec.Identifier)}, nil
	case *v1.Auth0UserSpec:
		return claims{hashClaim(r.Kind, spec.Connection, strings.ToLower(spec.Email))}, nil
	case *v1.Auth0ClientGrantSpec:
		if spec.Client.ValueFrom != nil || spec.Audience.ValueFrom != nil {
			return nil, nil
		}
		return claims{hashClaim(r.Kind, spec.Client.Value, spec.Audience.Value)}, nil
	case *v1.Auth0RoleSpec:
		if spec.Name != nil {
			return claims{hashClaim(r.Kind, *spec.Name)}, nil
		}
	case *v1.Auth0TenantSpec:
		text, err := json.Marshal(spec)
		if err != nil {
			return nil, err
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil {
			return nil, err
		}
		delete(fields, "domain")
		return tenantClaims(nil, "", fields), nil
	}
	return claims{hashClaim(r.Kind, r.Metadata.Name)}, nil
}

// tenantClaims claims each field of a tenant by itself: one stack may set the
// session's lifetime and another the factors.
func tenantClaims(list claims, path string, value any) claims {
	fields, ok := value.(map[string]any)
	if !ok || len(fields) == 0 {
		return append(list, hashClaim(v1.KindTenant, path))
	}
	for _, name := range sortedKeys(fields) {
		list = tenantClaims(list, path+"."+name, fields[name])
	}
	return list
}

func (c claims) text() string {
	words := make([]string, len(c))
	for i, h := range c {
		words[i] = strconv.FormatUint(h, 36)
	}
	return strings.Join(words, ",")
}

func parseClaims(text string) (claims, error) {
	if text == "" {
		return nil, nil
	}
	var list claims
	for word := range strings.SplitSeq(text, ",") {
		h, err := strconv.ParseUint(word, 36, 64)
		if err != nil {
			return nil, fmt.Errorf("claim %q: %w", word, err)
		}
		list = append(list, h)
	}
	return list, nil
}

func (c claims) bytes() []byte {
	out := make([]byte, 0, 8*len(c))
	for _, h := range c {
		out = binary.BigEndian.AppendUint64(out, h)
	}
	return out
}

func claimsFrom(data []byte) claims {
	list := make(claims, 0, len(data)/8)
	for ; len(data) >= 8; data = data[8:] {
		list = append(list, binary.BigEndian.Uint64(data))
	}
	return list
}

// The signals between stacks and the tenant's claims.
const (
	signalClaim   = "claim"
	signalClaimed = "claimed"
)

// maxClaims bounds a tenant's claims, all of which have to fit into the payload
// with which the workflow continues as new.
const maxClaims = 150_000

// maxConflicts is how many conflicts an answer lists.
const maxConflicts = 20

// claimRequest asks that a stack's claims be exactly these.
type claimRequest struct {
	// Stack is the workflow id to answer to; Request identifies the question.
	Stack   string `json:"stack"`
	Request string `json:"request"`
	Claims  []byte `json:"claims,omitempty"`
	// Check changes nothing. Silent wants no answer.
	Check  bool `json:"check,omitempty"`
	Silent bool `json:"silent,omitempty"`
}

type claimReply struct {
	Request   string          `json:"request"`
	Conflicts []claimConflict `json:"conflicts,omitempty"`
	// Full is set if the tenant has more objects than claims can be kept for.
	Full bool `json:"full,omitempty"`
}

type claimConflict struct {
	Claim string `json:"claim"` // base 36
	Stack string `json:"stack"`
}

// TenantClaimsInput is the input of TenantClaimsWorkflow.
type TenantClaimsInput struct {
	Tenant string `json:"tenant"`
}

// claimsPerRun is after how many requests the workflow continues as new.
const claimsPerRun = 500

// TenantClaimsWorkflow keeps which stack of a tenant answers for which object. A
// stack claims before it makes a call, and is refused if another one has a claim
// already. Every change of a stack sends all of its claims, so a lost registry
// fills again.
func TenantClaimsWorkflow(ctx workflow.Context, in TenantClaimsInput, carried []byte) error {
	byStack, owner, err := readClaims(carried)
	if err != nil {
		return err
	}
	requests := workflow.GetSignalChannel(ctx, signalClaim)
	for n := 0; n < claimsPerRun && !workflow.GetInfo(ctx).GetContinueAsNewSuggested(); n++ {
		var r claimRequest
		requests.Receive(ctx, &r)
		answerClaim(ctx, byStack, owner, r)
	}
	for {
		var r claimRequest
		if !requests.ReceiveAsync(&r) {
			break
		}
		answerClaim(ctx, byStack, owner, r)
	}
	var lines [][]byte
	for _, stack := range sortedKeys(byStack) {
		lines = append(lines, []byte(stack+"\t"+byStack[stack].text()))
	}
	packed, err := pack(lines)
	if err != nil {
		return err
	}
	return workflow.NewContinueAsNewError(ctx, TypeTenantClaims, in, packed)
}

func readClaims(carried []byte) (map[string]claims, map[uint64]string, error) {
	byStack, owner := map[string]claims{}, map[uint64]string{}
	lines, err := unpack(carried, maxUnpacked)
	if err != nil {
		return nil, nil, err
	}
	for _, line := range lines {
		stack, text, _ := strings.Cut(string(line), "\t")
		list, err := parseClaims(text)
		if err != nil {
			return nil, nil, err
		}
		byStack[stack] = list
		for _, h := range list {
			owner[h] = stack
		}
	}
	return byStack, owner, nil
}

func answerClaim(ctx workflow.Context, byStack map[string]claims, owner map[uint64]string, r claimRequest) {
	reply := claimReply{Request: r.Request}
	wanted := claimsFrom(r.Claims)
	for _, h := range wanted {
		if other, taken := owner[h]; taken && other != r.Stack && len(reply.Conflicts) < maxConflicts {
			reply.Conflicts = append(reply.Conflicts, claimConflict{Claim: claims{h}.text(), Stack: other})
		}
	}
	reply.Full = len(owner)-len(byStack[r.Stack])+len(wanted) > maxClaims
	if !r.Check && !reply.Full && len(reply.Conflicts) == 0 {
		for _, h := range byStack[r.Stack] {
			delete(owner, h)
		}
		delete(byStack, r.Stack)
		if len(wanted) > 0 {
			byStack[r.Stack] = wanted
		}
		for _, h := range wanted {
			owner[h] = r.Stack
		}
	}
	if r.Silent {
		return
	}
	if err := workflow.SignalExternalWorkflow(ctx, r.Stack, "", signalClaimed, reply).Get(ctx, nil); err != nil {
		// The stack is gone, or asks again.
		workflow.GetLogger(ctx).Warn("a claim could not be answered", "stack", r.Stack, "error", err)
	}
}

// claimTimeout is how long a stack waits for the tenant's claims. They are kept
// by the same workers.
const claimTimeout = 10 * time.Minute

// claim claims a set of objects for the stack, or only asks whether it could.
func (s *stack) claim(ctx workflow.Context, wanted map[uint64]string, check bool) error {
	list := sortedKeys(wanted)
	s.claimed++
	request := claimRequest{
		Stack: workflow.GetInfo(ctx).WorkflowExecution.ID, Request: fmt.Sprintf("%s/%d", workflow.GetInfo(ctx).WorkflowExecution.RunID, s.claimed),
		Claims: claims(list).bytes(), Check: check,
	}
	if err := s.signalClaims(ctx, request); err != nil {
		return err
	}
	timer, stop := workflow.WithCancel(ctx)
	defer stop()
	var reply claimReply
	timedOut := false
	replies := workflow.NewSelector(ctx).
		AddReceive(workflow.GetSignalChannel(ctx, signalClaimed), func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, &reply) }).
		AddFuture(workflow.NewTimer(timer, claimTimeout), func(workflow.Future) { timedOut = true })
	for reply.Request != request.Request && !timedOut {
		replies.Select(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	switch {
	case timedOut:
		return temporal.NewNonRetryableApplicationError("the tenant's claims did not answer within "+claimTimeout.String(), ErrorUnavailable, nil)
	case len(reply.Conflicts) > 0:
		return conflictError(reply.Conflicts, wanted)
	case reply.Full:
		return temporal.NewNonRetryableApplicationError(fmt.Sprintf("the stacks of one tenant can own at most %d objects together", maxClaims), ErrorTooLarge, nil)
	}
	return nil
}

// signalClaims sends a request, and starts the tenant's claims if there are none.
func (s *stack) signalClaims(ctx workflow.Context, request claimRequest) error {
	id := TenantClaimsID(s.Tenant)
	for attempt := 1; ; attempt++ {
		if !s.claimsStarted {
			child := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
				WorkflowID: id, ParentClosePolicy: enums.PARENT_CLOSE_POLICY_ABANDON,
				WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
			})
			err := workflow.ExecuteChildWorkflow(child, TypeTenantClaims, TenantClaimsInput{Tenant: s.Tenant}).GetChildWorkflowExecution().Get(ctx, nil)
			var running *temporal.ChildWorkflowExecutionAlreadyStartedError
			if err != nil && !errors.As(err, &running) {
				return err
			}
			s.claimsStarted = true
		}
		err := workflow.SignalExternalWorkflow(ctx, id, "", signalClaim, request).Get(ctx, nil)
		var unknown *temporal.UnknownExternalWorkflowExecutionError
		if err == nil || !errors.As(err, &unknown) || attempt == 3 {
			return err
		}
		s.claimsStarted = false // it was terminated since
	}
}

// conflictError names the resources that other stacks answer for.
func conflictError(conflicts []claimConflict, wanted map[uint64]string) error {
	var lines []string
	for _, c := range conflicts {
		list, err := parseClaims(c.Claim)
		if err != nil || len(list) != 1 {
			continue
		}
		_, name, _ := ParseStackID(c.Stack)
		lines = append(lines, fmt.Sprintf("%s belongs to the stack %q", wanted[list[0]], name))
	}
	slices.Sort(lines)
	message := strings.Join(slices.Compact(lines), "; ") + ": take it out of one of the two"
	return temporal.NewNonRetryableApplicationError(message, ErrorClaimed, nil)
}

// entry is one line of an inventory: what the stack owns under a key. Its parts
// are separated by tabs: key, claims, engine.Owned.
type entry struct {
	key    string
	claims claims
	owned  []byte
}

func (e *entry) line() []byte {
	return slices.Concat([]byte(e.key), []byte{'\t'}, []byte(e.claims.text()), []byte{'\t'}, e.owned)
}

func parseEntry(line []byte) (*entry, error) {
	parts := bytes.SplitN(line, []byte{'\t'}, 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("inventory: a line of %d parts", len(parts))
	}
	list, err := parseClaims(string(parts[1]))
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	return &entry{key: string(parts[0]), claims: list, owned: parts[2]}, nil
}

// outputs decodes an entry's outputs and nothing else.
func (e *entry) outputs() (engine.Outputs, error) {
	var o struct {
		Outputs engine.Outputs `json:"outputs"`
	}
	if err := json.Unmarshal(e.owned, &o); err != nil {
		return nil, fmt.Errorf("inventory: %s: %w", e.key, err)
	}
	return o.Outputs, nil
}
