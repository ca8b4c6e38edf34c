package cluster

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // Temporal's own tools record this hash of a manifest; it protects nothing
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/blang/semver/v4"
	"go.temporal.io/server/common/persistence"
	temporalschema "go.temporal.io/server/schema"
	postgresschema "go.temporal.io/server/schema/postgresql/v12"
)

// schemaKind is one of Temporal's two schemas.
type schemaKind struct {
	folder  string // in the server's embedded files
	version string // that this server needs
}

var (
	mainSchema       = schemaKind{"postgresql/v12/temporal", postgresschema.Version}
	visibilitySchema = schemaKind{"postgresql/v12/visibility", postgresschema.VisibilityVersion}
)

// The two tables in which Temporal's own tools keep versions; either may
// continue where the other left off.
const versionTables = `
CREATE TABLE IF NOT EXISTS schema_version (
	version_partition      INT          NOT NULL,
	db_name                VARCHAR(255) NOT NULL,
	creation_time          TIMESTAMP,
	curr_version           VARCHAR(64),
	min_compatible_version VARCHAR(64),
	PRIMARY KEY (version_partition, db_name));
CREATE TABLE IF NOT EXISTS schema_update_history (
	version_partition INT       NOT NULL,
	year              INT       NOT NULL,
	month             INT       NOT NULL,
	update_time       TIMESTAMP NOT NULL,
	description       VARCHAR(255),
	manifest_md5      VARCHAR(64),
	new_version       VARCHAR(64),
	old_version       VARCHAR(64),
	PRIMARY KEY (version_partition, year, month, update_time))`

// upgradeLock is held by the process that upgrades a database, so that several
// nodes can start at once on an empty one. Any number serves that nobody else
// locks.
const (
	upgradeLock         = 0x74656e6f6e // "tenon"
	upgradeLockInterval = 100 * time.Millisecond
)

// upgrade brings the database of conn to the version that the server needs.
func upgrade(ctx context.Context, conn *sql.Conn, database string, kind schemaKind) (err error) {
	if err := lockUpgrade(ctx, conn); err != nil {
		return fmt.Errorf("wait for another node's upgrade: %w", err)
	}
	defer func() {
		_, unlock := conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(upgradeLock))
		err = errors.Join(err, unlock)
	}()

	want, err := semver.ParseTolerant(kind.version)
	if err != nil {
		return err
	}
	have, err := schemaVersion(ctx, conn, database)
	if err != nil {
		return err
	}
	if have.GT(want) {
		return fmt.Errorf("%w: its schema is at %d.%d, this version knows %s", ErrNewerDatabase, have.Major, have.Minor, kind.version)
	}
	if have.Equals(want) {
		return nil
	}
	if _, err := conn.ExecContext(ctx, versionTables); err != nil {
		return fmt.Errorf("create the version tables: %w", err)
	}
	steps, err := stepsBetween(kind, have, want)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if err := step.apply(ctx, conn, database); err != nil {
			return fmt.Errorf("upgrade its schema to %s: %w", step.version, err)
		}
	}
	return nil
}

