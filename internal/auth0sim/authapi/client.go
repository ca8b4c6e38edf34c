package authapi

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// credentials are how a client says who it is.
type credentials struct {
	id, secret string
	assertion  string
	presented  bool // a secret or an assertion came with the request
}

// clientCredentials reads the Authorization header or the body. Two methods at
// once are refused (RFC 6749, 2.3): which of them counts must not be a guess.
func (c *call) clientCredentials(p params) (credentials, error) {
	cr := credentials{id: p.str("client_id"), secret: p.str("client_secret"), assertion: p.str("client_assertion")}
	bodySecret := cr.secret != ""
	if h := c.r.Header.Get("Authorization"); strings.HasPrefix(h, "Basic ") {
		user, pass, ok := c.r.BasicAuth()
		if ok {
			// RFC 6749, 2.3.1: both parts are form-encoded first. A client that
			// does not encode sends the same unless it uses %, + or such.
			if u, err := url.QueryUnescape(user); err == nil {
				user = u
			}
			if u, err := url.QueryUnescape(pass); err == nil {
				pass = u
			}
		}
		if !ok || cr.id != "" && cr.id != user {
			return cr, errUnauthorized()
		}
		if bodySecret || cr.assertion != "" {
			return cr, oauthErr(http.StatusBadRequest, "invalid_request", "Multiple authentication methods are not allowed")
		}
		cr.id, cr.secret, cr.presented = user, pass, true
		return cr, nil
	}
	if cr.assertion != "" {
		if p.str("client_assertion_type") != assertionType {
			return cr, oauthErr(http.StatusBadRequest, "invalid_request", "Invalid client_assertion_type")
		}
		if bodySecret {
			return cr, oauthErr(http.StatusBadRequest, "invalid_request", "Multiple authentication methods are not allowed")
		}
		if cr.id == "" {
			t, err := jwt.ParseInsecure([]byte(cr.assertion))
			if err != nil {
				return cr, errUnauthorized()
			}
			cr.id, _ = t.Issuer() // a claim, proved by authenticate
		}
	}
	cr.presented = bodySecret || cr.assertion != ""
	if cr.id == "" {
		return cr, errMissing("client_id")
	}
	return cr, nil
}

// findClient looks a client up by its id, or by the URL of the metadata document
// that it was registered from.
func findClient(tx *state.Tx, id string) (Doc, bool, error) {
	client, ok, err := tx.Get("clients", id)
	if err != nil || ok || !strings.HasPrefix(id, "https://") {
		return client, ok, err
	}
	client, ok, err = tx.FindOne("clients", "external_client_id", id)
	return client, ok && str(client, "external_metadata_type") == "cimd", err
}

// knownAs is the client id that the client's tokens name: a client that
// describes itself in a document goes by the document's URL.
func knownAs(client Doc) string {
	if str(client, "external_metadata_type") == "cimd" {
		return str(client, "external_client_id")
	}
	return str(client, "client_id")
}

