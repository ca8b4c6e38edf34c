package pki

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	tempPrefix = ".tmp-"
	lockFile   = ".lock"

	keyMode    fs.FileMode = 0o600
	publicMode fs.FileMode = 0o644
	dirMode    fs.FileMode = 0o700

	// maxFile bounds what is read: a bundle of a thousand roots is 2 MB.
	maxFile = 8 << 20
)

// staged is a file that is complete on disk under a temporary name.
type staged struct{ temp, path string }

// stage writes data beside path and syncs it. Only commit makes it visible.
func stage(path string, data []byte, mode fs.FileMode) (staged, error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+filepath.Base(path)+"-*")
	if err != nil {
		return staged{}, fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return staged{}, errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return staged{f.Name(), path}, nil
}

// commit renames staged files into place, in order, and syncs the folder.
func commit(files ...staged) error {
	for i, f := range files {
		if err := os.Rename(f.temp, f.path); err != nil {
			for _, left := range files[i:] {
				err = errors.Join(err, os.Remove(left.temp))
			}
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	return syncDir(filepath.Dir(files[0].path))
}

// writeFile replaces a file: readers see the old content or the new.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	f, err := stage(path, data, mode)
	if err != nil {
		return err
	}
	return commit(f)
}

// writePair replaces a certificate and its key. Two renames cannot be one, so
// a reader may meet the new key with the old certificate; it must then keep
// what it had. Both contents are on disk before the first rename.
func writePair(certPath string, cert []byte, keyPath string, key []byte) error {
	k, err := stage(keyPath, key, keyMode)
	if err != nil {
		return err
	}
	c, err := stage(certPath, cert, publicMode)
	if err != nil {
		return errors.Join(err, os.Remove(k.temp))
	}
	return commit(k, c)
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// readFile reads a file of bounded size.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes: more than %d", path, info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

// checkKeyMode refuses a private key that others may read: whoever could has
// to be assumed to have done so. A group may read a certificate's key, because
// that is how orchestrators mount secrets; an authority's key, nobody.
func checkKeyMode(path string, authority bool) error {
	if runtime.GOOS == "windows" {
		return nil // access lists, not modes, guard files there
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	forbidden := fs.FileMode(0o037)
	if authority {
		forbidden = 0o077
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 {
		return fmt.Errorf("%s has mode %04o: others may read or change the private key (chmod 600)", path, mode)
	}
	return nil
}

// removeTemp clears what a crash left half-written. The caller holds the lock.
func removeTemp(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// lock takes the one right to write in dir, across goroutines and processes.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s.writer <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release := func() { <-s.writer }
	f, err := os.OpenFile(s.path(lockFile), os.O_CREATE|os.O_RDWR, keyMode)
	if err != nil {
		release()
		return nil, fmt.Errorf("lock certs folder: %w", err)
	}
	for {
		ok, err := tryLockFile(f)
		if err != nil {
			release()
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		if ok {
			// Closing the file releases the lock of the system.
			return func() { _ = f.Close(); release() }, nil
		}
		wait := time.NewTimer(20 * time.Millisecond)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			release()
			return nil, errors.Join(fmt.Errorf("lock %s: another process holds it: %w", f.Name(), ctx.Err()), f.Close())
		}
	}
}
