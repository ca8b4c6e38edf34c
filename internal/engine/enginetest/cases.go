package enginetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// made is what the stack makes, by family and name.
func made() map[string]map[string]int {
	return map[string]map[string]int{
		"clients": {"web": 1, "batch": 1}, "connections": {"staff": 1, "google": 1, "partner-saml": 1, "partner-oidc": 1, "entra": 1}, "resource-servers": {"https://api.example.com": 1},
		"client-grants": {"https://api.example.com": 2}, "roles": {"admin": 1, "Viewer": 1}, "actions": {"claims": 1},
		"users": {"ada@example.com": 1}, "bindings": {"claims": 1}, "event-streams": {"events": 1, "bridge": 1},
	}
}

// gained checks that the tenant holds want besides what it held before.
func (b *bench) gained(before, want map[string]map[string]int) {
	b.Helper()
	now := b.api.inventory()
	for family, names := range now {
		for name, n := range names {
			require.Equal(b, before[family][name]+want[family][name], n, "number of %s %q", family, name)
		}
	}
	for family, names := range want {
		for name, n := range names {
			require.Equal(b, before[family][name]+n, now[family][name], "number of %s %q", family, name)
		}
	}
}

func testCreate(b *bench) {
	before := b.api.inventory()
	resources := stack(b.target.Domain)
	p, outputs := b.converge(resources...)
	b.gained(before, made())
	for key, action := range actions(p) {
		if strings.HasPrefix(key, v1.KindTenant+"/") {
			require.Equal(b, engine.Update, action, key)
		} else {
			require.Equal(b, engine.Create, action, key)
		}
	}
	key := func(kind, name string) engine.Key { return engine.Key{Kind: kind, Name: name} }
	web := b.api.one(clientsPath, "clients", "name", "web")
	require.Equal(b, web["client_id"], outputs[key(v1.KindClient, "web")]["client_id"])
	require.Equal(b, []any{"https://web.example.com/login", "http://localhost:3000/login"}, web["callbacks"])
	require.Equal(b, "kept", web["client_metadata"].(document)["dotted.key"])
	require.Equal(b, "https://api.example.com", outputs[key(v1.KindResourceServer, "api")]["identifier"])
	require.Equal(b, "staff", outputs[key(v1.KindConnection, "staff")]["name"])

	enabled := b.api.list("connections/"+outputs[key(v1.KindConnection, "staff")]["id"]+"/clients", "clients")
	require.Equal(b, []document{{"client_id": web["client_id"]}}, enabled)
	user := b.api.list(usersPath+"ada@example.com", "")[0]
	require.Equal(b, user["user_id"], outputs[key(v1.KindUser, "ada")]["user_id"])
	require.Len(b, b.api.list("users/"+user["user_id"].(string)+"/roles", "roles"), 2)
	action := b.api.get("actions/actions/" + outputs[key(v1.KindAction, "claims")]["id"])
	require.Equal(b, true, action["all_changes_deployed"])

	// Nothing is left to do, and finding that out writes nothing.
	writes := b.link.Writes()
	again := b.apply(b.plan(resources...))
	require.Equal(b, writes, b.link.Writes())
	require.Equal(b, outputs, again, "a step that does nothing has the same outputs")
}

