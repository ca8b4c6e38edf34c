package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/workflows"
)

// stackRun finds the stack that a run id of the command line means.
func (a *app) stackRun(ctx context.Context, id string) (*workflows.Stack, func(), error) {
	tenant, name, ok := workflows.ParseStackID(id)
	if !ok {
		return nil, nil, &failure{fmt.Errorf("%s is not a stack: its id is not stack/TENANT/NAME", id), "see: tenon runs list", exitFailed}
	}
	c, _, err := a.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	return workflows.NewStack(c, tenant, name), c.Close, nil
}

// latest is the change that a command means if it names none.
func latest(ctx context.Context, s *workflows.Stack, change string) (*workflows.StackChange, error) {
	status, err := s.Status(ctx)
	if err != nil {
		return nil, err
	}
	if change == "" {
		if status.Current == nil {
			return nil, &failure{fmt.Errorf("%s has no change", s.ID()), "", exitFailed}
		}
		return status.Current, nil
	}
	c, ok := status.Change(change)
	if !ok {
		return nil, &failure{fmt.Errorf("%s has no change %s", s.ID(), change), "see: tenon runs show " + s.ID(), exitFailed}
	}
	return c, nil
}

func newRunsApprove(a *app) *cobra.Command {
	var change, hash, comment string
	cmd := &cobra.Command{
		Use:   "approve ID --hash HASH",
		Short: "Approve the plan that a stack waits with",
		Long: `Approve a plan: by its hash, so that what is applied is what was read, and by
somebody other than who asked for it, as the cluster's server verified both. Use
another identity's token with --token-file. Without --hash the plan is shown and
you are asked.`,
		Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, done, err := a.stackRun(ctx, args[0])
			if err != nil {
				return err
			}
			defer done()
			c, err := latest(ctx, s, change)
			if err != nil {
				return err
			}
			// A change that was just asked for is planned first.
			if c, err = s.Wait(ctx, c.ID, true, nil); err != nil {
				return err
			}
			if hash == "" {
				plan, err := s.PlanOf(ctx, c.ID)
				if err != nil {
					return err
				}
				printPlan(a.err, plan, false)
				if err := a.confirm("approve this plan?"); err != nil {
					return err
				}
				hash = plan.Hash
			}
			if c, err = s.Approve(ctx, c.ID, hash, comment); err != nil {
				return err
			}
			return a.print(answer{data: c, names: []string{s.ID()}, table: func(w io.Writer) { printChange(w, s.ID(), c) }})
		},
	}
	cmd.Flags().StringVar(&change, "change", "", "one of several changes (default: the one under way)")
	cmd.Flags().StringVar(&hash, "hash", "", "hash of the plan that is approved")
	cmd.Flags().StringVar(&comment, "comment", "", "a note for people")
	return cmd
}

func newRunsReject(a *app) *cobra.Command {
	var change, comment string
	cmd := &cobra.Command{
		Use:   "reject ID",
		Short: "Reject the plan that a stack waits with",
		Args:  exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onChange(cmd.Context(), args[0], change, func(ctx context.Context, s *workflows.Stack, c *workflows.StackChange) (*workflows.StackChange, error) {
				// A change that was just asked for is planned first.
				if _, err := s.Wait(ctx, c.ID, true, nil); err != nil {
					return nil, err
				}
				return s.Reject(ctx, c.ID, comment)
			})
		},
	}
	cmd.Flags().StringVar(&change, "change", "", "one of several changes (default: the one under way)")
	cmd.Flags().StringVar(&comment, "comment", "", "why, for people")
	return cmd
}

