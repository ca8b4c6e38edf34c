package audit

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// File is one day's file.
type File struct {
	Path string
	// Day as YYYY-MM-DD.
	Day string
}

const (
	filePrefix = "audit-"
	fileSuffix = ".jsonl"
)

func fileName(day string) string { return filePrefix + day + fileSuffix }

// Files lists the files of a log, the oldest first.
func Files(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	var files []File
	for _, e := range entries {
		day, ok := strings.CutPrefix(e.Name(), filePrefix)
		if !ok {
			continue
		}
		if day, ok = strings.CutSuffix(day, fileSuffix); !ok {
			continue
		}
		if _, err := time.Parse(time.DateOnly, day); err == nil {
			files = append(files, File{filepath.Join(dir, e.Name()), day})
		}
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Day, b.Day) })
	return files, nil
}

// VerifyConfig says what to verify, and against what.
type VerifyConfig struct {
	// Dir holds the records. Required.
	Dir string
	// HeadFile holds the signed head. Required.
	HeadFile string
	// PublicKey verifies the head. Required.
	PublicKey ed25519.PublicKey
	// Known are heads that were kept elsewhere. The log must contain the record
	// that each names.
	Known []Head
}

// Finding is one thing wrong with a log.
type Finding struct {
	// File and Line are where; "" and 0 if it is about the whole log.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Sequence number of the record concerned; 0 if unknown.
	Sequence uint64 `json:"seq,omitempty"`
	Problem  string `json:"problem"`
}

func (f Finding) String() string {
	if f.File == "" {
		return f.Problem
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Problem)
}

// Report is what Verify found. A log is whole if Findings is empty.
type Report struct {
	Files   int    `json:"files"`
	Records uint64 `json:"records"`
	Head    Head   `json:"head"`
	// Unsigned counts records after the head: those that a running log has not
	// signed yet. Cutting these off would not be found.
	Unsigned uint64    `json:"unsigned"`
	Findings []Finding `json:"findings"`
}

// maxFindings bounds a report: after so many, the log is not one that anybody
// repairs line by line.
const maxFindings = 100

// Verify reads a whole log and reports every edit, gap, cut tail and missing
// file. The error is only for what could not be read at all.
func Verify(cfg VerifyConfig) (*Report, error) {
	for range 3 {
		report, err := verify(cfg)
		if err == nil && len(report.Findings) == 0 {
			return report, nil
		}
		// A running log may have removed old files while they were being read.
		if head, headErr := readHead(cfg.HeadFile, cfg.PublicKey); headErr != nil || report == nil || head.First == report.Head.First {
			return report, err
		}
	}
	return verify(cfg)
}

func verify(cfg VerifyConfig) (*Report, error) {
	v := &verification{report: &Report{}, known: map[uint64]Head{}}
	// The head is read first: the log may grow meanwhile, but never shrink.
	head, err := readHead(cfg.HeadFile, cfg.PublicKey)
	if err != nil {
		v.found("", 0, 0, err.Error())
		head = Head{First: 1}
	} else {
		v.report.Head = head
		v.known[head.Sequence] = head
	}
	for _, k := range cfg.Known {
		if head.Sequence < k.Sequence && err == nil {
			v.found("", 0, k.Sequence, fmt.Sprintf("the signed head %d is older than a head kept elsewhere (%d): the log was put back", head.Sequence, k.Sequence))
		}
		if old, ok := v.known[k.Sequence]; ok && old.Hash != k.Hash {
			v.found("", 0, k.Sequence, fmt.Sprintf("record %d is not the one that a head kept elsewhere names", k.Sequence))
		}
		v.known[k.Sequence] = k
	}
	v.first, v.next, v.prev = head.First, head.First, head.FirstPrevious
	files, ferr := Files(cfg.Dir)
	if ferr != nil {
		return nil, ferr
	}
	v.report.Files = len(files)
	for n, f := range files {
		if err := v.file(f.Path, n == len(files)-1); err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
	}
	last := v.next - 1
	if last < head.Sequence {
		v.found("", 0, head.Sequence, fmt.Sprintf("the log ends at record %d, but record %d was signed: its end was cut off", last, head.Sequence))
	} else if err == nil {
		v.report.Unsigned = last - head.Sequence
	}
	if v.report.Findings == nil {
		v.report.Findings = []Finding{}
	}
	return v.report, nil
}

