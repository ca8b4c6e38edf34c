package authapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/actions"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

const (
	deviceLifetime = 15 * time.Minute
	deviceInterval = 5 * time.Second
	// No vowels, so that no words; nothing that reads like something else.
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
)

// deviceGrant is a device authorization (RFC 8628), under the digest of its
// code.
type deviceGrant struct {
	ID           string          `json:"id"`
	UserCode     string          `json:"user_code"` // "" once it was entered and decided on
	ExpiresAt    int64           `json:"expires_at"`
	ClientID     string          `json:"client_id"`
	Audience     string          `json:"audience"`
	Scope        []string        `json:"scope"`
	Status       string          `json:"status"` // pending, approved, denied
	LastPoll     time.Time       `json:"last_poll"`
	UserID       string          `json:"user_id"`
	Connection   string          `json:"connection"`
	Organization string          `json:"organization"`
	Session      string          `json:"session"`
	AuthTime     time.Time       `json:"auth_time"`
	Methods      []method        `json:"methods"`
	Result       *actions.Result `json:"result"`
}

func (g *deviceGrant) save(tx *state.Tx) error {
	d, err := marshal(g)
	if err != nil {
		return err
	}
	return tx.Put("oauth/device-codes", g.ID, d)
}

// deviceCode is the device authorization endpoint (RFC 8628, 3.1).
func (c *call) deviceCode() error {
	p, err := c.apiParams()
	if err != nil {
		return err
	}
	// Devices name their client only; a secret, if one comes, must be right.
	client, err := c.identify(p)
	if err != nil {
		return err
	}
	if !mayUse(client, grantDevice) {
		return errGrantNotAllowed(grantDevice)
	}
	scope, err := p.scope()
	if err != nil {
		return err
	}
	code, userCode := "", ""
	err = c.update(func(tx *state.Tx) error {
		audience := p.str("audience")
		if audience == "" {
			settings, err := singleton(tx, "tenants/settings")
			if err != nil {
				return err
			}
			audience = str(settings, "default_audience")
		}
		if audience != "" && !c.userinfoAudience(audience) {
			if _, ok, err := c.resourceServer(tx, audience); err != nil || !ok {
				return errors.Join(err, unless(ok, oauthErr(http.StatusForbidden, "access_denied", "Service not found: %s", audience)))
			}
		}
		if err := purge(tx, "oauth/device-codes", "id"); err != nil {
			return err
		}
		form, err := userCodeForm(tx)
		if err != nil {
			return err
		}
		code = tx.NewID(state.Token)
		for taken := true; taken; {
			if userCode, err = form.make(tx.Store().Rand()); err != nil {
				return err
			}
			if _, taken, err = tx.FindOne("oauth/device-codes", "user_code", userCode); err != nil {
				return err
			}
		}
		g := deviceGrant{
			ID: digest(code), UserCode: userCode, ExpiresAt: c.now.Add(deviceLifetime).Unix(), ClientID: str(client, "client_id"),
			Audience: audience, Scope: scope, Status: "pending",
		}
		return g.save(tx)
	})
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, map[string]any{
		"device_code": code, "user_code": userCode, "verification_uri": c.url("/activate"),
		"verification_uri_complete": c.url("/activate?" + url.Values{"user_code": {userCode}}.Encode()),
		"expires_in":                int(deviceLifetime.Seconds()), "interval": int(deviceInterval.Seconds()),
	})
	return nil
}

// userCodes is the form of a tenant's user codes.
type userCodes struct {
	letters string
	mask    string // a "*" for each letter
}

func userCodeForm(tx *state.Tx) (userCodes, error) {
	settings, err := singleton(tx, "tenants/settings")
	if err != nil {
		return userCodes{}, err
	}
	flow := sub(settings, "device_flow")
	f := userCodes{letters: userCodeLetters, mask: str(flow, "mask")}
	if str(flow, "charset") == "digits" {
		f.letters = "0123456789"
	}
	if strings.Count(f.mask, "*") < 4 {
		f.mask = "****-****"
	}
	return f, nil
}

func (f userCodes) make(random io.Reader) (string, error) {
	out := []byte(f.mask)
	limit := 256 - 256%len(f.letters) // larger bytes would favour the first letters
	b := make([]byte, 1)
	for i := 0; i < len(out); {
		if out[i] != '*' {
			i++
			continue
		}
		if _, err := io.ReadFull(random, b); err != nil {
			return "", fmt.Errorf("make user code: %w", err)
		}
		if int(b[0]) < limit {
			out[i] = f.letters[int(b[0])%len(f.letters)]
			i++
		}
	}
	return string(out), nil
}

