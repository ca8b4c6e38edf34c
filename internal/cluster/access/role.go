package access

import (
	"github.com/tenonhq/tenon/internal/token"
)

// roles is a set of what a caller may be in a namespace. The roles of the table
// form a line, reader to admin, with worker beside it: a grant is expanded once,
// when the token is read, and a check is then one operation.
type roles uint8

const (
	reader roles = 1 << iota
	worker
	client
	operator
	admin
	system
)

// expand is what a role includes. Worker is in none but the cluster's own
// administration: whoever starts workflows need not be able to answer for them,
// and a worker must not start them.
func expand(r token.Role) roles {
	switch r {
	case token.RoleReader:
		return reader
	case token.RoleWorker:
		return worker
	case token.RoleClient:
		return reader | client
	case token.RoleOperator:
		return reader | client | operator
	case token.RoleAdmin:
		return reader | client | operator | admin
	}
	return 0
}

// String names the least role of the set; that is what a refusal tells.
func (r roles) String() string {
	for _, named := range []struct {
		role roles
		name string
	}{{reader, "reader"}, {worker, "worker"}, {client, "client"}, {operator, "operator"}, {admin, "admin"}, {system, "system"}} {
		if r&named.role != 0 {
			return named.name
		}
	}
	return "none"
}

// missing is the text of a refusal for a role.
func (r roles) missing() string { return "missing role: " + r.String() }

// list names every role of the set.
func (r roles) list() []string {
	var names []string
	for bit := reader; bit <= system; bit <<= 1 {
		if r&bit != 0 {
			names = append(names, bit.String())
		}
	}
	return names
}
