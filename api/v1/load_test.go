package v1_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// load reads one text as the file m.yaml.
func load(text string) (*v1.Manifests, error) {
	return v1.Load(v1.Source{Name: "m.yaml", Data: []byte(text)})
}

// findings returns what is wrong with a text, which must be something.
func findings(t testing.TB, text string) []v1.Finding {
	t.Helper()
	_, err := load(text)
	var failed *v1.LoadError
	require.ErrorAs(t, err, &failed)
	require.NotEmpty(t, failed.Findings)
	return failed.Findings
}

// manifest writes a manifest whose spec begins in line 6.
func manifest(kind, spec string) string {
	return fmt.Sprintf("apiVersion: auth0.openmcf.org/v1\nkind: %s\nmetadata:\n  name: x\nspec:\n  %s\n", kind, strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  "))
}

// TestSpecsThatOthersRefuse holds the cases that the tests of the shared kinds
// refuse elsewhere, with the place at which the finding must be.
func TestSpecsThatOthersRefuse(t *testing.T) {
	long := strings.Repeat("x", 141)
	for _, tc := range []struct {
		name, kind, spec string
		path             string
		line, column     int
	}{
		{"empty application_type", "Auth0Client", `application_type: ""`, "spec.application_type", 6, 21},
		{"no application_type", "Auth0Client", `description: x`, "spec.application_type", 6, 3},
		{"unknown application_type", "Auth0Client", `application_type: invalid_app_type`, "spec.application_type", 6, 21},
		{"long description", "Auth0Client", "application_type: spa\ndescription: " + long, "spec.description", 7, 16},
		{"jwt alg", "Auth0Client", "application_type: spa\njwt_configuration:\n  alg: ES256", "spec.jwt_configuration.alg", 8, 10},
		{"jwt lifetime above", "Auth0Client", "application_type: spa\njwt_configuration:\n  lifetime_in_seconds: 3000000", "spec.jwt_configuration.lifetime_in_seconds", 8, 26},
		{"jwt lifetime below", "Auth0Client", "application_type: spa\njwt_configuration: {lifetime_in_seconds: -1}", "spec.jwt_configuration.lifetime_in_seconds", 7, 44},
		{"rotation_type", "Auth0Client", "application_type: spa\nrefresh_token: {rotation_type: always-rotate}", "spec.refresh_token.rotation_type", 7, 34},
		{"expiration_type", "Auth0Client", "application_type: spa\nrefreshToken: {expirationType: auto-expire}", "spec.refresh_token.expiration_type", 7, 34},
		{"token_lifetime", "Auth0Client", "application_type: spa\nrefresh_token: {token_lifetime: -100}", "spec.refresh_token.token_lifetime", 7, 35},
		{"idle_token_lifetime", "Auth0Client", "application_type: spa\nrefresh_token: {idle_token_lifetime: -50}", "spec.refresh_token.idle_token_lifetime", 7, 40},
		{"leeway", "Auth0Client", "application_type: spa\nrefresh_token: {leeway: -10}", "spec.refresh_token.leeway", 7, 27},
		{"organization_usage", "Auth0Client", "application_type: spa\norganization_usage: maybe", "spec.organization_usage", 7, 23},
		{"organization_require_behavior", "Auth0Client", "application_type: spa\norganization_require_behavior: always_prompt", "spec.organization_require_behavior", 7, 34},
		{"grant without audience", "Auth0Client", "application_type: non_interactive\napi_grants:\n  - scopes: [a]", "spec.api_grants[0].audience", 8, 7},
		{"grant to a nameless reference", "Auth0Client", "application_type: non_interactive\napi_grants:\n  - audience: {value_from: {name: \"\"}}", "spec.api_grants[0].audience.valueFrom.name", 8, 37},

		{"empty strategy", "Auth0Connection", `strategy: ""`, "spec.strategy", 6, 13},
		{"unknown strategy", "Auth0Connection", `strategy: invalid-strategy-type`, "spec.strategy", 6, 13},
		{"password_policy", "Auth0Connection", "strategy: auth0\ndatabase_options: {password_policy: super-strong}", "spec.database_options.password_policy", 7, 39},
		{"history above", "Auth0Connection", "strategy: auth0\ndatabase_options: {password_history_size: 50}", "spec.database_options.password_history_size", 7, 45},
		{"history below", "Auth0Connection", "strategy: auth0\ndatabase_options: {password_history_size: -1}", "spec.database_options.password_history_size", 7, 45},
		{"social without client_id", "Auth0Connection", "strategy: github\nsocial_options: {client_secret: s}", "spec.social_options.client_id", 7, 19},
		{"social without client_secret", "Auth0Connection", "strategy: github\nsocial_options: {client_id: s}", "spec.social_options.client_secret", 7, 19},
		{"saml without sign_in_endpoint", "Auth0Connection", "strategy: samlp\nsaml_options: {signing_cert: c}", "spec.saml_options.sign_in_endpoint", 7, 17},
		{"saml without signing_cert", "Auth0Connection", "strategy: samlp\nsaml_options: {sign_in_endpoint: 'https://i.example'}", "spec.saml_options.signing_cert", 7, 17},
		{"saml binding", "Auth0Connection", "strategy: samlp\nsaml_options: {sign_in_endpoint: 'https://i.example', signing_cert: c, protocol_binding: invalid-binding}", "spec.saml_options.protocol_binding", 7, 92},
		{"saml signature", "Auth0Connection", "strategy: samlp\nsaml_options: {sign_in_endpoint: 'https://i.example', signing_cert: c, signature_algorithm: rsa-sha512}", "spec.saml_options.signature_algorithm", 7, 95},
		{"oidc without issuer", "Auth0Connection", "strategy: oidc\noidc_options: {client_id: c}", "spec.oidc_options.issuer", 7, 17},
		{"oidc without client_id", "Auth0Connection", "strategy: oidc\noidc_options: {issuer: 'https://i.example'}", "spec.oidc_options.client_id", 7, 17},
		{"oidc type", "Auth0Connection", "strategy: oidc\noidc_options: {issuer: 'https://i.example', client_id: c, type: invalid_channel}", "spec.oidc_options.type", 7, 67},
		{"azure without client_id", "Auth0Connection", "strategy: waad\nazure_ad_options: {client_secret: s, domain: d}", "spec.azure_ad_options.client_id", 7, 21},
		{"azure without client_secret", "Auth0Connection", "strategy: waad\nazure_ad_options: {client_id: s, domain: d}", "spec.azure_ad_options.client_secret", 7, 21},
		{"azure without domain", "Auth0Connection", "strategy: waad\nazure_ad_options: {client_id: s, client_secret: s}", "spec.azure_ad_options.domain", 7, 21},
		{"max_groups", "Auth0Connection", "strategy: waad\nazure_ad_options: {client_id: s, client_secret: s, domain: d, max_groups_to_retrieve: -5}", "spec.azure_ad_options.max_groups_to_retrieve", 7, 89},

		{"empty destination_type", "Auth0EventStream", "destination_type: \"\"\nsubscriptions: [user.created]", "spec.destination_type", 6, 21},
		{"unknown destination_type", "Auth0EventStream", "destination_type: kafka\nsubscriptions: [user.created]", "spec.destination_type", 6, 21},
		{"empty subscriptions", "Auth0EventStream", "destination_type: eventbridge\nsubscriptions: []\neventbridge_configuration: {aws_account_id: '123456789012', aws_region: r}", "spec.subscriptions", 7, 18},
		{"no subscriptions", "Auth0EventStream", "destination_type: eventbridge\neventbridge_configuration: {aws_account_id: '123456789012', aws_region: r}", "spec.subscriptions", 6, 3},
		{"empty account", "Auth0EventStream", "destination_type: eventbridge\nsubscriptions: [user.created]\neventbridge_configuration: {aws_account_id: '', aws_region: r}", "spec.eventbridge_configuration.aws_account_id", 8, 47},
		{"short account", "Auth0EventStream", "destination_type: eventbridge\nsubscriptions: [user.created]\neventbridge_configuration: {aws_account_id: '12345', aws_region: r}", "spec.eventbridge_configuration.aws_account_id", 8, 47},
		{"account with a letter", "Auth0EventStream", "destination_type: eventbridge\nsubscriptions: [user.created]\neventbridge_configuration: {aws_account_id: 12345678901a, aws_region: r}", "spec.eventbridge_configuration.aws_account_id", 8, 47},
		{"account without quotes", "Auth0EventStream", "destination_type: eventbridge\nsubscriptions: [user.created]\neventbridge_configuration: {aws_account_id: 123456789012, aws_region: r}", "spec.eventbridge_configuration.aws_account_id", 8, 47},
		{"empty region", "Auth0EventStream", "destination_type: eventbridge\nsubscriptions: [user.created]\neventbridge_configuration: {aws_account_id: '123456789012', aws_region: ''}", "spec.eventbridge_configuration.aws_region", 8, 75},
		{"empty endpoint", "Auth0EventStream", "destination_type: webhook\nsubscriptions: [user.created]\nwebhook_configuration: {webhook_endpoint: '', webhook_authorization: {method: bearer, token: t}}", "spec.webhook_configuration.webhook_endpoint", 8, 45},
		{"http endpoint", "Auth0EventStream", "destination_type: webhook\nsubscriptions: [user.created]\nwebhook_configuration: {webhook_endpoint: 'http://x', webhook_authorization: {method: bearer, token: t}}", "spec.webhook_configuration.webhook_endpoint", 8, 45},
		{"no authorization", "Auth0EventStream", "destination_type: webhook\nsubscriptions: [user.created]\nwebhook_configuration: {webhook_endpoint: 'https://x'}", "spec.webhook_configuration.webhook_authorization", 8, 26},
		{"empty method", "Auth0EventStream", "destination_type: webhook\nsubscriptions: [user.created]\nwebhook_configuration: {webhook_endpoint: 'https://x', webhook_authorization: {method: ''}}", "spec.webhook_configuration.webhook_authorization.method", 8, 90},
		{"unknown method", "Auth0EventStream", "destination_type: webhook\nsubscriptions: [user.created]\nwebhook_configuration: {webhook_endpoint: 'https://x', webhook_authorization: {method: oauth2}}", "spec.webhook_configuration.webhook_authorization.method", 8, 90},
		{"bearer without token", "Auth0EventStream", "destination_type: webhook\nsubscriptions: [user.created]\nwebhook_configuration: {webhook_endpoint: 'https://x', webhook_authorization: {method: bearer}}", "spec.webhook_configuration.webhook_authorization.token", 8, 81},
		{"basic without username", "Auth0EventStream", "destination_type: webhook\nsubscriptions: [user.created]\nwebhook_configuration: {webhook_endpoint: 'https://x', webhook_authorization: {method: basic, password: p}}", "spec.webhook_configuration.webhook_authorization.username", 8, 81},
		{"basic without password", "Auth0EventStream", "destination_type: webhook\nsubscriptions: [user.created]\nwebhook_configuration: {webhook_endpoint: 'https://x', webhook_authorization: {method: basic, username: u, password: ''}}", "spec.webhook_configuration.webhook_authorization.password", 8, 120},

		{"empty identifier", "Auth0ResourceServer", `identifier: ""`, "spec.identifier", 6, 15},
		{"signing_alg", "Auth0ResourceServer", "identifier: x\nsigning_alg: ES256", "spec.signing_alg", 7, 16},
		{"dialect", "Auth0ResourceServer", "identifier: x\ntoken_dialect: jwt_token", "spec.token_dialect", 7, 18},
		{"lifetime above", "Auth0ResourceServer", "identifier: x\ntoken_lifetime: 3000000", "spec.token_lifetime", 7, 19},
		{"lifetime below", "Auth0ResourceServer", "identifier: x\ntoken_lifetime: -100", "spec.token_lifetime", 7, 19},
		{"web lifetime above", "Auth0ResourceServer", "identifier: x\ntoken_lifetime_for_web: 3000000", "spec.token_lifetime_for_web", 7, 27},
		{"web lifetime below", "Auth0ResourceServer", "identifier: x\ntoken_lifetime_for_web: -50", "spec.token_lifetime_for_web", 7, 27},
		{"scope without name", "Auth0ResourceServer", "identifier: x\nscopes:\n  - description: d", "spec.scopes[0].name", 8, 7},
	} {
		t.Run(tc.kind+" "+tc.name, func(t *testing.T) {
			found := findings(t, manifest(tc.kind, tc.spec))
			require.Len(t, found, 1, "%v", found)
			f := found[0]
			require.Equal(t, tc.path, f.Path, f.Message)
			require.Equal(t, [2]int{tc.line, tc.column}, [2]int{f.Line, f.Column}, "%s", f)
			require.Equal(t, "m.yaml", f.File)
			require.Equal(t, tc.kind+"/x", f.Resource)
			require.NotContains(t, f.Message, tc.path)
		})
	}
	for _, kind := range []string{"Auth0Client", "Auth0Connection", "Auth0EventStream", "Auth0ResourceServer", "Auth0Action", "Auth0Role"} {
		for name, tc := range map[string]struct{ text, path string }{
			"missing metadata":    {"apiVersion: auth0.openmcf.org/v1\nkind: " + kind + "\nspec: {}\n", "metadata"},
			"missing spec":        {"apiVersion: auth0.openmcf.org/v1\nkind: " + kind + "\nmetadata: {name: x}\n", "spec"},
			"null spec":           {"apiVersion: auth0.openmcf.org/v1\nkind: " + kind + "\nmetadata: {name: x}\nspec:\n", "spec"},
			"wrong api version":   {"apiVersion: auth0.openmcf.org/v2\nkind: " + kind + "\nmetadata: {name: x}\nspec: {}\n", "apiVersion"},
			"missing api version": {"kind: " + kind + "\nmetadata: {name: x}\nspec: {}\n", "apiVersion"},
			"wrong kind":          {"apiVersion: auth0.openmcf.org/v1\nkind: " + kind + "s\nmetadata: {name: x}\nspec: {}\n", "kind"},
			"missing kind":        {"apiVersion: auth0.openmcf.org/v1\nmetadata: {name: x}\nspec: {}\n", "kind"},
			"missing name":        {"apiVersion: auth0.openmcf.org/v1\nkind: " + kind + "\nmetadata: {}\nspec: {}\n", "metadata.name"},
		} {
			paths := map[string]bool{}
			for _, f := range findings(t, tc.text) {
				paths[f.Path] = true
				require.Positive(t, f.Line)
			}
			require.True(t, paths[tc.path], "%s %s: %v", kind, name, paths)
		}
	}
}

// TestSpecsThatOthersAccept holds the accepted cases that the published manifests
// do not show, and what those tools take although it is odd.
func TestSpecsThatOthersAccept(t *testing.T) {
	webhook := "destination_type: webhook\nsubscriptions: [user.created]\nwebhook_configuration: {webhook_endpoint: 'https://x', webhook_authorization: {method: %s}}"
	for name, tc := range map[string]struct{ kind, spec string }{
		"HS256 and encoded":       {"Auth0Client", "application_type: regular_web\njwt_configuration: {alg: HS256, secret_encoded: true}"},
		"PS256":                   {"Auth0Client", "application_type: spa\njwt_configuration: {alg: PS256}"},
		"organization":            {"Auth0Client", "application_type: regular_web\norganization_usage: require\norganization_require_behavior: pre_login_prompt"},
		"empty enums":             {"Auth0Client", "application_type: spa\norganization_usage: ''\njwt_configuration: {alg: ''}\nrefresh_token: {rotation_type: ''}"},
		"back-channel logout":     {"Auth0Client", "application_type: regular_web\noidc_backchannel_logout: {backchannel_logout_urls: ['https://a.example/logout']}"},
		"connections by value":    {"Auth0Client", "application_type: spa\nenabled_connections: [{value: a}, {value_from: {kind: Auth0Connection, name: b}}]"},
		"kind by number":          {"Auth0Client", "application_type: spa\nenabled_connections: [{value_from: {kind: 2100, name: b}}]"},
		"field for fieldPath":     {"Auth0Client", "application_type: spa\nenabled_connections: [{valueFrom: {kind: Auth0Connection, name: b, field: status.outputs.name}}]"},
		"path without prefix":     {"Auth0Connection", "strategy: auth0\nenabled_clients: [{valueFrom: {name: b, fieldPath: clientId}}]"},
		"URL syntax":              {"Auth0Client", "application_type: regular_web\ncallbacks: [nonsense, 'http://a.example', 'http://a.example', 'https://*.a.example/x']\nlogo_uri: nope"},
		"many pairs":              {"Auth0Client", "application_type: spa\nclient_metadata: {a: '', b: '', c: '', d: '', e: '', f: '', g: '', h: '', i: '', j: '', k: ''}"},
		"numbers as text":         {"Auth0ResourceServer", "identifier: x\ntoken_lifetime: '3600'\ntoken_lifetime_for_web: 7.2e2"},
		"YAML 1.1 booleans":       {"Auth0ResourceServer", "identifier: x\nallow_offline_access: yes\nenforce_policies: off"},
		"null is absent":          {"Auth0ResourceServer", "identifier: x\nname: null\nscopes: ~\ntoken_lifetime:"},
		"both key styles":         {"Auth0ResourceServer", "identifier: x\nsigningAlg: RS256\ntoken_lifetime: 0"},
		"scope without details":   {"Auth0ResourceServer", "identifier: x\nscopes: [{name: a}, {name: a}]"},
		"social without options":  {"Auth0Connection", "strategy: google-oauth2"},
		"ad":                      {"Auth0Connection", "strategy: ad"},
		"adfs":                    {"Auth0Connection", "strategy: adfs"},
		"foreign options":         {"Auth0Connection", "strategy: auth0\nsocial_options: {client_id: a, client_secret: b}"},
		"eventbridge without any": {"Auth0EventStream", "destination_type: eventbridge\nsubscriptions: [anything.at.all, anything.at.all]"},
		"bearer":                  {"Auth0EventStream", fmt.Sprintf(webhook, "bearer, token: t")},
		"basic":                   {"Auth0EventStream", fmt.Sprintf(webhook, "basic, username: u, password: p")},
		"empty binding":           {"Auth0Action", "supported_trigger: {id: post-login, version: v3}\ncode: x\ntrigger_binding: {}"},
		"role by its metadata":    {"Auth0Role", "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, version := range append(v1.OlderAPIVersions(), v1.APIVersion) {
				_, err := load(strings.Replace(manifest(tc.kind, tc.spec), "auth0.openmcf.org/v1", version, 1))
				require.NoError(t, err, version)
			}
		})
	}
	_, err := load(strings.Replace(manifest("Auth0Client", "application_type: spa"), "apiVersion", "api_version", 1))
	require.NoError(t, err)
	m, err := load(`{"apiVersion": "auth0.planton.dev/v1", "kind": "Auth0Client", "status": {"outputs": {"id": 7}}, "spec": {"applicationType": "spa"},
		"metadata": {"name": "x", "org": "o", "env": "e", "id": "i", "slug": "s", "group": "g", "version": "1", "tags": ["t"], "labels": {"a.b/c": "d"},
		"relationships": [{"kind": "Auth0Connection", "name": "y", "type": "depends_on"}]}}`)
	require.NoError(t, err)
	require.Equal(t, v1.Metadata{Name: "x", Org: "o", Env: "e", ID: "i", Slug: "s", Group: "g", Version: "1", Tags: []string{"t"},
		Labels: map[string]string{"a.b/c": "d"}, Relationships: []v1.Relationship{{Kind: "Auth0Connection", Name: "y", Type: "depends_on"}}}, m.Resources[0].Metadata)
}

