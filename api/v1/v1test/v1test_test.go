package v1test_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/api/v1/v1test"
)

// booleans lists the paths of a kind's boolean fields, with [] for lists and *
// for the keys of maps.
func booleans(t *testing.T, kind string) []string {
	t.Helper()
	root, err := v1.Explain(kind, "spec")
	require.NoError(t, err)
	var out []string
	var visit func(f *v1.Field)
	visit = func(f *v1.Field) {
		switch f.Type {
		case "boolean":
			out = append(out, f.Path)
		case "map of boolean":
			out = append(out, f.Path+".*")
		}
		for _, m := range f.Fields {
			visit(m)
		}
	}
	visit(root)
	return out
}

// falses collects the paths below v that hold false.
func falses(path string, v any, into map[string]bool) {
	switch v := v.(type) {
	case bool:
		if !v {
			into[path] = true
		}
	case []any:
		for _, x := range v {
			falses(path+"[]", x, into)
		}
	case map[string]any:
		for k, x := range v {
			at := path + "." + k
			if strings.HasSuffix(path, ".flags") || strings.HasSuffix(path, ".factors") {
				at = path + ".*"
			}
			falses(at, x, into)
		}
	}
}

func TestExplicitFalseReachesEveryBoolean(t *testing.T) {
	total := 0
	for _, kind := range v1.Kinds() {
		found := map[string]bool{}
		for _, r := range v1test.ExplicitFalse(kind) {
			require.Equal(t, kind, r.Kind)
			require.Empty(t, r.Validate())
			require.Empty(t, r.Warnings())
			data, err := json.Marshal(r.Spec)
			require.NoError(t, err)
			var spec any
			require.NoError(t, json.Unmarshal(data, &spec))
			falses("spec", spec, found)
			require.NotContains(t, string(data), "true")
		}
		for _, path := range booleans(t, kind) {
			require.True(t, found[path], "%s %s", kind, path)
			total++
		}
	}
	require.Greater(t, total, 40)
}

func TestAllFalseLeavesTheOriginal(t *testing.T) {
	r := v1.New("a", &v1.Auth0ActionSpec{SupportedTrigger: v1.ActionTrigger{ID: "post-login", Version: "v3"}, Code: "x",
		Deploy: new(true), TriggerBinding: &v1.TriggerBinding{}})
	f := v1test.AllFalse(r)
	require.False(t, *f.Spec.(*v1.Auth0ActionSpec).Deploy)
	require.Empty(t, f.Validate())
	require.True(t, *r.Spec.(*v1.Auth0ActionSpec).Deploy)
	require.NotNil(t, r.Spec.(*v1.Auth0ActionSpec).TriggerBinding)
	require.Len(t, v1test.AllOfFalse([]v1.Resource{r, r}), 2)
}
