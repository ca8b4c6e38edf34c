package v1

import (
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// problems collects what is wrong with a spec, and what is odd. Its methods take
// the path of a field and check one rule; absent values are never a problem
// unless the method says so.
type problems struct {
	errors   []Problem
	warnings []Problem
	// lenient is set for the kinds that other tools have too: what those accept is
	// no error here, so that a manifest which works elsewhere loads.
	lenient bool
}

// add reports what cannot be.
func (p *problems) add(path, format string, args ...any) {
	p.errors = append(p.errors, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// warn reports what a person should look at, and what Auth0 may refuse although
// the manifest can be loaded.
func (p *problems) warn(path, format string, args ...any) {
	p.warnings = append(p.warnings, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// limit reports what breaks a limit of Auth0's: an error, or a warning if lenient.
func (p *problems) limit(path, format string, args ...any) {
	if p.lenient {
		p.warn(path, format, args...)
		return
	}
	p.add(path, format, args...)
}

// required reports an empty string.
func (p *problems) required(path, value string) bool {
	if value == "" {
		p.add(path, "is required")
		return false
	}
	return true
}

// belongs reports a block that the setting asks for and that is missing, or that
// has no meaning with the setting.
func (p *problems) belongs(path string, given, wanted bool, setting string) {
	switch {
	case wanted && !given:
		p.warn(path, "is missing, and %s needs it: expect Auth0 to refuse this", setting)
	case given && !wanted:
		p.warn(path, "has no meaning with %s", setting)
	}
}

// oneOf reports a value that is not among the allowed.
func (p *problems) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.add(path, "is %q, must be one of %s", value, strings.Join(slices.DeleteFunc(slices.Clone(allowed), func(s string) bool { return s == "" }), ", "))
	}
}

// each calls check with the path of every item, and reports items that repeat.
func (p *problems) each(path string, values []string, check func(path, value string)) {
	seen := map[string]int{}
	for i, v := range values {
		at := fmt.Sprintf("%s[%d]", path, i)
		if first, dup := seen[v]; dup {
			p.limit(at, "repeats %s[%d]", path, first)
			continue
		}
		seen[v] = i
		if check != nil {
			check(at, v)
		}
	}
}

// notEmpty is an item check for each.
func (p *problems) notEmpty(path, value string) {
	if value == "" {
		p.limit(path, "must not be empty")
	}
}

// length reports a text of less than min or more than max characters.
func (p *problems) length(path, value string, min, max int) {
	switch n := utf8.RuneCountInString(value); {
	case n < min && n == 0:
		p.limit(path, "must not be empty")
	case n < min:
		p.limit(path, "has %d characters, at least %d are needed", n, min)
	case n > max:
		p.limit(path, "has %d characters, at most %d are allowed", n, max)
	}
}

func (p *problems) lengthPtr(path string, value *string, min, max int) {
	if value != nil {
		p.length(path, *value, min, max)
	}
}

// email reports a text that is not one bare address. "" passes if the field is
// one that Auth0 lets be emptied.
func (p *problems) email(path, value string) {
	if a, err := mail.ParseAddress(value); err != nil || a.Address != value {
		p.add(path, "is not an email address")
	}
}

// httpsURL reports a text that is not an absolute https URL.
func (p *problems) httpsURL(path, value string) {
	if u, err := url.Parse(value); err != nil || u.Scheme != "https" || u.Host == "" {
		p.limit(path, "must be an absolute https URL")
	}
}

// httpsURLOrEmpty is httpsURL for fields that Auth0 lets be emptied.
func (p *problems) httpsURLOrEmpty(path string, value *string) {
	if value != nil && *value != "" {
		p.httpsURL(path, *value)
	}
}

// absoluteURLOrEmpty reports a text that is neither empty nor an absolute http
// or https URL.
func (p *problems) absoluteURLOrEmpty(path string, value *string) {
	if value == nil || *value == "" {
		return
	}
	if u, err := url.Parse(*value); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		p.limit(path, "must be an absolute URL")
	}
}

// scripts are schemes that run code or embed a document in the browser. As a
// place to send an authorization code to they are an attack and nothing else.
var scripts = []string{"javascript", "data", "vbscript"}

// redirectURL reports a text that is not an absolute URI without fragment. With
// web set it warns of what an application that runs on a server should not have:
// http elsewhere than on loopback, and wildcards, since whoever takes over one
// sub-domain could then collect authorization codes.
func (p *problems) redirectURL(path, value string, web bool) {
	u, err := url.Parse(strings.ReplaceAll(value, "*", "wildcard"))
	switch {
	case err == nil && slices.Contains(scripts, strings.ToLower(u.Scheme)):
		p.add(path, "must not have the scheme %s", u.Scheme)
		return
	case err != nil || u.Scheme == "" || (u.Host == "" && u.Path == "" && u.Opaque == ""):
		p.limit(path, "must be an absolute URL")
		return
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host == "":
		p.limit(path, "has no host")
		return
	case strings.Contains(value, "#"):
		p.limit(path, "must not contain a fragment (RFC 6749 section 3.1.2)")
	}
	if !web {
		return
	}
	if strings.Contains(value, "*") {
		p.limit(path, "must not contain a wildcard for an application of type regular_web")
	}
	switch u.Scheme {
	case "https":
	case "http":
		if !loopback(u.Hostname()) {
			p.limit(path, "must be https: http is for loopback addresses only")
		}
	default:
		p.limit(path, "must be https for an application of type regular_web")
	}
}

// originURL reports a text that is not scheme://host[:port].
func (p *problems) originURL(path, value string, web bool) {
	before := len(p.errors) + len(p.warnings)
	p.redirectURL(path, value, web)
	if len(p.errors)+len(p.warnings) > before {
		return
	}
	if u, err := url.Parse(strings.ReplaceAll(value, "*", "wildcard")); err == nil && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "") {
		p.limit(path, "must be an origin: scheme, host and port only")
	}
}

func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// address reports a text that is neither an IP address nor a CIDR block.
func (p *problems) address(path, value string) {
	if net.ParseIP(value) != nil {
		return
	}
	if _, _, err := net.ParseCIDR(value); err != nil {
		p.add(path, "is neither an IP address nor a CIDR block")
	}
}

// pairs reports metadata that Auth0 would refuse: too many keys, or too long.
func (p *problems) pairs(path string, values map[string]string, maxPairs int) {
	if len(values) > maxPairs {
		p.limit(path, "has %d keys, at most %d are allowed", len(values), maxPairs)
	}
	for _, key := range sortedKeys(values) {
		if utf8.RuneCountInString(key) > 255 || utf8.RuneCountInString(values[key]) > 255 {
			p.limit(path+"."+key, "key and value may have at most 255 characters")
		}
		if strings.HasPrefix(key, reservedPrefix) {
			p.add(path+"."+key, "keys that begin with %q are Tenon's own", reservedPrefix)
		}
	}
}

// reservedPrefix begins the metadata keys by which Tenon recognises its own
// objects. A manifest that could set them could make Tenon take over, or
// delete, an object that it did not create.
const reservedPrefix = "tenon"

// repeatedRefs reports references that repeat.
func (p *problems) repeatedRefs(path string, values []StringOrRef) {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = "value " + v.Value
		if f := v.ValueFrom; f != nil {
			texts[i] = fmt.Sprintf("from %q %q %q", f.Kind, f.Name, f.FieldPath)
		}
	}
	p.each(path, texts, nil)
}

