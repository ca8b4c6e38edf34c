// Package authapi is the simulated tenant's Authentication API and Universal
// Login: everything under the tenant's domain except /api/v2/.
//
// It owns the OAuth 2.0 and OpenID Connect endpoints, the tokens, sessions and
// login transactions behind them, and the pages a person sees. The tenant's
// objects (clients, connections, users, …) belong to package state and are
// managed through package auth0sim; Actions run in package actions. Its own
// state lives in the families under "oauth/", and in "sessions",
// "refresh-tokens" and "grants", which the Management API shows too.
//
// A login is a transaction with one path through it: every page posts to its
// own address, and advance alone decides what comes next.
//
//	/authorize ─► login | signup ─► post-login actions ─► MFA ─► consent ─► code
//	                                   │      ▲
//	                                   └ redirect, /continue
//
// What must always hold: a transaction continues only in the browser that
// began it; a redirect goes only to an address its client registered; codes,
// tickets and rotated refresh tokens work once; passwords, codes, tokens and
// cookies are stored as digests only; and every value a page echoes is escaped
// by html/template.
package authapi
