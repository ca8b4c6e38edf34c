package v1_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/grafana"
)

const composites = `
apiVersion: tenon.dev/v1
kind: WebApp
metadata:
  name: grafana
  labels: {team: observability}
  annotations: {tenon.dev/deletion-protection: "true"}
spec:
  url: https://grafana.example.com/x/
  connections: [staff]
---
apiVersion: tenon.dev/v1
kind: WebApp
metadata: {name: wiki}
spec:
  application: oidc
  url: http://localhost:8080
  callbacks: [http://localhost:8080/cb]
---
apiVersion: tenon.dev/v1
kind: Service
metadata: {name: billing}
spec:
  api:
    identifier: https://billing.example.com
    scopes: [{name: "read:invoices"}, {name: "write:invoices"}]
---
apiVersion: tenon.dev/v1
kind: Service
metadata: {name: reports}
spec:
  audience: {valueFrom: {kind: Service, name: billing}}
  scopes: ["read:invoices"]
---
apiVersion: tenon.dev/v1
kind: Auth0Connection
metadata: {name: staff}
spec:
  strategy: auth0
  enabled_clients:
    - {valueFrom: {kind: WebApp, name: wiki}}
    - {valueFrom: {name: billing}}
`

func TestExpand(t *testing.T) {
	m, err := load(composites)
	require.NoError(t, err)
	require.Empty(t, m.Warnings, "what composites make is known")
	require.NoError(t, m.CheckReferences(nil))
	before, err := json.Marshal(m.Resources)
	require.NoError(t, err)
	out, err := v1.Expand(m.Resources)
	require.NoError(t, err)

	byKey := map[string]v1.Resource{}
	var keys []string
	for _, r := range out {
		key := r.Kind + "/" + r.Metadata.Name
		keys, byKey[key] = append(keys, key), r
		require.Empty(t, r.Validate(), key)
		require.Empty(t, r.Warnings(), key)
		require.Contains(t, v1.Primitives(), r.Kind)
	}
	require.Equal(t, []string{
		"Auth0Action/tenon-roles-claim", "Auth0Client/grafana", "Auth0Client/wiki",
		"Auth0ResourceServer/billing", "Auth0Client/billing", "Auth0ClientGrant/billing",
		"Auth0Client/reports", "Auth0ClientGrant/reports", "Auth0Connection/staff",
	}, keys)

	app := byKey["Auth0Client/grafana"]
	require.Equal(t, map[string]string{"team": "observability", v1.LabelFrom: "WebApp/grafana"}, app.Metadata.Labels)
	require.True(t, app.Metadata.DeletionProtected(), "a part is as protected as the whole")
	client := app.Spec.(*v1.Auth0ClientSpec)
	require.Equal(t, []string{"https://grafana.example.com/x" + grafana.CallbackPath}, client.Callbacks)
	require.Equal(t, []string{"https://grafana.example.com/x/login"}, client.AllowedLogoutURLs)
	require.Equal(t, []string{grafana.Origin("https://grafana.example.com/x")}, client.WebOrigins)
	require.Equal(t, map[string]string{"roles_claim": grafana.DefaultRolesClaim}, client.ClientMetadata)
	require.Equal(t, []v1.StringOrRef{v1.Value("staff")}, client.EnabledConnections)
	require.Equal(t, "https://grafana.example.com/x/login/generic_oauth", *client.InitiateLoginURI)
	require.Equal(t, []string{"authorization_code", "refresh_token"}, client.GrantTypes)

	wiki := byKey["Auth0Client/wiki"].Spec.(*v1.Auth0ClientSpec)
	require.Nil(t, wiki.InitiateLoginURI)
	require.Nil(t, wiki.AllowedLogoutURLs)
	require.Nil(t, wiki.EnabledConnections)
	require.Equal(t, "wiki at http://localhost:8080", *wiki.Description)
	require.Equal(t, "WebApp/grafana,WebApp/wiki", byKey["Auth0Action/tenon-roles-claim"].Metadata.Labels[v1.LabelFrom])

	grant := byKey["Auth0ClientGrant/billing"].Spec.(*v1.Auth0ClientGrantSpec)
	require.Equal(t, &v1.Auth0ClientGrantSpec{Client: v1.From("Auth0Client", "billing"), Audience: v1.From("Auth0ResourceServer", "billing"),
		Scope: []string{"read:invoices", "write:invoices"}}, grant)
	reports := byKey["Auth0ClientGrant/reports"].Spec.(*v1.Auth0ClientGrantSpec)
	require.Equal(t, v1.StringOrRef{ValueFrom: &v1.ValueFrom{Kind: "Auth0ClientGrant", Name: "billing", FieldPath: "status.outputs.audience"}}, reports.Audience)
	staff := byKey["Auth0Connection/staff"].Spec.(*v1.Auth0ConnectionSpec)
	require.Equal(t, []v1.StringOrRef{v1.From("Auth0Client", "wiki"), v1.From("", "billing")}, staff.EnabledClients)

	after, err := json.Marshal(m.Resources)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after), "the resources that were given are not changed")
	again, err := v1.Expand(m.Resources)
	require.NoError(t, err)
	require.Equal(t, out, again)
	twice, err := v1.Expand(out)
	require.NoError(t, err)
	require.Equal(t, out, twice, "what is expanded stays as it is")
}

