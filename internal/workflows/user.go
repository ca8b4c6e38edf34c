package workflows

import (
	"go.temporal.io/sdk/workflow"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// UserRegistrationWorkflow registers a user: the account with a random password
// that nobody sees, its roles, and tickets to verify the address, to choose a
// password, and to enrol a second factor. A user who exists is brought to the
// same state. If a step fails for good, a user whom the run created is deleted,
// and one who existed gets the former roles and profile back.
func UserRegistrationWorkflow(ctx workflow.Context, in UserInput) (*UserResult, error) {
	in = in.WithDefaults()
	s, err := newSaga(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	s.add(stepCredentials, "Credentials and scopes")
	result, err := registerUser(ctx, s, in)
	if err := s.finish(ctx, err); err != nil {
		return nil, err
	}
	return result, nil
}

func registerUser(ctx workflow.Context, s *saga, in UserInput) (*UserResult, error) {
	if err := refuse(in.Validate()); err != nil {
		return nil, err
	}
	account := part{resource: userResource(in, false), title: "User " + in.Email}
	a := s.applier(ctx, in.Engine)
	a.announce([]part{account})
	if in.Roles != nil {
		s.add(stepRoles, "Roles of "+in.Email)
	}
	tickets := !in.SkipVerification || !in.SkipPassword
	if tickets {
		s.add(stepTickets, "Tickets for "+in.Email)
	}
	if !in.SkipMFA {
		s.add(stepMFA, "Second factor of "+in.Email)
	}
	check, err := s.checkCredentials(ctx, in.Engine, userScopes())
	if err != nil {
		return nil, err
	}
	if err := a.apply(ctx, []part{account}); err != nil {
		return nil, err
	}
	userID := a.output(v1.KindUser, in.Email, "user_id")
	objects := a.objects()
	if in.Roles != nil {
		// The same user, now with roles, as a step and a compensation of its own.
		r := s.applier(ctx, in.Engine)
		r.alias = map[engine.Key]string{{Kind: v1.KindUser, Name: in.Email}: stepRoles}
		if err := r.apply(ctx, []part{{resource: userResource(in, true), title: "Roles of " + in.Email}}); err != nil {
			return nil, err
		}
	}
	result := &UserResult{
		Tenant: in.Tenant, Connection: in.Connection, Email: in.Email, UserID: userID,
		Credentials: check, Objects: objects, Roles: in.Roles,
	}
	request := TicketsInput{
		Tenant: in.Tenant, UserID: userID, Name: in.Connection + ":" + in.Email,
		Verification: !in.SkipVerification, Password: !in.SkipPassword,
		TTLSeconds: in.TicketTTLSeconds, ResultURL: in.ResultURL,
	}
	if tickets {
		s.onFailure(undo{step: stepTickets, activity: activityDeleteSecrets, argument: request})
		if err := s.do(ctx, stepTickets, activityCreateTickets, request, &result.Tickets); err != nil {
			return nil, err
		}
	}
	if !in.SkipMFA {
		enrol := request
		enrol.Verification, enrol.Password, enrol.MFA = false, false, true
		s.onFailure(undo{step: stepMFA, activity: activityDeleteSecrets, argument: enrol})
		var enrolled Tickets
		if err := s.do(ctx, stepMFA, activityEnrolMFA, enrol, &enrolled); err != nil {
			return nil, err
		}
		result.Tickets.MFA = enrolled.MFA
	}
	return result, nil
}
