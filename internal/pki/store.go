package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// Store is the certs folder of one data directory. It is safe for concurrent
// use, also by several processes on one folder, of which each reads the others'
// changes within Config.ReloadInterval while it runs Run. The files:
//
//	ca.crt                  trusted roots, the signing one first
//	ca.key                  key of the signing root (absent: this host cannot issue)
//	ca-next.key             key of a root that is trusted but does not sign yet
//	ca-previous.key         key of a root that no longer signs, kept for its CRL
//	ca-cross.crt            the signing root, signed by its predecessor
//	internode-ca.*          the same for the internode authority
//	temporal-server.crt .key, temporal-client.crt .key, temporal-internode.crt .key
//	issued.jsonl            the ledger: one line for each certificate issued
//	revoked.json            what is revoked: the list that is enforced
//	crl.pem, internode-crl.pem   the same as RFC 5280 lists, for others
type Store struct {
	cfg    Config
	log    *slog.Logger
	writer chan struct{} // holds one token: the right to write within this process

	reload   sync.Mutex // one reader of the folder at a time
	snap     atomic.Pointer[snapshot]
	reported map[string]bool // problems already logged; guarded by reload

	warned map[string]time.Time // last expiry warning by fingerprint; touched by Run alone
}

// The store's own certificates: stems of file names.
const (
	ServerLeaf    = "temporal-server"
	ClientLeaf    = "temporal-client"
	InternodeLeaf = "temporal-internode"
)

// leafSpec says what one of the store's own certificates holds.
type leafSpec struct {
	stem      string
	authority Authority
	role      Role
	dns       []string
	ips       []net.IP
}

func (l leafSpec) certFile() string { return l.stem + ".crt" }
func (l leafSpec) keyFile() string  { return l.stem + ".key" }

// with adds the names of a certificate, as long as they are not too many.
func (l leafSpec) with(c *x509.Certificate) leafSpec {
	out := l
	for _, d := range c.DNSNames {
		if !contains(out.dns, d, func(a, b string) bool { return a == b }) {
			out.dns = append(out.dns[:len(out.dns):len(out.dns)], d)
		}
	}
	for _, ip := range c.IPAddresses {
		if !contains(out.ips, ip, net.IP.Equal) {
			out.ips = append(out.ips[:len(out.ips):len(out.ips)], ip)
		}
	}
	if len(out.dns)+len(out.ips) > maxNames {
		return l
	}
	return out
}

func (s *Store) leaves() []leafSpec {
	server := leafSpec{
		stem: ServerLeaf, authority: CA, role: RoleServer,
		dns: []string{"temporal", ServerName, "localhost"},
		ips: []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback},
	}
	for _, h := range s.cfg.ExtraHosts {
		if ip := net.ParseIP(h); ip == nil {
			if !contains(server.dns, h, func(a, b string) bool { return a == b }) {
				server.dns = append(server.dns, h)
			}
		} else if !contains(server.ips, ip, net.IP.Equal) {
			server.ips = append(server.ips, ip)
		}
	}
	return []leafSpec{
		server,
		{stem: ClientLeaf, authority: CA, role: RoleClient},
		{stem: InternodeLeaf, authority: InternodeCA, role: RoleInternode},
	}
}

func (s *Store) path(file string) string { return filepath.Join(s.cfg.Dir, file) }

// Open checks the configuration and reads what the folder holds, which may be
// nothing yet. Files that do not fit are reported by Problems and repaired, if
// they can be, by Init; they are not in force.
func Open(cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("certificate store: %w", err)
	}
	s := &Store{
		cfg:      cfg,
		log:      cfg.Logger,
		writer:   make(chan struct{}, 1),
		reported: map[string]bool{},
		warned:   map[string]time.Time{},
	}
	s.snap.Store(emptySnapshot())
	s.snap.Store(s.readSnapshot(emptySnapshot()))
	return s, nil
}

// Init makes what is missing: both authorities, the store's three
// certificates, and the revocation lists. It is idempotent, repairs what a
// crash left half-made, renews certificates that lack a host of
// Config.ExtraHosts, and never replaces a file whose content it does not
// understand. When it returns nil, the store is ready to serve.
func (s *Store) Init(ctx context.Context) error {
	if err := s.init(ctx); err != nil {
		return fmt.Errorf("certs folder %s: %w", s.cfg.Dir, err)
	}
	return nil
}

