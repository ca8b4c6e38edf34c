package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/secret"
)

func newCerts(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "certs", GroupID: "operate", Short: "Issue, rotate and revoke the cluster's certificates"}
	cmd.AddCommand(newCertsInit(a), newCertsShow(a), newCertsIssue(a), newCertsRotate(a), newCertsRevoke(a))
	return cmd
}

// openCerts opens the certificates of a data directory that has some.
func (a *app) openCerts() (*pki.Store, error) {
	if _, err := os.Stat(filepath.Join(a.paths().Certs, "ca.crt")); errors.Is(err, fs.ErrNotExist) {
		return nil, &config.Error{Problem: fmt.Sprintf("%s holds no certificates", a.dataDir), Hint: "make them with: tenon certs init (or name another directory with --data-dir)"}
	}
	return daemon.OpenCertsIn(a.paths().Certs, a.hosts(), a.logger())
}

// hosts are the names that the configuration wants in the server's certificate.
func (a *app) hosts() []string {
	if a.conf == nil {
		return nil
	}
	return a.conf.Cluster.Hosts
}

func newCertsInit(a *app) *cobra.Command {
	var hosts []string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make authorities, certificates, tokens and keys where they are missing",
		Long: `Make what a cluster's nodes and clients need where it is missing: two authorities,
three certificates, the signing key and three tokens, and the key that payloads
are encrypted with. What is there stays; a certificate that has expired, or lacks
a name that --host or the configuration asks for, is made anew.

For several nodes, run it once and copy certs/ and payload.key to the others.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := os.MkdirAll(a.dataDir, 0o700); err != nil {
				return &config.Error{Problem: "cannot create the data directory", Err: err, Hint: "name a writable one with --data-dir or TENON_DATA_DIR"}
			}
			store, err := daemon.OpenCertsIn(a.paths().Certs, append(a.hosts(), hosts...), a.logger())
			if err != nil {
				return err
			}
			if err := daemon.Init(cmd.Context(), a.paths(), store); err != nil {
				return err
			}
			return a.print(certsAnswer(store.Show()))
		},
	}
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "further names and addresses in the server's certificate")
	return cmd
}

func newCertsShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show authorities and certificates: subject, names, issuer, expiry, fingerprint",
		Args:  exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			store, err := a.openCerts()
			if err != nil {
				return err
			}
			for _, problem := range store.Problems() {
				fmt.Fprintln(a.err, "warning:", problem)
			}
			return a.print(certsAnswer(store.Show()))
		},
	}
}

func certsAnswer(certs []pki.CertificateInfo) answer {
	names := make([]string, len(certs))
	for i, c := range certs {
		names[i] = c.Name
	}
	return answer{
		data: certs,
		table: func(w io.Writer) {
			lines := [][]string{{"NAME", "KIND", "STATE", "SUBJECT", "NAMES", "ISSUER", "EXPIRES", "SERIAL", "SHA-256 FINGERPRINT"}}
			for _, c := range certs {
				lines = append(lines, []string{
					c.Name, c.Kind, c.State, c.Subject, orDash(strings.Join(append(append(append([]string{}, c.DNS...), c.IPs...), c.URIs...), ",")),
					c.Issuer, c.NotAfter.Format(time.DateOnly), c.Serial, c.Fingerprint,
				})
			}
			rows(w, lines...)
		},
		names: names,
	}
}

func newCertsIssue(a *app) *cobra.Command {
	req := pki.IssueRequest{}
	var role, csr, out string
	var ips []string
	cmd := &cobra.Command{
		Use:   "issue --role ROLE --name NAME",
		Short: "Issue a certificate to a server, a client or a worker",
		Long: `Issue a certificate. The certificate, its key (0600) and the authority's roots are
written to --out as NAME.crt, NAME.key and NAME-ca.crt; files that exist are not
overwritten. With --csr the key stays with whoever made the request.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := a.openCerts()
			if err != nil {
				return err
			}
			req.Role = pki.Role(role)
			for _, text := range ips {
				ip := net.ParseIP(text)
				if ip == nil {
					return usagef(cmd, "--ip %q is not an IP address", text)
				}
				req.IPs = append(req.IPs, ip)
			}
			if csr != "" {
				if req.CSR, err = os.ReadFile(csr); err != nil {
					return err
				}
			}
			crt, key, ca := filepath.Join(out, req.Name+".crt"), filepath.Join(out, req.Name+".key"), filepath.Join(out, req.Name+"-ca.crt")
			for _, path := range []string{crt, key, ca} {
				if _, err := os.Lstat(path); err == nil {
					return &config.Error{Problem: path + " exists already", Hint: "move it away, or name another folder with --out"}
				}
			}
			issued, err := store.Issue(cmd.Context(), req)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(out, 0o700); err != nil {
				return &config.Error{Problem: "cannot create " + out, Err: err, Hint: "name a writable folder with --out"}
			}
			files := map[string][]byte{crt: issued.CertificatePEM, ca: issued.TrustPEM}
			if !issued.KeyPEM.IsZero() {
				files[key] = []byte(issued.KeyPEM.Reveal())
			}
			for path, data := range files {
				if err := secret.WriteFile(path, data); err != nil {
					return err
				}
			}
			return a.print(certsAnswer([]pki.CertificateInfo{issued.Info}))
		},
	}
	f := cmd.Flags()
	f.StringVar(&role, "role", "", "what it is for: server, client, worker or internode (required)")
	f.StringVar(&req.Name, "name", "", "common name: letters, digits and - _ . @ (required)")
	f.StringSliceVar(&req.DNS, "dns", nil, "DNS names")
	f.StringSliceVar(&ips, "ip", nil, "IP addresses")
	f.StringSliceVar(&req.URIs, "uri", nil, "SPIFFE ID")
	f.DurationVar(&req.TTL, "ttl", 0, "how long it is valid, for example 720h (default 90 days)")
	f.StringVar(&csr, "csr", "", "file with a PKCS #10 request, for a key made elsewhere")
	f.StringVar(&out, "out", ".", "folder to write to; made if it is missing")
	return cmd
}

