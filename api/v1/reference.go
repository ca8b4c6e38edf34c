package v1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// StringOrRef is a string that is either written down or read from another
// resource's outputs. Exactly one of the fields is set.
//
//	{value: "ABC"}
//	{valueFrom: {kind: Auth0Client, name: web, fieldPath: status.outputs.client_id}}
//
// Kind and fieldPath may be left out; each field that uses a StringOrRef states
// what they then are. A bare string is read as a value.
type StringOrRef struct {
	Value     string     `json:"value,omitempty"`
	ValueFrom *ValueFrom `json:"valueFrom,omitempty"`
}

// ValueFrom points to an output of another resource.
type ValueFrom struct {
	Kind string `json:"kind,omitempty"`
	// Env is carried for manifests of other tools. Tenon resolves within one tenant
	// and takes no notice of it.
	Env       string `json:"env,omitempty"`
	Name      string `json:"name"`
	FieldPath string `json:"fieldPath,omitempty"`
}

// Value returns a StringOrRef that is written down.
func Value(text string) StringOrRef { return StringOrRef{Value: text} }

// From returns a StringOrRef that reads the field's usual output of the
// resource.
func From(kind, name string) StringOrRef {
	return StringOrRef{ValueFrom: &ValueFrom{Kind: kind, Name: name}}
}

// UnmarshalJSON accepts snake_case and camelCase keys and a bare string.
func (s *StringOrRef) UnmarshalJSON(data []byte) error {
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '"' {
		*s = StringOrRef{}
		return json.Unmarshal(trimmed, &s.Value)
	}
	var raw struct {
		Value *string    `json:"value"`
		Camel *ValueFrom `json:"valueFrom"`
		Snake *ValueFrom `json:"value_from"`
	}
	if err := strict(data, &raw); err != nil {
		return err
	}
	n := 0
	*s = StringOrRef{}
	if raw.Value != nil {
		s.Value, n = *raw.Value, n+1
	}
	for _, from := range []*ValueFrom{raw.Camel, raw.Snake} {
		if from != nil {
			s.ValueFrom, n = from, n+1
		}
	}
	if n > 1 {
		return fmt.Errorf("value and valueFrom exclude each other")
	}
	return nil
}

// UnmarshalJSON accepts fieldPath, field_path and field.
func (v *ValueFrom) UnmarshalJSON(data []byte) error {
	var raw struct {
		Kind  string  `json:"kind"`
		Env   string  `json:"env"`
		Name  string  `json:"name"`
		Camel *string `json:"fieldPath"`
		Snake *string `json:"field_path"`
		Short *string `json:"field"`
	}
	if err := strict(data, &raw); err != nil {
		return err
	}
	*v = ValueFrom{Kind: raw.Kind, Env: raw.Env, Name: raw.Name}
	n := 0
	for _, path := range []*string{raw.Camel, raw.Snake, raw.Short} {
		if path != nil {
			v.FieldPath, n = *path, n+1
		}
	}
	if n > 1 {
		return fmt.Errorf("fieldPath is given twice")
	}
	return nil
}

// strict decodes JSON and refuses unknown keys, so that a misspelt reference is
// not taken for an empty one.
func strict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// Reference returns what s refers to, with kind and output filled in where the
// manifest leaves them out; ok is false if s is written down.
func (s StringOrRef) Reference(path, kind, output string) (ref Reference, ok bool) {
	if s.ValueFrom == nil {
		return Reference{}, false
	}
	ref = Reference{Path: path, Kind: s.ValueFrom.Kind, Name: s.ValueFrom.Name, FieldPath: s.ValueFrom.FieldPath}
	if ref.Kind == "" {
		ref.Kind = kind
	}
	if ref.FieldPath == "" {
		ref.FieldPath = outputPrefix + output
	}
	return ref, true
}

const outputPrefix = "status.outputs."

// Output is the name of the output that the reference reads: its field path
// without "status.outputs.".
func (r Reference) Output() string { return strings.TrimPrefix(r.FieldPath, outputPrefix) }

// references collects the references of a list, in order.
func references(path, kind, output string, values []StringOrRef) []Reference {
	var refs []Reference
	for i, v := range values {
		if ref, ok := v.Reference(fmt.Sprintf("%s[%d]", path, i), kind, output); ok {
			refs = append(refs, ref)
		}
	}
	return refs
}
