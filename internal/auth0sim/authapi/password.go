package authapi

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// connections are the active database connections that a client may use, of
// the organization if there is one.
func connections(tx *state.Tx, clientID, organization string) ([]Doc, error) {
	enabled, err := tx.Find("connections/clients", "client_id", clientID)
	if err != nil {
		return nil, err
	}
	var out []Doc
	for _, e := range enabled {
		d, ok, err := tx.Get("connections", str(e, "connection_id"))
		if err != nil {
			return nil, err
		}
		if !ok || str(d, "strategy") != "auth0" || !flagOr(sub(d, "authentication"), "active", true) {
			continue
		}
		if organization != "" {
			if _, ok, err := tx.Get("organizations/connections", state.Key(organization, str(d, "id"))); err != nil || !ok {
				if err != nil {
					return nil, err
				}
				continue
			}
		}
		out = append(out, d)
	}
	return out, nil
}

// named keeps the connection that a request asks for.
func named(list []Doc, name string) []Doc {
	if name == "" {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(d Doc) bool { return str(d, "name") != name })
}

// findUser looks an identifier up as email, user name and phone number.
func findUser(tx *state.Tx, connection Doc, identifier string) (Doc, error) {
	key := state.Key(str(connection, "name"), lower(strings.TrimSpace(identifier)))
	for _, index := range []string{"connection_email", "connection_username", "connection_phone_number"} {
		d, ok, err := tx.FindOne("users", index, key)
		if err != nil || ok {
			return d, err
		}
	}
	return nil, nil
}

// attempt is one try to sign in with a password.
type attempt struct {
	client       Doc
	identifier   string
	password     string
	connection   string // a name, "" for any that the client may use
	organization string
}

// The ways in which a password sign-in fails.
var (
	errWrongPassword = errInvalidGrant("Wrong email or password.")
	errLockedOut     = oauthErr(http.StatusTooManyRequests, "too_many_attempts",
		"Your account has been blocked after multiple consecutive login attempts. We've sent you a notification via your preferred contact method with instructions on how to unblock it.")
	errUserBlocked  = oauthErr(http.StatusForbidden, "unauthorized", "user is blocked")
	errNoConnection = oauthErr(http.StatusBadRequest, "invalid_request", "no connections enabled for the client")
)

// nobody is compared with when there is no such user, so that the answer takes
// as long as for one that exists. Its hash costs what the store's hashes do.
func (c *call) nobody() Doc {
	c.nobodyOnce.Do(func() {
		d := Doc{}
		if err := c.view(func(tx *state.Tx) error { return tx.SetPassword(d, tx.NewID(state.Token)) }); err == nil {
			c.nobodyUser = d
		}
	})
	return c.nobodyUser
}

// signIn checks a password and returns the user and the connection's name. The
// comparison is slow on purpose and happens outside of transactions.
func (c *call) signIn(a attempt) (user, connection Doc, err error) {
	var candidates []Doc
	var lists []Doc
	in := &party{client: a.client}
	err = c.view(func(tx *state.Tx) error {
		var err error
		if lists, err = connections(tx, str(a.client, "client_id"), a.organization); err != nil {
			return err
		}
		if lists = named(lists, a.connection); len(lists) == 0 {
			return errNoConnection
		}
		in.connection = lists[0]
		if blocked, err := c.lockedOut(tx, a.identifier); err != nil || blocked {
			return errors.Join(err, unless(!blocked, errLockedOut))
		}
		for _, conn := range lists {
			u, err := findUser(tx, conn, a.identifier)
			if err != nil {
				return err
			}
			candidates = append(candidates, u)
		}
		return nil
	})
	if errors.Is(err, errLockedOut) {
		c.log(in.failure("limit_wc", a.identifier, errLockedOut.description))
		return nil, nil, errLockedOut
	}
	if err != nil {
		return nil, nil, err
	}
	found := false
	for i, u := range candidates {
		if u == nil {
			continue
		}
		found = true
		if state.PasswordMatches(u, a.password) {
			user, connection = u, lists[i]
			break
		}
		in.user, in.connection = u, lists[i]
	}
	if !found {
		state.PasswordMatches(c.nobody(), a.password)
	}
	if user == nil {
		kind, text := "fp", "Wrong email or password."
		if !found {
			kind = "fu"
		}
		c.log(in.failure(kind, a.identifier, text))
		if err := c.countFailure(a.identifier, in); err != nil {
			return nil, nil, err
		}
		return nil, nil, errWrongPassword
	}
	in.user, in.connection = user, connection
	if flag(user, "blocked") {
		c.log(in.failure("f", a.identifier, "user is blocked"))
		return nil, nil, errUserBlocked
	}
	return user, connection, c.update(func(tx *state.Tx) error {
		_, err := tx.Delete("oauth/attempts", c.attemptKey(tx, a.identifier))
		return err
	})
}

func (in *party) failure(kind, identifier, description string) Doc {
	e := in.entry(kind, description, Doc{"error": Doc{"message": description}})
	if in.user == nil {
		e["user_name"] = clip(identifier)
	}
	return e
}

// protection is the tenant's brute-force protection.
type protection struct {
	blocks, notifies bool
	perAddress       bool
	max              float64
	allow            []string
}

