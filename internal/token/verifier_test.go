package token

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"
)

// fixed is a key source that tests change by hand.
type fixed struct {
	set *KeySet
	err error
	n   int
	min time.Duration
}

func (f *fixed) Keys(context.Context) (*KeySet, error)     { f.n++; return f.set, f.err }
func (f *fixed) Intervals() (time.Duration, time.Duration) { return time.Minute, f.min }
func (f *fixed) String() string                            { return "fixed" }

// authority is a foreign issuer whose tokens tests build by hand, with go-jose.
type authority struct {
	t     testing.TB
	clock *clock
	keys  map[string]crypto.Signer // by algorithm
	set   *fixed
}

func newAuthority(t testing.TB, c *clock, algorithms ...string) *authority {
	t.Helper()
	a := &authority{t: t, clock: c, keys: map[string]crypto.Signer{}, set: &fixed{}}
	var keys []Key
	for _, alg := range algorithms {
		var key crypto.Signer
		var err error
		switch alg {
		case "ES256":
			key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		case "ES384":
			key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		case "ES512":
			key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
		case "EdDSA":
			_, key, err = ed25519.GenerateKey(rand.Reader)
		default:
			key, err = rsa.GenerateKey(rand.Reader, 2048)
		}
		require.NoError(t, err)
		a.keys[alg] = key
		keys = append(keys, Key{ID: "kid-" + alg, Public: key.Public()})
	}
	var err error
	a.set.set, err = NewKeySet(keys)
	require.NoError(t, err)
	return a
}

func (a *authority) claims(change map[string]any) map[string]any {
	all := map[string]any{
		"iss": "https://idp.example/", "sub": "ann", "aud": "temporal", "jti": "1",
		"iat": a.clock.now().Unix(), "exp": a.clock.now().Add(time.Hour).Unix(),
		"permissions": []string{"default:client"},
	}
	maps.Copy(all, change)
	for name, v := range all {
		if v == nil {
			delete(all, name)
		}
	}
	return all
}

// sign makes a token with go-jose.
func (a *authority) sign(alg string, claims map[string]any, header map[jose.HeaderKey]any) string {
	a.t.Helper()
	options := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{"kid": "kid-" + alg, "typ": "JWT"}}
	maps.Copy(options.ExtraHeaders, header)
	for name, v := range options.ExtraHeaders {
		if v == nil {
			delete(options.ExtraHeaders, name)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: a.keys[alg]}, options)
	require.NoError(a.t, err)
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	require.NoError(a.t, err)
	return raw
}

func (a *authority) trust(change func(*IssuerTrust)) *Verifier {
	a.t.Helper()
	it := IssuerTrust{Issuer: "https://idp.example/", Audience: []string{"temporal"}, Keys: a.set, Algorithms: Algorithms()}
	if change != nil {
		change(&it)
	}
	v, err := NewVerifier(VerifierConfig{Issuers: []IssuerTrust{it}, Now: a.clock.now})
	require.NoError(a.t, err)
	require.NoError(a.t, v.Load(context.Background()))
	return v
}

func verify(v *Verifier, raw string) (*Claims, error) { return v.Verify(context.Background(), raw) }

func TestEveryAlgorithmAgainstAnotherLibrary(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, Algorithms()...)
	v := a.trust(nil)
	for _, alg := range Algorithms() {
		claims, err := verify(v, a.sign(alg, a.claims(nil), nil))
		require.NoError(t, err, alg)
		require.Equal(t, alg, claims.Algorithm)
		require.Equal(t, []Permission{{"default", RoleClient}}, claims.Permissions)
	}
	// The same tokens where only one algorithm is allowed.
	for _, allowed := range Algorithms() {
		v := a.trust(func(it *IssuerTrust) { it.Algorithms = []string{allowed} })
		for _, alg := range Algorithms() {
			_, err := verify(v, a.sign(alg, a.claims(nil), nil))
			if alg == allowed {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, ErrAlgorithm, "%s where %s is allowed", alg, allowed)
			}
		}
	}
}

