package workflows

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/auth0"
	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

// TicketsInput is the input of the activities CreateTickets, EnrolMFA and
// DeleteSecrets.
type TicketsInput struct {
	Tenant string `json:"tenant"`
	UserID string `json:"userId"`
	// Name is what the tickets are stored under: "<connection>:<email>".
	Name string `json:"name"`
	// Verification, Password and MFA say which tickets are meant.
	Verification bool   `json:"verification,omitempty"`
	Password     bool   `json:"password,omitempty"`
	MFA          bool   `json:"mfa,omitempty"`
	TTLSeconds   int    `json:"ttlSeconds,omitempty"`
	ResultURL    string `json:"resultURL,omitempty"`
}

func (a *Activities) ticketRef(in TicketsInput, field string) secret.Ref {
	return a.SecretRef(in.Tenant, engine.Key{Kind: v1.KindUser, Name: in.Name}, field)
}

// CreateTickets makes the links with which a user verifies the address and
// chooses a password, and stores them. Auth0 cannot be asked for a ticket that
// it gave before: a repetition makes new ones, which replace the others in the
// store, and those expire unused.
func (a *Activities) CreateTickets(ctx context.Context, in TicketsInput) (*Tickets, error) {
	tenant, err := a.Tenants(ctx, in.Tenant)
	if err != nil {
		return nil, classify(ctx, err)
	}
	if in.UserID == "" {
		return nil, classify(ctx, fmt.Errorf("user_id: %w", errNoOutput))
	}
	ctx, stop := beat(ctx)
	defer stop()
	request := auth0.TicketRequest{UserID: in.UserID, ResultURL: in.ResultURL, TTL: time.Duration(in.TTLSeconds) * time.Second}
	// Before the calls, so that it is never later than the tenant's own reckoning.
	expires := a.Now().UTC().Add(request.TTL).Truncate(time.Second)
	tickets := Tickets{ExpiresAt: &expires}
	if in.Verification {
		link, err := tenant.VerificationTicket(ctx, request)
		if err != nil {
			return nil, classify(ctx, err)
		}
		if tickets.Verification, err = a.store(ctx, a.ticketRef(in, "verification_ticket"), link); err != nil {
			return nil, err
		}
	}
	if in.Password {
		link, err := tenant.PasswordTicket(ctx, request)
		if err != nil {
			return nil, classify(ctx, err)
		}
		if tickets.Password, err = a.store(ctx, a.ticketRef(in, "password_ticket"), link); err != nil {
			return nil, err
		}
	}
	return &tickets, nil
}

// EnrolMFA makes the link with which a user enrols a second factor, and stores
// it. A repetition is as harmless as that of CreateTickets.
func (a *Activities) EnrolMFA(ctx context.Context, in TicketsInput) (*Tickets, error) {
	tenant, err := a.Tenants(ctx, in.Tenant)
	if err != nil {
		return nil, classify(ctx, err)
	}
	if in.UserID == "" {
		return nil, classify(ctx, fmt.Errorf("user_id: %w", errNoOutput))
	}
	ctx, stop := beat(ctx)
	defer stop()
	_, link, err := tenant.EnrollmentTicket(ctx, in.UserID, false)
	if err != nil {
		return nil, classify(ctx, err)
	}
	ref, err := a.store(ctx, a.ticketRef(in, "mfa_ticket"), link)
	if err != nil {
		return nil, err
	}
	return &Tickets{MFA: ref}, nil
}

// DeleteSecrets removes stored tickets. The links die with their user, or
// expire.
func (a *Activities) DeleteSecrets(ctx context.Context, in TicketsInput) (*Reverted, error) {
	ctx, stop := beat(ctx)
	defer stop()
	removed := false
	for _, t := range []struct {
		meant bool
		field string
	}{{in.Verification, "verification_ticket"}, {in.Password, "password_ticket"}, {in.MFA, "mfa_ticket"}} {
		if !t.meant {
			continue
		}
		ref := a.ticketRef(in, t.field)
		if _, err := a.Secrets.Get(ctx, ref); err != nil {
			continue // absent, or not readable: Delete below would say the same of the store
		}
		if err := a.Secrets.Delete(ctx, ref); err != nil {
			return nil, classify(ctx, err)
		}
		removed = true
	}
	if !removed {
		return &Reverted{}, nil
	}
	return &Reverted{What: "removed stored tickets of " + in.Name}, nil
}

// store puts a secret where its reference says, and returns the reference.
func (a *Activities) store(ctx context.Context, ref secret.Ref, value secret.Value) (string, error) {
	if err := a.Secrets.Put(ctx, ref, value); err != nil {
		return "", classify(ctx, err)
	}
	return ref.String(), nil
}
