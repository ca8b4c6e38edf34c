package workflows_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/workflows"
)

// stackWorld is one stack over fakes. Each run of the workflow gets an
// environment; play lets the test act while it runs.
type stackWorld struct {
	*world
	name string
	// who sends each update, by its id; nobody by default.
	who map[string]string
	ids int
	// looks counts what the test has planned to look at, and not seen.
	looks int
}

func newStackWorld(t *testing.T) *stackWorld {
	w := &stackWorld{world: newWorld(t), name: "main", who: map[string]string{}}
	w.reset()
	return w
}

func (w *stackWorld) reset() {
	w.world.reset()
	w.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: workflows.StackID(w.domain, w.name), TaskQueue: workflows.TaskQueue})
	w.SetDetachedChildWait(false)
	w.SetTestTimeout(30 * time.Second)
	w.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{&principals{w: w}, &patient{}}, DeadlockDetectionTimeout: 10 * time.Second})
	w.OnSignalExternalWorkflow(mock.Anything, workflows.StackID(w.domain, w.name), mock.Anything, "claimed", mock.Anything).Return(
		func(_, _, _, name string, arg any) error {
			w.SignalWorkflow(name, arg)
			return nil
		}).Maybe()
}

// principals puts into updates what the cluster's server would.
type principals struct {
	interceptor.WorkerInterceptorBase
	w *stackWorld
}

func (p *principals) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	i := &principalInbound{w: p.w}
	i.Next = next
	return i
}

type principalInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	w *stackWorld
}

func (i *principalInbound) stamp(ctx workflow.Context) {
	if name := i.w.who[workflow.GetCurrentUpdateInfo(ctx).ID]; name != "" {
		interceptor.WorkflowHeader(ctx)[workflows.PrincipalHeader] = &commonpb.Payload{
			Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(fmt.Sprintf(`{"type":"jwt:tenon","name":%q}`, name)),
		}
	}
}

func (i *principalInbound) ValidateUpdate(ctx workflow.Context, in *interceptor.UpdateInput) error {
	i.stamp(ctx)
	return i.Next.ValidateUpdate(ctx, in)
}

func (i *principalInbound) ExecuteUpdate(ctx workflow.Context, in *interceptor.UpdateInput) (any, error) {
	i.stamp(ctx)
	return i.Next.ExecuteUpdate(ctx, in)
}

// answer is what an update came to.
type answer struct {
	accepted bool
	err      error
	value    any
}

func (a *answer) Accept()          { a.accepted = true }
func (a *answer) Reject(err error) { a.err = err }
func (a *answer) Complete(value any, err error) {
	a.value = value
	if err != nil {
		a.err = err
	}
}

// after sends an update at a time of the workflow.
func (w *stackWorld) after(d time.Duration, who, update string, in any) *answer {
	w.ids++
	return w.afterWithID(d, who, update, fmt.Sprintf("u%d", w.ids), in)
}

func (w *stackWorld) afterWithID(d time.Duration, who, update, id string, in any) *answer {
	a := &answer{}
	w.who[id] = who
	w.RegisterDelayedCallback(func() { w.UpdateWorkflow(update, id, a, in) }, d)
	return a
}

// look runs at a time of the workflow.
func (w *stackWorld) look(d time.Duration, f func(workflows.StackStatus)) {
	w.looks++
	w.RegisterDelayedCallback(func() {
		w.looks--
		f(w.status())
	}, d)
}

func (w *stackWorld) status() workflows.StackStatus {
	w.t.Helper()
	var s workflows.StackStatus
	w.ask(workflows.QueryStatus, &s)
	return s
}

func (w *stackWorld) ask(query string, out any, args ...any) {
	w.t.Helper()
	value, err := w.QueryWorkflow(query, args...)
	require.NoError(w.t, err)
	require.NoError(w.t, value.Get(out))
}

// live runs the stack for so long, then cancels it: it carries on, which ends the
// environment, and life can go on in the next.
func (w *stackWorld) live(d time.Duration) {
	w.t.Helper()
	w.RegisterDelayedCallback(w.CancelWorkflow, d)
	w.ExecuteWorkflow(workflows.TypeStack, w.input()...)
	w.carriesOn()
}

func (w *stackWorld) carriesOn() *workflow.ContinueAsNewError {
	w.t.Helper()
	require.True(w.t, w.IsWorkflowCompleted())
	require.Zero(w.t, w.looks, "the stack ended before the test had seen everything: %v", w.GetWorkflowError())
	var again *workflow.ContinueAsNewError
	require.ErrorAs(w.t, w.GetWorkflowError(), &again)
	require.Equal(w.t, workflows.TypeStack, again.WorkflowType.Name)
	return again
}

func (w *stackWorld) input() []any {
	return []any{workflows.StackInput{Tenant: w.domain, Name: w.name}}
}

