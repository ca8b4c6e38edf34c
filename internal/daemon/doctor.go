package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/workflowservice/v1"

	"github.com/tenonhq/tenon/internal/cluster"
	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
	"github.com/tenonhq/tenon/sdk"
)

// Finding is one thing that is wrong, and the command that mends it.
type Finding struct {
	// Code is one of a fixed set: certificate-expired, port-closed, …
	Code string `json:"code"`
	// Subject is what is concerned: a file, an address, a caller.
	Subject string `json:"subject"`
	Cause   string `json:"cause"`
	// Fix is a command line for a shell, complete as it is.
	Fix string `json:"fix"`
}

// DoctorConfig says what to look at.
type DoctorConfig struct {
	Paths Paths
	// File is the configuration; required, possibly empty. Lookup reads the
	// environment and .env.
	File   *config.File
	Lookup func(string) string
	// Secrets resolve the references of the configuration.
	Secrets secret.Stores
	// Address is the cluster's frontend. Defaults to the one that runs on the data
	// directory, then to the configuration's.
	Address string
	// TokenFile is a further token to judge; it needs Role in Namespace, unless
	// Role is empty.
	TokenFile       string
	Role, Namespace string
	// Since is how far back refused polls are of interest. Defaults to 24 h.
	Since time.Duration
	// Now tells the time. Defaults to time.Now.
	Now func() time.Time
	// Logger receives nothing that is a finding. Nil discards.
	Logger *slog.Logger
}

// doctorTimeout bounds each look at something beyond this machine's files.
const doctorTimeout = 10 * time.Second

// doctor gathers findings. It changes nothing.
type doctor struct {
	DoctorConfig
	certs    *pki.Store
	findings []Finding
	// broken says that a finding explains why calls cannot succeed.
	broken bool
}

// Diagnose looks at everything a cluster needs: files, tokens, issuers, clock,
// database, ports, and the workers that it refuses. An error is a diagnosis that
// could not be made at all.
func Diagnose(ctx context.Context, cfg DoctorConfig) ([]Finding, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Since == 0 {
		cfg.Since = 24 * time.Hour
	}
	if cfg.Address == "" {
		cfg.Address = cmp.Or(cfg.File.Cluster.Address, cluster.DefaultFrontend)
		if e, err := config.ReadEndpoints(cfg.Paths.DataDir); err == nil && e.Cluster != nil {
			cfg.Address = e.Cluster.Address
		}
	}
	if _, err := os.Stat(cfg.Paths.DataDir); err != nil {
		return nil, &config.Error{Problem: "there is no data directory to look at", Err: err, Hint: "name it with --data-dir, or make one with: tenon certs init"}
	}
	// What is printed must hold in any folder.
	for _, path := range []*string{&cfg.Paths.DataDir, &cfg.Paths.Certs, &cfg.Paths.Audit, &cfg.Paths.PayloadKeys} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return nil, err
		}
		*path = abs
	}
	d := &doctor{DoctorConfig: cfg}
	var err error
	if d.certs, err = pki.Open(pki.Config{Dir: cfg.Paths.Certs, ConnectionAge: cluster.ConnectionAge, ExtraHosts: cfg.File.Cluster.Hosts, Now: cfg.Now}); err != nil {
		return nil, err
	}
	d.modes()
	d.certificates()
	d.broken = len(d.findings) > 0
	if err := d.tokens(ctx); err != nil {
		return nil, err
	}
	if err := d.keySources(ctx); err != nil {
		return nil, err
	}
	if err := d.database(ctx); err != nil {
		return nil, err
	}
	if err := d.frontend(ctx); err != nil {
		return nil, err
	}
	return d.findings, d.pollers()
}

func (d *doctor) found(code, subject, fix, cause string, args ...any) {
	d.findings = append(d.findings, Finding{Code: code, Subject: subject, Cause: fmt.Sprintf(cause, args...), Fix: fix})
}