func newRunsCancel(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Cancel a run: steps under way end first, then it is undone or kept as its terms say",
		Args:  exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if _, _, ok := workflows.ParseStackID(args[0]); ok {
				return a.onChange(ctx, args[0], "", func(ctx context.Context, s *workflows.Stack, c *workflows.StackChange) (*workflows.StackChange, error) {
					return s.Cancel(ctx, c.ID, reason)
				})
			}
			c, _, err := a.connect(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.CancelWorkflow(ctx, args[0], ""); err != nil {
				return err
			}
			fmt.Fprintf(a.err, "asked %s to cancel; it undoes what it did. Follow it with: tenon runs watch %s\n", args[0], args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people (stacks only)")
	return cmd
}

func newRunsRetry(a *app) *cobra.Command {
	var onFailure string
	cmd := &cobra.Command{
		Use:   "retry ID",
		Short: "Go on with a stack's failed change, where it stopped",
		Args:  exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			retry := workflows.StackRetry{OnFailure: workflows.OnFailure(onFailure)}
			switch retry.OnFailure {
			case "", workflows.KeepDone, workflows.Rollback:
			default:
				return usagef(cmd, "--on-failure %q is not one of keep, rollback", onFailure)
			}
			s, done, err := a.stackRun(ctx, args[0])
			if err != nil {
				return err
			}
			defer done()
			c, err := latest(ctx, s, "")
			if err != nil {
				return err
			}
			retry.Change = c.ID
			accepted, err := s.Retry(ctx, retry)
			if err != nil {
				return err
			}
			return a.await(ctx, s, accepted.Change)
		},
	}
	cmd.Flags().StringVar(&onFailure, "on-failure", "", "what becomes of the steps that are done: keep or rollback (default: as before)")
	return cmd
}

// onChange does something to a change and prints what it has become.
func (a *app) onChange(ctx context.Context, id, change string, do func(context.Context, *workflows.Stack, *workflows.StackChange) (*workflows.StackChange, error)) error {
	s, done, err := a.stackRun(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	c, err := latest(ctx, s, change)
	if err != nil {
		return err
	}
	if c, err = do(ctx, s, c); err != nil {
		return err
	}
	if c == nil {
		return errors.New("the cluster answered nothing")
	}
	return a.print(answer{data: c, names: []string{s.ID()}, table: func(w io.Writer) { printChange(w, s.ID(), c) }})
}

// showStack prints what a stack holds and its changes, the latest first.
func (a *app) showStack(ctx context.Context, id string) error {
	s, done, err := a.stackRun(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	status, err := s.Status(ctx)
	if err != nil {
		return err
	}
	return a.print(answer{data: status, names: []string{s.ID()}, table: func(w io.Writer) { printStack(w, status) }})
}

func printStack(w io.Writer, status *workflows.StackStatus) {
	lines := [][]string{{"CHANGE", "OPERATION", "STATE", "REQUESTED", "BY", "STEPS", "APPROVED BY", "REASON"}}
	add := func(c workflows.StackChange) {
		by, approved := "-", "-"
		if c.Requester != nil {
			by = c.Requester.String()
		}
		if c.Verdict != nil {
			approved = c.Verdict.By.String()
		}
		lines = append(lines, []string{c.ID, c.Operation, string(c.State), c.RequestedAt.Local().Format(time.DateTime), by,
			fmt.Sprintf("%d/%d", c.Done, c.Total), approved, orDash(c.Reason)})
	}
	changes := slices.Concat(status.Queue, status.History)
	if c := status.Current; c != nil && !slices.ContainsFunc(changes, func(o workflows.StackChange) bool { return o.ID == c.ID }) {
		changes = append(changes, *c)
	}
	slices.SortStableFunc(changes, func(x, y workflows.StackChange) int { return y.RequestedAt.Compare(x.RequestedAt) })
	for _, c := range changes {
		add(c)
	}
	rows(w, lines...)
	if c := status.Current; c != nil && c.Error != nil {
		fmt.Fprintf(w, "\n%s: %s\n", c.ID, failureLine(c.Error))
	}
	fmt.Fprintln(w)
	objects := [][]string{{"KIND", "OBJECTS"}}
	for _, kind := range slices.Sorted(maps.Keys(status.Objects)) {
		objects = append(objects, []string{kind, fmt.Sprint(status.Objects[kind])})
	}
	rows(w, objects...)
}

func failureLine(e *workflows.StackError) string {
	if e.Step == "" {
		return e.Message
	}
	return e.Step + ": " + e.Message
}

// watchStack follows the change under way.
func (a *app) watchStack(ctx context.Context, id string) error {
	s, done, err := a.stackRun(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	c, err := latest(ctx, s, "")
	if err != nil {
		return err
	}
	return a.await(ctx, s, c.ID)
}