// ref reports a reference without a name and a value that is empty.
func (p *problems) ref(path string, v StringOrRef) {
	switch {
	case v.ValueFrom == nil:
		if v.Value == "" {
			p.add(path, "needs a value or a valueFrom")
		}
		return
	case v.Value != "":
		p.add(path, "value and valueFrom exclude each other")
	case v.ValueFrom.Name == "":
		p.add(path+".valueFrom.name", "is required")
	}
	if k := v.ValueFrom.Kind; k != "" {
		if _, err := NewSpec(k); err != nil {
			p.add(path+".valueFrom.kind", "%v", err)
		}
	}
	if f := v.ValueFrom.FieldPath; f != "" && (!strings.HasPrefix(f, outputPrefix) || f == outputPrefix) {
		p.add(path+".valueFrom.fieldPath", "is %q, must begin with %q", f, outputPrefix)
	}
}

var secretRefPattern = regexp.MustCompile(`^[a-z][a-z0-9-]*:[^\s]+$`)

func valueOf[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func valueOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// secretRef reports a text that is not a reference to a secret store. The text
// itself is never in the message: it may be the secret.
func (p *problems) secretRef(path string, value SecretRef) {
	if !secretRefPattern.MatchString(string(value)) || strings.Contains(string(value), "://") {
		p.add(path, "must be a reference to a secret store, such as env:NAME or dotenv:KEY")
	}
}

// SecretRef is a reference to a secret in text form: "store:name".
type SecretRef string

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
