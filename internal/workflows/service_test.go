package workflows_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/workflows"
)

func (w *world) service() workflows.ServiceInput {
	return workflows.ServiceInput{
		Tenant: w.domain, Name: "billing", Scopes: []string{"read:orders"},
		API: &workflows.ServiceAPIInput{Identifier: "https://orders.test/", Scopes: []workflows.ServiceScope{{Name: "read:orders"}, {Name: "create:orders"}}},
	}
}

func refusedToken(message string) error {
	return &auth0.Error{Class: auth0.Credentials, Status: 403, Code: "access_denied", Message: message}
}

// grants is a token endpoint that gives a service the named scopes and refuses
// all others.
func grants(granted ...string) func(string, []string) (*auth0.AccessToken, error) {
	return func(audience string, scopes []string) (*auth0.AccessToken, error) {
		for _, s := range scopes {
			if !slices.Contains(granted, s) {
				return nil, refusedToken("Client has not been granted scopes: " + s)
			}
		}
		return &auth0.AccessToken{Issuer: "https://t.test/", Audience: []string{audience}, Scope: strings.Join(granted, " "),
			Permissions: granted, Expiry: time.Now().Add(time.Hour), KeyID: "k1"}, nil
	}
}

func TestService(t *testing.T) {
	w := newWorld(t)
	w.tenant.onToken = grants("read:orders")
	w.ExecuteWorkflow(workflows.ServiceRegistrationWorkflow, w.service())
	require.NoError(t, w.GetWorkflowError())
	var result workflows.ServiceResult
	require.NoError(t, w.GetWorkflowResult(&result))
	require.Equal(t, "abc123", result.ClientID)
	require.Equal(t, "test:CLIENT_SECRET", result.ClientSecret)
	require.Equal(t, "https://orders.test/", result.Audience)
	require.Len(t, result.Objects, 3)
	require.Len(t, result.Proof, 3)
	require.Contains(t, result.Proof[2], "create:orders", "a scope that the API knows says more than one that nobody does")
	require.Equal(t, []string{"Auth0Client/billing", "Auth0ClientGrant/billing", "Auth0ResourceServer/billing"}, w.engine.keys())
	w.requireNoSecrets()
	p := w.progress()
	require.Equal(t, "done", p.State)
	require.Equal(t, "proof", p.Steps[len(p.Steps)-1].Name)
}

func TestServiceOfAnAPIThatExists(t *testing.T) {
	w := newWorld(t)
	w.tenant.onToken = grants("read:orders")
	in := w.service()
	in.API, in.Audience = nil, "https://orders.test/"
	w.ExecuteWorkflow(workflows.ServiceRegistrationWorkflow, in)
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, []string{"Auth0Client/billing", "Auth0ClientGrant/billing"}, w.engine.keys())
}

func TestServiceProof(t *testing.T) {
	token := func(change func(*auth0.AccessToken)) func(string, []string) (*auth0.AccessToken, error) {
		return func(audience string, scopes []string) (*auth0.AccessToken, error) {
			got, err := grants("read:orders")(audience, scopes)
			if err == nil {
				change(got)
			}
			return got, err
		}
	}
	for name, c := range map[string]struct {
		answer func(string, []string) (*auth0.AccessToken, error)
		reason string
	}{
		"no token":       {func(string, []string) (*auth0.AccessToken, error) { return nil, refusedToken("Unauthorized") }, "gets no token"},
		"too little":     {token(func(t *auth0.AccessToken) { t.Scope = "" }), "claim scope lacks read:orders"},
		"too much":       {token(func(t *auth0.AccessToken) { t.Scope += " create:orders" }), "claim scope carries create:orders"},
		"no permissions": {token(func(t *auth0.AccessToken) { t.Permissions = nil }), "claim permissions lacks read:orders"},
		"another's signature": {func(string, []string) (*auth0.AccessToken, error) {
			return nil, &auth0.Error{Class: auth0.Invalid, Message: "the access token has a wrong signature"}
		}, "wrong signature"},
		"whatever is asked for": {func(audience string, scopes []string) (*auth0.AccessToken, error) {
			if scopes == nil {
				scopes = []string{"read:orders"}
			}
			return grants(scopes...)(audience, scopes)
		}, "gets a token with create:orders"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.tenant.onToken = c.answer
			w.ExecuteWorkflow(workflows.ServiceRegistrationWorkflow, w.service())
			f := w.failure()
			require.Equal(t, workflows.ErrorProof, workflows.ErrorType(w.GetWorkflowError()))
			require.ErrorContains(t, w.GetWorkflowError(), c.reason)
			require.Equal(t, "proof", f.Step)
			require.Len(t, f.Undone, 3)
			require.Empty(t, w.engine.keys())
		})
	}
}

