package secret

import (
	"fmt"
	"strings"
)

// Ref points to a secret: "<store>:<name>", for example "env:AUTH0_CLIENT_SECRET",
// "dotenv:GRAFANA_CLIENT_SECRET", "vault:secret/auth0#client_secret" or
// "azurekv:my-vault/auth0-secret". A Ref is not itself secret.
type Ref string

// ParseRef checks that text has the form of a reference. Which stores exist is
// known only to the Stores that resolve it.
func ParseRef(text string) (Ref, error) {
	store, name, ok := strings.Cut(text, ":")
	if !ok || store == "" || name == "" {
		return "", fmt.Errorf("secret reference has not the form store:name (env:NAME, dotenv:KEY, vault:mount/path#field, azurekv:vault/name)")
	}
	return Ref(text), nil
}

// Store is the part before the colon.
func (r Ref) Store() string { s, _, _ := strings.Cut(string(r), ":"); return s }

// Name is the part after the colon.
func (r Ref) Name() string { _, n, _ := strings.Cut(string(r), ":"); return n }

// String returns the reference as written.
func (r Ref) String() string { return string(r) }
