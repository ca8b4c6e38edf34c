package pki

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// within runs a test in a bubble of fake time, with a store whose Run is
// going, and ends Run afterwards.
func within(t *testing.T, cfg Config, test func(t *testing.T, s *Store)) {
	cfg.Dir = filepath.Join(t.TempDir(), "certs")
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		synctest.Wait()
		test(t, s)
		cancel()
		require.NoError(t, <-ended)
	})
}

// pass lets fake time go by, and everything that falls due happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// What another process changes takes effect within the reload interval, and a
// revocation within 5 s whatever the configuration.
func TestRunFollowsTheFolder(t *testing.T) {
	within(t, Config{}, func(t *testing.T, s *Store) {
		other := newStore(t, Config{Dir: s.cfg.Dir})
		gone := issue(t, other, IssueRequest{Role: RoleWorker, Name: "gone"})
		_, err := other.Revoke(t.Context(), gone.Info.Serial, KeyCompromise)
		require.NoError(t, err)
		require.NoError(t, s.CheckPeer(gone.Certificate))
		pass(s.cfg.ReloadInterval)
		require.ErrorIs(t, s.CheckPeer(gone.Certificate), ErrRevoked)
		require.LessOrEqual(t, s.cfg.ReloadInterval, 5*time.Second)

		info, err := other.RotateLeaf(t.Context(), ServerLeaf)
		require.NoError(t, err)
		require.NotEqual(t, info.Serial, s.Show()[2].Serial)
		pass(s.cfg.ReloadInterval)
		require.Equal(t, info.Serial, s.Show()[2].Serial)
	})
}

func TestRunRenewsBeforeExpiry(t *testing.T) {
	log := &logBuffer{}
	within(t, Config{LeafLifetime: 30 * time.Minute, Logger: log.logger()}, func(t *testing.T, s *Store) {
		first := s.Show()
		pass(19 * time.Minute)
		require.Equal(t, first[0].Serial, s.Show()[0].Serial)
		pass(2 * time.Minute)
		second := s.Show()
		for i := 2; i < 5; i++ {
			require.NotEqual(t, first[i].Serial, second[i].Serial, first[i].Name)
		}
		require.Equal(t, first[:2], second[:2])
		require.Contains(t, log.String(), "expires soon")
		require.NotContains(t, log.String(), "level=WARN", "what is renewed in time is no reason to warn")
		pass(5 * time.Hour)
		for _, info := range s.Show() {
			require.True(t, info.NotAfter.After(time.Now()), info.Name)
		}
		ledger, err := s.Ledger()
		require.NoError(t, err)
		require.Len(t, ledger, 5+3*16, "renewed every 20 minutes, not at every turn")
	})
}

func TestRunRenewsCRLs(t *testing.T) {
	within(t, Config{CRLLifetime: time.Hour}, func(t *testing.T, s *Store) {
		first := readCRLs(t, s, CA)[0]
		pass(31 * time.Minute)
		second := readCRLs(t, s, CA)[0]
		require.Equal(t, 1, second.Number.Cmp(first.Number))
		require.True(t, second.NextUpdate.After(time.Now().Add(50*time.Minute)))
		number := second.Number
		pass(time.Minute)
		require.Equal(t, number, readCRLs(t, s, CA)[0].Number, "signed once, not at every turn")

		require.NoError(t, os.Remove(s.path("crl.pem")))
		pass(s.cfg.ReloadInterval)
		require.FileExists(t, s.path("crl.pem"))
	})
}

func TestRunReplacesARevokedCertificate(t *testing.T) {
	within(t, Config{}, func(t *testing.T, s *Store) {
		before := s.Show()[3]
		_, err := s.Revoke(t.Context(), before.Serial, KeyCompromise)
		require.NoError(t, err)
		require.Equal(t, "revoked", s.Show()[3].State)
		pass(s.cfg.ReloadInterval)
		require.NotEqual(t, before.Serial, s.Show()[3].Serial)
		require.Equal(t, "ok", s.Show()[3].State)
	})
}

func TestRunWarnsOnceADay(t *testing.T) {
	log := &logBuffer{}
	clk := newClock()
	s := newStore(t, Config{Now: clk.Now, CALifetime: 200 * 24 * time.Hour, LeafLifetime: 10 * 24 * time.Hour, WarnBefore: 20 * 24 * time.Hour, Logger: log.logger()})
	count := func() int {
		require.NoError(t, s.maintain(t.Context()))
		s.warnExpiry()
		return strings.Count(log.String(), "certificate expires")
	}
	clk.Advance(169 * 24 * time.Hour)
	require.Equal(t, 0, count())
	clk.Advance(2 * 24 * time.Hour) // 29 days left, 30 being the window of authorities
	require.Equal(t, 2, count())
	require.Equal(t, 2, count())
	clk.Advance(23 * time.Hour)
	require.Equal(t, 2, count())
	clk.Advance(time.Hour)
	require.Equal(t, 4, count())

	require.Empty(t, s.Expiring(24*time.Hour))
	require.Len(t, s.Expiring(11*24*time.Hour), 3)
	require.Len(t, s.Expiring(29*24*time.Hour), 5)
}

// Several processes run the clock on one folder; each renewal happens once.
func TestSeveralRunOnOneFolder(t *testing.T) {
	within(t, Config{LeafLifetime: 30 * time.Minute}, func(t *testing.T, s *Store) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		for range cap(ended) {
			other := newStore(t, Config{Dir: s.cfg.Dir, LeafLifetime: 30 * time.Minute})
			go func() { ended <- other.Run(ctx) }()
		}
		pass(21 * time.Minute)
		cancel()
		for range cap(ended) {
			require.NoError(t, <-ended)
		}
		ledger, err := s.Ledger()
		require.NoError(t, err)
		require.Len(t, ledger, 8, "five of the first start, three renewed once")
	})
}

// A turn that fails is logged once, and made up for later.
func TestRunRecovers(t *testing.T) {
	log := &logBuffer{}
	within(t, Config{LeafLifetime: 30 * time.Minute, Logger: log.logger()}, func(t *testing.T, s *Store) {
		key, err := os.ReadFile(s.path("ca.key"))
		require.NoError(t, err)
		write(t, s.path("ca.key"), []byte("garbage"))
		pass(21 * time.Minute)
		require.Contains(t, log.String(), "maintenance failed")
		require.Less(t, len(log.String()), 4000, "said once, not at every turn")
		write(t, s.path("ca.key"), key)
		pass(s.cfg.ReloadInterval)
		require.True(t, s.Show()[2].NotAfter.After(time.Now().Add(29*time.Minute)))
	})
}
