package access

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/server/common/authorization"
	"google.golang.org/grpc"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/token"
)

// TokenVerifier decides whether a token is genuine. *token.Verifier is one.
type TokenVerifier interface {
	Verify(ctx context.Context, raw string) (*token.Claims, error)
}

// Auditor records decisions. *audit.Log is one. Append waits only for a bounded
// time, and its error means that the decision is not recorded.
type Auditor interface {
	Append(audit.Record) error
}

// OnAuditFailure says what happens to calls whose decision cannot be recorded.
type OnAuditFailure int

const (
	// RefuseChanges lets reads go on.
	RefuseChanges OnAuditFailure = iota
	// RefuseAll refuses everything.
	RefuseAll
	// AllowAll goes on unrecorded.
	AllowAll
)

// Config configures Access.
type Config struct {
	// Verifier of tokens. Required.
	Verifier TokenVerifier
	// Audit takes every decision. Required.
	Audit Auditor
	// OnAuditFailure defaults to RefuseChanges.
	OnAuditFailure OnAuditFailure
	// RequireCertificate refuses every call that came without a verified client
	// certificate, whatever its token. Off, a token is enough.
	RequireCertificate bool
	// CertificateCaller says who a caller with a certificate and no token at all
	// is. Defaults to nobody: then a certificate alone opens the health check
	// and nothing else. With a token, even a refused one, it is not asked.
	CertificateCaller func(*x509.Certificate) (subject string, permissions []token.Permission, ok bool)
	// CheckCertificate is asked on every call with a certificate, so that a
	// revocation also ends what an open connection may do. Defaults to no check.
	CheckCertificate func(*x509.Certificate) error
	// Rules narrow what roles allow. Defaults to none.
	Rules []Rule
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Logger. Defaults to discarding.
	Logger *slog.Logger
}

// Access is access control for one cluster. It is safe for concurrent use.
type Access struct {
	cfg      Config
	methods  map[string]*row
	rules    []*rule
	mapper   *mapper
	certs    certificates
	internal internalCalls
	counters counters
	pollers  pollers
}

// New compiles the rules and returns the access control.
func New(cfg Config) (*Access, error) {
	if cfg.Verifier == nil {
		return nil, errors.New("access: token verifier is required")
	}
	if cfg.Audit == nil {
		return nil, errors.New("access: audit log is required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	rules, err := compileRules(cfg.Rules)
	if err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	a := &Access{cfg: cfg, methods: index(policyTable), rules: rules, mapper: newMapper(cfg.Verifier, len(rules) > 0, cfg.Logger)}
	a.internal.cfg = &a.cfg
	if cfg.CertificateCaller != nil {
		a.mapper.byCertificate = a.certificateClaims
	}
	return a, nil
}

// ClaimMapper returns the claim mapper for the frontend.
func (a *Access) ClaimMapper() authorization.ClaimMapper { return a.mapper }

// Authorizer returns the authorizer, which serves frontend and internal frontend.
func (a *Access) Authorizer() authorization.Authorizer { return authorizer{a} }

// AudienceGetter returns a mapper of no audience: the verifier checks each
// token's audience by its issuer's own rule.
func (a *Access) AudienceGetter() authorization.JWTAudienceMapper { return noAudience{} }

type noAudience struct{}

func (noAudience) Audience(context.Context, any, *grpc.UnaryServerInfo) string { return "" }

// Interceptors returns what must run on the frontend after authorization.
func (a *Access) Interceptors() []grpc.UnaryServerInterceptor {
	return []grpc.UnaryServerInterceptor{showOwnNamespaces, stampPrincipal}
}

// showOwnNamespaces leaves in the answer of ListNamespaces those in which the
// caller holds a role. Without it the list would be the cluster's to see, or
// nobody's: the Web UI asks for it on every page. A page may come out short or
// empty; the next page's token is kept.
func showOwnNamespaces(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	if err != nil || info.FullMethod != listNamespacesName {
		return resp, err
	}
	claims, _ := ctx.Value(authorization.MappedClaims).(*authorization.Claims)
	if isInternal(claims) {
		return resp, nil
	}
	list, ok := resp.(*workflowservice.ListNamespacesResponse)
	caller := FromClaims(claims)
	if !ok || caller == nil || caller.refused != nil {
		// The authorizer lets no such call through; showing nothing is right even so.
		return &workflowservice.ListNamespacesResponse{}, nil
	}
	own := &workflowservice.ListNamespacesResponse{NextPageToken: list.GetNextPageToken()}
	for _, n := range list.GetNamespaces() {
		if caller.Sees(n.GetNamespaceInfo().GetName()) {
			own.Namespaces = append(own.Namespaces, n)
		}
	}
	return own, nil
}

// Run records, minute by minute, how often the server called itself, until ctx
// ends.
func (a *Access) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			a.internal.flush()
			return nil
		case <-ticker.C:
			a.internal.flush()
		}
	}
}

