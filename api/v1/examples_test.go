package v1_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/api/v1/v1test"
)

const examplesDir = "../../examples"

// stories returns the manifests of each folder of examples.
func stories(t testing.TB) map[string][]v1.Source {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(examplesDir, "*", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	out := map[string][]v1.Source{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		story := filepath.Base(filepath.Dir(file))
		out[story] = append(out[story], v1.Source{Name: filepath.ToSlash(file), Data: data})
	}
	return out
}

// unshown are the fields that no example has, because nobody should begin with
// them.
var unshown = map[string]string{
	"Auth0Client.spec.custom_login_page":                                   "the classic login page",
	"Auth0Client.spec.jwt_configuration.scopes":                            "a leftover of delegation",
	"Auth0Client.spec.api_grants[].allow_any_organization":                 "organizations of machines",
	"Auth0Client.spec.api_grants[].organization_usage":                     "organizations of machines",
	"Auth0ClientGrant.spec.allow_any_organization":                         "organizations of machines",
	"Auth0ClientGrant.spec.organization_usage":                             "organizations of machines",
	"Service.spec.allow_any_organization":                                  "organizations of machines",
	"Service.spec.organization_usage":                                      "organizations of machines",
	"Service.spec.api.enforce_policies":                                    "as of an Auth0ResourceServer",
	"Service.spec.api.token_dialect":                                       "as of an Auth0ResourceServer",
	"Auth0Tenant.spec.domain":                                              "the examples are for any tenant",
	"Auth0Tenant.spec.branding.font":                                       "needs a font of your own",
	"Auth0Tenant.spec.settings.ephemeral_session_lifetime":                 "as session_lifetime",
	"Auth0Tenant.spec.settings.idle_ephemeral_session_lifetime":            "as idle_session_lifetime",
	"Auth0Tenant.spec.settings.default_audience":                           "needs an API of your own",
	"Auth0Tenant.spec.settings.default_directory":                          "is for password grants",
	"Auth0Tenant.spec.settings.default_redirection_uri":                    "needs a page of your own",
	"Auth0Tenant.spec.settings.sandbox_version":                            "legacy extensibility",
	"Auth0Tenant.spec.settings.acr_values_supported":                       "needs the entitlement",
	"Auth0Tenant.spec.settings.mtls":                                       "needs the entitlement",
	"Auth0Tenant.spec.attack_protection.breached_password_detection.stage": "needs the entitlement",
	"Auth0User.spec.username":                                              "needs a connection that asks for it",
	"Auth0Role.spec.name":                                                  "metadata.name is enough",
}

// TestExamples loads every story: clean, in canonical form, and by the schemas.
func TestExamples(t *testing.T) {
	schemas := compiled(t)
	shown := map[string]bool{}
	for story, sources := range stories(t) {
		m, err := v1.Load(sources...)
		require.NoError(t, err, story)
		require.Empty(t, m.Warnings, story)
		require.Empty(t, m.Literals, story)
		require.NoError(t, m.CheckReferences(nil), "%s stands on its own", story)
		for _, s := range sources {
			schemasAccept(t, schemas, s.Name, s.Data)
		}
		expanded, err := v1.Expand(m.Resources)
		require.NoError(t, err)
		for _, r := range expanded {
			require.Empty(t, r.Validate(), "%s %s", story, r.Metadata.Name)
		}
		for _, r := range v1test.AllOfFalse(m.Resources) {
			require.Empty(t, r.Validate(), "%s %s with everything false", story, r.Metadata.Name)
		}
		for _, r := range m.Resources {
			shown[r.Kind] = true
			data, err := json.Marshal(r.Spec)
			require.NoError(t, err)
			var spec any
			require.NoError(t, json.Unmarshal(data, &spec))
			mark(shown, r.Kind+".spec", spec)
		}
	}
	for _, kind := range v1.Kinds() {
		require.True(t, shown[kind], "no example has a %s", kind)
		root, err := v1.Explain(kind, "spec")
		require.NoError(t, err)
		var visit func(f *v1.Field)
		visit = func(f *v1.Field) {
			at := kind + "." + f.Path
			if _, ok := unshown[at]; ok {
				require.False(t, shown[at], "%s is shown", at)
				return
			}
			require.True(t, shown[at], "no example has %s", at)
			for _, m := range f.Fields {
				visit(m)
			}
		}
		for _, f := range root.Fields {
			visit(f)
		}
	}
}

// mark notes the paths of a tree.
func mark(shown map[string]bool, path string, v any) {
	shown[path] = true
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			mark(shown, path+"."+k, x)
		}
	case []any:
		for _, x := range v {
			mark(shown, path+"[]", x)
		}
	}
}

// TestExamplesFitOneTenant checks that the stories can be applied side by side:
// no two hold the same object, or the same secret under two names.
func TestExamplesFitOneTenant(t *testing.T) {
	var all []v1.Source
	names := make([]string, 0, 8)
	byStory := stories(t)
	for story := range byStory {
		names = append(names, story)
	}
	slices.Sort(names)
	for _, story := range names {
		all = append(all, byStory[story]...)
	}
	m, err := v1.Load(all...)
	require.NoError(t, err)
	identifiers := map[string]string{}
	for _, r := range m.Resources {
		if spec, ok := r.Spec.(*v1.Auth0ResourceServerSpec); ok {
			require.Empty(t, identifiers[spec.Identifier], spec.Identifier)
			identifiers[spec.Identifier] = r.Metadata.Name
		}
	}
	require.Greater(t, len(m.Resources), 25)
	require.False(t, strings.Contains(strings.Join(names, " "), "_"), "folders are named with dashes")
}
