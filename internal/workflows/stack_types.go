package workflows

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/engine"
)

// The workflow types of stacks.
const (
	// TypeStack is one stack: a named set of manifests for one tenant. It is an
	// entity: it lives as long as the stack owns anything. Start it with an update
	// (Update-with-Start), never by itself.
	TypeStack = "StackWorkflow"
	// TypeTenantClaims keeps, for one tenant, which stack answers for which object.
	// Stacks start it and talk to it by signals; nobody else needs to.
	TypeTenantClaims = "TenantClaimsWorkflow"
)

// StackID is the workflow id of a stack.
func StackID(tenant, name string) string { return "stack/" + tenant + "/" + name }

// ParseStackID is the inverse of StackID.
func ParseStackID(id string) (tenant, name string, ok bool) {
	rest, ok := strings.CutPrefix(id, "stack/")
	if !ok {
		return "", "", false
	}
	tenant, name, ok = strings.Cut(rest, "/")
	return tenant, name, ok && tenant != "" && name != ""
}

// TenantClaimsID is the workflow id of a tenant's claims.
func TenantClaimsID(tenant string) string { return "claims/" + tenant }

// The updates of StackWorkflow. Each is refused by its validator, and then leaves
// no trace in the history, if the stack cannot do it now.
const (
	// UpdateUpload takes a StackUpload: one chunk of manifests. It answers nothing.
	UpdateUpload = "upload"
	// UpdatePlan takes a StackPlan and answers a StackAccepted. Nothing is changed.
	UpdatePlan = "plan"
	// UpdateApply takes a StackApply and answers a StackAccepted.
	UpdateApply = "apply"
	// UpdateDelete takes a StackDelete and answers a StackAccepted.
	UpdateDelete = "delete"
	// UpdateApprove takes a StackApproval and answers the StackChange. Its update id
	// must be ApprovalID, so that the cluster's audit log says who approved what.
	UpdateApprove = "approve"
	// UpdateReject takes a StackApproval and answers the StackChange.
	UpdateReject = "reject"
	// UpdateRetry takes a StackRetry and answers a StackAccepted: a failed change
	// goes on where it stopped, with the same plan.
	UpdateRetry = "retry"
	// UpdateCancel takes a StackCancel and answers the StackChange. Steps under way
	// end first; then OnFailure says what becomes of what was done.
	UpdateCancel = "cancel"
)

// The queries of StackWorkflow, beside QueryProgress, which shows the latest
// change. All may be asked without an argument.
const (
	// QueryStatus answers a StackStatus.
	QueryStatus = "status"
	// QueryInventory takes a StackPage and answers a StackInventory.
	QueryInventory = "inventory"
	// QueryPlan takes a StackPage and answers a StackPlanned: the plan of the latest
	// change that has one.
	QueryPlan = "plan"
)

// ApprovalID is the update id that an approval must have. Update ids are in the
// clear, and the cluster's audit log records them with the caller: it thereby
// says who approved which plan, on the server's own word.
func ApprovalID(change, hash string) string { return "approve/" + change + "/" + hash }

// StackInput is the input of StackWorkflow.
type StackInput struct {
	// Tenant is as in TenantSetupInput.
	Tenant string `json:"tenant"`
	// Name of the stack: letters, digits, dots, dashes and underscores, at most 64.
	Name string `json:"name"`
}

// Principal is who asked for something, as the cluster's server verified it. It
// comes from a header that the server sets and that callers cannot.
type Principal struct {
	// Type is how the principal was verified: "jwt:<issuer>" or "certificate".
	Type string `json:"type"`
	// Name is the token's or certificate's subject.
	Name string `json:"name"`
}

// String returns the name, with the type if there is one: "ada (jwt:tenon)".
func (p Principal) String() string {
	if p.Type == "" {
		return p.Name
	}
	return p.Name + " (" + p.Type + ")"
}

// StackManifests is the desired state, given in one of two ways.
type StackManifests struct {
	// Resources are the resources themselves: a JSON array of v1.Resource, or left
	// out. They stay uninterpreted until an activity reads them.
	Resources json.RawMessage `json:"resources,omitempty"`
	// Upload is the ID of chunks that were uploaded before.
	Upload string `json:"upload,omitempty"`
}

// StackUpload is one chunk of a manifest bundle. The bundle is a Zstandard
// stream (RFC 8878) of the resources, one JSON object a line.
type StackUpload struct {
	// ID is the SHA-256, in hex, of the whole bundle.
	ID string `json:"id"`
	// Index counts from 0 to Count-1. Chunks may come in any order, and twice.
	Index int `json:"index"`
	Count int `json:"count"`
	// Data is at most MaxUploadChunk bytes.
	Data []byte `json:"data"`
}

// What a stack may hold. Temporal refuses payloads above 2 MiB; what a stack
// owns, and the plan that it is about to apply, are together one payload,
// compressed.
const (
	// MaxUploadChunk is the most that one StackUpload carries, in bytes.
	MaxUploadChunk = 512 << 10
	// MaxStackBytes bounds a stack's compressed state. A change that would exceed it
	// is refused when it is planned.
	MaxStackBytes = 1800 << 10
	// MaxManifestBytes bounds the manifests of one change, uncompressed.
	MaxManifestBytes = 64 << 20
)