// A tenant may leave out what it does not grant instead of refusing (RFC 6749
// section 3.3), and may need a moment until it knows a new client.
func TestServiceProofIsPatient(t *testing.T) {
	w := newWorld(t)
	asked := 0
	w.tenant.onToken = func(audience string, _ []string) (*auth0.AccessToken, error) {
		if asked++; asked < 3 {
			return nil, refusedToken("Unauthorized")
		}
		return grants("read:orders")(audience, nil)
	}
	w.ExecuteWorkflow(workflows.ServiceRegistrationWorkflow, w.service())
	require.NoError(t, w.GetWorkflowError())
	require.Equal(t, 4, asked)
	var result workflows.ServiceResult
	require.NoError(t, w.GetWorkflowResult(&result))
	require.Contains(t, result.Proof[2], "comes without it")
}

// Registering a service must not take scopes from those who share its API.
func TestServiceKeepsTheScopesOfAnAPI(t *testing.T) {
	w := newWorld(t)
	w.tenant.onToken = grants("read:orders")
	w.engine.objects[engine.Key{Kind: v1.KindResourceServer, Name: "billing"}] = fakeObject{id: "rs_1",
		spec: `{"identifier":"https://orders.test/","scopes":[{"name":"delete:orders"},{"name":"read:orders"}]}`}
	w.ExecuteWorkflow(workflows.ServiceRegistrationWorkflow, w.service())
	require.Equal(t, workflows.ErrorConflict, workflows.ErrorType(w.GetWorkflowError()))
	require.ErrorContains(t, w.GetWorkflowError(), "would lose the scopes delete:orders")
	require.Empty(t, w.failure().Undone)
	require.Empty(t, w.engine.calls, "nothing was done")
}

func TestServiceInput(t *testing.T) {
	api := &workflows.ServiceAPIInput{Identifier: "https://a/"}
	for name, c := range map[string]struct {
		in       workflows.ServiceInput
		problems []string
	}{
		"neither":       {workflows.ServiceInput{Tenant: "t.test", Name: "s"}, []string{"api: is required"}},
		"both":          {workflows.ServiceInput{Tenant: "t.test", Name: "s", API: api, Audience: "https://a/"}, []string{"audience: and api exclude"}},
		"name":          {workflows.ServiceInput{Tenant: "t.test", Name: "../s", API: api}, []string{"name: "}},
		"bad scopes":    {workflows.ServiceInput{Tenant: "t.test", Name: "s", API: api, Scopes: []string{"a b", "c", "c"}}, []string{"scopes[0]: ", "scopes[2]: repeats", "api.scopes[0].name: "}},
		"bad audience":  {workflows.ServiceInput{Tenant: "t.test", Name: "s", Audience: "a b"}, []string{"audience: "}},
		"unknown scope": {workflows.ServiceInput{Tenant: "t.test", Name: "s", Scopes: []string{"b"}, API: &workflows.ServiceAPIInput{Identifier: "a", Scopes: []workflows.ServiceScope{{Name: "a"}}}}, []string{"scopes[0]: is \"b\""}},
		"lifetime":      {workflows.ServiceInput{Tenant: "t.test", Name: "s", API: &workflows.ServiceAPIInput{Identifier: "a", TokenLifetimeSeconds: 1}}, []string{"api.tokenLifetimeSeconds: "}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.ExecuteWorkflow(workflows.ServiceRegistrationWorkflow, c.in)
			require.Equal(t, workflows.ErrorInvalidInput, workflows.ErrorType(w.GetWorkflowError()))
			for _, problem := range c.problems {
				require.ErrorContains(t, w.GetWorkflowError(), problem)
			}
			require.Empty(t, w.engine.calls)
		})
	}
	filled := workflows.ServiceInput{API: api, Scopes: []string{"a"}}.WithDefaults()
	require.Equal(t, []workflows.ServiceScope{{Name: "a"}}, filled.API.Scopes)
	require.Empty(t, api.Scopes, "the input itself is not changed")
	require.Equal(t, "service/t/billing", workflows.ServiceID("t", "billing"))
}

