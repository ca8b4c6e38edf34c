package authapi

import (
	"errors"
	"net/http"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// loginChoices are the connections a login may use.
func (c *call) loginChoices(t *transaction) (list []Doc, err error) {
	err = c.view(func(tx *state.Tx) error {
		list, err = connections(tx, t.ClientID, t.Organization)
		return err
	})
	list = named(list, t.Request.Connection)
	if err == nil && len(list) == 0 {
		err = t.Request.fail("invalid_request", errNoConnection.description)
	}
	return list, err
}

func (c *call) loginPage() error {
	_, t, client, _, err := c.load()
	if err != nil {
		return err
	}
	if t.UserID != "" {
		return c.advance(t)
	}
	return c.renderLogin(t, client, page{Value: t.Request.LoginHint}, http.StatusOK)
}

func (c *call) renderLogin(t *transaction, client Doc, p page, status int) error {
	list, err := c.loginChoices(t)
	if err != nil {
		return err
	}
	p.Title, p.State, p.Client = "Welcome", t.ID, clientName(client)
	for _, d := range list {
		open, err := c.signupAllowed(t, d)
		if err != nil {
			return err
		}
		p.SignUp = p.SignUp || open
	}
	return c.render(status, "login", p)
}

func clientName(client Doc) string {
	if n := str(client, "name"); n != "" {
		return n
	}
	return "the application"
}

// signupAllowed: within an organization its own switch counts too, unless the
// person was invited.
func (c *call) signupAllowed(t *transaction, connection Doc) (open bool, err error) {
	if t.Organization == "" || t.Invitation != "" || !signupOpen(connection) {
		return signupOpen(connection), nil
	}
	err = c.view(func(tx *state.Tx) error {
		link, _, err := tx.Get("organizations/connections", state.Key(t.Organization, str(connection, "id")))
		open = flag(link, "is_signup_enabled")
		return err
	})
	return open, err
}

func signupOpen(connection Doc) bool { return !flag(sub(connection, "options"), "disable_signup") }

func (c *call) loginSubmit() error {
	p, t, client, _, err := c.load()
	if err != nil {
		return err
	}
	if t.UserID != "" {
		return c.advance(t)
	}
	if p.str("username") == "" || p.str("password") == "" {
		return c.renderLogin(t, client, page{Value: p.str("username"), Problem: "Enter your email address and your password."}, http.StatusBadRequest)
	}
	user, connection, err := c.signIn(attempt{
		client: client, identifier: p.str("username"), password: p.str("password"), connection: t.Request.Connection, organization: t.Organization,
	})
	switch {
	case errors.Is(err, errWrongPassword):
		return c.renderLogin(t, client, page{Value: p.str("username"), Problem: "Wrong email or password."}, http.StatusBadRequest)
	case errors.Is(err, errLockedOut):
		return c.renderLogin(t, client, page{Value: p.str("username"), Problem: errLockedOut.description}, http.StatusTooManyRequests)
	case errors.Is(err, errUserBlocked):
		return c.asAuthError(t, errUserBlocked)
	case errors.Is(err, errNoConnection):
		return c.asAuthError(t, errNoConnection)
	case err != nil:
		return err
	}
	t.signedIn(c, user, connection)
	return c.advance(t)
}

// signedIn notes the first factor.
func (t *transaction) signedIn(c *call, user, connection Doc) {
	t.UserID, t.Connection, t.Session = str(user, "user_id"), str(connection, "name"), ""
	t.AuthTime, t.Methods = c.now, []method{{"pwd", c.now}}
}

// signupTarget is the connection that new users of a login go to, nil if none
// is open for them.
func (c *call) signupTarget(t *transaction) (Doc, error) {
	list, err := c.loginChoices(t)
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		if open, err := c.signupAllowed(t, d); err != nil || open {
			return d, err
		}
	}
	return nil, pageErr(http.StatusForbidden, "access_denied", "Public sign up is disabled.")
}

func wantsUsername(connection Doc) bool {
	options := sub(connection, "options")
	return flag(options, "requires_username") || str(sub(sub(sub(options, "attributes"), "username"), "signup"), "status") == "required"
}

func (c *call) signupPage() error {
	_, t, client, _, err := c.load()
	if err != nil {
		return err
	}
	if t.UserID != "" {
		return c.advance(t)
	}
	connection, err := c.signupTarget(t)
	if err != nil {
		return err
	}
	return c.renderSignup(t, client, connection, page{Value: t.Request.LoginHint}, "", http.StatusOK)
}

func (c *call) renderSignup(t *transaction, client, connection Doc, p page, password string, status int) error {
	p.Title, p.State, p.Client, p.Username = "Welcome", t.ID, clientName(client), wantsUsername(connection)
	p.Rules, _ = state.PasswordProblems(connection, Doc{"email": p.Value, "username": p.Text}, password)
	return c.render(status, "signup", p)
}

func (c *call) signupSubmit() error {
	p, t, client, _, err := c.load()
	if err != nil {
		return err
	}
	if t.UserID != "" {
		return c.advance(t)
	}
	connection, err := c.signupTarget(t)
	if err != nil {
		return err
	}
	again := func(problem string) error {
		return c.renderSignup(t, client, connection, page{Value: p.str("email"), Text: p.str("username"), Problem: problem}, p.str("password"), http.StatusBadRequest)
	}
	profile := Doc{"email": p.str("email")}
	if wantsUsername(connection) {
		profile["username"] = p.str("username")
	}
	user, err := c.signUp(client, connection, profile, p.str("password"), t.Organization)
	var refused *signupError
	if errors.As(err, &refused) {
		return again(refused.shown)
	}
	if err != nil {
		return err
	}
	t.signedIn(c, user, connection)
	return c.advance(t)
}
