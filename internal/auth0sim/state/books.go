package state

import (
	"strings"
	"time"
)

// Timestamp renders a time as Auth0 does: UTC, milliseconds, "Z".
func Timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Log appends an entry to the tenant's logs. The entry's type is Auth0's code
// ("s", "f", "sapi", …); log_id, _id and date are set here.
func (tx *Tx) Log(entry Doc) error {
	id := tx.NewID(LogID)
	d := Public(entry)
	d["_id"], d["log_id"], d["date"] = id, id, Timestamp(tx.Now())
	if _, ok := d["isMobile"]; !ok {
		d["isMobile"] = false
	}
	return tx.Put("logs", id, d)
}

// Emit appends an event to the tenant's event log, from which event streams and
// the Events API are served: a CloudEvents document without the fields that
// name a stream. object and previous must be free of private parts; previous
// and context may be nil.
func (tx *Tx) Emit(eventType string, object, previous, context Doc) error {
	id := tx.NewID(EventID)
	data := Doc{"object": object}
	if previous != nil {
		data["previous_object"] = previous
	}
	if context == nil {
		context = Doc{}
	}
	context["tenant"] = Doc{"tenant_id": tx.tenant}
	data["context"] = context
	return tx.Put("events", id, Doc{
		"specversion": "1.0", "type": eventType, "source": "urn:auth0:" + tx.tenant, "id": id,
		"time": Timestamp(tx.Now()), "data": data, "a0tenant": tx.tenant,
	})
}

// Mail is a message that the tenant would have sent.
type Mail struct {
	To       string
	Template string // as in /email-templates: "verify_email", "reset_email", …
	Subject  string
	Text     string
	HTML     string
	Link     string // the ticket's URL, where there is one
	Code     string // the one-time code, where there is one
	UserID   string
	Channel  string // "email" unless set; "sms", "voice"
}

// Send puts a message into the outbox.
func (tx *Tx) Send(m Mail) error {
	if m.Channel == "" {
		m.Channel = "email"
	}
	id := tx.NewID(MailID)
	return tx.Put("outbox", id, Doc{
		"id": id, "to": strings.ToLower(m.To), "template": m.Template, "subject": m.Subject, "text": m.Text, "html": m.HTML,
		"link": m.Link, "code": m.Code, "user_id": m.UserID, "channel": m.Channel, "created_at": Timestamp(tx.Now()),
	})
}
