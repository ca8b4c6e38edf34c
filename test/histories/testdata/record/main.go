package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"go.temporal.io/sdk/client"

	"github.com/tenonhq/tenon/internal/codec"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/workflows"
	"github.com/tenonhq/tenon/sdk"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir, out string) error {
	ctx, cancel := context.WithCancel(context.Background())
	d, err := daemon.New(ctx, daemon.Config{
		DataDir: dir, Version: "test",
		Cluster:   &daemon.ClusterConfig{Address: "127.0.0.1:0"},
		Simulator: &daemon.SimulatorConfig{Address: "127.0.0.1:0"},
		Worker:    &daemon.WorkerConfig{},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	select {
	case <-d.Ready():
	case err := <-done:
		return err
	}
	defer func() { cancel(); <-done }()
	cfg, err := sdk.FromDataDir(dir, sdk.Client)
	if err != nil {
		return err
	}
	c, err := sdk.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	keys, err := codec.LoadKeyFile(filepath.Join(dir, "payload.key"))
	if err != nil {
		return err
	}
	cd, err := codec.New(codec.Config{Keys: keys})
	if err != nil {
		return err
	}
	tenant := d.Endpoints().Auth0.Domain
	id := workflows.OnboardingID(tenant)
	start := func(id, kind string, in any) error {
		r, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: workflows.TaskQueue}, kind, in)
		if err != nil {
			return err
		}
		return r.Get(ctx, nil)
	}
	if err := start(id, workflows.TypeOnboarding, workflows.OnboardingInput{Tenant: tenant,
		App:  workflows.WebAppInput{Name: "grafana", URL: "https://grafana.example.com"},
		User: workflows.UserInput{Email: "ada@example.com", Name: "Ada Lovelace", Roles: []string{"admin"}}}); err != nil {
		return err
	}
	bob := workflows.UserID(tenant, workflows.DefaultConnection, "bob@example.com")
	if err := start(bob, workflows.TypeUserRegistration, workflows.UserInput{Tenant: tenant, Email: "bob@example.com", Roles: []string{"no-such-role"}}); err == nil {
		return fmt.Errorf("bob was registered")
	} else {
		f, ok := workflows.FailureOf(err)
		fmt.Println("bob:", err, ok, f)
	}
	for name, id := range map[string]string{"onboarding": id, "tenant-setup": id + "/tenant", "web-app": id + "/app", "user": id + "/user", "user-undone": bob} {
		data, err := workflows.ExportHistory(ctx, c, cd, id, "")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, name+".json"), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
