package v1

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// The types of kinds are the one description of the language. This file reads
// them: the loader, the checks, the JSON Schemas and Explain all follow the same
// model, so that none of them can know a field that another does not.
//
// A field's rules are in its tag `tenon:"…"`, separated by semicolons:
//
//	required  immutable  secret
//	enum=a|b|            allowed values; an empty one lets the field be emptied
//	each=a|b  keys=a|b   allowed items of a list, allowed keys of a map
//	min=0  max=24        numbers
//	hint=text            what a pattern asks for, in words
//	minLength=  maxLength=  pattern=      texts
//	minItems=  maxItems=                  lists
//	ref=Auth0Client.client_id             what a valueFrom without kind and fieldPath reads
//	default=text         what an absent field comes to; without, it is left alone

// shape is what a field can hold.
type shape int

const (
	shapeObject shape = iota
	shapeList
	shapeMap
	shapeString
	shapeBool
	shapeInt
	shapeNumber
	shapeRef
	shapeAny
)

// typeModel describes a Go type of the language.
type typeModel struct {
	shape shape
	// name is the Go type of an object.
	name   string
	fields []*fieldModel
	// elem is what a list or map holds.
	elem *typeModel
}

// fieldModel describes a field of an object.
type fieldModel struct {
	// key is the field's name in snake_case, camel in camelCase.
	key, camel string
	// goName is the name of the Go field.
	goName string
	index  int
	typ    *typeModel
	rules  rules
}

// rules are what a tag says.
type rules struct {
	required, immutable, secret  bool
	enum, each, keys             []string
	min, max                     *float64
	minLength, maxLength         *int
	minItems, maxItems           *int
	pattern                      *regexp.Regexp
	refKind, refOutput, fallback string
	hint                         string
}

func (t *typeModel) field(key string) *fieldModel {
	for _, f := range t.fields {
		if f.key == key || f.camel == key {
			return f
		}
	}
	return nil
}

// models holds the model of each kind's spec, by kind. They are made once and
// never changed.
var models = sync.OnceValue(func() map[string]*typeModel {
	out := map[string]*typeModel{}
	for kind, newSpec := range specs() {
		out[kind] = modelOf(reflect.TypeOf(newSpec()).Elem())
	}
	return out
})

var (
	refType    = reflect.TypeFor[StringOrRef]()
	secretType = reflect.TypeFor[SecretRef]()
)

func modelOf(t reflect.Type) *typeModel {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == refType {
		return &typeModel{shape: shapeRef}
	}
	switch t.Kind() {
	case reflect.String:
		return &typeModel{shape: shapeString}
	case reflect.Bool:
		return &typeModel{shape: shapeBool}
	case reflect.Int:
		return &typeModel{shape: shapeInt}
	case reflect.Float64:
		return &typeModel{shape: shapeNumber}
	case reflect.Slice:
		return &typeModel{shape: shapeList, elem: modelOf(t.Elem())}
	case reflect.Map:
		return &typeModel{shape: shapeMap, elem: modelOf(t.Elem())}
	case reflect.Struct:
		m := &typeModel{shape: shapeObject, name: t.Name()}
		for i := range t.NumField() {
			f := t.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			m.fields = append(m.fields, &fieldModel{
				key: key, camel: camelCase(key), goName: f.Name, index: i, typ: modelOf(f.Type), rules: parseRules(f.Tag.Get("tenon")),
			})
		}
		return m
	}
	return &typeModel{shape: shapeAny}
}

// camelCase is the JSON name of a Protocol Buffers field: an underscore goes, and
// the letter after it becomes a capital.
func camelCase(snake string) string {
	var b strings.Builder
	up := false
	for _, r := range snake {
		switch {
		case r == '_':
			up = true
			continue
		case up && r >= 'a' && r <= 'z':
			r -= 'a' - 'A'
		}
		up = false
		b.WriteRune(r)
	}
	return b.String()
}

// parseRules reads a tag. What it does not know stays without effect; a test
// checks that no tag has such a part.
func parseRules(tag string) rules {
	var r rules
	for part := range strings.SplitSeq(tag, ";") {
		name, value, _ := strings.Cut(part, "=")
		number, _ := strconv.ParseFloat(value, 64)
		whole := int(number)
		switch name {
		case "required":
			r.required = true
		case "immutable":
			r.immutable = true
		case "secret":
			r.secret = true
		case "enum":
			r.enum = strings.Split(value, "|")
		case "each":
			r.each = strings.Split(value, "|")
		case "keys":
			r.keys = strings.Split(value, "|")
		case "min":
			r.min = &number
		case "max":
			r.max = &number
		case "minLength":
			r.minLength = &whole
		case "maxLength":
			r.maxLength = &whole
		case "minItems":
			r.minItems = &whole
		case "maxItems":
			r.maxItems = &whole
		case "pattern":
			r.pattern, _ = regexp.Compile(value)
		case "ref":
			r.refKind, r.refOutput, _ = strings.Cut(value, ".")
		case "default":
			r.fallback = value
		case "hint":
			r.hint = value
		}
	}
	return r
}

