package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// ErrLocked says that somebody else holds a lock.
var ErrLocked = errors.New("locked by another process")

// lockPoll is how often a lock that is held is tried again. No operating system
// wakes a waiter and watches a context at once.
const lockPoll = 5 * time.Millisecond

// Lock takes the lock that the file at path stands for, and waits until ctx
// ends for whoever holds it. The file is made with mode 0600 if it is absent,
// and stays: removing it would let two processes hold two files of one name.
//
// The lock keeps out other processes and other calls in this one; a crash
// releases it. It is advisory, not reentrant, and without a queue: goroutines
// that often compete take turns among themselves first, and those that share
// memory guard it themselves. On a network file system it may keep out other
// processes alone. A second unlock does nothing.
func Lock(ctx context.Context, path string) (unlock func() error, err error) {
	lock := newLock(path)
	for {
		_, err := lock.TryLockContext(ctx, lockPoll)
		switch {
		case err == nil:
			return lock.Unlock, nil
		case errors.Is(err, syscall.EINTR): // by a signal; the context still counts
		default:
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

// TryLock is Lock without waiting: a lock that is held is an error that wraps
// ErrLocked.
func TryLock(path string) (unlock func() error, err error) {
	lock := newLock(path)
	ok, err := lock.TryLock()
	for errors.Is(err, syscall.EINTR) {
		ok, err = lock.TryLock()
	}
	if err == nil && !ok {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return lock.Unlock, nil
}

// newLock opens for writing: network file systems refuse an exclusive lock on a
// file that is open for reading only.
func newLock(path string) *flock.Flock {
	return flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(privateMode))
}
