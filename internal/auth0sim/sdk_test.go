package auth0sim

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/auth0/go-auth0"
	"github.com/auth0/go-auth0/management"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/tenonhq/tenon/internal/secret"
)

// newSDK serves the simulator over TLS and returns Auth0's own client of it.
func newSDK(t *testing.T, cfg Config) (*management.Management, *Server) {
	t.Helper()
	ts := httptest.NewUnstartedServer(http.NotFoundHandler())
	cfg.Domain = ts.Listener.Addr().String()
	cfg.ClientID, cfg.ClientSecret = "sdk", secret.New("sdk-secret")
	s, err := New(cfg)
	require.NoError(t, err)
	ts.Config.Handler = s.Handler()
	ts.StartTLS()
	t.Cleanup(func() {
		ts.Close()
		require.NoError(t, s.Close())
	})
	m, err := management.New(cfg.Domain, management.WithClient(ts.Client()), management.WithClientCredentials(context.WithValue(context.Background(), oauth2.HTTPClient, ts.Client()), "sdk", "sdk-secret"))
	require.NoError(t, err)
	return m, s
}

// TestSDK walks a tenant's set-up with go-auth0, unchanged, over TLS.
func TestSDK(t *testing.T) {
	ctx := context.Background()
	m, _ := newSDK(t, Config{})

	require.NoError(t, m.Tenant.Update(ctx, &management.Tenant{FriendlyName: auth0.String("Acme"), SessionLifetime: auth0.Float64(24)}))
	settings, err := m.Tenant.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, "Acme", settings.GetFriendlyName())
	require.InDelta(t, 24, settings.GetSessionLifetime(), 0)

	require.NoError(t, m.Guardian.MultiFactor.OTP.Enable(ctx, true))
	require.NoError(t, m.Guardian.MultiFactor.UpdatePolicy(ctx, &management.MultiFactorPolicies{"all-applications"}))
	factors, err := m.Guardian.MultiFactor.List(ctx)
	require.NoError(t, err)
	on := map[string]bool{}
	for _, f := range factors {
		on[f.GetName()] = f.GetEnabled()
	}
	require.True(t, on["otp"])
	require.False(t, on["sms"])
	require.NoError(t, m.AttackProtection.UpdateBruteForceProtection(ctx, &management.BruteForceProtection{Enabled: auth0.Bool(true), MaxAttempts: auth0.Int(5)}))

	client := &management.Client{Name: auth0.String("grafana"), AppType: auth0.String("regular_web"), Callbacks: &[]string{"https://grafana.example.com/cb"}, OIDCConformant: auth0.Bool(true)}
	require.NoError(t, m.Client.Create(ctx, client))
	require.Len(t, client.GetClientID(), 32)
	old := client.GetClientSecret()
	rotated, err := m.Client.RotateSecret(ctx, client.GetClientID())
	require.NoError(t, err)
	require.NotEqual(t, old, rotated.GetClientSecret())

	connection := &management.Connection{Name: auth0.String("people"), Strategy: auth0.String("auth0"), Options: &management.ConnectionOptions{PasswordPolicy: auth0.String("good")}}
	require.NoError(t, m.Connection.Create(ctx, connection))
	require.NoError(t, m.Connection.UpdateEnabledClients(ctx, connection.GetID(), []management.ConnectionEnabledClient{{ClientID: client.ClientID, Status: auth0.Bool(true)}}))
	enabled, err := m.Connection.ReadEnabledClients(ctx, connection.GetID())
	require.NoError(t, err)
	require.Len(t, enabled.GetClients(), 1)

	api := &management.ResourceServer{Name: auth0.String("temporal"), Identifier: auth0.String("https://temporal"), EnforcePolicies: auth0.Bool(true),
		Scopes: &[]management.ResourceServerScope{{Value: auth0.String("default:read"), Description: auth0.String("Read")}}}
	require.NoError(t, m.ResourceServer.Create(ctx, api))
	byName, err := m.ResourceServer.Read(ctx, "https://temporal")
	require.NoError(t, err)
	require.Equal(t, api.GetID(), byName.GetID())
	require.NoError(t, m.ClientGrant.Create(ctx, &management.ClientGrant{ClientID: client.ClientID, Audience: api.Identifier, Scope: &[]string{"default:read"}}))
	err = m.ClientGrant.Create(ctx, &management.ClientGrant{ClientID: client.ClientID, Audience: api.Identifier, Scope: &[]string{}})
	requireStatus(t, http.StatusConflict, err)

	role := &management.Role{Name: auth0.String("admin")}
	require.NoError(t, m.Role.Create(ctx, role))
	require.NoError(t, m.Role.AssociatePermissions(ctx, role.GetID(), []*management.Permission{{Name: auth0.String("default:read"), ResourceServerIdentifier: api.Identifier}}))

	user := &management.User{Connection: auth0.String("people"), Email: auth0.String("Ada@example.com"), Password: auth0.String("Correct-Horse-9"), VerifyEmail: auth0.Bool(false)}
	require.NoError(t, m.User.Create(ctx, user))
	require.Equal(t, "ada@example.com", user.GetEmail())
	requireStatus(t, http.StatusConflict, m.User.Create(ctx, &management.User{Connection: auth0.String("people"), Email: auth0.String("ada@example.com"), Password: auth0.String("Correct-Horse-9")}))
	requireStatus(t, http.StatusBadRequest, m.User.Create(ctx, &management.User{Connection: auth0.String("people"), Email: auth0.String("bob@example.com"), Password: auth0.String("short")}))
	require.NoError(t, m.User.AssignRoles(ctx, user.GetID(), []*management.Role{role}))
	roles, err := m.User.Roles(ctx, user.GetID())
	require.NoError(t, err)
	require.Len(t, roles.Roles, 1)
	found, err := m.User.List(ctx, management.Query(`email:"ada@example.com" AND identities.connection:people`))
	require.NoError(t, err)
	require.Len(t, found.Users, 1)
	byEmail, err := m.User.ListByEmail(ctx, "ada@example.com")
	require.NoError(t, err)
	require.Len(t, byEmail, 1)

	action := &management.Action{Name: auth0.String("claims"), Code: auth0.String("exports.onExecutePostLogin = async () => {};"),
		SupportedTriggers: []management.ActionTrigger{{ID: auth0.String("post-login"), Version: auth0.String("v3")}},
		Secrets:           &[]management.ActionSecret{{Name: auth0.String("KEY"), Value: auth0.String("hidden")}}}
	require.NoError(t, m.Action.Create(ctx, action))
	_, err = m.Action.Deploy(ctx, action.GetID())
	requireStatus(t, http.StatusBadRequest, err) // not built yet
	built, err := m.Action.Read(ctx, action.GetID())
	require.NoError(t, err)
	require.Equal(t, "built", built.GetStatus())
	_, err = m.Action.Deploy(ctx, action.GetID())
	require.NoError(t, err)
	require.NoError(t, m.Action.UpdateBindings(ctx, "post-login", []*management.ActionBinding{{DisplayName: auth0.String("claims"),
		Ref: &management.ActionBindingReference{Type: auth0.String("action_id"), Value: action.ID}}}))

	ticket := &management.Ticket{UserID: user.ID}
	require.NoError(t, m.Ticket.ChangePassword(ctx, ticket))
	require.Contains(t, ticket.GetTicket(), "/u/reset-password?ticket=")
	enrolment, err := m.Guardian.Enrollment.CreateTicket(ctx, &management.CreateEnrollmentTicket{UserID: user.GetID()})
	require.NoError(t, err)
	require.Contains(t, enrolment.TicketURL, "/u/mfa-enrollment?ticket=")

	require.NoError(t, m.Connection.Delete(ctx, connection.GetID()))
	_, err = m.User.Read(ctx, user.GetID())
	requireStatus(t, http.StatusNotFound, err) // users live in their connection
}

