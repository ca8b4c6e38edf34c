package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
)

// ServerRole says what a server is, and so what it asks of its clients.
type ServerRole string

// The servers of a store.
const (
	// Frontend is the cluster's gRPC frontend: temporal-server.crt, clients as
	// Config.ClientAuth says, ALPN h2.
	Frontend ServerRole = "frontend"
	// HTTPS is any plain HTTPS server: temporal-server.crt, no client
	// certificate asked for, ALPN h2 and http/1.1.
	HTTPS ServerRole = "https"
	// Internode is what the cluster's services serve each other:
	// temporal-internode.crt, a client certificate of the internode authority
	// required, TLS 1.3, ALPN h2.
	Internode ServerRole = "internode"
)

// Refusal is a handshake that a server refused.
type Refusal struct {
	Role       ServerRole
	RemoteAddr net.Addr
	ServerName string            // as the client asked for, or empty
	Peer       *x509.Certificate // what the client showed, if it came so far; not verified
	Err        error
}

var (
	// ErrNoCertificate says that the store has no certificate to show: Init
	// has not run, or its file was never readable.
	ErrNoCertificate = errors.New("certificate is not there")
	errNotVerified   = errors.New("handshake ended before the client was verified: it sent no certificate, one that is not trusted here, or hung up")
)

// tls12Suites are the suites of TLS 1.2 with forward secrecy and authenticated
// encryption. Those of TLS 1.3 are not configurable and all have both.
var tls12Suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// ServerTLS returns the configuration of a server. It may be used for any
// number of listeners, from before Init until the process ends: each handshake
// is served with the certificate, the roots and the revocations of its moment.
func (s *Store) ServerTLS(role ServerRole) *tls.Config {
	cfg := s.serverConfig(role, s.snap.Load())
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := s.serverConfig(role, s.snap.Load())
		if s.cfg.OnRefused != nil {
			s.watchHandshake(role, hello, c)
		}
		return c, nil
	}
	return cfg
}

// serverConfig builds the configuration of one handshake. Go verifies the
// client's chain against ClientCAs in a full handshake; VerifyConnection
// verifies it again, in every handshake, because a resumed session skips the
// first and would otherwise outlive revocation, expiry and its authority.
func (s *Store) serverConfig(role ServerRole, snap *snapshot) *tls.Config {
	cfg := &tls.Config{
		Time:          s.cfg.Now,
		MinVersion:    tls.VersionTLS12,
		CipherSuites:  tls12Suites,
		NextProtos:    []string{"h2"},
		Renegotiation: tls.RenegotiateNever,
	}
	leaf := ServerLeaf
	switch role {
	case Frontend:
		cfg.ClientCAs = snap.clientPool
		cfg.ClientAuth = clientAuthTypes[s.cfg.ClientAuth]
	case HTTPS:
		cfg.NextProtos = []string{"h2", "http/1.1"}
	case Internode:
		leaf = InternodeLeaf
		cfg.MinVersion = tls.VersionTLS13
		cfg.ClientCAs = snap.internodePool
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	default:
		// A role that does not exist serves nobody.
		cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return nil, fmt.Errorf("server role %q is unknown", role)
		}
		return cfg
	}
	cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if pair := s.snap.Load().leaves[leaf]; pair != nil {
			return pair, nil
		}
		return nil, fmt.Errorf("%w: %s.crt", ErrNoCertificate, leaf)
	}
	required := cfg.ClientAuth == tls.RequireAndVerifyClientCert
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		return s.verifyClient(role, required, state.PeerCertificates)
	}
	return cfg
}

var clientAuthTypes = map[ClientAuth]tls.ClientAuthType{
	CertificateAndToken: tls.RequireAndVerifyClientCert,
	CertificateOrToken:  tls.VerifyClientCertIfGiven,
	TokenOnly:           tls.NoClientCert,
}

// watchHandshake reports a handshake that ends without the client verified.
// crypto/tls has no hook for a client whose chain it refuses itself, but it
// cancels the hello's context when the handshake concludes.
func (s *Store) watchHandshake(role ServerRole, hello *tls.ClientHelloInfo, cfg *tls.Config) {
	type outcome struct {
		peer *x509.Certificate
		err  error
	}
	var result atomic.Pointer[outcome]
	verify := cfg.VerifyConnection
	if verify == nil {
		verify = func(tls.ConnectionState) error { return nil }
	}
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		o := &outcome{err: verify(state)}
		if len(state.PeerCertificates) > 0 {
			o.peer = state.PeerCertificates[0]
		}
		result.Store(o)
		return o.err
	}
	refusal := Refusal{Role: role, RemoteAddr: hello.Conn.RemoteAddr(), ServerName: printable(hello.ServerName)}
	context.AfterFunc(hello.Context(), func() {
		o := result.Load()
		if o == nil {
			o = &outcome{err: errNotVerified}
		}
		if o.err != nil {
			refusal.Peer, refusal.Err = o.peer, o.err
			s.cfg.OnRefused(refusal)
		}
	})
}

// ClientTLS returns the configuration of a client of the frontend or of an
// HTTPS server: it shows temporal-client.crt if asked for a certificate, and
// accepts servers whose certificate names serverName, a DNS name or an IP
// address, by the roots of each moment. An empty serverName means ServerName,
// which every server certificate of the store carries. gRPC and net/http each
// add the protocols that they negotiate.
func (s *Store) ClientTLS(serverName string) *tls.Config {
	if serverName == "" {
		serverName = ServerName
	}
	return s.clientConfig(CA, ClientLeaf, serverName)
}

// InternodeClientTLS returns the configuration with which the cluster's
// services call each other.
func (s *Store) InternodeClientTLS() *tls.Config {
	cfg := s.clientConfig(InternodeCA, InternodeLeaf, internodeName)
	cfg.MinVersion = tls.VersionTLS13
	cfg.NextProtos = []string{"h2"}
	return cfg
}

func (s *Store) clientConfig(name Authority, leaf, serverName string) *tls.Config {
	return &tls.Config{
		Time:          s.cfg.Now,
		ServerName:    serverName,
		MinVersion:    tls.VersionTLS12,
		CipherSuites:  tls12Suites,
		Renegotiation: tls.RenegotiateNever,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if pair := s.snap.Load().leaves[leaf]; pair != nil {
				return pair, nil
			}
			return nil, fmt.Errorf("%w: %s.crt", ErrNoCertificate, leaf)
		},
		// RootCAs would freeze the roots of this moment into the client.
		// Verification is not skipped: VerifyConnection does all of it, chain,
		// name, time and usage, against the roots of the handshake's moment.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return s.verifyServer(name, serverName, state.PeerCertificates)
		},
	}
}
