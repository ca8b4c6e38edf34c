package test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/token"
	"github.com/tenonhq/tenon/sdk"
)

// patient is a data directory that the doctor looks at.
type patient struct {
	t     *testing.T
	dir   string // the folder around it, where commands run
	data  string
	flags []string
	env   []string
	// frontend is where the doctor looks for the cluster; "" is where it would by
	// itself.
	frontend string
}

// newPatient makes a healthy data directory on which nothing runs.
func newPatient(t *testing.T) *patient {
	t.Helper()
	dir := t.TempDir()
	// Nobody listens on port 1, whatever else runs on this machine.
	p := &patient{t: t, dir: dir, data: filepath.Join(dir, "data"), frontend: "127.0.0.1:1"}
	p.flags = []string{"--data-dir", p.data}
	_, err := p.tenon("certs", "init", "--data-dir", p.data)
	require.NoError(t, err)
	return p
}

// configure makes the doctor and its fixes read a configuration file.
func (p *patient) configure(text string) string {
	path := filepath.Join(p.dir, "tenon.yaml")
	require.NoError(p.t, os.WriteFile(path, []byte("dataDir: data\n"+text), 0o600))
	p.flags = []string{"--config", path}
	return path
}

func (p *patient) certs(name string) string { return filepath.Join(p.data, "certs", name) }

func (p *patient) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), p.env...)
	return cmd
}

