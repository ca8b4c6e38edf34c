package state

import (
	"fmt"
	"strings"
)

// Index declares one way to look documents of a family up. A document is found
// under every value that Values returns; "" is not indexed.
type Index struct {
	Name   string
	Values func(Doc) []string
}

// families declares the indexes of every family that has any. Families without
// an index (attack-protection, guardian/factors, tenants/settings, …) need no
// entry. Compound identifiers are made with Key.
//
//	family                     identifier                 document, besides what the API shows
//	tenants/settings           "settings"
//	clients                    client_id                  client_secret in clear, as the API returns it
//	clients/credentials        credential id              client_id; _.pem
//	connections                con_…                      options in full
//	connections/clients        Key(connection, client)    connection_id, client_id: the enabled clients
//	resource-servers           24 hex                     identifier, scopes [{value, description}]
//	client-grants              cgr_…
//	roles                      rol_…
//	roles/permissions          Key(role, api, name)       role_id, resource_server_identifier, permission_name
//	users                      user_id                    _.password_hash (bcrypt)
//	users/roles                Key(user, role)            user_id, role_id
//	users/permissions          Key(user, api, name)       user_id, resource_server_identifier, permission_name
//	user-blocks                Key(identifier, ip)        identifier, ip, connection
//	actions                    uuid                       the draft; _.secrets {name: value}; deployed_version.id
//	actions/versions           uuid                       action_id, code, runtime, dependencies; _.secrets {name: value}
//	actions/triggers/bindings  trigger id                 bindings [{id, action_id, display_name, …}] in order
//	organizations              org_…
//	organizations/members      Key(org, user)             organization_id, user_id
//	organizations/roles        Key(org, user, role)       organization_id, user_id, role_id: a member's roles
//	organizations/connections  Key(org, connection)       organization_id, connection_id, assign_membership_on_login, …
//	organizations/grants       Key(org, grant)            organization_id, grant_id
//	organizations/invitations  uinv_…                     organization_id, _.ticket
//	guardian/factors           factor name                enabled
//	guardian/policies          "policies"                 policies ["all-applications"]
//	guardian/enrollments       dev_…                      user_id, type, status; _.totp_secret
//	guardian/tickets           ticket id                  user_id, expires_at (unix), used
//	authentication-methods     id                         user_id, type, …
//	attack-protection          name of the protection
//	tickets                    secret part of the link    kind, user_id, result_url, expires_at (unix), used
//	keys/signing               kid                        see SigningKey
//	sessions, refresh-tokens   id                         user_id, client_id, …
//	grants                     id                         user_id, clientID, audience, scope: a user's consent
//	logs                       log_id                     see Tx.Log
//	events                     evt_…                      see Tx.Emit
//	outbox                     mail_…                     to, subject, template, text, html, link, created_at
//
// Families of the Authentication API that no other part reads are declared here
// too, under "oauth/".
var families = map[string][]Index{
	"clients":                 {field("name"), field("external_client_id")},
	"clients/credentials":     {field("client_id")},
	"connections":             {lowerField("name"), field("strategy")},
	"connections/clients":     {field("connection_id"), field("client_id")},
	"connections/scim-tokens": {field("connection_id")},
	"resource-servers":        {field("identifier"), field("client_id")},
	"client-grants":           {field("client_id"), field("audience")},
	"roles":                   {field("name")},
	"roles/permissions":       {field("role_id"), field("resource_server_identifier")},
	"users": {
		lowerField("email"), field("phone_number"), lowerField("username"),
		{"connection", func(d Doc) []string { return eachIdentity(d, func(i Doc) string { return str(i, "connection") }) }},
		{"identity", func(d Doc) []string {
			return eachIdentity(d, func(i Doc) string { return Key(str(i, "provider"), str(i, "user_id")) })
		}},
		perConnection("email"), perConnection("username"), perConnection("phone_number"),
	},
	"users/roles":                     {field("user_id"), field("role_id")},
	"users/permissions":               {field("user_id"), field("resource_server_identifier")},
	"user-blocks":                     {field("identifier")},
	"authentication-methods":          {field("user_id")},
	"actions":                         {field("name"), {"trigger", triggers}},
	"actions/versions":                {field("action_id")},
	"actions/modules":                 {field("name")},
	"actions/modules/versions":        {field("module_id")},
	"organizations":                   {field("name")},
	"organizations/members":           {field("organization_id"), field("user_id")},
	"organizations/clients":           {field("organization_id"), field("client_id")},
	"organizations/roles":             {{"member", func(d Doc) []string { return []string{Key(str(d, "organization_id"), str(d, "user_id"))} }}, field("organization_id"), field("user_id"), field("role_id"), {"organization_role", func(d Doc) []string { return []string{Key(str(d, "organization_id"), str(d, "role_id"))} }}},
	"organizations/connections":       {field("organization_id"), field("connection_id")},
	"organizations/grants":            {field("organization_id"), field("grant_id")},
	"organizations/invitations":       {field("organization_id"), field("ticket_id")},
	"organizations/discovery-domains": {field("organization_id"), field("domain")},
	"guardian/enrollments":            {field("user_id")},
	"guardian/tickets":                {field("user_id")},
	"tickets":                         {field("user_id")},
	"event-streams":                   {field("name")},
	"deliveries":                      {field("event_stream_id"), withStatus("pending"), withStatus("failed")},
	"log-streams":                     {field("name")},
	"custom-domains":                  {lowerField("domain")},
	"sessions":                        {field("user_id")},
	"refresh-tokens":                  {field("user_id"), field("session_id"), field("client_id"), field("family")},
	"grants":                          {field("user_id"), field("clientID")},
	"logs":                            {field("user_id"), field("type")},
	"events":                          {field("type")},
	"jobs":                            {field("status"), field("type")},
	"outbox":                          {lowerField("to")},
	"oauth/codes":                     {field("user_id"), field("client_id")},
	"oauth/device-codes":              {field("user_code")},
	"flows/vault/connections":         {field("name")},
	"hooks":                           {field("name")},
	"rules":                           {field("name")},
	"token-exchange-profiles":         {field("name")},
	"groups/members":                  {field("group_id"), field("user_id")},
	"groups/roles":                    {field("group_id"), field("role_id")},
	"groups":                          {field("connection_id")},
	"organizations/group-roles":       {field("organization_id"), field("group_id"), field("role_id"), {"group", func(d Doc) []string { return []string{Key(str(d, "organization_id"), str(d, "group_id"))} }}},
	"experimentation/experiments":     {field("name")},
	"experimentation/segments":        {field("name")},
	"experimentation/feature-flags":   {field("name")},
	"experimentation/feature-flags/variations": {field("feature_flag_id")},
}

