package actions

import (
	"encoding/json"
	"net/url"
	"strings"
)

// maxClaims is the most that all custom claims of one flow may weigh as JSON.
const maxClaims = 100 << 10

// restricted are the claims that an Action cannot set: Auth0 uses them itself
// or the standards give them a meaning. Setting one is ignored, the login goes
// on without it.
// https://auth0.com/docs/secure/tokens/json-web-tokens/create-custom-claims
var restricted = set(`acr act active amr at_hash ath attest aud auth_time authorization_details azp c_hash client_id
	cnf cty dest entitlements events exp groups gty htm htu iat internalService iss jcard jku jti jwe jwk kid may_act
	mky nbf nonce object_id org_id org_name orig origid permissions roles rph s_hash sid sip_callid sip_cseq_num
	sip_date sip_from_tag sip_via_branch sub sub_jwk toe txn typ uuid vot vtm x5t#S256`)

// profile are the OpenID Connect profile claims. The ID token carries the
// user's own; only an access token may be given others.
var profile = set(`address birthdate email email_verified family_name gender given_name locale middle_name name nickname
	phone_number phone_number_verified picture preferred_username profile updated_at website zoneinfo`)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// allowed says whether an Action may set claim on an ID token (audience nil)
// or on an access token for audience.
func allowed(claim string, audience *string) bool {
	if claim == "" || restricted[claim] {
		return false
	}
	if ns, ok := namespace(claim); ok {
		return ns
	}
	if audience == nil {
		return !profile[claim]
	}
	// Private names could collide with what Auth0's own APIs will read.
	return !ownAPI(*audience)
}

// namespace reports whether claim is named by a URL, and if so whether that
// URL is free for tenants to use: Auth0's own domains are not.
func namespace(claim string) (free, isURL bool) {
	u, err := url.Parse(claim)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return false, false
	}
	for _, own := range []string{"auth0.com", "webtask.io", "webtask.run"} {
		if h := strings.ToLower(u.Hostname()); h == own || strings.HasSuffix(h, "."+own) {
			return false, true
		}
	}
	return true, true
}

func ownAPI(audience string) bool {
	u, err := url.Parse(audience)
	return err == nil && u.Scheme == "https" && (u.Path == "/api/v2/" || u.Path == "/mfa/")
}

func jsonSize(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		return maxClaims + 1
	}
	return len(b)
}
