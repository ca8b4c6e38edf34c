package auth0sim

import (
	"net/http"
	"slices"
	"strings"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// family declares a collection of documents: what is said here is all that
// tells one resource of the Management API from another. The request bodies
// are the catalogue's business, so a family does not repeat them.
type family struct {
	path  string // below /api/v2; a parent's id is "{}"
	store string // state family; defaults to path without its leading slash
	field string // name of the identifier; defaults to "id"
	kind  state.Kind
	// parent and parentField make it a sub-collection: documents carry the
	// parent's identifier in that field.
	parent      string // state family of the parent
	parentField string
	parentGone  *apiError

	list listing // family, index and value are filled in

	created, updated, deleted int       // status codes; default 201, 200, 204
	missing                   *apiError // the 404
	// idempotentDelete: deleting what is not there is a success.
	idempotentDelete bool
	// put: PUT on the item replaces it.
	put bool

	// defaults are added at creation where the body is silent; a value that is
	// an object fills the gaps of the body's object.
	defaults string
	// stamped adds created_at and updated_at.
	stamped bool
	// mergeKeys names objects that PATCH merges member by member, null
	// deleting one. All other keys are replaced, and deleted by null.
	mergeKeys []string
	// keepNull names keys for which null is a value of its own.
	keepNull []string
	// unique names a field that no two documents may share, anyCase says that
	// capitals make no difference; clash is the answer.
	unique  string
	anyCase bool
	clash   *apiError
	// filters names query parameters that select by the field of that name, or
	// by another: "parameter:field". Given several times, any value fits; a
	// parameter written with a comma, "parameter,", holds a list.
	filters []string
	// searched: q is a query. sorted: sort names a field and 1 or -1.
	searched, sorted bool

	// prepare runs before a new document is stored, change before a changed
	// one is (old is a copy), gone after one was deleted; show renders.
	prepare func(c *call, d doc) error
	change  func(c *call, old, d, patch doc) error
	gone    func(c *call, d doc) error
	show    func(c *call, d doc) (any, error)
	// normalise adjusts a valid body before it is merged.
	normalise func(c *call, body doc) error
	// find looks a document up by the path's parameter; default: by identifier.
	find func(c *call, id string) (doc, bool, error)
	// only restricts the methods: a subset of "list get create patch put delete".
	only string
}

func (f *family) fill() {
	if f.store == "" {
		f.store = strings.TrimPrefix(f.path, "/")
	}
	if f.field == "" {
		f.field = "id"
	}
	if f.created == 0 {
		f.created = http.StatusCreated
	}
	if f.updated == 0 {
		f.updated = http.StatusOK
	}
	if f.deleted == 0 {
		f.deleted = http.StatusNoContent
	}
	if f.missing == nil {
		f.missing = errNoRoute
	}
	if f.only == "" {
		f.only = "list get create patch delete"
		if f.put {
			f.only += " put"
		}
	}
	if f.show == nil {
		f.show = func(_ *call, d doc) (any, error) { return state.Public(d), nil }
	}
	if f.find == nil {
		f.find = func(c *call, id string) (doc, bool, error) {
			d, found, err := c.Get(f.store, id)
			if err == nil && found && f.parentField != "" && str(d, f.parentField) != c.params[0] {
				return nil, false, nil
			}
			return d, found, err
		}
	}
}

// routes returns the handlers of the family's methods.
func (f *family) routes() map[string]handler {
	f.fill()
	item := f.path + "/{}"
	all := map[string]struct {
		route string
		do    handler
	}{
		"list":   {"GET " + f.path, f.doList},
		"create": {"POST " + f.path, f.doCreate},
		"get":    {"GET " + item, f.doGet},
		"patch":  {"PATCH " + item, f.doPatch},
		"put":    {"PUT " + item, f.doPut},
		"delete": {"DELETE " + item, f.doDelete},
	}
	out := map[string]handler{}
	for _, name := range strings.Fields(f.only) {
		out[all[name].route] = all[name].do
	}
	return out
}

func (f *family) checkParent(c *call) error {
	if f.parent == "" {
		return nil
	}
	_, found, err := c.Get(f.parent, c.params[0])
	if err != nil {
		return err
	}
	if !found {
		return f.parentGone
	}
	return nil
}

func (f *family) doList(c *call) (answer, error) {
	if err := f.checkParent(c); err != nil {
		return answer{}, err
	}
	l := f.list
	l.family, l.show = f.store, f.show
	if f.parentField != "" {
		l.index, l.value = f.parentField, c.params[0]
	}
	if err := f.narrow(c, &l); err != nil {
		return answer{}, err
	}
	return c.list(l)
}

// narrow restricts and orders a listing as the query string asks.
func (f *family) narrow(c *call, l *listing) error {
	for _, name := range f.filters {
		parameter, field, renamed := strings.Cut(name, ":")
		if !renamed {
			field = parameter
		}
		wanted := c.query[strings.TrimSuffix(parameter, ",")]
		if strings.HasSuffix(parameter, ",") {
			wanted, field = splitList(wanted), strings.TrimSuffix(field, ",")
		}
		if len(wanted) > 0 && wanted[0] != "" {
			l.also(func(d doc) bool {
				return slices.ContainsFunc(wanted, func(want string) bool { return equalsText(d[field], want) })
			})
		}
	}
	if text := c.query.Get("q"); text != "" && f.searched {
		q, err := parseQuery(text)
		if err != nil {
			return refuse(http.StatusBadRequest, "invalid_query", "%s", err.Error())
		}
		l.also(q.matches)
	}
	if field, direction, sorted := strings.Cut(c.query.Get("sort"), ":"); sorted && f.sorted {
		l.order = func(a, b doc) int {
			n := strings.Compare(strings.ToLower(str(a, field)), strings.ToLower(str(b, field)))
			if direction == "-1" {
				return -n
			}
			return n
		}
	}
	return nil
}

func equalsText(v any, want string) bool {
	switch v := v.(type) {
	case string:
		return v == want
	case nil:
		return want == "false"
	default:
		return quoted(v) == want
	}
}

func (f *family) get(c *call) (doc, error) {
	if err := f.checkParent(c); err != nil {
		return nil, err
	}
	d, found, err := f.find(c, c.id())
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, f.missing
	}
	return d, nil
}

