package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
)

// clock is a time that tests move by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func readToken(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.TrimSpace(string(data))
}

// newIssuer is an issuer that makes its own RSA key, as in production.
func newIssuer(t *testing.T, c *clock) *Issuer {
	t.Helper()
	return issuerIn(t, c, t.TempDir())
}

// quickIssuer is an issuer with an EC key, which takes no time to make.
func quickIssuer(t *testing.T, c *clock) *Issuer {
	t.Helper()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, privateKeyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return issuerIn(t, c, dir)
}

func issuerIn(t *testing.T, c *clock, dir string) *Issuer {
	t.Helper()
	i, err := OpenIssuer(IssuerConfig{Dir: dir, Now: c.now})
	require.NoError(t, err)
	require.NoError(t, i.Init(context.Background()))
	return i
}

func newTestVerifier(t *testing.T, i *Issuer, c *clock) *Verifier {
	t.Helper()
	v, err := NewVerifier(VerifierConfig{Issuers: []IssuerTrust{i.Trust()}, Revocations: i.Revocations(), Now: c.now})
	require.NoError(t, err)
	return v
}

func issue(t *testing.T, i *Issuer, subject string, ttl time.Duration) (string, *Claims) {
	t.Helper()
	raw, claims, err := i.Issue(context.Background(), IssueRequest{Subject: subject, Role: RoleClient, Namespace: "default", TTL: ttl})
	require.NoError(t, err)
	return raw.Reveal(), claims
}

func TestInitMakesThreeTokensWithTheirScopes(t *testing.T) {
	c := newClock()
	i := newIssuer(t, c)
	v := newTestVerifier(t, i, c)
	for file, want := range map[string]Permission{
		SystemTokenFile: {ClusterWide, RoleAdmin},
		WorkerTokenFile: {ClusterWide, RoleWorker},
		ClientTokenFile: {ClusterWide, RoleClient},
	} {
		claims, err := v.Verify(context.Background(), readToken(t, i.path(file)))
		require.NoError(t, err, file)
		require.Equal(t, []Permission{want}, claims.Permissions)
		require.Equal(t, claims.Subject, claims.All["scope"])
		require.NotEmpty(t, claims.ID)
		require.Equal(t, []string{"temporal"}, claims.Audience)
		require.NotEmpty(t, claims.KeyID)
		require.Equal(t, "RS256", claims.Algorithm)
	}
	entries, err := os.ReadDir(i.cfg.Dir)
	require.NoError(t, err)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		want := os.FileMode(0o600)
		if e.Name() == publicKeyFile || e.Name() == keySetFile {
			want = 0o644
		}
		require.Equal(t, want, info.Mode().Perm(), e.Name())
	}
}

func TestInitAgainChangesNothing(t *testing.T) {
	c := newClock()
	i := quickIssuer(t, c)
	before := snapshot(t, i.cfg.Dir)
	c.add(time.Hour)
	require.NoError(t, i.Init(context.Background()))
	issuerIn(t, c, i.cfg.Dir)
	require.Equal(t, before, snapshot(t, i.cfg.Dir))
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		files[e.Name()] = string(data)
	}
	return files
}

