package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHandshakes(t *testing.T) {
	clk := newClock()
	s := newStore(t, Config{Now: clk.Now})
	foreign := newStore(t, Config{Now: clk.Now})
	worker := issue(t, s, IssueRequest{Role: RoleWorker, Name: "billing"})
	server := issue(t, s, IssueRequest{Role: RoleServer, Name: "other", DNS: []string{"other"}})
	short := issue(t, s, IssueRequest{Role: RoleClient, Name: "short", TTL: time.Minute})
	node := issue(t, s, IssueRequest{Role: RoleInternode, Name: "node2"})
	gone := issue(t, s, IssueRequest{Role: RoleClient, Name: "gone"})
	_, err := s.Revoke(t.Context(), gone.Info.Serial, KeyCompromise)
	require.NoError(t, err)

	anonymous := func() *tls.Config {
		cfg := s.ClientTLS("")
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
		return cfg
	}
	internode := func(issued *Issued) *tls.Config {
		cfg := s.InternodeClientTLS()
		cfg.GetClientCertificate = asClient(t, s, issued).GetClientCertificate
		return cfg
	}
	tls12 := func(cfg *tls.Config) *tls.Config { cfg.MaxVersion = tls.VersionTLS12; return cfg }
	tls11 := func(cfg *tls.Config) *tls.Config {
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		return cfg
	}
	cbc := func(cfg *tls.Config) *tls.Config {
		cfg.MaxVersion = tls.VersionTLS12
		cfg.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		return cfg
	}

	clk.Advance(2 * time.Minute) // short is over
	for name, tc := range map[string]struct {
		role    ServerRole
		client  *tls.Config
		refused string // empty: served
	}{
		"own client":               {Frontend, s.ClientTLS(""), ""},
		"own client, TLS 1.2":      {Frontend, tls12(s.ClientTLS("")), ""},
		"issued worker":            {Frontend, asClient(t, s, worker), ""},
		"by name":                  {Frontend, s.ClientTLS("localhost"), ""},
		"by address":               {Frontend, s.ClientTLS("127.0.0.1"), ""},
		"by IPv6 address":          {Frontend, s.ClientTLS("::1"), ""},
		"no certificate":           {Frontend, anonymous(), "didn't provide a certificate"},
		"no certificate, TLS 1.2":  {Frontend, tls12(anonymous()), "didn't provide a certificate"},
		"foreign authority":        {Frontend, asClient(t, s, issue(t, foreign, IssueRequest{Role: RoleClient, Name: "billing"})), "unknown authority"},
		"expired":                  {Frontend, asClient(t, s, short), "expired"},
		"revoked":                  {Frontend, asClient(t, s, gone), "revoked"},
		"server as client":         {Frontend, asClient(t, s, server), "incompatible key usage"},
		"internode at frontend":    {Frontend, asClient(t, s, node), "unknown authority"},
		"TLS 1.1":                  {Frontend, tls11(s.ClientTLS("")), "protocol version"},
		"suite without AEAD":       {Frontend, cbc(s.ClientTLS("")), "cipher suite"},
		"server of another name":   {Frontend, s.ClientTLS("elsewhere"), "elsewhere"},
		"server of another ip":     {Frontend, s.ClientTLS("10.0.0.1"), "10.0.0.1"},
		"server of another store":  {Frontend, foreign.ClientTLS(""), "unknown authority"},
		"https without":            {HTTPS, anonymous(), ""},
		"https with":               {HTTPS, s.ClientTLS(""), ""},
		"internode":                {Internode, s.InternodeClientTLS(), ""},
		"second node":              {Internode, internode(node), ""},
		"client at internode":      {Internode, internode(worker), "unknown authority"},
		"own client at internode":  {Internode, s.ClientTLS(""), "not temporal-server"},
		"nobody at internode":      {Internode, anonymous(), "not temporal-server"},
		"internode, TLS 1.2":       {Internode, tls12(s.InternodeClientTLS()), "no supported versions"},
		"internode client outside": {Frontend, s.InternodeClientTLS(), "not temporal-internode"},
		"unknown role":             {"backdoor", s.ClientTLS(""), "backdoor"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.refused != "" {
				requireRefused(t, s.ServerTLS(tc.role), tc.client, tc.refused)
				return
			}
			tc.client.NextProtos = []string{"h2"}
			state := requireHandshake(t, s.ServerTLS(tc.role), tc.client)
			require.Equal(t, "h2", state.NegotiatedProtocol)
		})
	}
}

