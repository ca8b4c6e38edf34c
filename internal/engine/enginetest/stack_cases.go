package enginetest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/api/v1/v1test"
	"github.com/tenonhq/tenon/internal/engine"
)

func key(kind, name string) engine.Key { return engine.Key{Kind: kind, Name: name} }

// testStack is the life of a stack: made, changed, and gone again.
func testStack(b *bench) {
	o := b.owner()
	empty := b.api.snapshot()
	resources := stack(b.target.Domain)
	p := o.converge(nil, resources...)
	require.Positive(b, p.Cost.Reads)
	require.Positive(b, p.Cost.Writes)
	b.gained(map[string]map[string]int{}, b.api.inventory())

	updated := changed(resources)
	p = o.plan(nil, updated...)
	for _, s := range p.Steps {
		for _, c := range s.Changes {
			require.Equal(b, engine.Manifest, c.Cause, "%s: %s", s.Key, c.Path)
		}
		require.Empty(b, s.Drift, s.Key.String())
	}
	o.apply(p)
	o.clean(updated...)

	p = o.plan(o.keys())
	for _, s := range p.Steps {
		if s.Key.Kind == v1.KindTenant {
			require.Equal(b, engine.None, s.Action)
			continue
		}
		require.Equal(b, engine.Delete, s.Action, s.Key.String())
		require.Contains(b, s.Risks, engine.Destructive)
	}
	o.apply(p)
	require.Empty(b, o.objects)
	now := b.api.snapshot()
	for family := range empty {
		if strings.Contains(family, "/") || family == "branding" {
			delete(empty, family) // a tenant's settings stay
		}
	}
	b.alike(empty, now, "deleted")
	require.Equal(b, given(), b.store.All(), "the secrets of deleted clients are gone")
}

// testDelete deletes some of a stack, what is gone already, and what must not be.
func testDelete(b *bench) {
	o := b.owner()
	resources := stack(b.target.Domain)
	o.converge(nil, resources...)
	b.api.call(http.MethodDelete, "event-streams/"+o.objects[key(v1.KindEventStream, "bridge")].ObjectID, nil)

	going := []engine.Key{key(v1.KindEventStream, "bridge"), key(v1.KindRole, "viewer"), key(v1.KindClientGrant, "batch-api"), key(v1.KindClient, "batch")}
	kept := without(resources, going...)
	kept = replace(kept, edit(resources, "ada", func(s *v1.Auth0UserSpec) { s.Roles = s.Roles[:1] }))
	p := o.plan(going, kept...)
	require.Equal(b, engine.None, step(b, p, "Auth0EventStream/bridge").Action)
	require.Empty(b, step(b, p, "Auth0EventStream/bridge").ObjectID)
	require.Equal(b, engine.Delete, step(b, p, "Auth0Role/viewer").Action)
	require.Contains(b, step(b, p, "Auth0Role/viewer").After, key(v1.KindUser, "ada"), "what refers to it changes first")
	require.Contains(b, step(b, p, "Auth0Client/batch").After, key(v1.KindClientGrant, "batch-api"))
	o.apply(p)
	o.clean(kept...)
	for _, k := range going {
		require.NotContains(b, o.objects, k)
	}
	// Once more: each attempt finds its work done.
	for _, s := range p.Steps {
		if s.Action == engine.Delete {
			_, err := b.engine.Apply(b.Context(), b.request(s, nil))
			require.NoError(b, err)
		}
	}

	// What has changed since the plan is not deleted.
	late := o.plan([]engine.Key{key(v1.KindRole, "admin")}, without(kept, key(v1.KindRole, "admin"), key(v1.KindUser, "ada"))...)
	b.api.call(http.MethodPatch, "roles/"+o.objects[key(v1.KindRole, "admin")].ObjectID, document{"description": "of somebody's own"})
	_, err := b.engine.Apply(b.Context(), b.request(step(b, late, "Auth0Role/admin"), nil))
	require.ErrorIs(b, err, engine.ErrStale)

	protected := o.objects[key(v1.KindClient, "web")]
	protected.Resource.Metadata.Annotations = map[string]string{"tenon.dev/deletion-protection": "true"}
	o.objects[protected.Key] = protected
	var invalid *engine.InvalidError
	_, err = o.planned([]engine.Key{protected.Key})
	require.ErrorAs(b, err, &invalid)
	require.ErrorContains(b, err, "deletion-protection")
	_, err = o.planned([]engine.Key{key(v1.KindClient, "nobody")})
	require.ErrorAs(b, err, &invalid)
	_, err = o.planned([]engine.Key{key(v1.KindClient, "web")}, kept...)
	require.ErrorAs(b, err, &invalid)
	_, err = o.planned([]engine.Key{key(v1.KindConnection, "staff")}, without(kept, key(v1.KindConnection, "staff"))...)
	require.ErrorAs(b, err, &invalid)
	require.ErrorContains(b, err, "Auth0Client/web: spec.enabled_connections[0] refers to Auth0Connection/staff")
}