func (p *patient) tenon(args ...string) (string, error) {
	out, err := p.command("tenon", args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return string(out), err
}

// findings runs the doctor and holds its exit code against what it found.
func (p *patient) findings(more ...string) []daemon.Finding {
	p.t.Helper()
	args := append(append([]string{"doctor", "-o", "json"}, p.flags...), more...)
	if p.frontend != "" {
		args = append(args, "--frontend", p.frontend)
	}
	cmd := p.command("tenon", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var answer struct{ Findings []daemon.Finding }
	require.NoError(p.t, json.Unmarshal(out, &answer), "%s%s", out, &stderr)
	if len(answer.Findings) > 0 {
		var exit *exec.ExitError
		require.ErrorAs(p.t, err, &exit)
		require.Equal(p.t, 1, exit.ExitCode())
	} else {
		require.NoError(p.t, err)
	}
	for _, f := range answer.Findings {
		require.NotEmpty(p.t, f.Cause, f.Code)
		require.NotEmpty(p.t, f.Fix, f.Code)
	}
	return answer.Findings
}

// finding is the one with a code.
func finding(t *testing.T, all []daemon.Finding, code string) daemon.Finding {
	t.Helper()
	i := slices.IndexFunc(all, func(f daemon.Finding) bool { return f.Code == code })
	require.GreaterOrEqual(t, i, 0, "no %s in %+v", code, all)
	return all[i]
}

// fix runs what a finding prints, as it is printed.
func (p *patient) fix(f daemon.Finding) {
	p.t.Helper()
	out, err := p.command("sh", "-c", f.Fix).CombinedOutput()
	require.NoError(p.t, err, "%s: %s", f.Fix, out)
}

// fixWithServer runs a fix that is a server, and returns when it is ready.
func (p *patient) fixWithServer(f daemon.Finding) (stop func()) {
	p.t.Helper()
	run := p.command("sh", "-c", "exec "+f.Fix)
	require.NoError(p.t, run.Start())
	p.t.Cleanup(func() { _ = run.Process.Kill() })
	awaitFile(p.t, filepath.Join(p.data, "endpoints.json"))
	return func() {
		require.NoError(p.t, run.Process.Signal(syscall.SIGINT))
		require.NoError(p.t, run.Wait())
	}
}

// requireCodes checks what is found. The cluster is down in all these cases, so
// that the closed port is always among them.
func requireCodes(t *testing.T, all []daemon.Finding, want ...string) {
	t.Helper()
	codes := []string{}
	for _, f := range all {
		if f.Code != "port-closed" {
			codes = append(codes, f.Code)
		}
	}
	require.ElementsMatch(t, want, codes, "%+v", all)
}

func (p *patient) copyFile(from, to string) {
	p.t.Helper()
	data, err := os.ReadFile(from)
	require.NoError(p.t, err)
	require.NoError(p.t, os.WriteFile(to, data, 0o600))
}

// TestDoctorFiles spoils a file, finds it, runs the fix that is printed, and
// finds nothing any more.
func TestDoctorFiles(t *testing.T) {
	t.Parallel()
	other := newPatient(t)
	ago := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(-d) } }
	for name, c := range map[string]struct {
		spoil func(p *patient) (doctorFlags []string)
		code  string
		cause string
	}{
		"certificate missing": {func(p *patient) []string {
			require.NoError(t, os.Remove(p.certs("temporal-client.crt")))
			require.NoError(t, os.Remove(p.certs("temporal-client.key")))
			return nil
		}, "certificate-missing", "the file is missing"},
		"key missing": {func(p *patient) []string {
			require.NoError(t, os.Remove(p.certs("temporal-server.key")))
			return nil
		}, "certificate-missing", "the file is missing"},
		"certificate damaged": {func(p *patient) []string {
			require.NoError(t, os.WriteFile(p.certs("temporal-server.crt"), []byte("nonsense"), 0o600))
			return nil
		}, "certificate-unreadable", "no certificate"},
		"certificate revoked": {func(p *patient) []string {
			store, err := daemon.OpenCerts(p.data, nil)
			require.NoError(t, err)
			for _, c := range store.Show() {
				if c.Name == pki.ClientLeaf {
					_, err := store.Revoke(context.Background(), c.Serial, pki.KeyCompromise)
					require.NoError(t, err)
				}
			}
			return nil
		}, "certificate-revoked", "revoked"},
		"wrong authority": {func(p *patient) []string {
			p.copyFile(other.certs("temporal-client.crt"), p.certs("temporal-client.crt"))
			p.copyFile(other.certs("temporal-client.key"), p.certs("temporal-client.key"))
			return nil
		}, "certificate-authority", "another authority"},
		"wrong name": {func(p *patient) []string {
			p.configure("cluster: {hosts: [tenon.example.com, 192.0.2.7]}\n")
			return nil
		}, "certificate-name", "lacks tenon.example.com, 192.0.2.7"},
		"key mismatch": {func(p *patient) []string {
			p.copyFile(other.certs("temporal-server.key"), p.certs("temporal-server.key"))
			return nil
		}, "key-mismatch", "does not belong to temporal-server.crt"},
		"key open to others": {func(p *patient) []string {
			require.NoError(t, os.Chmod(p.certs("temporal-client.key"), 0o644))
			return nil
		}, "key-permissions", "mode 0644"},
		"authority's key open to the group": {func(p *patient) []string {
			require.NoError(t, os.Chmod(p.certs("internode-ca.key"), 0o640))
			return nil
		}, "key-permissions", "mode 0640"},
		"data directory open": {func(p *patient) []string {
			require.NoError(t, os.Chmod(p.data, 0o755))
			return nil
		}, "data-directory-open", "mode 0755"},
		"payload key missing": {func(p *patient) []string {
			require.NoError(t, os.Remove(filepath.Join(p.data, "payload.key")))
			return nil
		}, "payload-key-missing", "the file is missing"},
		"token missing": {func(p *patient) []string {
			require.NoError(t, os.Remove(p.certs("worker-token.jwt")))
			return nil
		}, "token-missing", "no such file"},
		"token revoked": {func(p *patient) []string {
			issuer, err := daemon.OpenIssuer(p.data, nil)
			require.NoError(t, err)
			require.NoError(t, issuer.RevokeSubject(context.Background(), "temporal-client", time.Time{}, "test"))
			return nil
		}, "token-revoked", "revoked"},
		"token of a wrong scope": {func(p *patient) []string {
			p.copyFile(p.certs("client-token.jwt"), p.certs("worker-token.jwt"))
			return nil
		}, "token-scope", "permits temporal-system:client, not temporal-system:worker"},
		"token damaged": {func(p *patient) []string {
			require.NoError(t, os.WriteFile(p.certs("system-token.jwt"), []byte("a.b.c"), 0o600))
			return nil
		}, "token-invalid", "malformed"},
		"token of another cluster": {func(p *patient) []string {
			p.copyFile(other.certs("system-token.jwt"), p.certs("system-token.jwt"))
			return nil
		}, "token-invalid", "signing key is unknown"},
		"a worker's own token expired": {func(p *patient) []string {
			issuer, err := token.OpenIssuer(token.IssuerConfig{Dir: p.certs(""), Now: ago(48 * time.Hour)})
			require.NoError(t, err)
			raw, _, err := issuer.Issue(context.Background(), token.IssueRequest{Subject: "billing", Role: token.RoleWorker, Namespace: "default"})
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, "billing.jwt"), []byte(raw.Reveal()), 0o600))
			return []string{"--token", "billing.jwt", "--role", "worker"}
		}, "token-expired", "token has expired on "},
		"a worker's own token of a wrong scope": {func(p *patient) []string {
			_, err := p.tenon("tokens", "issue", "--data-dir", p.data, "--subject", "billing", "--role", "client", "--namespace", "default", "--out", "billing.jwt")
			require.NoError(t, err)
			return []string{"--token", "billing.jwt", "--role", "worker"}
		}, "token-scope", "the token of billing permits default:client, not default:worker"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPatient(t)
			requireCodes(t, p.findings())
			flags := c.spoil(p)
			all := p.findings(flags...)
			requireCodes(t, all, c.code)
			f := finding(t, all, c.code)
			require.Contains(t, f.Cause, c.cause)
			p.fix(f)
			requireCodes(t, p.findings(flags...))
		})
	}
	t.Run("all expired", func(t *testing.T) {
		p := newPatient(t)
		require.NoError(t, os.RemoveAll(p.certs("")))
		past := ago(100 * 24 * time.Hour)
		store, err := pki.Open(pki.Config{Dir: p.certs(""), Now: past})
		require.NoError(t, err)
		require.NoError(t, store.Init(context.Background()))
		issuer, err := token.OpenIssuer(token.IssuerConfig{Dir: p.certs(""), Now: past})
		require.NoError(t, err)
		require.NoError(t, issuer.Init(context.Background()))
		all := p.findings()
		requireCodes(t, all, "certificate-expired", "certificate-expired", "certificate-expired", "token-expired", "token-expired", "token-expired")
		for _, f := range all {
			if f.Code != "port-closed" {
				p.fix(f)
			}
		}
		requireCodes(t, p.findings())
	})
	t.Run("nothing left", func(t *testing.T) {
		p := newPatient(t)
		require.NoError(t, os.RemoveAll(p.certs("")))
		all := p.findings()
		finding(t, all, "signing-key-missing")
		p.fix(finding(t, all, "certificate-missing"))
		requireCodes(t, p.findings())
	})
}

