package workflows_test

import (
	"strings"
	"sync"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
)

var spyMu sync.Mutex

func (s *spyConverter) note(p *commonpb.Payload) {
	if p == nil {
		return
	}
	spyMu.Lock()
	defer spyMu.Unlock()
	s.seen = append(s.seen, string(p.Data))
}

func (s *spyConverter) ToPayload(v any) (*commonpb.Payload, error) {
	p, err := s.DataConverter.ToPayload(v)
	s.note(p)
	return p, err
}

func (s *spyConverter) ToPayloads(v ...any) (*commonpb.Payloads, error) {
	p, err := s.DataConverter.ToPayloads(v...)
	for _, one := range p.GetPayloads() {
		s.note(one)
	}
	return p, err
}

// requireNoSecrets looks through every payload that was made: inputs, results,
// failure details, heartbeats and query answers.
func (w *world) requireNoSecrets() {
	w.t.Helper()
	spyMu.Lock()
	defer spyMu.Unlock()
	require.Greater(w.t, len(w.spy.seen), 10)
	for _, data := range w.spy.seen {
		require.False(w.t, strings.Contains(data, "s3cr3t"), "a secret is in a payload: %s", data)
	}
}
