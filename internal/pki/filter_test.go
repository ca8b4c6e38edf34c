package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func uris(t testing.TB, list ...string) []*url.URL {
	t.Helper()
	var out []*url.URL
	for _, text := range list {
		u, err := url.Parse(text)
		require.NoError(t, err)
		out = append(out, u)
	}
	return out
}

func TestFilterMatches(t *testing.T) {
	c := &x509.Certificate{
		Subject:        pkix.Name{CommonName: "Billing-7", Organization: []string{"Acme, Inc.", "Other"}, OrganizationalUnit: []string{"Workers"}},
		DNSNames:       []string{"billing.example.com"},
		EmailAddresses: []string{"billing@example.com"},
		IPAddresses:    []net.IP{net.ParseIP("10.0.0.7")},
		URIs:           uris(t, "spiffe://acme.test/ns/pay/sa/billing"),
	}
	for text, want := range map[string]bool{
		"cn=billing-7":                         true,
		"cn=BILLING*":                          true,
		"cn=*-7":                               true,
		"cn=*":                                 true,
		"cn=billing":                           false,
		"cn=illing*":                           false,
		"cn=billing-7*":                        true,
		`o=acme\, inc.`:                        true,
		"o=other":                              true,
		"o=acme":                               false,
		"ou=workers":                           true,
		"ou=admins":                            false,
		"san=billing.example.com":              true,
		"san=*.example.com":                    true,
		"san=*@example.com":                    true,
		"san=10.0.0.7":                         true,
		"san=spiffe://acme.test/*":             true,
		"spiffe=spiffe://acme.test/ns/pay/*":   true,
		"spiffe=spiffe://acme.test/ns/other/*": false,
		"spiffe=spiffe://acme.tes*":            true,
		"cn=billing-7,ou=workers,san=*.com":    true,
		"cn=billing-7,ou=admins":               false,
		"cn=billing-7,spiffe=spiffe://evil.test*": false,
	} {
		f, err := ParseFilter(text)
		require.NoError(t, err, text)
		require.Equal(t, want, f.Matches(c), text)
	}
	empty := &x509.Certificate{}
	for _, text := range []string{"cn=*", "o=*", "ou=*", "san=*", "spiffe=spiffe://*"} {
		f, err := ParseFilter(text)
		require.NoError(t, err)
		require.False(t, f.Matches(empty), "%s: what is absent matches nothing", text)
	}
	require.False(t, Filter{CommonName: "worker"}.Matches(&x509.Certificate{Subject: pkix.Name{CommonName: "wor\u212aer"}}), "Kelvin sign")
	// Two URIs: no SPIFFE ID, whatever they are.
	two := &x509.Certificate{URIs: uris(t, "spiffe://acme.test/a", "spiffe://acme.test/b")}
	require.False(t, Filter{SPIFFE: "spiffe://acme.test/*"}.Matches(two))
	odd := &x509.Certificate{URIs: uris(t, "spiffe://acme.test/a/../../b")}
	require.False(t, Filter{SPIFFE: "spiffe://acme.test/*"}.Matches(odd))
}

func TestParseFilterRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "form key=pattern",
		"cn":                             "form key=pattern",
		"cn=":                            "no pattern",
		"cn= ":                           "no pattern",
		"dn=x":                           "unknown",
		"cn=a,cn=b":                      "twice",
		"cn=a*b":                         "one * only",
		"cn=*a*":                         "one * only",
		"cn=**":                          "one * only",
		"cn=a\x00":                       "control",
		"spiffe=acme.test/*":             "spiffe://",
		"cn=" + strings.Repeat("x", 201): "201 characters",
		"cn=a,":                          "form key=pattern",
	} {
		_, err := ParseFilter(text)
		require.ErrorContains(t, err, want, "%q", text)
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, seed := range []string{"cn=a*,o=b\\, c,ou=*d,san=e,spiffe=spiffe://f/*", "cn=*", `cn=\\\,`, "o=a=b"} {
		f.Add(seed, "value")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		filter, err := ParseFilter(text)
		if err != nil {
			return
		}
		again, err := ParseFilter(filter.String())
		require.NoError(t, err)
		require.Equal(t, filter, again)
		require.False(t, filter.Matches(&x509.Certificate{}), "a filter that admits a certificate without any name")
		for _, p := range filter.patterns() {
			if p.pattern == "" || value == "" || strings.Contains(p.pattern, "*") {
				continue
			}
			require.Equal(t, strings.EqualFold(p.pattern, value) && lowerASCII(p.pattern) == lowerASCII(value), matchPattern(p.pattern, value))
		}
	})
}

