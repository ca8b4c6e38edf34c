package workflows

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/userfile"
)

// TypeUserImport is the workflow type of user imports.
const TypeUserImport = "UserImportWorkflow"

// UserImportID is the workflow id to start UserImportWorkflow with: one file is
// imported into one connection by one run at a time.
func UserImportID(tenant, connection, file string) string {
	return "user-import/" + tenant + "/" + connection + "/" + file
}

// UserImportInput is the input of UserImportWorkflow.
type UserImportInput struct {
	// Tenant is as in TenantSetupInput.
	Tenant string `json:"tenant"`
	// Connection is the database. Defaults to Tenon-Users.
	Connection string `json:"connection,omitempty"`
	// File is the name of a file in the worker's import folder, as
	// "tenon user register --file" puts it there: its SHA-256 in hex, and .csv or
	// .ndjson. A path is refused, and so is a file whose content has another hash.
	File string `json:"file"`
	// Upsert updates users who exist; without it they are reported as failed.
	Upsert bool `json:"upsert,omitempty"`
	// Roles, by name, are given to every user that was imported. They must exist.
	Roles []string `json:"roles,omitempty"`

	// Progress of an earlier run of the same import. Callers leave it out.
	Resume *UserImportState `json:"resume,omitempty"`
}

// UserImportState is how far an import is.
type UserImportState struct {
	Source UserImportSource `json:"source"`
	// Next is where the next piece begins, Piece its number.
	Next  userfile.Position `json:"next"`
	Piece int               `json:"piece"`
	End   bool              `json:"end,omitempty"`
	// Counts of the pieces that are done.
	Counts UserImportCounts `json:"counts"`
}

// UserImportSource is what an import works on.
type UserImportSource struct {
	ConnectionID string `json:"connectionId"`
	// RoleIDs in the order of the input's roles.
	RoleIDs []string `json:"roleIds,omitempty"`
	Bytes   int64    `json:"bytes"`
	// Modified is when the file was changed last, in nanoseconds since 1970.
	Modified int64 `json:"modified,omitempty"`
	// Salt makes the ids of users who bring none.
	Salt string `json:"salt"`
}

// UserImportCounts count rows.
type UserImportCounts struct {
	Rows     int `json:"rows"`
	Inserted int `json:"inserted"`
	Updated  int `json:"updated"`
	Failed   int `json:"failed"`
	// Codes counts failures by Auth0's code; INVALID_ROW was never sent.
	Codes map[string]int `json:"codes,omitempty"`
	Jobs  int            `json:"jobs"`
}

func (c *UserImportCounts) add(more UserImportCounts) {
	c.Rows += more.Rows
	c.Inserted += more.Inserted
	c.Updated += more.Updated
	c.Failed += more.Failed
	c.Jobs += more.Jobs
	//workflowcheck:ignore the order has no effect
	for code, n := range more.Codes {
		if c.Codes == nil {
			c.Codes = map[string]int{}
		}
		c.Codes[code] += n
	}
}

// UserImportResult is the result of UserImportWorkflow.
type UserImportResult struct {
	Tenant     string `json:"tenant"`
	Connection string `json:"connection"`
	UserImportCounts
	// Roles that every imported user was given.
	Roles []string `json:"roles,omitempty"`
	// Failures is the file that lists every failed row with its reason, one JSON
	// object a line, where the worker runs; "" if there are none.
	Failures string `json:"failures,omitempty"`
}

var importFile = regexp.MustCompile(`^[0-9a-f]{64}\.(csv|ndjson)$`)

// withDefaults fills in what was left out.
func (in UserImportInput) withDefaults() UserImportInput {
	if in.Connection == "" {
		in.Connection = DefaultConnection
	}
	return in
}

const (
	stepImportOpen     = "open"
	stepImportRows     = "rows"
	stepImportFailures = "failures"

	// importJobs is how many import jobs Auth0 takes at a time.
	importJobs = 2
	// importResubmissions bounds how often a piece is sent again whose job was lost.
	importResubmissions = 5
	// importPieces is how many pieces one run does before it continues as new: each
	// has about twenty events.
	importPieces = 400
)

