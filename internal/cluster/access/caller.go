package access

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/server/common/authorization"
	"google.golang.org/grpc/credentials"

	"github.com/tenonhq/tenon/internal/token"
)

// Caller is who is calling, as found in claims by FromClaims. It must not be
// changed: it is shared by all calls with the same token.
type Caller struct {
	// Subject, Issuer and TokenID are the token's.
	Subject, Issuer, TokenID string

	everywhere roles
	namespaces map[string]roles
	claims     map[string]any // for rules; nil if there are none
	bound      string         // the certificate hash that the token is bound to
	principal  *commonpb.Principal

	// refused is why there is no genuine token; nil if there is one.
	refused error
}

// Sees reports whether the caller holds any role in a namespace.
func (c *Caller) Sees(namespace string) bool { return c.in(namespace) != 0 }

// Roles names the caller's roles in a namespace.
func (c *Caller) Roles(namespace string) []string { return c.in(namespace).list() }

func (c *Caller) in(namespace string) roles { return c.everywhere | c.namespaces[namespace] }

func (c *Caller) somewhere(r roles) bool {
	if c.everywhere&r != 0 {
		return true
	}
	for _, held := range c.namespaces {
		if held&r != 0 {
			return true
		}
	}
	return false
}

// FromClaims returns the caller that this package's claim mapper put into
// claims, or nil.
func FromClaims(claims *authorization.Claims) *Caller {
	if claims == nil {
		return nil
	}
	c, _ := claims.Extensions.(*Caller)
	return c
}

// authTypePrefix begins the principal type of every caller with a token. The
// issuer's name follows, because a subject means something within its issuer
// only. It also keeps callers apart from the server's own workers, whose type is
// "temporal".
const authTypePrefix = "jwt:"

// isInternal reports whether claims are those that the internal frontend's own
// claim mapper gives to the server's workers. Extensions tell them from all that
// this package's mapper makes: it always sets them.
func isInternal(c *authorization.Claims) bool {
	return c != nil && c.Extensions == nil &&
		c.AuthType == authorization.InternalPrincipalType &&
		c.Subject == authorization.InternalPrincipalName &&
		c.System == authorization.RoleAdmin
}

// mapper is the claim mapper.
type mapper struct {
	verifier TokenVerifier
	derive   func(*token.Claims) any
	none     *authorization.Claims
	// byCertificate is who a certificate alone is; nil if it is nobody.
	byCertificate func(*credentials.TLSInfo) *authorization.Claims
}

var (
	_ authorization.ClaimMapper                     = (*mapper)(nil)
	_ authorization.ClaimMapperWithAuthInfoRequired = (*mapper)(nil)
)

// errNoToken is the reason recorded for a call without a token.
var errNoToken = errors.New("no token")

// errScheme is the reason recorded for an Authorization header that is no bearer token.
var errScheme = errors.New("authorization is no bearer token")

func newMapper(v TokenVerifier, withClaims bool, log *slog.Logger) *mapper {
	return &mapper{
		verifier: v,
		derive: func(c *token.Claims) any {
			// A misspelt permission grants nothing, and nothing else would say so.
			if len(c.Permissions) == 0 {
				log.Warn("token grants no role", "subject", c.Subject, "issuer", c.Issuer, "token_id", c.ID, "ignored", c.Ignored)
			}
			return claimsOf(newCaller(c, withClaims))
		},
		none: claimsOf(&Caller{refused: errNoToken}),
	}
}

// AuthInfoRequired makes the server map callers with neither token nor
// certificate as well, so that their refusal is recorded.
func (m *mapper) AuthInfoRequired() bool { return false }

// GetClaims implements authorization.ClaimMapper. It never fails; see the
// package documentation.
func (m *mapper) GetClaims(info *authorization.AuthInfo) (*authorization.Claims, error) {
	if info == nil || info.AuthToken == "" {
		if info != nil && m.byCertificate != nil {
			if claims := m.byCertificate(info.TLSConnection); claims != nil {
				return claims, nil
			}
		}
		return m.none, nil
	}
	raw, ok := bearer(info.AuthToken)
	if !ok {
		return claimsOf(&Caller{refused: errScheme}), nil
	}
	claims, err := m.verifier.Verify(bgContext, raw)
	if err != nil {
		return claimsOf(refusedCaller(err)), nil
	}
	return claims.Memo(m.derive).(*authorization.Claims), nil
}

// bearer returns the token of "Bearer <token>" (RFC 6750 section 2.1; the
// scheme's case does not matter, RFC 9110 section 11.1).
func bearer(header string) (string, bool) {
	const scheme = "bearer "
	if len(header) <= len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimLeft(header[len(scheme):], " "), true
}

// refusedCaller keeps who it was if the token was genuine but refused, so that
// one can see whose token expired. It holds no role.
func refusedCaller(err error) *Caller {
	c := &Caller{refused: err}
	var refused *token.VerificationError
	if errors.As(err, &refused) && refused.Claims != nil {
		c.Subject, c.Issuer, c.TokenID = refused.Claims.Subject, refused.Claims.Issuer, refused.Claims.ID
	}
	return c
}

func newCaller(t *token.Claims, withClaims bool) *Caller {
	c := &Caller{
		Subject: t.Subject, Issuer: t.Issuer, TokenID: t.ID,
		bound:     t.CertificateHash,
		principal: &commonpb.Principal{Type: authTypePrefix + t.Issuer, Name: t.Subject},
	}
	c.grant(t.Permissions)
	if withClaims {
		c.claims, _ = plain(t.All).(map[string]any)
	}
	return c
}

// certificatePrincipal is the principal type of callers by certificate alone.
const certificatePrincipal = "certificate"

func callerByCertificate(subject string, permissions []token.Permission) *Caller {
	c := &Caller{Subject: subject, principal: &commonpb.Principal{Type: certificatePrincipal, Name: subject}}
	c.grant(permissions)
	return c
}

func (c *Caller) grant(permissions []token.Permission) {
	c.namespaces = make(map[string]roles)
	for _, p := range permissions {
		granted := expand(p.Role)
		if p.Namespace != token.ClusterWide {
			c.namespaces[p.Namespace] |= granted
			continue
		}
		if granted&admin != 0 {
			granted |= system | worker // the cluster's own administration may do everything
		}
		c.everywhere |= granted
	}
}

// claimsOf wraps a caller. The claims' own roles stay empty: whoever judged by
// them instead of by the Caller would refuse everything.
func claimsOf(c *Caller) *authorization.Claims {
	kind := c.principal.GetType()
	if kind == "" {
		kind = authTypePrefix
	}
	return &authorization.Claims{Subject: c.Subject, AuthType: kind, Extensions: c}
}

// plain turns json.Number into numbers that rules can compare.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	case map[string]any:
		m := make(map[string]any, len(v))
		for name, e := range v {
			m[name] = plain(e)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = plain(e)
		}
		return list
	}
	return v
}
