// Package pki owns the certificates of one data directory: the two
// authorities, what they issue, what they refuse, who signs, and who keeps the
// clock. A Store is the certs folder; it makes what is missing (Init), watches,
// renews and warns (Run), and hands out TLS configurations that follow the
// folder without a restart (ServerTLS, ClientTLS, InternodeClientTLS).
//
// What callers may do once they are connected is decided in
// internal/cluster/access, which asks CheckPeer on every call; tokens belong to
// internal/token; the commands to internal/cli.
//
// There are two authorities, because whoever reaches an internode port is
// system administrator there: "ca" issues server, client and worker
// certificates, "internode-ca" issues internode certificates alone, is trusted
// on internode ports alone, and is name-constrained to the one internode name.
//
// What must always hold: a private key is never readable by others and never
// leaves in a log or error; no certificate exists that the ledger does not
// know; a file that cannot be read or does not fit keeps the last good one in
// force; and a peer is checked against the roots, the revocations and the time
// of now in VerifyConnection, which session resumption cannot skip.
package pki
