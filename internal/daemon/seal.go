package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/workflows"
)

// Sealed is a literal secret that was moved into the secret store.
type Sealed struct {
	// Resource is "Kind/name", Path the field.
	Resource, Path string
	Ref            secret.Ref
}

// Seal moves the literal secrets of manifests into the data directory's store
// and puts references in their place. The same secret gets the same reference
// each time; another secret gets another, so that a plan sees that it has
// changed although nobody can read it.
func Seal(ctx context.Context, dataDir, tenant, stack string, m *v1.Manifests) ([]Sealed, error) {
	if len(m.Literals) == 0 {
		return nil, nil
	}
	path := filepath.Join(dataDir, "secrets.env")
	stores := secret.Stores{"dotenv": secret.Dotenv{Read: []string{path}, Write: path}}
	resources := map[engine.Key]*v1.Resource{}
	for i := range m.Resources {
		resources[engine.KeyOf(m.Resources[i])] = &m.Resources[i]
	}
	var sealed []Sealed
	for _, l := range m.Literals {
		key := engine.Key{Kind: l.Kind, Name: l.Name}
		r := resources[key]
		if r == nil {
			return sealed, fmt.Errorf("%s: the resource of a literal secret is not there", key)
		}
		ref, err := keep(ctx, stores, workflows.DotenvRef(tenant, key, stack+" "+l.Path), secret.New(l.Value.Reveal()))
		if err != nil {
			return sealed, fmt.Errorf("%s: %s: keep the literal secret: %w", key, l.Path, err)
		}
		if err := r.SetString(l.Path, string(ref)); err != nil {
			return sealed, fmt.Errorf("%s: %s: %w", key, l.Path, err)
		}
		sealed = append(sealed, Sealed{key.String(), l.Path, ref})
	}
	m.Literals = nil
	return sealed, nil
}

// keep stores a value under the first of ref, ref_V2, ref_V3… that is free or
// holds it already. Older versions stay: the tenant may be rolled back to them.
func keep(ctx context.Context, stores secret.Stores, ref secret.Ref, v secret.Value) (secret.Ref, error) {
	for version := 1; ; version++ {
		at := ref
		if version > 1 {
			at = secret.Ref(fmt.Sprintf("%s_V%d", ref, version))
		}
		held, err := stores.Get(ctx, at)
		switch {
		case errors.Is(err, secret.ErrNotFound):
			return at, stores.Put(ctx, at, v)
		case err != nil:
			return "", err
		case held.Equal(v):
			return at, nil
		}
	}
}
