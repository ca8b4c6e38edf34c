package workflows_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
	"github.com/tenonhq/tenon/internal/workflows"
)

// world is a workflow environment over fakes.
type world struct {
	*testsuite.TestWorkflowEnvironment
	t      *testing.T
	engine *fakeEngine
	tenant *fakeTenant
	store  *memoryStore
	act    *workflows.Activities
	domain string
	// login is the fake tenant's /authorize.
	login http.HandlerFunc
	spy   *spyConverter
}

// spyConverter keeps a copy of everything that enters or leaves a history.
type spyConverter struct {
	converter.DataConverter
	seen []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, engine: newFakeEngine(), store: newMemoryStore()}
	w.engine.secrets = w.store
	w.login = func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("redirect_uri") != "https://grafana.test/login/generic_oauth" {
			http.Error(rw, "Callback URL mismatch", http.StatusForbidden)
			return
		}
		http.Redirect(rw, r, "/u/login?state=x", http.StatusFound)
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/jwks.json":
			_, _ = rw.Write(testKeys(t))
		case "/authorize":
			w.login(rw, r)
		default:
			http.NotFound(rw, r)
		}
	}))
	t.Cleanup(server.Close)
	w.domain = strings.TrimPrefix(server.URL, "https://")
	w.tenant = &fakeTenant{scopes: workflows.RequiredScopes(), discovery: func() (*auth0.Discovery, error) {
		return &auth0.Discovery{
			Issuer: server.URL + "/", AuthorizationEndpoint: server.URL + "/authorize", TokenEndpoint: server.URL + "/oauth/token",
			UserinfoEndpoint: server.URL + "/userinfo", JWKSURI: server.URL + "/.well-known/jwks.json", KeyIDs: []string{"k1"},
		}, nil
	}}
	w.act = &workflows.Activities{
		Engines: map[string]engine.Engine{"direct": w.engine},
		Tenants: func(_ context.Context, domain string) (workflows.Tenant, error) {
			if domain != w.domain {
				return nil, &auth0.Error{Class: auth0.UnknownTenant, Operation: "look up tenant", Message: "not configured"}
			}
			return w.tenant, nil
		},
		Secrets:   secret.Stores{"test": w.store},
		SecretRef: testRef,
		OutputDir: t.TempDir(),
		HTTP:      func(string) *http.Client { return server.Client() },
	}
	w.reset()
	return w
}

// reset gives a new environment over the same world, as a second run has.
func (w *world) reset() {
	suite := &testsuite.WorkflowTestSuite{}
	suite.SetLogger(quiet{})
	w.TestWorkflowEnvironment = suite.NewTestWorkflowEnvironment()
	w.SetTestTimeout(20 * time.Second)
	w.spy = &spyConverter{DataConverter: converter.GetDefaultDataConverter()}
	w.SetDataConverter(w.spy)
	require.NoError(w.t, workflows.Register(w.TestWorkflowEnvironment, w.act))
}

func (w *world) progress() workflows.Progress {
	w.t.Helper()
	value, err := w.QueryWorkflow(workflows.QueryProgress)
	require.NoError(w.t, err)
	var p workflows.Progress
	require.NoError(w.t, value.Get(&p))
	return p
}

func (w *world) failure() workflows.Failure {
	w.t.Helper()
	require.True(w.t, w.IsWorkflowCompleted())
	err := w.GetWorkflowError()
	require.Error(w.t, err)
	f, ok := workflows.FailureOf(err)
	require.True(w.t, ok, "no Failure in %v", err)
	return f
}

var signingKey = func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}()

func testKeys(t *testing.T) []byte {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: signingKey.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}}
	data, err := json.Marshal(set)
	require.NoError(t, err)
	return data
}

func (w *world) setup() workflows.TenantSetupInput {
	return workflows.TenantSetupInput{Tenant: w.domain}
}

func (w *world) app() workflows.WebAppInput {
	return workflows.WebAppInput{Tenant: w.domain, Name: "grafana", URL: "https://grafana.test/"}
}

func (w *world) user() workflows.UserInput {
	return workflows.UserInput{Tenant: w.domain, Email: "ada@example.com", Name: "Ada", Roles: []string{"admin"}}
}

