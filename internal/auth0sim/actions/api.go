package actions

import (
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dop251/goja"
)

// execution is one Action's run: its runtime and the part of the result that
// it is writing.
type execution struct {
	runner *Runner
	flow   Flow
	action Action
	index  int
	vm     *goja.Runtime

	// JSON.parse and JSON.stringify as they were before the Action's code
	// could replace them.
	parse, stringify goja.Callable

	mu      sync.Mutex // guards what follows: the code may outlive its time limit
	closed  bool
	result  *Result
	written []string
}

// change applies f to the result, unless the execution is over.
func (e *execution) change(f func(*Result)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		f(e.result)
	}
}

const maxConsoleLines = 256

func (e *execution) lines() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.written)
}

func (e *execution) console() *goja.Object {
	o := e.vm.NewObject()
	for _, level := range []string{"log", "info", "warn", "error", "debug", "trace"} {
		e.method(o, level, func(call goja.FunctionCall) goja.Value {
			words := make([]string, len(call.Arguments))
			for i, a := range call.Arguments {
				words[i] = e.inspect(a)
			}
			line := strings.Join(words, " ")
			e.mu.Lock()
			defer e.mu.Unlock()
			if len(e.written) < maxConsoleLines && !e.closed {
				e.written = append(e.written, line)
			}
			return goja.Undefined()
		})
	}
	return o
}

func (e *execution) inspect(v goja.Value) string {
	if o, ok := v.(*goja.Object); ok && o.ClassName() != "Function" && o.ClassName() != "Error" {
		if text, err := e.stringify(goja.Undefined(), o); err == nil && !goja.IsUndefined(text) {
			return text.String()
		}
	}
	return v.String()
}

// nodeError is an error in the words that Actions get from Node and Auth0.
type nodeError string

func (e nodeError) Error() string { return string(e) }

// require explains itself as Node does. Nothing outside the Action exists, so
// no module of npm can be loaded.
func (e *execution) require(call goja.FunctionCall) goja.Value {
	name := strings.TrimPrefix(call.Argument(0).String(), "node:")
	if name == "crypto" {
		return e.crypto()
	}
	panic(e.vm.NewGoError(nodeError("Cannot find module '" + name + "'"))) // Node's words
}

func (e *execution) globals(l *loop) error {
	json := e.vm.GlobalObject().Get("JSON").ToObject(e.vm)
	e.parse, _ = goja.AssertFunction(json.Get("parse"))
	e.stringify, _ = goja.AssertFunction(json.Get("stringify"))
	for name, fn := range map[string]func(goja.FunctionCall) goja.Value{
		"setTimeout": l.setTimeout, "clearTimeout": l.clearTimeout,
	} {
		if err := e.vm.Set(name, fn); err != nil {
			return err
		}
	}
	return nil
}

func (e *execution) method(o *goja.Object, name string, fn func(goja.FunctionCall) goja.Value) {
	if err := o.Set(name, fn); err != nil {
		panic(e.vm.NewGoError(err))
	}
}

// group makes api.<name>. Every method returns the api object of the trigger,
// as Auth0's are chainable.
func (e *execution) group(api *goja.Object, name string, methods map[string]func(goja.FunctionCall)) {
	o := e.vm.NewObject()
	for method, fn := range methods {
		e.method(o, method, func(call goja.FunctionCall) goja.Value {
			fn(call)
			return api
		})
	}
	if err := api.Set(name, o); err != nil {
		panic(e.vm.NewGoError(err))
	}
}

// api builds the trigger's api object.
// https://auth0.com/docs/customize/actions/explore-triggers/signup-and-login-triggers/login-trigger/post-login-api-object
func (e *execution) api() *goja.Object {
	api := e.vm.NewObject()
	e.cache(api)
	switch e.flow.Trigger {
	case CredentialsExchange:
		e.group(api, "accessToken", map[string]func(goja.FunctionCall){"setCustomClaim": e.setAccessClaim})
		e.group(api, "access", map[string]func(goja.FunctionCall){"deny": e.denyWithCode})
	case PreRegistration:
		e.group(api, "access", map[string]func(goja.FunctionCall){"deny": e.denyRegistration})
		e.userMetadata(api)
	case EventStream:
		e.group(api, "message", map[string]func(goja.FunctionCall){"fail": e.failMessage})
	case PostLogin:
		e.postLogin(api)
	}
	return api
}

