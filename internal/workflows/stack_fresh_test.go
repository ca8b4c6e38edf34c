package workflows_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/workflows"
)

// TestOnlyAFreshPlanIsBelieved: steps of a plan that was made a moment ago are
// marked as such, and no others.
func TestOnlyAFreshPlanIsBelieved(t *testing.T) {
	step, err := json.Marshal(engine.Step{Key: key(v1.KindRole, "a"), Action: engine.Delete, Resource: v1.New("a", &v1.Auth0RoleSpec{}), ObjectID: "id-a"})
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		task workflows.StepsTask
		want bool
	}{
		"just planned":            {workflows.StepsTask{First: true, Planned: time.Now()}, true},
		"planned two minutes ago": {workflows.StepsTask{First: true, Planned: time.Now().Add(-2 * time.Minute)}, false},
		"planned in the future":   {workflows.StepsTask{First: true, Planned: time.Now().Add(time.Hour)}, false},
		"nobody knows when":       {workflows.StepsTask{First: true}, false},
		"tried before":            {workflows.StepsTask{Planned: time.Now()}, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newFakeEngine()
			env := (&testsuite.WorkflowTestSuite{}).NewTestActivityEnvironment()
			act := &workflows.Activities{Engines: map[string]engine.Engine{"direct": e}}
			env.RegisterActivity(act.ApplySteps)
			tc.task.Tenant, tc.task.Engine = "t", "direct"
			require.NoError(t, json.Unmarshal([]byte(`{"plain": [`+string(step)+`]}`), &tc.task.Steps))
			_, err := env.ExecuteActivity(act.ApplySteps, tc.task)
			require.NoError(t, err)
			require.Equal(t, map[engine.Key]bool{key(v1.KindRole, "a"): tc.want}, e.fresh)
		})
	}
}
