package enginetest

import (
	"slices"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// owner plans and applies as a stack does: it keeps an inventory of what its
// steps have made or taken over.
type owner struct {
	*bench
	objects map[engine.Key]engine.Owned
}

func (b *bench) owner() *owner { return &owner{bench: b, objects: map[engine.Key]engine.Owned{}} }

func (o *owner) inventory() []engine.Owned {
	var out []engine.Owned
	for _, owned := range o.objects {
		out = append(out, owned)
	}
	slices.SortFunc(out, func(a, b engine.Owned) int { return compare(a.Key, b.Key) })
	return travel(o, out)
}

func compare(a, b engine.Key) int {
	if a.String() < b.String() {
		return -1
	}
	return 1
}

// planned plans resources, and the end of the keys.
func (o *owner) planned(del []engine.Key, resources ...v1.Resource) (*engine.Plan, error) {
	p, err := o.engine.Plan(o.Context(), travel(o, engine.Request{Tenant: o.target.Domain, Stack: "suite", Resources: resources, Inventory: o.inventory(), Delete: del}))
	if err != nil {
		return nil, err
	}
	done := map[engine.Key]bool{}
	for _, s := range p.Steps {
		for _, after := range s.After {
			require.True(o, done[after], "%s comes before %s, which it waits for", s.Key, after)
		}
		done[s.Key] = true
		require.NotEmpty(o, s.Reason)
	}
	return travel(o, p), nil
}

func (o *owner) plan(del []engine.Key, resources ...v1.Resource) *engine.Plan {
	o.Helper()
	p, err := o.planned(del, resources...)
	require.NoError(o, err)
	return p
}

// outputs of all that the stack owns.
func (o *owner) outputs() map[engine.Key]engine.Outputs {
	out := map[engine.Key]engine.Outputs{}
	for key, owned := range o.objects {
		out[key] = owned.Outputs
	}
	return out
}

// do applies one step and records what came of it.
func (o *owner) do(s engine.Step) *engine.Result {
	o.Helper()
	res, err := o.engine.Apply(o.Context(), o.request(s, o.outputs()))
	require.NoError(o, err, s.Key.String())
	require.Equal(o, s.Key, res.Key)
	switch {
	case res.Action == engine.Delete || res.Action == engine.None && res.ObjectID == "":
		delete(o.objects, s.Key)
	default:
		require.NotEmpty(o, res.ObjectID, s.Key.String())
		require.NotEmpty(o, res.Observed, s.Key.String())
		o.objects[s.Key] = engine.Owned{Key: s.Key, ObjectID: res.ObjectID, Resource: s.Resource, Outputs: res.Outputs, Observed: res.Observed, Adopted: s.Action == engine.Adopt}
	}
	return res
}

// undo reverts one step. before is the inventory as it was before the run.
func (o *owner) undo(s engine.Step, before map[engine.Key]engine.Owned) *engine.Result {
	o.Helper()
	res, err := o.engine.Revert(o.Context(), o.request(s, o.outputs()))
	require.NoError(o, err, s.Key.String())
	old, had := before[s.Key]
	switch {
	case !had:
		delete(o.objects, s.Key)
	case res.Action == engine.Create:
		old.ObjectID, old.Outputs, old.Observed = res.ObjectID, res.Outputs, res.Observed
		o.objects[s.Key] = old
	default:
		o.objects[s.Key] = old
	}
	return res
}

func (o *owner) apply(p *engine.Plan) {
	o.Helper()
	for _, s := range p.Steps {
		o.do(s)
	}
}

// converge applies a plan of the resources, and checks that nothing is left to do.
func (o *owner) converge(del []engine.Key, resources ...v1.Resource) *engine.Plan {
	o.Helper()
	p := o.plan(del, resources...)
	o.apply(p)
	o.clean(resources...)
	return p
}

func (o *owner) clean(resources ...v1.Resource) {
	o.Helper()
	p := o.plan(nil, resources...)
	for _, s := range p.Steps {
		require.Equal(o, engine.None, s.Action, "%s: %s: %+v", s.Key, s.Reason, s.Changes)
		require.Empty(o, s.Drift, s.Key.String())
	}
	require.Zero(o, p.Cost.Writes)
}

func (o *owner) keys() []engine.Key {
	var keys []engine.Key
	for key := range o.objects {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compare)
	return keys
}
