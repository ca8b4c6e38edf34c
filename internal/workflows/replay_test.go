package workflows_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/proxy"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

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
			started := history.Events[0].GetWorkflowExecutionStartedEventAttributes()
			replayed[started.GetWorkflowType().GetName()] = true

			replayer := worker.NewWorkflowReplayer()
			workflows.RegisterWorkflows(replayer)
			require.NoError(t, replayer.ReplayWorkflowHistoryWithOptions(quiet{}, history, worker.ReplayWorkflowHistoryOptions{
				// Children are named after their parent.
				OriginalExecution: workflow.Execution{ID: started.GetWorkflowId(), RunID: started.GetOriginalExecutionRunId()},
			}))
		})
	}
	for _, kind := range []string{workflows.TypeOnboarding, workflows.TypeTenantSetup, workflows.TypeWebAppRegistration, workflows.TypeUserRegistration,
		workflows.TypeStack, workflows.TypeTenantClaims, workflows.TypeExport,
		workflows.TypeServiceRegistration, workflows.TypeUserImport} {
		require.True(t, replayed[kind], "no recorded history of %s", kind)
	}
}

// A history is no place for secrets: links, client secrets and passwords go
// through the secret store.
func TestRecordedHistoriesHoldNoSecrets(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(histories, "*.json"))
	require.NoError(t, err)
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			file, err := os.Open(path)
			require.NoError(t, err)
			defer file.Close() //nolint:errcheck // read only
			history, err := client.HistoryFromJSON(file, client.HistoryJSONOptions{})
			require.NoError(t, err)
			seen := 0
			err = proxy.VisitPayloads(t.Context(), history, proxy.VisitPayloadsOptions{
				SkipSearchAttributes: true,
				Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
					for _, p := range payloads {
						seen++
						require.NotEqual(t, "binary/encrypted", string(p.Metadata["encoding"]), "the history was recorded without its codec")
						for _, mark := range []string{"ticket=", "BEGIN", "Bearer "} {
							require.NotContains(t, string(p.Data), mark)
						}
						// Where a secret is meant, a reference stands.
						for _, m := range secretField.FindAllSubmatch(p.Data, -1) {
							require.Regexp(t, `^dotenv:[A-Z0-9_]+$`, string(m[1]))
						}
					}
					return payloads, nil
				},
			})
			require.NoError(t, err)
			require.Greater(t, seen, 3)
		})
	}
}

var secretField = regexp.MustCompile(`"(?:client_secret|clientSecret|password|verification|mfa)":"([^"]*)"`)

// quiet discards what the SDK logs.
type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}
