package cluster

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrNodesDiffer is wrapped by New's error for a node that does not trust what
// the running nodes of its cluster trust.
var ErrNodesDiffer = errors.New("this node does not belong to the cluster")

// ErrClockSkew is wrapped by New's error for a clock that is too far from the
// database's.
var ErrClockSkew = errors.New("the clock is wrong")

// MaxClockSkew is how far a node's clock may be from the database's: beyond it,
// nodes refuse each other's tokens, and timers fire on one of them early.
const MaxClockSkew = 30 * time.Second

const (
	nodeInterval = 15 * time.Second
	// nodeExpiry is after how long a node that was not seen is taken for dead.
	nodeExpiry = 60 * time.Second
	// clusterLock is held by a node alone in its cluster, and shared by the nodes
	// of a larger one: two clusters on one database would take each other's shards
	// away, again and again.
	clusterLock         = 0x74656e6f6f // "tenoo"
	clusterLockWait     = 5 * time.Second
	clusterLockInterval = 250 * time.Millisecond
)

const nodesTable = `
CREATE TABLE IF NOT EXISTS tenon_nodes (
	node  VARCHAR(255) PRIMARY KEY,
	trust TEXT         NOT NULL,
	seen  TIMESTAMPTZ  NOT NULL)`

// nodes is this process's entry among the nodes of its cluster, in the database
// that they share. Gossip would notice a node of another authority too, but
// only as a peer that never answers; here the node learns why.
type nodes struct {
	cfg  Config
	name string
	db   *sql.DB
	log  *slog.Logger

	mu   sync.Mutex
	conn *sql.Conn // holds the lock; nil after it was lost
	said string    // the last problem that was logged
}

// joinNodes enters this process, or says why it may not join.
func joinNodes(ctx context.Context, cfg Config) (_ *nodes, err error) {
	p := cfg.Persistence.Postgres.withDefaults()
	db, err := p.open(p.Database)
	if err != nil {
		return nil, err
	}
	n := &nodes{cfg: cfg, db: db, log: cfg.Logger, name: "alone"}
	if m := cfg.Membership; m != nil {
		n.name = m.BindIP + " (" + strings.Join(slices.Sorted(slices.Values(cfg.Services)), ", ") + ")"
	}
	if err := n.enter(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("postgresql at %s, database %q: %w", p.Address, p.Database, explainPostgres(err)), n.close())
	}
	return n, nil
}

// enter takes the lock, compares, and writes the entry.
func (n *nodes) enter(ctx context.Context) (err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	conn, err := n.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, conn.Close())
		}
	}()
	if err := n.checkClock(ctx, conn); err != nil {
		return err
	}
	if err := n.lockCluster(ctx, conn); err != nil {
		return err
	}
	if err := n.checkConnections(ctx, conn); err != nil {
		return err
	}
	// One after the other, or two that differ could enter at once.
	if err := inTurn(ctx, conn, func() error {
		if _, err := conn.ExecContext(ctx, nodesTable); err != nil {
			return fmt.Errorf("create the table of nodes: %w", err)
		}
		if err := n.compare(ctx, conn); err != nil {
			return err
		}
		return n.write(ctx, conn)
	}); err != nil {
		return err
	}
	n.conn = conn
	return nil
}

// inTurn does what only one node of a cluster may do at a time.
func inTurn(ctx context.Context, conn *sql.Conn, do func() error) (err error) {
	if err := lockUpgrade(ctx, conn); err != nil {
		return fmt.Errorf("wait for another node's start: %w", err)
	}
	defer func() {
		_, unlock := conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, int64(upgradeLock))
		err = errors.Join(err, unlock)
	}()
	return do()
}

// build puts a server together in turn with the other nodes: on a database that
// no server has run on yet, each would write the cluster's description, and all
// but the first would fail.
func (n *nodes) build(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	n.mu.Lock()
	conn := n.conn
	n.mu.Unlock()
	if conn == nil {
		return errors.New("the connection to the database was lost")
	}
	return inTurn(ctx, conn, do)
}

// checkClock compares the clock with the database's, which all nodes share.
func (n *nodes) checkClock(ctx context.Context, conn *sql.Conn) error {
	skew, err := clockSkew(ctx, conn, n.cfg.Now)
	if err != nil {
		return fmt.Errorf("read its clock: %w", err)
	}
	if skew.Abs() > MaxClockSkew {
		direction := "ahead of"
		if skew < 0 {
			direction = "behind"
		}
		return fmt.Errorf("%w: this machine is %s %s the database", ErrClockSkew, skew.Abs().Round(time.Second), direction)
	}
	return nil
}

// checkConnections warns of a PostgreSQL that would refuse this node connections
// once it is busy, which is when nobody has time to find out why.
func (n *nodes) checkConnections(ctx context.Context, conn *sql.Conn) error {
	var allowed int
	if err := conn.QueryRowContext(ctx, `SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int`).Scan(&allowed); err != nil {
		return fmt.Errorf("read its limit of connections: %w", err)
	}
	perService := 2 * n.cfg.Persistence.Postgres.withDefaults().MaxConns
	if want := perService*len(n.cfg.Services) + 1; want > allowed {
		n.log.Warn("postgresql allows fewer connections than this node may open", "allowed", allowed, "wanted", want,
			"remedy", "raise max_connections in postgresql, or lower the connections of each service here")
	}
	return nil
}

