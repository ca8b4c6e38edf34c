package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// ComputeHash returns what Hash must be: an approval names this value, so that a
// plan which was altered after it was approved is recognised. It is the same
// before and after a plan has travelled as JSON. What tells about the plan and is
// not done by it counts for nothing: its cost, and drift that is left alone.
func (p *Plan) ComputeHash() (string, error) {
	steps := slices.Clone(p.Steps)
	for i := range steps {
		steps[i].Calls, steps[i].Drift = 0, nil
	}
	data, err := json.Marshal(struct {
		Tenant string `json:"tenant"`
		Engine string `json:"engine"`
		Steps  []Step `json:"steps"`
	}{p.Tenant, p.Engine, steps})
	if err != nil {
		return "", fmt.Errorf("hash plan: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
