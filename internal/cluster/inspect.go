package cluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/blang/semver/v4"
)

// SchemaState is how far a database's schema is. A database that is missing or
// empty is at 0.0.
type SchemaState struct {
	Database   string
	Have, Want string
	// Behind wants an upgrade, which New makes; Newer is refused by New.
	Behind, Newer bool
}

// PostgresState is what can be seen of a PostgreSQL server without changing it.
type PostgresState struct {
	Schemas []SchemaState
	// Skew is how far our clock is ahead of the server's.
	Skew time.Duration
}

// InspectPostgres looks at the databases of a cluster and changes nothing. Its
// errors are those of New.
func InspectPostgres(ctx context.Context, p Postgres, now func() time.Time) (*PostgresState, error) {
	p = p.withDefaults()
	state := &PostgresState{}
	for _, d := range []struct {
		name string
		kind schemaKind
	}{{p.Database, mainSchema}, {p.VisibilityDatabase, visibilitySchema}} {
		schema, skew, err := p.inspect(ctx, d.name, d.kind, now)
		if err != nil {
			return nil, fmt.Errorf("postgresql at %s, database %q: %w", p.Address, d.name, explainPostgres(err))
		}
		state.Schemas = append(state.Schemas, schema)
		if skew.Abs() > state.Skew.Abs() {
			state.Skew = skew
		}
	}
	return state, nil
}

func (p Postgres) inspect(ctx context.Context, database string, kind schemaKind, now func() time.Time) (_ SchemaState, skew time.Duration, err error) {
	state := SchemaState{Database: database, Have: "0.0", Want: kind.version, Behind: true}
	db, err := p.open(database)
	if err != nil {
		return state, 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var conn *sql.Conn
	if conn, err = db.Conn(ctx); err != nil {
		if sqlState(err) == "3D000" { // invalid_catalog_name
			return state, 0, nil
		}
		return state, 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if skew, err = clockSkew(ctx, conn, now); err != nil {
		return state, 0, err
	}
	have, err := schemaVersion(ctx, conn, database)
	if err != nil {
		return state, 0, err
	}
	want, err := semver.ParseTolerant(kind.version)
	if err != nil {
		return state, 0, err
	}
	state.Have = fmt.Sprintf("%d.%d", have.Major, have.Minor)
	state.Behind, state.Newer = have.LT(want), have.GT(want)
	return state, skew, nil
}