func TestOurTokensWithAnotherLibrary(t *testing.T) {
	c := newClock()
	i := newIssuer(t, c)
	raw, _, err := i.Issue(context.Background(), IssueRequest{Subject: "svc", Role: RoleOperator, Namespace: "billing", TTL: time.Hour})
	require.NoError(t, err)
	parsed, err := jwt.ParseSigned(raw.Reveal(), []jose.SignatureAlgorithm{jose.RS256})
	require.NoError(t, err)
	require.Equal(t, "at+jwt", parsed.Headers[0].ExtraHeaders["typ"])
	published, err := i.Keys(context.Background())
	require.NoError(t, err)
	data, err := json.Marshal(published)
	require.NoError(t, err)
	var set jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal(data, &set))
	found := set.Key(parsed.Headers[0].KeyID)
	require.Len(t, found, 1)
	require.True(t, found[0].Valid())
	require.True(t, found[0].IsPublic())
	require.Equal(t, "sig", found[0].Use)
	var claims struct {
		jwt.Claims
		Permissions []string `json:"permissions"`
	}
	require.NoError(t, parsed.Claims(found[0].Key, &claims))
	require.NoError(t, claims.ValidateWithLeeway(jwt.Expected{Issuer: "tenon", Subject: "svc", AnyAudience: jwt.Audience{"temporal"}, Time: c.now()}, 0))
	require.Equal(t, []string{"billing:operator"}, claims.Permissions)
	require.NotEmpty(t, claims.ID)
	sum, err := found[0].Thumbprint(crypto.SHA256)
	require.NoError(t, err)
	require.Equal(t, base64.RawURLEncoding.EncodeToString(sum), parsed.Headers[0].KeyID, "the key id is the RFC 7638 thumbprint")
	require.NotContains(t, string(data), `"d"`)
}

func segment(v string) string { return base64.RawURLEncoding.EncodeToString([]byte(v)) }

