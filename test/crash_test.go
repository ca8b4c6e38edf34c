package test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"golang.org/x/sync/errgroup"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/workflows"
)

// TestWorkerKilledAtEveryBoundary kills the worker with SIGKILL before and after
// every activity of an onboarding, once each, and starts it again. The run must
// complete, and the tenant hold exactly one of each object.
//
// A killed worker is found out by its silence, so each kill costs a heartbeat
// timeout; the boundaries are divided among stacks that run side by side.
func TestWorkerKilledAtEveryBoundary(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute or two")
	}
	t.Parallel()
	const parts = 8
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var (
		stacks [parts]*stack
		deaths [parts]string // journals
		group  errgroup.Group
	)
	for part := range parts {
		stacks[part] = startStack(t, t.TempDir(), nil)
		deaths[part] = filepath.Join(t.TempDir(), "killed")
		group.Go(func() error { return onboardWithDoomedWorkers(ctx, t, stacks[part], deaths[part], part, parts) })
	}
	require.NoError(t, group.Wait())

	seen, killed := map[string]bool{}, map[string]bool{}
	for part := range parts {
		requireOneOfEach(t, stacks[part])
		for _, line := range readJournal(t, deaths[part]) {
			event, at, _ := strings.Cut(line, " ")
			seen[at] = true
			killed[at] = killed[at] || event == "killed"
		}
	}
	activities := map[string]bool{}
	for at := range seen {
		require.True(t, killed[at], "no worker was killed at %s", at)
		activities[strings.Split(at, "/")[1]] = true
	}
	for _, name := range []string{"CheckCredentials", "PlanResources", "ApplyStep", "RenderGrafana", "ProveWebApp", "CreateTickets", "EnrolMFA"} {
		require.True(t, activities[name], "no worker was killed around %s", name)
	}
	require.Greater(t, len(seen), 40, "the steps were not told apart")
	t.Logf("killed at all of %d boundaries", len(seen))
}

func readJournal(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// onboardWithDoomedWorkers runs one onboarding with worker processes that kill
// themselves, each at the next boundary of this part.
func onboardWithDoomedWorkers(ctx context.Context, t *testing.T, s *stack, journal string, part, parts int) error {
	tenant := s.endpoints.Auth0.Domain
	run, err := s.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: workflows.OnboardingID(tenant), TaskQueue: workflows.TaskQueue},
		workflows.TypeOnboarding, onboarding(tenant))
	if err != nil {
		return err
	}
	closed := make(chan error, 1)
	go func() { closed <- run.Get(ctx, nil) }()
	for {
		worker := exec.CommandContext(ctx, "doomed-worker", s.dir, journal, strconv.Itoa(part), strconv.Itoa(parts))
		worker.Env = append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(s.dir, "certs", "ca.crt"))
		worker.Stderr = t.Output()
		if err := worker.Start(); err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- worker.Wait() }()
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				return fmt.Errorf("a worker ended otherwise than by SIGKILL: %w", err)
			}
		case err := <-closed:
			return errors.Join(err, worker.Process.Signal(syscall.SIGTERM), <-ended)
		}
	}
}

func onboarding(tenant string) workflows.OnboardingInput {
	return workflows.OnboardingInput{
		Tenant: tenant,
		App:    workflows.WebAppInput{Name: "grafana", URL: "https://grafana.example.com"},
		User:   workflows.UserInput{Email: "ada@example.com", Roles: []string{"admin"}},
	}
}

