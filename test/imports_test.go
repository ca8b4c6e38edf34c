// Package test holds the tests of the project as a whole: what packages may
// import, what the README promises, and the stories that cross every package.
package test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/tenonhq/tenon/"

// layers is who may import whom: a package may import what stands in a layer
// below its own, and what allowed lists for it. The public packages api/v1 and
// sdk stand where their dependencies put them.
var layers = [][]string{
	{"cmd/tenon", "examples/workers/go"},
	{"internal/cli", "bench"},
	{"internal/daemon/demo"},
	{"internal/daemon"},
	{"sdk"},
	{"internal/cluster", "internal/cluster/webui", "internal/auth0sim", "internal/workflows", "internal/engine/direct", "internal/engine/enginetest"},
	{"internal/cluster/access", "internal/codec", "internal/grafana", "internal/auth0", "internal/engine"},
	{"internal/pki", "internal/token", "internal/config", "internal/cluster/access/audit", "internal/userfile", "api/v1/v1test"},
	{"internal/secret", "api/v1"},
}

// parts lists packages that live inside another: only that one imports them,
// and they may import each other as listed.
var parts = map[string][]string{
	"internal/auth0sim/state":   {},
	"internal/auth0sim/actions": {},
	"internal/auth0sim/authapi": {"internal/auth0sim/state", "internal/auth0sim/actions"},
}

// doors names the packages that alone may import a heavy dependency.
var doors = map[string][]string{
	"go.temporal.io/server":           {"internal/cluster", "internal/cluster/access"},
	"github.com/temporalio/ui-server": {"internal/cluster/webui"},
	"github.com/labstack/echo":        {"internal/cluster/webui"},
	"github.com/auth0/go-auth0":       {"internal/auth0", "internal/engine/direct"},
	"github.com/gofrs/flock":          {"internal/secret"},
	"github.com/dop251/goja":          {"internal/auth0sim/actions"},
	"modernc.org/sqlite":              {"internal/auth0sim/state", "internal/cluster"},
	"github.com/spf13/cobra":          {"internal/cli", "cmd/tenon"},
	"github.com/google/cel-go":        {"internal/cluster/access", "internal/token"},
	"github.com/lestrrat-go/jwx/":     {"internal/token", "internal/auth0sim", "internal/auth0sim/authapi", "internal/auth0sim/actions", "internal/auth0sim/state"},
}

func layerOf(pkg string) int {
	for i, layer := range layers {
		for _, p := range layer {
			if p == pkg {
				return i
			}
		}
	}
	return -1
}

// within reports whether the part belongs to the package.
func within(part, pkg string) bool { return strings.HasPrefix(part, pkg+"/") }

func TestImportDirection(t *testing.T) {
	for _, pkg := range packages(t) {
		name := strings.TrimPrefix(pkg.ImportPath, module)
		_, isPart := parts[name]
		if name == "test" {
			continue
		}
		if !isPart && layerOf(name) < 0 {
			t.Errorf("%s stands in no layer: add it to layers in this test, and to the design", name)
			continue
		}
		for _, imported := range pkg.Imports {
			for door, keepers := range doors {
				if strings.HasPrefix(imported, strings.TrimSuffix(door, "/")) && !contains(keepers, name) {
					t.Errorf("%s imports %s, which only %s may", name, imported, strings.Join(keepers, " and "))
				}
			}
			if !strings.HasPrefix(imported, module) {
				continue
			}
			if problem := forbidden(name, strings.TrimPrefix(imported, module)); problem != "" {
				t.Error(problem)
			}
		}
	}
}

func forbidden(from, to string) string {
	if siblings, ok := parts[from]; ok && (contains(siblings, to) || layerOf(to) > len(layers)-3) {
		return ""
	}
	if _, ok := parts[to]; ok {
		if within(to, from) {
			return ""
		}
		return from + " imports " + to + ", a part of another package"
	}
	if a, b := layerOf(from), layerOf(to); a >= 0 && b > a {
		return ""
	}
	return from + " imports " + to + ", which does not stand below it"
}

func TestForbidden(t *testing.T) {
	require.NotEmpty(t, forbidden("internal/pki", "internal/cli"), "upwards")
	require.NotEmpty(t, forbidden("internal/pki", "internal/token"), "sideways")
	require.NotEmpty(t, forbidden("internal/daemon", "internal/auth0sim/state"), "a part of another")
	require.NotEmpty(t, forbidden("internal/auth0sim", "internal/auth0"+"sim/../workflows"))
	require.Empty(t, forbidden("internal/daemon", "internal/cluster"))
	require.Empty(t, forbidden("internal/auth0sim", "internal/auth0sim/state"))
}

// TestSimulatorStandsAlone keeps one wrong belief about Auth0 from passing on
// both sides.
func TestSimulatorStandsAlone(t *testing.T) {
	for _, pkg := range packages(t) {
		name := strings.TrimPrefix(pkg.ImportPath, module)
		if name != "internal/auth0sim" && !within(name, "internal/auth0sim") {
			continue
		}
		for _, dep := range pkg.Deps {
			require.NotEqual(t, module+"internal/auth0", dep, "%s depends on it", name)
			require.False(t, strings.HasPrefix(dep, "github.com/auth0/"), "%s depends on %s", name, dep)
		}
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	require.NoError(t, err)
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
