package direct

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// option is one field of a block of options: how it is read from what Auth0 has,
// and how it is written into it. A nil value takes it away.
type option struct {
	name string
	get  func(o fields) any
	put  func(o fields, v any)
}

// block is the options of a strategy: the spec's name for them, and its fields.
type block struct {
	name    string
	options []option
	// secret is the key in Auth0 of the block's client_secret, "" if there is none.
	secret string
}

// strategyNames maps the spec's names of strategies to Auth0's where they differ.
var strategyNames = map[string]string{"microsoft-account": "windowslive"}

func specStrategy(name string) string {
	for spec, auth0 := range strategyNames {
		if auth0 == name {
			return spec
		}
	}
	return name
}

// blockOf returns the options that belong to a strategy of the spec; one without
// options of its own has none.
func blockOf(strategy string) block {
	switch strategy {
	case "auth0":
		return block{name: "database_options", options: databaseOptions()}
	case "google-oauth2", "facebook", "github", "linkedin", "twitter", "microsoft-account", "apple":
		b := block{name: "social_options", secret: "client_secret", options: []option{
			plain("client_id", "client_id"), socialScopes(strategy), plain("allowed_audiences", "allowed_audiences"), upstreamParams(),
		}}
		if strategy == "apple" {
			b.secret = "app_secret"
		}
		return b
	case "samlp":
		return block{name: "saml_options", options: []option{
			plain("sign_in_endpoint", "signInEndpoint"), signingCert(), plain("sign_out_endpoint", "signOutEndpoint"), plain("entity_id", "entityId"),
			plain("protocol_binding", "protocolBinding"), plain("user_id_attribute", "user_id_attribute"), flag("sign_request", "signSAMLRequest", false),
			plain("signature_algorithm", "signatureAlgorithm"), plain("digest_algorithm", "digestAlgorithm"), fieldsMap(),
		}}
	case "oidc":
		return block{name: "oidc_options", secret: "client_secret", options: []option{
			issuer(), plain("client_id", "client_id"), wordList("scopes", "scope"), plain("type", "type"),
			endpoint("authorization_endpoint"), endpoint("token_endpoint"), endpoint("userinfo_endpoint"), endpoint("jwks_uri"), attributeMap(),
		}}
	case "waad":
		return block{name: "azure_ad_options", secret: "client_secret", options: []option{
			plain("client_id", "client_id"), plain("domain", "domain"), plain("tenant_id", "tenant_domain"),
			flag("use_common_endpoint", "useCommonEndpoint", false), numberAsText("max_groups_to_retrieve"), trustEmail(), flag("api_enable_users", "api_enable_users", false),
		}}
	}
	return block{}
}

func plain(name, key string) option {
	return option{name, func(o fields) any { return o[key] }, func(o fields, v any) { putOrDelete(o, key, v) }}
}

// flag is a switch that an answer may leave out where it has its default.
func flag(name, key string, absent bool) option {
	return option{name, func(o fields) any {
		if o[key] == nil {
			return absent
		}
		return o[key]
	}, func(o fields, v any) { putOrDelete(o, key, v) }}
}

func putOrDelete(o fields, key string, v any) {
	if v == nil {
		delete(o, key)
		return
	}
	o[key] = v
}

// nested is a field of an object within the options.
func nested(name, parent, key string, absent any, also fields) option {
	return option{name, func(o fields) any {
		if v := object(o[parent])[key]; v != nil {
			return v
		}
		return absent
	}, func(o fields, v any) {
		if v == nil {
			delete(o, parent)
			return
		}
		o[parent] = merge(merge(object(o[parent]), also), fields{key: v})
	}}
}

func databaseOptions() []option {
	return []option{
		plain("password_policy", "passwordPolicy"),
		nested("password_min_length", "password_complexity_options", "min_length", nil, nil),
		flag("requires_username", "requires_username", false),
		flag("disable_signup", "disable_signup", false),
		flag("brute_force_protection", "brute_force_protection", false),
		{"password_history_size", func(o fields) any {
			if h := object(o["password_history"]); h["enable"] == true {
				return h["size"]
			}
			return 0.0
		}, func(o fields, v any) {
			size, _ := v.(float64)
			o["password_history"] = merge(object(o["password_history"]), fields{"enable": size > 0, "size": size})
		}},
		nested("password_no_personal_info", "password_no_personal_info", "enable", false, nil),
		nested("password_dictionary", "password_dictionary", "enable", false, nil),
		nested("mfa_enabled", "mfa", "active", false, fields{"return_enroll_settings": true}),
	}
}

