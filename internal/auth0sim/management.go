package auth0sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// maxBody is the largest JSON body that the Management API reads.
const maxBody = 1 << 20

// streamHandler answers outside of a transaction.
type streamHandler func(s *Server, w http.ResponseWriter, r *http.Request, t *tenant, c *call)

// outside are the operations that ask another server before they begin.
var outside = map[string]func(*call) error{
	"POST /clients/cimd/preview": fetchMetadata, "POST /clients/cimd/register": fetchMetadata,
}

// declare builds the router: every handler of the declarations, with the
// operation that the catalogue has for it.
func (s *Server) declare() error {
	operations := map[string]*operation{}
	for _, op := range s.catalog.operations {
		operations[op.Method+" "+pattern(op.Path)] = op
	}
	for key, do := range s.handlers() {
		method, path, _ := strings.Cut(key, " ")
		op := operations[key]
		if op == nil {
			op = undocumented[key]
		}
		if op == nil {
			return fmt.Errorf("no operation %s in the catalogue", key)
		}
		if err := s.router.add(method, path, &route{op: op, do: do, before: outside[key]}); err != nil {
			return err
		}
	}
	for key, stream := range s.streams() {
		method, path, _ := strings.Cut(key, " ")
		if err := s.router.add(method, path, &route{op: operations[key], stream: stream}); err != nil {
			return err
		}
	}
	return nil
}

