// Package webui owns the cluster's Web UI: the stock pages of Temporal's own
// UI, and the sign-in that stands in front of them.
//
//	browser ─ HTTPS ─► host, headers, same origin ─► session? ─no─► sign-in page
//	                                                    │             │ code + PKCE
//	                                                    ▼             ▼
//	      frontend ◄─ mTLS + the session's token ─ API, pages    the OIDC provider
//
// A person signs in at an OpenID Connect provider. What the provider says they
// may do becomes a session here, and for each session a short-lived token of
// the cluster's own issuer, so that providers with opaque access tokens and
// people with one namespace work. The provider's tokens, the session's token and
// the client certificate stay in this process; the browser holds a random
// session id that scripts cannot read.
//
// Which permissions exist and what they allow is internal/cluster/access's;
// tokens are internal/token's, certificates internal/pki's; which provider is
// used, and with which client, is decided by internal/daemon.
//
// What must always hold: no call reaches the cluster without the token of a
// living session, so this process holds no role of its own; nobody gets a
// session without a permission in this cluster; no redirect leaves for an
// address that a request named.
package webui
