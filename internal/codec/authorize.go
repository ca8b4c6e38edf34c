package codec

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/token"
)

// TokenVerifier decides whether a token is genuine. *token.Verifier is one.
type TokenVerifier interface {
	Verify(ctx context.Context, raw string) (*token.Claims, error)
}

// The roles that include reading histories, and starting workflows, the least
// powerful first. They say the same as the policy of the cluster's frontend,
// whose API the codec is an extension of: what its reader may fetch, it may
// decode.
var (
	readers = []token.Role{token.RoleReader, token.RoleClient, token.RoleOperator, token.RoleAdmin}
	writers = []token.Role{token.RoleClient, token.RoleOperator, token.RoleAdmin}
)

// needs lists the roles of which one is required.
func (s *Server) needs(api string) []token.Role {
	roles := readers
	if api != apiDecode {
		roles = writers
	}
	if s.cfg.Workers {
		roles = append(slices.Clone(roles), token.RoleWorker)
	}
	return roles
}

// holds reports whether permissions give one of the roles in a namespace.
func holds(permissions []token.Permission, namespace string, roles []token.Role) bool {
	return slices.ContainsFunc(permissions, func(p token.Permission) bool {
		return (p.Namespace == namespace || p.Namespace == token.ClusterWide) && slices.Contains(roles, p.Role)
	})
}

// refuseToken turns a verifier's error into an answer that says no more than a
// caller needs, and a record that names whoever showed a genuine token.
func refuseToken(err error, record *audit.Record) *refusal {
	no := &refusal{status: http.StatusUnauthorized, told: "the token is refused", reason: err.Error(), verdict: audit.Unauthenticated}
	var refused *token.VerificationError
	if errors.As(err, &refused) && refused.Claims != nil {
		record.Subject, record.Issuer, record.TokenID = refused.Claims.Subject, refused.Claims.Issuer, refused.Claims.ID
		if errors.Is(err, token.ErrExpired) {
			no.told = "the token has expired"
		}
	}
	return no
}
