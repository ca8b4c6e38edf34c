package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
)

// clock is a time that tests move by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 22, 23, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// place is where a log lives.
type place struct {
	dir, key string
	clock    *clock
}

func newPlace(t testing.TB) place {
	t.Helper()
	base := t.TempDir()
	return place{dir: filepath.Join(base, "audit"), key: filepath.Join(base, "certs", "audit.key"), clock: newClock()}
}

func (p place) config() Config {
	return Config{Dir: p.dir, KeyFile: p.key, Interval: time.Millisecond, Now: p.clock.now}
}

// write opens the log, appends n records one day apart in groups, and closes it.
func (p place) write(t testing.TB, n int) Head {
	t.Helper()
	l, err := Open(p.config())
	require.NoError(t, err)
	for i := range n {
		require.NoError(t, l.Append(p.record(i)))
		if i%5 == 4 {
			l.commitAll()
			require.NoError(t, l.Err())
			p.clock.add(24 * time.Hour)
		}
	}
	require.NoError(t, l.close())
	return l.Head()
}

func (p place) record(i int) Record {
	return Record{
		Time: p.clock.now(), Verdict: Deny, API: "/svc/Method", Namespace: "billing", Target: fmt.Sprint("order-", i),
		Subject: "ann", Issuer: "tenon", TokenID: "t1", Reason: "missing role: operator",
		Certificate: &Certificate{Fingerprint: "ff", Serial: "1", Subject: "CN=ann"},
		Peer:        &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711},
	}
}

func (p place) verify(t testing.TB, known ...Head) *Report {
	t.Helper()
	public, err := ReadPublicKey(publicPath(p.key))
	require.NoError(t, err)
	report, err := Verify(VerifyConfig{Dir: p.dir, HeadFile: DefaultHeadFile(p.key), PublicKey: public, Known: known})
	require.NoError(t, err)
	return report
}

func (p place) files(t testing.TB) []File {
	t.Helper()
	files, err := Files(p.dir)
	require.NoError(t, err)
	return files
}

func lines(t testing.TB, f File) [][]byte {
	t.Helper()
	data, err := os.ReadFile(f.Path)
	require.NoError(t, err)
	return bytes.SplitAfter(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
}

func save(t testing.TB, f File, list [][]byte) {
	t.Helper()
	data := bytes.Join(list, nil)
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(data, '\n')
	}
	require.NoError(t, os.WriteFile(f.Path, data, 0o600))
}

func TestWholeLogVerifies(t *testing.T) {
	p := newPlace(t)
	head := p.write(t, 17)
	require.EqualValues(t, 17, head.Sequence)
	require.Len(t, p.files(t), 4)
	report := p.verify(t, head)
	require.Empty(t, report.Findings)
	require.EqualValues(t, 17, report.Records)
	require.Zero(t, report.Unsigned)

	// The chain goes on across restarts.
	p.write(t, 3)
	report = p.verify(t, head)
	require.Empty(t, report.Findings)
	require.EqualValues(t, 20, report.Records)

	for _, f := range append(p.files(t), File{Path: p.key}, File{Path: DefaultHeadFile(p.key)}) {
		info, err := os.Stat(f.Path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), f.Path)
	}
}

func TestEmptyLogVerifies(t *testing.T) {
	p := newPlace(t)
	p.write(t, 0)
	require.Empty(t, p.verify(t).Findings)
}

func TestRecordReadsBackAsWritten(t *testing.T) {
	p := newPlace(t)
	p.write(t, 1)
	var got Record
	require.NoError(t, json.Unmarshal(lines(t, p.files(t)[0])[0], &got))
	want := p.record(0)
	want.Sequence, want.Peer, want.PeerAddress = 1, nil, "192.0.2.1:4711"
	want.Hash, want.Previous = got.Hash, firstPrevious
	require.Equal(t, want, got)
}

func TestTamperingIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		tamper func(t *testing.T, p place)
		want   string
	}{
		"one byte edited": {func(t *testing.T, p place) {
			f := p.files(t)[1]
			l := lines(t, f)
			l[2] = bytes.Replace(l[2], []byte("order-7"), []byte("order-8"), 1)
			save(t, f, l)
		}, "record was changed"},
		"white space": {func(t *testing.T, p place) {
			f := p.files(t)[0]
			l := lines(t, f)
			l[0] = bytes.Replace(l[0], []byte(`,"verdict"`), []byte(`, "verdict"`), 1)
			save(t, f, l)
		}, "record was changed"},
		"edited and hashed anew": {func(t *testing.T, p place) {
			f := p.files(t)[1]
			l := lines(t, f)
			l[2] = rehash(bytes.Replace(l[2], []byte("order-7"), []byte("order-8"), 1))
			save(t, f, l)
		}, "does not continue"},
		"all hashed anew from an edit on": {func(t *testing.T, p place) { rewrite(t, p, 7) }, "not the one that was signed"},
		"line removed": {func(t *testing.T, p place) {
			f := p.files(t)[1]
			l := lines(t, f)
			save(t, f, append(l[:1], l[2:]...))
		}, "records are missing"},
		"first line removed": {func(t *testing.T, p place) {
			f := p.files(t)[0]
			save(t, f, lines(t, f)[1:])
		}, "records are missing"},
		"lines swapped": {func(t *testing.T, p place) {
			f := p.files(t)[1]
			l := lines(t, f)
			l[1], l[2] = l[2], l[1]
			save(t, f, l)
		}, "were moved"},
		"line doubled": {func(t *testing.T, p place) {
			f := p.files(t)[1]
			l := lines(t, f)
			save(t, f, append(l[:2:2], l[1:]...))
		}, "were moved"},
		"line inserted": {func(t *testing.T, p place) {
			f := p.files(t)[1]
			l := lines(t, f)
			r := p.record(99)
			forged := rehash(append(r.appendLine(nil, 7, []byte(strings.Repeat("0", 64))), []byte(hashMember+strings.Repeat("0", 64)+lineEnd)...))
			save(t, f, append(append(append([][]byte{}, l[:1]...), forged), l[1:]...))
		}, "does not continue"},
		"garbage inserted": {func(t *testing.T, p place) {
			f := p.files(t)[1]
			save(t, f, append([][]byte{[]byte("garbage\n")}, lines(t, f)...))
		}, "no audit record"},
		"tail cut": {func(t *testing.T, p place) {
			f := p.files(t)[3]
			l := lines(t, f)
			save(t, f, l[:len(l)-1])
		}, "its end was cut off"},
		"last file removed":   {func(t *testing.T, p place) { require.NoError(t, os.Remove(p.files(t)[3].Path)) }, "its end was cut off"},
		"middle file removed": {func(t *testing.T, p place) { require.NoError(t, os.Remove(p.files(t)[1].Path)) }, "records are missing"},
		"first file removed":  {func(t *testing.T, p place) { require.NoError(t, os.Remove(p.files(t)[0].Path)) }, "records are missing"},
		"last line cut short in the middle": {func(t *testing.T, p place) {
			f := p.files(t)[1]
			data, err := os.ReadFile(f.Path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(f.Path, data[:len(data)-10], 0o600))
		}, "cut short"},
		"all files removed": {func(t *testing.T, p place) {
			for _, f := range p.files(t) {
				require.NoError(t, os.Remove(f.Path))
			}
		}, "its end was cut off"},
		"head removed": {func(t *testing.T, p place) { require.NoError(t, os.Remove(DefaultHeadFile(p.key))) }, "no head"},
		"head edited": {func(t *testing.T, p place) {
			data, err := os.ReadFile(DefaultHeadFile(p.key))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(DefaultHeadFile(p.key), bytes.Replace(data, []byte(`"seq":17`), []byte(`"seq":16`), 1), 0o600))
		}, "signature is wrong"},
		"head signed with another key": {func(t *testing.T, p place) {
			_, other, err := ed25519.GenerateKey(nil)
			require.NoError(t, err)
			require.NoError(t, writeHead(DefaultHeadFile(p.key), Head{First: 1, Sequence: 17}, other))
		}, "signature is wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.write(t, 17)
			require.Empty(t, p.verify(t).Findings)
			c.tamper(t, p)
			report := p.verify(t)
			require.NotEmpty(t, report.Findings)
			require.Contains(t, fmt.Sprint(report.Findings), c.want)
		})
	}
}

