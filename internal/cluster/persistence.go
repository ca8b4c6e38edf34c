package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/headers"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/persistence"
	persistenceclient "go.temporal.io/server/common/persistence/client"
	"go.temporal.io/server/common/persistence/serialization"
	"go.temporal.io/server/common/resolver"
	"go.temporal.io/server/common/searchattribute/sadefs"
	"go.temporal.io/server/common/telemetry"
	"google.golang.org/protobuf/types/known/durationpb"
)

// clusterName is this cluster's name in its own database. It is written into
// every namespace and must not change.
const clusterName = "active"

// Persistence is where a cluster keeps its state: exactly one of its fields.
type Persistence struct {
	// SQLite is the path of the database file, made at first start with mode
	// 0600. For one process; Server.New refuses a file that is in use.
	SQLite string
	// Memory keeps everything in this process's memory and loses it with the
	// Server.
	Memory bool
	// Postgres is for more than one machine can carry.
	Postgres *Postgres
}

// ErrNewerDatabase is wrapped by New's error for a database that a newer
// version has written to.
var ErrNewerDatabase = errors.New("the database belongs to a newer version")

// ErrDatabaseInUse is wrapped by New's error for a SQLite file that another
// process has open.
var ErrDatabaseInUse = errors.New("the database is in use by another process")

func (p Persistence) check() error {
	n := 0
	for _, set := range []bool{p.SQLite != "", p.Memory, p.Postgres != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%d of SQLite file, memory and PostgreSQL are given, want one", n)
	}
	if p.Postgres != nil {
		return p.Postgres.check()
	}
	if p.SQLite != "" {
		return checkSQLitePath(p.SQLite)
	}
	return nil
}

// store is a database that is ready for the server.
type store struct {
	config config.Persistence
	// close releases what keeps the database, after the server has stopped.
	close func() error
	// nodes is this process's entry among the others; nil but on PostgreSQL.
	nodes *nodes
}

// leave takes the entry away.
func (s *store) leave() error {
	if s.nodes == nil {
		return nil
	}
	return s.nodes.close()
}

// openStore prepares the database: makes it if there is none, refuses one that
// is in use, newer, or not ours.
func openStore(ctx context.Context, cfg Config) (*store, error) {
	var (
		s   *store
		err error
	)
	switch p := cfg.Persistence; {
	case p.Postgres != nil:
		s, err = openPostgres(ctx, *p.Postgres)
	case p.Memory:
		s = openMemory()
	default:
		s, err = openSQLite(ctx, p.SQLite)
	}
	if err != nil {
		return nil, err
	}
	s.config.NumHistoryShards = cfg.Shards
	return s, nil
}

// createNamespaces makes the namespaces that are missing and adds the search
// attributes that they lack. It writes to the database itself: through the API,
// a new namespace would take seconds to pass the caches of a server that is
// already running.
func createNamespaces(ctx context.Context, s *store, namespaces []Namespace) (err error) {
	logger := log.NewNoopLogger()
	serializer := serialization.NewSerializer()
	data := persistenceclient.DataStoreFactoryProvider(
		persistenceclient.ClusterName(clusterName), resolver.NewNoopResolver(), &s.config, nil,
		logger, metrics.NoopMetricsHandler, telemetry.NoopTracerProvider, serializer)
	factory := persistenceclient.FactoryProvider(persistenceclient.NewFactoryParams{
		DataStoreFactory: data,
		Cfg:              &s.config,
		ClusterName:      persistenceclient.ClusterName(clusterName),
		MetricsHandler:   metrics.NoopMetricsHandler,
		Logger:           logger,
		Serializer:       serializer,
	})
	defer factory.Close()
	manager, err := factory.NewMetadataManager()
	if err != nil {
		return fmt.Errorf("open the namespace table: %w", err)
	}
	defer manager.Close()

	ctx, cancel := context.WithTimeout(headers.SetCallerInfo(ctx, headers.SystemOperatorCallerInfo), 30*time.Second)
	defer cancel()
	for _, ns := range namespaces {
		if err := createNamespace(ctx, manager, ns); err != nil {
			return fmt.Errorf("namespace %q: %w", ns.Name, err)
		}
	}
	return nil
}