// The private key is written under the issuer's lock, and cleared up under it;
// the certificates in the same folder have another.
func TestInitRemovesWhatACrashLeft(t *testing.T) {
	c := newClock()
	i := quickIssuer(t, c)
	torn := i.path(secret.TempPrefix + privateKeyFile + "-123")
	foreign := i.path(secret.TempPrefix + "ca.key-123")
	for _, path := range []string{torn, foreign} {
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	require.NoError(t, i.Init(t.Context()))
	require.NoFileExists(t, torn)
	require.FileExists(t, foreign)
}

func TestLockWaitEndsWithContext(t *testing.T) {
	i := quickIssuer(t, newClock())
	for _, path := range []string{i.path(lockFile), i.path(revocationsFile) + ".lock"} {
		unlock, err := secret.TryLock(path)
		require.NoError(t, err)
		defer func() { require.NoError(t, unlock()) }()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, _, err := i.Issue(ctx, IssueRequest{Subject: "a", Scope: "openid"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, i.Revoke(ctx, "t1", "test"), context.DeadlineExceeded)
}

func TestTokensAreRenewedWhenNeeded(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, c *clock, i *Issuer){
		"past two thirds": func(_ *testing.T, c *clock, _ *Issuer) { c.add(17 * time.Hour) },
		"expired":         func(_ *testing.T, c *clock, _ *Issuer) { c.add(100 * time.Hour) },
		"removed":         func(t *testing.T, _ *clock, i *Issuer) { require.NoError(t, os.Remove(i.path(WorkerTokenFile))) },
		"damaged": func(t *testing.T, _ *clock, i *Issuer) {
			require.NoError(t, os.WriteFile(i.path(WorkerTokenFile), []byte("x"), 0o600))
		},
		"another's": func(t *testing.T, _ *clock, i *Issuer) {
			data, err := os.ReadFile(i.path(SystemTokenFile))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(i.path(WorkerTokenFile), data, 0o600))
		},
		"revoked": func(t *testing.T, _ *clock, i *Issuer) {
			require.NoError(t, i.RevokeSubject(context.Background(), ScopeWorker, time.Time{}, "test"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			i := quickIssuer(t, c)
			before := readToken(t, i.path(WorkerTokenFile))
			change(t, c, i)
			require.NoError(t, i.Init(context.Background()))
			after := readToken(t, i.path(WorkerTokenFile))
			require.NotEqual(t, before, after)
			claims, err := newTestVerifier(t, i, c).Verify(context.Background(), after)
			require.NoError(t, err)
			require.Equal(t, ScopeWorker, claims.Subject)
			require.Equal(t, []Permission{{ClusterWide, RoleWorker}}, claims.Permissions)
		})
	}
}

func TestIssueChecksTheRequest(t *testing.T) {
	c := newClock()
	i := quickIssuer(t, c)
	for name, r := range map[string]IssueRequest{
		"no subject":       {Role: RoleClient, Namespace: "x"},
		"control":          {Subject: "a\nb", Role: RoleClient, Namespace: "x"},
		"nothing granted":  {Subject: "a"},
		"role alone":       {Subject: "a", Role: RoleClient},
		"namespace alone":  {Subject: "a", Namespace: "x"},
		"unknown role":     {Subject: "a", Role: "root", Namespace: "x"},
		"bad permission":   {Subject: "a", Permissions: []Permission{{"", RoleAdmin}}},
		"too long":         {Subject: "a", Role: RoleClient, Namespace: "x", TTL: 91 * 24 * time.Hour},
		"negative":         {Subject: "a", Role: RoleClient, Namespace: "x", TTL: -time.Hour},
		"under one second": {Subject: "a", Role: RoleClient, Namespace: "x", TTL: time.Millisecond},
	} {
		raw, claims, err := i.Issue(context.Background(), r)
		require.Error(t, err, name)
		require.True(t, raw.IsZero(), name)
		require.Nil(t, claims, name)
	}
	raw, claims, err := i.Issue(context.Background(), IssueRequest{Subject: "a", Role: RoleReader, Namespace: "x", Permissions: []Permission{{"y", RoleAdmin}, {"x", RoleReader}}, Scope: "openid  temporal-client", TTL: time.Hour})
	require.NoError(t, err)
	verified, err := newTestVerifier(t, i, c).Verify(context.Background(), raw.Reveal())
	require.NoError(t, err)
	require.ElementsMatch(t, []Permission{{"y", RoleAdmin}, {"x", RoleReader}, {ClusterWide, RoleClient}}, verified.Permissions)
	require.Equal(t, verified.Permissions, claims.Permissions)
	require.Equal(t, verified.ID, claims.ID)
	require.Equal(t, time.Hour, claims.Expires.Sub(claims.IssuedAt))
}

func TestRotateKeepsTheOldKeyUntilItsLastTokenExpires(t *testing.T) {
	c := newClock()
	i := quickIssuer(t, c)
	ctx := context.Background()
	v := newTestVerifier(t, i, c)
	old, oldClaims := issue(t, i, "long", 48*time.Hour)
	_, err := v.Verify(ctx, old)
	require.NoError(t, err)
	worker := readToken(t, i.path(WorkerTokenFile))

	require.NoError(t, i.Rotate(ctx))
	fresh, freshClaims := issue(t, i, "fresh", 72*time.Hour)
	require.NotEqual(t, oldClaims.KeyID, freshClaims.KeyID)
	require.NotEqual(t, worker, readToken(t, i.path(WorkerTokenFile)), "the three tokens are signed anew")
	for _, raw := range []string{old, fresh, worker} {
		c.add(200 * time.Millisecond)
		_, err := v.Verify(ctx, raw)
		require.NoError(t, err)
	}
	set, err := i.Keys(ctx)
	require.NoError(t, err)
	require.Len(t, set.Keys(), 2)

	c.add(48*time.Hour + 20*time.Second)
	_, err = v.Verify(ctx, old)
	require.NoError(t, err, "within leeway the old token is good to its very end")
	c.add(time.Hour)
	_, err = v.Verify(ctx, old)
	require.Error(t, err)
	_, err = v.Verify(ctx, fresh)
	require.NoError(t, err)
	require.NoError(t, i.Rotate(ctx))
	set, err = i.Keys(ctx)
	require.NoError(t, err)
	require.Len(t, set.Keys(), 2, "the first key is gone, the second retired")
	require.NotContains(t, []string{set.Keys()[0].ID, set.Keys()[1].ID}, oldClaims.KeyID)
	_, err = v.Verify(ctx, fresh)
	require.NoError(t, err)
}

// TestCrashDuringRotation stops a rotation after each of its writes.
func TestCrashDuringRotation(t *testing.T) {
	ctx := context.Background()
	for _, survives := range [][]string{{keySetFile}, {keySetFile, privateKeyFile}} {
		c := newClock()
		i := quickIssuer(t, c)
		raw, _ := issue(t, i, "a", time.Hour)
		before := snapshot(t, i.cfg.Dir)
		require.NoError(t, i.Rotate(ctx))
		after := snapshot(t, i.cfg.Dir)
		for name, content := range before {
			for _, s := range survives {
				if s == name {
					content = after[name]
				}
			}
			require.NoError(t, os.WriteFile(i.path(name), []byte(content), 0o600))
		}
		again := issuerIn(t, c, i.cfg.Dir)
		v := newTestVerifier(t, again, c)
		_, err := v.Verify(ctx, raw)
		require.NoError(t, err, "%v", survives)
		fresh, _ := issue(t, again, "b", time.Hour)
		_, err = v.Verify(ctx, fresh)
		require.NoError(t, err, "%v", survives)
		_, err = v.Verify(ctx, readToken(t, again.path(SystemTokenFile)))
		require.NoError(t, err, "%v", survives)
	}
}

func TestRevokeByIDAndBySubject(t *testing.T) {
	c := newClock()
	i := quickIssuer(t, c)
	ctx := context.Background()
	v := newTestVerifier(t, i, c)
	one, oneClaims := issue(t, i, "ann", time.Hour)
	two, _ := issue(t, i, "ann", time.Hour)
	bob, _ := issue(t, i, "bob", time.Hour)
	for _, raw := range []string{one, two, bob} {
		_, err := v.Verify(ctx, raw)
		require.NoError(t, err)
	}
	require.NoError(t, i.Revoke(ctx, oneClaims.ID, "lost laptop"))
	_, err := v.Verify(ctx, one)
	require.ErrorIs(t, err, ErrRevoked)
	_, err = v.Verify(ctx, two)
	require.NoError(t, err)
	require.NoError(t, i.RevokeSubject(ctx, "ann", time.Time{}, "left"))
	_, err = v.Verify(ctx, two)
	require.ErrorIs(t, err, ErrRevoked)
	_, err = v.Verify(ctx, bob)
	require.NoError(t, err)
	// A token issued afterwards is good, even in the same second.
	again, _ := issue(t, i, "ann", time.Hour)
	_, err = v.Verify(ctx, again)
	require.NoError(t, err)

	tokens, err := i.Tokens()
	require.NoError(t, err)
	revoked := map[string]int{}
	for _, e := range tokens {
		if e.Revoked {
			revoked[e.Subject]++
		}
	}
	require.Equal(t, map[string]int{"ann": 2}, revoked)
	list := i.Revocations().List()
	require.Len(t, list, 2)
	require.Equal(t, "lost laptop", list[0].Reason)

	// Forgotten when nothing that it concerns can be alive.
	c.add(367 * 24 * time.Hour)
	require.NoError(t, i.Revoke(ctx, "x", ""))
	require.Len(t, i.Revocations().List(), 1)
}

func TestAnotherProcessSeesRotationAndRevocation(t *testing.T) {
	c := newClock()
	server := quickIssuer(t, c)
	ctx := context.Background()
	v := newTestVerifier(t, server, c)
	command := issuerIn(t, c, server.cfg.Dir)
	raw, claims := issue(t, command, "ann", time.Hour)
	_, err := v.Verify(ctx, raw)
	require.NoError(t, err)

	require.NoError(t, command.Rotate(ctx))
	fresh, _ := issue(t, command, "bob", time.Hour)
	c.add(time.Second)
	_, err = v.Verify(ctx, fresh)
	require.NoError(t, err, "an unknown key is looked up")
	mine, mineClaims := issue(t, server, "eve", time.Hour)
	require.NotEqual(t, claims.KeyID, mineClaims.KeyID, "a process never signs with a retired key")
	_, err = v.Verify(ctx, mine)
	require.NoError(t, err)

	require.NoError(t, command.Revoke(ctx, claims.ID, ""))
	_, err = v.Verify(ctx, raw)
	require.NoError(t, err, "not seen yet")
	require.NoError(t, server.Revocations().Reload())
	_, err = v.Verify(ctx, raw)
	require.ErrorIs(t, err, ErrRevoked)
}

func TestRunRenewsAndWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		server, err := OpenIssuer(IssuerConfig{Dir: dir, TokenTTL: time.Hour})
		require.NoError(t, err)
		require.NoError(t, server.Init(context.Background()))
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- server.Run(ctx) }()
		v, err := NewVerifier(VerifierConfig{Issuers: []IssuerTrust{server.Trust()}, Revocations: server.Revocations()})
		require.NoError(t, err)
		command, err := OpenIssuer(IssuerConfig{Dir: dir})
		require.NoError(t, err)
		raw, claims := issue(t, command, "ann", 24*time.Hour)
		_, err = v.Verify(ctx, raw)
		require.NoError(t, err)
		require.NoError(t, command.Revoke(ctx, claims.ID, ""))
		time.Sleep(2 * time.Second)
		_, err = v.Verify(ctx, raw)
		require.ErrorIs(t, err, ErrRevoked, "within 2 s everywhere")

		source := FileSource(filepath.Join(dir, WorkerTokenFile))
		first, err := source.Token()
		require.NoError(t, err)
		for range 4 {
			time.Sleep(30 * time.Minute)
			current, err := source.Token()
			require.NoError(t, err)
			_, err = v.Verify(ctx, current.Reveal())
			require.NoError(t, err, "the token in the file is good at any time")
		}
		last, err := source.Token()
		require.NoError(t, err)
		require.False(t, first.Equal(last))
		cancel()
		require.NoError(t, <-done)
	})
}

