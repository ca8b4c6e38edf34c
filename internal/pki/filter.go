package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// Filter describes client certificates of another authority that are welcome.
// Every pattern that is set must match (AND); a pattern without a value is no
// condition. Patterns compare without regard to case and may hold one * at
// their start or end, standing for any text, the empty one too.
type Filter struct {
	CommonName         string // matches the subject's common name
	Organization       string // matches one of the subject's organizations
	OrganizationalUnit string // matches one of the subject's organizational units
	SAN                string // matches one DNS name, IP address, e-mail address or URI
	SPIFFE             string // matches the one URI of a certificate that has exactly one, a SPIFFE ID
}

// ParseFilter reads a filter as written in flags and environment variables:
// pairs key=pattern separated by commas, with the keys cn, o, ou, san and
// spiffe, each at most once. A comma or backslash in a pattern is written after
// a backslash.
func ParseFilter(text string) (Filter, error) {
	var f Filter
	for _, part := range splitEscaped(text) {
		key, pattern, ok := strings.Cut(part, "=")
		if !ok {
			return Filter{}, fmt.Errorf("certificate filter: %q has not the form key=pattern", printable(part))
		}
		var field *string
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "cn":
			field = &f.CommonName
		case "o":
			field = &f.Organization
		case "ou":
			field = &f.OrganizationalUnit
		case "san":
			field = &f.SAN
		case "spiffe":
			field = &f.SPIFFE
		default:
			return Filter{}, fmt.Errorf("certificate filter: key %q is unknown (cn, o, ou, san, spiffe)", printable(key))
		}
		if *field != "" {
			return Filter{}, fmt.Errorf("certificate filter: key %q is given twice", printable(key))
		}
		if pattern = strings.TrimSpace(pattern); pattern == "" {
			return Filter{}, fmt.Errorf("certificate filter: key %q has no pattern", printable(key))
		}
		*field = pattern
	}
	return f, f.check()
}

func splitEscaped(text string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && (text[i+1] == ',' || text[i+1] == '\\'):
			i++
			part.WriteByte(text[i])
		case c == ',':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(c)
		}
	}
	return append(parts, part.String())
}

// String writes the filter as ParseFilter reads it.
func (f Filter) String() string {
	escape := strings.NewReplacer(`\`, `\\`, `,`, `\,`)
	var parts []string
	for _, p := range f.patterns() {
		if p.pattern != "" {
			parts = append(parts, p.key+"="+escape.Replace(p.pattern))
		}
	}
	return strings.Join(parts, ",")
}

type filterPattern struct{ key, pattern string }

func (f Filter) patterns() []filterPattern {
	return []filterPattern{
		{"cn", f.CommonName}, {"o", f.Organization}, {"ou", f.OrganizationalUnit}, {"san", f.SAN}, {"spiffe", f.SPIFFE},
	}
}

func (f Filter) check() error {
	var errs []error
	conditions := 0
	for _, p := range f.patterns() {
		if p.pattern == "" {
			continue
		}
		conditions++
		inner := strings.TrimSuffix(p.pattern, "*")
		if inner == p.pattern {
			inner = strings.TrimPrefix(p.pattern, "*")
		}
		if strings.Contains(inner, "*") {
			errs = append(errs, fmt.Errorf("certificate filter: %s=%q: one * only, at the start or the end", p.key, printable(p.pattern)))
		}
		if printable(p.pattern) != p.pattern && len(p.pattern) <= 200 {
			errs = append(errs, fmt.Errorf("certificate filter: %s=%q holds control characters", p.key, printable(p.pattern)))
		}
		if len(p.pattern) > 200 {
			errs = append(errs, fmt.Errorf("certificate filter: %s has a pattern of %d characters: at most 200", p.key, len(p.pattern)))
		}
	}
	if conditions == 0 {
		errs = append(errs, errors.New("certificate filter: no condition, which would let everyone in"))
	}
	if f.SPIFFE != "" && !strings.HasPrefix(strings.ToLower(f.SPIFFE), "spiffe://") {
		errs = append(errs, fmt.Errorf("certificate filter: spiffe=%q does not begin with spiffe://", printable(f.SPIFFE)))
	}
	return errors.Join(errs...)
}

// Matches reports whether every condition of the filter holds.
func (f Filter) Matches(c *x509.Certificate) bool {
	one := func(pattern string, values ...string) bool {
		if pattern == "" {
			return true
		}
		for _, v := range values {
			if matchPattern(pattern, v) {
				return true
			}
		}
		return false
	}
	var sans []string
	if f.SAN != "" {
		sans = append(append(sans, c.DNSNames...), c.EmailAddresses...)
		for _, ip := range c.IPAddresses {
			sans = append(sans, ip.String())
		}
		for _, u := range c.URIs {
			sans = append(sans, u.String())
		}
	}
	var spiffe []string
	// X.509-SVID §2: a certificate with several URIs has no SPIFFE ID; taking
	// any of them would let the subject choose who it is.
	if f.SPIFFE != "" && len(c.URIs) == 1 {
		if u, err := parseSPIFFE(c.URIs[0].String()); err == nil {
			spiffe = append(spiffe, u.String())
		}
	}
	return one(f.CommonName, c.Subject.CommonName) &&
		one(f.Organization, c.Subject.Organization...) &&
		one(f.OrganizationalUnit, c.Subject.OrganizationalUnit...) &&
		one(f.SAN, sans...) &&
		one(f.SPIFFE, spiffe...)
}

// matchPattern never lets an absent value match: a certificate without a
// common name does not satisfy cn=*.
func matchPattern(pattern, value string) bool {
	if value == "" {
		return false
	}
	pattern, value = lowerASCII(pattern), lowerASCII(value)
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(value, prefix)
	}
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(value, suffix)
	}
	return pattern == value
}

// lowerASCII folds ASCII alone: by the rules of Unicode the Kelvin sign folds
// to k, and whoever may choose a name could then imitate another.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
