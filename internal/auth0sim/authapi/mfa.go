package authapi

import (
	"encoding/base32"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/boombuler/barcode/qr"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
	"golang.org/x/crypto/bcrypt"

	"github.com/tenonhq/tenon/internal/auth0sim/actions"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// mfaDemand is whether a login needs a second factor, and with what.
type mfaDemand struct {
	required      bool
	recoveryCodes bool // the factor is on
}

// demand decides whether a second factor is needed: by the tenant's policy, or
// because an Action wants it. One-time passwords are the factor that the pages
// can serve; a tenant without that factor demands none, as Auth0 has it for a
// tenant without factors.
func (c *call) demand(in *party, result *actions.Result) (mfaDemand, error) {
	var need mfaDemand
	err := c.view(func(tx *state.Tx) error {
		otpOn, err := factorOn(tx, "otp")
		if err != nil {
			return err
		}
		if need.recoveryCodes, err = factorOn(tx, "recovery-code"); err != nil {
			return err
		}
		policy, err := singleton(tx, "guardian/policies")
		if err != nil {
			return err
		}
		wanted := slices.Contains(texts(policy, "policies"), "all-applications") ||
			result != nil && result.Multifactor != nil && result.Multifactor.Provider != "none"
		need.required = wanted && (otpOn || in.otp)
		return nil
	})
	return need, err
}

func factorOn(tx *state.Tx, name string) (bool, error) {
	d, _, err := tx.Get("guardian/factors", name)
	return flag(d, "enabled"), err
}

// secondFactor is the page that a login still needs, "" if none.
func (c *call) secondFactor(t *transaction, in *party) (page string, err error) {
	if t.MFA && t.AfterCode {
		return "/u/mfa-recovery-code-enrollment", nil
	}
	if t.MFA {
		return "", nil
	}
	if t.Ticket != "" {
		return "/u/mfa-otp-enrollment", nil
	}
	need, err := c.demand(in, t.Result)
	if err != nil || !need.required {
		return "", err
	}
	again := t.Result != nil && t.Result.Multifactor != nil && !t.Result.Multifactor.AllowRememberBrowser
	if t.Session != "" && t.has("mfa") && !again {
		return "", nil
	}
	if in.otp {
		return "/u/mfa-otp-challenge", nil
	}
	return "/u/mfa-otp-enrollment", nil
}

// newTOTPSecret is 160 random bits in base 32 (RFC 4226, 4).
func newTOTPSecret(random io.Reader) (string, error) {
	b := make([]byte, 20)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("make one-time password secret: %w", err)
	}
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b), nil
}