func entitlement(what string) error {
	return &auth0.Error{Class: auth0.Entitlement, Status: 403, Operation: what, Message: "Please upgrade your subscription"}
}

func isTenantPart(step engine.Step, name string) bool {
	return step.Key == engine.Key{Kind: v1.KindTenant, Name: name}
}

func TestTenantSetup(t *testing.T) {
	w := newWorld(t)
	w.ExecuteWorkflow(workflows.Auth0TenantSetupWorkflow, w.setup())
	require.NoError(t, w.GetWorkflowError())
	var result workflows.TenantSetupResult
	require.NoError(t, w.GetWorkflowResult(&result))
	require.Equal(t, []string{"admin", "editor", "viewer"}, result.Roles)
	require.Equal(t, "Tenon-Users", result.Connection)
	require.Len(t, result.Objects, 11)
	require.Empty(t, result.Warnings)
	require.Contains(t, w.engine.keys(), "Auth0Connection/Tenon-Users")

	p := w.progress()
	require.Equal(t, "done", p.State)
	require.Len(t, p.Steps, 12)
	for _, s := range p.Steps {
		require.Equal(t, workflows.StepDone, s.State, s.Name)
		require.NotNil(t, s.StartedAt, s.Name)
		require.NotNil(t, s.EndedAt, s.Name)
	}

	// Again: nothing changes.
	w.reset()
	w.engine.calls = nil
	w.ExecuteWorkflow(workflows.Auth0TenantSetupWorkflow, w.setup())
	require.NoError(t, w.GetWorkflowError())
	for _, call := range w.engine.calls {
		require.True(t, strings.HasPrefix(call, "apply none"), call)
	}
}

func TestTenantSetupOrder(t *testing.T) {
	w := newWorld(t)
	w.ExecuteWorkflow(workflows.Auth0TenantSetupWorkflow, w.setup())
	require.NoError(t, w.GetWorkflowError())
	at := map[string]int{}
	for i, call := range w.engine.calls {
		at[call] = i + 1
	}
	require.NotZero(t, at["apply create Auth0ResourceServer/temporal"])
	require.Greater(t, at["apply create Auth0Role/admin"], at["apply create Auth0ResourceServer/temporal"])
}

// The permissions that tenant setup makes are those that the cluster reads.
func TestPermissionsAreUnderstood(t *testing.T) {
	w := newWorld(t)
	w.ExecuteWorkflow(workflows.Auth0TenantSetupWorkflow, w.setup())
	require.NoError(t, w.GetWorkflowError())
	var api v1.Auth0ResourceServerSpec
	require.NoError(t, json.Unmarshal([]byte(w.engine.objects[engine.Key{Kind: v1.KindResourceServer, Name: "temporal"}].spec), &api))
	require.NotEmpty(t, api.Scopes)
	names := map[string]bool{}
	for _, scope := range api.Scopes {
		_, err := token.ParsePermission(scope.Name)
		require.NoError(t, err)
		names[scope.Name] = true
	}
	require.True(t, names["default:read"])
	require.Equal(t, "access_token_authz", *api.TokenDialect)
	for _, role := range []string{"admin", "editor", "viewer"} {
		var spec v1.Auth0RoleSpec
		require.NoError(t, json.Unmarshal([]byte(w.engine.objects[engine.Key{Kind: v1.KindRole, Name: role}].spec), &spec))
		require.NotEmpty(t, spec.Permissions)
		for _, p := range spec.Permissions {
			require.True(t, names[p.Name], p.Name)
		}
	}
}

func TestMissingEntitlementIsAWarning(t *testing.T) {
	for _, where := range []string{"plan", "apply"} {
		t.Run(where, func(t *testing.T) {
			w := newWorld(t)
			if where == "plan" {
				w.engine.onPlan = func(r engine.Request) error {
					if r.Resources[0].Metadata.Name == "breached-password" {
						return entitlement("read breached password detection")
					}
					return nil
				}
			} else {
				w.engine.onApply = func(s engine.Step) error {
					if isTenantPart(s, "breached-password") {
						return entitlement("update breached password detection")
					}
					return nil
				}
			}
			w.ExecuteWorkflow(workflows.Auth0TenantSetupWorkflow, w.setup())
			require.NoError(t, w.GetWorkflowError())
			var result workflows.TenantSetupResult
			require.NoError(t, w.GetWorkflowResult(&result))
			require.Len(t, result.Warnings, 1)
			require.Contains(t, result.Warnings[0], "Breached-password detection")
			for _, s := range w.progress().Steps {
				if s.Name == "Auth0Tenant/breached-password" {
					require.Equal(t, workflows.StepSkipped, s.State)
				}
			}
		})
	}
}

