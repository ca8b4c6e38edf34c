package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
)

// running is "tenon up" as a process of its own, the way that clients meet it.
type running struct {
	dir       string // its data directory
	endpoints *config.Endpoints
}

// startUp runs tenon up on a data directory of its own until the test ends,
// without a Web UI unless it is asked for.
func startUp(t *testing.T, more ...string) *running {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	args := []string{"up", "--data-dir", dir, "--address", "127.0.0.1:0", "--auth0-listen", "127.0.0.1:0", "--web-ui-address", ""}
	up := newProgram(t, nil, "tenon", append(args, more...)...)
	up.cmd.Dir = t.TempDir()
	up.run().await("ready in ")
	e, err := config.ReadEndpoints(dir)
	require.NoError(t, err)
	return &running{dir: dir, endpoints: e}
}

// tenon runs one command on the data directory.
func (r *running) tenon(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tenon(t, append([]string{"--data-dir", r.dir}, args...)...).Output()
	require.NoError(t, err, "tenon %s", strings.Join(args, " "))
	return string(out)
}

// identity is a certificate and a token of one program, in a folder of its own.
type identity struct {
	dir, name, tokenID string
}

func (i *identity) file(extension string) string { return filepath.Join(i.dir, i.name+extension) }

// identity issues them as docs/connect.md says.
func (r *running) identity(t *testing.T, name, certificateRole, tokenRole string) *identity {
	t.Helper()
	i := &identity{dir: t.TempDir(), name: name}
	r.tenon(t, "certs", "issue", "--role", certificateRole, "--name", name, "--out", i.dir)
	i.tokenID = strings.TrimSpace(r.token(t, i, tokenRole))
	return i
}

// token puts another token into the identity's file, and returns its id.
func (r *running) token(t *testing.T, i *identity, role string) string {
	t.Helper()
	return r.tenon(t, "tokens", "issue", "--subject", i.name, "--role", role, "--namespace", daemon.Namespace, "--out", i.file(".jwt"), "-o", "name")
}

// environment is what a program of the identity finds: what every SDK reads, and
// the token's file.
func (r *running) environment(t *testing.T, i *identity) []string {
	t.Helper()
	return append(bareEnvironment(t),
		"TEMPORAL_ADDRESS="+r.endpoints.Cluster.Address,
		"TEMPORAL_NAMESPACE="+r.endpoints.Cluster.Namespace,
		"TEMPORAL_TLS_SERVER_CA_CERT_PATH="+i.file("-ca.crt"),
		"TEMPORAL_TLS_CLIENT_CERT_PATH="+i.file(".crt"),
		"TEMPORAL_TLS_CLIENT_KEY_PATH="+i.file(".key"),
		"TENON_TOKEN_FILE="+i.file(".jwt"),
		"TENON_PAYLOAD_KEY_FILE="+filepath.Join(r.dir, "payload.key"),
	)
}

// bareEnvironment is one without anything that would lead a client elsewhere.
func bareEnvironment(t *testing.T) []string {
	t.Helper()
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
}

// records returns what the audit log says of one subject.
func (r *running) records(t *testing.T, subject string) []*audit.Record {
	t.Helper()
	return auditRecords(t, r.dir, subject)
}

func auditRecords(t *testing.T, dataDir, subject string) []*audit.Record {
	t.Helper()
	log, err := daemon.AuditLog(dataDir)
	require.NoError(t, err)
	var found []*audit.Record
	require.NoError(t, audit.Scan(log.Dir, time.Time{}, func(rec *audit.Record) error {
		if rec.Subject == subject {
			one := *rec
			found = append(found, &one)
		}
		return nil
	}))
	return found
}

// awaitRecord waits until the log holds a record that matches.
func (r *running) awaitRecord(t *testing.T, subject string, match func(*audit.Record) bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, rec := range r.records(t, subject) {
			if match(rec) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("no such record of %s after a minute", subject)
		}
	}
}

// program is a process that a test runs beside itself.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	name   string
	output *lines
	once   sync.Once
	done   chan struct{}
	err    error
}

// newProgram prepares a program; run starts it, and asks it to stop when the test ends.
func newProgram(t *testing.T, env []string, name string, args ...string) *program {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = env
	p := &program{t: t, cmd: cmd, name: filepath.Base(name), output: newLines(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	cmd.WaitDelay = 10 * time.Second
	return p
}

func (p *program) run() *program {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		p.output.close()
		close(p.done)
	}()
	p.t.Cleanup(func() {
		p.stop()
		if p.t.Failed() {
			p.t.Logf("%s printed:\n%s", p.name, p.output)
		}
	})
	return p
}

// stop asks the program to stop, and makes it after ten seconds.
func (p *program) stop() {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(os.Interrupt)
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	})
}