func without(resources []v1.Resource, keys ...engine.Key) []v1.Resource {
	return slices.DeleteFunc(slices.Clone(resources), func(r v1.Resource) bool { return slices.Contains(keys, engine.KeyOf(r)) })
}

// replacements are changes that Auth0 has no call for.
func replacements(resources []v1.Resource) []v1.Resource {
	return []v1.Resource{
		edit(resources, "bridge", func(s *v1.Auth0EventStreamSpec) { s.EventBridgeConfiguration.AWSRegion = "us-east-1" }),
		edit(resources, "events", func(s *v1.Auth0EventStreamSpec) {
			s.DestinationType, s.WebhookConfiguration = "eventbridge", nil
			s.EventBridgeConfiguration = &v1.EventBridgeConfiguration{AWSAccountID: "210987654321", AWSRegion: "eu-central-1"}
		}),
		edit(resources, "google", func(s *v1.Auth0ConnectionSpec) { s.Strategy = "github" }),
		edit(resources, "batch-api", func(s *v1.Auth0ClientGrantSpec) { s.Audience = v1.Value("https://other.example.com") }),
		v1.New("other", &v1.Auth0ResourceServerSpec{Identifier: "https://other.example.com", Scopes: []v1.Scope{{Name: "default:read"}}}),
	}
}

func testReplace(b *bench) {
	o := b.owner()
	resources := append(stack(b.target.Domain), v1.New("other", &v1.Auth0ResourceServerSpec{Identifier: "https://other.example.com", Scopes: []v1.Scope{{Name: "default:read"}}}))
	o.converge(nil, resources...)
	before, inventory := b.api.snapshot(), maps.Clone(o.objects)
	count := b.api.inventory()

	updated := replace(resources, replacements(resources)...)
	p := o.plan(nil, updated...)
	replaced := []string{"Auth0EventStream/bridge", "Auth0EventStream/events", "Auth0Connection/google", "Auth0ClientGrant/batch-api"}
	for _, s := range p.Steps {
		if slices.Contains(replaced, s.Key.String()) {
			require.Equal(b, engine.Replace, s.Action, s.Key.String())
			require.Contains(b, s.Risks, engine.Destructive)
		} else {
			require.Equal(b, engine.None, s.Action, "%s: %s", s.Key, s.Reason)
		}
	}
	for _, s := range p.Steps {
		if s.Action == engine.Replace {
			old := s.ObjectID
			first := o.do(s)
			require.NotEqual(b, old, first.ObjectID, "it is another object")
			again, err := b.engine.Apply(b.Context(), b.request(s, o.outputs()))
			require.NoError(b, err)
			require.Equal(b, first.ObjectID, again.ObjectID, "a retry finds the new one")
		}
	}
	o.clean(updated...)
	now := b.api.inventory()
	delete(count, "client-grants")
	for family, names := range count {
		require.Equal(b, names, now[family], family)
	}
	for _, s := range slices.Backward(p.Steps) {
		res := o.undo(s, inventory)
		if s.Action == engine.Replace {
			require.Equal(b, engine.Create, res.Action, s.Key.String())
			require.Contains(b, res.Unrestored, "id")
		}
	}
	b.alike(before, b.api.snapshot(), "put back")
	o.clean(resources...)

	// An object that is not in the stack is not deleted for looking alike.
	stranger := b.owner()
	_, err := stranger.planned(nil, edit(resources, "google", func(s *v1.Auth0ConnectionSpec) { s.Strategy = "github" }))
	require.ErrorContains(b, err, "strategy")
	protected := edit(resources, "bridge", func(s *v1.Auth0EventStreamSpec) { s.EventBridgeConfiguration.AWSRegion = "us-east-1" })
	protected.Metadata.Annotations = map[string]string{"tenon.dev/deletion-protection": "true"}
	_, err = o.planned(nil, protected)
	require.ErrorContains(b, err, "deletion-protection")
}

