package engine

import "errors"

// ErrStale says that an object has changed since the plan was made. Plan again.
var ErrStale = errors.New("the tenant has changed since the plan was made")

// ErrCycle says that resources refer to each other in a circle.
var ErrCycle = errors.New("resources refer to each other in a circle")

// ErrUnresolved says that a reference names a resource or output that does not
// exist.
var ErrUnresolved = errors.New("reference cannot be resolved")
