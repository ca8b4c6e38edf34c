//go:build !unix

package token

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// lock takes the folder's lock: a file that exists while it is held. One left
// behind by a crash is taken over after ten seconds, longer than any holder needs.
func lock(path string) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err == nil {
			f.Close()
			return func() { os.Remove(path) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > 10*time.Second {
			os.Remove(path)
			continue
		}
		time.Sleep(20 * time.Millisecond)
	}
}
