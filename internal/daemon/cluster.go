package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/tenonhq/tenon/internal/cluster"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/token"
)

// clusterPart is the Temporal cluster of this process.
type clusterPart struct {
	server *cluster.Server
}

func newCluster(ctx context.Context, d *Daemon) (*clusterPart, error) {
	cfg := cluster.Config{
		Frontend: d.cfg.Cluster.Address,
		Insecure: d.cfg.Cluster.InsecureNoTLS || d.cfg.Cluster.InsecureNoAuth,
		Logger:   d.log,
	}
	if err := nodeConfig(ctx, d, &cfg); err != nil {
		return nil, err
	}
	if d.cfg.Cluster.InsecureNoTLS {
		d.log.Warn("the cluster runs without tls: whoever reaches it reads everything")
	} else {
		cfg.TLS = d.security.certs
	}
	if d.cfg.Cluster.InsecureNoAuth {
		d.log.Warn("the cluster runs without authorisation: whoever reaches it may do everything")
	} else {
		cfg.Access = d.security.access
	}
	server, err := cluster.New(cfg)
	if err != nil {
		return nil, explainCluster(err, d.dir.path, d.cfg.Now())
	}
	return &clusterPart{server}, nil
}

// checkInsecure refuses a cluster that is to be open by the environment alone,
// which may be inherited or left over, or by a flag alone.
func checkInsecure(cfg Config) error {
	for _, c := range []struct {
		variable, flag string
		off, insecure  bool
	}{
		{"TEMPORAL_TLS_ENABLED", "--insecure-no-tls", cfg.Settings.TLSOff, cfg.Cluster.InsecureNoTLS},
		{"TEMPORAL_AUTH_ENABLED", "--insecure-no-auth", cfg.Settings.AuthOff, cfg.Cluster.InsecureNoAuth},
	} {
		switch {
		case c.off && !c.insecure:
			return &config.Error{Problem: c.variable + " is false, and " + c.flag + " is not given", Hint: "leave " + c.variable + " out; the cluster opens only if both say so"}
		case !c.off && c.insecure:
			return &config.Error{Problem: c.flag + " is given, and " + c.variable + " is not false", Hint: "leave " + c.flag + " out; the cluster opens only if both say so"}
		}
	}
	return nil
}

// explainCluster says what to do about a cluster that cannot be built.
func explainCluster(err error, dataDir string, now time.Time) error {
	e := &config.Error{Problem: "the cluster cannot start", Err: err}
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert.NotBefore.After(now):
		e.Problem = fmt.Sprintf("the cluster cannot start: a certificate is valid from %s, and this machine's clock says that it is %s",
			invalid.Cert.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		e.Err, e.Hint = nil, "set the clock, for example with: timedatectl set-ntp true; then start it again"
	case errors.Is(err, syscall.EADDRINUSE):
		e.Hint = "choose another address with --address (port 0 takes a free one), or stop what listens there"
	case errors.Is(err, syscall.EACCES):
		e.Hint = "choose a port above 1023 with --address"
	case errors.Is(err, cluster.ErrNodesDiffer):
		e.Problem, e.Hint = "the node cannot join the cluster", "copy certs/ and payload.key from a node that runs (see docs/operate.md), then start it again"
	case errors.Is(err, cluster.ErrClockSkew):
		e.Problem, e.Hint = "the node cannot join the cluster", "set the clock, for example with: timedatectl set-ntp true; then start it again"
	case errors.Is(err, cluster.ErrDatabaseCredentials):
		e.Hint = "correct persistence.postgresql.user, or what persistence.postgresql.password refers to"
	case errors.Is(err, cluster.ErrDatabaseUnreachable):
		e.Hint = "start PostgreSQL, or correct persistence.postgresql.address"
	case errors.Is(err, cluster.ErrNewerDatabase):
		e.Hint = "run the version of tenon that wrote it or a later one, or name another directory with --data-dir (or another database)"
	case errors.Is(err, cluster.ErrDatabaseInUse):
		e.Hint = "stop the process that has it open, or name another directory with --data-dir; several nodes on one PostgreSQL need cluster.membership each"
	default:
		e.Hint = "see the log with --log-level debug; the data directory is " + dataDir
	}
	return e
}

func (c *clusterPart) endpoints(d *Daemon) *config.ClusterEndpoints {
	return &config.ClusterEndpoints{
		Address:   c.server.Address(),
		Namespace: Namespace,
		CA:        d.certsFile("ca.crt"),
		Plaintext: d.cfg.Cluster.InsecureNoTLS,
	}
}

func (c *clusterPart) profile(d *Daemon) *profile {
	return &profile{
		path:      d.dir.File("temporal.toml"),
		certs:     d.paths().Certs,
		address:   c.server.Address(),
		namespace: Namespace,
		plaintext: d.cfg.Cluster.InsecureNoTLS,
		token:     token.FileSource(d.certsFile("client-token.jwt")),
	}
}
