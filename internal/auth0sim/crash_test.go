package auth0sim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
	"github.com/tenonhq/tenon/internal/secret"
)

// crashFile makes the test binary a simulator on that state file instead, so
// that a test can kill it as a process.
const crashFile = "AUTH0SIM_TEST_CRASH_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		fmt.Fprintln(os.Stderr, serveUntilKilled(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func serveUntilKilled(path string) error {
	s, err := New(Config{Path: path, Domain: "localhost:4430", ClientID: "test-client", ClientSecret: secret.New("test-secret")})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	srv := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: time.Minute}
	return srv.Serve(l)
}

// TestKillLosesNothing kills the simulator with SIGKILL under writes, again and
// again on the same file: each write that was acknowledged is there afterwards,
// whole, and the next process opens the file and goes on.
func TestKillLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sim.db")
	acknowledged := map[string]string{} // path → name
	for round := range 3 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), crashFile+"="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		address, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			_ = child.Process.Kill()
		}
		require.NoError(t, err)
		base := "http://" + strings.TrimSpace(address)
		token := tokenFrom(t, base)

		var mu sync.Mutex
		enough := make(chan struct{})
		count := 0
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for i := 0; ; i++ {
					name := fmt.Sprintf("%d-%d-%d", round, w, i)
					id, err := create(base, token, name)
					if err != nil {
						return // killed
					}
					mu.Lock()
					acknowledged["/clients/"+id] = name
					if count++; count == 100 {
						close(enough)
					}
					mu.Unlock()
				}
			})
		}
		<-enough
		require.NoError(t, child.Process.Kill())
		writers.Wait()
		require.ErrorContains(t, child.Wait(), "killed")
	}

	h := newHarness(t, Config{Path: path})
	for path, name := range acknowledged {
		require.Equal(t, name, h.must(http.StatusOK, "GET", path, nil)["name"])
	}
	// Nothing half-made: a client and the log entry of its creation come together.
	var clients, logged int
	require.NoError(t, h.server.first.state.View(context.Background(), func(tx *state.Tx) error {
		if err := tx.Scan("clients", func(d doc) (bool, error) {
			if strings.Count(str(d, "name"), "-") == 2 {
				clients++
			}
			return true, nil
		}); err != nil {
			return err
		}
		entries, err := tx.Find("logs", "type", "sapi")
		for _, e := range entries {
			if str(obj(obj(e, "details"), "request"), "path") == "/api/v2/clients" {
				logged++
			}
		}
		return err
	}))
	require.GreaterOrEqual(t, clients, len(acknowledged))
	require.Equal(t, clients, logged)
	h.must(http.StatusCreated, "POST", "/clients", doc{"name": "afterwards"})
	t.Logf("3 kills, %d acknowledged writes, none lost; %d more were committed when their process died", len(acknowledged), clients-len(acknowledged))
}

func tokenFrom(t *testing.T, base string) string {
	t.Helper()
	body := `{"grant_type":"client_credentials","client_id":"test-client","client_secret":"test-secret","audience":"https://localhost:4430/api/v2/"}`
	res, err := http.Post(base+"/oauth/token", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer func() { require.NoError(t, res.Body.Close()) }()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return decodeObject(t, raw)["access_token"].(string)
}

// create makes a client; an error is the process's end.
func create(base, token, name string) (id string, err error) {
	body, err := json.Marshal(doc{"name": name, "description": strings.Repeat("x", 100)})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequest(http.MethodPost, base+"/api/v2/clients", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	var made doc
	if err := json.Unmarshal(raw, &made); err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("status %d: %s", res.StatusCode, raw)
	}
	return str(made, "client_id"), nil
}
