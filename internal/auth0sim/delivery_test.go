package auth0sim

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// received is one call of a webhook.
type received struct {
	auth  string
	event map[string]any
}

// newReceiver is a webhook that answers with the status that answer returns.
func newReceiver(t *testing.T, answer func() int) (string, *http.Client, <-chan received) {
	t.Helper()
	calls := make(chan received, 100)
	ts := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e map[string]any
		raw, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(raw, &e)
		calls <- received{r.Header.Get("Authorization") + r.Header.Get("X-Key"), e}
		w.WriteHeader(answer())
	}))
	t.Cleanup(ts.Close)
	return ts.URL, ts.Client(), calls
}

func newStream(h *harness, endpoint string, auth doc) string {
	return h.must(http.StatusCreated, "POST", "/event-streams", doc{"name": "s", "subscriptions": []any{doc{"event_type": "user.created"}},
		"destination": doc{"type": "webhook", "configuration": doc{"webhook_endpoint": endpoint, "webhook_authorization": auth}}})["id"].(string)
}

// settled waits until the stream has no pending delivery, and returns all.
func settled(t *testing.T, h *harness, stream string) []doc {
	t.Helper()
	wake, stop := h.server.store.Watch("deliveries")
	defer stop()
	for {
		var docs []doc
		require.NoError(t, h.server.first.state.View(context.Background(), func(tx *stateTx) error {
			var err error
			docs, err = tx.Find("deliveries", "event_stream_id", stream)
			return err
		}))
		pending := len(docs) == 0
		for _, d := range docs {
			pending = pending || d["status"] == statePending
		}
		if !pending {
			return docs
		}
		select {
		case <-wake:
		case <-time.After(10 * time.Second):
			require.Fail(t, "deliveries did not settle")
		}
	}
}

func TestDeliverySucceeds(t *testing.T) {
	endpoint, client, calls := newReceiver(t, func() int { return http.StatusNoContent })
	h := newHarness(t, Config{Outbound: client})
	stream := newStream(h, endpoint, doc{"method": "custom_header", "header_key": "X-Key", "header_value": "hunter2"})
	u := h.must(http.StatusCreated, "POST", "/users", doc{"connection": builtInConnection, "email": "a@example.com", "password": "Correct-Horse-9"})
	got := <-calls
	require.Equal(t, "hunter2", got.auth)
	require.Equal(t, "user.created", got.event["type"])
	require.Equal(t, stream, got.event["a0stream"])
	require.Equal(t, "tenon", got.event["a0tenant"])
	require.NotContains(t, got.event, "a0purpose")
	require.Equal(t, u["user_id"], got.event["data"].(map[string]any)["object"].(map[string]any)["user_id"])
	require.Equal(t, stateDelivered, settled(t, h, stream)[0]["status"])
	// Only failures are listed, and no secret ever comes back.
	_, list := h.call("GET", "/event-streams/"+stream+"/deliveries", nil)
	require.Empty(t, list)
	w := h.do("GET", "/api/v2/event-streams/"+stream, nil, map[string]string{"Authorization": "Bearer " + h.token})
	require.NotContains(t, w.Body.String(), "hunter2")
}

func TestDeliveryRetriesAndRedelivers(t *testing.T) {
	var status atomic.Int64
	status.Store(http.StatusBadGateway)
	endpoint, client, calls := newReceiver(t, func() int { return int(status.Load()) })
	h := newHarness(t, Config{Outbound: client, Backoff: []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond}})
	stream := newStream(h, endpoint, doc{"method": "bearer", "token": "t"})
	test := h.must(http.StatusAccepted, "POST", "/event-streams/"+stream+"/test", doc{"event_type": "user.created"})
	require.Equal(t, "pending", test["status"])
	d := settled(t, h, stream)[0]
	require.Equal(t, stateFailed, d["status"])
	require.Len(t, list(d, "attempts"), 4)
	require.Len(t, calls, 4)
	for range 4 {
		c := <-calls
		require.Equal(t, "test", c.event["a0purpose"])
		require.Equal(t, "Bearer t", c.auth)
	}
	failed := h.must(http.StatusOK, "GET", "/event-streams/"+stream+"/deliveries?take=10", nil)
	require.Len(t, failed["deliveries"], 1)

	status.Store(http.StatusOK)
	event := d["id"].(string)
	h.must(http.StatusAccepted, "POST", "/event-streams/"+stream+"/redeliver/"+event, nil)
	require.Equal(t, stateDelivered, settled(t, h, stream)[0]["status"])
	code, _ := h.call("POST", "/event-streams/"+stream+"/redeliver/"+event, nil)
	require.Equal(t, http.StatusConflict, code) // it was delivered
}