// scopeFlags are the switches that stand for a provider's scopes besides the list.
var scopeFlags = map[string]map[string]string{
	"google-oauth2": {"email": "email", "profile": "profile"},
	"linkedin":      {"r_emailaddress": "email", "r_liteprofile": "profile", "r_basicprofile": "basic_profile", "openid": "openid"},
	"apple":         {"email": "email", "name": "name"},
	"github": {"user:email": "email", "read:user": "read_user", "user:follow": "follow", "public_repo": "public_repo", "repo": "repo",
		"repo_deployment": "repo_deployment", "repo:status": "repo_status", "delete_repo": "delete_repo", "notifications": "notifications",
		"gist": "gist", "read:repo_hook": "read_repo_hook", "write:repo_hook": "write_repo_hook", "admin:repo_hook": "admin_repo_hook",
		"read:org": "read_org", "write:org": "write_org", "admin:org": "admin_org",
		"read:public_key": "read_public_key", "write:public_key": "write_public_key", "admin:public_key": "admin_public_key"},
}

// socialScopes: Facebook and Apple take one text, the others a list; for some
// providers Auth0 has a switch for each scope, and derives the list from them.
func socialScopes(strategy string) option {
	flags := scopeFlags[strategy]
	return option{"scopes", func(o fields) any { return words(o["scope"]) }, func(o fields, v any) {
		wanted := members(v)
		for scope, key := range flags {
			if on := wanted[canonical(scope)]; on || o[key] == true {
				o[key] = on
			}
		}
		switch {
		case v == nil:
			delete(o, "scope")
		case strategy == "facebook":
			o["scope"] = strings.Join(strs(v), ",")
		case strategy == "apple":
			o["scope"] = strings.Join(strs(v), " ")
		default:
			o["scope"] = v
		}
	}}
}

// words is a list of words, whichever way Auth0 has it, in alphabetical order.
func words(v any) any {
	switch v := v.(type) {
	case []any:
		return sortSet(v)
	case string:
		return sortSet(anys(strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == ',' })))
	}
	return nil
}

// wordList is a list in the spec and a text in Auth0.
func wordList(name, key string) option {
	return option{name, func(o fields) any { return words(o[key]) }, func(o fields, v any) {
		if v == nil {
			delete(o, key)
			return
		}
		o[key] = strings.Join(strs(v), " ")
	}}
}

// upstreamParams are values here; aliases of request parameters, which Auth0 has
// too, are left alone.
func upstreamParams() option {
	return option{"upstream_params", func(o fields) any {
		params := object(o["upstream_params"])
		if params == nil {
			return nil
		}
		out := fields{}
		for name, p := range params {
			if v, ok := object(p)["value"]; ok {
				out[name] = v
			}
		}
		return out
	}, func(o fields, v any) {
		params := fields{}
		for name, p := range object(o["upstream_params"]) {
			if _, value := object(p)["value"]; !value {
				params[name] = p
			}
		}
		for name, value := range object(v) {
			params[name] = fields{"value": value}
		}
		if v == nil && len(params) == 0 {
			delete(o, "upstream_params")
			return
		}
		o["upstream_params"] = params
	}}
}

// signingCert goes in as PEM and comes back as cert, with what Auth0 read from it.
func signingCert() option {
	return option{"signing_cert", func(o fields) any {
		for _, key := range []string{"signingCert", "cert"} {
			if v := text(o[key]); v != "" {
				return certificate(v)
			}
		}
		return nil
	}, func(o fields, v any) {
		for _, key := range []string{"cert", "thumbprints", "expires", "subject"} {
			delete(o, key)
		}
		putOrDelete(o, "signingCert", v)
	}}
}

// certificate brings a certificate into one form: PEM as Go writes it. What is no
// certificate stays as it is.
func certificate(v string) string {
	raw := []byte(v)
	if decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(v)); err == nil {
		raw = decoded
	}
	if block, _ := pem.Decode(raw); block != nil {
		return string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
	}
	if _, err := x509.ParseCertificate(raw); err == nil {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
	}
	return strings.TrimSpace(v)
}

// fieldsMap maps a profile field to an attribute; of several the first is shown.
func fieldsMap() option {
	return option{"attribute_mappings", func(o fields) any {
		raw := object(o["fieldsMap"])
		if raw == nil {
			return nil
		}
		out := fields{}
		for field, attribute := range raw {
			if several := list(attribute); len(several) > 0 {
				attribute = strings.Join(strs(attribute), ",")
			}
			out[field] = attribute
		}
		return out
	}, func(o fields, v any) { putOrDelete(o, "fieldsMap", v) }}
}

