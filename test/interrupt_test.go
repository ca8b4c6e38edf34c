package test

import (
	"encoding/json"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestInterruptedRunGoesOn interrupts everything in the middle of a run and
// starts it again: the run completes.
func TestInterruptedRunGoesOn(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	// The tenant's domain holds its port, so both starts take the same one.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	require.NoError(t, free.Close())
	up := func() *exec.Cmd {
		cmd := tenon(t, "up", "--data-dir", dir, "--address", "127.0.0.1:0", "--auth0-listen", address, "--auth0-latency", "200ms")
		require.NoError(t, cmd.Start())
		awaitFile(t, filepath.Join(dir, "endpoints.json"))
		return cmd
	}
	first := up()
	out, err := tenon(t, "tenant", "setup", "--detach", "-o", "name", "--data-dir", dir).Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 8, exit.ExitCode(), "still running")
	id := string(out[:len(out)-1])

	interrupted := time.Now()
	require.NoError(t, first.Process.Signal(syscall.SIGINT))
	require.NoError(t, first.Wait())
	t.Logf("stopped after %s", time.Since(interrupted).Round(time.Millisecond))

	second := up()
	out, err = tenon(t, "runs", "show", id, "--data-dir", dir, "-o", "json").Output()
	require.NoError(t, err)
	var run struct{ Status string }
	require.NoError(t, json.Unmarshal(out, &run))
	require.Equal(t, "Running", run.Status, "the run was over before the interruption; the test proves nothing")
	require.NoError(t, tenon(t, "runs", "watch", id, "--data-dir", dir).Run())
	out, err = tenon(t, "runs", "show", id, "--data-dir", dir, "-o", "json").Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(out, &run))
	require.Equal(t, "Completed", run.Status)
	require.NoError(t, second.Process.Signal(syscall.SIGINT))
	require.NoError(t, second.Wait())
}
