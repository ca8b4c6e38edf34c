package workflows_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/workflows"
)

// bulk is a simulated tenant with an empty database, Bulk, a connection that is
// none, Social, and a role, member.
type bulk struct {
	*simulated
	cfg   auth0.Config
	clock *skippingClock
	// calls are the requests so far: "POST /api/v2/jobs/users-imports".
	calls []string
}

// hash stands for a password hash. No error, progress or list of failures may
// hold it.
const hash = "$2b$10$3OfIBaiPbbvCanaryuMp1eS8Kv9Dfh9oGdpyE0ULLb2pd4dIUxEuB"

func newBulk(t *testing.T) *bulk {
	t.Helper()
	b := &bulk{clock: &skippingClock{}}
	b.simulated = simulate(t, func(c *auth0.Config) {
		c.Now, c.Sleep = b.clock.now, b.clock.sleep
		b.cfg = *c
	})
	b.act.ImportDir = t.TempDir()
	b.post([]string{"connections"}, map[string]any{"name": "Bulk", "strategy": "auth0"})
	b.post([]string{"connections"}, map[string]any{"name": "Social", "strategy": "google-oauth2"})
	b.post([]string{"roles"}, map[string]any{"name": "member"})
	b.control(http.MethodPost, "snapshots/new", nil)
	b.fail(nil)
	return b
}

// again is the tenant as newBulk made it, and a new worker for it. It takes less
// time than another tenant.
func (b *bulk) again(t *testing.T) *bulk {
	t.Helper()
	b.control(http.MethodDelete, "faults", nil)
	b.control(http.MethodPost, "restore/new", nil)
	act := *b.act
	n := &bulk{simulated: &simulated{t: t, domain: b.domain, web: b.web, act: &act}, cfg: b.cfg, clock: b.clock}
	n.restart()
	act.ImportDir = t.TempDir()
	return n
}

// restart replaces the worker by one that has no token yet.
func (b *bulk) restart() {
	b.t.Helper()
	b.cfg.Wrap = func(_ string, next http.RoundTripper) http.RoundTripper { return faulty{b.simulated, next} }
	var err error
	b.pool, err = auth0.New(b.cfg)
	require.NoError(b.t, err)
	b.act.Tenants = workflows.FromPool(b.pool)
}

// control asks the simulator rather than the tenant.
func (b *bulk) control(method, path string, body any) {
	b.t.Helper()
	data, err := json.Marshal(body)
	require.NoError(b.t, err)
	req, err := http.NewRequestWithContext(b.t.Context(), method, "https://"+b.domain+"/_sim/"+path, bytes.NewReader(data))
	require.NoError(b.t, err)
	res, err := b.web.Do(req)
	require.NoError(b.t, err)
	require.NoError(b.t, res.Body.Close())
	require.Equal(b.t, http.StatusOK, res.StatusCode)
}

// skippingClock is ahead of the real one by all that was waited for.
type skippingClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *skippingClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *skippingClock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
	return ctx.Err()
}

// anHourLater lets an hour pass before an activity is tried again, as Temporal
// does when the tenant asks for it.
type anHourLater struct {
	interceptor.WorkerInterceptorBase
	clock *skippingClock
}

func (l *anHourLater) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	i := &anHourLaterInbound{clock: l.clock}
	i.Next = next
	return i
}

type anHourLaterInbound struct {
	interceptor.ActivityInboundInterceptorBase
	clock *skippingClock
}

func (i *anHourLaterInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	if activity.GetInfo(ctx).Attempt > 1 {
		if err := i.clock.sleep(ctx, time.Hour); err != nil {
			return nil, err
		}
	}
	return i.Next.ExecuteActivity(ctx, in)
}

// fail lets f answer in the tenant's place, and notes all requests from now on.
func (b *bulk) fail(f func(*http.Request) *http.Response) {
	b.asking.Lock()
	defer b.asking.Unlock()
	b.calls = nil
	b.fault = func(r *http.Request) *http.Response {
		b.calls = append(b.calls, r.Method+" "+r.URL.Path)
		if f == nil {
			return nil
		}
		return f(r)
	}
}

