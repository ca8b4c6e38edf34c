package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	namespacepb "go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/namespace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/token"
)

// frontend is a gRPC server with Temporal's own authorization interceptor
// around this package, and just enough service behind it.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer
	healthpb.UnimplementedHealthServer
	address string
	ca      *x509.Certificate
	caKey   *ecdsa.PrivateKey
}

func (*frontend) StartWorkflowExecution(context.Context, *workflowservice.StartWorkflowExecutionRequest) (*workflowservice.StartWorkflowExecutionResponse, error) {
	return &workflowservice.StartWorkflowExecutionResponse{RunId: "r"}, nil
}

func (*frontend) ListNamespaces(context.Context, *workflowservice.ListNamespacesRequest) (*workflowservice.ListNamespacesResponse, error) {
	resp := &workflowservice.ListNamespacesResponse{}
	for _, name := range []string{"billing", "payroll"} {
		resp.Namespaces = append(resp.Namespaces, &workflowservice.DescribeNamespaceResponse{NamespaceInfo: &namespacepb.NamespaceInfo{Name: name}})
	}
	return resp, nil
}

func (*frontend) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

type anyNamespace struct{}

func (anyNamespace) Exists(namespace.Name) error { return nil }

func serve(t *testing.T, b *bench) *frontend {
	t.Helper()
	f := &frontend{}
	var err error
	f.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, f.caKey.Public(), f.caKey)
	require.NoError(t, err)
	f.ca, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(f.ca)
	// The listener takes any client; what comes without a certificate must fall
	// at the authorizer, which is the second line behind the handshake.
	config := &tls.Config{Certificates: []tls.Certificate{f.issue(t, "server")}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS12}
	no := dynamicconfig.GetBoolPropertyFn(false)
	guard := authorization.NewInterceptor(b.access.ClaimMapper(), b.access.Authorizer(), metrics.NoopMetricsHandler, log.NewNoopLogger(), anyNamespace{},
		b.access.AudienceGetter(), "", "", no, no, dynamicconfig.GetBoolPropertyFnFilteredByNamespace(true), no)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)),
		grpc.ChainUnaryInterceptor(append([]grpc.UnaryServerInterceptor{errorsToStatus, guard.Intercept}, b.access.Interceptors()...)...),
		grpc.ChainStreamInterceptor(streamErrorsToStatus, guard.InterceptStream))
	workflowservice.RegisterWorkflowServiceServer(server, f)
	healthpb.RegisterHealthServer(server, f)
	reflection.Register(server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f.address = listener.Addr().String()
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-done)
	})
	return f
}

func (f *frontend) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"temporal-server"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, f.ca, key.Public(), f.caKey)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (f *frontend) dial(t *testing.T, certs ...tls.Certificate) *grpc.ClientConn {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(f.ca)
	conn, err := grpc.NewClient(f.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: "temporal-server", Certificates: certs, MinVersion: tls.VersionTLS12})))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func with(header string) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", header)
}

func startIn(conn *grpc.ClientConn, header, ns string) error {
	_, err := workflowservice.NewWorkflowServiceClient(conn).StartWorkflowExecution(with(header), &workflowservice.StartWorkflowExecutionRequest{Namespace: ns})
	return err
}

