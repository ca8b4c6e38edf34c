package state

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

const signingKeys = "keys/signing"

// SigningKey is one of the tenant's RS256 keys. At any time one is current and
// one is next; rotated-out keys stay in the key set until they are revoked.
type SigningKey struct {
	KID                              string
	Private                          *rsa.PrivateKey
	Certificate                      *x509.Certificate
	Current, Next, Previous, Revoked bool
}

// SigningKeys returns the tenant's keys, newest last. Call it in Update at
// least once: the current and the next key are made when they are missing. In
// View it fails if there are none yet.
func (tx *Tx) SigningKeys() ([]SigningKey, error) {
	docs, _, err := tx.List(signingKeys, ListOptions{})
	if err != nil {
		return nil, err
	}
	out := make([]SigningKey, 0, len(docs)+2)
	have := map[string]bool{}
	for _, d := range docs {
		k, err := readSigningKey(d)
		if err != nil {
			return nil, err
		}
		have["current"], have["next"] = have["current"] || k.Current, have["next"] || k.Next
		out = append(out, k)
	}
	for _, role := range []string{"current", "next"} {
		if have[role] {
			continue
		}
		k, err := tx.makeSigningKey(role)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

// CurrentSigningKey returns the key that signs now; see SigningKeys.
func (tx *Tx) CurrentSigningKey() (SigningKey, error) {
	keys, err := tx.SigningKeys()
	if err != nil {
		return SigningKey{}, err
	}
	for _, k := range keys {
		if k.Current {
			return k, nil
		}
	}
	return SigningKey{}, errors.New("the tenant has no current signing key")
}

// RotateSigningKeys makes the next key current, the current one previous, and a
// new next one; it returns the key that became current.
func (tx *Tx) RotateSigningKeys() (SigningKey, error) {
	if _, err := tx.SigningKeys(); err != nil {
		return SigningKey{}, err
	}
	docs, _, err := tx.List(signingKeys, ListOptions{})
	if err != nil {
		return SigningKey{}, err
	}
	now := Timestamp(tx.Now())
	for _, d := range docs {
		switch {
		case d["next"] == true:
			delete(d, "next")
			d["current"], d["current_since"] = true, now
		case d["current"] == true:
			delete(d, "current")
			d["previous"], d["current_until"] = true, now
		default:
			delete(d, "previous")
		}
		if err := tx.Put(signingKeys, str(d, "kid"), d); err != nil {
			return SigningKey{}, err
		}
	}
	return tx.CurrentSigningKey()
}

func readSigningKey(d Doc) (SigningKey, error) {
	k := SigningKey{KID: str(d, "kid")}
	k.Current, _ = d["current"].(bool)
	k.Next, _ = d["next"].(bool)
	k.Previous, _ = d["previous"].(bool)
	k.Revoked, _ = d["revoked"].(bool)
	der, err := hex.DecodeString(str(PrivateOf(d), "private_key"))
	if err != nil {
		return k, fmt.Errorf("read signing key %s: %w", k.KID, err)
	}
	if k.Private, err = x509.ParsePKCS1PrivateKey(der); err != nil {
		return k, fmt.Errorf("read signing key %s: %w", k.KID, err)
	}
	block, _ := pem.Decode([]byte(str(d, "cert")))
	if block == nil {
		return k, fmt.Errorf("read signing key %s: no certificate", k.KID)
	}
	if k.Certificate, err = x509.ParseCertificate(block.Bytes); err != nil {
		return k, fmt.Errorf("read signing key %s: %w", k.KID, err)
	}
	return k, nil
}

func (tx *Tx) makeSigningKey(role string) (SigningKey, error) {
	if !tx.write {
		return SigningKey{}, fmt.Errorf("make signing key: %w", ErrReadOnly)
	}
	// crypto/rsa reads from the operating system whatever reader it is given.
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return SigningKey{}, fmt.Errorf("make signing key: %w", err)
	}
	now := tx.Now()
	cn := pkix.Name{CommonName: tx.tenant + ".auth0.local"}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(tx.store.bytes(8)), Subject: cn, Issuer: cn,
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(14, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return SigningKey{}, fmt.Errorf("make signing certificate: %w", err)
	}
	certPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	sha, sha2 := sha1.Sum(der), sha256.Sum256(der)
	d := Doc{
		"kid": tx.NewID(KeyID), role: true, "cert": certPEM,
		"pkcs7":      "-----BEGIN PKCS7-----\r\n" + strings.TrimPrefix(certPEM, "-----BEGIN CERTIFICATE-----\n"),
		"thumbprint": strings.ToUpper(hex.EncodeToString(sha[:])), "fingerprint": colons(sha[:]),
		"thumbprint_sha256": strings.ToUpper(hex.EncodeToString(sha2[:])),
		Private:             Doc{"private_key": hex.EncodeToString(x509.MarshalPKCS1PrivateKey(key))},
	}
	if role == "current" {
		d["current_since"] = Timestamp(now)
	}
	if err := tx.Put(signingKeys, str(d, "kid"), d); err != nil {
		return SigningKey{}, err
	}
	return readSigningKey(d)
}

func colons(b []byte) string {
	parts := make([]string, len(b))
	for i, c := range b {
		parts[i] = fmt.Sprintf("%02X", c)
	}
	return strings.Join(parts, ":")
}
