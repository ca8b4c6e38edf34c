package daemon

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/cluster"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/pki"
)

// certificates looks at the files themselves, because a store keeps the last
// good one in force and would not tell.
func (d *doctor) certificates() {
	roots := map[string]*x509.CertPool{}
	for _, name := range []string{string(pki.CA), string(pki.InternodeCA)} {
		path := filepath.Join(d.Paths.Certs, name+".crt")
		certs, err := readCertificates(path)
		if err != nil {
			d.unreadable(path, d.tenon("certs", "init"), err)
			continue
		}
		pool := x509.NewCertPool()
		for _, c := range certs {
			pool.AddCert(c)
		}
		roots[name] = pool
	}
	for _, leaf := range []struct {
		name, authority string
		usage           x509.ExtKeyUsage
	}{
		{pki.ServerLeaf, string(pki.CA), x509.ExtKeyUsageServerAuth},
		{pki.ClientLeaf, string(pki.CA), x509.ExtKeyUsageClientAuth},
		{pki.InternodeLeaf, string(pki.InternodeCA), x509.ExtKeyUsageServerAuth},
	} {
		d.leaf(leaf.name, roots[leaf.authority], leaf.usage)
	}
}

func (d *doctor) unreadable(path, fix string, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		d.found("certificate-missing", path, fix, "the file is missing")
		return
	}
	d.found("certificate-unreadable", path, fix, "%v", err)
}

// replace is how a pair that is not to be trusted is put aside and made anew.
func (d *doctor) replace(crt, key string) string {
	return shell("mv", crt, crt+".bad") + "; " + shell("mv", key, key+".bad") + "; " + d.tenon("certs", "init")
}

func (d *doctor) leaf(name string, roots *x509.CertPool, usage x509.ExtKeyUsage) {
	crt, key := filepath.Join(d.Paths.Certs, name+".crt"), filepath.Join(d.Paths.Certs, name+".key")
	certs, err := readCertificates(crt)
	if err != nil {
		d.unreadable(crt, d.replaceUnlessAbsent(crt, key, err), err)
		return
	}
	keyText, err := os.ReadFile(key)
	if err != nil {
		d.unreadable(key, d.replaceUnlessAbsent(crt, key, nil), err)
		return
	}
	c, rotate := certs[0], d.tenon("certs", "rotate", "--leaf", name)
	if !fits(c, keyText) {
		d.found("key-mismatch", key, rotate, "the key does not belong to %s", filepath.Base(crt))
		return
	}
	if roots == nil {
		return // that is the finding
	}
	intermediates := x509.NewCertPool()
	for _, more := range certs[1:] {
		intermediates.AddCert(more)
	}
	_, err = c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2), KeyUsages: []x509.ExtKeyUsage{usage}})
	now := d.Now()
	switch {
	case err != nil:
		d.found("certificate-authority", crt, d.replace(crt, key), "it was issued by another authority, %s: %v", c.Issuer, err)
	case now.After(c.NotAfter):
		d.found("certificate-expired", crt, rotate, "it expired on %s", c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		d.found("clock-skew", crt, "timedatectl set-ntp true", "it is valid from %s, which this machine's clock says is in the future", c.NotBefore.UTC().Format(time.RFC3339))
	case d.certs.CheckPeer(c) != nil:
		d.found("certificate-revoked", crt, rotate, "%v", d.certs.CheckPeer(c))
	case name == pki.ServerLeaf:
		d.names(crt, c)
	}
}

// replaceUnlessAbsent makes a pair of which nothing or only a key is left, and
// puts any other aside first.
func (d *doctor) replaceUnlessAbsent(crt, key string, err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return d.tenon("certs", "init")
	}
	if _, kerr := os.Stat(key); errors.Is(kerr, fs.ErrNotExist) {
		return shell("mv", crt, crt+".bad") + "; " + d.tenon("certs", "init")
	}
	return d.replace(crt, key)
}

// names finds names by which the server is called and that its certificate
// lacks.
func (d *doctor) names(crt string, c *x509.Certificate) {
	want := append([]string{pki.ServerName}, d.File.Cluster.Hosts...)
	if host, _, err := net.SplitHostPort(d.Address); err == nil {
		if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
			want = append(want, host)
		}
	}
	var missing []string
	for _, name := range want {
		if c.VerifyHostname(name) != nil && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		d.found("certificate-name", crt, d.tenon("certs", "init", "--host", strings.Join(missing, ",")),
			"it lacks %s: clients that check the name they call will refuse the server", strings.Join(missing, ", "))
	}
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("it holds no certificate")
	}
	return certs, nil
}

func fits(c *x509.Certificate, keyText []byte) bool {
	pair, err := tls.X509KeyPair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), keyText)
	if err != nil {
		return false
	}
	_, ok := pair.PrivateKey.(crypto.Signer)
	return ok
}

