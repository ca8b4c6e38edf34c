package secret_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
)

func TestTryLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := secret.TryLock(path)
	require.NoError(t, err)
	requireFile(t, path, "", 0o600)
	_, err = secret.TryLock(path)
	require.ErrorIs(t, err, secret.ErrLocked)
	require.ErrorContains(t, err, path)
	require.NoError(t, unlock())
	require.NoError(t, unlock(), "a second unlock does nothing")
	unlock, err = secret.TryLock(path)
	require.NoError(t, err)
	require.NoError(t, unlock())
	require.FileExists(t, path)

	_, err = secret.TryLock(filepath.Join(path, "below a file"))
	require.Error(t, err)
	require.NotErrorIs(t, err, secret.ErrLocked)
}

func TestLockWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	synctest.Test(t, func(t *testing.T) {
		held, err := secret.TryLock(path)
		require.NoError(t, err)

		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err = secret.Lock(ctx, path)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, path)
		require.Equal(t, 200*time.Millisecond, time.Since(begin))

		const busy = 101 * time.Millisecond
		begin = time.Now()
		time.AfterFunc(busy, func() { require.NoError(t, held()) })
		unlock, err := secret.Lock(t.Context(), path)
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(begin), busy)
		require.LessOrEqual(t, time.Since(begin), busy+10*time.Millisecond)
		require.NoError(t, unlock())

		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = secret.Lock(ended, path)
		require.ErrorIs(t, err, context.Canceled, "even though it is free")
	})
}

func TestLockLetsOneIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside, rounds atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				unlock, err := secret.Lock(context.Background(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				runtime.Gosched()
				rounds.Add(1)
				inside.Add(-1)
				if err := unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 40, rounds.Load())
}

// A process that is killed holds nothing any more.
func TestLockEndsWithItsProcess(t *testing.T) {
	const env = "TENON_SECRET_TEST_LOCK"
	if path := os.Getenv(env); path != "" {
		_, err := secret.TryLock(path)
		fmt.Println("locked:", err)
		select {} // until killed
	}
	path := filepath.Join(t.TempDir(), "lock")
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockEndsWithItsProcess$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), env+"="+path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked: <nil>\n", line)

	_, err = secret.TryLock(path)
	require.ErrorIs(t, err, secret.ErrLocked)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	unlock, err := secret.TryLock(path)
	require.NoError(t, err)
	require.NoError(t, unlock())
}
