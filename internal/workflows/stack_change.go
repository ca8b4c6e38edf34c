package workflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/tenonhq/tenon/internal/engine"
)

// The steps of a change that are no resource's.
const (
	phaseRead     = "manifests"
	phaseClaim    = "claims"
	phasePlan     = "plan"
	phaseApproval = "approval"
)

// maxPayload is what an activity's input or result may take, below Temporal's
// limit of 2 MiB with room for what encryption adds.
const maxPayload = 1900 << 10

// run makes one change, from planning to its end. It never fails: what goes wrong
// is the change's, and the stack goes on.
func (s *stack) run(root workflow.Context, c *change) {
	ctx, cancel := workflow.WithCancel(root)
	defer cancel()
	c.cancel = cancel
	s.current = c
	c.Attempts++
	if c.plan == nil {
		c.phases = nil
	}
	if c.why != "" {
		cancel() // it was cancelled between the queue and here
	}
	err := s.change(ctx, c)
	if err != nil {
		c.phaseEnd(root, StepFailed, cause(err))
		s.fail(c, err)
		if c.OnFailure == Rollback && c.Operation != opPlan && c.plan != nil && len(c.plan.order) > 0 {
			s.rollBack(root, c)
		}
	}
	s.current = nil
	c.cancel = nil
	s.ended(root, c)
	s.releaseClaims(root, c)
}

// fail turns an error into the change's state.
func (s *stack) fail(c *change, err error) {
	switch kind := ErrorType(err); {
	case temporal.IsCanceledError(err):
		c.State, c.Error = ChangeCancelled, &StackError{Type: ErrorCancelled, Message: orDefault(c.why, "cancelled")}
	case kind == ErrorStalePlan:
		c.State = ChangeStale
	case kind == ErrorApproval:
		return // the state says which
	default:
		c.State = ChangeFailed
	}
	if c.Error == nil {
		kind := orDefault(ErrorType(err), ErrorUnavailable) // only timeouts come without a type
		c.Error = &StackError{Type: kind, Step: c.failed, Message: cause(err)}
	}
}

// change is the way of a change that goes well.
func (s *stack) change(ctx workflow.Context, c *change) error {
	c.Error, c.failed = nil, ""
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if c.plan == nil {
		c.State = ChangePlanning
		if err := s.makePlan(ctx, c); err != nil {
			return err
		}
	}
	switch {
	case c.Operation == opPlan:
		c.State = ChangePlanned
		return nil
	case c.PlanHash != "" && c.PlanHash != c.Hash:
		return temporal.NewNonRetryableApplicationError(
			fmt.Sprintf("the plan is %s now, not %s as it was when it was looked at", c.Hash, c.PlanHash), ErrorStalePlan, nil)
	}
	if err := s.awaitApproval(ctx, c); err != nil {
		return err
	}
	c.State = ChangeApplying
	if err := s.applyPlan(ctx, c); err != nil {
		return err
	}
	c.State = ChangeDone
	return nil
}

// activity runs one of the stack's activities.
func (s *stack) activity(ctx workflow.Context, name, summary string, result any, args ...any) error {
	actx := workflow.WithActivityOptions(ctx, options(name, summary))
	return workflow.ExecuteActivity(actx, name, args...).Get(actx, result)
}

