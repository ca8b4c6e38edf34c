package auth0sim

import (
	"net/http"
	"slices"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

const (
	experiments = "experimentation/experiments"
	flags       = "experimentation/feature-flags"
	segments    = "experimentation/segments"
	variations  = "experimentation/feature-flags/variations"
)

var (
	experimentMissing = notFound("", "Experiment not found.")
	flagMissing       = notFound("", "Feature flag not found.")
	badTransition     = refuse(http.StatusBadRequest, "", "Status transition is not allowed.")
)

// experimentFamilies are experiments on sign-in flows: a feature flag has
// variations, an experiment allocates users to them.
func experimentFamilies() []*family {
	page := func(wrap string) listing { return listing{wrap: wrap, checkpoint: true, always: true} }
	inUse := func(what string, refers func(experiment, d doc) bool) func(*call, doc) error {
		return func(c *call, d doc) error {
			used := false
			err := c.Scan(experiments, func(e doc) (bool, error) {
				used = str(e, "status") != "archived" && refers(e, d)
				return !used, nil
			})
			if err == nil && used {
				err = conflict("", what)
			}
			return err
		}
	}
	allocates := func(member string) func(e, d doc) bool {
		return func(e, d doc) bool {
			return slices.ContainsFunc(list(e, "allocations"), func(a any) bool { o, _ := a.(doc); return str(o, member) == str(d, "id") })
		}
	}
	return []*family{
		{path: "/" + experiments, kind: "exp", list: page("experiments"), stamped: true, missing: experimentMissing, idempotentDelete: true,
			defaults: `{"status": "draft"}`, unique: "name", clash: conflict("", "An experiment with this name already exists."),
			filters: []string{"status", "feature_flag_id", "authentication_flow"}, prepare: checkExperiment,
			change: func(c *call, old, d, patch doc) error {
				if _, moved := patch["allocations"]; moved && str(old, "status") == "active" {
					return refuse(http.StatusBadRequest, "", "Allocations cannot be modified while the experiment is active.")
				}
				return checkExperiment(c, d)
			},
			gone: func(_ *call, d doc) error {
				if str(d, "status") == "active" {
					return refuse(http.StatusBadRequest, "", "Active experiments cannot be deleted. Pause or complete the experiment first.")
				}
				return nil
			}},
		{path: "/" + segments, kind: "seg", list: page("segments"), filters: []string{"type"}, stamped: true, missing: notFound("", "Segment not found."), idempotentDelete: true,
			unique: "name", clash: conflict("", "A segment with this name already exists."),
			gone: inUse("Segment is in use by one or more non-archived experiment allocations.", allocates("segment_id"))},
		{path: "/" + flags, kind: "flg", list: page("feature_flags"), stamped: true, missing: flagMissing, idempotentDelete: true,
			defaults: `{"status": "draft", "type": "self"}`, unique: "name", clash: conflict("", "A feature flag with this name already exists."),
			filters: []string{"status", "type"},
			gone: func(c *call, d doc) error {
				used := inUse("Feature flag is in use by one or more non-archived experiments and cannot be deleted.",
					func(e, d doc) bool { return str(e, "feature_flag_id") == str(d, "id") })
				if err := used(c, d); err != nil {
					return err
				}
				_, err := c.DeleteWhere(variations, "feature_flag_id", str(d, "id"))
				return err
			}},
		{path: "/" + flags + "/{}/variations", store: variations, kind: "var", parent: flags, parentField: "feature_flag_id", parentGone: flagMissing,
			list: page("variations"), stamped: true, missing: notFound("", "Variation not found."), idempotentDelete: true,
			prepare: checkVariation, change: func(c *call, _, d, _ doc) error { return checkVariation(c, d) },
			gone: inUse("Variation is in use by one or more non-archived allocations and cannot be deleted.", allocates("variation_id"))},
	}
}

// checkVariation keeps names apart within a flag.
func checkVariation(c *call, d doc) error {
	others, err := c.Find(variations, "feature_flag_id", str(d, "feature_flag_id"))
	for _, o := range others {
		if str(o, "name") == str(d, "name") && str(o, "id") != str(d, "id") {
			return conflict("", "A variation with this name already exists on this feature flag.")
		}
	}
	return err
}

// checkExperiment refuses references to what is not there, and notes whether
// the experiment could be started.
func checkExperiment(c *call, d doc) error {
	if err := c.needs(flags, str(d, "feature_flag_id"), flagMissing); err != nil {
		return err
	}
	if len(list(d, "allocations")) > 20 {
		return refuse(http.StatusBadRequest, "", "Experiments may have at most 20 allocations.")
	}
	for _, e := range list(d, "allocations") {
		a, _ := e.(doc)
		v, found, err := c.Get(variations, str(a, "variation_id"))
		if err != nil {
			return err
		}
		if !found || str(v, "feature_flag_id") != str(d, "feature_flag_id") {
			return refuse(http.StatusBadRequest, "", "Variation does not belong to the referenced feature flag.")
		}
		if id := str(a, "segment_id"); id != "" {
			if err := c.needs(segments, id, refuse(http.StatusBadRequest, "", "Segment not found.")); err != nil {
				return err
			}
		}
	}
	faults, err := experimentFaults(c, d)
	d["is_valid"] = len(faults) == 0
	return err
}

// experimentFaults lists what keeps an experiment from being started.
func experimentFaults(c *call, d doc) ([]any, error) {
	out := []any{}
	fault := func(code, message string) { out = append(out, doc{"code": code, "message": message}) }
	flag, _, err := c.Get(flags, str(d, "feature_flag_id"))
	if err != nil {
		return nil, err
	}
	if str(flag, "status") != "active" {
		fault("feature_flag_not_active", "The feature flag must be active.")
	}
	controls, weight := 0, 0.0
	for _, e := range list(d, "allocations") {
		a, _ := e.(doc)
		if boolean(a, "is_control") {
			controls++
		}
		w, _ := a["weight"].(float64)
		weight += w
	}
	if controls != 1 {
		fault("control_required", "Exactly one allocation must be the control.")
	}
	if str(d, "allocation_strategy") == "percentage" && weight != 100 {
		fault("weights_not_100", "The weights of the allocations must add up to 100.")
	}
	return out, nil
}

func experimentHandlers() map[string]handler {
	byPath := map[string]*family{}
	for _, f := range experimentFamilies() {
		f.fill()
		byPath[f.store] = f
	}
	// move changes the status along the arrows that are allowed.
	move := func(f *family, arrows map[string][]string, ready func(*call, doc, string) error) handler {
		return func(c *call) (answer, error) {
			d, err := f.get(c)
			if err != nil {
				return answer{}, err
			}
			to := str(c.object(), "status")
			if str(d, "status") == "completed" && to == "active" {
				return answer{}, refuse(http.StatusBadRequest, "", "Completed experiments cannot be reactivated.")
			}
			if !has(arrows[str(d, "status")], to) {
				return answer{}, badTransition
			}
			if err := ready(c, d, to); err != nil {
				return answer{}, err
			}
			d["status"], d["updated_at"] = to, state.Timestamp(c.Now())
			if err := c.Put(f.store, str(d, "id"), d); err != nil {
				return answer{}, err
			}
			return f.answer(c, http.StatusOK, d)
		}
	}
	return map[string]handler{
		"POST /" + flags + "/{}/status": move(byPath[flags], map[string][]string{"draft": {"active", "archived"}, "active": {"archived"}},
			func(c *call, d doc, to string) error {
				n, err := c.Count(variations, state.ListOptions{Index: "feature_flag_id", Value: str(d, "id")})
				if err == nil && to == "active" && n < 2 {
					err = refuse(http.StatusBadRequest, "", "Feature flag must have at least 2 variations to be activated.")
				}
				return err
			}),
		"POST /" + experiments + "/{}/status": move(byPath[experiments],
			map[string][]string{"draft": {"active", "archived"}, "active": {"paused", "completed"}, "paused": {"active", "completed", "archived"}, "completed": {"archived"}},
			func(c *call, d doc, to string) error {
				now := state.Timestamp(c.Now())
				switch to {
				case "active":
					faults, err := experimentFaults(c, d)
					if err == nil && len(faults) > 0 {
						err = refuse(http.StatusBadRequest, "", "Experiment cannot be activated: validation failed.")
					}
					fillGaps(d, doc{"started_at": now})
					return err
				case "completed":
					d["ended_at"] = now
				}
				return nil
			}),
		"POST /" + experiments + "/{}/validate": func(c *call) (answer, error) {
			d, err := byPath[experiments].get(c)
			if err != nil {
				return answer{}, err
			}
			faults, err := experimentFaults(c, d)
			return answer{status: http.StatusOK, body: doc{"is_valid": len(faults) == 0, "errors": faults}}, err
		},
	}
}
