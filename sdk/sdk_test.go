package sdk_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/sdk"
)

func TestFromDataDirSaysThatNothingRuns(t *testing.T) {
	_, err := sdk.FromDataDir(t.TempDir(), sdk.Client)
	require.ErrorIs(t, err, sdk.ErrNotRunning)

	dir := t.TempDir()
	require.NoError(t, config.WriteEndpoints(dir, config.Endpoints{PID: 1}))
	_, err = sdk.FromDataDir(dir, sdk.Client)
	require.ErrorIs(t, err, sdk.ErrNotRunning, "a simulator alone is no cluster")
}

func TestOptionsNameTheFileThatIsMissing(t *testing.T) {
	dir := t.TempDir()
	_, err := sdk.Options(sdk.InDataDir(dir, sdk.Client, "127.0.0.1:7233", ""))
	require.ErrorContains(t, err, "ca.crt")
	_, err = sdk.Options(sdk.InDataDir(dir, sdk.Client, "nonsense", ""))
	require.ErrorContains(t, err, `address "nonsense"`)
}