func TestRevocationsFailClosed(t *testing.T) {
	c := newClock()
	i := quickIssuer(t, c)
	ctx := context.Background()
	v := newTestVerifier(t, i, c)
	raw, claims := issue(t, i, "ann", time.Hour)
	require.NoError(t, i.Revoke(ctx, claims.ID, ""))
	path := i.path(revocationsFile)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for name, content := range map[string]string{"damaged": "{", "unknown key": `{"revoked":[],"x":1}`, "empty entry": `{"revoked":[{}]}`} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		require.Error(t, i.Revocations().Reload(), name)
		_, err = v.Verify(ctx, raw)
		require.ErrorIs(t, err, ErrRevoked, "%s: the last list stays", name)
		_, err = OpenIssuer(IssuerConfig{Dir: i.cfg.Dir})
		require.Error(t, err, "%s: and nothing starts without one", name)
	}
	require.NoError(t, os.Remove(path))
	require.ErrorContains(t, i.Revocations().Reload(), "gone")
	_, err = v.Verify(ctx, raw)
	require.ErrorIs(t, err, ErrRevoked)
	require.NoError(t, os.WriteFile(path, good, 0o600))
	require.NoError(t, i.Revocations().Reload())
}

func TestOwnKeyOfAnotherKind(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, privateKeyFile), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600))
	i := issuerIn(t, c, dir)
	raw, claims := issue(t, i, "ann", time.Hour)
	require.Equal(t, "ES384", claims.Algorithm)
	_, err = newTestVerifier(t, i, c).Verify(context.Background(), raw)
	require.NoError(t, err)
}

