package auth0sim

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

var connectionMissing = notFound("inexistent_connection", "The connection does not exist")

// strategies says what a connection of each kind gets besides what it was
// created with. A strategy that is not listed gets nothing.
var strategies = map[string]struct {
	// defaults of options at creation; kept are those that survive a PATCH
	// which replaces the options without naming them, lasting is the one that
	// does so with the value that it had.
	defaults, kept string
	lasting        string
	enterprise     bool // has is_domain_connection
	social         bool
	button         bool // has show_as_button
	ticket         bool // has provisioning_ticket_url
	oidc           bool
	accounts       bool // has authentication and connected_accounts
}{
	"auth0": {
		defaults: `{"mfa": {"active": true, "return_enroll_settings": true}, "passwordPolicy": "good", "strategy_version": 2,
			"authentication_methods": {"password": {"enabled": true, "api_behavior": "required", "signup_behavior": "allow"}, "passkey": {"enabled": false}},
			"passkey_options": {"challenge_ui": "both", "progressive_enrollment_enabled": true, "local_enrollment_enabled": true}, "brute_force_protection": true}`,
		kept: `{"passkey_options": {"challenge_ui": "both", "progressive_enrollment_enabled": true, "local_enrollment_enabled": true},
			"authentication_methods": {"password": {"enabled": true, "api_behavior": "required", "signup_behavior": "allow"}, "passkey": {"enabled": false}}, "brute_force_protection": true}`,
		enterprise: true, accounts: true,
	},
	"oidc":         {defaults: `{"schema_version": "oidc-V4", "attribute_map": {"mapping_mode": "bind_all"}, "type": "front_channel"}`, enterprise: true, button: true, oidc: true, accounts: true},
	"okta":         {defaults: `{"schema_version": "oidc-V4", "attribute_map": {"mapping_mode": "basic_profile"}, "type": "back_channel"}`, enterprise: true, button: true, oidc: true, accounts: true},
	"adfs":         {defaults: `{"thumbprints": []}`, kept: `{"thumbprints": []}`, enterprise: true, ticket: true},
	"samlp":        {enterprise: true, ticket: true, accounts: true},
	"pingfederate": {enterprise: true, ticket: true},
	"ad":           {enterprise: true, ticket: true, accounts: true},
	"waad":         {enterprise: true, ticket: true, accounts: true},
	"google-apps": {defaults: `{"email": true, "profile": true, "scope": ["email", "profile"], "handle_login_from_social": true}`,
		kept: `{"email": true, "profile": true, "scope": ["email", "profile"]}`, lasting: "map_user_id_to_id", ticket: true, accounts: true},
	"github":               {enterprise: true, social: true},
	"twitter":              {enterprise: true},
	"linkedin":             {social: true},
	"line":                 {defaults: `{"profile": true}`, kept: `{"profile": true}`, social: true, accounts: true},
	"google-oauth2":        {defaults: `{"email": true, "profile": true, "scope": ["email", "profile"]}`, social: true, accounts: true},
	"salesforce-community": {defaults: `{"scope": []}`, social: true},
	"salesforce":           {defaults: `{"scope": []}`, social: true},
}

func connectionFamilies() []*family {
	return []*family{
		{
			path: "/connections", kind: state.ConnectionID, missing: connectionMissing, list: listing{wrap: "connections", checkpoint: true},
			unique: "name", anyCase: true, clash: conflict("", "A connection with the same name already exists"),
			mergeKeys: []string{"metadata"}, prepare: newConnection, change: changeConnection, show: showConnectionAny,
		},
		{
			path: "/connections/{}/scim-configuration/tokens", store: "connections/scim-tokens", parent: "connections", parentField: "connection_id", parentGone: connectionMissing,
			kind: state.SCIMTokenID, field: "token_id", list: listing{bare: true}, only: "list create delete",
			prepare: func(c *call, d doc) error {
				now := c.Now()
				d["created_at"] = state.Timestamp(now)
				if n, limited := d["token_lifetime"].(float64); limited {
					d["valid_until"] = state.Timestamp(now.Add(time.Duration(n) * time.Second))
				}
				delete(d, "token_lifetime")
				d["token"] = "tok_" + c.NewID(state.Token)
				return nil
			},
			show: func(c *call, d doc) (any, error) {
				out := state.Public(d)
				delete(out, "connection_id")
				if c.http.Method == http.MethodGet {
					delete(out, "token") // shown once
				}
				return out, nil
			},
		},
	}
}

