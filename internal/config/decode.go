package config

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/tenonhq/tenon/internal/secret"
)

// Origin is where a value was found: a place in a file, or the name of an
// environment variable or a flag.
type Origin struct {
	File         string
	Line, Column int
	Name         string
}

func (o Origin) String() string {
	switch {
	case o.Name != "":
		return o.Name
	case o.File == "":
		return ""
	case o.Line == 0:
		return o.File
	}
	return fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column)
}

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	// At is where, "" for what is missing altogether.
	At string `json:"at,omitempty"`
	// Key is the path of the value: persistence.postgresql.password.
	Key  string `json:"key,omitempty"`
	Text string `json:"problem"`

	origin Origin
}

func (p Problem) Error() string {
	text := p.Text
	if p.Key != "" {
		text = p.Key + ": " + text
	}
	if p.At != "" {
		text = p.At + ": " + text
	}
	return text
}

// Problems is everything that is wrong, found in one pass.
type Problems []Problem

func (p Problems) Error() string {
	if len(p) == 1 {
		return p[0].Error()
	}
	texts := make([]string, len(p))
	for i := range p {
		texts[i] = p[i].Error()
	}
	return fmt.Sprintf("%d problems: %s", len(p), strings.Join(texts, "; "))
}

// maxDepth bounds how deep a file may nest, aliases included.
const maxDepth = 12

// decoder fills a File from its sources, each of which may overwrite what an
// earlier one set, and gathers what is wrong.
type decoder struct {
	file     string
	origins  map[string]Origin
	problems Problems
}

func (d *decoder) problem(at Origin, key, format string, args ...any) {
	d.problems = append(d.problems, Problem{At: at.String(), Key: key, Text: fmt.Sprintf(format, args...), origin: at})
}

func (d *decoder) at(n *yaml.Node) Origin {
	return Origin{File: d.file, Line: n.Line, Column: n.Column}
}

// read decodes the text of a file. Unknown keys, keys given twice and values of
// a wrong type are problems; none of them ends the pass.
func (d *decoder) read(r io.Reader, into any) {
	dec := yaml.NewDecoder(r)
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) { // an empty file says nothing
			d.syntax(err)
		}
		return
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		d.problem(Origin{File: d.file}, "", "holds more than one document")
		return
	}
	d.value(doc.Content[0], reflect.ValueOf(into).Elem(), "", "", 0)
}

// syntax reports what the parser says, with its line as the place.
func (d *decoder) syntax(err error) {
	text, at := strings.TrimPrefix(err.Error(), "yaml: "), Origin{File: d.file}
	if line, after, ok := strings.Cut(strings.TrimPrefix(text, "line "), ": "); ok {
		if n, nerr := strconv.Atoi(line); nerr == nil {
			text, at.Line, at.Column = after, n, 1
		}
	}
	d.problem(at, "", "%s", text)
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	refType      = reflect.TypeFor[secret.Ref]()
)

// value decodes one node. key is its path, kind the field's tag.
func (d *decoder) value(n *yaml.Node, v reflect.Value, key, kind string, depth int) {
	if depth > maxDepth {
		d.problem(d.at(n), key, "nests too deep")
		return
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // a key without a value is as good as absent
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.value(n, v.Elem(), key, kind, depth)
	case reflect.Struct:
		d.mapping(n, v, key, depth)
	case reflect.Map:
		if n.Kind != yaml.MappingNode {
			d.problem(d.at(n), key, "want a mapping")
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := n.Content[i].Value
			e := reflect.New(v.Type().Elem()).Elem()
			d.value(n.Content[i+1], e, join(key, name), "", depth+1)
			if v.MapIndex(reflect.ValueOf(name)).IsValid() {
				d.problem(d.at(n.Content[i]), join(key, name), "is given twice")
			}
			v.SetMapIndex(reflect.ValueOf(name), e)
		}
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.problem(d.at(n), key, "want a list")
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			d.value(c, v.Index(i), fmt.Sprintf("%s[%d]", key, i), "", depth+1)
		}
	default:
		if n.Kind != yaml.ScalarNode {
			d.problem(d.at(n), key, "want a single value")
			return
		}
		if v.Kind() == reflect.String && n.Tag == "!!binary" {
			d.problem(d.at(n), key, "want text")
			return
		}
		d.scalar(n.Value, v, key, d.at(n))
		return
	}
	d.origins[key] = d.at(n)
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, key string, depth int) {
	if n.Kind != yaml.MappingNode {
		d.problem(d.at(n), key, "want a mapping")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		field, ok := fieldNamed(v.Type(), name.Value)
		switch {
		case !ok:
			d.problem(d.at(name), join(key, name.Value), "unknown key%s", suggest(name.Value, v.Type()))
		case seen[name.Value]:
			d.problem(d.at(name), join(key, name.Value), "is given twice")
		default:
			seen[name.Value] = true
			d.value(n.Content[i+1], v.FieldByIndex(field.Index), join(key, name.Value), field.Tag.Get("kind"), depth+1)
		}
	}
}