func TestKeyThatOthersCanReadIsRefused(t *testing.T) {
	c := newClock()
	i := quickIssuer(t, c)
	require.NoError(t, os.Chmod(i.path(privateKeyFile), 0o644))
	_, err := OpenIssuer(IssuerConfig{Dir: i.cfg.Dir})
	require.ErrorContains(t, err, "lets others in")
}

func TestVerifyOnlyFolder(t *testing.T) {
	c := newClock()
	i := quickIssuer(t, c)
	raw, _ := issue(t, i, "ann", time.Hour)
	require.NoError(t, os.Remove(i.path(privateKeyFile)))
	reader, err := OpenIssuer(IssuerConfig{Dir: i.cfg.Dir, Now: c.now})
	require.NoError(t, err)
	_, err = newTestVerifier(t, reader, c).Verify(context.Background(), raw)
	require.NoError(t, err)
	_, _, err = reader.Issue(context.Background(), IssueRequest{Subject: "x", Role: RoleReader, Namespace: "y"})
	require.ErrorContains(t, err, "no signing key")
}

func TestHandlerPublishesPublicKeysOnly(t *testing.T) {
	c := newClock()
	i := quickIssuer(t, c)
	server := httptest.NewServer(i.Handler())
	defer server.Close()
	resp, err := http.Get(server.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "application/jwk-set+json", resp.Header.Get("Content-Type"))
	var doc struct{ Keys []map[string]any }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&doc))
	require.Len(t, doc.Keys, 1)
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi"} {
		require.NotContains(t, doc.Keys[0], private)
	}
	posted, err := http.Post(server.URL, "text/plain", nil)
	require.NoError(t, err)
	posted.Body.Close()
	require.Equal(t, http.StatusMethodNotAllowed, posted.StatusCode)

	empty, err := OpenIssuer(IssuerConfig{Dir: t.TempDir()})
	require.NoError(t, err)
	w := httptest.NewRecorder()
	empty.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
}