func bruteForce(tx *state.Tx) (protection, error) {
	d, _, err := tx.Get("attack-protection", "brute-force-protection")
	if err != nil {
		return protection{}, err
	}
	p := protection{max: number(d, "max_attempts", 10), perAddress: str(d, "mode") != "count_per_identifier", allow: texts(d, "allowlist")}
	if flagOr(d, "enabled", true) {
		shields := texts(d, "shields")
		if _, ok := d["shields"]; !ok {
			shields = []string{"block", "user_notification"}
		}
		p.blocks, p.notifies = slices.Contains(shields, "block"), slices.Contains(shields, "user_notification")
	}
	return p, nil
}

func (p protection) address(ip string) string {
	if p.perAddress {
		return ip
	}
	return ""
}

func (c *call) attemptKey(tx *state.Tx, identifier string) string {
	p, err := bruteForce(tx)
	if err != nil {
		return ""
	}
	return state.Key(lower(strings.TrimSpace(identifier)), p.address(c.ip()))
}

// lockedOut reports whether brute-force protection blocks the identifier.
func (c *call) lockedOut(tx *state.Tx, identifier string) (bool, error) {
	p, err := bruteForce(tx)
	if err != nil || !p.blocks || slices.Contains(p.allow, c.ip()) {
		return false, err
	}
	for _, ip := range []string{c.ip(), ""} {
		if _, ok, err := tx.Get("user-blocks", state.Key(lower(strings.TrimSpace(identifier)), ip)); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

// countFailure counts a wrong password and blocks after too many in a row.
func (c *call) countFailure(identifier string, in *party) error {
	identifier = lower(strings.TrimSpace(identifier))
	return c.update(func(tx *state.Tx) error {
		p, err := bruteForce(tx)
		if err != nil || !p.blocks || slices.Contains(p.allow, c.ip()) {
			return err
		}
		if err := purge(tx, "oauth/attempts", "id"); err != nil {
			return err
		}
		key := state.Key(identifier, p.address(c.ip()))
		d, ok, err := tx.Get("oauth/attempts", key)
		if err != nil {
			return err
		}
		if !ok || expired(d, c.now) {
			d = Doc{"id": key}
		}
		d["count"] = number(d, "count", 0) + 1
		d["expires_at"] = c.now.Add(30 * 24 * time.Hour).Unix()
		if number(d, "count", 0) < p.max {
			return tx.Put("oauth/attempts", key, d)
		}
		if _, err := tx.Delete("oauth/attempts", key); err != nil {
			return err
		}
		block := Doc{"identifier": identifier, "ip": p.address(c.ip()), "connection": str(in.connection, "name"), "created_at": state.Timestamp(c.now)}
		if err := tx.Put("user-blocks", key, block); err != nil {
			return err
		}
		if err := tx.Log(c.entry(in.failure("limit_wc", identifier, errLockedOut.description))); err != nil {
			return err
		}
		if !p.notifies || in.user == nil || str(in.user, "email") == "" {
			return nil
		}
		link, err := c.ticket(tx, "unblock", Doc{"user_id": str(in.user, "user_id"), "block": key}, 5*24*time.Hour)
		if err != nil {
			return err
		}
		return tx.Send(state.Mail{
			To: str(in.user, "email"), UserID: str(in.user, "user_id"), Template: "blocked_account", Subject: "Your account has been blocked", Link: link,
			Text: "Somebody tried to sign in to your account too many times with a wrong password. If it was you, unblock your account: " + link,
		})
	})
}

// ticket makes a link that proves whoever opens it got our mail.
func (c *call) ticket(tx *state.Tx, kind string, d Doc, life time.Duration) (string, error) {
	path := map[string]string{
		"unblock": "/u/unblock", "password_change": "/u/reset-password", "email_verification": "/u/email-verification",
	}[kind]
	id := tx.NewID(state.TicketID)
	d["kind"], d["used"], d["expires_at"] = kind, false, c.now.Add(life).Unix()
	return c.url(path + "?" + url.Values{"ticket": {id}}.Encode()), tx.Put("tickets", id, d)
}

// openTicket reads a ticket that can still be used.
func (c *call) openTicket(tx *state.Tx, kind, id string) (Doc, error) {
	d, ok, err := tx.Get("tickets", id)
	if err != nil {
		return nil, err
	}
	switch {
	case id == "" || !ok || str(d, "kind") != kind:
		return nil, pageErr(http.StatusNotFound, "Invalid link", "This link is not valid. Ask for a new one.")
	case flag(d, "used"):
		return nil, pageErr(http.StatusGone, "Link already used", "This link has been used already. Ask for a new one.")
	case expired(d, c.now):
		return nil, pageErr(http.StatusGone, "Expired link", "This link has expired. Ask for a new one.")
	}
	return d, nil
}

// unblock lifts a brute-force block by the link that was mailed.
func (c *call) unblock() error {
	p, err := c.pageParams()
	if err != nil {
		return err
	}
	err = c.update(func(tx *state.Tx) error {
		d, err := c.openTicket(tx, "unblock", p.str("ticket"))
		if err != nil {
			return err
		}
		if _, err := tx.Delete("user-blocks", str(d, "block")); err != nil {
			return err
		}
		d["used"] = true
		return tx.Put("tickets", p.str("ticket"), d)
	})
	if err != nil {
		return err
	}
	return c.message("Account unblocked", "Your account is unblocked. You can sign in again.")
}
