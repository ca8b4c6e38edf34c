package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"

	enumspb "go.temporal.io/api/enums/v1"

	"github.com/tenonhq/tenon/internal/cluster"
	"github.com/tenonhq/tenon/internal/cluster/access"
	"github.com/tenonhq/tenon/internal/codec"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
)

// ClusterFromFile is the cluster's part as the configuration says it.
func ClusterFromFile(f *config.File) *ClusterConfig {
	return &ClusterConfig{
		Address:           f.Cluster.Address,
		Hosts:             f.Cluster.Hosts,
		ClientAuth:        f.Cluster.ClientAuth,
		OperationsAddress: f.Operations.Address,
		RulesFile:         f.Cluster.AccessRules,
		WebUI:             webUIFromFile(f),
	}
}

// nodeConfig adds to a cluster's configuration what only the file can say:
// persistence, roles, membership and namespaces.
func nodeConfig(ctx context.Context, d *Daemon, cfg *cluster.Config) error {
	f := d.cfg.File
	cfg.Persistence = cluster.Persistence{SQLite: d.dir.File("temporal.db")}
	if f.Persistence.SQLite != "" {
		cfg.Persistence.SQLite = f.Persistence.SQLite
	}
	if f.Persistence.PostgreSQL != nil {
		pg, err := Postgres(ctx, f, d.secrets)
		if err != nil {
			return err
		}
		cfg.Persistence = cluster.Persistence{Postgres: pg}
	}
	cfg.Services = f.Cluster.Services
	cfg.Shards = int32(f.Cluster.Shards) //nolint:gosec // at most 16384, checked by the configuration
	if m := f.Cluster.Membership; m != nil {
		cfg.Membership = &cluster.Membership{BindIP: m.BindIP, Ports: m.Ports}
	}
	cfg.Namespaces = namespaces(f.Cluster.Namespaces)
	cfg.Now = d.cfg.Now
	cfg.Trust = func() map[string][]string { return d.security.trust(d.paths().PayloadKeys) }
	return nil
}

// Postgres is the database that a configuration names, with its password.
func Postgres(ctx context.Context, f *config.File, stores secret.Stores) (*cluster.Postgres, error) {
	pg := f.Persistence.PostgreSQL
	password, err := f.Secret(ctx, pg.Password, stores)
	if err != nil {
		return nil, &config.Error{Problem: "persistence.postgresql.password", Err: err, Hint: "put the password where " + string(pg.Password) + " says, or correct the reference"}
	}
	out := &cluster.Postgres{
		Address: pg.Address, User: pg.User, Password: password,
		Database: pg.Database, VisibilityDatabase: pg.VisibilityDatabase,
		Plaintext: pg.Plaintext, MaxConns: pg.MaxConns,
	}
	if t := pg.TLS; t != nil {
		out.TLS = &cluster.PostgresTLS{CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, ServerName: t.ServerName}
	}
	return out, nil
}

func namespaces(list []config.Namespace) []cluster.Namespace {
	out := []cluster.Namespace{}
	if !slices.ContainsFunc(list, func(n config.Namespace) bool { return n.Name == Namespace }) {
		out = append(out, cluster.Namespace{Name: Namespace})
	}
	for _, n := range list {
		ns := cluster.Namespace{Name: n.Name, Retention: n.Retention, SearchAttributes: map[string]enumspb.IndexedValueType{}}
		for name, kind := range n.SearchAttributes {
			ns.SearchAttributes[name] = searchAttributeTypes[kind]
		}
		out = append(out, ns)
	}
	return out
}

// searchAttributeTypes are those of config.SearchAttributeTypes.
var searchAttributeTypes = map[string]enumspb.IndexedValueType{
	"Text":        enumspb.INDEXED_VALUE_TYPE_TEXT,
	"Keyword":     enumspb.INDEXED_VALUE_TYPE_KEYWORD,
	"Int":         enumspb.INDEXED_VALUE_TYPE_INT,
	"Double":      enumspb.INDEXED_VALUE_TYPE_DOUBLE,
	"Bool":        enumspb.INDEXED_VALUE_TYPE_BOOL,
	"Datetime":    enumspb.INDEXED_VALUE_TYPE_DATETIME,
	"KeywordList": enumspb.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}