func TestPresenceSurvivesLoading(t *testing.T) {
	m, err := load(manifest("Auth0Client", `
application_type: spa
oidc_conformant: false
callbacks: []
description: ""
client_metadata: {}
refresh_token: {leeway: 0}
enabled_connections: []`))
	require.NoError(t, err)
	data, err := json.Marshal(m.Resources[0].Spec)
	require.NoError(t, err)
	require.JSONEq(t, `{"application_type":"spa","oidc_conformant":false,"callbacks":[],"description":"","client_metadata":{},"refresh_token":{"leeway":0},"enabled_connections":[]}`, string(data))
}

func TestCanonicalReferences(t *testing.T) {
	m, err := load(manifest("Auth0Client", `
application_type: non_interactive
enabled_connections:
  - db
  - valueFrom: {kind: 2100, name: a, field: metadata.name}
api_grants:
  - audience: https://api.example.com/
  - audience: {value_from: {name: api, env: prod, field_path: spec.identifier}}`))
	require.NoError(t, err)
	spec := m.Resources[0].Spec.(*v1.Auth0ClientSpec)
	require.Equal(t, []v1.StringOrRef{v1.Value("db"), {ValueFrom: &v1.ValueFrom{Kind: "Auth0Connection", Name: "a", FieldPath: "status.outputs.name"}}}, spec.EnabledConnections)
	require.Equal(t, v1.Value("https://api.example.com/"), spec.APIGrants[0].Audience)
	require.Equal(t, v1.StringOrRef{ValueFrom: &v1.ValueFrom{Name: "api", Env: "prod", FieldPath: "status.outputs.identifier"}}, spec.APIGrants[1].Audience)
}