func testUpdate(b *bench) {
	resources := stack(b.target.Domain)
	_, outputs := b.converge(resources...)
	connection := outputs[engine.Key{Kind: v1.KindConnection, Name: "staff"}]["id"]
	// Somebody sets what the resources do not mention.
	options := b.api.get("connections/" + connection)["options"].(document)
	options["non_persistent_attrs"] = []any{"ethnicity"}
	b.api.call(http.MethodPatch, "connections/"+connection, document{"options": options})
	web := outputs[engine.Key{Kind: v1.KindClient, Name: "web"}]["client_id"]
	b.api.call(http.MethodPatch, "clients/"+web, document{"client_metadata": document{"theirs": "1"}, "logo_uri": "https://example.com/logo.png"})
	other := b.api.call(http.MethodPost, "actions/actions", document{"name": "theirs", "code": actionCode, "supported_triggers": []any{document{"id": "post-login", "version": "v3"}}}).(document)
	b.deploy(other["id"].(string))
	b.api.call(http.MethodPatch, bindingsPath, document{"bindings": []any{
		document{"ref": document{"type": "action_id", "value": other["id"]}, "display_name": "theirs"},
		document{"ref": document{"type": "action_id", "value": outputs[engine.Key{Kind: v1.KindAction, Name: "claims"}]["id"]}, "display_name": "claims"}}})
	b.clean(resources...)

	before := b.api.inventory()
	p := b.plan(changed(resources)...)
	for key, action := range actions(p) {
		want := engine.Update
		switch key {
		case "Auth0Client/batch", "Auth0Role/viewer", "Auth0ClientGrant/web-api":
			want = engine.None
		}
		require.Equal(b, want, action, key)
	}
	for _, c := range step(b, p, "Auth0Client/web").Changes {
		if c.Path == "description" {
			require.Equal(b, "the web application", c.Before)
			require.Equal(b, "the new web application", c.After)
		}
	}
	b.apply(p)
	b.clean(changed(resources)...)
	delete(before["bindings"], "claims")
	b.gained(before, map[string]map[string]int{"bindings": {"Roles into tokens": 1}})

	options = b.api.get("connections/" + connection)["options"].(document)
	require.Equal(b, []any{"ethnicity"}, options["non_persistent_attrs"], "options that are not managed are kept")
	require.Equal(b, "good", options["passwordPolicy"])
	client := b.api.get("clients/" + web)
	require.Equal(b, "https://example.com/logo.png", client["logo_uri"])
	require.Equal(b, "1", client["client_metadata"].(document)["theirs"])
	require.Equal(b, "RS256", client["jwt_configuration"].(document)["alg"], "the rest of an object that is replaced as a whole is kept")
	bindings := b.api.list(bindingsPath, "bindings")
	require.Equal(b, "theirs", bindings[0]["display_name"], "another's binding keeps its place")
	stage := b.api.get("attack-protection/suspicious-ip-throttling")["stage"].(document)
	require.EqualValues(b, 60, stage["pre-login"].(document)["max_attempts"])
	require.EqualValues(b, 864000, stage["pre-login"].(document)["rate"])
	require.NotNil(b, stage["pre-user-registration"])
}

// deploy deploys an action that the suite itself made.
func (b *bench) deploy(id string) {
	b.Helper()
	require.Eventually(b, func() bool { return b.api.get("actions/actions/" + id)["status"] == "built" }, waitLong, waitShort)
	b.api.call(http.MethodPost, "actions/actions/"+id+"/deploy", document{})
}

func testExplicitFalse(b *bench) {
	id := b.api.call(http.MethodPost, "clients", document{"name": "spa", "app_type": "spa", "is_first_party": true, "oidc_conformant": true,
		"custom_login_page_on": true, "callbacks": []any{"https://spa.example.com"}, "client_metadata": document{engine.MarkName: "spa"}}).(document)["client_id"].(string)
	resources := []v1.Resource{
		v1.New("spa", &v1.Auth0ClientSpec{ApplicationType: "spa", OIDCConformant: new(false), CustomLoginPageOn: new(false), Callbacks: []string{}}),
		v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "urn:api", SkipConsentForVerifiableFirstParty: new(false), AllowOfflineAccess: new(false), EnforcePolicies: new(false)}),
		v1.New("db", &v1.Auth0ConnectionSpec{Strategy: "auth0", ShowAsButton: new(false), DatabaseOptions: &v1.DatabaseOptions{BruteForceProtection: new(false), MFAEnabled: new(false), RequiresUsername: new(false), PasswordHistorySize: new(0)}}),
	}
	b.converge(resources...)
	spa := b.api.get("clients/" + id)
	require.Equal(b, false, spa["oidc_conformant"])
	require.Equal(b, false, spa["custom_login_page_on"])
	require.Empty(b, spa["callbacks"])
	require.Equal(b, true, spa["is_first_party"], "what is absent is left alone")
	api := b.api.one(apisPath, "resource_servers", "identifier", "urn:api")
	require.Equal(b, false, api["skip_consent_for_verifiable_first_party_clients"])
	db := b.api.one(connectionsPath, "connections", "name", "db")
	require.Equal(b, false, db["show_as_button"])
	options := db["options"].(document)
	require.Equal(b, false, options["brute_force_protection"])
	require.Equal(b, false, options["mfa"].(document)["active"])
}

