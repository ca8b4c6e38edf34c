package direct_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/engine/direct"
	"github.com/tenonhq/tenon/internal/engine/enginetest"
	"github.com/tenonhq/tenon/internal/secret"
)

// via is a RoundTripper that a test puts between engine and tenant.
type via func(req *http.Request, next http.RoundTripper) (*http.Response, error)

type viaTransport struct {
	via  via
	next http.RoundTripper
}

func (t viaTransport) RoundTrip(req *http.Request) (*http.Response, error) { return t.via(req, t.next) }

// setup starts a tenant and an engine that reaches it through via.
func setup(t *testing.T, through via) (*direct.Engine, enginetest.Target, *enginetest.Memory) {
	return setupOn(t, simulate(t), through)
}

func setupOn(t *testing.T, target enginetest.Target, through via) (*direct.Engine, enginetest.Target, *enginetest.Memory) {
	store := enginetest.NewMemory(map[string]string{"worker": target.ClientSecret.Reveal()})
	cfg := auth0.Config{
		Tenants: map[string]auth0.Tenant{target.Domain: {ClientID: target.ClientID, ClientSecret: "memory:worker", CAFile: target.CAFile}},
		Secrets: secret.Stores{"memory": store, "env": anything{}},
	}
	if through != nil {
		cfg.Wrap = func(_ string, next http.RoundTripper) http.RoundTripper { return viaTransport{through, next} }
	}
	pool, err := auth0.New(cfg)
	require.NoError(t, err)
	e, err := direct.New(direct.Config{Tenants: pool, Secrets: cfg.Secrets,
		SecretRef: func(_ string, key engine.Key, output string) secret.Ref {
			return secret.Ref("memory:" + key.Name + "/" + output)
		}})
	require.NoError(t, err)
	return e, target, store
}

// anything is a store that has every secret but those that an export asks for.
type anything struct{}

func (anything) Get(_ context.Context, name string) (secret.Value, error) {
	if strings.HasPrefix(name, "AUTH0_") {
		return secret.Value{}, secret.ErrNotFound
	}
	return secret.New("value-of-" + name), nil
}

func (anything) Put(context.Context, string, secret.Value) error {
	return errors.New("it cannot be written")
}
func (anything) Delete(context.Context, string) error { return errors.New("it cannot be written") }

func converge(t *testing.T, e engine.Engine, tenant, run string, resources ...v1.Resource) (*engine.Plan, map[engine.Key]engine.Outputs, error) {
	t.Helper()
	plan, err := e.Plan(t.Context(), engine.Request{Tenant: tenant, Resources: resources})
	if err != nil {
		return nil, nil, err
	}
	outputs := map[engine.Key]engine.Outputs{}
	for _, s := range plan.Steps {
		res, err := e.Apply(t.Context(), engine.ApplyRequest{Tenant: tenant, Run: run, Step: s, Outputs: outputs})
		if err != nil {
			return plan, outputs, err
		}
		outputs[s.Key] = res.Outputs
	}
	return plan, outputs, nil
}

func answer(req *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Request: req, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
}

// hideSecrets answers as a tenant does whose token lacks read:client_keys.
func hideSecrets(rotations *int) via {
	return func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		res, err := next.RoundTrip(req)
		if err != nil || !strings.HasPrefix(req.URL.Path, "/api/v2/clients") {
			return res, err
		}
		if strings.HasSuffix(req.URL.Path, "/rotate-secret") {
			*rotations++
			return res, nil
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return nil, err
		}
		var doc map[string]any
		if json.Unmarshal(body, &doc) == nil && doc["client_secret"] != nil {
			delete(doc, "client_secret")
			if body, err = json.Marshal(doc); err != nil {
				return nil, err
			}
		}
		res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		res.Header.Del("Content-Length")
		return res, nil
	}
}

var batch = v1.New("batch", &v1.Auth0ClientSpec{ApplicationType: "non_interactive", GrantTypes: []string{"client_credentials"}})

func TestHiddenSecretOfOurOwnClientIsRotated(t *testing.T) {
	rotations := 0
	e, target, store := setup(t, hideSecrets(&rotations))
	_, outputs, err := converge(t, e, target.Domain, "run", batch)
	require.NoError(t, err)
	require.Equal(t, 1, rotations)
	require.Equal(t, "memory:batch/client_secret", outputs[engine.KeyOf(batch)]["client_secret"])
	require.NotEmpty(t, store.All()["batch/client_secret"])
}