// resign replaces header and payload and signs with a raw RS256 signature.
func (a *authority) resign(header, payload string) string {
	a.t.Helper()
	input := segment(header) + "." + segment(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, a.keys["RS256"].(*rsa.PrivateKey), crypto.SHA256, sum[:])
	require.NoError(a.t, err)
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestHostileTokens(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, "RS256", "PS256", "ES256", "ES384")
	other := newAuthority(t, c, "RS256")
	v := a.trust(nil)
	good := a.sign("RS256", a.claims(nil), nil)
	_, err := verify(v, good)
	require.NoError(t, err)
	parts := strings.Split(good, ".")
	payload, err := json.Marshal(a.claims(nil))
	require.NoError(t, err)
	body := string(payload)
	head := `{"alg":"RS256","kid":"kid-RS256"}`
	publicPEM := bytes.Buffer{}
	fmt.Fprint(&publicPEM, a.keys["RS256"].Public().(*rsa.PublicKey).N.Bytes())
	hs256 := func(secret []byte) string {
		input := segment(`{"alg":"HS256","kid":"kid-RS256","typ":"JWT"}`) + "." + parts[1]
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		return input + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	withHeader := func(extra string) string { return a.resign(`{"alg":"RS256","kid":"kid-RS256",`+extra+`}`, body) }
	change := func(name string, value any) string {
		return a.sign("RS256", a.claims(map[string]any{name: value}), nil)
	}
	at := func(d time.Duration) int64 { return c.now().Add(d).Unix() }
	nested := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)

	for _, h := range []struct {
		name string
		raw  string
		want error
	}{
		{"empty", "", ErrMalformed},
		{"garbage", "garbage", ErrMalformed},
		{"dots", "..", ErrMalformed},
		{"four parts", good + ".x", ErrMalformed},
		{"JWE form", strings.Repeat("eyJ.", 4) + "x", ErrMalformed},
		{"binary", "\x00\xff\xfe.\x00.\x00", ErrMalformed},
		{"JSON serialization", `{"payload":"` + parts[1] + `","signatures":[]}`, ErrMalformed},
		{"oversized", good + strings.Repeat("A", DefaultMaxSize), ErrOversized},
		{"line end inside", parts[0] + "." + parts[1] + ".\n" + parts[2], ErrMalformed},
		{"padded base64", parts[0] + "=." + parts[1] + "." + parts[2], ErrMalformed},
		{"alg none", segment(`{"alg":"none","kid":"kid-RS256"}`) + "." + parts[1] + ".", ErrAlgorithm},
		{"alg None", segment(`{"alg":"None","kid":"kid-RS256"}`) + "." + parts[1] + ".", ErrAlgorithm},
		{"alg missing", segment(`{"kid":"kid-RS256"}`) + "." + parts[1] + "." + parts[2], ErrMalformed},
		{"alg no string", segment(`{"alg":1,"kid":"kid-RS256"}`) + "." + parts[1] + "." + parts[2], ErrMalformed},
		{"alg lower case", segment(`{"alg":"rs256","kid":"kid-RS256"}`) + "." + parts[1] + "." + parts[2], ErrAlgorithm},
		{"HS256 with the public key", hs256(publicPEM.Bytes()), ErrAlgorithm},
		{"HS256 with nothing", hs256(nil), ErrAlgorithm},
		{"RS256 token sent as PS256", segment(`{"alg":"PS256","kid":"kid-RS256"}`) + "." + parts[1] + "." + parts[2], ErrSignature},
		{"RSA key as ES256", segment(`{"alg":"ES256","kid":"kid-RS256"}`) + "." + parts[1] + "." + parts[2], ErrAlgorithm},
		{"P-256 key as ES384", segment(`{"alg":"ES384","kid":"kid-ES256"}`) + "." + parts[1] + "." + parts[2], ErrAlgorithm},
		{"no signature", parts[0] + "." + parts[1] + ".", ErrSignature},
		{"changed payload", parts[0] + "." + segment(body+" ") + "." + parts[2], ErrSignature},
		{"another's key", other.sign("RS256", other.claims(nil), nil), ErrSignature},
		{"no kid", a.sign("RS256", a.claims(nil), map[jose.HeaderKey]any{"kid": nil}), ErrKey},
		{"unknown kid", a.sign("RS256", a.claims(nil), map[jose.HeaderKey]any{"kid": "other"}), ErrKey},
		{"kid is a path", a.sign("RS256", a.claims(nil), map[jose.HeaderKey]any{"kid": "../../../../etc/passwd"}), ErrKey},
		{"kid is a URL", a.sign("RS256", a.claims(nil), map[jose.HeaderKey]any{"kid": "https://evil.example/keys"}), ErrKey},
		{"kid of SQL", a.sign("RS256", a.claims(nil), map[jose.HeaderKey]any{"kid": "' OR 1=1 --"}), ErrKey},
		{"kid endless", a.sign("RS256", a.claims(nil), map[jose.HeaderKey]any{"kid": strings.Repeat("k", 300)}), ErrKey},
		{"jku", withHeader(`"jku":"https://evil.example/keys"`), ErrMalformed},
		{"x5u", withHeader(`"x5u":"https://evil.example/cert"`), ErrMalformed},
		{"jwk", withHeader(`"jwk":{"kty":"RSA","n":"AQ","e":"AQAB"}`), ErrMalformed},
		{"crit", withHeader(`"crit":["exp"],"exp":1`), ErrMalformed},
		{"b64", withHeader(`"b64":false`), ErrMalformed},
		{"zip", withHeader(`"zip":"DEF"`), ErrMalformed},
		{"alg twice", a.resign(`{"alg":"none","alg":"RS256","kid":"kid-RS256"}`, body), ErrMalformed},
		{"kid twice", a.resign(`{"alg":"RS256","kid":"x","kid":"kid-RS256"}`, body), ErrMalformed},
		{"header nested", a.resign(`{"alg":"RS256","kid":"kid-RS256","x":`+nested+`}`, body), ErrMalformed},
		{"header is a list", a.resign(`[]`, body), ErrMalformed},
		{"sub twice", a.resign(head, `{"sub":"mallory",`+body[1:]), ErrMalformed},
		{"iss twice", a.resign(head, `{"iss":"https://evil.example/",`+body[1:]), ErrMalformed},
		{"nested twice", a.resign(head, `{"x":{"y":1,"y":2},`+body[1:]), ErrMalformed},
		{"payload nested", a.resign(head, `{"x":`+nested+`,`+body[1:]), ErrMalformed},
		{"payload with data after", a.resign(head, body+"{}"), ErrMalformed},
		{"payload cut", a.resign(head, body[:len(body)-1]), ErrMalformed},
		{"payload is a string", a.resign(head, `"x"`), ErrMalformed},
		{"payload null", a.resign(head, `null`), ErrMalformed},
		{"issuer", change("iss", "https://evil.example/"), ErrIssuer},
		{"issuer missing", change("iss", nil), ErrIssuer},
		{"issuer a list", change("iss", []string{"https://idp.example/"}), ErrIssuer},
		{"issuer without its slash", change("iss", "https://idp.example"), ErrIssuer},
		{"ISS in another case", a.resign(head, strings.Replace(body, `"iss"`, `"ISS"`, 1)), ErrIssuer},
		{"audience", change("aud", "other"), ErrAudience},
		{"audience missing", change("aud", nil), ErrAudience},
		{"audience empty", change("aud", []string{}), ErrAudience},
		{"audience a prefix", change("aud", "temporal-x"), ErrAudience},
		{"audience a number", change("aud", 7), ErrMalformed},
		{"audience mixed", change("aud", []any{"temporal", 7}), ErrMalformed},
		{"exp missing", change("exp", nil), ErrClaims},
		{"exp null", a.resign(head, strings.Replace(body, fmt.Sprint(at(time.Hour)), "null", 1)), ErrMalformed},
		{"exp a string", change("exp", fmt.Sprint(at(time.Hour))), ErrMalformed},
		{"exp negative", change("exp", -1), ErrMalformed},
		{"exp beyond all", a.resign(head, strings.Replace(body, fmt.Sprint(at(time.Hour)), "1e300", 1)), ErrMalformed},
		{"exp infinite", a.resign(head, strings.Replace(body, fmt.Sprint(at(time.Hour)), "1e999", 1)), ErrMalformed},
		{"EXP in another case", a.resign(head, strings.Replace(body, `"exp"`, `"EXP"`, 1)), ErrClaims},
		{"expired", change("exp", at(-time.Minute)), ErrExpired},
		{"far future", change("exp", at(100*365*24*time.Hour)), ErrLifetime},
		{"iat missing", change("iat", nil), ErrClaims},
		{"iat in the future", change("iat", at(10*time.Minute)), ErrNotYetValid},
		{"nbf in the future", change("nbf", at(10*time.Minute)), ErrNotYetValid},
		{"sub missing", change("sub", nil), ErrClaims},
		{"sub empty", change("sub", ""), ErrClaims},
		{"sub a number", change("sub", 1), ErrMalformed},
		{"sub with a line end", change("sub", "a\nb"), ErrMalformed},
		{"sub endless", change("sub", strings.Repeat("a", 600)), ErrMalformed},
		{"jti a number", change("jti", 1), ErrMalformed},
		{"permissions an object", change("permissions", map[string]any{"default:client": true}), ErrMalformed},
		{"permissions mixed", change("permissions", []any{"default:client", 1}), ErrMalformed},
		{"permissions endless", change("permissions", strings.Split(strings.Repeat("a:b ", 1001), " ")), ErrMalformed},
		{"ID token with nonce", change("nonce", "n"), ErrType},
		{"ID token with at_hash", change("at_hash", "h"), ErrType},
		{"ID token of Cognito", change("token_use", "id"), ErrType},
		{"ID token of Keycloak", change("typ", "ID"), ErrType},
		{"refresh token of Keycloak", change("typ", "Refresh"), ErrType},
		{"logout token", a.sign("RS256", a.claims(nil), map[jose.HeaderKey]any{"typ": "logout+jwt"}), ErrType},
		{"security event", a.sign("RS256", a.claims(nil), map[jose.HeaderKey]any{"typ": "application/secevent+jwt"}), ErrType},
		{"bound to a DPoP key", change("cnf", map[string]any{"jkt": "x"}), ErrType},
		{"bound to a short hash", change("cnf", map[string]any{"x5t#S256": "AA"}), ErrType},
		{"bound to nothing", change("cnf", map[string]any{}), ErrType},
	} {
		for range 2 { // the second time from the cache, where there is one
			claims, err := verify(v, h.raw)
			require.ErrorIs(t, err, h.want, h.name)
			require.Nil(t, claims, h.name)
			if len(h.raw) > 20 {
				require.NotContains(t, err.Error(), h.raw, h.name)
				require.NotContains(t, err.Error(), parts[2], h.name)
			}
			var refused *VerificationError
			require.ErrorAs(t, err, &refused, h.name)
			if errors.Is(h.want, ErrSignature) || errors.Is(h.want, ErrKey) || errors.Is(h.want, ErrIssuer) || errors.Is(h.want, ErrAlgorithm) {
				require.Nil(t, refused.Claims, "%s: what is not signed tells nothing", h.name)
			}
		}
	}
	_, err = verify(v, good)
	require.NoError(t, err, "and a good token still passes")
}

