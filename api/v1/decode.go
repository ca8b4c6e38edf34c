package v1

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// document is one manifest while it is read: from nodes to the canonical form,
// with the place of every field.
type document struct {
	loader *loader
	file   string
	// resource is "Kind/name" as far as it is known.
	resource string
	paths    map[string]position
	// failed are the paths whose values could not be read. What is said about them
	// or below them later only follows from that.
	failed   map[string]bool
	literals []Literal
	start    position
}

func (d *document) at(path string) position {
	p := place{at: d.start, paths: d.paths}
	return p.find(path)
}

func (d *document) finding(at position, path, message string) Finding {
	return Finding{File: d.file, Line: at.line, Column: at.column, Resource: d.resource, Path: path, Message: message}
}

// problem and warning report at the place of a path.
func (d *document) problem(path, message string) { d.loader.add(d.finding(d.at(path), path, message)) }

func (d *document) warning(path, message string) { d.loader.warn(d.finding(d.at(path), path, message)) }

// refuse reports a node whose value cannot be used.
func (d *document) refuse(n *node, path, format string, args ...any) {
	d.failed[path] = true
	d.loader.add(d.finding(position{n.line, n.column}, path, fmt.Sprintf(format, args...)))
}

// hidden reports whether the value at a path, or one around or below it, could
// not be read.
func (d *document) hidden(path string) bool {
	for p := path; p != ""; p = parent(p) {
		if d.failed[p] {
			return true
		}
	}
	for p := range d.failed {
		if strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[") {
			return true
		}
	}
	return false
}

// metadataModel and envelope describe what is around a spec.
var metadataModel = sync.OnceValue(func() *typeModel { return modelOf(reflect.TypeFor[Metadata]()) })

// OlderAPIVersions are the apiVersions under which the kinds that OpenMCF has
// too are published. Load takes them for those kinds.
func OlderAPIVersions() []string {
	return []string{"auth0.openmcf.org/v1", "auth0.planton.dev/v1", "auth0.project-planton.org/v1"}
}

// envelope reads a document; ok is false if no resource can be made of it.
func (d *document) envelope(root *node) (resource Resource, ok bool) {
	d.start = position{root.line, root.column}
	root = d.resolve(root, "", 0)
	if root == nil || root.tag == "null" {
		return Resource{}, false
	}
	if root.kind != mappingNode {
		d.refuse(root, "", "is %s, must be a mapping with apiVersion, kind, metadata and spec", root.describe())
		return Resource{}, false
	}
	d.resource = nameOf(root)
	fields := map[string]*node{}
	for _, p := range d.mapping(root, "", 0) {
		key := p.key.text
		if key == "api_version" {
			key = "apiVersion"
		}
		switch key {
		case "apiVersion", "kind", "metadata", "spec", "status":
			if before := fields[key]; before != nil {
				d.refuse(p.key, key, "is given twice, first in line %d", d.paths[key].line)
				continue
			}
			fields[key], d.paths[key] = p.value, position{p.value.line, p.value.column}
		default:
			d.refuse(p.key, key, "is not a field of a manifest%s", suggest(key, []string{"apiVersion", "kind", "metadata", "spec"}))
		}
	}
	resource.APIVersion = APIVersion
	resource.Kind = d.envelopeText(fields["kind"], "kind")
	version := d.envelopeText(fields["apiVersion"], "apiVersion")
	model := models()[resource.Kind]
	switch {
	case resource.Kind != "" && model == nil:
		d.problem("kind", fmt.Sprintf("is %q, which is not a kind%s", resource.Kind, suggest(resource.Kind, Kinds())))
	case version == "" || version == APIVersion:
	case !slices.Contains(OlderAPIVersions(), version):
		d.problem("apiVersion", fmt.Sprintf("is %q, must be %q (or, for the kinds that OpenMCF has too, one of %s)", version, APIVersion, strings.Join(OlderAPIVersions(), ", ")))
	case model != nil && !slices.Contains(sharedKinds(), resource.Kind):
		d.problem("apiVersion", fmt.Sprintf("is %q, which has no kind %s: it must be %q", version, resource.Kind, APIVersion))
	}
	if d.present(fields["metadata"], "metadata") {
		if v, ok := d.value(fields["metadata"], metadataModel(), rules{}, "metadata", 0); ok {
			d.decode(v, &resource.Metadata, "metadata")
		}
	}
	spec := fields["spec"]
	if !d.present(spec, "spec") || model == nil {
		return Resource{}, false
	}
	target, err := NewSpec(resource.Kind)
	if err != nil {
		return Resource{}, false
	}
	v, read := d.value(spec, model, rules{}, "spec", 0)
	if !read {
		return Resource{}, false
	}
	d.decode(v, target, "spec")
	resource.Spec = target
	return resource, true
}

