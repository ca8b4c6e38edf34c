package access

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/server/api/adminservice/v1"
	"go.temporal.io/server/common/api"
	"go.temporal.io/server/common/authorization"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tenonhq/tenon/internal/token"
)

var update = flag.Bool("update", false, "rewrite golden files")

// method is one method that the frontend serves.
type method struct {
	full      string
	stream    bool
	namespace func(ns string) any
}

// served lists every method of every service that the frontend registers
// (service/frontend/service.go of the Temporal server).
func served(t testing.TB) []method {
	t.Helper()
	var list []method
	for _, file := range []protoreflect.FileDescriptor{
		workflowservice.File_temporal_api_workflowservice_v1_service_proto,
		operatorservice.File_temporal_api_operatorservice_v1_service_proto,
		adminservice.File_temporal_server_api_adminservice_v1_service_proto,
		healthpb.File_grpc_health_v1_health_proto,
		reflectionpb.File_grpc_reflection_v1_reflection_proto,
		reflectionalpha.File_grpc_reflection_v1alpha_reflection_proto,
	} {
		services := file.Services()
		for s := range services.Len() {
			methods := services.Get(s).Methods()
			for m := range methods.Len() {
				d := methods.Get(m)
				entry := method{full: fmt.Sprintf("/%s/%s", services.Get(s).FullName(), d.Name()), stream: d.IsStreamingClient() || d.IsStreamingServer()}
				entry.namespace = func(string) any { return nil }
				if !entry.stream {
					input, err := protoregistry.GlobalTypes.FindMessageByName(d.Input().FullName())
					require.NoError(t, err)
					entry.namespace = func(ns string) any {
						msg := input.New()
						if f := input.Descriptor().Fields().ByName("namespace"); f != nil && f.Kind() == protoreflect.StringKind {
							msg.Set(f, protoreflect.ValueOfString(ns))
						}
						return msg.Interface()
					}
				}
				list = append(list, entry)
			}
		}
	}
	require.Greater(t, len(list), 180)
	return list
}

// nexusMethods are not gRPC services but are authorized under these names.
func nexusMethods() []method {
	var list []method
	for _, m := range []string{"DispatchNexusTask", "DispatchByNamespaceAndTaskQueue", "DispatchByEndpoint", "CompleteNexusOperation", "CompleteNexusOperationChasm"} {
		list = append(list, method{full: nexusService + m, namespace: func(string) any { return nil }})
	}
	return list
}

func namespaceOf(req any) string {
	if r, ok := req.(interface{ GetNamespace() string }); ok {
		return r.GetNamespace()
	}
	return ""
}

func TestEveryMethodHasARow(t *testing.T) {
	methods := index(policyTable)
	total := 0
	for _, m := range append(served(t), nexusMethods()...) {
		require.Contains(t, methods, m.full, "a method that the server serves is missing in the policy table")
		total++
	}
	require.Len(t, methods, total, "the policy table has rows for methods that the server does not serve")
	listed := 0
	for _, r := range policyTable {
		listed += len(strings.Fields(r.methods))
		require.NotZero(t, r.where)
		require.NotZero(t, r.effect)
		require.True(t, r.may != 0 || r.where == authenticated || r.where == probe, "a row without a role")
	}
	require.Equal(t, total, listed, "a method is listed twice")
}

// credential is a way to call.
type credential struct {
	name   string
	header string
	cert   bool
}

const (
	ownNamespace     = "billing"
	foreignNamespace = "payroll"
)

// TestMatrix calls every method with every credential. What is allowed is
// compared with a golden file, which a person reads, and with two rules that
// know nothing of the policy table: Temporal's own classification of its
// methods, and that a bad credential opens nothing.
func TestMatrix(t *testing.T) {
	b := newBench(t, nil)
	methods := append(served(t), nexusMethods()...)
	var report strings.Builder
	for _, m := range methods {
		var here, elsewhere, everywhere []string
		for _, c := range b.credentials(t) {
			for _, target := range []string{ownNamespace, foreignNamespace} {
				req := m.namespace(target)
				ns := namespaceOf(req)
				if strings.HasPrefix(m.full, nexusService) {
					ns = target
				}
				cert := b.cert
				if !c.cert {
					cert = nil
				}
				before := b.audit.len()
				result := b.call(withCert(cert), c.header, m.full, ns, req)
				require.Equal(t, before+1, b.audit.len(), "each decision is recorded once")
				ok := result.Decision == authorization.DecisionAllow
				where := fmt.Sprintf("%s with %s in %s", m.full, c.name, target)
				if ok {
					checkAgainstTemporal(t, c, m, ns, where)
					role, holds, _ := strings.Cut(c.name, ":")
					switch {
					case holds != ownNamespace && target == ownNamespace:
						everywhere = append(everywhere, role)
					case holds == ownNamespace && target == ownNamespace:
						here = append(here, role)
					case holds == ownNamespace:
						elsewhere = append(elsewhere, role)
					}
				} else {
					require.NotEqual(t, authorization.DecisionAllow, result.Decision)
					require.True(t, result.Reason == "" || strings.HasPrefix(result.Reason, "missing role: "), "%s: the refusal tells %q", where, result.Reason)
					require.Nil(t, result.Principal)
				}
			}
		}
		fmt.Fprintf(&report, "%s\n    own namespace: %s\n    foreign namespace: %s\n    cluster-wide: %s\n", m.full, named(here), named(elsewhere), named(everywhere))
	}
	golden := filepath.Join("testdata", "matrix.golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(report.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), report.String())
}

func named(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, " ")
}

