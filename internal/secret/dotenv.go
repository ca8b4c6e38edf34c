package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// Dotenv keeps secrets in files of KEY=VALUE lines, for development: it reads
// the user's own .env first, and writes what Tenon generates to a file of the
// data directory. Several processes may share the written file.
type Dotenv struct {
	// Read lists files that are read first and never written. A file that does
	// not exist is skipped.
	Read []string
	// Write is the file that Put and Delete change, mode 0600. It is read last.
	Write string
}

var dotenvKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Get implements Store.
func (d Dotenv) Get(_ context.Context, name string) (Value, error) {
	for _, path := range append(append([]string{}, d.Read...), d.Write) {
		values, err := ReadDotenv(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Value{}, err
		}
		if v := values[name]; !v.IsZero() {
			return v, nil
		}
	}
	return Value{}, fmt.Errorf("key %s: %w", name, ErrNotFound)
}

// Put implements Store.
func (d Dotenv) Put(ctx context.Context, name string, v Value) error {
	if !dotenvKey.MatchString(name) {
		return fmt.Errorf("key %q is not of the form [A-Za-z_][A-Za-z0-9_]*", name)
	}
	return d.change(ctx, func(lines []string) []string {
		line := name + "=" + QuoteDotenv(v)
		for i, l := range lines {
			if keyOf(l) == name {
				lines[i] = line
				return lines
			}
		}
		return append(lines, line)
	})
}

// Delete implements Store.
func (d Dotenv) Delete(ctx context.Context, name string) error {
	return d.change(ctx, func(lines []string) []string {
		kept := lines[:0]
		for _, l := range lines {
			if keyOf(l) != name {
				kept = append(kept, l)
			}
		}
		return kept
	})
}

// change rewrites the file under a lock that other processes honour too.
func (d Dotenv) change(ctx context.Context, edit func(lines []string) []string) (err error) {
	if d.Write == "" {
		return ErrReadOnly
	}
	unlock, err := Lock(ctx, d.Write+".lock")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	data, err := os.ReadFile(d.Write)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		if _, err := ReadDotenv(d.Write); err != nil {
			return err // never rewrite what we cannot read
		}
	}
	var lines []string
	if text := strings.TrimSuffix(string(data), "\n"); text != "" {
		lines = strings.Split(text, "\n")
	}
	out := strings.Join(edit(lines), "\n")
	if out != "" {
		out += "\n"
	}
	return WriteFile(d.Write, []byte(out))
}

func keyOf(line string) string {
	k, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
	return strings.TrimSpace(k)
}

// ReadDotenv reads a file of KEY=VALUE lines. It refuses a file that others on
// the machine may read, and a malformed line with its number; the value is
// never part of an error.
func ReadDotenv(path string) (map[string]Value, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, &PermissionError{Path: path, Mode: mode}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	values, err := ParseDotenv(data)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return values, nil
}

// PermissionError says that a file of secrets can be read by other users.
type PermissionError struct {
	Path string
	Mode fs.FileMode
}

// Error implements error.
func (e *PermissionError) Error() string {
	return fmt.Sprintf("%s has mode %04o: other users of this machine may read its secrets", e.Path, e.Mode)
}

// ParseDotenv parses KEY=VALUE lines. Blank lines and lines that begin with #
// are skipped, a leading "export " is allowed. A value in single quotes is
// literal; in double quotes \n, \r, \t, \", \$ and \\ are escapes; without
// quotes it ends at " #". Nothing is expanded: a generated password that holds
// a $ is the password that was generated. A key given twice is an error.
func ParseDotenv(data []byte) (map[string]Value, error) {
	values := map[string]Value{}
	for i, line := range bytes.Split(data, []byte("\n")) {
		text := strings.TrimSpace(string(line))
		if i == 0 {
			text = strings.TrimPrefix(text, "\ufeff")
		}
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		key, raw, ok := strings.Cut(strings.TrimPrefix(text, "export "), "=")
		key = strings.TrimSpace(key)
		if !ok {
			return nil, fmt.Errorf("%d: not of the form KEY=VALUE", i+1)
		}
		if !dotenvKey.MatchString(key) {
			return nil, fmt.Errorf("%d: the key is not of the form [A-Za-z_][A-Za-z0-9_]*", i+1)
		}
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("%d: %s is set a second time", i+1, key)
		}
		value, err := unquoteDotenv(strings.TrimSpace(raw))
		if err != nil {
			return nil, fmt.Errorf("%d: %s: %w", i+1, key, err)
		}
		values[key] = New(value)
	}
	return values, nil
}

func unquoteDotenv(raw string) (string, error) {
	if raw == "" || (raw[0] != '\'' && raw[0] != '"') {
		if i := strings.Index(raw, " #"); i >= 0 {
			raw = strings.TrimSpace(raw[:i])
		}
		if strings.HasPrefix(raw, "#") {
			raw = ""
		}
		return raw, nil
	}
	quote := raw[0]
	var b strings.Builder
	for i := 1; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == quote:
			if rest := strings.TrimSpace(raw[i+1:]); rest != "" && !strings.HasPrefix(rest, "#") {
				return "", errors.New("text after the closing quote")
			}
			return b.String(), nil
		case c == '\\' && quote == '"':
			i++
			if i == len(raw) {
				return "", errors.New("no closing quote")
			}
			switch raw[i] {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			case '"', '\\', '$':
				b.WriteByte(raw[i])
			default:
				return "", fmt.Errorf(`unknown escape \%c`, raw[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("no closing quote")
}

// QuoteDotenv writes a value so that ParseDotenv, docker compose and a POSIX
// shell read the same text back.
func QuoteDotenv(v Value) string {
	text := v.Reveal()
	if !strings.ContainsAny(text, "'\n\r") {
		return "'" + text + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "\n", `\n`, "\r", `\r`).Replace(text) + `"`
}