// sent counts the requests whose method and path have the prefix.
func (b *bulk) sent(prefix string) int {
	b.asking.Lock()
	defer b.asking.Unlock()
	n := 0
	for _, c := range b.calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

// tenantSays passes a request on and returns the tenant's answer and its body.
func (b *bulk) tenantSays(r *http.Request) (*http.Response, []byte) {
	b.t.Helper()
	res, err := b.web.Transport.RoundTrip(r.Clone(r.Context()))
	require.NoError(b.t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(b.t, err)
	require.NoError(b.t, res.Body.Close())
	return res, body
}

// withBody is a response of the tenant with another body.
func withBody(res *http.Response, body []byte) *http.Response {
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	res.Header.Del("Content-Length")
	return res
}

func (b *bulk) do(method string, path []string, body any) {
	b.t.Helper()
	client, err := b.pool.Tenant(b.t.Context(), b.domain)
	require.NoError(b.t, err)
	require.NoError(b.t, client.Do(b.t.Context(), auth0.Request{Operation: "prepare", Method: method, Path: path, Body: body}, nil))
}

func (b *bulk) post(path []string, body any) { b.t.Helper(); b.do(http.MethodPost, path, body) }

// idOf finds an object by its name.
func (b *bulk) idOf(family, name string) string {
	b.t.Helper()
	var list []map[string]any
	b.get([]string{family}, nil, &list)
	for _, o := range list {
		if o["name"] == name {
			return o["id"].(string)
		}
	}
	b.t.Fatalf("no %s in %s", name, family)
	return ""
}

// users counts those of the tenant.
func (b *bulk) users() int {
	b.t.Helper()
	var list struct{ Total int }
	b.get([]string{"users"}, url.Values{"include_totals": {"true"}, "per_page": {"1"}}, &list)
	return list.Total
}

// user reads the one user of an address.
func (b *bulk) user(email string) map[string]any {
	b.t.Helper()
	var list []map[string]any
	b.get([]string{"users-by-email"}, url.Values{"email": {email}}, &list)
	require.Len(b.t, list, 1, email)
	return list[0]
}

// stage puts a file where the worker reads it, and returns its name.
func (b *bulk) stage(format, text string) string {
	b.t.Helper()
	sum := sha256.Sum256([]byte(text))
	name := hex.EncodeToString(sum[:]) + "." + format
	require.NoError(b.t, os.WriteFile(filepath.Join(b.act.ImportDir, name), []byte(text), 0o600))
	return name
}

type failedRow struct {
	Row                 int
	Email, Code, Reason string
}

// outcome is what a run leaves: a result, or an error.
type outcome struct {
	workflows.UserImportResult
	err    error
	failed []failedRow
}

// imports runs an import, and holds every outcome to what all must keep.
func (b *bulk) imports(in workflows.UserImportInput, interceptors ...interceptor.WorkerInterceptor) *outcome {
	b.t.Helper()
	if in.Tenant == "" {
		in.Tenant = b.domain
	}
	if in.Connection == "" {
		in.Connection = "Bulk"
	}
	env := b.run(workflows.UserImportWorkflow, in, interceptors...)
	out := &outcome{err: env.GetWorkflowError()}
	value, err := env.QueryWorkflow(workflows.QueryProgress)
	require.NoError(b.t, err)
	var progress workflows.Progress
	require.NoError(b.t, value.Get(&progress))
	require.NotContains(b.t, fmt.Sprintf("%+v", progress), hash)
	if out.err != nil {
		require.NotContains(b.t, fmt.Sprintf("%+v", out.err), hash)
		var app *temporal.ApplicationError
		require.ErrorAs(b.t, out.err, &app)
		require.True(b.t, app.NonRetryable())
		require.Equal(b.t, "failed", progress.State)
		return out
	}
	require.NoError(b.t, env.GetWorkflowResult(&out.UserImportResult))
	require.Equal(b.t, out.Rows, out.Inserted+out.Updated+out.Failed, "%+v", out)
	codes := 0
	for _, n := range out.Codes {
		codes += n
	}
	require.Equal(b.t, out.Failed, codes, "%+v", out)
	require.Equal(b.t, out.Failed > 0, out.Failures != "")
	if out.Failures == "" {
		return out
	}
	data, err := os.ReadFile(out.Failures)
	require.NoError(b.t, err)
	require.NotContains(b.t, string(data), hash)
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var row failedRow
		require.NoError(b.t, json.Unmarshal(lines.Bytes(), &row))
		require.NotEmpty(b.t, row.Reason, "%+v", row)
		require.NotEmpty(b.t, row.Code, "%+v", row)
		out.failed = append(out.failed, row)
	}
	require.Len(b.t, out.failed, out.Failed)
	slices.SortFunc(out.failed, func(x, y failedRow) int { return x.Row - y.Row })
	for i := 1; i < len(out.failed); i++ {
		require.NotEqual(b.t, out.failed[i-1].Row, out.failed[i].Row, "listed twice")
	}
	return out
}

// bad is what is expected of a failed row.
type bad struct {
	row          int
	code, reason string
}

// Each row is in the database, or listed once with its number, code and reason.
func TestImportAccountsForEachRow(t *testing.T) {
	tenant := newBulk(t)
	errorsAs := func(change func(body string) string) func(*bulk) func(*http.Request) *http.Response {
		return func(b *bulk) func(*http.Request) *http.Response {
			return func(r *http.Request) *http.Response {
				if !strings.HasSuffix(r.URL.Path, "/errors") {
					return nil
				}
				res, body := b.tenantSays(r)
				return withBody(res, []byte(change(string(body))))
			}
		}
	}
	for name, c := range map[string]struct {
		format, text string
		upsert       bool
		before       func(*bulk)
		fault        func(*bulk) func(*http.Request) *http.Response
		rows         int
		updated      int
		bad          []bad
		after        func(*bulk)
	}{
		"byte-order mark and quoted newlines": {
			text: "\ufeffemail,user_metadata.note\r\nada@bulk.example,\"two\nlines, \"\"quoted\"\"\"\r\n\r\nbob@bulk.example,\"\r\n\"\r\n", rows: 2,
			after: func(b *bulk) {
				require.Equal(b.t, map[string]any{"note": "two\nlines, \"quoted\""}, b.user("ada@bulk.example")["user_metadata"])
			},
		},
		"no rows": {text: "email\r\n"},
		"rows with too few and too many columns": {
			text: "email,name\nada@bulk.example,Ada\nbob@bulk.example\ncy@bulk.example,Cy,x\n\ndan@bulk.example,Dan", rows: 4,
			bad: []bad{{2, "INVALID_ROW", "has 1 columns, the header has 2"}, {3, "INVALID_ROW", "has 3 columns"}},
		},
		"cells that make no sense": {
			text: "email,email_verified,app_metadata,custom_password_hash\n,true,,\nada@bulk.example," + hash + ",,\nbob@bulk.example,,{," + "\n" +
				"cy@bulk.example,,,\"{\"\"algorithm\"\":\"\"bcrypt\"\",\"\"hash\"\":{\"\"value\"\":\"\"" + hash + "\"\"\"\ndan@bulk.example,,5,\neve@bulk.example,,,", rows: 6,
			bad: []bad{
				{1, "INVALID_ROW", "has neither email nor username nor phone_number"}, {2, "INVALID_ROW", "email_verified must be true or false"},
				{3, "INVALID_ROW", "app_metadata is not JSON"}, {4, "INVALID_ROW", "custom_password_hash is not JSON"}, {5, "INVALID_TYPE", "Expected type object"},
			},
		},
		"duplicates inside the file": {
			text: "email\nada@bulk.example\nbob@bulk.example\nADA@bulk.example\nada@bulk.example\n", rows: 4,
			bad: []bad{{3, "DUPLICATED_USER", "repeated in the file"}, {4, "DUPLICATED_USER", "repeated in the file"}},
		},
		"one id twice inside the file": {
			text: "user_id,email\nauth0|1,ada@bulk.example\n1,bob@bulk.example\n2,cy@bulk.example\n1,ada@bulk.example\n", rows: 4,
			bad: []bad{{2, "INVALID_ROW", "has the user_id of row 1"}, {4, "INVALID_ROW", "has the user_id of row 1"}},
		},
		"rows that the tenant refuses": {
			text: "email,password_hash\nada-at-bulk.example," + hash + "\nbob@bulk.example," + hash + "\n", rows: 2,
			bad: []bad{{1, "FORMAT", "ada-at-bulk.example"}},
		},
		"users who exist": {
			text:   "email\nada@bulk.example\nbob@bulk.example\n",
			before: func(b *bulk) { b.makeUser("bob@bulk.example") }, rows: 2,
			bad: []bad{{2, "DUPLICATED_USER", "already exist"}},
		},
		"users who exist and are updated": {
			text: "email,name\nada@bulk.example,Ada\nbob@bulk.example,Bob\n", upsert: true,
			before: func(b *bulk) { b.makeUser("bob@bulk.example") }, rows: 2, updated: 1,
			after: func(b *bulk) { require.Equal(b.t, "Bob", b.user("bob@bulk.example")["name"]) },
		},
		"NDJSON of all sorts": {
			format: "ndjson", text: "\ufeff{\"email\":\"ada@bulk.example\"}\r\n[{\"email\":\"x@bulk.example\"}]\nnull\n{\"email\":\"x@bulk.example\"\n" +
				"{\"email\":5,\"username\":\"bob\"}\n{\"email\":\"cy@bulk.example\",\"blocked\":\"yes\"}\n{\"email\":\"dan@bulk.example\",\"password_hash\":[\"" + hash + "\"]}\n" +
				"{\"email\":\"eve@bulk.example\",\"user_id\":7}\n{\"email\":\"fay@bulk.example\",\"colour\":\"red\"}\n{\"email\":\"gus@bulk.example\",\"name\":null}", rows: 10,
			bad: []bad{
				{2, "INVALID_ROW", "not a JSON object"}, {3, "INVALID_ROW", "is null"}, {4, "INVALID_ROW", "not a JSON object"},
				{5, "INVALID_ROW", "email must be a text"}, {6, "INVALID_ROW", "blocked must be true or false"}, {7, "INVALID_ROW", "password_hash must be a text"},
				{8, "INVALID_ROW", "user_id must be a text"}, {9, "INVALID_ROW", `"colour" is not a field of users`},
			},
		},
		"a reason that repeats the hash": {
			text: "email,password_hash\nada-at-bulk.example," + hash + "\n", rows: 1,
			fault: errorsAs(func(body string) string { return strings.ReplaceAll(body, "format email", "pattern "+hash) }),
			bad:   []bad{{1, "FORMAT", "pattern [redacted]"}},
		},
		"a refusal without the user's id": {
			text: "email\nada@bulk.example\nada@bulk.example\nbob-at-bulk.example\n", rows: 3,
			fault: errorsAs(func(body string) string { return strings.ReplaceAll(body, `"user_id"`, `"id"`) }),
			bad:   []bad{{2, "DUPLICATED_USER", "repeated in the file"}, {3, "FORMAT", "format email"}},
		},
		"a refusal without a reason": {
			text: "email\nada-at-bulk.example\n", rows: 1,
			fault: errorsAs(func(body string) string { return strings.ReplaceAll(body, `"errors"`, `"why"`) }),
			bad:   []bad{{1, "UNKNOWN", "the tenant gave no reason"}},
		},
		"more bad rows than a piece holds": {
			text: "email\n" + strings.Repeat("x,y\n", 1500) + "ada@bulk.example\n", rows: 1501, bad: slices.Collect(func(yield func(bad) bool) {
				for i := 1; i <= 1500 && yield(bad{i, "INVALID_ROW", "has 2 columns"}); i++ {
				}
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := tenant.again(t)
			if c.before != nil {
				c.before(b)
			}
			before := b.users()
			if c.fault != nil {
				b.fail(c.fault(b))
			}
			format := c.format
			if format == "" {
				format = "csv"
			}
			out := b.imports(workflows.UserImportInput{File: b.stage(format, c.text), Upsert: c.upsert})
			require.NoError(t, out.err)
			b.fail(nil)
			require.Equal(t, c.rows, out.Rows)
			require.Equal(t, c.updated, out.Updated)
			require.Len(t, out.failed, len(c.bad), "%+v", out.failed)
			codes := map[string]int{}
			for i, want := range c.bad {
				require.Equal(t, want.row, out.failed[i].Row)
				require.Equal(t, want.code, out.failed[i].Code, "%+v", out.failed[i])
				require.Contains(t, out.failed[i].Reason, want.reason)
				codes[want.code]++
			}
			if len(c.bad) > 0 {
				require.Equal(t, codes, out.Codes)
			}
			require.Equal(t, out.Inserted, b.users()-before)
			if c.after != nil {
				c.after(b)
			}
		})
	}
}

func (b *bulk) makeUser(email string) {
	b.t.Helper()
	b.post([]string{"users"}, map[string]any{"connection": "Bulk", "email": email, "password": "Zwölf-B0xkämpfer!jagen"})
}

// What fails an import as a whole is said once, with what to do, and mostly
// before anything is sent.
func TestImportFailsAsAWhole(t *testing.T) {
	tenant := newBulk(t)
	const good = "email,password_hash\nada@bulk.example," + hash + "\n"
	job := func(status int, message string) func(*bulk) func(*http.Request) *http.Response {
		return func(*bulk) func(*http.Request) *http.Response {
			return func(r *http.Request) *http.Response {
				if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/users-imports") {
					return refusal(r, status, message)
				}
				return nil
			}
		}
	}
	for name, c := range map[string]struct {
		format, text string
		in           workflows.UserImportInput
		prepare      func(*bulk, *workflows.UserImportInput)
		fault        func(*bulk) func(*http.Request) *http.Response
		kind         string
		want         []string
		// jobs is how many were asked for.
		jobs int
	}{
		"no file":                      {text: good, in: workflows.UserImportInput{File: strings.Repeat("0", 64) + ".csv"}, kind: workflows.ErrorInvalidInput, want: []string{"is not in the worker's import folder"}},
		"a path":                       {text: good, in: workflows.UserImportInput{File: "../users.csv"}, kind: workflows.ErrorInvalidInput, want: []string{"must be the name of a file"}},
		"no columns":                   {text: "", kind: workflows.ErrorInvalidInput, want: []string{"is empty: the first row must name the columns"}},
		"a column is missing":          {text: "name,password_hash\nAda," + hash + "\n", kind: workflows.ErrorInvalidInput, want: []string{"one of the columns email, username, phone_number is needed"}},
		"a column that users have not": {text: "email,colour\nada@bulk.example,red\n", kind: workflows.ErrorInvalidInput, want: []string{`column 2, "colour", is not a field of users`}},
		"no header":                    {text: "ada@bulk.example," + hash + "\n", kind: workflows.ErrorInvalidInput, want: []string{"the first row must name the columns"}},
		"UTF-16":                       {text: "\xff\xfee\x00", kind: workflows.ErrorInvalidInput, want: []string{"save it as UTF-8"}},
		"a stray quote far down": {text: "email,password_hash\n" + manyRows(1200) + "\"two\nlines\"@bulk.example," + hash + "\n", kind: workflows.ErrorInvalidInput,
			want: []string{"row 1201", "line 1203", "quote"}},
		"a quote that is never closed": {text: "email,name\n" + manyRows(1200) + "\"bob," + hash + "\n", kind: workflows.ErrorInvalidInput, want: []string{"row 1201", "quote"}},
		"another content than the name": {text: good, kind: workflows.ErrorInvalidInput, want: []string{"copy it again"}, prepare: func(b *bulk, in *workflows.UserImportInput) {
			require.NoError(b.t, os.WriteFile(filepath.Join(b.act.ImportDir, in.File), []byte(strings.Replace(good, "ada", "eve", 1)), 0o600))
		}},
		"no connection": {text: good, in: workflows.UserImportInput{Connection: "Nowhere"}, kind: workflows.ErrorNotFound, want: []string{`there is no connection "Nowhere"`}},
		"a connection that is no database": {text: good, in: workflows.UserImportInput{Connection: "Social"}, kind: workflows.ErrorInvalidInput,
			want: []string{"Social is of strategy google-oauth2", "databases (auth0) only"}},
		"no role":        {text: good, in: workflows.UserImportInput{Roles: []string{"member", "nobody"}}, kind: workflows.ErrorNotFound, want: []string{`there is no role "nobody"`}},
		"unknown tenant": {text: good, in: workflows.UserImportInput{Tenant: "other.example"}, kind: workflows.ErrorUnknownTenant, want: []string{"not configured on this worker"}},
		"no import folder": {text: good, kind: workflows.ErrorNotConfigured, want: []string{"no import folder"}, prepare: func(b *bulk, _ *workflows.UserImportInput) {
			b.act.ImportDir = ""
		}},
		"the tenant refuses the file":       {text: good, fault: job(http.StatusBadRequest, "Users file must not be empty."), kind: workflows.ErrorRejected, want: []string{"Users file must not be empty"}, jobs: 1},
		"a scope is missing":                {text: good, fault: job(http.StatusForbidden, "Insufficient scope, expected any of: create:users"), kind: workflows.ErrorMissingScopes, want: []string{"create:users"}, jobs: 1},
		"the subscription does not have it": {text: good, fault: job(http.StatusPaymentRequired, "Upgrade your subscription."), kind: workflows.ErrorEntitlement, want: []string{"Upgrade"}, jobs: 1},
		"credentials are revoked":           {text: good, kind: workflows.ErrorCredentials, want: []string{"Invalid token"}, jobs: 2, fault: job(http.StatusUnauthorized, "Invalid token")},
		"the token quota is used up for long": {text: good, kind: workflows.ErrorRateLimited, want: []string{"Quota exceeded"},
			fault: func(b *bulk) func(*http.Request) *http.Response {
				b.restart()
				return func(r *http.Request) *http.Response {
					if r.URL.Path != "/oauth/token" {
						return nil
					}
					res := refusal(r, http.StatusTooManyRequests, "Quota exceeded")
					res.Header.Set("Retry-After", "3500")
					return res
				}
			}},
		"every job fails": {text: good, kind: workflows.ErrorUnavailable, want: []string{"rows 1 to 1", "the job failed: Timed out.", "done so far: 0 rows", "start the import again"}, jobs: 6,
			fault: func(b *bulk) func(*http.Request) *http.Response { return b.jobFails(100) }},
		"no job's result is kept": {text: good, kind: workflows.ErrorUnavailable, want: []string{"the job's errors are gone", "start the import again"}, jobs: 6,
			fault: func(*bulk) func(*http.Request) *http.Response { return gone("/errors", 100) }},
		"refused rows that nobody names": {text: good + "eve-at-bulk.example," + hash + "\n", kind: workflows.ErrorUnavailable, want: []string{"and names 0 of them"}, jobs: 6,
			fault: func(b *bulk) func(*http.Request) *http.Response {
				return func(r *http.Request) *http.Response {
					if !strings.HasSuffix(r.URL.Path, "/errors") {
						return nil
					}
					res, _ := b.tenantSays(r)
					return withBody(res, []byte("[]"))
				}
			}},
		"the connection goes away after a piece": {text: "email,name\n" + manyRows(1002), kind: workflows.ErrorRejected, jobs: 2,
			want: []string{"The connection does not exist", "done so far: 1000 rows, 1000 inserted;", "start the import again"},
			fault: func(*bulk) func(*http.Request) *http.Response {
				n := 0
				return func(r *http.Request) *http.Response {
					if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/users-imports") {
						if n++; n == 2 { // the second piece
							return refusal(r, http.StatusBadRequest, "The connection does not exist.")
						}
					}
					return nil
				}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			b := tenant.again(t)
			in := c.in
			format := c.format
			if format == "" {
				format = "csv"
			}
			if name := b.stage(format, c.text); in.File == "" {
				in.File = name
			}
			if c.prepare != nil {
				c.prepare(b, &in)
			}
			if c.fault != nil {
				b.fail(c.fault(b))
			} else {
				b.fail(nil)
			}
			out := b.imports(in)
			require.Error(t, out.err)
			require.Equal(t, c.kind, workflows.ErrorType(out.err), "%v", out.err)
			var app *temporal.ApplicationError
			require.True(t, errors.As(out.err, &app))
			for _, want := range c.want {
				require.Contains(t, app.Message(), want)
				require.Equal(t, 1, strings.Count(app.Message(), want), "said once: %s", app.Message())
			}
			require.Equal(t, c.jobs, b.sent("POST /api/v2/jobs/users-imports"))
		})
	}
}

