package workflows

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tenonhq/tenon/internal/engine"
)

const (
	// pageBytes is about what one answer to a query may carry; Temporal's limit is
	// 2 MiB.
	pageBytes = 1 << 20
	// listedSteps is up to how many steps a Progress lists all; beyond, it counts
	// them and lists those that run or failed.
	listedSteps = 200
)

// status answers QueryStatus.
func (s *stack) status() (StackStatus, error) {
	st := StackStatus{Tenant: s.Tenant, Name: s.Name, Objects: map[string]int{}, History: slices.Clone(s.history), Bytes: s.bytes}
	//workflowcheck:ignore the order has no effect
	for key := range s.entries {
		kind, _, _ := strings.Cut(key, "/")
		st.Objects[kind]++
	}
	switch {
	case s.current != nil:
		st.Current = ptr(s.current.StackChange)
	case s.last != nil:
		st.Current = ptr(s.last.StackChange)
	}
	for _, c := range s.queue {
		st.Queue = append(st.Queue, c.StackChange)
	}
	return st, nil
}

// paged cuts a page out of lines. Keys name them.
func paged(n int, page StackPage, key func(int) string, text func(int) []byte) (lines []json.RawMessage, total, next int) {
	lines = []json.RawMessage{}
	bytes := 0
	for i := range n {
		kind, name, _ := strings.Cut(key(i), "/")
		if (page.Kind != "" && page.Kind != kind) || (page.Name != "" && page.Name != name) {
			continue
		}
		total++
		if total <= page.Offset || next > 0 {
			continue
		}
		line := text(i)
		if bytes += len(line); len(lines) > 0 && (bytes > pageBytes || (page.Limit > 0 && len(lines) == page.Limit)) {
			next = total - 1
			continue
		}
		lines = append(lines, line)
	}
	return lines, total, next
}

// rawInventory and rawPlanned are StackInventory and StackPlanned with what they
// list uninterpreted.
type rawInventory struct {
	Objects []json.RawMessage `json:"objects"`
	Total   int               `json:"total"`
	Next    int               `json:"next,omitempty"`
}

type rawPlanned struct {
	Change string `json:"change"`
	Plan   struct {
		Tenant string            `json:"tenant"`
		Engine string            `json:"engine"`
		Steps  []json.RawMessage `json:"steps"`
		Cost   *engine.Cost      `json:"cost,omitempty"`
		Hash   string            `json:"hash"`
	} `json:"plan"`
	Total int `json:"total"`
	Next  int `json:"next,omitempty"`
}

// inventoryPage answers QueryInventory.
func (s *stack) inventoryPage(page StackPage) (rawInventory, error) {
	keys := sortedKeys(s.entries)
	var out rawInventory
	out.Objects, out.Total, out.Next = paged(len(keys), page,
		func(i int) string { return keys[i] }, func(i int) []byte { return s.entries[keys[i]].owned })
	return out, nil
}

// planPage answers QueryPlan.
func (s *stack) planPage(page StackPage) (rawPlanned, error) {
	var out rawPlanned
	c := s.shown
	if c == nil || c.plan == nil || (page.Change != "" && page.Change != c.ID) {
		return out, refusedf("the stack no longer has the plan of %s", orDefault(page.Change, "any change"))
	}
	out.Change = c.ID
	out.Plan.Tenant, out.Plan.Engine, out.Plan.Hash, out.Plan.Cost = s.Tenant, c.Engine, c.Hash, c.Cost
	steps := c.plan.steps
	out.Plan.Steps, out.Total, out.Next = paged(len(steps), page,
		func(i int) string { return steps[i].Key }, func(i int) []byte { return steps[i].step })
	return out, nil
}

// progress answers QueryProgress: the change under way, or the latest.
func (s *stack) progress() (Progress, error) {
	out := Progress{Workflow: TypeStack, Tenant: s.Tenant, State: "done", Steps: []Step{}}
	c := s.current
	if c == nil {
		c = s.last
	}
	if c == nil {
		return out, nil
	}
	out.Change, out.State = c.ID, c.State.progress()
	out.Warnings, out.Undone, out.NotUndone = c.Warnings, c.Undone, c.NotUndone
	out.Steps = append(out.Steps, c.phases...)
	if c.plan == nil || c.Operation == opPlan {
		return out, nil
	}
	out.Counts = map[StepState]int{}
	long := len(c.plan.steps) > listedSteps
	listed := 0
	for _, step := range c.plan.steps {
		out.Counts[step.state]++
		if long && (listed == listedSteps || (step.state != StepRunning && step.state != StepFailed && step.state != StepUndoFailed)) {
			continue
		}
		listed++
		kind, name, _ := strings.Cut(step.Key, "/")
		out.Steps = append(out.Steps, Step{
			Name: step.Key, Title: kind + " " + name, State: step.state, Action: string(step.Action), Detail: step.detail,
			StartedAt: step.started, EndedAt: step.ended,
		})
	}
	return out, nil
}

// progress is the state in a Progress's terms.
func (c ChangeState) progress() string {
	switch c {
	case ChangeRollingBack:
		return "undoing"
	case ChangeDone, ChangePlanned:
		return "done"
	case ChangeCancelled:
		return "cancelled"
	case ChangeQueued, ChangePlanning, ChangeAwaiting, ChangeApplying:
		return "running"
	}
	return "failed"
}
