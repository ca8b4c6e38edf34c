package direct

import (
	"reflect"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// templateOf is a tree with every field that a kind's spec has, true at each
// leaf: as a want it asks for all that can be read, and it is the projection that
// records, exports and drift reports are made with. Maps and lists are leaves.
func templateOf(spec v1.Spec) fields {
	f, _ := templateType(reflect.TypeOf(spec)).(fields)
	return f
}

var stringOrRef = reflect.TypeFor[v1.StringOrRef]()

func templateType(t reflect.Type) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == stringOrRef {
		return true
	}
	out := fields{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			out[name] = templateType(t.Field(i).Type)
		}
	}
	return out
}