// makePlan reads the manifests, claims their objects, and plans. Nothing is asked
// of the tenant before the claims are the stack's.
func (s *stack) makePlan(ctx workflow.Context, c *change) error {
	byKey := map[string]claims{}
	if c.Kind == opApply {
		c.phase(ctx, phaseRead, "Read the manifests")
		var packed []byte
		task := ReadStackTask{Tenant: s.Tenant, Engine: c.Engine, Targets: c.Targets}
		if err := s.activity(ctx, activityReadStack, "Read manifests", &packed, task, c.bundle); err != nil {
			return err
		}
		lines, err := unpack(packed, maxUnpacked)
		if err != nil {
			return err
		}
		for _, line := range lines {
			key, text, _ := strings.Cut(string(line), "\t")
			if byKey[key], err = parseClaims(text); err != nil {
				return err
			}
		}
		breathe(ctx)
		c.phaseEnd(ctx, StepDone, fmt.Sprintf("%d resources", len(lines)))
		c.phase(ctx, phaseClaim, "Claim the objects")
		if err := s.claim(ctx, s.wanted(byKey), c.Operation == opPlan); err != nil {
			return err
		}
		c.phaseEnd(ctx, StepDone, "")
	}
	c.phase(ctx, phasePlan, "Plan")
	if err := s.plan(ctx, c); err != nil {
		return err
	}
	breathe(ctx)
	// Objects whose names the manifests do not tell are known by their ids now.
	foreign := false
	for _, step := range c.plan.steps {
		step.claims = byKey[step.Key]
		if id, ok := objectClaim(step.Key, step.ID); ok {
			foreign = foreign || s.entries[step.Key] == nil
			step.claims = append(slices.Clip(step.claims), id)
		}
		byKey[step.Key] = step.claims
	}
	if foreign {
		return s.claim(ctx, s.wanted(byKey), c.Operation == opPlan)
	}
	return nil
}

// wanted is what the stack owns and what it is about to own, by claim.
func (s *stack) wanted(more map[string]claims) map[uint64]string {
	all := map[uint64]string{}
	for _, key := range sortedKeys(s.entries) {
		for _, h := range s.entries[key].claims {
			all[h] = key
		}
	}
	for _, key := range sortedKeys(more) {
		for _, h := range more[key] {
			all[h] = key
		}
	}
	return all
}

// releaseClaims leaves the stack with the claims of what it owns.
func (s *stack) releaseClaims(ctx workflow.Context, c *change) {
	if c.Operation == opPlan || c.plan == nil && c.Kind == opDelete {
		return
	}
	// A change that may go on keeps what it has claimed.
	if c.State == ChangeFailed && c.plan != nil {
		return
	}
	request := claimRequest{
		Stack: workflow.GetInfo(ctx).WorkflowExecution.ID, Silent: true,
		Claims: claims(sortedKeys(s.wanted(nil))).bytes(),
	}
	if err := s.signalClaims(ctx, request); err != nil {
		workflow.GetLogger(ctx).Warn("claims could not be released", "error", err)
	}
}

// plan asks the engine for the plan.
func (s *stack) plan(ctx workflow.Context, c *change) error {
	inventory, err := packFast(s.inventoryLines())
	if err != nil {
		return err
	}
	breathe(ctx)
	if n := s.recordSize(ctx, len(inventory)+len(c.bundle)); n > maxPayload {
		return temporal.NewNonRetryableApplicationError(fmt.Sprintf(
			"the stack and its manifests take %d kB compressed, of %d kB at most: divide it into several stacks", n>>10, maxPayload>>10), ErrorTooLarge, nil)
	}
	task := PlanStackTask{
		Tenant: s.Tenant, Stack: s.Name, Engine: c.Engine, Delete: c.Delete, All: c.Kind == opDelete && len(c.Delete) == 0,
		Prune: c.Prune, Targets: c.Targets,
	}
	var packed []byte
	read := workflow.Now(ctx)
	if err := s.activity(ctx, activityPlanStack, "Plan", &packed, task, c.bundle, inventory); err != nil {
		return err
	}
	breathe(ctx)
	lines, err := unpack(packed, maxUnpacked)
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		return errors.New("the plan is empty")
	}
	breathe(ctx)
	var head planHead
	if err := json.Unmarshal(lines[0], &head); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	p, err := newPlan(lines[1:])
	if err != nil {
		return err
	}
	p.read = read
	now := workflow.Now(ctx).UTC()
	c.plan, c.bundle = p, nil
	c.PlannedAt, c.Hash, c.Cost, c.Actions, c.Risks, c.Drifted, c.Total = &now, head.Hash, &head.Cost, head.Actions, head.Risks, head.Drifted, len(p.steps)
	c.RequireApproval = c.Operation != opPlan && c.Changes() && (c.Approve || head.Approval)
	s.bytes, s.shown = head.Bytes, c
	if head.Problem != nil {
		c.failed = head.Problem.Step
		return temporal.NewNonRetryableApplicationError(head.Problem.Message, head.Problem.Type, nil)
	}
	c.phaseEnd(ctx, StepDone, fmt.Sprintf("%d steps, hash %.12s", len(p.steps), c.Hash))
	return nil
}

