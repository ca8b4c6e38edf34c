package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// phase is a step in the life of a world, the same for every tool.
type phase struct {
	name   string
	writes func(n int) int // what no tool can do without
	do     func(ctx context.Context, p tool, n int) error
	holds  bool // whether the tenant holds the world afterwards
}

var phases = []phase{
	{"create", func(n int) int { return n }, func(ctx context.Context, p tool, n int) error { return p.apply(ctx, newWorld(n, false)) }, true},
	{"no-op plan", func(int) int { return 0 }, func(ctx context.Context, p tool, n int) error { return p.plan(ctx, newWorld(n, false)) }, true},
	{"change 1 %", func(n int) int { return n / 100 }, func(ctx context.Context, p tool, n int) error { return p.apply(ctx, newWorld(n, true)) }, true},
	{"delete", func(n int) int { return n }, func(ctx context.Context, p tool, n int) error { return p.destroy(ctx, newWorld(n, true)) }, false},
}

// measured is one phase of one tool.
type measured struct {
	usage
	elapsed time.Duration // the command as a whole
}

// provision takes stacks of objects through their lives with each tool.
func (b *bench) provision(ctx context.Context, out io.Writer) error {
	sizes, err := numbers(b.objects)
	if err != nil {
		return fmt.Errorf("-objects: %w", err)
	}
	makers := b.makers(out)
	for plan := range strings.SplitSeq(b.plans, ",") {
		for _, n := range sizes {
			if n <= 0 || n%100 != 0 {
				return fmt.Errorf("-objects: %d is not a multiple of 100", n)
			}
			var order []string
			results := map[string][]measured{}
			for _, build := range makers {
				name, life, err := b.life(ctx, plan, n, build)
				if err != nil {
					return fmt.Errorf("%s, %d objects: %w", plan, n, err)
				}
				order = append(order, name)
				results[name] = life
			}
			if err := b.printLives(out, plan, n, order, results); err != nil {
				return err
			}
		}
	}
	return nil
}

// life measures each phase with one tool, on a tenant of its own.
func (b *bench) life(ctx context.Context, plan string, n int, build maker) (name string, _ []measured, err error) {
	var out []measured
	err = b.with(ctx, plan, build, func(t *tenant, p tool) error {
		name = p.name()
		before, err := t.counts(ctx)
		if err != nil {
			return err
		}
		for _, phase := range phases {
			if err := t.pause(ctx); err != nil {
				return err
			}
			began := time.Now()
			u, err := t.watch(ctx, func(ctx context.Context) error { return phase.do(ctx, p, n) })
			if err != nil {
				return fmt.Errorf("%s: %s: %w", name, phase.name, err)
			}
			out = append(out, measured{u, time.Since(began)})
			// It takes long; say that it goes on.
			fmt.Fprintf(os.Stderr, "%s, %d objects, %s: %s took %s\n", plan, n, name, phase.name, u.span.Round(100*time.Millisecond))
			after, err := t.counts(ctx)
			if err != nil {
				return err
			}
			for family, count := range newWorld(n, false).counts() {
				if !phase.holds {
					count = 0
				}
				// The deploy CLI deletes what it finds there, a client of the tenant's own too.
				if got := after[family] - before[family]; got != count && (phase.holds || got > 0) {
					return fmt.Errorf("%s: %s: the tenant has %d more %s than before, not %d", name, phase.name, got, family, count)
				}
			}
		}
		return nil
	})
	return name, out, err
}

