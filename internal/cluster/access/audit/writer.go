package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// recover finds the end of the chain and opens the newest file.
func (l *Log) recover() error {
	err := secret.RemoveLeftovers(filepath.Dir(l.cfg.HeadFile), filepath.Base(l.cfg.HeadFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
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
	if err := secret.SyncDir(l.cfg.Dir); err != nil {
		return errors.Join(err, f.Close())
	}
	if l.file != nil {
		if err := l.file.Close(); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	l.file, l.day = f, day
	if err := l.prune(now); err != nil {
		// Records that stay too long are no reason to write none.
		l.cfg.Logger.Error("old audit records cannot be removed", "error", err)
	}
	return nil
}

// prune removes files older than Config.Keep. The head that says so is signed
// first: a crash in between leaves files from before the log's start, which
// Verify passes over and the next call removes.
func (l *Log) prune(now time.Time) error {
	if l.cfg.Keep <= 0 {
		return nil
	}
	files, err := Files(l.cfg.Dir)
	if err != nil {
		return err
	}
	// A day's file may end with the first records of the next day.
	oldest := now.Add(-l.cfg.Keep).AddDate(0, 0, -1).Format(time.DateOnly)
	cut := 0
	for cut < len(files)-1 && files[cut].Day < oldest {
		cut++
	}
	if cut == 0 {
		return nil
	}
	first, err := firstRecord(files[cut].Path)
	if err != nil {
		return err
	}
	l.headMu.Lock()
	if first == nil { // the file that was just begun
		l.head.First, l.head.FirstPrevious = l.head.Sequence+1, l.head.Hash
	} else {
		l.head.First, l.head.FirstPrevious = first.Sequence, first.Previous
	}
	l.headMu.Unlock()
	if err := writeHead(l.cfg.HeadFile, l.Head(), l.key); err != nil {
		return err
	}
	for _, f := range files[:cut] {
		if err := os.Remove(f.Path); err != nil {
			return err
		}
	}
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
	if err = errors.Join(err, l.unlock()); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return nil
}