func TestExpandRefusesTwoOfOneName(t *testing.T) {
	app := v1.New("x", &v1.WebAppSpec{URL: "https://a.example"})
	client := v1.New("x", &v1.Auth0ClientSpec{ApplicationType: "spa"})
	for _, list := range [][]v1.Resource{{app, client}, {client, app}, {app, v1.ClaimsAction()}, {v1.ClaimsAction(), app},
		{app, v1.New("x", &v1.ServiceSpec{Audience: new(v1.Value("https://api.example"))})}} {
		_, err := v1.Expand(list)
		require.ErrorContains(t, err, "is given twice")
	}
	_, err := v1.Expand([]v1.Resource{{Kind: "WebApp"}})
	require.ErrorContains(t, err, "has no spec")
}

func TestCompositesAreChecked(t *testing.T) {
	web := func(change func(*v1.WebAppSpec)) v1.Resource {
		s := &v1.WebAppSpec{URL: "https://a.example"}
		change(s)
		return v1.New("x", s)
	}
	service := func(change func(*v1.ServiceSpec)) v1.Resource {
		s := &v1.ServiceSpec{API: &v1.ServiceAPI{Identifier: "https://api.example", Scopes: []v1.Scope{{Name: "a"}}}}
		change(s)
		return v1.New("x", s)
	}
	require.Empty(t, web(func(*v1.WebAppSpec) {}).Validate())
	require.Empty(t, service(func(*v1.ServiceSpec) {}).Validate())
	for name, tc := range map[string]struct {
		resource v1.Resource
		path     string
	}{
		"name":               {v1.New("a<b", &v1.WebAppSpec{URL: "https://a.example"}), "metadata.name"},
		"no url":             {web(func(s *v1.WebAppSpec) { s.URL = "" }), "spec.url"},
		"http":               {web(func(s *v1.WebAppSpec) { s.URL = "http://a.example" }), "spec.url"},
		"not a url":          {web(func(s *v1.WebAppSpec) { s.URL = "a.example" }), "spec.url"},
		"url with a query":   {web(func(s *v1.WebAppSpec) { s.URL = "https://a.example/?x=y" }), "spec.url"},
		"application":        {web(func(s *v1.WebAppSpec) { s.Application = new("jenkins") }), "spec.application"},
		"oidc, no callbacks": {web(func(s *v1.WebAppSpec) { s.Application = new("oidc") }), "spec.callbacks"},
		"oidc with roles": {web(func(s *v1.WebAppSpec) {
			s.Application, s.Callbacks, s.Roles = new("oidc"), []string{"https://a.example"}, []v1.WebAppRole{}
		}), "spec.roles"},
		"wildcard callback":   {web(func(s *v1.WebAppSpec) { s.Callbacks = []string{"https://*.example/cb"} }), "spec.callbacks[0]"},
		"http callback":       {web(func(s *v1.WebAppSpec) { s.Callbacks = []string{"http://a.example/cb"} }), "spec.callbacks[0]"},
		"origin with path":    {web(func(s *v1.WebAppSpec) { s.WebOrigins = []string{"https://a.example/cb"} }), "spec.web_origins[0]"},
		"no connections":      {web(func(s *v1.WebAppSpec) { s.Connections = []v1.StringOrRef{} }), "spec.connections"},
		"claim":               {web(func(s *v1.WebAppSpec) { s.RolesClaim = new("roles") }), "spec.roles_claim"},
		"role":                {web(func(s *v1.WebAppSpec) { s.Roles = []v1.WebAppRole{{Role: "a", Grafana: "Owner"}} }), "spec.roles[0].grafana"},
		"repeated role":       {web(func(s *v1.WebAppSpec) { s.Roles = []v1.WebAppRole{{"a", "Viewer"}, {"a", "Editor"}} }), "spec.roles[1]"},
		"idle above total":    {web(func(s *v1.WebAppSpec) { s.RefreshTokenLifetime = new(3600) }), "spec.refresh_token_idle_lifetime"},
		"claim by metadata":   {web(func(s *v1.WebAppSpec) { s.ClientMetadata = map[string]string{"roles_claim": "x"} }), "spec.client_metadata.roles_claim"},
		"mark by metadata":    {web(func(s *v1.WebAppSpec) { s.ClientMetadata = map[string]string{"tenon_run": "x"} }), "spec.client_metadata.tenon_run"},
		"neither":             {service(func(s *v1.ServiceSpec) { s.API = nil }), "spec.api"},
		"both":                {service(func(s *v1.ServiceSpec) { s.Audience = new(v1.Value("x")) }), "spec.audience"},
		"unknown scope":       {service(func(s *v1.ServiceSpec) { s.Scopes = []string{"a", "b"} }), "spec.scopes[1]"},
		"method none":         {service(func(s *v1.ServiceSpec) { s.TokenEndpointAuthMethod = new("none") }), "spec.token_endpoint_auth_method"},
		"identifier":          {service(func(s *v1.ServiceSpec) { s.API.Identifier = "" }), "spec.api.identifier"},
		"repeated api scopes": {service(func(s *v1.ServiceSpec) { s.API.Scopes = append(s.API.Scopes, v1.Scope{Name: "a"}) }), "spec.api.scopes[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			problems := tc.resource.Validate()
			require.Len(t, problems, 1, "%+v", problems)
			require.Equal(t, tc.path, problems[0].Path)
		})
	}
}
