package workflows

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

// Tenant is what the activities ask of one tenant, beside an engine.
// *auth0.Client is one.
type Tenant interface {
	RefreshScopes(ctx context.Context) ([]string, error)
	VerificationTicket(ctx context.Context, r auth0.TicketRequest) (secret.Value, error)
	PasswordTicket(ctx context.Context, r auth0.TicketRequest) (secret.Value, error)
	EnrollmentTicket(ctx context.Context, userID string, sendMail bool) (id string, link secret.Value, err error)
	CheckDiscovery(ctx context.Context) (*auth0.Discovery, error)
	CheckClientCredentials(ctx context.Context, clientID string, clientSecret secret.Value, audience string, scopes []string) (*auth0.AccessToken, error)
}

// TenantFunc finds a tenant by its domain. It refuses a domain that the worker
// has no credentials for, with an *auth0.Error of class UnknownTenant.
type TenantFunc func(ctx context.Context, domain string) (Tenant, error)

// FromPool is the TenantFunc of a pool.
func FromPool(pool *auth0.Pool) TenantFunc {
	return func(ctx context.Context, domain string) (Tenant, error) {
		client, err := pool.Tenant(ctx, domain)
		if err != nil {
			return nil, err // not client: a nil *Client is no nil Tenant
		}
		return client, nil
	}
}

// GrafanaTarget is a Grafana that the worker may configure.
type GrafanaTarget struct {
	// Token refers to a service account's token.
	Token secret.Ref
}

// Activities are the activities of this package and what they depend on. The
// fields are set before Register and not changed after. Every exported method is
// an activity.
type Activities struct {
	// Engines by name; "direct" is the default of every input. Required.
	Engines map[string]engine.Engine
	// Tenants finds the tenants that the worker has credentials for. Required.
	Tenants TenantFunc
	// Secrets are where secrets go and come from. Required.
	Secrets secret.Stores
	// SecretRef says where a secret of a resource is kept: a user's
	// "password_ticket", "verification_ticket" and "mfa_ticket", with the key
	// Auth0User/<connection>:<email>. It must be a pure function, since a retry has to
	// arrive at the same place. Required.
	SecretRef func(tenant string, key engine.Key, output string) secret.Ref
	// OutputDir is the folder below which application settings are written.
	// Required for web applications.
	OutputDir string
	// ImportDir is the folder that user imports read from, and list their failures
	// in. Required for user imports.
	ImportDir string
	// Grafanas are the Grafanas that settings may be pushed to, by root URL.
	Grafanas map[string]GrafanaTarget
	// HTTP returns a client that trusts the certificate of the host at an address,
	// and sends no credentials. It reaches tenants ("https://<domain>") and
	// Grafanas. Defaults to a client with the system's authorities and a timeout of
	// 15 seconds.
	HTTP func(address string) *http.Client
	// TenantCAFile is the path, on the application's machine, of the authority that
	// signed a tenant's certificate, for its settings. Nil or "" means the system's.
	TenantCAFile func(domain string) string
	// RequireApproval says whether a stack's plan has to be approved by somebody
	// other than its requester, whatever the requester says. It is asked about plans
	// that change something. Nil requires none.
	RequireApproval func(tenant string, plan *engine.Plan) bool
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Logger receives what activities do beside their results. Nil discards.
	Logger *slog.Logger
}

