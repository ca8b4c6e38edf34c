package token

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The files of an Issuer's folder.
const (
	privateKeyFile  = "temporal-jwt-private.key"
	publicKeyFile   = "temporal-jwt-public.key"
	keySetFile      = "temporal-jwt-keys.json"
	ledgerFile      = "temporal-jwt-issued.jsonl"
	revocationsFile = "temporal-jwt-revoked.json"
	lockFile        = ".temporal-jwt.lock"

	// SystemTokenFile, WorkerTokenFile and ClientTokenFile hold the tokens that an
	// Issuer keeps fresh.
	SystemTokenFile = "system-token.jwt"
	WorkerTokenFile = "worker-token.jwt"
	ClientTokenFile = "client-token.jwt"
)

// writeFile replaces a file in one step: readers see the old content or the
// new, and after a crash one of both is on disk.
func writeFile(path string, data []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	if closeErr := f.Close(); closeErr != nil {
		return closeErr
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename durable. Some file systems cannot sync a folder, and
// then there is nothing to do about it.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = d.Sync()
	return d.Close()
}

// checkPrivate refuses a secret file that others can read or write. The group
// may read: container platforms mount secrets that way.
func checkPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o027 != 0 {
		return fmt.Errorf("%s: mode %04o lets others in (chmod 600)", path, info.Mode().Perm())
	}
	return nil
}
