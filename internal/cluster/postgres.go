package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/iancoleman/strcase"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql"

	"github.com/tenonhq/tenon/internal/secret"
)

// Defaults of Postgres.
const (
	DefaultDatabase           = "temporal"
	DefaultVisibilityDatabase = "temporal_visibility"
	DefaultPostgresConns      = 20
)

const (
	postgresConnectTimeout = 10 * time.Second
	postgresConnLifetime   = time.Hour
)

// Postgres is a PostgreSQL server, version 12 or later, with two databases.
// Server.New creates them if they are missing and the user may, and brings
// their schemas to the version that the embedded server needs.
type Postgres struct {
	// Address is host:port. Required.
	Address string
	// User and Password; the password may be empty where the server trusts.
	User     string
	Password secret.Value
	// Database holds workflows, VisibilityDatabase what lists and searches
	// read. Default to DefaultDatabase and DefaultVisibilityDatabase.
	Database           string
	VisibilityDatabase string
	// TLS verifies the server, always with its name. It is required unless
	// Address is on loopback or Plaintext is set.
	TLS *PostgresTLS
	// Plaintext permits a connection without TLS to another machine: password
	// exchange and histories then cross the network in the clear.
	Plaintext bool
	// MaxConns bounds the connections to each of the two databases, from each
	// service of this process. Defaults to DefaultPostgresConns.
	MaxConns int
}

// PostgresTLS are PEM files, read again for each new connection.
type PostgresTLS struct {
	// CAFile holds the certificates to trust. Empty means the system's.
	CAFile string
	// CertFile and KeyFile are the client certificate, if the server wants one.
	CertFile, KeyFile string
	// ServerName defaults to the host of the address.
	ServerName string
}

func (p Postgres) withDefaults() Postgres {
	if p.Database == "" {
		p.Database = DefaultDatabase
	}
	if p.VisibilityDatabase == "" {
		p.VisibilityDatabase = DefaultVisibilityDatabase
	}
	if p.MaxConns == 0 {
		p.MaxConns = DefaultPostgresConns
	}
	return p
}

func (p Postgres) check() error {
	var problems []error
	host, _, err := p.hostPort()
	if err != nil {
		problems = append(problems, fmt.Errorf("postgresql address %q: %w", p.Address, err))
	} else if p.TLS == nil && !p.Plaintext && !isLoopback(host) {
		problems = append(problems, fmt.Errorf("postgresql address %q: without TLS, passwords and histories would cross the network in the clear", p.Address))
	}
	if p.User == "" {
		problems = append(problems, errors.New("postgresql: no user"))
	}
	if p.TLS != nil && (p.TLS.CertFile == "") != (p.TLS.KeyFile == "") {
		problems = append(problems, errors.New("postgresql: a client certificate needs both its certificate and its key file"))
	}
	if d := p.withDefaults(); d.Database == d.VisibilityDatabase {
		problems = append(problems, fmt.Errorf("postgresql: database %q cannot hold both schemas", d.Database))
	}
	if p.MaxConns < 0 {
		problems = append(problems, fmt.Errorf("postgresql: %d connections", p.MaxConns))
	}
	return errors.Join(problems...)
}

func (p Postgres) hostPort() (string, uint16, error) {
	host, port, err := net.SplitHostPort(p.Address)
	if err != nil || host == "" {
		return "", 0, errors.New("not in the form host:port")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return host, uint16(n), nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}

// open returns a pool of connections to one database. It does not connect.
func (p Postgres) open(database string) (*sql.DB, error) {
	// Only for defaults that a zero value lacks: whatever the environment or a
	// password file has to say about connections is overwritten.
	cfg, err := pgx.ParseConfig("")
	if err != nil {
		return nil, fmt.Errorf("postgresql configuration: %w", err)
	}
	if cfg.Host, cfg.Port, err = p.hostPort(); err != nil {
		return nil, err
	}
	cfg.User, cfg.Password, cfg.Database = p.User, p.Password.Reveal(), database
	cfg.ConnectTimeout = postgresConnectTimeout
	cfg.RuntimeParams = map[string]string{"application_name": "tenon"}
	cfg.TLSConfig = nil
	cfg.Fallbacks = nil // the stock one retries in plaintext
	db := stdlib.OpenDB(*cfg,
		stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) (err error) {
			c.TLSConfig, err = p.tlsConfig(c.Host)
			return err
		}),
		stdlib.OptionAfterConnect(func(_ context.Context, conn *pgx.Conn) error {
			// Temporal keeps durations as numbers of nanoseconds, where pgx
			// would write intervals.
			conn.TypeMap().RegisterDefaultPgType(time.Duration(0), "int8")
			conn.TypeMap().RegisterDefaultPgType((*time.Duration)(nil), "int8")
			return nil
		}))
	db.SetMaxOpenConns(p.MaxConns)
	db.SetMaxIdleConns(p.MaxConns)
	db.SetConnMaxLifetime(postgresConnLifetime)
	return db, nil
}

