package pki

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// Phase is a state of an authority's roll. It is not stored beside the files,
// it is the files, and each step turns on one atomic rename, so that a crash
// leaves one phase or the next:
//
//	         prepare              activate              retire
//	steady ──────────► prepared ──────────► activated ──────────► steady
//	           ◄─────────
//	            abandon
//	trust  A           A, B                 B, A                  B
//	signs  A           A                    B                     B
//	keys   ca=A        ca=A next=B          ca=B previous=A       ca=B
//
// Activation waits until every process had time to read that B is trusted.
// From then on servers also send B as certified by A, so that a client which
// read its roots once, before the roll, still finds a path. Retirement waits
// until no certificate of A is outstanding, and no connection is alive that was
// made with one (Config.ConnectionAge); it records A as retired, which ends what
// rests on it all the same at the next call.
type Phase string

// The states of a roll.
const (
	Steady    Phase = "steady"
	Prepared  Phase = "prepared"
	Activated Phase = "activated"
)

// Step leads from one Phase to the next.
type Step string

// The steps of a roll.
const (
	Prepare  Step = "prepare"  // steady → prepared: the next root is trusted
	Activate Step = "activate" // prepared → activated: the next root signs
	Retire   Step = "retire"   // activated → steady: the previous root is no longer trusted
	Abandon  Step = "abandon"  // prepared → steady: the next root is dropped
)

var (
	// ErrWrongPhase says that a step does not lead on from where the roll is.
	ErrWrongPhase = errors.New("roll is in another phase")
	// ErrTooEarly says that a step must wait: for other processes to have read
	// the step before, or for certificates of the previous root to be replaced.
	ErrTooEarly = errors.New("too early")
)

// Rotation is where an authority's roll is.
type Rotation struct {
	Authority Authority         `json:"authority"`
	Phase     Phase             `json:"phase"`
	Signing   CertificateInfo   `json:"signing"`
	Next      *CertificateInfo  `json:"next,omitempty"` // the root that will sign, if prepared
	Previous  []CertificateInfo `json:"previous,omitempty"`
	// Outstanding are certificates of previous roots that are neither expired
	// nor revoked nor replaced: each belongs to somebody who will be locked
	// out by Retire.
	Outstanding []Entry `json:"outstanding,omitempty"`
	// NotBefore is when the next step may be taken without force, as far as
	// time alone decides.
	NotBefore time.Time `json:"notBefore,omitzero"`
}

// RotateLeaf makes one of the store's own certificates anew: temporal-server,
// temporal-client or temporal-internode. One brought from elsewhere is refused.
func (s *Store) RotateLeaf(ctx context.Context, stem string) (CertificateInfo, error) {
	for _, spec := range s.leaves() {
		if spec.stem != stem {
			continue
		}
		unlock, err := s.lock(ctx)
		if err != nil {
			return CertificateInfo{}, err
		}
		defer unlock()
		a, err := s.loadAuthority(spec.authority)
		if err != nil {
			return CertificateInfo{}, fmt.Errorf("rotate %s: %w", stem, err)
		}
		if pair, err := s.loadPair(spec); err == nil && !a.issued(pair.Leaf) {
			return CertificateInfo{}, fmt.Errorf("rotate %s: its certificate was issued elsewhere (%s)", stem, printable(pair.Leaf.Issuer.String()))
		}
		info, err := s.makeLeaf(a, spec, "rotated")
		if err != nil {
			return CertificateInfo{}, err
		}
		return info, errors.Join(s.refresh()...)
	}
	return CertificateInfo{}, fmt.Errorf("rotate %q: the certificates are %s, %s and %s", printable(stem), ServerLeaf, ClientLeaf, InternodeLeaf)
}

func (a *authority) phase() Phase {
	switch {
	case a.next.cert != nil:
		return Prepared
	case len(a.roots) > 1:
		return Activated
	}
	return Steady
}

