package direct

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

func TestSame(t *testing.T) {
	for _, tc := range []struct {
		name       string
		live, want any
		same       bool
	}{
		{"absent and empty list", nil, []any{}, true},
		{"absent and empty text", nil, "", true},
		{"absent and false", nil, false, false},
		{"absent and zero", nil, 0.0, false},
		{"only what is wanted counts", fields{"a": 1.0, "b": 2.0}, fields{"a": 1.0}, true},
		{"nested", fields{"a": fields{"x": 1.0}}, fields{"a": fields{"x": 2.0}}, false},
		{"lists are ordered", []any{"a", "b"}, []any{"b", "a"}, false},
		{"wanted object, absent", nil, fields{"a": false}, false},
	} {
		t.Run(tc.name, func(t *testing.T) { require.Equal(t, tc.same, same(tc.live, tc.want)) })
	}
}

func TestProjectSaysWhatWasAbsent(t *testing.T) {
	live := fields{"a": fields{"x": 1.0, "y": 2.0}, "secret": "s"}
	require.Equal(t, fields{"a": fields{"x": 1.0, "z": nil}, "b": nil}, project(live, fields{"a": fields{"x": 0.0, "z": 0.0}, "b": 0.0}))
}

func TestUnderway(t *testing.T) {
	before := fields{"a": "old", "b": "old", "permissions": []any{"x", "y"}}
	want := fields{"a": "new", "b": "new", "permissions": []any{"y", "z"}}
	for _, tc := range []struct {
		name string
		live fields
		path string
	}{
		{"untouched", before, ""},
		{"done", want, ""},
		{"half", fields{"a": "new", "b": "old", "permissions": []any{"y"}}, ""},
		{"others", fields{"a": "other", "b": "old", "permissions": []any{"x", "y"}}, "a"},
		{"a member of others", fields{"a": "old", "b": "old", "permissions": []any{"x", "y", "w"}}, "permissions"},
		{"a common member is gone", fields{"a": "old", "b": "old", "permissions": []any{"x"}}, "permissions"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path, ok := underway(roleKind{}, before, tc.live, want)
			require.Equal(t, tc.path == "", ok)
			require.Equal(t, tc.path, path)
		})
	}
}

func TestPathsWithDotsInKeys(t *testing.T) {
	shape := fields{"client_metadata": fields{"a.b": "x", "a": fields{"b": "y"}}}
	require.Equal(t, "x", valueAt(shape, "client_metadata.a.b"))
	target := fields{}
	set(target, shape, "client_metadata.a.b", "z")
	require.Equal(t, fields{"client_metadata": fields{"a.b": "z"}}, target)
}

func TestOrderIsDeterministicAndCirclesAreNamed(t *testing.T) {
	from := func(kind, name string) v1.StringOrRef {
		return v1.StringOrRef{ValueFrom: &v1.ValueFrom{Kind: kind, Name: name, FieldPath: "status.outputs.id"}}
	}
	db := func(name string, after ...string) v1.Resource {
		spec := &v1.Auth0ConnectionSpec{Strategy: "auth0"}
		for _, a := range after {
			spec.EnabledClients = append(spec.EnabledClients, from(v1.KindConnection, a))
		}
		return v1.New(name, spec)
	}
	names := func(nodes []node) (out []string) {
		for _, n := range nodes {
			out = append(out, n.resource.Metadata.Name)
		}
		return out
	}
	want := []string{"r", "c", "b", "a", "z"}
	role := v1.New("r", &v1.Auth0RoleSpec{})
	for range 20 {
		got, err := order([]v1.Resource{db("a", "b", "c"), db("z"), db("b", "c"), db("c"), role}, nil)
		require.NoError(t, err)
		require.Equal(t, want, names(got))
	}
	_, err := order([]v1.Resource{db("x", "a"), db("a", "b"), db("b", "c"), db("c", "a")}, nil)
	require.ErrorIs(t, err, engine.ErrCycle)
	require.ErrorContains(t, err, "Auth0Connection/a → Auth0Connection/b → Auth0Connection/c → Auth0Connection/a")
	require.NotContains(t, err.Error(), "/x")
}

func TestImplicitOrder(t *testing.T) {
	nodes, err := order([]v1.Resource{
		v1.New("u", &v1.Auth0UserSpec{Connection: "db", Email: "a@example.com", Roles: []v1.StringOrRef{v1.Value("Admin")}}),
		v1.New("app", &v1.Auth0ClientSpec{ApplicationType: "spa", EnabledConnections: []v1.StringOrRef{v1.Value("db")}}),
		v1.New("g", &v1.Auth0ClientGrantSpec{Client: v1.From("", "app"), Audience: v1.Value("urn:api")}),
		v1.New("admin", &v1.Auth0RoleSpec{Name: new("Admin"), Permissions: []v1.Permission{{Name: "a", ResourceServerIdentifier: "urn:api"}}}),
		v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "urn:api"}),
		v1.New("db", &v1.Auth0ConnectionSpec{Strategy: "auth0"}),
	}, nil)
	require.NoError(t, err)
	after := map[string][]engine.Key{}
	for _, n := range nodes {
		after[n.resource.Metadata.Name] = n.after
	}
	require.Equal(t, []engine.Key{{Kind: v1.KindConnection, Name: "db"}, {Kind: v1.KindRole, Name: "admin"}}, after["u"])
	require.Equal(t, []engine.Key{{Kind: v1.KindConnection, Name: "db"}}, after["app"])
	require.Equal(t, []engine.Key{{Kind: v1.KindResourceServer, Name: "api"}}, after["admin"])
	require.Equal(t, []engine.Key{{Kind: v1.KindClient, Name: "app"}, {Kind: v1.KindResourceServer, Name: "api"}}, after["g"])
}

func TestRandomPassword(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		p, err := randomPassword(rand.Reader)
		require.NoError(t, err)
		text := p.Reveal()
		require.Len(t, text, 64)
		require.False(t, seen[text])
		seen[text] = true
		for i := range len(text) - 1 {
			require.NotEqual(t, text[i], text[i+1])
		}
		for _, class := range passwordClasses {
			require.True(t, strings.ContainsAny(text, class))
		}
	}
	_, err := randomPassword(bytes.NewReader([]byte{1, 2, 3}))
	require.Error(t, err, "a source that runs dry is no password")
}

func TestSecretsThatWereTakenAwayAreLost(t *testing.T) {
	require.True(t, actionKind{}.lost("secrets", []any{"A", "B"}, []any{"B"}))
	require.False(t, actionKind{}.lost("secrets", []any{"B"}, []any{"A", "B"}))
}

func TestLocksAreReleased(t *testing.T) {
	var l locks
	release := l.acquire("a")
	l.acquire("b")()
	done := make(chan struct{})
	go func() { l.acquire("a")(); close(done) }()
	release()
	<-done
	require.Empty(t, l.held)
}
