package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

const ledgerFile = "issued.jsonl"

// Entry is one line of the ledger: a certificate that was signed.
type Entry struct {
	IssuedAt       time.Time `json:"issuedAt"`
	Authority      Authority `json:"authority"`
	AuthorityKeyID string    `json:"authorityKeyId"` // hexadecimal
	Serial         string    `json:"serial"`         // hexadecimal
	Role           Role      `json:"role"`
	Name           string    `json:"name"`
	DNS            []string  `json:"dns,omitempty"`
	IPs            []string  `json:"ips,omitempty"`
	URIs           []string  `json:"uris,omitempty"`
	NotBefore      time.Time `json:"notBefore"`
	NotAfter       time.Time `json:"notAfter"`
	Fingerprint    string    `json:"fingerprintSha256"`
	// Leaf is the stem of the file that the certificate was made for, if it is
	// one of the store's own.
	Leaf string `json:"leaf,omitempty"`
}

func (e Entry) of(c *x509.Certificate, now time.Time) Entry {
	info := describe(e.Name, c)
	e.IssuedAt = now.UTC().Truncate(time.Second)
	e.AuthorityKeyID = info.AuthorityKeyID
	e.Serial = info.Serial
	e.DNS, e.IPs, e.URIs = info.DNS, info.IPs, info.URIs
	e.NotBefore, e.NotAfter = info.NotBefore, info.NotAfter
	e.Fingerprint = info.Fingerprint
	return e
}

// record appends to the ledger and syncs it, before the certificate is given
// to anyone: one that nobody knows of could never be revoked. The caller holds
// the lock.
func (s *Store) record(e Entry) (err error) {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write %s: %w", ledgerFile, err)
	}
	f, err := os.OpenFile(s.path(ledgerFile), os.O_CREATE|os.O_RDWR, keyMode)
	if err != nil {
		return fmt.Errorf("write %s: %w", ledgerFile, err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("write %s: %w", ledgerFile, cerr)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("write %s: %w", ledgerFile, err)
	}
	end := info.Size()
	if end > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], end-1); err != nil {
			return fmt.Errorf("write %s: %w", ledgerFile, err)
		}
		if last[0] != '\n' { // a crash broke off the line before; its certificate was never given out
			line = append([]byte{'\n'}, line...)
		}
	}
	if _, err := f.WriteAt(append(line, '\n'), end); err != nil {
		return fmt.Errorf("write %s: %w", ledgerFile, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", ledgerFile, err)
	}
	if end == 0 {
		return secret.SyncDir(s.cfg.Dir)
	}
	return nil
}

// Ledger returns every certificate ever signed, oldest first.
func (s *Store) Ledger() ([]Entry, error) {
	text, err := os.ReadFile(s.path(ledgerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	return parseLedger(text)
}

// parseLedger reads the ledger. A line that broke off is the trace of a crash
// and stands for no certificate; any other line that does not parse is an
// error.
func parseLedger(text []byte) ([]Entry, error) {
	var entries []Entry
	for n, line := range bytes.Split(text, []byte{'\n'}) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) && syntax.Offset >= int64(len(line)) {
				continue
			}
			return nil, fmt.Errorf("%s:%d: %w", ledgerFile, n+1, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}
