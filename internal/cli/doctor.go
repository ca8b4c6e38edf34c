package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/secret"
)

func newDoctor(a *app) *cobra.Command {
	cfg := daemon.DoctorConfig{}
	cmd := &cobra.Command{
		Use:     "doctor",
		GroupID: "operate",
		Short:   "Find what is wrong, and say what mends it",
		Long: `Look at everything that a cluster needs: certificates (missing, expired, of a
wrong name or authority, with a wrong key or mode), tokens (expired, revoked, of a
wrong scope), issuers' keys, clocks, the database and its schema, the port, and
workers whose polls are refused.

Each finding says its cause, and the command that mends it. Nothing is changed.
The exit code is 1 if there is any finding.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := a.load()
			if err != nil {
				return err
			}
			if cfg.File, err = a.file(cmd); err != nil {
				return err
			}
			a.apply(cfg.File)
			cfg.Paths, cfg.Lookup, cfg.Logger = a.paths(), settings.Lookup, a.logger()
			var dotenv []string
			if settings.EnvFile != "" {
				dotenv = []string{settings.EnvFile}
			}
			cfg.Secrets = secret.Stores{"env": secret.Env{}, "dotenv": secret.Dotenv{Read: dotenv}}
			findings, err := daemon.Diagnose(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if err := a.print(findingsAnswer(findings)); err != nil {
				return err
			}
			if len(findings) > 0 {
				return &failure{fmt.Errorf("%s", count(len(findings), "finding")), "run what stands after each fix, then: tenon doctor", exitFailed}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Address, "frontend", "", "host:port of the cluster (default: the one that runs on the data directory, else the configuration's)")
	f.StringVar(&cfg.TokenFile, "token", "", "file of a further token to look at")
	f.StringVar(&cfg.Role, "role", "", "role that this token must have")
	f.StringVar(&cfg.Namespace, "namespace", daemon.Namespace, "namespace of that role")
	f.DurationVar(&cfg.Since, "since", 0, "how far back refused workers are looked for (default 24h)")
	return cmd
}

func findingsAnswer(findings []daemon.Finding) answer {
	if findings == nil {
		findings = []daemon.Finding{}
	}
	names := make([]string, len(findings))
	for i, f := range findings {
		names[i] = f.Code
	}
	return answer{
		data: map[string]any{"findings": findings},
		table: func(w io.Writer) {
			for _, f := range findings {
				fmt.Fprintf(w, "%s  %s\n  cause: %s\n  fix:   %s\n", f.Code, f.Subject, oneLine(f.Cause), f.Fix)
			}
			if len(findings) == 0 {
				fmt.Fprintln(w, "nothing is wrong")
			}
		},
		names: names,
	}
}
