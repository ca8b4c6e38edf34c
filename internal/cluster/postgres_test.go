package cluster_test

import (
	"database/sql"
	"errors"
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

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/tenonhq/tenon/internal/cluster"
	"github.com/tenonhq/tenon/internal/secret"
)

const postgresPassword = `p@ss w/rd+"'%20`

// postgres is a server of this test's own.
type postgres struct {
	t    *testing.T
	dir  string
	port string
	as   *syscall.SysProcAttr
	once sync.Once
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
	p := &postgres{t: t, dir: dir}
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

	password := filepath.Join(dir, "password")
	require.NoError(t, os.WriteFile(password, []byte(postgresPassword), 0o644))
	p.run("initdb", "-D", p.data(), "-U", "tenon", "--pwfile", password, "-A", "scram-sha-256", "-N")
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
	options := fmt.Sprintf("-p %s -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off", p.port)
	p.run("pg_ctl", "-D", p.data(), "-w", "-o", options, "start")
}

func (p *postgres) down() {
	p.once.Do(func() { p.run("pg_ctl", "-D", p.data(), "-w", "-m", "immediate", "stop") })
}

func (p *postgres) config() cluster.Config {
	return cluster.Config{
		Frontend: "127.0.0.1:0",
		Persistence: cluster.Persistence{Postgres: &cluster.Postgres{
			Address: "127.0.0.1:" + p.port, User: "tenon", Password: secret.New(postgresPassword),
		}},
		Namespaces: testNamespaces,
		Shards:     4,
		TLS:        shared.tls, Access: fakeAccess{},
	}
}

// exec runs a statement as the administrator.
func (p *postgres) exec(database, statement string) {
	p.t.Helper()
	db, err := sql.Open("pgx", fmt.Sprintf("host=127.0.0.1 port=%s user=tenon dbname=%s sslmode=disable password='%s'",
		p.port, database, `p@ss w/rd+"\'%20`))
	require.NoError(p.t, err)
	_, err = db.Exec(statement)
	require.NoError(p.t, errors.Join(err, db.Close()))
}

