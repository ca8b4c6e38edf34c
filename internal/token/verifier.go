package token

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
	"golang.org/x/sync/errgroup"
)

// Reasons for refusing a token, for errors.Is.
var (
	ErrMalformed   = errors.New("token is malformed")
	ErrOversized   = errors.New("token is too large")
	ErrAlgorithm   = errors.New("signature algorithm is not allowed")
	ErrIssuer      = errors.New("issuer is not trusted")
	ErrKey         = errors.New("signing key is unknown")
	ErrSignature   = errors.New("signature is wrong")
	ErrType        = errors.New("token is no access token")
	ErrAudience    = errors.New("token is for another audience")
	ErrExpired     = errors.New("token has expired")
	ErrNotYetValid = errors.New("token is not valid yet")
	ErrLifetime    = errors.New("token lives too long")
	ErrClaims      = errors.New("token lacks a required claim")
	ErrRevoked     = errors.New("token is revoked")
)

// VerificationError is a refused token. It wraps one of the reasons above and
// never holds the token.
type VerificationError struct {
	Reason error
	Detail string
	// Claims are what the token says, if its signature is genuine: then the
	// caller is known although refused. Otherwise nil, because anyone can write
	// anything into an unsigned token.
	Claims *Claims
}

func (e *VerificationError) Error() string {
	if e.Detail == "" {
		return e.Reason.Error()
	}
	return e.Reason.Error() + ": " + e.Detail
}

// Unwrap returns the reason.
func (e *VerificationError) Unwrap() error { return e.Reason }