func TestRefusalOfAGenuineTokenSaysWhoseItWas(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, "RS256")
	_, err := verify(a.trust(nil), a.sign("RS256", a.claims(map[string]any{"exp": c.now().Add(-time.Hour).Unix(), "iat": c.now().Add(-2 * time.Hour).Unix()}), nil))
	var refused *VerificationError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "ann", refused.Claims.Subject)
	require.Equal(t, "1", refused.Claims.ID)
}

func TestLeeway(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, "ES256")
	v := a.trust(nil)
	_, err := verify(v, a.sign("ES256", a.claims(map[string]any{"iat": c.now().Add(20 * time.Second).Unix()}), nil))
	require.NoError(t, err)
	raw := a.sign("ES256", a.claims(map[string]any{"exp": c.now().Add(time.Minute).Unix()}), nil)
	_, err = verify(v, raw)
	require.NoError(t, err)
	c.add(time.Minute + 29*time.Second)
	_, err = verify(v, raw)
	require.NoError(t, err)
	c.add(time.Second)
	_, err = verify(v, raw)
	require.ErrorIs(t, err, ErrExpired, "a cached token expires too")
	_, err = NewVerifier(VerifierConfig{Issuers: []IssuerTrust{{Issuer: "x", Audience: []string{"y"}, Keys: a.set}}, Leeway: time.Hour})
	require.ErrorContains(t, err, "leeway")
}

