package test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/tenonhq/tenon/internal/daemon"
)

// TestOperations reads the keys and the metrics of a cluster at which a client
// tries to be a worker.
func TestOperations(t *testing.T) {
	t.Parallel()
	s := start(t, daemon.Config{
		DataDir: t.TempDir(),
		Cluster: &daemon.ClusterConfig{Address: "127.0.0.1:0", OperationsAddress: "127.0.0.1:0"},
	})
	_, err := s.client.WorkflowService().PollActivityTaskQueue(t.Context(), &workflowservice.PollActivityTaskQueueRequest{
		Namespace: daemon.Namespace, TaskQueue: &taskqueuepb.TaskQueue{Name: "billing"},
	})
	var denied *serviceerror.PermissionDenied
	require.ErrorAs(t, err, &denied)

	c, err := s.http()
	require.NoError(t, err)
	get := func(path string) string {
		res, err := c.Get(s.endpoints.Cluster.Operations + path)
		require.NoError(t, err)
		defer res.Body.Close()
		require.Equal(t, http.StatusOK, res.StatusCode, path)
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return string(text)
	}
	var published, kept struct {
		Keys []map[string]any `json:"keys"`
	}
	require.NoError(t, json.Unmarshal([]byte(get(".well-known/jwks.json")), &published))
	file, err := os.ReadFile(filepath.Join(s.dir, "certs", "temporal-jwt-keys.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(file, &kept))
	require.Len(t, published.Keys, 1)
	require.Equal(t, kept.Keys[0]["n"], published.Keys[0]["n"])
	require.NotContains(t, published.Keys[0], "d", "the private half")

	metrics := get("metrics")
	for _, want := range []string{
		`tenon_denied_polls_total{namespace="default",subject="temporal-client",task_queue="billing"} 1`,
		`tenon_access_decisions_total{verdict="deny"} 1`,
		`tenon_audit_unrecorded_total 0`,
		`kind="server"`,
	} {
		require.Contains(t, metrics, want)
	}
	out, err := tenon(t, "audit", "pollers", "--data-dir", s.dir).Output()
	require.NoError(t, err)
	require.True(t, strings.Contains(string(out), "billing") && strings.Contains(string(out), "temporal-client"), string(out))
}
