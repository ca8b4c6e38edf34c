package cluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/blang/semver/v4"
	"github.com/google/uuid"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
	temporalsql "go.temporal.io/server/common/persistence/sql"
	"go.temporal.io/server/common/persistence/sql/sqlplugin"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/resolver"
	sqliteschema "go.temporal.io/server/schema/sqlite"
	_ "modernc.org/sqlite" // the driver that the server's plugin uses too
)

// The stamp table says who wrote the file. Temporal keeps no version in a
// SQLite file and checks none, so an older server would happily open a newer
// one's file, and a newer server an older one's, and each would fail later and
// in the middle of something.
const (
	stampFormat = 1
	stampSchema = `CREATE TABLE tenon_stamp (
		id       INTEGER PRIMARY KEY CHECK (id = 1),
		format   INTEGER NOT NULL,
		temporal TEXT    NOT NULL
	)`
)

func checkSQLitePath(path string) error {
	// The driver takes a URI into which the server writes the path as it is.
	if strings.ContainsAny(path, "?#%") {
		return fmt.Errorf("path %q contains one of ? # %%, which a SQLite URI cannot carry", path)
	}
	return nil
}

// sqliteConfig is how the server opens its file.
//
// One connection: SQLite has one writer anyway, and Temporal opens its
// transactions as readers, so that a second connection earns "database is
// locked" instead of speed. The exclusive lock keeps a second process out for
// as long as we run, and spares the traffic with the shared-memory index.
// Write-ahead logging with a full sync makes what was acknowledged survive a
// power cut.
func sqliteConfig(path string) *config.SQL {
	return &config.SQL{
		PluginName:   sqlite.PluginName,
		DatabaseName: path,
		// Required by validation, and not used for a file.
		ConnectAddr: "localhost", ConnectProtocol: "tcp",
		MaxConns: 1, MaxIdleConns: 1,
		ConnectAttributes: map[string]string{
			"mode":         "rw",
			"journal_mode": "wal",
			"locking_mode": "exclusive",
			"synchronous":  "full",
			"busy_timeout": "2000",
			"cache_size":   "-8000", // KiB
			"temp_store":   "memory",
			// Temporal's plugin keeps a connection for each distinct set of
			// attributes until the process ends. An attribute of our own, which
			// SQLite ignores as a pragma that it does not know, keeps a server
			// from being given the connection of an earlier one, whose file may
			// since have been replaced.
			"tenon_instance": strconv.FormatUint(uint64(uuid.New().ID()), 10),
		},
	}
}

