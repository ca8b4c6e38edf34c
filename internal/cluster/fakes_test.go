package cluster_test

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
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/server/common/authorization"
	"google.golang.org/grpc"

	"github.com/tenonhq/tenon/internal/pki"
)

// authority is a certificate authority in memory.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}, nil
}

func (a *authority) issue(name string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// fakeTLS is a TLSSource with two authorities, like the real one.
type fakeTLS struct {
	clients, internode              *authority
	server, client, internodeShared tls.Certificate
}

func newFakeTLS() (*fakeTLS, error) {
	clients, err1 := newAuthority("clients")
	internode, err2 := newAuthority("internode")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	f := &fakeTLS{clients: clients, internode: internode}
	var err3 error
	f.server, err1 = clients.issue("temporal-server")
	f.client, err2 = clients.issue("client")
	f.internodeShared, err3 = internode.issue("temporal-internode")
	return f, errors.Join(err1, err2, err3)
}

func serverTLS(cert tls.Certificate, callers *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		Certificates: []tls.Certificate{cert}, ClientCAs: callers, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

func clientTLS(cert *tls.Certificate, servers *x509.CertPool, name string) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: servers, ServerName: name}
	if cert != nil {
		// Sent even if the server says that it does not know the issuer.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return cfg
}

func (f *fakeTLS) ServerTLS(role pki.ServerRole) *tls.Config {
	switch role {
	case pki.Frontend:
		return serverTLS(f.server, f.clients.pool)
	case pki.Internode:
		return serverTLS(f.internodeShared, f.internode.pool)
	}
	return nil
}

func (f *fakeTLS) InternodeClientTLS() *tls.Config {
	return clientTLS(&f.internodeShared, f.internode.pool, "temporal-internode")
}

// The fake access control knows one token, whose bearer may do everything.
const goodToken = "Bearer good"

type fakeAccess struct{}

func (fakeAccess) ClaimMapper() authorization.ClaimMapper                      { return fakeAccess{} }
func (fakeAccess) Authorizer() authorization.Authorizer                        { return fakeAccess{} }
func (fakeAccess) AudienceGetter() authorization.JWTAudienceMapper             { return fakeAccess{} }
func (fakeAccess) Interceptors() []grpc.UnaryServerInterceptor                 { return nil }
func (fakeAccess) Audience(context.Context, any, *grpc.UnaryServerInfo) string { return "" }

func (fakeAccess) GetClaims(info *authorization.AuthInfo) (*authorization.Claims, error) {
	if info.AuthToken != goodToken {
		return nil, nil
	}
	return &authorization.Claims{Subject: "alice", AuthType: "jwt", System: authorization.RoleAdmin}, nil
}

func (fakeAccess) Authorize(_ context.Context, claims *authorization.Claims, target *authorization.CallTarget) (authorization.Result, error) {
	if claims == nil || claims.System != authorization.RoleAdmin {
		return authorization.Result{Decision: authorization.DecisionDeny, Reason: "no role"}, nil
	}
	if strings.HasPrefix(target.APIName, "/") {
		return authorization.Result{
			Decision:  authorization.DecisionAllow,
			Principal: &commonpb.Principal{Type: claims.AuthType, Name: claims.Subject},
		}, nil
	}
	return authorization.Result{Decision: authorization.DecisionDeny}, nil
}