// A block that breaks off in the middle of a bundle takes the whole bundle
// with it, although the PEM decoder would skip it in silence.
func TestBundleIsTakenWhole(t *testing.T) {
	s := newStore(t, Config{})
	ca := string(encodeCertificates(readCerts(t, s, "ca.crt")...))
	inter := string(encodeCertificates(readCerts(t, s, "internode-ca.crt")...))
	certs, err := parseRoots([]byte("# ours\n" + ca + "\n# theirs\n" + inter + "# end\n"))
	require.NoError(t, err)
	require.Len(t, certs, 2)
	for _, text := range []string{
		ca[:len(ca)-30] + inter, ca + inter[:len(inter)-30], ca[:100] + "\n" + ca + inter, ca + "-----BEGIN CERTIFICATE-----\n",
		ca + strings.Replace(inter, "\nMII", "\nM!I", 1), strings.Replace(ca, "\nMII", "\nM!I", 1) + inter,
	} {
		_, err := parseRoots([]byte(text))
		require.Error(t, err)
	}
}

// Whatever a bundle file holds: either every block of it is taken, or none.
func FuzzParseRoots(f *testing.F) {
	s := newStore(f, Config{})
	ca := encodeCertificates(readCerts(f, s, "ca.crt")...)
	f.Add(ca)
	f.Add(append(append([]byte("comment\n"), ca...), ca...))
	f.Add(ca[:len(ca)-30])
	f.Add(append(append([]byte{}, ca[:len(ca)-30]...), ca...))
	f.Add(encodeCertificates(readCerts(f, s, "temporal-server.crt")...))
	f.Fuzz(func(t *testing.T, text []byte) {
		certs, err := parseRoots(text)
		if err != nil {
			require.Empty(t, certs)
			return
		}
		require.Equal(t, strings.Count(string(text), "-----BEGIN"), len(certs))
		for _, c := range certs {
			require.True(t, c.IsCA)
		}
		again, err := parseRoots(encodeCertificates(certs...))
		require.NoError(t, err)
		require.Equal(t, certs, again)
	})
}

func FuzzDecodeRevocations(f *testing.F) {
	f.Add([]byte(`{"version":1,"crlNumber":3,"revoked":[{"serial":"00ff","authorityKeyId":"ab","reason":"superseded","revokedAt":"2030-01-01T00:00:00Z","notAfter":"2030-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{"version":1,"crlNumber":0,"revoked":[],"retired":[{"keyId":"ab","retiredAt":"2030-01-01T00:00:00Z","notAfter":"2030-01-01T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := decodeRevocations(text)
		if err != nil {
			return
		}
		r := newRevocations(list, true)
		for _, e := range list.Revoked {
			n, ok := parseSerial(e.Serial)
			require.True(t, ok)
			require.ErrorIs(t, r.check(&x509.Certificate{SerialNumber: n}), ErrRevoked, "an entry that revokes nothing")
		}
	})
}

func FuzzParseKey(f *testing.F) {
	s := newStore(f, Config{})
	key, err := readFile(s.path("ca.key"))
	require.NoError(f, err)
	f.Add(key)
	f.Add([]byte("-----BEGIN EC PARAMETERS-----\n-----END EC PARAMETERS-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := parseKey(text)
		if err == nil {
			require.NoError(t, checkPublicKey(key.Public()))
		}
	})
}
