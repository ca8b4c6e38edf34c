package workflows

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/tenonhq/tenon/internal/engine"
)

const (
	// emptyStackLinger is how long a stack that owns nothing, and waits for nothing,
	// stays to be asked about its last change.
	emptyStackLinger = time.Hour
	// maxQueue bounds the changes that wait.
	maxQueue = 10
	// maxHistory bounds the changes that are remembered.
	maxHistory = 50
	// runEvents and runBytes are when a run has grown enough to continue as new.
	// Temporal ends a run at 51,200 events or 50 MB; one large change takes some
	// hundreds of events and a few megabytes.
	runEvents = 4_000
	runBytes  = 4 << 20
)

// stack is the state of a StackWorkflow.
type stack struct {
	StackInput
	// next is the number of the next change.
	next    int
	entries map[string]*entry
	// current is the change under way, last the latest that has ended and was no
	// plan: the one that can be retried. shown is the latest that has a plan.
	current, last, shown *change
	queue                []*change
	history              []StackChange // ended, the latest first
	uploads              []*upload
	// bytes is the compressed size of the state, as of the latest plan.
	bytes int
	// claimed counts requests to the tenant's claims of this run of the workflow.
	claimed       int
	claimsStarted bool
	// stopping is set once the workflow is cancelled: the change under way ends, and
	// the stack goes on in a run of its own.
	stopping bool
}

// upload is a bundle of manifests that is arriving.
type upload struct {
	id     string
	chunks [][]byte
}

func (u *upload) bundle() ([]byte, bool) {
	var all []byte
	for _, c := range u.chunks {
		if c == nil {
			return nil, false
		}
		all = append(all, c...)
	}
	return all, true
}

