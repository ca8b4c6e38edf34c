package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/secret"
)

// LoginConfig says where and how a person signs in from a command line.
type LoginConfig struct {
	// Issuer and ClientID of a native application there. Required.
	Issuer, ClientID string
	// Audience is the cluster's API at providers that have the parameter.
	Audience string
	// Scopes default to openid, profile, email and offline_access.
	Scopes []string
	// CAFile holds the roots to trust for the issuer. Defaults to the system's.
	CAFile string
	// Device shows a code to type into a browser elsewhere (RFC 8628), instead of
	// waiting for this machine's browser to come back (RFC 8252).
	Device bool
	// Ports are those on 127.0.0.1 to wait at, the first free one. Default to
	// LoginPorts.
	Ports []int
	// Browse opens an address in the person's browser; its error is no failure,
	// since Say has told the address. Defaults to nothing.
	Browse func(address string) error
	// Say tells the person what to do, a line at a time. Required.
	Say func(line string)
	// Timeout is how long the person may take. Defaults to 5 min.
	Timeout time.Duration
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
}

// LoginResult is the outcome of a sign-in.
type LoginResult struct {
	Subject, Email string
	Expires        time.Time
	client         oauth2.Config
	token          *oauth2.Token
}

// Renewable reports whether the result renews itself.
func (r *LoginResult) Renewable() bool { return r.token.RefreshToken != "" }

// ErrLogin says that a person could not be signed in.
var ErrLogin = errors.New("login failed")

// Login signs a person in and returns their tokens.
func Login(ctx context.Context, cfg LoginConfig) (*LoginResult, error) {
	if len(cfg.Scopes) == 0 {
		cfg.Scopes = []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess}
	}
	if len(cfg.Ports) == 0 {
		cfg.Ports = LoginPorts()
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	client, err := outbound(cfg.CAFile)
	if err != nil {
		return nil, &config.Error{Problem: "certificates to trust for the issuer", Err: err, Hint: "name a PEM file with --ca"}
	}
	ctx, cancel := context.WithTimeoutCause(oidc.ClientContext(ctx, client), cfg.Timeout, fmt.Errorf("nobody signed in within %s", cfg.Timeout))
	defer cancel()
	provider, err := oidc.NewProvider(ctx, cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("%w: %s cannot be reached, or is no OpenID Connect issuer: %w", ErrLogin, cfg.Issuer, err)
	}
	l := &login{cfg: cfg, provider: provider, client: oauth2.Config{ClientID: cfg.ClientID, Endpoint: provider.Endpoint(), Scopes: cfg.Scopes}}
	l.client.Endpoint.AuthStyle = oauth2.AuthStyleInParams // a native application has no secret
	do := l.withBrowser
	if cfg.Device {
		do = l.withDevice
	}
	tokens, nonce, err := do(ctx)
	if err != nil {
		if cause := context.Cause(ctx); ctx.Err() != nil && cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("%w: %w", ErrLogin, loginError(err))
	}
	return l.result(ctx, tokens, nonce)
}

// login is one sign-in.
type login struct {
	cfg      LoginConfig
	provider *oidc.Provider
	client   oauth2.Config
}

func (l *login) audience() []oauth2.AuthCodeOption {
	if l.cfg.Audience == "" {
		return nil
	}
	return []oauth2.AuthCodeOption{oauth2.SetAuthURLParam("audience", l.cfg.Audience)}
}

// withBrowser is the authorization code flow with PKCE and a redirect to
// 127.0.0.1.
func (l *login) withBrowser(ctx context.Context) (*oauth2.Token, string, error) {
	listener, port, err := listenLoopback(l.cfg.Ports)
	if err != nil {
		return nil, "", err
	}
	l.client.RedirectURL = LoginCallback(port)
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	type back struct {
		code string
		err  error
	}
	came := make(chan back, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		q := r.URL.Query()
		// Whatever else on this machine, or page in the browser, calls this address
		// does not know the state, and ends nothing.
		if r.Method != http.MethodGet || r.URL.Path != "/callback" || r.Host != "127.0.0.1:"+strconv.Itoa(port) ||
			subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1 {
			http.Error(w, "This is not the sign-in that tenon waits for.", http.StatusBadRequest)
			return
		}
		b := back{code: q.Get("code")}
		switch iss := q.Get("iss"); {
		case iss != "" && iss != l.cfg.Issuer: // RFC 9207
			b.err = errors.New("the answer comes from another issuer")
		case q.Get("error") != "":
			b.err = fmt.Errorf("the provider answers %.60q %.200q", q.Get("error"), q.Get("error_description"))
		case b.code == "":
			b.err = errors.New("the answer has no code")
		}
		text := "You are signed in. This window can be closed."
		if b.err != nil {
			text = "You are not signed in: " + b.err.Error() + "."
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = w.Write([]byte(text + "\n"))
		select {
		case came <- b:
		default: // a second answer to the same question
		}
	})
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 64 << 10}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		// The browser gets its page before the process ends.
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(ending)
		<-served
	}()
	options := append(l.audience(), oauth2.S256ChallengeOption(verifier), oidc.Nonce(nonce))
	address := l.client.AuthCodeURL(state, options...)
	l.cfg.Say("Sign in with your browser, at: " + address)
	if l.cfg.Browse != nil {
		if err := l.cfg.Browse(address); err != nil {
			l.cfg.Say("No browser could be opened (" + err.Error() + "): open the address yourself.")
		}
	}
	select {
	case b := <-came:
		if b.err != nil {
			return nil, "", b.err
		}
		tokens, err := l.client.Exchange(ctx, b.code, oauth2.VerifierOption(verifier))
		return tokens, nonce, err
	case <-ctx.Done():
		return nil, "", context.Cause(ctx)
	}
}

