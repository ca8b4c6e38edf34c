package config

import (
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// File is tenon.yaml: everything that an operator decides about a cluster, in
// one file. Every field has a default, every scalar an environment variable
// (its path in capitals after TENON_: cluster.clientAuth is
// TENON_CLUSTER_CLIENT_AUTH), and secrets are references. Paths in the file are
// relative to the file, paths elsewhere to the working directory.
//
// The yaml tags are the keys; a tag path marks a path, secret a reference.
type File struct {
	// DataDir holds all state that is not named elsewhere. Defaults to .tenon in
	// the working directory.
	DataDir string `yaml:"dataDir,omitempty" kind:"path"`
	// Log says what is logged on stderr.
	Log Log `yaml:"log,omitempty"`
	// Cluster is the Temporal cluster's part of this process.
	Cluster ClusterFile `yaml:"cluster,omitempty"`
	// Persistence is where the cluster keeps its state. Defaults to SQLite in the
	// data directory.
	Persistence Persistence `yaml:"persistence,omitempty"`
	// Certificates are the authorities' and the cluster's own.
	Certificates Certificates `yaml:"certificates,omitempty"`
	// Issuers are further issuers whose tokens are accepted, besides the cluster's
	// own. Those that TEMPORAL_JWT_KEY_SOURCE1 and the like name are added.
	Issuers []Issuer `yaml:"issuers,omitempty"`
	// Audit is the record of decisions.
	Audit Audit `yaml:"audit,omitempty"`
	// Operations serves keys and metrics.
	Operations Operations `yaml:"operations,omitempty"`
	// WebUI is the Web UI and how people sign in to it.
	WebUI WebUI `yaml:"webUI,omitempty"`

	path    string
	origins map[string]Origin
}

// Log says what is logged.
type Log struct {
	// Level is debug, info, warn or error. Defaults to warn.
	Level string `yaml:"level,omitempty"`
	// Format is text or json. Defaults to text.
	Format string `yaml:"format,omitempty"`
}

// ClusterFile is the Temporal cluster's part of one process.
type ClusterFile struct {
	// Address is host:port of the frontend. Defaults to 127.0.0.1:7233.
	Address string `yaml:"address,omitempty"`
	// Hosts are further names and addresses in the server's certificate.
	Hosts []string `yaml:"hosts,omitempty"`
	// ClientAuth is certificate-and-token, certificate-or-token or token-only.
	// Defaults to certificate-and-token.
	ClientAuth string `yaml:"clientAuth,omitempty"`
	// AccessRules is a file of rules that narrow what roles allow.
	AccessRules string `yaml:"accessRules,omitempty" kind:"path"`
	// PayloadKeyFile holds the keys that payloads are encrypted with. Defaults to
	// payload.key in the data directory.
	PayloadKeyFile string `yaml:"payloadKeyFile,omitempty" kind:"path"`
	// Services that this process runs: frontend, internal-frontend, history,
	// matching, worker. Defaults to all.
	Services []string `yaml:"services,omitempty"`
	// Membership joins several processes into one cluster. Defaults to a cluster
	// of this process alone.
	Membership *Membership `yaml:"membership,omitempty"`
	// Shards is the number of history shards, fixed when the database is made.
	// Defaults to 1 on SQLite and 128 on PostgreSQL.
	Shards int `yaml:"shards,omitempty"`
	// Namespaces exist once the cluster has started. "default", where Tenon's own
	// workflows run, is always one of them.
	Namespaces []Namespace `yaml:"namespaces,omitempty"`
}

// Membership is how the processes of a cluster find each other.
type Membership struct {
	// BindIP is the address of this process towards the others. Required.
	BindIP string `yaml:"bindIP,omitempty"`
	// Ports are the gRPC ports of history, matching, internal-frontend and worker;
	// 300 below each, and below the frontend's, gossip is exchanged. The same on
	// every node. Default to 7234, 7235, 7236 and 7239.
	Ports map[string]int `yaml:"ports,omitempty"`
}

// Namespace is a namespace of the cluster.
type Namespace struct {
	Name string `yaml:"name,omitempty"`
	// Retention is how long closed workflows are kept. Defaults to 168h.
	Retention time.Duration `yaml:"retention,omitempty"`
	// SearchAttributes by name: Keyword, Text, Int, Double, Bool, Datetime or
	// KeywordList.
	SearchAttributes map[string]string `yaml:"searchAttributes,omitempty"`
}

// Persistence is one of its two fields.
type Persistence struct {
	// SQLite is the path of a file. Defaults to temporal.db in the data directory.
	SQLite string `yaml:"sqlite,omitempty" kind:"path"`
	// PostgreSQL is for more than one machine can carry.
	PostgreSQL *PostgreSQL `yaml:"postgresql,omitempty"`
}

// PostgreSQL is a server with two databases, made and upgraded by the cluster.
type PostgreSQL struct {
	// Address is host:port. Required.
	Address string `yaml:"address,omitempty"`
	// User is required.
	User string `yaml:"user,omitempty"`
	// Password refers to the password. Defaults to none.
	Password secret.Ref `yaml:"password,omitempty"`
	// Database and VisibilityDatabase default to temporal and temporal_visibility.
	Database           string `yaml:"database,omitempty"`
	VisibilityDatabase string `yaml:"visibilityDatabase,omitempty"`
	// TLS verifies the server. Required unless the address is on loopback or
	// plaintext is true.
	TLS *PostgreSQLTLS `yaml:"tls,omitempty"`
	// Plaintext permits a connection to another machine without TLS.
	Plaintext bool `yaml:"plaintext,omitempty"`
	// MaxConns bounds the connections of each service to each of the two databases.
	// Defaults to 20.
	MaxConns int `yaml:"maxConns,omitempty"`
}

// PostgreSQLTLS are PEM files, read again for each new connection.
type PostgreSQLTLS struct {
	// CAFile holds the roots to trust. Defaults to the system's.
	CAFile string `yaml:"caFile,omitempty" kind:"path"`
	// CertFile and KeyFile are a client certificate, if the server asks for one.
	CertFile string `yaml:"certFile,omitempty" kind:"path"`
	KeyFile  string `yaml:"keyFile,omitempty" kind:"path"`
	// ServerName defaults to the host of the address.
	ServerName string `yaml:"serverName,omitempty"`
}

// Certificates says where the certs folder is.
type Certificates struct {
	// Dir holds authorities, certificates and the token signing key. Nodes of one
	// cluster may share it, or have copies. Defaults to certs in the data directory.
	Dir string `yaml:"dir,omitempty" kind:"path"`
}

// Issuer is whose tokens are accepted.
type Issuer struct {
	// Issuer is the exact "iss". May be left out where keySource determines it:
	// Auth0 and Entra ID.
	Issuer string `yaml:"issuer,omitempty"`
	// KeySource is the key set: an https URL, a file:// URL or a path. Required.
	KeySource string `yaml:"keySource,omitempty"`
	// CAFile holds the roots to trust for keySource. Defaults to the system's.
	CAFile string `yaml:"caFile,omitempty" kind:"path"`
	// Audience is who the tokens must be for. Required.
	Audience []string `yaml:"audience,omitempty"`
	// Algorithms default to RS256.
	Algorithms []string `yaml:"algorithms,omitempty"`
	// Refresh is how often keySource is fetched. Defaults to 15m.
	Refresh time.Duration `yaml:"refresh,omitempty"`
	// PermissionsClaim holds permissions. Defaults to permissions and scope.
	PermissionsClaim string `yaml:"permissionsClaim,omitempty"`
	// PermissionsExpression computes permissions from claims, in CEL.
	PermissionsExpression string `yaml:"permissionsExpression,omitempty"`
	// Namespaces limits where this issuer may grant. Defaults to everywhere.
	Namespaces []string `yaml:"namespaces,omitempty"`
	// SubjectClaim defaults to sub, IDClaim to jti (uti for Entra ID).
	SubjectClaim string `yaml:"subjectClaim,omitempty"`
	IDClaim      string `yaml:"idClaim,omitempty"`
}

// Audit is the record of decisions.
type Audit struct {
	// Dir holds the records. Defaults to audit in the data directory.
	Dir string `yaml:"dir,omitempty" kind:"path"`
	// Keep is how long records are kept at least. Defaults to for ever.
	Keep time.Duration `yaml:"keep,omitempty"`
}

// Operations serves the keys of the cluster's tokens and metrics.
type Operations struct {
	// Address is host:port. Defaults to nowhere.
	Address string `yaml:"address,omitempty"`
}

// WebUI is the Web UI.
type WebUI struct {
	// Address is host:port where browsers connect. Defaults to nowhere for a
	// server.
	Address string `yaml:"address,omitempty"`
	// PublicURL is what browsers use. Defaults to https:// and the address.
	PublicURL string `yaml:"publicURL,omitempty"`
	// OIDC is how people sign in. Required with an address.
	OIDC *OIDC `yaml:"oidc,omitempty"`
}

// OIDC is an application at an identity provider.
type OIDC struct {
	// Issuer and ClientID are required.
	Issuer   string `yaml:"issuer,omitempty"`
	ClientID string `yaml:"clientId,omitempty"`
	// ClientSecret refers to the secret. Required for a confidential client.
	ClientSecret secret.Ref `yaml:"clientSecret,omitempty"`
	// Scopes default to openid, profile, email and offline_access.
	Scopes []string `yaml:"scopes,omitempty"`
	// Audience is the audience parameter that Auth0 knows. Defaults to none.
	Audience string `yaml:"audience,omitempty"`
	// CAFile holds the roots to trust for the issuer. Defaults to the system's.
	CAFile string `yaml:"caFile,omitempty" kind:"path"`
	// GroupsClaim of the ID token names the groups of a person. Defaults to groups.
	GroupsClaim string `yaml:"groupsClaim,omitempty"`
	// Groups says who may sign in, and with which permissions: group to a list of
	// <namespace>:<role>.
	Groups map[string][]string `yaml:"groups,omitempty"`
	// PermissionsClaim holds permissions themselves. Defaults to none.
	PermissionsClaim string `yaml:"permissionsClaim,omitempty"`
	// SessionTTL is the longest session, IdleTTL the longest pause in one. Default
	// to 12h and 1h.
	SessionTTL time.Duration `yaml:"sessionTTL,omitempty"`
	IdleTTL    time.Duration `yaml:"idleTTL,omitempty"`
	// Name is what the sign-in page calls the provider. Defaults to its host.
	Name string `yaml:"name,omitempty"`
	// PermissionsFrom is where permissionsClaim stands: id_token, access_token or
	// userinfo. Defaults to access_token with an audience, else to id_token.
	PermissionsFrom string `yaml:"permissionsFrom,omitempty"`
	// PermissionsExpression computes permissions from claims, in CEL.
	PermissionsExpression string `yaml:"permissionsExpression,omitempty"`
	// SubjectClaim names a person. Defaults to sub; oid for Entra ID.
	SubjectClaim string `yaml:"subjectClaim,omitempty"`
	// EndSessionURL signs people out at a provider that does not announce it.
	EndSessionURL string `yaml:"endSessionURL,omitempty"`
	// RenewEvery is how long permissions are believed, GraceTTL how long sessions
	// go on while the provider cannot be reached. Default to 15m and 1h.
	RenewEvery time.Duration `yaml:"renewEvery,omitempty"`
	GraceTTL   time.Duration `yaml:"graceTTL,omitempty"`
}

// Path is where the file was read, "" when there was none.
func (f *File) Path() string { return f.path }

// Origin says where the value at a path such as "cluster.address" comes from;
// it is zero for a default.
func (f *File) Origin(path string) Origin { return f.origins[path] }
