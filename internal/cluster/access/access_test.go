package access

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	namespacepb "go.temporal.io/api/namespace/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/server/common/authorization"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/token"
)

const start = workflowService + "StartWorkflowExecution"

func TestRefusalTellsTheMissingRoleOnly(t *testing.T) {
	b := newBench(t, nil)
	for _, c := range []struct{ name, header, api, want string }{
		{"role", b.bearer(token.RoleReader, "billing"), start, "missing role: client"},
		{"terminate", b.bearer(token.RoleClient, "billing"), workflowService + "TerminateWorkflowExecution", "missing role: operator"},
		{"poll", b.bearer(token.RoleClient, "billing"), workflowService + "PollWorkflowTaskQueue", "missing role: worker"},
		{"namespace", b.bearer(token.RoleAdmin, "billing"), workflowService + "RegisterNamespace", "missing role: system"},
		{"no token", "", start, ""},
		{"garbage", "Bearer x.y.z", start, ""},
		{"unknown method", b.bearer(token.RoleAdmin, token.ClusterWide), workflowService + "Frobnicate", ""},
		{"unknown service", b.bearer(token.RoleAdmin, token.ClusterWide), "/temporal.server.api.historyservice.v1.HistoryService/StartWorkflowExecution", ""},
	} {
		result := b.call(withCert(b.cert), c.header, c.api, "billing", nil)
		require.Equal(t, authorization.DecisionDeny, result.Decision, c.name)
		require.Equal(t, c.want, result.Reason, c.name)
	}
}

func TestRefusalIsTheSameForNamespacesThatDoNotExist(t *testing.T) {
	b := newBench(t, nil)
	header := b.bearer(token.RoleClient, "billing")
	require.Equal(t,
		b.call(withCert(b.cert), header, start, "payroll", nil),
		b.call(withCert(b.cert), header, start, "no-such-namespace", nil))
}

func TestPrincipalNamesIssuerAndSubject(t *testing.T) {
	b := newBench(t, nil)
	result := b.call(withCert(b.cert), b.bearer(token.RoleClient, "billing"), start, "billing", nil)
	require.Equal(t, "jwt:tenon", result.Principal.GetType())
	require.Equal(t, "client-of-billing", result.Principal.GetName())
}

func TestOnlyTheServersOwnMapperMakesTheInternalPrincipal(t *testing.T) {
	b := newBench(t, nil)
	internal, err := authorization.NewInternalClaimMapper().GetClaims(nil)
	require.NoError(t, err)
	poll := &authorization.CallTarget{
		APIName: workflowService + "PollWorkflowTaskQueue", Namespace: "temporal-system",
		Request: &workflowservice.PollWorkflowTaskQueueRequest{TaskQueue: &taskqueuepb.TaskQueue{Name: "temporal-sys-per-ns-tq"}},
	}
	result, err := b.access.Authorizer().Authorize(context.Background(), internal, poll)
	require.NoError(t, err)
	require.Equal(t, authorization.DecisionAllow, result.Decision)
	require.Equal(t, "internal", result.Principal.GetName())

	// A token that says so is not believed, whatever its issuer and subject.
	other, err := token.OpenIssuer(token.IssuerConfig{Dir: t.TempDir(), Issuer: "temporal", Now: b.clock.now})
	require.NoError(t, err)
	require.NoError(t, other.Init(context.Background()))
	verifier, err := token.NewVerifier(token.VerifierConfig{Issuers: []token.IssuerTrust{other.Trust()}, Now: b.clock.now})
	require.NoError(t, err)
	access, err := New(Config{Verifier: verifier, Audit: b.audit, Now: b.clock.now})
	require.NoError(t, err)
	raw, _, err := other.Issue(context.Background(), token.IssueRequest{Subject: "internal", Role: token.RoleAdmin, Namespace: token.ClusterWide})
	require.NoError(t, err)
	claims, err := access.ClaimMapper().GetClaims(&authorization.AuthInfo{AuthToken: "Bearer " + raw.Reveal()})
	require.NoError(t, err)
	require.False(t, isInternal(claims))
	require.NotEqual(t, authorization.InternalPrincipalType, claims.AuthType)
	result, err = access.Authorizer().Authorize(context.Background(), claims, poll)
	require.NoError(t, err)
	require.Equal(t, authorization.DecisionDeny, result.Decision)

	// Claims that lack any part of it are nobody's.
	for _, c := range []*authorization.Claims{
		nil, {}, {System: authorization.RoleAdmin}, {System: authorization.RoleAdmin, AuthType: "temporal", Subject: "else"},
		{System: authorization.RoleReader, AuthType: "temporal", Subject: "internal"},
		{System: authorization.RoleAdmin, AuthType: "temporal", Subject: "internal", Extensions: &Caller{}},
	} {
		require.False(t, isInternal(c))
		result, err := b.access.Authorizer().Authorize(withCert(b.cert), c, &authorization.CallTarget{APIName: start, Namespace: "billing"})
		require.NoError(t, err)
		require.Equal(t, authorization.DecisionDeny, result.Decision)
	}
}

