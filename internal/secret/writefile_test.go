package secret_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
)

func requireNoTemp(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.NotContains(t, e.Name(), secret.TempPrefix)
	}
}

func requireFile(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, content, string(data))
	info, err := os.Stat(path)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		require.Equal(t, mode, info.Mode().Perm())
	}
}

func TestWriteFileModes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	require.NoError(t, os.WriteFile(path, []byte("old and longer"), 0o644))
	require.NoError(t, secret.WriteFile(path, []byte("new")))
	requireFile(t, path, "new", 0o600)
	require.NoError(t, secret.WriteFileMode(path, []byte("open"), 0o666)) // more than a umask leaves
	requireFile(t, path, "open", 0o666)
	require.NoError(t, secret.WriteFile(path, nil))
	requireFile(t, path, "", 0o600)
	requireNoTemp(t, dir)
}

// A name that is a folder cannot be replaced; a folder that is absent holds no
// temporary file.
func TestWriteFilesThatFail(t *testing.T) {
	for name, tc := range map[string]struct {
		second string
		first  string // what the first file holds afterwards
	}{
		"before the first rename": {filepath.Join("absent", "b"), "old"},
		"at the second rename":    {"folder", "new"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.MkdirAll(filepath.Join(dir, "folder", "full"), 0o700))
			first, second := filepath.Join(dir, "a"), filepath.Join(dir, tc.second)
			require.NoError(t, secret.WriteFile(first, []byte("old")))
			err := secret.WriteFiles(
				secret.FileContent{Path: first, Data: []byte("new")},
				secret.FileContent{Path: second, Data: []byte("hunter2")},
			)
			require.ErrorContains(t, err, "write "+second)
			require.NotContains(t, err.Error(), "hunter2")
			requireFile(t, first, tc.first, 0o600)
			requireNoTemp(t, dir)
		})
	}
}

func TestReadersSeeOldOrNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	contents := [][]byte{bytes.Repeat([]byte("a"), 1<<16), bytes.Repeat([]byte("b"), 1<<17)}
	require.NoError(t, secret.WriteFile(path, contents[0]))
	written := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 50 && err == nil; i++ {
			err = secret.WriteFile(path, contents[i%2])
		}
		written <- err
	}()
	for {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, contents[0]) || bytes.Equal(data, contents[1]), "%d bytes", len(data))
		select {
		case err := <-written:
			require.NoError(t, err)
			return
		default:
		}
	}
}

func TestCreateFileNeverReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = secret.CreateFile(path, fmt.Append(nil, "by ", i)) })
	}
	wg.Wait()
	winners := 0
	for i, err := range errs {
		if err == nil {
			winners++
			requireFile(t, path, fmt.Sprint("by ", i), 0o600)
			continue
		}
		require.ErrorIs(t, err, fs.ErrExist)
	}
	require.Equal(t, 1, winners)
	requireNoTemp(t, dir)
	require.ErrorIs(t, secret.CreateFile(filepath.Join(dir, "absent", "f"), nil), fs.ErrNotExist)
}

// Several owners share a folder, each with its own lock: one that clears up
// must not take what another is writing.
func TestLeftoversAreOfTheNamedFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[b]*") // no pattern
	require.NoError(t, os.Mkdir(dir, 0o700))
	for _, name := range []string{"ca.key", "ca.key-123", ".tmp-ca.key", ".tmp-ca.key-1", ".tmp-ca.key-2", ".tmp-ca.key-next-3", ".tmp-next-4", ".tmp-.lock-5"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	left, err := secret.Leftovers(dir, "ca.key", ".lock", "absent")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{filepath.Join(dir, ".tmp-ca.key-1"), filepath.Join(dir, ".tmp-ca.key-2"), filepath.Join(dir, ".tmp-.lock-5")}, left)
	require.NoError(t, secret.RemoveLeftovers(dir, "ca.key", ".lock"))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 5)
	require.ErrorIs(t, secret.RemoveLeftovers(filepath.Join(dir, "absent"), "x"), fs.ErrNotExist)
}
