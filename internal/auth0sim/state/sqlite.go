package state

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
	"sort"
)

// conn is one SQLite connection with its prepared statements. It is used by one
// goroutine at a time, the one that took it out of its pool.
type conn struct {
	sql   *sql.Conn
	stmts map[string]*sql.Stmt
}

func (s *Store) connect() (*conn, error) {
	c, err := s.db.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	out := &conn{sql: c, stmts: map[string]*sql.Stmt{}}
	if err := out.exec("PRAGMA busy_timeout=5000"); err != nil {
		return nil, err
	}
	return out, nil
}

// Statements run with a background context: they take microseconds, and a
// context that can be cancelled makes the driver start a goroutine for each.
func (c *conn) stmt(query string) (*sql.Stmt, error) {
	if st, ok := c.stmts[query]; ok {
		return st, nil
	}
	st, err := c.sql.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = st
	return st, nil
}

func (c *conn) exec(query string, args ...any) error {
	_, err := c.result(query, args...)
	return err
}

func (c *conn) insert(query string, args ...any) (int64, error) {
	r, err := c.result(query, args...)
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

func (c *conn) result(query string, args ...any) (sql.Result, error) {
	st, err := c.stmt(query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(context.Background(), args...)
}

func (c *conn) query(query string, args ...any) (*sql.Rows, error) {
	st, err := c.stmt(query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(context.Background(), args...)
}

func (c *conn) queryRow(query string, args ...any) (*sql.Row, error) {
	st, err := c.stmt(query)
	if err != nil {
		return nil, err
	}
	return st.QueryRowContext(context.Background(), args...), nil
}

func (c *conn) close() {
	for _, st := range c.stmts {
		_ = st.Close() // the connection is closed next, which frees them anyway
	}
	_ = c.sql.Close()
}

var schema = []string{
	`CREATE TABLE IF NOT EXISTS collections(
		id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, family TEXT NOT NULL, UNIQUE(tenant, family))`,
	// AUTOINCREMENT: a cursor must never point at a reused place.
	`CREATE TABLE IF NOT EXISTS docs(
		seq INTEGER PRIMARY KEY AUTOINCREMENT, coll INTEGER NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, UNIQUE(coll, id))`,
	`CREATE INDEX IF NOT EXISTS docs_order ON docs(coll, seq)`,
	`CREATE TABLE IF NOT EXISTS idx(
		coll INTEGER NOT NULL, name INTEGER NOT NULL, value TEXT NOT NULL, seq INTEGER NOT NULL,
		PRIMARY KEY(coll, name, value, seq)) WITHOUT ROWID`,
	`CREATE TABLE IF NOT EXISTS snapshots(
		name TEXT NOT NULL, tenant TEXT NOT NULL, family TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL)`,
}

func migrate(c *conn) error {
	var version int
	row, err := c.queryRow("PRAGMA user_version")
	if err != nil {
		return err
	}
	if err := row.Scan(&version); err != nil {
		return err
	}
	if version > schemaVersion {
		return fmt.Errorf("the file has schema version %d, made by a newer version; this one knows %d", version, schemaVersion)
	}
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, s := range schema {
		if err := c.exec(s); err != nil {
			return err
		}
	}
	if err := c.exec(fmt.Sprintf("PRAGMA user_version=%d", schemaVersion)); err != nil {
		return err
	}
	if err := rebuildIndexes(c); err != nil {
		return err
	}
	return c.exec("COMMIT")
}

// rebuildIndexes makes the index rows anew when the declarations in families.go
// are not those that the file was written with.
func rebuildIndexes(c *conn) error {
	want := fingerprint()
	var have string
	row, err := c.queryRow("SELECT COALESCE((SELECT value FROM meta WHERE key='indexes'), '')")
	if err != nil {
		return err
	}
	if err := row.Scan(&have); err != nil || have == want {
		return err
	}
	if err := c.exec("DELETE FROM idx"); err != nil {
		return err
	}
	type entry struct {
		coll  int64
		name  int
		value string
		seq   int64
	}
	var entries []entry
	rows, err := c.query("SELECT d.coll, c.family, d.seq, d.body FROM docs d JOIN collections c ON c.id=d.coll")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var coll, seq int64
		var family string
		var body []byte
		if err := rows.Scan(&coll, &family, &seq, &body); err != nil {
			return err
		}
		d, err := decode(body)
		if err != nil {
			return err
		}
		for n, index := range families[family] {
			for v := range valuesOf(index, d) {
				entries = append(entries, entry{coll, n, v, seq})
			}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, e := range entries {
		if err := c.exec("INSERT INTO idx(coll, name, value, seq) VALUES(?,?,?,?)", e.coll, e.name, e.value, e.seq); err != nil {
			return err
		}
	}
	return c.exec("INSERT INTO meta(key, value) VALUES('indexes', ?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", want)
}

// indexRevision is raised when an index of the same name begins to hold other
// values than before.
const indexRevision = 2

func fingerprint() string {
	names := []string{fmt.Sprint("revision ", indexRevision)}
	for f, list := range families {
		for n, index := range list {
			names = append(names, fmt.Sprintf("%s/%d/%s", f, n, index.Name))
		}
	}
	sort.Strings(names)
	h := fnv.New64a()
	for _, n := range names {
		fmt.Fprintln(h, n)
	}
	return fmt.Sprintf("%x", h.Sum64())
}
