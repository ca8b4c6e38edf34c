package authapi

import (
	"bytes"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

//go:embed pages
var pageFiles embed.FS

// parsePages gives every page its own copy of the layout.
func parsePages() (*template.Template, error) {
	style, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		return nil, err
	}
	layout, err := pageFiles.ReadFile("pages/layout.html")
	if err != nil {
		return nil, err
	}
	root := template.New("").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(style) }, // ours
	})
	names, err := fs.Glob(pageFiles, "pages/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		body, err := pageFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		short := strings.TrimSuffix(path.Base(name), ".html")
		if short == "layout" {
			continue
		}
		// The layout refers to the content by a name of its own, as all pages
		// live in one set.
		text := strings.ReplaceAll(string(layout), "{{template \"content\" .}}", "{{template \"content-"+short+"\" .}}")
		if _, err := root.New(short).Parse(text); err != nil {
			return nil, fmt.Errorf("page layout: %w", err)
		}
		if _, err := root.New("content-" + short).Parse(string(body)); err != nil {
			return nil, fmt.Errorf("page %s: %w", short, err)
		}
	}
	return root, nil
}

// brand is how a tenant presents itself.
type brand struct {
	Tenant       string
	Initial      string // of the tenant's name, where there is no logo
	Logo         string
	Support      string       // mail address or page
	Primary      template.CSS // #rrggbb
	OnPrimary    template.CSS // black or white, whichever is read more easily
	Background   template.CSS // "" keeps the page's own
	OnBackground template.CSS
	logoOrigin   string
}

var colour = regexp.MustCompile(`^#[0-9A-Fa-f]{6}$`)

func tenantName(settings Doc, name string) string {
	if n := str(settings, "friendly_name"); n != "" {
		return n
	}
	return name
}

func (c *call) branding() (brand, error) {
	var b brand
	err := c.view(func(tx *state.Tx) error {
		settings, err := singleton(tx, "tenants/settings")
		if err != nil {
			return err
		}
		look, err := singleton(tx, "branding")
		if err != nil {
			return err
		}
		b = brand{Tenant: tenantName(settings, tx.Tenant()), Primary: "#3b4cca", OnPrimary: "#ffffff"}
		for _, r := range b.Tenant {
			b.Initial = string(r)
			break
		}
		for _, s := range []string{str(settings, "support_url"), mailto(str(settings, "support_email"))} {
			if u, err := url.Parse(s); err == nil && (u.Scheme == "https" || u.Scheme == "mailto") && b.Support == "" {
				b.Support = s
			}
		}
		for _, s := range []string{str(look, "logo_url"), str(settings, "picture_url")} {
			// A new tenant's picture is at example.com, which is reserved: there is none.
			if u, err := url.Parse(s); err == nil && u.Scheme == "https" && u.Host != "" && u.Host != "example.com" && b.Logo == "" && !strings.ContainsAny(u.Host, " ;,'\"") {
				b.Logo, b.logoOrigin = s, "https://"+u.Host
			}
		}
		colours := sub(look, "colors")
		if p := str(colours, "primary"); colour.MatchString(p) {
			b.Primary, b.OnPrimary = template.CSS(p), contrast(p) // six hex digits
		}
		if p, ok := colours["page_background"].(string); ok && colour.MatchString(p) && p != "#000000" {
			b.Background, b.OnBackground = template.CSS(p), contrast(p) // six hex digits
		}
		return nil
	})
	return b, err
}

func mailto(address string) string {
	if address == "" || strings.ContainsAny(address, " ?&") {
		return ""
	}
	return "mailto:" + address
}

// contrast picks the text colour that WCAG's luminance says is read better.
func contrast(hex string) template.CSS {
	n, err := strconv.ParseUint(hex[1:], 16, 32)
	if err != nil {
		return "#ffffff"
	}
	lum := 0.2126*float64(n>>16&255) + 0.7152*float64(n>>8&255) + 0.0722*float64(n&255)
	if lum > 150 {
		return "#111827"
	}
	return "#ffffff"
}

// page is what the templates read. Everything in it is escaped by them.
type page struct {
	Brand brand
	Nonce string

	Title   string
	State   string // the transaction's id, "" for pages without one
	Ticket  string
	Problem string // what went wrong with the last form
	Client  string // the application's name
	Value   string // what was typed before
	Text    string

	Action   template.URL // where the form goes, if it is not the page's own address
	Fields   []field
	Rules    []state.PasswordRule
	Scopes   []scopeText
	QR       template.HTML
	Secret   string
	Code     string
	AppLink  template.URL // opens an authenticator app on the same device
	Link     string
	LinkText string
	SignUp   bool
	Username bool // the connection wants a user name
	Recovery bool
	Choices  []choice

	Origin  string // that may frame the page; "" for none
	Message map[string]string
}

type field struct{ Name, Value string }
type scopeText struct{ Name, Description string }
type choice struct{ ID, Name, Logo string }

