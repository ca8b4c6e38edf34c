package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// publish signs new revocation lists. Hosts without an authority's key leave
// that to the host that has it. The caller holds the lock.
func (s *Store) publish(names ...Authority) error {
	for _, name := range names {
		a, err := s.loadAuthority(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.publishCRL(a); err != nil {
			return err
		}
	}
	return nil
}

// publishCRL signs the lists of an authority: one for each root whose key is
// at hand, the signing one first.
func (s *Store) publishCRL(a *authority) error {
	if a.active.signer == nil {
		return nil
	}
	list, err := s.loadRevocations()
	if err != nil {
		return err
	}
	now := s.cfg.Now().UTC().Truncate(time.Second)
	list.CRLNumber++
	list.forget(now)
	// The number is spent before it is used, so that no two lists share one.
	if err := s.storeRevocations(list); err != nil {
		return err
	}
	var out bytes.Buffer
	for _, by := range []issuer{a.active, a.next, a.prior} {
		if by.signer == nil || by.cert == nil || !now.Before(by.cert.NotAfter) {
			continue
		}
		tmpl := &x509.RevocationList{
			Number:     new(big.Int).SetUint64(list.CRLNumber),
			ThisUpdate: now.Add(-Backdate),
			NextUpdate: now.Add(s.cfg.CRLLifetime),
		}
		for _, e := range list.Revoked {
			if e.AuthorityKeyID != hex.EncodeToString(by.cert.SubjectKeyId) {
				continue
			}
			n, _ := parseSerial(e.Serial)
			tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{
				SerialNumber: n, RevocationTime: e.RevokedAt, ReasonCode: reasonCodes[e.Reason],
			})
		}
		der, err := x509.CreateRevocationList(s.cfg.Rand, tmpl, by.cert, by.signer)
		if err != nil {
			return fmt.Errorf("sign %s: %w", a.name.crlFile(), err)
		}
		if err := pem.Encode(&out, &pem.Block{Type: "X509 CRL", Bytes: der}); err != nil {
			return fmt.Errorf("write %s: %w", a.name.crlFile(), err)
		}
	}
	return secret.WriteFileMode(s.path(a.name.crlFile()), out.Bytes(), publicMode)
}

// forget drops what time has dealt with: certificates a day past their expiry
// are refused for that.
func (l *revocationList) forget(now time.Time) {
	limit := now.Add(-24 * time.Hour)
	kept := l.Revoked[:0]
	for _, e := range l.Revoked {
		if e.NotAfter.IsZero() || e.NotAfter.After(limit) {
			kept = append(kept, e)
		}
	}
	l.Revoked = kept
	retired := l.Retired[:0]
	for _, a := range l.Retired {
		if a.NotAfter.After(limit) { // nothing it signed can outlive it
			retired = append(retired, a)
		}
	}
	l.Retired = retired
}

// ensureCRL publishes a list that is missing, unreadable or at half its life.
// The caller holds the lock.
func (s *Store) ensureCRL(a *authority) error {
	if a.active.signer == nil {
		return nil
	}
	text, err := readFile(s.path(a.name.crlFile()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !s.crlDue(crlEnd(text, a.active.cert), a.active.cert) {
		return nil
	}
	return s.publishCRL(a)
}

// crlEnd returns when the published list of the signing root lapses: zero if
// there is none. That list comes first, and tells for the others.
func crlEnd(text []byte, signing *x509.Certificate) time.Time {
	block, _ := pem.Decode(text)
	if block == nil {
		return time.Time{}
	}
	crl, err := x509.ParseRevocationList(block.Bytes)
	if err != nil || crl.CheckSignatureFrom(signing) != nil {
		return time.Time{}
	}
	return crl.NextUpdate
}

func (s *Store) crlDue(end time.Time, signing *x509.Certificate) bool {
	now := s.cfg.Now()
	if !now.Before(signing.NotAfter) {
		return false // an expired authority signs nothing more
	}
	return !now.Add(s.cfg.CRLLifetime / 2).Before(end)
}

// parseCRLs reads revocation lists, PEM or DER, each signed by one of roots.
// An unsigned list could unrevoke, by replacing one that revokes.
func parseCRLs(text []byte, roots []*x509.Certificate) ([]*x509.RevocationList, error) {
	var ders [][]byte
	if bytes.Contains(text, []byte("-----BEGIN")) {
		for rest := text; ; {
			block, after := pem.Decode(rest)
			if block == nil {
				if bytes.Contains(rest, []byte("-----BEGIN")) {
					return nil, fmt.Errorf("PEM block %d is malformed or breaks off", len(ders)+1)
				}
				break
			}
			if block.Type != "X509 CRL" {
				return nil, fmt.Errorf("PEM block %d is %q, not a revocation list", len(ders)+1, block.Type)
			}
			ders, rest = append(ders, block.Bytes), after
		}
	} else {
		ders = append(ders, text)
	}
	var out []*x509.RevocationList
	for i, der := range ders {
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("list %d: %w", i+1, err)
		}
		signed := false
		for _, r := range roots {
			signed = signed || crl.CheckSignatureFrom(r) == nil
		}
		if !signed {
			return nil, fmt.Errorf("list %d is not signed by its authority (%s)", i+1, printable(crl.Issuer.String()))
		}
		out = append(out, crl)
	}
	if len(out) == 0 {
		return nil, errNoPEM
	}
	return out, nil
}
