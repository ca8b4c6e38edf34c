package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/sync/errgroup"

	"github.com/tenonhq/tenon/sdk"
)

const (
	queue        = "bench"
	benchName    = "bench"
	benchPollers = 8
)

// echo is the workflow under load: one activity that returns what it is given.
func echo(ctx workflow.Context, text string) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	var out string
	err := workflow.ExecuteActivity(ctx, benchName, text).Get(ctx, &out)
	return out, err
}

func echoActivity(_ context.Context, text string) (string, error) { return text, nil }

// load is a worker and a starter of one server.
type load struct {
	starter client.Client
	polling client.Client
	worker  worker.Worker
}

// newLoad connects as the server demands: an open one asks for nothing, a
// secured one for a certificate and for tokens, one that may start workflows
// and one that may only work.
func newLoad(ctx context.Context, p *process) (*load, error) {
	l := &load{}
	var err error
	if p.role == roleOpen {
		options := client.Options{HostPort: p.address, Logger: slog.New(slog.DiscardHandler)}
		if l.starter, err = client.DialContext(ctx, options); err != nil {
			return nil, err
		}
		if l.polling, err = client.DialContext(ctx, options); err != nil {
			l.close()
			return nil, err
		}
	} else {
		if l.starter, err = dialSecured(ctx, p, sdk.Client); err != nil {
			return nil, err
		}
		if l.polling, err = dialSecured(ctx, p, sdk.Worker); err != nil {
			l.close()
			return nil, err
		}
	}
	w := worker.New(l.polling, queue, worker.Options{
		MaxConcurrentWorkflowTaskPollers: benchPollers,
		MaxConcurrentActivityTaskPollers: benchPollers,
	})
	w.RegisterWorkflowWithOptions(echo, workflow.RegisterOptions{Name: benchName})
	w.RegisterActivityWithOptions(echoActivity, activity.RegisterOptions{Name: benchName})
	if err := w.Start(); err != nil {
		l.close()
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	l.worker = w
	return l, nil
}

// dialSecured leaves payload encryption out, which the open server's client
// does not have either.
func dialSecured(ctx context.Context, p *process, role sdk.Role) (client.Client, error) {
	cfg, err := sdk.FromDataDir(p.dataDir, role)
	if err != nil {
		return nil, err
	}
	cfg.PayloadKeyFile = ""
	return sdk.Dial(ctx, cfg)
}

func (l *load) close() {
	if l.worker != nil {
		l.worker.Stop()
	}
	for _, c := range []client.Client{l.polling, l.starter} {
		if c != nil {
			c.Close()
		}
	}
}

// run completes n workflows and returns how many there were per second.
func (l *load) run(ctx context.Context, n, inFlight int) (float64, error) {
	var begun atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for range inFlight {
		group.Go(func() error {
			for begun.Add(1) <= int64(n) {
				run, err := l.starter.ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: queue}, benchName, "text")
				if err != nil {
					return fmt.Errorf("start a workflow: %w", err)
				}
				var out string
				if err := run.Get(ctx, &out); err != nil {
					return fmt.Errorf("workflow %s: %w", run.GetID(), err)
				}
				if out != "text" {
					return fmt.Errorf("workflow %s: result %q", run.GetID(), out)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	return float64(n) / time.Since(began).Seconds(), nil
}