func TestDeliveryRefusedIsFinal(t *testing.T) {
	endpoint, client, _ := newReceiver(t, func() int { return http.StatusGone })
	h := newHarness(t, Config{Outbound: client})
	stream := newStream(h, endpoint, doc{"method": "basic", "username": "u", "password": "p"})
	h.must(http.StatusAccepted, "POST", "/event-streams/"+stream+"/test", doc{"event_type": "user.created"})
	d := settled(t, h, stream)[0]
	require.Equal(t, stateFailed, d["status"])
	require.Len(t, list(d, "attempts"), 1)
}

// An EventBridge destination ends in a queue, in the envelope of a rule.
func TestDeliveryToQueue(t *testing.T) {
	sent := make(chan url.Values, 10)
	queue := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		sent <- r.PostForm
	}))
	t.Cleanup(queue.Close)
	h := newHarness(t, Config{Queue: queue.URL + "/000000000000/events"})
	bridge := doc{"name": "bridge", "subscriptions": []any{doc{"event_type": "user.created"}},
		"destination": doc{"type": "eventbridge", "configuration": doc{"aws_account_id": "123456789012", "aws_region": "eu-central-1"}}}
	stream := h.must(http.StatusCreated, "POST", "/event-streams", bridge)
	source := obj(obj(stream, "destination"), "configuration")["aws_partner_event_source"]
	require.Regexp(t, `^aws\.partner/auth0\.com/tenon-[0-9a-f-]{36}/auth0\.events$`, source)
	h.must(http.StatusCreated, "POST", "/users", doc{"connection": builtInConnection, "email": "a@example.com", "password": "Correct-Horse-9"})
	form := <-sent
	require.Equal(t, "SendMessage", form.Get("Action"))
	envelope := decodeObject(t, []byte(form.Get("MessageBody")))
	require.Equal(t, []any{source, "123456789012", "eu-central-1", "user.created"}, []any{envelope["source"], envelope["account"], envelope["region"], envelope["detail-type"]})
	detail := envelope["detail"].(map[string]any)
	require.Equal(t, stream["id"], detail["a0stream"])
	require.Equal(t, stateDelivered, settled(t, h, stream["id"].(string))[0]["status"])
	// What the destination is cannot be changed.
	code, _ := h.call("PATCH", "/event-streams/"+stream["id"].(string), doc{"destination": doc{"type": "webhook",
		"configuration": doc{"webhook_endpoint": "https://example.com", "webhook_authorization": doc{"method": "bearer", "token": "t"}}}})
	require.Equal(t, http.StatusBadRequest, code)

	// Without a queue the deliveries fail, and say why.
	none := newHarness(t, Config{})
	id := none.must(http.StatusCreated, "POST", "/event-streams", bridge)["id"].(string)
	none.must(http.StatusAccepted, "POST", "/event-streams/"+id+"/test", doc{"event_type": "user.created"})
	failed := settled(t, none, id)[0]
	require.Equal(t, "no queue is configured for EventBridge destinations", list(failed, "attempts")[0].(doc)["error_message"])
}

