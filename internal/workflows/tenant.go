package workflows

import (
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// Step names that are no resource's.
const (
	stepCredentials = "credentials"
	stepRender      = "settings"
	stepPush        = "push"
	stepProof       = "proof"
	stepRoles       = "roles"
	stepTickets     = "tickets"
	stepMFA         = "mfa"
)

// Auth0TenantSetupWorkflow brings a tenant into the state that applications,
// users and the cluster rely on: settings, multi-factor authentication, attack
// protection, a user database, an API and its roles. Running it again changes
// nothing that is in place already. If a step fails for good, what the run
// changed is undone, and the failure says so.
func Auth0TenantSetupWorkflow(ctx workflow.Context, in TenantSetupInput) (*TenantSetupResult, error) {
	in = in.WithDefaults()
	s, err := newSaga(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	s.add(stepCredentials, "Credentials and scopes")
	result, err := setUpTenant(ctx, s, in)
	if err := s.finish(ctx, err); err != nil {
		return nil, err
	}
	return result, nil
}

func setUpTenant(ctx workflow.Context, s *saga, in TenantSetupInput) (*TenantSetupResult, error) {
	if err := refuse(in.Validate()); err != nil {
		return nil, err
	}
	a := s.applier(ctx, in.Engine)
	parts := tenantParts(in)
	a.announce(parts)
	check, err := s.checkCredentials(ctx, in.Engine, tenantSetupScopes())
	if err != nil {
		return nil, err
	}
	if err := a.apply(ctx, parts); err != nil {
		return nil, err
	}
	roles := make([]string, len(in.Roles))
	for i, r := range in.Roles {
		roles[i] = r.Name
	}
	return &TenantSetupResult{
		Tenant: in.Tenant, Credentials: check, Objects: a.objects(),
		Connection: in.Connection.Name, API: in.API.Identifier, Roles: roles, Warnings: s.Warnings,
	}, nil
}

// refuse turns problems into the error that ends a workflow before it begins.
func refuse(problems []v1.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return temporal.NewApplicationErrorWithOptions(problemsError(problems).Error(), ErrorInvalidInput,
		temporal.ApplicationErrorOptions{NonRetryable: true, Details: []any{problems}})
}

// checkCredentials is the first step of every workflow: nothing is changed by a
// worker that could not finish, or undo, what it begins.
func (s *saga) checkCredentials(ctx workflow.Context, engineName string, needed []string) (CredentialCheck, error) {
	var check CredentialCheck
	err := s.do(ctx, stepCredentials, activityCheckCredentials,
		CheckCredentialsInput{Tenant: s.Tenant, Engine: engineName, Scopes: needed}, &check)
	return check, err
}
