package auth0sim

import (
	"fmt"
	"net/url"
	"strings"
)

// handler answers a call inside its transaction: a read transaction for GET.
type handler func(*call) (answer, error)

// route is one operation together with what answers it.
type route struct {
	op      *operation
	pattern string
	do      handler
	// before, if set, runs before the transaction: what has to ask another server.
	before func(*call) error
	// stream, if set, answers without a transaction and for as long as it likes.
	stream streamHandler
}

// router finds routes. Literal segments win over parameters.
type router struct{ root node }

type node struct {
	literal map[string]*node
	param   *node
	routes  map[string]*route // by method
}

func (r *router) add(method, pattern string, rt *route) error {
	n := &r.root
	for _, part := range strings.Split(strings.TrimPrefix(pattern, "/"), "/") {
		var next **node
		if part == "{}" {
			next = &n.param
		} else {
			if n.literal == nil {
				n.literal = map[string]*node{}
			}
			existing := n.literal[part]
			if existing == nil {
				existing = &node{}
				n.literal[part] = existing
			}
			next = &existing
		}
		if *next == nil {
			*next = &node{}
		}
		n = *next
	}
	if n.routes == nil {
		n.routes = map[string]*route{}
	}
	if n.routes[method] != nil {
		return fmt.Errorf("route %s %s is declared twice", method, pattern)
	}
	rt.pattern = pattern
	n.routes[method] = rt
	return nil
}

// find returns the route of an escaped path below /api/v2, and its parameters
// decoded: an identifier may hold an escaped slash.
func (r *router) find(method, escaped string) (*route, []string, bool) {
	parts := strings.Split(strings.TrimPrefix(strings.TrimSuffix(escaped, "/"), "/"), "/")
	return r.root.find(method, parts, nil)
}

func (n *node) find(method string, parts, params []string) (*route, []string, bool) {
	if len(parts) == 0 {
		rt, found := n.routes[method]
		return rt, params, found
	}
	if next := n.literal[parts[0]]; next != nil {
		if rt, p, found := next.find(method, parts[1:], params); found {
			return rt, p, true
		}
	}
	if n.param == nil || parts[0] == "" {
		return nil, nil, false
	}
	value, err := url.PathUnescape(parts[0])
	if err != nil {
		return nil, nil, false
	}
	return n.param.find(method, parts[1:], append(params[:len(params):len(params)], value))
}
