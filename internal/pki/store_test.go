package pki

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
)

// firstStart lists what Init makes, in the order in which it appears on disk.
var firstStart = []string{
	lockFile, "revoked.json",
	"ca.key", "issued.jsonl", "ca.crt",
	"internode-ca.key", "internode-ca.crt",
	"temporal-server.key", "temporal-server.crt",
	"temporal-client.key", "temporal-client.crt",
	"temporal-internode.key", "temporal-internode.crt",
	"crl.pem", "internode-crl.pem",
}

func TestInitMakesTheFolder(t *testing.T) {
	clk := newClock()
	s := newStore(t, Config{Now: clk.Now, ExtraHosts: []string{"tenon.example.com", "10.1.2.3", "localhost"}})

	entries, err := os.ReadDir(s.cfg.Dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	require.ElementsMatch(t, firstStart, names)

	if runtime.GOOS != "windows" {
		info, err := os.Stat(s.cfg.Dir)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
		for _, name := range names {
			info, err := os.Stat(s.path(name))
			require.NoError(t, err)
			want := os.FileMode(0o600)
			if strings.HasSuffix(name, ".crt") || strings.HasSuffix(name, ".pem") {
				want = 0o644
			}
			require.Equal(t, want, info.Mode().Perm(), name)
		}
	}

	root := readCerts(t, s, "ca.crt")[0]
	require.True(t, root.IsCA)
	require.Equal(t, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, root.KeyUsage)
	require.Equal(t, clk.Now().Add(-Backdate), root.NotBefore)
	require.Equal(t, clk.Now().Add(3650*24*time.Hour), root.NotAfter)

	server := readCerts(t, s, "temporal-server.crt")[0]
	require.Equal(t, []string{"temporal", "temporal-server", "localhost", "tenon.example.com"}, server.DNSNames)
	require.Equal(t, "[127.0.0.1 ::1 10.1.2.3]", fmt.Sprint(server.IPAddresses))
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, server.ExtKeyUsage)
	require.False(t, server.IsCA)
	require.Equal(t, clk.Now().Add(-Backdate), server.NotBefore)
	require.Equal(t, clk.Now().Add(90*24*time.Hour), server.NotAfter)
	require.Equal(t, 128, server.SerialNumber.BitLen())
	require.NotEmpty(t, server.SubjectKeyId)
	require.Equal(t, root.SubjectKeyId, server.AuthorityKeyId)

	client := readCerts(t, s, "temporal-client.crt")[0]
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, client.ExtKeyUsage)

	inter, node := readCerts(t, s, "internode-ca.crt")[0], readCerts(t, s, "temporal-internode.crt")[0]
	require.NotEqual(t, root.SubjectKeyId, inter.SubjectKeyId)
	require.Equal(t, []string{"temporal-internode"}, inter.PermittedDNSDomains)
	require.Equal(t, inter.SubjectKeyId, node.AuthorityKeyId)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, node.ExtKeyUsage)

	// The ledger knows each of them.
	ledger, err := s.Ledger()
	require.NoError(t, err)
	require.Len(t, ledger, 5)
	for i, info := range []CertificateInfo{describe("", root), describe("", inter), describe("", server), describe("", client), describe("", node)} {
		require.Equal(t, info.Serial, ledger[i].Serial)
		require.Equal(t, info.Fingerprint, ledger[i].Fingerprint)
	}
}

func TestInitTwiceChangesNothing(t *testing.T) {
	s := newStore(t, Config{})
	before := contents(t, s.cfg.Dir)
	require.NoError(t, s.Init(t.Context()))
	again := newStore(t, Config{Dir: s.cfg.Dir})
	require.Equal(t, before, contents(t, s.cfg.Dir))
	require.Equal(t, s.Show(), again.Show())
}

// What is complete needs no writing: a folder may be mounted read-only.
func TestInitOfACompleteFolderWritesNothing(t *testing.T) {
	s := newStore(t, Config{})
	unlock := hold(t, s)
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := openStore(t, Config{Dir: s.cfg.Dir})
	require.NoError(t, again.Init(ctx))
	requireHandshake(t, again.ServerTLS(Frontend), again.ClientTLS(""))
}

func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		out[e.Name()] = string(text)
	}
	return out
}