func TestMapperGivesStockAuthorizersNothing(t *testing.T) {
	b := newBench(t, nil)
	claims, err := b.access.ClaimMapper().GetClaims(&authorization.AuthInfo{AuthToken: b.bearer(token.RoleAdmin, token.ClusterWide)})
	require.NoError(t, err)
	result, err := authorization.NewDefaultAuthorizer().Authorize(context.Background(), claims, &authorization.CallTarget{APIName: start, Namespace: "billing"})
	require.NoError(t, err)
	require.Equal(t, authorization.DecisionDeny, result.Decision)
}

func TestCertificateIsCheckedOnEveryCall(t *testing.T) {
	revoked := false
	b := newBench(t, func(c *Config) {
		c.CheckCertificate = func(cert *x509.Certificate) error {
			if revoked {
				return errors.New("revoked")
			}
			return nil
		}
	})
	header := b.bearer(token.RoleClient, "billing")
	require.True(t, b.allowed(header, start, "billing", nil))
	revoked = true
	require.False(t, b.allowed(header, start, "billing", nil))
	require.Equal(t, audit.Unauthenticated, b.audit.last().Verdict)
	require.Equal(t, "certificate: revoked", b.audit.last().Reason)
	require.False(t, b.allowed("", healthService+"Check", "", &healthpb.HealthCheckRequest{}), "a revoked certificate opens not even the health check")
}

func TestHealthCheckNeedsACertificateOrAToken(t *testing.T) {
	b := newBench(t, nil)
	check := healthService + "Check"
	require.True(t, b.allowed("", check, "", nil))
	require.Equal(t, authorization.DecisionDeny, b.call(withCert(nil), "", check, "", nil).Decision)
	require.Equal(t, authorization.DecisionDeny, b.call(context.Background(), "", check, "", nil).Decision)
	require.False(t, b.allowed("", workflowService+"GetSystemInfo", "", nil), "a certificate alone opens nothing else")

	tokenOnly := newBench(t, func(c *Config) { c.RequireCertificate = false })
	require.Equal(t, authorization.DecisionDeny, tokenOnly.call(withCert(nil), "", check, "", nil).Decision)
	require.Equal(t, authorization.DecisionAllow, tokenOnly.call(withCert(nil), tokenOnly.bearer(token.RoleReader, "billing"), check, "", nil).Decision)
}

