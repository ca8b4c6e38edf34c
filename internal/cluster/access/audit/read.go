package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Tail calls do with the last n records of a log that match, the oldest first,
// and with follow also with those that come later, until ctx ends. A nil match
// is every record. It does not verify anything.
func Tail(ctx context.Context, dir string, n int, follow bool, match func(*Record) bool, do func(*Record) error) error {
	files, err := Files(dir)
	if err != nil {
		return err
	}
	if match == nil {
		match = func(*Record) bool { return true }
	}
	// Whole files are read from the newest back, until there are enough records.
	var kept []Record
	var at position
	for i := len(files) - 1; i >= 0 && (len(kept) < n || i == len(files)-1); i-- {
		var found []Record
		end, err := scan(files[i].Path, 0, func(r *Record) error {
			if match(r) {
				found = append(found, *r)
				if len(found) > n {
					found = slices.Delete(found, 0, max(1, len(found)-n))
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if i == len(files)-1 {
			at = position{files[i], end}
		}
		kept = append(found, kept...)
	}
	kept = kept[max(0, len(kept)-n):]
	for i := range kept {
		if err := do(&kept[i]); err != nil {
			return err
		}
	}
	if !follow {
		return nil
	}
	return followFrom(ctx, dir, at, match, do)
}

type position struct {
	file   File
	offset int64
}

// pollInterval is how often a followed log is looked at.
const pollInterval = 200 * time.Millisecond

func followFrom(ctx context.Context, dir string, at position, match func(*Record) bool, do func(*Record) error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		files, err := Files(dir)
		if err != nil {
			return err
		}
		for _, f := range files {
			if f.Day < at.file.Day {
				continue
			}
			if f.Day > at.file.Day {
				at = position{file: f}
			}
			end, err := scan(f.Path, at.offset, func(r *Record) error {
				if match(r) {
					return do(r)
				}
				return nil
			})
			if err != nil {
				return err
			}
			at.offset = end
		}
	}
}

// Scan calls do with every record of a log since a time, the oldest first. It
// does not verify anything.
func Scan(dir string, since time.Time, do func(*Record) error) error {
	files, err := Files(dir)
	if err != nil {
		return err
	}
	day := since.UTC().Format(time.DateOnly)
	for i, f := range files {
		// The file of a day also holds the first moments of the next.
		if i+1 < len(files) && files[i+1].Day < day {
			continue
		}
		if _, err := scan(f.Path, 0, func(r *Record) error {
			if r.Time.Before(since) {
				return nil
			}
			return do(r)
		}); err != nil {
			return err
		}
	}
	return nil
}

// scan reads whole lines from offset and returns where they end.
func scan(path string, offset int64, do func(*Record) error) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("audit log: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return 0, fmt.Errorf("audit log: %w", err)
	}
	r := bufio.NewReaderSize(f, 1<<16)
	for {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return offset, nil
		}
		if err != nil {
			return 0, fmt.Errorf("audit log: %w", err)
		}
		offset += int64(len(text))
		var rec Record
		// A damaged line is Verify's business; here the others are wanted.
		if json.Unmarshal(text, &rec) != nil {
			continue
		}
		if err := do(&rec); err != nil {
			return offset, err
		}
	}
}

// DeniedPoller is a worker whose polls were refused.
type DeniedPoller struct {
	Subject     string       `json:"subject"`
	Issuer      string       `json:"issuer,omitempty"`
	Certificate *Certificate `json:"certificate,omitempty"`
	Namespace   string       `json:"namespace"`
	TaskQueue   string       `json:"task_queue,omitempty"`
	// Reason of the last refusal.
	Reason string    `json:"reason"`
	Count  int64     `json:"count"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
}

// Key identifies the poller.
func (p *DeniedPoller) Key() string {
	fingerprint := ""
	if p.Certificate != nil {
		fingerprint = p.Certificate.Fingerprint
	}
	return strings.Join([]string{p.Issuer, p.Subject, fingerprint, p.Namespace, p.TaskQueue}, "\x00")
}

// IsPoll reports whether an API polls a task queue.
func IsPoll(api string) bool {
	return strings.HasSuffix(api, "/PollWorkflowTaskQueue") || strings.HasSuffix(api, "/PollActivityTaskQueue") || strings.HasSuffix(api, "/PollNexusTaskQueue")
}

// DeniedPollers reads from a log which workers were refused since a time, the
// latest first: a worker whose token expired stays up, idle and silent.
func DeniedPollers(dir string, since time.Time) ([]DeniedPoller, error) {
	found := map[string]*DeniedPoller{}
	err := Scan(dir, since, func(r *Record) error {
		if r.Verdict == Allow || !IsPoll(r.API) {
			return nil
		}
		p := DeniedPoller{Subject: r.Subject, Issuer: r.Issuer, Certificate: r.Certificate, Namespace: r.Namespace, TaskQueue: r.Target, First: r.Time}
		if old := found[p.Key()]; old != nil {
			old.Count, old.Last, old.Reason = old.Count+1, r.Time, r.Reason
			return nil
		}
		p.Count, p.Last, p.Reason = 1, r.Time, r.Reason
		found[p.Key()] = &p
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := make([]DeniedPoller, 0, len(found))
	for _, p := range found {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b DeniedPoller) int { return b.Last.Compare(a.Last) })
	return list, nil
}
