package config_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/secret"
)

func readFile(t *testing.T, text string, env map[string]string, flags map[string]config.Flag) (*config.File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tenon.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return config.ReadFile(config.FileOptions{Path: path, Lookup: func(k string) string { return env[k] }, Flags: flags})
}

const whole = `
dataDir: state
log: {level: info, format: json}
cluster:
  address: 10.0.0.1:7233
  hosts: [tenon.example.com]
  services: [frontend, history]
  membership:
    bindIP: 10.0.0.1
    ports: {history: 8234}
  shards: 64
  namespaces:
    - name: billing
      retention: 72h
      searchAttributes: {Customer: Keyword}
persistence:
  postgresql:
    address: db.example:5432
    user: tenon
    password: env:DB_PASSWORD
    tls: {}
certificates: {dir: /etc/tenon/certs}
issuers:
  - keySource: https://acme.eu.auth0.com/.well-known/jwks.json
    audience: [https://tenon.dev/cluster]
    refresh: 5m
audit: {keep: 8760h}
operations: {address: 127.0.0.1:9090}
webUI:
  address: 0.0.0.0:8233
  publicURL: https://ui.example.com
  oidc:
    issuer: https://acme.eu.auth0.com/
    clientId: abc
    clientSecret: file:/run/secrets/ui
    groups: {admins: ["temporal-system:admin"]}
`

func TestFile(t *testing.T) {
	f, err := readFile(t, whole, nil, nil)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(filepath.Dir(f.Path()), "state"), f.DataDir, "relative to the file")
	require.Equal(t, "/etc/tenon/certs", f.Certificates.Dir)
	require.Equal(t, map[string]int{"history": 8234}, f.Cluster.Membership.Ports)
	require.Equal(t, 72*time.Hour, f.Cluster.Namespaces[0].Retention)
	require.Equal(t, secret.Ref("env:DB_PASSWORD"), f.Persistence.PostgreSQL.Password)
	require.NotNil(t, f.Persistence.PostgreSQL.TLS, "an empty mapping is not absent")
	require.Equal(t, 5*time.Minute, f.Issuers[0].Refresh)
	require.Equal(t, []string{"temporal-system:admin"}, f.WebUI.OIDC.Groups["admins"])

	// What is shown is read again as the same.
	shown, err := f.YAML()
	require.NoError(t, err)
	again, err := readFile(t, string(shown), nil, nil)
	require.NoError(t, err)
	shownAgain, err := again.YAML()
	require.NoError(t, err)
	require.Equal(t, string(shown), string(shownAgain))

	empty, err := readFile(t, "# nothing\n", nil, nil)
	require.NoError(t, err)
	require.Empty(t, empty.Cluster.Address)
}

func TestFilePrecedence(t *testing.T) {
	env := map[string]string{
		"TENON_CLUSTER_ADDRESS": "10.0.0.2:7233", "TENON_CLUSTER_HOSTS": "a.example, b.example",
		"TENON_CLUSTER_MEMBERSHIP_BIND_IP": "10.0.0.2", "TENON_PERSISTENCE_POSTGRESQL_MAX_CONNS": "7",
		"TENON_WEB_UI_OIDC_CLIENT_ID": "from-env", "TENON_LOG_LEVEL": "error",
	}
	f, err := readFile(t, whole, env, map[string]config.Flag{
		"cluster.address": {Name: "--address", Values: []string{"10.0.0.3:7233"}}, "cluster.services": {Name: "--services", Values: []string{"worker"}},
	})
	require.NoError(t, err)
	require.Equal(t, "10.0.0.3:7233", f.Cluster.Address, "a flag wins")
	require.Equal(t, "--address", f.Origin("cluster.address").String())
	require.Equal(t, []string{"worker"}, f.Cluster.Services)
	require.Equal(t, []string{"a.example", "b.example"}, f.Cluster.Hosts, "then the environment")
	require.Equal(t, "10.0.0.2", f.Cluster.Membership.BindIP)
	require.Equal(t, 8234, f.Cluster.Membership.Ports["history"], "what it does not name stays")
	require.Equal(t, 7, f.Persistence.PostgreSQL.MaxConns)
	require.Equal(t, "from-env", f.WebUI.OIDC.ClientID)
	require.Equal(t, "error", f.Log.Level)
	require.Equal(t, "TENON_CLUSTER_HOSTS", f.Origin("cluster.hosts").String())
	require.True(t, strings.HasSuffix(f.Origin("cluster.shards").String(), "tenon.yaml:11:11"), f.Origin("cluster.shards"))

	// Without a file, the environment alone.
	f, err = config.ReadFile(config.FileOptions{Lookup: func(k string) string {
		return map[string]string{"TENON_PERSISTENCE_POSTGRESQL_ADDRESS": "127.0.0.1:5432", "TENON_PERSISTENCE_POSTGRESQL_USER": "u"}[k]
	}})
	require.NoError(t, err)
	require.Equal(t, "u", f.Persistence.PostgreSQL.User)
	require.Nil(t, f.WebUI.OIDC, "what nobody names is not made")
	require.Nil(t, f.Cluster.Membership)
}