// StackWorkflow is a stack: it owns the inventory, makes one change at a time,
// and lives as long as it owns anything. Its interface are the updates and
// queries of stack_types.go. The second argument is the state that an earlier
// run carried over; who starts a stack leaves it out.
//
// Cancelling the workflow cancels the change under way and those that wait; the
// stack itself goes on, because what it owns would be forgotten with it.
func StackWorkflow(ctx workflow.Context, in StackInput, carried []byte) error {
	if err := refuse(in.validate()); err != nil {
		return err
	}
	s := &stack{StackInput: in, next: 1, entries: map[string]*entry{}}
	if err := s.restore(carried); err != nil {
		return err
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	// What is under way must be ended, and undone, after a cancellation too.
	work, _ := workflow.NewDisconnectedContext(ctx)
	workflow.Go(work, func(work workflow.Context) {
		ctx.Done().Receive(work, nil)
		s.stop(work)
	})
	for {
		busy, err := s.await(work)
		if err != nil {
			return err
		}
		if len(s.queue) > 0 {
			c := s.queue[0]
			s.queue = s.queue[1:]
			s.run(work, c)
		}
		over := !busy && s.empty()
		if !over && !s.stopping && !s.grown(work) {
			continue
		}
		// An update that came in between must neither be lost nor left unanswered.
		if err := workflow.Await(work, func() bool { return workflow.AllHandlersFinished(work) }); err != nil {
			return err
		}
		switch {
		case len(s.queue) > 0:
			// First things first.
		case over && s.empty():
			return nil
		case s.stopping || s.grown(work):
			state, err := s.carry(work)
			if err != nil {
				return err
			}
			return workflow.NewContinueAsNewError(ctx, TypeStack, in, state)
		}
	}
}

// await waits for something to do. It gives up on a stack that owns nothing.
func (s *stack) await(ctx workflow.Context) (busy bool, err error) {
	something := func() bool { return len(s.queue) > 0 || s.stopping }
	if s.empty() {
		return workflow.AwaitWithTimeout(ctx, emptyStackLinger, something)
	}
	return true, workflow.Await(ctx, something)
}

// grown reports whether the run's history should not grow much longer.
func (s *stack) grown(ctx workflow.Context) bool {
	info := workflow.GetInfo(ctx)
	return info.GetContinueAsNewSuggested() || info.GetCurrentHistoryLength() > runEvents || info.GetCurrentHistorySize() > runBytes
}

// empty reports whether nothing is lost with the stack.
func (s *stack) empty() bool {
	return len(s.entries) == 0 && len(s.queue) == 0 && (s.last == nil || s.last.State != ChangeFailed)
}

// stop cancels everything that has not ended.
func (s *stack) stop(ctx workflow.Context) {
	s.stopping = true
	for _, c := range s.queue {
		c.State, c.Error = ChangeCancelled, &StackError{Message: "the workflow was cancelled"}
		s.ended(ctx, c)
	}
	s.queue = nil
	if s.current != nil {
		s.current.cancelWith("the workflow was cancelled")
	}
}

// ended moves a change into the history.
func (s *stack) ended(ctx workflow.Context, c *change) {
	now := workflow.Now(ctx).UTC()
	c.EndedAt = &now
	c.bundle = nil
	s.history = slices.Insert(s.history, 0, c.StackChange)
	s.history = s.history[:min(len(s.history), maxHistory)]
	if c.Operation != opPlan && c.Attempts > 0 {
		s.last = c
	}
}

func (in StackInput) validate() problems {
	var p problems
	p.tenant(in.Tenant)
	if len(in.Name) > 64 || !stackName.MatchString(in.Name) {
		p.add("name", "is %q, must be letters, digits, dots, dashes and underscores, at most 64, and begin with a letter or digit", in.Name)
	}
	return p
}

// stackHead is the first line of a carried state; entries, steps and earlier
// entries follow, so many lines each.
type stackHead struct {
	Next    int           `json:"next"`
	History []StackChange `json:"history,omitempty"`
	Bytes   int           `json:"bytes,omitempty"`
	Entries int           `json:"entries"`
	Last    *changeRecord `json:"last,omitempty"`
	Steps   int           `json:"steps,omitempty"`
	Before  int           `json:"before,omitempty"`
}

// changeRecord is what a change takes along.
type changeRecord struct {
	Change  StackChange   `json:"change"`
	Request changeRequest `json:"request"`
	// Done and Tried are steps by index, Order those to be reverted, the first first.
	Done  []int `json:"done,omitempty"`
	Tried []int `json:"tried,omitempty"`
	Order []int `json:"order,omitempty"`
	// New are keys that the stack did not own before the change.
	New []string `json:"new,omitempty"`
}

// carry packs the state for the next run. The plan of a change that has ended for
// good goes along if there is room.
func (s *stack) carry(ctx workflow.Context) ([]byte, error) {
	state, err := s.pack(true)
	if err != nil {
		return nil, err
	}
	if s.last != nil && s.last.State != ChangeFailed && s.recordSize(ctx, len(state)) > MaxStackBytes {
		return s.pack(false)
	}
	return state, nil
}

// recordSize makes the size of something compressed safe to decide by: another
// version of the compressor may come to another size when the history replays.
func (s *stack) recordSize(ctx workflow.Context, n int) int {
	var size int
	if err := workflow.SideEffect(ctx, func(workflow.Context) any { return n }).Get(&size); err != nil {
		return n // a number always decodes
	}
	return size
}

func (s *stack) pack(withPlan bool) ([]byte, error) {
	head := stackHead{Next: s.next, History: s.history, Bytes: s.bytes, Entries: len(s.entries)}
	lines := append(make([][]byte, 1, len(s.entries)+1), s.inventoryLines()...)
	if c := s.last; c != nil {
		head.Last = &changeRecord{Change: c.StackChange, Request: c.changeRequest}
		if p := c.plan; p != nil && withPlan {
			head.Steps, head.Before = len(p.steps), 0
			r := head.Last
			r.Order = p.order
			for i, step := range p.steps {
				lines = append(lines, step.line)
				if step.state == StepDone {
					r.Done = append(r.Done, i)
				}
				if step.tried {
					r.Tried = append(r.Tried, i)
				}
			}
			for _, key := range sortedKeys(p.before) {
				if e := p.before[key]; e != nil {
					lines = append(lines, e.line())
					head.Before++
				} else {
					r.New = append(r.New, key)
				}
			}
		}
	}
	var err error
	if lines[0], err = json.Marshal(head); err != nil {
		return nil, err
	}
	return pack(lines)
}

func (s *stack) inventoryLines() [][]byte {
	lines := make([][]byte, 0, len(s.entries))
	for _, key := range sortedKeys(s.entries) {
		lines = append(lines, s.entries[key].line())
	}
	return lines
}

// restore is the inverse of carry.
func (s *stack) restore(carried []byte) error {
	lines, err := unpack(carried, 2*maxUnpacked)
	if err != nil || len(lines) == 0 {
		return err
	}
	var head stackHead
	if err := json.Unmarshal(lines[0], &head); err != nil {
		return fmt.Errorf("carried state: %w", err)
	}
	if len(lines) != 1+head.Entries+head.Steps+head.Before {
		return fmt.Errorf("carried state: %d lines of %d", len(lines), 1+head.Entries+head.Steps+head.Before)
	}
	s.next, s.history, s.bytes = head.Next, head.History, head.Bytes
	lines = lines[1:]
	for _, line := range lines[:head.Entries] {
		e, err := parseEntry(line)
		if err != nil {
			return err
		}
		s.entries[e.key] = e
	}
	if head.Last == nil {
		return nil
	}
	r := head.Last
	s.last = &change{StackChange: r.Change, changeRequest: r.Request}
	if head.Steps == 0 {
		return nil
	}
	p, err := newPlan(lines[head.Entries : head.Entries+head.Steps])
	if err != nil {
		return err
	}
	for _, i := range r.Done {
		p.steps[i].state = StepDone
	}
	for _, i := range r.Tried {
		p.steps[i].tried = true
	}
	p.order = r.Order
	for _, key := range r.New {
		p.before[key] = nil
	}
	for _, line := range lines[head.Entries+head.Steps:] {
		e, err := parseEntry(line)
		if err != nil {
			return err
		}
		p.before[e.key] = e
	}
	s.last.plan, s.shown = p, s.last
	return nil
}

// change is one change and all that it needs.
type change struct {
	StackChange
	changeRequest
	bundle []byte
	plan   *plan
	// cancel stops what is under way; why is what the requester of that said.
	cancel workflow.CancelFunc
	why    string
	// phases are the steps of the progress that are no resource's.
	phases []Step
	failed string // the phase that failed
}

// changeRequest is what was asked for, beside the manifests.
type changeRequest struct {
	// Run marks objects as made by this change.
	Run       string       `json:"run"`
	Kind      string       `json:"kind"` // apply or delete; of a plan, what is planned
	Prune     bool         `json:"prune,omitempty"`
	Targets   []engine.Key `json:"targets,omitempty"`
	Delete    []engine.Key `json:"delete,omitempty"`
	PlanHash  string       `json:"planHash,omitempty"`
	OnFailure OnFailure    `json:"onFailure,omitempty"`
	TTL       int          `json:"ttl,omitempty"`
	Approve   bool         `json:"approve,omitempty"`
}

// The operations of a change.
const (
	opPlan   = "plan"
	opApply  = "apply"
	opDelete = "delete"
)

func (c *change) cancelWith(why string) {
	c.why = cmp.Or(c.why, why, "cancelled")
	if c.cancel != nil {
		c.cancel()
	}
}

// phase begins a step of the progress that is no resource's.
func (c *change) phase(ctx workflow.Context, name, title string) {
	now := workflow.Now(ctx).UTC()
	c.phases = append(c.phases, Step{Name: name, Title: title, State: StepRunning, StartedAt: &now})
}

// phaseEnd ends the latest one.
func (c *change) phaseEnd(ctx workflow.Context, state StepState, detail string) {
	if n := len(c.phases); n > 0 && c.phases[n-1].State == StepRunning {
		now := workflow.Now(ctx).UTC()
		p := &c.phases[n-1]
		p.State, p.Detail, p.EndedAt = state, detail, &now
	}
}

// plan is the plan of a change, and how far it is.
type plan struct {
	steps []*planStep
	index map[string]int
	// queue has the steps in the order in which they are begun, as far as what they
	// wait for allows: those that the longest chain waits for first, so that no chain
	// is left over when all else is done.
	queue []*planStep
	// order are the steps to revert, by index, in the order in which they ended.
	order []int
	// before holds what the inventory had under each key that the change touched.
	before map[string]*entry
	// read is when the tenant was read for it; zero for a plan of an earlier run,
	// which is old.
	read time.Time
}

// planStep is one step of a plan.
type planStep struct {
	stepHead
	line []byte
	// step is the engine.Step, renewed the inventory's new entry, both as JSON.
	step, renewed []byte

	// claims are what the step's object is claimed by.
	claims         claims
	state          StepState
	tried          bool
	started, ended *time.Time
	detail         string
}

func newPlan(lines [][]byte) (*plan, error) {
	p := &plan{index: make(map[string]int, len(lines)), before: map[string]*entry{}, steps: make([]*planStep, len(lines))}
	for i, line := range lines {
		head, rest, ok := bytes.Cut(line, []byte{'\t'})
		if !ok {
			return nil, errors.New("plan: a line without a step")
		}
		s := &planStep{line: line, state: StepPending}
		s.step, s.renewed, _ = bytes.Cut(rest, []byte{'\t'})
		if err := json.Unmarshal(head, &s.stepHead); err != nil {
			return nil, fmt.Errorf("plan: %w", err)
		}
		p.steps[i] = s
		p.index[s.Key] = i
	}
	// Steps stand behind those that they wait for, so chains are measured backwards.
	chain := make(map[string]int, len(lines))
	for _, s := range slices.Backward(p.steps) {
		for _, key := range s.After {
			chain[key] = max(chain[key], chain[s.Key]+1)
		}
	}
	p.queue = slices.Clone(p.steps)
	slices.SortStableFunc(p.queue, func(a, b *planStep) int { return chain[b.Key] - chain[a.Key] })
	return p, nil
}
