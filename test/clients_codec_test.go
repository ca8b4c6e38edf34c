package test

import (
	"encoding/base64"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/token"
	"github.com/tenonhq/tenon/sdk"
)

// revocationReaches is the longest that a revoked token may still serve.
const revocationReaches = 10 * time.Second

// TestCodecServer shows a history to the stock CLI with and without the codec
// server, as callers with different roles.
func TestCodecServer(t *testing.T) {
	t.Parallel()
	r := startUp(t)
	cli := r.stock(t)
	// Go programs find the roots to trust for HTTPS there, the stock CLI included.
	cli.env = append(cli.env, "SSL_CERT_FILE="+filepath.Join(r.dir, "certs", "ca.crt"))

	cfg, err := sdk.FromDataDir(r.dir, sdk.Client)
	require.NoError(t, err)
	c, err := sdk.Dial(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	const secretOrder = "order of ada@example.com"
	// In JSON the CLI shows a payload's data as base64, decrypted or not.
	reveals := func(shown string) bool {
		return strings.Contains(shown, base64.StdEncoding.EncodeToString([]byte(`"`+secretOrder+`"`))) || strings.Contains(shown, secretOrder)
	}
	_, err = c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "order-1", TaskQueue: "orders", Memo: map[string]any{"note": secretOrder}}, "OrderWorkflow", secretOrder)
	require.NoError(t, err)

	server := newProgram(t, nil, "tenon", "codec", "--data-dir", r.dir, "--listen", "127.0.0.1:0", "--allow-origin", "https://ui.example:8233", "-o", "name")
	server.cmd.Dir = t.TempDir()
	server.run().await("https://127.0.0.1:")
	endpoint := strings.TrimSpace(server.output.String())

	show := func(command, bearer string, more ...string) (string, string, error) {
		t.Helper()
		args := []string{"workflow", command, "--workflow-id", "order-1", "-o", "json"}
		if bearer != "" {
			args = append(args, "--codec-endpoint", endpoint, "--codec-auth", "Bearer "+bearer)
		}
		return cli.run(t, append(args, more...)...)
	}
	as := func(subject string, role token.Role, namespace string) string {
		t.Helper()
		_, raw := r.tokenIn(t, subject, role, namespace)
		return raw.Reveal()
	}

	// Without it, ciphertext.
	stdout, _, err := show("show", "")
	require.NoError(t, err)
	require.False(t, reveals(stdout), stdout)
	require.Contains(t, stdout, "YmluYXJ5L2VuY3J5cHRlZA", "binary/encrypted in base64")

	// A reader of the namespace reads.
	stdout, stderr, err := show("show", as("auditor", token.RoleReader, daemon.Namespace))
	require.NoError(t, err, stderr)
	require.True(t, reveals(stdout), stdout)
	// Memos are payloads too.
	stdout, stderr, err = show("describe", as("auditor", token.RoleReader, daemon.Namespace))
	require.NoError(t, err, stderr)
	require.True(t, reveals(stdout), stdout)

	// Those who may not, do not; the call to the cluster itself is a client's
	// every time. The CLI asks again until its time is up, and does not say why: so
	// does the protocol itself.
	web, err := (&stack{dir: r.dir}).http()
	require.NoError(t, err)
	ask := func(bearer string) error {
		remote := converter.NewRemotePayloadCodec(converter.RemotePayloadCodecOptions{Endpoint: endpoint, Client: *web, ModifyRequest: func(req *http.Request) error {
			req.Header.Set("X-Namespace", daemon.Namespace)
			req.Header.Set("Authorization", "Bearer "+bearer)
			return nil
		}})
		_, err := remote.Decode([]*commonpb.Payload{{}})
		return err
	}
	require.NoError(t, ask(as("auditor", token.RoleReader, daemon.Namespace)))
	for name, refused := range map[string]struct{ bearer, told string }{
		"another namespace": {as("stranger", token.RoleAdmin, "billing"), "Forbidden: missing role: reader\n"},
		"a worker":          {as("polling", token.RoleWorker, daemon.Namespace), "Forbidden: missing role: reader\n"},
		"forged":            {as("forger", token.RoleReader, daemon.Namespace) + "x", "Unauthorized: the token is refused\n"},
	} {
		require.EqualError(t, ask(refused.bearer), refused.told, name)
		stdout, _, err := show("describe", refused.bearer, "--command-timeout", "3s")
		require.Error(t, err, name)
		require.False(t, reveals(stdout), name)
	}
	// Revoked is refused within seconds, while the server runs.
	raw, claims, err := r.issuer(t).Issue(t.Context(), token.IssueRequest{Subject: "leaver", Role: token.RoleReader, Namespace: daemon.Namespace})
	require.NoError(t, err)
	require.NoError(t, ask(raw.Reveal()))
	r.tenon(t, "tokens", "revoke", "--", claims.ID)
	require.Eventually(t, func() bool { return ask(raw.Reveal()) != nil }, revocationReaches, revocationReaches/100)

	// What the CLI starts through it is encrypted, and the SDK reads it.
	_, stderr, err = cli.run(t, "workflow", "start", "--type", "OrderWorkflow", "--task-queue", "orders", "--workflow-id", "order-2", "--input", `"`+secretOrder+`"`,
		"--codec-endpoint", endpoint+"/{namespace}", "--codec-auth", "Bearer "+as("starter", token.RoleClient, daemon.Namespace), "-o", "json")
	require.NoError(t, err, stderr)
	require.False(t, reveals(cli.must(t, "workflow", "show", "--workflow-id", "order-2", "-o", "json")))
	history := c.GetWorkflowHistory(t.Context(), "order-2", "", false, 0)
	require.True(t, history.HasNext())
	event, err := history.Next()
	require.NoError(t, err)
	var order string
	opts, err := sdk.Options(cfg)
	require.NoError(t, err)
	require.NoError(t, opts.DataConverter.FromPayloads(event.GetWorkflowExecutionStartedEventAttributes().Input, &order))
	require.Equal(t, secretOrder, order)

	// A browser's preflight, through TLS.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, endpoint+"/decode", nil)
	require.NoError(t, err)
	req.Header.Set("Origin", "https://ui.example:8233")
	res, err := web.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, "https://ui.example:8233", res.Header.Get("Access-Control-Allow-Origin"))

	// Who asked for what stands in an audit log of its own, which the same command
	// verifies.
	server.stop()
	require.NoError(t, server.err)
	own := filepath.Join(r.dir, "codec")
	verdicts := func(subject string) (found []audit.Verdict) {
		for _, rec := range auditRecords(t, own, subject) {
			require.True(t, strings.HasPrefix(rec.API, "codec/"), rec.API)
			found = append(found, rec.Verdict)
		}
		return found
	}
	require.Contains(t, verdicts("auditor"), audit.Allow)
	require.NotContains(t, verdicts("auditor"), audit.Deny)
	require.Contains(t, verdicts("stranger"), audit.Deny)
	require.Contains(t, verdicts("polling"), audit.Deny)
	require.NotContains(t, verdicts("stranger"), audit.Allow)
	require.Empty(t, verdicts("forger"), "a forged token names nobody")
	require.Contains(t, verdicts(""), audit.Unauthenticated)
	require.Contains(t, verdicts("leaver"), audit.Unauthenticated)
	out, err := tenon(t, "audit", "verify", "--data-dir", own).Output()
	require.NoError(t, err, "%s", out)
}
