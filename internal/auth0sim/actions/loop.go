package actions

import (
	"container/heap"
	"context"
	"errors"
	"time"

	"github.com/dop251/goja"
)

// loop is the little of Node's event loop that an Action can notice: timers,
// and waiting for the handler's promise. It runs on the execution's goroutine.
type loop struct {
	vm     *goja.Runtime
	queue  timers
	nextID int64
	start  time.Time
}

func newLoop(vm *goja.Runtime) *loop { return &loop{vm: vm, start: time.Now()} }

type timer struct {
	id  int64
	due time.Duration // since the loop's start
	fn  goja.Callable
	arg []goja.Value
}

type timers []*timer

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	return t[i].due < t[j].due || (t[i].due == t[j].due && t[i].id < t[j].id)
}
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)   { *t = append(*t, x.(*timer)) }
func (t *timers) Pop() any {
	old := *t
	last := old[len(old)-1]
	*t = old[:len(old)-1]
	return last
}

func (l *loop) setTimeout(call goja.FunctionCall) goja.Value {
	fn, ok := goja.AssertFunction(call.Argument(0))
	if !ok {
		panic(l.vm.NewTypeError("The \"callback\" argument must be of type function."))
	}
	delay := max(call.Argument(1).ToInteger(), 0)
	const day = 24 * 60 * 60 * 1000 // longer than any time limit; keeps the sum from overflowing
	l.nextID++
	t := &timer{id: l.nextID, due: time.Since(l.start) + time.Duration(min(delay, day))*time.Millisecond, fn: fn}
	if len(call.Arguments) > 2 {
		t.arg = call.Arguments[2:]
	}
	heap.Push(&l.queue, t)
	return l.vm.ToValue(t.id)
}

func (l *loop) clearTimeout(call goja.FunctionCall) goja.Value {
	id := call.Argument(0).ToInteger()
	for i, t := range l.queue {
		if t.id == id {
			heap.Remove(&l.queue, i)
			break
		}
	}
	return goja.Undefined()
}

// settle waits until the handler's result is known, running timers meanwhile.
func (l *loop) settle(ctx context.Context, out goja.Value) error {
	promise, ok := out.Export().(*goja.Promise)
	if !ok {
		return nil
	}
	for {
		switch promise.State() {
		case goja.PromiseStateFulfilled:
			return nil
		case goja.PromiseStateRejected:
			if err := context.Cause(ctx); err != nil {
				return err
			}
			return errors.New(thrownText(promise.Result()))
		}
		if len(l.queue) == 0 {
			return errors.New("the handler's promise can never be settled")
		}
		next := heap.Pop(&l.queue).(*timer)
		if err := wait(ctx, next.due-time.Since(l.start)); err != nil {
			return err
		}
		if _, err := next.fn(goja.Undefined(), next.arg...); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}
