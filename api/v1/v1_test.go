package v1_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
)

func TestEveryKindHasASpec(t *testing.T) {
	for _, kind := range v1.Kinds() {
		spec, err := v1.NewSpec(kind)
		require.NoError(t, err)
		require.Equal(t, kind, spec.Kind())
		if kind != v1.KindRole && kind != v1.KindTenant { // a role is named by its metadata, a tenant is the one at hand
			require.NotEmpty(t, spec.Validate(), "an empty %s lacks what is required", kind)
		}
	}
	_, err := v1.NewSpec("Auth0Banana")
	require.ErrorContains(t, err, "Auth0Banana")
	require.ErrorContains(t, err, v1.KindClient)
}

func TestPresenceSurvivesJSON(t *testing.T) {
	in := v1.New("web", &v1.Auth0ClientSpec{
		ApplicationType: "spa", OIDCConformant: new(false), Callbacks: []string{}, Description: new(""),
		RefreshToken: &v1.RefreshToken{Leeway: new(0)}, EnabledConnections: []v1.StringOrRef{v1.Value("a"), v1.From("", "b")},
	})
	data, err := json.Marshal(in)
	require.NoError(t, err)
	for _, part := range []string{`"oidc_conformant":false`, `"callbacks":[]`, `"description":""`, `"leeway":0`} {
		require.Contains(t, string(data), part, "an explicit zero is kept")
	}
	for _, part := range []string{"is_first_party", "web_origins", "jwt_configuration"} {
		require.NotContains(t, string(data), part, "what is absent stays absent")
	}
	var out v1.Resource
	require.NoError(t, json.Unmarshal(data, &out))
	require.Equal(t, in, out)
}

func TestStringOrRef(t *testing.T) {
	want := v1.StringOrRef{ValueFrom: &v1.ValueFrom{Kind: "Auth0Client", Name: "web", FieldPath: "status.outputs.client_id"}}
	for text, value := range map[string]v1.StringOrRef{
		`"bare"`:        v1.Value("bare"),
		`{"value":"x"}`: v1.Value("x"),
		`{"valueFrom":{"kind":"Auth0Client","name":"web","fieldPath":"status.outputs.client_id"}}`:   want,
		`{"value_from":{"kind":"Auth0Client","name":"web","field_path":"status.outputs.client_id"}}`: want,
		`{"valueFrom":{"kind":"Auth0Client","name":"web","field":"status.outputs.client_id"}}`:       want,
	} {
		var got v1.StringOrRef
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		require.Equal(t, value, got, text)
	}
	for _, text := range []string{`{"value":"x","valueFrom":{"name":"y"}}`, `{"valueFrm":{"name":"y"}}`, `{"valueFrom":{"nam":"y"}}`, `{"valueFrom":{"name":"y"},"value_from":{"name":"y"}}`, `7`} {
		var got v1.StringOrRef
		require.Error(t, json.Unmarshal([]byte(text), &got), text)
	}
	ref, ok := v1.From("", "web").Reference("spec.client", v1.KindClient, "client_id")
	require.True(t, ok)
	require.Equal(t, v1.Reference{Path: "spec.client", Kind: "Auth0Client", Name: "web", FieldPath: "status.outputs.client_id"}, ref)
	require.Equal(t, "client_id", ref.Output())
}

