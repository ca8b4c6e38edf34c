package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/cluster/access"
	"github.com/tenonhq/tenon/internal/cluster/webui"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
)

// WebUIConfig is the Web UI's part.
type WebUIConfig struct {
	// Address is host:port; port 0 takes a free one. Defaults to 127.0.0.1:8233.
	Address string
	// PublicURL is where browsers find it. Defaults to https:// and the address.
	PublicURL string
	// OIDC is how people sign in. Nil means the simulator of this process, where
	// the Web UI then registers itself.
	OIDC *config.OIDC
}

// webUIFromFile is the Web UI's part as the configuration says it.
func webUIFromFile(f *config.File) *WebUIConfig {
	if f.WebUI.Address == "" {
		return nil
	}
	return &WebUIConfig{Address: f.WebUI.Address, PublicURL: f.WebUI.PublicURL, OIDC: f.WebUI.OIDC}
}

// webUIPart is the Web UI of this process.
type webUIPart struct {
	cfg      WebUIConfig
	listener net.Listener
	server   *webui.Server // once started
	// login is what `tenon login` needs to know; nil if the provider is not ours.
	login *config.LoginEndpoints
	// person may sign in to the simulated tenant; "" if there is none.
	person string
}

// newWebUI takes the address. The rest waits for the provider, which may be the
// simulator of this process.
func newWebUI(d *Daemon) (*webUIPart, error) {
	cfg := *d.cfg.Cluster.WebUI
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:8233"
	}
	if cfg.OIDC == nil && d.simulator == nil {
		return nil, &config.Error{Problem: "the Web UI has no provider to sign in at", Hint: "set webUI.oidc in the configuration file; see docs/web-ui.md"}
	}
	if d.cluster == nil || d.cluster.server.Address() == "" {
		return nil, &config.Error{Problem: "the Web UI needs the frontend in its process", Hint: "add frontend to cluster.services, or leave webUI out on this node"}
	}
	host, _, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		return nil, &config.Error{Problem: "address of the Web UI", Err: err, Hint: "it is host:port, for example 127.0.0.1:8233"}
	}
	if ip := net.ParseIP(host); cfg.PublicURL == "" && (host == "" || ip != nil && ip.IsUnspecified()) {
		return nil, &config.Error{Problem: "the Web UI listens on every address, and no address for browsers is given", Hint: "set webUI.publicURL, for example https://temporal.example.com"}
	}
	listener, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, &config.Error{Problem: "the Web UI cannot listen on " + cfg.Address, Err: err, Hint: "choose another address with --web-ui-address, or stop what listens there"}
	}
	return &webUIPart{cfg: cfg, listener: listener}, nil
}

// url is where browsers find the Web UI.
func (w *webUIPart) url() string {
	if w.cfg.PublicURL != "" {
		return strings.TrimSuffix(w.cfg.PublicURL, "/")
	}
	return "https://" + w.listener.Addr().String()
}

// start registers the Web UI with the simulator, if that is the provider, and
// serves it.
func (w *webUIPart) start(ctx context.Context, d *Daemon, run func(string, func(context.Context) error)) error {
	provider, sessions, err := w.provider(ctx, d, run)
	if err != nil && w.cfg.OIDC == nil && ctx.Err() == nil {
		// As with a simulated tenant that moved to another port, and refuses its own
		// application there: the stack is worth more without a Web UI than not at all.
		d.log.Warn("no web ui: it cannot be registered with the simulated tenant", "error", err)
		return w.listener.Close()
	}
	if err != nil {
		return err
	}
	cfg := webui.Config{
		Listener: w.listener, TLS: d.security.certs.ServerTLS(pki.HTTPS), URL: w.url(),
		Frontend: d.cluster.server.Address(), Namespace: Namespace,
		Provider: provider, Sessions: sessions,
		Tokens: d.security.issuer, Revocations: d.security.issuer.Revocations(), Audit: d.security.audit,
		Now: d.cfg.Now, Logger: d.log,
	}
	if !d.cfg.Cluster.InsecureNoTLS {
		cfg.FrontendTLS = d.security.certs.ClientTLS("")
		// Where a certificate alone is a caller, the Web UI shows none: whatever it
		// may do is the token's of who is signed in.
		if mode := pki.ClientAuth(d.cfg.Cluster.ClientAuth); mode != "" && mode != pki.CertificateAndToken {
			cfg.FrontendTLS.GetClientCertificate = nil
		}
	}
	server, err := webui.New(cfg)
	if err != nil {
		return &config.Error{Problem: "the Web UI cannot start", Err: err, Hint: "correct webUI in the configuration file; see docs/web-ui.md"}
	}
	w.server = server
	run("web ui", server.Run)
	return nil
}

// provider is where people sign in.
func (w *webUIPart) provider(ctx context.Context, d *Daemon, run func(string, func(context.Context) error)) (webui.ProviderConfig, webui.SessionsConfig, error) {
	o := w.cfg.OIDC
	if o == nil {
		p, err := w.register(ctx, d, run)
		return p, webui.SessionsConfig{}, err
	}
	p := webui.ProviderConfig{
		Issuer: o.Issuer, Name: o.Name, ClientID: o.ClientID, Scopes: o.Scopes, Audience: o.Audience,
		PermissionsFrom: webui.Source(o.PermissionsFrom), GroupsClaim: o.GroupsClaim, Groups: o.Groups,
		SubjectClaim: o.SubjectClaim, EndSessionURL: o.EndSessionURL, RenewEvery: o.RenewEvery,
	}
	if o.ClientSecret != "" {
		if _, err := d.cfg.File.Secret(ctx, o.ClientSecret, d.secrets); err != nil {
			return p, webui.SessionsConfig{}, &config.Error{Problem: "webUI.oidc.clientSecret", Err: err, Hint: "put the secret where " + string(o.ClientSecret) + " says, or correct the reference"}
		}
		p.ClientSecret = func(ctx context.Context) (secret.Value, error) {
			return d.cfg.File.Secret(ctx, o.ClientSecret, d.secrets)
		}
	}
	switch {
	case o.PermissionsExpression != "":
		extract, err := access.PermissionsExpression(o.PermissionsExpression)
		if err != nil {
			return p, webui.SessionsConfig{}, &config.Error{Problem: "webUI.oidc.permissionsExpression", Err: err, Hint: `it is CEL over claims, for example claims.groups.map(g, "default:" + g)`}
		}
		p.Permissions = extract
	case o.PermissionsClaim != "":
		p.Permissions = token.FromClaims(o.PermissionsClaim)
	case len(o.Groups) > 0:
		// Groups alone say who may do what; no other claim is believed.
		p.Permissions = func(map[string]any) ([]string, error) { return nil, nil }
		if p.PermissionsFrom == "" {
			p.PermissionsFrom = webui.FromIDToken
		}
	}
	client, err := outbound(o.CAFile)
	if err != nil {
		return p, webui.SessionsConfig{}, &config.Error{Problem: "webUI.oidc.caFile", Err: err, Hint: "name a PEM file with the authority of the provider's certificate"}
	}
	p.HTTP = client
	return p, webui.SessionsConfig{Idle: o.IdleTTL, Absolute: o.SessionTTL, Grace: o.GraceTTL}, nil
}

// outbound is a client for a service outside, which trusts the authorities of a
// file instead of the system's if one is named.
func outbound(caFile string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", caFile)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: transport}, nil
}

func (w *webUIPart) close() error {
	if w.server != nil {
		return w.server.Close()
	}
	if err := w.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
