package state

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/crypto/bcrypt"
)

// Errors of CreateUser and ChangeUser; the APIs put them into their own words.
var (
	ErrUserExists     = errors.New("the user already exists")
	ErrUsernameExists = errors.New("the username already exists")
	ErrPhoneExists    = errors.New("the phone number already exists")
)

// NewUser is what CreateUser makes a user of.
type NewUser struct {
	Connection Doc    // the connection's document
	Password   string // "" for none: passwordless, or an import with a hash
	// UserID is the identity's own id, without provider; "" makes one.
	UserID string
	// Profile holds the profile's fields as the API takes them: email,
	// email_verified, username, phone_number, name, user_metadata, …
	Profile Doc
}

// CreateUser stores a user of a database or passwordless connection with the
// defaults that Auth0 adds, and emits user.created. It does not check the
// password's strength; see PasswordProblems.
func (tx *Tx) CreateUser(n NewUser) (Doc, error) {
	connection, strategy := str(n.Connection, "name"), str(n.Connection, "strategy")
	d := Clone(n.Profile)
	if d == nil {
		d = Doc{}
	}
	if e := str(d, "email"); e != "" {
		d["email"] = strings.ToLower(e)
	}
	id := n.UserID
	if id == "" {
		id = tx.NewID(ObjectID)
	}
	now := Timestamp(tx.Now())
	d["user_id"], d["created_at"], d["updated_at"] = strategy+"|"+id, now, now
	d["identities"] = []any{Doc{"connection": connection, "user_id": id, "provider": strategy, "isSocial": false}}
	FillProfile(d)
	if err := tx.checkUnique(d, "", n.Connection); err != nil {
		return nil, err
	}
	if n.Password != "" {
		if err := tx.SetPassword(d, n.Password); err != nil {
			return nil, err
		}
	}
	if err := tx.Put("users", str(d, "user_id"), d); err != nil {
		return nil, err
	}
	return d, tx.Emit("user.created", EventUser(d), nil, nil)
}

// ChangeUser stores a changed user, checks what must be unique, and emits
// user.updated.
func (tx *Tx) ChangeUser(d Doc) error {
	id := str(d, "user_id")
	before, ok, err := tx.Get("users", id)
	if err != nil || !ok {
		return errors.Join(err, fmt.Errorf("change user: %w", missing(ok, err)))
	}
	if err := tx.checkUnique(d, id, nil); err != nil {
		return err
	}
	d["updated_at"] = Timestamp(tx.Now())
	if err := tx.Put("users", id, d); err != nil {
		return err
	}
	return tx.Emit("user.updated", EventUser(d), EventUser(before), nil)
}

func missing(ok bool, err error) error {
	if !ok && err == nil {
		return errors.New("no such user")
	}
	return nil
}

// FillProfile adds the fields that Auth0 derives when they are absent:
// email_verified, name, nickname and picture.
func FillProfile(d Doc) {
	email, username := str(d, "email"), str(d, "username")
	name := email
	if name == "" {
		name = username
	}
	if name == "" {
		name = str(d, "phone_number")
	}
	if _, ok := d["email_verified"]; !ok && email != "" {
		d["email_verified"] = false
	}
	if _, ok := d["phone_verified"]; !ok && str(d, "phone_number") != "" {
		d["phone_verified"] = false
	}
	if _, ok := d["name"]; !ok && name != "" {
		d["name"] = name
	}
	nickname, _, _ := strings.Cut(name, "@")
	if _, ok := d["nickname"]; !ok && nickname != "" {
		d["nickname"] = nickname
	}
	if _, ok := d["picture"]; !ok && name != "" {
		sum := md5.Sum([]byte(strings.ToLower(name)))
		d["picture"] = "https://s.gravatar.com/avatar/" + hex.EncodeToString(sum[:]) + "?s=480&r=pg&d=" +
			url.QueryEscape("https://cdn.auth0.com/avatars/"+initials(name)+".png")
	}
}

func initials(name string) string {
	var out []rune
	for _, r := range strings.ToLower(name) {
		if len(out) < 2 && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			out = append(out, r)
		}
	}
	return string(out)
}

// EventUser is the user as the object of an event: the public profile, without
// metadata that only administrators may see in bulk.
func EventUser(d Doc) Doc { return Clone(Public(d)) }

// checkUnique refuses a profile whose email, username or phone number another
// user of the same connection has. self is the user_id of the user itself.
func (tx *Tx) checkUnique(d Doc, self string, connection Doc) error {
	names := eachIdentity(d, func(i Doc) string { return str(i, "connection") })
	if len(names) == 0 {
		return nil
	}
	if self == "" {
		if _, ok, err := tx.Get("users", str(d, "user_id")); err != nil || ok {
			return errors.Join(err, ErrUserExists)
		}
	}
	for _, f := range []struct {
		field string
		err   error
	}{{"email", ErrUserExists}, {"username", ErrUsernameExists}, {"phone_number", ErrPhoneExists}} {
		v := strings.ToLower(str(d, f.field))
		if v == "" {
			continue
		}
		if f.field == "email" {
			if connection == nil {
				var err error
				if connection, _, err = tx.FindOne("connections", "name", strings.ToLower(names[0])); err != nil {
					return err
				}
			}
			if emailMayRepeat(connection) {
				continue
			}
		}
		ids, err := tx.IDs("users", "connection_"+f.field, Key(names[0], v))
		if err != nil {
			return err
		}
		for _, id := range ids {
			if id != self {
				return f.err
			}
		}
	}
	return nil
}

// emailMayRepeat reports whether the connection was configured with
// options.attributes.email.unique false.
func emailMayRepeat(connection Doc) bool {
	options, _ := connection["options"].(Doc)
	attributes, _ := options["attributes"].(Doc)
	email, _ := attributes["email"].(Doc)
	return email["unique"] == false
}

// SetPassword puts a password's hash into the user's private part; the caller
// stores the document.
//
// State in memory dies with the process, so its hashes need no hardening and
// cost a millisecond; those in a file cost what a real directory's would.
func (tx *Tx) SetPassword(user Doc, password string) error {
	cost := bcrypt.DefaultCost
	if tx.store.cfg.Path == "" {
		cost = bcrypt.MinCost
	}
	hash, err := bcrypt.GenerateFromPassword(truncate(password), cost)
	if err != nil {
		return fmt.Errorf("hash password: %w", err)
	}
	p := PrivateOf(user)
	p["password_hash"], p["password_set_at"] = string(hash), Timestamp(tx.Now())
	return nil
}

// PasswordMatches compares a password with the user's hash. A user without one
// matches nothing.
func PasswordMatches(user Doc, password string) bool {
	hash := str(PrivateOf(user), "password_hash")
	return hash != "" && bcrypt.CompareHashAndPassword([]byte(hash), truncate(password)) == nil
}

// truncate cuts to the 72 bytes that bcrypt looks at, as Auth0 does.
func truncate(password string) []byte {
	b := []byte(password)
	return b[:min(len(b), 72)]
}