// TestValidate gives one wrong spec for each rule, and the path at which the
// problem must be.
func TestValidate(t *testing.T) {
	client := func(change func(*v1.Auth0ClientSpec)) v1.Resource {
		s := &v1.Auth0ClientSpec{ApplicationType: "regular_web"}
		change(s)
		return v1.New("web", s)
	}
	for name, tc := range map[string]struct {
		resource v1.Resource
		path     string
	}{
		"api version":            {v1.Resource{APIVersion: "v2", Kind: "Auth0Role", Metadata: v1.Metadata{Name: "x"}, Spec: &v1.Auth0RoleSpec{}}, "apiVersion"},
		"kind and spec disagree": {v1.Resource{APIVersion: v1.APIVersion, Kind: "Auth0User", Metadata: v1.Metadata{Name: "x"}, Spec: &v1.Auth0RoleSpec{}}, "kind"},
		"no name":                {v1.New("", &v1.Auth0RoleSpec{}), "metadata.name"},
		"slash in name":          {v1.New("a/b", &v1.Auth0RoleSpec{}), "metadata.name"},
		"application type":       {client(func(s *v1.Auth0ClientSpec) { s.ApplicationType = "invalid_app_type" }), "spec.application_type"},
		"description":            {client(func(s *v1.Auth0ClientSpec) { s.Description = new(strings.Repeat("é", 141)) }), "spec.description"},
		"script callback": {client(func(s *v1.Auth0ClientSpec) {
			s.ApplicationType = "native"
			s.Callbacks = []string{"javascript:alert(1)"}
		}), "spec.callbacks[0]"},
		"jwt alg": {client(func(s *v1.Auth0ClientSpec) { s.JWTConfiguration = &v1.JWTConfiguration{Alg: new("ES256")} }), "spec.jwt_configuration.alg"},
		"jwt lifetime above": {client(func(s *v1.Auth0ClientSpec) {
			s.JWTConfiguration = &v1.JWTConfiguration{LifetimeInSeconds: new(3000000)}
		}), "spec.jwt_configuration.lifetime_in_seconds"},
		"jwt lifetime below":     {client(func(s *v1.Auth0ClientSpec) { s.JWTConfiguration = &v1.JWTConfiguration{LifetimeInSeconds: new(-1)} }), "spec.jwt_configuration.lifetime_in_seconds"},
		"rotation":               {client(func(s *v1.Auth0ClientSpec) { s.RefreshToken = &v1.RefreshToken{RotationType: new("always-rotate")} }), "spec.refresh_token.rotation_type"},
		"expiration":             {client(func(s *v1.Auth0ClientSpec) { s.RefreshToken = &v1.RefreshToken{ExpirationType: new("auto-expire")} }), "spec.refresh_token.expiration_type"},
		"token lifetime":         {client(func(s *v1.Auth0ClientSpec) { s.RefreshToken = &v1.RefreshToken{TokenLifetime: new(-100)} }), "spec.refresh_token.token_lifetime"},
		"leeway":                 {client(func(s *v1.Auth0ClientSpec) { s.RefreshToken = &v1.RefreshToken{Leeway: new(-10)} }), "spec.refresh_token.leeway"},
		"organization usage":     {client(func(s *v1.Auth0ClientSpec) { s.OrganizationUsage = new("maybe") }), "spec.organization_usage"},
		"grant without audience": {client(func(s *v1.Auth0ClientSpec) { s.APIGrants = []v1.APIGrant{{}} }), "spec.api_grants[0].audience"},
		"grant ref without name": {client(func(s *v1.Auth0ClientSpec) { s.APIGrants = []v1.APIGrant{{Audience: v1.From("", "")}} }), "spec.api_grants[0].audience.valueFrom.name"},
		"ref to unknown kind":    {client(func(s *v1.Auth0ClientSpec) { s.EnabledConnections = []v1.StringOrRef{v1.From("Nonsense", "x")} }), "spec.enabled_connections[0].valueFrom.kind"},
		"our own metadata":       {client(func(s *v1.Auth0ClientSpec) { s.ClientMetadata = map[string]string{"tenon_run": "x"} }), "spec.client_metadata.tenon_run"},
		"public with client credentials": {client(func(s *v1.Auth0ClientSpec) {
			s.TokenEndpointAuthMethod, s.GrantTypes = new("none"), []string{"client_credentials"}
		}), "spec.grant_types"},
		"strategy":         {v1.New("db", &v1.Auth0ConnectionSpec{Strategy: "invalid-strategy-type"}), "spec.strategy"},
		"password policy":  {v1.New("db", &v1.Auth0ConnectionSpec{Strategy: "auth0", DatabaseOptions: &v1.DatabaseOptions{PasswordPolicy: new("super-strong")}}), "spec.database_options.password_policy"},
		"password history": {v1.New("db", &v1.Auth0ConnectionSpec{Strategy: "auth0", DatabaseOptions: &v1.DatabaseOptions{PasswordHistorySize: new(50)}}), "spec.database_options.password_history_size"},
		"identifier":       {v1.New("api", &v1.Auth0ResourceServerSpec{}), "spec.identifier"},
		"signing alg":      {v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "x", SigningAlg: new("ES256")}), "spec.signing_alg"},
		"dialect":          {v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "x", TokenDialect: new("jwt_token")}), "spec.token_dialect"},
		"web lifetime":     {v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "x", TokenLifetimeForWeb: new(3000000)}), "spec.token_lifetime_for_web"},
		"scope name":       {v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "x", Scopes: []v1.Scope{{}}}), "spec.scopes[0].name"},
		"empty grant":      {v1.New("g", &v1.Auth0ClientGrantSpec{Audience: v1.Value("x")}), "spec.client"},
		"permission":       {v1.New("r", &v1.Auth0RoleSpec{Permissions: []v1.Permission{{Name: "a"}}}), "spec.permissions[0].resource_server_identifier"},
		"email":            {v1.New("u", &v1.Auth0UserSpec{Connection: "db", Email: "Ada <ada@example.com>"}), "spec.email"},
		"user connection":  {v1.New("u", &v1.Auth0UserSpec{Email: "ada@example.com"}), "spec.connection"},
		"trigger":          {v1.New("a", &v1.Auth0ActionSpec{SupportedTrigger: v1.ActionTrigger{ID: "pre-lunch", Version: "v1"}, Code: "x"}), "spec.supported_trigger.id"},
		"bound, not deployed": {v1.New("a", &v1.Auth0ActionSpec{SupportedTrigger: v1.ActionTrigger{ID: "post-login", Version: "v3"}, Code: "x", Deploy: new(false),
			TriggerBinding: &v1.TriggerBinding{}}), "spec.trigger_binding"},
		"literal secret": {v1.New("a", &v1.Auth0ActionSpec{SupportedTrigger: v1.ActionTrigger{ID: "post-login", Version: "v3"}, Code: "x",
			Secrets: []v1.ActionSecret{{Name: "K", Value: "hunter2-canary"}}}), "spec.secrets[0].value"},
		"literal that looks like a reference": {v1.New("a", &v1.Auth0ActionSpec{SupportedTrigger: v1.ActionTrigger{ID: "post-login", Version: "v3"}, Code: "x",
			Secrets: []v1.ActionSecret{{Name: "K", Value: "https://hunter2-canary"}}}), "spec.secrets[0].value"},
		"domain":         {v1.New("t", &v1.Auth0TenantSpec{Domain: "https://acme.auth0.com"}), "spec.domain"},
		"session order":  {v1.New("t", &v1.Auth0TenantSpec{Domain: "acme.auth0.com", Settings: &v1.TenantSettings{SessionLifetime: new(1.0), IdleSessionLifetime: new(2.0)}}), "spec.settings.idle_session_lifetime"},
		"no locale":      {v1.New("t", &v1.Auth0TenantSpec{Domain: "acme.auth0.com", Settings: &v1.TenantSettings{EnabledLocales: []string{}}}), "spec.settings.enabled_locales"},
		"unknown locale": {v1.New("t", &v1.Auth0TenantSpec{Domain: "acme.auth0.com", Settings: &v1.TenantSettings{EnabledLocales: []string{"en", "tlh"}}}), "spec.settings.enabled_locales[1]"},
		"unknown flag":   {v1.New("t", &v1.Auth0TenantSpec{Domain: "acme.auth0.com", Settings: &v1.TenantSettings{Flags: map[string]bool{"enable_magic": true}}}), "spec.settings.flags"},
		"unknown factor": {v1.New("t", &v1.Auth0TenantSpec{Domain: "acme.auth0.com", MFA: &v1.TenantMFA{Factors: map[string]bool{"smoke-signal": true}}}), "spec.mfa.factors"},
		"MFA policy":     {v1.New("t", &v1.Auth0TenantSpec{Domain: "acme.auth0.com", MFA: &v1.TenantMFA{Policy: new("sometimes")}}), "spec.mfa.policy"},
		"attempts":       {v1.New("t", &v1.Auth0TenantSpec{Domain: "acme.auth0.com", AttackProtection: &v1.AttackProtection{BruteForce: &v1.BruteForceProtection{MaxAttempts: new(101)}}}), "spec.attack_protection.brute_force_protection.max_attempts"},
		"allowlist":      {v1.New("t", &v1.Auth0TenantSpec{Domain: "acme.auth0.com", AttackProtection: &v1.AttackProtection{SuspiciousIP: &v1.SuspiciousIPThrottling{Allowlist: []string{"10.0.0.0/8", "office"}}}}), "spec.attack_protection.suspicious_ip_throttling.allowlist[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			problems := tc.resource.Validate()
			require.Len(t, problems, 1, "%+v", problems)
			require.Equal(t, tc.path, problems[0].Path)
			require.NotContains(t, problems[0].Message, "hunter2", "a literal secret is not repeated")
			require.NotContains(t, problems[0].Message, tc.path)
		})
	}
}

