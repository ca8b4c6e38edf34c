package auth0sim

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

var connectionID = regexp.MustCompile(`^con_[A-Za-z0-9]{16}$`)

const (
	maxImport  = 512000 // bytes of a file
	maxImports = 2      // at the same time
	// ticketLifetime is what a ticket without ttl_sec lives.
	ticketLifetime = 432000 * time.Second
)

var jobMissing = notFound("inexistent_job", "The job does not exist.")

// upload is a multipart body: the fields, and the file under "users".
type upload struct {
	fields url.Values
	file   []byte
}

func (c *call) readMultipart(raw []byte) error {
	_, params, err := mime.ParseMediaType(c.http.Header.Get("Content-Type"))
	if err != nil || params["boundary"] == "" {
		return refuse(http.StatusBadRequest, "", "Invalid multipart payload format")
	}
	up := upload{fields: url.Values{}}
	r := multipart.NewReader(bytes.NewReader(raw), params["boundary"])
	for {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			c.body = up
			return nil
		}
		if err != nil {
			return refuse(http.StatusBadRequest, "", "Invalid multipart payload format")
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return refuse(http.StatusBadRequest, "", "Invalid multipart payload format")
		}
		if part.FormName() == "users" {
			up.file = content
		} else {
			up.fields.Add(part.FormName(), string(content))
		}
	}
}

func newJob(c *call, kind string) doc {
	return doc{"id": c.NewID(state.JobID), "type": kind, "status": "pending", "created_at": state.Timestamp(c.Now())}
}

func importUsers(c *call) (answer, error) {
	up, isUpload := c.body.(upload)
	if !isUpload {
		return answer{}, refuse(http.StatusUnsupportedMediaType, "", "Unsupported Media Type")
	}
	if len(up.file) > maxImport {
		return answer{}, refuse(http.StatusRequestEntityTooLarge, "", "Payload content length greater than maximum allowed: %d.", maxImport)
	}
	id := up.fields.Get("connection_id")
	switch {
	case up.file == nil:
		return answer{}, badRequest("Must provide 'users' file as multipart part.")
	case len(bytes.TrimSpace(up.file)) == 0:
		return answer{}, badRequest("Users file must not be empty.")
	case id == "":
		return answer{}, badRequest("Must provide 'connection_id' as multipart part.")
	case !connectionID.MatchString(id):
		return answer{}, badRequest("Payload validation error: 'String does not match pattern %s' on property connection_id.", connectionID)
	}
	con, found, err := c.Get("connections", id)
	if err != nil {
		return answer{}, err
	}
	if !found {
		return answer{}, refuse(http.StatusBadRequest, "inexistent_connection", "The connection does not exist.")
	}
	if str(con, "strategy") != "auth0" {
		return answer{}, refuse(http.StatusBadRequest, "invalid_body", "Connection must be a database connection.")
	}
	pending, err := c.Find("jobs", "status", "pending")
	if err != nil {
		return answer{}, err
	}
	if len(keep(pending, func(d doc) bool { return str(d, "type") == "users_import" })) >= maxImports {
		return answer{}, refuse(http.StatusTooManyRequests, "too_many_requests", "There are 2 active import users jobs, please wait until some of them are finished and try again")
	}
	job := newJob(c, "users_import")
	job["connection_id"], job["connection"] = con["id"], con["name"]
	for _, k := range []string{"external_id"} {
		if v := up.fields.Get(k); v != "" {
			job[k] = v
		}
	}
	if v := up.fields.Get("upsert"); v != "" {
		job["upsert"] = v == "true"
	}
	shown := state.Clone(job)
	job[state.Private] = doc{"file": string(up.file)}
	if err := c.Put("jobs", str(job, "id"), job); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusAccepted, body: shown}, nil
}

// rowError is what one row of an import failed with.
type rowError struct{ code, message, path string }

