package test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/config"
)

// deployCLIData holds the lock file of Auth0's deploy CLI and the tenant that
// the tests seed.
const deployCLIData = "testdata/deploycli"

// deployCLI is Auth0's own deploy CLI, as installed by npm.
type deployCLI struct {
	node, script string
	excluded     string // AUTH0_EXCLUDED, a JSON list; default none
}

// installDeployCLI installs the locked version of the deploy CLI into the user's
// cache once, and skips the test where npm or a Node.js that can run it is absent.
func installDeployCLI(t *testing.T) deployCLI {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not installed")
	}
	version, err := exec.Command(node, "--version").Output()
	require.NoError(t, err)
	if !nodeAtLeast(string(version), 20, 19) {
		t.Skipf("node %s is older than 20.19, which auth0-deploy-cli needs", bytes.TrimSpace(version))
	}
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	hash := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := os.ReadFile(filepath.Join(deployCLIData, name))
		require.NoError(t, err)
		hash.Write(content)
	}
	into := filepath.Join(cache, "tenon-test", "deploycli-"+hex.EncodeToString(hash.Sum(nil)[:8]))
	cli := deployCLI{node: node, script: filepath.Join(into, "node_modules", "auth0-deploy-cli", "lib", "index.js")}
	if _, err := os.Stat(cli.script); err == nil {
		return cli
	}

	// Installed beside and renamed, so that a half-done installation is never used.
	require.NoError(t, os.MkdirAll(filepath.Dir(into), 0o700))
	beside, err := os.MkdirTemp(filepath.Dir(into), "installing-")
	require.NoError(t, err)
	defer os.RemoveAll(beside)
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := os.ReadFile(filepath.Join(deployCLIData, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(beside, name), content, 0o600))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = beside
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("npm cannot install auth0-deploy-cli: %v\n%s", err, out)
	}
	if err := os.Rename(beside, into); err != nil {
		require.FileExists(t, cli.script, "%v", err) // another test run was first
	}
	return cli
}

// nodeAtLeast compares what "node --version" prints.
func nodeAtLeast(version string, major, minor int) bool {
	parts := strings.Split(strings.TrimPrefix(strings.TrimSpace(version), "v"), ".")
	if len(parts) < 2 {
		return false
	}
	have, err := strconv.Atoi(parts[0])
	if err != nil || have != major {
		return err == nil && have > major
	}
	have, err = strconv.Atoi(parts[1])
	return err == nil && have >= minor
}

// placeholders are the values of the secrets in the seeded tenant: an export
// has markers in their place, which an import replaces.
const placeholders = `{"CONNECTIONS_GOOGLE_OAUTH2_SECRET": "google-secret", "CONNECTIONS_OIDC_SECRET": "partner-secret", "SMTP_USER": "acme",
	"SMTP_PASS": "mail-secret", "LOGSTREAMS_HTTP_SECRET": "log-secret", "EVENT_STREAM_WEBHOOK_BEARER_TOKEN": "hook-secret"}`

// run runs one command of the deploy CLI against a simulator.
func (c deployCLI) run(t *testing.T, s *stack, allowDelete bool, args ...string) {
	t.Helper()
	secret, err := os.ReadFile(s.endpoints.Auth0.ClientSecretFile)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.node, append([]string{c.script}, args...)...)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir,
		"NODE_EXTRA_CA_CERTS=" + s.endpoints.Auth0.CA,
		// Node gives each address of localhost a quarter of a second to connect,
		// which the tool can miss: it compiles schemas for many seconds first.
		"NODE_OPTIONS=--dns-result-order=ipv4first --no-network-family-autoselection",
		"AUTH0_DOMAIN=" + s.endpoints.Auth0.Domain, "AUTH0_CLIENT_ID=" + s.endpoints.Auth0.ClientID, "AUTH0_CLIENT_SECRET=" + string(secret),
		"AUTH0_ALLOW_DELETE=" + strconv.FormatBool(allowDelete), "AUTH0_KEYWORD_REPLACE_MAPPINGS=" + placeholders,
	}
	if c.excluded != "" {
		cmd.Env = append(cmd.Env, "AUTH0_EXCLUDED="+c.excluded)
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "a0deploy %s:\n%s", strings.Join(args, " "), out)
}

// startSimulator runs "tenon auth0-sim" as a process of its own.
func startSimulator(t *testing.T) *stack {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	cmd := exec.CommandContext(t.Context(), "tenon", "auth0-sim", "--memory", "--listen", "127.0.0.1:0", "--data-dir", dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		// The test's context is done by now, and has interrupted the process.
		if err := cmd.Wait(); t.Failed() {
			t.Logf("tenon auth0-sim: %v\n%s", err, output.String())
		}
	})
	awaitFile(t, filepath.Join(dir, config.EndpointsFile))
	endpoints, err := config.ReadEndpoints(dir)
	require.NoError(t, err)
	require.NotNil(t, endpoints.Auth0, fmt.Sprint(endpoints))
	return &stack{dir: dir, endpoints: *endpoints}
}