// TestWarnings gives one spec for each rule that other tools do not have: it can
// be loaded and planned, and the warning says where to look.
func TestWarnings(t *testing.T) {
	client := func(change func(*v1.Auth0ClientSpec)) v1.Resource {
		s := &v1.Auth0ClientSpec{ApplicationType: "regular_web"}
		change(s)
		return v1.New("web", s)
	}
	connection := func(change func(*v1.Auth0ConnectionSpec)) v1.Resource {
		s := &v1.Auth0ConnectionSpec{Strategy: "auth0"}
		change(s)
		return v1.New("db", s)
	}
	stream := func(change func(*v1.Auth0EventStreamSpec)) v1.Resource {
		s := &v1.Auth0EventStreamSpec{DestinationType: "eventbridge", Subscriptions: []string{"user.created"},
			EventBridgeConfiguration: &v1.EventBridgeConfiguration{AWSAccountID: "123456789012", AWSRegion: "eu-west-1"}}
		change(s)
		return v1.New("events", s)
	}
	for name, tc := range map[string]struct {
		resource v1.Resource
		path     string
	}{
		"connection name":                        {v1.New("my db", &v1.Auth0ConnectionSpec{Strategy: "auth0"}), "metadata.name"},
		"client name":                            {v1.New("<web>", &v1.Auth0ClientSpec{ApplicationType: "spa"}), "metadata.name"},
		"http callback":                          {client(func(s *v1.Auth0ClientSpec) { s.Callbacks = []string{"https://a.example", "http://a.example/cb"} }), "spec.callbacks[1]"},
		"wildcard callback":                      {client(func(s *v1.Auth0ClientSpec) { s.Callbacks = []string{"https://*.example.com/cb"} }), "spec.callbacks[0]"},
		"fragment in callback":                   {client(func(s *v1.Auth0ClientSpec) { s.Callbacks = []string{"https://a.example/#x"} }), "spec.callbacks[0]"},
		"relative callback":                      {client(func(s *v1.Auth0ClientSpec) { s.Callbacks = []string{"/cb"} }), "spec.callbacks[0]"},
		"repeated callback":                      {client(func(s *v1.Auth0ClientSpec) { s.Callbacks = []string{"https://a.example", "https://a.example"} }), "spec.callbacks[1]"},
		"origin with path":                       {client(func(s *v1.Auth0ClientSpec) { s.WebOrigins = []string{"https://a.example/x"} }), "spec.web_origins[0]"},
		"repeated scope":                         {v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "x", Scopes: []v1.Scope{{Name: "a"}, {Name: "a"}}}), "spec.scopes[1]"},
		"organization behaviour without require": {client(func(s *v1.Auth0ClientSpec) { s.OrganizationRequireBehavior = new("pre_login_prompt") }), "spec.organization_require_behavior"},
		"mobile of a web application":            {client(func(s *v1.Auth0ClientSpec) { s.Mobile = &v1.Mobile{} }), "spec.mobile"},
		"sso on and off":                         {client(func(s *v1.Auth0ClientSpec) { s.SSO, s.SSODisabled = new(true), new(true) }), "spec.sso_disabled"},
		"repeated grant": {client(func(s *v1.Auth0ClientSpec) {
			s.APIGrants = []v1.APIGrant{{Audience: v1.Value("x")}, {Audience: v1.Value("x")}}
		}), "spec.api_grants[1]"},
		"metadata pairs": {client(func(s *v1.Auth0ClientSpec) {
			s.ClientMetadata = map[string]string{"a": "", "b": "", "c": "", "d": "", "e": "", "f": "", "g": "", "h": "", "i": ""}
		}), "spec.client_metadata"},
		"web lifetime above":           {v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "x", TokenLifetime: new(60), TokenLifetimeForWeb: new(61)}), "spec.token_lifetime_for_web"},
		"policies without permissions": {v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "x", EnforcePolicies: new(true), TokenDialect: new("access_token")}), "spec.token_dialect"},
		"social without options":       {connection(func(s *v1.Auth0ConnectionSpec) { s.Strategy = "github" }), "spec.social_options"},
		"SAML without options":         {connection(func(s *v1.Auth0ConnectionSpec) { s.Strategy = "samlp" }), "spec.saml_options"},
		"options of another strategy": {connection(func(s *v1.Auth0ConnectionSpec) {
			s.OIDCOptions = &v1.OIDCOptions{Issuer: "https://i.example", ClientID: "x"}
		}), "spec.oidc_options"},
		"unknown event":                         {stream(func(s *v1.Auth0EventStreamSpec) { s.Subscriptions[0] = "authentication.success" }), "spec.subscriptions[0]"},
		"eventbridge without its configuration": {stream(func(s *v1.Auth0EventStreamSpec) { s.EventBridgeConfiguration = nil }), "spec.eventbridge_configuration"},
		"both destinations": {stream(func(s *v1.Auth0EventStreamSpec) {
			s.WebhookConfiguration = &v1.WebhookConfiguration{WebhookEndpoint: "https://x.example",
				WebhookAuthorization: &v1.WebhookAuthorization{Method: "bearer", Token: new(v1.SecretRef("env:TOKEN"))}}
		}), "spec.webhook_configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Empty(t, tc.resource.Validate())
			warnings := tc.resource.Warnings()
			require.Len(t, warnings, 1, "%+v", warnings)
			require.Equal(t, tc.path, warnings[0].Path)
		})
	}
}

