package direct

import (
	"fmt"
	"io"

	"github.com/tenonhq/tenon/internal/secret"
)

// passwordClasses are what Auth0's strictest policy counts. Characters that look
// alike are left in: nobody will ever read or type this password.
var passwordClasses = []string{
	"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
	"abcdefghijklmnopqrstuvwxyz",
	"0123456789",
	"!@#$%^&*",
}

// randomPassword makes a user's first password, which is sent once and kept
// nowhere. It satisfies every policy of Auth0: it has 64 characters (bcrypt reads
// 72 bytes), cycles through the four classes, and so never repeats a character
// side by side. Its entropy is over 250 bits.
func randomPassword(random io.Reader) (secret.Value, error) {
	out := make([]byte, 0, 64)
	buf := make([]byte, 1)
	for len(out) < cap(out) {
		class := passwordClasses[len(out)%len(passwordClasses)]
		if _, err := io.ReadFull(random, buf); err != nil {
			return secret.Value{}, fmt.Errorf("make a random password: %w", err)
		}
		// Reject what would make the first characters of the class likelier.
		if limit := 256 - 256%len(class); int(buf[0]) < limit {
			out = append(out, class[int(buf[0])%len(class)])
		}
	}
	return secret.New(string(out)), nil
}