// What the subscription must have is no warning.
func TestMissingEntitlementOfARequiredPartFails(t *testing.T) {
	w := newWorld(t)
	w.engine.onApply = func(s engine.Step) error {
		if s.Key.Kind == v1.KindConnection {
			return entitlement("create connection")
		}
		return nil
	}
	w.ExecuteWorkflow(workflows.Auth0TenantSetupWorkflow, w.setup())
	f := w.failure()
	require.Equal(t, "Auth0Connection/Tenon-Users", f.Step)
	require.Equal(t, workflows.ErrorEntitlement, workflows.ErrorType(w.GetWorkflowError()))
	require.Empty(t, f.NotUndone)
	for _, key := range w.engine.keys() {
		require.True(t, strings.HasPrefix(key, "Auth0Tenant/"), "%s was left behind", key)
	}
}

func TestScopes(t *testing.T) {
	w := newWorld(t)
	w.tenant.scopes = append([]string{"create:organizations"}, w.tenant.scopes...)
	w.ExecuteWorkflow(workflows.Auth0TenantSetupWorkflow, w.setup())
	require.NoError(t, w.GetWorkflowError())
	var result workflows.TenantSetupResult
	require.NoError(t, w.GetWorkflowResult(&result))
	require.Equal(t, []string{"create:organizations"}, result.Credentials.Excess)

	w.reset()
	w.tenant.scopes = []string{"read:tenant_settings"}
	w.engine.calls = nil
	w.ExecuteWorkflow(workflows.Auth0TenantSetupWorkflow, w.setup())
	require.Equal(t, workflows.ErrorMissingScopes, workflows.ErrorType(w.GetWorkflowError()))
	require.ErrorContains(t, w.GetWorkflowError(), "update:tenant_settings")
	require.Empty(t, w.engine.calls, "something was changed without the scopes to undo it")
}

func TestRefusedInput(t *testing.T) {
	for name, c := range map[string]struct {
		workflow, input any
		problems        []string
	}{
		"no tenant": {workflows.Auth0TenantSetupWorkflow, workflows.TenantSetupInput{}, []string{"tenant: is required"}},
		"several": {workflows.Auth0TenantSetupWorkflow,
			workflows.TenantSetupInput{Tenant: "https://x", MFAPolicy: "sometimes", Connection: workflows.ConnectionInput{Name: "a b"}},
			[]string{"tenant: ", "mfaPolicy: ", "connection.name: "}},
		"traversal":        {workflows.WebAppRegistrationWorkflow, workflows.WebAppInput{Tenant: "t.test", Name: "../../etc", URL: "https://g.test"}, []string{"name: "}},
		"plain http":       {workflows.WebAppRegistrationWorkflow, workflows.WebAppInput{Tenant: "t.test", Name: "g", URL: "http://g.test"}, []string{"url: "}},
		"quote in a claim": {workflows.WebAppRegistrationWorkflow, workflows.WebAppInput{Tenant: "t.test", Name: "g", URL: "https://g.test", RolesClaim: `https://x/"y`}, []string{"rolesClaim: ", "roles: "}},
		"email":            {workflows.UserRegistrationWorkflow, workflows.UserInput{Tenant: "t.test", Email: "Ada <ada@example.com>"}, []string{"email: "}},
		"another tenant": {workflows.OnboardingWorkflow, workflows.OnboardingInput{Tenant: "t.test",
			App:  workflows.WebAppInput{Tenant: "evil.test", Name: "g", URL: "https://g.test"},
			User: workflows.UserInput{Email: "a@b.c"}}, []string{"app.tenant: "}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.ExecuteWorkflow(c.workflow, c.input)
			err := w.GetWorkflowError()
			require.Equal(t, workflows.ErrorInvalidInput, workflows.ErrorType(err))
			for _, problem := range c.problems {
				require.ErrorContains(t, err, problem)
			}
			require.Empty(t, w.engine.calls)
		})
	}
}