// requireOneOfEach reads the tenant and counts.
func requireOneOfEach(t *testing.T, s *stack) {
	t.Helper()
	count := func(path, field string, want ...string) {
		t.Helper()
		var objects []map[string]any
		s.management(t, path, &objects)
		var got []string
		for _, o := range objects {
			if name, _ := o[field].(string); slices.Contains(want, name) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		require.Equal(t, want, got, path)
	}
	count("clients", "name", "grafana")
	count("connections", "name", workflows.DefaultConnection)
	count("resource-servers", "identifier", workflows.DefaultAPI)
	count("roles", "name", "admin", "editor", "viewer")
	count("users", "email", "ada@example.com")

	var users []map[string]any
	s.management(t, "users", &users)
	require.Len(t, users, 1)
	var roles []map[string]any
	s.management(t, "users/"+strings.ReplaceAll(fmt.Sprint(users[0]["user_id"]), "|", "%7C")+"/roles", &roles)
	require.Len(t, roles, 1)
	require.Equal(t, "admin", roles[0]["name"])

	var actions struct {
		Actions []map[string]any `json:"actions"`
	}
	s.management(t, "actions/actions", &actions)
	require.Len(t, actions.Actions, 1)
	var bindings struct {
		Bindings []map[string]any `json:"bindings"`
	}
	s.management(t, "actions/triggers/post-login/bindings", &bindings)
	require.Len(t, bindings.Bindings, 1)
}

// doomedWorker is a worker process that kills itself at the first boundary that
// is its part's and at which no worker was killed before.
//
//	doomed-worker DATA-DIR JOURNAL PART PARTS
func doomedWorker() {
	if err := runDoomedWorker(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "doomed worker:", err)
		os.Exit(1)
	}
}

func runDoomedWorker(args []string) error {
	ctx, stop := notifyContext()
	defer stop()
	part, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	parts, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	endpoints, err := config.ReadEndpoints(args[0])
	if err != nil {
		return err
	}
	k := &killer{journal: args[1], part: part, parts: parts}
	d, err := daemon.New(ctx, daemon.Config{
		DataDir: args[0],
		Version: "test",
		Worker:  &daemon.WorkerConfig{Interceptors: []interceptor.WorkerInterceptor{k}},
		Settings: &config.Config{Auth0: &config.Auth0{
			Domain: endpoints.Auth0.Domain, ClientID: endpoints.Auth0.ClientID, ClientSecret: "file:auth0-sim-client-secret",
		}},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

// killer is an interceptor that ends its process around activities.
type killer struct {
	interceptor.WorkerInterceptorBase
	journal     string
	part, parts int
	mu          sync.Mutex
}

func (k *killer) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	i := &killerInbound{k: k}
	i.Next = next
	return i
}

type killerInbound struct {
	interceptor.ActivityInboundInterceptorBase
	k *killer
}

func (i *killerInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	at := strings.Join([]string{info.WorkflowType.Name, info.ActivityType.Name, subject(in.Args)}, "/")
	i.k.reach(at + "/before")
	result, err := i.Next.ExecuteActivity(ctx, in)
	if err == nil {
		i.k.reach(at + "/after")
	}
	return result, err
}

// subject tells apart the activities of one type in one workflow: a step by its
// resource, a plan by how many resources it has and asks roles for.
func subject(args []any) string {
	switch in := args[0].(type) {
	case workflows.StepRequest:
		return strings.ReplaceAll(in.Request.Step.Key.String()+":"+string(in.Request.Step.Action), "/", ":")
	case workflows.StepsTask:
		keys, err := in.Keys()
		if err != nil {
			return err.Error()
		}
		if len(keys) > 1 {
			return fmt.Sprintf("%d from %s", len(keys), strings.ReplaceAll(keys[0], "/", ":"))
		}
		return strings.ReplaceAll(strings.Join(keys, ","), "/", ":")
	case workflows.PlanStackTask:
		return in.Stack + ":" + strconv.FormatBool(in.Prune)
	case workflows.PlanRequest:
		return strconv.Itoa(len(in.Request.Resources)) + ":" + strconv.Itoa(len(in.Request.Known))
	}
	return "only"
}

// reach kills the process if no worker was killed here before, and the place is
// this part's.
func (k *killer) reach(at string) {
	k.mu.Lock() // held until death: one a life
	data, err := os.ReadFile(k.journal)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		panic(err)
	}
	h := fnv.New32()
	_, _ = h.Write([]byte(at))
	event := "seen"
	if int(h.Sum32()%uint32(k.parts)) == k.part {
		event = "killed"
	}
	if slices.Contains(strings.Split(string(data), "\n"), event+" "+at) {
		k.mu.Unlock()
		return
	}
	f, err := os.OpenFile(k.journal, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	if _, err := fmt.Fprintln(f, event, at); err != nil {
		panic(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		panic(err)
	}
	if event == "seen" {
		k.mu.Unlock()
		return
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {} // the signal is on its way
}
