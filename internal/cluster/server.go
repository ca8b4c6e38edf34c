package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.temporal.io/sdk/worker"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/temporal"
	"google.golang.org/grpc"

	"github.com/tenonhq/tenon/internal/cluster/access"
)

// prepareTimeout bounds what New does with a database.
const prepareTimeout = 60 * time.Second

// Server is a Temporal server. It runs once.
type Server struct {
	cfg   Config
	log   *serverLog
	fatal *fatal
	store *store
	ports map[string]*port
	ready chan struct{}
	stop  *stopping

	closeOnce sync.Once
	closeErr  error
}

// New checks everything that the server needs and that Temporal would end the
// process over: certificates, ports, the database and its version. It creates
// the database and the namespaces if they are missing. On success it holds the
// ports and the caller must call Run or Close; on failure it holds nothing, and
// what it had begun to write is gone.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), prepareTimeout)
	defer cancel()
	if err := checkTLS(ctx, cfg); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	// Ports before the database: a start that fails because the server is
	// already running should say so, and not that its file is locked.
	ports, err := reservePorts(cfg)
	if err != nil {
		return nil, err
	}
	st, err := openStore(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, releaseAll(ports))
	}
	if cfg.Persistence.Postgres != nil {
		if st.nodes, err = joinNodes(ctx, cfg); err != nil {
			return nil, errors.Join(err, releaseAll(ports), st.close())
		}
	}
	if err := createNamespaces(ctx, st, cfg.Namespaces); err != nil {
		return nil, errors.Join(err, releaseAll(ports), st.leave(), st.close())
	}
	f, stop := newFatal(), newStopping()
	return &Server{
		cfg:   cfg,
		log:   newServerLog(cfg.Logger, cfg.LogLevel, f, stop),
		fatal: f,
		store: st,
		ports: ports,
		ready: make(chan struct{}),
		stop:  stop,
	}, nil
}

// Address is where clients connect, as host:port. It is empty if this process
// runs no frontend.
func (s *Server) Address() string {
	if p, ok := s.ports[serviceFrontend]; ok {
		return p.reachable()
	}
	return ""
}

// Ready is closed when the server answers calls.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Close releases what New took. Run does it too; Close is for a Server that
// will not be run.
func (s *Server) Close() error {
	s.closeOnce.Do(func() { s.closeErr = errors.Join(releaseAll(s.ports), s.store.leave(), s.store.close()) })
	return s.closeErr
}

// Run serves until ctx is done, then stops and returns nil; or until something
// fatal happens, which it returns, a *FatalError if the server itself said so.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := ctx.Err(); err != nil {
		return nil
	}
	if err := releaseAll(s.ports); err != nil {
		return err
	}

	building := func(_ context.Context, do func() error) error { return do() }
	if s.store.nodes != nil {
		// Once more, because Temporal's way to say that the database is gone is a
		// page on stderr.
		if err := s.store.nodes.refresh(ctx); err != nil {
			return fmt.Errorf("postgresql at %s: %w", s.cfg.Persistence.Postgres.Address, err)
		}
		building = s.store.nodes.build
		beating, stop := context.WithCancel(context.WithoutCancel(ctx))
		var beat sync.WaitGroup
		beat.Go(func() { s.store.nodes.run(beating) })
		defer beat.Wait()
		defer stop()
	}

	worker.SetBinaryChecksum(s.cfg.BuildID)
	var server temporal.Server
	if err := building(ctx, func() (err error) {
		server, err = guard(s.fatal, func() (temporal.Server, error) {
			s.fatal.building.Store(true)
			defer s.fatal.building.Store(false)
			return temporal.NewServer(s.options()...)
		})
		return err
	}); err != nil {
		return fmt.Errorf("build the temporal server: %w", err)
	}
	if _, err := guard(s.fatal, func() (struct{}, error) { return struct{}{}, server.Start() }); err != nil {
		return errors.Join(fmt.Errorf("start the temporal server: %w", err), s.halt(server))
	}
	close(s.ready)

	select {
	case <-ctx.Done():
		return s.halt(server)
	case <-s.fatal.done:
		return errors.Join(s.fatal.cause(), s.halt(server))
	}
}

// halt stops the server. Calls that wait for work are ended first: Temporal
// would give them a second each.
func (s *Server) halt(server temporal.Server) error {
	s.stop.begin()
	_, err := guard(newFatal(), func() (struct{}, error) { return struct{}{}, server.Stop() })
	if err != nil {
		return fmt.Errorf("stop the temporal server: %w", err)
	}
	return nil
}

