package auth0sim

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// BenchmarkMixedCalls makes Management calls of every kind, two thirds of them
// reads, as many at a time as there are processors.
func BenchmarkMixedCalls(b *testing.B) {
	h := newHarness(b, Config{})
	bearer := map[string]string{"Authorization": "Bearer " + h.token}
	var n atomic.Int64
	var mu sync.Mutex
	var times []time.Duration
	clients := make([]string, 50)
	for i := range clients {
		clients[i] = h.must(http.StatusCreated, "POST", "/clients", doc{"name": fmt.Sprint(i)})["client_id"].(string)
	}
	b.ResetTimer()
	began := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		var mine []time.Duration
		for pb.Next() {
			i := n.Add(1)
			client := clients[i%int64(len(clients))]
			start := time.Now()
			status := 0
			switch i % 9 {
			case 0:
				status = h.do("POST", "/api/v2/users", doc{"connection": builtInConnection, "email": fmt.Sprintf("u%d@example.com", i), "password": "Correct-Horse-9"}, bearer).Code
			case 1:
				status = h.do("PATCH", "/api/v2/clients/"+client, doc{"description": fmt.Sprint(i)}, bearer).Code
			case 2:
				status = h.do("POST", "/api/v2/roles", doc{"name": fmt.Sprintf("r%d", i)}, bearer).Code
			case 3:
				status = h.do("GET", "/api/v2/users?q=email:u9@example.com", nil, bearer).Code
			case 4:
				status = h.do("GET", "/api/v2/clients?per_page=10", nil, bearer).Code
			case 5:
				status = h.do("GET", "/api/v2/tenants/settings", nil, bearer).Code
			default:
				status = h.do("GET", "/api/v2/clients/"+client, nil, bearer).Code
			}
			mine = append(mine, time.Since(start))
			// A thousand roles are all that any plan allows.
			if status >= 300 && i%9 != 2 {
				b.Errorf("call %d: status %d", i, status)
			}
		}
		mu.Lock()
		times = append(times, mine...)
		mu.Unlock()
	})
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "calls/s")
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
}

// resident is the memory that this process holds, in MiB; 0 where the system
// does not say.
func resident() float64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	return 0
}

// BenchmarkSearchByEmail searches a tenant of 100,000 users by email, and states
// the memory that it takes when it is kept in memory.
func BenchmarkSearchByEmail(b *testing.B) {
	h := newHarness(b, Config{})
	fillUsers(b, h, 100_000)
	bearer := map[string]string{"Authorization": "Bearer " + h.token}
	debug.FreeOSMemory()
	mebibytes := resident()
	i := 0
	for b.Loop() {
		i++
		w := h.do("GET", fmt.Sprintf("/api/v2/users?q=email:%%22u%d@example.com%%22&include_totals=true", i*7919%100_000), nil, bearer)
		require.Equal(b, http.StatusOK, w.Code)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(i), "ms/search")
	b.ReportMetric(mebibytes, "MiB-resident")
}

func fillUsers(tb testing.TB, h *harness, count int) {
	tb.Helper()
	t := h.server.first.state
	for from := 0; from < count; from += 5000 {
		require.NoError(tb, t.Update(context.Background(), func(tx *state.Tx) error {
			con, _, err := tx.FindOne("connections", "name", "username-password-authentication")
			if err != nil {
				return err
			}
			for i := from; i < from+5000; i++ {
				if _, err := tx.CreateUser(state.NewUser{Connection: con, Profile: doc{"email": fmt.Sprintf("u%d@example.com", i)}}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}