func createNamespace(ctx context.Context, manager persistence.MetadataManager, ns Namespace) error {
	found, err := manager.GetNamespace(ctx, &persistence.GetNamespaceRequest{Name: ns.Name})
	var missing *serviceerror.NamespaceNotFound
	if err == nil {
		return addSearchAttributes(ctx, manager, found, ns.SearchAttributes)
	} else if !errors.As(err, &missing) {
		return err
	}

	aliases, _, err := assignFields(nil, ns.SearchAttributes)
	if err != nil {
		return err
	}
	_, err = manager.CreateNamespace(ctx, &persistence.CreateNamespaceRequest{
		Namespace: &persistencespb.NamespaceDetail{
			Info: &persistencespb.NamespaceInfo{
				Id:    uuid.NewString(),
				State: enumspb.NAMESPACE_STATE_REGISTERED,
				Name:  ns.Name,
			},
			Config: &persistencespb.NamespaceConfig{
				Retention:                    durationpb.New(ns.Retention),
				HistoryArchivalState:         enumspb.ARCHIVAL_STATE_DISABLED,
				VisibilityArchivalState:      enumspb.ARCHIVAL_STATE_DISABLED,
				CustomSearchAttributeAliases: aliases,
			},
			ReplicationConfig: &persistencespb.NamespaceReplicationConfig{
				ActiveClusterName: clusterName,
				Clusters:          []string{clusterName},
			},
			FailoverVersion:             common.EmptyVersion,
			FailoverNotificationVersion: -1,
		},
	})
	var exists *serviceerror.NamespaceAlreadyExists
	if errors.As(err, &exists) {
		// Another process of the cluster was faster, with the same settings.
		return nil
	}
	return err
}

func addSearchAttributes(
	ctx context.Context, manager persistence.MetadataManager,
	found *persistence.GetNamespaceResponse, want map[string]enumspb.IndexedValueType,
) error {
	aliases, changed, err := assignFields(found.Namespace.Config.CustomSearchAttributeAliases, want)
	if err != nil || !changed {
		return err
	}
	table, err := manager.GetMetadata(ctx)
	if err != nil {
		return err
	}
	found.Namespace.Config.CustomSearchAttributeAliases = aliases
	found.Namespace.ConfigVersion++
	return manager.UpdateNamespace(ctx, &persistence.UpdateNamespaceRequest{
		Namespace:           found.Namespace,
		IsGlobalNamespace:   found.IsGlobalNamespace,
		NotificationVersion: table.NotificationVersion,
	})
}

// assignFields gives each wanted search attribute that has none a free column
// of its type, in the order of names, so that the same wishes always lead to
// the same table.
func assignFields(have map[string]string, want map[string]enumspb.IndexedValueType) (aliases map[string]string, changed bool, err error) {
	columns := sadefs.GetDBIndexSearchAttributes(nil).CustomSearchAttributes
	aliases = maps.Clone(have)
	if aliases == nil {
		aliases = map[string]string{}
	}
	taken := map[string]string{} // alias → column
	for column, alias := range aliases {
		taken[alias] = column
	}
	free := slices.Sorted(maps.Keys(columns))
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if column, ok := taken[name]; ok {
			if columns[column] != want[name] {
				return nil, false, fmt.Errorf("search attribute %q exists with type %s, want %s", name, columns[column], want[name])
			}
			continue
		}
		i := slices.IndexFunc(free, func(column string) bool {
			_, used := aliases[column]
			return !used && columns[column] == want[name]
		})
		if i < 0 {
			return nil, false, fmt.Errorf("search attribute %q: every column of type %s is taken", name, want[name])
		}
		aliases[free[i]] = name
		changed = true
	}
	return aliases, changed, nil
}
