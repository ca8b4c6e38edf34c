package v1

import (
	"encoding/json"
	"fmt"
	"slices"
)

const (
	schemaDialect = "https://json-schema.org/draft/2020-12/schema"
	schemaBase    = "https://tenon.dev/schemas/v1/"
)

// Schema returns the JSON Schema (2020-12) of one manifest of a kind. It takes
// what Load takes of a document, and refuses unknown keys and most wrong values;
// what only the whole of a manifest can tell is left to Load.
func Schema(kind string) ([]byte, error) {
	if models()[kind] == nil {
		return nil, fmt.Errorf("unknown kind %q%s", kind, suggest(kind, Kinds()))
	}
	s := schemas{defs: map[string]any{}}
	out := s.manifest(kind)
	out["$schema"], out["$id"], out["$defs"] = schemaDialect, schemaBase+kind+".json", s.defs
	return json.MarshalIndent(out, "", "  ")
}

// SchemaAll returns the JSON Schema of a manifest of any kind, for editors.
func SchemaAll() ([]byte, error) {
	s := schemas{defs: map[string]any{}}
	var branches []any
	for _, kind := range Kinds() {
		s.defs[kind] = s.manifest(kind)
		branches = append(branches, object{
			"if":   object{"properties": object{"kind": object{"const": kind}}, "required": []string{"kind"}},
			"then": object{"$ref": "#/$defs/" + kind},
		})
	}
	return json.MarshalIndent(object{
		"$schema": schemaDialect, "$id": schemaBase + "manifest.json", "title": "Tenon manifest", "type": "object",
		"required": []string{"kind"}, "properties": object{"kind": object{"enum": Kinds()}}, "allOf": branches, "$defs": s.defs,
	}, "", "  ")
}

type object = map[string]any

// schemas collects the definitions of types.
type schemas struct{ defs object }

// manifest is the schema of a document.
func (s schemas) manifest(kind string) object {
	versions := []string{APIVersion}
	if slices.Contains(sharedKinds(), kind) {
		versions = append(versions, OlderAPIVersions()...)
	}
	version := object{"enum": versions}
	model := models()[kind]
	return object{
		"title": kind, "description": docOf(model, nil), "type": "object", "additionalProperties": false,
		"required": []string{"kind", "metadata", "spec"},
		"allOf":    []any{either("apiVersion", "api_version")},
		"properties": object{
			"apiVersion": version, "api_version": version, "kind": object{"const": kind},
			"metadata": s.value(metadataModel(), rules{}), "spec": s.value(model, rules{}),
			"status": object{"description": "What another tool wrote about the object. It is not read."},
		},
	}
}

func either(names ...string) object {
	var options []any
	for _, n := range names {
		options = append(options, object{"required": []string{n}})
	}
	return object{"anyOf": options}
}

// value is the schema of a value that is not null.
func (s schemas) value(t *typeModel, r rules) object {
	switch t.shape {
	case shapeObject:
		s.define(t)
		return object{"$ref": "#/$defs/" + t.name}
	case shapeList:
		out := object{"type": "array", "items": s.value(t.elem, rules{enum: r.each, refKind: r.refKind})}
		if r.minItems != nil {
			out["minItems"] = *r.minItems
		}
		if r.maxItems != nil {
			out["maxItems"] = *r.maxItems
		}
		return out
	case shapeMap:
		out := object{"type": "object", "additionalProperties": nullable(s.value(t.elem, rules{}))}
		if r.keys != nil {
			out["propertyNames"] = object{"enum": r.keys}
		}
		return out
	case shapeRef:
		s.defineReference()
		return object{"$ref": "#/$defs/StringOrRef"}
	case shapeBool:
		// YAML 1.1 has more words for it; the pattern keeps editors from offering them.
		return object{"anyOf": []any{object{"type": "boolean"}, object{"type": "string", "pattern": "^([yY]|[yY][eE][sS]|[oO][nN]|[nN]|[nN][oO]|[oO][fF][fF])$"}}}
	case shapeInt:
		return s.number("integer", r)
	case shapeNumber:
		return s.number("number", r)
	case shapeString:
		return text(r)
	}
	return object{}
}

