package workflows

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// TypeServiceRegistration is the workflow type of service registrations.
const TypeServiceRegistration = "ServiceRegistrationWorkflow"

// ServiceID is the workflow id to start ServiceRegistrationWorkflow with.
func ServiceID(tenant, name string) string { return "service/" + tenant + "/" + name }

// ServiceInput is the input of ServiceRegistrationWorkflow.
type ServiceInput struct {
	// Tenant and Engine are as in TenantSetupInput.
	Tenant string `json:"tenant"`
	Engine string `json:"engine,omitempty"`
	// Name of the service: that of its client and, with api, of the API in Auth0.
	// Required; letters, digits, spaces, dots, dashes and underscores.
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// API is the API that the service calls, made along with it. Give this or
	// audience.
	API *ServiceAPIInput `json:"api,omitempty"`
	// Audience is the identifier of an API that exists. It is left as it is.
	Audience string `json:"audience,omitempty"`
	// Scopes are what the service may do, no more and no less. They default to all
	// scopes of api, and to none at an audience.
	Scopes []string `json:"scopes,omitempty"`
}

// ServiceAPIInput is an API that is made along with a service.
type ServiceAPIInput struct {
	// Identifier is the audience of the API's tokens. Required.
	Identifier string `json:"identifier"`
	// Scopes are all that the API knows. They default to those of the service. An API
	// that exists must not lose one by this.
	Scopes []ServiceScope `json:"scopes,omitempty"`
	// TokenLifetimeSeconds defaults to 3600.
	TokenLifetimeSeconds int `json:"tokenLifetimeSeconds,omitempty"`
}

// ServiceScope is a scope of an API.
type ServiceScope struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// ServiceResult is the result of ServiceRegistrationWorkflow.
type ServiceResult struct {
	Tenant      string          `json:"tenant"`
	Name        string          `json:"name"`
	Credentials CredentialCheck `json:"credentials"`
	Objects     []Object        `json:"objects"`
	ClientID    string          `json:"clientId"`
	// ClientSecret is a reference into a secret store.
	ClientSecret string `json:"clientSecret"`
	// Audience and Scopes are what the service asks for a token with, and what the
	// token carries.
	Audience string   `json:"audience"`
	Scopes   []string `json:"scopes"`
	// Proof is what was found to hold, line by line.
	Proof    []string `json:"proof"`
	Warnings []string `json:"warnings,omitempty"`
}

// WithDefaults returns the input with everything that was left out filled in.
func (in ServiceInput) WithDefaults() ServiceInput {
	in.Engine = orDefault(in.Engine, DefaultEngine)
	if in.API == nil {
		return in
	}
	api := *in.API
	api.TokenLifetimeSeconds = orDefault(api.TokenLifetimeSeconds, 3600)
	if api.Scopes == nil {
		for _, name := range in.Scopes {
			api.Scopes = append(api.Scopes, ServiceScope{Name: name})
		}
	}
	if in.Scopes == nil {
		for _, scope := range api.Scopes {
			in.Scopes = append(in.Scopes, scope.Name)
		}
	}
	in.API = &api
	return in
}

var (
	serviceName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9 ._-]{0,98}[a-zA-Z0-9_-])?$`)
	// RFC 6749 section 3.3.
	scopeToken = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]{1,280}$`)
	audience   = regexp.MustCompile(`^[\x21-\x7E]{1,600}$`)
)

// Validate reports every problem of an input whose defaults are filled in.
func (in ServiceInput) Validate() []v1.Problem {
	var p problems
	p.tenant(in.Tenant)
	if !serviceName.MatchString(in.Name) {
		p.add("name", "is %q, must be letters, digits, spaces, dots, dashes and underscores, at most 100", in.Name)
	}
	if len(in.Description) > 140 {
		p.add("description", "has %d bytes, Auth0 allows 140", len(in.Description))
	}
	for i, scope := range in.Scopes {
		p.scope(fmt.Sprintf("scopes[%d]", i), scope, in.Scopes[:i])
	}
	switch {
	case in.API == nil && in.Audience == "":
		p.add("api", "is required, unless audience names an API that exists")
	case in.API != nil && in.Audience != "":
		p.add("audience", "and api exclude each other")
	case in.API == nil && !audience.MatchString(in.Audience):
		p.add("audience", "is %q, must be the identifier of an API: no spaces, at most 600 characters", in.Audience)
	}
	if in.API == nil {
		return p
	}
	if !audience.MatchString(in.API.Identifier) {
		p.add("api.identifier", "is %q, must be a URI or another name without spaces, at most 600 characters", in.API.Identifier)
	}
	p.within("api.tokenLifetimeSeconds", in.API.TokenLifetimeSeconds, 60, 30*86_400)
	var known []string
	for i, scope := range in.API.Scopes {
		p.scope(fmt.Sprintf("api.scopes[%d].name", i), scope.Name, known)
		known = append(known, scope.Name)
	}
	for i, scope := range in.Scopes {
		if !slices.Contains(known, scope) {
			p.add(fmt.Sprintf("scopes[%d]", i), "is %q, which is not among the scopes of api", scope)
		}
	}
	return p
}

func (p *problems) scope(path, name string, before []string) {
	if !scopeToken.MatchString(name) {
		p.add(path, "is %q, must be a name such as read:orders, without spaces and quotes", name)
	}
	if slices.Contains(before, name) {
		p.add(path, "repeats %q", name)
	}
}

