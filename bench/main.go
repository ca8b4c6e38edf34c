// Command bench compares Tenon's secured cluster with the same embedded server
// left open (no TLS, no authorisation, nothing beside it), side by side in one
// run on one machine, and prints ratios. It decides nothing: machines differ,
// and the targets are for people to read.
//
//	go run ./bench                 everything
//	go run ./bench -only memory    one of start, memory, throughput, authorisation
//
// Every server is a child process of its own; the load comes from this one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 4 && os.Args[1] == childCommand {
		if err := runChild(ctx, os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "bench child:", err)
			os.Exit(1)
		}
		return
	}
	var b bench
	flag.StringVar(&b.tenon, "tenon", "", "the tenon binary to measure (default: built from ./cmd/tenon)")
	flag.StringVar(&b.only, "only", "", "measure only one of start, memory, throughput, authorisation")
	flag.IntVar(&b.runs, "runs", 5, "how often each measurement is repeated")
	flag.IntVar(&b.workflows, "workflows", 150, "workflows of one throughput run")
	flag.IntVar(&b.inFlight, "in-flight", 64, "workflows in flight at a time")
	flag.DurationVar(&b.idle, "idle", 15*time.Second, "how long a server idles before its memory is read")
	flag.Parse()
	if err := b.run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

type bench struct {
	tenon     string
	only      string
	runs      int
	workflows int
	inFlight  int
	idle      time.Duration

	dir string
}

func (b *bench) run(ctx context.Context, out io.Writer) (err error) {
	if b.runs < 1 || b.workflows < 1 || b.inFlight < 1 {
		return errors.New("-runs, -workflows and -in-flight must be at least 1")
	}
	all := []struct {
		name string
		do   func(context.Context) ([]comparison, error)
	}{
		{"start", b.start},
		{"memory", b.memory},
		{"throughput", b.throughput},
		{"authorisation", b.authorisation},
	}
	chosen := all[:0:0]
	for _, m := range all {
		if b.only == "" || b.only == m.name {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("-only %s: not one of start, memory, throughput, authorisation", b.only)
	}
	if b.dir, err = os.MkdirTemp("", "tenon-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.tenon == "" {
		b.tenon = filepath.Join(b.dir, "tenon")
		build := exec.CommandContext(ctx, "go", "build", "-o", b.tenon, "github.com/tenonhq/tenon/cmd/tenon")
		if text, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build tenon: %w\n%s", err, strings.TrimSpace(string(text)))
		}
	}
	if _, err := fmt.Fprintf(out, "%s %s/%s, %d CPUs, %d runs each\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), b.runs); err != nil {
		return err
	}
	for _, m := range chosen {
		results, err := m.do(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if err := printAll(out, results); err != nil {
			return err
		}
	}
	return nil
}
