package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/workflows"
)

// The objects of the large stack. Offset paging ends at 1,000 APIs, and the
// largest subscription at 1,000 roles.
const (
	largeAPIs, largeRoles, largeClients = 900, 900, 1000
	largeGrants                         = 2200
)

// largeStack is a stack of 5,000 resources that differ as real ones do.
func largeStack() []v1.Resource {
	var list []v1.Resource
	for i := range largeAPIs {
		name := fmt.Sprintf("api-%04d", i)
		list = append(list, v1.New(name, &v1.Auth0ResourceServerSpec{
			Identifier: fmt.Sprintf("https://%s.%x.example.com", name, i*7919), Name: ptrTo(strings.ToUpper(name)), TokenLifetime: ptrTo(600 + i),
			Scopes: []v1.Scope{{Name: "read:" + name, Description: "Read " + name}, {Name: "write:" + name, Description: "Write " + name}},
		}))
	}
	for i := range largeRoles {
		list = append(list, v1.New(fmt.Sprintf("role-%04d", i), &v1.Auth0RoleSpec{
			Description: ptrTo(fmt.Sprintf("Role number %d of a company with %d of them: %x", i, largeRoles, i*104729))}))
	}
	for i := range largeClients {
		list = append(list, v1.New(fmt.Sprintf("client-%04d", i), &v1.Auth0ClientSpec{
			ApplicationType: "non_interactive", Description: ptrTo(fmt.Sprintf("Machine %x in hall %d", i*15485863, i%17)), GrantTypes: []string{"client_credentials"}}))
	}
	for i := range largeGrants {
		api, client := fmt.Sprintf("api-%04d", i%largeAPIs), fmt.Sprintf("client-%04d", i%largeClients)
		list = append(list, v1.New(fmt.Sprintf("grant-%04d", i), &v1.Auth0ClientGrantSpec{
			Client: v1.From(v1.KindClient, client), Audience: v1.From(v1.KindResourceServer, api), Scope: []string{"read:" + api}}))
	}
	return list
}

// TestLargeStack applies 5,000 objects, with everything stopped and started again
// in the middle, and plans clean with few calls. What Temporal holds of it stays
// far below Temporal's limits.
func TestLargeStack(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute or two")
	}
	const objects = 5000
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	none := 0.0
	up := func(address string) *stack {
		return start(t, daemon.Config{
			DataDir: dir, Cluster: &daemon.ClusterConfig{Address: "127.0.0.1:0"},
			Simulator: &daemon.SimulatorConfig{Address: address}, Worker: &daemon.WorkerConfig{Share: &none},
		})
	}
	s := up("127.0.0.1:0")
	tenant := s.endpoints.Auth0.Domain
	list := largeStack()
	require.Len(t, list, objects)
	began := time.Now()
	accepted, err := workflows.NewStack(s.client, tenant, "large").Apply(ctx, list, workflows.StackApply{})
	require.NoError(t, err)
	require.Equal(t, "c1", accepted.Change)

	// Everything stops in the middle.
	done := 0
	middle, reached := context.WithCancel(ctx)
	defer reached()
	_, err = workflows.NewStack(s.client, tenant, "large").Wait(middle, "c1", false, func(c *workflows.StackChange) {
		require.False(t, c.State.Final(), "it ended before it was interrupted: %+v", c.Error)
		if done = c.Done; done >= objects/3 {
			reached()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	t.Logf("%d of %d done after %s; stopping everything", done, objects, time.Since(began).Round(time.Millisecond))
	s.stop()
	s = up(strings.Replace(tenant, "localhost", "127.0.0.1", 1))
	require.Equal(t, tenant, s.endpoints.Auth0.Domain)
	stack := workflows.NewStack(s.client, tenant, "large")
	c, err := stack.Wait(ctx, "c1", false, nil)
	require.NoError(t, err)
	require.Equal(t, workflows.ChangeDone, c.State, "%+v", c.Error)
	require.Equal(t, objects, c.Done)
	t.Logf("applied after %s", time.Since(began).Round(time.Millisecond))

	// Exactly once each: so many objects, and each in the inventory by its own id.
	inventory, err := stack.Inventory(ctx)
	require.NoError(t, err)
	require.Len(t, inventory, objects)
	ids := map[string]bool{}
	for i, o := range inventory {
		require.NotEmpty(t, o.ObjectID)
		require.False(t, o.Adopted, "%s was not recognised as the stack's own work", o.Key)
		ids[o.ObjectID] = true
		if i > 0 {
			require.Less(t, inventory[i-1].Key.String(), o.Key.String())
		}
	}
	require.Len(t, ids, objects)
	var held struct {
		Families map[string]int `json:"families"`
	}
	s.control(t, http.MethodGet, "objects", nil, &held)
	require.Equal(t, largeRoles, held.Families["roles"])
	require.Equal(t, largeAPIs+1, held.Families["resource-servers"], "with the Management API")
	require.Equal(t, largeGrants+1, held.Families["client-grants"], "with Tenon's own")
	require.Equal(t, largeClients+2, held.Families["clients"], "with Tenon's own and the global one")

	// A plan of what is there is empty, and cheap.
	planned := time.Now()
	accepted, err = stack.Plan(ctx, list, workflows.StackApply{Prune: true})
	require.NoError(t, err)
	c, err = stack.Wait(ctx, accepted.Change, false, nil)
	require.NoError(t, err)
	require.Equal(t, workflows.ChangePlanned, c.State, "%+v", c.Error)
	require.False(t, c.Changes(), "%v", c.Actions)
	require.Equal(t, map[engine.Action]int{engine.None: objects}, c.Actions)
	require.LessOrEqual(t, c.Cost.Reads, 60)
	status, err := stack.Status(ctx)
	require.NoError(t, err)
	t.Logf("planned in %s with %d calls; the state takes %d kB of %d kB", time.Since(planned).Round(time.Millisecond), c.Cost.Reads, status.Bytes>>10, workflows.MaxStackBytes>>10)
	require.Less(t, status.Bytes, workflows.MaxStackBytes)

	// The history of the run that applied it.
	events, size := s.historyOf(t, stack.ID())
	t.Logf("%d events, %d kB", events, size>>10)
	require.Less(t, events, 10_000)
}

// control calls the simulator's control API.
func (s *stack) control(t *testing.T, method, path string, body, into any) {
	t.Helper()
	c, err := s.http()
	require.NoError(t, err)
	sent, err := json.Marshal(body)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), method, s.endpoints.Auth0.Control+path, bytes.NewReader(sent))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Less(t, res.StatusCode, 300, "%s %s: %s", method, path, text)
	if into != nil {
		require.NoError(t, json.Unmarshal(text, into))
	}
}

// historyOf sums up the history of the first run of a workflow.
func (s *stack) historyOf(t *testing.T, id string) (events, bytes int) {
	t.Helper()
	iterator := s.client.GetWorkflowHistory(t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for iterator.HasNext() {
		e, err := iterator.Next()
		require.NoError(t, err)
		events++
		bytes += e.Size()
	}
	return events, bytes
}
