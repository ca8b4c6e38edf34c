package workflows

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// ReadStackTask is the first argument of the activity ReadStack; the second is
// the bundle of manifests.
type ReadStackTask struct {
	Tenant  string       `json:"tenant"`
	Engine  string       `json:"engine"`
	Targets []engine.Key `json:"targets,omitempty"`
}

// ReadStack checks manifests without a call to the tenant. It returns, packed,
// a line for each resource: its key, a tab, and what it claims (claimsOf).
func (a *Activities) ReadStack(ctx context.Context, in ReadStackTask, bundle []byte) ([]byte, error) {
	if _, err := a.engine(in.Engine); err != nil {
		return nil, classify(ctx, err)
	}
	resources, err := readBundle(bundle, in.Targets)
	if err != nil {
		return nil, classify(ctx, err)
	}
	lines := make([][]byte, 0, len(resources))
	for _, r := range resources {
		claims, err := claimsOf(r)
		if err != nil {
			return nil, classify(ctx, err)
		}
		lines = append(lines, []byte(engine.KeyOf(r).String()+"\t"+claims.text()))
	}
	packed, err := pack(lines)
	return packed, classify(ctx, err)
}

// PlanStackTask is the first argument of the activity PlanStack; the second is
// the bundle of manifests, the third the inventory.
type PlanStackTask struct {
	Tenant string `json:"tenant"`
	Stack  string `json:"stack"`
	Engine string `json:"engine"`
	// Delete names what is to go; All is everything. Prune is everything that the
	// manifests do not hold.
	Delete  []engine.Key `json:"delete,omitempty"`
	All     bool         `json:"all,omitempty"`
	Prune   bool         `json:"prune,omitempty"`
	Targets []engine.Key `json:"targets,omitempty"`
}

// planHead is the first line of PlanStack's result.
type planHead struct {
	Engine  string                `json:"engine"`
	Hash    string                `json:"hash"`
	Cost    engine.Cost           `json:"cost"`
	Actions map[engine.Action]int `json:"actions,omitempty"`
	Risks   map[engine.Risk]int   `json:"risks,omitempty"`
	Drifted int                   `json:"drifted,omitempty"`
	// Bytes is what the stack's state will take with this plan.
	Bytes int `json:"bytes"`
	// Approval is set if the worker's configuration requires one.
	Approval bool `json:"approval,omitempty"`
	// Problem is what forbids the plan to be applied.
	Problem *StackError `json:"problem,omitempty"`
}

// stepHead begins each of the other lines; the step itself follows after a tab,
// and after another one the inventory's entry, if the step has nothing to do but
// to renew that.
type stepHead struct {
	Key    string        `json:"key"`
	Action engine.Action `json:"action"`
	ID     string        `json:"id,omitempty"`
	// After are steps that must be done before.
	After []string `json:"after,omitempty"`
	// Needs are keys whose outputs the step reads.
	Needs []string `json:"needs,omitempty"`
	// Run is set if the step has to be applied, even if only to learn the outputs.
	Run bool `json:"run,omitempty"`
	// Adopted is for the inventory.
	Adopted bool `json:"adopted,omitempty"`
}

// PlanStack compares a stack with its tenant. It changes nothing. Its result is
// packed: a planHead, and a line for each step.
func (a *Activities) PlanStack(ctx context.Context, in PlanStackTask, bundle, inventory []byte) ([]byte, error) {
	e, err := a.engine(in.Engine)
	if err != nil {
		return nil, classify(ctx, err)
	}
	ctx, stop := beat(ctx)
	defer stop()
	resources, err := readBundle(bundle, in.Targets)
	if err != nil {
		return nil, classify(ctx, err)
	}
	owned, err := readInventory(inventory)
	if err != nil {
		return nil, classify(ctx, err)
	}
	request := engine.Request{Tenant: in.Tenant, Stack: in.Stack, Resources: resources, Known: map[engine.Key]engine.Outputs{}}
	wanted := map[engine.Key]bool{}
	for _, r := range resources {
		wanted[engine.KeyOf(r)] = true
	}
	for _, o := range owned {
		gone := in.All || slices.Contains(in.Delete, o.Key) ||
			(in.Prune && (len(in.Targets) == 0 || slices.Contains(in.Targets, o.Key)))
		switch {
		case wanted[o.Key]:
		case gone:
			request.Delete = append(request.Delete, o.Key)
		default:
			request.Known[o.Key] = o.Outputs
		}
		request.Inventory = append(request.Inventory, *o)
	}
	plan, err := e.Plan(ctx, request)
	if err != nil {
		return nil, classify(ctx, err)
	}
	result, err := a.describePlan(in, plan, owned)
	return result, classify(ctx, err)
}