// A client that trusts everything still gets nowhere at the internode port with
// a certificate of the client authority: it is the server that refuses.
func TestClientCertificateNeverOpensInternode(t *testing.T) {
	s := newStore(t, Config{})
	worker := issue(t, s, IssueRequest{Role: RoleWorker, Name: "billing"})
	blind := asClient(t, s, worker)
	blind.VerifyConnection = nil // InsecureSkipVerify remains
	_, serverErr, clientErr := handshake(s.ServerTLS(Internode), blind)
	require.ErrorContains(t, serverErr, "unknown authority")
	require.Error(t, clientErr)

	// Nor does an internode certificate forged by the client authority.
	key, err := generateKey(ECP256, nil)
	require.NoError(t, err)
	a, err := s.loadAuthority(CA)
	require.NoError(t, err)
	tmpl, err := leafTemplate(IssueRequest{Role: RoleInternode, Name: "temporal-internode"}, key.Public())
	require.NoError(t, err)
	tmpl.NotBefore, tmpl.NotAfter = a.active.cert.NotBefore, time.Now().Add(time.Hour)
	forged, err := s.sign(tmpl, a.active, key.Public(), Entry{Authority: CA})
	require.NoError(t, err)
	blind.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{forged.Raw}, PrivateKey: key}, nil
	}
	_, serverErr, _ = handshake(s.ServerTLS(Internode), blind)
	require.ErrorContains(t, serverErr, "unknown authority")
}

func TestClientAuthModes(t *testing.T) {
	dir := newStore(t, Config{}).cfg.Dir
	foreign := newStore(t, Config{})
	stranger := issue(t, foreign, IssueRequest{Role: RoleClient, Name: "stranger"})
	for _, tc := range []struct {
		mode            ClientAuth
		none, good, bad bool
	}{
		{CertificateAndToken, false, true, false},
		{CertificateOrToken, true, true, false},
		{TokenOnly, true, true, true},
	} {
		t.Run(string(tc.mode), func(t *testing.T) {
			s := newStore(t, Config{Dir: dir, ClientAuth: tc.mode})
			none := s.ClientTLS("")
			none.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
			for name, c := range map[string]struct {
				cfg  *tls.Config
				want bool
			}{"none": {none, tc.none}, "good": {s.ClientTLS(""), tc.good}, "bad": {asClient(t, s, stranger), tc.bad}} {
				_, serverErr, clientErr := handshake(s.ServerTLS(Frontend), c.cfg)
				require.Equal(t, c.want, errors.Join(serverErr, clientErr) == nil, "%s: %v %v", name, serverErr, clientErr)
			}
			// The mode is the frontend's alone.
			requireRefused(t, s.ServerTLS(Internode), none, "not temporal-server")
		})
	}
}

// resumable lets a client resume, as other TLS stacks do by default.
func resumable(cfg *tls.Config) *tls.Config {
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	return cfg
}

// A resumed session shows no certificate and skips chain verification; what
// happened since the first handshake must count nevertheless.
func TestResumptionBypassesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		meanwhile func(t *testing.T, s *Store, clk *clock, c *Issued)
		refused   string
	}{
		"nothing": {func(*testing.T, *Store, *clock, *Issued) {}, ""},
		"revoked": {func(t *testing.T, s *Store, _ *clock, c *Issued) {
			_, err := s.Revoke(t.Context(), c.Info.Serial, KeyCompromise)
			require.NoError(t, err)
		}, "revoked"},
		"expired": {func(_ *testing.T, _ *Store, clk *clock, _ *Issued) { clk.Advance(90 * time.Minute) }, "expired"},
		"authority retired": {func(t *testing.T, s *Store, _ *clock, _ *Issued) {
			for _, step := range []Step{Prepare, Activate, Retire} {
				_, err := s.RotateCA(t.Context(), CA, step, true)
				require.NoError(t, err)
			}
		}, "unknown authority"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%s %s", name, tls.VersionName(version)), func(t *testing.T) {
				clk := newClock()
				s := newStore(t, Config{Now: clk.Now})
				issued := issue(t, s, IssueRequest{Role: RoleClient, Name: "c", TTL: time.Hour})
				server, client := s.ServerTLS(Frontend), resumable(asClient(t, s, issued))
				client.MaxVersion = version
				require.False(t, requireHandshake(t, server, client).DidResume)
				tc.meanwhile(t, s, clk, issued)
				if tc.refused == "" {
					require.True(t, requireHandshake(t, server, client).DidResume, "the session was not resumed: the test proves nothing")
					return
				}
				// The error is the server's own, from VerifyConnection or from
				// Go's check of the resumed chain; never the client's.
				_, serverErr, clientErr := handshake(server, client)
				require.Error(t, clientErr)
				require.ErrorContains(t, serverErr, tc.refused)
			})
		}
	}
}