// finishImport does the work of a pending import, in one transaction.
func finishImport(tx *state.Tx, job doc) error {
	con, found, err := tx.Get("connections", str(job, "connection_id"))
	if err != nil {
		return err
	}
	private := state.PrivateOf(job)
	file := str(private, "file")
	delete(private, "file")
	var rows []any
	if err := json.Unmarshal([]byte(strings.TrimPrefix(file, "\ufeff")), &rows); err != nil || !found {
		job["status"] = "failed"
		job["summary"] = doc{"failed": 0, "updated": 0, "inserted": 0, "total": 0}
		job["status_details"] = "Failed to parse users file JSON when importing users. Make sure it is valid JSON."
		return tx.Put("jobs", str(job, "id"), job)
	}
	var inserted, updated int
	failures := []any{}
	seen := map[string]bool{}
	for _, e := range rows {
		row, isObject := e.(doc)
		var errs []rowError
		if !isObject {
			errs = []rowError{{"INVALID_TYPE", "Expected type object but found type " + typeOf(e), ""}}
			row = doc{}
		} else {
			var was bool
			was, errs, err = importRow(tx, con, row, boolean(job, "upsert"), seen)
			if err != nil {
				return err
			}
			if len(errs) == 0 {
				if was {
					updated++
				} else {
					inserted++
				}
			}
		}
		if len(errs) > 0 {
			list := []any{}
			for _, x := range errs {
				entry := doc{"code": x.code, "message": x.message}
				if x.path != "" {
					entry["path"] = x.path
				}
				list = append(list, entry)
			}
			failures = append(failures, doc{"user": maskRow(row), "errors": list})
		}
	}
	job["status"] = "completed"
	job["summary"] = doc{"failed": len(failures), "updated": updated, "inserted": inserted, "total": len(rows)}
	job["percentage_done"], job["time_left_seconds"] = 100, 0
	private["failures"] = failures
	return tx.Put("jobs", str(job, "id"), job)
}

// maskRow is a row as the errors of a job show it: without its secrets.
func maskRow(row doc) doc {
	out := state.Clone(row)
	for _, k := range []string{"password_hash", "custom_password_hash"} {
		if _, has := out[k]; has {
			out[k] = "*****"
		}
	}
	return out
}

var importFields = []string{"user_id", "email", "email_verified", "username", "phone_number", "phone_verified", "given_name", "family_name", "name", "nickname", "picture", "blocked",
	"app_metadata", "user_metadata", "password_hash", "custom_password_hash", "mfa_factors", "password_set_date"}

