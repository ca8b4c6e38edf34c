package access

import (
	"context"
	"crypto/x509"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/token"
)

// stock is Temporal's own claim mapper and authorizer over the same key set.
func stock(t testing.TB, dir string) (authorization.ClaimMapper, authorization.Authorizer) {
	t.Helper()
	cfg := &config.Authorization{JWTKeyProvider: config.JWTKeyProvider{KeySourceURIs: []string{"file://" + filepath.Join(dir, "temporal-jwt-keys.json")}}}
	cfg.PermissionsClaimName = "permissions"
	return authorization.NewDefaultJWTClaimMapper(authorization.NewDefaultTokenKeyProvider(cfg, log.NewNoopLogger()), cfg, log.NewNoopLogger()), authorization.NewDefaultAuthorizer()
}

// secured is what a cluster runs: verifier, policy and an audit log on disk.
func secured(t testing.TB) (a *Access, dir, header string) {
	t.Helper()
	dir = t.TempDir()
	issuer, err := token.OpenIssuer(token.IssuerConfig{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, issuer.Init(context.Background()))
	verifier, err := token.NewVerifier(token.VerifierConfig{Issuers: []token.IssuerTrust{issuer.Trust()}, Revocations: issuer.Revocations()})
	require.NoError(t, err)
	records, err := audit.Open(audit.Config{Dir: t.TempDir(), KeyFile: filepath.Join(dir, "audit.key")})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- records.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	a, err = New(Config{Verifier: verifier, Audit: records, RequireCertificate: true, CheckCertificate: func(*x509.Certificate) error { return nil }})
	require.NoError(t, err)
	raw, _, err := issuer.Issue(context.Background(), token.IssueRequest{
		Subject: "bench", Role: token.RoleReader, Namespace: "default",
		// For the stock mapper, which knows the role by another name.
		Permissions: []token.Permission{{Namespace: "default", Role: token.RoleAdmin}},
	})
	require.NoError(t, err)
	return a, dir, "Bearer " + raw.Reveal()
}

func describe() *authorization.CallTarget {
	return &authorization.CallTarget{
		APIName: workflowService + "DescribeWorkflowExecution", Namespace: "default",
		Request: &workflowservice.DescribeWorkflowExecutionRequest{Namespace: "default", Execution: &commonpb.WorkflowExecution{WorkflowId: "order-1"}},
	}
}

// authorize does what the server does for each call, apart from reading headers.
func authorize(t testing.TB, ctx context.Context, m authorization.ClaimMapper, a authorization.Authorizer, info *authorization.AuthInfo, target *authorization.CallTarget) {
	claims, err := m.GetClaims(info)
	if err != nil {
		t.Fatal(err)
	}
	result, err := a.Authorize(ctx, claims, target)
	if err != nil || result.Decision != authorization.DecisionAllow {
		t.Fatalf("not allowed: %+v, %v", result, err)
	}
}

// BenchmarkAuthorization compares the authorization of a call whose token was
// seen before with Temporal's default claim mapper and authorizer on the same
// RS256 token. "decision" is what they have in common. "recorded" also writes
// each decision to an audit log on disk, as fast as the disk takes them: one
// caller in a loop asks for more records than any cluster makes.
func BenchmarkAuthorization(b *testing.B) {
	a, dir, header := secured(b)
	info := &authorization.AuthInfo{AuthToken: header}
	ctx := withCert(selfSigned(b, "bench"))
	unrecorded, err := New(Config{Verifier: a.cfg.Verifier, Audit: discard{}, RequireCertificate: true, CheckCertificate: a.cfg.CheckCertificate})
	require.NoError(b, err)
	stockMapper, stockAuthorizer := stock(b, dir)
	for _, c := range []struct {
		name       string
		mapper     authorization.ClaimMapper
		authorizer authorization.Authorizer
	}{
		{"decision", unrecorded.ClaimMapper(), unrecorded.Authorizer()},
		{"recorded", a.ClaimMapper(), a.Authorizer()},
		{"temporal", stockMapper, stockAuthorizer},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			target := describe()
			for b.Loop() {
				authorize(b, ctx, c.mapper, c.authorizer, info, target)
			}
		})
	}
}

// TestSeenTokenAllocations keeps the fast path fast without measuring time.
func TestSeenTokenAllocations(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Audit = discard{} })
	info := &authorization.AuthInfo{AuthToken: b.bearer(token.RoleReader, "default")}
	ctx := withCert(b.cert)
	target := describe()
	mapper, authorizer := b.access.ClaimMapper(), b.access.Authorizer()
	authorize(t, ctx, mapper, authorizer, info, target)
	require.LessOrEqual(t, testing.AllocsPerRun(1000, func() { authorize(t, ctx, mapper, authorizer, info, target) }), 2.0)
}

type discard struct{}

func (discard) Append(audit.Record) error { return nil }