// releaseSQLite lets go of the file, through the connection that the plugin
// will not close. What is left is a single file, without a log beside it, that
// can be copied or opened by the next process.
func releaseSQLite(cfg *config.SQL) (err error) {
	db, err := temporalsql.NewSQLAdminDB(sqlplugin.DbKindUnknown, cfg, resolver.NewNoopResolver(),
		log.NewNoopLogger(), metrics.NoopMetricsHandler)
	if err != nil {
		return fmt.Errorf("close the database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, statement := range []string{
		`PRAGMA journal_mode = delete`, // merges the log into the file
		`PRAGMA locking_mode = normal`,
		`SELECT 1 FROM tenon_stamp`, // the lock goes at the end of the next access
	} {
		if err := db.Exec(statement); err != nil {
			return fmt.Errorf("close the database: %w", err)
		}
	}
	return nil
}

func sqlPersistence(main, visibility *config.SQL) config.Persistence {
	return config.Persistence{
		DefaultStore:    "main",
		VisibilityStore: "visibility",
		DataStores: map[string]config.DataStore{
			"main":       {SQL: main},
			"visibility": {SQL: visibility},
		},
	}
}

func openMemory() *store {
	cfg := &config.SQL{
		PluginName: sqlite.PluginName,
		// The name keeps two servers of one process apart.
		DatabaseName: "tenon-" + uuid.NewString(),
		ConnectAddr:  "localhost", ConnectProtocol: "tcp",
		MaxConns: 1, MaxIdleConns: 1,
		ConnectAttributes: map[string]string{"mode": "memory", "cache": "shared"},
	}
	// Temporal's plugin keeps one connection, and with it the database, until
	// the process ends.
	return &store{config: sqlPersistence(cfg, cfg), close: func() error { return nil }}
}

func openSQLite(ctx context.Context, path string) (*store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := checkSQLitePath(path); err != nil {
		return nil, err
	}
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		if err := createSQLite(ctx, path); err != nil {
			return nil, fmt.Errorf("create database %s: %w", path, err)
		}
	case err != nil:
		return nil, fmt.Errorf("open database: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("open database %s: not a file", path)
	case info.Mode().Perm()&0o077 != 0:
		// It holds histories, and whoever can write it can give out work.
		if err := os.Chmod(path, 0o600); err != nil {
			return nil, fmt.Errorf("database %s can be read by others: %w", path, err)
		}
	}
	if err := verifySQLite(ctx, path); err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	cfg := sqliteConfig(path)
	return &store{config: sqlPersistence(cfg, cfg), close: func() error { return releaseSQLite(cfg) }}, nil
}

// createSQLite builds the database beside its place and moves it there when it
// is complete, so that an interrupted first start leaves nothing to trip over.
func createSQLite(ctx context.Context, path string) (err error) {
	draft, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // 0600
	if err != nil {
		return err
	}
	name := draft.Name()
	defer func() {
		if err != nil {
			err = errors.Join(err, removeAll(name, name+"-wal", name+"-shm", name+"-journal"))
		}
	}()
	if err := draft.Close(); err != nil {
		return err
	}

	if err := writeSchema(ctx, name); err != nil {
		return err
	}
	if err := syncFile(name); err != nil {
		return err
	}
	// Link fails if the name is taken, where Rename would replace a database
	// that another process has just made.
	if err := os.Link(name, path); err != nil {
		return err
	}
	return os.Remove(name)
}

// writeSchema fills an empty file, in one transaction.
func writeSchema(ctx context.Context, name string) (err error) {
	db, err := openFile(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := sqliteschema.SetupSchemaOnDB(schemaWriter{exec: func(stmt string, args ...any) error {
		_, err := tx.ExecContext(ctx, stmt, args...)
		return err
	}}); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if _, err := tx.ExecContext(ctx, stampSchema); err != nil {
		return errors.Join(fmt.Errorf("write the version stamp: %w", err), tx.Rollback())
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO tenon_stamp VALUES (1, ?, ?)`, stampFormat, headers.ServerVersion); err != nil {
		return errors.Join(fmt.Errorf("write the version stamp: %w", err), tx.Rollback())
	}
	return tx.Commit()
}

// schemaWriter is as much of a database as Temporal's schema needs: it only
// ever executes statements.
type schemaWriter struct {
	sqlplugin.AdminDB
	exec func(stmt string, args ...any) error
}

func (w schemaWriter) Exec(stmt string, args ...any) error { return w.exec(stmt, args...) }

func removeAll(names ...string) error {
	var problems []error
	for _, name := range names {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// openFile opens the file for ourselves alone, for as long as it is looked at.
func openFile(path string) (*sql.DB, error) {
	pragmas := url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout=500", "locking_mode=exclusive"}}
	db, err := sql.Open("sqlite", "file:"+path+"?"+pragmas.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// verifySQLite refuses a file that another process has open, that is not ours,
// or that a newer version has written to; and moves the stamp forward.
func verifySQLite(ctx context.Context, path string) (err error) {
	db, err := openFile(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	// A write lock, because only that tells whether another process has the
	// file, and whether this one may write it.
	tx, err := db.Conn(ctx)
	if err != nil {
		return explainSQLite(err)
	}
	defer func() { err = errors.Join(err, tx.Close()) }()
	if _, err := tx.ExecContext(ctx, `BEGIN EXCLUSIVE`); err != nil {
		return explainSQLite(err)
	}
	committed := false
	defer func() {
		if !committed {
			_, rollback := tx.ExecContext(context.WithoutCancel(ctx), `ROLLBACK`)
			err = errors.Join(err, rollback)
		}
	}()

	var (
		format   int
		temporal string
	)
	switch err := tx.QueryRowContext(ctx, `SELECT format, temporal FROM tenon_stamp`).Scan(&format, &temporal); {
	case err != nil && strings.Contains(err.Error(), "no such table"):
		return errors.New("it has no version stamp: it was not made by tenon")
	case err != nil:
		return explainSQLite(err)
	}
	if format > stampFormat {
		return fmt.Errorf("%w: its format is %d, this version knows %d", ErrNewerDatabase, format, stampFormat)
	}
	wrote, err := semver.Parse(temporal)
	if err != nil {
		return fmt.Errorf("version stamp %q: %w", temporal, err)
	}
	ours, err := semver.Parse(headers.ServerVersion)
	if err != nil {
		return fmt.Errorf("server version %q: %w", headers.ServerVersion, err)
	}
	switch {
	case wrote.GT(ours):
		return fmt.Errorf("%w: temporal server %s has written to it, this version embeds %s", ErrNewerDatabase, wrote, ours)
	case wrote.LT(ours):
		if err := sameSchema(ctx, tx); err != nil {
			return fmt.Errorf("made with temporal server %s, this version embeds %s: %w", wrote, ours, err)
		}
		if _, err := tx.ExecContext(ctx, `UPDATE tenon_stamp SET temporal = ?`, headers.ServerVersion); err != nil {
			return explainSQLite(err)
		}
	}
	if _, err := tx.ExecContext(ctx, `COMMIT`); err != nil {
		return explainSQLite(err)
	}
	committed = true
	return nil
}

func explainSQLite(err error) error {
	switch msg := err.Error(); {
	case strings.Contains(msg, "database is locked"):
		return fmt.Errorf("%w: %w", ErrDatabaseInUse, err)
	case strings.Contains(msg, "not a database"):
		return fmt.Errorf("it is not a SQLite database: %w", err)
	}
	return err
}

// sameSchema compares the tables of a file from an older server with those
// that the embedded server would make. Temporal has no upgrade for SQLite, so
// equality is the only way forward.
func sameSchema(ctx context.Context, have *sql.Conn) (err error) {
	fresh, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return err
	}
	fresh.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, fresh.Close()) }()
	if err := sqliteschema.SetupSchemaOnDB(schemaWriter{exec: func(stmt string, args ...any) error {
		_, err := fresh.ExecContext(ctx, stmt, args...)
		return err
	}}); err != nil {
		return err
	}
	want, err := schemaOf(ctx, fresh)
	if err != nil {
		return err
	}
	got, err := schemaOf(ctx, have)
	if err != nil {
		return err
	}
	for _, statement := range want {
		if !slices.Contains(got, statement) {
			return fmt.Errorf("its tables differ from the ones this version needs, from %q on", firstLine(statement))
		}
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func schemaOf(ctx context.Context, db querier) (statements []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'tenon_stamp' ORDER BY name`)
	if err != nil {
		return nil, explainSQLite(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		statements = append(statements, s)
	}
	return statements, rows.Err()
}