// readBundle decodes, checks and expands manifests. With targets it keeps these
// and what they refer to.
func readBundle(bundle []byte, targets []engine.Key) ([]v1.Resource, error) {
	lines, err := unpack(bundle, MaxManifestBytes)
	if err != nil {
		return nil, problemsError{{Path: "manifests", Message: err.Error()}}
	}
	var problems problemsError
	resources := make([]v1.Resource, 0, len(lines))
	for i, line := range lines {
		var r v1.Resource
		if err := json.Unmarshal(line, &r); err != nil {
			problems = append(problems, v1.Problem{Path: fmt.Sprintf("resources[%d]", i), Message: err.Error()})
			continue
		}
		for _, p := range r.Validate() {
			problems = append(problems, v1.Problem{Path: engine.KeyOf(r).String() + " " + p.Path, Message: p.Message})
		}
		resources = append(resources, r)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	if resources, err = engine.Expand(resources); err != nil {
		return nil, err
	}
	if len(targets) == 0 {
		return resources, nil
	}
	return targeted(resources, targets)
}

// targeted keeps the targets and what they refer to, directly and indirectly. A
// resource that was expanded from a target belongs to it.
func targeted(resources []v1.Resource, targets []engine.Key) ([]v1.Resource, error) {
	byKey := map[engine.Key]v1.Resource{}
	for _, r := range resources {
		byKey[engine.KeyOf(r)] = r
	}
	keep := map[engine.Key]bool{}
	var visit func(engine.Key)
	visit = func(key engine.Key) {
		r, ok := byKey[key]
		if !ok || keep[key] {
			return
		}
		keep[key] = true
		for _, ref := range r.Spec.References() {
			visit(engine.Key{Kind: ref.Kind, Name: ref.Name})
		}
	}
	for _, t := range targets {
		found := byKey[t].Spec != nil
		for _, r := range resources {
			if r.Metadata.Labels[labelFrom] == t.String() {
				visit(engine.KeyOf(r))
				found = true
			}
		}
		if !found {
			return nil, problemsError{{Path: "targets", Message: fmt.Sprintf("%s is not among the manifests", t)}}
		}
		visit(t)
	}
	return slices.DeleteFunc(resources, func(r v1.Resource) bool { return !keep[engine.KeyOf(r)] }), nil
}

// labelFrom names, on a resource that was expanded from another, that other.
const labelFrom = "tenon.dev/from"

// protection is the annotation that forbids a resource to be deleted.
const protection = "tenon.dev/deletion-protection"

func readInventory(packed []byte) (map[string]*engine.Owned, error) {
	lines, err := unpack(packed, maxUnpacked)
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	owned := make(map[string]*engine.Owned, len(lines))
	for _, line := range lines {
		e, err := parseEntry(line)
		if err != nil {
			return nil, err
		}
		var o engine.Owned
		if err := json.Unmarshal(e.owned, &o); err != nil {
			return nil, fmt.Errorf("inventory: %s: %w", e.key, err)
		}
		owned[e.key] = &o
	}
	return owned, nil
}

// describePlan writes a plan down in the form that the workflow carries.
func (a *Activities) describePlan(in PlanStackTask, plan *engine.Plan, owned map[string]*engine.Owned) ([]byte, error) {
	head := planHead{Engine: plan.Engine, Cost: plan.Cost, Actions: map[engine.Action]int{}, Risks: map[engine.Risk]int{}}
	var err error
	if head.Hash, err = plan.ComputeHash(); err != nil {
		return nil, err
	}
	planned := map[engine.Key]bool{}
	for _, s := range plan.Steps {
		planned[s.Key] = true
	}
	var protected []string
	lines := make([][]byte, 1, len(plan.Steps)+1)
	after, err := ownedLines(owned) // what the state will hold, for its size
	if err != nil {
		return nil, err
	}
	for _, s := range plan.Steps {
		head.Actions[s.Action]++
		for _, r := range s.Risks {
			head.Risks[r]++
		}
		if len(s.Drift) > 0 || slices.ContainsFunc(s.Changes, func(c engine.Change) bool { return c.Cause == engine.Tenant }) {
			head.Drifted++
		}
		mine := owned[s.Key.String()]
		if isProtected, err := protectedFrom(s); err != nil {
			return nil, err
		} else if isProtected {
			protected = append(protected, s.Key.String())
		}
		line, entry, err := describeStep(s, mine, planned)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
		after = append(after, line, entry)
	}
	if len(protected) > 0 {
		head.Problem = &StackError{Type: ErrorInvalidInput, Step: protected[0], Message: fmt.Sprintf(
			"%s would be deleted or replaced, but carries the annotation %s: apply it without the annotation first", strings.Join(protected, ", "), protection)}
	}
	if a.RequireApproval != nil && plan.Changes() {
		head.Approval = a.RequireApproval(in.Tenant, plan)
	}
	size, err := pack(after)
	if err != nil {
		return nil, err
	}
	head.Bytes = len(size)
	if lines[0], err = json.Marshal(head); err != nil {
		return nil, err
	}
	packed, err := pack(lines)
	if err != nil {
		return nil, err
	}
	if n := max(len(packed), head.Bytes); n > MaxStackBytes {
		return nil, fmt.Errorf("the stack and its plan take %d kB compressed, of %d kB at most; divide it into several stacks: %w", n>>10, MaxStackBytes>>10, errTooLarge)
	}
	return packed, nil
}

func ownedLines(owned map[string]*engine.Owned) ([][]byte, error) {
	lines := make([][]byte, 0, len(owned))
	for _, key := range sortedKeys(owned) {
		line, err := json.Marshal(owned[key])
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// protectedFrom reports whether a step would delete what must not be deleted. A
// replacement goes by the manifest, a deletion by what was last applied.
func protectedFrom(s engine.Step) (bool, error) {
	if s.Action != engine.Delete && s.Action != engine.Replace {
		return false, nil
	}
	text, err := json.Marshal(s.Resource.Metadata)
	if err != nil {
		return false, err
	}
	var meta struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(text, &meta); err != nil {
		return false, err
	}
	return meta.Annotations[protection] == "true", nil
}

// describeStep writes one step down, and what the inventory will hold for it.
func describeStep(s engine.Step, mine *engine.Owned, planned map[engine.Key]bool) (line, entry []byte, err error) {
	head := stepHead{Key: s.Key.String(), Action: s.Action, ID: s.ObjectID}
	for _, key := range s.After {
		if planned[key] {
			head.After = append(head.After, key.String())
		}
		head.Needs = append(head.Needs, key.String())
	}
	if s.Resource.Spec != nil {
		for _, ref := range s.Resource.Spec.References() {
			head.Needs = append(head.Needs, engine.Key{Kind: ref.Kind, Name: ref.Name}.String())
		}
	}
	slices.Sort(head.Needs)
	head.Needs = slices.Compact(head.Needs)
	next := engine.Owned{Key: s.Key, ObjectID: s.ObjectID, Resource: s.Resource}
	if mine == nil {
		head.Adopted = s.ObjectID != ""
		next.Observed = s.Before
	} else {
		head.Adopted = mine.Adopted
		next.Outputs, next.Observed = mine.Outputs, mine.Observed
		if s.ObjectID == "" {
			next.ObjectID = mine.ObjectID
		}
	}
	next.Adopted = head.Adopted
	step, err := json.Marshal(s)
	if err != nil {
		return nil, nil, err
	}
	if entry, err = json.Marshal(next); err != nil {
		return nil, nil, err
	}
	// Nothing to do, and nothing to learn: the inventory alone may need the new text
	// of the manifest.
	renew := s.Action == engine.None && mine != nil && s.ObjectID != ""
	head.Run = !renew
	text, err := json.Marshal(head)
	if err != nil {
		return nil, nil, err
	}
	line = slices.Concat(text, []byte{'\t'}, step)
	if renew {
		old, err := json.Marshal(mine)
		if err != nil {
			return nil, nil, err
		}
		if !bytes.Equal(old, entry) {
			line = slices.Concat(line, []byte{'\t'}, entry)
		}
	}
	return line, entry, nil
}

// StepsTask is the input of the activities ApplySteps and RevertSteps.
type StepsTask struct {
	Tenant string `json:"tenant"`
	Engine string `json:"engine"`
	Run    string `json:"run"`
	// First is set if nobody has tried these steps before.
	First bool `json:"first,omitempty"`
	// Planned is when the tenant was read for the plan, by the cluster's clock; zero
	// if that is long ago.
	Planned time.Time `json:"planned,omitzero"`
	// Parallel is how many steps are made at a time. Defaults to 1.
	Parallel int `json:"parallel,omitempty"`
	// Steps are engine.Step, none of which waits for another. Reverts go in their
	// order, one at a time.
	Steps bulk `json:"steps"`
	// Adopted names the steps whose objects existed before the stack.
	Adopted []string `json:"adopted,omitempty"`
	// Outputs are what the steps read.
	Outputs map[engine.Key]engine.Outputs `json:"outputs,omitempty"`
}

// Keys names the steps, for those who watch activities from outside.
func (t StepsTask) Keys() ([]string, error) {
	lines, err := t.Steps.lines()
	if err != nil {
		return nil, err
	}
	keys := make([]string, len(lines))
	for i, line := range lines {
		var step struct {
			Key string `json:"key"`
		}
		if err := json.Unmarshal(line, &step); err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		keys[i] = step.Key
	}
	return keys, nil
}

// stepOutcome is what became of one step.
type stepOutcome struct {
	Key    string        `json:"key"`
	Action engine.Action `json:"action,omitempty"`
	// Owned is the inventory's entry; none if the stack owns it no longer.
	Owned json.RawMessage `json:"owned,omitempty"`
	// ID is Auth0's identifier.
	ID string `json:"id,omitempty"`
	// Undone says what a revert did, Left what it could not put back.
	Undone string   `json:"undone,omitempty"`
	Left   []string `json:"left,omitempty"`
	// Outputs are what a revert returned.
	Outputs  engine.Outputs  `json:"outputs,omitempty"`
	Observed json.RawMessage `json:"observed,omitempty"`
	// Error is why it failed for good.
	Error *StackError `json:"error,omitempty"`
}

// StepsResult is the result of ApplySteps and RevertSteps, the details of their
// heartbeats, and the details of their failures: what is done is done, whatever
// becomes of the rest. Steps that are missing were not begun, or nobody knows.
type StepsResult struct {
	Outcomes bulk `json:"outcomes"`
}

// batch is one run of ApplySteps or RevertSteps.
type batch struct {
	a       *Activities
	ctx     context.Context
	engine  engine.Engine
	in      StepsTask
	steps   []engine.Step
	attempt int
	// stale is when the plan is no longer fresh, by this worker's clock.
	stale time.Time

	mu       sync.Mutex
	outcomes [][]byte
	done     map[string]bool
	outputs  map[engine.Key]engine.Outputs // of reverts
	failed   bool
	retry    error // the first error that may heal
}

func (a *Activities) newBatch(ctx context.Context, in StepsTask) (*batch, error) {
	e, err := a.engine(in.Engine)
	if err != nil {
		return nil, err
	}
	b := &batch{a: a, ctx: ctx, engine: e, in: in, done: map[string]bool{}, outputs: map[engine.Key]engine.Outputs{}, attempt: 2}
	if activity.IsActivity(ctx) && in.First {
		info := activity.GetInfo(ctx)
		b.attempt = int(info.Attempt)
		// The cluster's clock says how old the plan is; this one may be wrong.
		if age := info.StartedTime.Sub(in.Planned); age >= 0 && age < planFresh {
			b.stale = time.Now().Add(planFresh - age)
		}
	}
	lines, err := in.Steps.lines()
	if err != nil {
		return nil, err
	}
	b.steps = make([]engine.Step, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal(line, &b.steps[i]); err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
	}
	for key, out := range in.Outputs {
		b.outputs[key] = out
	}
	return b, b.resume()
}

// resume takes over what an earlier attempt reported done.
func (b *batch) resume() error {
	if !activity.IsActivity(b.ctx) || !activity.HasHeartbeatDetails(b.ctx) {
		return nil
	}
	var before *StepsResult
	if err := activity.GetHeartbeatDetails(b.ctx, &before); err != nil {
		return fmt.Errorf("read heartbeat: %w", err)
	}
	if before == nil {
		return nil
	}
	lines, err := before.Outcomes.lines()
	if err != nil {
		return err
	}
	for _, line := range lines {
		var o stepOutcome
		if err := json.Unmarshal(line, &o); err != nil {
			return fmt.Errorf("read heartbeat: %w", err)
		}
		if o.Error != nil {
			continue
		}
		b.outcomes = append(b.outcomes, line)
		b.done[o.Key] = true
		if o.Outputs != nil {
			var key engine.Key
			if err := key.UnmarshalText([]byte(o.Key)); err != nil {
				return err
			}
			b.outputs[key] = o.Outputs
		}
	}
	return nil
}

func (b *batch) result() (*StepsResult, error) {
	outcomes, err := newBulk(b.outcomes)
	return &StepsResult{Outcomes: outcomes}, err
}

// record keeps an outcome. It is called with mu held.
func (b *batch) record(o stepOutcome) error {
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	b.outcomes = append(b.outcomes, line)
	b.done[o.Key] = true
	return nil
}

// beat heartbeats what is done until stop is called, so that an attempt after a
// crash goes on there.
func (b *batch) beat() (stop func()) {
	if !activity.IsActivity(b.ctx) {
		return func() {}
	}
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(heartbeatTimeout / 5)
		defer ticker.Stop()
		for {
			select {
			case <-b.ctx.Done():
				return
			case <-over:
				return
			case <-ticker.C:
				b.mu.Lock()
				result, err := b.result()
				b.mu.Unlock()
				if err != nil {
					b.a.Logger.Warn("heartbeat without what is done", "error", err)
					result = nil
				}
				activity.RecordHeartbeat(b.ctx, result)
			}
		}
	}()
	return func() {
		close(over)
		<-done
	}
}

// settle decides what an error of one step means: nil if it is the step's own
// and final, the error itself if the whole batch has to be tried again.
func (b *batch) settle(key engine.Key, err error) error {
	err = classify(b.ctx, err)
	var app *temporal.ApplicationError
	if !errors.As(err, &app) || !app.NonRetryable() {
		if b.retry == nil {
			b.retry = err
		}
		return err
	}
	b.failed = true
	return b.record(stepOutcome{Key: key.String(), Error: &StackError{Type: app.Type(), Step: key.String(), Message: app.Message()}})
}

// finish is the activity's answer.
func (b *batch) finish() (*StepsResult, error) {
	result, err := b.result()
	switch {
	case err != nil:
		return nil, err
	case b.retry == nil:
		return result, nil
	case b.ctx.Err() != nil && !b.stopping():
		return result, nil // cancelled: the workflow learns what is done
	}
	var app *temporal.ApplicationError
	if errors.As(b.retry, &app) {
		return nil, temporal.NewApplicationErrorWithOptions(app.Message(), app.Type(), temporal.ApplicationErrorOptions{
			NextRetryDelay: app.NextRetryDelay(), Details: []any{result},
		})
	}
	return nil, temporal.NewApplicationErrorWithOptions(b.retry.Error(), ErrorUnavailable, temporal.ApplicationErrorOptions{Details: []any{result}})
}

// stopping reports whether the worker is about to stop, which also cancels the
// context but is no reason to give the steps up.
func (b *batch) stopping() bool {
	if !activity.IsActivity(b.ctx) {
		return false
	}
	select {
	case <-activity.GetWorkerStopChannel(b.ctx):
		return true
	default:
		return false
	}
}

// ApplySteps makes steps real that do not wait for each other. A step that fails
// for good ends the batch, but not those under way.
func (a *Activities) ApplySteps(ctx context.Context, in StepsTask) (*StepsResult, error) {
	b, err := a.newBatch(ctx, in)
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer b.beat()()
	var wait sync.WaitGroup
	slots := make(chan struct{}, max(in.Parallel, 1))
	for _, step := range b.steps {
		slots <- struct{}{}
		b.mu.Lock()
		over := b.failed || b.retry != nil || ctx.Err() != nil
		skip := b.done[step.Key.String()]
		b.mu.Unlock()
		if over || skip {
			<-slots
			if over {
				break
			}
			continue
		}
		wait.Go(func() {
			defer func() { <-slots }()
			b.apply(step)
		})
	}
	wait.Wait()
	if b.retry == nil && ctx.Err() != nil && len(b.done) < len(b.steps) {
		b.retry = ctx.Err()
	}
	return b.finish()
}

func (b *batch) apply(step engine.Step) {
	result, err := b.engine.Apply(b.ctx, engine.ApplyRequest{
		Tenant: b.in.Tenant, Run: b.in.Run, Step: step, Attempt: b.attempt, Fresh: time.Now().Before(b.stale), Outputs: b.in.Outputs,
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		err = b.applied(step, result)
	}
	if err != nil {
		_ = b.settle(step.Key, err) // kept in the batch
	}
}

// applied records a step that is done, with the inventory's entry.
func (b *batch) applied(step engine.Step, result *engine.Result) error {
	o := stepOutcome{Key: step.Key.String(), Action: result.Action, ID: cmp.Or(result.ObjectID, step.ObjectID)}
	gone := step.Action == engine.Delete || (step.Action == engine.None && step.ObjectID == "" && result.ObjectID == "")
	if !gone {
		var err error
		o.Owned, err = json.Marshal(engine.Owned{
			Key: step.Key, ObjectID: o.ID, Resource: step.Resource, Outputs: result.Outputs,
			Adopted: slices.Contains(b.in.Adopted, o.Key), Observed: result.Observed,
		})
		if err != nil {
			return err
		}
	}
	return b.record(o)
}

// RevertSteps undoes steps, in the order in which they are given. One that
// cannot be undone does not stop the others: each leaves less behind.
func (a *Activities) RevertSteps(ctx context.Context, in StepsTask) (*StepsResult, error) {
	b, err := a.newBatch(ctx, in)
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer b.beat()()
	for _, step := range b.steps {
		if b.done[step.Key.String()] {
			continue
		}
		result, err := b.engine.Revert(ctx, engine.ApplyRequest{Tenant: in.Tenant, Run: in.Run, Step: step, Outputs: b.outputs})
		if err == nil {
			if result.Outputs != nil {
				b.outputs[step.Key] = result.Outputs
			}
			err = b.record(stepOutcome{
				Key: step.Key.String(), Action: result.Action, ID: result.ObjectID, Undone: reverted(result), Left: result.Unrestored,
				Outputs: result.Outputs, Observed: result.Observed,
			})
		}
		if err != nil {
			if err := b.settle(step.Key, err); err != nil {
				break
			}
		}
	}
	return b.finish()
}
