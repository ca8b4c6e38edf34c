// A worker on a Tenon cluster, and a program that starts a workflow on it:
// mutual TLS, a token that is renewed while the process runs, encrypted payloads
// and a namespace, all from the environment.
//
//	go run ./examples/workers/go worker
//	go run ./examples/workers/go client 1001
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/tenonhq/tenon/sdk"
)

const taskQueue = "orders"

// OrderWorkflow is the same in every language of these examples.
func OrderWorkflow(ctx workflow.Context, order string) (result string, err error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	err = workflow.ExecuteActivity(ctx, charge, order).Get(ctx, &result)
	return result, err
}

func charge(_ context.Context, order string) (string, error) { return "charged " + order, nil }

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	cfg, err := sdk.FromEnv()
	if err != nil {
		return err
	}
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	c, err := sdk.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	switch {
	case len(args) == 1 && args[0] == "worker":
		return work(c)
	case len(args) == 2 && args[0] == "client":
		return order(ctx, c, args[1])
	}
	return fmt.Errorf("usage: worker | client ORDER")
}

func work(c client.Client) error {
	w := worker.New(c, taskQueue, worker.Options{})
	w.RegisterWorkflow(OrderWorkflow)
	w.RegisterActivity(charge)
	if err := w.Start(); err != nil {
		return err
	}
	fmt.Println("ready")
	<-worker.InterruptCh()
	w.Stop()
	return nil
}

func order(ctx context.Context, c client.Client, id string) error {
	started, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "order-" + id, TaskQueue: taskQueue}, OrderWorkflow, id)
	if err != nil {
		return err
	}
	var result string
	if err := started.Get(ctx, &result); err != nil {
		return err
	}
	fmt.Println(result)
	return nil
}