func TestCertificateAlone(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.RequireCertificate = false
		c.CertificateCaller = func(cert *x509.Certificate) (string, []token.Permission, bool) {
			return "x509:" + cert.Subject.CommonName, []token.Permission{{Namespace: "billing", Role: token.RoleWorker}}, cert.Subject.CommonName == "worker-1"
		}
	})
	call := func(info *credentials.TLSInfo, ctx context.Context, header, api string) authorization.Result {
		claims, err := b.access.ClaimMapper().GetClaims(&authorization.AuthInfo{AuthToken: header, TLSConnection: info})
		require.NoError(t, err)
		result, err := b.access.Authorizer().Authorize(ctx, claims, &authorization.CallTarget{APIName: api, Namespace: "billing"})
		require.NoError(t, err)
		return result
	}
	verified := func(cert *x509.Certificate) *credentials.TLSInfo {
		return &credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert}}}}
	}
	poll := workflowService + "PollWorkflowTaskQueue"
	result := call(verified(b.cert), withCert(b.cert), "", poll)
	require.Equal(t, authorization.DecisionAllow, result.Decision)
	require.Equal(t, "certificate", result.Principal.GetType())
	require.Equal(t, "x509:worker-1", b.audit.last().Subject)
	require.Equal(t, authorization.DecisionDeny, call(verified(b.cert), withCert(b.cert), "", start).Decision)
	require.Equal(t, authorization.DecisionDeny, call(verified(b.cert), withCert(b.cert), "Bearer garbage", poll).Decision, "a refused token is not made good by a certificate")
	require.Equal(t, authorization.DecisionAllow, call(nil, withCert(nil), b.bearer(token.RoleWorker, "billing"), poll).Decision)
	require.Equal(t, authorization.DecisionDeny, call(nil, withCert(nil), "", poll).Decision)
	require.Equal(t, authorization.DecisionDeny, call(&credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{b.cert}}}, withCert(nil), "", poll).Decision)
	other := selfSigned(t, "somebody")
	require.Equal(t, authorization.DecisionDeny, call(verified(other), withCert(other), "", poll).Decision)
}

func TestUnverifiedCertificateDoesNotCount(t *testing.T) {
	b := newBench(t, nil)
	header := b.bearer(token.RoleClient, "billing")
	require.Equal(t, authorization.DecisionDeny, b.call(withUnverifiedCert(b.cert), header, start, "billing", nil).Decision)
	require.Equal(t, "no client certificate", b.audit.last().Reason)
}

func TestTokenBoundToACertificate(t *testing.T) {
	b := newBench(t, func(c *Config) { c.RequireCertificate = false })
	sum := sha256.Sum256(b.cert.Raw)
	raw, _, err := b.issuer.Issue(context.Background(), token.IssueRequest{
		Subject: "bound", Role: token.RoleClient, Namespace: "billing", CertificateHash: base64.RawURLEncoding.EncodeToString(sum[:]),
	})
	require.NoError(t, err)
	header := "Bearer " + raw.Reveal()
	require.True(t, b.allowed(header, start, "billing", nil))
	require.Equal(t, authorization.DecisionDeny, b.call(withCert(selfSigned(t, "thief")), header, start, "billing", nil).Decision)
	require.Equal(t, authorization.DecisionDeny, b.call(withCert(nil), header, start, "billing", nil).Decision)
}

func TestRevocationTakesEffectOnTheNextCall(t *testing.T) {
	b := newBench(t, nil)
	header := b.bearer(token.RoleClient, "billing")
	require.True(t, b.allowed(header, start, "billing", nil))
	require.True(t, b.allowed(header, start, "billing", nil))
	require.NoError(t, b.issuer.RevokeSubject(context.Background(), "client-of-billing", time.Time{}, "left"))
	require.False(t, b.allowed(header, start, "billing", nil))
	require.Equal(t, "client-of-billing", b.audit.last().Subject, "the record says whose token it was")
	require.Contains(t, b.audit.last().Reason, "revoked")
}