func TestNotYetValidTokenIsNotRememberedAsRefused(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, "ES256")
	v := a.trust(nil)
	raw := a.sign("ES256", a.claims(map[string]any{"nbf": c.now().Add(40 * time.Second).Unix()}), nil)
	_, err := verify(v, raw)
	require.ErrorIs(t, err, ErrNotYetValid)
	c.add(10 * time.Second)
	_, err = verify(v, raw)
	require.NoError(t, err)
}

func TestEachIssuerHasItsOwnKeysAndRules(t *testing.T) {
	c := newClock()
	a, b := newAuthority(t, c, "RS256"), newAuthority(t, c, "RS256", "ES256")
	v, err := NewVerifier(VerifierConfig{Now: c.now, Issuers: []IssuerTrust{
		{Issuer: "https://a/", Audience: []string{"temporal"}, Keys: a.set},
		{Issuer: "https://b/", Audience: []string{"api://b", "b2"}, Keys: b.set, Algorithms: []string{"ES256"}, SubjectClaim: "oid", IDClaim: "uti",
			Permissions: FromClaims("roles"), Namespaces: []string{"billing"}},
	}})
	require.NoError(t, err)
	_, err = verify(v, a.sign("RS256", a.claims(map[string]any{"iss": "https://a/"}), nil))
	require.NoError(t, err)
	_, err = verify(v, a.sign("RS256", a.claims(map[string]any{"iss": "https://b/", "aud": "b2"}), nil))
	require.ErrorIs(t, err, ErrAlgorithm)
	_, err = verify(v, b.sign("RS256", b.claims(map[string]any{"iss": "https://a/"}), nil))
	require.ErrorIs(t, err, ErrSignature, "b's key does not sign for a")
	claims, err := verify(v, b.sign("ES256", b.claims(map[string]any{
		"iss": "https://b/", "aud": []string{"x", "b2"}, "sub": "pairwise", "oid": "object-1", "uti": "u-1", "jti": nil,
		"roles":       []string{"billing:operator", "payroll:admin", "temporal-system:admin", "system:admin", "billing:operator", "nonsense", "User"},
		"permissions": []string{"billing:admin"},
	}), nil))
	require.NoError(t, err)
	require.Equal(t, "object-1", claims.Subject)
	require.Equal(t, "u-1", claims.ID)
	require.Equal(t, []Permission{{"billing", RoleOperator}}, claims.Permissions, "an issuer grants only where it may, and by its own claim")
	require.Len(t, claims.Ignored, 5)
}

