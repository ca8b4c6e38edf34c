package webui

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/token"
)

// The paths of the sign-in. The stock pages know /auth/sso, /auth/refresh and
// /auth/logout.
const (
	loginPath     = "/auth/login"
	startPath     = "/auth/sso"
	callbackPath  = "/auth/sso/callback"
	refreshPath   = "/auth/refresh"
	logoutPath    = "/auth/logout"
	signedOutPath = "/auth/signed-out"
)

// What the audit log calls these decisions.
const (
	auditSignIn  = "webui/SignIn"
	auditRenew   = "webui/Renew"
	auditSignOut = "webui/SignOut"
)

// cookieNames are the names of our cookies. They end with the port: cookies are
// shared by all ports of a host, and two stacks on one machine must not sign
// each other's people out. The prefix makes browsers refuse such cookies from
// another host, a plain connection or a script of a subdomain.
type cookieNames struct{ session, attempt string }

func namesFor(u *url.URL) cookieNames {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return cookieNames{session: "__Host-tenon-session-" + port, attempt: "__Host-tenon-attempt-" + port + "-"}
}

func (s *Server) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(life.Seconds()), Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func (s *Server) dropCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{Name: name, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func (s *Server) sessionID(r *http.Request) string {
	c, err := r.Cookie(s.cookies.session)
	if err != nil {
		return ""
	}
	return c.Value
}

// maxReturn bounds the address that a person comes back to.
const maxReturn = 2048

// returnPath is where to go after the sign-in: a path of this server, whatever
// the request says. The stock pages send a whole address.
func (s *Server) returnPath(text string) string {
	if text == "" || len(text) > maxReturn || strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\\' }) {
		return "/"
	}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.User != nil {
		return "/"
	}
	if (u.Scheme != "" || u.Host != "") && (u.Scheme != s.url.Scheme || !strings.EqualFold(u.Host, s.url.Host)) {
		return "/"
	}
	path := u.EscapedPath()
	// "//host" is another server to a browser, and our own sign-in pages lead
	// in circles.
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || path == "/auth" || strings.HasPrefix(path, "/auth/") {
		return "/"
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	return path
}

// maxAttempts bounds the cookies of sign-ins that were begun and left: cookies
// without bound end in requests too large to be answered.
const maxAttempts = 4

func (s *Server) attemptCookie(state string) string { return s.cookies.attempt + state[:8] }

// login is the page with the button.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	back := s.returnPath(r.URL.Query().Get("returnUrl"))
	if s.sessions.get(s.sessionID(r)) != nil {
		s.redirect(w, r, back)
		return
	}
	s.page(w, http.StatusOK, page{
		Title: "Sign in",
		Text:  "Sign in with your account at " + s.provider.cfg.Name + ".",
		Links: []link{{"Sign in", startPath + "?" + url.Values{"returnUrl": {back}}.Encode()}},
	})
}

// start sends the person to the provider.
func (s *Server) start(w http.ResponseWriter, r *http.Request) {
	back := s.returnPath(r.URL.Query().Get("returnUrl"))
	if living := s.sessions.get(s.sessionID(r)); living != nil {
		if strings.HasPrefix(r.URL.Query().Get("returnUrl"), "https://") {
			// The stock pages come here, with their whole address, whenever the cluster
			// refuses a call. Sent back, they would ask again, for ever.
			s.refused(w, living, back)
			return
		}
		s.redirect(w, r, back)
		return
	}
	a := attempt{ReturnTo: back, Expires: s.cfg.Now().Add(attemptTTL)}
	var err error
	for _, to := range []*string{&a.State, &a.Nonce, &a.Verifier} {
		if *to, err = randomText(s.cfg.Rand, 32); err != nil {
			s.fault(w, "begin a sign-in", err)
			return
		}
	}
	address, err := s.provider.authorizeURL(r.Context(), a)
	if err != nil {
		s.log.Warn("web ui cannot begin a sign-in", "error", err)
		s.unreachable(w, back)
		return
	}
	sealed, err := s.seal.seal(a)
	if err != nil {
		s.fault(w, "begin a sign-in", err)
		return
	}
	s.forgetAttempts(w, r, maxAttempts-1)
	s.setCookie(w, s.attemptCookie(a.State), sealed, attemptTTL)
	s.redirect(w, r, address)
}

// forgetAttempts drops the cookies of other sign-ins if there are more than
// keep.
func (s *Server) forgetAttempts(w http.ResponseWriter, r *http.Request, keep int) {
	var names []string
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, s.cookies.attempt) {
			names = append(names, c.Name)
		}
	}
	if len(names) > keep {
		for _, name := range names {
			s.dropCookie(w, name)
		}
	}
}

// refused is the page for people whose roles do not reach.
func (s *Server) refused(w http.ResponseWriter, living *session, path string) {
	home := s.home(living)
	path, _, _ = strings.Cut(path, "?")
	s.page(w, http.StatusForbidden, page{
		Title: "Your roles do not allow this",
		Text:  "The cluster refused what the page " + shorten(path, 200) + " asked for. You are signed in as " + living.person.Email + ", with: " + shorten(strings.Join(living.roles(), ", "), 400) + ".",
		Links: []link{{"To the workflows in " + home, "/namespaces/" + url.PathEscape(home) + "/workflows"}},
		Form:  logoutPath, Button: "Sign out",
	})
}