func TestUnknownTenantIsRefusedBeforeAnythingElse(t *testing.T) {
	w := newWorld(t)
	in := w.setup()
	in.Tenant = "attacker.example"
	w.ExecuteWorkflow(workflows.Auth0TenantSetupWorkflow, in)
	require.Equal(t, workflows.ErrorUnknownTenant, workflows.ErrorType(w.GetWorkflowError()))
	require.Empty(t, w.engine.calls)
}

func TestUnknownEngine(t *testing.T) {
	w := newWorld(t)
	in := w.setup()
	in.Engine = "chef"
	w.ExecuteWorkflow(workflows.Auth0TenantSetupWorkflow, in)
	require.Equal(t, workflows.ErrorNotConfigured, workflows.ErrorType(w.GetWorkflowError()))
}

func TestWebApp(t *testing.T) {
	w := newWorld(t)
	w.ExecuteWorkflow(workflows.WebAppRegistrationWorkflow, w.app())
	require.NoError(t, w.GetWorkflowError())
	var result workflows.WebAppResult
	require.NoError(t, w.GetWorkflowResult(&result))
	require.Equal(t, "abc123", result.ClientID)
	require.Equal(t, "test:CLIENT_SECRET", result.ClientSecret)
	require.Len(t, result.Proof, 4)
	env, err := os.ReadFile(result.Settings.Env)
	require.NoError(t, err)
	require.Contains(t, string(env), "s3cr3t-client")
	ini, err := os.ReadFile(result.Settings.INI)
	require.NoError(t, err)
	require.NotContains(t, string(ini), "s3cr3t")

	var client v1.Auth0ClientSpec
	require.NoError(t, json.Unmarshal([]byte(w.engine.objects[engine.Key{Kind: v1.KindClient, Name: "grafana"}].spec), &client))
	require.Equal(t, []string{"https://grafana.test/login/generic_oauth"}, client.Callbacks)
	require.Equal(t, []string{"authorization_code", "refresh_token"}, client.GrantTypes)
	require.Equal(t, map[string]string{"roles_claim": "https://tenon.dev/roles"}, client.ClientMetadata)
}

func TestWebAppProofFails(t *testing.T) {
	for name, c := range map[string]struct {
		login  http.HandlerFunc
		reason string
	}{
		"client refused": {func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusForbidden) }, "answers 403"},
		"any callback": {func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/u/login", http.StatusFound) },
			"accepts a callback that was not registered"},
		"error page": {func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "/error?error=invalid_request", http.StatusFound)
		}, "refuses the client: invalid_request"},
		"error to the callback": {func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, r.URL.Query().Get("redirect_uri")+"?error=unauthorized_client", http.StatusFound)
		}, "refuses the client: unauthorized_client"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.login = c.login
			w.ExecuteWorkflow(workflows.WebAppRegistrationWorkflow, w.app())
			f := w.failure()
			require.Equal(t, workflows.ErrorProof, workflows.ErrorType(w.GetWorkflowError()))
			require.ErrorContains(t, w.GetWorkflowError(), c.reason)
			require.Equal(t, "proof", f.Step)
			require.Equal(t, []workflows.Undone{
				{Step: "settings", What: "removed the settings of grafana"},
				{Step: "Auth0Client/grafana", What: "deleted Auth0Client/grafana"},
			}, f.Undone)
			require.Equal(t, []string{"Auth0Action/tenon-roles-claim"}, f.Kept)
			require.Equal(t, []string{"Auth0Action/tenon-roles-claim"}, w.engine.keys())
			require.NoFileExists(t, filepath.Join(w.act.OutputDir, "grafana", "grafana.env"))
		})
	}
}

func TestPushNeedsAConfiguredGrafana(t *testing.T) {
	w := newWorld(t)
	in := w.app()
	in.Push = true
	w.ExecuteWorkflow(workflows.WebAppRegistrationWorkflow, in)
	f := w.failure()
	require.Equal(t, workflows.ErrorNotConfigured, workflows.ErrorType(w.GetWorkflowError()))
	require.Equal(t, "push", f.Step)
	require.Len(t, f.NotUndone, 1)
	require.NotContains(t, w.engine.keys(), "Auth0Client/grafana")
}