func TestNoTokenInTheLog(t *testing.T) {
	var log strings.Builder
	c := newClock()
	i, err := OpenIssuer(IssuerConfig{Dir: t.TempDir(), Now: c.now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.NoError(t, i.Init(context.Background()))
	require.Contains(t, log.String(), "token renewed")
	for _, f := range []string{SystemTokenFile, WorkerTokenFile, ClientTokenFile} {
		signature := readToken(t, i.path(f))[strings.LastIndexByte(readToken(t, i.path(f)), '.'):]
		require.NotContains(t, log.String(), signature)
	}
}

func TestLedgerIsCompacted(t *testing.T) {
	c := newClock()
	i := quickIssuer(t, c)
	line := `{"jti":"old","sub":"x","exp":"2020-01-01T00:00:00Z"}` + "\n"
	require.NoError(t, os.WriteFile(i.path(ledgerFile), []byte(strings.Repeat(line, compactAbove/len(line)+2)), 0o600))
	issue(t, i, "ann", time.Hour)
	info, err := os.Stat(i.path(ledgerFile))
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(1000))
	list, err := i.Tokens()
	require.NoError(t, err)
	require.Len(t, list, 1)
}

func TestTokenSourceFollowsTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		source := FileSource(path)
		_, err := source.Token()
		require.ErrorContains(t, err, "token file")
		require.NoError(t, os.WriteFile(path, []byte("one\n"), 0o600))
		got, err := source.Token()
		require.NoError(t, err)
		require.True(t, got.Equal(secret.New("one")))
		require.NoError(t, secret.WriteFile(path, []byte("two\n")))
		got, err = source.Token()
		require.NoError(t, err)
		require.Equal(t, "one", got.Reveal(), "looked at once a second")
		time.Sleep(recheck)
		headers, err := source.GetHeaders(context.Background())
		require.NoError(t, err)
		require.Equal(t, map[string]string{"authorization": "Bearer two"}, headers)
		require.NoError(t, os.Remove(path))
		time.Sleep(recheck)
		got, err = source.Token()
		require.NoError(t, err)
		require.Equal(t, "two", got.Reveal())
		for _, bad := range []string{"", "a b"} {
			require.NoError(t, os.WriteFile(path, []byte(bad), 0o600))
			_, err = FileSource(path).Token()
			require.Error(t, err)
		}
	})
}

func TestParsePermission(t *testing.T) {
	for text, want := range map[string]Permission{
		"default:read":           {"default", RoleReader},
		"default:READER":         {"default", RoleReader},
		"default:write":          {"default", RoleClient},
		"a:b:worker":             {"a:b", RoleWorker},
		"temporal-system:admin":  {ClusterWide, RoleAdmin},
		"system:operator":        {ClusterWide, RoleOperator},
		"System:client":          {"System", RoleClient},
		"Temporal-System:client": {"Temporal-System", RoleClient},
	} {
		got, err := ParsePermission(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", ":", ":admin", "default", "default:", "default:root", " default:admin", "a\tb:admin", "default:admin ", "*", strings.Repeat("a", 2000) + ":admin"} {
		_, err := ParsePermission(text)
		require.Error(t, err, "%.20q", text)
	}
}

func TestParseGrant(t *testing.T) {
	for _, c := range []struct {
		role, namespace string
		want            Permission
	}{
		{"system", "", Permission{ClusterWide, RoleAdmin}},
		{"System", "temporal-system", Permission{ClusterWide, RoleAdmin}},
		{"operator", "billing", Permission{"billing", RoleOperator}},
		{"reader", "system", Permission{ClusterWide, RoleReader}},
	} {
		got, err := ParseGrant(c.role, c.namespace)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	for _, c := range [][2]string{{"system", "billing"}, {"operator", ""}, {"root", "billing"}, {"", ""}, {"reader", " x"}} {
		_, err := ParseGrant(c[0], c[1])
		require.Error(t, err, "%q", c)
	}
}
