package access

import (
	"slices"
	"sync"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
)

// pollers are the workers whose polls were refused. An SDK's worker whose token
// has expired retries for ever and logs a warning nobody reads; here it shows.
type pollers struct {
	mu    sync.Mutex
	known map[string]*audit.DeniedPoller
}

// maxPollers bounds the list; the one refused longest ago goes first.
const maxPollers = 1000

func (p *pollers) add(r *audit.Record) {
	seen := audit.DeniedPoller{
		Subject: r.Subject, Issuer: r.Issuer, Certificate: r.Certificate, Namespace: r.Namespace, TaskQueue: r.Target,
		Reason: r.Reason, Count: 1, First: r.Time, Last: r.Time,
	}
	key := seen.Key()
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.known[key]; old != nil {
		old.Count, old.Last, old.Reason = old.Count+1, seen.Last, seen.Reason
		return
	}
	if p.known == nil {
		p.known = make(map[string]*audit.DeniedPoller)
	}
	if len(p.known) >= maxPollers {
		oldest := ""
		for k, v := range p.known {
			if oldest == "" || v.Last.Before(p.known[oldest].Last) {
				oldest = k
			}
		}
		delete(p.known, oldest)
	}
	p.known[key] = &seen
}

func (p *pollers) list() []audit.DeniedPoller {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]audit.DeniedPoller, 0, len(p.known))
	for _, v := range p.known {
		list = append(list, *v)
	}
	slices.SortFunc(list, func(a, b audit.DeniedPoller) int { return b.Last.Compare(a.Last) })
	return list
}