func TestFirstStartsAtOnceAgree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	var wg sync.WaitGroup
	stores := make([]*Store, 6)
	for i := range stores {
		stores[i] = openStore(t, Config{Dir: dir})
		wg.Go(func() {
			if err := stores[i].Init(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range stores {
		require.NoError(t, s.Reload())
		require.Equal(t, stores[0].Show(), s.Show())
	}
	ledger, err := stores[0].Ledger()
	require.NoError(t, err)
	require.Len(t, ledger, 5, "one process made everything, the others found it")
}

// A crash leaves the files up to some point of the first start, and a torn
// temporary file. Whatever the point, the next start carries on, and what was
// complete stays.
func TestInitCarriesOnAfterACrash(t *testing.T) {
	whole := newStore(t, Config{})
	all := contents(t, whole.cfg.Dir)
	for n := range firstStart {
		t.Run(fmt.Sprintf("%02d before %s", n, firstStart[n]), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "certs")
			require.NoError(t, os.Mkdir(dir, 0o700))
			for _, name := range firstStart[:n] {
				write(t, filepath.Join(dir, name), []byte(all[name]))
			}
			torn := filepath.Join(dir, secret.TempPrefix+firstStart[n]+"-123")
			write(t, torn, []byte(all[firstStart[n]][:len(all[firstStart[n]])/2]))
			// Tokens lie in the same folder, under a lock of their own.
			foreign := filepath.Join(dir, secret.TempPrefix+"client-token.jwt-123")
			write(t, foreign, nil)

			s := newStore(t, Config{Dir: dir})
			require.NoFileExists(t, torn)
			require.FileExists(t, foreign)
			requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS(""))
			requireHandshake(t, s.ServerTLS(Internode), s.InternodeClientTLS())
			got := contents(t, dir)
			for i, name := range firstStart[:n] {
				lone := strings.HasSuffix(name, ".key") && strings.HasPrefix(name, "temporal-") && i == n-1
				if !lone && name != "issued.jsonl" && name != "revoked.json" {
					require.Equal(t, all[name], got[name], name)
				}
			}
			require.True(t, strings.HasPrefix(got["issued.jsonl"], all["issued.jsonl"]) || n <= 3, "the ledger only grows")
		})
	}
}

// The same with a real process and SIGKILL, at whatever moment it strikes.
func TestInitSurvivesKill(t *testing.T) {
	const env = "TENON_PKI_TEST_INIT"
	if dir := os.Getenv(env); dir != "" {
		s, err := Open(Config{Dir: dir, KeyType: RSA2048}) // slow keys: time to be struck
		if err == nil {
			err = s.Init(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	struck := 0
	for i := range 8 {
		dir := filepath.Join(t.TempDir(), "certs")
		cmd := exec.Command(os.Args[0], "-test.run=^TestInitSurvivesKill$")
		cmd.Env = append(os.Environ(), env+"="+dir)
		require.NoError(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		// Strike when so many files are there.
		for entries := 0; entries <= 2*i && len(ended) == 0; {
			list, _ := os.ReadDir(dir)
			entries = len(list)
			runtime.Gosched()
		}
		_ = cmd.Process.Kill() // fails if the process was faster
		if err := <-ended; err != nil {
			require.NotContains(t, err.Error(), "exit status", "the process itself failed")
			struck++
		}
		s := newStore(t, Config{Dir: dir})
		requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS(""))
		left, err := filepath.Glob(filepath.Join(dir, secret.TempPrefix+"*"))
		require.NoError(t, err)
		require.Empty(t, left)
	}
	require.Positive(t, struck, "no process was killed in time: the test proved nothing")
}

// Renewal replaces two files by two renames; a crash in between leaves a new
// key beside the old certificate.
func TestInitRepairsAHalfRenewedPair(t *testing.T) {
	s := newStore(t, Config{})
	other, err := generateKey(ECP256, nil)
	require.NoError(t, err)
	text, err := encodeKey(other)
	require.NoError(t, err)
	write(t, s.path("temporal-server.key"), text)

	again := openStore(t, Config{Dir: s.cfg.Dir})
	require.Len(t, again.Problems(), 1)
	require.ErrorIs(t, again.Problems()[0], errMismatch)
	require.NoError(t, again.Init(t.Context()))
	require.Empty(t, again.Problems())
	requireHandshake(t, again.ServerTLS(Frontend), again.ClientTLS(""))
}

func TestInitRefusesWhatItDoesNotUnderstand(t *testing.T) {
	other := newStore(t, Config{})
	otherKey, err := os.ReadFile(other.path("ca.key"))
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, s *Store)
		want  string
	}{
		"foreign authority key":  {func(t *testing.T, s *Store) { write(t, s.path("ca.key"), otherKey) }, "ca.key fits no certificate in ca.crt"},
		"garbage authority":      {func(t *testing.T, s *Store) { write(t, s.path("ca.crt"), []byte("garbage")) }, "ca.crt"},
		"empty authority":        {func(t *testing.T, s *Store) { write(t, s.path("ca.crt"), nil) }, "ca.crt"},
		"garbage key":            {func(t *testing.T, s *Store) { write(t, s.path("ca.key"), []byte("hunter2")) }, "ca.key"},
		"readable authority key": {func(t *testing.T, s *Store) { require.NoError(t, os.Chmod(s.path("ca.key"), 0o640)) }, "0640"},
		"readable server key":    {func(t *testing.T, s *Store) { require.NoError(t, os.Chmod(s.path("temporal-server.key"), 0o604)) }, "0604"},
		"certificate, no key":    {func(t *testing.T, s *Store) { require.NoError(t, os.Remove(s.path("temporal-client.key"))) }, "temporal-client.key is not"},
		"no revocation list":     {func(t *testing.T, s *Store) { require.NoError(t, os.Remove(s.path("revoked.json"))) }, "revoked.json is missing"},
		"garbage revocations":    {func(t *testing.T, s *Store) { write(t, s.path("revoked.json"), []byte("{}")) }, "version 0"},
		"garbage certificate":    {func(t *testing.T, s *Store) { write(t, s.path("temporal-server.crt"), []byte("garbage")) }, "temporal-server.crt"},
		"leaf as authority": {func(t *testing.T, s *Store) {
			text, err := os.ReadFile(s.path("temporal-server.crt"))
			require.NoError(t, err)
			write(t, s.path("ca.crt"), text)
		}, "is not an authority"},
		"folder is a file": {func(t *testing.T, s *Store) {
			require.NoError(t, os.RemoveAll(s.cfg.Dir))
			write(t, s.cfg.Dir, nil)
		}, "certs"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(tc.want, "06") && runtime.GOOS == "windows" {
				t.Skip("modes do not guard files on windows")
			}
			s := newStore(t, Config{})
			tc.spoil(t, s)
			var before map[string]string
			if name != "folder is a file" {
				before = contents(t, s.cfg.Dir)
			}
			fresh := openStore(t, Config{Dir: s.cfg.Dir})
			err := fresh.Init(t.Context())
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "hunter2")
			if before != nil {
				require.Equal(t, before, contents(t, s.cfg.Dir), "a refusal changes nothing")
			}
		})
	}
}