// importRow creates or updates one user.
func importRow(tx *state.Tx, con, row doc, upsert bool, seen map[string]bool) (updated bool, errs []rowError, err error) {
	for k := range row {
		if !has(importFields, k) {
			errs = append(errs, rowError{"OBJECT_ADDITIONAL_PROPERTIES", "Additional properties not allowed: " + k, ""})
		}
	}
	email, isText := row["email"].(string)
	if v, given := row["email"]; given && !isText {
		return false, append(errs, rowError{"INVALID_TYPE", "Expected type string but found type " + typeOf(v), "email"}), nil
	}
	if email == "" && str(row, "username") == "" && str(row, "phone_number") == "" {
		return false, append(errs, rowError{"ANY_OF_MISSING", "Data does not match any schemas from 'anyOf'", ""}), nil
	}
	if email != "" && !formatOK("email", email) {
		errs = append(errs, rowError{"FORMAT", "Object didn't pass validation for format email: " + email, "email"})
	}
	for _, k := range []string{"app_metadata", "user_metadata"} {
		if v, given := row[k]; given {
			if _, isObject := v.(doc); !isObject {
				errs = append(errs, rowError{"INVALID_TYPE", "Expected type object but found type " + typeOf(v), k})
			}
		}
	}
	if len(errs) > 0 {
		return false, errs, nil
	}
	name := str(con, "name")
	key := strings.ToLower(email)
	if key == "" {
		key = strings.ToLower(str(row, "username") + "|" + str(row, "phone_number"))
	}
	if seen[key] {
		return false, []rowError{{"DUPLICATED_USER", "The user is repeated in the file", ""}}, nil
	}
	seen[key] = true
	profile := doc{}
	for k, v := range row {
		if !has([]string{"user_id", "password_hash", "custom_password_hash", "mfa_factors", "password_set_date"}, k) {
			profile[k] = state.Clone(v)
		}
	}
	ids, err := tx.IDs("users", "connection_email", state.Key(name, strings.ToLower(email)))
	if err != nil {
		return false, nil, err
	}
	if email == "" {
		ids = nil
	}
	var u doc
	switch {
	case len(ids) > 0 && !upsert:
		return false, []rowError{{"DUPLICATED_USER", "The user already exist and upsert parameter is false", ""}}, nil
	case len(ids) > 0:
		if u, _, err = tx.Get("users", ids[0]); err != nil {
			return false, nil, err
		}
		for k, v := range profile {
			u[k] = v
		}
		u["email"] = strings.ToLower(email)
		err = tx.ChangeUser(u)
		updated = true
	default:
		u, err = tx.CreateUser(state.NewUser{Connection: con, Profile: profile, UserID: strings.TrimPrefix(str(row, "user_id"), "auth0|")})
	}
	switch {
	case errors.Is(err, state.ErrUsernameExists):
		return false, []rowError{{"CONFLICT_USERNAME", "The username is already in use", "username"}}, nil
	case errors.Is(err, state.ErrUserExists):
		return false, []rowError{{"CONFLICT", "The user already exists", ""}}, nil
	case errors.Is(err, state.ErrPhoneExists):
		return false, []rowError{{"CONFLICT", "The phone number is already in use", "phone_number"}}, nil
	case err != nil:
		return false, nil, err
	}
	if hash := str(row, "password_hash"); hash != "" {
		state.PrivateOf(u)["password_hash"] = hash
		err = tx.Put("users", str(u, "user_id"), u)
	} else if custom := obj(row, "custom_password_hash"); custom != nil {
		state.PrivateOf(u)["custom_password_hash"] = custom
		err = tx.Put("users", str(u, "user_id"), u)
	}
	return updated, nil, err
}

func showJob(job doc) doc { return state.Public(job) }

func jobHandlers() map[string]handler {
	return map[string]handler{
		"POST /jobs/users-imports": importUsers,
		"POST /jobs/users-exports": func(c *call) (answer, error) {
			body := c.object()
			job := newJob(c, "users_export")
			if id := str(body, "connection_id"); id != "" {
				con, found, err := c.Get("connections", id)
				if err != nil {
					return answer{}, err
				}
				if !found {
					return answer{}, refuse(http.StatusBadRequest, "inexistent_connection", "The connection does not exist.")
				}
				job["connection_id"], job["connection"] = id, con["name"]
			}
			job["format"] = "json"
			for _, k := range []string{"format", "limit", "fields"} {
				if v, given := body[k]; given {
					job[k] = v
				}
			}
			return answer{status: http.StatusOK, body: job}, c.Put("jobs", str(job, "id"), job)
		},
		"POST /jobs/verification-email": func(c *call) (answer, error) {
			u, err := loadUser(c, str(c.object(), "user_id"))
			if err != nil {
				return answer{}, err
			}
			if err := sendVerification(c, u, str(c.object(), "client_id"), str(c.object(), "organization_id")); err != nil {
				return answer{}, err
			}
			job := newJob(c, "verification_email")
			stored := state.Clone(job)
			stored["status"] = "completed"
			return answer{status: http.StatusCreated, body: job}, c.Put("jobs", str(job, "id"), stored)
		},
		"GET /jobs/{}": func(c *call) (answer, error) {
			job, err := loadJob(c)
			if err != nil {
				return answer{}, err
			}
			return ok(showJob(job))
		},
		"GET /jobs/{}/errors": func(c *call) (answer, error) {
			job, err := loadJob(c)
			if err != nil {
				return answer{}, err
			}
			if failures := list(state.PrivateOf(job), "failures"); len(failures) > 0 {
				return ok(failures)
			}
			if details := str(job, "status_details"); details != "" {
				return ok(showJob(job))
			}
			return noContent()
		},
		"POST /tickets/email-verification": func(c *call) (answer, error) {
			body := c.object()
			u, err := loadUser(c, str(body, "user_id"))
			if err != nil {
				return answer{}, err
			}
			link, err := newTicket(c, "email_verification", u, body)
			return answer{status: http.StatusCreated, body: doc{"ticket": link}}, err
		},
		"POST /tickets/password-change": passwordTicket,
	}
}

