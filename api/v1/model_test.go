package v1

import (
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the generated files")

// objects lists the Go types of every object of the language, by name.
func objects() map[string]*typeModel {
	out := map[string]*typeModel{}
	var visit func(t *typeModel)
	visit = func(t *typeModel) {
		if t.elem != nil {
			visit(t.elem)
		}
		if t.shape != shapeObject || out[t.name] != nil {
			return
		}
		out[t.name] = t
		for _, f := range t.fields {
			visit(f.typ)
		}
	}
	for _, t := range models() {
		visit(t)
	}
	visit(metadataModel())
	return out
}

// TestDocs writes docs.json from the comments of this package with -update, and
// otherwise checks that it is what the comments say, and that no field is
// without one.
func TestDocs(t *testing.T) {
	want := map[string]string{}
	types := objects()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range gen.Specs {
				typ, ok := spec.(*ast.TypeSpec)
				if !ok || types[typ.Name.Name] == nil {
					continue
				}
				doc := typ.Doc
				if doc == nil {
					doc = gen.Doc
				}
				want[typ.Name.Name] = flow(doc.Text())
				for _, f := range typ.Type.(*ast.StructType).Fields.List {
					for _, n := range f.Names {
						want[typ.Name.Name+"."+n.Name] = flow(f.Doc.Text())
					}
				}
			}
		}
	}
	for name, typ := range types {
		require.NotEmpty(t, want[name], "type %s has no comment", name)
		for _, f := range typ.fields {
			text := want[name+"."+f.goName]
			require.NotEmpty(t, text, "%s.%s has no comment", name, f.goName)
			first, _, _ := strings.Cut(text, " ")
			require.Equal(t, f.goName, first, "the comment of %s.%s begins with its name", name, f.goName)
		}
	}
	data, err := json.MarshalIndent(want, "", "  ")
	require.NoError(t, err)
	data = append(data, '\n')
	if *update {
		require.NoError(t, os.WriteFile("docs.json", data, 0o644))
		return // what is compiled in is the file of before
	}
	require.True(t, string(data) == string(docsJSON), "docs.json is not current: run the test with -update")
}

// flow joins the lines of each paragraph.
func flow(text string) string {
	paragraphs := strings.Split(strings.TrimSpace(text), "\n\n")
	for i, p := range paragraphs {
		paragraphs[i] = strings.Join(strings.Fields(p), " ")
	}
	return strings.Join(paragraphs, "\n\n")
}

var tagPart = regexp.MustCompile(`^(required|immutable|secret|(enum|each|keys)=\S.*|(min|max|minLength|maxLength|minItems|maxItems)=[0-9]+|(pattern|hint|default)=.+|ref=[A-Za-z0-9]+\.[a-z_]+)$`)

// TestTags checks that every tag can be read, and that it fits its field.
func TestTags(t *testing.T) {
	for kind, newSpec := range specs() {
		checkTags(t, kind, reflect.TypeOf(newSpec()).Elem(), map[reflect.Type]bool{})
	}
	for name, typ := range objects() {
		seen := map[string]bool{}
		for _, f := range typ.fields {
			require.NotEmpty(t, f.key, "%s.%s", name, f.goName)
			for _, key := range []string{f.key, f.camel} {
				require.False(t, seen[key] && key != f.key, "%s has %s twice", name, key)
				seen[key] = true
			}
			if r := f.rules; r.refKind != "" {
				require.True(t, hasOutput(r.refKind, r.refOutput), "%s.%s reads %s.%s", name, f.goName, r.refKind, r.refOutput)
			}
		}
	}
}