func refuse(reason error, format string, args ...any) *VerificationError {
	return &VerificationError{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// DefaultMaxSize bounds a token, in bytes.
const DefaultMaxSize = 16 << 10

// DefaultMaxLifetime is the longest time between a token's "iat" and "exp".
const DefaultMaxLifetime = 90 * 24 * time.Hour

// IssuerTrust says whose tokens are trusted, and for what.
type IssuerTrust struct {
	// Issuer is the exact "iss" of the tokens. Required.
	Issuer string
	// Audience is who the tokens must be for: "aud" holds at least one of these.
	// Required: without it a token for any other service of the same issuer
	// would open this one.
	Audience []string
	// Keys is where the issuer's public keys come from. Required.
	Keys KeySource
	// Algorithms that the issuer signs with. Defaults to RS256.
	Algorithms []string
	// Permissions finds the permissions. Defaults to FromClaims(DefaultClaims()...).
	Permissions Extractor
	// Namespaces limits what the issuer may grant: permissions elsewhere, and
	// cluster-wide ones unless ClusterWide is listed, are ignored. Defaults to no limit.
	Namespaces []string
	// SubjectClaim names the caller. Defaults to "sub".
	SubjectClaim string
	// IDClaim identifies one token, for revocation. Defaults to "jti". (Entra ID: "uti".)
	IDClaim string
	// RequireID refuses tokens without IDClaim. Defaults to false, because
	// providers like Auth0 leave it out; the local issuer's trust sets it.
	RequireID bool
	// RequireType refuses tokens whose header does not say "at+jwt" (RFC 9068).
	// Defaults to false: then ID tokens are recognised by their claims.
	RequireType bool
	// MaxLifetime is the longest time from "iat" to "exp". Defaults to 90 days; at
	// most a year, which is how long revocations are remembered.
	MaxLifetime time.Duration
}

// longestLifetime bounds every token: revocations are forgotten after it.
const longestLifetime = 366 * 24 * time.Hour

// VerifierConfig configures a Verifier.
type VerifierConfig struct {
	// Issuers that are trusted; each at most once. At least one.
	Issuers []IssuerTrust
	// Revocations are consulted for every token. Defaults to none.
	Revocations Revocations
	// Leeway is the difference allowed between our clock and the issuer's.
	// Defaults to 30 s; at most 5 min.
	Leeway time.Duration
	// MaxSize bounds a token, in bytes. Defaults to 16 KiB.
	MaxSize int
	// CacheSize is how many verified tokens are remembered. Defaults to 10000.
	CacheSize int
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Logger. Defaults to discarding.
	Logger *slog.Logger
}

// Verifier decides which tokens are genuine. It is safe for concurrent use.
type Verifier struct {
	cfg     VerifierConfig
	trusts  map[string]*trust
	order   []*trust
	keyGen  atomic.Uint64
	good    *cache
	refused *cache
}

type trust struct {
	IssuerTrust
	ring *keyring
}

// NewVerifier checks the configuration and returns a Verifier. Keys are read
// when first needed; Load reads them at once, Run keeps them fresh.
func NewVerifier(cfg VerifierConfig) (*Verifier, error) {
	if len(cfg.Issuers) == 0 {
		return nil, errors.New("token verifier: no issuer is trusted")
	}
	cfg.Leeway = or(cfg.Leeway, 30*time.Second)
	if cfg.Leeway > 5*time.Minute {
		return nil, fmt.Errorf("token verifier: leeway %s is more than 5 m", cfg.Leeway)
	}
	cfg.MaxSize = or(cfg.MaxSize, DefaultMaxSize)
	cfg.CacheSize = or(cfg.CacheSize, 10_000)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	v := &Verifier{cfg: cfg, trusts: make(map[string]*trust), good: newCache(cfg.CacheSize), refused: newCache(max(1, cfg.CacheSize/8))}
	for i, it := range cfg.Issuers {
		t, err := v.newTrust(it)
		if err != nil {
			return nil, fmt.Errorf("token verifier: issuer %d (%q): %w", i+1, it.Issuer, err)
		}
		if v.trusts[it.Issuer] != nil {
			return nil, fmt.Errorf("token verifier: issuer %q is configured twice", it.Issuer)
		}
		v.trusts[it.Issuer] = t
		v.order = append(v.order, t)
	}
	return v, nil
}

func (v *Verifier) newTrust(it IssuerTrust) (*trust, error) {
	var problems []error
	if it.Issuer == "" {
		problems = append(problems, errors.New("issuer is required"))
	}
	if len(it.Audience) == 0 || slices.Contains(it.Audience, "") {
		problems = append(problems, errors.New("audience is required"))
	}
	if it.Keys == nil {
		problems = append(problems, errors.New("key source is required"))
	}
	if len(it.Algorithms) == 0 {
		it.Algorithms = []string{"RS256"}
	}
	for _, alg := range it.Algorithms {
		if !slices.Contains(Algorithms(), alg) {
			problems = append(problems, fmt.Errorf("algorithm %q cannot be allowed (%s)", alg, strings.Join(Algorithms(), ", ")))
		}
	}
	if it.Permissions == nil {
		it.Permissions = FromClaims(DefaultClaims()...)
	}
	if it.SubjectClaim == "" {
		it.SubjectClaim = "sub"
	}
	if it.IDClaim == "" {
		it.IDClaim = "jti"
	}
	if it.MaxLifetime = or(it.MaxLifetime, DefaultMaxLifetime); it.MaxLifetime > longestLifetime {
		problems = append(problems, fmt.Errorf("maximum lifetime %s is more than a year", it.MaxLifetime))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return &trust{IssuerTrust: it, ring: &keyring{
		source: it.Keys, now: v.cfg.Now, log: v.cfg.Logger, changed: func() { v.keyGen.Add(1) },
	}}, nil
}

// Load reads every issuer's keys once and returns what failed. A server calls
// it to report a wrong key source at its start.
func (v *Verifier) Load(ctx context.Context) error {
	var errs []error
	for _, t := range v.order {
		if err := t.ring.fetch(ctx, 0); err != nil {
			errs = append(errs, fmt.Errorf("issuer %q: %w", t.Issuer, err))
		}
	}
	return errors.Join(errs...)
}

// Run keeps the keys fresh until ctx ends.
func (v *Verifier) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range v.order {
		group.Go(func() error { return t.ring.run(ctx) })
	}
	return group.Wait()
}

// Status returns the state of every key source, in the order configured.
func (v *Verifier) Status() []SourceStatus {
	list := make([]SourceStatus, 0, len(v.order))
	for _, t := range v.order {
		s := t.ring.status()
		s.Issuer = t.Issuer
		list = append(list, s)
	}
	return list
}

func (v *Verifier) generation() generation {
	g := generation{keys: v.keyGen.Load()}
	if v.cfg.Revocations != nil {
		g.revocations = v.cfg.Revocations.Generation()
	}
	return g
}

// Verify returns the claims of a genuine token, or a *VerificationError.
func (v *Verifier) Verify(ctx context.Context, raw string) (*Claims, error) {
	if len(raw) > v.cfg.MaxSize {
		return nil, refuse(ErrOversized, "%d bytes", len(raw))
	}
	hash := sha256.Sum256([]byte(raw))
	now := v.cfg.Now()
	// Read before verifying: a verdict reached with older keys then carries the
	// older generation, and is not believed once they changed.
	gen := v.generation()
	if known := v.good.get(&hash, now, gen); known != nil {
		return known.claims, nil
	}
	if known := v.refused.get(&hash, now, gen); known != nil {
		return nil, known.err
	}
	claims, until, err := v.verify(ctx, raw, &hash, now)
	if err != nil {
		// A refusal is remembered only if the signature was genuine: those are the
		// callers that come again and again, like a worker whose token expired.
		// Forgeries are not, or they would crowd the others out.
		if err.Claims != nil && !errors.Is(err, ErrNotYetValid) {
			v.refused.put(&hash, &verdict{err: err, until: now.Add(time.Minute), gen: gen}, now)
		}
		return nil, err
	}
	v.good.put(&hash, &verdict{claims: claims, until: until, gen: gen}, now)
	return claims, nil
}

func (v *Verifier) verify(ctx context.Context, raw string, hash *[sha256.Size]byte, now time.Time) (*Claims, time.Time, *VerificationError) {
	none := time.Time{}
	header, payload, err := split(raw)
	if err != nil {
		return nil, none, err
	}
	alg, kid, typ, err := readHeader(header)
	if err != nil {
		return nil, none, err
	}
	all, jsonErr := decodeObject(payload)
	if jsonErr != nil {
		return nil, none, refuse(ErrMalformed, "payload %v", jsonErr)
	}
	// The issuer is read before the signature is checked only to choose whose
	// keys must have made it.
	issuer, _ := all["iss"].(string)
	t := v.trusts[issuer]
	if t == nil {
		return nil, none, refuse(ErrIssuer, "")
	}
	// The issuer's rules decide about the algorithm, never the token: otherwise
	// a token could ask to be checked as HMAC with the public key as the secret.
	if !slices.Contains(t.Algorithms, alg) {
		return nil, none, refuse(ErrAlgorithm, "%.20q", alg)
	}
	keys, known := t.ring.find(ctx, kid, alg, now)
	if !known {
		return nil, none, refuse(ErrKey, "")
	}
	if len(keys) == 0 {
		return nil, none, refuse(ErrAlgorithm, "%.20q does not suit the key", alg)
	}
	key, ok := checkSignature(raw, alg, keys)
	if !ok {
		return nil, none, refuse(ErrSignature, "")
	}
	c := &Claims{Issuer: issuer, KeyID: kid, Algorithm: alg, All: all}
	if err := v.judge(t, c, typ, hash, now); err != nil {
		err.Claims = c
		return nil, none, err
	}
	until := c.Expires.Add(v.cfg.Leeway)
	if !key.NotAfter.IsZero() && key.NotAfter.Before(until) {
		until = key.NotAfter
	}
	return c, until, nil
}

var base64url = base64.RawURLEncoding.Strict()

// split takes a compact JWS (RFC 7515 section 3.1) apart. Strict base64url lets
// each token have one spelling only.
func split(raw string) (header, payload []byte, _ *VerificationError) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" {
		return nil, nil, refuse(ErrMalformed, "not a signed JWT in compact form")
	}
	header, err := base64url.DecodeString(parts[0])
	if err != nil {
		return nil, nil, refuse(ErrMalformed, "header is not base64url")
	}
	if payload, err = base64url.DecodeString(parts[1]); err != nil {
		return nil, nil, refuse(ErrMalformed, "payload is not base64url")
	}
	// An unsigned token has an empty third part; its algorithm is what is wrong
	// with it, which readHeader and the issuer's rules say.
	if _, err = base64url.DecodeString(parts[2]); err != nil {
		return nil, nil, refuse(ErrMalformed, "signature is not base64url")
	}
	if strings.ContainsAny(raw, "\r\n") { // encoding/base64 skips line ends
		return nil, nil, refuse(ErrMalformed, "line end inside")
	}
	return header, payload, nil
}

