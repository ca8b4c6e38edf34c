package enginetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"time"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// actionSecret and the others are canaries: nothing but the tenant may ever see
// them.
const (
	actionSecret  = "canary-action-secret-91c4"
	socialSecret  = "canary-social-secret-27ad"
	webhookSecret = "canary-webhook-secret-5e0b"
)

// given is what the secret store holds from the beginning.
func given() map[string]string {
	return map[string]string{"action-token": actionSecret, "social": socialSecret, "webhook": webhookSecret}
}

// certificate is that of the suite's SAML identity provider.
var certificate = sync.OnceValue(func() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "idp.example.com"}, NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
})

// stack is a set of resources with every kind in it, in an order that does not
// satisfy their references.
func stack(domain string) []v1.Resource {
	return []v1.Resource{
		v1.New("ada", &v1.Auth0UserSpec{Connection: "staff", Email: "Ada@example.com", Name: new("Ada Lovelace"), Blocked: new(false),
			UserMetadata: map[string]any{"team": "engines"}, Roles: []v1.StringOrRef{v1.From("", "admin"), v1.Value("Viewer")}}),
		v1.New("claims", &v1.Auth0ActionSpec{SupportedTrigger: v1.ActionTrigger{ID: "post-login", Version: "v3"}, Code: actionCode, Runtime: new("node22"),
			Secrets: []v1.ActionSecret{{Name: "TOKEN", Value: "memory:action-token"}}, TriggerBinding: &v1.TriggerBinding{}}),
		v1.New("batch-api", &v1.Auth0ClientGrantSpec{Client: v1.From("", "batch"), Audience: v1.From("", "api"), Scope: []string{"default:read"}}),
		v1.New("batch", &v1.Auth0ClientSpec{ApplicationType: "non_interactive", GrantTypes: []string{"client_credentials"}, TokenEndpointAuthMethod: new("client_secret_post"), OIDCConformant: new(true)}),
		v1.New("web", &v1.Auth0ClientSpec{ApplicationType: "regular_web", Description: new("the web application"),
			Callbacks: []string{"https://web.example.com/login", "http://localhost:3000/login"}, AllowedLogoutURLs: []string{"https://web.example.com/"},
			WebOrigins: []string{"https://web.example.com"}, GrantTypes: []string{"refresh_token", "authorization_code"},
			TokenEndpointAuthMethod: new("client_secret_post"), OIDCConformant: new(true), CrossOriginAuth: new(false),
			JWTConfiguration: &v1.JWTConfiguration{Alg: new("RS256"), LifetimeInSeconds: new(3600)},
			RefreshToken: &v1.RefreshToken{RotationType: new("rotating"), ExpirationType: new("expiring"), Leeway: new(0),
				TokenLifetime: new(86400), IdleTokenLifetime: new(3600), InfiniteTokenLifetime: new(false), InfiniteIdleTokenLifetime: new(false)},
			ClientMetadata:     map[string]string{"owner": "platform", "dotted.key": "kept"},
			EnabledConnections: []v1.StringOrRef{v1.From("", "staff")},
			APIGrants:          []v1.APIGrant{{Audience: v1.From("", "api"), Scopes: []string{"default:read", "default:write"}}}}),
		v1.New("staff", &v1.Auth0ConnectionSpec{Strategy: "auth0", DisplayName: new("Staff"), Metadata: map[string]string{"owner": "platform"},
			DatabaseOptions: &v1.DatabaseOptions{PasswordPolicy: new("excellent"), PasswordMinLength: new(14), DisableSignup: new(true), BruteForceProtection: new(true),
				PasswordHistorySize: new(5), PasswordNoPersonalInfo: new(true), PasswordDictionary: new(true)}}),
		v1.New("google", &v1.Auth0ConnectionSpec{Strategy: "google-oauth2", SocialOptions: &v1.SocialOptions{ClientID: "google-client", ClientSecret: "memory:social",
			Scopes: []string{"profile", "email"}, AllowedAudiences: []string{"ios.example.com"}, UpstreamParams: map[string]string{"prompt": "consent"}}}),
		v1.New("partner-saml", &v1.Auth0ConnectionSpec{Strategy: "samlp", DisplayName: new("Partner"), ShowAsButton: new(true), SAMLOptions: &v1.SAMLOptions{
			SignInEndpoint: "https://idp.example.com/sso", SigningCert: certificate(), SignOutEndpoint: new("https://idp.example.com/slo"), UserIDAttribute: new("uid"),
			SignRequest: new(true), SignatureAlgorithm: new("rsa-sha256"), DigestAlgorithm: new("sha256"), AttributeMappings: map[string]string{"email": "mail"}}}),
		v1.New("partner-oidc", &v1.Auth0ConnectionSpec{Strategy: "oidc", OIDCOptions: &v1.OIDCOptions{Issuer: "https://op.example.com", ClientID: "auth0",
			ClientSecret: new(v1.SecretRef("memory:social")), Type: new("back_channel"), Scopes: []string{"openid", "email"}, UserinfoEndpoint: new("https://op.example.com/me"),
			AttributeMappings: map[string]string{"email": "mail"}}}),
		v1.New("entra", &v1.Auth0ConnectionSpec{Strategy: "waad", AzureADOptions: &v1.AzureADOptions{ClientID: "app", ClientSecret: "memory:social", Domain: "contoso.onmicrosoft.com",
			UseCommonEndpoint: new(false), ShouldTrustEmailVerified: new(false), MaxGroupsToRetrieve: new(50), APIEnableUsers: new(true)}}),
		v1.New("events", &v1.Auth0EventStreamSpec{DestinationType: "webhook", Subscriptions: []string{"user.updated", "user.created"}, WebhookConfiguration: &v1.WebhookConfiguration{
			WebhookEndpoint: "https://events.example.com/hook", WebhookAuthorization: &v1.WebhookAuthorization{Method: "bearer", Token: new(v1.SecretRef("memory:webhook"))}}}),
		v1.New("bridge", &v1.Auth0EventStreamSpec{DestinationType: "eventbridge", Subscriptions: []string{"user.deleted"},
			EventBridgeConfiguration: &v1.EventBridgeConfiguration{AWSAccountID: "123456789012", AWSRegion: "eu-west-1"}}),
		v1.New("admin", &v1.Auth0RoleSpec{Description: new("may do everything"), Permissions: []v1.Permission{
			{Name: "default:write", ResourceServerIdentifier: "https://api.example.com"}, {Name: "default:read", ResourceServerIdentifier: "https://api.example.com"}}}),
		v1.New("viewer", &v1.Auth0RoleSpec{Name: new("Viewer"), Permissions: []v1.Permission{{Name: "default:read", ResourceServerIdentifier: "https://api.example.com"}}}),
		v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "https://api.example.com", Name: new("Example API"), SigningAlg: new("RS256"), TokenLifetime: new(3600), TokenLifetimeForWeb: new(1800),
			EnforcePolicies: new(true), TokenDialect: new("access_token_authz"), AllowOfflineAccess: new(false),
			Scopes: []v1.Scope{{Name: "default:write", Description: "change things"}, {Name: "default:read", Description: "see things"}}}),
		v1.New("tenant", &v1.Auth0TenantSpec{Domain: domain,
			Settings: &v1.TenantSettings{FriendlyName: new("Example"), SupportEmail: new("help@example.com"), SessionLifetime: new(8.0), IdleSessionLifetime: new(1.0),
				EnabledLocales: []string{"en", "de"}, Flags: map[string]bool{"revoke_refresh_token_grant": true}},
			MFA: &v1.TenantMFA{Factors: map[string]bool{"otp": true, "webauthn-roaming": true, "recovery-code": true}, Policy: new("always")},
			AttackProtection: &v1.AttackProtection{
				BruteForce:       &v1.BruteForceProtection{Enabled: new(true), MaxAttempts: new(5), Shields: []string{"user_notification", "block"}, Allowlist: []string{}},
				BreachedPassword: &v1.BreachedPasswordDetection{Enabled: new(true), Shields: []string{"block", "admin_notification"}},
				SuspiciousIP: &v1.SuspiciousIPThrottling{Enabled: new(true), Shields: []string{"block"},
					Stage: &v1.ThrottlingStage{PreLogin: &v1.Throttle{MaxAttempts: new(50)}}},
			}}),
	}
}

