package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"net"
	"sync"

	"go.temporal.io/server/common/authorization"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
)

// certificate is a client certificate as it is recorded and checked.
type certificate struct {
	parsed *x509.Certificate
	hash   [sha256.Size]byte
	record audit.Certificate

	callerOnce sync.Once
	claims     *authorization.Claims // who it is without a token; nil is nobody
}

// matches reports whether the certificate is the one a token is bound to. A nil
// certificate matches nothing.
func (c *certificate) matches(bound string) bool {
	return c != nil && subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(c.hash[:])), []byte(bound)) == 1
}

// certificates remembers what is known of a connection's certificate. A
// connection shows the same *x509.Certificate on every call.
type certificates struct {
	mu    sync.RWMutex
	known map[*x509.Certificate]*certificate
}

// maxCertificates bounds the memory; beyond it everything is forgotten at once,
// which costs one hash for each open connection.
const maxCertificates = 4096

// of returns the caller's address and verified certificate; nil if there is none.
func (s *certificates) of(ctx context.Context) (net.Addr, *certificate) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return p.Addr, nil
	}
	return p.Addr, s.verified(info.State.VerifiedChains)
}

// verified returns the leaf of a connection's chains. Only a verified chain
// counts: what the caller sent without one is what the caller claims.
func (s *certificates) verified(chains [][]*x509.Certificate) *certificate {
	if len(chains) == 0 || len(chains[0]) == 0 {
		return nil
	}
	leaf := chains[0][0]
	s.mu.RLock()
	c := s.known[leaf]
	s.mu.RUnlock()
	if c != nil {
		return c
	}
	c = &certificate{parsed: leaf, hash: sha256.Sum256(leaf.Raw)}
	c.record = audit.Certificate{Fingerprint: hex.EncodeToString(c.hash[:]), Serial: leaf.SerialNumber.Text(16), Subject: leaf.Subject.String()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxCertificates || s.known == nil {
		s.known = make(map[*x509.Certificate]*certificate)
	}
	s.known[leaf] = c
	return c
}

// certificateClaims is who the certificate of a connection without a token is;
// nil if it is nobody.
func (a *Access) certificateClaims(info *credentials.TLSInfo) *authorization.Claims {
	if info == nil {
		return nil
	}
	cert := a.certs.verified(info.State.VerifiedChains)
	if cert == nil {
		return nil
	}
	cert.callerOnce.Do(func() {
		if subject, permissions, ok := a.cfg.CertificateCaller(cert.parsed); ok && subject != "" {
			cert.claims = claimsOf(callerByCertificate(subject, permissions))
		}
	})
	return cert.claims
}
