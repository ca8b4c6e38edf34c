package grafana

import (
	"bytes"
	"fmt"
	"mime"
	"net/url"
	"strings"

	"github.com/pquerna/otp"
	"golang.org/x/net/html"
)

// page is an HTML page as far as a person without JavaScript can use it.
type page struct {
	url    *url.URL
	status int
	root   *html.Node
}

// form is the first form of a page that can be filled in.
type form struct {
	action, method string
	inputs         []input
	buttons        []input
}

type input struct {
	name, kind, value string
	checked, required bool
	// hidden inputs keep the value that the page gave them.
	hidden bool
}

func parsePage(at *url.URL, status int, contentType string, body []byte) (*page, error) {
	media, _, _ := mime.ParseMediaType(contentType)
	if media != "" && media != "text/html" && media != "application/xhtml+xml" {
		return nil, &PageError{URL: clean(at), Status: status, Text: shorten(string(body))}
	}
	root, err := html.Parse(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("the page %s is not HTML: %w", clean(at), err)
	}
	return &page{url: at, status: status, root: root}, nil
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttr(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

// form returns the page's form, the one that asks for something if there are
// several (a page may offer "use another method" besides), or nil.
func (p *page) form() *form {
	var first, asking *form
	for n := range p.root.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" {
			continue
		}
		f := readForm(n)
		if first == nil {
			first = f
		}
		if asking == nil && f.asks() {
			asking = f
		}
	}
	if asking != nil {
		return asking
	}
	return first
}

func readForm(n *html.Node) *form {
	f := &form{action: attr(n, "action"), method: attr(n, "method")}
	for d := range n.Descendants() {
		if d.Type != html.ElementNode || hasAttr(d, "disabled") {
			continue
		}
		in := input{
			name: attr(d, "name"), kind: strings.ToLower(attr(d, "type")), value: attr(d, "value"),
			checked: hasAttr(d, "checked"), required: hasAttr(d, "required"), hidden: hasAttr(d, "hidden"),
		}
		switch {
		case d.Data == "button" && (in.kind == "" || in.kind == "submit"), d.Data == "input" && in.kind == "submit":
			f.buttons = append(f.buttons, in)
		case d.Data == "input" && in.kind != "button" && in.kind != "reset" && in.kind != "image":
			if in.name != "" {
				f.inputs = append(f.inputs, in)
			}
		}
	}
	return f
}

func (f *form) asks() bool {
	for _, in := range f.inputs {
		switch in.kind {
		case "password", "email", "text", "", "tel", "number":
			return true
		}
	}
	return false
}

// button picks the button that goes on, never one that declines.
func (f *form) button() (input, bool) {
	for _, wanted := range []string{"default", "accept", "allow", "yes", "continue"} {
		for _, b := range f.buttons {
			if strings.EqualFold(b.value, wanted) {
				return b, true
			}
		}
	}
	if len(f.buttons) > 0 {
		return f.buttons[0], true
	}
	return input{}, false
}

// text is what stands on a part of the page.
func text(n *html.Node) string {
	var words []string
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent != nil && d.Parent.Data != "script" && d.Parent.Data != "style" {
			words = append(words, strings.Fields(d.Data)...)
		}
	}
	return strings.Join(words, " ")
}

// alert is the page's message about what went wrong, or "".
func (p *page) alert() string {
	for n := range p.root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		marks := " " + attr(n, "class") + " "
		if attr(n, "role") == "alert" || strings.Contains(marks, " error ") || strings.Contains(marks, " alert ") {
			if words := text(n); words != "" {
				return words
			}
		}
	}
	return ""
}

func (p *page) failure() error {
	words := p.alert()
	if words == "" {
		words = text(p.root)
	}
	return &PageError{URL: clean(p.url), Status: p.status, Text: shorten(words)}
}

// totpSecret is the base32 seed that an enrolment page shows: in the key URI
// behind its QR code, or as text for those who cannot scan it. "" if there is
// none.
func (p *page) totpSecret() string {
	shown := ""
	for n := range p.root.Descendants() {
		for _, a := range n.Attr {
			if secret := keySecret(a.Val); secret != "" {
				return secret
			}
		}
		switch {
		case n.Type == html.TextNode:
			if secret := keySecret(n.Data); secret != "" {
				return secret
			}
		case n.Type == html.ElementNode && n.Data != "input" && attr(n, "id") == "secret":
			shown = strings.ReplaceAll(text(n), " ", "")
		}
	}
	return shown
}

// keySecret reads the seed out of a key URI within a text.
func keySecret(words string) string {
	i := strings.Index(words, "otpauth://totp/")
	if i < 0 {
		return ""
	}
	key, err := otp.NewKeyFromURL(strings.Fields(words[i:])[0])
	if err != nil {
		return ""
	}
	return key.Secret()
}

// recoveryCode is the code that a page shows once, or "".
func (p *page) recoveryCode() string {
	for n := range p.root.Descendants() {
		if n.Type != html.ElementNode || n.Data == "input" || n.Data == "form" {
			continue
		}
		if attr(n, "id") != "recovery-code" && !strings.Contains(" "+attr(n, "class")+" ", " recovery-code ") && !hasAttr(n, "data-recovery-code") {
			continue
		}
		if words := text(n); words != "" && !strings.Contains(words, " ") {
			return words
		}
	}
	return ""
}

func shorten(words string) string {
	words = comment(words)
	if len(words) > 300 {
		words = strings.ToValidUTF8(words[:300], "") + "…"
	}
	return words
}
