package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// postgres is a PostgreSQL server of a test's own.
type postgres struct {
	t        *testing.T
	dir      string
	port     string
	password string
	as       *syscall.SysProcAttr
	once     sync.Once
}

// startPostgres skips the test if the programs are not installed.
func startPostgres(t *testing.T) *postgres {
	t.Helper()
	for _, program := range []string{"initdb", "pg_ctl", "postgres"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("PostgreSQL is not installed: %v", err)
		}
	}
	dir, err := os.MkdirTemp("", "tenon-postgres-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	p := &postgres{t: t, dir: dir, password: "pg-pass-3f1d"}
	if os.Geteuid() == 0 {
		// PostgreSQL refuses to run as root.
		u, err := user.Lookup("postgres")
		if err != nil {
			u, err = user.Lookup("nobody")
		}
		require.NoError(t, err)
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		require.NoError(t, err)
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		require.NoError(t, err)
		require.NoError(t, os.Chown(dir, int(uid), int(gid)))
		p.as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, p.port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	file := filepath.Join(dir, "password")
	require.NoError(t, os.WriteFile(file, []byte(p.password), 0o644))
	p.run("initdb", "-D", p.data(), "-U", "tenon", "--pwfile", file, "-A", "scram-sha-256", "-N")
	p.up()
	t.Cleanup(p.down)
	return p
}

func (p *postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *postgres) run(name string, args ...string) {
	p.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr, cmd.Dir = p.as, p.dir
	// A file, because pg_ctl's child keeps a pipe open.
	out, err := os.CreateTemp(p.dir, "out-")
	require.NoError(p.t, err)
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	require.NoError(p.t, out.Close())
	text, readErr := os.ReadFile(out.Name())
	require.NoError(p.t, readErr)
	require.NoError(p.t, err, "%s: %s", name, text)
}

func (p *postgres) up() {
	p.t.Helper()
	p.run("pg_ctl", "-D", p.data(), "-w", "-o",
		fmt.Sprintf("-p %s -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=300", p.port), "start")
}

// restart is how a machine's failure looks: connections break, nothing is
// written that was not before.
func (p *postgres) restart() {
	p.t.Helper()
	p.run("pg_ctl", "-D", p.data(), "-w", "-m", "immediate", "stop")
	p.up()
}

func (p *postgres) down() {
	p.once.Do(func() { p.run("pg_ctl", "-D", p.data(), "-w", "-m", "immediate", "stop") })
}

// psql runs a statement as the administrator.
func (p *postgres) psql(database, statement string) {
	p.t.Helper()
	cmd := exec.Command("psql", "-h", "127.0.0.1", "-p", p.port, "-U", "tenon", "-d", database, "-v", "ON_ERROR_STOP=1", "-c", statement)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+p.password)
	out, err := cmd.CombinedOutput()
	require.NoError(p.t, err, "%s", out)
}
