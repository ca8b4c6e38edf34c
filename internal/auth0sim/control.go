package auth0sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// control is the interface under /_sim/: what a test or a person does to the
// simulator rather than to the tenant. It answers on loopback only: whoever
// reaches it reads every mail and may reset every tenant.
type control struct {
	server *Server
	mux    *http.ServeMux
	faults faults

	mu      sync.Mutex
	calls   []record // ring
	written int
}

// keptCalls bounds the request log.
const keptCalls = 2000

// record is one entry of the request log.
type record struct {
	Number     int       `json:"number"`
	Time       time.Time `json:"time"`
	Tenant     string    `json:"tenant"`
	Method     string    `json:"method"`
	Path       string    `json:"path"`
	Query      string    `json:"query,omitempty"`
	Status     int       `json:"status"`
	Bytes      int       `json:"bytes"`
	Millis     float64   `json:"duration_ms"`
	UserAgent  string    `json:"user_agent,omitempty"`
	Fault      string    `json:"fault,omitempty"`
	RemoteAddr string    `json:"remote_addr,omitempty"`
}

func newControl(s *Server) *control {
	k := &control{server: s, mux: http.NewServeMux()}
	for pattern, do := range map[string]func(*http.Request, *tenant) (any, error){
		"POST /_sim/reset":              k.reset,
		"POST /_sim/snapshots/{name}":   k.snapshot,
		"POST /_sim/restore/{name}":     k.restore,
		"GET /_sim/snapshots":           k.snapshots,
		"GET /_sim/clock":               k.clock,
		"POST /_sim/clock":              k.setClock,
		"GET /_sim/requests":            k.requests,
		"DELETE /_sim/requests":         k.clearRequests,
		"GET /_sim/outbox":              k.outbox,
		"GET /_sim/events":              k.events,
		"GET /_sim/tenants":             k.tenants,
		"POST /_sim/tenants":            k.addTenant,
		"GET /_sim/faults":              k.listFaults,
		"POST /_sim/faults":             k.addFault,
		"DELETE /_sim/faults":           k.clearFaults,
		"DELETE /_sim/faults/{id}":      k.removeFault,
		"GET /_sim/objects":             k.objects,
		"GET /_sim/objects/{family...}": k.objectsOf,
	} {
		k.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := do(r, k.tenantOf(r))
			if err != nil {
				status := http.StatusBadRequest
				if errors.Is(err, errNotFound) || errors.Is(err, state.ErrNoSnapshot) {
					status = http.StatusNotFound
				}
				writeJSON(w, status, map[string]any{"error": err.Error()})
				return
			}
			writeJSON(w, http.StatusOK, v)
		})
	}
	k.mux.HandleFunc("GET /_sim/{$}", k.page)
	k.mux.HandleFunc("GET /_sim", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/_sim/", http.StatusFound) })
	return k
}

var errNotFound = errors.New("not found")

// ServeHTTP answers control requests from this machine.
func (k *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		writeJSON(w, http.StatusForbidden, map[string]any{"error": "control is for this machine only"})
		return
	}
	// A page elsewhere that makes the visitor's browser post here would carry
	// its own origin; and a hostile name that resolves to 127.0.0.1 would show
	// up as the request's host.
	if origin := r.Header.Get("Origin"); origin != "" && !strings.HasSuffix(origin, "://"+r.Host) {
		writeJSON(w, http.StatusForbidden, map[string]any{"error": "control does not answer other origins"})
		return
	}
	k.mux.ServeHTTP(w, r)
}

// tenantOf picks the tenant by ?tenant=name, else by the host.
func (k *control) tenantOf(r *http.Request) *tenant {
	if name := r.URL.Query().Get("tenant"); name != "" {
		k.server.mu.Lock()
		defer k.server.mu.Unlock()
		if t := k.server.tenants[name]; t != nil {
			return t
		}
	}
	return k.server.tenantOf(r)
}

func (k *control) reset(r *http.Request, t *tenant) (any, error) {
	if err := t.state.Reset(r.Context()); err != nil {
		return nil, err
	}
	k.server.store.Clock().Reset()
	t.limits.reset()
	k.faults.clear()
	if err := k.server.bootstrap(r.Context(), t); err != nil {
		return nil, err
	}
	return map[string]any{"tenant": t.name}, nil
}

func (k *control) snapshot(r *http.Request, t *tenant) (any, error) {
	name := r.PathValue("name")
	return map[string]any{"snapshot": name}, t.state.Snapshot(r.Context(), name)
}

func (k *control) restore(r *http.Request, t *tenant) (any, error) {
	name := r.PathValue("name")
	if err := t.state.Restore(r.Context(), name); err != nil {
		return nil, err
	}
	t.bearer.forget()
	return map[string]any{"restored": name}, nil
}

