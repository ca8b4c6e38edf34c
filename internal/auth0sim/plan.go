package auth0sim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// rate is a token bucket: burst tokens, refilled at count per period.
type rate struct {
	burst  int
	count  int
	period time.Duration
}

func perSecond(burst, count int) rate { return rate{burst, count, time.Second} }
func perMinute(burst, count int) rate { return rate{burst, count, time.Minute} }
func perDay(count int) rate           { return rate{count, count, 24 * time.Hour} }

// limit gives the calls that it matches a bucket of their own.
type limit struct {
	name    string
	methods string // "" for all, else a list
	paths   []string
	rate    rate
}

// plan is what a subscription allows. The figures are Auth0's published ones.
type plan struct {
	name string
	// management is the bucket of the whole Management API.
	management rate
	// shared: calls with a limit of their own count against management too;
	// otherwise management is the bucket of "all other endpoints".
	shared bool
	limits []limit
	// authentication is the bucket of everything outside the Management API.
	authentication rate
	authLimits     []limit
	entities       map[string]int // by state family
	// pull is the number of concurrent connections to GET /events.
	pull int
	// social is the number of social connections; 0 means no limit.
	social int
	// botDetection and customDomains say what the plan includes.
	botDetection, customDomains bool
}

var always = []limit{
	{"custom-domain-verify", "POST", []string{"/custom-domains/{}/verify"}, perMinute(5, 5)},
	{"signing-rotate", "POST", []string{"/keys/signing/rotate"}, perDay(5)},
}

var templatesSmall = []limit{
	{"email-templates-write", "POST PUT PATCH", []string{"/email-templates", "/email-templates/{}"}, perMinute(5, 25)},
	{"email-templates-read", "GET", []string{"/email-templates/{}"}, perMinute(10, 50)},
	{"email-provider", "", []string{"/emails/provider"}, perMinute(5, 25)},
}

var selfServiceLimits = []limit{
	{"users-read", "GET", []string{"/users", "/users/{}", "/users-by-email"}, perMinute(40, 500)},
	{"users-write", "POST PATCH", []string{"/users", "/users/{}"}, perMinute(20, 200)},
	{"users-delete", "DELETE", []string{"/users/{}"}, perMinute(20, 200)},
	{"clients-read", "GET", []string{"/clients", "/clients/{}"}, perMinute(5, 100)},
	{"connections-read", "GET", []string{"/connections", "/connections/{}"}, perMinute(5, 50)},
	{"organizations-read", "GET", []string{"/organizations"}, perMinute(5, 50)},
	{"organizations-write", "POST PATCH DELETE", []string{"/organizations", "/organizations/{}"}, perMinute(5, 25)},
	{"organization-read", "GET", []string{"/organizations/{}", "/organizations/name/{}"}, perMinute(20, 200)},
	{"organization-members-read", "GET", []string{"/organizations/{}/members"}, perMinute(40, 500)},
	{"organization-members-write", "POST DELETE", []string{"/organizations/{}/members"}, perMinute(20, 200)},
	{"organization-member-roles", "", []string{"/organizations/{}/members/{}/roles"}, perMinute(20, 200)},
	{"organization-connections-read", "GET", []string{"/organizations/{}/enabled_connections", "/organizations/{}/connections"}, perMinute(5, 50)},
	{"organization-connections-write", "POST PATCH DELETE", []string{"/organizations/{}/enabled_connections", "/organizations/{}/connections", "/organizations/{}/connections/{}"}, perMinute(5, 25)},
	{"logs", "GET", []string{"/logs", "/logs/{}"}, perMinute(10, 100)},
	{"device-credentials", "POST DELETE", []string{"/device-credentials", "/device-credentials/{}"}, perMinute(5, 100)},
	{"prompt-partials", "", []string{"/prompts/{}/partials"}, perMinute(5, 5)},
	{"token-exchange-profiles", "POST PATCH DELETE", []string{"/token-exchange-profiles", "/token-exchange-profiles/{}"}, perMinute(5, 100)},
}

var enterpriseLimits = []limit{
	{"organizations-write", "POST PATCH DELETE", []string{"/organizations", "/organizations/{}"}, perMinute(5, 150)},
	{"organizations-read", "GET", []string{"/organizations"}, perMinute(10, 100)},
	{"organization-members-write", "POST DELETE", []string{"/organizations/{}/members"}, perMinute(20, 200)},
	{"organization-members-read", "GET", []string{"/organizations/{}/members"}, perMinute(40, 500)},
	{"organization-connections-write", "POST PATCH DELETE", []string{"/organizations/{}/enabled_connections", "/organizations/{}/connections", "/organizations/{}/connections/{}"}, perMinute(5, 150)},
	{"organization-client-grants-write", "POST DELETE", []string{"/organizations/{}/client-grants", "/organizations/{}/client-grants/{}"}, perMinute(5, 150)},
	{"organization-client-grants-read", "GET", []string{"/organizations/{}/client-grants"}, perMinute(10, 100)},
	{"prompt-partials", "", []string{"/prompts/{}/partials"}, perMinute(5, 5)},
	{"email-templates-write", "POST PUT PATCH", []string{"/email-templates", "/email-templates/{}"}, perMinute(10, 100)},
}