func newCertsRotate(a *app) *cobra.Command {
	var leaf, authority, step string
	var force bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Renew a certificate, or roll an authority, without a restart",
		Long: `Renew certificates, or roll an authority. What runs on the data directory follows
within seconds, and no call fails.

Without flags the three certificates of the data directory are made anew. With
--authority a whole roll is taken: the next root is trusted, then it signs, then
the old one is dropped once nothing rests on it. --step takes one of these steps
alone.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := a.openCerts()
			if err != nil {
				return err
			}
			if authority == "" {
				if step != "" || force {
					return usagef(cmd, "--step and --force go with --authority")
				}
				return a.rotateLeaves(cmd.Context(), store, leaf)
			}
			if leaf != "" {
				return usagef(cmd, "--leaf and --authority exclude each other")
			}
			if step == "" {
				_, err = store.RollCA(cmd.Context(), pki.Authority(authority))
			} else {
				_, err = store.RotateCA(cmd.Context(), pki.Authority(authority), pki.Step(step), force)
			}
			if errors.Is(err, pki.ErrTooEarly) {
				return &failure{err, "replace the certificates that rest on the old root, or wait until they expire, then call it again; the cluster trusts both meanwhile", exitRunning}
			}
			if err != nil {
				return err
			}
			return a.print(certsAnswer(store.Show()))
		},
	}
	f := cmd.Flags()
	f.StringVar(&leaf, "leaf", "", "one certificate: temporal-server, temporal-client or temporal-internode (default: all three)")
	f.StringVar(&authority, "authority", "", "roll an authority: "+string(pki.CA)+" or "+string(pki.InternodeCA))
	f.StringVar(&step, "step", "", "one step of the roll: prepare, activate, retire or abandon")
	f.BoolVar(&force, "force", false, "take the step although it is too early: whoever still relies on the old root is locked out")
	return cmd
}

func (a *app) rotateLeaves(ctx context.Context, store *pki.Store, leaf string) error {
	leaves := []string{pki.ServerLeaf, pki.ClientLeaf, pki.InternodeLeaf}
	if leaf != "" {
		leaves = []string{leaf}
	}
	var made []pki.CertificateInfo
	for _, stem := range leaves {
		info, err := store.RotateLeaf(ctx, stem)
		if err != nil {
			return err
		}
		made = append(made, info)
	}
	return a.print(certsAnswer(made))
}

func newCertsRevoke(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "revoke SERIAL",
		Short: "Revoke a certificate; takes effect within 5 s, on open connections too",
		Args:  exactArgs("SERIAL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := a.openCerts()
			if err != nil {
				return err
			}
			entry, err := store.Revoke(cmd.Context(), args[0], pki.Reason(reason))
			if errors.Is(err, pki.ErrUnknownSerial) {
				return &failure{err, "serial numbers are in: tenon certs show", exitFailed}
			}
			if err != nil {
				return err
			}
			return a.print(answer{
				data:  entry,
				table: func(w io.Writer) { fmt.Fprintf(w, "revoked %s %s (%s)\n", entry.Role, entry.Name, entry.Serial) },
				names: []string{entry.Serial},
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", string(pki.Unspecified), "unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn")
	return cmd
}
