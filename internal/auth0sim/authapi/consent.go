package authapi

import (
	"errors"
	"net/http"
	"slices"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// These stand in a request for an organization that the user is still to
// choose, before or after signing in.
const (
	organizationBefore = "?before"
	organizationAfter  = "?after"
)

// choosing reports whether an organization is still to be chosen.
func (t *transaction) choosing() bool {
	return t.Organization == "" && (t.Request.Organization == organizationBefore || t.Request.Organization == organizationAfter)
}

// scopeWords are how the standard scopes read on the consent page.
var scopeWords = map[string]string{
	"openid": "", "profile": "Profile: access to your profile", "email": "Email: access to your email address",
	"address": "Address: access to your postal address", "phone": "Phone: access to your phone number",
	"offline_access": "Offline access: stay signed in while you are away",
}

func (c *call) consentPage() error {
	_, t, client, user, err := c.loadSignedIn()
	if err != nil {
		return err
	}
	in, err := c.gather(t)
	if err != nil {
		return err
	}
	if t.Consented || !c.needsConsent(t, in) {
		return c.advance(t)
	}
	described := map[string]string{}
	for _, s := range docs(in.api.server, "scopes") {
		described[str(s, "value")] = str(s, "description")
	}
	var list []scopeText
	for _, s := range c.consentScopes(in) {
		text, standard := scopeWords[s]
		if !standard {
			if text = described[s]; text == "" {
				text = s
			}
		}
		if text != "" {
			list = append(list, scopeText{choose(standard, text, s), text})
		}
	}
	if len(list) == 0 {
		list = []scopeText{{"", "Sign in: know who you are"}}
		list[0].Name = list[0].Description
	}
	return c.render(http.StatusOK, "consent", page{
		Title: "Authorize App", State: t.ID, Client: clientName(client), Value: userName(user), Scopes: list,
	})
}

func (c *call) consentSubmit() error {
	p, t, _, _, err := c.loadSignedIn()
	if err != nil {
		return err
	}
	in, err := c.gather(t)
	if err != nil {
		return err
	}
	if page, err := c.secondFactor(t, in); err != nil || page != "" || t.Result == nil {
		if err != nil {
			return err
		}
		return c.advance(t)
	}
	if p.str("action") != "accept" {
		if p.str("action") != "deny" {
			return c.seeOther("/u/consent", t.query())
		}
		return c.asAuthError(t, oauthErr(http.StatusForbidden, "access_denied", "User did not authorize the request"))
	}
	if err := c.update(func(tx *state.Tx) error {
		t.Consented = true
		return errors.Join(c.keepGrant(tx, t, in), t.save(tx))
	}); err != nil {
		return err
	}
	return c.advance(t)
}

// findOrganization takes an id or a name.
func findOrganization(tx *state.Tx, idOrName string) (Doc, error) {
	if d, ok, err := tx.Get("organizations", idOrName); err != nil || ok {
		return d, err
	}
	d, ok, err := tx.FindOne("organizations", "name", lower(idOrName))
	if err != nil || !ok {
		return nil, err
	}
	return d, nil
}

// requestedOrganization applies the client's rule on organizations when a
// login begins.
func (c *call) requestedOrganization(tx *state.Tx, client Doc, t *transaction) error {
	usage, asked := str(client, "organization_usage"), t.Request.Organization
	if asked == organizationBefore || asked == organizationAfter {
		return t.Request.fail("invalid_request", "parameter organization is invalid")
	}
	if asked == "" {
		if usage != "require" {
			return nil
		}
		switch str(client, "organization_require_behavior") {
		case "pre_login_prompt":
			t.Request.Organization = organizationBefore
		case "post_login_prompt":
			t.Request.Organization = organizationAfter
		default:
			return t.Request.fail("invalid_request", "parameter organization is required for this client")
		}
		return nil
	}
	if usage != "allow" && usage != "require" {
		return t.Request.fail("invalid_request", "parameter organization is not allowed for this client")
	}
	org, err := findOrganization(tx, asked)
	if err != nil {
		return err
	}
	if org == nil {
		return t.Request.fail("invalid_request", "parameter organization is invalid")
	}
	t.Organization = str(org, "id")
	if t.Request.Invitation != "" {
		return c.invited(tx, t)
	}
	return nil
}

// membership refuses a login into an organization that the user is not in.
func (c *call) membership(t *transaction, in *party) error {
	if t.Organization == "" {
		return nil
	}
	joined := false
	err := c.update(func(tx *state.Tx) error {
		if t.Invitation != "" {
			joined = true
			return c.accept(tx, t, in.user)
		}
		key := state.Key(t.Organization, t.UserID)
		if _, ok, err := tx.Get("organizations/members", key); err != nil || ok {
			joined = ok
			return err
		}
		link, _, err := tx.Get("organizations/connections", state.Key(t.Organization, str(in.connection, "id")))
		if err != nil || !flag(link, "assign_membership_on_login") {
			return err
		}
		joined = true
		event := Doc{"organization": Doc{"id": t.Organization}, "user": Doc{"user_id": t.UserID}}
		return errors.Join(
			tx.Put("organizations/members", key, Doc{"organization_id": t.Organization, "user_id": t.UserID}),
			tx.Emit("organization.member.added", event, nil, nil))
	})
	if err != nil {
		return c.asAuthError(t, err)
	}
	if joined {
		return nil
	}
	c.log(in.entry("f", "user is not part of the organization", nil))
	return c.asAuthError(t, oauthErr(http.StatusForbidden, "access_denied", "user %s is not part of the %s organization", t.UserID, t.Organization))
}

// organizationChoices are those the signed-in user may choose from; before the
// login there are none to show.
func (c *call) organizationChoices(t *transaction) (list []choice, err error) {
	if t.UserID == "" {
		return nil, nil
	}
	err = c.view(func(tx *state.Tx) error {
		members, err := tx.Find("organizations/members", "user_id", t.UserID)
		if err != nil {
			return err
		}
		for _, m := range members {
			d, ok, err := tx.Get("organizations", str(m, "organization_id"))
			if err != nil {
				return err
			}
			if ok {
				list = append(list, choice{ID: str(d, "id"), Name: choose(str(d, "display_name") != "", str(d, "display_name"), str(d, "name"))})
			}
		}
		return nil
	})
	return list, err
}

func (c *call) organizationPage() error {
	_, t, client, _, err := c.load()
	if err != nil {
		return err
	}
	return c.renderOrganization(t, client, "", "", http.StatusOK)
}

func (c *call) renderOrganization(t *transaction, client Doc, typed, problem string, status int) error {
	if !t.choosing() {
		return c.advance(t)
	}
	list, err := c.organizationChoices(t)
	if err != nil {
		return err
	}
	if t.UserID != "" && len(list) == 0 {
		return c.asAuthError(t, oauthErr(http.StatusForbidden, "access_denied", "user %s is not part of any organization", t.UserID))
	}
	return c.render(status, "organization", page{
		Title: "Your organization", State: t.ID, Client: clientName(client), Choices: list, Value: typed, Problem: problem,
	})
}

func (c *call) organizationSubmit() error {
	p, t, client, _, err := c.load()
	if err != nil {
		return err
	}
	if !t.choosing() {
		return c.advance(t)
	}
	list, err := c.organizationChoices(t)
	if err != nil {
		return err
	}
	var org Doc
	if err := c.view(func(tx *state.Tx) error {
		org, err = findOrganization(tx, p.str("organization"))
		return err
	}); err != nil {
		return err
	}
	offered := t.UserID == "" || slices.ContainsFunc(list, func(o choice) bool { return o.ID == str(org, "id") })
	if org == nil || !offered {
		return c.renderOrganization(t, client, p.str("organization"), "The organization you entered is not valid.", http.StatusBadRequest)
	}
	t.Organization, t.Request.Organization = str(org, "id"), str(org, "id")
	if err := c.store(t); err != nil {
		return err
	}
	return c.advance(t)
}