func TestRecordSaysWhoWhatAndWhere(t *testing.T) {
	b := newBench(t, nil)
	header := b.bearer(token.RoleOperator, "billing")
	require.True(t, b.allowed(header, workflowService+"TerminateWorkflowExecution", "billing", terminate("order-7")))
	r := b.audit.last()
	require.Equal(t, audit.Allow, r.Verdict)
	require.Equal(t, "operator-of-billing", r.Subject)
	require.Equal(t, "tenon", r.Issuer)
	require.NotEmpty(t, r.TokenID)
	require.Equal(t, "order-7", r.Target)
	require.Equal(t, "billing", r.Namespace)
	require.Equal(t, workflowService+"TerminateWorkflowExecution", r.API)
	require.Equal(t, "192.0.2.7:4711", r.Peer.String())
	require.Equal(t, "abc", r.Certificate.Serial)
	require.Equal(t, "CN=worker-1", r.Certificate.Subject)
	require.Len(t, r.Certificate.Fingerprint, 64)
}

func TestWhenTheAuditLogCannotBeWritten(t *testing.T) {
	for name, c := range map[string]struct {
		policy       OnAuditFailure
		reads, write bool
	}{
		"refuse changes": {RefuseChanges, true, false},
		"refuse all":     {RefuseAll, false, false},
		"allow all":      {AllowAll, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(cfg *Config) { cfg.OnAuditFailure = c.policy })
			header := b.bearer(token.RoleClient, "billing")
			b.audit.broken = true
			require.Equal(t, c.reads, b.allowed(header, workflowService+"DescribeWorkflowExecution", "billing", nil))
			require.Equal(t, c.write, b.allowed(header, start, "billing", nil))
			require.False(t, b.allowed("", start, "billing", nil), "what is refused stays refused")
			require.EqualValues(t, 3, b.access.Stats().Unrecorded)
			internal, err := authorization.NewInternalClaimMapper().GetClaims(nil)
			require.NoError(t, err)
			result, err := b.access.Authorizer().Authorize(context.Background(), internal, &authorization.CallTarget{APIName: start})
			require.NoError(t, err)
			require.Equal(t, authorization.DecisionAllow, result.Decision, "the server itself goes on")
		})
	}
}

func TestDeniedPollersAreVisible(t *testing.T) {
	b := newBench(t, nil)
	poll := func(queue string) *workflowservice.PollActivityTaskQueueRequest {
		return &workflowservice.PollActivityTaskQueueRequest{Namespace: "billing", TaskQueue: &taskqueuepb.TaskQueue{Name: queue}}
	}
	header := b.bearer(token.RoleWorker, "billing")
	api := workflowService + "PollActivityTaskQueue"
	require.True(t, b.allowed(header, api, "billing", poll("invoices")))
	require.Empty(t, b.access.DeniedPollers())
	b.clock.add(2 * time.Hour) // the token expires
	for range 3 {
		require.False(t, b.allowed(header, api, "billing", poll("invoices")))
		b.clock.add(time.Minute)
	}
	require.False(t, b.allowed("", api, "billing", poll("letters")))
	list := b.access.DeniedPollers()
	require.Len(t, list, 2)
	require.Equal(t, "letters", list[0].TaskQueue)
	require.Equal(t, "worker-of-billing", list[1].Subject)
	require.Equal(t, "invoices", list[1].TaskQueue)
	require.EqualValues(t, 3, list[1].Count)
	require.Contains(t, list[1].Reason, "expired")
	require.Equal(t, 2*time.Minute, list[1].Last.Sub(list[1].First))
	require.EqualValues(t, 4, b.access.Stats().DeniedPolls)
}

func TestDeniedPollersAreBounded(t *testing.T) {
	var p pollers
	at := newClock()
	for n := range maxPollers + 5 {
		at.add(time.Second)
		p.add(&audit.Record{Subject: string(rune('a' + n)), Time: at.now()})
	}
	list := p.list()
	require.Len(t, list, maxPollers)
	require.Equal(t, string(rune('a'+maxPollers+4)), list[0].Subject)
	require.Equal(t, string(rune('a'+5)), list[maxPollers-1].Subject, "those refused longest ago are gone")
}

