package v1_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
)

// shared returns a folder beside the repository, or skips the test.
func shared(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		require.NotEqual(t, filepath.Dir(dir), dir, "no go.mod above")
		dir = filepath.Dir(dir)
	}
	path := filepath.Join(dir, "..", "shared", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the published manifests are not at %s", path)
	}
	return path
}

var indexLine = regexp.MustCompile(`^- (\S+\.yaml) \| ([^|]+) \|.*\| (accept|REJECT: [^|]*)\|?`)

// published is one line of the index of published manifests.
type published struct {
	file, path string
	kinds      []string
	reject     string
	data       []byte
}

// publishedManifests reads the index and its files.
func publishedManifests(t testing.TB, dir string) []published {
	t.Helper()
	index, err := os.ReadFile(filepath.Join(dir, "INDEX.md"))
	require.NoError(t, err)
	var out []published
	for line := range strings.Lines(string(index)) {
		match := indexLine.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		p := published{file: match[1], path: filepath.Join(dir, match[1]), kinds: strings.Split(strings.TrimSpace(match[2]), "+")}
		p.reject, _ = strings.CutPrefix(strings.TrimSpace(match[3]), "REJECT: ")
		if match[3] == "accept" || strings.HasPrefix(match[3], "accept") {
			p.reject = ""
		}
		p.data, err = os.ReadFile(p.path)
		require.NoError(t, err)
		out = append(out, p)
	}
	return out
}

// TestPublishedManifestsLoad walks the index: what its rules accept loads, and
// of what they refuse all but the field that no tool has.
func TestPublishedManifestsLoad(t *testing.T) {
	manifests := publishedManifests(t, shared(t, "openmcf-manifests"))
	require.Greater(t, len(manifests), 70, "the index has been read")
	rejected := 0
	for _, p := range manifests {
		t.Run(p.file, func(t *testing.T) {
			m, err := v1.Load(v1.Source{Name: p.file, Data: p.data})
			if strings.Contains(p.reject, "unknown field") {
				rejected++
				var failed *v1.LoadError
				require.ErrorAs(t, err, &failed)
				require.Len(t, failed.Findings, 1)
				require.Equal(t, "spec.name", failed.Findings[0].Path)
				require.Positive(t, failed.Findings[0].Line)
				return
			}
			require.NoError(t, err)
			var kinds []string
			for _, r := range m.Resources {
				kinds = append(kinds, r.Kind)
				require.Equal(t, v1.APIVersion, r.APIVersion)
				require.Empty(t, r.Validate(), "what was loaded is valid by itself")
			}
			require.Equal(t, p.kinds, kinds)

			// Loading the canonical form again changes nothing.
			for _, r := range m.Resources {
				data, err := json.Marshal(r)
				require.NoError(t, err)
				for _, l := range m.Literals {
					require.NotContains(t, string(data), l.Value.Reveal(), "a literal secret is in no resource")
				}
				var again v1.Resource
				require.NoError(t, json.Unmarshal(data, &again))
				require.Equal(t, r, again)
			}
			for _, w := range m.Warnings {
				t.Log(w)
			}
		})
	}
	require.Equal(t, 1, rejected)
}
