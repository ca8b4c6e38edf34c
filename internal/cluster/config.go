package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/dynamicconfig"
	"google.golang.org/grpc"

	"github.com/tenonhq/tenon/internal/pki"
)

// Defaults of Config.
const (
	DefaultFrontend       = "127.0.0.1:7233"
	DefaultRetention      = 7 * 24 * time.Hour
	DefaultSQLiteShards   = 1
	DefaultPostgresShards = 128
)

// The frontend's and the inner services' names, as Temporal knows them.
const (
	serviceFrontend         = "frontend"
	serviceInternalFrontend = "internal-frontend"
	serviceHistory          = "history"
	serviceMatching         = "matching"
	serviceWorker           = "worker"
)

// TLSSource supplies the TLS configurations of the cluster's ends; a
// *pki.Store is one. Certificates, roots and revocations must be read at each
// handshake, so that a rotation needs no restart. The internode authority must
// sign nothing but internode certificates: whoever holds one is the cluster's
// administrator.
type TLSSource interface {
	// ServerTLS answers for pki.Frontend and pki.Internode. Nil for the
	// frontend means plaintext, which only an Insecure cluster accepts.
	ServerTLS(role pki.ServerRole) *tls.Config
	InternodeClientTLS() *tls.Config
}

// Access decides who is calling and what they may do. The same Authorizer and
// the same interceptors also serve the internal frontend, whose callers bear
// the claims that Temporal gives to its own workers.
type Access interface {
	ClaimMapper() authorization.ClaimMapper
	// AudienceGetter runs before the claim mapper, with the request at hand.
	AudienceGetter() authorization.JWTAudienceMapper
	Authorizer() authorization.Authorizer
	// Interceptors run after a call was allowed, in this order.
	Interceptors() []grpc.UnaryServerInterceptor
}

// Namespace is a namespace that exists once New has returned.
type Namespace struct {
	// Name follows Temporal's rules, and holds no ':' because permissions are
	// written "<namespace>:<role>".
	Name string
	// Retention is how long closed workflows are kept, at least an hour.
	// Defaults to DefaultRetention. It applies when the namespace is created;
	// a namespace that exists keeps what its administrator gave it.
	Retention time.Duration
	// SearchAttributes are added if the namespace does not have them; none is
	// ever removed.
	SearchAttributes map[string]enumspb.IndexedValueType
}

// Config of a Server.
type Config struct {
	// Frontend is the host and port that clients connect to. The host is an IP
	// address or "localhost"; port 0 takes a free one, see Server.Address.
	// Defaults to DefaultFrontend.
	Frontend string

	// Persistence is where the cluster keeps its state. Required.
	Persistence Persistence

	// Shards is the number of history shards, 1 to 16384. It is fixed when the
	// database is created; a database that exists keeps its own. Defaults to
	// DefaultSQLiteShards or DefaultPostgresShards.
	Shards int32

	// Namespaces exist when New returns. Defaults to one named "default".
	Namespaces []Namespace

	// TLS is required unless Insecure.
	TLS TLSSource

	// Access is required unless Insecure.
	Access Access

	// Insecure permits TLS or Access to be nil, for comparisons and for
	// networks that someone else secures. The frontend must then be on
	// loopback. It must never follow from the absence of something else.
	Insecure bool

	// Services that run in this process. Defaults to all of them. Fewer need
	// Membership, through which the processes find each other.
	Services []string

	// Membership joins several processes into one cluster. Nil is a cluster of
	// this one process.
	Membership *Membership

	// MetricsAddress serves Prometheus metrics at /metrics, in plaintext and to
	// anyone who can connect, hence on loopback only. Empty is none.
	MetricsAddress string

	// BuildID names this program in the histories that workers of this process
	// write; the Temporal SDK keeps it for the whole process. Defaults to a
	// hash of the build's module versions and revision.
	BuildID string

	// DynamicConfig overrides Temporal's dynamic configuration by key, on top
	// of this package's own values.
	DynamicConfig map[string]any

	// Trust returns fingerprints of what this node trusts, by kind: "internode
	// authority", for example. A node starts only if it shares at least one of
	// each kind with the nodes that run on the same PostgreSQL database. It is
	// asked again and again, and safe for concurrent use. Nil compares nothing.
	Trust func() map[string][]string

	// Now tells the time that is compared with the database's. Defaults to
	// time.Now.
	Now func() time.Time

	// Logger receives what the server says at LogLevel and above. Nil discards.
	Logger *slog.Logger
	// LogLevel defaults to slog.LevelWarn.
	LogLevel slog.Leveler
}

// Membership is how the processes of one cluster find each other: through
// their shared database, then by gossip that the internode certificates
// protect.
type Membership struct {
	// BindIP is this process's address towards the others; every service but
	// the frontend listens on it. Required, and not an unspecified address.
	BindIP string
	// Ports are the gRPC ports of the services other than the frontend, whose
	// port Config.Frontend says. 300 below each is the service's gossip port:
	// 6933 for 7233. All processes of a cluster must use the same numbers.
	// Default to the stock ones: history 7234, matching 7235,
	// internal-frontend 7236, worker 7239.
	Ports map[string]int
}

// gossipOffset is added to a service's gRPC port to find its gossip port.
const gossipOffset = -300

