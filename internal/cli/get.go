package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/workflows"
)

// held is one object of a stack, as get shows it: a manifest and its status.
type held struct {
	v1.Resource
	Status heldStatus `json:"status"`
}

type heldStatus struct {
	Stack   string         `json:"stack"`
	ID      string         `json:"id"`
	Adopted bool           `json:"adopted,omitempty"`
	Outputs engine.Outputs `json:"outputs,omitempty"`
}

func newGet(a *app) *cobra.Command {
	var s stackFlags
	cmd := &cobra.Command{
		Use:     "get [KIND [NAME]]",
		GroupID: "resources",
		Short:   "Show what the stacks of a tenant hold",
		Long: `Show what stacks hold: the manifest as it was last applied, Auth0's id, and the
outputs that references read. Secret outputs are references to the secret store.
Without --stack, all stacks of the tenant are shown.`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name := "", ""
			if len(args) > 0 {
				if kind = args[0]; !slices.Contains(v1.Kinds(), kind) {
					return usagef(cmd, "unknown kind %q; known are %s", kind, strings.Join(v1.Kinds(), ", "))
				}
			}
			if len(args) > 1 {
				name = args[1]
			}
			c, endpoints, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			tenant, err := tenantOf(s.tenant, endpoints)
			if err != nil {
				return err
			}
			stacks := []string{s.stack}
			if s.stack == "" {
				if stacks, err = daemon.ListStacks(cmd.Context(), c, tenant); err != nil {
					return err
				}
			}
			objects := []held{}
			for _, stack := range stacks {
				inventory, err := workflows.NewStack(c, tenant, stack).Inventory(cmd.Context())
				if err != nil {
					return err
				}
				for _, o := range inventory {
					from := o.Resource.Metadata.Labels[v1.LabelFrom]
					if (kind != "" && o.Key.Kind != kind && !strings.HasPrefix(from, kind+"/")) || (name != "" && o.Key.Name != name && from != kind+"/"+name) {
						continue
					}
					objects = append(objects, held{o.Resource, heldStatus{stack, o.ObjectID, o.Adopted, o.Outputs}})
				}
			}
			if name != "" && len(objects) == 0 {
				return &failure{fmt.Errorf("no stack of %s holds %s/%s", tenant, kind, name), "see: tenon get " + kind, exitFailed}
			}
			names := make([]string, len(objects))
			lines := [][]string{{"STACK", "KIND", "NAME", "ID"}}
			for i, o := range objects {
				names[i] = engine.KeyOf(o.Resource).String()
				lines = append(lines, []string{o.Status.Stack, o.Kind, o.Metadata.Name, o.Status.ID})
			}
			return a.print(answer{data: objects, names: names, table: func(w io.Writer) { rows(w, lines...) }})
		},
	}
	tenantFlag(cmd, &s.tenant)
	cmd.Flags().StringVar(&s.stack, "stack", "", "only this stack")
	return cmd
}

