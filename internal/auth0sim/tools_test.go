package auth0sim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What Auth0's Terraform provider and deploy CLI rely on, a test for each thing
// that one of them has tripped over.

// testKey makes a key, its certificate, and its thumbprint as RFC 7638 writes it.
func testKey(t *testing.T) (publicPEM, certPEM, thumbprint string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "partner"}, NotAfter: time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	sum := sha256.Sum256(fmt.Appendf(nil, `{"e":"AQAB","kty":"RSA","n":"%s"}`, base64.RawURLEncoding.EncodeToString(key.N.Bytes())))
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		base64.RawURLEncoding.EncodeToString(sum[:])
}

// The provider tells whether a key was replaced behind its back by the
// thumbprint, so a key id made otherwise is a difference in every plan.
func TestCredentialIsNamedByThumbprint(t *testing.T) {
	h := newHarness(t, Config{})
	publicPEM, certPEM, thumbprint := testKey(t)
	client := h.must(http.StatusCreated, "POST", "/clients", doc{"name": "machine", "app_type": "non_interactive"})
	path := "/clients/" + str(client, "client_id") + "/credentials"
	for _, text := range []string{publicPEM, certPEM} {
		made := h.must(http.StatusCreated, "POST", path, doc{"credential_type": "public_key", "name": "key", "pem": text})
		require.Equal(t, thumbprint, made["kid"])
	}
	code, answer := h.call("POST", path, doc{"credential_type": "public_key", "name": "key", "pem": "-----BEGIN PUBLIC KEY-----\naGVsbG8=\n-----END PUBLIC KEY-----\n"})
	require.Equal(t, http.StatusBadRequest, code, answer)
}

// A subject does not expire, even when it was read from a certificate.
func TestCredentialOfCertificate(t *testing.T) {
	h := newHarness(t, Config{})
	_, certPEM, _ := testKey(t)
	client := h.must(http.StatusCreated, "POST", "/clients", doc{"name": "machine", "app_type": "non_interactive"})
	path := "/clients/" + str(client, "client_id") + "/credentials"
	subject := h.must(http.StatusCreated, "POST", path, doc{"credential_type": "cert_subject_dn", "name": "subject", "pem": certPEM})
	require.Equal(t, "CN=partner", subject["subject_dn"])
	require.NotContains(t, subject, "expires_at")
	whole := h.must(http.StatusCreated, "POST", path, doc{"credential_type": "x509_cert", "name": "whole", "pem": certPEM})
	require.Equal(t, "2040-01-02T03:04:05.000Z", whole["expires_at"])
}

func TestThemeHasNoNameThatNobodyGave(t *testing.T) {
	h := newHarness(t, Config{})
	made := h.must(http.StatusOK, "POST", "/branding/themes", testTheme())
	require.NotContains(t, made, "displayName")
	require.NotContains(t, h.must(http.StatusOK, "GET", "/branding/themes/default", nil), "displayName")
}

func testTheme() doc {
	weight := func(size float64) doc { return doc{"bold": false, "size": size} }
	colors := doc{}
	for _, name := range []string{"body_text", "error", "header", "icons", "input_background", "input_border", "input_filled_text", "input_labels_placeholders", "links_focused_components",
		"primary_button", "primary_button_label", "secondary_button_border", "secondary_button_label", "success", "widget_background", "widget_border"} {
		colors[name] = "#112233"
	}
	return doc{
		"borders": doc{"button_border_radius": 3, "button_border_weight": 1, "buttons_style": "rounded", "input_border_radius": 3, "input_border_weight": 1, "inputs_style": "rounded",
			"show_widget_shadow": true, "widget_border_weight": 0, "widget_corner_radius": 5},
		"colors": colors,
		"fonts": doc{"body_text": weight(87.5), "buttons_text": weight(100), "font_url": "", "input_labels": weight(100), "links": weight(87.5), "links_style": "normal",
			"reference_text_size": 16, "subtitle": weight(87.5), "title": weight(150)},
		"page_background": doc{"background_color": "#000000", "background_image_url": "", "page_layout": "center"},
		"widget":          doc{"header_text_alignment": "center", "logo_height": 52, "logo_position": "center", "logo_url": "", "social_buttons_layout": "bottom"},
	}
}

