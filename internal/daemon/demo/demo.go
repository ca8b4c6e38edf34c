// Package demo is the main job, unattended: a stack is started, a tenant set
// up, Grafana registered, a user registered; the user logs in for real, and the
// wrong callers are really refused.
//
// It proves and decides nothing by itself: the login is internal/grafana's
// relying party reading the settings that were rendered, the refusals are what
// the cluster answers. A proof that does not hold is an error.
package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/grafana"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
	"github.com/tenonhq/tenon/internal/workflows"
	"github.com/tenonhq/tenon/sdk"
)

// What the demonstration registers.
const (
	appName   = "grafana"
	appURL    = "https://grafana.example.com"
	userEmail = "ada@example.com"
	wantRole  = "Admin"
)

// Config of a demonstration.
type Config struct {
	// DataDir is kept afterwards. "" works in a temporary one and removes it.
	DataDir string
	// Version is stamped on the data directory.
	Version string
	// Password is what the user chooses. Defaults to a random one.
	Password secret.Value
	// Progress is called with how far the onboarding is, several times a second.
	// Nil ignores it.
	Progress func(*daemon.Tree)
	// Say is called with what happens, a line each. Nil ignores it.
	Say func(string)
	// Logger receives what the parts have to say. Nil discards.
	Logger *slog.Logger
}

// Result is what was made and proved.
type Result struct {
	Tenant   workflows.TenantSetupResult `json:"tenant"`
	App      workflows.WebAppResult      `json:"app"`
	User     workflows.UserResult        `json:"user"`
	Grafana  workflows.AppSettings       `json:"grafana"`
	Login    Login                       `json:"login"`
	Refusals []Refusal                   `json:"refusals"`
	Runs     []daemon.Run                `json:"runs"`
	Seconds  float64                     `json:"seconds"`
	DataDir  string                      `json:"dataDir,omitempty"`
}

// Login is the proof that the user can log in.
type Login struct {
	OK    bool     `json:"ok"`
	Role  string   `json:"role"`
	Steps []string `json:"steps"`
	Error string   `json:"error,omitempty"`
}

// ErrNotProved says that something was made that does not hold.
var ErrNotProved = errors.New("not everything was proved")

// Run runs the demonstration. The result is complete also when the error wraps
// ErrNotProved.
func Run(ctx context.Context, cfg Config) (_ *Result, err error) {
	started := time.Now()
	if cfg.Progress == nil {
		cfg.Progress = func(*daemon.Tree) {}
	}
	if cfg.Say == nil {
		cfg.Say = func(string) {}
	}
	dir := cfg.DataDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "tenon-demo-"); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	stack, err := daemon.New(ctx, daemon.Config{
		DataDir: dir, Version: cfg.Version, Logger: cfg.Logger,
		Cluster:   &daemon.ClusterConfig{Address: "127.0.0.1:0"},
		Simulator: &daemon.SimulatorConfig{Address: "127.0.0.1:0"},
		Worker:    &daemon.WorkerConfig{},
	})
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- stack.Run(serving) }()
	defer func() {
		stop()
		err = errors.Join(err, <-stopped)
	}()
	select {
	case <-stack.Ready():
	case err := <-stopped:
		stopped <- nil
		if err == nil {
			err = ctx.Err()
		}
		return nil, err
	}
	endpoints := stack.Endpoints()
	cfg.Say(fmt.Sprintf("cluster %s: mutual TLS, tokens, audit log", endpoints.Cluster.Address))
	cfg.Say(fmt.Sprintf("simulated tenant https://%s", endpoints.Auth0.Domain))

	target, err := sdk.FromDataDir(dir, sdk.Client)
	if err != nil {
		return nil, err
	}
	c, err := sdk.Dial(ctx, target)
	if err != nil {
		return nil, err
	}
	defer c.Close()

	r := &Result{DataDir: cfg.DataDir}
	if err := r.onboard(ctx, c, endpoints.Auth0.Domain, cfg.Progress); err != nil {
		return nil, err
	}
	cfg.Say("the user opens their links and logs in to Grafana")
	r.login(ctx, stack, cfg.Password)
	cfg.Say("the wrong callers try")
	if err := r.refuse(ctx, stack); err != nil {
		return nil, err
	}
	if r.Runs, err = daemon.ListRuns(ctx, c, 100); err != nil {
		return nil, err
	}
	r.Seconds = time.Since(started).Seconds()
	return r, r.unproved()
}

