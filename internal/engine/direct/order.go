package direct

import (
	"container/heap"
	"fmt"
	"slices"
	"sort"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

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
				if !slices.Contains(outputsOf(target.Kind), ref.Output()) {
					return nil, fmt.Errorf("%s: %s: %s has no output %q (it has %s): %w", key, ref.Path, target, ref.Output(),
						strings.Join(outputsOf(target.Kind), ", "), engine.ErrUnresolved)
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
	queue := &ready{nodes: nodes}
	for _, key := range free {
		heap.Push(queue, key)
	}
	var out []node
	for queue.Len() > 0 {
		key, _ := heap.Pop(queue).(engine.Key)
		out = append(out, *nodes[key])
		for _, f := range followers[key] {
			if waiting[f]--; waiting[f] == 0 {
				heap.Push(queue, f)
			}
		}
	}
	if len(out) == len(nodes) {
		return out, nil
	}
	return nil, fmt.Errorf("%s: %w", circle(nodes, waiting), engine.ErrCycle)
}

// ready is a heap of what waits for nothing: lower ranks first, then names.
type ready struct {
	nodes map[engine.Key]*node
	keys  []engine.Key
}

func (r *ready) Len() int      { return len(r.keys) }
func (r *ready) Swap(i, j int) { r.keys[i], r.keys[j] = r.keys[j], r.keys[i] }
func (r *ready) Push(x any)    { r.keys = append(r.keys, x.(engine.Key)) }
func (r *ready) Pop() any {
	last := r.keys[len(r.keys)-1]
	r.keys = r.keys[:len(r.keys)-1]
	return last
}
func (r *ready) Less(i, j int) bool {
	a, b := r.keys[i], r.keys[j]
	if d := r.nodes[a].kind.rank() - r.nodes[b].kind.rank(); d != 0 {
		return d < 0
	}
	return a.Name < b.Name
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
	case *v1.Auth0ConnectionSpec, *v1.Auth0ClientSpec, *v1.Auth0ActionSpec, *v1.Auth0EventStreamSpec:
		return need{r.Kind, r.Metadata.Name}, true
	}
	return need{}, false
}