// The deploy CLI sends in base64 what it was shown as PEM; of a samlp connection
// it is shown as signingCert, of others as cert.
func TestSigningCertificateOfSAML(t *testing.T) {
	h := newHarness(t, Config{})
	_, certPEM, _ := testKey(t)
	for strategy, shown := range map[string]string{"samlp": "signingCert", "pingfederate": "cert"} {
		options := doc{"signInEndpoint": "https://partner.example.com/in", "signingCert": certPEM}
		if strategy == "pingfederate" {
			options["pingFederateBaseUrl"] = "https://partner.example.com"
		}
		made := h.must(http.StatusCreated, "POST", "/connections", doc{"name": strategy, "strategy": strategy, "options": options})
		require.Equal(t, certPEM, obj(made, "options")[shown], strategy)
		require.Equal(t, "2040-01-02T03:04:05.000Z", obj(made, "options")["expires"], strategy)
		require.Equal(t, "partner", obj(obj(made, "options"), "subject")["commonName"], strategy)
		options["signingCert"] = base64.StdEncoding.EncodeToString([]byte(certPEM))
		changed := h.must(http.StatusOK, "PATCH", "/connections/"+str(made, "id"), doc{"options": options})
		require.Equal(t, certPEM, obj(changed, "options")[shown], strategy)
	}
}

func TestSessionLifetimesInMinutes(t *testing.T) {
	h := newHarness(t, Config{})
	changed := h.must(http.StatusOK, "PATCH", "/tenants/settings", doc{"session_lifetime_in_minutes": 181, "idle_session_lifetime_in_minutes": 60})
	require.InDelta(t, 3.0166666666666666, changed["session_lifetime"], 0)
	require.InDelta(t, 1, changed["idle_session_lifetime"], 0)
	require.NotContains(t, changed, "session_lifetime_in_minutes")
}

func TestCustomAppOfPushNotifications(t *testing.T) {
	h := newHarness(t, Config{})
	require.Empty(t, h.must(http.StatusOK, "GET", "/prompts/mfa-push", nil))
	app := doc{"app_name": "Acme", "apple_app_link": "https://apple.example.com/acme", "google_app_link": "https://google.example.com/acme"}
	require.Equal(t, map[string]any(app), map[string]any(h.must(http.StatusOK, "PATCH", "/prompts/mfa-push", app)))
	require.Equal(t, map[string]any(app), map[string]any(h.must(http.StatusOK, "GET", "/prompts/mfa-push", nil)))
}

// The deploy CLI asks for the bindings of each trigger that is listed.
func TestEachTriggerHasBindings(t *testing.T) {
	h := newHarness(t, Config{})
	listed := list(h.must(http.StatusOK, "GET", "/actions/triggers", nil), "triggers")
	require.NotEmpty(t, listed)
	for _, e := range listed {
		h.must(http.StatusOK, "GET", "/actions/triggers/"+str(e.(doc), "id")+"/bindings", nil)
	}
}

func TestGlobalClientIsToldByItsOwnField(t *testing.T) {
	h := newHarness(t, Config{})
	for query, name := range map[string]string{"true": "All Applications", "false": "Tenon"} {
		code, answer := h.call("GET", "/clients?is_global="+query, nil)
		require.Equal(t, http.StatusOK, code)
		clients := answer.([]any)
		require.Len(t, clients, 1)
		require.Equal(t, name, str(clients[0].(doc), "name"))
		require.NotContains(t, clients[0], "is_global")
	}
}

func TestNetworkACLInAList(t *testing.T) {
	h := newHarness(t, Config{})
	made := h.must(http.StatusCreated, "POST", "/network-acls", doc{"description": "crawlers", "active": true, "priority": 1,
		"rule": doc{"action": doc{"block": true}, "match": doc{"user_agents": []any{"badbot"}}, "scope": "authentication"}})
	require.Contains(t, h.must(http.StatusOK, "GET", "/network-acls/"+str(made, "id"), nil), "deleted_at")
	code, answer := h.call("GET", "/network-acls", nil)
	require.Equal(t, http.StatusOK, code)
	require.NotContains(t, answer.([]any)[0], "deleted_at")
	require.NotContains(t, answer.([]any)[0], "tenant_id")
}

// What a GET shows, a PATCH takes.
func TestAttackProtectionTakesWhatItShows(t *testing.T) {
	h := newHarness(t, Config{})
	for _, name := range []string{"brute-force-protection", "suspicious-ip-throttling", "breached-password-detection", "bot-detection", "captcha"} {
		path := "/attack-protection/" + name
		shown := h.must(http.StatusOK, "GET", path, nil)
		if name == "captcha" {
			shown = doc{"active_provider_id": shown["active_provider_id"], "auth_challenge": shown["auth_challenge"]}
		}
		require.Subset(t, map[string]any(h.must(http.StatusOK, "PATCH", path, shown)), map[string]any(shown), name)
	}
}

