package workflows_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/auth0sim"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/engine/direct"
	"github.com/tenonhq/tenon/internal/grafana"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/workflows"
)

// simulated is a simulated tenant, and the real engine and activities for it.
type simulated struct {
	t      *testing.T
	domain string
	web    *http.Client
	pool   *auth0.Pool
	act    *workflows.Activities
	// fault, if not nil, may answer a request in the tenant's place. Requests ask
	// it one at a time.
	fault  func(*http.Request) *http.Response
	asking sync.Mutex
}

type faulty struct {
	s    *simulated
	next http.RoundTripper
}

func (f faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	if res := f.s.refuses(r); res != nil {
		return res, nil
	}
	return f.next.RoundTrip(r)
}

func (s *simulated) refuses(r *http.Request) *http.Response {
	s.asking.Lock()
	defer s.asking.Unlock()
	if s.fault == nil {
		return nil
	}
	return s.fault(r)
}

// refusal is the Management API's answer to a request that it refuses.
func refusal(r *http.Request, status int, message string) *http.Response {
	body := fmt.Sprintf(`{"statusCode":%d,"error":%q,"message":%q}`, status, http.StatusText(status), message)
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: int64(len(body)),
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}

// simulate starts an empty tenant in memory.
func simulate(t *testing.T, change ...func(*auth0.Config)) *simulated {
	t.Helper()
	cert, ca := certificate(t)
	sim, err := auth0sim.New(auth0sim.Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sim.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})
	<-sim.Ready()

	text, err := os.ReadFile(ca)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(text))
	s := &simulated{t: t, domain: sim.Domain(), web: &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}}, Timeout: 15 * time.Second,
	}}
	store := newMemoryStore()
	require.NoError(t, store.Put(ctx, "management", sim.ClientSecret()))
	secrets := secret.Stores{"test": store}
	cfg := auth0.Config{
		Tenants: map[string]auth0.Tenant{s.domain: {ClientID: sim.ClientID(), ClientSecret: "test:management", CAFile: ca}},
		Secrets: secrets,
		Wrap:    func(_ string, next http.RoundTripper) http.RoundTripper { return faulty{s, next} },
	}
	for _, f := range change {
		f(&cfg)
	}
	s.pool, err = auth0.New(cfg)
	require.NoError(t, err)
	e, err := direct.New(direct.Config{Tenants: s.pool, Secrets: secrets, SecretRef: testRef})
	require.NoError(t, err)
	s.act = &workflows.Activities{
		Engines: map[string]engine.Engine{"direct": e}, Tenants: workflows.FromPool(s.pool), Secrets: secrets, SecretRef: testRef,
		OutputDir: t.TempDir(), HTTP: func(string) *http.Client { return s.web },
	}
	return s
}

// certificate makes one for localhost that signs itself.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// run executes a workflow over the simulated tenant.
func (s *simulated) run(workflow, input any, interceptors ...interceptor.WorkerInterceptor) *testsuite.TestWorkflowEnvironment {
	s.t.Helper()
	suite := &testsuite.WorkflowTestSuite{}
	suite.SetLogger(quiet{})
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(time.Minute)
	env.SetWorkerOptions(worker.Options{Interceptors: append(interceptors, &patient{})})
	require.NoError(s.t, workflows.Register(env, s.act))
	env.ExecuteWorkflow(workflow, input)
	require.True(s.t, env.IsWorkflowCompleted())
	return env
}

// get reads the Management API.
func (s *simulated) get(path []string, query url.Values, out any) {
	s.t.Helper()
	client, err := s.pool.Tenant(s.t.Context(), s.domain)
	require.NoError(s.t, err)
	require.NoError(s.t, client.Do(s.t.Context(), auth0.Request{Operation: "read", Method: http.MethodGet, Path: path, Query: query}, out))
}

// count says how many objects of a list have the field's value.
func (s *simulated) count(path, field, value string) int {
	s.t.Helper()
	var raw json.RawMessage
	s.get([]string{path}, nil, &raw)
	var list []map[string]any
	require.NoError(s.t, json.Unmarshal(raw, &list))
	n := 0
	for _, o := range list {
		if o[field] == value {
			n++
		}
	}
	return n
}

func (s *simulated) onboarding() workflows.OnboardingInput {
	return workflows.OnboardingInput{
		Tenant: s.domain,
		App:    workflows.WebAppInput{Name: "grafana", URL: "https://grafana.example.com"},
		User:   workflows.UserInput{Email: "ada@example.com", Name: "Ada Lovelace", Roles: []string{"admin"}},
	}
}

