// Package actions runs a tenant's Actions: JavaScript that Auth0 executes at a
// trigger of the login pipeline. It owns the JavaScript runtime, the documented
// `event` and `api` objects of the post-login and credentials-exchange
// triggers, and the rules about which claims an Action may set.
//
// It does not know where Actions are stored (package state), when a trigger
// fires, or what becomes of a result: package authapi loads the bound Actions,
// runs them here and applies what they asked for.
//
// What must always hold: an Action reaches nothing but the values handed to it.
// Its runtime has no file system, network, process or environment, and is made
// anew for every execution, so that nothing leaks between logins. A run ends
// when its time limit does, whatever the code is doing. Memory is not limited:
// who may deploy Actions to a simulator is trusted not to exhaust its host.
//
//	authapi ── Flow{actions, event} ──► Runner.Run ──► one runtime for each Action
//	   ▲                                                        │ api.* calls
//	   └─────────────── Result (claims, scopes, denial, …) ◄────┘
package actions
