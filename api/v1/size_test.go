package v1_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// large writes n clients, each of which refers to the one before.
func large(n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "---\napiVersion: tenon.dev/v1\nkind: Auth0Client\nmetadata:\n  name: client-%d\n  labels: {team: platform}\nspec:\n  application_type: regular_web\n"+
			"  description: client number %d of a large stack\n  callbacks:\n    - https://c%d.example.com/callback\n    - https://c%d.example.com/other\n  oidc_conformant: true\n"+
			"  jwt_configuration: {alg: RS256, lifetime_in_seconds: 3600}\n  refresh_token: {rotation_type: rotating, expiration_type: expiring, leeway: 0}\n", i, i, i, i)
	}
	return []byte(b.String())
}

func TestLargeStack(t *testing.T) {
	data := large(5_000)
	require.Greater(t, len(data), 2<<20)
	begin := time.Now()
	m, err := v1.Load(v1.Source{Name: "large.yaml", Data: data})
	require.NoError(t, err)
	require.Len(t, m.Resources, 5_000)
	require.Empty(t, m.Warnings)
	t.Logf("%d bytes, %d resources in %s", len(data), len(m.Resources), time.Since(begin))
	_, line, _, ok := m.Position("Auth0Client", "client-4999", "spec.callbacks[1]")
	require.True(t, ok)
	require.Equal(t, 4_999*15+12, line)
}

func BenchmarkLoad(b *testing.B) {
	data := large(500)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := v1.Load(v1.Source{Name: "large.yaml", Data: data}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestHostileSizes gives Load what is large in every direction. It must come
// back, and soon: the time is the test's own limit.
func TestHostileSizes(t *testing.T) {
	head := "apiVersion: tenon.dev/v1\nkind: Auth0User\nmetadata: {name: x}\nspec:\n  connection: db\n  email: a@b.example\n  user_metadata:\n"
	for name, text := range map[string]string{
		"brackets":   strings.Repeat("[", 1<<20),
		"braces":     strings.Repeat("{a: ", 1<<18),
		"JSON depth": strings.Repeat(`{"a":`, 1<<18),
		"dashes":     strings.Repeat("- ", 1<<18),
		"markers":    strings.Repeat("---\n", 1<<20),
		"documents":  strings.Repeat("--- 1\n", 1<<13),
		"unknown":    head + strings.Repeat("  a: 1\n", 1<<15),
		"keys": head + func() string {
			var b strings.Builder
			for i := range 1 << 15 {
				fmt.Fprintf(&b, "    k%d: v\n", i)
			}
			return b.String()
		}(),
		"long key":    head + "    " + strings.Repeat("k", 1<<20) + ": v\n",
		"one line":    "a: " + strings.Repeat("x", 2<<20),
		"quotes":      strings.Repeat("\"", 1<<20),
		"questions":   strings.Repeat("? ", 1<<14),
		"many errors": "apiVersion: tenon.dev/v1\nkind: Auth0Client\nmetadata: {name: x}\nspec:\n  application_type: spa\n  callbacks:\n" + strings.Repeat("    - 1\n", 1<<14),
		"anchors":     head + "    a: &a [" + strings.Repeat("x, ", 1<<16) + "x]\n    b:\n" + strings.Repeat("    - *a\n", 100),
		"merges":      head + "    a: &a {x: 1}\n" + "    b: {<<: [" + strings.Repeat("*a, ", 1<<16) + "*a]}\n",
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			_, err := load(text)
			require.Less(t, time.Since(begin), 20*time.Second)
			if err != nil {
				require.Less(t, len(err.Error()), 8<<20)
			}
			if name == "anchors" {
				// None of the aliases is too large by itself: it is their sum that counts.
				require.ErrorContains(t, err, "stand for more than")
			}
		})
	}
}
