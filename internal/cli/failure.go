package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/workflows"
	"github.com/tenonhq/tenon/sdk"
)

// Exit codes, as documented in the CLI reference.
const (
	exitDone        = 0
	exitFailed      = 1
	exitPending     = 2
	exitRefused     = 3
	exitCredentials = 4
	exitRunning     = 8
	exitInterrupted = 130
)

// failure is an error with what a person should do about it.
type failure struct {
	err  error
	hint string
	code int
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// usageError is a command line that cannot be understood.
type usageError struct {
	cmd *cobra.Command
	err error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd: cmd, err: fmt.Errorf(format, args...)}
}

// exactArgs is cobra.ExactArgs with an error that names what is missing.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef(cmd, "%s is missing", names[len(args)])
		case len(args) > len(names):
			return usagef(cmd, "unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

// report writes the error and its hint to stderr and returns the exit code.
func report(stderr io.Writer, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitDone
	}
	f := explain(cmd, err)
	if f.code == exitInterrupted || f.code == exitPending {
		return f.code
	}
	var invalid *v1.LoadError
	if errors.As(err, &invalid) {
		// One problem a line, as compilers do: editors jump to them.
		for _, problem := range invalid.Findings {
			fmt.Fprintln(stderr, oneLine(problem.String()))
		}
		f.err = fmt.Errorf("%s in the manifests; nothing was changed", plural(len(invalid.Findings), "problem", "problems"))
	}
	fmt.Fprintf(stderr, "error: %s\n", oneLine(f.err.Error()))
	if f.hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", oneLine(f.hint))
	}
	return f.code
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// explain is the one place where a failure becomes text and exit code.
func explain(cmd *cobra.Command, err error) *failure {
	var (
		done    *failure
		usage   *usageError
		cfg     *config.Error
		app     *temporal.ApplicationError
		denied  *serviceerror.PermissionDenied
		missing *serviceerror.NotFound
		down    *serviceerror.Unavailable
		started *serviceerror.WorkflowExecutionAlreadyStarted
	)
	switch {
	case errors.As(err, &done):
		return done
	case errors.As(err, &usage):
		return &failure{err, fmt.Sprintf("see: %s --help", usage.cmd.CommandPath()), exitFailed}
	case errors.As(err, &cfg):
		return &failure{err, cfg.Hint, exitFailed}
	case errors.Is(err, sdk.ErrNotRunning):
		return &failure{err, "start one with: tenon up (or name its data directory with --data-dir)", exitFailed}
	case errors.As(err, &app):
		return explainRun(app)
	case errors.As(err, &down) && strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "handshake failed"):
		return &failure{err, "certificates do not fit together; find out which with: tenon doctor", exitCredentials}
	case errors.As(err, &denied):
		return &failure{fmt.Errorf("refused: %w", err), "the token of this data directory has not the role for it, or has expired; find out with: tenon doctor", exitRefused}
	case errors.As(err, &started):
		return &failure{err, "see: tenon runs list", exitFailed}
	case errors.As(err, &missing):
		return &failure{err, "see: tenon runs list", exitFailed}
	case errors.As(err, &down), errors.Is(err, context.DeadlineExceeded):
		return &failure{err, "is the cluster still running? start it with: tenon up", exitFailed}
	case errors.Is(err, context.Canceled):
		return &failure{err, "", exitInterrupted}
	case errors.Is(err, fs.ErrPermission):
		return &failure{err, "check the owner and mode of that file", exitFailed}
	}
	if strings.HasPrefix(err.Error(), "unknown command") {
		return &failure{err, fmt.Sprintf("see: %s --help", cmd.CommandPath()), exitFailed}
	}
	return &failure{err, "", exitFailed}
}

// runHints says what to do about each class of failed runs.
var runHints = map[string]string{
	workflows.ErrorInvalidInput:  "correct the input and run it again; see --help",
	workflows.ErrorUnknownTenant: "the worker manages only the tenants it was started with: set AUTH0_DOMAIN, AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET, then start it again",
	workflows.ErrorNotConfigured: "set what is missing where the worker runs, and start it again",
	workflows.ErrorCredentials:   "check AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET where the worker runs, and that the application may use client credentials",
	workflows.ErrorMissingScopes: "authorize the application for these scopes of the Auth0 Management API, in the dashboard under Applications, APIs",
	workflows.ErrorEntitlement:   "the tenant's subscription does not include it",
	workflows.ErrorRejected:      "Auth0 refuses the request as it is; correct the input",
	workflows.ErrorNotFound:      "create it first, or correct the name",
	workflows.ErrorConflict:      "rename one of the two, or remove the other",
	workflows.ErrorStalePlan:     "somebody else changes the tenant; run it again",
	workflows.ErrorRateLimited:   "run it again later; what is done is adopted",
	workflows.ErrorUnavailable:   "check AUTH0_DOMAIN and the network, then run it again",
	workflows.ErrorSecretStore:   "check the secret store of the worker",
	workflows.ErrorGrafana:       "check GRAFANA_URL and GRAFANA_TOKEN where the worker runs",
	workflows.ErrorProof:         "what was made is undone; see: tenon runs show",
	workflows.ErrorClaimed:       "take it out of one of the two stacks: tenon get shows what each holds",
	workflows.ErrorApproval:      "somebody else approves with a token of their own: --token-file",
	workflows.ErrorTooLarge:      "cut the stack in two",
	workflows.ErrorUnexpected:    "see: tenon runs show, and the worker's log",
}

// explainRun turns the failure of a workflow into what a person can do about
// the tenant.
func explainRun(app *temporal.ApplicationError) *failure {
	f := &failure{errors.New(app.Message()), runHints[app.Type()], exitFailed}
	switch app.Type() {
	case workflows.ErrorCredentials:
		f.code = exitCredentials
	case workflows.ErrorMissingScopes, workflows.ErrorApproval:
		f.code = exitRefused
	}
	var left workflows.Failure
	if app.HasDetails() && app.Details(&left) == nil && left.Tenant != "" {
		f.err = fmt.Errorf("tenant %s: %w", left.Tenant, f.err)
	}
	if len(left.NotUndone) > 0 {
		names := make([]string, len(left.NotUndone))
		for i, u := range left.NotUndone {
			names[i] = u.Step
		}
		f.hint = strings.TrimPrefix(f.hint+"; ", "; ") + "left behind in the tenant: " + strings.Join(names, ", ")
	}
	return f
}
