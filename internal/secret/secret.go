// Package secret owns what may not be printed: secret values, references to
// them, and the stores that references point into.
//
// A Value never reveals itself: every way of formatting or encoding it yields
// "[redacted]", and only Reveal returns the text. A Ref is what travels in
// manifests, workflow inputs and results instead of a Value. A Store turns one
// into the other; which stores a process has is the composition root's choice
// (internal/daemon).
//
// It also owns how a file that several processes share is replaced and guarded:
// WriteFiles, CreateFile and Lock are the only ones of their kind. What such a
// file holds, and who may read it, is its owner's (internal/pki, token, codec).
//
// What must always hold: no error of this package contains a secret, a
// reference that cannot be resolved is an error, never an empty secret, and no
// file is ever half written under its own name.
package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
)

// Redacted is what a Value prints as.
const Redacted = "[redacted]"

// Value is a secret. The zero Value is the empty secret. Values are safe to
// copy; compare them with Equal.
type Value struct {
	// A pointer, because fmt prints the unexported fields of other structs by
	// reflection, without asking our methods; it prints an address here.
	text *string
}

// New wraps text as a secret.
func New(text string) Value { return Value{&text} }

// Reveal returns the secret itself. Call it only where the secret is used: in
// a request's credentials, or when writing to a store.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// IsZero reports whether the secret is empty.
func (v Value) IsZero() bool { return v.Reveal() == "" }

// Equal compares in constant time, so that a caller who controls one side
// learns nothing about the other from how long the answer takes.
func (v Value) Equal(o Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(o.Reveal())) == 1
}

// String implements fmt.Stringer.
func (v Value) String() string { return Redacted }

// Format implements fmt.Formatter: every verb redacts.
func (v Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(Redacted)) }

// LogValue implements slog.LogValuer.
func (v Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText redacts in JSON, YAML, TOML and every other text encoding.
func (v Value) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// UnmarshalText reads a secret from configuration. It refuses the redacted
// form, so that a Value which was once encoded fails instead of becoming a
// wrong secret.
func (v *Value) UnmarshalText(text []byte) error {
	if string(text) == Redacted {
		return errors.New("a redacted secret cannot be read back")
	}
	*v = New(string(text))
	return nil
}
