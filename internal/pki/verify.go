package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// ErrPeerRefused is wrapped by every refusal of a peer's certificate.
var ErrPeerRefused = errors.New("peer certificate refused")

// verifyClient is what a server does with its client's certificates, in every
// handshake.
func (s *Store) verifyClient(role ServerRole, required bool, peer []*x509.Certificate) error {
	if len(peer) == 0 {
		if required {
			return fmt.Errorf("%w: none was sent", ErrPeerRefused)
		}
		return nil
	}
	snap := s.snap.Load()
	pool, authority := snap.clientPool, CA
	if role == Internode {
		pool, authority = snap.internodePool, InternodeCA
	}
	chains, err := verifyChain(pool, "", x509.ExtKeyUsageClientAuth, peer, s.cfg.Now())
	if err != nil {
		return err
	}
	for _, chain := range chains {
		if err = s.admit(snap, authority, chain); err == nil {
			return nil
		}
	}
	return err
}

// admit decides on one verified chain.
func (s *Store) admit(snap *snapshot, authority Authority, chain []*x509.Certificate) error {
	for _, c := range chain {
		if err := snap.revoked.check(c); err != nil {
			return fmt.Errorf("%w: %w", ErrPeerRefused, err)
		}
	}
	root := chain[len(chain)-1]
	if snap.own(authority, root) {
		return nil
	}
	for _, ca := range snap.foreign {
		for _, r := range ca.roots {
			if !r.Equal(root) {
				continue
			}
			for _, f := range ca.filters {
				if f.Matches(chain[0]) {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("%w: no filter of its authority welcomes %q", ErrPeerRefused, printable(chain[0].Subject.String()))
}

// verifyServer is what a client does with its server's certificates.
func (s *Store) verifyServer(authority Authority, name string, peer []*x509.Certificate) error {
	snap := s.snap.Load()
	pool := snap.serverPool
	if authority == InternodeCA {
		pool = snap.internodePool
	}
	chains, err := verifyChain(pool, name, x509.ExtKeyUsageServerAuth, peer, s.cfg.Now())
	if err != nil {
		return err
	}
	for _, chain := range chains {
		err = nil
		for _, c := range chain {
			if rerr := snap.revoked.check(c); rerr != nil {
				err = fmt.Errorf("%w: %w", ErrPeerRefused, rerr)
			}
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// verifyChain finds the chains from a peer to a root: signatures, time, name
// constraints, usage, and for servers the name.
func verifyChain(pool *x509.CertPool, name string, usage x509.ExtKeyUsage, peer []*x509.Certificate, now time.Time) ([][]*x509.Certificate, error) {
	if len(peer) == 0 {
		return nil, fmt.Errorf("%w: none was sent", ErrPeerRefused)
	}
	if err := checkPublicKey(peer[0].PublicKey); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPeerRefused, err)
	}
	intermediates := x509.NewCertPool()
	for _, c := range peer[1:] {
		intermediates.AddCert(c)
	}
	chains, err := peer[0].Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: intermediates, DNSName: name,
		CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPeerRefused, err)
	}
	return chains, nil
}

// CheckPeer reports whether the certificate of a live connection still stands:
// not expired, not revoked, its authority not retired. The chain was verified
// in the handshake, so this looks at nothing else and is cheap enough for every
// call; it does not allocate unless it refuses. The error wraps ErrPeerRefused.
func (s *Store) CheckPeer(c *x509.Certificate) error {
	if c == nil {
		return fmt.Errorf("%w: none was sent", ErrPeerRefused)
	}
	if now := s.cfg.Now(); now.After(c.NotAfter) {
		return fmt.Errorf("%w: expired on %s", ErrPeerRefused, c.NotAfter.UTC().Format(time.RFC3339))
	}
	if err := s.snap.Load().revoked.check(c); err != nil {
		return fmt.Errorf("%w: %w", ErrPeerRefused, err)
	}
	return nil
}