func newConnection(c *call, d doc) error {
	kind := strategies[str(d, "strategy")]
	if err := checkConnection(d); err != nil {
		return err
	}
	if limit := c.tenant.plan.social; limit > 0 && kind.social {
		n := 0
		for strategy, s := range strategies {
			if !s.social {
				continue
			}
			of, err := c.Count("connections", state.ListOptions{Index: "strategy", Value: strategy})
			if err != nil {
				return err
			}
			n += of
		}
		if n >= limit {
			return entityLimit
		}
	}
	options := obj(d, "options")
	if options == nil {
		options = doc{}
	}
	d["options"] = options
	if str(d, "strategy") == "auth0" {
		databaseOptions(options)
	}
	if kind.oidc {
		discover(options)
		fillGaps(options, doc{"connection_settings": doc{"pkce": "auto"}})
	}
	if kind.defaults != "" {
		fillGaps(options, mustDoc(kind.defaults))
	}
	if kind.social {
		options["scope"] = socialScope(str(d, "strategy"), options)
	}
	signingCertificate(str(d, "strategy"), options)
	if kind.enterprise {
		fillGaps(d, doc{"is_domain_connection": false})
	}
	if kind.button {
		fillGaps(d, doc{"show_as_button": false})
	}
	if kind.accounts {
		fillGaps(d, doc{"authentication": doc{"active": true}, "connected_accounts": doc{"active": false}})
	}
	if kind.ticket {
		d["provisioning_ticket_url"] = "https://" + c.tenant.domain + "/p/" + str(d, "strategy") + "/" + c.NewID(state.TicketID)[:8]
	}
	if kind.oidc {
		fillGaps(d, doc{"display_name": d["name"]})
	}
	fillGaps(d, doc{"realms": []any{d["name"]}})
	enabled := list(d, "enabled_clients")
	delete(d, "enabled_clients")
	for _, client := range toStrings(enabled) {
		if err := enableClient(c, str(d, "id"), client, true); err != nil {
			return err
		}
	}
	return c.emitConnection("connection.created", d)
}

// emitConnection puts a connection event into the log.
func (c *call) emitConnection(kind string, d doc) error {
	object := doc{}
	for _, k := range []string{"id", "name", "strategy", "display_name", "is_domain_connection", "metadata"} {
		if v, has := d[k]; has {
			object[k] = v
		}
	}
	return c.Emit(kind, object, nil, nil)
}

// databaseOptions adds what a database connection is created with. A newer
// password_options replaces the older passwordPolicy.
func databaseOptions(options doc) {
	defaults := mustDoc(strategies["auth0"].defaults)
	if _, newer := options["password_options"]; newer {
		delete(defaults, "passwordPolicy")
		fillGaps(options, mustDoc(`{"password_options": {
			"complexity": {"character_type_rule": "all", "identical_characters": "allow", "sequential_characters": "allow", "max_length_exceeded": "error", "min_length": 15, "character_types": []},
			"profile_data": {"active": false, "blocked_fields": ["name", "username", "nickname", "email", "phone_number", "user_metadata.name", "user_metadata.first", "user_metadata.last"]},
			"history": {"active": false, "size": 3}, "dictionary": {"active": false, "custom": [], "default": "en_100k"}}}`))
	}
	if len(options) > 0 {
		delete(defaults, "brute_force_protection")
	}
	if methods := obj(options, "authentication_methods"); methods != nil {
		fillGaps(methods, mustDoc(`{"passkey": {"enabled": false}, "email_otp": {"enabled": false}, "phone_otp": {"enabled": false}}`))
		delete(obj(defaults, "authentication_methods"), "password")
	}
	fillGaps(options, defaults)
	attributeDefaults(options)
}

func attributeDefaults(options doc) {
	if email := obj(obj(options, "attributes"), "email"); email != nil {
		fillGaps(email, doc{"verification_method": "link", "unique": true})
	}
}

