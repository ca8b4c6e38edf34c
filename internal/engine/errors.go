package engine

import (
	"errors"
	"fmt"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// ErrStale says that an object has changed since the plan was made. Plan again.
var ErrStale = errors.New("the tenant has changed since the plan was made")

// ErrCycle says that resources refer to each other in a circle.
var ErrCycle = errors.New("resources refer to each other in a circle")

// ErrUnresolved says that a reference names a resource or output that does not
// exist.
var ErrUnresolved = errors.New("reference cannot be resolved")

// InvalidError lists everything that is wrong with a request's resources, each by
// itself and together. Planning again does not help.
type InvalidError struct {
	Problems []ResourceProblem
}

// ResourceProblem is one thing wrong with one resource, or with all of them
// together if Key is zero.
type ResourceProblem struct {
	Key Key `json:"key"`
	v1.Problem
}

// Error implements error.
func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		if lines[i] = p.Message; p.Key != (Key{}) {
			lines[i] = fmt.Sprintf("%s: %s %s", p.Key, p.Path, p.Message)
		}
	}
	return strings.Join(lines, "; ")
}
