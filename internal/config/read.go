package config

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/tenonhq/tenon/internal/secret"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// FileOptions says from where ReadFile takes the values.
type FileOptions struct {
	// Path of the file; "" is none, and environment and flags alone.
	Path string
	// Lookup reads the environment and .env. Nil finds nothing.
	Lookup func(name string) string
	// Flags are values from the command line by path, the last word: "cluster.address".
	Flags map[string]Flag
}

// Flag is a value from the command line.
type Flag struct {
	Name   string // --address
	Values []string
}

// ReadFile reads the configuration: default, then file, then environment, then
// flag. It reports all that is wrong at once, as Problems inside an *Error.
func ReadFile(opts FileOptions) (*File, error) {
	f := &File{path: opts.Path, origins: map[string]Origin{}}
	d := &decoder{file: opts.Path, origins: f.origins}
	if opts.Path != "" {
		text, err := readBounded(opts.Path)
		if err != nil {
			return nil, &Error{Problem: "configuration file", Err: err, Hint: "name a file that exists with --config or TENON_CONFIG"}
		}
		d.read(bytes.NewReader(text), f)
		dir := filepath.Dir(opts.Path)
		d.paths(reflect.ValueOf(f).Elem(), "", func(p string) string {
			if filepath.IsAbs(p) {
				return p
			}
			return filepath.Join(dir, p)
		})
	}
	if opts.Lookup != nil {
		d.environ(reflect.ValueOf(f).Elem(), "", opts.Lookup)
	}
	for path, flag := range opts.Flags {
		d.flag(reflect.ValueOf(f).Elem(), path, flag)
	}
	d.problems = append(d.problems, f.check()...)
	// As they stand in the file, those of other sources first.
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.origin.Line, b.origin.Line), cmp.Compare(a.origin.Column, b.origin.Column))
	})
	if len(d.problems) > 0 {
		hint := "correct the values that are named"
		if opts.Path != "" {
			hint = "correct " + opts.Path + ", then: tenon config check --config " + opts.Path
		}
		return nil, &Error{Problem: "the configuration cannot be used", Err: d.problems, Hint: hint}
	}
	return f, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes: more than %d", path, info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

// flag sets the value at a path.
func (d *decoder) flag(v reflect.Value, path string, flag Flag) {
	at := Origin{Name: flag.Name}
	for rest := path; ; {
		name, after, more := cut(rest)
		field, ok := fieldNamed(v.Type(), name)
		if !ok {
			d.problem(at, path, "is no setting")
			return
		}
		v = v.FieldByIndex(field.Index)
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		if !more {
			break
		}
		rest = after
	}
	if v.Kind() == reflect.Slice {
		v.Set(reflect.ValueOf(flag.Values))
		d.origins[path] = at
		return
	}
	for _, text := range flag.Values {
		d.scalar(text, v, path, at)
	}
}

func cut(path string) (name, rest string, more bool) {
	for i := range len(path) {
		if path[i] == '.' {
			return path[:i], path[i+1:], true
		}
	}
	return path, "", false
}

// YAML is the configuration as it is in force, in the form of the file. It
// holds references to secrets, never secrets, and can be shown to anyone who
// may know the cluster's addresses.
func (f *File) YAML() ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(f), enc.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Tree is the same as YAML, as maps and lists for other encodings.
func (f *File) Tree() (map[string]any, error) {
	text, err := f.YAML()
	if err != nil {
		return nil, err
	}
	tree := map[string]any{}
	return tree, yaml.Unmarshal(text, &tree)
}

// Secret resolves a reference of the configuration. "file:" is a path, absolute
// or relative to the configuration file; the zero reference is the zero value.
func (f *File) Secret(ctx context.Context, ref secret.Ref, stores secret.Stores) (secret.Value, error) {
	if ref == "" {
		return secret.Value{}, nil
	}
	if ref.Store() == "file" {
		path := ref.Name()
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(f.path), path)
		}
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o037 != 0 {
			return secret.Value{}, &Error{Problem: fmt.Sprintf("%s has mode %04o: other users of this machine may read the secret", path, info.Mode().Perm()), Hint: "run: chmod 600 " + path}
		}
		v, err := secret.Files{Dir: filepath.Dir(path)}.Get(ctx, filepath.Base(path))
		if err != nil {
			return v, fmt.Errorf("secret %q: %w", ref, err)
		}
		return v, nil
	}
	return stores.Get(ctx, ref)
}

// absent reports a path that does not exist.
func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