func (f *family) answer(c *call, status int, d doc) (answer, error) {
	v, err := f.show(c, d)
	if err != nil {
		return answer{}, err
	}
	if o, isObject := v.(doc); isObject {
		v = c.fields(o)
	}
	return answer{status: status, body: v}, nil
}

func (f *family) doGet(c *call) (answer, error) {
	d, err := f.get(c)
	if err != nil {
		return answer{}, err
	}
	return f.answer(c, http.StatusOK, d)
}

func (f *family) doCreate(c *call) (answer, error) {
	if err := f.checkParent(c); err != nil {
		return answer{}, err
	}
	d, err := f.create(c, c.object())
	if err != nil {
		return answer{}, err
	}
	return f.answer(c, f.created, d)
}

// create stores a new document made of the body.
func (f *family) create(c *call, body doc) (doc, error) {
	if f.normalise != nil {
		if err := f.normalise(c, body); err != nil {
			return nil, err
		}
	}
	d := state.Clone(body)
	dropNulls(d, f.keepNull)
	if f.defaults != "" {
		fillGaps(d, mustDoc(f.defaults))
	}
	if _, given := d[f.field]; !given && f.kind != "" {
		d[f.field] = c.NewID(f.kind)
	}
	if f.parentField != "" {
		d[f.parentField] = c.params[0]
	}
	if f.stamped {
		now := state.Timestamp(c.Now())
		d["created_at"], d["updated_at"] = now, now
	}
	if err := f.checkUnique(c, d, ""); err != nil {
		return nil, err
	}
	if err := c.tenant.plan.entity(c, f.store); err != nil {
		return nil, err
	}
	if f.prepare != nil {
		if err := f.prepare(c, d); err != nil {
			return nil, err
		}
	}
	return d, c.Put(f.store, str(d, f.field), d)
}

func (f *family) checkUnique(c *call, d doc, self string) error {
	if f.unique == "" || str(d, f.unique) == "" {
		return nil
	}
	key := str(d, f.unique)
	if f.anyCase {
		key = strings.ToLower(key)
	}
	others, err := c.Find(f.store, f.unique, key)
	if err != nil {
		return err
	}
	for _, o := range others {
		if str(o, f.field) != self {
			return f.clash
		}
	}
	return nil
}

func (f *family) doPatch(c *call) (answer, error) {
	d, err := f.get(c)
	if err != nil {
		return answer{}, err
	}
	if err := f.patch(c, d, c.object()); err != nil {
		return answer{}, err
	}
	return f.answer(c, f.updated, d)
}

// patch merges the body into the document and stores it.
func (f *family) patch(c *call, d, body doc) error {
	old := state.Clone(d)
	if f.normalise != nil {
		if err := f.normalise(c, body); err != nil {
			return err
		}
	}
	merge(d, state.Clone(body), f.mergeKeys, f.keepNull)
	return f.save(c, old, d, body)
}

func (f *family) save(c *call, old, d, body doc) error {
	if f.stamped {
		d["updated_at"] = state.Timestamp(c.Now())
	}
	if err := f.checkUnique(c, d, str(old, f.field)); err != nil {
		return err
	}
	if f.change != nil {
		if err := f.change(c, old, d, body); err != nil {
			return err
		}
	}
	return c.Put(f.store, str(d, f.field), d)
}

