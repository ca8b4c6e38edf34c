// Package userfile owns the files that users are imported from: CSV and NDJSON,
// cut into pieces that Auth0's import jobs accept.
//
//	file ─► Open ─► Chunk(at) ─► users as JSON, at most 500 kB, and rows that are no users
//	                         └─► where the next one begins
//
// A file is read piece by piece and never held whole, and a piece can be read
// again from its position alone: that is what an import resumes by. What becomes
// of the pieces is internal/workflows' business.
//
// What must always hold: every row of the file is in exactly one piece, either as
// a user or as a rejected row with its number and the reason; the same position
// gives the same piece, user ids included.
package userfile

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of one piece. Auth0 refuses files above 512,000 bytes, and recommends
// about a thousand users.
const (
	MaxChunkBytes = 500_000
	MaxChunkRows  = 1_000
	// MaxRowBytes bounds one row: a file without line ends is no reason to read two
	// gigabytes into memory.
	MaxRowBytes = 256 << 10
)

// Format of a file.
type Format string

// The formats.
const (
	CSV    Format = "csv"
	NDJSON Format = "ndjson"
)

// FormatOf tells a file's format by its name.
func FormatOf(name string) (Format, error) {
	switch lower := strings.ToLower(name); {
	case strings.HasSuffix(lower, ".csv"):
		return CSV, nil
	case strings.HasSuffix(lower, ".ndjson"), strings.HasSuffix(lower, ".jsonl"):
		return NDJSON, nil
	}
	return "", fmt.Errorf("%s: is neither .csv nor .ndjson", name)
}

// Position is where a piece begins.
type Position struct {
	// Offset in bytes; 0 is the beginning of the file.
	Offset int64 `json:"offset"`
	// Row is how many rows come before.
	Row int `json:"row"`
}

// Chunk is one piece of a file.
type Chunk struct {
	// Users is a JSON array, as an import job takes it.
	Users []byte
	// Rows are the users of the array, in its order.
	Rows []Row
	// Rejected are rows that are no users.
	Rejected []Rejected
	// Next is where the next piece begins; End is set if there is none.
	Next Position
	End  bool
}

// Row is one user of a piece.
type Row struct {
	// Number counts from 1, without a CSV's header.
	Number int
	// Email, Username and Phone are how the user can be recognised; at least one is set.
	Email, Username, Phone string
	// UserID is the id that the user will have, with its prefix "auth0|".
	UserID string
	// Own is set if the file has that id.
	Own bool

	// secrets are what the user can log in with: hashes, salts, second factors.
	secrets []string
}

// Clean takes the row's secrets out of a message about it: Auth0's often repeat
// the value that they refuse.
func (r Row) Clean(message string) string {
	for _, s := range r.secrets {
		message = strings.ReplaceAll(message, s, "[redacted]")
	}
	return message
}