// Over the simulated tenant: registered, registered again, narrowed, and undone
// where the proof fails.
func TestServiceRegistration(t *testing.T) {
	s := simulate(t)
	in := workflows.ServiceInput{
		Tenant: s.domain, Name: "billing", Scopes: []string{"read:orders", "create:orders"},
		API: &workflows.ServiceAPIInput{Identifier: "https://orders.test/",
			Scopes: []workflows.ServiceScope{{Name: "read:orders", Description: "Read orders"}, {Name: "create:orders"}, {Name: "delete:orders"}}},
	}
	register := func(in workflows.ServiceInput) (r workflows.ServiceResult) {
		t.Helper()
		env := s.run(workflows.ServiceRegistrationWorkflow, in, &twice{})
		require.NoError(t, env.GetWorkflowError())
		require.NoError(t, env.GetWorkflowResult(&r))
		return r
	}
	first := register(in)
	require.Contains(t, first.Proof[2], "delete:orders, which the grant does not hold, is refused")
	again := register(in)
	require.Equal(t, first.ClientID, again.ClientID)
	for _, o := range again.Objects {
		require.Equal(t, "none", o.Action, o.Kind)
	}
	in.Scopes = in.Scopes[:1]
	narrowed := register(in)
	require.Contains(t, narrowed.Proof[2], "create:orders, which")
	require.Equal(t, 1, s.count("clients", "name", "billing"))
	require.Equal(t, 1, s.count("client-grants", "client_id", first.ClientID))

	// Another service of the same API.
	reports := register(workflows.ServiceInput{Tenant: s.domain, Name: "reports", Audience: "https://orders.test/", Scopes: []string{"read:orders"}})
	require.Len(t, reports.Objects, 2)
	env := s.run(workflows.ServiceRegistrationWorkflow, workflows.ServiceInput{Tenant: s.domain, Name: "reports-2", Scopes: []string{"read:orders"},
		API: &workflows.ServiceAPIInput{Identifier: "https://orders.test/"}})
	require.ErrorContains(t, env.GetWorkflowError(), "would lose the scopes")
	require.Zero(t, s.count("clients", "name", "reports-2"))

	// The secret in the store is not the client's: nothing may be left.
	in.Name, in.API = "doomed", &workflows.ServiceAPIInput{Identifier: "https://doomed.test/"}
	s.fault = func(r *http.Request) *http.Response {
		if r.Method != http.MethodPost || r.URL.Path != "/api/v2/client-grants" {
			return nil
		}
		ref := testRef(s.domain, engine.Key{Kind: v1.KindClient, Name: "doomed"}, "client_secret")
		require.NoError(t, s.act.Secrets.Put(r.Context(), ref, secret.New("wrong")))
		return nil
	}
	env = s.run(workflows.ServiceRegistrationWorkflow, in)
	s.fault = nil
	require.Equal(t, workflows.ErrorProof, workflows.ErrorType(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	f, ok := workflows.FailureOf(env.GetWorkflowError())
	require.True(t, ok)
	require.Len(t, f.Undone, 3)
	require.Empty(t, f.NotUndone)
	require.Zero(t, s.count("clients", "name", "doomed"))
}
