package userfile

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func open(t testing.TB, format Format, text string) (*File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users."+string(format))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	f, err := Open(path, format, "salt")
	if err == nil {
		t.Cleanup(func() { require.NoError(t, f.Close()) })
	}
	return f, err
}

// all reads a file piece by piece.
func all(t testing.TB, f *File) (users []map[string]any, rows []Row, rejected []Rejected, pieces int) {
	t.Helper()
	for at := (Position{}); ; pieces++ {
		c, err := f.Chunk(at)
		require.NoError(t, err)
		require.LessOrEqual(t, len(c.Users), MaxChunkBytes)
		var part []map[string]any
		require.NoError(t, json.Unmarshal(c.Users, &part))
		require.Len(t, part, len(c.Rows))
		users, rows, rejected = append(users, part...), append(rows, c.Rows...), append(rejected, c.Rejected...)
		require.Equal(t, c.Next.Row, len(rows)+len(rejected))
		if c.End {
			return users, rows, rejected, pieces + 1
		}
		require.Greater(t, c.Next.Row, at.Row)
		at = c.Next
	}
}

func TestCSV(t *testing.T) {
	f, err := open(t, CSV, "\ufeffemail,email_verified,user_metadata.note,app_metadata\r\n"+
		"ada@example.test,true,\"two\nlines, and a \"\"quote\"\"\",\"{\"\"plan\"\": 1}\"\r\n"+
		"\n"+
		"bob@example.test,,,\n"+
		"carol@example.test,maybe,,\n"+
		"too,few\n"+
		",true,,\n"+
		"DAN@example.test,FALSE,,not json\n"+
		"eve@example.test,false,,")
	require.NoError(t, err)
	users, rows, rejected, _ := all(t, f)
	require.Len(t, users, 3)
	require.Equal(t, map[string]any{"note": "two\nlines, and a \"quote\""}, users[0]["user_metadata"])
	require.Equal(t, map[string]any{"plan": 1.0}, users[0]["app_metadata"])
	require.Equal(t, true, users[0]["email_verified"])
	require.NotContains(t, users[1], "email_verified", "an empty cell is an absent field")
	require.Equal(t, []int{1, 2, 7}, []int{rows[0].Number, rows[1].Number, rows[2].Number})
	require.Equal(t, "auth0|"+users[0]["user_id"].(string), rows[0].UserID)
	require.Len(t, rejected, 4)
	for i, want := range []string{"must be true or false", "has 2 columns, the header has 4", "has neither email", "app_metadata is not JSON"} {
		require.Contains(t, rejected[i].Reason, want)
		require.Equal(t, i+3, rejected[i].Number)
	}
}

func TestNDJSON(t *testing.T) {
	f, err := open(t, NDJSON, `{"email":"ada@example.test","user_metadata":{"a":1}}`+"\n\n"+
		`[1]`+"\n"+`{"email":"x@example.test","colour":"red"}`+"\n"+`{"email":"`+strings.Repeat("x", MaxRowBytes)+`"}`+"\n"+"null\n"+
		`{"user_id":"auth0|own","username":"bob"}`)
	require.NoError(t, err)
	users, rows, rejected, _ := all(t, f)
	require.Len(t, users, 2)
	require.Equal(t, "auth0|own", rows[1].UserID)
	require.Len(t, rejected, 4)
}

func TestHeaders(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "is empty",
		"name,nickname\n":                       "one of the columns email, username, phone_number is needed",
		"email,colour\n":                        `column 2, "colour", is not a field of users`,
		"email,email\n":                         "is there twice",
		"email,name.first\n":                    "is not a field of users",
		"email,user_metadata.\n":                "is not a field of users",
		"\xff\xfee\x00":                         "UTF-16",
		"email,user_metadata,user_metadata.x\n": "exclude each other",
		"\"email":                               "quote",
		"ada@example.test,$2b$10$hash\n":        "the first row must name the columns",
	} {
		_, err := open(t, CSV, text)
		require.ErrorContains(t, err, want, text)
		require.NotContains(t, err.Error(), "$2b$10$hash")
	}
}

// TestPieces cuts a long file, and cuts it again from the middle.
func TestPieces(t *testing.T) {
	var text bytes.Buffer
	text.WriteString("email,user_metadata.text\n")
	const n = 3500
	for i := range n {
		fmt.Fprintf(&text, "user%d@example.test,\"%s\n\"\n", i, strings.Repeat("y", i%900))
	}
	f, err := open(t, CSV, text.String())
	require.NoError(t, err)
	users, rows, rejected, pieces := all(t, f)
	require.Len(t, users, n)
	require.Empty(t, rejected)
	require.Greater(t, pieces, 3)
	ids := map[string]bool{}
	for i, r := range rows {
		require.Equal(t, i+1, r.Number)
		ids[r.UserID] = true
	}
	require.Len(t, ids, n)

	first, err := f.Chunk(Position{})
	require.NoError(t, err)
	second, err := f.Chunk(first.Next)
	require.NoError(t, err)
	again, err := f.Chunk(first.Next)
	require.NoError(t, err)
	require.Equal(t, second, again, "a piece is the same whenever it is read")
}

