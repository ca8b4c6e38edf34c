package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRotateLeaf(t *testing.T) {
	s := newStore(t, Config{})
	for _, stem := range []string{ServerLeaf, ClientLeaf, InternodeLeaf} {
		before := readCerts(t, s, stem+".crt")[0]
		info, err := s.RotateLeaf(t.Context(), stem)
		require.NoError(t, err)
		after := readCerts(t, s, stem+".crt")[0]
		require.NotEqual(t, before.SerialNumber, after.SerialNumber)
		require.False(t, samePublicKey(before.PublicKey, after.PublicKey), "a new certificate has a new key")
		require.Equal(t, info.Serial, serialText(after.SerialNumber))
		requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS(""))
		requireHandshake(t, s.ServerTLS(Internode), s.InternodeClientTLS())
	}
	_, err := s.RotateLeaf(t.Context(), "../ca")
	require.Error(t, err)
}

// The main promise: while an authority is rolled, nobody's handshake fails. The
// server, a client that follows the folder, and the process that rolls are three
// stores on one folder, as three processes would be; a stock client read its
// roots once, before the roll.
func TestRollUnderConcurrentHandshakes(t *testing.T) {
	for _, name := range authorities {
		t.Run(string(name), func(t *testing.T) {
			clk := newClock()
			admin := newStore(t, Config{Now: clk.Now})
			server := newStore(t, Config{Now: clk.Now, Dir: admin.cfg.Dir})
			client := newStore(t, Config{Now: clk.Now, Dir: admin.cfg.Dir})
			node := newStore(t, Config{Now: clk.Now, Dir: admin.cfg.Dir})

			pool := x509.NewCertPool()
			pool.AddCert(readCerts(t, admin, "ca.crt")[0])
			stock := &tls.Config{
				Time: clk.Now, RootCAs: pool, ServerName: "localhost",
				// It reads its own certificate at each handshake, as the web UI does.
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					pair, err := tls.LoadX509KeyPair(admin.path("temporal-client.crt"), admin.path("temporal-client.key"))
					return &pair, err
				},
			}
			pairs := []struct {
				name           string
				server, client *tls.Config
			}{
				{"client", server.ServerTLS(Frontend), client.ClientTLS("")},
				{"https", server.ServerTLS(HTTPS), client.ClientTLS("localhost")},
				{"node", server.ServerTLS(Internode), node.InternodeClientTLS()},
				{"node back", node.ServerTLS(Internode), server.InternodeClientTLS()},
				{"stock", server.ServerTLS(HTTPS), stock},
			}
			ctx, stop := context.WithCancel(t.Context())
			var done sync.WaitGroup
			var shaken atomic.Int64
			tick := make(chan struct{}, 1)
			for _, p := range pairs {
				done.Go(func() {
					for ctx.Err() == nil {
						select {
						case tick <- struct{}{}:
						default:
						}
						_, serverErr, clientErr := handshake(p.server, p.client)
						if err := errors.Join(serverErr, clientErr); err != nil {
							t.Errorf("%s: %v", p.name, err)
							stop()
							return
						}
						shaken.Add(1)
					}
				})
			}
			// more waits until every pair had the chance to shake hands anew.
			more := func() {
				for goal := shaken.Load() + 10*int64(len(pairs)); shaken.Load() < goal && ctx.Err() == nil; {
					select {
					case <-tick:
					case <-ctx.Done():
					}
				}
			}
			// Processes notice in any order.
			readers := [][]*Store{{server, client, node}, {client, node, server}, {node, client, server}}
			for i, step := range []Step{Prepare, Activate, Retire} {
				_, err := admin.RotateCA(ctx, name, step, false)
				require.NoError(t, err)
				more()
				for _, s := range readers[i] {
					require.NoError(t, s.Reload())
					more()
				}
				clk.Advance(2 * server.cfg.ReloadInterval)
			}
			more()
			stop()
			done.Wait()
			t.Logf("%d handshakes, none failed", shaken.Load())

			r, err := admin.Rotation(name)
			require.NoError(t, err)
			require.Equal(t, Steady, r.Phase)
			require.Len(t, readCerts(t, admin, name.certFile()), 1)
			require.NoFileExists(t, admin.path(name.priorKeyFile()))
			require.NoFileExists(t, admin.path(name.nextKeyFile()))
		})
	}
}