// approvalError ends a change whose plan was not approved.
func approvalError(c *change, state ChangeState, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	c.State, c.Error = state, &StackError{Type: ErrorApproval, Message: message}
	return temporal.NewNonRetryableApplicationError(message, ErrorApproval, nil)
}

// awaitApproval waits until somebody else has approved the plan.
func (s *stack) awaitApproval(ctx workflow.Context, c *change) error {
	if !c.RequireApproval || (c.Verdict != nil && c.Verdict.Approved && c.Verdict.Hash == c.Hash) {
		return nil
	}
	c.phase(ctx, phaseApproval, "Wait for approval")
	if c.Requester == nil {
		return approvalError(c, ChangeRejected, "the plan has to be approved by somebody other than its requester, and the cluster did not say who that is")
	}
	ttl := time.Duration(c.TTL) * time.Second
	expires := workflow.Now(ctx).UTC().Add(ttl)
	c.State, c.ExpiresAt = ChangeAwaiting, &expires
	decided, err := workflow.AwaitWithTimeout(ctx, ttl, func() bool { return c.Verdict != nil })
	switch {
	case err != nil:
		return err
	case !decided:
		return approvalError(c, ChangeExpired, "nobody approved the plan within %s", ttl)
	case !c.Verdict.Approved:
		why := "rejected by " + c.Verdict.By.Name
		if c.Verdict.Comment != "" {
			why += ": " + c.Verdict.Comment
		}
		return approvalError(c, ChangeRejected, "%s", why)
	}
	c.phaseEnd(ctx, StepDone, "approved by "+c.Verdict.By.Name)
	return nil
}

// How steps are divided among activities. A short change has one for each step,
// so that its history tells what happened; a long one has batches, or its history
// would not hold it.
const (
	singleSteps    = 100 // up to so many steps go one by one
	stepsPerBatch  = 50
	bytesPerBatch  = 512 << 10
	singlesAtATime = 32
	batchesAtATime = 4
	stepsAtATime   = 16 // within a batch
)

