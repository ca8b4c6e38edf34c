package v1

import (
	"fmt"
	"sort"
	"strings"
)

// The kinds of this version.
const (
	KindTenant         = "Auth0Tenant"
	KindConnection     = "Auth0Connection"
	KindClient         = "Auth0Client"
	KindResourceServer = "Auth0ResourceServer"
	KindClientGrant    = "Auth0ClientGrant"
	KindRole           = "Auth0Role"
	KindUser           = "Auth0User"
	KindAction         = "Auth0Action"
)

// specs makes an empty spec of each kind. It is a function and not a variable
// so that nobody can add to it at run time.
func specs() map[string]func() Spec {
	return map[string]func() Spec{
		KindTenant:         func() Spec { return new(Auth0TenantSpec) },
		KindConnection:     func() Spec { return new(Auth0ConnectionSpec) },
		KindClient:         func() Spec { return new(Auth0ClientSpec) },
		KindResourceServer: func() Spec { return new(Auth0ResourceServerSpec) },
		KindClientGrant:    func() Spec { return new(Auth0ClientGrantSpec) },
		KindRole:           func() Spec { return new(Auth0RoleSpec) },
		KindUser:           func() Spec { return new(Auth0UserSpec) },
		KindAction:         func() Spec { return new(Auth0ActionSpec) },
	}
}

// Kinds lists the kinds in alphabetical order.
func Kinds() []string {
	kinds := make([]string, 0, 8)
	for kind := range specs() {
		kinds = append(kinds, kind)
	}
	sort.Strings(kinds)
	return kinds
}

// NewSpec returns an empty spec of a kind, a pointer such as *Auth0ClientSpec.
func NewSpec(kind string) (Spec, error) {
	if f := specs()[kind]; f != nil {
		return f(), nil
	}
	return nil, fmt.Errorf("unknown kind %q (known: %s)", kind, strings.Join(Kinds(), ", "))
}

// Validate reports every problem of a resource: its envelope's and its spec's.
func (r Resource) Validate() []Problem {
	var p problems
	if r.APIVersion != APIVersion {
		p.add("apiVersion", "is %q, must be %q", r.APIVersion, APIVersion)
	}
	if r.Spec == nil {
		p.add("spec", "is missing")
		return p
	}
	if kind := r.Spec.Kind(); r.Kind != kind {
		p.add("kind", "is %q, but the spec is that of %s", r.Kind, kind)
	}
	switch name := r.Metadata.Name; {
	case name == "":
		p.add("metadata.name", "is missing")
	case strings.TrimSpace(name) != name:
		p.add("metadata.name", "must not begin or end with white space")
	case strings.ContainsAny(name, "/\n\r\t"):
		p.add("metadata.name", "must not contain a slash or control characters")
	case len(name) > 256:
		p.add("metadata.name", "has %d bytes, at most 256 are allowed", len(name))
	}
	if named, ok := r.Spec.(interface{ validateName(string) []Problem }); ok && r.Metadata.Name != "" {
		p = append(p, named.validateName(r.Metadata.Name)...)
	}
	return append(p, r.Spec.Validate()...)
}