// checkConnection refuses combinations that no schema can.
func checkConnection(d doc) error {
	options := obj(d, "options")
	attributes, has := options["attributes"].(doc)
	if obj(d, "cross_app_access_requesting_app")["active"] == true && !strategies[str(d, "strategy")].oidc {
		return refuse(http.StatusBadRequest, "operation_not_supported", "Cross App Access Requesting App is not supported for this connection.")
	}
	if !has {
		return nil
	}
	for _, older := range []string{"requires_username", "validation"} {
		if v, both := options[older]; both && v != nil && v != false {
			return badRequest("Cannot set both options.attributes and options.%s", older)
		}
	}
	active := false
	names := make([]string, 0, len(attributes))
	for name := range attributes {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		a := obj(attributes, name)
		isIdentifier := boolean(obj(a, "identifier"), "active")
		active = active || isIdentifier
		required := boolean(a, "profile_required")
		signup := str(obj(a, "signup"), "status")
		if required && signup != "required" {
			return badRequest("attribute %s must also be required on signup", name)
		}
	}
	if !active {
		return badRequest("attributes must contain one active identifier")
	}
	return nil
}

func changeConnection(c *call, old, d, patch doc) error {
	kind := strategies[str(d, "strategy")]
	d["name"], d["strategy"] = old["name"], old["strategy"]
	if _, replaced := patch["options"]; replaced {
		options := obj(d, "options")
		if options == nil {
			options = doc{}
			d["options"] = options
		}
		if err := checkConnection(d); err != nil {
			return err
		}
		before := obj(obj(obj(old, "options"), "attributes"), "email")
		if after := obj(obj(options, "attributes"), "email"); after["unique"] == false && before["unique"] != false {
			return badRequest("cannot add non-unique email attribute")
		}
		if kind.oidc {
			for k, v := range obj(old, "options") {
				if now, named := options[k]; named && now == nil {
					options[k] = v
				}
			}
			fillGaps(options, doc{"connection_settings": doc{"pkce": "disabled"}})
			discover(options)
		}
		if kind.oidc && kind.defaults != "" {
			fillGaps(options, mustDoc(kind.defaults))
		}
		if v, had := obj(old, "options")[kind.lasting]; had && kind.lasting != "" {
			fillGaps(options, doc{kind.lasting: v})
		}
		if kind.kept != "" {
			kept := mustDoc(kind.kept)
			if methods := obj(options, "authentication_methods"); methods != nil {
				fillGaps(methods, mustDoc(`{"passkey": {"enabled": false}, "email_otp": {"enabled": false}, "phone_otp": {"enabled": false}}`))
				delete(kept, "authentication_methods")
			}
			fillGaps(options, kept)
		}
		attributeDefaults(options)
		if kind.social {
			options["scope"] = socialScope(str(d, "strategy"), options)
		}
		signingCertificate(str(d, "strategy"), options)
	}
	if enabled, given := d["enabled_clients"].([]any); given {
		if _, err := c.DeleteWhere("connections/clients", "connection_id", str(d, "id")); err != nil {
			return err
		}
		for _, client := range toStrings(enabled) {
			if err := enableClient(c, str(d, "id"), client, true); err != nil {
				return err
			}
		}
	}
	delete(d, "enabled_clients")
	return c.emitConnection("connection.updated", d)
}

// discover fills in the endpoints that a discovery document would give, as far
// as the body says them: the simulator calls no identity provider.
func discover(options doc) {
	if str(options, "discovery_url") == "" && str(options, "issuer") == "" {
		return
	}
	metadata := obj(options, "oidc_metadata")
	if metadata == nil {
		metadata = doc{}
		options["oidc_metadata"] = metadata
	}
	for _, k := range []string{"issuer", "authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"} {
		if v := str(options, k); v != "" {
			metadata[k] = v
		}
	}
}

// socialScope lists the scopes that a social connection's boolean options turn
// on, together with those that were given.
func socialScope(strategy string, options doc) []any {
	scopes := socialScopes[strategy]
	if len(scopes) == 0 {
		if given, has := options["scope"].([]any); has {
			return given
		}
		return []any{}
	}
	var out []any
	for _, s := range scopes {
		if boolean(options, s.option) {
			out = append(out, s.scope)
		}
	}
	if out == nil {
		given, _ := options["scope"].([]any)
		return append([]any{}, given...)
	}
	return out
}