// served compares the certificate that answers at the address with what the
// files here trust: an address can be served by another cluster.
func (d *doctor) served(ctx context.Context) {
	if e, err := config.ReadEndpoints(d.Paths.DataDir); err == nil && e.Cluster != nil && e.Cluster.Plaintext {
		return
	}
	ca := filepath.Join(d.Paths.Certs, "ca.crt")
	certs, err := readCertificates(ca)
	if err != nil {
		return // found before
	}
	roots := x509.NewCertPool()
	for _, c := range certs {
		roots.AddCert(c)
	}
	var shown []*x509.Certificate
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: pki.ServerName, NextProtos: []string{"h2"},
		// Nothing is sent over this connection: it is made to see what is shown,
		// which is then verified to the end.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			shown = s.PeerCertificates
			return nil
		},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", d.Address)
	if err == nil {
		err = conn.Close()
	}
	host, _, _ := net.SplitHostPort(d.Address) // it was just dialled
	start := d.tenon("server", "--address", net.JoinHostPort(host, "0"))
	if len(shown) == 0 {
		d.found("handshake-failed", d.Address, start, "something else listens there, that does not speak TLS (%v); the cluster of this data directory can be started on a free port", err)
		return
	}
	intermediates := x509.NewCertPool()
	for _, c := range shown[1:] {
		intermediates.AddCert(c)
	}
	if _, err := shown[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: pki.ServerName, CurrentTime: d.Now()}); err != nil {
		d.found("handshake-failed", d.Address, start, "the server there shows a certificate of %s, for which %s does not vouch: another cluster listens there (%v); that of this data directory can be started on a free port", shown[0].Issuer, ca, err)
	}
}

// keySources asks the issuers for their keys, and what time it is there.
func (d *doctor) keySources(ctx context.Context) error {
	trusts, err := Trusts(d.File, d.Lookup)
	if err != nil {
		return err
	}
	for _, t := range trusts {
		source := t.Keys.String()
		ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
		_, err := t.Keys.Keys(ctx)
		index := slices.IndexFunc(d.File.Issuers, func(is config.Issuer) bool { return is.KeySource == source })
		client, cerr := d.issuerClient(index)
		if cerr != nil {
			cancel()
			return cerr
		}
		if err != nil {
			d.found("key-source", source, d.keySourceFix(ctx, client, t.Issuer, source, index), "the keys of issuer %s cannot be read: %v", t.Issuer, err)
		} else if strings.HasPrefix(source, "https://") {
			d.issuerClock(ctx, client, source)
		}
		cancel()
	}
	return nil
}

func (d *doctor) issuerClient(index int) (*http.Client, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if index >= 0 && d.File.Issuers[index].CAFile != "" {
		text, err := os.ReadFile(d.File.Issuers[index].CAFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(text)
	}
	return &http.Client{Transport: transport, Timeout: doctorTimeout}, nil
}

// keySourceFix corrects the address if the issuer itself announces another one;
// otherwise it can only show how the fetch fails.
func (d *doctor) keySourceFix(ctx context.Context, client *http.Client, issuer, source string, index int) string {
	fallback := shell("curl", "--fail", "--show-error", "--silent", "--output", "/dev/null", source)
	if !strings.HasPrefix(source, "https://") {
		fallback = shell("ls", "-l", strings.TrimPrefix(source, "file://"))
	}
	announced := discover(ctx, client, issuer)
	if announced == "" || announced == source || index < 0 || d.File.Path() == "" {
		return fallback
	}
	return shell("sed", "-i", "s|"+sedQuote(source)+"|"+announced+"|", d.File.Path())
}

// sedQuote makes text stand for itself in an expression of sed.
func sedQuote(s string) string {
	return strings.NewReplacer(`\`, `\\`, ".", `\.`, "*", `\*`, "[", `\[`, "|", `\|`, "^", `\^`, "$", `\$`).Replace(s)
}

// discover returns the key set's URL from the issuer's own document (OpenID
// Connect Discovery 1.0 §4), or "".
func discover(ctx context.Context, client *http.Client, issuer string) string {
	if !strings.HasPrefix(issuer, "https://") {
		return ""
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return ""
	}
	res, err := client.Do(req)
	if err != nil {
		return ""
	}
	defer res.Body.Close() //nolint:errcheck // read only
	var doc struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, 256<<10))
	if err != nil || json.NewDecoder(bytes.NewReader(text)).Decode(&doc) != nil || doc.Issuer != issuer {
		return ""
	}
	// It ends up in a command line for a person to run.
	u, err := url.Parse(doc.Keys)
	if err != nil || u.Scheme != "https" || strings.ContainsAny(doc.Keys, "|&\\\n'") {
		return ""
	}
	return doc.Keys
}

func (d *doctor) issuerClock(ctx context.Context, client *http.Client, source string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return
	}
	before := d.Now()
	res, err := client.Do(req)
	if err != nil {
		return // it answered a moment ago
	}
	_ = res.Body.Close()
	theirs, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return
	}
	// A cached answer bears the time at which it was made.
	if res.Header.Get("Age") != "" {
		return
	}
	if skew := before.Sub(theirs); skew.Abs() > cluster.MaxClockSkew+doctorTimeout {
		u, _ := url.Parse(source) // it was just fetched
		d.clock(fmt.Sprintf("issuer at %s", u.Host), skew)
	}
}