func testAdopt(b *bench) {
	old := b.api.call(http.MethodPost, "clients", document{"name": "web", "app_type": "regular_web", "client_metadata": document{"cost": "42"}}).(document)
	b.api.call(http.MethodPost, "roles", document{"name": "admin", "description": "made by hand"})
	before := b.api.inventory()
	resources := stack(b.target.Domain)
	p := b.plan(resources...)
	require.Equal(b, engine.Adopt, step(b, p, "Auth0Client/web").Action)
	require.Equal(b, engine.Update, step(b, p, "Auth0Role/admin").Action)
	outputs := b.apply(p)
	b.clean(resources...)
	want := made()
	delete(want["clients"], "web")
	delete(want["roles"], "admin")
	b.gained(before, want)
	key := engine.Key{Kind: v1.KindClient, Name: "web"}
	require.Equal(b, old["client_id"], outputs[key]["client_id"])
	adopted := b.api.get("clients/" + old["client_id"].(string))
	require.Equal(b, "42", adopted["client_metadata"].(document)["cost"])
	require.Equal(b, adopted["client_secret"], b.store.All()[strings.TrimPrefix(outputs[key]["client_secret"], "memory:")], "its secret is taken over as it is")

	// An adopted object is not the run's own: reverting restores and keeps it.
	b.revert(p, outputs)
	kept := b.api.get("clients/" + old["client_id"].(string))
	require.Empty(b, kept["callbacks"])
	require.Equal(b, document{"cost": "42"}, kept["client_metadata"], "it is not marked as managed any more")
}

func testAmbiguous(b *bench) {
	for range 2 {
		b.api.call(http.MethodPost, "clients", document{"name": "web", "app_type": "regular_web"})
	}
	_, err := b.engine.Plan(b.Context(), engine.Request{Tenant: b.target.Domain, Resources: stack(b.target.Domain)})
	require.Error(b, err)
	require.Contains(b, err.Error(), "Auth0Client/web")

	// One that is marked is meant, however many others have its name.
	third := b.api.call(http.MethodPost, "clients", document{"name": "web", "app_type": "regular_web", "client_metadata": document{engine.MarkName: "web"}}).(document)
	p := b.plan(stack(b.target.Domain)...)
	require.Equal(b, third["client_id"], step(b, p, "Auth0Client/web").ObjectID)
}

// testLostCreate loses the answer to each write in turn, on a fresh name each
// time, and expects the retry to find its own work.
func testLostCreate(b *bench) {
	resources := stack(b.target.Domain)
	before := b.api.inventory()
	for n := 0; ; n++ {
		p := b.plan(resources...)
		lost := b.link.Lost()
		b.link.Lose(n)
		outputs := b.apply(p)
		b.clean(resources...)
		b.gained(before, made())
		if b.link.Lost() == lost {
			require.Greater(b, n, 10, "the stack takes more writes than that")
			return
		}
		b.revert(p, outputs)
		b.gained(before, nil)
	}
}

func testLostUpdate(b *bench) {
	resources := stack(b.target.Domain)
	b.converge(resources...)
	for n := 0; ; n++ {
		p := b.plan(changed(resources)...)
		lost := b.link.Lost()
		b.link.Lose(n)
		outputs := b.apply(p)
		b.clean(changed(resources)...)
		if b.link.Lost() == lost {
			require.Greater(b, n, 8, "the update takes more writes than that")
			return
		}
		b.revert(p, outputs)
		b.clean(resources...)
	}
}

func testOverlap(b *bench) {
	before := b.api.inventory()
	p := b.plan(stack(b.target.Domain)...)
	outputs := map[engine.Key]engine.Outputs{}
	for _, s := range p.Steps {
		results := make([]*engine.Result, 3)
		var group sync.WaitGroup
		for i := range results {
			req := b.request(s, outputs)
			group.Go(func() {
				res, err := b.engine.Apply(b.Context(), req)
				if err == nil {
					results[i] = res
				} else {
					b.Errorf("%s: %v", s.Key, err)
				}
			})
		}
		group.Wait()
		require.NotNil(b, results[0])
		outputs[s.Key] = results[0].Outputs
	}
	b.gained(before, made())
}

func testRevertCreate(b *bench) {
	before := b.api.inventory()
	settings := b.api.get("tenants/settings")
	resources := stack(b.target.Domain)
	p, outputs := b.converge(resources...)
	results := b.revert(p, outputs)
	for key, res := range results {
		if key.Kind != v1.KindTenant {
			require.Equal(b, engine.Delete, res.Action, key.String())
		}
	}
	b.gained(before, nil)
	after := b.api.get("tenants/settings")
	require.Equal(b, settings["friendly_name"], emptyToNil(after["friendly_name"]))
	require.Equal(b, settings["session_lifetime"], after["session_lifetime"])
	require.Equal(b, given(), b.store.All(), "the secrets of deleted clients are gone")

	// Again, and of steps that were never applied: no error, nothing done.
	for _, outputs := range []map[engine.Key]engine.Outputs{outputs, {}} {
		for key, res := range b.revert(p, outputs) {
			if key.Kind != v1.KindTenant {
				require.Equal(b, engine.None, res.Action, key.String())
			}
		}
	}
	b.gained(before, nil)
}

