package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// Keys implements KeySource: the public keys of the active and of the retired
// signing keys.
func (i *Issuer) Keys(context.Context) (*KeySet, error) {
	err := i.reloadKeys()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.set == nil {
		if err == nil {
			err = fs.ErrNotExist
		}
		return nil, fmt.Errorf("keys of issuer %q: %w", i.cfg.Issuer, err)
	}
	if err != nil {
		return nil, fmt.Errorf("keys of issuer %q: %w", i.cfg.Issuer, err)
	}
	return i.set, nil
}

// Intervals implements KeySource. Looking is cheap: the files are read only if
// they changed.
func (i *Issuer) Intervals() (refresh, unknownKey time.Duration) {
	return i.cfg.WatchInterval, 100 * time.Millisecond
}

// String implements KeySource.
func (i *Issuer) String() string { return "local:" + i.cfg.Dir }

// Handler serves the key set for other services (GET and HEAD of any path).
func (i *Issuer) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		set, err := i.Keys(r.Context())
		if err != nil {
			i.cfg.Logger.Error("key set cannot be published", "error", err)
			http.Error(w, "key set unavailable", http.StatusServiceUnavailable)
			return
		}
		data, err := json.Marshal(set)
		if err != nil {
			i.cfg.Logger.Error("key set cannot be published", "error", err)
			http.Error(w, "key set unavailable", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Method == http.MethodGet {
			_, _ = w.Write(data) // a reader that hung up is not our error
		}
	})
}

// Rotate replaces the signing key. The old one is trusted until the last token
// that it signed expires. The three tokens are signed anew.
func (i *Issuer) Rotate(ctx context.Context) error {
	if err := i.locked(ctx, func() error { return i.ensureKeys(true) }); err != nil {
		return fmt.Errorf("rotate signing key: %w", err)
	}
	if err := i.renewTokens(ctx); err != nil {
		return fmt.Errorf("rotate signing key: %w", err)
	}
	return nil
}

// ensureKeys makes private key, public key and key set agree; with rotate, or
// without a private key, around a new one. The caller holds the lock.
//
// The order of the writes makes every crash harmless: verifiers learn a new key
// from the key set before anything is signed with it, and what a crash leaves
// in the key set is put right by the next call.
func (i *Issuer) ensureKeys(rotate bool) error {
	current, err := i.readSigner()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	create := current == nil || rotate
	if create {
		if current, err = i.newSigner(); err != nil {
			return err
		}
	}
	known, err := i.readKeySet()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	set, err := i.keySetAround(current, known)
	if err != nil {
		return err
	}
	if known == nil || known.fingerprint != set.fingerprint {
		data, err := json.MarshalIndent(set, "", "  ")
		if err != nil {
			return err
		}
		// The key set and the public key are public, unlike all else here.
		if err := secret.WriteFileMode(i.path(keySetFile), append(data, '\n'), 0o644); err != nil {
			return err
		}
	}
	if create {
		der, err := x509.MarshalPKCS8PrivateKey(current.key)
		if err != nil {
			return err
		}
		if err := secret.WriteFile(i.path(privateKeyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
			return err
		}
		i.cfg.Logger.Info("signing key created", "kid", current.id, "algorithm", current.algorithm)
	}
	if err := i.ensurePublicKey(current); err != nil {
		return err
	}
	return i.reloadKeys()
}

// keySetAround returns the key set with current active and every other key
// retired, without those whose time is over.
func (i *Issuer) keySetAround(current *signer, known *KeySet) (*KeySet, error) {
	keys := []Key{{ID: current.id, Public: current.key.Public(), Algorithm: current.algorithm}}
	if known != nil {
		ends, err := i.lastExpiries()
		if err != nil {
			return nil, err
		}
		now := i.cfg.Now()
		for _, k := range known.keys {
			if k.ID == current.id {
				continue
			}
			if k.NotAfter.IsZero() {
				// Verifiers allow leeway after a token's end; so does the key's.
				if k.NotAfter = ends[k.ID].Add(5 * time.Minute).UTC(); ends[k.ID].IsZero() {
					continue // it has signed nothing that is alive
				}
			}
			if now.Before(k.NotAfter) {
				keys = append(keys, k)
			}
		}
	}
	return NewKeySet(keys)
}

func (i *Issuer) newSigner() (*signer, error) {
	key, err := rsa.GenerateKey(i.cfg.Rand, 2048)
	if err != nil {
		return nil, fmt.Errorf("generate signing key: %w", err)
	}
	return newSigner(key)
}

func newSigner(key crypto.Signer) (*signer, error) {
	if err := checkPublic(key.Public()); err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	id, err := Thumbprint(key.Public())
	if err != nil {
		return nil, err
	}
	s := &signer{id: id, key: key}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		s.algorithm = "RS256"
	case *ecdsa.PrivateKey:
		s.algorithm = map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[k.Curve.Params().BitSize]
	case ed25519.PrivateKey:
		s.algorithm = "EdDSA"
	default:
		return nil, fmt.Errorf("signing key of type %T", key)
	}
	return s, nil
}

// readSigner reads the private key; operators may bring their own, RSA, EC or
// Ed25519, in PKCS #8, PKCS #1 or SEC 1.
func (i *Issuer) readSigner() (*signer, error) {
	path := i.path(privateKeyFile)
	if err := checkPrivate(path); err != nil {
		return nil, err
	}
	data, err := readBounded(path, 64<<10)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: not PEM", path)
	}
	var parsed any
	switch block.Type {
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		// The parser's own error can quote key material.
		return nil, fmt.Errorf("%s: not a private key", path)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: key of type %T cannot sign", path, parsed)
	}
	s, err := newSigner(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func (i *Issuer) readKeySet() (*KeySet, error) {
	data, err := readBounded(i.path(keySetFile), 1<<20)
	if err != nil {
		return nil, err
	}
	set, err := ParseKeySet(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", i.path(keySetFile), err)
	}
	return set, nil
}

func (i *Issuer) ensurePublicKey(s *signer) error {
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if old, err := readBounded(i.path(publicKeyFile), 64<<10); err == nil && slices.Equal(old, text) {
		return nil
	}
	return secret.WriteFileMode(i.path(publicKeyFile), text, 0o644)
}

// reloadKeys reads the key files if they changed since the last look.
func (i *Issuer) reloadKeys() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	infos := map[string]os.FileInfo{}
	for _, name := range []string{privateKeyFile, keySetFile} {
		info, err := os.Stat(i.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		infos[name] = info
	}
	if len(infos) == 0 {
		return fmt.Errorf("%s: %w", i.path(keySetFile), fs.ErrNotExist)
	}
	if maps.EqualFunc(i.infos, infos, sameFile) {
		return nil
	}
	set, err := i.readKeySet()
	if err != nil {
		return err
	}
	s := i.signer
	if infos[privateKeyFile] != nil {
		if s, err = i.readSigner(); err != nil {
			return err
		}
		// A private key that was put here by hand is used once Init has published
		// its public key: until then every token of it would be refused.
		if _, known := set.find(s.id, s.algorithm, i.cfg.Now()); !known {
			i.set = set
			return fmt.Errorf("signing key %q is not in the key set yet", s.id)
		}
	}
	i.set, i.signer, i.infos = set, s, infos
	return nil
}