// OnFailure is what becomes of a change whose step failed for good.
type OnFailure string

const (
	// KeepDone keeps what was done. The change can be retried. The default.
	KeepDone OnFailure = "keep"
	// Rollback restores, in reverse order, what was before.
	Rollback OnFailure = "rollback"
)

// IfBusy is what becomes of a change that comes while another is under way.
type IfBusy string

const (
	// RefuseBusy refuses it. The default.
	RefuseBusy IfBusy = "refuse"
	// WaitBusy queues it.
	WaitBusy IfBusy = "wait"
)

// StackTerms are the terms under which a change is made.
type StackTerms struct {
	// Engine makes the changes. Defaults to "direct".
	Engine string `json:"engine,omitempty"`
	// Reason is a note for people: a commit, a ticket.
	Reason string `json:"reason,omitempty"`
	// RequireApproval makes the change wait until somebody other than its requester
	// approves its plan. The worker's configuration may require it as well.
	RequireApproval bool `json:"requireApproval,omitempty"`
	// ApprovalTTLSeconds is how long a plan waits for approval. Defaults to 86400, a
	// day; at most 30 days.
	ApprovalTTLSeconds int `json:"approvalTTLSeconds,omitempty"`
	// PlanHash, if given, is the hash of the plan that the requester has seen: a
	// different plan is not applied, and the change ends as stale.
	PlanHash string `json:"planHash,omitempty"`
	// OnFailure defaults to KeepDone.
	OnFailure OnFailure `json:"onFailure,omitempty"`
	// IfBusy defaults to RefuseBusy.
	IfBusy IfBusy `json:"ifBusy,omitempty"`
}

// StackApply is the argument of UpdateApply.
type StackApply struct {
	StackManifests
	StackTerms
	// Prune deletes what the stack owns and the manifests no longer hold. Without
	// it such objects stay, and stay owned.
	Prune bool `json:"prune,omitempty"`
	// Targets limits the change to these resources and what they refer to.
	Targets []engine.Key `json:"targets,omitempty"`
}

// StackDelete is the argument of UpdateDelete.
type StackDelete struct {
	StackTerms
	// Keys are the resources to delete; none means all that the stack owns.
	Keys []engine.Key `json:"keys,omitempty"`
}

// StackPlan is the argument of UpdatePlan: exactly one of the two. Approval and
// OnFailure have no meaning.
type StackPlan struct {
	Apply  *StackApply  `json:"apply,omitempty"`
	Delete *StackDelete `json:"delete,omitempty"`
}

// StackAccepted is the answer of updates that begin something. The change goes
// on by itself: watch it with QueryStatus.
type StackAccepted struct {
	// Change is its id within the stack: "c1", "c2", …
	Change string `json:"change"`
	// Queued is set if another change has to end first.
	Queued bool `json:"queued,omitempty"`
}

// StackApproval is the argument of UpdateApprove and UpdateReject.
type StackApproval struct {
	Change string `json:"change"`
	// Hash of the plan that is approved. Required for approval.
	Hash string `json:"hash,omitempty"`
	// Comment is a note for people.
	Comment string `json:"comment,omitempty"`
}

// StackRetry is the argument of UpdateRetry.
type StackRetry struct {
	// Change must be the latest one, and have failed.
	Change string `json:"change"`
	// OnFailure, if given, replaces the change's own.
	OnFailure OnFailure `json:"onFailure,omitempty"`
}

// StackCancel is the argument of UpdateCancel.
type StackCancel struct {
	Change string `json:"change"`
	Reason string `json:"reason,omitempty"`
}

// ChangeState is how far a change is.
type ChangeState string

// The states of a change.
const (
	ChangeQueued      ChangeState = "queued"
	ChangePlanning    ChangeState = "planning"
	ChangeAwaiting    ChangeState = "awaiting-approval"
	ChangeApplying    ChangeState = "applying"
	ChangeRollingBack ChangeState = "rolling-back"

	// The states from here on are final, but ChangeFailed can be retried.

	ChangePlanned    ChangeState = "planned"     // a plan alone; nothing was to be changed
	ChangeDone       ChangeState = "done"        // the tenant is as desired
	ChangeFailed     ChangeState = "failed"      // what was done is kept; see Error
	ChangeRolledBack ChangeState = "rolled-back" // failed or cancelled, and undone
	ChangeStale      ChangeState = "stale"       // the tenant has changed since the plan: plan again
	ChangeRejected   ChangeState = "rejected"
	ChangeExpired    ChangeState = "expired" // nobody approved in time
	ChangeCancelled  ChangeState = "cancelled"
)

// Final reports whether nothing more happens to the change by itself.
func (s ChangeState) Final() bool {
	switch s {
	case ChangeQueued, ChangePlanning, ChangeAwaiting, ChangeApplying, ChangeRollingBack:
		return false
	}
	return true
}