// walkRules checks a value of the language against the rules of its type.
func (p *problems) walkRules(path string, t *typeModel, v reflect.Value) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch t.shape {
	case shapeObject:
		for _, f := range t.fields {
			p.walkField(path+"."+f.key, f, v.Field(f.index))
		}
	case shapeList:
		for i := range v.Len() {
			p.walkRules(fmt.Sprintf("%s[%d]", path, i), t.elem, v.Index(i))
		}
	case shapeMap:
		if t.elem.shape != shapeObject {
			return
		}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			p.walkRules(path+"."+k.String(), t.elem, v.MapIndex(k))
		}
	case shapeRef:
		if ref, ok := v.Interface().(StringOrRef); ok {
			p.ref(path, ref)
		}
	}
}

func (p *problems) walkField(path string, f *fieldModel, v reflect.Value) {
	r := f.rules
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			if r.required {
				p.add(path, "is required")
			}
			return
		}
		v = v.Elem()
	}
	switch f.typ.shape {
	case shapeString:
		p.text(path, v.String(), r)
		return
	case shapeInt:
		p.number(path, float64(v.Int()), r)
	case shapeNumber:
		p.number(path, v.Float(), r)
	case shapeList:
		p.items(path, v, r)
	case shapeMap:
		for _, k := range slices.Sorted(func(yield func(string) bool) {
			for _, k := range v.MapKeys() {
				if !yield(k.String()) {
					return
				}
			}
		}) {
			if r.keys != nil && !slices.Contains(r.keys, k) {
				p.add(path, "has %q, must be among %s", k, strings.Join(r.keys, ", "))
			}
		}
	}
	p.walkRules(path, f.typ, v)
}

func (p *problems) text(path, value string, r rules) {
	if value == "" {
		if r.required {
			p.add(path, "is required")
		} else if r.minLength != nil {
			p.length(path, value, *r.minLength, *r.minLength)
		}
		return
	}
	switch {
	case r.secret:
		p.secretRef(path, SecretRef(value))
		return
	case r.enum != nil:
		p.oneOf(path, value, r.enum...)
	case r.pattern != nil && !r.pattern.MatchString(value):
		p.add(path, "must be %s", r.hint)
	}
	n := utf8.RuneCountInString(value)
	if r.minLength != nil && n < *r.minLength {
		p.add(path, "has %d characters, at least %d are needed", n, *r.minLength)
	}
	if r.maxLength != nil && n > *r.maxLength {
		p.add(path, "has %d characters, at most %d are allowed", n, *r.maxLength)
	}
}

func (p *problems) number(path string, value float64, r rules) {
	switch {
	case r.min != nil && r.max != nil && (value < *r.min || value > *r.max):
		p.add(path, "is %s, must be between %s and %s", plain(value), plain(*r.min), plain(*r.max))
	case r.min != nil && value < *r.min:
		p.add(path, "is %s, must be at least %s", plain(value), plain(*r.min))
	case r.max != nil && value > *r.max:
		p.add(path, "is %s, must be at most %s", plain(value), plain(*r.max))
	}
}

func plain(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

func (p *problems) items(path string, v reflect.Value, r rules) {
	n := v.Len()
	if r.required && n == 0 {
		p.add(path, "is required")
	} else if r.minItems != nil && n < *r.minItems && !v.IsNil() {
		p.add(path, "has %d items, at least %d are needed", n, *r.minItems)
	}
	if r.maxItems != nil && n > *r.maxItems {
		p.add(path, "has %d items, at most %d are allowed", n, *r.maxItems)
	}
	if r.each == nil {
		return
	}
	for i := range n {
		p.oneOf(fmt.Sprintf("%s[%d]", path, i), v.Index(i).String(), r.each...)
	}
}

// checker is implemented by every spec: the rules that a tag cannot say.
type checker interface {
	Spec
	check(p *problems)
}

// inspect applies the rules of the types, and then the spec's own.
func inspect(s Spec) problems {
	p := problems{lenient: slices.Contains(sharedKinds(), s.Kind())}
	v := reflect.ValueOf(s)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		p.add("spec", "is missing")
		return p
	}
	if model := models()[s.Kind()]; model != nil {
		p.walkRules("spec", model, v)
	}
	if c, ok := s.(checker); ok {
		c.check(&p)
	}
	return p
}

// validate is the Validate method of every spec.
func validate(s Spec) []Problem { return inspect(s).errors }