// home is the namespace that a person sees first.
func (s *Server) home(living *session) string {
	living.mu.Lock()
	defer living.mu.Unlock()
	first := ""
	for _, p := range living.grant.permissions {
		if p.Namespace == token.ClusterWide || p.Namespace == s.cfg.Namespace {
			return s.cfg.Namespace
		}
		if first == "" {
			first = p.Namespace
		}
	}
	return first
}

func (s *Server) unreachable(w http.ResponseWriter, back string) {
	w.Header().Set("Retry-After", "10")
	s.page(w, http.StatusServiceUnavailable, page{
		Title: "Sign-in is not possible now",
		Text:  "The sign-in provider " + s.provider.cfg.Name + " cannot be reached. The cluster runs on, and people who are signed in stay so.",
		Links: []link{{"Try again", startPath + "?" + url.Values{"returnUrl": {back}}.Encode()}},
	})
}

// callback is where the provider sends the person back.
func (s *Server) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	a, ok := s.takeAttempt(w, r, q.Get("state"))
	if !ok {
		// A sign-in that somebody else began, an old link, or cookies that are off.
		s.refuse(r, "", "the sign-in was not begun by this browser, or was finished before")
		s.page(w, http.StatusBadRequest, page{
			Title: "This sign-in cannot be finished",
			Text:  "It was not begun in this browser, was finished before, or took too long.",
			Links: []link{{"Sign in", loginPath}},
		})
		return
	}
	// RFC 9207: with several providers, an answer of another one.
	if iss := q.Get("iss"); iss != "" && iss != s.provider.cfg.Issuer {
		s.refuse(r, "", "the answer names another issuer")
		s.rejected(w, "The answer comes from another sign-in provider.")
		return
	}
	if code := q.Get("error"); code != "" {
		s.refuse(r, "", "the provider answers "+shorten(code, 60))
		s.rejected(w, s.provider.cfg.Name+" answers: "+shorten(code, 60)+". "+shorten(q.Get("error_description"), 300))
		return
	}
	who, granted, err := s.provider.exchange(r.Context(), q.Get("code"), a)
	subject := ""
	if who.Subject != "" {
		subject = subjectOf(who)
	}
	switch {
	case errors.Is(err, errUnreachable):
		s.log.Warn("web ui cannot finish a sign-in", "error", err)
		s.unreachable(w, a.ReturnTo)
		return
	case errors.Is(err, errNoAccess):
		s.refuse(r, subject, err.Error())
		s.noAccess(w, r, who, err)
		return
	case err != nil:
		s.log.Warn("web ui refuses a sign-in", "error", err)
		s.refuse(r, subject, err.Error())
		s.rejected(w, "The answer of "+s.provider.cfg.Name+" was not accepted. The server's log says why.")
		return
	}
	// Nobody is let in whose sign-in leaves no trace.
	if err := s.record(r, audit.Allow, auditSignIn, subject, ""); err != nil {
		s.fault(w, "record a sign-in", err)
		return
	}
	// A new id at each sign-in: an id that somebody planted in this browser
	// becomes worthless.
	if old := s.sessions.get(s.sessionID(r)); old != nil {
		s.sessions.end(old)
	}
	id, living, err := s.sessions.add(who, granted)
	if err != nil {
		s.fault(w, "make a session", err)
		return
	}
	s.log.Info("signed in to the web ui", "subject", subject, "permissions", len(granted.permissions))
	s.setCookie(w, s.cookies.session, id, s.cfg.Sessions.Absolute)
	s.showPerson(w, living)
	s.redirect(w, r, a.ReturnTo)
}

// takeAttempt returns the attempt that the browser carries for a state, once.
func (s *Server) takeAttempt(w http.ResponseWriter, r *http.Request, state string) (attempt, bool) {
	if len(state) < 8 || len(state) > 100 || strings.ContainsFunc(state, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}) {
		return attempt{}, false
	}
	name := s.attemptCookie(state)
	c, err := r.Cookie(name)
	if err != nil {
		return attempt{}, false
	}
	s.dropCookie(w, name)
	a, err := s.seal.open(c.Value)
	if err != nil || subtle.ConstantTimeCompare([]byte(a.State), []byte(state)) != 1 || !s.cfg.Now().Before(a.Expires) {
		return attempt{}, false
	}
	return a, true
}

// subjectOf is the subject of a session's token. The prefix keeps a person from
// being taken for a caller whose token was issued by hand, whatever names the
// provider hands out.
func subjectOf(p person) string { return "web-ui:" + p.Subject }

func (s *Server) refuse(r *http.Request, subject, reason string) {
	verdict := audit.Unauthenticated
	if subject != "" {
		verdict = audit.Deny
	}
	// What cannot be recorded is refused all the same; the log counts it.
	_ = s.record(r, verdict, auditSignIn, subject, reason)
}