// testAdoptAll takes over, object by object, what another has made.
func testAdoptAll(b *bench) {
	resources := stack(b.target.Domain)
	b.converge(resources...)
	before := b.api.snapshot()
	o := b.owner()
	p := o.plan(nil, resources...)
	for _, s := range p.Steps {
		if s.Key.Kind == v1.KindTenant {
			require.Equal(b, engine.None, s.Action)
			continue
		}
		require.Equal(b, engine.Adopt, s.Action, s.Key.String())
		require.False(b, s.Touches(), "%s: %+v", s.Key, s.Changes)
	}
	require.False(b, p.Changes())
	writes := b.link.Writes()
	o.apply(p)
	o.clean(resources...)
	b.alike(before, b.api.snapshot(), "put back")
	require.Equal(b, writes, b.link.Writes(), "what is as desired is taken over without a write")
	for _, owned := range o.objects {
		require.Equal(b, owned.Key.Kind != v1.KindTenant, owned.Adopted, owned.Key.String())
	}
}

// testRename renames objects in the tenant: those on record are found all the same.
func testRename(b *bench) {
	o := b.owner()
	resources := stack(b.target.Domain)
	o.converge(nil, resources...)
	count := b.api.inventory()
	for k, path := range map[engine.Key]string{key(v1.KindClient, "web"): "clients/", key(v1.KindRole, "viewer"): "roles/", key(v1.KindAction, "claims"): "actions/actions/",
		key(v1.KindEventStream, "events"): "event-streams/", key(v1.KindResourceServer, "api"): "resource-servers/"} {
		b.api.call(http.MethodPatch, path+o.objects[k].ObjectID, document{"name": "renamed"})
	}
	p := o.plan(nil, resources...)
	renamed := 0
	for _, s := range p.Steps {
		if s.Action == engine.None {
			continue
		}
		renamed++
		require.Equal(b, engine.Update, s.Action, s.Key.String())
		at := slices.IndexFunc(s.Changes, func(c engine.Change) bool { return c.Path == "name" })
		require.GreaterOrEqual(b, at, 0, s.Key.String())
		require.Equal(b, engine.Change{Path: "name", Before: "renamed", After: s.Changes[at].After, Cause: engine.Tenant}, s.Changes[at])
	}
	require.Equal(b, 5, renamed)
	o.apply(p)
	o.clean(resources...)
	require.Equal(b, count, b.api.inventory())
}