// manyRows are rows of an address and a name, with quoted newlines in none.
func manyRows(n int) string {
	var text strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&text, "user%d@bulk.example,User %d\n", i, i)
	}
	return text.String()
}

// jobFails lets the first jobs fail as a whole, as Auth0 fails one that took
// longer than two hours; the users are imported all the same.
func (b *bulk) jobFails(times int) func(*http.Request) *http.Response {
	return func(r *http.Request) *http.Response {
		if times == 0 || r.Method != http.MethodGet || !strings.HasPrefix(r.URL.Path, "/api/v2/jobs/") {
			return nil
		}
		res, body := b.tenantSays(r)
		if !bytes.Contains(body, []byte(`"completed"`)) {
			return withBody(res, body)
		}
		times--
		return withBody(res, []byte(`{"type":"users_import","status":"failed","status_details":"Timed out."}`))
	}
}

// gone answers that a job, or what it refused, is not known any more.
func gone(suffix string, times int) func(*http.Request) *http.Response {
	return func(r *http.Request) *http.Response {
		if times == 0 || r.Method != http.MethodGet || !strings.HasPrefix(r.URL.Path, "/api/v2/jobs/") || !strings.HasSuffix(r.URL.Path, suffix) {
			return nil
		}
		times--
		return refusal(r, http.StatusNotFound, "The job does not exist.")
	}
}