// checkAgainstTemporal is what any allow must satisfy, whatever our table says.
func checkAgainstTemporal(t *testing.T, c credential, m method, ns, where string) {
	t.Helper()
	if strings.HasPrefix(c.name, "bad-") {
		require.True(t, strings.HasPrefix(m.full, healthService) && c.cert, "%s: a bad credential opens something", where)
		return
	}
	role, holds, _ := strings.Cut(c.name, ":")
	open := strings.HasPrefix(m.full, healthService) || strings.HasPrefix(m.full, "/grpc.reflection.") ||
		slices.Contains([]string{"GetSystemInfo", "GetClusterInfo", "ListNamespaces"}, api.MethodName(m.full))
	if open {
		return
	}
	meta := api.GetMethodMetadata(m.full)
	require.NotEqual(t, api.ScopeUnknown, meta.Scope, where)
	if holds == ownNamespace {
		require.NotEqual(t, foreignNamespace, ns, "%s: a namespace's role reaches another namespace", where)
		if meta.Scope == api.ScopeCluster {
			require.Equal(t, "GetSearchAttributes", api.MethodName(m.full), where)
		}
	}
	if meta.Access == api.AccessAdmin && role != "admin" {
		readsOfCluster := []string{"ListClusters", "GetNexusEndpoint", "ListNexusEndpoints"}
		require.True(t, holds == "everywhere" && slices.Contains(readsOfCluster, api.MethodName(m.full)), "%s: an admin method", where)
	}
	if role == "reader" {
		readsOfCluster := []string{"ListClusters", "GetNexusEndpoint", "ListNexusEndpoints"}
		require.True(t, meta.Access == api.AccessReadOnly || slices.Contains(readsOfCluster, api.MethodName(m.full)), "%s: a reader changes something", where)
	}
}

func (b *bench) credentials(t *testing.T) []credential {
	if b.t == nil {
		t.Fatal("no bench")
	}
	return credentialsOf(t, b)
}

var credentialCache = map[*bench][]credential{}

func credentialsOf(t *testing.T, b *bench) []credential {
	t.Helper()
	if list := credentialCache[b]; list != nil {
		return list
	}
	var list []credential
	for _, r := range token.Roles() {
		list = append(list, credential{string(r) + ":" + ownNamespace, b.bearer(r, ownNamespace), true})
		list = append(list, credential{string(r) + ":everywhere", b.bearer(r, token.ClusterWide), true})
	}
	list = append(list,
		credential{"bad-none", "", true},
		credential{"bad-no-certificate", b.bearer(token.RoleAdmin, token.ClusterWide), false},
		credential{"bad-nothing", "", false},
		credential{"bad-garbage", "Bearer garbage", true},
		credential{"bad-basic", "Basic dXNlcjpwYXNz", true},
		credential{"bad-expired", b.expired(t), true},
		credential{"bad-issuer", b.foreign(t, "https://evil.example", "temporal"), true},
		credential{"bad-audience", b.foreign(t, "tenon", "other"), true},
		credential{"bad-forged", b.foreign(t, "tenon", "temporal"), true},
		credential{"bad-revoked", b.revoked(t), true},
	)
	credentialCache[b] = list
	t.Cleanup(func() { delete(credentialCache, b) })
	return list
}

func (b *bench) expired(t *testing.T) string {
	t.Helper()
	c := b.clock.now().Add(-48 * time.Hour)
	old, err := token.OpenIssuer(token.IssuerConfig{Dir: b.issuerDir(), Now: func() time.Time { return c }})
	require.NoError(t, err)
	raw, _, err := old.Issue(context.Background(), token.IssueRequest{Subject: "late", Role: token.RoleAdmin, Namespace: token.ClusterWide, TTL: time.Hour})
	require.NoError(t, err)
	return "Bearer " + raw.Reveal()
}

func (b *bench) revoked(t *testing.T) string {
	t.Helper()
	raw, claims, err := b.issuer.Issue(context.Background(), token.IssueRequest{Subject: "stolen", Role: token.RoleAdmin, Namespace: token.ClusterWide})
	require.NoError(t, err)
	require.NoError(t, b.issuer.Revoke(context.Background(), claims.ID, "stolen"))
	return "Bearer " + raw.Reveal()
}

