package authapi

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/actions"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

const (
	resetLifetime = 5 * 24 * time.Hour
	resetAnswer   = "We've just sent you an email to reset your password."
)

// changePasswordAPI is POST /dbconnections/change_password. Its answer is the
// same whether there is such a user or not.
func (c *call) changePasswordAPI() error {
	p, err := c.apiParams()
	if err != nil {
		return err
	}
	client, connection, err := c.databaseFor(p)
	if err != nil {
		return err
	}
	email := p.str("email")
	if email == "" {
		email = p.str("username")
	}
	if email == "" {
		return oauthErr(http.StatusBadRequest, "invalid_request", "email is required")
	}
	if err := c.mailReset(client, []Doc{connection}, email); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = c.w.Write([]byte(resetAnswer))
	return nil
}

func (c *call) mailReset(client Doc, connections []Doc, email string) error {
	return c.update(func(tx *state.Tx) error {
		for _, connection := range connections {
			user, err := findUser(tx, connection, email)
			if err != nil {
				return err
			}
			to := str(user, "email")
			if to == "" {
				continue
			}
			in := &party{client: client, connection: connection, user: user}
			link, err := c.ticket(tx, "password_change", Doc{
				"user_id": str(user, "user_id"), "client_id": str(client, "client_id"), "connection_id": str(connection, "id"),
			}, resetLifetime)
			if err != nil {
				return err
			}
			if err := tx.Send(state.Mail{
				To: to, UserID: str(user, "user_id"), Template: "reset_email", Subject: "Reset your password", Link: link,
				Text: "You asked to change your password. Follow this link to choose a new one: " + link,
			}); err != nil {
				return err
			}
			return tx.Log(c.entry(in.entry("scpr", "Successful change password request", nil)))
		}
		return nil
	})
}

func (c *call) forgotPage() error {
	_, t, _, _, err := c.load()
	if err != nil {
		return err
	}
	return c.render(http.StatusOK, "forgot", page{Title: "Forgot your password?", State: t.ID, Value: t.Request.LoginHint})
}

func (c *call) forgotSubmit() error {
	p, t, client, _, err := c.load()
	if err != nil {
		return err
	}
	list, err := c.loginChoices(t)
	if err != nil {
		return err
	}
	if !validEmail(p.str("email")) {
		return c.render(http.StatusBadRequest, "forgot", page{
			Title: "Forgot your password?", State: t.ID, Value: p.str("email"), Problem: "Enter a valid email address.",
		})
	}
	if err := c.mailReset(client, list, p.str("email")); err != nil {
		return err
	}
	return c.render(http.StatusOK, "message", page{
		Title: "Check your email", Text: "If there is an account for " + p.str("email") + ", you will receive an email with a link to reset your password.",
		Link: "/u/login?state=" + url.QueryEscape(t.ID), LinkText: "Back to login",
	})
}

// resetTarget reads what a password ticket is about.
func (c *call) resetTarget(tx *state.Tx, id string) (ticket, user, connection Doc, err error) {
	if ticket, err = c.openTicket(tx, "password_change", id); err != nil {
		return
	}
	var ok bool
	if user, ok, err = tx.Get("users", str(ticket, "user_id")); err != nil || !ok {
		err = errors.Join(err, gone(ok, "user"))
		return
	}
	if cid := str(ticket, "connection_id"); cid != "" {
		connection, _, err = tx.Get("connections", cid)
		return
	}
	for _, i := range docs(user, "identities") {
		if str(i, "provider") == "auth0" {
			connection, _, err = tx.FindOne("connections", "name", lower(str(i, "connection")))
			return
		}
	}
	return
}

func (c *call) resetPage() error {
	p, err := c.pageParams()
	if err != nil {
		return err
	}
	var user, connection Doc
	if err := c.view(func(tx *state.Tx) (err error) {
		_, user, connection, err = c.resetTarget(tx, p.str("ticket"))
		return err
	}); err != nil {
		return err
	}
	return c.renderReset(p.str("ticket"), user, connection, "", "", http.StatusOK)
}

func (c *call) renderReset(ticket string, user, connection Doc, password, problem string, status int) error {
	rules, _ := state.PasswordProblems(connection, user, password)
	if problem != "" && password == "" {
		rules = nil
	}
	return c.render(status, "reset", page{Title: "Change your password", Ticket: ticket, Value: userName(user), Rules: rules, Problem: problem})
}