// present reports a missing part of the envelope.
func (d *document) present(n *node, path string) bool {
	if r := d.resolve(n, path, 0); r == nil || r.tag == "null" {
		if !d.failed[path] {
			d.problem(path, "is missing")
			d.failed[path] = true
		}
		return false
	}
	return true
}

func (d *document) envelopeText(n *node, path string) string {
	if !d.present(n, path) {
		return ""
	}
	v, _ := d.value(n, &typeModel{shape: shapeString}, rules{}, path, 0)
	text, _ := v.(string)
	if text == "" && !d.failed[path] {
		d.problem(path, "is missing")
		d.failed[path] = true
	}
	return text
}

// nameOf looks for kind and name before anything is checked, so that every
// finding can say which resource it is about: "Kind/name", or "".
func nameOf(root *node) string {
	kind, metadata := root.child("kind"), root.child("metadata")
	if name := metadata.child("name"); kind.isText() && name.isText() {
		return kind.text + "/" + name.text
	}
	return ""
}

// child is the value of a key, aliases followed; nil if there is none.
func (n *node) child(key string) *node {
	if n == nil || n.kind != mappingNode {
		return nil
	}
	for _, p := range n.pairs {
		if p.key.text == key {
			value := p.value
			for value != nil && value.kind == aliasNode {
				value = value.alias
			}
			return value
		}
	}
	return nil
}

func (n *node) isText() bool {
	return n != nil && n.kind == scalarNode && n.tag == "str" && n.text != ""
}

// decode brings a canonical tree into its Go type. The tree was made by the
// type's own model, so that a failure is a mistake of this package.
func (d *document) decode(v any, into any, path string) {
	data, err := json.Marshal(v)
	if err == nil {
		err = strict(data, into)
	}
	if err != nil {
		d.failed[path] = true
		d.problem(path, "cannot be read: "+err.Error())
	}
}

// value reads a node as a type. ok is false if it is absent (null) or cannot be
// used, which then has been reported.
func (d *document) value(n *node, t *typeModel, r rules, path string, depth int) (v any, ok bool) {
	if _, known := d.paths[path]; !known && t.shape != shapeAny {
		d.paths[path] = position{n.line, n.column}
	}
	if n = d.resolve(n, path, depth); n == nil || n.tag == "null" {
		return nil, false
	}
	if n.foreignTag() {
		d.refuse(n, path, "has the tag !%s, which has no meaning here", n.tag)
		return nil, false
	}
	switch t.shape {
	case shapeObject:
		return d.object(n, t, path, depth)
	case shapeList:
		return d.list(n, t, r, path, depth)
	case shapeMap:
		return d.dictionary(n, t, false, path, depth)
	case shapeRef:
		return d.reference(n, r, path, depth)
	case shapeAny:
		return d.anything(n, path, depth)
	}
	if n.kind != scalarNode {
		d.refuse(n, path, "is %s, must be %s", n.describe(), t.describe())
		return nil, false
	}
	switch t.shape {
	case shapeBool:
		return d.boolean(n, path)
	case shapeInt, shapeNumber:
		return d.number(n, t.shape == shapeInt, path)
	}
	if n.tag != "str" && n.tag != "timestamp" {
		// The value is not repeated: it may be a secret.
		d.refuse(n, path, "is %s, must be a string: put it in quotes", n.describe())
		return nil, false
	}
	if r.secret {
		return d.secret(n, r, path)
	}
	return n.text, true
}

