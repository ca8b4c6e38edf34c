package daemon

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/cluster/webui"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/engine/direct"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
	"github.com/tenonhq/tenon/internal/workflows"
)

// What the Web UI and `tenon login` are in the simulated tenant.
const (
	webUIClient = "temporal-web-ui"
	loginClient = "tenon-login"
	// demoPerson can sign in to a simulated tenant from the start.
	demoPerson         = "demo@example.com"
	demoPersonPassword = "web-ui-demo-password"
	// builtInConnection is the user database that every tenant is born with.
	builtInConnection = "Username-Password-Authentication"
)

// usersInterval is how often a tenant without the user database of tenant setup
// is looked at for it.
const usersInterval = 2 * time.Second

// simulatorTrust lets the simulated tenant's tokens for the cluster's API open
// the cluster, as a real tenant's would.
func simulatorTrust(domain string, cfg *tls.Config) token.IssuerTrust {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}}
	return token.IssuerTrust{
		Issuer:   "https://" + domain + "/",
		Audience: []string{workflows.DefaultAPI},
		Keys:     simulatorKeys{url: "https://" + domain + "/.well-known/jwks.json", client: client},
	}
}

// simulatorKeys is the simulated tenant's key set, read over connections that
// follow our own authority's rotation.
type simulatorKeys struct {
	url    string
	client *http.Client
}

var _ token.KeySource = simulatorKeys{}

// String implements token.KeySource.
func (k simulatorKeys) String() string { return k.url }

// Intervals implements token.KeySource.
func (k simulatorKeys) Intervals() (refresh, unknownKey time.Duration) {
	return time.Minute, 2 * time.Second
}

// Keys implements token.KeySource.
func (k simulatorKeys) Keys(ctx context.Context) (*token.KeySet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("key set %s: status %d", k.url, resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, 256<<10))
	if err != nil {
		return nil, fmt.Errorf("key set %s: %w", k.url, err)
	}
	return token.ParseKeySet(data)
}

// register makes what people need to sign in with the simulated tenant: the API
// whose permissions the cluster understands, roles, the two applications, and
// one person. What is there is left as it is, but for the applications'
// addresses, which may have changed.
func (w *webUIPart) register(ctx context.Context, d *Daemon, run func(string, func(context.Context) error)) (webui.ProviderConfig, error) {
	domain := d.simulator.server.Domain()
	tenants, err := auth0.New(auth0.Config{Tenants: tenants(d), Secrets: d.secrets, Version: d.cfg.Version, Logger: d.log})
	if err != nil {
		return webui.ProviderConfig{}, err
	}
	eng, err := direct.New(direct.Config{Tenants: tenants, Secrets: d.secrets, SecretRef: workflows.DotenvRef, Logger: d.log})
	if err != nil {
		return webui.ProviderConfig{}, err
	}
	r := registration{engine: eng, tenant: domain, ids: map[string]string{}}
	setup := workflows.TenantSetupInput{Tenant: domain}.WithDefaults()
	for _, res := range simulatedObjects(setup) {
		if err := r.ensure(ctx, res, false); err != nil {
			return webui.ProviderConfig{}, fmt.Errorf("register the web ui: %w", err)
		}
	}
	for _, res := range loginApplications(w.url(), builtInConnection) {
		if err := r.ensure(ctx, res, true); err != nil {
			return webui.ProviderConfig{}, fmt.Errorf("register the web ui: %w", err)
		}
	}
	client, err := tenants.Tenant(ctx, domain)
	if err != nil {
		return webui.ProviderConfig{}, err
	}
	if err := w.ensurePerson(ctx, d, client, &r); err != nil {
		return webui.ProviderConfig{}, fmt.Errorf("register the web ui: %w", err)
	}
	w.login = &config.LoginEndpoints{
		Issuer: "https://" + domain + "/", ClientID: r.ids[loginClient], Audience: workflows.DefaultAPI, CA: d.certsFile("ca.crt"),
	}
	provider := webui.ProviderConfig{
		Issuer: "https://" + domain + "/", Name: "the simulated tenant " + domain, ClientID: r.ids[webUIClient],
		Audience: workflows.DefaultAPI, PermissionsFrom: webui.FromAccessToken, HTTP: d.web("https://" + domain),
	}
	run("web ui registration", func(ctx context.Context) error { return w.followUsers(ctx, d, client, &r) })
	return provider, nil
}

