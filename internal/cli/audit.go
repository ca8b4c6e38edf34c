package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/daemon"
)

func newAudit(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "audit", GroupID: "operate", Short: "Read and verify the audit log"}
	cmd.AddCommand(newAuditTail(a), newAuditVerify(a))
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
			log, err := daemon.AuditLog(a.dataDir)
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

func newAuditVerify(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check the whole log: no record edited, removed or cut off",
		Args:  exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			log, err := daemon.AuditLog(a.dataDir)
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
