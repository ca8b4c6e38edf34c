package pki

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// Authority names one of the store's two authorities, and is the stem of its
// files.
type Authority string

// The two authorities.
const (
	// CA issues server, client and worker certificates.
	CA Authority = "ca"
	// InternodeCA issues internode certificates, and nothing else does.
	InternodeCA Authority = "internode-ca"
)

var authorities = []Authority{CA, InternodeCA}

// ErrNoKey says that an authority's key is not on this host, so that nothing
// can be issued here.
var ErrNoKey = errors.New("authority key is not on this host")

func (a Authority) certFile() string     { return string(a) + ".crt" }
func (a Authority) keyFile() string      { return string(a) + ".key" }
func (a Authority) nextKeyFile() string  { return string(a) + "-next.key" }
func (a Authority) priorKeyFile() string { return string(a) + "-previous.key" }
func (a Authority) crossFile() string    { return string(a) + "-cross.crt" }
func (a Authority) crlFile() string {
	if a == CA {
		return "crl.pem"
	}
	return "internode-crl.pem"
}

func (a Authority) valid() bool { return a == CA || a == InternodeCA }

// issuer is a root together with what signs for it.
type issuer struct {
	cert   *x509.Certificate
	signer crypto.Signer
}

// authority is one authority as it lies on disk. It is read under the lock
// whenever something is to be signed, and forgotten afterwards: no private key
// of an authority stays in memory.
type authority struct {
	name   Authority
	roots  []*x509.Certificate // as in the file
	active issuer              // signer is nil where the key is elsewhere
	next   issuer              // zero unless prepared
	prior  issuer              // zero unless activated
	// nextKey is the key of next, present also after a crash that came before
	// its certificate was trusted.
	nextKey crypto.Signer
}

// loadAuthority reads an authority. A store without it yields an error
// wrapping fs.ErrNotExist.
func (s *Store) loadAuthority(name Authority) (*authority, error) {
	a := &authority{name: name}
	text, err := readFile(s.path(name.certFile()))
	if err != nil {
		return nil, err
	}
	if a.roots, err = parseRoots(text); err != nil {
		return nil, fmt.Errorf("%s: %w", name.certFile(), err)
	}
	key, err := s.loadKey(name.keyFile(), true)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.active.cert = a.roots[0]
		return a, nil
	case err != nil:
		return nil, err
	}
	if a.active = a.issuerOf(key); a.active.cert == nil {
		return nil, fmt.Errorf("%s fits no certificate in %s", name.keyFile(), name.certFile())
	}
	if a.nextKey, err = s.loadKey(name.nextKeyFile(), true); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if a.nextKey != nil {
		a.next = a.issuerOf(a.nextKey)
	}
	prior, err := s.loadKey(name.priorKeyFile(), true)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Between copying the key aside and renaming the next one over it, both
	// files hold the same key: that is still "prepared".
	if prior != nil && !samePublicKey(prior.Public(), key.Public()) {
		a.prior = a.issuerOf(prior)
	}
	return a, nil
}

func (a *authority) issuerOf(key crypto.Signer) issuer {
	for _, c := range a.roots {
		if samePublicKey(c.PublicKey, key.Public()) {
			return issuer{c, key}
		}
	}
	return issuer{}
}

func (s *Store) loadKey(file string, authority bool) (crypto.Signer, error) {
	path := s.path(file)
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if err := checkKeyMode(path, authority); err != nil {
		return nil, err
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// makeKey creates a private key file.
func (s *Store) makeKey(file string, t KeyType) (crypto.Signer, error) {
	key, err := generateKey(t, s.cfg.Rand)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", file, err)
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", file, err)
	}
	return key, secret.WriteFile(s.path(file), text)
}

// ensureAuthority creates an authority that is absent, and carries on where a
// crash left one half-made: the key comes first, so a key without certificate
// is a beginning, and a certificate without key is a host that cannot sign.
func (s *Store) ensureAuthority(name Authority) (*authority, error) {
	a, err := s.loadAuthority(name)
	if err == nil {
		return a, s.settle(a)
	}
	if _, serr := os.Lstat(s.path(name.certFile())); !errors.Is(serr, fs.ErrNotExist) {
		return nil, err
	}
	key, err := s.loadKey(name.keyFile(), true)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = s.makeKey(name.keyFile(), s.cfg.KeyType)
	}
	if err != nil {
		return nil, err
	}
	root, err := s.signRoot(name, key)
	if err != nil {
		return nil, err
	}
	if err := secret.WriteFileMode(s.path(name.certFile()), encodeCertificates(root), publicMode); err != nil {
		return nil, err
	}
	s.log.Info("certificate authority created", "authority", name, "subject", root.Subject.String(), "not_after", root.NotAfter)
	return s.loadAuthority(name)
}

