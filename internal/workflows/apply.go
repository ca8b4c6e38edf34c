package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// maxPlans is how often a run plans before it gives up on a tenant that keeps
// changing under it.
const maxPlans = 3

// Object is one Auth0 object of a result.
type Object struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Action is what was done: create, update, adopt or none.
	Action string `json:"action"`
	// ID is Auth0's identifier.
	ID string `json:"id,omitempty"`
}

// PlanRequest is the input of the activity PlanResources.
type PlanRequest struct {
	// Engine is its name in Activities.Engines.
	Engine  string         `json:"engine"`
	Request engine.Request `json:"request"`
}

// StepRequest is the input of the activities ApplyStep and RevertStep.
type StepRequest struct {
	Engine  string              `json:"engine"`
	Request engine.ApplyRequest `json:"request"`
}

// applier makes resources real, step by step, for one run.
type applier struct {
	*saga
	engine string
	run    string
	// results by key, and keys in the order in which steps ended.
	results map[engine.Key]engine.Result
	order   []engine.Key
	titles  map[engine.Key]string
	// alias names the progress step of a resource that has one already, from an
	// earlier plan of the run. Defaults to the key.
	alias map[engine.Key]string
	// keep are kinds whose steps are not undone.
	keep map[string]bool
	// check, if not nil, may refuse a plan before anything of it is done.
	check func(*engine.Plan) error
}

// stepName is the name of a resource's progress step.
func (a *applier) stepName(key engine.Key) string {
	if name := a.alias[key]; name != "" {
		return name
	}
	return key.String()
}

func (s *saga) applier(ctx workflow.Context, engineName string) *applier {
	info := workflow.GetInfo(ctx)
	// The original run's id, so that a run that was reset recognises its objects.
	run := info.OriginalRunID
	if run == "" {
		run = info.WorkflowExecution.RunID
	}
	return &applier{saga: s, engine: engineName, run: run, results: map[engine.Key]engine.Result{}, titles: map[engine.Key]string{}}
}

// announce makes the parts' steps known before planning.
func (a *applier) announce(parts []part) {
	for _, p := range parts {
		key := engine.KeyOf(p.resource)
		a.titles[key] = p.title
		a.add(a.stepName(key), p.title)
	}
}

// apply makes the parts real: the required ones under one plan, each optional
// one under its own beside it.
func (a *applier) apply(ctx workflow.Context, parts []part) error {
	a.announce(parts)
	var required []v1.Resource
	wait := workflow.NewWaitGroup(ctx)
	var optionalErr error
	for _, p := range parts {
		if !p.optional {
			required = append(required, p.resource)
			continue
		}
		wait.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer wait.Done()
			if err := a.applyOptional(ctx, p); err != nil && optionalErr == nil {
				optionalErr = err
			}
		})
	}
	err := a.applyGroup(ctx, required)
	wait.Wait(ctx)
	if err == nil {
		err = optionalErr
	}
	return err
}

// applyOptional turns "not in your subscription" into a warning.
func (a *applier) applyOptional(ctx workflow.Context, p part) error {
	err := a.applyGroup(ctx, []v1.Resource{p.resource})
	if err == nil || ErrorType(err) != ErrorEntitlement {
		return err
	}
	name := a.stepName(engine.KeyOf(p.resource))
	if a.failed == name {
		a.failed = ""
	}
	a.end(ctx, name, StepSkipped, "", cause(err))
	a.Warnings = append(a.Warnings, p.title+" is left as it was: "+cause(err))
	return nil
}

// applyGroup plans and applies resources together. If the tenant has changed
// since the plan, it plans again from what is there now.
func (a *applier) applyGroup(ctx workflow.Context, resources []v1.Resource) error {
	if len(resources) == 0 {
		return nil
	}
	for attempt := 1; ; attempt++ {
		plan, err := a.plan(ctx, resources)
		if err != nil {
			return err
		}
		step, err := a.applyPlan(ctx, plan)
		if err == nil {
			return nil
		}
		if ErrorType(err) != ErrorStalePlan || attempt == maxPlans {
			return a.fail(ctx, step, err)
		}
	}
}