// What heals is waited out, and leaves each row counted once: the job that was
// lost may have done its work.
func TestImportHeals(t *testing.T) {
	tenant := newBulk(t)
	limited := func(method, suffix string, times int, wait string) func(*bulk) func(*http.Request) *http.Response {
		return func(*bulk) func(*http.Request) *http.Response {
			return func(r *http.Request) *http.Response {
				if times == 0 || r.Method != method || !strings.HasSuffix(r.URL.Path, suffix) {
					return nil
				}
				times--
				res := refusal(r, http.StatusTooManyRequests, "There are 2 active import users jobs, please wait until some of them are finished and try again")
				res.Header.Set("Retry-After", wait)
				return res
			}
		}
	}
	control := func(fault map[string]any) func(*bulk) func(*http.Request) *http.Response {
		return func(b *bulk) func(*http.Request) *http.Response {
			b.control(http.MethodPost, "faults", fault)
			return nil
		}
	}
	for name, c := range map[string]struct {
		fault func(*bulk) func(*http.Request) *http.Response
		// jobs is how many were asked for, tokens how often one was.
		jobs, tokens int
	}{
		"nothing":                      {fault: func(*bulk) func(*http.Request) *http.Response { return nil }, jobs: 1},
		"two jobs are at work":         {fault: limited(http.MethodPost, "/users-imports", 2, "7"), jobs: 3},
		"the rate limit for an hour":   {fault: limited(http.MethodPost, "/users-imports", 1, "3500"), jobs: 2},
		"the rate limit while waiting": {fault: limited(http.MethodGet, "/errors", 1, "3500"), jobs: 1},
		"the token quota at the start": {fault: limited(http.MethodPost, "/oauth/token", 1, "3500"), jobs: 1, tokens: 2},
		"the token quota for hours, half-way": {jobs: 2, tokens: 5, fault: func(b *bulk) func(*http.Request) *http.Response {
			quota := limited(http.MethodPost, "/oauth/token", 3, "3500")(b)
			revoked := false
			return func(r *http.Request) *http.Response {
				if !revoked && r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/users-imports") {
					revoked = true
					return refusal(r, http.StatusUnauthorized, "Invalid token")
				}
				if revoked {
					return quota(r)
				}
				return nil
			}
		}},
		"a job that fails":                   {fault: func(b *bulk) func(*http.Request) *http.Response { return b.jobFails(2) }, jobs: 3},
		"a job that is gone":                 {fault: func(*bulk) func(*http.Request) *http.Response { return gone("", 1) }, jobs: 2},
		"a job whose errors are gone":        {fault: func(*bulk) func(*http.Request) *http.Response { return gone("/errors", 1) }, jobs: 2},
		"a job whose id was lost":            {fault: control(map[string]any{"method": "POST", "path": "*/users-imports", "nth": 1, "kind": "reset_after"}), jobs: 2},
		"a job that was not taken":           {fault: control(map[string]any{"method": "POST", "path": "*/users-imports", "nth": 1, "kind": "reset_before"}), jobs: 2},
		"a list of errors that broke off":    {fault: control(map[string]any{"method": "GET", "path": "*/errors", "times": 6, "kind": "truncate"}), jobs: 1},
		"an answer that is no answer":        {fault: control(map[string]any{"method": "POST", "path": "*/users-imports", "nth": 1, "kind": "status", "status": 202, "body": map[string]any{}}), jobs: 2},
		"roles that cannot be given at once": {fault: limited(http.MethodPost, "/users", 1, "3500"), jobs: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := tenant.again(t)
			b.makeUser("cy@bulk.example")
			b.restart()
			b.fail(c.fault(b))
			file := b.stage("csv", "email\nada@bulk.example\nbob@bulk.example\nada@bulk.example\nno-at\ncy@bulk.example\n\"\"\n")
			out := b.imports(workflows.UserImportInput{File: file, Roles: []string{"member"}}, &anHourLater{clock: b.clock})
			require.NoError(t, out.err)
			require.Equal(t, c.jobs, b.sent("POST /api/v2/jobs/users-imports"))
			require.Equal(t, max(c.tokens, 1), b.sent("POST /oauth/token"))
			require.Equal(t, 6, out.Rows)
			require.Equal(t, 2, out.Inserted)
			require.Equal(t, map[string]int{"DUPLICATED_USER": 2, "FORMAT": 1, "INVALID_ROW": 1}, out.Codes)
			require.Equal(t, 3, b.users())
			var members []map[string]any
			b.fail(nil)
			b.get([]string{"roles", b.idOf("roles", "member"), "users"}, nil, &members)
			require.Len(t, members, 2)
		})
	}
}

