package daemon

import (
	"path/filepath"

	"github.com/tenonhq/tenon/internal/config"
)

// Paths says where the files of a data directory lie, some of which the
// configuration may have put elsewhere: nodes of one cluster may share a certs
// folder, an audit log may have a volume of its own.
type Paths struct {
	// DataDir is the data directory itself.
	DataDir string
	// Certs holds certificates, the signing key and tokens.
	Certs string
	// Audit holds the records of decisions.
	Audit string
	// PayloadKeys is the file of keys that payloads are encrypted with.
	PayloadKeys string
}

// PathsOf returns the paths of a data directory; a nil file names none.
func PathsOf(dataDir string, f *config.File) Paths {
	p := Paths{
		DataDir:     dataDir,
		Certs:       filepath.Join(dataDir, "certs"),
		Audit:       filepath.Join(dataDir, auditDir),
		PayloadKeys: filepath.Join(dataDir, "payload.key"),
	}
	if f == nil {
		return p
	}
	for path, configured := range map[*string]string{&p.Certs: f.Certificates.Dir, &p.Audit: f.Audit.Dir, &p.PayloadKeys: f.Cluster.PayloadKeyFile} {
		if configured != "" {
			*path = configured
		}
	}
	return p
}

// certsFile returns the path of a file in the certs folder.
func (d *Daemon) certsFile(elem ...string) string {
	return filepath.Join(append([]string{d.paths().Certs}, elem...)...)
}

func (d *Daemon) paths() Paths { return PathsOf(d.dir.path, d.cfg.File) }