func (f *family) doPut(c *call) (answer, error) {
	old, err := f.get(c)
	if err != nil {
		return answer{}, err
	}
	body := c.object()
	if f.normalise != nil {
		if err := f.normalise(c, body); err != nil {
			return answer{}, err
		}
	}
	d := state.Clone(body)
	dropNulls(d, f.keepNull)
	for _, kept := range []string{f.field, f.parentField, "created_at", state.Private} {
		if v, had := old[kept]; had && kept != "" {
			d[kept] = v
		}
	}
	if err := f.save(c, old, d, body); err != nil {
		return answer{}, err
	}
	return f.answer(c, f.updated, d)
}

func (f *family) doDelete(c *call) (answer, error) {
	d, err := f.get(c)
	if err == error(f.missing) && f.idempotentDelete {
		return noContent()
	}
	if err != nil {
		return answer{}, err
	}
	if _, err := c.Delete(f.store, str(d, f.field)); err != nil {
		return answer{}, err
	}
	if f.gone != nil {
		if err := f.gone(c, d); err != nil {
			return answer{}, err
		}
	}
	return answer{status: f.deleted}, nil
}

// merge applies a PATCH body: keys are replaced and deleted by null, those of
// mergeKeys member by member.
func merge(d, body doc, mergeKeys, keepNull []string) {
	for k, v := range body {
		if has(mergeKeys, k) {
			into, isObject := d[k].(doc)
			from, patchIsObject := v.(doc)
			if isObject && patchIsObject {
				merge(into, from, nil, nil)
				continue
			}
		}
		if v == nil && !has(keepNull, k) {
			delete(d, k)
			continue
		}
		if o, isObject := v.(doc); isObject && has(mergeKeys, k) {
			dropNulls(o, nil)
		}
		d[k] = v
	}
}

// deepen completes the objects of a patch with what they do not mention.
func deepen(patch, have doc) {
	for k, v := range patch {
		if o, isObject := v.(doc); isObject {
			fillGaps(o, state.Clone(obj(have, k)))
		}
	}
}

func dropNulls(d doc, keepNull []string) {
	for k, v := range d {
		if v == nil && !has(keepNull, k) {
			delete(d, k)
		}
	}
}

// fillGaps copies what d lacks from defaults, objects member by member.
func fillGaps(d, defaults doc) {
	for k, v := range defaults {
		have, present := d[k]
		if !present {
			d[k] = v
			continue
		}
		into, isObject := have.(doc)
		from, defaultIsObject := v.(doc)
		if isObject && defaultIsObject {
			fillGaps(into, from)
		}
	}
}

func has(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// singleton declares one document that always exists.
type singleton struct {
	path      string
	store, id string
	defaults  string
	put       bool // PUT replaces; otherwise PATCH merges
	both      bool // PUT and PATCH
	mergeKeys []string
	deepKeys  []string // of mergeKeys: merged in depth, not one level
	keepNull  []string
	check     func(c *call, d doc) error // before it is stored
	show      func(c *call, d doc) (any, error)
	allowed   func(c *call) error // before anything
}

func (s *singleton) load(c *call) (doc, error) {
	d, found, err := c.Get(s.store, s.id)
	if err != nil || found {
		return d, err
	}
	if s.defaults == "" {
		return doc{}, nil
	}
	return mustDoc(s.defaults), nil
}

func (s *singleton) routes() map[string]handler {
	if s.store == "" {
		s.store = strings.TrimPrefix(s.path, "/")
	}
	if s.id == "" {
		s.id = "settings"
	}
	if s.show == nil {
		s.show = func(_ *call, d doc) (any, error) { return state.Public(d), nil }
	}
	write := func(replace bool) handler {
		return func(c *call) (answer, error) {
			if s.allowed != nil {
				if err := s.allowed(c); err != nil {
					return answer{}, err
				}
			}
			d, err := s.load(c)
			if err != nil {
				return answer{}, err
			}
			if replace {
				d = state.Clone(c.object())
				dropNulls(d, s.keepNull)
			} else {
				body := state.Clone(c.object())
				for _, k := range s.deepKeys {
					deepen(obj(body, k), obj(d, k))
				}
				merge(d, body, s.mergeKeys, s.keepNull)
			}
			if s.check != nil {
				if err := s.check(c, d); err != nil {
					return answer{}, err
				}
			}
			if err := c.Put(s.store, s.id, d); err != nil {
				return answer{}, err
			}
			v, err := s.show(c, d)
			if err != nil {
				return answer{}, err
			}
			return ok(v)
		}
	}
	out := map[string]handler{"GET " + s.path: func(c *call) (answer, error) {
		if s.allowed != nil {
			if err := s.allowed(c); err != nil {
				return answer{}, err
			}
		}
		d, err := s.load(c)
		if err != nil {
			return answer{}, err
		}
		v, err := s.show(c, d)
		if err != nil {
			return answer{}, err
		}
		if o, isObject := v.(doc); isObject {
			v = c.fields(o)
		}
		return ok(v)
	}}
	if s.put || s.both {
		out["PUT "+s.path] = write(true)
	}
	if !s.put || s.both {
		out["PATCH "+s.path] = write(false)
	}
	return out
}
