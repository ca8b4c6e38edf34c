package token

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// KeySource is where an issuer's public keys come from. An Issuer is one, and
// so are the results of OpenURL and OpenFile.
type KeySource interface {
	// Keys returns the current key set.
	Keys(ctx context.Context) (*KeySet, error)
	// Intervals says how often to ask unprompted, and how often at most when a
	// token names an unknown key.
	Intervals() (refresh, unknownKey time.Duration)
	// String names the source in logs; it holds no secret.
	String() string
}

// URLConfig configures a key set that is read over https.
type URLConfig struct {
	// URL of the JWK set. https is required.
	URL string
	// RootCAs are trusted to have signed the server's certificate. Defaults to
	// the system's.
	RootCAs *x509.CertPool
	// Timeout of one fetch. Defaults to 5 s.
	Timeout time.Duration
	// MaxBytes bounds the answer. Defaults to 256 KiB.
	MaxBytes int64
	// Refresh is how often the set is fetched unprompted. Defaults to 15 min.
	Refresh time.Duration
	// UnknownKey is how often at most a token with an unknown key id causes a
	// fetch, so that such tokens cannot be used to flood the provider. Defaults
	// to 10 s.
	UnknownKey time.Duration
}

type urlSource struct {
	cfg    URLConfig
	shown  string
	client *http.Client
}

// OpenURL returns the key set at an https URL. Nothing is fetched yet.
func OpenURL(cfg URLConfig) (KeySource, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, errors.New("key source is no URL")
	}
	// Over plain http whoever sits on the path chooses the keys.
	if u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("key source %q: must be an https URL", u.Redacted())
	}
	if u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("key source %q: must have neither user nor fragment", u.Redacted())
	}
	cfg.Timeout = or(cfg.Timeout, 5*time.Second)
	cfg.MaxBytes = or(cfg.MaxBytes, 256<<10)
	cfg.Refresh = or(cfg.Refresh, 15*time.Minute)
	cfg.UnknownKey = or(cfg.UnknownKey, 10*time.Second)
	return &urlSource{cfg: cfg, shown: u.Scheme + "://" + u.Host + u.Path, client: &http.Client{
		Timeout: cfg.Timeout,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    cfg.Timeout,
			ResponseHeaderTimeout:  cfg.Timeout,
			MaxResponseHeaderBytes: 64 << 10,
			IdleConnTimeout:        30 * time.Second,
			ForceAttemptHTTP2:      true,
		},
		// A redirect could lead to http, or into the cluster's own network.
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("redirects are not followed")
		},
	}}, nil
}

func (s *urlSource) String() string { return s.shown }

func (s *urlSource) Intervals() (refresh, unknownKey time.Duration) {
	return s.cfg.Refresh, s.cfg.UnknownKey
}

func (s *urlSource) Keys(ctx context.Context) (*KeySet, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.cfg.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("key set %s: %w", s.shown, err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("key set %s: %w", s.shown, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("key set %s: status %d", s.shown, resp.StatusCode)
	}
	if mt, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil && mt == "text/html" {
		return nil, fmt.Errorf("key set %s: answer is a web page", s.shown)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, s.cfg.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("key set %s: %w", s.shown, err)
	}
	if int64(len(data)) > s.cfg.MaxBytes {
		return nil, fmt.Errorf("key set %s: answer is larger than %d bytes", s.shown, s.cfg.MaxBytes)
	}
	set, err := ParseKeySet(data)
	if err != nil {
		return nil, fmt.Errorf("key set %s: %w", s.shown, err)
	}
	return set, nil
}

type fileSource struct{ path string }

// OpenFile returns the key set in a file: a JWK set, or PEM. The file is read
// again every 2 s, and when a token names an unknown key.
func OpenFile(path string) (KeySource, error) {
	if path == "" {
		return nil, errors.New("key source has no path")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("key source %q: %w", path, err)
	}
	return &fileSource{abs}, nil
}

func (s *fileSource) String() string { return "file://" + s.path }

func (s *fileSource) Intervals() (refresh, unknownKey time.Duration) {
	return 2 * time.Second, 500 * time.Millisecond
}

func (s *fileSource) Keys(context.Context) (*KeySet, error) {
	data, err := readBounded(s.path, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	set, err := ParseKeySet(data)
	if err != nil {
		return nil, fmt.Errorf("key set %s: %w", s.path, err)
	}
	return set, nil
}

// OpenSource opens "https://…" or "file:///…" or a path.
func OpenSource(location string, roots *x509.CertPool) (KeySource, error) {
	if path, ok := strings.CutPrefix(location, "file://"); ok {
		return OpenFile(path)
	}
	if strings.Contains(location, "://") {
		return OpenURL(URLConfig{URL: location, RootCAs: roots})
	}
	return OpenFile(location)
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, nil
}

// or returns v, or the default if v is not positive.
func or[T ~int | ~int64](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
