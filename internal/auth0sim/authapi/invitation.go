package authapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// invited reads the invitation that a login came with.
func (c *call) invited(tx *state.Tx, t *transaction) error {
	unusable := t.Request.fail("invalid_request", "invitation not found or already used")
	d, ok, err := tx.FindOne("organizations/invitations", "ticket_id", t.Request.Invitation)
	if err != nil {
		return err
	}
	if !ok || str(d, "organization_id") != t.Organization || str(d, "client_id") != t.ClientID {
		return unusable
	}
	if until, err := time.Parse(time.RFC3339, str(d, "expires_at")); err == nil && !until.After(c.now) {
		return unusable
	}
	t.Invitation, t.Request.Connection = str(d, "id"), ""
	if id := str(d, "connection_id"); id != "" {
		connection, _, err := tx.Get("connections", id)
		if err != nil {
			return err
		}
		t.Request.Connection = str(connection, "name")
	}
	email := str(sub(d, "invitee"), "email")
	t.Request.LoginHint = email
	// Who has no account yet comes to make one.
	list, err := connections(tx, t.ClientID, t.Organization)
	if err != nil {
		return err
	}
	t.Request.ScreenHint = "signup"
	for _, connection := range named(list, t.Request.Connection) {
		user, err := findUser(tx, connection, email)
		if err != nil {
			return err
		}
		if user != nil {
			t.Request.ScreenHint = "login"
		}
	}
	return nil
}

// accept makes the signed-in user a member by invitation, which works once and
// only for the address that it was sent to: a forwarded mail lets nobody in.
func (c *call) accept(tx *state.Tx, t *transaction, user Doc) error {
	d, ok, err := tx.Get("organizations/invitations", t.Invitation)
	if err != nil {
		return err
	}
	if !ok {
		return oauthErr(http.StatusForbidden, "access_denied", "invitation not found or already used")
	}
	if lower(str(sub(d, "invitee"), "email")) != lower(str(user, "email")) {
		return oauthErr(http.StatusForbidden, "access_denied", "The invitation is for another email address")
	}
	id := str(user, "user_id")
	if err := tx.Put("organizations/members", state.Key(t.Organization, id), Doc{"organization_id": t.Organization, "user_id": id}); err != nil {
		return err
	}
	for _, role := range texts(d, "roles") {
		if err := tx.Put("organizations/roles", state.Key(t.Organization, id, role), Doc{"organization_id": t.Organization, "user_id": id, "role_id": role}); err != nil {
			return err
		}
	}
	_, err = tx.Delete("organizations/invitations", t.Invitation)
	if err != nil {
		return err
	}
	t.Invitation = ""
	event := Doc{"organization": Doc{"id": t.Organization}, "user": Doc{"user_id": id}}
	return errors.Join(t.save(tx), tx.Emit("organization.member.added", event, nil, nil))
}
