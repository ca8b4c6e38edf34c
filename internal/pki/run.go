package pki

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"
)

// Run keeps the clock until ctx ends, and then returns nil: every
// Config.ReloadInterval it reads the folder again, renews the store's own
// certificates before they expire or after they were revoked, publishes
// revocation lists before the last ones lapse, and warns of what expires and
// cannot be renewed here. Several processes may run it on one folder. A step
// that fails is logged and tried again at the next turn.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.ReloadInterval)
	defer tick.Stop()
	failed := ""
	for {
		s.refresh()
		err := s.maintain(ctx)
		s.warnExpiry()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			failed = ""
		case err.Error() != failed:
			failed = err.Error()
			s.log.Error("certificate maintenance failed, will be tried again", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// maintain does what the clock demands. It takes the lock only if something is
// due, so that a folder mounted read-only can be served from.
func (s *Store) maintain(ctx context.Context) error {
	if !s.due() {
		return nil
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	// Another process may have done it meanwhile.
	s.refresh()
	var errs []error
	for _, name := range authorities {
		a, err := s.loadAuthority(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if a.active.signer == nil {
			continue
		}
		if err := s.settle(a); err != nil {
			errs = append(errs, err)
		}
		for _, spec := range s.leaves() {
			if spec.authority == name {
				errs = append(errs, s.ensureLeaf(a, spec))
			}
		}
		errs = append(errs, s.ensureCRL(a))
	}
	s.refresh()
	return errors.Join(errs...)
}

// settled reports whether the keys of the authorities are in order, which only
// looking at them tells.
func (s *Store) settled() bool {
	for _, name := range authorities {
		a, err := s.loadAuthority(name)
		if err != nil || a.active.cert != a.roots[0] {
			return false
		}
	}
	return true
}

// due reports whether something is to be signed, judging from what was read.
func (s *Store) due() bool {
	snap := s.snap.Load()
	for _, name := range authorities {
		roots := snap.roots[name]
		if roots == nil {
			continue
		}
		if _, err := os.Lstat(s.path(name.keyFile())); err != nil {
			continue
		}
		if s.crlDue(snap.crlEnds[name], roots[0]) {
			return true
		}
		for _, spec := range s.leaves() {
			if spec.authority != name {
				continue
			}
			pair := snap.leaves[spec.stem]
			if pair == nil {
				return true
			}
			if snap.issuedHere(name, pair.Leaf) && s.whyRenew(snap, roots[0], spec, pair.Leaf) != "" {
				return true
			}
		}
	}
	return false
}

// warnExpiry warns once a day of each certificate that is near its end and
// that Run does not renew, or should long have renewed, and of revocation lists
// of other authorities that have lapsed.
func (s *Store) warnExpiry() {
	now := s.cfg.Now()
	warn := func(id, message string, end time.Time, window time.Duration, attrs ...any) {
		if end.After(now.Add(window)) {
			return
		}
		if last, ok := s.warned[id]; ok && now.Sub(last) < 24*time.Hour {
			return
		}
		s.warned[id] = now
		s.log.Warn(message, append(attrs, "end", end, "over", !end.After(now))...)
	}
	for _, info := range s.Show() {
		window := s.cfg.WarnBefore
		switch {
		case info.State == "previous":
			continue // on its way out
		case info.IsCA:
			window += s.cfg.LeafLifetime
		case info.Managed:
			window = s.cfg.RenewBefore / 2
		}
		warn(info.Fingerprint, "certificate expires", info.NotAfter, window, "name", info.Name, "subject", info.Subject)
	}
	for i, ca := range s.snap.Load().foreign {
		for _, crl := range ca.crls {
			if crl.NextUpdate.IsZero() {
				continue
			}
			file := s.cfg.ClientCAs[i].CRLFile
			warn("crl "+file, "revocation list lapsed and stays in force", crl.NextUpdate, 0, "file", file, "issuer", printable(crl.Issuer.String()))
		}
	}
}
