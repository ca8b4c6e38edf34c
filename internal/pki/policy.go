package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ErrRefused is wrapped by every refusal to issue.
var ErrRefused = errors.New("certificate refused")

const (
	// maxName is the upper bound of a common name (RFC 5280, appendix A.1).
	maxName = 64
	// maxNames keeps certificates small enough for every handshake.
	maxNames = 100
)

// checkRequest holds what this authority refuses, whoever asks. All reasons
// are given at once.
func checkRequest(r IssueRequest) error {
	var errs []error
	switch r.Role {
	case RoleServer, RoleClient, RoleWorker:
	case RoleInternode:
		if len(r.DNS)+len(r.IPs)+len(r.URIs) > 0 {
			errs = append(errs, fmt.Errorf("internode certificates carry the one name %s and no other", internodeName))
		}
	default:
		errs = append(errs, fmt.Errorf("role %q is unknown (%s, %s, %s, %s)", r.Role, RoleServer, RoleClient, RoleWorker, RoleInternode))
	}
	if err := checkName(r.Name); err != nil {
		errs = append(errs, err)
	}
	if r.TTL < 0 {
		errs = append(errs, fmt.Errorf("lifetime %s is negative", r.TTL))
	}
	if r.KeyType != "" && !r.KeyType.valid() {
		errs = append(errs, fmt.Errorf("key type %q is unknown (%s)", r.KeyType, keyTypeList()))
	}
	if n := len(r.DNS) + len(r.IPs) + len(r.URIs); n > maxNames {
		errs = append(errs, fmt.Errorf("%d alternative names: at most %d", n, maxNames))
	}
	if r.Role == RoleServer && len(r.DNS)+len(r.IPs) == 0 {
		errs = append(errs, errors.New("server certificate needs a DNS name or an IP address: clients ignore the common name"))
	}
	for _, d := range r.DNS {
		if err := checkDNSName(d, r.Role == RoleServer); err != nil {
			errs = append(errs, err)
		}
	}
	for _, ip := range r.IPs {
		if ip.To16() == nil || ip.IsUnspecified() || ip.IsMulticast() {
			errs = append(errs, fmt.Errorf("address %q names no host", ip))
		}
	}
	for _, u := range r.URIs {
		if _, err := parseSPIFFE(u); err != nil {
			errs = append(errs, err)
		}
	}
	if len(r.URIs) > 1 {
		errs = append(errs, errors.New("a certificate carries at most one SPIFFE ID"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

// checkName accepts what is safe as a common name, in a file name, and in a
// log line. Control characters and look-alikes in a subject are an attack on
// whoever reads it.
func checkName(name string) error {
	if name == "" {
		return errors.New("name is empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("name has %d characters: at most %d", len(name), maxName)
	}
	for i, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		case i > 0 && (r == '-' || r == '_' || r == '.' || r == '@'):
		default:
			return fmt.Errorf("name %q: only letters, digits and - _ . @, beginning with a letter or digit", printable(name))
		}
	}
	return nil
}

// checkDNSName accepts a host name (RFC 1123), and for servers a wildcard that
// is the whole first label of a name with at least two more: *.example.com, not
// *, *.com or w*.example.com.
func checkDNSName(name string, wildcard bool) error {
	fail := func(why string) error { return fmt.Errorf("DNS name %q: %s", printable(name), why) }
	if name == "" || len(name) > 253 {
		return fail("must have 1 to 253 characters")
	}
	if net.ParseIP(name) != nil {
		return fail("is an IP address")
	}
	labels := strings.Split(name, ".")
	if labels[0] == "*" {
		if !wildcard {
			return fail("wildcards are for server certificates")
		}
		if len(labels) < 3 {
			return fail("a wildcard needs at least two labels after it")
		}
		labels = labels[1:]
	}
	for _, l := range labels {
		if l == "" || len(l) > 63 {
			return fail("each label must have 1 to 63 characters")
		}
		if l[0] == '-' || l[len(l)-1] == '-' {
			return fail("a label begins or ends with a hyphen")
		}
		for _, r := range l {
			if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
				return fail("only letters, digits, hyphens and underscores (a wildcard is the whole first label)")
			}
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return fail("the last label is a number")
	}
	return nil
}

// parseSPIFFE reads a SPIFFE ID (SPIFFE-ID §2): spiffe://trust-domain/path,
// without user, port, query or fragment, and a path without empty or dot
// segments, which two readers could understand differently.
func parseSPIFFE(text string) (*url.URL, error) {
	fail := func(why string) (*url.URL, error) {
		return nil, fmt.Errorf("URI %q: %s", printable(text), why)
	}
	rest, ok := strings.CutPrefix(text, "spiffe://")
	if !ok {
		return fail("only SPIFFE IDs (spiffe://trust-domain/path) are issued")
	}
	if len(text) > 2048 {
		return fail("has more than 2048 characters")
	}
	domain, path, hasPath := strings.Cut(rest, "/")
	if domain == "" || len(domain) > 255 {
		return fail("the trust domain must have 1 to 255 characters")
	}
	for _, r := range domain {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.' {
			return fail("the trust domain may hold a-z, 0-9, - _ . only")
		}
	}
	if hasPath {
		for _, segment := range strings.Split(path, "/") {
			if segment == "" || segment == "." || segment == ".." {
				return fail("the path has an empty or dot segment")
			}
			for _, r := range segment {
				if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.' {
					return fail("the path may hold letters, digits, - _ . and / only")
				}
			}
		}
	}
	u, err := url.Parse(text)
	if err != nil {
		return fail("is malformed")
	}
	return u, nil
}

// checkLifetime refuses what would outlive its issuer: such a certificate
// fails on the day the authority does, with an error that names the wrong one.
func (s *Store) checkLifetime(ttl time.Duration, now time.Time, issuer *x509.Certificate) (time.Time, error) {
	if now.Before(issuer.NotBefore) {
		return time.Time{}, fmt.Errorf("%w: authority is not valid before %s; the clock says %s",
			ErrRefused, issuer.NotBefore.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	if !now.Before(issuer.NotAfter) {
		return time.Time{}, fmt.Errorf("%w: authority expired on %s", ErrRefused, issuer.NotAfter.Format(time.RFC3339))
	}
	if ttl == 0 {
		if end := now.Add(s.cfg.LeafLifetime); end.Before(issuer.NotAfter) {
			return end, nil
		}
		return issuer.NotAfter, nil
	}
	if ttl < time.Minute || ttl > s.cfg.MaxLeafLifetime {
		return time.Time{}, fmt.Errorf("%w: lifetime %s must lie between 1m and %s", ErrRefused, ttl, s.cfg.MaxLeafLifetime)
	}
	end := now.Add(ttl)
	if end.After(issuer.NotAfter) {
		return time.Time{}, fmt.Errorf("%w: lifetime %s ends %s, after the authority does (%s)",
			ErrRefused, ttl, end.Format(time.RFC3339), issuer.NotAfter.Format(time.RFC3339))
	}
	return end, nil
}

var (
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidNameConstraints  = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
)

// parseCSR reads a certificate request and holds it against the names that
// were asked for beside it. Only its key is used; its wishes are never copied,
// and one that wishes for more than it would get is refused, so that nobody is
// surprised later.
func parseCSR(text []byte, r IssueRequest) (*x509.CertificateRequest, error) {
	der, err := csrDER(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate request is malformed: %w", ErrRefused, err)
	}
	var errs []error
	if err := csr.CheckSignature(); err != nil {
		errs = append(errs, fmt.Errorf("certificate request: its signature does not prove possession of the key: %w", err))
	}
	if err := checkPublicKey(csr.PublicKey); err != nil {
		errs = append(errs, fmt.Errorf("certificate request: %w", err))
	}
	for _, e := range csr.Extensions {
		switch {
		case e.Id.Equal(oidBasicConstraints):
			var bc struct {
				IsCA       bool `asn1:"optional"`
				MaxPathLen int  `asn1:"optional,default:-1"`
			}
			if _, err := asn1.Unmarshal(e.Value, &bc); err != nil || bc.IsCA {
				errs = append(errs, errors.New("certificate request asks to be an authority"))
			}
		case e.Id.Equal(oidNameConstraints):
			errs = append(errs, errors.New("certificate request asks for name constraints"))
		case e.Id.Equal(oidKeyUsage):
			var bits asn1.BitString
			// Bits 5 and 6 are keyCertSign and cRLSign (RFC 5280 §4.2.1.3).
			if _, err := asn1.Unmarshal(e.Value, &bits); err != nil || bits.At(5) == 1 || bits.At(6) == 1 {
				errs = append(errs, errors.New("certificate request asks to sign certificates or revocation lists"))
			}
		}
	}
	if cn := csr.Subject.CommonName; cn != "" && cn != r.Name {
		errs = append(errs, fmt.Errorf("certificate request is for %q, not %q", printable(cn), r.Name))
	}
	for _, d := range csr.DNSNames {
		if !contains(r.DNS, d, strings.EqualFold) {
			errs = append(errs, fmt.Errorf("certificate request asks for the DNS name %q, which was not asked for beside it", printable(d)))
		}
	}
	for _, ip := range csr.IPAddresses {
		if !contains(r.IPs, ip, net.IP.Equal) {
			errs = append(errs, fmt.Errorf("certificate request asks for the address %s, which was not asked for beside it", ip))
		}
	}
	for _, u := range csr.URIs {
		if !contains(r.URIs, u.String(), func(a, b string) bool { return a == b }) {
			errs = append(errs, fmt.Errorf("certificate request asks for the URI %q, which was not asked for beside it", printable(u.String())))
		}
	}
	if len(csr.EmailAddresses) > 0 {
		errs = append(errs, errors.New("certificate request asks for e-mail addresses, which are not issued"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return csr, nil
}

func contains[T any](list []T, v T, equal func(a, b T) bool) bool {
	for _, x := range list {
		if equal(x, v) {
			return true
		}
	}
	return false
}

// printable makes foreign text safe for a log line or an error.
func printable(s string) string {
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return '?'
		}
		return r
	}, s)
}
