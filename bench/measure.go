package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// start times exec until ready, on a data directory that was used before: the
// cluster alone, secured and open, and the whole of `tenon up`.
func (b *bench) start(ctx context.Context) ([]comparison, error) {
	starts := map[string]func(dir string) (*process, error){
		roleOpen:    func(dir string) (*process, error) { return startChild(ctx, roleOpen, dir) },
		roleSecured: func(dir string) (*process, error) { return startChild(ctx, roleSecured, dir) },
		roleUp:      func(dir string) (*process, error) { return startTenon(ctx, b.tenon, dir, nil, roleUp) },
	}
	order := []string{roleOpen, roleSecured, roleUp}
	started := map[string]series{}
	stopped := map[string]series{}
	for i := range b.runs + 1 {
		for _, name := range order {
			p, err := starts[name](filepath.Join(b.dir, "start-"+name))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			began := time.Now()
			if err := p.stop(); err != nil {
				return nil, fmt.Errorf("%s: stop: %w", name, err)
			}
			if i == 0 {
				continue // the first start, which makes certificates and databases
			}
			started[name] = append(started[name], milliseconds(p.started))
			stopped[name] = append(stopped[name], milliseconds(time.Since(began)))
		}
	}
	return []comparison{
		{what: "start to ready, the cluster alone", unit: "ms", open: started[roleOpen], secured: started[roleSecured], target: 1.5},
		{what: "start to ready, tenon up as a whole", unit: "ms", open: started[roleOpen], secured: started[roleUp], target: 1500 / started[roleOpen].median()},
		{what: "interrupt to end, tenon up as a whole", unit: "ms", open: stopped[roleOpen], secured: stopped[roleUp], target: 2000 / stopped[roleOpen].median()},
	}, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// memory reads what an idle server keeps resident.
func (b *bench) memory(ctx context.Context) ([]comparison, error) {
	var open, secured, up series
	for i := range b.runs {
		dir := func(name string) string { return filepath.Join(b.dir, fmt.Sprintf("memory-%s-%d", name, i)) }
		for _, m := range []struct {
			to    *series
			start func() (*process, error)
		}{
			{&open, func() (*process, error) { return startChild(ctx, roleOpen, dir(roleOpen)) }},
			{&secured, func() (*process, error) { return startChild(ctx, roleSecured, dir(roleSecured)) }},
			{&up, func() (*process, error) { return startTenon(ctx, b.tenon, dir(roleUp), nil, roleUp) }},
		} {
			mib, err := b.idleMemory(ctx, m.start)
			if err != nil {
				return nil, err
			}
			*m.to = append(*m.to, mib)
		}
	}
	return []comparison{
		{what: "idle resident memory, the cluster alone", unit: "MiB", open: open, secured: secured, target: 1.6},
		{what: "idle resident memory, tenon up as a whole", unit: "MiB", open: open, secured: up, target: 1.6},
	}, nil
}

func (b *bench) idleMemory(ctx context.Context, start func() (*process, error)) (mib float64, err error) {
	p, err := start()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	select {
	case <-time.After(b.idle):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return p.residentMiB()
}

// throughput counts workflows per second through the open and the secured
// cluster in turn, both running all the while.
func (b *bench) throughput(ctx context.Context) (_ []comparison, err error) {
	open, err := startChild(ctx, roleOpen, filepath.Join(b.dir, "load-open"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, open.stop()) }()
	secured, err := startChild(ctx, roleSecured, filepath.Join(b.dir, "load-secured"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, secured.stop()) }()

	var (
		loads [2]*load
		rates [2]series
	)
	for i, p := range []*process{open, secured} {
		if loads[i], err = newLoad(ctx, p); err != nil {
			return nil, err
		}
		defer loads[i].close()
		// Unmeasured: caches, connections and shards come to life.
		if _, err := loads[i].run(ctx, b.workflows/4+1, b.inFlight); err != nil {
			return nil, err
		}
	}
	for range b.runs {
		for i, l := range loads {
			rate, err := l.run(ctx, b.workflows, b.inFlight)
			if err != nil {
				return nil, err
			}
			rates[i] = append(rates[i], rate)
		}
	}
	return []comparison{{
		what: fmt.Sprintf("workflows (start, one activity, complete), %d in flight", b.inFlight), unit: "per second",
		open: rates[0], secured: rates[1], target: 0.9, atLeast: true,
	}}, nil
}
