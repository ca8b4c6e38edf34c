package v1

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// ClaimsActionName is the name of the action that puts roles into ID tokens. All
// web applications share it: Auth0 runs at most 20 actions at one trigger, and
// each costs login time.
const ClaimsActionName = "tenon-roles-claim"

//go:embed roles_claim.js
var claimsActionCode string

// ClaimsAction is the post-login action that puts the user's roles into the ID
// token, under the claim that a client names in its metadata as "roles_claim". It
// leaves clients without that key alone.
func ClaimsAction() Resource {
	runtime, deploy, name := "node22", true, ClaimsActionName
	return New(ClaimsActionName, &Auth0ActionSpec{
		SupportedTrigger: ActionTrigger{ID: "post-login", Version: "v3"},
		Code:             claimsActionCode,
		Runtime:          &runtime,
		Deploy:           &deploy,
		TriggerBinding:   &TriggerBinding{DisplayName: &name},
	})
}

// Expand replaces every WebApp and Service by the objects that it stands for, and
// brings references to it to the object that has the output. What is made carries
// the label LabelFrom. The order is that of the resources, and the result follows
// from them alone. Resources that stand for themselves are returned as they are.
func Expand(resources []Resource) ([]Resource, error) {
	var out []Resource
	var problems []error
	index := map[resourceKey]int{}
	put := func(r Resource, shared bool) {
		key := keyOf(r)
		i, dup := index[key]
		if !dup {
			index[key] = len(out)
			out = append(out, r)
			return
		}
		first, second := out[i].Metadata.Labels[LabelFrom], r.Metadata.Labels[LabelFrom]
		if shared && first != "" {
			out[i].Metadata.Labels[LabelFrom] = first + "," + second
			return
		}
		problems = append(problems, fmt.Errorf("%s is given twice: by %s and by %s", key, origin(first), origin(second)))
	}
	for _, r := range resources {
		switch spec := r.Spec.(type) {
		case *WebAppSpec:
			action := ClaimsAction()
			action.Metadata.Labels = map[string]string{LabelFrom: keyOf(r).String()}
			put(action, true)
			put(made(r, spec.client(r.Metadata.Name)), false)
		case *ServiceSpec:
			if spec.API != nil {
				put(made(r, spec.API.resourceServer(r.Metadata.Name)), false)
			}
			put(made(r, spec.client()), false)
			put(made(r, spec.grant(r.Metadata.Name)), false)
		case nil:
			problems = append(problems, fmt.Errorf("%s has no spec", keyOf(r)))
		default:
			put(r, false)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	for i := range out {
		moved, err := redirect(out[i])
		if err != nil {
			return nil, err
		}
		out[i] = moved
	}
	return out, nil
}

func origin(from string) string {
	if from == "" {
		return "a manifest of its own"
	}
	return from
}

// makes lists what Expand makes of a resource.
func makes(r Resource) []resourceKey {
	name := r.Metadata.Name
	switch spec := r.Spec.(type) {
	case *WebAppSpec:
		return []resourceKey{{KindAction, ClaimsActionName}, {KindClient, name}}
	case *ServiceSpec:
		keys := []resourceKey{{KindClient, name}, {KindClientGrant, name}}
		if spec.API != nil {
			keys = append(keys, resourceKey{KindResourceServer, name})
		}
		return keys
	}
	return nil
}

// made is a part of a resource. It is as protected as the whole.
func made(whole Resource, spec Spec) Resource {
	r := Resource{APIVersion: APIVersion, Kind: spec.Kind(), Metadata: whole.Metadata, Spec: spec}
	r.Metadata.Labels = maps.Clone(whole.Metadata.Labels)
	if r.Metadata.Labels == nil {
		r.Metadata.Labels = map[string]string{}
	}
	r.Metadata.Labels[LabelFrom] = keyOf(whole).String()
	return r
}

func ptr[T any](v T) *T { return &v }

// client is the client of a web application.
func (s *WebAppSpec) client(name string) *Auth0ClientSpec {
	root, claim := s.root(), valueOr(s.RolesClaim, DefaultRolesClaim)
	callbacks, logouts, origins, description := s.Callbacks, s.LogoutURLs, s.WebOrigins, s.Description
	label := name + " at " + root
	var login *string
	if s.application() == ApplicationGrafana {
		if callbacks == nil {
			callbacks = []string{root + "/login/generic_oauth"}
		}
		if logouts == nil {
			logouts = []string{root + "/login"}
		}
		label = "Grafana at " + root
		if strings.HasPrefix(root, "https://") { // Auth0 takes https alone
			login = ptr(root + "/login/generic_oauth")
		}
	}
	if origins == nil {
		origins = []string{s.origin()}
	}
	if description == nil && utf8.RuneCountInString(label) <= 140 {
		description = &label
	}
	metadata := maps.Clone(s.ClientMetadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	metadata[rolesClaimKey] = claim
	return &Auth0ClientSpec{
		ApplicationType:   "regular_web",
		Description:       description,
		Callbacks:         callbacks,
		AllowedLogoutURLs: logouts,
		WebOrigins:        origins,
		InitiateLoginURI:  login,
		// What a server-side application needs, and nothing that yields tokens without a
		// code (implicit, password) or without a user (client_credentials).
		GrantTypes:              []string{"authorization_code", "refresh_token"},
		TokenEndpointAuthMethod: ptr("client_secret_basic"),
		OIDCConformant:          ptr(true),
		JWTConfiguration:        &JWTConfiguration{Alg: ptr("RS256"), LifetimeInSeconds: ptr(valueOr(s.IDTokenLifetime, 36_000))},
		// A stolen refresh token works once at most, and its use by two reveals it.
		RefreshToken: &RefreshToken{
			RotationType: ptr("rotating"), ExpirationType: ptr("expiring"), Leeway: ptr(0),
			TokenLifetime:         ptr(valueOr(s.RefreshTokenLifetime, 2_592_000)),
			IdleTokenLifetime:     ptr(valueOr(s.RefreshTokenIdleLifetime, 1_296_000)),
			InfiniteTokenLifetime: ptr(false), InfiniteIdleTokenLifetime: ptr(false),
		},
		ClientMetadata:     metadata,
		EnabledConnections: slices.Clone(s.Connections),
	}
}

// client is the client of a service.
func (s *ServiceSpec) client() *Auth0ClientSpec {
	return &Auth0ClientSpec{
		ApplicationType: "non_interactive",
		Description:     s.Description,
		// Nothing that a person could log in by.
		GrantTypes:              []string{"client_credentials"},
		TokenEndpointAuthMethod: ptr(valueOr(s.TokenEndpointAuthMethod, "client_secret_post")),
		OIDCConformant:          ptr(true),
		ClientMetadata:          maps.Clone(s.ClientMetadata),
	}
}

// grant lets the service's client call its API.
func (s *ServiceSpec) grant(name string) *Auth0ClientGrantSpec {
	grant := &Auth0ClientGrantSpec{
		Client: From(KindClient, name), Scope: s.Scopes,
		OrganizationUsage: s.OrganizationUsage, AllowAnyOrganization: s.AllowAnyOrganization,
	}
	if s.Audience != nil {
		grant.Audience = *s.Audience
	}
	if s.API != nil {
		grant.Audience = From(KindResourceServer, name)
		if s.Scopes == nil {
			for _, scope := range s.API.Scopes {
				grant.Scope = append(grant.Scope, scope.Name)
			}
		}
	}
	if grant.Scope == nil {
		grant.Scope = []string{}
	}
	return grant
}

// redirect brings references to a WebApp or Service to the object that has the
// output. A resource without such references is returned as it is.
func redirect(r Resource) (Resource, error) {
	if !slices.ContainsFunc(r.Spec.References(), func(ref Reference) bool { return ref.Kind == KindWebApp || ref.Kind == KindService }) {
		return r, nil
	}
	data, err := json.Marshal(r)
	if err != nil {
		return r, fmt.Errorf("%s: %w", keyOf(r), err)
	}
	var copied Resource
	if err := json.Unmarshal(data, &copied); err != nil {
		return r, fmt.Errorf("%s: %w", keyOf(r), err)
	}
	eachRef(models()[copied.Kind], rules{}, reflect.ValueOf(copied.Spec), func(ref *StringOrRef, r rules) {
		from := ref.ValueFrom
		if from == nil || (from.Kind != KindWebApp && from.Kind != KindService) {
			return
		}
		output := strings.TrimPrefix(from.FieldPath, outputPrefix)
		if output == "" {
			output = r.refOutput
		}
		if from.Kind == KindService && (output == "audience" || output == "identifier") {
			from.Kind, from.FieldPath = KindClientGrant, outputPrefix+"audience"
			return
		}
		from.Kind = KindClient
	})
	return copied, nil
}

// eachRef visits every StringOrRef of a value, with the rules of its field.
func eachRef(t *typeModel, r rules, v reflect.Value, visit func(*StringOrRef, rules)) {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		if ref, ok := v.Interface().(*StringOrRef); ok {
			visit(ref, r)
			return
		}
		v = v.Elem()
	}
	switch t.shape {
	case shapeObject:
		for _, f := range t.fields {
			field := v.Field(f.index)
			if field.Kind() == reflect.Struct {
				field = field.Addr()
			}
			eachRef(f.typ, f.rules, field, visit)
		}
	case shapeList:
		for i := range v.Len() {
			eachRef(t.elem, r, v.Index(i).Addr(), visit)
		}
	}
}
