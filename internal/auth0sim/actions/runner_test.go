package actions_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0sim/actions"
	"github.com/tenonhq/tenon/internal/secret"
)

func runner(t *testing.T, limit time.Duration) *actions.Runner {
	t.Helper()
	r, err := actions.New(actions.Config{TimeLimit: limit})
	require.NoError(t, err)
	return r
}

func event() map[string]any {
	return map[string]any{
		"user": map[string]any{
			"user_id": "auth0|1", "email": "ada@example.com", "name": "Ada",
			"app_metadata": map[string]any{"plan": "gold", "old": true}, "user_metadata": map[string]any{},
		},
		"authorization": map[string]any{"roles": []string{"admin", "editor"}},
		"client":        map[string]any{"client_id": "abc", "name": "Grafana", "metadata": map[string]string{"team": "ops"}},
		"connection":    map[string]any{"name": "Users"},
		"request":       map[string]any{"ip": "192.0.2.1", "hostname": "tenant.example", "query": map[string]any{"a": "b"}},
		"transaction":   map[string]any{"requested_scopes": []string{"openid"}},
	}
}

func flow(code ...string) actions.Flow {
	f := actions.Flow{Trigger: actions.PostLogin, Event: event(), Audience: "https://api.example"}
	for i, c := range code {
		f.Actions = append(f.Actions, actions.Action{
			ID: string(rune('a' + i)), Name: "action " + string(rune('a'+i)), Code: c,
			Secrets: map[string]secret.Value{"KEY": secret.New("s3cret")},
		})
	}
	return f
}

func handler(body string) string {
	return "exports.onExecutePostLogin = async (event, api) => {" + body + "};"
}

func TestClaimsScopesAndMetadata(t *testing.T) {
	res, err := runner(t, 0).Run(t.Context(), flow(handler(`
		const ns = 'https://tenon.example/';
		api.idToken.setCustomClaim(ns + 'roles', event.authorization.roles.map((r) => r.toUpperCase()));
		api.accessToken.setCustomClaim(ns + 'who', {id: event.user.user_id, big: 9007199254740993n.toString(), n: 1.5})
			.accessToken.addScope('read:extra');
		api.accessToken.removeScope('profile');
		api.user.setUserMetadata('theme', 'dark');
		api.user.setAppMetadata('old', null);
		api.multifactor.enable('any', {allowRememberBrowser: false});
		console.log('hello', {secret: typeof event.secrets.KEY, team: event.client.metadata.team});
	`)))
	require.NoError(t, err)
	require.Equal(t, map[string]any{"https://tenon.example/roles": []any{"ADMIN", "EDITOR"}}, res.IDToken)
	require.Equal(t, "auth0|1", res.AccessToken["https://tenon.example/who"].(map[string]any)["id"])
	require.Equal(t, []string{"read:extra"}, res.AddScopes)
	require.Equal(t, []string{"profile"}, res.RemoveScopes)
	require.Equal(t, map[string]any{"theme": "dark"}, res.UserMetadata)
	require.Equal(t, map[string]any{"old": nil}, res.AppMetadata)
	require.Equal(t, &actions.Multifactor{Provider: "any"}, res.Multifactor)
	require.Equal(t, []string{`hello {"secret":"string","team":"ops"}`}, res.Executions[0].Console)
}

func TestActionsRunInOrderAndSeeMetadataOfEarlierOnes(t *testing.T) {
	res, err := runner(t, 0).Run(t.Context(), flow(
		handler(`api.user.setAppMetadata('plan', 'silver'); api.user.setAppMetadata('old', null); event.user.name = 'changed';`),
		handler(`api.idToken.setCustomClaim('seen', [event.user.app_metadata, event.user.name]);`),
	))
	require.NoError(t, err)
	require.Equal(t, []any{map[string]any{"plan": "silver"}, "Ada"}, res.IDToken["seen"])
	require.Len(t, res.Executions, 2)
}

