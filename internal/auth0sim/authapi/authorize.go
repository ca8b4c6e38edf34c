package authapi

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// authRequest is a checked authorization request (OpenID Connect Core 3.1.2.1,
// with Auth0's additions). It is kept in its transaction and its code.
type authRequest struct {
	ClientID        string   `json:"client_id"`
	RedirectURI     string   `json:"redirect_uri"`
	RedirectGiven   bool     `json:"redirect_given"` // the token request must repeat it
	ResponseType    []string `json:"response_type"`
	ResponseMode    string   `json:"response_mode"`
	Scope           []string `json:"scope"`
	State           string   `json:"state"`
	Nonce           string   `json:"nonce"`
	Audience        string   `json:"audience"`
	Challenge       string   `json:"challenge"`
	ChallengeMethod string   `json:"challenge_method"`
	Prompt          []string `json:"prompt"`
	MaxAge          int      `json:"max_age"` // seconds; -1 when not asked for
	LoginHint       string   `json:"login_hint"`
	ScreenHint      string   `json:"screen_hint"`
	Connection      string   `json:"connection"`
	Organization    string   `json:"organization"`
	Invitation      string   `json:"invitation"`
	ACRValues       []string `json:"acr_values"`
	UILocales       string   `json:"ui_locales"`
	Protocol        string   `json:"protocol"`
}

func (a authRequest) prompts(p string) bool { return slices.Contains(a.Prompt, p) }
func (a authRequest) asks(t string) bool    { return slices.Contains(a.ResponseType, t) }

// An authError goes back to the client at its redirect address.
type authError struct {
	request     authRequest
	code        string
	description string
}

func (e *authError) Error() string { return e.code + ": " + e.description }

func (a authRequest) fail(code, description string) *authError {
	return &authError{request: a, code: code, description: description}
}

// authorize begins a login (RFC 6749, 4.1.1).
func (c *call) authorize() error {
	p, err := c.pageParams()
	if err != nil {
		return err
	}
	var client, settings Doc
	pushed := p.str("request_uri")
	err = c.view(func(tx *state.Tx) error {
		var err error
		if settings, err = singleton(tx, "tenants/settings"); err != nil {
			return err
		}
		if pushed != "" {
			if p, err = c.pushedRequest(tx, pushed, p.str("client_id")); err != nil {
				return err
			}
		}
		client, err = authClient(tx, p)
		return err
	})
	if err != nil {
		return err
	}
	req, err := c.parseAuthorize(client, settings, p)
	if err != nil {
		return err
	}
	if pushed == "" && (flag(client, "require_pushed_authorization_requests") || flag(sub(settings, "flags"), "require_pushed_authorization_requests")) {
		return req.fail("invalid_request", "Pushed Authorization Request is required")
	}
	if pushed != "" {
		if err := c.takePushed(pushed); err != nil {
			return err
		}
	}
	return c.startLogin(client, req)
}

func authClient(tx *state.Tx, p params) (Doc, error) {
	id := p.str("client_id")
	if id == "" {
		return nil, pageErr(http.StatusBadRequest, "invalid_request", "Missing required parameter: client_id")
	}
	client, ok, err := findClient(tx, id)
	if err != nil {
		return nil, err
	}
	if !ok || flag(client, "global") {
		return nil, pageErr(http.StatusForbidden, "invalid_request", "Unknown client: %s", clip(id))
	}
	return client, nil
}