// TestDoctorIssuer has an issuer whose keys are elsewhere, whose keys cannot be
// reached, and whose clock differs.
func TestDoctorIssuer(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	keys, err := os.ReadFile(p.certs("temporal-jwt-keys.json"))
	require.NoError(t, err)
	offset := filepath.Join(p.dir, "offset")
	var base string
	handler := http.NewServeMux()
	handler.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": base + "/", "jwks_uri": base + "/keys"})
	})
	handler.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now()
		if _, err := os.Stat(offset); err == nil {
			now = now.Add(time.Hour)
		}
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		_, _ = w.Write(keys)
	})
	server := httptest.NewTLSServer(handler)
	defer server.Close()
	base = server.URL
	ca := filepath.Join(p.dir, "issuer-ca.crt")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	issuer := func(source string) {
		p.configure(fmt.Sprintf("issuers:\n  - issuer: %s/\n    keySource: %s\n    audience: [temporal]\n    caFile: issuer-ca.crt\n", base, source))
	}

	closed := freeAddress(t)
	issuer("https://" + closed + "/keys")
	all := p.findings()
	requireCodes(t, all, "key-source")
	f := finding(t, all, "key-source")
	require.Contains(t, f.Cause, "connection refused")
	p.fix(f)
	requireCodes(t, p.findings())

	// An issuer that answers nothing: the fix shows why until it does.
	p.configure(fmt.Sprintf("issuers:\n  - issuer: https://%s/\n    keySource: https://%s/keys\n    audience: [temporal]\n    caFile: issuer-ca.crt\n", closed, closed))
	f = finding(t, p.findings(), "key-source")
	out, err := p.command("sh", "-c", f.Fix).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "curl: ")

	// A clock that is an hour off. The machine's own cannot be moved by a test, so
	// the issuer's stands for it, and a stand-in for timedatectl moves that.
	issuer(base + "/keys")
	require.NoError(t, os.WriteFile(offset, nil, 0o600))
	f = finding(t, p.findings(), "clock-skew")
	require.Contains(t, f.Cause, "behind that of the issuer at ")
	bin := filepath.Join(p.dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "timedatectl"), []byte("#!/bin/sh\n[ \"$1 $2\" = 'set-ntp true' ] && rm "+offset+"\n"), 0o700))
	p.env = []string{"PATH=" + bin + ":" + os.Getenv("PATH")}
	p.fix(f)
	requireCodes(t, p.findings())
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// TestDoctorCluster looks at a cluster that is down, then at one that runs and
// refuses a worker, then at an address where another one answers.
func TestDoctorCluster(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.frontend = ""
	address := "127.0.0.1:" + strconv.Itoa(clusterPort(t))
	p.configure("cluster: {address: '" + address + "'}\n")
	f := finding(t, p.findings(), "port-closed")
	require.Equal(t, address, f.Subject)
	stop := p.fixWithServer(f)
	require.Empty(t, p.findings())

	// A worker with a client's token.
	_, err := p.tenon("tokens", "issue", "--data-dir", p.data, "--subject", "billing", "--role", "client", "--namespace", "default", "--out", "billing-token.jwt")
	require.NoError(t, err)
	poll := func() error {
		cfg, err := sdk.FromDataDir(p.data, sdk.Worker)
		require.NoError(t, err)
		cfg.TokenFile = filepath.Join(p.dir, "billing-token.jwt")
		c, err := sdk.Dial(t.Context(), cfg)
		require.NoError(t, err)
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err = c.WorkflowService().PollActivityTaskQueue(ctx, &workflowservice.PollActivityTaskQueueRequest{
			Namespace: "default", TaskQueue: &taskqueuepb.TaskQueue{Name: "bills"},
		})
		return err
	}
	var denied *serviceerror.PermissionDenied
	require.ErrorAs(t, poll(), &denied)
	all := p.findings()
	requireCodes(t, all, "poller-denied")
	f = finding(t, all, "poller-denied")
	require.Contains(t, f.Cause, `"bills"`)
	p.fix(f)
	require.False(t, errors.As(poll(), &denied), "the new token polls")
	require.Empty(t, p.findings())

	// Somebody else's cluster at the address that is asked for.
	stranger := newPatient(t)
	stranger.frontend = address
	f = finding(t, stranger.findings(), "handshake-failed")
	require.Contains(t, f.Cause, "another cluster listens there")
	stranger.frontend = ""
	stopStranger := stranger.fixWithServer(f)
	require.Empty(t, stranger.findings())
	stopStranger()

	stop()
	finding(t, p.findings(), "port-closed")
}

