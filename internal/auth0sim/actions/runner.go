package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/dop251/goja"
)

// Config is what a Runner needs.
type Config struct {
	// TimeLimit is how long all Actions of one flow may take together.
	// Defaults to 20 s, Auth0's own limit.
	TimeLimit time.Duration

	// Now tells the time for Date and execution records. Defaults to time.Now.
	Now func() time.Time

	// Rand feeds Math.random and crypto.randomUUID. Defaults to crypto/rand.
	Rand io.Reader

	// Logger receives what Actions write to the console, at debug level.
	// Nil discards it.
	Logger *slog.Logger
}

// A Runner executes flows. It is safe for concurrent use and holds nothing
// between runs.
type Runner struct{ cfg Config }

// New checks cfg and fills in its defaults.
func New(cfg Config) (*Runner, error) {
	if cfg.TimeLimit < 0 {
		return nil, fmt.Errorf("actions: time limit %s is negative", cfg.TimeLimit)
	}
	if cfg.TimeLimit == 0 {
		cfg.TimeLimit = 20 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = cryptoRand()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Runner{cfg: cfg}, nil
}

// Run executes the flow's Actions in order. Its error is an *Error when an
// Action failed; the Result then still holds the executions so far, and
// nothing that the Actions asked for may be applied.
func (r *Runner) Run(ctx context.Context, f Flow) (*Result, error) {
	if f.Trigger.handler() == "" {
		return newResult(), fmt.Errorf("actions: unknown trigger %q", f.Trigger)
	}
	if f.Now == nil {
		f.Now = r.cfg.Now
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.TimeLimit, ErrTimeout)
	defer cancel()

	res, first := newResult(), 0
	if f.Resume != nil {
		if f.Resume.Result != nil {
			res = f.Resume.Result.clone()
		}
		first = f.Resume.Index
		if first < 0 || first >= len(f.Actions) {
			return res, fmt.Errorf("actions: resume at action %d of %d", first, len(f.Actions))
		}
	}
	for i := first; i < len(f.Actions); i++ {
		a, handler := f.Actions[i], f.Trigger.handler()
		if f.Resume != nil && i == first {
			handler = "onContinuePostLogin"
		}
		e := &execution{runner: r, flow: f, action: a, index: i, result: res}
		start := r.cfg.Now()
		err := e.run(ctx, handler)
		rec := Execution{ActionID: a.ID, Name: a.Name, Duration: r.cfg.Now().Sub(start), Console: e.lines()}
		for _, line := range rec.Console {
			r.cfg.Logger.DebugContext(ctx, "action wrote to its console", "trigger", f.Trigger, "action", a.Name, "line", line)
		}
		if err != nil {
			rec.Error = err.Error()
		}
		res.Executions = append(res.Executions, rec)
		if err != nil {
			return res, err
		}
		if n := jsonSize(res.IDToken) + jsonSize(res.AccessToken); n > maxClaims {
			return res, &Error{Action: a.Name, Message: fmt.Sprintf("custom claims weigh %d bytes, more than %d", n, maxClaims)}
		}
		if res.Deny != nil || res.Redirect != nil || res.Failed != "" {
			break
		}
	}
	return res, nil
}

func (r *Result) clone() *Result {
	c := *r
	c.Deny, c.Redirect = nil, nil
	c.IDToken, c.AccessToken = cloneMap(r.IDToken), cloneMap(r.AccessToken)
	c.UserMetadata, c.AppMetadata = cloneMap(r.UserMetadata), cloneMap(r.AppMetadata)
	c.Executions = append([]Execution(nil), r.Executions...)
	return &c
}

func cloneMap(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return maps.Clone(m)
}

// run executes one handler. The JavaScript runs on a goroutine of its own:
// goja can be interrupted between instructions but not inside a long regular
// expression, and a login must not wait for one.
func (e *execution) run(ctx context.Context, handler string) error {
	if err := context.Cause(ctx); err != nil {
		return e.fail(err)
	}
	vm := goja.New()
	vm.SetMaxCallStackSize(2048)
	vm.SetTimeSource(e.flow.Now)
	vm.SetRandSource(randFloat(e.runner.cfg.Rand))

	done := make(chan error, 1)
	go func() { done <- e.execute(ctx, vm, handler) }()
	select {
	case err := <-done:
		return e.fail(err)
	case <-ctx.Done():
		vm.Interrupt(context.Cause(ctx))
		return e.fail(context.Cause(ctx))
	}
}

// fail turns what went wrong into an *Error, and closes the execution, so that
// code which outlives its time limit can no longer change the result.
func (e *execution) fail(err error) error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	if err == nil {
		return nil
	}
	out := &Error{Action: e.action.Name, Message: err.Error(), cause: err}
	var interrupted *goja.InterruptedError
	var thrown *goja.Exception
	switch {
	case errors.As(err, &interrupted):
		if cause, ok := interrupted.Value().(error); ok {
			out.Message, out.cause = cause.Error(), cause
		}
	case errors.As(err, &thrown):
		out.Message, out.cause = thrownText(thrown.Value()), nil
	}
	return out
}

