package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// snapshot is what is in force. It never changes once built, so a handshake
// sees one state of the folder however the files move underneath.
type snapshot struct {
	sum        [sha256.Size]byte // of every file that went into it
	generation uint64

	roots   map[Authority][]*x509.Certificate
	leaves  map[string]*tls.Certificate
	revoked *revocations
	hasNext map[Authority]bool
	crlEnds map[Authority]time.Time // when the published lists lapse

	foreign []foreignCA         // in the order of Config.ClientCAs
	servers []*x509.Certificate // of Config.ServerCAs

	clientPool    *x509.CertPool // who may be a client of the frontend
	serverPool    *x509.CertPool // whom ClientTLS trusts
	internodePool *x509.CertPool

	problems []error
}

// foreignCA is a Config.ClientCA as read.
type foreignCA struct {
	roots   []*x509.Certificate
	crls    []*x509.RevocationList
	filters []Filter
}

func emptySnapshot() *snapshot {
	return &snapshot{
		roots:         map[Authority][]*x509.Certificate{},
		leaves:        map[string]*tls.Certificate{},
		revoked:       &revocations{},
		hasNext:       map[Authority]bool{},
		crlEnds:       map[Authority]time.Time{},
		clientPool:    x509.NewCertPool(),
		serverPool:    x509.NewCertPool(),
		internodePool: x509.NewCertPool(),
	}
}

type fileContent struct {
	text []byte
	err  error
}

// readSnapshot reads every file of interest, and if any changed since old,
// builds the next snapshot. What cannot be read or does not fit stays as it was
// in old: a half-copied file must not take a running server down, and a
// deleted list must not bring revoked certificates back.
func (s *Store) readSnapshot(old *snapshot) *snapshot {
	files := map[string]fileContent{}
	hash := sha256.New()
	read := func(path string) {
		if _, ok := files[path]; ok || path == "" {
			return
		}
		text, err := readFile(path)
		files[path] = fileContent{text, err}
		fmt.Fprintf(hash, "%q %v %d\n", path, err, len(text))
		hash.Write(text)
		if info, serr := os.Stat(path); serr == nil {
			fmt.Fprintf(hash, "%o\n", info.Mode())
		}
	}
	for _, name := range authorities {
		read(s.path(name.certFile()))
		read(s.path(name.crlFile()))
	}
	for _, spec := range s.leaves() {
		read(s.path(spec.certFile()))
		read(s.path(spec.keyFile()))
	}
	read(s.path(revokedFile))
	for _, ca := range s.cfg.ClientCAs {
		read(ca.File)
		read(ca.CRLFile)
	}
	for _, path := range s.cfg.ServerCAs {
		read(path)
	}
	next := map[Authority]bool{}
	for _, name := range authorities {
		_, err := os.Lstat(s.path(name.nextKeyFile()))
		next[name] = err == nil
		fmt.Fprintf(hash, "%s next %t\n", name, err == nil)
	}
	snap := emptySnapshot()
	hash.Sum(snap.sum[:0])
	if snap.sum == old.sum {
		return old
	}
	snap.generation = old.generation + 1
	snap.hasNext = next

	for _, name := range authorities {
		roots, err := rootsOf(files[s.path(name.certFile())])
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && old.roots[name] == nil) {
			snap.problem("%s: %w", name.certFile(), err)
		}
		if err != nil {
			roots = old.roots[name]
		}
		if roots != nil {
			snap.roots[name] = roots
			snap.crlEnds[name] = crlEnd(files[s.path(name.crlFile())].text, roots[0])
		}
	}
	for _, spec := range s.leaves() {
		cert, key := files[s.path(spec.certFile())], files[s.path(spec.keyFile())]
		pair, err := s.pairOf(spec, cert, key)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) || old.leaves[spec.stem] != nil || cert.err == nil {
				snap.problem("%w", err)
			}
			pair = old.leaves[spec.stem]
		}
		if pair != nil {
			snap.leaves[spec.stem] = pair
		}
	}
	s.readForeign(snap, old, files)
	s.readRevoked(snap, old, files[s.path(revokedFile)])
	snap.buildPools()
	return snap
}