// A file whose content changes under the import ends it, also if its size stays:
// the rows that were sent would be reported as others. One that was copied again
// is the same.
func TestImportOfAFileThatChanges(t *testing.T) {
	tenant := newBulk(t)
	text := "email,name\n" + manyRows(1002)
	for name, c := range map[string]struct {
		change func(t *testing.T, path string)
		want   string
	}{
		"longer": {func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, []byte(text+"x@bulk.example,X\n"), 0o600))
		}, "has changed during the import: copy it again"},
		"as long":     {func(t *testing.T, path string) { rewrite(t, path, strings.ReplaceAll(text, "user", "eser")) }, "has changed during the import: copy it again"},
		"gone":        {func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }, "is not in the worker's import folder"},
		"copied anew": {func(t *testing.T, path string) { rewrite(t, path, text) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := tenant.again(t)
			in := workflows.UserImportInput{File: b.stage("csv", text)}
			path := filepath.Join(b.act.ImportDir, in.File)
			jobs := 0
			b.fail(func(r *http.Request) *http.Response {
				if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/users-imports") {
					if jobs++; jobs == 2 {
						c.change(t, path)
					}
				}
				return nil
			})
			out := b.imports(in)
			if c.want == "" {
				require.NoError(t, out.err)
				require.Equal(t, 1002, out.Inserted)
				return
			}
			require.Equal(t, workflows.ErrorInvalidInput, workflows.ErrorType(out.err))
			require.ErrorContains(t, out.err, c.want)
			require.Zero(t, b.count("users", "email", "eser1@bulk.example"))

			// Copied again, the import goes on, and nobody is counted as somebody who was
			// there before.
			b.fail(nil)
			b.stage("csv", text)
			out = b.imports(in)
			require.NoError(t, out.err)
			require.Equal(t, 1002, out.Inserted)
			require.Zero(t, out.Failed)
			require.Equal(t, 1002, b.users())
		})
	}
}

// rewrite replaces a file, a second later: the clocks of file systems are coarse.
func rewrite(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	later := time.Now().Add(time.Second)
	require.NoError(t, os.Chtimes(path, later, later))
}