func TestRollByHand(t *testing.T) {
	clk := newClock()
	s := newStore(t, Config{Now: clk.Now})
	first := s.Show()[0]
	billing := issue(t, s, IssueRequest{Role: RoleWorker, Name: "billing", TTL: time.Hour})

	// No step out of turn.
	for _, step := range []Step{Activate, Retire, Abandon} {
		_, err := s.RotateCA(t.Context(), CA, step, true)
		require.ErrorIs(t, err, ErrWrongPhase)
	}
	_, err := s.RotateCA(t.Context(), CA, "jump", true)
	require.Error(t, err)
	_, err = s.RotateCA(t.Context(), "other", Prepare, true)
	require.Error(t, err)

	r, err := s.RotateCA(t.Context(), CA, Prepare, false)
	require.NoError(t, err)
	require.Equal(t, Prepared, r.Phase)
	require.Equal(t, first.Serial, r.Signing.Serial)
	require.Equal(t, []string{"signing", "next"}, []string{s.Show()[0].State, s.Show()[1].State})
	require.Equal(t, first.SubjectKeyID, issue(t, s, IssueRequest{Role: RoleClient, Name: "still-old", TTL: time.Hour}).Info.AuthorityKeyID)
	_, err = s.RotateCA(t.Context(), CA, Prepare, true)
	require.ErrorIs(t, err, ErrWrongPhase)

	// One may think better of it.
	abandoned := r.Next.Serial
	r, err = s.RotateCA(t.Context(), CA, Abandon, false)
	require.NoError(t, err)
	require.Equal(t, Steady, r.Phase)
	require.NoFileExists(t, s.path("ca-next.key"))
	r, err = s.RotateCA(t.Context(), CA, Prepare, false)
	require.NoError(t, err)
	require.NotEqual(t, abandoned, r.Next.Serial)
	next := *r.Next

	// Others need time to read the new root.
	_, err = s.RotateCA(t.Context(), CA, Activate, false)
	require.ErrorIs(t, err, ErrTooEarly)
	clk.Advance(2 * s.cfg.ReloadInterval)
	r, err = s.RotateCA(t.Context(), CA, Activate, false)
	require.NoError(t, err)
	require.Equal(t, Activated, r.Phase)
	require.Equal(t, next.Serial, r.Signing.Serial)
	require.Equal(t, first.Serial, r.Previous[0].Serial)
	require.Equal(t, next.Serial, s.Show()[0].Serial, "the signing root comes first in the file, for who reads only one")
	require.Equal(t, []string{"signing", "previous"}, []string{s.Show()[0].State, s.Show()[1].State})
	for _, stem := range []string{ServerLeaf, ClientLeaf} {
		require.Equal(t, next.SubjectKeyID, describe("", readCerts(t, s, stem+".crt")[0]).AuthorityKeyID)
	}

	// The old root's clients are still welcome, and named as outstanding.
	requireHandshake(t, s.ServerTLS(Frontend), asClient(t, s, billing))
	require.Len(t, r.Outstanding, 2)
	require.Equal(t, "billing", r.Outstanding[0].Name)
	clk.Advance(2 * s.cfg.ReloadInterval)
	_, err = s.RotateCA(t.Context(), CA, Retire, false)
	require.ErrorIs(t, err, ErrTooEarly)
	require.ErrorContains(t, err, "billing")

	// Revoked and expired ones hold nothing up.
	_, err = s.Revoke(t.Context(), billing.Info.Serial, Superseded)
	require.NoError(t, err)
	clk.Advance(time.Hour)
	r, err = s.RotateCA(t.Context(), CA, Retire, false)
	require.NoError(t, err)
	require.Equal(t, Steady, r.Phase)
	require.ErrorIs(t, s.CheckPeer(billing.Certificate), ErrPeerRefused)
	requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS(""))
	requireHandshake(t, newStore(t, Config{Dir: s.cfg.Dir, Now: clk.Now}).ServerTLS(Frontend), s.ClientTLS(""))
}

// Retiring a root by force ends its clients, on live connections too.
func TestForcedRetirementLocksOut(t *testing.T) {
	s := newStore(t, Config{})
	billing := issue(t, s, IssueRequest{Role: RoleWorker, Name: "billing"})
	for _, step := range []Step{Prepare, Activate} {
		_, err := s.RotateCA(t.Context(), CA, step, true)
		require.NoError(t, err)
	}
	require.NoError(t, s.CheckPeer(billing.Certificate))
	_, err := s.RotateCA(t.Context(), CA, Retire, true)
	require.NoError(t, err)
	require.ErrorIs(t, s.CheckPeer(billing.Certificate), ErrRevoked)
	requireRefused(t, s.ServerTLS(Frontend), asClient(t, s, billing), "unknown authority")
	require.NoError(t, s.CheckPeer(readCerts(t, s, "temporal-client.crt")[0]))
}

