package auth0sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// Applications that describe themselves in a document on the internet (Client
// ID Metadata Documents): the document's URL is their client id. The document
// is fetched before the call's transaction, so that a slow host holds up nobody
// else.

// Auth0's limits for what it fetches.
const (
	maxMetadata = 5 << 10
	maxKeySet   = 12 << 10
	fetchTime   = 5 * time.Second
)

// metadata is what a fetch of an application's document brought.
type metadata struct {
	unreachable error
	fields      doc // client properties, in Auth0's names
	keys        []any
	violations  []string
	warnings    []string
}

// supportedMetadata names the document's properties that Auth0 reads.
var supportedMetadata = []string{"client_id", "client_name", "redirect_uris", "grant_types", "application_type", "token_endpoint_auth_method",
	"jwks_uri", "logo_uri", "description", "response_types"}

// fetchMetadata reads and checks the document that the body names. It runs
// outside of a transaction.
func fetchMetadata(c *call) error {
	id := str(c.object(), "external_client_id")
	if err := metadataURL(id); err != nil {
		return badRequest("Invalid external_client_id: %s", err)
	}
	m := &metadata{}
	c.fetched = m
	raw, err := c.server.fetchLimited(c.http.Context(), id, maxMetadata)
	if err != nil {
		m.unreachable = err
		return nil
	}
	var document doc
	if err := json.Unmarshal(raw, &document); err != nil {
		m.unreachable = errors.New("the document is not a JSON object")
		return nil
	}
	m.read(id, document)
	if str(m.fields, "token_endpoint_auth_method") == "private_key_jwt" && len(m.violations) == 0 {
		m.readKeys(c.http.Context(), c.server, str(m.fields, "jwks_uri"))
	}
	return nil
}

// metadataURL checks the rules for such a client id. Loopback and odd spellings
// are refused so that nobody's document can point Auth0 at itself.
func metadataURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || strings.TrimSpace(text) != text:
		return errors.New("it must be a URL")
	case u.Scheme != "https":
		return errors.New("it must use the https scheme")
	case u.Hostname() == "":
		return errors.New("it must have a host name")
	case u.Hostname() == "localhost" || loopback(u.Hostname()):
		return errors.New("localhost is not allowed")
	case u.Port() == "0":
		return errors.New("port 0 is not allowed")
	case u.User != nil:
		return errors.New("it must not contain credentials")
	case u.RawQuery != "" || u.ForceQuery:
		return errors.New("it must not contain a query")
	case strings.Contains(text, "#"):
		return errors.New("it must not contain a fragment")
	case u.Path == "" || u.Path == "/":
		return errors.New("it must have a path")
	}
	for _, segment := range strings.Split(u.Path, "/") {
		if segment == "." || segment == ".." {
			return errors.New("it must not contain dot segments")
		}
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// fetchLimited gets a document without following redirects.
func (s *Server) fetchLimited(ctx context.Context, address string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	direct := *s.cfg.Outbound
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := direct.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %d", res.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("the answer is larger than %d bytes", limit)
	}
	return raw, err
}

// read maps the document to client properties and notes what is wrong with it.
func (m *metadata) read(id string, document doc) {
	bad := func(format string, args ...any) { m.violations = append(m.violations, fmt.Sprintf(format, args...)) }
	unsupported := []string{}
	for name := range document {
		if !has(supportedMetadata, name) && name != "jwks" {
			unsupported = append(unsupported, name)
		}
	}
	if len(unsupported) > 0 {
		slices.Sort(unsupported)
		m.warnings = append(m.warnings, "Ignoring unsupported properties: "+strings.Join(unsupported, ", ")+". These properties are not validated or mapped to the Auth0 client configuration.")
	}
	m.fields = doc{"external_client_id": id}
	if str(document, "client_id") != id {
		bad("client_id must be the URL of the document")
	}
	if m.fields["name"] = str(document, "client_name"); m.fields["name"] == "" {
		bad("client_name is required")
	}
	if document["jwks"] != nil {
		bad("invalid_client_metadata: jwks is not supported, use jwks_uri")
	}
	grants := []any{}
	for _, g := range toStrings(list(document, "grant_types")) {
		if g == "authorization_code" || g == "refresh_token" {
			grants = append(grants, g)
		} else {
			m.warnings = append(m.warnings, fmt.Sprintf("Grant type not supported: '%s'", g))
		}
	}
	if m.fields["grant_types"] = grants; len(grants) == 0 {
		bad("grant_types must include authorization_code or refresh_token")
	}
	kind := map[string]string{"": "regular_web", "web": "regular_web", "native": "native"}[str(document, "application_type")]
	if m.fields["app_type"] = kind; kind == "" {
		bad("application_type must be native or web")
	}
	m.readAddresses(document, kind == "native", slices.Contains(grants, any("authorization_code")), bad)
	m.readMethod(id, document, bad)
	if text := str(document, "description"); len(text) > 140 {
		bad("description must not be longer than 140 characters")
	} else if text != "" {
		m.fields["description"] = text
	}
	if slices.Contains(toStrings(list(document, "response_types")), "code") && !slices.Contains(grants, any("authorization_code")) {
		m.warnings = append(m.warnings, "response_types contains code, but grant_types lacks authorization_code")
	}
}