// tenon is a command line of our own, for the same data directory.
func (d *doctor) tenon(args ...string) string {
	words := append([]string{"tenon"}, args...)
	path := d.File.Path()
	if abs, err := filepath.Abs(path); err == nil && path != "" {
		words = append(words, "--config", abs)
	}
	if path == "" || d.File.Origin("dataDir").File == "" {
		words = append(words, "--data-dir", d.Paths.DataDir)
	}
	return shell(words...)
}

// shell quotes words for a POSIX shell.
func shell(words ...string) string {
	out := make([]string, len(words))
	for i, w := range words {
		if out[i] = w; w == "" || strings.ContainsFunc(w, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-", r)
		}) {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

// modes finds secrets that others may read. The group may read a certificate's
// key, because that is how orchestrators mount them; an authority's, nobody.
func (d *doctor) modes() {
	if info, err := os.Stat(d.Paths.DataDir); err == nil && info.Mode().Perm()&0o077 != 0 {
		d.found("data-directory-open", d.Paths.DataDir, shell("chmod", "700", d.Paths.DataDir), "mode %04o lets other users of this machine in", info.Mode().Perm())
	}
	files, _ := filepath.Glob(filepath.Join(d.Paths.Certs, "*.key")) // the pattern is well-formed
	tokens, _ := filepath.Glob(filepath.Join(d.Paths.Certs, "*.jwt"))
	files = append(files, tokens...)
	files = append(files, d.Paths.PayloadKeys, filepath.Join(d.Paths.DataDir, auditKey))
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil || filepath.Base(path) == "temporal-jwt-public.key" {
			continue
		}
		forbidden := fs.FileMode(0o037)
		if strings.HasSuffix(path, "ca.key") || strings.Contains(filepath.Base(path), "ca-") {
			forbidden = 0o077
		}
		if info.Mode().Perm()&forbidden != 0 {
			d.found("key-permissions", path, shell("chmod", "600", path), "mode %04o lets other users of this machine read it, so it is not used", info.Mode().Perm())
		}
	}
	if _, err := os.Stat(d.Paths.PayloadKeys); errors.Is(err, fs.ErrNotExist) {
		d.found("payload-key-missing", d.Paths.PayloadKeys, d.tenon("certs", "init"), "the file is missing: payloads cannot be encrypted, and what an earlier key encrypted is read with that key only; restore it from a backup if there was one")
	}
}

// tokens judges the tokens of the certs folder, and the one that was named.
func (d *doctor) tokens(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(d.Paths.Certs, "temporal-jwt-private.key")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			d.found("signing-key-missing", filepath.Join(d.Paths.Certs, "temporal-jwt-private.key"), d.tenon("certs", "init"), "the file is missing: no token can be issued here")
			return nil
		}
		return err
	}
	issuer, err := token.OpenIssuer(token.IssuerConfig{Dir: d.Paths.Certs, Now: d.Now})
	if err != nil {
		if slices.ContainsFunc(d.findings, func(f Finding) bool { return strings.HasSuffix(f.Subject, "temporal-jwt-private.key") }) {
			return nil // its permissions, said above
		}
		return err
	}
	trusts, err := Trusts(d.File, d.Lookup)
	if err != nil {
		return err
	}
	verifier, err := token.NewVerifier(token.VerifierConfig{Issuers: append([]token.IssuerTrust{issuer.Trust()}, trusts...), Revocations: issuer.Revocations(), Now: d.Now})
	if err != nil {
		return err
	}
	for _, kept := range []struct{ file, scope string }{
		{token.SystemTokenFile, token.ScopeSystem}, {token.WorkerTokenFile, token.ScopeWorker}, {token.ClientTokenFile, token.ScopeClient},
	} {
		need, _ := token.ParseScope(kept.scope)
		d.judge(ctx, verifier, filepath.Join(d.Paths.Certs, kept.file), need, func(string) string { return d.tenon("certs", "init") })
	}
	if d.TokenFile != "" {
		need := token.Permission{}
		if d.Role != "" {
			if need, err = token.ParseGrant(d.Role, d.Namespace); err != nil {
				return err
			}
		}
		d.judge(ctx, verifier, d.TokenFile, need, func(subject string) string {
			args := []string{"tokens", "issue", "--subject", cmp.Or(subject, strings.TrimSuffix(filepath.Base(d.TokenFile), ".jwt"))}
			grant := need
			if grant.Role == "" {
				grant = token.Permission{Namespace: Namespace, Role: token.RoleClient}
			}
			return d.tenon(append(args, "--role", string(grant.Role), "--namespace", grant.Namespace, "--out", d.TokenFile)...)
		})
	}
	return nil
}