// TestEveryByteCounts flips each byte of a log, one after the other.
func TestEveryByteCounts(t *testing.T) {
	p := newPlace(t)
	p.write(t, 3)
	f := p.files(t)[0]
	data, err := os.ReadFile(f.Path)
	require.NoError(t, err)
	for i := range data {
		data[i] ^= 1
		require.NoError(t, os.WriteFile(f.Path, data, 0o600))
		require.NotEmpty(t, p.verify(t).Findings, "byte %d", i)
		data[i] ^= 1
	}
}

// rehash gives a line a hash that fits its content.
func rehash(line []byte) []byte {
	start := bytes.LastIndex(line, []byte(hashMember))
	return append(append([]byte{}, line[:start]...), []byte(hashMember+sum(line[:start])+lineEnd)...)
}

// rewrite edits a record and gives all that follow hashes that fit.
func rewrite(t *testing.T, p place, from uint64) {
	t.Helper()
	prev := firstPrevious
	for _, f := range p.files(t) {
		l := lines(t, f)
		for i := range l {
			var r Record
			require.NoError(t, json.Unmarshal(l[i], &r))
			if r.Sequence == from {
				r.Subject = "somebody else"
			}
			body := r.appendLine(nil, r.Sequence, []byte(prev))
			prev = sum(body)
			l[i] = append(body, []byte(hashMember+prev+lineEnd)...)
		}
		save(t, f, l)
	}
}

func TestALogPutBackIsFoundWithAKeptHead(t *testing.T) {
	p := newPlace(t)
	p.write(t, 6)
	old := map[string][]byte{}
	for _, f := range append(p.files(t), File{Path: DefaultHeadFile(p.key)}) {
		data, err := os.ReadFile(f.Path)
		require.NoError(t, err)
		old[f.Path] = data
	}
	kept := p.write(t, 3)
	for path, data := range old {
		require.NoError(t, os.WriteFile(path, data, 0o600))
	}
	require.Empty(t, p.verify(t).Findings, "which the log itself cannot show")
	require.Contains(t, fmt.Sprint(p.verify(t, kept).Findings), "put back")
}

func TestARewrittenLogIsFoundWithAKeptHead(t *testing.T) {
	p := newPlace(t)
	kept := p.write(t, 6)
	rewrite(t, p, 2)
	// Whoever holds the key signs the new history.
	key, err := openKey(p.key, nil)
	require.NoError(t, err)
	l := lines(t, p.files(t)[1])
	var last Record
	require.NoError(t, json.Unmarshal(l[len(l)-1], &last))
	require.NoError(t, writeHead(DefaultHeadFile(p.key), Head{First: 1, Sequence: 6, Hash: last.Hash}, key))
	require.Empty(t, p.verify(t).Findings)
	require.Contains(t, fmt.Sprint(p.verify(t, kept).Findings), "head kept elsewhere")
}

func TestWritingOnDoesNotHideThatRecordsAreGone(t *testing.T) {
	p := newPlace(t)
	p.write(t, 12)
	f := p.files(t)[2]
	l := lines(t, f)
	save(t, f, l[:1])
	p.write(t, 4)
	require.Contains(t, fmt.Sprint(p.verify(t).Findings), "records are missing")
	for _, f := range p.files(t) {
		require.NoError(t, os.Remove(f.Path))
	}
	p.write(t, 4)
	require.NotEmpty(t, p.verify(t).Findings)
}

func TestOpenRefusesALogWithoutItsHead(t *testing.T) {
	p := newPlace(t)
	p.write(t, 2)
	require.NoError(t, os.Remove(DefaultHeadFile(p.key)))
	_, err := Open(p.config())
	require.ErrorIs(t, err, ErrNoHead)
	require.NoError(t, os.WriteFile(DefaultHeadFile(p.key), []byte("{}"), 0o600))
	_, err = Open(p.config())
	require.ErrorContains(t, err, "signature is wrong")
}

