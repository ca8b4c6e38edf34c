package auth0sim

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
	"GET /organizations/{}/clients":          {Method: "GET", Path: "/organizations/{id}/clients", Scopes: []string{"read:organization_clients"}},
	"POST /organizations/{}/clients":         {Method: "POST", Path: "/organizations/{id}/clients", Scopes: []string{"create:organization_clients"}},
	"DELETE /organizations/{}/clients":       {Method: "DELETE", Path: "/organizations/{id}/clients", Scopes: []string{"delete:organization_clients"}},
	"GET /organizations/{}/clients/{}":       {Method: "GET", Path: "/organizations/{id}/clients/{client_id}", Scopes: []string{"read:organization_clients"}},
	"PATCH /organizations/{}/clients/{}":     {Method: "PATCH", Path: "/organizations/{id}/clients/{client_id}", Scopes: []string{"update:organization_clients"}},
	"GET /organizations/{}/roles/{}/members": {Method: "GET", Path: "/organizations/{id}/roles/{role_id}/members", Scopes: []string{"read:organization_member_roles"}},
	"GET /organizations/{}/roles/{}/groups":  {Method: "GET", Path: "/organizations/{id}/roles/{role_id}/groups", Scopes: []string{"read:organization_group_roles"}},
}

// correct changes the description where recordings prove it wrong.
func (c *catalog) correct() {
	for _, op := range undocumented {
		c.operations = append(c.operations, op)
	}
}

// writing names the reads that may have to store something: a build that has
// moved on, a key that is made when it is first looked at.
var writing = map[string]bool{
	"GET /actions/actions/{}": true, "GET /connections/{}/keys": true, "GET /keys/encryption": true,
}
