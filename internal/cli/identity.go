package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/workflows"
)

func newTenant(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "tenant", GroupID: "identity", Short: "Set up an Auth0 tenant"}
	cmd.AddCommand(newTenantSetup(a))
	return cmd
}

func newTenantSetup(a *app) *cobra.Command {
	var in workflows.TenantSetupInput
	var detach bool
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Settings, MFA, attack protection, a user database, roles, and the cluster's API",
		Long: `Make a tenant safe to use: check the credentials and their scopes; settings and
session lifetimes; MFA factors and policy; protection from brute force, breached
passwords and suspicious addresses; a database connection with a strong password
policy; roles; and the API whose permissions the cluster understands.

What the tenant already holds is left alone or adopted. It may be run again.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runWorkflow(cmd.Context(), run{
				workflow: workflows.TypeTenantSetup,
				detach:   detach,
				build: func(tenant string) (string, any) {
					in.Tenant = orTenant(in.Tenant, tenant)
					return workflows.TenantSetupID(in.Tenant), in
				},
				result: func() any { return &workflows.TenantSetupResult{} },
				table: func(w io.Writer, result any) {
					r := result.(*workflows.TenantSetupResult)
					printObjects(w, r.Objects)
					printCredentials(w, r.Credentials)
					printWarnings(w, r.Warnings)
				},
			})
		},
	}
	f := cmd.Flags()
	tenantFlag(cmd, &in.Tenant)
	detachFlag(cmd, &detach)
	f.StringVar(&in.FriendlyName, "friendly-name", "", "what login pages call the tenant (default: the first label of the domain)")
	f.Float64Var(&in.SessionLifetimeHours, "session-lifetime", 0, "longest login session, in hours (default 24)")
	f.Float64Var(&in.IdleSessionLifetimeHours, "idle-session-lifetime", 0, "longest pause in a login session, in hours (default 8)")
	f.StringSliceVar(&in.Locales, "locale", nil, "languages of the login pages, the first is the default (default en)")
	f.StringVar(&in.MFAPolicy, "mfa-policy", "", "when a second factor is asked for: never, always or adaptive (default always)")
	f.StringVar(&in.Connection.Name, "connection", "", "name of the user database (default "+workflows.DefaultConnection+")")
	f.StringVar(&in.Connection.PasswordPolicy, "password-policy", "", "good or excellent (default excellent)")
	f.StringVar(&in.API.Identifier, "api", "", "identifier of the cluster's API (default "+workflows.DefaultAPI+")")
	return cmd
}

func newApp(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "app", GroupID: "identity", Short: "Register web applications"}
	cmd.AddCommand(newAppRegister(a))
	return cmd
}

func newAppRegister(a *app) *cobra.Command {
	var in workflows.WebAppInput
	var detach bool
	cmd := &cobra.Command{
		Use:   "register NAME --url URL",
		Short: "Register an OIDC web application and configure it; Grafana is the first",
		Long: `Register a web application: a client with PKCE and rotating refresh tokens, the
connections its users come from, and an action that puts their roles into the ID
token. Then the application's own settings: a grafana.ini fragment, an env file
with the client secret (0600) and a compose environment are written to the data
directory; with --push they are also sent to Grafana's SSO settings API. Ends by
proving that discovery, keys and client agree.`,
		Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			if in.URL == "" {
				return usagef(cmd, "--url is missing")
			}
			return a.runWorkflow(cmd.Context(), run{
				workflow: workflows.TypeWebAppRegistration,
				detach:   detach,
				build: func(tenant string) (string, any) {
					in.Tenant = orTenant(in.Tenant, tenant)
					return workflows.WebAppID(in.Tenant, in.Name), in
				},
				result: func() any { return &workflows.WebAppResult{} },
				table: func(w io.Writer, result any) {
					r := result.(*workflows.WebAppResult)
					printObjects(w, r.Objects)
					rows(w,
						[]string{"client id", r.ClientID},
						[]string{"client secret", r.ClientSecret},
						[]string{"grafana.ini", r.Settings.INI},
						[]string{"env file", r.Settings.Env},
						[]string{"compose", r.Settings.Compose},
						[]string{"pushed to", orDash(r.Settings.PushedTo)},
					)
					for _, p := range r.Proof {
						fmt.Fprintln(w, "proved:", p)
					}
					printCredentials(w, r.Credentials)
					printWarnings(w, r.Warnings)
				},
			})
		},
	}
	f := cmd.Flags()
	tenantFlag(cmd, &in.Tenant)
	detachFlag(cmd, &detach)
	f.StringVar(&in.URL, "url", "", "where people reach the application, for Grafana its root_url (required)")
	f.StringSliceVar(&in.Callbacks, "callback", nil, "callback URLs (default: Grafana's at --url)")
	f.StringSliceVar(&in.LogoutURLs, "logout-url", nil, "URLs that a logout may return to (default: Grafana's at --url)")
	f.StringSliceVar(&in.WebOrigins, "web-origin", nil, "origins of the application (default: that of --url)")
	f.StringSliceVar(&in.Connections, "connection", nil, "connections whose users may log in (default "+workflows.DefaultConnection+")")
	f.StringVar(&in.RolesClaim, "roles-claim", "", "claim of the ID token that holds the roles (default https://tenon.dev/roles)")
	f.BoolVar(&in.Push, "push", false, "send the settings to the Grafana at --url (GRAFANA_URL and GRAFANA_TOKEN of the worker)")
	return cmd
}

func newUser(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "user", GroupID: "identity", Short: "Register users, one or many"}
	cmd.AddCommand(newUserRegister(a))
	return cmd
}

func newUserRegister(a *app) *cobra.Command {
	var in workflows.UserInput
	var bulk workflows.UserImportInput
	var file string
	var detach bool
	cmd := &cobra.Command{
		Use:   "register EMAIL | --file USERS",
		Short: "Register a user with roles, or import a file of users",
		Long: `Register a user with a random password that nobody sees, give them their roles,
and make the links by which they verify their address, choose a password and
enrol a second factor. The links are secrets: the answer names where in the
secret store they are. If any of it fails, the user is removed again.

With --file, import users from a .csv file, whose first row names the columns
(email, name, user_metadata.department, …), or from a .ndjson file of objects as
Auth0's bulk import describes them. Each row is imported once, or listed with the
reason why not; the import goes on after a crash. Imported users without a
password hash choose a password through "forgot password".`,
		Args: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return exactArgs("EMAIL")(cmd, args)
			}
			if len(args) > 0 {
				return usagef(cmd, "give one of EMAIL and --file")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" {
				bulk.Tenant, bulk.Connection, bulk.Roles = in.Tenant, in.Connection, in.Roles
				return a.importUsers(cmd.Context(), file, bulk, detach)
			}
			in.Email = args[0]
			return a.runWorkflow(cmd.Context(), run{
				workflow: workflows.TypeUserRegistration,
				detach:   detach,
				build: func(tenant string) (string, any) {
					in.Tenant = orTenant(in.Tenant, tenant)
					filled := in.WithDefaults()
					return workflows.UserID(filled.Tenant, filled.Connection, filled.Email), in
				},
				result: func() any { return &workflows.UserResult{} },
				table: func(w io.Writer, result any) {
					r := result.(*workflows.UserResult)
					printObjects(w, r.Objects)
					rows(w,
						[]string{"user", r.UserID},
						[]string{"roles", orDash(strings.Join(r.Roles, ", "))},
						[]string{"verification link", orDash(r.Tickets.Verification)},
						[]string{"password link", orDash(r.Tickets.Password)},
						[]string{"second factor link", orDash(r.Tickets.MFA)},
					)
					printCredentials(w, r.Credentials)
				},
			})
		},
	}
	f := cmd.Flags()
	tenantFlag(cmd, &in.Tenant)
	detachFlag(cmd, &detach)
	f.StringVar(&in.Connection, "connection", "", "database of the user (default "+workflows.DefaultConnection+")")
	f.StringVar(&in.Name, "name", "", "full name")
	f.StringVar(&in.GivenName, "given-name", "", "given name")
	f.StringVar(&in.FamilyName, "family-name", "", "family name")
	f.StringSliceVar(&in.Roles, "role", nil, "roles by name; what the user has afterwards, no more and no less")
	f.BoolVar(&in.SkipVerification, "skip-verification", false, "make no link that verifies the address")
	f.BoolVar(&in.SkipPassword, "skip-password", false, "make no link that sets the password")
	f.BoolVar(&in.SkipMFA, "skip-mfa", false, "make no link that enrols a second factor")
	f.StringVar(&file, "file", "", "import the users of this .csv or .ndjson file")
	f.BoolVar(&bulk.Upsert, "upsert", false, "with --file: update users who exist (default: list them as failed)")
	f.IntVar(&in.TicketTTLSeconds, "ticket-ttl", 0, "how long the links work, in seconds (default 86400)")
	return cmd
}

// importUsers copies a file to where the worker reads it, and imports it.
func (a *app) importUsers(ctx context.Context, path string, in workflows.UserImportInput, detach bool) error {
	name, err := daemon.StageImport(ctx, a.dataDir, path)
	if err != nil {
		return err
	}
	in.File = name
	return a.runWorkflow(ctx, run{
		workflow: workflows.TypeUserImport,
		detach:   detach,
		build: func(tenant string) (string, any) {
			in.Tenant = orTenant(in.Tenant, tenant)
			connection := in.Connection
			if connection == "" {
				connection = workflows.DefaultConnection
			}
			return workflows.UserImportID(in.Tenant, connection, in.File), in
		},
		result: func() any { return &workflows.UserImportResult{} },
		table: func(w io.Writer, result any) {
			r := result.(*workflows.UserImportResult)
			rows(w,
				[]string{"ROWS", "INSERTED", "UPDATED", "FAILED", "JOBS"},
				[]string{fmt.Sprint(r.Rows), fmt.Sprint(r.Inserted), fmt.Sprint(r.Updated), fmt.Sprint(r.Failed), fmt.Sprint(r.Jobs)})
			for _, code := range slices.Sorted(maps.Keys(r.Codes)) {
				fmt.Fprintf(w, "%s: %d\n", code, r.Codes[code])
			}
			if r.Failures != "" {
				fmt.Fprintln(w, "each failed row with its reason:", r.Failures)
			}
		},
	})
}

func tenantFlag(cmd *cobra.Command, tenant *string) {
	cmd.Flags().StringVar(tenant, "tenant", "", "domain of the tenant (default: the one that the running tenon manages)")
}

func detachFlag(cmd *cobra.Command, detach *bool) {
	cmd.Flags().BoolVar(detach, "detach", false, "start the run, print its id and do not wait (exit code 8)")
}

func orTenant(tenant, otherwise string) string {
	if tenant != "" {
		return tenant
	}
	return otherwise
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func printObjects(w io.Writer, objects []workflows.Object) {
	lines := [][]string{{"OBJECT", "ACTION", "ID"}}
	for _, o := range objects {
		lines = append(lines, []string{o.Kind + "/" + o.Name, o.Action, o.ID})
	}
	rows(w, lines...)
}

func printCredentials(w io.Writer, c workflows.CredentialCheck) {
	if len(c.Excess) > 0 {
		fmt.Fprintf(w, "the credentials have %d scopes that tenon never uses; take them away: %s\n", len(c.Excess), abbreviate(c.Excess, 6))
	}
}

func abbreviate(list []string, most int) string {
	if len(list) <= most {
		return strings.Join(list, " ")
	}
	return fmt.Sprintf("%s and %d more (-o json shows all)", strings.Join(list[:most], " "), len(list)-most)
}

func printWarnings(w io.Writer, warnings []string) {
	for _, text := range warnings {
		fmt.Fprintln(w, "warning:", text)
	}
}