// next starts the run that the last one continued as.
func (w *stackWorld) next(d time.Duration, play func()) {
	w.t.Helper()
	input := w.carriesOn().Input.GetPayloads()
	require.Len(w.t, input, 2)
	var state []byte
	require.NoError(w.t, w.spy.FromPayload(input[1], &state))
	w.reset()
	play()
	w.RegisterDelayedCallback(w.CancelWorkflow, d)
	w.ExecuteWorkflow(workflows.TypeStack, append(w.input(), state)...)
	w.carriesOn()
}

func roles(names ...string) []v1.Resource {
	var list []v1.Resource
	for _, name := range names {
		list = append(list, v1.New(name, &v1.Auth0RoleSpec{}))
	}
	return list
}

func described(text string, names ...string) []v1.Resource {
	var list []v1.Resource
	for _, name := range names {
		list = append(list, v1.New(name, &v1.Auth0RoleSpec{Description: &text}))
	}
	return list
}

func manifests(t testing.TB, list []v1.Resource) workflows.StackManifests {
	data, err := json.Marshal(list)
	require.NoError(t, err)
	return workflows.StackManifests{Resources: data}
}

func (w *stackWorld) apply(list []v1.Resource, change ...func(*workflows.StackApply)) workflows.StackApply {
	in := workflows.StackApply{StackManifests: manifests(w.t, list)}
	for _, f := range change {
		f(&in)
	}
	return in
}

func key(kind, name string) engine.Key { return engine.Key{Kind: kind, Name: name} }

const minute = time.Minute

func TestStackAppliesAndKeepsAnInventory(t *testing.T) {
	w := newStackWorld(t)
	api := v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "https://api"})
	first := w.after(0, "ada", workflows.UpdateApply, w.apply(append(roles("b", "a"), api)))
	w.look(minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.StackAccepted{Change: "c1"}, first.value)
		require.Equal(t, map[string]int{v1.KindRole: 2, v1.KindResourceServer: 1}, s.Objects)
		c := s.Current
		require.Equal(t, workflows.ChangeDone, c.State, "%+v", c.Error)
		require.Equal(t, map[engine.Action]int{engine.Create: 3}, c.Actions)
		require.Equal(t, 3, c.Done)
		require.Equal(t, "ada", c.Requester.Name)
		require.True(t, c.Changes())
		p := w.progress()
		require.Equal(t, "done", p.State)
		require.Equal(t, "c1", p.Change)
		require.Len(t, p.Steps, 3+3)
		var page workflows.StackInventory
		w.ask(workflows.QueryInventory, &page)
		require.Len(t, page.Objects, 3)
		require.Equal(t, "id-a", page.Objects[1].ObjectID)
		require.Equal(t, "id-a", page.Objects[1].Outputs["id"])
		require.False(t, page.Objects[1].Adopted)
		w.ask(workflows.QueryInventory, &page, workflows.StackPage{Kind: v1.KindRole, Offset: 1, Limit: 1})
		require.Len(t, page.Objects, 1)
		require.Equal(t, 2, page.Total)
		require.Zero(t, page.Next)
		require.Equal(t, key(v1.KindRole, "b"), page.Objects[0].Key)
	})
	// A plan changes nothing and is exact; an apply of the same makes no call.
	w.after(2*minute, "ada", workflows.UpdatePlan, workflows.StackPlan{Apply: ptrTo(w.apply(append(roles("a"), described("new", "b")...), prune))})
	w.look(3*minute, func(s workflows.StackStatus) {
		c, ok := s.Change("c2")
		require.True(t, ok)
		require.Equal(t, workflows.ChangePlanned, c.State, "%+v", c.Error)
		require.Equal(t, map[engine.Action]int{engine.None: 1, engine.Update: 1, engine.Delete: 1}, c.Actions)
		require.Equal(t, map[engine.Risk]int{engine.Destructive: 1}, c.Risks)
		require.Equal(t, "c1", s.Current.ID, "a plan is not the stack's change")
		var plan workflows.StackPlanned
		w.ask(workflows.QueryPlan, &plan, workflows.StackPage{Change: "c2"})
		require.Len(t, plan.Plan.Steps, 3)
		require.Equal(t, c.Hash, plan.Plan.Hash)
		require.Equal(t, 1, plan.Plan.Cost.Reads)
		require.Len(t, w.engine.calls, 3)
	})
	// Without prune, what the manifests no longer hold stays owned.
	w.after(4*minute, "", workflows.UpdateApply, w.apply(append(roles("a"), described("new", "b")...)))
	w.look(5*minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ChangeDone, s.Current.State)
		require.Equal(t, 3, len(w.engine.keys()))
		require.Equal(t, []string{"apply update Auth0Role/b"}, w.engine.calls[3:])
	})
	w.after(6*minute, "", workflows.UpdateApply, w.apply(roles("a"), prune))
	w.look(7*minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ChangeDone, s.Current.State, "%+v", s.Current.Error)
		require.Equal(t, []string{"Auth0Role/a"}, w.engine.keys())
		require.Equal(t, map[string]int{v1.KindRole: 1}, s.Objects)
	})
	w.after(8*minute, "", workflows.UpdateDelete, workflows.StackDelete{})
	w.look(9*minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ChangeDone, s.Current.State, "%+v", s.Current.Error)
		require.Empty(t, w.engine.keys())
		require.Empty(t, s.Objects)
	})
	// A stack that owns nothing ends by itself.
	w.ExecuteWorkflow(workflows.TypeStack, w.input()...)
	require.NoError(t, w.GetWorkflowError())
	require.Zero(t, w.looks)
	w.requireNoSecrets()
}

