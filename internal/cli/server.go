package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/daemon"
)

func newServer(a *app) *cobra.Command {
	flags := &daemon.ClusterConfig{}
	var services []string
	var prepare bool
	cmd := &cobra.Command{
		Use:     "server",
		GroupID: "role",
		Short:   "Run the Temporal cluster, or one node of it",
		Long: `Run the Temporal cluster, or one node of a larger one.

Without a configuration file it is a whole cluster on SQLite in the data
directory. With --config it runs on PostgreSQL if the file says so: databases and
schemas are made and upgraded at the start. With cluster.membership in the file
several nodes make one cluster, and each runs the roles that --services names.

--prepare does all that a start does before anything serves, then exits: for a
deployment whose database user at run time may not change schemas.`,
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
			cfg := daemon.Config{Settings: settings, File: f, Cluster: a.clusterOf(flags)}
			if prepare {
				return a.prepare(cmd, cfg)
			}
			return a.serve(cmd.Context(), cfg)
		},
	}
	clusterFlags(cmd, flags)
	cmd.Flags().StringSliceVar(&services, "services", nil, "roles of this process: frontend, internal-frontend, history, matching, worker (default: all)")
	cmd.Flags().BoolVar(&prepare, "prepare", false, "make databases, schemas, namespaces and certificates ready, and exit")
	return cmd
}

// clusterOf joins the settings of the configuration with the flags that are no
// settings, and with the flags' defaults.
func (a *app) clusterOf(flags *daemon.ClusterConfig) *daemon.ClusterConfig {
	c := daemon.ClusterFromFile(a.conf)
	c.InsecureNoTLS, c.InsecureNoAuth = flags.InsecureNoTLS, flags.InsecureNoAuth
	if c.Address == "" {
		c.Address = flags.Address
	}
	return c
}

// prepare builds everything and runs nothing.
func (a *app) prepare(cmd *cobra.Command, cfg daemon.Config) error {
	cfg.DataDir, cfg.Version, cfg.Logger = a.dataDir, version(), a.logger()
	d, err := daemon.New(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	if err := d.Close(); err != nil {
		return err
	}
	return a.print(answer{
		data:  map[string]bool{"prepared": true},
		table: func(w io.Writer) { fmt.Fprintln(w, "databases, namespaces and certificates are ready") },
	})
}
