package daemon

import (
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
		return nil, err
	}
	return &clusterPart{server}, nil
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
