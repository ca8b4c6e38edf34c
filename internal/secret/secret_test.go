package secret_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
)

const canary = "c4nary-$HOME-'quoted\"-\\-#x"

func TestValueNeverPrints(t *testing.T) {
	type holder struct {
		Secret secret.Value  `json:"secret"`
		Ptr    *secret.Value `json:"ptr"`
		hidden secret.Value
	}
	v := secret.New(canary)
	h := holder{Secret: v, Ptr: &v, hidden: v}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb, v, h)
	}
	data, err := json.Marshal(h)
	require.NoError(t, err)
	out.Write(data)
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("x", "secret", v, "holder", h, "ptr", &v)
	text := slog.New(slog.NewTextHandler(&out, nil))
	text.Info("x", "secret", v, "holder", h, "ptr", &v)

	require.NotContains(t, out.String(), "c4nary")
	require.NotContains(t, out.String(), fmt.Sprintf("%x", canary))
	require.Equal(t, canary, v.Reveal())
	require.Error(t, json.Unmarshal(data, &h), "a redacted secret must not be read back as one")
}

func TestRef(t *testing.T) {
	ref, err := secret.ParseRef("vault:kv/app#field")
	require.NoError(t, err)
	require.Equal(t, "vault", ref.Store())
	require.Equal(t, "kv/app#field", ref.Name())
	for _, bad := range []string{"", "plain", ":x", "env:"} {
		_, err := secret.ParseRef(bad)
		require.Error(t, err, bad)
	}
	_, err = secret.ParseRef("hunter2")
	require.NotContains(t, err.Error(), "hunter2", "what is not a reference may be a secret")
}

func TestParseDotenv(t *testing.T) {
	got, err := secret.ParseDotenv([]byte("\ufeffA=1\r\n# comment\n\nexport B='lit $A \\n'\nC=\"a\\nb\\$c\\\"\" # note\nD=p$HOME_X#x # note\nE=\nF= # only a note\n"))
	require.NoError(t, err)
	plain := map[string]string{}
	for k, v := range got {
		plain[k] = v.Reveal()
	}
	require.Equal(t, map[string]string{"A": "1", "B": `lit $A \n`, "C": "a\nb$c\"", "D": "p$HOME_X#x", "E": "", "F": ""}, plain)

	for text, want := range map[string]string{
		"A=1\nB":            "2: not of the form KEY=VALUE",
		"1A=x":              "1: the key is not of the form",
		"A=1\nA=2":          "2: A is set a second time",
		"A='s3cret":         "1: A: no closing quote",
		`A="s3cret\`:        "1: A: no closing quote",
		`A="s3cret" s3cret`: "1: A: text after the closing quote",
		`A="\x"`:            `1: A: unknown escape \x`,
	} {
		_, err := secret.ParseDotenv([]byte(text))
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "s3cret")
	}
}

func FuzzDotenvRoundTrip(f *testing.F) {
	for _, s := range []string{"", "a", canary, "a\nb\r\n", "'", `\`, "$A ${B}", " lead", "#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := secret.ParseDotenv([]byte("K=" + secret.QuoteDotenv(secret.New(s)) + "\n"))
		require.NoError(t, err)
		require.Equal(t, s, got["K"].Reveal())
	})
}

func TestDotenvStore(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	own, user := filepath.Join(dir, "secrets.env"), filepath.Join(dir, ".env")
	store := secret.Dotenv{Read: []string{user}, Write: own}

	_, err := store.Get(ctx, "A")
	require.ErrorIs(t, err, secret.ErrNotFound)

	require.NoError(t, store.Put(ctx, "A", secret.New(canary)))
	require.NoError(t, store.Put(ctx, "B", secret.New("2")))
	require.NoError(t, store.Put(ctx, "B", secret.New("3")))
	info, err := os.Stat(own)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	v, err := store.Get(ctx, "A")
	require.NoError(t, err)
	require.Equal(t, canary, v.Reveal())
	v, err = store.Get(ctx, "B")
	require.NoError(t, err)
	require.Equal(t, "3", v.Reveal())

	require.NoError(t, os.WriteFile(user, []byte("B=mine\n"), 0o600))
	v, err = store.Get(ctx, "B")
	require.NoError(t, err)
	require.Equal(t, "mine", v.Reveal(), "the user's own file wins")

	require.NoError(t, store.Delete(ctx, "A"))
	require.NoError(t, store.Delete(ctx, "A"))
	_, err = store.Get(ctx, "A")
	require.ErrorIs(t, err, secret.ErrNotFound)

	require.Error(t, store.Put(ctx, "no good", secret.New("x")))
}

func TestDotenvRefusesReadableFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".env")
	require.NoError(t, os.WriteFile(path, []byte("A=1\n"), 0o644))
	_, err := secret.ReadDotenv(path)
	var perm *secret.PermissionError
	require.ErrorAs(t, err, &perm)
	require.Equal(t, path, perm.Path)
}

func TestDotenvKeepsWhatItCannotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.env")
	require.NoError(t, os.WriteFile(path, []byte("broken line\n"), 0o600))
	require.ErrorContains(t, secret.Dotenv{Write: path}.Put(context.Background(), "A", secret.New("1")), "secrets.env:1:")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "broken line\n", string(data))
}

func TestDotenvConcurrentWriters(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "secrets.env")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			store := secret.Dotenv{Write: path} // a store each, as several processes have
			require.NoError(t, store.Put(ctx, fmt.Sprintf("K%d", i), secret.New("v")))
		})
	}
	wg.Wait()
	values, err := secret.ReadDotenv(path)
	require.NoError(t, err)
	require.Len(t, values, 20)
}

func TestFilesStore(t *testing.T) {
	ctx := context.Background()
	store := secret.Files{Dir: t.TempDir()}
	require.NoError(t, store.Put(ctx, "a", secret.New("x")))
	v, err := store.Get(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, "x", v.Reveal())
	require.NoError(t, os.WriteFile(filepath.Join(store.Dir, "b"), []byte("line\n"), 0o600))
	v, err = store.Get(ctx, "b")
	require.NoError(t, err)
	require.Equal(t, "line", v.Reveal())
	_, err = store.Get(ctx, "../b")
	require.ErrorContains(t, err, "leads out")
	require.NoError(t, store.Delete(ctx, "a"))
	_, err = store.Get(ctx, "a")
	require.ErrorIs(t, err, secret.ErrNotFound)
}

func TestStores(t *testing.T) {
	ctx := context.Background()
	t.Setenv("TENON_TEST_SECRET", "s")
	stores := secret.Stores{"env": secret.Env{}, "dotenv": secret.Dotenv{Write: filepath.Join(t.TempDir(), "s.env")}}
	v, err := stores.Get(ctx, "env:TENON_TEST_SECRET")
	require.NoError(t, err)
	require.Equal(t, "s", v.Reveal())
	require.ErrorIs(t, stores.Put(ctx, "env:X", v), secret.ErrReadOnly)
	_, err = stores.Get(ctx, "vault:a/b#c")
	require.ErrorContains(t, err, `no store is named "vault" (configured: dotenv, env)`)
	_, err = stores.Get(ctx, "env:TENON_TEST_ABSENT")
	require.ErrorIs(t, err, secret.ErrNotFound)
}