func prune(in *workflows.StackApply)    { in.Prune = true }
func rollback(in *workflows.StackApply) { in.OnFailure = workflows.Rollback }
func approval(in *workflows.StackApply) { in.RequireApproval = true }
func wait(in *workflows.StackApply)     { in.IfBusy = workflows.WaitBusy }

func ptrTo[T any](v T) *T { return &v }

func TestStackCarriesItsStateAlong(t *testing.T) {
	w := newStackWorld(t)
	fail := true
	w.engine.onApply = func(s engine.Step) error {
		if fail && s.Key.Name == "b" {
			return &auth0.Error{Class: auth0.Conflict, Operation: "create role", Message: "no"}
		}
		return nil
	}
	w.after(0, "ada", workflows.UpdateApply, w.apply(roles("a", "b", "c")))
	w.live(10 * minute)
	require.Equal(t, []string{"Auth0Role/a", "Auth0Role/c"}, w.engine.keys())

	// The next run knows what the last one owned, and can go on with what failed.
	fail = false
	w.next(10*minute, func() {
		w.look(time.Second, func(s workflows.StackStatus) {
			require.Equal(t, map[string]int{v1.KindRole: 2}, s.Objects)
			require.Equal(t, workflows.ChangeFailed, s.Current.State)
			require.Equal(t, "Auth0Role/b", s.Current.Error.Step)
			require.Equal(t, workflows.ErrorConflict, s.Current.Error.Type)
			var plan workflows.StackPlanned
			w.ask(workflows.QueryPlan, &plan)
			require.Len(t, plan.Plan.Steps, 3)
		})
		w.after(minute, "bob", workflows.UpdateRetry, workflows.StackRetry{Change: "c1"})
		w.look(2*minute, func(s workflows.StackStatus) {
			require.Equal(t, workflows.ChangeDone, s.Current.State, "%+v", s.Current.Error)
			require.Equal(t, 2, s.Current.Attempts)
			require.Equal(t, 3, s.Current.Done)
			require.Len(t, s.History, 1)
		})
		again := w.after(3*minute, "bob", workflows.UpdateRetry, workflows.StackRetry{Change: "c1"})
		w.look(4*minute, func(workflows.StackStatus) { require.ErrorContains(t, again.err, "has not failed") })
	})
	require.Equal(t, []string{"Auth0Role/a", "Auth0Role/b", "Auth0Role/c"}, w.engine.keys())
	applied := slices.DeleteFunc(slices.Clone(w.engine.calls), func(c string) bool { return !strings.HasPrefix(c, "apply") })
	require.Len(t, applied, 3, "what was done is not done again: %v", w.engine.calls)

	w.next(minute, func() {
		w.after(0, "", workflows.UpdateApply, w.apply(roles("a", "b", "c")))
		w.look(30*time.Second, func(s workflows.StackStatus) {
			require.Equal(t, "c2", s.Current.ID)
			require.Equal(t, map[engine.Action]int{engine.None: 3}, s.Current.Actions)
			require.False(t, s.Current.Changes())
		})
	})
}

