package auth0sim

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

// catalogText describes every operation of the Management API: path, scopes,
// parameters, body. One JSON object per line, operations first, then the types
// that bodies refer to. It is condensed from Auth0's published OpenAPI
// description (github.com/auth0/docs-v2, MIT licence) by TestCatalog -update;
// what recordings of the real API prove different is corrected in deviations.go.
//
//go:embed catalog.jsonl
var catalogText []byte

// operation is one method of one path.
type operation struct {
	Method string   `json:"method"`
	Path   string   `json:"path"` // below /api/v2, parameters in braces
	Scopes []string `json:"scopes,omitempty"`
	// Query and Params declare the query string's and the path's parameters.
	Query  []parameter `json:"query,omitempty"`
	Params []parameter `json:"params,omitempty"`
	Body   *schema     `json:"body,omitempty"`
	// Required says that a request without a body is malformed.
	Required bool `json:"required,omitempty"`
	// OK lists the documented success codes.
	OK []int `json:"ok,omitempty"`
}

type parameter struct {
	Name     string  `json:"name"`
	Required bool    `json:"required,omitempty"`
	Schema   *schema `json:"schema,omitempty"`
}

// schema is the subset of JSON Schema that the description uses.
type schema struct {
	Ref         string             `json:"ref,omitempty"`
	Type        typeSet            `json:"t,omitempty"`
	Description string             `json:"d,omitempty"`
	Properties  map[string]*schema `json:"p,omitempty"`
	Required    []string           `json:"r,omitempty"`
	Closed      bool               `json:"closed,omitempty"` // additionalProperties: false
	Others      *schema            `json:"others,omitempty"` // additionalProperties: schema
	Items       *schema            `json:"i,omitempty"`
	Enum        []any              `json:"e,omitempty"`
	Minimum     *float64           `json:"min,omitempty"`
	Maximum     *float64           `json:"max,omitempty"`
	MinLength   *int               `json:"minlen,omitempty"`
	MaxLength   *int               `json:"maxlen,omitempty"`
	MinItems    *int               `json:"minitems,omitempty"`
	MaxItems    *int               `json:"maxitems,omitempty"`
	MinProps    *int               `json:"minprops,omitempty"`
	MaxProps    *int               `json:"maxprops,omitempty"`
	Unique      bool               `json:"unique,omitempty"`
	Pattern     string             `json:"re,omitempty"`
	Format      string             `json:"f,omitempty"`
	OneOf       []*schema          `json:"one,omitempty"`
	AnyOf       []*schema          `json:"any,omitempty"`
	AllOf       []*schema          `json:"all,omitempty"`
}

// typeSet is a type or several; null among them makes the value nullable.
type typeSet []string

// UnmarshalJSON reads "string" or ["string","null"].
func (t *typeSet) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var one string
		err := json.Unmarshal(b, &one)
		*t = typeSet{one}
		return err
	}
	return json.Unmarshal(b, (*[]string)(t))
}

// MarshalJSON writes a single type without brackets.
func (t typeSet) MarshalJSON() ([]byte, error) {
	if len(t) == 1 {
		return json.Marshal(t[0])
	}
	return json.Marshal([]string(t))
}

// catalog is the parsed description.
type catalog struct {
	operations []*operation
	types      map[string]*schema
}

func loadCatalog(text []byte) (*catalog, error) {
	c := &catalog{types: map[string]*schema{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Bytes()
		if bytes.HasPrefix(line, []byte(`{"type":`)) {
			var t struct {
				Type   string
				Schema *schema
			}
			if err := json.Unmarshal(line, &t); err != nil {
				return nil, fmt.Errorf("catalog line %d: %w", n, err)
			}
			c.types[t.Type] = t.Schema
			continue
		}
		op := &operation{}
		if err := json.Unmarshal(line, op); err != nil {
			return nil, fmt.Errorf("catalog line %d: %w", n, err)
		}
		c.operations = append(c.operations, op)
	}
	return c, lines.Err()
}

// resolve follows references.
func (c *catalog) resolve(s *schema) *schema {
	for s != nil && s.Ref != "" {
		s = c.types[s.Ref]
	}
	return s
}

// pattern turns a path into a route pattern, in which the names of parameters
// do not matter: "/clients/{id}" → "/clients/{}".
func pattern(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = "{}"
		}
	}
	return strings.Join(parts, "/")
}
