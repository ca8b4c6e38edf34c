package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/pki"
)

// TestHostileCallers sends what an attacker would to a running cluster. All of
// it is refused, each attempt that came as far as the handshake leaves one
// record, and somebody with good credentials is served throughout. Then the
// audit log is verified, and tampered with.
func TestHostileCallers(t *testing.T) {
	t.Parallel()
	s := startCluster(t)
	serving, stop := context.WithCancel(t.Context())
	load := startLoad(serving, t, s.dir, 50)

	h := newHostile(t, s)
	attempts := map[string]string{} // peer address → what was tried
	for name, raw := range h.tokens() {
		peer, err := h.call(t, h.good, raw)
		require.Equal(t, codes.PermissionDenied, status.Code(err), "%s: %v", name, err)
		require.NotContains(t, err.Error(), "goroutine", "%s: a stack trace", name)
		require.NotContains(t, err.Error(), ".go:", "%s: a place in the source", name)
		attempts[peer] = name
	}
	for name, pair := range h.certificates(t) {
		peer, err := h.handshake(t, h.address, pair)
		require.Error(t, err, name)
		attempts[peer] = name
	}
	h.renegotiate(t)
	h.plaintext(t)

	load.reach(t, 50)
	stop()
	load.wait(t)
	s.stop() // writes what waits, and signs the head

	log, err := daemon.AuditLog(s.dir)
	require.NoError(t, err)
	records := map[string][]audit.Record{}
	require.NoError(t, audit.Scan(log.Dir, time.Time{}, func(r *audit.Record) error {
		if attempts[r.PeerAddress] != "" {
			records[r.PeerAddress] = append(records[r.PeerAddress], *r)
		}
		return nil
	}))
	for peer, name := range attempts {
		require.Len(t, records[peer], 1, "records of %s", name)
		require.NotEqual(t, audit.Allow, records[peer][0].Verdict, name)
		require.NotEmpty(t, records[peer][0].Reason, name)
	}
	report, err := audit.Verify(log)
	require.NoError(t, err)
	require.Empty(t, report.Findings)
	requireTamperingFound(t, log)
}

// TestClientAmongNodes shows a client's certificate at the ports on which the
// services of a cluster talk to each other. The cluster is a process of its own,
// so that its ports can be told from others'.
func TestClientAmongNodes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	server := tenon(t, "server", "--data-dir", dir, "--address", "127.0.0.1:0")
	require.NoError(t, server.Start())
	awaitFile(t, filepath.Join(dir, "endpoints.json"))
	endpoints, err := config.ReadEndpoints(dir)
	require.NoError(t, err)
	h := newHostile(t, &stack{dir: dir, endpoints: *endpoints})
	attempts := map[string]int{}
	for _, address := range h.internode(t, server.Process.Pid) {
		peer, err := h.handshake(t, address, h.good)
		require.Error(t, err, "a client certificate was taken for a node's at %s", address)
		attempts[peer] = 0
	}
	require.NoError(t, server.Process.Signal(os.Interrupt))
	require.NoError(t, server.Wait())

	log, err := daemon.AuditLog(dir)
	require.NoError(t, err)
	require.NoError(t, audit.Scan(log.Dir, time.Time{}, func(r *audit.Record) error {
		if _, ours := attempts[r.PeerAddress]; ours {
			require.NotEqual(t, audit.Allow, r.Verdict)
			attempts[r.PeerAddress]++
		}
		return nil
	}))
	for peer, records := range attempts {
		require.Equal(t, 1, records, "records of %s", peer)
	}
}

