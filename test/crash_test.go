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
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"

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
		t.Skip("takes a minute")
	}
	const parts = 6
	var mu sync.Mutex
	killed := map[string]bool{}
	var boundaries []string
	t.Run("group", func(t *testing.T) {
		for part := range parts {
			t.Run(strconv.Itoa(part), func(t *testing.T) {
				t.Parallel()
				mine, all := onboardWithDoomedWorkers(t, part, parts)
				mu.Lock()
				defer mu.Unlock()
				for _, b := range mine {
					killed[b] = true
				}
				boundaries = all
			})
		}
	})
	require.NotEmpty(t, boundaries)
	for _, b := range boundaries {
		require.True(t, killed[b], "no worker was killed at %s", b)
	}
	t.Logf("killed at %d boundaries", len(killed))
}

// onboardWithDoomedWorkers runs one onboarding on a stack of its own and returns
// where workers were killed, and all boundaries of the run.
func onboardWithDoomedWorkers(t *testing.T, part, parts int) (killed, boundaries []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	s := startStack(t, t.TempDir(), nil)
	journal := filepath.Join(t.TempDir(), "killed")
	tenant := s.endpoints.Auth0.Domain
	run, err := s.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: workflows.OnboardingID(tenant), TaskQueue: workflows.TaskQueue},
		workflows.TypeOnboarding, onboarding(tenant))
	require.NoError(t, err)
	closed := make(chan error, 1)
	go func() { closed <- run.Get(ctx, nil) }()

	running := true
	for running {
		worker := exec.Command(os.Args[0], s.dir, journal, strconv.Itoa(part), strconv.Itoa(parts))
		worker.Args[0] = "doomed-worker" // TestMain's commands go by the program's name
		worker.Env = append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(s.dir, "certs", "ca.crt"))
		worker.Path = commandPath(t, "doomed-worker")
		worker.Stderr = t.Output()
		require.NoError(t, worker.Start())
		ended := make(chan error, 1)
		go func() { ended <- worker.Wait() }()
		select {
		case err := <-ended:
			var exit *exec.ExitError
			require.True(t, errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL, "the worker ended otherwise: %v", err)
		case err := <-closed:
			require.NoError(t, err)
			running = false
			require.NoError(t, worker.Process.Signal(syscall.SIGTERM))
			require.NoError(t, <-ended)
		}
	}
	requireOneOfEach(t, s)
	data, err := os.ReadFile(journal)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	return strings.Fields(string(data)), boundariesOf(ctx, t, s)
}

func onboarding(tenant string) workflows.OnboardingInput {
	return workflows.OnboardingInput{
		Tenant: tenant,
		App:    workflows.WebAppInput{Name: "grafana", URL: "https://grafana.example.com"},
		User:   workflows.UserInput{Email: "ada@example.com", Roles: []string{"admin"}},
	}
}

// boundariesOf reads from the histories which activities there were.
func boundariesOf(ctx context.Context, t *testing.T, s *stack) []string {
	t.Helper()
	runs, err := daemon.ListRuns(ctx, s.client, 100)
	require.NoError(t, err)
	require.Len(t, runs, 4)
	var all []string
	for _, r := range runs {
		require.Equal(t, "Completed", r.Status, r.ID)
		events := s.client.GetWorkflowHistory(ctx, r.ID, r.RunID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			event, err := events.Next()
			require.NoError(t, err)
			if a := event.GetActivityTaskScheduledEventAttributes(); a != nil {
				name := boundary(r.Type, a.GetActivityId(), a.GetActivityType().GetName())
				all = append(all, name+":before", name+":after")
			}
		}
	}
	return all
}

func boundary(workflow, id, activity string) string {
	return strings.Join([]string{workflow, id, activity}, "/")
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
	name := boundary(info.WorkflowType.Name, info.ActivityID, info.ActivityType.Name)
	i.k.reach(name + ":before")
	result, err := i.Next.ExecuteActivity(ctx, in)
	if err == nil {
		i.k.reach(name + ":after")
	}
	return result, err
}

// reach kills the process if the boundary is new and this part's.
func (k *killer) reach(boundary string) {
	h := fnv.New32()
	_, _ = h.Write([]byte(boundary))
	if int(h.Sum32())%k.parts != k.part {
		return
	}
	k.mu.Lock() // held to the end: one boundary a life
	data, err := os.ReadFile(k.journal)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		panic(err)
	}
	if slices.Contains(strings.Fields(string(data)), boundary) {
		k.mu.Unlock()
		return
	}
	f, err := os.OpenFile(k.journal, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	if _, err := fmt.Fprintln(f, boundary); err != nil {
		panic(err)
	}
	if err := errors.Join(f.Sync(), syscall.Kill(os.Getpid(), syscall.SIGKILL)); err != nil {
		panic(err)
	}
	select {} // the signal is on its way
}