func field(name string) Index {
	return Index{name, func(d Doc) []string { return []string{str(d, name)} }}
}

func lowerField(name string) Index {
	return Index{name, func(d Doc) []string { return []string{strings.ToLower(str(d, name))} }}
}

// perConnection indexes users by Key(connection name, lower-case value) of the
// field, the scope in which it must be unique. The index is called
// "connection_" + field.
func perConnection(name string) Index {
	return Index{"connection_" + name, func(d Doc) []string {
		v := strings.ToLower(str(d, name))
		if v == "" {
			return nil
		}
		return eachIdentity(d, func(i Doc) string { return Key(str(i, "connection"), v) })
	}}
}

func eachIdentity(d Doc, f func(Doc) string) []string {
	list, _ := d["identities"].([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		if i, ok := e.(Doc); ok {
			out = append(out, f(i))
		}
	}
	return out
}

func triggers(d Doc) []string {
	list, _ := d["supported_triggers"].([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		if t, ok := e.(Doc); ok {
			out = append(out, str(t, "id"))
		}
	}
	return out
}

// withStatus indexes the deliveries in a state by their stream.
func withStatus(status string) Index {
	return Index{status, func(d Doc) []string {
		if str(d, "status") != status {
			return nil
		}
		return []string{str(d, "event_stream_id")}
	}}
}

func str(d Doc, key string) string { s, _ := d[key].(string); return s }

func indexNumber(family, name string) (int, error) {
	for n, index := range families[family] {
		if index.Name == name {
			return n, nil
		}
	}
	return 0, fmt.Errorf("family %s has no index %s", family, name)
}
