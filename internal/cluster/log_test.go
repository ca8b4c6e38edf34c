package cluster_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/tenonhq/tenon/internal/cluster"
)

// A server that is well says nothing: whatever is in the log deserves a look.
func TestHealthyServerIsQuiet(t *testing.T) {
	log := &recorder{}
	s := start(t, cluster.Config{
		Frontend:    "127.0.0.1:0",
		Persistence: cluster.Persistence{SQLite: filepath.Join(t.TempDir(), "temporal.db")},
		TLS:         shared.tls, Access: fakeAccess{},
		Logger: slog.New(log),
	})
	c, err := dial(t, s.Address(), shared.tls, &shared.tls.client, goodToken)
	require.NoError(t, err)
	stopWorker := startWorker(t, c, "quiet")
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: "quiet"}, "greeting", "ida", false)
	require.NoError(t, err)
	require.NoError(t, run.Get(t.Context(), nil))
	stopWorker()
	c.Close()
	_, err = s.stop()
	require.NoError(t, err)
	require.Empty(t, log.lines())
}
