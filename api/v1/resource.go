// Package v1 is Tenon's resource language: a Go type for the spec of each kind,
// with its defaults, checks and references, and the reading of manifests.
//
//	YAML, JSON ─► Load ─► []Resource, in canonical form ─► Expand ─► one resource for each object
//
// A Resource is one manifest: kind, metadata, spec and nothing else. The Go types
// are the only description of the language: Load, Validate, Schema and Explain
// follow their fields, tags and comments. What must always hold: a field that the
// manifest leaves out is left alone in Auth0, an explicit false or 0 is sent, and
// optional fields are therefore pointers or nil slices; a secret is never a value
// here, only a reference (secret.Ref in text form). What a resource becomes in
// Auth0 is the engines' business (internal/engine), where literal secrets go is
// that of whoever called Load; this package imports nothing of ours.
package v1

import (
	"encoding/json"
	"fmt"
)

// APIVersion is the version that Tenon writes.
const APIVersion = "tenon.dev/v1"

// Resource is one manifest.
type Resource struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	// Spec has the dynamic type that belongs to Kind, a pointer such as
	// *Auth0ClientSpec.
	Spec Spec `json:"spec"`
}

// Spec is the desired state of one kind.
type Spec interface {
	// Kind is the manifest's kind, for example "Auth0Client".
	Kind() string
	// Validate reports every problem of the spec, each with the path of the
	// field below spec.
	Validate() []Problem
	// References lists the other resources that this one reads from.
	References() []Reference
}

// Problem is one thing wrong with a manifest.
type Problem struct {
	// Path of the field, for example "spec.callbacks[1]".
	Path string `json:"path"`
	// Message says what is wrong and what would be right, without the path.
	Message string `json:"message"`
}

// Reference is a use of another resource's output.
type Reference struct {
	// Path of the field that refers.
	Path string `json:"path"`
	// Kind and Name of the resource referred to.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// FieldPath is the output that is read, for example "status.outputs.client_id".
	FieldPath string `json:"fieldPath"`
}

// New returns a resource of the spec's kind.
func New(name string, spec Spec) Resource {
	return Resource{APIVersion: APIVersion, Kind: spec.Kind(), Metadata: Metadata{Name: name}, Spec: spec}
}

// UnmarshalJSON decodes the spec into the type that belongs to the kind.
func (r *Resource) UnmarshalJSON(data []byte) error {
	var raw struct {
		APIVersion string          `json:"apiVersion"`
		Kind       string          `json:"kind"`
		Metadata   Metadata        `json:"metadata"`
		Spec       json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	spec, err := NewSpec(raw.Kind)
	if err != nil {
		return err
	}
	if len(raw.Spec) > 0 {
		if err := json.Unmarshal(raw.Spec, spec); err != nil {
			return fmt.Errorf("%s %q: %w", raw.Kind, raw.Metadata.Name, err)
		}
	}
	*r = Resource{APIVersion: raw.APIVersion, Kind: raw.Kind, Metadata: raw.Metadata, Spec: spec}
	return nil
}