// unproved lists what does not hold.
func (r *Result) unproved() error {
	var problems []string
	if !r.Login.OK {
		problems = append(problems, "the login failed: "+r.Login.Error)
	}
	for _, f := range r.Refusals {
		if !f.Refused {
			problems = append(problems, fmt.Sprintf("not refused: %s (%s)", f.Case, f.Error))
		}
	}
	for _, run := range r.Runs {
		if run.Status != "Completed" {
			problems = append(problems, fmt.Sprintf("run %s is %s", run.ID, run.Status))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%w: %s", ErrNotProved, strings.Join(problems, "; "))
	}
	return nil
}

// onboard runs OnboardingWorkflow to its end.
func (r *Result) onboard(ctx context.Context, c client.Client, tenant string, progress func(*daemon.Tree)) error {
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: workflows.OnboardingID(tenant), TaskQueue: workflows.TaskQueue},
		workflows.TypeOnboarding, workflows.OnboardingInput{
			Tenant: tenant,
			App:    workflows.WebAppInput{Name: appName, URL: appURL},
			User:   workflows.UserInput{Email: userEmail, Name: "Ada Lovelace", Roles: []string{"admin"}},
		})
	if err != nil {
		return err
	}
	var result workflows.OnboardingResult
	if err := daemon.Follow(ctx, c, run.GetID(), run.GetRunID(), progress); err != nil {
		return err
	}
	if err := run.Get(ctx, &result); err != nil {
		return err
	}
	r.Tenant, r.App, r.User, r.Grafana = result.Setup, result.App, result.User, result.App.Settings
	return nil
}

// login is the user's first day: verify the address, choose a password, enrol
// an authenticator, and log in to Grafana.
func (r *Result) login(ctx context.Context, stack *daemon.Daemon, password secret.Value) {
	result, err := r.firstDay(ctx, stack, password)
	if err != nil {
		r.Login.Error = err.Error()
		return
	}
	r.Login.Role = result.Role
	r.Login.Steps = append(r.Login.Steps, result.Steps...)
	r.Login.OK = result.Role == wantRole && result.EmailVerified
	if !r.Login.OK {
		r.Login.Error = fmt.Sprintf("role %q, wanted %q; address verified: %t", result.Role, wantRole, result.EmailVerified)
	}
}

func (r *Result) firstDay(ctx context.Context, stack *daemon.Daemon, password secret.Value) (*grafana.LoginResult, error) {
	web, err := webClient(stack.Endpoints().Auth0)
	if err != nil {
		return nil, err
	}
	if password.IsZero() {
		if password, err = daemon.NewPassword(); err != nil {
			return nil, err
		}
	}
	person := &grafana.Person{Email: r.User.Email, Password: password}
	browser, err := grafana.NewBrowser(grafana.BrowserConfig{HTTP: web, Origin: "https://" + stack.Endpoints().Auth0.Domain, Person: person})
	if err != nil {
		return nil, err
	}
	for _, ref := range []string{r.User.Tickets.Verification, r.User.Tickets.Password, r.User.Tickets.MFA} {
		link, err := stack.Secrets().Get(ctx, secret.Ref(ref))
		if err != nil {
			return nil, err
		}
		if _, err := browser.Visit(ctx, link.Reveal(), ""); err != nil {
			return nil, err
		}
	}
	r.Login.Steps = browser.Steps()
	settings, err := grafana.ReadConfig(grafana.Files{INI: r.Grafana.INI, Env: r.Grafana.Env, Compose: r.Grafana.Compose})
	if err != nil {
		return nil, err
	}
	return grafana.Login(ctx, grafana.LoginRequest{Config: settings, Person: person, HTTP: web})
}

// refuse lets the wrong callers try.
func (r *Result) refuse(ctx context.Context, stack *daemon.Daemon) error {
	certs := stack.DataDir().File("certs")
	// A token of the highest role that was good until an hour ago: signed by the
	// cluster's own key, with a clock that stands two hours back.
	past, err := token.OpenIssuer(token.IssuerConfig{Dir: certs, Now: func() time.Time { return time.Now().Add(-2 * time.Hour) }})
	if err != nil {
		return err
	}
	expired, _, err := past.Issue(ctx, token.IssueRequest{Subject: "intruder", Scope: "temporal-system", TTL: time.Hour})
	if err != nil {
		return err
	}
	in, err := newIntruder(*stack.Endpoints().Cluster, certs, expired)
	if err != nil {
		return err
	}
	r.Refusals, err = in.try(ctx)
	return err
}

// webClient is a browser's transport that trusts the simulator's certificate.
func webClient(tenant *config.Auth0Endpoints) (*http.Client, error) {
	pem, err := os.ReadFile(tenant.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", tenant.CA)
	}
	return &http.Client{
		Timeout:   15 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}},
	}, nil
}