func TestHiddenSecretOfAnAdoptedClientIsLeftAlone(t *testing.T) {
	rotations := 0
	hide := hideSecrets(&rotations)
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if req.Method == http.MethodPost && req.URL.Path == "/api/v2/clients" {
			// What arrives is as if somebody else had made it: without our marks.
			req = req.Clone(req.Context())
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(`{"name":"batch","app_type":"non_interactive"}`)), -1
		}
		return hide(req, next)
	})
	_, _, err := converge(t, e, target.Domain, "run", batch)
	require.Error(t, err)

	plan, _, err := converge(t, e, target.Domain, "run", batch)
	require.Equal(t, engine.Adopt, plan.Steps[0].Action)
	require.Equal(t, auth0.Scope, auth0.ClassOf(err))
	require.ErrorContains(t, err, "read:client_keys")
	require.Zero(t, rotations, "its secret is in use elsewhere")
}

func TestSeveralResourcesMayShareATenant(t *testing.T) {
	e, target, _ := setup(t, nil)
	part := func(name string, spec *v1.Auth0TenantSpec) v1.Resource {
		spec.Domain = target.Domain
		return v1.New(name, spec)
	}
	settings := part("settings", &v1.Auth0TenantSpec{Settings: &v1.TenantSettings{FriendlyName: new("A")}})
	mfa := part("mfa", &v1.Auth0TenantSpec{MFA: &v1.TenantMFA{Factors: map[string]bool{"otp": true}, Policy: new("always")}})
	plan, _, err := converge(t, e, target.Domain, "run", settings, mfa)
	require.NoError(t, err)
	require.Len(t, plan.Steps, 2)
	again, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Resources: []v1.Resource{settings, mfa}})
	require.NoError(t, err)
	require.False(t, again.Changes())

	_, err = e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Resources: []v1.Resource{settings,
		part("more", &v1.Auth0TenantSpec{Settings: &v1.TenantSettings{FriendlyName: new("B")}})}})
	require.ErrorContains(t, err, "Auth0Tenant/settings")
	var invalid *engine.InvalidError
	require.ErrorAs(t, err, &invalid)
	require.Equal(t, "spec.settings.friendly_name", invalid.Problems[0].Path)

	_, err = e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Resources: []v1.Resource{v1.New("other", &v1.Auth0TenantSpec{Domain: "other.auth0.com"})}})
	require.ErrorContains(t, err, "other.auth0.com", "a resource for another tenant is refused")
}

// TestAUserInTwoSteps is what user registration does: create, then roles; each
// step is undone by itself.
func TestAUserInTwoSteps(t *testing.T) {
	e, target, _ := setup(t, nil)
	_, _, err := converge(t, e, target.Domain, "before", v1.New("db", &v1.Auth0ConnectionSpec{Strategy: "auth0"}), v1.New("viewer", &v1.Auth0RoleSpec{}))
	require.NoError(t, err)
	bare := v1.New("ada", &v1.Auth0UserSpec{Connection: "db", Email: "ada@example.com"})
	withRoles := v1.New("ada", &v1.Auth0UserSpec{Connection: "db", Email: "ada@example.com", Roles: []v1.StringOrRef{v1.Value("viewer")}})
	created, _, err := converge(t, e, target.Domain, "run", bare)
	require.NoError(t, err)
	require.Equal(t, engine.Create, created.Steps[0].Action)
	roles, _, err := converge(t, e, target.Domain, "run", withRoles)
	require.NoError(t, err)
	require.Equal(t, engine.Update, roles.Steps[0].Action)
	require.Equal(t, []engine.Risk{engine.WidensAccess}, roles.Steps[0].Risks)

	revert := func(p *engine.Plan) engine.Action {
		res, err := e.Revert(t.Context(), engine.ApplyRequest{Tenant: target.Domain, Run: "run", Step: p.Steps[0]})
		require.NoError(t, err)
		return res.Action
	}
	require.Equal(t, engine.Update, revert(roles))
	none := v1.New("ada", &v1.Auth0UserSpec{Connection: "db", Email: "ada@example.com", Roles: []v1.StringOrRef{}})
	plan, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Resources: []v1.Resource{none}})
	require.NoError(t, err)
	require.Equal(t, engine.None, plan.Steps[0].Action, "the role is taken away")
	require.Equal(t, engine.Delete, revert(created))
	require.Equal(t, engine.None, revert(created))
}