var socialScopes = map[string][]struct{ option, scope string }{
	"github": {{"email", "user:email"}, {"read_user", "read:user"}, {"follow", "user:follow"}, {"public_repo", "public_repo"}, {"repo", "repo"},
		{"repo_deployment", "repo_deployment"}, {"repo_status", "repo:status"}, {"delete_repo", "delete_repo"}, {"notifications", "notifications"},
		{"gist", "gist"}, {"read_repo_hook", "read:repo_hook"}, {"write_repo_hook", "write:repo_hook"}, {"admin_repo_hook", "admin:repo_hook"},
		{"read_org", "read:org"}, {"admin_org", "admin:org"}, {"read_public_key", "read:public_key"}, {"write_public_key", "write:public_key"},
		{"admin_public_key", "admin:public_key"}, {"write_org", "write:org"}},
	"linkedin": {{"email", "r_emailaddress"}, {"profile", "r_liteprofile"}, {"basic_profile", "r_basicprofile"}},
}

// signingCertificate reads the certificate of a SAML-like connection, and adds
// what it says. It comes in as signingCert; samlp shows it so, others as cert.
func signingCertificate(strategy string, options doc) {
	text := str(options, "signingCert")
	if text == "" {
		return
	}
	raw := []byte(text)
	if decoded, err := base64.StdEncoding.DecodeString(text); err == nil && bytes.Contains(decoded, []byte("BEGIN")) {
		raw = decoded
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return
	}
	if strategy == "samlp" {
		options["signingCert"] = string(raw)
	} else {
		delete(options, "signingCert")
		options["cert"] = string(raw)
	}
	sum := sha1.Sum(block.Bytes)
	options["thumbprints"] = []any{hex.EncodeToString(sum[:])}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return
	}
	options["expires"] = state.Timestamp(cert.NotAfter)
	subject := doc{}
	for name, values := range map[string][]string{"countryName": cert.Subject.Country, "stateOrProvinceName": cert.Subject.Province,
		"localityName": cert.Subject.Locality, "organizationName": cert.Subject.Organization, "organizationalUnitName": cert.Subject.OrganizationalUnit} {
		if len(values) > 0 {
			subject[name] = values[0]
		}
	}
	if cert.Subject.CommonName != "" {
		subject["commonName"] = cert.Subject.CommonName
	}
	options["subject"] = subject
}

func showConnectionAny(c *call, d doc) (any, error) { return showConnection(c, d) }

func showConnection(c *call, d doc) (doc, error) {
	out := state.Public(d)
	links, err := c.Find("connections/clients", "connection_id", str(d, "id"))
	if err != nil {
		return nil, err
	}
	enabled := make([]any, 0, len(links))
	for _, l := range links {
		enabled = append(enabled, l["client_id"])
	}
	out["enabled_clients"] = enabled
	if configuration := obj(obj(d, "options"), "configuration"); len(configuration) > 0 {
		options := state.Clone(obj(d, "options"))
		for k, v := range configuration {
			// The real values are encrypted; ours are opaque in the same way:
			// nobody can read back what was written.
			text, _ := v.(string)
			sum := sha1.Sum([]byte(str(d, "id") + k + text))
			obj(options, "configuration")[k] = base64.StdEncoding.EncodeToString(sum[:])
		}
		out["options"] = options
	}
	return out, nil
}

func enableClient(c *call, connection, client string, on bool) error {
	key := state.Key(connection, client)
	if on {
		return c.Put("connections/clients", key, doc{"connection_id": connection, "client_id": client})
	}
	_, err := c.Delete("connections/clients", key)
	return err
}

