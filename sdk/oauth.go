package sdk

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/tenonhq/tenon/internal/secret"
)

// ClientCredentialsConfig says how a service gets its own tokens from an OAuth
// 2.0 authorization server (RFC 6749 section 4.4): Auth0, Entra ID, or another
// one whose tokens the cluster trusts.
type ClientCredentialsConfig struct {
	// TokenURL is the server's token endpoint, https. Required.
	TokenURL string
	// ClientID of the service. Required.
	ClientID string
	// ClientSecretFile holds the client secret. It is read for every token, so
	// that a rotated secret needs no restart, and must not be readable by others.
	// Required.
	ClientSecretFile string
	// Audience is the identifier of the cluster's API. Auth0 requires it; others
	// use Scopes instead.
	Audience string
	// Scopes to ask for. Defaults to none.
	Scopes []string
	// CAFile holds the certificates to trust, PEM. Defaults to the system's.
	CAFile string
	// Timeout of one request. Defaults to 10 s.
	Timeout time.Duration
	// Now tells the time. Defaults to time.Now.
	Now func() time.Time
}

const (
	// renewEarly is how long before its end a token is replaced, if it lives
	// longer than three times that; else a third of its life before.
	renewEarly = 5 * time.Minute
	// renewPause is the least time between two attempts, so that an outage of the
	// server is not made worse.
	renewPause = 5 * time.Second
	// unknownLife is how long a token serves whose server does not say.
	unknownLife = time.Minute
)

// ClientCredentials returns a source of tokens that it fetches, keeps, and
// replaces well before they expire. One goroutine fetches while the others go on
// with the token at hand; if the server is away, they do so until it expires.
func ClientCredentials(cfg ClientCredentialsConfig) (TokenSource, error) {
	u, err := url.Parse(cfg.TokenURL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("token url %q: want https://host/path", cfg.TokenURL)
	}
	if cfg.ClientID == "" || cfg.ClientSecretFile == "" {
		return nil, errors.New("client credentials: ClientID and ClientSecretFile are required")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("client credentials: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("client credentials: %s holds no certificate", cfg.CAFile)
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	s := &fetched{cfg: cfg, http: &http.Client{
		Transport: transport, Timeout: cfg.Timeout,
		// A redirect would carry the secret to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, turn: make(chan struct{}, 1)}
	if _, err := s.secret(); err != nil {
		return nil, fmt.Errorf("client credentials: %w", err)
	}
	return s, nil
}

// fetched is a token that is fetched when the one at hand nears its end.
type fetched struct {
	cfg  ClientCredentialsConfig
	http *http.Client
	turn chan struct{} // holds one element while a goroutine fetches

	mu      sync.Mutex
	token   secret.Value
	renew   time.Time // from when on the token is replaced
	expires time.Time
	failed  error     // why the last attempt failed; nil if it did not
	again   time.Time // before which it is not repeated
}

// Token implements TokenSource.
func (s *fetched) Token(ctx context.Context) (string, error) {
	raw, usable, fresh := s.at(s.cfg.Now())
	if fresh {
		return raw, nil
	}
	if err := s.pausing(s.cfg.Now()); err != nil {
		if usable {
			return raw, nil
		}
		return "", err
	}
	select {
	case s.turn <- struct{}{}:
	default:
		if usable {
			return raw, nil // another goroutine is fetching
		}
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	defer func() { <-s.turn }()
	err := s.pausing(s.cfg.Now()) // what another goroutine found while we waited
	if _, _, fresh = s.at(s.cfg.Now()); !fresh && err == nil {
		err = s.fetch(ctx)
	}
	if raw, usable, _ = s.at(s.cfg.Now()); usable {
		return raw, nil
	}
	if err == nil {
		err = errors.New("the token that came has expired already")
	}
	return "", err
}

// pausing returns the last attempt's error while it is too early for the next.
func (s *fetched) pausing(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil && now.Before(s.again) {
		return s.failed
	}
	return nil
}

// at returns the token at hand, whether it can be presented, and whether it need
// not be replaced yet.
func (s *fetched) at(now time.Time) (raw string, usable, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	usable = !s.token.IsZero() && now.Before(s.expires)
	return s.token.Reveal(), usable, usable && now.Before(s.renew)
}

// fetch replaces the token. The token at hand stays if that fails.
func (s *fetched) fetch(ctx context.Context) error {
	t, err := s.request(ctx)
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed, s.again = fmt.Errorf("fetch a token from %s: %w", s.cfg.TokenURL, err), now.Add(renewPause)
		return s.failed
	}
	s.failed = nil
	life := unknownLife
	if !t.Expiry.IsZero() {
		life = time.Until(t.Expiry)
	}
	s.token = secret.New(t.AccessToken)
	s.expires = now.Add(life)
	s.renew = s.expires.Add(-min(renewEarly, life/3))
	return nil
}

func (s *fetched) request(ctx context.Context) (*oauth2.Token, error) {
	clientSecret, err := s.secret()
	if err != nil {
		return nil, err
	}
	// The call that needs the token may be cancelled; the token is for all.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
	defer cancel()
	c := clientcredentials.Config{
		ClientID: s.cfg.ClientID, ClientSecret: clientSecret.Reveal(), TokenURL: s.cfg.TokenURL, Scopes: s.cfg.Scopes,
		AuthStyle: oauth2.AuthStyleInParams, // what Auth0 and Entra ID accept without further settings
	}
	if s.cfg.Audience != "" {
		c.EndpointParams = url.Values{"audience": {s.cfg.Audience}}
	}
	t, err := c.Token(context.WithValue(ctx, oauth2.HTTPClient, s.http))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode != "":
		// The body as a whole may quote what was sent.
		return nil, fmt.Errorf("refused: %.80q", refused.ErrorCode)
	case errors.As(err, &refused):
		return nil, fmt.Errorf("refused: %s", refused.Response.Status)
	case err != nil:
		return nil, err
	}
	return t, nil
}

func (s *fetched) secret() (secret.Value, error) {
	info, err := os.Stat(s.cfg.ClientSecretFile)
	if err != nil {
		return secret.Value{}, err
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o037 != 0 {
		return secret.Value{}, fmt.Errorf("%s has mode %04o: others may read or change the secret (chmod 600)", s.cfg.ClientSecretFile, mode)
	}
	data, err := os.ReadFile(s.cfg.ClientSecretFile)
	if err != nil {
		return secret.Value{}, err
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return secret.Value{}, fmt.Errorf("%s is empty", s.cfg.ClientSecretFile)
	}
	return secret.New(text), nil
}
