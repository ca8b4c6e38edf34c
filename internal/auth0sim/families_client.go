package auth0sim

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

var clientMissing = notFound("inexistent_client", "The client does not exist")

const clientDefaults = `{
	"is_first_party": true, "is_token_endpoint_ip_header_trusted": false, "oidc_conformant": false,
	"jwt_configuration": {"secret_encoded": false}, "sso_disabled": false, "cross_origin_authentication": false, "cross_origin_auth": false,
	"custom_login_page_on": true,
	"refresh_token": {"rotation_type": "non-rotating", "expiration_type": "non-expiring", "leeway": 0, "token_lifetime": 2592000,
		"infinite_token_lifetime": true, "infinite_idle_token_lifetime": true, "idle_token_lifetime": 1296000}
}`

func clientFamilies() []*family {
	return []*family{
		{
			path: "/clients", field: "client_id", kind: state.ClientID, missing: clientMissing, idempotentDelete: true,
			list: listing{wrap: "clients", checkpoint: true, counted: true}, filters: []string{"is_global:global", "is_first_party", "external_client_id", "app_type,"}, searched: true,
			mergeKeys: []string{"client_metadata", "jwt_configuration", "refresh_token", "mobile", "native_social_login", "session_transfer", "signed_request_object"}, prepare: newClient, change: changeClient, show: showClient,
			gone: func(c *call, d doc) error { return dropClient(c, str(d, "client_id")) },
		},
		{
			path: "/clients/{}/credentials", parent: "clients", parentField: "client_id", parentGone: clientMissing,
			kind: state.CredentialID, missing: notFound("inexistent_credential", "The credential does not exist"), idempotentDelete: true,
			list: listing{bare: true}, store: "clients/credentials", stamped: true, prepare: newCredential, show: showCredential,
		},
	}
}

func newClient(c *call, d doc) error {
	method := str(d, "token_endpoint_auth_method")
	express := str(d, "app_type") == "express_configuration"
	if d["is_first_party"] == false {
		if err := thirdParty(c, d); err != nil {
			return err
		}
	}
	if str(d, "app_type") == "resource_server" {
		fillGaps(d, mustDoc(`{"oidc_conformant": true, "grant_types": [], "jwt_configuration": {"alg": "RS256"}}`))
	}
	if transfer := obj(d, "session_transfer"); transfer != nil {
		fillGaps(transfer, mustDoc(sessionTransferDefaults))
	}
	jwtConfig := obj(d, "jwt_configuration")
	_, hasAlg := jwtConfig["alg"]
	_, hasLifetime := jwtConfig["lifetime_in_seconds"]
	if _, grants := d["grant_types"]; !grants {
		types := []any{"authorization_code", "implicit", "refresh_token", "client_credentials"}
		switch {
		case express:
			types = []any{"authorization_code", "client_credentials"}
		case method == "none":
			types = types[:3]
		}
		d["grant_types"] = types
	}
	if express {
		fillGaps(d, mustDoc(`{"callbacks": ["https://system-admin.okta.com/admin/app/generic/oauth20redirect"],
			"organization_usage": "require", "organization_require_behavior": "pre_login_prompt",
			"client_authentication_methods": {"private_key_jwt": {"credentials": []}}}`))
		d["oidc_conformant"], d["jwt_configuration"] = true, doc{"secret_encoded": false, "alg": "RS256"}
		hasAlg = true
	}
	fillGaps(d, mustDoc(clientDefaults))
	if method == "client_secret_post" {
		if _, given := obj(c.object(), "refresh_token")["token_lifetime"]; !given {
			obj(d, "refresh_token")["token_lifetime"] = 31557600.0
		}
		if _, given := obj(c.object(), "refresh_token")["idle_token_lifetime"]; !given {
			obj(d, "refresh_token")["idle_token_lifetime"] = 2592000.0
		}
	}
	if !hasAlg && !hasLifetime {
		obj(d, "jwt_configuration")["lifetime_in_seconds"] = 36000.0
	}
	if secret := str(d, "client_secret"); secret == "" && !express {
		d["client_secret"] = c.NewID(state.ClientSecret)
	}
	key, err := c.CurrentSigningKey()
	if err != nil {
		return err
	}
	d["signing_keys"] = []any{doc{"cert": certificatePEM(key.Certificate), "subject": "/CN=" + c.tenant.domain}}
	return adoptCredentials(c, d)
}

const sessionTransferDefaults = `{"can_create_session_transfer_token": false, "allowed_authentication_methods": [], "enforce_device_binding": "ip",
	"allow_refresh_token": false, "enforce_cascade_revocation": true, "enforce_online_refresh_tokens": true}`