func TestClaimRules(t *testing.T) {
	for _, c := range []struct {
		call     string
		id, acc  bool // whether the claim arrives
		name     string
		audience string
	}{
		{name: "roles"}, {name: "groups"}, {name: "permissions"}, {name: "sub"}, {name: "iss"}, {name: "exp"}, {name: "scope", id: true, acc: true},
		{name: "email", acc: true},
		{name: "plan", id: true, acc: true},
		{name: "https://corp.example/roles", id: true, acc: true},
		{name: "https://my.auth0.com/roles"},
		{name: "plan", audience: "https://tenant.example/api/v2/", id: true},
		{name: "https://corp.example/roles", audience: "https://tenant.example/api/v2/", id: true, acc: true},
	} {
		t.Run(c.name+" "+c.audience, func(t *testing.T) {
			f := flow(handler(`api.idToken.setCustomClaim('` + c.name + `', 1); api.accessToken.setCustomClaim('` + c.name + `', 1);`))
			if c.audience != "" {
				f.Audience = c.audience
			}
			res, err := runner(t, 0).Run(t.Context(), f)
			require.NoError(t, err)
			_, id := res.IDToken[c.name]
			_, acc := res.AccessToken[c.name]
			require.Equal(t, c.id, id, "ID token")
			require.Equal(t, c.acc, acc, "access token")
		})
	}
}

func TestDenyEndsTheFlow(t *testing.T) {
	res, err := runner(t, 0).Run(t.Context(), flow(
		handler(`api.access.deny('not today');`), handler(`throw new Error('must not run')`)))
	require.NoError(t, err)
	require.Equal(t, &actions.Denial{Code: "access_denied", Reason: "not today"}, res.Deny)
	require.Len(t, res.Executions, 1)
}

func TestCredentialsExchange(t *testing.T) {
	f := flow(`exports.onExecuteCredentialsExchange = async (event, api) => {
		if (event.transaction.requested_scopes.length) api.access.deny('invalid_scope', 'no scopes');
		api.accessToken.setCustomClaim('https://x.example/c', event.client.name);
	};`)
	f.Trigger = actions.CredentialsExchange
	res, err := runner(t, 0).Run(t.Context(), f)
	require.NoError(t, err)
	require.Equal(t, "invalid_scope", res.Deny.Code)
	require.Equal(t, "Grafana", res.AccessToken["https://x.example/c"])
}

func TestRedirectAndResume(t *testing.T) {
	code := []string{
		handler(`api.idToken.setCustomClaim('first', 1);`),
		handler(`api.redirect.sendUserTo('https://terms.example/ask?x=1', {query: {who: event.user.user_id}});`) +
			`exports.onContinuePostLogin = async (event, api) => { api.idToken.setCustomClaim('agreed', event.request.query.agreed); };`,
		handler(`api.idToken.setCustomClaim('last', 1);`),
	}
	r := runner(t, 0)
	res, err := r.Run(t.Context(), flow(code...))
	require.NoError(t, err)
	require.Equal(t, &actions.Redirect{URL: "https://terms.example/ask?who=auth0%7C1&x=1", Index: 1}, res.Redirect)
	require.NotContains(t, res.IDToken, "last")

	f := flow(code...)
	f.Event["request"].(map[string]any)["query"] = map[string]any{"agreed": "yes"}
	f.Resume = &actions.Resume{Index: res.Redirect.Index, Result: res}
	res, err = r.Run(t.Context(), f)
	require.NoError(t, err)
	require.Nil(t, res.Redirect)
	require.Len(t, res.IDToken, 3)
	require.Equal(t, "yes", res.IDToken["agreed"])

	f.Resume.Index = 9
	_, err = r.Run(t.Context(), f)
	require.Error(t, err)
}

func TestSessionTokens(t *testing.T) {
	r := runner(t, 0)
	res, err := r.Run(t.Context(), flow(handler(`
		const opts = {secret: 'a-secret-that-is-long-enough-32b', payload: {colour: 'red'}};
		api.idToken.setCustomClaim('token', api.redirect.encodeToken(opts));`)))
	require.NoError(t, err)
	token := res.IDToken["token"].(string)

	check := `try { api.idToken.setCustomClaim('got', api.redirect.validateToken({secret: '%s', tokenParameterName: 'tok'}).colour) }
		catch (e) { api.idToken.setCustomClaim('refused', e.message) }`
	run := func(secret, user string) map[string]any {
		f := flow(handler(fmt.Sprintf(check, secret)))
		f.Event["request"].(map[string]any)["query"] = map[string]any{"tok": token}
		f.Event["user"].(map[string]any)["user_id"] = user
		res, err := r.Run(t.Context(), f)
		require.NoError(t, err)
		return res.IDToken
	}
	require.Equal(t, map[string]any{"got": "red"}, run("a-secret-that-is-long-enough-32b", "auth0|1"))
	require.Contains(t, run("another-secret-that-is-too-wrong", "auth0|1"), "refused")
	require.Contains(t, run("a-secret-that-is-long-enough-32b", "auth0|2"), "refused")
}

