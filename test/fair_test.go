package test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/workflows"
)

// The limit of the simulator's enterprise plan, and what production takes of it.
const (
	fairBurst      = 50
	fairRate       = 16.0
	fairProduction = 0.6 * fairRate
)

// TestFairShare applies a stack with two workers while production uses 60 % of
// the tenant's rate limit. Production is never refused, and the workers use nine
// tenths of what it leaves. TENON_FAIR_OBJECTS sets the size of the stack.
func TestFairShare(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	n := 250
	if text := os.Getenv("TENON_FAIR_OBJECTS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(n)*time.Second)
	defer cancel()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	simDir := filepath.Join(t.TempDir(), "sim")
	sim := &process{t: t, args: []string{"auth0-sim", "--data-dir", simDir, "--memory", "--listen", address, "--plan", "enterprise", "--latency", "350ms"}}
	sim.start()
	defer sim.kill()
	awaitFile(t, filepath.Join(simDir, "endpoints.json"))
	e, err := config.ReadEndpoints(simDir)
	require.NoError(t, err)
	tenant := &stack{dir: simDir, endpoints: *e}

	s := startCluster(t)
	secret, err := os.ReadFile(e.Auth0.ClientSecretFile)
	require.NoError(t, err)
	env := filepath.Join(t.TempDir(), "tenant.env")
	require.NoError(t, os.WriteFile(env, []byte("AUTH0_DOMAIN="+e.Auth0.Domain+"\nAUTH0_CLIENT_ID="+e.Auth0.ClientID+"\nAUTH0_CLIENT_SECRET="+strings.TrimSpace(string(secret))+"\n"), 0o600))
	workers := map[string]bool{}
	for range 2 {
		worker := &process{t: t, args: []string{"worker", "--data-dir", s.dir, "--env-file", env}, env: []string{"SSL_CERT_FILE=" + e.Auth0.CA}}
		worker.start()
		defer worker.kill()
		workers[fmt.Sprintf("tenon-worker/%d", worker.cmd.Process.Pid)] = false
	}

	load := tenant.production(t, fairProduction)
	mine := workflows.NewStack(s.client, e.Auth0.Domain, "fair")
	accepted, err := mine.Apply(ctx, mixedStack(n), workflows.StackApply{})
	require.NoError(t, err)
	log := &requestLog{}
	watching := make(chan struct{})
	over := make(chan struct{})
	go func() { // the simulator keeps the latest 2,000 requests
		defer close(watching)
		tick := time.NewTicker(10 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				if err := log.read(tenant); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	change, err := mine.Wait(ctx, accepted.Change, false, nil)
	close(over)
	<-watching
	require.NoError(t, err)
	require.Equal(t, workflows.ChangeDone, change.State, "%+v", change.Error)
	statuses := load()
	require.NoError(t, log.read(tenant))

	// What the workers sent from the first object to the last.
	var first, last time.Time
	ours, refused := 0, 0
	for _, r := range log.calls {
		if !strings.HasPrefix(r.UserAgent, "tenon/") || !strings.HasPrefix(r.Path, "/api/v2/") || (first.IsZero() && r.Method != http.MethodPost) {
			continue
		}
		if first.IsZero() {
			first = r.Time
		}
		last = r.Time
		if r.Status == http.StatusTooManyRequests {
			refused++
			continue
		}
		ours++
	}
	// The full bucket but for the share of a fifth, and then what production leaves of
	// the refill: nobody could have been faster.
	took := last.Sub(first).Seconds()
	possible := 0.8*fairBurst + (fairRate-fairProduction)*took
	used := float64(ours) / possible
	t.Logf("%d objects: %d calls in %.1f s, %.0f %% of what production left; %d refused; production: %v", n, ours, took, 100*used, refused, statuses)
	require.Equal(t, []int{http.StatusOK}, keysOf(statuses), "production was refused")
	require.GreaterOrEqual(t, ours, n)
	require.GreaterOrEqual(t, used, 0.9)

	// Both workers had a hand in it.
	history := s.client.GetWorkflowHistory(ctx, mine.ID(), "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	applies := map[int64]bool{}
	for history.HasNext() {
		event, err := history.Next()
		require.NoError(t, err)
		if a := event.GetActivityTaskScheduledEventAttributes(); a != nil && a.ActivityType.Name == "ApplySteps" {
			applies[event.EventId] = true
		}
		if a := event.GetActivityTaskStartedEventAttributes(); a != nil && applies[a.ScheduledEventId] {
			require.Contains(t, workers, a.Identity)
			workers[a.Identity] = true
		}
	}
	for worker, worked := range workers {
		require.True(t, worked, "%s applied nothing: %v", worker, workers)
	}
}

// mixedStack is n resources of the kinds that there are many of: roles and APIs a
// tenth each, grants a fifth, and clients.
func mixedStack(n int) []v1.Resource {
	var list []v1.Resource
	for i := range n / 10 {
		api := fmt.Sprintf("api-%03d", i)
		list = append(list,
			v1.New(fmt.Sprintf("role-%03d", i), &v1.Auth0RoleSpec{Description: ptrTo("A role")}),
			v1.New(api, &v1.Auth0ResourceServerSpec{Identifier: "https://" + api, Scopes: []v1.Scope{{Name: "read:" + api}}}))
		for j := range 2 {
			client := fmt.Sprintf("client-%03d", 2*i+j)
			list = append(list, v1.New("grant-"+client, &v1.Auth0ClientGrantSpec{
				Client: v1.From(v1.KindClient, client), Audience: v1.From(v1.KindResourceServer, api), Scope: []string{"read:" + api}}))
		}
	}
	for i := 0; len(list) < n; i++ {
		list = append(list, v1.New(fmt.Sprintf("client-%03d", i), &v1.Auth0ClientSpec{
			ApplicationType: "non_interactive", GrantTypes: []string{"client_credentials"}}))
	}
	return list
}

func keysOf(m map[int]int) []int {
	var keys []int
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

// production calls the Management API at a steady rate, whatever the answers are,
// until the returned function is called, which says how often each status came.
func (s *stack) production(t *testing.T, perSecond float64) (stop func() map[int]int) {
	t.Helper()
	c, err := s.http()
	require.NoError(t, err)
	c.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	token, err := s.token(c)
	require.NoError(t, err)
	var mu sync.Mutex
	statuses := map[int]int{}
	var calls sync.WaitGroup
	call := func() {
		status := 0 // no answer
		req, err := http.NewRequest(http.MethodGet, "https://"+s.endpoints.Auth0.Domain+"/api/v2/clients/"+s.endpoints.Auth0.ClientID, nil)
		if err == nil {
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set("User-Agent", "production")
			if res, err := c.Do(req); err == nil {
				_ = res.Body.Close()
				status = res.StatusCode
			}
		}
		mu.Lock()
		defer mu.Unlock()
		statuses[status]++
	}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				calls.Go(call)
			}
		}
	}()
	return func() map[int]int {
		close(over)
		<-ended
		calls.Wait()
		return statuses
	}
}

// requestLog is what the simulator has answered.
type requestLog struct {
	calls []loggedRequest
}

type loggedRequest struct {
	Number    int       `json:"number"`
	Time      time.Time `json:"time"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Status    int       `json:"status"`
	UserAgent string    `json:"user_agent"`
}

// read adds what has come since the last time.
func (l *requestLog) read(s *stack) error {
	c, err := s.http()
	if err != nil {
		return err
	}
	res, err := c.Get(s.endpoints.Auth0.Control + "requests")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var log struct {
		Requests []loggedRequest `json:"requests"`
	}
	if err := json.NewDecoder(res.Body).Decode(&log); err != nil {
		return err
	}
	for _, r := range log.Requests {
		if len(l.calls) == 0 || r.Number > l.calls[len(l.calls)-1].Number {
			l.calls = append(l.calls, r)
		}
	}
	return nil
}
