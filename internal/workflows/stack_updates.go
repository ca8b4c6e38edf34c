package workflows

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// PrincipalHeader is the header in which the cluster's server says who called.
// internal/cluster/access sets it on every call and removes what callers send.
const PrincipalHeader = "tenon-principal"

var (
	stackName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)
	sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

const (
	defaultApprovalTTL = 24 * 60 * 60
	maxApprovalTTL     = 30 * defaultApprovalTTL
	// maxUploads bounds the bundles that are arriving; the oldest makes room.
	maxUploads = 4
)

// principalOf is who sent the update under way, nil if the server did not say.
func principalOf(ctx workflow.Context) *Principal {
	payload := interceptor.WorkflowHeader(ctx)[PrincipalHeader]
	if payload == nil {
		return nil
	}
	var p Principal
	if err := converter.GetDefaultDataConverter().FromPayload(payload, &p); err != nil || p.Name == "" {
		return nil
	}
	return &p
}

// refusedf is the error of an update that cannot be accepted now.
func refusedf(format string, args ...any) error {
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf(format, args...), ErrorRefused, nil)
}

// deniedf is the error of an update that would break the four-eyes rule.
func deniedf(format string, args ...any) error {
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf(format, args...), ErrorApproval, nil)
}

// listen registers the updates and queries. Handlers never block: they put
// things into the state, and the workflow's own loop acts on them.
func (s *stack) listen(ctx workflow.Context) error {
	register := func(name, about string, handler, validator any) error {
		return workflow.SetUpdateHandlerWithOptions(ctx, name, handler, workflow.UpdateHandlerOptions{Validator: validator, Description: about})
	}
	for _, err := range []error{
		register(UpdateUpload, "Takes one chunk of manifests.", s.onUpload, s.checkUpload),
		register(UpdatePlan, "Plans a change and makes none.", s.onPlan, s.checkPlan),
		register(UpdateApply, "Makes the tenant hold what the manifests say.", s.onApply, s.checkApply),
		register(UpdateDelete, "Deletes what the stack owns.", s.onDelete, s.checkDelete),
		register(UpdateApprove, "Approves the plan of a change, by its hash.", s.onApprove, s.checkApprove),
		register(UpdateReject, "Rejects the plan of a change.", s.onReject, s.checkReject),
		register(UpdateRetry, "Goes on with a change that failed.", s.onRetry, s.checkRetry),
		register(UpdateCancel, "Cancels a change.", s.onCancel, s.checkCancel),
		workflow.SetQueryHandlerWithOptions(ctx, QueryProgress, s.progress, workflow.QueryHandlerOptions{Description: "The steps of the latest change."}),
		workflow.SetQueryHandlerWithOptions(ctx, QueryStatus, s.status, workflow.QueryHandlerOptions{Description: "What the stack owns, and its changes."}),
		workflow.SetQueryHandlerWithOptions(ctx, QueryInventory, s.inventoryPage, workflow.QueryHandlerOptions{Description: "What the stack owns, page by page."}),
		workflow.SetQueryHandlerWithOptions(ctx, QueryPlan, s.planPage, workflow.QueryHandlerOptions{Description: "The latest plan, page by page."}),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *stack) checkUpload(in StackUpload) error {
	switch {
	case !sha256Hex.MatchString(in.ID):
		return refusedf("id must be the SHA-256 of the bundle, in hex")
	case in.Count < 1 || in.Count > (MaxStackBytes+MaxUploadChunk-1)/MaxUploadChunk:
		return refusedf("the manifests take %d chunks, at most %d fit into one stack: divide it into several", in.Count, (MaxStackBytes+MaxUploadChunk-1)/MaxUploadChunk)
	case in.Index < 0 || in.Index >= in.Count:
		return refusedf("chunk %d of %d does not exist", in.Index, in.Count)
	case len(in.Data) == 0 || len(in.Data) > MaxUploadChunk:
		return refusedf("a chunk has between 1 and %d bytes, not %d", MaxUploadChunk, len(in.Data))
	}
	if u := s.upload(in.ID); u != nil && len(u.chunks) != in.Count {
		return refusedf("the same bundle was announced in %d chunks before, and now in %d", len(u.chunks), in.Count)
	}
	return nil
}

func (s *stack) upload(id string) *upload {
	for _, u := range s.uploads {
		if u.id == id {
			return u
		}
	}
	return nil
}

func (s *stack) onUpload(_ workflow.Context, in StackUpload) error {
	u := s.upload(in.ID)
	if u == nil {
		u = &upload{id: in.ID, chunks: make([][]byte, in.Count)}
		s.uploads = append(s.uploads, u)
		if len(s.uploads) > maxUploads {
			s.uploads = s.uploads[1:]
		}
	}
	u.chunks[in.Index] = in.Data
	return nil
}

// checkManifests refuses manifests that cannot be read at all. What they say is
// judged by an activity.
func (s *stack) checkManifests(in StackManifests) error {
	if in.Upload == "" {
		var list []json.RawMessage
		if len(in.Resources) > 0 && json.Unmarshal(in.Resources, &list) != nil {
			return refusedf("resources must be a list")
		}
		return nil
	}
	if len(in.Resources) > 0 {
		return refusedf("resources and upload exclude each other")
	}
	u := s.upload(in.Upload)
	if u == nil {
		return refusedf("%s %s", missingUpload, in.Upload)
	}
	bundle, ok := u.bundle()
	if !ok {
		return refusedf("%s all of %s", missingUpload, in.Upload)
	}
	if sum := sha256.Sum256(bundle); hex.EncodeToString(sum[:]) != in.Upload {
		return refusedf("the uploaded bundle is not the one that was announced: its SHA-256 differs")
	}
	return nil
}

// missingUpload begins the refusal of an upload that is not here, or no longer.
const missingUpload = "the stack does not have"

// bundleOf takes the manifests of a request over, compressed.
func (s *stack) bundleOf(in StackManifests) ([]byte, error) {
	if in.Upload != "" {
		i := slices.IndexFunc(s.uploads, func(u *upload) bool { return u.id == in.Upload })
		bundle, _ := s.uploads[i].bundle()
		s.uploads = slices.Delete(s.uploads, i, i+1)
		return bundle, nil
	}
	var list []json.RawMessage
	if len(in.Resources) > 0 {
		if err := json.Unmarshal(in.Resources, &list); err != nil {
			return nil, err
		}
	}
	return PackResources(list)
}

func (s *stack) checkTerms(ctx workflow.Context, t StackTerms, pure bool) error {
	switch {
	case s.stopping:
		return refusedf("the stack is being restarted: try again in a moment")
	case t.OnFailure != "" && t.OnFailure != KeepDone && t.OnFailure != Rollback:
		return refusedf("onFailure is %q, must be %s or %s", t.OnFailure, KeepDone, Rollback)
	case t.IfBusy != "" && t.IfBusy != RefuseBusy && t.IfBusy != WaitBusy:
		return refusedf("ifBusy is %q, must be %s or %s", t.IfBusy, RefuseBusy, WaitBusy)
	case t.ApprovalTTLSeconds < 0 || t.ApprovalTTLSeconds > maxApprovalTTL:
		return refusedf("approvalTTLSeconds is %d, must be between 1 and %d", t.ApprovalTTLSeconds, maxApprovalTTL)
	case t.PlanHash != "" && !sha256Hex.MatchString(t.PlanHash):
		return refusedf("planHash must be the hash of a plan: 64 hexadecimal digits")
	case t.RequireApproval && !pure && principalOf(ctx) == nil:
		return deniedf("the cluster did not say who asks for this change, so nobody could be told apart from its requester: approval is impossible")
	}
	return s.checkBusy(t.IfBusy)
}

func (s *stack) checkBusy(ifBusy IfBusy) error {
	busy := s.current
	if busy == nil && len(s.queue) > 0 {
		busy = s.queue[0]
	}
	if busy == nil {
		return nil
	}
	if ifBusy != WaitBusy {
		by := ""
		if busy.Requester != nil {
			by = " of " + busy.Requester.Name
		}
		return refusedf("the stack is busy: change %s%s is %s since %s; cancel it, or wait for it with ifBusy: wait",
			busy.ID, by, busy.State, busy.RequestedAt.Format("2006-01-02 15:04:05Z"))
	}
	if len(s.queue) >= maxQueue {
		return refusedf("the stack is busy, and %d changes wait already", len(s.queue))
	}
	return nil
}

// enqueue adds a change; the workflow's loop takes it from there.
func (s *stack) enqueue(ctx workflow.Context, operation string, t StackTerms, c *change) StackAccepted {
	info := workflow.GetInfo(ctx)
	c.StackChange = StackChange{
		ID: "c" + strconv.Itoa(s.next), Operation: operation, State: ChangeQueued, Engine: orDefault(t.Engine, DefaultEngine),
		Reason: t.Reason, Requester: principalOf(ctx), RequestedAt: workflow.Now(ctx).UTC(),
	}
	s.next++
	// The original run's id, so that a run that was reset recognises its objects.
	c.Run = orDefault(info.OriginalRunID, info.WorkflowExecution.RunID) + "-" + c.ID
	c.PlanHash, c.OnFailure, c.Approve = t.PlanHash, orDefault(t.OnFailure, KeepDone), t.RequireApproval
	c.TTL = orDefault(t.ApprovalTTLSeconds, defaultApprovalTTL)
	queued := s.current != nil || len(s.queue) > 0
	s.queue = append(s.queue, c)
	return StackAccepted{Change: c.ID, Queued: queued}
}

func (s *stack) checkApply(ctx workflow.Context, in StackApply) error {
	if err := s.checkTerms(ctx, in.StackTerms, false); err != nil {
		return err
	}
	return s.checkManifests(in.StackManifests)
}

func (s *stack) onApply(ctx workflow.Context, in StackApply) (StackAccepted, error) {
	bundle, err := s.bundleOf(in.StackManifests)
	if err != nil {
		return StackAccepted{}, err
	}
	c := &change{bundle: bundle, changeRequest: changeRequest{Kind: opApply, Prune: in.Prune, Targets: in.Targets}}
	return s.enqueue(ctx, opApply, in.StackTerms, c), nil
}

func (s *stack) checkDelete(ctx workflow.Context, in StackDelete) error {
	if err := s.checkTerms(ctx, in.StackTerms, false); err != nil {
		return err
	}
	return s.checkKeys(in)
}

// checkKeys refuses to delete what the stack does not own. If another change
// comes before, that is judged when it has ended.
func (s *stack) checkKeys(in StackDelete) error {
	if s.current != nil || len(s.queue) > 0 {
		return nil
	}
	var unknown []string
	for _, key := range in.Keys {
		if s.entries[key.String()] == nil {
			unknown = append(unknown, key.String())
		}
	}
	if len(unknown) > 0 {
		return refusedf("the stack does not own %s", strings.Join(unknown, ", "))
	}
	return nil
}

func (s *stack) onDelete(ctx workflow.Context, in StackDelete) (StackAccepted, error) {
	return s.enqueue(ctx, opDelete, in.StackTerms, &change{changeRequest: changeRequest{Kind: opDelete, Delete: in.Keys}}), nil
}

func (s *stack) checkPlan(ctx workflow.Context, in StackPlan) error {
	switch {
	case (in.Apply == nil) == (in.Delete == nil):
		return refusedf("exactly one of apply and delete must be given")
	case in.Delete != nil:
		if err := s.checkTerms(ctx, in.Delete.StackTerms, true); err != nil {
			return err
		}
		return s.checkKeys(*in.Delete)
	}
	if err := s.checkTerms(ctx, in.Apply.StackTerms, true); err != nil {
		return err
	}
	return s.checkManifests(in.Apply.StackManifests)
}

func (s *stack) onPlan(ctx workflow.Context, in StackPlan) (StackAccepted, error) {
	if in.Delete != nil {
		return s.enqueue(ctx, opPlan, in.Delete.StackTerms, &change{changeRequest: changeRequest{Kind: opDelete, Delete: in.Delete.Keys}}), nil
	}
	bundle, err := s.bundleOf(in.Apply.StackManifests)
	if err != nil {
		return StackAccepted{}, err
	}
	c := &change{bundle: bundle, changeRequest: changeRequest{Kind: opApply, Prune: in.Apply.Prune, Targets: in.Apply.Targets}}
	return s.enqueue(ctx, opPlan, in.Apply.StackTerms, c), nil
}

// awaiting finds the change that waits for approval.
func (s *stack) awaiting(ctx workflow.Context, id string) (*change, error) {
	c := s.current
	switch {
	case c == nil || c.ID != id:
		if old, ok := s.find(id); ok {
			return nil, refusedf("change %s does not wait for approval: it is %s", id, old.State)
		}
		return nil, refusedf("the stack has no change %q", id)
	case c.State != ChangeAwaiting || c.Verdict != nil:
		return nil, refusedf("change %s does not wait for approval: it is %s", id, c.State)
	case c.ExpiresAt != nil && !workflow.Now(ctx).Before(*c.ExpiresAt):
		return nil, refusedf("the time to approve change %s is over since %s", id, c.ExpiresAt.Format("2006-01-02 15:04:05Z"))
	case principalOf(ctx) == nil:
		return nil, deniedf("the cluster did not say who you are")
	}
	return c, nil
}

// checkApprove is the four-eyes rule. Who approves is the server's word, and so
// is the update's id, by which the audit log knows what was approved.
func (s *stack) checkApprove(ctx workflow.Context, in StackApproval) error {
	c, err := s.awaiting(ctx, in.Change)
	if err != nil {
		return err
	}
	by := principalOf(ctx)
	switch {
	case in.Hash != c.Hash:
		return refusedf("change %s has the plan %s, not %q: look at it again", c.ID, c.Hash, in.Hash)
	case workflow.GetCurrentUpdateInfo(ctx).ID != ApprovalID(c.ID, c.Hash):
		return refusedf("the update id of this approval must be %s: the audit log names the plan by it", ApprovalID(c.ID, c.Hash))
	case c.Requester == nil:
		return deniedf("nobody knows who requested change %s, so nobody can be told apart from that person", c.ID)
	case by.Name == c.Requester.Name:
		// Whatever vouches for the two: one person may hold a token and a certificate.
		return deniedf("%s requested change %s: somebody else has to approve it", by.Name, c.ID)
	}
	return nil
}

func (s *stack) onApprove(ctx workflow.Context, in StackApproval) (StackChange, error) {
	return s.verdict(ctx, in, true)
}

func (s *stack) checkReject(ctx workflow.Context, in StackApproval) error {
	c, err := s.awaiting(ctx, in.Change)
	if err == nil && in.Hash != "" && in.Hash != c.Hash {
		return refusedf("change %s has the plan %s, not %q: look at it again", c.ID, c.Hash, in.Hash)
	}
	return err
}

func (s *stack) onReject(ctx workflow.Context, in StackApproval) (StackChange, error) {
	return s.verdict(ctx, in, false)
}

func (s *stack) verdict(ctx workflow.Context, in StackApproval, approved bool) (StackChange, error) {
	c := s.current
	c.Verdict = &StackVerdict{Approved: approved, At: workflow.Now(ctx).UTC(), Hash: c.Hash, Comment: in.Comment}
	if by := principalOf(ctx); by != nil {
		c.Verdict.By = *by
	}
	return c.StackChange, nil
}

func (s *stack) checkRetry(_ workflow.Context, in StackRetry) error {
	switch {
	case s.stopping:
		return refusedf("the stack is being restarted: try again in a moment")
	case in.OnFailure != "" && in.OnFailure != KeepDone && in.OnFailure != Rollback:
		return refusedf("onFailure is %q, must be %s or %s", in.OnFailure, KeepDone, Rollback)
	case s.last == nil || s.last.ID != in.Change:
		return refusedf("only the latest change can be retried, and %q is not it", in.Change)
	case s.last.State != ChangeFailed:
		return refusedf("change %s has not failed: it is %s", in.Change, s.last.State)
	case s.last.plan == nil:
		return refusedf("change %s failed before it had a plan: apply again", in.Change)
	}
	return s.checkBusy(RefuseBusy)
}

func (s *stack) onRetry(_ workflow.Context, in StackRetry) (StackAccepted, error) {
	c := s.last
	s.history = slices.DeleteFunc(s.history, func(h StackChange) bool { return h.ID == c.ID })
	c.State, c.EndedAt, c.Error = ChangeQueued, nil, nil
	c.OnFailure = orDefault(in.OnFailure, c.OnFailure)
	s.queue = append(s.queue, c)
	return StackAccepted{Change: c.ID}, nil
}

func (s *stack) checkCancel(_ workflow.Context, in StackCancel) error {
	if s.current != nil && s.current.ID == in.Change {
		if s.current.State == ChangeRollingBack {
			return refusedf("change %s is being undone already", in.Change)
		}
		return nil
	}
	if slices.ContainsFunc(s.queue, func(c *change) bool { return c.ID == in.Change }) {
		return nil
	}
	if old, ok := s.find(in.Change); ok {
		return refusedf("change %s has ended: it is %s", in.Change, old.State)
	}
	return refusedf("the stack has no change %q", in.Change)
}

func (s *stack) onCancel(ctx workflow.Context, in StackCancel) (StackChange, error) {
	why := "cancelled"
	if by := principalOf(ctx); by != nil {
		why += " by " + by.Name
	}
	if in.Reason != "" {
		why += ": " + in.Reason
	}
	if s.current != nil && s.current.ID == in.Change {
		s.current.cancelWith(why)
		return s.current.StackChange, nil
	}
	i := slices.IndexFunc(s.queue, func(c *change) bool { return c.ID == in.Change })
	if i < 0 {
		return StackChange{}, refusedf("the stack has no change %q", in.Change)
	}
	c := s.queue[i]
	s.queue = slices.Delete(s.queue, i, i+1)
	c.State, c.Error = ChangeCancelled, &StackError{Type: ErrorCancelled, Message: why}
	s.ended(ctx, c)
	return c.StackChange, nil
}

func (s *stack) find(id string) (StackChange, bool) {
	st, err := s.status()
	if err != nil {
		return StackChange{}, false
	}
	c, ok := st.Change(id)
	if !ok {
		return StackChange{}, false
	}
	return *c, true
}
