package direct

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// protectionAnnotation keeps an object from being deleted or replaced.
const protectionAnnotation = "tenon.dev/deletion-protection"

func protected(r v1.Resource) bool { return r.Metadata.Annotations[protectionAnnotation] == "true" }

func protection(key engine.Key, what string) engine.ResourceProblem {
	return engine.ResourceProblem{Key: key, Problem: v1.Problem{Path: "metadata.annotations." + protectionAnnotation,
		Message: what + ", and it is protected from deletion: take the annotation away and apply that first"}}
}

// deletions orders what is to go: whatever referred to an object, by the records
// of what was last applied, goes or is changed before it.
func (p *planning) deletions(keys []engine.Key, nodes []node, inventory map[engine.Key]*engine.Owned) ([]node, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	kept := map[engine.Key]bool{}
	for _, n := range nodes {
		kept[engine.KeyOf(n.resource)] = true
	}
	going := map[engine.Key]*node{}
	for _, key := range keys {
		owned := inventory[key]
		switch {
		case owned == nil:
			p.invalid.Problems = append(p.invalid.Problems, engine.ResourceProblem{Key: key, Problem: v1.Problem{Path: "metadata.name", Message: "is to be deleted, and is not in the inventory"}})
			continue
		case kept[key]:
			p.invalid.Problems = append(p.invalid.Problems, engine.ResourceProblem{Key: key, Problem: v1.Problem{Path: "metadata.name", Message: "is to be deleted, and is among the resources"}})
			continue
		case kindOf(key.Kind) == nil:
			p.invalid.Problems = append(p.invalid.Problems, engine.ResourceProblem{Key: key, Problem: v1.Problem{Path: "kind", Message: "the direct engine does not have it"}})
			continue
		case protected(owned.Resource):
			p.invalid.Problems = append(p.invalid.Problems, protection(key, "it would be deleted"))
			continue
		}
		going[key] = &node{resource: owned.Resource, kind: kindOf(key.Kind)}
		for _, output := range []string{"client_id", "id"} {
			if id := owned.Outputs[output]; id != "" && (key.Kind == v1.KindClient || key.Kind == v1.KindRole) {
				p.moved[id] = reference{key, output}
			}
		}
	}
	for _, n := range nodes {
		for _, ref := range n.resource.Spec.References() {
			if target := (engine.Key{Kind: ref.Kind, Name: ref.Name}); going[target] != nil {
				p.invalid.Problems = append(p.invalid.Problems, engine.ResourceProblem{Key: engine.KeyOf(n.resource), Problem: v1.Problem{Path: ref.Path, Message: "refers to " + target.String() + ", which is to be deleted"}})
			}
		}
	}
	if len(p.invalid.Problems) > 0 {
		return nil, &p.invalid
	}
	byNaturalKey := map[need]engine.Key{}
	for key, owned := range inventory {
		if n, ok := naturalKey(owned.Resource); ok {
			byNaturalKey[n] = key
		}
	}
	for key, owned := range inventory {
		if going[key] == nil && !kept[key] {
			continue // not part of this plan
		}
		for _, target := range dependencies(owned.Resource, byNaturalKey) {
			if n := going[target]; n != nil && target != key {
				n.after = append(n.after, key)
			}
		}
	}
	for _, n := range going {
		slices.SortFunc(n.after, compareKeys)
		n.after = slices.Compact(n.after)
	}
	return backwards(going), nil
}

func compareKeys(a, b engine.Key) int { return strings.Compare(a.String(), b.String()) }

// dependencies are the resources that one refers to or names.
func dependencies(r v1.Resource, byNaturalKey map[need]engine.Key) []engine.Key {
	var out []engine.Key
	if r.Spec == nil {
		return nil
	}
	for _, ref := range r.Spec.References() {
		out = append(out, engine.Key{Kind: ref.Kind, Name: ref.Name})
	}
	if k := kindOf(r.Kind); k != nil {
		for _, n := range k.needs(r) {
			if key, ok := byNaturalKey[n]; ok {
				out = append(out, key)
			}
		}
	}
	return out
}