// testDrift changes things in the manifest, in the tenant where the resource sets
// them, and in the tenant where it does not.
func testDrift(b *bench) {
	o := b.owner()
	resources := stack(b.target.Domain)
	o.converge(nil, resources...)
	quiet := o.plan(nil, resources...)
	web, staff := o.objects[key(v1.KindClient, "web")].ObjectID, o.objects[key(v1.KindConnection, "staff")].ObjectID
	b.api.call(http.MethodPatch, "clients/"+web, document{"logo_uri": "https://example.com/logo.png"})
	b.api.call(http.MethodPatch, "connections/"+staff, document{"is_domain_connection": true})
	p := o.plan(nil, resources...)
	require.False(b, p.Changes())
	require.Equal(b, quiet.Hash, p.Hash, "what is left alone is not approved")
	require.Equal(b, []engine.Change{{Path: "logo_uri", After: "https://example.com/logo.png", Cause: engine.Tenant}}, step(b, p, "Auth0Client/web").Drift)
	require.Equal(b, []engine.Change{{Path: "is_domain_connection", Before: false, After: true, Cause: engine.Tenant}}, step(b, p, "Auth0Connection/staff").Drift)

	b.api.call(http.MethodPatch, "clients/"+web, document{"oidc_conformant": false})
	p = o.plan(nil, replace(resources, edit(resources, "web", func(s *v1.Auth0ClientSpec) { s.Description = new("another") }))...)
	causes := map[string]engine.Cause{}
	for _, c := range step(b, p, "Auth0Client/web").Changes {
		causes[c.Path] = c.Cause
	}
	require.Equal(b, map[string]engine.Cause{"description": engine.Manifest, "oidc_conformant": engine.Tenant}, causes)

	b.api.call(http.MethodDelete, "clients/"+o.objects[key(v1.KindClient, "batch")].ObjectID, nil)
	p = o.plan(nil, resources...)
	require.Equal(b, engine.Create, step(b, p, "Auth0Client/batch").Action)
	require.Contains(b, step(b, p, "Auth0Client/batch").Reason, "deleted")
}

// testRotation changes references to secrets, one that Auth0 shows and others that
// it does not.
func testRotation(b *bench) {
	o := b.owner()
	resources := stack(b.target.Domain)
	o.converge(nil, resources...)
	for name, value := range map[string]string{"new-token": "canary-new-token-11", "new-webhook": "canary-new-webhook-22", "new-social": "canary-new-social-33"} {
		require.NoError(b, b.store.put(name, value))
	}
	updated := replace(resources,
		edit(resources, "claims", func(s *v1.Auth0ActionSpec) { s.Secrets[0].Value = "memory:new-token" }),
		edit(resources, "events", func(s *v1.Auth0EventStreamSpec) {
			s.WebhookConfiguration.WebhookAuthorization = &v1.WebhookAuthorization{Method: "basic", Username: new("tenon"), Password: new(v1.SecretRef("memory:new-webhook"))}
		}),
		edit(resources, "google", func(s *v1.Auth0ConnectionSpec) { s.SocialOptions.ClientSecret = "memory:new-social" }))
	before, inventory := b.api.snapshot(), maps.Clone(o.objects)
	p := o.plan(nil, updated...)
	rotates := []string{"Auth0Action/claims", "Auth0EventStream/events", "Auth0Connection/google"}
	for _, s := range p.Steps {
		if !slices.Contains(rotates, s.Key.String()) {
			require.Equal(b, engine.None, s.Action, s.Key.String())
			continue
		}
		require.Equal(b, engine.Update, s.Action, s.Key.String())
		require.Contains(b, s.Risks, engine.RotatesSecret, s.Key.String())
	}
	sent := len(b.link.Sent())
	o.apply(p)
	o.clean(updated...)
	wrote := ""
	for _, w := range b.link.Sent()[sent:] {
		wrote += w.Body
	}
	for _, value := range []string{"canary-new-token-11", "canary-new-webhook-22", "canary-new-social-33"} {
		require.Contains(b, wrote, value)
	}
	google := b.api.get("connections/" + o.objects[key(v1.KindConnection, "google")].ObjectID)
	require.Equal(b, "canary-new-social-33", google["options"].(document)["client_secret"])

	// The old references lead back.
	sent = len(b.link.Sent())
	for _, s := range slices.Backward(p.Steps) {
		res := o.undo(s, inventory)
		require.Empty(b, res.Unrestored, s.Key.String())
	}
	b.alike(before, b.api.snapshot(), "put back")
	wrote = ""
	for _, w := range b.link.Sent()[sent:] {
		wrote += w.Body
	}
	for _, value := range []string{actionSecret, webhookSecret, socialSecret} {
		require.Contains(b, wrote, value)
	}
	o.clean(resources...)

	_, err := o.planned(nil, replace(resources, edit(resources, "google", func(s *v1.Auth0ConnectionSpec) { s.SocialOptions.ClientSecret = "memory:nowhere" }))...)
	var invalid *engine.InvalidError
	require.ErrorAs(b, err, &invalid, "a secret that is not there is said when planning")
	require.ErrorContains(b, err, "memory:nowhere")
}

