package v1

import (
	"fmt"
	"slices"
	"strings"
)

// references checks what the resources refer to among each other.
func (l *loader) references() {
	m := l.out
	for _, r := range m.Resources {
		l.order = m.places[keyOf(r)].source
		for _, ref := range r.Spec.References() {
			problem, known := checkReference(m, ref)
			switch {
			case problem != "":
				l.add(m.Locate(r.Kind, r.Metadata.Name, Problem{ref.Path, problem}))
			case !known:
				l.warn(m.Locate(r.Kind, r.Metadata.Name, Problem{ref.Path,
					fmt.Sprintf("refers to %s/%s, which is not among these manifests: the stack must have it", ref.Kind, ref.Name)}))
			}
		}
	}
	for _, c := range m.cycles() {
		l.order = m.places[c.from].source
		l.add(m.Locate(c.from.kind, c.from.name, Problem{c.ref.Path, "refers in a circle: " + c.text}))
	}
}

// checkReference says what is wrong with a reference, and whether its target is
// among the manifests.
func checkReference(m *Manifests, ref Reference) (problem string, known bool) {
	known = m.has(ref.Kind, ref.Name)
	if ref.Name == "" || Outputs(ref.Kind) == nil {
		return "", true // reported with the field
	}
	if !hasOutput(ref.Kind, ref.Output()) {
		names := make([]string, 0, 16)
		for _, o := range Outputs(ref.Kind) {
			names = append(names, o.Name)
		}
		return fmt.Sprintf("reads the output %q, which %s does not have (it has %s)", ref.Output(), ref.Kind, strings.Join(names, ", ")), known
	}
	return "", known
}

// CheckReferences returns a *LoadError that lists the references whose target is
// neither among the manifests nor known to the caller, who may pass nil.
func (m *Manifests) CheckReferences(known func(kind, name string) bool) error {
	var findings []Finding
	for _, r := range m.Resources {
		for _, ref := range r.Spec.References() {
			if m.has(ref.Kind, ref.Name) || (known != nil && known(ref.Kind, ref.Name)) {
				continue
			}
			findings = append(findings, m.Locate(r.Kind, r.Metadata.Name, Problem{ref.Path,
				fmt.Sprintf("refers to %s/%s, which is neither among the manifests nor in the stack", ref.Kind, ref.Name)}))
		}
	}
	if len(findings) == 0 {
		return nil
	}
	return &LoadError{Findings: findings}
}

// has reports whether the manifests hold a resource, or one that makes it.
func (m *Manifests) has(kind, name string) bool {
	key := resourceKey{kind, name}
	if _, ok := m.places[key]; ok {
		return true
	}
	_, ok := m.made[key]
	return ok
}

// makers says which resource makes an object that is not written down.
func makers(resources []Resource) map[resourceKey]resourceKey {
	out := map[resourceKey]resourceKey{}
	for _, r := range resources {
		for _, key := range makes(r) {
			out[key] = keyOf(r)
		}
	}
	return out
}

// cycle is a circle of references, told from the reference that closes it.
type cycle struct {
	from resourceKey
	ref  Reference
	text string
}

// cycles finds a circle for each resource from which a walk in the order of the
// manifests comes back to where it has been.
func (m *Manifests) cycles() []cycle {
	specs := map[resourceKey]Spec{}
	for _, r := range m.Resources {
		specs[keyOf(r)] = r.Spec
	}
	const (
		walking = 1
		done    = 2
	)
	var found []cycle
	state := map[resourceKey]int{}
	type frame struct {
		key  resourceKey
		refs []Reference
	}
	for _, r := range m.Resources {
		if state[keyOf(r)] != 0 {
			continue
		}
		// A stack of our own: chains of references may be as long as there are
		// resources.
		stack := []frame{{keyOf(r), r.Spec.References()}}
		state[keyOf(r)] = walking
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if len(top.refs) == 0 {
				state[top.key] = done
				stack = stack[:len(stack)-1]
				continue
			}
			ref := top.refs[0]
			top.refs = top.refs[1:]
			next := resourceKey{ref.Kind, ref.Name}
			if maker, ok := m.made[next]; ok && specs[next] == nil {
				next = maker
			}
			spec := specs[next]
			switch {
			case spec == nil || state[next] == done:
			case state[next] == walking:
				begin := slices.IndexFunc(stack, func(f frame) bool { return f.key == next })
				names := make([]string, 0, len(stack)-begin+1)
				for _, f := range stack[begin:] {
					names = append(names, f.key.String())
				}
				found = append(found, cycle{top.key, ref, strings.Join(append(names, next.String()), " → ")})
			default:
				state[next] = walking
				stack = append(stack, frame{next, spec.References()})
			}
		}
	}
	return found
}

// suggest returns " (did you mean X?)" for the candidate that is closest to a
// misspelt word, if one is close.
func suggest(word string, candidates []string) string {
	fold := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	best, bestDistance := "", 3
	for _, c := range candidates {
		if d := distance(fold(word), fold(c)); d < bestDistance && d*2 < len(word) {
			best, bestDistance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance is how many letters must be added, taken away or changed (Levenshtein),
// 99 for words that are far too long to be a slip.
func distance(a, b string) int {
	if len(a) > 80 || len(b) > 80 {
		return 99
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
