package authapi

import (
	"context"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

func joinScope(s []string) string { return strings.Join(s, " ") }

// entry is a log entry about a party, without what every entry of a request
// has in common.
func (in *party) entry(kind, description string, details Doc) Doc {
	e := Doc{"type": kind}
	if description != "" {
		e["description"] = description
	}
	if in.client != nil {
		e["client_id"], e["client_name"] = str(in.client, "client_id"), str(in.client, "name")
	}
	if in.connection != nil {
		e["connection"], e["connection_id"], e["strategy"] = str(in.connection, "name"), str(in.connection, "id"), str(in.connection, "strategy")
		e["strategy_type"] = "database"
	}
	if in.user != nil {
		e["user_id"], e["user_name"] = str(in.user, "user_id"), userName(in.user)
	}
	if in.api.audience != "" {
		e["audience"] = in.api.audience
	}
	if len(in.requested) > 0 {
		e["scope"] = joinScope(in.requested)
	}
	if in.organization != nil {
		e["organization_id"], e["organization_name"] = str(in.organization, "id"), str(in.organization, "name")
	}
	if details == nil {
		details = Doc{}
	}
	e["details"] = details
	return e
}

func userName(user Doc) string {
	for _, k := range []string{"email", "username", "phone_number", "name"} {
		if v := str(user, k); v != "" {
			return v
		}
	}
	return ""
}

// entry completes a log entry with what the request says.
func (c *call) entry(e Doc) Doc {
	e["ip"], e["user_agent"], e["hostname"] = c.ip(), c.r.UserAgent(), c.domain
	e["isMobile"] = strings.Contains(c.r.UserAgent(), "Mobile")
	return e
}

// log writes an entry in a transaction of its own: for failures, whose own
// transaction is rolled back. It does not depend on the caller's patience.
func (c *call) log(e Doc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), 5*time.Second)
	defer cancel()
	if err := c.tenant.Update(ctx, func(tx *state.Tx) error { return tx.Log(c.entry(e)) }); err != nil {
		c.cfg.Logger.ErrorContext(ctx, "tenant log entry not written", "type", e["type"], "error", err)
	}
}

// refuse writes a failure into the tenant's log and returns it.
func (c *call) refuse(in *party, kind string, err *oauthError) error {
	c.log(in.entry(kind, err.description, Doc{"error": Doc{"message": err.description, "type": err.code}}))
	return err
}