// canonical is a user code as it was shown, however it was typed; "" if it
// cannot be one.
func (f userCodes) canonical(typed string) string {
	var letters []byte
	for _, r := range strings.ToUpper(typed) {
		if strings.ContainsRune(f.letters, r) {
			letters = append(letters, byte(r))
		}
	}
	if len(letters) != strings.Count(f.mask, "*") {
		return ""
	}
	out := []byte(f.mask)
	for i := range out {
		if out[i] == '*' {
			out[i], letters = letters[0], letters[1:]
		}
	}
	return string(out)
}

func (c *call) activatePage() error {
	p, err := c.pageParams()
	if err != nil {
		return err
	}
	return c.render(http.StatusOK, "activate", page{Title: "Device activation", Value: p.str("user_code")})
}

// activateSubmit takes a user code and begins the login that decides on it.
// Codes are few enough to be guessed by a patient machine, so tries are counted.
func (c *call) activateSubmit() error {
	p, err := c.pageParams()
	if err != nil {
		return err
	}
	t := &transaction{Browser: digest(c.browser()), ExpiresAt: c.now.Add(transactionLifetime).Unix()}
	problem := ""
	err = c.update(func(tx *state.Tx) error {
		guesser := "device " + c.ip()
		if err := c.limited(tx, guesser); err != nil {
			problem = "Too many wrong codes. Wait for some minutes before retrying."
			return unless(errors.Is(err, errManyOTP), err)
		}
		form, err := userCodeForm(tx)
		if err != nil {
			return err
		}
		code := form.canonical(p.str("user_code"))
		d, ok, err := tx.FindOne("oauth/device-codes", "user_code", code)
		if err != nil {
			return err
		}
		if code == "" || !ok || expired(d, c.now) || str(d, "status") != "pending" {
			problem = "The code you entered is not valid. Check it and try again."
			return c.countOTP(tx, guesser)
		}
		t.ID, t.ClientID, t.DeviceCode = tx.NewID(state.Token), str(d, "client_id"), str(d, "id")
		t.Request = authRequest{
			ClientID: t.ClientID, Audience: str(d, "audience"), Scope: texts(d, "scope"), MaxAge: -1, Protocol: "oauth2-device-code",
		}
		return t.save(tx)
	})
	if err != nil {
		return err
	}
	if problem != "" {
		return c.render(http.StatusBadRequest, "activate", page{Title: "Device activation", Value: p.str("user_code"), Problem: problem})
	}
	return c.seeOther("/u/device-confirmation", t.query())
}

func (c *call) deviceOf(t *transaction) (g deviceGrant, err error) {
	err = c.view(func(tx *state.Tx) error {
		d, ok, err := tx.Get("oauth/device-codes", t.DeviceCode)
		if err != nil {
			return err
		}
		if t.DeviceCode == "" || !ok || expired(d, c.now) || str(d, "status") != "pending" {
			return pageErr(http.StatusGone, "Expired code", "The code has expired. Start again on your device.")
		}
		return unmarshal(d, &g)
	})
	return g, err
}

// deviceConfirmPage shows the code again before anybody signs in: who follows
// a link that a stranger sent sees a code that none of his devices shows (RFC
// 8628, 5.4).
func (c *call) deviceConfirmPage() error {
	_, t, client, _, err := c.load()
	if err != nil {
		return err
	}
	g, err := c.deviceOf(t)
	if err != nil {
		return err
	}
	return c.render(http.StatusOK, "device", page{Title: "Device confirmation", State: t.ID, Client: clientName(client), Code: g.UserCode})
}

func (c *call) deviceConfirmSubmit() error {
	p, t, client, _, err := c.load()
	if err != nil {
		return err
	}
	g, err := c.deviceOf(t)
	if err != nil {
		return err
	}
	switch p.str("action") {
	case "accept":
		if err := c.update(func(tx *state.Tx) error {
			s, user, err := c.session(tx)
			if err == nil && s != nil {
				t.resume(s, user)
			}
			return errors.Join(err, t.save(tx))
		}); err != nil {
			return err
		}
		return c.advance(t)
	case "deny":
		g.Status = "denied"
		if err := c.update(func(tx *state.Tx) error {
			_, err := tx.Delete("oauth/transactions", t.ID)
			in := &party{client: client}
			return errors.Join(err, g.save(tx), tx.Log(c.entry(in.entry("fdecc", "User cancelled the device confirmation", nil))))
		}); err != nil {
			return err
		}
		return c.message("Device not connected", "You cancelled. The device was not given access.")
	}
	return c.seeOther("/u/device-confirmation", t.query())
}