func TestCheckPeer(t *testing.T) {
	clk := newClock()
	s := newStore(t, Config{Now: clk.Now})
	live := issue(t, s, IssueRequest{Role: RoleClient, Name: "live", TTL: time.Hour}).Certificate
	gone := issue(t, s, IssueRequest{Role: RoleClient, Name: "gone", TTL: time.Hour}).Certificate
	require.NoError(t, s.CheckPeer(live))
	require.NoError(t, s.CheckPeer(gone))
	require.ErrorIs(t, s.CheckPeer(nil), ErrPeerRefused)

	_, err := s.Revoke(t.Context(), serialText(gone.SerialNumber), Superseded)
	require.NoError(t, err)
	require.ErrorIs(t, s.CheckPeer(gone), ErrRevoked)
	require.ErrorIs(t, s.CheckPeer(gone), ErrPeerRefused)
	require.NoError(t, s.CheckPeer(live))
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = s.CheckPeer(live) }), "called for every request")

	// The same serial number of another issuer is another certificate.
	foreign := *gone
	foreign.AuthorityKeyId = []byte("somebody else")
	require.NoError(t, s.CheckPeer(&foreign))
	// One that hides its issuer does not slip through.
	foreign.AuthorityKeyId = nil
	require.ErrorIs(t, s.CheckPeer(&foreign), ErrRevoked)

	clk.Advance(61 * time.Minute)
	require.ErrorIs(t, s.CheckPeer(live), ErrPeerRefused)
}

// A configuration obtained before the certificates are there serves once they
// are: the parts of a process may start in any order.
func TestConfigurationsOutliveTheirMoment(t *testing.T) {
	clk := newClock()
	s := openStore(t, Config{Now: clk.Now})
	server, client, https := s.ServerTLS(Frontend), s.ClientTLS(""), s.ServerTLS(HTTPS)
	_, serverErr, _ := handshake(server, client)
	require.ErrorIs(t, serverErr, ErrNoCertificate)
	require.NoError(t, s.Init(t.Context()))
	requireHandshake(t, server, client)
	first := requireHandshake(t, https, client).PeerCertificates[0]

	_, err := s.RotateLeaf(t.Context(), ServerLeaf)
	require.NoError(t, err)
	require.NotEqual(t, first.SerialNumber, requireHandshake(t, https, client).PeerCertificates[0].SerialNumber)
}

// Another process writes certificate and key one after the other. Between the
// two the old pair stays in force, and the new one is taken over whole.
func TestMismatchMidWriteKeepsTheOldPair(t *testing.T) {
	clk, log := newClock(), &logBuffer{}
	s := newStore(t, Config{Now: clk.Now, Logger: log.logger()})
	old := requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS("")).PeerCertificates[0]
	next := issue(t, s, IssueRequest{Role: RoleServer, Name: "temporal-server", DNS: []string{"temporal-server"}})
	generation := s.Generation()

	write(t, s.path("temporal-server.key"), []byte(next.KeyPEM.Reveal()))
	require.ErrorIs(t, s.Reload(), errMismatch)
	require.ErrorIs(t, s.Reload(), errMismatch)
	require.Equal(t, old.SerialNumber, requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS("")).PeerCertificates[0].SerialNumber)

	write(t, s.path("temporal-server.crt"), next.CertificatePEM[:len(next.CertificatePEM)/2])
	require.Error(t, s.Reload())
	require.Equal(t, old.SerialNumber, requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS("")).PeerCertificates[0].SerialNumber)

	write(t, s.path("temporal-server.crt"), next.CertificatePEM)
	require.NoError(t, s.Reload())
	require.Equal(t, next.Certificate.SerialNumber, requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS("")).PeerCertificates[0].SerialNumber)
	require.Greater(t, s.Generation(), generation)
	require.Contains(t, log.String(), "do not fit together")
	require.Contains(t, log.String(), "problem is over")
	require.NotContains(t, log.String(), "PRIVATE KEY")
}

