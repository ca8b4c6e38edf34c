// Command bench measures Tenon side by side with what else there is, in one run
// on one machine, and prints ratios. It decides nothing: machines differ, and
// the targets are for people to read.
//
// The secured cluster runs beside the same embedded server left open (no TLS, no
// authorisation, nothing beside it). Provisioning runs beside Auth0's deploy CLI
// and Terraform provider, on simulated tenants with the rate limits of real ones.
//
//	go run ./bench                 everything; provisioning takes most of an hour
//	go run ./bench -only memory    one part
//	go run ./bench -only provision -terraform DIR    DIR holds terraform-provider-auth0
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
	flag.StringVar(&b.only, "only", "", "measure only one of "+strings.Join(names(), ", "))
	flag.IntVar(&b.runs, "runs", 5, "how often each measurement is repeated")
	flag.IntVar(&b.workflows, "workflows", 150, "workflows of one throughput run")
	flag.IntVar(&b.inFlight, "in-flight", 64, "workflows in flight at a time")
	flag.DurationVar(&b.idle, "idle", 15*time.Second, "how long a server idles before its memory is read")
	flag.DurationVar(&b.latency, "latency", 350*time.Millisecond, "what a call to the tenant takes")
	flag.StringVar(&b.plans, "plans", "enterprise,private", "Auth0 plans of the provisioned tenants")
	flag.StringVar(&b.objects, "objects", "100,1000", "sizes of the provisioned stacks, multiples of 100")
	flag.IntVar(&b.users, "users", 10_000, "users of one import")
	flag.StringVar(&b.deployCLI, "deploy-cli", "", "folder with node_modules/auth0-deploy-cli (default: installed by npm for the run)")
	flag.StringVar(&b.terraform, "terraform", "", "folder with terraform-provider-auth0, to compare with Terraform")
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

	latency   time.Duration
	plans     string
	objects   string
	users     int
	deployCLI string
	terraform string

	dir string
}

// part is one thing to measure.
type part struct {
	name string
	do   func(*bench, context.Context, io.Writer) error
}

// parts are what there is to measure, in order.
func parts() []part {
	compare := func(do func(*bench, context.Context) ([]comparison, error)) func(*bench, context.Context, io.Writer) error {
		return func(b *bench, ctx context.Context, out io.Writer) error {
			results, err := do(b, ctx)
			if err != nil {
				return err
			}
			return printAll(out, results)
		}
	}
	return []part{
		{"start", compare((*bench).start)},
		{"memory", compare((*bench).memory)},
		{"throughput", compare((*bench).throughput)},
		{"authorisation", compare((*bench).authorisation)},
		{"provision", (*bench).provision},
		{"share", (*bench).share},
		{"import", (*bench).importUsers},
	}
}

func names() []string {
	var list []string
	for _, p := range parts() {
		list = append(list, p.name)
	}
	return list
}

func (b *bench) run(ctx context.Context, out io.Writer) (err error) {
	if b.runs < 1 || b.workflows < 1 || b.inFlight < 1 {
		return errors.New("-runs, -workflows and -in-flight must be at least 1")
	}
	var chosen []part
	for _, p := range parts() {
		if b.only == "" || b.only == p.name {
			chosen = append(chosen, p)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("-only %s: not one of %s", b.only, strings.Join(names(), ", "))
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
	for _, p := range chosen {
		if err := p.do(b, ctx, out); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}
