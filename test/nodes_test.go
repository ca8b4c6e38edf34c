package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"golang.org/x/sync/errgroup"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/sdk"
)

const nodeQueue = "nodes"

// node is one "tenon server" of a cluster of several.
type node struct {
	t       *testing.T
	dir, ip string
	config  string
	process *exec.Cmd
	stderr  *bytes.Buffer
}

// nodePorts is a frontend port such that it and the next four, and the gossip
// ports below them, are as good as free on 127.0.0.2 and further.
func nodePorts(t *testing.T) int {
	t.Helper()
	for base := 22000; base < 30000; base += 10 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.2", strconv.Itoa(base)))
		if err == nil {
			require.NoError(t, l.Close())
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

// newNode writes the configuration of a node.
func newNode(t *testing.T, p *postgres, dir, ip string, base int) *node {
	t.Helper()
	n := &node{t: t, dir: dir, ip: ip, config: filepath.Join(dir, "tenon.yaml"), stderr: &bytes.Buffer{}}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "state"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "password"), []byte(p.password+"\n"), 0o600))
	require.NoError(t, os.WriteFile(n.config, fmt.Appendf(nil, `
dataDir: state
cluster:
  address: %s:%d
  shards: 16
  membership:
    bindIP: %s
    ports: {history: %d, matching: %d, internal-frontend: %d, worker: %d}
persistence:
  postgresql:
    address: 127.0.0.1:%s
    user: tenon
    password: file:password
    maxConns: 8
`, ip, base, ip, base+1, base+2, base+3, base+4, p.port), 0o600))
	return n
}

// tenon runs a command with the node's configuration.
func (n *node) tenon(args ...string) (string, error) {
	n.t.Helper()
	cmd := tenon(n.t, append(args, "--config", n.config)...)
	cmd.Stderr = nil
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out) + string(exit.Stderr), err
	}
	return string(out), err
}

// start runs the node's server and returns when it is ready.
func (n *node) start(args ...string) {
	n.t.Helper()
	// That of a process that was killed would be taken for the new one's.
	require.NoError(n.t, config.RemoveEndpoints(filepath.Join(n.dir, "state")))
	n.launch(args...)
	awaitFile(n.t, filepath.Join(n.dir, "state", "endpoints.json"))
}

func (n *node) launch(args ...string) {
	n.t.Helper()
	n.process = exec.Command("tenon", append([]string{"server", "--config", n.config}, args...)...)
	n.process.Stderr = n.stderr
	require.NoError(n.t, n.process.Start())
	n.t.Cleanup(func() {
		_ = n.process.Process.Kill()
		_ = n.process.Wait()
		if n.t.Failed() {
			n.t.Logf("node %s: %s", n.ip, n.stderr)
		}
	})
}

// copyTrust gives a node what the nodes of a cluster share, as docs/operate.md
// says.
func copyTrust(t *testing.T, from, to *node) {
	t.Helper()
	out, err := exec.Command("cp", "-a", filepath.Join(from.dir, "state", "certs"), filepath.Join(from.dir, "state", "payload.key"), filepath.Join(to.dir, "state")).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// dial connects a client to a node.
func (n *node) dial(role sdk.Role) client.Client {
	n.t.Helper()
	cfg, err := sdk.FromDataDir(filepath.Join(n.dir, "state"), role)
	require.NoError(n.t, err)
	c, err := sdk.Dial(context.Background(), cfg)
	require.NoError(n.t, err)
	n.t.Cleanup(c.Close)
	return c
}

// order is a workflow with two activities around a timer.
func order(ctx workflow.Context, id string) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second})
	var reserved, shipped string
	if err := workflow.ExecuteActivity(ctx, "step", "reserve "+id).Get(ctx, &reserved); err != nil {
		return "", err
	}
	if err := workflow.Sleep(ctx, time.Second); err != nil {
		return "", err
	}
	if err := workflow.ExecuteActivity(ctx, "step", "ship "+id).Get(ctx, &shipped); err != nil {
		return "", err
	}
	return reserved + ", " + shipped, nil
}

