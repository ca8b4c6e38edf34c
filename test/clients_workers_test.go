package test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/sdk"
)

// language is an example of docs/workers.md that can be run here.
type language struct {
	worker []string // command line of the worker
	client func(order string) []string
	// renewed is what the worker prints when it has taken over a new token; "" if
	// it looks whenever it calls.
	renewed string
	// connects is what it prints when it connects anew with a new certificate; ""
	// if it does so without a word.
	connects string
}

// TestGoExample runs examples/workers/go.
func TestGoExample(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "example")
	build := exec.Command("go", "build", "-o", binary, "./examples/workers/go")
	build.Dir = ".."
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	exerciseExample(t, language{
		worker: []string{binary, "worker"},
		client: func(order string) []string { return []string{binary, "client", order} },
	})
}

// TestTypeScriptExample runs examples/workers/typescript: the official SDK from
// npm, whose core is not Go's.
func TestTypeScriptExample(t *testing.T) {
	t.Parallel()
	dir := typeScriptExample(t)
	exerciseExample(t, language{
		worker:   []string{"node", filepath.Join(dir, "lib", "worker.js")},
		client:   func(order string) []string { return []string{"node", filepath.Join(dir, "lib", "client.js"), order} },
		renewed:  "token renewed",
		connects: "connecting anew",
	})
}

// exerciseExample is a worker with a worker's certificate and token, and a client
// with a client's: the one runs what the other started, neither can do the
// other's work, and the worker goes on when its token and its certificate are
// replaced and the old ones revoked.
func exerciseExample(t *testing.T, l language) {
	r := startUp(t)
	worker := r.identity(t, "orders-worker", "worker", "worker")
	caller := r.identity(t, "orders-api", "client", "client")

	w := newProgram(t, r.environment(t, worker), l.worker[0], l.worker[1:]...).run()
	w.await("ready")
	order := func(id string) {
		t.Helper()
		command := l.client(id)
		stdout, stderr, err := output(t, r.environment(t, caller), command[0], command[1:]...)
		require.NoError(t, err, "%s", stderr)
		require.Equal(t, "charged "+id+"\n", stdout)
	}
	order("1001")
	r.awaitRecord(t, "orders-worker", func(rec *audit.Record) bool {
		return rec.Verdict == audit.Allow && strings.HasSuffix(rec.API, "/RespondActivityTaskCompleted")
	})

	r.requireEncrypted(t, "order-1001")
	// What a Go program starts, and long enough to be compressed, every worker reads.
	r.requireExchange(t, strings.Repeat("of ada@example.com ", 300))

	// A worker starts nothing.
	command := l.client("1002")
	_, stderr, err := output(t, r.environment(t, worker), command[0], command[1:]...)
	require.Error(t, err)
	require.Contains(t, stderr, "Request unauthorized")
	r.requireDenied(t, "orders-worker", "StartWorkflowExecution")
	// A client is given no work, and so cannot answer in a worker's stead.
	idle := newProgram(t, r.environment(t, caller), l.worker[0], l.worker[1:]...).run()
	r.requireDenied(t, "orders-api", "PollWorkflowTaskQueue")
	r.requireDenied(t, "orders-api", "PollActivityTaskQueue")
	idle.stop()
	for _, rec := range r.records(t, "orders-api") {
		require.False(t, rec.Verdict == audit.Allow && strings.Contains(rec.API, "/Poll") && strings.HasSuffix(rec.API, "TaskQueue"), "a client polled: %s", rec.API)
	}

	// The token is replaced and the old one revoked, while the worker runs.
	old := worker.tokenID
	worker.tokenID = strings.TrimSpace(r.token(t, worker, "worker"))
	if l.renewed != "" {
		w.await(l.renewed)
	}
	// A poll lasts a minute: work is what makes the worker call.
	for n := 0; !r.served(t, worker.tokenID); n++ {
		require.Less(t, n, 20, "the worker goes on with the old token")
		order(fmt.Sprintf("1003-%d", n))
	}
	r.tenon(t, "tokens", "revoke", "--", old)
	order("1004")

	// So is the certificate, in the same way as a secret store would: by rename.
	fresh := r.identity(t, "orders-worker", "worker", "worker")
	for _, extension := range []string{".key", ".crt"} {
		data, err := os.ReadFile(fresh.file(extension))
		require.NoError(t, err)
		require.NoError(t, secret.WriteFile(worker.file(extension), data))
	}
	if l.connects != "" {
		w.await(l.connects)
		order("1005")
	}
}