// Rejected is a row that is no user.
type Rejected struct {
	Number int    `json:"row"`
	Email  string `json:"email,omitempty"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// CodeRow is the code of rows that were never sent; those that Auth0 refuses
// have its own.
const CodeRow = "INVALID_ROW"

// File is an open file of users. It is not safe for concurrent use.
type File struct {
	file   *os.File
	format Format
	size   int64
	// modified is when the file was changed last.
	modified time.Time
	bom      int64
	header   []column
	salt     string
}

// column is one column of a CSV file: the path of the field that it fills.
type column struct {
	path []string
	kind fieldKind
}

type fieldKind int

const (
	textField fieldKind = iota
	boolField
	jsonField
)

// fields are those of Auth0's import schema.
func fields() map[string]fieldKind {
	return map[string]fieldKind{
		"user_id": textField, "email": textField, "email_verified": boolField, "username": textField,
		"phone_number": textField, "phone_verified": boolField, "given_name": textField, "family_name": textField,
		"name": textField, "nickname": textField, "picture": textField, "blocked": boolField,
		"password_hash": textField, "custom_password_hash": jsonField, "mfa_factors": jsonField,
		"app_metadata": jsonField, "user_metadata": jsonField,
	}
}

// Open opens a file and reads a CSV's header. The salt goes into the ids of users
// who have none: the same salt gives the same ids.
func Open(path string, format Format, salt string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f := &File{file: file, format: format, salt: salt}
	if err := f.begin(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Size is the file's, in bytes.
func (f *File) Size() int64 { return f.size }

// Modified is when the file was changed last, as of its opening.
func (f *File) Modified() time.Time { return f.modified }

// Check reads all rows and keeps none. It fails if a piece could not be read: a
// row whose end cannot be told. Rows that are no users are no failure.
func (f *File) Check(ctx context.Context) error {
	src, err := f.source(Position{})
	for row := 1; err == nil; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var user map[string]any
		var problem string
		if user, problem, _, err = src.row(); errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("row %d: %w", row, err)
		}
		if user != nil || problem != "" {
			row++
		}
	}
	return err
}

func (f *File) begin() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", f.file.Name())
	}
	f.size, f.modified = info.Size(), info.ModTime()
	mark := make([]byte, 3)
	if n, err := f.file.ReadAt(mark, 0); n == 3 && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		f.bom = 3
	} else if n >= 2 && (bytes.Equal(mark[:2], []byte{0xff, 0xfe}) || bytes.Equal(mark[:2], []byte{0xfe, 0xff})) {
		return errors.New("is in UTF-16; save it as UTF-8")
	} else if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if f.format != CSV {
		return nil
	}
	record, _, err := f.csv(f.bom).next()
	if errors.Is(err, io.EOF) {
		return errors.New("is empty: the first row must name the columns")
	}
	if err != nil {
		return fmt.Errorf("the first row must name the columns: %w", err)
	}
	return f.readHeader(record)
}

// readHeader reads the names of a CSV's columns: "email",
// "user_metadata.department".
func (f *File) readHeader(record []string) error {
	known := fields()
	seen := map[string]bool{}
	var problems []string
	recognised := false
	if !slices.ContainsFunc(record, func(name string) bool {
		first, _, _ := strings.Cut(strings.TrimSpace(name), ".")
		_, ok := known[first]
		return ok
	}) {
		// Not the cells: without a header they are a user's, password hash included.
		return errors.New("the first row must name the columns, such as email: none of its cells is a field of users")
	}
	for i, name := range record {
		name = strings.TrimSpace(name)
		path := strings.Split(name, ".")
		kind, ok := known[path[0]]
		nested := path[0] == "app_metadata" || path[0] == "user_metadata"
		switch {
		case !ok || (len(path) > 1 && !nested) || slices.Contains(path, ""):
			problems = append(problems, fmt.Sprintf("column %d, %q, is not a field of users", i+1, name))
		case seen[name]:
			problems = append(problems, fmt.Sprintf("column %d, %q, is there twice", i+1, name))
		}
		if len(path) > 1 {
			kind = textField
		}
		seen[name] = true
		recognised = recognised || name == "email" || name == "username" || name == "phone_number"
		f.header = append(f.header, column{path, kind})
	}
	if !recognised {
		problems = append(problems, "one of the columns email, username, phone_number is needed")
	}
	for name := range seen {
		for other := range seen {
			if strings.HasPrefix(other, name+".") {
				problems = append(problems, fmt.Sprintf("columns %q and %q exclude each other", name, other))
			}
		}
	}
	if len(problems) > 0 {
		slices.Sort(problems)
		return errors.New(strings.Join(problems, "; "))
	}
	return nil
}

// source gives rows one by one, with the offset after each.
type source interface {
	// row returns the next row as a user, or why it is none. err is io.EOF at the
	// end, and otherwise fatal.
	row() (user map[string]any, problem string, after int64, err error)
}

// source reads from a position.
func (f *File) source(at Position) (source, error) {
	offset := max(at.Offset, f.bom)
	if f.format != CSV {
		return &lineSource{r: bufio.NewReaderSize(io.NewSectionReader(f.file, offset, f.size-offset), 64<<10), at: offset}, nil
	}
	rows := f.csv(offset)
	if at.Offset == 0 {
		if _, _, err := rows.next(); err != nil { // the header
			return nil, err
		}
	}
	return &csvSource{f, rows}, nil
}

// Chunk reads the piece that begins at a position.
func (f *File) Chunk(at Position) (*Chunk, error) {
	src, err := f.source(at)
	if err != nil {
		return nil, err
	}
	c := &Chunk{Next: at}
	ids := map[string]int{}
	users := []byte{'['}
	for len(c.Rows) < MaxChunkRows {
		user, problem, after, err := src.row()
		if errors.Is(err, io.EOF) {
			c.End = true
			break
		}
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", c.Next.Row+1, err)
		}
		next := Position{after, c.Next.Row + 1}
		if user == nil && problem == "" { // an empty line
			c.Next = Position{after, c.Next.Row}
			continue
		}
		row, data, problem := f.user(next.Row, user, problem)
		if first, twice := ids[row.UserID]; twice && problem == "" {
			// Auth0 names refused users by their ids: it could not be told which of the two
			// it was.
			problem = fmt.Sprintf("has the user_id of row %d", first)
		}
		if problem != "" {
			c.Rejected = append(c.Rejected, Rejected{next.Row, row.Email, CodeRow, problem})
			c.Next = next
			if len(c.Rejected) >= MaxChunkRows {
				break
			}
			continue
		}
		if len(users)+len(data)+2 > MaxChunkBytes {
			if len(c.Rows) == 0 {
				return nil, fmt.Errorf("row %d: has %d bytes", next.Row, len(data))
			}
			break // it begins the next piece
		}
		if len(c.Rows) > 0 {
			users = append(users, ',')
		}
		users = append(users, data...)
		ids[row.UserID] = row.Number
		c.Rows, c.Next = append(c.Rows, row), next
	}
	c.Users = append(users, ']')
	return c, nil
}

// user checks a row and gives it an id.
func (f *File) user(number int, user map[string]any, problem string) (Row, []byte, string) {
	row := Row{Number: number}
	if problem != "" {
		return row, nil, problem
	}
	text := func(key string) string { s, _ := user[key].(string); return s }
	row.Email, row.Username, row.Phone = strings.ToLower(text("email")), text("username"), text("phone_number")
	known := fields()
	for _, key := range slices.Sorted(maps.Keys(user)) {
		kind, ok := known[key]
		_, isText := user[key].(string)
		_, isBool := user[key].(bool)
		switch {
		case !ok:
			return row, nil, fmt.Sprintf("%q is not a field of users", key)
		case user[key] == nil:
			delete(user, key) // like an empty cell
		case kind == textField && !isText:
			return row, nil, key + " must be a text"
		case kind == boolField && !isBool:
			return row, nil, key + " must be true or false"
		}
	}
	if row.Email == "" && row.Username == "" && row.Phone == "" {
		return row, nil, "has neither email nor username nor phone_number"
	}
	row.secrets = secretsOf(user)
	id := strings.TrimPrefix(text("user_id"), "auth0|")
	if row.Own = id != ""; !row.Own {
		sum := sha256.Sum256([]byte(f.salt + "\x00" + strconv.Itoa(number)))
		id = hex.EncodeToString(sum[:12])
		user["user_id"] = id
	}
	row.UserID = "auth0|" + id
	data, err := json.Marshal(user)
	if err != nil {
		return row, nil, err.Error()
	}
	if len(data) > MaxRowBytes {
		return row, nil, fmt.Sprintf("has %d bytes, at most %d are taken", len(data), MaxRowBytes)
	}
	return row, data, ""
}

// secretsOf lists a user's secrets: in "password_hash", and wherever in
// "custom_password_hash" and "mfa_factors" a key says so.
func secretsOf(user map[string]any) (secrets []string) {
	var walk func(key string, v any)
	walk = func(key string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, below := range v {
				walk(k, below)
			}
		case []any:
			for _, below := range v {
				walk(key, below)
			}
		case string:
			if v != "" && slices.Contains([]string{"password_hash", "value", "secret", "key"}, key) {
				secrets = append(secrets, v)
			}
		}
	}
	for _, key := range []string{"password_hash", "custom_password_hash", "mfa_factors"} {
		walk(key, user[key])
	}
	// The longest first: one may be part of another.
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return secrets
}

// csvRows reads records from an offset.
type csvRows struct {
	r     *csv.Reader
	bound *bounded
	base  int64
}

// bounded fails when one record has taken more than it may: a quote that is
// never closed would otherwise swallow the file.
type bounded struct {
	r    io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("is longer than %d bytes; is a quote not closed?", MaxRowBytes)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (f *File) csv(offset int64) *csvRows {
	bound := &bounded{r: io.NewSectionReader(f.file, offset, f.size-offset)}
	r := csv.NewReader(bound)
	r.FieldsPerRecord = -1
	r.ReuseRecord = true
	return &csvRows{r, bound, offset}
}

func (c *csvRows) next() (record []string, after int64, err error) {
	// What the reader holds already counts for the next record too.
	c.bound.left = MaxRowBytes
	record, err = c.r.Read()
	return record, c.base + c.r.InputOffset(), err
}

type csvSource struct {
	f    *File
	rows *csvRows
}

func (s *csvSource) row() (map[string]any, string, int64, error) {
	record, after, err := s.rows.next()
	var malformed *csv.ParseError
	switch {
	case errors.As(err, &malformed):
		// Where a row with a stray quote ends cannot be told, nor where the next begins.
		if s.rows.base == s.f.bom {
			return nil, "", 0, fmt.Errorf("line %d, column %d: %w", malformed.Line, malformed.Column, malformed.Err)
		}
		return nil, "", 0, fmt.Errorf("column %d: %w", malformed.Column, malformed.Err)
	case err != nil:
		return nil, "", 0, err
	case len(record) != len(s.f.header):
		return map[string]any{}, fmt.Sprintf("has %d columns, the header has %d", len(record), len(s.f.header)), after, nil
	}
	user := map[string]any{}
	for i, value := range record {
		if value == "" {
			continue // an empty cell is an absent field
		}
		if !utf8.ValidString(value) {
			return map[string]any{}, fmt.Sprintf("column %d is not UTF-8", i+1), after, nil
		}
		if problem := set(user, s.f.header[i], value); problem != "" {
			return map[string]any{}, problem, after, nil
		}
	}
	return user, "", after, nil
}

// set puts a cell where its column says.
func set(user map[string]any, c column, value string) (problem string) {
	var v any = value
	switch c.kind {
	case boolField:
		b, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(value)))
		if err != nil {
			// Not the value: in a row that slipped a column it may be a password hash.
			return c.path[0] + " must be true or false"
		}
		v = b
	case jsonField:
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			return fmt.Sprintf("%s is not JSON: %v", c.path[0], err)
		}
	}
	into := user
	for _, key := range c.path[:len(c.path)-1] {
		below, ok := into[key].(map[string]any)
		if !ok {
			below = map[string]any{}
			into[key] = below
		}
		into = below
	}
	into[c.path[len(c.path)-1]] = v
	return ""
}

// lineSource reads NDJSON.
type lineSource struct {
	r  *bufio.Reader
	at int64
}

func (s *lineSource) row() (map[string]any, string, int64, error) {
	var line []byte
	long := false
	for {
		part, err := s.r.ReadSlice('\n')
		s.at += int64(len(part))
		if len(line)+len(part) > MaxRowBytes {
			long = true // skip the rest without keeping it
		} else {
			line = append(line, part...)
		}
		if err == nil || (errors.Is(err, io.EOF) && (len(line) > 0 || long)) {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, "", s.at, err
		}
	}
	line = bytes.TrimSpace(line)
	switch {
	case long:
		return map[string]any{}, fmt.Sprintf("has more than %d bytes", MaxRowBytes), s.at, nil
	case len(line) == 0:
		return nil, "", s.at, nil
	case !utf8.Valid(line):
		return map[string]any{}, "is not UTF-8", s.at, nil
	}
	var user map[string]any
	if err := json.Unmarshal(line, &user); err != nil {
		return map[string]any{}, "is not a JSON object: " + err.Error(), s.at, nil
	}
	if user == nil {
		return map[string]any{}, "is null, must be an object", s.at, nil
	}
	return user, "", s.at, nil
}
