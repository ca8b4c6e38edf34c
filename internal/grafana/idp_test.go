package grafana

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"
)

// idp is an identity provider of one client and one person, strict where a
// relying party could be sloppy.
type idp struct {
	t      *testing.T
	url    string
	client *http.Client
	key    *rsa.PrivateKey

	clientID, clientSecret, callback string
	email, password                  string
	idClaims, userinfo               map[string]any
	totpSecret                       string // "" until enrolled
	mfa                              bool
	used                             map[string]bool // one-time codes

	code, challenge, refresh string
	issued                   int
	// tamper changes what a step answers.
	tamper map[string]string
}

const seed = "JBSWY3DPEHPK3PXP"

func newIDP(t *testing.T) *idp {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p := &idp{
		t: t, key: key, clientID: "abc123", clientSecret: "hush-123", callback: "https://grafana.acme.test/login/generic_oauth",
		email: "ada@acme.test", password: "correct horse", used: map[string]bool{}, tamper: map[string]string{},
		idClaims: map[string]any{"email": "ada@acme.test", "email_verified": true, "name": "Ada", DefaultRolesClaim: []string{"admin"}},
		userinfo: map[string]any{"email": "ada@acme.test"},
	}
	server := httptest.NewTLSServer(p)
	t.Cleanup(server.Close)
	p.url, p.client = server.URL, server.Client()
	return p
}

func (p *idp) form(w http.ResponseWriter, action, fields string, alert string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if alert != "" {
		alert = `<p role="alert">` + html.EscapeString(alert) + `</p>`
	}
	fmt.Fprintf(w, `<!doctype html><title>Log in</title>%s<form method="post" action="%s"><input type="hidden" name="state" value="st&amp;1">%s`+
		`<button name="action" value="deny">No</button><button name="action" value="default">Continue</button></form>`, alert, action, fields)
}

const codeField = `<input name="code" type="text" required>`

func (p *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	if r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/u/") {
		cookie, err := r.Cookie("auth0")
		if err != nil || cookie.Value != "tx" || r.PostForm.Get("state") != "st&1" || r.PostForm.Get("action") != "default" {
			http.Error(w, "not your transaction", http.StatusBadRequest)
			return
		}
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		issuer := p.url + "/"
		if p.tamper["issuer"] != "" {
			issuer = p.tamper["issuer"]
		}
		p.json(w, map[string]any{
			"issuer": issuer, "authorization_endpoint": p.url + "/authorize", "token_endpoint": p.url + "/oauth/token" + p.tamper["token_endpoint"],
			"userinfo_endpoint": p.url + "/userinfo", "jwks_uri": p.url + "/keys", "id_token_signing_alg_values_supported": []string{"HS256", "RS256"},
		})
	case "/keys":
		p.json(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
	case "/authorize":
		q := r.URL.Query()
		require.Equal(p.t, "S256", q.Get("code_challenge_method"))
		if q.Get("client_id") != p.clientID || q.Get("redirect_uri") != p.callback {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "Callback URL mismatch.")
			return
		}
		p.challenge = q.Get("code_challenge")
		http.SetCookie(w, &http.Cookie{Name: "auth0", Value: "tx", Path: "/", HttpOnly: true, Secure: true})
		http.SetCookie(w, &http.Cookie{Name: "rp_state", Value: q.Get("state"), Path: "/"})
		http.Redirect(w, r, "/u/login?state=x", http.StatusFound)
	case "/u/login":
		fields := `<input name="username" type="text"><input name="password" type="password">`
		action := "/u/login"
		if p.tamper["action"] != "" {
			action = p.tamper["action"]
		}
		switch {
		case r.Method == http.MethodGet:
			p.form(w, action, fields, "")
		case r.PostForm.Get("username") != p.email || r.PostForm.Get("password") != p.password:
			w.WriteHeader(http.StatusBadRequest)
			p.form(w, action, fields, "Wrong email or password.")
		case p.mfa && p.totpSecret == "":
			http.Redirect(w, r, "/u/mfa-otp-enrollment", http.StatusFound)
		case p.mfa:
			http.Redirect(w, r, "/u/mfa-otp-challenge", http.StatusFound)
		default:
			p.finish(w, r)
		}
	case "/u/mfa-otp-enrollment":
		fields := `<img alt="QR" data-uri="otpauth://totp/Acme:ada@acme.test?secret=` + seed + `&amp;issuer=Acme">` + codeField
		if r.Method == http.MethodGet {
			p.form(w, r.URL.Path, fields, "")
			return
		}
		if !p.check(r.PostForm.Get("code"), seed) {
			p.form(w, r.URL.Path, fields, "The code you entered is invalid.")
			return
		}
		p.totpSecret = seed
		p.form(w, "/u/recovery", `<code id="recovery-code">ABCD1234EFGH5678</code><input type="checkbox" name="saved" value="yes" required>`, "")
	case "/u/recovery":
		if r.PostForm.Get("saved") != "yes" {
			http.Error(w, "tick the box", http.StatusBadRequest)
			return
		}
		p.finish(w, r)
	case "/u/mfa-otp-challenge":
		if r.Method == http.MethodGet {
			p.form(w, r.URL.Path, codeField, "")
			return
		}
		if !p.check(r.PostForm.Get("code"), p.totpSecret) {
			p.form(w, r.URL.Path, codeField, "The code you entered is invalid.")
			return
		}
		p.finish(w, r)
	case "/u/reset-password":
		switch {
		case r.Method == http.MethodGet && r.URL.Query().Get("ticket") == "t1":
			http.SetCookie(w, &http.Cookie{Name: "auth0", Value: "tx", Path: "/", Secure: true})
			p.form(w, "/u/reset-password", `<input type="text" name="username" value="`+p.email+`" hidden>`+
				`<input type="password" name="password"><input type="password" name="again">`, "")
		case r.Method == http.MethodPost && r.PostForm.Get("password") == r.PostForm.Get("again"):
			p.password = r.PostForm.Get("password")
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<h1>Password changed</h1>")
		default:
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `<p role="alert">This link is not valid any more.</p>`)
		}
	case "/oauth/token":
		p.token(w, r)
	case "/userinfo":
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer at-%d", p.issued) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		claims := map[string]any{"sub": "auth0|1"}
		for k, v := range p.userinfo {
			claims[k] = v
		}
		p.json(w, claims)
	default:
		http.NotFound(w, r)
	}
}