func TestConfirmationIsRead(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, "ES256")
	hash := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	claims, err := verify(a.trust(nil), a.sign("ES256", a.claims(map[string]any{"cnf": map[string]any{"x5t#S256": hash}}), nil))
	require.NoError(t, err)
	require.Equal(t, hash, claims.CertificateHash)
}

func TestScopesAndPermissionShapes(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, "ES256")
	for _, s := range []struct {
		claims map[string]any
		names  []string
		want   []Permission
	}{
		{map[string]any{"scope": "openid temporal-worker profile", "permissions": nil}, DefaultClaims(), []Permission{{ClusterWide, RoleWorker}}},
		{map[string]any{"scp": "temporal-client", "permissions": nil}, []string{"scp"}, []Permission{{ClusterWide, RoleClient}}},
		{map[string]any{"permissions": "a:read b:write"}, DefaultClaims(), []Permission{{"a", RoleReader}, {"b", RoleClient}}},
		{map[string]any{"https://x/roles": []string{"system:Admin"}}, []string{"https://x/roles"}, []Permission{{ClusterWide, RoleAdmin}}},
		{map[string]any{"permissions": nil}, DefaultClaims(), nil},
	} {
		claims, err := verify(a.trust(func(it *IssuerTrust) { it.Permissions = FromClaims(s.names...) }), a.sign("ES256", a.claims(s.claims), nil))
		require.NoError(t, err)
		require.Equal(t, s.want, claims.Permissions, "%v", s.claims)
	}
}

func TestTokenWithoutIDGetsOne(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, "ES256")
	raw := a.sign("ES256", a.claims(map[string]any{"jti": nil}), nil)
	claims, err := verify(a.trust(nil), raw)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(claims.ID, "sha256:"), claims.ID)
	_, err = verify(a.trust(func(it *IssuerTrust) { it.RequireID = true }), raw)
	require.ErrorIs(t, err, ErrClaims)
	_, err = verify(a.trust(func(it *IssuerTrust) { it.RequireType = true }), raw)
	require.ErrorIs(t, err, ErrType)

	// And can be revoked by it.
	revocations, err := OpenRevocations(filepath.Join(t.TempDir(), "revoked.json"))
	require.NoError(t, err)
	v, err := NewVerifier(VerifierConfig{Issuers: []IssuerTrust{{Issuer: "https://idp.example/", Audience: []string{"temporal"}, Keys: a.set, Algorithms: []string{"ES256"}}}, Revocations: revocations, Now: c.now})
	require.NoError(t, err)
	_, err = verify(v, raw)
	require.NoError(t, err)
	require.NoError(t, revocations.add(t.Context(), Revocation{TokenID: claims.ID}, c.now()))
	_, err = verify(v, raw)
	require.ErrorIs(t, err, ErrRevoked)
}