// judge says what is wrong with one token. fix is told whose it is, if that is
// known.
func (d *doctor) judge(ctx context.Context, verifier *token.Verifier, path string, need token.Permission, fix func(subject string) string) {
	text, err := os.ReadFile(path)
	if err != nil {
		d.found("token-missing", path, fix(""), "%v", err)
		return
	}
	claims, err := verifier.Verify(ctx, strings.TrimSpace(string(text)))
	subject, code := "", "token-invalid"
	var refused *token.VerificationError
	if errors.As(err, &refused) && refused.Claims != nil {
		subject = refused.Claims.Subject
	}
	switch {
	case err == nil:
		if need.Role != "" && !slices.ContainsFunc(claims.Permissions, func(p token.Permission) bool { return includes(p, need) }) {
			d.found("token-scope", path, fix(claims.Subject), "the token of %s permits %s, not %s", claims.Subject, permissions(claims.Permissions), need)
		}
		return
	case errors.Is(err, token.ErrExpired):
		code = "token-expired"
		err = fmt.Errorf("%w on %s", token.ErrExpired, refused.Claims.Expires.UTC().Format(time.RFC3339))
	case errors.Is(err, token.ErrRevoked):
		code = "token-revoked"
	case errors.Is(err, token.ErrNotYetValid):
		code = "token-not-yet-valid"
	}
	d.found(code, path, fix(subject), "%v", err)
}

// includes reports whether a permission is enough: the roles form a line from
// reader to admin, with worker beside it, and cluster-wide administration is
// everything (internal/cluster/access decides; this explains).
func includes(have, need token.Permission) bool {
	if have.Namespace != need.Namespace && have.Namespace != token.ClusterWide {
		return false
	}
	if have.Role == need.Role || have == (token.Permission{Namespace: token.ClusterWide, Role: token.RoleAdmin}) {
		return true
	}
	line := []token.Role{token.RoleReader, token.RoleClient, token.RoleOperator, token.RoleAdmin}
	return slices.Contains(line, need.Role) && slices.Index(line, have.Role) > slices.Index(line, need.Role)
}

func permissions(list []token.Permission) string {
	if len(list) == 0 {
		return "nothing"
	}
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	return strings.Join(texts, " ")
}

// database looks at PostgreSQL, if that is where the state is.
func (d *doctor) database(ctx context.Context) error {
	if d.File.Persistence.PostgreSQL == nil {
		return nil
	}
	pg, err := Postgres(ctx, d.File, d.Secrets)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	host, port, _ := net.SplitHostPort(pg.Address) // checked with the file
	state, err := cluster.InspectPostgres(ctx, *pg, d.Now)
	if err != nil {
		d.found("database-unreachable", pg.Address, shell("psql", "-h", host, "-p", port, "-U", pg.User, "-d", cmp.Or(pg.Database, cluster.DefaultDatabase), "-c", "select 1"), "%v", err)
		return nil
	}
	for _, s := range state.Schemas {
		switch {
		case s.Behind:
			d.found("schema-behind", "database "+s.Database, d.tenon("server", "--prepare"), "its schema is at %s, this version needs %s", s.Have, s.Want)
		case s.Newer:
			d.found("schema-newer", "database "+s.Database, "tenon version", "its schema is at %s, this version knows %s: run the version of tenon that wrote it, or a later one", s.Have, s.Want)
		}
	}
	d.clock("database at "+pg.Address, state.Skew)
	return nil
}

