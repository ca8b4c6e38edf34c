// Package daemon is the composition root: it builds the parts of Tenon that a
// process runs, joins them, and runs them as one group.
//
//	New   opens and checks everything; nothing serves yet, nothing is half-written
//	Run   cluster ∥ simulator ─ready─► worker ─ready─► endpoints.json ─► Ready
//	stop  worker first, so that it can report what it finished; then the rest
//
// It is the only package that knows all the others. What a part does is that
// part's business; which parts exist, with which keys, stores and addresses,
// is decided here.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"go.temporal.io/sdk/interceptor"
	"golang.org/x/sync/errgroup"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/secret"
)

// Namespace is where Tenon's own workflows run.
const Namespace = "default"

// stopWorker is how long the worker may take to finish what it does when the
// process is asked to stop. What it does not finish is retried by the next.
const stopWorker = 500 * time.Millisecond

// Config says what a process runs.
type Config struct {
	// DataDir holds all state. Required. It is created if it is absent, unless
	// only a worker runs.
	DataDir string
	// Version is stamped on the data directory and sent to Auth0.
	Version string
	// Settings is what environment and .env say. Nil is the same as none.
	Settings *config.Config
	// File is the configuration file. Nil is the same as an empty one.
	File *config.File
	// Cluster, Simulator and Worker are the parts to run; nil parts do not.
	Cluster   *ClusterConfig
	Simulator *SimulatorConfig
	Worker    *WorkerConfig
	// Now tells the time. Defaults to time.Now.
	Now func() time.Time
	// Logger receives what happens. Nil discards.
	Logger *slog.Logger
}

// ClusterConfig is the Temporal cluster's part.
type ClusterConfig struct {
	// Address is host:port of the frontend; port 0 takes a free one. Defaults
	// to 127.0.0.1:7233.
	Address string
	// Hosts are further names and addresses that the server's certificate
	// carries.
	Hosts []string
	// ClientAuth is what callers must show: certificate-and-token,
	// certificate-or-token or token-only. Defaults to certificate-and-token.
	ClientAuth string
	// OperationsAddress is host:port where the public keys of the cluster's tokens
	// and metrics are served over HTTPS. Defaults to nowhere.
	OperationsAddress string
	// RulesFile holds rules that narrow what roles allow. Defaults to none.
	RulesFile string
	// WebUI is the Web UI's part. Defaults to none.
	WebUI *WebUIConfig
	// InsecureNoTLS and InsecureNoAuth take TLS and authorisation away. Each must
	// be asked for twice: here, and in Settings (TLSOff, AuthOff). The frontend
	// is then on loopback only.
	InsecureNoTLS, InsecureNoAuth bool
}

// SimulatorConfig is the Auth0 simulator's part.
type SimulatorConfig struct {
	// Address is host:port; port 0 takes a free one. Defaults to 127.0.0.1:4430.
	Address string
	// Memory keeps the tenant in memory instead of the data directory.
	Memory bool
	// Plan sets rate and entity limits: free, essentials, enterprise or
	// private. Defaults to private.
	Plan string
	// Latency is added to every call: "350ms", or a range "100ms-600ms".
	// Defaults to none.
	Latency string
	// Queue is the URL of an SQS-compatible queue for events of EventBridge
	// destinations. Defaults to none.
	Queue string
	// NoControl switches off the control API under /_sim/.
	NoControl bool
}

// WorkerConfig is the worker's part.
type WorkerConfig struct {
	// Address is the cluster's frontend. Defaults to the cluster of this
	// process, else to the one that runs on the data directory.
	Address string
	// Share is the part of each of the tenant's rate limits that is left to others:
	// 0 to 0.9. Nil means 0.2.
	Share *float64
	// Interceptors are added to the worker, for tests.
	Interceptors []interceptor.WorkerInterceptor
}

// Daemon is the parts of one process. It runs once.
type Daemon struct {
	cfg        Config
	log        *slog.Logger
	dir        *DataDir // nil if only a worker runs
	secrets    secret.Stores
	security   *security
	cluster    *clusterPart
	operations *operations
	simulated  net.Listener // where the simulator will answer
	simulator  *simulatorPart
	webUI      *webUIPart
	worker     *workerPart
	endpoints  config.Endpoints
	ready      chan struct{}
	closeOnce  sync.Once
	closeErr   error
}