// TestNodes loses one of three nodes, then the database, while workflows run.
func TestNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	p := startPostgres(t)
	base := nodePorts(t)
	root := t.TempDir()
	var nodes []*node
	for i := range 3 {
		nodes = append(nodes, newNode(t, p, filepath.Join(root, strconv.Itoa(i)), fmt.Sprintf("127.0.0.%d", i+2), base))
	}
	out, err := nodes[0].tenon("certs", "init")
	require.NoError(t, err, out)
	copyTrust(t, nodes[0], nodes[1])
	copyTrust(t, nodes[0], nodes[2])
	for _, n := range nodes {
		out, err := n.tenon("config", "check")
		require.NoError(t, err, out)
		n.launch()
	}
	for _, n := range nodes {
		awaitFile(t, filepath.Join(n.dir, "state", "endpoints.json"))
	}

	// A worker at each node that will live.
	for _, n := range nodes[1:] {
		w := worker.New(n.dial(sdk.Worker), nodeQueue, worker.Options{StickyScheduleToStartTimeout: time.Second})
		w.RegisterWorkflowWithOptions(order, workflow.RegisterOptions{Name: "order"})
		w.RegisterActivityWithOptions(func(_ context.Context, s string) (string, error) { return s, nil }, activity.RegisterOptions{Name: "step"})
		require.NoError(t, w.Start())
		t.Cleanup(w.Stop)
	}

	// The callers use all three, and go to another when theirs does not answer.
	var callers []client.Client
	for _, n := range nodes {
		callers = append(callers, n.dial(sdk.Client))
	}
	began := time.Now()
	runOrders(t, callers, "kill", 500, 100, func() {
		require.NoError(t, nodes[0].process.Process.Kill())
		_ = nodes[0].process.Wait()
	})
	t.Logf("500 runs over the loss of a node: %s", time.Since(began).Round(time.Second))

	began = time.Now()
	runOrders(t, callers[1:], "restart", 100, 20, p.restart)
	t.Logf("100 runs over the restart of the database: %s", time.Since(began).Round(time.Second))

	// A node comes back under its own name.
	nodes[0].start()
	require.NoError(t, call(t.Context(), nodes[0].dial(sdk.Client)))

	for _, n := range nodes {
		require.NoError(t, n.process.Process.Signal(os.Interrupt))
	}
	for _, n := range nodes {
		require.NoError(t, n.process.Wait(), n.stderr)
		require.NoFileExists(t, filepath.Join(n.dir, "state", "endpoints.json"))
	}
}

// runOrders starts workflows, lets something happen once some of them have
// completed, and checks that each completed exactly once.
func runOrders(t *testing.T, callers []client.Client, prefix string, total, before int, happen func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	ids := make(chan string)
	go func() {
		defer close(ids)
		for i := range total {
			ids <- fmt.Sprintf("%s-%03d", prefix, i)
		}
	}()
	var completed atomic.Int64
	reached := make(chan struct{})
	var once sync.Once
	var group errgroup.Group
	for i := range 50 {
		group.Go(func() error {
			for id := range ids {
				if err := runOrder(ctx, callers, i, id); err != nil {
					return fmt.Errorf("%s: %w", id, err)
				}
				if completed.Add(1) == int64(before) {
					once.Do(func() { close(reached) })
				}
			}
			return nil
		})
	}
	select {
	case <-reached:
	case <-ctx.Done():
		t.Fatal("too slow to begin with")
	}
	happen()
	require.NoError(t, group.Wait())
	require.Equal(t, int64(total), completed.Load())

	for i := range total {
		id := fmt.Sprintf("%s-%03d", prefix, i)
		requireOnce(ctx, t, callers[len(callers)-1], id)
	}
}