// Whatever file disappears or turns to garbage under a running process, what
// was in force stays so.
func TestLostFilesKeepTheLastGoodOnes(t *testing.T) {
	for _, file := range []string{"ca.crt", "internode-ca.crt", "temporal-server.crt", "temporal-server.key", "temporal-client.crt", "temporal-internode.key", "revoked.json"} {
		for name, spoil := range map[string]func(string) error{
			"removed": os.Remove,
			"garbage": func(p string) error { return os.WriteFile(p, []byte("garbage"), 0o600) },
			"empty":   func(p string) error { return os.Truncate(p, 0) },
		} {
			t.Run(file+" "+name, func(t *testing.T) {
				s := newStore(t, Config{})
				gone := issue(t, s, IssueRequest{Role: RoleClient, Name: "gone"})
				_, err := s.Revoke(t.Context(), gone.Info.Serial, KeyCompromise)
				require.NoError(t, err)
				require.NoError(t, spoil(s.path(file)))
				require.Error(t, s.Reload())
				require.NotEmpty(t, s.Problems())
				requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS(""))
				requireHandshake(t, s.ServerTLS(Internode), s.InternodeClientTLS())
				requireRefused(t, s.ServerTLS(Frontend), asClient(t, s, gone), "revoked")
				require.ErrorIs(t, s.CheckPeer(gone.Certificate), ErrRevoked)
			})
		}
	}
}

// A process that starts with an unreadable revocation list lets nobody in.
func TestUnreadableRevocationsFailClosed(t *testing.T) {
	s := newStore(t, Config{})
	write(t, s.path(revokedFile), []byte("garbage"))
	fresh := openStore(t, Config{Dir: s.cfg.Dir})
	requireRefused(t, fresh.ServerTLS(Frontend), fresh.ClientTLS(""), "cannot be read")
	require.ErrorIs(t, fresh.CheckPeer(readCerts(t, s, "temporal-client.crt")[0]), ErrRevoked)
}

func TestRefusalsAreReported(t *testing.T) {
	refusals := make(chan Refusal, 16)
	s := newStore(t, Config{OnRefused: func(r Refusal) { refusals <- r }})
	foreign := newStore(t, Config{})
	gone := issue(t, s, IssueRequest{Role: RoleClient, Name: "gone"})
	_, err := s.Revoke(t.Context(), gone.Info.Serial, KeyCompromise)
	require.NoError(t, err)

	requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS("localhost"))
	requireRefused(t, s.ServerTLS(Frontend), asClient(t, s, issue(t, foreign, IssueRequest{Role: RoleClient, Name: "stranger"})), "unknown authority")
	r := <-refusals // the good handshake before left none
	require.Equal(t, Frontend, r.Role)
	require.Equal(t, "temporal-server", r.ServerName)
	require.ErrorIs(t, r.Err, errNotVerified)
	require.Equal(t, "127.0.0.1", r.RemoteAddr.(*net.TCPAddr).IP.String())

	requireRefused(t, s.ServerTLS(Frontend), asClient(t, s, gone), "revoked")
	r = <-refusals
	require.ErrorIs(t, r.Err, ErrRevoked)
	require.Equal(t, gone.Certificate.SerialNumber, r.Peer.SerialNumber)

	none := s.ClientTLS("")
	none.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	requireRefused(t, s.ServerTLS(Internode), none, "not temporal-server")
	require.Equal(t, Internode, (<-refusals).Role)
	require.Empty(t, refusals)
}

// The configurations work with net/http on both sides, HTTP/2 included.
func TestHTTPS(t *testing.T) {
	s := newStore(t, Config{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	srv.TLS = s.ServerTLS(HTTPS)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	for proto, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.ClientTLS("127.0.0.1"), ForceAttemptHTTP2: h2}}
		defer client.CloseIdleConnections()
		resp, err := client.Get(srv.URL)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, proto, resp.Proto)
	}

	// A stock client with ca.crt alone, such as curl.
	text, err := os.ReadFile(s.path("ca.crt"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(text))
	stock := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer stock.CloseIdleConnections()
	resp, err := stock.Get(srv.URL)
	require.NoError(t, err)
	resp.Body.Close()
}

