package direct

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

// What stands in a tree for a write-only secret. The secret itself is in no tree:
// it goes from the store into a request and nowhere else.
const (
	// theSecret is the one that the resource refers to.
	theSecret = "(secret)"
	// anotherSecret is one that differs from it, or that cannot be told from it and
	// has to be written.
	anotherSecret = "(another secret)"
)

// shown is what a tree says of a secret that Auth0 shows in part or not at all.
// live is the value if Auth0 shows it, "" otherwise; there says whether it has
// one.
func (s *session) shown(ctx context.Context, k kind, r v1.Resource, path, live string, there bool) (any, error) {
	ref, wanted := k.secrets(r)[path]
	switch {
	case !there && live == "":
		return nil, nil
	case s.resend[path]:
		return anotherSecret, nil
	case live == "" || !wanted || ref == "" || s.reverting:
		return theSecret, nil
	}
	value, err := s.cfg.Secrets.Get(ctx, ref)
	if errors.Is(err, secret.ErrNotFound) {
		return theSecret, nil // it cannot be compared, and need not be written
	}
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", path, engine.KeyOf(r), err)
	}
	if value.Equal(secret.New(live)) {
		return theSecret, nil
	}
	return anotherSecret, nil
}

// secretValue reads a secret from its store: the resource's own or, when
// reverting, the one that was there before.
func (s *session) secretValue(ctx context.Context, k kind, r v1.Resource, path string) (secret.Value, error) {
	ref, ok := s.previousSecrets(k)[path]
	if !ok {
		ref = k.secrets(r)[path]
	}
	value, err := s.cfg.Secrets.Get(ctx, ref)
	if err != nil {
		return secret.Value{}, fmt.Errorf("%s of %s: %w", path, engine.KeyOf(r), err)
	}
	return value, nil
}

func (s *session) previousSecrets(k kind) map[string]secret.Ref {
	if s.previous == nil {
		return nil
	}
	return k.secrets(*s.previous)
}

// rotated lists the secrets of a resource that have to be written although the
// tenant does not show what it has: those whose reference has changed since it was
// last applied. An object that is taken over keeps the secrets that it has.
func (s *session) rotated(k kind, r v1.Resource, owned *engine.Owned) map[string]bool {
	if owned == nil {
		return nil
	}
	before, resend := k.secrets(owned.Resource), map[string]bool{}
	for path, ref := range k.secrets(r) {
		if before[path] != ref {
			resend[path] = true
		}
	}
	return resend
}

// missing reports secrets that the stores do not have: said when planning, not
// when half of a stack is applied.
func (s *session) missing(ctx context.Context, k kind, r v1.Resource, paths map[string]bool) ([]engine.ResourceProblem, error) {
	var problems []engine.ResourceProblem
	refs := k.secrets(r)
	for _, path := range slices.Sorted(maps.Keys(refs)) {
		if paths != nil && !paths[path] {
			continue
		}
		_, err := s.cfg.Secrets.Get(ctx, refs[path])
		if errors.Is(err, secret.ErrNotFound) {
			problems = append(problems, engine.ResourceProblem{Key: engine.KeyOf(r), Problem: v1.Problem{Path: "spec." + path, Message: fmt.Sprintf("the secret %s is not in its store", refs[path])}})
		} else if err != nil {
			return nil, fmt.Errorf("spec.%s: look up %s: %w", path, refs[path], err)
		}
	}
	return problems, nil
}

// resendOf reads from a record which secrets it says have to be written.
func resendOf(before fields) map[string]bool {
	resend := map[string]bool{}
	walk("", nil, before, func(path string, _, v any) {
		if v == anotherSecret {
			resend[path] = true
		}
		for _, x := range list(v) {
			if name, ok := strings.CutSuffix(text(x), anotherValue); ok {
				resend[path+"."+name] = true
			}
		}
	})
	return resend
}

// isSecret says whether a change is that of a write-only secret.
func isSecret(c engine.Change) bool {
	if c.Before == anotherSecret || c.After == theSecret {
		return true
	}
	for _, x := range list(c.Before) {
		if strings.HasSuffix(text(x), anotherValue) {
			return true
		}
	}
	return false
}
