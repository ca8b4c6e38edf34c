package workflows_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/userfile"
	"github.com/tenonhq/tenon/internal/workflows"
)

// An import that failed half-way is started again, and goes on: its own users are
// no duplicates, those of others still are.
func TestImportIsStartedAgain(t *testing.T) {
	b := newBulk(t)
	b.makeUser("user7@bulk.example")
	in := workflows.UserImportInput{File: b.stage("csv", "email,name\n"+manyRows(1002)+"user8@bulk.example,again\nno-at,x\n"), Roles: []string{"member"}}
	n := 0
	b.fail(func(r *http.Request) *http.Response {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/users-imports") {
			if n++; n == 2 {
				return refusal(r, http.StatusForbidden, "Insufficient scope, expected any of: create:users")
			}
		}
		return nil
	})
	out := b.imports(in)
	require.Equal(t, workflows.ErrorMissingScopes, workflows.ErrorType(out.err))
	require.ErrorContains(t, out.err, "done so far: 1000 rows, 999 inserted, 1 failed;")
	b.fail(nil)
	for range 2 { // also when there is nothing left to do
		out = b.imports(in)
		require.NoError(t, out.err)
		require.Equal(t, 1004, out.Rows)
		require.Equal(t, 1001, out.Inserted)
		require.Equal(t, map[string]int{"DUPLICATED_USER": 2, "FORMAT": 1}, out.Codes)
		require.Equal(t, []int{7, 1003, 1004}, []int{out.failed[0].Row, out.failed[1].Row, out.failed[2].Row})
		require.Equal(t, 1002, b.users())
	}
}

// A file that brings ids says with them nothing about who made the user: whom the
// first run found in the tenant, the second does not take for its own.
func TestImportOfOwnIDsIsStartedAgain(t *testing.T) {
	b := newBulk(t)
	b.post([]string{"users"}, map[string]any{"connection": "Bulk", "user_id": "2", "email": "bob@bulk.example", "password": "Zwölf-B0xkämpfer!jagen"})
	in := workflows.UserImportInput{File: b.stage("csv", "user_id,email\n1,ada@bulk.example\n2,bob@bulk.example\n"), Roles: []string{"member"}}
	for range 3 {
		out := b.imports(in)
		require.NoError(t, out.err)
		require.Equal(t, 1, out.Inserted)
		require.Equal(t, 2, out.failed[0].Row)
	}
	var members []map[string]any
	b.get([]string{"roles", b.idOf("roles", "member"), "users"}, nil, &members)
	require.Len(t, members, 1)
}

// Users who exist are updated under the ids that they have, and get the roles
// under these too.
func TestImportUpdatesAndGivesRoles(t *testing.T) {
	b := newBulk(t)
	b.post([]string{"connections"}, map[string]any{"name": "Other", "strategy": "auth0"})
	b.post([]string{"users"}, map[string]any{"connection": "Other", "email": "bob@bulk.example", "password": "Zwölf-B0xkämpfer!jagen"})
	b.makeUser("bob@bulk.example")
	out := b.imports(workflows.UserImportInput{File: b.stage("csv", "email\nada@bulk.example\nbob@bulk.example\n"), Roles: []string{"member"}, Upsert: true})
	require.NoError(t, out.err)
	require.Equal(t, 1, out.Inserted)
	require.Equal(t, 1, out.Updated)
	var members []map[string]any
	b.get([]string{"roles", b.idOf("roles", "member"), "users"}, nil, &members)
	require.Len(t, members, 2)
	for _, m := range members {
		var user struct{ Identities []struct{ Connection string } }
		b.get([]string{"users", m["user_id"].(string)}, nil, &user)
		require.Equal(t, "Bulk", user.Identities[0].Connection)
	}
}

// A run that continues another goes on where it was, and counts on.
func TestImportContinuesAsNew(t *testing.T) {
	b := newBulk(t)
	text := "email,name\n" + manyRows(1002)
	in := workflows.UserImportInput{File: b.stage("csv", text)}
	f, err := userfile.Open(filepath.Join(b.act.ImportDir, in.File), userfile.CSV, "salt")
	require.NoError(t, err)
	first, err := f.Chunk(userfile.Position{})
	require.NoError(t, err)
	require.NoError(t, f.Close())
	in.Resume = &workflows.UserImportState{
		Source: workflows.UserImportSource{ConnectionID: b.idOf("connections", "Bulk"), Bytes: int64(len(text)), Salt: "salt"},
		Next:   first.Next, Piece: 1, Counts: workflows.UserImportCounts{Rows: 1000, Inserted: 1000, Jobs: 1},
	}
	out := b.imports(in)
	require.NoError(t, out.err)
	require.Equal(t, workflows.UserImportCounts{Rows: 1002, Inserted: 1002, Jobs: 2}, out.UserImportCounts)
	require.Equal(t, 2, b.users())
}
