package daemon

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/tenonhq/tenon/internal/secret"
)

// NewPassword makes a password for a person of the simulated tenant, with 144
// random bits. No policy refuses it: the hyphens keep chance from repeating a
// character or spelling somebody's name.
func NewPassword() (secret.Value, error) {
	random := make([]byte, 18)
	if _, err := rand.Read(random); err != nil {
		return secret.Value{}, err
	}
	return secret.New("Aa1!-" + strings.ReplaceAll(fmt.Sprintf("% x", random), " ", "-")), nil
}