func (s *simulated) requireOneOfEach() {
	s.t.Helper()
	require.Equal(s.t, 1, s.count("clients", "name", "grafana"))
	require.Equal(s.t, 1, s.count("connections", "name", "Tenon-Users"))
	require.Equal(s.t, 1, s.count("resource-servers", "identifier", "https://temporal"))
	require.Equal(s.t, 1, s.count("users", "email", "ada@example.com"))
	for _, role := range []string{"admin", "editor", "viewer"} {
		require.Equal(s.t, 1, s.count("roles", "name", role))
	}
}

// The main story: a tenant is onboarded, and then the user, who has only the
// tickets, verifies the address, chooses a password, enrols a second factor and
// logs in with the settings that were rendered: as Admin.
func TestOnboardingAndLogin(t *testing.T) {
	s := simulate(t)
	env := s.run(workflows.OnboardingWorkflow, s.onboarding())
	require.NoError(t, env.GetWorkflowError())
	var result workflows.OnboardingResult
	require.NoError(t, env.GetWorkflowResult(&result))
	s.requireOneOfEach()
	require.Empty(t, result.Setup.Warnings)

	person := &grafana.Person{Email: "ada@example.com", Password: secret.New("Zwölf-B0xkämpfer!jagen")}
	browser, err := grafana.NewBrowser(grafana.BrowserConfig{HTTP: s.web, Origin: "https://" + s.domain, Person: person})
	require.NoError(t, err)
	for _, ref := range []string{result.User.Tickets.Verification, result.User.Tickets.Password, result.User.Tickets.MFA} {
		link, err := s.act.Secrets.Get(t.Context(), secret.Ref(ref))
		require.NoError(t, err)
		_, err = browser.Visit(t.Context(), link.Reveal(), "")
		require.NoError(t, err)
	}
	require.False(t, person.TOTPSecret.IsZero())

	cfg, err := grafana.ReadConfig(grafana.Files{INI: result.App.Settings.INI, Env: result.App.Settings.Env})
	require.NoError(t, err)
	login, err := grafana.Login(t.Context(), grafana.LoginRequest{Config: cfg, Person: person, HTTP: s.web})
	require.NoError(t, err)
	require.Equal(t, "Admin", login.Role)
	require.Equal(t, "id_token", login.RoleFrom)
	require.True(t, login.EmailVerified && login.Refreshed)
	require.Equal(t, result.User.UserID, login.Subject)

	// Onboarding again changes nothing.
	env = s.run(workflows.OnboardingWorkflow, s.onboarding())
	require.NoError(t, env.GetWorkflowError())
	require.NoError(t, env.GetWorkflowResult(&result))
	for _, o := range append(append(result.Setup.Objects, result.App.Objects...), result.User.Objects...) {
		if o.Kind != "Auth0User" { // planned without roles first, which leaves those that it has alone
			require.Equal(t, "none", o.Action, "%s/%s", o.Kind, o.Name)
		}
	}
	s.requireOneOfEach()
}

// Only a client that asks for roles gets them.
func TestOtherClientsGetNoRoles(t *testing.T) {
	s := simulate(t)
	env := s.run(workflows.OnboardingWorkflow, s.onboarding())
	require.NoError(t, env.GetWorkflowError())
	var result workflows.OnboardingResult
	require.NoError(t, env.GetWorkflowResult(&result))
	client, err := s.pool.Tenant(t.Context(), s.domain)
	require.NoError(t, err)
	require.NoError(t, client.Do(t.Context(), auth0.Request{Operation: "drop the claim", Method: http.MethodPatch,
		Path: []string{"clients", result.App.ClientID}, Body: map[string]any{"client_metadata": map[string]any{"roles_claim": nil}}}, nil))

	person := &grafana.Person{Email: "ada@example.com", Password: secret.New("Zwölf-B0xkämpfer!jagen")}
	browser, err := grafana.NewBrowser(grafana.BrowserConfig{HTTP: s.web, Origin: "https://" + s.domain, Person: person})
	require.NoError(t, err)
	link, err := s.act.Secrets.Get(t.Context(), secret.Ref(result.User.Tickets.Password))
	require.NoError(t, err)
	_, err = browser.Visit(t.Context(), link.Reveal(), "")
	require.NoError(t, err)
	cfg, err := grafana.ReadConfig(grafana.Files{INI: result.App.Settings.INI, Env: result.App.Settings.Env})
	require.NoError(t, err)
	_, err = grafana.Login(t.Context(), grafana.LoginRequest{Config: cfg, Person: person, HTTP: s.web})
	require.ErrorIs(t, err, grafana.ErrNoRole)
}

// twice runs every activity twice and gives the second answer: what happens when
// a worker dies, or an answer is lost, after the work was done.
type twice struct {
	interceptor.WorkerInterceptorBase
}

func (*twice) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	i := &twiceInbound{}
	i.Next = next
	return i
}

type twiceInbound struct {
	interceptor.ActivityInboundInterceptorBase
}

