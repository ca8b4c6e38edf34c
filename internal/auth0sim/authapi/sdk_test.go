package authapi_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/auth0/go-auth0/authentication"
	"github.com/auth0/go-auth0/authentication/database"
	"github.com/auth0/go-auth0/authentication/mfa"
	"github.com/auth0/go-auth0/authentication/oauth"
	"github.com/auth0/go-auth0/authentication/passwordless"
	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// The vendor's own SDK, unchanged, as the judge.
func TestVendorSDK(t *testing.T) {
	s := newSim(t)
	s.client("sdk", doc{"client_secret": "a secret of the length that HMAC asks for"})
	s.put("connections", "con_mail", doc{"id": "con_mail", "name": "email", "strategy": "email"})
	s.put("connections/clients", state.Key("con_mail", "sdk"), doc{"connection_id": "con_mail", "client_id": "sdk"})
	s.put("client-grants", "g", doc{"id": "g", "client_id": "sdk", "audience": api, "scope": []any{"read:things"}})
	ctx := t.Context()
	a, err := authentication.New(ctx, s.domain, authentication.WithClientID("sdk"), authentication.WithClientSecret("a secret of the length that HMAC asks for"),
		authentication.WithClient(s.server.Client()), authentication.WithNoRetries())
	require.NoError(t, err)
	none := oauth.IDTokenValidationOptions{}
	failure := func(err error, status int, code string) {
		t.Helper()
		var e *authentication.Error
		require.True(t, errors.As(err, &e), "%v", err)
		require.Equal(t, status, e.StatusCode)
		require.Equal(t, code, e.Err)
	}

	up, err := a.Database.Signup(ctx, database.SignupRequest{Connection: "Users", Email: "sdk@example.test", Password: password})
	require.NoError(t, err)
	require.NotEmpty(t, up.ID)
	_, err = a.Database.Signup(ctx, database.SignupRequest{Connection: "Users", Email: "sdk@example.test", Password: password})
	failure(err, 400, "invalid_signup")
	_, err = a.Database.Signup(ctx, database.SignupRequest{Connection: "Users", Email: "weak@example.test", Password: "weak"})
	failure(err, 400, "invalid_password")
	said, err := a.Database.ChangePassword(ctx, database.ChangePasswordRequest{Connection: "Users", Email: "sdk@example.test"})
	require.NoError(t, err)
	require.Equal(t, "We've just sent you an email to reset your password.", said)

	tokens, err := a.OAuth.LoginWithPassword(ctx, oauth.LoginWithPasswordRequest{Username: "sdk@example.test", Password: password, Scope: "openid profile offline_access", Realm: "Users"}, none)
	require.NoError(t, err)
	info, err := a.UserInfo(ctx, tokens.AccessToken)
	require.NoError(t, err)
	require.Equal(t, "auth0|"+up.ID, info.Sub)
	_, err = a.OAuth.LoginWithPassword(ctx, oauth.LoginWithPasswordRequest{Username: "sdk@example.test", Password: "wrong"}, none)
	failure(err, 403, "invalid_grant")
	tokens, err = a.OAuth.RefreshToken(ctx, oauth.RefreshTokenRequest{RefreshToken: tokens.RefreshToken}, none)
	require.NoError(t, err)
	require.NoError(t, a.OAuth.RevokeRefreshToken(ctx, oauth.RevokeRefreshTokenRequest{Token: tokens.RefreshToken}))
	_, err = a.OAuth.RefreshToken(ctx, oauth.RefreshTokenRequest{RefreshToken: tokens.RefreshToken}, none)
	failure(err, 403, "invalid_grant")

	m2m, err := a.OAuth.LoginWithClientCredentials(ctx, oauth.LoginWithClientCredentialsRequest{Audience: api}, none)
	require.NoError(t, err)
	require.Equal(t, "read:things", m2m.Scope)
	_, err = a.OAuth.LoginWithClientCredentials(ctx, oauth.LoginWithClientCredentialsRequest{Audience: "https://nope"}, none)
	failure(err, 403, "access_denied")

	pushed, err := a.OAuth.PushedAuthorization(ctx, oauth.PushedAuthorizationRequest{RedirectURI: callback, ResponseType: "code", Nonce: "n", Scope: "openid"})
	require.NoError(t, err)
	b := s.browser()
	v := b.login(b.open("/authorize?"+url.Values{"client_id": {"sdk"}, "request_uri": {pushed.RequestURI}}.Encode()), "ada@example.test")
	_, err = a.OAuth.LoginWithAuthCode(ctx, oauth.LoginWithAuthCodeRequest{Code: v.answer().Get("code"), RedirectURI: callback}, oauth.IDTokenValidationOptions{Nonce: "n"})
	require.NoError(t, err)
	_, err = a.OAuth.LoginWithAuthCode(ctx, oauth.LoginWithAuthCodeRequest{Code: "nope", RedirectURI: callback}, none)
	failure(err, 403, "invalid_grant")

	_, err = a.Passwordless.SendEmail(ctx, passwordless.SendEmailRequest{Email: "mail@example.test", Send: "code"})
	require.NoError(t, err)
	_, err = a.Passwordless.LoginWithEmail(ctx, passwordless.LoginWithEmailRequest{Email: "mail@example.test", Code: s.lastMail()["code"].(string), Scope: "openid"}, none)
	require.NoError(t, err)

	s.mfa()
	start := func() string {
		_, err = a.OAuth.LoginWithPassword(ctx, oauth.LoginWithPasswordRequest{Username: "sdk@example.test", Password: password, Scope: "openid"}, none)
		failure(err, 403, "mfa_required")
		var e *authentication.Error
		require.True(t, errors.As(err, &e))
		return e.GetMFAToken()
	}
	token := start()
	added, err := a.MFA.AddAuthenticator(ctx, token, mfa.AddAuthenticatorRequest{AuthenticatorTypes: []string{"otp"}})
	require.NoError(t, err)
	_, err = a.MFA.VerifyWithOTP(ctx, mfa.VerifyWithOTPRequest{MFAToken: token, OTP: s.otp(added.Secret)})
	require.NoError(t, err)
	token = start()
	challenge, err := a.MFA.Challenge(ctx, mfa.ChallengeRequest{MFAToken: token, ChallengeType: "otp"})
	require.NoError(t, err)
	require.Equal(t, "otp", challenge.ChallengeType)
	list, err := a.MFA.ListAuthenticators(ctx, token)
	require.NoError(t, err)
	require.Len(t, list, 2)
	again, err := a.MFA.VerifyWithRecoveryCode(ctx, mfa.VerifyWithRecoveryCodeRequest{MFAToken: token, RecoveryCode: added.RecoveryCodes[0]})
	require.NoError(t, err)
	require.NotEmpty(t, again.RecoveryCode)

	s.store.Clock().Advance(time.Minute)
	err = a.MFA.DeleteAuthenticator(ctx, token, list[0].ID)
	failure(err, 401, "invalid_token")
}

func TestVendorSDKWithPrivateKeyJWT(t *testing.T) {
	s := newSim(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	s.put("clients/credentials", "cred_1", doc{"id": "cred_1", "client_id": "robot", "alg": "RS256",
		state.Private: doc{"pem": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}})
	s.client("robot", doc{"client_secret": nil, "client_authentication_methods": doc{"private_key_jwt": doc{"credentials": []any{doc{"id": "cred_1"}}}}})
	s.put("client-grants", "g", doc{"id": "g", "client_id": "robot", "audience": api, "scope": []any{"read:things"}})
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	a, err := authentication.New(t.Context(), s.domain, authentication.WithClientID("robot"), authentication.WithClientAssertion(private, "RS256"),
		authentication.WithClient(s.server.Client()), authentication.WithNoRetries())
	require.NoError(t, err)
	for range 2 {
		_, err = a.OAuth.LoginWithClientCredentials(t.Context(), oauth.LoginWithClientCredentialsRequest{Audience: api}, oauth.IDTokenValidationOptions{})
		require.NoError(t, err)
	}
}
