package token

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxEnvSources is how many key sources the environment can name.
const maxEnvSources = 9

// TrustsFromEnv reads the issuers that the environment names, with the variables
// of the official Temporal images:
//
//	TEMPORAL_JWT_KEY_SOURCE1 … 9    key set: an https URL, a file:// URL or a path
//	TEMPORAL_JWT_KEY_REFRESH        how often it is fetched (default 15m)
//	TEMPORAL_JWT_PERMISSIONS_CLAIM  claim that holds permissions (default permissions, scope)
//
// and, since an issuer is always checked here, with
//
//	TEMPORAL_JWT_ISSUER1 … 9        the "iss" of that source's tokens
//	TEMPORAL_JWT_AUDIENCE1 … 9      the "aud"; TEMPORAL_JWT_AUDIENCE is the default for all
//	TEMPORAL_JWT_ALGORITHMS1 … 9    comma-separated (default RS256)
//
// The issuer may be left out where the key set's URL determines it: Auth0
// (https://TENANT/.well-known/jwks.json) and Entra ID
// (https://login.microsoftonline.com/TENANT/discovery/v2.0/keys). Nothing set
// yields an empty list; all mistakes are reported at once.
func TrustsFromEnv(getenv func(string) string, roots *x509.CertPool) ([]IssuerTrust, error) {
	var trusts []IssuerTrust
	var problems []error
	refresh := time.Duration(0)
	if s := getenv("TEMPORAL_JWT_KEY_REFRESH"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d < time.Second {
			problems = append(problems, fmt.Errorf("TEMPORAL_JWT_KEY_REFRESH %q: want a duration of at least 1s, like 15m", s))
		}
		refresh = d
	}
	claims := DefaultClaims()
	if s := getenv("TEMPORAL_JWT_PERMISSIONS_CLAIM"); s != "" {
		claims = []string{s}
	}
	for n := 1; n <= maxEnvSources; n++ {
		e := envSource{n: strconv.Itoa(n), get: getenv}
		if !e.set() {
			continue
		}
		t, err := e.trust(refresh, roots)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		t.Permissions = FromClaims(claims...)
		trusts = append(trusts, t)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return trusts, nil
}

type envSource struct {
	n   string
	get func(string) string
}

func (e envSource) value(name string) string { return strings.TrimSpace(e.get(name + e.n)) }

// set reports whether any variable of this number is set: a source without its
// key set must be an error, not an issuer that is silently missing.
func (e envSource) set() bool {
	for _, name := range []string{"TEMPORAL_JWT_KEY_SOURCE", "TEMPORAL_JWT_ISSUER", "TEMPORAL_JWT_AUDIENCE", "TEMPORAL_JWT_ALGORITHMS"} {
		if e.value(name) != "" {
			return true
		}
	}
	return false
}

func (e envSource) trust(refresh time.Duration, roots *x509.CertPool) (IssuerTrust, error) {
	location := e.value("TEMPORAL_JWT_KEY_SOURCE")
	if location == "" {
		return IssuerTrust{}, fmt.Errorf("TEMPORAL_JWT_KEY_SOURCE%s is not set, but others with this number are", e.n)
	}
	source, err := OpenSource(location, roots)
	if err != nil {
		return IssuerTrust{}, fmt.Errorf("TEMPORAL_JWT_KEY_SOURCE%s: %w", e.n, err)
	}
	if s, ok := source.(*urlSource); ok && refresh > 0 {
		s.cfg.Refresh = refresh
	}
	t := IssuerTrust{Issuer: e.value("TEMPORAL_JWT_ISSUER"), Keys: source}
	if t.Issuer == "" {
		if t.Issuer = issuerOf(location); t.Issuer == "" {
			return IssuerTrust{}, fmt.Errorf("TEMPORAL_JWT_ISSUER%s is not set: the tokens' issuer must be known", e.n)
		}
	}
	// Entra ID's token id is "uti".
	if strings.HasPrefix(t.Issuer, entraHost) {
		t.IDClaim = "uti"
	}
	audience := e.value("TEMPORAL_JWT_AUDIENCE")
	if audience == "" {
		audience = strings.TrimSpace(e.get("TEMPORAL_JWT_AUDIENCE"))
	}
	if audience == "" {
		return IssuerTrust{}, fmt.Errorf("TEMPORAL_JWT_AUDIENCE%s is not set: a token for another service must not open this one", e.n)
	}
	t.Audience = strings.FieldsFunc(audience, func(r rune) bool { return r == ',' || r == ' ' })
	if s := e.value("TEMPORAL_JWT_ALGORITHMS"); s != "" {
		t.Algorithms = strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	}
	return t, nil
}

const entraHost = "https://login.microsoftonline.com/"

// issuerOf derives the issuer from the key set's URL where the provider
// documents the relation, and is "" elsewhere.
func issuerOf(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "https" {
		return ""
	}
	if u.Path == "/.well-known/jwks.json" {
		return "https://" + u.Host + "/"
	}
	if tenant, ok := strings.CutSuffix(location, "/discovery/v2.0/keys"); ok && strings.HasPrefix(location, entraHost) {
		return tenant + "/v2.0"
	}
	return ""
}
