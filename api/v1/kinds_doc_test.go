package v1_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
)

const docsDir = "../../docs"

// intro is what a page says about its kind beside the fields. It is the one part
// that is not generated.
var intro = map[string]string{
	v1.KindTenant: `Several resources of this kind may describe one tenant, as long as no two set the same field: parts that not every subscription
includes can so be kept apart. A tenant is neither created nor deleted; deleting the resource leaves the tenant as it is.`,
	v1.KindConnection: `Deleting a connection deletes its users: protect it with the annotation ` + "`tenon.dev/deletion-protection: \"true\"`" + `.
Which clients may use it can be said here, completely, or at the clients (` + "`enabled_connections`" + `), one by one; not both for the same client.`,
	v1.KindClient: `The client secret goes from Auth0 into the secret store, and nowhere else; the output ` + "`client_secret`" + ` is the reference to it.
Auth0 lets several clients have one name: one that Tenon did not make is adopted if its name is the only one of its kind.`,
	v1.KindResourceServer: `The list of scopes is complete. Roles and grants that need a scope are planned after it.`,
	v1.KindClientGrant:    `The grants of a client can also be written at the client, as ` + "`api_grants`" + `.`,
	v1.KindRole:           `The list of permissions is complete. Users get roles at the [Auth0User](Auth0User.md).`,
	v1.KindUser: `For a few people: administrators, and accounts of tests. Thousands of users are imported, not declared.
There is no password: whoever writes one into a file knows it.`,
	v1.KindAction: `Auth0 never shows the values of an action's secrets: they are sent again when a reference, the code or something else of the action changes.`,
	v1.KindEventStream: `Auth0 takes the event types that it knows and refuses others; manifests with others load with a warning. A stream to EventBridge makes a
partner event source in the AWS account, which somebody there must associate with an event bus.`,
	v1.KindWebApp: `` + "`tenon plan`" + ` shows what it stands for: the Auth0Client of the same name, and the Auth0Action tenon-roles-claim, which all web
applications share. A reference to its outputs reads those of the client. For the application's own side, see [Grafana](../grafana.md).`,
	v1.KindService: `` + "`tenon plan`" + ` shows what it stands for: an Auth0Client, an Auth0ClientGrant and, with ` + "`api`" + `, an Auth0ResourceServer, all of the same
name. A reference to its outputs reads those of the client, or the API's identifier.`,
}

// TestKindPages writes docs/kinds.md and docs/kinds with -update, and otherwise
// checks that they are what the types and examples say.
func TestKindPages(t *testing.T) {
	pages := map[string]string{"kinds.md": kindIndex(t)}
	for _, kind := range v1.Kinds() {
		pages[filepath.Join("kinds", kind+".md")] = kindPage(t, kind)
	}
	for name, want := range pages {
		path := filepath.Join(docsDir, name)
		if flag.Lookup("update").Value.String() == "true" {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, want == string(data), "%s is not current: run the test with -update, after that of docs.json", name)
	}
	files, err := filepath.Glob(filepath.Join(docsDir, "kinds", "*"))
	require.NoError(t, err)
	require.Len(t, files, len(v1.Kinds()), "a page for each kind, and no other")
}