const maxKeyID = 256

// readHeader reads what a JOSE header may say here.
func readHeader(data []byte) (alg, kid, typ string, _ *VerificationError) {
	h, err := decodeObject(data)
	if err != nil {
		return "", "", "", refuse(ErrMalformed, "header %v", err)
	}
	// A token does not say where its key is, nor bring it along. "crit" announces
	// extensions, none of which are supported (RFC 7515 section 4.1.11); "b64"
	// would change what is signed; "enc" and "zip" belong to encryption.
	for _, name := range []string{"jku", "jwk", "x5u", "crit", "b64", "enc", "zip"} {
		if _, ok := h[name]; ok {
			return "", "", "", refuse(ErrMalformed, "header has %q", name)
		}
	}
	for name, into := range map[string]*string{"alg": &alg, "kid": &kid, "typ": &typ} {
		if *into, err = text(h, name); err != nil {
			return "", "", "", refuse(ErrMalformed, "header: %v", err)
		}
	}
	if alg == "" {
		return "", "", "", refuse(ErrMalformed, `header has no "alg"`)
	}
	if !slices.Contains(Algorithms(), alg) {
		return "", "", "", refuse(ErrAlgorithm, "%.20q", alg)
	}
	if kid == "" || len(kid) > maxKeyID {
		return "", "", "", refuse(ErrKey, `header has no usable "kid"`)
	}
	return alg, kid, typ, nil
}

func checkSignature(raw, alg string, keys []Key) (Key, bool) {
	algorithm, ok := jwa.LookupSignatureAlgorithm(alg)
	if !ok {
		return Key{}, false
	}
	for _, k := range keys {
		if _, err := jws.Verify([]byte(raw), jws.WithCompact(), jws.WithKey(algorithm, k.Public)); err == nil {
			return k, true
		}
	}
	return Key{}, false
}
