package cluster_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/tenonhq/tenon/internal/cluster"
)

// testNamespaces are two, so that a test sees more than the default.
var testNamespaces = []cluster.Namespace{
	{Name: "default", SearchAttributes: map[string]enumspb.IndexedValueType{
		"Tenant": enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"Region": enumspb.INDEXED_VALUE_TYPE_KEYWORD,
		"Risk":   enumspb.INDEXED_VALUE_TYPE_INT,
	}},
	{Name: "other", Retention: 48 * time.Hour},
}

func greet(_ context.Context, name string) (string, error) { return "hello " + name, nil }

// greeting is a workflow of one activity; with wait, it then waits for a
// signal.
func greeting(ctx workflow.Context, name string, wait bool) (string, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 10 * time.Second})
	var text string
	if err := workflow.ExecuteActivity(ctx, "greet", name).Get(ctx, &text); err != nil {
		return "", err
	}
	if wait {
		workflow.GetSignalChannel(ctx, "go").Receive(ctx, nil)
	}
	return text, nil
}

// startWorker runs a worker for the greeting until the test ends or stop is
// called.
func startWorker(t *testing.T, c client.Client, queue string) (stop func()) {
	t.Helper()
	w := worker.New(c, queue, worker.Options{WorkerStopTimeout: time.Second})
	w.RegisterWorkflowWithOptions(greeting, workflow.RegisterOptions{Name: "greeting"})
	w.RegisterActivityWithOptions(greet, activity.RegisterOptions{Name: "greet"})
	require.NoError(t, w.Start())
	return w.Stop
}

// awaitSignal returns when the greeting has come to wait for its signal.
func awaitSignal(t *testing.T, c client.Client, run client.WorkflowRun) {
	t.Helper()
	history := c.GetWorkflowHistory(t.Context(), run.GetID(), run.GetRunID(), true, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for tasks := 0; tasks < 2; {
		event, err := history.Next()
		require.NoError(t, err)
		if event.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_COMPLETED {
			tasks++
		}
	}
}

func TestWorkflowRuns(t *testing.T) {
	c, err := dial(t, shared.address, shared.tls, &shared.tls.client, goodToken)
	require.NoError(t, err)
	defer startWorker(t, c, "runs")()

	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: "runs"}, "greeting", "ada", false)
	require.NoError(t, err)
	var text string
	require.NoError(t, run.Get(t.Context(), &text))
	require.Equal(t, "hello ada", text)

	// The identity that the server verified is in the history.
	history := c.GetWorkflowHistory(t.Context(), run.GetID(), run.GetRunID(), false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	first, err := history.Next()
	require.NoError(t, err)
	require.Equal(t, "alice", first.GetPrincipal().GetName())
	require.Equal(t, "jwt", first.GetPrincipal().GetType())
}

func TestNamespacesExist(t *testing.T) {
	c, err := dial(t, shared.address, shared.tls, &shared.tls.client, goodToken)
	require.NoError(t, err)
	for name, retention := range map[string]time.Duration{"default": cluster.DefaultRetention, "other": 48 * time.Hour} {
		ns, err := c.WorkflowService().DescribeNamespace(t.Context(), &workflowservice.DescribeNamespaceRequest{Namespace: name})
		require.NoError(t, err)
		require.Equal(t, retention, ns.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration())
	}
	attributes, err := c.OperatorService().ListSearchAttributes(t.Context(), &operatorservice.ListSearchAttributesRequest{Namespace: "default"})
	require.NoError(t, err)
	require.Equal(t, testNamespaces[0].SearchAttributes, attributes.GetCustomAttributes())
}

func TestCallerIsRefused(t *testing.T) {
	foreign, err := newFakeTLS()
	require.NoError(t, err)
	internode := shared.tls.internodeShared

	handshakes := map[string]*tls.Certificate{
		"no certificate":                nil,
		"certificate of another CA":     &foreign.client,
		"certificate of the other ring": &internode,
	}
	for name, cert := range handshakes {
		t.Run(name, func(t *testing.T) {
			err := shake(shared.address, clientTLS(cert, shared.tls.clients.pool, "temporal-server"))
			requireAlert(t, err)
		})
	}

	t.Run("plaintext", func(t *testing.T) {
		_, err := dial(t, shared.address, nil, nil, goodToken)
		require.Error(t, err)
	})
	for name, token := range map[string]string{"no token": "", "wrong token": "Bearer bad"} {
		t.Run(name, func(t *testing.T) {
			// Dialling asks for the system info, which the fake denies too.
			_, err := dial(t, shared.address, shared.tls, &shared.tls.client, token)
			var denied *serviceerror.PermissionDenied
			require.ErrorAs(t, err, &denied)
		})
	}
}

// requireAlert requires that the server ended a handshake.
func requireAlert(t *testing.T, err error) {
	t.Helper()
	var alert *net.OpError
	require.ErrorAs(t, err, &alert)
	require.Equal(t, "remote error", alert.Op)
}

