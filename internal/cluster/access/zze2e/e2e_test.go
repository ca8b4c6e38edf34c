package zze2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/tenonhq/tenon/internal/cluster"
	"github.com/tenonhq/tenon/internal/cluster/access"
	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/token"
)

func Hello(ctx workflow.Context, child bool) (string, error) {
	if child {
		var r string
		return "child", workflow.ExecuteChildWorkflow(ctx, Hello, false).Get(ctx, &r)
	}
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 5 * time.Second})
	var out string
	err := workflow.ExecuteActivity(ctx, Greet).Get(ctx, &out)
	return out, err
}
func Greet(context.Context) (string, error) { return "hi", nil }

func TestE2E(t *testing.T) {
	dir := t.TempDir()
	iss, err := token.OpenIssuer(token.IssuerConfig{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, iss.Init(context.Background()))
	v, err := token.NewVerifier(token.VerifierConfig{Issuers: []token.IssuerTrust{iss.Trust()}, Revocations: iss.Revocations()})
	require.NoError(t, err)
	al, err := audit.Open(audit.Config{Dir: filepath.Join(dir, "audit"), KeyFile: filepath.Join(dir, "audit.key")})
	require.NoError(t, err)
	actx, acancel := context.WithCancel(context.Background())
	adone := make(chan error, 1)
	go func() { adone <- al.Run(actx) }()
	ac, err := access.New(access.Config{Verifier: v, Audit: al})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	go iss.Run(ctx)
	go v.Run(ctx)
	go ac.Run(ctx)
	s, err := cluster.New(cluster.Config{Frontend: "127.0.0.1:0", Persistence: cluster.Persistence{Memory: true}, Access: ac, Insecure: true,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Namespaces: []cluster.Namespace{{Name: "default"}, {Name: "other"}}})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	dial := func(file string) client.Client {
		c, err := client.Dial(client.Options{HostPort: s.Address(), HeadersProvider: token.FileSource(filepath.Join(dir, file))})
		require.NoError(t, err)
		return c
	}
	_, err = client.Dial(client.Options{HostPort: s.Address()})
	fmt.Println("no token:", err)
	require.Error(t, err)
	wc := dial(token.WorkerTokenFile)
	w := worker.New(wc, "q", worker.Options{})
	w.RegisterWorkflow(Hello)
	w.RegisterActivity(Greet)
	require.NoError(t, w.Start())
	cc := dial(token.ClientTokenFile)
	run, err := cc.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "w1", TaskQueue: "q"}, Hello, true)
	require.NoError(t, err)
	var out string
	require.NoError(t, run.Get(ctx, &out))
	fmt.Println("result", out)
	it := cc.GetWorkflowHistory(ctx, "w1", "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for it.HasNext() {
		e, err := it.Next()
		require.NoError(t, err)
		fmt.Println(e.EventType, e.GetPrincipal())
	}
	err = cc.TerminateWorkflow(ctx, "w1", "", "x")
	fmt.Println("terminate:", err)
	_, err = wc.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "w2", TaskQueue: "q"}, Hello, true)
	fmt.Println("worker start:", err)
	_, err = cc.WorkflowService().PollWorkflowTaskQueue(ctx, &workflowservice.PollWorkflowTaskQueueRequest{Namespace: "default"})
	fmt.Println("client poll:", err)
	_, err = cc.WorkflowService().RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{Namespace: "x"})
	fmt.Println("client ns:", err)
	raw, _, err := iss.Issue(ctx, token.IssueRequest{Subject: "ann", Role: token.RoleReader, Namespace: "other"})
	require.NoError(t, err)
	tf := filepath.Join(dir, "ann")
	require.NoError(t, os.WriteFile(tf, []byte(raw.Reveal()), 0o600))
	ann := dial("ann")
	l, err := ann.WorkflowService().ListNamespaces(ctx, &workflowservice.ListNamespacesRequest{})
	require.NoError(t, err)
	for _, n := range l.Namespaces {
		fmt.Println("ann sees", n.NamespaceInfo.Name)
	}
	_, err = ann.WorkflowService().GetClusterInfo(ctx, &workflowservice.GetClusterInfoRequest{})
	require.NoError(t, err)
	// schedules run by the server's own workers
	_, err = cc.ScheduleClient().Create(ctx, client.ScheduleOptions{ID: "s", Spec: client.ScheduleSpec{}, Action: &client.ScheduleWorkflowAction{ID: "sw", Workflow: Hello, Args: []any{false}, TaskQueue: "q"}, TriggerImmediately: true})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		d, err := cc.ScheduleClient().GetHandle(ctx, "s").Describe(ctx)
		return err == nil && len(d.Info.RecentActions) == 1
	}, 20*time.Second, 200*time.Millisecond)
	// rotation under load
	fails := 0
	stop := time.After(6 * time.Second)
	n := 0
	for i := 0; ; i++ {
		select {
		case <-stop:
			goto end
		default:
		}
		if i%400 == 200 {
			require.NoError(t, iss.Rotate(ctx))
		}
		if _, err := cc.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: "default"}); err != nil {
			fails++
			fmt.Println(err)
		}
		n++; time.Sleep(time.Millisecond)
	}
end:
	fmt.Println("calls", n, "failed", fails)
	w.Stop()
	cancel()
	require.NoError(t, <-done)
	acancel()
	require.NoError(t, <-adone)
	pub, err := audit.ReadPublicKey(filepath.Join(dir, "audit.pub"))
	require.NoError(t, err)
	rep, err := audit.Verify(audit.VerifyConfig{Dir: filepath.Join(dir, "audit"), HeadFile: filepath.Join(dir, "audit-head.json"), PublicKey: pub})
	require.NoError(t, err)
	fmt.Println("audit", rep.Records, rep.Findings)
	audit.Tail(context.Background(), filepath.Join(dir, "audit"), 4000, false, func(r *audit.Record) bool { return r.Verdict != audit.Allow || r.Count > 0 }, func(r *audit.Record) error {
		fmt.Println(r.Verdict, r.API, r.Namespace, r.Target, r.Subject, r.Reason, r.Count)
		return nil
	})
}
