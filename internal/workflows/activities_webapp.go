package workflows

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenonhq/tenon/internal/grafana"
	"github.com/tenonhq/tenon/internal/secret"
)

// GrafanaInput is the input of the activities that put Grafana's settings in
// place and prove them.
type GrafanaInput struct {
	Tenant     string                `json:"tenant"`
	Name       string                `json:"name"`
	URL        string                `json:"url"`
	RolesClaim string                `json:"rolesClaim"`
	Roles      []grafana.RoleMapping `json:"roles"`
	ClientID   string                `json:"clientId"`
	// ClientSecret is a reference.
	ClientSecret string `json:"clientSecret"`
}

func (a *Activities) settings(in GrafanaInput) (grafana.Settings, error) {
	if in.ClientID == "" {
		return grafana.Settings{}, fmt.Errorf("client_id: %w", errNoOutput)
	}
	app := grafana.App{Domain: in.Tenant, RootURL: in.URL, ClientID: in.ClientID, RolesClaim: in.RolesClaim, Roles: in.Roles}
	if a.TenantCAFile != nil {
		app.TLSClientCA = a.TenantCAFile(in.Tenant)
	}
	s, err := grafana.NewSettings(app)
	if err != nil {
		return s, &proofError{"grafana settings: " + err.Error()}
	}
	return s, nil
}

func (a *Activities) clientSecret(ctx context.Context, in GrafanaInput) (secret.Value, error) {
	if in.ClientSecret == "" {
		return secret.Value{}, fmt.Errorf("client_secret: %w", errNoOutput)
	}
	ref, err := secret.ParseRef(in.ClientSecret)
	if err != nil {
		return secret.Value{}, err
	}
	return a.Secrets.Get(ctx, ref)
}

// RenderGrafana writes Grafana's settings below the output folder. Writing them
// again changes nothing.
func (a *Activities) RenderGrafana(ctx context.Context, in GrafanaInput) (*AppSettings, error) {
	if a.OutputDir == "" {
		return nil, classify(ctx, &notConfiguredError{"the worker has no folder for application settings"})
	}
	ctx, stop := beat(ctx)
	defer stop()
	s, err := a.settings(in)
	if err != nil {
		return nil, classify(ctx, err)
	}
	clientSecret, err := a.clientSecret(ctx, in)
	if err != nil {
		return nil, classify(ctx, err)
	}
	files, err := grafana.Write(a.OutputDir, in.Name, s, clientSecret)
	if err != nil {
		return nil, classify(ctx, err)
	}
	return &AppSettings{INI: files.INI, Env: files.Env, Compose: files.Compose}, nil
}

// RemoveGrafana deletes what RenderGrafana wrote for the same client. Files of
// another client, which a later run registered under the same name, stay.
func (a *Activities) RemoveGrafana(ctx context.Context, in GrafanaInput) (*Reverted, error) {
	if a.OutputDir == "" {
		return &Reverted{}, nil // RenderGrafana refused as well
	}
	ctx, stop := beat(ctx)
	defer stop()
	removed, err := grafana.Remove(a.OutputDir, in.Name, in.ClientID)
	if err != nil {
		return nil, classify(ctx, err)
	}
	if !removed {
		return &Reverted{}, nil
	}
	return &Reverted{What: "removed the settings of " + in.Name}, nil
}

// PushGrafana sends the settings to a running Grafana. Which Grafanas there are,
// and their tokens, is the worker's configuration: the input names one of them
// and cannot add another, or a caller could collect tokens and client secrets.
func (a *Activities) PushGrafana(ctx context.Context, in GrafanaInput) error {
	target, ok := a.Grafanas[in.URL]
	if !ok {
		return classify(ctx, &notConfiguredError{fmt.Sprintf("the worker has no token for the grafana at %s", in.URL)})
	}
	ctx, stop := beat(ctx)
	defer stop()
	s, err := a.settings(in)
	if err != nil {
		return classify(ctx, err)
	}
	clientSecret, err := a.clientSecret(ctx, in)
	if err != nil {
		return classify(ctx, err)
	}
	token, err := a.Secrets.Get(ctx, target.Token)
	if err != nil {
		return classify(ctx, err)
	}
	client, err := grafana.NewSSOClient(grafana.SSOConfig{URL: in.URL, Token: token, HTTP: a.HTTP(in.URL)})
	if err != nil {
		return classify(ctx, &notConfiguredError{err.Error()})
	}
	if err := client.Push(ctx, s, clientSecret); err != nil {
		var status *grafana.StatusError
		if errors.As(err, &status) {
			a.Logger.WarnContext(ctx, "grafana refused settings", "grafana", in.URL, "status", status.Status)
		}
		return classify(ctx, err)
	}
	return nil
}