// What names the users of a Google Workspace is settled when the connection is
// made: TestAccConnectionGoogleApps. Other options are replaced.
func TestGoogleAppsKeepsHowItNamesUsers(t *testing.T) {
	h := newHarness(t, Config{})
	options := func() doc { return doc{"client_id": "a", "client_secret": "b", "domain": "example.com"} }
	for name, was := range map[string]any{"by-id": true, "by-email": false, "unsaid": nil} {
		given := options()
		given["api_enable_users"] = true
		if was != nil {
			given["map_user_id_to_id"] = was
		}
		path := "/connections/" + str(h.must(http.StatusCreated, "POST", "/connections", doc{"name": name, "strategy": "google-apps", "options": given}), "id")
		h.must(http.StatusOK, "PATCH", path, doc{"options": options()})
		shown := obj(h.must(http.StatusOK, "GET", path, nil), "options")
		require.Equal(t, was, shown["map_user_id_to_id"], name)
		require.Equal(t, was != nil, has(sorted(shown), "map_user_id_to_id"), name)
		require.NotContains(t, shown, "api_enable_users", name)
	}
	given := options()
	given["map_user_id_to_id"] = true
	path := "/connections/" + str(h.must(http.StatusCreated, "POST", "/connections", doc{"name": "other", "strategy": "oidc", "options": given}), "id")
	require.NotContains(t, obj(h.must(http.StatusOK, "PATCH", path, doc{"options": options()}), "options"), "map_user_id_to_id")
}

// The identifier makes the My Account API, whatever it is to be called; it can
// be deleted, unlike the Management API: TestAccResourceServer_ACR.
func TestMyAccountAPI(t *testing.T) {
	h := newHarness(t, Config{})
	policy := doc{"policy_id": "019b76da-a800-73c9-b656-b349ae415c17"}
	body := doc{"name": "Mine", "identifier": "https://localhost:4430/me/", "scopes": []any{doc{"value": "read:x"}}, "authorization_policy": policy}
	made := h.must(http.StatusCreated, "POST", "/resource-servers", body)
	path := "/resource-servers/" + str(made, "id")
	shown := h.must(http.StatusOK, "GET", path, nil)
	first, all := list(made, "scopes"), list(shown, "scopes")
	require.Len(t, first, 3)
	require.Len(t, all, 8)
	require.Equal(t, first, all[:3])
	require.Equal(t, doc{"value": "create:me:connected_accounts", "description": "Create Connected Accounts"}, first[0])
	require.Equal(t, doc{"value": "create:me:authentication_methods", "description": "Create Authentication Methods"}, all[7])
	for _, d := range []doc{made, shown} {
		delete(d, "id")
		delete(d, "scopes")
		require.Equal(t, doc{"name": "Auth0 My Account API", "identifier": "https://localhost:4430/me/", "is_system": true, "allow_offline_access": true,
			"skip_consent_for_verifiable_first_party_clients": true, "token_lifetime": 600.0, "token_lifetime_for_web": 600.0, "signing_alg": "RS256",
			"subject_type_authorization": doc{"client": doc{"policy": "deny_all"}, "user": doc{"policy": "require_client_grant"}},
			"proof_of_possession":        doc{"mechanism": "dpop", "required": false}, "authorization_policy": policy}, d)
	}
	code, _ := h.call("POST", "/resource-servers", body)
	require.Equal(t, http.StatusConflict, code)
	code, _ = h.call("PATCH", path, doc{"token_lifetime": 60})
	require.Equal(t, http.StatusBadRequest, code)
	code, _ = h.call("DELETE", path, nil)
	require.Equal(t, http.StatusNoContent, code)
	code, _ = h.call("GET", path, nil)
	require.Equal(t, http.StatusNotFound, code)

	code, _ = h.call("DELETE", "/resource-servers/"+url.PathEscape("https://localhost:4430/api/v2/"), nil)
	require.Equal(t, http.StatusBadRequest, code)
	for _, other := range []string{"https://localhost:4430/me", "https://localhost:4431/me/", "https://api.example.com/me/"} {
		d := h.must(http.StatusCreated, "POST", "/resource-servers", doc{"name": "Mine", "identifier": other})
		require.Equal(t, "Mine", d["name"], other)
		require.NotContains(t, d, "is_system", other)
	}
}