// A stream that only fails is disabled, and enabled again by hand.
func TestStreamsAreDisabled(t *testing.T) {
	endpoint, client, calls := newReceiver(t, func() int { return http.StatusGone })
	h := newHarness(t, Config{Outbound: client})
	stream := newStream(h, endpoint, doc{"method": "bearer", "token": "t"})
	failures := func(n float64) {
		require.NoError(t, h.server.first.state.Update(context.Background(), func(tx *stateTx) error {
			d, _, err := tx.Get("event-streams", stream)
			if err != nil {
				return err
			}
			state.PrivateOf(d)["consecutive_failures"] = n
			return tx.Put("event-streams", stream, d)
		}))
	}
	status := func() any { return h.must(http.StatusOK, "GET", "/event-streams/"+stream, nil)["status"] }
	fail := func() {
		h.must(http.StatusAccepted, "POST", "/event-streams/"+stream+"/test", doc{"event_type": "user.created"})
		<-calls
		settled(t, h, stream)
	}
	failures(maxConsecutive - 2)
	fail()
	require.Equal(t, "enabled", status())
	fail()
	require.Equal(t, "disabled", status())
	// Disabled, it misses what happens.
	h.must(http.StatusCreated, "POST", "/users", doc{"connection": builtInConnection, "email": "a@example.com", "password": "Correct-Horse-9"})
	require.Equal(t, "enabled", h.must(http.StatusOK, "PATCH", "/event-streams/"+stream, doc{"status": "enabled"})["status"])
	fail()
	require.Equal(t, "enabled", status()) // it counts anew
	require.Empty(t, calls)
}

// TestPull reads events as they happen, and again from a cursor.
func TestPull(t *testing.T) {
	h := newHarness(t, Config{})
	ts := httptest.NewServer(h.handler)
	defer ts.Close()
	open := func(query, last string) (*bufio.Scanner, func()) {
		ctx, cancel := context.WithCancel(context.Background())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, ts.URL+"/api/v2/events"+query, nil)
		require.NoError(t, err)
		req.Host = "localhost:4430"
		req.Header.Set("Authorization", "Bearer "+h.token)
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		res, err := ts.Client().Do(req)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, res.StatusCode)
		lines := bufio.NewScanner(res.Body)
		require.True(t, lines.Scan())
		require.Equal(t, ":connected", lines.Text())
		return lines, func() { cancel(); res.Body.Close() }
	}
	next := func(lines *bufio.Scanner) (kind, id string, data map[string]any) {
		for lines.Scan() {
			key, value, _ := strings.Cut(lines.Text(), ": ")
			switch key {
			case "event":
				kind = value
			case "id":
				id = value
			case "data":
				return kind, id, decodeObject(t, []byte(value))
			}
		}
		return "", "", nil
	}
	user := func(email string) {
		h.must(http.StatusCreated, "POST", "/users", doc{"connection": builtInConnection, "email": email, "password": "Correct-Horse-9"})
	}
	lines, stop := open("", "")
	user("a@example.com")
	kind, cursor, data := next(lines)
	require.Equal(t, "user.created", kind)
	require.Equal(t, cursor, data["offset"])
	stop()
	user("b@example.com")
	lines, stop = open("", cursor)
	defer stop()
	_, _, data = next(lines)
	object := data["event"].(map[string]any)["data"].(map[string]any)["object"].(map[string]any)
	require.Equal(t, "b@example.com", object["email"])
	code, v := h.call("GET", "/events?from=%20nonsense", nil)
	require.Equal(t, http.StatusBadRequest, code, v)
}

// TestRunStops proves that Run is quick to end, with a stream open.
func TestRunStops(t *testing.T) {
	ts := httptest.NewTLSServer(http.NotFoundHandler())
	certificates, pool := ts.TLS.Certificates, ts.Client()
	ts.Close()
	s, err := New(Config{TLS: &tls.Config{Certificates: certificates}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	res, err := pool.Get("https://" + s.Addr().String() + "/.well-known/openid-configuration")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.NoError(t, res.Body.Close())
	began := time.Now()
	cancel()
	require.NoError(t, <-done)
	require.Less(t, time.Since(began), 3*time.Second, "what hangs is waited for longer")
}
