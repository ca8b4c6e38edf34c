package pki

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"sort"
	"time"
)

// CertificateInfo describes a certificate for people and scripts.
type CertificateInfo struct {
	Name           string    `json:"name"`    // stem of its file, or the name it was issued for
	Kind           string    `json:"kind"`    // authority, server, client or internode
	State          string    `json:"state"`   // of a root: signing, next or previous; else ok, expiring, expired or revoked
	Subject        string    `json:"subject"` // RFC 2253
	Issuer         string    `json:"issuer"`  // RFC 2253
	Serial         string    `json:"serial"`  // hexadecimal
	DNS            []string  `json:"dns,omitempty"`
	IPs            []string  `json:"ips,omitempty"`
	URIs           []string  `json:"uris,omitempty"`
	NotBefore      time.Time `json:"notBefore"`
	NotAfter       time.Time `json:"notAfter"`
	Fingerprint    string    `json:"fingerprintSha256"` // of the DER encoding, hexadecimal
	KeyType        string    `json:"keyType"`
	SubjectKeyID   string    `json:"subjectKeyId"`             // hexadecimal
	AuthorityKeyID string    `json:"authorityKeyId,omitempty"` // hexadecimal
	IsCA           bool      `json:"isCa"`
	// Managed says that Run renews it.
	Managed bool `json:"managed"`
}

func serialText(n *big.Int) string { return hex.EncodeToString(n.Bytes()) }

func describe(name string, c *x509.Certificate) CertificateInfo {
	sum := sha256.Sum256(c.Raw)
	info := CertificateInfo{
		Name:           name,
		Subject:        c.Subject.String(),
		Issuer:         c.Issuer.String(),
		Serial:         serialText(c.SerialNumber),
		DNS:            c.DNSNames,
		NotBefore:      c.NotBefore.UTC(),
		NotAfter:       c.NotAfter.UTC(),
		Fingerprint:    hex.EncodeToString(sum[:]),
		KeyType:        publicKeyName(c.PublicKey),
		SubjectKeyID:   hex.EncodeToString(c.SubjectKeyId),
		AuthorityKeyID: hex.EncodeToString(c.AuthorityKeyId),
		IsCA:           c.IsCA,
	}
	for _, ip := range c.IPAddresses {
		info.IPs = append(info.IPs, ip.String())
	}
	for _, u := range c.URIs {
		info.URIs = append(info.URIs, u.String())
	}
	return info
}

// Show describes the certificates in the folder: roots first, then the store's
// own certificates, each as last read.
func (s *Store) Show() []CertificateInfo {
	snap := s.snap.Load()
	now := s.cfg.Now()
	var out []CertificateInfo
	for _, name := range authorities {
		for i, c := range snap.roots[name] {
			info := describe(string(name), c)
			info.Kind, info.State = "authority", snap.rootState(name, i)
			out = append(out, info)
		}
	}
	for _, spec := range s.leaves() {
		pair := snap.leaves[spec.stem]
		if pair == nil {
			continue
		}
		info := describe(spec.stem, pair.Leaf)
		info.Kind = string(spec.role)
		info.Managed = snap.issuedHere(spec.authority, pair.Leaf)
		info.State = s.stateOf(snap, pair.Leaf, now)
		out = append(out, info)
	}
	return out
}

func (s *Store) stateOf(snap *snapshot, c *x509.Certificate, now time.Time) string {
	switch {
	case snap.revoked.check(c) != nil:
		return "revoked"
	case now.After(c.NotAfter):
		return "expired"
	case now.Add(s.cfg.WarnBefore).After(c.NotAfter):
		return "expiring"
	}
	return "ok"
}

// Expiring returns the certificates in the folder, roots included, that expire
// within window or have expired, soonest first.
func (s *Store) Expiring(window time.Duration) []CertificateInfo {
	limit := s.cfg.Now().Add(window)
	var out []CertificateInfo
	for _, info := range s.Show() {
		if !info.NotAfter.After(limit) {
			out = append(out, info)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].NotAfter.Before(out[j].NotAfter) })
	return out
}
