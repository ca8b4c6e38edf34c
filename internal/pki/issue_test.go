package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIssue(t *testing.T) {
	clk := newClock()
	s := newStore(t, Config{Now: clk.Now})
	root := readCerts(t, s, "ca.crt")[0]
	for name, tc := range map[string]struct {
		request IssueRequest
		usage   []x509.ExtKeyUsage
	}{
		"server": {IssueRequest{Role: RoleServer, Name: "edge", DNS: []string{"edge.example.com", "*.edge.example.com"}, IPs: []net.IP{net.IPv4(10, 0, 0, 1)}}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		"client": {IssueRequest{Role: RoleClient, Name: "alice@example.com"}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		"worker": {IssueRequest{Role: RoleWorker, Name: "billing", URIs: []string{"spiffe://tenon.test/worker/billing"}, TTL: time.Hour}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		"rsa":    {IssueRequest{Role: RoleClient, Name: "old", KeyType: RSA2048}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		"p384":   {IssueRequest{Role: RoleClient, Name: "strong", KeyType: ECP384}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
	} {
		t.Run(name, func(t *testing.T) {
			issued := issue(t, s, tc.request)
			c := issued.Certificate
			require.Equal(t, fmt.Sprintf("CN=%s,OU=%s,O=Tenon", tc.request.Name, tc.request.Role), c.Subject.String())
			require.Equal(t, tc.usage, c.ExtKeyUsage)
			require.Equal(t, x509.KeyUsageDigitalSignature, c.KeyUsage)
			require.True(t, c.BasicConstraintsValid)
			require.False(t, c.IsCA)
			require.Equal(t, tc.request.DNS, c.DNSNames)
			require.NoError(t, c.CheckSignatureFrom(root))
			want := tc.request.TTL
			if want == 0 {
				want = 90 * 24 * time.Hour
			}
			require.Equal(t, clk.Now().Add(want), c.NotAfter)
			key, err := parseKey([]byte(issued.KeyPEM.Reveal()))
			require.NoError(t, err)
			require.True(t, samePublicKey(c.PublicKey, key.Public()))
			require.NotContains(t, fmt.Sprintf("%v %+v", issued, issued), "PRIVATE")
		})
	}
}

func TestSerialsAreRandom(t *testing.T) {
	s := newStore(t, Config{})
	seen := map[string]bool{}
	for range 200 {
		n, err := s.newSerial()
		require.NoError(t, err)
		require.Equal(t, 128, n.BitLen())
		seen[n.String()] = true
	}
	require.Len(t, seen, 200)

	s.cfg.Rand = strings.NewReader("too short")
	_, err := s.newSerial()
	require.Error(t, err, "no randomness, no certificate")
}

func TestIssueRefuses(t *testing.T) {
	clk := newClock()
	s := newStore(t, Config{Now: clk.Now, CALifetime: 200 * 24 * time.Hour})
	ledger, err := s.Ledger()
	require.NoError(t, err)
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("h%d.example.com", i)
	}
	dns := func(d ...string) IssueRequest { return IssueRequest{Role: RoleServer, Name: "n", DNS: d} }
	uri := func(u ...string) IssueRequest { return IssueRequest{Role: RoleWorker, Name: "n", URIs: u} }
	named := func(n string) IssueRequest { return IssueRequest{Role: RoleWorker, Name: n} }
	ip := func(i net.IP) IssueRequest { return IssueRequest{Role: RoleServer, Name: "n", IPs: []net.IP{i}} }
	for name, tc := range map[string]struct {
		request IssueRequest
		want    string
	}{
		"no role":                {IssueRequest{Name: "n"}, "role"},
		"authority":              {IssueRequest{Role: roleAuthority, Name: "n"}, "role"},
		"no name":                {named(""), "name is empty"},
		"long name":              {named(strings.Repeat("n", 65)), "65 characters"},
		"newline in name":        {named("a\nb"), "only letters"},
		"escape in name":         {named("a\x1b[31m"), "only letters"},
		"slash in name":          {named("../ca"), "only letters"},
		"leading dot":            {named(".hidden"), "only letters"},
		"right-to-left override": {named("a\u202eb"), "only letters"},
		"homograph":              {named("bіlling"), "only letters"}, // Cyrillic і
		"beyond the authority":   {IssueRequest{Role: RoleClient, Name: "n", TTL: 201 * 24 * time.Hour}, "after the authority does"},
		"beyond the maximum":     {IssueRequest{Role: RoleClient, Name: "n", TTL: 400 * 24 * time.Hour}, "must lie between"},
		"too short":              {IssueRequest{Role: RoleClient, Name: "n", TTL: time.Second}, "must lie between"},
		"negative":               {IssueRequest{Role: RoleClient, Name: "n", TTL: -time.Hour}, "negative"},
		"weak key":               {IssueRequest{Role: RoleClient, Name: "n", KeyType: "rsa-1024"}, "rsa-1024"},
		"server without name":    {dns(), "needs a DNS name"},
		"bare wildcard":          {dns("*"), "wildcard"},
		"wildcard of a TLD":      {dns("*.com"), "wildcard"},
		"partial wildcard":       {dns("w*.example.com"), "whole first label"},
		"inner wildcard":         {dns("a.*.example.com"), "whole first label"},
		"double wildcard":        {dns("*.*.example.com"), "whole first label"},
		"wildcard for a client":  {IssueRequest{Role: RoleClient, Name: "n", DNS: []string{"*.example.com"}}, "for server certificates"},
		"empty label":            {dns("a..b"), "label"},
		"trailing dot":           {dns("a.example.com."), "label"},
		"long label":             {dns(strings.Repeat("a", 64) + ".example.com"), "label"},
		"hyphen":                 {dns("-a.example.com"), "hyphen"},
		"space":                  {dns("a b"), "only letters"},
		"nul":                    {dns("a\x00.example.com"), "only letters"},
		"address as name":        {dns("10.0.0.1"), "is an IP address"},
		"number as name":         {dns("1.2.3"), "last label is a number"},
		"unspecified address":    {ip(net.IPv4zero), "names no host"},
		"multicast":              {ip(net.ParseIP("ff02::1")), "names no host"},
		"broken address":         {ip(net.IP{1, 2}), "names no host"},
		"too many names":         {dns(many...), "at most 100"},
		"other scheme":           {uri("https://example.com/"), "only SPIFFE"},
		"SPIFFE in capitals":     {uri("SPIFFE://td/a"), "only SPIFFE"},
		"SPIFFE with user":       {uri("spiffe://u@td/a"), "trust domain"},
		"SPIFFE with port":       {uri("spiffe://td:1/a"), "trust domain"},
		"SPIFFE with query":      {uri("spiffe://td/a?b"), "the path may hold"},
		"SPIFFE with fragment":   {uri("spiffe://td/a#b"), "the path may hold"},
		"SPIFFE with dots":       {uri("spiffe://td/a/../b"), "dot segment"},
		"SPIFFE, empty segment":  {uri("spiffe://td//a"), "dot segment"},
		"SPIFFE, no domain":      {uri("spiffe:///a"), "trust domain"},
		"two SPIFFE IDs":         {uri("spiffe://td/a", "spiffe://td/b"), "at most one"},
		"internode with names":   {IssueRequest{Role: RoleInternode, Name: "n", DNS: []string{"a.example.com"}}, "no other"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Issue(t.Context(), tc.request)
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, tc.want)
			for _, r := range err.Error() {
				require.False(t, r < ' ' && r != '\n', "control character in %q", err)
			}
		})
	}
	after, err := s.Ledger()
	require.NoError(t, err)
	require.Equal(t, ledger, after, "what is refused leaves no trace of issue")

	// All reasons at once.
	_, err = s.Issue(t.Context(), IssueRequest{Role: "x", Name: "a b", DNS: []string{"*"}})
	for _, want := range []string{`"x"`, `"a b"`, `"*"`} {
		require.ErrorContains(t, err, want)
	}
}

// Without a lifetime in the request, the authority's end is the limit; a clock
// outside the authority's own time issues nothing.
func TestLifetimeAtTheAuthoritysEnd(t *testing.T) {
	clk := newClock()
	s := newStore(t, Config{Now: clk.Now, CALifetime: 100 * 24 * time.Hour})
	clk.Advance(50 * 24 * time.Hour)
	c := issue(t, s, IssueRequest{Role: RoleClient, Name: "n"}).Certificate
	require.Equal(t, readCerts(t, s, "ca.crt")[0].NotAfter, c.NotAfter)
	clk.Advance(51 * 24 * time.Hour)
	_, err := s.Issue(t.Context(), IssueRequest{Role: RoleClient, Name: "n"})
	require.ErrorContains(t, err, "authority expired")
	clk.Advance(-110 * 24 * time.Hour)
	_, err = s.Issue(t.Context(), IssueRequest{Role: RoleClient, Name: "n"})
	require.ErrorContains(t, err, "not valid before")
}

func csrPEM(t testing.TB, tmpl *x509.CertificateRequest, key any) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, tmpl, key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestCSR(t *testing.T) {
	s := newStore(t, Config{})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	text := csrPEM(t, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "edge", Organization: []string{"Somebody Else"}},
		DNSNames: []string{"EDGE.example.com"},
	}, key)
	request := IssueRequest{Role: RoleServer, Name: "edge", DNS: []string{"edge.example.com", "b.example.com"}, CSR: text}
	issued := issue(t, s, request)
	require.True(t, issued.KeyPEM.IsZero())
	require.True(t, samePublicKey(issued.Certificate.PublicKey, key.Public()))
	require.Equal(t, "CN=edge,OU=server,O=Tenon", issued.Certificate.Subject.String(), "the subject is ours, not the request's")
	require.Equal(t, request.DNS, issued.Certificate.DNSNames)

	block, _ := pem.Decode(text)
	request.CSR = block.Bytes
	issue(t, s, request)
}