func TestBadInput(t *testing.T) {
	ok := manifest("Auth0ResourceServer", "identifier: x")
	deep := strings.Repeat("[", 300) + strings.Repeat("]", 300)
	for name, tc := range map[string]struct {
		text    string
		at      string
		message string
	}{
		"unknown key":              {manifest("Auth0Client", "application_type: spa\ncalbacks: []"), "m.yaml:7:3: Auth0Client/x: spec.calbacks", "did you mean callbacks?"},
		"unknown camelCase key":    {manifest("Auth0Client", "applicationType: spa\nwebOrigin: []"), "m.yaml:7:3: Auth0Client/x: spec.webOrigin", "did you mean webOrigins?"},
		"unknown nested key":       {manifest("Auth0Client", "application_type: spa\nmobile: {ios: {team: x}}"), "m.yaml:7:18: Auth0Client/x: spec.mobile.ios.team", "is not a field"},
		"unknown metadata key":     {"apiVersion: tenon.dev/v1\nkind: Auth0Role\nmetadata: {name: x, lables: {}}\nspec: {}", "m.yaml:3:21: Auth0Role/x: metadata.lables", "did you mean labels?"},
		"unknown top-level key":    {ok + "extra: 1\n", "m.yaml:7:1: Auth0ResourceServer/x: extra", "is not a field of a manifest"},
		"unknown kind":             {"apiVersion: tenon.dev/v1\nkind: Auth0client\nmetadata: {name: x}\nspec: {}", "m.yaml:2:7: Auth0client/x: kind", "did you mean Auth0Client?"},
		"older version, own kind":  {"apiVersion: auth0.openmcf.org/v1\nkind: Auth0User\nmetadata: {name: x}\nspec: {connection: db, email: a@b.example}", "m.yaml:1:13: Auth0User/x: apiVersion", "no kind Auth0User"},
		"number for text":          {manifest("Auth0ResourceServer", "identifier: 5"), "m.yaml:6:15: Auth0ResourceServer/x: spec.identifier", "put it in quotes"},
		"boolean for text":         {manifest("Auth0Client", "application_type: spa\nclient_metadata: {a: true}"), "m.yaml:7:24: Auth0Client/x: spec.client_metadata.a", "put it in quotes"},
		"text for boolean":         {manifest("Auth0Client", "application_type: spa\nsso: \"true\""), "m.yaml:7:8: Auth0Client/x: spec.sso", "must be true or false"},
		"quoted YAML 1.1 boolean":  {manifest("Auth0Client", "application_type: spa\nsso: 'yes'"), "m.yaml:7:8: Auth0Client/x: spec.sso", "must be true or false"},
		"text for number":          {manifest("Auth0ResourceServer", "identifier: x\ntoken_lifetime: soon"), "m.yaml:7:19: Auth0ResourceServer/x: spec.token_lifetime", "must be a whole number"},
		"fraction":                 {manifest("Auth0ResourceServer", "identifier: x\ntoken_lifetime: 1.5"), "m.yaml:7:19: Auth0ResourceServer/x: spec.token_lifetime", "must be a whole number"},
		"huge number":              {manifest("Auth0ResourceServer", "identifier: x\ntoken_lifetime: 99999999999999999999"), "m.yaml:7:19: Auth0ResourceServer/x: spec.token_lifetime", "too large"},
		"text for list":            {manifest("Auth0Client", "application_type: spa\ncallbacks: https://a.example"), "m.yaml:7:14: Auth0Client/x: spec.callbacks", "must be a list"},
		"list for mapping":         {manifest("Auth0Client", "application_type: spa\nmobile: []"), "m.yaml:7:11: Auth0Client/x: spec.mobile", "must be a mapping"},
		"null in a list":           {manifest("Auth0Client", "application_type: spa\ncallbacks: [null]"), "m.yaml:7:15: Auth0Client/x: spec.callbacks[0]", "is null"},
		"duplicate key":            {manifest("Auth0Client", "application_type: spa\napplication_type: spa"), "m.yaml:7:3: Auth0Client/x: spec.application_type", "given twice, first in line 6"},
		"one field by two keys":    {manifest("Auth0Client", "application_type: spa\napplicationType: spa"), "m.yaml:7:3: Auth0Client/x: spec.application_type", "first as application_type in line 6"},
		"duplicate top-level key":  {ok + "kind: Auth0Role\n", "m.yaml:7:1: Auth0ResourceServer/x: kind", "given twice"},
		"value and valueFrom":      {manifest("Auth0Connection", "strategy: auth0\nenabled_clients: [{value: a, valueFrom: {name: b}}]"), "m.yaml:7:21: Auth0Connection/x: spec.enabled_clients[0]", "exclude each other"},
		"empty reference":          {manifest("Auth0Connection", "strategy: auth0\nenabled_clients: [{}]"), "m.yaml:7:21: Auth0Connection/x: spec.enabled_clients[0]", "needs a value or a valueFrom"},
		"reference to a non-kind":  {manifest("Auth0Connection", "strategy: auth0\nenabled_clients: [{valueFrom: {kind: Auth0Banana, name: b}}]"), "m.yaml:7:40: Auth0Connection/x: spec.enabled_clients[0].valueFrom.kind", "Auth0Banana"},
		"unknown output":           {manifest("Auth0Connection", "strategy: auth0\nenabled_clients: [{valueFrom: {name: b, fieldPath: status.outputs.secret}}]"), "m.yaml:7:21: Auth0Connection/x: spec.enabled_clients[0]", "does not have"},
		"foreign tag":              {manifest("Auth0ResourceServer", "identifier: !Ref x"), "m.yaml:6:15: Auth0ResourceServer/x: spec.identifier", "tag !!Ref"},
		"anchor that holds itself": {manifest("Auth0User", "connection: db\nemail: a@b.example\nuser_metadata: &a {x: *a}"), "m.yaml:8:25: Auth0User/x: spec.user_metadata.x", "contains it"},
		"unknown anchor":           {manifest("Auth0ResourceServer", "identifier: *nope"), "m.yaml:", "unknown anchor"},
		"deep":                     {manifest("Auth0User", "connection: db\nemail: a@b.example\nuser_metadata: {x: "+deep+"}"), "m.yaml:8:", "deeper than"},
		"not YAML":                 {"a: b: c\n", "m.yaml:1:", "is not valid YAML"},
		"tab":                      {"apiVersion: tenon.dev/v1\n\tkind: x\n", "m.yaml:2:", "is not valid YAML"},
		"not a mapping":            {"- a\n- b\n", "m.yaml:1:1: ", "must be a mapping"},
		"JSON list":                {"[1, 2]", "m.yaml:1:1: ", "must be a mapping"},
		"not UTF-8":                {"apiVersion: tenon.dev/v1\nkind: \xff\xfe\n", "m.yaml:2:7: ", "is not UTF-8"},
		"UTF-16":                   {"\xff\xfea\x00", "m.yaml:1:1: ", "is UTF-16"},
		"control characters":       {"a: \x01\n", "m.yaml:", "is not valid YAML"},
		"too large":                {strings.Repeat("# comment\n", 1<<20) + strings.Repeat(" ", 1<<20), "m.yaml:1:1: ", "at most"},
		"duplicate names":          {ok + "---\n" + ok, "m.yaml:11:9: Auth0ResourceServer/x: metadata.name", "repeats Auth0ResourceServer/x of m.yaml:1"},
		"error in one document":    {"a: b: c\n---\n" + strings.Replace(ok, "identifier", "identifer", 1), "m.yaml:8:3: Auth0ResourceServer/x: spec.identifer", "did you mean identifier?"},
		"misspelt protection":      {"apiVersion: tenon.dev/v1\nkind: Auth0Role\nmetadata: {name: x, annotations: {tenon.dev/deletion-protection: 'yes'}}\nspec: {}", "m.yaml:3:", `must be "true" or "false"`},
		"protection as a boolean":  {"apiVersion: tenon.dev/v1\nkind: Auth0Role\nmetadata: {name: x, annotations: {tenon.dev/deletion-protection: true}}\nspec: {}", "m.yaml:3:", `put it in quotes`},
		"unknown annotation":       {"apiVersion: tenon.dev/v1\nkind: Auth0Role\nmetadata: {name: x, annotations: {tenon.dev/deletion-protect: 'true'}}\nspec: {}", "m.yaml:3:", `it knows tenon.dev/deletion-protection`},
		"script as a callback":     {manifest("Auth0Client", "application_type: spa\ncallbacks: ['javascript:alert(1)']"), "m.yaml:7:15: Auth0Client/x: spec.callbacks[0]", "must not have the scheme"},
	} {
		t.Run(name, func(t *testing.T) {
			all := findings(t, tc.text)
			var texts []string
			found := false
			for _, f := range all {
				texts = append(texts, f.String())
				found = found || (strings.HasPrefix(f.String(), tc.at) && strings.Contains(f.Message, tc.message))
			}
			require.True(t, found, "%q %q\n%s", tc.at, tc.message, strings.Join(texts, "\n"))
		})
	}
}