// trust is what the nodes of a cluster must have in common. A payload key's
// fingerprint gives nothing away: the key is 32 random bytes.
func (s *security) trust(payloadKeys string) map[string][]string {
	out := map[string][]string{}
	for _, c := range s.certs.Show() {
		switch {
		case c.Kind != "authority":
		case c.Name == string(pki.InternodeCA):
			out["internode authority"] = append(out["internode authority"], c.Fingerprint)
		default:
			out["certificate authority"] = append(out["certificate authority"], c.Fingerprint)
		}
	}
	if s.issuer != nil {
		if set, err := s.issuer.Keys(context.Background()); err == nil {
			for _, k := range set.Keys() {
				out["token signing key"] = append(out["token signing key"], k.ID)
			}
		}
	}
	if keys, err := codec.LoadKeyFile(payloadKeys); err == nil {
		for _, k := range keys {
			sum := sha256.Sum256([]byte("tenon payload key\x00" + k.ID + "\x00" + k.Material.Reveal()))
			out["payload key"] = append(out["payload key"], hex.EncodeToString(sum[:]))
		}
	}
	return out
}

// Trusts are the foreign issuers of a configuration and of the environment.
func Trusts(f *config.File, lookup func(string) string) ([]token.IssuerTrust, error) {
	trusts, err := token.TrustsFromEnv(lookup, nil)
	if err != nil {
		return nil, &config.Error{Problem: "token issuers", Err: err, Hint: "correct these variables where the cluster runs"}
	}
	if expression := lookup("TEMPORAL_JWT_PERMISSIONS_EXPRESSION"); expression != "" {
		extract, err := access.PermissionsExpression(expression)
		if err != nil {
			return nil, &config.Error{Problem: "TEMPORAL_JWT_PERMISSIONS_EXPRESSION", Err: err, Hint: `it is CEL over claims, for example claims.groups.map(g, "default:" + g)`}
		}
		for i := range trusts {
			trusts[i].Permissions = extract
		}
	}
	var problems []error
	for i, is := range f.Issuers {
		t, err := issuerTrust(is)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: issuers[%d]: %w", f.Origin(fmt.Sprintf("issuers[%d]", i)), i, err))
			continue
		}
		trusts = append(trusts, t)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, &config.Error{Problem: "token issuers", Err: err, Hint: "correct " + f.Path()}
	}
	return trusts, nil
}

func issuerTrust(is config.Issuer) (token.IssuerTrust, error) {
	var roots *x509.CertPool
	if is.CAFile != "" {
		pem, err := os.ReadFile(is.CAFile)
		if err != nil {
			return token.IssuerTrust{}, err
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return token.IssuerTrust{}, fmt.Errorf("%s holds no certificate", is.CAFile)
		}
	}
	// The rules by which the environment's variables become a trust are the
	// file's too.
	values := map[string]string{"TEMPORAL_JWT_KEY_SOURCE1": is.KeySource, "TEMPORAL_JWT_ISSUER1": is.Issuer}
	if is.Refresh > 0 {
		values["TEMPORAL_JWT_KEY_REFRESH"] = is.Refresh.String()
	}
	values["TEMPORAL_JWT_AUDIENCE1"] = is.Audience[0]
	list, err := token.TrustsFromEnv(func(name string) string { return values[name] }, roots)
	if err != nil {
		return token.IssuerTrust{}, err
	}
	if len(list) != 1 {
		return token.IssuerTrust{}, errors.New("names no key source")
	}
	t := list[0]
	t.Audience, t.Namespaces = is.Audience, is.Namespaces
	if len(is.Algorithms) > 0 {
		t.Algorithms = is.Algorithms
	}
	if is.SubjectClaim != "" {
		t.SubjectClaim = is.SubjectClaim
	}
	if is.IDClaim != "" {
		t.IDClaim = is.IDClaim
	}
	if is.PermissionsClaim != "" {
		t.Permissions = token.FromClaims(is.PermissionsClaim)
	}
	if is.PermissionsExpression != "" {
		if t.Permissions, err = access.PermissionsExpression(is.PermissionsExpression); err != nil {
			return token.IssuerTrust{}, fmt.Errorf("permissionsExpression: %w", err)
		}
	}
	return t, nil
}

// Init makes what is missing in a data directory, so that it can be copied to
// the other nodes of a cluster before the first of them starts: authorities,
// certificates, the signing key, the three tokens, and the payload key.
func Init(ctx context.Context, paths Paths, certs *pki.Store) error {
	if err := certs.Init(ctx); err != nil {
		return err
	}
	issuer, err := token.OpenIssuer(token.IssuerConfig{Dir: paths.Certs})
	if err != nil {
		return err
	}
	if err := issuer.Init(ctx); err != nil {
		return err
	}
	_, err = codec.LoadOrCreateKeyFile(paths.PayloadKeys)
	return err
}
