package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/workflows"
)

// termFlags are the terms of a change.
type termFlags struct {
	yes         bool
	detach      bool
	wait        bool
	onFailure   string
	approvalTTL time.Duration
}

func (t *termFlags) register(cmd *cobra.Command, terms *workflows.StackTerms) {
	f := cmd.Flags()
	f.BoolVarP(&t.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&t.detach, "detach", false, "do not wait for the end (exit code 8)")
	f.BoolVar(&t.wait, "wait", false, "wait for another change of the stack to end, and do not refuse")
	f.StringVar(&t.onFailure, "on-failure", "keep", "what becomes of the steps that are done: keep or rollback")
	f.BoolVar(&terms.RequireApproval, "require-approval", false, "wait until somebody else approves the plan: tenon runs approve")
	f.DurationVar(&t.approvalTTL, "approval-ttl", 24*time.Hour, "how long the plan waits for approval")
	f.StringVar(&terms.Reason, "reason", "", "a note for people: a commit, a ticket")
}

// fill checks the flags and puts them into the terms.
func (t *termFlags) fill(cmd *cobra.Command, terms *workflows.StackTerms) error {
	switch terms.OnFailure = workflows.OnFailure(t.onFailure); terms.OnFailure {
	case workflows.KeepDone, workflows.Rollback:
	default:
		return usagef(cmd, "--on-failure %q is not one of keep, rollback", t.onFailure)
	}
	if t.approvalTTL < time.Second {
		return usagef(cmd, "--approval-ttl %s is less than a second", t.approvalTTL)
	}
	terms.ApprovalTTLSeconds = int(t.approvalTTL / time.Second)
	if t.wait {
		terms.IfBusy = workflows.WaitBusy
	}
	return nil
}

