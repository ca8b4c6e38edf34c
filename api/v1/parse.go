package v1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// node is a value of a document with its place. YAML and JSON both become nodes;
// only this file knows of the libraries that read them.
type node struct {
	kind nodeKind
	// text is a scalar's, tag its type: str, int, float, bool, null, or a tag that
	// Tenon does not know.
	text, tag string
	// plain scalars are written without quotes.
	plain bool
	pairs []pair
	items []*node
	// alias leads to the node that an alias stands for; nil if that one contains the
	// alias.
	alias *node
	// size is how many values the node stands for, aliases expanded.
	size         int
	line, column int
}

type pair struct{ key, value *node }

type nodeKind int

const (
	scalarNode nodeKind = iota
	mappingNode
	sequenceNode
	aliasNode
)

// chunk is one document's text, or a stream of JSON.
type chunk struct {
	text []byte
	// line is how many lines come before it.
	line int
	json bool
}

// split checks that a source is text of an acceptable size, and cuts it into
// documents, so that an error in one does not hide those of the next.
func split(s Source) ([]chunk, *Finding) {
	finding := func(at position, format string, args ...any) *Finding {
		return &Finding{File: s.Name, Line: at.line, Column: at.column, Message: fmt.Sprintf(format, args...)}
	}
	data := s.Data
	if len(data) > MaxSourceBytes {
		return nil, finding(position{1, 1}, "has %d bytes, at most %d are read", len(data), MaxSourceBytes)
	}
	for _, mark := range []string{"\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(data, []byte(mark)) {
			return nil, finding(position{1, 1}, "is UTF-16 text, must be UTF-8")
		}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if at, bad := invalidUTF8(data); bad {
		return nil, finding(at, "is not UTF-8 text")
	}
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' && allJSON(data) {
		return []chunk{{text: data, json: true}}, nil
	}
	return splitYAML(data), nil
}

func invalidUTF8(data []byte) (position, bool) {
	if utf8.Valid(data) {
		return position{}, false
	}
	i := 0
	for i < len(data) {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		i += size
	}
	return positionAt(data, i), true
}

// positionAt counts lines and characters up to an offset.
func positionAt(data []byte, offset int) position {
	before := data[:min(offset, len(data))]
	return position{bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1}
}

// allJSON reports whether data is nothing but JSON values.
func allJSON(data []byte) bool {
	d := json.NewDecoder(bytes.NewReader(data))
	for {
		var raw json.RawMessage
		switch err := d.Decode(&raw); {
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			return false
		}
	}
}

// splitYAML cuts at document markers. They are the only lines that can begin with
// --- or ..., whatever surrounds them (YAML 1.2 section 9.1.2).
func splitYAML(data []byte) []chunk {
	var chunks []chunk
	start, startLine, line := 0, 0, 0
	flush := func(end int) {
		if text := data[start:end]; !blank(text) {
			chunks = append(chunks, chunk{text: text, line: startLine})
		}
	}
	for i := 0; i < len(data); line++ {
		next := len(data)
		if n := bytes.IndexByte(data[i:], '\n'); n >= 0 {
			next = i + n + 1
		}
		if l := data[i:next]; marker(l, "---") {
			flush(i)
			start, startLine = i, line
		} else if marker(l, "...") {
			flush(i)
			start, startLine = next, line+1
		}
		i = next
	}
	flush(len(data))
	return chunks
}

func marker(line []byte, mark string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}

// blank holds for text without content: comments, directives and markers alone.
func blank(text []byte) bool {
	for line := range bytes.Lines(text) {
		if t := bytes.TrimSpace(line); len(t) > 0 && t[0] != '#' && t[0] != '%' && string(t) != "---" {
			return false
		}
	}
	return true
}

// parse returns the documents of a chunk, and what is wrong with it.
func (c chunk) parse() ([]*node, *Finding) {
	if c.json {
		return c.parseJSON()
	}
	root, err := c.parseYAML()
	if err != nil {
		at, message := yamlError(err)
		if at.line < 1 {
			at = position{1, 1}
		}
		return nil, &Finding{Line: at.line + c.line, Column: max(at.column, 1), Message: message}
	}
	if root == nil {
		return nil, nil
	}
	return []*node{root}, nil
}

func (c chunk) parseYAML() (out *node, err error) {
	// The text comes from anywhere, and the library is not ours: what it does not
	// foresee is to be an error of this one document.
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("cannot be read as YAML")
		}
	}()
	var doc yaml.Node
	if err := yaml.Unmarshal(c.text, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, nil
	}
	conv := &converter{chunk: c, seen: map[*yaml.Node]*node{}}
	return conv.node(doc.Content[0], 0)
}

// converter turns the library's nodes into ours.
type converter struct {
	chunk chunk
	seen  map[*yaml.Node]*node
}

