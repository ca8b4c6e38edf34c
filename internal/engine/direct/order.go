package direct

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// expand adds a grant for each api_grants entry of a client, so that the plan
// shows it as the object of its own that it is in Auth0.
func expand(resources []v1.Resource) []v1.Resource {
	var out []v1.Resource
	for _, r := range resources {
		out = append(out, r)
		spec, ok := r.Spec.(*v1.Auth0ClientSpec)
		if !ok {
			continue
		}
		for _, g := range spec.APIGrants {
			scope := g.Scopes
			if scope == nil {
				scope = []string{}
			}
			target := g.Audience.Value
			if g.Audience.ValueFrom != nil {
				target = g.Audience.ValueFrom.Name
			}
			out = append(out, v1.New(r.Metadata.Name+"-"+grantName(target), &v1.Auth0ClientGrantSpec{
				Client: v1.From(v1.KindClient, r.Metadata.Name), Audience: g.Audience, Scope: scope,
				AllowAnyOrganization: g.AllowAnyOrganization, OrganizationUsage: g.OrganizationUsage,
			}))
		}
	}
	return out
}

// grantName makes an identifier such as https://api.example.com/ fit for a name.
func grantName(identifier string) string {
	if _, rest, ok := strings.Cut(identifier, "://"); ok {
		identifier = rest
	}
	return strings.Trim(strings.ReplaceAll(identifier, "/", "-"), "-")
}

// node is a resource with the resources that must come before it.
type node struct {
	resource v1.Resource
	kind     kind
	after    []engine.Key
}

// order sorts resources so that each comes after those that it refers to or
// names. Among those that are free it takes the lower rank, then the name, so
// the same resources always give the same order.
func order(resources []v1.Resource, known map[engine.Key]engine.Outputs) ([]node, error) {
	nodes := map[engine.Key]*node{}
	byNaturalKey := map[need]engine.Key{}
	for _, r := range resources {
		key := engine.KeyOf(r)
		k := kindOf(r.Kind)
		if k == nil {
			return nil, invalid(key, "kind", "the direct engine does not have it")
		}
		if nodes[key] != nil {
			return nil, invalid(key, "metadata.name", "is given twice")
		}
		nodes[key] = &node{resource: r, kind: k}
		if n, ok := naturalKey(r); ok {
			if other, dup := byNaturalKey[n]; dup {
				return nil, invalid(key, "metadata.name", fmt.Sprintf("is the same object in Auth0 as %s: both are the %s %q", other, n.kind, n.key))
			}
			byNaturalKey[n] = key
		}
	}
	for key, n := range nodes {
		for _, ref := range n.resource.Spec.References() {
			target := engine.Key{Kind: ref.Kind, Name: ref.Name}
			if nodes[target] != nil {
				if !slices.Contains(nodes[target].kind.outputs(), ref.Output()) {
					return nil, fmt.Errorf("%s: %s: %s has no output %q (it has %s): %w", key, ref.Path, target, ref.Output(),
						strings.Join(nodes[target].kind.outputs(), ", "), engine.ErrUnresolved)
				}
				n.after = append(n.after, target)
			} else if _, ok := known[target]; !ok {
				return nil, fmt.Errorf("%s: %s refers to %s, which does not exist: %w", key, ref.Path, target, engine.ErrUnresolved)
			}
		}
		for _, need := range n.kind.needs(n.resource) {
			if target, ok := byNaturalKey[need]; ok && target != key {
				n.after = append(n.after, target)
			}
		}
		sort.Slice(n.after, func(i, j int) bool { return n.after[i].String() < n.after[j].String() })
		n.after = slices.Compact(n.after)
	}
	return sorted(nodes)
}

func invalid(key engine.Key, path, message string) error {
	return &engine.InvalidError{Problems: []engine.ResourceProblem{{Key: key, Problem: v1.Problem{Path: path, Message: message}}}}
}

// sorted is Kahn's algorithm.
func sorted(nodes map[engine.Key]*node) ([]node, error) {
	waiting := map[engine.Key]int{}
	followers := map[engine.Key][]engine.Key{}
	var free []engine.Key
	for key, n := range nodes {
		waiting[key] = len(n.after)
		for _, before := range n.after {
			followers[before] = append(followers[before], key)
		}
		if len(n.after) == 0 {
			free = append(free, key)
		}
	}
	less := func(a, b engine.Key) int {
		if d := nodes[a].kind.rank() - nodes[b].kind.rank(); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	}
	var out []node
	for len(free) > 0 {
		slices.SortFunc(free, less)
		key := free[0]
		free = free[1:]
		out = append(out, *nodes[key])
		for _, f := range followers[key] {
			if waiting[f]--; waiting[f] == 0 {
				free = append(free, f)
			}
		}
	}
	if len(out) == len(nodes) {
		return out, nil
	}
	return nil, fmt.Errorf("%s: %w", circle(nodes, waiting), engine.ErrCycle)
}

// circle names the resources of one circle, in order.
func circle(nodes map[engine.Key]*node, waiting map[engine.Key]int) string {
	var stuck []engine.Key
	for key, n := range waiting {
		if n > 0 {
			stuck = append(stuck, key)
		}
	}
	slices.SortFunc(stuck, func(a, b engine.Key) int { return strings.Compare(a.String(), b.String()) })
	// Whoever is stuck waits for another that is stuck: following that leads into the
	// circle and around it.
	path := []engine.Key{stuck[0]}
	for {
		var next engine.Key
		for _, before := range nodes[path[len(path)-1]].after {
			if waiting[before] > 0 {
				next = before
				break
			}
		}
		if i := slices.Index(path, next); i >= 0 {
			path = append(path[i:], next)
			break
		}
		path = append(path, next)
	}
	names := make([]string, len(path))
	for i, key := range path {
		names[i] = key.String()
	}
	return strings.Join(names, " → ")
}

// naturalKey is what identifies the resource's object in Auth0, as far as the
// resource alone says so. A tenant has none here: several resources may share
// one, as long as they do not set the same field (check).
func naturalKey(r v1.Resource) (need, bool) {
	switch spec := r.Spec.(type) {
	case *v1.Auth0ResourceServerSpec:
		return need{r.Kind, spec.Identifier}, true
	case *v1.Auth0RoleSpec:
		return need{r.Kind, roleName(r)}, true
	case *v1.Auth0UserSpec:
		return need{r.Kind, spec.Connection + " " + strings.ToLower(spec.Email)}, true
	case *v1.Auth0ConnectionSpec, *v1.Auth0ClientSpec, *v1.Auth0ActionSpec:
		return need{r.Kind, r.Metadata.Name}, true
	}
	return need{}, false
}