func TestStackRollsBackAtEveryStep(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	for k := range names {
		for _, mode := range []string{"refused", "lost"} {
			t.Run(fmt.Sprintf("%s at %d of %d", mode, k+1, len(names)), func(t *testing.T) {
				w := newStackWorld(t)
				before := append(described("old", "b", "c"), roles("gone")...)
				w.after(0, "", workflows.UpdateApply, w.apply(before))
				arm := false
				hook := func(s engine.Step) error {
					if arm && s.Key.Name == names[k] {
						return &auth0.Error{Class: auth0.Conflict, Operation: "write role", Message: "no"}
					}
					return nil
				}
				var was map[engine.Key]fakeObject
				var owned workflows.StackInventory
				w.look(minute, func(s workflows.StackStatus) {
					require.Equal(t, workflows.ChangeDone, s.Current.State)
					was = w.engine.snapshot()
					w.ask(workflows.QueryInventory, &owned)
					arm = true
					if mode == "lost" {
						w.engine.after = hook
					} else {
						w.engine.onApply = hook
					}
				})
				// One is created, two are changed, one is created, one is deleted.
				w.after(2*minute, "", workflows.UpdateApply, w.apply(append(described("new", "b", "c"), roles("a", "d")...), prune, rollback))
				w.look(10*minute, func(s workflows.StackStatus) {
					c := s.Current
					require.Equal(t, workflows.ChangeRolledBack, c.State, "%+v", c)
					require.Equal(t, "Auth0Role/"+names[k], c.Error.Step)
					require.Empty(t, c.NotUndone)
					for key, o := range w.engine.snapshot() {
						require.Equal(t, was[key].spec, o.spec, key)
					}
					require.Len(t, w.engine.snapshot(), len(was))
					var now workflows.StackInventory
					w.ask(workflows.QueryInventory, &now)
					require.Len(t, now.Objects, 3)
					for i := range now.Objects {
						require.Equal(t, owned.Objects[i].Resource, now.Objects[i].Resource)
						require.Equal(t, w.engine.snapshot()[now.Objects[i].Key].id, now.Objects[i].ObjectID, "an object that was made anew is known by its new id")
					}
					arm = false
				})
				// And the next apply goes through.
				w.after(11*minute, "", workflows.UpdateApply, w.apply(append(described("new", "b", "c"), roles("a", "d")...), prune))
				w.look(12*minute, func(s workflows.StackStatus) {
					require.Equal(t, workflows.ChangeDone, s.Current.State, "%+v", s.Current.Error)
					require.Equal(t, []string{"Auth0Role/a", "Auth0Role/b", "Auth0Role/c", "Auth0Role/d"}, w.engine.keys())
				})
				w.live(20 * minute)
			})
		}
	}
}

func (e *fakeEngine) snapshot() map[engine.Key]fakeObject {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[engine.Key]fakeObject{}
	for k, v := range e.objects {
		out[k] = v
	}
	return out
}