// denyDevice tells the device, when it asks next, that it gets nothing.
func denyDevice(tx *state.Tx, id string) error {
	d, ok, err := tx.Get("oauth/device-codes", id)
	if err != nil || !ok {
		return err
	}
	d["status"] = "denied"
	return tx.Put("oauth/device-codes", id, d)
}

// finishDevice ends a login that was for a device.
func (c *call) finishDevice(t *transaction, in *party) error {
	g, err := c.deviceOf(t)
	if err != nil {
		return err
	}
	err = c.update(func(tx *state.Tx) error {
		there, err := tx.Delete("oauth/transactions", t.ID)
		if err != nil || !there {
			return errors.Join(err, unless(there, pageErr(http.StatusBadRequest, "invalid_request", "This login was already completed.")))
		}
		user, err := c.signedIn(tx, t)
		if err != nil {
			return err
		}
		if g.Session, err = c.keepSession(tx, t, user, in.settings); err != nil {
			return err
		}
		if err := c.keepGrant(tx, t, in); err != nil {
			return err
		}
		g.Status, g.UserID, g.Connection, g.Organization = "approved", t.UserID, t.Connection, t.Organization
		g.AuthTime, g.Methods, g.Result = t.AuthTime, t.Methods, t.Result
		if err := tx.Log(c.entry(in.entry("s", "Successful login", nil))); err != nil {
			return err
		}
		return g.save(tx)
	})
	if err != nil {
		return err
	}
	return c.message("Congratulations, you're all set!", "Your device is now connected. You can close this page.")
}

// tokenDevice is what the device polls (RFC 8628, 3.4).
func (c *call) tokenDevice(client Doc, p params) error {
	if p.str("device_code") == "" {
		return errMissing("device_code")
	}
	in := &party{client: client, protocol: "oauth2-device-code"}
	var out map[string]any
	var refused *oauthError
	err := c.update(func(tx *state.Tx) error {
		d, ok, err := tx.Get("oauth/device-codes", digest(p.str("device_code")))
		if err != nil {
			return err
		}
		if !ok || str(d, "client_id") != str(client, "client_id") {
			refused = errInvalidGrant("Invalid or expired device code.")
			return nil
		}
		var g deviceGrant
		if err := unmarshal(d, &g); err != nil {
			return err
		}
		last := g.LastPoll
		g.LastPoll = c.now
		switch {
		case expired(d, c.now):
			// Told once; afterwards there is nothing left to tell.
			refused = oauthErr(http.StatusForbidden, "expired_token", "The device_code is expired.")
			_, err := tx.Delete("oauth/device-codes", g.ID)
			return err
		case !last.IsZero() && c.now.Sub(last) < deviceInterval && g.Status == "pending":
			refused = oauthErr(http.StatusTooManyRequests, "slow_down", "You are polling faster than the specified interval of 5 seconds.")
			return g.save(tx)
		case g.Status == "pending":
			refused = oauthErr(http.StatusForbidden, "authorization_pending", "User has yet to authorize device code.")
			return g.save(tx)
		case g.Status == "denied":
			refused = oauthErr(http.StatusForbidden, "access_denied", "User cancelled the confirmation prompt.")
			_, err := tx.Delete("oauth/device-codes", g.ID)
			return err
		}
		out, err = c.deviceTokens(tx, in, &g)
		return err
	})
	if err != nil {
		return asAPIError(err)
	}
	if refused != nil {
		if refused.code == "authorization_pending" || refused.code == "slow_down" {
			return refused
		}
		return c.refuse(in, "fede", refused)
	}
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

func (c *call) deviceTokens(tx *state.Tx, in *party, g *deviceGrant) (map[string]any, error) {
	if _, err := tx.Delete("oauth/device-codes", g.ID); err != nil {
		return nil, err
	}
	in.requested = g.Scope
	if err := c.fill(tx, in, g.UserID, g.Connection, g.Organization, g.Audience); err != nil {
		return nil, err
	}
	i := &issue{
		client: in.client, user: in.user, organization: in.organization, settings: in.settings, api: in.api, session: g.Session,
		methods: g.Methods, result: g.Result,
	}
	refresh := ""
	if i.has("offline_access") {
		var err error
		if refresh, _, err = c.newRefreshToken(tx, i, g.Audience, g.Connection, g.AuthTime); err != nil {
			return nil, err
		}
	}
	out, err := c.tokenResponse(tx, i, refresh)
	if err != nil {
		return nil, err
	}
	return out, tx.Log(c.entry(in.entry("sede", "Device Code for Access Token", nil)))
}
