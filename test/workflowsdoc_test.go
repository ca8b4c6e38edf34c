package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWorkflowsReference keeps docs/workflows.md equal to the Go types that are
// the workflows' interface.
func TestWorkflowsReference(t *testing.T) {
	var out strings.Builder
	out.WriteString(`# How do I start workflows from another language?

Generated from the Go types in ` + "`internal/workflows`" + ` by ` + "`make gen`" + `.

Start a workflow on task queue ` + "`tenon`" + ` with one JSON object as input; it returns one JSON object. The workflow id is the lock: a second start
with the same id is refused while the first runs. Every workflow answers the query ` + "`progress`" + ` with a Progress, also after it has closed. A failed run
carries one of the error types below, and a Failure as its details.

| workflow type | workflow id | input | result |
|---|---|---|---|
| ` + "`Auth0TenantSetupWorkflow` | `tenant-setup/<tenant>` | [TenantSetupInput](#tenantsetupinput) | [TenantSetupResult](#tenantsetupresult)" + ` |
| ` + "`WebAppRegistrationWorkflow` | `app/<tenant>/<name>` | [WebAppInput](#webappinput) | [WebAppResult](#webappresult)" + ` |
| ` + "`UserRegistrationWorkflow` | `user/<tenant>/<connection>/<email>` | [UserInput](#userinput) | [UserResult](#userresult)" + ` |
| ` + "`ServiceRegistrationWorkflow` | `service/<tenant>/<name>` | [ServiceInput](#serviceinput) | [ServiceResult](#serviceresult)" + ` |
| ` + "`UserImportWorkflow` | `user-import/<tenant>/<connection>/<file>` | [UserImportInput](#userimportinput) | [UserImportResult](#userimportresult)" + ` |
| ` + "`OnboardingWorkflow` | `onboarding/<tenant>`; children add `/tenant`, `/app`, `/user` | [OnboardingInput](#onboardinginput) | [OnboardingResult](#onboardingresult)" + ` |
`)
	types, consts := parseWorkflows(t)
	out.WriteString("\n## Error types\n\n| type | meaning |\n|---|---|\n")
	for _, c := range consts {
		fmt.Fprintf(&out, "| `%s` | %s |\n", c[0], c[1])
	}
	for _, name := range []string{
		"TenantSetupInput", "ConnectionInput", "APIInput", "RoleInput", "WebAppInput", "UserInput", "ServiceInput", "ServiceAPIInput", "ServiceScope", "UserImportInput",
		"OnboardingInput",
		"TenantSetupResult", "WebAppResult", "AppSettings", "UserResult", "Tickets", "ServiceResult", "UserImportResult", "OnboardingResult", "CredentialCheck", "Object",
		"Progress", "Step", "Undone", "Failure",
	} {
		spec, ok := types[name]
		require.True(t, ok, "no type %s", name)
		fmt.Fprintf(&out, "\n## %s\n\n%s\n\n| field | type | meaning |\n|---|---|---|\n", name, spec.doc)
		for i := 0; i < len(spec.fields); i++ {
			f := spec.fields[i]
			if f[1] == "" { // embedded
				spec.fields = slices.Concat(spec.fields[:i], types[f[0]].fields, spec.fields[i+1:])
				i--
				continue
			}
			if strings.HasSuffix(f[2], "Callers leave it out.") {
				continue // the workflow's own, from run to run
			}
			fmt.Fprintf(&out, "| `%s` | %s | %s |\n", f[0], f[1], f[2])
		}
	}
	path := filepath.Join("..", "docs", "workflows.md")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(out.String()), 0o644))
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, out.String(), string(have), "run: make gen")
}

type structDoc struct {
	doc    string
	fields [][3]string
}

// parseWorkflows reads the documented structs and error types of the package.
func parseWorkflows(t *testing.T) (map[string]structDoc, [][2]string) {
	t.Helper()
	files, err := filepath.Glob("../internal/workflows/*.go")
	require.NoError(t, err)
	types := map[string]structDoc{}
	var consts [][2]string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		require.NoError(t, err)
		for _, decl := range parsed.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range gen.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if s, ok := spec.Type.(*ast.StructType); ok {
						types[spec.Name.Name] = structDoc{prose(gen.Doc.Text()), fieldsOf(t, s)}
					}
				case *ast.ValueSpec:
					name := spec.Names[0].Name
					if doc := prose(spec.Doc.Text()); strings.HasPrefix(name, "Error") && doc != "" && len(spec.Values) == 1 {
						value := strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`)
						consts = append(consts, [2]string{value, strings.TrimPrefix(doc, name+": ")})
					}
				}
			}
		}
	}
	require.NotEmpty(t, consts)
	return types, consts
}

// fieldsOf lists a struct's fields as JSON has them. A comment stands above the
// first of the fields that it is about.
func fieldsOf(t *testing.T, s *ast.StructType) [][3]string {
	t.Helper()
	var all [][3]string
	for _, f := range s.Fields.List {
		if name, ok := f.Type.(*ast.Ident); ok && len(f.Names) == 0 && f.Tag == nil {
			all = append(all, [3]string{name.Name}) // embedded: its fields stand here
			continue
		}
		if f.Tag == nil || len(f.Names) == 0 {
			continue
		}
		name, options, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		kind := typeName(f.Type)
		if options != "" {
			kind += ", optional"
		}
		doc := prose(f.Doc.Text())
		if doc == "" {
			doc = prose(f.Comment.Text())
		}
		all = append(all, [3]string{name, kind, strings.ReplaceAll(doc, "|", "\\|")})
	}
	return all
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		switch e.Name {
		case "bool":
			return "boolean"
		case "int", "float64":
			return "number"
		}
		if ast.IsExported(e.Name) && e.Name != "StepState" {
			return "[" + e.Name + "](#" + strings.ToLower(e.Name) + ")"
		}
		return "string"
	case *ast.ArrayType:
		return "list of " + typeName(e.Elt)
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.SelectorExpr:
		if e.Sel.Name == "Time" {
			return "time, RFC 3339"
		}
		return e.Sel.Name
	}
	return "object"
}

func prose(text string) string { return strings.Join(strings.Fields(text), " ") }
