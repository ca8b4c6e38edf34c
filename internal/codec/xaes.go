package codec

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
)

const (
	keySize   = 32
	nonceSize = 24
	tagSize   = 16
)

// xaes is XAES-256-GCM (c2sp.org/XAES-256-GCM): the first half of the nonce
// derives a key by AES-CMAC (NIST SP 800-108r1, counter mode), the second half
// is the nonce of AES-256-GCM under that key.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte // the CMAC subkey K1
}

func newXAES(key []byte) (*xaes, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("has %d bytes, not %d", len(key), keySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	x := &xaes{block: block}
	block.Encrypt(x.k1[:], x.k1[:])
	var msb byte
	for i := len(x.k1) - 1; i >= 0; i-- {
		x.k1[i], msb = x.k1[i]<<1|msb, x.k1[i]>>7
	}
	// Doubling in GF(2¹²⁸): the bit that falls out at the top comes back as the
	// polynomial, without a branch on secret data.
	x.k1[len(x.k1)-1] ^= msb * 0x87
	return x, nil
}

func (x *xaes) derive(nonce []byte) (cipher.AEAD, error) {
	var key [keySize]byte
	for i := range 2 {
		m := key[i*aes.BlockSize : (i+1)*aes.BlockSize]
		m[1], m[2] = byte(i+1), 'X' // counter (2 bytes) ‖ label ‖ 0x00 ‖ context
		copy(m[4:], nonce[:12])
		for j := range m {
			m[j] ^= x.k1[j]
		}
		x.block.Encrypt(m, m)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal appends ciphertext and tag to dst, which must not overlap plain.
func (x *xaes) seal(dst, nonce, plain, data []byte) ([]byte, error) {
	aead, err := x.derive(nonce)
	if err != nil {
		return nil, err
	}
	return aead.Seal(dst, nonce[12:], plain, data), nil
}

func (x *xaes) open(nonce, sealed, data []byte) ([]byte, error) {
	aead, err := x.derive(nonce)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nonce[12:], sealed, data)
}
