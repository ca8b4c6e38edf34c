package direct_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/auth0sim"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/engine/direct"
	"github.com/tenonhq/tenon/internal/engine/enginetest"
	"github.com/tenonhq/tenon/internal/secret"
)

func TestEngine(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, enginetest.Config{Tenant: simulate, Engine: build})
}

func build(t *testing.T, env enginetest.Env) engine.Engine {
	secrets := secret.Stores{"worker": enginetest.NewMemory(map[string]string{"secret": env.Target.ClientSecret.Reveal()})}
	pool, err := auth0.New(auth0.Config{
		Tenants: map[string]auth0.Tenant{env.Target.Domain: {ClientID: env.Target.ClientID, ClientSecret: "worker:secret", CAFile: env.Target.CAFile}},
		Secrets: secrets,
		Wrap:    func(_ string, next http.RoundTripper) http.RoundTripper { return env.Link.Wrap(next) },
	})
	require.NoError(t, err)
	e, err := direct.New(direct.Config{Tenants: pool, Secrets: env.Secrets, SecretRef: env.SecretRef})
	require.NoError(t, err)
	return e
}

// simulate starts an empty tenant in memory.
func simulate(t *testing.T) enginetest.Target { return simulatePlan(t, "unlimited") }

// simulatePlan does so with the rate limits of an Auth0 subscription.
func simulatePlan(t *testing.T, plan string) enginetest.Target {
	cert, ca := certificate(t)
	sim, err := auth0sim.New(auth0sim.Config{Plan: plan, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sim.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})
	<-sim.Ready()
	return enginetest.Target{Domain: sim.Domain(), CAFile: ca, ClientID: sim.ClientID(), ClientSecret: sim.ClientSecret()}
}

// certificate makes one for localhost that signs itself.
func certificate(t *testing.T) (tls.Certificate, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}
