package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/workflows"
	"github.com/tenonhq/tenon/sdk"
)

func TestReport(t *testing.T) {
	cmd := &cobra.Command{Use: "tenon"}
	for name, c := range map[string]struct {
		err  error
		code int
		text string
	}{
		"none":        {nil, 0, ""},
		"plain":       {errors.New("x\n  y"), 1, "error: x y\n"},
		"usage":       {usagef(cmd, "no"), 1, "error: no\nhint: see: tenon --help\n"},
		"config":      {fmt.Errorf("a: %w", &config.Error{Problem: "b", Hint: "c"}), 1, "error: a: b\nhint: c\n"},
		"not running": {sdk.ErrNotRunning, 1, "hint: start one with: tenon up"},
		"refused":     {serviceerror.NewPermissionDenied("needs role client", ""), 3, "error: refused: needs role client"},
		"credentials": {temporal.NewApplicationError("wrong secret", workflows.ErrorCredentials), 4, "error: wrong secret\nhint: check AUTH0_CLIENT_ID"},
		"scopes":      {temporal.NewApplicationError("missing read:users", workflows.ErrorMissingScopes), 3, "error: missing read:users\nhint: authorize"},
		"left behind": {
			temporal.NewApplicationError("x", workflows.ErrorRejected, workflows.Failure{NotUndone: []workflows.Undone{{Step: "Auth0User/a"}}}), 1,
			"left behind in the tenant: Auth0User/a",
		},
		"interrupted": {context.Canceled, 130, ""},
		"known code":  {&failure{errors.New("e"), "h", 8}, 8, "error: e\nhint: h\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr strings.Builder
			require.Equal(t, c.code, report(&stderr, cmd, c.err))
			if c.text == "" {
				require.Empty(t, stderr.String())
			}
			require.Contains(t, stderr.String(), c.text)
		})
	}
}

// TestEveryRunErrorHasAHint keeps the hints complete when a class is added.
func TestEveryRunErrorHasAHint(t *testing.T) {
	for _, class := range []string{
		workflows.ErrorInvalidInput, workflows.ErrorUnknownTenant, workflows.ErrorNotConfigured, workflows.ErrorCredentials,
		workflows.ErrorMissingScopes, workflows.ErrorEntitlement, workflows.ErrorRejected, workflows.ErrorNotFound, workflows.ErrorConflict,
		workflows.ErrorStalePlan, workflows.ErrorRateLimited, workflows.ErrorUnavailable, workflows.ErrorSecretStore, workflows.ErrorGrafana,
		workflows.ErrorProof, workflows.ErrorUnexpected,
	} {
		require.NotEmpty(t, runHints[class], class)
	}
}
