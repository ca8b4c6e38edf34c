package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenonhq/tenon/internal/cluster/access"
	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/codec"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/token"
)

// security is what protects the cluster and the simulator: certificates,
// tokens, the decision who may do what, and its record.
type security struct {
	certs    *pki.Store
	issuer   *token.Issuer
	verifier *token.Verifier
	access   *access.Access
	audit    *audit.Log
	// recording is set once the audit log runs, which closes it at its end.
	recording bool
}

// newSecurity makes what is missing in the data directory and opens it all.
func newSecurity(ctx context.Context, d *Daemon) (*security, error) {
	s := &security{}
	var err error
	var hosts []string
	if d.cfg.Cluster != nil {
		hosts = d.cfg.Cluster.Hosts
	}
	s.certs, err = pki.Open(pki.Config{Dir: d.dir.File("certs"), ExtraHosts: hosts, Now: d.cfg.Now, Logger: d.log})
	if err != nil {
		return nil, err
	}
	if err := s.certs.Init(ctx); err != nil {
		return nil, err
	}
	if d.cfg.Cluster == nil {
		return s, nil
	}
	if _, err := codec.LoadOrCreateKeyFile(d.dir.File("payload.key")); err != nil {
		return nil, err
	}
	s.issuer, err = token.OpenIssuer(token.IssuerConfig{Dir: d.dir.File("certs"), Now: d.cfg.Now, Logger: d.log})
	if err != nil {
		return nil, err
	}
	if err := s.issuer.Init(ctx); err != nil {
		return nil, err
	}
	s.verifier, err = token.NewVerifier(token.VerifierConfig{
		Issuers:     []token.IssuerTrust{s.issuer.Trust()},
		Revocations: s.issuer.Revocations(),
		Now:         d.cfg.Now,
		Logger:      d.log,
	})
	if err != nil {
		return nil, err
	}
	s.audit, err = audit.Open(audit.Config{Dir: d.dir.File(auditDir), KeyFile: d.dir.File(auditKey), Now: d.cfg.Now, Logger: d.log})
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	s.access, err = access.New(access.Config{
		Verifier:           s.verifier,
		Audit:              s.audit,
		CheckCertificate:   s.certs.CheckPeer,
		RequireCertificate: true,
		Now:                d.cfg.Now,
		Logger:             d.log,
	})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// run adds the clocks of certificates, tokens and access to the group.
func (s *security) run(run func(string, func(context.Context) error)) {
	run("certificates", s.certs.Run)
	if s.issuer == nil {
		return
	}
	run("token issuer", s.issuer.Run)
	run("token verifier", s.verifier.Run)
	run("access", s.access.Run)
}

// record keeps the audit log until ctx ends. It must outlive all whose calls it
// records.
func (s *security) record(ctx context.Context) error {
	if s.audit == nil {
		return nil
	}
	s.recording = true
	return s.audit.Run(ctx)
}

// close releases an audit log that nobody ran.
func (s *security) close() error {
	if s.audit == nil || s.recording {
		return nil
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return s.record(ended)
}
