package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/codec"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
)

// codecDir is the folder of a data directory in which the codec server keeps
// its own audit log, laid out like a data directory's: the log of the cluster
// can have one writer only, which is the cluster.
const codecDir = "codec"

// codecStop is how long requests have to finish when the process is asked to
// stop.
const codecStop = 5 * time.Second

// CodecConfig says how a codec server runs beside a cluster.
type CodecConfig struct {
	// Paths says where the cluster's files are: revocations, certificates and keys
	// come from there. Required.
	Paths Paths
	// File and Settings are the cluster's configuration: whom it trusts besides its
	// own issuer. Nil is the same as none.
	File     *config.File
	Settings *config.Config
	// Address is host:port; port 0 takes a free one. Defaults to 127.0.0.1:8081.
	Address string
	// AllowOrigins are the origins of the Web UIs that may ask. Defaults to none:
	// then only programs may.
	AllowOrigins []string
	// PayloadKeyFile defaults to the cluster's.
	PayloadKeyFile string
	// CertFile and KeyFile are the server's certificate and key, PEM; they are
	// read again when they change. Default to the cluster's server certificate.
	CertFile, KeyFile string
	// Workers serves the role worker too.
	Workers bool
	// Now tells the time. Defaults to time.Now.
	Now func() time.Time
	// Logger receives what happens. Nil discards.
	Logger *slog.Logger
}

// Codec is a codec server. It runs once.
type Codec struct {
	log      *slog.Logger
	certs    *pki.Store
	issuer   *token.Issuer
	verifier *token.Verifier
	audit    *audit.Log
	listener net.Listener
	server   *http.Server
	ready    chan struct{}
}

// NewCodec opens and checks everything that a codec server needs, and listens.
// The caller must call Run.
func NewCodec(cfg CodecConfig) (_ *Codec, err error) {
	if cfg.File == nil {
		cfg.File = &config.File{}
	}
	if cfg.Settings == nil {
		cfg.Settings = &config.Config{}
	}
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:8081"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := JoinDataDir(cfg.Paths.DataDir)
	if err != nil {
		return nil, err
	}
	if cfg.PayloadKeyFile == "" {
		cfg.PayloadKeyFile = cfg.Paths.PayloadKeys
	}
	c := &Codec{log: cfg.Logger, ready: make(chan struct{})}
	if c.certs, err = OpenCertsIn(cfg.Paths.Certs, nil, cfg.Logger); err != nil {
		return nil, err
	}
	if c.issuer, err = OpenIssuerIn(cfg.Paths.Certs, cfg.Logger); err != nil {
		return nil, err
	}
	if c.verifier, err = c.trustAs(cfg); err != nil {
		return nil, err
	}
	keys, err := openPayloadKeys(cfg.PayloadKeyFile)
	if err != nil {
		return nil, err
	}
	serving, err := codecTLS(c.certs, cfg)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir.File(codecDir), 0o700); err != nil {
		return nil, err
	}
	c.audit, err = audit.Open(audit.Config{Dir: dir.File(codecDir, auditDir), KeyFile: dir.File(codecDir, auditKey), Now: cfg.Now, Logger: cfg.Logger})
	if errors.Is(err, secret.ErrLocked) {
		return nil, &config.Error{Problem: "another tenon codec runs on " + dir.path, Err: err, Hint: "stop it first"}
	}
	if err != nil {
		return nil, fmt.Errorf("codec server: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.closeAudit())
		}
	}()
	handler, err := codec.NewServer(codec.ServerConfig{
		Codec: keys, Verifier: c.verifier, Audit: c.audit, AllowOrigins: cfg.AllowOrigins, Workers: cfg.Workers, Now: cfg.Now, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, &config.Error{Problem: "codec server", Err: err, Hint: "for example --allow-origin https://127.0.0.1:8233"}
	}
	if c.listener, err = net.Listen("tcp", cfg.Address); err != nil {
		return nil, &config.Error{Problem: "cannot serve the codec on " + cfg.Address, Err: err, Hint: "choose another address with --listen (port 0 takes a free one)"}
	}
	c.server = &http.Server{
		Handler: handler, TLSConfig: serving,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug), // handshakes of strangers
	}
	return c, nil
}

