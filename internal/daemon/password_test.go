package daemon

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNewPassword: a name has three letters at least, and a policy may refuse
// three equal characters in a row.
func TestNewPassword(t *testing.T) {
	for range 1000 {
		password, err := NewPassword()
		require.NoError(t, err)
		require.Regexp(t, `^Aa1!(-[0-9a-f]{2}){18}$`, password.Reveal())
		require.NotRegexp(t, regexp.MustCompile(`[A-Za-z]{3}`), password.Reveal())
	}
}
