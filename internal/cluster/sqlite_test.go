package cluster_test

import (
	"crypto/tls"
	"database/sql"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/cluster"
	"github.com/tenonhq/tenon/internal/pki"
)

func sqliteCluster(path string) cluster.Config {
	return cluster.Config{
		Frontend:    "127.0.0.1:0",
		Persistence: cluster.Persistence{SQLite: path},
		TLS:         shared.tls, Access: fakeAccess{},
	}
}

// newDatabase makes a database and lets go of it.
func newDatabase(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "temporal.db")
	s, err := cluster.New(sqliteCluster(path))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return path
}

func execSQLite(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = db.Exec(statement)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

func TestSQLiteStamp(t *testing.T) {
	for name, c := range map[string]struct {
		statement string
		newer     bool
		want      string // empty: it opens
	}{
		"newer format":                {statement: `UPDATE tenon_stamp SET format = 99`, newer: true, want: "its format is 99"},
		"newer server":                {statement: `UPDATE tenon_stamp SET temporal = '1.999.0'`, newer: true, want: "temporal server 1.999.0 has written to it"},
		"not ours":                    {statement: `DROP TABLE tenon_stamp`, want: "was not made by tenon"},
		"unreadable version":          {statement: `UPDATE tenon_stamp SET temporal = 'x'`, want: `version stamp "x"`},
		"older server, same tables":   {statement: `UPDATE tenon_stamp SET temporal = '1.31.0'`},
		"older server, other tables":  {statement: `UPDATE tenon_stamp SET temporal = '1.31.0'; DROP TABLE nexus_endpoints`, want: "its tables differ"},
		"a table more does no damage": {statement: `UPDATE tenon_stamp SET temporal = '1.31.0'; CREATE TABLE mine (a INT)`},
	} {
		t.Run(name, func(t *testing.T) {
			path := newDatabase(t)
			execSQLite(t, path, c.statement)
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			s, err := cluster.New(sqliteCluster(path))
			if c.want == "" {
				require.NoError(t, err)
				require.NoError(t, s.Close())
				return
			}
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, path)
			if c.newer {
				require.ErrorIs(t, err, cluster.ErrNewerDatabase)
			}
			// A database that is refused is left as it is.
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

func TestSQLiteFile(t *testing.T) {
	t.Run("garbage", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "temporal.db")
		require.NoError(t, os.WriteFile(path, []byte("this is no database, whatever its name says"), 0o600))
		_, err := cluster.New(sqliteCluster(path))
		require.ErrorContains(t, err, "not a SQLite database")
	})
	t.Run("directory", func(t *testing.T) {
		_, err := cluster.New(sqliteCluster(t.TempDir()))
		require.ErrorContains(t, err, "not a file")
	})
	t.Run("path that a URI cannot carry", func(t *testing.T) {
		_, err := cluster.New(sqliteCluster(filepath.Join(t.TempDir(), "a?mode=memory")))
		require.ErrorContains(t, err, "cannot carry")
	})
	t.Run("no such folder", func(t *testing.T) {
		_, err := cluster.New(sqliteCluster(filepath.Join(t.TempDir(), "absent", "temporal.db")))
		require.ErrorIs(t, err, os.ErrNotExist)
	})
	t.Run("readable by others", func(t *testing.T) {
		path := newDatabase(t)
		require.NoError(t, os.Chmod(path, 0o644))
		s, err := cluster.New(sqliteCluster(path))
		require.NoError(t, err)
		require.NoError(t, s.Close())
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	})
	t.Run("nothing half-written", func(t *testing.T) {
		dir := t.TempDir()
		// The last step of creation fails, because its name is a dangling link.
		path := filepath.Join(dir, "temporal.db")
		require.NoError(t, os.Symlink(filepath.Join(dir, "absent", "x"), path))
		_, err := cluster.New(sqliteCluster(path))
		require.Error(t, err)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1)
	})
	t.Run("folder that cannot be written", func(t *testing.T) {
		// Not even the superuser creates files here.
		const dir = "/proc/self"
		if _, err := os.Stat(dir); err != nil {
			t.Skipf("no folder that nobody may write to: %v", err)
		}
		_, err := cluster.New(sqliteCluster(filepath.Join(dir, "temporal.db")))
		require.ErrorContains(t, err, "create database "+dir)
	})
}

func TestPortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	cfg := sqliteCluster(filepath.Join(t.TempDir(), "temporal.db"))
	cfg.Frontend = l.Addr().String()
	_, err = cluster.New(cfg)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, "listen for frontend on "+l.Addr().String())
	require.NoFileExists(t, cfg.Persistence.SQLite)
}