func TestCrashLeavesNoGap(t *testing.T) {
	p := newPlace(t)
	l, err := Open(p.config())
	require.NoError(t, err)
	for i := range 4 {
		require.NoError(t, l.Append(p.record(i)))
		l.commitAll()
	}
	_, err = Open(p.config())
	require.ErrorIs(t, err, secret.ErrLocked)
	// Killed: the head is behind, and a line and a new head are half written.
	torn := filepath.Join(filepath.Dir(p.key), secret.TempPrefix+"audit-head.json-123")
	require.NoError(t, os.WriteFile(torn, []byte("{"), 0o600))
	require.NoError(t, l.unlock())
	require.NoError(t, l.file.Close())
	f, err := os.OpenFile(p.files(t)[0].Path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"seq":5,"time":"20`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	report := p.verify(t)
	require.Empty(t, report.Findings)
	require.EqualValues(t, 3, report.Unsigned)
	p.write(t, 2)
	require.NoFileExists(t, torn)
	report = p.verify(t)
	require.Empty(t, report.Findings)
	require.EqualValues(t, 6, report.Records)
}

func TestOldRecordsAreRemovedAndTheRestVerifies(t *testing.T) {
	p := newPlace(t)
	cfg := p.config()
	cfg.Keep = 48 * time.Hour
	l, err := Open(cfg)
	require.NoError(t, err)
	var first []byte
	for day := range 10 {
		for range 3 {
			require.NoError(t, l.Append(p.record(day)))
		}
		l.commitAll()
		if day == 0 {
			first, err = os.ReadFile(p.files(t)[0].Path)
			require.NoError(t, err)
		}
		p.clock.add(24 * time.Hour)
	}
	require.NoError(t, l.close())
	require.Len(t, p.files(t), 4)
	report := p.verify(t)
	require.Empty(t, report.Findings)
	require.EqualValues(t, 12, report.Records)
	require.EqualValues(t, 19, report.Head.First)

	// A crash before the removal leaves an old file, which is not an error.
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, fileName("2026-11-22")), first, 0o600))
	require.Empty(t, p.verify(t).Findings)
	require.NoError(t, os.Remove(p.files(t)[1].Path))
	require.NotEmpty(t, p.verify(t).Findings, "a file that the head says is kept")
}

func TestOpeningALargeLogReadsItsEndOnly(t *testing.T) {
	p := newPlace(t)
	l, err := Open(p.config())
	require.NoError(t, err)
	for i := range 5000 { // some 2 MB, in one file
		require.NoError(t, l.Append(p.record(i)))
	}
	require.NoError(t, l.close())
	info, err := os.Stat(p.files(t)[0].Path)
	require.NoError(t, err)
	require.Greater(t, info.Size(), int64(tailSize+1000))
	p.write(t, 1)
	report := p.verify(t)
	require.Empty(t, report.Findings)
	require.EqualValues(t, 5001, report.Records)
}

func TestTwoWritersAreKeptApart(t *testing.T) {
	p := newPlace(t)
	l, err := Open(p.config())
	require.NoError(t, err)
	_, err = Open(p.config())
	require.ErrorContains(t, err, "another process")
	require.NoError(t, l.close())
	l, err = Open(p.config())
	require.NoError(t, err)
	require.NoError(t, l.close())
}

func TestClockThatGoesBackKeepsFilesInOrder(t *testing.T) {
	p := newPlace(t)
	p.write(t, 5)
	p.clock.add(-72 * time.Hour)
	p.write(t, 4)
	require.Empty(t, p.verify(t).Findings)
}

func TestDiskFullRefusesAndRecovers(t *testing.T) {
	p := newPlace(t)
	l, err := Open(p.config())
	require.NoError(t, err)
	require.NoError(t, l.Append(p.record(0)))
	l.commitAll()
	require.NoError(t, l.Err())
	// A file that is closed fails like a disk that is full: writing is an error.
	good := l.file
	l.file, err = os.Open(p.files(t)[0].Path)
	require.NoError(t, err)
	require.NoError(t, l.Append(p.record(1)), "not known yet")
	l.commitAll()
	require.Error(t, l.Err())
	require.ErrorIs(t, l.Append(p.record(2)), ErrUnavailable)
	require.NoError(t, l.file.Close())
	l.file = good
	l.commitAll()
	require.NoError(t, l.Err())
	require.NoError(t, l.Append(p.record(3)))
	require.NoError(t, l.close())
	report := p.verify(t)
	require.Empty(t, report.Findings)
	require.EqualValues(t, 4, report.Records, "what was refused meanwhile is in the log as well")
}

