package webui

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// routes joins everything. Whatever is not a page of the sign-in needs a
// session, the stock pages' own files included: nothing about the cluster, not
// even its UI's version, is shown to strangers.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+loginPath, s.login)
	mux.HandleFunc("GET "+startPath, s.start)
	mux.HandleFunc("GET "+callbackPath, s.callback)
	mux.HandleFunc("GET "+refreshPath, s.refresh)
	mux.HandleFunc("GET "+logoutPath, s.logout)
	mux.HandleFunc("POST "+logoutPath, s.logout)
	mux.HandleFunc("GET "+signedOutPath, s.signedOut)
	mux.HandleFunc("/auth/", http.NotFound)
	mux.Handle("GET /api/v1/settings", s.signedIn(s.settings))
	mux.Handle("GET /api/v1/namespaces/{namespace}/workflows/{workflow}/run/{run}/history.json", s.signedIn(s.history))
	mux.Handle("/api/v1/", s.signedIn(s.api))
	mux.Handle("GET /render", s.signedIn(s.render))
	for _, prefix := range []string{"/_app/", "/css/", "/codemirror/", "/i18n/"} {
		mux.Handle("GET "+prefix, s.signedIn(s.immutable(s.assets)))
	}
	mux.HandleFunc("/", s.pages)
	// Changes asked for by pages of other sites are refused by what browsers say
	// of a request's origin (Sec-Fetch-Site, else Origin).
	sameOrigin := http.NewCrossOriginProtection()
	return s.protect(sameOrigin.Handler(mux))
}

// protect checks the host, and sets the headers that every answer has.
func (s *Server) protect(next http.Handler) http.Handler {
	named := s.url.Hostname()
	// A browser that learns HSTS for localhost would refuse every other
	// developer's server there; for an address it means nothing.
	hsts := named != "localhost" && net.ParseIP(named) == nil
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Content-Security-Policy", pagePolicy)
		if hsts {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		// A name of somebody else's that leads here would have its own cookies and
		// its own pages' trust.
		if !strings.EqualFold(strings.TrimSuffix(r.Host, ":443"), s.url.Host) {
			if r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" {
				s.redirect(w, r, s.origin()+s.returnPath(r.URL.RequestURI()))
				return
			}
			http.Error(w, "the Web UI is at "+s.origin(), http.StatusMisdirectedRequest)
			return
		}
		size := 0
		for _, line := range r.Header["Cookie"] {
			size += len(line)
		}
		if size > maxCookies {
			s.page(w, http.StatusRequestHeaderFieldsTooLarge, page{
				Title: "Too many cookies",
				Text:  fmt.Sprintf("Your browser sent %d KB of cookies for %s. Delete its cookies for this host, then sign in again.", size>>10, named),
				Links: []link{{"Sign in", loginPath}},
			})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// maxBody bounds a request of the API: the frontend takes 4 MB, and JSON with
// base64 is larger.
const maxBody = 8 << 20

type (
	tokenKey         struct{} // the session's token, in a request's context
	sessionInContext struct{} // the session itself
)

// signedIn lets requests with a living session pass, and gives them its token.
func (s *Server) signedIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		living, err := s.authenticate(r)
		if err != nil {
			s.unauthenticated(w, err)
			return
		}
		raw, err := s.tokenOf(r.Context(), living)
		if err != nil {
			s.fault(w, "issue a session's token", err)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		ctx := context.WithValue(r.Context(), sessionInContext{}, living)
		r = r.WithContext(context.WithValue(ctx, tokenKey{}, raw))
		r.Header = onlyHeaders(r.Header)
		next.ServeHTTP(w, r)
	})
}

// passedHeaders are those of the browser that the API may see. Others could
// become metadata of the call: a second authorization, or a principal.
var passedHeaders = []string{"Accept", "Accept-Language", "Caller-Type", "Content-Length", "Content-Type", "If-Modified-Since", "If-None-Match", "Range", "User-Agent"}

func onlyHeaders(h http.Header) http.Header {
	passed := http.Header{}
	for _, name := range passedHeaders {
		if v, ok := h[name]; ok {
			passed[name] = v
		}
	}
	return passed
}

// immutable lets the browser keep files whose names change with their content.
func (s *Server) immutable(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_app/immutable/") {
			w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
		}
		next.ServeHTTP(w, r)
	})
}

// pages serves the stock application, which finds its way by its own address.
// Without a session it is the sign-in; just after a sign-out, the provider's.
func (s *Server) pages(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	living, err := s.authenticate(r)
	if err != nil {
		if id := s.sessionID(r); id != "" {
			s.sessions.mu.Lock()
			left := s.sessions.all[keyOf(id)]
			s.sessions.mu.Unlock()
			if left != nil && !left.leaving.IsZero() {
				s.leave(w, r, id)
				return
			}
			s.dropCookie(w, s.cookies.session)
		}
		if navigates(r) {
			s.redirect(w, r, loginPath+"?"+url.Values{"returnUrl": {s.returnPath(r.URL.RequestURI())}}.Encode())
			return
		}
		s.unauthenticated(w, err)
		return
	}
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/favicon"), strings.HasPrefix(path, "/android"), strings.HasPrefix(path, "/apple"),
		strings.HasPrefix(path, "/banner"), strings.HasPrefix(path, "/logo"), strings.HasSuffix(path, ".gif"), path == "/site.webmanifest":
		s.assets.ServeHTTP(w, r)
		return
	case path == "/login":
		// The stock sign-in page, to which the stock pages go when they are refused.
		s.redirect(w, r, startPath+"?"+url.Values{"returnUrl": {s.origin() + s.returnPath(r.URL.Query().Get("returnUrl"))}}.Encode())
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", s.policy)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	s.showPerson(w, living)
	_, _ = w.Write(s.index)
}

// navigates reports whether a person opened the address, rather than a script
// fetched it.
func navigates(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// pagePolicy is for our own pages: no script at all, and the one style sheet
// that they contain.
var pagePolicy = "default-src 'none'; style-src 'sha256-" + hashOf(pageStyle) + "'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

var metaPolicy = regexp.MustCompile(`http-equiv="content-security-policy" content="script-src 'strict-dynamic' ('sha256-[A-Za-z0-9+/=]{44}')"`)

// contentPolicy is the policy of the stock pages: their one inline script by its
// hash and what that loads, their styles, and nothing from anywhere else.
func contentPolicy(index []byte) (string, error) {
	found := metaPolicy.FindSubmatch(index)
	if found == nil {
		return "", errors.New("stock pages: the hash of their script was not found")
	}
	return strings.Join([]string{
		"default-src 'self'",
		"script-src 'strict-dynamic' " + string(found[1]),
		"style-src 'self' 'unsafe-inline'",
		"img-src 'self' data: blob:",
		"font-src 'self' data:",
		"connect-src 'self'",
		"worker-src 'self' blob:",
		"frame-src 'self'",
		"manifest-src 'self' data:",
		"object-src 'none'",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; "), nil
}

// fault answers what should not happen. The cause is for the log alone.
func (s *Server) fault(w http.ResponseWriter, doing string, err error) {
	s.log.Error("web ui failed", "doing", doing, "error", err)
	s.page(w, http.StatusInternalServerError, page{Title: "This did not work", Text: "The server could not " + doing + ". Its log says why.", Links: []link{{"Try again", "/"}}})
}