func TestVerifierConfigIsChecked(t *testing.T) {
	_, err := NewVerifier(VerifierConfig{})
	require.ErrorContains(t, err, "no issuer")
	_, err = NewVerifier(VerifierConfig{Issuers: []IssuerTrust{{Algorithms: []string{"HS256", "none"}}}})
	for _, want := range []string{"issuer is required", "audience is required", "key source is required", `algorithm "HS256"`, `algorithm "none"`} {
		require.ErrorContains(t, err, want)
	}
	one := IssuerTrust{Issuer: "a", Audience: []string{"b"}, Keys: &fixed{}}
	_, err = NewVerifier(VerifierConfig{Issuers: []IssuerTrust{one, one}})
	require.ErrorContains(t, err, "twice")
}

func TestCacheIsBoundedAndCountsOnlyGenuineTokens(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, "ES256")
	v, err := NewVerifier(VerifierConfig{Issuers: []IssuerTrust{{Issuer: "https://idp.example/", Audience: []string{"temporal"}, Keys: a.set, Algorithms: []string{"ES256"}}}, CacheSize: 16, Now: c.now})
	require.NoError(t, err)
	require.NoError(t, v.Load(context.Background()))
	for n := range 40 {
		raw := a.sign("ES256", a.claims(map[string]any{"jti": fmt.Sprint(n)}), nil)
		first, err := verify(v, raw)
		require.NoError(t, err)
		again, err := verify(v, raw)
		require.NoError(t, err)
		require.Same(t, first, again)
		forged := raw[:len(raw)-4] + "AAAA"
		_, err = verify(v, forged)
		require.Error(t, err)
		_, err = verify(v, a.sign("ES256", a.claims(map[string]any{"jti": fmt.Sprint(n), "aud": "x"}), nil))
		require.ErrorIs(t, err, ErrAudience)
	}
	require.Equal(t, 16, v.good.len())
	require.Equal(t, 2, v.refused.len())
}

func TestCacheIsFlushedWhenKeysChange(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, "ES256", "ES384")
	v := a.trust(nil)
	raw := a.sign("ES256", a.claims(nil), nil)
	_, err := verify(v, raw)
	require.NoError(t, err)
	// The provider withdraws the key.
	keys := a.set.set.Keys()
	a.set.set, err = NewKeySet(keys[1:])
	require.NoError(t, err)
	require.NoError(t, v.Load(context.Background()))
	_, err = verify(v, raw)
	require.ErrorIs(t, err, ErrKey)
}

func TestRetiredKeyEndsInTheCacheToo(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, "ES256")
	keys := a.set.set.Keys()
	keys[0].NotAfter = c.now().Add(10 * time.Minute)
	var err error
	a.set.set, err = NewKeySet(keys)
	require.NoError(t, err)
	v := a.trust(nil)
	raw := a.sign("ES256", a.claims(nil), nil)
	_, err = verify(v, raw)
	require.NoError(t, err)
	c.add(10 * time.Minute)
	_, err = verify(v, raw)
	require.ErrorIs(t, err, ErrKey)
}

func TestSeenTokenDoesNotAllocate(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, "ES256")
	v := a.trust(nil)
	raw := a.sign("ES256", a.claims(nil), nil)
	ctx := context.Background()
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		if _, err := v.Verify(ctx, raw); err != nil {
			t.Fatal(err)
		}
	}), 1.0)
}