func (e *execution) postLogin(api *goja.Object) {
	e.group(api, "idToken", map[string]func(goja.FunctionCall){"setCustomClaim": e.setIDClaim})
	e.group(api, "accessToken", map[string]func(goja.FunctionCall){
		"setCustomClaim": e.setAccessClaim,
		"addScope":       func(c goja.FunctionCall) { e.scope(c, true) },
		"removeScope":    func(c goja.FunctionCall) { e.scope(c, false) },
	})
	e.group(api, "access", map[string]func(goja.FunctionCall){"deny": e.deny})
	e.userMetadata(api)
	e.group(api, "multifactor", map[string]func(goja.FunctionCall){"enable": e.enableMultifactor})
	e.group(api, "authentication", map[string]func(goja.FunctionCall){
		"challengeWith":    e.requireFactors,
		"challengeWithAny": e.requireFactors,
		"enrollWith":       e.requireFactors,
		"enrollWithAny":    e.requireFactors,
		"recordMethod": func(c goja.FunctionCall) {
			u := c.Argument(0).String()
			e.change(func(r *Result) { r.RecordedMethods = append(r.RecordedMethods, u) })
		},
	})
	e.redirects(api)
	rules := e.vm.NewObject()
	e.method(rules, "wasExecuted", func(goja.FunctionCall) goja.Value { return e.vm.ToValue(false) })
	if err := api.Set("rules", rules); err != nil {
		panic(e.vm.NewGoError(err))
	}
}

func (e *execution) userMetadata(api *goja.Object) {
	e.group(api, "user", map[string]func(goja.FunctionCall){
		"setUserMetadata": func(c goja.FunctionCall) { e.metadata(c, func(r *Result) map[string]any { return r.UserMetadata }) },
		"setAppMetadata":  func(c goja.FunctionCall) { e.metadata(c, func(r *Result) map[string]any { return r.AppMetadata }) },
	})
}

func (e *execution) setIDClaim(c goja.FunctionCall) {
	if name := c.Argument(0).String(); allowed(name, nil) {
		e.setClaim(c, name, func(r *Result) map[string]any { return r.IDToken })
	}
}

func (e *execution) setAccessClaim(c goja.FunctionCall) {
	if name := c.Argument(0).String(); allowed(name, &e.flow.Audience) {
		e.setClaim(c, name, func(r *Result) map[string]any { return r.AccessToken })
	}
}

func (e *execution) setClaim(c goja.FunctionCall, name string, claims func(*Result) map[string]any) {
	v, ok := e.plain(c.Argument(1))
	e.change(func(r *Result) {
		if ok {
			claims(r)[name] = v
		} else {
			delete(claims(r), name)
		}
	})
}

// plain is v as JSON knows it: the only thing that may leave the runtime. It
// is false for undefined, and for what JSON has no form for.
func (e *execution) plain(v goja.Value) (any, bool) {
	if goja.IsUndefined(v) {
		return nil, false
	}
	text, err := e.stringify(goja.Undefined(), v)
	if err != nil {
		panic(e.vm.NewGoError(err)) // a cycle: the Action made it, the Action hears of it
	}
	if goja.IsUndefined(text) {
		return nil, false
	}
	out, err := decodeJSON(text.String())
	if err != nil {
		panic(e.vm.NewGoError(err))
	}
	return out, true
}

func (e *execution) scope(c goja.FunctionCall, add bool) {
	name := c.Argument(0).String()
	e.change(func(r *Result) {
		drop := func(s string) bool { return s == name }
		r.AddScopes, r.RemoveScopes = slices.DeleteFunc(r.AddScopes, drop), slices.DeleteFunc(r.RemoveScopes, drop)
		if add {
			r.AddScopes = append(r.AddScopes, name)
		} else {
			r.RemoveScopes = append(r.RemoveScopes, name)
		}
	})
}

func (e *execution) deny(c goja.FunctionCall) {
	reason := c.Argument(0).String()
	e.change(func(r *Result) { r.Deny = &Denial{Code: "access_denied", Reason: reason} })
}

// denyWithCode is the credentials-exchange form, deny(code, reason).
func (e *execution) denyWithCode(c goja.FunctionCall) {
	code, reason := c.Argument(0).String(), c.Argument(1).String()
	switch code {
	case "invalid_request", "invalid_scope", "server_error", "access_denied":
	default:
		panic(e.vm.NewTypeError("api.access.deny: code must be invalid_scope, invalid_request, server_error or access_denied"))
	}
	e.change(func(r *Result) { r.Deny = &Denial{Code: code, Reason: reason} })
}