func TestCSRRefuses(t *testing.T) {
	s := newStore(t, Config{})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	t.Setenv("GODEBUG", "rsa1024min=0")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	caKey, err := s.loadKey("ca.key", true)
	require.NoError(t, err)

	ext := func(id asn1.ObjectIdentifier, v any) []pkix.Extension {
		der, err := asn1.Marshal(v)
		require.NoError(t, err)
		return []pkix.Extension{{Id: id, Value: der}}
	}
	u, err := url.Parse("spiffe://td/admin")
	require.NoError(t, err)
	good := csrPEM(t, &x509.CertificateRequest{}, key)
	block, _ := pem.Decode(good)
	forged := append([]byte{}, block.Bytes...)
	forged[len(forged)-1] ^= 1
	constraint := ext(oidBasicConstraints, struct{ CA bool }{true})
	for name, tc := range map[string]struct {
		csr  []byte
		want string
	}{
		"CA:TRUE":              {csrPEM(t, &x509.CertificateRequest{ExtraExtensions: constraint}, key), "to be an authority"},
		"malformed constraint": {csrPEM(t, &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: oidBasicConstraints, Value: []byte{1}}}}, key), "to be an authority"},
		"keyCertSign":          {csrPEM(t, &x509.CertificateRequest{ExtraExtensions: ext(oidKeyUsage, asn1.BitString{Bytes: []byte{0x04}, BitLength: 6})}, key), "to sign certificates"},
		"cRLSign":              {csrPEM(t, &x509.CertificateRequest{ExtraExtensions: ext(oidKeyUsage, asn1.BitString{Bytes: []byte{0x02}, BitLength: 7})}, key), "to sign certificates"},
		"name constraints":     {csrPEM(t, &x509.CertificateRequest{ExtraExtensions: ext(oidNameConstraints, struct{}{})}, key), "name constraints"},
		"weak RSA":             {csrPEM(t, &x509.CertificateRequest{}, weak), "1024 bits"},
		"weak curve":           {csrPEM(t, &x509.CertificateRequest{}, p224), "P-224"},
		"the authority's key":  {csrPEM(t, &x509.CertificateRequest{}, caKey), "authority's own key"},
		"another name":         {csrPEM(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "admin"}}, key), `"admin"`},
		"extra DNS name":       {csrPEM(t, &x509.CertificateRequest{DNSNames: []string{"temporal-server"}}, key), "temporal-server"},
		"extra address":        {csrPEM(t, &x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, key), "127.0.0.1"},
		"extra URI":            {csrPEM(t, &x509.CertificateRequest{URIs: []*url.URL{u}}, key), "spiffe://td/admin"},
		"e-mail":               {csrPEM(t, &x509.CertificateRequest{EmailAddresses: []string{"a@b"}}, key), "e-mail"},
		"forged signature":     {forged, "possession"},
		"garbage":              {[]byte("garbage"), "malformed"},
		"wrong PEM":            {encodeCertificates(readCerts(t, s, "ca.crt")...), "no certificate request"},
		"two requests":         {append(append([]byte{}, good...), good...), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Issue(t.Context(), IssueRequest{Role: RoleWorker, Name: "n", CSR: tc.csr})
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestPublicKeys(t *testing.T) {
	even := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65538}
	small := &rsa.PublicKey{N: even.N, E: 3}
	huge := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 16383), E: 65537}
	require.Error(t, checkPublicKey(even))
	require.Error(t, checkPublicKey(small))
	require.Error(t, checkPublicKey(huge))
	require.Error(t, checkPublicKey("no key"))
}

// An issuer that signs something else than it was asked to is caught before
// anyone gets the certificate: sign verifies what it made.
func TestSignVerifiesItsWork(t *testing.T) {
	s := newStore(t, Config{})
	a, err := s.loadAuthority(InternodeCA)
	require.NoError(t, err)
	before, err := s.Ledger()
	require.NoError(t, err)
	key, err := generateKey(ECP256, rand.Reader)
	require.NoError(t, err)
	tmpl, err := leafTemplate(IssueRequest{Role: RoleServer, Name: "n", DNS: []string{"frontend.example.com"}}, key.Public())
	require.NoError(t, err)
	tmpl.NotBefore, tmpl.NotAfter = a.active.cert.NotBefore, a.active.cert.NotAfter
	_, err = s.sign(tmpl, a.active, key.Public(), Entry{Authority: InternodeCA})
	require.ErrorContains(t, err, "not permitted", "the internode authority vouches for no other name")
	after, err := s.Ledger()
	require.NoError(t, err)
	require.Equal(t, before, after)
}
