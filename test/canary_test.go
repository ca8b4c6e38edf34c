package test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/proxy"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tenonhq/tenon/internal/codec"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/daemon/demo"
	"github.com/tenonhq/tenon/internal/secret"
)

// TestNoSecretLeaks runs the main job with marked secrets and searches for them
// in the answer, the log, the workflow histories and every file of the data
// directory. Each secret may be where it is kept, and nowhere else.
func TestNoSecretLeaks(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	const clientSecret, password = "canary-management-secret-7d1f0c", "Canary-Password-91c2!x"
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "secrets"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secrets", "auth0-sim-client-secret"), []byte(clientSecret), 0o600))
	require.NoError(t, os.Chmod(dir, 0o700))

	var log, said syncBuffer
	result, err := demo.Run(ctx, demo.Config{
		DataDir:  dir,
		Version:  "test",
		Password: secret.New(password),
		Logger:   slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Say:      func(s string) { fmt.Fprintln(&said, s) },
		Progress: func(p *daemon.Tree) { _ = json.NewEncoder(&said).Encode(p) },
	})
	require.NoError(t, err)
	answer, err := json.Marshal(result)
	require.NoError(t, err)

	secrets := gather(t, dir)
	secrets["management client secret"] = known{clientSecret, []string{"secrets/auth0-sim-client-secret", "auth0-sim.db"}}
	secrets["user's password"] = known{password, nil}
	require.NotEmpty(t, secrets["GF_AUTH_GENERIC_OAUTH_CLIENT_SECRET"].text, "the env file must hold the client secret")

	places := map[string][]byte{"log": log.Bytes(), "progress": said.Bytes(), "answer": answer}
	for name, history := range histories(ctx, t, dir) {
		places["history "+name] = history
	}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		places[filepath.ToSlash(rel)] = data
		return err
	}))
	require.Contains(t, places, "temporal.db")
	require.Contains(t, string(places["history onboarding/"+result.Tenant.Tenant]), "ada@example.com", "the histories must be readable here, or the search proves nothing")

	for name, s := range secrets {
		for place, data := range places {
			if !s.allowed(place) && s.in(data) {
				t.Errorf("%s is in %s", name, place)
			}
		}
	}
	t.Logf("%d secrets in %d places", len(secrets), len(places))
}

// known is a secret and the files in which it may be.
type known struct {
	text  string
	files []string
}

func (k known) allowed(place string) bool {
	for _, f := range k.files {
		if place == f || strings.HasPrefix(place, f+"-") { // SQLite's -wal and -shm
			return true
		}
		if ok, _ := filepath.Match(f, place); ok {
			return true
		}
	}
	return false
}

// in searches for the secret as it is and as it travels.
func (k known) in(data []byte) bool {
	for _, form := range []string{k.text, url.QueryEscape(k.text), base64.StdEncoding.EncodeToString([]byte(k.text))} {
		if bytes.Contains(data, []byte(form)) {
			return true
		}
	}
	return false
}

// gather reads every secret that a run leaves behind from where it is kept.
func gather(t *testing.T, dir string) map[string]known {
	t.Helper()
	all := map[string]known{}
	read := func(path string) string {
		data, err := os.ReadFile(filepath.Join(dir, path))
		require.NoError(t, err)
		return strings.TrimSpace(string(data))
	}
	// What Tenon made for others: the tenant knows it too.
	stored, err := secret.ReadDotenv(filepath.Join(dir, "secrets.env"))
	require.NoError(t, err)
	require.NotEmpty(t, stored)
	for key, v := range stored {
		text := v.Reveal()
		if u, err := url.Parse(text); err == nil && u.Query().Get("ticket") != "" {
			text = strings.TrimSuffix(u.Query().Get("ticket"), "#") // a link's secret is its ticket
		}
		all[key] = known{text, []string{"secrets.env", "auth0-sim.db", "apps/*/grafana.env"}}
	}
	for _, env := range glob(t, dir, "apps/*/grafana.env") {
		values, err := secret.ReadDotenv(filepath.Join(dir, env))
		require.NoError(t, err)
		for key, v := range values {
			if strings.Contains(key, "SECRET") {
				all[key] = known{v.Reveal(), []string{"secrets.env", "auth0-sim.db", "apps/*/grafana.env"}}
			}
		}
	}
	// Keys and tokens.
	for _, path := range append(glob(t, dir, "certs/*.key"), glob(t, dir, "certs/*.jwt")...) {
		all[path] = known{pemBody(read(path)), []string{path}}
	}
	all["payload.key"] = known{longestField(read("payload.key")), []string{"payload.key"}}
	all["audit-signing.key"] = known{pemBody(read("audit-signing.key")), []string{"audit-signing.key"}}
	return all
}

func glob(t *testing.T, dir, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, paths, pattern)
	for i, p := range paths {
		rel, err := filepath.Rel(dir, p)
		require.NoError(t, err)
		paths[i] = filepath.ToSlash(rel)
	}
	return paths
}

// pemBody is a line out of the middle of a PEM file, or the text of another.
func pemBody(text string) string {
	lines := strings.Split(text, "\n")
	if len(lines) < 3 {
		return text
	}
	return lines[1]
}

func longestField(text string) (longest string) {
	for _, f := range strings.Fields(text) {
		if len(f) > len(longest) {
			longest = f
		}
	}
	return longest
}

// histories reads the histories of all runs, decrypted.
func histories(ctx context.Context, t *testing.T, dir string) map[string][]byte {
	t.Helper()
	s := startStack(t, dir, nil)
	defer s.stop()
	runs, err := daemon.ListRuns(ctx, s.client, 100)
	require.NoError(t, err)
	keys, err := codec.LoadKeyFile(filepath.Join(dir, "payload.key"))
	require.NoError(t, err)
	c, err := codec.New(codec.Config{Keys: keys})
	require.NoError(t, err)
	all := map[string][]byte{}
	for _, r := range runs {
		var out bytes.Buffer
		events := s.client.GetWorkflowHistory(ctx, r.ID, r.RunID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			event, err := events.Next()
			require.NoError(t, err)
			data, err := protojson.Marshal(event)
			require.NoError(t, err)
			out.Write(data)
			require.NoError(t, proxy.VisitPayloads(ctx, event, proxy.VisitPayloadsOptions{
				Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
					plain, err := c.Decode(payloads)
					for _, p := range plain {
						out.Write(p.GetData())
					}
					return plain, err
				},
			}))
		}
		all[r.ID] = out.Bytes()
	}
	return all
}

// syncBuffer is a buffer that several goroutines write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) Bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.b.Bytes())
}