// await waits until the program has printed a text.
func (p *program) await(text string) {
	p.t.Helper()
	select {
	case <-p.output.seen(text):
	case <-time.After(90 * time.Second):
		p.t.Fatalf("%s has not printed %q after a minute and a half:\n%s", p.name, text, p.output)
	case <-p.done:
		if !strings.Contains(p.output.String(), text) {
			p.t.Fatalf("%s ended (%v) without printing %q:\n%s", p.name, p.err, text, p.output)
		}
	}
}

// lines is what a program prints, to be waited for.
type lines struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newLines() *lines { return &lines{changed: make(chan struct{})} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.text.Write(p)
}

func (l *lines) close() { _, _ = l.Write(nil) }

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// seen returns a channel that is closed once the text was printed.
func (l *lines) seen(text string) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			l.mu.Lock()
			found, changed := strings.Contains(l.text.String(), text), l.changed
			l.mu.Unlock()
			if found {
				return
			}
			select {
			case <-changed:
			case <-time.After(2 * time.Minute):
				return
			}
		}
	}()
	return done
}

// output runs a program to its end, within two minutes.
func output(t *testing.T, env []string, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// stockCLI builds the stock temporal CLI, once for all tests, and returns its
// path. It is built from the module cache where that is complete, so that it
// works offline.
func stockCLI(t *testing.T) string {
	t.Helper()
	path, err := buildStockCLI()
	if err != nil && offline(err.Error()) {
		t.Skipf("the stock temporal CLI cannot be built offline: %v", err)
	}
	require.NoError(t, err)
	return path
}

var buildStockCLI = sync.OnceValues(func() (string, error) {
	sum, err := os.ReadFile("../tools/temporal/go.sum")
	if err != nil {
		return "", err
	}
	dir, err := cacheDir("temporal-cli", sum)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "temporal")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	cmd := exec.Command("go", "build", "-modfile=tools/temporal/go.mod", "-o", fresh, "github.com/temporalio/cli/cmd/temporal")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, os.Rename(fresh, path)
})

// cacheDir is where something costly is kept between runs, by what it is made of.
func cacheDir(name string, madeOf ...[]byte) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, m := range madeOf {
		h.Write(m)
	}
	dir := filepath.Join(cache, "tenon-test", name+"-"+hex.EncodeToString(h.Sum(nil))[:16])
	return dir, os.MkdirAll(dir, 0o700)
}

// offline reports whether a tool's output says that it could not reach its
// registry.
func offline(out string) bool {
	for _, sign := range []string{"GOPROXY=off", "no such host", "dial tcp", "i/o timeout", "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ENETUNREACH", "ETIMEDOUT", "ENOTCACHED"} {
		if strings.Contains(out, sign) {
			return true
		}
	}
	return false
}

// TestProgramOutput holds the helper above to what the tests rely on.
func TestProgramOutput(t *testing.T) {
	l := newLines()
	seen := l.seen("second")
	w := bufio.NewWriter(l)
	fmt.Fprintln(w, "first")
	require.NoError(t, w.Flush())
	select {
	case <-seen:
		t.Fatal("seen too early")
	default:
	}
	_, err := io.WriteString(l, "sec")
	require.NoError(t, err)
	_, err = io.WriteString(l, "ond")
	require.NoError(t, err)
	<-seen
	require.True(t, offline("dial tcp: lookup modules.example: no such host"))
	require.False(t, offline("syntax error"))
}

// issuer opens the token issuer of the running cluster.
func (r *running) issuer(t *testing.T) *token.Issuer {
	t.Helper()
	issuer, err := daemon.OpenIssuer(r.dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return issuer
}

// tokenIn writes a token for a role in a namespace to a file.
func (r *running) tokenIn(t *testing.T, subject string, role token.Role, namespace string) (file string, raw secret.Value) {
	t.Helper()
	raw, _, err := r.issuer(t).Issue(t.Context(), token.IssueRequest{Subject: subject, Role: role, Namespace: namespace})
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), subject+".jwt")
	require.NoError(t, secret.WriteFile(file, []byte(raw.Reveal())))
	return file, raw
}
