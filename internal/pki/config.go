package pki

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

// Backdate is how far before now the validity of a new certificate begins, so
// that a peer whose clock is a little slow accepts it.
const Backdate = 5 * time.Minute

// ClientAuth says what a caller of the frontend must show.
type ClientAuth string

// What a caller of the frontend must show.
const (
	// CertificateAndToken refuses the handshake without a certificate.
	CertificateAndToken ClientAuth = "certificate-and-token"
	// CertificateOrToken verifies a certificate if there is one. Whether a
	// caller that has none carries a token is for internal/cluster/access.
	CertificateOrToken ClientAuth = "certificate-or-token"
	// TokenOnly does not ask for a certificate.
	TokenOnly ClientAuth = "token-only"
)

// ClientCA is an authority of somebody else, corporate or public, whose client
// certificates the frontend accepts if they match a filter.
type ClientCA struct {
	// File is a PEM file with the authority's root or roots. Required; read
	// again whenever it changes.
	File string
	// CRLFile is a PEM or DER file with the authority's revocation lists.
	// Optional; lists not signed by a root of File are refused.
	CRLFile string
	// Filters say which of the authority's certificates are welcome; one must
	// match. Required: a public authority without a filter admits the world.
	Filters []Filter
}

// Config configures a Store.
type Config struct {
	// Dir is the certs folder. Required. Init creates it with mode 0700.
	Dir string
	// Now tells the time. Defaults to time.Now.
	Now func() time.Time
	// Rand is the source of serial numbers and keys. Defaults to
	// crypto/rand.Reader. (Go generates keys from the system's source
	// whatever is given here.)
	Rand io.Reader
	// Logger receives renewals, reloads and warnings. Defaults to discard.
	Logger *slog.Logger

	// KeyType is the kind of key of new certificates. Defaults to ec-p256.
	KeyType KeyType
	// LeafLifetime is how long a certificate is valid unless a request says
	// otherwise. Defaults to 90 days.
	LeafLifetime time.Duration
	// MaxLeafLifetime is the longest lifetime that a request may ask for.
	// Defaults to 397 days, and to LeafLifetime if that is longer.
	MaxLeafLifetime time.Duration
	// RenewBefore is how long before expiry Run renews the store's own
	// certificates, at most nine tenths of LeafLifetime. Defaults to a third.
	RenewBefore time.Duration
	// WarnBefore is how long before expiry Run begins to warn, once a day, of
	// certificates that it cannot renew itself: those brought from elsewhere,
	// and authorities, for which LeafLifetime is added, because that long
	// before their end they begin to shorten what they issue. Defaults to 30
	// days.
	WarnBefore time.Duration
	// CALifetime is how long a new authority is valid. Defaults to 10 years.
	CALifetime time.Duration
	// CRLLifetime is how long a published revocation list is valid; Run signs
	// a new one at half of it. Defaults to 7 days.
	CRLLifetime time.Duration

	// ReloadInterval is how often Run looks at the files. Defaults to 2 s,
	// at most 5 s: the time within which a revocation takes effect.
	ReloadInterval time.Duration
	// ConnectionAge is how long a connection may live on the servers of this
	// store before they end it gracefully. A root is not retired sooner after the
	// last certificate that rested on it was replaced: the connections that were
	// made with those end by then, and no call of theirs is refused. Defaults to
	// zero, for servers that end connections themselves.
	ConnectionAge time.Duration

	// ExtraHosts are further DNS names and IP addresses of the server, beyond
	// temporal, temporal-server, localhost, 127.0.0.1 and ::1.
	ExtraHosts []string

	// ClientAuth is what the frontend asks of its callers. Defaults to
	// CertificateAndToken.
	ClientAuth ClientAuth
	// ClientCAs are authorities of others whose clients are welcome. Defaults
	// to none: only certificates of this store's own authority are accepted.
	ClientCAs []ClientCA
	// ServerCAs are PEM files with roots that ClientTLS trusts besides ca.crt,
	// for a server certificate brought from elsewhere. Defaults to none.
	ServerCAs []string

	// OnRefused is called once for each handshake that a server of this store
	// refused after it understood the client's hello, or that the client left
	// before it was verified. Calls are concurrent. Defaults to none.
	OnRefused func(Refusal)
}

func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("certs folder is not set"))
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.KeyType == "" {
		c.KeyType = ECP256
	}
	if !c.KeyType.valid() {
		errs = append(errs, fmt.Errorf("key type %q is unknown (%s)", c.KeyType, keyTypeList()))
	}
	duration := func(name string, d *time.Duration, def, least, most time.Duration) {
		if *d == 0 {
			*d = def
		}
		if *d < least || *d > most {
			errs = append(errs, fmt.Errorf("%s is %s: must lie between %s and %s", name, *d, least, most))
		}
	}
	const day = 24 * time.Hour
	const century = 100 * 365 * day
	duration("leaf lifetime", &c.LeafLifetime, 90*day, time.Minute, century)
	duration("longest leaf lifetime", &c.MaxLeafLifetime, max(397*day, c.LeafLifetime), c.LeafLifetime, century)
	duration("renewal window", &c.RenewBefore, c.LeafLifetime/3, time.Second, c.LeafLifetime*9/10)
	duration("warning window", &c.WarnBefore, 30*day, time.Second, century)
	duration("authority lifetime", &c.CALifetime, 3650*day, c.LeafLifetime, century)
	duration("revocation list lifetime", &c.CRLLifetime, 7*day, time.Minute, 365*day)
	if c.ConnectionAge < 0 {
		errs = append(errs, fmt.Errorf("connection age is %s: must not be negative", c.ConnectionAge))
	}
	duration("reload interval", &c.ReloadInterval, 2*time.Second, 10*time.Millisecond, 5*time.Second)

	for _, h := range c.ExtraHosts {
		if net.ParseIP(h) == nil {
			if err := checkDNSName(h, true); err != nil {
				errs = append(errs, fmt.Errorf("extra host: %w", err))
			}
		}
	}
	switch c.ClientAuth {
	case "":
		c.ClientAuth = CertificateAndToken
	case CertificateAndToken, CertificateOrToken, TokenOnly:
	default:
		errs = append(errs, fmt.Errorf("client authentication %q is unknown (%s, %s, %s)",
			c.ClientAuth, CertificateAndToken, CertificateOrToken, TokenOnly))
	}
	for i, ca := range c.ClientCAs {
		if ca.File == "" {
			errs = append(errs, fmt.Errorf("client authority %d names no file", i+1))
		}
		if len(ca.Filters) == 0 {
			errs = append(errs, fmt.Errorf("client authority %q has no filter: everyone it ever certified would be let in", ca.File))
		}
		for _, f := range ca.Filters {
			if err := f.check(); err != nil {
				errs = append(errs, fmt.Errorf("client authority %q: %w", ca.File, err))
			}
		}
	}
	return c, errors.Join(errs...)
}
