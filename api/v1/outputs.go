package v1

// Output is what an object offers to others once it exists. References read it
// as status.outputs.NAME.
type Output struct {
	Name string `json:"name"`
	Doc  string `json:"doc"`
	// Secret outputs are references to a secret store, not values.
	Secret bool `json:"secret,omitempty"`
}

// Outputs lists the outputs of a kind, nil for a kind that does not exist. All
// are texts; a list is its items, separated by commas.
func Outputs(kind string) []Output {
	switch kind {
	case KindTenant:
		return []Output{{Name: "domain", Doc: "the tenant's domain"}}
	case KindConnection:
		return []Output{
			{Name: "id", Doc: "the connection's identifier (con_…)"},
			{Name: "name", Doc: "the connection's name"},
			{Name: "strategy", Doc: "the connection's strategy"},
			{Name: "is_enabled", Doc: "whether any client is enabled: true or false; if the resource lists enabled_clients"},
			{Name: "enabled_client_ids", Doc: "the enabled clients; if the resource lists enabled_clients"},
			{Name: "realms", Doc: "the connection's realms"},
			{Name: "callback_url", Doc: "where the identity provider sends users back to"},
			{Name: "metadata_url", Doc: "where a SAML identity provider reads Auth0's metadata"},
			{Name: "entity_id", Doc: "what Auth0 calls itself towards a SAML identity provider"},
			{Name: "provisioning_ticket_url", Doc: "where the directory's administrator sets up an ad or adfs connection"},
		}
	case KindClient:
		return []Output{
			{Name: "id", Doc: "the client_id"},
			{Name: "client_id", Doc: "the client_id"},
			{Name: "client_secret", Doc: "a reference to the client secret", Secret: true},
			{Name: "name", Doc: "the client's name"},
			{Name: "application_type", Doc: "the client's type"},
			{Name: "token_endpoint_auth_method", Doc: "how the client authenticates"},
		}
	case KindResourceServer:
		return []Output{
			{Name: "id", Doc: "the API's identifier in Auth0"},
			{Name: "identifier", Doc: "the audience of the API's tokens"},
			{Name: "name", Doc: "the API's name"},
			{Name: "signing_alg", Doc: "how tokens are signed"},
			{Name: "token_lifetime", Doc: "the lifetime of tokens in seconds"},
			{Name: "token_lifetime_for_web", Doc: "the lifetime in seconds of tokens for browsers"},
			{Name: "allow_offline_access", Doc: "true or false"},
			{Name: "skip_consent_for_verifiable_first_party_clients", Doc: "true or false"},
			{Name: "enforce_policies", Doc: "true or false"},
			{Name: "token_dialect", Doc: "the form of access tokens"},
			{Name: "is_system", Doc: "whether the API is Auth0's own: true or false"},
			{Name: "client_id", Doc: "the client that belongs to the API, if any"},
		}
	case KindClientGrant:
		return []Output{
			{Name: "id", Doc: "the grant's identifier (cgr_…)"},
			{Name: "client_id", Doc: "the client"},
			{Name: "audience", Doc: "the API's identifier"},
		}
	case KindRole:
		return []Output{
			{Name: "id", Doc: "the role's identifier (rol_…)"},
			{Name: "name", Doc: "the role's name"},
			{Name: "description", Doc: "the role's description"},
		}
	case KindUser:
		return []Output{
			{Name: "id", Doc: "the user_id"},
			{Name: "user_id", Doc: "the user_id"},
			{Name: "email", Doc: "the user's email address"},
		}
	case KindAction:
		return []Output{
			{Name: "id", Doc: "the action's identifier"},
			{Name: "name", Doc: "the action's name"},
			{Name: "version_id", Doc: "the deployed version's identifier"},
			{Name: "runtime", Doc: "the version of Node.js"},
		}
	case KindEventStream:
		return []Output{
			{Name: "id", Doc: "the stream's identifier (est_…)"},
			{Name: "name", Doc: "the stream's name"},
			{Name: "status", Doc: "active, suspended or disabled"},
			{Name: "destination_type", Doc: "eventbridge or webhook"},
			{Name: "created_at", Doc: "when the stream was made"},
			{Name: "updated_at", Doc: "when the stream was last changed"},
			{Name: "subscriptions", Doc: "the types of events that are sent"},
			{Name: "aws_partner_event_source", Doc: "the name of the partner event source in AWS, for eventbridge"},
		}
	case KindWebApp:
		return Outputs(KindClient)
	case KindService:
		return append(Outputs(KindClient), Output{Name: "identifier", Doc: "the identifier of the API that the service calls"},
			Output{Name: "audience", Doc: "the same as identifier"})
	}
	return nil
}

func hasOutput(kind, name string) bool {
	for _, o := range Outputs(kind) {
		if o.Name == name {
			return true
		}
	}
	return false
}