func (k *control) snapshots(r *http.Request, t *tenant) (any, error) {
	names, err := t.state.Snapshots(r.Context())
	return map[string]any{"snapshots": names}, err
}

func (k *control) clock(*http.Request, *tenant) (any, error) {
	return map[string]any{"now": k.server.store.Now()}, nil
}

// setClock takes {"advance":"1h"}, {"set":"RFC 3339"}, {"freeze":"RFC 3339"} or
// {"reset":true}.
func (k *control) setClock(r *http.Request, t *tenant) (any, error) {
	var body struct {
		Advance, Set, Freeze string
		Reset                bool
	}
	if err := readControl(r, &body); err != nil {
		return nil, err
	}
	clock := k.server.store.Clock()
	switch {
	case body.Reset:
		clock.Reset()
	case body.Advance != "":
		d, err := time.ParseDuration(body.Advance)
		if err != nil {
			return nil, fmt.Errorf("advance: %w", err)
		}
		clock.Advance(d)
	case body.Set != "" || body.Freeze != "":
		at, err := time.Parse(time.RFC3339, body.Set+body.Freeze)
		if err != nil {
			return nil, fmt.Errorf("want a time as in RFC 3339: %w", err)
		}
		if body.Set != "" {
			clock.Set(at)
		} else {
			clock.Freeze(at)
		}
	default:
		return nil, errors.New("want one of advance, set, freeze, reset")
	}
	return k.clock(r, t)
}

func readControl(r *http.Request, into any) error {
	dec := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	return nil
}

func (k *control) requests(*http.Request, *tenant) (any, error) {
	return map[string]any{"requests": k.recent()}, nil
}

// recent returns the request log, oldest first.
func (k *control) recent() []record {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.written <= len(k.calls) {
		return append([]record{}, k.calls...)
	}
	cut := k.written % keptCalls
	return append(append([]record{}, k.calls[cut:]...), k.calls[:cut]...)
}

func (k *control) clearRequests(*http.Request, *tenant) (any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls, k.written = nil, 0
	return map[string]any{}, nil
}

func (k *control) remember(c record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c.Number = k.written + 1
	if len(k.calls) < keptCalls {
		k.calls = append(k.calls, c)
	} else {
		k.calls[k.written%keptCalls] = c
	}
	k.written++
}

func (k *control) list(ctx context.Context, t *tenant, family string) ([]any, error) {
	out := []any{}
	err := t.state.View(ctx, func(tx *state.Tx) error {
		docs, _, err := tx.List(family, state.ListOptions{Descending: true, Limit: 1000})
		for _, d := range docs {
			out = append(out, state.Public(d))
		}
		return err
	})
	return out, err
}

func (k *control) outbox(r *http.Request, t *tenant) (any, error) {
	mails, err := k.list(r.Context(), t, "outbox")
	return map[string]any{"mails": mails}, err
}

func (k *control) events(r *http.Request, t *tenant) (any, error) {
	events, err := k.list(r.Context(), t, "events")
	return map[string]any{"events": events}, err
}

func (k *control) objects(r *http.Request, t *tenant) (any, error) {
	families, err := t.state.Families(r.Context())
	return map[string]any{"families": families}, err
}

func (k *control) objectsOf(r *http.Request, t *tenant) (any, error) {
	docs, err := k.list(r.Context(), t, r.PathValue("family"))
	return map[string]any{"objects": docs}, err
}

func (k *control) tenants(*http.Request, *tenant) (any, error) {
	out := []any{}
	for _, t := range k.server.allTenants() {
		out = append(out, map[string]any{"name": t.name, "domain": t.domain, "plan": t.plan.name})
	}
	return map[string]any{"tenants": out}, nil
}

// addTenant takes {"name","domain","plan"}; the same bootstrap client is known
// in every tenant.
func (k *control) addTenant(r *http.Request, _ *tenant) (any, error) {
	var body struct{ Name, Domain, Plan string }
	if err := readControl(r, &body); err != nil {
		return nil, err
	}
	if !tenantName.MatchString(body.Name) || body.Domain == "" {
		return nil, errors.New("want a name of a-z, 0-9 and -, and a domain")
	}
	p := k.server.first.plan
	if body.Plan != "" {
		var known bool
		if p, known = plans()[body.Plan]; !known {
			return nil, fmt.Errorf("unknown plan %q", body.Plan)
		}
	}
	t, err := k.server.addTenant(r.Context(), body.Name, body.Domain, p)
	if err != nil {
		return nil, err
	}
	if err := k.server.rememberTenant(r.Context(), t); err != nil {
		return nil, err
	}
	return map[string]any{"name": t.name, "domain": t.domain, "plan": t.plan.name}, nil
}