type verification struct {
	report *Report
	first  uint64 // number of the oldest record kept
	next   uint64 // number that the next record must have
	prev   string // hash that it must name
	known  map[uint64]Head
}

func (v *verification) found(file string, line int, seq uint64, problem string) {
	if len(v.report.Findings) < maxFindings {
		v.report.Findings = append(v.report.Findings, Finding{filepath.Base(file), line, seq, problem})
		if file == "" {
			v.report.Findings[len(v.report.Findings)-1].File = ""
		}
	}
}

func (v *verification) file(path string, last bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<16)
	for line := 1; ; line++ {
		text, err := r.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return err
		}
		if len(text) == 0 {
			return nil
		}
		if err == io.EOF {
			// The last line of the newest file may be under way.
			if !last {
				v.found(path, line, 0, "line is cut short")
			}
			return nil
		}
		v.line(path, line, text)
	}
}

func (v *verification) line(path string, line int, text []byte) {
	rec, err := parseLine(text)
	if err != nil {
		v.found(path, line, v.next, err.Error())
		// Go on as if this were the record expected, so that one edit is one finding
		// where that is possible.
		if rec.Hash != "" {
			v.next, v.prev = v.next+1, rec.Hash
		}
		return
	}
	if rec.Sequence < v.first && v.next == v.first {
		return // removed from the log, and its file not yet removed
	}
	v.report.Records++
	if rec.Sequence != v.next {
		v.found(path, line, rec.Sequence, fmt.Sprintf("record %d follows where record %d was expected: records are missing or were moved", rec.Sequence, v.next))
	} else if rec.Previous != v.prev {
		v.found(path, line, rec.Sequence, fmt.Sprintf("record %d does not continue the record before it", rec.Sequence))
	}
	if k, ok := v.known[rec.Sequence]; ok && k.Hash != rec.Hash {
		v.found(path, line, rec.Sequence, fmt.Sprintf("record %d is not the one that was signed", rec.Sequence))
	}
	v.next, v.prev = rec.Sequence+1, rec.Hash
}

// parseLine reads a line and checks its hash. With an error the record's Hash
// is that which the line claims, if it has the form of one.
func parseLine(text []byte) (Record, error) {
	hashLen := hex.EncodedLen(sha256.Size)
	tail := len(hashMember) + hashLen + len(lineEnd)
	start := len(text) - tail
	if start < 0 || !bytes.HasPrefix(text[start:], []byte(hashMember)) || !bytes.HasSuffix(text, []byte(lineEnd)) {
		return Record{}, errors.New("line is no audit record")
	}
	claimed := string(text[start+len(hashMember) : start+len(hashMember)+hashLen])
	sum := sha256.Sum256(text[:start])
	if hex.EncodeToString(sum[:]) != claimed {
		return Record{Hash: claimed}, errors.New("record was changed: its hash is another")
	}
	var rec Record
	if err := json.Unmarshal(text, &rec); err != nil {
		return Record{Hash: claimed}, errors.New("line is no audit record")
	}
	return rec, nil
}

// firstRecord returns a file's first record; nil if the file is empty.
func firstRecord(path string) (*Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := bufio.NewReader(f).ReadBytes('\n')
	if err == io.EOF && len(text) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rec, err := parseLine(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &rec, nil
}

// tail is the end of a file.
type tail struct {
	Sequence uint64
	Hash     string
}

// tailSize is how much of a file's end is looked at for its last record. A
// record is far smaller, and a day's file can be far larger.
const tailSize = 1 << 20

// repairTail returns the last whole record of a file and cuts off a line that
// a crash left incomplete: it was never acknowledged as written.
func repairTail(path string) (tail, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return tail{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return tail{}, err
	}
	start := max(0, info.Size()-tailSize)
	text, err := io.ReadAll(io.NewSectionReader(f, start, info.Size()-start))
	if err != nil {
		return tail{}, err
	}
	whole := bytes.LastIndexByte(text, '\n') + 1
	if whole < len(text) {
		if whole == 0 && start > 0 {
			return tail{}, fmt.Errorf("%s: its end is no audit record", path)
		}
		if err := f.Truncate(start + int64(whole)); err != nil {
			return tail{}, err
		}
	}
	list := bytes.SplitAfter(text[:whole], []byte("\n"))
	for _, line := range slices.Backward(list) {
		if rec, err := parseLine(line); err == nil {
			return tail{rec.Sequence, rec.Hash}, nil
		}
	}
	return tail{}, nil
}