// New opens and checks all parts. The caller must call Run or Close.
func New(ctx context.Context, cfg Config) (_ *Daemon, err error) {
	if cfg.Settings == nil {
		cfg.Settings = &config.Config{}
	}
	if cfg.File == nil {
		cfg.File = &config.File{}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Cluster != nil {
		if err := checkInsecure(cfg); err != nil {
			return nil, err
		}
	}
	d := &Daemon{cfg: cfg, log: cfg.Logger, ready: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if cfg.Cluster != nil || cfg.Simulator != nil {
		if d.dir, err = OpenDataDir(cfg.DataDir, cfg.Version); err != nil {
			return nil, err
		}
		// What a process that was killed left behind: nothing listens there.
		if err := config.RemoveEndpoints(d.dir.path); err != nil {
			return nil, err
		}
	} else {
		if d.dir, err = JoinDataDir(cfg.DataDir); err != nil {
			return nil, err
		}
	}
	d.secrets = secret.Stores{
		"env":    secret.Env{},
		"dotenv": secret.Dotenv{Read: envFiles(cfg.Settings), Write: d.dir.File("secrets.env")},
		"file":   secret.Files{Dir: d.dir.File("secrets")},
	}
	d.endpoints.PID = os.Getpid()
	if cfg.Simulator != nil {
		// Before the verifier is built, which trusts the simulated tenant by its name.
		if d.simulated, err = listenSimulator(cfg.Simulator); err != nil {
			return nil, err
		}
	}
	if cfg.Cluster != nil || cfg.Simulator != nil {
		if d.security, err = newSecurity(ctx, d); err != nil {
			return nil, err
		}
	}
	if cfg.Simulator != nil {
		if d.simulator, err = newSimulator(ctx, d); err != nil {
			return nil, err
		}
	}
	if cfg.Cluster != nil {
		if d.cluster, err = newCluster(ctx, d); err != nil {
			return nil, err
		}
	}
	if cfg.Cluster != nil && cfg.Cluster.WebUI != nil {
		if d.webUI, err = newWebUI(d); err != nil {
			return nil, err
		}
	}
	if cfg.Cluster != nil && cfg.Cluster.OperationsAddress != "" {
		if d.operations, err = newOperations(cfg.Cluster.OperationsAddress, d.security); err != nil {
			return nil, err
		}
	}
	if cfg.Worker != nil {
		if d.worker, err = newWorker(d); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// lookup reads a variable of the environment or the .env file.
func (d *Daemon) lookup(name string) string {
	if d.cfg.Settings.Lookup == nil {
		return ""
	}
	return d.cfg.Settings.Lookup(name)
}

func envFiles(s *config.Config) []string {
	if s.EnvFile == "" {
		return nil
	}
	return []string{s.EnvFile}
}

// Ready is closed when everything listens and endpoints.json is written.
func (d *Daemon) Ready() <-chan struct{} { return d.ready }

// Endpoints says where the parts listen. Valid once Ready is closed.
func (d *Daemon) Endpoints() config.Endpoints { return d.endpoints }

// Secrets are the stores that the parts of this process use.
func (d *Daemon) Secrets() secret.Stores { return d.secrets }

// DataDir is the data directory of this process.
func (d *Daemon) DataDir() *DataDir { return d.dir }

// Close releases what New took. Run does it too.
func (d *Daemon) Close() error {
	d.closeOnce.Do(func() {
		var errs []error
		if d.cluster != nil {
			errs = append(errs, d.cluster.server.Close())
		}
		if d.operations != nil {
			errs = append(errs, d.operations.close())
		}
		if d.webUI != nil {
			errs = append(errs, d.webUI.close())
		}
		if d.simulator != nil {
			errs = append(errs, d.simulator.close())
		} else if d.simulated != nil {
			errs = append(errs, d.simulated.Close())
		}
		if d.security != nil {
			errs = append(errs, d.security.close())
		}
		if d.dir != nil {
			errs = append(errs, d.dir.Close())
		}
		d.closeErr = errors.Join(errs...)
	})
	return d.closeErr
}

// Run runs the parts until ctx ends, which is no error, or until one of them
// fails, which stops the others and is returned.
func (d *Daemon) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, d.Close()) }()

	// Two groups, because the worker must have stopped before the cluster does:
	// it still has results to report.
	failed, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	servers, stopServers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServers()
	group, serving := errgroup.WithContext(servers)
	run := func(name string, f func(context.Context) error) {
		group.Go(func() error {
			err := f(serving)
			if err == nil && serving.Err() == nil {
				err = errors.New("stopped by itself")
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
				fail(err)
			}
			return err
		})
	}
	recorded := make(chan error, 1)
	recording, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRecording()
	if d.security != nil {
		go func() {
			err := d.security.record(recording)
			if err != nil {
				fail(err)
			}
			recorded <- err
		}()
		d.security.run(run)
	} else {
		recorded <- nil
	}
	if d.simulator != nil {
		run("auth0 simulator", d.simulator.server.Run)
	}
	if d.cluster != nil {
		run("cluster", d.cluster.server.Run)
	}
	if d.operations != nil {
		run("keys and metrics", d.operations.Run)
	}
	workErr := d.work(failed, run)
	stopServers()
	groupErr := group.Wait()
	stopRecording()
	err = errors.Join(groupErr, <-recorded, d.retract())
	if err == nil && ctx.Err() == nil {
		err = workErr
	}
	return err
}

// work waits for the servers, runs the worker, says that everything is ready,
// and returns when ctx ends.
func (d *Daemon) work(ctx context.Context, run func(string, func(context.Context) error)) error {
	if err := d.await(ctx); err != nil {
		return err
	}
	if d.webUI != nil {
		if err := d.webUI.start(ctx, d, run); err != nil {
			return err
		}
	}
	if d.worker != nil {
		if err := d.worker.start(ctx, d); err != nil {
			return fmt.Errorf("worker: %w", err)
		}
		defer d.worker.stop()
	}
	if err := d.announce(run); err != nil {
		return err
	}
	close(d.ready)
	d.log.Info("ready", "pid", d.endpoints.PID)
	if d.worker != nil {
		return d.worker.wait(ctx)
	}
	<-ctx.Done()
	return nil
}

// await returns when the servers of this process answer.
func (d *Daemon) await(ctx context.Context) error {
	var all []<-chan struct{}
	if d.simulator != nil {
		all = append(all, d.simulator.server.Ready())
	}
	if d.cluster != nil {
		all = append(all, d.cluster.server.Ready())
	}
	for _, ready := range all {
		select {
		case <-ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// announce writes the files by which others find this process.
func (d *Daemon) announce(run func(string, func(context.Context) error)) error {
	// A node without a frontend has nothing that a client could connect to.
	if d.cluster != nil && d.cluster.server.Address() != "" {
		d.endpoints.Cluster = d.cluster.endpoints(d)
		if d.operations != nil {
			d.endpoints.Cluster.Operations = "https://" + d.operations.listener.Addr().String() + "/"
		}
		if d.webUI != nil && d.webUI.server != nil {
			d.endpoints.Cluster.WebUI, d.endpoints.Cluster.Login = d.webUI.server.URL(), d.webUI.login
		}
		p := d.cluster.profile(d)
		if err := p.write(); err != nil {
			return fmt.Errorf("write %s: %w", p.path, err)
		}
		run("temporal.toml", p.Run)
	}
	switch {
	case d.simulator != nil:
		d.endpoints.Auth0 = d.simulator.endpoints(d)
	case d.cfg.Settings.Auth0 != nil:
		a := d.cfg.Settings.Auth0
		d.endpoints.Auth0 = &config.Auth0Endpoints{Domain: a.Domain, ClientID: a.ClientID}
	}
	if d.security == nil {
		return nil // a worker alone listens nowhere
	}
	return config.WriteEndpoints(d.dir.path, d.endpoints)
}

// retract removes endpoints.json: nothing listens any more.
func (d *Daemon) retract() error {
	if d.security == nil {
		return nil
	}
	return config.RemoveEndpoints(d.dir.path)
}
