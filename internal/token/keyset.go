package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

// Algorithms lists every signature algorithm that can be allowed (RFC 7518
// section 3.1, RFC 8037). "none" and the HMAC family are not among them: with
// them whoever can verify can also forge, and a published public key would be
// the shared secret.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// minRSABits is the least modulus accepted (NIST SP 800-131A).
const minRSABits = 2048

// maxRSABits bounds the work that a key set can cause.
const maxRSABits = 8192

// Key is one public key of a KeySet.
type Key struct {
	// ID is the "kid".
	ID string
	// Public is an *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey.
	Public crypto.PublicKey
	// Algorithm is the only one the key may be used with; "" is any that suits
	// the key's type.
	Algorithm string
	// NotAfter is when trust in the key ends; zero is never.
	NotAfter time.Time
}

// suits reports whether the key may verify signatures of an algorithm.
func (k Key) suits(alg string) bool {
	if k.Algorithm != "" && k.Algorithm != alg {
		return false
	}
	switch pub := k.Public.(type) {
	case *rsa.PublicKey:
		return len(alg) == 5 && (alg[:2] == "RS" || alg[:2] == "PS")
	case *ecdsa.PublicKey:
		// The curve belongs to the algorithm (RFC 7518 section 3.4).
		switch pub.Curve {
		case elliptic.P256():
			return alg == "ES256"
		case elliptic.P384():
			return alg == "ES384"
		case elliptic.P521():
			return alg == "ES512"
		}
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// KeySet is an immutable set of public keys.
type KeySet struct {
	keys        []Key
	fingerprint [sha256.Size]byte
}

// maxKeys bounds a key set. The largest public providers publish about ten.
const maxKeys = 100

// NewKeySet returns the set of keys. It refuses keys that are weak or of a type
// no allowed algorithm uses, and an empty set: a source that answers with no
// keys is broken, and trusting its answer would lock everyone out.
func NewKeySet(keys []Key) (*KeySet, error) {
	if len(keys) == 0 {
		return nil, errors.New("key set has no usable key")
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("key set has %d keys (at most %d)", len(keys), maxKeys)
	}
	set := &KeySet{keys: slices.Clone(keys)}
	h := sha256.New()
	for _, k := range set.keys {
		if err := checkPublic(k.Public); err != nil {
			return nil, fmt.Errorf("key %.60q: %w", k.ID, err)
		}
		der, err := x509.MarshalPKIXPublicKey(k.Public)
		if err != nil {
			return nil, fmt.Errorf("key %.60q: %w", k.ID, err)
		}
		fmt.Fprintf(h, "%q %q %d %x\n", k.ID, k.Algorithm, k.NotAfter.Unix(), der)
	}
	h.Sum(set.fingerprint[:0])
	return set, nil
}

// Keys returns the keys.
func (s *KeySet) Keys() []Key { return slices.Clone(s.keys) }

// find returns the keys with an id that suit an algorithm. Usually one: a
// provider may publish the same id for two types of key.
func (s *KeySet) find(id, alg string, now time.Time) (found []Key, known bool) {
	for _, k := range s.keys {
		if k.ID != id || (!k.NotAfter.IsZero() && !now.Before(k.NotAfter)) {
			continue
		}
		known = true
		if k.suits(alg) {
			found = append(found, k)
		}
	}
	return found, known
}

func checkPublic(pub crypto.PublicKey) error {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if bits := pub.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("RSA modulus of %d bits (%d to %d)", bits, minRSABits, maxRSABits)
		}
		if pub.E < 3 || pub.E%2 == 0 {
			return errors.New("RSA exponent is unsafe")
		}
		return nil
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
		default:
			return errors.New("curve is not P-256, P-384 or P-521")
		}
		// ECDH checks that the point is on the curve.
		if _, err := pub.ECDH(); err != nil {
			return errors.New("point is not on the curve")
		}
		return nil
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			return errors.New("Ed25519 key has the wrong length")
		}
		return nil
	}
	return fmt.Errorf("key of type %T cannot verify signatures here", pub)
}