func TestOverTheWire(t *testing.T) {
	var mu sync.Mutex
	revoked := map[string]bool{}
	b := newBench(t, func(c *Config) {
		c.CheckCertificate = func(cert *x509.Certificate) error {
			mu.Lock()
			defer mu.Unlock()
			if revoked[cert.Subject.CommonName] {
				return errors.New("revoked")
			}
			return nil
		}
	})
	f := serve(t, b)
	conn := f.dial(t, f.issue(t, "ann"))
	client := b.bearer(token.RoleClient, "billing")
	require.NoError(t, startIn(conn, client, "billing"))
	require.Equal(t, "CN=ann", b.audit.last().Certificate.Subject)
	require.True(t, strings.HasPrefix(b.audit.last().Peer.String(), "127.0.0.1:"))

	err := startIn(conn, client, "payroll")
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	var denied *serviceerror.PermissionDenied
	require.ErrorAs(t, serviceerror.FromStatus(status.Convert(err)), &denied)
	require.Equal(t, "missing role: client", denied.Reason)

	list, err := workflowservice.NewWorkflowServiceClient(conn).ListNamespaces(with(client), &workflowservice.ListNamespacesRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetNamespaces(), 1)

	_, err = healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	bare := f.dial(t)
	_, err = healthpb.NewHealthClient(bare).Check(context.Background(), &healthpb.HealthCheckRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
	require.Equal(t, codes.PermissionDenied, status.Code(startIn(bare, client, "billing")))

	// A stream: reflection.
	require.NoError(t, listServices(conn, client))
	require.Equal(t, codes.PermissionDenied, status.Code(listServices(conn, "Bearer garbage")))
	require.Equal(t, codes.PermissionDenied, status.Code(listServices(bare, client)))

	// Everything hostile is refused with one record, in one voice, and leaves
	// the good caller alone.
	for name, header := range map[string]string{
		"none": "", "garbage": "Bearer garbage", "basic": "Basic YTpi", "scheme only": "Bearer", "scheme and space": "Bearer ",
		"alg none": "Bearer eyJhbGciOiJub25lIn0.e30.", "expired": b.expired(t), "forged": b.foreign(t, "tenon", "temporal"),
		"issuer": b.foreign(t, "https://evil.example", "temporal"), "audience": b.foreign(t, "tenon", "other"), "revoked": b.revoked(t),
		"oversized": "Bearer " + strings.Repeat("a", 20<<10), "two tokens": client + " " + client,
	} {
		before := b.audit.len()
		err := startIn(conn, header, "billing")
		require.Equal(t, codes.PermissionDenied, status.Code(err), name)
		require.Equal(t, "Request unauthorized.", status.Convert(err).Message(), name)
		require.Equal(t, before+1, b.audit.len(), name)
		require.Equal(t, audit.Unauthenticated, b.audit.last().Verdict, name)
		require.NotEmpty(t, b.audit.last().Reason, name)
		require.NoError(t, startIn(conn, client, "billing"))
	}

	// Revocation of a certificate ends what its open connection may do.
	other := f.dial(t, f.issue(t, "eve"))
	require.NoError(t, startIn(other, client, "billing"))
	mu.Lock()
	revoked["eve"] = true
	mu.Unlock()
	require.Equal(t, codes.PermissionDenied, status.Code(startIn(other, client, "billing")))
	require.NoError(t, startIn(conn, client, "billing"))
}

// listServices asks for the list of services.
func listServices(conn *grpc.ClientConn, header string) error {
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(with(header))
	if err != nil {
		return err
	}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		return err
	}
	_, err = stream.Recv()
	return errors.Join(err, stream.CloseSend())
}

// TestKeyRotationUnderLoad rotates the signing key while callers call: each
// takes the token that is in the file, as workers do.
func TestKeyRotationUnderLoad(t *testing.T) {
	b := newBench(t, nil)
	f := serve(t, b)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		conn := f.dial(t, f.issue(t, "worker"))
		source := token.FileSource(b.dir + "/" + token.ClientTokenFile)
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				raw, err := source.Token()
				if err != nil {
					t.Error(err)
					return
				}
				if err := startIn(conn, "Bearer "+raw.Reveal(), "billing"); err != nil {
					t.Errorf("call %d: %v", n, err)
					return
				}
			}
		})
	}
	for range 3 {
		require.NoError(t, b.issuer.Rotate(context.Background()))
		b.clock.add(time.Second)
	}
	close(stop)
	group.Wait()
	require.Greater(t, b.audit.len(), 50)
}

// errorsToStatus is what the server's own outer interceptor does to errors.
func errorsToStatus(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	resp, err := handler(ctx, req)
	return resp, serviceerror.ToStatus(err).Err()
}

func streamErrorsToStatus(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return serviceerror.ToStatus(handler(srv, ss)).Err()
}