func TestStackApproval(t *testing.T) {
	approve := func(w *stackWorld, d time.Duration, who, change, hash string) *answer {
		return w.afterWithID(d, who, workflows.UpdateApprove, workflows.ApprovalID(change, hash), workflows.StackApproval{Change: change, Hash: hash, Comment: "fine"})
	}
	list := roles("a", "b")

	t.Run("approved by somebody else", func(t *testing.T) {
		w := newStackWorld(t)
		w.after(0, "ada", workflows.UpdateApply, w.apply(list, approval))
		w.look(minute, func(s workflows.StackStatus) {
			require.Equal(t, workflows.ChangeAwaiting, s.Current.State)
			require.Empty(t, w.engine.keys(), "nothing is done unapproved")
			require.Equal(t, "running", w.progress().State)
			hash := s.Current.Hash
			wrong := approve(w, minute, "bob", "c1", strings.Repeat("0", 64))
			unnamed := w.after(2*minute, "bob", workflows.UpdateApprove, workflows.StackApproval{Change: "c1", Hash: hash})
			w.look(3*minute, func(s workflows.StackStatus) {
				require.ErrorContains(t, wrong.err, "has the plan "+hash)
				require.False(t, wrong.accepted, "nothing of it is in the history")
				require.ErrorContains(t, unnamed.err, "update id")
				require.Equal(t, workflows.ChangeAwaiting, s.Current.State)
				require.Empty(t, w.engine.keys())
				approve(w, 0, "bob", "c1", hash)
			})
			w.look(10*minute, func(s workflows.StackStatus) {
				require.Equal(t, workflows.ChangeDone, s.Current.State, "%+v", s.Current)
				require.Equal(t, "bob", s.Current.Verdict.By.Name)
				require.Equal(t, hash, s.Current.Verdict.Hash)
				require.Equal(t, []string{"Auth0Role/a", "Auth0Role/b"}, w.engine.keys())
			})
		})
		w.live(30 * minute)
		w.requireNoSecrets()
	})

	for who, want := range map[string]string{"ada": "somebody else has to approve it", "": "did not say who you are"} {
		t.Run("refused to "+orText(who, "nobody"), func(t *testing.T) {
			w := newStackWorld(t)
			w.after(0, "ada", workflows.UpdateApply, w.apply(list, approval))
			w.look(minute, func(s workflows.StackStatus) {
				refused := approve(w, minute, who, "c1", s.Current.Hash)
				w.look(2*minute, func(s workflows.StackStatus) {
					require.ErrorContains(t, refused.err, want)
					require.False(t, refused.accepted)
					require.Equal(t, workflows.ChangeAwaiting, s.Current.State)
				})
			})
			w.live(5 * minute)
			require.Empty(t, w.engine.keys())
		})
	}

	t.Run("expired", func(t *testing.T) {
		w := newStackWorld(t)
		w.after(0, "ada", workflows.UpdateApply, w.apply(list, approval, func(in *workflows.StackApply) { in.ApprovalTTLSeconds = 600 }))
		w.look(11*minute, func(s workflows.StackStatus) {
			require.Equal(t, workflows.ChangeExpired, s.Current.State)
			require.Equal(t, workflows.ErrorApproval, s.Current.Error.Type)
			late := approve(w, minute, "bob", "c1", s.Current.Hash)
			w.look(2*minute, func(workflows.StackStatus) { require.ErrorContains(t, late.err, "it is expired") })
		})
		w.live(30 * minute)
		require.Empty(t, w.engine.keys())
	})

	t.Run("rejected", func(t *testing.T) {
		w := newStackWorld(t)
		w.after(0, "ada", workflows.UpdateApply, w.apply(list, approval))
		w.after(minute, "bob", workflows.UpdateReject, workflows.StackApproval{Change: "c1", Comment: "not on a Friday"})
		w.look(2*minute, func(s workflows.StackStatus) {
			require.Equal(t, workflows.ChangeRejected, s.Current.State)
			require.Equal(t, "rejected by bob: not on a Friday", s.Current.Error.Message)
		})
		w.live(5 * minute)
		require.Empty(t, w.engine.keys())
	})

	t.Run("the tenant moves while the plan waits", func(t *testing.T) {
		w := newStackWorld(t)
		w.after(0, "ada", workflows.UpdateApply, w.apply(described("old", "a", "b")))
		w.after(minute, "ada", workflows.UpdateApply, w.apply(described("new", "a", "b"), approval))
		w.look(2*minute, func(s workflows.StackStatus) {
			w.engine.mu.Lock()
			for _, name := range []string{"a", "b"} {
				o := w.engine.objects[key(v1.KindRole, name)]
				o.spec = `{"description":"somebody else's"}`
				w.engine.objects[key(v1.KindRole, name)] = o
			}
			w.engine.mu.Unlock()
			approve(w, minute, "bob", "c2", s.Current.Hash)
		})
		w.look(5*minute, func(s workflows.StackStatus) {
			require.Equal(t, workflows.ChangeStale, s.Current.State)
			require.Equal(t, workflows.ErrorStalePlan, s.Current.Error.Type)
			require.Equal(t, 0, s.Current.Done)
			retry := w.after(minute, "ada", workflows.UpdateRetry, workflows.StackRetry{Change: "c2"})
			w.look(2*minute, func(workflows.StackStatus) { require.ErrorContains(t, retry.err, "it is stale") })
		})
		w.live(20 * minute)
		require.Equal(t, `{"description":"somebody else's"}`, w.engine.snapshot()[key(v1.KindRole, "a")].spec)
	})

	t.Run("a requester whom nobody knows", func(t *testing.T) {
		w := newStackWorld(t)
		a := w.after(0, "", workflows.UpdateApply, w.apply(list, approval))
		w.look(minute, func(s workflows.StackStatus) {
			require.ErrorContains(t, a.err, "did not say who asks")
			require.Nil(t, s.Current)
		})
		w.live(2 * minute)
	})

	t.Run("required by the worker", func(t *testing.T) {
		w := newStackWorld(t)
		w.act.RequireApproval = func(tenant string, p *engine.Plan) bool { return tenant == w.domain && p.Changes() }
		w.after(0, "ada", workflows.UpdateApply, w.apply(list))
		w.after(2*minute, "", workflows.UpdateApply, w.apply(list, wait))
		w.look(minute, func(s workflows.StackStatus) {
			require.Equal(t, workflows.ChangeAwaiting, s.Current.State)
			w.after(2*minute, "ada", workflows.UpdateCancel, workflows.StackCancel{Change: "c1"})
		})
		w.look(9*minute, func(s workflows.StackStatus) {
			require.Equal(t, workflows.ChangeCancelled, s.History[1].State)
			require.Equal(t, "cancelled by ada", s.History[1].Error.Message)
			require.Equal(t, workflows.ChangeRejected, s.History[0].State, "a requester nobody knows cannot be approved")
		})
		w.live(10 * minute)
		require.Empty(t, w.engine.keys())
	})

	t.Run("another plan than the one that was seen", func(t *testing.T) {
		w := newStackWorld(t)
		w.after(0, "ada", workflows.UpdateApply, w.apply(list, func(in *workflows.StackApply) { in.PlanHash = strings.Repeat("ab", 32) }))
		w.look(minute, func(s workflows.StackStatus) {
			require.Equal(t, workflows.ChangeStale, s.Current.State)
			hash := s.Current.Hash
			w.after(minute, "ada", workflows.UpdateApply, w.apply(list, func(in *workflows.StackApply) { in.PlanHash = hash }))
		})
		w.look(4*minute, func(s workflows.StackStatus) { require.Equal(t, workflows.ChangeDone, s.Current.State) })
		w.live(5 * minute)
	})
}

