package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenonhq/tenon/internal/secret"
)

// EndpointsFile is the name of the file in the data directory.
const EndpointsFile = "endpoints.json"

// Endpoints says where the parts of a running Tenon listen. It is written once
// everything listens, and removed on a clean stop.
type Endpoints struct {
	PID     int               `json:"pid"`
	Cluster *ClusterEndpoints `json:"cluster,omitempty"`
	Auth0   *Auth0Endpoints   `json:"auth0,omitempty"`
}

// ClusterEndpoints is the Temporal cluster's part.
type ClusterEndpoints struct {
	// Address is host:port of the frontend (gRPC).
	Address   string `json:"address"`
	Namespace string `json:"namespace"`
	// CA is the file of certificates to trust.
	CA string `json:"ca"`
	// WebUI is where browsers find the Web UI.
	WebUI string `json:"webUI,omitempty"`
	// Operations is where the keys of the cluster's tokens and metrics are served.
	Operations string `json:"operations,omitempty"`
	// Login is how people get tokens for the cluster; nil if this process does not
	// know.
	Login *LoginEndpoints `json:"login,omitempty"`
	// Plaintext says that the cluster was started without TLS, on purpose.
	Plaintext bool `json:"plaintext,omitempty"`
}

// LoginEndpoints is the application that `tenon login` signs people in with.
type LoginEndpoints struct {
	Issuer   string `json:"issuer"`
	ClientID string `json:"clientId"`
	Audience string `json:"audience,omitempty"`
	// CA is the file of certificates to trust for the issuer.
	CA string `json:"ca,omitempty"`
}

// Auth0Endpoints is the tenant's part. ClientSecretFile and Control are set for
// the simulator only.
type Auth0Endpoints struct {
	Domain           string `json:"domain"`
	CA               string `json:"ca,omitempty"`
	ClientID         string `json:"clientId"`
	ClientSecretFile string `json:"clientSecretFile,omitempty"`
	Control          string `json:"control,omitempty"`
}

// ReadEndpoints reads the file of a data directory. When nothing runs there the
// error wraps fs.ErrNotExist.
func ReadEndpoints(dataDir string) (*Endpoints, error) {
	path := filepath.Join(dataDir, EndpointsFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var e Endpoints
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &e, nil
}

// WriteEndpoints writes the file whole or not at all.
func WriteEndpoints(dataDir string, e Endpoints) error {
	data, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return secret.WriteFile(filepath.Join(dataDir, EndpointsFile), append(data, '\n'))
}

// RemoveEndpoints removes the file; that it is absent is no error.
func RemoveEndpoints(dataDir string) error {
	if err := os.Remove(filepath.Join(dataDir, EndpointsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
