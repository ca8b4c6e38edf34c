package state

import (
	"context"
	"errors"
	"fmt"
)

// ErrNoSnapshot is returned by Restore for a name that was never taken.
var ErrNoSnapshot = errors.New("no such snapshot")

// Reset empties the tenant but keeps its signing keys: tokens that were issued
// stay verifiable, and making keys takes longer than everything else.
func (t *Tenant) Reset(ctx context.Context) error {
	return t.Update(ctx, func(tx *Tx) error { return tx.clear(true) })
}

func (tx *Tx) clear(keepKeys bool) error {
	kept := signingKeys
	if !keepKeys {
		kept = ""
	}
	const mine = "(SELECT id FROM collections WHERE tenant=? AND family<>?)"
	for _, table := range []string{"idx", "docs"} {
		if err := tx.conn.exec("DELETE FROM "+table+" WHERE coll IN "+mine, tx.tenant, kept); err != nil {
			return fmt.Errorf("clear tenant %s: %w", tx.tenant, err)
		}
	}
	return nil
}

// Snapshot saves everything the tenant holds under a name, replacing an earlier
// snapshot of that name. Snapshots live in the same database.
func (t *Tenant) Snapshot(ctx context.Context, name string) error {
	return t.Update(ctx, func(tx *Tx) error {
		if err := tx.conn.exec("DELETE FROM snapshots WHERE name=? AND tenant=?", name, t.name); err != nil {
			return fmt.Errorf("snapshot %s: %w", name, err)
		}
		err := tx.conn.exec(`INSERT INTO snapshots(name, tenant, family, id, body)
			SELECT ?, c.tenant, c.family, d.id, d.body FROM docs d JOIN collections c ON c.id=d.coll WHERE c.tenant=? ORDER BY d.seq`, name, t.name)
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", name, err)
		}
		// The name alone, so that the snapshot of an empty tenant exists too.
		return tx.conn.exec("INSERT INTO snapshots(name, tenant, family, id, body) VALUES(?,?,'','','')", name, t.name)
	})
}

// Restore puts the tenant back to what it was at Snapshot.
func (t *Tenant) Restore(ctx context.Context, name string) error {
	return t.Update(ctx, func(tx *Tx) error {
		type row struct {
			family, id string
			body       []byte
		}
		rows, err := tx.conn.query("SELECT family, id, body FROM snapshots WHERE name=? AND tenant=? ORDER BY rowid", name, t.name)
		if err != nil {
			return fmt.Errorf("restore %s: %w", name, err)
		}
		var all []row
		found := false
		for rows.Next() {
			var r row
			if err := rows.Scan(&r.family, &r.id, &r.body); err != nil {
				return errors.Join(fmt.Errorf("restore %s: %w", name, err), rows.Close())
			}
			found = true
			if r.family != "" {
				all = append(all, r)
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return fmt.Errorf("restore %s: %w", name, err)
		}
		if !found {
			return fmt.Errorf("restore %s: %w", name, ErrNoSnapshot)
		}
		if err := tx.clear(false); err != nil {
			return err
		}
		for _, r := range all {
			d, err := decode(r.body)
			if err != nil {
				return fmt.Errorf("restore %s: %w", name, err)
			}
			if err := tx.Put(r.family, r.id, d); err != nil {
				return err
			}
		}
		return nil
	})
}

// Snapshots lists the tenant's snapshots by name.
func (t *Tenant) Snapshots(ctx context.Context) ([]string, error) {
	names := []string{}
	err := t.View(ctx, func(tx *Tx) error {
		rows, err := tx.conn.query("SELECT DISTINCT name FROM snapshots WHERE tenant=? ORDER BY name", t.name)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var n string
			if err := rows.Scan(&n); err != nil {
				return err
			}
			names = append(names, n)
		}
		return rows.Err()
	})
	return names, err
}

// Families counts the tenant's documents by family.
func (t *Tenant) Families(ctx context.Context) (map[string]int, error) {
	out := map[string]int{}
	err := t.View(ctx, func(tx *Tx) error {
		rows, err := tx.conn.query("SELECT c.family, COUNT(*) FROM docs d JOIN collections c ON c.id=d.coll WHERE c.tenant=? GROUP BY c.family", t.name)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var family string
			var n int
			if err := rows.Scan(&family, &n); err != nil {
				return err
			}
			out[family] = n
		}
		return rows.Err()
	})
	return out, err
}