// runOrder starts one workflow and waits for it, at whichever node answers. A
// start that is repeated because its answer was lost finds itself.
func runOrder(ctx context.Context, callers []client.Client, first int, id string) error {
	for attempt := first; ; attempt++ {
		c := callers[attempt%len(callers)]
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		run, err := c.ExecuteWorkflow(try, client.StartWorkflowOptions{
			ID: id, TaskQueue: nodeQueue, WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
		}, "order", id)
		var result string
		if err == nil {
			err = run.Get(try, &result)
		}
		cancel()
		switch {
		case err == nil && result == "reserve "+id+", ship "+id:
			return nil
		case err == nil:
			return fmt.Errorf("result %q", result)
		case ctx.Err() != nil:
			return err
		}
		var refused *serviceerror.PermissionDenied
		if errors.As(err, &refused) {
			return err
		}
	}
}

// requireOnce reads the history: one run, one completion, each activity
// completed once.
func requireOnce(ctx context.Context, t *testing.T, c client.Client, id string) {
	t.Helper()
	events := map[enumspb.EventType]int{}
	for i := c.GetWorkflowHistory(ctx, id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); i.HasNext(); {
		e, err := i.Next()
		require.NoError(t, err)
		events[e.EventType]++
		if started := e.GetWorkflowExecutionStartedEventAttributes(); started != nil {
			require.Empty(t, started.ContinuedExecutionRunId, "%s ran before", id)
			require.Equal(t, started.OriginalExecutionRunId, started.FirstExecutionRunId)
		}
	}
	require.Equal(t, 1, events[enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED], id)
	require.Equal(t, 1, events[enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED], id)
	require.Equal(t, 2, events[enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED], id)
	require.Equal(t, 1, events[enumspb.EVENT_TYPE_TIMER_FIRED], id)
}

// TestNodesRefuse starts nodes that must not join, each of which says why in
// one error and leaves nothing running.
func TestNodesRefuse(t *testing.T) {
	p := startPostgres(t)
	base := nodePorts(t)
	root := t.TempDir()
	first := newNode(t, p, filepath.Join(root, "first"), "127.0.0.5", base)
	other := newNode(t, p, filepath.Join(root, "other"), "127.0.0.6", base)
	refuse := func(want ...string) {
		t.Helper()
		out, err := other.tenon("server")
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, 1, exit.ExitCode())
		require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 2, "one error and one hint: %s", out)
		for _, w := range want {
			require.Contains(t, out, w)
		}
		require.NotContains(t, out, p.password)
		require.NoFileExists(t, filepath.Join(other.dir, "state", "endpoints.json"))
		l, err := net.Listen("tcp", net.JoinHostPort(other.ip, strconv.Itoa(base)))
		require.NoError(t, err, "the port is held")
		require.NoError(t, l.Close())
	}
	first.start()

	refuse("error: the node cannot join the cluster: ", " authority is not that of node 127.0.0.5", "hint: copy certs/ and payload.key")
	require.NoError(t, os.RemoveAll(filepath.Join(other.dir, "state", "certs")))
	require.NoError(t, os.CopyFS(filepath.Join(other.dir, "state", "certs"), os.DirFS(filepath.Join(first.dir, "state", "certs"))))
	for _, key := range []string{"ca.key", "internode-ca.key", "temporal-server.key", "temporal-client.key", "temporal-internode.key", "temporal-jwt-private.key"} {
		require.NoError(t, os.Chmod(filepath.Join(other.dir, "state", "certs", key), 0o600))
	}
	refuse("its payload key is not that of node 127.0.0.5", "hint: copy certs/ and payload.key")

	copyTrust(t, first, other)
	require.NoError(t, os.WriteFile(filepath.Join(other.dir, "password"), []byte("wrong-and-secret"), 0o600))
	refuse("user or password is refused", "hint: correct persistence.postgresql.user")
	require.NoError(t, os.Remove(filepath.Join(other.dir, "password")))
	refuse("error: persistence.postgresql.password: ", "hint: put the password where file:password says")
	require.NoError(t, os.WriteFile(filepath.Join(other.dir, "password"), []byte(p.password), 0o600))

	p.psql("temporal", "UPDATE schema_version SET curr_version = '99.0'")
	refuse("the database belongs to a newer version: its schema is at 99.0", "hint: run the version of tenon that wrote it")
	p.psql("temporal", "UPDATE schema_version SET curr_version = '1.19'")

	// A clock that is off by an hour.
	f, err := config.ReadFile(config.FileOptions{Path: other.config})
	require.NoError(t, err)
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		_, err = daemon.New(t.Context(), daemon.Config{
			DataDir: f.DataDir, Version: "test", File: f, Cluster: daemon.ClusterFromFile(f),
			Now: func() time.Time { return time.Now().Add(off) },
		})
		var e *config.Error
		require.ErrorAs(t, err, &e)
		if off > 0 {
			require.ErrorContains(t, err, "the node cannot join the cluster: ")
			require.ErrorContains(t, err, "this machine is 1h0m0s ahead of the database")
		} else {
			// Certificates that were made a moment ago are of the future then.
			require.ErrorContains(t, err, "a certificate is valid from ")
		}
		require.NotContains(t, err.Error(), "\n")
		require.Contains(t, e.Hint, "set the clock")
	}

	// A data directory of a newer version.
	stamp := filepath.Join(other.dir, "state", "version.json")
	was, err := os.ReadFile(stamp)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(stamp, []byte(`{"layout":99,"tenon":"9.9.9"}`), 0o600))
	refuse("was written by tenon 9.9.9, which is newer than this one")
	require.NoError(t, os.WriteFile(stamp, was, 0o600))

	// With all of it right, it joins: one role here, the rest there.
	out, err := other.tenon("server", "--services", "gateway")
	require.Error(t, err)
	require.Contains(t, out, `"gateway" is not one of frontend, internal-frontend`)
	other.start("--services", "history,matching")
	require.NoError(t, other.process.Process.Signal(os.Interrupt))
	require.NoError(t, other.process.Wait())
	require.NoError(t, first.process.Process.Signal(os.Interrupt))
	require.NoError(t, first.process.Wait())

	p.down()
	refuse("nothing answers there", "connection refused", "hint: start PostgreSQL, or correct persistence.postgresql.address")
}