func emptyToNil(v any) any {
	if v == "" {
		return nil
	}
	return v
}

func testRevertUpdate(b *bench) {
	resources := stack(b.target.Domain)
	b.converge(resources...)
	p := b.plan(changed(resources)...)
	outputs := b.apply(p)
	for key, res := range b.revert(p, outputs) {
		require.NotEqual(b, engine.Delete, res.Action, key.String())
		require.Empty(b, res.Unrestored, key.String())
	}
	b.clean(resources...)
	writes := b.link.Writes()
	for key, res := range b.revert(p, outputs) {
		require.Equal(b, engine.None, res.Action, key.String())
	}
	require.Equal(b, writes, b.link.Writes(), "what is restored already is left alone")
}

func testRevertOthers(b *bench) {
	resources := only(stack(b.target.Domain), "Auth0Client/batch", "Auth0Connection/staff", "Auth0Role/admin", "Auth0ResourceServer/api")
	p := b.plan(resources...)
	// Between plan and revert somebody else makes the objects; the run never does.
	b.api.call(http.MethodPost, "clients", document{"name": "batch", "app_type": "non_interactive", "client_metadata": document{engine.MarkName: "batch", engine.MarkRun: "another"}})
	b.api.call(http.MethodPost, "connections", document{"name": "staff", "strategy": "auth0"})
	b.api.call(http.MethodPost, "roles", document{"name": "admin", "description": "theirs"})
	before := b.api.inventory()
	for _, s := range p.Steps {
		res, err := b.engine.Revert(b.Context(), b.request(s, nil))
		if s.Key.Kind == v1.KindRole {
			require.ErrorIs(b, err, engine.ErrStale, "a role carries no run; this one is not what the step would have made")
			continue
		}
		require.NoError(b, err, s.Key.String())
		require.Equal(b, engine.None, res.Action)
	}
	b.gained(before, nil)
}

func testStale(b *bench) {
	resources := only(stack(b.target.Domain), "Auth0ResourceServer/api", "Auth0Role/admin", "Auth0Client/batch", "Auth0Connection/staff")
	created := b.plan(resources...)
	// Somebody else makes the objects in their own way.
	b.api.call(http.MethodPost, "resource-servers", document{"identifier": "https://api.example.com", "name": "theirs"})
	b.api.call(http.MethodPost, "connections", document{"name": "staff", "strategy": "auth0"})
	b.api.call(http.MethodPost, "roles", document{"name": "admin", "description": "theirs"})
	client := b.api.call(http.MethodPost, "clients", document{"name": "batch", "app_type": "spa"}).(document)["client_id"].(string)
	writes := b.link.Writes()
	for _, s := range created.Steps {
		_, err := b.engine.Apply(b.Context(), b.request(s, nil))
		require.ErrorIs(b, err, engine.ErrStale, s.Key.String())
	}
	require.Equal(b, writes, b.link.Writes(), "a stale step writes nothing")

	// A plan for what is there now works, until that changes again.
	updated := b.plan(resources...)
	require.Equal(b, engine.Adopt, step(b, updated, "Auth0Client/batch").Action)
	b.api.call(http.MethodPatch, "clients/"+client, document{"app_type": "native"})
	_, err := b.engine.Apply(b.Context(), b.request(step(b, updated, "Auth0Client/batch"), nil))
	require.ErrorIs(b, err, engine.ErrStale)
	require.ErrorContains(b, err, "application_type")
	require.Equal(b, "native", b.api.get("clients/" + client)["app_type"])

	b.converge(resources...)
	settled := b.plan(resources...)
	b.api.call(http.MethodDelete, "clients/"+client, nil)
	_, err = b.engine.Apply(b.Context(), b.request(step(b, settled, "Auth0Client/batch"), nil))
	require.ErrorIs(b, err, engine.ErrStale, "what was to stay as it is has gone")
}