func (s *Server) record(r *http.Request, verdict audit.Verdict, api, subject, reason string) error {
	record := audit.Record{Time: s.cfg.Now(), Verdict: verdict, API: api, Subject: subject, Reason: reason}
	if subject != "" {
		record.Issuer = s.provider.cfg.Issuer
	}
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		record.Peer = net.TCPAddrFromAddrPort(a)
	}
	return s.cfg.Audit.Append(record)
}

// rejected is the page of a sign-in that failed at the provider.
func (s *Server) rejected(w http.ResponseWriter, text string) {
	s.page(w, http.StatusForbidden, page{Title: "Sign-in was refused", Text: text, Links: []link{{"Try again", loginPath}}})
}

// noAccess is the page for people who are known and may do nothing. They are
// still signed in at the provider, so it offers to leave there: else the next
// attempt ends here again, with the same account.
func (s *Server) noAccess(w http.ResponseWriter, r *http.Request, who person, err error) {
	p := page{
		Title: "No access",
		Text:  "You are " + who.Email + ". " + sentence(strings.TrimPrefix(err.Error(), errNoAccess.Error()+": ")) + " Ask who administers this cluster for a role.",
		Links: []link{{"Sign in again", loginPath}},
	}
	if out := s.provider.endSessionURL(r.Context(), &session{person: who}, s.SignedOutURL()); out != "" {
		p.Links = []link{{"Use another account", out}}
	}
	s.page(w, http.StatusForbidden, p)
}

// refresh answers the stock pages, which ask after a 401.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request) {
	living, err := s.authenticate(r)
	if err != nil {
		s.unauthenticated(w, err)
		return
	}
	s.showPerson(w, living)
	w.WriteHeader(http.StatusNoContent)
}

// logout ends the session, and then the provider's. The stock pages fetch this
// address and then open the first page, which is when the browser can be sent
// on; see index. Only our own pages may do it, so that a link or picture
// elsewhere signs nobody out.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	id := s.sessionID(r)
	living := s.sessions.get(id)
	site := r.Header.Get("Sec-Fetch-Site")
	if r.Method == http.MethodGet && site != "same-origin" {
		if living == nil {
			s.redirect(w, r, loginPath)
			return
		}
		s.page(w, http.StatusOK, page{Title: "Sign out", Text: "You are signed in as " + living.person.Email + ".", Form: logoutPath, Button: "Sign out"})
		return
	}
	if living != nil {
		_ = s.record(r, audit.Allow, auditSignOut, subjectOf(living.person), "")
		s.sessions.leave(living)
	}
	if r.Header.Get("Sec-Fetch-Mode") == "navigate" || r.Method == http.MethodPost {
		s.leave(w, r, id)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// leave sends the browser to the provider to end its session, if this one was
// just left. It reports whether it answered.
func (s *Server) leave(w http.ResponseWriter, r *http.Request, id string) {
	left := s.sessions.takeLeaving(id)
	s.dropCookie(w, s.cookies.session)
	to := signedOutPath
	if left != nil {
		if out := s.provider.endSessionURL(r.Context(), left, s.SignedOutURL()); out != "" {
			to = out
		}
	}
	s.redirect(w, r, to)
}

func (s *Server) signedOut(w http.ResponseWriter, r *http.Request) {
	s.page(w, http.StatusOK, page{Title: "Signed out", Text: "You are signed out.", Links: []link{{"Sign in", loginPath}}})
}

// shownToken is what the stock pages hold instead of an access token. They show
// who is signed in, and how to sign out, only if they hold one.
const shownToken = "held by the server"

// showPerson tells the stock pages who is signed in, in the cookie that they
// read and delete. It holds no credential.
func (s *Server) showPerson(w http.ResponseWriter, living *session) {
	data, err := json.Marshal(map[string]string{"AccessToken": shownToken, "Name": living.person.Name, "Email": living.person.Email, "Picture": pictureOf(living.person)})
	if err != nil {
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: "user0", Value: strings.TrimRight(base64.StdEncoding.EncodeToString(data), "="),
		Path: "/", MaxAge: 60, Secure: true, SameSite: http.SameSiteStrictMode,
	})
}

// pictureOf is the person's initial, as a picture: one from elsewhere would tell
// its host who uses the cluster, and the policy refuses it.
func pictureOf(p person) string {
	initial := "?"
	for _, r := range p.Name + p.Email {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			initial = string(unicode.ToUpper(r))
			break
		}
	}
	svg := `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><rect width="24" height="24" rx="4" fill="#444ce7"/>` +
		`<text x="12" y="17" font-family="sans-serif" font-size="14" fill="#fff" text-anchor="middle">` + initial + `</text></svg>`
	return "data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString([]byte(svg))
}

func (s *Server) redirect(w http.ResponseWriter, r *http.Request, to string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func shorten(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n]) + "…"
	}
	return text
}

func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// revoked reports whether tokens of the person were revoked since they signed
// in.
func (s *Server) revoked(living *session) bool {
	return s.cfg.Revocations != nil && s.cfg.Revocations.Revoked(&token.Claims{
		Issuer: s.cfg.TokenIssuer, Subject: subjectOf(living.person), IssuedAt: living.started,
	})
}