// thirdParty gives an application of somebody else the stricter defaults; how
// strict they are is the tenant's setting unless the body says so.
func thirdParty(c *call, d doc) error {
	if str(d, "third_party_security_mode") == "" {
		settings, err := c.settings()
		if err != nil {
			return err
		}
		d["third_party_security_mode"] = settings["dynamic_client_registration_security_mode"]
	}
	if str(d, "third_party_security_mode") == "strict" {
		d["client_id"] = "tpc_" + strings.TrimPrefix(c.NewID(state.EventID), "evt_")
		fillGaps(d, mustDoc(`{"jwt_configuration": {"alg": "RS256", "lifetime_in_seconds": 3600}, "grant_types": ["authorization_code"]}`))
	}
	fillGaps(d, mustDoc(`{"oidc_conformant": true, "refresh_token": {"expiration_type": "expiring", "infinite_idle_token_lifetime": false}}`))
	if str(d, "token_endpoint_auth_method") == "none" {
		fillGaps(d, mustDoc(`{"refresh_token": {"rotation_type": "rotating", "infinite_token_lifetime": false}}`))
	}
	return nil
}

func certificatePEM(cert *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}

func changeClient(c *call, old, d, patch doc) error {
	if boolean(old, "global") && len(patch) == 0 {
		return nil
	}
	if transfer := obj(d, "session_transfer"); transfer != nil && obj(old, "session_transfer") == nil {
		fillGaps(transfer, mustDoc(sessionTransferDefaults))
	}
	return adoptCredentials(c, d)
}

// adoptCredentials creates the credentials that a client's authentication
// methods carry in full, and leaves references to them.
func adoptCredentials(c *call, d doc) error {
	for _, holder := range []doc{obj(d, "client_authentication_methods"), obj(d, "signed_request_object"), obj(d, "token_vault_privileged_access")} {
		holders := []doc{holder}
		for _, v := range holder {
			if o, isObject := v.(doc); isObject {
				holders = append(holders, o)
			}
		}
		for _, h := range holders {
			for i, e := range list(h, "credentials") {
				cred, _ := e.(doc)
				if cred == nil || str(cred, "id") != "" {
					continue
				}
				made := state.Clone(cred)
				now := state.Timestamp(c.Now())
				made["id"], made["client_id"], made["created_at"], made["updated_at"] = c.NewID(state.CredentialID), d["client_id"], now, now
				if err := newCredential(c, made); err != nil {
					return err
				}
				if err := c.Put("clients/credentials", str(made, "id"), made); err != nil {
					return err
				}
				list(h, "credentials")[i] = doc{"id": made["id"]}
			}
		}
	}
	return nil
}

func newCredential(c *call, d doc) error {
	text := str(d, "pem")
	delete(d, "pem")
	if text != "" {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return badRequest("Invalid PEM: could not parse the public key")
		}
		state.PrivateOf(d)["pem"] = text
		sum := sha256.Sum256(block.Bytes)
		switch str(d, "credential_type") {
		case "x509_cert", "cert_subject_dn":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return badRequest("Invalid PEM: could not parse the certificate")
			}
			if str(d, "credential_type") == "x509_cert" {
				d["thumbprint_sha256"] = base64.RawURLEncoding.EncodeToString(sum[:])
				d["expires_at"] = state.Timestamp(cert.NotAfter)
			}
			if _, given := d["subject_dn"]; !given && str(d, "credential_type") == "cert_subject_dn" {
				d["subject_dn"] = subjectLines(cert)
			}
		default:
			kid, err := keyThumbprint(block)
			if err != nil {
				return badRequest("Invalid PEM: could not parse the public key")
			}
			fillGaps(d, doc{"kid": kid})
			if boolean(d, "parse_expiry_from_cert") && block.Type == "CERTIFICATE" {
				cert, err := x509.ParseCertificate(block.Bytes)
				if err != nil {
					return badRequest("Invalid PEM: could not parse the certificate")
				}
				d["expires_at"] = state.Timestamp(cert.NotAfter)
			}
		}
	}
	delete(d, "parse_expiry_from_cert")
	if str(d, "credential_type") == "public_key" && str(d, "alg") == "" {
		d["alg"] = "RS256"
	}
	return nil
}

