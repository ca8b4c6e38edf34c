package direct

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tenonhq/tenon/internal/engine"
)

// observe is the record of a live object that later plans measure drift against:
// the fields that its kind's spec has, without what is absent. Long texts, such as
// the code of an action, are there by their digest.
func observe(k kind, live fields) (json.RawMessage, error) {
	data, err := json.Marshal(observed(k, live))
	if err != nil {
		return nil, fmt.Errorf("record the live object: %w", err)
	}
	return data, nil
}

func observed(k kind, live fields) fields {
	f := object(prune(shorten(project(live, k.template()))))
	withoutMarks(f)
	return f
}

// longest is how many bytes of a text are kept in a record.
const longest = 512

func shorten(v any) any {
	switch v := v.(type) {
	case fields:
		for k, x := range v {
			v[k] = shorten(x)
		}
	case []any:
		for i, x := range v {
			v[i] = shorten(x)
		}
	case string:
		if len(v) > longest {
			sum := sha256.Sum256([]byte(v))
			return "sha256:" + hex.EncodeToString(sum[:])
		}
	}
	return v
}

// prune removes what is absent, on every level, and objects that hold nothing
// else. Empty lists and texts stay.
func prune(v any) any {
	f, ok := v.(fields)
	if !ok {
		return v
	}
	for k, x := range f {
		if x = prune(x); x == nil {
			delete(f, k)
		} else {
			f[k] = x
		}
	}
	if len(f) == 0 {
		return nil
	}
	return f
}

// withoutMarks removes our own keys from metadata: they are no difference.
func withoutMarks(f fields) {
	for _, name := range []string{"client_metadata", "metadata", "app_metadata"} {
		m := object(f[name])
		for key := range m {
			if strings.HasPrefix(key, engine.MarkName) {
				delete(m, key)
			}
		}
		if m != nil && len(m) == 0 {
			delete(f, name)
		}
	}
}

// explain says who made each difference, and lists the fields that somebody
// changed and that the resource does not set.
//
// A field whose desired value is not the one that was last applied was changed in
// the manifest, whatever else happened to it. Otherwise it is the tenant's if the
// live value is not the one that was last seen, and else Auth0's own doing.
func explain(ctx context.Context, s *session, k kind, step *engine.Step, owned *engine.Owned, live *found, want fields, p *planning) error {
	if len(step.Changes) > 0 {
		before, err := s.wantedBefore(ctx, k, owned, p)
		if err != nil {
			return err
		}
		var seen fields
		if len(owned.Observed) > 0 {
			if err := json.Unmarshal(owned.Observed, &seen); err != nil {
				return fmt.Errorf("the record of the object as it was last seen cannot be read: %w", err)
			}
		}
		for i, c := range step.Changes {
			last := valueAt(seen, c.Path)
			switch {
			case c.Path == secretStored: // our own store's doing
			case isSecret(c) && len(s.resend) > 0:
				step.Changes[i].Cause = engine.Manifest
			case !has(before, c.Path) || !same(valueAt(before, c.Path), c.After):
				step.Changes[i].Cause = engine.Manifest
			case seen == nil:
			case !same(shorten(clone(c.Before)), last):
				step.Changes[i].Cause = engine.Tenant
			default:
				step.Changes[i].Cause = engine.Default
			}
		}
	}
	if len(owned.Observed) == 0 {
		return nil
	}
	var seen fields
	if err := json.Unmarshal(owned.Observed, &seen); err != nil {
		return fmt.Errorf("the record of the object as it was last seen cannot be read: %w", err)
	}
	now := observed(k, live.live)
	all := object(merge(merge(fields{}, seen), now))
	walk("", seen, all, func(path string, last, _ any) {
		head, _, _ := strings.Cut(path, ".")
		if _, read := live.live[head]; !read || has(want, path) {
			return
		}
		current := valueAt(now, path)
		if same(current, last) || same(last, current) {
			return
		}
		cause := engine.Tenant
		if last == nil && (current == false || current == 0.0) {
			cause = engine.Default
		}
		step.Drift = append(step.Drift, engine.Change{Path: path, Before: last, After: current, Cause: cause})
	})
	return nil
}

// wantedBefore is what the resource asked for when it was last applied. References
// that do not resolve any more give a value that no object has.
func (s *session) wantedBefore(ctx context.Context, k kind, owned *engine.Owned, p *planning) (fields, error) {
	reverting := s.reverting
	s.reverting = true
	defer func() { s.reverting = reverting }()
	pending := map[engine.Key]bool{}
	for _, ref := range owned.Resource.Spec.References() {
		pending[engine.Key{Kind: ref.Kind, Name: ref.Name}] = true
	}
	return k.want(ctx, s, owned.Resource, resolveFrom(owned.Key, p.outputs, pending))
}

// has says whether a tree has a value at a path, or a parent that is a leaf.
func has(tree any, path string) bool {
	f, ok := tree.(fields)
	if !ok {
		return tree != nil
	}
	if _, ok := f[path]; ok {
		return true
	}
	for i := range path {
		if path[i] == '.' {
			if v, ok := f[path[:i]]; ok && has(v, path[i+1:]) {
				return true
			}
		}
	}
	return false
}
