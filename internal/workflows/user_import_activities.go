package workflows

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/userfile"
)

// ImportTenant is what imports ask of a tenant.
type ImportTenant interface {
	ImportUsers(ctx context.Context, in auth0.ImportRequest) (jobID string, err error)
	Job(ctx context.Context, id string) (*auth0.Job, error)
	JobErrors(ctx context.Context, id string) ([]auth0.JobError, error)
	UserExists(ctx context.Context, id string) (bool, error)
	ConnectionNamed(ctx context.Context, name string) (id, strategy string, err error)
	RoleNamed(ctx context.Context, name string) (id string, err error)
	AssignRole(ctx context.Context, roleID string, userIDs []string) error
	Do(ctx context.Context, r auth0.Request, out any) error
}

// ImportPiece is the argument of the activities SubmitImport and FinishImport.
type ImportPiece struct {
	UserImportInput
	Source UserImportSource  `json:"source"`
	At     userfile.Position `json:"at"`
	Number int               `json:"number"`
	// Sent is what SubmitImport returned.
	Sent ImportPieceSent `json:"sent"`
}

// ImportPieceSent is the result of the activity SubmitImport.
type ImportPieceSent struct {
	// Job is "" if the piece has no user.
	Job  string            `json:"job,omitempty"`
	Next userfile.Position `json:"next"`
	End  bool              `json:"end,omitempty"`
	// Again is set if an earlier job may have imported some of the users.
	Again bool `json:"again,omitempty"`
	// Modified is as in UserImportSource, once more if the file was copied again.
	Modified int64 `json:"modified,omitempty"`
}