func TestEnvName(t *testing.T) {
	for path, want := range map[string]string{
		"dataDir": "TENON_DATA_DIR", "webUI.publicURL": "TENON_WEB_UI_PUBLIC_URL", "persistence.postgresql.tls.caFile": "TENON_PERSISTENCE_POSTGRESQL_TLS_CA_FILE",
		"cluster.membership.bindIP": "TENON_CLUSTER_MEMBERSHIP_BIND_IP", "webUI.oidc.sessionTTL": "TENON_WEB_UI_OIDC_SESSION_TTL",
	} {
		require.Equal(t, want, config.EnvName(path))
	}
}

func TestFileRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"all at once": {
			"cluster:\n  adress: 1\n  client_auth: x\n  shards: many\nnonsense: 1\n",
			[]string{"tenon.yaml:2:3: cluster.adress: unknown key (known here: address", "tenon.yaml:3:3: cluster.client_auth: unknown key (is it clientAuth?)", `tenon.yaml:4:11: cluster.shards: "many" is not a number`, "tenon.yaml:5:1: nonsense: unknown key"},
		},
		"not yaml":            {"cluster:\n  address: a: b\n", []string{"tenon.yaml:2:1: mapping values are not allowed"}},
		"two documents":       {"dataDir: a\n---\ndataDir: b\n", []string{"more than one document"}},
		"twice":               {"dataDir: a\ndataDir: b\n", []string{"tenon.yaml:2:1: dataDir: is given twice"}},
		"wrong shapes":        {"cluster: []\nlog: {level: [info]}\naudit: {keep: soon}\nissuers: {}\n", []string{"1:10: cluster: want a mapping", "2:14: log.level: want a single value", `3:15: audit.keep: "soon" is not a duration`, "4:10: issuers: want a list"}},
		"literal secret":      {"persistence: {postgresql: {address: 'localhost:1', user: u, password: hunter2}}\n", []string{"1:71: persistence.postgresql.password: want a reference to the secret"}},
		"unknown store":       {"persistence: {postgresql: {address: 'localhost:1', user: u, password: 'pass:hunter2'}}\n", []string{"want a reference to the secret"}},
		"in the clear":        {"persistence: {postgresql: {address: 'db:5432', user: u}}\n", []string{"1:27: persistence.postgresql.tls: is missing"}},
		"both stores":         {"persistence: {sqlite: a.db, postgresql: {address: 'localhost:1', user: u}}\n", []string{"exclude each other"}},
		"half a database":     {"persistence: {postgresql: {user: u}}\n", []string{"has not the form host:port"}},
		"services alone":      {"cluster: {services: [frontend]}\n", []string{"does not run internal-frontend needs cluster.membership"}},
		"unknown service":     {"cluster: {services: [frontend, backend]}\n", []string{`1:32: cluster.services[1]: "backend" is not one of`}},
		"membership":          {"cluster: {membership: {bindIP: 0.0.0.0, ports: {frontend: 1, worker: 99}}}\n", []string{"is not an IP address that the other nodes can reach", "ports.frontend: is not one of", "ports.worker: 99 is outside", "need persistence.postgresql"}},
		"namespaces":          {"cluster: {namespaces: [{name: 'a:b'}, {retention: 1m}, {name: c}, {name: c, searchAttributes: {X: Keywrd}}]}\n", []string{"contains a colon", "namespaces[1].name: is missing", "less than an hour", `"c" is given twice`, `"Keywrd" is not one of`}},
		"issuer":              {"issuers: [{issuer: a}]\n", []string{"1:11: issuers[0].keySource: is missing", "issuers[0].audience: is missing"}},
		"web ui without oidc": {"webUI: {address: '127.0.0.1:1'}\n", []string{"nobody could sign in"}},
		"web ui":              {"webUI: {oidc: {issuer: 'http://a', groups: {g: [admin]}}}\n", []string{"is not an https URL", "clientId: is missing", `"admin" has not the form namespace:role`}},
		"absent file":         {"cluster: {accessRules: rules.yaml}\n", []string{"rules.yaml does not exist"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readFile(t, c.text, nil, nil)
			var e *config.Error
			require.ErrorAs(t, err, &e)
			require.Contains(t, e.Hint, "tenon config check")
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err := config.ReadFile(config.FileOptions{Path: "/nowhere/tenon.yaml"})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = readFile(t, "", map[string]string{"TENON_CLUSTER_SHARDS": "x"}, nil)
	require.ErrorContains(t, err, `TENON_CLUSTER_SHARDS: cluster.shards: "x" is not a number`)
}

func TestFileSecret(t *testing.T) {
	f, err := readFile(t, "", nil, nil)
	require.NoError(t, err)
	path := filepath.Join(filepath.Dir(f.Path()), "pw")
	require.NoError(t, os.WriteFile(path, []byte("s3cret\n"), 0o600))
	for _, ref := range []secret.Ref{"file:pw", secret.Ref("file:" + path)} {
		v, err := f.Secret(context.Background(), ref, nil)
		require.NoError(t, err)
		require.Equal(t, "s3cret", v.Reveal())
	}
	require.NoError(t, os.Chmod(path, 0o644))
	_, err = f.Secret(context.Background(), "file:pw", nil)
	require.ErrorContains(t, err, "may read the secret")
	_, err = f.Secret(context.Background(), "file:gone", nil)
	require.ErrorIs(t, err, secret.ErrNotFound)
	v, err := f.Secret(context.Background(), "", nil)
	require.NoError(t, err)
	require.True(t, v.IsZero())
}
