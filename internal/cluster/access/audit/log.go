package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
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
	unlock func()

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
	unlock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	l := &Log{cfg: cfg, unlock: unlock, room: make(chan struct{}), waiting: make(chan struct{}, 1), many: make(chan struct{}, 1)}
	if err := l.recover(); err != nil {
		unlock()
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return l, nil
}

// recover finds the end of the chain and opens the newest file.
func (l *Log) recover() error {
	var err error
	if l.key, err = openKey(l.cfg.KeyFile, l.cfg.Rand); err != nil {
		return err
	}
	files, err := Files(l.cfg.Dir)
	if err != nil {
		return err
	}
	head, headErr := readHead(l.cfg.HeadFile, l.key.Public().(ed25519.PublicKey))
	if headErr != nil && (!errors.Is(headErr, ErrNoHead) || len(files) > 0) {
		// Writing a new head would destroy the only trace of what happened.
		return fmt.Errorf("%w; move the log away to start a new one", headErr)
	}
	if errors.Is(headErr, ErrNoHead) {
		head = Head{First: 1, FirstPrevious: firstPrevious}
	}
	l.head = head
	if len(files) > 0 {
		tail, err := repairTail(files[len(files)-1].Path)
		if err != nil {
			return err
		}
		switch {
		case tail.Sequence >= head.Sequence:
			// Records after the head were written before a crash or a kill.
			if tail.Sequence > head.Sequence {
				l.head.Sequence, l.head.Hash = tail.Sequence, tail.Hash
			} else if tail.Hash != head.Hash {
				l.cfg.Logger.Error("audit log's last record is not the one that was signed", "seq", head.Sequence)
			}
		default:
			l.cfg.Logger.Error("audit log ends before its signed head: records were removed",
				"last_seq", tail.Sequence, "signed_seq", head.Sequence)
		}
		l.day = files[len(files)-1].Day
		if l.file, err = os.OpenFile(files[len(files)-1].Path, os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return err
		}
	} else if head.Sequence > 0 {
		l.cfg.Logger.Error("audit log's files are gone", "signed_seq", head.Sequence)
	}
	l.written.Store(l.head.Sequence)
	l.head.Time = l.cfg.Now().UTC()
	// A signed head from the first moment on: without it, a missing head could
	// not be told from a log that never had one.
	return writeHead(l.cfg.HeadFile, l.head, l.key)
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

// Run writes records until ctx ends, then writes the rest, signs the head and
// closes the log.
func (l *Log) Run(ctx context.Context) error {
	timer := time.NewTimer(l.cfg.HeadInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.close()
		case <-timer.C:
			l.signHead(false)
			timer.Reset(l.cfg.HeadInterval)
			continue
		case <-l.waiting:
		}
		// Records of many requests share one write and one sync.
		gather := time.NewTimer(l.cfg.Interval)
		select {
		case <-ctx.Done():
		case <-l.many:
		case <-gather.C:
		}
		gather.Stop()
		l.commitAll()
	}
}

// commitAll writes what waits. After a failure it wakes itself up to try again.
func (l *Log) commitAll() {
	l.mu.Lock()
	batch := l.queue
	l.mu.Unlock()
	err := l.commit(batch)
	if err != nil && !errors.Is(l.loggedAt, ErrUnavailable) {
		l.cfg.Logger.Error("audit log cannot be written", "error", err)
		l.loggedAt = ErrUnavailable
	} else if err == nil && l.loggedAt != nil {
		l.cfg.Logger.Info("audit log can be written again")
		l.loggedAt = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
	if err == nil {
		// Records that came meanwhile stand behind the batch, and stay.
		rest := append(l.spare[:0], l.queue[len(batch):]...)
		clear(batch)
		l.spare, l.queue = batch[:0], rest
		close(l.room)
		l.room = make(chan struct{})
		l.oldest = l.cfg.Now()
	}
	if len(l.queue) > 0 {
		select {
		case l.waiting <- struct{}{}:
		default:
		}
	}
}

// commit writes and syncs a batch, or nothing: after an error the file is cut
// back to where it was, so that the next attempt does not write a record twice.
func (l *Log) commit(batch []Record) error {
	if len(batch) == 0 {
		return nil
	}
	if err := l.rotate(l.cfg.Now().UTC()); err != nil {
		return err
	}
	l.buf = l.buf[:0]
	seq, prev := l.head.Sequence, append(make([]byte, 0, hex.EncodedLen(sha256.Size)), l.head.Hash...)
	for n := range batch {
		start := len(l.buf)
		seq++
		l.buf = batch[n].appendLine(l.buf, seq, prev)
		sum := sha256.Sum256(l.buf[start:])
		prev = hex.AppendEncode(prev[:0], sum[:])
		l.buf = append(l.buf, hashMember...)
		l.buf = append(l.buf, prev...)
		l.buf = append(l.buf, lineEnd...)
	}
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	_, err = l.file.Write(l.buf)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return errors.Join(err, l.file.Truncate(info.Size()))
	}
	l.headMu.Lock()
	l.head.Sequence, l.head.Hash, l.head.Time = seq, string(prev), l.cfg.Now().UTC()
	l.headMu.Unlock()
	l.written.Store(seq)
	l.headDue = true
	l.signHead(false)
	return nil
}

// rotate opens the day's file. When the clock goes back the newer file stays,
// because files must be in the order of their names.
func (l *Log) rotate(now time.Time) error {
	day := now.Format(time.DateOnly)
	if l.file != nil && day <= l.day {
		// The file may have been moved away under us; then records would go where
		// nobody looks.
		if _, err := os.Stat(filepath.Join(l.cfg.Dir, fileName(l.day))); err == nil {
			return nil
		}
		day = l.day
	}
	f, err := os.OpenFile(filepath.Join(l.cfg.Dir, fileName(day)), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := syncDir(l.cfg.Dir); err != nil {
		return errors.Join(err, f.Close())
	}
	if l.file != nil {
		if err := l.file.Close(); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	l.file, l.day = f, day
	return nil
}

func (l *Log) signHead(always bool) {
	now := l.cfg.Now()
	if !l.headDue || (!always && now.Sub(l.lastHead) < l.cfg.HeadInterval && now.Sub(l.lastHead) >= 0) {
		return
	}
	h := l.Head()
	if err := writeHead(l.cfg.HeadFile, h, l.key); err != nil {
		l.cfg.Logger.Error("audit log's head cannot be written", "error", err)
		return
	}
	l.headDue, l.lastHead = false, now
	if l.cfg.OnHead != nil {
		l.cfg.OnHead(h)
	}
}

func (l *Log) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.commitAll()
	err := l.Err()
	l.signHead(true)
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
	}
	l.unlock()
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return nil
}
