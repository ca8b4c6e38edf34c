package pki

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/tenonhq/tenon/internal/secret"
)

const (
	lockFile = ".lock"

	keyMode    fs.FileMode = 0o600
	publicMode fs.FileMode = 0o644
	dirMode    fs.FileMode = 0o700

	// maxFile bounds what is read: a bundle of a thousand roots is 2 MB.
	maxFile = 8 << 20
)

// writePair replaces a certificate and its key. Two renames cannot be one, so
// a reader may meet the new key with the old certificate; it must then keep
// what it had.
func writePair(certPath string, cert []byte, keyPath string, key []byte) error {
	return secret.WriteFiles(
		secret.FileContent{Path: keyPath, Data: key, Mode: keyMode},
		secret.FileContent{Path: certPath, Data: cert, Mode: publicMode})
}

// written lists the files that are replaced under the store's lock. Others
// write into the folder too, with locks of their own.
func (s *Store) written() []string {
	names := []string{lockFile, ledgerFile, revokedFile}
	for _, a := range authorities {
		names = append(names, a.certFile(), a.keyFile(), a.nextKeyFile(), a.priorKeyFile(), a.crossFile(), a.crlFile())
	}
	for _, l := range s.leaves() {
		names = append(names, l.certFile(), l.keyFile())
	}
	return names
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

// lock takes the one right to write in dir, across goroutines and processes.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Goroutines queue here; only one of a process asks the others'.
	select {
	case s.writer <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release, err := secret.Lock(ctx, s.path(lockFile))
	if err != nil {
		<-s.writer
		return nil, err
	}
	return func() {
		if err := release(); err != nil {
			s.log.Error("certs folder cannot be unlocked", "error", err)
		}
		<-s.writer
	}, nil
}
