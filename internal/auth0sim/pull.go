package auth0sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// Times of the Events API.
const (
	pullHeartbeat = 15 * time.Second
	pullLifetime  = 4 * time.Minute // the server ends connections now and then
)

func (s *Server) streams() map[string]streamHandler {
	return map[string]streamHandler{"GET /events": pullEvents}
}

// pullEvents serves the tenant's events as server-sent events. The id of each
// is a cursor: given back as Last-Event-ID or from, the stream goes on behind
// it, so that nothing is lost between two connections.
func pullEvents(s *Server, w http.ResponseWriter, r *http.Request, t *tenant, c *call) {
	select {
	case t.pulls <- struct{}{}:
		defer func() { <-t.pulls }()
	default:
		refuse(http.StatusForbidden, "", "Maximum concurrent event stream connections reached. Please close existing connections.").write(w)
		return
	}
	cursor := c.query.Get("from")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		cursor = last
	}
	kinds := map[string]bool{}
	for _, k := range splitList(c.query["event_type"]) {
		kinds[k] = true
	}
	since, timed := time.Time{}, false
	if text := c.query.Get("from_timestamp"); text != "" && cursor == "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			refuse(http.StatusBadRequest, "invalid_query_string", "Query validation error: 'Object didn't pass validation for format date-time: %s' on property from_timestamp.", text).write(w)
			return
		}
		since, timed = at, true
	}
	wake, stop := s.store.Watch("events")
	defer stop()
	if cursor == "" && !timed {
		// From now on.
		if err := t.state.View(r.Context(), func(tx *state.Tx) error {
			docs, _, err := tx.List("events", state.ListOptions{Descending: true, Limit: 1})
			if err != nil || len(docs) == 0 {
				return err
			}
			cursor, _, err = tx.CursorAt("events", str(docs[0], "id"))
			return err
		}); err != nil {
			s.refuse(w, r, err)
			return
		}
	}
	read := func() (events []doc, next string, err error) {
		err = t.state.View(r.Context(), func(tx *state.Tx) error {
			events, next, err = tx.ListWithCursor("events", state.ListOptions{After: cursor, Limit: 100})
			return err
		})
		return events, next, err
	}
	if _, _, err := read(); err != nil {
		refuse(http.StatusBadRequest, "invalid_cursor", "The provided cursor is invalid.").write(w)
		return
	}
	out := &eventWriter{w: w}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	out.raw(":connected\n\nretry: 2000\n\n")
	beat, life := time.NewTicker(pullHeartbeat), time.NewTimer(pullLifetime)
	defer beat.Stop()
	defer life.Stop()
	for out.err == nil {
		events, next, err := read()
		if err != nil {
			out.message("error", "", doc{"code": "processing_error", "message": "The events could not be read."})
			return
		}
		sent := false
		for _, e := range events {
			at, err := time.Parse(time.RFC3339, str(e, "time"))
			if timed && err == nil && at.Before(since) || len(kinds) > 0 && !kinds[str(e, "type")] {
				continue
			}
			offset, err := s.offsetOf(r, t, e)
			if err != nil {
				return
			}
			out.message(str(e, "type"), offset, doc{"offset": offset, "event": e})
			sent = true
		}
		if len(events) > 0 && !sent {
			// A marker, so that a reader of rare events need not start over.
			out.message("offset-only", next, doc{"offset": next})
		}
		cursor = next
		if len(events) > 0 {
			continue
		}
		select {
		case <-wake:
		case <-beat.C:
			out.raw(": heartbeat\n\n")
		case <-life.C:
			out.message("error", "", doc{"code": "connection_timeout", "message": "The connection has been open for too long."})
			return
		case <-s.closing:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) offsetOf(r *http.Request, t *tenant, e doc) (offset string, err error) {
	err = t.state.View(r.Context(), func(tx *state.Tx) error {
		offset, _, err = tx.CursorAt("events", str(e, "id"))
		return err
	})
	return offset, err
}

// eventWriter writes server-sent events until the client is gone.
type eventWriter struct {
	w   http.ResponseWriter
	err error
}

func (e *eventWriter) raw(text string) {
	if e.err != nil {
		return
	}
	if _, e.err = fmt.Fprint(e.w, text); e.err == nil {
		if f, can := e.w.(http.Flusher); can {
			f.Flush()
		}
	}
}

func (e *eventWriter) message(kind, id string, data doc) {
	body, err := json.Marshal(data)
	if err != nil {
		e.err = err
		return
	}
	text := "event: " + kind + "\n"
	if id != "" {
		text += "id: " + id + "\n"
	}
	e.raw(text + "data: " + string(body) + "\n\n")
}
