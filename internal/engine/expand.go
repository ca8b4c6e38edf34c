package engine

import (
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// Expand returns the resources that objects in Auth0 are made from: a WebApp and a
// Service become their primitives (v1.Expand), api_grants of a client become the
// grants that they are. It does nothing to a resource that is
// expanded already. Plan expands what it is given; a caller that compares an
// inventory with manifests has to do so first.
func Expand(resources []v1.Resource) ([]v1.Resource, error) {
	resources, err := v1.Expand(resources)
	if err != nil {
		return nil, &InvalidError{Problems: []ResourceProblem{{Problem: v1.Problem{Message: err.Error()}}}}
	}
	var out []v1.Resource
	for _, r := range resources {
		spec, ok := r.Spec.(*v1.Auth0ClientSpec)
		if !ok || len(spec.APIGrants) == 0 {
			out = append(out, r)
			continue
		}
		bare := *spec
		bare.APIGrants = nil
		r.Spec = &bare
		out = append(out, r)
		for _, g := range spec.APIGrants {
			scope := g.Scopes
			if scope == nil {
				scope = []string{}
			}
			target := g.Audience.Value
			if g.Audience.ValueFrom != nil {
				target = g.Audience.ValueFrom.Name
			}
			grant := v1.New(r.Metadata.Name+"-"+GrantName(target), &v1.Auth0ClientGrantSpec{
				Client: v1.From(v1.KindClient, r.Metadata.Name), Audience: g.Audience, Scope: scope,
				AllowAnyOrganization: g.AllowAnyOrganization, OrganizationUsage: g.OrganizationUsage,
			})
			grant.Metadata.Labels = r.Metadata.Labels
			out = append(out, grant)
		}
	}
	return out, nil
}

// GrantName makes an identifier such as https://api.example.com/ fit for the name of a resource.
func GrantName(identifier string) string {
	if _, rest, ok := strings.Cut(identifier, "://"); ok {
		identifier = rest
	}
	return strings.Trim(strings.ReplaceAll(identifier, "/", "-"), "-")
}
