package v1

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// docsJSON holds the comments of the types and fields of this package, by
// "Type" and "Type.Field". A test writes it and checks that it is current.
//
//go:embed docs.json
var docsJSON []byte

var docs = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	// The file is checked by a test; without it, documentation is empty.
	_ = json.Unmarshal(docsJSON, &out)
	return out
})

// Field describes a field of a kind, or the kind itself.
type Field struct {
	// Name is the key in snake_case, Path leads to it from the manifest's root, with
	// [] for the items of a list.
	Name string `json:"name"`
	Path string `json:"path"`
	// Type is string, boolean, integer, number, secret, reference, object, any, or
	// "list of …", "map of …"; of a kind it is "kind".
	Type string `json:"type"`
	Doc  string `json:"doc"`
	// Required fields must be given and not be empty.
	Required bool `json:"required,omitempty"`
	// Secret fields hold references to a secret store.
	Secret bool `json:"secret,omitempty"`
	// Immutable fields make another object when they change.
	Immutable bool `json:"immutable,omitempty"`
	// Reads is what a valueFrom without kind and fieldPath reads: "Kind.output".
	Reads string `json:"reads,omitempty"`
	// Allowed are the values (or the items of a list, or the keys of a map).
	Allowed []string `json:"allowed,omitempty"`
	// Default is what an absent field comes to; "" if it is left alone.
	Default string `json:"default,omitempty"`
	// Limits says in words how long, large or many the value may be.
	Limits string `json:"limits,omitempty"`
	// Fields are those of an object, or of the items of a list of objects.
	Fields []*Field `json:"fields,omitempty"`
	// Outputs are those of a kind.
	Outputs []Output `json:"outputs,omitempty"`
}

// Explain describes a kind, or the field of it that the path leads to. The path
// is given as keys, in snake_case or camelCase, or in one text with dots; "spec"
// at its beginning may be left out.
func Explain(kind string, path ...string) (*Field, error) {
	model := models()[kind]
	if model == nil {
		return nil, fmt.Errorf("unknown kind %q%s (known: %s)", kind, suggest(kind, Kinds()), strings.Join(Kinds(), ", "))
	}
	root := &Field{
		Name: kind, Type: "kind", Doc: docOf(model, nil), Outputs: Outputs(kind),
		Fields: []*Field{
			{Name: "metadata", Path: "metadata", Type: "object", Required: true, Doc: docOf(metadataModel(), nil), Fields: fieldsOf(metadataModel(), "metadata")},
			{Name: "spec", Path: "spec", Type: "object", Required: true, Doc: docOf(model, nil), Fields: fieldsOf(model, "spec")},
		},
	}
	var keys []string
	for _, p := range path {
		for key := range strings.SplitSeq(p, ".") {
			if key, _, _ = strings.Cut(key, "["); key != "" {
				keys = append(keys, key)
			}
		}
	}
	if len(keys) == 0 {
		return root, nil
	}
	at := root
	if keys[0] != "spec" && keys[0] != "metadata" {
		at = root.Fields[1]
	}
	for _, key := range keys {
		next := at.member(key)
		if next == nil {
			names := make([]string, len(at.Fields))
			for i, f := range at.Fields {
				names[i] = f.Name
			}
			where := strings.TrimPrefix(kind+"."+at.Path, ".")
			if len(names) == 0 {
				return nil, fmt.Errorf("%s has no field %q: it is a %s", where, key, at.Type)
			}
			return nil, fmt.Errorf("%s has no field %q%s (it has %s)", where, key, suggest(key, names), strings.Join(names, ", "))
		}
		at = next
	}
	return at, nil
}

func (f *Field) member(key string) *Field {
	for _, m := range f.Fields {
		if m.Name == key || camelCase(m.Name) == key {
			return m
		}
	}
	return nil
}

// fieldsOf describes the fields of an object.
func fieldsOf(t *typeModel, path string) []*Field {
	out := make([]*Field, len(t.fields))
	for i, f := range t.fields {
		at := path + "." + f.key
		r := f.rules
		field := &Field{
			Name: f.key, Path: at, Type: f.typ.word(r), Doc: docOf(t, f), Required: r.required,
			Secret: r.secret, Immutable: r.immutable, Default: r.fallback, Limits: r.limits(),
		}
		if r.refKind != "" {
			field.Reads = r.refKind + "." + r.refOutput
		}
		for _, list := range [][]string{r.enum, r.each, r.keys} {
			for _, v := range list {
				if v != "" {
					field.Allowed = append(field.Allowed, v)
				}
			}
		}
		switch inner := f.typ; {
		case inner.shape == shapeObject:
			field.Fields = fieldsOf(inner, at)
		case inner.shape == shapeList && inner.elem.shape == shapeObject:
			field.Fields = fieldsOf(inner.elem, at+"[]")
		}
		out[i] = field
	}
	return out
}

// word names a type for people.
func (t *typeModel) word(r rules) string {
	switch t.shape {
	case shapeObject:
		return "object"
	case shapeList:
		return "list of " + t.elem.word(r)
	case shapeMap:
		return "map of " + t.elem.word(rules{})
	case shapeBool:
		return "boolean"
	case shapeInt:
		return "integer"
	case shapeNumber:
		return "number"
	case shapeRef:
		return "reference"
	case shapeString:
		if r.secret {
			return "secret"
		}
		return "string"
	}
	return "any"
}

// limits tells the rules about size in words.
func (r rules) limits() string {
	var parts []string
	between := func(low, high, unit string) {
		switch {
		case low != "" && high != "":
			parts = append(parts, low+" to "+high+unit)
		case low != "":
			parts = append(parts, "at least "+low+unit)
		case high != "":
			parts = append(parts, "at most "+high+unit)
		}
	}
	number := func(n *float64) string {
		if n == nil {
			return ""
		}
		return plain(*n)
	}
	whole := func(n *int) string {
		if n == nil {
			return ""
		}
		return fmt.Sprint(*n)
	}
	between(number(r.min), number(r.max), "")
	between(whole(r.minLength), whole(r.maxLength), " characters")
	between(whole(r.minItems), whole(r.maxItems), " items")
	if r.hint != "" {
		parts = append(parts, r.hint)
	}
	return strings.Join(parts, ", ")
}

var compound = regexp.MustCompile(`\b[A-Z][A-Za-z0-9]*\b`)

// docOf is the comment of a type (f is nil) or of its field, with the names of Go
// fields turned into keys.
func docOf(t *typeModel, f *fieldModel) string {
	name := t.name
	if f != nil {
		name += "." + f.goName
	}
	text := docs()[name]
	if f == nil {
		// A manifest knows the kind, not the type of its spec.
		text = strings.Replace(text, t.name, strings.TrimSuffix(t.name, "Spec"), 1)
	}
	keys := map[string]string{}
	for _, sibling := range t.fields {
		keys[sibling.goName] = sibling.key
	}
	first := true
	return compound.ReplaceAllStringFunc(text, func(word string) string {
		leading := first
		first = false
		key, known := keys[word]
		// Words such as Name also begin sentences: only the first word of a comment, and
		// names that no English word can be, stand for the field.
		inner := strings.ToLower(word[1:]) != word[1:] && strings.ToUpper(word) != word
		switch {
		case f != nil && leading && word == f.goName && strings.HasPrefix(text, word):
			return f.key
		case known && inner:
			return key
		}
		return word
	})
}
