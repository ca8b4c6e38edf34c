package token

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// Source is a caller's own token, read from a file that someone else renews.
// It is safe for concurrent use.
type Source struct {
	path string

	mu      sync.Mutex
	checked time.Time
	info    os.FileInfo
	token   secret.Value
}

// recheck is how often the file is looked at, at most. Callers ask once for
// each request.
const recheck = time.Second

// FileSource returns the token in the file at path. The file is read again
// when it changes; while it cannot be read the last token is used, which
// expires by itself.
func FileSource(path string) *Source { return &Source{path: path} }

// Token returns the current token.
func (s *Source) Token() (secret.Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if since := now.Sub(s.checked); !s.token.IsZero() && since >= 0 && since < recheck {
		return s.token, nil
	}
	if err := s.read(); err != nil {
		if s.token.IsZero() {
			return secret.Value{}, err
		}
	}
	s.checked = now
	return s.token, nil
}

func (s *Source) read() error {
	info, err := os.Stat(s.path)
	if err != nil {
		return fmt.Errorf("token file: %w", err)
	}
	if sameFile(s.info, info) {
		return nil
	}
	data, err := readBounded(s.path, DefaultMaxSize+64)
	if err != nil {
		return fmt.Errorf("token file: %w", err)
	}
	t := strings.TrimSpace(string(data))
	if t == "" {
		return fmt.Errorf("token file %s is empty", s.path)
	}
	if strings.ContainsAny(t, " \t\r\n") {
		return errors.New("token file " + s.path + " holds more than one token")
	}
	s.info, s.token = info, secret.New(t)
	return nil
}

// GetHeaders returns the token as the header that Temporal expects. It makes a
// Source a HeadersProvider of the Temporal SDK.
func (s *Source) GetHeaders(context.Context) (map[string]string, error) {
	t, err := s.Token()
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + t.Reveal()}, nil
}

// sameFile reports whether two looks at a path saw the same content. A file
// replaced by rename is another file even within one tick of the clock.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
