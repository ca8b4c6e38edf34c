package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/tenonhq/tenon/internal/cluster"
	"github.com/tenonhq/tenon/internal/daemon"
)

// A child is this program again, running one server until it is interrupted.
const (
	childCommand = "child"
	roleOpen     = "open"
	roleSecured  = "secured"
	roleUp       = "up" // not a child of this program, but the product
	readyPrefix  = "ready "
)

// server is what a child runs.
type server interface {
	Run(context.Context) error
	Ready() <-chan struct{}
}

func runChild(ctx context.Context, role, dataDir string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var (
		s       server
		address func() string
	)
	switch role {
	case roleOpen:
		// The comparison's other side, and the only open server that this
		// repository starts: on loopback, in a temporary folder.
		if err := os.MkdirAll(dataDir, 0o700); err != nil {
			return err
		}
		c, err := cluster.New(cluster.Config{
			Frontend:    "127.0.0.1:0",
			Persistence: cluster.Persistence{SQLite: filepath.Join(dataDir, "temporal.db")},
			Insecure:    true,
			Logger:      log,
		})
		if err != nil {
			return err
		}
		s, address = c, c.Address
	case roleSecured:
		d, err := daemon.New(ctx, daemon.Config{
			DataDir: dataDir,
			Cluster: &daemon.ClusterConfig{Address: "127.0.0.1:0"},
			Logger:  log,
		})
		if err != nil {
			return err
		}
		s, address = d, func() string { return d.Endpoints().Cluster.Address }
	default:
		return fmt.Errorf("role %q: not %s or %s", role, roleOpen, roleSecured)
	}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.Run(ctx) })
	group.Go(func() error {
		select {
		case <-s.Ready():
			_, err := fmt.Println(readyPrefix + address())
			return err
		case <-ctx.Done():
			return nil
		}
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