// totpURI is what authenticator apps scan.
func totpURI(issuer, account, secret string) string {
	q := url.Values{"secret": {secret}, "issuer": {issuer}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"}}
	label := url.PathEscape(issuer) + ":" + url.QueryEscape(account)
	return "otpauth://totp/" + label + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}

// totpStep returns the time step whose password this is: the present one, or
// one beside it (RFC 6238, 5.2). ok is false for a wrong password.
func totpStep(secret, code string, now time.Time) (step int64, ok bool) {
	code = strings.ReplaceAll(strings.TrimSpace(code), " ", "")
	current := now.Unix() / 30
	for _, s := range []int64{current, current - 1, current + 1} {
		want, err := totp.GenerateCodeCustom(secret, time.Unix(s*30, 0), totp.ValidateOpts{Period: 30, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && same(want, code) {
			return s, true
		}
	}
	return 0, false
}

// authenticator is an active app of a user: enrolled on the pages, or stored
// through the Management API's authentication methods.
type authenticator struct {
	family string
	doc    Doc
}

func authenticators(tx *state.Tx, user string) ([]authenticator, error) {
	var out []authenticator
	for _, family := range []string{"guardian/enrollments", "authentication-methods"} {
		list, err := tx.Find(family, "user_id", user)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if str(sub(d, state.Private), "totp_secret") != "" && (str(d, "status") == "confirmed" || flag(d, "confirmed")) {
				out = append(out, authenticator{family, d})
			}
		}
	}
	return out, nil
}

var (
	errWrongOTP   = errInvalidGrant("Invalid otp_code.")
	errManyOTP    = oauthErr(http.StatusTooManyRequests, "too_many_attempts", "Too many failed codes. Wait for some minutes before retrying.")
	errNoRecovery = errInvalidGrant("MFA Authorization rejected.")
)

const (
	otpAttempts = 10
	otpWindow   = 5 * time.Minute
)

// limited counts tries at a second factor: six digits could be guessed.
func (c *call) limited(tx *state.Tx, user string) error {
	key := state.Key("mfa", user)
	d, ok, err := tx.Get("oauth/attempts", key)
	if err != nil {
		return err
	}
	if ok && !expired(d, c.now) && number(d, "count", 0) >= otpAttempts {
		return errManyOTP
	}
	return nil
}

func (c *call) countOTP(tx *state.Tx, user string) error {
	key := state.Key("mfa", user)
	d, ok, err := tx.Get("oauth/attempts", key)
	if err != nil {
		return err
	}
	if !ok || expired(d, c.now) {
		d = Doc{"id": key, "expires_at": c.now.Add(otpWindow).Unix()}
	}
	d["count"] = number(d, "count", 0) + 1
	return tx.Put("oauth/attempts", key, d)
}

// checkOTP verifies a one-time password against the user's authenticators. A
// password that was used is refused from then on, so that one read over a
// shoulder is worth nothing (RFC 6238, 5.2).
func (c *call) checkOTP(in *party, code string) error {
	user := str(in.user, "user_id")
	var refused error
	err := c.update(func(tx *state.Tx) error {
		if err := c.limited(tx, user); err != nil {
			return err
		}
		list, err := authenticators(tx, user)
		if err != nil {
			return err
		}
		for _, a := range list {
			private := state.PrivateOf(a.doc)
			step, ok := totpStep(str(private, "totp_secret"), code, c.now)
			if !ok || float64(step) <= number(private, "last_step", 0) {
				continue
			}
			private["last_step"] = step
			a.doc["last_auth_at"] = state.Timestamp(c.now)
			if _, err := tx.Delete("oauth/attempts", state.Key("mfa", user)); err != nil {
				return err
			}
			if err := tx.Log(c.entry(in.entry("gd_auth_succeed", "Second factor authentication succeeded", nil))); err != nil {
				return err
			}
			return tx.Put(a.family, str(a.doc, "id"), a.doc)
		}
		refused = errWrongOTP
		if err := c.countOTP(tx, user); err != nil {
			return err
		}
		return tx.Log(c.entry(in.entry("gd_auth_failed", "Second factor authentication failed", nil)))
	})
	return errors.Join(err, refused)
}

// checkRecoveryCode takes the user's recovery code and gives a new one.
func (c *call) checkRecoveryCode(in *party, code string) (next string, err error) {
	id := str(in.user, "user_id")
	code = strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(code))
	var refused error
	err = c.update(func(tx *state.Tx) error {
		if err := c.limited(tx, id); err != nil {
			return err
		}
		user, ok, err := tx.Get("users", id)
		if err != nil {
			return err
		}
		want := str(state.PrivateOf(user), recoveryHash)
		if !ok || want == "" || bcrypt.CompareHashAndPassword([]byte(want), []byte(code)) != nil {
			refused = errNoRecovery
			if err := c.countOTP(tx, id); err != nil {
				return err
			}
			return tx.Log(c.entry(in.entry("gd_recovery_failed", "Recovery code authentication failed", nil)))
		}
		if next, err = c.newRecoveryCode(tx, user); err != nil {
			return err
		}
		return tx.Log(c.entry(in.entry("gd_recovery_succeed", "Recovery code authentication succeeded", nil)))
	})
	return next, errors.Join(err, refused)
}

// recoveryHash is where a user's private part keeps it; the Management API
// regenerates codes there too.
const recoveryHash = "recovery_code_hash"

func (c *call) newRecoveryCode(tx *state.Tx, user Doc) (string, error) {
	code := tx.NewID(state.RecoveryCode)
	hash, err := bcrypt.GenerateFromPassword([]byte(code), bcrypt.MinCost) // 120 random bits need no stretching
	if err != nil {
		return "", fmt.Errorf("hash recovery code: %w", err)
	}
	state.PrivateOf(user)[recoveryHash] = string(hash)
	return code, tx.Put("users", str(user, "user_id"), user)
}

// enrol stores a confirmed authenticator. It returns the recovery code to show
// if the user needs a first one.
func (c *call) enrol(tx *state.Tx, in *party, secret string, step int64, recoveryCodes bool) (recovery string, err error) {
	user := str(in.user, "user_id")
	id, now := tx.NewID(state.DeviceID), state.Timestamp(c.now)
	if err := tx.Put("guardian/enrollments", id, Doc{
		"id": id, "user_id": user, "status": "confirmed", "type": "authenticator", "name": "Authenticator app", "auth_method": "authenticator",
		"enrolled_at": now, "last_auth_at": now, state.Private: Doc{"totp_secret": secret, "last_step": step},
	}); err != nil {
		return "", err
	}
	if err := tx.Log(c.entry(in.entry("gd_enrollment_complete", "Guardian enrollment complete", nil))); err != nil {
		return "", err
	}
	doc, ok, err := tx.Get("users", user)
	if err != nil || !ok {
		return "", errors.Join(err, gone(ok, "user"))
	}
	if !recoveryCodes || str(state.PrivateOf(doc), recoveryHash) != "" {
		return "", nil
	}
	return c.newRecoveryCode(tx, doc)
}

// qrCode draws text as an SVG image of square modules, which needs no image
// format, no script and no other request.
func qrCode(text string) (template.HTML, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return "", fmt.Errorf("draw QR code: %w", err)
	}
	const quiet = 4 // modules of white around it that scanners need
	size := code.Bounds().Dx()
	var path strings.Builder
	for y := range size {
		for x := range size {
			if r, _, _, _ := code.At(x, y).RGBA(); r == 0 {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	all := size + 2*quiet
	// Numbers and our own letters only: nothing of text is in it.
	return template.HTML(fmt.Sprintf(
		`<svg class="qr" viewBox="0 0 %d %d" role="img" aria-label="QR code to scan with an authenticator app" shape-rendering="crispEdges"><rect width="%d" height="%d" fill="#fff"/><path fill="#000" d="%s"/></svg>`,
		all, all, all, all, path.String())), nil
}
