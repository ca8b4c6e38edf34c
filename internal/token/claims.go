package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"
)

// Claims is what a genuine token says. A *Claims that a Verifier returned is
// shared between callers and must not be changed.
type Claims struct {
	// Issuer is the token's "iss".
	Issuer string
	// Subject is who the token is about: "sub", or the claim that the issuer's
	// trust names instead.
	Subject string
	// ID is the token's "jti". A token of a foreign issuer that has none gets
	// "sha256:" and the start of its own hash.
	ID string
	// Audience is the token's "aud".
	Audience []string
	// IssuedAt, NotBefore and Expires are "iat", "nbf" (zero if absent), "exp".
	IssuedAt, NotBefore, Expires time.Time
	// KeyID and Algorithm say how the token was signed.
	KeyID, Algorithm string
	// Permissions are those that the token grants, without duplicates.
	Permissions []Permission
	// Ignored are the entries of the permissions claim that are no permission,
	// bounded in number and length, for the log.
	Ignored []string
	// CertificateHash is the SHA-256 of the client certificate that must come
	// with the token ("cnf" "x5t#S256", RFC 8705), base64url; "" if the token is
	// bound to none.
	CertificateHash string
	// All are all claims as the token has them. Numbers are json.Number.
	All map[string]any

	memoOnce sync.Once
	memo     any
}

// Memo returns what make computes from the claims, computing it once in the
// life of these Claims. It lets a consumer keep its own view of a verified
// token exactly as long as the verifier's cache keeps the token. There is one
// such view: later calls return the first call's result, whatever make is.
func (c *Claims) Memo(make func(*Claims) any) any {
	c.memoOnce.Do(func() { c.memo = make(c) })
	return c.memo
}

// errDuplicate is its own error, because parsers disagree about which of two
// members counts: one service would check the first and another use the second.
var errDuplicate = errors.New("duplicate member")

// maxDepth bounds the nesting of a token's JSON.
const maxDepth = 16

// decodeObject reads one JSON object strictly: no duplicate member at any
// depth, nothing after it, bounded nesting. Names are compared exactly, unlike
// encoding/json's struct decoding, which would take "EXP" for "exp".
func decodeObject(data []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	t, err := d.Token()
	if err != nil {
		return nil, errors.New("is not JSON")
	}
	if t != json.Delim('{') {
		return nil, errors.New("is not a JSON object")
	}
	object, err := decodeMembers(d, 1)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("has data after the JSON object")
	}
	return object, nil
}

func decodeMembers(d *json.Decoder, depth int) (map[string]any, error) {
	if depth > maxDepth {
		return nil, errors.New("is nested too deeply")
	}
	object := make(map[string]any)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, errors.New("is not JSON")
		}
		name, ok := t.(string)
		if !ok {
			return nil, errors.New("is not JSON")
		}
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("%w %.40q", errDuplicate, name)
		}
		v, err := decodeValue(d, depth)
		if err != nil {
			return nil, err
		}
		object[name] = v
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("is not JSON")
	}
	return object, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, errors.New("is not JSON")
	}
	switch t {
	case json.Delim('{'):
		return decodeMembers(d, depth+1)
	case json.Delim('['):
		if depth+1 > maxDepth {
			return nil, errors.New("is nested too deeply")
		}
		list := []any{}
		for d.More() {
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		if _, err := d.Token(); err != nil {
			return nil, errors.New("is not JSON")
		}
		return list, nil
	}
	return t, nil
}

// maxNumericDate is the year 9999: later values overflow on the way to
// time.Time, and a token of that date is hostile.
const maxNumericDate = 253402300799

// numericDate reads a NumericDate (RFC 7519 section 2). An absent claim is the
// zero time; one of another type is an error, never an absent claim.
func numericDate(all map[string]any, name string) (time.Time, error) {
	v, ok := all[name]
	if !ok {
		return time.Time{}, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, fmt.Errorf("claim %q is not a number", name)
	}
	f, err := n.Float64()
	if err != nil || math.IsNaN(f) || f < 1 || f > maxNumericDate {
		return time.Time{}, fmt.Errorf("claim %q is no possible time", name)
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e9)).UTC(), nil
}

// text reads a claim that must be a string if it is there.
func text(all map[string]any, name string) (string, error) {
	v, ok := all[name]
	if !ok {
		return "", nil
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("claim %q is not a string", name)
	}
	return s, nil
}

// audiences reads "aud": a string or a list of strings.
func audiences(all map[string]any) ([]string, error) {
	switch v := all["aud"].(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		list := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, errors.New(`claim "aud" is not a list of strings`)
			}
			list = append(list, s)
		}
		return list, nil
	}
	return nil, errors.New(`claim "aud" is neither a string nor a list`)
}

// Extractor yields the permission texts of a token from its claims: permissions
// ("<namespace>:<role>") and the scopes that stand for one.
type Extractor func(all map[string]any) ([]string, error)

// FromClaims is the Extractor that reads the named claims. A claim may be a
// list of strings ("permissions" of Auth0, "roles" of Entra ID) or one string
// of words divided by spaces ("scope", "scp"). Absent claims yield nothing.
func FromClaims(names ...string) Extractor {
	return func(all map[string]any) ([]string, error) {
		var found []string
		for _, name := range names {
			switch v := all[name].(type) {
			case nil:
			case string:
				found = append(found, strings.Fields(v)...)
			case []any:
				for _, e := range v {
					s, ok := e.(string)
					if !ok {
						return nil, fmt.Errorf("claim %q is not a list of strings", name)
					}
					found = append(found, s)
				}
			default:
				return nil, fmt.Errorf("claim %q is neither a string nor a list", name)
			}
		}
		return found, nil
	}
}

// DefaultClaims are the claims that hold permissions unless a trust says
// otherwise.
func DefaultClaims() []string { return []string{"permissions", "scope"} }

const (
	// maxPermissions bounds the permissions of one token, as a guard against
	// tokens made to be slow to check.
	maxPermissions = 1000
	maxIgnored     = 8
)

// grant fills Permissions and Ignored from texts. An entry that names no known
// role grants nothing; it does not spoil its neighbours, since identity
// providers put permissions of other services into the same claim.
func (c *Claims) grant(texts []string, namespaces []string) error {
	if len(texts) > maxPermissions {
		return fmt.Errorf("has %d permissions (at most %d)", len(texts), maxPermissions)
	}
	seen := make(map[Permission]bool, len(texts))
	for _, t := range texts {
		p, ok := ParseScope(t)
		if !ok {
			var err error
			if p, err = ParsePermission(t); err != nil {
				c.ignore(t)
				continue
			}
		}
		if !within(p.Namespace, namespaces) {
			c.ignore(t)
			continue
		}
		if !seen[p] {
			seen[p] = true
			c.Permissions = append(c.Permissions, p)
		}
	}
	return nil
}

func (c *Claims) ignore(t string) {
	if len(c.Ignored) < maxIgnored {
		c.Ignored = append(c.Ignored, fmt.Sprintf("%.80q", t))
	}
}

// within reports whether an issuer that is limited to namespaces may grant a
// permission in ns. No limit is written as an empty list.
func within(ns string, namespaces []string) bool {
	if len(namespaces) == 0 {
		return true
	}
	for _, n := range namespaces {
		if n == ns {
			return true
		}
	}
	return false
}
