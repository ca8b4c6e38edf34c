package auth0sim

import (
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"unicode"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// query is a parsed search: the part of Lucene's syntax that Auth0 documents
// for users, logs and clients: field:value, quotes, prefixes and suffixes with
// *, ranges, _exists_, AND, OR, NOT, parentheses.
type query struct {
	op        string // "and", "or", "not", "term", "exists", "range", "all"
	parts     []*query
	field     string
	value     string
	exact     bool // quoted
	low, high string
	lowOpen   bool
	highOpen  bool
}

var errQuery = errors.New("the query is malformed")

// parseQuery reads a query; the empty one matches everything.
func parseQuery(text string) (*query, error) {
	p := &queryParser{rest: []rune(strings.TrimSpace(text))}
	if len(p.rest) == 0 {
		return &query{op: "all"}, nil
	}
	q, err := p.or(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if len(p.rest) > 0 {
		return nil, fmt.Errorf("%w near %q", errQuery, string(p.rest))
	}
	return q, nil
}

type queryParser struct{ rest []rune }

// maxDepth bounds nesting, so that a query cannot exhaust the stack.
const maxDepth = 50

func (p *queryParser) space() {
	for len(p.rest) > 0 && unicode.IsSpace(p.rest[0]) {
		p.rest = p.rest[1:]
	}
}

func (p *queryParser) word(w string) bool {
	p.space()
	n := len(w)
	if len(p.rest) < n || string(p.rest[:n]) != w {
		return false
	}
	if len(p.rest) > n && !unicode.IsSpace(p.rest[n]) && p.rest[n] != '(' {
		return false
	}
	p.rest = p.rest[n:]
	return true
}

func (p *queryParser) char(c rune) bool {
	p.space()
	if len(p.rest) > 0 && p.rest[0] == c {
		p.rest = p.rest[1:]
		return true
	}
	return false
}

func (p *queryParser) or(depth int) (*query, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: nested too deeply", errQuery)
	}
	left, err := p.and(depth)
	if err != nil {
		return nil, err
	}
	for p.word("OR") || p.word("||") {
		right, err := p.and(depth)
		if err != nil {
			return nil, err
		}
		left = &query{op: "or", parts: []*query{left, right}}
	}
	return left, nil
}

func (p *queryParser) and(depth int) (*query, error) {
	left, err := p.unary(depth)
	if err != nil {
		return nil, err
	}
	for {
		joined := p.word("AND") || p.word("&&")
		p.space()
		if !joined && (len(p.rest) == 0 || p.rest[0] == ')' || p.peekOr()) {
			return left, nil
		}
		right, err := p.unary(depth)
		if err != nil {
			return nil, err
		}
		left = &query{op: "and", parts: []*query{left, right}}
	}
}

func (p *queryParser) peekOr() bool {
	saved := p.rest
	found := p.word("OR") || p.word("||")
	p.rest = saved
	return found
}

func (p *queryParser) unary(depth int) (*query, error) {
	if p.word("NOT") || p.char('!') || p.minus() {
		inner, err := p.unary(depth + 1)
		if err != nil {
			return nil, err
		}
		if depth > maxDepth {
			return nil, fmt.Errorf("%w: nested too deeply", errQuery)
		}
		return &query{op: "not", parts: []*query{inner}}, nil
	}
	if p.char('(') {
		inner, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.char(')') {
			return nil, fmt.Errorf("%w: a parenthesis is not closed", errQuery)
		}
		return inner, nil
	}
	return p.term(depth)
}

func (p *queryParser) minus() bool {
	p.space()
	if len(p.rest) > 1 && p.rest[0] == '-' && !unicode.IsSpace(p.rest[1]) {
		p.rest = p.rest[1:]
		return true
	}
	return false
}

func (p *queryParser) term(depth int) (*query, error) {
	p.space()
	if len(p.rest) == 0 {
		return nil, fmt.Errorf("%w: it ends too early", errQuery)
	}
	field, quotedField := p.token(":")
	if field == "" && !quotedField {
		return nil, fmt.Errorf("%w near %q", errQuery, string(p.rest))
	}
	if len(p.rest) == 0 || p.rest[0] != ':' {
		return &query{op: "term", value: field, exact: quotedField}, nil
	}
	p.rest = p.rest[1:]
	p.space()
	switch {
	case len(p.rest) == 0:
		return nil, fmt.Errorf("%w: %s has no value", errQuery, field)
	case p.rest[0] == '[' || p.rest[0] == '{':
		return p.ranged(field)
	case p.rest[0] == '(':
		p.rest = p.rest[1:]
		inner, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.char(')') {
			return nil, fmt.Errorf("%w: a parenthesis is not closed", errQuery)
		}
		inner.distribute(field)
		return inner, nil
	case p.rest[0] == '>' || p.rest[0] == '<':
		return p.compared(field)
	}
	value, exact := p.token("")
	if value == "" && !exact {
		return nil, fmt.Errorf("%w: %s has no value", errQuery, field)
	}
	if field == "_exists_" {
		return &query{op: "exists", field: value}, nil
	}
	return &query{op: "term", field: field, value: value, exact: exact}, nil
}

// distribute gives the field to the bare terms of field:(a OR b).
func (q *query) distribute(field string) {
	if q.op == "term" && q.field == "" {
		q.field = field
	}
	for _, p := range q.parts {
		p.distribute(field)
	}
}

func (p *queryParser) compared(field string) (*query, error) {
	q := &query{op: "range", field: field, low: "*", high: "*"}
	greater := p.rest[0] == '>'
	p.rest = p.rest[1:]
	open := true
	if len(p.rest) > 0 && p.rest[0] == '=' {
		open = false
		p.rest = p.rest[1:]
	}
	value, _ := p.token("")
	if greater {
		q.low, q.lowOpen = value, open
	} else {
		q.high, q.highOpen = value, open
	}
	return q, nil
}

func (p *queryParser) ranged(field string) (*query, error) {
	q := &query{op: "range", field: field, lowOpen: p.rest[0] == '{'}
	p.rest = p.rest[1:]
	q.low, _ = p.token("")
	if !p.word("TO") {
		return nil, fmt.Errorf("%w: a range needs TO", errQuery)
	}
	q.high, _ = p.token("]}")
	p.space()
	if len(p.rest) == 0 || p.rest[0] != ']' && p.rest[0] != '}' {
		return nil, fmt.Errorf("%w: a range is not closed", errQuery)
	}
	q.highOpen = p.rest[0] == '}'
	p.rest = p.rest[1:]
	return q, nil
}

// token reads a quoted phrase or a bare word. stop holds characters that end a
// bare word besides spaces and parentheses.
func (p *queryParser) token(stop string) (string, bool) {
	p.space()
	var out []rune
	if len(p.rest) > 0 && p.rest[0] == '"' {
		p.rest = p.rest[1:]
		for len(p.rest) > 0 && p.rest[0] != '"' {
			if p.rest[0] == '\\' && len(p.rest) > 1 {
				p.rest = p.rest[1:]
			}
			out = append(out, p.rest[0])
			p.rest = p.rest[1:]
		}
		if len(p.rest) > 0 {
			p.rest = p.rest[1:]
		}
		return string(out), true
	}
	for len(p.rest) > 0 {
		c := p.rest[0]
		if unicode.IsSpace(c) || c == '(' || c == ')' || strings.ContainsRune(stop, c) {
			break
		}
		if c == '\\' && len(p.rest) > 1 {
			p.rest = p.rest[1:]
			c = p.rest[0]
		}
		out = append(out, c)
		p.rest = p.rest[1:]
	}
	return string(out), false
}

// matches evaluates the query on a document.
func (q *query) matches(d doc) bool {
	switch q.op {
	case "all":
		return true
	case "and":
		return q.parts[0].matches(d) && q.parts[1].matches(d)
	case "or":
		return q.parts[0].matches(d) || q.parts[1].matches(d)
	case "not":
		return !q.parts[0].matches(d)
	case "exists":
		return len(valuesAt(d, q.field)) > 0
	case "range":
		for _, v := range valuesAt(d, q.field) {
			if inRange(v, q) {
				return true
			}
		}
		return false
	default:
		if q.field == "" {
			// A bare word is looked for where a person would expect it.
			for _, f := range []string{"email", "name", "nickname", "username", "given_name", "family_name", "user_id", "phone_number", "description", "type"} {
				if matchAny(valuesAt(d, f), q) {
					return true
				}
			}
			return false
		}
		return matchAny(valuesAt(d, q.field), q)
	}
}

func matchAny(values []any, q *query) bool {
	for _, v := range values {
		if matchValue(v, q) {
			return true
		}
	}
	return false
}

func matchValue(v any, q *query) bool {
	var have string
	switch v := v.(type) {
	case string:
		have = v
	case nil:
		return false
	default:
		have = quoted(v)
	}
	have = strings.ToLower(have)
	want := strings.ToLower(q.value)
	if q.exact || !strings.Contains(want, "*") {
		return have == want
	}
	return wildcard(want, have)
}

// wildcard matches a pattern in which * stands for any text.
func wildcard(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return strings.HasSuffix(text, parts[len(parts)-1])
}

func inRange(v any, q *query) bool {
	compare := func(bound string) int {
		if n, isNumber := v.(float64); isNumber {
			if b, err := strconv.ParseFloat(bound, 64); err == nil {
				switch {
				case n < b:
					return -1
				case n > b:
					return 1
				}
				return 0
			}
		}
		text, isText := v.(string)
		if !isText {
			text = quoted(v)
		}
		return strings.Compare(strings.ToLower(text), strings.ToLower(bound))
	}
	if q.low != "*" {
		if c := compare(q.low); c < 0 || c == 0 && q.lowOpen {
			return false
		}
	}
	if q.high != "*" {
		c := compare(q.high)
		// A date without a time stands for the whole day.
		if text, isText := v.(string); isText && c > 0 && strings.HasPrefix(text, q.high) && !q.highOpen {
			c = 0
		}
		if c > 0 || c == 0 && q.highOpen {
			return false
		}
	}
	return true
}

// valuesAt collects the values at a dotted path, through arrays.
func valuesAt(v any, path string) []any {
	if path == "" {
		switch v := v.(type) {
		case nil:
			return nil
		case []any:
			var out []any
			for _, e := range v {
				out = append(out, valuesAt(e, "")...)
			}
			return out
		default:
			return []any{v}
		}
	}
	switch v := v.(type) {
	case doc:
		if e, whole := v[path]; whole {
			return valuesAt(e, "")
		}
		head, tail, more := strings.Cut(path, ".")
		if !more || head == state.Private {
			return nil
		}
		return valuesAt(v[head], tail)
	case []any:
		var out []any
		for _, e := range v {
			out = append(out, valuesAt(e, path)...)
		}
		return out
	}
	return nil
}

// userIndexes are the fields of users that have an index, by the name it has.
var userIndexes = map[string]string{"email": "email", "username": "username", "phone_number": "phone_number", "identities.connection": "connection"}

// indexed finds a term that every match must satisfy and that an index
// answers, so that a search need not read the whole directory.
func (q *query) indexed() (index, value string, found bool) {
	switch q.op {
	case "and":
		if index, value, found = q.parts[0].indexed(); found {
			return index, value, true
		}
		return q.parts[1].indexed()
	case "term":
		if name, has := userIndexes[q.field]; has && (q.exact || !strings.Contains(q.value, "*")) {
			if name == "email" || name == "username" {
				return name, strings.ToLower(q.value), true
			}
			return name, q.value, true
		}
	}
	return "", "", false
}

// searchUsers answers GET /users.
func searchUsers(c *call) (answer, error) {
	q, err := parseQuery(c.query.Get("q"))
	if err != nil {
		return answer{}, refuse(http.StatusBadRequest, "invalid_query", "%s", err.Error())
	}
	l := listing{family: "users", wrap: "users", show: func(_ *call, u doc) (any, error) { return showUser(u), nil }}
	if q.op != "all" {
		l.where = q.matches
		if index, value, found := q.indexed(); found {
			l.index, l.value = index, value
		} else if q.op == "term" && q.field == "user_id" && (q.exact || !strings.Contains(q.value, "*")) {
			return c.userByID(q.value)
		}
	}
	if name := c.query.Get("connection"); name != "" && l.index == "" {
		l.index, l.value = "connection", name
	}
	p := c.paging(50)
	if p.checkpoint {
		l.checkpoint = true
		return c.list(l)
	}
	if p.page*p.perPage >= 1000 {
		return answer{}, refuse(http.StatusBadRequest, "invalid_paging", "You can only page through the first 1000 records. See https://auth0.com/docs/users/search/v3/view-search-results-by-page#limitation")
	}
	return c.sortedUsers(l, p)
}

func (c *call) userByID(id string) (answer, error) {
	u, found, err := c.Get("users", id)
	if err != nil {
		return answer{}, err
	}
	docs := []doc{}
	if found {
		docs = append(docs, u)
	}
	return c.userPage(docs, len(docs), c.paging(50))
}

func (c *call) sortedUsers(l listing, p paging) (answer, error) {
	order := c.query.Get("sort")
	if order == "" {
		docs, err := c.selectDocs(l, p.page*p.perPage, p.perPage)
		if err != nil {
			return answer{}, err
		}
		total := len(docs)
		if p.totals && (len(docs) == p.perPage || p.page > 0) {
			if total, err = c.total(l); err != nil {
				return answer{}, err
			}
		}
		return c.userPage(docs, total, p)
	}
	field, direction, _ := strings.Cut(order, ":")
	docs, err := c.selectDocs(l, 0, 0)
	if err != nil {
		return answer{}, err
	}
	key := func(d doc) string {
		v := first(valuesAt(d, field))
		if s, isText := v.(string); isText {
			return strings.ToLower(s)
		}
		return quoted(v)
	}
	sort.SliceStable(docs, func(i, j int) bool {
		if direction == "-1" {
			return key(docs[i]) > key(docs[j])
		}
		return key(docs[i]) < key(docs[j])
	})
	total := len(docs)
	docs = docs[min(p.page*p.perPage, total):]
	return c.userPage(docs[:min(p.perPage, len(docs))], total, p)
}

func (c *call) userPage(docs []doc, total int, p paging) (answer, error) {
	items := make([]any, 0, len(docs))
	for _, u := range docs {
		if !c.lags(u) {
			items = append(items, c.fields(showUser(u)))
		}
	}
	if !p.totals {
		return ok(items)
	}
	return ok(doc{"users": items, "start": p.page * p.perPage, "limit": p.perPage, "length": len(items), "total": total})
}
