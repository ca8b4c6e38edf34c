package token

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// Issued is the record of an issued token: what is needed to list and to revoke
// it, and not the token.
type Issued struct {
	ID          string    `json:"jti"`
	Subject     string    `json:"sub"`
	Permissions []string  `json:"permissions"`
	IssuedAt    time.Time `json:"iat"`
	Expires     time.Time `json:"exp"`
	KeyID       string    `json:"kid"`
	Revoked     bool      `json:"-"`
}

// compactAbove is the ledger's size that triggers dropping expired records.
const compactAbove = 1 << 20

// record appends to the ledger. The caller holds the lock. A token is handed
// out only after it is recorded, so that Rotate knows how long its key is needed.
func (i *Issuer) record(c *Claims) error {
	entry := Issued{ID: c.ID, Subject: c.Subject, IssuedAt: c.IssuedAt, Expires: c.Expires, KeyID: c.KeyID}
	for _, p := range c.Permissions {
		entry.Permissions = append(entry.Permissions, p.String())
	}
	line, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	path := i.path(ledgerFile)
	if info, err := os.Stat(path); err == nil && info.Size() > compactAbove {
		if err := i.compact(); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

func (i *Issuer) compact() error {
	list, err := i.readLedger()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, e := range list {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	return secret.WriteFile(i.path(ledgerFile), b.Bytes())
}

// readLedger returns the records of tokens that have not expired.
func (i *Issuer) readLedger() ([]Issued, error) {
	f, err := os.Open(i.path(ledgerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	now := i.cfg.Now()
	var list []Issued
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e Issued
		// A line cut short by a crash belongs to a token that was never handed out.
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		if e.Expires.After(now) {
			list = append(list, e)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", i.path(ledgerFile), err)
	}
	return list, nil
}

// lastExpiries returns, for each signing key, when its last token expires.
func (i *Issuer) lastExpiries() (map[string]time.Time, error) {
	list, err := i.readLedger()
	if err != nil {
		return nil, err
	}
	last := map[string]time.Time{}
	for _, e := range list {
		if e.Expires.After(last[e.KeyID]) {
			last[e.KeyID] = e.Expires
		}
	}
	return last, nil
}

// Tokens lists the issued tokens that have not expired, the oldest first.
func (i *Issuer) Tokens() ([]Issued, error) {
	list, err := i.readLedger()
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	for n, e := range list {
		list[n].Revoked = i.revocations.Revoked(&Claims{ID: e.ID, Subject: e.Subject, IssuedAt: e.IssuedAt, Issuer: i.cfg.Issuer})
	}
	return list, nil
}

// keptTokens are the tokens in the folder and what they are for.
var keptTokens = []struct{ file, scope string }{
	{SystemTokenFile, ScopeSystem}, {WorkerTokenFile, ScopeWorker}, {ClientTokenFile, ScopeClient},
}

// renewTokens replaces those of the three tokens that are missing, refused,
// signed with a retired key, or past two thirds of their life.
func (i *Issuer) renewTokens(ctx context.Context) error {
	verifier, err := NewVerifier(VerifierConfig{Issuers: []IssuerTrust{i.Trust()}, Revocations: i.revocations, Now: i.cfg.Now})
	if err != nil {
		return err
	}
	for _, t := range keptTokens {
		path := i.path(t.file)
		if data, err := readBounded(path, DefaultMaxSize); err == nil {
			c, err := verifier.Verify(ctx, strings.TrimSpace(string(data)))
			if err == nil && c.All["scope"] == t.scope && i.fresh(c) {
				continue
			}
		}
		raw, claims, err := i.Issue(ctx, IssueRequest{Subject: t.scope, Scope: t.scope, TTL: i.cfg.TokenTTL})
		if err != nil {
			return err
		}
		if err := i.writeToken(path, raw); err != nil {
			return err
		}
		i.cfg.Logger.Info("token renewed", "file", t.file, "jti", claims.ID, "expires", claims.Expires)
	}
	return nil
}

func (i *Issuer) fresh(c *Claims) bool {
	i.mu.Lock()
	current := i.signer != nil && i.signer.id == c.KeyID
	i.mu.Unlock()
	life := c.Expires.Sub(c.IssuedAt)
	return current && c.Expires.Sub(i.cfg.Now()) > life/3
}

func (i *Issuer) writeToken(path string, raw secret.Value) error {
	return secret.WriteFile(path, []byte(raw.Reveal()+"\n"))
}
