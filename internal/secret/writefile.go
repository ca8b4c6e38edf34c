package secret

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// TempPrefix begins the name of a file that is still being written, so that
// whoever lists a folder can pass it over. See Leftovers.
const TempPrefix = ".tmp-"

// privateMode is the mode of what nobody chose another for.
const privateMode fs.FileMode = 0o600

// FileContent is a file as WriteFiles shall leave it.
type FileContent struct {
	Path string
	Data []byte
	// Mode is set as it is, whatever the umask. Defaults to 0600.
	Mode fs.FileMode
}

// WriteFile replaces a file, whole or not at all, with mode 0600.
func WriteFile(path string, data []byte) error {
	return WriteFiles(FileContent{Path: path, Data: data})
}

// WriteFileMode is WriteFile for a file that others may read, such as a
// certificate.
func WriteFileMode(path string, data []byte, mode fs.FileMode) error {
	return WriteFiles(FileContent{Path: path, Data: data, Mode: mode})
}

// WriteFiles replaces files, each whole or not at all: readers see the old
// content or the new, and after a crash one of both is on disk. When it returns
// nil, the new one survives a loss of power.
//
// All contents are on disk before the first file is replaced, in the order
// given. Several renames are not one: a reader, or a crash, may meet the new
// first file beside the old second one. After an error, the files before the
// one it names may have been replaced.
func WriteFiles(files ...FileContent) (err error) {
	var staged []string
	defer func() { err = errors.Join(err, removeAll(staged)) }()
	for _, f := range files {
		temp, err := stage(f)
		if err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
		staged = append(staged, temp)
	}
	var dirs []string
	for _, f := range files {
		if err := os.Rename(staged[0], f.Path); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
		staged = staged[1:]
		if dir := filepath.Dir(f.Path); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range dirs {
		if err := SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// CreateFile makes a file with mode 0600, whole or not at all, and never
// replaces one: of several processes at once one wins, the others get an error
// that wraps fs.ErrExist and find the winner's content.
func CreateFile(path string, data []byte) (err error) {
	temp, err := stage(FileContent{Path: path, Data: data})
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, removeAll([]string{temp})) }()
	// Unlike a rename, a link never replaces.
	if err := os.Link(temp, path); err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// stage writes a file's content beside it, synced, under a temporary name.
func stage(f FileContent) (temp string, err error) {
	if f.Mode == 0 {
		f.Mode = privateMode
	}
	// Made with mode 0600; it opens up, if at all, when all is in it.
	tmp, err := os.CreateTemp(filepath.Dir(f.Path), TempPrefix+filepath.Base(f.Path)+"-*")
	if err != nil {
		return "", err
	}
	_, err = tmp.Write(f.Data)
	if err == nil {
		err = tmp.Chmod(f.Mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	// Closed before it is renamed: Windows renames no open file.
	if err = errors.Join(err, tmp.Close()); err != nil {
		return "", errors.Join(err, os.Remove(tmp.Name()))
	}
	return tmp.Name(), nil
}

// SyncDir makes what was created, renamed or removed in a folder durable. It
// does nothing where folders cannot be synced: on Windows, and on some network
// and shared file systems.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// Leftovers returns the temporary files that writing the files named in dir
// left when the process crashed, or is using just now. Those of other files are
// not among them, because several owners may share a folder.
func Leftovers(dir string, names ...string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var left []string
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), TempPrefix)
		end := strings.LastIndexByte(rest, '-')
		if ok && end >= 0 && slices.Contains(names, rest[:end]) {
			left = append(left, filepath.Join(dir, e.Name()))
		}
	}
	return left, nil
}

// RemoveLeftovers removes Leftovers, which may hold keys. The caller holds the
// lock under which these files are written; without it, it would take the file
// that another process is about to rename.
func RemoveLeftovers(dir string, names ...string) error {
	left, err := Leftovers(dir, names...)
	if err != nil {
		return err
	}
	return removeAll(left)
}

func removeAll(paths []string) error {
	var errs []error
	for _, p := range paths {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
