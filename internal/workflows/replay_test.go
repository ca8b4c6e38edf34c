package workflows_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/tenonhq/tenon/internal/workflows"
)

const histories = "../../test/histories"

// TestReplay replays the recorded histories against today's code: a worker of
// this version can go on with runs that one of an earlier version began.
func TestReplay(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(histories, "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no history is recorded in %s", histories)
	replayed := map[string]bool{}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			file, err := os.Open(path)
			require.NoError(t, err)
			defer file.Close() //nolint:errcheck // read only
			history, err := client.HistoryFromJSON(file, client.HistoryJSONOptions{})
			require.NoError(t, err)
			replayed[history.Events[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowType().GetName()] = true

			replayer := worker.NewWorkflowReplayer()
			workflows.RegisterWorkflows(replayer)
			require.NoError(t, replayer.ReplayWorkflowHistory(nil, history))
		})
	}
	for _, kind := range []string{workflows.TypeOnboarding, workflows.TypeTenantSetup, workflows.TypeWebAppRegistration, workflows.TypeUserRegistration} {
		require.True(t, replayed[kind], "no recorded history of %s", kind)
	}
}

// A history must not be a place where secrets hide.
func TestRecordedHistoriesHoldNoSecrets(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(histories, "*.json"))
	require.NoError(t, err)
	for _, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, mark := range []string{"?ticket=", "client_secret\":\"", "binary/encrypted"} {
			require.NotContains(t, string(data), mark, path)
		}
	}
}