var (
	bgContext         = context.Background()
	stringsType       = reflect.TypeFor[[]string]()
	internalPrincipal = &commonpb.Principal{Type: authorization.InternalPrincipalType, Name: authorization.InternalPrincipalName}
	// nobody is a caller that this package's mapper has not seen.
	nobody = &Caller{refused: errNoToken}
)

type (
	hasWorkflowExecution interface {
		GetWorkflowExecution() *commonpb.WorkflowExecution
	}
	hasExecution interface {
		GetExecution() *commonpb.WorkflowExecution
	}
)

// internalCalls sums up the calls of the server's own workers: they are the
// server, they come by the hundred thousand a day, and none of them is refused.
type internalCalls struct {
	cfg   *Config
	mu    sync.Mutex
	calls map[internalCall]int64
}

type internalCall struct{ api, namespace string }

func (i *internalCalls) count(api, namespace string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.calls == nil {
		i.calls = make(map[internalCall]int64)
	}
	i.calls[internalCall{api, namespace}]++
}

func (i *internalCalls) flush() {
	i.mu.Lock()
	calls := i.calls
	i.calls = nil
	i.mu.Unlock()
	for call, n := range calls {
		err := i.cfg.Audit.Append(audit.Record{
			Time: i.cfg.Now(), Verdict: audit.Allow, API: call.api, Namespace: call.namespace,
			Subject: authorization.InternalPrincipalName, Issuer: authorization.InternalPrincipalType, Count: n,
		})
		if err != nil {
			i.cfg.Logger.Error("internal calls could not be recorded", "error", err)
			return
		}
	}
}

// Stats are counters since the start.
type Stats struct {
	Allowed, Denied, Unauthenticated uint64
	// DeniedPolls counts refused polls of either kind.
	DeniedPolls uint64
	// Unrecorded counts decisions that the audit log did not take.
	Unrecorded uint64
}

type counters struct{ allowed, denied, unauthenticated, deniedPolls, unrecorded atomic.Uint64 }

// Stats returns the counters.
func (a *Access) Stats() Stats {
	return Stats{
		Allowed: a.counters.allowed.Load(), Denied: a.counters.denied.Load(),
		Unauthenticated: a.counters.unauthenticated.Load(), DeniedPolls: a.counters.deniedPolls.Load(),
		Unrecorded: a.counters.unrecorded.Load(),
	}
}

func (a *Access) count(v audit.Verdict, r *audit.Record) {
	switch v {
	case audit.Allow:
		a.counters.allowed.Add(1)
		return
	case audit.Deny:
		a.counters.denied.Add(1)
	default:
		a.counters.unauthenticated.Add(1)
	}
	if audit.IsPoll(r.API) {
		a.counters.deniedPolls.Add(1)
		a.pollers.add(r)
	}
}

// DeniedPollers lists the workers whose polls were refused since the start, the
// latest first.
func (a *Access) DeniedPollers() []audit.DeniedPoller { return a.pollers.list() }
