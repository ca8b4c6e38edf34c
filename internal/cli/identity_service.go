package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/workflows"
)

func newService(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "service", GroupID: "identity", Short: "Register programs that call an API in their own name"}
	cmd.AddCommand(newServiceRegister(a))
	return cmd
}

func newServiceRegister(a *app) *cobra.Command {
	var in workflows.ServiceInput
	var api workflows.ServiceAPIInput
	var known []string
	var detach bool
	cmd := &cobra.Command{
		Use:   "register NAME --api IDENTIFIER --scope SCOPE",
		Short: "Register a service: its client, the API that it calls, and the grant between them",
		Long: `Register a program that calls an API in its own name: a client that can do nothing
but fetch tokens with its secret, the API with its scopes, and a grant of those
that the service may use. With --audience, the API is one that exists, and is left
as it is. The secret goes to the secret store, and the answer names where.

Ends by proving it: a token is fetched with the client's credentials and checked as
the API would check it (signature, issuer, audience, expiry, scopes), and one with a
scope outside the grant must be refused. If any of it fails, it is all undone.`,
		Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			if (api.Identifier == "") == (in.Audience == "") {
				return usagef(cmd, "give one of --api and --audience")
			}
			if in.Audience != "" && (len(known) > 0 || api.TokenLifetimeSeconds != 0) {
				return usagef(cmd, "--api-scope and --token-lifetime need --api: what --audience names is left as it is")
			}
			if api.Identifier != "" {
				in.API = &api
				for _, text := range known {
					name, description, _ := strings.Cut(text, "=")
					api.Scopes = append(api.Scopes, workflows.ServiceScope{Name: name, Description: description})
				}
			}
			return a.runWorkflow(cmd.Context(), run{
				workflow: workflows.TypeServiceRegistration,
				detach:   detach,
				build: func(tenant string) (string, any) {
					in.Tenant = orTenant(in.Tenant, tenant)
					return workflows.ServiceID(in.Tenant, in.Name), in
				},
				result: func() any { return &workflows.ServiceResult{} },
				table: func(w io.Writer, result any) {
					r := result.(*workflows.ServiceResult)
					printObjects(w, r.Objects)
					rows(w,
						[]string{"client id", r.ClientID},
						[]string{"client secret", r.ClientSecret},
						[]string{"audience", r.Audience},
						[]string{"scopes", orDash(strings.Join(r.Scopes, " "))},
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
	f.StringVar(&api.Identifier, "api", "", "identifier of the API to make along with the service")
	f.StringVar(&in.Audience, "audience", "", "identifier of an API that exists, instead of --api")
	f.StringSliceVar(&in.Scopes, "scope", nil, "what the service may do, no more and no less (default: all of --api-scope)")
	f.StringArrayVar(&known, "api-scope", nil, "scopes that the API knows, as NAME or NAME=DESCRIPTION (default: those of --scope)")
	f.IntVar(&api.TokenLifetimeSeconds, "token-lifetime", 0, "how long tokens for the API last, in seconds (default 3600)")
	f.StringVar(&in.Description, "description", "", "what the service is for")
	return cmd
}