// requireTamperingFound damages copies of the log in each of the ways that
// verify promises to find.
func requireTamperingFound(t *testing.T, log audit.VerifyConfig) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(log.Dir, "audit-*.jsonl"))
	require.NoError(t, err)
	original, err := os.ReadFile(files[0])
	require.NoError(t, err)
	lines := bytes.SplitAfter(bytes.TrimSuffix(original, []byte("\n")), []byte("\n"))
	require.Greater(t, len(lines), 3)
	edited := bytes.Clone(original)
	edited[len(edited)/2] ^= 1
	for name, damaged := range map[string][]byte{
		"a one-byte edit": edited,
		"a removed line":  bytes.Join(append(append([][]byte{}, lines[:1]...), lines[2:]...), nil),
		"a cut tail":      bytes.Join(lines[:len(lines)-1], nil),
		"a removed file":  nil,
	} {
		damagedDir := filepath.Join(t.TempDir(), "audit")
		require.NoError(t, os.CopyFS(damagedDir, os.DirFS(log.Dir)))
		path := filepath.Join(damagedDir, filepath.Base(files[0]))
		if damaged == nil {
			require.NoError(t, os.Remove(path))
		} else {
			require.NoError(t, os.WriteFile(path, damaged, 0o600))
		}
		cfg := log
		cfg.Dir = damagedDir
		report, err := audit.Verify(cfg)
		if err == nil {
			require.NotEmpty(t, report.Findings, "%s was not found", name)
		}
	}
}

// hostile is an attacker who has stolen a good certificate, and knows all that
// is public.
type hostile struct {
	address string
	roots   *x509.CertPool
	good    *tls.Certificate
	key     *rsa.PrivateKey // the cluster's own: for tokens that are genuine but wrong
	public  []byte          // its public half, as published
	kid     string
	other   *rsa.PrivateKey // the attacker's
	dir     string          // the cluster's certificates
}

func newHostile(t *testing.T, s *stack) *hostile {
	t.Helper()
	certs := filepath.Join(s.dir, "certs")
	ca, err := os.ReadFile(filepath.Join(certs, "ca.crt"))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(ca))
	pair, err := tls.LoadX509KeyPair(filepath.Join(certs, "temporal-client.crt"), filepath.Join(certs, "temporal-client.key"))
	require.NoError(t, err)
	private, err := os.ReadFile(filepath.Join(certs, "temporal-jwt-private.key"))
	require.NoError(t, err)
	block, _ := pem.Decode(private)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	public, err := os.ReadFile(filepath.Join(certs, "temporal-jwt-public.key"))
	require.NoError(t, err)
	good, err := os.ReadFile(filepath.Join(certs, "client-token.jwt"))
	require.NoError(t, err)
	head, err := base64.RawURLEncoding.DecodeString(strings.Split(string(good), ".")[0])
	require.NoError(t, err)
	var header struct{ Kid string }
	require.NoError(t, json.Unmarshal(head, &header))
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return &hostile{address: s.endpoints.Cluster.Address, roots: roots, good: &pair, key: key.(*rsa.PrivateKey), public: public, kid: header.Kid, other: other, dir: certs}
}

