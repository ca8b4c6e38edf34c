package auth0sim

import (
	"crypto/md5"
	"encoding/hex"
	"net/http"
	"regexp"
	"strings"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// documentFamilies are resources that the tenant stores and shows, without
// behaviour of their own here.
func documentFamilies() []*family {
	aclID := regexp.MustCompile(`^acl_[1-9A-HJ-NP-Za-km-z]{22}$`)
	return []*family{
		{path: "/self-service-profiles", kind: state.SelfServiceID, list: listing{wrap: "self_service_profiles"}, stamped: true, idempotentDelete: true,
			missing: notFound("", "Profile not found"), find: func(c *call, id string) (doc, bool, error) {
				d, found, err := c.Get("self-service-profiles", id)
				if err == nil && !found && c.http.Method != http.MethodDelete {
					err = notFound("", "Profile with ID: "+id+" not found")
				}
				return d, found, err
			}},
		{path: "/user-attribute-profiles", kind: state.UserProfileID, list: listing{wrap: "user_attribute_profiles", checkpoint: true, always: true}, idempotentDelete: true,
			missing: notFound("", "User attribute profile not found."), prepare: fillUserID, change: func(c *call, _, d, _ doc) error { return fillUserID(c, d) }},
		{path: "/connection-profiles", kind: state.ConnectionProfile, list: listing{wrap: "connection_profiles", checkpoint: true, always: true}, idempotentDelete: true,
			missing: notFound("", "Connection profile not found."), keepNull: []string{"strategy_overrides"}, prepare: nullOverrides,
			change: func(c *call, _, d, _ doc) error { return nullOverrides(c, d) }},
		{path: "/token-exchange-profiles", kind: state.TokenExchangeID, list: listing{wrap: "token_exchange_profiles", checkpoint: true, always: true}, stamped: true, idempotentDelete: true,
			missing: notFound("", "Token exchange profile not found.")},
		{path: "/network-acls", kind: state.NetworkACLID, list: listing{wrap: "network_acls"}, stamped: true, put: true, deleted: http.StatusOK,
			missing: notFound("", "The Network ACL does not exist."), prepare: checkACL,
			change: func(c *call, _, d, _ doc) error { return checkACL(c, d) },
			show: func(c *call, d doc) (any, error) {
				out := state.Public(d)
				if c.http.Method == http.MethodGet && len(c.params) > 0 { // one, not the list
					out["tenant_id"], out["deleted_at"] = c.tenant.name, nil
				}
				return out, nil
			},
			find: func(c *call, id string) (doc, bool, error) {
				if !aclID.MatchString(id) {
					return nil, false, refuse(http.StatusBadRequest, "invalid_uri", "Network ACL id is not a valid ACL ID in the form 'acl_XXXXXXXXXXXXXXXXXXXXXX'")
				}
				return c.Get("network-acls", id)
			}},
		{path: "/flows", kind: state.FlowID, list: listing{wrap: "flows"}, stamped: true, show: showFlow, missing: notFound("", "Flow not found"), defaults: `{"actions": []}`},
		{path: "/flows/vault/connections", kind: state.VaultConnectionID, list: listing{wrap: "connections"}, stamped: true, missing: notFound("", "Vault connection not found"),
			keepNull: []string{"refreshed_at"}, prepare: sealVault, change: func(c *call, _, d, _ doc) error { return sealVault(c, d) }},
		{path: "/forms", kind: state.FormID, list: listing{wrap: "forms"}, stamped: true, missing: notFound("", "Form not found"),
			prepare: dropEmpty, change: func(c *call, _, d, _ doc) error { return dropEmpty(c, d) }},
		{path: "/rules", kind: state.RuleID, list: listing{wrap: "rules"}, filters: []string{"enabled"}, missing: notFound("inexistent_rule", "The rule does not exist."), idempotentDelete: true,
			defaults: `{"enabled": true, "stage": "login_success"}`, unique: "name", clash: conflict("rule_conflict", "A rule with the same name already exists"),
			prepare: func(c *call, d doc) error {
				n, err := c.Count("rules", state.ListOptions{})
				fillGaps(d, doc{"order": float64(n + 1)})
				return err
			}},
		{path: "/hooks", kind: state.ObjectID, list: listing{wrap: "hooks"}, missing: notFound("HookDoesNotExist", "The hook does not exist."),
			defaults: `{"enabled": false, "dependencies": {}}`, filters: []string{"triggerId", "enabled"}},
		{path: "/rate-limit-policies", kind: state.RateLimitPolicyID, list: listing{wrap: "rate_limit_policies", checkpoint: true, always: true}, filters: []string{"resource", "consumer", "consumer_selector"}, stamped: true, idempotentDelete: true,
			missing: notFound("", "The rate limit policy does not exist.")},
		{path: "/verifiable-credentials/verification/templates", kind: "vct", list: listing{wrap: "templates", checkpoint: true, always: true}, stamped: true,
			missing: notFound("", "The template does not exist.")},
		{path: "/custom-domains", field: "custom_domain_id", kind: state.CustomDomainID, list: listing{wrap: "custom_domains", checkpoint: true}, missing: notFound("", "The custom domain does not exist"),
			idempotentDelete: true, searched: true, sorted: true, unique: "domain", anyCase: true, clash: conflict("custom_domain_already_exists", "The custom domain already exists"),
			mergeKeys: []string{"domain_metadata"}, keepNull: []string{"custom_client_ip_header"}, prepare: newDomain,
			change: func(_ *call, old, d, _ doc) error {
				for _, k := range []string{"domain", "type", "status"} {
					d[k] = old[k]
				}
				if m, isObject := d["domain_metadata"].(doc); isObject && len(m) == 0 {
					delete(d, "domain_metadata")
				}
				if v, has := d["custom_client_ip_header"]; has && v == nil {
					delete(d, "custom_client_ip_header")
				}
				return nil
			}},
	}
}

func documentSingletons() []*singleton { return nil }

// fillUserID completes a user attribute profile with the default source of the
// user's id.
func fillUserID(_ *call, d doc) error {
	fillGaps(d, mustDoc(`{"user_id": {"oidc_mapping": "sub", "scim_mapping": "externalId", "saml_mapping": [
		"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn",
		"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"]}}`))
	return nil
}

func nullOverrides(_ *call, d doc) error {
	if _, has := d["strategy_overrides"]; !has {
		d["strategy_overrides"] = nil
	}
	return nil
}

func dropEmpty(_ *call, d doc) error {
	for _, k := range []string{"messages", "style", "translations"} {
		if o, isObject := d[k].(doc); isObject && len(o) == 0 {
			delete(d, k)
		}
	}
	if l, isList := d["nodes"].([]any); isList && len(l) == 0 {
		delete(d, "nodes")
	}
	return nil
}

// showFlow: a listing tells of a flow without its actions.
func showFlow(c *call, d doc) (any, error) {
	out := doc(state.Public(d))
	if c.route.pattern == "/flows" && c.http.Method == http.MethodGet {
		delete(out, "actions")
	}
	return out, nil
}

// curatedLists are the lists of addresses that Auth0 maintains.
var curatedLists = []string{"auth0.low_reputation", "auth0.icloud_relay_proxy"}

func checkACL(_ *call, d doc) error {
	rule := obj(d, "rule")
	var unknown []string
	for _, side := range []string{"match", "not_match"} {
		for _, name := range toStrings(list(obj(rule, side), "auth0_managed")) {
			if !has(curatedLists, name) {
				unknown = append(unknown, name)
			}
		}
	}
	if len(unknown) > 0 {
		return badRequest("Invalid curated list name(s): %s. Allowed curated list names are: %s", strings.Join(unknown, ", "), strings.Join(curatedLists, ", "))
	}
	return nil
}

// sealVault hides what a vault connection was set up with.
func sealVault(_ *call, d doc) error {
	if setup, given := d["setup"]; given {
		state.PrivateOf(d)["setup"] = setup
		delete(d, "setup")
	}
	sum := md5.Sum([]byte(quoted(doc{"name": d["name"], "account": d["account_name"], "setup": state.PrivateOf(d)["setup"]})))
	d["fingerprint"] = hex.EncodeToString(sum[:])
	if _, has := d["ready"]; !has {
		d["ready"], d["refreshed_at"] = false, nil
	}
	return nil
}

func newDomain(c *call, d doc) error {
	if !c.tenant.plan.customDomains {
		return refuse(http.StatusForbidden, "operation_not_supported", "There must be a verified credit card on file to perform this operation")
	}
	id := str(d, "custom_domain_id")
	edge := c.tenant.name + "-" + strings.ToLower(strings.ReplaceAll(id, "_", "-")) + ".edge.tenants.us.auth0.com"
	method := doc{"name": "CNAME", "record": edge, "domain": d["domain"]}
	if str(d, "type") == "self_managed_certs" {
		method = doc{"name": "TXT", "record": c.NewID(state.UUID), "domain": "_cf-custom-hostname." + str(d, "domain")}
		fillGaps(d, doc{"custom_client_ip_header": nil})
	} else {
		fillGaps(d, doc{"tls_policy": "recommended"})
	}
	delete(d, "verification_method")
	others, err := c.Count("custom-domains", state.ListOptions{})
	if err != nil {
		return err
	}
	d["primary"], d["is_default"], d["status"] = others == 0, false, "pending_verification"
	d["verification"] = doc{"methods": []any{method}}
	d["created_at"] = state.Timestamp(c.Now())
	return nil
}

// readyDomains counts the custom domains that are verified.
func readyDomains(c *call) (int, error) {
	docs, _, err := c.List("custom-domains", state.ListOptions{})
	n := 0
	for _, d := range docs {
		if str(d, "status") == "ready" {
			n++
		}
	}
	return n, err
}

func documentHandlers() map[string]handler {
	families := documentFamilies()
	byPath := map[string]*family{}
	for _, f := range families {
		f.fill()
		byPath[f.path] = f
	}
	acls, domains, profiles := byPath["/network-acls"], byPath["/custom-domains"], byPath["/self-service-profiles"]
	out := map[string]handler{
		"DELETE /network-acls/{}": func(c *call) (answer, error) {
			a, err := acls.doDelete(c)
			a.body = doc{"object": "", "code": 204}
			return a, err
		},
		"POST /custom-domains/{}/verify": func(c *call) (answer, error) {
			d, err := domains.get(c)
			if err != nil {
				return answer{}, err
			}
			d["status"] = "ready"
			if str(d, "type") == "self_managed_certs" {
				fillGaps(d, doc{"origin_domain_name": str(obj(d, "verification"), "record"), "cname_api_key": c.NewID(state.ClientSecret)})
			}
			if err := c.Put(domains.store, c.params[0], d); err != nil {
				return answer{}, err
			}
			return domains.answer(c, http.StatusOK, d)
		},
		"POST /custom-domains/{}/test": func(c *call) (answer, error) {
			if _, err := domains.get(c); err != nil {
				return answer{}, err
			}
			return ok(doc{"success": true})
		},
		"GET /custom-domains/default": func(c *call) (answer, error) {
			docs, _, err := c.List("custom-domains", state.ListOptions{})
			if err != nil {
				return answer{}, err
			}
			for _, d := range docs {
				if boolean(d, "is_default") {
					return ok(state.Public(d))
				}
			}
			return ok(doc{"domain": c.tenant.domain})
		},
		"PATCH /custom-domains/default": func(c *call) (answer, error) {
			docs, _, err := c.List("custom-domains", state.ListOptions{})
			if err != nil {
				return answer{}, err
			}
			var chosen doc
			for _, d := range docs {
				d["is_default"] = str(d, "domain") == str(c.object(), "domain")
				if boolean(d, "is_default") {
					chosen = d
				}
				if err := c.Put("custom-domains", str(d, "custom_domain_id"), d); err != nil {
					return answer{}, err
				}
			}
			if chosen == nil && str(c.object(), "domain") != c.tenant.domain {
				return answer{}, notFound("", "The custom domain does not exist")
			}
			if chosen == nil {
				return ok(doc{"domain": c.tenant.domain})
			}
			return ok(state.Public(chosen))
		},
		"DELETE /custom-domains/{}": func(c *call) (answer, error) {
			d, found, err := c.Get("custom-domains", c.id())
			if err != nil {
				return answer{}, err
			}
			if found && boolean(d, "is_default") {
				return answer{}, conflict("", "The default custom domain cannot be deleted.")
			}
			return domains.doDelete(c)
		},
		"GET /self-service-profiles/{}/custom-text/{}/{}": func(c *call) (answer, error) {
			d, _, err := c.Get("self-service-profiles/custom-text", state.Key(c.params...))
			if err != nil {
				return answer{}, err
			}
			if d == nil {
				d = doc{}
			}
			return ok(d)
		},
		"PUT /self-service-profiles/{}/custom-text/{}/{}": func(c *call) (answer, error) {
			if err := c.needs("self-service-profiles", c.params[0], profiles.missing); err != nil {
				return answer{}, err
			}
			return answer{status: http.StatusOK, body: c.object()}, c.Put("self-service-profiles/custom-text", state.Key(c.params...), c.object())
		},
		"POST /self-service-profiles/{}/sso-ticket": func(c *call) (answer, error) {
			if err := c.needs("self-service-profiles", c.params[0], profiles.missing); err != nil {
				return answer{}, err
			}
			id := c.NewID(state.TicketID)
			if err := c.Put("self-service-profiles/tickets", id, doc{"profile": c.params[0], "request": c.object()}); err != nil {
				return answer{}, err
			}
			return answer{status: http.StatusCreated, body: doc{"ticket": "https://" + c.tenant.domain + "/self-service/connections-flow?ticket=" + id}}, nil
		},
		"POST /self-service-profiles/{}/sso-ticket/{}/revoke": func(c *call) (answer, error) {
			if _, err := c.Delete("self-service-profiles/tickets", c.params[1]); err != nil {
				return answer{}, err
			}
			return answer{status: http.StatusAccepted}, nil
		},
		"GET /hooks/{}/secrets":    hookSecrets(func(doc, any) {}, http.StatusOK),
		"POST /hooks/{}/secrets":   hookSecrets(addSecrets, http.StatusCreated),
		"PATCH /hooks/{}/secrets":  hookSecrets(addSecrets, http.StatusCreated),
		"DELETE /hooks/{}/secrets": hookSecrets(dropSecrets, http.StatusNoContent),
		"GET /rules-configs": func(c *call) (answer, error) {
			docs, _, err := c.List("rules-configs", state.ListOptions{})
			if err != nil {
				return answer{}, err
			}
			out := []any{}
			for _, d := range docs {
				out = append(out, doc{"key": d["key"]})
			}
			return ok(out)
		},
		"PUT /rules-configs/{}": func(c *call) (answer, error) {
			d := doc{"key": c.id(), "value": c.object()["value"]}
			return answer{status: http.StatusOK, body: d}, c.Put("rules-configs", c.id(), d)
		},
		"DELETE /rules-configs/{}": func(c *call) (answer, error) {
			if _, err := c.Delete("rules-configs", c.id()); err != nil {
				return answer{}, err
			}
			return noContent()
		},
		"GET /connection-profiles/templates":        func(*call) (answer, error) { return ok(doc{"connection_profile_templates": []any{}}) },
		"GET /connection-profiles/templates/{}":     func(*call) (answer, error) { return answer{}, notFound("", "Template not found.") },
		"GET /user-attribute-profiles/templates":    func(*call) (answer, error) { return ok(doc{"user_attribute_profile_templates": []any{}}) },
		"GET /user-attribute-profiles/templates/{}": func(*call) (answer, error) { return answer{}, notFound("", "Template not found.") },
		"GET /flows/{}/executions": func(c *call) (answer, error) {
			if err := c.needs("flows", c.params[0], notFound("", "Flow not found")); err != nil {
				return answer{}, err
			}
			return ok(doc{"executions": []any{}})
		},
		"GET /flows/{}/executions/{}":    func(*call) (answer, error) { return answer{}, notFound("", "Execution not found") },
		"DELETE /flows/{}/executions/{}": func(*call) (answer, error) { return noContent() },
	}
	for key, do := range keyHandlers() {
		out[key] = do
	}
	return out
}

func addSecrets(secrets doc, body any) {
	given, _ := body.(doc)
	for k, v := range given {
		secrets[k] = v
	}
}

func dropSecrets(secrets doc, body any) {
	names, _ := body.([]any)
	for _, name := range toStrings(names) {
		delete(secrets, name)
	}
}

// hookSecrets changes a hook's secrets and shows their names alone.
func hookSecrets(change func(secrets doc, body any), status int) handler {
	return func(c *call) (answer, error) {
		d, found, err := c.Get("hooks", c.params[0])
		if err != nil {
			return answer{}, err
		}
		if !found {
			return answer{}, notFound("HookDoesNotExist", "The hook does not exist.")
		}
		private := state.PrivateOf(d)
		secrets := obj(private, "secrets")
		if secrets == nil {
			secrets = doc{}
			private["secrets"] = secrets
		}
		if status != http.StatusOK {
			change(secrets, c.body)
			if err := c.Put("hooks", c.params[0], d); err != nil {
				return answer{}, err
			}
		}
		shown := doc{}
		for name := range secrets {
			shown[name] = "_VALUE_NOT_SHOWN_"
		}
		switch status {
		case http.StatusNoContent:
			return noContent()
		case http.StatusCreated:
			return answer{status: status, body: doc{}}, nil
		default:
			return ok(shown)
		}
	}
}

// keyHandlers are the tenant's encryption keys and custom signing keys.
func keyHandlers() map[string]handler {
	encryptionMissing := notFound("", "Encryption key not found.")
	ensure := func(c *call) error {
		n, err := c.Count("keys/encryption", state.ListOptions{})
		if err != nil || n > 0 {
			return err
		}
		root := c.NewID(state.UUID)
		if err := putEncryptionKey(c, root, "environment-root-key", "active", nil); err != nil {
			return err
		}
		return putEncryptionKey(c, c.NewID(state.UUID), "tenant-master-key", "active", root)
	}
	return map[string]handler{
		"GET /keys/encryption": func(c *call) (answer, error) {
			if err := ensure(c); err != nil {
				return answer{}, err
			}
			return c.list(listing{family: "keys/encryption", wrap: "keys", newestFirst: true})
		},
		"POST /keys/encryption": func(c *call) (answer, error) {
			id := c.NewID(state.UUID)
			if err := putEncryptionKey(c, id, "customer-provided-root-key", "pre-activation", nil); err != nil {
				return answer{}, err
			}
			d, _, err := c.Get("keys/encryption", id)
			return answer{status: http.StatusCreated, body: d}, err
		},
		"POST /keys/encryption/rekey": func(c *call) (answer, error) {
			if err := ensure(c); err != nil {
				return answer{}, err
			}
			docs, _, err := c.List("keys/encryption", state.ListOptions{})
			if err != nil {
				return answer{}, err
			}
			var parent any
			for _, d := range docs {
				switch {
				case str(d, "type") == "tenant-master-key" && str(d, "state") == "active":
					d["state"], d["updated_at"], parent = "destroyed", state.Timestamp(c.Now()), d["parent_kid"]
				case str(d, "type") == "tenant-encryption-key" && str(d, "state") == "active":
					d["state"], d["updated_at"] = "deactivated", state.Timestamp(c.Now())
				default:
					continue
				}
				if err := c.Put("keys/encryption", str(d, "kid"), d); err != nil {
					return answer{}, err
				}
			}
			if err := putEncryptionKey(c, c.NewID(state.UUID), "tenant-master-key", "active", parent); err != nil {
				return answer{}, err
			}
			return noContent()
		},
		"GET /keys/encryption/{}": func(c *call) (answer, error) {
			d, found, err := c.Get("keys/encryption", c.id())
			if err == nil && !found {
				err = encryptionMissing
			}
			return answer{status: http.StatusOK, body: d}, err
		},
		"POST /keys/encryption/{}": func(c *call) (answer, error) {
			d, found, err := c.Get("keys/encryption", c.id())
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, encryptionMissing
			}
			d["state"], d["updated_at"] = "active", state.Timestamp(c.Now())
			return answer{status: http.StatusCreated, body: d}, c.Put("keys/encryption", c.id(), d)
		},
		"DELETE /keys/encryption/{}": func(c *call) (answer, error) {
			d, found, err := c.Get("keys/encryption", c.id())
			if err != nil || !found {
				return answer{status: http.StatusNoContent}, err
			}
			d["state"], d["updated_at"] = "destroyed", state.Timestamp(c.Now())
			return answer{status: http.StatusNoContent}, c.Put("keys/encryption", c.id(), d)
		},
		"POST /keys/encryption/{}/wrapping-key": func(c *call) (answer, error) {
			if err := c.needs("keys/encryption", c.params[0], encryptionMissing); err != nil {
				return answer{}, err
			}
			key, err := c.CurrentSigningKey()
			if err != nil {
				return answer{}, err
			}
			return answer{status: http.StatusCreated, body: doc{"public_key": certificatePEM(key.Certificate), "algorithm": "CKM_RSA_AES_KEY_WRAP"}}, nil
		},
		"GET /keys/custom-signing": func(c *call) (answer, error) {
			d, found, err := c.Get("keys/custom-signing", "keys")
			if err == nil && !found {
				err = notFound("", "No custom signing keys found.")
			}
			return answer{status: http.StatusOK, body: d}, err
		},
		"PUT /keys/custom-signing": func(c *call) (answer, error) {
			return answer{status: http.StatusOK, body: c.object()}, c.Put("keys/custom-signing", "keys", c.object())
		},
		"DELETE /keys/custom-signing": func(c *call) (answer, error) {
			if _, err := c.Delete("keys/custom-signing", "keys"); err != nil {
				return answer{}, err
			}
			return answer{status: http.StatusNoContent}, nil
		},
	}
}

func putEncryptionKey(c *call, id, kind, keyState string, parent any) error {
	now := state.Timestamp(c.Now())
	return c.Put("keys/encryption", id, doc{"kid": id, "type": kind, "state": keyState, "created_at": now, "updated_at": now, "parent_kid": parent, "public_key": nil})
}