func (p *idp) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (p *idp) check(code, secret string) bool {
	if p.used[code] || !totp.Validate(code, secret) {
		return false
	}
	p.used[code] = true
	return true
}

func (p *idp) finish(w http.ResponseWriter, r *http.Request) {
	state, err := r.Cookie("rp_state")
	require.NoError(p.t, err)
	answer := url.Values{"code": {"code-1"}, "state": {state.Value}}
	if p.tamper["state"] != "" {
		answer.Set("state", p.tamper["state"])
	}
	if p.tamper["error"] != "" {
		answer = url.Values{"error": {p.tamper["error"]}, "error_description": {"because"}, "state": {state.Value}}
	}
	p.code = "code-1"
	http.Redirect(w, r, p.callback+"?"+answer.Encode(), http.StatusFound)
}

func (p *idp) token(w http.ResponseWriter, r *http.Request) {
	fail := func(code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"error":%q,"error_description":"no","code":%q}`, code, r.PostForm.Get("code"))
	}
	id, password, ok := r.BasicAuth()
	if !ok || id != p.clientID || password != p.clientSecret {
		fail("invalid_client")
		return
	}
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
		if p.code == "" || r.PostForm.Get("code") != p.code || base64.RawURLEncoding.EncodeToString(sum[:]) != p.challenge ||
			r.PostForm.Get("redirect_uri") != p.callback {
			fail("invalid_grant")
			return
		}
		p.code = ""
	case "refresh_token":
		if p.refresh == "" || r.PostForm.Get("refresh_token") != p.refresh {
			fail("invalid_grant")
			return
		}
	default:
		fail("unsupported_grant_type")
		return
	}
	p.issued++
	p.refresh = fmt.Sprintf("rt-%d", p.issued)
	claims := map[string]any{"iss": p.url + "/", "aud": p.clientID, "sub": "auth0|1", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range p.idClaims {
		claims[k] = v
	}
	key := p.key
	if p.tamper["key"] != "" {
		var err error
		key, err = rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(p.t, err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
	require.NoError(p.t, err)
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	require.NoError(p.t, err)
	answer := map[string]any{"access_token": fmt.Sprintf("at-%d", p.issued), "id_token": raw, "token_type": "Bearer", "expires_in": 3600}
	if !slices.Contains([]string{p.tamper["refresh"]}, "none") {
		answer["refresh_token"] = p.refresh
	}
	p.json(w, answer)
}