func kindIndex(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`# What can a manifest hold?

` + generated + `

A manifest has ` + "`apiVersion: tenon.dev/v1`, a `kind`, `metadata` with a `name`, and a `spec`" + `. A file holds any number of them, as YAML or JSON.
` + "`tenon explain KIND`" + ` tells the same as these pages on the terminal.

| kind | what it is |
|---|---|
`)
	for _, kind := range v1.Kinds() {
		root, err := v1.Explain(kind)
		require.NoError(t, err)
		first, _, _ := strings.Cut(strings.ReplaceAll(root.Doc, "\n", " "), ". ")
		what := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSuffix(first, "."), kind+" "), "is ")
		fmt.Fprintf(&b, "| [%s](kinds/%s.md) | %s |\n", kind, kind, cell(what))
	}
	b.WriteString(`
## How are manifests read?

- Keys are taken in snake_case and camelCase. Unknown keys, wrong types and keys given twice are errors, all of them with file, line and column.
- A field that is left out is left alone in Auth0. An explicit ` + "`false`, `0`, `\"\"` or empty list" + ` is set. ` + "`null`" + ` is the same as leaving the field out.
- Text that looks like a number or a boolean needs quotes: ` + "`aws_account_id: \"123456789012\"`" + `.
- Anchors, aliases and merge keys (` + "`<<`" + `) work within a document.
- What Auth0 is likely to refuse, or what has no effect, is a warning; what cannot be is an error.

## How does one resource refer to another?

Where the type is *reference*, write a text, or read an output of another resource:

    enabled_connections:
      - Staff
      - valueFrom: {kind: Auth0Connection, name: Staff, fieldPath: status.outputs.name}
      - valueFrom: {name: Staff}

` + "`kind` and `fieldPath`" + ` may be left out; each field says what they then are. The other resource may be in any file of the stack, or in the stack
already. Circles, and references that lead nowhere, are errors.

## How are secrets written?

Where the type is *secret*, write a reference to a secret store: ` + "`env:NAME`, `dotenv:KEY` or `file:NAME`" + `. References of the form
` + "`vault:mount/path#field` and `azurekv:vault/name`" + ` load too; a plan refuses those that the worker has no store for, and today it has none for these two.
A literal is moved into the stack's secret store before anything is sent, with a warning.

## What of metadata?

| field | type | meaning |
|---|---|---|
`)
	metadata, err := v1.Explain(v1.KindRole, "metadata")
	require.NoError(t, err)
	for _, f := range metadata.Fields {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Name, f.Type, cell(f.Doc))
	}
	fmt.Fprintf(&b, "\nThe annotation `%s: \"true\"` makes every plan that would delete or replace the object an error. What a WebApp or Service\nmakes carries the label `%s`.\n", v1.AnnotationDeletionProtection, v1.LabelFrom)
	fmt.Fprintf(&b, `
## What of manifests of OpenMCF?

Manifests of Auth0Action, Auth0Client, Auth0Connection, Auth0EventStream, Auth0ResourceServer and Auth0Role load as they are, under the apiVersions
%s. Bare texts are taken for references, and `+"`field` for `fieldPath`"+`. Every document of a file is read.
`, "`"+strings.Join(v1.OlderAPIVersions(), "`, `")+"`")
	return b.String()
}

const generated = "Generated from the types in `api/v1` and from `examples` by `make gen`."

func kindPage(t *testing.T, kind string) string {
	root, err := v1.Explain(kind)
	require.NoError(t, err)
	require.NotEmpty(t, intro[kind], kind)
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n%s\n\n%s\n\n## Example\n\n", kind, generated, root.Doc, intro[kind])
	file, text := firstExample(t, kind)
	fmt.Fprintf(&b, "From [%s](../../%s):\n\n```yaml\n%s```\n\n## Fields\n\n", file, file, text)
	b.WriteString("Fields that are left out are left alone, unless a default is given.\n\n| field of `spec` | type | meaning |\n|---|---|---|\n")
	var row func(f *v1.Field)
	row = func(f *v1.Field) {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.TrimPrefix(f.Path, "spec."), f.Type, cell(meaning(f)))
		for _, m := range f.Fields {
			row(m)
		}
	}
	for _, f := range root.Fields[1].Fields {
		row(f)
	}
	b.WriteString("\n## Outputs\n\nRead them as `status.outputs.NAME`.\n\n| output | meaning |\n|---|---|\n")
	for _, o := range root.Outputs {
		fmt.Fprintf(&b, "| `%s` | %s |\n", o.Name, cell(o.Doc))
	}
	return b.String()
}

// meaning is a field's comment with what its rules add.
func meaning(f *v1.Field) string {
	parts := []string{f.Doc}
	if f.Required {
		parts[0] = "**Required.** " + parts[0]
	}
	if len(f.Allowed) > 0 {
		parts = append(parts, "One of `"+strings.Join(f.Allowed, "`, `")+"`.")
	}
	if f.Limits != "" {
		parts = append(parts, strings.ToUpper(f.Limits[:1])+f.Limits[1:]+".")
	}
	if f.Default != "" {
		parts = append(parts, "Defaults to `"+f.Default+"`.")
	}
	if f.Reads != "" {
		parts = append(parts, "A `valueFrom` with nothing but a name reads `"+f.Reads+"`.")
	}
	if f.Immutable {
		parts = append(parts, "A change makes another object.")
	}
	return strings.Join(parts, " ")
}

func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\n\n", " "), "|", `\|`)
}

// firstExample is the first document of a kind among the examples.
func firstExample(t *testing.T, kind string) (file, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(examplesDir, "*", "*.yaml"))
	require.NoError(t, err)
	for _, pass := range []bool{false, true} {
		for _, path := range files {
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			for _, doc := range bytes.Split(data, []byte("\n---\n")) {
				own := bytes.Contains(doc, []byte("apiVersion: "+v1.APIVersion))
				if bytes.Contains(doc, []byte("\nkind: "+kind+"\n")) && own != pass {
					return filepath.ToSlash(strings.TrimPrefix(path, "../../")), strings.TrimSpace(string(doc)) + "\n"
				}
			}
		}
	}
	t.Fatalf("no example has a %s", kind)
	return "", ""
}