func TestValidateReportsEverything(t *testing.T) {
	r := v1.New("db", &v1.Auth0ConnectionSpec{Strategy: "nonsense", DatabaseOptions: &v1.DatabaseOptions{PasswordPolicy: new("x"), PasswordMinLength: new(0)}})
	require.Len(t, r.Validate(), 3)
}

func TestAccepted(t *testing.T) {
	for name, r := range map[string]v1.Resource{
		"loopback":   v1.New("web", &v1.Auth0ClientSpec{ApplicationType: "regular_web", Callbacks: []string{"http://localhost:3000/cb", "http://127.0.0.1/cb", "http://[::1]:8080/cb"}}),
		"deep links": v1.New("app", &v1.Auth0ClientSpec{ApplicationType: "native", Callbacks: []string{"com.example.app://acme.auth0.com/ios/cb", "com.example.app:/cb"}}),
		"wildcard":   v1.New("spa", &v1.Auth0ClientSpec{ApplicationType: "spa", WebOrigins: []string{"https://*.preview.example.com"}}),
		"empty text": v1.New("web", &v1.Auth0ClientSpec{ApplicationType: "regular_web", LogoURI: new(""), OrganizationUsage: new("")}),
		"tenant":     v1.New("t", &v1.Auth0TenantSpec{Domain: "localhost:4430"}),
	} {
		require.Empty(t, r.Validate(), name)
	}
}
