package v1_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// compiled returns the schema of every kind, and the one for all under "".
func compiled(t testing.TB) map[string]*jsonschema.Schema {
	t.Helper()
	out := map[string]*jsonschema.Schema{}
	for _, kind := range append(v1.Kinds(), "") {
		data, err := v1.SchemaAll()
		if kind != "" {
			data, err = v1.Schema(kind)
		}
		require.NoError(t, err)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		require.NoError(t, err)
		c := jsonschema.NewCompiler()
		c.DefaultDraft(jsonschema.Draft2020)
		require.NoError(t, c.AddResource("kind.json", doc))
		out[kind], err = c.Compile("kind.json")
		require.NoError(t, err, kind)
	}
	return out
}

// documents reads YAML the way an editor does: the core schema of YAML 1.2.
func documents(t testing.TB, data []byte) []any {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(data))
	var out []any
	for {
		var n yaml.Node
		if d.Decode(&n) != nil {
			return out
		}
		retag(&n)
		var v any
		require.NoError(t, n.Decode(&v))
		if v == nil {
			continue
		}
		text, err := json.Marshal(v)
		require.NoError(t, err)
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		require.NoError(t, err)
		out = append(out, doc)
	}
}

// retag makes dates the texts that they are in JSON.
func retag(n *yaml.Node) {
	if n.Tag == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, c := range n.Content {
		retag(c)
	}
}

// schemasAccept checks what Load accepted against the schemas.
func schemasAccept(t testing.TB, schemas map[string]*jsonschema.Schema, name string, data []byte) {
	t.Helper()
	for _, doc := range documents(t, data) {
		kind, _ := doc.(map[string]any)["kind"].(string)
		require.Contains(t, schemas, kind)
		require.NoError(t, schemas[kind].Validate(doc), "%s: %s", name, kind)
		require.NoError(t, schemas[""].Validate(doc), "%s: any kind", name)
	}
}

func TestSchemasAcceptWhatLoads(t *testing.T) {
	schemas := compiled(t)
	for name, text := range acceptedTexts() {
		_, err := load(text)
		require.NoError(t, err, name)
		schemasAccept(t, schemas, name, []byte(text))
	}
}

func TestSchemasAcceptPublishedManifests(t *testing.T) {
	schemas := compiled(t)
	for _, p := range publishedManifests(t, shared(t, "openmcf-manifests")) {
		if !strings.Contains(p.reject, "unknown field") {
			schemasAccept(t, schemas, p.file, p.data)
		}
	}
}

// acceptedTexts are manifests with everything that Load takes besides plain ones.
func acceptedTexts() map[string]string {
	return map[string]string{
		"composites": composites,
		"leniency": manifest("Auth0ResourceServer", `
identifier: x
allowOfflineAccess: yes
token_lifetime: "3600"
token_lifetime_for_web: 7200.0
name: null
signingAlg: ""
scopes: [{name: a, description: null}]`),
		"references": manifest("Auth0Client", `
applicationType: non_interactive
enabledConnections: [bare, {value: v}, {valueFrom: {name: n}}, {value_from: {kind: 2100, name: n, field_path: name, env: e}}, {value: null, valueFrom: {name: n, field: id}}]
apiGrants: [{audience: https://api.example}]`),
		"null blocks": manifest("Auth0Client", "application_type: spa\nmobile: null\nrefresh_token: {leeway: null}\nclient_metadata: {a: null}\ncallbacks: null"),
		"user": `{"apiVersion": "tenon.dev/v1", "kind": "Auth0User", "metadata": {"name": "u", "labels": null}, "status": null,
			"spec": {"connection": "db", "email": "a@b.example", "user_metadata": {"a": [1, null, {"b": true}]}}}`,
		"date": manifest("Auth0Client", "application_type: spa\nclient_metadata: {since: 2026-01-01}"),
	}
}

func TestSchemasRefuse(t *testing.T) {
	schemas := compiled(t)
	for name, text := range map[string]string{
		"unknown key":          manifest("Auth0Client", "application_type: spa\ncalbacks: []"),
		"unknown nested key":   manifest("Auth0Client", "application_type: spa\nmobile: {ios: {team: x}}"),
		"unknown metadata key": "apiVersion: tenon.dev/v1\nkind: Auth0Role\nmetadata: {name: x, lables: {}}\nspec: {}",
		"unknown top key":      manifest("Auth0Role", "{}") + "extra: 1",
		"missing required":     manifest("Auth0Client", "description: x"),
		"wrong enum":           manifest("Auth0Client", "application_type: wrong"),
		"above the limit":      manifest("Auth0ResourceServer", "identifier: x\ntoken_lifetime: 3000000"),
		"wrong type":           manifest("Auth0Client", "application_type: spa\ncallbacks: x"),
		"account":              manifest("Auth0EventStream", "destination_type: eventbridge\nsubscriptions: [a]\neventbridge_configuration: {aws_account_id: '12', aws_region: r}"),
		"account as a number":  manifest("Auth0EventStream", "destination_type: eventbridge\nsubscriptions: [a]\neventbridge_configuration: {aws_account_id: 123456789012, aws_region: r}"),
		"no subscriptions":     manifest("Auth0EventStream", "destination_type: eventbridge\nsubscriptions: []"),
		"older version":        "apiVersion: auth0.openmcf.org/v1\nkind: Auth0User\nmetadata: {name: x}\nspec: {connection: db, email: a@b.example}",
		"no apiVersion":        "kind: Auth0Role\nmetadata: {name: x}\nspec: {}",
		"empty reference":      manifest("Auth0Connection", "strategy: auth0\nenabled_clients: [{}]"),
		"unknown factor":       "apiVersion: tenon.dev/v1\nkind: Auth0Tenant\nmetadata: {name: x}\nspec: {mfa: {factors: {fax: true}}}",
	} {
		for _, doc := range documents(t, []byte(text)) {
			kind := doc.(map[string]any)["kind"].(string)
			require.Error(t, schemas[kind].Validate(doc), name)
			require.Error(t, schemas[""].Validate(doc), name)
		}
	}
	require.Error(t, schemas[""].Validate(map[string]any{"kind": "ConfigMap"}))
	_, err := v1.Schema("Auth0Cleint")
	require.ErrorContains(t, err, "Auth0Client")
}

// TestSchemasKnowEveryField gives each field of each kind by both of its keys to
// the schema: an unknown one would be refused.
func TestSchemasKnowEveryField(t *testing.T) {
	for _, kind := range v1.Kinds() {
		data, err := v1.Schema(kind)
		require.NoError(t, err)
		root, err := v1.Explain(kind)
		require.NoError(t, err)
		var visit func(f *v1.Field)
		visit = func(f *v1.Field) {
			require.Contains(t, string(data), fmt.Sprintf("%q: {", f.Name), f.Path)
			for _, m := range f.Fields {
				visit(m)
			}
		}
		for _, f := range root.Fields {
			visit(f)
		}
	}
}
