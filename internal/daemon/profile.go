package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
)

// Profile is the name of the profile in temporal.toml.
const Profile = "tenon"

// profile is temporal.toml: what the stock temporal CLI and every SDK's
// environment configuration read. It holds the client token, so it is written
// anew when the token is, and is as secret as the token.
type profile struct {
	path, certs        string
	address, namespace string
	plaintext          bool
	token              *token.Source
	last               secret.Value
}

type (
	temporalTOML struct {
		Profile map[string]temporalProfile `toml:"profile"`
	}
	temporalProfile struct {
		Address   string      `toml:"address"`
		Namespace string      `toml:"namespace"`
		APIKey    string      `toml:"api_key"`
		TLS       temporalTLS `toml:"tls"`
	}
	temporalTLS struct {
		Disabled         bool   `toml:"disabled,omitempty"`
		ClientCertPath   string `toml:"client_cert_path,omitempty"`
		ClientKeyPath    string `toml:"client_key_path,omitempty"`
		ServerCACertPath string `toml:"server_ca_cert_path,omitempty"`
	}
)

// write writes the file if the token has changed since the last time.
func (p *profile) write() error {
	raw, err := p.token.Token()
	if err != nil {
		return err
	}
	if !p.last.IsZero() && raw.Equal(p.last) {
		return nil
	}
	var out bytes.Buffer
	out.WriteString("# For the temporal CLI and SDKs: TEMPORAL_CONFIG_FILE=" + p.path + " temporal --profile " + Profile + " workflow list\n")
	tls := temporalTLS{
		ClientCertPath:   filepath.Join(p.certs, "temporal-client.crt"),
		ClientKeyPath:    filepath.Join(p.certs, "temporal-client.key"),
		ServerCACertPath: filepath.Join(p.certs, "ca.crt"),
	}
	if p.plaintext {
		tls = temporalTLS{Disabled: true}
	}
	if err := toml.NewEncoder(&out).Encode(temporalTOML{Profile: map[string]temporalProfile{
		Profile: {Address: p.address, Namespace: p.namespace, APIKey: raw.Reveal(), TLS: tls},
	}}); err != nil {
		return err
	}
	if err := secret.WriteFile(p.path, out.Bytes()); err != nil {
		return err
	}
	p.last = raw
	return nil
}

// Run keeps the file up to date until ctx ends, then removes it, so that no
// token lies about when nothing listens.
func (p *profile) Run(ctx context.Context) error {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if err := os.Remove(p.path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove %s: %w", p.path, err)
			}
			return nil
		case <-tick.C:
			if err := p.write(); err != nil {
				return fmt.Errorf("write %s: %w", p.path, err)
			}
		}
	}
}