func TestStackTakesOneChangeAtATime(t *testing.T) {
	w := newStackWorld(t)
	w.after(0, "ada", workflows.UpdateApply, w.apply(roles("a"), approval))
	refused := w.after(minute, "bob", workflows.UpdateApply, w.apply(roles("b")))
	queued := w.after(2*minute, "bob", workflows.UpdateApply, w.apply(roles("a", "b"), wait))
	dropped := w.after(3*minute, "bob", workflows.UpdateApply, w.apply(roles("z"), wait))
	w.after(4*minute, "bob", workflows.UpdateCancel, workflows.StackCancel{Change: "c3", Reason: "a mistake"})
	w.look(5*minute, func(s workflows.StackStatus) {
		require.ErrorContains(t, refused.err, "change c1 of ada is awaiting-approval")
		require.Equal(t, workflows.ErrorRefused, workflows.ErrorType(refused.err))
		require.Equal(t, workflows.StackAccepted{Change: "c2", Queued: true}, queued.value)
		require.NoError(t, dropped.err)
		require.Len(t, s.Queue, 1)
		require.Equal(t, "c3", s.History[0].ID)
		require.Equal(t, "cancelled by bob: a mistake", s.History[0].Error.Message)
		hash := s.Current.Hash
		w.afterWithID(0, "bob", workflows.UpdateApprove, workflows.ApprovalID("c1", hash), workflows.StackApproval{Change: "c1", Hash: hash})
	})
	w.look(10*minute, func(s workflows.StackStatus) {
		require.Equal(t, "c2", s.Current.ID)
		require.Equal(t, workflows.ChangeDone, s.Current.State)
	})
	w.live(11 * minute)
	require.Equal(t, []string{"Auth0Role/a", "Auth0Role/b"}, w.engine.keys())
}

func TestStackRefusesBeforeItBegins(t *testing.T) {
	w := newStackWorld(t)
	cases := map[string]struct {
		update string
		in     any
		want   string
	}{
		"unknown onFailure":   {workflows.UpdateApply, w.apply(nil, func(in *workflows.StackApply) { in.OnFailure = "pray" }), "onFailure"},
		"unknown ifBusy":      {workflows.UpdateApply, w.apply(nil, func(in *workflows.StackApply) { in.IfBusy = "queue" }), "ifBusy"},
		"endless approval":    {workflows.UpdateApply, w.apply(nil, func(in *workflows.StackApply) { in.ApprovalTTLSeconds = 1 << 30 }), "approvalTTLSeconds"},
		"no hash":             {workflows.UpdateApply, w.apply(nil, func(in *workflows.StackApply) { in.PlanHash = "latest" }), "planHash"},
		"no list":             {workflows.UpdateApply, workflows.StackApply{StackManifests: workflows.StackManifests{Resources: []byte(`{}`)}}, "must be a list"},
		"no such upload":      {workflows.UpdateApply, workflows.StackApply{StackManifests: workflows.StackManifests{Upload: strings.Repeat("a", 64)}}, "does not have"},
		"both":                {workflows.UpdateApply, workflows.StackApply{StackManifests: workflows.StackManifests{Upload: "x", Resources: []byte(`[]`)}}, "exclude each other"},
		"a plan of nothing":   {workflows.UpdatePlan, workflows.StackPlan{}, "exactly one"},
		"what is not owned":   {workflows.UpdateDelete, workflows.StackDelete{Keys: []engine.Key{key(v1.KindRole, "x")}}, "does not own Auth0Role/x"},
		"no change":           {workflows.UpdateRetry, workflows.StackRetry{Change: "c1"}, "latest change"},
		"nothing to approve":  {workflows.UpdateApprove, workflows.StackApproval{Change: "c1"}, "no change"},
		"nothing to cancel":   {workflows.UpdateCancel, workflows.StackCancel{Change: "c1"}, "no change"},
		"a chunk too many":    {workflows.UpdateUpload, workflows.StackUpload{ID: strings.Repeat("a", 64), Index: 1, Count: 1, Data: []byte("x")}, "does not exist"},
		"chunks without end":  {workflows.UpdateUpload, workflows.StackUpload{ID: strings.Repeat("a", 64), Count: 1000, Data: []byte("x")}, "divide it"},
		"a chunk too large":   {workflows.UpdateUpload, workflows.StackUpload{ID: strings.Repeat("a", 64), Count: 1, Data: make([]byte, workflows.MaxUploadChunk+1)}, "bytes"},
		"an upload by no sum": {workflows.UpdateUpload, workflows.StackUpload{ID: "../../etc", Count: 1, Data: []byte("x")}, "SHA-256"},
	}
	answers := map[string]*answer{}
	for name, c := range cases {
		answers[name] = w.after(time.Second, "ada", c.update, c.in)
	}
	// An upload that is not what it says it is.
	id := strings.Repeat("b", 64)
	w.after(time.Second, "ada", workflows.UpdateUpload, workflows.StackUpload{ID: id, Count: 1, Data: []byte("x")})
	answers["a bundle with another sum"] = w.after(minute, "ada", workflows.UpdateApply, workflows.StackApply{StackManifests: workflows.StackManifests{Upload: id}})
	w.look(2*minute, func(s workflows.StackStatus) {
		for name, a := range answers {
			require.Error(t, a.err, name)
			require.ErrorContains(t, a.err, orText(cases[name].want, "SHA-256 differs"), name)
			require.False(t, a.accepted, name)
		}
		require.Nil(t, s.Current)
	})
	w.live(3 * minute)
}

