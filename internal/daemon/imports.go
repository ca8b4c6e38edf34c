package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/userfile"
)

// StageImport copies a file of users into the import folder of a data directory,
// and returns its name there: its SHA-256 and its kind. What becomes of the
// original while the import runs does then not matter. The header of a CSV is
// checked first.
func StageImport(ctx context.Context, dataDir, path string) (name string, err error) {
	format, err := userfile.FormatOf(path)
	if err != nil {
		return "", err
	}
	f, err := userfile.Open(path, format, "")
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	source, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = source.Close() }()
	dir := filepath.Join(dataDir, "imports")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	temp, err := os.CreateTemp(dir, ".staging-*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(temp, sum), &untilDone{ctx, source})
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return "", fmt.Errorf("copy %s: %w", path, err)
	}
	name = hex.EncodeToString(sum.Sum(nil)) + "." + string(format)
	if err := os.Rename(temp.Name(), filepath.Join(dir, name)); err != nil {
		return "", err
	}
	return name, secret.SyncDir(dir)
}

type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}
