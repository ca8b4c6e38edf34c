package v1_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// seed adds everything that the other tests load, and what they refuse.
func seed(f *testing.F) {
	for _, text := range acceptedTexts() {
		f.Add([]byte(text))
	}
	for _, sources := range stories(f) {
		for _, s := range sources {
			f.Add(s.Data)
		}
	}
	files, err := filepath.Glob("../../../shared/openmcf-manifests/*/*.yaml")
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	for _, text := range []string{
		"a: b: c", "- x", "[1, 2]", "{}", "---\n---\n...\n", "%YAML 1.2\n---\nnull", "\xff\xfe", "\ufeffa: 1", "&a [*a]", "a: &a {b: *a}",
		"<<: {a: b}", "? [a]\n: b", "!!binary x", "{\"kind\": \"Auth0Role\"}{\"kind\": 1}", "kind: Auth0User\nspec: {user_metadata: {1: 2, ~: 3}}",
	} {
		f.Add([]byte(text))
	}
}

// FuzzLoad: whatever comes, Load returns; what it refuses has a place and a
// message; what it accepts is valid, and loads again from its canonical form as
// the same.
func FuzzLoad(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := v1.Load(v1.Source{Name: "f", Data: data})
		if err != nil {
			var failed *v1.LoadError
			require.True(t, errors.As(err, &failed))
			require.NotEmpty(t, failed.Findings)
			for _, x := range failed.Findings {
				require.True(t, x.File == "f" && x.Line > 0 && x.Column > 0 && x.Message != "", "%+v", x)
			}
			return
		}
		var again []v1.Source
		for _, r := range m.Resources {
			require.Empty(t, r.Validate())
			text, err := json.Marshal(r)
			require.NoError(t, err)
			again = append(again, v1.Source{Name: r.Kind + r.Metadata.Name, Data: text})
		}
		for _, l := range m.Literals {
			for i := range m.Resources {
				if r := &m.Resources[i]; r.Kind == l.Kind && r.Metadata.Name == l.Name {
					require.NoError(t, r.SetString(l.Path, "literal:"+l.Path))
				}
			}
		}
		if len(m.Literals) == 0 { // a placeholder is no reference, and would be a literal again
			second, err := v1.Load(again...)
			require.NoError(t, err)
			require.Equal(t, m.Resources, second.Resources)
		}
		if expanded, err := v1.Expand(m.Resources); err == nil {
			for _, r := range expanded {
				require.Empty(t, r.Validate())
			}
		}
		_ = m.CheckReferences(nil)
	})
}

// FuzzSchema: what Load accepts in canonical form, the schema accepts.
func FuzzSchema(f *testing.F) {
	seed(f)
	schemas := map[string]*jsonschema.Schema{}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(schemas) == 0 {
			schemas = compiled(t)
		}
		m, err := v1.Load(v1.Source{Name: "f", Data: data})
		if err != nil {
			return
		}
		for _, r := range m.Resources {
			text, err := json.Marshal(r)
			require.NoError(t, err)
			for _, doc := range documents(t, text) {
				require.NoError(t, schemas[r.Kind].Validate(doc), "%s", text)
			}
		}
	})
}

// FuzzSetString: any path either sets a text or is refused, and nothing else of
// the resource changes its form.
func FuzzSetString(f *testing.F) {
	for _, path := range []string{"spec.code", "spec.secrets[0].value", "spec.secrets[0]", "spec.trigger_binding.display_name", "spec.deploy", "spec.", "spec.secrets[-1].value", "spec.secrets[99999999999999999999].value"} {
		f.Add(path, "x")
	}
	f.Fuzz(func(t *testing.T, path, value string) {
		r := v1.New("a", &v1.Auth0ActionSpec{SupportedTrigger: v1.ActionTrigger{ID: "post-login", Version: "v3"}, Code: "x",
			Secrets: []v1.ActionSecret{{Name: "A", Value: "env:A"}}, TriggerBinding: &v1.TriggerBinding{}})
		before, err := json.Marshal(r)
		require.NoError(t, err)
		if r.SetString(path, value) != nil {
			after, err := json.Marshal(r)
			require.NoError(t, err)
			require.Equal(t, string(before), string(after))
			return
		}
		require.Equal(t, string(r.Spec.(*v1.Auth0ActionSpec).Secrets[0].Value) != "env:A", path == "spec.secrets[0].value" && value != "env:A")
	})
}
