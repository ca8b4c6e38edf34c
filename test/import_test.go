package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/workflows"
)

// process is a command that is started again after it was killed.
type process struct {
	t    *testing.T
	args []string
	env  []string
	cmd  *exec.Cmd
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command("tenon", p.args...)
	p.cmd.Env = append(os.Environ(), p.env...)
	require.NoError(p.t, p.cmd.Start())
}

func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

// TestUserImportSurvives imports users while the worker and the tenant are killed
// every second or two. Every good row becomes one user with the role, and every
// bad row is listed once with its reason. TENON_IMPORT_ROWS sets the number.
func TestUserImportSurvives(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	n := 6000
	if text := os.Getenv("TENON_IMPORT_ROWS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	file := filepath.Join(t.TempDir(), "users.csv")
	bad := writeUsers(t, file, n)

	// The tenant, at a port that stays the same over its lives.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	simDir := filepath.Join(t.TempDir(), "sim")
	sim := &process{t: t, args: []string{"auth0-sim", "--data-dir", simDir, "--listen", address}}
	sim.start()
	defer func() { sim.kill() }()
	awaitFile(t, filepath.Join(simDir, "endpoints.json"))
	e, err := config.ReadEndpoints(simDir)
	require.NoError(t, err)
	tenant := &stack{dir: simDir, endpoints: *e}
	require.NoError(t, tenant.manage("POST", "connections", map[string]any{"name": "Bulk", "strategy": "auth0"}, nil))
	require.NoError(t, tenant.manage("POST", "roles", map[string]any{"name": "member"}, nil))

	s := startCluster(t)
	secret, err := os.ReadFile(e.Auth0.ClientSecretFile)
	require.NoError(t, err)
	env := filepath.Join(t.TempDir(), "tenant.env")
	require.NoError(t, os.WriteFile(env, []byte("AUTH0_DOMAIN="+e.Auth0.Domain+"\nAUTH0_CLIENT_ID="+e.Auth0.ClientID+"\nAUTH0_CLIENT_SECRET="+strings.TrimSpace(string(secret))+"\n"), 0o600))
	worker := &process{t: t, args: []string{"worker", "--data-dir", s.dir, "--env-file", env}, env: []string{"SSL_CERT_FILE=" + e.Auth0.CA}}
	worker.start()
	defer func() { worker.kill() }()

	name, err := daemon.StageImport(t.Context(), s.dir, file)
	require.NoError(t, err)
	run, err := s.client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: workflows.UserImportID(e.Auth0.Domain, "Bulk", name), TaskQueue: workflows.TaskQueue},
		workflows.TypeUserImport, workflows.UserImportInput{Tenant: e.Auth0.Domain, Connection: "Bulk", File: name, Roles: []string{"member"}})
	require.NoError(t, err)

	var result workflows.UserImportResult
	done := make(chan error, 1)
	go func() { done <- run.Get(t.Context(), &result) }()
	kills, most := 0, 3+n/2000
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case err := <-done:
			require.NoError(t, err)
			waiting = false
		case <-tick.C:
			if kills == most {
				continue // the rest in peace
			}
			if kills++; kills%2 == 0 {
				sim.kill()
				sim.start()
			} else {
				worker.kill()
				worker.start()
			}
		}
	}
	t.Logf("%d rows, %d kills, %d jobs: %d inserted, %d failed %v", n, kills, result.Jobs, result.Inserted, result.Failed, result.Codes)
	require.GreaterOrEqual(t, kills, 2, "it was over before both were killed")
	require.Equal(t, n, result.Rows)
	require.Equal(t, len(bad), result.Failed)
	require.Equal(t, n-len(bad), result.Inserted)

	// Each bad row once, with its reason.
	f, err := os.Open(result.Failures)
	require.NoError(t, err)
	defer f.Close()
	listed := map[int]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var row struct {
			Row    int
			Code   string
			Reason string
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &row))
		require.False(t, listed[row.Row], "row %d is listed twice", row.Row)
		listed[row.Row] = true
		require.Contains(t, bad, row.Row)
		require.Equal(t, bad[row.Row], row.Code, row.Reason)
		require.NotEmpty(t, row.Reason)
	}
	require.Len(t, listed, len(bad))

	// Each good row once, with the role. Nobody else is in the tenant.
	var held struct {
		Families map[string]int `json:"families"`
	}
	tenant.control(t, "GET", "objects", nil, &held)
	require.Equal(t, n-len(bad), held.Families["users"])
	require.Equal(t, n-len(bad), held.Families["users/roles"])
}

// writeUsers writes n rows, of which one in a hundred is bad in one of the ways
// that bad rows are, and returns the code of each bad row by number.
func writeUsers(t *testing.T, path string, n int) map[int]string {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	w := bufio.NewWriter(f)
	_, err = fmt.Fprint(w, "\ufeffemail,name,user_metadata.note\r\n")
	require.NoError(t, err)
	bad := map[int]string{}
	for i := 1; i <= n; i++ {
		line := fmt.Sprintf("user%d@bulk.example,\"User, %d\",\"two\nlines\"", i, i)
		switch i % 300 {
		case 100:
			line, bad[i] = fmt.Sprintf("user%d-at-bulk.example,x,", i), "FORMAT"
		case 200:
			line, bad[i] = fmt.Sprintf("user%d@bulk.example,again,", i-1), "DUPLICATED_USER"
		case 0:
			line, bad[i] = ",nobody,", "INVALID_ROW"
		}
		_, err := fmt.Fprint(w, line+"\r\n")
		require.NoError(t, err)
	}
	require.NoError(t, w.Flush())
	require.NoError(t, f.Close())
	return bad
}
