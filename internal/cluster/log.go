package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
)

// FatalError is a condition under which Temporal ends the process it runs in:
// a port that cannot be bound, a database that went away during start. Here it
// ends Run instead.
type FatalError struct {
	// Message is Temporal's own.
	Message string
	// Cause is the error that came with it, possibly nil.
	Cause error
}

func (e *FatalError) Error() string {
	if e.Cause == nil {
		return "temporal server: " + lowerFirst(e.Message)
	}
	return "temporal server: " + lowerFirst(e.Message) + ": " + e.Cause.Error()
}

func (e *FatalError) Unwrap() error { return e.Cause }

// lowerFirst fits a message into the middle of an error.
func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// fatal keeps the first fatal error and announces it.
type fatal struct {
	once sync.Once
	done chan struct{}
	err  *FatalError
	// building is set while the server is put together, on one goroutine that
	// recovers an abandon.
	building atomic.Bool
}

// abandon is what Fatal panics with while the server is put together.
type abandon struct{}

func newFatal() *fatal { return &fatal{done: make(chan struct{})} }

func (f *fatal) report(err *FatalError) {
	f.once.Do(func() {
		f.err = err
		close(f.done)
	})
}

// cause is nil until something fatal happened.
func (f *fatal) cause() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

// expected tells records that a healthy server writes too, and that would teach
// people to ignore its log.
func expected(level slog.Level, msg string, tags []tag.Tag) bool {
	if level == slog.LevelWarn && strings.HasPrefix(msg, "HTTP API port has not been set") {
		return true // as it is configured, on purpose
	}
	// Someone hung up: a worker that stops, a caller that no longer waits.
	return slices.ContainsFunc(tags, func(t tag.Tag) bool {
		return t.Key() == "error" && fmt.Sprint(t.Value()) == context.Canceled.Error()
	})
}

// serverLog carries Temporal's log into slog.
type serverLog struct {
	to    *slog.Logger
	level slog.Leveler
	fatal *fatal
	stop  *stopping
}

var (
	_ log.Logger     = (*serverLog)(nil)
	_ log.WithLogger = (*serverLog)(nil)
)

func newServerLog(to *slog.Logger, level slog.Leveler, f *fatal, stop *stopping) *serverLog {
	return &serverLog{to: to.With("component", "temporal"), level: level, fatal: f, stop: stop}
}

func (l *serverLog) With(tags ...tag.Tag) log.Logger {
	with := *l
	with.to = l.to.With(attrs(tags)...)
	return &with
}

func (l *serverLog) say(level slog.Level, msg string, tags []tag.Tag) {
	// The parts of a stopping server miss each other loudly: whoever stops
	// first is reported by those that still call it.
	if l.stop.hasBegun() {
		level = min(level, slog.LevelDebug)
	}
	if level < l.level.Level() || !l.to.Enabled(context.Background(), level) {
		return
	}
	if level >= slog.LevelWarn && expected(level, msg, tags) {
		return
	}
	l.to.Log(context.Background(), level, lowerFirst(msg), attrs(tags)...)
}

func (l *serverLog) Debug(msg string, tags ...tag.Tag)  { l.say(slog.LevelDebug, msg, tags) }
func (l *serverLog) Info(msg string, tags ...tag.Tag)   { l.say(slog.LevelInfo, msg, tags) }
func (l *serverLog) Warn(msg string, tags ...tag.Tag)   { l.say(slog.LevelWarn, msg, tags) }
func (l *serverLog) Error(msg string, tags ...tag.Tag)  { l.say(slog.LevelError, msg, tags) }
func (l *serverLog) DPanic(msg string, tags ...tag.Tag) { l.say(slog.LevelError, msg, tags) }

// Panic ends the goroutine and the server, as its callers rely on it not to
// return, but leaves the process to those who run it.
func (l *serverLog) Panic(msg string, tags ...tag.Tag) { l.Fatal(msg, tags...) }

// Fatal reports the condition to Run and does not return, because its callers
// rely on that. While the server is put together it unwinds to guard; later
// it ends the goroutine, which the start-up code is built to notice. (It cannot
// do so earlier: sync.Once, which wraps the opening of a port, does not permit
// it.)
func (l *serverLog) Fatal(msg string, tags ...tag.Tag) {
	cause := &FatalError{Message: msg}
	for _, t := range tags {
		if t.Key() == "error" {
			if cause.Cause = asError(t.Value()); cause.Cause != nil {
				break
			}
		}
	}
	l.fatal.report(cause)
	if l.fatal.building.Load() {
		panic(abandon{})
	}
	runtime.Goexit()
}

func asError(v any) error {
	switch v := v.(type) {
	case nil:
		return nil
	case error:
		return v
	default:
		return errors.New(fmt.Sprint(v))
	}
}

// attrs translates tags to attributes, keys in snake_case like ours.
func attrs(tags []tag.Tag) []any {
	out := make([]any, 0, len(tags))
	for _, t := range tags {
		out = append(out, slog.Any(strings.ReplaceAll(t.Key(), "-", "_"), t.Value()))
	}
	return out
}