func TestFailures(t *testing.T) {
	for name, c := range map[string]struct{ code, want string }{
		"throw":             {handler(`throw new Error("boom " + event.user.name)`), "boom Ada"},
		"throw text":        {handler(`throw "plain"`), "plain"},
		"rejection":         {handler(`await Promise.reject(new TypeError("later"))`), "later"},
		"undefined":         {handler(`event.nothing.here`), "Cannot read property 'here' of undefined"},
		"syntax":            {`exports.onExecutePostLogin = async (`, "Unexpected token"},
		"closes the wrap":   {`}); (function () {`, "onExecutePostLogin is not a function"},
		"no handler":        {`exports.somethingElse = 1`, "onExecutePostLogin is not a function"},
		"exports replaced":  {`module.exports = null`, "onExecutePostLogin is not a function"},
		"missing module":    {`const axios = require('axios');` + handler(``), "Cannot find module 'axios'"},
		"never settles":     {handler(`await new Promise(() => {})`), "never be settled"},
		"timer throws":      {handler(`await new Promise((r) => setTimeout(() => { throw new Error('tick') }, 1))`), "tick"},
		"cyclic claim":      {handler(`const a = {}; a.a = a; api.idToken.setCustomClaim('c', a)`), "circular"},
		"huge claims":       {handler(`api.idToken.setCustomClaim('c', 'x'.repeat(200000))`), "more than 102400"},
		"deep recursion":    {handler(`const f = () => f(); f()`), ""},
		"JSON taken away":   {`JSON = null;` + handler(`throw new Error(typeof event.user.email)`), "string"},
		"a throwing getter": {handler(`throw {get message() { throw new Error("hidden") }}`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := runner(t, 5*time.Second).Run(t.Context(), flow(handler(``), c.code))
			var failed *actions.Error
			require.ErrorAs(t, err, &failed)
			require.Equal(t, "action b", failed.Action)
			require.Contains(t, failed.Message, c.want)
			require.NotErrorIs(t, err, actions.ErrTimeout)
			require.Len(t, res.Executions, 2)
		})
	}
}

func TestTimeLimit(t *testing.T) {
	for name, code := range map[string]string{
		"loop":               handler(`for (;;) {}`),
		"loop while load":    `for (;;) {}`,
		"after an await":     handler(`await null; for (;;) {}`),
		"caught":             handler(`for (;;) { try { for (;;) {} } catch (e) {} }`),
		"promise chain":      handler(`const f = () => Promise.resolve().then(f); await f()`),
		"timers":             handler(`await new Promise(() => { const f = () => setTimeout(f, 1); f() })`),
		"long timer":         handler(`await new Promise((r) => setTimeout(r, 1e15))`),
		"regular expression": handler(`/^(a+)+$(?=x)/.test('a'.repeat(60) + '!')`),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			res, err := runner(t, 100*time.Millisecond).Run(t.Context(), flow(code, handler(``)))
			require.ErrorIs(t, err, actions.ErrTimeout)
			require.Less(t, time.Since(start), 3*time.Second)
			require.Len(t, res.Executions, 1)
			require.NotEmpty(t, res.Executions[0].Error)
		})
	}
}

func TestTimersRunInOrder(t *testing.T) {
	res, err := runner(t, 5*time.Second).Run(t.Context(), flow(handler(`
		const seen = [];
		const never = setTimeout(() => seen.push('cancelled'), 1);
		await Promise.all([20, 5].map((ms) => new Promise((done) => setTimeout((x) => { seen.push(x); done() }, ms, ms))));
		clearTimeout(never);
		api.idToken.setCustomClaim('seen', seen.filter((x) => x !== 'cancelled'));`)))
	require.NoError(t, err)
	require.Len(t, res.IDToken["seen"], 2)
}

func TestNoHost(t *testing.T) {
	res, err := runner(t, 0).Run(t.Context(), flow(handler(`
		const names = ['process', 'fetch', 'Deno', 'XMLHttpRequest', 'global', '__dirname', 'exec'];
		api.idToken.setCustomClaim('found', names.filter((n) => { try { return typeof eval(n) !== 'undefined' } catch (e) { return false } }));
		for (const m of ['fs', 'child_process', 'net', 'http', 'os', 'node:fs', '../runner', '/etc/passwd'])
			try { require(m); throw 'loaded ' + m } catch (e) { if (typeof e === 'string') throw new Error(e) }
		`)))
	require.NoError(t, err)
	require.Empty(t, res.IDToken["found"])
}