func TestInitStopsWithContext(t *testing.T) {
	s := openStore(t, Config{})
	require.NoError(t, os.MkdirAll(s.cfg.Dir, 0o700))
	other := openStore(t, Config{Dir: s.cfg.Dir})
	unlock := hold(t, other)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Init(ctx), context.Canceled)
	unlock()
	require.NoError(t, s.Init(t.Context()))
}

func TestInitAddsHosts(t *testing.T) {
	s := newStore(t, Config{})
	before := s.Show()
	again := newStore(t, Config{Dir: s.cfg.Dir, ExtraHosts: []string{"new.example.com"}})
	require.Equal(t, before[:2], again.Show()[:2])
	require.NotEqual(t, before[2].Serial, again.Show()[2].Serial)
	require.Contains(t, again.Show()[2].DNS, "new.example.com")
	requireHandshake(t, again.ServerTLS(Frontend), again.ClientTLS("new.example.com"))

	// Another process with other hosts adds its own, and then both are content.
	third := newStore(t, Config{Dir: s.cfg.Dir, ExtraHosts: []string{"third.example.com", "10.0.0.3"}})
	require.NoError(t, again.Reload())
	require.False(t, again.due())
	require.False(t, third.due())
	_, err := third.RotateLeaf(t.Context(), ServerLeaf)
	require.NoError(t, err)
	require.NotContains(t, third.Show()[2].DNS, "new.example.com")
}

// A host that holds no authority key serves what it was given, and issues
// nothing.
func TestWithoutAuthorityKey(t *testing.T) {
	s := newStore(t, Config{})
	require.NoError(t, os.Remove(s.path("ca.key")))
	require.NoError(t, os.Remove(s.path("internode-ca.key")))
	again := newStore(t, Config{Dir: s.cfg.Dir})
	requireHandshake(t, again.ServerTLS(Frontend), again.ClientTLS(""))
	_, err := again.Issue(t.Context(), IssueRequest{Role: RoleWorker, Name: "billing"})
	require.ErrorIs(t, err, ErrNoKey)
	_, err = again.RotateCA(t.Context(), CA, Prepare, false)
	require.ErrorIs(t, err, ErrNoKey)
	require.False(t, again.due())

	require.NoError(t, os.Remove(s.path("temporal-client.crt")))
	require.NoError(t, os.Remove(s.path("temporal-client.key")))
	require.ErrorIs(t, openStore(t, Config{Dir: s.cfg.Dir}).Init(t.Context()), ErrNoKey)
}