// foreign is a token that another authority signed, claiming an issuer and an audience.
func (b *bench) foreign(t *testing.T, issuer, audience string) string {
	t.Helper()
	dir := t.TempDir()
	seedKey(t, dir)
	other, err := token.OpenIssuer(token.IssuerConfig{Dir: dir, Issuer: issuer, Audience: audience, Now: b.clock.now})
	require.NoError(t, err)
	if audience != "temporal" {
		// Genuine but for another audience: the same keys.
		other, err = token.OpenIssuer(token.IssuerConfig{Dir: b.issuerDir(), Issuer: issuer, Audience: audience, Now: b.clock.now})
		require.NoError(t, err)
	} else {
		require.NoError(t, other.Init(context.Background()))
	}
	raw, _, err := other.Issue(context.Background(), token.IssueRequest{Subject: "mallory", Role: token.RoleAdmin, Namespace: token.ClusterWide})
	require.NoError(t, err)
	return "Bearer " + raw.Reveal()
}

// TestWorkerRoleIsExactlyAWorkersCalls keeps the worker role from growing.
func TestWorkerRoleIsExactlyAWorkersCalls(t *testing.T) {
	b := newBench(t, nil)
	header := b.bearer(token.RoleWorker, ownNamespace)
	var got []string
	for _, m := range served(t) {
		req := m.namespace(ownNamespace)
		if strings.HasPrefix(m.full, workflowService) && b.allowed(header, m.full, namespaceOf(req), req) {
			got = append(got, api.MethodName(m.full))
		}
	}
	require.ElementsMatch(t, strings.Fields(`
		GetSystemInfo GetClusterInfo ListNamespaces DescribeNamespace GetWorkflowExecutionHistory FetchWorkerConfig
		PollWorkflowTaskQueue PollActivityTaskQueue PollNexusTaskQueue
		RespondWorkflowTaskCompleted RespondWorkflowTaskFailed RespondQueryTaskCompleted
		RespondActivityTaskCompleted RespondActivityTaskCompletedById RespondActivityTaskFailed RespondActivityTaskFailedById
		RespondActivityTaskCanceled RespondActivityTaskCanceledById RecordActivityTaskHeartbeat RecordActivityTaskHeartbeatById
		RespondNexusTaskCompleted RespondNexusTaskFailed ResetStickyTaskQueue ShutdownWorker RecordWorkerHeartbeat`), got)
}

// TestNestedNamespacesAreReviewed fails when the API grows a request that names
// a second namespace inside: such a name can mask the one that was authorised.
func TestNestedNamespacesAreReviewed(t *testing.T) {
	reviewed := map[string]string{
		"ExecuteMultiOperation.operations.start_workflow.namespace":                                                     "multiOperation",
		"ExecuteMultiOperation.operations.update_workflow.namespace":                                                    "multiOperation",
		"RespondWorkflowTaskCompleted.commands.request_cancel_external_workflow_execution_command_attributes.namespace": "commands",
		"RespondWorkflowTaskCompleted.commands.start_child_workflow_execution_command_attributes.namespace":             "commands",
		"RespondWorkflowTaskCompleted.commands.signal_external_workflow_execution_command_attributes.namespace":         "commands",
		"CreateNexusEndpoint.spec.target.worker.namespace":                                                              "system only",
		"UpdateNexusEndpoint.spec.target.worker.namespace":                                                              "system only",
	}
	for _, m := range served(t) {
		if m.stream || !(strings.HasPrefix(m.full, workflowService) || strings.HasPrefix(m.full, operatorService)) {
			continue
		}
		msg := m.namespace("x").(proto.Message).ProtoReflect().Descriptor()
		walkNamespaces(msg, api.MethodName(m.full), 0, map[protoreflect.FullName]bool{}, func(path string) {
			// Failures and links only tell what happened elsewhere.
			if strings.Contains(path, "failure_info.") || strings.Contains(path, "link") {
				return
			}
			require.Contains(t, reviewed, path)
		})
	}
}

func walkNamespaces(d protoreflect.MessageDescriptor, path string, depth int, seen map[protoreflect.FullName]bool, found func(string)) {
	if seen[d.FullName()] {
		return
	}
	seen[d.FullName()] = true
	defer delete(seen, d.FullName())
	for n := range d.Fields().Len() {
		f := d.Fields().Get(n)
		name := path + "." + string(f.Name())
		switch {
		case f.Kind() == protoreflect.StringKind && strings.Contains(string(f.Name()), "namespace") && depth > 0:
			found(name)
		case f.IsMap() && f.MapValue().Message() != nil:
			walkNamespaces(f.MapValue().Message(), name, depth+1, seen, found)
		case !f.IsMap() && f.Message() != nil:
			walkNamespaces(f.Message(), name, depth+1, seen, found)
		}
	}
}
