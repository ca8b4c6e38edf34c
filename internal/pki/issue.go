package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// Role is what a certificate is for.
type Role string

// The roles of certificates. The role stands in the subject as organizational
// unit, and decides issuer and extended key usage.
const (
	RoleServer    Role = "server"    // TLS server only
	RoleClient    Role = "client"    // TLS client only
	RoleWorker    Role = "worker"    // TLS client only
	RoleInternode Role = "internode" // both, from the internode authority

	roleAuthority Role = "authority"
)

const (
	organization  = "Tenon"
	internodeName = "temporal-internode"

	// ServerName is the name in every certificate that a store makes for its
	// server, and what ClientTLS expects unless told otherwise.
	ServerName = "temporal-server"
)

// IssueRequest asks for one certificate.
type IssueRequest struct {
	// Role decides issuer and key usage. Required.
	Role Role
	// Name is the common name: letters, digits and - _ . @, at most 64.
	// Required.
	Name string
	// DNS names, IP addresses and SPIFFE IDs (at most one) of the subject. A
	// server needs a name or an address; an internode certificate takes none.
	DNS  []string
	IPs  []net.IP
	URIs []string
	// TTL is how long the certificate is valid, at least a minute. Defaults to
	// Config.LeafLifetime, cut at the authority's end; a TTL that is given and
	// reaches beyond that end, or beyond Config.MaxLeafLifetime, is refused.
	TTL time.Duration
	// KeyType of the key to be made. Defaults to Config.KeyType.
	KeyType KeyType
	// CSR is a PKCS #10 request, PEM or DER, with the caller's own key.
	// Defaults to none: a key is made and returned. Names in the request that
	// are not above lead to refusal.
	CSR []byte
}

// Issued is a new certificate.
type Issued struct {
	Certificate *x509.Certificate
	// CertificatePEM is the certificate, and for servers in the middle of a
	// roll the cross certificate.
	CertificatePEM []byte
	// KeyPEM is the private key as PKCS #8; zero if the request had a CSR.
	KeyPEM secret.Value
	// TrustPEM are the roots of the issuing authority.
	TrustPEM []byte
	Info     CertificateInfo
}

// Issue makes a certificate. It returns an error wrapping ErrRefused if the
// request is against policy, and one wrapping ErrNoKey if the authority's key is
// not on this host. The certificate is not stored, only entered in the ledger.
func (s *Store) Issue(ctx context.Context, r IssueRequest) (*Issued, error) {
	if err := checkRequest(r); err != nil {
		return nil, err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	a, err := s.loadAuthority(authorityFor(r.Role))
	if err != nil {
		return nil, fmt.Errorf("issue %q: %w", r.Name, err)
	}
	return s.issue(a, r, Entry{})
}

func authorityFor(r Role) Authority {
	if r == RoleInternode {
		return InternodeCA
	}
	return CA
}

// issue signs a request that checkRequest passed. The caller holds the lock.
func (s *Store) issue(a *authority, r IssueRequest, e Entry) (*Issued, error) {
	if a.active.signer == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoKey, a.name.keyFile())
	}
	now := s.cfg.Now().UTC().Truncate(time.Second)
	end, err := s.checkLifetime(r.TTL, now, a.active.cert)
	if err != nil {
		return nil, err
	}
	out := &Issued{TrustPEM: encodeCertificates(a.roots...)}
	var pub crypto.PublicKey
	if r.CSR != nil {
		csr, err := parseCSR(r.CSR, r)
		if err != nil {
			return nil, err
		}
		if sameKeyInUse(a, csr.PublicKey) {
			return nil, fmt.Errorf("%w: certificate request carries the authority's own key", ErrRefused)
		}
		pub = csr.PublicKey
	} else {
		t := r.KeyType
		if t == "" {
			t = s.cfg.KeyType
		}
		key, err := generateKey(t, s.cfg.Rand)
		if err != nil {
			return nil, err
		}
		text, err := encodeKey(key)
		if err != nil {
			return nil, err
		}
		pub, out.KeyPEM = key.Public(), secret.New(string(text))
	}
	tmpl, err := leafTemplate(r, pub)
	if err != nil {
		return nil, err
	}
	tmpl.NotBefore, tmpl.NotAfter = now.Add(-Backdate), end
	if tmpl.NotBefore.Before(a.active.cert.NotBefore) {
		tmpl.NotBefore = a.active.cert.NotBefore
	}
	e.Authority, e.Role, e.Name = a.name, r.Role, r.Name
	if out.Certificate, err = s.sign(tmpl, a.active, pub, e); err != nil {
		return nil, err
	}
	out.CertificatePEM = encodeCertificates(out.Certificate)
	if r.Role == RoleServer {
		cross, err := s.crossCertificate(a)
		if err != nil {
			return nil, err
		}
		if cross != nil {
			out.CertificatePEM = encodeCertificates(out.Certificate, cross)
		}
	}
	out.Info = describe(r.Name, out.Certificate)
	s.log.Info("certificate issued", "role", r.Role, "name", r.Name, "serial", out.Info.Serial, "not_after", out.Info.NotAfter)
	return out, nil
}

func sameKeyInUse(a *authority, pub crypto.PublicKey) bool {
	for _, c := range a.roots {
		if samePublicKey(c.PublicKey, pub) {
			return true
		}
	}
	return false
}

// leafTemplate holds what this authority issues.
func leafTemplate(r IssueRequest, pub crypto.PublicKey) (*x509.Certificate, error) {
	id, err := subjectKeyID(pub)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		Subject: pkix.Name{
			Organization:       []string{organization},
			OrganizationalUnit: []string{string(r.Role)},
			CommonName:         r.Name,
		},
		SubjectKeyId:          id,
		BasicConstraintsValid: true, // CA:FALSE, said aloud
		KeyUsage:              x509.KeyUsageDigitalSignature,
		DNSNames:              r.DNS,
		IPAddresses:           r.IPs,
	}
	for _, text := range r.URIs {
		u, err := parseSPIFFE(text)
		if err != nil {
			return nil, err
		}
		tmpl.URIs = append(tmpl.URIs, u)
	}
	// No key encipherment: every cipher suite offered has forward secrecy.
	switch r.Role {
	case RoleServer:
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case RoleInternode:
		// Each node is server and client of the others.
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		tmpl.DNSNames = []string{internodeName}
	default:
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	return tmpl, nil
}

func csrDER(text []byte) ([]byte, error) {
	if !bytes.Contains(text, []byte("-----BEGIN")) {
		return text, nil
	}
	block, rest := pem.Decode(text)
	if block == nil || (block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST") {
		return nil, errors.New("PEM text holds no certificate request")
	}
	if bytes.Contains(rest, []byte("-----BEGIN")) {
		return nil, errors.New("PEM text holds more than a certificate request")
	}
	return block.Bytes, nil
}
