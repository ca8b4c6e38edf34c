package codec

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// Key is a payload key.
type Key struct {
	// ID names the key in every payload that it encrypts: 1 to 64 letters,
	// digits and - _ . Never reuse one.
	ID string
	// Created is for people; it has no effect.
	Created time.Time
	// Material are the 32 bytes themselves, as a string of bytes.
	Material secret.Value
}

// NewKey makes a key.
func NewKey(random io.Reader, now time.Time) (Key, error) {
	var b [keySize + 4]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return Key{}, fmt.Errorf("make payload key: %w", err)
	}
	now = now.UTC().Truncate(time.Second)
	return Key{
		ID:       now.Format("20060102") + "-" + hex.EncodeToString(b[keySize:]),
		Created:  now,
		Material: secret.New(string(b[:keySize])),
	}, nil
}

func (k Key) check() error {
	if k.ID == "" || len(k.ID) > 64 {
		return fmt.Errorf("key id has %d characters: must have 1 to 64", len(k.ID))
	}
	for _, r := range k.ID {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.' {
			return errors.New("key id holds a character other than letters, digits, hyphen, underscore and dot")
		}
	}
	if n := len(k.Material.Reveal()); n != keySize {
		return fmt.Errorf("key %q has %d bytes, not %d", k.ID, n, keySize)
	}
	return nil
}

const (
	keyFileHeader = "tenon-payload-keys 1"
	keyFileNote   = `# The first key encrypts, all decrypt. Whoever has this file reads every
# workflow's inputs and results; whoever loses it never reads them again.
# A key may be removed when no history that it encrypted is kept any more.
`
	maxKeyFile = 1 << 20
)

// ParseKeys reads the text of a key file: a header line with the version of
// the format, then one key a line (id, base64 of 32 bytes, time of creation).
// Empty lines and lines that begin with # are comments. Errors name lines and
// never quote them.
func ParseKeys(text []byte) ([]Key, error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	n := 0
	header := false
	seen := map[string]bool{}
	var keys []Key
	for lines.Scan() {
		n++
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !header {
			if line != keyFileHeader {
				return nil, fmt.Errorf("line %d: not a payload key file of version 1 (must begin with %q)", n, keyFileHeader)
			}
			header = true
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %d: %d fields, not 3 (id, key, time)", n, len(fields))
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(fields[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: key is not base64", n)
		}
		created, err := time.Parse(time.RFC3339, fields[2])
		if year := created.UTC().Year(); err != nil || year < 1 || year > 9999 {
			return nil, fmt.Errorf("line %d: time is not RFC 3339", n)
		}
		k := Key{ID: fields[0], Created: created.UTC().Truncate(time.Second), Material: secret.New(string(raw))}
		if err := k.check(); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if seen[k.ID] {
			return nil, fmt.Errorf("line %d: key id %q is given twice", n, k.ID)
		}
		seen[k.ID] = true
		keys = append(keys, k)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	if len(keys) == 0 {
		return nil, errors.New("no key")
	}
	return keys, nil
}

func formatKeys(keys []Key) []byte {
	var out bytes.Buffer
	out.WriteString(keyFileHeader + "\n" + keyFileNote)
	for _, k := range keys {
		fmt.Fprintf(&out, "%s %s %s\n", k.ID, base64.StdEncoding.EncodeToString([]byte(k.Material.Reveal())), k.Created.UTC().Format(time.RFC3339))
	}
	return out.Bytes()
}

// LoadKeyFile reads a key file. One that others may read is refused, because
// the keys in it must be assumed to be known.
func LoadKeyFile(path string) ([]Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("payload keys: %w", err)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o037 != 0 {
		return nil, fmt.Errorf("payload keys: %s has mode %04o: others may read or change the keys (chmod 600)", path, mode)
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("payload keys: %s has %d bytes: at most %d", path, info.Size(), maxKeyFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("payload keys: %w", err)
	}
	keys, err := ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("payload keys: %s: %w", path, err)
	}
	return keys, nil
}

// LoadOrCreateKeyFile reads a key file, or makes one with a single new key and
// mode 0600 if there is none. Several processes may call it at once; they get
// the same keys.
func LoadOrCreateKeyFile(path string) ([]Key, error) {
	keys, err := LoadKeyFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	k, err := NewKey(rand.Reader, time.Now())
	if err != nil {
		return nil, err
	}
	// Never replaced: of two first starts one wins, and no payload is encrypted
	// with a key that then disappears.
	if err := secret.CreateFile(path, formatKeys([]Key{k})); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("payload keys: %w", err)
	}
	return LoadKeyFile(path)
}

// AddKey puts a new key into a key file, and returns all. With first, the new
// key encrypts from now on; without, it only decrypts until PromoteKey, which
// is the way where the file is carried to several hosts: first everyone learns
// the key, then someone uses it.
func AddKey(ctx context.Context, path string, first bool) ([]Key, error) {
	return changeKeys(ctx, path, func(keys []Key) ([]Key, error) {
		k, err := NewKey(rand.Reader, time.Now())
		if err != nil {
			return nil, err
		}
		if first {
			return append([]Key{k}, keys...), nil
		}
		return append(keys, k), nil
	})
}

// PromoteKey makes a key of a key file the one that encrypts.
func PromoteKey(ctx context.Context, path, id string) ([]Key, error) {
	return changeKeys(ctx, path, func(keys []Key) ([]Key, error) {
		for i, k := range keys {
			if k.ID == id {
				rest := append(keys[:i:i], keys[i+1:]...)
				return append([]Key{k}, rest...), nil
			}
		}
		return nil, fmt.Errorf("payload keys: %s has no key %.70q", path, id)
	})
}

// changeKeys rewrites a key file under a lock: of two changes at once neither
// may be lost, because a lost key is lost data.
func changeKeys(ctx context.Context, path string, change func([]Key) ([]Key, error)) (keys []Key, err error) {
	unlock, err := secret.Lock(ctx, path+".lock")
	if err != nil {
		return nil, fmt.Errorf("payload keys: %w", err)
	}
	defer func() {
		if uerr := unlock(); uerr != nil {
			err = errors.Join(err, fmt.Errorf("payload keys: unlock: %w", uerr))
		}
	}()
	if keys, err = LoadKeyFile(path); err != nil {
		return nil, err
	}
	if keys, err = change(keys); err != nil {
		return nil, err
	}
	if err := secret.WriteFile(path, formatKeys(keys)); err != nil {
		return nil, fmt.Errorf("payload keys: %w", err)
	}
	return keys, nil
}