func loadJob(c *call) (doc, error) {
	job, found, err := c.Get("jobs", c.params[0])
	if err == nil && !found {
		err = jobMissing
	}
	return job, err
}

// exportPath is where the files of exports are fetched; who knows a name may.
const exportPath = "/user-exports/"

// serveExport serves the file of a users-export job, while its link is valid.
func (s *Server) serveExport(w http.ResponseWriter, r *http.Request, t *tenant) {
	var d doc
	err := t.state.View(r.Context(), func(tx *state.Tx) error {
		var err error
		d, _, err = tx.Get("exports", strings.TrimPrefix(r.URL.Path, exportPath))
		return err
	})
	if err != nil || d == nil || exportExpired(d, s.store.Now()) {
		http.NotFound(w, r)
		return
	}
	kind := "application/x-ndjson"
	if str(d, "format") == "csv" {
		kind = "text/csv; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	_, _ = io.WriteString(w, str(d, "content")) // a client that has gone away is no news
}

func exportExpired(d doc, now time.Time) bool {
	until, _ := d["expires_at"].(float64)
	return float64(now.Unix()) > until
}

// dropExpiredExports keeps files that nobody can fetch any more from filling the
// state.
func dropExpiredExports(tx *state.Tx) error {
	ids, err := tx.IDs("exports", "", "")
	if err != nil {
		return err
	}
	for _, id := range ids {
		d, _, err := tx.Get("exports", id)
		if err != nil {
			return err
		}
		if exportExpired(d, tx.Now()) {
			if _, err := tx.Delete("exports", id); err != nil {
				return err
			}
		}
	}
	return nil
}

// finishExport does the work of a pending export; the file can be fetched for a
// minute under the link in the job.
func finishExport(tx *state.Tx, domain string, job doc) error {
	if err := dropExpiredExports(tx); err != nil {
		return err
	}
	limit := math.MaxInt
	if n, given := job["limit"].(float64); given {
		limit = int(n)
	}
	names := []string{}
	renamed := map[string]string{}
	for _, e := range list(job, "fields") {
		f, _ := e.(doc)
		names = append(names, str(f, "name"))
		renamed[str(f, "name")] = str(f, "export_as")
	}
	if len(names) == 0 {
		names = []string{"user_id", "email", "email_verified", "name", "given_name", "family_name", "nickname", "username", "phone_number", "created_at", "updated_at"}
	}
	var users []doc
	o := state.ListOptions{}
	if name := str(job, "connection"); name != "" {
		o.Index, o.Value = "connection", name
	}
	users, _, err := tx.List("users", o)
	if err != nil {
		return err
	}
	users = users[:min(limit, len(users))]
	var out bytes.Buffer
	if str(job, "format") == "csv" {
		w := csv.NewWriter(&out)
		header := make([]string, len(names))
		for i, n := range names {
			header[i] = n
			if renamed[n] != "" {
				header[i] = renamed[n]
			}
		}
		if err := w.Write(header); err != nil {
			return fmt.Errorf("export users: %w", err)
		}
		for _, u := range users {
			row := make([]string, len(names))
			for i, n := range names {
				if v := first(valuesAt(state.Public(u), n)); v != nil {
					row[i] = fmt.Sprint(v)
				}
			}
			if err := w.Write(row); err != nil {
				return fmt.Errorf("export users: %w", err)
			}
		}
		w.Flush()
	} else {
		enc := json.NewEncoder(&out)
		for _, u := range users {
			row := doc{}
			for _, n := range names {
				if v := first(valuesAt(state.Public(u), n)); v != nil {
					key := n
					if renamed[n] != "" {
						key = renamed[n]
					}
					row[key] = v
				}
			}
			if err := enc.Encode(row); err != nil {
				return fmt.Errorf("export users: %w", err)
			}
		}
	}
	name := tx.NewID(state.TicketID)
	if err := tx.Put("exports", name, doc{"content": out.String(), "format": job["format"], "expires_at": float64(tx.Now().Add(time.Minute).Unix())}); err != nil {
		return err
	}
	job["status"], job["percentage_done"] = "completed", 100
	job["location"] = "https://" + domain + exportPath + name
	return tx.Put("jobs", str(job, "id"), job)
}

// newTicket makes a single-use link for a user. The Authentication API's pages
// serve it.
func newTicket(c *call, kind string, u, body doc) (string, error) {
	path := map[string]string{"email_verification": "/u/email-verification", "password_change": "/u/reset-password"}[kind]
	lifetime := ticketLifetime
	if n, given := body["ttl_sec"].(float64); given && n > 0 {
		lifetime = time.Duration(n) * time.Second
	}
	ticket := doc{"kind": kind, "user_id": u["user_id"], "expires_at": float64(c.Now().Add(lifetime).Unix()), "used": false}
	for _, k := range []string{"client_id", "connection_id", "organization_id", "result_url", "includeEmailInRedirect", "mark_email_as_verified", "identity"} {
		if v, given := body[k]; given && v != nil {
			ticket[k] = v
		}
	}
	id := c.NewID(state.TicketID)
	return "https://" + c.tenant.domain + path + "?ticket=" + id + "#", c.Put("tickets", id, ticket)
}

func passwordTicket(c *call) (answer, error) {
	body := c.object()
	if id := str(body, "client_id"); id != "" {
		if str(body, "result_url") != "" {
			return answer{}, badRequest("Payload validation error: 'result_url' cannot be used together with 'client_id'.")
		}
		client, err := loadClient(c, id)
		if err != nil {
			return answer{}, err
		}
		if org := str(body, "organization_id"); org != "" && str(client, "organization_usage") == "deny" {
			return answer{}, badRequest("The client does not allow organizations.")
		}
	}
	var u doc
	switch id, email := str(body, "user_id"), str(body, "email"); {
	case id != "" && email != "":
		return answer{}, badRequest("Payload validation error: 'user_id' and 'email' cannot be used together.")
	case id != "":
		var err error
		if u, err = loadUser(c, id); err != nil {
			return answer{}, err
		}
	case email != "":
		con, found, err := c.Get("connections", str(body, "connection_id"))
		if err != nil {
			return answer{}, err
		}
		if !found {
			return answer{}, connectionMissing
		}
		var exists bool
		if u, exists, err = c.FindOne("users", "connection_email", state.Key(str(con, "name"), strings.ToLower(email))); err != nil {
			return answer{}, err
		}
		if !exists {
			return answer{}, userMissing
		}
	default:
		return answer{}, badRequest("Payload validation error: 'Missing required property: user_id'.")
	}
	link, err := newTicket(c, "password_change", u, body)
	return answer{status: http.StatusCreated, body: doc{"ticket": link}}, err
}

// sendVerification puts a verification mail into the outbox.
func sendVerification(c *call, u doc, client, organization string) error {
	body := doc{}
	if client != "" {
		body["client_id"] = client
	}
	if organization != "" {
		body["organization_id"] = organization
	}
	link, err := newTicket(c, "email_verification", u, body)
	if err != nil {
		return err
	}
	return c.Send(state.Mail{To: str(u, "email"), UserID: str(u, "user_id"), Template: "verify_email", Subject: "Verify your email", Link: link,
		Text: "Verify your email address: " + link})
}