func TestMemoLivesAsLongAsTheClaims(t *testing.T) {
	n := 0
	c := &Claims{}
	make := func(*Claims) any { n++; return n }
	require.Equal(t, 1, c.Memo(make))
	require.Equal(t, 1, c.Memo(make))
}

func FuzzVerify(f *testing.F) {
	c := newClock()
	a := newAuthority(f, c, "RS256", "ES256")
	good := a.sign("ES256", a.claims(nil), nil)
	f.Add(good)
	f.Add(a.sign("RS256", a.claims(map[string]any{"exp": nil}), nil))
	f.Add(segment(`{"alg":"none"}`) + "." + segment(`{"iss":"https://idp.example/"}`) + ".")
	f.Add("a.b.c")
	v := a.trust(nil)
	f.Fuzz(func(t *testing.T, raw string) {
		claims, err := verify(v, raw)
		if err == nil && raw != good {
			t.Fatalf("a token that nobody signed passes: %q", raw)
		}
		if err != nil && claims != nil {
			t.Fatal("claims with an error")
		}
	})
}

// FuzzClaims signs whatever payload comes, so that what follows the signature is reached.
func FuzzClaims(f *testing.F) {
	c := newClock()
	a := newAuthority(f, c, "RS256")
	v := a.trust(nil)
	payload, err := json.Marshal(a.claims(nil))
	require.NoError(f, err)
	f.Add(string(payload))
	f.Add(`{"iss":"https://idp.example/","sub":"x","aud":["temporal"],"iat":1795348800,"exp":1795352400,"scope":"temporal-system"}`)
	f.Add(`{"iss":"https://idp.example/","exp":1e308}`)
	f.Fuzz(func(t *testing.T, payload string) {
		a.t = t
		claims, err := verify(v, a.resign(`{"alg":"RS256","kid":"kid-RS256"}`, payload))
		if err != nil {
			return
		}
		now := c.now()
		if claims.Subject == "" || claims.Expires.Before(now.Add(-time.Minute)) || claims.Expires.Sub(claims.IssuedAt) > DefaultMaxLifetime {
			t.Fatalf("accepted %q as %+v", payload, claims)
		}
		for _, p := range claims.Permissions {
			if again, err := ParsePermission(p.String()); err != nil || again != p {
				t.Fatalf("permission %v does not read back: %v", p, err)
			}
		}
	})
}

func FuzzParsePermission(f *testing.F) {
	for _, s := range []string{"default:read", "temporal-system:admin", "system:read", "a:b:worker", ":admin", "x:", "SYSTEM:ADMIN", "a\x00:admin"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePermission(s)
		if err != nil {
			return
		}
		if p.Namespace == "" || expandable(p.Role) == "" {
			t.Fatalf("%q reads as %+v", s, p)
		}
		if ns := s[:strings.LastIndexByte(s, ':')]; p.Namespace == ClusterWide && ns != "system" && ns != ClusterWide {
			t.Fatalf("%q reads as cluster-wide", s)
		}
		again, err := ParsePermission(p.String())
		if err != nil || again != p {
			t.Fatalf("%q reads as %+v, which reads as %+v (%v)", s, p, again, err)
		}
	})
}

func expandable(r Role) string {
	for _, known := range Roles() {
		if r == known {
			return string(r)
		}
	}
	return ""
}

func FuzzParseKeySet(f *testing.F) {
	a := newAuthority(f, newClock(), "RS256", "ES256", "EdDSA")
	data, err := json.Marshal(a.set.set)
	require.NoError(f, err)
	f.Add(data)
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA","kid":"x"}]}`))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := ParseKeySet(data)
		if err != nil {
			return
		}
		for _, k := range set.Keys() {
			if k.ID == "" || checkPublic(k.Public) != nil {
				t.Fatalf("accepted key %+v", k)
			}
		}
		if _, err := json.Marshal(set); err != nil {
			t.Fatal(err)
		}
	})
}