func TestEntitlementReachesTheCaller(t *testing.T) {
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if req.Method == http.MethodPatch && strings.HasPrefix(req.URL.Path, "/api/v2/attack-protection/") {
			return answer(req, 403, `{"statusCode":403,"error":"Forbidden","message":"Please upgrade your subscription to use it","errorCode":"insufficient_entitlement"}`), nil
		}
		return next.RoundTrip(req)
	})
	_, _, err := converge(t, e, target.Domain, "run", v1.New("breached", &v1.Auth0TenantSpec{Domain: target.Domain,
		AttackProtection: &v1.AttackProtection{BreachedPassword: &v1.BreachedPasswordDetection{Enabled: new(true)}}}))
	var refused *auth0.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, auth0.Entitlement, refused.Class)
	require.ErrorContains(t, err, "Auth0Tenant/breached")
}

var claims = v1.New("claims", &v1.Auth0ActionSpec{SupportedTrigger: v1.ActionTrigger{ID: "post-login", Version: "v3"},
	Code: "exports.onExecutePostLogin = async () => {};", TriggerBinding: &v1.TriggerBinding{}})

// TestABindingThatAnotherProcessOverwrites lets somebody else write the list of
// bindings right after us, from what they had read before.
func TestABindingThatAnotherProcessOverwrites(t *testing.T) {
	writes := 0
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		res, err := next.RoundTrip(req)
		if err != nil || req.Method != http.MethodPatch || !strings.HasSuffix(req.URL.Path, "/bindings") {
			return res, err
		}
		if writes++; writes == 1 {
			theirs := req.Clone(req.Context())
			theirs.Body, theirs.ContentLength = io.NopCloser(strings.NewReader(`{"bindings":[]}`)), -1
			over, err := next.RoundTrip(theirs)
			if err != nil {
				return nil, err
			}
			_ = over.Body.Close()
			if over.StatusCode != http.StatusOK {
				return nil, fmt.Errorf("status %d", over.StatusCode)
			}
		}
		return res, nil
	})
	_, _, err := converge(t, e, target.Domain, "run", claims)
	require.NoError(t, err)
	require.Equal(t, 2, writes)
	plan, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Resources: []v1.Resource{claims}})
	require.NoError(t, err)
	require.False(t, plan.Changes())
}

func TestAnActionThatDoesNotBuild(t *testing.T) {
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if req.Method == http.MethodGet && strings.HasPrefix(req.URL.Path, "/api/v2/actions/actions/") {
			return answer(req, 200, `{"id":"x","status":"failed","errors":[{"id":"e","msg":"cannot find module left-pad"}]}`), nil
		}
		return next.RoundTrip(req)
	})
	_, _, err := converge(t, e, target.Domain, "run", claims)
	require.Equal(t, auth0.Invalid, auth0.ClassOf(err))
	require.ErrorContains(t, err, "left-pad")
}

// TestAPlanReadsLists bounds what a plan of an unchanged tenant costs.
func TestAPlanReadsLists(t *testing.T) {
	var mu sync.Mutex
	reads := map[string]int{}
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		mu.Lock()
		reads[req.Method]++
		mu.Unlock()
		return next.RoundTrip(req)
	})
	var resources []v1.Resource
	for i := range 120 {
		resources = append(resources,
			v1.New(fmt.Sprintf("app-%03d", i), &v1.Auth0ClientSpec{ApplicationType: "spa"}),
			v1.New(fmt.Sprintf("api-%03d", i), &v1.Auth0ResourceServerSpec{Identifier: fmt.Sprintf("urn:api:%d", i)}))
	}
	_, _, err := converge(t, e, target.Domain, "run", resources...)
	require.NoError(t, err)
	clear(reads)
	plan, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Resources: resources})
	require.NoError(t, err)
	require.False(t, plan.Changes())
	require.LessOrEqual(t, reads[http.MethodGet], 4, "240 objects, 100 to a page")
	require.Zero(t, reads[http.MethodPatch]+reads[http.MethodPost])
}

