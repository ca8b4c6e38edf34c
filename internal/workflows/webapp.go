package workflows

import (
	"go.temporal.io/sdk/workflow"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// WebAppRegistrationWorkflow registers a Grafana as an OIDC web application: the
// client, its connections, the action that puts roles into its ID tokens, and
// the application's own settings, as files and through Grafana's API. It proves
// that the tenant, the client and the settings agree before any running Grafana
// is told to use them. If a step fails for good, what the run made is undone.
//
// The claims action is shared by all applications and stays once it was made by
// a run that is undone: it does nothing for a client that does not ask for it,
// and another application may have come to rely on it.
func WebAppRegistrationWorkflow(ctx workflow.Context, in WebAppInput) (*WebAppResult, error) {
	in = in.WithDefaults()
	s, err := newSaga(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	s.add(stepCredentials, "Credentials and scopes")
	result, err := registerWebApp(ctx, s, in)
	if err := s.finish(ctx, err); err != nil {
		return nil, err
	}
	return result, nil
}

func registerWebApp(ctx workflow.Context, s *saga, in WebAppInput) (*WebAppResult, error) {
	if err := refuse(in.Validate()); err != nil {
		return nil, err
	}
	a := s.applier(ctx, in.Engine)
	a.keep = map[string]bool{v1.KindAction: true}
	parts, err := webAppParts(in)
	if err != nil {
		return nil, err
	}
	a.announce(parts)
	s.add(stepRender, "Grafana settings")
	s.add(stepProof, "Proof that tenant, client and settings agree")
	if in.Push {
		s.add(stepPush, "Grafana at "+in.URL)
	}
	check, err := s.checkCredentials(ctx, in.Engine, webAppScopes())
	if err != nil {
		return nil, err
	}
	if err := a.apply(ctx, parts); err != nil {
		return nil, err
	}
	app := GrafanaInput{
		Tenant: in.Tenant, Name: in.Name, URL: in.URL, RolesClaim: in.RolesClaim, Roles: in.Roles,
		ClientID:     a.output(v1.KindClient, in.Name, "client_id"),
		ClientSecret: a.output(v1.KindClient, in.Name, "client_secret"),
	}
	result := &WebAppResult{
		Tenant: in.Tenant, Name: in.Name, Credentials: check, Objects: a.objects(),
		ClientID: app.ClientID, ClientSecret: app.ClientSecret, RolesClaim: in.RolesClaim,
	}
	s.onFailure(undo{step: stepRender, activity: activityRemoveGrafana, argument: app})
	if err := s.do(ctx, stepRender, activityRenderGrafana, app, &result.Settings); err != nil {
		return nil, err
	}
	if err := s.do(ctx, stepProof, activityProveWebApp, app, &result.Proof); err != nil {
		return nil, err
	}
	if in.Push {
		// Grafana does not give back the secret that it held before, so that its
		// former settings cannot be restored. That is why this step comes last.
		s.onFailure(undo{step: stepPush, impossible: "Grafana at " + in.URL + " may have taken the new settings: check its authentication settings"})
		if err := s.do(ctx, stepPush, activityPushGrafana, app, nil); err != nil {
			return nil, err
		}
		result.Settings.PushedTo = in.URL
	}
	result.Warnings = s.Warnings
	return result, nil
}
