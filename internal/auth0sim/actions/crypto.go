package actions

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" // Actions may need it to talk to others
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/dop251/goja"
	"github.com/google/uuid"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

func decodeJSON(text string) (any, error) {
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.UseNumber() // 2^53 and more must arrive as written
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return v, nil
}

// crypto is the part of Node's crypto module that needs no host.
func (e *execution) crypto() *goja.Object {
	o := e.vm.NewObject()
	e.method(o, "randomUUID", func(goja.FunctionCall) goja.Value {
		id, err := uuid.NewRandomFromReader(e.runner.cfg.Rand)
		if err != nil {
			panic(e.vm.NewGoError(err))
		}
		return e.vm.ToValue(id.String())
	})
	e.method(o, "createHash", func(c goja.FunctionCall) goja.Value {
		return e.digest(e.algorithm(c.Argument(0))())
	})
	e.method(o, "createHmac", func(c goja.FunctionCall) goja.Value {
		return e.digest(hmac.New(e.algorithm(c.Argument(0)), []byte(c.Argument(1).String())))
	})
	return o
}

func (e *execution) algorithm(name goja.Value) func() hash.Hash {
	switch strings.ToLower(name.String()) {
	case "sha1":
		return sha1.New
	case "sha256":
		return sha256.New
	case "sha384":
		return sha512.New384
	case "sha512":
		return sha512.New
	}
	panic(e.vm.NewGoError(nodeError("Digest method not supported: " + name.String()))) // Node's words
}

func (e *execution) digest(h hash.Hash) *goja.Object {
	o := e.vm.NewObject()
	e.method(o, "update", func(c goja.FunctionCall) goja.Value {
		h.Write([]byte(c.Argument(0).String()))
		return o
	})
	e.method(o, "digest", func(c goja.FunctionCall) goja.Value {
		sum := h.Sum(nil)
		switch enc := c.Argument(0).String(); enc {
		case "hex":
			return e.vm.ToValue(hex.EncodeToString(sum))
		case "base64":
			return e.vm.ToValue(base64.StdEncoding.EncodeToString(sum))
		case "base64url":
			return e.vm.ToValue(base64.RawURLEncoding.EncodeToString(sum))
		default:
			panic(e.vm.NewTypeError("digest needs an encoding: hex, base64 or base64url"))
		}
	})
	return o
}

func option(o *goja.Object, name string) goja.Value {
	if o == nil {
		return goja.Undefined()
	}
	if v := o.Get(name); v != nil {
		return v
	}
	return goja.Undefined()
}

// encodeToken is api.redirect.encodeToken: a signed message to the page that
// the user is sent to.
func (e *execution) encodeToken(c goja.FunctionCall) goja.Value {
	opts, _ := c.Argument(0).(*goja.Object)
	key := option(opts, "secret").String()
	if opts == nil || goja.IsUndefined(option(opts, "secret")) || key == "" {
		panic(e.vm.NewTypeError("api.redirect.encodeToken: secret is required"))
	}
	life := int64(900)
	if v := option(opts, "expiresInSeconds"); !goja.IsUndefined(v) {
		life = v.ToInteger()
	}
	now := e.flow.Now()
	t := jwt.New()
	claims := map[string]any{}
	if v, ok := e.plain(option(opts, "payload")); ok {
		if m, ok := v.(map[string]any); ok {
			claims = m
		}
	}
	claims["iat"], claims["exp"] = now.Unix(), now.Add(time.Duration(life)*time.Second).Unix()
	claims["iss"] = e.eventText("request", "hostname")
	claims["sub"] = e.eventText("user", "user_id")
	claims["ip"] = e.eventText("request", "ip")
	for k, v := range claims {
		if err := t.Set(k, v); err != nil {
			panic(e.vm.NewGoError(err))
		}
	}
	signed, err := jwt.Sign(t, jwt.WithKey(jwa.HS256(), []byte(key)))
	if err != nil {
		panic(e.vm.NewGoError(err))
	}
	return e.vm.ToValue(string(signed))
}

// validateToken is api.redirect.validateToken: it reads the answer of that
// page, which must be signed with the same secret, not expired, and made for
// this user, so that an answer cannot be carried over from another login.
func (e *execution) validateToken(c goja.FunctionCall) goja.Value {
	opts, _ := c.Argument(0).(*goja.Object)
	name := "session_token"
	if v := option(opts, "tokenParameterName"); !goja.IsUndefined(v) {
		name = v.String()
	}
	text := ""
	for _, part := range []string{"query", "body"} {
		if req, ok := e.flow.Event["request"].(map[string]any); ok {
			if m, ok := req[part].(map[string]any); ok && text == "" {
				text, _ = m[name].(string)
			}
		}
	}
	if text == "" {
		panic(e.vm.NewGoError(nodeError("There is no parameter called '" + name + "' available in either the POST body or query string."))) // Auth0's words
	}
	t, err := jwt.Parse([]byte(text), jwt.WithKey(jwa.HS256(), []byte(option(opts, "secret").String())),
		jwt.WithClock(jwt.ClockFunc(e.flow.Now)), jwt.WithRequiredClaim("exp"))
	if err == nil {
		if sub, ok := t.Subject(); !ok || sub != e.eventText("user", "user_id") {
			err = fmt.Errorf("the token's sub is not this user")
		}
	}
	if err != nil {
		panic(e.vm.NewGoError(fmt.Errorf("the session token is invalid: %w", err)))
	}
	raw, err := json.Marshal(t)
	if err != nil {
		panic(e.vm.NewGoError(err))
	}
	v, err := e.fromJSON(json.RawMessage(raw))
	if err != nil {
		panic(e.vm.NewGoError(err))
	}
	return v
}

func (e *execution) eventText(group, key string) string {
	m, _ := e.flow.Event[group].(map[string]any)
	s, _ := m[key].(string)
	return s
}