// applyPlan runs the steps of the plan that are not done, each as soon as those
// that it waits for are. After a failure nothing more is started, and what is
// under way is waited for.
func (s *stack) applyPlan(ctx workflow.Context, c *change) error {
	breathe(ctx)
	p := c.plan
	waiting := map[string]bool{}
	todo := 0
	for _, step := range p.steps {
		switch {
		case step.state == StepDone:
		case !step.Run:
			s.renew(ctx, p, step)
		default:
			step.state = StepPending
			waiting[step.Key] = true
			todo++
		}
	}
	s.countDone(c)
	size, atATime := 1, singlesAtATime
	if todo > singleSteps {
		size, atATime = stepsPerBatch, batchesAtATime
	}
	var failure error
	running := 0
	selector := workflow.NewSelector(ctx)
	for {
		for failure == nil && ctx.Err() == nil && running < atATime {
			breathe(ctx)
			batch := p.ready(waiting, size)
			if len(batch) == 0 {
				break
			}
			running++
			f, err := s.startBatch(ctx, c, batch)
			if err != nil {
				return err
			}
			selector.AddFuture(f, func(f workflow.Future) {
				running--
				if err := s.batchEnded(ctx, c, batch, f); err != nil && failure == nil {
					failure = err
				}
				for _, step := range batch {
					if step.state == StepDone {
						delete(waiting, step.Key)
					}
				}
				s.countDone(c)
			})
		}
		if running == 0 {
			break
		}
		selector.Select(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // what it interrupted did not fail by itself
	case failure != nil:
		return failure
	case len(waiting) > 0:
		return temporal.NewNonRetryableApplicationError("the plan's steps wait for each other", ErrorInvalidInput, nil)
	}
	return nil
}

func (s *stack) countDone(c *change) {
	c.Done = 0
	for _, step := range c.plan.steps {
		if step.state == StepDone {
			c.Done++
		}
	}
}

// ready picks steps that wait for nothing.
func (p *plan) ready(waiting map[string]bool, size int) []*planStep {
	var batch []*planStep
	bytes := 0
	for _, step := range p.queue {
		if step.state != StepPending || slices.ContainsFunc(step.After, func(key string) bool { return waiting[key] }) {
			continue
		}
		if bytes += len(step.step); len(batch) > 0 && bytes > bytesPerBatch {
			break
		}
		if batch = append(batch, step); len(batch) == size {
			break
		}
	}
	return batch
}

// remember keeps what the inventory has under a key before the change.
func (s *stack) remember(p *plan, key string) {
	if _, seen := p.before[key]; !seen {
		p.before[key] = s.entries[key]
	}
}

// put sets what the inventory has under a key; nil is nothing.
func (s *stack) put(key string, e *entry) {
	if e == nil {
		delete(s.entries, key)
		return
	}
	s.entries[key] = e
}

// renew does a step that has nothing to do in the tenant.
func (s *stack) renew(ctx workflow.Context, p *plan, step *planStep) {
	now := workflow.Now(ctx).UTC()
	step.state, step.started, step.ended = StepDone, &now, &now
	old := s.entries[step.Key]
	switch {
	case step.renewed != nil:
		s.remember(p, step.Key)
		s.put(step.Key, &entry{key: step.Key, claims: step.claimsOr(old), owned: step.renewed})
	case old != nil && step.claims != nil:
		old.claims = step.claims
	}
}

// claimsOr are the step's claims or, for a plan that was carried over, the
// entry's.
func (st *planStep) claimsOr(old *entry) claims {
	if st.claims == nil && old != nil {
		return old.claims
	}
	return st.claims
}

// startBatch starts the activity that makes a batch.
func (s *stack) startBatch(ctx workflow.Context, c *change, batch []*planStep) (workflow.Future, error) {
	now := workflow.Now(ctx).UTC()
	// A run that was reset begins steps anew that may have been made before.
	info := workflow.GetInfo(ctx)
	reset := info.OriginalRunID != "" && info.OriginalRunID != info.WorkflowExecution.RunID
	task := StepsTask{Tenant: s.Tenant, Engine: c.Engine, Run: c.Run, First: !reset, Parallel: stepsAtATime, Planned: c.plan.read}
	lines := make([][]byte, len(batch))
	for i, step := range batch {
		lines[i] = step.step
		s.remember(c.plan, step.Key)
		task.First = task.First && !step.tried
		if step.Adopted {
			task.Adopted = append(task.Adopted, step.Key)
		}
		step.state, step.tried, step.started, step.ended, step.detail = StepRunning, true, &now, nil, ""
	}
	var err error
	if task.Outputs, err = s.outputsFor(batch, nil); err != nil {
		return nil, err
	}
	if task.Steps, err = newBulk(lines); err != nil {
		return nil, err
	}
	actx := workflow.WithActivityOptions(ctx, options(activityApplySteps, summary("", batch)))
	return workflow.ExecuteActivity(actx, activityApplySteps, task), nil
}

// summary is what Temporal's UI shows beside the activity.
func summary(prefix string, batch []*planStep) string {
	if len(batch) == 1 {
		return prefix + string(batch[0].Action) + " " + batch[0].Key
	}
	return fmt.Sprintf("%s%d steps from %s", prefix, len(batch), batch[0].Key)
}

// outputsFor collects what a batch reads, from the inventory and from more.
func (s *stack) outputsFor(batch []*planStep, more map[engine.Key]engine.Outputs) (map[engine.Key]engine.Outputs, error) {
	outputs := map[engine.Key]engine.Outputs{}
	for _, step := range batch {
		for _, need := range step.Needs {
			var key engine.Key
			if err := key.UnmarshalText([]byte(need)); err != nil {
				return nil, err
			}
			if out, ok := more[key]; ok {
				outputs[key] = out
				continue
			}
			e := s.entries[need]
			if _, have := outputs[key]; have || e == nil {
				continue
			}
			var err error
			if outputs[key], err = e.outputs(); err != nil {
				return nil, err
			}
		}
	}
	return outputs, nil
}

// outcomesOf reads what became of a batch, also from the failure or the last
// heartbeat of an activity that gave up.
func outcomesOf(ctx workflow.Context, f workflow.Future) ([]stepOutcome, error) {
	var result *StepsResult
	failure := f.Get(ctx, &result)
	for err := failure; err != nil && result == nil; err = errors.Unwrap(err) {
		var found *StepsResult
		switch e := err.(type) {
		case *temporal.ApplicationError:
			if e.HasDetails() && e.Details(&found) == nil {
				result = found
			}
		case *temporal.TimeoutError:
			if e.HasLastHeartbeatDetails() && e.LastHeartbeatDetails(&found) == nil {
				result = found
			}
		case *temporal.CanceledError:
			if e.HasDetails() && e.Details(&found) == nil {
				result = found
			}
		}
	}
	if result == nil {
		return nil, failure
	}
	lines, err := result.Outcomes.lines()
	if err != nil {
		return nil, errors.Join(failure, err)
	}
	outcomes := make([]stepOutcome, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal(line, &outcomes[i]); err != nil {
			return nil, errors.Join(failure, fmt.Errorf("outcome: %w", err))
		}
	}
	return outcomes, failure
}

// batchEnded takes the outcomes of a batch over. Its error is the first failure.
func (s *stack) batchEnded(ctx workflow.Context, c *change, batch []*planStep, f workflow.Future) error {
	outcomes, failure := outcomesOf(ctx, f)
	now := workflow.Now(ctx).UTC()
	fail := func(step *planStep, message string) {
		step.state, step.detail = StepFailed, message
		if c.failed == "" {
			c.failed = step.Key
		}
	}
	for _, o := range outcomes {
		i, ok := c.plan.index[o.Key]
		if !ok {
			continue
		}
		step := c.plan.steps[i]
		step.ended = &now
		if o.Error != nil {
			fail(step, o.Error.Message)
			if failure == nil {
				failure = temporal.NewNonRetryableApplicationError(o.Error.Message, o.Error.Type, nil)
			}
			continue
		}
		step.state, step.detail = StepDone, o.ID
		s.applied(c.plan, i, o)
	}
	for _, step := range batch {
		if step.state == StepDone {
			continue
		}
		// It failed, or nobody knows how far it came: what it may have done is undone
		// first.
		c.plan.toRevert(c.plan.index[step.Key])
		switch {
		case step.state == StepFailed:
		case failure != nil && !temporal.IsCanceledError(failure) && len(outcomes) == 0:
			step.ended = &now
			fail(step, cause(failure))
		default:
			step.state, step.started = StepPending, nil
		}
	}
	if failure != nil && c.failed == "" && len(batch) > 0 {
		c.failed = batch[0].Key
	}
	return failure
}

// toRevert notes that a step may have changed something.
func (p *plan) toRevert(i int) {
	p.order = append(slices.DeleteFunc(p.order, func(j int) bool { return j == i }), i)
}

// applied takes over what a step left behind.
func (s *stack) applied(p *plan, i int, o stepOutcome) {
	step := p.steps[i]
	old := s.entries[o.Key]
	if o.Owned == nil {
		s.put(o.Key, nil)
	} else {
		list := step.claimsOr(old)
		if id, ok := objectClaim(o.Key, o.ID); ok && !slices.Contains(list, id) {
			list = append(slices.Clip(list), id)
		}
		s.put(o.Key, &entry{key: o.Key, claims: list, owned: o.Owned})
	}
	if step.Action != engine.None {
		p.toRevert(i)
	}
}
