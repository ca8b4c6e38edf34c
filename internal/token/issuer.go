package token

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/tenonhq/tenon/internal/secret"
)

// IssuerConfig configures an Issuer.
type IssuerConfig struct {
	// Dir holds the issuer's keys and tokens. Required. Init creates it, 0700.
	Dir string
	// Issuer is the "iss" of its tokens. Defaults to "tenon".
	Issuer string
	// Audience is the "aud" of its tokens. Defaults to "temporal".
	Audience string
	// MaxTTL is the longest life of a token. Defaults to 90 days; at most 365.
	MaxTTL time.Duration
	// TokenTTL is the life of the three tokens in Dir. They are renewed after two
	// thirds of it. Defaults to 24 h.
	TokenTTL time.Duration
	// WatchInterval is how often Run looks for changes that another process made
	// to keys and revocations. Defaults to 1 s; at most 5 s.
	WatchInterval time.Duration
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Rand is the source of token ids and keys. Defaults to crypto/rand.
	Rand io.Reader
	// Logger. Defaults to discarding.
	Logger *slog.Logger
}

// Issuer is the local authority for tokens. It is safe for concurrent use, and
// several processes may use one folder.
type Issuer struct {
	cfg         IssuerConfig
	revocations *RevocationFile
	turn        chan struct{} // holds one token: the right to take the folder's lock within this process

	mu     sync.Mutex
	signer *signer
	set    *KeySet
	infos  map[string]os.FileInfo // the key files as last read
}

// OpenIssuer opens the issuer in a folder. It reads what is there and creates
// nothing: Init does.
func OpenIssuer(cfg IssuerConfig) (*Issuer, error) {
	if cfg.Dir == "" {
		return nil, errors.New("token issuer: folder is required")
	}
	if cfg.Issuer == "" {
		cfg.Issuer = "tenon"
	}
	if cfg.Audience == "" {
		cfg.Audience = "temporal"
	}
	if cfg.MaxTTL = or(cfg.MaxTTL, DefaultMaxLifetime); cfg.MaxTTL > 365*24*time.Hour {
		return nil, fmt.Errorf("token issuer: longest life %s is more than a year", cfg.MaxTTL)
	}
	cfg.TokenTTL = min(or(cfg.TokenTTL, 24*time.Hour), cfg.MaxTTL)
	cfg.WatchInterval = or(cfg.WatchInterval, time.Second)
	if cfg.WatchInterval > 5*time.Second {
		return nil, fmt.Errorf("token issuer: watch interval %s is more than 5 s", cfg.WatchInterval)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	revocations, err := OpenRevocations(filepath.Join(cfg.Dir, revocationsFile))
	if err != nil {
		return nil, fmt.Errorf("token issuer: %w", err)
	}
	i := &Issuer{cfg: cfg, revocations: revocations, turn: make(chan struct{}, 1), infos: map[string]os.FileInfo{}}
	if err := i.reloadKeys(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("token issuer: %w", err)
	}
	return i, nil
}

// Trust is what a Verifier needs to accept this issuer's tokens.
func (i *Issuer) Trust() IssuerTrust {
	return IssuerTrust{
		Issuer: i.cfg.Issuer, Audience: []string{i.cfg.Audience}, Keys: i,
		Algorithms: []string{"RS256", "ES256", "ES384", "ES512", "EdDSA"},
		RequireID:  true, RequireType: true,
		// Leeway for the second that a token issued after a revocation may be dated ahead.
		MaxLifetime: i.cfg.MaxTTL + time.Second,
	}
}

// Revocations are this issuer's, for the Verifier.
func (i *Issuer) Revocations() *RevocationFile { return i.revocations }

// Init makes the folder complete: a signing key (RS256, 2048 bits) if there is
// none, the key set, and the three tokens where they are missing, refused or
// near their end. It may be called at every start.
func (i *Issuer) Init(ctx context.Context) error {
	if err := os.MkdirAll(i.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("token issuer: %w", err)
	}
	if err := i.locked(ctx, func() error {
		// What a crash left half-written of the files that this lock guards.
		if err := secret.RemoveLeftovers(i.cfg.Dir, privateKeyFile, publicKeyFile, keySetFile, ledgerFile); err != nil {
			return err
		}
		return i.ensureKeys(false)
	}); err != nil {
		return fmt.Errorf("token issuer: %w", err)
	}
	if err := i.renewTokens(ctx); err != nil {
		return fmt.Errorf("token issuer: %w", err)
	}
	return nil
}

// Run keeps the three tokens fresh and follows changes of keys and revocations
// until ctx ends. It returns nil then.
func (i *Issuer) Run(ctx context.Context) error {
	ticker := time.NewTicker(i.cfg.WatchInterval)
	defer ticker.Stop()
	nextRenewal := i.cfg.Now()
	var last string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := errors.Join(i.reloadKeys(), i.revocations.Reload())
		if now := i.cfg.Now(); !now.Before(nextRenewal) {
			err = errors.Join(err, i.renewTokens(ctx))
			// The tokens are also looked at soon after a rotation or a revocation.
			nextRenewal = now.Add(min(i.cfg.TokenTTL/20, 10*time.Second))
		}
		if ctx.Err() != nil {
			return nil // what ended with it is no failure
		}
		last = i.logOnce(last, err)
	}
}

