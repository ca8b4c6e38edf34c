package pki

import (
	"context"
	"crypto/tls"
	"path/filepath"
	"strconv"
	"testing"
)

func BenchmarkInit(b *testing.B) {
	dir := b.TempDir()
	for i := 0; b.Loop(); i++ {
		s := openStore(b, Config{Dir: filepath.Join(dir, strconv.Itoa(i))})
		if err := s.Init(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// One idle turn of Run.
func BenchmarkTurn(b *testing.B) {
	s := newStore(b, Config{})
	for b.Loop() {
		s.refresh()
		if err := s.maintain(context.Background()); err != nil {
			b.Fatal(err)
		}
		s.warnExpiry()
	}
}

func BenchmarkCheckPeer(b *testing.B) {
	s := newStore(b, Config{})
	gone, err := s.Issue(context.Background(), IssueRequest{Role: RoleClient, Name: "gone"})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Revoke(context.Background(), gone.Info.Serial, Superseded); err != nil {
		b.Fatal(err)
	}
	peer := readCerts(b, s, "temporal-client.crt")[0]
	b.ReportAllocs()
	for b.Loop() {
		if err := s.CheckPeer(peer); err != nil {
			b.Fatal(err)
		}
	}
}

// Both ends and the connection: with our verification, and with what crypto/tls
// does by itself.
func BenchmarkHandshake(b *testing.B) {
	s := newStore(b, Config{})
	snap := s.snap.Load()
	static := func(leaf string) *tls.Config {
		return &tls.Config{
			Certificates: []tls.Certificate{*snap.leaves[leaf]}, RootCAs: snap.serverPool, ClientCAs: snap.clientPool,
			ClientAuth: tls.RequireAndVerifyClientCert, ServerName: ServerName,
		}
	}
	server := static(ServerLeaf)
	server.SessionTicketsDisabled = true
	for name, pair := range map[string][2]*tls.Config{
		"store":  {s.ServerTLS(Frontend), s.ClientTLS("")},
		"static": {server, static(ClientLeaf)},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, serverErr, clientErr := handshake(pair[0], pair[1]); serverErr != nil || clientErr != nil {
					b.Fatal(serverErr, clientErr)
				}
			}
		})
	}
}
