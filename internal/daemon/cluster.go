package daemon

import (
	"errors"
	"syscall"

	"github.com/tenonhq/tenon/internal/cluster"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/token"
)

// clusterPart is the Temporal cluster of this process.
type clusterPart struct {
	server *cluster.Server
}

func newCluster(d *Daemon) (*clusterPart, error) {
	server, err := cluster.New(cluster.Config{
		Frontend:    d.cfg.Cluster.Address,
		Persistence: cluster.Persistence{SQLite: d.dir.File("temporal.db")},
		Namespaces:  []cluster.Namespace{{Name: Namespace}},
		TLS:         d.security.certs,
		Access:      d.security.access,
		Logger:      d.log,
	})
	if err != nil {
		return nil, explainCluster(err, d.dir.path)
	}
	return &clusterPart{server}, nil
}

// explainCluster says what to do about a cluster that cannot be built.
func explainCluster(err error, dataDir string) error {
	e := &config.Error{Problem: "the cluster cannot start", Err: err}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Hint = "choose another address with --address (port 0 takes a free one), or stop what listens there"
	case errors.Is(err, syscall.EACCES):
		e.Hint = "choose a port above 1023 with --address"
	case errors.Is(err, cluster.ErrNewerDatabase):
		e.Hint = "run the version of tenon that wrote it or a later one, or name another directory with --data-dir"
	case errors.Is(err, cluster.ErrDatabaseInUse):
		e.Hint = "stop the process that has it open, or name another directory with --data-dir"
	default:
		e.Hint = "see the log with --log-level debug; the data directory is " + dataDir
	}
	return e
}

func (c *clusterPart) endpoints(d *Daemon) *config.ClusterEndpoints {
	return &config.ClusterEndpoints{
		Address:   c.server.Address(),
		Namespace: Namespace,
		CA:        d.dir.File("certs", "ca.crt"),
	}
}

func (c *clusterPart) profile(d *Daemon) *profile {
	return &profile{
		path:      d.dir.File("temporal.toml"),
		certs:     d.dir.File("certs"),
		address:   c.server.Address(),
		namespace: Namespace,
		token:     token.FileSource(d.dir.File("certs", "client-token.jwt")),
	}
}
