package audit

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// Head says where a log starts and ends. It is what the signature is over.
type Head struct {
	// First is the number of the oldest record kept, and FirstPrevious the hash
	// of the one before it.
	First         uint64 `json:"first"`
	FirstPrevious string `json:"first_prev"`
	// Sequence and Hash are the last record's; 0 and "" of an empty log.
	Sequence uint64    `json:"seq"`
	Hash     string    `json:"hash"`
	Time     time.Time `json:"time"`
}

// signedHead is the content of the head file.
type signedHead struct {
	Head
	Signature string `json:"signature"`
}

func (h Head) message() []byte {
	return fmt.Appendf(nil, "tenon audit head v1\n%d\n%s\n%d\n%s\n%s\n", h.First, h.FirstPrevious, h.Sequence, h.Hash, h.Time.UTC().Format(time.RFC3339Nano))
}

// firstPrevious is what the very first record names as the hash before it.
const firstPrevious = ""

func writeHead(path string, h Head, key ed25519.PrivateKey) error {
	signed := signedHead{Head: h, Signature: base64.StdEncoding.EncodeToString(ed25519.Sign(key, h.message()))}
	data, err := json.Marshal(signed)
	if err != nil {
		return err
	}
	// Whole or not at all: after a crash an older head is still a true one, an
	// empty one would keep the log closed.
	return secret.WriteFile(path, append(data, '\n'))
}

// ErrNoHead says that there is no head: the log is new, or its head was removed.
var ErrNoHead = errors.New("audit log has no head")

func readHead(path string, key ed25519.PublicKey) (Head, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Head{}, fmt.Errorf("%s: %w", path, ErrNoHead)
	}
	if err != nil {
		return Head{}, err
	}
	var signed signedHead
	if err := json.Unmarshal(data, &signed); err != nil {
		return Head{}, fmt.Errorf("%s: head is malformed", path)
	}
	signature, err := base64.StdEncoding.DecodeString(signed.Signature)
	if err != nil || !ed25519.Verify(key, signed.message(), signature) {
		return Head{}, fmt.Errorf("%s: head's signature is wrong", path)
	}
	return signed.Head, nil
}

// openKey reads the signing key, or makes one. Its public half lies beside it,
// with the ending .pub, for those who verify.
func openKey(path string, random io.Reader) (ed25519.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createKey(path, random)
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o027 != 0 {
		return nil, fmt.Errorf("%s: mode %04o lets others in (chmod 600)", path, info.Mode().Perm())
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: not PEM", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: not a private key", path)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not an Ed25519 key", path)
	}
	return key, nil
}

func createKey(path string, random io.Reader) (ed25519.PrivateKey, error) {
	public, key, err := ed25519.GenerateKey(random)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	publicDER, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	if err := secret.WriteFileMode(publicPath(path), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER}), 0o644); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := secret.CreateFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return nil, err
	}
	return key, nil
}

func publicPath(keyPath string) string { return strings.TrimSuffix(keyPath, ".key") + ".pub" }

// ReadPublicKey reads the public key of an audit log's heads (PEM).
func ReadPublicKey(path string) (ed25519.PublicKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("audit key %s: not PEM", path)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("audit key %s: not a public key", path)
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("audit key %s: not an Ed25519 key", path)
	}
	return key, nil
}
