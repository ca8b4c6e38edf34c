package sdk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.temporal.io/sdk/contrib/envconfig"
)

// The variables besides those of every Temporal SDK.
const (
	// EnvTokenFile names the file of Config.TokenFile.
	EnvTokenFile = "TENON_TOKEN_FILE"
	// EnvPayloadKeyFile names the file of Config.PayloadKeyFile.
	EnvPayloadKeyFile = "TENON_PAYLOAD_KEY_FILE"
)

// FromEnv reads what every Temporal SDK and the stock temporal CLI read: the
// variables TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY and
// TEMPORAL_TLS_*, over the profile TEMPORAL_PROFILE of the file
// TEMPORAL_CONFIG_FILE, like the one that a cluster keeps in its data directory.
//
// TENON_TOKEN_FILE and TENON_PAYLOAD_KEY_FILE name files that variables cannot
// replace: a token in a variable cannot be renewed while the process runs, and
// keys do not belong into an environment. A token in the profile is read again
// when the file changes.
//
// Certificates are to be given by path. Those in *_DATA variables could not be
// renewed, and host verification cannot be switched off; both are errors, as is
// a profile that signs a person in (oauth) and holds no token for a service.
func FromEnv() (Config, error) { return fromEnv(osEnv{}) }

type osEnv struct{}

func (osEnv) Environ() []string                   { return os.Environ() }
func (osEnv) LookupEnv(key string) (string, bool) { return os.LookupEnv(key) }

func fromEnv(env envconfig.EnvLookup) (Config, error) {
	profile, err := envconfig.LoadClientConfigProfile(envconfig.LoadClientConfigProfileOptions{EnvLookup: env})
	if err != nil {
		return Config{}, fmt.Errorf("temporal profile: %w", err)
	}
	cfg := Config{Address: profile.Address, Namespace: profile.Namespace}
	if cfg.Address == "" {
		return Config{}, errors.New("no address: set TEMPORAL_ADDRESS, or TEMPORAL_CONFIG_FILE and TEMPORAL_PROFILE")
	}
	if tls := profile.TLS; tls != nil {
		switch {
		case len(tls.ClientCertData)+len(tls.ClientKeyData)+len(tls.ServerCACertData) > 0:
			return Config{}, errors.New("certificates are given as data, which cannot be renewed: name files with TEMPORAL_TLS_CLIENT_CERT_PATH, TEMPORAL_TLS_CLIENT_KEY_PATH and TEMPORAL_TLS_SERVER_CA_CERT_PATH")
		case tls.DisableHostVerification:
			return Config{}, errors.New("host verification is switched off: name the server instead, with TEMPORAL_TLS_SERVER_NAME")
		}
		cfg.Plaintext = tls.Disabled
		cfg.CAFile, cfg.CertFile, cfg.KeyFile, cfg.ServerName = tls.ServerCACertPath, tls.ClientCertPath, tls.ClientKeyPath, tls.ServerName
	}
	cfg.PayloadKeyFile, _ = env.LookupEnv(EnvPayloadKeyFile)
	if cfg.TokenFile, _ = env.LookupEnv(EnvTokenFile); cfg.TokenFile != "" {
		return cfg, nil
	}
	if profile.APIKey == "" {
		return Config{}, errors.New("no token: name its file with " + EnvTokenFile)
	}
	cfg.Token = &profileToken{env: env, now: time.Now, raw: profile.APIKey}
	return cfg, nil
}

// profileToken is the token of environment or profile, read again once a second:
// whoever renews the token replaces the file.
type profileToken struct {
	env envconfig.EnvLookup
	now func() time.Time

	mu   sync.Mutex
	read time.Time
	raw  string
}

// Token implements TokenSource. While the file cannot be read the last token is
// used, which expires by itself.
func (p *profileToken) Token(context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if since := now.Sub(p.read); since >= 0 && since < time.Second {
		return p.raw, nil
	}
	p.read = now
	profile, err := envconfig.LoadClientConfigProfile(envconfig.LoadClientConfigProfileOptions{EnvLookup: p.env})
	if err == nil && profile.APIKey != "" {
		p.raw = profile.APIKey
	}
	return p.raw, nil
}
