package auth0sim

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/actions"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
	"github.com/tenonhq/tenon/internal/secret"
)

// The thresholds at which a stream is disabled.
const (
	maxConsecutive = 500
	maxFailed      = 5000
)

// courier delivers events to event streams: one at a time for each stream, so
// that a delivery that is being retried holds up those behind it.
type courier struct {
	server *Server

	mu      sync.Mutex
	running map[string]bool // tenant and stream
	wait    sync.WaitGroup
}

func newCourier(s *Server) *courier {
	return &courier{server: s, running: map[string]bool{}}
}

// enqueue adds a delivery of the event to the stream.
func enqueue(tx *state.Tx, stream, event doc) (doc, error) {
	e := state.Clone(event)
	e["a0stream"] = stream["id"]
	d := doc{"id": e["id"], "event_stream_id": stream["id"], "event_type": e["type"], "status": statePending, "attempts": []any{}, "event": e}
	return d, tx.Put("deliveries", state.Key(str(stream, "id"), str(e, "id")), d)
}

// run turns new events into deliveries and carries them out until the context
// ends; it returns when the last attempt has been given up.
func (k *courier) run(ctx context.Context) {
	events, stopEvents := k.server.store.Watch("events")
	defer stopEvents()
	deliveries, stopDeliveries := k.server.store.Watch("deliveries")
	defer stopDeliveries()
	for {
		for _, t := range k.server.allTenants() {
			if err := k.distribute(ctx, t); err != nil && ctx.Err() == nil {
				k.server.log.Error("events could not be distributed", "tenant", t.name, "error", err)
			}
			k.dispatch(ctx, t)
		}
		select {
		case <-ctx.Done():
			k.wait.Wait()
			return
		case <-events:
		case <-deliveries:
		}
	}
}

// distribute makes deliveries of the events that came since the last time.
// How far it got is part of the state, so that a restart loses no event.
func (k *courier) distribute(ctx context.Context, t *tenant) error {
	var position string
	pending := false
	err := t.state.View(ctx, func(tx *state.Tx) error {
		d, _, err := tx.Get("courier", "position")
		if err != nil {
			return err
		}
		position = str(d, "after")
		events, _, err := tx.List("events", state.ListOptions{Limit: 1, After: position})
		pending = len(events) > 0
		return err
	})
	if err != nil || !pending {
		return err
	}
	return t.state.Update(ctx, func(tx *state.Tx) error {
		streams, _, err := tx.List("event-streams", state.ListOptions{})
		if err != nil {
			return err
		}
		events, last, err := tx.ListWithCursor("events", state.ListOptions{After: position, Limit: 1000})
		if err != nil {
			return err
		}
		for _, s := range streams {
			if str(s, "status") != "enabled" {
				continue
			}
			for _, e := range since(s, events) {
				if !subscribed(s, str(e, "type")) {
					continue
				}
				if _, err := enqueue(tx, s, e); err != nil {
					return err
				}
			}
		}
		if err := tx.Put("courier", "position", doc{"after": last}); err != nil {
			return err
		}
		if len(events) == 1000 {
			tx.Touch("events") // there may be more
		}
		return nil
	})
}

// listenFrom makes a stream miss the events that have happened so far, also those
// that are yet to be distributed.
func listenFrom(tx *state.Tx, stream doc) error {
	last, _, err := tx.List("events", state.ListOptions{Descending: true, Limit: 1})
	if len(last) > 0 {
		state.PrivateOf(stream)["after_event"] = last[0]["id"]
	}
	return err
}

// since returns those of the events that happened while the stream listened.
func since(stream doc, events []doc) []doc {
	after := str(state.PrivateOf(stream), "after_event")
	return events[slices.IndexFunc(events, func(e doc) bool { return str(e, "id") == after })+1:]
}

func subscribed(stream doc, kind string) bool {
	for _, e := range list(stream, "subscriptions") {
		if s, _ := e.(doc); str(s, "event_type") == kind {
			return true
		}
	}
	return false
}

