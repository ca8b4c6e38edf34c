package userfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
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
	} {
		_, err := open(t, CSV, text)
		require.ErrorContains(t, err, want, text)
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
