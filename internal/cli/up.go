package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
)

func newUp(a *app) *cobra.Command {
	cluster := &daemon.ClusterConfig{}
	simulator := &daemon.SimulatorConfig{}
	webUI := ""
	worker := &daemon.WorkerConfig{}
	cmd := &cobra.Command{
		Use:     "up",
		GroupID: "start",
		Short:   "Run cluster, Web UI, worker and Auth0 simulator in one process, on loopback",
		Long: `Run everything in one process, on loopback, until it is interrupted.

The first start makes certificates, tokens and databases in the data directory;
later starts continue from it, and interrupted runs go on.

With AUTH0_DOMAIN, AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET in the environment or
in .env the worker manages that tenant, and no simulator is started.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := a.load()
			if err != nil {
				return err
			}
			f, err := a.file(cmd)
			if err != nil {
				return err
			}
			a.apply(f)
			cfg := daemon.Config{Settings: settings, File: f, Cluster: a.clusterOf(cluster), Worker: worker}
			if settings.Auth0 == nil {
				cfg.Simulator = simulator
			}
			// Who takes a free port for the cluster wants one for the Web UI.
			if _, port, err := net.SplitHostPort(cfg.Cluster.Address); err == nil && port == "0" && !cmd.Flags().Changed("web-ui-address") {
				webUI = "127.0.0.1:0"
			}
			// People sign in at what the file says, else at the simulator. A tenant of
			// Auth0 needs an application for it first.
			if cfg.Cluster.WebUI == nil && webUI != "" && (f.WebUI.OIDC != nil || cfg.Simulator != nil) {
				cfg.Cluster.WebUI = &daemon.WebUIConfig{Address: webUI, PublicURL: f.WebUI.PublicURL, OIDC: f.WebUI.OIDC}
			}
			return a.serve(cmd.Context(), cfg)
		},
	}
	clusterFlags(cmd, cluster)
	shareFlag(cmd, worker)
	simulatorFlags(cmd, simulator, "auth0-")
	cmd.Flags().StringVar(&webUI, "web-ui-address", "127.0.0.1:8233", `host:port of the Web UI; port 0 takes a free one, as does a cluster on port 0; "" runs none`)
	return cmd
}

func newWorker(a *app) *cobra.Command {
	worker := &daemon.WorkerConfig{}
	cmd := &cobra.Command{
		Use:     "worker",
		GroupID: "role",
		Short:   "Run the workflows and activities, for the cluster of a data directory",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := a.load()
			if err != nil {
				return err
			}
			if settings.Auth0 == nil {
				return &config.Error{
					Problem: "a worker needs a tenant to work on: AUTH0_DOMAIN is not set",
					Hint:    "set AUTH0_DOMAIN, AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET in the environment or in .env",
				}
			}
			return a.serve(cmd.Context(), daemon.Config{Settings: settings, File: a.conf, Worker: worker})
		},
	}
	shareFlag(cmd, worker)
	cmd.Flags().StringVar(&worker.Address, "address", "", "host:port of the cluster (default: the one that runs on the data directory)")
	return cmd
}

// shareFlag registers --share.
func shareFlag(cmd *cobra.Command, w *daemon.WorkerConfig) {
	w.Share = cmd.Flags().Float64("share", 0.2, "part of the tenant's rate limit that is left to others, production first of all: 0 to 0.9")
}

func newAuth0Sim(a *app) *cobra.Command {
	simulator := &daemon.SimulatorConfig{}
	cmd := &cobra.Command{
		Use:     "auth0-sim",
		GroupID: "role",
		Short:   "Run the Auth0 simulator",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.serve(cmd.Context(), daemon.Config{Simulator: simulator})
		},
	}
	simulatorFlags(cmd, simulator, "")
	cmd.Flags().BoolVar(&simulator.Memory, "memory", false, "keep the tenant in memory, not in the data directory")
	return cmd
}

func clusterFlags(cmd *cobra.Command, c *daemon.ClusterConfig) {
	cmd.Flags().StringVar(&c.Address, "address", "127.0.0.1:7233", "host:port of the cluster's frontend; port 0 takes a free one")
	f := cmd.Flags()
	f.StringSliceVar(&c.Hosts, "host", nil, "further names and addresses in the server's certificate")
	f.StringVar(&c.ClientAuth, "client-auth", "certificate-and-token", "what callers must show: certificate-and-token, certificate-or-token or token-only")
	f.StringVar(&c.OperationsAddress, "operations-address", "", "host:port to serve the keys of the cluster's tokens and metrics on, over HTTPS (default: nowhere)")
	f.StringVar(&c.RulesFile, "access-rules", "", "file of rules that narrow what roles allow")
	f.BoolVar(&c.InsecureNoTLS, "insecure-no-tls", false, "with TEMPORAL_TLS_ENABLED=false: no TLS, on loopback only")
	f.BoolVar(&c.InsecureNoAuth, "insecure-no-auth", false, "with TEMPORAL_AUTH_ENABLED=false: no authorisation, on loopback only")
}

func simulatorFlags(cmd *cobra.Command, s *daemon.SimulatorConfig, prefix string) {
	f := cmd.Flags()
	f.StringVar(&s.Address, prefix+"listen", "127.0.0.1:4430", "host:port of the Auth0 simulator; port 0 takes a free one")
	f.StringVar(&s.Plan, prefix+"plan", "unlimited", "Auth0 plan whose rate and entity limits apply: free, essentials, enterprise, private or unlimited")
	f.StringVar(&s.Latency, prefix+"latency", "", "time added to every call to the simulator: 350ms, or a range 100ms-600ms")
	f.StringVar(&s.Queue, prefix+"queue", "", "URL of an SQS-compatible queue for events of EventBridge destinations")
	f.BoolVar(&s.NoControl, prefix+"no-control", false, "switch off the simulator's control API under /_sim/")
}

// serve runs the parts until the process is interrupted, and says on stdout
// where they listen.
func (a *app) serve(ctx context.Context, cfg daemon.Config) error {
	started := time.Now()
	cfg.DataDir, cfg.Version, cfg.Logger = a.dataDir, version(), a.logger()
	d, err := daemon.New(ctx, cfg)
	if err != nil {
		return err
	}
	printed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-d.Ready():
			err := a.print(endpointsAnswer(d.Endpoints()))
			if email, password := d.DemoPerson(); err == nil && a.output == "table" && email != "" {
				_, err = fmt.Fprintf(a.err, "sign in to the Web UI as %s; the password is in %s\n", email, password)
			}
			if err == nil && a.output == "table" {
				_, err = fmt.Fprintf(a.err, "ready in %.1f s; stop with Ctrl-C\n", time.Since(started).Seconds())
			}
			printed <- err
		case <-ctx.Done():
			printed <- nil
		}
	}()
	err = d.Run(ctx)
	cancel()
	if printErr := <-printed; err == nil {
		err = printErr
	}
	return err
}

func endpointsAnswer(e config.Endpoints) answer {
	return answer{
		data: e,
		table: func(w io.Writer) {
			var lines [][]string
			if e.Cluster != nil {
				lines = append(lines, []string{"cluster", e.Cluster.Address, "namespace " + e.Cluster.Namespace})
				if e.Cluster.WebUI != "" {
					lines = append(lines, []string{"", e.Cluster.WebUI, "Web UI"})
				}
				if e.Cluster.Operations != "" {
					lines = append(lines, []string{"", e.Cluster.Operations, "keys and metrics"})
				}
			}
			if e.Auth0 != nil {
				lines = append(lines, []string{"auth0", "https://" + e.Auth0.Domain, "client " + e.Auth0.ClientID})
				if e.Auth0.Control != "" {
					lines = append(lines, []string{"", e.Auth0.Control, "what the simulated tenant holds"})
				}
			}
			if len(lines) == 0 {
				lines = append(lines, []string{"worker", fmt.Sprintf("pid %d", e.PID)})
			}
			rows(w, lines...)
		},
	}
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			v := version()
			return a.print(answer{
				data:  map[string]string{"version": v},
				table: func(w io.Writer) { fmt.Fprintln(w, "tenon", v) },
				names: []string{v},
			})
		},
	}
}