// tokens are made by hand, without a library that would refuse to.
func (h *hostile) tokens() map[string]string {
	now := time.Now().Unix()
	claims := func(change map[string]any) string {
		c := map[string]any{
			"iss": "tenon", "aud": "temporal", "sub": "mallory", "jti": "mallory-1",
			"iat": now, "exp": now + 600, "permissions": []string{"temporal-system:admin"},
		}
		maps.Copy(c, change)
		for k, v := range c {
			if v == nil {
				delete(c, k)
			}
		}
		data, _ := json.Marshal(c)
		return string(data)
	}
	header := func(alg, kid string) string {
		return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, alg, kid)
	}
	own := func(payload string) string { return rs256(h.key, header("RS256", h.kid), payload) }
	unsigned := encode(header("none", h.kid)) + "." + encode(claims(nil)) + "."
	confused := encode(header("HS256", h.kid)) + "." + encode(claims(nil))
	mac := hmac.New(sha256.New, h.public)
	mac.Write([]byte(confused))
	return map[string]string{
		"alg none":                   unsigned,
		"HS256 with the public key":  confused + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"exp missing":                own(claims(map[string]any{"exp": nil})),
		"exp far in the future":      own(claims(map[string]any{"exp": now + 10*365*24*3600})),
		"expired":                    own(claims(map[string]any{"iat": now - 7200, "exp": now - 3600})),
		"wrong issuer":               own(claims(map[string]any{"iss": "https://evil.example/"})),
		"wrong audience":             own(claims(map[string]any{"aud": "somebody-else"})),
		"audience missing":           own(claims(map[string]any{"aud": nil})),
		"another key, our kid":       rs256(h.other, header("RS256", h.kid), claims(nil)),
		"unknown kid":                rs256(h.other, header("RS256", "elsewhere"), claims(nil)),
		"kid that is a path":         rs256(h.other, header("RS256", "../../../../etc/passwd"), claims(nil)),
		"key in the header":          rs256(h.other, `{"alg":"RS256","jku":"https://evil.example/jwks","x5u":"https://evil.example/","typ":"at+jwt","kid":"x"}`, claims(nil)),
		"duplicated claim":           own(strings.Replace(claims(nil), `"sub"`, `"permissions":["default:reader"],"sub"`, 1)),
		"permissions not a list":     own(claims(map[string]any{"permissions": map[string]any{"a": 1}})),
		"no permission at all":       own(claims(map[string]any{"permissions": []string{}})),
		"permission that is garbage": own(claims(map[string]any{"permissions": []string{":::", "default", "default:emperor"}})),
		"ID token":                   own(claims(map[string]any{"nonce": "n", "at_hash": "x", "permissions": nil})),
		"not yet valid":              own(claims(map[string]any{"nbf": now + 3600})),
		"garbage":                    "!!!!",
		"three dots":                 "...",
		"oversized":                  own(claims(map[string]any{"pad": strings.Repeat("x", 20<<10)})),
		"deep nesting":               own(claims(map[string]any{"deep": json.RawMessage(strings.Repeat("[", 5000) + strings.Repeat("]", 5000))})),
	}
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func rs256(key *rsa.PrivateKey, header, payload string) string {
	text := encode(header) + "." + encode(payload)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// certificates that must not be let in; nil is none at all.
func (h *hostile) certificates(t *testing.T) map[string]*tls.Certificate {
	t.Helper()
	issue := func(dir string, now time.Time, role pki.Role, ttl time.Duration) *tls.Certificate {
		store, err := pki.Open(pki.Config{Dir: dir, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		require.NoError(t, store.Init(t.Context()))
		issued, err := store.Issue(t.Context(), pki.IssueRequest{Role: role, Name: "mallory", TTL: ttl, DNS: dnsFor(role)})
		require.NoError(t, err)
		pair, err := tls.X509KeyPair(issued.CertificatePEM, []byte(issued.KeyPEM.Reveal()))
		require.NoError(t, err)
		return &pair
	}
	foreign := t.TempDir()
	return map[string]*tls.Certificate{
		"no certificate":                  nil,
		"certificate of a foreign CA":     issue(foreign, time.Now(), pki.RoleClient, time.Hour),
		"foreign and expired certificate": issue(t.TempDir(), time.Now().Add(-48*time.Hour), pki.RoleClient, time.Hour),
		"foreign server certificate":      issue(foreign, time.Now(), pki.RoleServer, time.Hour),
		"expired certificate of our CA":   h.expired(t),
	}
}

// expired is what is left in a drawer: a certificate that our own authority
// signed, and that ended an hour ago. It is made by hand, since the store issues
// none in the past.
func (h *hostile) expired(t *testing.T) *tls.Certificate {
	t.Helper()
	authority, err := tls.LoadX509KeyPair(filepath.Join(h.dir, "ca.crt"), filepath.Join(h.dir, "ca.key"))
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      h.good.Leaf.Subject,
		NotBefore:    now.Add(-2 * time.Hour),
		NotAfter:     now.Add(-time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, authority.Leaf, key.Public(), authority.PrivateKey)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// internode finds the ports on which a process's services talk to each other:
// those whose certificate is the internode authority's.
func (h *hostile) internode(t *testing.T, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, "internode-ca.crt"))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(text))
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	table, err := os.ReadFile(filepath.Join(proc, "net", "tcp"))
	if err != nil {
		t.Skipf("the list of open ports, /proc/PID/net/tcp, is absent: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(proc, "fd", "*"))
	require.NoError(t, err)
	own := map[string]bool{}
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil {
			own[target] = true
		}
	}
	var found []string
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "0A" || !own["socket:["+f[9]+"]"] { // listening, and its own
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		require.NoError(t, err)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		if address == h.address {
			continue
		}
		var leaf *x509.Certificate
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", address, &tls.Config{
			MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, NextProtos: []string{"h2"},
			VerifyConnection: func(state tls.ConnectionState) error {
				leaf = state.PeerCertificates[0]
				return nil
			}})
		if err == nil {
			conn.Close()
		}
		if leaf == nil {
			continue
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
			found = append(found, address)
		}
	}
	require.GreaterOrEqual(t, len(found), 4, "internode ports: %v", found)
	return found
}