// denyRegistration is the pre-user-registration form, deny(reason, userMessage).
func (e *execution) denyRegistration(c goja.FunctionCall) {
	d := &Denial{Code: "access_denied", Reason: c.Argument(0).String()}
	if v := c.Argument(1); !goja.IsUndefined(v) {
		d.Message = v.String()
	}
	e.change(func(r *Result) { r.Deny = d })
}

func (e *execution) failMessage(c goja.FunctionCall) {
	reason := "the action failed the message"
	if v := c.Argument(0); !goja.IsUndefined(v) && v.String() != "" {
		reason = v.String()
	}
	e.change(func(r *Result) { r.Failed = reason })
}

func (e *execution) metadata(c goja.FunctionCall, target func(*Result) map[string]any) {
	name := c.Argument(0).String()
	v, _ := e.plain(c.Argument(1))
	e.change(func(r *Result) { target(r)[name] = v })
}

func (e *execution) enableMultifactor(c goja.FunctionCall) {
	m := &Multifactor{Provider: c.Argument(0).String(), AllowRememberBrowser: true}
	if o, ok := c.Argument(1).(*goja.Object); ok {
		if v := o.Get("allowRememberBrowser"); v != nil && !goja.IsUndefined(v) {
			m.AllowRememberBrowser = v.ToBoolean()
		}
	}
	e.change(func(r *Result) { r.Multifactor = m })
}

// requireFactors is challengeWith, enrollWith and their -Any forms: one factor
// or a list, each {type: "otp"}.
func (e *execution) requireFactors(c goja.FunctionCall) {
	m := &Multifactor{Provider: "any"}
	v, _ := e.plain(c.Argument(0))
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, item := range list {
		if f, ok := item.(map[string]any); ok {
			if name, ok := f["type"].(string); ok {
				m.Factors = append(m.Factors, name)
			}
		}
	}
	if len(m.Factors) == 0 {
		panic(e.vm.NewTypeError("a factor needs a type"))
	}
	e.change(func(r *Result) { r.Multifactor = m })
}

// cache is api.cache. A cache may forget at any time, and this one lives as
// long as the execution does.
func (e *execution) cache(api *goja.Object) {
	entries := map[string]goja.Value{}
	o := e.vm.NewObject()
	ok := func() goja.Value { return e.vm.ToValue(map[string]any{"type": "success"}) }
	e.method(o, "get", func(c goja.FunctionCall) goja.Value {
		if v, ok := entries[c.Argument(0).String()]; ok {
			return v
		}
		return goja.Undefined()
	})
	e.method(o, "set", func(c goja.FunctionCall) goja.Value {
		expires := e.flow.Now().Add(15 * time.Minute).UnixMilli()
		entries[c.Argument(0).String()] = e.vm.ToValue(map[string]any{"value": c.Argument(1), "expires_at": expires})
		return ok()
	})
	e.method(o, "delete", func(c goja.FunctionCall) goja.Value {
		delete(entries, c.Argument(0).String())
		return ok()
	})
	if err := api.Set("cache", o); err != nil {
		panic(e.vm.NewGoError(err))
	}
}

func (e *execution) redirects(api *goja.Object) {
	o := e.vm.NewObject()
	e.method(o, "sendUserTo", func(c goja.FunctionCall) goja.Value {
		u, err := url.Parse(c.Argument(0).String())
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			panic(e.vm.NewTypeError("api.redirect.sendUserTo: the URL must be absolute"))
		}
		if opts, ok := c.Argument(1).(*goja.Object); ok {
			if v, ok := e.plain(opts.Get("query")); ok {
				q := u.Query()
				if m, ok := v.(map[string]any); ok {
					for _, k := range slices.Sorted(maps.Keys(m)) {
						q.Set(k, fmt.Sprint(m[k]))
					}
				}
				u.RawQuery = q.Encode()
			}
		}
		e.change(func(r *Result) { r.Redirect = &Redirect{URL: u.String(), Index: e.index} })
		return api
	})
	e.method(o, "encodeToken", e.encodeToken)
	e.method(o, "validateToken", e.validateToken)
	if err := api.Set("redirect", o); err != nil {
		panic(e.vm.NewGoError(err))
	}
}

func cryptoRand() io.Reader { return crand.Reader }

// randFloat is Math.random on top of a source of random bytes.
func randFloat(r io.Reader) goja.RandSource {
	return func() float64 {
		var b [8]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return 0.5 // Math.random promises no secrecy
		}
		return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53)
	}
}
