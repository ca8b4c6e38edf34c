package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// Config configures a Log.
type Config struct {
	// Dir holds the records. Required; created with mode 0700.
	Dir string
	// KeyFile is the Ed25519 key that signs heads; it is made if it is missing,
	// and its public half beside it (.pub). Keep it away from Dir. Required.
	KeyFile string
	// HeadFile is where the signed head is. Defaults to KeyFile's folder, name
	// "audit-head.json", so that it lies apart from the records.
	HeadFile string
	// Interval is how long records are gathered before they are written and
	// synced together. Defaults to 50 ms.
	Interval time.Duration
	// HeadInterval is how often a new head is signed, at most. Defaults to 1 s.
	HeadInterval time.Duration
	// QueueSize is how many records may wait. Defaults to 16384.
	QueueSize int
	// MaxWait is how long Append waits for room in a full queue, and how old a
	// waiting record may become before Append refuses new ones. Defaults to 2 s.
	MaxWait time.Duration
	// Keep is how long records are kept at least. Older files are removed when a
	// day's file is begun; the head says where the log starts now. Defaults to
	// keeping all.
	Keep time.Duration
	// OnHead is told each new head, for keeping heads elsewhere. It must not
	// block. Defaults to nothing.
	OnHead func(Head)
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Rand is the source of the signing key. Defaults to crypto/rand.
	Rand io.Reader
	// Logger. Defaults to discarding.
	Logger *slog.Logger
}

func (c *Config) complete() error {
	if c.Dir == "" || c.KeyFile == "" {
		return errors.New("audit log: folder and key file are required")
	}
	if c.HeadFile == "" {
		c.HeadFile = DefaultHeadFile(c.KeyFile)
	}
	if c.Interval <= 0 {
		c.Interval = 50 * time.Millisecond
	}
	if c.HeadInterval <= 0 {
		c.HeadInterval = time.Second
	}
	if c.QueueSize <= 0 {
		c.QueueSize = 16384
	}
	if c.MaxWait <= 0 {
		c.MaxWait = 2 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// DefaultHeadFile is where the head is unless Config.HeadFile says otherwise.
func DefaultHeadFile(keyFile string) string {
	return filepath.Join(filepath.Dir(keyFile), "audit-head.json")
}

// ErrUnavailable says that a record could not be taken: the log cannot be
// written, or is too far behind.
var ErrUnavailable = errors.New("audit log cannot be written")

// Log is an audit log that is being written. It is safe for concurrent use by
// one process; a lock keeps others out.
type Log struct {
	cfg    Config
	key    ed25519.PrivateKey
	unlock func() error

	mu      sync.Mutex
	queue   []Record
	oldest  time.Time     // when the queue's first record came
	room    chan struct{} // closed and replaced when the queue is emptied
	waiting chan struct{} // has an element when the queue is not empty
	many    chan struct{} // has an element when the queue is a quarter full
	failed  error         // the last commit's error
	closed  bool

	written  atomic.Uint64
	failures atomic.Uint64

	// Of the writer alone.
	file     *os.File
	day      string
	head     Head
	headDue  bool
	lastHead time.Time
	buf      []byte
	spare    []Record
	loggedAt error

	headMu sync.Mutex // guards head for Head()
}

// Open opens the log for writing and continues its chain. Where the records
// end before the signed head, some were removed: the chain goes on from the
// head, so that the gap stays visible for good. Run writes what Append takes.
func Open(cfg Config) (*Log, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	// Two writers would fork the chain.
	unlock, err := secret.TryLock(filepath.Join(cfg.Dir, ".lock"))
	if errors.Is(err, secret.ErrLocked) {
		return nil, fmt.Errorf("audit log: %s is being written by another process: %w", cfg.Dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	l := &Log{cfg: cfg, unlock: unlock, room: make(chan struct{}), waiting: make(chan struct{}, 1), many: make(chan struct{}, 1)}
	if err := l.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("audit log: %w", err), unlock())
	}
	return l, nil
}

// Append takes a record to be written. It waits at most Config.MaxWait; an
// error wraps ErrUnavailable and means that the record is not in the log.
func (l *Log) Append(r Record) error {
	var deadline <-chan time.Time
	for {
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			return fmt.Errorf("%w: closed", ErrUnavailable)
		}
		if len(l.queue) < l.cfg.QueueSize {
			err := l.failed
			if err == nil && len(l.queue) > 0 && r.Time.Sub(l.oldest) > l.cfg.MaxWait {
				err = errBehind
			}
			// Even while refusing, records are kept as long as there is room: when the
			// disk is back, the log shows what was refused meanwhile.
			if len(l.queue) == 0 {
				l.oldest = r.Time
				select {
				case l.waiting <- struct{}{}:
				default:
				}
			}
			l.queue = append(l.queue, r)
			if len(l.queue) == l.cfg.QueueSize/4 {
				select {
				case l.many <- struct{}{}:
				default:
				}
			}
			l.mu.Unlock()
			if err != nil {
				return fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
			return nil
		}
		room, failed := l.room, l.failed
		l.mu.Unlock()
		if failed != nil {
			l.failures.Add(1)
			return fmt.Errorf("%w: %w", ErrUnavailable, failed)
		}
		if deadline == nil {
			timer := time.NewTimer(l.cfg.MaxWait)
			defer timer.Stop()
			deadline = timer.C
		}
		select {
		case <-room:
		case <-deadline:
			l.failures.Add(1)
			return fmt.Errorf("%w: queue is full", ErrUnavailable)
		}
	}
}

var errBehind = errors.New("writer is behind")

// Err returns why the log cannot be written at present; nil if it can.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// Stats are a log's counters.
type Stats struct {
	// Written is the number of the last record on disk.
	Written uint64
	// Lost counts records that found no room.
	Lost uint64
	// Waiting is the queue's length.
	Waiting int
}

// Stats returns the counters.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Written: l.written.Load(), Lost: l.failures.Load(), Waiting: len(l.queue)}
}

// Head returns the end of the log as last signed.
func (l *Log) Head() Head {
	l.headMu.Lock()
	defer l.headMu.Unlock()
	return l.head
}
