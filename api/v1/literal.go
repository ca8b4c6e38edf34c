package v1

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// Literal is a secret that a manifest holds instead of a reference.
type Literal struct {
	// Kind and Name of the resource, Path of the field.
	Kind, Name, Path string
	// Value is the secret.
	Value Hidden
}

// Hidden is a text that does not print. The zero value is empty.
type Hidden struct{ text string }

// Reveal returns the text.
func (h Hidden) Reveal() string { return h.text }

// String returns "[redacted]".
func (Hidden) String() string { return "[redacted]" }

// GoString returns "[redacted]".
func (Hidden) GoString() string { return "[redacted]" }

// Format prints "[redacted]" whatever the verb.
func (Hidden) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// MarshalText returns "[redacted]".
func (Hidden) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// literalStore begins what stands in for a literal secret. No store has the name,
// so that a resource whose literals were never stored cannot be applied.
const literalStore = "literal:"

// knownSecretRef matches references to the stores that exist. A text that only
// looks like one ("user:password") is a literal: to take it for a reference would
// print it in the complaint that there is no such store.
var knownSecretRef = regexp.MustCompile(`^(env:[A-Za-z_][A-Za-z0-9_]*|dotenv:[A-Za-z_][A-Za-z0-9_]*|(file|vault|azurekv):[^\s]+)$`)

// IsSecretRef reports whether a text is a reference to a secret store, such as
// env:NAME, dotenv:KEY, file:name, vault:mount/path#field or azurekv:vault/name.
func IsSecretRef(text string) bool {
	return knownSecretRef.MatchString(text) && !strings.Contains(text, "://")
}

// secret reads a secret field: a reference as it is, and a literal out of the
// way, so that the resource can be printed, planned and recorded.
func (d *document) secret(n *node, r rules, path string) (any, bool) {
	switch {
	case n.text == "" && r.required:
		return "", true // reported as missing
	case n.text == "":
		d.warning(path, "is empty, and left out")
		return nil, false
	case IsSecretRef(n.text):
		return n.text, true
	}
	kind, name, _ := strings.Cut(d.resource, "/")
	d.literals = append(d.literals, Literal{Kind: kind, Name: name, Path: path, Value: Hidden{n.text}})
	d.warning(path, "is a literal secret: it goes into the stack's secret store, and a reference takes its place. Better write the reference, such as env:NAME or dotenv:KEY")
	return literalStore + path, true
}

var pathStep = regexp.MustCompile(`^\.?([^.\[\]]+)|^\[(\d+)\]`)

// SetString sets a text of the spec by the path of its field, for example
// "spec.secrets[0].value". It is for fields that the resource has already.
func (r *Resource) SetString(path, value string) error {
	rest, ok := strings.CutPrefix(path, "spec.")
	model := models()[r.Kind]
	if !ok || r.Spec == nil || model == nil {
		return fmt.Errorf("%s/%s has no field %q", r.Kind, r.Metadata.Name, path)
	}
	v := reflect.ValueOf(r.Spec)
	for rest != "" {
		for v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		step := pathStep.FindStringSubmatch(rest)
		if step == nil {
			return fmt.Errorf("%s/%s: the path %q cannot be read", r.Kind, r.Metadata.Name, path)
		}
		rest = rest[len(step[0]):]
		next, ok := child(model, v, step[1], step[2])
		if !ok {
			return fmt.Errorf("%s/%s has no field %q", r.Kind, r.Metadata.Name, path)
		}
		model, v = next.model, next.value
	}
	if model.shape == shapeRef && v.Kind() == reflect.Struct {
		v.Set(reflect.ValueOf(Value(value)))
		return nil
	}
	if v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.String {
		p := reflect.New(v.Type().Elem())
		p.Elem().SetString(value)
		v.Set(p)
		return nil
	}
	if v.Kind() != reflect.String {
		return fmt.Errorf("%s/%s: the field %q is no text", r.Kind, r.Metadata.Name, path)
	}
	v.SetString(value)
	return nil
}

type reached struct {
	model *typeModel
	value reflect.Value
}

// child goes from a value to its field or item.
func child(t *typeModel, v reflect.Value, key, index string) (reached, bool) {
	switch {
	case index != "" && t.shape == shapeList && v.Kind() == reflect.Slice:
		i, err := strconv.Atoi(index)
		if err != nil || i >= v.Len() {
			return reached{}, false
		}
		return reached{t.elem, v.Index(i)}, true
	case index == "" && t.shape == shapeObject && v.Kind() == reflect.Struct:
		if f := t.field(key); f != nil {
			return reached{f.typ, v.Field(f.index)}, true
		}
	}
	return reached{}, false
}