// number takes numbers, and texts that are numbers, as Protocol Buffers do.
func (schemas) number(kind string, r rules) object {
	number := object{"type": kind}
	if r.min != nil {
		number["minimum"] = *r.min
	}
	if r.max != nil {
		number["maximum"] = *r.max
	}
	return object{"anyOf": []any{number, object{"type": "string", "pattern": "^[-+0-9a-fA-FxXpP._]+$"}}}
}

func text(r rules) object {
	if r.enum != nil {
		values := r.enum
		if !r.required && !slices.Contains(values, "") {
			values = append(slices.Clone(values), "")
		}
		return object{"enum": values}
	}
	out := object{"type": "string"}
	if r.required || r.minLength != nil {
		out["minLength"] = max(1, valueOf(r.minLength))
	}
	if r.maxLength != nil {
		out["maxLength"] = *r.maxLength
	}
	if r.pattern != nil {
		pattern := r.pattern.String()
		if !r.required {
			pattern = "^$|" + pattern
		}
		out["pattern"] = pattern
	}
	return out
}

// nullable is a schema that takes null as well, which means an absent field.
func nullable(schema object) object {
	if len(schema) == 0 {
		return schema
	}
	return object{"anyOf": []any{schema, object{"type": "null"}}}
}

// define adds the definition of an object's type.
func (s schemas) define(t *typeModel) {
	if s.defs[t.name] != nil {
		return
	}
	properties := object{}
	out := object{"type": "object", "description": docOf(t, nil), "additionalProperties": false, "properties": properties}
	s.defs[t.name] = out // before its fields, in case a type contains itself
	var required []any
	for _, f := range t.fields {
		schema := s.value(f.typ, f.rules)
		if f.rules.required {
			required = append(required, either(names(f)...))
		} else {
			schema = nullable(schema)
		}
		schema["description"] = f.description(t)
		properties[f.key] = schema
		if f.camel != f.key {
			alias := object{}
			for k, v := range schema {
				alias[k] = v
			}
			alias["description"] = "The same as " + f.key + "."
			properties[f.camel] = alias
		}
	}
	if required != nil {
		out["allOf"] = required
	}
}

func names(f *fieldModel) []string {
	if f.camel == f.key {
		return []string{f.key}
	}
	return []string{f.key, f.camel}
}

// description is the comment of a field with what its rules say besides.
func (f *fieldModel) description(t *typeModel) string {
	text := docOf(t, f)
	if f.rules.fallback != "" {
		text += " Defaults to " + f.rules.fallback + "."
	}
	if f.rules.immutable {
		text += " A change makes another object."
	}
	if f.rules.secret {
		text += " A reference to a secret store, such as env:NAME or dotenv:KEY."
	}
	return text
}

// defineReference adds the definitions of StringOrRef and ValueFrom.
func (s schemas) defineReference() {
	optional := func() object { return object{"type": []string{"string", "null"}} }
	s.defs["ValueFrom"] = object{
		"type": "object", "description": "An output of another resource.", "additionalProperties": false, "required": []string{"name"},
		"properties": object{
			"kind": object{"anyOf": []any{object{"enum": Kinds()}, object{"type": []string{"integer", "null"}}}},
			"name": object{"type": "string", "minLength": 1}, "env": optional(),
			"fieldPath": optional(), "field_path": optional(), "field": optional(),
		},
	}
	from := nullable(object{"$ref": "#/$defs/ValueFrom"})
	s.defs["StringOrRef"] = object{
		"description": "A text, or an output of another resource.",
		"anyOf": []any{
			object{"type": "string", "minLength": 1},
			object{"type": "object", "additionalProperties": false, "minProperties": 1,
				"properties": object{"value": optional(), "valueFrom": from, "value_from": from}},
		},
	}
}