// authenticate returns the client that the request comes from. Public clients
// pass by naming themselves, unless required is set.
func (c *call) authenticate(p params, required bool) (Doc, error) {
	cr, err := c.clientCredentials(p)
	if err != nil {
		return nil, err
	}
	var client Doc
	var keys []jwk.Key
	err = c.view(func(tx *state.Tx) error {
		var ok bool
		if client, ok, err = findClient(tx, cr.id); err != nil {
			return err
		}
		if !ok {
			return errUnauthorized()
		}
		if cr.assertion != "" {
			keys, err = assertionKeys(tx, client)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	switch {
	case cr.assertion != "":
		return client, c.checkAssertion(client, keys, cr.assertion)
	case sub(client, "client_authentication_methods")["private_key_jwt"] != nil:
		return nil, errUnauthorized()
	case cr.presented:
		if secret := str(client, "client_secret"); secret == "" || !same(secret, cr.secret) {
			return nil, errUnauthorized()
		}
		return client, nil
	case required || !isPublic(client):
		return nil, errUnauthorized()
	}
	return client, nil
}

// identify is authenticate for the endpoints where even a confidential client
// need not prove itself.
func (c *call) identify(p params) (client Doc, err error) {
	cr, err := c.clientCredentials(p)
	if err != nil {
		return nil, err
	}
	if cr.presented {
		return c.authenticate(p, true)
	}
	err = c.view(func(tx *state.Tx) error {
		var ok bool
		client, ok, err = findClient(tx, cr.id)
		return errors.Join(err, unless(ok || err != nil, errUnauthorized()))
	})
	return client, err
}

// isPublic reports whether the client cannot keep a secret.
func isPublic(client Doc) bool {
	switch method := str(client, "token_endpoint_auth_method"); method {
	case "":
		app := str(client, "app_type")
		return app == "spa" || app == "native"
	default:
		return method == "none"
	}
}

// assertionKeys are the public keys registered for private_key_jwt.
func assertionKeys(tx *state.Tx, client Doc) ([]jwk.Key, error) {
	method := sub(sub(client, "client_authentication_methods"), "private_key_jwt")
	var keys []jwk.Key
	for _, ref := range docs(method, "credentials") {
		cred, ok, err := tx.Get("clients/credentials", str(ref, "id"))
		if err != nil {
			return nil, err
		}
		if !ok || str(cred, "client_id") != "" && str(cred, "client_id") != str(client, "client_id") {
			continue
		}
		if until := str(cred, "expires_at"); until != "" {
			if at, err := time.Parse(time.RFC3339, until); err == nil && !at.After(tx.Now()) {
				continue
			}
		}
		key, err := publicKey(str(state.PrivateOf(cred), "pem"))
		if err != nil {
			continue // registration accepted it; no signature can match it
		}
		if err := errors.Join(key.Set(jwk.KeyIDKey, str(cred, "kid")), key.Set(jwk.AlgorithmKey, str(cred, "alg"))); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func publicKey(text string) (jwk.Key, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("not a PEM block")
	}
	if block.Type == "CERTIFICATE" {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return jwk.Import(cert.PublicKey)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return jwk.Import(key)
}

// checkAssertion verifies a client's signed statement (RFC 7523, 3), and that
// it was not seen before: a copied one must not open the door again.
func (c *call) checkAssertion(client Doc, keys []jwk.Key, assertion string) error {
	id := knownAs(client)
	var token jwt.Token
	for _, key := range keys {
		alg, ok := key.Algorithm()
		if !ok || !slices.Contains([]string{"RS256", "RS384", "PS256"}, alg.String()) {
			continue
		}
		t, err := jwt.Parse([]byte(assertion), jwt.WithKey(alg, key), jwt.WithClock(c.clock()),
			jwt.WithIssuer(id), jwt.WithSubject(id), jwt.WithRequiredClaim("exp"), jwt.WithRequiredClaim("jti"))
		if err == nil {
			token = t
			break
		}
	}
	if token == nil || !c.assertionAudience(token) {
		return errUnauthorized()
	}
	jti, _ := token.JwtID()
	exp, _ := token.Expiration()
	if exp.After(c.now.Add(5*time.Minute + 30*time.Second)) {
		return errUnauthorized()
	}
	return c.update(func(tx *state.Tx) error {
		key := digest(state.Key(id, jti))
		if _, seen, err := tx.Get("oauth/assertions", key); err != nil || seen {
			return errors.Join(err, errUnauthorized())
		}
		if err := purge(tx, "oauth/assertions", "id"); err != nil {
			return err
		}
		return tx.Put("oauth/assertions", key, Doc{"id": key, "expires_at": exp.Unix() + 1})
	})
}

func (c *call) assertionAudience(t jwt.Token) bool {
	aud, _ := t.Audience()
	for _, a := range aud {
		if a == c.issuer() || a == strings.TrimSuffix(c.issuer(), "/") || a == c.url("/oauth/token") {
			return true
		}
	}
	return false
}

func (c *call) clock() jwt.Clock { return jwt.ClockFunc(func() time.Time { return c.now }) }

// grantTypes are the grants a client may use; Auth0's default when the
// document has none.
func grantTypes(client Doc) []string {
	if client["grant_types"] != nil {
		return texts(client, "grant_types")
	}
	return []string{"authorization_code", "implicit", "refresh_token", "client_credentials"}
}

func mayUse(client Doc, grant string) bool { return slices.Contains(grantTypes(client), grant) }

// idTokenAlg is the algorithm of a client's ID tokens. Clients made through the
// API without naming one get HS256 unless they are OIDC conformant, and a
// public client has no secret to sign with.
func idTokenAlg(client Doc) jwa.SignatureAlgorithm {
	switch str(sub(client, "jwt_configuration"), "alg") {
	case "HS256":
		return jwa.HS256()
	case "RS256":
		return jwa.RS256()
	case "PS256":
		return jwa.PS256()
	}
	if flag(client, "oidc_conformant") || isPublic(client) || str(client, "client_secret") == "" {
		return jwa.RS256()
	}
	return jwa.HS256()
}

// publicJWK is a signing key as the key set shows it.
func publicJWK(k state.SigningKey) (jwk.Key, error) {
	key, err := jwk.Import(k.Private.Public())
	if err != nil {
		return nil, err
	}
	chain := jwkChain(k)
	return key, errors.Join(
		key.Set(jwk.KeyIDKey, k.KID), key.Set(jwk.KeyUsageKey, "sig"), key.Set(jwk.AlgorithmKey, jwa.RS256()),
		key.Set(jwk.X509CertThumbprintKey, chain.thumbprint), key.Set(jwk.X509CertChainKey, chain.certs))
}

// tokenKeyID checks that a compact token is one, and gives its header's key id.
func tokenKeyID(token string) (kid string, typ string, ok bool) {
	m, err := jws.Parse([]byte(token))
	if err != nil || len(m.Signatures()) != 1 {
		return "", "", false
	}
	h := m.Signatures()[0].ProtectedHeaders()
	kid, _ = h.KeyID()
	typ, _ = h.Type()
	return kid, typ, true
}
