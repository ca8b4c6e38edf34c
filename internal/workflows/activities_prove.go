package workflows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/grafana"
)

// ProveWebApp proves that what was registered works together, with no user and
// no secret: discovery names the tenant as issuer, its endpoints are those of
// the settings, an RS256 key is published to check ID tokens with, and the
// authorization endpoint takes the client with its callback to a login page,
// and with another callback refuses it.
func (a *Activities) ProveWebApp(ctx context.Context, in GrafanaInput) ([]string, error) {
	ctx, stop := beat(ctx)
	defer stop()
	proof, err := a.prove(ctx, in)
	return proof, classify(ctx, err)
}

func (a *Activities) prove(ctx context.Context, in GrafanaInput) ([]string, error) {
	tenant, err := a.Tenants(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	s, err := a.settings(in)
	if err != nil {
		return nil, err
	}
	d, err := tenant.CheckDiscovery(ctx)
	if err != nil {
		if auth0.ClassOf(err) == auth0.Invalid {
			return nil, &proofError{err.Error()}
		}
		return nil, err
	}
	for _, e := range []struct{ name, announced, written string }{
		{"authorization endpoint", d.AuthorizationEndpoint, s.AuthURL},
		{"token endpoint", d.TokenEndpoint, s.TokenURL},
		{"userinfo endpoint", d.UserinfoEndpoint, s.APIURL},
	} {
		if e.announced != e.written {
			return nil, &proofError{fmt.Sprintf("the settings name %s as %s, the tenant announces %s", e.written, e.name, e.announced)}
		}
	}
	proof := []string{"discovery names the issuer " + d.Issuer + " and the endpoints of the settings"}

	client := *a.HTTP("https://" + in.Tenant)
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	kid, err := signingKey(ctx, &client, d.JWKSURI)
	if err != nil {
		return nil, err
	}
	proof = append(proof, "key "+kid+" signs ID tokens with RS256")

	status, location, err := authorize(ctx, &client, s, s.Callback())
	switch {
	case err != nil:
		return nil, err
	case !isRedirect(status) || location == nil:
		return nil, &proofError{fmt.Sprintf("the authorization endpoint answers %d to the client and its callback, not with a login page", status)}
	case location.Scheme+"://"+location.Host != "https://"+in.Tenant, refuses(location):
		return nil, &proofError{fmt.Sprintf("the authorization endpoint refuses the client: %s", location.Query().Get("error"))}
	}
	proof = append(proof, "the client is sent to the login page with the callback "+s.Callback())

	// A callback that nobody registered must not receive codes.
	other := s.RootURL + "/unregistered-callback"
	status, location, err = authorize(ctx, &client, s, other)
	switch {
	case err != nil:
		return nil, err
	case isRedirect(status) && (location == nil || !refuses(location)):
		return nil, &proofError{"the client accepts a callback that was not registered: " + other}
	case isRedirect(status) && strings.HasPrefix(location.String(), other):
		return nil, &proofError{"the tenant redirects to a callback that was not registered: " + other}
	}
	return append(proof, "a callback that is not registered is refused"), nil
}

// refuses reports whether a redirect leads to an error page, the tenant's own or
// one that the tenant's settings name.
func refuses(location *url.URL) bool {
	return strings.HasPrefix(location.Path, "/error") || location.Query().Has("error")
}

func isRedirect(status int) bool { return status == http.StatusFound || status == http.StatusSeeOther }

// authorize begins a login and drops it: nobody holds the verifier of its
// challenge.
func authorize(ctx context.Context, client *http.Client, s grafana.Settings, callback string) (int, *url.URL, error) {
	query := url.Values{
		"response_type": {"code"}, "client_id": {s.ClientID}, "redirect_uri": {callback}, "scope": {"openid"},
		"state": {"proof"}, "code_challenge_method": {"S256"}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"},
	}
	resp, _, err := get(ctx, client, s.AuthURL+"?"+query.Encode())
	if err != nil {
		return 0, nil, err
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 {
		return 0, nil, &auth0.Error{Class: auth0.Unavailable, Status: resp.StatusCode, Operation: "begin a login", Message: http.StatusText(resp.StatusCode)}
	}
	location, err := resp.Location()
	if err != nil && !errors.Is(err, http.ErrNoLocation) {
		return 0, nil, &proofError{"the authorization endpoint redirects to something that is not a URL"}
	}
	return resp.StatusCode, location, nil
}

// signingKey returns the id of a published key that ID tokens signed with RS256
// can be checked with.
func signingKey(ctx context.Context, client *http.Client, address string) (string, error) {
	resp, body, err := get(ctx, client, address)
	if err != nil {
		return "", err
	}
	var set struct {
		Keys []struct {
			ID  string `json:"kid"`
			Typ string `json:"kty"`
			Alg string `json:"alg"`
			Use string `json:"use"`
		} `json:"keys"`
	}
	if resp.StatusCode != http.StatusOK {
		return "", &auth0.Error{Class: auth0.Unavailable, Status: resp.StatusCode, Operation: "read the key set", Message: http.StatusText(resp.StatusCode)}
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return "", &proofError{"the key set is not JSON"}
	}
	for _, k := range set.Keys {
		if k.Typ == "RSA" && slices.Contains([]string{"RS256", ""}, k.Alg) && slices.Contains([]string{"sig", ""}, k.Use) && k.ID != "" {
			return k.ID, nil
		}
	}
	return "", &proofError{"the tenant publishes no RS256 key, with which the client's ID tokens are signed"}
}

func get(ctx context.Context, client *http.Client, address string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, &proofError{"an endpoint is not a URL"}
	}
	req.Header.Set("Accept", "text/html, application/json")
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, nil, &auth0.Error{Class: auth0.Unavailable, Operation: "reach " + req.URL.Host, Message: err.Error(), Err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, nil, &auth0.Error{Class: auth0.Unavailable, Operation: "read " + req.URL.Host, Message: "the answer broke off", Err: err}
	}
	return resp, body, nil
}
