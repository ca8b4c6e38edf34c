package direct

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/tenonhq/tenon/internal/engine"
)

// fields is a JSON object: map[string]any, []any, string, float64, bool, nil.
// Two of them tell what a resource wants and what the tenant has; a key that is
// absent from the wanted one is not managed.
type fields = map[string]any

// toFields turns a struct into fields by its JSON form.
func toFields(v any) (fields, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var f fields
	return f, json.Unmarshal(data, &f)
}

// clone copies a tree.
func clone(v any) any {
	switch v := v.(type) {
	case fields:
		out := make(fields, len(v))
		for k, x := range v {
			out[k] = clone(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = clone(x)
		}
		return out
	}
	return v
}

// empty holds for the values that Auth0 does not tell apart from an absent
// field. An explicit false or 0 is not among them.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case fields:
		return len(v) == 0
	}
	return false
}

// same compares a live value with a wanted one; of an object only what is
// wanted counts.
func same(live, want any) bool {
	if w, ok := want.(fields); ok {
		l, _ := live.(fields)
		for k, x := range w {
			if !same(l[k], x) {
				return false
			}
		}
		return true
	}
	if empty(live) && empty(want) {
		return true
	}
	return reflect.DeepEqual(live, want)
}

// project reduces the live tree to the fields that want has. What the live one
// lacks is an explicit nil, so that the projection says that it was absent.
func project(live, want any) any {
	w, ok := want.(fields)
	if !ok {
		return clone(live)
	}
	l, _ := live.(fields)
	out := make(fields, len(w))
	for k, x := range w {
		out[k] = nil
		if v, has := l[k]; has {
			out[k] = project(v, x)
		}
	}
	return out
}

// differences lists the fields in which live differs from want, by path.
func differences(live, want fields) []engine.Change {
	var changes []engine.Change
	walk("", live, want, func(path string, before, after any) {
		if !same(before, after) {
			changes = append(changes, engine.Change{Path: path, Before: clone(before), After: clone(after)})
		}
	})
	return changes
}

// walk visits the leaves of want in order of their paths.
func walk(path string, live, want any, visit func(path string, live, want any)) {
	w, ok := want.(fields)
	if !ok {
		visit(path, live, want)
		return
	}
	l, _ := live.(fields)
	keys := make([]string, 0, len(w))
	for k := range w {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		at := k
		if path != "" {
			at = path + "." + k
		}
		walk(at, l[k], w[k], visit)
	}
}

// changedKeys are the top-level keys in which live differs from want, sorted.
func changedKeys(live, want fields) []string {
	var keys []string
	for k, w := range want {
		if !same(live[k], w) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	return keys
}

// underway reports whether live is explained by this step alone: every field is
// as it was before, or as it should be. Anything else was changed by somebody
// else. The members of a collection may be anywhere in between, since they are
// added and removed by several calls; of transient fields nothing is expected.
func underway(k kind, before, live, want fields) (path string, ok bool) {
	ok = true
	walk("", live, want, func(at string, l, w any) {
		if !ok || same(l, w) {
			return
		}
		b := valueAt(before, at)
		if same(l, b) || slices.Contains(k.transient(), at) || (slices.Contains(k.collections(), at) && between(b, l, w)) {
			return
		}
		path, ok = at, false
	})
	return path, ok
}

// valueAt reads a dotted path. Keys of maps that hold dots are tried whole.
func valueAt(tree any, path string) any {
	f, ok := tree.(fields)
	if !ok {
		return nil
	}
	if v, ok := f[path]; ok {
		return v
	}
	for i := range path {
		if path[i] == '.' {
			if v, ok := f[path[:i]]; ok {
				if x := valueAt(v, path[i+1:]); x != nil {
					return x
				}
			}
		}
	}
	return nil
}

// between reports whether live holds nothing but members of before and want,
// and all that both have.
func between(before, live, want any) bool {
	b, l, w := members(before), members(live), members(want)
	for m := range l {
		if !b[m] && !w[m] {
			return false
		}
	}
	for m := range b {
		if w[m] && !l[m] {
			return false
		}
	}
	return true
}

func members(v any) map[string]bool {
	set := map[string]bool{}
	list, _ := v.([]any)
	for _, x := range list {
		set[canonical(x)] = true
	}
	return set
}

func canonical(v any) string {
	data, err := json.Marshal(v)
	if err != nil { // a JSON tree always encodes
		return fmt.Sprint(v)
	}
	return string(data)
}

// added lists what is in after and not in before.
func added(before, after any) []any {
	return minus(after, before)
}

// minus lists the members of a that b lacks, in a's order.
func minus(a, b any) []any {
	have := members(b)
	list, _ := a.([]any)
	var out []any
	for _, x := range list {
		if !have[canonical(x)] {
			out = append(out, x)
		}
	}
	return out
}

// sortSet brings a list whose order means nothing into one order.
func sortSet(v any) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	out := slices.Clone(list)
	sort.SliceStable(out, func(i, j int) bool { return canonical(out[i]) < canonical(out[j]) })
	return out
}

// sortSets does so for the named fields, nested ones by dotted path.
func sortSets(f fields, paths ...string) {
	for _, path := range paths {
		parent, key := f, path
		for {
			head, rest, nested := strings.Cut(key, ".")
			if !nested {
				break
			}
			child, ok := parent[head].(fields)
			if !ok {
				parent = nil
				break
			}
			parent, key = child, rest
		}
		if v, ok := parent[key]; ok {
			parent[key] = sortSet(v)
		}
	}
}

// merge lays over onto base, object by object. Neither is changed.
func merge(base, over any) any {
	o, ok := over.(fields)
	if !ok {
		return clone(over)
	}
	b, _ := base.(fields)
	out := make(fields, len(b)+len(o))
	for k, v := range b {
		out[k] = clone(v)
	}
	for k, v := range o {
		out[k] = merge(out[k], v)
	}
	return out
}

// dropEmpty removes "" from the named fields: in manifests of other tools an
// empty choice means none was made.
func dropEmpty(f fields, keys ...string) {
	for _, k := range keys {
		if f[k] == "" {
			delete(f, k)
		}
	}
}

// setDefault fills in what Auth0 leaves out of an answer where that means value.
func setDefault(f fields, key string, value any) {
	if v, ok := f[key]; !ok || v == nil {
		f[key] = value
	}
}

func text(v any) string { s, _ := v.(string); return s }

func object(v any) fields { f, _ := v.(fields); return f }

func list(v any) []any { l, _ := v.([]any); return l }

func strs(v any) []string {
	var out []string
	for _, x := range list(v) {
		out = append(out, text(x))
	}
	return out
}

func anys[T any](values []T) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}
