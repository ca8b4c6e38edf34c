package auth0sim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

type doc = state.Doc

// call is one Management API request on its way through a handler, inside a
// transaction of the tenant's state.
type call struct {
	*state.Tx
	server *Server
	tenant *tenant
	route  *route
	http   *http.Request
	params []string // the path's parameters, decoded, in order
	query  url.Values
	body   any // decoded JSON; nil without a body
	caller caller
	// fetched is what the route's before brought from elsewhere.
	fetched *metadata
	// after runs once the transaction is committed.
	after []func()
}

// answer is what a handler returns; body is rendered as JSON.
type answer struct {
	status int
	body   any
	text   []byte // instead of body
	kind   string // content type of text
}

func ok(body any) (answer, error) { return answer{status: http.StatusOK, body: body}, nil }

func noContent() (answer, error) { return answer{status: http.StatusNoContent}, nil }

// object returns the body as an object; validation has made sure that it is one
// where the operation declares so.
func (c *call) object() doc {
	d, _ := c.body.(doc)
	if d == nil {
		return doc{}
	}
	return d
}

func (c *call) id() string {
	if len(c.params) == 0 {
		return ""
	}
	return c.params[len(c.params)-1]
}

// flag reads a boolean query parameter.
func (c *call) flag(name string) bool { return c.query.Get(name) == "true" }

// number reads an integer query parameter, already validated where declared.
func (c *call) number(name string, missing int) int {
	n, err := strconv.Atoi(c.query.Get(name))
	if err != nil || n < 0 {
		return missing
	}
	return n
}

// paging is what the query string asks of a listing.
type paging struct {
	checkpoint    bool
	take          int
	from          string
	page, perPage int
	totals        bool
}

func (c *call) paging(fallback int) paging {
	p := paging{page: c.number("page", 0), perPage: c.number("per_page", fallback), totals: c.flag("include_totals"), from: c.query.Get("from")}
	if p.perPage == 0 {
		p.perPage = fallback
	}
	_, hasTake := c.query["take"]
	p.checkpoint = hasTake || p.from != ""
	p.take = c.number("take", fallback)
	if p.take == 0 {
		p.take = fallback
	}
	return p
}

// listing describes a list answer.
type listing struct {
	family       string
	index, value string // restrict to an index
	wrap         string // key of the items in an object answer
	// checkpoint: `take`/`from` are understood. always: an object even when
	// nothing asks for one. bare: an array whatever is asked.
	checkpoint, always, bare bool
	where                    func(doc) bool // further restriction
	order                    func(a, b doc) int
	show                     func(*call, doc) (any, error)
	perPage                  int
	newestFirst              bool
	counted                  bool // totals come with length and next
}

// also adds a restriction.
func (l *listing) also(where func(doc) bool) {
	inner := l.where
	l.where = func(d doc) bool { return where(d) && (inner == nil || inner(d)) }
}

// list answers a listing in the shape that the request asks for.
func (c *call) list(l listing) (answer, error) {
	if l.perPage == 0 {
		l.perPage = 50
	}
	if l.show == nil {
		l.show = func(_ *call, d doc) (any, error) { return state.Public(d), nil }
	}
	p := c.paging(l.perPage)
	switch {
	case l.bare && !c.declares("page") && !c.declares("take"):
		docs, err := c.selectDocs(l, 0, 0)
		if err != nil {
			return answer{}, err
		}
		return c.items(l, docs, func(items []any) any { return items })
	case l.checkpoint && (p.checkpoint || l.always && !c.declares("page")):
		docs, next, err := c.checkpointPage(l, p)
		if err != nil {
			return answer{}, err
		}
		return c.items(l, docs, func(items []any) any {
			out := doc{l.wrap: items}
			if next != "" {
				out["next"] = next
			}
			return out
		})
	}
	if p.page*p.perPage >= 1000 {
		return answer{}, refuse(http.StatusBadRequest, "invalid_paging", "You can only page through the first 1000 records. See https://auth0.com/docs/users/search/v3/view-search-results-by-page#limitation")
	}
	docs, err := c.selectDocs(l, p.page*p.perPage, p.perPage)
	if err != nil {
		return answer{}, err
	}
	if !p.totals && !l.always || l.bare {
		return c.items(l, docs, func(items []any) any { return items })
	}
	total, err := c.total(l)
	if err != nil {
		return answer{}, err
	}
	return c.items(l, docs, func(items []any) any {
		out := doc{l.wrap: items, "start": p.page * p.perPage, "limit": p.perPage, "total": total}
		if l.counted {
			out["length"], out["next"] = len(items), ""
		}
		return out
	})
}

