package enginetest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// ErrLost is what the engine sees of an answer that the Link lost.
var ErrLost = errors.New("enginetest: the answer was lost")

// Link is the way from an engine to the tenant. It counts requests, remembers
// their bodies, and loses answers: the request has then reached the tenant and
// taken effect, and the engine does not know. The zero Link loses nothing. An
// engine in a process of its own is put behind a reverse proxy whose transport
// the Link is. It is safe for concurrent use.
type Link struct {
	mu     sync.Mutex
	writes []Write
	lose   map[int]bool
	lost   int
}

// Write is a request that was not a GET.
type Write struct {
	Method, Path, Body string
}

// Wrap returns a RoundTripper that sends through next.
func (l *Link) Wrap(next http.RoundTripper) http.RoundTripper { return linkTransport{l, next} }

// Lose loses the answer to the n-th write from now on, counted from 0.
func (l *Link) Lose(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lose == nil {
		l.lose = map[int]bool{}
	}
	l.lose[len(l.writes)+n] = true
}

// Lost is how many answers were lost so far.
func (l *Link) Lost() int { l.mu.Lock(); defer l.mu.Unlock(); return l.lost }

// Writes is how many writes were sent so far.
func (l *Link) Writes() int { l.mu.Lock(); defer l.mu.Unlock(); return len(l.writes) }

// Sent returns all writes.
func (l *Link) Sent() []Write {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Write(nil), l.writes...)
}

type linkTransport struct {
	link *Link
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t linkTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodGet || !strings.HasPrefix(req.URL.Path, "/api/v2/") {
		return t.next.RoundTrip(req)
	}
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	t.link.mu.Lock()
	n := len(t.link.writes)
	t.link.writes = append(t.link.writes, Write{req.Method, req.URL.Path, string(body)})
	t.link.mu.Unlock()
	res, err := t.next.RoundTrip(req)
	t.link.mu.Lock()
	defer t.link.mu.Unlock()
	if err == nil && t.link.lose[n] {
		t.link.lost++
		_ = res.Body.Close()
		return nil, ErrLost
	}
	return res, err
}