var userinfoLimit = limit{"userinfo", "", []string{"/userinfo"}, perMinute(10, 5)}

// plans are the subscriptions that --plan names.
func plans() map[string]*plan {
	join := func(lists ...[]limit) (out []limit) {
		for _, l := range lists {
			out = append(out, l...)
		}
		return out
	}
	common := map[string]int{"roles": 1000, "actions": 100, "flows": 500, "forms": 500}
	with := func(more map[string]int) map[string]int {
		out := map[string]int{}
		for _, m := range []map[string]int{common, more} {
			for k, v := range m {
				out[k] = v
			}
		}
		return out
	}
	return map[string]*plan{
		"free": {
			name: "free", management: perSecond(2, 2), shared: true, limits: join(always, templatesSmall),
			authentication: perMinute(300, 300), pull: 1, social: 2,
			authLimits: []limit{{"token", "", []string{"/oauth/token"}, perSecond(30, 30)}, {"jwks", "", []string{"/.well-known/jwks.json"}, perSecond(20, 20)}, userinfoLimit},
			entities:   with(map[string]int{"clients": 10, "resource-servers": 10, "client-grants": 100}),
		},
		"essentials": {
			name: "essentials", management: perMinute(10, 150), limits: join(always, selfServiceLimits, templatesSmall),
			authentication: perSecond(25, 25), authLimits: []limit{userinfoLimit}, pull: 4, customDomains: true,
			entities: with(map[string]int{"clients": 100, "resource-servers": 100, "connections": 100, "client-grants": 10000, "organizations": 100000}),
		},
		"enterprise": {
			name: "enterprise", management: perSecond(50, 16), shared: true, limits: join(always, enterpriseLimits),
			authentication: perSecond(100, 100), authLimits: []limit{userinfoLimit}, pull: 8, customDomains: true, botDetection: true,
			entities: with(map[string]int{"clients": 100000, "resource-servers": 100000, "client-grants": 100000, "organizations": 100000}),
		},
		"private":    privateCloud("private", 1),
		"private-5x": privateCloud("private-5x", 5),
		// What no subscription gives: as fast as the machine.
		"unlimited": noLimits("unlimited"),
	}
}

// privateLimits are the endpoint limits of the first private cloud tier; the
// larger tiers have multiples of them.
func privateLimits(factor int) []limit {
	var out []limit
	for _, l := range enterpriseLimits {
		if has([]string{"organizations-write", "organization-connections-write", "organization-client-grants-write"}, l.name) {
			l.rate = perMinute(5*factor, 150*factor)
		}
		out = append(out, l)
	}
	return append(out, always...)
}

// privateCloud is the tier for 100 authentications a second, or a multiple.
func privateCloud(name string, factor int) *plan {
	p := noLimits(name)
	p.management, p.authentication = perSecond(50*factor, 50*factor), perSecond(100*factor, 100*factor)
	p.limits, p.authLimits, p.pull = privateLimits(factor), []limit{userinfoLimit}, 8
	return p
}

func noLimits(name string) *plan {
	bottomless := rate{burst: math.MaxInt32, count: math.MaxInt32, period: time.Second}
	return &plan{
		name: name, management: bottomless, shared: true, authentication: bottomless, pull: 64, customDomains: true, botDetection: true,
		entities: map[string]int{"roles": 1000, "actions": 100, "flows": 500, "forms": 500,
			"clients": 100000, "resource-servers": 100000, "client-grants": 100000, "organizations": 2000000},
	}
}