func testDangling(b *bench) {
	all := stack(b.target.Domain)
	for name, resources := range map[string][]v1.Resource{
		"resource": only(all, "Auth0ClientGrant/batch-api", "Auth0Client/batch"),
		"output": append(only(all, "Auth0ResourceServer/api", "Auth0Client/batch"), v1.New("g", &v1.Auth0ClientGrantSpec{
			Client: v1.From("", "batch"), Audience: v1.StringOrRef{ValueFrom: &v1.ValueFrom{Kind: v1.KindResourceServer, Name: "api", FieldPath: "status.outputs.audience"}}})),
	} {
		_, err := b.engine.Plan(b.Context(), engine.Request{Tenant: b.target.Domain, Resources: resources})
		require.ErrorIs(b, err, engine.ErrUnresolved, name)
		require.ErrorContains(b, err, "spec.audience", name)
	}
	// What others know about fills the gap.
	p, err := b.engine.Plan(b.Context(), engine.Request{Tenant: b.target.Domain, Resources: only(all, "Auth0ClientGrant/batch-api", "Auth0Client/batch"),
		Known: map[engine.Key]engine.Outputs{{Kind: v1.KindResourceServer, Name: "api"}: {"identifier": "https://api.example.com"}}})
	require.NoError(b, err)
	require.Len(b, p.Steps, 2)
	_, err = b.engine.Apply(b.Context(), b.request(step(b, p, "Auth0ClientGrant/batch-api"), nil))
	require.ErrorIs(b, err, engine.ErrUnresolved, "outputs of earlier steps are needed")
}

func testCycle(b *bench) {
	_, err := b.engine.Plan(b.Context(), engine.Request{Tenant: b.target.Domain, Resources: []v1.Resource{
		v1.New("web", &v1.Auth0ClientSpec{ApplicationType: "spa", EnabledConnections: []v1.StringOrRef{v1.From("", "other")}}),
		v1.New("staff", &v1.Auth0ConnectionSpec{Strategy: "auth0", EnabledClients: []v1.StringOrRef{v1.From("", "web")}}),
		v1.New("other", &v1.Auth0ConnectionSpec{Strategy: "auth0"}),
	}})
	require.NoError(b, err, "no circle yet")
	_, err = b.engine.Plan(b.Context(), engine.Request{Tenant: b.target.Domain, Resources: []v1.Resource{
		v1.New("web", &v1.Auth0ClientSpec{ApplicationType: "spa", EnabledConnections: []v1.StringOrRef{v1.From("", "other")}}),
		v1.New("other", &v1.Auth0ConnectionSpec{Strategy: "auth0", Realms: []string{"other"}, EnabledClients: nil}),
		v1.New("a", &v1.Auth0ConnectionSpec{Strategy: "auth0", EnabledClients: []v1.StringOrRef{{ValueFrom: &v1.ValueFrom{Kind: v1.KindConnection, Name: "c", FieldPath: "status.outputs.id"}}}}),
		v1.New("c", &v1.Auth0ConnectionSpec{Strategy: "auth0", EnabledClients: []v1.StringOrRef{{ValueFrom: &v1.ValueFrom{Kind: v1.KindConnection, Name: "a", FieldPath: "status.outputs.id"}}}}),
	}})
	require.ErrorIs(b, err, engine.ErrCycle)
	require.ErrorContains(b, err, "Auth0Connection/a")
	require.ErrorContains(b, err, "Auth0Connection/c")
	require.NotContains(b, err.Error(), "Auth0Client/web")
}

func testInvalid(b *bench) {
	_, err := b.engine.Plan(b.Context(), engine.Request{Tenant: b.target.Domain, Resources: []v1.Resource{
		v1.New("web", &v1.Auth0ClientSpec{ApplicationType: "mainframe", Description: new(strings.Repeat("x", 141))}),
		v1.New("not a name", &v1.Auth0ConnectionSpec{Strategy: "auth0"}),
	}})
	for _, part := range []string{"application_type", "description", "not a name"} {
		require.ErrorContains(b, err, part)
	}
	_, err = b.engine.Plan(b.Context(), engine.Request{Tenant: b.target.Domain, Resources: []v1.Resource{
		v1.New("a", &v1.Auth0RoleSpec{Name: new("same")}), v1.New("b", &v1.Auth0RoleSpec{Name: new("same")}),
	}})
	require.ErrorContains(b, err, "same object")
	_, err = b.engine.Plan(b.Context(), engine.Request{Tenant: "elsewhere.example.com", Resources: nil})
	require.ErrorContains(b, err, "elsewhere.example.com")
}

