package auth0

import (
	"context"
	"net/http"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

// TicketRequest asks for a link that lets its holder act as the user: whoever
// has it needs no other credential, so it is a secret from here on.
type TicketRequest struct {
	// UserID is Auth0's, such as "auth0|507f…".
	UserID string
	// ResultURL is where the user ends up. Optional.
	ResultURL string
	// ClientID names the application that the page is styled for. Optional; excludes
	// ResultURL in the new universal login.
	ClientID string
	// TTL is how long the link works, in whole seconds. Defaults to Auth0's five days.
	TTL time.Duration
	// MarkEmailAsVerified takes a used password ticket as proof of the address.
	MarkEmailAsVerified bool
}

func (r TicketRequest) body() map[string]any {
	body := map[string]any{"user_id": r.UserID}
	if r.ResultURL != "" {
		body["result_url"] = r.ResultURL
	}
	if r.ClientID != "" {
		body["client_id"] = r.ClientID
	}
	if r.TTL > 0 {
		body["ttl_sec"] = int(r.TTL / time.Second)
	}
	return body
}

// VerificationTicket makes a link that verifies the user's email address. Each
// call makes a new one.
func (c *Client) VerificationTicket(ctx context.Context, r TicketRequest) (secret.Value, error) {
	return c.ticket(ctx, "email-verification", r.body())
}

// PasswordTicket makes a link that sets the user's password. Each call makes a
// new one.
func (c *Client) PasswordTicket(ctx context.Context, r TicketRequest) (secret.Value, error) {
	body := r.body()
	body["mark_email_as_verified"] = r.MarkEmailAsVerified
	return c.ticket(ctx, "password-change", body)
}

func (c *Client) ticket(ctx context.Context, kind string, body map[string]any) (secret.Value, error) {
	var out struct {
		Ticket string `json:"ticket"`
	}
	r := Request{Operation: "create " + kind + " ticket", Method: http.MethodPost, Path: []string{"tickets", kind}, Body: body}
	if err := c.Do(ctx, r, &out); err != nil {
		return secret.Value{}, err
	}
	if out.Ticket == "" {
		return secret.Value{}, &Error{Class: Unavailable, Operation: r.Operation, Message: "the answer has no ticket"}
	}
	return secret.New(out.Ticket), nil
}

// EnrollmentTicket makes a link that enrols the user in multi-factor
// authentication, with any factor that the tenant has switched on. With sendMail
// Auth0 also mails it to the user.
func (c *Client) EnrollmentTicket(ctx context.Context, userID string, sendMail bool) (id string, link secret.Value, err error) {
	var out struct {
		ID  string `json:"ticket_id"`
		URL string `json:"ticket_url"`
	}
	r := Request{Operation: "create enrolment ticket", Method: http.MethodPost, Path: []string{"guardian", "enrollments", "ticket"},
		Body: map[string]any{"user_id": userID, "send_mail": sendMail}}
	if err := c.Do(ctx, r, &out); err != nil {
		return "", secret.Value{}, err
	}
	if out.URL == "" {
		return "", secret.Value{}, &Error{Class: Unavailable, Operation: r.Operation, Message: "the answer has no ticket"}
	}
	return out.ID, secret.New(out.URL), nil
}
