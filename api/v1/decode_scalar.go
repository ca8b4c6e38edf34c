package v1

import (
	"math"
	"strconv"
	"strings"
)

func (d *document) boolean(n *node, path string) (any, bool) {
	switch {
	case n.tag == "bool":
		return strings.EqualFold(n.text, "true"), true
	case n.tag == "str" && n.plain:
		// What YAML 1.1 reads as a boolean.
		switch strings.ToLower(n.text) {
		case "y", "yes", "on":
			return true, true
		case "n", "no", "off":
			return false, true
		}
	}
	d.refuse(n, path, "is %s, must be true or false", n.describe())
	return nil, false
}

func (d *document) number(n *node, whole bool, path string) (any, bool) {
	f, err := math.NaN(), error(nil)
	switch text := strings.ReplaceAll(n.text, "_", ""); n.tag {
	case "int":
		var i int64
		if i, err = strconv.ParseInt(text, 0, 64); err == nil {
			f = float64(i)
		}
	case "float", "str":
		f, err = strconv.ParseFloat(n.text, 64)
	}
	wanted := "a number"
	if whole {
		wanted = "a whole number"
	}
	switch {
	case (n.tag != "int" && n.tag != "float" && n.tag != "str") || (n.tag == "str" && (err != nil || math.IsNaN(f))):
		d.refuse(n, path, "is %s, must be %s", n.describe(), wanted)
		return nil, false
	case err != nil || math.IsNaN(f) || math.Abs(f) > 1<<53:
		d.refuse(n, path, "is too large for %s", wanted)
		return nil, false
	case whole && f != math.Trunc(f):
		d.refuse(n, path, "is %s, must be %s", n.describe(), wanted)
		return nil, false
	case whole:
		return int64(f), true
	}
	return f, true
}

// foreignTag reports a tag that the language does not have, such as !Ref.
func (n *node) foreignTag() bool {
	switch n.tag {
	case "str", "int", "float", "bool", "null", "map", "seq", "timestamp", "merge":
		return false
	}
	return true
}

// describe names what a node is, without its value.
func (n *node) describe() string {
	switch {
	case n.kind == mappingNode:
		return "a mapping"
	case n.kind == sequenceNode:
		return "a list"
	}
	switch n.tag {
	case "int", "float":
		return "a number"
	case "bool":
		return "a boolean"
	case "null":
		return "null"
	}
	return "a string"
}

func (t *typeModel) describe() string {
	switch t.shape {
	case shapeObject, shapeMap:
		return "a mapping"
	case shapeList:
		return "a list"
	case shapeBool:
		return "true or false"
	case shapeInt:
		return "a whole number"
	case shapeNumber:
		return "a number"
	case shapeRef:
		return "a string, or a mapping with value or valueFrom"
	case shapeString:
		return "a string"
	}
	return "a value"
}