func TestFilesMovedAwayUnderTheWriter(t *testing.T) {
	p := newPlace(t)
	l, err := Open(p.config())
	require.NoError(t, err)
	require.NoError(t, l.Append(p.record(0)))
	l.commitAll()
	require.NoError(t, os.Remove(p.files(t)[0].Path))
	require.NoError(t, l.Append(p.record(1)))
	l.commitAll()
	require.NoError(t, l.close())
	require.Contains(t, fmt.Sprint(p.verify(t).Findings), "records are missing")
	require.Len(t, lines(t, p.files(t)[0]), 1, "new records are where they are looked for")
}

func TestAppendWaitsForABoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		cfg := p.config()
		cfg.QueueSize, cfg.MaxWait, cfg.Now = 4, 2*time.Second, time.Now
		l, err := Open(cfg)
		require.NoError(t, err)
		now := func(i int) Record { r := p.record(i); r.Time = time.Now(); return r }
		for i := range 4 {
			require.NoError(t, l.Append(now(i)))
		}
		started := time.Now()
		require.ErrorIs(t, l.Append(now(4)), ErrUnavailable)
		require.Equal(t, 2*time.Second, time.Since(started))
		require.EqualValues(t, 1, l.Stats().Lost)

		waiting := make(chan error, 1)
		go func() { waiting <- l.Append(now(5)) }()
		synctest.Wait()
		l.commitAll()
		require.NoError(t, <-waiting, "room comes in time")
		require.NoError(t, l.close())
		require.ErrorIs(t, l.Append(now(6)), ErrUnavailable)
	})
}

func TestAWriterThatIsBehindRefuses(t *testing.T) {
	p := newPlace(t)
	l, err := Open(p.config())
	require.NoError(t, err)
	require.NoError(t, l.Append(p.record(0)))
	p.clock.add(3 * time.Second)
	require.ErrorIs(t, l.Append(p.record(1)), ErrUnavailable)
	l.commitAll()
	require.NoError(t, l.Append(p.record(2)))
	require.NoError(t, l.close())
	require.EqualValues(t, 3, p.verify(t).Records)
}

func TestManyWritersOneChain(t *testing.T) {
	p := newPlace(t)
	cfg := p.config()
	var heads []Head
	cfg.OnHead = func(h Head) { heads = append(heads, h) }
	l, err := Open(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 500 {
				if err := l.Append(p.record(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	cancel()
	require.NoError(t, <-done)
	report := p.verify(t, heads...)
	require.Empty(t, report.Findings)
	require.EqualValues(t, 4000, report.Records)
	require.NotEmpty(t, heads)
}

func TestCallersCannotForgeLines(t *testing.T) {
	p := newPlace(t)
	l, err := Open(p.config())
	require.NoError(t, err)
	r := p.record(0)
	r.Subject = "ann\",\"verdict\":\"allow\n{\"seq\":2}"
	r.Namespace = strings.Repeat("ü", 5000)
	r.Target = "\xff\xfe\u2028<script>"
	require.NoError(t, l.Append(r))
	require.NoError(t, l.close())
	list := lines(t, p.files(t)[0])
	require.Len(t, list, 1)
	require.Less(t, len(list[0]), 4000)
	var got Record
	require.NoError(t, json.Unmarshal(list[0], &got))
	require.Equal(t, r.Subject, got.Subject)
	require.Equal(t, Deny, got.Verdict)
	require.Empty(t, p.verify(t).Findings)
}

func TestTailAndScan(t *testing.T) {
	p := newPlace(t)
	p.write(t, 17)
	collect := func(n int, match func(*Record) bool) []uint64 {
		var got []uint64
		require.NoError(t, Tail(context.Background(), p.dir, n, false, match, func(r *Record) error { got = append(got, r.Sequence); return nil }))
		return got
	}
	require.Equal(t, []uint64{15, 16, 17}, collect(3, nil))
	require.Equal(t, []uint64{9, 10, 11, 12, 13, 14, 15, 16, 17}, collect(9, nil), "across files")
	require.Empty(t, collect(0, nil))
	require.Len(t, collect(100, nil), 17)
	require.Equal(t, []uint64{2}, collect(5, func(r *Record) bool { return r.Target == "order-1" }))

	var since []uint64
	require.NoError(t, Scan(p.dir, newClock().now().Add(48*time.Hour), func(r *Record) error { since = append(since, r.Sequence); return nil }))
	require.Equal(t, []uint64{11, 12, 13, 14, 15, 16, 17}, since)
}

func TestTailFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		l, err := Open(p.config())
		require.NoError(t, err)
		require.NoError(t, l.Append(p.record(0)))
		l.commitAll()
		ctx, cancel := context.WithCancel(context.Background())
		var got []uint64
		done := make(chan error, 1)
		go func() {
			done <- Tail(ctx, p.dir, 10, true, nil, func(r *Record) error { got = append(got, r.Sequence); return nil })
		}()
		time.Sleep(time.Second)
		require.NoError(t, l.Append(p.record(1)))
		l.commitAll()
		p.clock.add(24 * time.Hour) // and into the next file
		require.NoError(t, l.Append(p.record(2)))
		l.commitAll()
		time.Sleep(time.Second)
		cancel()
		require.NoError(t, <-done)
		require.Equal(t, []uint64{1, 2, 3}, got)
		require.NoError(t, l.close())
	})
}

func TestDeniedPollersFromTheLog(t *testing.T) {
	p := newPlace(t)
	l, err := Open(p.config())
	require.NoError(t, err)
	poll := func(subject string, v Verdict) {
		r := p.record(0)
		r.API, r.Subject, r.Verdict, r.Target, r.Reason = "/temporal.api.workflowservice.v1.WorkflowService/PollActivityTaskQueue", subject, v, "q", "token has expired"
		require.NoError(t, l.Append(r))
		l.commitAll()
		p.clock.add(time.Minute)
	}
	poll("ann", Unauthenticated)
	poll("bob", Allow)
	poll("eve", Deny)
	poll("ann", Unauthenticated)
	require.NoError(t, l.Append(p.record(1)))
	require.NoError(t, l.close())
	list, err := DeniedPollers(p.dir, time.Time{})
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "ann", list[0].Subject)
	require.EqualValues(t, 2, list[0].Count)
	require.Equal(t, 3*time.Minute, list[0].Last.Sub(list[0].First))
	require.Equal(t, "eve", list[1].Subject)
}