// parseAuthorize checks everything that needs no user. The redirect address
// comes first: until it is known to be the client's, no answer may go there.
func (c *call) parseAuthorize(client, settings Doc, p params) (authRequest, error) {
	req := authRequest{
		ClientID: str(client, "client_id"), State: p.str("state"), Nonce: p.str("nonce"), Audience: p.str("audience"),
		LoginHint: p.str("login_hint"), ScreenHint: p.str("screen_hint"), Connection: p.str("connection"),
		Organization: p.str("organization"), Invitation: p.str("invitation"), UILocales: p.str("ui_locales"),
		ACRValues: strings.Fields(p.str("acr_values")), Challenge: p.str("code_challenge"), MaxAge: -1,
		ChallengeMethod: p.str("code_challenge_method"), Prompt: strings.Fields(p.str("prompt")), Protocol: "oidc-basic-profile",
	}
	uri, err := redirectURI(client, p.str("redirect_uri"))
	if err != nil {
		return req, err
	}
	req.RedirectURI, req.RedirectGiven = uri, p.str("redirect_uri") != ""

	req.ResponseType = strings.Fields(p.str("response_type"))
	if err := req.responseMode(p.str("response_mode")); err != nil {
		return req, err
	}
	if req.Scope, err = p.scope(); err != nil {
		return req, req.fail("invalid_scope", "Scope must be an array or a string")
	}
	if req.Audience == "" {
		req.Audience = str(settings, "default_audience")
	}
	switch {
	case p["request"] != nil:
		return req, req.fail("request_not_supported", "Request objects are not supported")
	case req.asks("code") && !mayUse(client, "authorization_code"):
		return req, req.fail("unauthorized_client", "Grant type 'authorization_code' not allowed for the client.")
	case !req.asks("code") && !mayUse(client, "implicit"), req.asks("id_token") && !mayUse(client, "implicit"):
		return req, req.fail("unauthorized_client", "Grant type 'implicit' not allowed for the client.")
	case req.asks("id_token") && req.Nonce == "":
		return req, req.fail("invalid_request", "Missing required parameter: nonce")
	case req.prompts("none") && len(req.Prompt) > 1:
		return req, req.fail("invalid_request", "Invalid prompt: none cannot be combined")
	}
	for _, prompt := range req.Prompt {
		if !slices.Contains([]string{"none", "login", "consent", "select_account"}, prompt) {
			return req, req.fail("invalid_request", "Unsupported prompt value")
		}
	}
	if err := req.checkChallenge(client); err != nil {
		return req, err
	}
	if text := p.str("max_age"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return req, req.fail("invalid_request", "max_age must be a non-negative number of seconds")
		}
		req.MaxAge = n
	}
	return req, nil
}

func (a *authRequest) responseMode(mode string) error {
	known := len(a.ResponseType) > 0
	for i, t := range a.ResponseType {
		known = known && slices.Contains([]string{"code", "token", "id_token"}, t) && !slices.Contains(a.ResponseType[:i], t)
	}
	a.ResponseMode = "query"
	if !known {
		code, text := "unsupported_response_type", "Unsupported response type"
		if len(a.ResponseType) == 0 {
			code, text = "invalid_request", "Missing required parameter: response_type"
		}
		return a.fail(code, text)
	}
	front := a.asks("token") || a.asks("id_token")
	if front {
		a.ResponseMode = "fragment"
	}
	switch mode {
	case "":
	case "fragment", "form_post", "web_message":
		a.ResponseMode = mode
	case "query":
		if front {
			// Tokens in a query end up in logs and Referer headers.
			return a.fail("invalid_request", "response_mode query is not allowed for this response_type")
		}
	default:
		return a.fail("invalid_request", "Unsupported response_mode")
	}
	return nil
}

var challengeForm = regexp.MustCompile(`^[A-Za-z0-9\-._~]{43,128}$`)

func (a *authRequest) checkChallenge(client Doc) error {
	switch {
	case a.Challenge == "" && a.ChallengeMethod != "":
		return a.fail("invalid_request", "Missing required parameter: code_challenge")
	case a.Challenge == "" && a.asks("code") && isPublic(client):
		// A public client proves nothing at the token endpoint but this.
		return a.fail("invalid_request", "Parameter 'code_challenge' is required for this client")
	case a.Challenge == "":
		return nil
	case a.ChallengeMethod == "":
		a.ChallengeMethod = "plain"
	}
	if a.ChallengeMethod != "S256" && a.ChallengeMethod != "plain" {
		return a.fail("invalid_request", "Unsupported code_challenge_method")
	}
	if !challengeForm.MatchString(a.Challenge) {
		return a.fail("invalid_request", "Invalid code_challenge")
	}
	return nil
}

// redirectURI returns the address the answer goes to: the one asked for if the
// client registered it, its first one if none was asked for.
func redirectURI(client Doc, asked string) (string, error) {
	callbacks := texts(client, "callbacks")
	if asked == "" {
		if len(callbacks) == 0 {
			return "", pageErr(http.StatusBadRequest, "invalid_request", "Missing required parameter: redirect_uri")
		}
		asked = callbacks[0]
	}
	u, err := url.Parse(asked)
	if err != nil || u.Scheme == "" || u.Fragment != "" || hostile(asked) || scriptScheme(u) || !registered(callbacks, asked, false) {
		return "", &pageError{
			status: http.StatusForbidden, code: "Callback URL mismatch",
			description: "The provided redirect_uri is not in the list of allowed callback URLs.",
		}
	}
	return asked, nil
}

