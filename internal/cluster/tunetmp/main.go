package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	rp "runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/tenonhq/tenon/internal/cluster"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type bearer string

func (b bearer) GetHeaders(context.Context) (map[string]string, error) {
	return map[string]string{"authorization": string(b)}, nil
}

func main() {
	if os.Args[1] == "load" {
		load()
		return
	}
	role, dir := os.Args[1], os.Args[2]
	began := time.Now()
	cfg := cluster.Config{Frontend: os.Getenv("FRONT"), Persistence: cluster.Persistence{SQLite: filepath.Join(dir, "temporal.db")}, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if cfg.Frontend == "" {
		cfg.Frontend = "127.0.0.1:0"
	}
	if os.Getenv("MEM") != "" {
		cfg.Persistence = cluster.Persistence{Memory: true}
	}
	if s := os.Getenv("SHARDS"); s != "" {
		n, _ := strconv.Atoi(s)
		cfg.Shards = int32(n)
	}
	if d := os.Getenv("DYN"); d != "" {
		cfg.DynamicConfig = map[string]any{}
		if err := json.Unmarshal([]byte(d), &cfg.DynamicConfig); err != nil {
			panic(err)
		}
	}
	if role == "open" {
		cfg.Insecure = true
	} else {
		f := must(newFakeTLS())
		cfg.TLS, cfg.Access = f, fakeAccess{}
		ca := f.clients.cert.Raw
		k := must(x509.MarshalECPrivateKey(f.client.PrivateKey.(*ecdsa.PrivateKey)))
		b := must(json.Marshal(map[string][]byte{"ca": ca, "cert": f.client.Certificate[0], "key": k}))
		if err := os.WriteFile(filepath.Join(dir, "client.json"), b, 0o600); err != nil {
			panic(err)
		}
	}
	if p := os.Getenv("CPUPROF"); p != "" {
		fp := must(os.Create(p))
		rp.StartCPUProfile(fp)
	}
	if os.Getenv("INFO") != "" {
		cfg.LogLevel = slog.LevelInfo
	}
	s := must(cluster.New(cfg))
	fmt.Println("new", time.Since(began))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-s.Ready()
		rp.StopCPUProfile()
		fmt.Println("ready", time.Since(began), s.Address(), "goroutines", runtime.NumGoroutine())
		if p := os.Getenv("PPROF"); p != "" {
			go http.ListenAndServe(p, nil)
		}
	}()
	if err := s.Run(ctx); err != nil {
		panic(err)
	}
}

func echo(ctx workflow.Context, text string) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	var out string
	err := workflow.ExecuteActivity(ctx, "a", text).Get(ctx, &out)
	return out, err
}

func load() {
	address, dir := os.Args[2], os.Args[3]
	n, _ := strconv.Atoi(os.Args[4])
	o := client.Options{HostPort: address, Logger: slog.New(slog.DiscardHandler)}
	if b, err := os.ReadFile(filepath.Join(dir, "client.json")); err == nil && !strings.Contains(dir, "open") {
		var m map[string][]byte
		json.Unmarshal(b, &m)
		pool := x509.NewCertPool()
		pool.AddCert(must(x509.ParseCertificate(m["ca"])))
		k := must(x509.ParseECPrivateKey(m["key"]))
		o.ConnectionOptions.TLS = clientTLS(&tls.Certificate{Certificate: [][]byte{m["cert"]}, PrivateKey: k}, pool, "temporal-server")
		o.HeadersProvider = bearer(goodToken)
	}
	c := must(client.Dial(o))
	c2 := must(client.Dial(o))
	w := worker.New(c2, "q", worker.Options{MaxConcurrentActivityTaskPollers: 8, MaxConcurrentWorkflowTaskPollers: 8})
	w.RegisterWorkflowWithOptions(echo, workflow.RegisterOptions{Name: "w"})
	w.RegisterActivityWithOptions(func(ctx context.Context, s string) (string, error) { return s, nil }, activity.RegisterOptions{Name: "a"})
	if err := w.Start(); err != nil {
		panic(err)
	}
	for r := range 4 {
		var i atomic.Int64
		t := time.Now()
		done := make(chan struct{})
		for range 64 {
			go func() {
				defer func() { done <- struct{}{} }()
				for i.Add(1) <= int64(n) {
					run := must(c.ExecuteWorkflow(context.Background(), client.StartWorkflowOptions{TaskQueue: "q"}, "w", "x"))
					if err := run.Get(context.Background(), nil); err != nil {
						panic(err)
					}
				}
			}()
		}
		for range 64 {
			<-done
		}
		fmt.Printf("round %d: %.0f wf/s\n", r, float64(n)/time.Since(t).Seconds())
	}
	w.Stop()
}