func (v *converter) node(y *yaml.Node, depth int) (*node, error) {
	n := &node{line: y.Line + v.chunk.line, column: max(y.Column, 1)}
	if depth > maxDepth {
		return nil, &depthError{position{y.Line, y.Column}}
	}
	n.size = 1
	grow := func(child *node) { n.size = min(n.size+child.size, maxExpanded+1) }
	switch y.Kind {
	case yaml.ScalarNode:
		n.kind, n.text, n.plain = scalarNode, y.Value, y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
		n.tag = strings.TrimPrefix(y.ShortTag(), "!!")
	case yaml.MappingNode:
		n.kind, n.tag = mappingNode, strings.TrimPrefix(y.ShortTag(), "!!")
		for i := 0; i+1 < len(y.Content); i += 2 {
			key, err := v.node(y.Content[i], depth+1)
			if err != nil {
				return nil, err
			}
			value, err := v.node(y.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			n.pairs = append(n.pairs, pair{key, value})
			grow(key)
			grow(value)
		}
	case yaml.SequenceNode:
		n.kind, n.tag = sequenceNode, strings.TrimPrefix(y.ShortTag(), "!!")
		for _, c := range y.Content {
			item, err := v.node(c, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
			grow(item)
		}
	case yaml.AliasNode:
		// An alias stands after its anchor, so the anchor's node is known unless it is
		// still being read: then it contains the alias.
		n.kind, n.alias = aliasNode, v.seen[y.Alias]
		if n.alias != nil {
			grow(n.alias)
		}
	}
	v.seen[y] = n
	return n, nil
}

type depthError struct{ at position }

func (*depthError) Error() string {
	return fmt.Sprintf("is nested deeper than %d levels", maxDepth)
}

var yamlPlace = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+)(?:, column (\d+))?: )?`)

// yamlError cuts the place out of the library's message.
func yamlError(err error) (position, string) {
	var deep *depthError
	if errors.As(err, &deep) {
		return deep.at, deep.Error()
	}
	message := err.Error()
	match := yamlPlace.FindStringSubmatch(message)
	line, _ := strconv.Atoi(match[1])
	column, _ := strconv.Atoi(match[2])
	return position{line, column}, "is not valid YAML: " + strings.TrimPrefix(message[len(match[0]):], "yaml: ")
}

// parseJSON reads a stream of JSON values by the standard library, because YAML
// readers do not take all of JSON: tabs, and characters beyond the basic plane.
func (c chunk) parseJSON() ([]*node, *Finding) {
	r := &jsonReader{data: c.text, decoder: json.NewDecoder(bytes.NewReader(c.text)), last: position{1, 1}}
	r.decoder.UseNumber()
	var roots []*node
	for {
		n, err := r.value(0)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			return roots, &Finding{Line: r.last.line, Column: r.last.column, Message: err.Error()}
		}
		roots = append(roots, n)
	}
}

type jsonReader struct {
	data    []byte
	decoder *json.Decoder
	// done and last are an offset and its position, so that lines are counted once.
	done int
	last position
}

// token returns the next token and where it begins.
func (r *jsonReader) token() (json.Token, position, error) {
	start := int(r.decoder.InputOffset())
	for start < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[start]) >= 0 {
		start++
	}
	for r.done < start {
		c, size := utf8.DecodeRune(r.data[r.done:])
		r.done += size
		if c == '\n' {
			r.last = position{r.last.line + 1, 1}
		} else {
			r.last.column++
		}
	}
	t, err := r.decoder.Token()
	return t, r.last, err
}

func (r *jsonReader) value(depth int) (*node, error) {
	t, at, err := r.token()
	if err != nil {
		return nil, err
	}
	return r.from(t, at, depth)
}

func (r *jsonReader) from(t json.Token, at position, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, &depthError{at}
	}
	n := &node{line: at.line, column: at.column}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			n.kind, n.tag = sequenceNode, "seq"
			for r.decoder.More() {
				item, err := r.value(depth + 1)
				if err != nil {
					return nil, err
				}
				n.items = append(n.items, item)
			}
		} else {
			n.kind, n.tag = mappingNode, "map"
			for r.decoder.More() {
				key, err := r.value(depth + 1)
				if err != nil {
					return nil, err
				}
				value, err := r.value(depth + 1)
				if err != nil {
					return nil, err
				}
				n.pairs = append(n.pairs, pair{key, value})
			}
		}
		_, _, err := r.token() // the closing bracket
		return n, err
	case string:
		n.text, n.tag = t, "str"
	case json.Number:
		n.text, n.tag = t.String(), "int"
		if strings.ContainsAny(n.text, ".eE") {
			n.tag = "float"
		}
	case bool:
		n.text, n.tag = strconv.FormatBool(t), "bool"
	case nil:
		n.text, n.tag = "null", "null"
	}
	return n, nil
}