func checkTags(t *testing.T, path string, typ reflect.Type, seen map[reflect.Type]bool) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || typ == refType || seen[typ] {
		return
	}
	seen[typ] = true
	for i := range typ.NumField() {
		f := typ.Field(i)
		at := path + "." + f.Name
		tag := f.Tag.Get("tenon")
		if tag != "" {
			for part := range strings.SplitSeq(tag, ";") {
				require.Regexp(t, tagPart, part, at)
				if pattern, ok := strings.CutPrefix(part, "pattern="); ok {
					_, err := regexp.Compile(pattern)
					require.NoError(t, err, at)
					require.Contains(t, tag, "hint=", "%s says what its pattern asks for", at)
				}
			}
		}
		base := f.Type
		for base.Kind() == reflect.Pointer {
			base = base.Elem()
		}
		require.Equal(t, base == secretType, parseRules(tag).secret, "%s: SecretRef and the tag secret go together", at)
		require.Equal(t, base == refType || (base.Kind() == reflect.Slice && base.Elem() == refType), parseRules(tag).refKind != "", "%s: references say what they read", at)
		// An explicit false, 0 or "" must be told apart from an absent field.
		switch f.Type.Kind() {
		case reflect.Bool, reflect.Int, reflect.Float64:
			t.Errorf("%s is no pointer", at)
		}
		checkTags(t, at, f.Type, seen)
	}
}

func TestCamelCase(t *testing.T) {
	for snake, camel := range map[string]string{
		"is_token_endpoint_ip_header_trusted": "isTokenEndpointIpHeaderTrusted", "sha256_cert_fingerprints": "sha256CertFingerprints",
		"userinfo_endpoint": "userinfoEndpoint", "azure_ad_options": "azureAdOptions", "strategy": "strategy", "pre-login": "pre-login",
	} {
		require.Equal(t, camel, camelCase(snake))
	}
}

func TestEveryKindExplainsItself(t *testing.T) {
	for _, kind := range Kinds() {
		root, err := Explain(kind)
		require.NoError(t, err)
		require.NotEmpty(t, root.Outputs, "%s has outputs", kind)
		var visit func(f *Field)
		count := 0
		visit = func(f *Field) {
			count++
			require.NotEmpty(t, f.Doc, f.Path)
			require.NotEmpty(t, f.Type, f.Path)
			if f.Path != "" {
				again, err := Explain(kind, f.Path)
				require.NoError(t, err, f.Path)
				require.Equal(t, f, again)
			}
			for _, m := range f.Fields {
				visit(m)
			}
		}
		visit(root)
		require.Greater(t, count, 10, kind)
	}
	_, err := Explain("Auth0Cleint")
	require.ErrorContains(t, err, "did you mean Auth0Client?")
	_, err = Explain(KindClient, "call_backs")
	require.ErrorContains(t, err, "did you mean callbacks?")
	_, err = Explain(KindClient, "callbacks.x")
	require.ErrorContains(t, err, "list of string")
	f, err := Explain(KindClient, "apiGrants", "audience")
	require.NoError(t, err)
	require.Equal(t, "spec.api_grants[].audience", f.Path)
	require.Equal(t, "Auth0ResourceServer.identifier", f.Reads)
	f, err = Explain(KindResourceServer, "token_lifetime_for_web")
	require.NoError(t, err)
	require.Contains(t, f.Doc, "token_lifetime_for_web is")
	require.Contains(t, f.Doc, "above token_lifetime.")
	require.Equal(t, "0 to 2592000", f.Limits)
	f, err = Explain(KindEventStream, "spec.webhook_configuration.webhook_authorization.token")
	require.NoError(t, err)
	require.True(t, f.Secret)
	require.Equal(t, "secret", f.Type)
}

// TestOutputsAreUnique checks the declared outputs.
func TestOutputsAreUnique(t *testing.T) {
	for _, kind := range Kinds() {
		var names []string
		for _, o := range Outputs(kind) {
			require.NotEmpty(t, o.Doc)
			names = append(names, o.Name)
		}
		sort.Strings(names)
		for i := 1; i < len(names); i++ {
			require.NotEqual(t, names[i-1], names[i], kind)
		}
	}
	require.Nil(t, Outputs("Nonsense"))
}