// planNames lists the plans for messages.
func planNames() string {
	names := make([]string, 0, 8)
	for name := range plans() {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (p *plan) unlimited() bool { return p.management.burst == math.MaxInt32 }

// entity refuses a creation beyond the plan's limit for the family.
func (p *plan) entity(c *call, store string) error {
	limit, limited := p.entities[store]
	if !limited {
		return nil
	}
	n, err := c.Count(store, state.ListOptions{})
	if err != nil {
		return err
	}
	// What every tenant is born with does not count.
	if store == "clients" || store == "resource-servers" || store == "client-grants" {
		n -= builtIn[store]
	}
	if n >= limit {
		return entityLimit
	}
	return nil
}

// What one object may hold, on every plan.
const (
	maxRolesOfUser        = 50 // and of a member or group in an organization
	maxPermissions        = 1000
	maxOrganizationGrants = 100
	maxOrganizationLogins = 10
	maxDiscoveryDomains   = 100
)

// atMost refuses with full if more than limit documents belong together. It is
// called after they were added: refused, the call leaves none of them.
func (c *call) atMost(limit int, family, index, value string, full *apiError) error {
	n, err := c.Count(family, state.ListOptions{Index: index, Value: value})
	if err == nil && n > limit {
		err = full
	}
	return err
}

var userRolesFull = refuse(http.StatusBadRequest, "", "No more roles can be assigned to this user.")

var entityLimit = refuse(http.StatusForbidden, "too_many_entities", "You reached the limit of entities of this type for this tenant.")

// builtIn counts the documents that bootstrap makes.
var builtIn = map[string]int{"clients": 2, "resource-servers": 1, "client-grants": 1}

// maxBuckets bounds the buckets that a tenant keeps.
const maxBuckets = 10_000

// limiter holds a tenant's buckets.
type limiter struct {
	plan *plan
	now  func() time.Time

	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	rate   rate
	tokens float64
	at     time.Time
}

func newLimiter(p *plan, now func() time.Time) *limiter {
	return &limiter{plan: p, now: now, buckets: map[string]*bucket{}}
}

// verdict is what the headers of an answer say about its bucket.
type verdict struct {
	allowed          bool
	name             string
	limit, remaining int
	reset            time.Time
	global           bool
}

func (v verdict) write(h http.Header) {
	if v.limit == 0 {
		return
	}
	h.Set("X-RateLimit-Limit", strconv.Itoa(v.limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(v.remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(v.reset.Unix(), 10))
}

// take spends a token for a Management API call.
func (l *limiter) take(method, pattern string) verdict {
	return l.spend(l.plan.management, "management", l.plan.limits, l.plan.shared, method, pattern, "")
}

// subjectOf tells the user of a call to /userinfo, whose calls are counted for
// each user apart. The token is not verified: who forges one only gets a bucket.
func subjectOf(r *http.Request) string {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if r.URL.Path != "/userinfo" || !bearer {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	parts := strings.Split(token, ".")
	if raw, err := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)]); err == nil && json.Unmarshal(raw, &claims) == nil && claims.Subject != "" {
		return claims.Subject
	}
	return token
}

// takeAuth spends a token for a call of the Authentication API. key separates
// buckets that are counted for each user.
func (l *limiter) takeAuth(method, path, key string) verdict {
	return l.spend(l.plan.authentication, "authentication", l.plan.authLimits, true, method, path, key)
}

func (l *limiter) spend(global rate, name string, limits []limit, shared bool, method, path, key string) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := matching(limits, method, path)
	if global.burst == math.MaxInt32 {
		// Headers that a client can pace itself by, and a bucket without bottom.
		return verdict{allowed: true, limit: 1000, remaining: 999, reset: l.now().Add(time.Second)}
	}
	var v verdict
	if own == nil || shared {
		v = l.bucket(name, global).spend(l.now())
		v.global = true
		if !v.allowed || own == nil {
			return v
		}
	}
	v = l.bucket(own.name+key, own.rate).spend(l.now())
	v.name = own.name
	return v
}

func matching(limits []limit, method, path string) *limit {
	for i, l := range limits {
		if l.methods == "" || has(strings.Fields(l.methods), method) {
			if has(l.paths, path) {
				return &limits[i]
			}
		}
	}
	return nil
}

func (l *limiter) bucket(name string, r rate) *bucket {
	b, known := l.buckets[name]
	if !known {
		if len(l.buckets) >= maxBuckets {
			clear(l.buckets) // of thousands of users: a moment's generosity instead of memory without end
		}
		b = &bucket{rate: r, tokens: float64(r.burst), at: l.now()}
		l.buckets[name] = b
	}
	return b
}

func (b *bucket) spend(now time.Time) verdict {
	step := time.Millisecond
	if b.rate.period >= time.Minute {
		step = time.Second
	}
	if elapsed := now.Sub(b.at).Truncate(step); elapsed > 0 {
		b.tokens = math.Min(float64(b.rate.burst), b.tokens+float64(b.rate.count)*float64(elapsed)/float64(b.rate.period))
		b.at = b.at.Add(elapsed)
	}
	v := verdict{limit: b.rate.burst}
	missing := float64(b.rate.burst) - b.tokens + 1
	if b.tokens >= 1 {
		b.tokens--
		v.allowed = true
	} else {
		missing = 1 - b.tokens
	}
	v.remaining = int(b.tokens)
	wait := time.Duration(missing / float64(b.rate.count) * float64(b.rate.period))
	v.reset = now.Add(wait + time.Second - 1).Truncate(time.Second)
	return v
}

// refusal is the 429 of the Management API.
func (v verdict) refusal() *apiError {
	message := "Global limit has been reached"
	if !v.global {
		message = fmt.Sprintf("Rate limit of the endpoint has been reached: %s", v.name)
	}
	return refuse(http.StatusTooManyRequests, "too_many_requests", "%s", message)
}

// reset fills every bucket.
func (l *limiter) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.buckets)
}