// clockSkew is positive if our clock is ahead. The time that the question takes
// is not held against either.
func clockSkew(ctx context.Context, conn *sql.Conn, now func() time.Time) (time.Duration, error) {
	var theirs time.Time
	before := now()
	if err := conn.QueryRowContext(ctx, `SELECT clock_timestamp()`).Scan(&theirs); err != nil {
		return 0, err
	}
	after := now()
	switch {
	case theirs.Before(before):
		return before.Sub(theirs), nil
	case theirs.After(after):
		return -theirs.Sub(after), nil
	}
	return 0, nil
}

// lockCluster waits a little, because a node that was killed holds its lock
// until the database notices.
func (n *nodes) lockCluster(ctx context.Context, conn *sql.Conn) error {
	query := `SELECT pg_try_advisory_lock($1)`
	if n.cfg.Membership != nil {
		query = `SELECT pg_try_advisory_lock_shared($1)`
	}
	again, enough := time.NewTicker(clusterLockInterval), time.NewTimer(clusterLockWait)
	defer again.Stop()
	defer enough.Stop()
	for {
		var locked bool
		if err := conn.QueryRowContext(ctx, query, int64(clusterLock)).Scan(&locked); err != nil {
			return err
		}
		if locked {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-enough.C:
			if n.cfg.Membership == nil {
				return fmt.Errorf("%w: another node runs on it, and this one has no membership", ErrDatabaseInUse)
			}
			return fmt.Errorf("%w: a node without membership runs on it", ErrDatabaseInUse)
		}
	}
}

// compare refuses a node that shares nothing with one that runs, in any kind of
// trust. While an authority or a key is replaced, the old and the new are
// trusted side by side, so that a node that shares one of them belongs.
func (n *nodes) compare(ctx context.Context, conn *sql.Conn) (err error) {
	rows, err := conn.QueryContext(ctx, `SELECT node, trust FROM tenon_nodes WHERE node <> $1 AND seen > now() - $2 * interval '1 second' ORDER BY seen DESC`,
		n.name, nodeExpiry.Seconds())
	if err != nil {
		return fmt.Errorf("read the table of nodes: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	ours := n.trust()
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return err
		}
		var theirs map[string][]string
		if err := json.Unmarshal([]byte(text), &theirs); err != nil {
			return fmt.Errorf("what node %s trusts: %w", name, err)
		}
		for _, kind := range sortedKeys(ours) {
			if len(ours[kind]) > 0 && len(theirs[kind]) > 0 && !overlap(ours[kind], theirs[kind]) {
				return fmt.Errorf("%w: its %s is not that of node %s (here %s, there %s)", ErrNodesDiffer, kind, name, short(ours[kind]), short(theirs[kind]))
			}
		}
	}
	return rows.Err()
}

func (n *nodes) trust() map[string][]string {
	if n.cfg.Trust == nil {
		return map[string][]string{}
	}
	return n.cfg.Trust()
}

func sortedKeys(m map[string][]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func short(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s[:min(len(s), 12)]
	}
	return strings.Join(out, " ")
}

func (n *nodes) write(ctx context.Context, conn *sql.Conn) error {
	text, err := json.Marshal(n.trust())
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, `
		INSERT INTO tenon_nodes (node, trust, seen) VALUES ($1, $2, now())
		ON CONFLICT (node) DO UPDATE SET trust = excluded.trust, seen = excluded.seen`, n.name, string(text)); err != nil {
		return fmt.Errorf("write the table of nodes: %w", err)
	}
	return nil
}

// run keeps the entry fresh until ctx ends. That it cannot, or that the nodes
// have come to differ, is logged and ends nothing: the node serves, and a
// database that is restarted comes back.
func (n *nodes) run(ctx context.Context) {
	tick := time.NewTicker(nodeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := n.refresh(ctx)
		if ctx.Err() != nil {
			return
		}
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != n.said {
			if err != nil {
				n.log.Error("the nodes of the cluster do not agree, or cannot be asked", "error", err)
			} else {
				n.log.Info("the nodes of the cluster agree again")
			}
			n.said = text
		}
	}
}

func (n *nodes) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, nodeInterval)
	defer cancel()
	n.mu.Lock()
	conn := n.conn
	n.mu.Unlock()
	if conn == nil {
		return n.enter(ctx)
	}
	err := errors.Join(n.checkClock(ctx, conn), n.compare(ctx, conn), n.write(ctx, conn))
	if err != nil && conn.PingContext(ctx) != nil {
		n.mu.Lock()
		n.conn = nil
		n.mu.Unlock()
		return errors.Join(err, conn.Close())
	}
	return err
}

// close removes the entry, so that nobody takes this node for one that runs.
func (n *nodes) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if _, err := n.conn.ExecContext(ctx, `DELETE FROM tenon_nodes WHERE node = $1`, n.name); err != nil {
			n.log.Warn("this node's entry stays in the database until it expires", "error", err)
		}
		if err := n.conn.Close(); err != nil {
			n.log.Debug("the connection to the database was lost before its end", "error", err)
		}
		n.conn = nil
	}
	return n.db.Close()
}