// Clients of a corporate authority come in if a filter of that authority
// welcomes them, and only that authority's.
func TestClientsOfOtherAuthorities(t *testing.T) {
	corporate, second := newStore(t, Config{}), newStore(t, Config{})
	crl := filepath.Join(t.TempDir(), "corporate.crl")
	publish := func() {
		text, err := os.ReadFile(corporate.path("crl.pem"))
		require.NoError(t, err)
		write(t, crl, text)
	}
	publish()
	s := newStore(t, Config{ClientCAs: []ClientCA{
		{File: corporate.path("ca.crt"), CRLFile: crl, Filters: []Filter{
			{CommonName: "billing*", OrganizationalUnit: "worker"},
			{SPIFFE: "spiffe://corp/ns/pay/*"},
		}},
		{File: second.path("ca.crt"), Filters: []Filter{{CommonName: "second"}}},
	}})
	uri := func(u string) []string { return []string{u} }
	for name, tc := range map[string]struct {
		from    *Store
		request IssueRequest
		refused string
	}{
		"own, no filter applies":  {s, IssueRequest{Role: RoleClient, Name: "anything"}, ""},
		"both conditions":         {corporate, IssueRequest{Role: RoleWorker, Name: "Billing-7"}, ""},
		"one of two conditions":   {corporate, IssueRequest{Role: RoleClient, Name: "billing-7"}, "no filter"},
		"second filter":           {corporate, IssueRequest{Role: RoleClient, Name: "x", URIs: uri("spiffe://corp/ns/pay/sa/a")}, ""},
		"other namespace":         {corporate, IssueRequest{Role: RoleClient, Name: "x", URIs: uri("spiffe://corp/ns/other/sa/a")}, "no filter"},
		"filter of the other":     {corporate, IssueRequest{Role: RoleClient, Name: "second"}, "no filter"},
		"second authority":        {second, IssueRequest{Role: RoleClient, Name: "second"}, ""},
		"second, other's filter":  {second, IssueRequest{Role: RoleWorker, Name: "billing-7"}, "no filter"},
		"server certificate":      {corporate, IssueRequest{Role: RoleServer, Name: "billing", DNS: []string{"b.example"}}, "incompatible key usage"},
		"internode of corporate":  {corporate, IssueRequest{Role: RoleInternode, Name: "billing"}, "unknown authority"},
		"not an internode either": {second, IssueRequest{Role: RoleInternode, Name: "second"}, "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			client := asClient(t, s, issue(t, tc.from, tc.request))
			if tc.refused != "" {
				requireRefused(t, s.ServerTLS(Frontend), client, tc.refused)
				return
			}
			requireHandshake(t, s.ServerTLS(Frontend), client)
		})
	}

	// The corporate authority's own list counts.
	gone := issue(t, corporate, IssueRequest{Role: RoleWorker, Name: "billing-8"})
	requireHandshake(t, s.ServerTLS(Frontend), asClient(t, s, gone))
	_, err := corporate.Revoke(t.Context(), gone.Info.Serial, KeyCompromise)
	require.NoError(t, err)
	publish()
	require.NoError(t, s.Reload())
	requireRefused(t, s.ServerTLS(Frontend), asClient(t, s, gone), "by its authority's list")
	require.ErrorIs(t, s.CheckPeer(gone.Certificate), ErrRevoked)

	// A list that the authority did not sign is no list.
	forged, err := os.ReadFile(second.path("crl.pem"))
	require.NoError(t, err)
	write(t, crl, forged)
	require.ErrorContains(t, s.Reload(), "not signed by its authority")
	requireRefused(t, s.ServerTLS(Frontend), asClient(t, s, gone), "by its authority's list")

	// Without ever having read the list, nobody of that authority gets in.
	fresh := newStoreWithProblems(t, Config{ClientCAs: s.cfg.ClientCAs})
	requireRefused(t, fresh.ServerTLS(Frontend), asClient(t, fresh, issue(t, corporate, IssueRequest{Role: RoleWorker, Name: "billing-9"})), "unknown authority")
	requireHandshake(t, fresh.ServerTLS(Frontend), asClient(t, fresh, issue(t, second, IssueRequest{Role: RoleClient, Name: "second"})))

	// What is revoked here is revoked, whoever issued it.
	other := issue(t, second, IssueRequest{Role: RoleClient, Name: "second"})
	_, err = s.Revoke(t.Context(), other.Info.Serial, Unspecified)
	require.ErrorIs(t, err, ErrUnknownSerial)
	require.NoError(t, s.RevokeCertificate(t.Context(), other.Certificate, PrivilegeWithdrawn))
	requireRefused(t, s.ServerTLS(Frontend), asClient(t, s, other), "revoked")
}

func newStoreWithProblems(t *testing.T, cfg Config) *Store {
	t.Helper()
	s := openStore(t, Config{})
	require.NoError(t, s.Init(t.Context()))
	cfg.Dir = s.cfg.Dir
	s = openStore(t, cfg)
	require.NotEmpty(t, s.Problems())
	return s
}
