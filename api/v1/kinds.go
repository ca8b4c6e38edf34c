package v1

import (
	"fmt"
	"slices"
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
	KindEventStream    = "Auth0EventStream"
	// KindWebApp and KindService stand for several objects each; Expand says which.
	KindWebApp  = "WebApp"
	KindService = "Service"
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
		KindEventStream:    func() Spec { return new(Auth0EventStreamSpec) },
		KindWebApp:         func() Spec { return new(WebAppSpec) },
		KindService:        func() Spec { return new(ServiceSpec) },
	}
}

// Kinds lists the kinds in alphabetical order.
func Kinds() []string {
	kinds := make([]string, 0, 11)
	for kind := range specs() {
		kinds = append(kinds, kind)
	}
	sort.Strings(kinds)
	return kinds
}

// Primitives lists the kinds that are one object in Auth0 each, in alphabetical
// order: what engines know. The others are expanded into these.
func Primitives() []string {
	return slices.DeleteFunc(Kinds(), func(kind string) bool { return kind == KindWebApp || kind == KindService })
}

// sharedKinds are those that OpenMCF has too, by the same names and fields.
func sharedKinds() []string {
	return []string{KindAction, KindClient, KindConnection, KindEventStream, KindResourceServer, KindRole}
}

// NewSpec returns an empty spec of a kind, a pointer such as *Auth0ClientSpec.
func NewSpec(kind string) (Spec, error) {
	if f := specs()[kind]; f != nil {
		return f(), nil
	}
	return nil, fmt.Errorf("unknown kind %q (known: %s)", kind, strings.Join(Kinds(), ", "))
}

// Validate reports every problem of a resource: its envelope's and its spec's.
func (r Resource) Validate() []Problem { return r.inspect().errors }

// Warnings reports what can be loaded and planned, and yet deserves a look: what
// Auth0 may refuse, what has no effect, and what other tools accept although it
// is not wise.
func (r Resource) Warnings() []Problem { return r.inspect().warnings }

func (r Resource) inspect() problems {
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
	r.Metadata.check(&p)
	if named, ok := r.Spec.(interface{ checkName(*problems, string) }); ok && r.Metadata.Name != "" {
		named.checkName(&p, r.Metadata.Name)
	}
	spec := inspect(r.Spec)
	p.errors, p.warnings = append(p.errors, spec.errors...), append(p.warnings, spec.warnings...)
	return p
}