// lockUpgrade asks again and again instead of waiting in the database: a
// statement that waits is a transaction, for whose end the index builds of an
// upgrade wait in turn.
func lockUpgrade(ctx context.Context, conn *sql.Conn) error {
	again := time.NewTicker(upgradeLockInterval)
	defer again.Stop()
	for {
		var locked bool
		if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, int64(upgradeLock)).Scan(&locked); err != nil {
			return err
		}
		if locked {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// schemaVersion is 0.0 for an empty database.
func schemaVersion(ctx context.Context, conn *sql.Conn, database string) (semver.Version, error) {
	var text string
	err := conn.QueryRowContext(ctx, `SELECT curr_version FROM schema_version WHERE version_partition = 0 AND db_name = $1`, database).Scan(&text)
	switch {
	case errors.Is(err, sql.ErrNoRows), sqlState(err) == "42P01": // undefined_table
		return semver.Version{}, nil
	case err != nil:
		return semver.Version{}, fmt.Errorf("read its schema version: %w", err)
	}
	v, err := semver.ParseTolerant(text)
	if err != nil {
		return v, fmt.Errorf("schema version %q: %w", text, err)
	}
	return v, nil
}

// schemaStep leads from one version to the next.
type schemaStep struct {
	version, from string
	compatible    string
	description   string
	hash          string
	statements    []string
}

func stepsBetween(kind schemaKind, have, want semver.Version) ([]schemaStep, error) {
	files := temporalschema.Assets()
	root := path.Join(kind.folder, "versioned")
	folders, err := fs.ReadDir(files, root)
	if err != nil {
		return nil, err
	}
	type candidate struct {
		semver.Version
		folder string
	}
	var candidates []candidate
	for _, f := range folders {
		v, err := semver.ParseTolerant(strings.TrimPrefix(f.Name(), "v"))
		if err != nil {
			return nil, fmt.Errorf("schema folder %s: %w", f.Name(), err)
		}
		if v.GT(have) && v.LTE(want) {
			candidates = append(candidates, candidate{v, path.Join(root, f.Name())})
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int { return a.Compare(b.Version) })

	from := fmt.Sprintf("%d.%d", have.Major, have.Minor)
	var steps []schemaStep
	for _, c := range candidates {
		s, err := readStep(files, c.folder)
		if err != nil {
			return nil, fmt.Errorf("schema folder %s: %w", c.folder, err)
		}
		s.from, from = from, s.version
		steps = append(steps, s)
	}
	return steps, nil
}

func readStep(files fs.FS, folder string) (schemaStep, error) {
	text, err := fs.ReadFile(files, path.Join(folder, "manifest.json"))
	if err != nil {
		return schemaStep{}, err
	}
	var manifest struct {
		CurrVersion, MinCompatibleVersion, Description string
		SchemaUpdateCqlFiles                           []string
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		return schemaStep{}, err
	}
	hash := md5.Sum(text) //nolint:gosec // see the import
	s := schemaStep{
		version:     manifest.CurrVersion,
		compatible:  cmp.Or(manifest.MinCompatibleVersion, manifest.CurrVersion),
		description: manifest.Description,
		hash:        hex.EncodeToString(hash[:]),
	}
	for _, name := range manifest.SchemaUpdateCqlFiles {
		text, err := fs.ReadFile(files, path.Join(folder, name))
		if err != nil {
			return s, err
		}
		statements, err := persistence.LoadAndSplitQueryFromReaders([]io.Reader{bytes.NewReader(text)})
		if err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
		s.statements = append(s.statements, statements...)
	}
	return s, nil
}

type executor interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// apply makes the step and records it, in one transaction; unless it builds an
// index without locking the table, which PostgreSQL does outside of one. Those
// steps are written to be repeated.
func (s schemaStep) apply(ctx context.Context, conn *sql.Conn, database string) error {
	if slices.ContainsFunc(s.statements, func(q string) bool {
		return strings.Contains(strings.ToUpper(q), "CONCURRENTLY")
	}) {
		return s.execute(ctx, conn, database)
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := s.execute(ctx, tx, database); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (s schemaStep) execute(ctx context.Context, to executor, database string) error {
	for _, q := range s.statements {
		if _, err := to.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", firstLine(q), err)
		}
	}
	now := time.Now().UTC()
	if _, err := to.ExecContext(ctx, `
		INSERT INTO schema_version (version_partition, db_name, creation_time, curr_version, min_compatible_version)
		VALUES (0, $1, $2, $3, $4)
		ON CONFLICT (version_partition, db_name) DO UPDATE SET creation_time = excluded.creation_time,
			curr_version = excluded.curr_version, min_compatible_version = excluded.min_compatible_version`,
		database, now, s.version, s.compatible); err != nil {
		return fmt.Errorf("record the version: %w", err)
	}
	if _, err := to.ExecContext(ctx, `
		INSERT INTO schema_update_history
			(version_partition, year, month, update_time, old_version, new_version, manifest_md5, description)
		VALUES (0, $1, $2, $3, $4, $5, $6, $7)`,
		now.Year(), int(now.Month()), now, s.from, s.version, s.hash, s.description); err != nil {
		return fmt.Errorf("record the upgrade: %w", err)
	}
	return nil
}
