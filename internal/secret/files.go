package secret

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Files keeps one secret in each file of a folder, the way Kubernetes and
// Docker mount them. One newline at the end of a file is not part of the
// secret.
type Files struct {
	// Dir is the folder. Names cannot lead out of it.
	Dir string
}

// Get implements Store.
func (f Files) Get(_ context.Context, name string) (Value, error) {
	path, err := f.path(name)
	if err != nil {
		return Value{}, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Value{}, fmt.Errorf("file %s: %w", path, ErrNotFound)
	}
	if err != nil {
		return Value{}, err
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return Value{}, fmt.Errorf("file %s is empty: %w", path, ErrNotFound)
	}
	return New(text), nil
}

// Put implements Store.
func (f Files) Put(_ context.Context, name string, v Value) error {
	path, err := f.path(name)
	if err != nil {
		return err
	}
	return WriteFile(path, []byte(v.Reveal()))
}

// Delete implements Store.
func (f Files) Delete(_ context.Context, name string) error {
	path, err := f.path(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f Files) path(name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("secret file name %q leads out of its folder", name)
	}
	return filepath.Join(f.Dir, name), nil
}