// backwards sorts what is to go: dependents first, then by rank from the top, then
// by name. Records of different times can contradict each other; where they go in
// a circle the rank decides.
func backwards(going map[engine.Key]*node) []node {
	left := make([]engine.Key, 0, len(going))
	for key := range going {
		left = append(left, key)
	}
	slices.SortFunc(left, func(a, b engine.Key) int {
		if d := going[b].kind.rank() - going[a].kind.rank(); d != 0 {
			return d
		}
		return compareKeys(a, b)
	})
	var out []node
	done := map[engine.Key]bool{}
	for len(left) > 0 {
		var rest []engine.Key
		before := len(out)
		for _, key := range left {
			n := going[key]
			if slices.ContainsFunc(n.after, func(k engine.Key) bool { return going[k] != nil && !done[k] }) {
				rest = append(rest, key)
				continue
			}
			done[key] = true
			out = append(out, *n)
		}
		if len(out) == before {
			n := *going[rest[0]]
			n.after = slices.DeleteFunc(slices.Clone(n.after), func(k engine.Key) bool { return going[k] != nil && !done[k] })
			done[rest[0]], out, rest = true, append(out, n), rest[1:]
		}
		left = rest
	}
	return out
}

// deletion plans the end of one object.
func (p *planning) deletion(ctx context.Context, s *session, n node) (*engine.Step, error) {
	key := engine.KeyOf(n.resource)
	owned := s.inventory[key]
	step := &engine.Step{Key: key, Action: engine.None, Resource: n.resource, After: n.after}
	if _, singleton := n.kind.(tenantKind); singleton {
		step.Reason = "a tenant stays, and its settings stay as they are"
		return step, nil
	}
	if other, taken := p.claimed[key.Kind+"/"+owned.ObjectID]; taken {
		step.Reason = other.String() + " takes it over"
		return step, nil
	}
	raw, err := n.kind.read(ctx, s, owned.ObjectID)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		step.Reason = "it is gone already"
		return step, nil
	}
	all, err := s.everything(ctx, n.kind, n.resource, raw)
	if err != nil {
		return nil, err
	}
	if step.Before, err = json.Marshal(encodeIDs(all, p.moved)); err != nil {
		return nil, fmt.Errorf("record the live object: %w", err)
	}
	step.Action, step.Reason, step.ObjectID = engine.Delete, "it is not wanted any more", owned.ObjectID
	step.Risks = risks(n.kind, step)
	return step, nil
}

// reference is an output of a resource.
type reference struct {
	key    engine.Key
	output string
}

// encodeIDs writes ids of objects that are to be deleted as references, so that
// what is put back refers to the objects that are made in their place.
func encodeIDs(v any, moved map[string]reference) any {
	if len(moved) == 0 {
		return v
	}
	switch v := v.(type) {
	case fields:
		out := make(fields, len(v))
		for k, x := range v {
			out[k] = encodeIDs(x, moved)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = encodeIDs(x, moved)
		}
		return out
	case string:
		if ref, ok := moved[v]; ok {
			return fields{idKey: v, "resource": ref.key.String(), "output": ref.output}
		}
	}
	return v
}

// idKey begins with what no field of a spec does.
const idKey = "$id"

// decodeIDs is the inverse, with the ids that outputs have now. What a list refers
// to and is not back yet is left out if missing is set: it will bring the relation
// along when it is made anew.
func decodeIDs(v any, outputs map[engine.Key]engine.Outputs, missing bool) any {
	switch v := v.(type) {
	case fields:
		if _, ok := v[idKey]; ok {
			if id, back := idOf(v, outputs); back {
				return id
			}
			return v[idKey]
		}
		for k, x := range v {
			v[k] = decodeIDs(x, outputs, missing)
		}
	case []any:
		out, refers := make([]any, 0, len(v)), false
		for _, x := range v {
			if ref, ok := x.(fields); ok && ref[idKey] != nil {
				refers = true
				if _, back := idOf(ref, outputs); missing && !back {
					continue
				}
			}
			out = append(out, decodeIDs(x, outputs, missing))
		}
		if refers {
			return sortSet(out) // lists of ids are sets, in the order of the new ids
		}
		return out
	}
	return v
}

// idOf is the id that an encoded reference has now; back says whether the object
// has been made anew.
func idOf(ref fields, outputs map[engine.Key]engine.Outputs) (id string, back bool) {
	var key engine.Key
	if err := key.UnmarshalText([]byte(text(ref["resource"]))); err != nil {
		return "", false
	}
	id = outputs[key][text(ref["output"])]
	return id, id != "" && id != ref[idKey]
}