// issuer: without endpoints of its own the connection discovers them.
func issuer() option {
	return option{"issuer", func(o fields) any {
		if v := text(o["issuer"]); v != "" {
			return v
		}
		return object(o["oidc_metadata"])["issuer"]
	}, func(o fields, v any) {
		before := text(o["issuer"])
		putOrDelete(o, "issuer", v)
		if discovery := text(o["discovery_url"]); discovery == "" || strings.HasPrefix(discovery, strings.TrimSuffix(before, "/")+"/") && before != "" {
			o["discovery_url"] = strings.TrimSuffix(text(v), "/") + "/.well-known/openid-configuration"
		}
	}}
}

func endpoint(name string) option {
	return option{name, func(o fields) any {
		if v := text(o[name]); v != "" {
			return v
		}
		return object(o["oidc_metadata"])[name]
	}, func(o fields, v any) {
		putOrDelete(o, name, v)
		if metadata := object(o["oidc_metadata"]); metadata != nil && v == nil {
			delete(metadata, name)
		}
	}}
}

const tokenSet = "${context.tokenset."

// attributeMap maps a profile field to a claim of the ID token.
func attributeMap() option {
	return option{"attribute_mappings", func(o fields) any {
		raw := object(object(o["attribute_map"])["attributes"])
		if raw == nil {
			return nil
		}
		out := fields{}
		for field, claim := range raw {
			if name, ok := strings.CutPrefix(text(claim), tokenSet); ok && strings.HasSuffix(name, "}") && strings.Count(name, "}") == 1 {
				claim = strings.TrimSuffix(name, "}")
			}
			out[field] = claim
		}
		return out
	}, func(o fields, v any) {
		m := object(clone(o["attribute_map"]))
		if m == nil {
			m = fields{}
		}
		if v == nil {
			delete(m, "attributes")
			m["mapping_mode"] = "bind_all"
		} else {
			attributes := fields{}
			for field, claim := range object(v) {
				if !strings.Contains(text(claim), "${") {
					claim = tokenSet + text(claim) + "}"
				}
				attributes[field] = claim
			}
			m["attributes"], m["mapping_mode"] = attributes, "use_map"
		}
		o["attribute_map"] = m
	}}
}

func numberAsText(name string) option {
	return option{name, func(o fields) any {
		switch v := o[name].(type) {
		case string:
			if n, err := strconv.ParseFloat(v, 64); err == nil {
				return n
			}
		case float64:
			return v
		}
		return nil
	}, func(o fields, v any) {
		if n, ok := v.(float64); ok {
			o[name] = strconv.Itoa(int(n))
			return
		}
		delete(o, name)
	}}
}

func trustEmail() option {
	const key, always, never = "should_trust_email_verified_connection", "always_set_emails_as_verified", "never_set_emails_as_verified"
	return option{"should_trust_email_verified", func(o fields) any {
		switch o[key] {
		case always:
			return true
		case never:
			return false
		}
		return nil
	}, func(o fields, v any) {
		switch v {
		case true:
			o[key] = always
		case false:
			o[key] = never
		default:
			delete(o, key)
		}
	}}
}

// view reads the block from a connection's options.
func (b block) view(o fields) fields {
	out := fields{}
	for _, x := range b.options {
		out[x.name] = x.get(o)
	}
	return out
}

// withoutDefaults removes from a view what the options themselves do not say.
func (b block) withoutDefaults(view, options fields) {
	for _, x := range b.options {
		v := view[x.name]
		if v != false && v != 0.0 {
			continue
		}
		written := fields{}
		x.put(written, v)
		for key := range written {
			if _, said := options[key]; !said {
				delete(view, x.name)
			}
		}
	}
}

// lay lays wanted options over those that a connection has. Options are replaced
// as a whole, so what is not ours goes back unchanged.
func (b block) lay(now, want fields) (fields, error) {
	out := object(clone(now))
	if out == nil {
		out = fields{}
	}
	for name, value := range out {
		if value == nil {
			delete(out, name) // Auth0 shows some nulls that it does not take
		}
	}
	if cert := text(out["cert"]); cert != "" {
		// It is taken as signingCert only; what was read from it is worked out again.
		signingCert().put(out, cert)
	}
	known := map[string]bool{"client_secret": b.secret != ""}
	for _, x := range b.options {
		known[x.name] = true
		if v, ok := want[x.name]; ok {
			x.put(out, clone(v))
		}
	}
	var strangers []string
	for name := range want {
		if !known[name] {
			strangers = append(strangers, name)
		}
	}
	if len(strangers) > 0 {
		sort.Strings(strangers)
		return nil, fmt.Errorf("%s has no option %s", b.name, strings.Join(slices.Compact(strangers), ", "))
	}
	return out, nil
}
