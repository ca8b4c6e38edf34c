package token

import (
	"fmt"
	"os"
)

// The files of an Issuer's folder.
const (
	privateKeyFile  = "temporal-jwt-private.key"
	publicKeyFile   = "temporal-jwt-public.key"
	keySetFile      = "temporal-jwt-keys.json"
	ledgerFile      = "temporal-jwt-issued.jsonl"
	revocationsFile = "temporal-jwt-revoked.json"
	lockFile        = ".temporal-jwt.lock"

	// SystemTokenFile, WorkerTokenFile and ClientTokenFile hold the tokens that an
	// Issuer keeps fresh.
	SystemTokenFile = "system-token.jwt"
	WorkerTokenFile = "worker-token.jwt"
	ClientTokenFile = "client-token.jwt"
)

// checkPrivate refuses a secret file that others can read or write. The group
// may read: container platforms mount secrets that way.
func checkPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o027 != 0 {
		return fmt.Errorf("%s: mode %04o lets others in (chmod 600)", path, info.Mode().Perm())
	}
	return nil
}
