package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// ClientConfig configures a Client.
type ClientConfig struct {
	// CAFile is a PEM file with the roots that servers are trusted by: a copy
	// of a store's ca.crt. Defaults to the roots of the system.
	CAFile string
	// CertFile and KeyFile are the client's own certificate and key, PEM.
	// Default to none, for clusters that ask for a token only.
	CertFile, KeyFile string
	// ServerName is the DNS name or IP address that the server's certificate
	// must hold. Defaults to ServerName, the name of every store's server.
	ServerName string
	// Now tells the time. Defaults to time.Now.
	Now func() time.Time
	// Logger receives what keeps a changed file from being taken over.
	// Defaults to discard.
	Logger *slog.Logger
}

// Client is the client's side on a host that has no certs folder, only the
// files it was given. It reads them again at each handshake, so that renewed
// certificates and rolled authorities need no restart; a file that cannot be
// read or does not fit keeps the last good one in force. It knows of no
// revocations: those are in the folder.
type Client struct {
	cfg ClientConfig

	mu       sync.Mutex
	rootText []byte
	pool     *x509.CertPool // nil: the system's
	pairText []byte
	pair     *tls.Certificate
	reported string
}

// OpenClient reads the files once, and returns an error if they do not serve.
func OpenClient(cfg ClientConfig) (*Client, error) {
	if cfg.ServerName == "" {
		cfg.ServerName = ServerName
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, errors.New("client certificate: certificate and key file are given together or not at all")
	}
	c := &Client{cfg: cfg, pair: &tls.Certificate{}}
	if err := errors.Join(c.readRoots(), c.readPair()); err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	return c, nil
}

// TLS returns the configuration of a client, for gRPC and HTTPS alike; each
// adds the protocols that it negotiates.
func (c *Client) TLS() *tls.Config {
	return &tls.Config{
		Time:          c.cfg.Now,
		ServerName:    c.cfg.ServerName,
		MinVersion:    tls.VersionTLS12,
		CipherSuites:  tls12Suites,
		Renegotiation: tls.RenegotiateNever,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.report(c.readPair())
			return c.pair, nil
		},
		// As in Store.ClientTLS: RootCAs would freeze, so VerifyConnection does
		// all of the verification.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			c.mu.Lock()
			c.report(c.readRoots())
			pool := c.pool
			c.mu.Unlock()
			_, err := verifyChain(pool, c.cfg.ServerName, x509.ExtKeyUsageServerAuth, state.PeerCertificates, c.cfg.Now())
			return err
		},
	}
}

func (c *Client) readRoots() error {
	if c.cfg.CAFile == "" {
		return nil
	}
	text, err := readFile(c.cfg.CAFile)
	if err != nil {
		return err
	}
	if bytes.Equal(text, c.rootText) {
		return nil
	}
	roots, err := parseRoots(text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.cfg.CAFile, err)
	}
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	c.rootText, c.pool = text, pool
	return nil
}

func (c *Client) readPair() error {
	if c.cfg.CertFile == "" {
		return nil
	}
	cert, err := readFile(c.cfg.CertFile)
	if err != nil {
		return err
	}
	if err := checkKeyMode(c.cfg.KeyFile, false); err != nil {
		return err
	}
	key, err := readFile(c.cfg.KeyFile)
	if err != nil {
		return err
	}
	text := append(append([]byte{}, cert...), key...)
	if bytes.Equal(text, c.pairText) {
		return nil
	}
	pair, err := parsePair(c.cfg.CertFile, c.cfg.KeyFile, cert, key)
	if err != nil {
		return err
	}
	c.pairText, c.pair = text, pair
	return nil
}

// report logs a problem once. The caller holds mu.
func (c *Client) report(err error) {
	switch {
	case err == nil:
		c.reported = ""
	case err.Error() != c.reported:
		c.reported = err.Error()
		c.cfg.Logger.Error("certificate file not taken over, the last good one stays in force", "error", err)
	}
}
