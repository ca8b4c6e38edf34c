package auth0sim

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// caller is who sent a Management API request.
type caller struct {
	client  string
	scopes  map[string]bool
	expires time.Time
}

// bearer verifies Management API tokens. Verified ones are remembered by their
// digest: checking an RSA signature costs more than the rest of a small call.
type bearer struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]caller
}

// maxKnownTokens bounds the memory that a client with many tokens can take.
const maxKnownTokens = 1000

func unauthorized(message string) *apiError {
	e := refuse(http.StatusUnauthorized, "", "%s", message)
	e.Extra = map[string]any{"attributes": map[string]any{"error": message}}
	e.Header = http.Header{"Www-Authenticate": {fmt.Sprintf("Bearer error=%q", message)}}
	return e
}

// authenticate returns the caller of a request, or the 400 or 401 that Auth0
// answers.
func (t *tenant) authenticate(r *http.Request) (caller, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return caller{}, unauthorized("Missing authentication")
	}
	scheme, token, found := strings.Cut(header, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || strings.ContainsAny(strings.TrimSpace(token), " \t") {
		e := refuse(http.StatusBadRequest, "", "Bad HTTP authentication header format")
		return caller{}, e
	}
	token = strings.TrimSpace(token)
	key := sha256.Sum256([]byte(t.domain + "\x00" + token))
	t.bearer.mu.Lock()
	who, known := t.bearer.known[key]
	t.bearer.mu.Unlock()
	if !known {
		var err error
		if who, err = t.verify(r.Context(), token); err != nil {
			return caller{}, err
		}
		t.bearer.mu.Lock()
		if len(t.bearer.known) >= maxKnownTokens {
			clear(t.bearer.known)
		}
		t.bearer.known[key] = who
		t.bearer.mu.Unlock()
	}
	if !who.expires.After(t.state.Store().Now()) {
		return caller{}, unauthorized("Expired token received for JSON Web Token validation")
	}
	return who, nil
}

func (t *tenant) verify(ctx context.Context, token string) (caller, error) {
	set, err := t.keySet(ctx)
	if err != nil {
		return caller{}, err
	}
	// The algorithm is bound to the key in the set, so a token cannot choose
	// "none" or turn the public key into an HMAC secret.
	parsed, err := jwt.ParseString(token, jwt.WithKeySet(set, jws.WithRequireKid(true)), jwt.WithValidate(false))
	if err != nil {
		if strings.Count(token, ".") != 2 {
			return caller{}, unauthorized("Invalid token")
		}
		return caller{}, unauthorized("Invalid signature received for JSON Web Token validation")
	}
	if issuer, _ := parsed.Issuer(); issuer != "https://"+t.domain+"/" {
		return caller{}, unauthorized("Invalid token")
	}
	if audience, _ := parsed.Audience(); !has(audience, t.audience()) {
		return caller{}, unauthorized("Bad audience: " + strings.Join(audience, ","))
	}
	expires, hasExpiry := parsed.Expiration()
	if !hasExpiry {
		return caller{}, unauthorized("Invalid token")
	}
	who := caller{scopes: map[string]bool{}, expires: expires}
	var scope string
	if parsed.Has("scope") {
		if err := parsed.Get("scope", &scope); err != nil {
			return caller{}, unauthorized("Invalid token")
		}
	}
	for _, s := range strings.Fields(scope) {
		who.scopes[s] = true
	}
	if parsed.Has("azp") {
		if err := parsed.Get("azp", &who.client); err != nil {
			return caller{}, unauthorized("Invalid token")
		}
	}
	return who, nil
}

// audience is the identifier of the Management API.
func (t *tenant) audience() string { return "https://" + t.domain + managementPath }

// myAccount is the identifier of the My Account API, for those who make it.
func (t *tenant) myAccount() string { return "https://" + t.domain + myAccountPath }

// What the identifiers of the system's APIs have after the tenant's domain.
const (
	managementPath = "/api/v2/"
	myAccountPath  = "/me/"
)

// keySet holds the public halves of the keys that are not revoked.
func (t *tenant) keySet(ctx context.Context) (jwk.Set, error) {
	set := jwk.NewSet()
	err := t.state.View(ctx, func(tx *state.Tx) error {
		keys, err := tx.SigningKeys()
		if err != nil {
			return err
		}
		for _, k := range keys {
			if k.Revoked {
				continue
			}
			key, err := jwk.Import(k.Private.Public())
			if err != nil {
				return fmt.Errorf("import signing key: %w", err)
			}
			for name, value := range map[string]any{jwk.KeyIDKey: k.KID, jwk.AlgorithmKey: jwa.RS256()} {
				if err := key.Set(name, value); err != nil {
					return fmt.Errorf("import signing key: %w", err)
				}
			}
			if err := set.AddKey(key); err != nil {
				return fmt.Errorf("import signing key: %w", err)
			}
		}
		return nil
	})
	return set, err
}

// forget drops verified tokens, after keys were revoked.
func (b *bearer) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.known)
}

// require refuses a caller that holds none of the scopes.
func (who caller) require(scopes []string) error {
	if len(scopes) == 0 {
		return nil
	}
	for _, s := range scopes {
		if who.scopes[s] {
			return nil
		}
	}
	return refuse(http.StatusForbidden, "insufficient_scope", "Insufficient scope, expected any of: %s", strings.Join(scopes, ","))
}