func TestPostgres(t *testing.T) {
	p := startPostgres(t)

	// Several nodes start at once on a server that has no databases yet.
	var group errgroup.Group
	for range 3 {
		group.Go(func() error {
			s, err := cluster.New(p.config())
			if err != nil {
				return err
			}
			return s.Close()
		})
	}
	require.NoError(t, group.Wait())

	t.Run("runs and continues", func(t *testing.T) {
		s := start(t, p.config())
		c, err := dial(t, s.Address(), shared.tls, &shared.tls.client, goodToken)
		require.NoError(t, err)
		stopWorker := startWorker(t, c, "postgres")
		run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: "postgres"}, "greeting", "mary", true)
		require.NoError(t, err)
		awaitSignal(t, c, run)
		stopWorker()
		took, err := s.stop()
		require.NoError(t, err)
		t.Logf("stopped in %s", took)

		s = start(t, p.config())
		c, err = dial(t, s.Address(), shared.tls, &shared.tls.client, goodToken)
		require.NoError(t, err)
		defer startWorker(t, c, "postgres")()
		require.NoError(t, c.SignalWorkflow(t.Context(), run.GetID(), run.GetRunID(), "go", nil))
		var text string
		require.NoError(t, c.GetWorkflow(t.Context(), run.GetID(), run.GetRunID()).Get(t.Context(), &text))
		require.Equal(t, "hello mary", text)
	})

	t.Run("upgrades an older schema", func(t *testing.T) {
		// Undo the last step, so that it is there to be made.
		p.exec("temporal", `DROP TABLE current_chasm_executions`)
		p.exec("temporal", `UPDATE schema_version SET curr_version = '1.18'`)
		s, err := cluster.New(p.config())
		require.NoError(t, err)
		require.NoError(t, s.Close())
		p.exec("temporal", `SELECT * FROM current_chasm_executions`)
	})

	t.Run("refuses a newer schema", func(t *testing.T) {
		p.exec("temporal_visibility", `UPDATE schema_version SET curr_version = '99.0'`)
		defer p.exec("temporal_visibility", `UPDATE schema_version SET curr_version = '`+cluster.VisibilityVersion+`'`)
		_, err := cluster.New(p.config())
		require.ErrorIs(t, err, cluster.ErrNewerDatabase)
		require.ErrorContains(t, err, `database "temporal_visibility"`)
	})

	t.Run("wrong password", func(t *testing.T) {
		cfg := p.config()
		cfg.Persistence.Postgres.Password = secret.New("wrong-and-secret")
		_, err := cluster.New(cfg)
		require.ErrorContains(t, err, "user or password is refused")
		require.NotContains(t, err.Error(), "wrong-and-secret")
	})

	t.Run("may not create", func(t *testing.T) {
		p.exec("postgres", `CREATE ROLE weak LOGIN PASSWORD 'weak'`)
		cfg := p.config()
		cfg.Persistence.Postgres.User, cfg.Persistence.Postgres.Password = "weak", secret.New("weak")
		cfg.Persistence.Postgres.Database = "absent"
		_, err := cluster.New(cfg)
		require.ErrorContains(t, err, "let an administrator create the database")
	})

	t.Run("TLS is not negotiated away", func(t *testing.T) {
		cfg := p.config()
		cfg.Persistence.Postgres.TLS = &cluster.PostgresTLS{}
		_, err := cluster.New(cfg)
		require.ErrorContains(t, err, "server refused TLS connection")
	})

	t.Run("several nodes", func(t *testing.T) {
		// A port of the first node that is free is taken to be free on the
		// others, whose addresses are as good as unused. Below the ports that
		// the system gives out, and that the members' table can hold.
		base := 20000
		for l := net.Listener(nil); l == nil; base += 10 {
			require.Less(t, base, 30000)
			if l, _ = net.Listen("tcp", net.JoinHostPort("127.0.0.2", strconv.Itoa(base))); l != nil {
				require.NoError(t, l.Close())
				break
			}
		}
		text := strconv.Itoa(base)
		ports := map[string]int{"history": base + 1, "matching": base + 2, "internal-frontend": base + 3, "worker": base + 4}

		var nodes []*running
		for _, ip := range []string{"127.0.0.2", "127.0.0.3"} {
			cfg := p.config()
			cfg.Frontend = net.JoinHostPort(ip, text)
			cfg.Membership = &cluster.Membership{BindIP: ip, Ports: ports}
			nodes = append(nodes, start(t, cfg))
		}
		// Gossip decides who owns which workflow: it is for nodes alone.
		gossip := net.JoinHostPort("127.0.0.3", strconv.Itoa(ports["history"]-300))
		f := shared.tls
		requireAlert(t, shake(gossip, clientTLS(nil, f.internode.pool, "temporal-internode")))
		requireAlert(t, shake(gossip, clientTLS(&f.client, f.internode.pool, "temporal-internode")))

		// A worker and a caller of the first, then of the second node alone.
		c, err := dial(t, nodes[0].Address(), shared.tls, &shared.tls.client, goodToken)
		require.NoError(t, err)
		other, err := dial(t, nodes[1].Address(), shared.tls, &shared.tls.client, goodToken)
		require.NoError(t, err)
		defer startWorker(t, other, "nodes")()
		var runs []client.WorkflowRun
		for range 8 {
			run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{TaskQueue: "nodes"}, "greeting", "barbara", true)
			require.NoError(t, err)
			runs = append(runs, run)
		}
		_, err = nodes[0].stop()
		require.NoError(t, err)
		for _, run := range runs {
			require.NoError(t, other.SignalWorkflow(t.Context(), run.GetID(), run.GetRunID(), "go", nil))
			require.NoError(t, other.GetWorkflow(t.Context(), run.GetID(), run.GetRunID()).Get(t.Context(), nil))
		}
	})

	p.down()
	t.Run("server is gone", func(t *testing.T) {
		_, err := cluster.New(p.config())
		require.ErrorContains(t, err, "connection refused")
		require.ErrorContains(t, err, "postgresql at 127.0.0.1:"+p.port)
	})
}

func TestPostgresConfig(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*cluster.Postgres)
		want   string
	}{
		"no address":            {func(p *cluster.Postgres) { p.Address = "" }, "not in the form host:port"},
		"bad port":              {func(p *cluster.Postgres) { p.Address = "db:x" }, `port "x"`},
		"no user":               {func(p *cluster.Postgres) { p.User = "" }, "no user"},
		"remote plaintext":      {func(p *cluster.Postgres) { p.TLS = nil }, "in the clear"},
		"half a certificate":    {func(p *cluster.Postgres) { p.TLS.CertFile = "x" }, "both"},
		"one database for both": {func(p *cluster.Postgres) { p.VisibilityDatabase = "temporal" }, "both schemas"},
	} {
		t.Run(name, func(t *testing.T) {
			p := cluster.Postgres{Address: "db.example:5432", User: "tenon", TLS: &cluster.PostgresTLS{}}
			c.change(&p)
			_, err := cluster.New(cluster.Config{
				Frontend: "127.0.0.1:0", Persistence: cluster.Persistence{Postgres: &p}, TLS: shared.tls, Access: fakeAccess{},
			})
			require.ErrorContains(t, err, c.want)
		})
	}
}