// service is the resource that the input describes.
func (in ServiceInput) service() v1.Resource {
	spec := &v1.ServiceSpec{Scopes: in.Scopes}
	if spec.Scopes == nil {
		spec.Scopes = []string{}
	}
	if in.Description != "" {
		spec.Description = ptr(in.Description)
	}
	if in.API == nil {
		spec.Audience = ptr(v1.Value(in.Audience))
		return v1.New(in.Name, spec)
	}
	spec.API = &v1.ServiceAPI{
		Identifier:    in.API.Identifier,
		SigningAlg:    ptr("RS256"),
		TokenLifetime: ptr(in.API.TokenLifetimeSeconds),
		// With authz, so that tokens carry permissions, which is what an API checks when
		// users call it as well.
		EnforcePolicies: ptr(true),
		TokenDialect:    ptr("access_token_authz"),
	}
	for _, scope := range in.API.Scopes {
		spec.API.Scopes = append(spec.API.Scopes, v1.Scope{Name: scope.Name, Description: scope.Description})
	}
	return v1.New(in.Name, spec)
}

// outsideTheGrant is a scope that the service must not get: one that the API
// knows, if there is one.
func (in ServiceInput) outsideTheGrant() string {
	if in.API != nil {
		for _, scope := range in.API.Scopes {
			if !slices.Contains(in.Scopes, scope.Name) {
				return scope.Name
			}
		}
	}
	return "tenon:outside-the-grant"
}

// ServiceRegistrationWorkflow registers a program that calls an API in its own
// name: the client, the API unless it exists, and the grant between them. It then
// proves that the service gets a token which the API would accept, with the scopes
// of the grant and no other. If a step fails for good, what the run made is undone.
func ServiceRegistrationWorkflow(ctx workflow.Context, in ServiceInput) (*ServiceResult, error) {
	in = in.WithDefaults()
	s, err := newSaga(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	s.add(stepCredentials, "Credentials and scopes")
	result, err := registerService(ctx, s, in)
	if err := s.finish(ctx, err); err != nil {
		return nil, err
	}
	return result, nil
}

func registerService(ctx workflow.Context, s *saga, in ServiceInput) (*ServiceResult, error) {
	if err := refuse(in.Validate()); err != nil {
		return nil, err
	}
	resources, err := v1.Expand([]v1.Resource{in.service()})
	if err != nil {
		return nil, temporal.NewNonRetryableApplicationError(err.Error(), ErrorInvalidInput, nil)
	}
	a := s.applier(ctx, in.Engine)
	a.check = keepScopes
	parts := make([]part, len(resources))
	for i, r := range resources {
		parts[i] = part{resource: r, title: serviceTitle(in, r.Kind)}
	}
	a.announce(parts)
	s.add(stepProof, "Proof that the service gets its token, and no more")
	check, err := s.checkCredentials(ctx, in.Engine, serviceScopes())
	if err != nil {
		return nil, err
	}
	if err := a.apply(ctx, parts); err != nil {
		return nil, err
	}
	proof := ServiceProof{
		Tenant: in.Tenant, Audience: in.Audience, Scopes: in.Scopes, Outside: in.outsideTheGrant(),
		ClientID:     a.output(v1.KindClient, in.Name, "client_id"),
		ClientSecret: a.output(v1.KindClient, in.Name, "client_secret"),
	}
	if in.API != nil {
		proof.Audience, proof.Permissions = in.API.Identifier, true
	}
	result := &ServiceResult{
		Tenant: in.Tenant, Name: in.Name, Credentials: check, Objects: a.objects(),
		ClientID: proof.ClientID, ClientSecret: proof.ClientSecret, Audience: proof.Audience, Scopes: in.Scopes,
	}
	if err := s.do(ctx, stepProof, activityProveService, proof, &result.Proof); err != nil {
		return nil, err
	}
	result.Warnings = s.Warnings
	return result, nil
}

func serviceTitle(in ServiceInput, kind string) string {
	switch kind {
	case v1.KindResourceServer:
		return "API " + in.API.Identifier
	case v1.KindClient:
		return "Client " + in.Name
	}
	return "Grant of " + in.Name
}

// keepScopes refuses a plan that takes scopes away from an API that exists: other
// services and roles may hold them, and would lose them without notice.
func keepScopes(plan *engine.Plan) error {
	for _, step := range plan.Steps {
		spec, ok := step.Resource.Spec.(*v1.Auth0ResourceServerSpec)
		if !ok || len(step.Before) == 0 {
			continue
		}
		var before struct {
			Scopes []v1.Scope `json:"scopes"`
		}
		if err := json.Unmarshal(step.Before, &before); err != nil {
			return fmt.Errorf("%s: %w", step.Key, err)
		}
		var lost []string
		for _, scope := range before.Scopes {
			if !slices.ContainsFunc(spec.Scopes, func(s v1.Scope) bool { return s.Name == scope.Name }) {
				lost = append(lost, scope.Name)
			}
		}
		if len(lost) > 0 {
			return temporal.NewNonRetryableApplicationError(fmt.Sprintf(
				"the API %s exists, and would lose the scopes %s: list them among its scopes too, or give it as audience", spec.Identifier, strings.Join(lost, " ")),
				ErrorConflict, nil)
		}
	}
	return nil
}