// simulatedObjects are what tenant setup would make as well, and will adopt.
func simulatedObjects(setup workflows.TenantSetupInput) []v1.Resource {
	yes := true
	api := &v1.Auth0ResourceServerSpec{
		Identifier: setup.API.Identifier, Name: &setup.API.Name, SigningAlg: ptr("RS256"), TokenLifetime: &setup.API.TokenLifetimeSeconds,
		EnforcePolicies: &yes, TokenDialect: ptr("access_token_authz"), AllowOfflineAccess: &yes,
	}
	var roles []v1.Resource
	for _, role := range setup.Roles {
		spec := &v1.Auth0RoleSpec{Description: ptr(role.Description)}
		for _, p := range role.Permissions {
			api.Scopes = append(api.Scopes, v1.Scope{Name: p, Description: role.Description})
			spec.Permissions = append(spec.Permissions, v1.Permission{Name: p, ResourceServerIdentifier: setup.API.Identifier})
		}
		roles = append(roles, v1.New(role.Name, spec))
	}
	return append([]v1.Resource{v1.New("temporal", api)}, roles...)
}

// LoginPorts are the ports on 127.0.0.1 where `tenon login` may wait for the
// browser: Auth0 wants every address registered.
func LoginPorts() []int { return []int{8234, 8235, 8236} }

// LoginCallback is the address that is registered for a port.
func LoginCallback(port int) string { return "http://127.0.0.1:" + strconv.Itoa(port) + "/callback" }

// loginApplications are the two applications, for the users of a connection
// besides those that they serve already.
func loginApplications(webUI, connection string) []v1.Resource {
	tokens := &v1.RefreshToken{
		RotationType: ptr("rotating"), ExpirationType: ptr("expiring"), Leeway: ptr(0),
		TokenLifetime: ptr(2_592_000), IdleTokenLifetime: ptr(1_296_000),
		InfiniteTokenLifetime: ptr(false), InfiniteIdleTokenLifetime: ptr(false),
	}
	// Command lines run side by side and do not lock the file that holds the
	// token: the second of two uses within moments must not end the session.
	shared := *tokens
	shared.Leeway = ptr(30)
	users := []v1.StringOrRef{v1.Value(connection)}
	callbacks := []string{}
	for _, port := range LoginPorts() {
		callbacks = append(callbacks, LoginCallback(port))
	}
	return []v1.Resource{
		v1.New(webUIClient, &v1.Auth0ClientSpec{
			ApplicationType: "regular_web", Description: ptr("Temporal Web UI"),
			Callbacks: []string{webUI + "/auth/sso/callback"}, AllowedLogoutURLs: []string{webUI + "/auth/signed-out"},
			GrantTypes: []string{"authorization_code", "refresh_token"}, TokenEndpointAuthMethod: ptr("none"),
			OIDCConformant: ptr(true), JWTConfiguration: &v1.JWTConfiguration{Alg: ptr("RS256")}, RefreshToken: tokens,
			EnabledConnections: users,
		}),
		v1.New(loginClient, &v1.Auth0ClientSpec{
			ApplicationType: "native", Description: ptr("tenon login"), Callbacks: callbacks,
			GrantTypes:              []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"},
			TokenEndpointAuthMethod: ptr("none"),
			OIDCConformant:          ptr(true), JWTConfiguration: &v1.JWTConfiguration{Alg: ptr("RS256")}, RefreshToken: &shared,
			EnabledConnections: users,
		}),
	}
}

func ptr[T any](v T) *T { return &v }

// registration applies resources one by one.
type registration struct {
	engine engine.Engine
	tenant string
	ids    map[string]string // object ids by name
}

