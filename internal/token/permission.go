package token

import (
	"fmt"
	"strings"
)

// Role is what the bearer of a token may be. What each role may do is the
// policy of internal/cluster/access.
type Role string

// The roles that a permission can name.
const (
	RoleReader   Role = "reader"
	RoleClient   Role = "client"
	RoleWorker   Role = "worker"
	RoleOperator Role = "operator"
	RoleAdmin    Role = "admin"
)

// Roles lists every role, the least powerful first.
func Roles() []Role {
	return []Role{RoleReader, RoleWorker, RoleClient, RoleOperator, RoleAdmin}
}

// ParseRole reads a role's name, in any case. It also reads the names that
// stock Temporal servers use: "read" is reader and "write" is client. A stock
// "write" may moreover terminate, delete and poll; here those are the roles
// operator and worker, which have to be granted by name.
func ParseRole(text string) (Role, error) {
	switch strings.ToLower(text) {
	case "reader", "read":
		return RoleReader, nil
	case "client", "write":
		return RoleClient, nil
	case "worker":
		return RoleWorker, nil
	case "operator":
		return RoleOperator, nil
	case "admin":
		return RoleAdmin, nil
	}
	return "", fmt.Errorf("unknown role %.40q (reader, client, worker, operator, admin)", text)
}

// ClusterWide is the namespace part of a permission that holds in every
// namespace. With the role admin it is the whole cluster's administration.
const ClusterWide = "temporal-system"

// clusterWideAlias is the short form of ClusterWide. Because of it a namespace
// must not be named "system": its permissions would be read as cluster-wide.
const clusterWideAlias = "system"

// The scopes of the three tokens that an Issuer keeps. Each holds in every
// namespace, because a scope names none.
const (
	ScopeSystem = "temporal-system"
	ScopeWorker = "temporal-worker"
	ScopeClient = "temporal-client"
)

// Permission is a role in a namespace.
type Permission struct {
	// Namespace is a namespace's name, or ClusterWide.
	Namespace string
	Role      Role
}

// maxPermissionLen bounds one permission's text: a namespace name of Temporal
// has at most 1000 bytes.
const maxPermissionLen = 1024

// ParsePermission reads "<namespace>:<role>". The role follows the last colon:
// it can contain none, while a namespace's name can. "system:<role>" is
// "temporal-system:<role>".
func ParsePermission(text string) (Permission, error) {
	if len(text) > maxPermissionLen {
		return Permission{}, fmt.Errorf("permission is %d bytes long (at most %d)", len(text), maxPermissionLen)
	}
	i := strings.LastIndexByte(text, ':')
	if i <= 0 {
		return Permission{}, fmt.Errorf("permission %.40q has not the form <namespace>:<role>", text)
	}
	role, err := ParseRole(text[i+1:])
	if err != nil {
		return Permission{}, err
	}
	ns := text[:i]
	// A name that is not printable, or padded, is one that a person would take
	// for another name.
	if strings.TrimSpace(ns) != ns || strings.ContainsFunc(ns, unprintable) {
		return Permission{}, fmt.Errorf("permission %.40q names an impossible namespace", text)
	}
	// Exactly: namespaces differ by case, and "System" may be one of them.
	if ns == clusterWideAlias {
		ns = ClusterWide
	}
	return Permission{Namespace: ns, Role: role}, nil
}

// ParseGrant reads a role and a namespace that a person gave apart. The role
// "system" is the cluster's administration, and has no namespace; for other
// roles the namespace is required, and "temporal-system" or "system" means all.
func ParseGrant(role, namespace string) (Permission, error) {
	if strings.EqualFold(role, clusterWideAlias) {
		if namespace != "" && namespace != clusterWideAlias && namespace != ClusterWide {
			return Permission{}, fmt.Errorf("role system holds in every namespace, not in %.40q alone", namespace)
		}
		return Permission{ClusterWide, RoleAdmin}, nil
	}
	r, err := ParseRole(role)
	if err != nil {
		return Permission{}, err
	}
	if namespace == "" {
		return Permission{}, fmt.Errorf("role %s needs a namespace", r)
	}
	return ParsePermission(namespace + ":" + string(r))
}

func unprintable(r rune) bool { return r < 0x20 || r == 0x7f || r == '\uFFFD' || r == '\u200b' }

// ParseScope reads the scopes that stand for a permission. Other scopes
// ("openid", "profile") are no permission, and ok is false.
func ParseScope(scope string) (p Permission, ok bool) {
	switch scope {
	case ScopeSystem:
		return Permission{ClusterWide, RoleAdmin}, true
	case ScopeWorker:
		return Permission{ClusterWide, RoleWorker}, true
	case ScopeClient:
		return Permission{ClusterWide, RoleClient}, true
	}
	return Permission{}, false
}

// String is the permission as tokens carry it.
func (p Permission) String() string { return p.Namespace + ":" + string(p.Role) }
