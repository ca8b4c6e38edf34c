package v1

import (
	"strings"
)

// Metadata names a resource, and carries what people and tools note about it.
// Nothing of it but the name is sent to Auth0.
type Metadata struct {
	// Name is unique among the resources of its kind in a stack, and for most
	// kinds the name of the Auth0 object.
	Name string `json:"name"`
	// Labels group resources. Those that begin with "tenon.dev/" are Tenon's own.
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations steer how Tenon treats the resource: see the constants that begin
	// with Annotation.
	Annotations map[string]string `json:"annotations,omitempty"`

	// The rest is carried for manifests of OpenMCF, and has no effect.

	// Slug is a name fit for URLs.
	Slug string `json:"slug,omitempty"`
	// ID is the resource's identifier in another system.
	ID string `json:"id,omitempty"`
	// Org is an organization's name.
	Org string `json:"org,omitempty"`
	// Env is an environment's name. Tenon tells environments apart by tenant and
	// stack: two resources of one kind and name cannot be in one stack, whatever
	// their env.
	Env string `json:"env,omitempty"`
	// Group is a name by which resources are shown together.
	Group string `json:"group,omitempty"`
	// Version is the resource's own.
	Version string `json:"version,omitempty"`
	// Tags are words by which resources are found.
	Tags []string `json:"tags,omitempty"`
	// Relationships name other resources that this one has to do with.
	Relationships []Relationship `json:"relationships,omitempty"`
}

// Relationship is carried for manifests of OpenMCF, and has no effect: order
// follows from references.
type Relationship struct {
	// Kind of the other resource.
	Kind string `json:"kind,omitempty"`
	// Env of the other resource.
	Env string `json:"env,omitempty"`
	// Name of the other resource.
	Name string `json:"name,omitempty"`
	// Type is depends_on, runs_on, managed_by or uses.
	Type string `json:"type,omitempty"`
}

const (
	// AnnotationDeletionProtection, set to "true", makes every plan that would
	// delete or replace the object an error.
	AnnotationDeletionProtection = "tenon.dev/deletion-protection"
	// LabelFrom is put on what Expand makes: the resources that it stands for, as
	// "WebApp/grafana", separated by commas if they are several.
	LabelFrom = "tenon.dev/from"
)

// DeletionProtected reports whether the object must be neither deleted nor
// replaced.
func (m Metadata) DeletionProtected() bool {
	return m.Annotations[AnnotationDeletionProtection] == "true"
}

func (m Metadata) check(p *problems) {
	for _, key := range sortedKeys(m.Annotations) {
		switch {
		case key == AnnotationDeletionProtection:
			// A typing error here would delete what somebody meant to protect.
			if v := m.Annotations[key]; v != "true" && v != "false" {
				p.add("metadata.annotations."+key, "is %q, must be \"true\" or \"false\"", v)
			}
		case strings.HasPrefix(key, "tenon.dev/"):
			p.add("metadata.annotations."+key, "is not an annotation that Tenon knows (it knows %s)", AnnotationDeletionProtection)
		}
	}
}