// logOnce logs an error when it first appears, not at every look.
func (i *Issuer) logOnce(last string, err error) string {
	switch {
	case err == nil && last != "":
		i.cfg.Logger.Info("token issuer has recovered")
		return ""
	case err == nil:
		return ""
	case err.Error() != last:
		i.cfg.Logger.Error("token issuer cannot refresh its files", "error", err)
	}
	return err.Error()
}

// locked keeps a command that rotates or issues and a running server from
// overwriting each other. Goroutines queue for the turn, so that a busy process
// does not wait for a lock that it holds itself.
func (i *Issuer) locked(ctx context.Context, do func() error) (err error) {
	select {
	case i.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-i.turn }()
	unlock, err := secret.Lock(ctx, i.path(lockFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return do()
}

func (i *Issuer) path(name string) string { return filepath.Join(i.cfg.Dir, name) }

// IssueRequest describes a token.
type IssueRequest struct {
	// Subject is who the token is for. Required.
	Subject string
	// Role in Namespace. Both or neither. Namespace ClusterWide is every one.
	Role      Role
	Namespace string
	// Scope is written as it is: words divided by spaces.
	Scope string
	// Permissions besides that of Role and Namespace.
	Permissions []Permission
	// TTL is the token's life. Defaults to IssuerConfig.TokenTTL; at most MaxTTL.
	TTL time.Duration
	// CertificateHash binds the token to a client certificate: its SHA-256,
	// base64url (RFC 8705). Defaults to none.
	CertificateHash string
}

func (r *IssueRequest) permissions() ([]string, error) {
	list := slices.Clone(r.Permissions)
	if r.Role != "" || r.Namespace != "" {
		if r.Role == "" || r.Namespace == "" {
			return nil, errors.New("a role needs a namespace, and a namespace a role")
		}
		list = append(list, Permission{r.Namespace, r.Role})
	}
	texts := make([]string, 0, len(list))
	for _, p := range list {
		parsed, err := ParsePermission(p.String())
		if err != nil {
			return nil, err
		}
		if t := parsed.String(); !slices.Contains(texts, t) {
			texts = append(texts, t)
		}
	}
	if len(texts) == 0 && strings.TrimSpace(r.Scope) == "" {
		return nil, errors.New("a token needs a role, a permission or a scope")
	}
	return texts, nil
}

// Issue signs a token.
func (i *Issuer) Issue(ctx context.Context, req IssueRequest) (secret.Value, *Claims, error) {
	ttl := or(req.TTL, i.cfg.TokenTTL)
	if req.TTL < 0 || ttl < time.Second {
		return secret.Value{}, nil, fmt.Errorf("issue token: lifetime %s is less than 1 s", req.TTL)
	}
	if ttl > i.cfg.MaxTTL {
		return secret.Value{}, nil, fmt.Errorf("issue token: lifetime %s is more than %s", ttl, i.cfg.MaxTTL)
	}
	if req.Subject == "" || len(req.Subject) > maxSubject || strings.ContainsFunc(req.Subject, unprintable) {
		return secret.Value{}, nil, errors.New("issue token: subject is missing, too long or unprintable")
	}
	permissions, err := req.permissions()
	if err != nil {
		return secret.Value{}, nil, fmt.Errorf("issue token: %w", err)
	}
	var raw secret.Value
	var claims *Claims
	err = i.locked(ctx, func() error {
		if err := i.reloadKeys(); err != nil {
			return err
		}
		id := make([]byte, 16)
		if _, err := io.ReadFull(i.cfg.Rand, id); err != nil {
			return err
		}
		now := i.issueTime(req.Subject)
		all := map[string]any{
			"iss": i.cfg.Issuer, "sub": req.Subject, "client_id": req.Subject, "aud": i.cfg.Audience,
			"iat": now.Unix(), "exp": now.Add(ttl).Unix(), "jti": hex.EncodeToString(id), // never with a hyphen in front, which command lines take for a flag
		}
		if len(permissions) > 0 {
			all["permissions"] = permissions
		}
		if s := strings.Join(strings.Fields(req.Scope), " "); s != "" {
			all["scope"] = s
		}
		if req.CertificateHash != "" {
			all["cnf"] = map[string]any{"x5t#S256": req.CertificateHash}
		}
		raw, claims, err = i.sign(all)
		if err != nil {
			return err
		}
		return i.record(claims)
	})
	if err != nil {
		return secret.Value{}, nil, fmt.Errorf("issue token: %w", err)
	}
	return raw, claims, nil
}

// issueTime is now, in the whole seconds that tokens have, and after any
// revocation of the subject: a token issued in the second of the revocation
// would be born revoked.
func (i *Issuer) issueTime(subject string) time.Time {
	now := i.cfg.Now().Truncate(time.Second)
	for _, r := range i.revocations.index.Load().subjects[subject] {
		if !now.After(r.Before) && r.Before.Sub(now) < time.Minute {
			now = r.Before.Truncate(time.Second).Add(time.Second)
		}
	}
	return now
}

// sign makes the token and reads it back as its verifier will see it.
func (i *Issuer) sign(all map[string]any) (secret.Value, *Claims, error) {
	i.mu.Lock()
	s := i.signer
	i.mu.Unlock()
	if s == nil {
		return secret.Value{}, nil, fmt.Errorf("%s holds no signing key", i.cfg.Dir)
	}
	payload, err := json.Marshal(all)
	if err != nil {
		return secret.Value{}, nil, err
	}
	headers := jws.NewHeaders()
	for name, v := range map[string]string{jws.TypeKey: "at+jwt", jws.KeyIDKey: s.id} {
		if err := headers.Set(name, v); err != nil {
			return secret.Value{}, nil, err
		}
	}
	algorithm, ok := jwa.LookupSignatureAlgorithm(s.algorithm)
	if !ok {
		return secret.Value{}, nil, fmt.Errorf("unknown algorithm %q", s.algorithm)
	}
	signed, err := jws.Sign(payload, jws.WithKey(algorithm, s.key, jws.WithProtectedHeaders(headers)))
	if err != nil {
		return secret.Value{}, nil, fmt.Errorf("sign: %w", err)
	}
	claims, err := i.read(payload, s)
	if err != nil {
		return secret.Value{}, nil, err
	}
	return secret.New(string(signed)), claims, nil
}

func (i *Issuer) read(payload []byte, s *signer) (*Claims, error) {
	all, err := decodeObject(payload)
	if err != nil {
		return nil, fmt.Errorf("token %w", err)
	}
	c := &Claims{Issuer: i.cfg.Issuer, KeyID: s.id, Algorithm: s.algorithm, All: all}
	v := &Verifier{}
	if err := v.identify(&trust{IssuerTrust: IssuerTrust{SubjectClaim: "sub", IDClaim: "jti", RequireID: true}}, c, nil); err != nil {
		return nil, err
	}
	texts, err := FromClaims(DefaultClaims()...)(all)
	if err != nil {
		return nil, err
	}
	if err := c.grant(texts, nil); err != nil {
		return nil, err
	}
	if err := c.readConfirmation(); err != nil {
		return nil, err
	}
	return c, nil
}

// Revoke revokes one token by its ID. It takes effect at once in this process
// and within WatchInterval in others.
func (i *Issuer) Revoke(ctx context.Context, id, reason string) error {
	now := i.cfg.Now().UTC()
	r := Revocation{TokenID: id, RevokedAt: now, Reason: reason, Forget: now.Add(longestLifetime)}
	if err := i.revocations.add(ctx, r, now); err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	return nil
}

// RevokeSubject revokes all tokens of a subject issued at or before a time;
// the zero time is now.
func (i *Issuer) RevokeSubject(ctx context.Context, subject string, before time.Time, reason string) error {
	now := i.cfg.Now().UTC()
	if before.IsZero() {
		before = now
	}
	r := Revocation{Subject: subject, Before: before.UTC(), RevokedAt: now, Reason: reason, Forget: before.Add(longestLifetime).UTC()}
	if err := i.revocations.add(ctx, r, now); err != nil {
		return fmt.Errorf("revoke tokens: %w", err)
	}
	return nil
}

// signer is the active signing key.
type signer struct {
	id        string
	algorithm string
	key       crypto.Signer
}