// scalar sets one value from text. A secret's text is never repeated, because
// it may be the secret itself.
func (d *decoder) scalar(text string, v reflect.Value, key string, at Origin) {
	switch {
	case v.Type() == refType:
		ref, err := secret.ParseRef(text)
		if err != nil || !slices.Contains(secretStores, ref.Store()) {
			d.problem(at, key, "want a reference to the secret, not the secret: env:NAME, dotenv:KEY or file:PATH")
			return
		}
		v.SetString(string(ref))
	case v.Type() == durationType:
		t, err := time.ParseDuration(text)
		if err != nil {
			d.problem(at, key, "%q is not a duration like 90s, 15m or 168h", text)
			return
		}
		if t < 0 {
			d.problem(at, key, "%q is negative", text)
			return
		}
		v.SetInt(int64(t))
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			d.problem(at, key, "%q is neither true nor false", text)
			return
		}
		v.SetBool(b)
	case v.CanInt():
		i, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			d.problem(at, key, "%q is not a number", text)
			return
		}
		v.SetInt(i)
	default:
		d.problem(at, key, "cannot be set from text")
		return
	}
	d.origins[key] = at
}

// secretStores are those that a configuration file may refer to: what they hold
// is at hand before anything has started.
var secretStores = []string{"env", "dotenv", "file"}

// environ sets every scalar and every list of text that a variable names.
func (d *decoder) environ(v reflect.Value, key string, lookup func(string) string) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name := yamlName(field)
		if name == "" {
			continue
		}
		path, f := join(key, name), v.Field(i)
		switch {
		case f.Kind() == reflect.Struct:
			d.environ(f, path, lookup)
		case f.Kind() == reflect.Pointer:
			// Made only if something in it is set.
			made := reflect.New(f.Type().Elem())
			if !f.IsNil() {
				made.Elem().Set(f.Elem())
			}
			before := len(d.origins)
			d.environ(made.Elem(), path, lookup)
			if !f.IsNil() || len(d.origins) > before {
				f.Set(made)
			}
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.String:
			if text := lookup(EnvName(path)); text != "" {
				var list []string
				for _, part := range strings.Split(text, ",") {
					if part = strings.TrimSpace(part); part != "" {
						list = append(list, part)
					}
				}
				f.Set(reflect.ValueOf(list))
				d.origins[path] = Origin{Name: EnvName(path)}
			}
		case f.Kind() == reflect.Map, f.Kind() == reflect.Slice:
			// Lists of objects and maps are the file's.
		default:
			if text := lookup(EnvName(path)); text != "" {
				d.scalar(text, f, path, Origin{Name: EnvName(path)})
			}
		}
	}
}

// EnvName is the environment variable of the value at a path:
// cluster.clientAuth is TENON_CLUSTER_CLIENT_AUTH.
func EnvName(path string) string {
	var out strings.Builder
	out.WriteString("TENON_")
	previous := '.'
	runes := []rune(path)
	for i, r := range runes {
		switch {
		case r == '.':
			out.WriteByte('_')
		case unicode.IsUpper(r) && previous != '.' && (!unicode.IsUpper(previous) || (i+1 < len(runes) && unicode.IsLower(runes[i+1]))):
			out.WriteByte('_')
			out.WriteRune(r)
		default:
			out.WriteRune(unicode.ToUpper(r))
		}
		previous = r
	}
	return out.String()
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

func fieldNamed(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); name != "" && yamlName(f) == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// suggest names the key that was probably meant, or all that there are.
func suggest(name string, t reflect.Type) string {
	var names []string
	for i := range t.NumField() {
		if n := yamlName(t.Field(i)); n != "" {
			names = append(names, n)
		}
	}
	flat := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	for _, n := range names {
		if flat(n) == flat(name) {
			return fmt.Sprintf(" (is it %s?)", n)
		}
	}
	return fmt.Sprintf(" (known here: %s)", strings.Join(names, ", "))
}

// paths makes the paths that a file gave relative to the file.
func (d *decoder) paths(v reflect.Value, key string, resolve func(string) string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			d.paths(v.Elem(), key, resolve)
		}
	case reflect.Slice:
		for i := range v.Len() {
			d.paths(v.Index(i), fmt.Sprintf("%s[%d]", key, i), resolve)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			name := yamlName(field)
			if name == "" {
				continue
			}
			path, f := join(key, name), v.Field(i)
			if field.Tag.Get("kind") != "path" {
				d.paths(f, path, resolve)
			} else if f.String() != "" && d.origins[path].File != "" {
				f.SetString(resolve(f.String()))
			}
		}
	}
}