func (snap *snapshot) problem(format string, args ...any) {
	snap.problems = append(snap.problems, fmt.Errorf(format, args...))
}

func rootsOf(f fileContent) ([]*x509.Certificate, error) {
	if f.err != nil {
		return nil, f.err
	}
	return parseRoots(f.text)
}

func (s *Store) pairOf(spec leafSpec, cert, key fileContent) (*tls.Certificate, error) {
	if cert.err != nil {
		return nil, cert.err
	}
	if key.err != nil {
		return nil, key.err
	}
	if err := checkKeyMode(s.path(spec.keyFile()), false); err != nil {
		return nil, err
	}
	return parsePair(spec.certFile(), spec.keyFile(), cert.text, key.text)
}

func (s *Store) readForeign(snap, old *snapshot, files map[string]fileContent) {
	for i, ca := range s.cfg.ClientCAs {
		var last foreignCA
		if i < len(old.foreign) {
			last = old.foreign[i]
		}
		got := foreignCA{filters: ca.Filters}
		roots, err := rootsOf(files[ca.File])
		if err != nil {
			snap.problem("client authority %s: %w", filepath.Base(ca.File), err)
			roots = last.roots
		}
		got.roots = roots
		if ca.CRLFile != "" {
			f := files[ca.CRLFile]
			err := f.err
			if err == nil {
				got.crls, err = parseCRLs(f.text, roots)
			}
			if err != nil {
				snap.problem("revocation list %s: %w", filepath.Base(ca.CRLFile), err)
				got.crls = last.crls
				if last.crls == nil {
					// Never read: nobody can tell who is revoked, so nobody of
					// this authority gets in.
					got.roots = nil
				}
			}
		}
		snap.foreign = append(snap.foreign, got)
	}
	for _, path := range s.cfg.ServerCAs {
		roots, err := rootsOf(files[path])
		if err != nil {
			snap.problem("server authority %s: %w", filepath.Base(path), err)
			snap.servers = old.servers
			return
		}
		snap.servers = append(snap.servers, roots...)
	}
}

func (s *Store) readRevoked(snap, old *snapshot, f fileContent) {
	list, err := revocationsOf(f)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !old.revoked.loaded:
		list = &revocationList{}
	case err != nil:
		snap.problem("%s: %w", revokedFile, err)
		last := *old.revoked
		last.unreadable = !last.loaded
		snap.revoked = last.with(snap.foreign)
		return
	}
	snap.revoked = newRevocations(list, err == nil).with(snap.foreign)
}

func (snap *snapshot) buildPools() {
	for _, c := range snap.roots[CA] {
		snap.clientPool.AddCert(c)
		snap.serverPool.AddCert(c)
	}
	for _, ca := range snap.foreign {
		for _, c := range ca.roots {
			snap.clientPool.AddCert(c)
		}
	}
	for _, c := range snap.servers {
		snap.serverPool.AddCert(c)
	}
	for _, c := range snap.roots[InternodeCA] {
		snap.internodePool.AddCert(c)
	}
}

// own reports whether a root is one of the store's authority.
func (snap *snapshot) own(name Authority, root *x509.Certificate) bool {
	for _, c := range snap.roots[name] {
		if bytes.Equal(c.Raw, root.Raw) {
			return true
		}
	}
	return false
}

// issuedHere reports whether a root of the store issued a certificate.
func (snap *snapshot) issuedHere(name Authority, c *x509.Certificate) bool {
	for _, r := range snap.roots[name] {
		if len(c.AuthorityKeyId) > 0 && bytes.Equal(r.SubjectKeyId, c.AuthorityKeyId) {
			return true
		}
	}
	return false
}

// rootState names the part that the i-th root of an authority plays.
func (snap *snapshot) rootState(name Authority, i int) string {
	switch {
	case i == 0:
		return "signing"
	case snap.hasNext[name]:
		return "next"
	}
	return "previous"
}