// render answers with a page.
func (c *call) render(status int, name string, p page) error {
	b, err := c.branding()
	if err != nil {
		return err
	}
	nonce := make([]byte, 16)
	if _, err := io.ReadFull(c.tenant.Store().Rand(), nonce); err != nil {
		return fmt.Errorf("make nonce: %w", err)
	}
	p.Brand, p.Nonce = b, base64.RawURLEncoding.EncodeToString(nonce)
	var out bytes.Buffer
	if err := c.pages.ExecuteTemplate(&out, name, p); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	h := c.w.Header()
	images := "'self' data:"
	if b.logoOrigin != "" {
		images += " " + b.logoOrigin
	}
	script := "'none'"
	frame := "'none'"
	if p.Origin != "" {
		frame = p.Origin
	} else {
		h.Set("X-Frame-Options", "DENY")
	}
	if name == "form-post" || name == "web-message" {
		script = "'nonce-" + p.Nonce + "'"
	}
	// No form-action: browsers apply it to the redirects that follow a form
	// too, which lead to the application and from there wherever it likes.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+p.Nonce+"'; img-src "+images+"; script-src "+script+
		"; base-uri 'none'; frame-ancestors "+frame)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store, max-age=0")
	// The address carries the transaction or a ticket.
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	if p.Origin == "" {
		h.Set("Cross-Origin-Opener-Policy", "same-origin") // a message needs its opener
	}
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(out.Bytes()) // the reader may be gone
	}
	return nil
}

// message is a page that ends a journey.
func (c *call) message(title, text string) error {
	return c.render(http.StatusOK, "message", page{Title: title, Text: text})
}

// formPost sends values to the client by a form that submits itself, or with a
// button where scripts do not run (OAuth 2.0 Form Post Response Mode).
func (c *call) formPost(address string, values url.Values) error {
	p := page{Title: "Continue", Action: template.URL(address)} // registered by the client, and no script scheme
	for name, v := range values {
		p.Fields = append(p.Fields, field{name, v[0]})
	}
	return c.render(http.StatusOK, "form-post", p)
}

// webMessage hands values to the page that opened this one, in a frame or a
// window, as single-page applications ask for silently (OAuth 2.0 Web Message
// Response Mode). Only an origin that the client registered may frame the page
// and receive the message.
func (c *call) webMessage(req authRequest, values url.Values) error {
	u, err := url.Parse(req.RedirectURI)
	if err != nil {
		return err
	}
	origin := u.Scheme + "://" + u.Host
	var client Doc
	if err := c.view(func(tx *state.Tx) (err error) {
		client, _, err = tx.Get("clients", req.ClientID)
		return err
	}); err != nil {
		return err
	}
	for _, o := range append(texts(client, "web_origins"), texts(client, "allowed_origins")...) {
		if strings.TrimSuffix(o, "/") != origin || strings.ContainsAny(o, " ;,'\"*") {
			continue
		}
		p := page{Title: "Continue", Origin: origin, Message: map[string]string{}}
		for name, v := range values {
			p.Message[name] = v[0]
		}
		return c.render(http.StatusOK, "web-message", p)
	}
	return pageErr(http.StatusForbidden, "invalid_request", "The origin of the redirect_uri is not in the list of allowed web origins.")
}

func (c *call) notFound() error {
	return pageErr(http.StatusNotFound, "Not found", "There is nothing at this address.")
}

// page wraps a handler whose answers, and whose errors, are for a person.
func (s *Server) page(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := s.begin(w, r)
		if c == nil {
			http.Error(w, "Unknown tenant", http.StatusNotFound)
			return
		}
		if err := h(c); err != nil {
			c.failPage(err)
		}
	})
}

func (c *call) failPage(err error) {
	var back *authError
	if errors.As(err, &back) && back.request.RedirectURI == "" {
		// A login for a device, or an enrolment: the person is all there is.
		err = pageErr(http.StatusForbidden, back.code, "%s", back.description)
	} else if back != nil {
		if err = c.answer(back.request, url.Values{"error": {back.code}, "error_description": {back.description}}); err == nil {
			return
		}
	}
	var shown *pageError
	var api *oauthError
	switch {
	case errors.As(err, &shown):
	case errors.As(err, &api):
		shown = pageErr(api.status, api.code, "%s", api.description)
	default:
		if c.r.Context().Err() == nil {
			c.cfg.Logger.ErrorContext(c.r.Context(), "login page failed", "path", c.r.URL.Path, "error", err)
		}
		shown = pageErr(http.StatusInternalServerError, "server_error", "Something went wrong on our side.")
	}
	title := "Oops!, something went wrong"
	if !strings.Contains(shown.code, "_") {
		title = shown.code
	}
	if err := c.render(shown.status, "message", page{Title: title, Text: shown.description, Code: choose(title == shown.code, "", shown.code)}); err != nil {
		http.Error(c.w, "Something went wrong on our side.", http.StatusInternalServerError)
	}
}