func newApply(a *app) *cobra.Command {
	var f changeFlags
	var t termFlags
	cmd := &cobra.Command{
		Use:     "apply -f FILE|DIR",
		GroupID: "resources",
		Short:   "Make the tenant as the manifests say, durably",
		Long: `Plan the change, show it, ask, and make it: one durable step for each object, in
the order of their references. The change goes on if this command, the worker or
the cluster is interrupted. What exists already is taken over and shown as
adopted; with --prune, what the stack holds and the manifests do not is deleted.

If the tenant changes between plan and apply, nothing is applied. If a step fails
for good, the steps that are done are kept and tenon runs retry goes on; with
--on-failure rollback they are undone.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := t.fill(cmd, &f.apply.StackTerms); err != nil {
				return err
			}
			ctx := cmd.Context()
			resources, s, done, err := a.desired(cmd, &f)
			if err != nil {
				return err
			}
			defer done()
			return a.change(ctx, s, t, &f.apply.StackTerms,
				func() (*workflows.StackAccepted, error) { return s.Plan(ctx, resources, f.apply) },
				func() (*workflows.StackAccepted, error) { return s.Apply(ctx, resources, f.apply) })
		},
	}
	f.register(cmd)
	t.register(cmd, &f.apply.StackTerms)
	return cmd
}

func newDelete(a *app) *cobra.Command {
	var f changeFlags
	var t termFlags
	var del workflows.StackDelete
	var all bool
	cmd := &cobra.Command{
		Use:     "delete -f FILE|DIR | KIND/NAME... | --all",
		GroupID: "resources",
		Short:   "Delete what a stack holds",
		Long: `Delete resources of a stack, those that refer to others first: those in the
manifests, those named, or all. Objects that no apply made or took over are never
touched, and neither are those with the annotation
tenon.dev/deletion-protection: "true". The tenant itself is not deleted; Tenon
lets go of its settings and leaves them as they are.`,
		Args: func(cmd *cobra.Command, args []string) error {
			_, err := keys(cmd, args)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.fill(cmd, &del.StackTerms); err != nil {
				return err
			}
			ctx := cmd.Context()
			var err error
			switch named := len(f.files) > 0; {
			case all && (named || len(args) > 0), named && len(args) > 0:
				return usagef(cmd, "give one of -f, KIND/NAME and --all")
			case named:
				m, err := a.manifests(cmd, f.files)
				if err != nil {
					return err
				}
				expanded, err := v1.Expand(m.Resources)
				if err != nil {
					return err
				}
				for _, r := range expanded {
					del.Keys = append(del.Keys, engine.KeyOf(r))
				}
			case len(args) > 0:
				if del.Keys, err = keys(cmd, args); err != nil {
					return err
				}
			case !all:
				return usagef(cmd, "name what to delete: -f, KIND/NAME, or --all")
			}
			c, s, _, err := a.open(ctx, f.stackFlags)
			if err != nil {
				return err
			}
			defer c.Close()
			return a.change(ctx, s, t, &del.StackTerms,
				func() (*workflows.StackAccepted, error) { return s.PlanDelete(ctx, del) },
				func() (*workflows.StackAccepted, error) { return s.Delete(ctx, del) })
		},
	}
	f.stackFlags.register(cmd)
	filesFlag(cmd, &f.files)
	cmd.Flags().BoolVar(&all, "all", false, "everything that the stack holds")
	cmd.Flags().StringVar(&del.Engine, "engine", "direct", "what makes the changes: direct")
	t.register(cmd, &del.StackTerms)
	return cmd
}

// change plans, asks, and makes a change.
func (a *app) change(ctx context.Context, s *workflows.Stack, t termFlags, terms *workflows.StackTerms, plan, begin func() (*workflows.StackAccepted, error)) error {
	// With --yes there is nobody to show a plan to before it is applied.
	if !t.yes {
		accepted, err := plan()
		if err != nil {
			return err
		}
		_, p, err := a.planned(ctx, s, accepted)
		if err != nil {
			return err
		}
		printPlan(a.err, p, false)
		if len(p.Steps) == 0 || !slices.ContainsFunc(p.Steps, func(s engine.Step) bool { return s.Action != engine.None }) {
			return a.print(planAnswer(p, false))
		}
		if !terms.RequireApproval {
			if err := a.confirm("apply this plan?"); err != nil {
				return err
			}
		}
		terms.PlanHash = p.Hash
	}
	accepted, err := begin()
	if err != nil {
		return err
	}
	follow := fmt.Sprintf("tenon runs watch %s", s.ID())
	if t.detach {
		fmt.Fprintf(a.out, "%s %s\n", s.ID(), accepted.Change)
		return &failure{fmt.Errorf("change %s of %s goes on", accepted.Change, s.ID()), "follow it with: " + follow, exitRunning}
	}
	return a.await(ctx, s, accepted.Change)
}

// await shows a change until it ends, and prints it.
func (a *app) await(ctx context.Context, s *workflows.Stack, id string) error {
	b := newBoard(a.err, a.interactive())
	asked := false
	change, err := s.Wait(ctx, id, false, func(c *workflows.StackChange) {
		if c.State == workflows.ChangeAwaiting && !asked {
			asked = true
			fmt.Fprintf(a.err, "waiting for approval until %s; somebody else approves with:\n  tenon runs approve %s --hash %s\n",
				c.ExpiresAt.Local().Format(time.DateTime), s.ID(), c.Hash)
		}
		// Progress is a courtesy: while no worker answers, the change goes on.
		if p, err := s.Progress(ctx); err == nil {
			b.show(&daemon.Tree{ID: s.ID() + "/" + id, Progress: *p})
		}
	})
	if err != nil {
		if ctx.Err() != nil {
			fmt.Fprintf(a.err, "change %s goes on; follow it with: tenon runs watch %s\n", id, s.ID())
		}
		return err
	}
	if err := ended(s, change); err != nil {
		return err
	}
	for _, w := range change.Warnings {
		fmt.Fprintln(a.err, "warning:", w)
	}
	return a.print(answer{data: change, names: []string{s.ID()}, table: func(w io.Writer) { printChange(w, s.ID(), change) }})
}

func printChange(w io.Writer, stack string, c *workflows.StackChange) {
	var parts []string
	for _, action := range []engine.Action{engine.Create, engine.Adopt, engine.Update, engine.Replace, engine.Delete, engine.None} {
		if n := c.Actions[action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", action, n))
		}
	}
	approved := "-"
	if c.Verdict != nil {
		approved = c.Verdict.By.String()
	}
	rows(w,
		[]string{"STACK", "CHANGE", "OPERATION", "STATE", "STEPS", "APPROVED BY"},
		[]string{stack, c.ID, c.Operation, string(c.State), orDash(strings.Join(parts, ", ")), approved})
}

// confirm asks a person. Where there is none, it is refused.
func (a *app) confirm(question string) error {
	in, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return &failure{errors.New("nobody is there to ask, and nothing was changed"), "run it again with --yes", exitFailed}
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	text, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "y", "yes":
		return nil
	}
	return &failure{errors.New("nothing was changed"), "", exitFailed}
}
