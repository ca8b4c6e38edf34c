package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/tenonhq/tenon/internal/cluster"
	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/token"
)

// The files of the audit log's signature, apart from its records.
const (
	auditDir = "audit"
	auditKey = "audit-signing.key"
	auditPub = "audit-signing.pub" // written beside the key
)

// OpenCerts opens the certificates of a data directory beside the processes
// that run on it; they read again what is changed within seconds.
func OpenCerts(dataDir string, log *slog.Logger) (*pki.Store, error) {
	return OpenCertsIn(filepath.Join(dataDir, "certs"), nil, log)
}

// OpenCertsIn opens a certs folder that may lie elsewhere, for a server with
// further hosts.
func OpenCertsIn(dir string, hosts []string, log *slog.Logger) (*pki.Store, error) {
	return pki.Open(pki.Config{Dir: dir, ExtraHosts: hosts, ConnectionAge: cluster.ConnectionAge, Logger: log})
}

// OpenIssuer opens the token issuer of a data directory in the same way.
func OpenIssuer(dataDir string, log *slog.Logger) (*token.Issuer, error) {
	return OpenIssuerIn(filepath.Join(dataDir, "certs"), log)
}

// OpenIssuerIn opens the token issuer of a certs folder.
func OpenIssuerIn(certs string, log *slog.Logger) (*token.Issuer, error) {
	if _, err := os.Stat(filepath.Join(certs, "temporal-jwt-private.key")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &config.Error{Problem: fmt.Sprintf("%s holds no signing key", certs), Hint: "tenon up makes it at its first start; or name another directory with --data-dir"}
		}
		return nil, err
	}
	return token.OpenIssuer(token.IssuerConfig{Dir: certs, Logger: log})
}

// NewVerifier verifies the tokens of an issuer as the cluster does.
func NewVerifier(issuer *token.Issuer) (*token.Verifier, error) {
	return token.NewVerifier(token.VerifierConfig{Issuers: []token.IssuerTrust{issuer.Trust()}, Revocations: issuer.Revocations()})
}

// AuditLog says where the audit log of a data directory is, and with which key
// its head is verified.
func AuditLog(dataDir string) (audit.VerifyConfig, error) {
	return AuditLogOf(PathsOf(dataDir, nil))
}

// AuditLogOf says the same of paths.
func AuditLogOf(p Paths) (audit.VerifyConfig, error) {
	dataDir, key := p.DataDir, filepath.Join(p.DataDir, auditKey)
	public, err := audit.ReadPublicKey(filepath.Join(dataDir, auditPub))
	if errors.Is(err, fs.ErrNotExist) {
		return audit.VerifyConfig{}, &config.Error{Problem: fmt.Sprintf("%s holds no audit log", dataDir), Hint: "name the cluster's data directory with --data-dir"}
	}
	if err != nil {
		return audit.VerifyConfig{}, err
	}
	return audit.VerifyConfig{Dir: p.Audit, HeadFile: audit.DefaultHeadFile(key), PublicKey: public}, nil
}
