package audit

import (
	"crypto/sha256"
	"encoding/hex"
)

// sum is the hash of a line's body, computed apart from the code under test.
func sum(body []byte) string {
	h := sha256.Sum256(body)
	return hex.EncodeToString(h[:])
}
