package pki

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func readCRLs(t testing.TB, s *Store, name Authority) []*x509.RevocationList {
	t.Helper()
	text, err := os.ReadFile(s.path(name.crlFile()))
	require.NoError(t, err)
	crls, err := parseCRLs(text, readCerts(t, s, name.certFile()))
	require.NoError(t, err)
	return crls
}

func TestRevoke(t *testing.T) {
	clk := newClock()
	s := newStore(t, Config{Now: clk.Now})
	other := newStore(t, Config{Now: clk.Now, Dir: s.cfg.Dir}) // another process
	gone := issue(t, s, IssueRequest{Role: RoleWorker, Name: "gone"})
	node := issue(t, s, IssueRequest{Role: RoleInternode, Name: "node2"})
	require.Empty(t, readCRLs(t, s, CA)[0].RevokedCertificateEntries)
	number := readCRLs(t, s, CA)[0].Number

	// As openssl prints it.
	text := strings.ToUpper(gone.Info.Serial)
	var colons []string
	for i := 0; i < len(text); i += 2 {
		colons = append(colons, text[i:i+2])
	}
	e, err := s.Revoke(t.Context(), strings.Join(colons, ":"), KeyCompromise)
	require.NoError(t, err)
	require.Equal(t, "gone", e.Name)
	requireRefused(t, s.ServerTLS(Frontend), asClient(t, s, gone), "revoked")

	require.NoError(t, other.CheckPeer(gone.Certificate), "not read yet")
	require.NoError(t, other.Reload())
	require.ErrorIs(t, other.CheckPeer(gone.Certificate), ErrRevoked)

	crl := readCRLs(t, s, CA)[0]
	require.Equal(t, 1, crl.Number.Cmp(number), "the number grows")
	require.Len(t, crl.RevokedCertificateEntries, 1)
	require.Equal(t, gone.Certificate.SerialNumber, crl.RevokedCertificateEntries[0].SerialNumber)
	require.Equal(t, 1, crl.RevokedCertificateEntries[0].ReasonCode)
	require.Equal(t, clk.Now(), crl.RevokedCertificateEntries[0].RevocationTime)
	require.Equal(t, clk.Now().Add(s.cfg.CRLLifetime), crl.NextUpdate)

	// Each authority publishes its own.
	_, err = s.Revoke(t.Context(), node.Info.Serial, "")
	require.NoError(t, err)
	require.Len(t, readCRLs(t, s, CA)[0].RevokedCertificateEntries, 1)
	require.Len(t, readCRLs(t, s, InternodeCA)[0].RevokedCertificateEntries, 1)
	internode := s.InternodeClientTLS()
	internode.GetClientCertificate = asClient(t, s, node).GetClientCertificate
	requireRefused(t, s.ServerTLS(Internode), internode, "revoked")

	// Twice is once.
	_, err = s.Revoke(t.Context(), gone.Info.Serial, Superseded)
	require.NoError(t, err)
	list, err := s.loadRevocations()
	require.NoError(t, err)
	require.Len(t, list.Revoked, 2)
	require.Equal(t, KeyCompromise, list.Revoked[0].Reason)
}

func TestRevokeRefuses(t *testing.T) {
	s := newStore(t, Config{})
	gone := issue(t, s, IssueRequest{Role: RoleWorker, Name: "gone"})
	_, err := s.Revoke(t.Context(), gone.Info.Serial[:30], Unspecified)
	require.ErrorIs(t, err, ErrUnknownSerial)
	for _, bad := range []string{"", "xyz", "../..", strings.Repeat("a", 41), "-1"} {
		_, err = s.Revoke(t.Context(), bad, Unspecified)
		require.ErrorContains(t, err, "not hexadecimal", "%q", bad)
	}
	_, err = s.Revoke(t.Context(), gone.Info.Serial, "boredom")
	require.ErrorContains(t, err, "boredom")
	_, err = s.Revoke(t.Context(), s.Show()[0].Serial, Unspecified)
	require.ErrorContains(t, err, "roll it instead")
	require.NoError(t, s.CheckPeer(gone.Certificate))
}

// A server whose certificate is revoked is refused by clients, until it has a
// new one.
func TestRevokedServerIsRefused(t *testing.T) {
	s := newStore(t, Config{})
	client := newStore(t, Config{Dir: s.cfg.Dir})
	_, err := s.Revoke(t.Context(), s.Show()[2].Serial, KeyCompromise)
	require.NoError(t, err)
	require.NoError(t, client.Reload())
	requireRefused(t, s.ServerTLS(HTTPS), client.ClientTLS(""), "revoked")
	require.NoError(t, s.maintain(t.Context()))
	requireHandshake(t, s.ServerTLS(HTTPS), client.ClientTLS(""))
}