// testRollback fails a mixed run after each of its steps in turn, and takes it
// back.
func testRollback(b *bench) {
	o := b.owner()
	resources := append(stack(b.target.Domain), v1.New("other", &v1.Auth0ResourceServerSpec{Identifier: "https://other.example.com", Scopes: []v1.Scope{{Name: "default:read"}}}))
	o.converge(nil, resources...)
	before := b.api.snapshot()
	going := []engine.Key{key(v1.KindRole, "viewer"), key(v1.KindClientGrant, "web-api"), key(v1.KindClient, "web"), key(v1.KindConnection, "partner-saml"), key(v1.KindAction, "claims")}
	updated := replace(changed(resources), replacements(resources)[0], replacements(resources)[2], replacements(resources)[3])
	updated = replace(updated, edit(updated, "ada", func(s *v1.Auth0UserSpec) { s.Roles = []v1.StringOrRef{v1.From("", "admin")} }))
	updated = append(without(updated, going...), v1.New("fresh", &v1.Auth0ClientSpec{ApplicationType: "spa"}), v1.New("auditor", &v1.Auth0RoleSpec{}),
		v1.New("trail", &v1.Auth0EventStreamSpec{DestinationType: "eventbridge", Subscriptions: []string{"user.created"},
			EventBridgeConfiguration: &v1.EventBridgeConfiguration{AWSAccountID: "123456789012", AWSRegion: "us-west-2"}}))
	for k := 0; ; k++ {
		p := o.plan(going, updated...)
		inventory := maps.Clone(o.objects)
		if k > len(p.Steps) {
			require.Greater(b, k, 15)
			return
		}
		for _, s := range p.Steps[:k] {
			o.do(s)
		}
		for _, s := range slices.Backward(p.Steps[:k]) {
			o.undo(s, inventory)
		}
		b.alike(before, b.api.snapshot(), fmt.Sprintf("after %d steps, the last of them %s", k, lastOf(p, k)))
		o.clean(resources...)
	}
}

func lastOf(p *engine.Plan, k int) string {
	if k == 0 {
		return "none"
	}
	return p.Steps[k-1].Key.String() + " " + string(p.Steps[k-1].Action)
}

