package pki

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A worker on another host has three files. It follows a whole roll as somebody
// copies new ones to it, without a restart.
func TestClientFollowsItsFiles(t *testing.T) {
	s := newStore(t, Config{})
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	give := func(issued *Issued) {
		write(t, file("ca.crt"), issued.TrustPEM)
		write(t, file("billing.crt"), issued.CertificatePEM)
		write(t, file("billing.key"), []byte(issued.KeyPEM.Reveal()))
	}
	first := issue(t, s, IssueRequest{Role: RoleWorker, Name: "billing"})
	give(first)
	log := &logBuffer{}
	c, err := OpenClient(ClientConfig{CAFile: file("ca.crt"), CertFile: file("billing.crt"), KeyFile: file("billing.key"), Logger: log.logger()})
	require.NoError(t, err)
	server, client := s.ServerTLS(Frontend), c.TLS()
	requireHandshake(t, server, client)

	for _, step := range []Step{Prepare, Activate} {
		_, err := s.RotateCA(t.Context(), CA, step, true)
		require.NoError(t, err)
		requireHandshake(t, server, client)
	}
	second := issue(t, s, IssueRequest{Role: RoleWorker, Name: "billing"})
	write(t, file("billing.key"), []byte(second.KeyPEM.Reveal())) // half of the copy
	requireHandshake(t, server, client)
	require.Contains(t, log.String(), "do not fit together")
	give(second)
	requireHandshake(t, server, client)
	_, err = s.RotateCA(t.Context(), CA, Retire, true)
	require.NoError(t, err)
	requireHandshake(t, server, client)

	write(t, file("ca.crt"), []byte("garbage"))
	require.NoError(t, os.Remove(file("billing.crt")))
	requireHandshake(t, server, client)

	// It checks its server as any client does.
	write(t, file("ca.crt"), first.TrustPEM)
	foreign := newStore(t, Config{})
	requireRefused(t, foreign.ServerTLS(HTTPS), client, "unknown authority")
	elsewhere, err := OpenClient(ClientConfig{CAFile: s.path("ca.crt"), ServerName: "elsewhere"})
	require.NoError(t, err)
	requireRefused(t, s.ServerTLS(HTTPS), elsewhere.TLS(), "not elsewhere")
	requireRefused(t, s.ServerTLS(Frontend), (&Client{cfg: ClientConfig{CAFile: s.path("ca.crt"), ServerName: ServerName, Now: s.cfg.Now, Logger: s.log}, pair: &tls.Certificate{}}).TLS(), "didn't provide a certificate")
}

func TestClientRefusesItsFiles(t *testing.T) {
	s := newStore(t, Config{})
	for name, cfg := range map[string]ClientConfig{
		"half a pair":  {CertFile: s.path("temporal-client.crt")},
		"no such file": {CAFile: s.path("none.crt")},
		"no roots":     {CAFile: s.path("temporal-client.crt")},
		"no pair":      {CertFile: s.path("temporal-client.crt"), KeyFile: s.path("temporal-server.key")},
	} {
		_, err := OpenClient(cfg)
		require.Error(t, err, name)
	}
	system, err := OpenClient(ClientConfig{})
	require.NoError(t, err)
	requireRefused(t, s.ServerTLS(HTTPS), system.TLS(), "unknown authority")
}
