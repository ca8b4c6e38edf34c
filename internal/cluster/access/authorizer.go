package access

import (
	"context"

	"go.temporal.io/server/common/authorization"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
)

type authorizer struct{ *Access }

var _ authorization.Authorizer = authorizer{}

// Authorize implements authorization.Authorizer. It never returns an error: the
// server's answer to one could be made to show it to the caller.
func (a authorizer) Authorize(ctx context.Context, claims *authorization.Claims, target *authorization.CallTarget) (authorization.Result, error) {
	if isInternal(claims) {
		a.internal.count(target.APIName, target.Namespace)
		return authorization.Result{Decision: authorization.DecisionAllow, Principal: internalPrincipal}, nil
	}
	caller := FromClaims(claims)
	if caller == nil {
		caller = nobody
	}
	address, cert := a.certs.of(ctx)
	known := a.methods[target.APIName]
	verdict, refused := a.decide(caller, cert, known, target)
	record := audit.Record{
		Time: a.cfg.Now(), Verdict: verdict, API: target.APIName, Namespace: target.Namespace,
		Subject: caller.Subject, Issuer: caller.Issuer, TokenID: caller.TokenID, Peer: address,
		Target: targetOf(target.Request), Update: updateOf(target.Request),
	}
	if cert != nil {
		record.Certificate = &cert.record
	}
	if refused != nil {
		record.Reason = refused.reason
	}
	if err := a.cfg.Audit.Append(record); err != nil {
		a.counters.unrecorded.Add(1)
		if refused == nil && a.refusesUnrecorded(known) {
			refused, verdict = &refusal{told: unrecorded, reason: unrecorded}, audit.Deny
			record.Reason = unrecorded
		}
	}
	a.count(verdict, &record)
	if refused != nil {
		return authorization.Result{Decision: authorization.DecisionDeny, Reason: refused.told}, nil
	}
	return authorization.Result{Decision: authorization.DecisionAllow, Principal: caller.principal}, nil
}

// unrecorded tells why an allowed change was refused. It says nothing about who
// may do what, and saves an operator from searching among roles.
const unrecorded = "audit log unavailable"

func (a authorizer) refusesUnrecorded(r *row) bool {
	switch a.cfg.OnAuditFailure {
	case AllowAll:
		return false
	case RefuseAll:
		return true
	}
	return r.effect == change
}

// decide is the decision. It goes from what proves the caller's identity to
// what the caller may do, so that a refusal never tells a stranger more than
// that they are one.
func (a authorizer) decide(c *Caller, cert *certificate, r *row, target *authorization.CallTarget) (audit.Verdict, *refusal) {
	if cert == nil && a.cfg.RequireCertificate {
		return audit.Unauthenticated, refusedNoCertificate
	}
	if cert != nil && a.cfg.CheckCertificate != nil {
		// On every call: a connection outlives the handshake that checked it.
		if err := a.cfg.CheckCertificate(cert.parsed); err != nil {
			return audit.Unauthenticated, &refusal{reason: "certificate: " + err.Error()}
		}
	}
	if r != nil && r.where == probe && cert != nil {
		return audit.Allow, nil
	}
	if c.refused != nil {
		return audit.Unauthenticated, &refusal{reason: c.refused.Error()}
	}
	if c.bound != "" && !cert.matches(c.bound) {
		return audit.Unauthenticated, refusedBinding
	}
	if r == nil {
		return audit.Deny, refusedUnknown
	}
	if refused := checkRole(c, r, target.Namespace); refused != nil {
		return audit.Deny, refused
	}
	i := inspection{caller: c, cert: cert, namespace: target.Namespace, api: shortName(target.APIName), rules: a.rules}
	if refused := i.request(target.Request); refused != nil {
		return audit.Deny, refused
	}
	return audit.Allow, nil
}

var (
	refusedNoCertificate = &refusal{reason: "no client certificate"}
	refusedBinding       = &refusal{reason: "token is bound to another certificate"}
	refusedUnknown       = &refusal{reason: "method is not in the policy"}
)

// checkRole is the table.
func checkRole(c *Caller, r *row, namespace string) *refusal {
	ok := false
	switch r.where {
	case probe, authenticated:
		ok = true
	case somewhere:
		ok = c.somewhere(r.may)
	case cluster:
		ok = c.everywhere&r.may != 0
	case inNamespace:
		ok = c.in(namespace)&r.may != 0
		// In the server's own namespace run the workflows that delete namespaces.
		if namespace == systemNamespace && r.effect == change {
			if c.everywhere&system == 0 {
				return missing(system)
			}
		}
	}
	if !ok {
		return missing(r.may)
	}
	return nil
}

func shortName(api string) string {
	for i := len(api) - 1; i >= 0; i-- {
		if api[i] == '/' {
			return api[i+1:]
		}
	}
	return api
}
