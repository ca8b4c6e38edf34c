package authapi

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/actions"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

const transactionLifetime = time.Hour

// transaction is a login under way. Its id travels through the pages as
// "state"; only the browser that began it can use it, so the id is also what
// protects every form from being posted by another site.
type transaction struct {
	ID        string      `json:"id"`
	Browser   string      `json:"browser"` // digest of the browser's cookie
	ExpiresAt int64       `json:"expires_at"`
	ClientID  string      `json:"client_id"`
	Request   authRequest `json:"request"`

	UserID       string    `json:"user_id"` // "" until somebody proved who they are
	Connection   string    `json:"connection"`
	Organization string    `json:"organization"` // id
	Invitation   string    `json:"invitation"`   // id, until it is accepted
	Session      string    `json:"session"`      // the session that was resumed
	AuthTime     time.Time `json:"auth_time"`
	Methods      []method  `json:"methods"`

	Result      *actions.Result `json:"result"` // once post-login Actions ran
	Interrupted *int            `json:"interrupted"`
	MFA         bool            `json:"mfa"` // a second factor was given in this transaction
	Consented   bool            `json:"consented"`

	EnrolSecret  string `json:"enrol_secret"`  // the TOTP secret on show
	RecoveryCode string `json:"recovery_code"` // the recovery code on show
	AfterCode    bool   `json:"after_code"`    // a recovery code must be acknowledged

	DeviceCode string `json:"device_code"` // id of the device authorization
	Ticket     string `json:"ticket"`      // enrolment ticket, instead of a request
}

func (t *transaction) save(tx *state.Tx) error {
	d, err := marshal(t)
	if err != nil {
		return err
	}
	return tx.Put("oauth/transactions", t.ID, d)
}

func (t *transaction) resume(s *session, user Doc) {
	t.UserID, t.Connection, t.Session = str(user, "user_id"), s.Connection, s.ID
	t.AuthTime, t.Methods = s.AuthenticatedAt, s.Methods
}

func (t *transaction) has(name string) bool {
	return slices.ContainsFunc(t.Methods, func(m method) bool { return m.Name == name })
}

func (t *transaction) query() url.Values { return url.Values{"state": {t.ID}} }

// transaction loads the login that a page belongs to.
func (c *call) transaction(tx *state.Tx, id string) (*transaction, error) {
	lost := &pageError{
		status: http.StatusBadRequest, code: "invalid_request",
		description: "This login has expired, was already completed, or was started in another browser. Go back to the application and try again.",
	}
	if id == "" {
		return nil, lost
	}
	d, ok, err := tx.Get("oauth/transactions", id)
	if err != nil {
		return nil, err
	}
	// Without the cookie's match anybody could lure a person into finishing a
	// login that they began, and so into an account that is not the person's.
	if !ok || expired(d, c.now) || !same(str(d, "browser"), digest(c.cookie(browserCookie))) {
		return nil, lost
	}
	return readTransaction(d)
}

func readTransaction(d Doc) (*transaction, error) {
	var t transaction
	return &t, unmarshal(d, &t)
}

// load reads a page's parameters and transaction, with its client and user.
func (c *call) load() (p params, t *transaction, client, user Doc, err error) {
	if p, err = c.pageParams(); err != nil {
		return
	}
	err = c.view(func(tx *state.Tx) error {
		if t, err = c.transaction(tx, p.str("state")); err != nil {
			return err
		}
		if t.ClientID != "" {
			var ok bool
			if client, ok, err = tx.Get("clients", t.ClientID); err != nil {
				return err
			}
			if !ok {
				return pageErr(http.StatusBadRequest, "invalid_request", "The application no longer exists.")
			}
		}
		if t.UserID != "" {
			user, _, err = tx.Get("users", t.UserID)
		}
		return err
	})
	return
}

// loadSignedIn is load for the pages behind the first factor.
func (c *call) loadSignedIn() (p params, t *transaction, client, user Doc, err error) {
	p, t, client, user, err = c.load()
	if err == nil && user == nil {
		err = pageErr(http.StatusBadRequest, "invalid_request", "Sign in first.")
	}
	return
}

func (c *call) store(t *transaction) error {
	return c.update(func(tx *state.Tx) error { return t.save(tx) })
}

// goTo stores the transaction and sends the browser to one of its pages. A
// request that forbade pages gets the error for it instead.
func (c *call) goTo(t *transaction, page, silently, description string) error {
	if t.Request.prompts("none") {
		if err := c.update(func(tx *state.Tx) error {
			_, err := tx.Delete("oauth/transactions", t.ID)
			return err
		}); err != nil {
			return err
		}
		return t.Request.fail(silently, description)
	}
	if err := c.store(t); err != nil {
		return err
	}
	return c.seeOther(page, t.query())
}

// advance takes a login to its next step. It alone decides what that is; every
// page ends by calling it.
func (c *call) advance(t *transaction) error {
	if t.UserID == "" {
		if t.choosing() && t.Request.Organization == organizationBefore {
			return c.goTo(t, "/u/organization", "login_required", "Login required")
		}
		if t.Request.ScreenHint == "signup" {
			return c.goTo(t, "/u/signup", "login_required", "Login required")
		}
		return c.goTo(t, "/u/login", "login_required", "Login required")
	}
	in, err := c.gather(t)
	if err != nil {
		return err
	}
	if err := c.membership(t, in); err != nil {
		return err
	}
	if t.choosing() {
		return c.goTo(t, "/u/organization", "interaction_required", "An organization must be chosen")
	}
	if t.Result == nil && t.Ticket == "" {
		if err := c.postLogin(t, in); err != nil {
			return err
		}
		if r := t.Result.Redirect; r != nil {
			return c.leave(t, r)
		}
	}
	if page, err := c.secondFactor(t, in); err != nil || page != "" {
		if err != nil {
			return err
		}
		return c.goTo(t, page, "login_required", "Multifactor authentication required")
	}
	if t.Ticket != "" {
		return c.finishEnrolment(t)
	}
	if t.DeviceCode != "" {
		return c.finishDevice(t, in)
	}
	if !t.Consented && c.needsConsent(t, in) {
		return c.goTo(t, "/u/consent", "consent_required", "Consent required")
	}
	return c.finish(t, in)
}

// resume is where a browser comes back to after a page elsewhere.
func (c *call) resume() error {
	_, t, _, _, err := c.load()
	if err != nil {
		return err
	}
	return c.advance(t)
}

// leave sends the user to the page that an Action asked for. It returns to
// /continue.
func (c *call) leave(t *transaction, r *actions.Redirect) error {
	if t.Request.prompts("none") {
		return c.goTo(t, "", "interaction_required", "Interaction required")
	}
	index := r.Index
	t.Interrupted = &index
	if err := c.store(t); err != nil {
		return err
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set("state", t.ID)
	u.RawQuery = q.Encode()
	c.redirect(u.String())
	return nil
}

// continueFlow takes up Actions where one sent the user away.
func (c *call) continueFlow() error {
	p, t, _, _, err := c.loadSignedIn()
	if err != nil {
		return err
	}
	if t.Interrupted == nil || t.Result == nil {
		return pageErr(http.StatusBadRequest, "invalid_request", "There is no action to continue.")
	}
	in, err := c.gather(t)
	if err != nil {
		return err
	}
	in.query, in.body = p, nil
	if c.r.Method == http.MethodPost {
		in.query, in.body = nil, p
	}
	if err := c.postLogin(t, in); err != nil {
		return err
	}
	if r := t.Result.Redirect; r != nil {
		return c.leave(t, r)
	}
	return c.advance(t)
}