// trustAs trusts whom the cluster trusts.
func (c *Codec) trustAs(cfg CodecConfig) (*token.Verifier, error) {
	lookup := cfg.Settings.Lookup
	if lookup == nil {
		lookup = func(string) string { return "" }
	}
	foreign, err := Trusts(cfg.File, lookup)
	if err != nil {
		return nil, err
	}
	// A cluster beside the simulator trusts its tokens for as long as people sign
	// in with them.
	e, err := config.ReadEndpoints(cfg.Paths.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case e.Cluster != nil && e.Cluster.WebUI != "" && e.Auth0 != nil && e.Auth0.Control != "":
		foreign = append(foreign, simulatorTrust(e.Auth0.Domain, c.certs.ClientTLS("localhost")))
	}
	return token.NewVerifier(token.VerifierConfig{
		Issuers:     append([]token.IssuerTrust{c.issuer.Trust()}, foreign...),
		Revocations: c.issuer.Revocations(),
		Now:         cfg.Now,
		Logger:      cfg.Logger,
	})
}

// openPayloadKeys reads the keys, and again when a payload names a newer one.
func openPayloadKeys(file string) (*codec.Codec, error) {
	keys, err := codec.LoadKeyFile(file)
	if err != nil {
		return nil, &config.Error{Problem: "payload keys", Err: err, Hint: "name the file that clients and workers encrypt with: --payload-keys"}
	}
	return codec.New(codec.Config{Keys: keys, Reload: func() ([]codec.Key, error) { return codec.LoadKeyFile(file) }})
}

// codecTLS serves the cluster's certificate, or one that the operator brought
// because browsers trust it.
func codecTLS(certs *pki.Store, cfg CodecConfig) (*tls.Config, error) {
	serving := certs.ServerTLS(pki.HTTPS)
	if cfg.CertFile == "" && cfg.KeyFile == "" {
		return serving, nil
	}
	pair := &certificatePair{cert: cfg.CertFile, key: cfg.KeyFile, log: cfg.Logger}
	if err := pair.read(); err != nil {
		return nil, &config.Error{Problem: "the codec server's certificate", Err: err, Hint: "name both files, PEM, with --tls-cert and --tls-key"}
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, CipherSuites: serving.CipherSuites, NextProtos: serving.NextProtos,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.current(), nil },
	}, nil
}

// certificatePair is a certificate that someone else renews, read again when a
// handshake finds that its file has changed.
type certificatePair struct {
	cert, key string
	log       *slog.Logger

	mu   sync.Mutex
	info os.FileInfo
	pair *tls.Certificate
}

func (p *certificatePair) read() error {
	info, err := os.Stat(p.cert)
	if err != nil {
		return err
	}
	if p.info != nil && os.SameFile(p.info, info) && p.info.ModTime().Equal(info.ModTime()) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		return err
	}
	p.info, p.pair = info, &pair
	return nil
}

// current is the last good pair. Certificate and key are two files: between
// their replacements they do not fit, and the old ones still do.
func (p *certificatePair) current() *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.read(); err != nil {
		p.log.Error("codec certificate not taken over, the last good one stays in force", "error", err)
	}
	return p.pair
}

// URL is where the server listens: the endpoint for the stock CLI and the Web UI.
func (c *Codec) URL() string { return "https://" + c.listener.Addr().String() }

// Ready is closed when requests are answered.
func (c *Codec) Ready() <-chan struct{} { return c.ready }

// Run serves until ctx ends, which is no error.
func (c *Codec) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return c.certs.Run(running) })
	group.Go(func() error { return c.issuer.Run(running) })
	group.Go(func() error { return c.verifier.Run(running) })
	// The log outlives the requests that it records.
	recording, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRecording()
	recorded := make(chan error, 1)
	go func() { recorded <- c.audit.Run(recording) }()
	group.Go(func() error {
		<-running.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), codecStop)
		defer cancel()
		if err := c.server.Shutdown(grace); err != nil {
			return c.server.Close()
		}
		return nil
	})
	group.Go(func() error {
		close(c.ready)
		if err := c.server.ServeTLS(c.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the codec: %w", err)
		}
		return nil
	})
	err := group.Wait()
	stopRecording()
	return errors.Join(err, <-recorded)
}

// closeAudit releases an audit log that nobody ran.
func (c *Codec) closeAudit() error {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return c.audit.Run(ended)
}