// ParseKeySet reads a JWK set (RFC 7517 section 5) or PEM blocks with public
// keys or certificates. In a JWK set, keys that are not for signatures, of an
// unknown type, too weak or symmetric are left out, as section 5 asks; the
// member "exp" is a key's end of trust. A PEM key's id is its RFC 7638
// thumbprint.
func ParseKeySet(data []byte) (*KeySet, error) {
	trimmed := bytes.TrimSpace(data)
	if bytes.HasPrefix(trimmed, []byte("-----BEGIN")) {
		return parsePEMKeys(trimmed)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(trimmed, &set); err != nil {
		return nil, errors.New("key set is neither a JWK set nor PEM")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("key set has %d keys (at most %d)", len(set.Keys), maxKeys)
	}
	var keys []Key
	for _, raw := range set.Keys {
		if k, ok := parseJWK(raw); ok {
			keys = append(keys, k)
		}
	}
	return NewKeySet(keys)
}

func parseJWK(raw []byte) (Key, bool) {
	parsed, err := jwk.ParseKey(raw)
	if err != nil {
		return Key{}, false
	}
	if use, ok := parsed.KeyUsage(); ok && use != "" && use != "sig" {
		return Key{}, false
	}
	if ops, ok := parsed.KeyOps(); ok && len(ops) > 0 && !slices.Contains(ops, jwk.KeyOpVerify) {
		return Key{}, false
	}
	public, err := parsed.PublicKey()
	if err != nil {
		return Key{}, false
	}
	var pub any // Export does not know the named type crypto.PublicKey
	if err := jwk.Export(public, &pub); err != nil || checkPublic(pub) != nil {
		return Key{}, false
	}
	k := Key{Public: pub}
	if alg, ok := parsed.Algorithm(); ok && alg.String() != "" {
		k.Algorithm = alg.String()
		if k.Algorithm == "Ed25519" { // the name that RFC 9864 gives to EdDSA on this curve
			k.Algorithm = "EdDSA"
		}
		if !slices.Contains(Algorithms(), k.Algorithm) {
			return Key{}, false
		}
	}
	if k.ID, _ = parsed.KeyID(); k.ID == "" {
		if k.ID, err = Thumbprint(k.Public); err != nil {
			return Key{}, false
		}
	}
	var end struct {
		Exp int64 `json:"exp"`
	}
	if json.Unmarshal(raw, &end) == nil && end.Exp > 0 {
		k.NotAfter = time.Unix(end.Exp, 0).UTC()
	}
	return k, true
}

func parsePEMKeys(data []byte) (*KeySet, error) {
	var keys []Key
	for len(bytes.TrimSpace(data)) > 0 {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, errors.New("PEM is malformed")
		}
		data = rest
		pub, err := parsePublicBlock(block)
		if err != nil {
			return nil, err
		}
		id, err := Thumbprint(pub)
		if err != nil {
			return nil, err
		}
		keys = append(keys, Key{ID: id, Public: pub})
	}
	return NewKeySet(keys)
}

func parsePublicBlock(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("public key: %w", err)
		}
		return pub, nil
	case "RSA PUBLIC KEY":
		pub, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("public key: %w", err)
		}
		return pub, nil
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("PEM block %.40q is no public key", block.Type)
}

// Thumbprint is the RFC 7638 thumbprint (SHA-256, base64url) of a public key.
func Thumbprint(pub crypto.PublicKey) (string, error) {
	key, err := jwk.Import(pub)
	if err != nil {
		return "", fmt.Errorf("key thumbprint: %w", err)
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("key thumbprint: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// MarshalJSON encodes the set as a JWK set (RFC 7517). The same set always
// encodes the same.
func (s *KeySet) MarshalJSON() ([]byte, error) {
	keys := make([]json.RawMessage, 0, len(s.keys))
	for _, k := range s.keys {
		key, err := jwk.Import(k.Public)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.ID, err)
		}
		members := map[string]any{jwk.KeyIDKey: k.ID, jwk.KeyUsageKey: "sig"}
		if k.Algorithm != "" {
			members[jwk.AlgorithmKey] = k.Algorithm
		}
		if !k.NotAfter.IsZero() {
			members["exp"] = k.NotAfter.Unix()
		}
		for name, v := range members {
			if err := key.Set(name, v); err != nil {
				return nil, fmt.Errorf("key %q: %w", k.ID, err)
			}
		}
		raw, err := json.Marshal(key)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.ID, err)
		}
		keys = append(keys, raw)
	}
	return json.Marshal(map[string]any{"keys": keys})
}