// Register checks the dependencies, fills in their defaults, and registers all
// workflows and activities of this package.
func Register(registry worker.Registry, a *Activities) error {
	var missing []string
	for name, absent := range map[string]bool{
		"Engines": len(a.Engines) == 0, "Tenants": a.Tenants == nil, "Secrets": a.Secrets == nil, "SecretRef": a.SecretRef == nil,
	} {
		if absent {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("activities need %s", strings.Join(missing, ", "))
	}
	if a.HTTP == nil {
		client := &http.Client{Timeout: 15 * time.Second}
		a.HTTP = func(string) *http.Client { return client }
	}
	if a.Now == nil {
		a.Now = time.Now
	}
	if a.Logger == nil {
		a.Logger = slog.New(slog.DiscardHandler)
	}
	RegisterWorkflows(registry)
	registry.RegisterActivity(a)
	return nil
}

// RegisterWorkflows registers the workflows alone, for replaying histories.
func RegisterWorkflows(registry worker.WorkflowRegistry) {
	registry.RegisterWorkflowWithOptions(OnboardingWorkflow, workflow.RegisterOptions{Name: TypeOnboarding})
	registry.RegisterWorkflowWithOptions(Auth0TenantSetupWorkflow, workflow.RegisterOptions{Name: TypeTenantSetup})
	registry.RegisterWorkflowWithOptions(WebAppRegistrationWorkflow, workflow.RegisterOptions{Name: TypeWebAppRegistration})
	registry.RegisterWorkflowWithOptions(UserImportWorkflow, workflow.RegisterOptions{Name: TypeUserImport})
	registry.RegisterWorkflowWithOptions(UserRegistrationWorkflow, workflow.RegisterOptions{Name: TypeUserRegistration})
	registry.RegisterWorkflowWithOptions(ServiceRegistrationWorkflow, workflow.RegisterOptions{Name: TypeServiceRegistration})
	registry.RegisterWorkflowWithOptions(TenantExportWorkflow, workflow.RegisterOptions{Name: TypeExport})
	registry.RegisterWorkflowWithOptions(StackWorkflow, workflow.RegisterOptions{Name: TypeStack})
	registry.RegisterWorkflowWithOptions(TenantClaimsWorkflow, workflow.RegisterOptions{Name: TypeTenantClaims})
}

// CheckCredentialsInput is the input of the activity CheckCredentials.
type CheckCredentialsInput struct {
	Tenant string `json:"tenant"`
	Engine string `json:"engine"`
	// Scopes are those that the workflow needs.
	Scopes []string `json:"scopes"`
}

// CheckCredentials gets a token of the tenant and compares its scopes with what
// is needed.
func (a *Activities) CheckCredentials(ctx context.Context, in CheckCredentialsInput) (*CredentialCheck, error) {
	if _, err := a.engine(in.Engine); err != nil {
		return nil, classify(ctx, err)
	}
	ctx, stop := beat(ctx)
	defer stop()
	tenant, err := a.Tenants(ctx, in.Tenant)
	if err != nil {
		return nil, classify(ctx, err)
	}
	granted, err := tenant.RefreshScopes(ctx)
	if err != nil {
		return nil, classify(ctx, err)
	}
	check := compareScopes(granted, in.Scopes)
	if len(check.Missing) > 0 {
		return nil, classify(ctx, &auth0.Error{Class: auth0.Scope, Operation: "check credentials",
			Message: "the application lacks Management API scopes: " + strings.Join(check.Missing, ", ")})
	}
	return &check, nil
}

func compareScopes(granted, needed []string) CredentialCheck {
	var check CredentialCheck
	for _, scope := range needed {
		if !slices.Contains(granted, scope) {
			check.Missing = append(check.Missing, scope)
		}
	}
	used := RequiredScopes()
	for _, scope := range granted {
		if _, found := slices.BinarySearch(used, scope); !found {
			check.Excess = append(check.Excess, scope)
		}
	}
	slices.Sort(check.Missing)
	slices.Sort(check.Excess)
	return check
}

// PlanResources compares resources with the tenant. It changes nothing.
func (a *Activities) PlanResources(ctx context.Context, in PlanRequest) (*engine.Plan, error) {
	e, err := a.engine(in.Engine)
	if err != nil {
		return nil, classify(ctx, err)
	}
	var problems problemsError
	for _, r := range in.Request.Resources {
		for _, p := range r.Validate() {
			problems = append(problems, v1.Problem{Path: engine.KeyOf(r).String() + " " + p.Path, Message: p.Message})
		}
	}
	if len(problems) > 0 {
		return nil, classify(ctx, problems)
	}
	ctx, stop := beat(ctx)
	defer stop()
	plan, err := e.Plan(ctx, in.Request)
	return plan, classify(ctx, err)
}

// ApplyStep makes one step of a plan real, or finds that it is.
func (a *Activities) ApplyStep(ctx context.Context, in StepRequest) (*engine.Result, error) {
	e, err := a.engine(in.Engine)
	if err != nil {
		return nil, classify(ctx, err)
	}
	ctx, stop := beat(ctx)
	defer stop()
	result, err := e.Apply(ctx, in.Request)
	return result, classify(ctx, err)
}

// RevertStep undoes one step of a plan, if the run did it.
func (a *Activities) RevertStep(ctx context.Context, in StepRequest) (*Reverted, error) {
	e, err := a.engine(in.Engine)
	if err != nil {
		return nil, classify(ctx, err)
	}
	ctx, stop := beat(ctx)
	defer stop()
	result, err := e.Revert(ctx, in.Request)
	if err != nil {
		return nil, classify(ctx, err)
	}
	return &Reverted{What: reverted(result), Left: result.Unrestored}, nil
}

// reverted says what a Revert did, "" for nothing.
func reverted(r *engine.Result) string {
	switch r.Action {
	case engine.Delete:
		return "deleted " + r.Key.String()
	case engine.Create:
		return "recreated " + r.Key.String()
	case engine.None, "":
		return ""
	}
	return "restored " + r.Key.String()
}

func (a *Activities) engine(name string) (engine.Engine, error) {
	if e := a.Engines[name]; e != nil {
		return e, nil
	}
	known := make([]string, 0, len(a.Engines))
	for n := range a.Engines {
		known = append(known, n)
	}
	slices.Sort(known)
	return nil, &notConfiguredError{fmt.Sprintf("the worker has no engine %q (configured: %s)", name, strings.Join(known, ", "))}
}

// beat heartbeats until stop is called, so that the server knows within
// seconds that a worker died, and a cancelled workflow reaches the activity.
// Heartbeats carry no details.
func beat(ctx context.Context) (context.Context, func()) {
	if !activity.IsActivity(ctx) {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(heartbeatTimeout / 5)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				activity.RecordHeartbeat(ctx)
			}
		}
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}

// errNoOutput says that an engine did not give what a later step needs.
var errNoOutput = errors.New("the engine gave no such output")