// pushTarget is a world whose worker has a token for a Grafana, which answers PUT
// with the status.
func pushTarget(t *testing.T, status int) (w *world, in workflows.WebAppInput, record *map[string]any) {
	t.Helper()
	w = newWorld(t)
	record = &map[string]any{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		require.Equal(t, "Bearer s3cr3t-token", r.Header.Get("Authorization"))
		if r.Method == http.MethodPut {
			if status == http.StatusNoContent {
				var body struct {
					Settings map[string]any `json:"settings"`
				}
				require.NoError(t, json.NewDecoder(r.Body).Decode(&body))
				*record = body.Settings
			}
			rw.WriteHeader(status)
			return
		}
		require.NoError(t, json.NewEncoder(rw).Encode(map[string]any{"settings": *record}))
	}))
	t.Cleanup(server.Close)
	tenant := w.act.HTTP("")
	w.act.HTTP = func(address string) *http.Client {
		if address == server.URL {
			return server.Client()
		}
		return tenant
	}
	w.login = func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("redirect_uri") != server.URL+"/login/generic_oauth" {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		http.Redirect(rw, r, "/u/login", http.StatusFound)
	}
	require.NoError(t, w.store.Put(t.Context(), "grafana", secret.New("s3cr3t-token")))
	w.act.Grafanas = map[string]workflows.GrafanaTarget{server.URL: {Token: "test:grafana"}}
	in = w.app()
	in.URL, in.Push = server.URL, true
	w.reset()
	return w, in, record
}

func TestPush(t *testing.T) {
	w, in, record := pushTarget(t, http.StatusNoContent)
	w.ExecuteWorkflow(workflows.WebAppRegistrationWorkflow, in)
	require.NoError(t, w.GetWorkflowError())
	var result workflows.WebAppResult
	require.NoError(t, w.GetWorkflowResult(&result))
	require.Equal(t, in.URL, result.Settings.PushedTo)
	require.Equal(t, "abc123", (*record)["clientId"])
	require.Equal(t, "s3cr3t-client", (*record)["clientSecret"])
	w.requireNoSecrets()
}

func TestPushRefused(t *testing.T) {
	w, in, _ := pushTarget(t, http.StatusForbidden)
	w.ExecuteWorkflow(workflows.WebAppRegistrationWorkflow, in)
	f := w.failure()
	require.Equal(t, workflows.ErrorGrafana, workflows.ErrorType(w.GetWorkflowError()))
	require.ErrorContains(t, w.GetWorkflowError(), "settings:write")
	require.Len(t, f.Undone, 2)
	require.NotContains(t, w.engine.keys(), "Auth0Client/grafana")
	w.requireNoSecrets()
}

func TestUser(t *testing.T) {
	w := newWorld(t)
	w.ExecuteWorkflow(workflows.UserRegistrationWorkflow, w.user())
	require.NoError(t, w.GetWorkflowError())
	var result workflows.UserResult
	require.NoError(t, w.GetWorkflowResult(&result))
	require.Equal(t, "auth0|1", result.UserID)
	require.Equal(t, []string{"apply create Auth0User/ada@example.com", "apply update Auth0User/ada@example.com"}, w.engine.calls)
	require.WithinDuration(t, time.Now().Add(24*time.Hour), *result.Tickets.ExpiresAt, time.Minute)
	for _, ref := range []string{result.Tickets.Verification, result.Tickets.Password, result.Tickets.MFA} {
		value, err := w.act.Secrets.Get(t.Context(), secret.Ref(ref))
		require.NoError(t, err)
		require.Contains(t, value.Reveal(), "ticket=s3cr3t-")
	}
	w.requireNoSecrets()
}

