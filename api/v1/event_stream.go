package v1

import (
	"regexp"
	"slices"
)

// Auth0EventStreamSpec sends the tenant's events to a webhook or to Amazon
// EventBridge. Its name in Auth0 is metadata.name.
//
// Field names are those that manifests of the OpenMCF kind of the same name use.
type Auth0EventStreamSpec struct {
	// DestinationType is where events go. A stream cannot change it: another
	// destination type makes another stream.
	DestinationType string `json:"destination_type" tenon:"required;immutable;enum=eventbridge|webhook"`
	// Subscriptions are the types of events that are sent, such as user.created. The
	// list is complete.
	Subscriptions []string `json:"subscriptions" tenon:"required;minItems=1"`
	// EventBridgeConfiguration says which AWS account receives the events. It
	// belongs to the destination type eventbridge.
	EventBridgeConfiguration *EventBridgeConfiguration `json:"eventbridge_configuration,omitzero" tenon:"immutable"`
	// WebhookConfiguration says which endpoint receives the events. It belongs to the
	// destination type webhook.
	WebhookConfiguration *WebhookConfiguration `json:"webhook_configuration,omitzero"`
}

// EventBridgeConfiguration is an account and region of AWS. Auth0 cannot change
// it: another account or region makes another stream, and the partner event
// source must then be associated with an event bus again.
type EventBridgeConfiguration struct {
	// AWSAccountID has twelve digits. Write it in quotes: without, YAML reads a
	// number.
	AWSAccountID string `json:"aws_account_id" tenon:"required;immutable;pattern=^[0-9]{12}$;hint=twelve digits"`
	// AWSRegion is the name of a region, for example us-east-1.
	AWSRegion string `json:"aws_region" tenon:"required;immutable"`
}

// WebhookConfiguration is an HTTPS endpoint and how Auth0 authenticates to it.
type WebhookConfiguration struct {
	// WebhookEndpoint is the URL that events are posted to. It must begin with
	// https://.
	WebhookEndpoint string `json:"webhook_endpoint" tenon:"required;pattern=^https://.+;hint=a URL that begins with https://"`
	// WebhookAuthorization is what Auth0 sends in the Authorization header.
	WebhookAuthorization *WebhookAuthorization `json:"webhook_authorization" tenon:"required"`
}

// WebhookAuthorization is a pair of user name and password, or a token.
type WebhookAuthorization struct {
	// Method is basic (user name and password, RFC 7617) or bearer (a token,
	// RFC 6750).
	Method string `json:"method" tenon:"required;enum=basic|bearer"`
	// Username is needed for the method basic.
	Username *string `json:"username,omitzero"`
	// Password is needed for the method basic.
	Password *SecretRef `json:"password,omitzero" tenon:"secret"`
	// Token is needed for the method bearer.
	Token *SecretRef `json:"token,omitzero" tenon:"secret"`
}

// The destinations of an event stream.
const (
	DestinationEventBridge = "eventbridge"
	DestinationWebhook     = "webhook"
)

// Kind implements Spec.
func (*Auth0EventStreamSpec) Kind() string { return KindEventStream }

// References implements Spec. An event stream refers to nothing.
func (*Auth0EventStreamSpec) References() []Reference { return nil }

// Validate implements Spec.
func (s *Auth0EventStreamSpec) Validate() []Problem { return validate(s) }

func (s *Auth0EventStreamSpec) check(p *problems) {
	known := EventTypes()
	p.each("spec.subscriptions", s.Subscriptions, func(at, v string) {
		if !slices.Contains(known, v) {
			p.warn(at, "is %q, which is not an event type that Auth0 is known to have: expect it to be refused", v)
		}
	})
	eventBridge, webhook := s.EventBridgeConfiguration != nil, s.WebhookConfiguration != nil
	switch s.DestinationType {
	case DestinationEventBridge:
		p.belongs("spec.eventbridge_configuration", eventBridge, true, "destination_type eventbridge")
		p.belongs("spec.webhook_configuration", webhook, false, "destination_type eventbridge")
	case DestinationWebhook:
		p.belongs("spec.webhook_configuration", webhook, true, "destination_type webhook")
		p.belongs("spec.eventbridge_configuration", eventBridge, false, "destination_type webhook")
	}
	if !webhook || s.WebhookConfiguration.WebhookAuthorization == nil {
		return
	}
	a, at := s.WebhookConfiguration.WebhookAuthorization, "spec.webhook_configuration.webhook_authorization"
	switch a.Method {
	case "basic":
		p.required(at+".username", valueOf(a.Username))
		p.required(at+".password", string(valueOf(a.Password)))
		p.belongs(at+".token", a.Token != nil, false, "method basic")
	case "bearer":
		p.required(at+".token", string(valueOf(a.Token)))
		p.belongs(at+".username", a.Username != nil, false, "method bearer")
		p.belongs(at+".password", a.Password != nil, false, "method bearer")
	}
	if a.Username != nil && basicControl.MatchString(*a.Username) {
		// RFC 7617 section 2: the header could not be read back.
		p.warn(at+".username", "must not contain a colon or control characters")
	}
}

var basicControl = regexp.MustCompile(`[:\x00-\x1f\x7f]`)

// EventTypes lists the types of events that Auth0 is known to send, July 2026.
func EventTypes() []string {
	return []string{
		"connection.created", "connection.deleted", "connection.updated",
		"group.created", "group.deleted", "group.member.added", "group.member.deleted", "group.role.assigned", "group.role.deleted", "group.updated",
		"organization.connection.added", "organization.connection.removed", "organization.connection.updated",
		"organization.created", "organization.deleted", "organization.group.role.assigned", "organization.group.role.deleted",
		"organization.member.added", "organization.member.deleted", "organization.member.role.assigned", "organization.member.role.deleted",
		"organization.updated", "user.created", "user.deleted", "user.updated",
	}
}
