package sdk

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
)

// certificates are the three files that a client of a Tenon cluster holds.
type certificates struct {
	ca, cert, key string
	serverName    string
}

// tlsConfig reads the files as they are now.
func (c certificates) tlsConfig() (*tls.Config, error) {
	pem, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, fmt.Errorf("trusted certificates: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("trusted certificates: %s holds no certificate", c.ca)
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		RootCAs:      roots,
		Certificates: []tls.Certificate{pair},
		ServerName:   c.serverName,
	}, nil
}

// reloading are transport credentials that read certificates and trusted roots
// anew for every connection. tls.Config can do that for the certificate but not
// for the roots, and a client with frozen roots is cut off when the cluster's
// authority is rolled.
type reloading struct {
	files certificates
	info  credentials.ProtocolInfo
}

func newReloading(files certificates) (*reloading, error) {
	cfg, err := files.tlsConfig()
	if err != nil {
		return nil, err
	}
	return &reloading{files: files, info: credentials.NewTLS(cfg).Info()}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (r *reloading) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cfg, err := r.files.tlsConfig()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(cfg).ClientHandshake(ctx, authority, conn)
}

// ServerHandshake implements credentials.TransportCredentials.
func (r *reloading) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("client credentials cannot serve")
}

// Info implements credentials.TransportCredentials.
func (r *reloading) Info() credentials.ProtocolInfo { return r.info }

// Clone implements credentials.TransportCredentials.
func (r *reloading) Clone() credentials.TransportCredentials {
	clone := *r
	return &clone
}

// OverrideServerName implements credentials.TransportCredentials.
func (r *reloading) OverrideServerName(name string) error {
	r.files.serverName = name
	return nil
}
