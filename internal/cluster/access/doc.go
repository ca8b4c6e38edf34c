// Package access owns who may do what on the cluster's frontend: the claim
// mapper that learns who is calling, the policy, and the authorizer that
// decides and has every decision recorded.
//
//	call ─► claim mapper: token ─► verified? ─► Caller (roles by namespace)
//	     ─► authorizer: certificate ─► row of the policy table ─► role?
//	                    ─► what is inside the request ─► rules ─► audit ─► verdict
//	     ─► interceptors: ListNamespaces shows each caller its own; a workflow learns
//	        who sent it a signal or an update
//
// Verifying tokens is internal/token's work, issuing and revoking certificates
// internal/pki's, the records internal/cluster/access/audit's; wiring all of
// this into the server is internal/cluster's.
//
// The claim mapper never fails: a caller whose token is refused is mapped to a
// Caller with nothing but the reason, so that the authorizer, which alone knows
// method and namespace, can refuse and record. A server whose authorizer is not
// this package's gives such a caller nothing either.
//
// What must always hold: what the policy table does not list is refused;
// nothing is reachable without a credential; only the server's own workers
// bear the internal principal; a caller learns from a refusal which role is
// missing and nothing else.
package access