func (s *Store) init(ctx context.Context) error {
	if err := s.makeDir(); err != nil {
		return err
	}
	if s.complete() {
		return nil
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	// What a crash left half-written.
	if err := secret.RemoveLeftovers(s.cfg.Dir, s.written()...); err != nil {
		return err
	}
	if err := s.ensureRevocations(); err != nil {
		return err
	}
	loaded := map[Authority]*authority{}
	for _, name := range authorities {
		if err := ctx.Err(); err != nil {
			return err
		}
		a, err := s.ensureAuthority(name)
		if err != nil {
			return err
		}
		loaded[name] = a
	}
	s.refresh()
	for _, spec := range s.leaves() {
		if err := s.ensureLeaf(loaded[spec.authority], spec); err != nil {
			return err
		}
	}
	for _, name := range authorities {
		if err := s.ensureCRL(loaded[name]); err != nil {
			return err
		}
	}
	return errors.Join(s.refresh()...)
}

// complete reports whether Init has nothing to do, so that a folder mounted
// read-only, with certificates from elsewhere, can be served from.
func (s *Store) complete() bool {
	if len(s.refresh()) > 0 {
		return false
	}
	snap := s.snap.Load()
	for _, name := range authorities {
		if snap.roots[name] == nil {
			return false
		}
	}
	for _, spec := range s.leaves() {
		if snap.leaves[spec.stem] == nil {
			return false
		}
	}
	left, err := secret.Leftovers(s.cfg.Dir, s.written()...)
	return err == nil && len(left) == 0 && snap.revoked.loaded && s.settled() && !s.due()
}

// makeDir creates the folder, and closes one that others may look into.
func (s *Store) makeDir() error {
	if err := os.MkdirAll(s.cfg.Dir, dirMode); err != nil {
		return err
	}
	info, err := os.Stat(s.cfg.Dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("is not a folder")
	}
	if mode := info.Mode().Perm(); mode&^dirMode != 0 && runtime.GOOS != "windows" {
		if err := os.Chmod(s.cfg.Dir, dirMode); err != nil {
			// A mounted volume may belong to somebody else; each key's own mode
			// is checked whenever it is read.
			s.log.Warn("certs folder is open to others and cannot be closed", "mode", mode.String(), "error", err)
		}
	}
	return nil
}

// ensureLeaf makes one of the store's own certificates if it is missing, does
// not fit its key, or should be replaced. The caller holds the lock.
func (s *Store) ensureLeaf(a *authority, spec leafSpec) error {
	reason, err := s.whyReplace(a, spec)
	if err != nil || reason == "" {
		return err
	}
	// The names of the certificate that is replaced stay in: two processes
	// with different Config.ExtraHosts would otherwise take turns for ever,
	// each dropping the other's hosts. RotateLeaf starts afresh.
	if pair, err := s.loadPair(spec); err == nil && spec.role == RoleServer {
		spec = spec.with(pair.Leaf)
	}
	_, err = s.makeLeaf(a, spec, reason)
	return err
}

func (s *Store) makeLeaf(a *authority, spec leafSpec, reason string) (CertificateInfo, error) {
	issued, err := s.issue(a, IssueRequest{Role: spec.role, Name: spec.stem, DNS: spec.dns, IPs: spec.ips}, Entry{Leaf: spec.stem})
	if err != nil {
		return CertificateInfo{}, fmt.Errorf("make %s (%s): %w", spec.certFile(), reason, err)
	}
	if err := writePair(s.path(spec.certFile()), issued.CertificatePEM, s.path(spec.keyFile()), []byte(issued.KeyPEM.Reveal())); err != nil {
		return CertificateInfo{}, err
	}
	s.log.Info("certificate made", "file", spec.certFile(), "reason", reason, "not_after", issued.Info.NotAfter)
	return issued.Info, nil
}

// whyReplace says why a certificate of the store should be made anew, or "".
// One that somebody brought from elsewhere is never replaced.
func (s *Store) whyReplace(a *authority, spec leafSpec) (string, error) {
	_, cerr := os.Lstat(s.path(spec.certFile()))
	_, kerr := os.Lstat(s.path(spec.keyFile()))
	if errors.Is(cerr, fs.ErrNotExist) || errors.Is(kerr, fs.ErrNotExist) {
		// A lone certificate might be somebody's; a key without certificate is
		// where a crash between two renames leaves a new pair.
		if cerr == nil {
			return "", fmt.Errorf("%s is there, %s is not: restore the key or remove the certificate", spec.certFile(), spec.keyFile())
		}
		return "missing", nil
	}
	pair, err := s.loadPair(spec)
	if err != nil {
		// Certificate and key that do not fit together are the trace of a
		// crash between two renames, if the certificate is one of ours.
		text, rerr := readFile(s.path(spec.certFile()))
		if rerr != nil {
			return "", err
		}
		certs, perr := parseCertificates(text)
		if perr != nil || !a.issued(certs[0]) || !errors.Is(err, errMismatch) {
			return "", err
		}
		return "key does not fit", nil
	}
	if !a.issued(pair.Leaf) {
		return "", nil
	}
	return s.whyRenew(s.snap.Load(), a.active.cert, spec, pair.Leaf), nil
}

// whyRenew says why a certificate that this store's authority issued should be
// made anew, or "".
func (s *Store) whyRenew(snap *snapshot, signing *x509.Certificate, spec leafSpec, c *x509.Certificate) string {
	now := s.cfg.Now()
	// A certificate that could only be renewed to the authority's own end, and
	// already reaches there, is as long as it gets.
	capped := !c.NotAfter.Before(signing.NotAfter)
	switch {
	case !now.Before(c.NotAfter):
		return "expired"
	case now.Add(s.cfg.RenewBefore).After(c.NotAfter) && !capped:
		return "expires soon"
	case snap.revoked.check(c) != nil:
		return "revoked"
	case string(c.AuthorityKeyId) != string(signing.SubjectKeyId):
		return "authority rolled"
	}
	for _, d := range spec.dns {
		if !contains(c.DNSNames, d, func(a, b string) bool { return a == b }) {
			return "host " + d + " added"
		}
	}
	for _, ip := range spec.ips {
		if !contains(c.IPAddresses, ip, net.IP.Equal) {
			return "host " + ip.String() + " added"
		}
	}
	return ""
}

// issued reports whether a root of the authority signed a certificate.
func (a *authority) issued(c *x509.Certificate) bool {
	for _, r := range a.roots {
		if string(r.SubjectKeyId) == string(c.AuthorityKeyId) && c.CheckSignatureFrom(r) == nil {
			return true
		}
	}
	return false
}

// errMismatch says that a certificate and a key are no pair.
var errMismatch = errors.New("certificate and key do not fit together")

func (s *Store) loadPair(spec leafSpec) (*tls.Certificate, error) {
	cert, err := readFile(s.path(spec.certFile()))
	if err != nil {
		return nil, err
	}
	key, err := readFile(s.path(spec.keyFile()))
	if err != nil {
		return nil, err
	}
	if err := checkKeyMode(s.path(spec.keyFile()), false); err != nil {
		return nil, err
	}
	return parsePair(spec.certFile(), spec.keyFile(), cert, key)
}

func parsePair(certFile, keyFile string, certText, keyText []byte) (*tls.Certificate, error) {
	certs, err := parseCertificates(certText)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	key, err := parseKey(keyText)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	if !samePublicKey(certs[0].PublicKey, key.Public()) {
		return nil, fmt.Errorf("%s, %s: %w", certFile, keyFile, errMismatch)
	}
	if certs[0].IsCA {
		return nil, fmt.Errorf("%s: certificate of an authority cannot serve", certFile)
	}
	pair := &tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, c := range certs {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair, nil
}

// Problems returns what is wrong with the files in the folder as last read.
// Each is a file that is not in force, because the last good one still is.
func (s *Store) Problems() []error { return s.snap.Load().problems }

// Generation counts the changes of what is in force: certificates, roots,
// revocations. It never decreases.
func (s *Store) Generation() uint64 { return s.snap.Load().generation }

// refresh reads the folder again and returns what is wrong with it.
func (s *Store) refresh() []error {
	s.reload.Lock()
	defer s.reload.Unlock()
	old := s.snap.Load()
	snap := s.readSnapshot(old)
	if snap != old {
		s.snap.Store(snap)
		s.reportProblems(snap)
	}
	return snap.problems
}

// reportProblems logs each problem once, and its end. The caller holds reload.
func (s *Store) reportProblems(snap *snapshot) {
	now := map[string]bool{}
	for _, p := range snap.problems {
		now[p.Error()] = true
		if !s.reported[p.Error()] {
			s.log.Error("certificate file not taken over, the last good one stays in force", "error", p)
		}
	}
	for text := range s.reported {
		if !now[text] {
			s.log.Info("certificate file problem is over", "problem", text)
		}
	}
	s.reported = now
}

// Reload reads the folder now, without waiting for Run.
func (s *Store) Reload() error { return errors.Join(s.refresh()...) }
