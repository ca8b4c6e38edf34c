// Package engine owns the contract between what a tenant should hold and the
// means that make it so.
//
//	resources ─► Plan ─► steps, as data ─► Apply, one step at a time ─► outputs
//	                                    └► Revert, the same steps backwards
//
// An Engine reads live state and returns a Plan; a Plan is data that a person
// can approve and a workflow can carry. Apply makes one step real and may be
// called again after a crash or a lost answer: it never creates a second
// object. Which calls an engine makes is its own business (engine/direct);
// order, retries and compensation are the workflows' (internal/workflows).
//
// What must always hold: no secret is in a plan, a result or an error; a plan
// of a tenant that already is as desired has only steps of action None.
package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// Engine plans and applies resources. Implementations are safe for concurrent
// use and pass the suite in engine/enginetest.
type Engine interface {
	// Plan compares the resources with the tenant and says what would change.
	// It changes nothing.
	Plan(ctx context.Context, req Request) (*Plan, error)
	// Apply makes one step real, or finds that it already is. It returns an
	// error wrapping ErrStale if the object has changed since the plan.
	Apply(ctx context.Context, req ApplyRequest) (*Result, error)
	// Revert undoes a step of the same run: it deletes what the run created,
	// and restores what the run updated or deleted. A step that was never
	// applied, or is reverted already, is no error.
	Revert(ctx context.Context, req ApplyRequest) (*Result, error)
	// Export reads a tenant and returns it as resources, such that a plan of them,
	// once its secrets are filled in, does not change the tenant: it has steps of
	// action None and, for a stack that does not own the objects, Adopt.
	Export(ctx context.Context, req ExportRequest) (*Export, error)
}

// Key names one resource: "Auth0Client/grafana".
type Key struct {
	Kind string
	Name string
}

// KeyOf returns the key of a resource.
func KeyOf(r v1.Resource) Key { return Key{r.Kind, r.Metadata.Name} }

// String returns "Kind/name".
func (k Key) String() string { return k.Kind + "/" + k.Name }

// MarshalText makes a Key usable as a JSON string and as a key of JSON objects.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (k *Key) UnmarshalText(text []byte) error {
	kind, name, ok := strings.Cut(string(text), "/")
	if !ok {
		return fmt.Errorf("resource key %q has not the form Kind/name", text)
	}
	*k = Key{kind, name}
	return nil
}

// Action is what a step does to its object.
type Action string

// The actions of a plan.
const (
	Create  Action = "create"
	Update  Action = "update"
	Replace Action = "replace"
	Delete  Action = "delete"
	Adopt   Action = "adopt"
	None    Action = "none"
)

// Risk is why a person should look twice at a step.
type Risk string

// The risks of a plan.
const (
	Destructive   Risk = "destructive"
	WidensAccess  Risk = "widens-access"
	RotatesSecret Risk = "rotates-secret"
)

// Request asks for a plan.
type Request struct {
	// Tenant is the domain of the tenant, as configured on the worker.
	Tenant string `json:"tenant"`
	// Resources is the desired state, in any order.
	Resources []v1.Resource `json:"resources"`
	// Stack names the stack that the plan is for. With it, an object that exists and
	// is not in Inventory has a step of action Adopt, of whatever kind; without it,
	// for single runs that keep no inventory, only objects of kinds that carry marks
	// and do not carry ours.
	Stack string `json:"stack,omitempty"`
	// Known holds the outputs of resources that are not among Resources and
	// that references may read.
	Known map[Key]Outputs `json:"known,omitempty"`
	// Inventory is what earlier runs of the same stack made or took over. An object
	// is looked for by its recorded id before its natural key, so that a rename in
	// Auth0 is a difference and not a second object.
	Inventory []Owned `json:"inventory,omitempty"`
	// Delete names members of Inventory that are to go; none of them is in
	// Resources. One that is gone already has a step of action None.
	Delete []Key `json:"delete,omitempty"`
}

// Owned is an object that a stack answers for.
type Owned struct {
	Key      Key    `json:"key"`
	ObjectID string `json:"objectId"`
	// Resource is the desired state that was last applied.
	Resource v1.Resource `json:"resource"`
	Outputs  Outputs     `json:"outputs,omitempty"`
	// Adopted is set if the object existed before the stack.
	Adopted bool `json:"adopted,omitempty"`
	// Observed is the live object as the last step left it, without secrets and
	// without what changes by itself: what drift is measured against. The engine
	// alone reads it.
	Observed json.RawMessage `json:"observed,omitempty"`
}

// Plan is what would change, in an order that satisfies every step's After.
type Plan struct {
	Tenant string `json:"tenant"`
	Engine string `json:"engine"`
	Steps  []Step `json:"steps"`
	// Cost is what applying the plan will ask of the tenant.
	Cost Cost `json:"cost"`
	// Hash identifies the plan: SHA-256, in hex, of its tenant, engine and steps.
	Hash string `json:"hash"`
}

// Cost is an estimate for a plan's calls.
type Cost struct {
	// Reads is how many calls the plan itself took.
	Reads int `json:"reads"`
	// Writes is how many calls its steps will take, reads before writes included.
	Writes int `json:"writes"`
	// PerSecond is the rate that the tenant's latest headers allow, as far as they
	// show it; 0 if they say nothing.
	PerSecond float64 `json:"perSecond,omitempty"`
	// Seconds is the time that Writes will take at that rate; 0 if it is not known.
	Seconds float64 `json:"seconds,omitempty"`
}

