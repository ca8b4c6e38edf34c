// Package cluster owns the Temporal server that runs inside our process: its
// configuration, its persistence (a SQLite file, or PostgreSQL), its
// namespaces, and how its parts reach each other.
//
//	client ── mTLS + token ──► frontend ──┐
//	                                      ├─ internode mTLS ─► history, matching
//	server's own workers ─► internal-frontend ──┘   (loopback, own authority)
//
// It does not decide who may do what (cluster/access), does not make
// certificates (internal/pki), and holds no client of the server (sdk).
//
// What must always hold: the frontend is the only door, and a caller without
// a certificate that the TLSSource accepts and a token that the Access accepts
// gets nothing through it. Every other port is behind an authority of its own,
// because a caller there is the cluster's administrator, and on loopback unless
// a Membership joins several machines. The only way to an open server is
// Config.Insecure, and it is confined to loopback. A condition under which
// Temporal would end the process is an error of New or Run instead.
package cluster
