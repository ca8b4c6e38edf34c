package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
)

// KeyType names the kind of a private key.
type KeyType string

// The kinds of keys that a Store makes.
const (
	ECP256  KeyType = "ec-p256"
	ECP384  KeyType = "ec-p384"
	RSA2048 KeyType = "rsa-2048"
	RSA3072 KeyType = "rsa-3072"
	RSA4096 KeyType = "rsa-4096"
)

var keyTypes = []KeyType{ECP256, ECP384, RSA2048, RSA3072, RSA4096}

func (t KeyType) valid() bool {
	for _, k := range keyTypes {
		if t == k {
			return true
		}
	}
	return false
}

func keyTypeList() string {
	var names []string
	for _, k := range keyTypes {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// generateKey makes a private key. Everything that signs takes a
// crypto.Signer, so that a key held by a vault can take its place.
func generateKey(t KeyType, rand io.Reader) (crypto.Signer, error) {
	switch t {
	case ECP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand)
	case ECP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand)
	case RSA2048:
		return rsa.GenerateKey(rand, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand, 4096)
	}
	return nil, fmt.Errorf("key type %q is unknown (%s)", t, keyTypeList())
}

// checkPublicKey refuses keys that can be broken, and keys so large that every
// handshake with them would be a burden.
func checkPublicKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < 2048 || bits > 8192 {
			return fmt.Errorf("RSA key of %d bits: must have 2048 to 8192", bits)
		}
		if k.E < 65537 || k.E%2 == 0 {
			return fmt.Errorf("RSA key with exponent %d: must be odd and at least 65537", k.E)
		}
		return nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return fmt.Errorf("EC key on curve %s: must be P-256, P-384 or P-521", k.Curve.Params().Name)
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("key of type %T: must be RSA, EC or Ed25519", pub)
}

func publicKeyName(pub crypto.PublicKey) string {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ec-" + strings.ToLower(strings.ReplaceAll(k.Curve.Params().Name, "-", ""))
	case ed25519.PublicKey:
		return "ed25519"
	}
	return fmt.Sprintf("%T", pub)
}

// subjectKeyID is the leftmost 160 bits of the SHA-256 of the key (RFC 7093 §2,
// method 1).
func subjectKeyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("decode public key: %w", err)
	}
	sum := sha256.Sum256(info.Key.Bytes)
	return sum[:20], nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func encodeCertificates(certs ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range certs {
		// Writing to a bytes.Buffer cannot fail.
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return out.Bytes()
}

// errNoPEM says that a file holds no PEM block at all.
var errNoPEM = errors.New("no PEM block found")

// parseKey reads the first private key of a PEM text: PKCS #8, SEC 1 or
// PKCS #1. Its errors never quote the text.
func parseKey(text []byte) (crypto.Signer, error) {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("private key: %w", errNoPEM)
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PARAMETERS":
			continue // openssl ecparam -genkey writes them before the key
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("private key is encrypted with a passphrase: decrypt it first")
		default:
			return nil, fmt.Errorf("PEM block %q is not a private key", block.Type)
		}
		if err != nil {
			return nil, errors.New("private key is malformed")
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("private key of type %T cannot sign", key)
		}
		if err := checkPublicKey(signer.Public()); err != nil {
			return nil, err
		}
		return signer, nil
	}
}

// parseCertificates reads every certificate of a PEM text. Text between blocks
// is a comment; any other block, and a block that breaks off, is an error: half
// a bundle must not pass for a whole one.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := text; ; {
		block, after := pem.Decode(rest)
		if block == nil {
			if bytes.Contains(rest, []byte("-----BEGIN")) {
				return nil, fmt.Errorf("PEM block %d is malformed or breaks off", len(certs)+1)
			}
			break
		}
		if n := bytes.Count(rest[:len(rest)-len(after)], []byte("-----BEGIN")); n > 1 {
			return nil, fmt.Errorf("PEM block %d is malformed or breaks off", len(certs)+1)
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %d is %q, not a certificate", len(certs)+1, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs, rest = append(certs, c), after
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("certificate: %w", errNoPEM)
	}
	return certs, nil
}

// parseRoots reads a bundle of trusted roots. A certificate that is no
// authority would be trusted as itself, beyond the reach of any issuer.
func parseRoots(text []byte) ([]*x509.Certificate, error) {
	certs, err := parseCertificates(text)
	if err != nil {
		return nil, err
	}
	for i, c := range certs {
		if !c.BasicConstraintsValid || !c.IsCA {
			return nil, fmt.Errorf("certificate %d (%s) is not an authority", i+1, printable(c.Subject.String()))
		}
		if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
			return nil, fmt.Errorf("certificate %d (%s) may not sign certificates", i+1, printable(c.Subject.String()))
		}
		if err := checkPublicKey(c.PublicKey); err != nil {
			return nil, fmt.Errorf("certificate %d (%s): %w", i+1, printable(c.Subject.String()), err)
		}
	}
	return certs, nil
}