// renegotiate asks for a new handshake on a connection of TLS 1.2, which Go's
// client cannot.
func (h *hostile) renegotiate(t *testing.T) {
	t.Helper()
	program, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	cmd := exec.CommandContext(t.Context(), program, "s_client", "-connect", h.address, "-tls1_2", "-alpn", "h2",
		"-CAfile", filepath.Join(h.dir, "ca.crt"), "-cert", filepath.Join(h.dir, "temporal-client.crt"), "-key", filepath.Join(h.dir, "temporal-client.key"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	// The server speaks first, with a frame of HTTP/2 after the end of s_client's
	// report; in the middle of a new handshake that frame would be the client's error.
	r := bufio.NewReader(output)
	for seen := false; ; {
		line, err := r.ReadString('\n')
		require.NoError(t, err, stderr.String())
		seen = seen || strings.Contains(line, "Extended master secret")
		if seen && line == "---\n" {
			break
		}
	}
	_, err = r.ReadByte()
	require.NoError(t, err)
	// "R" at the beginning of a line makes s_client renegotiate. Its input stays
	// open, so that it is the server that ends the connection.
	_, err = input.Write([]byte("R\n"))
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, r)
	require.NoError(t, err)
	require.Error(t, cmd.Wait())
	require.Contains(t, stderr.String(), "RENEGOTIATING")
	require.Contains(t, stderr.String(), "alert unexpected message", "the server goes on")
}

func dnsFor(role pki.Role) []string {
	if role == pki.RoleServer {
		return []string{"temporal"}
	}
	return nil
}

// call makes one call on a connection of its own and returns its address.
func (h *hostile) call(t *testing.T, pair *tls.Certificate, raw string) (peer string, err error) {
	t.Helper()
	conn, err := grpc.NewClient(h.address,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: h.roots, Certificates: []tls.Certificate{*pair}})),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err == nil {
				peer = c.LocalAddr().String()
			}
			return c, err
		}))
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+raw)
	_, err = workflowservice.NewWorkflowServiceClient(conn).DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: daemon.Namespace})
	return peer, err
}

// handshake connects, and reads: in TLS 1.3 the client learns only then.
func (h *hostile) handshake(t *testing.T, address string, pair *tls.Certificate) (peer string, err error) {
	t.Helper()
	raw, err := net.DialTimeout("tcp", address, 10*time.Second)
	require.NoError(t, err)
	defer raw.Close()
	// Whom it talks to, an attacker does not ask.
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, NextProtos: []string{"h2"}}
	if pair != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	conn := tls.Client(raw, cfg)
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	if err := conn.Handshake(); err != nil {
		return raw.LocalAddr().String(), err
	}
	_, err = conn.Read(make([]byte, 1))
	return raw.LocalAddr().String(), err
}

// plaintext speaks HTTP/2 without TLS: the connection must be closed without an
// answer that a client could use.
func (h *hostile) plaintext(t *testing.T) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", h.address, 10*time.Second)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	if err == nil {
		require.NotContains(t, string(answer), "HTTP/2", "plaintext was answered")
	}
	require.Less(t, len(answer), 64)
}
