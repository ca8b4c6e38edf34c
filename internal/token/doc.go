// Package token owns JSON Web Tokens: issuing them, verifying them, revoking
// them, and the key sets of the issuers that are trusted.
//
// An Issuer is the authority that lives in a folder of its own: a signing key,
// the published key set, the revocations, and the token files that the parts of
// this system present. A Verifier decides whether a token is genuine, for us, in
// time and not revoked, for any number of issuers, each with its own rules.
//
//	token text ─► size, form, duplicate members ─► issuer trusted? ─► algorithm
//	allowed? ─► key of that issuer ─► signature ─► type, audience, times,
//	lifetime ─► revoked? ─► Claims
//
// What a permission allows is not decided here but in internal/cluster/access.
// Certificates are internal/pki's.
//
// What must always hold: a token is judged only by the rules and keys of the
// issuer that it names; every token expires; an unsigned token and a token
// signed with a shared secret are never genuine; nothing that this package
// returns as an error contains a token.
package token
