package authapi

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// The cookies. The __Host- prefix makes browsers refuse them from any other
// origin of the domain and without TLS. Lax is enough: sessions are only
// needed on top-level navigation and on our own forms.
const (
	sessionCookie = "__Host-auth0"
	browserCookie = "__Host-did"
)

func (c *call) cookie(name string) string {
	k, err := c.r.Cookie(name)
	if err != nil {
		return ""
	}
	return k.Value
}

func (c *call) setCookie(name, value string, maxAge time.Duration) {
	k := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	switch {
	case value == "":
		k.MaxAge = -1
	case maxAge > 0:
		k.MaxAge = int(maxAge.Seconds())
	}
	http.SetCookie(c.w, k)
}

// browser is the secret that ties transactions to this browser. A new one is
// set if there is none.
func (c *call) browser() string {
	if v := c.cookie(browserCookie); len(v) == 43 {
		return v
	}
	v := c.tenant.Store().NewID(state.Token)
	c.setCookie(browserCookie, v, 365*24*time.Hour)
	return v
}

// method is one way in which a person proved who they are.
type method struct {
	Name string    `json:"name"` // "pwd", "mfa", …
	Time time.Time `json:"timestamp"`
}

// session is a person's single sign-on session in one browser.
type session struct {
	ID              string
	UserID          string
	Connection      string
	AuthenticatedAt time.Time
	Methods         []method
	doc             Doc
}

// session returns the session of the request's cookie and its user, or nil.
func (c *call) session(tx *state.Tx) (*session, Doc, error) {
	id, secret, ok := strings.Cut(c.cookie(sessionCookie), ".")
	if !ok {
		return nil, nil, nil
	}
	d, ok, err := tx.Get("sessions", id)
	if err != nil || !ok || !same(str(sub(d, state.Private), "secret"), digest(secret)) {
		return nil, nil, err
	}
	s := readSession(d)
	if !c.live(d) {
		return nil, nil, nil
	}
	user, ok, err := tx.Get("users", s.UserID)
	if err != nil || !ok || flag(user, "blocked") {
		return nil, nil, err
	}
	return s, user, nil
}

func (c *call) live(d Doc) bool {
	for _, k := range []string{"expires_at", "idle_expires_at"} {
		if at, err := time.Parse(time.RFC3339, str(d, k)); err != nil || !at.After(c.now) {
			return false
		}
	}
	return true
}

func readSession(d Doc) *session {
	s := &session{ID: str(d, "id"), UserID: str(d, "user_id"), Connection: str(sub(d, state.Private), "connection"), doc: d}
	s.AuthenticatedAt, _ = time.Parse(time.RFC3339, str(d, "authenticated_at"))
	for _, m := range docs(sub(d, "authentication"), "methods") {
		at, _ := time.Parse(time.RFC3339, str(m, "timestamp"))
		s.Methods = append(s.Methods, method{str(m, "name"), at})
	}
	return s
}

// keepSession makes or prolongs the session of a finished login and returns
// its id. A login with a password gets a new secret: a cookie that someone
// planted before it must not become theirs (session fixation).
func (c *call) keepSession(tx *state.Tx, t *transaction, user, settings Doc) (string, error) {
	life := time.Duration(number(settings, "session_lifetime", 168) * float64(time.Hour))
	idle := time.Duration(number(settings, "idle_session_lifetime", 72) * float64(time.Hour))
	now := state.Timestamp(c.now)
	persistent := str(sub(settings, "session_cookie"), "mode") != "non-persistent"

	old, _, err := c.session(tx)
	if err != nil {
		return "", err
	}
	var d Doc
	if t.Session != "" && old != nil && old.ID == t.Session {
		d = old.doc
	} else {
		if old != nil {
			if _, err := tx.Delete("sessions", old.ID); err != nil {
				return "", err
			}
		}
		if err := purgeDead(tx, "sessions", "id", func(d Doc) bool { return !c.live(d) }); err != nil {
			return "", err
		}
		secret := tx.NewID(state.Token)
		id := tx.NewID(state.Token)
		d = Doc{
			"id": id, "user_id": str(user, "user_id"), "created_at": now, "authenticated_at": state.Timestamp(t.AuthTime),
			"expires_at": state.Timestamp(c.now.Add(life)), "clients": []any{},
			"device":      Doc{"initial_ip": c.ip(), "initial_user_agent": c.r.UserAgent()},
			state.Private: Doc{"secret": digest(secret), "connection": t.Connection},
		}
		cookieLife := life
		if !persistent {
			cookieLife = 0
		}
		c.setCookie(sessionCookie, id+"."+secret, cookieLife)
	}
	d["updated_at"], d["last_interacted_at"] = now, now
	d["idle_expires_at"] = state.Timestamp(c.now.Add(idle))
	sub(d, "device")["last_ip"], sub(d, "device")["last_user_agent"] = c.ip(), c.r.UserAgent()
	methods := []any{}
	for _, m := range t.Methods {
		methods = append(methods, Doc{"name": m.Name, "timestamp": state.Timestamp(m.Time)})
	}
	d["authentication"] = Doc{"methods": methods}
	known := docs(d, "clients")
	if !slices.ContainsFunc(known, func(k Doc) bool { return str(k, "client_id") == t.ClientID }) {
		list, _ := d["clients"].([]any)
		d["clients"] = append(list, Doc{"client_id": t.ClientID})
	}
	return str(d, "id"), tx.Put("sessions", str(d, "id"), d)
}

// endSession removes the browser's session, and with it the refresh tokens
// that live no longer than it.
func (c *call) endSession(tx *state.Tx) (*session, Doc, error) {
	s, user, err := c.session(tx)
	if err != nil || s == nil {
		return nil, nil, err
	}
	_, err = tx.Delete("sessions", s.ID)
	return s, user, err
}