// dispatch starts a worker for every stream that has pending deliveries and no
// worker.
func (k *courier) dispatch(ctx context.Context, t *tenant) {
	var streams []string
	err := t.state.View(ctx, func(tx *state.Tx) error {
		ids, err := tx.IDs("event-streams", "", "")
		if err != nil {
			return err
		}
		for _, id := range ids {
			d, err := nextPending(tx, id)
			if err != nil {
				return err
			}
			if d != nil {
				streams = append(streams, id)
			}
		}
		return nil
	})
	if err != nil {
		return
	}
	for _, id := range streams {
		key := t.name + "/" + id
		k.mu.Lock()
		busy := k.running[key]
		k.running[key] = true
		k.mu.Unlock()
		if busy {
			continue
		}
		k.wait.Go(func() {
			k.serve(ctx, t, id)
			k.mu.Lock()
			delete(k.running, key)
			k.mu.Unlock()
			// One that came between the last look and now.
			_ = t.state.View(context.WithoutCancel(ctx), func(tx *state.Tx) error {
				if d, err := nextPending(tx, id); err == nil && d != nil && ctx.Err() == nil {
					k.server.store.Wake("deliveries")
				}
				return nil
			})
		})
	}
}

func nextPending(tx *state.Tx, stream string) (doc, error) {
	d, found, err := tx.FindOne("deliveries", "pending", stream)
	if err != nil || !found {
		return nil, err
	}
	return d, nil
}

// serve carries out a stream's deliveries in order until there is none left.
func (k *courier) serve(ctx context.Context, t *tenant, id string) {
	for ctx.Err() == nil {
		var d, stream doc
		err := t.state.View(ctx, func(tx *state.Tx) error {
			var err error
			if stream, _, err = tx.Get("event-streams", id); err != nil || stream == nil {
				return err
			}
			d, err = nextPending(tx, id)
			return err
		})
		if err != nil || d == nil {
			return
		}
		attempts, delivered := k.deliver(ctx, t, stream, d)
		if ctx.Err() != nil && !delivered {
			return // still pending: the next start tries again
		}
		if err := k.record(ctx, t, id, d, attempts, delivered); err != nil {
			k.server.log.Error("delivery could not be recorded", "stream", id, "error", err)
			return
		}
	}
}

// record stores the outcome and disables a stream that fails too often.
func (k *courier) record(ctx context.Context, t *tenant, id string, d doc, attempts []any, delivered bool) error {
	return t.state.Update(context.WithoutCancel(ctx), func(tx *state.Tx) error {
		stream, found, err := tx.Get("event-streams", id)
		if err != nil || !found {
			return err
		}
		key := state.Key(id, str(d, "id"))
		now, found, err := tx.Get("deliveries", key)
		if err != nil || !found {
			return err
		}
		now["attempts"] = append(list(now, "attempts"), attempts...)
		private := state.PrivateOf(stream)
		if delivered {
			now["status"], private["consecutive_failures"] = stateDelivered, 0.0
		} else {
			now["status"] = stateFailed
			n, _ := private["consecutive_failures"].(float64)
			private["consecutive_failures"] = n + 1
		}
		if err := tx.Put("deliveries", key, now); err != nil {
			return err
		}
		if n, _ := private["consecutive_failures"].(float64); n >= maxConsecutive && str(stream, "status") == "enabled" {
			stream["status"] = "disabled"
		} else if !delivered {
			failed, err := countFailed(tx, id)
			if err != nil {
				return err
			}
			if failed >= maxFailed {
				stream["status"] = "disabled"
			}
		}
		return tx.Put("event-streams", id, stream)
	})
}

func countFailed(tx *state.Tx, stream string) (int, error) {
	return tx.Count("deliveries", state.ListOptions{Index: "failed", Value: stream})
}

// errFinal marks an answer that no retry will change.
var errFinal = errors.New("final")

// deliver makes the attempts at one delivery.
func (k *courier) deliver(ctx context.Context, t *tenant, stream, d doc) (attempts []any, delivered bool) {
	for n := 0; ; n++ {
		at := k.server.store.Now()
		began := time.Now()
		err := k.attempt(ctx, t, stream, obj(d, "event"))
		if err == nil {
			return attempts, true
		}
		if ctx.Err() != nil {
			return attempts, false
		}
		message := strings.TrimPrefix(err.Error(), errFinal.Error()+": ")
		attempts = append(attempts, doc{"status": stateFailed, "error_message": message, "timestamp": state.Timestamp(at), "duration": float64(time.Since(began).Microseconds()) / 1000})
		if errors.Is(err, errFinal) || n >= len(k.server.cfg.Backoff) {
			return attempts, false
		}
		select {
		case <-ctx.Done():
			return attempts, false
		case <-time.After(k.server.cfg.Backoff[n]):
		}
	}
}

