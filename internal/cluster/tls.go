package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"go.temporal.io/server/common/rpc/encryption"

	"github.com/tenonhq/tenon/internal/pki"
)

// tlsProvider hands a TLSSource to Temporal. The stock provider freezes root
// certificates at first use and notices only the first of several in a file,
// so that a change of authority breaks its clients; ours adds nothing between
// the source and the handshake.
type tlsProvider struct{ source TLSSource }

var _ encryption.TLSConfigProvider = tlsProvider{}

func (p tlsProvider) GetFrontendServerConfig() (*tls.Config, error) { return p.server(pki.Frontend) }

func (p tlsProvider) GetInternodeServerConfig() (*tls.Config, error) { return p.server(pki.Internode) }

func (p tlsProvider) server(role pki.ServerRole) (*tls.Config, error) {
	if p.source == nil {
		return nil, nil
	}
	return p.source.ServerTLS(role), nil
}

func (p tlsProvider) GetInternodeClientConfig() (*tls.Config, error) {
	if p.source == nil {
		return nil, nil
	}
	return p.source.InternodeClientTLS(), nil
}

// GetFrontendClientConfig is asked for by a server whose own workers call the
// frontend. Ours call the internal frontend, or a frontend without TLS.
func (p tlsProvider) GetFrontendClientConfig() (*tls.Config, error) { return nil, nil }

// GetRemoteClusterClientConfig refuses: replication between clusters is not
// configured, and a nil configuration would mean plaintext.
func (p tlsProvider) GetRemoteClusterClientConfig(hostname string) (*tls.Config, error) {
	return nil, fmt.Errorf("remote cluster %q: connections to other clusters are not configured", hostname)
}

// GetExpiringCerts reports nothing: the owner of the certificates watches them.
func (p tlsProvider) GetExpiringCerts(time.Duration) (expiring, expired encryption.CertExpirationMap, err error) {
	return nil, nil, nil
}

// handshakeTimeout is generous: both ends are in this process.
const handshakeTimeout = 10 * time.Second

// checkTLS tries the configurations before a port is open. Temporal would find
// out during start, and end the process; or serve, and refuse every call.
func checkTLS(ctx context.Context, cfg Config) error {
	if cfg.TLS == nil {
		return nil
	}
	var problems []error
	if front := cfg.TLS.ServerTLS(pki.Frontend); front == nil {
		if !cfg.Insecure {
			problems = append(problems, errors.New("frontend: no TLS configuration: the cluster would answer in plaintext"))
		}
	} else if err := hasCertificate(front); err != nil {
		problems = append(problems, fmt.Errorf("frontend: %w", err))
	}

	server, client := cfg.TLS.ServerTLS(pki.Internode), cfg.TLS.InternodeClientTLS()
	switch {
	case server == nil || client == nil:
		problems = append(problems, errors.New("internode: no TLS configuration: anyone on this machine would be administrator"))
	default:
		if server.ClientAuth != tls.RequireAndVerifyClientCert {
			problems = append(problems, errors.New("internode: a caller without a certificate is let in, and would be administrator"))
		}
		if err := shakeHands(ctx, server, client); err != nil {
			problems = append(problems, fmt.Errorf("internode: %w", err))
		}
	}
	return errors.Join(problems...)
}

func hasCertificate(cfg *tls.Config) error {
	if len(cfg.Certificates) > 0 {
		return nil
	}
	if cfg.GetCertificate == nil {
		if cfg.GetConfigForClient != nil {
			return nil // known at the handshake only
		}
		return errors.New("no certificate")
	}
	_, err := cfg.GetCertificate(&tls.ClientHelloInfo{})
	return err
}

// shakeHands connects the two ends as the services will, and reports what
// either says.
func shakeHands(ctx context.Context, server, client *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	client = client.Clone()
	client.NextProtos = []string{"h2"} // as gRPC does
	s, c := net.Pipe()
	theirs, ours := tls.Server(s, server), tls.Client(c, client)
	accepted := make(chan error, 1)
	go func() {
		err := theirs.HandshakeContext(ctx)
		if err == nil {
			_, err = theirs.Write([]byte{0})
		}
		accepted <- errors.Join(err, s.Close())
	}()
	err := ours.HandshakeContext(ctx)
	if err == nil {
		// In TLS 1.3 a client learns from the first read that it was refused.
		_, err = ours.Read(make([]byte, 1))
	}
	if err == nil && ours.ConnectionState().NegotiatedProtocol != "h2" {
		err = errors.New("server does not negotiate h2, which gRPC requires")
	}
	return errors.Join(err, c.Close(), <-accepted)
}