func (m *metadata) readAddresses(document doc, native, needed bool, bad func(string, ...any)) {
	callbacks := toStrings(list(document, "redirect_uris"))
	for _, address := range callbacks {
		u, err := url.Parse(address)
		local := err == nil && native && (u.Hostname() == "localhost" || loopback(u.Hostname()))
		if err != nil || u.Host == "" || u.Scheme != "https" && !local {
			bad("redirect_uris must be https URLs: %s", clipText(address))
		}
	}
	if needed && len(callbacks) == 0 {
		bad("redirect_uris is required")
	}
	if len(callbacks) > 0 {
		m.fields["callbacks"] = toAny(callbacks)
	}
	if logo := str(document, "logo_uri"); logo != "" {
		m.fields["logo_uri"] = logo
		if u, err := url.Parse(logo); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			bad("logo_uri must be an http or https URL")
		}
	}
}

func (m *metadata) readMethod(id string, document doc, bad func(string, ...any)) {
	method := str(document, "token_endpoint_auth_method")
	if method == "" {
		method = "none"
	}
	m.fields["token_endpoint_auth_method"] = method
	switch method {
	case "none":
	case "private_key_jwt":
		uri := str(document, "jwks_uri")
		m.fields["jwks_uri"] = uri
		own, _ := url.Parse(id)
		if keys, err := url.Parse(uri); err != nil || uri == "" || keys.Scheme != own.Scheme || keys.Host != own.Host {
			bad("jwks_uri must be an https URL of the same origin as client_id")
		}
	default:
		bad("token_endpoint_auth_method must be none or private_key_jwt")
	}
}

// readKeys fetches the application's public keys and makes credentials of them.
func (m *metadata) readKeys(ctx context.Context, s *Server, uri string) {
	raw, err := s.fetchLimited(ctx, uri, maxKeySet)
	if err != nil {
		m.unreachable = err
		return
	}
	set, err := jwk.Parse(raw)
	if err != nil || set.Len() == 0 {
		m.violations = append(m.violations, "jwks_uri does not hold a JSON Web Key Set")
		return
	}
	for i := range set.Len() {
		key, _ := set.Key(i)
		if private, err := jwk.IsPrivateKey(key); err != nil || private {
			m.violations = append(m.violations, "jwks_uri holds private or symmetric keys")
			return
		}
		text, err := jwk.EncodePEM(key)
		if err != nil {
			m.violations = append(m.violations, "jwks_uri holds a key that cannot be read")
			return
		}
		cred := doc{"credential_type": "public_key", "alg": "RS256", "pem": string(text)}
		if alg, named := key.Algorithm(); named {
			cred["alg"] = alg.String()
		}
		if kid, named := key.KeyID(); named {
			cred["kid"] = kid
		}
		if !has([]string{"RS256", "RS384", "PS256"}, str(cred, "alg")) {
			m.violations = append(m.violations, "jwks_uri holds a key with an algorithm other than RS256, RS384 and PS256")
			return
		}
		m.keys = append(m.keys, cred)
	}
}

func clipText(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// report is what both operations answer.
func (m *metadata) report() doc {
	mapped := state.Clone(m.fields)
	if len(m.keys) > 0 {
		shown := []any{}
		for _, k := range m.keys {
			key := state.Clone(k.(doc))
			delete(key, "pem")
			shown = append(shown, key)
		}
		mapped["client_authentication_methods"] = doc{"private_key_jwt": doc{"credentials": shown}}
	}
	return doc{"mapped_fields": mapped, "validation": doc{
		"valid": len(m.violations) == 0, "violations": toAny(m.violations), "warnings": toAny(m.warnings)}}
}

func previewMetadata(c *call) (answer, error) {
	m := c.fetched
	out := doc{"errors": []any{}}
	if m.unreachable != nil {
		out["errors"] = []any{fmt.Sprintf("The Client Metadata at %s could not be retrieved.", str(c.object(), "external_client_id"))}
	} else {
		out = m.report()
	}
	d, found, err := c.FindOne("clients", "external_client_id", str(c.object(), "external_client_id"))
	if found {
		out["client_id"] = d["client_id"]
	}
	return answer{status: http.StatusOK, body: out}, err
}

// registerMetadata makes the client, or brings the one with this URL up to date.
func registerMetadata(clients *family) handler {
	return func(c *call) (answer, error) {
		m, id := c.fetched, str(c.object(), "external_client_id")
		if m.unreachable != nil {
			return answer{}, badRequest("The Client Metadata at %s could not be retrieved.", id)
		}
		if len(m.violations) > 0 {
			return answer{}, badRequest("The Client Metadata document at %s cannot be applied.", id)
		}
		body := state.Clone(m.fields)
		if len(m.keys) > 0 {
			delete(body, "token_endpoint_auth_method")
			body["client_authentication_methods"] = doc{"private_key_jwt": doc{"credentials": state.Clone(m.keys)}}
		}
		d, found, err := c.FindOne("clients", "external_client_id", id)
		if err != nil {
			return answer{}, err
		}
		status := http.StatusOK
		if found {
			if _, err := c.DeleteWhere("clients/credentials", "client_id", str(d, "client_id")); err != nil {
				return answer{}, err
			}
			for _, k := range []string{"description", "logo_uri", "callbacks", "jwks_uri", "token_endpoint_auth_method", "client_authentication_methods"} {
				delete(d, k)
			}
			err = clients.patch(c, d, body)
		} else {
			status = http.StatusCreated
			fillGaps(body, doc{"is_first_party": false, "third_party_security_mode": "strict", "external_metadata_type": "cimd", "external_metadata_created_by": "admin"})
			d, err = clients.create(c, body)
		}
		if err != nil {
			return answer{}, err
		}
		out := m.report()
		out["client_id"] = d["client_id"]
		return answer{status: status, body: out}, nil
	}
}