// resetSubmit sets a new password by a ticket. It ends all sessions and refresh
// tokens of the user: whoever knew the old password is out.
func (c *call) resetSubmit() error {
	p, err := c.pageParams()
	if err != nil {
		return err
	}
	id, password := p.str("ticket"), p.str("password")
	var ticket, user, connection Doc
	problem := ""
	err = c.update(func(tx *state.Tx) error {
		if ticket, user, connection, err = c.resetTarget(tx, id); err != nil {
			return err
		}
		if password != p.str("again") {
			problem, password = "The passwords don't match.", ""
			return nil
		}
		if _, ok := state.PasswordProblems(connection, user, password); !ok {
			problem = "Password is too weak."
			return nil
		}
		if reused(connection, user, password) {
			problem = "Password has previously been used."
			return nil
		}
		remember(connection, user)
		if err := tx.SetPassword(user, password); err != nil {
			return err
		}
		user["last_password_reset"] = state.Timestamp(c.now)
		if flag(ticket, "mark_email_as_verified") {
			user["email_verified"] = true
		}
		if err := tx.ChangeUser(user); err != nil {
			return err
		}
		ticket["used"] = true
		if err := tx.Put("tickets", id, ticket); err != nil {
			return err
		}
		for _, family := range []string{"sessions", "refresh-tokens"} {
			if _, err := tx.DeleteWhere(family, "user_id", str(user, "user_id")); err != nil {
				return err
			}
		}
		in := &party{user: user, connection: connection}
		return tx.Log(c.entry(in.entry("scp", "Successful change password", nil)))
	})
	if err != nil {
		return err
	}
	if problem != "" {
		return c.renderReset(id, user, connection, password, problem, http.StatusBadRequest)
	}
	c.afterPasswordChange(user, connection)
	return c.afterTicket(ticket, user, true, "Password changed", "Your password has been changed. You can log in with it now.", "Your password has been changed successfully.")
}

// reused reports whether the connection's password history forbids a password.
func reused(connection, user Doc, password string) bool {
	history := sub(sub(connection, "options"), "password_history")
	if !flag(history, "enable") {
		return false
	}
	if state.PasswordMatches(user, password) {
		return true
	}
	for _, old := range texts(sub(user, state.Private), "password_history") {
		if state.PasswordMatches(Doc{state.Private: Doc{"password_hash": old}}, password) {
			return true
		}
	}
	return false
}

// remember puts the present password's hash into the history.
func remember(connection, user Doc) {
	history := sub(sub(connection, "options"), "password_history")
	private := state.PrivateOf(user)
	hash := str(private, "password_hash")
	if !flag(history, "enable") || hash == "" {
		return
	}
	list := append([]string{hash}, texts(private, "password_history")...)
	// The present password is one of the size that may not come again.
	private["password_history"] = anys(list[:min(len(list), max(int(number(history, "size", 5))-1, 0))])
}

func (c *call) afterPasswordChange(user, connection Doc) {
	var list []actions.Action
	err := c.view(func(tx *state.Tx) (err error) {
		list, err = bound(tx, actions.PostChangePassword)
		return err
	})
	if err == nil {
		_, err = c.runner.Run(c.r.Context(), actions.Flow{Trigger: actions.PostChangePassword, Actions: list, Now: c.tenant.Store().Now, Event: map[string]any{
			"user": state.Public(user), "connection": Doc{"id": str(connection, "id"), "name": str(connection, "name"), "strategy": "auth0"},
			"request": c.requestEvent(&party{}), "tenant": Doc{"id": c.tenant.Name()},
		}})
	}
	if err != nil {
		in := &party{user: user, connection: connection}
		c.log(in.failure("f", "", err.Error()))
	}
}

// verifyEmail is the page behind a verification link.
func (c *call) verifyEmail() error {
	p, err := c.pageParams()
	if err != nil {
		return err
	}
	var ticket, user Doc
	err = c.update(func(tx *state.Tx) error {
		if ticket, err = c.openTicket(tx, "email_verification", p.str("ticket")); err != nil {
			return err
		}
		var ok bool
		if user, ok, err = tx.Get("users", str(ticket, "user_id")); err != nil || !ok {
			return errors.Join(err, gone(ok, "user"))
		}
		// A link that went to an earlier address proves nothing about this one.
		if was := str(ticket, "email"); was != "" && was != str(user, "email") {
			return pageErr(http.StatusGone, "Expired link", "This link has expired. Ask for a new one.")
		}
		user["email_verified"] = true
		if err := tx.ChangeUser(user); err != nil {
			return err
		}
		ticket["used"] = true
		if err := tx.Put("tickets", p.str("ticket"), ticket); err != nil {
			return err
		}
		in := &party{user: user}
		return tx.Log(c.entry(in.entry("sv", "Your email was verified. You can continue using the application.", nil)))
	})
	if err != nil {
		return err
	}
	return c.afterTicket(ticket, user, true, "Email verified", "Your email address was verified. You can continue using the application.", "Your email was verified. You can continue using the application.")
}

// afterTicket sends the user to the ticket's result_url, which whoever made
// the ticket through the Management API chose, or shows a page.
func (c *call) afterTicket(ticket, user Doc, ok bool, title, text, said string) error {
	u, err := url.Parse(str(ticket, "result_url"))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return c.message(title, text)
	}
	q := u.Query()
	if flag(ticket, "includeEmailInRedirect") && str(user, "email") != "" {
		q.Set("email", str(user, "email"))
	}
	q.Set("success", choose(ok, "true", "false"))
	q.Set("code", "success")
	q.Set("message", said)
	u.RawQuery = q.Encode()
	c.redirect(u.String())
	return nil
}