func (d *doctor) clock(than string, skew time.Duration) {
	if skew.Abs() <= cluster.MaxClockSkew {
		return
	}
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	d.found("clock-skew", than, "timedatectl set-ntp true", "this machine's clock is %s %s that of the %s: tokens are refused, nodes may not join", skew.Abs().Round(time.Second), direction, than)
}

// frontend looks at the cluster as a client does.
func (d *doctor) frontend(ctx context.Context) error {
	if s := d.File.Cluster.Services; len(s) > 0 && !slices.Contains(s, "frontend") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.Address)
	if err != nil {
		args := []string{"server"}
		if e, err := config.ReadEndpoints(d.Paths.DataDir); err == nil && e.Auth0 != nil {
			args[0] = "up" // whatever ended there ran all of it
		}
		if d.File.Cluster.Address != d.Address {
			args = append(args, "--address", d.Address)
		}
		d.found("port-closed", d.Address, d.tenon(args...), "nothing answers there: %v", err)
		return nil
	}
	if err := conn.Close(); err != nil {
		return err
	}
	d.served(ctx)
	if d.broken || slices.ContainsFunc(d.findings, func(f Finding) bool { return f.Subject == d.Address }) {
		return nil // a call would only fail for what is known
	}
	cfg := sdk.InDataDir(d.Paths.DataDir, sdk.Client, d.Address, Namespace)
	for _, file := range []*string{&cfg.CAFile, &cfg.CertFile, &cfg.KeyFile, &cfg.TokenFile} {
		*file = filepath.Join(d.Paths.Certs, filepath.Base(*file))
	}
	cfg.PayloadKeyFile = ""
	if e, err := config.ReadEndpoints(d.Paths.DataDir); err == nil && e.Cluster != nil {
		cfg.Plaintext = e.Cluster.Plaintext
	}
	c, err := sdk.Dial(ctx, cfg)
	if err == nil {
		defer c.Close()
		_, err = c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: Namespace})
	}
	if err != nil && !slices.ContainsFunc(d.findings, func(f Finding) bool { return f.Subject == cfg.TokenFile }) {
		d.found("call-failed", d.Address, d.tenon("audit", "tail", "--denied"), "a call with the client token fails: %v", err)
	}
	return nil
}

// pollers finds workers that are up and idle, because the last that they heard
// was a refusal.
func (d *doctor) pollers() error {
	log, err := AuditLogOf(d.Paths)
	var none *config.Error
	if errors.As(err, &none) {
		return nil // no cluster has run here yet
	}
	if err != nil {
		return err
	}
	refused := map[string]*audit.DeniedPoller{}
	err = audit.Scan(log.Dir, d.Now().Add(-d.Since), func(r *audit.Record) error {
		if !audit.IsPoll(r.API) || r.Subject == "" {
			return nil
		}
		p := &audit.DeniedPoller{Subject: r.Subject, Namespace: r.Namespace, TaskQueue: r.Target, Reason: r.Reason, Last: r.Time}
		if r.Verdict == audit.Allow {
			delete(refused, p.Key())
		} else {
			refused[p.Key()] = p
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	keys := make([]string, 0, len(refused))
	for k := range refused {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		p := refused[k]
		d.found("poller-denied", p.Subject, d.tenon("tokens", "issue", "--subject", p.Subject, "--role", "worker", "--namespace", p.Namespace, "--ttl", "720h", "--out", p.Subject+"-token.jwt"),
			"its polls of task queue %q in namespace %s are refused (%s), the last at %s: it is up, and idle; give it this token", p.TaskQueue, p.Namespace, p.Reason, p.Last.UTC().Format(time.RFC3339))
	}
	return nil
}