// shake connects, and reads once: in TLS 1.3 a client learns from its first
// read that it was refused.
func shake(address string, cfg *tls.Config) (err error) {
	cfg.NextProtos = []string{"h2"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", address, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

func TestInnerPortsAreClosed(t *testing.T) {
	f := shared.tls
	s := start(t, cluster.Config{
		Frontend: "127.0.0.1:0", Persistence: cluster.Persistence{Memory: true}, TLS: f, Access: fakeAccess{},
	})
	ports := cluster.InnerAddresses(s.Server)
	require.Len(t, ports, 4)
	for service, address := range ports {
		t.Run(service, func(t *testing.T) {
			host, _, err := net.SplitHostPort(address)
			require.NoError(t, err)
			require.True(t, net.ParseIP(host).IsLoopback())

			for name, cert := range map[string]*tls.Certificate{"client": &f.client, "frontend server": &f.server, "none": nil} {
				t.Log(name)
				requireAlert(t, shake(address, clientTLS(cert, f.internode.pool, "temporal-internode")))
			}
			// And it does serve those that it is for.
			require.NoError(t, shake(address, clientTLS(&f.internodeShared, f.internode.pool, "temporal-internode")))
		})
	}
}

func TestSecondStartContinues(t *testing.T) {
	cfg := cluster.Config{
		Frontend:    "127.0.0.1:0",
		Persistence: cluster.Persistence{SQLite: filepath.Join(t.TempDir(), "temporal.db")},
		TLS:         shared.tls, Access: fakeAccess{},
	}
	s := start(t, cfg)
	info, err := os.Stat(cfg.Persistence.SQLite)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	_, err = cluster.New(cfg)
	require.ErrorIs(t, err, cluster.ErrDatabaseInUse)

	c, err := dial(t, s.Address(), shared.tls, &shared.tls.client, goodToken)
	require.NoError(t, err)
	stopWorker := startWorker(t, c, "continues")
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: "continues"}, "greeting", "grace", true)
	require.NoError(t, err)
	awaitSignal(t, c, run)
	stopWorker()
	_, err = s.stop()
	require.NoError(t, err)
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		require.NoFileExists(t, cfg.Persistence.SQLite+suffix)
	}

	// A namespace gains what the next start asks for, and loses nothing.
	cfg.Namespaces = testNamespaces
	s = start(t, cfg)
	c, err = dial(t, s.Address(), shared.tls, &shared.tls.client, goodToken)
	require.NoError(t, err)
	attributes, err := c.OperatorService().ListSearchAttributes(t.Context(), &operatorservice.ListSearchAttributesRequest{Namespace: "default"})
	require.NoError(t, err)
	require.Equal(t, testNamespaces[0].SearchAttributes, attributes.GetCustomAttributes())

	defer startWorker(t, c, "continues")()
	require.NoError(t, c.SignalWorkflow(t.Context(), run.GetID(), run.GetRunID(), "go", nil))
	var text string
	require.NoError(t, c.GetWorkflow(t.Context(), run.GetID(), run.GetRunID()).Get(t.Context(), &text))
	require.Equal(t, "hello grace", text)
}

// A stop ends what waits instead of waiting for it: a worker that polls from
// another process, and a caller that awaits a result.
func TestStopIsQuick(t *testing.T) {
	s := start(t, cluster.Config{
		Frontend: "127.0.0.1:0", Persistence: cluster.Persistence{Memory: true}, TLS: shared.tls, Access: fakeAccess{},
	})
	c, err := dial(t, s.Address(), shared.tls, &shared.tls.client, goodToken)
	require.NoError(t, err)
	defer startWorker(t, c, "quick")()
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: "quick"}, "greeting", "alan", true)
	require.NoError(t, err)
	awaitSignal(t, c, run)
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		_ = run.Get(ctx, nil) // ends with an error, whichever comes first
	}()
	defer func() { cancel(); <-waited }()

	took, err := s.stop()
	require.NoError(t, err)
	t.Logf("stopped in %s", took)
	require.Less(t, took, 10*time.Second, "a poll waits for a minute")
}

func TestRunEndsBeforeItBegins(t *testing.T) {
	s, err := cluster.New(cluster.Config{
		Frontend: "127.0.0.1:0", Persistence: cluster.Persistence{Memory: true}, TLS: shared.tls, Access: fakeAccess{},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Run(ctx))
	// The port is free again.
	l, err := net.Listen("tcp", s.Address())
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// What would end the process ends Run: here, a port that is taken between New
// and Run.
func TestFatalConditionIsAnError(t *testing.T) {
	s, err := cluster.New(cluster.Config{
		Frontend: "127.0.0.1:0", Persistence: cluster.Persistence{Memory: true}, TLS: shared.tls, Access: fakeAccess{},
	})
	require.NoError(t, err)
	address := s.Address()
	require.NoError(t, cluster.ReleasePorts(s))
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()

	err = s.Run(t.Context())
	var fatal *cluster.FatalError
	require.ErrorAs(t, err, &fatal)
	require.ErrorContains(t, err, "address already in use")
}