func TestConfigIsRefused(t *testing.T) {
	memory := cluster.Persistence{Memory: true}
	good := cluster.Config{Frontend: "127.0.0.1:0", Persistence: memory, TLS: shared.tls, Access: fakeAccess{}}
	for name, c := range map[string]struct {
		change func(*cluster.Config)
		want   string
	}{
		"no TLS":                   {func(c *cluster.Config) { c.TLS = nil }, "answer in plaintext"},
		"no access control":        {func(c *cluster.Config) { c.Access = nil }, "allow everyone everything"},
		"insecure off loopback":    {func(c *cluster.Config) { c.Insecure, c.Frontend = true, "0.0.0.0:0" }, "loopback only"},
		"host name":                {func(c *cluster.Config) { c.Frontend = "example.com:7233" }, "neither an IP address nor localhost"},
		"no port":                  {func(c *cluster.Config) { c.Frontend = "127.0.0.1" }, "host:port"},
		"no persistence":           {func(c *cluster.Config) { c.Persistence = cluster.Persistence{} }, "want one"},
		"two kinds of persistence": {func(c *cluster.Config) { c.Persistence.SQLite = "x" }, "want one"},
		"shards":                   {func(c *cluster.Config) { c.Shards = 20000 }, "outside 1 to 16384"},
		"namespace with a colon":   {func(c *cluster.Config) { c.Namespaces = []cluster.Namespace{{Name: "a:b"}} }, "colon"},
		"short retention":          {func(c *cluster.Config) { c.Namespaces = []cluster.Namespace{{Name: "a", Retention: 1}} }, "shorter than an hour"},
		"unknown service":          {func(c *cluster.Config) { c.Services = []string{"backend"} }, `service "backend"`},
		"some services, alone":     {func(c *cluster.Config) { c.Services = []string{"frontend"} }, "needs a membership"},
		"membership on memory":     {func(c *cluster.Config) { c.Membership = &cluster.Membership{BindIP: "127.0.0.2"} }, "need PostgreSQL"},
		"membership, any port":     {func(c *cluster.Config) { c.Membership = &cluster.Membership{BindIP: "127.0.0.2"} }, "port 0 of frontend"},
		"metrics to the world":     {func(c *cluster.Config) { c.MetricsAddress = "0.0.0.0:9090" }, "loopback only"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			c.change(&cfg)
			_, err := cluster.New(cfg)
			require.ErrorContains(t, err, c.want)
		})
	}
	t.Run("all at once", func(t *testing.T) {
		_, err := cluster.New(cluster.Config{Frontend: "x"})
		for _, want := range []string{"frontend address", "persistence", "no TLS source", "no access control"} {
			require.ErrorContains(t, err, want)
		}
	})
}

// wrongTLS spoils one configuration of a good source.
type wrongTLS struct {
	*fakeTLS
	server map[pki.ServerRole]*tls.Config
	client *tls.Config
}

func (w wrongTLS) ServerTLS(role pki.ServerRole) *tls.Config {
	if cfg, ok := w.server[role]; ok {
		return cfg
	}
	return w.fakeTLS.ServerTLS(role)
}

func (w wrongTLS) InternodeClientTLS() *tls.Config {
	if w.client != nil {
		return w.client
	}
	return w.fakeTLS.InternodeClientTLS()
}

func TestCertificatesAreTried(t *testing.T) {
	f := shared.tls
	open := f.ServerTLS(pki.Internode)
	open.ClientAuth = tls.NoClientCert
	http1 := f.ServerTLS(pki.Internode)
	http1.NextProtos = nil
	for name, c := range map[string]struct {
		tls  wrongTLS
		want string
	}{
		"no frontend":                     {wrongTLS{server: map[pki.ServerRole]*tls.Config{pki.Frontend: nil}}, "answer in plaintext"},
		"frontend without a certificate":  {wrongTLS{server: map[pki.ServerRole]*tls.Config{pki.Frontend: {}}}, "frontend: no certificate"},
		"no internode":                    {wrongTLS{server: map[pki.ServerRole]*tls.Config{pki.Internode: nil}}, "anyone on this machine"},
		"internode open to anyone":        {wrongTLS{server: map[pki.ServerRole]*tls.Config{pki.Internode: open}}, "would be administrator"},
		"internode of another authority":  {wrongTLS{server: map[pki.ServerRole]*tls.Config{pki.Internode: f.ServerTLS(pki.Frontend)}}, "internode: "},
		"internode without h2":            {wrongTLS{server: map[pki.ServerRole]*tls.Config{pki.Internode: http1}}, "h2"},
		"internode client is not trusted": {wrongTLS{client: clientTLS(&f.client, f.internode.pool, "temporal-internode")}, "internode: "},
	} {
		t.Run(name, func(t *testing.T) {
			c.tls.fakeTLS = f
			_, err := cluster.New(cluster.Config{
				Frontend: "127.0.0.1:0", Persistence: cluster.Persistence{Memory: true}, TLS: c.tls, Access: fakeAccess{},
			})
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestInsecureIsOpen(t *testing.T) {
	s := start(t, cluster.Config{Frontend: "127.0.0.1:0", Persistence: cluster.Persistence{Memory: true}, Insecure: true})
	_, err := dial(t, s.Address(), nil, nil, "")
	require.NoError(t, err)
}
