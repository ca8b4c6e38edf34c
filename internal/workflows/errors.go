package workflows

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/grafana"
	"github.com/tenonhq/tenon/internal/secret"
)

// The types of the ApplicationErrors with which workflows and activities fail.
// A failed workflow's type is that of its cause, and its details are one
// Failure. Only ErrorRateLimited and ErrorUnavailable are retried for as long as
// policy allows, and ErrorUnexpected five times; all others end the workflow at
// once.
const (
	// ErrorInvalidInput: the input or a resource made from it breaks a rule. The
	// details of the activity's error are a list of v1.Problem.
	ErrorInvalidInput = "InvalidInput"
	// ErrorUnknownTenant: the worker has no credentials for the tenant.
	ErrorUnknownTenant = "UnknownTenant"
	// ErrorNotConfigured: the worker lacks something else that the input asks for,
	// such as an engine or the token of a Grafana.
	ErrorNotConfigured = "NotConfigured"
	// ErrorCredentials: the tenant refuses the worker's credentials.
	ErrorCredentials = "Credentials"
	// ErrorMissingScopes: the credentials lack scopes of the Management API.
	ErrorMissingScopes = "MissingScopes"
	// ErrorEntitlement: the tenant's subscription does not include it.
	ErrorEntitlement = "Entitlement"
	// ErrorRejected: Auth0 refuses the request as it is.
	ErrorRejected = "Rejected"
	// ErrorNotFound: an object that the input names does not exist.
	ErrorNotFound = "NotFound"
	// ErrorConflict: another object is in the way.
	ErrorConflict = "Conflict"
	// ErrorStalePlan: the tenant kept changing while it was being changed.
	ErrorStalePlan = "StalePlan"
	// ErrorRateLimited: the tenant asked to wait longer than policy allows.
	ErrorRateLimited = "RateLimited"
	// ErrorUnavailable: the tenant did not answer for longer than policy allows.
	ErrorUnavailable = "Unavailable"
	// ErrorSecretStore: a secret store refuses or lacks a secret.
	ErrorSecretStore = "SecretStore"
	// ErrorGrafana: Grafana refuses the settings.
	ErrorGrafana = "Grafana"
	// ErrorProof: what was made does not work together.
	ErrorProof = "ProofFailed"
	// ErrorTooLarge: a stack would hold more than its state has room for.
	ErrorTooLarge = "TooLarge"
	// ErrorClaimed: an object belongs to another stack of the tenant.
	ErrorClaimed = "Claimed"
	// ErrorRefused: the stack cannot do what an update asks for now.
	ErrorRefused = "Refused"
	// ErrorApproval: a plan was rejected, or nobody approved it in time; or somebody
	// may not approve it, such as its requester.
	ErrorApproval = "Approval"
	// ErrorCancelled: somebody cancelled the change of a stack.
	ErrorCancelled = "Cancelled"
	// ErrorUnexpected: an error of no known class.
	ErrorUnexpected = "Unexpected"
)

// unexpectedAttempts bounds the retries of errors that nobody has classified.
const unexpectedAttempts = 5

// Problems is a list of problems as one error.
type problemsError []v1.Problem

// Error implements error.
func (p problemsError) Error() string {
	lines := make([]string, len(p))
	for i, q := range p {
		lines[i] = q.Path + ": " + q.Message
	}
	return strings.Join(lines, "; ")
}

// proofError says that what was made does not work together.
type proofError struct{ reason string }

// Error implements error.
func (e *proofError) Error() string { return e.reason }

// notConfigured says what the worker's configuration lacks.
type notConfiguredError struct{ what string }

// Error implements error.
func (e *notConfiguredError) Error() string { return e.what }