// dropConnection removes a connection with everything that lives in it.
func dropConnection(c *call, d doc) error {
	id := str(d, "id")
	for family, index := range map[string]string{"connections/clients": "connection_id", "connections/scim-tokens": "connection_id", "organizations/connections": "connection_id"} {
		if _, err := c.DeleteWhere(family, index, id); err != nil {
			return err
		}
	}
	for _, family := range []string{"connections/scim-configuration", "connections/directory-provisioning", "connections/synchronized-groups", "connections/keys"} {
		if _, err := c.Delete(family, id); err != nil {
			return err
		}
	}
	if err := synchronize(c, d, nil); err != nil {
		return err
	}
	users, err := c.IDs("users", "connection", str(d, "name"))
	if err != nil {
		return err
	}
	for _, u := range users {
		if err := deleteUser(c, u); err != nil {
			return err
		}
	}
	if _, err := c.Delete("connections", id); err != nil {
		return err
	}
	return c.emitConnection("connection.deleted", d)
}

func loadConnection(c *call) (doc, error) {
	d, found, err := c.Get("connections", c.params[0])
	if err == nil && !found {
		err = connectionMissing
	}
	return d, err
}

func connectionHandlers() map[string]handler {
	connections := connectionFamilies()[0]
	connections.fill()
	out := map[string]handler{
		"GET /connections": func(c *call) (answer, error) {
			l := connections.list
			l.family, l.show = "connections", connections.show
			kinds, name := c.query["strategy"], c.query.Get("name")
			if name != "" {
				l.index, l.value = "name", strings.ToLower(name)
			}
			if len(kinds) > 0 {
				l.also(func(d doc) bool { return has(kinds, str(d, "strategy")) })
			}
			if want := c.query.Get("domain_alias"); want != "" {
				l.also(func(d doc) bool { return contains(list(obj(d, "options"), "domain_aliases"), want) })
			}
			return c.list(l)
		},
		// Deleting takes a while in the real thing, which answers at once with
		// the time of the request; here it is done by then.
		"DELETE /connections/{}": func(c *call) (answer, error) {
			d, found, err := c.Get("connections", c.id())
			if err != nil {
				return answer{}, err
			}
			if !found {
				return noContent()
			}
			if err := dropConnection(c, d); err != nil {
				return answer{}, err
			}
			return answer{status: http.StatusAccepted, body: doc{"deleted_at": state.Timestamp(c.Now())}}, nil
		},
		"GET /connections/{}/clients": func(c *call) (answer, error) {
			if _, err := loadConnection(c); err != nil {
				return answer{}, err
			}
			return c.list(listing{family: "connections/clients", index: "connection_id", value: c.params[0], wrap: "clients", checkpoint: true, always: true,
				show: func(_ *call, link doc) (any, error) { return doc{"client_id": link["client_id"]}, nil }})
		},
		"PATCH /connections/{}/clients": func(c *call) (answer, error) {
			d, err := loadConnection(c)
			if err != nil {
				return answer{}, err
			}
			changes, _ := c.body.([]any)
			for _, e := range changes {
				change, _ := e.(doc)
				if _, err := loadClient(c, str(change, "client_id")); err != nil {
					return answer{}, err
				}
				if err := enableClient(c, str(d, "id"), str(change, "client_id"), boolean(change, "status")); err != nil {
					return answer{}, err
				}
			}
			return noContent()
		},
		"GET /connections/{}/status": func(c *call) (answer, error) {
			if _, err := loadConnection(c); err != nil {
				return answer{}, err
			}
			return ok(doc{})
		},
		"DELETE /connections/{}/users": func(c *call) (answer, error) {
			d, err := loadConnection(c)
			if err != nil {
				return answer{}, err
			}
			ids, err := c.IDs("users", "connection_email", state.Key(str(d, "name"), strings.ToLower(c.query.Get("email"))))
			if err != nil {
				return answer{}, err
			}
			for _, id := range ids {
				if err := deleteUser(c, id); err != nil {
					return answer{}, err
				}
			}
			return noContent()
		},
		"GET /connections-scim-configurations": func(c *call) (answer, error) {
			return c.list(listing{family: "connections/scim-configuration", wrap: "scim_configurations", checkpoint: true, always: true})
		},
		"GET /connections-directory-provisionings": func(c *call) (answer, error) {
			return c.list(listing{family: "connections/directory-provisioning", wrap: "directory_provisionings", checkpoint: true, always: true})
		},
	}
	for key, do := range provisioningHandlers() {
		out[key] = do
	}
	return out
}
