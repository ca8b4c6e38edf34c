package pki

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

const revokedFile = "revoked.json"

// ErrRevoked is wrapped when a peer's certificate is revoked, by itself or
// because its authority was retired.
var ErrRevoked = errors.New("certificate is revoked")

// ErrUnknownSerial says that no certificate of the ledger has a serial number.
var ErrUnknownSerial = errors.New("no certificate with this serial number was issued here")

// Reason is why a certificate was revoked: the name of an RFC 5280 §5.3.1
// reason code.
type Reason string

// The reasons that can be given. There is no certificateHold: a certificate
// that was in doubt once is replaced, not trusted again.
const (
	Unspecified          Reason = "unspecified"
	KeyCompromise        Reason = "keyCompromise"
	AffiliationChanged   Reason = "affiliationChanged"
	Superseded           Reason = "superseded"
	CessationOfOperation Reason = "cessationOfOperation"
	PrivilegeWithdrawn   Reason = "privilegeWithdrawn"
)

var reasonCodes = map[Reason]int{
	Unspecified: 0, KeyCompromise: 1, AffiliationChanged: 3, Superseded: 4, CessationOfOperation: 5, PrivilegeWithdrawn: 9,
}

// revocationList is revoked.json.
type revocationList struct {
	Version int `json:"version"`
	// CRLNumber is the number of the last list published, which only grows.
	CRLNumber uint64               `json:"crlNumber"`
	Revoked   []revokedCertificate `json:"revoked"`
	Retired   []retiredAuthority   `json:"retired,omitempty"`
}

type revokedCertificate struct {
	Serial         string    `json:"serial"`                   // hexadecimal
	AuthorityKeyID string    `json:"authorityKeyId,omitempty"` // hexadecimal; empty: of any issuer
	Reason         Reason    `json:"reason"`
	RevokedAt      time.Time `json:"revokedAt"`
	NotAfter       time.Time `json:"notAfter"` // when the entry may be forgotten; zero: never
	Name           string    `json:"name,omitempty"`
}

type retiredAuthority struct {
	KeyID     string    `json:"keyId"` // hexadecimal subject key id
	RetiredAt time.Time `json:"retiredAt"`
	NotAfter  time.Time `json:"notAfter"`
}

// serialKey is a serial number as a map key; RFC 5280 allows 20 octets.
type serialKey [20]byte

func keyOfSerial(n *big.Int) (k serialKey, ok bool) {
	if n == nil || n.Sign() < 0 || n.BitLen() > 8*len(k) {
		return k, false
	}
	n.FillBytes(k[:])
	return k, true
}

// revokedBy says whose certificate with a serial number is revoked: of the
// issuer with this key id, or with this name, or of any if both are empty.
type revokedBy struct {
	keyID string
	name  string
}

// revocations is what is enforced. It is immutable; check is called for every
// request and does not allocate unless it refuses.
type revocations struct {
	loaded bool // revoked.json was read at least once
	// unreadable says that revoked.json is there and was never readable: nobody
	// can tell who is revoked, so nobody is let in.
	unreadable bool
	base       map[serialKey][]revokedBy
	retired    map[string]bool // by raw subject key id
	foreign    []map[serialKey]revokedBy
}

func newRevocations(list *revocationList, loaded bool) *revocations {
	r := &revocations{loaded: loaded, base: map[serialKey][]revokedBy{}, retired: map[string]bool{}}
	for _, e := range list.Revoked {
		n, ok := parseSerial(e.Serial)
		if !ok {
			continue // decodeRevocations refused such a list
		}
		k, _ := keyOfSerial(n)
		id, _ := hex.DecodeString(e.AuthorityKeyID)
		r.base[k] = append(r.base[k], revokedBy{keyID: string(id)})
	}
	for _, a := range list.Retired {
		id, _ := hex.DecodeString(a.KeyID)
		r.retired[string(id)] = true
	}
	return r
}

