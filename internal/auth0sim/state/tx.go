package state

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrReadOnly is returned by a write inside Tenant.View.
var ErrReadOnly = errors.New("write in a read transaction")

// ErrCursor is returned for a cursor that List did not make.
var ErrCursor = errors.New("malformed cursor")

// Tx is a running transaction of one tenant. Not safe for concurrent use, and
// not usable after its function returned.
type Tx struct {
	store   *Store
	conn    *conn
	tenant  string
	write   bool
	touched map[string]bool
	made    []collectionKey
}

// Tenant is the name of the tenant that the transaction works on.
func (tx *Tx) Tenant() string { return tx.tenant }

// Now is Store.Now.
func (tx *Tx) Now() time.Time { return tx.store.Now() }

// Store is the store that the transaction runs in; it must not be used to
// begin another transaction.
func (tx *Tx) Store() *Store { return tx.store }

// NewID is Store.NewID.
func (tx *Tx) NewID(kind Kind) string { return tx.store.NewID(kind) }

// Key joins the parts of a compound identifier.
func Key(parts ...string) string { return strings.Join(parts, "\x1f") }

// SplitKey undoes Key.
func SplitKey(key string) []string { return strings.Split(key, "\x1f") }

// Get returns a document; the caller owns it.
func (tx *Tx) Get(family, id string) (Doc, bool, error) {
	coll, ok, err := tx.collection(family)
	if err != nil || !ok {
		return nil, false, err
	}
	_, d, ok, err := tx.fetch(coll, family, id)
	return d, ok, err
}

func (tx *Tx) fetch(coll int64, family, id string) (seq int64, d Doc, ok bool, err error) {
	var body []byte
	row, err := tx.conn.queryRow("SELECT seq, body FROM docs WHERE coll=? AND id=?", coll, id)
	if err != nil {
		return 0, nil, false, err
	}
	switch err := row.Scan(&seq, &body); {
	case errors.Is(err, sql.ErrNoRows):
		return 0, nil, false, nil
	case err != nil:
		return 0, nil, false, fmt.Errorf("get %s %s: %w", family, id, err)
	}
	d, err = decode(body)
	return seq, d, err == nil, err
}

// Put stores the document under the id, replacing one that is there; a
// replaced document keeps its place in List's order.
func (tx *Tx) Put(family, id string, d Doc) error {
	if !tx.write {
		return fmt.Errorf("put %s: %w", family, ErrReadOnly)
	}
	coll, err := tx.makeCollection(family)
	if err != nil {
		return err
	}
	body, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("put %s: %w", family, err)
	}
	seq, old, exists, err := tx.fetch(coll, family, id)
	if err != nil {
		return err
	}
	if exists {
		err = tx.conn.exec("UPDATE docs SET body=? WHERE seq=?", body, seq)
	} else {
		seq, err = tx.conn.insert("INSERT INTO docs(coll, id, body) VALUES(?,?,?)", coll, id, body)
	}
	if err != nil {
		return fmt.Errorf("put %s %s: %w", family, id, err)
	}
	tx.touch(family)
	return tx.reindex(coll, family, seq, old, d)
}

// Delete removes a document and reports whether it was there.
func (tx *Tx) Delete(family, id string) (bool, error) {
	if !tx.write {
		return false, fmt.Errorf("delete %s: %w", family, ErrReadOnly)
	}
	coll, ok, err := tx.collection(family)
	if err != nil || !ok {
		return false, err
	}
	seq, old, ok, err := tx.fetch(coll, family, id)
	if err != nil || !ok {
		return false, err
	}
	if err := tx.conn.exec("DELETE FROM docs WHERE seq=?", seq); err != nil {
		return false, fmt.Errorf("delete %s %s: %w", family, id, err)
	}
	tx.touch(family)
	return true, tx.reindex(coll, family, seq, old, nil)
}

// DeleteWhere removes every document whose index holds the value, and returns
// how many there were.
func (tx *Tx) DeleteWhere(family, index, value string) (int, error) {
	ids, err := tx.IDs(family, index, value)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if _, err := tx.Delete(family, id); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}

// Find returns the documents whose index holds the value, in insertion order.
func (tx *Tx) Find(family, index, value string) ([]Doc, error) {
	docs, _, err := tx.List(family, ListOptions{Index: index, Value: value})
	return docs, err
}

// FindOne returns the first document whose index holds the value.
func (tx *Tx) FindOne(family, index, value string) (Doc, bool, error) {
	docs, _, err := tx.List(family, ListOptions{Index: index, Value: value, Limit: 1})
	if err != nil || len(docs) == 0 {
		return nil, false, err
	}
	return docs[0], true, nil
}

