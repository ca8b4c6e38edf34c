package authapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// params are a request's parameters, from a form or a JSON object. Form values
// are strings; JSON values are as encoding/json decodes them.
type params map[string]any

// str is a text parameter; "" when absent or of another type, which decode has
// refused where it matters.
func (p params) str(name string) string { s, _ := p[name].(string); return s }

// scope is the parameter of that name, which Auth0 takes as text or as a list.
func (p params) scope() ([]string, error) {
	switch v := p["scope"].(type) {
	case nil:
		return nil, nil
	case string:
		return splitScope(v), nil
	case []any:
		var out []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, errScopeType()
			}
			out = append(out, splitScope(s)...)
		}
		return out, nil
	}
	return nil, errScopeType()
}

func errScopeType() error {
	return oauthErr(http.StatusBadRequest, "invalid_scope", "Scope must be an array or a string")
}

// splitScope splits on spaces and drops repetitions, keeping the order.
func splitScope(s string) []string {
	var out []string
	seen := map[string]bool{}
	for _, w := range strings.Fields(s) {
		if !seen[w] {
			seen[w] = true
			out = append(out, w)
		}
	}
	return out
}

// structured are the parameters that may be something else than text in JSON.
var structured = map[string]bool{
	"scope": true, "user_metadata": true, "authParams": true, "authenticator_types": true, "oob_channels": true,
}

// apiParams reads the body of an API request: a form or a JSON object, each
// parameter at most once (RFC 6749, 3.2).
func (c *call) apiParams() (params, error) {
	body, err := c.body()
	if err != nil {
		return nil, err
	}
	return decodeParams(c.r.Header.Get("Content-Type"), body)
}

func (c *call) body() ([]byte, error) {
	body, err := io.ReadAll(c.r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, oauthErr(http.StatusRequestEntityTooLarge, "invalid_request", "Payload too large")
	case err != nil:
		return nil, oauthErr(http.StatusBadRequest, "invalid_request", "The request body could not be read")
	}
	return body, nil
}

func decodeParams(contentType string, body []byte) (params, error) {
	bad := func(text string) error { return oauthErr(http.StatusBadRequest, "invalid_request", "%s", text) }
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && contentType != "" {
		return nil, bad("Invalid Content-Type")
	}
	if !utf8.Valid(body) {
		return nil, bad("The request body is not valid UTF-8")
	}
	switch media {
	case "application/json":
		return decodeJSONParams(body)
	case "application/x-www-form-urlencoded", "":
		values, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, bad("The request body is not a valid form")
		}
		return formParams(values)
	}
	return nil, bad("Unsupported Content-Type")
}

func formParams(values url.Values) (params, error) {
	p := params{}
	for name, v := range values {
		if len(v) > 1 {
			return nil, oauthErr(http.StatusBadRequest, "invalid_request", "Parameter '%s' must not be included more than once", clip(name))
		}
		if !utf8.ValidString(name) || !utf8.ValidString(v[0]) {
			return nil, oauthErr(http.StatusBadRequest, "invalid_request", "Parameters must be valid UTF-8")
		}
		p[name] = v[0]
	}
	return p, nil
}

func decodeJSONParams(body []byte) (params, error) {
	bad := func(text string) error { return oauthErr(http.StatusBadRequest, "invalid_request", "%s", text) }
	p := params{}
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, bad("Invalid request payload JSON format")
	}
	// Member by member: encoding/json would silently take the last of two
	// members of one name, and a proxy before it perhaps the first.
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, bad("Invalid request payload JSON format")
		}
		var v any
		if err := dec.Decode(&v); err != nil {
			return nil, bad("Invalid request payload JSON format")
		}
		if _, twice := p[name]; twice {
			return nil, oauthErr(http.StatusBadRequest, "invalid_request", "Parameter '%s' must not be included more than once", clip(name))
		}
		if _, text := v.(string); !text && v != nil && !structured[name] {
			if _, flag := v.(bool); !flag {
				return nil, oauthErr(http.StatusBadRequest, "invalid_request", "Parameter '%s' must be a string", clip(name))
			}
		}
		if v != nil {
			p[name] = v
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, bad("Invalid request payload JSON format")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("Invalid request payload JSON format")
	}
	return p, nil
}

// clip keeps an echoed name short.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

// pageParams reads a page's query, or its form when posted. Each parameter at
// most once: with two values a page could check one and use the other.
func (c *call) pageParams() (params, error) {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, pageErr(http.StatusBadRequest, "invalid_request", "The query is malformed")
	}
	if c.r.Method == http.MethodPost {
		media, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
		if media != "application/x-www-form-urlencoded" && media != "" {
			return nil, pageErr(http.StatusUnsupportedMediaType, "invalid_request", "Forms must be sent as application/x-www-form-urlencoded")
		}
		body, err := c.body()
		if err != nil {
			var known *oauthError
			if errors.As(err, &known) {
				return nil, pageErr(known.status, known.code, "%s", known.description)
			}
			return nil, err
		}
		posted, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, pageErr(http.StatusBadRequest, "invalid_request", "The form is malformed")
		}
		for name, v := range posted {
			// The form wins over a query of the same name: pages post to an
			// address that carries their state, and repeat it in the form.
			values[name] = v
		}
	}
	p, err := formParams(values)
	if err != nil {
		return nil, pageErr(http.StatusBadRequest, "invalid_request", "%s", err.(*oauthError).description)
	}
	return p, nil
}
