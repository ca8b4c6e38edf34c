package codec

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
)

func TestKeyFileLife(t *testing.T) {
	path := filepath.Join(t.TempDir(), "payload.key")
	_, err := LoadKeyFile(path)
	require.ErrorIs(t, err, os.ErrNotExist)

	made, err := LoadOrCreateKeyFile(path)
	require.NoError(t, err)
	require.Len(t, made, 1)
	again, err := LoadOrCreateKeyFile(path)
	require.NoError(t, err)
	require.Equal(t, made, again)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}

	// Hosts learn the key first, then it encrypts.
	two, err := AddKey(t.Context(), path, false)
	require.NoError(t, err)
	require.Equal(t, made[0].ID, two[0].ID)
	promoted, err := PromoteKey(t.Context(), path, two[1].ID)
	require.NoError(t, err)
	require.Equal(t, []string{two[1].ID, two[0].ID}, ids(promoted))
	three, err := AddKey(t.Context(), path, true)
	require.NoError(t, err)
	require.Equal(t, ids(promoted), ids(three)[1:])
	onDisk, err := LoadKeyFile(path)
	require.NoError(t, err)
	require.Equal(t, three, onDisk)
	_, err = PromoteKey(t.Context(), path, "nobody")
	require.Error(t, err)

	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), secret.TempPrefix+"*"))
	require.NoError(t, err)
	require.Empty(t, left)
	require.NotContains(t, fmt.Sprintf("%+v %#v", onDisk, onDisk), onDisk[0].Material.Reveal())
}

func ids(keys []Key) []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.ID)
	}
	return out
}

func TestFirstStartsAtOnceAgree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "payload.key")
	got := make([][]Key, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			keys, err := LoadOrCreateKeyFile(path)
			if err != nil {
				t.Error(err)
			}
			got[i] = keys
		})
	}
	wg.Wait()
	for _, keys := range got {
		require.Equal(t, got[0], keys)
	}
}

func TestChangesAtOnceLoseNoKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "payload.key")
	_, err := LoadOrCreateKeyFile(path)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := AddKey(t.Context(), path, true); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	keys, err := LoadKeyFile(path)
	require.NoError(t, err)
	require.Len(t, keys, 9)
}

func TestLockWaitEndsWithContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "payload.key")
	_, err := LoadOrCreateKeyFile(path)
	require.NoError(t, err)
	unlock, err := secret.TryLock(path + ".lock")
	require.NoError(t, err)
	defer func() { require.NoError(t, unlock()) }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = AddKey(ctx, path, true)
	require.ErrorIs(t, err, context.Canceled)
}

func TestKeyFileRefused(t *testing.T) {
	good := "a " + strings.Repeat("A", 43) + "= 2026-01-01T00:00:00Z\n"
	h := keyFileHeader + "\n"
	for name, text := range map[string]string{
		"empty":         "",
		"no key":        h,
		"no header":     good,
		"newer version": "tenon-payload-keys 2\n" + good,
		"short key":     h + "a QUJD 2026-01-01T00:00:00Z\n",
		"not base64":    h + "a hunter2! 2026-01-01T00:00:00Z\n",
		"no time":       h + "a " + strings.Repeat("A", 43) + "=\n",
		"bad time":      h + "a " + strings.Repeat("A", 43) + "= yesterday\n",
		"bad id":        h + "a/b " + strings.Repeat("A", 43) + "= 2026-01-01T00:00:00Z\n",
		"twice":         h + good + good,
		"broken off":    h + good + "b AAAA",
		"long line":     h + "# " + strings.Repeat("x", 1<<17) + "\n" + good,
	} {
		_, err := ParseKeys([]byte(text))
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "hunter2", name)
	}
	keys, err := ParseKeys([]byte("\n# note\n" + h + "\n# note\n" + good))
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, ids(keys))
}

func TestReadableKeyFileRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes do not guard files on windows")
	}
	path := filepath.Join(t.TempDir(), "payload.key")
	_, err := LoadOrCreateKeyFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, 0o644))
	_, err = LoadOrCreateKeyFile(path)
	require.ErrorContains(t, err, "0644")
}

func FuzzParseKeys(f *testing.F) {
	k, err := NewKey(strings.NewReader(strings.Repeat("r", 64)), time.Unix(0, 0))
	require.NoError(f, err)
	f.Add(formatKeys([]Key{k}))
	f.Add([]byte(keyFileHeader + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := ParseKeys(text)
		if err != nil {
			return
		}
		_, err = New(Config{Keys: keys})
		require.NoError(t, err, "what parses can be used")
		again, err := ParseKeys(formatKeys(keys))
		require.NoError(t, err)
		require.Equal(t, keys, again)
	})
}
