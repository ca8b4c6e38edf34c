package v1

import (
	"fmt"
	"strings"
	"sync"
)

// reference reads a StringOrRef. Besides the two forms that OpenMCF has, a bare
// string is a value.
func (d *document) reference(n *node, r rules, path string, depth int) (any, bool) {
	if n.kind == scalarNode && (n.tag == "str" || n.tag == "timestamp") {
		return map[string]any{"value": n.text}, true
	}
	if n.kind != mappingNode {
		d.refuse(n, path, "is %s, must be a string, or a mapping with value or valueFrom", n.describe())
		return nil, false
	}
	v, ok := d.object(n, referenceModel(), path, depth)
	out, _ := v.(map[string]any)
	if from, isMap := out["valueFrom"].(map[string]any); isMap {
		out["valueFrom"] = d.valueFrom(from, r, path+".valueFrom")
		if _, both := out["value"]; both {
			d.refuse(n, path, "has value and valueFrom, which exclude each other")
			return nil, false
		}
	}
	return out, ok
}

// referenceModel is the shape of a StringOrRef in a manifest. The key "field" is
// one that published manifests use for fieldPath.
var referenceModel = sync.OnceValue(func() *typeModel {
	text := &typeModel{shape: shapeString}
	field := func(key, alias string, t *typeModel) *fieldModel {
		return &fieldModel{key: key, camel: alias, typ: t}
	}
	from := &typeModel{shape: shapeObject, name: "ValueFrom", fields: []*fieldModel{
		field("kind", "kind", &typeModel{shape: shapeAny}), field("env", "env", text), field("name", "name", text),
		field("fieldPath", "field_path", text), field("fieldPath", "field", text),
	}}
	return &typeModel{shape: shapeObject, name: "StringOrRef", fields: []*fieldModel{field("value", "value", text), field("valueFrom", "value_from", from)}}
})

// kindByNumber names the kind that OpenMCF gives a number, which it takes for the
// name; "" if there is none.
func kindByNumber(number any) string {
	switch fmt.Sprint(number) {
	case "2100":
		return KindConnection
	case "2101":
		return KindClient
	case "2102":
		return KindEventStream
	case "2103":
		return KindResourceServer
	case "2104":
		return KindAction
	case "2105":
		return KindRole
	}
	return ""
}

// valueFrom brings a reference into canonical form.
func (d *document) valueFrom(from map[string]any, r rules, path string) map[string]any {
	kind := r.refKind
	if k, given := from["kind"]; given {
		text, isText := k.(string)
		if !isText {
			text = kindByNumber(k)
		}
		if text == "" {
			delete(from, "kind")
			d.failed[path+".kind"] = true
			d.problem(path+".kind", "must be the name of a kind")
		} else {
			kind, from["kind"] = text, text
		}
	}
	if f, ok := from["fieldPath"].(string); ok {
		from["fieldPath"] = canonicalFieldPath(kind, f)
	}
	return from
}

// canonicalFieldPath brings a field path to the form status.outputs.NAME. Paths
// that name a field of the spec or the metadata mean the output that holds the
// same value.
func canonicalFieldPath(kind, path string) string {
	name := path
	for _, prefix := range []string{outputPrefix, "outputs.", "spec.", "metadata."} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			name = rest
			break
		}
	}
	for _, o := range Outputs(kind) {
		if name == o.Name || name == camelCase(o.Name) {
			return outputPrefix + o.Name
		}
	}
	return path
}