// testRevertDelete deletes a whole stack and takes that back, with answers that get
// lost on the way.
func testRevertDelete(b *bench) {
	o := b.owner()
	resources := stack(b.target.Domain)
	o.converge(nil, resources...)
	before, inventory := b.api.snapshot(), maps.Clone(o.objects)
	p := o.plan(o.keys())
	o.apply(p)
	b.link.Lose(3)
	b.link.Lose(12)
	unrestored := map[string][]string{}
	for _, s := range slices.Backward(p.Steps) {
		if s.Key.Kind == v1.KindTenant {
			o.objects[s.Key] = inventory[s.Key]
			continue
		}
		if _, err := b.engine.Revert(b.Context(), b.request(s, o.outputs())); err != nil {
			require.NotErrorIs(b, err, engine.ErrStale) // a lost answer: once more
		}
		res := o.undo(s, inventory)
		unrestored[s.Key.String()] = res.Unrestored
	}
	require.Equal(b, 2, b.link.Lost())
	require.Contains(b, unrestored["Auth0Client/web"], "client_secret")
	require.Contains(b, unrestored["Auth0Connection/staff"], "users")
	b.alike(before, b.api.snapshot(), "put back")
	require.Equal(b, inventory[key(v1.KindUser, "ada")].ObjectID, o.objects[key(v1.KindUser, "ada")].ObjectID, "a user keeps the id")
	o.clean(resources...)
	web := o.objects[key(v1.KindClient, "web")]
	require.NotEqual(b, inventory[web.Key].ObjectID, web.ObjectID)
	require.Equal(b, b.api.get("clients/" + web.ObjectID)["client_secret"], b.store.All()[strings.TrimPrefix(web.Outputs["client_secret"], "memory:")])
}

// testExport exports what a stack has made, and plans it.
func testExport(b *bench) {
	resources := stack(b.target.Domain)
	b.converge(resources...)
	writes := b.link.Writes()
	exported, err := b.engine.Export(b.Context(), engine.ExportRequest{Tenant: b.target.Domain})
	require.NoError(b, err)
	exported = travel(b, exported)
	require.Equal(b, writes, b.link.Writes(), "exporting changes nothing")
	kinds := map[string]int{}
	for _, r := range exported.Resources {
		kinds[r.Kind]++
		require.Empty(b, r.Validate(), engine.KeyOf(r).String())
	}
	require.Equal(b, map[string]int{v1.KindTenant: 1, v1.KindClient: 2, v1.KindConnection: 6, v1.KindResourceServer: 1, v1.KindClientGrant: 2, v1.KindRole: 2, v1.KindAction: 1,
		v1.KindEventStream: 2}, kinds, "%v", exported.Warnings)
	warned := strings.Join(exported.Warnings, "\n")
	for _, secret := range []string{"AUTH0_EVENTS_TOKEN", "AUTH0_CLAIMS_TOKEN", "AUTH0_GOOGLE_CLIENT_SECRET", "Auth0's own", "by which Tenon calls"} {
		require.Contains(b, warned, secret)
	}
	b.clean(exported.Resources...) // before anybody has filled in a secret
	for name, value := range map[string]string{"AUTH0_EVENTS_TOKEN": webhookSecret, "AUTH0_CLAIMS_TOKEN": actionSecret, "AUTH0_GOOGLE_CLIENT_SECRET": socialSecret,
		"AUTH0_PARTNER_OIDC_CLIENT_SECRET": socialSecret, "AUTH0_ENTRA_CLIENT_SECRET": socialSecret} {
		require.NoError(b, b.env.put(name, value))
	}
	b.clean(exported.Resources...)

	users, err := b.engine.Export(b.Context(), engine.ExportRequest{Tenant: b.target.Domain, Kinds: []string{v1.KindUser, v1.KindRole}})
	require.NoError(b, err)
	require.Len(b, users.Resources, 3)
	b.clean(travel(b, users).Resources...)
	_, err = b.engine.Export(b.Context(), engine.ExportRequest{Tenant: b.target.Domain, Kinds: []string{"Nonsense"}})
	require.ErrorContains(b, err, "Nonsense")
}

