package direct

import (
	"context"

	"golang.org/x/sync/errgroup"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// readsAtATime bounds what a plan reads at once; the tenant's budget may bound it
// further.
const readsAtATime = 16

// readAhead reads what the nodes will be compared with, several things at a time,
// so that a plan takes about as long as its longest list and not as long as all of
// its reads. It decides nothing and reports nothing: the plan asks again for what
// failed here.
func (p *planning) readAhead(ctx context.Context, s *session, nodes, deletes []node) {
	lists, listing := errgroup.WithContext(ctx)
	for name := range s.wanted {
		// Users are never listed, and a tenant is no list.
		if name != v1.KindUser && name != v1.KindTenant && s.bulk(name) {
			lists.Go(func() error {
				_, err := kindOf(name).every(listing, s.fork())
				return err
			})
		}
	}
	if lists.Wait() != nil {
		return
	}
	pending := map[engine.Key]bool{}
	for _, n := range nodes {
		pending[engine.KeyOf(n.resource)] = true
	}
	objects, reading := errgroup.WithContext(ctx)
	objects.SetLimit(readsAtATime)
	for _, n := range nodes {
		if !s.readsMore(n.resource) {
			continue
		}
		objects.Go(func() error {
			f := s.fork()
			want, err := n.kind.want(reading, f, n.resource, resolveFrom(engine.KeyOf(n.resource), p.outputs, pending))
			if err != nil {
				return err
			}
			_, err = f.find(reading, n.kind, n.resource, want)
			return err
		})
	}
	for _, n := range deletes {
		if n.resource.Kind == v1.KindTenant {
			continue // it stays, and nobody asks what it is
		}
		objects.Go(func() error {
			f := s.fork()
			raw, err := n.kind.read(reading, f, s.inventory[engine.KeyOf(n.resource)].ObjectID)
			if raw == nil || err != nil {
				return err
			}
			_, err = f.everything(reading, n.kind, n.resource, raw)
			return err
		})
	}
	_ = objects.Wait()
}

// readsMore says whether a resource is compared with more than its row in a list.
func (s *session) readsMore(r v1.Resource) bool {
	if !s.bulk(r.Kind) {
		return true
	}
	switch spec := r.Spec.(type) {
	case *v1.Auth0ClientSpec:
		return len(spec.EnabledConnections) > 0
	case *v1.Auth0RoleSpec:
		return spec.Permissions != nil
	case *v1.Auth0ResourceServerSpec, *v1.Auth0ClientGrantSpec:
		return false
	}
	return true
}