func (i *twiceInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	if _, err := i.Next.ExecuteActivity(ctx, in); err != nil {
		return nil, err
	}
	return i.Next.ExecuteActivity(ctx, in)
}

func TestEveryActivityMayRunTwice(t *testing.T) {
	s := simulate(t)
	env := s.run(workflows.OnboardingWorkflow, s.onboarding(), &twice{})
	require.NoError(t, env.GetWorkflowError())
	s.requireOneOfEach()
	var roles []map[string]any
	var result workflows.OnboardingResult
	require.NoError(t, env.GetWorkflowResult(&result))
	s.get([]string{"users", result.User.UserID, "roles"}, nil, &roles)
	require.Len(t, roles, 1)
}

// A user whose roles cannot be assigned is not left in the tenant, and the
// failure says what was undone.
func TestRoleAssignmentFails(t *testing.T) {
	s := simulate(t)
	env := s.run(workflows.Auth0TenantSetupWorkflow, workflows.TenantSetupInput{Tenant: s.domain})
	require.NoError(t, env.GetWorkflowError())
	refuse := func(r *http.Request) *http.Response {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/roles") && strings.Contains(r.URL.Path, "/users/") {
			return refusal(r, http.StatusBadRequest, "The user has too many roles.")
		}
		return nil
	}
	for name, c := range map[string]struct {
		roles        []string
		fault        func(*http.Request) *http.Response
		interceptors []interceptor.WorkerInterceptor
		want         string
	}{
		"refused by the tenant": {roles: []string{"admin"}, fault: refuse, want: "too many roles"},
		"unknown role":          {roles: []string{"admin", "no-such-role"}, want: "no-such-role"},
		"undone twice":          {roles: []string{"admin"}, fault: refuse, interceptors: []interceptor.WorkerInterceptor{&twice{}}, want: "too many roles"},
	} {
		t.Run(name, func(t *testing.T) {
			s.fault = c.fault
			env := s.run(workflows.UserRegistrationWorkflow,
				workflows.UserInput{Tenant: s.domain, Email: "ada@example.com", Roles: c.roles}, c.interceptors...)
			s.fault = nil
			err := env.GetWorkflowError()
			require.ErrorContains(t, err, c.want)
			f, ok := workflows.FailureOf(err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "roles", f.Step)
			require.Empty(t, f.NotUndone)
			if c.interceptors == nil { // the second undo finds nothing left to do
				require.Contains(t, f.Undone, workflows.Undone{Step: "Auth0User/ada@example.com", What: "deleted Auth0User/ada@example.com"})
			}
			require.Zero(t, s.count("users", "email", "ada@example.com"))
		})
	}
}

// A web app that cannot be finished leaves nothing but the shared action.
func TestWebAppIsUndone(t *testing.T) {
	s := simulate(t)
	require.NoError(t, s.run(workflows.Auth0TenantSetupWorkflow, workflows.TenantSetupInput{Tenant: s.domain}).GetWorkflowError())
	env := s.run(workflows.WebAppRegistrationWorkflow, workflows.WebAppInput{Tenant: s.domain, Name: "grafana", URL: "https://grafana.example.com", Push: true})
	f, ok := workflows.FailureOf(env.GetWorkflowError())
	require.True(t, ok, "%v", env.GetWorkflowError())
	require.Equal(t, "push", f.Step)
	require.Len(t, f.Undone, 2)
	require.Zero(t, s.count("clients", "name", "grafana"))
	require.NoDirExists(t, filepath.Join(s.act.OutputDir, "grafana"))
}

// A setup that fails half-way leaves the tenant as it was.
func TestTenantSetupIsUndone(t *testing.T) {
	s := simulate(t)
	var before, after map[string]any
	s.get([]string{"tenants", "settings"}, nil, &before)
	in := workflows.TenantSetupInput{Tenant: s.domain, API: workflows.APIInput{Identifier: "https://" + s.domain + "/api/v2/"}}
	env := s.run(workflows.Auth0TenantSetupWorkflow, in) // the Management API's own identifier
	f, ok := workflows.FailureOf(env.GetWorkflowError())
	require.True(t, ok, "%v", env.GetWorkflowError())
	require.Zero(t, s.count("connections", "name", "Tenon-Users"), "%+v", f)
	s.get([]string{"tenants", "settings"}, nil, &after)
	for _, field := range []string{"friendly_name", "session_lifetime", "idle_session_lifetime", "enabled_locales"} {
		require.Equal(t, before[field], after[field], "%s; %+v", field, f)
	}
}

// The scopes that credentials are checked for are those that the engine asks for.
func TestScopesCoverTheEngine(t *testing.T) {
	require.Subset(t, workflows.RequiredScopes(), direct.Scopes(v1.Primitives()...))
}
