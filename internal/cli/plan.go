package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/workflows"
)

// changeFlags say what a plan or an apply is about.
type changeFlags struct {
	stackFlags
	files   []string
	targets []string
	apply   workflows.StackApply
}

func (f *changeFlags) register(cmd *cobra.Command) {
	f.stackFlags.register(cmd)
	filesFlag(cmd, &f.files)
	cmd.Flags().StringVar(&f.apply.Engine, "engine", "direct", "what makes the changes: direct")
	cmd.Flags().BoolVar(&f.apply.Prune, "prune", false, "delete what the stack holds and the manifests no longer do")
	cmd.Flags().StringArrayVar(&f.targets, "target", nil, "KIND/NAME: only this resource and what it refers to; may be repeated")
}

func newPlan(a *app) *cobra.Command {
	var f changeFlags
	var drift bool
	cmd := &cobra.Command{
		Use:     "plan -f FILE|DIR",
		Aliases: []string{"diff"},
		GroupID: "resources",
		Short:   "Show what applying manifests would change; exits 2 if anything",
		Long: `Compare manifests with the tenant and show what applying them would change: each
object, each field, why, and what to look at twice. Changes nothing.

Secrets are not shown. A field that somebody changed in the tenant since the
last apply says so; --drift also shows changed fields that no manifest sets.
Exits 0 if the tenant is as desired, 2 if changes are pending.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			resources, s, done, err := a.desired(cmd, &f)
			if err != nil {
				return err
			}
			defer done()
			accepted, err := s.Plan(ctx, resources, f.apply)
			if err != nil {
				return err
			}
			_, plan, err := a.planned(ctx, s, accepted)
			if err != nil {
				return err
			}
			if err := a.print(planAnswer(plan, drift)); err != nil {
				return err
			}
			if plan.Changes() {
				return &failure{code: exitPending}
			}
			return nil
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&drift, "drift", false, "show fields that somebody changed in the tenant and no manifest sets")
	return cmd
}

// desired loads the manifests and connects to their stack.
func (a *app) desired(cmd *cobra.Command, f *changeFlags) ([]v1.Resource, *workflows.Stack, func(), error) {
	targets, err := keys(cmd, f.targets)
	if err != nil {
		return nil, nil, nil, err
	}
	f.apply.Targets = targets
	m, err := a.manifests(cmd, f.files)
	if err != nil {
		return nil, nil, nil, err
	}
	c, s, tenant, err := a.open(cmd.Context(), f.stackFlags)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := check(cmd.Context(), m, s); err != nil {
		c.Close()
		return nil, nil, nil, err
	}
	if err := a.seal(cmd.Context(), m, tenant, f.stack); err != nil {
		c.Close()
		return nil, nil, nil, err
	}
	return m.Resources, s, c.Close, nil
}

// check refuses references to what is neither in the manifests nor in the stack.
func check(ctx context.Context, m *v1.Manifests, s *workflows.Stack) error {
	if m.CheckReferences(nil) == nil {
		return nil
	}
	held := map[engine.Key]bool{}
	inventory, err := s.Inventory(ctx)
	if err != nil && !errors.Is(err, workflows.ErrNoStack) {
		return err
	}
	for _, o := range inventory {
		held[o.Key] = true
	}
	return m.CheckReferences(func(kind, name string) bool { return held[engine.Key{Kind: kind, Name: name}] })
}

// planned waits for a plan.
func (a *app) planned(ctx context.Context, s *workflows.Stack, accepted *workflows.StackAccepted) (*workflows.StackChange, *engine.Plan, error) {
	change, err := s.Wait(ctx, accepted.Change, true, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := ended(s, change); err != nil {
		return nil, nil, err
	}
	plan, err := s.PlanOf(ctx, accepted.Change)
	return change, plan, err
}

// planAnswer is a plan for people and programs.
func planAnswer(plan *engine.Plan, drift bool) answer {
	var names []string
	for _, s := range plan.Steps {
		if s.Touches() {
			names = append(names, s.Key.String())
		}
	}
	return answer{data: plan, names: names, table: func(w io.Writer) { printPlan(w, plan, drift) }}
}

var actionMarks = map[engine.Action]string{
	engine.Create:  "+",
	engine.Update:  "~",
	engine.Replace: "±",
	engine.Delete:  "-",
	engine.Adopt:   ">",
	engine.None:    " ",
}

func printPlan(w io.Writer, plan *engine.Plan, drift bool) {
	count := map[engine.Action]int{}
	for _, s := range plan.Steps {
		count[s.Action]++
		drifted := drift && len(s.Drift) > 0
		if s.Action == engine.None && !drifted {
			continue
		}
		fmt.Fprintf(w, "%s %s  %s: %s%s%s\n", actionMarks[s.Action], s.Key, s.Action, s.Reason, origin(s.Resource), risks(s.Risks))
		for _, c := range s.Changes {
			fmt.Fprintf(w, "    %s: %s%s\n", c.Path, difference(c), cause(c.Cause))
		}
		if drifted {
			for _, c := range s.Drift {
				fmt.Fprintf(w, "    %s: %s (in the tenant; no manifest sets it)\n", c.Path, difference(c))
			}
		}
	}
	var parts []string
	for _, action := range []engine.Action{engine.Create, engine.Adopt, engine.Update, engine.Replace, engine.Delete} {
		if n := count[action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d to %s", n, action))
		}
	}
	if !plan.Changes() {
		fmt.Fprintf(w, "nothing to do: %s as desired", plural(len(plan.Steps), "object is", "objects are"))
		if n := count[engine.Adopt]; n > 0 {
			fmt.Fprintf(w, ", %d of them to be taken over by the stack", n)
		}
		fmt.Fprintln(w)
		return
	}
	fmt.Fprintf(w, "%s; %d as desired. %s\nplan %s\n", strings.Join(parts, ", "), count[engine.None], cost(plan.Cost), plan.Hash)
}

func origin(r v1.Resource) string {
	if from := r.Metadata.Labels[v1.LabelFrom]; from != "" {
		return " (from " + from + ")"
	}
	return ""
}

func risks(list []engine.Risk) string {
	if len(list) == 0 {
		return ""
	}
	words := make([]string, len(list))
	for i, r := range list {
		words[i] = string(r)
	}
	return "  [" + strings.Join(words, ", ") + "]"
}

func difference(c engine.Change) string {
	switch {
	case c.Before == nil:
		return show(c.After)
	case c.After == nil:
		return show(c.Before) + " → (none)"
	}
	return show(c.Before) + " → " + show(c.After)
}

// show is a value on one line.
func show(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if text := string(data); len(text) <= 200 {
		return text
	}
	return string([]rune(string(data))[:120]) + "… (-o json shows all)"
}

func cause(c engine.Cause) string {
	switch c {
	case engine.Tenant:
		return "  (changed in the tenant)"
	case engine.Default:
		return "  (Auth0's default)"
	}
	return ""
}

func cost(c engine.Cost) string {
	text := plural(c.Writes, "call", "calls")
	if c.Seconds >= 1 {
		text += fmt.Sprintf(", about %s at %.3g calls a second", (time.Duration(c.Seconds) * time.Second).String(), c.PerSecond)
	}
	return text + "."
}

// ended is the error of a change that did not come to a good end.
func ended(s *workflows.Stack, c *workflows.StackChange) error {
	switch c.State {
	case workflows.ChangeDone, workflows.ChangePlanned:
		return nil
	case workflows.ChangeFailed, workflows.ChangeRolledBack:
		return failedChange(s, c)
	}
	hints := map[workflows.ChangeState]string{
		workflows.ChangeStale:     "the tenant has changed since the plan was made: plan again",
		workflows.ChangeRejected:  "see: tenon runs show " + s.ID(),
		workflows.ChangeExpired:   "nobody approved it in time: apply again",
		workflows.ChangeCancelled: "apply again",
	}
	text := fmt.Sprintf("change %s of %s is %s", c.ID, s.ID(), c.State)
	if c.Verdict != nil && !c.Verdict.Approved {
		text += " by " + c.Verdict.By.String()
		if c.Verdict.Comment != "" {
			text += ": " + c.Verdict.Comment
		}
	}
	if c.Error != nil {
		text += ": " + c.Error.Message
	}
	return &failure{errors.New(text), hints[c.State], exitFailed}
}

// failedChange says what failed, what became of the rest, and how to go on.
func failedChange(s *workflows.Stack, c *workflows.StackChange) error {
	f := &failure{code: exitFailed}
	text := fmt.Sprintf("change %s of %s failed", c.ID, s.ID())
	if c.Error != nil {
		if c.Error.Step != "" {
			text += " at " + c.Error.Step
		}
		text += ": " + c.Error.Message
		f.hint = runHints[c.Error.Type]
		switch c.Error.Type {
		case workflows.ErrorCredentials:
			f.code = exitCredentials
		case workflows.ErrorMissingScopes:
			f.code = exitRefused
		}
	}
	switch {
	case c.State == workflows.ChangeRolledBack:
		text += fmt.Sprintf("; %s undone", plural(len(c.Undone), "step was", "steps were"))
	case c.Operation != "plan":
		text += fmt.Sprintf("; %d of %d steps are done", c.Done, c.Total)
		f.hint = strings.TrimPrefix(f.hint+"; then go on with: tenon runs retry "+s.ID(), "; ")
	}
	if len(c.NotUndone) > 0 {
		left := make([]string, len(c.NotUndone))
		for i, u := range c.NotUndone {
			left[i] = u.Step
		}
		slices.Sort(left)
		f.hint = strings.TrimPrefix(f.hint+"; left behind in the tenant: "+strings.Join(left, ", "), "; ")
	}
	f.err = errors.New(text)
	return f
}
