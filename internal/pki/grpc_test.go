package pki

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// A gRPC server that asks CheckPeer on every call ends a revoked client's calls
// on the connection that is already open.
func TestRevocationOnALiveConnection(t *testing.T) {
	s := newStore(t, Config{})
	checked := make(chan bool, 8)
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(s.ServerTLS(Frontend))),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			p, ok := peer.FromContext(ctx)
			if !ok {
				return nil, status.Error(codes.Internal, "no peer")
			}
			state := p.AuthInfo.(credentials.TLSInfo).State
			// Claim mappers read the verified chain.
			checked <- len(state.VerifiedChains) > 0 && state.VerifiedChains[0][0] == state.PeerCertificates[0]
			if err := s.CheckPeer(state.PeerCertificates[0]); err != nil {
				return nil, status.Error(codes.PermissionDenied, err.Error())
			}
			return handler(ctx, req)
		}),
	)
	healthpb.RegisterHealthServer(server, health.NewServer())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	defer func() {
		server.Stop()
		require.NoError(t, <-served)
	}()

	worker := issue(t, s, IssueRequest{Role: RoleWorker, Name: "billing"})
	dial := func(issued *Issued) healthpb.HealthClient {
		conn, err := grpc.NewClient(ln.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(asClient(t, s, issued))))
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return healthpb.NewHealthClient(conn)
	}
	live := dial(worker)
	_, err = live.Check(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	require.True(t, <-checked)

	_, err = s.Revoke(t.Context(), worker.Info.Serial, KeyCompromise)
	require.NoError(t, err)
	_, err = live.Check(t.Context(), &healthpb.HealthCheckRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err), "the open connection")
	require.Contains(t, err.Error(), "revoked")
	require.True(t, <-checked)
	_, err = dial(worker).Check(t.Context(), &healthpb.HealthCheckRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err), "a new connection does not come about")
	require.Empty(t, checked)

	_, err = dial(issue(t, s, IssueRequest{Role: RoleWorker, Name: "billing"})).Check(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err, "everyone else is served throughout")
}
