package v1

import (
	"strings"
)

// mapping returns the pairs of a mapping with the merge keys (<<) worked in, and
// reports keys that are no text or repeat.
func (d *document) mapping(n *node, path string, depth int) []pair {
	var out []pair
	seen := map[string]*node{}
	var merged []*node
	for _, p := range n.pairs {
		key := d.resolve(p.key, path, depth)
		if key == nil {
			continue
		}
		if key.tag == "merge" {
			merged = append(merged, p.value)
			continue
		}
		if key.kind != scalarNode || key.tag == "null" || key.foreignTag() {
			d.refuse(p.key, path, "has a key that is %s, must be text", key.describe())
			continue
		}
		if before := seen[key.text]; before != nil {
			d.refuse(p.key, strings.TrimPrefix(path+"."+key.text, "."), "is given twice, first in line %d", before.line)
			continue
		}
		seen[key.text] = p.key
		out = append(out, pair{key, p.value})
	}
	for _, m := range merged {
		for _, p := range d.merge(m, path, depth+1) {
			if seen[p.key.text] == nil {
				seen[p.key.text] = p.key
				out = append(out, p)
			}
		}
	}
	return out
}

// merge returns the pairs of what a merge key holds: a mapping, or a list of
// them, of which the first that has a key wins.
func (d *document) merge(n *node, path string, depth int) []pair {
	source := n
	if n = d.resolve(n, path, depth); n == nil {
		return nil
	}
	switch n.kind {
	case mappingNode:
		return d.mapping(n, path, depth)
	case sequenceNode:
		var out []pair
		for _, item := range n.items {
			out = append(out, d.merge(item, path, depth+1)...)
		}
		return out
	}
	d.refuse(source, path, "merges %s, must be a mapping or a list of mappings", n.describe())
	return nil
}

// resolve follows an alias, within bounds: a few lines of aliases can stand for
// billions of values, and an alias can stand inside of what it stands for.
func (d *document) resolve(n *node, path string, depth int) *node {
	if n == nil {
		return nil
	}
	if depth > maxDepth {
		if !d.failed[path] {
			d.refuse(n, path, "is nested deeper than %d levels", maxDepth)
		}
		return nil
	}
	if n.kind != aliasNode {
		return n
	}
	target := n.alias
	for target != nil && target.kind == aliasNode {
		target = target.alias
	}
	switch {
	case target == nil:
		d.refuse(n, path, "is an alias of something that contains it")
		return nil
	case d.loader.expanded+target.size > maxExpanded:
		if !d.failed[path] {
			d.refuse(n, path, "is an alias, and the aliases of these files stand for more than %d values", maxExpanded)
		}
		return nil
	}
	d.loader.expanded += target.size
	return target
}
