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
	// Known holds the outputs of resources that are not among Resources and
	// that references may read.
	Known map[Key]Outputs `json:"known,omitempty"`
}

// Plan is what would change, in an order that satisfies every step's After.
type Plan struct {
	Tenant string `json:"tenant"`
	Engine string `json:"engine"`
	Steps  []Step `json:"steps"`
	// Hash identifies the plan: SHA-256, in hex, of its tenant, engine and steps.
	Hash string `json:"hash"`
}

// Changes reports whether any step would change the tenant.
func (p *Plan) Changes() bool {
	for _, s := range p.Steps {
		if s.Action != None {
			return true
		}
	}
	return false
}

// Step is one change to one object.
type Step struct {
	Key    Key    `json:"key"`
	Action Action `json:"action"`
	// Resource is the desired state, its references unresolved; empty spec for
	// Delete.
	Resource v1.Resource `json:"resource"`
	// ObjectID is Auth0's identifier of the live object, "" when there is none.
	ObjectID string `json:"objectId,omitempty"`
	// Changes lists the fields that differ.
	Changes []Change `json:"changes,omitempty"`
	// Reason says in a few words why the step is needed.
	Reason string `json:"reason"`
	// After lists the steps that must be done before.
	After []Key  `json:"after,omitempty"`
	Risks []Risk `json:"risks,omitempty"`
	// Before is the live object's managed fields at planning time, without
	// secrets: what Revert restores, and what Apply checks against.
	Before json.RawMessage `json:"before,omitempty"`
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
}

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
	// Outputs holds what earlier steps returned.
	Outputs map[Key]Outputs `json:"outputs,omitempty"`
}

// Result is what a step came to.
type Result struct {
	Key    Key    `json:"key"`
	Action Action `json:"action"`
	// ObjectID is Auth0's identifier of the object.
	ObjectID string  `json:"objectId,omitempty"`
	Outputs  Outputs `json:"outputs,omitempty"`
	// Unrestored lists fields that Revert could not put back, because Auth0 has no
	// way to unset them or to show what they were.
	Unrestored []string `json:"unrestored,omitempty"`
}