func TestNothingLeaksBetweenRuns(t *testing.T) {
	r := runner(t, 0)
	_, err := r.Run(t.Context(), flow(`globalThis.left = 1; Object.prototype.left = 1; Array.prototype.map = null;`+handler(``),
		handler(`if (typeof left !== 'undefined' || ({}).left || ![].map) throw new Error('leaked')`)))
	require.NoError(t, err)
}

func TestCrypto(t *testing.T) {
	res, err := runner(t, 0).Run(t.Context(), flow(handler(`
		const c = require('crypto');
		api.idToken.setCustomClaim('sum', c.createHash('sha256').update('abc').digest('hex'));
		api.idToken.setCustomClaim('mac', c.createHmac('sha1', 'key').update('abc').digest('base64'));
		api.idToken.setCustomClaim('id', /^[0-9a-f]{8}-[0-9a-f]{4}-4/.test(c.randomUUID()));`)))
	require.NoError(t, err)
	// From: printf abc | openssl dgst -sha256; printf abc | openssl dgst -sha1 -hmac key -binary | base64
	require.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", res.IDToken["sum"])
	require.Equal(t, "T9CyFSdu8S8rPkyOysKBFJi2Vvw=", res.IDToken["mac"])
	require.Equal(t, true, res.IDToken["id"])
}

func TestCancelledCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := runner(t, 0).Run(ctx, flow(handler(``)))
	require.ErrorIs(t, err, context.Canceled)
}

func TestConfigIsChecked(t *testing.T) {
	_, err := actions.New(actions.Config{TimeLimit: -1})
	require.Error(t, err)
}

func TestOtherTriggers(t *testing.T) {
	f := flow(`exports.onExecuteEventStream = async (event, api) => { if (event.message.type !== 'user.created') api.message.fail('not mine') }`)
	f.Trigger, f.Event = actions.EventStream, map[string]any{"message": map[string]any{"type": "user.created"}}
	res, err := runner(t, 0).Run(t.Context(), f)
	require.NoError(t, err)
	require.Empty(t, res.Failed)
	f.Event = map[string]any{"message": map[string]any{"type": "user.deleted"}}
	res, err = runner(t, 0).Run(t.Context(), f)
	require.NoError(t, err)
	require.Equal(t, "not mine", res.Failed)

	f = flow(`exports.onExecutePreUserRegistration = async (event, api) => { api.user.setUserMetadata('a', 1); api.access.deny('inner', 'shown') }`)
	f.Trigger = actions.PreRegistration
	res, err = runner(t, 0).Run(t.Context(), f)
	require.NoError(t, err)
	require.Equal(t, &actions.Denial{Code: "access_denied", Reason: "inner", Message: "shown"}, res.Deny)

	f.Trigger = "no-such-trigger"
	_, err = runner(t, 0).Run(t.Context(), f)
	require.Error(t, err)
}

func TestTimeIsInjected(t *testing.T) {
	f := flow(handler(`api.idToken.setCustomClaim('now', new Date().toISOString())`))
	f.Now = func() time.Time { return time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC) }
	res, err := runner(t, 0).Run(t.Context(), f)
	require.NoError(t, err)
	require.Equal(t, "2031-02-03T04:05:06.000Z", res.IDToken["now"])
}

func TestFactorsThatAnActionDemands(t *testing.T) {
	for call, want := range map[string]*actions.Multifactor{
		`api.authentication.challengeWith({type: 'otp'})`:                               {Provider: "any", Factors: []string{"otp"}},
		`api.authentication.enrollWithAny([{type: 'otp'}, {type: 'webauthn-roaming'}])`: {Provider: "any", Factors: []string{"otp", "webauthn-roaming"}},
		`api.multifactor.enable('google-authenticator')`:                                {Provider: "google-authenticator", AllowRememberBrowser: true},
	} {
		res, err := runner(t, 0).Run(t.Context(), flow(handler(call)))
		require.NoError(t, err)
		require.Equal(t, want, res.Multifactor, call)
	}
	_, err := runner(t, 0).Run(t.Context(), flow(handler(`api.authentication.challengeWith('otp')`)))
	require.ErrorContains(t, err, "a factor needs a type")
}