func (a *applier) plan(ctx workflow.Context, resources []v1.Resource) (*engine.Plan, error) {
	known := make(map[engine.Key]engine.Outputs, len(a.order))
	for _, key := range a.order {
		known[key] = a.results[key].Outputs
	}
	pctx := workflow.WithActivityOptions(ctx, options(activityPlanResources, fmt.Sprintf("Plan %d resources", len(resources))))
	var plan engine.Plan
	err := workflow.ExecuteActivity(pctx, activityPlanResources, PlanRequest{
		Engine:  a.engine,
		Request: engine.Request{Tenant: a.Tenant, Resources: resources, Known: known},
	}).Get(pctx, &plan)
	if err != nil {
		// A plan's failure is that of its first resource, which the reader knows.
		return nil, a.fail(ctx, a.stepName(engine.KeyOf(resources[0])), err)
	}
	if a.check != nil {
		if err := a.check(&plan); err != nil {
			return nil, a.fail(ctx, a.stepName(engine.KeyOf(resources[0])), err)
		}
	}
	return &plan, nil
}

// applyPlan runs the steps of a plan, each as soon as those that it waits for
// are done. After a failure no further step is started, and those under way are
// waited for: what they do has to be undone as well.
func (a *applier) applyPlan(ctx workflow.Context, plan *engine.Plan) (failedStep string, err error) {
	waiting := map[engine.Key]bool{}
	for _, step := range plan.Steps {
		waiting[step.Key] = true
	}
	started := make([]bool, len(plan.Steps))
	running := 0
	selector := workflow.NewSelector(ctx)
	for {
		for i, step := range plan.Steps {
			if err != nil || started[i] || anyOf(waiting, step.After) {
				continue
			}
			started[i] = true
			running++
			name := a.stepName(step.Key)
			selector.AddFuture(a.startStep(ctx, step), func(f workflow.Future) {
				running--
				var result engine.Result
				if e := f.Get(ctx, &result); e != nil {
					a.end(ctx, name, StepFailed, "", cause(e))
					if err == nil {
						failedStep, err = name, e
					}
					return
				}
				delete(waiting, step.Key)
				if _, seen := a.results[step.Key]; !seen {
					a.order = append(a.order, step.Key)
				}
				a.results[step.Key] = result
				if a.keep[step.Key.Kind] && result.Action != engine.None {
					a.shared = append(a.shared, name)
				}
				a.end(ctx, name, StepDone, string(result.Action), result.ObjectID)
			})
		}
		if running == 0 {
			break
		}
		selector.Select(ctx)
	}
	if err == nil && len(waiting) > 0 {
		return a.stepName(plan.Steps[0].Key), temporal.NewNonRetryableApplicationError("the plan's steps wait for each other", ErrorInvalidInput, nil)
	}
	return failedStep, err
}

func anyOf(waiting map[engine.Key]bool, keys []engine.Key) bool {
	for _, key := range keys {
		if waiting[key] {
			return true
		}
	}
	return false
}

func (a *applier) startStep(ctx workflow.Context, step engine.Step) workflow.Future {
	name := a.stepName(step.Key)
	title := a.titles[step.Key]
	if title == "" {
		title = step.Key.Kind + " " + step.Key.Name
	}
	a.add(name, title)
	outputs := map[engine.Key]engine.Outputs{}
	for _, key := range a.order {
		outputs[key] = a.results[key].Outputs
	}
	request := StepRequest{
		Engine:  a.engine,
		Request: engine.ApplyRequest{Tenant: a.Tenant, Run: a.run, Step: step, Outputs: outputs},
	}
	if step.Action != engine.None && !a.keep[step.Key.Kind] {
		a.onFailure(undo{step: name, activity: activityRevertStep, argument: request})
	}
	a.start(ctx, name)
	actx := workflow.WithActivityOptions(ctx, options(activityApplyStep, string(step.Action)+" "+title))
	return workflow.ExecuteActivity(actx, activityApplyStep, request)
}

// output is one output of a resource that was applied.
func (a *applier) output(kind, name, output string) string {
	return a.results[engine.Key{Kind: kind, Name: name}].Outputs[output]
}

// objects lists what was applied, in the order in which it was done.
func (a *applier) objects() []Object {
	objects := make([]Object, 0, len(a.order))
	for _, key := range a.order {
		r := a.results[key]
		objects = append(objects, Object{Kind: key.Kind, Name: key.Name, Action: string(r.Action), ID: r.ObjectID})
	}
	return objects
}
