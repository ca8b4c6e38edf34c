package workflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"github.com/tenonhq/tenon/internal/engine"
)

// maxUndone bounds the lists of what was undone.
const maxUndone = 100

// rollBack restores what was before the change: what it made is deleted, what it
// changed or deleted is put back, the last step first. The context is not the
// change's, which may be cancelled.
func (s *stack) rollBack(ctx workflow.Context, c *change) {
	c.State = ChangeRollingBack
	p := c.plan
	size := 1
	if len(p.order) > singleSteps {
		size = stepsPerBatch
	}
	outputs := map[engine.Key]engine.Outputs{}
	var omitted int
	note := func(list *[]Undone, u Undone) {
		if len(*list) == maxUndone {
			omitted++
			return
		}
		*list = append(*list, u)
	}
	for end := len(p.order); end > 0; {
		var batch []*planStep
		bytes := 0
		for end > 0 && len(batch) < size {
			step := p.steps[p.order[end-1]]
			if bytes += len(step.step); len(batch) > 0 && bytes > bytesPerBatch {
				break
			}
			batch = append(batch, step)
			end--
		}
		outcomes, failure := s.revertBatch(ctx, c, batch, outputs)
		seen := map[string]bool{}
		for _, o := range outcomes {
			seen[o.Key] = true
			step := p.steps[p.index[o.Key]]
			step.state = StepUndone
			switch {
			case o.Error != nil:
				step.state, step.detail = StepUndoFailed, o.Error.Message
				note(&c.NotUndone, Undone{Step: o.Key, What: "undo " + string(step.Action) + " of " + o.Key, Error: o.Error.Message})
				continue
			case len(o.Left) > 0:
				step.state = StepUndoFailed
				note(&c.NotUndone, Undone{Step: o.Key, What: o.Undone, Error: "could not put back " + strings.Join(o.Left, ", ")})
			case o.Undone != "":
				note(&c.Undone, Undone{Step: o.Key, What: o.Undone})
			}
			if err := s.restored(p, o, outputs); err != nil {
				note(&c.NotUndone, Undone{Step: o.Key, What: "inventory of " + o.Key, Error: err.Error()})
			}
		}
		for _, step := range batch {
			if !seen[step.Key] {
				step.state, step.detail = StepUndoFailed, cause(failure)
				note(&c.NotUndone, Undone{Step: step.Key, What: "undo " + string(step.Action) + " of " + step.Key, Error: cause(failure)})
			}
		}
	}
	// What changed in the inventory alone has nothing to be reverted in the tenant.
	for _, key := range sortedKeys(p.before) {
		if p.steps[p.index[key]].Action == engine.None {
			s.put(key, p.before[key])
		}
	}
	c.State = ChangeRolledBack
	if len(c.NotUndone) > 0 && c.Error != nil {
		c.Error.Message += " (not everything could be undone)"
	}
	if omitted > 0 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%d more steps were undone, or could not be", omitted))
	}
	p.order = nil
}

func (s *stack) revertBatch(ctx workflow.Context, c *change, batch []*planStep, outputs map[engine.Key]engine.Outputs) ([]stepOutcome, error) {
	known, err := s.outputsFor(batch, outputs)
	if err != nil {
		return nil, err
	}
	// What was made anew has new ids, which all that follow may need.
	//workflowcheck:ignore the order has no effect
	for key, out := range outputs {
		known[key] = out
	}
	lines := make([][]byte, len(batch))
	for i, step := range batch {
		lines[i] = step.step
		step.state = StepRunning
	}
	steps, err := newBulk(lines)
	if err != nil {
		return nil, err
	}
	task := StepsTask{Tenant: s.Tenant, Engine: c.Engine, Run: c.Run, Steps: steps, Outputs: known}
	actx := workflow.WithActivityOptions(ctx, options(activityRevertSteps, summary("undo ", batch)))
	outcomes, failure := outcomesOf(ctx, workflow.ExecuteActivity(actx, activityRevertSteps, task))
	if failure == nil && len(outcomes) < len(batch) {
		failure = errors.New("not reached")
	}
	return outcomes, failure
}

// restored puts an entry of the inventory back. An object that was made anew has
// another id than before.
func (s *stack) restored(p *plan, o stepOutcome, outputs map[engine.Key]engine.Outputs) error {
	before := p.before[o.Key]
	if before == nil || o.ID == "" {
		s.put(o.Key, before)
		return nil
	}
	var key engine.Key
	if err := key.UnmarshalText([]byte(o.Key)); err != nil {
		return err
	}
	if o.Outputs != nil {
		outputs[key] = o.Outputs
	}
	// The resource stays uninterpreted.
	var owned map[string]json.RawMessage
	if err := json.Unmarshal(before.owned, &owned); err != nil {
		return err
	}
	//workflowcheck:ignore the order has no effect
	for field, value := range map[string]any{"objectId": o.ID, "outputs": o.Outputs, "observed": o.Observed} {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if string(text) != "null" {
			owned[field] = text
		}
	}
	text, err := json.Marshal(owned)
	if err != nil {
		return err
	}
	restored := &entry{key: o.Key, claims: before.claims, owned: text}
	if id, ok := objectClaim(o.Key, o.ID); ok {
		restored.claims = append(restored.claims[:len(restored.claims):len(restored.claims)], id)
	}
	s.put(o.Key, restored)
	return nil
}
