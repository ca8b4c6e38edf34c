package daemon

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/tenonhq/tenon/internal/auth0sim"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/secret"
)

// simulatorPart is the Auth0 simulator of this process.
type simulatorPart struct {
	server   *auth0sim.Server
	listener net.Listener
	clientID string
	control  bool
}

// The simulator's application for Tenon: a fixed id, and a secret made at first
// start and kept in a file of its own, for scripts and for the worker.
const (
	simulatorClientID = "tenonManagementApplication000000"
	simulatorSecret   = "auth0-sim-client-secret"
)

// listenSimulator takes the simulator's address.
func listenSimulator(cfg *SimulatorConfig) (net.Listener, error) {
	address := cfg.Address
	if address == "" {
		address = "127.0.0.1:4430"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &config.Error{Problem: "the Auth0 simulator cannot listen on " + address, Err: err, Hint: "choose another address, or stop what listens there"}
	}
	return listener, nil
}

// simulatedDomain is the simulated tenant's, as the simulator derives it from
// its listener.
func simulatedDomain(listener net.Listener) string {
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return ""
	}
	return "localhost:" + port
}

func newSimulator(ctx context.Context, d *Daemon) (*simulatorPart, error) {
	cfg, listener := d.cfg.Simulator, d.simulated
	latency, err := auth0sim.ParseLatency(cfg.Latency)
	if err != nil {
		return nil, &config.Error{Problem: "auth0 simulator", Err: err, Hint: "for example --latency 350ms"}
	}
	clientSecret, err := simulatorClientSecret(ctx, d)
	if err != nil {
		return nil, err
	}
	path := d.dir.File("auth0-sim.db")
	if cfg.Memory {
		path = ""
	}
	server, err := auth0sim.New(auth0sim.Config{
		Listener:     listener,
		Domain:       simulatedDomain(listener),
		TLS:          d.security.certs.ServerTLS(pki.HTTPS),
		Path:         path,
		ClientID:     simulatorClientID,
		ClientSecret: clientSecret,
		Plan:         cfg.Plan,
		Latency:      latency,
		NoControl:    cfg.NoControl,
		Queue:        cfg.Queue,
		Now:          d.cfg.Now,
		Logger:       d.log,
	})
	if err != nil {
		return nil, fmt.Errorf("auth0 simulator: %w", err)
	}
	return &simulatorPart{server: server, listener: listener, clientID: simulatorClientID, control: !cfg.NoControl}, nil
}

// simulatorClientSecret reads the secret of the simulator's application, or
// makes it at first start.
func simulatorClientSecret(ctx context.Context, d *Daemon) (secret.Value, error) {
	v, err := d.secrets["file"].Get(ctx, simulatorSecret)
	if err == nil || !errors.Is(err, secret.ErrNotFound) {
		return v, err
	}
	if err := os.MkdirAll(d.dir.File("secrets"), 0o700); err != nil {
		return v, err
	}
	random := make([]byte, 48)
	if _, err := rand.Read(random); err != nil {
		return v, err
	}
	v = secret.New(base64.RawURLEncoding.EncodeToString(random))
	return v, d.secrets["file"].Put(ctx, simulatorSecret, v)
}

func (s *simulatorPart) endpoints(d *Daemon) *config.Auth0Endpoints {
	e := &config.Auth0Endpoints{
		Domain:           s.server.Domain(),
		CA:               d.certsFile("ca.crt"),
		ClientID:         s.clientID,
		ClientSecretFile: d.dir.File("secrets", simulatorSecret),
	}
	if s.control {
		e.Control = "https://" + s.server.Domain() + "/_sim/"
	}
	return e
}

// close releases the listener of a simulator that was never run.
func (s *simulatorPart) close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