func TestEveryProblemOfEveryFile(t *testing.T) {
	_, err := v1.Load(
		v1.Source{Name: "b.yaml", Data: []byte(manifest("Auth0Client", "application_type: wrong\nsso: 5\nnope: 1"))},
		v1.Source{Name: "a.yaml", Data: []byte("kind: [")},
		v1.Source{Name: "c.json", Data: []byte("{\"apiVersion\": \"tenon.dev/v1\",\n\t\"kind\": \"Auth0Role\", \"metadata\": {\"name\": \"r\"}, \"spec\": {\"nmae\": \"\\ud83d\\ude00\"}}\n{\"kind\": 1}")},
	)
	var failed *v1.LoadError
	require.ErrorAs(t, err, &failed)
	var places []string
	for _, f := range failed.Findings {
		places = append(places, fmt.Sprintf("%s:%d:%d %s", f.File, f.Line, f.Column, f.Path))
	}
	require.Equal(t, []string{
		"b.yaml:6:21 spec.application_type", "b.yaml:7:8 spec.sso", "b.yaml:8:3 spec.nope",
		"a.yaml:1:1 ",
		"c.json:2:59 spec.nmae", "c.json:3:1 apiVersion", "c.json:3:1 metadata", "c.json:3:1 spec", "c.json:3:10 kind",
	}, places)
	require.Equal(t, len(places), strings.Count(err.Error(), "\n")+1)
}

