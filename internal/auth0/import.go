package auth0

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
)

// ImportRequest asks for a job that imports users into a database connection.
type ImportRequest struct {
	ConnectionID string
	// Users is a JSON array of at most 512,000 bytes.
	Users []byte
	// Upsert updates users who exist, where they are errors otherwise.
	Upsert bool
	// ExternalID shows in the job; it does not make jobs unique.
	ExternalID string
}

// ImportUsers starts an import job and returns its id. It is not idempotent: if
// the answer is lost, a job may be at work whose id nobody knows.
func (c *Client) ImportUsers(ctx context.Context, in ImportRequest) (jobID string, err error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("users", "users.json")
	if err == nil {
		_, err = part.Write(in.Users)
	}
	for _, field := range [][2]string{
		{"connection_id", in.ConnectionID}, {"upsert", strconv.FormatBool(in.Upsert)},
		{"external_id", in.ExternalID}, {"send_completion_email", "false"},
	} {
		if err == nil {
			err = form.WriteField(field[0], field[1])
		}
	}
	if err == nil {
		err = form.Close()
	}
	r := Request{Operation: "import users", Method: http.MethodPost, Path: []string{"jobs", "users-imports"}}
	if err != nil {
		return "", &Error{Class: Invalid, Operation: r.Operation, Message: err.Error(), Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, c.api.URI(r.Path...), bytes.NewReader(body.Bytes()))
	if err != nil {
		return "", &Error{Class: Invalid, Operation: r.Operation, Message: err.Error(), Err: err}
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	answer, err := c.exchange(ctx, r, req)
	if err != nil {
		return "", err
	}
	var job struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(answer, &job); err != nil || job.ID == "" {
		return "", &Error{Class: Unavailable, Operation: r.Operation, Message: "the answer names no job", Err: err}
	}
	return job.ID, nil
}

// Job is an import job.
type Job struct {
	// Status is pending, processing, completed or failed.
	Status  string `json:"status"`
	Details string `json:"status_details"`
	Summary struct {
		Failed, Updated, Inserted, Total int
	} `json:"summary"`
}

// Job reads a job. Auth0 forgets jobs after a day: an error of class NotFound.
func (c *Client) Job(ctx context.Context, id string) (*Job, error) {
	var job Job
	err := c.Do(ctx, Request{Operation: "read job", Method: http.MethodGet, Path: []string{"jobs", id}}, &job)
	return &job, err
}

// JobError is a user that a job refused.
type JobError struct {
	User struct {
		UserID   string `json:"user_id"`
		Email    string `json:"email"`
		Username string `json:"username"`
		Phone    string `json:"phone_number"`
	} `json:"user"`
	Errors []struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Path    string `json:"path"`
	} `json:"errors"`
}

// JobErrors lists the users that a job refused.
func (c *Client) JobErrors(ctx context.Context, id string) ([]JobError, error) {
	var refused []JobError
	err := c.Do(ctx, Request{Operation: "read job errors", Method: http.MethodGet, Path: []string{"jobs", id, "errors"}}, &refused)
	return refused, err
}

// UserExists reports whether a user of exactly this id exists.
func (c *Client) UserExists(ctx context.Context, id string) (bool, error) {
	err := c.Do(ctx, Request{Operation: "read user", Method: http.MethodGet, Path: []string{"users", id},
		Query: url.Values{"fields": {"user_id"}, "include_fields": {"true"}}}, nil)
	if ClassOf(err) == NotFound {
		return false, nil
	}
	return err == nil, err
}

// ConnectionNamed finds a connection, and says of which strategy it is. One that
// does not exist is an *Error of class NotFound.
func (c *Client) ConnectionNamed(ctx context.Context, name string) (id, strategy string, err error) {
	var found []struct {
		ID       string `json:"id"`
		Name     string `json:"name"`
		Strategy string `json:"strategy"`
	}
	r := Request{Operation: "find connection", Method: http.MethodGet, Path: []string{"connections"}, Query: url.Values{"name": {name}}}
	if err := c.Do(ctx, r, &found); err != nil {
		return "", "", err
	}
	for _, f := range found {
		if f.Name == name {
			return f.ID, f.Strategy, nil
		}
	}
	return "", "", &Error{Class: NotFound, Operation: r.Operation, Message: fmt.Sprintf("there is no connection %q", name)}
}

// RoleNamed finds a role. One that does not exist is an *Error of class NotFound.
func (c *Client) RoleNamed(ctx context.Context, name string) (id string, err error) {
	r := Request{Operation: "find role", Method: http.MethodGet, Path: []string{"roles"}, Query: url.Values{"name_filter": {name}}}
	err = c.List(ctx, r, Offset, "roles", func(item json.RawMessage) error {
		var role struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		}
		if err := json.Unmarshal(item, &role); err != nil {
			return err
		}
		if role.Name == name {
			id = role.ID
		}
		return nil
	})
	if err == nil && id == "" {
		err = &Error{Class: NotFound, Operation: r.Operation, Message: fmt.Sprintf("there is no role %q", name)}
	}
	return id, err
}

// AssignRole gives a role to users. Those who have it already keep it.
func (c *Client) AssignRole(ctx context.Context, roleID string, userIDs []string) error {
	return c.Do(ctx, Request{Operation: "assign role", Method: http.MethodPost, Path: []string{"roles", roleID, "users"},
		Body: map[string]any{"users": userIDs}}, nil)
}