func (p Postgres) tlsConfig(host string) (*tls.Config, error) {
	if p.TLS == nil {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: p.TLS.ServerName}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	if p.TLS.CAFile != "" {
		text, err := os.ReadFile(p.TLS.CAFile)
		if err != nil {
			return nil, fmt.Errorf("postgresql CA: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("postgresql CA %s: no certificate in it", p.TLS.CAFile)
		}
	}
	if p.TLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(p.TLS.CertFile, p.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("postgresql client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// config is how the server opens one of the databases: through open, because
// the stock connection string cannot verify a server as strictly, cannot carry
// every password, and reads certificates once.
func (p Postgres) config(database string) *config.SQL {
	return &config.SQL{
		PluginName:   postgresql.PluginNamePGX,
		DatabaseName: database,
		// Required by validation, and said in messages.
		ConnectAddr: p.Address, ConnectProtocol: "tcp", User: p.User,
		MaxConns: p.MaxConns, MaxIdleConns: p.MaxConns, MaxConnLifetime: postgresConnLifetime,
		Connect: func(*config.SQL) (*sqlx.DB, error) {
			db, err := p.open(database)
			if err != nil {
				return nil, err
			}
			x := sqlx.NewDb(db, "pgx")
			x.MapperFunc(strcase.ToSnake) // as the plugin's queries expect
			if err := x.Ping(); err != nil {
				return nil, errors.Join(err, x.Close())
			}
			return x, nil
		},
	}
}

func openPostgres(ctx context.Context, p Postgres) (*store, error) {
	p = p.withDefaults()
	for _, d := range []struct {
		name   string
		schema schemaKind
	}{{p.Database, mainSchema}, {p.VisibilityDatabase, visibilitySchema}} {
		if err := p.prepare(ctx, d.name, d.schema); err != nil {
			return nil, fmt.Errorf("postgresql at %s, database %q: %w", p.Address, d.name, explainPostgres(err))
		}
	}
	return &store{
		config: sqlPersistence(p.config(p.Database), p.config(p.VisibilityDatabase)),
		close:  func() error { return nil },
	}, nil
}

// ErrDatabaseCredentials is wrapped by New's error when PostgreSQL refuses user
// or password, ErrDatabaseUnreachable when nothing answers at its address.
var (
	ErrDatabaseCredentials = errors.New("user or password is refused")
	ErrDatabaseUnreachable = errors.New("nothing answers there")
)

// explainPostgres says what the server's shorter answers mean for whoever
// configured it.
func explainPostgres(err error) error {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		var network *net.OpError
		if errors.As(err, &network) && network.Op == "dial" {
			return fmt.Errorf("%w: %w", ErrDatabaseUnreachable, network)
		}
		return err
	}
	switch refused.Code {
	case "28P01", "28000": // invalid_password, invalid_authorization_specification
		return fmt.Errorf("%w: %w", ErrDatabaseCredentials, refused)
	case "42501": // insufficient_privilege
		return fmt.Errorf("the user may not do what is needed; let an administrator create the database, owned by this user: %w", err)
	}
	return err
}

// prepare brings one database to the schema version that the server needs, and
// creates it if there is none.
func (p Postgres) prepare(ctx context.Context, database string, kind schemaKind) (err error) {
	db, err := p.open(database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if sqlState(err) == "3D000" { // invalid_catalog_name
		if err := p.create(ctx, database); err != nil {
			return fmt.Errorf("create it: %w", err)
		}
		conn, err = db.Conn(ctx)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return upgrade(ctx, conn, database, kind)
}

// maintenanceDatabase exists in every PostgreSQL server.
const maintenanceDatabase = "postgres"

func (p Postgres) create(ctx context.Context, database string) (err error) {
	db, err := p.open(maintenanceDatabase)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.ExecContext(ctx, `CREATE DATABASE `+pgx.Identifier{database}.Sanitize())
	switch sqlState(err) {
	case "42P04", "23505": // duplicate_database: another process was faster
		return nil
	}
	return err
}

func sqlState(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}
