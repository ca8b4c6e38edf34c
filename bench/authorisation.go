package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// authorisation compares the decision on a call whose token was seen before
// with Temporal's default claim mapper and authorizer on the same RS256 token,
// in one run of the Go benchmark that does both.
func (b *bench) authorisation(ctx context.Context) ([]comparison, error) {
	results := map[string]series{}
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkAuthorization$", "-count", strconv.Itoa(b.runs),
		"github.com/tenonhq/tenon/internal/cluster/access")
	text, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	line := regexp.MustCompile(`(?m)^BenchmarkAuthorization/(\w+?)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op.*?\s(\d+) allocs/op`)
	for _, m := range line.FindAllStringSubmatch(string(text), -1) {
		ns, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, err
		}
		allocs, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, err
		}
		results[m[1]] = append(results[m[1]], ns/1000)
		results[m[1]+" allocations"] = append(results[m[1]+" allocations"], allocs)
	}
	stock := results["temporal"]
	if len(stock) == 0 || len(results["decision"]) == 0 || len(results["recorded"]) == 0 {
		return nil, fmt.Errorf("the benchmark printed no figures:\n%s", text)
	}
	return []comparison{
		{what: "authorise a call with a token seen before; open is Temporal's default", unit: "µs", open: stock, secured: results["decision"], target: 1.0 / 20},
		{what: "the same, allocations", unit: "allocs", open: results["temporal allocations"], secured: results["decision allocations"], target: 2 / results["temporal allocations"].median()},
		{what: "the same, with its record written to the audit log in a tight loop", unit: "µs", open: stock, secured: results["recorded"], target: 1},
	}, nil
}