// TestNodesRoles splits one cluster's roles over two processes.
func TestNodesRoles(t *testing.T) {
	p := startPostgres(t)
	base := nodePorts(t) + 1000
	root := t.TempDir()
	front := newNode(t, p, filepath.Join(root, "front"), "127.0.0.7", base)
	back := newNode(t, p, filepath.Join(root, "back"), "127.0.0.8", base)
	out, err := front.tenon("certs", "init")
	require.NoError(t, err, out)
	copyTrust(t, front, back)
	back.launch("--services", "history,matching,worker")
	front.start("--services", "frontend,internal-frontend")
	awaitFile(t, filepath.Join(back.dir, "state", "endpoints.json"))
	_, err = sdk.FromDataDir(filepath.Join(back.dir, "state"), sdk.Client)
	require.ErrorIs(t, err, sdk.ErrNotRunning, "there is no frontend there")

	w := worker.New(front.dial(sdk.Worker), nodeQueue, worker.Options{})
	w.RegisterWorkflowWithOptions(order, workflow.RegisterOptions{Name: "order"})
	w.RegisterActivityWithOptions(func(_ context.Context, s string) (string, error) { return s, nil }, activity.RegisterOptions{Name: "step"})
	require.NoError(t, w.Start())
	defer w.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := front.dial(sdk.Client)
	require.NoError(t, runOrder(ctx, []client.Client{c}, 0, "split"))
	requireOnce(ctx, t, c, "split")

	// The interfaces of one role are on its node alone.
	for _, role := range []struct {
		ip   string
		port int
		open bool
	}{{front.ip, base, true}, {front.ip, base + 1, false}, {back.ip, base, false}, {back.ip, base + 1, true}, {back.ip, base + 3, false}} {
		conn, err := net.Dial("tcp", net.JoinHostPort(role.ip, strconv.Itoa(role.port)))
		require.Equal(t, role.open, err == nil, "%s:%d", role.ip, role.port)
		if err == nil {
			require.NoError(t, conn.Close())
		}
	}
}
