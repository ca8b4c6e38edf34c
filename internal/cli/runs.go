package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/workflows"
)

func newRuns(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "runs", GroupID: "operate", Short: "See what the workflows do, approve, cancel and retry"}
	cmd.AddCommand(newRunsList(a), newRunsShow(a), newRunsWatch(a),
		newRunsApprove(a), newRunsReject(a), newRunsCancel(a), newRunsRetry(a))
	return cmd
}

func newRunsList(a *app) *cobra.Command {
	limit := 50
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, the latest first",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef(cmd, "--limit %d is not positive", limit)
			}
			c, _, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			runs, err := daemon.ListRuns(cmd.Context(), c, limit)
			if err != nil {
				return err
			}
			names := make([]string, len(runs))
			for i, r := range runs {
				names[i] = r.ID
			}
			return a.print(answer{data: runs, table: func(w io.Writer) { printRuns(w, runs) }, names: names})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "most runs to list")
	return cmd
}

func newRunsShow(a *app) *cobra.Command {
	var runID string
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one run: its steps, and what was undone",
		Args:  exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, _, ok := workflows.ParseStackID(args[0]); ok && runID == "" {
				return a.showStack(cmd.Context(), args[0])
			}
			c, _, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := daemon.DescribeRun(cmd.Context(), c, args[0], runID)
			if err != nil {
				return err
			}
			// Where the run stands is known without a worker; its steps are not.
			tree, err := daemon.QueryTree(cmd.Context(), c, r.ID, r.RunID)
			if err != nil {
				fmt.Fprintf(a.err, "warning: no worker tells the run's steps: %v\n", err)
				tree = &daemon.Tree{ID: r.ID}
			}
			return a.print(answer{
				data: struct {
					daemon.Run
					Progress *daemon.Tree `json:"progress"`
				}{r, tree},
				table: func(w io.Writer) {
					printRuns(w, []daemon.Run{r})
					var lines []string
					draw(tree, 0, &lines)
					_, _ = io.WriteString(w, "\n"+strings.Join(lines, "\n")+"\n")
				},
				names: []string{r.ID},
			})
		},
	}
	cmd.Flags().StringVar(&runID, "run-id", "", "one of several runs of the same id (default: the latest)")
	return cmd
}

func newRunsWatch(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch ID",
		Short: "Follow a run until it closes, or a stack's change until it ends; exits as it did",
		Args:  exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, _, ok := workflows.ParseStackID(args[0]); ok {
				return a.watchStack(cmd.Context(), args[0])
			}
			c, _, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := daemon.DescribeRun(cmd.Context(), c, args[0], "")
			if err != nil {
				return err
			}
			if err := a.follow(cmd.Context(), c, r.ID, r.RunID); err != nil {
				return err
			}
			if r, err = daemon.DescribeRun(cmd.Context(), c, r.ID, r.RunID); err != nil {
				return err
			}
			return a.print(answer{data: r, table: func(w io.Writer) { printRuns(w, []daemon.Run{r}) }, names: []string{r.ID}})
		},
	}
	return cmd
}

func printRuns(w io.Writer, runs []daemon.Run) {
	lines := [][]string{{"ID", "TYPE", "STATUS", "STARTED", "TOOK"}}
	for _, r := range runs {
		took := "-"
		if r.ClosedAt != nil {
			took = r.ClosedAt.Sub(r.StartedAt).Round(10 * time.Millisecond).String()
		}
		lines = append(lines, []string{r.ID, r.Type, r.Status, r.StartedAt.Local().Format("2006-01-02 15:04:05"), took})
	}
	rows(w, lines...)
}