// ensure makes a resource, or with update brings it up to date.
func (r *registration) ensure(ctx context.Context, res v1.Resource, update bool) error {
	plan, err := r.engine.Plan(ctx, engine.Request{Tenant: r.tenant, Resources: []v1.Resource{res}})
	if err != nil {
		return err
	}
	for _, step := range plan.Steps {
		id := step.ObjectID
		if step.Action == engine.Create || (update && step.Action != engine.None) {
			result, err := r.engine.Apply(ctx, engine.ApplyRequest{Tenant: r.tenant, Run: "web-ui", Step: step})
			if err != nil {
				return err
			}
			id = result.ObjectID
		}
		r.ids[step.Key.Name] = id
	}
	return nil
}

// ensurePerson makes the one person of a new simulated tenant, with a password
// that is kept in a file for whoever runs it. A person who was removed on
// purpose stays away: the file is the mark.
func (w *webUIPart) ensurePerson(ctx context.Context, d *Daemon, client *auth0.Client, r *registration) error {
	var known []json.RawMessage
	if err := client.Do(ctx, auth0.Request{Operation: "find user", Method: http.MethodGet, Path: []string{"users-by-email"}, Query: url.Values{"email": {demoPerson}}}, &known); err != nil {
		return err
	}
	password, err := d.secrets["file"].Get(ctx, demoPersonPassword)
	if len(known) > 0 {
		if err == nil {
			w.person = demoPerson
		}
		return nil
	}
	if err == nil && !d.cfg.Simulator.Memory {
		return nil
	}
	if err != nil {
		if !errors.Is(err, secret.ErrNotFound) {
			return err
		}
		if password, err = NewPassword(); err != nil {
			return err
		}
		if err := os.MkdirAll(d.dir.File("secrets"), 0o700); err != nil {
			return err
		}
	}
	err = client.Do(ctx, auth0.Request{Operation: "create user", Method: http.MethodPost, Path: []string{"users"}, Secrets: []secret.Value{password}, Body: map[string]any{
		"connection": builtInConnection, "email": demoPerson, "email_verified": true, "name": "Demo Person", "password": password.Reveal(),
	}}, nil)
	if err != nil {
		return err
	}
	if err := r.ensure(ctx, v1.New(demoPerson, &v1.Auth0UserSpec{Connection: builtInConnection, Email: demoPerson, Roles: []v1.StringOrRef{v1.Value("admin")}}), true); err != nil {
		return err
	}
	if err := d.secrets["file"].Put(ctx, demoPersonPassword, password); err != nil {
		return err
	}
	w.person = demoPerson
	return nil
}

// followUsers lets the users of tenant setup's database sign in as well, once
// there is one.
func (w *webUIPart) followUsers(ctx context.Context, d *Daemon, client *auth0.Client, r *registration) error {
	ticker := time.NewTicker(usersInterval)
	defer ticker.Stop()
	for {
		enabled, err := w.enableUsers(ctx, client, r)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			// The simulator is told to fail on purpose at times.
			d.log.Debug("users of the tenant cannot be enabled for the web ui yet", "error", err)
		case enabled:
			<-ctx.Done()
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (w *webUIPart) enableUsers(ctx context.Context, client *auth0.Client, r *registration) (bool, error) {
	var found []json.RawMessage
	err := client.Do(ctx, auth0.Request{Operation: "find connection", Method: http.MethodGet, Path: []string{"connections"}, Query: url.Values{"name": {workflows.DefaultConnection}}}, &found)
	if err != nil || len(found) == 0 {
		return false, err
	}
	for _, res := range loginApplications(w.url(), workflows.DefaultConnection) {
		if err := r.ensure(ctx, res, true); err != nil {
			return false, err
		}
	}
	return true, nil
}

// DemoPerson is who can sign in to the simulated tenant, and the file that holds
// their password. Valid once Ready is closed; "" if there is none.
func (d *Daemon) DemoPerson() (email, passwordFile string) {
	if d.webUI == nil || d.webUI.person == "" {
		return "", ""
	}
	return d.webUI.person, d.dir.File("secrets", demoPersonPassword)
}