// UserImportWorkflow imports the users of a file through import jobs, two at a
// time. Every row of the file ends up in the database once, or in the list of
// failures with the reason; that holds over crashes of worker and tenant too,
// since the ids of new users follow from the file. A failed row is no failure of
// the run.
func UserImportWorkflow(ctx workflow.Context, in UserImportInput) (*UserImportResult, error) {
	in = in.withDefaults()
	s, err := newSaga(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	s.add(stepImportOpen, "Read "+in.File)
	s.add(stepImportRows, "Import users into "+in.Connection)
	result, err := importUsers(ctx, s, in)
	if workflow.IsContinueAsNewError(err) {
		return nil, err
	}
	if err := s.finish(ctx, err); err != nil {
		return nil, err
	}
	return result, nil
}

func importUsers(ctx workflow.Context, s *saga, in UserImportInput) (*UserImportResult, error) {
	if !importFile.MatchString(in.File) || filepath.Base(in.File) != in.File {
		return nil, refuse([]v1.Problem{{Path: "file", Message: fmt.Sprintf("is %q, must be the name of a file in the worker's import folder: its SHA-256 in hex, and .csv or .ndjson", in.File)}})
	}
	state := in.Resume
	if state == nil {
		state = &UserImportState{}
		if err := s.do(ctx, stepImportOpen, activityOpenImport, in, &state.Source); err != nil {
			return nil, err
		}
	} else {
		s.end(ctx, stepImportOpen, StepDone, "", "")
	}
	s.start(ctx, stepImportRows)
	if err := importPiecesOf(ctx, s, in, state); err != nil {
		return nil, err
	}
	if !state.End {
		in.Resume = state
		return nil, workflow.NewContinueAsNewError(ctx, TypeUserImport, in)
	}
	s.end(ctx, stepImportRows, StepDone, "", importSummary(state.Counts))
	result := &UserImportResult{Tenant: in.Tenant, Connection: in.Connection, UserImportCounts: state.Counts, Roles: in.Roles}
	if state.Counts.Failed > 0 {
		s.add(stepImportFailures, "List what failed")
		argument := ImportFailuresInput{Tenant: in.Tenant, Connection: in.Connection, File: in.File, Pieces: state.Piece}
		if err := s.do(ctx, stepImportFailures, activityListImportFailures, argument, &result.Failures); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// importPiecesOf works on pieces until the file ends, the run has done its part,
// or one fails for good.
func importPiecesOf(ctx workflow.Context, s *saga, in UserImportInput, state *UserImportState) error {
	var failed error
	busy, done := 0, 0
	wake := workflow.NewChannel(ctx)
	finish := func(ctx workflow.Context, piece ImportPiece) {
		counts, err := finishPiece(ctx, piece)
		if err != nil && failed == nil {
			failed = err
		}
		if err == nil {
			state.Counts.add(counts)
			row := s.add(stepImportRows, "")
			row.Detail = importSummary(state.Counts)
		}
		busy--
		wake.Send(ctx, nil)
	}
	for failed == nil && !state.End && done < importPieces {
		for busy == importJobs {
			wake.Receive(ctx, nil)
		}
		if failed != nil {
			break
		}
		piece := ImportPiece{UserImportInput: in, Source: state.Source, At: state.Next, Number: state.Piece}
		piece.Resume = nil
		var sent ImportPieceSent
		if err := runImport(ctx, activitySubmitImport, fmt.Sprintf("piece %d", piece.Number), piece, &sent); err != nil {
			failed = err
			break
		}
		piece.Sent = sent
		state.Next, state.End, state.Source.Modified = sent.Next, sent.End, sent.Modified
		state.Piece++
		done++
		busy++
		workflow.Go(ctx, func(ctx workflow.Context) { finish(ctx, piece) })
	}
	for busy > 0 {
		wake.Receive(ctx, nil)
	}
	if failed != nil {
		return s.fail(ctx, stepImportRows, importStopped(failed, state.Counts))
	}
	return nil
}

// importStopped says how far an import came that failed, and that no row is
// imported twice when it is started again.
func importStopped(err error, counts UserImportCounts) error {
	if temporal.IsCanceledError(err) {
		return err
	}
	kind := ErrorType(err)
	if kind == "" {
		kind = ErrorUnavailable // only timeouts come without a type
	}
	return temporal.NewApplicationErrorWithOptions(fmt.Sprintf("%s; done so far: %s; start the import again to go on", cause(err), importSummary(counts)), kind,
		temporal.ApplicationErrorOptions{NonRetryable: true, Cause: err})
}

// finishPiece waits for a piece's job. One whose outcome nobody can tell any more
// is sent again: users that it made are recognised by their ids.
func finishPiece(ctx workflow.Context, piece ImportPiece) (UserImportCounts, error) {
	for try := 0; ; try++ {
		var done ImportPieceDone
		if err := runImport(ctx, activityFinishImport, fmt.Sprintf("piece %d", piece.Number), piece, &done); err != nil {
			return UserImportCounts{}, err
		}
		if !done.Lost {
			done.Counts.Jobs += try
			return done.Counts, nil
		}
		if try == importResubmissions {
			return UserImportCounts{}, importLost("rows %d to %d were sent %d times and no job's outcome can be told: %s", piece.At.Row+1, piece.Sent.Next.Row, try+1, done.Reason)
		}
		piece.Sent.Again = true
		again := piece
		if err := runImport(ctx, activitySubmitImport, fmt.Sprintf("piece %d again", piece.Number), again, &piece.Sent); err != nil {
			return UserImportCounts{}, err
		}
		piece.Sent.Again = true
	}
}

// runImport runs one activity.
func runImport(ctx workflow.Context, activity, title string, argument, result any) error {
	ctx = workflow.WithActivityOptions(ctx, options(activity, title))
	return workflow.ExecuteActivity(ctx, activity, argument).Get(ctx, result)
}

func importLost(format string, args ...any) error {
	return temporal.NewNonRetryableApplicationError(fmt.Sprintf(format, args...), ErrorUnavailable, nil)
}

func importSummary(c UserImportCounts) string {
	parts := []string{fmt.Sprintf("%d rows", c.Rows), fmt.Sprintf("%d inserted", c.Inserted)}
	if c.Updated > 0 {
		parts = append(parts, fmt.Sprintf("%d updated", c.Updated))
	}
	if c.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", c.Failed))
	}
	return strings.Join(parts, ", ")
}