func orText(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func TestStackNamesEveryProblemOfItsManifests(t *testing.T) {
	w := newStackWorld(t)
	bad := []v1.Resource{v1.New("a", &v1.Auth0ResourceServerSpec{}), v1.New("", &v1.Auth0RoleSpec{})}
	w.after(0, "", workflows.UpdateApply, w.apply(bad))
	w.look(minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ChangeFailed, s.Current.State)
		require.Equal(t, workflows.ErrorInvalidInput, s.Current.Error.Type)
		require.Contains(t, s.Current.Error.Message, "Auth0ResourceServer/a spec.identifier")
		retry := w.after(0, "", workflows.UpdateRetry, workflows.StackRetry{Change: "c1"})
		w.look(minute, func(workflows.StackStatus) { require.ErrorContains(t, retry.err, "before it had a plan") })
	})
	w.live(5 * minute)
	require.Empty(t, w.engine.calls)
}

func TestStackTargets(t *testing.T) {
	w := newStackWorld(t)
	client := v1.New("web", &v1.Auth0ClientSpec{ApplicationType: "regular_web"})
	api := v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "https://api"})
	grant := v1.New("grant", &v1.Auth0ClientGrantSpec{Client: v1.From(v1.KindClient, "web"), Audience: v1.From(v1.KindResourceServer, "api"), Scope: []string{}})
	all := append(roles("other"), client, api, grant)
	w.after(0, "", workflows.UpdateApply, w.apply(all, func(in *workflows.StackApply) { in.Targets = []engine.Key{key(v1.KindClientGrant, "grant")} }))
	w.look(minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ChangeDone, s.Current.State, "%+v", s.Current.Error)
		require.Equal(t, []string{"Auth0Client/web", "Auth0ClientGrant/grant", "Auth0ResourceServer/api"}, w.engine.keys())
		// Prune is limited to the targets as well.
		w.after(0, "", workflows.UpdateApply, w.apply(roles("other"), prune, func(in *workflows.StackApply) { in.Targets = []engine.Key{key(v1.KindRole, "other")} }))
	})
	w.look(2*minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ChangeDone, s.Current.State, "%+v", s.Current.Error)
		require.Len(t, w.engine.keys(), 4)
		w.after(0, "", workflows.UpdateApply, w.apply(all, func(in *workflows.StackApply) { in.Targets = []engine.Key{key(v1.KindRole, "nobody")} }))
	})
	w.look(3*minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ErrorInvalidInput, s.Current.Error.Type)
		require.Contains(t, s.Current.Error.Message, "Auth0Role/nobody is not among the manifests")
	})
	w.live(5 * minute)
}

func TestStackProtectsFromDeletion(t *testing.T) {
	w := newStackWorld(t)
	kept := roles("kept", "other")
	kept[0].Metadata.Annotations = map[string]string{"tenon.dev/deletion-protection": "true"}
	w.after(0, "", workflows.UpdateApply, w.apply(kept))
	w.after(minute, "", workflows.UpdateDelete, workflows.StackDelete{})
	w.look(2*minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ChangeFailed, s.Current.State)
		require.Contains(t, s.Current.Error.Message, "Auth0Role/kept would be deleted")
		require.Len(t, w.engine.keys(), 2, "nothing else is deleted either")
		w.after(0, "", workflows.UpdateApply, w.apply(roles("kept", "other")))
		w.after(minute, "", workflows.UpdateDelete, workflows.StackDelete{})
	})
	w.look(5*minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ChangeDone, s.Current.State, "%+v", s.Current.Error)
		require.Empty(t, w.engine.keys())
	})
	w.live(6 * minute)
}