func TestRollCA(t *testing.T) {
	s := newStore(t, Config{ReloadInterval: 10 * time.Millisecond})
	before := s.Show()[0]
	billing := issue(t, s, IssueRequest{Role: RoleWorker, Name: "billing"})

	r, err := s.RollCA(t.Context(), CA)
	require.ErrorIs(t, err, ErrTooEarly)
	require.Equal(t, Activated, r.Phase)
	_, err = s.Revoke(t.Context(), billing.Info.Serial, Superseded)
	require.NoError(t, err)
	r, err = s.RollCA(t.Context(), CA)
	require.NoError(t, err)
	require.Equal(t, Steady, r.Phase)
	require.NotEqual(t, before.Serial, s.Show()[0].Serial)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.RollCA(ctx, CA)
	require.ErrorIs(t, err, context.Canceled)
}

// Killed at any point of a roll, the folder stands in one phase or the next;
// Init mends the rest and the roll can be brought to its end.
func TestRollCarriesOnAfterACrash(t *testing.T) {
	// The order in which each step changes the folder, as documented at the
	// functions themselves. "-" removes.
	steps := map[Step][]string{
		Prepare:  {"ca-next.key", "issued.jsonl", "ca.crt", "revoked.json", "crl.pem"},
		Activate: {"issued.jsonl", "ca-cross.crt", "ca-previous.key", "ca.key -ca-next.key", "ca.crt", "temporal-server.key", "temporal-server.crt", "temporal-client.key", "temporal-client.crt", "revoked.json", "crl.pem"},
		Retire:   {"revoked.json", "ca.crt", "-ca-previous.key", "crl.pem"},
		Abandon:  {"ca.crt", "-ca-next.key", "revoked.json", "crl.pem"},
	}
	for _, path := range [][]Step{{Prepare}, {Prepare, Activate}, {Prepare, Activate, Retire}, {Prepare, Abandon}} {
		last := path[len(path)-1]
		whole := newStore(t, Config{})
		for _, step := range path[:len(path)-1] {
			_, err := whole.RotateCA(t.Context(), CA, step, true)
			require.NoError(t, err)
		}
		before := contents(t, whole.cfg.Dir)
		_, err := whole.RotateCA(t.Context(), CA, last, true)
		require.NoError(t, err)
		after := contents(t, whole.cfg.Dir)

		changed := map[string]bool{}
		for _, op := range strings.Fields(strings.Join(steps[last], " ")) {
			changed[strings.TrimPrefix(op, "-")] = true
		}
		for file := range after {
			require.True(t, changed[file] || before[file] == after[file], "%s changes %s, which this test does not know of", last, file)
		}
		for n := range steps[last] {
			t.Run(string(last)+" before "+steps[last][n], func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "certs")
				require.NoError(t, os.Mkdir(dir, 0o700))
				for file, text := range before {
					write(t, filepath.Join(dir, file), []byte(text))
				}
				for _, op := range strings.Fields(strings.Join(steps[last][:n], " ")) {
					if file, gone := strings.CutPrefix(op, "-"); gone {
						require.NoError(t, os.Remove(filepath.Join(dir, file)))
					} else {
						write(t, filepath.Join(dir, op), []byte(after[op]))
					}
				}
				s := newStore(t, Config{Dir: dir})
				requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS(""))
				r, err := s.Rotation(CA)
				require.NoError(t, err)
				require.Contains(t, []Phase{Steady, Prepared, Activated}, r.Phase)
				require.Equal(t, r.Signing.Serial, s.Show()[0].Serial)
				next := map[Phase]Step{Steady: Prepare, Prepared: Activate, Activated: Retire}
				for range 3 {
					step := next[r.Phase]
					r, err = s.RotateCA(t.Context(), CA, step, true)
					require.NoError(t, err)
					requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS(""))
					if r.Phase == Steady {
						break
					}
				}
				require.False(t, s.due())
			})
		}
	}
}

// An authority that has expired can still be replaced.
func TestRollOfAnExpiredAuthority(t *testing.T) {
	clk := newClock()
	s := newStore(t, Config{Now: clk.Now, CALifetime: 91 * 24 * time.Hour})
	clk.Advance(92 * 24 * time.Hour)
	_, serverErr, clientErr := handshake(s.ServerTLS(Frontend), s.ClientTLS(""))
	require.Error(t, errors.Join(serverErr, clientErr))
	for _, name := range authorities {
		for _, step := range []Step{Prepare, Activate, Retire} {
			_, err := s.RotateCA(t.Context(), name, step, true)
			require.NoError(t, err)
		}
	}
	requireHandshake(t, s.ServerTLS(Frontend), s.ClientTLS(""))
	requireHandshake(t, s.ServerTLS(Internode), s.InternodeClientTLS())
}