func newExport(a *app) *cobra.Command {
	var tenant, dir string
	var req engine.ExportRequest
	cmd := &cobra.Command{
		Use:     "export",
		GroupID: "resources",
		Short:   "Write a live tenant as manifests",
		Long: `Read a tenant and write it as manifests, such that a plan of them finds nothing
to change. Secrets cannot be read from Auth0; references stand in their place,
and a warning names each. Users are written only if --kind asks for them.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, kind := range req.Kinds {
				if !slices.Contains(v1.Primitives(), kind) {
					return usagef(cmd, "--kind %q is not one of %s", kind, strings.Join(v1.Primitives(), ", "))
				}
			}
			c, endpoints, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			domain, err := tenantOf(tenant, endpoints)
			if err != nil {
				return err
			}
			req.Tenant = domain
			export, err := workflows.Export(cmd.Context(), c, "", req)
			if err != nil {
				return err
			}
			for _, w := range export.Warnings {
				fmt.Fprintln(a.err, "warning:", w)
			}
			if dir != "" {
				return a.exportTo(dir, export.Resources)
			}
			names := make([]string, len(export.Resources))
			for i, r := range export.Resources {
				names[i] = engine.KeyOf(r).String()
			}
			text, err := manifestsYAML(export.Resources)
			if err != nil {
				return err
			}
			if a.output == "yaml" {
				_, err := a.out.Write(text)
				return err
			}
			return a.print(answer{data: export.Resources, names: names, table: func(w io.Writer) { _, _ = w.Write(text) }})
		},
	}
	tenantFlag(cmd, &tenant)
	cmd.Flags().StringArrayVar(&req.Kinds, "kind", nil, "only this kind; may be repeated (default: all but Auth0User)")
	cmd.Flags().StringVar(&dir, "dir", "", "write a file for each kind into this folder, which must not hold them yet (default: stdout)")
	return cmd
}

// exportTo writes a file for each kind, all or none.
func (a *app) exportTo(dir string, resources []v1.Resource) error {
	byKind := map[string][]v1.Resource{}
	var kinds []string
	for _, r := range resources {
		if byKind[r.Kind] == nil {
			kinds = append(kinds, r.Kind)
		}
		byKind[r.Kind] = append(byKind[r.Kind], r)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var files []secret.FileContent
	var paths []string
	for _, kind := range kinds {
		path := filepath.Join(dir, strings.ToLower(strings.TrimPrefix(kind, "Auth0"))+".yaml")
		if _, err := os.Lstat(path); err == nil {
			return &failure{fmt.Errorf("%s exists already, and nothing was written", path), "name another folder, or remove it", exitFailed}
		}
		text, err := manifestsYAML(byKind[kind])
		if err != nil {
			return err
		}
		files = append(files, secret.FileContent{Path: path, Data: text, Mode: 0o644})
		paths = append(paths, path)
	}
	if err := secret.WriteFiles(files...); err != nil {
		return err
	}
	return a.print(answer{data: paths, names: paths, table: func(w io.Writer) {
		for _, p := range paths {
			fmt.Fprintln(w, p)
		}
	}})
}

// manifestsYAML writes resources as documents of one stream.
func manifestsYAML(resources []v1.Resource) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	for _, r := range resources {
		data, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		// JSON is YAML: read as a node it keeps the order of the fields, which a map
		// would not.
		var node yaml.Node
		if err := yaml.Unmarshal(data, &node); err != nil {
			return nil, err
		}
		block(&node)
		if err := enc.Encode(&node); err != nil {
			return nil, err
		}
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// block turns the flow style of JSON into the block style of manifests.
func block(n *yaml.Node) {
	empty := len(n.Content) == 0
	switch {
	case n.Kind == yaml.ScalarNode:
		n.Style &^= yaml.DoubleQuotedStyle // the encoder quotes what needs it
	case !empty:
		n.Style &^= yaml.FlowStyle
	}
	for _, c := range n.Content {
		block(c)
	}
}

func newExplain(a *app) *cobra.Command {
	var schema bool
	cmd := &cobra.Command{
		Use:     "explain KIND[.FIELD...]",
		GroupID: "resources",
		Short:   "Describe the fields of a kind",
		Long: `Describe a kind or one of its fields: type, default, allowed values, what it
means. --schema prints JSON Schema instead, for editors: of one kind, or of every
kind if none is named. Needs no running tenon.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				if schema {
					return a.schema(v1.SchemaAll())
				}
				kinds := v1.Kinds()
				return a.print(answer{data: kinds, names: kinds, table: func(w io.Writer) {
					for _, k := range kinds {
						fmt.Fprintln(w, k)
					}
				}})
			}
			path := strings.Split(args[0], ".")
			if schema {
				if len(path) > 1 {
					return usagef(cmd, "--schema takes a kind without fields")
				}
				return a.schema(v1.Schema(path[0]))
			}
			field, err := v1.Explain(path[0], path[1:]...)
			if err != nil {
				return &failure{err, "see: tenon explain", exitFailed}
			}
			return a.print(answer{data: field, names: []string{args[0]}, table: func(w io.Writer) { printField(w, field) }})
		},
	}
	cmd.Flags().BoolVar(&schema, "schema", false, "print JSON Schema")
	return cmd
}

func (a *app) schema(text []byte, err error) error {
	if err != nil {
		return err
	}
	if a.output == "yaml" {
		var tree any
		if err := json.Unmarshal(text, &tree); err != nil {
			return err
		}
		return a.print(answer{data: tree})
	}
	_, err = fmt.Fprintln(a.out, strings.TrimSpace(string(text)))
	return err
}

// printField describes a field, and names those below it.
func printField(w io.Writer, f *v1.Field) {
	title := f.Path
	if title == "" {
		title = f.Name
	}
	fmt.Fprintf(w, "%s  <%s>\n", title, f.Type)
	for _, line := range strings.Split(strings.TrimSpace(f.Doc), "\n") {
		fmt.Fprintln(w, strings.TrimRight("    "+line, " "))
	}
	var facts [][]string
	fact := func(name, text string) {
		if text != "" {
			facts = append(facts, []string{"    " + name, text})
		}
	}
	if f.Required {
		fact("required", "yes")
	}
	fact("default", f.Default)
	fact("allowed", strings.Join(f.Allowed, ", "))
	fact("limits", f.Limits)
	fact("reads", f.Reads)
	if f.Secret {
		fact("secret", "a reference: env:NAME, dotenv:KEY, file:NAME")
	}
	if f.Immutable {
		fact("immutable", "a change makes another object")
	}
	if len(facts) > 0 {
		fmt.Fprintln(w)
		rows(w, facts...)
	}
	if len(f.Fields) > 0 {
		fmt.Fprintln(w, "\nFIELDS")
		var lines [][]string
		fields(f.Fields, 1, &lines)
		rows(w, lines...)
	}
	if len(f.Outputs) > 0 {
		fmt.Fprintln(w, "\nOUTPUTS")
		var lines [][]string
		for _, o := range f.Outputs {
			lines = append(lines, []string{"    " + o.Name, firstSentence(o.Doc)})
		}
		rows(w, lines...)
	}
}

func fields(list []*v1.Field, depth int, lines *[][]string) {
	for _, f := range list {
		mark := ""
		if f.Required {
			mark = " (required)"
		}
		*lines = append(*lines, []string{strings.Repeat("    ", depth) + f.Name, "<" + f.Type + ">" + mark, firstSentence(f.Doc)})
		fields(f.Fields, depth+1, lines)
	}
}

func firstSentence(doc string) string {
	doc = strings.Join(strings.Fields(doc), " ")
	if i := strings.Index(doc, ". "); i >= 0 {
		return doc[:i+1]
	}
	return doc
}