func (k *control) listFaults(*http.Request, *tenant) (any, error) {
	return map[string]any{"faults": k.faults.all()}, nil
}

func (k *control) addFault(r *http.Request, _ *tenant) (any, error) {
	f := &fault{}
	if err := readControl(r, f); err != nil {
		return nil, err
	}
	if err := k.faults.add(f); err != nil {
		return nil, err
	}
	return f, nil
}

func (k *control) clearFaults(*http.Request, *tenant) (any, error) {
	k.faults.clear()
	return map[string]any{}, nil
}

func (k *control) removeFault(r *http.Request, _ *tenant) (any, error) {
	if !k.faults.remove(r.PathValue("id")) {
		return nil, errNotFound
	}
	return map[string]any{}, nil
}

// observe logs a tenant's call, delays it, and lets a fault strike it.
func (k *control) observe(w http.ResponseWriter, r *http.Request, t *tenant, serve func(http.ResponseWriter, *http.Request, *tenant)) {
	began := time.Now()
	c := record{Time: k.server.store.Now(), Tenant: t.name, Method: r.Method, Path: r.URL.Path, Query: maskQuery(r.URL.Query()), UserAgent: r.UserAgent(), RemoteAddr: r.RemoteAddr}
	out := &observed{ResponseWriter: w}
	defer func() {
		c.Status, c.Bytes = out.status, out.bytes
		c.Millis = float64(time.Since(began).Microseconds()) / 1000
		k.remember(c)
	}()
	if d := k.server.cfg.Latency.draw(); d > 0 && !pause(r.Context(), d) {
		return
	}
	f := k.faults.hit(r)
	if f == nil {
		serve(out, r, t)
		return
	}
	c.Fault = f.ID
	k.strike(out, r, t, f, serve)
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// strike answers a call in the way that the fault says.
func (k *control) strike(w *observed, r *http.Request, t *tenant, f *fault, serve func(http.ResponseWriter, *http.Request, *tenant)) {
	switch f.Kind {
	case "status":
		for name, v := range f.Headers {
			w.Header().Set(name, v)
		}
		if f.Body != nil {
			writeJSON(w, f.Status, f.Body)
			return
		}
		refuse(f.Status, "", "%s", http.StatusText(f.Status)).write(w)
	case "delay":
		if pause(r.Context(), f.delay) {
			serve(w, r, t)
		}
	case "hang":
		select {
		case <-r.Context().Done():
		case <-k.server.closing:
		}
		panic(http.ErrAbortHandler)
	case "reset_before":
		panic(http.ErrAbortHandler) // net/http closes the connection without an answer
	case "reset_after":
		serve(&buffered{header: http.Header{}}, r, t)
		panic(http.ErrAbortHandler)
	case "truncate":
		b := &buffered{header: http.Header{}}
		serve(b, r, t)
		for name, v := range b.header {
			w.Header()[name] = v
		}
		w.Header().Set("Content-Length", fmt.Sprint(b.body.Len()))
		w.WriteHeader(max(b.status, http.StatusOK))
		_, _ = w.Write(b.body.Bytes()[:b.body.Len()/2])
		w.Flush() // else nothing at all would arrive
		panic(http.ErrAbortHandler)
	case "expired_token":
		unauthorized("Expired token received for JSON Web Token validation").write(w)
	case "lag":
		serve(w, r.WithContext(context.WithValue(r.Context(), lagKey{}, f.delay)), t)
	}
}

// lagKey carries the delay of a lag fault to the listing that it hides recent
// changes from.
type lagKey struct{}

// observed counts what is written.
type observed struct {
	http.ResponseWriter
	status, bytes int
}

// WriteHeader implements http.ResponseWriter.
func (o *observed) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (o *observed) Write(b []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	n, err := o.ResponseWriter.Write(b)
	o.bytes += n
	return n, err
}

// Flush implements http.Flusher, which streams need.
func (o *observed) Flush() {
	if f, can := o.ResponseWriter.(http.Flusher); can {
		f.Flush()
	}
}

// buffered keeps an answer.
type buffered struct {
	header http.Header
	body   bytes.Buffer
	status int
}

// Header implements http.ResponseWriter.
func (b *buffered) Header() http.Header { return b.header }

// WriteHeader implements http.ResponseWriter.
func (b *buffered) WriteHeader(status int) { b.status = status }

// Write implements http.ResponseWriter.
func (b *buffered) Write(p []byte) (int, error) { return b.body.Write(p) }