// ImportPieceDone is the result of the activity FinishImport.
type ImportPieceDone struct {
	Counts UserImportCounts `json:"counts"`
	// Lost is set if what became of the job cannot be told, and Reason says why.
	Lost   bool   `json:"lost,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// ImportFailuresInput is the argument of the activity ListImportFailures.
type ImportFailuresInput struct {
	Tenant     string `json:"tenant"`
	Connection string `json:"connection"`
	File       string `json:"file"`
	Pieces     int    `json:"pieces"`
}

func (a *Activities) importTenant(ctx context.Context, domain string) (ImportTenant, error) {
	tenant, err := a.Tenants(ctx, domain)
	if err != nil {
		return nil, err
	}
	if t, ok := tenant.(ImportTenant); ok {
		return t, nil
	}
	return nil, &notConfiguredError{"the worker cannot import users"}
}

func (a *Activities) openImport(in UserImportInput, salt string) (*userfile.File, error) {
	if a.ImportDir == "" {
		return nil, &notConfiguredError{"the worker has no import folder"}
	}
	format, err := userfile.FormatOf(in.File)
	if err != nil {
		return nil, problemsError{{Path: "file", Message: err.Error()}}
	}
	f, err := userfile.Open(filepath.Join(a.ImportDir, in.File), format, salt)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, problemsError{{Path: "file", Message: in.File + " is not in the worker's import folder"}}
	case err != nil:
		return nil, problemsError{{Path: "file", Message: err.Error()}}
	}
	return f, nil
}

// OpenImport checks the file, the connection and the roles before anything is
// sent.
func (a *Activities) OpenImport(ctx context.Context, in UserImportInput) (*UserImportSource, error) {
	tenant, err := a.importTenant(ctx, in.Tenant)
	if err != nil {
		return nil, classify(ctx, err)
	}
	ctx, stop := beat(ctx)
	defer stop()
	source := &UserImportSource{Salt: in.Tenant + "\x00" + in.Connection + "\x00" + in.File}
	f, err := a.openImport(in, source.Salt)
	if err != nil {
		return nil, classify(ctx, err)
	}
	defer func() { _ = f.Close() }()
	source.Bytes, source.Modified = f.Size(), f.Modified().UnixNano()
	id, strategy, err := tenant.ConnectionNamed(ctx, in.Connection)
	if err != nil {
		return nil, classify(ctx, err)
	}
	if strategy != "auth0" {
		return nil, classify(ctx, problemsError{{Path: "connection", Message: fmt.Sprintf("%s is of strategy %s; users can be imported into databases (auth0) only", in.Connection, strategy)}})
	}
	source.ConnectionID = id
	for _, name := range in.Roles {
		id, err := tenant.RoleNamed(ctx, name)
		if err != nil {
			return nil, classify(ctx, err)
		}
		source.RoleIDs = append(source.RoleIDs, id)
	}
	// Last, because a large file takes a while. All of it is read: that a quote is
	// missing far down is said before half of the users are in.
	same, err := a.sameContent(ctx, in.File)
	if err == nil && !same {
		err = problemsError{{Path: "file", Message: in.File + " has not the content that its name says: copy it again"}}
	}
	if err != nil {
		return nil, classify(ctx, err)
	}
	if err := f.Check(ctx); err != nil {
		if ctx.Err() == nil {
			err = problemsError{{Path: "file", Message: err.Error()}}
		}
		return nil, classify(ctx, err)
	}
	return source, nil
}

// sameContent compares the file with the hash that is its name: what was changed
// or broke off while it was copied is not imported.
func (a *Activities) sameContent(ctx context.Context, name string) (bool, error) {
	file, err := os.Open(filepath.Join(a.ImportDir, name))
	if err != nil {
		return false, err
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, &cancellable{ctx, file}); err != nil {
		return false, err
	}
	want, _, _ := strings.Cut(name, ".")
	return hex.EncodeToString(sum.Sum(nil)) == want, nil
}

type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// SubmitImport starts the job of one piece. If it was tried before, the answer
// may have been lost, and an earlier job be at work.
func (a *Activities) SubmitImport(ctx context.Context, in ImportPiece) (*ImportPieceSent, error) {
	tenant, err := a.importTenant(ctx, in.Tenant)
	if err != nil {
		return nil, classify(ctx, err)
	}
	ctx, stop := beat(ctx)
	defer stop()
	chunk, modified, err := a.chunk(ctx, in)
	if err != nil {
		return nil, classify(ctx, err)
	}
	sent := &ImportPieceSent{Next: chunk.Next, End: chunk.End, Again: in.Sent.Again, Modified: modified}
	if activity.IsActivity(ctx) && activity.GetInfo(ctx).Attempt > 1 {
		sent.Again = true
	}
	if len(chunk.Rows) == 0 {
		return sent, nil
	}
	earlier, err := a.markSent(in)
	if err != nil {
		return nil, classify(ctx, err)
	}
	sent.Again = sent.Again || earlier
	sent.Job, err = tenant.ImportUsers(ctx, auth0.ImportRequest{
		ConnectionID: in.Source.ConnectionID, Users: chunk.Users, Upsert: in.Upsert,
		ExternalID: fmt.Sprintf("tenon-%.16s-%d", in.File, in.Number),
	})
	if err != nil {
		return nil, classify(ctx, err)
	}
	return sent, nil
}

// markSent notes that a piece is about to be sent, and reports whether an earlier
// run, or an earlier attempt, has noted it: users of its own that it meets are
// then no duplicates. That is how an import that failed half-way goes on when it
// is started again.
func (a *Activities) markSent(in ImportPiece) (earlier bool, err error) {
	dir := a.failuresOf(in.Tenant, in.Connection, in.File)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	err = secret.CreateFile(filepath.Join(dir, fmt.Sprintf("%08d.sent", in.Number)), nil)
	if errors.Is(err, fs.ErrExist) {
		return true, nil
	}
	return false, err
}

// chunk reads a piece, and says when the file was changed last.
func (a *Activities) chunk(ctx context.Context, in ImportPiece) (chunk *userfile.Chunk, modified int64, err error) {
	f, err := a.openImport(in.UserImportInput, in.Source.Salt)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }()
	same := f.Size() == in.Source.Bytes
	if modified = f.Modified().UnixNano(); same && in.Source.Modified != 0 && modified != in.Source.Modified {
		// Changed, or the same once more.
		if same, err = a.sameContent(ctx, in.File); err != nil {
			return nil, 0, err
		}
	}
	if !same {
		return nil, 0, problemsError{{Path: "file", Message: "has changed during the import: copy it again"}}
	}
	if chunk, err = f.Chunk(in.At); err != nil {
		return nil, 0, problemsError{{Path: "file", Message: err.Error()}}
	}
	return chunk, modified, nil
}

// FinishImport waits for the job of a piece, writes down its failed rows, and
// gives the others their roles.
func (a *Activities) FinishImport(ctx context.Context, in ImportPiece) (*ImportPieceDone, error) {
	tenant, err := a.importTenant(ctx, in.Tenant)
	if err != nil {
		return nil, classify(ctx, err)
	}
	ctx, stop := beat(ctx)
	defer stop()
	chunk, _, err := a.chunk(ctx, in)
	if err != nil {
		return nil, classify(ctx, err)
	}
	failed := chunk.Rejected
	done := &ImportPieceDone{Counts: UserImportCounts{Rows: len(chunk.Rows) + len(chunk.Rejected)}}
	var good []userfile.Row
	if in.Sent.Job != "" {
		job, lost, err := a.awaitJob(ctx, tenant, in.Sent.Job)
		if err != nil {
			return nil, classify(ctx, err)
		}
		if lost != "" {
			return &ImportPieceDone{Lost: true, Reason: lost}, nil
		}
		refused, err := tenant.JobErrors(ctx, in.Sent.Job)
		if auth0.ClassOf(err) == auth0.NotFound {
			return &ImportPieceDone{Lost: true, Reason: "the job's errors are gone"}, nil
		}
		if err != nil {
			return nil, classify(ctx, err)
		}
		reasons := refusals(chunk.Rows, refused)
		if len(reasons) < job.Summary.Failed {
			// The others would pass for imported.
			return &ImportPieceDone{Lost: true, Reason: fmt.Sprintf("the job refused %d rows and names %d of them", job.Summary.Failed, len(reasons))}, nil
		}
		var others map[int]bool
		if in.Sent.Again {
			if others, err = a.failedBefore(in); err != nil {
				return nil, classify(ctx, err)
			}
		}
		var bad []userfile.Rejected
		if good, bad, err = sortRows(ctx, tenant, chunk.Rows, reasons, in.Sent.Again, others); err != nil {
			return nil, classify(ctx, err)
		}
		if in.Upsert && job.Summary.Updated > 0 && len(in.Source.RoleIDs) > 0 {
			var lost []userfile.Rejected
			if good, lost, err = updatedRows(ctx, tenant, in.Connection, good); err != nil {
				return nil, classify(ctx, err)
			}
			bad = append(bad, lost...)
		}
		failed = append(failed, bad...)
		done.Counts.Jobs = 1
		done.Counts.Updated = min(job.Summary.Updated, len(good))
		done.Counts.Inserted = len(good) - done.Counts.Updated
	}
	for _, role := range in.Source.RoleIDs {
		if err := assignRole(ctx, tenant, role, good); err != nil {
			return nil, classify(ctx, err)
		}
	}
	done.Counts.Failed = len(failed)
	for _, f := range failed {
		if done.Counts.Codes == nil {
			done.Counts.Codes = map[string]int{}
		}
		done.Counts.Codes[f.Code]++
	}
	if err := a.keepFailures(in, failed); err != nil {
		return nil, classify(ctx, err)
	}
	return done, nil
}

// awaitJob polls until a job has ended. lost says why its outcome cannot be told.
func (a *Activities) awaitJob(ctx context.Context, tenant ImportTenant, id string) (job *auth0.Job, lost string, err error) {
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		job, err := tenant.Job(ctx, id)
		switch {
		case auth0.ClassOf(err) == auth0.NotFound:
			return nil, "the tenant does not know the job any more", nil
		case err != nil:
			return nil, "", err
		case job.Status == "completed":
			return job, "", nil
		case job.Status == "failed":
			return nil, "the job failed: " + job.Details, nil
		}
		select {
		case <-ctx.Done():
			return nil, "", ctx.Err()
		case <-time.After(wait):
		}
	}
}

// refusals finds the rows that a job refused, by their index. Auth0 names users
// as they were sent; one without an id is known by what else it has, and of two
// that are alike it is the later that is refused.
func refusals(rows []userfile.Row, refused []auth0.JobError) map[int]auth0.JobError {
	ids, others := map[string]int{}, map[string][]int{}
	for i, row := range rows {
		ids[row.UserID] = i
		key := row.Email + "\x00" + row.Username + "\x00" + row.Phone
		others[key] = append(others[key], i)
	}
	reasons := map[int]auth0.JobError{}
	for _, r := range refused {
		i, found := ids["auth0|"+strings.TrimPrefix(r.User.UserID, "auth0|")]
		for _, alike := range others[strings.ToLower(r.User.Email)+"\x00"+r.User.Username+"\x00"+r.User.Phone] {
			if _, taken := reasons[alike]; r.User.UserID == "" && !taken {
				i, found = alike, true
			}
		}
		if !found {
			continue
		}
		r.Errors = append(reasons[i].Errors, r.Errors...)
		reasons[i] = r
	}
	return reasons
}

// sortRows tells the rows that a job imported from those that it refused. A user who
// exists already is a failure, unless an earlier job of the same piece made them:
// then they have the id that the piece gave them. Of an id that the file brings
// this says nothing; what an earlier run found, in others, still holds.
func sortRows(ctx context.Context, tenant ImportTenant, rows []userfile.Row, reasons map[int]auth0.JobError, again bool, others map[int]bool) (good []userfile.Row, bad []userfile.Rejected, err error) {
	for i, row := range rows {
		r, isBad := reasons[i]
		if !isBad {
			good = append(good, row)
			continue
		}
		entry := userfile.Rejected{Number: row.Number, Email: row.Email, Code: "UNKNOWN"}
		exists := false
		var why []string
		for _, e := range r.Errors {
			entry.Code = e.Code
			why = append(why, strings.TrimSpace(e.Message+" "+e.Path))
			switch e.Code {
			case "DUPLICATED_USER", "CONFLICT", "CONFLICT_EMAIL", "CONFLICT_USERNAME":
				exists = true
			}
		}
		if entry.Reason = row.Clean(strings.Join(why, "; ")); entry.Reason == "" {
			entry.Reason = "the tenant gave no reason"
		}
		if exists && again && !(row.Own && others[row.Number]) {
			ours, err := tenant.UserExists(ctx, row.UserID)
			if err != nil {
				return nil, nil, err
			}
			if ours {
				good = append(good, row)
				continue
			}
		}
		bad = append(bad, entry)
	}
	return good, bad, nil
}

// updatedRows gives rows the ids under which their users are known. A job does
// not say which users it updated: these keep the ids that they had.
func updatedRows(ctx context.Context, tenant ImportTenant, connection string, rows []userfile.Row) (found []userfile.Row, lost []userfile.Rejected, err error) {
	for _, row := range rows {
		known, err := tenant.UserExists(ctx, row.UserID)
		if err == nil && !known && row.Email != "" {
			var users []struct {
				UserID     string `json:"user_id"`
				Identities []struct {
					Connection string `json:"connection"`
				} `json:"identities"`
			}
			err = tenant.Do(ctx, auth0.Request{Operation: "find user", Method: http.MethodGet, Path: []string{"users-by-email"},
				Query: url.Values{"email": {row.Email}, "fields": {"user_id,identities"}, "include_fields": {"true"}}}, &users)
			for _, u := range users {
				for _, i := range u.Identities {
					if i.Connection == connection {
						row.UserID, known = u.UserID, true
					}
				}
			}
		}
		if err != nil {
			return nil, nil, err
		}
		if known {
			found = append(found, row)
			continue
		}
		lost = append(lost, userfile.Rejected{Number: row.Number, Email: row.Email, Code: "NO_ROLES",
			Reason: "was updated under an id that could not be found, and has not been given the roles"})
	}
	return found, lost, nil
}

// assignBatch is how many users Auth0 takes in one assignment.
const assignBatch = 50

func assignRole(ctx context.Context, tenant ImportTenant, role string, rows []userfile.Row) error {
	for len(rows) > 0 {
		n := min(len(rows), assignBatch)
		ids := make([]string, n)
		for i, r := range rows[:n] {
			ids[i] = r.UserID
		}
		if err := tenant.AssignRole(ctx, role, ids); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// failuresOf is where an import's failures are kept: a folder of one file for
// each piece, and beside it the list.
func (a *Activities) failuresOf(tenant, connection, file string) string {
	sum := sha256.Sum256([]byte(tenant + "\x00" + connection))
	name, _, _ := strings.Cut(file, ".")
	return filepath.Join(a.ImportDir, "failed-"+hex.EncodeToString(sum[:4])+"-"+name)
}

// keepFailures writes a piece's failures, anew whenever the activity is repeated.
func (a *Activities) keepFailures(in ImportPiece, failed []userfile.Rejected) error {
	dir := a.failuresOf(in.Tenant, in.Connection, in.File)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for _, f := range failed {
		if err := enc.Encode(f); err != nil {
			return err
		}
	}
	return secret.WriteFile(filepath.Join(dir, fmt.Sprintf("%08d.ndjson", in.Number)), out.Bytes())
}

// failedBefore reads which rows of a piece an earlier run listed as failed.
func (a *Activities) failedBefore(in ImportPiece) (map[int]bool, error) {
	data, err := os.ReadFile(filepath.Join(a.failuresOf(in.Tenant, in.Connection, in.File), fmt.Sprintf("%08d.ndjson", in.Number)))
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	rows := map[int]bool{}
	for dec := json.NewDecoder(bytes.NewReader(data)); dec.More(); {
		var f userfile.Rejected
		if err := dec.Decode(&f); err != nil {
			return nil, fmt.Errorf("read the failures of piece %d: %w", in.Number, err)
		}
		rows[f.Number] = true
	}
	return rows, nil
}

// ListImportFailures joins the failures of all pieces into one file, and returns
// its path.
func (a *Activities) ListImportFailures(ctx context.Context, in ImportFailuresInput) (string, error) {
	ctx, stop := beat(ctx)
	defer stop()
	dir := a.failuresOf(in.Tenant, in.Connection, in.File)
	path := dir + ".ndjson"
	err := func() (err error) {
		out, err := os.CreateTemp(filepath.Dir(path), ".failures-*")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, ignoreNotExist(os.Remove(out.Name()))) }()
		w := bufio.NewWriter(out)
		for piece := range in.Pieces {
			if err := ctx.Err(); err != nil {
				return errors.Join(err, out.Close())
			}
			data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%08d.ndjson", piece)))
			if err == nil {
				_, err = w.Write(data)
			}
			if err != nil {
				return errors.Join(err, out.Close())
			}
		}
		if err := errors.Join(w.Flush(), out.Sync(), out.Close()); err != nil {
			return err
		}
		return os.Rename(out.Name(), path)
	}()
	if err != nil {
		return "", classify(ctx, err)
	}
	return path, nil
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