// TestASlowTenantIsNotHammered applies on the smallest plan, two requests a
// second: the headers say when to wait, so hardly a request is refused.
func TestASlowTenantIsNotHammered(t *testing.T) {
	t.Parallel()
	var requests, refused atomic.Int64
	e, target, _ := setupOn(t, simulatePlan(t, "free"), func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		res, err := next.RoundTrip(req)
		if strings.HasPrefix(req.URL.Path, "/api/v2/") {
			if requests.Add(1); err == nil && res.StatusCode == http.StatusTooManyRequests {
				refused.Add(1)
			}
		}
		return res, err
	})
	_, _, err := converge(t, e, target.Domain, "run", v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "urn:api"}),
		v1.New("a", &v1.Auth0RoleSpec{}), v1.New("b", &v1.Auth0RoleSpec{}))
	require.NoError(t, err)
	require.Greater(t, requests.Load(), int64(6))
	require.LessOrEqual(t, refused.Load(), int64(1), "of %d requests", requests.Load())
}

// TestWhatCannotBeDoneIsSaidWhenPlanning: a plan that can never be applied is
// worse than none.
func TestWhatCannotBeDoneIsSaidWhenPlanning(t *testing.T) {
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if req.URL.Path == "/api/v2/connections" && req.Method == http.MethodGet {
			return answer(req, 200, `{"connections":[{"id":"con_0000000000000001","name":"db","strategy":"google-oauth2"}]}`), nil
		}
		return next.RoundTrip(req)
	})
	_, err := e.Plan(t.Context(), engine.Request{Tenant: target.Domain, Resources: []v1.Resource{v1.New("db", &v1.Auth0ConnectionSpec{Strategy: "auth0"})}})
	require.Equal(t, auth0.Conflict, auth0.ClassOf(err))
	require.ErrorContains(t, err, "google-oauth2")
}

// TestEncryptedConfigurationIsNotWrittenBack: Auth0 shows the secrets of custom
// database scripts encrypted, and replaces options as a whole.
func TestEncryptedConfigurationIsNotWrittenBack(t *testing.T) {
	patches := 0
	e, target, _ := setup(t, func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		connection := `{"id":"con_0000000000000001","name":"db","strategy":"auth0","options":{"passwordPolicy":"good","configuration":{"KEY":"2.0$abc"}}}`
		switch {
		case req.Method == http.MethodPatch:
			patches++
		case req.URL.Path == "/api/v2/connections":
			return answer(req, 200, `{"connections":[`+connection+`]}`), nil
		case strings.HasPrefix(req.URL.Path, "/api/v2/connections/"):
			return answer(req, 200, connection), nil
		}
		return next.RoundTrip(req)
	})
	_, _, err := converge(t, e, target.Domain, "run", v1.New("db", &v1.Auth0ConnectionSpec{Strategy: "auth0", DatabaseOptions: &v1.DatabaseOptions{PasswordPolicy: new("excellent")}}))
	require.Equal(t, auth0.Conflict, auth0.ClassOf(err))
	require.ErrorContains(t, err, "configuration")
	require.Zero(t, patches)
}

func TestScopes(t *testing.T) {
	require.Equal(t, []string{"create:roles", "delete:roles", "read:roles", "update:roles"}, direct.Scopes(v1.KindRole, v1.KindRole, "Nonsense"))
	for _, kind := range v1.Kinds() {
		require.NotEmpty(t, direct.Scopes(kind), "%s needs some", kind)
	}
}

func TestConfigIsChecked(t *testing.T) {
	_, err := direct.New(direct.Config{})
	require.Error(t, err)
	pool, err := auth0.New(auth0.Config{})
	require.NoError(t, err)
	_, err = direct.New(direct.Config{Tenants: pool})
	require.ErrorContains(t, err, "secret ref")
}

func TestAStepWithoutAResource(t *testing.T) {
	e, target, _ := setup(t, nil)
	_, err := e.Apply(t.Context(), engine.ApplyRequest{Tenant: target.Domain, Step: engine.Step{Key: engine.Key{Kind: v1.KindRole, Name: "x"}, Action: engine.Delete}})
	require.Error(t, err)
	require.False(t, errors.Is(err, engine.ErrStale))
}
