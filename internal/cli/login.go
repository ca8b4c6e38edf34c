package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
)

// loginOptions are the flags of `tenon login`.
type loginOptions struct {
	login     daemon.LoginConfig
	profile   daemon.LoginProfile
	noBrowser bool
}

func newLogin(a *app) *cobra.Command {
	o := &loginOptions{}
	cmd := &cobra.Command{
		Use:     "login",
		GroupID: "operate",
		Short:   "Sign in, and give the stock temporal command a profile that renews itself",
		Long: `Sign in at the cluster's identity provider, in a browser on this machine or
with --device in any other, and write the tokens into a profile that the stock
temporal command reads:

  tenon login
  TEMPORAL_CONFIG_FILE=.tenon/login.toml temporal --profile tenon workflow list

Beside a cluster that runs on the data directory nothing else is needed. From
elsewhere name the provider with --issuer and --client-id, and the cluster with
--address; docs/web-ui.md says how to register the application.

Exit codes: 0 signed in, 4 not signed in.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.signIn(cmd, o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.login.Device, "device", false, "show a code to enter in a browser elsewhere")
	f.BoolVar(&o.noBrowser, "no-browser", false, "only print the address, open no browser")
	f.StringVar(&o.profile.Name, "profile", daemon.Profile, "name of the profile")
	f.StringVar(&o.profile.File, "file", "", "file to write the profile to; what else it holds stays (default login.toml in the data directory)")
	f.StringVar(&o.login.Issuer, "issuer", "", "identity provider, as its tokens name it (default: that of the cluster on the data directory)")
	f.StringVar(&o.login.ClientID, "client-id", "", "native application at the provider (default: that of the cluster on the data directory)")
	f.StringVar(&o.login.Audience, "audience", "", "the cluster's API at the provider")
	f.StringSliceVar(&o.login.Scopes, "scope", nil, "scopes to ask for (default openid,profile,email,offline_access)")
	f.StringVar(&o.login.CAFile, "ca", "", "certificates to trust for the provider (default: the system's)")
	f.IntSliceVar(&o.login.Ports, "port", nil, "ports on 127.0.0.1 to wait for the browser at (default 8234,8235,8236)")
	f.DurationVar(&o.login.Timeout, "timeout", 5*time.Minute, "how long to wait for the sign-in")
	f.StringVar(&o.profile.Address, "address", "", "host:port of the cluster (default: the one that runs on the data directory)")
	f.StringVar(&o.profile.Namespace, "namespace", "", `namespace of the profile (default "default")`)
	f.StringVar(&o.profile.CertFile, "cert", "", "client certificate (default: that of the data directory)")
	f.StringVar(&o.profile.KeyFile, "key", "", "key of the client certificate")
	f.StringVar(&o.profile.CAFile, "cluster-ca", "", "certificates to trust for the cluster (default: those of the data directory)")
	return cmd
}

func (a *app) signIn(cmd *cobra.Command, o *loginOptions) error {
	if (o.profile.CertFile == "") != (o.profile.KeyFile == "") {
		return usagef(cmd, "--cert and --key are given together or not at all")
	}
	if err := a.completeLogin(o); err != nil {
		return err
	}
	o.login.Say = func(line string) { fmt.Fprintln(a.err, line) }
	if !o.noBrowser && !o.login.Device && a.interactive() {
		o.login.Browse = openBrowser
	}
	result, err := daemon.Login(cmd.Context(), o.login)
	if err != nil {
		if errors.Is(err, daemon.ErrLogin) && cmd.Context().Err() == nil {
			return &failure{err, "try again; tenon login --device works without a browser on this machine", exitCredentials}
		}
		return err
	}
	if err := result.Write(cmd.Context(), o.profile); err != nil {
		return fmt.Errorf("write the profile: %w", err)
	}
	if !result.Renewable() {
		fmt.Fprintln(a.err, "warning: the provider issued no refresh token; sign in again when this one expires (is offline access allowed for the API?)")
	}
	use := "TEMPORAL_CONFIG_FILE=" + o.profile.File + " temporal --profile " + o.profile.Name + " workflow list"
	return a.print(answer{
		data: map[string]any{
			"subject": result.Subject, "email": result.Email, "expires": result.Expires.UTC(), "renewable": result.Renewable(),
			"file": o.profile.File, "profile": o.profile.Name,
		},
		table: func(w io.Writer) {
			who := result.Email
			if who == "" {
				who = result.Subject
			}
			fmt.Fprintf(w, "signed in as %s until %s\n%s\n", who, result.Expires.Local().Format(time.DateTime), use)
		},
		names: []string{o.profile.File},
	})
}

// completeLogin fills in what the running cluster knows.
func (a *app) completeLogin(o *loginOptions) error {
	if o.profile.File == "" {
		o.profile.File = filepath.Join(a.dataDir, "login.toml")
	}
	e, err := config.ReadEndpoints(a.dataDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil && e.Cluster != nil && o.profile.Address == "" {
		c := e.Cluster
		certs := filepath.Dir(c.CA)
		o.profile.Address = c.Address
		if o.profile.Namespace == "" {
			o.profile.Namespace = c.Namespace
		}
		if o.profile.CAFile == "" && !c.Plaintext {
			o.profile.CAFile = c.CA
		}
		if o.profile.CertFile == "" && !c.Plaintext {
			o.profile.CertFile, o.profile.KeyFile = filepath.Join(certs, "temporal-client.crt"), filepath.Join(certs, "temporal-client.key")
		}
		if l := c.Login; l != nil && o.login.Issuer == "" && o.login.ClientID == "" {
			o.login.Issuer, o.login.ClientID = l.Issuer, l.ClientID
			if o.login.Audience == "" {
				o.login.Audience = l.Audience
			}
			if o.login.CAFile == "" {
				o.login.CAFile = l.CA
			}
		}
	}
	if o.login.Issuer == "" || o.login.ClientID == "" {
		return &failure{errors.New("no identity provider to sign in at is known"), "name it with --issuer and --client-id, or start a cluster with a simulated one: tenon up", exitCredentials}
	}
	return nil
}

// openBrowser opens an address with what the system opens addresses with.
func openBrowser(address string) error {
	name, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}