const actionCode = `exports.onExecutePostLogin = async (event, api) => {
  api.idToken.setCustomClaim("https://example.com/roles", event.authorization?.roles ?? []);
};`

// replace returns the resources with the ones given instead of those with the
// same key.
func replace(resources []v1.Resource, changed ...v1.Resource) []v1.Resource {
	out := append([]v1.Resource(nil), resources...)
	for _, c := range changed {
		for i, r := range out {
			if r.Kind == c.Kind && r.Metadata.Name == c.Metadata.Name {
				out[i] = c
			}
		}
	}
	return out
}

// only returns the resources with the given keys.
func only(resources []v1.Resource, keys ...string) []v1.Resource {
	var out []v1.Resource
	for _, key := range keys {
		for _, r := range resources {
			if r.Kind+"/"+r.Metadata.Name == key {
				out = append(out, r)
			}
		}
	}
	return out
}

// edit returns a copy of a resource with a changed spec.
func edit[S v1.Spec](resources []v1.Resource, name string, change func(S)) v1.Resource {
	for _, r := range resources {
		if _, ok := r.Spec.(S); !ok || r.Metadata.Name != name {
			continue
		}
		copied := travel(panicking{}, r)
		change(copied.Spec.(S))
		return copied
	}
	panic("the stack has no " + name)
}