// maxGossipPort is the largest that Temporal's table of members can hold in
// PostgreSQL, where the column is a signed 16-bit number.
const maxGossipPort = 1<<15 - 1

var stockPorts = map[string]int{
	serviceHistory: 7234, serviceMatching: 7235, serviceInternalFrontend: 7236, serviceWorker: 7239,
}

// withDefaults fills in defaults and reports every problem at once.
func (c Config) withDefaults() (Config, error) {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.LogLevel == nil {
		c.LogLevel = slog.LevelWarn
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.BuildID == "" {
		c.BuildID = buildID()
	}
	if c.Frontend == "" {
		c.Frontend = DefaultFrontend
	}
	front, err := parseAddress(c.Frontend)
	if err != nil {
		bad("frontend address %q: %w", c.Frontend, err)
	}

	if err := c.Persistence.check(); err != nil {
		bad("persistence: %w", err)
	}
	if c.Shards == 0 {
		c.Shards = DefaultSQLiteShards
		if c.Persistence.Postgres != nil {
			c.Shards = DefaultPostgresShards
		}
	}
	if c.Shards < 1 || c.Shards > 16384 {
		bad("shards: %d is outside 1 to 16384", c.Shards)
	}

	if len(c.Namespaces) == 0 {
		c.Namespaces = []Namespace{{Name: "default"}}
	}
	c.Namespaces = slices.Clone(c.Namespaces)
	for i := range c.Namespaces {
		ns := &c.Namespaces[i]
		if ns.Retention == 0 {
			ns.Retention = DefaultRetention
		}
		if err := ns.check(); err != nil {
			bad("namespace %q: %w", ns.Name, err)
		}
	}

	if c.TLS == nil && !c.Insecure {
		bad("no TLS source: the cluster would answer in plaintext")
	}
	if c.Access == nil && !c.Insecure {
		bad("no access control: the cluster would allow everyone everything")
	}
	if c.Insecure && front.IsValid() && !front.Addr().IsLoopback() {
		bad("frontend address %q: an insecure cluster may listen on loopback only", c.Frontend)
	}

	all := c.allServices()
	if len(c.Services) == 0 {
		c.Services = all
	}
	for _, name := range c.Services {
		if !slices.Contains(all, name) {
			bad("service %q: not one of %s", name, strings.Join(all, ", "))
		}
	}
	if c.Membership == nil && len(c.Services) != len(all) {
		bad("services %s: a process that does not run all of %s needs a membership",
			strings.Join(c.Services, ", "), strings.Join(all, ", "))
	}
	if m := c.Membership; m != nil {
		if ip, err := netip.ParseAddr(m.BindIP); err != nil || ip.IsUnspecified() {
			bad("membership address %q: not an IP address that the other processes can reach", m.BindIP)
		}
		if c.TLS == nil {
			bad("membership without TLS: gossip and internode calls would be open to the network")
		}
		ports := map[string]int{serviceFrontend: int(front.Port())}
		for _, name := range all {
			if name != serviceFrontend {
				ports[name] = m.port(name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(ports)) {
			// Port 0 would differ from process to process.
			if gossip := ports[name] + gossipOffset; gossip < 1 || gossip > maxGossipPort {
				bad("membership: port %d of %s is outside %d to %d", ports[name], name, 1-gossipOffset, maxGossipPort-gossipOffset)
			}
		}
		if c.Persistence.Postgres == nil {
			bad("membership on SQLite: several processes need PostgreSQL")
		}
	}
	if c.MetricsAddress != "" {
		if a, err := parseAddress(c.MetricsAddress); err != nil {
			bad("metrics address %q: %w", c.MetricsAddress, err)
		} else if !a.Addr().IsLoopback() {
			bad("metrics address %q: metrics have no access control and are served on loopback only", c.MetricsAddress)
		}
	}
	return c, errors.Join(problems...)
}

// allServices are the services that a complete cluster has. The internal
// frontend belongs to access control: without it the server's own workers
// would be refused, and with nothing to refuse them they do not need it.
func (c Config) allServices() []string {
	if c.Access == nil {
		return []string{serviceFrontend, serviceHistory, serviceMatching, serviceWorker}
	}
	return []string{serviceFrontend, serviceInternalFrontend, serviceHistory, serviceMatching, serviceWorker}
}

func (n Namespace) check() error {
	switch {
	case n.Name == "":
		return errors.New("has no name")
	case len(n.Name) > 255:
		return fmt.Errorf("name is %d characters long, 255 are allowed", len(n.Name))
	case strings.ContainsAny(n.Name, ": \t\r\n"):
		return errors.New("name contains a colon or white space")
	case n.Retention < time.Hour:
		return fmt.Errorf("retention %s is shorter than an hour", n.Retention)
	}
	return nil
}

// dynamicValues merges the overrides over our own values.
func (c Config) dynamicValues() dynamicconfig.StaticClient {
	values := baseDynamicConfig(c.Persistence.Postgres == nil)
	for key, v := range c.DynamicConfig {
		values[dynamicconfig.MakeKey(key)] = v
	}
	return values
}

// parseAddress reads "IP:port" or "localhost:port". Names are not looked up:
// where a server listens must not depend on what a resolver says today.
func parseAddress(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, errors.New("not in the form host:port")
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("host %q is neither an IP address nor localhost", host)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	return netip.AddrPortFrom(ip, uint16(n)), nil
}
