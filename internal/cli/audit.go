package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/daemon"
)

func newAudit(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "audit", GroupID: "operate", Short: "Read and verify the audit log"}
	cmd.AddCommand(newAuditTail(a), newAuditPollers(a), newAuditVerify(a))
	return cmd
}

func newAuditTail(a *app) *cobra.Command {
	n := 20
	var follow, denied bool
	var subject string
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print the last decisions: who asked for what, and the verdict",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 0 {
				return usagef(cmd, "--lines %d is negative", n)
			}
			log, err := daemon.AuditLogOf(a.paths())
			if err != nil {
				return err
			}
			match := func(r *audit.Record) bool {
				return (!denied || r.Verdict != audit.Allow) && (subject == "" || r.Subject == subject)
			}
			show := func(r *audit.Record) error {
				switch a.output {
				case "table":
					_, err := fmt.Fprintf(a.out, "%s  %-15s  %-24s  %s  %s  %s\n", r.Time.Format("2006-01-02T15:04:05.000Z"),
						r.Verdict, orDash(r.Subject), r.API[strings.LastIndex(r.API, "/")+1:], orDash(r.Namespace), r.Reason)
					return err
				default: // records are JSON lines in every other form
					return json.NewEncoder(a.out).Encode(r)
				}
			}
			return audit.Tail(cmd.Context(), log.Dir, n, follow, match, show)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&n, "lines", "n", n, "how many records")
	f.BoolVarP(&follow, "follow", "f", false, "go on with new records until interrupted")
	f.BoolVar(&denied, "denied", false, "refusals only")
	f.StringVar(&subject, "subject", "", "records of one caller only")
	return cmd
}

func newAuditPollers(a *app) *cobra.Command {
	since := 24 * time.Hour
	cmd := &cobra.Command{
		Use:   "pollers",
		Short: "List workers whose polls were refused: they are up, and idle",
		Args:  exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			log, err := daemon.AuditLogOf(a.paths())
			if err != nil {
				return err
			}
			pollers, err := audit.DeniedPollers(log.Dir, time.Now().Add(-since))
			if err != nil {
				return err
			}
			names := make([]string, len(pollers))
			for i, p := range pollers {
				names[i] = p.Subject
			}
			return a.print(answer{
				data: pollers,
				table: func(w io.Writer) {
					lines := [][]string{{"SUBJECT", "NAMESPACE", "TASK QUEUE", "TIMES", "LAST", "REASON"}}
					for _, p := range pollers {
						lines = append(lines, []string{orDash(p.Subject), p.Namespace, orDash(p.TaskQueue), fmt.Sprint(p.Count), p.Last.Format(time.RFC3339), p.Reason})
					}
					rows(w, lines...)
				},
				names: names,
			})
		},
	}
	cmd.Flags().DurationVar(&since, "since", since, "how far back")
	return cmd
}

func newAuditVerify(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check the whole log: no record edited, removed or cut off",
		Args:  exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			log, err := daemon.AuditLogOf(a.paths())
			if err != nil {
				return err
			}
			report, err := audit.Verify(log)
			if err != nil {
				return err
			}
			if err := a.print(answer{
				data: report,
				table: func(w io.Writer) {
					fmt.Fprintf(w, "%d records in %d files, signed up to record %d\n", report.Records, report.Files, report.Head.Sequence)
					for _, f := range report.Findings {
						fmt.Fprintln(w, f)
					}
				},
			}); err != nil {
				return err
			}
			if len(report.Findings) > 0 {
				return &failure{errors.New("the audit log was tampered with, or damaged"), "compare with a copy kept elsewhere", exitFailed}
			}
			return nil
		},
	}
}
