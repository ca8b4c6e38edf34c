package actions

import (
	"errors"
	"fmt"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// A Trigger is the point of the pipeline at which a flow runs.
type Trigger string

// The triggers that this package runs.
const (
	PostLogin           Trigger = "post-login"
	CredentialsExchange Trigger = "credentials-exchange"
	PreRegistration     Trigger = "pre-user-registration"
	PostRegistration    Trigger = "post-user-registration"
	PostChangePassword  Trigger = "post-change-password"
	EventStream         Trigger = "event-stream"
)

var handlers = map[Trigger]string{
	PostLogin:           "onExecutePostLogin",
	CredentialsExchange: "onExecuteCredentialsExchange",
	PreRegistration:     "onExecutePreUserRegistration",
	PostRegistration:    "onExecutePostUserRegistration",
	PostChangePassword:  "onExecutePostChangePassword",
	EventStream:         "onExecuteEventStream",
}

// handler is the name of the function that an Action exports for a trigger.
func (t Trigger) handler() string { return handlers[t] }

// An Action is one deployed Action version.
type Action struct {
	ID      string
	Name    string
	Code    string                  // CommonJS source
	Secrets map[string]secret.Value // event.secrets
}

// A Flow is one execution of the Actions bound to a trigger, in their order.
type Flow struct {
	Trigger Trigger
	Actions []Action

	// Event is the event object without secrets. It must marshal to JSON.
	// Each Action gets its own copy: what one writes into it, the next does
	// not see, except user and app metadata set through api.user.
	Event map[string]any

	// Audience is the API that the access token is for; empty for an opaque
	// token. Claims on tokens for Auth0's own APIs are refused.
	Audience string

	// Now is what time it is for the Actions. Defaults to Config.Now.
	Now func() time.Time

	// Resume names the Action whose onContinuePostLogin handler runs first,
	// as Result.Redirect.Index gave it. Actions before it are skipped. Nil
	// runs the flow from the start.
	Resume *Resume
}

// Resume is where a flow goes on after Result.Redirect.
type Resume struct {
	Index  int     // Result.Redirect.Index
	Result *Result // what the flow had collected before it was interrupted
}

// A Result is everything that the Actions of a flow asked for, in effect after
// the last of them. Maps are never nil.
type Result struct {
	Deny        *Denial   // access.deny; no later Action ran
	Redirect    *Redirect // redirect.sendUserTo; the flow is to be resumed
	IDToken     map[string]any
	AccessToken map[string]any
	// Metadata changes; a nil value removes the key.
	UserMetadata map[string]any
	AppMetadata  map[string]any

	AddScopes    []string
	RemoveScopes []string

	// Multifactor is set by multifactor.enable and the authentication.*
	// methods.
	Multifactor *Multifactor

	// RecordedMethods are the URLs given to authentication.recordMethod.
	RecordedMethods []string

	// Failed is the reason given to message.fail by an Action of an event
	// stream; empty if it was not called.
	Failed string

	Executions []Execution
}

// Multifactor is a demand for a second factor.
type Multifactor struct {
	Provider             string   // "any", "google-authenticator", …
	AllowRememberBrowser bool     // defaults to true
	Factors              []string // "otp", "recovery-code", …; empty for any
}

// A Denial ends a flow.
type Denial struct {
	Code   string // OAuth error code; "access_denied" unless the Action chose one
	Reason string
	// Message is what to show the user, where the trigger has one.
	Message string
}

// A Redirect interrupts a flow: the user is sent to URL, and comes back to
// /continue.
type Redirect struct {
	URL   string
	Index int
}

// Execution records how one Action ran, for the tenant log.
type Execution struct {
	ActionID string
	Name     string
	Duration time.Duration
	Console  []string // what it wrote to the console, at most 256 lines
	Error    string   // empty when it succeeded
}

// ErrTimeout is why a run failed when its time limit passed.
var ErrTimeout = errors.New("the action exceeded its time limit")

// An Error says which Action failed. Message is the JavaScript error's text
// and safe to show to the tenant's developer; secrets never enter it unless
// the Action put them there.
type Error struct {
	Action  string
	Message string
	cause   error
}

func (e *Error) Error() string { return fmt.Sprintf("action %q: %s", e.Action, e.Message) }

// Unwrap gives ErrTimeout where that was the reason.
func (e *Error) Unwrap() error { return e.cause }

func newResult() *Result {
	return &Result{
		IDToken: map[string]any{}, AccessToken: map[string]any{},
		UserMetadata: map[string]any{}, AppMetadata: map[string]any{},
	}
}