// requireEncrypted looks at a history as whoever has no key does.
func (r *running) requireEncrypted(t *testing.T, workflowID string) {
	t.Helper()
	cfg, err := sdk.FromDataDir(r.dir, sdk.Client)
	require.NoError(t, err)
	cfg.PayloadKeyFile = ""
	c, err := sdk.Dial(t.Context(), cfg)
	require.NoError(t, err)
	defer c.Close()
	payloads := 0
	for history := c.GetWorkflowHistory(t.Context(), workflowID, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); history.HasNext(); {
		event, err := history.Next()
		require.NoError(t, err)
		text := event.String()
		require.NotContains(t, text, "charged")
		payloads += strings.Count(text, "binary/encrypted")
	}
	require.GreaterOrEqual(t, payloads, 4, "input and result of the workflow and of its activity")
}

// requireExchange runs a workflow from a Go program, whatever its worker is
// written in.
func (r *running) requireExchange(t *testing.T, order string) {
	t.Helper()
	cfg, err := sdk.FromDataDir(r.dir, sdk.Client)
	require.NoError(t, err)
	c, err := sdk.Dial(t.Context(), cfg)
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "exchange", TaskQueue: "orders"}, "OrderWorkflow", order)
	require.NoError(t, err)
	var result string
	require.NoError(t, run.Get(ctx, &result))
	require.Equal(t, "charged "+order, result)
	r.requireEncrypted(t, "exchange")
}

// served reports whether a token was let through.
func (r *running) served(t *testing.T, tokenID string) bool {
	t.Helper()
	return slices.ContainsFunc(r.records(t, "orders-worker"), func(rec *audit.Record) bool {
		return rec.TokenID == tokenID && rec.Verdict == audit.Allow
	})
}

// requireDenied waits for the record of a refused call.
func (r *running) requireDenied(t *testing.T, subject, method string) {
	t.Helper()
	r.awaitRecord(t, subject, func(rec *audit.Record) bool {
		return rec.Verdict == audit.Deny && strings.HasSuffix(rec.API, "/"+method) && strings.Contains(rec.Reason, "missing role")
	})
}

// typeScriptExample builds the example outside the repository and returns where.
func typeScriptExample(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	dir, err := buildTypeScriptExample()
	if err != nil && offline(err.Error()) {
		t.Skipf("npm cannot fetch the Temporal SDK offline: %v", err)
	}
	require.NoError(t, err)
	return dir
}

var buildTypeScriptExample = sync.OnceValues(func() (string, error) {
	source := filepath.Join("..", "examples", "workers", "typescript")
	files := []string{"package.json", "package-lock.json", "tsconfig.json"}
	code, err := filepath.Glob(filepath.Join(source, "src", "*.ts"))
	if err != nil {
		return "", err
	}
	for _, path := range code {
		files = append(files, filepath.Join("src", filepath.Base(path)))
	}
	content := make([][]byte, len(files))
	for i, name := range files {
		if content[i], err = os.ReadFile(filepath.Join(source, name)); err != nil {
			return "", err
		}
	}
	// What npm fetched is kept for as long as the lock file is the same.
	dir, err := cacheDir("typescript", content[0], content[1])
	if err != nil {
		return "", err
	}
	unlock, err := secret.TryLock(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock() //nolint:errcheck // the process ends anyway
	if err := os.MkdirAll(filepath.Join(dir, "src"), 0o700); err != nil {
		return "", err
	}
	for i, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content[i], 0o600); err != nil {
			return "", err
		}
	}
	npm := func(args ...string) error {
		cmd := exec.Command("npm", args...)
		cmd.Dir = dir
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("npm %s: %w: %s", args[0], err, out.String())
		}
		return nil
	}
	complete := filepath.Join(dir, "complete")
	if _, err := os.Stat(complete); err != nil {
		// The SDK's core comes as a file in its package; no package's script needs
		// to run, and none gets to.
		if err := npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"); err != nil {
			return "", err
		}
		if err := os.WriteFile(complete, nil, 0o600); err != nil {
			return "", err
		}
	}
	return dir, npm("run", "build")
})

// TestPythonExample checks that the Python source compiles; the package
// temporalio is not needed for that.
func TestPythonExample(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	sources, err := filepath.Glob("../examples/workers/python/*.py")
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	for _, source := range sources {
		_, stderr, err := output(t, append(bareEnvironment(t), "PYTHONDONTWRITEBYTECODE=1"), python, "-c",
			"import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1]); compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')", source)
		require.NoError(t, err, "%s", stderr)
	}
}
