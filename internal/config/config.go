// Package config owns how Tenon is told what to do: the one configuration file
// (File), the names of environment variables and the .env file (Config), and
// endpoints.json, by which a running Tenon tells others where it listens.
//
// Order of precedence: default, then file, then environment, then flag. Flags
// are the command line's (internal/cli), which hands them to ReadFile; the typed
// Config of each part is that part's, and filled by internal/daemon.
//
// What must always hold: a key that nobody knows is an error with its place, all
// problems are reported at once, and neither a File nor a Config holds a secret,
// only references to secrets, so that both can be printed.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/tenonhq/tenon/internal/secret"
)

// Config is what environment and .env say.
type Config struct {
	// EnvFile is the .env file that was read, "" when there was none.
	EnvFile string
	// Auth0 is the real tenant to work on; nil means the built-in simulator.
	Auth0 *Auth0
	// Grafana is where OIDC settings are pushed; nil means they are only rendered.
	Grafana *Grafana
	// TLSOff and AuthOff are TEMPORAL_TLS_ENABLED=false and
	// TEMPORAL_AUTH_ENABLED=false, the switches of the official Temporal images.
	// They take effect only together with a flag that says the same.
	TLSOff, AuthOff bool
	// Lookup returns a variable of the environment or the .env file, "" if it is
	// in neither. Nil finds nothing.
	Lookup func(name string) string
}

// Auth0 is a tenant and the credentials to manage it with.
type Auth0 struct {
	// Domain is the tenant's host, with a port if it is not 443.
	Domain   string
	ClientID string
	// ClientSecret refers to where the secret was found.
	ClientSecret secret.Ref
}

// Grafana is a Grafana server and the token for its SSO settings API.
type Grafana struct {
	URL   string
	Token secret.Ref
}

// Options says where Load looks.
type Options struct {
	// EnvFile is the path of the .env file. It need not exist unless
	// EnvFileRequired is set. Defaults to ".env".
	EnvFile         string
	EnvFileRequired bool
	// Getenv reads the environment. Defaults to os.Getenv.
	Getenv func(string) string
}

// Error is a configuration that cannot be used: what is wrong, and what to do.
type Error struct {
	Problem string
	Hint    string
	Err     error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Problem + ": " + e.Err.Error()
	}
	return e.Problem
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Load reads environment and .env file and checks what they say.
func Load(opts Options) (*Config, error) {
	if opts.EnvFile == "" {
		opts.EnvFile = ".env"
	}
	if opts.Getenv == nil {
		opts.Getenv = os.Getenv
	}
	cfg := &Config{}
	values, err := secret.ReadDotenv(opts.EnvFile)
	var perm *secret.PermissionError
	switch {
	case err == nil:
		cfg.EnvFile = opts.EnvFile
	case errors.Is(err, fs.ErrNotExist) && !opts.EnvFileRequired:
	case errors.As(err, &perm):
		return nil, &Error{Problem: err.Error(), Hint: fmt.Sprintf("run: chmod 600 %s", opts.EnvFile)}
	default:
		return nil, &Error{Problem: "cannot read the .env file", Hint: "each line is KEY=VALUE; see .env.example", Err: err}
	}
	look := func(name string) (text string, ref secret.Ref) {
		if v := opts.Getenv(name); v != "" {
			return v, secret.Ref("env:" + name)
		}
		if v := values[name]; !v.IsZero() {
			return v.Reveal(), secret.Ref("dotenv:" + name)
		}
		return "", ""
	}

	cfg.Lookup = func(name string) string {
		text, _ := look(name)
		return text
	}
	for name, off := range map[string]*bool{"TEMPORAL_TLS_ENABLED": &cfg.TLSOff, "TEMPORAL_AUTH_ENABLED": &cfg.AuthOff} {
		text, _ := look(name)
		if text == "" {
			continue
		}
		on, err := strconv.ParseBool(text)
		if err != nil {
			return nil, &Error{Problem: fmt.Sprintf("%s %q is neither true nor false", name, text), Hint: "leave it out: true is the default"}
		}
		*off = !on
	}

	domain, _ := look("AUTH0_DOMAIN")
	id, _ := look("AUTH0_CLIENT_ID")
	_, secretRef := look("AUTH0_CLIENT_SECRET")
	if domain != "" {
		var missing []string
		if id == "" {
			missing = append(missing, "AUTH0_CLIENT_ID")
		}
		if secretRef == "" {
			missing = append(missing, "AUTH0_CLIENT_SECRET")
		}
		if len(missing) > 0 {
			return nil, &Error{
				Problem: fmt.Sprintf("AUTH0_DOMAIN is set, but %s is not", strings.Join(missing, " and ")),
				Hint:    "set it in the environment or in .env, or leave AUTH0_DOMAIN out to work against the simulator",
			}
		}
		host, err := Host(domain)
		if err != nil {
			return nil, &Error{Problem: "AUTH0_DOMAIN", Err: err, Hint: "it is the tenant's host, for example acme.eu.auth0.com"}
		}
		cfg.Auth0 = &Auth0{Domain: host, ClientID: id, ClientSecret: secretRef}
	}

	grafana, _ := look("GRAFANA_URL")
	_, tokenRef := look("GRAFANA_TOKEN")
	if grafana != "" {
		u, err := url.Parse(grafana)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return nil, &Error{Problem: fmt.Sprintf("GRAFANA_URL %q is not a URL", grafana), Hint: "for example https://grafana.example.com"}
		}
		if tokenRef == "" {
			return nil, &Error{Problem: "GRAFANA_URL is set, but GRAFANA_TOKEN is not", Hint: "set it to a service account token with settings:write"}
		}
		cfg.Grafana = &Grafana{URL: strings.TrimRight(grafana, "/"), Token: tokenRef}
	}
	return cfg, nil
}

// Host checks a tenant's domain and returns it as host or host:port. A scheme
// and a final slash, as copied from a browser, are removed.
func Host(domain string) (string, error) {
	host := strings.TrimSuffix(strings.TrimPrefix(domain, "https://"), "/")
	u, err := url.Parse("https://" + host)
	if err != nil || u.Host != host || u.Hostname() == "" || strings.ContainsAny(host, " \t@") {
		return "", fmt.Errorf("%q is not a host name", domain)
	}
	if u.Port() == "" && net.ParseIP(u.Hostname()) == nil && u.Hostname() != "localhost" && !strings.Contains(host, ".") {
		return "", fmt.Errorf("%q has no dot", domain)
	}
	return strings.ToLower(host), nil
}
