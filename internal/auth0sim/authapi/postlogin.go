package authapi

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tenonhq/tenon/internal/auth0sim/actions"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
	"github.com/tenonhq/tenon/internal/secret"
)

// party is everything known about the two sides of a login: read once, in one
// transaction, before Actions run outside of it.
type party struct {
	client, user, connection, organization, settings Doc
	api                                              apiGrant
	roles                                            []string
	protocol                                         string
	requested                                        []string // scopes as asked for
	session                                          string
	methods                                          []method
	query, body                                      map[string]any // what event.request shows
	request                                          authRequest
	recoveryCode, otp                                bool // factors the user has enrolled
}

// gather reads a transaction's party.
func (c *call) gather(t *transaction) (*party, error) {
	in := &party{request: t.Request, protocol: t.Request.Protocol, requested: t.Request.Scope, session: t.Session, methods: t.Methods}
	err := c.view(func(tx *state.Tx) error {
		if t.ClientID != "" {
			client, ok, err := tx.Get("clients", t.ClientID)
			if err != nil || !ok {
				return errors.Join(err, gone(ok, "application"))
			}
			in.client = client
		}
		return c.fill(tx, in, t.UserID, t.Connection, t.Organization, t.Request.Audience)
	})
	if err != nil {
		return nil, c.asAuthError(t, err)
	}
	return in, nil
}

func gone(ok bool, what string) error {
	if ok {
		return nil
	}
	return pageErr(400, "invalid_request", "The %s no longer exists.", what)
}

// fill reads the user's side of a party whose client is set.
func (c *call) fill(tx *state.Tx, in *party, userID, connection, organization, audience string) error {
	var ok bool
	var err error
	if in.user, ok, err = tx.Get("users", userID); err != nil || !ok {
		return errors.Join(err, gone(ok, "user"))
	}
	if in.settings, err = singleton(tx, "tenants/settings"); err != nil {
		return err
	}
	if in.connection, _, err = tx.FindOne("connections", "name", lower(connection)); err != nil {
		return err
	}
	if organization != "" {
		if in.organization, ok, err = tx.Get("organizations", organization); err != nil || !ok {
			return errors.Join(err, gone(ok, "organization"))
		}
	}
	if in.roles, err = roleNames(tx, userID, organization); err != nil {
		return err
	}
	apps, err := authenticators(tx, userID)
	if err != nil {
		return err
	}
	in.otp = len(apps) > 0
	in.recoveryCode = str(sub(in.user, state.Private), recoveryHash) != ""
	if in.client == nil {
		return nil
	}
	in.api, err = c.resolveAPI(tx, in.client, in.user, organization, audience, in.requested)
	return err
}

// roleNames are the names of a user's roles, and of those in the organization.
func roleNames(tx *state.Tx, user, organization string) ([]string, error) {
	ids, err := roleIDs(tx, user, organization)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, id := range ids {
		role, ok, err := tx.Get("roles", id)
		if err != nil {
			return nil, err
		}
		if ok {
			names = append(names, str(role, "name"))
		}
	}
	return names, nil
}