// thrownText is what Node would put into error.message.
func thrownText(v goja.Value) string {
	if o, ok := v.(*goja.Object); ok {
		if m := o.Get("message"); m != nil && !goja.IsUndefined(m) {
			return m.String()
		}
	}
	return v.String()
}

func (e *execution) execute(ctx context.Context, vm *goja.Runtime, handler string) (err error) {
	defer func() {
		// A bug of the interpreter that some code provokes must fail that
		// login, not the process.
		if p := recover(); p != nil {
			err = fmt.Errorf("javascript runtime: %v", p)
		}
	}()
	e.vm = vm
	program, err := goja.Compile(e.action.Name+".js", "(function (exports, module, require, console) {"+e.action.Code+"\n})", false)
	if err != nil {
		return syntaxError(err)
	}
	loop := newLoop(vm)
	if err := e.globals(loop); err != nil {
		return err
	}
	wrapper, err := vm.RunProgram(program)
	if err != nil {
		return err
	}
	load, ok := goja.AssertFunction(wrapper)
	if !ok {
		// "})" inside the code closed our wrapper early.
		return errors.New("SyntaxError: unexpected end of action code")
	}
	module, exports := vm.NewObject(), vm.NewObject()
	if err := module.Set("exports", exports); err != nil {
		return err
	}
	if _, err := load(goja.Undefined(), exports, module, vm.ToValue(e.require), e.console()); err != nil {
		return err
	}
	fn, ok := goja.AssertFunction(exported(module, handler))
	if !ok {
		if handler == "onContinuePostLogin" {
			return nil // Auth0 goes on without it
		}
		return fmt.Errorf("%s is not a function", handler)
	}
	event, err := e.event()
	if err != nil {
		return err
	}
	out, err := fn(goja.Undefined(), event, e.api())
	if err != nil {
		return err
	}
	return loop.settle(ctx, out)
}

func exported(module *goja.Object, name string) goja.Value {
	if o, ok := module.Get("exports").(*goja.Object); ok {
		return o.Get(name)
	}
	return goja.Undefined()
}

func syntaxError(err error) error {
	var ce *goja.CompilerSyntaxError
	if errors.As(err, &ce) {
		return errors.New(strings.TrimSpace(ce.Error()))
	}
	return err
}

// event builds the event object in the Action's own runtime, from JSON, so
// that it is made of plain JavaScript objects and shares no memory with ours.
func (e *execution) event() (goja.Value, error) {
	event := maps.Clone(e.flow.Event)
	if event == nil {
		event = map[string]any{}
	}
	secrets := map[string]string{}
	for name, v := range e.action.Secrets {
		secrets[name] = v.Reveal()
	}
	event["secrets"] = secrets
	if user, ok := event["user"].(map[string]any); ok {
		user = maps.Clone(user)
		user["user_metadata"] = merged(user["user_metadata"], e.result.UserMetadata)
		user["app_metadata"] = merged(user["app_metadata"], e.result.AppMetadata)
		event["user"] = user
	}
	return e.fromJSON(event)
}

func (e *execution) fromJSON(v any) (goja.Value, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return e.parse(goja.Undefined(), e.vm.ToValue(string(text)))
}

// merged applies metadata changes to the first level, as Auth0 does: a nil
// value removes its key.
func merged(base any, changes map[string]any) map[string]any {
	out := map[string]any{}
	if m, ok := base.(map[string]any); ok {
		maps.Copy(out, m)
	}
	for k, v := range changes {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}