func testPlanIsStable(b *bench) {
	resources := stack(b.target.Domain)
	for _, state := range []string{"empty", "applied", "changed"} {
		first, second := b.plan(resources...), b.plan(append(resources[3:], resources[:3]...)...)
		first.Cost, second.Cost = engine.Cost{}, engine.Cost{} // the tenant's pace is of the moment
		a, err := json.Marshal(first)
		require.NoError(b, err)
		z, err := json.Marshal(second)
		require.NoError(b, err)
		require.JSONEq(b, string(a), string(z), state)
		require.Equal(b, string(a), string(z), state)
		require.Len(b, first.Hash, 64)
		hash, err := first.ComputeHash()
		require.NoError(b, err)
		require.Equal(b, first.Hash, hash, "the hash outlives the journey")
		first.Steps[0].Reason += "!"
		hash, err = first.ComputeHash()
		require.NoError(b, err)
		require.NotEqual(b, first.Hash, hash)
		switch state {
		case "empty":
			b.converge(resources...)
		case "applied":
			resources = changed(resources)
		}
	}
}

func testSecrets(b *bench) {
	resources := stack(b.target.Domain)
	var seen []string
	note := func(v any) {
		data, err := json.Marshal(v)
		require.NoError(b, err)
		seen = append(seen, string(data), fmt.Sprintf("%+v", v))
	}
	p := b.plan(resources...)
	note(p)
	outputs := b.apply(p)
	note(outputs)
	again := b.plan(changed(resources)...)
	note(again)
	note(b.apply(again))
	note(b.revert(again, outputs))

	secrets := []string{actionSecret, socialSecret, webhookSecret, b.target.ClientSecret.Reveal()}
	for _, name := range []string{"web", "batch"} {
		value, _ := b.api.one(clientsPath, "clients", "name", name)["client_secret"].(string)
		require.NotEmpty(b, value)
		ref := outputs[engine.Key{Kind: v1.KindClient, Name: name}]["client_secret"]
		require.Equal(b, value, b.store.All()[strings.TrimPrefix(ref, "memory:")], "the reference leads to the secret")
		secrets = append(secrets, value)
	}
	for _, w := range b.link.Sent() {
		var body struct {
			Password string `json:"password"`
		}
		if w.Method == http.MethodPost && w.Path == "/api/v2/users" {
			require.NoError(b, json.Unmarshal([]byte(w.Body), &body))
			require.Greater(b, len(body.Password), 30)
			secrets = append(secrets, body.Password)
		}
	}
	require.Len(b, secrets, 7)
	for _, s := range secrets {
		for _, text := range seen {
			require.NotContains(b, text, s)
		}
	}
}

// testLostSecret lets the secret store fail at the one moment at which the
// secret is handed out.
func testLostSecret(b *bench) {
	resources := only(stack(b.target.Domain), "Auth0Client/batch")
	before := b.api.inventory()
	p := b.plan(resources...)
	b.store.fail(errors.New("the vault is sealed"))
	_, err := b.engine.Apply(b.Context(), b.request(p.Steps[0], nil))
	require.ErrorContains(b, err, "the vault is sealed")
	b.store.fail(nil)
	outputs := b.apply(p)
	b.gained(before, map[string]map[string]int{"clients": {"batch": 1}})
	client := b.api.one(clientsPath, "clients", "name", "batch")
	name := strings.TrimPrefix(outputs[p.Steps[0].Key]["client_secret"], "memory:")
	require.Equal(b, client["client_secret"], b.store.All()[name])

	// A store that has lost it since is filled again.
	require.NoError(b, b.store.Delete(b.Context(), name))
	b.converge(resources...)
	require.Equal(b, b.api.get("clients/" + client["client_id"].(string))["client_secret"], b.store.All()[name])
}

func testRisk(b *bench) {
	resources := stack(b.target.Domain)
	b.converge(resources...)
	p := b.plan(changed(resources)...)
	for key, want := range map[string]bool{
		"Auth0Tenant/tenant": true, "Auth0Connection/staff": true, "Auth0Role/admin": true, "Auth0ClientGrant/batch-api": true,
		"Auth0Client/web": true, "Auth0User/ada": false, "Auth0Client/batch": false,
	} {
		risks := step(b, p, key).Risks
		require.Equal(b, want, len(risks) == 1 && risks[0] == engine.WidensAccess, "%s: %v", key, risks)
	}
}