// with returns the same revocations together with those of other authorities.
func (r *revocations) with(foreign []foreignCA) *revocations {
	out := *r
	out.foreign = nil
	for _, ca := range foreign {
		for _, crl := range ca.crls {
			set := map[serialKey]revokedBy{}
			for _, e := range crl.RevokedCertificateEntries {
				if e.ReasonCode == 8 { // removeFromCRL
					continue
				}
				if k, ok := keyOfSerial(e.SerialNumber); ok {
					set[k] = revokedBy{keyID: string(crl.AuthorityKeyId), name: string(crl.RawIssuer)}
				}
			}
			out.foreign = append(out.foreign, set)
		}
	}
	return &out
}

// check returns an error wrapping ErrRevoked if a certificate is revoked.
func (r *revocations) check(c *x509.Certificate) error {
	if r.unreadable {
		return fmt.Errorf("%w, or may be: %s cannot be read", ErrRevoked, revokedFile)
	}
	if len(r.retired) > 0 && r.retired[string(c.AuthorityKeyId)] {
		return fmt.Errorf("%w: its authority was retired", ErrRevoked)
	}
	if len(r.base) == 0 && len(r.foreign) == 0 {
		return nil
	}
	k, ok := keyOfSerial(c.SerialNumber)
	if !ok {
		return fmt.Errorf("%w: its serial number cannot be looked up", ErrRevoked)
	}
	for _, by := range r.base[k] {
		if by.matches(c) {
			return fmt.Errorf("%w: serial %s", ErrRevoked, serialText(c.SerialNumber))
		}
	}
	for _, set := range r.foreign {
		if by, hit := set[k]; hit && by.matches(c) {
			return fmt.Errorf("%w: serial %s, by its authority's list", ErrRevoked, serialText(c.SerialNumber))
		}
	}
	return nil
}

// listed reports whether the certificate of a ledger entry is revoked.
func (r *revocations) listed(e Entry) bool {
	n, ok := parseSerial(e.Serial)
	if !ok {
		return false
	}
	k, _ := keyOfSerial(n)
	id, _ := hex.DecodeString(e.AuthorityKeyID)
	for _, by := range r.base[k] {
		if by.keyID == "" || by.keyID == string(id) {
			return true
		}
	}
	return false
}

func (by revokedBy) matches(c *x509.Certificate) bool {
	if by.keyID == "" && by.name == "" {
		return true
	}
	// A certificate that does not say which key signed it matches any issuer:
	// leaving the extension out must not be a way around the list.
	if by.keyID != "" && (len(c.AuthorityKeyId) == 0 || by.keyID == string(c.AuthorityKeyId)) {
		return true
	}
	return by.name != "" && by.name == string(c.RawIssuer)
}

func parseSerial(text string) (*big.Int, bool) {
	text = strings.ReplaceAll(strings.TrimSpace(text), ":", "")
	text = strings.TrimPrefix(strings.ToLower(text), "0x")
	if text == "" || len(text) > 40 || strings.Trim(text, "0123456789abcdef") != "" {
		return nil, false
	}
	return new(big.Int).SetString(text, 16)
}

func revocationsOf(f fileContent) (*revocationList, error) {
	if f.err != nil {
		return nil, f.err
	}
	return decodeRevocations(f.text)
}

// decodeRevocations refuses a list that it understands only in part: entries
// that are skipped would be certificates that work again.
func decodeRevocations(text []byte) (*revocationList, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var list revocationList
	if err := d.Decode(&list); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("text after the list")
	}
	if list.Version != 1 {
		return nil, fmt.Errorf("version %d is unknown", list.Version)
	}
	for i, e := range list.Revoked {
		if _, ok := parseSerial(e.Serial); !ok {
			return nil, fmt.Errorf("entry %d: serial number is malformed", i+1)
		}
		if _, err := hex.DecodeString(e.AuthorityKeyID); err != nil {
			return nil, fmt.Errorf("entry %d: authority key id is malformed", i+1)
		}
	}
	for i, a := range list.Retired {
		if id, err := hex.DecodeString(a.KeyID); err != nil || len(id) == 0 {
			return nil, fmt.Errorf("retired authority %d: key id is malformed", i+1)
		}
	}
	return &list, nil
}

