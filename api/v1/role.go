package v1

import "fmt"

// Auth0RoleSpec is a role and its permissions.
//
// Field names are those that manifests of the OpenMCF kind of the same name use.
type Auth0RoleSpec struct {
	// Name is unique in the tenant.
	Name *string `json:"name,omitzero" tenon:"default=metadata.name"`
	// Description says what the role is for.
	Description *string `json:"description,omitzero"`
	// Permissions is complete: permissions that it does not list are taken away.
	Permissions []Permission `json:"permissions,omitzero"`
}

// Permission is one scope of one API.
type Permission struct {
	// Name of the scope.
	Name string `json:"name" tenon:"required"`
	// ResourceServerIdentifier is the identifier of the API.
	ResourceServerIdentifier string `json:"resource_server_identifier" tenon:"required"`
}

// Kind implements Spec.
func (*Auth0RoleSpec) Kind() string { return KindRole }

// References implements Spec. A role names its APIs by identifier; engines order
// it after the APIs of the same plan.
func (*Auth0RoleSpec) References() []Reference { return nil }

// Validate implements Spec.
func (s *Auth0RoleSpec) Validate() []Problem { return validate(s) }

func (s *Auth0RoleSpec) check(p *problems) {
	p.lengthPtr("spec.name", s.Name, 1, 256)
	if len(s.Permissions) > 1000 {
		p.warn("spec.permissions", "has %d items, Auth0 allows 1000", len(s.Permissions))
	}
	seen := map[Permission]int{}
	for i, perm := range s.Permissions {
		if first, dup := seen[perm]; dup {
			p.warn(fmt.Sprintf("spec.permissions[%d]", i), "repeats spec.permissions[%d]", first)
			continue
		}
		seen[perm] = i
	}
}