func TestQuoteThatIsNeverClosed(t *testing.T) {
	f, err := open(t, CSV, "email\nada@example.test\n\"bob\n"+strings.Repeat("x\n", MaxRowBytes))
	require.NoError(t, err)
	_, err = f.Chunk(Position{})
	require.ErrorContains(t, err, "row 2")
	require.ErrorContains(t, err, "quote")
}

// Check finds what no piece could be read past, wherever it is, and says in which
// line of the file.
func TestCheck(t *testing.T) {
	var rows strings.Builder
	for range 2500 {
		rows.WriteString("ada@example.test,\"two\nlines\"\nx\n\n")
	}
	for name, c := range map[string]struct {
		format Format
		text   string
		want   []string
	}{
		"well-formed":          {CSV, "\ufeffemail,name\n" + rows.String(), nil},
		"bad rows only":        {NDJSON, "[]\n{\nnull\n", nil},
		"a stray quote":        {CSV, "\ufeffemail,name\n" + rows.String() + "x,a \"b\" c\n", []string{"row 5001: ", "line 10002", `bare "`}},
		"a quote not closed":   {CSV, "email,name\n" + rows.String() + "x,\"\n", []string{"row 5001: ", "line 10002", "quote"}},
		"a row without end":    {CSV, "email,name\n" + rows.String() + "\"" + strings.Repeat("x\n", MaxRowBytes), []string{"row 5001: ", "is a quote not closed?"}},
		"a line without end":   {NDJSON, strings.Repeat("x", 3*MaxRowBytes), nil},
		"nothing but a header": {CSV, "email", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := open(t, c.format, c.text)
			require.NoError(t, err)
			err = f.Check(t.Context())
			if len(c.want) == 0 {
				require.NoError(t, err)
			}
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, f.Check(ctx), context.Canceled)
		})
	}
}

// TestTwoGigabytes reads a file that is larger than what may be held: most of it
// is one row that never ends, a hole that takes no room on the disk.
func TestTwoGigabytes(t *testing.T) {
	if testing.Short() {
		t.Skip("reads two gigabytes")
	}
	const hole = 2 << 30
	path := filepath.Join(t.TempDir(), "users.ndjson")
	file, err := os.Create(path)
	require.NoError(t, err)
	_, err = file.WriteString(`{"email":"ada@example.test"}` + "\n")
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("\n"+`{"email":"bob@example.test"}`+"\n"), hole)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	f, err := Open(path, NDJSON, "salt")
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, err := f.Chunk(Position{})
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
	require.True(t, c.End)
	require.Len(t, c.Rows, 2)
	require.Equal(t, []Rejected{{Number: 2, Code: CodeRow, Reason: "has more than 262144 bytes"}}, c.Rejected)
	require.Equal(t, f.Size(), c.Next.Offset)
	require.Equal(t, []int{1, 3}, []int{c.Rows[0].Number, c.Rows[1].Number})
}

// What can be said about a row holds none of its secrets.
func TestClean(t *testing.T) {
	f, err := open(t, NDJSON, `{"email":"ada@example.test","password_hash":"h1-h2","custom_password_hash":{"algorithm":"bcrypt","hash":{"value":"h1-h2-h3","encoding":"utf8"},"salt":{"value":"s4lt"}},`+
		`"mfa_factors":[{"totp":{"secret":"T0TP"}},{"phone":{"value":"+15550100"}}]}`)
	require.NoError(t, err)
	c, err := f.Chunk(Position{})
	require.NoError(t, err)
	require.Equal(t, "bcrypt utf8 [redacted] [redacted] [redacted] [redacted] [redacted]", c.Rows[0].Clean("bcrypt utf8 h1-h2-h3 h1-h2 s4lt T0TP +15550100"))
	require.Equal(t, "fine", Row{}.Clean("fine"))
}

func FuzzChunk(f *testing.F) {
	f.Add("email\nada@example.test\n", true)
	f.Add("email,name\n\"a\"\"b\",c\n", true)
	f.Add(`{"email":"a@b.test"}`+"\n{}\n", false)
	f.Fuzz(func(t *testing.T, text string, comma bool) {
		format := NDJSON
		if comma {
			format = CSV
		}
		file, err := open(t, format, text)
		if err != nil {
			return
		}
		for at := (Position{}); ; {
			c, err := file.Chunk(at)
			if err != nil {
				return
			}
			if !json.Valid(c.Users) || c.Next.Row != at.Row+len(c.Rows)+len(c.Rejected) {
				t.Fatalf("at %+v: %+v", at, c)
			}
			if c.End {
				return
			}
			if c.Next.Offset <= at.Offset {
				t.Fatalf("no progress at %+v", at)
			}
			at = c.Next
		}
	})
}
