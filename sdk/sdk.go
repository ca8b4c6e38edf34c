// Package sdk connects any Go worker or API to a Tenon cluster: mutual TLS with
// certificates that are read again for every connection, a token that is
// renewed while the process runs, and payloads that are encrypted before they
// leave it.
//
//	cfg, err := sdk.FromEnv()
//	c, err := sdk.Dial(ctx, cfg)
//	defer c.Close()
//	w := worker.New(c, "orders", worker.Options{})
//	w.RegisterWorkflow(OrderWorkflow)
//	err = w.Run(worker.InterruptCh())
//
// Dial returns an ordinary client of the Temporal Go SDK, and Options what it
// dials with. Where the configuration comes from: FromEnv (the variables and the
// profile that every Temporal SDK and the stock temporal CLI read), FromDataDir
// (the cluster on this machine), or a Config in code.
//
// Rotation needs no restart. A certificate, a trusted root, a token or a payload
// key that is replaced on disk is in use from the next connection, call or
// payload on; one that cannot be read leaves the last good one in force. A
// cluster closes connections after five minutes, so that is how long an old
// certificate can still be in use.
package sdk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"

	"github.com/tenonhq/tenon/internal/codec"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/pki"
)

// Role selects which token of a data directory a client uses.
type Role string

// The roles for which a data directory holds tokens.
const (
	// System may do everything: namespaces, cluster administration.
	System Role = "system"
	// Worker may poll task queues and respond.
	Worker Role = "worker"
	// Client may start, signal and query workflows.
	Client Role = "client"
)

// ErrNotRunning says that no cluster runs on a data directory.
var ErrNotRunning = errors.New("no cluster is running")

// Config says which cluster to connect to, and as whom.
type Config struct {
	// Address is host:port of the cluster's frontend. Required.
	Address string
	// Namespace defaults to "default".
	Namespace string
	// CAFile holds the certificates to trust, CertFile and KeyFile the client's
	// own, all PEM. CAFile defaults to the roots of the system; CertFile and
	// KeyFile are required, but where the cluster asks for a token only.
	CAFile, CertFile, KeyFile string
	// Plaintext connects without TLS, to a cluster that was opened on purpose.
	Plaintext bool
	// ServerName is the name that the server's certificate must carry. Defaults
	// to "temporal-server", which every server of a Tenon cluster carries.
	ServerName string
	// TokenFile holds the JWT to present. It is looked at again once a second.
	// Either it or Token is required.
	TokenFile string
	// Token is asked for the JWT before every call, instead of TokenFile.
	Token TokenSource
	// PayloadKeyFile holds the keys that payloads are encrypted with, and the
	// messages of failures. It is read again when a payload names a key that it
	// did not hold. "" sends payloads in clear, to be read by whoever may read
	// histories.
	PayloadKeyFile string
	// DataConverter turns values into payloads before they are encrypted.
	// Defaults to the Temporal SDK's.
	DataConverter converter.DataConverter
	// Identity is shown in histories. Defaults to the Temporal SDK's.
	Identity string
	// Logger receives the SDK's warnings. Nil discards them.
	Logger *slog.Logger
}

// FromDataDir describes the cluster that runs on a data directory on this
// machine. If none runs there the error wraps ErrNotRunning.
func FromDataDir(dir string, role Role) (Config, error) {
	e, err := config.ReadEndpoints(dir)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && e.Cluster == nil) {
		return Config{}, fmt.Errorf("%w on %s", ErrNotRunning, dir)
	}
	if err != nil {
		return Config{}, err
	}
	cfg := InDataDir(dir, role, e.Cluster.Address, e.Cluster.Namespace)
	if e.Cluster.CA != "" {
		cfg.inCerts(filepath.Dir(e.Cluster.CA), role)
	}
	cfg.Plaintext = e.Cluster.Plaintext
	return cfg, nil
}

// InDataDir describes a cluster at an address, reached with the certificates,
// token and payload key of a data directory.
func InDataDir(dir string, role Role, address, namespace string) Config {
	cfg := Config{Address: address, Namespace: namespace, PayloadKeyFile: filepath.Join(dir, "payload.key")}
	cfg.inCerts(filepath.Join(dir, "certs"), role)
	return cfg
}

// inCerts takes certificates and token from a folder.
func (cfg *Config) inCerts(dir string, role Role) {
	cfg.CAFile = filepath.Join(dir, "ca.crt")
	cfg.CertFile = filepath.Join(dir, "temporal-client.crt")
	cfg.KeyFile = filepath.Join(dir, "temporal-client.key")
	cfg.TokenFile = filepath.Join(dir, string(role)+"-token.jwt")
}

// Dial connects to the cluster. The caller closes the client.
func Dial(ctx context.Context, cfg Config) (client.Client, error) {
	opts, err := Options(cfg)
	if err != nil {
		return nil, err
	}
	c, err := client.DialContext(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", cfg.Address, err)
	}
	return c, nil
}

// Options returns what Dial would dial with, for callers who need more of the
// Temporal SDK's own options: interceptors, metrics, context propagators.
func Options(cfg Config) (client.Options, error) {
	if _, _, err := net.SplitHostPort(cfg.Address); err != nil {
		return client.Options{}, fmt.Errorf("address %q: %w", cfg.Address, err)
	}
	if cfg.Namespace == "" {
		cfg.Namespace = "default"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var connection client.ConnectionOptions
	if cfg.Plaintext {
		connection.TLSDisabled = true
	} else {
		files, err := pki.OpenClient(pki.ClientConfig{
			CAFile: cfg.CAFile, CertFile: cfg.CertFile, KeyFile: cfg.KeyFile, ServerName: cfg.ServerName, Logger: cfg.Logger,
		})
		if err != nil {
			return client.Options{}, err
		}
		connection.TLS = files.TLS()
	}
	headers, err := cfg.headers()
	if err != nil {
		return client.Options{}, err
	}
	opts := client.Options{
		HostPort:          cfg.Address,
		Namespace:         cfg.Namespace,
		Identity:          cfg.Identity,
		Logger:            log.NewStructuredLogger(cfg.Logger),
		HeadersProvider:   headers,
		ConnectionOptions: connection,
		DataConverter:     cfg.DataConverter,
	}
	if cfg.PayloadKeyFile != "" {
		if err := encrypt(&opts, cfg.PayloadKeyFile); err != nil {
			return client.Options{}, err
		}
	}
	return opts, nil
}

// encrypt makes the client seal payloads, and the messages of failures too.
func encrypt(opts *client.Options, keyFile string) error {
	keys, err := codec.LoadKeyFile(keyFile)
	if err != nil {
		return err
	}
	c, err := codec.New(codec.Config{Keys: keys, Reload: func() ([]codec.Key, error) { return codec.LoadKeyFile(keyFile) }})
	if err != nil {
		return err
	}
	opts.DataConverter = c.DataConverter(opts.DataConverter)
	opts.FailureConverter = codec.FailureConverter(opts.DataConverter)
	return nil
}
