package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/workflows"
)

// shop is a small stack in which resources refer to each other. Its second
// version changes, adds and drops some.
func shop(version int) []v1.Resource {
	list := []v1.Resource{
		v1.New("orders", &v1.Auth0ResourceServerSpec{Identifier: "https://orders", Name: ptrTo(fmt.Sprintf("Orders %d", version)), Scopes: []v1.Scope{{Name: "read:orders"}}}),
		v1.New("shop", &v1.Auth0ClientSpec{ApplicationType: "non_interactive", Description: ptrTo(fmt.Sprintf("Version %d", version)), GrantTypes: []string{"client_credentials"}}),
		v1.New("shop-orders", &v1.Auth0ClientGrantSpec{Client: v1.From(v1.KindClient, "shop"), Audience: v1.From(v1.KindResourceServer, "orders"), Scope: []string{"read:orders"}}),
		v1.New(fmt.Sprintf("clerk-%d", version), &v1.Auth0RoleSpec{Permissions: []v1.Permission{{Name: "read:orders", ResourceServerIdentifier: "https://orders"}}}),
	}
	if version == 2 {
		list = append(list, v1.New("cursed", &v1.Auth0RoleSpec{Permissions: []v1.Permission{{Name: "read:orders", ResourceServerIdentifier: "https://orders"}}}))
	}
	return list
}

// bulkRoles is a stack large enough to be applied in batches.
func bulkRoles() []v1.Resource {
	var list []v1.Resource
	for i := range 120 {
		list = append(list, v1.New(fmt.Sprintf("bulk-%03d", i), &v1.Auth0RoleSpec{}))
	}
	return list
}

// TestStackWorkerKilledAtEveryBoundary kills the worker with SIGKILL before and
// after every activity of stacks that are applied, step by step and in batches,
// and rolled back. In the end the tenant holds each object once, and no other.
func TestStackWorkerKilledAtEveryBoundary(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute or two")
	}
	t.Parallel()
	const parts = 4
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var (
		stacks [parts]*stack
		deaths [parts]string
		group  errgroup.Group
	)
	for part := range parts {
		stacks[part] = startStack(t, t.TempDir(), nil)
		deaths[part] = filepath.Join(t.TempDir(), "killed")
		s := stacks[part]
		s.control(t, http.MethodPost, "faults", map[string]any{"method": "POST", "path": "*/permissions", "kind": "status", "status": 400, "nth": 3, "times": 100000}, nil)
		group.Go(func() error { return underDoomedWorkers(ctx, t, s, deaths[part], part, parts, buildShop) })
	}
	require.NoError(t, group.Wait())

	seen, killed := map[string]bool{}, map[string]bool{}
	for part := range parts {
		requireShop(t, stacks[part])
		for _, line := range readJournal(t, deaths[part]) {
			event, at, _ := strings.Cut(line, " ")
			seen[at] = true
			killed[at] = killed[at] || event == "killed"
		}
	}
	kinds := map[string]int{}
	for at := range seen {
		require.True(t, killed[at], "no worker was killed at %s", at)
		kinds[strings.Split(at, "/")[1]]++
	}
	for name, least := range map[string]int{"ReadStack": 2, "PlanStack": 4, "ApplySteps": 2 * (4 + 2 + 3), "RevertSteps": 2 * 4} {
		require.GreaterOrEqual(t, kinds[name], least, "%s: %v", name, seen)
	}
	t.Logf("killed at all of %d boundaries", len(seen))
}

// buildShop applies, and applies a version that fails and is rolled back, and
// applies a long stack.
func buildShop(ctx context.Context, s *stack) error {
	change := func(name string, list []v1.Resource, in workflows.StackApply, want workflows.ChangeState) error {
		stack := workflows.NewStack(s.client, s.endpoints.Auth0.Domain, name)
		accepted, err := stack.Apply(ctx, list, in)
		if err != nil {
			return err
		}
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			// While no worker lives, nobody answers a query.
			status, err := stack.Status(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				continue
			}
			if c, ok := status.Change(accepted.Change); ok && c.State.Final() {
				if c.State != want {
					return fmt.Errorf("%s: %s, not %s: %+v, not undone: %+v", name, c.State, want, c.Error, c.NotUndone)
				}
				return nil
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}
	if err := change("shop", shop(1), workflows.StackApply{}, workflows.ChangeDone); err != nil {
		return err
	}
	undo := workflows.StackApply{Prune: true, StackTerms: workflows.StackTerms{OnFailure: workflows.Rollback}}
	if err := change("shop", shop(2), undo, workflows.ChangeRolledBack); err != nil {
		return err
	}
	return change("bulk", bulkRoles(), workflows.StackApply{}, workflows.ChangeDone)
}

// requireShop looks for exactly what the shop's first version and the long stack
// have.
func requireShop(t *testing.T, s *stack) {
	t.Helper()
	names := func(path, field string) map[string]int {
		found := map[string]int{}
		for page := 0; ; page++ {
			var list []map[string]any
			s.management(t, fmt.Sprintf("%s?per_page=100&page=%d&include_totals=false", path, page), &list)
			for _, o := range list {
				found[fmt.Sprint(o[field])]++
			}
			if len(list) < 100 {
				return found
			}
		}
	}
	roles := map[string]int{"clerk-1": 1}
	for _, r := range bulkRoles() {
		roles[r.Metadata.Name] = 1
	}
	require.Equal(t, roles, names("roles", "name"))
	clients := names("clients", "name")
	require.Equal(t, 1, clients["shop"])
	require.Len(t, clients, 3, "with the Management API's two")
	require.Equal(t, map[string]int{"https://orders": 1, "https://" + s.endpoints.Auth0.Domain + "/api/v2/": 1}, names("resource-servers", "identifier"))
	require.Len(t, names("client-grants", "audience"), 2)
	var apis []map[string]any
	s.management(t, "resource-servers", &apis)
	for _, api := range apis {
		if api["identifier"] == "https://orders" {
			require.Equal(t, "Orders 1", api["name"], "it was rolled back")
		}
	}
}

// underDoomedWorkers does something while worker processes kill themselves, each
// at the next boundary of this part.
func underDoomedWorkers(ctx context.Context, t *testing.T, s *stack, journal string, part, parts int, do func(context.Context, *stack) error) error {
	done := make(chan error, 1)
	go func() { done <- do(ctx, s) }()
	for {
		worker := exec.CommandContext(ctx, "doomed-worker", s.dir, journal, strconv.Itoa(part), strconv.Itoa(parts))
		worker.Env = append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(s.dir, "certs", "ca.crt"))
		worker.Stderr = t.Output()
		if err := worker.Start(); err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- worker.Wait() }()
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				return fmt.Errorf("a worker ended otherwise than by SIGKILL: %w", err)
			}
		case err := <-done:
			return errors.Join(err, worker.Process.Signal(syscall.SIGTERM), <-ended)
		}
	}
}