// RotateCA takes one step of a roll. It returns where the roll is afterwards.
// Errors wrap ErrWrongPhase if the step does not lead on from there, and
// ErrTooEarly if it must wait; force takes it nevertheless, at the price of
// failed handshakes or of locking out whoever still relies on the old root.
func (s *Store) RotateCA(ctx context.Context, name Authority, step Step, force bool) (Rotation, error) {
	fail := func(err error) (Rotation, error) { return Rotation{}, fmt.Errorf("%s %s: %w", step, name, err) }
	if !name.valid() {
		return fail(fmt.Errorf("the authorities are %s and %s", CA, InternodeCA))
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return fail(err)
	}
	defer unlock()
	a, err := s.loadAuthority(name)
	if err != nil {
		return fail(err)
	}
	if a.active.signer == nil {
		return fail(fmt.Errorf("%w: %s", ErrNoKey, name.keyFile()))
	}
	if err := s.settle(a); err != nil {
		return fail(err)
	}
	from := map[Step]Phase{Prepare: Steady, Activate: Prepared, Abandon: Prepared, Retire: Activated}
	want, ok := from[step]
	if !ok {
		return fail(fmt.Errorf("the steps are %s, %s, %s and %s", Prepare, Activate, Retire, Abandon))
	}
	before, err := s.rotation(a)
	if err != nil {
		return fail(err)
	}
	if before.Phase != want {
		return fail(fmt.Errorf("%w: %s, not %s", ErrWrongPhase, before.Phase, want))
	}
	if !force && (step == Activate || step == Retire) {
		if now := s.cfg.Now(); now.Before(before.NotBefore) {
			return fail(fmt.Errorf("%w: other processes may not have read the last step before %s", ErrTooEarly, before.NotBefore.UTC().Format(time.RFC3339)))
		}
		if n := len(before.Outstanding); step == Retire && n > 0 {
			e := before.Outstanding[0]
			return fail(fmt.Errorf("%w: %d certificates of the previous root are in use, the first being %s %q, valid until %s",
				ErrTooEarly, n, e.Role, e.Name, e.NotAfter.Format(time.RFC3339)))
		}
	}
	switch step {
	case Prepare:
		err = s.prepare(a)
	case Activate:
		err = s.activate(a)
	case Retire:
		err = s.retire(a)
	case Abandon:
		err = s.abandon(a)
	}
	if err != nil {
		return fail(err)
	}
	s.log.Info("certificate authority rolled on", "authority", name, "step", step)
	if a, err = s.loadAuthority(name); err != nil {
		return fail(err)
	}
	s.refresh()
	if err := s.publishCRL(a); err != nil {
		return fail(err)
	}
	after, err := s.rotation(a)
	if err != nil {
		return fail(err)
	}
	return after, nil
}

func (s *Store) prepare(a *authority) error {
	key := a.nextKey // left by a crash before its certificate was trusted
	if key == nil {
		var err error
		if key, err = s.makeKey(a.name.nextKeyFile(), s.cfg.KeyType); err != nil {
			return err
		}
	}
	root, err := s.signRoot(a.name, key)
	if err != nil {
		return err
	}
	return secret.WriteFileMode(s.path(a.name.certFile()), encodeCertificates(append(a.roots[:len(a.roots):len(a.roots)], root)...), publicMode)
}

