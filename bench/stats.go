package main

import (
	"fmt"
	"io"
	"slices"
)

// series are the results of one measurement, in the order of its runs.
type series []float64

func (s series) median() float64 {
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// comparison sets a secured server against the open one.
type comparison struct {
	what    string
	unit    string
	open    series
	secured series
	// target is the bound of the ratio of medians, secured to open: an upper
	// one, or a lower one if atLeast.
	target  float64
	atLeast bool
}

func (c comparison) ratio() float64 { return c.secured.median() / c.open.median() }

func (c comparison) met() bool {
	if c.atLeast {
		return c.ratio() >= c.target
	}
	return c.ratio() <= c.target
}

func (c comparison) write(out io.Writer) error {
	bound, verdict := "at most", "met"
	if c.atLeast {
		bound = "at least"
	}
	if !c.met() {
		verdict = "MISSED"
	}
	_, err := fmt.Fprintf(out, "%s (%s)\n  open     %s\n  secured  %s\n  ratio    %.3f, target %s %.3f: %s\n\n",
		c.what, c.unit, c.open, c.secured, c.ratio(), bound, c.target, verdict)
	return err
}

func (s series) String() string {
	return fmt.Sprintf("median %8.1f   min %8.1f   max %8.1f", s.median(), slices.Min(s), slices.Max(s))
}

func printAll(out io.Writer, all []comparison) error {
	for _, c := range all {
		if err := c.write(out); err != nil {
			return err
		}
	}
	return nil
}