func (c *call) items(l listing, docs []doc, wrap func([]any) any) (answer, error) {
	items := make([]any, 0, len(docs))
	for _, d := range docs {
		if c.lags(d) {
			continue
		}
		v, err := l.show(c, d)
		if err != nil {
			return answer{}, err
		}
		if o, isObject := v.(doc); isObject {
			v = c.fields(o)
		}
		items = append(items, v)
	}
	return ok(wrap(items))
}

// lags reports whether a lag fault hides a document from listings: it is too
// young. Documents that do not say when they were made are always shown.
func (c *call) lags(d doc) bool {
	delay, lagging := c.http.Context().Value(lagKey{}).(time.Duration)
	if !lagging {
		return false
	}
	for key, format := range map[string]string{"created_at": time.RFC3339, "added_at": memberTime} {
		if at, err := time.Parse(format, str(d, key)); err == nil {
			return c.Now().Sub(at) < delay
		}
	}
	return false
}

func (c *call) selectDocs(l listing, offset, limit int) ([]doc, error) {
	o := state.ListOptions{Index: l.index, Value: l.value, Descending: l.newestFirst}
	if l.where == nil && l.order == nil {
		o.Offset, o.Limit = offset, limit
		docs, _, err := c.List(l.family, o)
		return docs, err
	}
	docs, _, err := c.List(l.family, o)
	if err != nil {
		return nil, err
	}
	if l.where != nil {
		docs = keep(docs, l.where)
	}
	if l.order != nil {
		slices.SortStableFunc(docs, l.order)
	}
	docs = docs[min(offset, len(docs)):]
	if limit > 0 {
		docs = docs[:min(limit, len(docs))]
	}
	return docs, nil
}

func (c *call) total(l listing) (int, error) {
	if l.where == nil {
		return c.Count(l.family, state.ListOptions{Index: l.index, Value: l.value})
	}
	docs, err := c.selectDocs(l, 0, 0)
	return len(docs), err
}

// checkpointPage reads a checkpoint page. The cursor is opaque to clients.
func (c *call) checkpointPage(l listing, p paging) (docs []doc, next string, err error) {
	o := state.ListOptions{Index: l.index, Value: l.value, Limit: p.take, After: p.from, Descending: l.newestFirst}
	for {
		var page []doc
		page, next, err = c.List(l.family, o)
		if err != nil {
			return nil, "", refuse(http.StatusBadRequest, "invalid_query_string", "The provided 'from' checkpoint is invalid.")
		}
		if l.where != nil {
			page = keep(page, l.where)
		}
		docs = append(docs, page...)
		if next == "" || len(docs) >= p.take {
			return docs, next, nil
		}
		o.After, o.Limit = next, p.take-len(docs)
	}
}

func keep(docs []doc, where func(doc) bool) []doc {
	out := docs[:0]
	for _, d := range docs {
		if where(d) {
			out = append(out, d)
		}
	}
	return out
}

func (c *call) declares(name string) bool {
	for _, p := range c.route.op.Query {
		if p.Name == name {
			return true
		}
	}
	return false
}

// fields applies `fields` and `include_fields` where the operation has them.
func (c *call) fields(d doc) doc {
	list := c.query.Get("fields")
	if list == "" || !c.declares("fields") {
		return d
	}
	named := map[string]bool{}
	for _, f := range strings.Split(list, ",") {
		// A path into an object selects the object's top-level key.
		top, _, _ := strings.Cut(strings.TrimSpace(f), ".")
		named[top] = true
	}
	include := c.query.Get("include_fields") != "false"
	if include {
		for _, k := range unasked[strings.Split(c.route.pattern, "/")[1]] {
			named[k] = true
		}
	}
	out := doc{}
	for k, v := range d {
		if named[k] == include {
			out[k] = v
		}
	}
	return out
}

// unasked names what a selection of fields shows without being asked.
var unasked = map[string][]string{
	"clients":     {"signing_keys"},
	"connections": {"id", "is_domain_connection", "authentication", "connected_accounts"},
}

// str, list, obj and boolean read a member of an object, zero if it has
// another type.
func str(d doc, key string) string { s, _ := d[key].(string); return s }

func list(d doc, key string) []any { l, _ := d[key].([]any); return l }

func obj(d doc, key string) doc { o, _ := d[key].(doc); return o }

func boolean(d doc, key string) bool { b, _ := d[key].(bool); return b }

func toStrings(l []any) []string {
	out := make([]string, 0, len(l))
	for _, e := range l {
		if s, isString := e.(string); isString {
			out = append(out, s)
		}
	}
	return out
}

func toAny(l []string) []any {
	out := make([]any, len(l))
	for i, s := range l {
		out[i] = s
	}
	return out
}

// mustDoc parses a literal of a declaration. Like regexp.MustCompile it is for
// constants alone: one that does not parse is a bug that the first test shows.
func mustDoc(text string) doc {
	var d doc
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		panic("malformed declaration: " + err.Error() + " in " + text)
	}
	return d
}