// settle finishes an activation that a crash interrupted after the key was
// renamed: the bundle is put in order, the signing root first.
func (s *Store) settle(a *authority) error {
	if a.active.cert == a.roots[0] || a.active.signer == nil {
		return nil
	}
	ordered := []*x509.Certificate{a.active.cert}
	for _, c := range a.roots {
		if c != a.active.cert {
			ordered = append(ordered, c)
		}
	}
	a.roots = ordered
	return secret.WriteFileMode(s.path(a.name.certFile()), encodeCertificates(ordered...), publicMode)
}

// signRoot makes the self-signed certificate of an authority.
func (s *Store) signRoot(name Authority, key crypto.Signer) (*x509.Certificate, error) {
	now := s.cfg.Now().UTC().Truncate(time.Second)
	tmpl, err := s.rootTemplate(name, key.Public(), now.Add(-Backdate), now.Add(s.cfg.CALifetime))
	if err != nil {
		return nil, err
	}
	return s.sign(tmpl, issuer{tmpl, key}, key.Public(), Entry{Authority: name, Role: roleAuthority, Name: string(name)})
}

// signCross certifies an authority's new key with its old one, so that a
// client which has not yet read the new root finds a path to the old.
func (s *Store) signCross(name Authority, root *x509.Certificate, by issuer) (*x509.Certificate, error) {
	end := root.NotAfter
	if by.cert.NotAfter.Before(end) {
		end = by.cert.NotAfter
	}
	tmpl, err := s.rootTemplate(name, root.PublicKey, root.NotBefore, end)
	if err != nil {
		return nil, err
	}
	tmpl.MaxPathLen, tmpl.MaxPathLenZero = 0, true
	return s.sign(tmpl, by, root.PublicKey, Entry{Authority: name, Role: roleAuthority, Name: string(name) + "-cross"})
}

func (s *Store) rootTemplate(name Authority, pub crypto.PublicKey, from, to time.Time) (*x509.Certificate, error) {
	id, err := subjectKeyID(pub)
	if err != nil {
		return nil, err
	}
	// Each root has a name of its own: two roots of one name and different
	// keys make some verifiers try the wrong one and stop.
	tmpl := &x509.Certificate{
		NotBefore:             from,
		NotAfter:              to,
		SubjectKeyId:          id,
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if name == InternodeCA {
		// This authority can vouch for the one internode name and for nothing
		// else, should its key or its bundle ever end up in the wrong place.
		tmpl.Subject = pkix.Name{Organization: []string{organization}, CommonName: "Tenon Internode CA " + hex.EncodeToString(id[:4])}
		tmpl.MaxPathLenZero = true
		tmpl.PermittedDNSDomainsCritical = true
		tmpl.PermittedDNSDomains = []string{internodeName}
		tmpl.ExcludedIPRanges = []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
			{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		}
		return tmpl, nil
	}
	// No name constraints here: hosts are added long after the authority was
	// made. One authority may follow below it, its successor's cross
	// certificate, which in turn may have none.
	tmpl.Subject = pkix.Name{Organization: []string{organization}, CommonName: "Tenon CA " + hex.EncodeToString(id[:4])}
	tmpl.MaxPathLen = 1
	return tmpl, nil
}

// sign is the only place where certificates are signed. It gives the serial
// number, checks the result as a peer would, and enters it in the ledger before
// anyone gets it.
func (s *Store) sign(tmpl *x509.Certificate, by issuer, pub crypto.PublicKey, e Entry) (*x509.Certificate, error) {
	if by.signer == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoKey, e.Authority.keyFile())
	}
	serial, err := s.newSerial()
	if err != nil {
		return nil, err
	}
	tmpl.SerialNumber = serial
	der, err := x509.CreateCertificate(s.cfg.Rand, tmpl, by.cert, pub, by.signer)
	if err != nil {
		return nil, fmt.Errorf("sign certificate %q: %w", tmpl.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("sign certificate %q: %w", tmpl.Subject.CommonName, err)
	}
	root := by.cert
	if root.Raw == nil { // a root that signs itself
		root = cert
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots: pool, CurrentTime: s.cfg.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return nil, fmt.Errorf("certificate %q does not verify after signing: %w", tmpl.Subject.CommonName, err)
	}
	if err := s.record(e.of(cert, s.cfg.Now())); err != nil {
		return nil, err
	}
	return cert, nil
}

// newSerial returns a random positive number of 128 bits (RFC 5280 §4.1.2.2
// wants it unique and at most 20 octets; it must not be guessable, so that
// nobody can prepare a colliding certificate).
func (s *Store) newSerial() (*big.Int, error) {
	var b [16]byte
	if _, err := io.ReadFull(s.cfg.Rand, b[:]); err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	n := new(big.Int).SetBytes(b[:])
	// The top bit set keeps every serial at one length; it also rules out 0.
	return n.SetBit(n, 127, 1), nil
}