func TestAliasesAndMerges(t *testing.T) {
	m, err := load(`
apiVersion: tenon.dev/v1
kind: Auth0Client
metadata: {name: web, labels: &labels {team: a, env: prod}, annotations: {<<: *labels, env: test}}
spec:
  application_type: spa
  callbacks: &urls ["https://a.example/cb"]
  allowed_logout_urls: *urls
`)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"team": "a", "env": "test"}, m.Resources[0].Metadata.Annotations)
	require.Equal(t, []string{"https://a.example/cb"}, m.Resources[0].Spec.(*v1.Auth0ClientSpec).AllowedLogoutURLs)
}

func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: tenon.dev/v1\nkind: Auth0User\nmetadata: {name: x}\nspec:\n  connection: db\n  email: a@b.example\n  user_metadata:\n    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "    a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	found := findings(t, b.String())
	require.Contains(t, found[0].Message, "aliases of these files stand for more than")
}

func TestLiterals(t *testing.T) {
	const canary = "hunter2-canary"
	m, err := load(manifest("Auth0EventStream", `
destination_type: webhook
subscriptions: [user.created]
webhook_configuration:
  webhook_endpoint: https://hook.example
  webhook_authorization: {method: bearer, token: `+canary+`}`) + "---\n" + manifest("Auth0Action", `
supported_trigger: {id: post-login, version: v3}
code: x
secrets:
  - {name: A, value: "env:A"}
  - {name: B, value: "user:`+canary+`"}
  - {name: C, value: "https://`+canary+`@x"}`) + "---\n" + manifest("Auth0Connection", `
strategy: oidc
oidc_options: {issuer: "https://i.example", client_id: c, client_secret: ""}`))
	require.NoError(t, err)
	require.Len(t, m.Literals, 3)
	require.Equal(t, "Auth0EventStream", m.Literals[0].Kind)
	require.Equal(t, "spec.webhook_configuration.webhook_authorization.token", m.Literals[0].Path)
	require.Equal(t, canary, m.Literals[0].Value.Reveal())
	require.Equal(t, "spec.secrets[1].value", m.Literals[1].Path)
	require.Equal(t, "spec.secrets[2].value", m.Literals[2].Path)
	require.Nil(t, m.Resources[2].Spec.(*v1.Auth0ConnectionSpec).OIDCOptions.ClientSecret, "an empty optional secret is none")

	data, err := json.Marshal(struct {
		R any
		L any
		W any
	}{m.Resources, m.Literals, m.Warnings})
	require.NoError(t, err)
	for _, text := range []string{string(data), fmt.Sprintf("%v %+v %#v %s %q %x", m.Literals, m.Literals, m.Literals, m.Literals, m.Literals, m.Literals), fmt.Sprintf("%+v", m)} {
		require.NotContains(t, text, canary)
	}

	for _, l := range m.Literals {
		for i := range m.Resources {
			if r := &m.Resources[i]; r.Kind == l.Kind {
				require.NoError(t, r.SetString(l.Path, "dotenv:X"))
			}
		}
	}
	require.Equal(t, v1.SecretRef("dotenv:X"), *m.Resources[0].Spec.(*v1.Auth0EventStreamSpec).WebhookConfiguration.WebhookAuthorization.Token)
	secrets := m.Resources[1].Spec.(*v1.Auth0ActionSpec).Secrets
	require.Equal(t, []v1.ActionSecret{{Name: "A", Value: "env:A"}, {Name: "B", Value: "dotenv:X"}, {Name: "C", Value: "dotenv:X"}}, secrets)
	for _, path := range []string{"spec", "spec.", "spec.secrets", "spec.secrets[9].value", "spec.secrets[0]", "spec.nope", "spec.deploy", "metadata.name", "spec.secrets[x]", "spec.secrets..value", ""} {
		require.Error(t, m.Resources[1].SetString(path, "x"), path)
	}
}

