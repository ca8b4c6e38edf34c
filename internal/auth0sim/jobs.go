package auth0sim

import (
	"context"
	"slices"
	"strings"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// runJobs carries out jobs as they are created, until the context ends. Jobs
// that an earlier run of the program left pending are done first.
func (s *Server) runJobs(ctx context.Context) {
	wake, stop := s.store.Watch("jobs")
	defer stop()
	for {
		for _, t := range s.allTenants() {
			for s.runJob(ctx, t) {
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}

// runJob carries out one pending job and reports whether there was one.
func (s *Server) runJob(ctx context.Context, t *tenant) (more bool) {
	// Looked for in a read transaction, so that an idle tenant's writers are
	// not held up.
	var id string
	err := t.state.View(ctx, func(tx *state.Tx) error {
		ids, err := tx.IDs("jobs", "status", "pending")
		if len(ids) > 0 {
			id = ids[0]
		}
		return err
	})
	if err == nil && id != "" {
		err = t.state.Update(ctx, func(tx *state.Tx) error {
			job, found, err := tx.Get("jobs", id)
			if err != nil || !found || str(job, "status") != "pending" {
				return err
			}
			switch str(job, "type") {
			case "users_import":
				return finishImport(tx, job)
			case "users_export":
				return finishExport(tx, t.domain, job)
			default:
				job["status"] = "completed"
				return tx.Put("jobs", id, job)
			}
		})
	}
	if err != nil {
		if ctx.Err() == nil {
			s.log.Error("job failed", "job", id, "error", err)
		}
		return false
	}
	return id != ""
}

// allTenants lists the tenants by name.
func (s *Server) allTenants() []*tenant {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*tenant, 0, len(s.tenants))
	for _, t := range s.tenants {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *tenant) int { return strings.Compare(a.name, b.name) })
	return out
}