func roleIDs(tx *state.Tx, user, organization string) ([]string, error) {
	list, err := tx.Find("users/roles", "user_id", user)
	if err != nil {
		return nil, err
	}
	if organization != "" {
		more, err := tx.Find("organizations/roles", "member", state.Key(organization, user))
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	ids := []string{}
	for _, d := range list {
		if id := str(d, "role_id"); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// bound loads the deployed versions of the Actions bound to a trigger.
func bound(tx *state.Tx, trigger actions.Trigger) ([]actions.Action, error) {
	d, ok, err := tx.Get("actions/triggers/bindings", string(trigger))
	if err != nil || !ok {
		return nil, err
	}
	var out []actions.Action
	for _, b := range docs(d, "bindings") {
		id := str(b, "action_id")
		if id == "" {
			id = str(sub(b, "action"), "id")
		}
		a, ok, err := tx.Get("actions", id)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		v, ok, err := tx.Get("actions/versions", str(sub(a, "deployed_version"), "id"))
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // bound, but never deployed
		}
		secrets := map[string]secret.Value{}
		for name, value := range sub(state.PrivateOf(v), "secrets") {
			if s, ok := value.(string); ok {
				secrets[name] = secret.New(s)
			}
		}
		out = append(out, actions.Action{ID: id, Name: str(a, "name"), Code: str(v, "code"), Secrets: secrets})
	}
	return out, nil
}

// postLogin runs the post-login Actions of a transaction, or goes on with
// them, and keeps what they asked for.
func (c *call) postLogin(t *transaction, in *party) error {
	var resume *actions.Resume
	if t.Interrupted != nil {
		resume = &actions.Resume{Index: *t.Interrupted, Result: t.Result}
	}
	res, err := c.runPostLogin(in, resume)
	if err != nil {
		return c.asAuthError(t, err)
	}
	t.Result, t.Interrupted = res, nil
	return c.store(t)
}

// asAuthError turns a refusal into the answer for the client, and ends the
// transaction.
func (c *call) asAuthError(t *transaction, err error) error {
	var refused *oauthError
	if !errors.As(err, &refused) {
		return err
	}
	if err := c.update(func(tx *state.Tx) error {
		if t.DeviceCode != "" {
			if err := denyDevice(tx, t.DeviceCode); err != nil {
				return err
			}
		}
		_, err := tx.Delete("oauth/transactions", t.ID)
		return err
	}); err != nil {
		return err
	}
	return t.Request.fail(refused.code, refused.description)
}

// runPostLogin runs the Actions bound to post-login. Denials and failures come
// back as *oauthError, in the words that Auth0 gives a client; metadata that
// Actions set is stored.
func (c *call) runPostLogin(in *party, resume *actions.Resume) (*actions.Result, error) {
	var list []actions.Action
	if err := c.view(func(tx *state.Tx) (err error) {
		list, err = bound(tx, actions.PostLogin)
		return err
	}); err != nil {
		return nil, err
	}
	res, err := c.runner.Run(c.r.Context(), actions.Flow{
		Trigger: actions.PostLogin, Actions: list, Event: c.event(in), Audience: in.api.audience, Resume: resume,
		Now: c.tenant.Store().Now,
	})
	var failed *actions.Error
	switch {
	case errors.As(err, &failed):
		c.log(in.entry("f", failed.Message, Doc{"error": Doc{"message": failed.Message, "action": failed.Action}}))
		return nil, oauthErr(403, "access_denied", "%s", failed.Message)
	case err != nil:
		return nil, err
	case res.Deny != nil:
		c.log(in.entry("f", res.Deny.Reason, nil))
		return nil, oauthErr(403, res.Deny.Code, "%s", res.Deny.Reason)
	case res.Redirect != nil:
		return res, nil
	}
	if len(res.UserMetadata)+len(res.AppMetadata) > 0 {
		if err := c.update(func(tx *state.Tx) error { return setMetadata(tx, str(in.user, "user_id"), res) }); err != nil {
			return nil, err
		}
	}
	return res, nil
}

func setMetadata(tx *state.Tx, userID string, res *actions.Result) error {
	user, ok, err := tx.Get("users", userID)
	if err != nil || !ok {
		return err
	}
	merge := func(key string, changes map[string]any) {
		if len(changes) == 0 {
			return
		}
		m := maps.Clone(sub(user, key))
		for k, v := range changes {
			if v == nil {
				delete(m, k)
			} else {
				m[k] = v
			}
		}
		user[key] = m
	}
	merge("user_metadata", res.UserMetadata)
	merge("app_metadata", res.AppMetadata)
	return tx.ChangeUser(user)
}

// event is the post-login event object, without secrets.
// https://auth0.com/docs/customize/actions/explore-triggers/signup-and-login-triggers/login-trigger/post-login-event-object
func (c *call) event(in *party) map[string]any {
	user := maps.Clone(state.Public(in.user))
	for _, k := range []string{"user_metadata", "app_metadata"} {
		if user[k] == nil {
			user[k] = Doc{}
		}
	}
	var enrolled []any
	if in.otp {
		enrolled = append(enrolled, Doc{"type": "otp"})
	}
	if in.recoveryCode {
		enrolled = append(enrolled, Doc{"type": "recovery-code"})
	}
	user["enrolledFactors"] = enrolled
	if in.otp {
		user["multifactor"] = []string{"guardian"}
	}
	methods := []any{}
	for _, m := range in.methods {
		methods = append(methods, Doc{"name": m.Name, "timestamp": state.Timestamp(m.Time)})
	}
	ev := map[string]any{
		"user":           user,
		"authentication": Doc{"methods": methods},
		"authorization":  Doc{"roles": in.roles},
		"client":         clientEvent(in.client),
		"connection": Doc{
			"id": str(in.connection, "id"), "name": str(in.connection, "name"), "strategy": str(in.connection, "strategy"),
			"metadata": sub(in.connection, "metadata"),
		},
		"request":       c.requestEvent(in),
		"stats":         Doc{"logins_count": number(in.user, "logins_count", 0)},
		"tenant":        Doc{"id": c.tenant.Name()},
		"transaction":   transactionEvent(in),
		"configuration": Doc{},
		"session":       Doc{"id": in.session},
	}
	if in.api.audience != "" {
		ev["resource_server"] = Doc{"identifier": in.api.audience}
	}
	if in.organization != nil {
		ev["organization"] = Doc{
			"id": str(in.organization, "id"), "name": str(in.organization, "name"),
			"display_name": str(in.organization, "display_name"), "metadata": sub(in.organization, "metadata"),
		}
	}
	return ev
}

func clientEvent(client Doc) Doc {
	return Doc{"client_id": str(client, "client_id"), "name": str(client, "name"), "metadata": sub(client, "client_metadata")}
}

func (c *call) requestEvent(in *party) Doc {
	body := in.body
	if body == nil {
		body = map[string]any{}
	}
	query := in.query
	if query == nil {
		query = map[string]any{}
	}
	return Doc{
		"ip": c.ip(), "hostname": c.domain, "method": c.r.Method, "user_agent": c.r.UserAgent(),
		"language": c.r.Header.Get("Accept-Language"), "query": withoutSecrets(query), "body": withoutSecrets(body), "geoip": Doc{},
	}
}

// withoutSecrets hides what Actions have no business with, as Auth0 does.
func withoutSecrets(m map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		switch k {
		case "password", "client_secret", "client_assertion", "otp", "mfa_token", "refresh_token", "code", "code_verifier", "recovery_code", "device_code":
		default:
			out[k] = v
		}
	}
	return out
}

func transactionEvent(in *party) Doc {
	locale := "en"
	if l := texts(in.settings, "enabled_locales"); len(l) > 0 {
		locale = l[0]
	}
	r := in.request
	tr := Doc{
		"protocol": in.protocol, "requested_scopes": in.requested, "acr_values": orEmpty(r.ACRValues), "prompt": orEmpty(r.Prompt),
		"ui_locales": splitScope(r.UILocales), "locale": locale, "requested_authorization_details": []any{},
	}
	for k, v := range map[string]string{
		"redirect_uri": r.RedirectURI, "response_mode": r.ResponseMode, "state": r.State, "login_hint": r.LoginHint,
	} {
		if v != "" {
			tr[k] = v
		}
	}
	if len(r.ResponseType) > 0 {
		tr["response_type"] = r.ResponseType
	}
	return tr
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// credentialsExchange runs the Actions of a machine-to-machine exchange.
func (c *call) credentialsExchange(client, organization Doc, api apiGrant, requested []string, p params) (*actions.Result, error) {
	var list []actions.Action
	if err := c.view(func(tx *state.Tx) (err error) {
		list, err = bound(tx, actions.CredentialsExchange)
		return err
	}); err != nil {
		return nil, err
	}
	in := &party{client: client, body: p}
	ev := map[string]any{
		"accessToken": Doc{"customClaims": Doc{}, "scope": api.scope},
		"client":      clientEvent(client), "request": c.requestEvent(in), "tenant": Doc{"id": c.tenant.Name()},
		"resource_server": Doc{"identifier": api.audience}, "transaction": Doc{"requested_scopes": orEmpty(requested)},
	}
	if organization != nil {
		ev["organization"] = Doc{"id": str(organization, "id"), "name": str(organization, "name"), "metadata": sub(organization, "metadata")}
	}
	res, err := c.runner.Run(c.r.Context(), actions.Flow{
		Trigger: actions.CredentialsExchange, Actions: list, Event: ev, Audience: api.audience, Now: c.tenant.Store().Now,
	})
	var failed *actions.Error
	switch {
	case errors.As(err, &failed):
		return nil, oauthErr(500, "server_error", "%s", failed.Message)
	case err != nil:
		return nil, fmt.Errorf("run credentials-exchange actions: %w", err)
	case res.Deny != nil:
		status := map[string]int{"invalid_request": 400, "invalid_scope": 400, "server_error": 500}[res.Deny.Code]
		if status == 0 {
			status = 403
		}
		return nil, oauthErr(status, res.Deny.Code, "%s", res.Deny.Reason)
	}
	return res, nil
}
