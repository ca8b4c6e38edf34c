package cluster_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/cluster"
)

// node is a configuration of one of several nodes, that trusts what it is told.
func (p *postgres) node(ip string, base int, trust map[string][]string) cluster.Config {
	cfg := p.config()
	cfg.Frontend = fmt.Sprintf("%s:%d", ip, base)
	cfg.Membership = &cluster.Membership{BindIP: ip, Ports: map[string]int{
		"history": base + 1, "matching": base + 2, "internal-frontend": base + 3, "worker": base + 4,
	}}
	cfg.Trust = func() map[string][]string { return trust }
	return cfg
}

func TestNodes(t *testing.T) {
	p := startPostgres(t)
	trust := map[string][]string{"internode authority": {"aaaaaaaaaaaaaaaa", "bbbb"}, "payload key": {"kkkk"}}
	cfg, log := p.node("127.0.0.2", 21000, trust), &recorder{}
	cfg.Logger = slog.New(log)
	first, err := cluster.New(cfg)
	require.NoError(t, err)
	// PostgreSQL allows 100 connections unless it is told otherwise, 3 of them to
	// administrators.
	require.Contains(t, strings.Join(log.lines(), "\n"), "WARN postgresql allows fewer connections than this node may open allowed=97 wanted=201")

	t.Run("another authority", func(t *testing.T) {
		_, err := cluster.New(p.node("127.0.0.3", 21000, map[string][]string{"internode authority": {"cccc"}, "payload key": {"kkkk"}}))
		require.ErrorIs(t, err, cluster.ErrNodesDiffer)
		require.ErrorContains(t, err, "its internode authority is not that of node 127.0.0.2 (")
		require.ErrorContains(t, err, "(here cccc, there aaaaaaaaaaaa bbbb)")
	})
	t.Run("another payload key", func(t *testing.T) {
		_, err := cluster.New(p.node("127.0.0.3", 21000, map[string][]string{"internode authority": {"bbbb"}, "payload key": {"llll"}}))
		require.ErrorIs(t, err, cluster.ErrNodesDiffer)
		require.ErrorContains(t, err, "its payload key is not that of node 127.0.0.2")
	})
	t.Run("in the middle of a roll", func(t *testing.T) {
		s, err := cluster.New(p.node("127.0.0.3", 21000, map[string][]string{"internode authority": {"cccc", "bbbb"}, "payload key": {"kkkk"}}))
		require.NoError(t, err)
		require.NoError(t, s.Close())
	})
	t.Run("alone beside others", func(t *testing.T) {
		_, err := cluster.New(p.config())
		require.ErrorIs(t, err, cluster.ErrDatabaseInUse)
	})
	for name, off := range map[string]time.Duration{"ahead of": time.Hour, "behind": -time.Hour} {
		t.Run("clock "+name, func(t *testing.T) {
			cfg := p.node("127.0.0.3", 21000, trust)
			cfg.Now = func() time.Time { return time.Now().Add(off) }
			_, err := cluster.New(cfg)
			require.ErrorIs(t, err, cluster.ErrClockSkew)
			require.ErrorContains(t, err, name+" the database")
			require.ErrorContains(t, err, "this machine is 1h0m0s")
		})
	}

	// A node that has left is nobody's measure.
	require.NoError(t, first.Close())
	s, err := cluster.New(p.node("127.0.0.3", 21000, map[string][]string{"internode authority": {"cccc"}}))
	require.NoError(t, err)
	t.Run("several where one is alone", func(t *testing.T) {
		require.NoError(t, s.Close())
		alone, err := cluster.New(p.config())
		require.NoError(t, err)
		_, err = cluster.New(p.node("127.0.0.3", 21000, trust))
		require.ErrorIs(t, err, cluster.ErrDatabaseInUse)
		require.NoError(t, alone.Close())
	})

	t.Run("connection lost in the middle", func(t *testing.T) {
		cut := startProxy(t, "127.0.0.1:"+p.port)
		for i, limit := range []int64{300, 3000, 12_000, 30_000, 45_000} {
			cfg := p.config()
			cfg.Persistence.Postgres.Address = cut.address
			cfg.Persistence.Postgres.Database = fmt.Sprintf("cut%d", i)
			cfg.Persistence.Postgres.VisibilityDatabase = fmt.Sprintf("cut%d_visibility", i)
			cut.left.Store(limit)
			_, err := cluster.New(cfg)
			require.Error(t, err, "after %d bytes", limit)
			require.ErrorContains(t, err, "postgresql at "+cut.address)
			// What was begun is taken up again.
			cut.left.Store(1 << 40)
			s, err := cluster.New(cfg)
			require.NoError(t, err, "after %d bytes", limit)
			require.NoError(t, s.Close())
		}
	})

	t.Run("gone before it runs", func(t *testing.T) {
		s, err := cluster.New(p.config())
		require.NoError(t, err)
		p.down()
		done := make(chan error, 1)
		go func() { done <- s.Run(t.Context()) }()
		select {
		case err := <-done:
			require.ErrorContains(t, err, "postgresql at 127.0.0.1:"+p.port)
		case <-s.Ready():
			t.Fatal("ready without a database")
		case <-time.After(time.Minute):
			t.Fatal("neither ready nor ended after a minute")
		}
	})
}

// proxy forwards connections until its clients have sent so many bytes.
type proxy struct {
	address string
	left    atomic.Int64
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{address: l.Addr().String()}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			shut := func() { _ = in.Close(); _ = out.Close() }
			all.Go(func() { _, _ = io.Copy(in, out); shut() })
			all.Go(func() {
				defer shut()
				buf := make([]byte, 512)
				for {
					n, err := in.Read(buf)
					if n > 0 && p.left.Add(-int64(n)) >= 0 {
						_, err = out.Write(buf[:n])
					}
					if err != nil || p.left.Load() < 0 {
						return
					}
				}
			})
		}
	})
	return p
}
