package grafana

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/tenonhq/tenon/internal/secret"
)

// Person is who sits in front of a Browser, and what they know. What a page
// asks for and the person does not know is an error.
type Person struct {
	// Email is what they enter as user name.
	Email string
	// Password is what they log in with, and what they choose when a page asks
	// for a new one.
	Password secret.Value
	// TOTPSecret is the base32 seed of their authenticator app. Empty if they
	// have none yet; enrolling sets it.
	TOTPSecret secret.Value
	// RecoveryCode is what a page gave them when they enrolled.
	RecoveryCode secret.Value

	lastTOTP int64 // the last time step whose code was used
}

// BrowserConfig configures a Browser.
type BrowserConfig struct {
	// HTTP sends the requests; its Transport trusts the tenant's certificate.
	// Defaults to a client with a timeout of 15 seconds. Its cookie jar and its
	// treatment of redirects are replaced.
	HTTP *http.Client
	// Origin is the tenant: "https://acme.eu.auth0.com". Passwords and codes are
	// typed into pages of this origin alone.
	Origin string
	// Person fills in the forms.
	Person *Person
	// Now is the clock of the authenticator app. Defaults to time.Now.
	Now func() time.Time
}

// Browser walks through a tenant's pages as a person's browser does: it keeps
// cookies, follows redirects and submits forms. It is for one person and one
// goroutine.
type Browser struct {
	client *http.Client
	origin string
	person *Person
	now    func() time.Time
	steps  []string
}

// NewBrowser returns a browser without cookies.
func NewBrowser(cfg BrowserConfig) (*Browser, error) {
	origin, err := url.Parse(cfg.Origin)
	if err != nil || origin.Host == "" || (origin.Scheme != "https" && !loopback.MatchString(origin.Hostname())) {
		return nil, fmt.Errorf("origin %q is not an https URL", cfg.Origin)
	}
	if cfg.Person == nil {
		return nil, errors.New("a browser needs a person")
	}
	jar, err := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	if err != nil {
		return nil, err
	}
	client := http.Client{Timeout: 15 * time.Second}
	if cfg.HTTP != nil {
		client = *cfg.HTTP
	}
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b := &Browser{client: &client, origin: originOf(origin), person: cfg.Person, now: cfg.Now}
	if b.now == nil {
		b.now = time.Now
	}
	return b, nil
}

// Steps lists what happened so far, in words and without secrets.
func (b *Browser) Steps() []string { return append([]string(nil), b.steps...) }

// The limits of one visit: more of either means going in circles.
const (
	maxRedirects = 20
	maxForms     = 12
	maxPage      = 1 << 20
)

// PageError is a page that the person cannot get past.
type PageError struct {
	// URL without its query, which may hold a ticket.
	URL    string
	Status int
	// Text is the page's own words, shortened.
	Text string
}

// Error implements error.
func (e *PageError) Error() string {
	return fmt.Sprintf("the page %s (status %d) says: %s", e.URL, e.Status, e.Text)
}

// Visit opens an address, and fills in and submits what it leads to, until the
// tenant redirects to an address that begins with until, which it returns
// unvisited. With until "" it ends at the first page without a form, and returns
// that page's address.
func (b *Browser) Visit(ctx context.Context, address, until string) (*url.URL, error) {
	target, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the address is not a URL") // it may hold a ticket
	}
	page, end, err := b.get(ctx, target, until)
	if err != nil || end != nil {
		return end, err
	}
	last := ""
	for range maxForms {
		form := page.form()
		if form == nil {
			if until == "" && page.status < 400 {
				return page.url, nil
			}
			return nil, page.failure()
		}
		if page.status >= 500 {
			return nil, page.failure()
		}
		did, values, err := b.fill(ctx, page, form)
		if err != nil {
			return nil, err
		}
		// To be asked the same again is how a page says "wrong". Trying more would
		// only bring the account nearer to being blocked.
		if did == last && did != stepContinue {
			return nil, page.failure()
		}
		last = did
		b.steps = append(b.steps, did)
		page, end, err = b.submit(ctx, page, form, values, until)
		if err != nil || end != nil {
			return end, err
		}
	}
	return nil, fmt.Errorf("the tenant still asks after %d forms", maxForms)
}

func (b *Browser) get(ctx context.Context, target *url.URL, until string) (*page, *url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, nil, errors.New("the address cannot be requested")
	}
	return b.follow(req, until)
}

func (b *Browser) submit(ctx context.Context, p *page, form *form, values url.Values, until string) (*page, *url.URL, error) {
	target, err := p.url.Parse(form.action)
	if err != nil {
		return nil, nil, fmt.Errorf("the form of %s has no usable action", clean(p.url))
	}
	// A page that posts elsewhere would collect the person's password. The
	// return to the application by response_mode=form_post carries none.
	if originOf(target) != b.origin {
		if until != "" && strings.HasPrefix(target.String(), until) {
			target.RawQuery = values.Encode()
			return nil, target, nil
		}
		return nil, nil, fmt.Errorf("the form of %s posts to another origin, %s", clean(p.url), originOf(target))
	}
	var req *http.Request
	if strings.EqualFold(form.method, http.MethodPost) {
		req, err = http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(values.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Origin", originOf(p.url))
			req.Header.Set("Referer", p.url.String())
		}
	} else {
		target.RawQuery = values.Encode()
		req, err = http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("the form of %s cannot be submitted", clean(p.url))
	}
	return b.follow(req, until)
}

// follow sends a request and follows redirects, until one leads to until or a
// page is there.
func (b *Browser) follow(req *http.Request, until string) (*page, *url.URL, error) {
	req.Header.Set("Accept", "text/html,application/xhtml+xml")
	for range maxRedirects {
		resp, err := b.client.Do(req)
		if err != nil {
			// A *url.Error prints the address, and with it tickets and codes.
			var wrapped *url.Error
			if errors.As(err, &wrapped) {
				err = wrapped.Err
			}
			return nil, nil, fmt.Errorf("open %s: %w", clean(req.URL), err)
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
		_ = resp.Body.Close()
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", clean(req.URL), err)
		}
		location := resp.Header.Get("Location")
		if resp.StatusCode/100 != 3 || location == "" {
			p, err := parsePage(req.URL, resp.StatusCode, resp.Header.Get("Content-Type"), body)
			return p, nil, err
		}
		next, err := req.URL.Parse(location)
		if err != nil {
			return nil, nil, fmt.Errorf("%s redirects to something that is not a URL", clean(req.URL))
		}
		if until != "" && strings.HasPrefix(next.String(), until) {
			return nil, next, nil
		}
		// 307 and 308 would carry the submitted password along.
		keeps := resp.StatusCode == http.StatusTemporaryRedirect || resp.StatusCode == http.StatusPermanentRedirect
		if keeps && req.Method != http.MethodGet {
			return nil, nil, fmt.Errorf("%s redirects a submitted form", clean(req.URL))
		}
		from := req.URL
		req, err = http.NewRequestWithContext(req.Context(), http.MethodGet, next.String(), nil)
		if err != nil {
			return nil, nil, fmt.Errorf("%s redirects to an address that cannot be requested", clean(from))
		}
		req.Header.Set("Accept", "text/html,application/xhtml+xml")
	}
	return nil, nil, fmt.Errorf("more than %d redirects", maxRedirects)
}

func originOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// clean is an address without its query and fragment, which may hold secrets.
func clean(u *url.URL) string { return originOf(u) + u.Path }