// guard calls f on a goroutine of its own, which a fatal condition may end.
func guard[T any](fatal *fatal, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: errors.New("ended without a reason")}
		defer func() {
			if p := recover(); p != nil {
				if _, ours := p.(abandon); !ours {
					panic(p)
				}
			}
			done <- r
		}()
		r.v, r.err = f()
	}()
	r := <-done
	// What was fatal explains the error, or the silence, that it led to.
	if cause := fatal.cause(); cause != nil {
		return r.v, cause
	}
	return r.v, r.err
}

func (s *Server) options() []temporal.ServerOption {
	cfg := s.temporalConfig()
	options := []temporal.ServerOption{
		// First, because the options below are applied to it.
		temporal.WithConfig(cfg),
		temporal.ForServices(s.cfg.Services),
		temporal.WithLogger(s.log),
		temporal.WithNamespaceLogger(s.log),
		temporal.WithDynamicConfigClient(s.cfg.dynamicValues()),
		temporal.WithTLSConfigFactory(tlsProvider{s.cfg.TLS}),
	}
	interceptors := []grpc.UnaryServerInterceptor{s.stop.intercept}
	if a := s.cfg.Access; a != nil {
		// Temporal reads the like-named fields of its configuration nowhere: a
		// server without these options allows everything.
		options = append(options,
			temporal.WithAuthorizer(a.Authorizer()),
			temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return a.ClaimMapper() }),
			temporal.WithAudienceGetter(func(*config.Config) authorization.JWTAudienceMapper { return a.AudienceGetter() }),
		)
		interceptors = append(interceptors, a.Interceptors()...)
	} else {
		options = append(options,
			temporal.WithAuthorizer(authorization.NewNoopAuthorizer()),
			temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return authorization.NewNoopClaimMapper() }),
		)
		interceptors = append(interceptors, access.StripPrincipal())
	}
	options = append(options, temporal.WithChainedFrontendGrpcInterceptors(interceptors...))
	if s.cfg.Membership == nil {
		// Without gossip there are no gossip ports, which have no
		// authorisation of their own.
		hosts := map[primitives.ServiceName]static.Hosts{}
		for service, p := range s.ports {
			hosts[primitives.ServiceName(service)] = static.SingleLocalHost(p.reachable())
		}
		options = append(options, temporal.WithStaticHosts(hosts))
	}
	return options
}

func (s *Server) temporalConfig() *config.Config {
	services := map[string]config.Service{}
	for name, p := range s.ports {
		// HTTPPort stays 0 everywhere: the internal frontend would serve its
		// administrator's claims over it to any client of the frontend.
		rpc := config.RPC{GRPCPort: int(p.addr.Port()), BindOnIP: p.addr.Addr().String()}
		if s.cfg.Membership != nil {
			rpc.MembershipPort = rpc.GRPCPort + gossipOffset
		}
		services[name] = config.Service{RPC: rpc}
	}
	global := config.Global{}
	if m := s.cfg.Membership; m != nil {
		global.Membership = config.Membership{MaxJoinDuration: 30 * time.Second, BroadcastAddress: m.BindIP}
		// A process must know the ports of the services that it does not run.
		for _, name := range s.cfg.allServices() {
			if _, here := services[name]; !here {
				n := m.port(name)
				services[name] = config.Service{RPC: config.RPC{GRPCPort: n, MembershipPort: n + gossipOffset, BindOnIP: m.BindIP}}
			}
		}
	}
	if s.cfg.MetricsAddress != "" {
		global.Metrics = &metrics.Config{Prometheus: &metrics.PrometheusConfig{
			Framework:     metrics.FrameworkOpentelemetry,
			ListenAddress: s.cfg.MetricsAddress,
		}}
	}
	disabled := config.ArchivalNamespaceDefaults{
		History:    config.HistoryArchivalNamespaceDefaults{State: "disabled"},
		Visibility: config.VisibilityArchivalNamespaceDefaults{State: "disabled"},
	}
	return &config.Config{
		Global:          global,
		Persistence:     s.store.config,
		ClusterMetadata: clusterMetadata(s.rpcAddress()),
		DCRedirectionPolicy: config.DCRedirectionPolicy{
			Policy: "noop",
		},
		Services: services,
		Archival: config.Archival{
			History:    config.HistoryArchival{State: "disabled"},
			Visibility: config.VisibilityArchival{State: "disabled"},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: disabled},
	}
}

// rpcAddress is where this cluster is reached by its own services: the frontend
// of this process, or the one that a process without one takes for granted.
func (s *Server) rpcAddress() string {
	if address := s.Address(); address != "" {
		return address
	}
	return s.cfg.Frontend
}

func clusterMetadata(address string) *cluster.Config {
	return &cluster.Config{
		FailoverVersionIncrement: 10,
		MasterClusterName:        clusterName,
		CurrentClusterName:       clusterName,
		ClusterInformation: map[string]cluster.ClusterInformation{
			clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: address},
		},
	}
}
