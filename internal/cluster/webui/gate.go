package webui

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tenonhq/tenon/internal/token"
)

// errNoAccess says that the person is who they are, and may do nothing here.
var errNoAccess = errors.New("no access to this cluster")

// maxPermissions bounds the permissions of a session: they travel as one token
// with each call.
const maxPermissions = 100

// permissions is the gate: what the provider says that the person may do, and
// an error wrapping errNoAccess if that is nothing, or if they are in none of
// the groups that are let in.
func (p *provider) permissions(ctx context.Context, d *discovered, tokens *oauth2.Token, idClaims map[string]any) ([]token.Permission, error) {
	claims, err := p.sourceClaims(ctx, d, tokens, idClaims)
	if err != nil {
		return nil, err
	}
	granted, err := p.checkGroups(claims, idClaims)
	if err != nil {
		return nil, err
	}
	texts, err := p.cfg.Permissions(claims)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAccess, err)
	}
	texts = append(slices.Clone(texts), granted...)
	var found []token.Permission
	for _, text := range texts {
		permission, ok := token.ParseScope(text)
		if !ok {
			// Claims also hold what is for other services; that grants nothing here.
			if permission, err = token.ParsePermission(text); err != nil {
				continue
			}
		}
		if !slices.Contains(found, permission) {
			found = append(found, permission)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: the account has no role in any namespace", errNoAccess)
	}
	if len(found) > maxPermissions {
		return nil, fmt.Errorf("%w: the account has %d permissions (at most %d); grant cluster-wide ones instead", errNoAccess, len(found), maxPermissions)
	}
	return found, nil
}

// sourceClaims are the claims that permissions are read from.
func (p *provider) sourceClaims(ctx context.Context, d *discovered, tokens *oauth2.Token, idClaims map[string]any) (map[string]any, error) {
	switch p.cfg.PermissionsFrom {
	case FromAccessToken:
		access, err := d.access.Verify(ctx, tokens.AccessToken)
		if err != nil {
			return nil, fmt.Errorf("%w: access token: %w", errRefused, err)
		}
		claims, err := claimsOf(access)
		if err != nil {
			return nil, fmt.Errorf("%w: access token: %w", errRefused, err)
		}
		// Both tokens came in one answer; that they speak of one person guards
		// against a provider that mixes up its answers.
		if sub, ok := idClaims["sub"].(string); ok && sub != access.Subject {
			return nil, fmt.Errorf("%w: ID token and access token are about different people", errRefused)
		}
		return claims, nil
	case FromUserInfo:
		info, err := d.provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
		if err != nil {
			return nil, fmt.Errorf("%w: userinfo: %w", errUnreachable, err)
		}
		if sub, ok := idClaims["sub"].(string); ok && sub != info.Subject {
			return nil, fmt.Errorf("%w: userinfo is about somebody else", errRefused)
		}
		return userInfoClaims(info)
	}
	return idClaims, nil
}

func userInfoClaims(info *oidc.UserInfo) (map[string]any, error) {
	var claims rawClaims
	if err := info.Claims(&claims); err != nil {
		return nil, fmt.Errorf("%w: userinfo: %w", errRefused, err)
	}
	return claims.all, nil
}

// rawClaims decodes numbers as decodeClaims does.
type rawClaims struct{ all map[string]any }

// UnmarshalJSON implements json.Unmarshaler.
func (r *rawClaims) UnmarshalJSON(data []byte) (err error) {
	r.all, err = decodeClaims(data)
	return err
}

// checkGroups lets in people with one of the configured groups, and returns
// what their groups grant.
func (p *provider) checkGroups(sets ...map[string]any) ([]string, error) {
	if len(p.cfg.Groups) == 0 {
		return nil, nil
	}
	var granted []string
	in := false
	for _, claims := range sets {
		groups, err := token.FromClaims(p.cfg.GroupsClaim)(listed(claims, p.cfg.GroupsClaim))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNoAccess, err)
		}
		for _, g := range groups {
			if permissions, ok := p.cfg.Groups[g]; ok {
				in, granted = true, append(granted, permissions...)
			}
		}
	}
	if in {
		return granted, nil
	}
	for _, claims := range sets {
		// Entra ID leaves the groups of people with more than 200 out of the token.
		if names, ok := claims["_claim_names"].(map[string]any); ok && names[p.cfg.GroupsClaim] != nil {
			return nil, fmt.Errorf("%w: the account is in so many groups that the provider left them out of the token; assign the groups to the application, or use app roles", errNoAccess)
		}
	}
	return nil, fmt.Errorf("%w: the account is in none of the groups that are let in", errNoAccess)
}

// listed makes one string one group: a group's name may contain spaces, unlike
// a scope.
func listed(claims map[string]any, name string) map[string]any {
	if one, ok := claims[name].(string); ok {
		return map[string]any{name: []any{one}}
	}
	return claims
}
