package test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var webUIPictures = flag.String("webui-pictures", "", "directory for pictures of the Web UI, as a browser shows it")

// webBrowser is a headless Chromium, spoken to over a pipe in the DevTools
// protocol.
type webBrowser struct {
	t       *testing.T
	out     io.Writer
	session string

	mu       sync.Mutex
	next     int
	waiting  map[int]chan webMessage
	problems []string // what the page's policy refused, and what its scripts threw
}

type webMessage struct {
	ID     int
	Method string
	Params json.RawMessage
	Result json.RawMessage
	Error  *struct{ Message string }
}

type document = map[string]any

// startWebBrowser skips the test where there is no Chromium.
func startWebBrowser(t *testing.T) *webBrowser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		t.Skip("needs chromium")
	}
	theirs, ours, err := os.Pipe()
	require.NoError(t, err)
	answers, answersIn, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors",
		"--hide-scrollbars", "--window-size=1280,900", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirs, answersIn}
	require.NoError(t, cmd.Start())
	require.NoError(t, theirs.Close())
	require.NoError(t, answersIn.Close())
	b := &webBrowser{t: t, out: ours, waiting: map[int]chan webMessage{}}
	done := make(chan struct{})
	go func() { b.read(answers); close(done) }()
	t.Cleanup(func() {
		// Asked to end, it writes its profile and goes; killed, it would leave
		// children behind that still write into the directory we remove.
		b.call("", "Browser.close", nil)
		if err := cmd.Wait(); err != nil {
			t.Logf("chromium: %v", err)
		}
		<-done
		require.NoError(t, ours.Close())
		require.NoError(t, answers.Close())
	})
	var target struct{ TargetID string }
	b.into(&target, b.call("", "Target.createTarget", document{"url": "about:blank"}))
	var session struct{ SessionID string }
	b.into(&session, b.call("", "Target.attachToTarget", document{"targetId": target.TargetID, "flatten": true}))
	b.session = session.SessionID
	for _, domain := range []string{"Page", "Log", "Runtime", "Network"} {
		b.do(domain+".enable", nil)
	}
	return b
}

func (b *webBrowser) read(r io.Reader) {
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m webMessage
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		switch m.Method {
		case "Runtime.exceptionThrown":
			b.problems = append(b.problems, string(m.Params))
		case "Log.entryAdded":
			if strings.Contains(string(m.Params), "Content Security Policy") {
				b.problems = append(b.problems, string(m.Params))
			}
		}
		ch := b.waiting[m.ID]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		if ch != nil {
			ch <- m
		}
	}
}

func (b *webBrowser) call(session, method string, params document) json.RawMessage {
	b.t.Helper()
	if params == nil {
		params = document{}
	}
	ch := make(chan webMessage, 1)
	b.mu.Lock()
	b.next++
	id := b.next
	b.waiting[id] = ch
	b.mu.Unlock()
	m := document{"id": id, "method": method, "params": params}
	if session != "" {
		m["sessionId"] = session
	}
	text, err := json.Marshal(m)
	require.NoError(b.t, err)
	_, err = b.out.Write(append(text, 0))
	require.NoError(b.t, err)
	select {
	case out := <-ch:
		require.Nil(b.t, out.Error, "%s: %v", method, out.Error)
		return out.Result
	case <-time.After(60 * time.Second):
		require.Fail(b.t, "chromium does not answer "+method)
		return nil
	}
}

func (b *webBrowser) do(method string, params document) json.RawMessage {
	b.t.Helper()
	return b.call(b.session, method, params)
}

func (b *webBrowser) into(v any, raw json.RawMessage) {
	b.t.Helper()
	require.NoError(b.t, json.Unmarshal(raw, v), "%s", raw)
}

// try runs JavaScript as the debugger; a page that is just being replaced
// answers nothing.
func (b *webBrowser) try(text string) string {
	b.t.Helper()
	var out struct {
		Result           struct{ Value any }
		ExceptionDetails *json.RawMessage
	}
	b.into(&out, b.do("Runtime.evaluate", document{"expression": text, "returnByValue": true, "awaitPromise": true}))
	if out.ExceptionDetails != nil || out.Result.Value == nil {
		return ""
	}
	return fmt.Sprint(out.Result.Value)
}

// until waits for a page on which the script is true: pages draw themselves
// when their data has come.
func (b *webBrowser) until(what, script string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return b.try(script) == "true" }, 90*time.Second, 100*time.Millisecond,
		"%s: at %s: %s", what, b.lazily("location.href"), b.lazily("document.body.innerText"))
}

func (b *webBrowser) lazily(script string) fmt.Stringer {
	return lazy(func() string { return b.try(script) })
}

type lazy func() string

// String implements fmt.Stringer.
func (l lazy) String() string { return l() }

func (b *webBrowser) shows(text string) {
	b.t.Helper()
	b.until("shows "+text, "document.body !== null && document.body.innerText.includes("+quoted(text)+")")
}

func (b *webBrowser) text() string { return b.try("document.body.innerText") }

func (b *webBrowser) open(address string) {
	b.t.Helper()
	b.do("Page.navigate", document{"url": address})
}

// fill types into the fields, as a person would.
func (b *webBrowser) fill(values ...string) {
	b.t.Helper()
	for i := 0; i < len(values); i += 2 {
		b.until("field "+values[i], "document.getElementById("+quoted(values[i])+") !== null")
		b.try(`(() => { const e = document.getElementById(` + quoted(values[i]) + `); e.focus(); e.select(); })()`)
		b.do("Input.insertText", document{"text": values[i+1]})
	}
}

func (b *webBrowser) click(selector string) {
	b.t.Helper()
	b.until("clicks "+selector, "document.querySelector("+quoted(selector)+") !== null")
	b.try(`document.querySelector(` + quoted(selector) + `).click()`)
}

// fetch calls an address as the page's scripts do, and returns "status body".
func (b *webBrowser) fetch(path string) string {
	b.t.Helper()
	return b.try(`fetch(` + quoted(path) + `, {headers: {Authorization: "Bearer x"}}).then(async r => r.status + " " + await r.text())`)
}

func quoted(s string) string { text, _ := json.Marshal(s); return string(text) }

// picture keeps what is on screen.
func (b *webBrowser) picture(name string) {
	b.t.Helper()
	if *webUIPictures == "" {
		return
	}
	var shot struct{ Data string }
	b.into(&shot, b.do("Page.captureScreenshot", document{"format": "png"}))
	raw, err := base64.StdEncoding.DecodeString(shot.Data)
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(filepath.Join(*webUIPictures, name+".png"), raw, 0o600))
}