func TestStackAdopts(t *testing.T) {
	w := newStackWorld(t)
	w.engine.objects[key(v1.KindRole, "a")] = fakeObject{spec: `{}`, id: "rol_1"}
	w.after(0, "", workflows.UpdateApply, w.apply(roles("a", "b")))
	w.look(minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ChangeDone, s.Current.State, "%+v", s.Current.Error)
		require.Equal(t, map[engine.Action]int{engine.Adopt: 1, engine.Create: 1}, s.Current.Actions)
		var page workflows.StackInventory
		w.ask(workflows.QueryInventory, &page)
		require.True(t, page.Objects[0].Adopted)
		require.Equal(t, "rol_1", page.Objects[0].ObjectID)
		require.False(t, page.Objects[1].Adopted)
	})
	w.after(2*minute, "", workflows.UpdateApply, w.apply(described("x", "a", "b")))
	w.look(3*minute, func(workflows.StackStatus) {
		var page workflows.StackInventory
		w.ask(workflows.QueryInventory, &page)
		require.True(t, page.Objects[0].Adopted, "an object stays adopted")
	})
	w.live(5 * minute)
}

func TestStackCancelsAChangeUnderWay(t *testing.T) {
	for _, onFailure := range []workflows.OnFailure{workflows.KeepDone, workflows.Rollback} {
		t.Run(string(onFailure), func(t *testing.T) {
			w := newStackWorld(t)
			// The second step is never done: the tenant does not answer.
			w.engine.onApply = func(s engine.Step) error {
				if s.Key.Name == "b" {
					return &auth0.Error{Class: auth0.Unavailable, Operation: "create role"}
				}
				return nil
			}
			w.after(0, "ada", workflows.UpdateApply, w.apply(roles("a", "b"), func(in *workflows.StackApply) { in.OnFailure = onFailure }))
			w.after(minute, "ada", workflows.UpdateCancel, workflows.StackCancel{Change: "c1"})
			w.look(20*minute, func(s workflows.StackStatus) {
				if onFailure == workflows.KeepDone {
					require.Equal(t, workflows.ChangeCancelled, s.Current.State)
					require.Equal(t, []string{"Auth0Role/a"}, w.engine.keys())
					return
				}
				require.Equal(t, workflows.ChangeRolledBack, s.Current.State)
				require.Equal(t, workflows.ErrorCancelled, s.Current.Error.Type)
				require.Empty(t, w.engine.keys())
			})
			w.live(30 * minute)
		})
	}
}

func TestTwoStacksCannotOwnOneObject(t *testing.T) {
	w := newStackWorld(t)
	w.after(0, "", workflows.UpdateApply, w.apply(roles("a")))
	plans := 0
	w.look(minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ChangeDone, s.Current.State, "%+v", s.Current.Error)
		w.engine.onPlan = func(engine.Request) error { plans++; return nil }
		require.NoError(t, w.SignalWorkflowByID(workflows.TenantClaimsID(w.domain), "claim", claimBy(w.domain, "second", "b", "c")))
	})
	w.after(2*minute, "", workflows.UpdateApply, w.apply(roles("a", "b")))
	w.look(3*minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ChangeFailed, s.Current.State)
		require.Equal(t, workflows.ErrorClaimed, s.Current.Error.Type)
		require.Equal(t, `Auth0Role/b belongs to the stack "second": take it out of one of the two`, s.Current.Error.Message)
		require.Zero(t, plans, "no call is made")
		// Once the other stack lets go, it is free.
		require.NoError(t, w.SignalWorkflowByID(workflows.TenantClaimsID(w.domain), "claim", claimBy(w.domain, "second", "c")))
	})
	w.after(4*minute, "", workflows.UpdateApply, w.apply(roles("a", "b")))
	w.look(5*minute, func(s workflows.StackStatus) {
		require.Equal(t, workflows.ChangeDone, s.Current.State, "%+v", s.Current.Error)
	})
	w.live(6 * minute)
}

// claimBy is the signal with which a stack claims roles.
func claimBy(tenant, stack string, names ...string) map[string]any {
	var hashes []byte
	for _, name := range names {
		sum := sha256.Sum256([]byte(v1.KindRole + "\x00" + name))
		hashes = append(hashes, sum[:8]...)
	}
	return map[string]any{"stack": workflows.StackID(tenant, stack), "request": "r", "claims": hashes, "silent": true}
}

func TestExportSurvivesTheJourney(t *testing.T) {
	w := newWorld(t)
	w.engine.objects[key(v1.KindRole, "a")] = fakeObject{spec: `{"description":"x"}`}
	w.ExecuteWorkflow(workflows.TypeExport, workflows.ExportInput{Tenant: w.domain})
	require.NoError(t, w.GetWorkflowError())
	var packed []byte
	require.NoError(t, w.GetWorkflowResult(&packed))
	export, err := workflows.UnpackExport(packed)
	require.NoError(t, err)
	require.Equal(t, []string{"secrets are left out"}, export.Warnings)
	require.Equal(t, described("x", "a"), export.Resources)
}