func (s *Store) activate(a *authority) error {
	if a.name == CA && s.cfg.Now().Before(a.active.cert.NotAfter) {
		cross, err := s.signCross(a.name, a.next.cert, a.active)
		if err != nil {
			return err
		}
		if err := secret.WriteFileMode(s.path(a.name.crossFile()), encodeCertificates(cross), publicMode); err != nil {
			return err
		}
	}
	// The old key is kept for one thing: revocation lists of what it signed.
	old, err := readFile(s.path(a.name.keyFile()))
	if err != nil {
		return err
	}
	if err := secret.WriteFile(s.path(a.name.priorKeyFile()), old); err != nil {
		return err
	}
	// The step itself. What follows, settle and the clock would do as well.
	if err := os.Rename(s.path(a.name.nextKeyFile()), s.path(a.name.keyFile())); err != nil {
		return err
	}
	if err := secret.SyncDir(s.cfg.Dir); err != nil {
		return err
	}
	now, err := s.loadAuthority(a.name)
	if err != nil {
		return err
	}
	if err := s.settle(now); err != nil {
		return err
	}
	for _, spec := range s.leaves() {
		if spec.authority == a.name {
			if err := s.ensureLeaf(now, spec); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) retire(a *authority) error {
	list, err := s.loadRevocations()
	if err != nil {
		return err
	}
	now := s.cfg.Now().UTC().Truncate(time.Second)
	for _, c := range a.roots {
		if c == a.active.cert {
			continue
		}
		id := hex.EncodeToString(c.SubjectKeyId)
		list.Retired = append(list.Retired, retiredAuthority{KeyID: id, RetiredAt: now, NotAfter: c.NotAfter.UTC()})
	}
	if err := s.storeRevocations(list); err != nil {
		return err
	}
	if err := secret.WriteFileMode(s.path(a.name.certFile()), encodeCertificates(a.active.cert), publicMode); err != nil {
		return err
	}
	return s.remove(a.name.priorKeyFile())
}

func (s *Store) abandon(a *authority) error {
	// The certificate goes first: a key without certificate is harmless.
	var kept []*x509.Certificate
	for _, c := range a.roots {
		if c != a.next.cert {
			kept = append(kept, c)
		}
	}
	if err := secret.WriteFileMode(s.path(a.name.certFile()), encodeCertificates(kept...), publicMode); err != nil {
		return err
	}
	return s.remove(a.name.nextKeyFile())
}

func (s *Store) remove(file string) error {
	if err := os.Remove(s.path(file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return secret.SyncDir(s.cfg.Dir)
}

// crossCertificate returns the signing root as certified by its predecessor,
// as long as that is of use, or nil.
func (s *Store) crossCertificate(a *authority) (*x509.Certificate, error) {
	text, err := readFile(s.path(a.name.crossFile()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	certs, err := parseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.name.crossFile(), err)
	}
	c := certs[0]
	if !samePublicKey(c.PublicKey, a.active.cert.PublicKey) || !s.cfg.Now().Before(c.NotAfter) {
		return nil, nil
	}
	return c, nil
}

// Rotation returns where an authority's roll is.
func (s *Store) Rotation(name Authority) (Rotation, error) {
	a, err := s.loadAuthority(name)
	if err != nil {
		return Rotation{}, fmt.Errorf("roll of %s: %w", name, err)
	}
	return s.rotation(a)
}

func (s *Store) rotation(a *authority) (Rotation, error) {
	r := Rotation{Authority: a.name, Phase: a.phase(), Signing: describe(string(a.name), a.active.cert)}
	// Two intervals: one for the slowest reader to begin, one to be done.
	settle := 2 * s.cfg.ReloadInterval
	if r.Phase == Prepared {
		info := describe(string(a.name), a.next.cert)
		r.Next = &info
		r.NotBefore = a.next.cert.NotBefore.Add(Backdate + settle)
		return r, nil
	}
	if r.Phase == Steady {
		return r, nil
	}
	entries, err := s.Ledger()
	if err != nil {
		return Rotation{}, err
	}
	list, err := s.loadRevocations()
	if err != nil {
		return Rotation{}, err
	}
	revoked := newRevocations(list, true)
	previous := map[string]bool{}
	for _, c := range a.roots {
		if c != a.active.cert {
			info := describe(string(a.name), c)
			r.Previous = append(r.Previous, info)
			previous[info.SubjectKeyID] = true
		}
	}
	now := s.cfg.Now()
	for _, e := range entries {
		switch {
		case e.AuthorityKeyID == r.Signing.SubjectKeyID && e.Leaf != "" && r.NotBefore.IsZero():
			// The first of the store's own certificates by the new root marks
			// the time of activation.
			r.NotBefore = e.IssuedAt.Add(settle + s.cfg.ConnectionAge)
		case e.Role == roleAuthority || e.Leaf != "" || !previous[e.AuthorityKeyID]:
		case !now.Before(e.NotAfter) || revoked.listed(e):
		default:
			r.Outstanding = append(r.Outstanding, e)
		}
	}
	return r, nil
}

// RollCA takes an authority through a whole roll, waiting between the steps
// until they may be taken. If certificates of the old root are outstanding it
// stops before retiring that root and returns an error wrapping ErrTooEarly:
// the new root signs, both are trusted, and calling RollCA again later, or
// RotateCA with Retire, brings the roll to its end.
func (s *Store) RollCA(ctx context.Context, name Authority) (Rotation, error) {
	next := map[Phase]Step{Steady: Prepare, Prepared: Activate, Activated: Retire}
	r, err := s.Rotation(name)
	if err != nil {
		return Rotation{}, err
	}
	for {
		step := next[r.Phase]
		if wait := r.NotBefore.Sub(s.cfg.Now()); wait > 0 && (step != Retire || len(r.Outstanding) == 0) {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return r, fmt.Errorf("roll %s: %w", name, ctx.Err())
			}
		}
		after, err := s.RotateCA(ctx, name, step, false)
		if err != nil {
			return r, err
		}
		if r = after; step == Retire {
			return r, nil
		}
	}
}
