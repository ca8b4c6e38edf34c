package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/secret"
)

// Layout is the version of the data directory's layout that this Tenon writes.
// It grows when an older Tenon could no longer read what a newer one wrote.
const Layout = 1

// DataDir is the folder in which a Tenon keeps all its state.
type DataDir struct {
	path string
	// unlock is nil for a directory that another process keeps.
	unlock func() error
}

// stamp is the content of the version file.
type stamp struct {
	Layout int    `json:"layout"`
	Tenon  string `json:"tenon"`
}

// OpenDataDir creates the directory if it is absent, checks that this Tenon can
// use it, and locks it against a second one. Nothing is written to a directory
// that is refused.
func OpenDataDir(path, version string) (*DataDir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, &config.Error{Problem: "cannot create the data directory", Err: err, Hint: "name a writable one with --data-dir or TENON_DATA_DIR"}
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &config.Error{Problem: fmt.Sprintf("the data directory %s is not a directory", abs), Hint: "name another with --data-dir or TENON_DATA_DIR"}
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, &config.Error{
			Problem: fmt.Sprintf("the data directory %s has mode %04o: other users of this machine may read its keys", abs, mode),
			Hint:    "run: chmod 700 " + abs,
		}
	}
	d := &DataDir{path: abs}
	d.unlock, err = secret.TryLock(filepath.Join(abs, "lock"))
	if errors.Is(err, secret.ErrLocked) {
		return nil, &config.Error{Problem: fmt.Sprintf("another tenon runs on the data directory %s", abs), Hint: "stop it, or name another directory with --data-dir"}
	}
	if err != nil {
		return nil, &config.Error{Problem: "cannot write to the data directory", Err: err, Hint: "name a writable one with --data-dir or TENON_DATA_DIR"}
	}
	if err := d.stamp(version); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// stamp refuses a directory of a newer layout, and marks a new one.
func (d *DataDir) stamp(version string) error {
	path := d.File("version.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err := json.Marshal(stamp{Layout: Layout, Tenon: version})
		if err != nil {
			return err
		}
		if err := secret.WriteFile(path, append(data, '\n')); err != nil {
			return &config.Error{Problem: "cannot write to the data directory", Err: err, Hint: "name a writable one with --data-dir or TENON_DATA_DIR"}
		}
		return nil
	}
	if err != nil {
		return err
	}
	var s stamp
	if err := json.Unmarshal(data, &s); err != nil {
		return &config.Error{Problem: path + " is damaged", Err: err, Hint: "restore it from a backup of the data directory"}
	}
	if s.Layout > Layout {
		return &config.Error{
			Problem: fmt.Sprintf("the data directory %s was written by tenon %s, which is newer than this one", d.path, s.Tenon),
			Hint:    "run that version or a later one, or name another directory with --data-dir",
		}
	}
	return nil
}

// File returns the path of a file in the directory.
func (d *DataDir) File(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

// Close releases the lock.
func (d *DataDir) Close() error {
	if d.unlock == nil {
		return nil
	}
	return d.unlock()
}

// JoinDataDir opens a directory that another process keeps, without locking it.
func JoinDataDir(path string) (*DataDir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(abs, "version.json")); err != nil {
		return nil, &config.Error{Problem: fmt.Sprintf("%s is not a data directory of tenon", abs), Err: err, Hint: "name the cluster's data directory with --data-dir"}
	}
	return &DataDir{path: abs}, nil
}
