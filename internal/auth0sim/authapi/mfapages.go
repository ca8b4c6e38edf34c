package authapi

import (
	"errors"
	"html/template"
	"net/http"
	"strings"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// otpEnrolPage shows a new secret to put into an authenticator app. The same
// one is shown until it is confirmed.
func (c *call) otpEnrolPage() error {
	_, t, _, user, err := c.loadSignedIn()
	if err != nil {
		return err
	}
	if t.MFA {
		return c.advance(t)
	}
	if t.EnrolSecret == "" {
		// Whoever already has an authenticator must prove it, not add another.
		in, err := c.gather(t)
		if err != nil {
			return err
		}
		if in.otp && t.Ticket == "" {
			return c.advance(t)
		}
		if t.EnrolSecret, err = newTOTPSecret(c.tenant.Store().Rand()); err != nil {
			return err
		}
		if err := c.store(t); err != nil {
			return err
		}
	}
	return c.renderEnrol(t, user, "", http.StatusOK)
}

func (c *call) renderEnrol(t *transaction, user Doc, problem string, status int) error {
	b, err := c.branding()
	if err != nil {
		return err
	}
	uri := totpURI(b.Tenant, userName(user), t.EnrolSecret)
	image, err := qrCode(uri)
	if err != nil {
		return err
	}
	var groups []string
	for s := t.EnrolSecret; s != ""; {
		n := min(4, len(s))
		groups, s = append(groups, s[:n]), s[n:]
	}
	return c.render(status, "otp-enrol", page{
		Title: "Secure your account", State: t.ID, Problem: problem, QR: image, Secret: strings.Join(groups, " "),
		AppLink: template.URL(uri), // every part of it is escaped by totpURI
	})
}

func (c *call) otpEnrolSubmit() error {
	p, t, _, user, err := c.loadSignedIn()
	if err != nil {
		return err
	}
	if t.EnrolSecret == "" || t.MFA {
		return c.advance(t)
	}
	step, ok := totpStep(t.EnrolSecret, p.str("code"), c.now)
	if !ok {
		return c.renderEnrol(t, user, "The code you entered is invalid. Wait for a new one and try again.", http.StatusBadRequest)
	}
	in, err := c.gather(t)
	if err != nil {
		return err
	}
	need, err := c.demand(in, t.Result)
	if err != nil {
		return err
	}
	err = c.update(func(tx *state.Tx) error {
		if t.Ticket != "" {
			if err := c.useEnrolTicket(tx, t.Ticket); err != nil {
				return err
			}
		}
		code, err := c.enrol(tx, in, t.EnrolSecret, step, need.recoveryCodes)
		if err != nil {
			return err
		}
		t.proved(c, "mfa")
		t.EnrolSecret, t.RecoveryCode, t.AfterCode = "", code, code != ""
		return t.save(tx)
	})
	if err != nil {
		return err
	}
	return c.advance(t)
}

// proved adds a second factor to what the login has.
func (t *transaction) proved(c *call, name string) {
	t.MFA = true
	t.Methods = append(t.Methods, method{name, c.now})
}

func (c *call) recoveryCodePage() error {
	_, t, _, _, err := c.loadSignedIn()
	if err != nil {
		return err
	}
	if !t.AfterCode {
		return c.advance(t)
	}
	return c.renderRecoveryCode(t, "", http.StatusOK)
}

func (c *call) renderRecoveryCode(t *transaction, problem string, status int) error {
	return c.render(status, "recovery-code", page{Title: "Almost there", State: t.ID, Problem: problem, Secret: t.RecoveryCode})
}

func (c *call) recoveryCodeSubmit() error {
	p, t, _, _, err := c.loadSignedIn()
	if err != nil {
		return err
	}
	if t.AfterCode && p.str("saved") == "" {
		return c.renderRecoveryCode(t, "Confirm that you recorded the code.", http.StatusBadRequest)
	}
	t.AfterCode, t.RecoveryCode = false, ""
	if err := c.store(t); err != nil {
		return err
	}
	return c.advance(t)
}

func (c *call) otpPage() error {
	return c.challengePage("otp", "Verify your identity")
}

func (c *call) recoveryPage() error {
	return c.challengePage("recovery", "Verify your identity")
}

func (c *call) challengePage(name, title string) error {
	_, t, _, _, err := c.loadSignedIn()
	if err != nil {
		return err
	}
	in, err := c.gather(t)
	if err != nil {
		return err
	}
	if t.MFA || !in.otp {
		return c.advance(t)
	}
	return c.render(http.StatusOK, name, page{Title: title, State: t.ID, Recovery: in.recoveryCode})
}

func (c *call) otpSubmit() error {
	p, t, _, _, err := c.loadSignedIn()
	if err != nil {
		return err
	}
	in, err := c.gather(t)
	if err != nil {
		return err
	}
	if t.MFA {
		return c.advance(t)
	}
	switch err := c.checkOTP(in, p.str("code")); {
	case errors.Is(err, errWrongOTP), errors.Is(err, errManyOTP):
		return c.render(statusOf(err), "otp", page{
			Title: "Verify your identity", State: t.ID, Recovery: in.recoveryCode,
			Problem: choose(errors.Is(err, errManyOTP), errManyOTP.description, "The code you entered is invalid."),
		})
	case err != nil:
		return err
	}
	t.proved(c, "mfa")
	if err := c.store(t); err != nil {
		return err
	}
	return c.advance(t)
}

func (c *call) recoverySubmit() error {
	p, t, _, _, err := c.loadSignedIn()
	if err != nil {
		return err
	}
	in, err := c.gather(t)
	if err != nil {
		return err
	}
	if t.MFA {
		return c.advance(t)
	}
	next, err := c.checkRecoveryCode(in, p.str("code"))
	switch {
	case errors.Is(err, errNoRecovery), errors.Is(err, errManyOTP):
		return c.render(statusOf(err), "recovery", page{
			Title: "Verify your identity", State: t.ID, Recovery: true,
			Problem: choose(errors.Is(err, errManyOTP), errManyOTP.description, "The recovery code you entered is invalid."),
		})
	case err != nil:
		return err
	}
	t.proved(c, "mfa")
	t.RecoveryCode, t.AfterCode = next, true
	if err := c.store(t); err != nil {
		return err
	}
	return c.advance(t)
}

func choose(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

// statusOf is the status of a page that shows a refusal: the form's own for
// what the person can mend.
func statusOf(err error) int {
	var known *oauthError
	if errors.As(err, &known) && known.status == http.StatusTooManyRequests {
		return http.StatusTooManyRequests
	}
	return http.StatusBadRequest
}

// enrolTicket begins an enrolment by the link of a guardian enrolment ticket.
func (c *call) enrolTicket() error {
	p, err := c.pageParams()
	if err != nil {
		return err
	}
	t := &transaction{Browser: digest(c.browser()), Ticket: p.str("ticket"), ExpiresAt: c.now.Add(transactionLifetime).Unix()}
	t.Request.MaxAge = -1
	err = c.update(func(tx *state.Tx) error {
		d, err := c.openEnrolTicket(tx, t.Ticket)
		if err != nil {
			return err
		}
		t.UserID, t.ID = str(d, "user_id"), tx.NewID(state.Token)
		return t.save(tx)
	})
	if err != nil {
		return err
	}
	return c.advance(t)
}

func (c *call) openEnrolTicket(tx *state.Tx, id string) (Doc, error) {
	d, ok, err := tx.Get("guardian/tickets", id)
	if err != nil {
		return nil, err
	}
	if id == "" || !ok || flag(d, "used") || !unix(d, "expires_at").IsZero() && expired(d, c.now) {
		return nil, pageErr(http.StatusNotFound, "Invalid link", "This enrolment link is not valid any more. Ask for a new one.")
	}
	return d, nil
}

func (c *call) useEnrolTicket(tx *state.Tx, id string) error {
	d, err := c.openEnrolTicket(tx, id)
	if err != nil {
		return err
	}
	d["used"] = true
	return tx.Put("guardian/tickets", id, d)
}

func (c *call) finishEnrolment(t *transaction) error {
	if err := c.update(func(tx *state.Tx) error {
		_, err := tx.Delete("oauth/transactions", t.ID)
		return err
	}); err != nil {
		return err
	}
	return c.message("You're all set", "Your second factor is enrolled. You can close this page.")
}