func requireStatus(t *testing.T, status int, err error) {
	t.Helper()
	var answered management.Error
	require.ErrorAs(t, err, &answered)
	require.Equal(t, status, answered.Status(), err)
}

func TestImportAndExportJobs(t *testing.T) {
	ctx := context.Background()
	m, s := newSDK(t, Config{})
	connection := &management.Connection{Name: auth0.String("people"), Strategy: auth0.String("auth0")}
	require.NoError(t, m.Connection.Create(ctx, connection))
	job := &management.Job{ConnectionID: connection.ID, Users: []map[string]interface{}{
		{"email": "one@example.com"}, {"email": "two@example.com", "app_metadata": map[string]any{"plan": "gold"}}, {"email": "one@example.com"}, {"name": "nobody"}, {"email": "x@example.com", "colour": "red"}}}
	wake, stop := s.store.Watch("jobs")
	defer stop()
	require.NoError(t, m.Job.ImportUsers(ctx, job))
	done := waitForJob(t, m, job.GetID(), wake)
	require.Equal(t, "completed", done.GetStatus())
	require.Equal(t, 2, done.GetSummary().GetInserted())
	require.Equal(t, 3, done.GetSummary().GetFailed())
	failures, err := m.Job.ReadErrors(ctx, job.GetID())
	require.NoError(t, err)
	var codes []string
	for _, f := range failures {
		codes = append(codes, f.Errors[0].Code)
	}
	require.Equal(t, []string{"DUPLICATED_USER", "ANY_OF_MISSING", "OBJECT_ADDITIONAL_PROPERTIES"}, codes)

	export := &management.Job{ConnectionID: connection.ID, Format: auth0.String("csv"), Fields: []map[string]interface{}{{"name": "email"}}}
	require.NoError(t, m.Job.ExportUsers(ctx, export))
	exported := waitForJob(t, m, export.GetID(), wake)
	w := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, exported.GetLocation(), nil)
	req.RemoteAddr = "127.0.0.1:1"
	s.Handler().ServeHTTP(w, req)
	body, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	require.Equal(t, []string{"email", "one@example.com", "two@example.com"}, strings.Fields(string(body)))
}

