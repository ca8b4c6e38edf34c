// Package v1test makes resources for the tests of those who implement the
// resource language: engines, workflows, the command line.
//
// It owns no rules: what it makes is valid by api/v1, and the tests of this
// package check that it reaches every field that it says.
package v1test

import (
	"encoding/json"
	"fmt"
	"reflect"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// ExplicitFalse returns resources of a kind that together set every boolean field
// of it to an explicit false, each with what is required besides and little more.
// They are valid, may be applied to one tenant together, and refer to nothing but
// each other. Names begin with "false-". It returns nil for a kind that has no
// booleans.
func ExplicitFalse(kind string) []v1.Resource {
	var out []v1.Resource
	for i, spec := range bases(kind) {
		r := v1.New(fmt.Sprintf("false-%d", i+1), spec)
		fill(reflect.ValueOf(spec))
		if client, ok := spec.(*v1.Auth0ClientSpec); ok && client.ApplicationType != "native" {
			client.NativeSocialLogin = nil
		}
		out = append(out, AllFalse(r))
	}
	return out
}

// AllFalse returns a copy of a resource in which every boolean field is an
// explicit false: those that are set, those that are absent from an object that
// is there, and every value of a map of booleans. Where a false forbids something
// else (an action that is not deployed cannot be bound), that is left out.
func AllFalse(r v1.Resource) v1.Resource {
	out := clone(r)
	falsify(reflect.ValueOf(out.Spec))
	if action, ok := out.Spec.(*v1.Auth0ActionSpec); ok {
		action.TriggerBinding = nil
	}
	return out
}

// AllOfFalse is AllFalse for a list.
func AllOfFalse(resources []v1.Resource) []v1.Resource {
	out := make([]v1.Resource, len(resources))
	for i, r := range resources {
		out[i] = AllFalse(r)
	}
	return out
}

// clone copies a resource by way of its canonical form.
func clone(r v1.Resource) v1.Resource {
	data, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("marshal %s/%s: %v", r.Kind, r.Metadata.Name, err))
	}
	var out v1.Resource
	if err := json.Unmarshal(data, &out); err != nil {
		panic(fmt.Sprintf("unmarshal %s/%s: %v", r.Kind, r.Metadata.Name, err))
	}
	return out
}

var boolPointer = reflect.TypeFor[*bool]()

// falsify sets every boolean below a value.
func falsify(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			falsify(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.Type() == boolPointer {
				f.Set(reflect.ValueOf(new(bool)))
			} else {
				falsify(f)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			falsify(v.Index(i))
		}
	case reflect.Map:
		if v.Type().Elem().Kind() == reflect.Bool {
			for _, k := range v.MapKeys() {
				v.SetMapIndex(k, reflect.ValueOf(false))
			}
		}
	}
}

// fill makes the objects of a spec that hold nothing but booleans and such
// objects, so that their booleans can be set. Others need values of their own,
// and stand in the bases.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			if f.Kind() == reflect.Pointer && f.IsNil() && f.Type().Elem().Kind() == reflect.Struct && onlyBooleans(f.Type().Elem()) {
				f.Set(reflect.New(f.Type().Elem()))
			}
			fill(f)
		}
	}
}

func onlyBooleans(t reflect.Type) bool {
	for i := range t.NumField() {
		switch f := t.Field(i).Type; {
		case f == boolPointer:
		case f.Kind() == reflect.Pointer && f.Elem().Kind() == reflect.Struct && onlyBooleans(f.Elem()):
		default:
			return false
		}
	}
	return t.NumField() > 0
}

// bases are specs with every object that holds a boolean somewhere.
func bases(kind string) []v1.Spec {
	secret := v1.SecretRef("env:TENON_EXAMPLE_SECRET")
	switch kind {
	case v1.KindTenant:
		return []v1.Spec{&v1.Auth0TenantSpec{
			Settings: &v1.TenantSettings{Flags: map[string]bool{"revoke_refresh_token_grant": true}},
			MFA:      &v1.TenantMFA{Factors: map[string]bool{"otp": true}},
			AttackProtection: &v1.AttackProtection{
				BruteForce: &v1.BruteForceProtection{}, BreachedPassword: &v1.BreachedPasswordDetection{}, SuspiciousIP: &v1.SuspiciousIPThrottling{},
			},
		}}
	case v1.KindConnection:
		return []v1.Spec{
			&v1.Auth0ConnectionSpec{Strategy: "auth0", DatabaseOptions: &v1.DatabaseOptions{}},
			&v1.Auth0ConnectionSpec{Strategy: "samlp", SAMLOptions: &v1.SAMLOptions{SignInEndpoint: "https://idp.example.com/sso", SigningCert: certificate}},
			&v1.Auth0ConnectionSpec{Strategy: "waad", AzureADOptions: &v1.AzureADOptions{
				ClientID: "00000000-0000-0000-0000-000000000000", ClientSecret: secret, Domain: "example.onmicrosoft.com"}},
		}
	case v1.KindClient:
		return []v1.Spec{
			&v1.Auth0ClientSpec{ApplicationType: "regular_web", JWTConfiguration: &v1.JWTConfiguration{},
				RefreshToken: &v1.RefreshToken{RotationType: new("rotating"), ExpirationType: new("expiring"), TokenLifetime: new(86_400), IdleTokenLifetime: new(3_600)}},
			&v1.Auth0ClientSpec{ApplicationType: "native", NativeSocialLogin: &v1.NativeSocialLogin{}},
			&v1.Auth0ClientSpec{ApplicationType: "non_interactive", GrantTypes: []string{"client_credentials"},
				APIGrants: []v1.APIGrant{{Audience: v1.Value("https://false.example.com/"), Scopes: []string{}}}},
		}
	case v1.KindResourceServer:
		return []v1.Spec{&v1.Auth0ResourceServerSpec{Identifier: "https://false.example.com/"}}
	case v1.KindClientGrant:
		return []v1.Spec{&v1.Auth0ClientGrantSpec{Client: v1.From(v1.KindClient, "false-1"), Audience: v1.Value("https://false.example.com/"), Scope: []string{}}}
	case v1.KindUser:
		return []v1.Spec{&v1.Auth0UserSpec{Connection: "false-1", Email: "false@example.com"}}
	case v1.KindAction:
		return []v1.Spec{&v1.Auth0ActionSpec{SupportedTrigger: v1.ActionTrigger{ID: "post-login", Version: "v3"},
			Code: "exports.onExecutePostLogin = async (event, api) => {};", Runtime: new("node22")}}
	case v1.KindService:
		return []v1.Spec{&v1.ServiceSpec{API: &v1.ServiceAPI{Identifier: "https://false-service.example.com/"}}}
	}
	return nil
}
