package v1

import (
	"regexp"
)

// Auth0ActionSpec is code that Auth0 runs at a trigger. Its name in Auth0 is
// metadata.name.
//
// Field names are those that manifests of the OpenMCF kind of the same name use.
type Auth0ActionSpec struct {
	// SupportedTrigger is where the action runs.
	SupportedTrigger ActionTrigger `json:"supported_trigger" tenon:"required"`
	// Code is a Node.js module that exports the trigger's handler.
	Code string `json:"code" tenon:"required"`
	// Runtime is the version of Node.js.
	Runtime *string `json:"runtime,omitzero" tenon:"enum=node18|node22|"`
	// Dependencies are the npm packages that the code may require.
	Dependencies []ActionDependency `json:"dependencies,omitzero"`
	// Secrets are what the code reads from event.secrets. Auth0 never returns their
	// values: a value that changed in its store is sent when the action changes.
	Secrets []ActionSecret `json:"secrets,omitzero"`
	// Deploy makes the code live.
	Deploy *bool `json:"deploy,omitzero" tenon:"default=true"`
	// TriggerBinding appends the action to the trigger's flow. An action that is
	// already bound keeps its position.
	TriggerBinding *TriggerBinding `json:"trigger_binding,omitzero"`
}

// ActionTrigger is where an action runs, and the version of its interface.
type ActionTrigger struct {
	// ID is the name of the trigger. A deployed action cannot change it.
	ID string `json:"id" tenon:"required;immutable;enum=post-login|credentials-exchange|pre-user-registration|post-user-registration|post-change-password|send-phone-message|password-reset-post-challenge|custom-email-provider|custom-phone-provider|custom-token-exchange|event-stream"`
	// Version is that of the trigger's interface, for example v3.
	Version string `json:"version" tenon:"required"`
}

// ActionDependency is an npm package at an exact version.
type ActionDependency struct {
	// Name of the package.
	Name string `json:"name" tenon:"required"`
	// Version of the package.
	Version string `json:"version" tenon:"required"`
}

// ActionSecret is a named secret of an action.
type ActionSecret struct {
	// Name by which the code reads it: letters, digits and underscores.
	Name string `json:"name" tenon:"required"`
	// Value is the secret.
	Value SecretRef `json:"value" tenon:"required;secret"`
}

// TriggerBinding is the action's place in a flow.
type TriggerBinding struct {
	// DisplayName is how the flow shows the action.
	DisplayName *string `json:"display_name,omitzero" tenon:"default=metadata.name"`
}

// Kind implements Spec.
func (*Auth0ActionSpec) Kind() string { return KindAction }

// References implements Spec. An action refers to nothing.
func (*Auth0ActionSpec) References() []Reference { return nil }

var actionSecretName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Validate implements Spec.
func (s *Auth0ActionSpec) Validate() []Problem { return validate(s) }

func (s *Auth0ActionSpec) check(p *problems) {
	names := make([]string, len(s.Dependencies))
	for i, d := range s.Dependencies {
		names[i] = d.Name
	}
	p.each("spec.dependencies", names, nil)
	if len(s.Secrets) > 30 {
		p.warn("spec.secrets", "has %d items, Auth0 allows 30", len(s.Secrets))
	}
	names = make([]string, len(s.Secrets))
	for i, secret := range s.Secrets {
		names[i] = secret.Name
	}
	p.each("spec.secrets", names, func(at, v string) {
		if v != "" && !actionSecretName.MatchString(v) {
			p.warn(at+".name", "should be an identifier (letters, digits and underscores), so that the code can read event.secrets.%s", "NAME")
		}
	})
	if s.TriggerBinding != nil && s.Deploy != nil && !*s.Deploy {
		p.add("spec.trigger_binding", "needs deploy: an action that is not deployed cannot be bound")
	}
}
