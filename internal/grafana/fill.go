package grafana

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/tenonhq/tenon/internal/secret"
)

// What a person did on a page.
const (
	stepIdentifier = "entered the email address"
	stepPassword   = "entered the password"
	stepLogin      = "entered email address and password"
	stepChoose     = "chose a password"
	stepEnrol      = "enrolled an authenticator app"
	stepCode       = "entered a one-time code"
	stepContinue   = "continued"
)

// fill answers what the form asks for, and says what that was.
func (b *Browser) fill(ctx context.Context, p *page, f *form) (did string, values url.Values, err error) {
	if code := p.recoveryCode(); code != "" {
		b.person.RecoveryCode = secret.New(code)
	}
	values = url.Values{}
	var asked struct{ identifier, password, code bool }
	passwords := 0
	for _, in := range f.inputs {
		switch what := in.asks(); {
		case what == "password":
			passwords++
			asked.password = true
			if b.person.Password.IsZero() {
				return "", nil, fmt.Errorf("the page %s asks for a password, and the person has none", clean(p.url))
			}
			values.Add(in.name, b.person.Password.Reveal())
		case what == "identifier":
			asked.identifier = true
			values.Add(in.name, b.person.Email)
		case what == "code":
			asked.code = true
			code, err := b.totp(ctx, p)
			if err != nil {
				return "", nil, err
			}
			values.Add(in.name, code)
		case in.kind == "checkbox":
			// A box that must be ticked to go on ("I have recorded this code").
			if in.checked || in.required {
				if in.value == "" {
					in.value = "on"
				}
				values.Add(in.name, in.value)
			}
		case in.kind == "radio":
			if in.checked {
				values.Add(in.name, in.value)
			}
		case in.required && in.value == "":
			return "", nil, fmt.Errorf("the page %s asks for %q, which nobody knows", clean(p.url), in.name)
		default:
			values.Add(in.name, in.value)
		}
	}
	if button, ok := f.button(); ok && button.name != "" {
		values.Set(button.name, button.value)
	}
	switch {
	case asked.code && p.totpSecret() != "":
		return stepEnrol, values, nil
	case asked.code:
		return stepCode, values, nil
	case passwords > 1:
		return stepChoose, values, nil
	case asked.password && asked.identifier:
		return stepLogin, values, nil
	case asked.password:
		return stepPassword, values, nil
	case asked.identifier:
		return stepIdentifier, values, nil
	}
	return stepContinue, values, nil
}

// asks says what an input is for: password, identifier, code, or "".
func (in input) asks() string {
	if in.hidden {
		return ""
	}
	if in.kind == "password" {
		return "password"
	}
	if !slices.Contains([]string{"", "text", "email", "tel", "number"}, in.kind) {
		return ""
	}
	switch name := strings.ToLower(in.name); {
	case slices.Contains([]string{"code", "otp", "otp_code", "totp"}, name):
		return "code"
	case in.kind == "email", slices.Contains([]string{"username", "email", "login", "identifier"}, name):
		return "identifier"
	}
	return ""
}

// totp is the code that the person's app shows, after reading the page's QR
// code if it has one. A code is used once (RFC 6238, 5.2), so that within one
// time step the next login takes the next step's code, which servers accept for
// the sake of slow clocks; after that it waits.
func (b *Browser) totp(ctx context.Context, p *page) (string, error) {
	if seed := p.totpSecret(); seed != "" {
		b.person.TOTPSecret = secret.New(seed)
		b.person.lastTOTP = 0
	}
	if b.person.TOTPSecret.IsZero() {
		return "", fmt.Errorf("the page %s asks for a one-time code, and the person has no authenticator app", clean(p.url))
	}
	const period = 30
	step := max(b.now().Unix()/period, b.person.lastTOTP+1)
	for step > b.now().Unix()/period+1 {
		wait := time.NewTimer(time.Unix((step-1)*period, 0).Sub(b.now()))
		select {
		case <-ctx.Done():
			wait.Stop()
			return "", ctx.Err()
		case <-wait.C:
		}
	}
	code, err := totp.GenerateCode(b.person.TOTPSecret.Reveal(), time.Unix(step*period, 0))
	if err != nil {
		return "", errors.New("the authenticator's seed is not base32")
	}
	b.person.lastTOTP = step
	return code, nil
}