// keyThumbprint names the public key in a PEM block, or in the certificate that
// it holds, by its thumbprint as in RFC 7638.
func keyThumbprint(block *pem.Block) (string, error) {
	var public any
	var err error
	switch block.Type {
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = cert.PublicKey
		}
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	}
	if err != nil {
		return "", err
	}
	key, err := jwk.Import(public)
	if err != nil {
		return "", err
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

// subjectLines writes a certificate's subject a name on each line, in the order
// of the certificate.
func subjectLines(cert *x509.Certificate) string {
	names := map[string]string{"2.5.4.6": "C", "2.5.4.8": "ST", "2.5.4.7": "L", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.3": "CN", "2.5.4.5": "serialNumber"}
	var lines []string
	for _, n := range cert.Subject.Names {
		name := names[n.Type.String()]
		if name == "" {
			name = n.Type.String()
		}
		lines = append(lines, fmt.Sprintf("%s=%v", name, n.Value))
	}
	return strings.Join(lines, "\n")
}

func showCredential(_ *call, d doc) (any, error) {
	out := state.Public(d)
	delete(out, "client_id")
	if t, err := time.Parse(time.RFC3339, str(out, "expires_at")); err == nil {
		out["expires_at"] = state.Timestamp(t)
	}
	return out, nil
}

func showClient(c *call, d doc) (any, error) {
	out := state.Public(d)
	if !c.caller.scopes["read:client_keys"] && c.http.Method == http.MethodGet {
		delete(out, "client_secret")
		delete(out, "signing_keys")
		delete(out, "encryption_key")
	}
	return out, nil
}

// dropClient removes what exists only for a client.
func dropClient(c *call, id string) error {
	for family, index := range map[string]string{
		"clients/credentials": "client_id", "connections/clients": "client_id", "client-grants": "client_id",
		"grants": "clientID", "refresh-tokens": "client_id",
	} {
		if _, err := c.DeleteWhere(family, index, id); err != nil {
			return err
		}
	}
	servers, err := c.Find("resource-servers", "client_id", id)
	if err != nil {
		return err
	}
	for _, rs := range servers {
		delete(rs, "client_id")
		if err := c.Put("resource-servers", str(rs, "id"), rs); err != nil {
			return err
		}
	}
	return nil
}

func loadClient(c *call, id string) (doc, error) {
	d, found, err := c.Get("clients", id)
	if err == nil && !found {
		err = clientMissing
	}
	return d, err
}

func clientHandlers() map[string]handler {
	families := clientFamilies()
	clients, credentials := families[0], families[1]
	clients.fill()
	credentials.fill()
	return map[string]handler{
		"POST /clients/cimd/preview":  previewMetadata,
		"POST /clients/cimd/register": registerMetadata(clients),
		"POST /clients": func(c *call) (answer, error) {
			body := c.object()
			if id := str(body, "resource_server_identifier"); id != "" {
				rs, found, err := findResourceServer(c, id)
				if err != nil {
					return answer{}, err
				}
				if !found {
					return answer{}, resourceServerMissing
				}
				d, err := clients.create(c, body)
				if err != nil {
					return answer{}, err
				}
				rs["client_id"] = d["client_id"]
				if err := c.Put("resource-servers", str(rs, "id"), rs); err != nil {
					return answer{}, err
				}
				return clients.answer(c, http.StatusCreated, d)
			}
			return clients.doCreate(c)
		},
		"DELETE /clients/{}": func(c *call) (answer, error) {
			d, found, err := c.Get("clients", c.id())
			if err != nil {
				return answer{}, err
			}
			if found && boolean(d, "global") {
				return answer{}, badRequest("Global client cannot be deleted.")
			}
			return clients.doDelete(c)
		},
		"POST /clients/{}/rotate-secret": func(c *call) (answer, error) {
			d, err := loadClient(c, c.id())
			if err != nil {
				return answer{}, err
			}
			if _, keyed := obj(d, "client_authentication_methods")["private_key_jwt"]; keyed {
				return answer{}, refuse(http.StatusBadRequest, "operation_not_supported", "Client secrets cannot be rotated for clients that authenticate with private_key_jwt.")
			}
			d["client_secret"] = c.NewID(state.ClientSecret)
			if err := c.Put("clients", c.id(), d); err != nil {
				return answer{}, err
			}
			return clients.answer(c, http.StatusOK, d)
		},
		"GET /clients/{}/connections": func(c *call) (answer, error) {
			if _, err := loadClient(c, c.id()); err != nil {
				return answer{}, err
			}
			l := listing{family: "connections/clients", index: "client_id", value: c.id(), wrap: "connections", checkpoint: true, always: true,
				show: func(c *call, link doc) (any, error) {
					d, _, err := c.Get("connections", str(link, "connection_id"))
					if err != nil {
						return nil, err
					}
					return showConnection(c, d)
				}}
			if kinds := c.query["strategy"]; len(kinds) > 0 {
				var ids []string
				for _, kind := range kinds {
					some, err := c.IDs("connections", "strategy", kind)
					if err != nil {
						return answer{}, err
					}
					ids = append(ids, some...)
				}
				l.also(func(link doc) bool { return has(ids, str(link, "connection_id")) })
			}
			return c.list(l)
		},
		"DELETE /clients/{}/credentials/{}": func(c *call) (answer, error) {
			d, err := loadClient(c, c.params[0])
			if err != nil {
				return answer{}, err
			}
			if strings.Contains(quoted(obj(d, "client_authentication_methods")), quoted(c.id())) {
				return answer{}, refuse(http.StatusConflict, "credential_in_use", "The credential is in use and cannot be deleted. Remove it from the client's authentication methods first.")
			}
			return credentials.doDelete(c)
		},
	}
}