func (d *document) object(n *node, t *typeModel, path string, depth int) (any, bool) {
	if n.kind != mappingNode {
		d.refuse(n, path, "is %s, must be a mapping", n.describe())
		return nil, false
	}
	out := map[string]any{}
	seen := map[string]*node{}
	for _, p := range d.mapping(n, path, depth) {
		f := t.field(p.key.text)
		if f == nil {
			keys := make([]string, len(t.fields))
			for i, f := range t.fields {
				keys[i] = f.key
				if strings.Contains(p.key.text, "_") == strings.Contains(f.camel, "_") {
					keys[i] = f.camel
				}
			}
			d.refuse(p.key, path+"."+p.key.text, "is not a field here%s", suggest(p.key.text, keys))
			continue
		}
		at := path + "." + f.key
		if before := seen[f.key]; before != nil {
			d.refuse(p.key, at, "is given twice, first as %s in line %d", before.text, before.line)
			continue
		}
		seen[f.key] = p.key
		d.paths[at] = position{p.value.line, p.value.column}
		if v, ok := d.value(p.value, f.typ, f.rules, at, depth+1); ok {
			out[f.key] = v
		}
	}
	return out, true
}

func (d *document) list(n *node, t *typeModel, r rules, path string, depth int) (any, bool) {
	if n.kind != sequenceNode {
		d.refuse(n, path, "is %s, must be a list", n.describe())
		return nil, false
	}
	out := make([]any, 0, len(n.items))
	for i, item := range n.items {
		at := fmt.Sprintf("%s[%d]", path, i)
		v, ok := d.value(item, t.elem, r, at, depth+1)
		if !ok && !d.failed[at] {
			d.refuse(item, at, "is null, must be %s", t.elem.describe())
		}
		// An item that could not be read keeps its place, so that those after it have
		// the index that was written.
		if !ok && t.elem.shape == shapeObject {
			v = map[string]any{}
		} else if !ok {
			v = ""
		}
		out = append(out, v)
	}
	return out, true
}

// dictionary reads a map. Places are kept of the keys of a field, and not of what
// is inside of values whose form is the user's own: no rule is about it.
func (d *document) dictionary(n *node, t *typeModel, inner bool, path string, depth int) (any, bool) {
	if n.kind != mappingNode {
		d.refuse(n, path, "is %s, must be a mapping", n.describe())
		return nil, false
	}
	out := map[string]any{}
	for _, p := range d.mapping(n, path, depth) {
		at := path + "." + p.key.text
		if _, dup := out[p.key.text]; dup {
			d.refuse(p.key, at, "is given twice")
			continue
		}
		if !inner {
			d.paths[at] = position{p.key.line, p.key.column}
		}
		if v, ok := d.value(p.value, t.elem, rules{}, at, depth+1); ok {
			out[p.key.text] = v
		} else if t.elem.shape == shapeAny && !d.failed[at] {
			out[p.key.text] = nil
		}
	}
	return out, true
}

// anything reads a value whose form is the user's own.
func (d *document) anything(n *node, path string, depth int) (any, bool) {
	switch n.kind {
	case mappingNode:
		return d.dictionary(n, &typeModel{shape: shapeMap, elem: &typeModel{shape: shapeAny}}, true, path, depth)
	case sequenceNode:
		out := make([]any, 0, len(n.items))
		for i, item := range n.items {
			v, _ := d.value(item, &typeModel{shape: shapeAny}, rules{}, fmt.Sprintf("%s[%d]", path, i), depth+1)
			out = append(out, v)
		}
		return out, true
	}
	switch n.tag {
	case "bool":
		return d.boolean(n, path)
	case "int", "float":
		return d.number(n, false, path)
	}
	return n.text, true
}
