package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tenonhq/tenon/internal/config"
)

// bucket is the rate limit of a plan's Management API, as Auth0 publishes it:
// so many calls at once, and so many a second after that.
type bucket struct {
	burst     int
	perSecond float64
}

var buckets = map[string]bucket{"enterprise": {50, 16}, "private": {50, 50}}

// bound is the least time that n calls can take, the last of them with its
// answer: nobody who starts with a full bucket can be faster.
func (k bucket) bound(n int, latency time.Duration) time.Duration {
	return latency + time.Duration(max(0, float64(n-k.burst)/k.perSecond)*float64(time.Second))
}

// share is the part that tenon leaves to others unless it is told otherwise.
const share = 0.2

// less is what is left of the bucket for those who never take the last of it.
func (k bucket) less(share float64) bucket {
	return bucket{k.burst - int(share*float64(k.burst)), k.perSecond}
}

// fill is how long an empty bucket takes to be full again.
func (k bucket) fill() time.Duration {
	return time.Duration(float64(k.burst) / k.perSecond * float64(time.Second))
}

// tenant is a simulated Auth0 tenant in a process of its own.
type tenant struct {
	*process
	bucket bucket
	auth0  config.Auth0Endpoints
	secret string
	web    *http.Client
	token  string
}

// productionAgent is the User-Agent of calls that stand for production's.
const productionAgent = "production"

func (b *bench) startTenant(ctx context.Context, dir, plan string) (*tenant, error) {
	k, ok := buckets[plan]
	if !ok {
		return nil, fmt.Errorf("plan %q: only enterprise and private are measured", plan)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	p, err := startTenon(ctx, b.tenon, dir, nil, "auth0-sim", "--memory", "--listen", "127.0.0.1:0", "--plan", plan, "--latency", b.latency.String())
	if err != nil {
		return nil, err
	}
	t := &tenant{process: p, bucket: k}
	if err := t.connect(ctx); err != nil {
		return nil, errors.Join(err, t.stop())
	}
	return t, nil
}

func (t *tenant) connect(ctx context.Context) error {
	e, err := config.ReadEndpoints(t.dataDir)
	if err != nil {
		return err
	}
	t.auth0 = *e.Auth0
	secret, err := os.ReadFile(t.auth0.ClientSecretFile)
	if err != nil {
		return err
	}
	t.secret = strings.TrimSpace(string(secret))
	pem, err := os.ReadFile(t.auth0.CA)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	t.web = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, MaxIdleConnsPerHost: 64,
	}}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {"https://" + t.auth0.Domain + "/api/v2/"}, "client_id": {t.auth0.ClientID}, "client_secret": {t.secret}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+t.auth0.Domain+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if _, err := t.do(req, &answer); err != nil {
		return err
	}
	t.token = answer.AccessToken
	return nil
}

// env is how every tool finds the tenant.
func (t *tenant) env() []string {
	return []string{"AUTH0_DOMAIN=" + t.auth0.Domain, "AUTH0_CLIENT_ID=" + t.auth0.ClientID, "AUTH0_CLIENT_SECRET=" + t.secret}
}

// do reads a JSON answer and returns its status. Only an answer that is none is
// an error, and a refusal that no caller waits for.
func (t *tenant) do(req *http.Request, into any) (int, error) {
	res, err := t.web.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	if into == nil {
		return res.StatusCode, nil
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		return res.StatusCode, fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, res.Status, text)
	}
	return res.StatusCode, json.Unmarshal(text, into)
}

// manage calls the Management API.
func (t *tenant) manage(ctx context.Context, method, path, body string, into any) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+t.auth0.Domain+"/api/v2/"+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+t.token)
	req.Header.Set("User-Agent", productionAgent)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return t.do(req, into)
}

func (t *tenant) control(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, t.auth0.Control+path, nil)
	if err != nil {
		return err
	}
	_, err = t.do(req, into)
	return err
}

// counts are how many objects the tenant holds, by family.
func (t *tenant) counts(ctx context.Context) (map[string]int, error) {
	var held struct{ Families map[string]int }
	err := t.control(ctx, http.MethodGet, "objects", &held)
	return held.Families, err
}

// usage is what a tool took from the tenant.
type usage struct {
	calls   int // of the Management API, refused ones left out
	refused int // with 429
	// span is from when the first call of any kind was sent to when the last was
	// answered. The time that a tool takes to start is not the tenant's.
	span time.Duration
}

// watch does something and says what it took, apart from production's calls.
func (t *tenant) watch(ctx context.Context, do func(context.Context) error) (usage, error) {
	var (
		u           usage
		first, last time.Time
		seen        int
	)
	read := func() error {
		var log struct {
			Requests []struct {
				Number    int
				Time      time.Time
				Path      string
				Status    int
				Millis    float64 `json:"duration_ms"`
				UserAgent string  `json:"user_agent"`
			}
		}
		if err := t.control(ctx, http.MethodGet, "requests", &log); err != nil {
			return err
		}
		for _, r := range log.Requests {
			if r.Number <= seen {
				continue
			}
			if r.Number > seen+1 {
				return fmt.Errorf("%d requests were forgotten before they were counted", r.Number-seen-1)
			}
			seen = r.Number
			if r.UserAgent == productionAgent {
				continue
			}
			if first.IsZero() || r.Time.Before(first) {
				first = r.Time
			}
			if answered := r.Time.Add(time.Duration(r.Millis * float64(time.Millisecond))); answered.After(last) {
				last = answered
			}
			switch {
			case !strings.HasPrefix(r.Path, "/api/v2/"):
			case r.Status == http.StatusTooManyRequests:
				u.refused++
			default:
				u.calls++
			}
		}
		return nil
	}
	if err := t.control(ctx, http.MethodDelete, "requests", nil); err != nil {
		return u, err
	}
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	tick := time.NewTicker(5 * time.Second) // the simulator keeps the latest 2,000
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := read(); err != nil {
				return u, errors.Join(err, <-done)
			}
		case err := <-done:
			err = errors.Join(err, read())
			u.span = last.Sub(first)
			return u, err
		}
	}
}

// production calls the tenant at a steady rate, whatever the answers are, until
// the returned function is called, which says how often each status came.
func (t *tenant) production(ctx context.Context, perSecond float64) (stop func() map[int]int) {
	var (
		mu       sync.Mutex
		calls    sync.WaitGroup
		statuses = map[int]int{}
	)
	call := func() {
		// No answer counts as status 0.
		status, _ := t.manage(ctx, http.MethodGet, "clients/"+t.auth0.ClientID, "", nil)
		mu.Lock()
		defer mu.Unlock()
		statuses[status]++
	}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				calls.Go(call)
			}
		}
	}()
	return func() map[int]int {
		close(over)
		<-ended
		calls.Wait()
		return statuses
	}
}

// pause lets the tenant's bucket fill.
func (t *tenant) pause(ctx context.Context) error {
	select {
	case <-time.After(t.bucket.fill() + time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func numbers(list string) ([]int, error) {
	var out []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}