// A user whose roles cannot be assigned is gone afterwards, and the failure
// says so.
func TestUserIsUndoneWhenRolesFail(t *testing.T) {
	w := newWorld(t)
	w.engine.onApply = func(s engine.Step) error {
		if s.Action == engine.Update {
			return &auth0.Error{Class: auth0.NotFound, Operation: "assign roles", Message: "The role does not exist."}
		}
		return nil
	}
	w.ExecuteWorkflow(workflows.UserRegistrationWorkflow, w.user())
	f := w.failure()
	require.Equal(t, workflows.ErrorNotFound, workflows.ErrorType(w.GetWorkflowError()))
	require.Equal(t, "roles", f.Step)
	require.Empty(t, f.NotUndone)
	require.Contains(t, f.Undone, workflows.Undone{Step: "Auth0User/ada@example.com", What: "deleted Auth0User/ada@example.com"})
	require.Empty(t, w.engine.keys())
	p := w.progress()
	require.Equal(t, "failed", p.State)
	require.Equal(t, f.Undone, p.Undone)
}

// The answer to the create is lost for good: the user may exist, so it is
// undone although the step never succeeded.
func TestLostAnswerIsUndone(t *testing.T) {
	w := newWorld(t)
	w.engine.after = func(s engine.Step) error {
		if s.Key.Kind == v1.KindUser {
			return &auth0.Error{Class: auth0.Invalid, Operation: "create user", Message: errLost.Error()}
		}
		return nil
	}
	w.ExecuteWorkflow(workflows.UserRegistrationWorkflow, w.user())
	f := w.failure()
	require.Equal(t, []workflows.Undone{{Step: "Auth0User/ada@example.com", What: "deleted Auth0User/ada@example.com"}}, f.Undone)
	require.Empty(t, w.engine.keys())
}

func TestTicketsAreUndone(t *testing.T) {
	w := newWorld(t)
	w.tenant.onTicket = func(kind string) error {
		if kind == "mfa-enrollment" {
			return entitlement("create enrolment ticket")
		}
		return nil
	}
	w.ExecuteWorkflow(workflows.UserRegistrationWorkflow, w.user())
	f := w.failure()
	require.Equal(t, "mfa", f.Step)
	require.Empty(t, w.engine.keys())
	require.Empty(t, w.store.names(), "tickets were left in the store")
}

// An undo that fails is said, and does not stop the others.
func TestUndoThatFails(t *testing.T) {
	w := newWorld(t)
	w.login = func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusForbidden) }
	w.engine.onRevert = func(engine.Step) error { return fmt.Errorf("revert: %w", engine.ErrStale) }
	w.ExecuteWorkflow(workflows.WebAppRegistrationWorkflow, w.app())
	f := w.failure()
	require.Len(t, f.NotUndone, 1)
	require.Equal(t, "Auth0Client/grafana", f.NotUndone[0].Step)
	require.NotEmpty(t, f.NotUndone[0].Error)
	require.Len(t, f.Undone, 1)
	require.ErrorContains(t, w.GetWorkflowError(), "not everything could be undone")
}

// A tenant that changes between plan and apply is planned again.
func TestStalePlanIsPlannedAgain(t *testing.T) {
	w := newWorld(t)
	times := 0
	w.engine.onApply = func(s engine.Step) error {
		if s.Key.Kind == v1.KindUser && times < 2 {
			times++
			return fmt.Errorf("apply: %w", engine.ErrStale)
		}
		return nil
	}
	w.ExecuteWorkflow(workflows.UserRegistrationWorkflow, w.user())
	require.NoError(t, w.GetWorkflowError())

	w.reset()
	w.engine.onApply = func(s engine.Step) error { return engine.ErrStale }
	in := w.user()
	in.Email = "other@example.com"
	w.ExecuteWorkflow(workflows.UserRegistrationWorkflow, in)
	require.Equal(t, workflows.ErrorStalePlan, workflows.ErrorType(w.GetWorkflowError()))
}

