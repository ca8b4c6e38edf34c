package v1

import "fmt"

// Auth0RoleSpec is a role and its permissions.
//
// Field names are those that manifests of the OpenMCF kind of the same name use.
// Outputs: id, name, description.
type Auth0RoleSpec struct {
	// Name defaults to metadata.name. It is unique in the tenant.
	Name        *string `json:"name,omitzero"`
	Description *string `json:"description,omitzero"`
	// Permissions is complete: permissions that it does not list are taken away.
	Permissions []Permission `json:"permissions,omitzero"`
}

// Permission is one scope of one API.
type Permission struct {
	Name                     string `json:"name"`
	ResourceServerIdentifier string `json:"resource_server_identifier"`
}

// Kind implements Spec.
func (*Auth0RoleSpec) Kind() string { return KindRole }

// References implements Spec. A role names its APIs by identifier; engines order
// it after the APIs of the same plan.
func (*Auth0RoleSpec) References() []Reference { return nil }

// Validate implements Spec.
func (s *Auth0RoleSpec) Validate() []Problem {
	var p problems
	p.lengthPtr("spec.name", s.Name, 1, 256)
	if len(s.Permissions) > 1000 {
		p.add("spec.permissions", "has %d items, at most 1000 are allowed", len(s.Permissions))
	}
	seen := map[Permission]int{}
	for i, perm := range s.Permissions {
		at := fmt.Sprintf("spec.permissions[%d]", i)
		p.required(at+".name", perm.Name)
		p.required(at+".resource_server_identifier", perm.ResourceServerIdentifier)
		if first, dup := seen[perm]; dup {
			p.add(at, "repeats spec.permissions[%d]", first)
			continue
		}
		seen[perm] = i
	}
	return p
}