// What a file of users is refused for before there is a job.
func TestImportRefusals(t *testing.T) {
	h := newHarness(t, Config{})
	con := h.must(http.StatusCreated, "POST", "/connections", doc{"name": "people", "strategy": "auth0"})["id"].(string)
	social := h.must(http.StatusCreated, "POST", "/connections", doc{"name": "social", "strategy": "google-oauth2"})["id"].(string)
	for name, c := range map[string]struct {
		users, connection string
		status            int
		message           string
	}{
		"no file":          {"", con, http.StatusBadRequest, "Must provide 'users' file as multipart part."},
		"an empty file":    {" ", con, http.StatusBadRequest, "Users file must not be empty."},
		"no connection":    {"[]", "", http.StatusBadRequest, "Must provide 'connection_id' as multipart part."},
		"not a connection": {"[]", "x", http.StatusBadRequest, "Payload validation error: 'String does not match pattern ^con_[A-Za-z0-9]{16}$' on property connection_id."},
		"unknown":          {"[]", "con_AAAAAAAAAAAAAAAA", http.StatusBadRequest, "The connection does not exist."},
		"not a database":   {"[]", social, http.StatusBadRequest, "Connection must be a database connection."},
		"a large file":     {strings.Repeat("x", maxImport+1), con, http.StatusRequestEntityTooLarge, "Payload content length greater than maximum allowed: 512000."},
		"a huge file":      {strings.Repeat("x", maxBody+1), con, http.StatusRequestEntityTooLarge, "Payload content length greater than maximum allowed: 512000."},
	} {
		t.Run(name, func(t *testing.T) {
			var body bytes.Buffer
			form := multipart.NewWriter(&body)
			if c.users != "" {
				file, err := form.CreateFormFile("users", "users.json")
				require.NoError(t, err)
				_, err = io.WriteString(file, c.users)
				require.NoError(t, err)
			}
			if c.connection != "" {
				require.NoError(t, form.WriteField("connection_id", c.connection))
			}
			require.NoError(t, form.Close())
			w := h.do("POST", "/api/v2/jobs/users-imports", body.String(), map[string]string{"Authorization": "Bearer " + h.token, "Content-Type": form.FormDataContentType()})
			require.Equal(t, c.status, w.Code, w.Body.String())
			require.Equal(t, c.message, decodeObject(t, w.Body.Bytes())["message"])
		})
	}
}

// waitForJob reads the job after each change to a job until it is done.
func waitForJob(t *testing.T, m *management.Management, id string, wake <-chan struct{}) *management.Job {
	t.Helper()
	for {
		job, err := m.Job.Read(context.Background(), id)
		require.NoError(t, err)
		if job.GetStatus() != "pending" {
			return job
		}
		<-wake
	}
}

// TestNoSecretInLog proves that what a write carried is not in the tenant's log.
func TestNoSecretInLog(t *testing.T) {
	h := newHarness(t, Config{})
	h.must(http.StatusCreated, "POST", "/users", doc{"connection": builtInConnection, "email": "a@example.com", "password": "Canary-Value-77"})
	code, logs := h.call("GET", "/logs", nil)
	require.Equal(t, http.StatusOK, code)
	raw, err := json.Marshal(logs)
	require.NoError(t, err)
	require.Contains(t, string(raw), "a@example.com")
	require.NotContains(t, string(raw), "Canary-Value-77")
}