// StackChange is one change of a stack, as its history shows it.
type StackChange struct {
	ID string `json:"id"`
	// Operation is apply, delete or plan.
	Operation string      `json:"operation"`
	State     ChangeState `json:"state"`
	Engine    string      `json:"engine"`
	Reason    string      `json:"reason,omitempty"`
	// Requester is who asked for it; nil if the server did not say.
	Requester   *Principal `json:"requester,omitempty"`
	RequestedAt time.Time  `json:"requestedAt"`
	PlannedAt   *time.Time `json:"plannedAt,omitempty"`
	// Hash is the plan's.
	Hash string `json:"hash,omitempty"`
	// Actions counts the plan's steps by action: create, update, none, …
	Actions map[engine.Action]int `json:"actions,omitempty"`
	// Risks counts the plan's steps by risk.
	Risks map[engine.Risk]int `json:"risks,omitempty"`
	// Drifted counts the steps that carry drift.
	Drifted int          `json:"drifted,omitempty"`
	Cost    *engine.Cost `json:"cost,omitempty"`
	// RequireApproval, and until when.
	RequireApproval bool       `json:"requireApproval,omitempty"`
	ExpiresAt       *time.Time `json:"expiresAt,omitempty"`
	// Verdict is the approval or rejection.
	Verdict *StackVerdict `json:"verdict,omitempty"`
	// Done counts steps that are done, by action; steps of action none included.
	Done    int        `json:"done,omitempty"`
	Total   int        `json:"total,omitempty"`
	EndedAt *time.Time `json:"endedAt,omitempty"`
	// Error says why it failed, or is stale.
	Error *StackError `json:"error,omitempty"`
	// Undone and NotUndone are as in Failure, filled by a rollback.
	Undone    []Undone `json:"undone,omitempty"`
	NotUndone []Undone `json:"notUndone,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
	// Attempts counts how often it was begun: 1, and 1 for each retry.
	Attempts int `json:"attempts,omitempty"`
}

// Changes reports whether the plan has steps that would change the tenant. It is
// what exit code 2 of plan and diff means.
func (c *StackChange) Changes() bool {
	//workflowcheck:ignore the order has no effect
	for action, n := range c.Actions {
		if action != engine.None && n > 0 {
			return true
		}
	}
	return false
}

// StackVerdict is an approval or a rejection.
type StackVerdict struct {
	Approved bool      `json:"approved"`
	By       Principal `json:"by"`
	At       time.Time `json:"at"`
	// Hash is the plan's that was approved.
	Hash    string `json:"hash,omitempty"`
	Comment string `json:"comment,omitempty"`
}

// StackError is why a change failed.
type StackError struct {
	// Type is one of the Error constants of this package.
	Type string `json:"type"`
	// Step is the resource whose step failed; "" if none.
	Step    string `json:"step,omitempty"`
	Message string `json:"message"`
}

// StackStatus answers QueryStatus.
type StackStatus struct {
	Tenant string `json:"tenant"`
	Name   string `json:"name"`
	// Objects counts what the stack owns, by kind.
	Objects map[string]int `json:"objects,omitempty"`
	// Current is the change under way or, if none is, the latest that was no plan.
	Current *StackChange `json:"current,omitempty"`
	// Queue are the changes that wait, the next first.
	Queue []StackChange `json:"queue,omitempty"`
	// History are the latest changes that have ended, the latest first; at most 50.
	History []StackChange `json:"history,omitempty"`
	// Bytes is the compressed size of the stack's state, at most MaxStackBytes, as
	// of the last change.
	Bytes int `json:"bytes,omitempty"`
}

// Change finds a change by id.
func (s *StackStatus) Change(id string) (*StackChange, bool) {
	if s.Current != nil && s.Current.ID == id {
		return s.Current, true
	}
	for _, list := range [][]StackChange{s.Queue, s.History} {
		for i := range list {
			if list[i].ID == id {
				return &list[i], true
			}
		}
	}
	return nil, false
}

// StackPage asks for a part of a long list.
type StackPage struct {
	// Offset is the index of the first; 0 is the beginning.
	Offset int `json:"offset,omitempty"`
	// Limit is the most to return. Defaults to as many as fit into an answer, about
	// a megabyte.
	Limit int `json:"limit,omitempty"`
	// Kind and Name, if given, leave out all others.
	Kind string `json:"kind,omitempty"`
	Name string `json:"name,omitempty"`
	// Change, for QueryPlan, must be the change that the plan is of; "" takes the
	// latest.
	Change string `json:"change,omitempty"`
}

// StackInventory answers QueryInventory.
type StackInventory struct {
	Objects []engine.Owned `json:"objects"`
	// Total counts all that match; Next is the Offset to go on with, 0 at the end.
	Total int `json:"total"`
	Next  int `json:"next,omitempty"`
}

// StackPlanned answers QueryPlan.
type StackPlanned struct {
	Change string `json:"change"`
	// Plan has the page's steps only. Its hash is the whole plan's.
	Plan engine.Plan `json:"plan"`
	// Total counts all steps that match; Next is as in StackInventory.
	Total int `json:"total"`
	Next  int `json:"next,omitempty"`
}