// changed is the stack with something changed in every kind.
func changed(resources []v1.Resource) []v1.Resource {
	return replace(resources,
		edit(resources, "tenant", func(s *v1.Auth0TenantSpec) {
			s.Settings.FriendlyName = new("Example Ltd")
			s.Settings.Flags["revoke_refresh_token_grant"] = false
			s.MFA.Factors["webauthn-roaming"] = false
			s.MFA.Policy = new("never")
			s.AttackProtection.BruteForce.MaxAttempts = new(7)
			s.AttackProtection.SuspiciousIP.Stage.PreLogin.MaxAttempts = new(60)
		}),
		edit(resources, "api", func(s *v1.Auth0ResourceServerSpec) {
			s.Scopes = append(s.Scopes, v1.Scope{Name: "default:admin"})
			s.TokenLifetime = new(7200)
		}),
		edit(resources, "admin", func(s *v1.Auth0RoleSpec) {
			s.Description = new("may do almost everything")
			s.Permissions = []v1.Permission{{Name: "default:admin", ResourceServerIdentifier: "https://api.example.com"}, {Name: "default:read", ResourceServerIdentifier: "https://api.example.com"}}
		}),
		edit(resources, "staff", func(s *v1.Auth0ConnectionSpec) {
			s.DisplayName = new("All staff")
			s.DatabaseOptions.PasswordPolicy = new("good")
			s.DatabaseOptions.DisableSignup = new(false)
			s.Metadata["owner"] = "identity"
		}),
		edit(resources, "web", func(s *v1.Auth0ClientSpec) {
			s.Description = new("the new web application")
			s.Callbacks = []string{"https://web.example.com/callback"}
			s.JWTConfiguration.LifetimeInSeconds = new(1800)
			s.ClientMetadata["owner"] = "identity"
		}),
		edit(resources, "batch-api", func(s *v1.Auth0ClientGrantSpec) { s.Scope = []string{"default:read", "default:write"} }),
		edit(resources, "claims", func(s *v1.Auth0ActionSpec) {
			s.Code += "\n// second edition\n"
			s.TriggerBinding.DisplayName = new("Roles into tokens")
		}),
		edit(resources, "google", func(s *v1.Auth0ConnectionSpec) {
			s.SocialOptions.Scopes = []string{"email"}
			s.SocialOptions.UpstreamParams = map[string]string{"prompt": "select_account"}
		}),
		edit(resources, "partner-saml", func(s *v1.Auth0ConnectionSpec) {
			s.SAMLOptions.SignRequest = new(false)
			s.SAMLOptions.AttributeMappings = map[string]string{"email": "emailAddress"}
		}),
		edit(resources, "partner-oidc", func(s *v1.Auth0ConnectionSpec) {
			s.OIDCOptions.UserinfoEndpoint = new("https://op.example.com/userinfo")
		}),
		edit(resources, "entra", func(s *v1.Auth0ConnectionSpec) { s.AzureADOptions.MaxGroupsToRetrieve = new(20) }),
		edit(resources, "events", func(s *v1.Auth0EventStreamSpec) {
			s.Subscriptions = []string{"user.created"}
			s.WebhookConfiguration.WebhookEndpoint = "https://events.example.com/new-hook"
		}),
		edit(resources, "bridge", func(s *v1.Auth0EventStreamSpec) { s.Subscriptions = []string{"user.deleted", "user.created"} }),
		edit(resources, "ada", func(s *v1.Auth0UserSpec) {
			s.Name = new("Augusta Ada King")
			s.UserMetadata["team"] = "notes"
			s.Roles = []v1.StringOrRef{v1.Value("Viewer")}
		}),
	)
}

// panicking is a require.TestingT for code that cannot fail.
type panicking struct{}

func (panicking) Errorf(format string, args ...any) { panic(format) }
func (panicking) FailNow()                          { panic("failed") }
