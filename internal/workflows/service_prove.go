package workflows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"

	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/secret"
)

// ServiceProof is the input of the activity ProveService.
type ServiceProof struct {
	Tenant   string `json:"tenant"`
	ClientID string `json:"clientId"`
	// ClientSecret is a reference.
	ClientSecret string `json:"clientSecret"`
	Audience     string `json:"audience"`
	// Scopes are what a token has to carry, exactly; with Permissions, in the claim
	// of that name as well.
	Scopes      []string `json:"scopes"`
	Permissions bool     `json:"permissions,omitempty"`
	// Outside is a scope that the tenant must not grant.
	Outside string `json:"outside"`
}

// tokenAttempts is how often a new service may be refused a token before it
// counts: what was made a moment ago may not be known at the token endpoint yet.
const tokenAttempts = 3

// ProveService proves that a service can call its API and do no more there than
// it was granted. It fetches a token as the service would and checks it as the API
// would; the token goes nowhere. Tokens are metered: each attempt fetches one.
func (a *Activities) ProveService(ctx context.Context, in ServiceProof) ([]string, error) {
	ctx, stop := beat(ctx)
	defer stop()
	proof, err := a.proveService(ctx, in)
	return proof, classify(ctx, err)
}

func (a *Activities) proveService(ctx context.Context, in ServiceProof) ([]string, error) {
	if in.ClientID == "" || in.ClientSecret == "" {
		return nil, fmt.Errorf("client_id, client_secret: %w", errNoOutput)
	}
	ref, err := secret.ParseRef(in.ClientSecret)
	if err != nil {
		return nil, err
	}
	clientSecret, err := a.Secrets.Get(ctx, ref)
	if err != nil {
		return nil, err
	}
	tenant, err := a.Tenants(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	token, err := tenant.CheckClientCredentials(ctx, in.ClientID, clientSecret, in.Audience, nil)
	switch {
	case refusesToken(err):
		err = &proofError{"the service gets no token: " + err.Error()}
		if activity.IsActivity(ctx) && activity.GetInfo(ctx).Attempt < tokenAttempts {
			return nil, temporal.NewApplicationError(err.Error(), ErrorProof)
		}
		return nil, err
	case auth0.ClassOf(err) == auth0.Invalid:
		return nil, &proofError{err.Error()}
	case err != nil:
		return nil, err
	}
	carried := strings.Fields(token.Scope)
	if err := sameScopes("scope", carried, in.Scopes); err != nil {
		return nil, err
	}
	if in.Permissions {
		if err := sameScopes("permissions", token.Permissions, in.Scopes); err != nil {
			return nil, err
		}
	}
	proof := []string{
		fmt.Sprintf("the service gets a token for %s from %s, whose signature is that of the published key %s", in.Audience, token.Issuer, token.KeyID),
		"the token carries the scopes of the grant and no other: " + orDefault(strings.Join(in.Scopes, " "), "none"),
	}
	other, err := tenant.CheckClientCredentials(ctx, in.ClientID, clientSecret, in.Audience, []string{in.Outside})
	switch {
	case refusesToken(err):
		return append(proof, "a token with "+in.Outside+", which the grant does not hold, is refused"), nil
	case err != nil:
		return nil, err
	case slices.Contains(strings.Fields(other.Scope), in.Outside) || slices.Contains(other.Permissions, in.Outside):
		return nil, &proofError{"the service gets a token with " + in.Outside + ", which the grant does not hold"}
	}
	return append(proof, "a token that is asked for with "+in.Outside+", which the grant does not hold, comes without it"), nil
}

// refusesToken reports whether the token endpoint itself refused: the client, the
// audience or the scopes.
func refusesToken(err error) bool {
	var e *auth0.Error
	return errors.As(err, &e) && e.Status != 0 && (e.Class == auth0.Credentials || e.Class == auth0.Invalid && e.Code == "invalid_scope")
}

// sameScopes compares what a token carries with what it should.
func sameScopes(claim string, have, want []string) error {
	var missing, extra []string
	for _, s := range want {
		if !slices.Contains(have, s) {
			missing = append(missing, s)
		}
	}
	for _, s := range have {
		if !slices.Contains(want, s) {
			extra = append(extra, s)
		}
	}
	switch {
	case len(missing) > 0:
		return &proofError{fmt.Sprintf("the token's claim %s lacks %s", claim, strings.Join(missing, " "))}
	case len(extra) > 0:
		return &proofError{fmt.Sprintf("the token's claim %s carries %s, which was not granted", claim, strings.Join(extra, " "))}
	}
	return nil
}