// clusterPort is free, and below the ports of outgoing connections.
func clusterPort(t *testing.T) int {
	t.Helper()
	for port := 15000; port < 20000; port += 7 {
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			require.NoError(t, l.Close())
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// TestDoctorDatabase looks at a PostgreSQL that is empty, older, newer, gone.
func TestDoctorDatabase(t *testing.T) {
	t.Parallel()
	db := startPostgres(t)
	p := newPatient(t)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "password"), []byte(db.password), 0o600))
	p.configure("persistence:\n  postgresql: {address: '127.0.0.1:" + db.port + "', user: tenon, password: file:password}\n")

	all := p.findings()
	requireCodes(t, all, "schema-behind", "schema-behind")
	f := finding(t, all, "schema-behind")
	require.Contains(t, f.Cause, "its schema is at 0.0")
	p.fix(f)
	requireCodes(t, p.findings())

	db.psql("temporal", "DROP TABLE current_chasm_executions")
	db.psql("temporal", "UPDATE schema_version SET curr_version = '1.18'")
	all = p.findings()
	requireCodes(t, all, "schema-behind")
	p.fix(finding(t, all, "schema-behind"))
	requireCodes(t, p.findings())

	db.psql("temporal", "UPDATE schema_version SET curr_version = '99.0'")
	require.Contains(t, finding(t, p.findings(), "schema-newer").Cause, "99.0")

	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "password"), []byte("wrong"), 0o600))
	f = finding(t, p.findings(), "database-unreachable")
	require.Contains(t, f.Cause, "user or password is refused")
	require.True(t, strings.HasPrefix(f.Fix, "psql -h 127.0.0.1 -p "+db.port))
	db.down()
	require.Contains(t, finding(t, p.findings(), "database-unreachable").Cause, "connection refused")
}
