package authapi

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/quick"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzDecodeParams holds that the token endpoint's decoder never fails in
// another way than with an OAuth error, and that what it lets through is text.
func FuzzDecodeParams(f *testing.F) {
	for _, contentType := range []string{"application/json", "application/x-www-form-urlencoded", "application/json; charset=utf-8", "text/plain", "", "a/b;c=\""} {
		for _, body := range []string{`{"grant_type":"password","scope":["a"]}`, `grant_type=a&scope=b+c`, `{"a":1}`, `{"a":"b","a":"c"}`, `a=1&a=2`, "%", "{}", "[", "\xff", `{"a":{"b":[{}]}}`} {
			f.Add(contentType, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		p, err := decodeParams(contentType, body)
		if err != nil {
			var known *oauthError
			require.True(t, errors.As(err, &known), "%v", err)
			require.Equal(t, 400, known.status)
			return
		}
		for name, v := range p {
			require.True(t, utf8.ValidString(name))
			switch v := v.(type) {
			case string:
				require.True(t, utf8.ValidString(v))
			case bool:
			default:
				require.True(t, structured[name], "%s is a %T", name, v)
			}
		}
		_, err = p.scope()
		if err != nil {
			var known *oauthError
			require.True(t, errors.As(err, &known))
		}
		_, err = json.Marshal(p)
		require.NoError(t, err)
	})
}

func TestRefreshTokenTextRoundTrips(t *testing.T) {
	require.NoError(t, quick.Check(func(secret string) bool {
		if secret == "" {
			return true
		}
		id, got, ok := splitRefresh(refreshText("rt_1234567890123456789012", secret))
		return ok && got == secret && id == "rt_1234567890123456789012"
	}, nil))
	for _, s := range []string{"", "v1.", "v1.short", "rt_1234567890123456789012x"} {
		_, _, ok := splitRefresh(s)
		require.False(t, ok, s)
	}
}