// hostile finds characters that browsers and url.Parse disagree about, by
// which an address can look like a registered one and lead elsewhere.
func hostile(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f })
}

func scriptScheme(u *url.URL) bool {
	switch strings.ToLower(u.Scheme) {
	case "javascript", "data", "vbscript", "file", "blob", "about":
		return true
	}
	return false
}

// registered reports whether an address is one of the patterns: equal to it,
// or matching its one "*", which stands for a label of the host name. With
// bare set the query does not count, as Auth0 has it for logout addresses.
func registered(patterns []string, address string, bare bool) bool {
	strip := func(s string) string {
		if bare {
			s, _, _ = strings.Cut(s, "#")
			s, _, _ = strings.Cut(s, "?")
		}
		return s
	}
	address = strip(address)
	return slices.ContainsFunc(patterns, func(p string) bool {
		p = strip(p)
		return p == address && !strings.Contains(p, "*") || bare && strings.TrimSuffix(p, "/") == strings.TrimSuffix(address, "/") || wildcard(p, address)
	})
}

var label = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)

func wildcard(pattern, address string) bool {
	before, after, ok := strings.Cut(pattern, "*")
	if !ok || strings.Contains(after, "*") || !strings.HasSuffix(before, "://") || !strings.HasPrefix(after, ".") {
		return false
	}
	middle, ok := strings.CutPrefix(address, before)
	if !ok {
		return false
	}
	middle, ok = strings.CutSuffix(middle, after)
	return ok && label.MatchString(middle)
}

// startLogin opens the transaction, in an existing session if there is one
// that will do.
func (c *call) startLogin(client Doc, req authRequest) error {
	t := &transaction{Request: req, ClientID: req.ClientID, Browser: digest(c.browser())}
	err := c.update(func(tx *state.Tx) error {
		if req.Audience != "" && !c.userinfoAudience(req.Audience) {
			if _, ok, err := c.resourceServer(tx, req.Audience); err != nil || !ok {
				return errors.Join(err, req.fail("access_denied", "Service not found: "+req.Audience))
			}
		}
		if err := c.requestedOrganization(tx, client, t); err != nil {
			return err
		}
		s, user, err := c.session(tx)
		if err != nil {
			return err
		}
		// An invitation is for one address: whoever else is signed in here must
		// get the chance to sign in as the invited one.
		invitedOther := t.Invitation != "" && lower(str(user, "email")) != lower(t.Request.LoginHint)
		if s != nil && !req.prompts("login") && !req.prompts("select_account") && !invitedOther && c.freshEnough(s, req) {
			t.resume(s, user)
		}
		if err := purge(tx, "oauth/transactions", "id"); err != nil {
			return err
		}
		t.ID = tx.NewID(state.Token)
		t.ExpiresAt = c.now.Add(transactionLifetime).Unix()
		return t.save(tx)
	})
	if err != nil {
		return err
	}
	return c.advance(t)
}

func (c *call) freshEnough(s *session, req authRequest) bool {
	return req.MaxAge < 0 || !s.AuthenticatedAt.Add(time.Duration(req.MaxAge)*time.Second).Before(c.now)
}

func (c *call) userinfoAudience(audience string) bool { return audience == c.url("/userinfo") }

// answer sends the result of a request to the client in its response mode.
func (c *call) answer(req authRequest, values url.Values) error {
	if req.State != "" {
		values.Set("state", req.State)
	}
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.Header().Set("Referrer-Policy", "no-referrer")
	switch req.ResponseMode {
	case "form_post":
		return c.formPost(req.RedirectURI, values)
	case "web_message":
		return c.webMessage(req, values)
	case "fragment":
		c.redirect(req.RedirectURI + "#" + values.Encode())
	default:
		u, err := url.Parse(req.RedirectURI)
		if err != nil {
			return err
		}
		q := u.Query()
		for k, v := range values {
			q[k] = v
		}
		u.RawQuery = q.Encode()
		c.redirect(u.String())
	}
	return nil
}

// redirect answers 302 as Auth0 does. http.Redirect would add a body that
// repeats the address.
func (c *call) redirect(to string) {
	c.w.Header().Set("Location", to)
	c.w.WriteHeader(http.StatusFound)
}

// seeOther sends a browser to one of our own pages.
func (c *call) seeOther(path string, query url.Values) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	c.w.Header().Set("Location", path)
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}