func TestConfigIsChecked(t *testing.T) {
	_, err := Open(Config{})
	require.ErrorContains(t, err, "required")
	p := newPlace(t)
	require.NoError(t, os.WriteFile(filepath.Dir(p.dir)+"/file", nil, 0o600))
	cfg := p.config()
	cfg.Dir = filepath.Dir(p.dir) + "/file"
	_, err = Open(cfg)
	require.Error(t, err)
	p.write(t, 1)
	require.NoError(t, os.Chmod(p.key, 0o644))
	_, err = Open(p.config())
	require.ErrorContains(t, err, "lets others in")
}

func FuzzLine(f *testing.F) {
	r := Record{Time: time.Unix(0, 0), API: "/a/b"}
	body := r.appendLine(nil, 1, nil)
	f.Add(append(body, []byte(hashMember+sum(body)+lineEnd)...))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		rec, err := parseLine(line)
		if err == nil && rec.Hash != string(line[len(line)-len(lineEnd)-64:len(line)-len(lineEnd)]) {
			t.Fatalf("hash %q is not the line's", rec.Hash)
		}
	})
}

func FuzzAppendLine(f *testing.F) {
	f.Add("ann", "billing", "reason")
	f.Add("\"\\\n\x00", "ü\u2028", "\xff<&>")
	f.Fuzz(func(t *testing.T, subject, namespace, reason string) {
		r := Record{Time: time.Unix(1, 2), Subject: subject, Namespace: namespace, Reason: reason}
		body := r.appendLine(nil, 7, []byte("p"))
		line := append(body, []byte(hashMember+sum(body)+lineEnd)...)
		if bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("more than one line: %q", line)
		}
		got, err := parseLine(line)
		if err != nil || got.Sequence != 7 || got.Previous != "p" {
			t.Fatalf("%q reads as %+v, %v", line, got, err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	p := newPlace(b)
	cfg := p.config()
	cfg.Interval, cfg.Now = 0, time.Now
	l, err := Open(cfg)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	r := p.record(0)
	b.ReportAllocs()
	for b.Loop() {
		r.Time = time.Now()
		if err := l.Append(r); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	require.NoError(b, <-done)
}
