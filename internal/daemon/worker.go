package daemon

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/engine/direct"
	"github.com/tenonhq/tenon/internal/workflows"
	"github.com/tenonhq/tenon/sdk"
)

// workerPart runs Tenon's workflows and activities.
type workerPart struct {
	activities *workflows.Activities
	client     client.Client
	worker     worker.Worker
	failed     chan error
}

func newWorker(d *Daemon) (*workerPart, error) {
	known := tenants(d)
	tenants, err := auth0.New(auth0.Config{
		Tenants: known,
		Secrets: d.secrets,
		Version: d.cfg.Version,
		Share:   share(d.cfg.Worker.Share),
		Logger:  d.log,
	})
	if err != nil {
		return nil, err
	}
	eng, err := direct.New(direct.Config{Tenants: tenants, Secrets: d.secrets, SecretRef: workflows.DotenvRef, Logger: d.log})
	if err != nil {
		return nil, err
	}
	return &workerPart{
		activities: &workflows.Activities{
			Engines:      map[string]engine.Engine{"direct": eng},
			Tenants:      workflows.FromPool(tenants),
			Secrets:      d.secrets,
			SecretRef:    workflows.DotenvRef,
			OutputDir:    d.dir.File("apps"),
			ImportDir:    d.dir.File("imports"),
			Grafanas:     grafanas(d.cfg.Settings),
			HTTP:         d.web,
			TenantCAFile: func(domain string) string { return known[domain].CAFile },
			Now:          d.cfg.Now,
			Logger:       d.log,
		},
		failed: make(chan error, 1),
	}, nil
}

// share turns "nothing is left" into what auth0.Config calls it.
func share(s *float64) float64 {
	switch {
	case s == nil:
		return 0
	case *s == 0:
		return -1
	}
	return *s
}

// tenants binds credentials to domains, here and nowhere else: a workflow's
// input names a domain, and can therefore not make the worker send a credential
// to a host of the caller's choosing.
func tenants(d *Daemon) map[string]auth0.Tenant {
	all := map[string]auth0.Tenant{}
	if a := d.cfg.Settings.Auth0; a != nil {
		all[a.Domain] = auth0.Tenant{ClientID: a.ClientID, ClientSecret: a.ClientSecret}
	}
	if d.simulator != nil {
		all[d.simulator.server.Domain()] = auth0.Tenant{
			ClientID:     d.simulator.clientID,
			ClientSecret: "file:" + simulatorSecret,
			CAFile:       d.certsFile("ca.crt"),
		}
	}
	return all
}

// grafanas binds tokens to URLs, for the same reason.
func grafanas(s *config.Config) map[string]workflows.GrafanaTarget {
	if s.Grafana == nil {
		return nil
	}
	return map[string]workflows.GrafanaTarget{s.Grafana.URL: {Token: s.Grafana.Token}}
}

// web is a client for the host at an address. It trusts our own authority for
// the simulator and nobody else.
func (d *Daemon) web(address string) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if d.simulator != nil && address == "https://"+d.simulator.server.Domain() {
		transport.TLSClientConfig = d.security.certs.ClientTLS("localhost")
	}
	return &http.Client{Timeout: 15 * time.Second, Transport: transport}
}

// start connects to the cluster and begins to poll.
func (w *workerPart) start(ctx context.Context, d *Daemon) error {
	cfg, err := w.target(d)
	if err != nil {
		return err
	}
	cfg.Logger = d.log
	cfg.Identity = fmt.Sprintf("tenon-worker/%d", d.endpoints.PID)
	if w.client, err = sdk.Dial(ctx, cfg); err != nil {
		return err
	}
	w.worker = worker.New(w.client, workflows.TaskQueue, worker.Options{
		Interceptors:      d.cfg.Worker.Interceptors,
		WorkerStopTimeout: stopWorker,
		// A stack of thousands of objects is read at once when its history is replayed,
		// which takes longer than the default of a second on a busy machine.
		DeadlockDetectionTimeout: 10 * time.Second,
		// How long a task waits for the worker that had its workflow in memory, before
		// any other takes it: a worker that was killed must not hold things up.
		StickyScheduleToStartTimeout: time.Second,
		// Well below the heartbeat timeout of internal/workflows: a worker on a busy
		// machine must not be taken for dead.
		MaxHeartbeatThrottleInterval: time.Second,
		OnFatalError: func(err error) {
			select {
			case w.failed <- err:
			default:
			}
		},
	})
	if err := workflows.Register(w.worker, w.activities); err != nil {
		w.client.Close()
		return err
	}
	if err := w.worker.Start(); err != nil {
		w.client.Close()
		return err
	}
	return nil
}

// target is the cluster to work for.
func (w *workerPart) target(d *Daemon) (sdk.Config, error) {
	switch {
	case d.cluster != nil:
		cfg := d.workerAt(d.cluster.server.Address())
		cfg.Plaintext = d.cfg.Cluster.InsecureNoTLS
		return cfg, nil
	case d.cfg.Worker.Address != "":
		return d.workerAt(d.cfg.Worker.Address), nil
	}
	return sdk.FromDataDir(d.dir.File(), sdk.Worker)
}

// workerAt is a worker of the cluster at an address, with the files of this
// process.
func (d *Daemon) workerAt(address string) sdk.Config {
	cfg := sdk.InDataDir(d.dir.File(), sdk.Worker, address, Namespace)
	paths := d.paths()
	for _, file := range []*string{&cfg.CAFile, &cfg.CertFile, &cfg.KeyFile, &cfg.TokenFile} {
		*file = filepath.Join(paths.Certs, filepath.Base(*file))
	}
	cfg.PayloadKeyFile = paths.PayloadKeys
	return cfg
}

// wait returns when ctx ends, or with the error that ended the worker.
func (w *workerPart) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-w.failed:
		return fmt.Errorf("worker: %w", err)
	}
}

func (w *workerPart) stop() {
	w.worker.Stop()
	w.client.Close()
}