// ListOptions selects and pages a listing.
type ListOptions struct {
	// Index and Value restrict the listing to documents whose index holds the
	// value. Index "" lists the whole family.
	Index, Value string
	// Offset skips documents. Limit 0 means no limit.
	Offset, Limit int
	// After continues behind the place that an earlier List's next names.
	After string
	// Descending lists the newest first.
	Descending bool
}

// List returns documents in insertion order, and the cursor of the following
// page: "" when there is none, or when no Limit was given.
func (tx *Tx) List(family string, o ListOptions) (docs []Doc, next string, err error) {
	coll, ok, err := tx.collection(family)
	if err != nil || !ok {
		return nil, "", err
	}
	from, args, err := tx.from(coll, family, o)
	if err != nil {
		return nil, "", err
	}
	order := " ORDER BY d.seq"
	if o.Descending {
		order += " DESC"
	}
	limit := -1
	if o.Limit > 0 {
		limit = o.Limit + 1
	}
	rows, err := tx.conn.query("SELECT d.seq, d.body"+from+order+" LIMIT ? OFFSET ?", append(args, limit, o.Offset)...)
	if err != nil {
		return nil, "", fmt.Errorf("list %s: %w", family, err)
	}
	defer rows.Close()
	var seq int64
	for rows.Next() {
		if o.Limit > 0 && len(docs) == o.Limit {
			next = strconv.FormatInt(seq, 36)
			break
		}
		var body []byte
		if err := rows.Scan(&seq, &body); err != nil {
			return nil, "", fmt.Errorf("list %s: %w", family, err)
		}
		d, err := decode(body)
		if err != nil {
			return nil, "", fmt.Errorf("list %s: %w", family, err)
		}
		docs = append(docs, d)
	}
	return docs, next, rows.Err()
}

// ListWithCursor is List, but returns the cursor of the place behind the last
// document even if none follows it yet: for readers that come back for more.
// Without documents it returns o.After.
func (tx *Tx) ListWithCursor(family string, o ListOptions) (docs []Doc, last string, err error) {
	coll, ok, err := tx.collection(family)
	if err != nil || !ok {
		return nil, o.After, err
	}
	from, args, err := tx.from(coll, family, o)
	if err != nil {
		return nil, "", err
	}
	limit := -1
	if o.Limit > 0 {
		limit = o.Limit
	}
	rows, err := tx.conn.query("SELECT d.seq, d.body"+from+" ORDER BY d.seq LIMIT ?", append(args, limit)...)
	if err != nil {
		return nil, "", fmt.Errorf("list %s: %w", family, err)
	}
	defer rows.Close()
	last = o.After
	for rows.Next() {
		var seq int64
		var body []byte
		if err := rows.Scan(&seq, &body); err != nil {
			return nil, "", fmt.Errorf("list %s: %w", family, err)
		}
		d, err := decode(body)
		if err != nil {
			return nil, "", fmt.Errorf("list %s: %w", family, err)
		}
		docs, last = append(docs, d), strconv.FormatInt(seq, 36)
	}
	return docs, last, rows.Err()
}

// CursorAt returns the cursor of the place behind a document.
func (tx *Tx) CursorAt(family, id string) (cursor string, found bool, err error) {
	coll, ok, err := tx.collection(family)
	if err != nil || !ok {
		return "", false, err
	}
	seq, _, ok, err := tx.fetch(coll, family, id)
	return strconv.FormatInt(seq, 36), ok, err
}

