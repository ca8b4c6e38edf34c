package token

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"time"
)

const maxSubject = 512

// judge fills the claims and decides about a token whose signature is genuine.
// It fills as much as it can before it refuses, so that the refusal can say who
// was refused.
func (v *Verifier) judge(t *trust, c *Claims, typ string, hash *[sha256.Size]byte, now time.Time) *VerificationError {
	if err := v.identify(t, c, hash); err != nil {
		return err
	}
	if err := checkType(t, c, typ); err != nil {
		return err
	}
	if !slices.ContainsFunc(c.Audience, func(a string) bool { return slices.Contains(t.Audience, a) }) {
		return refuse(ErrAudience, "")
	}
	if err := v.checkTimes(t, c, now); err != nil {
		return err
	}
	texts, err := t.Permissions(c.All)
	if err != nil {
		return refuse(ErrMalformed, "%v", err)
	}
	if err := c.grant(texts, t.Namespaces); err != nil {
		return refuse(ErrMalformed, "%v", err)
	}
	if err := c.readConfirmation(); err != nil {
		return err
	}
	if v.cfg.Revocations != nil && v.cfg.Revocations.Revoked(c) {
		return refuse(ErrRevoked, "")
	}
	return nil
}

func (v *Verifier) identify(t *trust, c *Claims, hash *[sha256.Size]byte) *VerificationError {
	subject, err := text(c.All, t.SubjectClaim)
	if err != nil {
		return refuse(ErrMalformed, "%v", err)
	}
	if subject == "" {
		return refuse(ErrClaims, "%q", t.SubjectClaim)
	}
	if len(subject) > maxSubject || strings.ContainsFunc(subject, unprintable) {
		return refuse(ErrMalformed, "claim %q is too long or unprintable", t.SubjectClaim)
	}
	c.Subject = subject
	id, err := text(c.All, t.IDClaim)
	if err != nil {
		return refuse(ErrMalformed, "%v", err)
	}
	switch {
	case len(id) > maxSubject || strings.ContainsFunc(id, unprintable):
		return refuse(ErrMalformed, "claim %q is too long or unprintable", t.IDClaim)
	case id != "":
		c.ID = id
	case t.RequireID:
		return refuse(ErrClaims, "%q", t.IDClaim)
	default:
		c.ID = "sha256:" + base64.RawURLEncoding.EncodeToString(hash[:15])
	}
	if c.Audience, err = audiences(c.All); err != nil {
		return refuse(ErrMalformed, "%v", err)
	}
	for name, into := range map[string]*time.Time{"iat": &c.IssuedAt, "nbf": &c.NotBefore, "exp": &c.Expires} {
		if *into, err = numericDate(c.All, name); err != nil {
			return refuse(ErrMalformed, "%v", err)
		}
	}
	return nil
}

func (v *Verifier) checkTimes(t *trust, c *Claims, now time.Time) *VerificationError {
	switch {
	case c.Expires.IsZero():
		return refuse(ErrClaims, `"exp"`)
	case c.IssuedAt.IsZero():
		return refuse(ErrClaims, `"iat"`)
	case !now.Before(c.Expires.Add(v.cfg.Leeway)):
		return refuse(ErrExpired, "at %s", c.Expires.Format(time.RFC3339))
	case now.Before(c.IssuedAt.Add(-v.cfg.Leeway)):
		return refuse(ErrNotYetValid, "issued at %s", c.IssuedAt.Format(time.RFC3339))
	case !c.NotBefore.IsZero() && now.Before(c.NotBefore.Add(-v.cfg.Leeway)):
		return refuse(ErrNotYetValid, "before %s", c.NotBefore.Format(time.RFC3339))
	case c.Expires.Sub(c.IssuedAt) > t.MaxLifetime:
		return refuse(ErrLifetime, "%s (at most %s)", c.Expires.Sub(c.IssuedAt), t.MaxLifetime)
	}
	return nil
}

// idTokenClaims are in ID tokens and not in access tokens (OpenID Connect Core
// sections 2, 3.1.3.6 and 3.3.2.11).
var idTokenClaims = []string{"nonce", "at_hash", "c_hash", "s_hash"}

// checkType refuses what is no access token. An ID token says who logged in to
// an application, and that application may show it around; taking it for an
// access token would let every such application act for its users.
func checkType(t *trust, c *Claims, typ string) *VerificationError {
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "at+jwt": // RFC 9068 section 2.1
	case "", "jwt":
		if t.RequireType {
			return refuse(ErrType, `header "typ" is not at+jwt`)
		}
		for _, name := range idTokenClaims {
			if _, ok := c.All[name]; ok {
				return refuse(ErrType, "it is an ID token (%q)", name)
			}
		}
	default:
		return refuse(ErrType, "it is of type %.40q", typ)
	}
	// Providers' own marks: token_use (Amazon Cognito), typ as a claim (Keycloak).
	if use, ok := c.All["token_use"]; ok && use != "access" {
		return refuse(ErrType, `claim "token_use" is not access`)
	}
	if kind, ok := c.All["typ"].(string); ok && !strings.EqualFold(kind, "bearer") && !strings.EqualFold(kind, "at+jwt") {
		return refuse(ErrType, `claim "typ" is not Bearer`)
	}
	return nil
}

// readConfirmation reads "cnf" (RFC 7800). A token bound to something that
// cannot be checked here must not be taken for an unbound one.
func (c *Claims) readConfirmation() *VerificationError {
	v, ok := c.All["cnf"]
	if !ok {
		return nil
	}
	cnf, ok := v.(map[string]any)
	if !ok || len(cnf) != 1 {
		return refuse(ErrType, `claim "cnf" binds it to something unsupported`)
	}
	hash, ok := cnf["x5t#S256"].(string)
	if sum, err := base64url.DecodeString(hash); !ok || err != nil || len(sum) != sha256.Size {
		return refuse(ErrType, `claim "cnf" binds it to something unsupported`)
	}
	c.CertificateHash = hash
	return nil
}
