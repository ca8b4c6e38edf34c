package webui

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// attempt is what a sign-in needs when the person comes back from the provider.
// The browser carries it, sealed, so that strangers who begin sign-ins cost no
// memory here; and a callback that was not begun by this browser finds none.
type attempt struct {
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	ReturnTo string    `json:"r"`
	Expires  time.Time `json:"e"`
}

// attemptTTL is how long a person may take at the provider's pages.
const attemptTTL = 15 * time.Minute

// sealer encrypts attempts under a key of this process.
type sealer struct {
	aead cipher.AEAD
	rand io.Reader
}

func newSealer(rand io.Reader) (*sealer, error) {
	key := make([]byte, 32)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, fmt.Errorf("random: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &sealer{aead, rand}, err
}

// sealPurpose keeps a sealed attempt from being taken for anything else.
var sealPurpose = []byte("tenon web ui sign-in 1")

func (s *sealer) seal(a attempt) (string, error) {
	plain, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, s.aead.NonceSize())
	if _, err := io.ReadFull(s.rand, nonce); err != nil {
		return "", fmt.Errorf("random: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, plain, sealPurpose)), nil
}

var errNotOurs = errors.New("not sealed by this server")

// open returns the attempt. Time is the caller's to check.
func (s *sealer) open(text string) (attempt, error) {
	var a attempt
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(data) < s.aead.NonceSize() {
		return a, errNotOurs
	}
	plain, err := s.aead.Open(nil, data[:s.aead.NonceSize()], data[s.aead.NonceSize():], sealPurpose)
	if err != nil {
		return a, errNotOurs
	}
	return a, json.Unmarshal(plain, &a)
}