// with runs a tool on a tenant of its own.
func (b *bench) with(ctx context.Context, plan string, build maker, do func(*tenant, tool) error) (err error) {
	dir, err := os.MkdirTemp(b.dir, "tenant-")
	if err != nil {
		return err
	}
	t, err := b.startTenant(ctx, filepath.Join(dir, "tenant"), plan)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	p, err := build(ctx, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	return do(t, p)
}

func (b *bench) printLives(out io.Writer, plan string, n int, order []string, results map[string][]measured) error {
	k := buckets[plan]
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "%d objects, plan %s (%d calls at once, then %g a second), %s a call; who leaves a fifth of that to others, as tenon does, needs %.1f s for as many calls\n",
		n, plan, k.burst, k.perSecond, b.latency, k.less(share).bound(n, b.latency).Seconds())
	fmt.Fprintln(w, "\tbound s\ttool\tcalls\trefused\ts\tof bound\ts in all\tcalls, of tenon's\ttime, of tenon's\t")
	for i, phase := range phases {
		bound := k.bound(phase.writes(n), b.latency)
		ours := results["tenon"][i]
		for _, name := range order {
			m := results[name][i]
			fmt.Fprintf(w, "%s\t%.1f\t%s\t%d\t%d\t%.1f\t%.2f\t%.1f\t%.1f\t%.1f\t\n", phase.name, bound.Seconds(), name, m.calls, m.refused,
				m.span.Seconds(), m.span.Seconds()/bound.Seconds(), m.elapsed.Seconds(),
				float64(m.calls)/float64(ours.calls), m.span.Seconds()/ours.span.Seconds())
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out)
	return err
}

// share creates a stack with each tool while production uses 60 % of the limit,
// and says what production notices.
func (b *bench) share(ctx context.Context, out io.Writer) error {
	const (
		plan    = "enterprise"
		objects = 300
		part    = 0.6
	)
	k := buckets[plan]
	makers := b.makers(out)
	fmt.Fprintf(out, "%d objects created while production makes %.1f calls a second of the %g that plan %s gives\n", objects, part*k.perSecond, k.perSecond, plan)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "tool\tcalls\trefused\ts\tproduction's calls\tof them refused\t")
	for _, build := range makers {
		err := b.with(ctx, plan, build, func(t *tenant, p tool) error {
			load := t.production(ctx, part*k.perSecond)
			if err := t.pause(ctx); err != nil {
				return err
			}
			u, err := t.watch(ctx, func(ctx context.Context) error { return p.apply(ctx, newWorld(objects, false)) })
			statuses := load()
			if err != nil {
				return fmt.Errorf("%s: %w", p.name(), err)
			}
			total, refused := 0, 0
			for status, n := range statuses {
				if total += n; status != 200 {
					refused += n
				}
			}
			_, err = fmt.Fprintf(w, "%s\t%d\t%d\t%.1f\t%d\t%d\t\n", p.name(), u.calls, u.refused, u.span.Seconds(), total, refused)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out)
	return err
}

// importUsers imports users from a file, beside the least that one call each
// takes.
func (b *bench) importUsers(ctx context.Context, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "%d users imported, beside one call each at the bound\n", b.users)
	fmt.Fprintln(w, "plan\tcalls\trefused\ts\ts in all\tone call each s\tratio\t")
	for plan := range strings.SplitSeq(b.plans, ",") {
		err := b.with(ctx, plan, b.newTenon, func(t *tenant, p tool) error {
			if _, err := t.manage(ctx, "POST", "connections", `{"name": "Bulk", "strategy": "auth0"}`, &struct{}{}); err != nil {
				return err
			}
			var text strings.Builder
			text.WriteString("email,name\n")
			for i := range b.users {
				fmt.Fprintf(&text, "user%d@bulk.example,User %d\n", i, i)
			}
			file := filepath.Join(t.dataDir, "users.csv")
			if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
				return err
			}
			if err := t.pause(ctx); err != nil {
				return err
			}
			before, err := t.counts(ctx)
			if err != nil {
				return err
			}
			began := time.Now()
			u, err := t.watch(ctx, func(ctx context.Context) error {
				return p.(*tenon).run(ctx, "user", "register", "--file", file, "--connection", "Bulk")
			})
			if err != nil {
				return err
			}
			elapsed := time.Since(began)
			after, err := t.counts(ctx)
			if err != nil {
				return err
			}
			if got := after["users"] - before["users"]; got != b.users {
				return fmt.Errorf("the tenant has %d users more, not %d", got, b.users)
			}
			single := t.bucket.bound(b.users, b.latency)
			_, err = fmt.Fprintf(w, "%s\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t\n", plan, u.calls, u.refused, u.span.Seconds(), elapsed.Seconds(),
				single.Seconds(), single.Seconds()/elapsed.Seconds())
			return err
		})
		if err != nil {
			return fmt.Errorf("plan %s: %w", plan, err)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out)
	return err
}
