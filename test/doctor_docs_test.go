package test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/token"
	"github.com/tenonhq/tenon/sdk"
)

// TestTroubleshooting brings about what each section of docs/troubleshooting.md
// is about, runs the section's commands as they stand there, and sees that they
// help.
func TestTroubleshooting(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/troubleshooting.md")
	require.NoError(t, err)
	sections := map[string]string{}
	for _, s := range strings.Split(string(text), "\n## ") {
		title, body, _ := strings.Cut(s, "\n")
		sections[title] = body
	}
	dir := t.TempDir()
	data := filepath.Join(dir, ".tenon")
	require.NoError(t, os.Mkdir(data, 0o700))
	s := start(t, daemon.Config{DataDir: data, Cluster: &daemon.ClusterConfig{Address: "127.0.0.1:0"}})

	exitCode := regexp.MustCompile(`# exit code (\d)`)
	run := func(title string) {
		t.Helper()
		require.Contains(t, sections, title)
		commands := 0
		for _, line := range codeLines(sections[title]) {
			if !strings.HasPrefix(line, "tenon ") && !strings.HasPrefix(line, "cp ") {
				continue
			}
			commands++
			want := 0
			if m := exitCode.FindStringSubmatch(line); m != nil {
				want, _ = strconv.Atoi(m[1]) // one digit
			}
			cmd := exec.Command("sh", "-c", line)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			got := 0
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				got = exit.ExitCode()
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, want, got, "%s: %s", line, out)
		}
		require.Positive(t, commands, title)
	}
	// connect is a client with what stands in the folder billing.
	connect := func(change ...func(*sdk.Config)) (client.Client, error) {
		cfg, err := sdk.FromDataDir(data, sdk.Client)
		require.NoError(t, err)
		for _, f := range change {
			f(&cfg)
		}
		c, err := sdk.Dial(t.Context(), cfg)
		if err == nil {
			t.Cleanup(c.Close)
			err = call(t.Context(), c)
		}
		return c, err
	}
	withToken := func(cfg *sdk.Config) { cfg.TokenFile = filepath.Join(dir, "billing", "token.jwt") }

	// All is well.
	title, _, _ := strings.Cut(string(text), "\n")
	run(title)

	for _, name := range []string{"temporal-client.crt", "temporal-client.key"} {
		require.NoError(t, os.Remove(filepath.Join(data, "certs", name)))
	}
	_, err = connect()
	require.ErrorContains(t, err, "temporal-client.crt: no such file or directory")
	run("Certificate not found")
	_, err = connect()
	require.NoError(t, err)
	withCertificate := func(name string) func(*sdk.Config) {
		return func(cfg *sdk.Config) {
			cfg.CertFile, cfg.KeyFile = filepath.Join(dir, name, name+".crt"), filepath.Join(dir, name, name+".key")
		}
	}
	_, err = connect(withCertificate("billing"))
	require.NoError(t, err)

	issuer, err := token.OpenIssuer(token.IssuerConfig{Dir: filepath.Join(data, "certs"), Now: func() time.Time { return time.Now().Add(-48 * time.Hour) }})
	require.NoError(t, err)
	raw, _, err := issuer.Issue(t.Context(), token.IssueRequest{Subject: "billing", Role: token.RoleClient, Namespace: daemon.Namespace})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "billing", "token.jwt"), []byte(raw.Reveal()), 0o600))
	_, err = connect(withToken)
	var denied *serviceerror.PermissionDenied
	require.ErrorAs(t, err, &denied)
	require.ErrorContains(t, err, "Request unauthorized.")
	run("Token expired")
	_, err = connect(withToken)
	require.NoError(t, err)

	// A client that trusts somebody else, one that nobody vouches for, and one that
	// calls the server by another name.
	other := newPatient(t)
	foreignRoot := func(cfg *sdk.Config) { cfg.CAFile = filepath.Join(dir, "billing", "billing-ca.crt") }
	other.copyFile(other.certs("ca.crt"), filepath.Join(dir, "billing", "billing-ca.crt"))
	_, err = connect(foreignRoot)
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	_, err = connect(func(cfg *sdk.Config) {
		cfg.CertFile, cfg.KeyFile = other.certs("temporal-client.crt"), other.certs("temporal-client.key")
	})
	requireHungUp(t, err, "tls: unknown certificate authority")
	_, err = connect(func(cfg *sdk.Config) { cfg.CertFile, cfg.KeyFile = "", "" })
	requireHungUp(t, err, "tls: certificate required")
	named := func(cfg *sdk.Config) { cfg.ServerName = "temporal.example.com" }
	_, err = connect(named)
	require.ErrorContains(t, err, "not temporal.example.com")
	run("Handshake failed")
	_, err = connect(foreignRoot)
	require.NoError(t, err)
	_, err = connect(withCertificate("invoices"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, err := connect(named); return err == nil }, 10*time.Second, 100*time.Millisecond, "the name is in the certificate within seconds")

	c, err := connect(withToken)
	require.NoError(t, err)
	require.ErrorAs(t, poll(t, c), &denied)
	run("Authorisation failed")
	c, err = sdk.Dial(t.Context(), func() sdk.Config {
		cfg, err := sdk.FromDataDir(data, sdk.Worker)
		require.NoError(t, err)
		withToken(&cfg)
		return cfg
	}())
	require.NoError(t, err)
	t.Cleanup(c.Close)
	require.False(t, errors.As(poll(t, c), &denied))

	s.stop()
	_, err = config.ReadEndpoints(data)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// requireHungUp checks an error of a handshake that the server refused. It comes
// with the server's reason, unless the client wrote into the closed connection
// before it read that.
func requireHungUp(t *testing.T, err error, reason string) {
	t.Helper()
	require.Error(t, err)
	text := err.Error()
	require.True(t, strings.Contains(text, reason) || strings.Contains(text, "broken pipe") || strings.Contains(text, "connection reset"), text)
}

// poll asks for an activity task, for two seconds.
func poll(t *testing.T, c client.Client) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := c.WorkflowService().PollActivityTaskQueue(ctx, &workflowservice.PollActivityTaskQueueRequest{
		Namespace: daemon.Namespace, TaskQueue: &taskqueuepb.TaskQueue{Name: "bills"},
	})
	return err
}