// Changes reports whether any step would change the tenant. Taking over an object
// that is as desired does not.
func (p *Plan) Changes() bool {
	return slices.ContainsFunc(p.Steps, Step.Touches)
}

// Step is one change to one object.
type Step struct {
	Key    Key    `json:"key"`
	Action Action `json:"action"`
	// Resource is the desired state, its references unresolved; for a key of
	// Request.Delete, what was last applied.
	Resource v1.Resource `json:"resource"`
	// Previous is what was last applied, for an update or a replacement of a member
	// of the inventory: Revert takes the old secrets' references from it.
	Previous *v1.Resource `json:"previous,omitempty"`
	// ObjectID is Auth0's identifier of the live object, "" when there is none, and
	// for a member of Request.Delete that is not the stack's to delete: it is gone, it
	// is a tenant, or another resource takes it over. Such a step has action None.
	ObjectID string `json:"objectId,omitempty"`
	// Changes lists the fields that differ.
	Changes []Change `json:"changes,omitempty"`
	// Drift lists fields that somebody changed in the tenant since the last apply
	// and that the resource does not set: nothing will be done about them. Fields
	// that it does set are in Changes, with their Cause.
	Drift []Change `json:"drift,omitempty"`
	// Calls is about how many calls the step will take.
	Calls int `json:"calls,omitempty"`
	// Reason says in a few words why the step is needed.
	Reason string `json:"reason"`
	// After lists the steps that must be done before.
	After []Key  `json:"after,omitempty"`
	Risks []Risk `json:"risks,omitempty"`
	// Before is the live object's managed fields at planning time, without
	// secrets: what Revert restores, and what Apply checks against. Of an object that
	// is to be deleted or replaced it has all fields that the kind knows.
	Before json.RawMessage `json:"before,omitempty"`
}

// Touches reports whether the step would change the tenant.
func (s Step) Touches() bool {
	return s.Action != None && (s.Action != Adopt || len(s.Changes) > 0)
}

// Marks by which an engine recognises its objects, as keys of their metadata
// (client_metadata, app_metadata, a connection's metadata). Manifests cannot set
// keys that begin with "tenon".
const (
	// MarkName holds the name of the resource. Clients carry it, since Auth0 lets
	// many have one name.
	MarkName = "tenon"
	// MarkRun holds the run that created the object.
	MarkRun = "tenon_run"
)

// Change is one field that differs. Secret values are never in it.
type Change struct {
	Path   string `json:"path"`
	Before any    `json:"before,omitempty"`
	After  any    `json:"after,omitempty"`
	// Cause says who made the difference; "" where there is no record to tell by.
	Cause Cause `json:"cause,omitempty"`
}

// Cause is who made a difference between the desired and the live state.
type Cause string

// The causes of a difference.
const (
	// Manifest: the desired state has changed since it was last applied.
	Manifest Cause = "manifest"
	// Tenant: somebody else has changed the live object since.
	Tenant Cause = "tenant"
	// Default: Auth0 has given the field a value of its own.
	Default Cause = "default"
)

// Outputs is what an object offers to others, by name: "client_id", "identifier".
// A secret output is a reference (secret.Ref in text form).
type Outputs map[string]string

// ApplyRequest asks for one step.
type ApplyRequest struct {
	Tenant string `json:"tenant"`
	// Run identifies the run that asks. Objects carry it where Auth0 lets them,
	// so that a retry recognises its own work and Revert deletes nothing else.
	Run  string `json:"run"`
	Step Step   `json:"step"`
	// Attempt is 1 if nobody has tried this step in this run before, which spares
	// the look for what an earlier attempt may have left. 0 means that it is not
	// known, and is always right.
	Attempt int `json:"attempt,omitempty"`
	// Fresh is set if the plan read the tenant a moment ago, which spares a first
	// attempt to delete the look whether the object has changed since.
	Fresh bool `json:"fresh,omitempty"`
	// Outputs holds what earlier steps returned: of Apply and, when reverting, of the
	// Reverts that came before, since an object that is made anew has a new id.
	Outputs map[Key]Outputs `json:"outputs,omitempty"`
}

// Result is what a step came to.
type Result struct {
	Key    Key    `json:"key"`
	Action Action `json:"action"`
	// ObjectID is Auth0's identifier of the object.
	ObjectID string  `json:"objectId,omitempty"`
	Outputs  Outputs `json:"outputs,omitempty"`
	// Observed is for Owned.
	Observed json.RawMessage `json:"observed,omitempty"`
	// Unrestored lists fields that Revert could not put back, because Auth0 has no
	// way to unset them or to show what they were.
	Unrestored []string `json:"unrestored,omitempty"`
}

// ExportRequest asks for a tenant as resources.
type ExportRequest struct {
	Tenant string `json:"tenant"`
	// Kinds limits the export; empty means every kind but Auth0User, which has to
	// be asked for by name.
	Kinds []string `json:"kinds,omitempty"`
}

// Export is a tenant as resources.
type Export struct {
	Resources []v1.Resource `json:"resources"`
	// Warnings name what is left out or has to be filled in, secrets first of all.
	Warnings []string `json:"warnings,omitempty"`
}