// IDs returns the identifiers of the documents whose index holds the value, in
// insertion order; with index "" those of the whole family.
func (tx *Tx) IDs(family, index, value string) ([]string, error) {
	coll, ok, err := tx.collection(family)
	if err != nil || !ok {
		return nil, err
	}
	from, args, err := tx.from(coll, family, ListOptions{Index: index, Value: value})
	if err != nil {
		return nil, err
	}
	rows, err := tx.conn.query("SELECT d.id"+from+" ORDER BY d.seq", args...)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", family, err)
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("list %s: %w", family, err)
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// Count returns how many documents List would return without paging.
func (tx *Tx) Count(family string, o ListOptions) (int, error) {
	coll, ok, err := tx.collection(family)
	if err != nil || !ok {
		return 0, err
	}
	from, args, err := tx.from(coll, family, ListOptions{Index: o.Index, Value: o.Value})
	if err != nil {
		return 0, err
	}
	var n int
	row, err := tx.conn.queryRow("SELECT COUNT(*)"+from, args...)
	if err != nil {
		return 0, err
	}
	if err := row.Scan(&n); err != nil {
		return 0, fmt.Errorf("count %s: %w", family, err)
	}
	return n, nil
}

// Scan calls fn for every document in insertion order until it returns false.
// It reads in pages, so fn may use the transaction.
func (tx *Tx) Scan(family string, fn func(Doc) (bool, error)) error {
	for after := ""; ; {
		docs, next, err := tx.List(family, ListOptions{Limit: 1000, After: after})
		if err != nil {
			return err
		}
		for _, d := range docs {
			if more, err := fn(d); err != nil || !more {
				return err
			}
		}
		if next == "" {
			return nil
		}
		after = next
	}
}

func (tx *Tx) from(coll int64, family string, o ListOptions) (string, []any, error) {
	var b strings.Builder
	var args []any
	column := "d.seq"
	if o.Index == "" {
		b.WriteString(" FROM docs d WHERE d.coll=?")
		args = append(args, coll)
	} else {
		n, err := indexNumber(family, o.Index)
		if err != nil {
			return "", nil, err
		}
		b.WriteString(" FROM idx i JOIN docs d ON d.seq=i.seq WHERE i.coll=? AND i.name=? AND i.value=?")
		args = append(args, coll, n, o.Value)
		column = "i.seq"
	}
	if o.After != "" {
		seq, err := strconv.ParseInt(o.After, 36, 64)
		if err != nil {
			return "", nil, fmt.Errorf("list %s: %w", family, ErrCursor)
		}
		op := ">"
		if o.Descending {
			op = "<"
		}
		b.WriteString(" AND " + column + op + "?")
		args = append(args, seq)
	}
	return b.String(), args, nil
}

// collection returns the number of the tenant's family; false if nothing was
// ever written to it.
func (tx *Tx) collection(family string) (int64, bool, error) {
	k := collectionKey{tx.tenant, family}
	tx.store.mu.Lock()
	id, ok := tx.store.collections[k]
	tx.store.mu.Unlock()
	if ok {
		return id, true, nil
	}
	row, err := tx.conn.queryRow("SELECT id FROM collections WHERE tenant=? AND family=?", tx.tenant, family)
	if err != nil {
		return 0, false, err
	}
	switch err := row.Scan(&id); {
	case errors.Is(err, sql.ErrNoRows):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("look up family %s: %w", family, err)
	}
	tx.remember(k, id)
	return id, true, nil
}

func (tx *Tx) makeCollection(family string) (int64, error) {
	id, ok, err := tx.collection(family)
	if err != nil || ok {
		return id, err
	}
	id, err = tx.conn.insert("INSERT INTO collections(tenant, family) VALUES(?,?)", tx.tenant, family)
	if err != nil {
		return 0, fmt.Errorf("make family %s: %w", family, err)
	}
	tx.remember(collectionKey{tx.tenant, family}, id)
	return id, nil
}

func (tx *Tx) remember(k collectionKey, id int64) {
	tx.store.mu.Lock()
	tx.store.collections[k] = id
	tx.store.mu.Unlock()
	if tx.write {
		tx.made = append(tx.made, k)
	}
}

// Touch makes the commit wake those who watch the family, as a Put would.
func (tx *Tx) Touch(family string) { tx.touch(family) }

func (tx *Tx) touch(family string) {
	if tx.touched == nil {
		tx.touched = map[string]bool{}
	}
	tx.touched[family] = true
}

// reindex brings the index rows of one document from its old to its new
// content; either may be nil.
func (tx *Tx) reindex(coll int64, family string, seq int64, old, new Doc) error {
	for n, index := range families[family] {
		before, after := valuesOf(index, old), valuesOf(index, new)
		for v := range before {
			if !after[v] {
				if err := tx.conn.exec("DELETE FROM idx WHERE coll=? AND name=? AND value=? AND seq=?", coll, n, v, seq); err != nil {
					return fmt.Errorf("index %s by %s: %w", family, index.Name, err)
				}
			}
		}
		for v := range after {
			if !before[v] {
				if err := tx.conn.exec("INSERT INTO idx(coll, name, value, seq) VALUES(?,?,?,?)", coll, n, v, seq); err != nil {
					return fmt.Errorf("index %s by %s: %w", family, index.Name, err)
				}
			}
		}
	}
	return nil
}

func valuesOf(index Index, d Doc) map[string]bool {
	if d == nil {
		return nil
	}
	out := map[string]bool{}
	for _, v := range index.Values(d) {
		if v != "" {
			out[v] = true
		}
	}
	return out
}
