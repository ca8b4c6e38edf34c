package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/server/common/authorization"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/token"
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

// fakeAudit keeps records in memory and can be broken.
type fakeAudit struct {
	mu      sync.Mutex
	records []audit.Record
	broken  bool
}

var errDiskFull = errors.New("disk full")

func (f *fakeAudit) Append(r audit.Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken {
		return errDiskFull
	}
	f.records = append(f.records, r)
	return nil
}

func (f *fakeAudit) last() audit.Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.records[len(f.records)-1]
}

func (f *fakeAudit) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.records)
}

// bench is access control over a real issuer and verifier.
type bench struct {
	t      testing.TB
	clock  *clock
	issuer *token.Issuer
	audit  *fakeAudit
	access *Access
	cert   *x509.Certificate
	dir    string
}

func newBench(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, clock: newClock(), audit: &fakeAudit{}, cert: selfSigned(t, "worker-1"), dir: t.TempDir()}
	seedKey(t, b.dir)
	var err error
	b.issuer, err = token.OpenIssuer(token.IssuerConfig{Dir: b.dir, Now: b.clock.now})
	require.NoError(t, err)
	require.NoError(t, b.issuer.Init(context.Background()))
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuers: []token.IssuerTrust{b.issuer.Trust()}, Revocations: b.issuer.Revocations(), Now: b.clock.now,
	})
	require.NoError(t, err)
	cfg := Config{Verifier: verifier, Audit: b.audit, RequireCertificate: true, Now: b.clock.now}
	if change != nil {
		change(&cfg)
	}
	b.access, err = New(cfg)
	require.NoError(t, err)
	return b
}

// bearer issues a token for a role in a namespace and returns the header.
func (b *bench) bearer(role token.Role, namespace string) string {
	b.t.Helper()
	raw, _, err := b.issuer.Issue(context.Background(), token.IssueRequest{Subject: string(role) + "-of-" + namespace, Role: role, Namespace: namespace, TTL: time.Hour})
	require.NoError(b.t, err)
	return "Bearer " + raw.Reveal()
}

// seedKey gives an issuer an EC key, which unlike RSA takes no time to make.
func seedKey(t testing.TB, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "temporal-jwt-private.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

func selfSigned(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(0xabc), Subject: pkix.Name{CommonName: name}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

// withCert is the context of a call on a connection with a verified certificate.
func withCert(cert *x509.Certificate) context.Context {
	p := &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}}
	info := credentials.TLSInfo{}
	if cert != nil {
		info.State = tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert}}, PeerCertificates: []*x509.Certificate{cert}}
	}
	p.AuthInfo = info
	return peer.NewContext(context.Background(), p)
}

// call does what the server's interceptor does for a call.
func (b *bench) call(ctx context.Context, header, api, namespace string, req any) authorization.Result {
	b.t.Helper()
	claims, err := b.access.ClaimMapper().GetClaims(&authorization.AuthInfo{AuthToken: header})
	require.NoError(b.t, err)
	result, err := b.access.Authorizer().Authorize(ctx, claims, &authorization.CallTarget{APIName: api, Namespace: namespace, Request: req})
	require.NoError(b.t, err)
	return result
}

func (b *bench) allowed(header, api, namespace string, req any) bool {
	b.t.Helper()
	return b.call(withCert(b.cert), header, api, namespace, req).Decision == authorization.DecisionAllow
}

func (b *bench) issuerDir() string { return b.dir }

// withUnverifiedCert is a connection that showed a certificate which nobody checked.
func withUnverifiedCert(cert *x509.Certificate) context.Context {
	return peer.NewContext(context.Background(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}}})
}
