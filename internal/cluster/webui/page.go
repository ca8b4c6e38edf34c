package webui

import (
	"bytes"
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

// page is one of our own pages: a few words, links, and at most one button.
type page struct {
	Title, Text  string
	Links        []link
	Form, Button string
	// Style is filled in.
	Style template.CSS
}

type link struct{ Text, Address string }

const pageStyle = `
:root { color-scheme: light dark; --back: #f8fafc; --card: #fff; --text: #141414; --quiet: #4b5563; --line: #d1d5db; --act: #444ce7; --on: #fff; }
@media (prefers-color-scheme: dark) { :root { --back: #141414; --card: #1f2023; --text: #f8fafc; --quiet: #b6bcc8; --line: #3a3d45; --act: #8098f9; --on: #101223; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--back); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 26rem; padding: 2rem; background: var(--card); border: 1px solid var(--line); border-radius: .75rem; }
p.product { margin: 0 0 1rem; color: var(--quiet); font-size: .875rem; }
h1 { margin: 0 0 .75rem; font-size: 1.375rem; line-height: 1.3; }
p { margin: 0 0 1.5rem; overflow-wrap: anywhere; }
a.act, button { display: block; width: 100%; padding: .75rem 1rem; border: 0; border-radius: .5rem; background: var(--act); color: var(--on); font: inherit; font-weight: 600; text-align: center; text-decoration: none; cursor: pointer; }
a.act + a.act, a.act + form { margin-top: .75rem; }
a.act + form button { background: none; color: var(--text); border: 1px solid var(--line); }
a.act:focus-visible, button:focus-visible { outline: 3px solid var(--text); outline-offset: 2px; }
`

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{.Title}} · Temporal</title>
<style>{{.Style}}</style>
</head>
<body>
<main>
<p class="product">Temporal, on Tenon</p>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{range .Links}}<a class="act" href="{{.Address}}">{{.Text}}</a>
{{end}}{{if .Button}}<form method="post" action="{{.Form}}"><button>{{.Button}}</button></form>
{{end}}</main>
</body>
</html>
`))

func (s *Server) page(w http.ResponseWriter, status int, p page) {
	p.Style = template.CSS(pageStyle)
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, p); err != nil {
		s.log.Error("web ui failed", "doing", "write a page", "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	if p.Button != "" {
		// Browsers hold a form's redirects to the policy too, and this one leads to
		// the provider.
		h.Set("Content-Security-Policy", strings.Replace(pagePolicy, "form-action 'self'", "form-action 'self' "+s.providerOrigin(), 1))
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}

// providerOrigin is where signing out leads to.
func (s *Server) providerOrigin() string {
	address := s.provider.cfg.Issuer
	if d := s.provider.known(); d != nil && d.endSession != "" {
		address = d.endSession
	}
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
