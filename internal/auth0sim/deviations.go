package auth0sim

import "strings"

// undocumented are operations of the real API that its description lacks, or
// has with another success code only; recordings show each of them.
var undocumented = map[string]*operation{
	"GET /event-streams/{}/stats":                        {Method: "GET", Path: "/event-streams/{id}/stats", Scopes: []string{"read:event_streams"}},
	"GET /guardian/factors/webauthn-platform/settings":   {Method: "GET", Path: "/guardian/factors/webauthn-platform/settings", Scopes: []string{"read:guardian_factors"}},
	"PUT /guardian/factors/webauthn-platform/settings":   {Method: "PUT", Path: "/guardian/factors/webauthn-platform/settings", Scopes: []string{"update:guardian_factors"}},
	"PATCH /guardian/factors/webauthn-platform/settings": {Method: "PATCH", Path: "/guardian/factors/webauthn-platform/settings", Scopes: []string{"update:guardian_factors"}},
	"GET /guardian/factors/webauthn-roaming/settings":    {Method: "GET", Path: "/guardian/factors/webauthn-roaming/settings", Scopes: []string{"read:guardian_factors"}},
	"PUT /guardian/factors/webauthn-roaming/settings":    {Method: "PUT", Path: "/guardian/factors/webauthn-roaming/settings", Scopes: []string{"update:guardian_factors"}},
	"PATCH /guardian/factors/webauthn-roaming/settings":  {Method: "PATCH", Path: "/guardian/factors/webauthn-roaming/settings", Scopes: []string{"update:guardian_factors"}},
	"POST /connections/{}/directory-provisioning/synchronized-groups": {Method: "POST", Path: "/connections/{id}/directory-provisioning/synchronized-groups",
		Scopes: []string{"update:directory_provisionings"}},
	"DELETE /connections/{}/directory-provisioning/synchronized-groups": {Method: "DELETE", Path: "/connections/{id}/directory-provisioning/synchronized-groups",
		Scopes: []string{"update:directory_provisionings"}},
	"GET /prompts/mfa-push":                  {Method: "GET", Path: "/prompts/mfa-push", Scopes: []string{"read:prompts"}},
	"PATCH /prompts/mfa-push":                {Method: "PATCH", Path: "/prompts/mfa-push", Scopes: []string{"update:prompts"}},
	"GET /organizations/{}/clients":          {Method: "GET", Path: "/organizations/{id}/clients", Scopes: []string{"read:organization_clients"}},
	"POST /organizations/{}/clients":         {Method: "POST", Path: "/organizations/{id}/clients", Scopes: []string{"create:organization_clients"}},
	"DELETE /organizations/{}/clients":       {Method: "DELETE", Path: "/organizations/{id}/clients", Scopes: []string{"delete:organization_clients"}},
	"GET /organizations/{}/clients/{}":       {Method: "GET", Path: "/organizations/{id}/clients/{client_id}", Scopes: []string{"read:organization_clients"}},
	"PATCH /organizations/{}/clients/{}":     {Method: "PATCH", Path: "/organizations/{id}/clients/{client_id}", Scopes: []string{"update:organization_clients"}},
	"GET /organizations/{}/roles/{}/members": {Method: "GET", Path: "/organizations/{id}/roles/{role_id}/members", Scopes: []string{"read:organization_member_roles"}},
	"GET /organizations/{}/roles/{}/groups":  {Method: "GET", Path: "/organizations/{id}/roles/{role_id}/groups", Scopes: []string{"read:organization_group_roles"}},
}

// accepted are properties of request bodies that the real API takes and its
// description, which is older, does not know. Their values are not checked.
var accepted = map[string][]string{
	"CreateRoleRequestContent":                         {"type", "owner_id"},
	"CreateResourceServerRequestContent":               {"token_lifetime_for_web"},
	"UpdateResourceServerRequestContent":               {"token_lifetime_for_web"},
	"CreateOrganizationRequestContent":                 {"third_party_client_access", "is_app_entitlement_active"},
	"UpdateOrganizationRequestContent":                 {"third_party_client_access", "is_app_entitlement_active"},
	"CreateConnectionRequestContent":                   {"cross_app_access_resource_app"},
	"UpdateConnectionRequestContent":                   {"cross_app_access_resource_app"},
	"CreateClientRequestContent":                       {"identity_assertion_authorization_grant", "client_secret"},
	"UpdateClientRequestContent":                       {"identity_assertion_authorization_grant"},
	"CreateBrandingThemeRequestContent":                {"identifiers"},
	"UpdateBrandingThemeRequestContent":                {"identifiers"},
	"TenantSettingsFlags":                              {"use_scope_descriptions_for_consent", "require_pushed_authorization_requests", "enable_custom_domain_in_emails", "universal_login", "enable_legacy_logs_search_v2"},
	"SuspiciousIPThrottlingStage":                      {"pre-custom-token-exchange"},
	"UpdateTenantSettingsRequestContent":               {"universal_login"},
	"ClientTokenVaultPrivilegedAccessWithPublicKey":    {"grants"},
	"ClientTokenVaultPrivilegedAccessWithCredentialId": {"grants"},
	// The description has the response's type here, from which the secrets are
	// missing.
	"EventStreamWebhookBasicAuth":        {"password"},
	"EventStreamWebhookBearerAuth":       {"token"},
	"EventStreamWebhookCustomHeaderAuth": {"header_value"},
}

// correct changes the description where recordings prove it wrong.
func (c *catalog) correct() {
	for _, op := range undocumented {
		c.operations = append(c.operations, op)
	}
	for _, op := range c.operations {
		if strings.HasPrefix(op.Path, "/event-streams/{id}") && len(op.Params) > 0 && op.Params[0].Schema != nil {
			op.Params[0].Schema.Format = "event-stream-id"
		}
	}
	for name, properties := range accepted {
		t := c.types[name]
		if t == nil || t.Properties == nil {
			continue
		}
		for _, p := range properties {
			if t.Properties[p] == nil {
				t.Properties[p] = &schema{}
			}
		}
	}
	// The list of triggers grows faster than the description.
	if t := c.types["ActionTriggerTypeEnum"]; t != nil {
		for _, known := range triggers {
			if !contains(t.Enum, known.id) {
				t.Enum = append(t.Enum, known.id)
			}
		}
	}
	if t := c.types["NetworkAclMatch"]; t != nil {
		t.Properties["auth0_managed"] = &schema{Type: typeSet{"array"}, Items: &schema{Type: typeSet{"string"}}, Unique: true}
	}
}

// writing names the reads that may have to store something: a build that has
// moved on, a key that is made when it is first looked at.
var writing = map[string]bool{
	"GET /actions/actions/{}": true, "GET /connections/{}/keys": true, "GET /keys/encryption": true,
}