// A certificate from elsewhere is served and never replaced.
func TestBringYourOwnServerCertificate(t *testing.T) {
	corporate := newStore(t, Config{})
	own := issue(t, corporate, IssueRequest{Role: RoleServer, Name: "temporal.corp", DNS: []string{"temporal.corp"}})

	s := newStore(t, Config{})
	write(t, s.path("temporal-server.crt"), own.CertificatePEM)
	write(t, s.path("temporal-server.key"), []byte(own.KeyPEM.Reveal()))
	again := newStore(t, Config{Dir: s.cfg.Dir, ServerCAs: []string{corporate.path("ca.crt")}})
	require.Equal(t, own.Info.Serial, again.Show()[2].Serial)
	require.False(t, again.Show()[2].Managed)
	requireHandshake(t, again.ServerTLS(Frontend), again.ClientTLS("temporal.corp"))
	requireRefused(t, again.ServerTLS(Frontend), again.ClientTLS("elsewhere.corp"), "elsewhere.corp")

	// A client that was not told of the corporate authority refuses.
	requireRefused(t, again.ServerTLS(Frontend), s.ClientTLS("temporal.corp"), "unknown authority")
	_, err := again.RotateLeaf(t.Context(), ServerLeaf)
	require.ErrorContains(t, err, "issued elsewhere")
}

func TestRSAOnRequest(t *testing.T) {
	s := newStore(t, Config{KeyType: RSA2048})
	for _, info := range s.Show() {
		require.Equal(t, "rsa-2048", info.KeyType)
	}
	requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS(""))
}

func TestConfigRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Config
		want string
	}{
		"no folder":         {Config{}, "folder is not set"},
		"weak key":          {Config{Dir: "d", KeyType: "rsa-1024"}, "rsa-1024"},
		"slow reload":       {Config{Dir: "d", ReloadInterval: time.Minute}, "reload interval"},
		"negative lifetime": {Config{Dir: "d", LeafLifetime: -1}, "leaf lifetime"},
		"short authority":   {Config{Dir: "d", CALifetime: time.Hour}, "authority lifetime"},
		"renew at once":     {Config{Dir: "d", LeafLifetime: time.Hour, RenewBefore: time.Hour}, "renewal window"},
		"bad host":          {Config{Dir: "d", ExtraHosts: []string{"a b"}}, "extra host"},
		"bad wildcard":      {Config{Dir: "d", ExtraHosts: []string{"*.com"}}, "wildcard"},
		"unknown mode":      {Config{Dir: "d", ClientAuth: "none"}, `"none"`},
		"no filter":         {Config{Dir: "d", ClientCAs: []ClientCA{{File: "f"}}}, "no filter"},
		"empty filter":      {Config{Dir: "d", ClientCAs: []ClientCA{{File: "f", Filters: []Filter{{}}}}}, "no condition"},
		"no file":           {Config{Dir: "d", ClientCAs: []ClientCA{{Filters: []Filter{{CommonName: "x"}}}}}, "names no file"},
	} {
		_, err := Open(tc.cfg)
		require.ErrorContains(t, err, tc.want, name)
	}
	// All problems at once.
	_, err := Open(Config{KeyType: "x", ClientAuth: "y"})
	for _, want := range []string{"folder", `"x"`, `"y"`} {
		require.ErrorContains(t, err, want)
	}
}

func TestLedgerOutlivesATornLine(t *testing.T) {
	s := newStore(t, Config{})
	f, err := os.OpenFile(s.path(ledgerFile), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"issuedAt":"2030-01-01T00:00:00Z","seri`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	issued := issue(t, s, IssueRequest{Role: RoleClient, Name: "after"})
	ledger, err := s.Ledger()
	require.NoError(t, err)
	require.Len(t, ledger, 6)
	require.Equal(t, issued.Info.Serial, ledger[5].Serial)

	text, err := os.ReadFile(s.path(ledgerFile))
	require.NoError(t, err)
	write(t, s.path(ledgerFile), bytes.Replace(text, []byte(`"serial":"`), []byte(`"serial":7,"x":"`), 1))
	_, err = s.Ledger()
	require.ErrorContains(t, err, "issued.jsonl:1")
}