// testExportForeign exports what Auth0's defaults and other people's calls have
// left in a tenant.
func testExportForeign(b *bench) {
	b.api.call(http.MethodPost, "clients", document{"name": "theirs", "app_type": "regular_web", "callbacks": []any{"http://insecure.example.com"}})
	b.api.call(http.MethodPost, "clients", document{"name": "twin", "app_type": "spa"})
	b.api.call(http.MethodPost, "clients", document{"name": "twin", "app_type": "spa"})
	b.api.call(http.MethodPost, "clients", document{"name": "bare"})
	b.api.call(http.MethodPost, "connections", document{"name": "plain", "strategy": "auth0"})
	b.api.call(http.MethodPost, "connections", document{"name": "texts", "strategy": "sms", "options": document{"name": "sms"}})
	b.api.call(http.MethodPost, "resource-servers", document{"identifier": "https://a.example.com/", "name": "same"})
	b.api.call(http.MethodPost, "resource-servers", document{"identifier": "https://b.example.com/", "name": "same"})
	b.api.call(http.MethodPost, "roles", document{"name": "a/b"})
	exported, err := b.engine.Export(b.Context(), engine.ExportRequest{Tenant: b.target.Domain})
	require.NoError(b, err)
	warned := strings.Join(exported.Warnings, "\n")
	for _, part := range []string{"twin", "texts", "bare"} {
		require.Contains(b, warned, part)
	}
	o := b.owner()
	p := o.plan(nil, travel(b, exported).Resources...)
	for _, s := range p.Steps {
		require.False(b, s.Touches(), "%s: %s %s %+v", s.Key, s.Action, s.Reason, s.Changes)
	}
	require.GreaterOrEqual(b, len(p.Steps), 7)
}

// testTakeOver gives objects of the inventory other names in the manifests.
func testTakeOver(b *bench) {
	o := b.owner()
	api := v1.New("api", &v1.Auth0ResourceServerSpec{Identifier: "urn:api", Name: new("API")})
	o.converge(nil, api)
	id := o.objects[engine.KeyOf(api)].ObjectID
	moved := v1.New("moved", &v1.Auth0ResourceServerSpec{Identifier: "urn:api", Name: new("API")})
	p := o.plan([]engine.Key{engine.KeyOf(api)}, moved)
	require.Equal(b, engine.Adopt, step(b, p, "Auth0ResourceServer/moved").Action)
	require.Equal(b, engine.None, step(b, p, "Auth0ResourceServer/api").Action)
	o.apply(p)
	o.clean(moved)
	require.Equal(b, id, o.objects[engine.KeyOf(moved)].ObjectID)
	require.Len(b, o.objects, 1)
	require.Len(b, b.api.named(apisPath, "resource_servers", "identifier", "urn:api"), 1)

	twice := append(o.inventory(), engine.Owned{Key: engine.KeyOf(api), ObjectID: id, Resource: api})
	_, err := b.engine.Plan(b.Context(), engine.Request{Tenant: b.target.Domain, Stack: "suite", Inventory: twice, Resources: []v1.Resource{moved}})
	require.ErrorContains(b, err, "same object")
}

// testEveryBoolean sets every boolean field of every kind to an explicit false: for
// a new object, for one that has it otherwise, and for one that was adopted.
func testEveryBoolean(b *bench) {
	require.NoError(b, b.env.put("TENON_EXAMPLE_SECRET", "canary-example-secret-44"))
	var resources, services []v1.Resource
	for _, kind := range v1.Kinds() {
		for _, r := range v1test.ExplicitFalse(kind) {
			if spec, ok := r.Spec.(*v1.Auth0TenantSpec); ok {
				spec.Domain = b.target.Domain
			}
			if kind == v1.KindService || kind == v1.KindWebApp {
				services = append(services, r)
			} else {
				resources = append(resources, r)
			}
		}
	}
	b.owner().converge(nil, resources...)
	b.owner().converge(nil, services...)

	// The suite's own stack, which has most of them true, turned around and back.
	b2 := b.owner()
	mixed := without(stack(b.target.Domain), key(v1.KindTenant, "tenant"))
	b2.converge(nil, mixed...)
	for range 2 {
		b2.converge(nil, v1test.AllOfFalse(mixed)...)
		b2.converge(nil, mixed...)
	}
	adopter := b.owner()
	adopter.converge(nil, v1test.AllOfFalse(mixed)...)
}
