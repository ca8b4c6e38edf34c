package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/daemon/demo"
)

func newDemo(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "demo",
		GroupID: "start",
		Short:   "The main job, unattended: start everything, onboard a tenant, prove login and refusals",
		Long: `Start a cluster, a worker and an Auth0 simulator on free loopback ports; set up the
simulated tenant, register Grafana as a web application and a user; let the user
log in as Grafana would, from the settings that were rendered; and let the wrong
callers try to reach the cluster. Exits 0 only if every proof held.

Everything happens in a temporary folder that is removed at the end, unless
--data-dir names one to keep.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := demo.Config{
				Version:  version(),
				Logger:   a.logger(),
				Say:      func(line string) { fmt.Fprintln(a.err, "•", line) },
				Progress: newBoard(a.err, a.interactive()).show,
			}
			if cmd.Flags().Changed("data-dir") || os.Getenv("TENON_DATA_DIR") != "" {
				cfg.DataDir = a.dataDir
			}
			result, err := demo.Run(cmd.Context(), cfg)
			if result == nil {
				return err
			}
			return errors.Join(a.print(demoAnswer(result)), err)
		},
	}
}

func demoAnswer(r *demo.Result) answer {
	names := make([]string, len(r.Runs))
	for i, run := range r.Runs {
		names[i] = run.ID
	}
	return answer{
		data: r,
		table: func(w io.Writer) {
			fmt.Fprintln(w)
			printObjects(w, slices.Concat(r.Tenant.Objects, r.App.Objects, r.User.Objects))
			fmt.Fprintln(w)
			if r.DataDir == "" {
				fmt.Fprintln(w, "The Grafana settings were in a temporary folder; --data-dir keeps them.")
			} else {
				rows(w, []string{"grafana.ini", r.Grafana.INI}, []string{"env file", r.Grafana.Env}, []string{"compose", r.Grafana.Compose})
			}
			fmt.Fprintln(w)
			if r.Login.OK {
				fmt.Fprintf(w, "login: %s logs in to Grafana and is %s\n", r.User.Email, r.Login.Role)
			} else {
				fmt.Fprintf(w, "login: FAILED: %s\n", r.Login.Error)
			}
			fmt.Fprintln(w)
			lines := [][]string{{"WRONG CALLER", "REFUSED", "ANSWER"}}
			for _, f := range r.Refusals {
				refused := "yes"
				if !f.Refused {
					refused = "NO"
				}
				lines = append(lines, []string{f.Case, refused, f.Error})
			}
			rows(w, lines...)
			fmt.Fprintln(w)
			printRuns(w, r.Runs)
			fmt.Fprintf(w, "\nall of it in %.1f s\n", r.Seconds)
		},
		names: names,
	}
}