// classify turns an activity's error into what Temporal acts on: its type,
// whether it may heal, and when to try again.
func classify(ctx context.Context, err error) error {
	var done *temporal.ApplicationError
	switch {
	case err == nil, errors.As(err, &done):
		return err
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return err // cancellation and timeouts are Temporal's own to name
	}
	final := func(kind string, details ...any) error {
		return temporal.NewApplicationErrorWithOptions(err.Error(), kind, temporal.ApplicationErrorOptions{NonRetryable: true, Details: details})
	}
	var (
		problems   problemsError
		proof      *proofError
		missing    *notConfiguredError
		invalid    *engine.InvalidError
		fromAuth0  *auth0.Error
		fromServer *grafana.StatusError
	)
	switch {
	case errors.As(err, &problems):
		return final(ErrorInvalidInput, []v1.Problem(problems))
	case errors.As(err, &invalid):
		list := make([]v1.Problem, len(invalid.Problems))
		for i, p := range invalid.Problems {
			list[i] = v1.Problem{Path: p.Key.String() + " " + p.Path, Message: p.Message}
		}
		return final(ErrorInvalidInput, list)
	case errors.Is(err, errTooLarge):
		return final(ErrorTooLarge)
	case errors.As(err, &proof):
		return final(ErrorProof)
	case errors.As(err, &missing):
		return final(ErrorNotConfigured)
	case errors.Is(err, engine.ErrStale):
		return final(ErrorStalePlan)
	case errors.Is(err, engine.ErrCycle), errors.Is(err, engine.ErrUnresolved):
		return final(ErrorInvalidInput)
	case errors.As(err, &fromAuth0):
		return classifyAuth0(err, fromAuth0)
	case errors.As(err, &fromServer):
		if fromServer.Status == 429 || fromServer.Status >= 500 {
			return temporal.NewApplicationError(err.Error(), ErrorUnavailable)
		}
		return final(ErrorGrafana)
	case errors.Is(err, secret.ErrNotFound), errors.Is(err, secret.ErrReadOnly):
		return final(ErrorSecretStore)
	}
	return temporal.NewApplicationErrorWithOptions(err.Error(), ErrorUnexpected, temporal.ApplicationErrorOptions{
		NonRetryable: activity.IsActivity(ctx) && activity.GetInfo(ctx).Attempt >= unexpectedAttempts,
	})
}

func classifyAuth0(err error, e *auth0.Error) error {
	kind := ErrorRejected
	switch e.Class {
	case auth0.RateLimited:
		// The tenant's own time, instead of a guess that would hammer it.
		return temporal.NewApplicationErrorWithOptions(err.Error(), ErrorRateLimited, temporal.ApplicationErrorOptions{NextRetryDelay: e.RetryAfter})
	case auth0.Unavailable:
		return temporal.NewApplicationError(err.Error(), ErrorUnavailable)
	case auth0.Credentials:
		kind = ErrorCredentials
	case auth0.Scope:
		kind = ErrorMissingScopes
	case auth0.Entitlement:
		kind = ErrorEntitlement
	case auth0.NotFound:
		kind = ErrorNotFound
	case auth0.Conflict:
		kind = ErrorConflict
	case auth0.UnknownTenant:
		kind = ErrorUnknownTenant
	}
	return temporal.NewApplicationErrorWithOptions(err.Error(), kind, temporal.ApplicationErrorOptions{NonRetryable: true})
}

// ErrorType is the type of the innermost ApplicationError, "" if there is none.
// Callers use it to tell failures of a workflow apart.
func ErrorType(err error) string {
	kind := ""
	for err != nil {
		var app *temporal.ApplicationError
		if !errors.As(err, &app) {
			break
		}
		kind, err = app.Type(), errors.Unwrap(app)
	}
	return kind
}

// FailureOf returns the Failure that a failed or cancelled workflow's error
// carries.
func FailureOf(err error) (Failure, bool) {
	var f Failure
	var app *temporal.ApplicationError
	if errors.As(err, &app) && app.HasDetails() && app.Details(&f) == nil && f.Workflow != "" {
		return f, true
	}
	var cancelled *temporal.CanceledError
	if errors.As(err, &cancelled) && cancelled.HasDetails() && cancelled.Details(&f) == nil && f.Workflow != "" {
		return f, true
	}
	return Failure{}, false
}

// cause is the text of an error without the wrapping that Temporal adds, for
// people.
func cause(err error) string {
	var app *temporal.ApplicationError
	var timeout *temporal.TimeoutError
	switch {
	case temporal.IsCanceledError(err):
		return "cancelled"
	case errors.As(err, &app):
		return app.Message()
	case errors.As(err, &timeout):
		return fmt.Sprintf("timed out (%s)", timeout.TimeoutType())
	}
	return err.Error()
}