// TestSecretsAreNeverRepeated puts something wrong into every secret field.
func TestSecretsAreNeverRepeated(t *testing.T) {
	for _, text := range []string{
		manifest("Auth0Connection", "strategy: github\nsocial_options: {client_id: a, client_secret: 8842768842}"),
		manifest("Auth0Connection", "strategy: github\nsocial_options: {client_id: a, client_secret: [8842768842]}"),
		manifest("Auth0Connection", "strategy: github\nsocial_options: {client_id: a, client_secret: {x: 8842768842}}"),
		manifest("Auth0Action", "supported_trigger: {id: post-login, version: v3}\ncode: x\nsecrets: [{name: A, value: 8842768842}]"),
	} {
		_, err := load(text)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "8842768842")
	}
}

func TestReferencesAcrossFiles(t *testing.T) {
	api := v1.Source{Name: "api.yaml", Data: []byte(strings.Replace(manifest("Auth0ResourceServer", "identifier: https://api.example"), "name: x", "name: api", 1))}
	client := v1.Source{Name: "client.yaml", Data: []byte(manifest("Auth0Client", "application_type: non_interactive\napi_grants: [{audience: {valueFrom: {name: api}}}]"))}
	m, err := v1.Load(client, api)
	require.NoError(t, err)
	require.Empty(t, m.Warnings)
	require.NoError(t, m.CheckReferences(nil))

	m, err = v1.Load(client)
	require.NoError(t, err)
	require.Len(t, m.Warnings, 1)
	require.Contains(t, m.Warnings[0].String(), "client.yaml:7:27: Auth0Client/x: spec.api_grants[0].audience: refers to Auth0ResourceServer/api")
	require.NoError(t, m.CheckReferences(func(kind, name string) bool { return kind == "Auth0ResourceServer" && name == "api" }))
	err = m.CheckReferences(nil)
	var failed *v1.LoadError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, 7, failed.Findings[0].Line)
}