// Errors that heal are waited for, with the tenant's own time; others are not.
func TestRetries(t *testing.T) {
	w := newWorld(t)
	attempts := 0
	w.engine.onApply = func(engine.Step) error {
		attempts++
		switch attempts {
		case 1:
			return &auth0.Error{Class: auth0.RateLimited, Operation: "create user", RetryAfter: 42 * time.Second}
		case 2:
			return &auth0.Error{Class: auth0.Unavailable, Operation: "create user"}
		}
		return nil
	}
	began := w.Now()
	w.ExecuteWorkflow(workflows.UserRegistrationWorkflow, w.user())
	require.NoError(t, w.GetWorkflowError())
	require.GreaterOrEqual(t, w.Now().Sub(began), 42*time.Second)
	require.Equal(t, 4, attempts)

	w.reset()
	attempts = 0
	w.engine.onApply = func(engine.Step) error {
		attempts++
		return &auth0.Error{Class: auth0.Invalid, Operation: "create user"}
	}
	in := w.user()
	in.Email = "other@example.com"
	w.ExecuteWorkflow(workflows.UserRegistrationWorkflow, in)
	require.Equal(t, workflows.ErrorRejected, workflows.ErrorType(w.GetWorkflowError()))
	require.Equal(t, 1, attempts)

	w.reset()
	attempts = 0
	w.engine.onApply = func(engine.Step) error { attempts++; return errors.New("who knows") }
	w.ExecuteWorkflow(workflows.UserRegistrationWorkflow, in)
	require.Equal(t, workflows.ErrorUnexpected, workflows.ErrorType(w.GetWorkflowError()))
	require.Equal(t, 5, attempts)
}

// Cancelling undoes, on a context that the cancellation does not reach.
func TestCancel(t *testing.T) {
	w := newWorld(t)
	w.tenant.onTicket = func(string) error {
		w.CancelWorkflow()
		return &auth0.Error{Class: auth0.Unavailable, Operation: "create ticket"}
	}
	w.ExecuteWorkflow(workflows.UserRegistrationWorkflow, w.user())
	err := w.GetWorkflowError()
	var cancelled *temporal.CanceledError
	require.ErrorAs(t, err, &cancelled)
	f, ok := workflows.FailureOf(err)
	require.True(t, ok)
	require.NotEmpty(t, f.Undone)
	require.Empty(t, w.engine.keys())
	require.Equal(t, "cancelled", w.progress().State)
}

func TestOnboarding(t *testing.T) {
	w := newWorld(t)
	w.ExecuteWorkflow(workflows.OnboardingWorkflow, workflows.OnboardingInput{
		Tenant: w.domain, App: workflows.WebAppInput{Name: "grafana", URL: "https://grafana.test"},
		User: workflows.UserInput{Email: "ada@example.com", Roles: []string{"admin"}},
	})
	require.NoError(t, w.GetWorkflowError())
	var result workflows.OnboardingResult
	require.NoError(t, w.GetWorkflowResult(&result))
	require.Equal(t, "abc123", result.App.ClientID)
	require.Equal(t, "auth0|1", result.User.UserID)
	require.Len(t, result.Runs, 3)
	require.True(t, strings.HasSuffix(result.Runs[0], "/tenant"))
	p := w.progress()
	require.Equal(t, "done", p.State)
	require.Equal(t, result.Runs[2], p.Steps[2].Child)
	w.requireNoSecrets()
}

// The part that fails undoes itself; those before it stay; the onboarding's
// failure says both.
func TestOnboardingFailure(t *testing.T) {
	w := newWorld(t)
	w.tenant.onTicket = func(string) error { return &auth0.Error{Class: auth0.Invalid, Operation: "create ticket"} }
	w.ExecuteWorkflow(workflows.OnboardingWorkflow, workflows.OnboardingInput{
		Tenant: w.domain, App: workflows.WebAppInput{Name: "grafana", URL: "https://grafana.test"},
		User: workflows.UserInput{Email: "ada@example.com", Roles: []string{"admin"}},
	})
	f := w.failure()
	require.Equal(t, "user", f.Step)
	require.Equal(t, workflows.TypeOnboarding, f.Workflow)
	require.NotEmpty(t, f.Undone)
	require.Equal(t, workflows.ErrorRejected, workflows.ErrorType(w.GetWorkflowError()))
	require.NotContains(t, w.engine.keys(), "Auth0User/ada@example.com")
	require.Contains(t, w.engine.keys(), "Auth0Client/grafana")
}

func TestRegisterNeedsItsDependencies(t *testing.T) {
	suite := &testsuite.WorkflowTestSuite{}
	err := workflows.Register(suite.NewTestWorkflowEnvironment(), &workflows.Activities{})
	require.EqualError(t, err, "activities need Engines, SecretRef, Secrets, Tenants")
}

