package v1

import (
	"fmt"
	"regexp"
)

// Auth0ActionSpec is code that Auth0 runs at a trigger. Its name in Auth0 is
// metadata.name.
//
// Field names are those that manifests of the OpenMCF kind of the same name use.
// Outputs: id, name, version_id, runtime.
type Auth0ActionSpec struct {
	SupportedTrigger ActionTrigger `json:"supported_trigger"`
	// Code is a Node.js module that exports the trigger's handler.
	Code string `json:"code"`
	// Runtime is node18 or node22.
	Runtime      *string            `json:"runtime,omitzero"`
	Dependencies []ActionDependency `json:"dependencies,omitzero"`
	// Secrets are what the code reads from event.secrets. Auth0 never returns their
	// values: a value that changed in its store is sent when the action changes.
	Secrets []ActionSecret `json:"secrets,omitzero"`
	// Deploy makes the code live. Defaults to true.
	Deploy *bool `json:"deploy,omitzero"`
	// TriggerBinding appends the action to the trigger's flow. An action that is
	// already bound keeps its position.
	TriggerBinding *TriggerBinding `json:"trigger_binding,omitzero"`
}

// ActionTrigger is where an action runs, and the version of its interface.
type ActionTrigger struct {
	ID      string `json:"id"`
	Version string `json:"version"`
}

// ActionDependency is an npm package at an exact version.
type ActionDependency struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// ActionSecret is a named secret of an action.
type ActionSecret struct {
	Name  string    `json:"name"`
	Value SecretRef `json:"value"`
}

// TriggerBinding is the action's place in a flow.
type TriggerBinding struct {
	// DisplayName defaults to the action's name.
	DisplayName *string `json:"display_name,omitzero"`
}

// Kind implements Spec.
func (*Auth0ActionSpec) Kind() string { return KindAction }

// References implements Spec. An action refers to nothing.
func (*Auth0ActionSpec) References() []Reference { return nil }

var actionSecretName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Validate implements Spec.
func (s *Auth0ActionSpec) Validate() []Problem {
	var p problems
	if p.required("spec.supported_trigger.id", s.SupportedTrigger.ID) {
		p.oneOf("spec.supported_trigger.id", s.SupportedTrigger.ID, "post-login", "credentials-exchange", "pre-user-registration",
			"post-user-registration", "post-change-password", "send-phone-message", "password-reset-post-challenge",
			"custom-email-provider", "custom-phone-provider", "custom-token-exchange", "event-stream")
	}
	p.required("spec.supported_trigger.version", s.SupportedTrigger.Version)
	p.required("spec.code", s.Code)
	p.oneOfPtr("spec.runtime", s.Runtime, "node18", "node22", "")
	names := make([]string, len(s.Dependencies))
	for i, d := range s.Dependencies {
		names[i] = d.Name
		p.required(fmt.Sprintf("spec.dependencies[%d].version", i), d.Version)
	}
	p.each("spec.dependencies", names, func(at, v string) { p.required(at+".name", v) })
	if len(s.Secrets) > 30 {
		p.add("spec.secrets", "has %d items, at most 30 are allowed", len(s.Secrets))
	}
	names = make([]string, len(s.Secrets))
	for i, secret := range s.Secrets {
		names[i] = secret.Name
		p.secretRef(fmt.Sprintf("spec.secrets[%d].value", i), secret.Value)
	}
	p.each("spec.secrets", names, func(at, v string) {
		if p.required(at+".name", v) && !actionSecretName.MatchString(v) {
			p.add(at+".name", "must be an identifier: letters, digits and underscores")
		}
	})
	if s.TriggerBinding != nil && s.Deploy != nil && !*s.Deploy {
		p.add("spec.trigger_binding", "needs deploy: an action that is not deployed cannot be bound")
	}
	return p
}