func TestCircles(t *testing.T) {
	db := strings.Replace(manifest("Auth0Connection", "strategy: auth0\nenabled_clients: [{valueFrom: {name: web}}]"), "name: x", "name: db", 1)
	web := strings.Replace(manifest("Auth0Client", "application_type: spa\nenabled_connections: [{valueFrom: {name: db}}]"), "name: x", "name: web", 1)
	found := findings(t, db+"---\n"+web)
	require.Len(t, found, 1)
	require.Contains(t, found[0].Message, "Auth0Connection/db → Auth0Client/web → Auth0Connection/db")
	require.Equal(t, 15, found[0].Line)

	// A web application stands for its client.
	app := "apiVersion: tenon.dev/v1\nkind: WebApp\nmetadata: {name: web}\nspec:\n  url: https://g.example\n  connections: [{valueFrom: {name: db}}]\n"
	found = findings(t, db+"---\n"+app)
	require.Contains(t, found[0].Message, "WebApp/web")
}

func TestPosition(t *testing.T) {
	m, err := load(manifest("Auth0Client", "application_type: spa\nrefresh_token:\n  leeway: 0"))
	require.NoError(t, err)
	file, line, column, ok := m.Position("Auth0Client", "x", "spec.refresh_token.leeway")
	require.True(t, ok)
	require.Equal(t, []any{"m.yaml", 8, 13}, []any{file, line, column})
	_, line, _, _ = m.Position("Auth0Client", "x", "spec.refresh_token.token_lifetime")
	require.Equal(t, 8, line, "a field that is not there is where its neighbours are")
	_, _, _, ok = m.Position("Auth0Client", "y", "")
	require.False(t, ok)
	require.Equal(t, "m.yaml:6:21: Auth0Client/x: spec.application_type: odd", m.Locate("Auth0Client", "x", v1.Problem{Path: "spec.application_type", Message: "odd"}).String())
}

func TestNothingIsNoError(t *testing.T) {
	for _, text := range []string{"", "---\n", "# nothing\n", "\ufeff", "---\n---\n# x\n...\n", "%YAML 1.2\n---\nnull\n"} {
		m, err := load(text)
		require.NoError(t, err, "%q", text)
		require.Empty(t, m.Resources)
	}
	m, err := load("\ufeff%YAML 1.2\n---\n" + manifest("Auth0Role", "{}") + "...\n---\r\n" + strings.ReplaceAll(manifest("Auth0Role", "name: \"y\""), "name: x", "name: z"))
	require.NoError(t, err)
	require.Len(t, m.Resources, 2)
}