func TestIDs(t *testing.T) {
	require.Equal(t, "tenant-setup/acme.eu.auth0.com", workflows.TenantSetupID("acme.eu.auth0.com"))
	require.Equal(t, "app/acme.eu.auth0.com/grafana", workflows.WebAppID("acme.eu.auth0.com", "grafana"))
	require.Equal(t, "user/t/Tenon-Users/ada@example.com", workflows.UserID("t", "Tenon-Users", "Ada@example.com"))
	require.Equal(t, "onboarding/t", workflows.OnboardingID("t"))
}

func TestDotenvRef(t *testing.T) {
	key := engine.Key{Kind: v1.KindClient, Name: "grafana"}
	ref := workflows.DotenvRef("acme.eu.auth0.com", key, "client_secret")
	require.Regexp(t, `^dotenv:ACME_EU_AUTH0_COM_GRAFANA_CLIENT_SECRET_[0-9A-F]{8}$`, ref)
	require.NotEqual(t, ref, workflows.DotenvRef("acme.eu.auth0.com", engine.Key{Kind: v1.KindClient, Name: "Grafana"}, "client_secret"))
	require.Regexp(t, `^dotenv:_127_0_0_1_4430_`, workflows.DotenvRef("127.0.0.1:4430", key, "client_secret"))
}

// Cancelling an onboarding cancels the part that runs, which undoes itself.
func TestCancelOnboarding(t *testing.T) {
	w := newWorld(t)
	w.tenant.onTicket = func(string) error {
		w.CancelWorkflow()
		return &auth0.Error{Class: auth0.Unavailable, Operation: "create ticket"}
	}
	w.ExecuteWorkflow(workflows.OnboardingWorkflow, workflows.OnboardingInput{
		Tenant: w.domain, App: workflows.WebAppInput{Name: "grafana", URL: "https://grafana.test"},
		User: workflows.UserInput{Email: "ada@example.com", Roles: []string{"admin"}},
	})
	err := w.GetWorkflowError()
	var cancelled *temporal.CanceledError
	require.ErrorAs(t, err, &cancelled)
	f, ok := workflows.FailureOf(err)
	require.True(t, ok)
	require.Equal(t, workflows.TypeOnboarding, f.Workflow)
	require.Equal(t, "user", f.Step)
	require.Contains(t, f.Undone, workflows.Undone{Step: "Auth0User/ada@example.com", What: "deleted Auth0User/ada@example.com"})
	require.NotContains(t, w.engine.keys(), "Auth0User/ada@example.com")
}

// The table has a row for every activity, and no row lets a dead worker's step
// wait for its whole time.
func TestPolicies(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	w.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		seen[info.ActivityType.Name] = true
		require.NotZero(t, info.HeartbeatTimeout, info.ActivityType.Name)
		require.LessOrEqual(t, info.HeartbeatTimeout, 10*time.Second, info.ActivityType.Name)
		require.LessOrEqual(t, info.Deadline.Sub(info.StartedTime), 10*time.Minute+time.Second)
	})
	w.ExecuteWorkflow(workflows.OnboardingWorkflow, workflows.OnboardingInput{
		Tenant: w.domain, App: workflows.WebAppInput{Name: "grafana", URL: "https://grafana.test"},
		User: workflows.UserInput{Email: "ada@example.com", Roles: []string{"admin"}},
	})
	require.NoError(t, w.GetWorkflowError())
	require.Len(t, seen, 7)
}

// A code is worth a login: where it may be sent is checked as strictly as in a
// manifest of a WebApp.
func TestWebAppCallbacks(t *testing.T) {
	for _, callback := range []string{"http://grafana.example/login/generic_oauth", "https://*.example/cb", "javascript:alert(1)"} {
		in := workflows.WebAppInput{Tenant: "t", Name: "grafana", URL: "https://grafana.example",
			Callbacks: []string{"https://grafana.example/login/generic_oauth", callback}}.WithDefaults()
		problems := in.Validate()
		require.Len(t, problems, 1, "%s: %v", callback, problems)
		require.Equal(t, "callbacks[1]", problems[0].Path)
	}
}
