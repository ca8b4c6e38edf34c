//go:build !unix

package audit

import (
	"fmt"
	"os"
	"path/filepath"
)

// lockDir takes the log for this process: two writers would fork the chain. An
// open file cannot be removed here, so a lock that can be was left by a crash.
func lockDir(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, ".lock")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("%s is being written by another process", dir)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return func() { f.Close(); os.Remove(path) }, nil
}

// syncDir does nothing: folders cannot be synced here.
func syncDir(string) error { return nil }
