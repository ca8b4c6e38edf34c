package auth0sim

import (
	"encoding/json"
	"fmt"
	"math"
	"net/mail"
	"net/url"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// violation is one way in which a value breaks its schema. The messages are
// those of the z-schema library, which is what Auth0's answers quote.
type violation struct {
	message     string
	path        string
	description string
}

// String renders the violation as the tail of "Payload validation error: ".
func (v violation) String() string {
	switch {
	case v.path == "":
		return fmt.Sprintf("'%s'.", v.message)
	case v.description == "":
		return fmt.Sprintf("'%s' on property %s.", v.message, v.path)
	default:
		return fmt.Sprintf("'%s' on property %s (%s).", v.message, v.path, strings.TrimSuffix(v.description, "."))
	}
}

// validator checks values against the catalogue's schemas.
type validator struct {
	catalog  *catalog
	patterns sync.Map // string → *regexp.Regexp, or nil for one that Go cannot compile
}

// check returns the first violation, or nil.
func (v *validator) check(s *schema, value any) *violation {
	return v.at(s, value, "", "")
}

func (v *validator) at(s *schema, value any, path, description string) *violation {
	for s != nil && s.Ref != "" {
		if s.Description != "" {
			description = s.Description
		}
		s = v.catalog.types[s.Ref]
	}
	if s == nil {
		return nil
	}
	if description == "" {
		description = s.Description
	}
	fail := func(format string, args ...any) *violation {
		return &violation{fmt.Sprintf(format, args...), path, description}
	}
	found := typeOf(value)
	if len(s.Type) > 0 && !s.Type.admits(found) {
		return fail("Expected type %s but found type %s", s.Type[0], found)
	}
	if value == nil {
		return nil
	}
	if len(s.Enum) > 0 && !contains(s.Enum, value) {
		return fail("No enum match for: %s", quoted(value))
	}
	var bad *violation
	switch value := value.(type) {
	case string:
		bad = v.text(s, value, fail)
	case float64:
		switch {
		case s.Minimum != nil && value < *s.Minimum:
			bad = fail("Value %s is less than minimum %s", quoted(value), quoted(*s.Minimum))
		case s.Maximum != nil && value > *s.Maximum:
			bad = fail("Value %s is greater than maximum %s", quoted(value), quoted(*s.Maximum))
		}
	case []any:
		bad = v.array(s, value, path, fail)
	case map[string]any:
		bad = v.object(s, value, path, fail)
	}
	if bad != nil {
		return bad
	}
	return v.alternatives(s, value, path, description, fail)
}

func (v *validator) alternatives(s *schema, value any, path, description string, fail func(string, ...any) *violation) *violation {
	for _, a := range s.AllOf {
		if bad := v.at(a, value, path, description); bad != nil {
			return bad
		}
	}
	for keyword, list := range map[string][]*schema{"oneOf": s.OneOf, "anyOf": s.AnyOf} {
		if len(list) == 0 {
			continue
		}
		// The description's alternatives overlap where the server's do not, so
		// "more than one matches" is not held against a value.
		matches := false
		var deepest *violation
		for _, a := range list {
			bad := v.at(a, value, path, description)
			if bad == nil {
				matches = true
				break
			}
			if deepest == nil || len(bad.path) > len(deepest.path) {
				deepest = bad
			}
		}
		if !matches {
			if len(list) == 1 {
				return deepest
			}
			return fail("Data does not match any schemas from '%s'", keyword)
		}
	}
	return nil
}

func (v *validator) text(s *schema, value string, fail func(string, ...any) *violation) *violation {
	if s.Format != "" && !formatOK(s.Format, value) {
		return fail("Object didn't pass validation for format %s: %s", s.Format, value)
	}
	n := utf8.RuneCountInString(value)
	switch {
	case s.MinLength != nil && n < *s.MinLength:
		return fail("String is too short (%d chars), minimum %d", n, *s.MinLength)
	case s.MaxLength != nil && n > *s.MaxLength:
		return fail("String is too long (%d chars), maximum %d", n, *s.MaxLength)
	}
	if s.Pattern != "" {
		if re := v.pattern(s.Pattern); re != nil && !re.MatchString(value) {
			return fail("String does not match pattern %s: %s", s.Pattern, value)
		}
	}
	return nil
}

func (v *validator) array(s *schema, value []any, path string, fail func(string, ...any) *violation) *violation {
	switch {
	case s.MinItems != nil && len(value) < *s.MinItems:
		return fail("Array is too short (%d), minimum %d", len(value), *s.MinItems)
	case s.MaxItems != nil && len(value) > *s.MaxItems:
		return fail("Array is too long (%d), maximum %d", len(value), *s.MaxItems)
	}
	if s.Unique {
		seen := map[string]int{}
		for i, e := range value {
			k := quoted(e)
			if j, ok := seen[k]; ok {
				return fail("Array items are not unique (indexes %d and %d)", j, i)
			}
			seen[k] = i
		}
	}
	for i, e := range value {
		if bad := v.at(s.Items, e, fmt.Sprintf("%s[%d]", path, i), ""); bad != nil {
			return bad
		}
	}
	return nil
}

func (v *validator) object(s *schema, value map[string]any, path string, fail func(string, ...any) *violation) *violation {
	switch {
	case s.MinProps != nil && len(value) < *s.MinProps:
		return fail("Too few properties defined (%d), minimum %d", len(value), *s.MinProps)
	case s.MaxProps != nil && len(value) > *s.MaxProps:
		return fail("Too many properties defined (%d), maximum %d", len(value), *s.MaxProps)
	}
	for _, name := range s.Required {
		if _, ok := value[name]; !ok {
			return fail("Missing required property: %s", name)
		}
	}
	names := make([]string, 0, len(value))
	for name := range value {
		names = append(names, name)
	}
	sort.Strings(names)
	if s.Closed {
		var unknown []string
		for _, name := range names {
			if _, ok := s.Properties[name]; !ok {
				unknown = append(unknown, name)
			}
		}
		if len(unknown) > 0 {
			return fail("Additional properties not allowed: %s", strings.Join(unknown, ","))
		}
	}
	for _, name := range names {
		p, ok := s.Properties[name]
		if !ok {
			p = s.Others
		}
		at := name
		if path != "" {
			at = path + "." + name
		}
		if bad := v.at(p, value[name], at, ""); bad != nil {
			return bad
		}
	}
	return nil
}

func (v *validator) pattern(text string) *regexp.Regexp {
	if re, ok := v.patterns.Load(text); ok {
		return re.(*regexp.Regexp)
	}
	// Patterns are ECMAScript's; the few with lookaheads that RE2 refuses are
	// not checked.
	re, err := regexp.Compile(text)
	if err != nil {
		re = nil
	}
	v.patterns.Store(text, re)
	return re
}

func (t typeSet) admits(found string) bool {
	for _, want := range t {
		if want == found || want == "number" && found == "integer" {
			return true
		}
	}
	return false
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}

func contains(list []any, v any) bool {
	for _, e := range list {
		if e == v {
			return true
		}
	}
	return false
}

func quoted(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

var formats = map[string]*regexp.Regexp{
	"event-stream-id":   regexp.MustCompile(`^est_[1-9A-HJ-NP-Za-km-z]{22}$`),
	"event-id":          regexp.MustCompile(`^evt_[1-9A-HJ-NP-Za-km-z]{22}$`),
	"organization-id":   regexp.MustCompile(`^org_[A-Za-z0-9]{16}$`),
	"role-id":           regexp.MustCompile(`^rol_[A-Za-z0-9]{16}$`),
	"connection-id":     regexp.MustCompile(`^con_[A-Za-z0-9]{16}$`),
	"organization-name": regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`),
	"uuid":              regexp.MustCompile(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`),
}

// formatOK checks the formats that have a published meaning; Auth0's private
// ones without one pass.
func formatOK(format, value string) bool {
	if re, ok := formats[format]; ok {
		return re.MatchString(value)
	}
	switch format {
	case "email":
		a, err := mail.ParseAddress(value)
		return err == nil && a.Address == value
	case "date-time":
		_, err := time.Parse(time.RFC3339, value)
		return err == nil
	case "date":
		_, err := time.Parse(time.DateOnly, value)
		return err == nil
	case "uri", "absolute-uri", "url", "strict-uri", "absolute-uri-or-empty":
		if value == "" {
			return format == "absolute-uri-or-empty"
		}
		u, err := url.Parse(value)
		return err == nil && u.Scheme != ""
	case "absolute-https-uri-or-empty", "strict-https-uri":
		if value == "" {
			return format == "absolute-https-uri-or-empty"
		}
		u, err := url.Parse(value)
		return err == nil && u.Scheme == "https" && u.Host != ""
	case "integer":
		_, err := strconv.Atoi(value)
		return err == nil
	}
	return true
}
