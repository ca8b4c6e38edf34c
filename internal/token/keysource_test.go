package token

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
)

// provider serves whatever answer is set, over https.
type provider struct {
	*httptest.Server
	answer atomic.Value // func(http.ResponseWriter, *http.Request)
	asked  atomic.Int64
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		p.answer.Load().(func(http.ResponseWriter, *http.Request))(w, r)
	}))
	p.Config.ErrorLog = log.New(io.Discard, "", 0) // a refused handshake is part of the test
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

func (p *provider) serve(body string) {
	p.answer.Store(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
}

func (p *provider) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate())
	return pool
}

func keysJSON(t testing.TB, set *KeySet) string {
	t.Helper()
	data, err := json.Marshal(set)
	require.NoError(t, err)
	return string(data)
}

func TestURLSource(t *testing.T) {
	a := newAuthority(t, newClock(), "RS256", "ES256")
	p := newProvider(t)
	good := keysJSON(t, a.set.set)
	p.serve(good)
	source, err := OpenURL(URLConfig{URL: p.URL + "/keys", RootCAs: p.roots()})
	require.NoError(t, err)
	set, err := source.Keys(context.Background())
	require.NoError(t, err)
	require.Equal(t, a.set.set.fingerprint, set.fingerprint)

	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"status":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"empty":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") },
		"no keys": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[]}`) },
		"web page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<p>")
		},
		"garbage": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "\x00") },
		"too large": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, strings.TrimSuffix(good, "}")+`,"x":"`+strings.Repeat("a", 300<<10)+`"}`)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {

			if r.URL.Path == "/else" {
				fmt.Fprint(w, good)
				return
			}
			http.Redirect(w, r, "/else", http.StatusFound)

		},
	} {
		p.answer.Store(answer)
		_, err := source.Keys(context.Background())
		require.Error(t, err, name)
	}
	strange, err := OpenURL(URLConfig{URL: p.URL})
	require.NoError(t, err)
	_, err = strange.Keys(context.Background())
	require.ErrorContains(t, err, "certificate", "a server whose certificate nobody trusts")

	release := make(chan struct{})
	p.answer.Store(func(http.ResponseWriter, *http.Request) { <-release })
	hanging, err := OpenURL(URLConfig{URL: p.URL, RootCAs: p.roots(), Timeout: 300 * time.Millisecond})
	require.NoError(t, err)
	_, err = hanging.Keys(context.Background())
	close(release)
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())

	for _, bad := range []string{"http://idp.example/keys", "ftp://x/", "https://", "https://user:pass@idp.example/", "https://x/#y", "://"} {
		_, err := OpenURL(URLConfig{URL: bad})
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "pass@")
	}
}

func TestLastGoodSetIsKeptAndUnknownKeysFetchAtMostNowAndThen(t *testing.T) {
	c := newClock()
	a := newAuthority(t, c, "ES256")
	a.set.min = 10 * time.Second
	v := a.trust(nil)
	require.Equal(t, 1, a.set.n)
	raw := a.sign("ES256", a.claims(nil), nil)
	a.set.err = errors.New("down")
	require.Error(t, v.Load(context.Background()))
	_, err := verify(v, raw)
	require.NoError(t, err, "the last good set stays")
	status := v.Status()
	require.Len(t, status, 1)
	require.EqualError(t, status[0].Err, "down")
	require.Equal(t, 1, status[0].Keys)
	require.Equal(t, "https://idp.example/", status[0].Issuer)

	asked := a.set.n
	c.add(time.Minute)
	for n := range 50 {
		_, err := verify(v, a.sign("ES256", a.claims(nil), map[jose.HeaderKey]any{"kid": fmt.Sprint("unknown-", n)}))
		require.ErrorIs(t, err, ErrKey)
	}
	require.Equal(t, asked+1, a.set.n, "tokens with unknown keys cannot be used to flood the provider")

	// A key that appears is found at the next fetch that is due.
	a.set.err = nil
	next := newAuthority(t, c, "ES256")
	keys := next.set.set.Keys()
	keys[0].ID = "new"
	a.set.set, err = NewKeySet(append(a.set.set.Keys(), keys...))
	require.NoError(t, err)
	fresh := next.sign("ES256", next.claims(nil), map[jose.HeaderKey]any{"kid": "new"})
	_, err = verify(v, fresh)
	require.ErrorIs(t, err, ErrKey)
	c.add(10 * time.Second)
	_, err = verify(v, fresh)
	require.NoError(t, err)
	_, err = verify(v, raw)
	require.NoError(t, err)
}

// failing is a key source that fails while told to, and counts.
type failing struct {
	KeySource
	down  atomic.Bool
	asked atomic.Int64
}

func (f *failing) Keys(ctx context.Context) (*KeySet, error) {
	f.asked.Add(1)
	if f.down.Load() {
		return nil, errors.New("down")
	}
	return f.KeySource.Keys(ctx)
}

func TestVerifierRunRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, newClock(), "ES256")
		source := &failing{KeySource: a.set}
		v, err := NewVerifier(VerifierConfig{Issuers: []IssuerTrust{{Issuer: "https://idp.example/", Audience: []string{"temporal"}, Keys: source}}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- v.Run(ctx) }()
		synctest.Wait()
		require.EqualValues(t, 1, source.asked.Load(), "keys are read at once")
		time.Sleep(time.Minute + time.Second)
		require.EqualValues(t, 2, source.asked.Load())
		source.down.Store(true)
		time.Sleep(time.Minute)
		require.EqualValues(t, 3, source.asked.Load())
		time.Sleep(10 * time.Second)
		require.Greater(t, source.asked.Load(), int64(4), "after a failure it is tried sooner")
		require.Equal(t, 1, v.Status()[0].Keys, "and the last good set stays")
		cancel()
		require.NoError(t, <-done)
	})
}

func TestParseKeySetLeavesOutWhatCannotVerify(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	a := newAuthority(t, newClock(), "RS256")
	var good struct{ Keys []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(keysJSON(t, a.set.set)), &good))
	variant := func(change map[string]any) map[string]any {
		m := map[string]any{}
		for k, v := range good.Keys[0] {
			m[k] = v
		}
		for k, v := range change {
			if v == nil {
				delete(m, k)
			} else {
				m[k] = v
			}
		}
		return m
	}
	for name, k := range map[string]map[string]any{
		"symmetric":     {"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAA", "kid": "x", "alg": "HS256"},
		"encryption":    variant(map[string]any{"use": "enc"}),
		"for signing":   variant(map[string]any{"key_ops": []string{"sign"}}),
		"other alg":     variant(map[string]any{"alg": "RSA-OAEP"}),
		"alg of HMAC":   variant(map[string]any{"alg": "HS256"}),
		"weak":          variant(map[string]any{"n": segment(string(weak.N.Bytes()))}),
		"exponent 1":    variant(map[string]any{"e": "AQ"}),
		"unknown type":  {"kty": "XYZ", "kid": "x"},
		"off the curve": {"kty": "EC", "crv": "P-256", "x": segment(strings.Repeat("a", 32)), "y": segment(strings.Repeat("b", 32)), "kid": "x"},
		"secp256k1":     {"kty": "EC", "crv": "secp256k1", "x": segment(strings.Repeat("a", 32)), "y": segment(strings.Repeat("b", 32)), "kid": "x"},
	} {
		one, err := json.Marshal(map[string]any{"keys": []any{k}})
		require.NoError(t, err)
		_, err = ParseKeySet(one)
		require.ErrorContains(t, err, "no usable key", name)
		both, err := json.Marshal(map[string]any{"keys": []any{k, good.Keys[0]}})
		require.NoError(t, err)
		set, err := ParseKeySet(both)
		require.NoError(t, err, name)
		require.Len(t, set.Keys(), 1, "%s: one bad key does not spoil the set", name)
	}
	unnamed, err := json.Marshal(map[string]any{"keys": []any{variant(map[string]any{"kid": nil})}})
	require.NoError(t, err)
	set, err := ParseKeySet(unnamed)
	require.NoError(t, err)
	thumb, err := Thumbprint(a.keys["RS256"].Public())
	require.NoError(t, err)
	require.Equal(t, thumb, set.Keys()[0].ID)
}

func TestPrivateKeysInAKeySetAreReducedToPublic(t *testing.T) {
	_, err := NewKeySet([]Key{{ID: "x", Public: newAuthority(t, newClock(), "RS256").keys["RS256"]}})
	require.ErrorContains(t, err, "cannot verify")
}

func TestFileSource(t *testing.T) {
	a := newAuthority(t, newClock(), "RS256", "ES256")
	path := filepath.Join(t.TempDir(), "keys")
	source, err := OpenSource("file://"+path, nil)
	require.NoError(t, err)
	_, err = source.Keys(context.Background())
	require.Error(t, err)
	require.NoError(t, os.WriteFile(path, []byte(keysJSON(t, a.set.set)), 0o600))
	set, err := source.Keys(context.Background())
	require.NoError(t, err)
	require.Len(t, set.Keys(), 2)
	der, err := x509.MarshalPKIXPublicKey(a.keys["RS256"].Public())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	set, err = source.Keys(context.Background())
	require.NoError(t, err)
	require.Len(t, set.Keys(), 1)
	private := x509.MarshalPKCS1PrivateKey(a.keys["RS256"].(*rsa.PrivateKey))
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: private}), 0o600))
	_, err = source.Keys(context.Background())
	require.ErrorContains(t, err, "no public key")
}

func TestTrustsFromEnv(t *testing.T) {
	env := func(vars map[string]string) func(string) string {
		return func(name string) string { return vars[name] }
	}
	trusts, err := TrustsFromEnv(env(nil), nil)
	require.NoError(t, err)
	require.Empty(t, trusts)

	trusts, err = TrustsFromEnv(env(map[string]string{
		"TEMPORAL_JWT_KEY_SOURCE1":       "https://acme.eu.auth0.com/.well-known/jwks.json",
		"TEMPORAL_JWT_KEY_SOURCE2":       "https://login.microsoftonline.com/tid/discovery/v2.0/keys",
		"TEMPORAL_JWT_KEY_SOURCE3":       "file:///etc/keys.json",
		"TEMPORAL_JWT_ISSUER3":           "corp",
		"TEMPORAL_JWT_ALGORITHMS3":       "ES256, EdDSA",
		"TEMPORAL_JWT_AUDIENCE":          "https://temporal",
		"TEMPORAL_JWT_AUDIENCE2":         "client-id",
		"TEMPORAL_JWT_KEY_REFRESH":       "2m",
		"TEMPORAL_JWT_PERMISSIONS_CLAIM": "roles",
	}), nil)
	require.NoError(t, err)
	require.Len(t, trusts, 3)
	require.Equal(t, "https://acme.eu.auth0.com/", trusts[0].Issuer)
	require.Equal(t, []string{"https://temporal"}, trusts[0].Audience)
	require.Equal(t, "https://login.microsoftonline.com/tid/v2.0", trusts[1].Issuer)
	require.Equal(t, []string{"client-id"}, trusts[1].Audience)
	require.Equal(t, "uti", trusts[1].IDClaim)
	require.Equal(t, []string{"ES256", "EdDSA"}, trusts[2].Algorithms)
	refresh, _ := trusts[0].Keys.Intervals()
	require.Equal(t, 2*time.Minute, refresh)
	got, err := trusts[0].Permissions(map[string]any{"roles": []any{"a:read"}, "permissions": []any{"b:admin"}})
	require.NoError(t, err)
	require.Equal(t, []string{"a:read"}, got)
	_, err = NewVerifier(VerifierConfig{Issuers: trusts})
	require.NoError(t, err)

	_, err = TrustsFromEnv(env(map[string]string{
		"TEMPORAL_JWT_KEY_SOURCE1": "http://idp.example/keys",
		"TEMPORAL_JWT_KEY_SOURCE2": "https://idp.example/keys",
		"TEMPORAL_JWT_KEY_SOURCE4": "https://acme.eu.auth0.com/.well-known/jwks.json",
		"TEMPORAL_JWT_ISSUER5":     "x",
		"TEMPORAL_JWT_KEY_REFRESH": "soon",
	}), nil)
	for _, want := range []string{"TEMPORAL_JWT_KEY_SOURCE1", "must be an https URL", "TEMPORAL_JWT_ISSUER2 is not set", "TEMPORAL_JWT_AUDIENCE4 is not set", "TEMPORAL_JWT_KEY_SOURCE5 is not set", "TEMPORAL_JWT_KEY_REFRESH"} {
		require.ErrorContains(t, err, want)
	}
}
