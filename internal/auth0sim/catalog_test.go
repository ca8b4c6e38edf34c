package auth0sim

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite catalog.jsonl from the OpenAPI description")

// sharedFile finds a file that lies beside the repository, or skips the test.
func sharedFile(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		require.NotEqual(t, parent, dir, "no go.mod above the test")
		dir = parent
	}
	path := filepath.Join(dir, "..", "shared", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is absent", name)
	}
	return path
}

// TestCatalog proves that the embedded catalogue is the condensed OpenAPI
// description, nothing forgotten and nothing made up.
func TestCatalog(t *testing.T) {
	raw, err := os.ReadFile(sharedFile(t, "auth0-openapi/management-api-oas.json"))
	require.NoError(t, err)
	text := condense(t, raw)
	if *update {
		require.NoError(t, os.WriteFile("catalog.jsonl", text, 0o644))
		return
	}
	require.True(t, bytes.Equal(text, catalogText), "catalog.jsonl is not the condensed description; run with -update")
}

type openAPI struct {
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Schemas map[string]json.RawMessage
	}
}

func condense(t *testing.T, raw []byte) []byte {
	var doc openAPI
	require.NoError(t, json.Unmarshal(raw, &doc))
	c := condenser{t: t, doc: doc, used: map[string]*schema{}}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	for _, path := range sorted(doc.Paths) {
		for _, method := range []string{"get", "post", "put", "patch", "delete"} {
			if op, ok := doc.Paths[path][method]; ok {
				require.NoError(t, enc.Encode(c.operation(strings.ToUpper(method), path, op)))
			}
		}
	}
	for _, name := range sorted(c.used) {
		require.NoError(t, enc.Encode(struct {
			Type   string  `json:"type"`
			Schema *schema `json:"schema"`
		}{name, c.used[name]}))
	}
	return out.Bytes()
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

type condenser struct {
	t    *testing.T
	doc  openAPI
	used map[string]*schema
}

func (c *condenser) operation(method, path string, raw json.RawMessage) *operation {
	var src struct {
		Parameters []struct {
			Name, In, Description string
			Required              bool
			Schema                map[string]any
		}
		RequestBody struct {
			Required bool
			Content  map[string]struct{ Schema map[string]any }
		}
		Responses map[string]any
		Security  []map[string][]string
	}
	require.NoError(c.t, json.Unmarshal(raw, &src))
	op := &operation{Method: method, Path: path, Required: src.RequestBody.Required}
	for _, s := range src.Security {
		op.Scopes = append(op.Scopes, s["oAuth2ClientCredentials"]...)
	}
	for _, p := range src.Parameters {
		s := c.schema(p.Schema)
		if s != nil && s.Description == "" {
			s.Description = p.Description
		}
		switch param := (parameter{p.Name, p.Required, s}); p.In {
		case "query":
			op.Query = append(op.Query, param)
		case "path":
			op.Params = append(op.Params, param)
		}
	}
	if body, ok := src.RequestBody.Content["application/json"]; ok {
		op.Body = c.schema(body.Schema)
	}
	for code := range src.Responses {
		if n, err := strconv.Atoi(code); err == nil && n < 300 {
			op.OK = append(op.OK, n)
		}
	}
	sort.Ints(op.OK)
	return op
}

func (c *condenser) schema(m map[string]any) *schema {
	if m == nil {
		return nil
	}
	if ref, ok := m["$ref"].(string); ok {
		name := ref[strings.LastIndex(ref, "/")+1:]
		if _, seen := c.used[name]; !seen {
			c.used[name] = nil // a type may refer to itself
			var target map[string]any
			require.NoError(c.t, json.Unmarshal(c.doc.Components.Schemas[name], &target))
			c.used[name] = c.schema(target)
		}
		return &schema{Ref: name}
	}
	s := &schema{Required: texts(m["required"]), Pattern: text(m["pattern"]), Format: text(m["format"]), Description: text(m["description"])}
	switch t := m["type"].(type) {
	case string:
		s.Type = typeSet{t}
	case []any:
		s.Type = texts(t)
	}
	if m["nullable"] == true {
		s.Type = append(s.Type, "null")
	}
	s.Enum, _ = m["enum"].([]any)
	if v, ok := m["const"]; ok {
		s.Enum = []any{v}
	}
	s.Unique = m["uniqueItems"] == true
	s.Minimum, s.Maximum = number(m["minimum"]), number(m["maximum"])
	s.MinLength, s.MaxLength = whole(m["minLength"]), whole(m["maxLength"])
	s.MinItems, s.MaxItems = whole(m["minItems"]), whole(m["maxItems"])
	s.MinProps, s.MaxProps = whole(m["minProperties"]), whole(m["maxProperties"])
	switch a := m["additionalProperties"].(type) {
	case bool:
		s.Closed = !a
	case map[string]any:
		s.Others = c.schema(a)
	}
	if p, ok := m["properties"].(map[string]any); ok {
		s.Properties = map[string]*schema{}
		for name, v := range p {
			s.Properties[name] = c.schema(v.(map[string]any))
		}
	}
	if i, ok := m["items"].(map[string]any); ok {
		s.Items = c.schema(i)
	}
	for key, list := range map[string]*[]*schema{"oneOf": &s.OneOf, "anyOf": &s.AnyOf, "allOf": &s.AllOf} {
		alternatives, _ := m[key].([]any)
		for _, v := range alternatives {
			*list = append(*list, c.schema(v.(map[string]any)))
		}
	}
	return s
}

func text(v any) string { s, _ := v.(string); return s }

func texts(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		out = append(out, text(e))
	}
	return out
}

func number(v any) *float64 {
	if n, ok := v.(float64); ok {
		return &n
	}
	return nil
}

func whole(v any) *int {
	if n, ok := v.(float64); ok {
		i := int(n)
		return &i
	}
	return nil
}