// During a roll each trusted root publishes what it revoked.
func TestCRLsDuringARoll(t *testing.T) {
	s := newStore(t, Config{})
	old := issue(t, s, IssueRequest{Role: RoleWorker, Name: "old"})
	for _, step := range []Step{Prepare, Activate} {
		_, err := s.RotateCA(t.Context(), CA, step, true)
		require.NoError(t, err)
		require.Len(t, readCRLs(t, s, CA), 2)
	}
	young := issue(t, s, IssueRequest{Role: RoleWorker, Name: "young"})
	for _, issued := range []*Issued{old, young} {
		_, err := s.Revoke(t.Context(), issued.Info.Serial, Superseded)
		require.NoError(t, err)
	}
	crls := readCRLs(t, s, CA)
	require.Len(t, crls, 2)
	for i, issued := range []*Issued{young, old} {
		require.Len(t, crls[i].RevokedCertificateEntries, 1)
		require.Equal(t, issued.Certificate.SerialNumber, crls[i].RevokedCertificateEntries[0].SerialNumber)
	}
	_, err := s.RotateCA(t.Context(), CA, Retire, true)
	require.NoError(t, err)
	require.Len(t, readCRLs(t, s, CA), 1)
}

// Time deals with expired certificates; the list does not grow for ever.
func TestRevocationsAreForgottenAfterExpiry(t *testing.T) {
	clk := newClock()
	s := newStore(t, Config{Now: clk.Now})
	gone := issue(t, s, IssueRequest{Role: RoleWorker, Name: "gone", TTL: time.Hour})
	_, err := s.Revoke(t.Context(), gone.Info.Serial, Superseded)
	require.NoError(t, err)
	clk.Advance(24 * time.Hour) // expired, with a day's grace for slow clocks
	require.NoError(t, s.publish(CA))
	require.Len(t, readCRLs(t, s, CA)[0].RevokedCertificateEntries, 1)
	clk.Advance(2 * time.Hour)
	require.NoError(t, s.publish(CA))
	require.Empty(t, readCRLs(t, s, CA)[0].RevokedCertificateEntries)
	require.ErrorIs(t, s.CheckPeer(gone.Certificate), ErrPeerRefused, "expired")
}

func TestRetiredAuthoritiesAreForgottenAfterExpiry(t *testing.T) {
	clk := newClock()
	s := newStore(t, Config{Now: clk.Now, CALifetime: 100 * 24 * time.Hour})
	old := issue(t, s, IssueRequest{Role: RoleWorker, Name: "old"})
	clk.Advance(50 * 24 * time.Hour)
	for _, step := range []Step{Prepare, Activate, Retire} {
		_, err := s.RotateCA(t.Context(), CA, step, true)
		require.NoError(t, err)
	}
	for _, tc := range []struct {
		day, want int
	}{{0, 1}, {49, 1}, {52, 0}} {
		clk.mu.Lock()
		clk.now = newClock().now.Add(time.Duration(50+tc.day) * 24 * time.Hour)
		clk.mu.Unlock()
		require.NoError(t, s.publish(CA))
		list, err := s.loadRevocations()
		require.NoError(t, err)
		require.Len(t, list.Retired, tc.want, "day %d", tc.day)
		require.NoError(t, s.Reload())
		require.ErrorIs(t, s.CheckPeer(old.Certificate), ErrPeerRefused)
	}
}

func TestParseCRLsRefuses(t *testing.T) {
	s := newStore(t, Config{})
	roots := readCerts(t, s, "ca.crt")
	good, err := os.ReadFile(s.path("crl.pem"))
	require.NoError(t, err)
	block, _ := pem.Decode(good)
	_, err = parseCRLs(block.Bytes, roots)
	require.NoError(t, err, "DER is read too")
	for name, text := range map[string][]byte{
		"empty":         nil,
		"garbage":       []byte("garbage"),
		"broken off":    good[:len(good)-20],
		"certificate":   encodeCertificates(roots...),
		"half and half": append(append([]byte{}, good...), good[:50]...),
	} {
		_, err := parseCRLs(text, roots)
		require.Error(t, err, name)
	}
	_, err = parseCRLs(good, readCerts(t, s, "internode-ca.crt"))
	require.ErrorContains(t, err, "not signed by its authority")
}
