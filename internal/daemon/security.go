package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

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
	if d.cfg.Cluster != nil {
		hosts = d.cfg.Cluster.Hosts
	}
	s.certs, err = pki.Open(pki.Config{Dir: d.dir.File("certs"), ExtraHosts: hosts, Now: d.cfg.Now, Logger: d.log, OnRefused: s.refused})
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
	s.handshakes.Store(s.audit)
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