func TestInternalCallsAreSummedUp(t *testing.T) {
	b := newBench(t, nil)
	internal, err := authorization.NewInternalClaimMapper().GetClaims(nil)
	require.NoError(t, err)
	for range 5 {
		_, err := b.access.Authorizer().Authorize(context.Background(), internal, &authorization.CallTarget{APIName: start, Namespace: "billing"})
		require.NoError(t, err)
	}
	require.Zero(t, b.audit.len())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, b.access.Run(ctx))
	require.Equal(t, 1, b.audit.len())
	r := b.audit.last()
	require.EqualValues(t, 5, r.Count)
	require.Equal(t, "internal", r.Subject)
	require.Equal(t, start, r.API)
}

func TestListNamespacesShowsTheCallersOwn(t *testing.T) {
	b := newBench(t, nil)
	everything := &workflowservice.ListNamespacesResponse{NextPageToken: []byte("more")}
	for _, name := range []string{"billing", "payroll", "temporal-system"} {
		everything.Namespaces = append(everything.Namespaces, &workflowservice.DescribeNamespaceResponse{NamespaceInfo: &namespacepb.NamespaceInfo{Name: name}})
	}
	list := func(claims *authorization.Claims, method string) []string {
		ctx := context.WithValue(context.Background(), authorization.MappedClaims, claims)
		resp, err := b.access.Interceptors()[0](ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) { return everything, nil })
		require.NoError(t, err)
		var names []string
		for _, n := range resp.(*workflowservice.ListNamespacesResponse).GetNamespaces() {
			names = append(names, n.GetNamespaceInfo().GetName())
		}
		return names
	}
	claims := func(header string) *authorization.Claims {
		c, err := b.access.ClaimMapper().GetClaims(&authorization.AuthInfo{AuthToken: header})
		require.NoError(t, err)
		return c
	}
	all := []string{"billing", "payroll", "temporal-system"}
	require.Equal(t, []string{"billing"}, list(claims(b.bearer(token.RoleWorker, "billing")), listNamespacesName))
	require.Equal(t, all, list(claims(b.bearer(token.RoleReader, token.ClusterWide)), listNamespacesName))
	require.Empty(t, list(claims(b.bearer(token.RoleAdmin, "other")), listNamespacesName))
	require.Empty(t, list(claims("Bearer garbage"), listNamespacesName))
	require.Empty(t, list(nil, listNamespacesName))
	internal, err := authorization.NewInternalClaimMapper().GetClaims(nil)
	require.NoError(t, err)
	require.Equal(t, all, list(internal, listNamespacesName))
	require.Len(t, everything.Namespaces, 3, "the server's own answer, which may be shared, is not changed")
}

func TestTokenThatGrantsNothingIsLogged(t *testing.T) {
	var log strings.Builder
	b := newBench(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	raw, _, err := b.issuer.Issue(context.Background(), token.IssueRequest{Subject: "ann", Scope: "openid billing:wriet"})
	require.NoError(t, err)
	for range 3 {
		require.False(t, b.allowed("Bearer "+raw.Reveal(), start, "billing", nil))
	}
	require.Equal(t, 1, strings.Count(log.String(), "token grants no role"), "once for each token")
	require.Contains(t, log.String(), "billing:wriet")
	require.NotContains(t, log.String(), raw.Reveal())
}

func TestConfigIsChecked(t *testing.T) {
	b := newBench(t, nil)
	_, err := New(Config{Audit: b.audit})
	require.ErrorContains(t, err, "verifier is required")
	_, err = New(Config{Verifier: b.access.cfg.Verifier})
	require.ErrorContains(t, err, "audit log is required")
	_, err = New(Config{Verifier: b.access.cfg.Verifier, Audit: b.audit, Rules: []Rule{{Name: "x", Require: "1 +"}}})
	require.ErrorContains(t, err, `rule 1 ("x")`)
}
