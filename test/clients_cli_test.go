package test

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/secret"
)

// stock is the stock temporal CLI with a profile.
type stock struct {
	binary string
	env    []string
}

// stock returns the CLI with the profile that the cluster keeps.
func (r *running) stock(t *testing.T) *stock {
	t.Helper()
	return &stock{binary: stockCLI(t), env: append(bareEnvironment(t), "TEMPORAL_CONFIG_FILE="+filepath.Join(r.dir, "temporal.toml"))}
}

func (s *stock) run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return output(t, s.env, s.binary, append([]string{"--profile", daemon.Profile}, args...)...)
}

// must runs a command that has to work.
func (s *stock) must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, err := s.run(t, args...)
	require.NoError(t, err, "temporal %s: %s", strings.Join(args, " "), stderr)
	return stdout
}

// TestStockCLI is the temporal CLI as anyone has it, on the profile in the data
// directory.
func TestStockCLI(t *testing.T) {
	t.Parallel()
	r := startUp(t)
	cli := r.stock(t)

	require.Empty(t, cli.must(t, "workflow", "list", "--query", "WorkflowType='OrderWorkflow'"))
	cli.must(t, "workflow", "start", "--type", "OrderWorkflow", "--task-queue", "orders", "--workflow-id", "order-1", "--input", `"1001"`)
	require.Contains(t, cli.must(t, "workflow", "list"), "order-1")
	var described struct {
		WorkflowExecutionInfo struct {
			Status string
			Type   struct{ Name string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(cli.must(t, "workflow", "describe", "--workflow-id", "order-1", "-o", "json")), &described))
	require.Equal(t, "OrderWorkflow", described.WorkflowExecutionInfo.Type.Name)
	require.Equal(t, "WORKFLOW_EXECUTION_STATUS_RUNNING", described.WorkflowExecutionInfo.Status)
	cli.must(t, "workflow", "signal", "--workflow-id", "order-1", "--name", "paid")
	cli.must(t, "workflow", "cancel", "--workflow-id", "order-1")

	// What the client token must not, the system token may.
	create := []string{"operator", "namespace", "create", "--namespace", "billing"}
	_, stderr, err := cli.run(t, create...)
	require.Error(t, err)
	require.Contains(t, stderr, "Request unauthorized")
	_, _, err = cli.run(t, "workflow", "terminate", "--workflow-id", "order-1")
	require.Error(t, err, "terminating is an operator's")
	system, err := os.ReadFile(filepath.Join(r.dir, "certs", "system-token.jwt"))
	require.NoError(t, err)
	cli.must(t, append(create, "--api-key", strings.TrimSpace(string(system)))...)
	require.Contains(t, cli.must(t, "operator", "namespace", "list", "--api-key", strings.TrimSpace(string(system))), "billing")
	r.awaitRecord(t, "temporal-client", func(rec *audit.Record) bool {
		return rec.Verdict == audit.Deny && strings.HasSuffix(rec.API, "/RegisterNamespace") && rec.Namespace == "billing"
	})
	r.awaitRecord(t, "temporal-system", func(rec *audit.Record) bool {
		return rec.Verdict == audit.Allow && strings.HasSuffix(rec.API, "/RegisterNamespace") && rec.Namespace == "billing"
	})

	// A token without the certificate does not get through the handshake, and
	// neither does a certificate that another authority issued. Whether the
	// client still reads the server's alert is a race; the server's record is not.
	before := r.handshakesRefused(t)
	require.Zero(t, before)
	_, stderr, err = r.stockWith(t, func(tls map[string]any) {
		delete(tls, "client_cert_path")
		delete(tls, "client_key_path")
	}).run(t, "workflow", "list")
	require.Error(t, err)
	require.Contains(t, stderr, "failed reaching server")
	r.awaitHandshakeRefused(t, before)
	other := t.TempDir()
	certs, err := daemon.OpenCerts(other, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.NoError(t, certs.Init(t.Context()))
	before = r.handshakesRefused(t)
	_, stderr, err = r.stockWith(t, func(tls map[string]any) {
		tls["client_cert_path"] = filepath.Join(other, "certs", "temporal-client.crt")
		tls["client_key_path"] = filepath.Join(other, "certs", "temporal-client.key")
	}).run(t, "workflow", "list")
	require.Error(t, err)
	require.Contains(t, stderr, "failed reaching server")
	r.awaitHandshakeRefused(t, before)
	// And the CLI does not talk to a server of another authority.
	_, stderr, err = r.stockWith(t, func(tls map[string]any) {
		tls["server_ca_cert_path"] = filepath.Join(other, "certs", "ca.crt")
	}).run(t, "workflow", "list")
	require.Error(t, err)
	require.Contains(t, stderr, "unknown authority")

	// A profile without a token gets through the handshake, and no further.
	bare := r.stockWith(t, nil)
	_, stderr, err = bare.run(t, "workflow", "list", "--api-key", "nonsense")
	require.Error(t, err)
	require.Contains(t, stderr, "unauthorized")
}

// handshakesRefused counts them.
func (r *running) handshakesRefused(t *testing.T) (n int) {
	t.Helper()
	for _, rec := range r.records(t, "") {
		if rec.Verdict == audit.Unauthenticated && rec.API == "tls/frontend" {
			n++
		}
	}
	return n
}

// awaitHandshakeRefused waits for one more than there were.
func (r *running) awaitHandshakeRefused(t *testing.T, before int) {
	t.Helper()
	r.awaitRecord(t, "", func(*audit.Record) bool { return r.handshakesRefused(t) > before })
}

// stockWith is the CLI with a copy of the profile whose tls table is changed.
func (r *running) stockWith(t *testing.T, change func(tls map[string]any)) *stock {
	t.Helper()
	var file map[string]map[string]map[string]any
	_, err := toml.DecodeFile(filepath.Join(r.dir, "temporal.toml"), &file)
	require.NoError(t, err)
	if change != nil {
		change(file["profile"][daemon.Profile]["tls"].(map[string]any))
	}
	text, err := toml.Marshal(file)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "temporal.toml")
	require.NoError(t, secret.WriteFile(path, text))
	return &stock{binary: stockCLI(t), env: append(bareEnvironment(t), "TEMPORAL_CONFIG_FILE="+path)}
}