func listenLoopback(ports []int) (net.Listener, int, error) {
	var problems []error
	for _, port := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			return listener, listener.Addr().(*net.TCPAddr).Port, nil
		}
		problems = append(problems, err)
	}
	return nil, 0, errors.Join(problems...)
}

// withDevice is the device authorization grant.
func (l *login) withDevice(ctx context.Context) (*oauth2.Token, string, error) {
	if l.client.Endpoint.DeviceAuthURL == "" {
		return nil, "", errors.New("the issuer offers no sign-in by device code")
	}
	asked, err := l.client.DeviceAuth(ctx, l.audience()...)
	if err != nil {
		return nil, "", err
	}
	l.cfg.Say("Open " + asked.VerificationURI + " in a browser, and enter the code " + asked.UserCode + ".")
	if asked.VerificationURIComplete != "" {
		l.cfg.Say("Or open: " + asked.VerificationURIComplete)
	}
	if l.cfg.Browse != nil {
		_ = l.cfg.Browse(asked.VerificationURIComplete) // said above
	}
	tokens, err := l.client.DeviceAccessToken(ctx, asked)
	return tokens, "", err
}

// loginError drops an answer's body, which may quote a token.
func loginError(err error) error {
	var answer *oauth2.RetrieveError
	if errors.As(err, &answer) {
		return fmt.Errorf("the provider answers status %d: %.60q %.200q", answer.Response.StatusCode, answer.ErrorCode, answer.ErrorDescription)
	}
	return err
}

func (l *login) result(ctx context.Context, tokens *oauth2.Token, nonce string) (*LoginResult, error) {
	r := &LoginResult{client: l.client, token: tokens, Expires: tokens.Expiry}
	if tokens.ExpiresIn > 0 {
		r.Expires = l.cfg.Now().Add(time.Duration(tokens.ExpiresIn) * time.Second)
	}
	raw, _ := tokens.Extra("id_token").(string)
	if raw == "" {
		return nil, fmt.Errorf("%w: the answer has no ID token", ErrLogin)
	}
	idToken, err := l.provider.Verifier(&oidc.Config{ClientID: l.cfg.ClientID, Now: l.cfg.Now}).Verify(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: ID token: %w", ErrLogin, err)
	}
	if idToken.Nonce != nonce {
		return nil, fmt.Errorf("%w: the ID token belongs to another sign-in", ErrLogin)
	}
	var claims struct{ Email string }
	if err := idToken.Claims(&claims); err != nil {
		return nil, fmt.Errorf("%w: ID token: %w", ErrLogin, err)
	}
	r.Subject, r.Email = idToken.Subject, claims.Email
	return r, nil
}

// LoginProfile is the profile to write for a person.
type LoginProfile struct {
	// File is a configuration file of the stock tools. It is made if absent; what
	// else it holds stays. Name is the profile's.
	File, Name string
	// Address and Namespace of the cluster. Empty ones leave the profile's.
	Address, Namespace string
	// CAFile, CertFile and KeyFile are the cluster's authority and the client's
	// certificate. Empty ones leave the profile's.
	CAFile, CertFile, KeyFile string
}

// Write writes tokens and connection into the profile. The stock temporal
// command renews the tokens of its oauth table by itself; tools that do not know
// the table use the access token in api_key until it expires.
func (r *LoginResult) Write(ctx context.Context, p LoginProfile) (err error) {
	path, err := filepath.Abs(p.File)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	unlock, err := secret.Lock(ctx, path+".lock")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	all := map[string]any{}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := toml.Decode(string(data), &all); err != nil {
		return &config.Error{Problem: path + " is not TOML", Err: err, Hint: "correct it, or name another file with --file"}
	}
	profile, err := table(all, "profile", p.Name)
	if err != nil {
		return &config.Error{Problem: path, Err: err, Hint: "name another file with --file"}
	}
	for name, value := range map[string]string{"address": p.Address, "namespace": p.Namespace, "api_key": r.token.AccessToken} {
		if value != "" {
			profile[name] = value
		}
	}
	if p.CAFile != "" || p.CertFile != "" {
		tls, err := table(profile, "tls")
		if err != nil {
			return &config.Error{Problem: path, Err: err, Hint: "name another file with --file"}
		}
		for name, value := range map[string]string{"server_ca_cert_path": p.CAFile, "client_cert_path": p.CertFile, "client_key_path": p.KeyFile} {
			if value != "" {
				tls[name] = value
			}
		}
	}
	oauth := map[string]any{
		"client_id": r.client.ClientID, "auth_url": r.client.Endpoint.AuthURL, "token_url": r.client.Endpoint.TokenURL,
		"redirect_url": r.client.RedirectURL, "scopes": r.client.Scopes,
		"access_token": r.token.AccessToken, "refresh_token": r.token.RefreshToken, "token_type": "Bearer",
		"expires_at": r.Expires.UTC().Format(time.RFC3339),
	}
	for name, value := range oauth {
		if value == "" {
			delete(oauth, name) // no redirect with a device code, no renewal without a refresh token
		}
	}
	profile["oauth"] = oauth
	var out bytes.Buffer
	if err := toml.NewEncoder(&out).Encode(all); err != nil {
		return err
	}
	return secret.WriteFile(path, out.Bytes())
}

// table returns a table within another, made if absent.
func table(in map[string]any, names ...string) (map[string]any, error) {
	for i, name := range names {
		next, there := in[name]
		if !there {
			next = map[string]any{}
			in[name] = next
		}
		t, ok := next.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is no table", strings.Join(names[:i+1], "."))
		}
		in = t
	}
	return in, nil
}
