package pki

import (
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// openssl runs the second implementation, or skips the test.
func openssl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	return string(out), err
}

func TestOpenSSLAgrees(t *testing.T) {
	s := newStore(t, Config{ExtraHosts: []string{"tenon.example.com"}})
	run := func(args ...string) string {
		t.Helper()
		out, err := openssl(t, args...)
		require.NoError(t, err, out)
		return out
	}
	refused := func(want string, args ...string) {
		t.Helper()
		out, err := openssl(t, args...)
		require.Error(t, err, out)
		require.Contains(t, out, want)
	}
	file := func(name string, text []byte) string {
		path := filepath.Join(t.TempDir(), name)
		write(t, path, text)
		return path
	}

	// Chains, purposes and names.
	ca, inter := s.path("ca.crt"), s.path("internode-ca.crt")
	strict := []string{"verify", "-x509_strict", "-check_ss_sig", "-policy_check"}
	verify := func(args ...string) []string { return append(append([]string{}, strict...), args...) }
	run(verify("-CAfile", ca, "-purpose", "sslserver", "-verify_hostname", "localhost", s.path("temporal-server.crt"))...)
	run(verify("-CAfile", ca, "-purpose", "sslserver", "-verify_ip", "127.0.0.1", s.path("temporal-server.crt"))...)
	run(verify("-CAfile", ca, "-purpose", "sslserver", "-verify_hostname", "tenon.example.com", s.path("temporal-server.crt"))...)
	run(verify("-CAfile", ca, "-purpose", "sslclient", s.path("temporal-client.crt"))...)
	run(verify("-CAfile", inter, "-purpose", "sslclient", s.path("temporal-internode.crt"))...)
	run(verify("-CAfile", inter, "-purpose", "sslserver", "-verify_hostname", internodeName, s.path("temporal-internode.crt"))...)
	refused("hostname mismatch", verify("-CAfile", ca, "-verify_hostname", "elsewhere", s.path("temporal-server.crt"))...)
	refused("unsuitable certificate purpose", verify("-CAfile", ca, "-purpose", "sslclient", s.path("temporal-server.crt"))...)
	refused("unsuitable certificate purpose", verify("-CAfile", ca, "-purpose", "sslserver", s.path("temporal-client.crt"))...)
	refused("unable to get", verify("-CAfile", inter, s.path("temporal-client.crt"))...)

	// Show says what openssl says.
	for _, info := range s.Show() {
		path := s.path(info.Name + ".crt")
		require.Equal(t, "serial="+strings.ToUpper(info.Serial), strings.TrimSpace(run("x509", "-noout", "-serial", "-in", path)))
		print := strings.TrimSpace(run("x509", "-noout", "-fingerprint", "-sha256", "-in", path))
		_, hex, _ := strings.Cut(print, "=")
		require.Equal(t, info.Fingerprint, strings.ToLower(strings.ReplaceAll(hex, ":", "")))
		require.Equal(t, "subject="+info.Subject, strings.TrimSpace(run("x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in", path)))
		require.Equal(t, "issuer="+info.Issuer, strings.TrimSpace(run("x509", "-noout", "-issuer", "-nameopt", "RFC2253", "-in", path)))
		require.Equal(t, "notAfter="+info.NotAfter.Format("Jan _2 15:04:05 2006 GMT"), strings.TrimSpace(run("x509", "-noout", "-enddate", "-in", path)))
		key := strings.ReplaceAll(strings.ReplaceAll(run("x509", "-noout", "-text", "-in", path), ":", ""), "\n", "")
		require.Contains(t, strings.ToLower(strings.ReplaceAll(key, " ", "")), info.SubjectKeyID)
	}
	text := run("x509", "-noout", "-text", "-in", s.path("temporal-server.crt"))
	for _, want := range []string{"CA:FALSE", "Digital Signature", "TLS Web Server Authentication", "DNS:temporal, DNS:temporal-server, DNS:localhost, DNS:tenon.example.com", "IP Address:127.0.0.1", "id-ecPublicKey", "P-256"} {
		require.Contains(t, text, want)
	}
	text = run("x509", "-noout", "-text", "-in", inter)
	for _, want := range []string{"CA:TRUE, pathlen:0", "Name Constraints: critical", "Permitted", "DNS:temporal-internode", "Certificate Sign, CRL Sign"} {
		require.Contains(t, text, want)
	}

	// Revocation.
	gone := issue(t, s, IssueRequest{Role: RoleWorker, Name: "gone", URIs: []string{"spiffe://tenon.test/worker/gone"}})
	leaf := file("gone.crt", gone.CertificatePEM)
	run(verify("-CAfile", ca, "-crl_check", "-CRLfile", s.path("crl.pem"), leaf)...)
	_, err := s.Revoke(t.Context(), gone.Info.Serial, KeyCompromise)
	require.NoError(t, err)
	refused("certificate revoked", verify("-CAfile", ca, "-crl_check", "-CRLfile", s.path("crl.pem"), leaf)...)
	run(verify("-CAfile", ca, "-crl_check", "-CRLfile", s.path("crl.pem"), s.path("temporal-client.crt"))...)
	text = run("crl", "-noout", "-text", "-CAfile", ca, "-in", s.path("crl.pem"))
	n, ok := new(big.Int).SetString(gone.Info.Serial, 16)
	require.True(t, ok)
	for _, want := range []string{"verify OK", "Version 2", strings.ToUpper(serialText(n)), "Key Compromise", "X509v3 CRL Number", "X509v3 Authority Key Identifier"} {
		require.Contains(t, text, want)
	}

	// A key and a request made by openssl.
	dir := t.TempDir()
	run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=edge",
		"-addext", "subjectAltName=DNS:edge.example.com,IP:10.0.0.1", "-addext", "basicConstraints=CA:FALSE",
		"-keyout", filepath.Join(dir, "edge.key"), "-out", filepath.Join(dir, "edge.csr"))
	csr, err := os.ReadFile(filepath.Join(dir, "edge.csr"))
	require.NoError(t, err)
	edge := issue(t, s, IssueRequest{Role: RoleServer, Name: "edge", DNS: []string{"edge.example.com"}, IPs: []net.IP{net.IPv4(10, 0, 0, 1)}, CSR: csr})
	run(verify("-CAfile", ca, "-verify_hostname", "edge.example.com", file("edge.crt", edge.CertificatePEM))...)
	key, err := os.ReadFile(filepath.Join(dir, "edge.key"))
	require.NoError(t, err)
	_, err = parseKey(key)
	require.NoError(t, err)
	run("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=edge", "-addext", "basicConstraints=critical,CA:TRUE",
		"-keyout", filepath.Join(dir, "evil.key"), "-out", filepath.Join(dir, "evil.csr"))
	csr, err = os.ReadFile(filepath.Join(dir, "evil.csr"))
	require.NoError(t, err)
	_, err = s.Issue(t.Context(), IssueRequest{Role: RoleClient, Name: "edge", CSR: csr})
	require.ErrorIs(t, err, ErrRefused)

	// In the middle of a roll, the server's file proves itself to who knows
	// only the old root, and to who knows only the new one.
	old := file("old.crt", encodeCertificates(readCerts(t, s, "ca.crt")[0]))
	for _, step := range []Step{Prepare, Activate} {
		_, err := s.RotateCA(t.Context(), CA, step, true)
		require.NoError(t, err)
	}
	server := s.path("temporal-server.crt")
	run(verify("-CAfile", old, "-untrusted", server, "-verify_hostname", "localhost", server)...)
	run(verify("-CAfile", file("new.crt", encodeCertificates(readCerts(t, s, "ca.crt")[0])), "-verify_hostname", "localhost", server)...)
	refused("unable to get", verify("-CAfile", old, server)...)
}

// openssl's own client and server speak with ours.
func TestOpenSSLConnects(t *testing.T) {
	s := newStore(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	serve := func() chan error {
		done := make(chan error, 1)
		go func() {
			raw, err := ln.Accept()
			if err == nil {
				defer raw.Close()
				err = serveOne(raw, s)
			}
			done <- err
		}()
		return done
	}
	connect := func(args ...string) (string, error) {
		return openssl(t, append([]string{"s_client", "-connect", ln.Addr().String(), "-servername", "localhost", "-CAfile", s.path("ca.crt"),
			"-verify_return_error", "-verify_hostname", "localhost", "-alpn", "h2", "-brief", "-ign_eof"}, args...)...)
	}
	done := serve()
	out, err := connect("-cert", s.path("temporal-client.crt"), "-key", s.path("temporal-client.key"))
	require.NoError(t, err, out)
	require.NoError(t, <-done)
	require.Contains(t, out, "TLSv1.3")
	require.Contains(t, out, "Verification: OK")

	done = serve()
	out, err = connect()
	require.Error(t, err, out)
	require.ErrorContains(t, <-done, "didn't provide a certificate")
	require.Contains(t, out, "certificate required")
}