func (k *courier) attempt(ctx context.Context, t *tenant, stream, event doc) error {
	destination := obj(stream, "destination")
	configuration := obj(destination, "configuration")
	switch str(destination, "type") {
	case "webhook":
		return k.post(ctx, str(configuration, "webhook_endpoint"), obj(configuration, "webhook_authorization"), event)
	case "eventbridge":
		return k.queue(ctx, configuration, event)
	case "action":
		return k.act(ctx, t, str(configuration, "action_id"), event)
	default:
		return fmt.Errorf("%w: unknown destination", errFinal)
	}
}

// post calls a webhook. Any 2xx is a success, a 4xx is final.
func (k *courier) post(ctx context.Context, endpoint string, auth, event doc) error {
	body, err := json.Marshal(event)
	if err != nil {
		return fmt.Errorf("%w: %w", errFinal, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", errFinal, err)
	}
	req.Header.Set("Content-Type", "application/json")
	switch str(auth, "method") {
	case "basic":
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(str(auth, "username")+":"+str(auth, "password"))))
	case "bearer":
		req.Header.Set("Authorization", "Bearer "+str(auth, "token"))
	case "custom_header":
		req.Header.Set(str(auth, "header_key"), str(auth, "header_value"))
	}
	return k.send(req)
}

func (k *courier) send(req *http.Request) error {
	res, err := k.server.cfg.Outbound.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	// What a receiver says is of no interest, but a connection is reused only
	// when it was read.
	if _, err := io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)); err != nil {
		return err
	}
	switch {
	case res.StatusCode < 300:
		return nil
	case res.StatusCode >= 400 && res.StatusCode < 500:
		return fmt.Errorf("%w: webhook responded with status %d", errFinal, res.StatusCode)
	default:
		return fmt.Errorf("webhook responded with status %d", res.StatusCode)
	}
}

// queue puts the event on an SQS-compatible queue, in the envelope in which an
// EventBridge rule forwards it.
func (k *courier) queue(ctx context.Context, configuration, event doc) error {
	if k.server.cfg.Queue == "" {
		return fmt.Errorf("%w: no queue is configured for EventBridge destinations", errFinal)
	}
	envelope := doc{"version": "0", "id": event["id"], "detail-type": event["type"], "source": configuration["aws_partner_event_source"],
		"account": configuration["aws_account_id"], "region": configuration["aws_region"], "time": event["time"], "resources": []any{}, "detail": event}
	body, err := json.Marshal(envelope)
	if err != nil {
		return fmt.Errorf("%w: %w", errFinal, err)
	}
	form := url.Values{"Action": {"SendMessage"}, "Version": {"2012-11-05"}, "MessageBody": {string(body)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.server.cfg.Queue, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("%w: %w", errFinal, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return k.send(req)
}

// act runs a deployed action; it failed if it threw or said so.
func (k *courier) act(ctx context.Context, t *tenant, id string, event doc) error {
	var version doc
	var name string
	err := t.state.View(ctx, func(tx *state.Tx) error {
		a, _, err := tx.Get("actions", id)
		if err != nil {
			return err
		}
		name = str(a, "name")
		version, _, err = tx.Get("actions/versions", str(obj(a, "deployed_version"), "id"))
		return err
	})
	if err != nil {
		return err
	}
	if version == nil {
		return fmt.Errorf("%w: the action is not deployed", errFinal)
	}
	secrets := map[string]secret.Value{}
	for k, v := range obj(state.PrivateOf(version), "secrets") {
		if text, isText := v.(string); isText {
			secrets[k] = secret.New(text)
		}
	}
	result, err := k.server.runner.Run(ctx, actions.Flow{Trigger: actions.EventStream, Event: map[string]any{"message": event},
		Actions: []actions.Action{{ID: id, Name: name, Code: str(version, "code"), Secrets: secrets}}})
	if err != nil {
		return err
	}
	if result.Failed != "" {
		return errors.New(result.Failed)
	}
	return nil
}