// serveManagement answers one Management API call. path is escaped and begins
// behind /api/v2.
func (s *Server) serveManagement(w http.ResponseWriter, r *http.Request, t *tenant, path string) {
	rt, params, found := s.router.find(r.Method, path)
	who, err := t.authenticate(r)
	if err == nil {
		pattern := ""
		if found {
			pattern = rt.pattern
		}
		v := t.limits.take(r.Method, pattern)
		v.write(w.Header())
		if !v.allowed {
			err = v.refusal()
		}
	}
	if err == nil && !found {
		err = errNoRoute
	}
	if err == nil {
		err = who.require(rt.op.Scopes)
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	c := &call{server: s, tenant: t, route: rt, http: r, params: params, query: r.URL.Query(), caller: who}
	if err := c.read(); err != nil {
		s.refuse(w, r, err)
		return
	}
	if rt.before != nil {
		if err := rt.before(c); err != nil {
			s.refuse(w, r, err)
			return
		}
	}
	if rt.stream != nil {
		rt.stream(s, w, r, t, c)
		return
	}
	a, err := s.transact(r.Context(), t, c)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	for _, f := range c.after {
		f()
	}
	a.write(w)
}

// transact runs the handler and, for a write, records it in the tenant's log.
func (s *Server) transact(ctx context.Context, t *tenant, c *call) (a answer, err error) {
	run := t.state.Update
	if c.http.Method == http.MethodGet && !writing["GET "+c.route.pattern] {
		run = t.state.View
	}
	err = run(ctx, func(tx *state.Tx) error {
		c.Tx, c.after = tx, nil
		if a, err = c.route.do(c); err != nil || c.http.Method == http.MethodGet {
			return err
		}
		return c.logWrite(a.status)
	})
	return a, err
}

// read validates the path's parameters, the query string and the body.
func (c *call) read() error {
	op := c.route.op
	for i, p := range op.Params {
		if i >= len(c.params) || p.Schema == nil {
			break
		}
		if bad := c.server.validate.at(p.Schema, c.params[i], p.Name, ""); bad != nil {
			return refuse(http.StatusBadRequest, "invalid_uri", "Path validation error: %s", bad)
		}
	}
	if err := c.readQuery(op); err != nil {
		return err
	}
	if c.http.Method == http.MethodGet {
		return nil
	}
	return c.readBody(op)
}

func (c *call) readQuery(op *operation) error {
	for _, p := range op.Query {
		values, given := c.query[p.Name]
		if !given {
			if p.Required {
				return refuse(http.StatusBadRequest, "invalid_query_string", "Query validation error: 'Missing required property: %s'.", p.Name)
			}
			continue
		}
		value := queryValue(c.server.catalog.resolve(p.Schema), values)
		if value == "" {
			continue
		}
		if bad := c.server.validate.at(p.Schema, value, p.Name, ""); bad != nil {
			return refuse(http.StatusBadRequest, "invalid_query_string", "Query validation error: %s", bad)
		}
	}
	return nil
}

// queryValue reads a query parameter as the type that it is declared to have.
func queryValue(s *schema, values []string) any {
	if s == nil || len(s.Type) == 0 {
		return values[0]
	}
	switch s.Type[0] {
	case "integer", "number":
		if n, err := strconv.ParseFloat(values[0], 64); err == nil {
			return n
		}
	case "boolean":
		if values[0] == "true" || values[0] == "false" {
			return values[0] == "true"
		}
	case "array":
		if len(values) == 1 {
			values = strings.Split(values[0], ",")
		}
		return toAny(values)
	}
	return values[0]
}

func (c *call) readBody(op *operation) error {
	raw, err := io.ReadAll(io.LimitReader(c.http.Body, maxBody+1))
	if err != nil {
		return refuse(http.StatusBadRequest, "", "Request body could not be read")
	}
	if len(raw) > maxBody && c.route.pattern == "/jobs/users-imports" {
		return refuse(http.StatusRequestEntityTooLarge, "", "Payload content length greater than maximum allowed: %d.", maxImport)
	}
	if len(raw) > maxBody {
		return refuse(http.StatusRequestEntityTooLarge, "", "Payload content length greater than maximum allowed: %d", maxBody)
	}
	raw = bytes.TrimSpace(raw)
	kind, _, err := mime.ParseMediaType(c.http.Header.Get("Content-Type"))
	if err != nil {
		kind = "application/json" // absent or unreadable: taken for JSON
	}
	switch {
	case kind == "multipart/form-data" && op.Body == nil:
		return c.readMultipart(raw)
	case kind == "text/html" && acceptsHTML[op.Method+" "+pattern(op.Path)]:
		c.body = doc{"template": string(raw)}
		return nil
	case len(raw) == 0:
		if body := c.server.catalog.resolve(op.Body); op.Required || body != nil && len(body.Required)+len(body.OneOf) > 0 {
			return badRequest("Payload validation error: 'Expected type object but found type null'.")
		}
		return nil
	case kind == "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(raw))
		if err != nil {
			return refuse(http.StatusBadRequest, "", "Invalid request payload format")
		}
		c.body = formBody(c.server.catalog.resolve(op.Body), form)
	case kind != "application/json" && !strings.HasSuffix(kind, "+json"):
		return refuse(http.StatusUnsupportedMediaType, "", "Unsupported Media Type")
	default:
		if err := json.Unmarshal(raw, &c.body); err != nil {
			return refuse(http.StatusBadRequest, "", "Invalid request payload JSON format")
		}
	}
	if op.Body == nil {
		return nil
	}
	if c.body == nil && !op.Required {
		return nil
	}
	body := withoutNulls(op, c.body)
	if cleared, isObject := body.(doc); isObject && len(cleared) == 0 && len(c.object()) > 0 {
		return nil // it takes properties away and sets none
	}
	if bad := c.server.validate.check(op.Body, body); bad != nil {
		return badRequest("Payload validation error: %s", bad)
	}
	return nil
}

// withoutNulls is a body as it is validated: in a PATCH, null takes a property
// away, whatever type it has.
func withoutNulls(op *operation, body any) any {
	given, isObject := body.(doc)
	if op.Method != http.MethodPatch || !isObject {
		return body
	}
	out := make(doc, len(given))
	for k, v := range given {
		if v != nil {
			out[k] = v
		}
	}
	return out
}

// formBody reads an urlencoded body as the object that the operation declares.
func formBody(s *schema, form url.Values) doc {
	out := doc{}
	for name, values := range form {
		var p *schema
		if s != nil {
			p = s.Properties[name]
		}
		out[name] = queryValue(p, values)
	}
	return out
}

// write renders the answer.
func (a answer) write(w http.ResponseWriter) {
	if a.text != nil {
		w.Header().Set("Content-Type", a.kind)
		w.WriteHeader(a.status)
		_, _ = w.Write(a.text)
		return
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	writeJSON(w, a.status, a.body)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	// A client that has gone away is no news.
	_, _ = w.Write(bytes.TrimRight(b.Bytes(), "\n"))
}

func (e *apiError) write(w http.ResponseWriter) {
	for k, v := range e.Header {
		w.Header()[k] = v
	}
	writeJSON(w, e.Status, e.body())
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var known *apiError
	switch {
	case errors.As(err, &known):
		known.write(w)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// Nobody is waiting for the answer.
		w.WriteHeader(http.StatusRequestTimeout)
	default:
		s.log.Error("management api call failed", "method", r.Method, "path", r.URL.Path, "error", err)
		refuse(http.StatusInternalServerError, "", "An internal server error occurred").write(w)
	}
}

// logWrite records a successful write as the tenant's log does: type "sapi".
func (c *call) logWrite(status int) error {
	return c.Log(doc{
		"type": "sapi", "description": sapiDescription(c.route), "client_id": c.caller.client, "client_name": "", "ip": "127.0.0.1",
		"user_agent": c.http.UserAgent(), "user_id": c.targetUser(),
		"details": doc{
			"request": doc{
				"method": strings.ToLower(c.http.Method), "path": c.http.URL.Path, "query": queryDoc(c.query), "body": maskSecrets(c.body),
				"channel": "api", "ip": "127.0.0.1", "userAgent": c.http.UserAgent(),
				"auth": doc{"strategy": "jwt", "user": doc{}, "credentials": doc{"jti": ""}},
			},
			"response": doc{"statusCode": status},
		},
	})
}

func sapiDescription(rt *route) string {
	verb := map[string]string{"POST": "Create", "PATCH": "Update", "PUT": "Set", "DELETE": "Delete"}[rt.op.Method]
	parts := slices.DeleteFunc(strings.Split(rt.pattern, "/"), func(p string) bool { return p == "" || p == "{}" })
	return verb + " " + strings.Join(parts, " ")
}

func (c *call) targetUser() string {
	if strings.HasPrefix(c.route.pattern, "/users/{}") {
		return c.params[0]
	}
	return ""
}

func queryDoc(q url.Values) doc {
	out := doc{}
	for k, v := range q {
		out[k] = v[0]
	}
	return out
}

var secretKeys = map[string]bool{"client_secret": true, "password": true, "secret": true, "token": true, "value": true, "header_value": true,
	"password_hash": true, "custom_password_hash": true, "pem": true, "api_key": true, "accessKeyId": true, "secretAccessKey": true, "smtp_pass": true,
	"credentials": true, "auth_token": true, "totp_secret": true, "httpAuthorization": true, "splunkToken": true, "datadogApiKey": true, "setup": true}

// maskSecrets copies a body for the log, where no secret belongs.
func maskSecrets(v any) any {
	switch v := v.(type) {
	case doc:
		out := make(doc, len(v))
		for k, e := range v {
			if secretKeys[k] {
				out[k] = "*****"
			} else {
				out[k] = maskSecrets(e)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = maskSecrets(e)
		}
		return out
	default:
		return v
	}
}
