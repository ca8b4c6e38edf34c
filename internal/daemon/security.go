package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/tenonhq/tenon/internal/cluster"
	"github.com/tenonhq/tenon/internal/cluster/access"
	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/codec"
	"github.com/tenonhq/tenon/internal/config"
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
	// handshakes is the audit log once it is open: handshakes are refused from
	// other goroutines.
	handshakes atomic.Pointer[audit.Log]
	audit      *audit.Log
	// recording is set once the audit log runs, which closes it at its end.
	recording bool
}

// newSecurity makes what is missing in the data directory and opens it all.
func newSecurity(ctx context.Context, d *Daemon) (*security, error) {
	s := &security{}
	var err error
	var hosts []string
	var clientAuth pki.ClientAuth
	if d.cfg.Cluster != nil {
		hosts, clientAuth = d.cfg.Cluster.Hosts, pki.ClientAuth(d.cfg.Cluster.ClientAuth)
	}
	s.certs, err = pki.Open(pki.Config{Dir: d.paths().Certs, ExtraHosts: hosts, ClientAuth: clientAuth, ConnectionAge: cluster.ConnectionAge, Now: d.cfg.Now, Logger: d.log, OnRefused: s.refused})
	if err != nil {
		return nil, err
	}
	if err := s.certs.Init(ctx); err != nil {
		return nil, err
	}
	if d.cfg.Cluster == nil {
		return s, nil
	}
	if _, err := codec.LoadOrCreateKeyFile(d.paths().PayloadKeys); err != nil {
		return nil, err
	}
	s.issuer, err = token.OpenIssuer(token.IssuerConfig{Dir: d.paths().Certs, Now: d.cfg.Now, Logger: d.log})
	if err != nil {
		return nil, err
	}
	if err := s.issuer.Init(ctx); err != nil {
		return nil, err
	}
	foreign, err := Trusts(d.cfg.File, d.lookup)
	if err != nil {
		return nil, err
	}
	if d.simulated != nil && d.cfg.Cluster.WebUI != nil {
		domain := simulatedDomain(d.simulated)
		foreign = append(foreign, simulatorTrust(domain, s.certs.ClientTLS("localhost")))
	}
	rules, err := readRules(d.cfg.Cluster.RulesFile)
	if err != nil {
		return nil, err
	}
	s.verifier, err = token.NewVerifier(token.VerifierConfig{
		Issuers:     append([]token.IssuerTrust{s.issuer.Trust()}, foreign...),
		Revocations: s.issuer.Revocations(),
		Now:         d.cfg.Now,
		Logger:      d.log,
	})
	if err != nil {
		return nil, err
	}
	s.audit, err = audit.Open(audit.Config{Dir: d.paths().Audit, KeyFile: d.dir.File(auditKey), Keep: d.cfg.File.Audit.Keep, Now: d.cfg.Now, Logger: d.log})
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	s.handshakes.Store(s.audit)
	cfg := access.Config{
		Verifier:           s.verifier,
		Audit:              s.audit,
		CheckCertificate:   s.certs.CheckPeer,
		RequireCertificate: clientAuth == "" || clientAuth == pki.CertificateAndToken,
		Rules:              rules,
		Now:                d.cfg.Now,
		Logger:             d.log,
	}
	if clientAuth == pki.CertificateOrToken {
		cfg.CertificateCaller = certificateCaller
	}
	if d.cfg.Cluster.InsecureNoTLS {
		cfg.RequireCertificate = false // there can be none; the token is still asked for
	}
	if s.access, err = access.New(cfg); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// certificateCaller is who a caller is that shows a certificate of our own
// authority and no token: the role that stands in the certificate, everywhere.
func certificateCaller(c *x509.Certificate) (subject string, permissions []token.Permission, ok bool) {
	for _, unit := range c.Subject.OrganizationalUnit {
		switch pki.Role(unit) {
		case pki.RoleClient:
			permissions = append(permissions, token.Permission{Namespace: token.ClusterWide, Role: token.RoleClient})
		case pki.RoleWorker:
			permissions = append(permissions, token.Permission{Namespace: token.ClusterWide, Role: token.RoleWorker})
		}
	}
	return c.Subject.CommonName, permissions, len(permissions) > 0
}

// readRules reads the file of access rules, if there is one.
func readRules(path string) ([]access.Rule, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &config.Error{Problem: "access rules", Err: err, Hint: "name a file that exists with --access-rules"}
	}
	rules, err := access.ParseRules(data)
	if err != nil {
		return nil, &config.Error{Problem: path, Err: err, Hint: "the form of a rule is in docs/access.md"}
	}
	return rules, nil
}

// refused records a handshake that ended before there was a call to decide on.
func (s *security) refused(r pki.Refusal) {
	log := s.handshakes.Load()
	if log == nil || r.Role == pki.HTTPS {
		return // the simulator's own clients are not the cluster's callers
	}
	record := audit.Record{
		Time:    time.Now(),
		Verdict: audit.Unauthenticated,
		API:     "tls/" + string(r.Role),
		Peer:    r.RemoteAddr,
		Reason:  r.Err.Error(),
	}
	if r.Peer != nil {
		sum := sha256.Sum256(r.Peer.Raw)
		record.Certificate = &audit.Certificate{
			Fingerprint: hex.EncodeToString(sum[:]), Serial: r.Peer.SerialNumber.Text(16), Subject: r.Peer.Subject.String(),
		}
	}
	// Append may wait a moment when the log is busy, which slows the refused
	// caller down and nobody else. What cannot be recorded is counted and logged
	// by the log itself; the handshake is refused either way.
	_ = log.Append(record)
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