func (s *Store) loadRevocations() (*revocationList, error) {
	text, err := readFile(s.path(revokedFile))
	if err != nil {
		return nil, err
	}
	list, err := decodeRevocations(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", revokedFile, err)
	}
	return list, nil
}

func (s *Store) storeRevocations(list *revocationList) error {
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", revokedFile, err)
	}
	return secret.WriteFile(s.path(revokedFile), append(text, '\n'))
}

// ensureRevocations makes the empty list of a new folder. In an old one the
// list must be there: without it, what was revoked would work again.
func (s *Store) ensureRevocations() error {
	_, err := s.loadRevocations()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range authorities {
		if _, err := os.Lstat(s.path(name.crlFile())); err == nil {
			return fmt.Errorf("%s is missing, though %s was published: restore it, or remove both to forget every revocation", revokedFile, name.crlFile())
		}
	}
	return s.storeRevocations(&revocationList{Version: 1, Revoked: []revokedCertificate{}})
}

// Revoke revokes the certificate with a serial number, in hexadecimal, that
// this store issued; colons and case do not matter. It takes effect in this
// process at once, in others on this folder within their Config.ReloadInterval.
// Revoking twice is no error. An unknown serial is ErrUnknownSerial: a typing
// error must not pass for a revocation.
func (s *Store) Revoke(ctx context.Context, serial string, reason Reason) (Entry, error) {
	n, ok := parseSerial(serial)
	if !ok {
		return Entry{}, fmt.Errorf("revoke: serial number %q is not hexadecimal of at most 20 bytes", printable(serial))
	}
	entries, err := s.Ledger()
	if err != nil {
		return Entry{}, err
	}
	for _, e := range entries {
		if e.Serial != serialText(n) {
			continue
		}
		if e.Role == roleAuthority {
			return Entry{}, fmt.Errorf("revoke %s: it is the authority %s: roll it instead", e.Serial, e.Authority)
		}
		return e, s.revoke(ctx, revokedCertificate{
			Serial: e.Serial, AuthorityKeyID: e.AuthorityKeyID, Reason: reason, NotAfter: e.NotAfter, Name: e.Name,
		})
	}
	return Entry{}, fmt.Errorf("revoke %s: %w", serialText(n), ErrUnknownSerial)
}

// RevokeCertificate revokes a certificate of any authority, as far as this
// store's servers and clients are concerned.
func (s *Store) RevokeCertificate(ctx context.Context, c *x509.Certificate, reason Reason) error {
	if _, ok := keyOfSerial(c.SerialNumber); !ok {
		return errors.New("revoke: serial number is negative or longer than 20 bytes")
	}
	return s.revoke(ctx, revokedCertificate{
		Serial: serialText(c.SerialNumber), AuthorityKeyID: hex.EncodeToString(c.AuthorityKeyId),
		Reason: reason, NotAfter: c.NotAfter.UTC(), Name: printable(c.Subject.CommonName),
	})
}

func (s *Store) revoke(ctx context.Context, e revokedCertificate) error {
	if e.Reason == "" {
		e.Reason = Unspecified
	}
	if _, ok := reasonCodes[e.Reason]; !ok {
		return fmt.Errorf("revoke %s: reason %q is unknown", e.Serial, printable(string(e.Reason)))
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return fmt.Errorf("revoke %s: %w", e.Serial, err)
	}
	defer unlock()
	list, err := s.loadRevocations()
	if err != nil {
		return fmt.Errorf("revoke %s: %w", e.Serial, err)
	}
	known := false
	for _, have := range list.Revoked {
		known = known || have.Serial == e.Serial && have.AuthorityKeyID == e.AuthorityKeyID
	}
	if !known {
		e.RevokedAt = s.cfg.Now().UTC().Truncate(time.Second)
		list.Revoked = append(list.Revoked, e)
		// The list that is enforced comes first; the published one follows.
		if err := s.storeRevocations(list); err != nil {
			return fmt.Errorf("revoke %s: %w", e.Serial, err)
		}
		s.log.Warn("certificate revoked", "serial", e.Serial, "name", e.Name, "reason", e.Reason)
	}
	s.refresh()
	return s.publish(authorities...)
}
